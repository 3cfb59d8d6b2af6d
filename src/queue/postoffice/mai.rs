//! A MAI file: the content of a message (docs/postoffice.md, *MAI*).
//!
//! Strings are read as they are; the original's encryption isn't published. Not here: turning it
//! into a message of RFC 5322 (`queue::rendered`), and the file itself. Invariant: what
//! [`Mai::write`] writes, [`Mai::read`] reads as the same.

use super::element::{
    self, Element, Elements, FIELD, MESSAGE, NotElements, SEQUENCE, STRING, VENDOR,
};
use crate::mail::date::Time;
use smallvec::SmallVec;
use std::ops::Range;

/// Where the reference counter stands: a u16 (Q104423).
pub const COUNTER_AT: usize = 0x0B;
/// What begins the counter's field, in front of it.
const COUNTER_FIELD: [u8; 5] = [VENDOR, 5, COUNTER, element::INTEGER, 2];
const QUALIFIER: u8 = 1;
const HEAD_BYTES: usize = 6;

const COUNTER: u8 = 0x31;
const UNKNOWN_2: u8 = 0x32;
const UNKNOWN_10: u8 = 0x33;
const PRIORITY: u8 = 0x34;
const HOP_LIMIT: u8 = 0x37;
/// The hop limit of a message that brings none (Q147471).
pub const HOPS_USUAL: u16 = 10;
const IS_MESSAGE: u8 = 0x38;

const FROM: u8 = 0x01;
const POSTED: u8 = 0x02;
const TEXT: u8 = 0x04;
const TO: u8 = 0x05;
const CC: u8 = 0x06;
const SUBJECT: u8 = 0x07;
const ATTACHMENTS: u8 = 0x08;

/// An attachment, as a MAI names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// Hex name of its ATT file, as it stands.
    pub att: &'a [u8],
    /// The name that the user gave it.
    pub name: &'a [u8],
    /// Its size in bytes, as it stands.
    pub size: u32,
}

/// A MAI, taken apart; all text borrowed from the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mai<'a> {
    /// How many records point to it.
    pub counter: u16,
    /// The hop limit, where it is given.
    pub hop_limit: Option<u16>,
    /// The priority, 1 to 5, where it is given.
    pub priority: Option<u8>,
    /// The text is a whole message of RFC 5322.
    pub is_message: bool,
    /// The address of the first From string.
    pub from: Option<&'a [u8]>,
    /// Addresses.
    pub to: Vec<&'a [u8]>,
    /// Addresses.
    pub cc: Vec<&'a [u8]>,
    /// When it was sent.
    pub posted: Option<Time>,
    /// The subject.
    pub subject: Option<&'a [u8]>,
    /// Its attachments.
    pub attachments: Vec<Attachment<'a>>,
    /// The strings of its text, one behind the other.
    pub text: Vec<&'a [u8]>,
}

impl<'a> Mai<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// It isn't good: see the document.
    pub fn read(file: &'a [u8]) -> Result<Self, NotElements> {
        let message = Elements::of(file).next().ok_or(NotElements)??;
        if message.kind != MESSAGE || message.qualifier != QUALIFIER {
            return Err(NotElements);
        }
        let mut mai = Self { counter: counter(file).ok_or(NotElements)?, ..Self::default() };
        for field in message.inner() {
            mai.field(field?)?;
        }
        Ok(mai)
    }

    fn field(&mut self, field: Element<'a>) -> Result<(), NotElements> {
        match (field.kind, field.qualifier) {
            (VENDOR, PRIORITY) => {
                let priority = field.integer()?.and_then(|value| u8::try_from(value).ok());
                self.priority = priority.filter(|value| (1..=5).contains(value));
            }
            (VENDOR, HOP_LIMIT) => {
                self.hop_limit = field.integer()?.and_then(|value| u16::try_from(value).ok());
            }
            (VENDOR, IS_MESSAGE) => self.is_message = field.integer()? == Some(1),
            (FIELD, FROM) => self.from = field.string()?,
            (FIELD, TO) => strings(&field, |address| self.to.push(address))?,
            (FIELD, CC) => strings(&field, |address| self.cc.push(address))?,
            (FIELD, POSTED) => self.posted = field.date()?,
            (FIELD, SUBJECT) => self.subject = field.string()?,
            (FIELD, TEXT) => {
                self.text.clear();
                strings(&field, |text| self.text.push(text))?;
            }
            (FIELD, ATTACHMENTS) => {
                for inner in field.inner() {
                    let inner = inner?;
                    if inner.kind == SEQUENCE {
                        self.attachments.push(attachment(&inner)?);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Appends the file. It has to stay below 16 MiB: what is longer goes into an attachment.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEAD_BYTES, 0);
        let number = |out: &mut Vec<u8>, qualifier: u8, value: u16| {
            element::element(out, VENDOR, qualifier, |out| element::short(out, value));
        };
        number(out, COUNTER, self.counter);
        number(out, UNKNOWN_2, 2);
        number(out, UNKNOWN_10, 10);
        if let Some(limit) = self.hop_limit {
            number(out, HOP_LIMIT, limit);
        }
        if let Some(priority) = self.priority {
            number(out, PRIORITY, u16::from(priority));
        }
        if self.is_message {
            number(out, IS_MESSAGE, 1);
        }
        let all = |out: &mut Vec<u8>, qualifier: u8, strings: &[&[u8]]| {
            if !strings.is_empty() {
                element::element(out, FIELD, qualifier, |out| {
                    for string in strings {
                        element::string(out, string);
                    }
                });
            }
        };
        all(out, FROM, self.from.as_slice());
        all(out, TO, &self.to);
        all(out, CC, &self.cc);
        if let Some(posted) = self.posted {
            element::element(out, FIELD, POSTED, |out| element::date(out, posted));
        }
        all(out, SUBJECT, self.subject.as_slice());
        if !self.attachments.is_empty() {
            element::element(out, FIELD, ATTACHMENTS, |out| {
                self.attachments.iter().for_each(|attachment| attachment.write(out));
            });
        }
        all(out, TEXT, &self.text);
        element::seal_message(out.get_mut(start..).unwrap_or_default(), QUALIFIER);
    }
}

impl Attachment<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        element::element(out, SEQUENCE, 0, |out| {
            element::string(out, self.att);
            element::string(out, self.name);
            element::long(out, self.size);
        });
    }
}

/// Where the octets of each attachment's size stand in a good file, in the order of
/// [`Mai::attachments`]; none for one that has no integer of 1 to 4 octets.
pub fn attachment_sizes(file: &[u8]) -> Vec<Option<Range<usize>>> {
    let message = Elements::of(file).flatten().next();
    let fields = message.iter().flat_map(Element::inner).flatten();
    let lists = fields.filter(|field| (field.kind, field.qualifier) == (FIELD, ATTACHMENTS));
    let all = lists.flat_map(|field| field.inner().flatten().collect::<Vec<_>>());
    let size = |sequence: Element<'_>| {
        let integer = sequence.first(element::INTEGER).ok().flatten()?;
        element::number(integer.contents)?;
        Some(element::range_in(file, integer.contents))
    };
    all.filter(|inner| inner.kind == SEQUENCE).map(size).collect()
}

/// The reference counter of a file, if it has one at its place.
pub fn counter(file: &[u8]) -> Option<u16> {
    let field = file.get(HEAD_BYTES..COUNTER_AT)?;
    let value = file.get(COUNTER_AT..COUNTER_AT + 2)?;
    // The qualifier isn't published: any will do.
    let [kind, len, _, integer, octets] = *field else { return None };
    let [k, l, _, i, o] = COUNTER_FIELD;
    ([kind, len, integer, octets] == [k, l, i, o])
        .then(|| value.iter().rev().fold(0, |sum, octet| sum << 8 | u16::from(*octet)))
}

fn strings<'a>(field: &Element<'a>, mut each: impl FnMut(&'a [u8])) -> Result<(), NotElements> {
    for inner in field.inner() {
        let inner = inner?;
        if inner.kind == STRING {
            each(inner.contents);
        }
    }
    Ok(())
}

fn attachment<'a>(sequence: &Element<'a>) -> Result<Attachment<'a>, NotElements> {
    let mut found: SmallVec<[&[u8]; 2]> = SmallVec::new();
    strings(sequence, |string| found.push(string))?;
    let at = |index: usize| found.get(index).copied().unwrap_or_default();
    Ok(Attachment { att: at(0), name: at(1), size: sequence.integer()?.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Mai<'static> {
        Mai {
            counter: 300,
            hop_limit: Some(10),
            priority: Some(1),
            is_message: false,
            from: Some(b"NET/PO/ANN"),
            to: vec![b"NET/PO/BOB", b"SMTP:c@d.example"],
            cc: vec![b"NET/PO/EVE"],
            posted: Time::parse_rfc3339(b"1993-10-08T16:25:00Z"),
            subject: Some(b"This is the subject"),
            attachments: vec![Attachment { att: b"00000063", name: b"A.TXT", size: 0 }],
            text: vec![b"Hello\r\n"],
        }
    }

    #[test]
    fn a_file_has_the_published_layout() {
        let mut file = Vec::new();
        sample().write(&mut file);
        // Q104423 from 0x0B on: the counter of 300, then the three vendor fields.
        assert_eq!(file[..6], [0x4D, 0x83, 0, 0, u8::try_from(file.len() - 5).unwrap(), 1]);
        assert_eq!(file[6..0x14], [0x7F, 5, 0x31, 0x20, 2, 0x2C, 1, 0x7F, 5, 0x32, 0x20, 2, 2, 0]);
        assert_eq!(file[0x14..0x1B], [0x7F, 5, 0x33, 0x20, 2, 0x0A, 0]);
        assert_eq!(file[0x1B..0x22], [0x7F, 5, 0x37, 0x20, 2, 0x0A, 0]);
        assert_eq!(counter(&file), Some(300));
        let sizes = attachment_sizes(&file);
        let [Some(size)] = &sizes[..] else { panic!("{sizes:?}") };
        file[size.clone()].copy_from_slice(&7_u32.to_le_bytes());
        assert_eq!(Mai::read(&file).unwrap().attachments[0].size, 7);
        file[size.clone()].fill(0);
        assert_eq!(Mai::read(&file), Ok(sample()));
    }

    #[test]
    fn a_text_of_many_kilobytes_is_read_again() {
        let text = b"0123456789abcdef\r\n".repeat(10_000);
        let mai = Mai { text: vec![&text[..]], ..sample() };
        let mut file = Vec::new();
        mai.write(&mut file);
        assert_eq!(Mai::read(&file), Ok(mai));
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..200, value: u8, cut in 0_usize..200) {
            let mut file = Vec::new();
            sample().write(&mut file);
            let len = file.len();
            file[at % len] = value;
            file.truncate(len - cut % len);
            let _ = Mai::read(&file);
        }
    }
}
