//! `run --accepted refer`: accepted mail stays in the queue, and its stream says where.
//!
//! Here: that a run by reference is the same run, whatever reads its accepted stream. `changed`:
//! what becomes of it when the queue isn't as it was. Not here: reading references that others have
//! written (`references`).

mod changed;

use crate::support::{NOW, Queue, Read, assert_done, assert_same_streams, audit, inqueue};
use crate::support::{messages, streams, text};
use inqueue::queue::segment::read::{Records, frame, notes};
use inqueue::queue::{Found, Framed, Lies};
use inqueue_gen::Format;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A record of an accepted stream as it stands: its envelope, and where its content lies, if it
/// isn't copied.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    envelope: Vec<u8>,
    copied: Vec<u8>,
    refers_to: Option<(String, u64, u64, u32)>,
}

impl Record {
    fn of(found: &Found<'_>) -> Self {
        let refers_to = match found.lies {
            Lies::There(it) => Some((text(it.name), it.offset, it.length, it.checksum)),
            _ => None,
        };
        let (envelope, copied) = (found.head.to_vec(), found.content.raw().to_vec());
        Self { envelope, copied, refers_to }
    }

    /// Its message's place in the queue of its run.
    fn origin(&self) -> (String, u64, u64) {
        let notes = notes(&self.envelope, |_| {}).unwrap();
        let (name, offset, length) = notes.origin.unwrap();
        (text(name), offset, length)
    }

    /// The content, from where it lies.
    fn content(&self) -> Vec<u8> {
        let Some((name, offset, length, checksum)) = &self.refers_to else {
            return self.copied.clone();
        };
        assert!(self.copied.is_empty());
        let (start, length) =
            (usize::try_from(*offset).unwrap(), usize::try_from(*length).unwrap());
        let content = fs::read(name).unwrap()[start..start + length].to_vec();
        assert_eq!(crc32c::crc32c(&content), *checksum);
        content
    }
}

/// The records of a run's accepted stream, references as they stand.
fn records(run: &Path) -> Vec<Record> {
    let mut all = Vec::new();
    for (name, bytes) in streams(run).iter().filter(|(name, _)| name.starts_with("accepted/")) {
        let records: Records<'_> = frame(bytes, 0..bytes.len() as u64).unfollowed();
        for framed in records {
            let Framed::Message(found) = framed else { panic!("damage in {name}") };
            all.push(Record::of(&found));
        }
    }
    all
}

/// All streams but the accepted one.
fn others(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = streams(run);
    all.retain(|name, _| !name.starts_with("accepted/"));
    all
}

fn run_refer(queue: &Queue, out: &str, options: &[&str]) -> Value {
    queue.run(out, &[&["--accepted", "refer"], options].concat())
}

/// Runs a command on the accepted stream of a run.
fn on_accepted(command: &str, run: &Path, more: &[&str]) -> Output {
    let accepted = run.join("accepted");
    inqueue().arg(command).arg(accepted).args(more).output().unwrap()
}

/// A run's accepted stream, converted into an mbox.
fn as_mbox(run: &Path) -> Vec<u8> {
    let to = run.with_extension("mbox");
    let output = on_accepted("convert", run, &["--to", &format!("mbox:{}", to.display())]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    fs::read(&to).unwrap()
}

/// The same run by copy and by reference, at several sizes of parts and numbers of workers: the
/// other streams are the same bytes, the accepted one holds the same records, and converted it is
/// the same bytes.
fn same_as_copied(format: Format, messages: u64, hazards: &str) {
    let queue = Queue::new(format, messages, hazards);
    for size in ["32K", "8M"] {
        let copy = format!("copy-{size}");
        queue.run(&copy, &["--part-size", size]);
        let refer = |workers: &str| {
            let out = format!("refer-{size}-{workers}");
            let said = run_refer(&queue, &out, &["--part-size", size, "--workers", workers]);
            assert_eq!(said["accepted"], "refer");
            queue.out(&out)
        };
        let (one, five) = (refer("1"), refer("5"));
        assert_same_streams(&one, &five);
        assert_eq!(others(&queue.out(&copy)), others(&one));
        queue.assert_clean(&format!("refer-{size}-1"));
        let copied = records(&queue.out(&copy));
        let referred = records(&one);
        assert_eq!(copied.len(), referred.len());
        for (copied, referred) in copied.iter().zip(&referred) {
            assert_eq!(copied.envelope, referred.envelope);
            assert_eq!(copied.content(), referred.content());
        }
        let in_queue = referred.iter().filter(|record| record.refers_to.is_some()).count();
        let share = in_queue * 100 / referred.len();
        match format {
            Format::PostOffice => assert_eq!(in_queue, 0),
            Format::Mbox => assert!((50..100).contains(&share), "{share} %: some are quoted"),
            _ => assert_eq!(in_queue, referred.len()),
        }
        let root = queue.made().canonicalize().unwrap().display().to_string();
        let mut refer = referred.iter().filter_map(|record| record.refers_to.as_ref());
        assert!(refer.all(|(name, ..)| name.starts_with(&root)));
        assert_eq!(as_mbox(&queue.out(&copy)), as_mbox(&one));
    }
}

#[test]
fn a_run_of_an_mbox_by_reference_is_the_same_run() {
    same_as_copied(Format::Mbox, 600, "all");
    same_as_copied(Format::Mbox, 300, "from-lines=0.2,list-expansion=0.3,mixed-outcomes=0.3");
}

#[test]
fn a_run_of_a_maildir_or_of_files_by_reference_is_the_same_run() {
    same_as_copied(Format::Maildir, 300, "all");
    same_as_copied(Format::Eml, 300, "all");
}

#[test]
fn a_run_of_a_segment_by_reference_is_the_same_run() {
    let mix = "record-in-content=0.1,list-expansion=0.2,mixed-outcomes=0.2,missing-body=0.1,\
        unknown-recipient=0.1,ndr-of-ndr=0.1,not-due=0.1";
    same_as_copied(Format::Segment, 600, mix);
}

#[test]
fn contents_of_a_post_office_are_copied() {
    same_as_copied(Format::PostOffice, 120, "all");
}

/// Members of a list with an owner leave in a record of their own: it has the same reference.
#[test]
fn each_record_of_a_message_refers_to_its_content() {
    let queue = Queue::new(Format::Segment, 100, "list-expansion=1");
    run_refer(&queue, "run", &[]);
    let mut by_message: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records(&queue.out("run")) {
        by_message.entry(record.origin()).or_default().push(record.refers_to.clone().unwrap());
    }
    let several: Vec<_> = by_message.values().filter(|all| all.len() > 1).collect();
    assert!(several.len() >= 10, "{}", several.len());
    for all in several {
        assert!(all.iter().all(|one| *one == all[0]));
    }
}

/// Contents of a segment that are accepted aren't read: one that is damaged stays where it is, and
/// whoever follows the reference finds it. What is copied is looked at first, and ends in
/// quarantine as in a run that copies.
#[test]
fn a_damaged_content_is_found_by_whoever_reads_it_first() {
    let queue = Queue::new(Format::Segment, 400, "corrupt-message=0.01,mixed-outcomes=0.5");
    let path = queue.made().join("queue.seg");
    let mut bytes = fs::read(&path).unwrap();
    let whole: Vec<_> = frame(&bytes, 0..bytes.len() as u64)
        .filter_map(|framed| match framed {
            Framed::Message(found) if !found.content.is_empty() => {
                Some(found.offset + found.length)
            }
            _ => None,
        })
        .collect();
    for end in whole.iter().step_by(20) {
        bytes[usize::try_from(*end).unwrap() - 1] ^= 1;
    }
    fs::write(&path, &bytes).unwrap();
    queue.run("copy", &[]);
    run_refer(&queue, "refer", &["--workers", "1", "--part-size", "32K"]);
    run_refer(&queue, "again", &["--workers", "5", "--part-size", "32K"]);
    assert_same_streams(&queue.out("refer"), &queue.out("again"));
    let damaged = |out: &str| -> BTreeMap<u64, String> {
        let quarantine = messages(&queue.out(out), "quarantine");
        let one = |read: &Read| {
            let notes = notes(&read.envelope, |_| {}).unwrap();
            (notes.origin.unwrap().1, text(notes.reason.unwrap()))
        };
        quarantine.iter().map(one).collect()
    };
    let (in_copy, in_refer) = (damaged("copy"), damaged("refer"));
    let unseen: BTreeSet<u64> =
        in_copy.keys().filter(|offset| !in_refer.contains_key(offset)).copied().collect();
    // Where the envelope is damaged, too, that is found first.
    assert!(in_refer.keys().all(|offset| in_copy.contains_key(offset)));
    assert!(unseen.iter().all(|offset| in_copy[offset] == "the content is damaged"));
    let seen = in_refer.values().filter(|why| *why == "the content is damaged").count();
    // An audit tells no more than 20 findings.
    let not_seen = unseen.len();
    assert!((4..=20).contains(&not_seen) && seen > 3, "{not_seen} not seen, {seen} seen");
    // The audit finds these, and nothing else.
    let report = audit(&queue.out("refer"), None);
    let found: BTreeSet<u64> = report["findings"].as_array().unwrap().iter().map(offset).collect();
    assert_eq!(found, unseen, "{report:#}");
    assert_eq!(report["wrong"], unseen.len(), "{report:#}");
    assert_eq!([&report["lost"], &report["doubled"]], [0, 0]);
    // Whoever reads the stream finds them, and all others are there.
    let (to, run) = (queue.out("new.mbox"), queue.out("refer"));
    let output =
        on_accepted("convert", &run, &["--json", "--to", &format!("mbox:{}", to.display())]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = records(&run).len();
    let lost = records(&run).iter().filter(|it| unseen.contains(&it.origin().1)).count();
    assert_eq!(said["damaged"], lost);
    assert_eq!(said["messages"], all - lost);
}

/// The offset at the end of a finding's place.
fn offset(finding: &Value) -> u64 {
    finding["place"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// The accepted stream of one run is the queue of the next, and its contents stay where they have
/// always been.
#[test]
fn what_is_referred_to_is_referred_onwards() {
    for (format, mix) in [(Format::Mbox, "from-lines=0.2"), (Format::Maildir, "none")] {
        let queue = Queue::new(format, 300, mix);
        queue.run("copied", &["--part-size", "64K"]);
        run_refer(&queue, "first", &["--part-size", "64K"]);
        let again = |out: &str, queue_of: &str, options: &[&str]| {
            let mut command = inqueue();
            command.arg("run").arg(queue.out(queue_of).join("accepted")).arg("--directory");
            command.arg(queue.made().join("directory.txt")).arg("--out").arg(queue.out(out));
            command.args(["--now", NOW, "--hostname", "mta.example", "--quiet"]).args(options);
            assert_done(&command.output().unwrap());
            let report = audit(&queue.out(out), None);
            let found = [&report["lost"], &report["doubled"], &report["wrong"]];
            assert_eq!(found, [0, 0, 0], "{out}: {report:#}");
        };
        again("second", "first", &["--accepted", "refer", "--part-size", "9K"]);
        again("third", "second", &["--accepted", "refer"]);
        again("copy-of-second", "second", &[]);
        again("copy-of-copied", "copied", &[]);
        let first = records(&queue.out("first"));
        let third = records(&queue.out("third"));
        assert!(first.len() >= 300);
        let refers = |records: &[Record]| -> Vec<_> {
            records.iter().filter_map(|record| record.refers_to.clone()).collect()
        };
        // What the first copied lies in it, and is referred to there from then on.
        let kept = refers(&first);
        assert_eq!(refers(&third).len(), third.len());
        let in_queue: Vec<_> =
            refers(&third).into_iter().filter(|it| !it.0.contains("/first/accepted/")).collect();
        assert_eq!(in_queue, kept);
        assert!(format == Format::Maildir || kept.len() < third.len());
        // The runs between aren't needed to read the last one.
        let contents = |out: &str| -> Vec<_> {
            records(&queue.out(out)).iter().map(Record::content).collect()
        };
        let copied = contents("copied");
        fs::remove_dir_all(queue.out("second")).unwrap();
        assert_eq!(contents("third"), copied);
        assert_eq!(contents("copy-of-second"), contents("copy-of-copied"));
    }
}

/// Names are absolute: the folder of the run may be moved, and read from anywhere.
#[test]
fn the_folder_of_a_run_may_be_moved() {
    let queue = Queue::new(Format::Mbox, 60, "none");
    let mut command = queue.command("run");
    // The queue is named from where it lies.
    let output = command.args(["--accepted", "refer"]).output().unwrap();
    assert_done(&output);
    let before = as_mbox(&queue.out("run"));
    fs::create_dir(queue.out("elsewhere")).unwrap();
    fs::rename(queue.out("run"), queue.out("elsewhere/moved")).unwrap();
    assert_eq!(as_mbox(&queue.out("elsewhere/moved")), before);
    let report = audit(&queue.out("elsewhere/moved"), Some(&queue.made().join("manifest.jsonl")));
    assert_eq!(report["wrong"], 0, "{report:#}");
    // A queue that is named by a link, or relative to a folder: the same bytes.
    std::os::unix::fs::symlink(queue.made(), queue.out("link")).unwrap();
    let mut relative = inqueue();
    relative.current_dir(queue.out("link")).args(["run", "mbox:queue.mbox", "--accepted", "refer"]);
    relative.args(["--now", NOW, "--hostname", "mta.example", "--quiet", "--out", "../other"]);
    assert_done(&relative.args(["--directory", "directory.txt"]).output().unwrap());
    assert_same_streams(&queue.out("elsewhere/moved"), &queue.out("other"));
}

#[test]
fn a_message_is_shown_and_listed_from_where_it_lies() {
    let queue = Queue::new(Format::Mbox, 40, "none");
    queue.run("copy", &[]);
    run_refer(&queue, "refer", &[]);
    let lines = |out: &str| -> Vec<Value> {
        let output = on_accepted("inspect", &queue.out(out), &["--json"]);
        assert_eq!(output.status.code(), Some(0));
        let lines = text(&output.stdout);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (copied, referred) = (lines("copy"), lines("refer"));
    let records = records(&queue.out("refer"));
    for ((copied, referred), record) in copied.iter().zip(&referred).zip(&records) {
        for member in ["queue_id", "message_size", "checksum", "sender", "recipients", "origin"] {
            assert_eq!(copied[member], referred[member], "{member}");
        }
        let (name, offset, length, _) = record.refers_to.clone().unwrap();
        let refers_to = serde_json::json!({"file": name, "offset": offset, "length": length});
        assert_eq!(referred["refers_to"], refers_to);
        let id = referred["queue_id"].as_str().unwrap();
        let show = |out: &str, more: &[&str]| {
            let output = on_accepted("show", &queue.out(out), &[&[id], more].concat());
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            output.stdout
        };
        assert_eq!(show("copy", &["--content"]), show("refer", &["--content"]));
        let envelope = text(&show("refer", &["--envelope"]));
        let line = format!("Refers to: {name}, offset {offset}, {length} bytes\n");
        assert!(envelope.contains(&line), "{envelope}");
    }
    let checked = on_accepted("check", &queue.out("refer"), &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
}

/// What is in the plan: a run goes on as it was begun.
#[test]
fn a_run_goes_on_by_reference_or_not_at_all() {
    let queue = Queue::new(Format::Segment, 50, "none");
    let refused = |out: &str, options: &[&str], said: &str| {
        let output = queue.command(out).args(options).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    };
    let plan = |out: &str| fs::read_to_string(queue.out(out).join("plan.json")).unwrap();
    let summary = |out: &str| fs::read_to_string(queue.out(out).join("summary.json")).unwrap();
    run_refer(&queue, "refer", &[]);
    run_refer(&queue, "refer", &[]);
    refused("refer", &[], "--accepted: the run has refer, now it is copy");
    assert!(plan("refer").contains("\"accepted\": \"refer\""), "{}", plan("refer"));
    assert!(summary("refer").contains("\"accepted\": \"refer\""), "{}", summary("refer"));
    queue.run("copy", &[]);
    refused("copy", &["--accepted", "refer"], "--accepted: the run has copy, now it is refer");
    // What copies writes the plan that it always has.
    assert!(!plan("copy").contains("\"accepted\""));
    assert!(!summary("copy").contains("\"accepted\""));
}

#[test]
fn what_is_drained_is_not_referred_to() {
    let queue = Queue::new(Format::PostOffice, 5, "none");
    let output = queue.command("run").args(["--drain", "--accepted", "refer"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("leave one of them out"), "{}", text(&output.stderr));
    assert!(!queue.out("run").exists());
}

/// The queue of a replay lies in the folder of its run.
#[test]
fn a_replay_by_reference_refers_to_its_own_queue() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let one =
        "From MAILER-DAEMON Thu Jan  1 00:00:00 2026\nX-Original-To: late@here.example\n\nx\n\n";
    fs::write(at("queue.mbox"), one.repeat(3)).unwrap();
    fs::write(at("users"), "good@here.example\n").unwrap();
    fs::write(at("users-later"), "good@here.example\nlate@here.example\n").unwrap();
    let command = |args: &[&str]| {
        let mut command = inqueue();
        command.current_dir(folder.path()).args(args);
        command.args(["--now", NOW, "--hostname", "mta.example", "--quiet"]);
        assert_done(&command.output().unwrap());
    };
    command(&["run", "queue.mbox", "--directory", "users", "--out", "run"]);
    assert_eq!(messages(&at("run"), "dead-letter").len(), 3);
    let replay = ["replay", "run", "--dead-letter", "--directory", "users-later", "--out", "new"];
    command(&[&replay[..], &["--accepted", "refer"]].concat());
    let report = audit(&at("new"), None);
    assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report:#}");
    let place = at("new/replay.seg").canonicalize().unwrap().display().to_string();
    let records = records(&at("new"));
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(record.content(), b"X-Original-To: late@here.example\n\nx\n");
        assert_eq!(record.refers_to.unwrap().0, place);
    }
}

fn quiet(queue: &Queue, out: &str) -> Command {
    let mut command = queue.command(out);
    command.args(["--accepted", "refer", "--workers", "2", "--part-size", "64K"]);
    command.args(["--sync", "never"]);
    command
}

/// Killed at random moments and run again: the same bytes.
#[test]
fn a_run_by_reference_survives_being_killed() {
    let queue = Queue::new(Format::Mbox, 2_000, "all");
    let begun = std::time::Instant::now();
    assert_done(&quiet(&queue, "whole").output().unwrap());
    let longest = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let mut numbers = crate::crash::Numbers(11);
    let (mut kills, mut number) = (0, 0);
    while kills < 40 {
        let out = format!("run-{number}");
        let mut command = quiet(&queue, &out);
        command.stdout(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        // The moment is random, so it has to be waited for; nothing depends on where it falls.
        std::thread::sleep(std::time::Duration::from_micros(numbers.below(longest)));
        child.kill().unwrap();
        if child.wait().unwrap().code().is_none() {
            kills += 1;
            continue;
        }
        assert_same_streams(&queue.out("whole"), &queue.out(&out));
        fs::remove_dir_all(queue.out(&out)).unwrap();
        number += 1;
    }
    let out = format!("run-{number}");
    assert_done(&quiet(&queue, &out).output().unwrap());
    assert_same_streams(&queue.out("whole"), &queue.out(&out));
    queue.assert_clean(&out);
}

/// Faults and deaths in messages that would stay in the queue: they go to quarantine, copied, as in
/// a run that copies; parts go on from their saved states.
#[cfg(feature = "fault-injection")]
#[test]
fn what_is_struck_is_quarantined_as_in_a_run_that_copies() {
    for mix in ["fault-panic=0.05,mixed-outcomes=0.2", "fault-segv=0.01,mixed-outcomes=0.2"] {
        let queue = Queue::new(Format::Segment, 800, mix);
        queue.run("copy", &["--part-size", "8M", "--workers", "1"]);
        for workers in ["1", "5"] {
            let out = format!("refer-{workers}");
            run_refer(&queue, &out, &["--part-size", "8M", "--workers", workers]);
            assert_eq!(others(&queue.out("copy")), others(&queue.out(&out)));
            queue.assert_clean(&out);
            assert_same_streams(&queue.out("refer-1"), &queue.out(&out));
        }
        assert!(!messages(&queue.out("copy"), "quarantine").is_empty());
        assert_eq!(as_mbox(&queue.out("copy")), as_mbox(&queue.out("refer-1")));
    }
}
