//! Writes messages as one segment file.
//!
//! From a segment, and wherever framing gives an envelope as a segment has it, the envelope's bytes
//! are copied as they are: unknown fields and what a run noted are kept. From any other format the
//! envelope is written as it was read from the content. Not carried: records of a kind that reading
//! passes over.
//!
//! Invariant: the file's mark comes from the names of target and queue and the queue's length, so
//! that a second conversion gives the same bytes.

use super::target::Place;
use super::{DeliverError, Item};
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::Recipient;
use crate::queue::Queue;
use crate::queue::segment::{recipient_tag, tag, write};
use crate::spool::private;
use std::fs::File;
use std::io::{BufWriter, Write};
use xxhash_rust::xxh3::Xxh3;

pub(super) struct Writer {
    place: Place,
    out: BufWriter<File>,
    mark: u64,
    /// Where the next record begins.
    offset: u64,
    /// Head and envelope of a record.
    head: Vec<u8>,
}

impl Writer {
    pub(super) fn begin(place: Place, queue: &Queue) -> Result<Self, DeliverError> {
        let mut hash = Xxh3::new();
        hash.update(place.name());
        hash.update(b"\0");
        hash.update(queue.path().file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(&queue.total_bytes().to_le_bytes());
        let mark = hash.digest();
        let file = private::create_new(place.partial()).map_err(|source| place.failed(source))?;
        let mut out = BufWriter::with_capacity(limits::BUFFER_BYTES, file);
        let header = write::file_header(mark);
        out.write_all(&header).map_err(|source| place.failed(source))?;
        let offset = header.len() as u64;
        Ok(Self { place, out, mark, offset, head: Vec::new() })
    }

    /// Gives the length of the content.
    pub(super) fn message(&mut self, item: &Item<'_, '_>) -> Result<u64, DeliverError> {
        self.record(item.found.content, item.checksum, |fields| fill(fields, item))
    }

    /// Appends a record with an envelope of the caller's. Gives the length of the content.
    pub(super) fn record(
        &mut self,
        content: Content<'_>,
        checksum: Option<u32>,
        envelope: impl FnOnce(&mut write::Fields<'_>),
    ) -> Result<u64, DeliverError> {
        let checksum = checksum.unwrap_or_else(|| content.checksum());
        let payload = write::Payload::known(content, checksum);
        let place = write::Place { offset: self.offset, mark: self.mark };
        self.head.clear();
        write::append_head(&mut self.head, place, &payload, envelope);
        let written = self
            .out
            .write_all(&self.head)
            .and_then(|()| content.runs().try_for_each(|run| self.out.write_all(run)));
        written.map_err(|source| self.place.failed(source))?;
        self.offset += self.head.len() as u64 + payload.len;
        Ok(payload.len)
    }

    /// Gives the length of the file.
    pub(super) fn finish(mut self) -> Result<u64, DeliverError> {
        let synced = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        synced.map_err(|source| self.place.failed(source))?;
        self.place.finish()?;
        Ok(self.offset)
    }
}

/// Writes the envelope of a message as a segment has it.
pub(crate) fn fill(fields: &mut write::Fields<'_>, item: &Item<'_, '_>) {
    if item.format.has_envelope() {
        fields.verbatim(item.found.head);
        return;
    }
    fields.carried(item.envelope);
    fields.reverse_path(item.envelope.reverse_path);
    fields.schedule(item.envelope);
    for recipient in item.recipients {
        fields.nested(tag::RECIPIENT, |fields| fill_recipient(fields, recipient));
    }
}

pub(super) fn fill_recipient(fields: &mut write::Fields<'_>, recipient: &Recipient<'_>) {
    fields.bytes(recipient_tag::FORWARD_PATH, recipient.forward_path);
    if let Some(notify) = recipient.notify {
        fields.bytes(recipient_tag::NOTIFY, &[notify.0]);
    }
    if let Some(orcpt) = recipient.orcpt {
        fields.bytes(recipient_tag::ORCPT, orcpt);
    }
    if recipient.done {
        fields.bytes(recipient_tag::STATE, &[1]);
    }
}
