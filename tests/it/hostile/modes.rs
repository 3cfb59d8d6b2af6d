//! Mail is private: whatever the umask allows, nobody but their owner can look into the files that
//! are made; and none is made anywhere else than it was said.

use super::{ended, run};
use crate::support::{Queue, inqueue, text};
use inqueue_gen::Format;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// What is in a folder, at any depth: mode, length and times of change.
fn listing(root: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let seen = path.symlink_metadata().unwrap();
            let times = (seen.mtime(), seen.mtime_nsec());
            found.insert(path.clone(), (seen.permissions().mode(), seen.len(), times.0, times.1));
            if seen.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

fn assert_private(root: &Path) {
    let mut all = listing(root);
    let of_root = root.symlink_metadata().unwrap();
    all.insert(root.to_owned(), (of_root.permissions().mode(), 0, 0, 0));
    for (path, (mode, ..)) in all {
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        assert_eq!(mode & 0o600, 0o600, "{}: {mode:o}", path.display());
    }
}

/// `ended` runs all with umask 0.
#[test]
fn nothing_is_written_outside_and_what_is_written_is_for_its_owner_alone() {
    let queue = Queue::new(Format::Segment, 300, "all");
    let made = queue.folder.path().join("out");
    fs::create_dir(&made).unwrap();
    let at = |name: &str| made.join(name);
    let log = format!("syslog:{}", at("live.log").display());
    let before = listing(&queue.made());
    run(None, &queue.spec(), &at("run"), &["--log", &log, "--workers", "2"]);
    let run_folder = at("run").display().to_string();
    for form in ["jsonl", "evt", "session-log", "system-log", "syslog"] {
        let to = format!("{form}:{}", at(form).display());
        ended(None, &["events", &run_folder, "--to", &to]);
    }
    for format in ["segment", "mbox", "maildir", "eml", "ffapi"] {
        let to = format!("{format}:{}", at(&format!("to-{format}")).display());
        ended(None, &["convert", &queue.spec(), "--to", &to]);
    }
    let new = at("salvaged").display().to_string();
    ended(None, &["salvage", &queue.spec(), "--out", &new]);
    assert_eq!(listing(&queue.made()), before);
    for entry in fs::read_dir(&made).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "directory") {
            assert_private(&path);
        }
    }
    // Beside them, and in the folder of the queue, is nothing else.
    let names: Vec<String> = listing(&made)
        .into_keys()
        .filter(|path| path.parent() == Some(&made))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let expect = [
        "evt",
        "jsonl",
        "live.log",
        "run",
        "run.directory",
        "salvaged",
        "session-log",
        "syslog",
        "system-log",
        "to-eml",
        "to-ffapi",
        "to-maildir",
        "to-mbox",
        "to-segment",
    ];
    assert_eq!(names, expect);
    let beside: Vec<_> = fs::read_dir(queue.folder.path()).unwrap().collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
}

#[test]
fn a_post_office_that_is_rebuilt_is_for_its_owner_alone() {
    let queue = Queue::new(Format::PostOffice, 60, "none");
    let new = queue.out("new");
    let spec = queue.spec();
    let output = ended(None, &["salvage", &spec, "--out", &new.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_private(&new);
}

/// Cleaning up goes through no link: what lies behind it isn't the run's.
#[test]
fn a_link_in_the_place_of_a_streams_folder_is_refused_and_nothing_behind_it_is_touched() {
    let queue = Queue::new(Format::Segment, 50, "none");
    queue.run("run", &[]);
    let precious = queue.folder.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("thesis"), b"all there is").unwrap();
    let stream = queue.out("run").join("accepted");
    fs::remove_dir_all(&stream).unwrap();
    symlink(&precious, &stream).unwrap();
    let output = queue.command("run").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("accepted") && said.contains("it is a link"), "{said}");
    assert_eq!(fs::read(precious.join("thesis")).unwrap(), b"all there is");
    // A new run's folder that somebody has prepared.
    let trap = queue.out("trap");
    fs::create_dir(&trap).unwrap();
    symlink(&precious, trap.join("quarantine")).unwrap();
    assert_eq!(queue.command("trap").output().unwrap().status.code(), Some(1));
    symlink(precious.join("thesis"), trap.join("plan.tmp")).unwrap();
    fs::remove_file(trap.join("quarantine")).unwrap();
    assert_eq!(queue.command("trap").output().unwrap().status.code(), Some(1));
    assert_eq!(fs::read(precious.join("thesis")).unwrap(), b"all there is");
    assert_eq!(inqueue().arg("--version").output().unwrap().status.code(), Some(0));
}
