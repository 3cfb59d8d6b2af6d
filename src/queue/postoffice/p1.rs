//! A P1 file: the envelope of a message (docs/postoffice.md, *P1*). Its layout was never published;
//! this one is ours.
//!
//! Not here: mapping its addresses to mailboxes. Invariant: what [`P1::write`] writes, [`P1::read`]
//! reads as the same; what has no meaning here is passed over by reading, and so lost by writing
//! anew: a P1 is only written anew when recipients of it are done.

use super::bag::{HexName, hex_name};
use super::element::{self, Element, Elements, FIELD, MESSAGE, NotElements, STRING, VENDOR};
use crate::mail::date::Time;

/// Seconds that a message has to be delivered in (Q173203).
pub const LIFE_S: i64 = 24 * 3600;
/// The same of an urgent one.
pub const LIFE_URGENT_S: i64 = 2 * 3600;

const QUALIFIER: u8 = 2;
const HEAD_BYTES: usize = 6;

const MAI: u8 = 0x40;
const ATTEMPTS: u8 = 0x41;
const ARRIVAL: u8 = 0x42;
const HOP: u8 = 0x43;
const STATE: u8 = 0x45;
const NOTIFY: u8 = 0x46;
const BAG: u8 = 0x47;
const ORCPT: u8 = 0x48;
const ENVID: u8 = 0x49;
const RET: u8 = 0x4A;
const NEXT_ATTEMPT: u8 = 0x4B;
const EXPIRY: u8 = 0x4C;
const FROM: u8 = 0x01;
const TO: u8 = 0x05;
const CC: u8 = 0x06;

/// A recipient of a P1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct P1Recipient<'a> {
    /// Its address, any bytes.
    pub address: &'a [u8],
    /// It is a Cc.
    pub is_cc: bool,
    /// Nothing is left to do for it.
    pub done: bool,
    /// NOTIFY, where given.
    pub notify: Option<u8>,
    /// Hex name of the outbound bag that it waits in, as it stands.
    pub bag: Option<&'a [u8]>,
    /// ORCPT, where given.
    pub orcpt: Option<&'a [u8]>,
}

/// A P1, taken apart; all text borrowed from the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct P1<'a> {
    /// Hex name of the MAI, as it stands.
    pub mai: &'a [u8],
    /// Attempts made.
    pub attempts: u32,
    /// When it came.
    pub arrival: Option<Time>,
    /// Systems that have handled it, `NETWORK/POSTOFFICE`, oldest first.
    pub hops: Vec<&'a [u8]>,
    /// ENVID, where given.
    pub envid: Option<&'a [u8]>,
    /// RET: 1 FULL, 2 HDRS.
    pub ret: Option<u32>,
    /// Not before.
    pub next_attempt: Option<Time>,
    /// After it, what can't be delivered has failed.
    pub expiry: Option<Time>,
    /// The sender; no bytes: the null reverse-path.
    pub from: Option<&'a [u8]>,
    /// The recipients.
    pub recipients: Vec<P1Recipient<'a>>,
}

impl<'a> P1<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// It isn't good: see the document.
    pub fn read(file: &'a [u8]) -> Result<Self, NotElements> {
        let message = Elements::of(file).next().ok_or(NotElements)??;
        if message.kind != MESSAGE || message.qualifier != QUALIFIER {
            return Err(NotElements);
        }
        let mut p1 = Self::default();
        for field in message.inner() {
            p1.field(field?)?;
        }
        Ok(p1)
    }

    /// True where it says that it is the envelope of another MAI than this one.
    pub fn is_of_another(&self, mai: HexName) -> bool {
        !self.mai.is_empty() && hex_name(self.mai) != Some(mai)
    }

    fn field(&mut self, field: Element<'a>) -> Result<(), NotElements> {
        match (field.kind, field.qualifier) {
            (VENDOR, MAI) => self.mai = field.string()?.unwrap_or_default(),
            (VENDOR, ATTEMPTS) => self.attempts = field.integer()?.unwrap_or(0),
            (VENDOR, ARRIVAL) => self.arrival = field.date()?,
            (VENDOR, HOP) => self.hops.extend(field.string()?),
            (VENDOR, ENVID) => self.envid = field.string()?,
            (VENDOR, RET) => self.ret = field.integer()?,
            (VENDOR, NEXT_ATTEMPT) => self.next_attempt = field.date()?,
            (VENDOR, EXPIRY) => self.expiry = field.date()?,
            (FIELD, FROM) => self.from = field.string()?,
            (FIELD, TO | CC) => self.recipients.push(recipient(&field)?),
            _ => {}
        }
        Ok(())
    }

    /// Appends the file.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEAD_BYTES, 0);
        let text = |out: &mut Vec<u8>, kind: u8, qualifier: u8, bytes: &[u8]| {
            element::element(out, kind, qualifier, |out| element::string(out, bytes));
        };
        let date = |out: &mut Vec<u8>, qualifier: u8, time: Option<Time>| {
            if let Some(time) = time {
                element::element(out, VENDOR, qualifier, |out| element::date(out, time));
            }
        };
        text(out, VENDOR, MAI, self.mai);
        element::element(out, VENDOR, ATTEMPTS, |out| element::long(out, self.attempts));
        date(out, ARRIVAL, self.arrival);
        self.hops.iter().for_each(|hop| text(out, VENDOR, HOP, hop));
        if let Some(envid) = self.envid {
            text(out, VENDOR, ENVID, envid);
        }
        if let Some(ret) = self.ret {
            element::element(out, VENDOR, RET, |out| element::long(out, ret));
        }
        date(out, NEXT_ATTEMPT, self.next_attempt);
        date(out, EXPIRY, self.expiry);
        if let Some(from) = self.from {
            text(out, FIELD, FROM, from);
        }
        self.recipients.iter().for_each(|recipient| recipient.write(out));
        element::seal_message(out.get_mut(start..).unwrap_or_default(), QUALIFIER);
    }
}

impl P1Recipient<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, qualifier: u8, value: u16| {
            element::element(out, VENDOR, qualifier, |out| element::short(out, value));
        };
        element::element(out, FIELD, if self.is_cc { CC } else { TO }, |out| {
            element::string(out, self.address);
            if self.done {
                number(out, STATE, 1);
            }
            if let Some(notify) = self.notify {
                number(out, NOTIFY, u16::from(notify));
            }
            for (qualifier, bytes) in [(BAG, self.bag), (ORCPT, self.orcpt)] {
                if let Some(bytes) = bytes {
                    element::element(out, VENDOR, qualifier, |out| element::string(out, bytes));
                }
            }
        });
    }
}

/// A recipient begins with its address.
fn recipient<'a>(field: &Element<'a>) -> Result<P1Recipient<'a>, NotElements> {
    let mut inner = field.inner();
    let address = inner.next().ok_or(NotElements)??;
    if address.kind != STRING {
        return Err(NotElements);
    }
    let is_cc = field.qualifier == CC;
    let mut recipient = P1Recipient { address: address.contents, is_cc, ..P1Recipient::default() };
    for more in inner {
        let more = more?;
        match (more.kind, more.qualifier) {
            (VENDOR, STATE) => recipient.done = more.integer()? == Some(1),
            (VENDOR, NOTIFY) => {
                recipient.notify = more.integer()?.and_then(|value| u8::try_from(value).ok());
            }
            (VENDOR, BAG) => recipient.bag = more.string()?,
            (VENDOR, ORCPT) => recipient.orcpt = more.string()?,
            _ => {}
        }
    }
    Ok(recipient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> P1<'static> {
        let to = P1Recipient { address: b"NET/PO/BOB", ..P1Recipient::default() };
        P1 {
            mai: b"00000062",
            attempts: 2,
            arrival: Time::parse_rfc3339(b"1993-10-08T16:25:07Z"),
            hops: vec![b"NET/PO1", b"NET/PO2"],
            envid: Some(b"QQ314159"),
            ret: Some(1),
            next_attempt: Time::parse_rfc3339(b"1993-10-08T16:55:07Z"),
            expiry: Time::parse_rfc3339(b"1993-10-09T16:25:07Z"),
            from: Some(b"NET/PO/ANN"),
            recipients: vec![
                to,
                P1Recipient { is_cc: true, done: true, notify: Some(4), ..to },
                P1Recipient { bag: Some(b"0000000A"), orcpt: Some(b"rfc822;x@y"), ..to },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for p1 in [P1::default(), sample(), P1 { from: Some(b""), ..P1::default() }] {
            let mut file = Vec::new();
            p1.write(&mut file);
            assert_eq!(P1::read(&file), Ok(p1));
        }
    }

    #[test]
    fn a_file_of_exactly_246_bytes_is_read() {
        // Q194384: one of this length brought the X.400 gateway down.
        let mut file = Vec::new();
        let mut address = Vec::new();
        while file.len() != 246 {
            address.push(b'X');
            file.clear();
            let recipients = vec![P1Recipient { address: &address, ..P1Recipient::default() }];
            P1 { mai: b"00000062", recipients, ..P1::default() }.write(&mut file);
        }
        assert_eq!(P1::read(&file).unwrap().recipients[0].address, &address[..]);
    }

    #[test]
    fn a_mai_is_no_p1_and_a_recipient_without_address_is_damage() {
        let mut file = Vec::new();
        super::super::mai::Mai::default().write(&mut file);
        assert_eq!(P1::read(&file), Err(NotElements));
        let mut file = vec![0; 6];
        element::element(&mut file, FIELD, TO, |out| element::short(out, 1));
        element::seal_message(&mut file, QUALIFIER);
        assert_eq!(P1::read(&file), Err(NotElements));
        assert_eq!(P1::read(b""), Err(NotElements));
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..400, value: u8, cut in 0_usize..400) {
            let mut file = Vec::new();
            sample().write(&mut file);
            let len = file.len();
            file[at % len] = value;
            file.truncate(len - cut % len);
            let _ = P1::read(&file);
        }
    }
}
