//! The command line of Inqueue: one file a command, and what they share.
//!
//! Exit codes: 0 done; 1 could not run or did not finish; 2 usage; 3 done, but something was
//! damaged or quarantined. Errors go to standard error, each on one line: `inqueue: ...`, with the
//! chain of causes. A closed pipe on standard output ends a command quietly. Not here: anything
//! that looks into a message; commands use the library's public API alone.

mod audit;
mod check;
mod convert;
mod drain;
mod events;
mod inspect;
mod json;
mod message;
mod options;
mod output;
mod replay;
mod reproduce;
mod run;
mod salvage;
mod set_aside;
mod show;
#[cfg(feature = "fault-injection")]
mod simulate;
mod torture;

use clap::{Parser, Subcommand};
use inqueue::spool::Stream;
use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A mail queue processing engine: judges, reports on and rescues queues of mail; loses nothing.
///
/// A QUEUE is a file or folder, with or without its format before it: segment:, mbox: (mboxrd:,
/// mboxo:, mboxcl:, mboxcl2:), maildir:, eml:, ffapi: or postoffice:.
/// No command changes the queue that it reads, but for `run --drain`.
#[derive(Debug, Parser)]
#[command(name = "inqueue", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Audit(audit::AuditArgs),
    Check(check::CheckArgs),
    Salvage(salvage::SalvageArgs),
    Inspect(inspect::InspectArgs),
    Show(show::ShowArgs),
    Convert(convert::ConvertArgs),
    Events(events::EventsArgs),
    /// What a run has put into quarantine: list, show, export, drop
    Quarantine(set_aside::SetAsideArgs),
    /// What failed in a run and wasn't to be reported: list, show, export, drop
    DeadLetter(set_aside::SetAsideArgs),
    /// What a run has kept to be tried again: list, show, export, drop
    Deferred(set_aside::SetAsideArgs),
    Replay(replay::ReplayArgs),
    Reproduce(reproduce::ReproduceArgs),
    Torture(torture::TortureArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // There is nobody to tell where that fails. An error quotes what was given, which may
            // be the name of a file that somebody else has chosen.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            let text = error.render().to_string();
            let lines: Vec<String> = text.lines().map(output::shown).collect();
            output::say(&(lines.join("\n") + "\n"));
            return ExitCode::from(2);
        }
    };
    let result = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Check(args) => check::run(args),
        Command::Salvage(args) => salvage::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Show(args) => show::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Events(args) => events::run(args),
        Command::Quarantine(args) => set_aside::run(Stream::Quarantine, args),
        Command::DeadLetter(args) => set_aside::run(Stream::DeadLetter, args),
        Command::Deferred(args) => set_aside::run(Stream::Deferred, args),
        Command::Replay(args) => replay::run(args),
        Command::Reproduce(args) => reproduce::run(args),
        Command::Torture(args) => torture::run(args),
    };
    output::exit_code(result)
}
