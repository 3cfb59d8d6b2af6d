//! Simulation: one number, the seed, decides a queue, its damage, the faults of its messages, the
//! order in which the engine's threads come to their turns, where the process is killed or the
//! power fails, and what a disk then has lost. In the end the streams are those of a run with one
//! worker that nobody simulated or disturbed.
//!
//! A seed that fails prints itself, and the command that does the same again. Seeds that differ in
//! their last three bits share the queue and the run that they are compared with (`scene`); what
//! else a seed decides is in `story`; `log` reads what the program tells. More of them:
//! `INQUEUE_SEEDS=100000`, or `INQUEUE_MINUTES=60` (other seeds at every time). Not here: hanging
//! messages and memory that runs out (`fence`), kills at moments that no seed decides (`crash`).
//! Invariant: nothing depends on time.

mod log;
mod scene;
mod story;

use scene::{SEEDS, Scene};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use story::{Story, Tried};

/// Seeds that every run of the tests tries.
const SEEDS_USUAL: u64 = 2_400;
/// One story of so many is told twice, and must be the same to the byte.
const TWICE: u64 = 16;
/// After so many failures it is clear that something is wrong.
const FAILURES_MAX: usize = 5;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// A folder for all: in memory where the system has such, as nothing has to outlive the test.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// Which seeds are tried.
struct Plan {
    first: u64,
    end: Option<Instant>,
    /// Scenes, where no time is given.
    scenes: u64,
}

impl Plan {
    #[expect(clippy::disallowed_methods, reason = "where no seeds are asked for, new ones")]
    fn asked() -> Self {
        if let Some(minutes) = number("INQUEUE_MINUTES") {
            let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let end = Instant::now() + Duration::from_secs(60 * minutes);
            return Self { first: clock.as_secs() * SEEDS, end: Some(end), scenes: 0 };
        }
        let seeds = number("INQUEUE_SEEDS").unwrap_or(SEEDS_USUAL);
        Self { first: 0, end: None, scenes: seeds.div_ceil(SEEDS) }
    }

    fn has(&self, scene: u64) -> bool {
        self.end.map_or(scene < self.scenes, |end| Instant::now() < end)
    }
}

/// Tries seeds on all processors; what was tried, and which have failed.
fn try_all(folder: &Path, plan: &Plan) -> (Tried, Vec<u64>) {
    let next = AtomicU64::new(0);
    let tried = Mutex::new(Tried::default());
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(at) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            (plan.has(at) && failed.lock().unwrap().len() < FAILURES_MAX).then_some(at)
        } {
            let first = plan.first + at * SEEDS;
            try_scene(folder, first..first + SEEDS, &tried, &failed);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        (0..threads).for_each(|_| _ = scope.spawn(work));
    });
    (tried.into_inner().unwrap(), failed.into_inner().unwrap())
}

fn try_scene(
    folder: &Path,
    seeds: std::ops::Range<u64>,
    tried: &Mutex<Tried>,
    failed: &Mutex<Vec<u64>>,
) {
    let first = seeds.start;
    let Some(scene) = caught(|| Scene::new(folder, first / SEEDS)) else {
        return failed.lock().unwrap().push(first);
    };
    for seed in seeds {
        let told = caught(|| {
            let story = Story::of(&scene, seed);
            let mut tried = story.tell();
            if seed.is_multiple_of(TWICE) {
                let again = story.tell();
                assert!(again.log == tried.log, "the same seed came to pass otherwise");
                tried.twice = 1;
            }
            tried
        });
        match told {
            Some(told) => tried.lock().unwrap().add(&told),
            None => failed.lock().unwrap().push(seed),
        }
    }
    std::fs::remove_dir_all(scene.folder()).unwrap();
}

/// What a test that may fail gives; its panic is told, and ends nothing else.
fn caught<R: Send>(test: impl FnOnce() -> R + Send) -> Option<R> {
    std::thread::scope(|scope| scope.spawn(test).join().ok())
}

#[test]
fn every_seed_ends_in_the_bytes_of_a_run_that_nobody_disturbed() {
    let folder = folder();
    if let Some(seed) = number("INQUEUE_SEED") {
        let kept = PathBuf::from(std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or(".".into()));
        let kept = kept.join(format!("seed-{seed}"));
        let _ = std::fs::remove_dir_all(&kept);
        std::fs::create_dir_all(&kept).unwrap();
        eprintln!("what seed {seed} leaves is kept in {}", kept.display());
        let tried = Story::of(&Scene::new(&kept, seed / SEEDS), seed).tell();
        return eprintln!("{}", tried.said());
    }
    let plan = Plan::asked();
    let (tried, failed) = try_all(folder.path(), &plan);
    eprintln!("seeds from {}: {}", plan.first, tried.said());
    for seed in &failed {
        eprintln!(
            "seed {seed} failed; again: INQUEUE_SEED={seed} cargo nextest run \
             --features fault-injection --no-capture -E 'test(/^simulation::every_seed/)'"
        );
    }
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
    if tried.seeds >= 2_000 {
        tried.assert_various();
    }
}

/// The log has every point that any thread has passed, and every byte that was written: it is the
/// interleaving, literally.
#[test]
fn the_same_seed_is_the_same_interleaving_and_others_are_others() {
    let folder = folder();
    let scene = Scene::quiet(folder.path());
    let story = |seed| Story::quiet(&scene, seed).tell().log;
    let logs: Vec<Vec<u8>> = (0..20).map(story).collect();
    for (seed, log) in logs.iter().enumerate() {
        assert!(story(seed as u64) == *log, "seed {seed} came to pass otherwise");
        let seats = log::order(log);
        let threads: std::collections::HashSet<&str> =
            seats.iter().filter_map(|point| point.split(' ').next()).collect();
        assert!(threads.len() >= 5, "guard, shift, commit and workers: {threads:?}");
        for (other, another) in logs.iter().enumerate().take(seed) {
            assert!(log::order(another) != seats, "seeds {other} and {seed} are alike");
        }
    }
}
