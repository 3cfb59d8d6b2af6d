//! Writes again what a run must have written of a message, from its dispositions as the streams
//! have them, and compares it byte by byte: the envelopes of records, reports, and events.
//!
//! Not here: whether there are as many of each as there must be (`part`). What a fault has cut
//! short (an event from numbers alone, a report that became dead letters) is taken as what it says
//! it is.

use super::books::{Books, Event, Record};
use crate::decide::{Disposition, NoReport, Outcome, Policy, Verdict, schedule};
use crate::event::Number;
use crate::event::json::{self, Subject};
use crate::mail::date::Time;
use crate::mail::envelope::{Envelope, QueueId, Recipient};
use crate::mail::status::EnhancedStatus;
use crate::ndr::{self, ReportingMta};
use crate::queue::segment::read::{self, RecipientNotes};
use crate::queue::segment::write::{Fields, Payload};
use crate::spool::Stream;
use crate::spool::plan::Options;
use crate::spool::record::{Judged, Known, Origin, Report, quarantine_fields};

/// Where one disposition was found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    /// Index of its event.
    pub(super) event: Option<usize>,
    /// Indexes of its record, and of the recipient within.
    pub(super) record: Option<(usize, usize)>,
}

/// A message of the queue, and what the books have of it.
pub(super) struct Message<'c, 'a, 's> {
    pub(super) envelope: &'c Envelope<'a>,
    pub(super) recipients: &'c [Recipient<'a>],
    pub(super) origin: Origin<'a>,
    pub(super) payload: Payload<'a>,
    pub(super) key: u64,
    pub(super) entries: &'c [Entry],
    pub(super) records: &'c [usize],
    pub(super) events: &'c [usize],
    pub(super) books: &'c Books<'s>,
}

/// What is the same for all messages of a run.
#[derive(Clone, Debug)]
pub(super) struct Hand<'r> {
    hostname: &'r str,
    mta: ReportingMta,
    time: &'r str,
    now: Time,
    policy: Policy,
}

impl<'r> Hand<'r> {
    pub(super) fn of(options: &'r Options) -> Self {
        let (hostname, time) = (options.hostname.as_str(), options.now.as_str());
        let now = options.clock();
        let mta = ReportingMta::new(hostname, now);
        Self { hostname, mta, time, now, policy: options.policy }
    }

    /// The first thing of a message that isn't as it is when written again: where it stands, and
    /// what it is.
    pub(super) fn differs(&self, message: &Message<'_, '_, '_>) -> Option<(String, &'static str)> {
        let texts: Vec<Option<String>> =
            message.entries.iter().map(|entry| message.text_of(*entry)).collect();
        let dispositions: Option<Vec<Disposition<'_>>> = message
            .entries
            .iter()
            .zip(&texts)
            .map(|(entry, text)| message.disposition(*entry, text.as_deref()))
            .collect();
        let first = message.events.first().and_then(|at| message.books.events.get(*at));
        let place = first.map_or_else(String::new, |event| event.place.to_string());
        let Some(dispositions) = dispositions else {
            return Some((place, "an event says what no event says"));
        };
        let schedule = schedule(message.envelope, self.policy, self.now);
        let verdict = Verdict::of(dispositions, schedule, !message.recipients.is_empty());
        let judged = Judged {
            envelope: message.envelope,
            recipients: message.recipients,
            verdict: &verdict,
            origin: message.origin,
            payload: message.payload,
            reference: None,
        };
        for at in message.records {
            let Some(record) = message.books.records.get(*at) else { continue };
            let same = match record.stream {
                Stream::Ndr => self.report(message, &judged, *at, record),
                _ => self.envelope(message, &judged, *at, record),
            };
            if !same {
                return Some((record.place.clone(), "the record says something else"));
            }
        }
        self.events(message, &verdict).map(|place| (place, "the event says something else"))
    }

    /// What events of a message share.
    pub(super) fn subject<'c, 'a>(
        &'c self,
        key: u64,
        attempts: u32,
        envelope: &'c Envelope<'a>,
        size: u64,
    ) -> Subject<'c, 'a> {
        let (queue_id, sender) = (&envelope.queue_id, envelope.reverse_path);
        Subject { key, attempts, time: self.time.as_bytes(), queue_id, sender, size }
    }

    fn envelope(
        &self,
        message: &Message<'_, '_, '_>,
        judged: &Judged<'_, '_>,
        at: usize,
        record: &Record<'_>,
    ) -> bool {
        let mut recipients = Vec::new();
        let nameless = QueueId::Given(b"");
        let Ok(envelope) = read::envelope(record.found.head, nameless, &mut recipients) else {
            return false;
        };
        let is_here = |index: usize| {
            message.entries.get(index).and_then(|entry| entry.record).is_some_and(|r| r.0 == at)
        };
        let mut expect = Vec::new();
        let mut fields = Fields::new(&mut expect);
        judged.fields(&mut fields, record.stream, envelope.reverse_path, is_here, self.hostname);
        expect == record.found.head
    }

    /// Reports are numbered before it is known which of them a fault keeps from being made: where
    /// one was, the numbers can't be known again.
    fn report(
        &self,
        message: &Message<'_, '_, '_>,
        judged: &Judged<'_, '_>,
        at: usize,
        record: &Record<'_>,
    ) -> bool {
        let dispositions = &judged.verdict.dispositions;
        let faulty = Outcome::DeadLetter(NoReport::ReportFault);
        if dispositions.iter().any(|disposition| disposition.outcome == faulty) {
            return true;
        }
        let earlier = message.records.iter().take_while(|index| **index != at);
        let is_report = |index: &&usize| {
            message.books.records.get(**index).is_some_and(|r| r.stream == Stream::Ndr)
        };
        let number = earlier.filter(is_report).count();
        let Some(to) = ndr::addressees(dispositions).nth(number) else { return false };
        let of_attempt = (message.key, judged.verdict.attempts);
        let (envelope, recipients) = (message.envelope, message.recipients);
        let returned =
            ndr::Returned::read(envelope, recipients, message.payload.content, of_attempt);
        let mut content = Vec::new();
        ndr::render(&mut content, &self.mta, &returned, to, dispositions);
        let index = u32::try_from(number).unwrap_or(u32::MAX);
        let report = Report { key: message.key, index, now: self.now, content: &content };
        let mut expect = Vec::new();
        judged.report_fields(&mut Fields::new(&mut expect), to, &report);
        expect == record.found.head && record.found.content.raw() == content
    }

    /// The place of the first event that is another, or that lacks one beside it.
    fn events(&self, message: &Message<'_, '_, '_>, verdict: &Verdict<'_>) -> Option<String> {
        let dispositions = &verdict.dispositions;
        let (size, attempts) = (message.payload.len, verdict.attempts);
        let subject = self.subject(message.key, attempts, message.envelope, size);
        let reports: Vec<&[u8]> = ndr::addressees(dispositions).collect();
        let (set_aside, homeless) = (verdict.dead_letter(), verdict.homeless_report());
        // Events from numbers alone don't tell reasons, and the record has only the first one.
        let is_unsure =
            message.told().any(|e| e.outcome == Some("dead-letter") && e.reason.is_none());
        let (mut told_reports, mut told_homeless) = (0, 0);
        let mut faults = Faults::default();
        let mut last_place = None;
        for event in message.told() {
            let mut expect = Vec::new();
            let mut other = Vec::new();
            if let Some(index) = event.index {
                let Some(disposition) = dispositions.get(index as usize) else { continue };
                json::disposition(&mut expect, &subject, index, disposition);
                json::minimal(&mut other, &subject, index, disposition);
            } else if event.number == Number::REPORT_MADE.0 {
                let to = reports.get(told_reports).copied().unwrap_or_default();
                let failed = ndr::reported(dispositions, to).count();
                let first = ndr::reported(dispositions, to).next();
                let index = u32::try_from(told_reports).unwrap_or(u32::MAX);
                let failed = u32::try_from(failed).unwrap_or(u32::MAX);
                json::report(&mut expect, &subject, index, (to, failed, first));
                told_reports += 1;
            } else if event.number == Number::REPORT_HOMELESS.0 {
                let reason = homeless.unwrap_or(NoReport::NoSuchSender);
                json::homeless(&mut expect, &subject, reason.text());
                if is_unsure {
                    json::homeless(&mut other, &subject, NoReport::SystemSender.text());
                }
                told_homeless += 1;
            } else if faults.expect(event, &mut expect, &subject) {
                // Told of below.
            } else if let Some(reason) = set_aside {
                let reason = reason.text().as_bytes();
                json::set_aside(&mut expect, &subject, Stream::DeadLetter.name(), reason);
            }
            if !faults.go_on(event) || event.line != expect && event.line != other {
                return Some(event.place.to_string());
            }
            last_place = Some(event.place);
        }
        let has_homeless = is_unsure || told_homeless == usize::from(homeless.is_some());
        last_place.filter(|_| faults.is_open() || !has_homeless).map(|place| place.to_string())
    }
}

/// Faults in the order of their events: each is two, of the fault and of the thread that failed.
#[derive(Default)]
struct Faults<'e, 's> {
    told: u32,
    /// The fault whose second event comes next.
    open: Option<&'e Event<'s>>,
}

impl<'e, 's> Faults<'e, 's> {
    /// Appends what the event has to be, if it is one of the two.
    fn expect(&self, event: &Event<'_>, out: &mut Vec<u8>, subject: &Subject<'_, '_>) -> bool {
        let is_fault = event.number == Number::FAULT.0;
        let is_second = event.number == Number::THREAD_FAILED.0;
        let both = match (is_fault, is_second, self.open) {
            (true, _, _) => event.fault_again(subject, self.told),
            (_, true, Some(fault)) => fault.fault_again(subject, self.told.saturating_sub(1)),
            _ => return is_second,
        };
        let first = both.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (first, second) = both.split_at(first);
        out.extend_from_slice(if is_fault { first } else { second });
        true
    }

    /// Passes on over an event. False: another has to stand here.
    fn go_on(&mut self, event: &'e Event<'s>) -> bool {
        let was_open = self.open.take().is_some();
        if event.number == Number::FAULT.0 {
            self.open = Some(event);
            self.told += 1;
        }
        was_open == (event.number == Number::THREAD_FAILED.0)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// The same for what is in quarantine: its record has one of the envelopes that may be known of
/// it, and its events tell the record's reason. Only of damage is it told that it can't be read.
pub(super) fn quarantine_differs(
    (record, known, origin): (&Record<'_>, &[Known<'_, '_>], Origin<'_>),
    events: &[&Event<'_>],
    subjects: &[Subject<'_, '_>],
    is_damage: bool,
) -> Option<(String, &'static str)> {
    let reason = record.notes.reason.unwrap_or_default();
    let is_so = known.iter().any(|known| {
        let mut expect = Vec::new();
        quarantine_fields(&mut Fields::new(&mut expect), *known, origin, reason);
        expect == record.found.head
    });
    if !is_so {
        return Some((record.place.clone(), "the record says something else"));
    }
    let mut faults = Faults::default();
    let mut told_unreadable = 0;
    for event in events {
        let is_unreadable = event.number == Number::UNREADABLE.0;
        let is_so = subjects.iter().any(|subject| {
            let mut expect = Vec::new();
            if is_unreadable {
                json::unreadable(&mut expect, subject, &String::from_utf8_lossy(reason));
            } else if !faults.expect(event, &mut expect, subject) {
                let stream = Stream::Quarantine.name();
                json::set_aside(&mut expect, subject, stream, reason);
            }
            event.line == expect
        });
        told_unreadable += usize::from(is_unreadable);
        if !faults.go_on(event) || !is_so {
            return Some((event.place.to_string(), "the event says something else"));
        }
    }
    if faults.is_open() || told_unreadable != usize::from(is_damage) {
        return Some((record.place.clone(), "an event is missing, or is there twice"));
    }
    None
}

impl<'s> Message<'_, '_, 's> {
    /// Its events, in their order.
    fn told(&self) -> impl Iterator<Item = &Event<'s>> {
        self.events.iter().filter_map(|at| self.books.events.get(*at))
    }

    /// The address that only an event tells: of an expanded or a duplicate recipient.
    fn text_of(&self, entry: Entry) -> Option<String> {
        let event = self.books.events.get(entry.event?)?;
        match entry.record {
            Some(_) => None,
            None => serde_json::from_str(event.recipient?.get()).ok(),
        }
    }

    /// A disposition, from its record, or where it has none from its event.
    fn disposition<'d>(&self, entry: Entry, text: Option<&'d str>) -> Option<Disposition<'d>>
    where
        's: 'd,
    {
        let event = self.books.events.get(entry.event?)?;
        let mut disposition = Disposition::new(event.ordinal.unwrap_or(0), b"");
        disposition.ordinal = event.ordinal;
        disposition.status = EnhancedStatus::ADDRESS_VALID;
        disposition.outcome = event.decided()?;
        let Some((at, number)) = entry.record else {
            // An event from numbers alone has no address to compare.
            disposition.address = text.unwrap_or_default().as_bytes();
            return Some(disposition);
        };
        let record = self.books.records.get(at)?;
        let recipient: &RecipientNotes<'s> = record.recipients.get(number)?;
        disposition.address = recipient.forward_path;
        disposition.status = EnhancedStatus::parse(recipient.status)?;
        disposition.number = recipient.number;
        disposition.route = recipient.route;
        disposition.detail = recipient.diagnostic;
        if let Outcome::DeadLetter(reason) = &mut disposition.outcome
            && event.reason.is_none()
        {
            // An event from numbers alone: the record has the reason of its first dead letter.
            *reason = NoReport::of_text(record.notes.reason?)?;
        }
        if record.stream == Stream::Ndr {
            let to = record.recipients.iter().find(|recipient| !recipient.reported)?;
            disposition.report_to = to.forward_path;
        }
        Some(disposition)
    }
}

impl Event<'_> {
    /// The outcome that it tells. One that was made from numbers alone doesn't tell why a dead
    /// letter is one.
    pub(super) fn decided(&self) -> Option<Outcome> {
        let reason = || match self.reason {
            Some(text) => NoReport::of_text(text.as_bytes()),
            None => Some(NoReport::IsReport),
        };
        Some(match self.outcome? {
            "delivered" => Outcome::Delivered,
            "relayed" => Outcome::Relayed,
            "expanded" => Outcome::Expanded,
            "duplicate" => Outcome::Duplicate,
            "deferred" => Outcome::Deferred,
            "failed" => Outcome::Failed,
            "dead-letter" => Outcome::DeadLetter(reason()?),
            _ => return None,
        })
    }

    /// The two events of a fault, from what the first says of the fault itself.
    fn fault_again(&self, subject: &Subject<'_, '_>, index: u32) -> Vec<u8> {
        let line: serde_json::Value = serde_json::from_slice(self.line).unwrap_or_default();
        let text =
            |name: &str| line.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let mut out = Vec::new();
        json::fault(&mut out, subject, index, text("stage"), text("fault"), text("place"));
        out
    }
}
