//! `inqueue check QUEUE`: whether a queue is whole, and what to do where it isn't.
//!
//! Not here: what is looked at (`inqueue::check`), and mending it (`inqueue salvage`).

use crate::options::Recipients;
use crate::output::{bytes, ended, write_json, write_shown};
use clap::Args;
use inqueue::check::{self, Report, Subject};
use inqueue::mail::date::Time;
use std::io::{self, Write};
use std::process::ExitCode;

/// Findings that are told one by one to people.
const TOLD: usize = 50;

/// Look whether a queue is whole: read all of it, and tell what is damaged and what to do
///
/// Nothing is changed. Exit code 0 when all is well, 3 when not.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The queue: FORMAT:PATH, or PATH alone; of a post office all mailbags are looked at
    queue: String,
    #[command(flatten)]
    recipients: Recipients,
    /// The clock, by which locks are stale; else that of the system
    #[arg(long, value_name = "RFC3339", value_parser = crate::options::time)]
    now: Option<Time>,
    /// All findings, in one JSON object
    #[arg(long)]
    json: bool,
    /// How many findings are told one by one
    #[arg(long, value_name = "N", default_value_t = TOLD, conflicts_with = "json")]
    first: usize,
}

pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let subject = Subject::open(&args.queue)?;
    let clock = crate::options::clock(args.now, args.recipients.order())?;
    let report = check::check(&subject, &clock)?;
    let mut out = Vec::new();
    if args.json {
        write_json(&mut out, &report)?;
    } else {
        write_report(&mut out, &report, args.first)?;
    }
    io::stdout().lock().write_all(&out)?;
    Ok(ended(report.damaged()))
}

fn write_report(out: &mut Vec<u8>, report: &Report, first: usize) -> io::Result<()> {
    for finding in report.findings.iter().take(first) {
        write_shown(out, finding.file.as_bytes());
        match (finding.offset, finding.length) {
            (Some(offset), Some(length)) => {
                write!(out, ": offset {offset}, {length} bytes: ")?;
            }
            _ => out.extend_from_slice(b": "),
        }
        out.extend_from_slice(finding.kind.text().as_bytes());
        if !finding.what.is_empty() {
            out.extend_from_slice(b" (");
            write_shown(out, finding.what.as_bytes());
            out.push(b')');
        }
        writeln!(out, "; {}", finding.kind.what_to_do())?;
    }
    let total: u64 = report.counts.values().sum();
    let untold = total.saturating_sub(report.findings.len().min(first) as u64);
    if untold > 0 {
        writeln!(out, "{untold} findings more (--json has them, --first N tells more)")?;
    }
    for (kind, count) in &report.counts {
        writeln!(out, "{count:>9}  {:<20} {}", kind.name(), kind.text())?;
    }
    write!(out, "{}: ", report.format)?;
    if report.post_offices > 0 {
        write!(out, "{} post offices, ", report.post_offices)?;
    }
    let state = if report.is_clean() { "clean" } else { "not clean" };
    writeln!(out, "{} messages, {}: {state}", report.messages, bytes(report.bytes))
}
