//! `inqueue replay RUN`: what a run has set aside goes through again, into a new run.
//!
//! Here: what is chosen, and what is said of it. Not here: the run itself (`run`), and how a replay
//! that was killed goes on (`inqueue::deliver`).

use crate::options;
use crate::output::{self, tell};
use crate::run::{self, RunArgs};
use crate::set_aside::FilterArgs;
use clap::{ArgAction, Args};
use inqueue::deliver::{self, PassedOver, Prepared, Replay};
use inqueue::spool::Stream;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Sends through again what a run has set aside, into a new run, each record once; the same command
/// again goes on (docs/set-aside.md).
#[derive(Args, Debug)]
#[command(
    mut_arg("queues", |arg| arg.value_name("RUN").num_args(1).action(ArgAction::Set)
        .help("Folder of the run whose records go through again").long_help(None)),
    mut_arg("out", |arg| arg.value_name("NEW")
        .help("Folder of the new run: made if it isn't there; where it holds this replay, it goes \
            on").long_help(None)),
    mut_arg("drain", |arg| arg.hide(true)),
    mut_arg("recipients", |arg| arg.hide(true))
)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    stream: StreamArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many records, in queue order
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only those that were tried less often; 25 when not given, deferred mail without bound
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
}

/// Which stream.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct StreamArgs {
    /// Messages that a fault has struck
    #[arg(long)]
    quarantine: bool,
    /// Recipients that failed and weren't reported
    #[arg(long)]
    dead_letter: bool,
    /// Recipients that are waiting; they are tried now, whenever they are due
    #[arg(long)]
    deferred: bool,
}

impl StreamArgs {
    const fn stream(&self) -> Stream {
        match (self.quarantine, self.dead_letter) {
            (true, _) => Stream::Quarantine,
            (_, true) => Stream::DeadLetter,
            _ => Stream::Deferred,
        }
    }
}

pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    // What can't be meant is said before any record is bound to the new run.
    if args.run.drain {
        return Ok(output::usage("a replay has no post office to drain"));
    }
    if args.run.directory.is_none() {
        return Ok(output::usage("--directory is needed: the records don't say who exists"));
    }
    let Some(old) = args.run.queues.first() else {
        return Ok(output::usage("the folder of a run is needed"));
    };
    let mut at = Vec::new();
    options::now(None)?.write_rfc3339(&mut at);
    let prepared = deliver::replay(&Replay {
        run: Path::new(old),
        stream: args.stream.stream(),
        into: &args.run.out,
        filter: args.filter.filter(),
        limit: args.limit,
        attempts_max: args.max_attempts,
        at: String::from_utf8_lossy(&at).into_owned(),
    })?;
    if args.run.json {
        writeln!(io::stdout().lock(), "{}", serde_json::json!({ "replay": prepared }))?;
    } else if !args.run.quiet {
        say(args.stream.stream(), &prepared);
    }
    let Some(queue) = prepared.queue else { return Ok(ExitCode::SUCCESS) };
    let mut run = args.run.clone();
    run.queues = vec![format!("segment:{}", queue.display())];
    run::run(&run)
}

fn say(stream: Stream, prepared: &Prepared) {
    let (chosen, stream) = (prepared.chosen, stream.name());
    match (chosen, prepared.went_on) {
        (0, _) => tell(&format!("nothing of {stream} is there to be replayed")),
        (_, true) => tell(&format!("going on with {chosen} records of {stream}")),
        _ => tell(&format!("{chosen} records of {stream} go through again")),
    }
    let PassedOver { dropped, replayed, damage, set_aside, in_queue, .. } = prepared.passed_over;
    let PassedOver { no_recipients, attempts, limit, unreadable, .. } = prepared.passed_over;
    let counts = [
        (dropped, "were dropped"),
        (replayed, "were replayed before"),
        (damage, "are damage, no messages (show or export them)"),
        (set_aside, "can't be read in their own format (show or export them)"),
        (in_queue, "are still in their post office (run that again)"),
        (no_recipients, "have no recipients"),
        (attempts, "were tried often enough (--max-attempts)"),
        (limit, "are over the limit"),
        (unreadable, "can't be read: the stream was altered (audit the run)"),
    ];
    for (count, what) in counts {
        if count > 0 {
            tell(&format!("passed over: {count} {what}"));
        }
    }
}
