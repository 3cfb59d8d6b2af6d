//! `inqueue-gen`: makes a synthetic mail queue, its directory, and the manifest of what must become
//! of each message.
//!
//! What it deliberately does not do: anything but reading the command line and telling how it went.
//!
//! Invariant: exit code 0: the queue is whole; 1: the file system failed; 2: the request was
//! refused.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use inqueue_gen::{
    DEFAULT_SIZE_MEAN, Format, GenError, Mix, Options, generate, list_hazards, parse_rfc3339,
};

/// Makes a synthetic mail queue, its directory, and the manifest of what must become of each
/// message.
#[derive(Debug, Parser)]
#[command(name = "inqueue-gen", version)]
struct Cli {
    /// How many messages.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    messages: u64,
    /// The seed: the same gives the same bytes.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The format of the queue.
    #[arg(long, value_enum, default_value_t = Kind::Segment)]
    format: Kind,
    /// `all`, `none`, or NAME=SHARE,... (shares of the messages, 0 to 1).
    #[arg(long, value_name = "MIX", default_value = "all")]
    hazards: String,
    /// The clock of the run that the manifest is for.
    #[arg(long, value_name = "RFC3339", default_value = "2026-01-02T03:04:05Z")]
    now: String,
    /// The folder to write to.
    #[arg(long, value_name = "DIR", required_unless_present = "list_hazards")]
    out: Option<PathBuf>,
    /// Mean size of a message in bytes: scales the whole distribution.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SIZE_MEAN)]
    size_mean: u32,
    /// Among how many post offices the messages are divided: at most 4096 in each. With 1, `queue`
    /// is itself the post office.
    #[arg(long, value_name = "N")]
    post_offices: Option<u64>,
    /// Print the hazards and end.
    #[arg(long)]
    list_hazards: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Segment,
    Mbox,
    Maildir,
    Eml,
    #[value(name = "postoffice")]
    PostOffice,
}

impl From<Kind> for Format {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Segment => Self::Segment,
            Kind::Mbox => Self::Mbox,
            Kind::Maildir => Self::Maildir,
            Kind::Eml => Self::Eml,
            Kind::PostOffice => Self::PostOffice,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list_hazards {
        let listed = std::io::stdout().write_all(list_hazards().as_bytes());
        return if listed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    }
    let Some(now) = parse_rfc3339(&cli.now) else {
        tell(&format!("--now: `{}` is not a time of RFC 3339", cli.now));
        return ExitCode::from(2);
    };
    if cli.post_offices.is_some() && !matches!(cli.format, Kind::PostOffice) {
        tell("--post-offices needs --format postoffice");
        return ExitCode::from(2);
    }
    match run(&cli, now) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error.to_string());
            ExitCode::from(if matches!(error, GenError::Io { .. }) { 1 } else { 2 })
        }
    }
}

fn run(cli: &Cli, now: i64) -> Result<(), GenError> {
    let options = Options {
        messages: cli.messages,
        seed: cli.seed,
        format: cli.format.into(),
        hazards: Mix::parse(&cli.hazards)?,
        now,
        size_mean: cli.size_mean,
        post_offices: cli.post_offices.unwrap_or(1),
    };
    let start = Instant::now();
    let report = generate(&options, cli.out.as_deref().unwrap_or_else(|| ".".as_ref()))?;
    let micros = start.elapsed().as_micros().max(1);
    tell(&format!(
        "{} messages ({} damaged), {} bytes in {}.{:03} s: {} MB/s",
        report.messages,
        report.damaged,
        report.bytes,
        micros / 1_000_000,
        micros / 1_000 % 1_000,
        u128::from(report.bytes) / micros
    ));
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a program's messages to its user go to standard error")]
fn tell(text: &str) {
    eprintln!("inqueue-gen: {text}");
}
