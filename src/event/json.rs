//! Events as JSON Lines: one object a line, members in a fixed order, printable ASCII and escapes
//! only.
//!
//! [`note`] is for what isn't about a disposition: events of a drain, of a post office. Total:
//! bytes that aren't UTF-8 become U+FFFD, long texts are cut. [`minimal`] is what is written when
//! rendering an event failed: it looks at numbers alone.

use super::{Number, outcome_word};
use crate::decide::{Disposition, Outcome};
use crate::limits;
use crate::mail::address::Mailbox;
use crate::mail::envelope::{QueueId, ReversePath, hex, write_hex};

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
    /// That a thread failed over this message: of the n-th fault.
    Assert(u32),
    /// Of a report that could go nowhere.
    Homeless,
    /// That a range couldn't be read.
    Unreadable,
    /// Of anything else, the n-th that its maker has to tell under this key and attempt.
    Note(u32),
}

impl Sequence {
    const fn letter(self) -> (u8, u32) {
        match self {
            Self::Disposition(index) => (b'd', index),
            Self::Report(index) => (b'r', index),
            Self::SetAside => (b's', 0),
            Self::Fault(index) => (b'f', index),
            Self::Assert(index) => (b'a', index),
            Self::Homeless => (b'c', 0),
            Self::Unreadable => (b'e', 0),
            Self::Note(index) => (b'n', index),
        }
    }
}

/// A value of a [`note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'m> {
    /// Text from outside or ours, any bytes; cut at its limit.
    Text(&'m [u8]),
    /// A number.
    Number(u64),
    /// Known to be not known.
    Null,
}

/// An event that isn't about a disposition: any number of the catalogue, with the members that its
/// row names as fills, and any others. Members that aren't given are `(unknown)` in its sentence.
///
/// `time` is RFC 3339; `key` and `attempts` are those of the message, or of whatever the event is
/// about: together with `sequence` they must be its alone. Members named as those that every event
/// has (`id`, `time`, `number`, `type`, `text`) aren't to be given.
pub fn note(
    out: &mut Vec<u8>,
    number: Number,
    time: &[u8],
    (key, attempts): (u64, u32),
    sequence: Sequence,
    members: &[(&str, Member<'_>)],
) {
    begin(out, key, attempts, time, sequence, number);
    for (name, value) in members {
        out.extend_from_slice(b",\"");
        write_text(out, name.as_bytes());
        out.extend_from_slice(b"\":");
        match value {
            Member::Text(text) => {
                out.push(b'"');
                write_text(out, text);
                out.push(b'"');
            }
            Member::Number(number) => write_number(out, *number),
            Member::Null => out.extend_from_slice(b"null"),
        }
    }
    end(out, number);
}

/// What stands before a member's value.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// The event of a disposition.
pub fn disposition(out: &mut Vec<u8>, subject: &Subject<'_, '_>, index: u32, d: &Disposition<'_>) {
    dispositions(out, subject, index, std::slice::from_ref(d), || {});
}

/// The events of dispositions of one message, the first of which has this index; `before` is called
/// before each.
pub fn dispositions(
    out: &mut Vec<u8>,
    subject: &Subject<'_, '_>,
    first: u32,
    dispositions: &[Disposition<'_>],
    mut before: impl FnMut(),
) {
    let mut shared = None;
    for (index, d) in (first..).zip(dispositions) {
        before();
        let sequence = Sequence::Disposition(index);
        begin(out, subject.key, subject.attempts, subject.time, sequence, Number::of(d));
        // What they share is rendered for the first alone.
        let start = out.len();
        match shared.clone() {
            Some(range) => out.extend_from_within(range),
            None => about(out, subject),
        }
        shared.get_or_insert(start..out.len());
        rest_of_disposition(out, index, d);
    }
}

fn rest_of_disposition(out: &mut Vec<u8>, index: u32, d: &Disposition<'_>) {
    member_number(out, key!("index"), index);
    if let Some(ordinal) = d.ordinal {
        member_number(out, key!("ordinal"), ordinal);
    }
    member_text(out, key!("recipient"), d.address);
    member(out, key!("outcome"), outcome_word(d.outcome));
    status_and_code(out, d);
    if !d.route.is_empty() {
        member_text(out, key!("route"), d.route);
    }
    if !d.detail.is_empty() {
        member_text(out, key!("detail"), d.detail);
    }
    if let Outcome::DeadLetter(reason) = d.outcome {
        member(out, key!("reason"), reason.text());
    }
    end(out, Number::of(d));
}

/// A report was made, that names `failed` recipients; `first` is the first of them.
pub fn report(
    out: &mut Vec<u8>,
    subject: &Subject<'_, '_>,
    index: u32,
    (to, failed, first): (&[u8], u32, Option<&Disposition<'_>>),
) {
    let number = Number::REPORT_MADE;
    begin(out, subject.key, subject.attempts, subject.time, Sequence::Report(index), number);
    about(out, subject);
    member_text(out, key!("report_to"), to);
    member_number(out, key!("failed"), failed);
    if let Some(first) = first {
        member_text(out, key!("recipient"), first.address);
        status_and_code(out, first);
    }
    end(out, number);
}

/// A report was due, but nobody is where it would have to go.
pub fn homeless(out: &mut Vec<u8>, subject: &Subject<'_, '_>, reason: &str) {
    let number = Number::REPORT_HOMELESS;
    begin(out, subject.key, subject.attempts, subject.time, Sequence::Homeless, number);
    about(out, subject);
    member(out, key!("reason"), reason);
    end(out, number);
}

/// A message was set aside: as a dead letter, or into quarantine. Its sender counts as known where
/// the reverse-path is a valid mailbox.
pub fn set_aside(out: &mut Vec<u8>, subject: &Subject<'_, '_>, stream: &str, reason: &[u8]) {
    let number = match subject.sender {
        ReversePath::Path(path) if Mailbox::parse(path).is_ok() => Number::SET_ASIDE,
        _ => Number::SET_ASIDE_NO_SENDER,
    };
    begin(out, subject.key, subject.attempts, subject.time, Sequence::SetAside, number);
    about(out, subject);
    member(out, key!("stream"), stream);
    member_text(out, key!("reason"), reason);
    end(out, number);
}

/// A range of the queue can't be read as a message.
pub fn unreadable(out: &mut Vec<u8>, subject: &Subject<'_, '_>, reason: &str) {
    let number = Number::UNREADABLE;
    begin(out, subject.key, subject.attempts, subject.time, Sequence::Unreadable, number);
    about(out, subject);
    member(out, key!("reason"), reason);
    end(out, number);
}

/// A fault of ours struck a message at a stage: two events, of the fault, and of the thread that
/// failed over this message. `place` is `file:line`.
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
    let number = Number::THREAD_FAILED;
    begin(out, subject.key, subject.attempts, subject.time, Sequence::Assert(index), number);
    about(out, subject);
    if let Some((file, line)) = file_and_line(place) {
        member_text(out, key!("file"), file.as_bytes());
        member_number(out, key!("line"), line);
    }
    end(out, number);
}

/// File and line of `file:line` or `file:line:column`.
fn file_and_line(place: &str) -> Option<(&str, u32)> {
    let (before, last) = place.rsplit_once(':')?;
    let last: u32 = last.parse().ok()?;
    match before.rsplit_once(':') {
        Some((file, line)) if line.parse::<u32>().is_ok() => Some((file, line.parse().ok()?)),
        _ => Some((before, last)),
    }
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
    begin(out, u64::from(part), tries, time, Sequence::SetAside, Number::THREAD_FAILED);
    member_number(out, key!("part"), part);
    end(out, Number::THREAD_FAILED);
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
    out.extend_from_slice(&hex(key));
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

fn status_and_code(out: &mut Vec<u8>, d: &Disposition<'_>) {
    out.extend_from_slice(b",\"status\":\"");
    d.status.write(out);
    out.push(b'"');
    if d.number != 0 {
        member_number(out, key!("code"), u32::from(d.number));
    }
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
    // Most are an index, a count.
    if let Ok(digit @ 0..=9) = u8::try_from(value) {
        out.push(b'0' + digit);
        return;
    }
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

/// Printable ASCII that needs no escape. Looks at all bytes, eight at a time: most texts are.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words.iter().chain([&last]).fold(0, |odd, word| odd | odd_bytes(u64::from_le_bytes(*word))) == 0
}

/// The highest bit of each byte that isn't printable ASCII, or needs an escape, and perhaps of
/// others then.
const fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let ascii = word & !HIGHEST;
    // With the highest bit set nothing is borrowed from the next byte.
    let below_space = !((ascii | HIGHEST) - ONES * b' ' as u64);
    let quote = !(((ascii ^ (ONES * b'"' as u64)) | HIGHEST) - ONES);
    let backslash = !(((ascii ^ (ONES * b'\\' as u64)) | HIGHEST) - ONES);
    let delete = !(((ascii ^ (ONES * 0x7F)) | HIGHEST) - ONES);
    (word | below_space | quote | backslash | delete) & HIGHEST
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
            let id = (id.as_slice(), QueueId::Given(&id));
            let subject = subject(&id.1, ReversePath::Path(&sender));
            let mut out = Vec::new();
            set_aside(&mut out, &subject, "quarantine", &text);
            report(&mut out, &subject, 0, (&text, 3, None));
            fault(&mut out, &subject, 0, "parse", &String::from_utf8_lossy(&text), "x.rs:1");
            unreadable(&mut out, &subject, "the content is damaged");
            homeless(&mut out, &subject, "the sender's mailbox does not exist");
            let name = String::from_utf8_lossy(id.0);
            let members =
                [(&*name, Member::Text(&text)), ("size", Member::Number(5)), ("x", Member::Null)];
            note(&mut out, Number(9), b"x", (1, 2), Sequence::Note(3), &members);
            prop_assert!(out.is_ascii());
            let lines: Vec<_> = out.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
            prop_assert_eq!(lines.len(), 7);
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
