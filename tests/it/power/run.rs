//! Runs that are cut off.

use super::faults::{Bench, Struck, goes_on};
use super::{Disk, Scene, Survives, Tried, assert_same_run, disk, is_skipped};
use crate::support::{NOW, STREAMS, inqueue};
use inqueue_gen::{Format, Mix, Options};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Something for each stream.
const MIX: &str = "invalid-sender-and-recipients=0.2,unknown-recipient=0.2,corrupt-message=0.2,\
    not-due=0.2,list-expansion=0.2";

/// A small queue in a folder, and runs of it.
struct Small {
    _folder: tempfile::TempDir,
    root: PathBuf,
    made: PathBuf,
    accepted: &'static str,
}

impl Small {
    fn new(accepted: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (hazards, format) = (Mix::parse(MIX).unwrap(), Format::Segment);
        let options =
            Options { messages: 12, size_mean: 300, format, hazards, ..Options::default() };
        let made = root.join("made");
        inqueue_gen::generate(&options, &made).unwrap();
        Self { _folder: folder, root, made, accepted }
    }

    fn command(&self, base: &Path, sync: &str) -> Command {
        let mut command = inqueue();
        let queue = self.made.join(Format::Segment.queue());
        command.arg("run").arg(format!("segment:{}", queue.display()));
        command.args(["--now", NOW, "--hostname", "mta.example", "--quiet", "--workers", "1"]);
        command.args(["--part-size", "4K", "--sync", sync, "--accepted", self.accepted]);
        command.arg("--directory").arg(self.made.join("directory.txt"));
        // The folder that the run is made in is new, too.
        command.arg("--out").arg(base.join("runs/run"));
        command
    }
}

fn check(base: &Path, whole: &Path) {
    assert_same_run(&base.join("runs/run"), &whole.join("runs/run"));
}

fn cut_off(accepted: &'static str, sync: &str, choices: &[Survives]) -> Tried {
    let small = Small::new(accepted);
    let command = |base: &Path, sync: &str| small.command(base, sync);
    let begin = disk::Image::new();
    let scene = Scene { folder: &small.root, begin, command: &command, sync, check: &check };
    let tried = scene.cut_off(choices);
    let run = small.root.join("v000000/runs/run");
    for stream in STREAMS {
        assert!(run.join(stream).read_dir().unwrap().next().is_some(), "nothing in {stream}");
    }
    let parts = std::fs::read_to_string(run.join("commits")).unwrap().lines().count();
    assert!(parts >= 3, "{parts} parts");
    tried
}

/// Runs on a disk that fails; how many faults of each kind.
pub(super) fn faults() -> Struck {
    let small = Small::new("copy");
    let command = |base: &Path, sync: &str| small.command(base, sync);
    let begin = disk::Image::new();
    let bench = Bench {
        folder: &small.root,
        begin,
        command: &command,
        check: &check,
        between: &goes_on,
        step: 1,
        log: "/commits",
    };
    bench.strike_all()
}

#[test]
fn a_run_survives_a_power_failure_at_every_point() {
    if is_skipped("a_run_survives_a_power_failure_at_every_point") {
        return;
    }
    let tried = cut_off("copy", "commit", &Survives::ALL);
    eprintln!("{tried:?}");
    assert!(tried.points >= 70 && tried.states >= 250 && tried.twice >= 20, "{tried:?}");
}

/// The same where accepted mail stays in the queue.
#[test]
fn a_run_by_reference_survives_a_power_failure_at_every_point() {
    if is_skipped("a_run_by_reference_survives_a_power_failure_at_every_point") {
        return;
    }
    let tried = cut_off("refer", "commit", &[Survives::Nothing, Survives::All, Survives::Torn(50)]);
    eprintln!("{tried:?}");
    assert!(tried.points >= 70 && tried.states >= 100, "{tried:?}");
}

/// What `--sync end` and `never` promise: a killed process, while the power is on.
#[test]
fn a_run_that_syncs_late_or_never_survives_a_kill_at_every_point() {
    if is_skipped("a_run_that_syncs_late_or_never_survives_a_kill_at_every_point") {
        return;
    }
    for sync in ["end", "never"] {
        let tried = cut_off("copy", sync, &[Survives::All]);
        eprintln!("{sync}: {tried:?}");
        assert!(tried.points >= 40 && tried.states >= 30 && tried.twice >= 3, "{tried:?}");
    }
}

/// A run that hasn't waited for the disk is killed after its second commit, and gone on with by one
/// that does: when that has ended, the power may fail.
#[test]
fn who_goes_on_durably_answers_for_what_was_done_before() {
    if is_skipped("who_goes_on_durably_answers_for_what_was_done_before") {
        return;
    }
    for sync in ["end", "never"] {
        let small = Small::new("copy");
        let command = |base: &Path, sync: &str| small.command(base, sync);
        let scene = |sync| {
            let begin = disk::Image::new();
            Scene { folder: &small.root, begin, command: &command, sync, check: &check }
        };
        let whole = scene(sync).whole();
        let mut disk = Disk::of(&disk::Image::new());
        let is_short = |disk: &Disk| {
            let image = disk.image(Survives::All);
            let log = image.get("runs/run/commits").cloned().flatten().unwrap_or_default();
            log.split_inclusive(|byte| *byte == b'\n').count() < 2
        };
        let mut ops = whole.ops.iter();
        while is_short(&disk) {
            disk.apply(ops.next().unwrap());
        }
        let base = small.root.join("v000001");
        disk::write(&disk.image(Survives::All), &base, &[&whole.base]);
        disk.restart();
        scene("commit").traced(base.clone()).ops.iter().for_each(|op| _ = disk.apply(op));
        let left = small.root.join("v000002");
        disk::write(&disk.image(Survives::Nothing), &left, &[&whole.base, &base]);
        check(&left, &whole.base);
    }
}

/// Where nothing is to be waited for, no file, folder or file system is synced from begin to end,
/// and none when the run is asked for again; a durable one syncs.
#[test]
fn a_run_that_never_syncs_waits_for_no_disk() {
    if is_skipped("a_run_that_never_syncs_waits_for_no_disk") {
        return;
    }
    let small = Small::new("copy");
    let syncs = |name: &str, sync: &str| {
        let (base, trace) = (small.root.join(name), small.root.join("trace"));
        std::fs::create_dir_all(&base).unwrap();
        let run = small.command(&base, sync);
        let mut traced = Command::new("strace");
        traced.args(["-f", "-e", "trace=fsync,fdatasync,syncfs,sync", "-o"]).arg(&trace);
        traced.arg(run.get_program()).args(run.get_args());
        let output = traced.output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        let trace = std::fs::read_to_string(&trace).unwrap();
        trace.lines().filter(|line| line.contains("sync(") || line.contains("syncfs(")).count()
    };
    assert_eq!([syncs("never", "never"), syncs("never", "never")], [0, 0]);
    assert!(syncs("commit", "commit") > 10);
}
