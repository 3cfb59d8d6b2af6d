//! `inqueue salvage QUEUE --out NEW`: a queue rebuilt, nothing lost, the old one as it was.
//!
//! Not here: what is done (`inqueue::salvage`).

use crate::options::Recipients;
use crate::output::{ended, shown, write_json};
use clap::Args;
use inqueue::check::Subject;
use inqueue::mail::date::Time;
use inqueue::salvage::{self, Salvaged};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Rebuild a damaged queue into a new folder; the old one is never changed
///
/// NEW gets the rebuilt queue, quarantine/ with what can't be rebuilt, byte for byte, and
/// ledger.jsonl, which says where everything of the old queue is. `inqueue audit NEW` proves it. A
/// salvage that was stopped has to be done again, into a new or emptied folder. Exit code 3 when
/// something is in quarantine.
#[derive(Args, Debug)]
pub(crate) struct SalvageArgs {
    /// The queue: FORMAT:PATH, or PATH alone; nobody may work on it meanwhile
    queue: String,
    /// The new folder, which doesn't exist yet or is empty
    #[arg(long, value_name = "NEW")]
    out: PathBuf,
    #[command(flatten)]
    recipients: Recipients,
    /// The clock; else that of the system
    #[arg(long, value_name = "RFC3339", value_parser = crate::options::time)]
    now: Option<Time>,
    /// The summary as one JSON object
    #[arg(long)]
    json: bool,
    /// Says nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &SalvageArgs) -> anyhow::Result<ExitCode> {
    let subject = Subject::open(&args.queue)?;
    let clock = crate::options::clock(args.now, args.recipients.order())?;
    let salvaged = salvage::salvage(&subject, &args.out, &clock, true)?;
    let mut out = Vec::new();
    if args.json {
        write_json(&mut out, &salvaged)?;
    } else if !args.quiet {
        write_summary(&mut out, &salvaged, &args.out)?;
    }
    io::stdout().lock().write_all(&out)?;
    Ok(ended(salvaged.set_aside()))
}

fn write_summary(out: &mut Vec<u8>, salvaged: &Salvaged, new: &Path) -> io::Result<()> {
    let mut all = |what: &str, counts: &BTreeMap<salvage::ledger::Became, u64>| {
        for (became, count) in counts {
            let word = serde_json::to_value(became).unwrap_or_default();
            writeln!(out, "{count:>9} {what} {}", word.as_str().unwrap_or_default())?;
        }
        io::Result::Ok(())
    };
    all("files", &salvaged.tally.files)?;
    all("records", &salvaged.tally.records)?;
    writeln!(out, "{}: done; inqueue audit proves it from both", shown(new.display()))
}
