//! Hazards that lie in the envelope's other members, in who would get the report, and in the
//! record.
//!
//! What it deliberately does not do: doing the damage (see `block`).
//!
//! Invariant: where a report may be refused, the recipient fails for sure; where the clock matters,
//! times are whole seconds.

use crate::envelope::{DELAY, FAILURE, NEVER, Recipient, Reverse, SUCCESS};
use crate::expect::LIFETIME;
use crate::hazards::Hazard;
use crate::plan::{Body, Damage, Maker};
use crate::postoffice::lifetime;
use crate::time::{HOUR, MINUTE, SECOND};

const BAD_DATES: [&[u8]; 8] = [
    b"",
    b"yesterday",
    b"Fri, 32 Jan 2026 25:61:61 +9999",
    b"2026-01-02T03:04:05Z",
    b"Mon, 31 Feb 99999 00:00:00 GMT",
    b"Fri, 2 Jan 2026",
    b"\xc4\xe5\xea, 2 \xdf\xed\xe2 2026 03:04:05",
    b"0",
];

impl Maker<'_> {
    pub(super) fn trouble(&mut self, hazard: Hazard) {
        match hazard {
            Hazard::Corrupt => self.corrupt(),
            Hazard::FullMailbag => self.full(),
            Hazard::ReportMistaken => self.success_wanted(),
            Hazard::ReportMissing => self.notify_decides(),
            Hazard::NdrLost => self.no_way_back(),
            Hazard::NdrOfNdr => self.report_about_report(),
            Hazard::DuplicateDelivery => self.partly_done(),
            Hazard::NdrLoop => self.answering_lists(),
            Hazard::MessageLoop => self.hops(),
            Hazard::SystemMail => self.system(),
            Hazard::FaultPanic => self.fault(&["parse", "decide", "render", "ndr", "event"]),
            Hazard::FaultSegv => self.fault(&["segv:parse", "segv:decide", "segv:render"]),
            Hazard::FaultBus => self.fault(&["bus:parse", "bus:decide", "bus:render"]),
            Hazard::FaultAbort => self.fault(&["abort:parse", "abort:decide", "abort:render"]),
            Hazard::FaultStack => self.fault(&["stack:parse", "stack:decide", "stack:render"]),
            Hazard::FaultOom => self.fault(&["oom:parse", "oom:decide", "oom:render"]),
            Hazard::FaultHang => self.fault(&["hang:parse", "hang:decide", "hang:render"]),
            _ => self.not_due(),
        }
    }

    fn only_nobody(&mut self) {
        let path = self.nobody();
        self.only(Recipient::good(path));
    }

    fn only_good(&mut self) {
        let path = self.good();
        self.only(Recipient::good(path));
    }

    fn corrupt(&mut self) {
        let last = self.plan.envelope.index + 1 == self.world.options.messages;
        if self.has_envelope() && (last || self.rng.chance(850)) {
            self.plan.damage = Some(match self.rng.below(8) {
                _ if last => Damage::Torn,
                0 | 1 => Damage::HeadByte,
                2 => Damage::EnvelopeByte,
                3 => Damage::ContentByte,
                4 => Damage::Length,
                5 => Damage::FieldTooLong,
                6 => Damage::FieldWrongLength,
                _ => Damage::RecipientField,
            });
            return;
        }
        self.plan.spec.date = Some(self.rng.pick(&BAD_DATES).to_vec());
    }

    fn full(&mut self) {
        let now = self.world.options.now;
        let path = self.rng.pick(&self.directory.full).to_vec();
        self.only(Recipient::good(path));
        self.maybe_good(200);
        let lifetime = match self.directory.office {
            Some(_) => lifetime(self.plan.envelope.priority),
            None => LIFETIME,
        };
        let envelope = &mut self.plan.envelope;
        envelope.attempts = 0;
        envelope.next_attempt = None;
        envelope.expiry = None;
        envelope.arrival = now - 2 * HOUR;
        match self.rng.below(8) {
            0 | 1 => {}
            2 | 3 => {
                envelope.attempts = u32::try_from(self.rng.between(1, 12)).unwrap_or(1);
                envelope.next_attempt = Some(now - SECOND);
            }
            4 => envelope.arrival = now - lifetime - HOUR,
            5 => {
                envelope.arrival = now - lifetime - 3 * HOUR;
                envelope.reverse = Reverse::Null;
            }
            6 => envelope.arrival = now - lifetime + 10 * MINUTE,
            _ => {
                // Only a segment can say when a message expires: elsewhere this is a first attempt.
                let expiries = [now - SECOND, now, now + SECOND, now + 20 * MINUTE, now + 9 * HOUR];
                envelope.expiry = expiries.get(self.rng.place(expiries.len())).copied();
            }
        }
    }

    fn success_wanted(&mut self) {
        self.plan.envelope.recipients.clear();
        self.plan.envelope.envid = Some(self.rng.below(1 << 40));
        for _ in 0..self.rng.between(1, 3) {
            let path = match self.rng.below(4) {
                0 => self.remote(),
                1 => self.relayed(),
                _ => self.good(),
            };
            let notify = if self.rng.chance(500) { SUCCESS } else { SUCCESS | FAILURE };
            let orcpt = path.is_ascii();
            self.add(Recipient { orcpt, ..Recipient::good(path).notify(notify) });
        }
    }

    fn notify_decides(&mut self) {
        let values = [NEVER, SUCCESS, DELAY, SUCCESS | DELAY, FAILURE, SUCCESS | FAILURE];
        self.plan.envelope.recipients.clear();
        for _ in 0..self.rng.between(1, 4) {
            let path = self.nobody();
            let notify = values.get(self.rng.place(values.len())).copied().unwrap_or(NEVER);
            self.add(Recipient::good(path).notify(notify));
        }
        self.maybe_good(300);
    }

    fn no_way_back(&mut self) {
        let directory = self.directory;
        self.plan.envelope.reverse = match self.rng.below(6) {
            0 => Reverse::Path(self.nobody()),
            1 => Reverse::Path(self.rng.pick(&directory.disabled).to_vec()),
            2 => Reverse::Path(self.rng.pick(&directory.moved).to_vec()),
            3 => Reverse::Invalid(b"sender@@corp.example".to_vec()),
            4 => Reverse::Unknown,
            _ => Reverse::Null,
        };
        self.only_nobody();
        self.maybe_good(300);
    }

    fn report_about_report(&mut self) {
        self.plan.spec.body = Body::Report(self.rng.between(1, 5));
        if self.rng.chance(500) {
            self.plan.envelope.reverse = Reverse::Null;
        }
        self.only_nobody();
        self.maybe_good(200);
    }

    fn partly_done(&mut self) {
        self.only_good();
        for _ in 0..self.rng.between(1, 5) {
            let path = self.good();
            let done = self.rng.chance(600);
            self.add(Recipient { done, ..Recipient::good(path) });
        }
        self.plan.envelope.attempts = 1;
        self.plan.envelope.next_attempt = Some(self.world.options.now - MINUTE);
    }

    /// The postmaster, be there such a mailbox or not.
    fn postmaster(&self) -> Vec<u8> {
        match &self.directory.office {
            Some(office) => office.own(b"POSTMASTER"),
            None => self.directory.postmaster.clone(),
        }
    }

    fn answering_lists(&mut self) {
        let directory = self.directory;
        self.only_nobody();
        self.plan.envelope.reverse = match self.rng.below(6) {
            0 => Reverse::Null,
            1 => {
                let list = self.rng.pick(&directory.bare_lists).to_vec();
                self.only(Recipient::good(list));
                Reverse::Null
            }
            2 => Reverse::Path(self.rng.pick(&directory.owned_lists).to_vec()),
            3 => Reverse::Path(self.rng.pick(&directory.bare_lists).to_vec()),
            4 => Reverse::Path(self.postmaster()),
            _ => {
                self.plan.spec.body = Body::Report(1);
                Reverse::Path(self.postmaster())
            }
        };
    }

    fn hops(&mut self) {
        self.only_good();
        let total = match self.rng.below(4) {
            0 => 100,
            1 => 101,
            2 => self.rng.between(102, 150),
            _ => 500,
        };
        let spec = &mut self.plan.spec;
        let envelope = &mut self.plan.envelope;
        envelope.hops = 0;
        spec.received = total;
        match self.rng.below(3) {
            0 => {}
            1 => {
                spec.delivered_to = 40;
                spec.received = total - 40;
            }
            _ if self.world.options.format.has_envelope() => {
                envelope.hops = 60;
                spec.received = total - 60;
            }
            _ => {}
        }
        if self.rng.chance(200) {
            envelope.reverse = Reverse::Null;
        }
    }

    fn system(&mut self) {
        self.plan.envelope.reverse = Reverse::Path(self.rng.pick(&self.directory.systems).to_vec());
        self.only_nobody();
        self.maybe_good(200);
    }

    fn fault(&mut self, markers: &[&'static str]) {
        let marker = markers.get(self.rng.place(markers.len())).copied().unwrap_or("parse");
        self.plan.fault = Some(marker);
        self.plan.spec.fields.extend_from_slice(b"X-Inqueue-Fault: ");
        self.plan.spec.fields.extend_from_slice(marker.as_bytes());
        self.plan.spec.fields.extend_from_slice(if self.plan.spec.crlf { b"\r\n" } else { b"\n" });
        self.only_nobody();
        self.maybe_good(500);
    }

    fn not_due(&mut self) {
        self.only_good();
        for _ in 0..self.rng.below(3) {
            let path = if self.rng.chance(500) { self.nobody() } else { self.remote() };
            self.add(Recipient::good(path));
        }
        let wait = i64::try_from(self.rng.between(1, 8 * 3600)).unwrap_or(1);
        // At the clock itself it is due.
        let wait = if self.rng.chance(150) { 0 } else { wait };
        self.plan.envelope.attempts = u32::try_from(self.rng.between(1, 6)).unwrap_or(1);
        self.plan.envelope.next_attempt = Some(self.world.options.now + wait * SECOND);
        self.plan.envelope.expiry = None;
    }
}
