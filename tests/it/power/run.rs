//! Runs that are cut off.

use super::{Scene, Survives, Tried, assert_same_run, disk, is_skipped};
use crate::support::{NOW, STREAMS, inqueue};
use inqueue_gen::{Format, Mix, Options};
use std::path::Path;

/// Something for each stream.
const MIX: &str = "invalid-sender-and-recipients=0.2,unknown-recipient=0.2,corrupt-message=0.2,\
    not-due=0.2,list-expansion=0.2";

fn cut_off(sync: &str, choices: &[Survives]) -> Tried {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let hazards = Mix::parse(MIX).unwrap();
    let format = Format::Segment;
    let options = Options { messages: 12, size_mean: 300, format, hazards, ..Options::default() };
    let made = root.join("made");
    inqueue_gen::generate(&options, &made).unwrap();
    let command = |base: &Path, sync: &str| {
        let mut command = inqueue();
        command.arg("run").arg(format!("segment:{}", made.join(Format::Segment.queue()).display()));
        command.args(["--now", NOW, "--hostname", "mta.example", "--quiet", "--workers", "1"]);
        command.args(["--part-size", "4K", "--sync", sync]);
        command.arg("--directory").arg(made.join("directory.txt"));
        // The folder that the run is made in is new, too.
        command.arg("--out").arg(base.join("runs/run"));
        command
    };
    let check = |base: &Path, whole: &Path| {
        assert_same_run(&base.join("runs/run"), &whole.join("runs/run"));
    };
    let scene =
        Scene { folder: &root, begin: disk::Image::new(), command: &command, sync, check: &check };
    let tried = scene.cut_off(choices);
    let run = root.join("v000000/runs/run");
    for stream in STREAMS {
        assert!(run.join(stream).read_dir().unwrap().next().is_some(), "nothing in {stream}");
    }
    let parts = std::fs::read_to_string(run.join("commits")).unwrap().lines().count();
    assert!(parts >= 3, "{parts} parts");
    tried
}

#[test]
fn a_run_survives_a_power_failure_at_every_point() {
    if is_skipped("a_run_survives_a_power_failure_at_every_point") {
        return;
    }
    let tried = cut_off("commit", &Survives::ALL);
    eprintln!("{tried:?}");
    assert!(tried.points >= 70 && tried.states >= 250 && tried.twice >= 20, "{tried:?}");
}

/// What `--sync end` and `never` promise: a killed process, while the power is on.
#[test]
fn a_run_that_syncs_late_or_never_survives_a_kill_at_every_point() {
    if is_skipped("a_run_that_syncs_late_or_never_survives_a_kill_at_every_point") {
        return;
    }
    for sync in ["end", "never"] {
        let tried = cut_off(sync, &[Survives::All]);
        eprintln!("{sync}: {tried:?}");
        assert!(tried.points >= 40 && tried.states >= 30 && tried.twice >= 3, "{tried:?}");
    }
}
