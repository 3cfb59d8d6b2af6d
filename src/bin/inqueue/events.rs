//! `inqueue events`: the events of a run as one file.

use crate::output;
use anyhow::bail;
use clap::Args;
use inqueue::deliver;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes the events of a run into one file, in queue order (docs/events.md).
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Folder of the run
    run: PathBuf,
    /// Where to: jsonl:FILE, a new file of JSON Lines
    #[arg(long, value_name = "jsonl:FILE")]
    to: String,
    /// Says nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let Some(path) = args.to.strip_prefix("jsonl:").filter(|path| !path.is_empty()) else {
        bail!("'{}' is not jsonl:FILE (events are written as JSON Lines)", args.to);
    };
    let exported = deliver::events(&args.run, Path::new(path))?;
    if exported.parts_uncommitted > 0 {
        let parts = exported.parts_uncommitted;
        output::tell(&format!(
            "{parts} parts of the run are not committed: their events come later"
        ));
    }
    if !args.quiet {
        let (events, size) = (exported.events, output::bytes(exported.bytes));
        writeln!(io::stdout().lock(), "{events} events, {size}, in {path}")?;
    }
    Ok(ExitCode::SUCCESS)
}
