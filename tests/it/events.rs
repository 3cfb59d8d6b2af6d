//! The lines of docs/events.md: each example there is what the library writes, its catalogue is
//! the library's, and each number that has a cause here comes from that cause.
//!
//! Faults of ours (2380, 10003) are in `faults`. Not here: other encodings (`event_logs`).

use crate::support::{NOW, Queue, audit, events, inqueue, text};
use inqueue::decide::{Disposition, NoReport, Outcome};
use inqueue::event::Number;
use inqueue::event::catalogue::{ROWS, Row};
use inqueue::event::json::{self, Member, Sequence, Subject};
use inqueue::mail::envelope::{QueueId, ReversePath};
use inqueue::mail::status::EnhancedStatus;
use inqueue_gen::Format;
use std::fs;
use std::path::Path;

fn subject<'c>(id: &'c QueueId<'static>, sender: &'static [u8]) -> Subject<'c, 'static> {
    let sender = ReversePath::from_path(sender);
    Subject {
        key: 0x5F3A_9C01_1A2B_3C4D,
        attempts: 1,
        time: b"2026-01-02T03:04:05Z",
        queue_id: id,
        sender,
        size: 5230,
    }
}

fn disposition(
    address: &'static [u8],
    outcome: Outcome,
    status: EnhancedStatus,
    number: u16,
) -> Disposition<'static> {
    Disposition {
        ordinal: Some(0),
        address,
        mailbox: None,
        outcome,
        status,
        number,
        route: b"",
        detail: b"",
        owner: None,
        report_to: b"",
    }
}

/// The examples, in the document's order.
fn examples() -> Vec<String> {
    use EnhancedStatus as S;
    let id = QueueId::Given(b"4bXyz1");
    let subject = subject(&id, b"ann@a.example");
    let mut relayed = disposition(b"bob@b.example", Outcome::Relayed, S::SUCCESS, 0);
    relayed.route = b"smtp:[mx.b.example]:25";
    let mut moved = disposition(b"cyd@x.example", Outcome::Failed, S::MAILBOX_MOVED, 0);
    moved.detail = b"cyd@new.example";
    let dead = Outcome::DeadLetter(NoReport::NullReversePath);
    let dispositions = [
        disposition("j\u{f6}rg@x.example".as_bytes(), Outcome::Delivered, S::ADDRESS_VALID, 0),
        relayed,
        disposition(b"team@x.example", Outcome::Expanded, S::ADDRESS_VALID, 0),
        disposition(b"bob@b.example", Outcome::Duplicate, S::ADDRESS_VALID, 0),
        disposition(b"dan@x.example", Outcome::Deferred, S::MAILBOX_FULL_FOR_NOW, 17),
        disposition(b"eve@x.example", Outcome::Deferred, S::NOT_DUE, 0),
        disposition(b"gone@x.example", Outcome::Failed, S::MAILBOX_UNKNOWN, 2),
        moved,
        disposition(b"gone@x.example", dead, S::MAILBOX_UNKNOWN, 2),
    ];
    let mut out = Vec::new();
    for (index, disposition) in (0..).zip(&dispositions) {
        json::disposition(&mut out, &subject, index, disposition);
    }
    json::report(&mut out, &subject, 0, (b"ann@a.example", 2, dispositions.get(6)));
    json::homeless(&mut out, &subject, "the sender's mailbox does not exist");
    json::set_aside(&mut out, &subject, "dead-letter", b"the sender's mailbox does not exist");
    let null = Subject { sender: ReversePath::Null, ..subject };
    json::set_aside(&mut out, &null, "dead-letter", b"the reverse-path is null");
    let invalid = Subject { sender: ReversePath::Path(b"not an address"), ..subject };
    json::set_aside(&mut out, &invalid, "dead-letter", b"the reverse-path is not a mailbox");
    let unknown = Subject { sender: ReversePath::Unknown, attempts: 0, ..subject };
    json::unreadable(&mut out, &unknown, "the content is damaged");
    json::set_aside(&mut out, &unknown, "quarantine", b"the content is damaged");
    json::fault(&mut out, &subject, 0, "render", "index out of bounds", "src/x.rs:1:2");
    json::minimal(&mut out, &subject, 6, &dispositions[6]);
    json::worker_lost(&mut out, b"2026-01-02T03:04:05Z", 17, 1);
    let members = [
        ("queue_id", Member::Text(b"00000278")),
        ("mai", Member::Text(b"0000031A")),
        ("sender", Member::Text(b"NET/PO/ANN")),
        ("mailbag", Member::Text(b"00000004")),
    ];
    let (key, sequence) = ((subject.key, 1), Sequence::Note(0));
    json::note(&mut out, Number::INTO_MAILBAG, subject.time, key, sequence, &members);
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_document_shows_what_is_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    let document = fs::read_to_string(path).unwrap();
    let shown: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("    {")).collect();
    let written = examples();
    let written: Vec<&str> = written.iter().map(|line| line.strip_prefix('{').unwrap()).collect();
    assert_eq!(shown, written);
}

#[test]
fn each_event_is_an_object_with_an_id_of_its_own() {
    let mut ids = Vec::new();
    for line in examples() {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line.is_ascii());
        ids.push((event["id"].as_str().unwrap().to_owned(), event["number"].as_u64().unwrap()));
    }
    // Twice the same: the set-aside of one message, told of four senders; the short form.
    assert_eq!(ids[11].0, ids[12].0);
    assert_eq!(ids[12].0, ids[13].0);
    assert_eq!([ids[11].1, ids[12].1, ids[13].1], [2450, 2451, 2451]);
    assert_eq!(ids[6].0, ids[18].0);
    assert_eq!(ids[17], ("5F3A9C011A2B3C4D-1-a0".to_owned(), 10003));
    assert_eq!(ids[19], ("0000000000000011-1-s0".to_owned(), 10003));
}

#[test]
fn a_queue_id_with_a_quote_is_escaped_in_every_event() {
    let id = QueueId::Given(b"a\"b\\c");
    let subject = subject(&id, b"ann@a.example");
    let bad = disposition(b"x", Outcome::Failed, EnhancedStatus::BAD_ADDRESS, 0);
    let mut out = Vec::new();
    json::disposition(&mut out, &subject, 0, &bad);
    json::minimal(&mut out, &subject, 0, &bad);
    json::fault(&mut out, &subject, 0, "ndr", "x", "y");
    for line in out.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let event: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!(event["queue_id"], "a\"b\\c");
    }
}

/// A row of the catalogue as the document has it, but for cause and test.
fn documented(row: &Row) -> String {
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        row.number,
        row.kind.name(),
        row.category.name(),
        row.level.name(),
        row.words.name(),
        row.template.replace("\r\n", " / "),
        row.fills.join(", ").replace('|', " or ")
    )
}

#[test]
fn the_document_has_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    let document = fs::read_to_string(path).unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit();
    let rows: Vec<&str> = document.lines().filter(is_row).collect();
    let described: Vec<&str> =
        rows.iter().copied().filter(|row| row.matches(" | ").count() == 6).collect();
    let expect: Vec<String> = ROWS.iter().map(documented).collect();
    for (row, expect) in described.iter().zip(&expect) {
        assert_eq!(row, expect);
    }
    assert_eq!(described.len(), expect.len());
    // And each number has its cause and its test, or why it has none.
    let causes: Vec<&str> =
        rows.iter().copied().filter(|row| row.matches(" | ").count() == 2).collect();
    let named: Vec<u16> =
        causes.iter().map(|row| row[2..].split(' ').next().unwrap().parse().unwrap()).collect();
    let mut numbers: Vec<u16> = ROWS.iter().map(|row| row.number).collect();
    let mut sorted = named.clone();
    sorted.sort_unstable();
    numbers.retain(|number| *number != 2335);
    numbers.extend([2335, 2335]);
    numbers.sort_unstable();
    assert_eq!(sorted, numbers);
    let tests = ["events.rs", "faults.rs", "postoffice/told.rs"].map(|file| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
        fs::read_to_string(path).unwrap()
    });
    for row in causes {
        let test = row.rsplit(" | ").next().unwrap().trim_end_matches(" |");
        if let Some(test) = test.strip_prefix('`').and_then(|test| test.strip_suffix('`')) {
            let name = test.rsplit("::").next().unwrap();
            let function = format!("fn {name}()");
            assert!(tests.iter().any(|file| file.contains(&function)), "{test}");
        } else {
            assert_eq!(test, "none", "{row}");
        }
    }
}

/// A queue of our own, with a directory that has an address of each kind.
struct Mail {
    folder: tempfile::TempDir,
    mbox: String,
}

impl Mail {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = "good@here.example\nfull@here.example full\n\
                     team@here.example alias good@here.example good@here.example\n\
                     system sync@here.example\n";
        fs::write(folder.path().join("users"), users).unwrap();
        Self { folder, mbox: String::new() }
    }

    fn add(mut self, sender: &str, to: &str) -> Self {
        self.mbox.extend([
            format!("From {sender} Thu Jan  1 00:00:00 2026\n"),
            format!("Return-Path: <{sender}>\nX-Original-To: {to}\nSubject: x\n\nbody\n\n"),
        ]);
        self
    }

    fn run(&self, queue: &str, out: &str) -> Vec<serde_json::Value> {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("q.mbox"), &self.mbox).unwrap();
        let output = inqueue()
            .arg("run")
            .arg(path(queue))
            .args(["--now", NOW, "--hostname", "mta.example", "--quiet"])
            .arg("--directory")
            .arg(path("users"))
            .arg("--out")
            .arg(path(out))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let report = audit(&path(out), None);
        assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report}");
        events(&path(out))
    }
}

fn numbers(events: &[serde_json::Value]) -> Vec<u64> {
    events.iter().map(|event| event["number"].as_u64().unwrap()).collect()
}

/// One message: its events, in order.
fn assert_events(sender: &str, to: &str, expect: &[u64]) {
    let told = Mail::new().add(sender, to).run("q.mbox", "run");
    assert_eq!(numbers(&told), expect, "from {sender} to {to}");
}

const ANN: &str = "ann@there.example";

#[test]
fn cause_of_2444() {
    assert_events(ANN, "good@here.example", &[2444]);
    assert_events("", "bob@elsewhere.example", &[2444]);
}

#[test]
fn cause_of_2010_and_20001() {
    let mail = Mail::new().add(ANN, "full@here.example");
    assert_eq!(numbers(&mail.run("q.mbox", "run")), [2010]);
    // Tried again at once, it isn't due.
    assert_eq!(numbers(&mail.run("run/deferred", "again")), [20001]);
}

#[test]
fn cause_of_2375_and_2117() {
    let told = Mail::new().add(ANN, "nobody@here.example").run("q.mbox", "run");
    assert_eq!(numbers(&told), [2375, 2117]);
    assert_eq!(told[1]["recipient"], "nobody@here.example");
    assert_eq!(told[1]["code"], 2);
}

#[test]
fn cause_of_2371() {
    assert_events(ANN, "also@@not..one", &[2371, 2117]);
}

#[test]
fn cause_of_20002_and_20003() {
    assert_events(ANN, "team@here.example", &[20002, 2444, 20003]);
}

#[test]
fn cause_of_2376_and_2450() {
    for sender in ["gone@here.example", "sync@here.example"] {
        let mail = Mail::new().add(sender, "nobody@here.example");
        let mail = mail.add(sender, "good@here.example");
        let told = mail.run("q.mbox", "run");
        assert_eq!(numbers(&told), [2375, 2376, 2450, 2444]);
        assert_eq!(told[1]["sender"], sender);
        assert_eq!(told[1]["reason"], told[2]["reason"]);
    }
}

/// The seed's case: the recipient is invalid, and so is the sender, or there is none.
#[test]
fn cause_of_2451() {
    assert_events("not an address", "also@@not..one", &[2371, 2451]);
    assert_events("", "also@@not..one", &[2371, 2451]);
}

#[test]
fn cause_of_2335() {
    let queue = Queue::new(Format::Segment, 100, "corrupt-message=0.5");
    let said = queue.run("run", &[]);
    queue.assert_clean("run");
    let told = events(&queue.out("run"));
    let at: Vec<usize> = (0..told.len()).filter(|at| told[*at]["number"] == 2335).collect();
    assert!(at.len() > 10);
    assert_eq!(said["counts"]["damaged"], at.len());
    for at in at {
        let (unreadable, aside) = (&told[at], &told[at + 1]);
        assert_eq!(aside["number"], 2451);
        assert_eq!(
            [&unreadable["reason"], &unreadable["queue_id"]],
            [&aside["reason"], &aside["queue_id"]]
        );
        assert_eq!(aside["stream"], "quarantine");
    }
}
