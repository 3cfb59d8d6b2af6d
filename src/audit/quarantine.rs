//! Audits what of a part is in quarantine: messages that were set aside, and damaged ranges.
//!
//! Each is there once, byte for byte, with one event that says so, and one that it can't be read
//! where it is damage. Not here: what its record and its events must say (`again`).

use super::Kind;
use super::again::quarantine_differs;
use super::books;
use super::part::{Again, Auditor};
use crate::mail::content::Content;
use crate::mail::envelope::{Envelope, QueueId};
use crate::queue::{Damage, Found, Source};
use crate::spool::Stream;
use crate::spool::record::{FAULT, Known, Origin};

impl Auditor<'_, '_> {
    /// A message in quarantine: one record with the whole content, one event that it was set aside,
    /// nothing else.
    pub(super) fn quarantined(
        &mut self,
        again: &Again<'_, '_>,
        (key, bare_key): (u64, u64),
        records: &[usize],
        events: &[usize],
    ) {
        self.report.counts.quarantined += 1;
        let found_before = self.report.found();
        if records.len() > 1 {
            self.find(Kind::Doubled, again, "it is in quarantine, and in another record");
        }
        let held = records.first().and_then(|index| self.books.records.get(*index));
        if held.is_some_and(|record| !record.holds(again.found.content, again.checksum)) {
            self.find(Kind::Wrong, again, "its content in quarantine is another");
        }
        self.one_set_aside(&again.place(), events, Stream::Quarantine);
        let told = events.iter().filter_map(|at| self.books.events.get(*at)).collect::<Vec<_>>();
        let Some(record) = records.first().and_then(|at| self.books.records.get(*at)) else {
            return;
        };
        let Found { offset, length, content, head, set_aside, .. } = again.found;
        // A fault may strike whatever a message is.
        let reason = record.notes.reason.unwrap_or_default();
        if reason != set_aside.unwrap_or(reason) && !reason.starts_with(FAULT) {
            self.find(Kind::Wrong, again, "it is in quarantine for another reason");
            return;
        }
        let origin = Origin { name: again.name, offset, length };
        let bare = Envelope::new(again.place_id);
        let known = [
            Known::Verbatim(head),
            Known::Name(again.place_id),
            Known::Envelope(again.envelope, again.recipients),
        ];
        let size = content.len();
        let subjects = [
            self.hand.subject(key, again.envelope.attempts, again.envelope, size),
            self.hand.subject(bare_key, 0, &bare, size),
        ];
        let differs = quarantine_differs((record, &known, origin), &told, &subjects, false);
        if let Some((place, what)) = differs.filter(|_| self.report.found() == found_before) {
            self.find(Kind::Wrong, again, format!("{what} than it has to ({place})"));
        }
    }

    /// There is exactly one event that the message was set aside into this stream.
    pub(super) fn one_set_aside(&mut self, place: &str, events: &[usize], stream: Stream) {
        let count = events
            .iter()
            .filter_map(|index| self.books.events.get(*index))
            .filter(|event| event.stream == Some(stream.name()))
            .count();
        match count {
            1 => {}
            0 => {
                let what = format!("no event says that it was set aside into {}", stream.name());
                self.report.find(Kind::Lost, place, what);
            }
            _ => self.report.find(Kind::Doubled, place, "two events say that it was set aside"),
        }
    }

    /// A damaged range: one record in quarantine with its bytes, one event.
    pub(super) fn damage(&mut self, source: &Source<'_>, damage: Damage) {
        self.report.counts.damaged += 1;
        let range = usize::try_from(damage.offset)
            .ok()
            .zip(usize::try_from(damage.offset + damage.length).ok());
        let bytes = range.and_then(|(start, end)| source.bytes.get(start..end));
        let content = Content::plain(bytes.unwrap_or_default());
        let place = format!("{}, offset {}", String::from_utf8_lossy(source.name), damage.offset);
        let records = self.claim_records(source.name, damage.offset);
        let id = QueueId::Place { tag: source.tag, offset: damage.offset };
        let key = self.key(source, damage.offset, &Envelope::new(id), content);
        let events = self.claim_events(key);
        match records.as_slice() {
            [] => self.report.find(Kind::Lost, place.as_str(), "the damaged range is in no stream"),
            [index] => {
                let held = self.books.records.get(*index).is_some_and(|record| {
                    record.stream == Stream::Quarantine && record.holds(content, content.checksum())
                });
                if held {
                    self.damage_again(*index, &events, (key, id, content), source.name, damage);
                } else {
                    let what = "the damaged range is not in quarantine as it is in the queue";
                    self.report.find(Kind::Wrong, place.as_str(), what);
                }
            }
            _ => {
                self.report.find(Kind::Doubled, place.as_str(), "the damaged range is there twice");
            }
        }
        self.one_set_aside(&place, &events, Stream::Quarantine);
        if let Some(manifest) = self.manifest {
            self.report.expected += 1;
            self.report.seen.insert(books::place(source.name, damage.offset));
            if let Err(what) = manifest.check_damage(source.name, damage.offset, damage.length) {
                self.report.find(Kind::Wrong, place, what);
            }
        }
    }
}

impl Auditor<'_, '_> {
    fn damage_again(
        &mut self,
        record: usize,
        events: &[usize],
        (key, id, content): (u64, QueueId<'_>, Content<'_>),
        name: &[u8],
        Damage { offset, length, .. }: Damage,
    ) {
        let told = events.iter().filter_map(|at| self.books.events.get(*at)).collect::<Vec<_>>();
        let Some(record) = self.books.records.get(record) else { return };
        let bare = Envelope::new(id);
        let origin = Origin { name, offset, length };
        let subject = self.hand.subject(key, 0, &bare, content.len());
        let known = [Known::Name(id)];
        let differs = quarantine_differs((record, &known, origin), &told, &[subject], true);
        if let Some((place, what)) = differs {
            self.report.find(Kind::Wrong, place, format!("{what} than it has to"));
        }
    }
}
