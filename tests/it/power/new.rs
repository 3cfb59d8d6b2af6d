//! Conversions and salvages that are cut off: nothing looks finished that isn't, the old queue is
//! as it was, and the same into a new place gives the same.

use super::faults::{Bench, Struck};
use super::{Survives, disk, is_skipped, trace};
use crate::support::{NOW, inqueue, text};
use disk::{Disk, Image, image_of};
use inqueue_gen::{Format, Mix, Options};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Choices by chance at each point, beside [`Survives::ALL`].
const CHANCES: u64 = 4;
/// One of so many folders that are left is tried with the real binary, and each that has other
/// names than those before.
const TRIED: usize = 100;
/// One in so many of a post office's calls is struck, with each error others.
const STEP: usize = 16;

fn made(root: &Path, format: Format, hazards: &str, messages: u64) -> PathBuf {
    let hazards = Mix::parse(hazards).unwrap();
    let options = Options { messages, size_mean: 300, format, hazards, ..Options::default() };
    inqueue_gen::generate(&options, &root.join("made")).unwrap();
    root.join("made").join(format.queue())
}

/// What a folder that was left must be.
struct Expect<'e> {
    /// What is there once it is finished, and not before.
    finished: &'e str,
    /// What makes the same once more, into a folder.
    command: &'e dyn Fn(&Path) -> Command,
    /// What it says where it finds what was left, or what is finished.
    refused: &'e [&'e str],
}

/// Cuts a command off at all points; gives how many points there are, and how many folders that
/// failures may leave.
fn cut_off(root: &Path, queue: &Path, expect: &Expect<'_>) -> (usize, usize) {
    let base = root.join("v0");
    fs::create_dir(&base).unwrap();
    let before = image_of(queue.parent().unwrap());
    let traced = trace::run(&(expect.command)(&base), &base, &root.join("trace"));
    let code = traced.output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{}", text(&traced.output.stderr));
    // All that it does, it does in the new folder: the old queue is as it was at each point.
    assert!(traced.outside.is_empty(), "written elsewhere: {:?}", traced.outside);
    let whole = image_of(&base);
    assert!(whole.contains_key(expect.finished));
    let mut disk = Disk::of(&Image::new());
    let (mut points, mut known, mut kinds, mut left) = (0, HashSet::new(), HashSet::new(), 0);
    let all = std::iter::once(None).chain(traced.ops.iter().map(Some));
    for (at, op) in all.enumerate() {
        if op.is_some_and(|op| !disk.apply(op)) {
            continue;
        }
        let seed = points as u64 * CHANCES;
        points += 1;
        let chances = (0..CHANCES).map(|n| Survives::Chance(seed + n));
        for survives in Survives::ALL.into_iter().chain(chances) {
            let image = disk.image(survives);
            if !known.insert(super::hash(&image)) {
                continue;
            }
            let what = format!("{survives:?} after {at} operations: {op:?}");
            let is_finished = image.contains_key(expect.finished);
            assert!(!is_finished || image == whole, "finished, and not whole: {what}");
            let names: Vec<String> = image.keys().cloned().collect();
            let is_tried = kinds.insert(is_finished) || left % TRIED == 0;
            left += 1;
            if is_tried {
                let again = root.join("again");
                disk::write(&image, &again, &[]);
                try_again(&again, &image, expect, code, &what);
                assert!(image_of(&again.join("v0")) == whole, "{what}: {names:?}");
                fs::remove_dir_all(&again).unwrap();
            }
        }
    }
    // What was there at its end stays.
    for survives in Survives::ALL {
        assert!(disk.image(survives) == whole, "{survives:?} at the end");
    }
    assert!(image_of(queue.parent().unwrap()) == before);
    (points, left)
}

/// The command where it was cut off: it says what is there, and changes nothing; where nothing is
/// there, it does it. Then into a new folder.
fn try_again(again: &Path, left: &Image, expect: &Expect<'_>, code: Option<i32>, what: &str) {
    let output = (expect.command)(again).output().unwrap();
    let said = text(&output.stderr);
    if output.status.code() == Some(1) {
        assert!(expect.refused.iter().any(|refused| said.contains(refused)), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        assert!(image_of(again) == *left, "{what}");
    } else {
        assert_eq!(output.status.code(), code, "{what}: {said}");
        assert!(left.values().all(Option::is_none), "{what}: something was there");
    }
    fs::create_dir(again.join("v0")).unwrap();
    let output = (expect.command)(&again.join("v0")).output().unwrap();
    assert_eq!(output.status.code(), code, "{what}: {}", text(&output.stderr));
}

fn convert(queue: &Path, to: &str, base: &Path) -> Command {
    let mut command = inqueue();
    command.args(["convert", "--quiet", "--to"]);
    command.arg(format!("{to}:{}", base.join("new").display()));
    command.arg(format!("segment:{}", queue.display()));
    command
}

fn salvage(queue: &Path, format: Format, base: &Path) -> Command {
    let mut command = inqueue();
    command.arg("salvage").arg(format!("{}:{}", format.name(), queue.display()));
    command.args(["--now", NOW, "--quiet", "--out"]).arg(base.join("new"));
    command
}

#[test]
fn a_conversion_survives_a_power_failure_at_every_point() {
    if is_skipped("a_conversion_survives_a_power_failure_at_every_point") {
        return;
    }
    for (to, points_min) in
        [("segment", 6), ("mbox", 6), ("ffapi", 6), ("maildir", 20), ("eml", 14)]
    {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let queue = made(&root, Format::Segment, "corrupt-message=0.2", 6);
        let command = |base: &Path| convert(&queue, to, base);
        let refused = ["delete it, then convert again", "exists already and isn't empty"];
        let expect = Expect { finished: "new", command: &command, refused: &refused };
        let (points, left) = cut_off(&root, &queue, &expect);
        eprintln!("{to}: {points} points, {left} folders that are left");
        assert!(points >= points_min && left >= points, "{to}: {points}, {left}");
    }
}

#[test]
fn a_salvage_survives_a_power_failure_at_every_point() {
    if is_skipped("a_salvage_survives_a_power_failure_at_every_point") {
        return;
    }
    for (format, points_min) in [(Format::Segment, 8), (Format::PostOffice, 60)] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let queue = made(&root, format, "corrupt-message=0.3,missing-body=0.3", 4);
        let command = |base: &Path| salvage(&queue, format, base);
        let refused = ["delete what a salvage left that did not end"];
        let expect = Expect { finished: "new/ledger.jsonl", command: &command, refused: &refused };
        let (points, left) = cut_off(&root, &queue, &expect);
        eprintln!("{}: {points} points, {left} folders that are left", format.name());
        assert!(points >= points_min && left >= points, "{points}, {left}");
        let proof = inqueue().arg("audit").arg(root.join("v0/new")).output().unwrap();
        assert_eq!(proof.status.code(), Some(0), "{}", text(&proof.stdout));
    }
}

/// Conversions and salvages on a disk that fails: how many faults of each kind, and of one kind how
/// many there are at least.
pub(super) fn faults() -> Vec<(Struck, (&'static str, usize))> {
    let mut all = Vec::new();
    for (to, least) in [
        ("segment", ("fsync EIO", 2)),
        ("mbox", ("fsync EIO", 2)),
        ("ffapi", ("syncfs EIO", 1)),
        ("maildir", ("syncfs EIO", 1)),
        ("eml", ("syncfs EIO", 1)),
    ] {
        let format = Format::Segment;
        all.push((faults_of(format, "new", 1, |queue, base| convert(queue, to, base)), least));
    }
    all.push((faults_of_a_salvage(Format::Segment, 1), ("rename EIO", 1)));
    all
}

/// The same of the salvage of a post office, which makes hundreds of files.
pub(super) fn faults_of_an_office() -> Struck {
    faults_of_a_salvage(Format::PostOffice, STEP)
}

fn faults_of_a_salvage(format: Format, step: usize) -> Struck {
    faults_of(format, "new/ledger.jsonl", step, |queue, base| salvage(queue, format, base))
}

fn faults_of(
    format: Format,
    finished: &str,
    step: usize,
    command: impl Fn(&Path, &Path) -> Command + Sync,
) -> Struck {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let queue = made(&root, format, "corrupt-message=0.3", 4);
    let command = |base: &Path, _: &str| command(&queue, base);
    let check = |base: &Path, whole: &Path| assert!(image_of(base) == image_of(whole));
    let between = |base: &Path, whole: &Path, is_done: bool| {
        // A sync of the folder that fails at the very end may find it whole under its name.
        if is_done || base.join(finished).exists() {
            check(base, whole);
        }
        fs::remove_dir_all(base).unwrap();
        fs::create_dir(base).unwrap();
    };
    let begin = Image::new();
    let bench = Bench {
        folder: &root,
        begin,
        command: &command,
        check: &check,
        between: &between,
        log: "/none",
        step,
    };
    bench.strike_all()
}
