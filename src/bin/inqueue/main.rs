//! The command line of Inqueue: one file a command, and what they share.
//!
//! Exit codes: 0 done; 1 could not run or did not finish; 2 usage; 3 done, but something was damaged or quarantined. Errors go to
//! standard error, each on one line: `inqueue: ...`, with the chain of causes. A closed pipe on standard output ends a command
//! quietly. Not here: anything that looks into a message; commands use the library's public API alone.

mod convert;
mod inspect;
mod json;
mod message;
mod output;
mod recipients;
mod show;

use clap::{Parser, Subcommand};
use inqueue::queue::envelope::RecipientOrder;
use output::Ended;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A mail queue processing engine: judges, reports on and rescues queues of mail; loses nothing.
///
/// A QUEUE is a file or folder, with or without its format before it: segment:, mbox: (mboxrd:, mboxo:, mboxcl:, mboxcl2:),
/// maildir: or eml:. No command changes the queue that it reads.
#[derive(Debug, Parser)]
#[command(name = "inqueue", version, about, long_about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
struct Common {
    /// Fields that name the recipients where the format has no envelope: the first kind that a message has counts
    #[arg(long, global = true, value_name = "FIELDS", value_parser = recipients::parse)]
    #[arg(default_value = "x-original-to,delivered-to,to")]
    recipients: RecipientOrder,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Show(show::Args),
    Convert(convert::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // There is nobody to tell where that fails.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let ended = match &cli.command {
        Command::Inspect(args) => inspect::run(args, &cli.common),
        Command::Show(args) => show::run(args, &cli.common),
        Command::Convert(args) => convert::run(args, &cli.common),
    };
    output::exit_code(ended)
}

/// What a command gives: how it ended, or why it did not.
type Outcome = anyhow::Result<Ended>;
