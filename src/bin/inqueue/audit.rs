//! `inqueue audit`: proves from a run's files that nothing is lost, doubled or wrong.

use crate::options;
use crate::output::{shown, usage, write_json};
use clap::Args;
use inqueue::audit::{self, Finding, Report};
use inqueue::queue::envelope::RecipientOrder;
use inqueue::salvage::{self, Proof};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Proves the conservation of a run, finished or crashed, from its files alone; or of a salvage,
/// from the old queue, the new one and the ledger.
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// Folder of the run, or of the salvage
    run: PathBuf,
    /// Holds the run against this manifest of inqueue-gen, too
    #[arg(long, value_name = "MANIFEST")]
    expect: Option<PathBuf>,
    /// Says what was found as one JSON object
    #[arg(long)]
    json: bool,
    /// Says nothing but what is wrong
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    if salvage::is_salvaged(&args.run) {
        return prove(args);
    }
    let report = audit::audit(&args.run, args.expect.as_deref())?;
    let mut to = BufWriter::new(io::stdout().lock());
    if args.json {
        write_json(&mut to, &report)?;
    } else if !args.quiet || !report.is_clean() {
        print(&report, &mut to)?;
    }
    to.flush()?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn prove(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    if args.expect.is_some() {
        return Ok(usage("a salvage is held against its queue, not against a manifest"));
    }
    let clock = options::clock(None, RecipientOrder::default())?;
    let proof = salvage::prove(&args.run, &clock)?;
    let mut to = BufWriter::new(io::stdout().lock());
    if args.json {
        write_json(&mut to, &proof)?;
    } else if !args.quiet || !proof.is_clean() {
        let Proof { files, records, lost, doubled, wrong, .. } = &proof;
        writeln!(to, "{files} files, {records} records of the old queue")?;
        print_findings(&proof.findings, &mut to)?;
        writeln!(to, "lost {lost}, doubled {doubled}, wrong {wrong}")?;
    }
    to.flush()?;
    Ok(if proof.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print_findings(findings: &[Finding], to: &mut impl io::Write) -> io::Result<()> {
    for finding in findings {
        let kind = match finding.kind {
            audit::Kind::Lost => "lost",
            audit::Kind::Doubled => "doubled",
            audit::Kind::Wrong => "wrong",
        };
        writeln!(to, "{kind}: {}: {}", shown(&finding.place), shown(&finding.what))?;
    }
    Ok(())
}

fn print(report: &Report, to: &mut impl io::Write) -> io::Result<()> {
    let Report { parts, parts_uncommitted, messages, dispositions, .. } = report;
    let damaged = report.counts.damaged;
    writeln!(to, "{messages} messages, {damaged} damaged ranges, {dispositions} dispositions")?;

    if *parts_uncommitted > 0 {
        write!(to, "{parts_uncommitted} of {parts} parts are not committed: ")?;
        writeln!(to, "their mail is in the queue alone")?;
    }
    if report.dropped + report.replayed > 0 {
        let (dropped, replayed) = (report.dropped, report.replayed);
        writeln!(to, "{dropped} records dropped since, {replayed} replayed into other runs")?;
    }
    if report.expected > 0 {
        writeln!(to, "{} held against the manifest", report.expected)?;
    }
    print_findings(&report.findings, to)?;
    writeln!(to, "lost {}, doubled {}, wrong {}", report.lost, report.doubled, report.wrong)
}
