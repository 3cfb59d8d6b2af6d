//! What a seed does to a run of its scene: processes that crash at points, one after the other, and
//! the one that comes to the end. Not here: the queue (`scene`).

use super::log;
use super::scene::Scene;
use crate::crash::Numbers;
use crate::power::disk::{self, Disk, Image, Survives, image_of};
use crate::support::{assert_same_streams, text};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Processes after which a story must have come to its end.
const PROCESSES_MAX: usize = 12;

/// A seed, and what it decides but for the queue.
pub(super) struct Story<'s> {
    scene: &'s Scene,
    seed: u64,
    workers: u64,
    sync: &'static str,
    is_supervised: bool,
    /// Crashes of one process after the other, at points counted from its beginning.
    crashes: Vec<Vec<(u64, &'static str)>>,
    /// The power may fail where all processes end.
    has_power_failures: bool,
}

/// What was tried.
#[derive(Default)]
pub(super) struct Tried {
    pub(super) seeds: u64,
    pub(super) twice: u64,
    processes: u64,
    points: u64,
    /// Guard and engine killed, the engine alone, the power failed.
    killed: u64,
    engines_killed: u64,
    power_failures: u64,
    given_up: u64,
    /// Messages that never ended.
    hung: u64,
    /// All that happened, where it is one story.
    pub(super) log: Vec<u8>,
}

impl Tried {
    pub(super) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.twice += other.twice;
        self.processes += other.processes;
        self.points += other.points;
        self.killed += other.killed;
        self.engines_killed += other.engines_killed;
        self.power_failures += other.power_failures;
        self.given_up += other.given_up;
        self.hung += other.hung;
    }

    pub(super) fn said(&self) -> String {
        let Self { seeds, twice, processes, points, killed, .. } = self;
        let (engines, power, given_up) = (self.engines_killed, self.power_failures, self.given_up);
        let hung = self.hung;
        format!(
            "{seeds} seeds ({twice} of them twice), {processes} processes, {points} points, \
             {killed} runs killed and {engines} engines alone, {power} power failures, {given_up} \
             parts given up, {hung} messages that hung"
        )
    }

    /// Nothing that is meant to be tried has gone missing.
    pub(super) fn assert_various(&self) {
        let tenth = self.seeds / 10;
        let said = self.said();
        assert!(self.points > self.seeds * 100, "{said}");
        assert!(self.killed > tenth && self.engines_killed > tenth, "{said}");
        assert!(self.hung > 0, "{said}");
        assert!(self.power_failures > tenth && self.twice >= self.seeds / 16, "{said}");
    }
}

impl<'s> Story<'s> {
    pub(super) fn of(scene: &'s Scene, seed: u64) -> Self {
        let mut numbers = Numbers(seed ^ 0x0057_0E1E);
        let sync = ["commit", "commit", "commit", "end", "never"][below(&mut numbers, 5)];
        let mut crashes = vec![Vec::new()];
        let mut engines = 0;
        for _ in 0..numbers.below(4) {
            // Anywhere, or soon: where a process begins, and where one goes on, much is done.
            let bound = if numbers.below(3) == 0 { 30 } else { scene.points() };
            let point = 1 + numbers.below(bound);
            // A message that is tried alone, and killed three times, would be convicted.
            let is_engine = numbers.below(2) == 0 && engines < 2;
            let now = crashes.last_mut().unwrap();
            now.push((point, if is_engine { "one" } else { "both" }));
            if is_engine {
                engines += 1;
            } else {
                crashes.push(Vec::new());
            }
        }
        Self {
            scene,
            seed,
            workers: 1 + numbers.below(4),
            sync,
            is_supervised: scene.is_deadly || numbers.below(5) > 0,
            crashes,
            has_power_failures: sync == "commit" && numbers.below(3) > 0,
        }
    }

    /// One in which nothing happens but that threads take turns.
    pub(super) fn quiet(scene: &'s Scene, seed: u64) -> Self {
        Self {
            scene,
            seed,
            workers: 3,
            sync: "commit",
            is_supervised: true,
            crashes: Vec::new(),
            has_power_failures: false,
        }
    }

    fn base(&self) -> PathBuf {
        self.scene.folder().join(format!("seed-{}", self.seed))
    }

    /// Tells it to its end, and compares.
    pub(super) fn tell(&self) -> Tried {
        let base = self.base();
        let _ = fs::remove_dir_all(&base);
        fs::create_dir(&base).unwrap();
        let mut tried = Tried { seeds: 1, ..Tried::default() };
        let mut disk = Disk::of(&Image::new());
        let mut numbers = Numbers(self.seed ^ 0x0D15_C0DE);
        for process in 0.. {
            assert!(process < PROCESSES_MAX, "no end after {process} processes");
            let (output, log) = self.process(process);
            tried.processes += 1;
            tried.points += log::order(&log).len() as u64;
            tried.engines_killed += count(&log, b" crash One ");
            log::apply(&log, &mut disk);
            tried.log.extend_from_slice(&log);
            if output.status.signal().is_some() {
                tried.killed += 1;
                self.restart(&mut disk, &mut numbers, &mut tried);
                continue;
            }
            let said = text(&output.stderr);
            if output.status.code() == self.scene.code {
                break;
            }
            // More than five deaths that it was in hand at, though others were the cause.
            assert!(said.contains("is not done: the engine"), "{:?}: {said}", output.status);
            tried.given_up += 1;
            disk.restart();
        }
        self.compare(&base.join("run"), &disk);
        let charges = fs::read(base.join("run/charges")).unwrap_or_default();
        tried.hung += count(&charges, br#""end":"hang","verdict":"convicted""#);
        fs::remove_dir_all(&base).unwrap();
        tried
    }

    /// One process, to its end, and its log.
    fn process(&self, process: usize) -> (Output, Vec<u8>) {
        // Beside what is looked at, and gone before that is.
        let log = self.base().with_extension(format!("log-{process}"));
        let _ = fs::remove_file(&log);
        let mut asked = (self.seed * 31 + process as u64).to_string();
        for (point, who) in self.crashes.get(process).into_iter().flatten() {
            asked = format!("{asked},{point}{who}");
        }
        let mut command = self.scene.command(&self.base().join("run"));
        command.args(["--workers", &self.workers.to_string(), "--sync", self.sync]);
        if self.is_supervised {
            command.args(self.scene.fence());
        } else {
            command.arg("--no-supervisor");
        }
        command.env("INQUEUE_SIMULATE", asked).env("INQUEUE_SIMULATE_LOG", &log);
        // The engine has the other ends of these pipes, too: it has ended when they have.
        let output = command.output().unwrap();
        let told = fs::read(&log).unwrap();
        fs::remove_file(log).unwrap();
        (output, told)
    }

    /// All processes have ended: the power stays on, or it fails.
    fn restart(&self, disk: &mut Disk, numbers: &mut Numbers, tried: &mut Tried) {
        let base = self.base();
        let is_power = self.has_power_failures && numbers.below(4) > 0;
        if !is_power {
            assert_same_files(&disk.image(Survives::All), &base);
            return disk.restart();
        }
        tried.power_failures += 1;
        let choices = Survives::ALL.len();
        let choice = below(numbers, 2 * choices as u64);
        let survives = Survives::ALL.get(choice).copied();
        let image = disk.image(survives.unwrap_or_else(|| Survives::Chance(numbers.next())));
        fs::remove_dir_all(&base).unwrap();
        disk::write(&image, &base, &[]);
        *disk = Disk::of(&image);
    }

    fn compare(&self, run: &Path, disk: &Disk) {
        assert_same_streams(&self.scene.whole(), run);
        let summary = |run: &Path| fs::read(run.join("summary.json")).unwrap();
        assert_eq!(text(&summary(run)), text(&summary(&self.scene.whole())));
        self.scene.check(run);
        assert_same_files(&disk.image(Survives::All), &self.base());
        if self.sync == "commit" {
            // A run that has said that it is done is on the disk.
            let left = disk.image(Survives::Nothing);
            let real = disk.image(Survives::All);
            for (name, bytes) in real.iter().filter(|(name, _)| !name.ends_with("charges")) {
                assert!(left.get(name) == Some(bytes), "{name} isn't on the disk at the end");
            }
        }
    }
}

/// The log tells all that was done to files: the same are there.
fn assert_same_files(image: &Image, base: &Path) {
    let real = image_of(base);
    assert_eq!(image.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>());
    for (name, bytes) in &real {
        assert!(image[name] == *bytes, "{name}: the log doesn't say what is in it");
    }
}

fn below(numbers: &mut Numbers, bound: u64) -> usize {
    usize::try_from(numbers.below(bound)).unwrap()
}

fn count(log: &[u8], what: &[u8]) -> u64 {
    memchr::memmem::find_iter(log, what).count() as u64
}
