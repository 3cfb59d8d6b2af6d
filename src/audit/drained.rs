//! Audits the slots of post offices that a drain has taken out: they are made again from what the
//! streams have kept (`replay`), and settled as if they were still there.
//!
//! Weaker in two cases than an audit of the queue itself: a message all of whose recipients have
//! failed has its content in reports alone, so that it isn't compared; one that is in no stream has
//! nothing but its events. Not here: the mailbags (`bags`).

use super::Kind;
use super::books;
use super::expect::Seen;
use super::part::Auditor;
use super::replay::Replay;
use crate::decide::Outcome;
use crate::mail::envelope::QueueId;
use crate::queue::postoffice::bag::RECORD_BYTES;
use crate::queue::postoffice::list::{Bag, BagList};
use crate::queue::{Format, Frames, Source, Visit as _};
use std::ops::Range;

impl Auditor<'_, '_> {
    /// Audits slots that a drain has taken out, as the streams have kept them.
    pub(super) fn replay(&mut self, list: &BagList, slots: Range<u64>) {
        for (bag, slots) in list.bags_of(slots) {
            let own_name = list.offices().iter().find(|tables| tables.path == bag.office);
            let own_name = own_name.map_or(&[][..], |tables| &tables.own_name);
            let replay = Replay::of(bag, own_name, slots, &self.books, &mut self.report);
            self.without_content = replay.without_content.iter().copied().collect();
            let name = bag.name.as_bytes();
            let source = Source { format: Format::PostOffice, name, tag: 0, bytes: &replay.mbg };
            let framed = replay.framed();
            // It reads nothing: it can't fail.
            let _ = self.batch(source, Frames::Slots(framed.iter()));
            for slot in &replay.eventless {
                self.without_record(bag, *slot);
            }
        }
    }

    /// The key of a message, and the size of its content, as an event of it has them.
    pub(super) fn told_of(&self, queue_id: &QueueId<'_>) -> Option<(u64, u64)> {
        let mut id = b"\"queue_id\":\"".to_vec();
        queue_id.write(&mut id);
        id.push(b'"');
        let finder = memchr::memmem::Finder::new(&id);
        let event = self.books.events.iter().find(|event| finder.find(event.line).is_some())?;
        let key = u64::from_str_radix(event.id.get(..16)?, 16).ok()?;
        Some((key, event.size?))
    }

    /// A message that is in no stream: all that it has is events of recipients that were expanded
    /// to nobody, or nothing, where all were done. Its content was counted by the run alone.
    fn without_record(&mut self, bag: &Bag, slot: u32) {
        let separator = if bag.office.is_empty() { "" } else { "/" };
        let start = format!("\"queue_id\":\"{}{separator}{}/{slot}-", bag.office, bag.bag());
        let finder = memchr::memmem::Finder::new(start.as_bytes());
        for event in &mut self.books.events {
            let is_of_it = !event.claimed && finder.find(event.line).is_some();
            let nowhere = event.outcome.is_some_and(|o| matches!(o, "expanded" | "duplicate"));
            if is_of_it && nowhere {
                event.claimed = true;
                self.report.dispositions += 1;
                self.report.counts.count(event.decided().unwrap_or(Outcome::Expanded));
            }
        }
        self.report.messages += 1;
        self.report.counts.messages += 1;
        self.has_all_contents = false;
        if let Some(manifest) = self.manifest {
            let offset = u64::from(slot) * RECORD_BYTES as u64;
            self.report.expected += 1;
            self.report.seen.insert(books::place(bag.name.as_bytes(), offset));
            let seen = Seen { checksum: None, quarantined: false, dispositions: Vec::new() };
            if let Err(what) = manifest.check(bag.name.as_bytes(), offset, &seen) {
                self.report.find(Kind::Wrong, format!("{}, offset {offset}", bag.name), what);
            }
        }
    }
}
