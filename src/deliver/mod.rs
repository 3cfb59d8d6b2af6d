//! Couriers: messages leave a queue for another format. Now: conversion of a whole queue into one
//! file or folder, and the events of a run as one file.
//!
//! [`convert`] writes all messages of a queue, in queue order, into a new target: the content byte
//! for byte, the envelope as far as the target's format can hold it (each writer says how far).
//! Damage isn't converted, and isn't dropped silently either: it is counted, and told with its
//! place. Not here: what becomes of a message, couriers that resume (checkpoints), and locks.
//!
//! Invariants: one thread, messages in order, and the target's bytes depend on the queue, the order
//! of recipient fields and the target's name alone. The target appears under its name when it is
//! whole and on the disk, and not before: until then it is `PATH.partial`, which is what an error
//! or a crash leaves. Nothing that exists is written over.

pub mod drain;
mod events;
mod folder;
mod mbox;
mod replay;
pub(crate) mod segment;
mod shelf;
mod target;
#[cfg(test)]
mod tests;

pub use events::{EventTarget, Exported, Follow, Logged, events};
pub use replay::{PassedOver, Prepared, Replay, ReplayError, replay};
pub use shelf::{Filter, Record, Shelf};
pub use target::{Target, TargetFormat};

use crate::limits;
use crate::mail::envelope::{Envelope, Recipient};
use crate::mail::header::HeaderFacts;
use crate::queue::envelope::{self, RecipientOrder};
use crate::queue::segment::reference::Lost;
use crate::queue::{Buffers, Damage, DamageKind, Format, Found, Framed, Frames};
use crate::queue::{Queue, QueueError, Source, Span, Visit};
use crate::spool::SpoolError;
use std::io;
use std::path::PathBuf;

/// What was converted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Messages written.
    pub messages: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Contents that have a line feed more in the target: they ended without one, and an mbox needs
    /// it before the next message.
    pub line_ends_added: u64,
    /// Messages whose reverse-path an mbox's From_ line can't hold: it has the null one there.
    pub senders_changed: u64,
    /// Messages whose content FFAPI text holds without the seconds of its date, with other
    /// line ends, or with its Cc among To.
    pub simplified: u64,
    /// Ranges of the queue that are no messages, and aren't in the target.
    pub damaged: u64,
    /// Their bytes.
    pub damaged_bytes: u64,
    /// Where the first of them are, in queue order, at most [`limits::DAMAGE_TOLD_MAX`].
    pub damage: Vec<DamagedRange>,
}

/// A range of the queue that is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// Name of its file within the queue.
    pub file: Vec<u8>,
    /// Where it lies in it, and what is wrong.
    pub damage: Damage,
    /// What is lost, where it is a reference that leads nowhere.
    pub lost: Option<Lost>,
}

/// Writes the messages of a queue's parts into a new target.
///
/// `parts` are those of [`Queue::cut`], in order; their size doesn't change what is written.
/// `progress` is told how many bytes of the queue are done, about once a megabyte. At the end the
/// target is synced: one `fsync` of a file, one `syncfs` for a folder of files, and an `fsync` of
/// the folder that the target stands in.
///
/// # Errors
/// The target exists, or an unfinished one does; the queue can't be read or changed; the target
/// can't be written. What is written by then stays, as `PATH.partial`.
pub fn convert(
    queue: &Queue,
    parts: &[Span],
    order: RecipientOrder,
    target: &Target,
    progress: &mut dyn FnMut(u64),
) -> Result<Converted, DeliverError> {
    let place = target::Place::check(&target.path, target.format.is_folder())?;
    let writer = match target.format {
        TargetFormat::Segment => Writer::Segment(segment::Writer::begin(place, queue)?),
        TargetFormat::Mbox => Writer::Mbox(mbox::Writer::begin(place)?),
        TargetFormat::Maildir | TargetFormat::Eml | TargetFormat::Ffapi(_) => {
            Writer::Folder(folder::Writer::begin(place, target.format)?)
        }
    };
    let mut courier = Courier {
        queue,
        order,
        writer,
        converted: Converted::default(),
        done: 0,
        told: 0,
        progress,
    };
    let mut buffers = Buffers::default();
    for part in parts {
        queue.read(part, &mut buffers, &mut courier)?;
    }
    let Courier { writer, mut converted, done, progress, .. } = courier;
    match writer {
        Writer::Segment(writer) => {
            writer.finish()?;
        }
        Writer::Mbox(writer) => {
            (converted.line_ends_added, converted.senders_changed) = writer.finish()?;
        }
        Writer::Folder(writer) => converted.simplified = writer.finish()?,
    }
    progress(done);
    Ok(converted)
}

/// A message as a writer takes it.
pub(crate) struct Item<'c, 'a> {
    pub(crate) format: Format,
    pub(crate) found: &'c Found<'a>,
    pub(crate) envelope: &'c Envelope<'a>,
    pub(crate) recipients: &'c [Recipient<'a>],
    /// CRC32C of the content, where it is known.
    pub(crate) checksum: Option<u32>,
}

#[expect(clippy::large_enum_variant, reason = "one lives at a time, on the stack")]
enum Writer {
    Segment(segment::Writer),
    Mbox(mbox::Writer),
    Folder(folder::Writer),
}

/// Takes messages from the parts to the writer.
struct Courier<'p> {
    queue: &'p Queue,
    order: RecipientOrder,
    writer: Writer,
    converted: Converted,
    done: u64,
    told: u64,
    progress: &'p mut dyn FnMut(u64),
}

impl Visit for Courier<'_> {
    type Error = DeliverError;

    fn batch<'a>(
        &mut self,
        source: Source<'a>,
        mut frames: Frames<'a>,
    ) -> Result<(), DeliverError> {
        // Its memory is used again from message to message, but can't outlive the batch it borrows
        // from.
        let mut recipients = Vec::new();
        while let Some(framed) = frames.next() {
            match framed {
                Framed::Damage(damage) => {
                    let lost = self.queue.lost(&source, &damage);
                    self.damaged(source.name, damage, lost);
                }
                Framed::Message(found) => {
                    let checksum = frames.content_checksum();
                    self.message(&source, &found, checksum, &mut recipients)?;
                }
            }
            if self.done - self.told >= limits::BUFFER_BYTES as u64 {
                self.told = self.done;
                (self.progress)(self.done);
            }
        }
        Ok(())
    }
}

impl Courier<'_> {
    fn message<'a>(
        &mut self,
        source: &Source<'a>,
        found: &Found<'a>,
        checksum: Option<u32>,
        recipients: &mut Vec<Recipient<'a>>,
    ) -> Result<(), DeliverError> {
        if found.set_aside.is_some() {
            let (offset, length) = (found.offset, found.length);
            let damage = Damage { offset, length, kind: DamageKind::SetAside };
            self.damaged(envelope::file_name(source, found), damage, None);
            return Ok(());
        }
        // Where the envelope stands beside it, the content's header fields aren't looked at.
        let facts = if source.format.has_envelope() {
            HeaderFacts::default()
        } else {
            HeaderFacts::read(found.content.raw())
        };
        let read = envelope::read(source, found, &facts, self.order, recipients);
        let envelope = match read.judged() {
            Ok(envelope) => envelope,
            Err(kind) => {
                let damage = Damage { offset: found.offset, length: found.length, kind };
                self.damaged(envelope::file_name(source, found), damage, None);
                return Ok(());
            }
        };
        let (format, envelope) = (source.format, &envelope);
        let item = Item { format, found, envelope, recipients, checksum };
        let written = match &mut self.writer {
            Writer::Segment(writer) => writer.message(&item)?,
            Writer::Mbox(writer) => writer.message(&item)?,
            Writer::Folder(writer) => writer.message(&item)?,
        };
        self.converted.messages += 1;
        self.converted.bytes += written;
        self.done += found.length;
        Ok(())
    }

    fn damaged(&mut self, file: &[u8], damage: Damage, lost: Option<Lost>) {
        self.converted.damaged += 1;
        self.converted.damaged_bytes += damage.length;
        self.done += damage.length;
        if self.converted.damage.len() < limits::DAMAGE_TOLD_MAX {
            self.converted.damage.push(DamagedRange { file: file.to_vec(), damage, lost });
        }
    }
}

/// Why a queue can't be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum DeliverError {
    #[error(
        "{}: exists already and isn't empty (name another target, or move it away)",
        path.display()
    )]
    Exists { path: PathBuf },
    #[error(
        "{}: is left of a conversion that did not end (delete it, then convert again)",
        path.display()
    )]
    Unfinished { path: PathBuf },
    #[error("{}: exists, and is no {expected} (name another target)", path.display())]
    Kind { path: PathBuf, expected: &'static str },
    #[error("{}: names no new file or folder (end it with a name)", path.display())]
    NoName { path: PathBuf },
    #[error(
        "{}: cannot write: {source} (does its folder exist, may this user write there, is there \
         room? What was written by then stays unfinished: mend it, and do it again)",
        path.display()
    )]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{}: more than {} files (convert to segment: or mbox:)",
        path.display(),
        limits::FILES_MAX
    )]
    TooManyFiles { path: PathBuf },
    #[error("{}: is no event log that a run here has left (name another file)", path.display())]
    NotALog { path: PathBuf },
    #[error("{to}: is the log of another run (name another file, or move it away)")]
    OtherRun { to: String },
    #[error("{}: its records have no more numbers (name another file)", path.display())]
    LogFull { path: PathBuf },
    #[error("{to}: cannot send: {source} (is it there, and does it take messages?)")]
    Send { to: String, source: io::Error },
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Run(#[from] SpoolError),
}
