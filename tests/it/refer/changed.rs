//! The queue that accepted mail lies in isn't as it was: each command notices, says what is gone
//! and where it lay, and does all the rest. With the file as it was, all is well again.

use super::{Record, on_accepted, records, run_refer};
use crate::support::{NOW, Queue, audit, inqueue, messages, text};
use inqueue_gen::Format;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;

const MESSAGES: u64 = 80;

/// An mbox whose accepted mail has stayed in it, and what is to become of it.
struct Kept {
    queue: Queue,
    mbox: PathBuf,
    before: Vec<u8>,
    records: Vec<Record>,
}

/// What is done to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// One byte of one content, and the time of last change as it was.
    OneByte,
    Shortened,
    Removed,
    /// By another of the same length.
    Replaced,
}

impl Kept {
    fn new() -> Self {
        let queue = Queue::new(Format::Mbox, MESSAGES, "none");
        run_refer(&queue, "run", &["--part-size", "32K"]);
        let mbox = queue.made().join("queue.mbox").canonicalize().unwrap();
        let (before, records) = (fs::read(&mbox).unwrap(), records(&queue.out("run")));
        assert_eq!(records.len() as u64, MESSAGES);
        Self { queue, mbox, before, records }
    }

    fn run(&self) -> PathBuf {
        self.queue.out("run")
    }

    /// Where the content of a record lies.
    fn place(&self, record: usize) -> (u64, u64) {
        let (name, offset, length, _) = self.records[record].refers_to.clone().unwrap();
        assert_eq!(Path::new(&name), self.mbox);
        (offset, length)
    }

    fn change(&self, change: Change) {
        let modified = fs::metadata(&self.mbox).unwrap().modified().unwrap();
        let mut bytes = self.before.clone();
        let away = self.mbox.with_extension("away");
        match change {
            Change::OneByte => {
                let (offset, length) = self.place(20);
                bytes[usize::try_from(offset + length - 2).unwrap()] ^= 1;
                fs::write(&self.mbox, bytes).unwrap();
                File::open(&self.mbox).unwrap().set_modified(modified).unwrap();
            }
            Change::Shortened => {
                bytes.truncate(usize::try_from(self.place(70).0 + 3).unwrap());
                fs::write(&self.mbox, bytes).unwrap();
            }
            Change::Removed => fs::rename(&self.mbox, away).unwrap(),
            Change::Replaced => {
                fs::rename(&self.mbox, away).unwrap();
                bytes.reverse();
                fs::write(&self.mbox, bytes).unwrap();
            }
        }
    }

    /// Brings the file back as it was.
    fn bring_back(&self, change: Change, modified: std::time::SystemTime) {
        if matches!(change, Change::Removed | Change::Replaced) {
            fs::rename(self.mbox.with_extension("away"), &self.mbox).unwrap();
        } else {
            fs::write(&self.mbox, &self.before).unwrap();
            File::open(&self.mbox).unwrap().set_modified(modified).unwrap();
        }
    }

    /// The records whose contents are gone.
    fn lost(&self, change: Change) -> Vec<usize> {
        match change {
            Change::OneByte => vec![20],
            Change::Shortened => (70..self.records.len()).collect(),
            Change::Removed | Change::Replaced => (0..self.records.len()).collect(),
        }
    }

    /// The queue ids of all records, in order, as the whole stream has them.
    fn ids(&self) -> Vec<String> {
        let output = on_accepted("inspect", &self.run(), &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let lines = text(&output.stdout);
        lines.lines().map(|line| member(&serde_json::from_str(line).unwrap(), "queue_id")).collect()
    }

    /// What is said of a record's content that is gone.
    fn said(&self, record: usize, why: &str) -> String {
        let (offset, length) = self.place(record);
        format!("{}, offset {offset}, {length} bytes: {why}", self.mbox.display())
    }
}

fn member(line: &Value, name: &str) -> String {
    line[name].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn assert_says(output: &Output, code: i32, said: &str) {
    let told = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(said), "{said} isn't in: {told}");
}

fn noticed(change: Change, why: &str) {
    let kept = Kept::new();
    let ids = kept.ids();
    let modified = fs::metadata(&kept.mbox).unwrap().modified().unwrap();
    let whole = super::as_mbox(&kept.run());
    kept.change(change);
    let lost = kept.lost(change);
    let said = kept.said(lost[0], why);
    let is_lost: BTreeSet<&String> = lost.iter().map(|at| &ids[*at]).collect();

    let to = format!("mbox:{}", kept.queue.out("part.mbox").display());
    let converted = on_accepted("convert", &kept.run(), &["--to", &to]);
    assert_says(&converted, 3, &format!("; message {}: {said}", ids[lost[0]]));
    assert_says(&converted, 3, "bring the file back as it was");
    assert_says(&converted, 3, &format!("{} messages", ids.len() - lost.len()));

    let listed = on_accepted("inspect", &kept.run(), &["--json"]);
    assert_eq!(listed.status.code(), Some(3));
    for (index, line) in text(&listed.stdout).lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(member(&line, "queue_id"), ids[index]);
        assert_eq!(is_lost.contains(&ids[index]), !line["damage"].is_null());
        let (offset, length) = kept.place(index);
        assert_eq!(line["refers_to"]["offset"], offset);
        assert_eq!(line["refers_to"]["length"], length);
    }
    assert_says(&on_accepted("inspect", &kept.run(), &[]), 3, &said);
    assert_says(&on_accepted("check", &kept.run(), &[]), 3, &said);

    let gone = on_accepted("show", &kept.run(), &[&ids[lost[0]]]);
    assert_says(&gone, 3, &format!("the content of {} is gone, or has changed", ids[lost[0]]));
    assert_says(&gone, 3, &said);
    if let Some(left) = (0..ids.len()).find(|at| !lost.contains(at)) {
        let shown = on_accepted("show", &kept.run(), &[&ids[left], "--content"]);
        assert_eq!(shown.status.code(), Some(0));
        assert_eq!(shown.stdout, kept.records[left].content());
    }

    // As the queue of a run: what is gone is set aside, all else goes on.
    let next = |out: &str| {
        let mut command = inqueue();
        command.arg("run").arg(kept.run().join("accepted")).arg("--directory");
        command.arg(kept.queue.made().join("directory.txt")).arg("--out").arg(kept.queue.out(out));
        command.args(["--now", NOW, "--hostname", "mta.example", "--quiet"]);
        command.output().unwrap()
    };
    assert_says(&next("next"), 3, "");
    assert_eq!(messages(&kept.queue.out("next"), "quarantine").len(), lost.len());
    let report = audit(&kept.queue.out("next"), None);
    assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report:#}");
    assert_eq!(report["counts"]["damaged"], lost.len());

    audited(&kept, change);
    kept.bring_back(change, modified);
    fs::remove_file(kept.queue.out("run.mbox")).unwrap();
    assert_eq!(super::as_mbox(&kept.run()), whole);
    kept.queue.assert_clean("run");
}

/// An audit says what has changed: by the file's identity, and where that is as it was, by what
/// stands in it.
fn audited(kept: &Kept, change: Change) {
    if change == Change::OneByte {
        let report = audit(&kept.run(), Some(&kept.queue.made().join("manifest.jsonl")));
        let findings = report["findings"].as_array().unwrap();
        let (_, offset, _) = kept.records[20].origin();
        for finding in findings {
            assert_eq!(finding["place"], format!("queue.mbox, offset {offset}"), "{report:#}");
        }
        assert_eq!([&report["lost"], &report["doubled"]], [0, 0], "{report:#}");
        let what = |finding: &Value| member(finding, "what").contains("refers elsewhere");
        assert!(findings.iter().any(what), "{report:#}");
        return;
    }
    let output = inqueue().arg("audit").arg(kept.run()).output().unwrap();
    let is_removed = change == Change::Removed;
    let said = if is_removed { "queue.mbox: cannot read" } else { "bring the file back as it was" };
    assert_says(&output, 1, said);
}

#[test]
fn one_changed_byte_is_noticed() {
    noticed(Change::OneByte, "other bytes stand there by now");
}

#[test]
fn a_shortened_file_is_noticed() {
    noticed(Change::Shortened, "the file ends before that, it has ");
}

#[test]
fn a_removed_file_is_noticed() {
    noticed(Change::Removed, "No such file or directory");
}

#[test]
fn a_replaced_file_is_noticed() {
    noticed(Change::Replaced, "other bytes stand there by now");
}

/// What was read by reference is written down by the next run, too: its audit says of each message
/// that its content is gone since, and nothing else.
#[test]
fn an_audit_says_what_is_gone_that_its_queue_refers_to() {
    let kept = Kept::new();
    for (out, options) in [("copy", &[][..]), ("refer", &["--accepted", "refer"])] {
        let mut command = inqueue();
        command.arg("run").arg(kept.run().join("accepted")).args(options).arg("--directory");
        command.arg(kept.queue.made().join("directory.txt")).arg("--out").arg(kept.queue.out(out));
        command.args(["--now", NOW, "--hostname", "mta.example", "--quiet"]);
        assert_eq!(command.status().unwrap().code(), Some(0));
    }
    kept.change(Change::Shortened);
    let lost = kept.lost(Change::Shortened);
    for out in ["copy", "refer"] {
        let report = audit(&kept.queue.out(out), None);
        let found = [&report["lost"], &report["doubled"], &report["wrong"]];
        assert_eq!(found, [&Value::from(0), &Value::from(0), &lost.len().into()], "{report:#}");
        let said = kept.said(lost[0], "the file ends before that, it has ");
        let what = member(&report["findings"][0], "what");
        assert!(what.contains(&said), "{what}");
    }
}

/// One file of a Maildir: one message.
#[test]
fn a_changed_file_of_a_maildir_is_one_message() {
    let queue = Queue::new(Format::Maildir, 300, "none");
    run_refer(&queue, "run", &[]);
    let records = records(&queue.out("run"));
    let name = |at: usize| records[at].refers_to.clone().unwrap().0;
    fs::remove_file(name(7)).unwrap();
    fs::write(name(100), "other").unwrap();
    let output = on_accepted(
        "convert",
        &queue.out("run"),
        &["--to", &format!("eml:{}", queue.out("eml").display())],
    );
    assert_says(&output, 3, &format!("{}, offset 0", name(7)));
    assert_says(&output, 3, &format!("{}, offset 0", name(100)));
    let lost = records.iter().filter(|record| {
        let name_of = &record.refers_to.as_ref().unwrap().0;
        [name(7), name(100)].contains(name_of)
    });
    let left = records.len() - lost.count();
    assert_says(&output, 3, &format!("{left} messages"));
    let output = inqueue().arg("audit").arg(queue.out("run")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
