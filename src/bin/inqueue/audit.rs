//! `inqueue audit`: proves from a run's files that nothing is lost, doubled or wrong.

use clap::Args;
use inqueue::audit::{self, Report};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Proves the conservation of a run, finished or crashed, from its files alone.
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// Folder of the run
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
    let report = audit::audit(&args.run, args.expect.as_deref())?;
    let mut to = BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer(&mut to, &report)?;
        writeln!(to)?;
    } else if !args.quiet || !report.is_clean() {
        print(&report, &mut to)?;
    }
    to.flush()?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(report: &Report, to: &mut impl io::Write) -> io::Result<()> {
    let Report { parts, parts_uncommitted, messages, dispositions, .. } = report;
    let damaged = report.counts.damaged;
    writeln!(to, "{messages} messages, {damaged} damaged ranges, {dispositions} dispositions")?;

    if *parts_uncommitted > 0 {
        write!(to, "{parts_uncommitted} of {parts} parts are not committed: ")?;
        writeln!(to, "their mail is in the queue alone")?;
    }
    if report.expected > 0 {
        writeln!(to, "{} held against the manifest", report.expected)?;
    }
    for finding in &report.findings {
        let kind = match finding.kind {
            audit::Kind::Lost => "lost",
            audit::Kind::Doubled => "doubled",
            audit::Kind::Wrong => "wrong",
        };
        writeln!(to, "{kind}: {}: {}", finding.place, finding.what)?;
    }
    writeln!(to, "lost {}, doubled {}, wrong {}", report.lost, report.doubled, report.wrong)
}
