//! A process that is split off: how it is bounded, what is heard of it, and how it ended.
//!
//! Not here: what it does, and what its end means for the mail (`fence`, `reproduce`). Invariant:
//! a process that was split off ends with the one that it was split off from.

use super::board::{Board, InHand};
use super::isolate::{HANG, Stage};
use super::{EngineError, Fence};
use crate::{limits, sys};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions};
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How a process ended.
pub(super) enum End {
    /// By itself, with these last words.
    Said(Vec<u8>),
    /// Otherwise, and what was in hand.
    Died(String, Vec<(InHand, u64)>),
}

/// A process that was split off, which is watched: where a message takes too long, it is ended.
pub(super) struct Child {
    process: Pid,
    hear: PipeReader,
    /// What it has said of how it went.
    words: Vec<u8>,
    /// Where on the board it tells what it has in hand.
    desks: Range<usize>,
    watch: Watch,
    hung: Vec<(InHand, u64)>,
    /// The signal of the last fault that it has told.
    told: Option<i32>,
}

/// How a process that is split off is bounded.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    message_timeout: Duration,
    /// Bytes of data that it may have (proc(5): `VmData`).
    data_bytes_max: Option<u64>,
}

impl Bounds {
    /// Its memory is bounded so that it may take so much more than what is there now.
    pub(super) fn of(fence: &Fence) -> Self {
        let &Fence { message_timeout, memory_limit } = fence;
        let data_bytes_max = memory_limit.map(|more| {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
            let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            (kb.unwrap_or(0) * 1024).saturating_add(more)
        });
        Self { message_timeout, data_bytes_max }
    }
}

/// What is heard of a process.
pub(super) enum Sign {
    /// Nothing new, for a moment.
    None,
    /// A thread of it is struck by a signal that it will die of.
    Fault(u32, i32),
    /// Nobody is left who could say anything.
    Over,
}

impl Child {
    /// Splits a process off this one, which has one thread. `run` is called in the new one, with
    /// where it can say how it went, and gives its exit code.
    pub(super) fn split(
        bounds: Bounds,
        board: Board<'static>,
        desks: Range<usize>,
        run: impl FnOnce(PipeWriter) -> u8,
    ) -> Result<Self, EngineError> {
        let (hear, tell) = io::pipe().map_err(EngineError::Process)?;
        let guard = rustix::process::getpid();
        // The end of the new one is heard of when nobody can write any more: here it's moved away.
        let process = sys::split(move || match bound(guard, bounds.data_bytes_max) {
            Ok(()) => run(tell),
            Err(_) => 1,
        });
        let process = process.map_err(EngineError::Process)?;
        let watch = Watch::new(board, bounds.message_timeout, desks.len());
        Ok(Self { process, hear, words: Vec::new(), desks, watch, hung: Vec::new(), told: None })
    }

    /// It will tell what it has in hand at other desks, where nothing is from now on.
    pub(super) fn assign(&mut self, desks: Range<usize>) {
        self.watch.seen = vec![None; desks.len()];
        self.desks = desks;
        for desk in self.desks.clone() {
            self.watch.board.announce(desk, None, (0, 0));
        }
    }

    /// Waits for a sign of it, for so long.
    pub(super) fn listen(&mut self, patience: Duration) -> Result<Sign, EngineError> {
        if !wait(&self.hear, patience).map_err(EngineError::Process)? {
            if self.hung.is_empty() {
                self.hung = self.watch.look(self.desks.clone());
                if !self.hung.is_empty() {
                    rustix::process::kill_process(self.process, Signal::KILL)
                        .map_err(|error| EngineError::Process(error.into()))?;
                }
            }
            return Ok(Sign::None);
        }
        let mut said = [0; sys::FAULT_BYTES];
        let count = self.hear.read(&mut said).map_err(EngineError::Process)?;
        if let Some((thread, signal)) = sys::fault_of(said).filter(|_| count == said.len()) {
            self.told = Some(signal);
            return Ok(Sign::Fault(thread, signal));
        }
        // Words are its last.
        self.words.extend(said.iter().take(count));
        self.hear.read_to_end(&mut self.words).map_err(EngineError::Process)?;
        Ok(Sign::Over)
    }

    /// How it ended, where it has told a fault and is spent: the system may take a while yet to
    /// take it down.
    pub(super) fn end_of_spent(&self) -> Result<Option<End>, EngineError> {
        let Some(signal) = self.told.filter(|_| self.hung.is_empty() && is_spent(self.process))
        else {
            return Ok(None);
        };
        // Whoever handles a fault may end the process by another (a full stack ends in an abort):
        // what it has told last is what it died of.
        if wait(&self.hear, Duration::ZERO).map_err(EngineError::Process)? {
            return Ok(None);
        }
        Ok(Some(End::Died(signal_name(signal), self.in_hand())))
    }

    /// What it has in hand.
    fn in_hand(&self) -> Vec<(InHand, u64)> {
        let in_hand = self.desks.clone().filter_map(|desk| self.watch.board.in_hand(desk));
        in_hand.map(|(in_hand, (offset, _))| (in_hand, offset)).collect()
    }

    /// How it ended, when it is over.
    pub(super) fn end(self) -> Result<End, EngineError> {
        let status = loop {
            match rustix::process::waitpid(Some(self.process), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) | Ok(None) => {}
                Err(error) => return Err(EngineError::Process(error.into())),
                Ok(Some((_, status))) => break status,
            }
        };
        if status.exit_status() == Some(0) {
            return Ok(End::Said(self.words));
        }
        if !self.hung.is_empty() {
            return Ok(End::Died(HANG.to_owned(), self.hung));
        }
        let how = match (status.terminating_signal(), status.exit_status()) {
            (Some(signal), _) => signal_name(signal),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        };
        Ok(End::Died(how, self.in_hand()))
    }
}

/// None of a process's threads has memory left (proc(5), `statm`: 0 pages): each is past its last
/// call. False, too, where the system doesn't say.
///
/// Two looks, as a list that is read while threads end may lack some; what is still there when all
/// of the first look are spent stands in the second.
fn is_spent(process: Pid) -> bool {
    let look = || {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
        let paths = threads.map(|thread| Some(thread.ok()?.path()));
        let is_spent = |path: &PathBuf| {
            std::fs::read(path.join("statm")).is_ok_and(|pages| pages.starts_with(b"0 "))
        };
        paths.map(|path| path.filter(is_spent)).collect::<Option<Vec<PathBuf>>>()
    };
    look().is_some_and(|first| !first.is_empty() && look() == Some(first))
}

/// Runs it in a thread as workers have it: a stack that one of them overflows with a message is
/// overflowed here too. That of a process's first thread is larger.
///
/// # Errors
/// The system has no room for a thread.
pub(super) fn as_worker<R: Send>(run: impl FnOnce() -> R + Send) -> Result<R, EngineError> {
    std::thread::scope(|scope| {
        let thread = worker_thread().spawn_scoped(scope, run).map_err(EngineError::Thread)?;
        Ok(thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)))
    })
}

/// A thread with a worker's stack.
pub(super) fn worker_thread() -> std::thread::Builder {
    std::thread::Builder::new().stack_size(limits::STACK_BYTES)
}

pub(super) fn signal_name(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    name.map_or_else(|| format!("signal {signal}"), ToOwned::to_owned)
}

/// Waits a moment for the end of who has the other end of a pipe; true when that has come, or
/// words of theirs.
fn wait(pipe: &PipeReader, patience: Duration) -> io::Result<bool> {
    let moment = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
    match rustix::event::poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&moment)) {
        Ok(ready) => Ok(ready > 0),
        // A signal: whoever sent it has set a flag.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// In the new process: it ends with its guard, leaves no core behind, is what the system takes
/// first when memory is short, and has no more of that than it may.
fn bound(guard: Pid, data_bytes_max: Option<u64>) -> io::Result<()> {
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
    fn new(board: Board<'static>, budget: Duration, desks: usize) -> Self {
        let seen = vec![None; desks];
        Self { board, budget, last: Instant::now(), awake: Duration::ZERO, seen }
    }

    /// What is in hand for too long, at these desks.
    fn look(&mut self, desks: Range<usize>) -> Vec<(InHand, u64)> {
        let now = Instant::now();
        self.awake += (now - self.last).min(limits::WATCH * 2);
        self.last = now;
        let mut hung = Vec::new();
        for (desk, seen) in desks.zip(&mut self.seen) {
            let Some((in_hand, (offset, length))) = self.board.in_hand(desk) else {
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

/// The same message, and not on the way from a disk or to one.
fn is_same(before: &InHand, now: &InHand) -> bool {
    let is_fenced = |in_hand: &InHand| Stage::of_number(in_hand.stage).is_fenced();
    before.place() == now.place() && is_fenced(before) == is_fenced(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{WaitId, WaitIdOptions};

    #[test]
    fn a_process_is_spent_when_it_has_died_and_not_before() {
        let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Pid::from_child(&sleeper);
        assert!(!is_spent(process));
        sleeper.kill().unwrap();
        // Dead, and not yet taken note of: as one is that its guard leaves to the system.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(process), options).unwrap();
        assert!(is_spent(process));
        sleeper.wait().unwrap();
        assert!(!is_spent(process), "there is none any more");
    }
}
