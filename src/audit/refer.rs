//! Audits what accepted mail of a run refers to: contents that stay in the queue.
//!
//! Nothing is followed twice: a record refers rightly where its reference is the one that the plan
//! and the message in hand give, and the content in the queue has the checksum that it says. Not
//! here: the books of the message (`part`). A content that is damaged, gone or changed is one
//! finding with its place; all else of its message is settled all the same.

use super::books::Record;
use super::part::{Again, Auditor};
use super::{AuditError, Kind};
use crate::mail::content::Content;
use crate::mail::envelope::Recipient;
use crate::queue::segment::read::record_at;
use crate::queue::segment::reference::Reference;
use crate::queue::segment::write::Payload;
use crate::queue::{Damage, DamageKind, Found, Lies, QueueError, Source};
use crate::spool::Stream;

impl Auditor<'_, '_> {
    /// Whether a record has what it has to have of its message's content: a copy, or in the
    /// accepted stream perhaps a reference.
    pub(super) fn holds(&self, record: &Record<'_>, again: &Again<'_, '_>) -> bool {
        let Again { name, found, checksum, .. } = again;
        let mut out = Vec::new();
        let payload = Payload::known(found.content, *checksum);
        let refers = self.refers.as_ref().filter(|_| record.stream == Stream::Accepted);
        let expect = refers.and_then(|it| it.reference(name, found, &payload, &mut out));
        match (expect, record.found.lies) {
            (Some(expect), Lies::There(is)) => Reference::read(expect.content.raw()) == Some(is),
            (Some(_), _) | (None, Lies::There(_)) => false,
            // What the queue refers to is gone; where it is quoted, nobody knows its checksum.
            _ if self.without_content.contains(&found.offset) => {
                let is_quoted = matches!(found.lies, Lies::There(there) if there.is_quoted);
                is_quoted || record.checksum == *checksum
            }
            _ => record.holds(found.content, *checksum),
        }
    }

    /// Whether a content isn't that of its record in the queue, and the run has found that: it
    /// reads contents of a segment only where it copies them. What it hasn't found is a finding.
    pub(super) fn is_altered(
        &mut self,
        name: &[u8],
        found: &Found<'_>,
        checksum: Option<u32>,
    ) -> bool {
        let is_same = |checksum| found.content.checksum() == checksum;
        let is_here = self.refers.is_some() && matches!(found.lies, Lies::Here(_));
        if !is_here || checksum.is_none_or(is_same) {
            return false;
        }
        let records = self.records_of(name, found.offset);
        if records.iter().any(|record| record.stream == Stream::Quarantine) {
            return true;
        }
        if !records.is_empty() {
            let place = format!("{}, offset {}", String::from_utf8_lossy(name), found.offset);
            let what = "its content is damaged, or has changed, where its record refers to";
            self.report.find(Kind::Wrong, place, what);
        }
        false
    }

    /// Settles a record of the queue that leads nowhere now, and did lead to a content when the run
    /// read it; false where the run has found it so, or has nothing of it.
    pub(super) fn is_gone<'a>(
        &mut self,
        source: &Source<'a>,
        damage: Damage,
        recipients: &mut Vec<Recipient<'a>>,
    ) -> bool {
        let records = self.records_of(source.name, damage.offset);
        let is_told = records.iter().any(|record| record.stream == Stream::Quarantine);
        if damage.kind != DamageKind::Reference || is_told || records.is_empty() {
            return false;
        }
        let record = record_at(source.bytes, damage.offset);
        let Some((envelope, content)) = record else { return false };
        let Some(reference) = Reference::read(content) else { return false };
        let Damage { offset, length, .. } = damage;
        let place = format!("{}, offset {offset}", String::from_utf8_lossy(source.name));
        let lost = self.queue.and_then(|queue| queue.lost(source, &damage));
        let lost = lost.map_or_else(String::new, |lost| format!(": {lost}"));
        let what = format!("its content is gone, or has changed, since the run{lost}");
        self.report.find(Kind::Wrong, place, what);
        self.without_content.insert(offset);
        let found = Found::new(offset, length, envelope, Content::default());
        let found = Found { lies: Lies::There(reference), ..found };
        self.message(source, found, Some(reference.checksum), recipients);
        true
    }

    fn records_of(&self, name: &[u8], offset: u64) -> Vec<&Record<'_>> {
        let indexes = self.books.by_place.get(&super::books::place(name, offset));
        indexes.into_iter().flatten().filter_map(|at| self.books.records.get(*at)).collect()
    }

    /// What it means that the queue can't be read.
    pub(super) fn unreadable(&self, error: QueueError) -> AuditError {
        match error {
            QueueError::Changed { path } if self.refers.is_some() => AuditError::Referred { path },
            error => error.into(),
        }
    }
}
