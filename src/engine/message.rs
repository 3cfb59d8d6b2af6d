//! The walk of one message: parse, decide, its reports, its records, its events; and what is done
//! when a step fails.
//!
//! Its worker has taken several, in queue order (`walk`): it parses them, decides about them, and
//! then finishes them, which appends to the part's buffers. Steps run inside `isolate`: a fault in
//! parse, decide or render takes the buffers back and quarantines the message byte for byte; one in
//! a report turns what it would have reported into dead letters; one in an event leaves an event
//! made from numbers alone. Not here: which part, writing, committing. Invariant: after each
//! message its marks hold, and each of its recipients has one outcome.

use super::breaker::Breaker;
use super::isolate::{Fault, Stage, isolate};
use super::taken::{Judgment, Lists, Memory, Taken};
use super::{Context, EngineError, Faults, Offices};
use crate::decide::{Case, Disposition, NoReport, Outcome, Verdict};
use crate::directory::Directory;
use crate::event::json;
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::{Envelope, QueueId};
use crate::mail::header::{HeaderFacts, RecipientField};
use crate::ndr;
use crate::queue::envelope::Read;
use crate::queue::segment::write::Payload;
use crate::queue::{DamageKind, Lies, Source, envelope};
use crate::spool::Counts;
use crate::spool::Stream;
use crate::spool::part::Part;
use crate::spool::record::{self, Judged, Known, Origin, Report};
use crate::spool::refer::Referrer;
use smallvec::SmallVec;
use std::cell::Cell;

/// What a worker has in hand: one part's buffers, and memory that is used again from message to
/// message.
#[derive(Debug)]
pub(super) struct Walk<'r> {
    pub(super) context: &'r Context<'r>,
    pub(super) part: Part,
    pub(super) counts: Counts,
    /// How often the part was tried before.
    pub(super) tries: u32,
    /// Which worker this is: its place on the board.
    pub(super) worker: usize,
    /// Number of the part.
    pub(super) number: u32,
    /// Number of the message that comes next.
    pub(super) index: u64,
    /// Messages and damages of the part before this one are passed over.
    pub(super) from: u64,
    /// Where the message before that ends in its file.
    pub(super) next: u64,
    /// Up to where the system was asked to read the file ahead.
    pub(super) asked: u64,
    /// The place on the board where the part's state is saved.
    pub(super) place: Option<usize>,
    pub(super) breaker: Breaker,
    /// What the post offices of the part's queue know, where it is made of such.
    pub(super) offices: Option<&'r Offices>,
    /// The post office that the batch is in.
    pub(super) office: Option<&'r Directory>,
    /// Where accepted mail stays in the queue: what makes its references.
    pub(super) refers: Option<Referrer>,
    /// Faults of the part's messages that are known from earlier deaths.
    pub(super) known: Option<&'r Faults>,
    pub(super) memory: Memory<'static>,
    /// Memory of what waits beside a saved state.
    pub(super) tails: Vec<u8>,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    key: Vec<u8>,
    report: Vec<u8>,
    reference: Vec<u8>,
}

/// A report that was made: whom it went to, and how many recipients it names.
type Made<'a> = SmallVec<[(&'a [u8], u32); 2]>;

impl<'r> Walk<'r> {
    pub(super) fn new(context: &'r Context<'r>, worker: usize) -> Self {
        Self {
            context,
            part: Part::default(),
            counts: Counts::default(),
            tries: 0,
            worker,
            number: 0,
            index: 0,
            from: 0,
            next: 0,
            asked: 0,
            place: None,
            breaker: Breaker::new(context.breaker),
            offices: None,
            office: None,
            refers: None,
            known: None,
            memory: Memory::default(),
            tails: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Reads a message's header fields and envelope.
    pub(super) fn parse<'a>(
        &mut self,
        source: &Source<'a>,
        taken: &mut Taken<'a>,
        lists: &mut Lists<'a>,
        fields: &mut Vec<(RecipientField, &'a [u8])>,
    ) {
        lists.recipients.clear();
        lists.fetched.clear();
        if !matches!(taken.judgment, Judgment::Open) {
            return;
        }
        taken.stage = Stage::Parse;
        let desk = self.desk(taken);
        desk.announce(Stage::Parse);
        let content = taken.found.content;
        let lies_here = matches!(taken.found.lies, Lies::Here(_));
        taken.is_unread = taken.checksum.is_some() && self.refers.is_some() && lies_here;
        taken.payload =
            Payload::known(content, taken.checksum.unwrap_or_else(|| content.checksum()));
        let order = self.context.recipients;
        if taken.found.set_aside.is_some() {
            taken.judgment = Judgment::SetAside;
            let facts = HeaderFacts::default();
            let read = envelope::read(source, &taken.found, &facts, order, &mut lists.recipients);
            if let Read::Message(envelope) = read {
                taken.envelope = envelope;
            }
            return;
        }
        let parsed = isolate(&Cell::new(Stage::Parse), || {
            desk.enter(Stage::Parse, None);
            let facts = HeaderFacts::read_into(std::mem::take(fields), content.raw());
            taken.marker = facts.fault;
            desk.enter(Stage::Parse, taken.marker);
            match envelope::read(source, &taken.found, &facts, order, &mut lists.recipients) {
                Read::Message(envelope) => taken.envelope = envelope,
                Read::TooMuch(envelope, kind) => {
                    taken.envelope = envelope;
                    taken.judgment = Judgment::TooMuch(kind);
                    return;
                }
                Read::Damaged(kind) => {
                    taken.judgment = Judgment::Damaged(kind);
                    return;
                }
            }
            (taken.header_hops, taken.is_report) = (facts.hops, facts.is_report);
            (taken.subject, taken.header_len) = (facts.subject, facts.len);
            taken.set_key(source, &mut self.scratch.key);
            *fields = facts.recipients;
            self.fetch(lists);
        });
        if let Err(fault) = parsed {
            taken.judgment = Judgment::Struck(fault);
        }
    }

    /// Has the processor fetch what deciding about a message will look at first.
    fn fetch(&self, lists: &mut Lists<'_>) {
        let directory = self.context.judge.directory;
        let some = lists.recipients.iter().take(limits::TAKEN_MAX);
        lists.fetched.extend(some.map(|recipient| directory.fetch_slot(recipient.forward_path)));
    }

    /// Decides about a message that nothing keeps from being judged.
    pub(super) fn decide<'a>(&self, taken: &mut Taken<'a>, lists: &mut Lists<'a>)
    where
        'r: 'a,
    {
        if !matches!(taken.judgment, Judgment::Open) {
            return;
        }
        let desk = self.desk(taken);
        taken.stage = Stage::Decide;
        let decided = isolate(&Cell::new(Stage::Decide), || {
            desk.enter(Stage::Decide, taken.marker);
            let case = Case {
                envelope: &taken.envelope,
                recipients: &lists.recipients,
                header_hops: taken.header_hops,
                is_report: taken.is_report,
                condition: taken.found.condition,
                office: self.office,
            };
            self.context.judge.decide(case, &mut lists.verdict);
        });
        taken.judgment = decided.map_or_else(Judgment::Struck, |()| Judgment::Judged);
    }

    /// Makes a message's reports, records and events, or puts it into quarantine.
    pub(super) fn finish<'a>(
        &mut self,
        source: &Source<'a>,
        taken: &mut Taken<'a>,
        lists: &mut Lists<'a>,
    ) -> Result<(), EngineError> {
        // Others were in hand since.
        self.desk(taken).announce(taken.stage);
        match std::mem::replace(&mut taken.judgment, Judgment::Open) {
            Judgment::Judged if stays(&lists.verdict) || !taken.is_altered() => {}
            Judgment::Judged => return self.altered(source, taken),
            Judgment::Damaged(kind) => return self.damage(source, taken, kind),
            Judgment::TooMuch(kind) => {
                return self.set_aside(source, taken, kind.text().as_bytes());
            }
            Judgment::SetAside | Judgment::Open => {
                let reason = taken.found.set_aside.unwrap_or_default();
                return self.set_aside(source, taken, reason);
            }
            Judgment::Struck(fault) => return self.quarantine(source, taken, fault, lists),
        }
        let mark = self.part.mark();
        self.inject_death(taken.marker);
        let made = self.reports(taken, lists);
        let desk = self.desk(taken);
        let (refers, out) = (self.refers.as_ref(), &mut self.scratch.reference);
        let rendered = isolate(&Cell::new(Stage::Render), || {
            desk.enter(Stage::Render, taken.marker);
            let reference = refers
                .and_then(|it| it.reference(taken.origin.name, &taken.found, &taken.payload, out));
            let judged = Judged { reference, ..taken.judged(lists) };
            judged.append(&mut self.part, self.context.hostname);
        });
        if let Err(fault) = rendered {
            self.part.roll_back(&mark);
            return self.quarantine(source, taken, fault, lists);
        }
        self.events(taken, lists, &made)?;
        for disposition in &lists.verdict.dispositions {
            self.counts.count(disposition.outcome);
        }
        self.counts.messages += 1;
        self.counts.content_bytes += taken.payload.len;
        self.counts.reports += made.len() as u64;
        self.counts.faults += taken.faults.len() as u64;
        self.struck(&taken.faults)?;
        self.settle(taken)
    }

    /// Makes the reports that are due. What a fault keeps from being reported becomes a dead
    /// letter.
    fn reports<'a>(&mut self, taken: &mut Taken<'a>, lists: &mut Lists<'a>) -> Made<'a> {
        let addressees: SmallVec<[&'a [u8]; 4]> =
            ndr::addressees(&lists.verdict.dispositions).collect();
        let mut made = Made::new();
        for (index, to) in (0..).zip(addressees) {
            let mark = self.part.mark_of(Stream::Ndr);
            let desk = self.desk(taken);
            let stage = Cell::new(Stage::Ndr);
            let rendered = isolate(&stage, || {
                desk.enter(Stage::Ndr, taken.marker);
                self.report(taken, lists, to, index);
            });
            if let Err(fault) = rendered {
                self.part.roll_back_stream(Stream::Ndr, &mark);
                for disposition in &mut lists.verdict.dispositions {
                    if disposition.outcome == Outcome::Failed && disposition.report_to == to {
                        disposition.outcome = Outcome::DeadLetter(NoReport::ReportFault);
                    }
                }
                taken.faults.push(fault);
            } else {
                let failed = ndr::reported(&lists.verdict.dispositions, to).count();
                made.push((to, u32::try_from(failed).unwrap_or(u32::MAX)));
            }
        }
        made
    }

    fn report<'a>(&mut self, taken: &Taken<'a>, lists: &Lists<'a>, to: &'a [u8], index: u32) {
        let now = self.context.judge.now;
        let verdict = &lists.verdict;
        let returned = ndr::Returned {
            envelope: &taken.envelope,
            recipients: &lists.recipients,
            content: taken.payload.content,
            subject: taken.subject,
            header_len: taken.header_len,
            key: taken.key,
            attempts: verdict.attempts,
        };
        let report = &mut self.scratch.report;
        report.clear();
        ndr::render(report, &self.context.mta, &returned, to, &verdict.dispositions);
        let rendered = Report { key: taken.key, index, now, content: report };
        taken.judged(lists).append_report(&mut self.part, to, &rendered);
        if report.capacity() > limits::BUFFER_KEPT_BYTES_MAX {
            *report = Vec::new();
        }
    }

    /// Appends the events of a message that was judged.
    fn events<'a>(
        &mut self,
        taken: &mut Taken<'a>,
        lists: &Lists<'a>,
        made: &Made<'a>,
    ) -> Result<(), EngineError> {
        let verdict = &lists.verdict;
        let mut struck = None;
        let mut index = 0;
        for some in verdict.dispositions.chunks(limits::BATCH_EVENTS) {
            let fault = self.events_of(taken, verdict.attempts, index, some);
            struck = struck.or(fault);
            index = index.saturating_add(u32::try_from(some.len()).unwrap_or(u32::MAX));
            if self.context.trial.is_none() {
                self.part.settle_events(self.context.folder)?;
            }
        }
        taken.faults.extend(struck);
        let subject = taken.event_subject(verdict.attempts, self.context);
        let (set_aside, homeless) = (verdict.dead_letter(), verdict.homeless_report());
        // A report that has nowhere to go makes a dead letter.
        if made.is_empty() && set_aside.is_none() && taken.faults.is_empty() {
            return Ok(());
        }
        self.tell(|out| {
            for (index, (to, failed)) in (0..).zip(made) {
                let first = ndr::reported(&verdict.dispositions, to).next();
                json::report(out, &subject, index, (to, *failed, first));
            }
            if let Some(reason) = homeless {
                json::homeless(out, &subject, reason.text());
            }
            if let Some(reason) = set_aside {
                json::set_aside(out, &subject, Stream::DeadLetter.name(), reason.text().as_bytes());
            }
            for (index, fault) in (0..).zip(&taken.faults) {
                json::fault(out, &subject, index, fault.stage.name(), &fault.text, &fault.place);
            }
        });
        Ok(())
    }

    /// Appends the events of some dispositions, the first of this index; gives the fault that
    /// struck.
    fn events_of<'a>(
        &mut self,
        taken: &Taken<'a>,
        attempts: u32,
        first: u32,
        dispositions: &[Disposition<'a>],
    ) -> Option<Fault> {
        let desk = self.desk(taken);
        let stage = Cell::new(Stage::Event);
        let mark = self.part.mark_of(Stream::Events);
        let subject = taken.event_subject(attempts, self.context);
        let part = &mut self.part;
        let together = isolate(&stage, || {
            part.events(|out| {
                let enter = || desk.enter(Stage::Event, taken.marker);
                json::dispositions(out, &subject, first, dispositions, enter);
                dispositions.len()
            });
        });
        let fault = together.err()?;
        // One by one, then: the ones that can't be told in full are told in numbers.
        part.roll_back_stream(Stream::Events, &mark);
        let strikes_each = desk.is_struck_in(Stage::Event);
        let minimal = |part: &mut Part, index, disposition| {
            part.events(|out| {
                json::minimal(out, &subject, index, disposition);
                1
            });
        };
        for (index, disposition) in (first..).zip(dispositions) {
            if strikes_each {
                // What is known of deaths strikes again and again: throwing it costs time.
                minimal(part, index, disposition);
                continue;
            }
            let mark = part.mark_of(Stream::Events);
            let alone = isolate(&stage, || {
                desk.enter(Stage::Event, taken.marker);
                part.events(|out| {
                    json::disposition(out, &subject, index, disposition);
                    1
                });
            });
            if alone.is_err() {
                part.roll_back_stream(Stream::Events, &mark);
                minimal(part, index, disposition);
            }
        }
        Some(fault)
    }

    /// Appends events about a message as a whole; none of them, where that fails.
    fn tell(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mark = self.part.mark_of(Stream::Events);
        let part = &mut self.part;
        let events = |out: &mut Vec<u8>| {
            let start = out.len();
            write(out);
            memchr::memchr_iter(b'\n', out.get(start..).unwrap_or_default()).count()
        };
        if isolate(&Cell::new(Stage::Event), || part.events(events)).is_err() {
            self.part.roll_back_stream(Stream::Events, &mark);
        }
    }

    /// Puts a message that a fault struck into quarantine, as it was queued.
    fn quarantine<'a>(
        &mut self,
        source: &Source<'a>,
        taken: &mut Taken<'a>,
        fault: Fault,
        lists: &Lists<'a>,
    ) -> Result<(), EngineError> {
        if taken.is_altered() {
            return self.altered(source, taken);
        }
        if fault.stage == Stage::Parse {
            // Of its envelope nothing is known but the name that its place gives it.
            taken.set_key(source, &mut self.scratch.key);
        }
        let reason = format!("fault in {}: {} ({})", fault.stage.name(), fault.text, fault.place);
        let known = if source.format.has_envelope() {
            Known::Verbatim(taken.found.head)
        } else if fault.stage == Stage::Parse {
            Known::Name(taken.envelope.queue_id)
        } else {
            Known::Envelope(&taken.envelope, &lists.recipients)
        };
        let reason = reason.as_bytes();
        record::append_quarantine(&mut self.part, known, taken.origin, &taken.payload, reason);
        taken.faults.push(fault);
        let subject = taken.event_subject(taken.envelope.attempts, self.context);
        self.tell(|out| {
            json::set_aside(out, &subject, Stream::Quarantine.name(), reason);
            for (index, fault) in (0..).zip(&taken.faults) {
                json::fault(out, &subject, index, fault.stage.name(), &fault.text, &fault.place);
            }
        });
        self.counts.messages += 1;
        self.counts.content_bytes += taken.payload.len;
        self.counts.quarantined += 1;
        self.counts.faults += taken.faults.len() as u64;
        self.inject_death(taken.marker);
        self.struck(&taken.faults)?;
        self.settle(taken)
    }

    /// Puts a message into quarantine that can't be judged, or that is over its budget, as it was
    /// queued.
    fn set_aside<'a>(
        &mut self,
        source: &Source<'a>,
        taken: &mut Taken<'a>,
        reason: &[u8],
    ) -> Result<(), EngineError> {
        if taken.is_altered() {
            return self.altered(source, taken);
        }
        taken.set_key(source, &mut self.scratch.key);
        let known = if source.format.has_envelope() {
            Known::Verbatim(taken.found.head)
        } else {
            Known::Envelope(&taken.envelope, &[])
        };
        record::append_quarantine(&mut self.part, known, taken.origin, &taken.payload, reason);
        let subject = taken.event_subject(taken.envelope.attempts, self.context);
        self.tell(|out| json::set_aside(out, &subject, Stream::Quarantine.name(), reason));
        self.counts.messages += 1;
        self.counts.content_bytes += taken.payload.len;
        self.counts.quarantined += 1;
        self.settle(taken)
    }

    /// Puts a record into quarantine as damage, because its content isn't that of its head: framing
    /// has left that open.
    fn altered<'a>(
        &mut self,
        source: &Source<'a>,
        taken: &mut Taken<'a>,
    ) -> Result<(), EngineError> {
        self.damage(source, taken, DamageKind::Content)
    }

    /// Puts a damaged range into quarantine.
    fn damage<'a>(
        &mut self,
        source: &Source<'a>,
        taken: &mut Taken<'a>,
        kind: DamageKind,
    ) -> Result<(), EngineError> {
        let Origin { offset, length, .. } = taken.origin;
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset + length).ok());
        let bytes = range.and_then(|(start, end)| source.bytes.get(start..end));
        taken.payload = Payload::measure(Content::plain(bytes.unwrap_or_default()));
        let place = QueueId::Place { tag: source.tag, offset };
        taken.envelope = Envelope::new(place);
        taken.set_key(source, &mut self.scratch.key);
        let text = kind.text();
        let reason = text.as_bytes();
        let known = Known::Name(place);
        record::append_quarantine(&mut self.part, known, taken.origin, &taken.payload, reason);
        let subject = taken.event_subject(0, self.context);
        self.tell(|out| {
            json::unreadable(out, &subject, text);
            json::set_aside(out, &subject, Stream::Quarantine.name(), reason);
        });
        self.counts.damaged += 1;
        self.settle(taken)
    }

    /// Kills the worker, where a test's message says so: `worker` once, `worker-always` at each
    /// try.
    fn inject_death(&self, marker: Option<&[u8]>) {
        let once = marker == Some(b"worker") && self.tries == 0;
        let strikes = once || marker == Some(b"worker-always");
        assert!(!(cfg!(feature = "fault-injection") && strikes), "injected death of a worker");
    }
}

/// Whether the content of a message is copied nowhere, where accepted mail stays in the queue.
fn stays(verdict: &Verdict<'_>) -> bool {
    let mut streams = verdict.dispositions.iter().filter_map(|it| Stream::of(it.outcome));
    streams.all(|stream| stream == Stream::Accepted)
}
