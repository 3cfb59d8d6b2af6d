//! The books of one part: its stream files, read whole, with every record and event to be claimed
//! by a message of the queue.
//!
//! Records are found by the place that their message had in the queue, events by the key in their
//! id. Not here: what must be in them (`part`). A file that is gone, damaged or not as it was
//! sealed is a finding.

use super::{Kind, Report};
use crate::event::json;
use crate::mail::content::Content;
use crate::mail::envelope::{Envelope, QueueId, Recipient};
use crate::queue::bytes::FileBytes;
use crate::queue::segment::read::{self, Notes, RecipientNotes};
use crate::queue::{Found, Framed, Lies};
use crate::spool::commits::{Commit, Sealed};
use crate::spool::{PerStream, Stream};
use ahash::AHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

/// The stream files of a part, in memory or mapped.
#[derive(Debug, Default)]
pub(super) struct Files(pub(super) PerStream<Option<(PathBuf, FileBytes)>>);

impl Files {
    /// Opens what the commit says is there.
    pub(super) fn open(
        commit: &Commit,
        path: impl Fn(Stream) -> PathBuf,
        report: &mut Report,
    ) -> Self {
        let mut files = Self::default();
        for stream in Stream::ALL {
            let Some(sealed) = commit.files.get(stream) else { continue };
            let path = path(stream);
            let place = path.display().to_string();
            match FileBytes::open(&path, Vec::new()) {
                Ok((bytes, identity)) => {
                    if identity.size != sealed.length {
                        let what = format!(
                            "it has {} bytes, the log says {}",
                            identity.size, sealed.length
                        );
                        report.find(Kind::Wrong, place, what);
                    }
                    *files.0.get_mut(stream) = Some((path, bytes));
                }
                Err(error) => report.find(Kind::Lost, place, error.to_string()),
            }
        }
        files
    }
}

/// A record of a stream.
#[derive(Debug)]
pub(super) struct Record<'s> {
    pub(super) stream: Stream,
    /// Where it stands.
    pub(super) place: String,
    pub(super) found: Found<'s>,
    pub(super) checksum: u32,
    pub(super) notes: Notes<'s>,
    pub(super) recipients: Vec<RecipientNotes<'s>>,
    pub(super) claimed: bool,
}

/// A line of the events.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'s> {
    pub(super) id: &'s str,
    pub(super) number: u16,
    pub(super) index: Option<u32>,
    pub(super) ordinal: Option<u32>,
    #[serde(borrow)]
    pub(super) recipient: Option<&'s RawValue>,
    pub(super) outcome: Option<&'s str>,
    pub(super) stream: Option<&'s str>,
    pub(super) reason: Option<&'s str>,
    pub(super) size: Option<u64>,
    /// The line itself.
    #[serde(skip)]
    pub(super) line: &'s [u8],
    #[serde(skip)]
    pub(super) place: EventPlace<'s>,
    #[serde(skip)]
    pub(super) claimed: bool,
}

/// Where an event stands: its file, and the offset in it. There may be millions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EventPlace<'s> {
    file: &'s OsStr,
    offset: usize,
}

impl fmt::Display for EventPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, offset {}", self.file.display(), self.offset)
    }
}

impl Event<'_> {
    /// True where it names this address. One that was made from numbers alone names none.
    pub(super) fn names(&self, address: &[u8], scratch: &mut Vec<u8>) -> bool {
        let Some(text) = self.recipient else { return true };
        scratch.clear();
        scratch.push(b'"');
        json::write_text(scratch, address);
        scratch.push(b'"');
        text.get().as_bytes() == scratch.as_slice()
    }
}

/// Place of a message in the queue, as a key: hash of the file's name, offset.
pub(super) type Place = (u64, u64);

pub(super) fn place(name: &[u8], offset: u64) -> Place {
    (xxhash_rust::xxh3::xxh3_64(name), offset)
}

/// All records and events of a part.
#[derive(Debug, Default)]
pub(super) struct Books<'s> {
    pub(super) records: Vec<Record<'s>>,
    pub(super) events: Vec<Event<'s>>,
    pub(super) by_place: AHashMap<Place, Vec<usize>>,
    pub(super) by_key: AHashMap<u64, Vec<usize>>,
}

impl<'s> Books<'s> {
    pub(super) fn read(files: &'s Files, commit: &Commit, report: &mut Report) -> Self {
        let mut books = Self::default();
        for stream in Stream::ALL {
            let Some((path, bytes)) = files.0.get(stream) else { continue };
            let file = path.display().to_string();
            let got = match stream {
                Stream::Events => books.read_events(path.as_os_str(), bytes.bytes(), report),
                _ => books.read_records(stream, &file, bytes.bytes(), report),
            };
            if commit.files.get(stream).is_some_and(|sealed| sealed != got) {
                report.find(Kind::Wrong, file, "it is not as the commit log has sealed it");
            }
        }
        books
    }

    fn read_records(
        &mut self,
        stream: Stream,
        file: &str,
        bytes: &'s [u8],
        report: &mut Report,
    ) -> Sealed {
        let mut sealed = Sealed { length: bytes.len() as u64, ..Sealed::default() };
        let mut records = read::frame(bytes, 0..bytes.len() as u64).unfollowed();
        while let Some(framed) = records.next() {
            let found = match framed {
                Framed::Message(found) => found,
                Framed::Damage(damage) => {
                    let place = format!("{file}, offset {}", damage.offset);
                    report.find(Kind::Wrong, place, damage.kind.text());
                    continue;
                }
            };
            let place = format!("{file}, offset {}", found.offset);
            sealed.records += 1;
            sealed.seal = crc32c::crc32c_append(sealed.seal, head_checksum(bytes, found.offset));
            let mut recipients = Vec::new();
            let notes = read::notes(found.head, |note| recipients.push(note));
            let Some((notes, origin)) = notes.and_then(|notes| Some((notes, notes.origin?))) else {
                report.find(Kind::Wrong, place, "it doesn't say which message it comes from");
                continue;
            };
            let key = self::place(origin.0, origin.1);
            self.by_place.entry(key).or_default().push(self.records.len());
            let checksum = records.content_checksum().unwrap_or_else(|| found.content.checksum());
            let claimed = false;
            self.records.push(Record {
                stream,
                place,
                found,
                checksum,
                notes,
                recipients,
                claimed,
            });
        }
        sealed
    }

    fn read_events(&mut self, file: &'s OsStr, bytes: &'s [u8], report: &mut Report) -> Sealed {
        let mut sealed = Sealed { length: bytes.len() as u64, ..Sealed::default() };
        sealed.seal = crc32c::crc32c(bytes);
        let mut at = 0;
        self.events.reserve_exact(memchr::memchr_iter(b'\n', bytes).count());
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            let place = EventPlace { file, offset: at };
            at += line.len();
            sealed.records += 1;
            let event = serde_json::from_slice::<Event<'s>>(line).ok();
            let key =
                event.as_ref().and_then(|event| u64::from_str_radix(event.id.get(..16)?, 16).ok());
            let (Some(event), Some(key)) = (event, key) else {
                report.find(Kind::Wrong, place.to_string(), "it is no event");
                continue;
            };
            self.by_key.entry(key).or_default().push(self.events.len());
            self.events.push(Event { line, place, ..event });
        }
        sealed
    }

    /// Whatever no message has claimed belongs to none.
    pub(super) fn unclaimed(&self, report: &mut Report) {
        for record in self.records.iter().filter(|record| !record.claimed) {
            let what = "the record belongs to no message of this part";
            report.find(Kind::Doubled, record.place.clone(), what);
        }
        for event in self.events.iter().filter(|event| !event.claimed) {
            let what = format!("event {} belongs to no message of this part", event.id);
            report.find(Kind::Doubled, event.place.to_string(), what);
        }
    }
}

impl Record<'_> {
    /// True where its content is this one, to the byte.
    pub(super) fn holds(&self, content: Content<'_>, checksum: u32) -> bool {
        let raw = self.found.content.raw();
        !self.refers() && raw.len() as u64 == content.len() && self.checksum == checksum
    }

    /// True where it refers to its content.
    pub(super) const fn refers(&self) -> bool {
        matches!(self.found.lies, Lies::There(_))
    }

    /// True where it leaves with its message's reverse-path. Only members of a list leave with
    /// another: recipients that were expanded from one of the message's, and have another address.
    pub(super) fn is_from_sender_of(
        &self,
        envelope: &Envelope<'_>,
        recipients: &[Recipient<'_>],
    ) -> bool {
        let (nameless, mut own) = (QueueId::Given(b""), Vec::new());
        let Ok(written) = read::envelope(self.found.head, nameless, &mut own) else {
            return false;
        };
        let is_expanded = |note: &RecipientNotes<'_>| {
            let queued = note.ordinal.and_then(|ordinal| recipients.get(ordinal as usize));
            queued.is_some_and(|queued| queued.forward_path != note.forward_path)
        };
        written.reverse_path == envelope.reverse_path || self.recipients.iter().all(is_expanded)
    }
}

/// The checksum that a record's head ends with.
fn head_checksum(file: &[u8], offset: u64) -> &[u8] {
    let end = usize::try_from(offset).ok().map(|at| at + crate::queue::segment::HEAD_LEN);
    end.and_then(|end| file.get(end - 4..end)).unwrap_or_default()
}
