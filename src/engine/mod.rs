//! Runs a queue: workers take parts, judge what is in them and write their files; group commit runs
//! beside them. The only room with threads.
//!
//! `begin` makes or opens a run, `worker` does parts, `message` walks one message, `isolate` is its
//! fence, `commit` makes parts durable. This file starts them, replaces workers that die, and ends
//! the run. Not here: what becomes of a message. Invariants: workers share nothing that is written
//! but lock-free queues; no lock is held while message code runs; what is committed is never done
//! again.

mod begin;
mod commit;
pub mod isolate;
mod message;
mod worker;

pub use begin::{Request, Run};

use crate::decide::Judge;
use crate::directory::Directory;
use crate::event::json;
use crate::limits;
use crate::queue::envelope::RecipientOrder;
use crate::queue::postoffice::list::BagList;
use crate::queue::{Queue, QueueError};
use crate::spool::folder::{RunFolder, SUMMARY};
use crate::spool::part::Written;
use crate::spool::plan::Plan;
use crate::spool::{Counts, SpoolError, Sync};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use crossbeam_deque::Injector;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;

/// What doesn't change the bytes that come out.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'s> {
    /// Workers; as many as processors where none are named.
    pub workers: Option<usize>,
    /// When what is written must be on the disk.
    pub sync: Sync,
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
    /// Workers that died in this process.
    #[serde(skip)]
    pub workers_lost: usize,
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
    recipients: RecipientOrder,
    stop: &'r AtomicBool,
}

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
#[derive(Clone, Copy, Debug)]
struct Task {
    part: u32,
    /// How often it was tried before.
    tries: u32,
}

/// A part that is written, and not yet committed.
#[derive(Debug)]
struct Finished {
    written: Written,
    counts: Counts,
}

/// What workers and the group commit tell.
#[derive(Debug)]
enum Told {
    /// A part is done for good.
    Committed(u32, Counts),
    /// A part couldn't be done.
    Failed(Task, EngineError),
    /// A worker died over a part.
    Lost(Task),
    /// A worker has nothing left to do.
    Ended,
}

/// Runs what a run has left. `progress` is called after each commit.
///
/// # Errors
/// The folder of the run can't be written. What went wrong with single parts stands in the summary.
pub fn run(
    run: &mut Run,
    directory: &Directory,
    settings: Settings<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, EngineError> {
    isolate::install_hook();
    let plan = &run.plan;
    let done: HashSet<u32> = run.done.iter().map(|commit| commit.part).collect();
    let mut now = Progress::default();
    for commit in &run.done {
        now.count(plan, commit.part, &commit.counts);
    }
    let parts = u32::try_from(plan.parts.len()).unwrap_or(u32::MAX);
    let tasks = Injector::new();
    for part in (0..parts).filter(|part| !done.contains(part)) {
        tasks.push(Task { part, tries: 0 });
    }
    progress(&now);
    let context = Context {
        folder: &run.folder,
        plan,
        queues: &run.queues,
        judge: Judge { directory, policy: plan.options.policy, now: plan.options.clock() },
        offices: offices(&run.queues),
        time: plan.options.now.clone().into_bytes(),
        hostname: &plan.options.hostname,
        recipients: plan.options.recipients,
        stop: &settings.stop.0,
    };
    let left = plan.parts.len() - done.len();
    let mut shift = Shift::new(&context, &tasks, now);
    let committed = std::thread::scope(|scope| {
        let (hand_in, finished) = bounded(limits::PARTS_UNCOMMITTED_MAX);
        let tell = shift.tell.clone();
        let (folder, log) = (context.folder, &mut run.log);
        let committer =
            scope.spawn(move || commit::commit(folder, log, settings.sync, &finished, &tell));
        let own = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = settings.workers.unwrap_or_else(own).clamp(1, limits::WORKERS_MAX);
        let workers = workers.min(left.max(1));
        shift.work(scope, workers, &hand_in, progress);
        drop(hand_in);
        // It ends when all that was handed in is committed.
        committer.join().unwrap_or(Err(EngineError::CommitterDied))
    });
    if let Err(error) = committed {
        shift.errors.push(error);
    }
    shift.drain(progress);
    shift.end(settings.sync)
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
        workers: usize,
        hand_in: &Sender<Finished>,
        progress: &mut dyn FnMut(&Progress),
    ) where
        'r: 'scope,
    {
        let (context, tasks, tell) = (self.context, self.tasks, self.tell.clone());
        let start = || {
            let (hand_in, tell) = (hand_in.clone(), tell.clone());
            scope.spawn(move || worker::work(context, tasks, &hand_in, &tell))
        };
        let mut started: Vec<_> = (0..workers).map(|_| start()).collect();
        let mut alive = workers;
        while alive > 0 {
            let Ok(told) = self.told.recv() else { break };
            match told {
                Told::Ended => alive -= 1,
                Told::Lost(task) => {
                    self.lost(task);
                    started.push(start());
                }
                other => self.hear(other, progress),
            }
        }
        for worker in started {
            // One that died has said so, and its panic was told by the hook; a scope that isn't
            // told that we know would panic itself.
            let _ = worker.join();
        }
    }

    fn lost(&mut self, task: Task) {
        self.workers_lost += 1;
        let tries = task.tries + 1;
        let mut line = Vec::new();
        json::worker_lost(&mut line, &self.context.time, task.part, tries);
        if let Err(error) = self.context.folder.log_engine(&line) {
            self.errors.push(error.into());
        }
        if tries < limits::PART_TRIES_MAX {
            self.tasks.push(Task { tries, ..task });
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
            Told::Lost(_) | Told::Ended => {}
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
            workers_lost: self.workers_lost,
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

/// Why a run, or a part of it, can't be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum EngineError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("part {part} is not done: {error}")]
    Part { part: u32, error: Box<EngineError> },
    #[error("part {part} is not done: {tries} workers died over it (see engine.jsonl)")]
    PartLost { part: u32, tries: u32 },
    #[error("the group commit died; what it has logged is safe (run again to go on)")]
    CommitterDied,
    #[error("{}: this run was begun otherwise (run into a new folder, or as it was):\n  {}",
        path.display(), differences.join("\n  "))]
    Differs { path: PathBuf, differences: Vec<String> },
    #[error(
        "parts of {part_bytes} bytes would be more than {} parts (choose a larger --part-size)",
        limits::PARTS_MAX
    )]
    PartsTooSmall { part_bytes: u64 },
    #[error("no queue was named")]
    NoQueue,
    #[error("{}: is named twice (its mail would be delivered twice)", path.display())]
    NamedTwice { path: PathBuf },
    #[error("{}: lies within the queue {} (name another folder)", out.display(), queue.display())]
    Within { out: PathBuf, queue: PathBuf },
}

impl EngineError {
    /// True where going on with other parts makes no sense: the disk is full or broken, or the
    /// queue isn't what was planned.
    const fn stops_the_run(&self) -> bool {
        matches!(self, Self::Spool(_) | Self::Queue(QueueError::Changed { .. }))
    }
}
