//! The command line of Inqueue: reads it, calls the command, turns its end into an exit code.
//!
//! Exit codes: 0 done; 1 could not run or did not finish; 2 usage; 3 done, but something was
//! quarantined.

mod audit;
mod options;
mod run;

use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Processes, inspects and rescues queues of mail.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Audit(audit::AuditArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Audit(args) => audit::run(&args),
    };
    result.unwrap_or_else(|error| {
        // Where standard error is gone there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "inqueue: {}", told(&error));
        ExitCode::from(1)
    })
}

/// An error with its causes, but for those that its own text tells already.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        text if text.contains(&cause) => told,
        text => format!("{text}: {cause}"),
    })
}
