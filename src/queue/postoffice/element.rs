//! Elements of FIPS PUB 98 (RFC 841, 4.2), as MAI and P1 files are made of: read and written.
//!
//! Lengths are big-endian, integers little-endian (docs/postoffice.md, *Elements*). Not here: what
//! the elements of a file mean. Invariant: nothing is read past the bytes that are given; a length
//! that doesn't fit is an error, never a panic.

use crate::mail::date::Time;

/// A string of bytes.
pub const STRING: u8 = 0x02;
/// A sequence of elements.
pub const SEQUENCE: u8 = 0x0A;
/// An integer.
pub const INTEGER: u8 = 0x20;
/// A date.
pub const DATE: u8 = 0x28;
/// A field, with a qualifier that says which.
pub const FIELD: u8 = 0x4C;
/// A message, with a qualifier.
pub const MESSAGE: u8 = 0x4D;
/// A field of the vendor's own, with a qualifier.
pub const VENDOR: u8 = 0x7F;

/// Set in identifiers whose contents begin with a qualifier.
const QUALIFIED: u8 = 0x40;
/// Digits of a date.
const DATE_DIGITS: usize = 14;

/// One element, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its identifier octet.
    pub kind: u8,
    /// Its qualifier; 0 where its kind has none.
    pub qualifier: u8,
    /// Its contents, without the qualifier.
    pub contents: &'a [u8],
}

/// Bytes that aren't elements: an element reaches past what holds it, or its length can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotElements;

/// The elements that bytes are made of, in order. Ends behind the first error.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The elements of these bytes.
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self) -> Option<Element<'a>> {
        let (&kind, rest) = self.rest.split_first()?;
        let (&code, rest) = rest.split_first()?;
        let (len, rest) = match code {
            0..=0x7F => (usize::from(code), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(code - 0x80))?;
                (octets.iter().fold(0, |len, octet| len << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (mut contents, rest) = rest.split_at_checked(len)?;
        let mut qualifier = 0;
        if kind & QUALIFIED != 0 {
            (qualifier, contents) = contents.split_first().map(|(q, rest)| (*q, rest))?;
        }
        self.rest = rest;
        Some(Element { kind, qualifier, contents })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, NotElements>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_none() {
            self.rest = &[];
        }
        Some(taken.ok_or(NotElements))
    }
}

impl<'a> Element<'a> {
    /// The elements within it.
    pub const fn inner(&self) -> Elements<'a> {
        Elements::of(self.contents)
    }

    /// The first element within it of a kind.
    ///
    /// # Errors
    /// What is within it isn't elements.
    pub fn first(&self, kind: u8) -> Result<Option<Self>, NotElements> {
        for inner in self.inner() {
            let inner = inner?;
            if inner.kind == kind {
                return Ok(Some(inner));
            }
        }
        Ok(None)
    }

    /// The bytes of the first string within it; none where there is none.
    ///
    /// # Errors
    /// What is within it isn't elements.
    pub fn string(&self) -> Result<Option<&'a [u8]>, NotElements> {
        Ok(self.first(STRING)?.map(|string| string.contents))
    }

    /// The first integer within it, of 1 to 4 octets.
    ///
    /// # Errors
    /// What is within it isn't elements.
    pub fn integer(&self) -> Result<Option<u32>, NotElements> {
        Ok(self.first(INTEGER)?.and_then(|integer| number(integer.contents)))
    }

    /// The first date within it, where it is one.
    ///
    /// # Errors
    /// What is within it isn't elements.
    pub fn date(&self) -> Result<Option<Time>, NotElements> {
        Ok(self.first(DATE)?.and_then(|date| date_of(date.contents)))
    }
}

/// Where a slice that was borrowed from a file lies in it.
pub fn range_in(file: &[u8], slice: &[u8]) -> std::ops::Range<usize> {
    let start = slice.as_ptr().addr().saturating_sub(file.as_ptr().addr());
    start..start + slice.len()
}

/// A little-endian number of 1 to 4 octets.
pub fn number(octets: &[u8]) -> Option<u32> {
    let is_number = (1..=4).contains(&octets.len());
    is_number.then(|| octets.iter().rev().fold(0, |value, octet| value << 8 | u32::from(*octet)))
}

/// `YYYYMMDDhhmmss` as a time.
fn date_of(digits: &[u8]) -> Option<Time> {
    let part = |range: std::ops::Range<usize>| digits.get(range);
    if digits.len() != DATE_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut text = Vec::with_capacity(20);
    for (range, behind) in [(0..4, b'-'), (4..6, b'-'), (6..8, b'T'), (8..10, b':'), (10..12, b':')]
    {
        text.extend_from_slice(part(range)?);
        text.push(behind);
    }
    text.extend_from_slice(part(12..14)?);
    text.push(b'Z');
    Time::parse_rfc3339(&text)
}

/// Appends an element with a qualifier, where its kind has one; its contents are written by
/// `write`.
pub fn element(out: &mut Vec<u8>, kind: u8, qualifier: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let mut contents = Vec::new();
    if kind & QUALIFIED != 0 {
        contents.push(qualifier);
    }
    write(&mut contents);
    out.push(kind);
    length(out, contents.len());
    out.extend_from_slice(&contents);
}

/// Appends a length in as few octets as it needs.
fn length(out: &mut Vec<u8>, len: usize) {
    let octets = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let skip = octets.iter().take_while(|octet| **octet == 0).count().min(3);
    match octets.get(skip..) {
        Some([octet @ 0..=0x7F]) => out.push(*octet),
        Some(needed) => {
            out.push([0x80, 0x81, 0x82, 0x83, 0x84].get(needed.len()).copied().unwrap_or(0x84));
            out.extend_from_slice(needed);
        }
        None => out.push(0),
    }
}

/// Appends a string.
pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    element(out, STRING, 0, |out| out.extend_from_slice(bytes));
}

/// Appends an integer of two octets.
pub fn short(out: &mut Vec<u8>, value: u16) {
    element(out, INTEGER, 0, |out| out.extend_from_slice(&value.to_le_bytes()));
}

/// Appends an integer of four octets.
pub fn long(out: &mut Vec<u8>, value: u32) {
    element(out, INTEGER, 0, |out| out.extend_from_slice(&value.to_le_bytes()));
}

/// Appends a date; fractions of a second are left out.
pub fn date(out: &mut Vec<u8>, time: Time) {
    let mut text = Vec::with_capacity(24);
    Time::from_s(time.as_s()).write_rfc3339(&mut text);
    element(out, DATE, 0, |out| {
        out.extend(text.iter().filter(|byte| byte.is_ascii_digit()).take(DATE_DIGITS));
    });
}

/// Writes the head of a file that is one message element, over its first six octets: `4D 83`, three
/// octets of length, the qualifier. The file has at least 6 octets, and less than 16 MiB.
pub fn seal_message(file: &mut [u8], qualifier: u8) {
    let len = u32::try_from(file.len().saturating_sub(5)).unwrap_or(0).to_be_bytes();
    let head = [MESSAGE, 0x83, len[1], len[2], len[3], qualifier];
    if let Some(start) = file.get_mut(..head.len()) {
        start.copy_from_slice(&head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_big_endian_and_integers_little_endian() {
        let mut out = Vec::new();
        element(&mut out, FIELD, 5, |out| {
            for _ in 0..300 {
                string(out, &[b'x'; 20]);
            }
        });
        // The published dump of a To field of 300 recipients (Q104423).
        assert_eq!(out.get(..5), Some(&[0x4C, 0x82, 0x19, 0xC9, 0x05][..]));
        let field = Elements::of(&out).next().unwrap().unwrap();
        assert_eq!((field.kind, field.qualifier), (FIELD, 5));
        assert_eq!(field.inner().flatten().count(), 300);
        let mut out = Vec::new();
        element(&mut out, VENDOR, 0x33, |out| short(out, 10));
        assert_eq!(out, [0x7F, 5, 0x33, 0x20, 2, 10, 0]);
        assert_eq!(Elements::of(&out).next().unwrap().unwrap().integer(), Ok(Some(10)));
    }

    #[test]
    fn dates_are_fourteen_digits() {
        let mut out = Vec::new();
        date(&mut out, Time::parse_rfc3339(b"1993-10-08T16:25:07Z").unwrap());
        assert_eq!(out, b"\x28\x0E19931008162507");
        let element = Element { kind: FIELD, qualifier: 2, contents: &out };
        assert_eq!(element.date(), Ok(Time::parse_rfc3339(b"1993-10-08T16:25:07Z")));
        for bad in [&b"\x28\x0D1993100816250"[..], b"\x28\x0E1993-008162507", b"\x28\x0055555"] {
            let element = Element { kind: FIELD, qualifier: 2, contents: bad };
            assert!(!matches!(element.date(), Ok(Some(_))), "{bad:?}");
        }
    }

    #[test]
    fn what_reaches_too_far_is_no_element() {
        for bad in [
            &[0x02][..],
            &[0x02, 5, 1],
            &[0x02, 0x80, 1],
            &[0x02, 0x85, 0, 0, 0, 0, 1, 1],
            &[0x02, 0x82, 1],
            &[0x4C, 0],
        ] {
            let all: Vec<_> = Elements::of(bad).collect();
            assert_eq!(all, [Err(NotElements)], "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: usize = Elements::of(&bytes).flatten().map(|e| e.contents.len()).sum();
            prop_assert!(read <= bytes.len());
        }

        #[test]
        fn what_is_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let mut out = Vec::new();
            string(&mut out, &bytes);
            long(&mut out, 7);
            let all: Vec<_> = Elements::of(&out).flatten().collect();
            prop_assert_eq!(all.len(), 2);
            prop_assert_eq!(all[0].contents, &bytes[..]);
            prop_assert_eq!(number(all[1].contents), Some(7));
        }
    }
}
