//! What stands in the records of a run's streams: the envelope as it goes on, and what the run has
//! decided.
//!
//! A message has one record in each stream that it goes to; members of a list with an owner have
//! one of their own, because they leave with another reverse-path. Each says where the message
//! stood in the queue, and which of its dispositions it carries out: from that `audit` proves that
//! nothing is lost. Not here: rendering of reports and events. Nothing here can fail.

use super::Stream;
use super::part::Part;
use crate::decide::{Disposition, Outcome, Verdict};
use crate::mail::content::Content;
use crate::mail::date::Time;
use crate::mail::envelope::{Envelope, QueueId, Recipient, ReversePath, write_hex};
use crate::queue::segment::write::{Fields, Payload};
use crate::queue::segment::{recipient_tag, tag};
use smallvec::SmallVec;

/// A message of the queue, judged.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'c, 'a> {
    /// Its envelope, as it stood in the queue.
    pub envelope: &'c Envelope<'a>,
    /// Its recipients, as they stood there.
    pub recipients: &'c [Recipient<'c>],
    /// What was decided.
    pub verdict: &'c Verdict<'c>,
    /// Where it stood.
    pub origin: Origin<'c>,
    /// Its content.
    pub payload: Payload<'c>,
    /// What its accepted records have instead, where the content stays in the queue.
    pub reference: Option<Payload<'c>>,
}

/// Where a message stood in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Name of the file within the queue.
    pub name: &'a [u8],
    /// Offset in it.
    pub offset: u64,
    /// Length from there, with what the format puts around it.
    pub length: u64,
}

/// The number that stands for an outcome in a record (docs/segment.md).
pub const fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Delivered => 1,
        Outcome::Relayed => 2,
        Outcome::Deferred => 3,
        Outcome::Failed => 4,
        Outcome::DeadLetter(_) => 5,
        Outcome::Expanded | Outcome::Duplicate => 0,
    }
}

/// What goes into one record: a stream, and the owner of a list whose members leave by it.
type Group<'a> = (Stream, Option<&'a [u8]>);

impl<'c> Judged<'c, '_> {
    fn dispositions(&self) -> &'c [Disposition<'c>] {
        &self.verdict.dispositions
    }

    fn count(&self) -> u32 {
        u32::try_from(self.dispositions().len()).unwrap_or(u32::MAX)
    }

    /// Appends the message's records to the streams of mail: accepted, deferred, dead letters.
    pub fn append(&self, part: &mut Part, hostname: &str) {
        let mut groups = SmallVec::<[Group<'_>; 4]>::new();
        for disposition in self.dispositions() {
            let Some(stream) = Stream::of(disposition.outcome) else { continue };
            // The latest first: neighbours nearly always go the same way.
            let group = (stream, disposition.owner);
            if stream != Stream::Ndr && !groups.iter().rev().any(|seen| *seen == group) {
                groups.push(group);
            }
        }
        for (stream, owner) in groups {
            let reverse_path = owner.map_or(self.envelope.reverse_path, ReversePath::Path);
            let is_here = |index: usize| {
                self.dispositions().get(index).is_some_and(|disposition| {
                    Stream::of(disposition.outcome) == Some(stream) && disposition.owner == owner
                })
            };
            let reference = self.reference.as_ref().filter(|_| stream == Stream::Accepted);
            let payload = reference.unwrap_or(&self.payload);
            part.record(stream, payload, reference.is_none(), |fields| {
                self.fields(fields, stream, reverse_path, is_here, hostname);
            });
        }
    }

    /// The envelope of the message's record in a stream, with the dispositions that it carries out.
    pub fn fields(
        &self,
        out: &mut Fields<'_>,
        stream: Stream,
        reverse_path: ReversePath<'_>,
        is_here: impl Fn(usize) -> bool,
        hostname: &str,
    ) {
        out.carried(self.envelope);
        if stream == Stream::Accepted {
            out.bytes(tag::HOP, hostname.as_bytes());
        }
        out.reverse_path(reverse_path);
        match stream {
            Stream::Deferred => self.schedule(out),
            // A replay counts on from here.
            Stream::DeadLetter if self.verdict.attempts != 0 => {
                out.u32(tag::ATTEMPTS, self.verdict.attempts);
            }
            _ => {}
        }
        out.origin(self.origin.name, self.origin.offset, self.origin.length);
        out.u32(tag::DISPOSITIONS, self.count());
        let mut reason = None;
        for (index, disposition) in self.dispositions().iter().enumerate() {
            if is_here(index) {
                out.nested(tag::RECIPIENT, |out| self.recipient(out, index, disposition));
                if let Outcome::DeadLetter(why) = disposition.outcome {
                    reason = reason.or(Some(why));
                }
            }
        }
        if let Some(reason) = reason {
            out.bytes(tag::REASON, reason.text().as_bytes());
        }
    }

    fn schedule(&self, out: &mut Fields<'_>) {
        let time = |time: Time| time.0.to_le_bytes();
        out.u32(tag::ATTEMPTS, self.verdict.attempts);
        if let Some(at) = self.verdict.next_attempt {
            out.bytes(tag::NEXT_ATTEMPT, &time(at));
        }
        if let Some(at) = self.verdict.expiry {
            out.bytes(tag::EXPIRY, &time(at));
        }
    }

    fn recipient(&self, out: &mut Fields<'_>, index: usize, disposition: &Disposition<'_>) {
        out.bytes(recipient_tag::FORWARD_PATH, disposition.address);
        let queued = disposition.ordinal.and_then(|ordinal| self.recipients.get(ordinal as usize));
        if let Some(notify) = queued.and_then(|queued| queued.notify) {
            out.bytes(recipient_tag::NOTIFY, &[notify.0]);
        }
        if let Some(orcpt) = queued.and_then(|queued| queued.orcpt) {
            out.bytes(recipient_tag::ORCPT, orcpt);
        }
        out.bytes(recipient_tag::OUTCOME, &[outcome_number(disposition.outcome)]);
        out.text(recipient_tag::STATUS, |out| disposition.status.write(out));
        if disposition.number != 0 {
            out.bytes(recipient_tag::NUMBER, &disposition.number.to_le_bytes());
        }
        if !disposition.route.is_empty() {
            out.bytes(recipient_tag::ROUTE, disposition.route);
        }
        out.u32(recipient_tag::DISPOSITION, u32::try_from(index).unwrap_or(u32::MAX));
        if let Some(ordinal) = disposition.ordinal {
            out.u32(recipient_tag::ORDINAL, ordinal);
        }
        if !disposition.detail.is_empty() {
            out.bytes(recipient_tag::DIAGNOSTIC, disposition.detail);
        }
    }

    /// Appends the report to `to`, whose content is `report`.
    pub fn append_report(&self, part: &mut Part, to: &[u8], report: &Report<'_>) {
        let payload = Payload::measure(Content::plain(report.content));
        part.record(Stream::Ndr, &payload, false, |out| self.report_fields(out, to, report));
    }

    /// The envelope of a report's record.
    pub fn report_fields(&self, out: &mut Fields<'_>, to: &[u8], report: &Report<'_>) {
        out.text(tag::QUEUE_ID, |out| {
            write_hex(report.key, 16, out);
            out.push(b'N');
            write_hex(u64::from(report.index), 1, out);
        });
        out.bytes(tag::ARRIVAL, &report.now.0.to_le_bytes());
        out.reverse_path(ReversePath::Null);
        out.origin(self.origin.name, self.origin.offset, self.origin.length);
        out.u32(tag::DISPOSITIONS, self.count());
        out.text(tag::REPORT_OF, |out| self.envelope.queue_id.write(out));
        for original in &self.envelope.originals {
            out.bytes(tag::ORIGINAL, original);
        }
        out.nested(tag::RECIPIENT, |out| out.bytes(recipient_tag::FORWARD_PATH, to));
        for (index, disposition) in self.dispositions().iter().enumerate() {
            if disposition.outcome == Outcome::Failed && disposition.report_to == to {
                out.nested(tag::REPORTED, |out| self.recipient(out, index, disposition));
            }
        }
    }
}

/// A report, rendered.
#[derive(Clone, Copy, Debug)]
pub struct Report<'c> {
    /// Stable id of the message that it is about.
    pub key: u64,
    /// Which report about the message it is.
    pub index: u32,
    /// The run's time.
    pub now: Time,
    /// The report.
    pub content: &'c [u8],
}

/// The envelope of what is quarantined, as far as it could be read.
#[derive(Clone, Copy, Debug)]
pub enum Known<'c, 'a> {
    /// Nothing but a name.
    Name(QueueId<'a>),
    /// The envelope's own bytes, of a segment's record.
    Verbatim(&'a [u8]),
    /// The envelope that was made from the content.
    Envelope(&'c Envelope<'a>, &'c [Recipient<'a>]),
}

/// How the reason of a message begins that a fault struck: it can be tried again. Other reasons say
/// that there is no message to try, or that it would end here again.
pub const FAULT: &[u8] = b"fault in ";

/// Appends a message, or damage, to quarantine, with what is known of its envelope and the reason.
pub fn append_quarantine(
    part: &mut Part,
    known: Known<'_, '_>,
    origin: Origin<'_>,
    payload: &Payload<'_>,
    reason: &[u8],
) {
    part.record(Stream::Quarantine, payload, true, |out| {
        quarantine_fields(out, known, origin, reason);
    });
}

/// The envelope of a record in quarantine.
pub fn quarantine_fields(
    out: &mut Fields<'_>,
    known: Known<'_, '_>,
    origin: Origin<'_>,
    reason: &[u8],
) {
    match known {
        Known::Name(queue_id) => out.text(tag::QUEUE_ID, |out| queue_id.write(out)),
        Known::Verbatim(bytes) => out.verbatim(bytes),
        Known::Envelope(envelope, recipients) => {
            out.carried(envelope);
            out.reverse_path(envelope.reverse_path);
            out.schedule(envelope);
            for recipient in recipients {
                out.nested(tag::RECIPIENT, |out| {
                    out.bytes(recipient_tag::FORWARD_PATH, recipient.forward_path);
                });
            }
        }
    }
    // Of several fields the last counts: these stand behind what is verbatim.
    out.origin(origin.name, origin.offset, origin.length);
    out.bytes(tag::REASON, reason);
}
