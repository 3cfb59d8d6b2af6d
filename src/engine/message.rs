//! The walk of one message: parse, decide, its reports, its records, its events; and what is done
//! when a step fails.
//!
//! Its worker gets messages and damage in queue order (`walk`), and appends to the part's buffers.
//! Steps run inside `isolate`: a fault in parse, decide or render takes the buffers back and
//! quarantines the message byte for byte; one in a report turns what it would have reported into
//! dead letters; one in an event leaves an event made from numbers alone. Not here: which part,
//! writing, committing. Invariant: after each message its marks hold, and each of its recipients
//! has one outcome.

use super::board;
use super::breaker::Breaker;
use super::isolate::{Fault, Stage, isolate};
use super::memory::Memory;
use super::{Context, EngineError, Faults, Offices};
use crate::decide::{Case, Disposition, NoReport, Outcome, Verdict};
use crate::event::json::{self, Subject};
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::Envelope;
use crate::mail::header::HeaderFacts;
use crate::ndr;
use crate::queue::envelope::Read;
use crate::queue::segment::write::Payload;
use crate::queue::{Damage, DamageKind, Found, Lies, Source, envelope};
use crate::spool::Counts;
use crate::spool::Stream;
use crate::spool::part::{Mark, Part};
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
    /// What it has in hand, as the board has it.
    pub(super) now: board::InHand,
    /// Messages and damages of the part before this one are passed over.
    pub(super) from: u64,
    /// Where the message in hand ends in its file.
    pub(super) next: u64,
    /// The place on the board where the part's state is saved.
    pub(super) place: Option<usize>,
    pub(super) breaker: Breaker,
    /// What the post offices of the part's queue know, where it is made of such.
    pub(super) offices: Option<&'r Offices>,
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

/// A message in hand, and what is known of it so far.
#[derive(Debug)]
struct InHand<'a> {
    envelope: Envelope<'a>,
    origin: Origin<'a>,
    payload: Payload<'a>,
    /// Its content isn't held against the checksum of its record yet.
    is_unread: bool,
    /// Its stable id; 0 until its envelope is read.
    key: u64,
    /// Marker of an injected fault.
    marker: Option<&'a [u8]>,
    /// Faults that struck it: at most one a stage is told.
    faults: SmallVec<[Fault; 2]>,
}

/// How far judging came.
enum Judgment {
    Judged,
    /// The message is over its budget.
    TooMuch(DamageKind),
    /// Its envelope can't be read.
    Damaged(DamageKind),
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
            now: board::InHand::default(),
            from: 0,
            next: 0,
            place: None,
            breaker: Breaker::new(context.breaker),
            offices: None,
            refers: None,
            known: None,
            memory: Memory::default(),
            tails: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    pub(super) fn message<'a>(
        &mut self,
        source: &Source<'a>,
        found: Found<'a>,
        checksum: Option<u32>,
        memory: &mut Memory<'a>,
    ) -> Result<(), EngineError>
    where
        'r: 'a,
    {
        let content = found.content;
        let origin = origin(source, &found);
        let desk = self.desk();
        desk.take(Stage::Parse, (found.offset, found.length));
        let is_unread =
            checksum.is_some() && self.refers.is_some() && matches!(found.lies, Lies::Here(_));
        let checksum = checksum.unwrap_or_else(|| content.checksum());
        let payload = Payload::known(content, checksum);
        let mark = self.part.mark();
        let mut hand = InHand {
            envelope: Envelope::new(envelope::queue_id(source, &found)),
            origin,
            payload,
            is_unread,
            key: 0,
            marker: None,
            faults: SmallVec::new(),
        };
        if let Some(reason) = found.set_aside {
            self.read_envelope(source, &found, &mut hand, memory);
            return self.set_aside(source, &found, hand, reason);
        }
        let stage = Cell::new(Stage::Parse);
        match isolate(&stage, || self.judge(source, &found, &mut hand, memory, &stage)) {
            Ok(Judgment::Judged) if stays(&memory.verdict) || !hand.is_altered() => {}
            Ok(Judgment::Judged) => return self.altered(source, &hand),
            Ok(Judgment::TooMuch(kind)) => {
                return self.set_aside(source, &found, hand, kind.text().as_bytes());
            }
            Ok(Judgment::Damaged(kind)) => {
                let damage = Damage { offset: found.offset, length: found.length, kind };
                return self.damage(source, origin, damage);
            }
            Err(fault) => return self.quarantine(source, &found, hand, fault, &mark, memory),
        }
        self.inject_death(hand.marker);
        let made = self.reports(&mut hand, memory);
        stage.set(Stage::Render);
        let (refers, out) = (self.refers.as_ref(), &mut self.scratch.reference);
        let rendered = isolate(&stage, || {
            desk.enter(Stage::Render, hand.marker);
            let reference = refers.and_then(|it| it.reference(origin.name, &found, &payload, out));
            let judged = Judged { reference, ..hand.judged(memory) };
            judged.append(&mut self.part, self.context.hostname);
        });
        if let Err(fault) = rendered {
            return self.quarantine(source, &found, hand, fault, &mark, memory);
        }
        self.events(&mut hand, memory, &made)?;
        for disposition in &memory.verdict.dispositions {
            self.counts.count(disposition.outcome);
        }
        self.counts.messages += 1;
        self.counts.content_bytes += payload.len;
        self.counts.reports += made.len() as u64;
        self.counts.faults += hand.faults.len() as u64;
        self.struck(&hand.faults)?;
        self.settle(content)
    }

    /// The envelope of a message that can't be judged, as far as it can be read.
    fn read_envelope<'a>(
        &self,
        source: &Source<'a>,
        found: &Found<'a>,
        hand: &mut InHand<'a>,
        memory: &mut Memory<'a>,
    ) {
        let (facts, order) = (HeaderFacts::default(), self.context.recipients);
        let read = envelope::read(source, found, &facts, order, &mut memory.recipients);
        if let Read::Message(envelope) = read {
            hand.envelope = envelope;
        }
    }

    /// Parse and decide, where the envelope can be read and the message is within its budget.
    fn judge<'a>(
        &mut self,
        source: &Source<'a>,
        found: &Found<'a>,
        hand: &mut InHand<'a>,
        memory: &mut Memory<'a>,
        stage: &Cell<Stage>,
    ) -> Judgment
    where
        'r: 'a,
    {
        let desk = self.desk();
        desk.enter(Stage::Parse, None);
        memory.recipients.clear();
        let fields = std::mem::take(&mut memory.fields);
        let facts = HeaderFacts::read_into(fields, found.content.raw());
        hand.marker = facts.fault;
        desk.enter(Stage::Parse, hand.marker);
        let order = self.context.recipients;
        match envelope::read(source, found, &facts, order, &mut memory.recipients) {
            Read::Message(envelope) => hand.envelope = envelope,
            Read::TooMuch(envelope, kind) => {
                hand.envelope = envelope;
                return Judgment::TooMuch(kind);
            }
            Read::Damaged(kind) => return Judgment::Damaged(kind),
        }
        hand.set_key(source, &mut self.scratch.key);
        stage.set(Stage::Decide);
        desk.enter(Stage::Decide, hand.marker);
        let case = Case {
            envelope: &hand.envelope,
            recipients: &memory.recipients,
            header_hops: facts.hops,
            is_report: facts.is_report,
            condition: found.condition,
            office: memory.office,
        };
        self.context.judge.decide(case, &mut memory.verdict);
        memory.fields = facts.recipients;
        Judgment::Judged
    }

    /// Makes the reports that are due. What a fault keeps from being reported becomes a dead
    /// letter.
    fn reports<'a>(&mut self, hand: &mut InHand<'a>, memory: &mut Memory<'a>) -> Made<'a> {
        let addressees: SmallVec<[&'a [u8]; 4]> =
            ndr::addressees(&memory.verdict.dispositions).collect();
        let mut made = Made::new();
        for (index, to) in (0..).zip(addressees) {
            let mark = self.part.mark_of(Stream::Ndr);
            let desk = self.desk();
            let stage = Cell::new(Stage::Ndr);
            let rendered = isolate(&stage, || {
                desk.enter(Stage::Ndr, hand.marker);
                self.report(hand, memory, to, index);
            });
            if let Err(fault) = rendered {
                self.part.roll_back_stream(Stream::Ndr, &mark);
                for disposition in &mut memory.verdict.dispositions {
                    if disposition.outcome == Outcome::Failed && disposition.report_to == to {
                        disposition.outcome = Outcome::DeadLetter(NoReport::ReportFault);
                    }
                }
                hand.faults.push(fault);
            } else {
                let failed = ndr::reported(&memory.verdict.dispositions, to).count();
                made.push((to, u32::try_from(failed).unwrap_or(u32::MAX)));
            }
        }
        made
    }

    fn report<'a>(&mut self, hand: &InHand<'a>, memory: &Memory<'a>, to: &'a [u8], index: u32) {
        let now = self.context.judge.now;
        let verdict = &memory.verdict;
        let returned = ndr::Returned {
            envelope: &hand.envelope,
            recipients: &memory.recipients,
            content: hand.payload.content,
            key: hand.key,
            attempts: verdict.attempts,
        };
        let by = ndr::Context { hostname: self.context.hostname, now };
        let report = &mut self.scratch.report;
        report.clear();
        ndr::render(report, &by, &returned, to, &verdict.dispositions);
        let rendered = Report { key: hand.key, index, now, content: report };
        hand.judged(memory).append_report(&mut self.part, to, &rendered);
        if report.capacity() > limits::BUFFER_KEPT_BYTES_MAX {
            *report = Vec::new();
        }
    }

    /// Appends the events of a message that was judged.
    fn events<'a>(
        &mut self,
        hand: &mut InHand<'a>,
        memory: &Memory<'a>,
        made: &Made<'a>,
    ) -> Result<(), EngineError> {
        let verdict = &memory.verdict;
        let mut struck = None;
        let mut index = 0;
        for some in verdict.dispositions.chunks(limits::BATCH_EVENTS) {
            let fault = self.events_of(hand, verdict.attempts, index, some);
            struck = struck.or(fault);
            index = index.saturating_add(u32::try_from(some.len()).unwrap_or(u32::MAX));
            if self.context.trial.is_none() {
                self.part.settle_events(self.context.folder)?;
            }
        }
        hand.faults.extend(struck);
        let subject = hand.subject(verdict.attempts, self.context);
        let (set_aside, homeless) = (verdict.dead_letter(), verdict.homeless_report());
        // A report that has nowhere to go makes a dead letter.
        if made.is_empty() && set_aside.is_none() && hand.faults.is_empty() {
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
            for (index, fault) in (0..).zip(&hand.faults) {
                json::fault(out, &subject, index, fault.stage.name(), &fault.text, &fault.place);
            }
        });
        Ok(())
    }

    /// Appends the events of some dispositions, the first of this index; gives the fault that
    /// struck.
    fn events_of<'a>(
        &mut self,
        hand: &InHand<'a>,
        attempts: u32,
        first: u32,
        dispositions: &[Disposition<'a>],
    ) -> Option<Fault> {
        let desk = self.desk();
        let stage = Cell::new(Stage::Event);
        let mark = self.part.mark_of(Stream::Events);
        let subject = hand.subject(attempts, self.context);
        let part = &mut self.part;
        let together = isolate(&stage, || {
            part.events(|out| {
                let enter = || desk.enter(Stage::Event, hand.marker);
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
                desk.enter(Stage::Event, hand.marker);
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

    /// Takes everything of a message back, and puts it into quarantine as it was queued.
    fn quarantine<'a>(
        &mut self,
        source: &Source<'a>,
        found: &Found<'a>,
        mut hand: InHand<'a>,
        fault: Fault,
        mark: &Mark,
        memory: &Memory<'a>,
    ) -> Result<(), EngineError> {
        self.part.roll_back(mark);
        if hand.is_altered() {
            return self.altered(source, &hand);
        }
        if fault.stage == Stage::Parse {
            // Of its envelope nothing is known but the name that its place gives it.
            hand.set_key(source, &mut self.scratch.key);
        }
        let reason = format!("fault in {}: {} ({})", fault.stage.name(), fault.text, fault.place);
        let known = if source.format.has_envelope() {
            Known::Verbatim(found.head)
        } else if fault.stage == Stage::Parse {
            Known::Name(hand.envelope.queue_id)
        } else {
            Known::Envelope(&hand.envelope, &memory.recipients)
        };
        let reason = reason.as_bytes();
        record::append_quarantine(&mut self.part, known, hand.origin, &hand.payload, reason);
        hand.faults.push(fault);
        let subject = hand.subject(hand.envelope.attempts, self.context);
        self.tell(|out| {
            json::set_aside(out, &subject, Stream::Quarantine.name(), reason);
            for (index, fault) in (0..).zip(&hand.faults) {
                json::fault(out, &subject, index, fault.stage.name(), &fault.text, &fault.place);
            }
        });
        self.counts.messages += 1;
        self.counts.content_bytes += hand.payload.len;
        self.counts.quarantined += 1;
        self.counts.faults += hand.faults.len() as u64;
        self.inject_death(hand.marker);
        self.struck(&hand.faults)?;
        self.settle(hand.payload.content)
    }

    /// Puts a message into quarantine that can't be judged, or that is over its budget, as it was
    /// queued.
    fn set_aside<'a>(
        &mut self,
        source: &Source<'a>,
        found: &Found<'a>,
        mut hand: InHand<'a>,
        reason: &[u8],
    ) -> Result<(), EngineError> {
        if hand.is_altered() {
            return self.altered(source, &hand);
        }
        hand.set_key(source, &mut self.scratch.key);
        let known = if source.format.has_envelope() {
            Known::Verbatim(found.head)
        } else {
            Known::Envelope(&hand.envelope, &[])
        };
        record::append_quarantine(&mut self.part, known, hand.origin, &hand.payload, reason);
        let subject = hand.subject(hand.envelope.attempts, self.context);
        self.tell(|out| json::set_aside(out, &subject, Stream::Quarantine.name(), reason));
        self.counts.messages += 1;
        self.counts.content_bytes += hand.payload.len;
        self.counts.quarantined += 1;
        self.settle(hand.payload.content)
    }

    /// Puts a record into quarantine as damage, because its content isn't that of its head: framing
    /// has left that open.
    fn altered<'a>(&mut self, source: &Source<'a>, hand: &InHand<'a>) -> Result<(), EngineError> {
        let Origin { offset, length, .. } = hand.origin;
        self.damage(source, hand.origin, Damage { offset, length, kind: DamageKind::Content })
    }

    /// Puts a damaged range into quarantine.
    pub(super) fn damage<'a>(
        &mut self,
        source: &Source<'a>,
        origin: Origin<'a>,
        damage: Damage,
    ) -> Result<(), EngineError> {
        let range = usize::try_from(damage.offset)
            .ok()
            .zip(usize::try_from(damage.offset + damage.length).ok());
        let bytes = range.and_then(|(start, end)| source.bytes.get(start..end));
        let payload = Payload::measure(Content::plain(bytes.unwrap_or_default()));
        let place =
            crate::mail::envelope::QueueId::Place { tag: source.tag, offset: damage.offset };
        let envelope = Envelope::new(place);
        let content = (payload.content, payload.len);
        let scratch = &mut self.scratch.key;
        let key = envelope::key(source, damage.offset, &envelope, content, scratch);
        let text = damage.kind.text();
        let reason = text.as_bytes();
        record::append_quarantine(&mut self.part, Known::Name(place), origin, &payload, reason);
        let subject = Subject {
            key,
            attempts: 0,
            time: &self.context.time,
            queue_id: &envelope.queue_id,
            sender: envelope.reverse_path,
            size: payload.len,
        };
        self.tell(|out| {
            json::unreadable(out, &subject, text);
            json::set_aside(out, &subject, Stream::Quarantine.name(), reason);
        });
        self.counts.damaged += 1;
        self.settle(payload.content)
    }

    /// Kills the worker, where a test's message says so: `worker` once, `worker-always` at each
    /// try.
    fn inject_death(&self, marker: Option<&[u8]>) {
        let once = marker == Some(b"worker") && self.tries == 0;
        let strikes = once || marker == Some(b"worker-always");
        assert!(!(cfg!(feature = "fault-injection") && strikes), "injected death of a worker");
    }
}

impl<'a> InHand<'a> {
    fn judged<'c>(&'c self, memory: &'c Memory<'a>) -> Judged<'c, 'a> {
        Judged {
            envelope: &self.envelope,
            recipients: &memory.recipients,
            verdict: &memory.verdict,
            origin: self.origin,
            payload: self.payload,
            reference: None,
        }
    }

    /// Whether its content is another than its record says; looked at here, where framing has left
    /// that open.
    fn is_altered(&self) -> bool {
        self.is_unread && self.payload.content.checksum() != self.payload.checksum
    }

    fn set_key(&mut self, source: &Source<'_>, scratch: &mut Vec<u8>) {
        let content = (self.payload.content, self.payload.len);
        self.key = envelope::key(source, self.origin.offset, &self.envelope, content, scratch);
    }

    fn subject<'c>(&'c self, attempts: u32, context: &'c Context<'_>) -> Subject<'c, 'a> {
        Subject {
            key: self.key,
            attempts,
            time: &context.time,
            queue_id: &self.envelope.queue_id,
            sender: self.envelope.reverse_path,
            size: self.payload.len,
        }
    }
}

/// Whether the content of a message is copied nowhere, where accepted mail stays in the queue.
fn stays(verdict: &Verdict<'_>) -> bool {
    let mut streams = verdict.dispositions.iter().filter_map(|it| Stream::of(it.outcome));
    streams.all(|stream| stream == Stream::Accepted)
}

fn origin<'a>(source: &Source<'a>, found: &Found<'a>) -> Origin<'a> {
    let name = envelope::file_name(source, found);
    Origin { name, offset: found.offset, length: found.length }
}
