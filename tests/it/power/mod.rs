//! The power fails: before and after every operation on files that a process does, one after the
//! other, and what wasn't synced is gone, or half there. Then the same command again.
//!
//! The real binary runs once under `strace` (`trace`), on a small queue; its operations are
//! replayed up to each point on a model of a disk (`disk`), which gives the folders that a power
//! failure there may leave. In each of them the real binary runs again. By chance, though by the
//! same at every time, the second one is cut off too, and a third goes on. What is tried, and how
//! often, is said by the tests, and stands in docs/reliability.md. Not here: real power failures,
//! and disks that lie or fail (`disk`).

pub(crate) mod disk;
mod drain;
mod faults;
mod new;
mod real;
mod run;
pub(crate) mod trace;

use crate::crash::Numbers;
use crate::readers::skipped;
use crate::support::text;
use disk::{Disk, Image, Survives, image_of};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Choices by chance at each point, beside [`Survives::ALL`].
const CHANCES: u64 = 2;
/// One of so many states is cut off a second time.
const TWICE: u64 = 10;

/// A command, the folder that it works on, and what must be true once it has come to its end.
struct Scene<'s> {
    /// All folders that are made lie in it.
    folder: &'s Path,
    begin: Image,
    /// With `--sync` as it is tried where it is cut off. Where it isn't, nothing needs to be
    /// synced: that costs time, and changes no byte.
    command: &'s (dyn Fn(&Path, &str) -> Command + Sync),
    sync: &'s str,
    /// Gets the folder, and that of a process that nobody disturbed.
    check: &'s (dyn Fn(&Path, &Path) + Sync),
}

/// Where the power failed, and what was left.
struct State {
    image: Image,
    /// The disk, where the process was killed and the power is on.
    killed: Option<Disk>,
    what: String,
}

/// How much was tried.
#[derive(Debug, Default)]
struct Tried {
    points: usize,
    /// Folders that a failure at one of the points may leave, each of them once.
    states: usize,
    /// Of these, how many were cut off twice.
    twice: usize,
}

/// A process that nobody disturbs, as it was traced.
struct Whole {
    base: PathBuf,
    ops: Vec<trace::Op>,
    code: Option<i32>,
}

/// Skips a test by its name where nothing can be traced.
pub(crate) fn is_skipped(test: &str) -> bool {
    let is_there = trace::is_there();
    if !is_there {
        skipped(test, "there is no strace, or it may not trace");
    }
    !is_there
}

impl Scene<'_> {
    fn folder(&self, number: usize) -> PathBuf {
        // All names have one length, so that paths in files can be set right.
        self.folder.join(format!("v{number:06}"))
    }

    /// Traces the command on what it begins with.
    fn whole(&self) -> Whole {
        let base = self.folder(0);
        disk::write(&self.begin, &base, &[&base]);
        let whole = self.traced(base);
        let code = whole.code;
        assert!(matches!(code, Some(0 | 3)), "{code:?}");
        let mut disk = Disk::of(&self.begin);
        whole.ops.iter().for_each(|op| _ = disk.apply(op));
        let (ours, real) = (disk.image(Survives::All), image_of(&whole.base));
        assert_eq!(ours.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>());
        for (name, bytes) in &real {
            assert!(ours[name] == *bytes, "{name}: the trace doesn't say what is in it");
        }
        (self.check)(&whole.base, &whole.base);
        whole
    }

    fn traced(&self, base: PathBuf) -> Whole {
        let log = base.with_extension("trace");
        let traced = trace::run(&(self.command)(&base, self.sync), &base, &log);
        assert!(traced.outside.is_empty(), "written elsewhere: {:?}", traced.outside);
        let code = traced.output.status.code();
        assert!(code.is_some(), "{}", text(&traced.output.stderr));
        std::fs::remove_file(log).unwrap();
        Whole { base, ops: traced.ops, code }
    }

    /// All states that failures at any point may leave; those that are alike once.
    fn states(&self, ops: &[trace::Op], choices: &[Survives]) -> (usize, Vec<State>) {
        let mut disk = Disk::of(&self.begin);
        let (mut known, mut states, mut points) = (HashSet::new(), Vec::new(), 0);
        let all = std::iter::once(None).chain(ops.iter().map(Some));
        for (at, op) in all.enumerate() {
            if op.is_some_and(|op| !disk.apply(op)) {
                continue;
            }
            let seed = points as u64 * CHANCES;
            let chances = (0..CHANCES).map(|n| Survives::Chance(seed + n));
            points += 1;
            let with_chances = choices.contains(&Survives::Nothing);
            let chances = chances.filter(|_| with_chances);
            for survives in choices.iter().copied().chain(chances) {
                let image = disk.image(survives);
                if known.insert(hash(&image)) {
                    let killed = (survives == Survives::All).then(|| disk.clone());
                    let what = format!("{survives:?} after {at} operations, {}", said(op));
                    states.push(State { image, killed, what });
                }
            }
        }
        (points, states)
    }

    /// Cuts the command off at every point, and runs it again in each of the folders that are left.
    fn cut_off(&self, choices: &[Survives]) -> Tried {
        let whole = self.whole();
        let (points, states) = self.states(&whole.ops, choices);
        let next = AtomicUsize::new(0);
        let twice = AtomicUsize::new(0);
        let failed = Mutex::new(Vec::new());
        let work = || {
            while let Some((at, state)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                states.get(at).map(|state| (at, state))
            } {
                let mut numbers = Numbers(at as u64);
                let is_twice = numbers.next().is_multiple_of(TWICE);
                let mut tries: Vec<(bool, &str)> = vec![(false, "run again")];
                if is_twice {
                    twice.fetch_add(1, Ordering::Relaxed);
                    tries.push((true, "cut off again"));
                }
                for (is_twice, how) in tries {
                    let ended = std::thread::scope(|scope| {
                        let one = scope.spawn(|| {
                            if is_twice {
                                self.again_cut_off(&whole, state, at, choices);
                            } else {
                                self.again(&whole, &state.image, &[&whole.base], 2 * at + 1);
                            }
                        });
                        one.join().is_ok()
                    });
                    if !ended {
                        failed.lock().unwrap().push(format!("{how}: {}", state.what));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(2, usize::from);
            (0..threads).for_each(|_| _ = scope.spawn(work));
        });
        let failed = failed.into_inner().unwrap();
        let (all, first) = (failed.len(), failed.iter().take(60));
        let first: Vec<&str> = first.map(String::as_str).collect();
        assert!(all == 0, "{all} of {} states:\n{}", states.len(), first.join("\n"));
        Tried { points, states: states.len(), twice: twice.into_inner() }
    }

    /// Runs the command in a folder that was left, to its end.
    fn again(&self, whole: &Whole, image: &Image, was: &[&Path], number: usize) {
        let base = self.folder(number);
        disk::write(image, &base, was);
        let output = (self.command)(&base, "never").output().unwrap();
        assert_eq!(output.status.code(), whole.code, "{}", text(&output.stderr));
        (self.check)(&base, &whole.base);
        std::fs::remove_dir_all(base).unwrap();
    }

    /// The same, but that it is cut off at a point by chance, and a third one goes on.
    fn again_cut_off(&self, whole: &Whole, state: &State, at: usize, choices: &[Survives]) {
        let base = self.folder(2 * at + 2);
        disk::write(&state.image, &base, &[&whole.base]);
        let mut disk = state.killed.clone().unwrap_or_else(|| Disk::load(&base));
        disk.restart();
        let second = self.traced(base.clone());
        let mut numbers = Numbers(at as u64 + 1_000_000);
        let points = second.ops.len() as u64 + 1;
        let cut = usize::try_from(numbers.next() % points).unwrap();
        second.ops.iter().take(cut).for_each(|op| _ = disk.apply(op));
        let choice = numbers.next() % (2 * choices.len() as u64);
        let is_power = choices.contains(&Survives::Nothing);
        let survives = match choices.get(usize::try_from(choice).unwrap()) {
            None if is_power => Survives::Chance(numbers.next()),
            chosen => chosen.copied().unwrap_or(Survives::All),
        };
        let image = disk.image(survives);
        std::fs::remove_dir_all(&base).unwrap();
        say_on_panic(&format!("then {survives:?} after {cut} operations"), || {
            self.again(whole, &image, &[&whole.base, &base], 2 * at + 1);
        });
    }
}

/// Does something, and says more where it ends in a panic.
#[expect(clippy::print_stderr, reason = "beside the panic's own text")]
fn say_on_panic(what: &str, work: impl FnOnce()) {
    struct Say<'w>(&'w str);
    impl Drop for Say<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}", self.0);
            }
        }
    }
    let _say = Say(what);
    work();
}

fn hash(image: &Image) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    hasher.finish()
}

/// An operation in few words.
fn said(op: Option<&trace::Op>) -> String {
    use trace::Op;
    match op {
        None => "none".to_owned(),
        Some(Op::Write { handle, at, bytes }) => {
            format!("write of {} bytes at {at:?} to {handle}", bytes.len())
        }
        Some(op) => format!("{op:?}"),
    }
}

/// What a run has written is that of another run, and its audit is clean.
fn assert_same_run(run: &Path, whole: &Path) {
    crate::support::assert_same_streams(whole, run);
    let summary = |run: &Path| std::fs::read(run.join("summary.json")).unwrap();
    assert_eq!(summary(run), summary(whole));
    let report = crate::support::audit(run, None);
    assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report:#}");
    assert_eq!(report["parts_uncommitted"], 0, "{report:#}");
}
