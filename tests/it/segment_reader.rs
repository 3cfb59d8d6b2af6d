//! Segments that inqueue-gen has written, read by us and by a reader that was written from
//! docs/segment.md alone (tests/readers/segment.py): both find the same, to the last field.
//!
//! Not here: what becomes of the messages.

use crate::readers::{PART_SIZES, Seen, python, read_parts};
use inqueue::decide::Case;
use inqueue::mail::content::Content;
use inqueue::mail::envelope::{QueueId, Ret, ReversePath};
use inqueue::queue::segment::write::{Fields, Payload, Place, append_head, file_header};
use inqueue_gen::{Mix, Options, generate};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Bytes as text, a character for each.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A message or damage as we read it.
fn ours(seen: &Seen<'_, '_>) -> Value {
    match seen {
        Seen::Damage(damage) => {
            json!({"offset": damage.offset, "length": damage.length, "damage": true})
        }
        Seen::Message(found, None) => {
            json!({"offset": found.offset, "length": found.length, "damage": true})
        }
        Seen::Message(found, Some(case)) => json!({
            "offset": found.offset,
            "length": found.length,
            "content_length": found.content.len(),
            "content_crc": format!("{:08x}", found.content.checksum()),
            "envelope": our_envelope(*case),
        }),
    }
}

fn our_envelope(case: Case<'_, '_>) -> Value {
    let envelope = case.envelope;
    let QueueId::Written(queue_id) = envelope.queue_id else { panic!("a record without queue id") };
    let recipients: Vec<Value> = case
        .recipients
        .iter()
        .map(|recipient| {
            json!({
                "forward_path": latin1(recipient.forward_path),
                "notify": recipient.notify.map(|notify| notify.0),
                "orcpt": recipient.orcpt.map(latin1),
                "done": recipient.done,
            })
        })
        .collect();
    json!({
        "queue_id": latin1(queue_id),
        "arrival_time": envelope.arrival.map(|time| time.0),
        "reverse_path": match envelope.reverse_path {
            ReversePath::Unknown => Value::Null,
            other => latin1(other.bytes()).into(),
        },
        "attempts": envelope.attempts,
        "next_attempt": envelope.next_attempt.map(|time| time.0),
        "expiry": envelope.expiry.map(|time| time.0),
        "priority": envelope.priority,
        "hop": envelope.hops.iter().map(|hop| latin1(hop)).collect::<Vec<_>>(),
        "envid": envelope.envid.map(latin1),
        "ret": envelope.ret.map(|ret| if ret == Ret::Full { 1 } else { 2 }),
        "body": envelope.body,
        "recipients": recipients,
    })
}

/// A line of the other reader, with what is absent as we have it.
fn theirs(line: &str) -> Value {
    let line: Value = serde_json::from_str(line).unwrap();
    if line["damage"].is_string() {
        return json!({"offset": line["offset"], "length": line["length"], "damage": true});
    }
    let envelope = &line["envelope"];
    let or = |value: &Value, default: Value| if value.is_null() { default } else { value.clone() };
    let recipients: Vec<Value> = envelope["recipient"]
        .as_array()
        .unwrap_or(&Vec::new())
        .iter()
        .map(|recipient| {
            json!({
                "forward_path": or(&recipient["forward_path"], "".into()),
                "notify": recipient["notify"],
                "orcpt": recipient["orcpt"],
                "done": recipient["state"] == 1,
            })
        })
        .collect();
    let reference = &line["reference"];
    json!({
        "offset": line["offset"],
        "length": line["length"],
        "content_length": or(&reference["length"], line["content_length"].clone()),
        "content_crc": or(&reference["crc"], line["content_crc"].clone()),
        "envelope": {
            "queue_id": envelope["queue_id"],
            "arrival_time": envelope["arrival_time"],
            "reverse_path": envelope["reverse_path"],
            "attempts": or(&envelope["attempts"], 0.into()),
            "next_attempt": envelope["next_attempt"],
            "expiry": envelope["expiry"],
            "priority": or(&envelope["priority"], 3.into()),
            "hop": or(&envelope["hop"], json!([])),
            "envid": envelope["envid"],
            "ret": envelope["ret"].as_u64().map(|ret| if ret == 1 { 1 } else { 2 }),
            "body": or(&envelope["body"], 0.into()),
            "recipients": recipients,
        },
    })
}

/// Makes a segment, and gives the manifest's lines behind its head.
fn make(folder: &Path, messages: u64, hazards: &str) -> Vec<Value> {
    let hazards = Mix::parse(hazards).unwrap();
    let options = Options { messages, hazards, size_mean: 1_500, ..Options::default() };
    generate(&options, folder).unwrap();
    let manifest = fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    manifest.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn assert_same(ours: &[Value], theirs: &[Value], what: &str) {
    for (index, (one, other)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(one, other, "{what}: message {index}");
    }
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

/// The manifest says of each message where it is, how long, and its content's checksum.
#[track_caller]
fn assert_as_manifest(read: &[Value], manifest: &[Value], what: &str) {
    let read: Vec<Value> = read
        .iter()
        .map(|one| json!([one["offset"], one["length"], one["content_crc"], one["damage"]]))
        .collect();
    let named: Vec<Value> = manifest
        .iter()
        .map(|one| json!([one["offset"], one["length"], one["checksum"], one["damage"]]))
        .collect();
    assert_same(&read, &named, what);
}

#[test]
fn a_reader_from_the_document_alone_reads_the_same() {
    let mixes = [(1_500, "all"), (400, "corrupt-message=0.6,record-in-content=0.4"), (0, "none")];
    for (messages, mix) in mixes {
        let folder = tempfile::tempdir().unwrap();
        let manifest = make(folder.path(), messages, mix);
        let path = folder.path().join("queue.seg");
        let path = path.to_str().unwrap();
        let other =
            python("a_reader_from_the_document_alone_reads_the_same", "segment.py", &[path]);
        let theirs: Option<Vec<Value>> = other.map(|text| text.lines().map(theirs).collect());
        for part_bytes in PART_SIZES {
            let what = format!("{mix} in parts of {part_bytes}");
            let ours: Vec<Value> = read_parts(path, part_bytes, ours).concat();
            assert_as_manifest(&ours, &manifest, &what);
            if let Some(theirs) = &theirs {
                assert_same(&ours, theirs, &what);
            }
        }
    }
}

/// The accepted stream of a run by reference: where the queue is as it was, and where it isn't.
#[test]
fn both_readers_follow_the_same_references() {
    let queue = crate::support::Queue::new(inqueue_gen::Format::Mbox, 200, "from-lines=0.2");
    queue.run("run", &["--accepted", "refer", "--part-size", "64K"]);
    let mbox = queue.made().join("queue.mbox");
    let bytes = fs::read(&mbox).unwrap();
    let mut expect = Vec::new();
    for length in [bytes.len(), bytes.len() / 2, 0] {
        fs::write(&mbox, &bytes[..length]).unwrap();
        let mut seen = Vec::new();
        for entry in fs::read_dir(queue.out("run").join("accepted")).unwrap() {
            let path = entry.unwrap().path();
            let path = path.to_str().unwrap();
            let ours: Vec<Value> = read_parts(path, 1 << 40, ours).concat();
            seen.extend(ours.iter().map(|one| one["damage"] == true));
            let name = "both_readers_follow_the_same_references";
            let Some(other) = python(name, "segment.py", &[path]) else { continue };
            let theirs: Vec<Value> = other.lines().map(theirs).collect();
            assert_same(&ours, &theirs, path);
        }
        expect.push((seen.len(), seen.iter().filter(|damaged| **damaged).count()));
    }
    let [whole, half, none] = expect.as_slice() else { panic!("{expect:?}") };
    assert!(whole.0 >= 200 && whole.1 == 0, "{whole:?}");
    assert!((60..140).contains(&half.1), "{half:?}");
    // What is quoted was copied.
    assert!((100..200).contains(&none.1), "{none:?}");
}

#[test]
fn each_range_holds_the_same_for_both_readers() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), 200, "corrupt-message=0.4,record-in-content=0.2,huge-recipient-list=0");
    let path = folder.path().join("queue.seg");
    let path = path.to_str().unwrap();
    let part_bytes = 20_011;
    for (part, ours) in (0..).zip(read_parts(path, part_bytes, ours)) {
        let (start, end) = (part * part_bytes, (part + 1) * part_bytes);
        let (start, end) = (start.to_string(), end.to_string());
        let arguments = ["--range", &start, &end, path];
        let name = "each_range_holds_the_same_for_both_readers";
        let Some(other) = python(name, "segment.py", &arguments) else { return };
        let theirs: Vec<Value> = other.lines().map(theirs).collect();
        assert_same(&ours, &theirs, &format!("part {part}"));
    }
}

/// Writes fields of an envelope.
type Writer = dyn Fn(&mut Fields<'_>);

/// A segment with one record for each of these envelopes.
fn by_hand(envelopes: &[&Writer]) -> Vec<u8> {
    let mark = 0x5EED;
    let mut out = file_header(mark).to_vec();
    for envelope in envelopes {
        let payload = Payload::measure(Content::plain(b"Subject: x\n\ny\n"));
        let place = Place { offset: out.len() as u64, mark };
        append_head(&mut out, place, &payload, |fields| {
            fields.bytes(1, b"id");
            envelope(fields);
        });
        out.extend_from_slice(payload.content.raw());
    }
    out
}

const LONG: &[u8] = &[b'x'; 256];
const DEEP: &[u8] = &[1, 0, 200, 0, 0, 0, b'x'];
/// Fields of a wrong length, whether or not a reader needs them.
const WRONG: [(u16, &[u8]); 18] = [
    (1, b""),
    (1, LONG),
    (2, b"1234567"),
    (4, b"12345"),
    (5, b""),
    (6, b"123456789"),
    (7, b""),
    (9, b"123456781234567"),
    (11, b"12"),
    (12, b""),
    (13, b"123"),
    (15, DEEP),
    (15, b"12345"),
    (16, b""),
    (17, DEEP),
    (18, b""),
    (19, b"123"),
    (15, &[2, 0, 0, 0, 0, 0]),
];

/// Fields of a wrong length, whether or not a reader needs them, and values that the document
/// doesn't name.
#[test]
fn both_readers_draw_the_same_line_between_damage_and_odd_values() {
    let wrong_recipients: [(u16, &[u8]); 6] =
        [(2, b""), (4, b"12"), (5, b""), (7, b"1"), (9, b"12345"), (10, b"123")];
    let odd: [(u16, &[u8]); 10] = [
        (3, b" <a b> "),
        (7, &[9]),
        (11, &[7]),
        (12, &[255]),
        (9, &[0; 16]),
        (99, b"unknown"),
        (8, b""),
        (18, &[200]),
        (19, &[0; 4]),
        (10, b"\xFF\0"),
    ];
    let mut envelopes: Vec<Box<Writer>> = Vec::new();
    for (tag, value) in WRONG {
        envelopes.push(Box::new(move |fields| fields.bytes(tag, value)));
    }
    for tag in [15, 17] {
        for (inner, value) in wrong_recipients {
            envelopes.push(Box::new(move |fields| fields.nested(tag, |f| f.bytes(inner, value))));
        }
    }
    let damaged = envelopes.len();
    for (tag, value) in odd {
        envelopes.push(Box::new(move |fields| fields.bytes(tag, value)));
    }
    envelopes.push(Box::new(|fields| {
        fields.nested(15, |f| {
            f.bytes(2, &[255]);
            f.bytes(4, &[9]);
            f.bytes(5, &[200]);
            f.bytes(1, b"first");
            f.bytes(1, b"last counts");
        });
    }));
    let list: Vec<&Writer> = envelopes.iter().map(|one| &**one).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("by-hand.seg");
    fs::write(&path, by_hand(&list)).unwrap();
    let spec = path.to_str().unwrap();
    let ours: Vec<Value> = read_parts(spec, 1 << 40, ours).concat();
    let found: Vec<bool> = ours.iter().map(|one| one["damage"] == true).collect();
    let expect: Vec<bool> = (0..envelopes.len()).map(|index| index < damaged).collect();
    assert_eq!(found, expect);
    let name = "both_readers_draw_the_same_line_between_damage_and_odd_values";
    let Some(other) = python(name, "segment.py", &[spec]) else { return };
    let theirs: Vec<Value> = other.lines().map(theirs).collect();
    assert_same(&ours, &theirs, "by hand");
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Spoils a segment in one of many ways.
fn spoil(segment: &mut Vec<u8>, dice: &mut Dice) {
    let size = segment.len();
    match dice.below(6) {
        0 => segment.truncate(dice.below(size)),
        1 => {
            let at = dice.below(size);
            segment[at] ^= 1 << dice.below(8);
        }
        2 => {
            let at = dice.below(32);
            segment[at] ^= 1 << dice.below(8);
        }
        3 => {
            let at = dice.below(size);
            let end = size.min(at + dice.below(3_000));
            segment.drain(at..end);
        }
        4 => {
            let at = dice.below(size);
            let again = segment[at..size.min(at + 2_000)].to_vec();
            segment.splice(at..at, again);
        }
        _ => {
            let at = dice.below(size);
            let end = size.min(at + dice.below(3_000));
            segment[at..end].fill(0);
        }
    }
}

#[test]
fn both_readers_find_the_same_in_spoilt_segments() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), 24, "all");
    let good = fs::read(folder.path().join("queue.seg")).unwrap();
    let mut dice = Dice(1);
    let mut paths = Vec::new();
    for index in 0..200 {
        let mut spoilt = good.clone();
        spoil(&mut spoilt, &mut dice);
        if dice.below(2) == 0 && !spoilt.is_empty() {
            spoil(&mut spoilt, &mut dice);
        }
        let path = folder.path().join(format!("spoilt-{index:03}.seg"));
        fs::write(&path, spoilt).unwrap();
        paths.push(path);
    }
    let name = "both_readers_find_the_same_in_spoilt_segments";
    let other = python(name, "segment.py", &paths);
    let mut damaged = 0;
    for path in &paths {
        let spec = path.to_str().unwrap();
        let whole: Vec<Value> = read_parts(spec, 1 << 40, ours).concat();
        for part_bytes in [1_000, 7_001] {
            let parts: Vec<Value> = read_parts(spec, part_bytes, ours).concat();
            assert_same(&parts, &whole, &format!("{spec} in parts of {part_bytes}"));
        }
        damaged += usize::from(whole.iter().any(|one| one["damage"] == true));
        // Nothing is lost: what is read covers the file behind its header.
        let mut at = whole.first().map_or(0, |first| first["offset"].as_u64().unwrap());
        for one in &whole {
            assert_eq!(one["offset"].as_u64(), Some(at), "{spec}");
            at += one["length"].as_u64().unwrap();
        }
        let size = fs::metadata(path).unwrap().len();
        assert!(at == size || (whole.is_empty() && size <= 32), "{spec}: {at} of {size}");
        if let Some(other) = &other {
            let file = path.file_name().unwrap().to_str().unwrap();
            let mark = format!("\"file\": \"{file}\"");
            let theirs: Vec<Value> =
                other.lines().filter(|line| line.contains(&mark)).map(theirs).collect();
            assert_same(&whole, &theirs, file);
        }
    }
    assert!(damaged > 150, "{damaged} of 200 are damaged");
}
