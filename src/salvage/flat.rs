//! Salvages a queue of messages in files: all messages into `queue.seg`, each damaged range into
//! `quarantine/`.
//!
//! The walk over messages and damage is here once, for salvage and for its proof ([`walk`]). Not
//! here: post offices. Invariants: messages stand in queue order; a message of the segment has the
//! content and the envelope of the old one; a file that can't be read is told, and the next is
//! read.

use super::SalvageError;
use super::files::{QUARANTINE, write_new};
use super::ledger::{self, Became, Line, Writer};
use crate::deliver::Item;
use crate::deliver::segment::fill;
use crate::limits;
use crate::mail::header::HeaderFacts;
use crate::queue::envelope::{self, RecipientOrder};
use crate::queue::segment::write;
use crate::queue::{Buffers, Framed, Frames, Queue, QueueError, Source, Span, Visit};
use crate::spool::private;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Name of the segment.
pub(super) const SEGMENT: &str = "queue.seg";

/// Something of the old queue, in its order.
pub(super) enum Thing<'c, 'a> {
    Message(Item<'c, 'a>),
    /// Its bytes, and what is wrong.
    Damage(&'c [u8], String),
    /// A file, or a part of one, that can't be read.
    Unreadable(String),
}

/// Where a thing lies: file as the ledger has it, offset, length.
pub(super) type Place = (String, u64, u64);

/// Who is given all things of a queue.
pub(super) trait See {
    fn see(&mut self, place: Place, thing: Thing<'_, '_>) -> Result<(), SalvageError>;
}

/// Gives all that is in a queue, in its order.
pub(super) fn walk(
    queue: &Queue,
    order: RecipientOrder,
    who: &mut impl See,
) -> Result<(), SalvageError> {
    let mut buffers = Buffers::default();
    for part in queue.cut(limits::PART_BYTES_MAX)? {
        part_of(queue, &part, order, who, &mut buffers)?;
    }
    Ok(())
}

fn part_of(
    queue: &Queue,
    part: &Span,
    order: RecipientOrder,
    who: &mut impl See,
    buffers: &mut Buffers,
) -> Result<(), SalvageError> {
    if let Span::Files(first, end) = part
        && end - first > 1
    {
        // One by one: a file that can't be read would end the reading of all behind it.
        return (*first..*end).try_for_each(|file| {
            part_of(queue, &Span::Files(file, file + 1), order, who, buffers)
        });
    }
    match queue.read(part, buffers, &mut Visitor { order, who }) {
        Err(Stop::Queue(error)) => {
            let place = place_of(queue, part);
            who.see(place, Thing::Unreadable(error.to_string()))
        }
        Err(Stop::Salvage(error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

fn place_of(queue: &Queue, part: &Span) -> Place {
    match *part {
        Span::Bytes(file, start, end) => {
            let name = queue.big_files().get(file as usize).map(|file| file.name.as_str());
            (name_of(name.unwrap_or_default().as_bytes()), start, end - start)
        }
        Span::Files(file, _) => {
            let entry = queue.file_list().and_then(|list| list.get(file));
            let (name, size) = entry.map_or((&b""[..], 0), |entry| (entry.name, entry.size));
            (name_of(name), 0, size)
        }
    }
}

fn name_of(name: &[u8]) -> String {
    ledger::name_of(Path::new(OsStr::from_bytes(name)))
}

enum Stop {
    Queue(QueueError),
    Salvage(SalvageError),
}

impl From<QueueError> for Stop {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

struct Visitor<'w, S> {
    order: RecipientOrder,
    who: &'w mut S,
}

impl<S: See> Visit for Visitor<'_, S> {
    type Error = Stop;

    fn batch<'a>(&mut self, source: Source<'a>, mut frames: Frames<'a>) -> Result<(), Stop> {
        let mut recipients = Vec::new();
        while let Some(framed) = frames.next() {
            let found = match framed {
                Framed::Damage(damage) => {
                    let place = (name_of(source.name), damage.offset, damage.length);
                    let bytes = range(source.bytes, damage.offset, damage.length);
                    let thing = Thing::Damage(bytes, damage.kind.text().to_owned());
                    self.who.see(place, thing).map_err(Stop::Salvage)?;
                    continue;
                }
                Framed::Message(found) => found,
            };
            let name = envelope::file_name(&source, &found);
            let place = (name_of(name), found.offset, found.length);
            let facts = if source.format.has_envelope() {
                HeaderFacts::default()
            } else {
                HeaderFacts::read(found.content.raw())
            };
            let read = envelope::read(&source, &found, &facts, self.order, &mut recipients);
            let envelope = read.judged();
            let raw = || match source.bytes {
                [] => found.content.raw(),
                bytes => range(bytes, found.offset, found.length),
            };
            let thing = match (&envelope, found.set_aside) {
                (_, Some(why)) => Thing::Damage(raw(), String::from_utf8_lossy(why).into_owned()),
                (Err(kind), None) => Thing::Damage(raw(), kind.text().to_owned()),
                (Ok(envelope), None) => Thing::Message(Item {
                    format: source.format,
                    found: &found,
                    envelope,
                    recipients: &recipients,
                    checksum: frames.content_checksum(),
                }),
            };
            self.who.see(place, thing).map_err(Stop::Salvage)?;
        }
        Ok(())
    }
}

fn range(bytes: &[u8], offset: u64, length: u64) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    bytes.get(start..end.min(bytes.len())).unwrap_or_default()
}

/// The checksum of a message: of its envelope as a segment has it, and of its content.
pub(super) fn checksum_of(item: &Item<'_, '_>) -> String {
    let mut envelope = Vec::new();
    fill(&mut write::Fields::new(&mut envelope), item);
    let mut hash = Xxh3::new();
    hash.update(&envelope);
    item.found.content.runs().for_each(|run| hash.update(run));
    ledger::digits(hash.digest())
}

/// Salvages a queue; writes the lines of its ledger.
pub(super) fn salvage(
    queue: &Queue,
    order: RecipientOrder,
    new: &Path,
    ledger: &mut Writer,
) -> Result<(), SalvageError> {
    let path = new.join(SEGMENT);
    let failed = || SalvageError::write(&path);
    let file = private::create_new(&path).map_err(failed())?;
    let mut hash = Xxh3::new();
    hash.update(queue.path().file_name().unwrap_or_default().as_bytes());
    hash.update(&queue.total_bytes().to_le_bytes());
    let mark = hash.digest();
    let mut out = BufWriter::with_capacity(limits::BUFFER_BYTES, file);
    let header = write::file_header(mark);
    out.write_all(&header).map_err(failed())?;
    let offset = header.len() as u64;
    let mut salvager = Salvager {
        new,
        path: &path,
        out,
        mark,
        offset,
        head: Vec::new(),
        in_quarantine: 0,
        ledger,
    };
    walk(queue, order, &mut salvager)?;
    let end = salvager.out.flush().and_then(|()| salvager.out.get_ref().sync_all());
    end.map_err(failed())
}

struct Salvager<'w> {
    new: &'w Path,
    path: &'w Path,
    out: BufWriter<File>,
    mark: u64,
    /// Where the next record begins.
    offset: u64,
    /// Head and envelope of a record.
    head: Vec<u8>,
    in_quarantine: u32,
    ledger: &'w mut Writer,
}

impl See for Salvager<'_> {
    fn see(
        &mut self,
        (file, offset, length): Place,
        thing: Thing<'_, '_>,
    ) -> Result<(), SalvageError> {
        let line = |became, why| Line {
            old: Some(file.clone()),
            offset: Some(offset),
            length: Some(length),
            ..Line::new(became, why)
        };
        let line = match thing {
            Thing::Unreadable(why) => line(Became::Unreadable, why),
            Thing::Message(item) => {
                let new_offset = Some(self.message(&item)?);
                let checksum = Some(checksum_of(&item));
                let new = Some(SEGMENT.to_owned());
                Line { checksum, new, new_offset, ..line(Became::Copied, String::new()) }
            }
            Thing::Damage(bytes, why) => {
                self.in_quarantine += 1;
                let base = file.rsplit('/').next().unwrap_or_default();
                let name = format!("{QUARANTINE}/{:06}-{base}-{offset}", self.in_quarantine);
                let path: PathBuf = self.new.join(ledger::path_of(&name));
                write_new(&path, bytes)?;
                let checksum = Some(ledger::checksum(bytes));
                Line { checksum, new: Some(name), ..line(Became::Quarantined, why) }
            }
        };
        self.ledger.line(&line)
    }
}

impl Salvager<'_> {
    /// Writes a record; gives where it begins.
    fn message(&mut self, item: &Item<'_, '_>) -> Result<u64, SalvageError> {
        let content = item.found.content;
        let checksum = item.checksum.unwrap_or_else(|| content.checksum());
        let payload = write::Payload::known(content, checksum);
        let at = self.offset;
        self.head.clear();
        let place = write::Place { offset: at, mark: self.mark };
        write::append_head(&mut self.head, place, &payload, |fields| fill(fields, item));
        let written = self
            .out
            .write_all(&self.head)
            .and_then(|()| content.runs().try_for_each(|run| self.out.write_all(run)));
        written.map_err(SalvageError::write(self.path))?;
        self.offset += self.head.len() as u64 + payload.len;
        Ok(at)
    }
}
