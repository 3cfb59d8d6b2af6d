//! The files of a message: MAI and P1 (docs/postoffice.md).
//!
//! What it deliberately does not do: encryption. The originals' strings are encrypted in a way that
//! nobody published; these are clear.
//!
//! Invariant: without damage, the counter of a MAI stands at 0x0B.

use super::element::{
    FIELD, MESSAGE_HEAD, VENDOR, date, integer, message, padding, qualified, raw_date, sequence,
    short_integer, string,
};
use super::glb::hex_name;
use super::{HOP_LIMIT, address};
use crate::bytes::{num, put, short};
use crate::envelope::{Recipient, Reverse};
use crate::plan::Plan;

/// Most addresses that the To of a MAI names.
const SHOWN: usize = 300;
/// Most bytes of one string of a text.
const STRING: usize = 32_000;
/// The size of P1 that ended a gateway of the original's (Q194384).
const EXACT: usize = 246;

/// An address as it is written, and the mailbox that it is, where it is one.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) written: Vec<u8>,
    pub(super) mailbox: Option<Vec<u8>>,
}

impl Address {
    /// What a path is written as.
    pub(super) fn new(path: &[u8], valid: bool) -> Self {
        // What is too long to be a mailbox has been made of an address all the same.
        let made = valid || address::is_internal(path);
        let written = if made { address::original(path) } else { path.to_vec() };
        Self { written, mailbox: valid.then(|| path.to_vec()) }
    }
}

/// An attachment.
#[derive(Debug)]
pub(super) struct Attachment {
    /// The name of its ATT.
    pub(super) file: u32,
    /// The name that people see.
    pub(super) name: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    /// Its ATT isn't there.
    pub(super) lost: bool,
}

/// The date of a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Posted {
    Never,
    At(i64),
    /// Not a date.
    Raw(&'static [u8]),
}

/// What a MAI says.
#[derive(Debug)]
pub(super) struct Letter {
    /// Its name.
    pub(super) file: u32,
    /// How many records point to it.
    pub(super) counter: u16,
    pub(super) hop_limit: u16,
    pub(super) priority: Option<u8>,
    /// The text is a message of RFC 5322.
    pub(super) whole: bool,
    /// There is an element that nobody knows.
    pub(super) unknown: bool,
    pub(super) from: Option<Address>,
    pub(super) to: Vec<Address>,
    pub(super) cc: Vec<Address>,
    pub(super) posted: Posted,
    pub(super) subject: Vec<u8>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) text: Vec<u8>,
}

impl Letter {
    /// A letter with nothing in it.
    pub(super) fn blank(file: u32) -> Self {
        Self {
            file,
            counter: 1,
            hop_limit: HOP_LIMIT,
            priority: None,
            whole: false,
            unknown: false,
            from: None,
            to: Vec::new(),
            cc: Vec::new(),
            posted: Posted::Never,
            subject: Vec::new(),
            attachments: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Takes sender and recipients from the plan; what isn't an address is shown, if it is short.
    pub(super) fn address(&mut self, plan: &Plan) {
        self.from = match &plan.envelope.reverse {
            Reverse::Path(path) => Some(Address::new(path, true)),
            Reverse::Invalid(path) => Some(Address::new(path, false)),
            Reverse::Null | Reverse::Unknown => None,
        };
        let list = plan.envelope.recipients.iter().enumerate();
        for (at, one) in list.filter(|(_, one)| one.path.len() < 64).take(SHOWN) {
            let address = Address::new(&one.path, one.valid);
            if is_copy(at) { self.cc.push(address) } else { self.to.push(address) }
        }
    }
}

/// Recipient `at` is in Cc.
fn is_copy(at: usize) -> bool {
    at % 4 == 3
}

fn vendor_number(out: &mut Vec<u8>, qualifier: u8, value: u16) {
    qualified(out, VENDOR, qualifier, |out| short_integer(out, value));
}

fn strings<'s>(out: &mut Vec<u8>, qualifier: u8, list: impl Iterator<Item = &'s [u8]>) {
    let mut list = list.peekable();
    if list.peek().is_some() {
        qualified(out, FIELD, qualifier, |out| list.for_each(|one| string(out, one)));
    }
}

/// The bytes of a MAI.
pub(super) fn mai(letter: &Letter) -> Vec<u8> {
    message(1, |out| {
        vendor_number(out, 0x31, letter.counter);
        vendor_number(out, 0x32, 2);
        vendor_number(out, 0x33, 10);
        vendor_number(out, 0x37, letter.hop_limit);
        if let Some(priority) = letter.priority {
            vendor_number(out, 0x34, u16::from(priority));
        }
        if letter.whole {
            vendor_number(out, 0x38, 1);
        }
        if letter.unknown {
            qualified(out, VENDOR, 0x6F, |out| string(out, b"a field of a later version"));
            out.extend_from_slice(&[0x00, 0x00]);
        }
        strings(out, 1, letter.from.iter().map(|one| one.written.as_slice()));
        strings(out, 5, letter.to.iter().map(|one| one.written.as_slice()));
        strings(out, 6, letter.cc.iter().map(|one| one.written.as_slice()));
        match letter.posted {
            Posted::Never => {}
            Posted::At(time) => qualified(out, FIELD, 2, |out| date(out, time)),
            Posted::Raw(text) => qualified(out, FIELD, 2, |out| raw_date(out, text)),
        }
        if !letter.subject.is_empty() {
            qualified(out, FIELD, 7, |out| string(out, &letter.subject));
        }
        if !letter.attachments.is_empty() {
            qualified(out, FIELD, 8, |out| {
                letter.attachments.iter().for_each(|one| attachment(out, one));
            });
        }
        if letter.whole && letter.text.is_empty() {
            qualified(out, FIELD, 4, |out| string(out, b""));
        }
        strings(out, 4, letter.text.chunks(STRING));
    })
}

fn attachment(out: &mut Vec<u8>, one: &Attachment) {
    sequence(out, |out| {
        string(out, &hex_name(one.file));
        string(out, &one.name);
        integer(out, short(one.bytes.len()));
    });
}

/// The bytes of a P1. `bag`: an outbound bag in which a further recipient waits.
pub(super) fn p1(plan: &Plan, file: u32, bag: Option<(u32, &Recipient)>) -> Vec<u8> {
    let envelope = &plan.envelope;
    let mut out = message(2, |out| {
        qualified(out, VENDOR, 0x40, |out| string(out, &hex_name(file)));
        if envelope.attempts > 0 {
            qualified(out, VENDOR, 0x41, |out| integer(out, envelope.attempts));
        }
        qualified(out, VENDOR, 0x42, |out| date(out, envelope.arrival));
        for hop in &plan.sheet.trace {
            qualified(out, VENDOR, 0x43, |out| string(out, hop));
        }
        if let Some(number) = envelope.envid {
            let mut envid = b"env+id=".to_vec();
            num(&mut envid, number);
            qualified(out, VENDOR, 0x49, |out| string(out, &envid));
        }
        if let Some(ret) = envelope.ret {
            vendor_number(out, 0x4A, u16::from(ret));
        }
        if let Some(time) = envelope.next_attempt {
            qualified(out, VENDOR, 0x4B, |out| date(out, time));
        }
        if let Some(time) = envelope.expiry {
            qualified(out, VENDOR, 0x4C, |out| date(out, time));
        }
        match &envelope.reverse {
            Reverse::Unknown => {}
            Reverse::Null => qualified(out, FIELD, 1, |out| string(out, b"")),
            Reverse::Invalid(path) => qualified(out, FIELD, 1, |out| string(out, path)),
            Reverse::Path(path) => {
                qualified(out, FIELD, 1, |out| string(out, &address::original(path)));
            }
        }
        let waiting = |out: &mut Vec<u8>| {
            if let Some((bag, one)) = bag {
                qualified(out, FIELD, 5, |out| {
                    recipient(out, one);
                    qualified(out, VENDOR, 0x47, |out| string(out, &hex_name(bag)));
                });
            }
        };
        // Wherever it stands, it doesn't count among the others.
        let first = envelope.index % 2 == 1;
        if first {
            waiting(out);
        }
        for (at, one) in envelope.recipients.iter().enumerate() {
            let kind = if is_copy(at) { 6 } else { 5 };
            qualified(out, FIELD, kind, |out| recipient(out, one));
        }
        if !first {
            waiting(out);
        }
        if envelope.unknown_field {
            qualified(out, VENDOR, 0x6F, |out| string(out, b"a field of a later version"));
        }
    });
    if plan.sheet.exact {
        fill(&mut out);
    }
    out
}

fn recipient(out: &mut Vec<u8>, one: &Recipient) {
    let written = Address::new(&one.path, one.valid).written;
    string(out, &written);
    if one.done {
        vendor_number(out, 0x45, 1);
    }
    if let Some(notify) = one.notify {
        vendor_number(out, 0x46, u16::from(notify));
    }
    if one.orcpt {
        let orcpt = [b"rfc822;", one.path.as_slice()].concat();
        qualified(out, VENDOR, 0x48, |out| string(out, &orcpt));
    }
}

/// Brings a P1 to 246 bytes, where it is shorter.
fn fill(out: &mut Vec<u8>) {
    let room = EXACT.saturating_sub(out.len());
    let mut more = Vec::new();
    match room {
        0 | 1 => return,
        // Padding of 130 bytes is none: its length would need an octet that then is one too many.
        130 => {
            padding(&mut more, 100);
            padding(&mut more, 30);
        }
        _ => padding(&mut more, room),
    }
    put_inside(out, &more);
}

/// Appends bytes to a message's element.
fn put_inside(out: &mut Vec<u8>, more: &[u8]) {
    out.extend_from_slice(more);
    let octets = short(out.len() - MESSAGE_HEAD + 1).to_be_bytes();
    put(out, 2, octets.get(1..).unwrap_or_default());
}

/// Damages a MAI in one of twelve ways.
pub(super) fn damage_mai(out: &mut Vec<u8>, way: u8) {
    match way {
        4 => {
            // The counter isn't at its place.
            out.splice(MESSAGE_HEAD..MESSAGE_HEAD, [0x21, 0x02, 0x00, 0x00]);
            put_inside(out, b"");
        }
        5 | 11 => put(out, 14, &[0x80]),
        _ => damage(out, way),
    }
}

/// Damages a P1 in one of twelve ways.
pub(super) fn damage_p1(out: &mut Vec<u8>, way: u8) {
    match way {
        4 => put(out, 5, &[0x01]),
        // Recipients that don't begin with a string.
        5 => put_inside(out, &[FIELD, 0x05, 0x05, 0x20, 0x02, 0x01, 0x00]),
        11 => put_inside(out, &[FIELD, 0x01, 0x05]),
        _ => damage(out, way),
    }
}

fn damage(out: &mut Vec<u8>, way: u8) {
    match way {
        0 => out.clear(),
        1 => put(out, 0, &[0x24]),
        2 => put(out, 2, &[0xFF, 0xFF, 0xFF]),
        3 => out.truncate(out.len() / 2),
        6 => put_inside(out, &[0x02, 0x7F, b'A']),
        7 => put_inside(out, &[FIELD, 0x03, 0x05, 0x02, 0x10]),
        8 => put(out, 1, &[0x85]),
        9 => out.truncate(5),
        _ => out.iter_mut().for_each(|byte| *byte ^= 0xF5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::blank;
    use crate::time::SECOND;

    /// The one dump of a MAI (Q104423), from 0x0B to the end of To, but for what is encrypted.
    #[test]
    fn the_published_mai() {
        let mut letter = Letter::blank(1);
        letter.counter = 300;
        letter.from = Some(Address { written: vec![b'f'; 0x22], mailbox: None });
        letter.to = vec![Address { written: vec![b't'; 0x14], mailbox: None }; 300];
        letter.text = vec![b'x'; 7159 - 0x1A16 - 9];
        let made = mai(&letter);
        assert_eq!(made.len(), 7159);
        assert_eq!(made[..6], [0x4D, 0x83, 0x00, 0x1B, 0xF2, 0x01]);
        let mut expected = b"\x7f\x05\x31\x20\x02\x2c\x01".to_vec();
        expected.extend_from_slice(b"\x7f\x05\x32\x20\x02\x02\x00");
        expected.extend_from_slice(b"\x7f\x05\x33\x20\x02\x0a\x00");
        expected.extend_from_slice(b"\x7f\x05\x37\x20\x02\x0a\x00");
        expected.extend_from_slice(b"\x4c\x25\x01\x02\x22");
        assert_eq!(made[6..0x27], expected);
        assert_eq!(made[0x0B..0x0D], [0x2C, 0x01]);
        assert_eq!(made[0x49..0x4D], [0x4C, 0x82, 0x19, 0xC9]);
        assert_eq!(made[0x4D..0x50], [0x05, 0x02, 0x14]);
        assert_eq!(made[0x1A16..0x1A18], [0x4C, 0x82]);
    }

    #[test]
    fn a_mai_byte_by_byte() {
        let mut letter = Letter::blank(0x62);
        letter.hop_limit = 7;
        letter.priority = Some(1);
        letter.whole = true;
        letter.from = Some(Address::new(b"a@b.example", true));
        letter.cc = vec![Address::new(b"?", false)];
        letter.posted = Posted::At(750_097_500 * SECOND);
        letter.subject = b"S".to_vec();
        letter.attachments =
            vec![Attachment { file: 0xAB, name: b"N".to_vec(), bytes: vec![1, 2], lost: false }];
        letter.text = b"T".to_vec();
        let mut expected = b"\x4d\x83\0\0\x80\x01".to_vec();
        for (qualifier, value) in
            [(0x31, 1), (0x32, 2), (0x33, 10), (0x37, 7), (0x34, 1), (0x38, 1)]
        {
            expected.extend_from_slice(&[0x7F, 5, qualifier, 0x20, 2, value, 0]);
        }
        expected.extend_from_slice(b"\x4c\x13\x01\x02\x10SMTP:a@b.example");
        expected.extend_from_slice(b"\x4c\x04\x06\x02\x01?");
        expected.extend_from_slice(b"\x4c\x11\x02\x28\x0e19931008162500");
        expected.extend_from_slice(b"\x4c\x04\x07\x02\x01S");
        expected.extend_from_slice(b"\x4c\x16\x08\x0a\x13\x02\x08000000AB\x02\x01N");
        expected.extend_from_slice(b"\x20\x04\x02\0\0\0");
        expected.extend_from_slice(b"\x4c\x04\x04\x02\x01T");
        let length = u8::try_from(expected.len() - 5).unwrap();
        expected[4] = length;
        assert_eq!(mai(&letter), expected);
    }

    fn plan() -> Plan {
        let mut plan = Plan::bare(blank(0));
        plan.envelope.arrival = 750_097_500 * SECOND;
        plan.envelope.attempts = 2;
        plan.envelope.reverse = Reverse::Null;
        plan.envelope.envid = Some(5);
        plan.envelope.ret = Some(2);
        plan.sheet.trace = vec![b"N/P".to_vec()];
        let path = address::mailbox(b"N", b"P", b"A");
        plan.envelope.recipients = vec![Recipient::good(path).notify(4)];
        plan
    }

    #[test]
    fn a_p1_byte_by_byte() {
        let waits = Recipient { done: true, ..Recipient::bad(b"b".to_vec()) };
        let made = p1(&plan(), 0x62, Some((0x1F, &waits)));
        let mut expected = b"\x4d\x83\0\0\0\x02".to_vec();
        expected.extend_from_slice(b"\x7f\x0b\x40\x02\x0800000062");
        expected.extend_from_slice(b"\x7f\x07\x41\x20\x04\x02\0\0\0");
        expected.extend_from_slice(b"\x7f\x11\x42\x28\x0e19931008162500");
        expected.extend_from_slice(b"\x7f\x06\x43\x02\x03N/P");
        expected.extend_from_slice(b"\x7f\x0b\x49\x02\x08env+id=5");
        expected.extend_from_slice(b"\x7f\x05\x4a\x20\x02\x02\0");
        expected.extend_from_slice(b"\x4c\x03\x01\x02\x00");
        expected.extend_from_slice(b"\x4c\x0f\x05\x02\x05N/P/A\x7f\x05\x46\x20\x02\x04\0");
        expected.extend_from_slice(b"\x4c\x18\x05\x02\x01b\x7f\x05\x45\x20\x02\x01\0");
        expected.extend_from_slice(b"\x7f\x0b\x47\x02\x080000001F");
        let length = u8::try_from(expected.len() - 5).unwrap();
        expected[4] = length;
        assert_eq!(made, expected);
    }

    #[test]
    fn a_p1_of_exactly_246_bytes() {
        let mut plan = plan();
        plan.sheet.exact = true;
        for length in 0..200 {
            let path = vec![b'x'; length];
            plan.envelope.recipients = vec![Recipient::bad(path)];
            plan.sheet.exact = false;
            let before = p1(&plan, 1, None).len();
            plan.sheet.exact = true;
            let made = p1(&plan, 1, None);
            let expected = if before < 245 { 246 } else { before };
            assert_eq!(made.len(), expected, "{length}");
            assert_eq!(usize::from(made[4]), made.len() - 5 - 256 * usize::from(made[3]));
        }
    }
}
