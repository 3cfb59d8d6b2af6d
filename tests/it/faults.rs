//! Faults of our own code, injected (`--features fault-injection`): a message's fault is its own,
//! wherever it strikes, and a worker that dies is replaced.
//!
//! Without the feature there is nothing to inject, and these tests aren't there: the test script
//! runs them in a build of their own.
#![cfg(feature = "fault-injection")]

use crate::support::{NOW, Queue, Read, audit, events, inqueue, messages, streams, text};
use inqueue_gen::Format;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A queue of our own making: an mbox, and a directory that knows `good@here.example`.
struct Mail {
    folder: tempfile::TempDir,
    mbox: String,
    messages: usize,
}

impl Mail {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("users"), "good@here.example\nother@here.example\n").unwrap();
        Self { folder, mbox: String::new(), messages: 0 }
    }

    /// Adds a message; `marker` names the stage in which it strikes.
    fn add(&mut self, sender: &str, to: &str, marker: Option<&str>) {
        self.messages += 1;
        let number = self.messages;
        let fault = marker.map_or_else(String::new, |stage| format!("X-Inqueue-Fault: {stage}\n"));
        self.mbox.extend([
            format!("From {sender} Thu Jan  1 00:00:00 2026\n"),
            format!("Return-Path: <{sender}>\nX-Original-To: {to}\n{fault}"),
            format!("Subject: number {number}\n\nbody of {number}\n\n"),
        ]);
    }

    fn out(&self, out: &str) -> PathBuf {
        self.folder.path().join(out)
    }

    fn run(&self, out: &str, options: &[&str]) -> Output {
        fs::write(self.folder.path().join("queue.mbox"), &self.mbox).unwrap();
        inqueue()
            .current_dir(self.folder.path())
            .args(["run", "queue.mbox", "--directory", "users", "--out", out, "--json"])
            .args(["--now", NOW, "--hostname", "mta.example"])
            .args(options)
            .output()
            .unwrap()
    }
}

fn assert_proven(run: &Path, messages: usize) {
    let report = audit(run, None);
    for kind in ["lost", "doubled", "wrong", "parts_uncommitted"] {
        assert_eq!(report[kind], 0, "{report:#}");
    }
    assert_eq!(report["messages"], messages);
}

/// The `Subject` numbers of a stream's messages.
fn numbers(run: &Path, stream: &str) -> Vec<usize> {
    messages(run, stream).iter().map(number).collect()
}

fn number(read: &Read) -> usize {
    let content = text(&read.content);
    let line = content.lines().find(|line| line.starts_with("Subject: number ")).unwrap();
    line["Subject: number ".len()..].parse().unwrap()
}

fn numbers_of_events(run: &Path) -> Vec<u64> {
    events(run).iter().map(|event| event["number"].as_u64().unwrap()).collect()
}

/// Q175965: a message whose sender and recipients are both invalid, before, between and after good
/// mail; with the fault of the original also in the rendering of the report and of the event.
#[test]
fn invalid_sender_and_recipients_with_faults_in_reporting() {
    for marker in [None, Some("ndr"), Some("event"), Some("render"), Some("decide"), Some("parse")]
    {
        let mut mail = Mail::new();
        for _ in 0..3 {
            mail.add("not an address", "also@@not..one", marker);
            for _ in 0..5 {
                mail.add("a@there.example", "good@here.example", None);
            }
        }
        mail.add("not an address", "also@@not..one", marker);
        for (out, options) in [("one", ["--workers", "1"]), ("many", ["--part-size", "200"])] {
            let output = mail.run(out, &options);
            let run = mail.out(out);
            let quarantined = matches!(marker, Some("render" | "decide" | "parse"));
            // No report is due for them: a fault in reports never strikes.
            let struck = quarantined || marker == Some("event");
            assert_eq!(output.status.code(), Some(if struck { 3 } else { 0 }), "{marker:?}");
            let good: Vec<_> = (1..=19).filter(|n| n % 6 != 1).collect();
            let bad: Vec<_> = (1..=19).filter(|n| n % 6 == 1).collect();
            assert_eq!(numbers(&run, "accepted"), good, "{marker:?}");
            let place = if quarantined { "quarantine" } else { "dead-letter" };
            let other = if quarantined { "dead-letter" } else { "quarantine" };
            assert_eq!(numbers(&run, place), bad, "{marker:?}");
            assert!(messages(&run, other).is_empty() && messages(&run, "ndr").is_empty());
            let numbers = numbers_of_events(&run);
            let count = |number: u64| numbers.iter().filter(|n| **n == number).count();
            assert_eq!(count(2444), 15);
            assert_eq!(count(2380), if struck { 4 } else { 0 });
            assert_eq!(count(10003), count(2380), "each fault names its thread");
            assert_eq!(count(2371), if quarantined { 0 } else { 4 });
            assert_eq!([count(2450), count(2451)], [0, 4], "an invalid sender isn't known");
            assert_proven(&run, 19);
        }
    }
}

/// The sender is good: a report is due, and its rendering fails. The recipient becomes a dead
/// letter.
#[test]
fn a_fault_in_a_report_makes_a_dead_letter() {
    let mut mail = Mail::new();
    mail.add("a@there.example", "nobody@here.example", Some("ndr"));
    mail.add("a@there.example", "nobody@here.example", None);
    mail.add("a@there.example", "good@here.example", Some("ndr"));
    let output = mail.run("run", &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let run = mail.out("run");
    assert_eq!(numbers(&run, "dead-letter"), [1]);
    assert_eq!(messages(&run, "ndr").len(), 1);
    assert_eq!(numbers(&run, "accepted"), [3]);
    assert_eq!(numbers_of_events(&run), [2375, 2450, 2380, 10003, 2375, 2117, 2444]);
    assert_proven(&run, 3);
}

/// The events of dispositions are made from numbers, and the others are whole: a report that could
/// go nowhere is told.
#[test]
fn a_fault_in_an_event_beside_a_report_that_can_go_nowhere() {
    let mut mail = Mail::new();
    mail.add("gone@here.example", "nobody@here.example", Some("event"));
    let output = mail.run("run", &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let run = mail.out("run");
    assert_eq!(numbers_of_events(&run), [2375, 2376, 2450, 2380, 10003]);
    assert_eq!(events(&run)[0]["recipient"], serde_json::Value::Null);
    assert_proven(&run, 1);
}

/// The seed's case with the original's fault where the original had it, in the Windows event log:
/// 2380 and 10003 about the message, by its id, and everybody else is served.
#[test]
fn a_fault_in_the_event_log_names_the_message() {
    use inqueue::event::{evt, told::Told};
    let mut mail = Mail::new();
    mail.add("a@there.example", "good@here.example", None);
    mail.add("not an address", "also@@not..one", Some("event"));
    mail.add("a@there.example", "good@here.example", None);
    let to = format!("evt:{}", mail.out("x.evt").display());
    let output = mail.run("run", &["--log", &to]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let run = mail.out("run");
    assert_eq!(numbers_of_events(&run), [2444, 2371, 2451, 2380, 10003, 2444]);
    let told: Vec<_> = events(&run);
    let log = fs::read(mail.out("x.evt")).unwrap();
    let mut extent = evt::Extent::new(1);
    let mut expect = Vec::new();
    for event in &told {
        let told = Told::parse(event.to_string().as_bytes()).unwrap();
        assert!(extent.append(&mut expect, &told, "mta.example"));
    }
    assert!(log[48..log.len() - 40] == expect, "the log isn't the stream");
    let strings =
        |index: usize| evt::strings(&Told::parse(told[index].to_string().as_bytes()).unwrap());
    let (fault, thread) = (strings(3), strings(4));
    assert!(fault[0].contains("an attempt to read from injected fault in event."), "{}", fault[0]);
    let (file, line) = (told[4]["file"].as_str().unwrap(), &told[4]["line"]);
    assert_eq!(thread[0], format!("Fatal Assert: File {file} line {line}.  Mailer thread failed."));
    for strings in [fault, thread] {
        assert_eq!(strings.last().unwrap(), told[1]["queue_id"].as_str().unwrap());
    }
}

/// Each stage, struck: the message is in quarantine byte for byte, its neighbours are served.
#[test]
fn fault_in_one_message() {
    for stage in ["parse", "decide", "render"] {
        let mut mail = Mail::new();
        mail.add("a@there.example", "good@here.example", None);
        mail.add("a@there.example", "nobody@here.example", Some(stage));
        mail.add("a@there.example", "other@here.example", None);
        let output = mail.run("run", &[]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        let run = mail.out("run");
        assert_eq!(numbers(&run, "accepted"), [1, 3]);
        let held = messages(&run, "quarantine");
        let [held] = held.as_slice() else { panic!("{} in quarantine", held.len()) };
        let queued = mail.mbox.split("From ").nth(2).unwrap();
        let content = queued.split_once('\n').unwrap().1.strip_suffix('\n').unwrap();
        assert_eq!(text(&held.content), content);
        assert!(messages(&run, "ndr").is_empty(), "what was half done is taken back");
        let told = events(&run);
        let fault = told.iter().find(|event| event["number"] == 2380).unwrap();
        assert_eq!(fault["stage"], stage);
        assert_eq!(fault["fault"], format!("injected fault in {stage}"));
        let thread = told.iter().find(|event| event["number"] == 10003).unwrap();
        assert_eq!(thread["queue_id"], fault["queue_id"]);
        let id = fault["id"].as_str().unwrap();
        assert_eq!(thread["id"], format!("{}a0", id.strip_suffix("f0").unwrap()));
        let place = format!("{}:{}", thread["file"].as_str().unwrap(), thread["line"]);
        assert_eq!(fault["place"], place);
        assert_proven(&run, 3);
    }
}

/// A generated queue with faults in every stage ends as its manifest says, in each format.
#[test]
fn fault_panic() {
    for format in [Format::Segment, Format::Mbox, Format::Maildir, Format::Eml] {
        let queue = Queue::new(format, 600, "fault-panic=0.3,mixed-outcomes=0.2");
        queue.run("run", &["--part-size", "256K"]);
        let report = queue.assert_clean("run");
        assert_eq!(report["expected"], 600, "{}", format.name());
        assert!(report["counts"]["faults"].as_u64().unwrap() > 100);
    }
}

/// A queue of nothing but poison still runs to its end, and so do its neighbours' parts: no lock is
/// held over message code.
#[test]
fn lock_held_by_the_dead() {
    let queue = Queue::new(Format::Segment, 800, "fault-panic=0.9");
    for workers in ["1", "2", "7"] {
        let options = ["--workers", workers, "--part-size", "32K", "--breaker", "0"];
        queue.run(workers, &options);
        queue.assert_clean(workers);
        crate::support::assert_same_streams(&queue.out("1"), &queue.out(workers));
    }
}

/// A worker that dies is replaced and reported, and its part is done again: the run ends with its
/// work done, and the same bytes.
#[test]
fn thread_dies_silently() {
    let mut mail = Mail::new();
    for number in 0..40 {
        let marker = (number % 10 == 3).then_some("worker");
        mail.add("a@there.example", "good@here.example", marker);
        mail.add("a@there.example", "nobody@here.example", None);
    }
    for workers in ["1", "2"] {
        let output = mail.run(workers, &["--workers", workers, "--part-size", "1000"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["workers_lost"], 4);
        let log = fs::read_to_string(mail.out(workers).join("engine.jsonl")).unwrap();
        assert_eq!(log.matches("\"number\":10003").count(), 4);
        assert_proven(&mail.out(workers), 80);
    }
    assert_eq!(streams(&mail.out("1")), streams(&mail.out("2")));
}

/// One that dies at each try leaves its part undone, loudly; all other parts are done, and a
/// program that is mended goes on.
#[test]
fn a_part_that_no_worker_survives_is_left_in_the_queue_loudly() {
    let mut mail = Mail::new();
    for number in 0..20 {
        let marker = (number == 7).then_some("worker-always");
        mail.add("a@there.example", "good@here.example", marker);
    }
    let output = mail.run("run", &["--part-size", "400"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("2 workers died over it"), "{told}");
    assert!(told.contains("run it again to go on"), "{told}");
    let report = audit(&mail.out("run"), None);
    assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report:#}");
    assert_eq!(report["parts_uncommitted"], 1);
    assert!(!mail.out("run").join("summary.json").exists());
}
