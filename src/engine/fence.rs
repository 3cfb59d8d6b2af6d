//! The second fence: the engine runs in a process of its own, and whatever it dies of, or doesn't
//! get through, costs one message.
//!
//! The guard (this process) splits the engine off, looks at the board, and learns of its end. What
//! was in hand is charged in the log of charges, durably, and then tried alone, in processes that
//! may die: who dies alone is convicted, and struck by that fault from then on (`isolate`), as if
//! it had panicked. All others are innocent; where a message is in hand at death after death, and
//! none dies alone, its part is done with nothing beside it, and given up if that dies too. Then
//! the engine is split off again, and goes on with what isn't committed, from saved states. Not
//! here: what becomes of a message that was struck (`message`). Invariants: the guard has one
//! thread, and touches no mail; a guard that is killed takes the engine with it.

use super::board::{Board, InHand};
use super::isolate::{HANG, Stage};
use super::message::Walk;
use super::walk::Trial;
use super::{
    Context, EngineError, Known, Progress, Run, Settings, Summary, Task, isolate, new_board, void,
    work,
};
use crate::directory::Directory;
use crate::queue::Buffers;
use crate::spool::Sync;
use crate::spool::charges::{Charge, Charges, Verdict};
use crate::{limits, sys};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How the engine's process is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// What a message may take, but for framing and writing; large ones have more
    /// ([`limits::MESSAGE_BYTES_PER_S`]).
    pub message_timeout: Duration,
    /// Bytes of memory that the engine may take beyond what the guard has when it begins.
    pub memory_limit: Option<u64>,
}

/// Runs something that may have threads, and comes back when they are gone: before [`supervise`],
/// which must be called from a process with one thread.
///
/// # Errors
/// The system has no room for threads.
pub fn alone<R: Send>(run: impl FnOnce() -> R + Send) -> Result<R, EngineError> {
    rayon::ThreadPoolBuilder::new()
        .build_scoped(rayon::ThreadBuilder::run, |pool| pool.install(run))
        .map_err(|error| EngineError::Process(io::Error::other(error)))
}

/// Runs what a run has left, in a process that is watched. `progress` is called as parts are
/// committed.
///
/// # Errors
/// The folder of the run can't be written, or the engine can't have a process. What went wrong with
/// single parts stands in the summary.
pub fn supervise(
    run: &mut Run,
    directory: &Directory,
    settings: Settings<'_>,
    fence: &Fence,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, EngineError> {
    #[cfg(feature = "fault-injection")]
    super::inject::begin();
    sys::give_memory_back();
    let workers = settings.workers();
    let places = workers * limits::PLACES_PER_WORKER + limits::PARTS_UNCOMMITTED_MAX * 2;
    let mut guard = Guard {
        board: new_board(workers, places)?,
        charges: Charges::read(run.folder.path())?,
        known: Known::default(),
        run,
        directory,
        settings,
        fence: *fence,
        errors: Vec::new(),
        deaths: 0,
        data_bytes_max: data_bytes_max(fence),
        suspicions: HashMap::new(),
        progress,
    };
    guard.watch_over_all()
}

struct Guard<'g> {
    run: &'g mut Run,
    directory: &'g Directory,
    settings: Settings<'g>,
    fence: Fence,
    board: Board<'static>,
    charges: Charges,
    known: Known,
    errors: Vec<EngineError>,
    deaths: usize,
    /// Bytes of data that a process may have.
    data_bytes_max: Option<u64>,
    /// Deaths that a message was in hand at, and nobody was convicted of.
    suspicions: HashMap<(u32, u64), u32>,
    progress: &'g mut dyn FnMut(&Progress),
}

/// What a process is split off for.
#[derive(Clone, Copy)]
enum Work<'w> {
    /// All that is left.
    Rest,
    /// A part, and nothing beside it.
    Part(u32),
    /// Messages that are tried, one after the other.
    Trial(&'w [Charge]),
}

/// How a process ended.
pub(super) enum End {
    /// By itself, with these last words.
    Said(Vec<u8>),
    /// Otherwise, and what was in hand.
    Died(String, Vec<(InHand, u64)>),
}

/// What the engine says at its end.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Report {
    errors: Vec<String>,
    workers_lost: usize,
    /// The run as a whole has failed, with the one error.
    has_failed: bool,
    /// Signature of the faults that tripped the breaker.
    breaker: Option<String>,
}

impl Guard<'_> {
    fn watch_over_all(&mut self) -> Result<Summary, EngineError> {
        self.known.faults = Known::of(&self.charges).faults;
        // Whom a guard before this one has charged, and not tried.
        let charged = self.charges.all().filter(|charge| charge.verdict == Verdict::Charged);
        let charged: Vec<Charge> = charged.cloned().collect();
        self.try_alone(charged)?;
        let mut idle_deaths = 0;
        loop {
            self.known.faults = Known::of(&self.charges).faults;
            let done_before = self.run.done.len();
            let end = self.split(Work::Rest)?;
            self.take_over()?;
            let (how, in_hand) = match end {
                End::Said(words) => match serde_json::from_slice(&words) {
                    Ok(report) => return self.end(report),
                    Err(_) => (NO_WORD.to_owned(), Vec::new()),
                },
                End::Died(how, in_hand) => (how, in_hand),
            };
            self.deaths += 1;
            if self.settings.stop.0.load(Ordering::Relaxed) {
                return self.end(Report::default());
            }
            let is_idle = in_hand.is_empty() && self.run.done.len() == done_before;
            idle_deaths = if is_idle { idle_deaths + 1 } else { 0 };
            if idle_deaths > limits::IDLE_DEATHS_MAX {
                return Err(EngineError::Died { end: ended(&how) });
            }
            self.board.see_death();
            self.charge(&how, &in_hand)?;
        }
    }

    /// Takes over what a process has committed.
    fn take_over(&mut self) -> Result<(), EngineError> {
        self.run.take_over(self.settings.sync == Sync::Commit)?;
        (self.progress)(&self.run.progress());
        Ok(())
    }

    fn is_done(&self, part: u32) -> bool {
        self.run.done.iter().any(|commit| commit.part == part)
    }

    /// Charges what was in hand, and tries each alone. A death that nobody is convicted of stays
    /// with all of them: one whose culprit is found says nothing of a message that takes long
    /// beside it.
    fn charge(&mut self, how: &str, in_hand: &[(InHand, u64)]) -> Result<(), EngineError> {
        let suspects = in_hand.iter().filter(|(suspect, _)| !self.is_done(suspect.part));
        let charge = |(suspect, offset): &(InHand, u64)| Charge {
            part: suspect.part,
            index: suspect.index,
            offset: *offset,
            stage: Stage::of_number(suspect.stage).name().to_owned(),
            end: how.to_owned(),
            verdict: Verdict::Charged,
        };
        let mut charges: Vec<Charge> = suspects.map(charge).collect();
        // Those on the way to a disk are the least likely: each death has one culprit, and who is
        // behind it isn't tried.
        charges.sort_by_key(|one| !Stage::of(&one.stage).is_some_and(Stage::is_fenced));
        self.charges.append(&charges, self.settings.sync != Sync::Never)?;
        if self.try_alone(charges.clone())? {
            return Ok(());
        }
        for suspect in charges {
            let deaths = self.suspicions.entry((suspect.part, suspect.index)).or_default();
            *deaths += 1;
            if *deaths >= limits::SUSPICIONS_MAX {
                self.do_alone(suspect)?;
            }
        }
        Ok(())
    }

    /// Does a part with nothing beside it, in earnest: its message was in hand at death after
    /// death, perhaps because it stood beside the one that kills. If a process dies with it in hand
    /// then too, the part is given up.
    fn do_alone(&mut self, suspect: Charge) -> Result<(), EngineError> {
        let end = self.split(Work::Part(suspect.part))?;
        self.take_over()?;
        match end {
            // What else may have gone wrong is met again.
            End::Said(_) => Ok(()),
            End::Died(end, in_hand) => {
                self.deaths += 1;
                match in_hand.first() {
                    Some((other, _)) if other.index != suspect.index => self.charge(&end, &in_hand),
                    _ => self.give_up(Charge { end, ..suspect }),
                }
            }
        }
    }

    /// Tries messages one at a time, in processes that may die of them; true where one has.
    ///
    /// Who has survived is acquitted. Who a process died of is convicted only where it was the
    /// first in there: another may have left behind what a later one dies of. With that the death
    /// is explained: those behind it are acquitted untried, and met again if they kill too.
    fn try_alone(&mut self, mut suspects: Vec<Charge>) -> Result<bool, EngineError> {
        let mut deaths = 0;
        loop {
            suspects.retain(|suspect| !self.known.given_up.contains(&suspect.part));
            if suspects.is_empty() {
                return Ok(false);
            }
            let (survivors, death) = match self.split(Work::Trial(&suspects))? {
                End::Said(_) => (suspects.len(), None),
                End::Died(how, in_hand) => {
                    let last = in_hand.first().map(|(last, _)| *last);
                    let is_it = |one: &Charge| Some((one.part, one.index)) == last.map(place);
                    // On its way to it the process walks over what its part has before it.
                    let is_of = |one: &Charge| Some(one.part) == last.map(|last| last.part);
                    let at = suspects.iter().position(is_it);
                    let at = at.or_else(|| suspects.iter().position(is_of));
                    let stage = Stage::of_number(last.map_or(0, |last| last.stage));
                    (at.unwrap_or(0), Some((how, stage)))
                }
            };
            if survivors > 0 {
                self.acquit(suspects.drain(..survivors))?;
                deaths = 0;
            } else if let Some((how, stage)) = death {
                deaths += 1;
                if !SENT.contains(&how.as_str()) || deaths == limits::TRIALS_MAX {
                    self.convict(Charge { end: how, ..suspects.remove(0) }, stage)?;
                    self.acquit(suspects.into_iter())?;
                    return Ok(true);
                }
            }
        }
    }

    /// Should the power fail now, they are charged still, and are tried again.
    fn acquit(&mut self, innocent: impl Iterator<Item = Charge>) -> Result<(), EngineError> {
        let acquit = |one| Charge { verdict: Verdict::Acquitted, ..one };
        let acquitted: Vec<Charge> = innocent.map(acquit).collect();
        Ok(self.charges.append(&acquitted, false)?)
    }

    /// A message kills alone, at this stage. Where nothing can keep it from that, its part is given
    /// up.
    fn convict(&mut self, mut suspect: Charge, stage: Stage) -> Result<(), EngineError> {
        stage.name().clone_into(&mut suspect.stage);
        suspect.verdict = Verdict::Convicted;
        let was_kept = self.known.is_struck(suspect.part, suspect.index, stage);
        if stage.is_fenced() && !was_kept {
            Ok(self.charges.append(&[suspect], false)?)
        } else {
            self.give_up(suspect)
        }
    }

    /// Leaves the part of a message to the next run.
    fn give_up(&mut self, suspect: Charge) -> Result<(), EngineError> {
        let Charge { part, index, .. } = suspect;
        if self.known.given_up.insert(part) {
            self.errors.push(EngineError::GivenUp { part, index, end: ended(&suspect.end) });
        }
        let given_up = Charge { verdict: Verdict::GivenUp, ..suspect };
        Ok(self.charges.append(&[given_up], false)?)
    }

    /// Splits a process off for this work, and waits for its end.
    fn split(&mut self, work: Work<'_>) -> Result<End, EngineError> {
        for worker in 0..self.board.workers() {
            self.board.announce(worker, None, (0, 0));
        }
        let (hear, tell) = io::pipe().map_err(EngineError::Process)?;
        let guard = rustix::process::getpid();
        let child = sys::split(|| {
            if bound(guard, self.data_bytes_max).is_err() {
                return 1;
            }
            if self.board.has_seen_death() {
                // Most of a short life would go into zeroing huge pages. What a system doesn't
                // know costs time only.
                let _ = rustix::thread::disable_transparent_huge_pages(true);
            }
            match work {
                Work::Rest => self.engine(tell),
                Work::Part(part) => {
                    // In this process, all others are.
                    self.known.given_up = (0..=u32::MAX).take(self.run.plan.parts.len()).collect();
                    self.known.given_up.remove(&part);
                    self.engine(tell)
                }
                Work::Trial(suspects) => self.try_each(suspects),
            }
        });
        let child = child.map_err(EngineError::Process)?;
        self.watch(child, hear, matches!(work, Work::Trial(_)))
    }

    /// In the process of the engine: does what is left, and says how it went.
    fn engine(&mut self, mut tell: PipeWriter) -> u8 {
        #[cfg(feature = "fault-injection")]
        super::inject::begin_engine();
        let (settings, board) = (self.settings, self.board);
        let result = work(self.run, self.directory, settings, board, &self.known, &mut |_| {});
        let (errors, workers_lost, has_failed) = match result {
            Ok(summary) => (summary.errors, summary.workers_lost, false),
            Err(error) => (vec![error], 0, true),
        };
        let text = |error: &EngineError| {
            let mut text = error.to_string();
            text.truncate(text.floor_char_boundary(limits::TOLD_BYTES_MAX));
            text
        };
        let breaker = errors.iter().find_map(EngineError::breaker).map(ToOwned::to_owned);
        let errors = errors.iter().map(text).collect();
        let report = serde_json::to_vec(&Report { errors, workers_lost, has_failed, breaker });
        let said = report.map_err(io::Error::other).and_then(|report| tell.write_all(&report));
        u8::from(said.is_err())
    }

    /// In a process of its own: walks each message through, and writes nothing.
    fn try_each(&self, suspects: &[Charge]) -> u8 {
        #[cfg(feature = "fault-injection")]
        super::inject::begin_trial();
        isolate::install_hook();
        let (run, settings) = (&*self.run, &self.settings);
        let (plan, queues) = (&run.plan, &run.queues);
        let (folder, directory) = (&run.folder, self.directory);
        let (board, known) = (self.board, &self.known);
        let mut context = Context::new(folder, plan, queues, directory, settings, board, known);
        as_worker(|| {
            for suspect in suspects {
                context.trial = Some(Trial::of(suspect.index, suspect.offset));
                let part = suspect.part;
                let task = Task { part, tries: 0, is_dirty: false, saved: None };
                // An error isn't a death: it is met again when the part is done.
                let _ = Walk::new(&context, 0).part(&task, None, &mut Buffers::default());
            }
        });
        0
    }

    /// Waits for the end of a process, and tells meanwhile how far it is.
    fn watch(&mut self, child: Pid, hear: PipeReader, trial: bool) -> Result<End, EngineError> {
        let (board, budget) = (self.board, self.fence.message_timeout);
        watch(child, hear, board, budget, &mut || {
            if self.settings.stop.0.load(Ordering::Relaxed) {
                board.ask_to_stop();
            }
            if !trial && self.run.hear()? {
                (self.progress)(&self.run.progress());
            }
            Ok(())
        })
    }

    fn end(&mut self, report: Report) -> Result<Summary, EngineError> {
        if let Some(signature) = &report.breaker {
            void(&mut self.charges, signature)?;
        }
        let mut told = report.errors.into_iter().map(EngineError::Told).peekable();
        if let Some(error) = told.next_if(|_| report.has_failed) {
            return Err(error);
        }
        let now = self.run.progress();
        let mut errors = std::mem::take(&mut self.errors);
        errors.extend(told);
        let parts = self.run.plan.parts.len();
        Ok(Summary {
            finished: now.parts == parts,
            parts,
            parts_committed: now.parts,
            counts: now.counts,
            accepted: self.run.plan.options.accepted,
            workers_lost: report.workers_lost,
            deaths: self.deaths,
            errors,
        })
    }
}

/// Waits for the end of a process, and ends it itself where a message takes too long. `meanwhile`
/// is called from time to time.
pub(super) fn watch(
    child: Pid,
    mut hear: PipeReader,
    board: Board<'static>,
    budget: Duration,
    meanwhile: &mut dyn FnMut() -> Result<(), EngineError>,
) -> Result<End, EngineError> {
    let mut watch = Watch::new(board, budget);
    let mut hung = Vec::new();
    while !wait(&hear).map_err(EngineError::Process)? {
        meanwhile()?;
        if hung.is_empty() {
            hung = watch.look();
            if !hung.is_empty() {
                rustix::process::kill_process(child, Signal::KILL)
                    .map_err(|error| EngineError::Process(error.into()))?;
            }
        }
    }
    let mut words = Vec::new();
    hear.read_to_end(&mut words).map_err(EngineError::Process)?;
    let status = loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(error) => return Err(EngineError::Process(error.into())),
            Ok(Some((_, status))) => break status,
        }
    };
    if status.exit_status() == Some(0) {
        return Ok(End::Said(words));
    }
    if !hung.is_empty() {
        return Ok(End::Died(HANG.to_owned(), hung));
    }
    let how = match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => signal_name(signal),
        (None, code) => format!("exit code {}", code.unwrap_or_default()),
    };
    let workers = 0..board.workers();
    let in_hand = workers.filter_map(|worker| board.in_hand(worker));
    let in_hand = in_hand.map(|(in_hand, (offset, _))| (in_hand, offset));
    Ok(End::Died(how, in_hand.collect()))
}

/// Runs it in a thread as workers have it: a stack that one of them overflows with a message is
/// overflowed here too. That of a process's first thread may be larger.
pub(super) fn as_worker<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// The end of an engine that came to its end, and didn't say how it went.
const NO_WORD: &str = "ended without a word";

/// How a process ended, as what it did.
fn ended(end: &str) -> String {
    match end {
        HANG => "hung".to_owned(),
        NO_WORD => NO_WORD.to_owned(),
        end => format!("died of {end}"),
    }
}

/// Ends that may have been sent from outside, and say nothing of a message.
const SENT: [&str; 5] = ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"];

fn signal_name(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    name.map_or_else(|| format!("signal {signal}"), ToOwned::to_owned)
}

/// Waits a moment for the end of who has the other end of a pipe; true when that has come, or
/// words of theirs.
fn wait(pipe: &PipeReader) -> io::Result<bool> {
    let nanos = i64::try_from(limits::WATCH_MS * 1_000_000).unwrap_or(i64::MAX);
    let moment = Timespec { tv_sec: 0, tv_nsec: nanos };
    match rustix::event::poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&moment)) {
        Ok(ready) => Ok(ready > 0),
        // A signal: whoever sent it has set a flag.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// In the new process: it ends with its guard, leaves no core behind, is what the system takes
/// first when memory is short, and has no more of that than it may.
pub(super) fn bound(guard: Pid, data_bytes_max: Option<u64>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(guard) {
        return Err(io::Error::other("the guard is gone"));
    }
    // 1, not 0: that keeps collectors of cores away too (core(5)).
    let bytes = |current| Rlimit { current: Some(current), maximum: Some(current) };
    rustix::process::setrlimit(Resource::Core, bytes(1))?;
    if let Some(limit) = data_bytes_max {
        rustix::process::setrlimit(Resource::Data, bytes(limit))?;
    }
    // Where that isn't allowed, the system chooses by itself.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    Ok(())
}

/// The data that a process split off from this one may have, in bytes, so that it may take so much
/// more than what is there (proc(5): `VmData`).
pub(super) fn data_bytes_max(fence: &Fence) -> Option<u64> {
    let more = fence.memory_limit?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Some((kb.unwrap_or(0) * 1024).saturating_add(more))
}

/// Looks at the board from time to time, and tells who has had the same message in hand for too
/// long.
struct Watch {
    board: Board<'static>,
    budget: Duration,
    last: Instant,
    /// Time that this process was awake: one that was stopped, or its machine, knows nothing of how
    /// long others took.
    awake: Duration,
    /// By worker: what it had in hand at the last look, and since when.
    seen: Vec<Option<(InHand, Duration)>>,
}

impl Watch {
    fn new(board: Board<'static>, budget: Duration) -> Self {
        let seen = vec![None; board.workers()];
        Self { board, budget, last: Instant::now(), awake: Duration::ZERO, seen }
    }

    /// What is in hand for too long.
    fn look(&mut self) -> Vec<(InHand, u64)> {
        let now = Instant::now();
        self.awake += (now - self.last).min(Duration::from_millis(limits::WATCH_MS * 2));
        self.last = now;
        let mut hung = Vec::new();
        for (worker, seen) in self.seen.iter_mut().enumerate() {
            let Some((in_hand, (offset, length))) = self.board.in_hand(worker) else {
                *seen = None;
                continue;
            };
            let since = match seen {
                Some((before, since)) if is_same(before, &in_hand) => *since,
                _ => self.awake,
            };
            *seen = Some((in_hand, since));
            let more = Duration::from_secs(length / limits::MESSAGE_BYTES_PER_S);
            let budget = self.budget + more;
            let is_fenced = Stage::of_number(in_hand.stage).is_fenced();
            let budget = if is_fenced { budget } else { budget * limits::DISK_PATIENCE };
            if self.awake.saturating_sub(since) > budget {
                hung.push((in_hand, offset));
            }
        }
        hung
    }
}

/// The part of a message, and its number there.
const fn place(in_hand: InHand) -> (u32, u64) {
    (in_hand.part, in_hand.index)
}

/// The same message, and not on the way from a disk or to one.
fn is_same(before: &InHand, now: &InHand) -> bool {
    let is_fenced = |in_hand: &InHand| Stage::of_number(in_hand.stage).is_fenced();
    place(*before) == place(*now) && is_fenced(before) == is_fenced(now)
}
