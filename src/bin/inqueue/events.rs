//! `inqueue events`: the events of a run as one file, or to a receiver.

use crate::options::size;
use crate::output;
use clap::Args;
use inqueue::deliver::{self, EventTarget};
use inqueue::limits;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes the events of a run into one file, or to a receiver, in queue order (docs/events.md).
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Folder of the run
    run: PathBuf,
    /// Where to, a new file or a receiver: jsonl:FILE, evt:FILE, session-log:FILE, system-log:FILE,
    /// syslog:FILE, syslog:udp://HOST:PORT, syslog:tcp://HOST:PORT, syslog:unix:PATH
    #[arg(long, value_name = "FORM:TARGET", value_parser = target)]
    to: EventTarget,
    /// Bytes of one file of a Windows event log, as 1M, 64M: then the next is begun
    #[arg(long, value_name = "BYTES", value_parser = log_size, default_value_t = limits::LOG_BYTES)]
    log_size: u64,
    /// Says nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

fn target(text: &str) -> Result<EventTarget, String> {
    EventTarget::parse(text).ok_or_else(|| format!("not one of {}", EventTarget::FORMS))
}

/// A target that a run can log to.
pub(crate) fn live_target(text: &str) -> Result<EventTarget, String> {
    target(text)?.is_live().then(|| target(text)).ok_or_else(|| {
        "is made when a run is done: use `inqueue events RUN --to` (a run logs to evt: or \
         syslog:)"
            .to_owned()
    })?
}

/// A size that a file of an event log may have.
pub(crate) fn log_size(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    let most = limits::LOG_BYTES_MAX;
    if (1..=most).contains(&bytes) { Ok(bytes) } else { Err(format!("not from 1 to {most}")) }
}

pub(crate) fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let exported = deliver::events(&args.run, &args.to, args.log_size)?;
    if exported.parts_uncommitted > 0 {
        let parts = exported.parts_uncommitted;
        output::tell(&format!(
            "{parts} parts of the run are not committed: their events come later"
        ));
    }
    if !args.quiet {
        let (events, size) = (exported.events, output::bytes(exported.bytes));
        writeln!(io::stdout().lock(), "{events} events, {size}, in {}", output::shown(&args.to))?;
    }
    Ok(ExitCode::SUCCESS)
}
