//! Checks queues of messages in files: all parts are framed, and damage is told.
//!
//! Not here: post offices. Invariant: a part that can't be read is told, and the next is read; a
//! part of many files is then read file by file.

use super::{Clock, Finding, Kind, Report};
use crate::limits;
use crate::mail::header::HeaderFacts;
use crate::queue::envelope;
use crate::queue::{
    Buffers, Damage, DamageKind, Framed, Frames, Queue, QueueError, Source, Span, Visit,
};
use rayon::prelude::*;

/// Checks a queue.
///
/// # Errors
/// It can't be cut into parts.
pub(super) fn check(queue: &Queue, clock: &Clock) -> Result<Report, QueueError> {
    let parts = queue.cut(limits::LOOK_BYTES)?;
    let all: Vec<Report> = parts
        .par_iter()
        .map_init(Buffers::default, |buffers, part| {
            let mut report = Report::default();
            part_of(queue, part, buffers, clock, &mut report);
            report
        })
        .collect();
    let mut report = Report { format: queue.format().to_string(), ..Report::default() };
    for part in all {
        report.merge(part);
    }
    Ok(report)
}

fn part_of(queue: &Queue, part: &Span, buffers: &mut Buffers, clock: &Clock, report: &mut Report) {
    let mut visitor = Visitor { queue, clock, report: Report::default() };
    match (queue.read(part, buffers, &mut visitor), part) {
        (Ok(()), _) => report.merge(visitor.report),
        (Err(_), Span::Files(first, end)) if end - first > 1 => {
            for file in *first..*end {
                part_of(queue, &Span::Files(file, file + 1), buffers, clock, report);
            }
        }
        (Err(error), _) => {
            report.merge(visitor.report);
            let file = match part {
                Span::Bytes(file, ..) => {
                    queue.big_files().get(*file as usize).map(|file| file.name.clone())
                }
                Span::Files(file, _) => queue.file_list().and_then(|list| {
                    let entry = list.get(*file)?;
                    Some(String::from_utf8_lossy(entry.name).into_owned())
                }),
            };
            report.find(Finding {
                kind: Kind::Unreadable,
                file: file.unwrap_or_default(),
                offset: None,
                length: None,
                what: error.to_string(),
            });
        }
    }
}

struct Visitor<'c> {
    queue: &'c Queue,
    clock: &'c Clock,
    report: Report,
}

impl Visit for Visitor<'_> {
    type Error = QueueError;

    fn batch<'a>(&mut self, source: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
        let mut recipients = Vec::new();
        for framed in frames {
            let found = match framed {
                Framed::Damage(damage) => {
                    let text = damage.kind.text();
                    match self.queue.lost(&source, &damage) {
                        None => self.damaged(Kind::Damage, source.name, damage, text),
                        Some(lost) => {
                            let what = format!("{text}: {lost}");
                            self.damaged(Kind::ReferenceLost, source.name, damage, &what);
                        }
                    }
                    continue;
                }
                Framed::Message(found) => found,
            };
            let (offset, length) = (found.offset, found.length);
            let range = |kind| Damage { offset, length, kind };
            let name = envelope::file_name(&source, &found);
            let facts = if source.format.has_envelope() {
                HeaderFacts::unread(found.content.raw())
            } else {
                HeaderFacts::read(found.content.raw())
            };
            let order = self.clock.order;
            let read = envelope::read(&source, &found, &facts, order, &mut recipients);
            match (read.judged(), found.set_aside) {
                (_, Some(reason)) => {
                    let reason = String::from_utf8_lossy(reason);
                    self.damaged(Kind::Damage, name, range(DamageKind::SetAside), &reason);
                }
                (Err(kind), None) => {
                    self.damaged(Kind::Damage, name, range(kind), kind.text());
                }
                (Ok(_), None) => {
                    self.report.messages += 1;
                    self.report.bytes += found.content.len();
                }
            }
        }
        Ok(())
    }
}

impl Visitor<'_> {
    fn damaged(&mut self, kind: Kind, name: &[u8], damage: Damage, what: &str) {
        self.report.find(Finding {
            kind,
            file: String::from_utf8_lossy(name).into_owned(),
            offset: Some(damage.offset),
            length: Some(damage.length),
            what: what.to_owned(),
        });
    }
}
