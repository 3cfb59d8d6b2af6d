//! The envelope of a framed message: read from its record, or made from its content where the
//! format has none.
//!
//! Where the format has none (mbox, Maildir, files): the reverse-path is that of the topmost
//! Return-Path field, else of the From_ line; the arrival is the From_ line's date, else that of
//! the topmost Received field, else the Date field; the forward-paths come from the first of the
//! named fields that is there ([`RecipientOrder`]). Not here: whether any of it is valid.

use super::files::{self, Folder};
use super::{DamageKind, Format, Found, Source, mbox, segment};
use crate::limits;
use crate::mail::address;
use crate::mail::content::Content;
use crate::mail::date::Time;
use crate::mail::envelope::{Envelope, QueueId, Recipient, ReversePath};
use crate::mail::header::{HeaderFacts, RecipientField};
use serde::{Deserialize, Serialize};

/// Which fields forward-paths are taken from: the first kind that the message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientOrder(pub [Option<RecipientSource>; 3]);

/// A kind of field that names recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecipientSource {
    /// All X-Original-To fields.
    XOriginalTo,
    /// The topmost Delivered-To field.
    DeliveredTo,
    /// All To, Cc and Bcc fields.
    To,
}

impl RecipientSource {
    const fn field(self) -> RecipientField {
        match self {
            Self::XOriginalTo => RecipientField::XOriginalTo,
            Self::DeliveredTo => RecipientField::DeliveredTo,
            Self::To => RecipientField::Destination,
        }
    }
}

impl Default for RecipientOrder {
    fn default() -> Self {
        use RecipientSource::{DeliveredTo, To, XOriginalTo};
        Self([Some(XOriginalTo), Some(DeliveredTo), Some(To)])
    }
}

/// The queue id of a message, by its format and place alone.
pub fn queue_id<'a>(source: &Source<'a>, found: &Found<'a>) -> QueueId<'a> {
    match source.format {
        Format::Maildir => QueueId::Given(files::unique_name(found.head, Folder::Maildir)),
        Format::Eml => QueueId::Given(files::unique_name(found.head, Folder::Eml)),
        _ => QueueId::Place { tag: source.tag, offset: found.offset },
    }
}

/// Name of the file that a message stands in.
pub fn file_name<'a>(source: &Source<'a>, found: &Found<'a>) -> &'a [u8] {
    if source.name.is_empty() { found.head } else { source.name }
}

/// Bytes of the content that go into a message's key.
const KEY_CONTENT_BYTES: usize = 128;

/// A number that is the same whenever this message of this queue is processed again, and that no
/// other message of it has: made from its name, its arrival, its length, its sender, the start of
/// its content, and in a segment, whose names nobody keeps apart, its place. Ids of events and
/// reports are made from it. `len` is the content's length.
pub fn key(
    source: &Source<'_>,
    offset: u64,
    envelope: &Envelope<'_>,
    (content, len): (Content<'_>, u64),
    scratch: &mut Vec<u8>,
) -> u64 {
    scratch.clear();
    envelope.queue_id.write(scratch);
    scratch.push(b' ');
    scratch.extend_from_slice(&envelope.arrival.map_or(0, |arrival| arrival.0).to_le_bytes());
    scratch.extend_from_slice(&len.to_le_bytes());
    scratch.extend_from_slice(envelope.reverse_path.bytes());
    if source.format == Format::Segment {
        scratch.extend_from_slice(&source.tag.to_le_bytes());
        scratch.extend_from_slice(&offset.to_le_bytes());
    }
    let end = scratch.len() + KEY_CONTENT_BYTES;
    for run in content.runs() {
        let room = end - scratch.len();
        scratch.extend_from_slice(run.get(..run.len().min(room)).unwrap_or_default());
        if scratch.len() == end {
            break;
        }
    }
    xxhash_rust::xxh3::xxh3_64(scratch)
}

/// What reading an envelope gives.
#[derive(Clone, Debug)]
pub enum Read<'a> {
    /// The envelope of a message that can be judged.
    Message(Envelope<'a>),
    /// The message has more of something than a message may have: it goes to quarantine whole,
    /// with what is known of its envelope. Where the envelope is made from the content, it has no
    /// recipients: they wouldn't be all.
    TooMuch(Envelope<'a>, DamageKind),
    /// The record's envelope can't be read: it is damage.
    Damaged(DamageKind),
}

impl<'a> Read<'a> {
    /// The envelope, if the message can be judged; else why not.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judged(self) -> Result<Envelope<'a>, DamageKind> {
        match self {
            Self::Message(envelope) => Ok(envelope),
            Self::TooMuch(_, kind) | Self::Damaged(kind) => Err(kind),
        }
    }
}

/// The envelope of a message; its recipients are put into `recipients`, which is emptied first.
///
/// Whether its header section is too long, only `facts` know.
pub fn read<'a>(
    source: &Source<'a>,
    found: &Found<'a>,
    facts: &HeaderFacts<'a>,
    order: RecipientOrder,
    recipients: &mut Vec<Recipient<'a>>,
) -> Read<'a> {
    let queue_id = queue_id(source, found);
    if source.format.has_envelope() {
        return match segment::read::envelope(found.head, queue_id, recipients) {
            Err(kind) => Read::Damaged(kind),
            Ok(envelope) if facts.is_cut => Read::TooMuch(envelope, DamageKind::HeaderBytes),
            Ok(envelope) => Read::Message(envelope),
        };
    }
    recipients.clear();
    let mut envelope = Envelope::new(queue_id);
    let is_mbox = source.format.mbox_kind().is_some();
    let from = if is_mbox { Some(mbox::from_line(found.head)) } else { None };
    envelope.reverse_path = match (facts.return_path, &from) {
        (Some(path), _) => ReversePath::from_path(path),
        (None, Some(from)) => from.reverse_path,
        (None, None) => ReversePath::Unknown,
    };
    envelope.arrival = from.and_then(|from| from.arrival).or_else(|| arrival(facts));
    if facts.is_cut {
        return Read::TooMuch(envelope, DamageKind::HeaderBytes);
    }
    for wanted in order.0.into_iter().flatten() {
        for (field, value) in &facts.recipients {
            if *field == wanted.field() {
                push_recipients(*field, value, recipients);
            }
        }
        if !recipients.is_empty() {
            break;
        }
    }
    if recipients.len() > limits::RECIPIENTS_MAX {
        recipients.clear();
        return Read::TooMuch(envelope, DamageKind::Recipients);
    }
    Read::Message(envelope)
}

fn push_recipients<'a>(field: RecipientField, value: &'a [u8], out: &mut Vec<Recipient<'a>>) {
    if field == RecipientField::Destination {
        address::each_address(value, |path| {
            // One too many is enough to know.
            if out.len() <= limits::RECIPIENTS_MAX {
                out.push(Recipient::new(path));
            }
        });
    } else {
        // These fields hold one address, as it is, whatever it looks like.
        out.push(Recipient::new(address::strip_brackets(value)));
    }
}

fn arrival(facts: &HeaderFacts<'_>) -> Option<Time> {
    let received = facts.received.and_then(|value| {
        let semicolon = memchr::memrchr(b';', value)?;
        Time::parse_mail(value.get(semicolon + 1..)?)
    });
    received.or_else(|| Time::parse_mail(facts.date?))
}
