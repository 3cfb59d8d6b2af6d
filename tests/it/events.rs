//! The lines of docs/events.md: each example there is what the library writes.
//!
//! Not here: which events a run writes, and where.

use inqueue::decide::{Disposition, NoReport, Outcome};
use inqueue::event::Number;
use inqueue::event::json::{self, Member, Sequence, Subject};
use inqueue::mail::envelope::{QueueId, ReversePath};
use inqueue::mail::status::EnhancedStatus;
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
