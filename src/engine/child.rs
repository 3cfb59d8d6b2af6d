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
        Ok(Self { process, hear, words: Vec::new(), desks, watch, hung: Vec::new() })
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
    pub(super) fn listen(&mut self, wait_ms: u64) -> Result<Sign, EngineError> {
        if !wait(&self.hear, wait_ms).map_err(EngineError::Process)? {
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
            return Ok(Sign::Fault(thread, signal));
        }
        // Words are its last.
        self.words.extend(said.iter().take(count));
        self.hear.read_to_end(&mut self.words).map_err(EngineError::Process)?;
        Ok(Sign::Over)
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
        let in_hand = self.desks.filter_map(|desk| self.watch.board.in_hand(desk));
        let in_hand = in_hand.map(|(in_hand, (offset, _))| (in_hand, offset));
        Ok(End::Died(how, in_hand.collect()))
    }
}

/// Runs it in a thread as workers have it: a stack that one of them overflows with a message is
/// overflowed here too. That of a process's first thread may be larger.
pub(super) fn as_worker<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

pub(super) fn signal_name(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    name.map_or_else(|| format!("signal {signal}"), ToOwned::to_owned)
}

/// Waits a moment for the end of who has the other end of a pipe; true when that has come, or
/// words of theirs.
fn wait(pipe: &PipeReader, ms: u64) -> io::Result<bool> {
    let nanos = i64::try_from(ms * 1_000_000).unwrap_or(i64::MAX);
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
        self.awake += (now - self.last).min(Duration::from_millis(limits::WATCH_MS * 2));
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
