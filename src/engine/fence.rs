//! The second fence: the engine runs in a process of its own, and whatever it dies of, or doesn't
//! get through, costs one message.
//!
//! The guard (this process) splits the engine off, looks at the board, and learns of its end. What
//! was in hand is charged in the log of charges, durably, and then tried alone, in processes that
//! may die: who dies alone is convicted, and struck by that fault from then on (`isolate`), as if
//! it had panicked. All others are innocent; where a message is in hand at death after death, and
//! none dies alone, its part is done with nothing beside it, and given up if that dies too. Then
//! the engine is split off again, and goes on with what isn't committed, from saved states.
//!
//! Once one has died, time is saved: the message of a thread that tells of its own fault is tried
//! at once; processes that do what comes next are made ready before they are needed; and a process
//! that can do nothing any more isn't waited for while the system takes it down.
//! Not here: what becomes of a message that was struck (`message`), what the processes do
//! (`processes`), and how one is heard of (`child`). Invariants: the guard has one thread, and
//! touches no mail; a guard that is killed takes all others with it; no two processes but trials
//! are at work at once.

mod processes;

use super::board::{Board, InHand};
use super::child::{Bounds, Child, End, Sign, signal_name};
use super::isolate::{HANG, Stage};
use super::{EngineError, Known, Progress, Run, Settings, Summary, new_board, void};
use crate::directory::Directory;
use crate::spool::Sync;
use crate::spool::charges::{Charge, Charges, Verdict};
use crate::{limits, sys};
use processes::{Ready, Report, Work};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
    // A C library keeps the stacks of threads that have ended, and gives them to workers.
    rayon::ThreadPoolBuilder::new()
        .stack_size(limits::STACK_BYTES)
        .build_scoped(rayon::ThreadBuilder::run, |pool| pool.install(run))
        .map_err(|error| EngineError::Thread(io::Error::other(error)))
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
        // Its last desk is that of trials: the engine may be on its way down still.
        board: new_board(workers + 1, places)?,
        workers,
        charges: Charges::read(run.folder.path())?,
        known: Known::default(),
        run,
        directory,
        settings,
        bounds: Bounds::of(fence),
        errors: Vec::new(),
        deaths: 0,
        suspicions: HashMap::new(),
        ready: Vec::new(),
        spent: VecDeque::new(),
        progress,
    };
    let summary = guard.watch_over_all();
    guard.dismiss();
    summary
}

struct Guard<'g> {
    run: &'g mut Run,
    directory: &'g Directory,
    settings: Settings<'g>,
    bounds: Bounds,
    board: Board<'static>,
    /// Workers of the engine.
    workers: usize,
    charges: Charges,
    known: Known,
    errors: Vec<EngineError>,
    deaths: usize,
    /// Deaths that a message was in hand at, and nobody was convicted of.
    suspicions: HashMap<(u32, u64), u32>,
    /// Once an engine has died: who does what comes next.
    ready: Vec<Ready>,
    /// Processes that can do nothing any more, and that the system takes down.
    spent: VecDeque<Child>,
    progress: &'g mut dyn FnMut(&Progress),
}

/// A message that was tried while its engine was on its way down.
struct Tried {
    place: (u32, u64),
    is_convicted: bool,
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
            let done_before = self.run.done.len();
            let (end, tried) = self.watch(Work::Rest)?;
            self.take_over()?;
            let (how, in_hand) = match end {
                End::Said(words) => match serde_json::from_slice(&words) {
                    Ok(report) => return self.end(report),
                    Err(_) => (NO_WORD.to_owned(), Vec::new()),
                },
                End::Died(how, in_hand) => (how, in_hand),
            };
            self.count_death()?;
            if self.settings.stop.0.load(Ordering::Relaxed) {
                return self.end(Report::default());
            }
            let is_idle = in_hand.is_empty() && self.run.done.len() == done_before;
            idle_deaths = if is_idle { idle_deaths + 1 } else { 0 };
            if idle_deaths > limits::IDLE_DEATHS_MAX {
                return Err(EngineError::Died { end: ended(&how) });
            }
            self.board.see_death();
            if !tried.as_ref().is_some_and(|tried| tried.is_convicted) {
                self.charge(&how, &in_hand, tried.map(|tried| tried.place))?;
            }
        }
    }

    /// Takes over what a process has committed.
    fn take_over(&mut self) -> Result<(), EngineError> {
        self.run.take_over(self.settings.sync == Sync::Commit)?;
        (self.progress)(&self.run.progress());
        Ok(())
    }

    /// An engine has died. If it couldn't bring something to the disk before, the next one mustn't
    /// go on with its files.
    fn count_death(&mut self) -> Result<(), EngineError> {
        self.deaths += 1;
        match self.board.unsynced() {
            Some(error) => Err(EngineError::Unsynced(io::Error::from_raw_os_error(error))),
            None => Ok(()),
        }
    }

    fn is_done(&self, part: u32) -> bool {
        self.run.done.iter().any(|commit| commit.part == part)
    }

    /// Charges the message that a thread of the engine is dying of, and tries it while the system
    /// takes the engine down, which may take longer. Not what framing and writing died of: that
    /// comes about in the engine alone.
    fn try_early(&mut self, thread: u32, signal: i32) -> Result<Option<Tried>, EngineError> {
        let worker = self.board.worker_of(thread);
        let in_hand = worker.and_then(|worker| self.board.in_hand(worker));
        let is_fenced = |stage| Stage::of_number(stage).is_fenced();
        let Some((suspect, lies)) = in_hand.filter(|(suspect, _)| is_fenced(suspect.stage)) else {
            return Ok(None);
        };
        let charge = charge(&(suspect, lies.0), &signal_name(signal));
        self.charges.append(std::slice::from_ref(&charge), self.settings.sync != Sync::Never)?;
        let is_convicted = self.try_alone(vec![charge])?;
        Ok(Some(Tried { place: suspect.place(), is_convicted }))
    }

    /// Charges what was in hand, and tries each alone that isn't tried yet. A death that nobody is
    /// convicted of stays with all of them: one whose culprit is found says nothing of a message
    /// that takes long beside it.
    fn charge(
        &mut self,
        how: &str,
        in_hand: &[(InHand, u64)],
        tried: Option<(u32, u64)>,
    ) -> Result<(), EngineError> {
        let suspects = in_hand.iter().filter(|(suspect, _)| !self.is_done(suspect.part));
        let charges = suspects.map(|suspect| charge(suspect, how));
        let mut charges: Vec<Charge> = charges.collect();
        // Those on the way to a disk are the least likely: each death has one culprit, and who is
        // behind it isn't tried.
        charges.sort_by_key(|one| !Stage::of(&one.stage).is_some_and(Stage::is_fenced));
        let is_tried = |one: &&Charge| tried == Some((one.part, one.index));
        let untried: Vec<_> = charges.iter().filter(|one| !is_tried(one)).cloned().collect();
        self.charges.append(&untried, self.settings.sync != Sync::Never)?;
        if self.try_alone(untried)? {
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
        let (end, _) = self.watch(Work::Part(suspect.part))?;
        self.take_over()?;
        match end {
            // What else may have gone wrong is met again.
            End::Said(_) => Ok(()),
            End::Died(end, in_hand) => {
                self.count_death()?;
                match in_hand.first() {
                    Some((other, _)) if other.index != suspect.index => {
                        self.charge(&end, &in_hand, None)
                    }
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
            let (survivors, death) = match self.watch(Work::Trial(suspects.clone()))?.0 {
                End::Said(_) => (suspects.len(), None),
                End::Died(how, in_hand) => {
                    let last = in_hand.first().map(|(last, _)| *last);
                    let is_it =
                        |one: &Charge| Some((one.part, one.index)) == last.map(InHand::place);
                    // On its way to it the process walks over what its part has before it.
                    let is_of = |one: &Charge| Some(one.part) == last.map(|last| last.part);
                    let at = suspects.iter().position(is_it);
                    let at = at.or_else(|| suspects.iter().position(is_of));
                    let stage = Stage::of_number(last.map_or(0, |last| last.stage));
                    let is_its_own = last.is_some() && !SENT.contains(&how.as_str());
                    (at.unwrap_or(0), Some((how, stage, is_its_own)))
                }
            };
            if survivors > 0 {
                self.acquit(suspects.drain(..survivors))?;
                deaths = 0;
            } else if let Some((how, stage, is_its_own)) = death {
                deaths += 1;
                if is_its_own || deaths == limits::TRIALS_MAX {
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
            self.known.convict(&suspect);
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

    /// Has a process do this work and waits for its end; tells meanwhile how far all is, and tries
    /// what the engine is dying of.
    fn watch(&mut self, work: Work) -> Result<(End, Option<Tried>), EngineError> {
        let (is_rest, is_trial) = (matches!(work, Work::Rest), matches!(work, Work::Trial(_)));
        let mut child = self.begin(work)?;
        let mut tried = None;
        // While the engine begins, making others ready would be in its way; a trial is soon over.
        let mut are_wanted = self.board.has_seen_death();
        if are_wanted && is_trial {
            are_wanted = false;
            self.make_ready(1);
        }
        let mut is_explained = false;
        loop {
            match child.listen(patience(is_explained, are_wanted))? {
                Sign::None if are_wanted => {
                    are_wanted = false;
                    self.make_ready(limits::READY_MAX);
                }
                Sign::None => {
                    if self.settings.stop.0.load(Ordering::Relaxed) {
                        self.board.ask_to_stop();
                    }
                    if !is_trial && self.run.hear()? {
                        (self.progress)(&self.run.progress());
                    }
                }
                Sign::Fault(thread, signal) => {
                    if is_rest && tried.is_none() {
                        self.board.see_death();
                        are_wanted = false;
                        tried = self.try_early(thread, signal)?;
                    }
                    is_explained = is_trial || tried.as_ref().is_some_and(|one| one.is_convicted);
                }
                Sign::Over => return Ok((child.end()?, tried)),
            }
            if is_explained && let Some(end) = child.end_of_spent()? {
                self.leave(child)?;
                return Ok((end, tried));
            }
        }
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

/// How long to wait for a sign of a process: less for one whose end is known, and is awaited.
const fn patience(is_explained: bool, are_wanted: bool) -> Duration {
    match (is_explained, are_wanted) {
        (true, _) => limits::SPENT,
        (false, true) => limits::START,
        (false, false) => limits::WATCH,
    }
}

/// A charge against what was in hand, and where it lies.
fn charge(suspect: &(InHand, u64), end: &str) -> Charge {
    let (InHand { part, index, stage }, offset) = *suspect;
    let stage = Stage::of_number(stage).name().to_owned();
    Charge { part, index, offset, stage, end: end.to_owned(), verdict: Verdict::Charged }
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
