//! Audits one part: frames its stretch of the queue again, and settles each message against the
//! books.
//!
//! Not here: reading stream files (`books`). Each check says what it found and goes on: one wrong
//! record doesn't hide the next.

use super::again::{Entry, Hand, Message};
use super::books::{Books, Files, place};
use super::expect::{Manifest, Seen, SeenDisposition};
use super::{AuditError, Kind, Report};
use crate::event::Number;
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::{Envelope, QueueId, Recipient};
use crate::mail::header::HeaderFacts;
use crate::queue::envelope::{self, Read, RecipientOrder};
use crate::queue::segment::write::Payload;
use crate::queue::{Buffers, Damage, DamageKind, Found, Framed, Frames};
use crate::queue::{Queue, QueueError, Source, Span, Visit};
use crate::spool::commits::Commit;
use crate::spool::folder::{self, Planned};
use crate::spool::record::{Origin, outcome_number};
use crate::spool::refer::Referrer;
use crate::spool::{PerStream, Stream, drain};
use std::collections::HashSet;
use std::path::Path;

/// Audits a committed part.
pub(super) fn audit(
    run: &Path,
    planned: &Planned,
    commit: &Commit,
    manifest: Option<&Manifest>,
    buffers: &mut Buffers,
) -> Result<Report, AuditError> {
    let mut report = Report::default();
    let digits = planned.plan.digits();
    let files = Files::open(
        commit,
        |stream| folder::part_path(run, digits, stream, commit.part),
        &mut report,
    );
    let books = Books::read(&files, commit, &mut report);
    let mut auditor = Auditor {
        books,
        report,
        manifest,
        order: planned.plan.options.recipients,
        hand: Hand::of(&planned.plan.options),
        last: PerStream::default(),
        without_content: HashSet::new(),
        queue: planned.plan.queue_of(&planned.queues, commit.part).map(|(queue, _)| queue),
        refers: Referrer::of(&planned.plan, commit.part),
        has_all_contents: true,
        scratch: Vec::new(),
    };
    if let Some((queue, span)) = planned.plan.queue_of(&planned.queues, commit.part) {
        match (queue.bag_list(), span) {
            (Some(list), Span::Files(first, end)) if drain::is_begun(run) => {
                auditor.replay(list, *first..*end);
            }
            _ => {
                let read = queue.read(span, buffers, &mut auditor);
                read.map_err(|error| auditor.unreadable(error))?;
            }
        }
    }
    let Auditor { books, mut report, has_all_contents, .. } = auditor;
    books.unclaimed(&mut report);
    if !has_all_contents {
        report.counts.content_bytes = commit.counts.content_bytes;
    }
    if report.counts != commit.counts {
        let differing = commit.counts.differences(&report.counts);
        let what = format!("the log and the streams differ: {differing}");
        report.find(Kind::Wrong, format!("part {}", commit.part), what);
    }
    Ok(report)
}

/// The books of a part, and what is held against them.
pub(super) struct Auditor<'s, 'm> {
    pub(super) books: Books<'s>,
    pub(super) report: Report,
    pub(super) manifest: Option<&'m Manifest>,
    order: RecipientOrder,
    pub(super) hand: Hand<'m>,
    /// The last record that was claimed, and the last event: they come in the order of the queue.
    last: PerStream<usize>,
    pub(super) queue: Option<&'m Queue>,
    /// Where accepted mail stays in the queue: what makes its references.
    pub(super) refers: Option<Referrer>,
    /// Offsets of messages, of the bag or segment in hand, whose content isn't known.
    pub(super) without_content: HashSet<u64>,
    /// False where the size of a content is known to the commit log alone.
    pub(super) has_all_contents: bool,
    scratch: Vec<u8>,
}

/// A message of the queue, framed and read again.
pub(super) struct Again<'c, 'a> {
    pub(super) name: &'a [u8],
    pub(super) found: Found<'a>,
    pub(super) checksum: u32,
    pub(super) envelope: &'c Envelope<'a>,
    pub(super) recipients: &'c [Recipient<'a>],
    /// The name that it has by its place, or its file, alone.
    pub(super) place_id: QueueId<'a>,
}

impl Again<'_, '_> {
    pub(super) fn place(&self) -> String {
        format!("{}, offset {}", String::from_utf8_lossy(self.name), self.found.offset)
    }
}

impl Auditor<'_, '_> {
    pub(super) fn message<'a>(
        &mut self,
        source: &Source<'a>,
        mut found: Found<'a>,
        checksum: Option<u32>,
        recipients: &mut Vec<Recipient<'a>>,
    ) {
        let facts = HeaderFacts::read(found.content.raw());
        let envelope = match envelope::read(source, &found, &facts, self.order, recipients) {
            Read::Message(envelope) => envelope,
            Read::TooMuch(envelope, kind) => {
                found.set_aside = found.set_aside.or(Some(kind.text().as_bytes()));
                envelope
            }
            Read::Damaged(kind) => {
                let damage = Damage { offset: found.offset, length: found.length, kind };
                return self.damage(source, damage);
            }
        };
        let name = envelope::file_name(source, &found);
        if self.is_altered(name, &found, checksum) {
            let (offset, length, kind) = (found.offset, found.length, DamageKind::Content);
            return self.damage(source, Damage { offset, length, kind });
        }
        self.report.messages += 1;
        let checksum = checksum.unwrap_or_else(|| found.content.checksum());
        let place_id = envelope::queue_id(source, &found);
        let again = Again { name, found, checksum, envelope: &envelope, recipients, place_id };
        let records = self.claim_records(name, found.offset);
        let mut len = found.content.len();
        let mut key = self.key(source, found.offset, &envelope, found.content);
        if self.without_content.contains(&found.offset)
            && let Some(told) = self.told_of(&envelope.queue_id)
        {
            (key, len) = told;
        }
        let mut events = self.claim_events(key);
        let bare = Envelope::new(place_id);
        let bare_key = self.key(source, found.offset, &bare, found.content);
        // A message whose envelope couldn't be parsed for a fault has its events under its name
        // alone.
        if bare_key != key {
            events.extend(self.claim_events(bare_key));
        }
        self.report.counts.messages += 1;
        self.report.counts.content_bytes += len;
        self.report.counts.faults += self.count(&events, Number::FAULT);
        let in_quarantine = |index: &&usize| {
            self.books.records.get(**index).is_some_and(|r| r.stream == Stream::Quarantine)
        };
        if records.iter().any(|index| in_quarantine(&index)) {
            self.quarantined(&again, (key, bare_key), &records, &events);
            self.expect(&again, &Seen::quarantined(checksum));
        } else {
            if found.set_aside.is_some() {
                self.find(Kind::Wrong, &again, "it can't be judged, but is not in quarantine");
            }
            let dispositions = self.settle(&again, key, &records, &events);
            let is_known = !self.without_content.contains(&found.offset);
            let checksum = is_known.then_some(checksum);
            self.expect(&again, &Seen { checksum, quarantined: false, dispositions });
        }
    }

    pub(super) fn key(
        &mut self,
        source: &Source<'_>,
        offset: u64,
        envelope: &Envelope<'_>,
        content: Content<'_>,
    ) -> u64 {
        envelope::key(source, offset, envelope, (content, content.len()), &mut self.scratch)
    }

    pub(super) fn claim_records(&mut self, name: &[u8], offset: u64) -> Vec<usize> {
        let indexes = self.books.by_place.get(&place(name, offset)).cloned().unwrap_or_default();
        for index in &indexes {
            let Some(record) = self.books.records.get_mut(*index) else { continue };
            record.claimed = true;
            let last = self.last.get_mut(record.stream);
            if *index < *last {
                let what = "the record isn't in the order of the queue";
                self.report.find(Kind::Wrong, record.place.clone(), what);
            }
            *last = *index;
        }
        indexes
    }

    pub(super) fn claim_events(&mut self, key: u64) -> Vec<usize> {
        let indexes = self.books.by_key.get(&key).cloned().unwrap_or_default();
        for index in &indexes {
            let Some(event) = self.books.events.get_mut(*index) else { continue };
            event.claimed = true;
            let last = self.last.get_mut(Stream::Events);
            if *index < *last {
                let what = "the event isn't in the order of the queue";
                self.report.find(Kind::Wrong, event.place.to_string(), what);
            }
            *last = *index;
        }
        indexes
    }

    fn count(&self, events: &[usize], number: Number) -> u64 {
        events
            .iter()
            .filter_map(|i| self.books.events.get(*i))
            .filter(|e| e.number == number.0)
            .count() as u64
    }

    pub(super) fn find(&mut self, kind: Kind, again: &Again<'_, '_>, what: impl Into<String>) {
        self.report.find(kind, again.place(), what);
    }

    /// A message that was judged: each disposition has one event, and one record where its outcome
    /// has a stream.
    fn settle(
        &mut self,
        again: &Again<'_, '_>,
        key: u64,
        records: &[usize],
        events: &[usize],
    ) -> Vec<SeenDisposition> {
        let found_before = self.report.found();
        let entries = self.entries(again, records, events);
        self.report.dispositions += entries.len() as u64;
        let pending = again.recipients.iter().any(|recipient| !recipient.done);
        if entries.is_empty() && (pending || again.recipients.is_empty()) {
            self.find(Kind::Lost, again, "the message is in no stream");
        }
        let mut served = vec![false; again.recipients.len()];
        let mut seen = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            self.disposition(again, index, *entry, &mut served);
            // Only a manifest asks.
            seen.extend(self.manifest.and_then(|_| self.seen(*entry)));
        }
        for (ordinal, recipient) in again.recipients.iter().enumerate() {
            if !recipient.done && served.get(ordinal) == Some(&false) && !entries.is_empty() {
                self.find(Kind::Lost, again, format!("recipient {ordinal} has no disposition"));
            }
        }
        for index in records {
            self.record(again, *index, entries.len());
        }
        let in_stream = |stream: Stream| {
            let of = |index: &&usize| {
                self.books.records.get(**index).is_some_and(|r| r.stream == stream)
            };
            records.iter().filter(of).count() as u64
        };
        let (reports, dead) = (in_stream(Stream::Ndr), in_stream(Stream::DeadLetter));
        self.report.counts.reports += reports;
        if self.count(events, Number::REPORT_MADE) != reports {
            self.find(Kind::Wrong, again, "reports in the stream and in the events differ");
        }
        if dead > 0 {
            self.one_set_aside(&again.place(), events, Stream::DeadLetter);
        }
        // Where something is missing, nothing can be written again.
        let has_content = !self.without_content.contains(&again.found.offset);
        if self.report.found() == found_before && has_content {
            self.write_again(again, key, (&entries, records, events));
        }
        seen
    }

    fn write_again(
        &mut self,
        again: &Again<'_, '_>,
        key: u64,
        (entries, records, events): (&[Entry], &[usize], &[usize]),
    ) {
        let Found { offset, length, content, .. } = again.found;
        let message = Message {
            envelope: again.envelope,
            recipients: again.recipients,
            origin: Origin { name: again.name, offset, length },
            payload: Payload::known(content, again.checksum),
            key,
            entries,
            records,
            events,
            books: &self.books,
        };
        if let Some((place, what)) = self.hand.differs(&message) {
            self.find(Kind::Wrong, again, format!("{what} than it has to ({place})"));
        }
    }

    /// The dispositions of a message, by their index, from both sides of the books.
    fn entries(
        &mut self,
        again: &Again<'_, '_>,
        records: &[usize],
        events: &[usize],
    ) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let slot = |entries: &mut Vec<Entry>, index: u32| -> Option<usize> {
            let index = index as usize;
            if index >= limits::DISPOSITIONS_MAX {
                return None;
            }
            if entries.len() <= index {
                entries.resize(index + 1, Entry::default());
            }
            Some(index)
        };
        let mut doubled = 0;
        for at in events {
            let Some(index) = self.books.events.get(*at).and_then(|event| event.index) else {
                continue;
            };
            let Some(entry) = slot(&mut entries, index).and_then(|i| entries.get_mut(i)) else {
                continue;
            };
            doubled += u64::from(entry.event.replace(*at).is_some());
        }
        for at in records {
            let Some(record) = self.books.records.get(*at) else { continue };
            for (number, recipient) in record.recipients.iter().enumerate() {
                let Some(index) = recipient.disposition else { continue };
                let Some(entry) = slot(&mut entries, index).and_then(|i| entries.get_mut(i)) else {
                    continue;
                };
                doubled += u64::from(entry.record.replace((*at, number)).is_some());
            }
        }
        for _ in 0..doubled {
            self.find(
                Kind::Doubled,
                again,
                "a disposition stands in two records, or in two events",
            );
        }
        entries
    }

    /// One disposition: its event and its record say the same.
    fn disposition(
        &mut self,
        again: &Again<'_, '_>,
        index: usize,
        entry: Entry,
        served: &mut [bool],
    ) {
        let Some(event) = entry.event.and_then(|at| self.books.events.get(at)) else {
            let kind = if entry.record.is_some() { Kind::Wrong } else { Kind::Lost };
            return self.find(kind, again, format!("disposition {index} has no event"));
        };
        let outcome = event.outcome.unwrap_or_default();
        let mut problems: Vec<(Kind, String)> = Vec::new();
        let Some(decided) = event.decided() else {
            let what = format!("disposition {index} has the unknown outcome {outcome:?}");
            return self.find(Kind::Wrong, again, what);
        };
        self.report.counts.count(decided);
        let stream = Stream::of(decided);
        if let Some(ordinal) = event.ordinal {
            match served.get_mut(ordinal as usize) {
                Some(served) => *served = true,
                None => {
                    problems.push((Kind::Wrong, format!("disposition {index} is of no recipient")));
                }
            }
        }
        let record = entry.record.and_then(|(at, number)| {
            let record = self.books.records.get(at)?;
            Some((record, record.recipients.get(number)?))
        });
        match (stream, record) {
            (None, None) => {}
            (None, Some(_)) => {
                problems.push((
                    Kind::Doubled,
                    format!("disposition {index} is {outcome}, but in a stream"),
                ));
            }
            (Some(stream), None) => {
                let what =
                    format!("disposition {index} is {outcome}, but not in {}", stream.name());
                problems.push((Kind::Lost, what));
            }
            (Some(stream), Some((record, recipient))) => {
                let same = record.stream == stream
                    && recipient.outcome == outcome_number(decided)
                    && recipient.reported == (stream == Stream::Ndr)
                    && recipient.ordinal == event.ordinal
                    && event.names(recipient.forward_path, &mut self.scratch);
                if !same {
                    let what =
                        format!("disposition {index}: event and record differ ({})", record.place);
                    problems.push((Kind::Wrong, what));
                }
            }
        }
        for (kind, what) in problems {
            self.find(kind, again, what);
        }
    }

    /// A record of a message: its content is the message's, its origin, and whom it comes from.
    fn record(&mut self, again: &Again<'_, '_>, index: usize, dispositions: usize) {
        let Some(record) = self.books.records.get(index) else { return };
        let mut problems = Vec::new();
        if record.notes.dispositions.map(|count| count as usize) != Some(dispositions) {
            problems.push("counts other dispositions");
        }
        if record.notes.origin.is_none_or(|origin| origin.2 != again.found.length) {
            problems.push("gives another length of the queued message");
        }
        if record.stream != Stream::Ndr {
            if !self.holds(record, again) {
                let refers = record.refers();
                problems.push(if refers { "refers elsewhere" } else { "has another content" });
            }
            if !record.is_from_sender_of(again.envelope, again.recipients) {
                problems.push("has another reverse-path");
            }
        }
        let place = record.place.clone();
        for problem in problems {
            self.find(Kind::Wrong, again, format!("its record at {place} {problem}"));
        }
    }

    fn seen(&self, entry: Entry) -> Option<SeenDisposition> {
        let (at, number) = entry.record?;
        let record = self.books.records.get(at)?;
        let recipient = record.recipients.get(number)?;
        Some(SeenDisposition::of(record, recipient))
    }

    pub(super) fn expect(&mut self, again: &Again<'_, '_>, seen: &Seen) {
        let Some(manifest) = self.manifest else { return };
        self.report.expected += 1;
        self.report.seen.insert(place(again.name, again.found.offset));
        if let Err(what) = manifest.check(again.name, again.found.offset, seen) {
            self.find(Kind::Wrong, again, what);
        }
    }
}

impl Visit for Auditor<'_, '_> {
    type Error = QueueError;

    fn batch<'a>(&mut self, source: Source<'a>, mut frames: Frames<'a>) -> Result<(), QueueError> {
        let mut recipients = Vec::new();
        while let Some(framed) = frames.next() {
            match framed {
                Framed::Message(found) => {
                    let checksum = frames.content_checksum();
                    self.message(&source, found, checksum, &mut recipients);
                }
                Framed::Damage(damage) if self.is_gone(&source, damage, &mut recipients) => {}
                Framed::Damage(damage) => self.damage(&source, damage),
            }
        }
        Ok(())
    }

    fn compares_contents(&self) -> bool {
        self.refers.is_none()
    }
}
