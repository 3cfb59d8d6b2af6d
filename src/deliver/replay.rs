//! Sends through again what a run has set aside: chooses records of a stream, and makes a queue of
//! them in the folder of a new run.
//!
//! In this order, each step on the disk before the next: the choice is logged in the old run, and
//! binds its records to the new folder; the queue is made, `replay.seg`; that it is made is logged.
//! Then the new run may begin. Killed anywhere, the same call goes on: a choice that is logged
//! isn't made again, and a queue that isn't logged as made is made again, from the choice. Not
//! here: the run itself. Invariants: a record goes into one replay at most, so that nothing is
//! reported or delivered by two; a record of the new queue has the attempts that were made, and
//! only the recipients that its stream had.

use super::segment::{self, fill_recipient};
use super::shelf::{Filter, Record, Shelf};
use super::{DeliverError, target};
use crate::limits;
use crate::mail::envelope::{Envelope, Recipient};
use crate::mail::header::HeaderFacts;
use crate::queue::segment::tag;
use crate::queue::segment::write::Fields;
use crate::queue::{DamageKind, Format, Found, QueueError, Source, envelope};
use crate::spool::record::FAULT;
use crate::spool::set_aside::{Made, Place, Replayed, SetAside, State, Step};
use crate::spool::{SpoolError, Stream, drain, folder};
use serde::Serialize;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Which records go through again, and where to.
#[derive(Clone, Debug)]
pub struct Replay<'r> {
    /// The run that has set them aside.
    pub run: &'r Path,
    /// The stream: quarantine, dead letters or deferred mail.
    pub stream: Stream,
    /// The folder of the new run.
    pub into: &'r Path,
    /// Only these.
    pub filter: Filter,
    /// At most so many.
    pub limit: Option<u64>,
    /// Only those that were tried less often than this; [`limits::REPLAY_ATTEMPTS_MAX`] where none
    /// is given, and without bound for deferred mail, whose expiry ends the trying.
    pub attempts_max: Option<u32>,
    /// The time now, RFC 3339.
    pub at: String,
}

/// A replay whose queue is made.
#[derive(Clone, Debug, Serialize)]
pub struct Prepared {
    /// The queue of the new run; none where no record was chosen.
    pub queue: Option<PathBuf>,
    /// Its messages.
    pub chosen: u64,
    /// They were chosen by a call before this one.
    pub went_on: bool,
    /// Records that weren't chosen, where the choice was made now.
    pub passed_over: PassedOver,
}

/// Records that were passed over, by the first reason that holds. Those that a filter doesn't
/// mean aren't counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Dropped before.
    pub dropped: u64,
    /// Replayed before.
    pub replayed: u64,
    /// In quarantine as damage: bytes that are no message.
    pub damage: u64,
    /// In quarantine because its own format didn't let it be read: its content isn't the message.
    pub set_aside: u64,
    /// Still in the post office that it was read from: the post office is run again.
    pub in_queue: u64,
    /// Nobody is there to send it to.
    pub no_recipients: u64,
    /// Tried often enough.
    pub attempts: u64,
    /// Over the limit.
    pub limit: u64,
    /// Records that can't be read: the stream was altered.
    pub unreadable: u64,
}

/// Chooses the records, once, and makes the queue of the new run, once.
///
/// # Errors
/// The old run is in use or was altered; the new folder is something else; it can't be written.
pub fn replay(replay: &Replay<'_>) -> Result<Prepared, ReplayError> {
    let mut log = SetAside::open(replay.run)?;
    let shelf = Shelf::open(replay.run, replay.stream, log.steps())?;
    let into = real_path(replay.into)?;
    if into.starts_with(real_path(replay.run)?) {
        return Err(ReplayError::Within { into, run: replay.run.to_owned() });
    }
    let before = log.steps().iter().find_map(|step| match step {
        Step::Replayed(replayed) if replayed.into == into => Some(replayed.clone()),
        _ => None,
    });
    let went_on = before.is_some();
    let mut passed_over = PassedOver::default();
    let places = match before {
        Some(before) if before.stream != replay.stream => {
            return Err(ReplayError::OtherStream { into, stream: before.stream.name() });
        }
        Some(before) => before.places,
        None => {
            let places = choose(replay, &shelf, &mut passed_over)?;
            if !places.is_empty() {
                check_vacant(&into)?;
                let (stream, at) = (replay.stream, replay.at.clone());
                let (into, places) = (into.clone(), places.clone());
                log.append(vec![Step::Replayed(Replayed { stream, into, at, places })])?;
            }
            places
        }
    };
    let queue =
        if places.is_empty() { None } else { Some(made_queue(&mut log, &shelf, &places, into)?) };
    Ok(Prepared { queue, chosen: places.len() as u64, went_on, passed_over })
}

/// The queue of the chosen records: made, if it isn't.
fn made_queue(
    log: &mut SetAside,
    shelf: &Shelf,
    places: &[Place],
    into: PathBuf,
) -> Result<PathBuf, ReplayError> {
    let queue = into.join(folder::REPLAY);
    let made = log.steps().iter().find_map(|step| match step {
        Step::Made(made) if made.into == into => Some(made.length),
        _ => None,
    });
    if let Some(length) = made {
        check_made(&queue, length)?;
        return Ok(queue);
    }
    if folder::is_run(&into) {
        return Err(SpoolError::Occupied { path: into }.into());
    }
    folder::make(&into)?;
    let length = make(shelf, places, &queue)?;
    log.append(vec![Step::Made(Made { into, length })])?;
    Ok(queue)
}

/// An absolute path, with the links of what exists of it followed: the same place has one name.
fn real_path(path: &Path) -> Result<PathBuf, ReplayError> {
    let failed = |source| ReplayError::Place { path: path.to_owned(), source };
    let place = std::path::absolute(path).map_err(failed)?;
    let exists = place.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let rest = place.strip_prefix(exists).unwrap_or(Path::new(""));
    let real = exists.canonicalize().map_err(failed)?;
    let real = if rest == Path::new("") { real } else { real.join(rest) };
    if real.to_str().is_none() {
        return Err(SpoolError::Name { path: real }.into());
    }
    Ok(real)
}

/// The folder isn't there, or empty.
fn check_vacant(into: &Path) -> Result<(), ReplayError> {
    match into.read_dir().map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(SpoolError::Occupied { path: into.to_owned() }.into()),
    }
}

/// A queue that was made is there as it was.
fn check_made(queue: &Path, length: u64) -> Result<(), ReplayError> {
    match fs::metadata(queue) {
        Ok(metadata) if metadata.len() == length => Ok(()),
        _ => Err(ReplayError::Gone { queue: queue.to_owned() }),
    }
}

/// Why a record isn't sent through again.
type Reason = fn(&mut PassedOver) -> &mut u64;

/// The records that are meant, can go through again, and stay within the bounds; in queue order.
fn choose(
    replay: &Replay<'_>,
    shelf: &Shelf,
    passed_over: &mut PassedOver,
) -> Result<Vec<Place>, ReplayError> {
    // What a drain hasn't taken out of a post office is judged there again.
    let is_drained = drain::is_begun(replay.run) && !drain::is_unfinished(replay.run);
    let limit = replay.limit.unwrap_or(u64::MAX);
    let mut places = Vec::new();
    passed_over.unreadable = shelf.each(|record| {
        let Record { envelope, recipients, notes, recipient_notes, .. } = record;
        if !replay.filter.takes(envelope, recipients, notes.reason, recipient_notes) {
            return Ok::<(), ReplayError>(());
        }
        let reason = obstacle(replay, shelf, is_drained, record);
        match reason {
            Some(count) => *count(passed_over) += 1,
            None if places.len() as u64 >= limit => passed_over.limit += 1,
            None => places.push(record.place),
        }
        Ok(())
    })?;
    Ok(places)
}

fn obstacle(
    replay: &Replay<'_>,
    shelf: &Shelf,
    is_drained: bool,
    record: &Record<'_, '_>,
) -> Option<Reason> {
    match shelf.state(record.place) {
        State::Waiting => {}
        State::Dropped => return Some(|counts| &mut counts.dropped),
        State::Replayed => return Some(|counts| &mut counts.replayed),
    }
    let stream = shelf.stream();
    let reason = record.notes.reason.unwrap_or_default();
    if stream == Stream::Quarantine && DamageKind::of_text(reason).is_some() {
        return Some(|counts| &mut counts.damage);
    }
    if record.from == Format::PostOffice && (stream == Stream::Deferred || !is_drained) {
        return Some(|counts| &mut counts.in_queue);
    }
    let has_own_reasons = matches!(record.from, Format::PostOffice | Format::Ffapi);
    if stream == Stream::Quarantine && has_own_reasons && !reason.starts_with(FAULT) {
        return Some(|counts| &mut counts.set_aside);
    }
    if stream != Stream::Quarantine && pending(record.recipients).next().is_none() {
        return Some(|counts| &mut counts.no_recipients);
    }
    let bound = match stream {
        Stream::Deferred => u32::MAX,
        _ => limits::REPLAY_ATTEMPTS_MAX,
    };
    if shelf.tries(&record.envelope) >= replay.attempts_max.unwrap_or(bound) {
        return Some(|counts| &mut counts.attempts);
    }
    None
}

/// Recipients that something is left to do for. A message without recipients has one without an
/// address among the dead letters.
fn pending<'c, 'a>(
    recipients: &'c [Recipient<'a>],
) -> impl Iterator<Item = &'c Recipient<'a>> + use<'c, 'a> {
    recipients.iter().filter(|recipient| !recipient.done && !recipient.forward_path.is_empty())
}

/// Makes the queue of the chosen records. Gives its length.
fn make(shelf: &Shelf, places: &[Place], queue: &Path) -> Result<u64, ReplayError> {
    // What a process before this one has left isn't logged as made: nothing has read it.
    for left in [queue.to_owned(), target::partial(queue)] {
        match fs::remove_file(&left) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(SpoolError::Write { path: left, source }.into());
            }
            _ => {}
        }
    }
    let place = target::Place::check(queue, false)?;
    let mut writer = segment::Writer::begin(place, shelf.queue())?;
    let chosen: HashSet<Place> = places.iter().copied().collect();
    let mut left = chosen.len();
    shelf.each(|record| {
        if chosen.contains(&record.place) {
            left -= 1;
            append(&mut writer, shelf, record)?;
        }
        Ok::<(), ReplayError>(())
    })?;
    if left > 0 {
        let what = format!("{left} records that were chosen for a replay are gone");
        return Err(SpoolError::altered(shelf.queue().path(), what).into());
    }
    Ok(writer.finish()?)
}

fn append(
    writer: &mut segment::Writer,
    shelf: &Shelf,
    record: &Record<'_, '_>,
) -> Result<(), DeliverError> {
    let found = &record.found;
    let file = format!("{}/{}", shelf.stream().name(), shelf.file(record.place));
    let tries = shelf.tries(&record.envelope);
    let mut recipients = Vec::new();
    let again = from_content(shelf, record, &mut recipients);
    writer.record(found.content, record.checksum, |fields| match &again {
        Some(envelope) => fill(fields, envelope, tries, &recipients, (&file, found)),
        None => fill(fields, &record.envelope, tries, record.recipients, (&file, found)),
    })?;
    Ok(())
}

/// The envelope of a message that a fault struck before it was known: made from the content, as
/// its format has it. What an mbox had in its From_ line is gone.
fn from_content<'a>(
    shelf: &Shelf,
    record: &Record<'_, 'a>,
    recipients: &mut Vec<Recipient<'a>>,
) -> Option<Envelope<'a>> {
    let is_unknown = shelf.stream() == Stream::Quarantine
        && !record.from.has_envelope()
        && record.recipients.is_empty();
    if !is_unknown {
        return None;
    }
    let content = record.found.content;
    let facts = HeaderFacts::read(content.raw());
    let source = Source { format: Format::Eml, name: b"", tag: 0, bytes: b"" };
    let file = Found::new(0, content.len(), b"", content);
    let read = envelope::read(&source, &file, &facts, shelf.order(), recipients).judged().ok()?;
    Some(Envelope { queue_id: record.envelope.queue_id, ..read })
}

/// The envelope of a record of the new queue: due at once.
fn fill(
    fields: &mut Fields<'_>,
    envelope: &Envelope<'_>,
    tries: u32,
    recipients: &[Recipient<'_>],
    (file, found): (&str, &Found<'_>),
) {
    fields.carried(envelope);
    fields.reverse_path(envelope.reverse_path);
    fields.schedule(&Envelope { attempts: tries, next_attempt: None, ..envelope.clone() });
    fields.origin(file.as_bytes(), found.offset, found.length);
    for recipient in pending(recipients) {
        fields.nested(tag::RECIPIENT, |fields| fill_recipient(fields, recipient));
    }
}

/// Why a replay can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum ReplayError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("{}: cannot tell where it is: {source}", path.display())]
    Place { path: PathBuf, source: io::Error },
    #[error("{}: lies within the run {} (name another folder)", into.display(), run.display())]
    Within { into: PathBuf, run: PathBuf },
    #[error("{}: a replay of {stream} goes there (name another folder)", into.display())]
    OtherStream { into: PathBuf, stream: &'static str },
    #[error(
        "{}: the queue of this replay was made, and is gone or altered (its messages may have been \
         delivered from there: look, and export those that were not)",
        queue.display()
    )]
    Gone { queue: PathBuf },
}
