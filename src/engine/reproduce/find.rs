//! Finds the messages of a run that a fault has struck, and makes the capsule of one.
//!
//! A fault is in the events of its part. A message that it took into quarantine has its record
//! there, and events and records of a part stand in the same order; any other is found by its name
//! in the part's streams. From the record comes the place in the queue, and from there the message
//! itself, as framing gives it; where the queue is gone or has changed, the record stands for it.
//! (Of a message of a post office that went into reports alone, nothing vouches that it is still
//! the one.)
//! Nothing here looks into a message that was struck: what it would do isn't known. Invariant:
//! nothing is written.

use super::capsule::{Capsule, Message, Strike};
use super::{ReproduceError, Struck};
use crate::engine::isolate::Stage;
use crate::engine::walk::office_of;
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::QueueId;
use crate::queue::bytes::Identity;
use crate::queue::postoffice::list::BagList;
use crate::queue::segment::read::{Notes, notes};
use crate::queue::segment::tag;
use crate::queue::{
    Buffers, Format, Found, Framed, Frames, Queue, QueueError, QueueFile, Source, Visit, envelope,
};
use crate::spool::folder::{self, Planned};
use crate::spool::plan::Plan;
use crate::spool::{SpoolError, Stream, commits, drain};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// A record that tells of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    stream: Stream,
    path: PathBuf,
    offset: u64,
    /// Where the message stood in its queue.
    origin: Origin,
    queue_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    name: Vec<u8>,
    offset: u64,
    length: u64,
}

impl Held {
    /// The record's place, `00003.seg:32`.
    fn place(&self) -> String {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{file}:{}", self.offset)
    }

    /// The same, with the stream before it.
    pub(super) fn place_in_run(&self) -> String {
        format!("{}/{}", self.stream.name(), self.place())
    }
}

/// The members of a fault's event that are used here (docs/events.md, 2380).
#[derive(Deserialize)]
struct Told {
    id: String,
    queue_id: String,
    stage: String,
    fault: String,
    place: String,
}

/// The messages of a run that faults have struck, in the order of the queue, as far as their parts
/// are committed.
///
/// # Errors
/// The run can't be read, or was altered.
pub fn struck(run: &Path) -> Result<Vec<Struck>, ReproduceError> {
    let plan = folder::read_plan(run)?.plan;
    let (mut commits, _) = commits::read(run)?;
    commits.sort_by_key(|commit| commit.part);
    let mut all = Vec::new();
    for commit in commits.iter().filter(|commit| commit.counts.faults > 0) {
        let path = |stream| folder::part_path(run, plan.digits(), stream, commit.part);
        let mut struck = told(&path(Stream::Events), commit.part)?;
        let quarantined: Vec<usize> =
            (0..).zip(&struck).filter(|(_, one)| one.is_quarantined()).map(|(at, _)| at).collect();
        let mut places = quarantined.into_iter();
        records(Stream::Quarantine, &path(Stream::Quarantine), |held, _, notes| {
            // Framing's own reasons are others (docs/run.md).
            if notes.reason.is_some_and(|reason| reason.starts_with(b"fault in "))
                && let Some(one) = places.next().and_then(|at| struck.get_mut(at))
            {
                one.queue_id = held.queue_id.clone().unwrap_or_else(|| one.queue_id.clone());
                one.held.push(held);
            }
        })?;
        for stream in [Stream::DeadLetter, Stream::Deferred, Stream::Accepted, Stream::Ndr] {
            if struck.iter().all(Struck::is_quarantined) {
                break;
            }
            records(stream, &path(stream), |held, _, _| {
                let mut named = struck.iter_mut().filter(|one| !one.is_quarantined());
                let named = named.find(|one| Some(&one.queue_id) == held.queue_id.as_ref());
                if let Some(one) = named {
                    one.held.push(held);
                }
            })?;
        }
        all.append(&mut struck);
    }
    Ok(all)
}

/// The messages that a part's events tell faults of.
fn told(path: &Path, part: u32) -> Result<Vec<Struck>, ReproduceError> {
    let bytes = fs::read(path).map_err(SpoolError::read(path))?;
    let mut all: Vec<Struck> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if memchr::memmem::find(line, b"\"number\":2380,").is_none() {
            continue;
        }
        let told: Told = serde_json::from_slice(line)
            .map_err(|error| SpoolError::altered(path, error.to_string()))?;
        let Told { id, queue_id, stage, fault, place } = told;
        // The first part of an id is the message's.
        let key = id.split('-').next().unwrap_or_default().to_owned();
        let strike = Strike { id: Some(id), stage, fault, place, stack: None };
        if let Some(last) = all.last_mut().filter(|last| last.key == key) {
            last.faults.push(strike);
        } else {
            let held = Vec::new();
            all.push(Struck { part, queue_id, faults: vec![strike], key, held });
        }
    }
    Ok(all)
}

impl Struck {
    /// The fault took it into quarantine.
    fn is_quarantined(&self) -> bool {
        let quarantines = |stage: &str| {
            matches!(Stage::of(stage), Some(Stage::Parse | Stage::Decide | Stage::Render))
        };
        self.faults.iter().any(|fault| quarantines(&fault.stage))
    }

    fn is_named(&self, id: &str) -> bool {
        self.queue_id == id
            || self.faults.iter().any(|fault| fault.id.as_deref() == Some(id))
            || self.held.iter().any(|held| held.place() == id || held.place_in_run() == id)
    }
}

/// Gives each record of a part's file that says where its message stood.
fn records(
    stream: Stream,
    path: &Path,
    mut take: impl FnMut(Held, &Found<'_>, &Notes<'_>),
) -> Result<(), ReproduceError> {
    if !path.exists() {
        return Ok(());
    }
    let identity = Identity::at(path).map_err(SpoolError::read(path))?;
    let files = vec![QueueFile { name: String::new(), identity }];
    let queue = Queue::planned(path, Format::Segment, files, None)?;
    each(&queue, |_, found| {
        let Some(notes) = notes(found.head, |_| {}) else { return };
        let Some((name, offset, length)) = notes.origin else { return };
        let origin = Origin { name: name.to_owned(), offset, length };
        let id = notes.report_of.or(notes.queue_id);
        let queue_id = id.map(|id| String::from_utf8_lossy(id).into_owned());
        take(
            Held { stream, path: path.to_owned(), offset: found.offset, origin, queue_id },
            found,
            &notes,
        );
    })?;
    Ok(())
}

fn each(queue: &Queue, take: impl FnMut(&Source<'_>, &Found<'_>)) -> Result<(), QueueError> {
    let (mut buffers, mut reader) = (Buffers::default(), Reader(take));
    for span in queue.cut(limits::PART_BYTES_MAX)? {
        queue.read(&span, &mut buffers, &mut reader)?;
    }
    Ok(())
}

/// Gives messages to a closure.
struct Reader<F>(F);

impl<F: FnMut(&Source<'_>, &Found<'_>)> Visit for Reader<F> {
    type Error = QueueError;

    fn batch<'a>(&mut self, source: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
        for framed in frames {
            if let Framed::Message(found) = framed {
                (self.0)(&source, &found);
            }
        }
        Ok(())
    }
}

/// The capsule of the message that an id names.
pub(super) fn capsule(run: &Path, id: &str) -> Result<Capsule, ReproduceError> {
    let (run_path, id_text) = (|| run.to_owned(), || id.to_owned());
    let all = struck(run)?;
    let named: Vec<&Struck> = all.iter().filter(|one| one.is_named(id)).collect();
    let one = match named.as_slice() {
        [] => return Err(ReproduceError::Unknown { run: run_path(), id: id_text() }),
        [one] => *one,
        several => {
            let places = several.iter().flat_map(|one| one.places()).collect();
            return Err(ReproduceError::Several { run: run_path(), id: id_text(), places });
        }
    };
    // Where a place was named, it is that record's message, whatever else has its name.
    let is_meant = |held: &&Held| held.place_in_run() == id || held.place() == id;
    let meant: Vec<&Held> = one.held.iter().filter(is_meant).collect();
    let held = if meant.is_empty() { one.held.iter().collect() } else { meant };
    let Some(origin) = held.first().map(|held| held.origin.clone()) else {
        return Err(ReproduceError::NoRecord { run: run_path(), id: id_text() });
    };
    if held.iter().any(|held| held.origin != origin) {
        let places = held.iter().map(|held| held.place_in_run()).collect();
        return Err(ReproduceError::Several { run: run_path(), id: id_text(), places });
    }
    let planned = folder::read_plan(run)?;
    let is_drained = drain::is_begun(run);
    let message = message(&planned, is_drained, one, &held, &origin)?;
    let Some(message) = message else {
        return Err(ReproduceError::Gone { run: run_path(), id: id_text() });
    };
    let plan = planned.plan;
    let tables = planned.queues.get(queue_of(&plan, one.part)).and_then(Queue::bag_list);
    let path = office_of(&origin.name);
    let mut office = tables.map(BagList::offices).unwrap_or_default().iter();
    let office = office.find(|tables| tables.path == path).cloned();
    Ok(Capsule::new(plan, office, one, message))
}

/// The index of a part's queue.
fn queue_of(plan: &Plan, part: u32) -> usize {
    plan.parts.get(part as usize).map_or(usize::MAX, |part| part.queue)
}

/// The message: from the queue, if it is as it was planned, else from a record that has it.
fn message(
    planned: &Planned,
    is_drained: bool,
    struck: &Struck,
    held: &[&Held],
    origin: &Origin,
) -> Result<Option<Message>, ReproduceError> {
    let Planned { plan, queues } = planned;
    let Some((queue, span)) = plan.queue_of(queues, struck.part) else { return Ok(None) };
    let known = Message {
        queue_id: struck.queue_id.clone(),
        queue: queue.path().to_owned(),
        part: struck.part,
        file: String::from_utf8_lossy(&origin.name).into_owned(),
        offset: origin.offset,
        length: origin.length,
        taken_from: "queue".to_owned(),
        format: queue.format(),
        tag: 0,
        name: Vec::new(),
        head: Vec::new(),
        is_quoted: false,
        condition: None,
        record: Vec::new(),
    };
    let mut kept = None;
    if let Some(held) = held.iter().find(|held| held.stream != Stream::Ndr) {
        records(held.stream, &held.path, |other, found, _| {
            if other.offset == held.offset {
                let message = of_record(&known, held, struck, found);
                kept = Some((message, found.content.checksum()));
            }
        })?;
    }
    let mut queued = None;
    let mut look = Reader(|source: &Source<'_>, found: &Found<'_>| {
        let is_it = found.offset == origin.offset
            && envelope::file_name(source, found) == origin.name.as_slice();
        if is_it && queued.is_none() {
            queued = Some((of_queue(&known, source, found), found.content.checksum()));
        }
    });
    // A queue that is gone or has changed is none; a drain leaves slots without their files.
    let is_there = !is_drained && queue.read(span, &mut Buffers::default(), &mut look).is_ok();
    let queued = queued.filter(|_| is_there);
    Ok(match (queued, kept) {
        // A post office goes on living: what stands there may be another by now.
        (Some((queued, is)), Some((_, was))) if is == was => Some(queued),
        (_, Some((kept, _))) => Some(kept),
        (Some((queued, _)), None) => Some(queued),
        (None, None) => None,
    })
}

/// The message as it stands in its queue.
fn of_queue(known: &Message, source: &Source<'_>, found: &Found<'_>) -> Message {
    let has_envelope = source.format.has_envelope();
    let content = found.content.raw();
    let record = Message::record(content, |out| {
        if has_envelope {
            out.verbatim(found.head);
        } else {
            // The envelope is in the content, which isn't looked into here: a name, for readers.
            name(out, known, envelope::queue_id(source, found));
        }
    });
    Message {
        tag: source.tag,
        name: source.name.to_owned(),
        head: if has_envelope { Vec::new() } else { found.head.to_owned() },
        is_quoted: found.content.is_quoted(),
        condition: found.condition,
        record,
        ..known.clone()
    }
}

fn name(out: &mut crate::queue::segment::write::Fields<'_>, known: &Message, id: QueueId<'_>) {
    out.text(tag::QUEUE_ID, |out| id.write(out));
    out.origin(known.file.as_bytes(), known.offset, known.length);
}

/// A content without quoting: what a record refers to may be quoted.
fn whole(content: Content<'_>) -> Vec<u8> {
    content.runs().collect::<Vec<_>>().concat()
}

/// The message as a stream has it.
fn of_record(known: &Message, held: &Held, struck: &Struck, found: &Found<'_>) -> Message {
    // Before its envelope was read, it was a message of its queue's format, though what an mbox had
    // in its From_ line is gone; from then on the record has its envelope.
    let is_unread = struck.faults.iter().any(|fault| fault.stage == Stage::Parse.name());
    let stays = known.format.has_envelope() || is_unread;
    let is_file = matches!(known.format, Format::Maildir | Format::Eml);
    let of_file = if stays && is_file { held.origin.name.clone() } else { Vec::new() };
    let name = if is_file { Vec::new() } else { held.origin.name.clone() };
    Message {
        taken_from: held.stream.name().to_owned(),
        format: if stays { known.format } else { Format::Segment },
        name,
        head: of_file,
        record: Message::record(&whole(found.content), |out| out.verbatim(found.head)),
        ..known.clone()
    }
}
