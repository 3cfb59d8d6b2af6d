//! One drainer a post office: who is kept out, what is stale, and whose turn it is after a drain
//! that was cut off.

use super::small::{ANN, BOB, FIRST_NAME, Office, letter, restore};
use crate::support::{events, text};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

const LOCK: &str = "P1/INQUEUE3.0LK";

fn office() -> (Office, u32) {
    let mut office = Office::new();
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/GONE"]));
    (office, name)
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

fn aged(office: &Office, words: &str, age: Duration) {
    let mut file = File::create(office.file(LOCK)).unwrap();
    file.write_all(words.as_bytes()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the program compares with the clock too")]
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn a_second_process_is_kept_out_and_told_by_whom() {
    let (office, name) = office();
    let words = format!("inqueue 4711 {} 2026-01-02T03:00:00Z /some/run\n", host());
    aged(&office, &words, Duration::from_secs(7));
    let held = OpenOptions::new().read(true).write(true).open(office.file(LOCK)).unwrap();
    held.lock().unwrap();
    let before = office.tree();
    let told = office.drain("run", 1);
    for word in ["INQUEUE3 is in use by inqueue 4711", &host(), " seconds old", "INQUEUE3.0LK"] {
        assert!(told.contains(word), "{told}");
    }
    assert!(office.tree() == before);
    assert!(!office.out("run").exists(), "not even judged");
    assert_eq!(office.run("judged", &[]).status.code(), Some(0), "reading is free");
    drop(held);
    office.drain("run", 0);
    assert_eq!(office.names(BOB), [name]);
    assert!(!office.file(LOCK).exists());
}

#[test]
fn a_stale_lock_is_taken_over_and_a_fresh_one_of_others_is_not() {
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    let here = format!("inqueue 1 {} 2026-01-02T03:00:00Z /gone\n", host());
    for (words, age, stale) in [
        (here.as_str(), Duration::ZERO, true),
        ("inqueue 1 elsewhere.example 2026-01-02T03:00:00Z /run\n", hour, false),
        ("inqueue 1 elsewhere.example 2026-01-02T03:00:00Z /run\n", 3 * day, true),
        ("EXTERNAL 7", hour, false),
        ("EXTERNAL 7", 3 * day, true),
        ("", hour, true),
        ("", Duration::ZERO, false),
    ] {
        let (office, name) = office();
        aged(&office, words, age);
        let told = office.drain("run", i32::from(!stale));
        assert_eq!(office.names(BOB), if stale { vec![name] } else { vec![] }, "{words}: {told}");
        assert_eq!(office.file(LOCK).exists(), !stale, "{words}");
        assert!(stale || told.contains("taken for stale after"), "{told}");
    }
}

/// Locks are taken before anything is judged, and those of all post offices or none.
#[test]
fn a_lock_on_one_post_office_keeps_the_run_from_beginning() {
    let mut one = Office::at(office().0.folder, "A");
    one.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    let other = Office::at(one.folder.clone(), "B");
    let _ = fs::remove_dir_all(one.queue().join("KEY"));
    let _ = fs::remove_dir_all(one.queue().join("MBG"));
    aged(&other, "EXTERNAL 7", Duration::ZERO);
    let before = one.tree();
    one.drain("run", 1);
    assert!(one.tree() == before);
}

/// Cut off behind the first line of its log: other runs are kept out, its own goes on.
#[test]
fn a_drain_that_was_cut_off_keeps_others_out_until_its_own_run_has_gone_on() {
    let (office, name) = office();
    let before = office.tree();
    office.drain("run", 0);
    let done = office.tree();
    let log = fs::read_to_string(office.out("run").join("drain")).unwrap();
    let begun = log.lines().next().unwrap();
    restore(&office.queue(), &before);
    fs::write(office.out("run").join("drain"), format!("{begun}\n")).unwrap();
    let run = office.out("run").display().to_string();
    aged(&office, &format!("inqueue 1 {} 2026-01-02T03:00:00Z {run}\n", host()), Duration::ZERO);
    let stopped = office.tree();
    let told = office.drain("other", 1);
    let why = format!("a drain of {run} was cut off (run that one again first");
    assert!(told.contains(&why), "{told}");
    assert!(office.tree() == stopped);
    // The same folder by another way of writing it is the same run.
    let around = office.out("other").join("..").join("run");
    fs::create_dir(office.out("other")).unwrap();
    let mut command = crate::support::inqueue();
    command.arg("run").arg(format!("postoffice:{}", office.queue().display()));
    command.args(["--hostname", "mta.example", "--drain", "--out"]).arg(around);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(office.tree() == done);
    assert_eq!((office.names(BOB), office.names(ANN)), (vec![name], vec![FIRST_NAME]));
    office.drain("other2", 0);
    assert!(events(&office.out("other2")).is_empty());
}

/// The program ends in good order, but the drain isn't done: that keeps others out all the same.
#[test]
fn a_drain_that_failed_keeps_others_out_until_its_own_run_has_gone_on() {
    let (office, name) = office();
    // The report's MAI can't be made: its folder is a file.
    let folder = office.file("MAI/MA0");
    let _ = fs::remove_dir_all(&folder);
    fs::write(&folder, b"").unwrap();
    let told = office.drain("run", 1);
    assert!(told.contains("cannot be drained"), "{told}");
    assert_eq!(office.names("INQUEUE3"), [name]);
    assert!(office.file(LOCK).exists());
    let told = office.drain("other", 1);
    assert!(told.contains("run that one again first"), "{told}");
    fs::remove_file(&folder).unwrap();
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!((office.names(BOB), office.names(ANN)), (vec![name], vec![FIRST_NAME]));
}

/// Judged by one run, drained by another, and then drained by the first: nobody has it twice, and
/// nothing is reported a second time.
#[test]
fn what_another_run_has_drained_is_not_delivered_again() {
    let (office, name) = office();
    assert_eq!(office.run("judged", &[]).status.code(), Some(0));
    office.drain("drained", 0);
    // BOB has read and deleted it since.
    let mut key = office.read("KEY/00000002.KEY");
    key[48] |= 1;
    office.write("KEY/00000002.KEY", &key);
    fs::remove_file(office.file(&super::small::mai_name(name))).unwrap();
    let done = office.tree();
    office.drain("judged", 0);
    assert!(office.tree() == done);
    assert_eq!(office.names(ANN), [FIRST_NAME], "one report");
}
