//! One thread at a time, and the next one by a seed; crashes at points that are counted; a log of
//! all that happened.
//!
//! Each thread of the engine has a seat and a weight, by which it is drawn at each point; a thread
//! that would wait for another asks again when its turn comes, but for some turns it isn't drawn.
//! What was done to files is in the log with its bytes, so that a test knows what a disk would have
//! lost. Points are counted over the guard, the engine and trials together, as never two of these
//! are at a point at once. Not here: what is compared in the end (`tests/it/simulation`).
//! Invariant: the same run with the same seed has the same log, byte for byte; nothing of it
//! depends on time.

use super::Point;
use crate::spool::file::{self, Op};
use crate::sys;
use crossbeam_channel::{Receiver, RecvError, Sender, TryRecvError, TrySendError};
use rustix::process::Signal;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Decides the order in which threads run, and limits.
    pub seed: u64,
    /// The points at which it crashes, counted from 1 over all its processes.
    pub crashes: Vec<(u64, Crash)>,
    /// The log of all points.
    pub log: PathBuf,
    /// The folder that the log's paths are relative to; what is done elsewhere isn't in it.
    pub root: PathBuf,
}

/// Who dies, by SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process that has come to the point.
    One,
    /// Its guard, too.
    Both,
}

/// A simulation, in the process of the guard and in those that are split off.
struct Running {
    simulation: Simulation,
    log: File,
    /// How many points have been passed, and how many engines have begun: in memory that all of
    /// them share.
    counts: &'static [AtomicU64],
    guard: u32,
    state: Mutex<State>,
}

/// Who is there, and whose turn it is.
#[derive(Default)]
struct State {
    numbers: u64,
    next_seat: u64,
    seats: Vec<Member>,
    now: Option<u64>,
    /// Turns so far.
    turns: u64,
}

struct Member {
    seat: u64,
    weight: u64,
    /// It asked in vain: before this turn there are others to be drawn.
    rests_until: u64,
    called: Arc<Condvar>,
}

const POINTS: usize = 0;
const ENGINES: usize = 1;
/// How much more often one thread may be drawn than another.
const WEIGHTS: [u64; 4] = [1, 4, 16, 64];
/// Turns for which a thread that has asked in vain isn't drawn.
const RESTS_MAX: u64 = 32;

static RUNNING: OnceLock<Running> = OnceLock::new();

thread_local! {
    /// The seat of this thread; 0 where it has none.
    static SEAT: Cell<u64> = const { Cell::new(0) };
}

/// From now on everything that a run does in this process, and in those that are split off, is
/// simulated.
///
/// # Errors
/// The log can't be written.
pub fn simulate(simulation: Simulation) -> io::Result<()> {
    let log = File::options().create(true).append(true).open(&simulation.log)?;
    let counts = sys::shared_words(2)?;
    let (guard, state) = (std::process::id(), Mutex::default());
    let running = Running { simulation, log, counts, guard, state };
    if RUNNING.set(running).is_ok() {
        file::watch(|op| {
            if let Some(running) = RUNNING.get() {
                running.operation(op);
            }
        });
    }
    Ok(())
}

/// `SplitMix64`, one step.
const fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl State {
    fn below(&mut self, bound: u64) -> u64 {
        self.numbers = mixed(self.numbers);
        self.numbers % bound.max(1)
    }

    /// Draws who is next, and calls it.
    fn draw(&mut self) {
        self.turns += 1;
        let turns = self.turns;
        let all_rest = self.seats.iter().all(|member| member.rests_until > turns);
        let may = |member: &&Member| all_rest || member.rests_until <= turns;
        let sum = self.seats.iter().filter(may).map(|member| member.weight).sum();
        let mut drawn = self.below(sum);
        let next = self.seats.iter().filter(may).find(|member| {
            let left = drawn.checked_sub(member.weight);
            drawn = left.unwrap_or_default();
            left.is_none()
        });
        self.now = next.map(|member| member.seat);
        if let Some(next) = next {
            next.called.notify_one();
        }
    }

    /// A thread has asked in vain.
    fn rest(&mut self, seat: u64) {
        let until = self.turns + self.below(RESTS_MAX);
        let own = self.seats.iter_mut().find(|member| member.seat == seat);
        if let Some(own) = own {
            own.rests_until = until;
        }
    }

    fn add(&mut self, seat: u64) {
        let drawn = usize::try_from(self.below(WEIGHTS.len() as u64)).unwrap_or_default();
        let weight = WEIGHTS.get(drawn).copied().unwrap_or(1);
        self.seats.push(Member { seat, weight, rests_until: 0, called: Arc::default() });
    }
}

impl Running {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a seat.
    fn wait(mut state: MutexGuard<'_, State>, seat: u64) {
        let find = |state: &State| {
            let own = state.seats.iter().find(|member| member.seat == seat);
            own.map(|member| Arc::clone(&member.called))
        };
        let Some(called) = find(&state) else { return };
        while state.now.is_some_and(|now| now != seat) {
            state = called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.now = Some(seat);
    }

    /// A seat is left: another's turn comes.
    fn leave(&self, seat: u64) {
        let mut state = self.state();
        state.seats.retain(|member| member.seat != seat);
        if state.now == Some(seat) {
            state.draw();
        }
    }

    /// Gives the turn away, and waits until it comes back; then counts the point, and crashes here
    /// where that is asked for. `what` is logged.
    fn pass(&self, what: &[u8]) {
        let seat = SEAT.get();
        if seat != 0 {
            let mut state = self.state();
            state.draw();
            Self::wait(state, seat);
        }
        let point = self.count(POINTS) + 1;
        let here = self.simulation.crashes.iter().find(|(at, _)| *at == point);
        if let Some((_, crash)) = here {
            self.log(format!("{seat} crash {crash:?} at {point}\n").as_bytes());
            self.crash(*crash);
        }
        let line = [seat.to_string().as_bytes(), b" ", what, b"\n"].concat();
        self.log(&line);
    }

    fn count(&self, which: usize) -> u64 {
        self.counts.get(which).map_or(0, |count| count.fetch_add(1, Ordering::Relaxed))
    }

    /// A log that can't be written is one that differs: a test sees it.
    fn log(&self, line: &[u8]) {
        let _ = (&self.log).write_all(line);
    }

    fn crash(&self, crash: Crash) -> ! {
        let own = rustix::process::getpid();
        let guard = i32::try_from(self.guard).ok().and_then(rustix::process::Pid::from_raw);
        if let (Crash::Both, Some(guard)) = (crash, guard) {
            let _ = rustix::process::kill_process(guard, Signal::KILL);
        }
        let _ = rustix::process::kill_process(own, Signal::KILL);
        loop {
            std::thread::park();
        }
    }

    /// Something is about to be done to a file.
    fn operation(&self, op: &Op<'_>) {
        let Some(line) = self.line(op) else { return };
        self.pass(&line);
    }

    /// An operation as the log has it; nothing for what lies elsewhere.
    fn line(&self, op: &Op<'_>) -> Option<Vec<u8>> {
        let name = |path: &Path| {
            let path = std::path::absolute(path).ok()?;
            Some(path.strip_prefix(&self.simulation.root).ok()?.display().to_string())
        };
        let of = |file: &File| {
            use std::os::fd::AsRawFd as _;
            name(&fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?)
        };
        let text = match op {
            Op::Open { path, truncates: true } => format!("create {}", name(path)?),
            Op::Open { path, truncates: false } => format!("append {}", name(path)?),
            Op::Write(file, bytes) => {
                let head = format!("write {} {}\n", bytes.len(), of(file)?);
                return Some([head.as_bytes(), bytes].concat());
            }
            Op::SetLength(file, length) => format!("length {length} {}", of(file)?),
            Op::Sync(file) => format!("sync {}", of(file)?),
            Op::SyncAll(path) => format!("sync-all {}", name(path)?),
            Op::MakeFolder(path) if path.is_dir() => return None,
            Op::MakeFolder(path) => format!("folder {}", name(path)?),
            Op::Rename(from, to) => format!("rename {} {}", name(from)?, name(to)?),
            Op::Remove(path) if !path.exists() => return None,
            Op::Remove(path) => format!("remove {}", name(path)?),
        };
        Some(text.into_bytes())
    }
}

/// A thread has its turn, whenever it runs at all.
#[derive(Debug)]
pub(crate) struct Turn(u64);

/// A thread that is about to be started has its place.
#[derive(Debug)]
pub(crate) struct Seat(u64);

/// The engine begins, in this thread, which has the turn.
pub(crate) fn begin() -> Turn {
    if let Some(running) = RUNNING.get() {
        let engine = running.count(ENGINES);
        let mut state = running.state();
        *state = State::default();
        state.numbers = mixed(running.simulation.seed ^ engine << 32);
    }
    Turn(0).seat().sit()
}

impl Turn {
    /// For a thread that is about to be started.
    #[expect(clippy::unused_self, reason = "who has the turn alone may start others")]
    pub(crate) fn seat(&self) -> Seat {
        let Some(running) = RUNNING.get() else { return Seat(0) };
        let mut state = running.state();
        state.next_seat += 1;
        let seat = state.next_seat;
        state.add(seat);
        Seat(seat)
    }

    /// Waits for another thread, which may run meanwhile.
    pub(crate) fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        let Some(running) = RUNNING.get() else { return wait() };
        running.leave(self.0);
        let result = wait();
        let mut state = running.state();
        state.add(self.0);
        Running::wait(state, self.0);
        result
    }
}

impl Seat {
    /// In that thread: waits for its first turn.
    pub(crate) fn sit(self) -> Turn {
        if let Some(running) = RUNNING.get() {
            SEAT.set(self.0);
            Running::wait(running.state(), self.0);
        }
        Turn(self.0)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (Some(running), true) = (RUNNING.get(), self.0 != 0) {
            SEAT.set(0);
            running.leave(self.0);
        }
    }
}

/// A place where another thread may come first.
pub(crate) fn point(point: Point) {
    if let Some(running) = RUNNING.get() {
        let what = match point {
            Point::Take => "take",
            Point::Announce => "announce",
            Point::Save => "save",
            Point::Commit => "commit",
            Point::Committed => "committed",
        };
        running.pass(what.as_bytes());
    }
}

/// A limit; in a simulation it may be smaller, so that what comes of it comes in small queues.
pub(crate) fn bound(limit: usize) -> usize {
    let Some(running) = RUNNING.get() else { return limit };
    match mixed(running.simulation.seed ^ limit as u64) % 4 {
        0 => 1,
        1 => limit / 256 + 1,
        2 => limit / 16 + 1,
        _ => limit,
    }
}

/// Sends, when there is room; false where nobody will ever receive it.
pub(crate) fn send<T>(to: &Sender<T>, mut what: T) -> bool {
    let Some(running) = RUNNING.get() else { return to.send(what).is_ok() };
    loop {
        running.pass(b"send");
        match to.try_send(what) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(back)) => what = back,
        }
        running.state().rest(SEAT.get());
    }
}

/// Receives, when there is something.
pub(crate) fn recv<T>(from: &Receiver<T>) -> Result<T, RecvError> {
    let Some(running) = RUNNING.get() else { return from.recv() };
    loop {
        running.pass(b"receive");
        match from.try_recv() {
            Ok(what) => return Ok(what),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(RecvError),
        }
        running.state().rest(SEAT.get());
    }
}
