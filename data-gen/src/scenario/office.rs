//! Hazards that are others in a post office, or that only it can carry.
//!
//! What it deliberately does not do: writing the files (see `postoffice`).
//!
//! Invariants: an address that is bad here isn't one of the three forms of docs/postoffice.md, nor
//! a mailbox; where the hops decide, they do so by the message's own limit and by the run's alike.

use crate::bytes::num;
use crate::envelope::{Recipient, Reverse};
use crate::hazards::Hazard;
use crate::plan::{Body, Maker, Shape, Style};
use crate::postoffice::{Attached, Flaw, HOP_LIMIT, Office, address, whole};
use crate::text::Charset;

/// Bytes of a body, about, so that the three octets of its MAI's length are enough.
const SIZE_MAX: usize = 8_000_000;
/// What looks like an address of MS Mail, and is none, nor a mailbox.
const BAD: [&[u8]; 12] = [
    b"NET/PO",
    b"NET/PO/",
    b"/PO/ANNA",
    b"NET//ANNA",
    b"NET/PO/ELEVENCHARS",
    b"ELEVENCHARS/PO/ANNA",
    b"NET/PO/ANNA/HOME",
    b"X400:",
    b":text",
    b"ELEVENLTRS1:text",
    b"X-400:g=Anna;s=Adler",
    b"SMTP:",
];

/// Texts in code pages of their own, none of them UTF-8.
const TEXTS: [&[u8]; 3] = [
    b"Gr\x81\xe1e aus M\x81nchen\r\n\x8erger \x94fter, \x80 \xc4\xc4\xc4\xbf\r\n",
    b"\xf0\xd2\xc9\xd7\xc5\xd4, \xed\xc9\xd2!\r\n",
    b"\xf9\xec\xe5\xed \xf2\xe5\xec\xed\r\n",
];

impl<'a> Maker<'a> {
    fn office_of(&self) -> Option<&'a Office> {
        self.directory.office.as_ref()
    }

    /// Makes the hazard where it is another one in a post office.
    pub(super) fn apply_office(&mut self, hazard: Hazard) -> bool {
        let Some(office) = self.office_of() else { return false };
        match hazard {
            Hazard::LongRecipient => self.office_long(office),
            Hazard::Corrupt => self.office_corrupt(),
            Hazard::MessageLoop => self.office_loop(office),
            Hazard::Postmaster => self.only(Recipient::good(office.own(b"POSTMASTER"))),
            Hazard::ListExpansion if self.rng.chance(350) => {
                self.plan.envelope.recipients.clear();
                let path = self.rng.pick(&office.hollow).to_vec();
                self.add(Recipient::good(path));
                self.maybe_good(300);
            }
            Hazard::UnknownRecipient if self.rng.chance(400) => {
                let path = office.nowhere(&mut self.rng);
                self.only(Recipient::good(path));
                self.maybe_good(300);
            }
            Hazard::BadAddress if self.rng.chance(300) => self.office_like_smtp(office),
            Hazard::NdrLoop if self.rng.chance(300) => {
                let path = self.nobody();
                self.only(Recipient::good(path));
                self.plan.envelope.reverse = Reverse::Path(office.own(b"POSTMASTER"));
            }
            Hazard::SystemMail if self.rng.chance(200) => {
                // Mail to the system is delivered.
                self.only(Recipient::good(office.own(b"$SYSTEM")));
            }
            Hazard::MissingBody if self.rng.chance(800) => {
                let flaws = [Flaw::NoP1, Flaw::NoMai, Flaw::NoFiles, Flaw::NoAtt];
                let flaw = flaws.get(self.rng.place(flaws.len())).copied();
                self.plan.sheet.flaw = flaw.unwrap_or(Flaw::NoP1);
                self.plan.sheet.native |= flaw == Some(Flaw::NoAtt);
                if flaw == Some(Flaw::NoAtt) {
                    self.plan.sheet.attached = Attached::Some;
                }
            }
            _ => return false,
        }
        true
    }

    /// What a post office's message has beside the plan: whether its content is native, its trace.
    pub(crate) fn finish_office(&mut self) {
        if self.directory.office.is_none() {
            return;
        }
        self.plan.spec.style = Style::OriginalTo;
        self.plan.spec.size = self.plan.spec.size.min(SIZE_MAX);
        let native = self.rng.chance(500);
        let flaw = self.plan.sheet.flaw;
        let hazard = self.plan.hazard;
        let only_here = flaw == Flaw::NoAtt;
        let able = hazard.is_none_or(can_be_native)
            && !matches!(self.plan.spec.body, Body::Report(_) | Body::Receipt)
            && self.plan.spec.delivered_to == 0
            && self.plan.spec.received <= 6;
        self.plan.sheet.native = able && (native || only_here || self.plan.sheet.native);
        if self.plan.sheet.native {
            self.native(hazard);
        }
        if self.plan.sheet.trace.is_empty() {
            for _ in 0..self.plan.envelope.hops {
                let hop = self.hop();
                self.plan.sheet.trace.push(hop);
            }
        }
        self.plan.sheet.waiting |= hazard == Some(Hazard::DuplicateDelivery);
        self.plan.sheet.exact = self.rng.chance(15);
        let few = self.plan.envelope.recipients.len() < 3;
        self.plan.sheet.exact &= few && !self.plan.sheet.waiting;
        let envelope = &mut self.plan.envelope;
        envelope.hops = u64::try_from(self.plan.sheet.trace.len()).unwrap_or(0);
        envelope.arrival = whole(envelope.arrival);
        envelope.next_attempt = envelope.next_attempt.map(whole);
        envelope.expiry = envelope.expiry.map(whole);
    }

    fn hop(&mut self) -> Vec<u8> {
        let mut out = b"HOPNET/PO".to_vec();
        num(&mut out, self.rng.below(1_000_000));
        out
    }

    fn native(&mut self, hazard: Option<Hazard>) {
        self.plan.spec.received = 0;
        match hazard {
            Some(Hazard::ZeroAttachment) => self.plan.sheet.attached = Attached::Empty,
            Some(Hazard::AttachmentsSwapped) => self.plan.sheet.attached = Attached::Alike,
            Some(Hazard::Charset) => self.native_charset(),
            Some(Hazard::TimestampWrong) => {
                let times = [0, 253_402_300_799, -11_644_473_600, 1_956_528_000];
                let time = times.get(self.rng.place(times.len())).copied().unwrap_or(0);
                self.plan.sheet.posted = Some(time * 1_000_000);
            }
            Some(Hazard::Empty) => self.plan.sheet.text = Some(Vec::new()),
            Some(Hazard::MissingBody) if self.plan.sheet.flaw == Flaw::None => {
                self.plan.sheet.text = Some(Vec::new());
            }
            Some(Hazard::Nul) => {
                self.plan.sheet.text = Some(b"before\0after\0\0\r\n\0\r\nend\r\n".to_vec());
            }
            Some(Hazard::LongLine) => self.plan.sheet.text = Some(vec![b'L'; 100_000]),
            Some(Hazard::BareCr) => {
                self.plan.sheet.text = Some(b"one\rtwo\r\rthree\r\n\rFrom four\r".to_vec());
            }
            Some(Hazard::NoLastNewline) => {
                self.plan.sheet.text = Some(b"a line\r\nand another without an end".to_vec());
            }
            Some(Hazard::FromLines) => {
                let text = b"From here\n>From there\n--=_\nFrom a@b.example Fri Jan  2 2026\n";
                self.plan.sheet.text = Some(text.to_vec());
            }
            _ => {}
        }
    }

    fn native_charset(&mut self) {
        let text = self.rng.pick(&TEXTS).to_vec();
        let line = text.split(|b| *b == b'\r').next().unwrap_or_default().to_vec();
        let again = usize::try_from(self.rng.between(1, 4)).unwrap_or(1);
        self.plan.spec.subject = Some(line.repeat(again));
        self.plan.sheet.text = Some(text);
        self.plan.sheet.attached = Attached::Named;
        self.plan.spec.charset = Charset::Ascii;
    }

    /// A path that is no mailbox, as a post office can hold it.
    pub(super) fn office_bad_path(&mut self, path: &[u8]) -> Vec<u8> {
        if self.rng.chance(300) {
            return self.rng.pick(&BAD).to_vec();
        }
        // With a colon and no type before it, the address would be one of a gateway.
        if self.rng.chance(500) || path.contains(&b':') {
            return [b"SMTP:", path].concat();
        }
        path.to_vec()
    }

    /// Addresses that are nearly those of the Internet, and yet good ones, of others.
    fn office_like_smtp(&mut self, office: &Office) {
        let path = match self.rng.below(4) {
            0 => address::gateway(b"smtp", b"anna@corp.example"),
            1 => address::gateway(b"SMTP", &office.own(b"ANNA")),
            2 => b"ANNA@msmail.internal".to_vec(),
            _ => address::gateway(b"Smtp", b"not a mailbox"),
        };
        self.only(Recipient::good(path));
        self.maybe_good(500);
    }

    fn office_long(&mut self, office: &Office) {
        self.plan.envelope.recipients.clear();
        let long = |length: usize| vec![b'l'; length];
        let smtp = |length: usize| [b"SMTP:", &long(length)[..], b"@example.net"].concat();
        let recipient = match self.rng.below(9) {
            0 => Recipient::bad(address::gateway(b"X400", &long(257))),
            1 => Recipient::bad(address::gateway(b"X400", &long(9_987))),
            2 => Recipient::bad(address::gateway(b"X400", &b";".repeat(90))),
            3 => Recipient::bad(smtp(65)),
            4 => Recipient::bad(smtp(257)),
            5 => Recipient::bad(smtp(9_987)),
            6 => Recipient::bad([b"NET/PO/", &long(300)[..]].concat()),
            7 => Recipient::good(address::gateway(b"X400", &long(200))),
            _ => Recipient::good(address::mailbox(&office.network, &office.name, b"ABCDEFGHIJ")),
        };
        self.add(recipient);
        self.maybe_good(500);
    }

    fn office_corrupt(&mut self) {
        let last = self.plan.envelope.index + 1 == self.world.options.messages;
        let kind = u8::try_from(self.rng.below(12)).unwrap_or(0);
        self.plan.sheet.flaw = match self.rng.below(10) {
            _ if last => Flaw::Torn,
            0 => Flaw::Name,
            1 => Flaw::NameEnd,
            2 => Flaw::Noise,
            3..=5 => Flaw::Mai(kind),
            6 | 7 => Flaw::P1(kind),
            _ => Flaw::Dates(kind),
        };
    }

    /// Traces: of a like name (no circle), of this one (a circle), short and long ones.
    fn office_loop(&mut self, office: &Office) {
        let path = self.good();
        self.only(Recipient::good(path));
        let hop = |name: &[u8]| [&office.network, b"/".as_slice(), name].concat();
        let before = self.hop();
        let mut trace = vec![before];
        let limit = u64::from(HOP_LIMIT);
        let length = match self.rng.below(9) {
            0 | 1 => {
                trace.push(hop(&near(&office.name)));
                0
            }
            2 => {
                trace.push(hop(&office.name));
                self.plan.sheet.circular = true;
                0
            }
            3 => {
                trace.insert(0, hop(&office.name.to_ascii_lowercase()));
                self.plan.sheet.circular = true;
                0
            }
            4 => limit,
            5 => limit + 1,
            6 => 300,
            7 => {
                self.plan.sheet.hop_limit = Some(3);
                self.rng.between(3, 4)
            }
            _ => {
                // The run's own limit: by fields of the content, in a message that allows more.
                self.plan.sheet.hop_limit = Some(200);
                self.plan.spec.received = self.rng.between(100, 101);
                self.plan.envelope.hops = 0;
                return;
            }
        };
        for _ in 2..=length {
            let next = self.hop();
            trace.push(next);
        }
        self.plan.spec.shape = Shape::Whole;
        self.plan.sheet.trace = trace;
    }
}

/// A name that differs from this one in its tenth character alone.
fn near(name: &[u8]) -> Vec<u8> {
    let mut out = name.get(..9).unwrap_or(name).to_vec();
    if name.len() < 10 {
        out.push(b'0');
    } else if name.last() != Some(&b'0') {
        out.push(b'X');
    }
    out
}

/// A native message can be this hazard: it is about addresses, or has a form of its own.
fn can_be_native(hazard: Hazard) -> bool {
    !matches!(
        hazard,
        Hazard::BadReplyTo
            | Hazard::Embedded
            | Hazard::NdrOfNdr
            | Hazard::NamedProperties
            | Hazard::Receipts
            | Hazard::SizeNotLogged
            | Hazard::DeepNesting
            | Hazard::RecordInContent
    ) && !hazard.is_fault()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_share_nine_characters() {
        for (name, expected) in [
            (&b"MEL227TRK"[..], &b"MEL227TRK0"[..]),
            (b"MEL227TRK0", b"MEL227TRK"),
            (b"OFFIC00012", b"OFFIC0001X"),
            (b"OFFIC00010", b"OFFIC0001"),
        ] {
            assert_eq!(near(name), expected);
        }
    }
}
