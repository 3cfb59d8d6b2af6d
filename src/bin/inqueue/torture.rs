//! `inqueue torture`: makes queues with every hazard, kills runs of them at random moments, damages
//! them, goes on, and proves what came of it: for people who want to see it.
//!
//! Here: rounds, kills, damage, the ledger. Not here: any of the work: each round runs this program
//! and `inqueue-gen` as anybody would. One number decides all that is random but the moment at
//! which a kill strikes. Invariant: a round that doesn't end as it must leaves its folder behind,
//! and the number that it began with.

use crate::options;
use crate::output;
use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Generates queues, kills and damages, goes on, audits, and prints the ledger.
#[derive(Args, Debug)]
pub(crate) struct TortureArgs {
    /// Messages of each queue
    #[arg(long, value_name = "N", default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    messages: u64,
    /// New rounds are begun for so long; one is always done
    #[arg(long, value_name = "M", default_value_t = 1)]
    minutes: u64,
    /// The number that decides what is made and damaged; the clock when not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where rounds have their folders; among temporary files when not given
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The ledger as one JSON object
    #[arg(long)]
    json: bool,
}

/// What a queue is called in each format, as `inqueue-gen` has it.
const QUEUES: [(&str, &str); 5] = [
    ("segment", "queue.seg"),
    ("mbox", "queue.mbox"),
    ("maildir", "queue"),
    ("eml", "queue"),
    ("postoffice", "queue"),
];
const STREAMS: [&str; 6] = ["accepted", "ndr", "deferred", "dead-letter", "quarantine", "events"];
/// The clock of the manifests.
const NOW: &str = "2026-01-02T03:04:05Z";
/// Kills of one run, after which it is left in peace.
const KILLS_MAX: u64 = 12;

/// What was done, and what came of it.
#[derive(Debug, Default, serde::Serialize)]
struct Ledger {
    seed: u64,
    rounds: u64,
    messages: u64,
    faults: u64,
    guards_killed: u64,
    engines_killed: u64,
    queues_damaged: u64,
    damaged_ranges: u64,
    lost: u64,
    doubled: u64,
    wrong: u64,
    streams_that_differ: u64,
}

/// Numbers from a seed.
struct Numbers {
    seed: u64,
    drawn: u64,
}

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        let drawn = self.drawn.to_le_bytes();
        xxhash_rust::xxh3::xxh3_64_with_seed(&drawn, self.seed) % bound.max(1)
    }
}

pub(crate) fn run(args: &TortureArgs) -> anyhow::Result<ExitCode> {
    let clock = options::now(None)?.as_s();
    let seed = args.seed.unwrap_or_else(|| clock.unsigned_abs());
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("inqueue-torture-{seed}")),
    };
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let tools = Tools::find()?;
    let mut ledger = Ledger { seed, ..Ledger::default() };
    let begun = Instant::now();
    while ledger.rounds == 0 || begun.elapsed() < Duration::from_secs(args.minutes * 60) {
        let round = Round {
            tools: &tools,
            folder: folder.join(format!("round-{}", ledger.rounds)),
            messages: args.messages,
            seed: seed.wrapping_add(ledger.rounds),
        };
        if round.folder.exists() {
            bail!("{}: is there (name another --folder)", round.folder.display());
        }
        let before = ledger.wrongs();
        round.go(&mut ledger)?;
        ledger.rounds += 1;
        if ledger.wrongs() > before {
            let (folder, seed) = (round.folder.display(), round.seed);
            output::tell(&format!("round of seed {seed} is wrong; it is left in {folder}"));
        } else {
            fs::remove_dir_all(&round.folder)?;
        }
    }
    print(&ledger, args.json)?;
    // Only where nothing was left in it.
    let _ = fs::remove_dir(&folder);
    Ok(if ledger.wrongs() == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl Ledger {
    const fn wrongs(&self) -> u64 {
        self.lost + self.doubled + self.wrong + self.streams_that_differ
    }
}

fn print(ledger: &Ledger, json: bool) -> anyhow::Result<()> {
    let value = serde_json::to_value(ledger)?;
    let mut to = io::stdout().lock();
    if json {
        writeln!(to, "{value}")?;
        return Ok(());
    }
    for (name, count) in value.as_object().into_iter().flatten() {
        writeln!(to, "{:<24}{count:>14}", name.replace('_', " "))?;
    }
    Ok(())
}

/// The programs.
struct Tools {
    inqueue: PathBuf,
    generator: PathBuf,
}

impl Tools {
    fn find() -> anyhow::Result<Self> {
        let inqueue = std::env::current_exe()?;
        let beside = inqueue.with_file_name("inqueue-gen");
        let generator = if beside.exists() { beside } else { PathBuf::from("inqueue-gen") };
        match Command::new(&generator).arg("--version").stdout(Stdio::null()).status() {
            Ok(_) => Ok(Self { inqueue, generator }),
            Err(error) => bail!(
                "inqueue-gen makes the queues, and isn't beside this program: {error} \
                 (cargo build --release --workspace)"
            ),
        }
    }
}

/// One queue, and what is done to it.
struct Round<'t> {
    tools: &'t Tools,
    folder: PathBuf,
    messages: u64,
    seed: u64,
}

impl Round<'_> {
    fn go(&self, ledger: &mut Ledger) -> anyhow::Result<()> {
        let mut numbers = Numbers { seed: self.seed, drawn: 0 };
        let kind = usize::try_from(numbers.below(QUEUES.len() as u64))?;
        let (format, name) = QUEUES.get(kind).copied().unwrap_or(("segment", "queue.seg"));
        self.generate(format)?;
        let queue = self.folder.join(name);
        let begun = Instant::now();
        finish(self.run(format, &queue, "whole").spawn()?)?;
        let longest = begun.elapsed();
        let report = self.audit("whole", true)?;
        ledger.messages += number(&report, "/messages");
        ledger.faults += number(&report, "/counts/faults");
        self.kill(format, &queue, longest, &mut numbers, ledger)?;
        let report = self.audit("killed", true)?;
        ledger.add(&report);
        ledger.streams_that_differ += self.differences()?;
        if queue.is_file() {
            self.damage(format, &queue, &mut numbers, ledger)?;
        }
        Ok(())
    }

    fn generate(&self, format: &str) -> anyhow::Result<()> {
        let mut command = Command::new(&self.tools.generator);
        command.args(["--format", format, "--messages", &self.messages.to_string()]);
        command.args(["--seed", &self.seed.to_string(), "--now", NOW]);
        let output = command.arg("--out").arg(&self.folder).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(())
    }

    fn run(&self, format: &str, queue: &Path, out: &str) -> Command {
        let mut command = Command::new(&self.tools.inqueue);
        command.arg("run").arg(format!("{format}:{}", queue.display()));
        command.arg("--directory").arg(self.folder.join("directory.txt"));
        command.args(["--now", NOW, "--hostname", "torture.example", "--quiet"]);
        // A process that is killed loses nothing that the system has: syncs would only take time.
        command.args(["--sync", "never", "--part-size", "256K"]);
        command.arg("--out").arg(self.folder.join(out));
        command
    }

    /// Runs, and kills the guard or the engine at random moments, until it comes to its end.
    fn kill(
        &self,
        format: &str,
        queue: &Path,
        longest: Duration,
        numbers: &mut Numbers,
        ledger: &mut Ledger,
    ) -> anyhow::Result<()> {
        let micros = u64::try_from(longest.as_micros())?;
        let mut kills = 0;
        loop {
            let mut guard = self.run(format, queue, "killed").spawn()?;
            while kills < KILLS_MAX && guard.try_wait()?.is_none() {
                std::thread::sleep(Duration::from_micros(numbers.below(micros)));
                let engine = engine_of(&guard).filter(|_| numbers.below(2) == 0);
                if let Some(engine) = engine {
                    // It may have ended meanwhile.
                    let killed = rustix::process::kill_process(engine, Signal::KILL).is_ok();
                    ledger.engines_killed += u64::from(killed);
                    kills += 1;
                } else {
                    guard.kill()?;
                    kills += 1;
                    break;
                }
            }
            let status = guard.wait()?;
            match status.code() {
                Some(0 | 3) => return Ok(()),
                Some(code) => bail!("a run that was killed ended with {code}"),
                None => ledger.guards_killed += 1,
            }
        }
    }

    /// Changes bytes of the queue's file, or cuts it off, and runs it: whatever it is then, the run
    /// ends, and its audit is clean.
    fn damage(
        &self,
        format: &str,
        queue: &Path,
        numbers: &mut Numbers,
        ledger: &mut Ledger,
    ) -> anyhow::Result<()> {
        let mut bytes = fs::read(queue)?;
        for _ in 0..=numbers.below(40) {
            let at = usize::try_from(numbers.below(bytes.len() as u64))?;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
        if numbers.below(3) == 0 {
            bytes.truncate(usize::try_from(numbers.below(bytes.len() as u64))?);
        }
        let damaged = self.folder.join("damaged");
        fs::write(&damaged, bytes)?;
        finish(self.run(format, &damaged, "of-damaged").spawn()?)?;
        let report = self.audit("of-damaged", false)?;
        ledger.queues_damaged += 1;
        ledger.damaged_ranges += number(&report, "/counts/damaged");
        ledger.add(&report);
        Ok(())
    }

    fn audit(&self, out: &str, expect: bool) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.tools.inqueue);
        command.arg("audit").arg(self.folder.join(out)).arg("--json");
        if expect {
            command.arg("--expect").arg(self.folder.join("manifest.jsonl"));
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Files of streams that aren't the same in both runs.
    fn differences(&self) -> anyhow::Result<u64> {
        let mut differences = 0;
        for stream in STREAMS {
            let [whole, killed] = ["whole", "killed"].map(|run| self.folder.join(run).join(stream));
            let names = |folder: &Path| -> io::Result<Vec<_>> {
                let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
                let mut names: Vec<_> = names.collect::<io::Result<_>>()?;
                names.sort_unstable();
                Ok(names)
            };
            let (ours, theirs) = (names(&whole)?, names(&killed)?);
            differences += u64::from(ours != theirs);
            for name in ours.iter().filter(|name| theirs.contains(name)) {
                let same = fs::read(whole.join(name))? == fs::read(killed.join(name))?;
                differences += u64::from(!same);
            }
        }
        Ok(differences)
    }
}

impl Ledger {
    fn add(&mut self, report: &Value) {
        self.lost += number(report, "/lost");
        self.doubled += number(report, "/doubled");
        self.wrong += number(report, "/wrong");
    }
}

fn number(report: &Value, at: &str) -> u64 {
    report.pointer(at).and_then(Value::as_u64).unwrap_or(0)
}

/// Waits for a program that must come to its end.
fn finish(mut child: Child) -> anyhow::Result<()> {
    match child.wait()?.code() {
        Some(0 | 3) => Ok(()),
        code => bail!("a run that nobody disturbed ended with {code:?}"),
    }
}

/// The engine that a guard has split off, where it has one now.
fn engine_of(guard: &Child) -> Option<Pid> {
    let id = guard.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    let first = children.split_whitespace().next()?;
    Pid::from_raw(first.parse().ok()?)
}
