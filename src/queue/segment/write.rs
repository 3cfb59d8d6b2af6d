//! Makes records of the segment format, into buffers.
//!
//! Not here: files and offsets, which the caller knows. A record is appended in one go: head,
//! envelope, content; the head is filled in when the lengths and checksums are known. Nothing here
//! fails; an envelope longer than its limit can't arise from a message that was read within the
//! limits.

use super::{HEAD_LEN, HEADER_LEN, KIND_MESSAGE, KIND_REFERENCE, MAGIC, SYNC, VERSION, tag};
use crate::mail::content::Content;
use crate::mail::envelope::{Envelope, Ret, ReversePath};

/// The header of a segment file with this mark.
pub fn file_header(mark: u64) -> [u8; HEADER_LEN] {
    let mut header = Filler::<HEADER_LEN>::new();
    header.put(&MAGIC);
    header.put(&VERSION.to_le_bytes());
    header.put(&32_u16.to_le_bytes());
    header.put(&mark.to_le_bytes());
    header.put(&[0; 8]);
    header.seal()
}

/// A block of fixed length, filled from its start, with its CRC32C in the last four bytes.
struct Filler<const LEN: usize> {
    bytes: [u8; LEN],
    at: usize,
}

impl<const LEN: usize> Filler<LEN> {
    const fn new() -> Self {
        Self { bytes: [0; LEN], at: 0 }
    }

    fn put(&mut self, field: &[u8]) {
        if let Some(slot) = self.bytes.get_mut(self.at..self.at + field.len()) {
            slot.copy_from_slice(field);
        }
        self.at += field.len();
    }

    fn seal(mut self) -> [u8; LEN] {
        debug_assert_eq!(self.at + 4, LEN);
        if let Some((body, checksum)) = self.bytes.split_last_chunk_mut::<4>() {
            *checksum = crc32c::crc32c(body).to_le_bytes();
        }
        self.bytes
    }
}

/// Where a record goes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its offset in its file.
    pub offset: u64,
    /// The file's mark.
    pub mark: u64,
}

/// What stands behind a record's envelope, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The content, or the bytes of a reference to it.
    pub content: Content<'a>,
    /// Its length.
    pub len: u64,
    /// Its CRC32C.
    pub checksum: u32,
    /// It is a reference.
    pub is_reference: bool,
}

impl<'a> Payload<'a> {
    /// Measures a content.
    pub fn measure(content: Content<'a>) -> Self {
        Self::known(content, content.checksum())
    }

    /// A content whose CRC32C is known.
    pub fn known(content: Content<'a>, checksum: u32) -> Self {
        Self { content, len: content.len(), checksum, is_reference: false }
    }

    /// A reference, whose bytes these are.
    pub fn reference(bytes: &'a [u8]) -> Self {
        Self { is_reference: true, ..Self::measure(Content::plain(bytes)) }
    }
}

/// Appends a message's record without what stands behind its envelope, which must follow. Gives the
/// CRC32C of the head, which covers all.
pub fn append_head(
    out: &mut Vec<u8>,
    place: Place,
    payload: &Payload<'_>,
    envelope: impl FnOnce(&mut Fields<'_>),
) -> u32 {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_LEN]);
    envelope(&mut Fields { out });
    let body = out.get(start + HEAD_LEN..).unwrap_or_default();
    let envelope_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let envelope_checksum = crc32c::crc32c(body);
    let mut head = Filler::<HEAD_LEN>::new();
    head.put(&SYNC);
    head.put(&place.offset.to_le_bytes());
    head.put(&place.mark.to_le_bytes());
    let kind = if payload.is_reference { KIND_REFERENCE } else { KIND_MESSAGE };
    head.put(&kind.to_le_bytes());
    head.put(&[0; 2]);
    head.put(&envelope_len.to_le_bytes());
    head.put(&payload.len.to_le_bytes());
    head.put(&envelope_checksum.to_le_bytes());
    head.put(&payload.checksum.to_le_bytes());
    head.put(&[0; 4]);
    let head = head.seal();
    if let Some(slot) = out.get_mut(start..start + HEAD_LEN) {
        slot.copy_from_slice(&head);
    }
    head.last_chunk::<4>().map_or(0, |checksum| u32::from_le_bytes(*checksum))
}

/// Appends fields of an envelope: tag, length, value.
#[derive(Debug)]
pub struct Fields<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Fields<'o> {
    /// Fields that are appended here.
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }
}

impl Fields<'_> {
    /// A field of bytes.
    pub fn bytes(&mut self, tag: u16, value: &[u8]) {
        let [t1, t2] = tag.to_le_bytes();
        let [l1, l2, l3, l4] = u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.out.extend_from_slice(&[t1, t2, l1, l2, l3, l4]);
        self.out.extend_from_slice(value);
    }

    /// A field of four bytes.
    pub fn u32(&mut self, tag: u16, value: u32) {
        self.bytes(tag, &value.to_le_bytes());
    }

    /// A field whose value `write` appends.
    pub fn nested(&mut self, tag: u16, write: impl FnOnce(&mut Fields<'_>)) {
        let [t1, t2] = tag.to_le_bytes();
        self.out.extend_from_slice(&[t1, t2, 0, 0, 0, 0]);
        let length_at = self.out.len() - 4;
        write(&mut Fields { out: self.out });
        let length = u32::try_from(self.out.len() - length_at - 4).unwrap_or(u32::MAX);
        if let Some(slot) = self.out.get_mut(length_at..length_at + 4) {
            slot.copy_from_slice(&length.to_le_bytes());
        }
    }

    /// Fields that are written already.
    pub fn verbatim(&mut self, fields: &[u8]) {
        self.out.extend_from_slice(fields);
    }

    /// A field whose value is text that `write` appends.
    pub fn text(&mut self, tag: u16, write: impl FnOnce(&mut Vec<u8>)) {
        self.nested(tag, |fields| write(fields.out));
    }

    /// Where the message stood: file, offset, length.
    pub fn origin(&mut self, name: &[u8], offset: u64, length: u64) {
        self.nested(tag::ORIGIN, |fields| {
            fields.out.extend_from_slice(&offset.to_le_bytes());
            fields.out.extend_from_slice(&length.to_le_bytes());
            fields.out.extend_from_slice(name);
        });
    }

    /// What doesn't depend on the run: all of the envelope but reverse-path, attempts, times of
    /// trying and recipients.
    pub fn carried(&mut self, envelope: &Envelope<'_>) {
        self.nested(tag::QUEUE_ID, |fields| envelope.queue_id.write(fields.out));
        if let Some(arrival) = envelope.arrival {
            self.bytes(tag::ARRIVAL, &arrival.0.to_le_bytes());
        }
        if envelope.priority != 3 {
            self.bytes(tag::PRIORITY, &[envelope.priority]);
        }
        for hop in &envelope.hops {
            self.bytes(tag::HOP, hop);
        }
        if let Some(envid) = envelope.envid {
            self.bytes(tag::ENVID, envid);
        }
        if let Some(ret) = envelope.ret {
            self.bytes(tag::RET, &[if ret == Ret::Full { 1 } else { 2 }]);
        }
        if envelope.body != 0 {
            self.bytes(tag::BODY, &[envelope.body]);
        }
        if let Some(limit) = envelope.hop_limit {
            self.u32(tag::HOP_LIMIT, limit);
        }
        for original in &envelope.originals {
            self.bytes(tag::ORIGINAL, original);
        }
    }

    /// The reverse-path, where it is known.
    pub fn reverse_path(&mut self, reverse_path: ReversePath<'_>) {
        if reverse_path.is_known() {
            self.bytes(tag::REVERSE_PATH, reverse_path.bytes());
        }
    }

    /// How often it was tried, when it is tried again, when trying ends.
    pub fn schedule(&mut self, envelope: &Envelope<'_>) {
        if envelope.attempts != 0 {
            self.u32(tag::ATTEMPTS, envelope.attempts);
        }
        if let Some(at) = envelope.next_attempt {
            self.bytes(tag::NEXT_ATTEMPT, &at.0.to_le_bytes());
        }
        if let Some(at) = envelope.expiry {
            self.bytes(tag::EXPIRY, &at.0.to_le_bytes());
        }
    }
}
