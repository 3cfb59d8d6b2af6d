//! Messages that a worker has taken: what is known of each so far, and lists that are used again
//! from message to message.
//!
//! Several are taken at once, and go through each step one after the other: a step's code and what
//! it looks up are in the processor's caches then. Which of them is *in hand*, the board says. What
//! they know borrows from the queue, and can't outlive the batch: for the next, memory is given on
//! empty. Not here: the steps (`message`), the part's buffers (`spool`). Invariant: what is kept
//! between two messages is bounded.

use super::Context;
use super::isolate::{Fault, Stage};
use crate::decide::{Verdict, emptied};
use crate::event::json::Subject;
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::{Envelope, Recipient};
use crate::mail::header::RecipientField;
use crate::queue::segment::write::Payload;
use crate::queue::{Damage, DamageKind, Found, Source, envelope};
use crate::spool::record::{Judged, Origin};
use smallvec::SmallVec;

/// A message or damaged range that was taken, and what is known of it so far.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    /// Its number in the part.
    pub(super) index: u64,
    pub(super) found: Found<'a>,
    /// Checksum of its content, where framing knows it.
    pub(super) checksum: Option<u32>,
    pub(super) judgment: Judgment,
    /// The stage that it has come to.
    pub(super) stage: Stage,
    pub(super) envelope: Envelope<'a>,
    pub(super) origin: Origin<'a>,
    pub(super) payload: Payload<'a>,
    /// Its content isn't held against the checksum of its record yet.
    pub(super) is_unread: bool,
    /// Its stable id; 0 until its envelope is read.
    pub(super) key: u64,
    /// Hops that its header section tells of.
    pub(super) header_hops: u32,
    /// Its content is a report.
    pub(super) is_report: bool,
    /// The value of its Subject field, and the length of its header section.
    pub(super) subject: Option<&'a [u8]>,
    pub(super) header_len: usize,
    /// Marker of an injected fault.
    pub(super) marker: Option<&'a [u8]>,
    /// Faults that struck it: at most one a stage is told.
    pub(super) faults: SmallVec<[Fault; 2]>,
}

/// How far judging has come.
#[derive(Debug)]
pub(super) enum Judgment {
    /// Nothing keeps it from being judged.
    Open,
    Judged,
    /// Its queue says that it can't be judged.
    SetAside,
    /// It is over its budget.
    TooMuch(DamageKind),
    /// It isn't a message, or its envelope can't be read.
    Damaged(DamageKind),
    /// A fault struck it.
    Struck(Fault),
}

/// What belongs to a message, and has room in memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Lists<'a> {
    pub(super) recipients: Vec<Recipient<'a>>,
    /// Of the first recipients: what of the directory is on its way to the caches.
    pub(super) fetched: Vec<u64>,
    pub(super) verdict: Verdict<'a>,
}

/// What a worker has taken, and memory for it.
#[derive(Debug, Default)]
pub(super) struct Memory<'a> {
    /// Of the message that is read.
    pub(super) fields: Vec<(RecipientField, &'a [u8])>,
    pub(super) batch: Vec<Taken<'a>>,
    /// One for each of `batch`, at least.
    pub(super) lists: Vec<Lists<'a>>,
}

impl<'a> Taken<'a> {
    pub(super) fn message(source: &Source<'a>, index: u64, found: Found<'a>) -> Self {
        let name = envelope::file_name(source, &found);
        let queue_id = envelope::queue_id(source, &found);
        Self {
            index,
            checksum: None,
            judgment: Judgment::Open,
            stage: Stage::Frame,
            envelope: Envelope::new(queue_id),
            origin: Origin { name, offset: found.offset, length: found.length },
            payload: Payload::known(found.content, 0),
            is_unread: false,
            key: 0,
            header_hops: 0,
            is_report: false,
            subject: None,
            header_len: 0,
            marker: None,
            faults: SmallVec::new(),
            found,
        }
    }

    pub(super) fn damage(source: &Source<'a>, index: u64, damage: Damage) -> Self {
        let found = Found::new(damage.offset, damage.length, b"", Content::default());
        Self { judgment: Judgment::Damaged(damage.kind), ..Self::message(source, index, found) }
    }

    pub(super) fn judged<'c>(&'c self, lists: &'c Lists<'a>) -> Judged<'c, 'a> {
        Judged {
            envelope: &self.envelope,
            recipients: &lists.recipients,
            verdict: &lists.verdict,
            origin: self.origin,
            payload: self.payload,
            reference: None,
        }
    }

    /// Whether its content is another than its record says; looked at here, where framing has left
    /// that open.
    pub(super) fn is_altered(&self) -> bool {
        self.is_unread && self.payload.content.checksum() != self.payload.checksum
    }

    pub(super) fn set_key(&mut self, source: &Source<'_>, scratch: &mut Vec<u8>) {
        let content = (self.payload.content, self.payload.len);
        self.key = envelope::key(source, self.origin.offset, &self.envelope, content, scratch);
    }

    pub(super) fn event_subject<'c>(
        &'c self,
        attempts: u32,
        context: &'c Context<'_>,
    ) -> Subject<'c, 'a> {
        Subject {
            key: self.key,
            attempts,
            time: &context.time,
            queue_id: &self.envelope.queue_id,
            sender: self.envelope.reverse_path,
            size: self.payload.len,
        }
    }
}

impl Lists<'_> {
    /// Gives back to the system what one large message has made.
    pub(super) fn shrink(&mut self) {
        let (recipients, dispositions) = (&self.recipients, &self.verdict.dispositions);
        if recipients.capacity().max(dispositions.capacity()) > limits::RECIPIENTS_KEPT_MAX {
            *self = Self::default();
        }
    }

    fn recycle<'b>(self) -> Lists<'b> {
        Lists {
            recipients: emptied(self.recipients),
            fetched: self.fetched,
            verdict: self.verdict.recycle(),
        }
    }
}

impl Memory<'_> {
    /// The same memory, empty, for another batch.
    pub(super) fn recycle<'b>(mut self) -> Memory<'b> {
        if self.fields.capacity() > limits::RECIPIENTS_KEPT_MAX {
            self.fields = Vec::new();
        }
        Memory {
            fields: emptied(self.fields),
            batch: emptied(self.batch),
            lists: self.lists.into_iter().map(Lists::recycle).collect(),
        }
    }
}
