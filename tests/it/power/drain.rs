//! Drains that are cut off.

use super::faults::{Bench, Struck, goes_on};
use super::{Scene, Survives, Tried, assert_same_run, disk, is_skipped};
use crate::postoffice::crash::{alike, number};
use crate::postoffice::small::{
    ANN, BOB, EVE, Letter, Office, assert_sound, letter, record_of, tree,
};
use crate::support::{NOW, inqueue};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

/// Two post offices: mail for several bags, for an outbound one, with an attachment, of an unknown
/// sender to unknown recipients, and such that is reported; bags with vacant slots, and with none.
fn offices() -> disk::Image {
    let folder = Rc::new(tempfile::tempdir().unwrap());
    let mut one = Office::at(Rc::clone(&folder), "A");
    let old = |name| record_of(b"OLD", b"read and deleted", name, 1);
    one.bag(BOB, &[old(0x0050_0000), old(0x0050_0010)], &[0, 1]);
    one.bag(ANN, &[old(0x0050_0020)], &[0]);
    let mail = letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO2/ZOE", "NET/PO/GONE"]);
    one.push(&Letter { attachments: vec![(b"A.BIN", b"\0\x01\x02")], ..mail });
    one.push(&letter("???", &["also bad"]));
    one.push(&letter("SMTP:carol@example.com", &["NET/PO/TEAM"]));
    let mut other = Office::at(Rc::clone(&folder), "B");
    other.name("NET", "PO3");
    other.bag(EVE, &[old(0x0050_0030)], &[0]);
    other.push(&letter("NET/PO3/ANN", &["NET/PO3/EVE", "NET/PO3/BOB"]));
    let mut image = disk::image_of(folder.path());
    // Backups drop empty folders: a drain makes them where it needs them.
    let filled: BTreeSet<String> = image.keys().filter_map(|name| above(name)).collect();
    image.retain(|name, bytes| bytes.is_some() || filled.contains(name));
    image
}

fn above(name: &str) -> Option<String> {
    Some(name.rsplit_once('/')?.0.to_owned())
}

fn command(base: &Path, sync: &str) -> Command {
    let mut command = inqueue();
    command.arg("run").arg(format!("postoffice:{}", base.join("queue").display()));
    command.args(["--now", NOW, "--hostname", "mta.example", "--quiet", "--workers", "1"]);
    command.args(["--drain", "--sync", sync]).arg("--out").arg(base.join("run"));
    command
}

/// The streams and the post offices are those of a drain that nobody disturbed.
fn check(base: &Path, whole: &Path, old: &BTreeSet<u32>) {
    assert_same_run(&base.join("run"), &whole.join("run"));
    let tree = |base: &Path| alike(&tree(&base.join("queue")), old);
    let (ours, theirs) = (tree(base), tree(whole));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, bytes) in &theirs {
        assert!(ours[name] == *bytes, "{name} differs");
    }
    for office in ["A", "B"] {
        assert_sound(&base.join("queue").join(office));
    }
}

/// Names that are there before.
fn names(begin: &disk::Image) -> BTreeSet<u32> {
    begin.keys().filter_map(|name| number(name)).collect()
}

fn cut_off(sync: &str, choices: &[Survives], waits: bool) -> Tried {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let mut begin = offices();
    let old = names(&begin);
    if waits {
        // A bag that can't be used until the drain is over: its records wait.
        let key = begin.insert("queue/A/KEY/00000002.KEY".to_owned(), Some(vec![0; 100]));
        let base = root.join("v000000");
        disk::write(&begin, &base, &[]);
        let output = command(&base, sync).output().unwrap();
        assert!(crate::support::text(&output.stderr).contains("wait for room"), "{output:?}");
        begin = disk::image_of(&base);
        begin.insert("queue/A/KEY/00000002.KEY".to_owned(), key.unwrap());
        std::fs::remove_dir_all(&base).unwrap();
    }
    let check = |base: &Path, whole: &Path| check(base, whole, &old);
    Scene { folder: &root, begin, command: &command, sync, check: &check }.cut_off(choices)
}

/// Drains on a disk that fails; how many faults of each kind.
pub(super) fn faults() -> Struck {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let begin = offices();
    let old = names(&begin);
    let check = |base: &Path, whole: &Path| check(base, whole, &old);
    let bench = Bench {
        folder: &root,
        begin,
        command: &command,
        check: &check,
        between: &goes_on,
        step: 1,
        log: "/run/drain",
    };
    bench.strike_all()
}

#[test]
fn a_drain_survives_a_power_failure_at_every_point() {
    if is_skipped("a_drain_survives_a_power_failure_at_every_point") {
        return;
    }
    let tried = cut_off("commit", &Survives::ALL, false);
    eprintln!("{tried:?}");
    assert!(tried.points >= 100 && tried.states >= 250 && tried.twice >= 20, "{tried:?}");
}

/// A bag was unusable, and two records wait in the log of the run.
#[test]
fn what_waits_for_room_survives_a_power_failure_at_every_point() {
    if is_skipped("what_waits_for_room_survives_a_power_failure_at_every_point") {
        return;
    }
    let tried = cut_off("commit", &Survives::ALL, true);
    eprintln!("{tried:?}");
    assert!(tried.points >= 20 && tried.states >= 40 && tried.twice >= 4, "{tried:?}");
}

/// What `--sync never` promises: a killed process, while the power is on.
#[test]
fn a_drain_that_never_syncs_survives_a_kill_at_every_point() {
    if is_skipped("a_drain_that_never_syncs_survives_a_kill_at_every_point") {
        return;
    }
    let tried = cut_off("never", &[Survives::All], false);
    eprintln!("{tried:?}");
    assert!(tried.points >= 80 && tried.states >= 60 && tried.twice >= 5, "{tried:?}");
}

/// The system forgets what a disk has failed to take, and shows it all the same. So what was
/// written since the last good sync is written again by the process that goes on: each file whose
/// bytes are others by then.
#[test]
fn what_was_written_before_a_failed_sync_is_written_again() {
    let name = "what_was_written_before_a_failed_sync_is_written_again";
    if is_skipped(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (whole, begin) = (root.join("whole"), offices());
    let mut synced = begin.clone();
    disk::write(&begin, &whole, &[]);
    let code = command(&whole, "commit").status().unwrap().code();
    for sync in 1..=3 {
        let base = root.join(format!("sync-{sync}"));
        disk::write(&begin, &base, &[]);
        let drain = command(&base, "commit");
        let mut struck = Command::new("strace");
        struck.args(["-f", "-o", "/dev/null", "-e", "trace=syncfs"]);
        struck.args(["-e", &format!("inject=syncfs:error=EIO:when={sync}")]);
        let output = struck.arg(drain.get_program()).args(drain.get_args()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let shown = disk::image_of(&base);
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let files = |image: &disk::Image| -> Vec<String> {
            let is_in_queue = |name: &&String| name.starts_with("queue/") && image[*name].is_some();
            image.keys().filter(is_in_queue).cloned().collect()
        };
        for file in files(&shown) {
            let file = std::fs::File::open(base.join(file)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        assert_eq!(command(&base, "commit").status().unwrap().code(), code);
        check(&base, &whole, &names(&begin));
        let after = disk::image_of(&base);
        let changed: Vec<String> = files(&after)
            .into_iter()
            .filter(|name| synced.get(name) != shown.get(name) && shown.contains_key(name))
            .collect();
        assert!(sync == 3 || changed.len() > 1, "sync {sync}: {changed:?}");
        for file in changed {
            let modified = base.join(&file).metadata().unwrap().modified().unwrap();
            assert_ne!(modified, long_ago, "sync {sync}: {file} isn't written again");
        }
        synced = shown;
    }
}
