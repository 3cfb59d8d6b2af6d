//! A stream of a run as a queue of what was set aside: its records, and what was done with each
//! since (quarantine, dead letters, deferred mail).
//!
//! Only files of committed parts count: others are waste, or still being written. Not here: the
//! log (`spool::set_aside`), and sending records through again (`replay`). Invariant: a record's
//! place never changes, as streams are sealed.

use crate::event::json::write_whole_text;
use crate::limits;
use crate::mail::envelope::{Envelope, Recipient, ReversePath};
use crate::mail::header::HeaderFacts;
use crate::queue::bytes::Identity;
use crate::queue::envelope::{self, RecipientOrder};
use crate::queue::segment::read::{Notes, RecipientNotes, notes};
use crate::queue::{Buffers, Format, Found, Framed, Frames};
use crate::queue::{Queue, QueueError, QueueFile, Source, Span, Visit};
use crate::spool::set_aside::{Place, State, Step, states};
use crate::spool::{SpoolError, Stream, commits, folder};
use memchr::memmem;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Digits of the file's tag in a queue id that is made from a place.
const TAG_DIGITS: usize = 8;

/// A stream of a run, opened.
#[derive(Debug)]
pub struct Shelf {
    stream: Stream,
    queue: Queue,
    /// By file of the queue, in order: the part that wrote it, and the format that this part was
    /// read from.
    parts: Vec<(u32, Format)>,
    /// The indexes of files by their names.
    files: HashMap<Vec<u8>, usize>,
    /// By file: that of its part's events.
    events: Vec<PathBuf>,
    states: HashMap<Place, State>,
    order: RecipientOrder,
}

/// A record of the stream.
#[derive(Debug)]
pub struct Record<'c, 'a> {
    /// Where it stands.
    pub place: Place,
    /// The format of the queue that its run has read it from.
    pub from: Format,
    /// The record.
    pub found: Found<'a>,
    /// Its envelope.
    pub envelope: Envelope<'a>,
    /// The recipients that it holds.
    pub recipients: &'c [Recipient<'a>],
    /// What the run has noted.
    pub notes: Notes<'a>,
    /// The same of each recipient.
    pub recipient_notes: &'c [RecipientNotes<'a>],
    /// CRC32C of the content, where reading has computed it.
    pub checksum: Option<u32>,
}

/// Which records are meant: those that hold each of these texts, without regard to ASCII case.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In the reverse-path; `<>` is the null one.
    pub sender: Option<String>,
    /// In a forward-path.
    pub recipient: Option<String>,
    /// In the reason, or in a recipient's status or diagnostic.
    pub reason: Option<String>,
}

impl Shelf {
    /// Opens a stream; `steps` are those of the run's log.
    ///
    /// # Errors
    /// The run or its streams can't be read, or were altered.
    pub fn open(run: &Path, stream: Stream, steps: &[Step]) -> Result<Self, SpoolError> {
        let plan = folder::read_plan(run)?.plan;
        let (mut commits, _) = commits::read(run)?;
        commits.sort_by_key(|commit| commit.part);
        let (mut files, mut parts, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = HashMap::new();
        for commit in commits {
            let Some(sealed) = commit.files.get(stream) else { continue };
            let path = folder::part_path(run, plan.digits(), stream, commit.part);
            let altered = |what: String| SpoolError::altered(&path, what);
            let identity = Identity::at(&path).map_err(|error| altered(error.to_string()))?;
            if identity.size != sealed.length {
                let (is, was) = (identity.size, sealed.length);
                return Err(altered(format!("it has {is} bytes, the log says {was}")));
            }
            let planned = plan.parts.get(commit.part as usize);
            let queue = planned.and_then(|part| plan.queues.get(part.queue));
            let format = queue.ok_or_else(|| altered("its part isn't planned".to_owned()))?.format;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            names.insert(name.clone().into_bytes(), files.len());
            files.push(QueueFile { name, identity });
            events.push(folder::part_path(run, plan.digits(), Stream::Events, commit.part));
            parts.push((commit.part, format));
        }
        let path = run.join(stream.name());
        let queue = Queue::planned(&path, Format::Segment, files, None)
            .map_err(|error| SpoolError::altered(&path, error.to_string()))?;
        let order = plan.options.recipients;
        let states = states(steps, stream);
        Ok(Self { stream, queue, parts, files: names, events, states, order })
    }

    /// The stream.
    pub const fn stream(&self) -> Stream {
        self.stream
    }

    /// The same as a queue: what was dropped or replayed is still in it.
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Where forward-paths come from, in the run.
    pub(super) const fn order(&self) -> RecipientOrder {
        self.order
    }

    /// The place of the record at an offset of a file.
    pub fn place(&self, file: &[u8], offset: u64) -> Option<Place> {
        let index = self.files.get(file)?;
        self.parts.get(*index).map(|(part, _)| Place(*part, offset))
    }

    fn index(&self, place: Place) -> Option<usize> {
        self.parts.binary_search_by_key(&place.0, |(part, _)| *part).ok()
    }

    /// A place as it is written: `00003.seg:32`.
    pub fn name(&self, place: Place) -> String {
        format!("{}:{}", self.file(place), place.1)
    }

    /// The file of a place.
    pub(super) fn file(&self, place: Place) -> &str {
        let file = self.index(place).and_then(|index| self.queue.big_files().get(index));
        file.map_or("", |file| &file.name)
    }

    /// The part of the queue that holds the record at a place, and no other.
    pub fn span(&self, place: Place) -> Option<Span> {
        let (file, offset) = (u32::try_from(self.index(place)?).ok()?, place.1);
        Some(Span::Bytes(file, offset, offset + 1))
    }

    /// The events of a record's message, as lines: those that name its queue id, or, where a fault
    /// struck before that was known, its place in the run's queue. A message of the same part that
    /// has the same id has its events among them.
    ///
    /// # Errors
    /// They can't be read.
    pub fn events(
        &self,
        place: Place,
        id: &[u8],
        origin: Option<u64>,
    ) -> Result<Vec<Vec<u8>>, SpoolError> {
        let Some(path) = self.index(place).and_then(|index| self.events.get(index)) else {
            return Ok(Vec::new());
        };
        let all = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(SpoolError::read(path))?,
        };
        let mut named = b"\"queue_id\":\"".to_vec();
        let start = named.len();
        write_whole_text(&mut named, id);
        named.push(b'"');
        let by_place = origin.map(|offset| format!(".{offset:X}\"").into_bytes());
        let is_of_it = |line: &&[u8]| {
            let Some(at) = memmem::find(line, named.get(..start).unwrap_or_default()) else {
                return false;
            };
            let text = line.get(at..).unwrap_or_default();
            let behind_tag = text.get(start + TAG_DIGITS..).unwrap_or_default();
            text.starts_with(&named)
                || by_place.as_ref().is_some_and(|place| behind_tag.starts_with(place))
        };
        let lines = all.split_inclusive(|byte| *byte == b'\n').filter(is_of_it);
        Ok(lines.map(|line| line.trim_ascii_end().to_vec()).collect())
    }

    /// What was done with a record.
    pub fn state(&self, place: Place) -> State {
        self.states.get(&place).copied().unwrap_or_default()
    }

    /// Attempts that were made for a record's message: one that ended in quarantine isn't counted
    /// in the record itself.
    pub const fn tries(&self, envelope: &Envelope<'_>) -> u32 {
        match self.stream {
            Stream::Quarantine => envelope.attempts.saturating_add(1),
            _ => envelope.attempts,
        }
    }

    /// Gives each record, in queue order; gives the number of those that can't be read.
    ///
    /// # Errors
    /// A file can't be read or has changed; or what `take` says.
    pub fn each<E: From<QueueError>>(
        &self,
        take: impl FnMut(&Record<'_, '_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut reader = Reader { shelf: self, take, unreadable: 0 };
        let mut buffers = Buffers::default();
        for span in self.queue.cut(limits::PART_BYTES_MAX)? {
            self.queue.read(&span, &mut buffers, &mut reader)?;
        }
        Ok(reader.unreadable)
    }
}

struct Reader<'s, F> {
    shelf: &'s Shelf,
    take: F,
    unreadable: u64,
}

impl<E: From<QueueError>, F: FnMut(&Record<'_, '_>) -> Result<(), E>> Visit for Reader<'_, F> {
    type Error = E;

    fn batch<'a>(&mut self, source: Source<'a>, mut frames: Frames<'a>) -> Result<(), E> {
        let (mut recipients, mut recipient_notes) = (Vec::new(), Vec::new());
        let facts = HeaderFacts::default();
        let index = self.shelf.files.get(source.name);
        let part = index.and_then(|index| self.shelf.parts.get(*index));
        let Some((part, from)) = part.copied() else { return Ok(()) };
        while let Some(framed) = frames.next() {
            let Framed::Message(found) = framed else {
                self.unreadable += 1;
                continue;
            };
            recipient_notes.clear();
            let notes = notes(found.head, |notes| recipient_notes.push(notes));
            let order = self.shelf.order;
            let read = envelope::read(&source, &found, &facts, order, &mut recipients);
            let (Ok(envelope), Some(notes)) = (read.judged(), notes) else {
                self.unreadable += 1;
                continue;
            };
            (self.take)(&Record {
                place: Place(part, found.offset),
                from,
                found,
                envelope,
                recipients: &recipients,
                notes,
                recipient_notes: &recipient_notes,
                checksum: frames.content_checksum(),
            })?;
        }
        Ok(())
    }
}

impl Filter {
    /// Whether a record is meant.
    pub fn takes(
        &self,
        envelope: &Envelope<'_>,
        recipients: &[Recipient<'_>],
        reason: Option<&[u8]>,
        notes: &[RecipientNotes<'_>],
    ) -> bool {
        let sender = |wanted: &String| match envelope.reverse_path {
            ReversePath::Null => wanted == "<>",
            path => wanted != "<>" && holds(path.bytes(), wanted),
        };
        let recipient = |wanted: &String| {
            recipients.iter().any(|recipient| holds(recipient.forward_path, wanted))
        };
        let why = |wanted: &String| {
            let mut said = notes.iter().flat_map(|notes| [notes.status, notes.diagnostic]);
            reason.is_some_and(|reason| holds(reason, wanted))
                || said.any(|text| holds(text, wanted))
        };
        self.sender.as_ref().is_none_or(sender)
            && self.recipient.as_ref().is_none_or(recipient)
            && self.reason.as_ref().is_none_or(why)
    }
}

fn holds(text: &[u8], wanted: &str) -> bool {
    let text = text.to_ascii_lowercase();
    memmem::find(&text, wanted.to_ascii_lowercase().as_bytes()).is_some()
}
