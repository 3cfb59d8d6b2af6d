//! Frames the records of a segment, and reads their envelopes.
//!
//! Any range can be framed alone: a record belongs to the range in which it begins, and a head is
//! good only at its own offset with its file's mark. Damage is given with its range; reading goes
//! on at the next good head. Nothing is copied.

use super::reference::{Reference, References};
use super::{HEAD_LEN, HEADER_LEN, KIND_MESSAGE, KIND_REFERENCE, MAGIC, SYNC, VERSION};
use super::{recipient_tag, tag};
use crate::limits;
use crate::mail::content::Content;
use crate::mail::date::Time;
use crate::mail::envelope::{Envelope, Notify, QueueId, Recipient, Ret, ReversePath};
use crate::queue::{Damage, DamageKind, Found, Framed, Lies};
use memchr::memmem;
use std::ops::Range;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A good header, with the file's mark.
    Good(u64),
    /// A version that this program doesn't know.
    Version(u16),
    /// Not a segment, or a damaged header.
    Bad,
}

/// Reads the header of a segment file.
pub fn header(file: &[u8]) -> Header {
    let Some(header) = file.first_chunk::<HEADER_LEN>() else { return Header::Bad };
    if !header.starts_with(&MAGIC) || u32_at(header, 28) != crc32c::crc32c(split(header, 28)) {
        return Header::Bad;
    }
    match u16_at(header, 8) {
        VERSION => Header::Good(u64_at(header, 12)),
        other => Header::Version(other),
    }
}

fn split(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(..at).unwrap_or_default()
}

fn array_at<const LEN: usize>(bytes: &[u8], at: usize) -> [u8; LEN] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; LEN])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// A good record head.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u16,
    envelope_len: usize,
    content_len: usize,
    envelope_checksum: u32,
    content_checksum: u32,
}

impl Head {
    /// The head at `offset`, if a good one stands there.
    fn read(file: &[u8], offset: usize, mark: u64) -> Option<Self> {
        let head = file.get(offset..)?.first_chunk::<HEAD_LEN>()?;
        let good = head.starts_with(&SYNC)
            && u64_at(head, 8) == offset as u64
            && u64_at(head, 16) == mark
            && u32_at(head, 52) == crc32c::crc32c(split(head, 52));
        let envelope_len = u32_at(head, 28) as usize;
        if !good || envelope_len > limits::ENVELOPE_BYTES_MAX {
            return None;
        }
        Some(Self {
            kind: u16_at(head, 24),
            envelope_len,
            content_len: usize::try_from(u64_at(head, 32)).ok()?,
            envelope_checksum: u32_at(head, 40),
            content_checksum: u32_at(head, 44),
        })
    }

    fn record_len(&self) -> Option<usize> {
        HEAD_LEN.checked_add(self.envelope_len)?.checked_add(self.content_len)
    }
}

/// Frames the records that begin in `range`, and the damage behind each of them (behind the header,
/// for the range that holds it).
pub fn frame(file: &[u8], range: Range<u64>) -> Records<'_> {
    let as_offset = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
    let (start, end) = (as_offset(range.start), as_offset(range.end));
    let (mark, first) = match header(file) {
        Header::Good(mark) => (mark, HEADER_LEN),
        // A file without its header has lost its mark; the first head that is good by itself gives
        // it again.
        Header::Version(_) | Header::Bad => (guess_mark(file).unwrap_or(0), 0),
    };
    let (checksum, contents) = (None, Contents::default());
    let mut records = Records { file, mark, at: first, end, checksum, contents };
    if start >= end {
        records.at = file.len();
    } else if start > 0 {
        records.at = records.next_good(start.max(first)).unwrap_or(file.len());
    }
    records
}

/// Envelope and content of the record at an offset, by the lengths in its head alone.
pub fn record_at(file: &[u8], offset: u64) -> Option<(&[u8], &[u8])> {
    let record = file.get(usize::try_from(offset).ok()?..)?;
    let (head, behind) = record.split_first_chunk::<HEAD_LEN>()?;
    let (envelope, behind) = behind.split_at_checked(u32_at(head, 28) as usize)?;
    let content = behind.get(..usize::try_from(u64_at(head, 32)).ok()?)?;
    head.starts_with(&SYNC).then_some((envelope, content))
}

/// Frames what [`frame`] gives of a range behind one of its records or damages, which ends where
/// `range` starts: damage that begins there belongs to it, even beyond the range's end.
pub fn frame_rest(file: &[u8], range: Range<u64>) -> Records<'_> {
    let mut records = frame(file, 0..range.end);
    records.at = usize::try_from(range.start).unwrap_or(usize::MAX).min(file.len());
    records
}

/// The mark of the first head that is good but for its mark.
fn guess_mark(file: &[u8]) -> Option<u64> {
    memmem::find_iter(file, &SYNC).find_map(|offset| {
        let mark = u64_at(file.get(offset..)?, 16);
        Head::read(file, offset, mark).map(|_| mark)
    })
}

/// Iterator of [`frame`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    file: &'a [u8],
    mark: u64,
    at: usize,
    end: usize,
    checksum: Option<u32>,
    contents: Contents<'a>,
}

/// What framing does with contents.
#[derive(Clone, Copy, Debug, Default)]
struct Contents<'a> {
    references: Option<&'a References>,
    /// References are given as they stand: the content is empty then.
    unfollowed: bool,
    /// Contents within the segment aren't held against their checksums.
    unread: bool,
}

impl<'a> Records<'a> {
    /// The same, with references followed; without them, a record with one is damage.
    #[must_use]
    pub const fn following(mut self, references: &'a References) -> Self {
        self.contents.references = Some(references);
        self
    }

    /// The same, with references given as they stand: the content of such a message is empty.
    #[must_use]
    pub const fn unfollowed(mut self) -> Self {
        self.contents.unfollowed = true;
        self
    }

    /// The same, but no content within the segment is read: whoever reads one holds it against
    /// [`Self::content_checksum`] first.
    #[must_use]
    pub const fn unread(mut self) -> Self {
        self.contents.unread = true;
        self
    }

    /// CRC32C of the content of the message given last, where its record or reference says it and
    /// it needn't be computed again.
    pub const fn content_checksum(&self) -> Option<u32> {
        self.checksum
    }

    fn next_good(&self, from: usize) -> Option<usize> {
        let rest = self.file.get(from..)?;
        memmem::find_iter(rest, &SYNC)
            .map(|at| from + at)
            .find(|&at| Head::read(self.file, at, self.mark).is_some())
    }

    /// Damage from `start` up to the next good head behind it.
    fn damage_to_next(&mut self, start: usize, kind: DamageKind) -> Framed<'a> {
        let next = self.next_good(start + 1);
        let end = next.unwrap_or(self.file.len());
        self.at = end;
        let kind = if next.is_none() && kind == DamageKind::Head && self.tail_is_short(start) {
            DamageKind::TornTail
        } else {
            kind
        };
        Framed::Damage(Damage { offset: start as u64, length: (end - start) as u64, kind })
    }

    /// What is left is too short for a head, but begins like one: it was torn off.
    fn tail_is_short(&self, start: usize) -> bool {
        let tail = self.file.get(start..).unwrap_or_default();
        tail.len() < HEAD_LEN && tail.iter().zip(SYNC).all(|(a, b)| *a == b)
    }

    fn record(&mut self, start: usize, head: Head) -> Option<Framed<'a>> {
        let end = head.record_len().and_then(|len| start.checked_add(len));
        let Some(end) = end.filter(|&end| end <= self.file.len()) else {
            return Some(self.damage_to_next(start, DamageKind::TornTail));
        };
        self.at = end;
        if head.kind != KIND_MESSAGE && head.kind != KIND_REFERENCE {
            return None;
        }
        let envelope_at = start + HEAD_LEN;
        let content_at = envelope_at + head.envelope_len;
        let envelope = self.file.get(envelope_at..content_at).unwrap_or_default();
        let content = self.file.get(content_at..end).unwrap_or_default();
        let (offset, length) = (start as u64, (end - start) as u64);
        let damage = |kind| Some(Framed::Damage(Damage { offset, length, kind }));
        if crc32c::crc32c(envelope) != head.envelope_checksum {
            return damage(DamageKind::Envelope);
        }
        let is_reference = head.kind == KIND_REFERENCE;
        let is_read = is_reference || !self.contents.unread;
        if is_read && crc32c::crc32c(content) != head.content_checksum {
            return damage(DamageKind::Content);
        }
        let (content, lies) = if is_reference {
            let Some((reference, content)) = self.contents.of_reference(content) else {
                return damage(DamageKind::Reference);
            };
            self.checksum = (!content.is_quoted()).then_some(reference.checksum);
            (content, Lies::There(reference))
        } else {
            self.checksum = Some(head.content_checksum);
            (Content::plain(content), Lies::Here(content_at as u64))
        };
        let found = Found::new(offset, length, envelope, content);
        Some(Framed::Message(Found { lies, ..found }))
    }

    /// Whether the record here is a reference that is to be left to the next stretch.
    fn is_for_later(&self, start: usize, head: &Head) -> bool {
        let references = self.contents.references.filter(|_| head.kind == KIND_REFERENCE);
        references.is_some_and(|references| references.stops_before(start))
    }
}

impl<'a> Contents<'a> {
    /// A reference, and the content that it leads to.
    fn of_reference(self, bytes: &'a [u8]) -> Option<(Reference<'a>, Content<'a>)> {
        let reference = Reference::read(bytes)?;
        if self.unfollowed {
            return Some((reference, Content::default()));
        }
        Some((reference, self.references?.follow(&reference)?))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Framed<'a>;

    fn next(&mut self) -> Option<Framed<'a>> {
        // Damage is told by the range of the record before it, even beyond the range's end: the
        // next range begins at its first good head.
        while self.at < self.file.len() {
            let start = self.at;
            let Some(head) = Head::read(self.file, start, self.mark) else {
                return Some(self.damage_to_next(start, DamageKind::Head));
            };
            if start >= self.end {
                return None;
            }
            if self.is_for_later(start, &head) {
                self.at = self.file.len();
                return None;
            }
            if let Some(framed) = self.record(start, head) {
                return Some(framed);
            }
        }
        None
    }
}

/// The fields of an envelope or a recipient: tag and value. `None` within: a field that reaches
/// past the end.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = (|| {
            let (head, behind) = rest.split_first_chunk::<6>()?;
            let (value, next) = behind.split_at_checked(u32_at(head, 2) as usize)?;
            rest = next;
            Some((u16_at(head, 0), value))
        })();
        if field.is_none() {
            rest = &[];
        }
        Some(field)
    })
}

/// What a record of a run's stream says about the run, beside the envelope.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notes<'a> {
    /// The message's name, where the record has one.
    pub queue_id: Option<&'a [u8]>,
    /// Where the message stood in the queue: name, offset, length.
    pub origin: Option<(&'a [u8], u64, u64)>,
    /// How many dispositions the message had.
    pub dispositions: Option<u32>,
    /// Why it is here.
    pub reason: Option<&'a [u8]>,
    /// For a report: the queue id of the message that it is about.
    pub report_of: Option<&'a [u8]>,
}

/// What a recipient of a stream's record says about the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecipientNotes<'a> {
    /// The forward-path.
    pub forward_path: &'a [u8],
    /// Outcome, as in docs/segment.md; 0 when absent.
    pub outcome: u8,
    /// Enhanced status.
    pub status: &'a [u8],
    /// The original system's number of the error; 0 when absent.
    pub number: u16,
    /// Index of the disposition.
    pub disposition: Option<u32>,
    /// Index of the recipient in the queued message.
    pub ordinal: Option<u32>,
    /// It is one that a report is about (tag 17), not one of the envelope (tag 15).
    pub reported: bool,
    /// Where it is handed to.
    pub route: &'a [u8],
    /// Text for people.
    pub diagnostic: &'a [u8],
}

/// Reads an envelope; its recipients are put into `recipients`, which is emptied first.
///
/// # Errors
/// [`DamageKind::Envelope`]: a field reaches past the end or has a wrong length.
/// [`DamageKind::Recipients`], [`DamageKind::Hops`]: before any such field there are more than
/// [`limits::RECIPIENTS_MAX`] recipients or [`limits::ENVELOPE_HOPS_MAX`] hops or originals.
pub fn envelope<'a>(
    bytes: &'a [u8],
    fallback: QueueId<'a>,
    recipients: &mut Vec<Recipient<'a>>,
) -> Result<Envelope<'a>, DamageKind> {
    let mut kind = DamageKind::Envelope;
    envelope_or(bytes, fallback, recipients, &mut kind).ok_or(kind)
}

/// The same; `kind` is set to what there is too much of.
fn envelope_or<'a>(
    bytes: &'a [u8],
    fallback: QueueId<'a>,
    recipients: &mut Vec<Recipient<'a>>,
    kind: &mut DamageKind,
) -> Option<Envelope<'a>> {
    recipients.clear();
    let mut envelope = Envelope::new(fallback);
    for field in fields(bytes) {
        let (tag, value) = field?;
        match tag {
            tag::QUEUE_ID => envelope.queue_id = QueueId::Written(name(value)?),
            tag::ARRIVAL => envelope.arrival = Some(time(value)?),
            tag::REVERSE_PATH if value.is_empty() => envelope.reverse_path = ReversePath::Null,
            tag::REVERSE_PATH => envelope.reverse_path = ReversePath::Path(value),
            tag::ATTEMPTS => envelope.attempts = u32::from_le_bytes(value.try_into().ok()?),
            tag::NEXT_ATTEMPT => envelope.next_attempt = Some(time(value)?),
            tag::EXPIRY => envelope.expiry = Some(time(value)?),
            tag::PRIORITY => envelope.priority = byte(value)?,
            tag::HOP if envelope.hops.len() < limits::ENVELOPE_HOPS_MAX => {
                envelope.hops.push(value);
            }
            tag::ENVID => envelope.envid = Some(value),
            tag::RET => envelope.ret = Some(if byte(value)? == 1 { Ret::Full } else { Ret::Hdrs }),
            tag::BODY => envelope.body = byte(value)?,
            tag::HOP_LIMIT => envelope.hop_limit = Some(u32::from_le_bytes(value.try_into().ok()?)),
            tag::ORIGINAL if value.is_empty() => return None,
            tag::ORIGINAL if envelope.originals.len() < limits::ENVELOPE_HOPS_MAX => {
                envelope.originals.push(value);
            }
            tag::RECIPIENT if recipients.len() < limits::RECIPIENTS_MAX => {
                let recipient = recipient(value)?;
                if !recipient.is_nobody {
                    recipients.push(recipient.of_envelope);
                }
            }
            tag::RECIPIENT => {
                *kind = DamageKind::Recipients;
                return None;
            }
            tag::HOP | tag::ORIGINAL => {
                *kind = DamageKind::Hops;
                return None;
            }
            _ => check_length(tag, value)?,
        }
    }
    Some(envelope)
}

/// A queue id.
fn name(value: &[u8]) -> Option<&[u8]> {
    (1..=255).contains(&value.len()).then_some(value)
}

/// Fields that the envelope doesn't keep: a wrong length damages the record all the same, so that
/// all readers agree on what is damage.
fn check_length(tag: u16, value: &[u8]) -> Option<()> {
    match tag {
        tag::ORIGIN if value.len() < 16 => None,
        tag::DISPOSITIONS if value.len() != 4 => None,
        tag::REPORT_OF => name(value).map(|_| ()),
        tag::REPORTED => recipient(value).map(drop),
        _ => Some(()),
    }
}

/// A recipient of a record.
struct Read<'a> {
    of_envelope: Recipient<'a>,
    /// It stands for the one disposition of a message that has no recipients, and is none.
    is_nobody: bool,
}

fn recipient(bytes: &[u8]) -> Option<Read<'_>> {
    let mut recipient = Recipient::new(b"");
    let (mut is_disposition, mut has_ordinal) = (false, false);
    for field in fields(bytes) {
        let (tag, value) = field?;
        match tag {
            recipient_tag::FORWARD_PATH => recipient.forward_path = value,
            recipient_tag::NOTIFY => recipient.notify = Some(Notify(byte(value)?)),
            recipient_tag::ORCPT => recipient.orcpt = Some(value),
            recipient_tag::STATE => recipient.done = byte(value)? == 1,
            recipient_tag::OUTCOME if value.len() != 1 => return None,
            recipient_tag::NUMBER if value.len() != 2 => return None,
            recipient_tag::DISPOSITION | recipient_tag::ORDINAL if value.len() != 4 => return None,
            recipient_tag::DISPOSITION => is_disposition = true,
            recipient_tag::ORDINAL => has_ordinal = true,
            _ => {}
        }
    }
    let is_nobody = recipient.forward_path.is_empty() && is_disposition && !has_ordinal;
    Some(Read { of_envelope: recipient, is_nobody })
}

/// Reads what a stream's record says about its run; calls `each` for every recipient and every
/// reported one.
pub fn notes<'a>(bytes: &'a [u8], mut each: impl FnMut(RecipientNotes<'a>)) -> Option<Notes<'a>> {
    let mut notes = Notes::default();
    for field in fields(bytes) {
        let (tag, value) = field?;
        match tag {
            tag::QUEUE_ID => notes.queue_id = Some(value),
            tag::ORIGIN => {
                let (numbers, name) = value.split_first_chunk::<16>()?;
                notes.origin = Some((name, u64_at(numbers, 0), u64_at(numbers, 8)));
            }
            tag::DISPOSITIONS => {
                notes.dispositions = Some(u32::from_le_bytes(value.try_into().ok()?));
            }
            tag::REASON => notes.reason = Some(value),
            tag::REPORT_OF => notes.report_of = Some(value),
            tag::RECIPIENT => each(recipient_notes(value, false)?),
            tag::REPORTED => each(recipient_notes(value, true)?),
            _ => {}
        }
    }
    Some(notes)
}

fn recipient_notes(bytes: &[u8], reported: bool) -> Option<RecipientNotes<'_>> {
    let mut notes = RecipientNotes { reported, ..RecipientNotes::default() };
    let number = |value: &[u8]| Some(u32::from_le_bytes(value.try_into().ok()?));
    for field in fields(bytes) {
        let (tag, value) = field?;
        match tag {
            recipient_tag::FORWARD_PATH => notes.forward_path = value,
            recipient_tag::OUTCOME => notes.outcome = byte(value)?,
            recipient_tag::STATUS => notes.status = value,
            recipient_tag::NUMBER => notes.number = u16::from_le_bytes(value.try_into().ok()?),
            recipient_tag::ROUTE => notes.route = value,
            recipient_tag::DIAGNOSTIC => notes.diagnostic = value,
            recipient_tag::DISPOSITION => notes.disposition = Some(number(value)?),
            recipient_tag::ORDINAL => notes.ordinal = Some(number(value)?),
            _ => {}
        }
    }
    Some(notes)
}

fn time(value: &[u8]) -> Option<Time> {
    Some(Time(i64::from_le_bytes(value.try_into().ok()?)))
}

fn byte(value: &[u8]) -> Option<u8> {
    match value {
        [byte] => Some(*byte),
        _ => None,
    }
}
