//! Events as JSON Lines: one object a line, members in a fixed order, printable ASCII and escapes
//! only.
//!
//! Total: bytes that aren't UTF-8 become U+FFFD, long texts are cut. [`minimal`] is what is written
//! when rendering an event failed: it looks at numbers alone.

use super::{Number, outcome_word};
use crate::decide::{Disposition, Outcome};
use crate::limits;
use crate::mail::envelope::{QueueId, ReversePath, write_hex};

/// What all events of a message share.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'c, 'a> {
    /// Stable id of the message.
    pub key: u64,
    /// Attempts made, this one included.
    pub attempts: u32,
    /// The run's time, RFC 3339: rendered once, for all events.
    pub time: &'c [u8],
    /// Name of the message in its queue.
    pub queue_id: &'c QueueId<'a>,
    /// Who sent it.
    pub sender: ReversePath<'a>,
    /// Bytes of its content.
    pub size: u64,
}

/// The second half of an event's id: which event of its message it is.
#[derive(Clone, Copy, Debug)]
pub enum Sequence {
    /// Of the disposition with this index.
    Disposition(u32),
    /// Of the report with this index.
    Report(u32),
    /// Of the message as a whole: it was set aside.
    SetAside,
    /// Of a fault, the n-th of this message.
    Fault(u32),
}

impl Sequence {
    const fn letter(self) -> (u8, u32) {
        match self {
            Self::Disposition(index) => (b'd', index),
            Self::Report(index) => (b'r', index),
            Self::SetAside => (b's', 0),
            Self::Fault(index) => (b'f', index),
        }
    }
}

/// What stands before a member's value.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// The event of a disposition.
pub fn disposition(out: &mut Vec<u8>, subject: &Subject<'_, '_>, index: u32, d: &Disposition<'_>) {
    let number = Number::of(d);
    begin(out, subject.key, subject.attempts, subject.time, Sequence::Disposition(index), number);
    about(out, subject);
    member_number(out, key!("index"), index);
    if let Some(ordinal) = d.ordinal {
        member_number(out, key!("ordinal"), ordinal);
    }
    member_text(out, key!("recipient"), d.address);
    member(out, key!("outcome"), outcome_word(d.outcome));
    out.extend_from_slice(b",\"status\":\"");
    d.status.write(out);
    out.push(b'"');
    if d.number != 0 {
        member_number(out, key!("code"), u32::from(d.number));
    }
    if !d.route.is_empty() {
        member_text(out, key!("route"), d.route);
    }
    if !d.detail.is_empty() {
        member_text(out, key!("detail"), d.detail);
    }
    if let Outcome::DeadLetter(reason) = d.outcome {
        member(out, key!("reason"), reason.text());
    }
    end(out, number);
}

/// A report was made.
pub fn report(out: &mut Vec<u8>, subject: &Subject<'_, '_>, index: u32, to: &[u8], failed: u32) {
    let number = Number::REPORT_MADE;
    begin(out, subject.key, subject.attempts, subject.time, Sequence::Report(index), number);
    about(out, subject);
    member_text(out, key!("report_to"), to);
    member_number(out, key!("failed"), failed);
    end(out, number);
}

/// A message was set aside: as a dead letter, or into quarantine.
pub fn set_aside(out: &mut Vec<u8>, subject: &Subject<'_, '_>, stream: &str, reason: &[u8]) {
    let number = match subject.sender {
        ReversePath::Path(_) => Number::SET_ASIDE,
        ReversePath::Null | ReversePath::Unknown => Number::SET_ASIDE_NO_SENDER,
    };
    begin(out, subject.key, subject.attempts, subject.time, Sequence::SetAside, number);
    about(out, subject);
    member(out, key!("stream"), stream);
    member_text(out, key!("reason"), reason);
    end(out, number);
}

/// A fault of ours struck a message at a stage.
pub fn fault(
    out: &mut Vec<u8>,
    subject: &Subject<'_, '_>,
    index: u32,
    stage: &str,
    text: &str,
    place: &str,
) {
    let number = Number::FAULT;
    begin(out, subject.key, subject.attempts, subject.time, Sequence::Fault(index), number);
    about(out, subject);
    member(out, key!("stage"), stage);
    member_text(out, key!("fault"), text.as_bytes());
    member_text(out, key!("place"), place.as_bytes());
    end(out, number);
}

/// The event of a disposition, from numbers alone.
pub fn minimal(out: &mut Vec<u8>, subject: &Subject<'_, '_>, index: u32, d: &Disposition<'_>) {
    let number = Number::of(d);
    begin(out, subject.key, subject.attempts, subject.time, Sequence::Disposition(index), number);
    queue_id(out, subject.queue_id);
    member_number(out, key!("index"), index);
    if let Some(ordinal) = d.ordinal {
        member_number(out, key!("ordinal"), ordinal);
    }
    member(out, key!("outcome"), outcome_word(d.outcome));
    end(out, number);
}

/// A worker was lost over a part; not in the streams, but in the log of the engine.
pub fn worker_lost(out: &mut Vec<u8>, time: &[u8], part: u32, tries: u32) {
    begin(out, u64::from(part), tries, time, Sequence::SetAside, Number::WORKER_LOST);
    member_number(out, key!("part"), part);
    end(out, Number::WORKER_LOST);
}

fn begin(
    out: &mut Vec<u8>,
    key: u64,
    attempts: u32,
    time: &[u8],
    sequence: Sequence,
    number: Number,
) {
    out.extend_from_slice(b"{\"id\":\"");
    write_hex(key, 16, out);
    out.push(b'-');
    write_number(out, u64::from(attempts));
    out.push(b'-');
    let (letter, index) = sequence.letter();
    out.push(letter);
    write_number(out, u64::from(index));
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time);
    out.extend_from_slice(b"\",\"number\":");
    write_number(out, u64::from(number.0));
    member(out, key!("type"), number.kind());
}

fn about(out: &mut Vec<u8>, subject: &Subject<'_, '_>) {
    queue_id(out, subject.queue_id);
    match subject.sender {
        ReversePath::Unknown => out.extend_from_slice(b",\"sender\":null"),
        other => member_text(out, key!("sender"), other.bytes()),
    }
    out.extend_from_slice(b",\"size\":");
    write_number(out, subject.size);
}

fn queue_id(out: &mut Vec<u8>, id: &QueueId<'_>) {
    out.extend_from_slice(b",\"queue_id\":\"");
    let start = out.len();
    id.write(out);
    // A queue id is printable ASCII, but may hold a quote.
    if !is_plain(out.get(start..).unwrap_or_default()) {
        let id = out.split_off(start);
        write_text(out, &id);
    }
    out.push(b'"');
}

fn end(out: &mut Vec<u8>, number: Number) {
    member(out, key!("text"), number.text());
    out.extend_from_slice(b"}\n");
}

/// A member whose value is ours: it needs no escapes.
fn member(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn member_text(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'"');
    write_text(out, value);
    out.push(b'"');
}

fn member_number(out: &mut Vec<u8>, key: &str, value: u32) {
    out.extend_from_slice(key.as_bytes());
    write_number(out, u64::from(value));
}

fn write_number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends text as the inside of a JSON string: printable ASCII as it is, all else escaped; cut at
/// its limit.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    let kept = text.get(..text.len().min(limits::EVENT_TEXT_BYTES_MAX)).unwrap_or_default();
    write_whole_text(out, kept);
    if kept.len() < text.len() {
        out.extend_from_slice(b"... (");
        write_number(out, text.len() as u64);
        out.extend_from_slice(b" bytes)");
    }
}

/// Appends text as the inside of a JSON string, as [`write_text`] does, however long it is.
pub fn write_whole_text(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            write_character(out, character);
        }
        if !chunk.invalid().is_empty() {
            write_character(out, char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Printable ASCII that needs no escape. Looks at all bytes, without a branch for each: most texts
/// are.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, b| {
        plain & (matches!(b, b' '..=b'~') & !matches!(b, b'"') & !matches!(b, b'\\'))
    })
}

fn write_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
        ' '..='~' => out.push(character as u8),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                write_hex(u64::from(*unit), 4, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subject<'c, 'a>(queue_id: &'c QueueId<'a>, sender: ReversePath<'a>) -> Subject<'c, 'a> {
        Subject { key: 7, attempts: 1, time: b"1970-01-01T00:00:00Z", queue_id, sender, size: 5 }
    }

    proptest! {
        /// Any bytes anywhere: each event is one line, is JSON, and says what it was given.
        #[test]
        fn events_take_any_bytes(
            id in proptest::collection::vec(any::<u8>(), 0..40),
            sender in proptest::collection::vec(any::<u8>(), 0..40),
            text in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let id = QueueId::Given(&id);
            let subject = subject(&id, ReversePath::Path(&sender));
            let mut out = Vec::new();
            set_aside(&mut out, &subject, "quarantine", &text);
            report(&mut out, &subject, 0, &text, 3);
            fault(&mut out, &subject, 0, "parse", &String::from_utf8_lossy(&text), "x.rs:1");
            prop_assert!(out.is_ascii());
            let lines: Vec<_> = out.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
            prop_assert_eq!(lines.len(), 3);
            for line in lines {
                let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                prop_assert_eq!(value["size"].as_u64(), Some(5));
            }
            if text.len() <= limits::EVENT_TEXT_BYTES_MAX {
                let first = out.split(|b| *b == b'\n').next().unwrap();
                let value: serde_json::Value = serde_json::from_slice(first).unwrap();
                let expect = String::from_utf8_lossy(&text);
                prop_assert_eq!(value["reason"].as_str(), Some(&*expect));
            }
        }
    }
}
