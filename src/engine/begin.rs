//! A run is begun, or opened to go on.
//!
//! A new run: the queue is cut into parts, and the plan is written down for good. An old one: what
//! is asked for now must be what the plan says; options that aren't given are taken from it. Not
//! here: the command line. Invariant: nothing is written into a folder before it is sure that the
//! run can begin.

use super::{EngineError, Progress};
use crate::decide::Policy;
use crate::directory::Directory;
use crate::limits;
use crate::mail::date::Time;
use crate::queue::envelope::RecipientOrder;
use crate::queue::{Queue, QueueFile};
use crate::spool::Sync;
use crate::spool::commits::{self, Commit, Log};
use crate::spool::folder::{self, RunFolder};
use crate::spool::plan::{
    self, Accepted, Options, Plan, PlannedDirectory, PlannedPart, PlannedQueue, Program,
};
use std::path::{Path, PathBuf};

/// What a run is asked to do.
#[derive(Debug)]
pub struct Request {
    /// The queues, in order.
    pub queues: Vec<Queue>,
    /// The directory's file; a queue of post offices brings its own.
    pub directory: Option<PathBuf>,
    /// The clock; that of the plan where a run goes on and none is given.
    pub now: Option<Time>,
    /// The clock that a new run gets where none is given.
    pub clock: Time,
    /// Name of this system. As with the clock.
    pub hostname: Option<String>,
    /// The name that a new run gets where none is given.
    pub own_hostname: String,
    /// Bytes of a part. As with the clock; a new run chooses by the size of the queue.
    pub part_bytes: Option<u64>,
    /// What decides about messages.
    pub policy: Policy,
    /// Where forward-paths come from.
    pub recipients: RecipientOrder,
    /// What the accepted stream has of contents.
    pub accepted: Accepted,
}

/// A run, begun or opened: what is left of it can be done.
#[derive(Debug)]
pub struct Run {
    pub(super) folder: RunFolder,
    pub(super) log: Log,
    pub(super) plan: Plan,
    pub(super) queues: Vec<Queue>,
    pub(super) done: Vec<Commit>,
    /// Parts that were done before this process.
    done_before: usize,
    /// Bytes of the commit log that `done` was read from.
    pub(super) good: u64,
}

impl Run {
    /// Begins a run in a folder that doesn't exist or is empty; goes on where the folder holds a
    /// run.
    ///
    /// # Errors
    /// The folder is something else or in use, what is asked for isn't what its plan says, or the
    /// queue can't be read.
    pub fn begin(
        out: &Path,
        request: Request,
        directory: &Directory,
        sync: Sync,
    ) -> Result<Self, EngineError> {
        if request.queues.is_empty() {
            return Err(EngineError::NoQueue);
        }
        if folder::is_run(out) {
            return Self::go_on(out, &request, directory, sync);
        }
        let (mut plan, lists) = request.plan(None, directory)?;
        check_places(out, &plan)?;
        plan.parts = parts(&request.queues, plan.options.part_bytes)?;
        let folder = RunFolder::create(out, &plan, &lists, sync)?;
        let log = Log::open(out, 0, sync)?;
        Ok(Self {
            folder,
            log,
            plan,
            queues: request.queues,
            done: Vec::new(),
            done_before: 0,
            good: 0,
        })
    }

    fn go_on(
        out: &Path,
        request: &Request,
        directory: &Directory,
        sync: Sync,
    ) -> Result<Self, EngineError> {
        let planned = folder::read_plan(out)?;
        let (given, _) = request.plan(Some(&planned.plan.options), directory)?;
        let differences = planned.plan.differences(&given);
        if !differences.is_empty() {
            return Err(EngineError::Differs { path: out.to_owned(), differences });
        }
        let (folder, log, (done, good)) = RunFolder::open(out, &planned.plan, sync)?;
        let (done_before, queues) = (done.len(), planned.queues);
        Ok(Self { folder, log, plan: planned.plan, queues, done, done_before, good })
    }

    /// Parts that were committed by processes before this one.
    pub const fn parts_done(&self) -> usize {
        self.done_before
    }

    /// The program that began it, in words, where this one may write other bytes.
    pub fn begun_by_another(&self) -> Option<String> {
        let program = self.plan.program.as_ref()?;
        program.may_differ(&Program::own()).then(|| program.text())
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        let mut now = Progress::default();
        for commit in &self.done {
            now.count(&self.plan, commit.part, &commit.counts);
        }
        now
    }

    /// Hears of parts that another process has committed; true where there are some.
    pub(super) fn hear(&mut self) -> Result<bool, EngineError> {
        let (commits, good) = commits::read_from(self.folder.path(), self.good)?;
        self.good = good;
        let any = !commits.is_empty();
        self.done.extend(commits);
        Ok(any)
    }

    /// Takes the log over from a process that has ended: a torn line is cut off.
    pub(super) fn take_over(&mut self, sync: bool) -> Result<(), EngineError> {
        // What couldn't be synced was taken back, and may have been heard of before: it isn't done.
        if self.log.bytes(self.folder.path())? < self.good {
            (self.done, self.good) = (Vec::new(), 0);
        }
        self.hear()?;
        let is_done = self.done.len() == self.plan.parts.len();
        Ok(self.log.cut(self.folder.path(), self.good, sync && is_done)?)
    }

    /// All bytes of its queues.
    pub fn total_bytes(&self) -> u64 {
        self.plan.queues.iter().map(|queue| queue.bytes).sum()
    }
}

/// A queue is named once, and the run isn't written into a folder that is read as a queue.
fn check_places(out: &Path, plan: &Plan) -> Result<(), EngineError> {
    let place = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    for (index, queue) in plan.queues.iter().enumerate() {
        let path = &queue.path;
        let is_same = |other: &PlannedQueue| {
            let (ours, others) = (queue.files.first(), other.files.first());
            let file = |file: &QueueFile| (file.identity.device, file.identity.inode);
            other.path == *path || ours.is_some() && ours.map(file) == others.map(file)
        };
        if plan.queues.iter().skip(index + 1).any(is_same) {
            return Err(EngineError::NamedTwice { path: path.clone() });
        }
        // What of the place exists has its links followed, as the queue's path has.
        let real = place.ancestors().find_map(|above| above.canonicalize().ok());
        let is_within = [Some(place.clone()), real].iter().flatten().any(|p| p.starts_with(path));
        if queue.list.is_some() && is_within {
            return Err(EngineError::Within { out: out.to_owned(), queue: path.clone() });
        }
    }
    Ok(())
}

/// Lists of small files, by queue.
type Lists = Vec<Option<Vec<u8>>>;

impl Request {
    /// A run of these queues as the defaults have it: this clock and name for a new run, the plan's
    /// for one that goes on.
    pub fn new(
        queues: Vec<Queue>,
        directory: Option<PathBuf>,
        clock: Time,
        own_hostname: String,
    ) -> Self {
        Self {
            queues,
            directory,
            now: None,
            clock,
            hostname: None,
            own_hostname,
            part_bytes: None,
            policy: Policy::default(),
            recipients: RecipientOrder::default(),
            accepted: Accepted::default(),
        }
    }

    /// The plan, but for its parts; what isn't given is as it was before.
    fn plan(
        &self,
        before: Option<&Options>,
        directory: &Directory,
    ) -> Result<(Plan, Lists), EngineError> {
        let mut queues = Vec::new();
        let mut lists = Vec::new();
        for queue in &self.queues {
            let (planned, list) = PlannedQueue::of(queue)?;
            queues.push(planned);
            lists.push(list);
        }
        let total = queues.iter().map(|queue| queue.bytes).sum();
        let now = match (self.now, before) {
            (Some(now), _) => text(now),
            (None, Some(before)) => before.now.clone(),
            (None, None) => text(self.clock),
        };
        let own = || self.own_hostname.clone();
        let hostname = self.hostname.clone().or_else(|| before.map(|b| b.hostname.clone()));
        let part_bytes = self.part_bytes.or_else(|| before.map(|b| b.part_bytes));
        let options = Options {
            now,
            hostname: hostname.unwrap_or_else(own),
            part_bytes: part_bytes.unwrap_or_else(|| part_bytes_for(total)),
            policy: self.policy,
            recipients: self.recipients,
            accepted: self.accepted,
        };
        let checksum = directory.checksum();
        let directory = PlannedDirectory { path: self.directory.clone(), checksum };
        let (version, program) = (plan::VERSION, Some(Program::own()));
        Ok((Plan { version, queues, directory, options, program, parts: Vec::new() }, lists))
    }
}

fn text(time: Time) -> String {
    let mut out = Vec::new();
    Time::from_s(time.as_s()).write_rfc3339(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Size of a part for a queue of this size: such that there are about [`limits::PARTS_AIM`].
fn part_bytes_for(total: u64) -> u64 {
    let aim = total.div_ceil(limits::PARTS_AIM).next_power_of_two();
    aim.clamp(limits::PART_BYTES_MIN, limits::PART_BYTES_MAX)
}

fn parts(queues: &[Queue], part_bytes: u64) -> Result<Vec<PlannedPart>, EngineError> {
    let total: u64 = queues.iter().map(Queue::total_bytes).sum();
    if part_bytes == 0 || total / part_bytes > limits::PARTS_MAX {
        return Err(EngineError::PartsTooSmall { part_bytes });
    }
    let mut parts = Vec::new();
    for (index, queue) in queues.iter().enumerate() {
        for span in queue.cut(part_bytes)? {
            parts.push(PlannedPart { queue: index, span });
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_was_heard_of_and_taken_back_is_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, out) = (folder.path().join("q.mbox"), folder.path().join("run"));
        std::fs::write(&queue, b"From a@b Thu Jan  1 00:00:00 2026\n\nx\n").unwrap();
        let queues = vec![Queue::open(&format!("mbox:{}", queue.display())).unwrap()];
        let request = Request::new(queues, None, Time::from_s(0), "mta.example".to_owned());
        let directory = Directory::default();
        let mut run = Run::begin(&out, request, &directory, Sync::Never).unwrap();
        let (counts, files) = (crate::spool::Counts::default(), crate::spool::PerStream::default());
        let mut log = Log::open(&out, 0, Sync::Never).unwrap();
        log.append(&[Commit { part: 0, counts, files }], false).unwrap();
        assert!(run.hear().unwrap() && run.done.len() == 1);
        log.cut(&out, 0, false).unwrap();
        run.take_over(false).unwrap();
        assert_eq!((run.done.len(), run.good), (0, 0));
    }

    #[test]
    fn parts_are_about_a_256th_of_the_queue_within_bounds() {
        for (total, part) in [
            (0, 16 << 20),
            (2 << 30, 16 << 20),
            (4 << 30, 16 << 20),
            ((4 << 30) + 1, 32 << 20),
            (10 << 30, 64 << 20),
        ] {
            assert_eq!(part_bytes_for(total), part, "{total}");
        }
    }
}
