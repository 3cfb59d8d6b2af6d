//! The slots of a post office's mailbag that a drain has taken out, as they were: from what the
//! records of the streams have kept of them (docs/segment.md, *original*).
//!
//! A slot is what the plan says by its checksum. Not here: whether its message is where it belongs
//! (`bags`), and what must be in the books (`part`). Invariant: a slot that can't be made again
//! is a finding, or one that no record tells of.

use super::books::{Books, Record, place};
use super::{Kind, Report};
use crate::mail::envelope::{Envelope, QueueId};
use crate::queue::Framed;
use crate::queue::postoffice::bag::RECORD_BYTES;
use crate::queue::postoffice::list::{Bag, Slot};
use crate::queue::postoffice::message::{BagReader, ContentFrom, Files, Piece};
use crate::queue::segment::{original, read};
use crate::spool::Stream;

/// The slots of a bag, made again.
#[derive(Debug, Default)]
pub(super) struct Replay {
    arena: Vec<u8>,
    pieces: Vec<Piece>,
    /// The MBG as far as it is known; zeros elsewhere.
    pub(super) mbg: Vec<u8>,
    /// Offsets of messages whose content isn't known: all their recipients have failed, and reports
    /// have only some of it.
    pub(super) without_content: Vec<u64>,
    /// Slots that no record tells of: all their recipients were expanded to nobody, or were done.
    pub(super) eventless: Vec<u32>,
}

impl Replay {
    /// Makes the slots of a bag again.
    pub(super) fn of(
        bag: &Bag,
        own_name: &[u8],
        slots: &[Slot],
        books: &Books<'_>,
        report: &mut Report,
    ) -> Self {
        let mut replay = Self::default();
        let mut reader = BagReader::without_files(bag, own_name);
        for slot in slots {
            let offset = u64::from(slot.slot) * RECORD_BYTES as u64;
            let indexes = books.by_place.get(&place(bag.name.as_bytes(), offset));
            let records = indexes.into_iter().flatten().filter_map(|at| books.records.get(*at));
            let records: Vec<&Record<'_>> = records.collect();
            if records.is_empty() {
                replay.eventless.push(slot.slot);
            } else if !replay.slot(&mut reader, *slot, offset, &records) {
                let place = format!("{}, offset {offset}", bag.name);
                let what = "no record of it has kept what was in the slot when it was planned";
                report.find(Kind::Wrong, place, what);
            }
        }
        replay
    }

    /// False where no record has the slot as it was planned.
    fn slot(
        &mut self,
        reader: &mut BagReader,
        slot: Slot,
        offset: u64,
        records: &[&Record<'_>],
    ) -> bool {
        let is_planned = |bytes: &&[u8]| crc32c::crc32c(bytes) == slot.checksum;
        let mut recipients = Vec::new();
        for record in records {
            let envelope = read::envelope(record.found.head, QueueId::Given(b""), &mut recipients);
            let Ok(envelope) = envelope else { continue };
            let kept = original_of(&envelope, original::RECORD).filter(is_planned);
            let Some(kept) = kept.and_then(|bytes| <&[u8; RECORD_BYTES]>::try_from(bytes).ok())
            else {
                continue;
            };
            self.put(offset, kept);
            let whole = records.iter().find(|record| record.stream != Stream::Ndr);
            let content = whole.map(|record| ContentFrom::Known(record.found.content.raw()));
            if content.is_none() {
                self.without_content.push(offset);
            }
            let files = Files {
                p1: original_of(&envelope, original::P1),
                mai: original_of(&envelope, original::MAI),
                content: content.unwrap_or(ContentFrom::Known(b"")),
            };
            let piece = reader.again(slot.slot, kept, files, &mut self.arena);
            self.pieces.push(piece);
            return true;
        }
        // Damage is in quarantine as it was.
        let raw = records.iter().map(|record| record.found.content.raw()).find(is_planned);
        let Some(raw) = raw else { return false };
        self.put(offset, raw);
        self.pieces.push(Piece::damage(offset, raw.len()));
        true
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        let Ok(at) = usize::try_from(offset) else { return };
        if self.mbg.len() < at + bytes.len() {
            self.mbg.resize(at + bytes.len(), 0);
        }
        if let Some(place) = self.mbg.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// The slots, as framing gives them.
    pub(super) fn framed(&self) -> Vec<Framed<'_>> {
        self.pieces.iter().map(|piece| piece.framed(&self.arena)).collect()
    }
}

fn original_of<'a>(envelope: &Envelope<'a>, kind: u8) -> Option<&'a [u8]> {
    let of_kind = |original: &&'a [u8]| original.first() == Some(&kind);
    envelope.originals.iter().copied().find(of_kind).and_then(|original| original.get(1..))
}
