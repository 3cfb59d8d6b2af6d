//! The queue of a scene, perhaps damaged, and the run of it that nobody disturbs. The seeds of a
//! scene share both. Not here: what is done to other runs of it (`story`).

use crate::crash::Numbers;
use crate::support::{NOW, assert_done, inqueue, text};
use inqueue_gen::{Format, Mix, Options};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seeds of one scene.
pub(super) const SEEDS: u64 = 8;

/// Hazards that messages of any format can carry.
const HAZARDS: [&str; 18] = [
    "invalid-sender-and-recipients",
    "bad-smtp-address",
    "charset",
    "embedded-message",
    "ndr-of-ndr",
    "corrupt-message",
    "full-mailbag",
    "ndr-lost",
    "duplicate-recipient",
    "system-mail-bounced",
    "missing-body",
    "nul-bytes",
    "from-lines",
    "unknown-recipient",
    "mixed-outcomes",
    "no-recipients",
    "list-expansion",
    "empty-message",
];
/// Faults that end the process; the last two take long, and are drawn once in [`SELDOM`] times.
const DEATHS: [&str; 6] =
    ["fault-segv", "fault-bus", "fault-abort", "fault-stack", "fault-oom", "fault-hang"];
const SELDOM: u64 = 16;

/// A queue, and its undisturbed run.
pub(super) struct Scene {
    folder: PathBuf,
    format: Format,
    part_size: u64,
    /// Some message ends its process.
    pub(super) is_deadly: bool,
    /// Some message never ends.
    is_hanging: bool,
    is_damaged: bool,
    messages: u64,
    /// How the undisturbed run has ended.
    pub(super) code: Option<i32>,
}

impl Scene {
    /// The scene of a number.
    pub(super) fn new(folder: &Path, number: u64) -> Self {
        let mut numbers = Numbers(number ^ 0x5CE9E);
        let format = match numbers.below(10) {
            0..5 => Format::Segment,
            5..7 => Format::Mbox,
            7 => Format::Maildir,
            8 => Format::Eml,
            _ => Format::PostOffice,
        };
        let more = if numbers.below(5) == 0 { 56 } else { 16 };
        let messages = 5 + numbers.below(more);
        let (hazards, death) = hazards(&mut numbers);
        let options = Options {
            messages,
            seed: number,
            format,
            hazards: Mix::parse(&hazards).unwrap(),
            size_mean: 100 + u32::try_from(numbers.below(1_500)).unwrap(),
            ..Options::default()
        };
        let part_size = 512 << numbers.below(6);
        // A post office that is damaged is the business of `postoffice/damage.rs`.
        let is_damaged = format != Format::PostOffice && numbers.below(4) == 0;
        let mut scene = Self::make(folder, number, &options, part_size);
        scene.is_deadly = death.is_some();
        scene.is_hanging = death == Some("fault-hang");
        if is_damaged {
            scene.is_damaged = true;
            damage(&scene.queue(), &mut numbers);
        }
        scene.run();
        scene
    }

    /// One that has nothing wrong in it, of several parts.
    pub(super) fn quiet(folder: &Path) -> Self {
        let options = Options {
            messages: 12,
            size_mean: 300,
            hazards: Mix::parse("mixed-outcomes=0.3").unwrap(),
            ..Options::default()
        };
        let mut scene = Self::make(folder, 0, &options, 2_048);
        scene.run();
        scene
    }

    fn make(folder: &Path, number: u64, options: &Options, part_size: u64) -> Self {
        let folder = folder.join(format!("scene-{number}"));
        inqueue_gen::generate(options, &folder.join("made")).unwrap();
        Self {
            folder,
            format: options.format,
            part_size,
            is_deadly: false,
            is_hanging: false,
            is_damaged: false,
            messages: options.messages,
            code: None,
        }
    }

    /// Runs it undisturbed.
    fn run(&mut self) {
        let mut command = self.command(&self.whole());
        let output = command.args(["--workers", "1"]).args(self.fence()).output().unwrap();
        assert_done(&output);
        self.code = output.status.code();
        self.check(&self.whole());
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn queue(&self) -> PathBuf {
        self.folder.join("made").join(self.format.queue())
    }

    /// The undisturbed run.
    pub(super) fn whole(&self) -> PathBuf {
        self.folder.join("whole")
    }

    /// A run into a folder, with all it needs but workers.
    pub(super) fn command(&self, out: &Path) -> Command {
        let mut command = inqueue();
        command.arg("run").arg(format!("{}:{}", self.format.name(), self.queue().display()));
        command.args(["--now", NOW, "--hostname", "mta.example", "--quiet"]);
        command.args(["--part-size", &self.part_size.to_string()]);
        let directory = self.folder.join("made/directory.txt");
        if directory.exists() {
            command.arg("--directory").arg(directory);
        }
        command.arg("--out").arg(out).env("RUST_BACKTRACE", "0");
        command
    }

    /// What a guard is told. Threads wait for their turn with a message in hand: no time is short.
    pub(super) const fn fence(&self) -> [&'static str; 4] {
        let timeout = if self.is_hanging { "1s" } else { "10m" };
        ["--message-timeout", timeout, "--memory-limit", "128M"]
    }

    /// About how many points a run of it has.
    pub(super) fn points(&self) -> u64 {
        let plan = fs::read(self.whole().join("plan.json")).unwrap();
        let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
        let parts = plan["parts"].as_array().unwrap().len() as u64;
        40 + self.messages * 8 + parts * 20
    }

    /// The audit of a run is clean, and nothing is in its folder that the undisturbed one doesn't
    /// have, but for logs of deaths.
    pub(super) fn check(&self, run: &Path) {
        let manifest = self.folder.join("made/manifest.jsonl");
        let expect = (!self.is_damaged).then_some(manifest.as_path());
        let report = inqueue::audit::audit(run, expect).unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(report.parts_uncommitted, 0);
        let names = |run: &Path| {
            let names = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name());
            let names = names.map(|name| text(name.as_encoded_bytes()));
            let is_log = |name: &String| ["charges", "engine.jsonl"].contains(&name.as_str());
            let mut names: Vec<String> = names.filter(|name| !is_log(name)).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(run), names(&self.whole()), "{}", run.display());
    }
}

/// A mix of hazards, and which of them ends the process.
fn hazards(numbers: &mut Numbers) -> (String, Option<&'static str>) {
    let mut named: Vec<(&str, u64)> = Vec::new();
    for _ in 0..=numbers.below(4) {
        let drawn = usize::try_from(numbers.below(HAZARDS.len() as u64)).unwrap();
        named.push((HAZARDS[drawn], 20 + numbers.below(180)));
    }
    if numbers.below(2) == 0 {
        named.push(("fault-panic", 20 + numbers.below(80)));
    }
    let death = (numbers.below(4) == 0).then(|| {
        let is_seldom = numbers.below(SELDOM) == 0;
        let (all, share) = if is_seldom { (&DEATHS[4..], 100) } else { (&DEATHS[..4], 20) };
        (all[usize::try_from(numbers.below(all.len() as u64)).unwrap()], share + numbers.below(60))
    });
    named.extend(death);
    named.sort_unstable();
    named.dedup_by_key(|(name, _)| *name);
    let shares = named.iter().map(|(name, share)| format!("{name}=0.{share:03}"));
    (shares.collect::<Vec<_>>().join(","), death.map(|(death, _)| death))
}

/// Changes, cuts off or doubles bytes of the queue's file, or of some of its files.
fn damage(queue: &Path, numbers: &mut Numbers) {
    let files = if queue.is_file() { vec![queue.to_owned()] } else { files_of(queue) };
    for _ in 0..=numbers.below(3) {
        let file = &files[usize::try_from(numbers.below(files.len() as u64)).unwrap()];
        let mut bytes = fs::read(file).unwrap();
        let mut place = |bytes: &[u8]| usize::try_from(numbers.below(bytes.len() as u64)).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let (from, to) = (place(&bytes), place(&bytes));
        match numbers.below(3) {
            0 => bytes[from] ^= 1 << numbers.below(8),
            1 => bytes.truncate(from.max(bytes.len() / 2)),
            _ => {
                let doubled = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(to..to, doubled);
            }
        }
        fs::write(file, bytes).unwrap();
    }
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort_unstable();
    files
}
