//! `inqueue events`: the events of a run as one file.

use crate::output;
use clap::Args;
use inqueue::deliver;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes the events of a run into one file, in queue order (docs/events.md).
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Folder of the run
    run: PathBuf,
    /// Where to: jsonl:FILE, a new file of JSON Lines
    #[arg(long, value_name = "jsonl:FILE", value_parser = target)]
    to: PathBuf,
    /// Says nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

fn target(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("jsonl:") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err("not jsonl:FILE (events are written as JSON Lines)".to_owned()),
    }
}

pub(crate) fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let exported = deliver::events(&args.run, &args.to)?;
    if exported.parts_uncommitted > 0 {
        let parts = exported.parts_uncommitted;
        output::tell(&format!(
            "{parts} parts of the run are not committed: their events come later"
        ));
    }
    if !args.quiet {
        let (events, size) = (exported.events, output::bytes(exported.bytes));
        writeln!(io::stdout().lock(), "{events} events, {size}, in {}", args.to.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
