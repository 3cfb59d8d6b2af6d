//! Runs a queue: workers take parts, judge what is in them and write their files; group commit runs
//! beside them. The only room with threads and processes.
//!
//! `begin` makes or opens a run, `worker` does parts, `walk` and `message` go through one,
//! `isolate` is a message's fence, `commit` makes parts durable. Round all of it stands `fence`,
//! the second one: it has this done in a process of its own (`child`), and finds out by the
//! `board` what it died of. `breaker` tells bad mail from a broken program. `reproduce` runs one
//! message again that was struck; `schedule` lets a seed decide which thread goes on (tests alone).
//! This file starts the workers, replaces those that die, and ends the run. Not here: what becomes
//! of a message.
//! Invariants: workers share nothing that is written but lock-free queues; no lock is held while
//! message code runs; what is committed is never done again.

mod atomic {
    //! The words of the board; a model of it has others (`tests/board_model.rs`).
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}
mod begin;
mod board;
mod breaker;
mod child;
mod commit;
mod error;
mod fence;
#[cfg(feature = "fault-injection")]
mod inject;
pub mod isolate;
mod message;
pub mod reproduce;
mod schedule;
mod taken;
mod walk;
mod worker;

pub use begin::{Request, Run};
pub use error::EngineError;
pub use fence::{Fence, alone, supervise};
#[cfg(feature = "fault-injection")]
pub use schedule::{Crash, Simulation, simulate};

use crate::decide::Judge;
use crate::directory::Directory;
use crate::event::json;
use crate::limits;
use crate::ndr::ReportingMta;
use crate::queue::Queue;
use crate::queue::envelope::RecipientOrder;
use crate::queue::postoffice::list::BagList;
use crate::spool::charges::{Charge, Charges, Verdict};
use crate::spool::folder::{RunFolder, SUMMARY};
use crate::spool::part::{State, TAILS_BYTES_MAX, Written};
use crate::spool::plan::{Accepted, Plan};
use crate::spool::{Counts, SpoolError, Sync};
use crate::sys;
use board::{Board, STATE};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use crossbeam_deque::Injector;
use isolate::{Fault, Stage};
use schedule::Turn;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use walk::Trial;

/// What doesn't change the bytes that come out.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'s> {
    /// Workers; as many as processors where none are named.
    pub workers: Option<usize>,
    /// When what is written must be on the disk.
    pub sync: Sync,
    /// The same fault on so many messages in a row ends the run.
    pub breaker: u32,
    /// Set from outside: no further part is begun, what is begun is committed.
    pub stop: &'s Stop,
}

/// A request to stop, which a handler of signals may set.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The flag: true asks to stop.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Parts committed.
    pub parts: usize,
    /// Bytes of the queue in those parts.
    pub bytes: u64,
    /// What they have done.
    pub counts: Counts,
}

/// What a run has done, and what it has left.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// All parts are committed.
    pub finished: bool,
    /// Parts of the plan.
    pub parts: usize,
    /// Those that are committed.
    pub parts_committed: usize,
    /// What they have done.
    pub counts: Counts,
    /// What the accepted stream has of contents.
    #[serde(skip_serializing_if = "Accepted::is_copy")]
    pub accepted: Accepted,
    /// Workers that died in the engine's last process.
    #[serde(skip)]
    pub workers_lost: usize,
    /// Processes of the engine that died.
    #[serde(skip)]
    pub deaths: usize,
    /// Why parts aren't committed.
    #[serde(skip)]
    pub errors: Vec<EngineError>,
}

/// What all workers of a run read.
#[derive(Debug)]
struct Context<'r> {
    folder: &'r RunFolder,
    plan: &'r Plan,
    queues: &'r [Queue],
    judge: Judge<'r>,
    /// By queue: what its post offices know.
    offices: Vec<Offices>,
    /// The run's time as events have it.
    time: Vec<u8>,
    hostname: &'r str,
    mta: ReportingMta,
    recipients: RecipientOrder,
    stop: &'r AtomicBool,
    board: Board<'static>,
    /// By part: what messages are known to be struck by.
    known: &'r HashMap<u32, Faults>,
    breaker: u32,
    /// Messages are tried, and nothing is written.
    trial: Option<Trial>,
}

impl Context<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.board.is_asked_to_stop()
    }
}

/// Faults of a part's messages, by their numbers in it: one each for the stages that they kill at.
type Faults = BTreeMap<u64, Vec<Fault>>;

/// The directories of a queue's post offices, by their paths in it.
type Offices = HashMap<String, Directory, ahash::RandomState>;

fn offices(queues: &[Queue]) -> Vec<Offices> {
    let of = |queue: &Queue| {
        let tables = queue.bag_list().map(BagList::offices).unwrap_or_default();
        tables.iter().map(|tables| (tables.path.clone(), Directory::of_office(tables))).collect()
    };
    queues.iter().map(of).collect()
}

/// A part that is to be done.
#[derive(Clone, Debug)]
struct Task {
    part: u32,
    /// How often a worker has died over it.
    tries: u32,
    /// Something may be left of it, which is removed first.
    is_dirty: bool,
    /// How far a process came with it that died.
    saved: Option<Saved>,
}

/// How far a part is.
#[derive(Clone, Debug)]
struct Saved {
    /// Where on the board that is saved.
    place: usize,
    part: u32,
    /// Number of the message that comes next; the last there is when all are done.
    next: u64,
    /// Where it lies in its file.
    offset: u64,
    counts: Counts,
    state: State,
    /// What waits to be written behind that.
    tails: Vec<u8>,
}

impl Saved {
    fn words(&self) -> [u64; STATE] {
        let mut words = [0; STATE];
        let all = [u64::from(self.part), self.next, self.offset].into_iter();
        let all = all.chain(self.counts.words()).chain(self.state);
        for (word, value) in words.iter_mut().zip(all) {
            *word = value;
        }
        words
    }

    fn of(place: usize, (words, tails): ([u64; STATE], Vec<u8>)) -> Self {
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        Self {
            place,
            part: u32::try_from(word(0)).unwrap_or(u32::MAX),
            next: word(1),
            offset: word(2),
            counts: Counts::of_words(std::array::from_fn(|at| word(3 + at))),
            state: std::array::from_fn(|at| word(16 + at)),
            tails,
        }
    }
}

/// What workers take from: parts, and places on the board.
#[derive(Clone, Copy, Debug)]
struct Deal<'d> {
    tasks: &'d Injector<Task>,
    places: &'d Injector<usize>,
}

/// A part that is written, and not yet committed.
#[derive(Debug)]
struct Finished {
    written: Written,
    counts: Counts,
    /// Its place on the board.
    place: Option<usize>,
}

/// What workers and the group commit tell.
#[derive(Debug)]
enum Told {
    /// A part is done for good.
    Committed(u32, Counts),
    /// A part couldn't be done.
    Failed(Task, EngineError),
    /// A worker, of this number, died over a part.
    Lost(usize, Task),
    /// A worker has nothing left to do.
    Ended,
}

/// Runs what a run has left, in this process. `progress` is called after each commit.
///
/// # Errors
/// The folder of the run can't be written. What went wrong with single parts stands in the summary.
pub fn run(
    run: &mut Run,
    directory: &Directory,
    settings: Settings<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, EngineError> {
    let mut charges = Charges::read(run.folder.path())?;
    let board = new_board(settings.workers(), 0)?;
    let summary = work(run, directory, settings, board, &Known::of(&charges), progress)?;
    if let Some(signature) = summary.errors.iter().find_map(EngineError::breaker) {
        void(&mut charges, signature)?;
    }
    Ok(summary)
}

/// A board for so many workers, with places for so many states: none where nobody would go on from
/// them.
fn new_board(workers: usize, places: usize) -> Result<Board<'static>, EngineError> {
    let words = Board::size(workers, places, TAILS_BYTES_MAX);
    let words = sys::shared_words(words).map_err(EngineError::Process)?;
    Ok(Board::new(words, workers, TAILS_BYTES_MAX))
}

/// What is known from deaths before.
#[derive(Debug, Default)]
struct Known {
    faults: HashMap<u32, Faults>,
    /// Parts that aren't tried.
    given_up: HashSet<u32>,
}

impl Known {
    fn of(charges: &Charges) -> Self {
        let mut known = Self::default();
        charges.convictions().iter().for_each(|charge| known.convict(charge));
        known
    }

    fn convict(&mut self, charge: &Charge) {
        if let Some(stage) = Stage::of(&charge.stage) {
            let faults = self.faults.entry(charge.part).or_default();
            let of_one = faults.entry(charge.index).or_default();
            of_one.push(Fault::of_death(stage, &charge.end));
        }
    }

    /// A message is known to be struck at a stage.
    fn is_struck(&self, part: u32, index: u64, stage: Stage) -> bool {
        let faults = self.faults.get(&part).and_then(|faults| faults.get(&index));
        faults.is_some_and(|faults| faults.iter().any(|fault| fault.stage == stage))
    }
}

/// What was convicted of this is to be tried again: it wasn't the mail.
fn void(charges: &mut Charges, signature: &str) -> Result<(), SpoolError> {
    let is_meant = |charge: &&Charge| {
        let fault = Stage::of(&charge.stage).map(|stage| Fault::of_death(stage, &charge.end));
        fault.is_some_and(|fault| fault.signature() == signature)
    };
    let void = |charge: &Charge| Charge { verdict: Verdict::Void, ..charge.clone() };
    let meant: Vec<Charge> = charges.convictions().iter().filter(is_meant).map(void).collect();
    charges.append(&meant, true)
}

/// Does the parts that are left.
fn work(
    run: &mut Run,
    directory: &Directory,
    settings: Settings<'_>,
    board: Board<'static>,
    known: &Known,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, EngineError> {
    isolate::install_hook();
    let turn = schedule::begin();
    let done: HashSet<u32> = run.done.iter().map(|commit| commit.part).collect();
    let now = run.progress();
    let (tasks, places) = (Injector::new(), Injector::new());
    let deal = Deal { tasks: &tasks, places: &places };
    let left = deal_out(deal, &run.plan, board, |part| {
        !done.contains(&part) && !known.given_up.contains(&part)
    });
    progress(&now);
    let (log, folder, plan) = (&mut run.log, &run.folder, &run.plan);
    let context = Context::new(folder, plan, &run.queues, directory, &settings, board, known);
    let mut shift = Shift::new(&context, &tasks, now);
    let committed = std::thread::scope(|scope| {
        let (hand_in, finished) = bounded(schedule::bound(limits::PARTS_UNCOMMITTED_MAX));
        let tell = shift.tell.clone();
        let context = &context;
        let seat = turn.seat();
        let commits = move || {
            let _turn = seat.sit();
            commit::commit(context, log, settings.sync, deal, &finished, &tell)
        };
        let committer = std::thread::Builder::new().spawn_scoped(scope, commits);
        let committer = committer.map_err(EngineError::Thread)?;
        let workers = settings.workers().min(left.max(1));
        shift.work(scope, &turn, workers, deal, &hand_in, progress);
        drop(hand_in);
        // It ends when all that was handed in is committed.
        turn.away(|| committer.join()).unwrap_or(Err(EngineError::CommitterDied))
    });
    if let Err(error) = committed {
        shift.errors.push(error);
    }
    shift.drain(progress);
    shift.end(settings.sync)
}

/// Deals out the parts that are left, and the places of the board; gives how many parts there are.
fn deal_out(deal: Deal<'_>, plan: &Plan, board: Board<'_>, is_left: impl Fn(u32) -> bool) -> usize {
    let mut saved = HashMap::new();
    for place in 0..board.places() {
        match board.saved(place).map(|saved| Saved::of(place, saved)) {
            Some(state) if is_left(state.part) => {
                saved.insert(state.part, state);
            }
            _ => {
                board.forget(place);
                deal.places.push(place);
            }
        }
    }
    let parts = u32::try_from(plan.parts.len()).unwrap_or(u32::MAX);
    let mut left = 0;
    for part in (0..parts).filter(|part| is_left(*part)) {
        let saved = saved.remove(&part);
        let is_dirty = board.has_seen_death() && saved.is_none();
        deal.tasks.push(Task { part, tries: 0, is_dirty, saved });
        left += 1;
    }
    left
}

impl Settings<'_> {
    /// Workers that there will be at most.
    fn workers(&self) -> usize {
        let own = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(own).clamp(1, limits::WORKERS_MAX)
    }
}

impl<'r> Context<'r> {
    fn new(
        folder: &'r RunFolder,
        plan: &'r Plan,
        queues: &'r [Queue],
        directory: &'r Directory,
        settings: &Settings<'r>,
        board: Board<'static>,
        known: &'r Known,
    ) -> Self {
        let now = plan.options.clock();
        Self {
            folder,
            plan,
            queues,
            judge: Judge { directory, policy: plan.options.policy, now },
            offices: offices(queues),
            time: plan.options.now.clone().into_bytes(),
            hostname: &plan.options.hostname,
            mta: ReportingMta::new(&plan.options.hostname, now),
            recipients: plan.options.recipients,
            stop: &settings.stop.0,
            board,
            known: &known.faults,
            breaker: settings.breaker,
            trial: None,
        }
    }
}

/// The thread that looks after the workers.
struct Shift<'r, 'c> {
    context: &'r Context<'c>,
    tasks: &'r Injector<Task>,
    tell: Sender<Told>,
    told: Receiver<Told>,
    now: Progress,
    workers_lost: usize,
    errors: Vec<EngineError>,
}

impl<'r, 'c> Shift<'r, 'c> {
    fn new(context: &'r Context<'c>, tasks: &'r Injector<Task>, now: Progress) -> Self {
        let (tell, told) = unbounded();
        Self { context, tasks, tell, told, now, workers_lost: 0, errors: Vec::new() }
    }

    /// Starts workers, replaces those that die, and returns when none is left.
    fn work<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        turn: &Turn,
        workers: usize,
        deal: Deal<'scope>,
        hand_in: &Sender<Finished>,
        progress: &mut dyn FnMut(&Progress),
    ) where
        'r: 'scope,
    {
        let (context, tell) = (self.context, self.tell.clone());
        let (mut started, mut alive, mut refused) = (Vec::new(), 0, None);
        let mut start = |worker: usize, alive: &mut usize| {
            let (hand_in, tell, seat) = (hand_in.clone(), tell.clone(), turn.seat());
            let run = move || {
                let _turn = seat.sit();
                worker::work(context, worker, deal, &hand_in, &tell);
            };
            match child::worker_thread().spawn_scoped(scope, run) {
                Ok(thread) => {
                    started.push(thread);
                    *alive += 1;
                }
                Err(error) => refused = Some(error),
            }
        };
        for worker in 0..workers {
            start(worker, &mut alive);
        }
        while alive > 0 {
            let Ok(told) = schedule::recv(&self.told) else { break };
            match told {
                Told::Ended => alive -= 1,
                Told::Lost(worker, task) => {
                    self.lost(&task);
                    alive -= 1;
                    start(worker, &mut alive);
                }
                other => self.hear(other, progress),
            }
        }
        // Fewer workers than asked for do the same, as long as there is one.
        if let Some(error) = refused.filter(|_| !self.tasks.is_empty()) {
            self.errors.push(EngineError::Thread(error));
        }
        for worker in started {
            // One that died has said so, and its panic was told by the hook; a scope that isn't
            // told that we know would panic itself.
            let _ = worker.join();
        }
    }

    fn lost(&mut self, task: &Task) {
        self.workers_lost += 1;
        let tries = task.tries + 1;
        let mut line = Vec::new();
        json::worker_lost(&mut line, &self.context.time, task.part, tries);
        if let Err(error) = self.context.folder.log_engine(&line) {
            self.errors.push(error.into());
        }
        if tries < limits::PART_TRIES_MAX {
            let part = task.part;
            self.tasks.push(Task { part, tries, is_dirty: true, saved: None });
        } else {
            self.errors.push(EngineError::PartLost { part: task.part, tries });
        }
    }

    fn hear(&mut self, told: Told, progress: &mut dyn FnMut(&Progress)) {
        match told {
            Told::Committed(part, counts) => {
                self.now.count(self.context.plan, part, &counts);
                progress(&self.now);
            }
            Told::Failed(task, error) => {
                let stops =
                    error.stops_the_run() || self.errors.len() + 1 >= limits::FAILED_PARTS_MAX;
                self.errors.push(EngineError::Part { part: task.part, error: Box::new(error) });
                if stops {
                    self.context.stop.store(true, Ordering::Relaxed);
                }
            }
            Told::Lost(..) | Told::Ended => {}
        }
    }

    fn drain(&mut self, progress: &mut dyn FnMut(&Progress)) {
        while let Ok(told) = self.told.try_recv() {
            self.hear(told, progress);
        }
    }

    fn end(self, sync: Sync) -> Result<Summary, EngineError> {
        let finished = self.now.parts == self.context.plan.parts.len();
        let summary = Summary {
            finished,
            parts: self.context.plan.parts.len(),
            parts_committed: self.now.parts,
            counts: self.now.counts,
            accepted: self.context.plan.options.accepted,
            workers_lost: self.workers_lost,
            deaths: 0,
            errors: self.errors,
        };
        if finished {
            if sync == Sync::End {
                self.context.folder.sync_all()?;
            }
            self.context.folder.write_json(SUMMARY, &summary)?;
        }
        Ok(summary)
    }
}

impl Progress {
    fn count(&mut self, plan: &Plan, part: u32, counts: &Counts) {
        self.parts += 1;
        self.counts.add(counts);
        self.bytes += plan.part_bytes(part);
    }
}
