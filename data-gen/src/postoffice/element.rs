//! Elements of FIPS PUB 98 (RFC 841), of which MAI and P1 are made (docs/postoffice.md,
//! *Elements*).
//!
//! What it deliberately does not do: reading them. Integers are little-endian, lengths big-endian,
//! as the published dump has them.
//!
//! Invariant: a length below 128 is one octet, any other has as few octets as it needs.

use crate::bytes::{pad, put, short};
use crate::time::parts;

/// A string of any bytes.
const STRING: u8 = 0x02;
/// A sequence of elements.
const SEQUENCE: u8 = 0x0A;
/// A number.
const INTEGER: u8 = 0x20;
/// Padding: passed over.
const PADDING: u8 = 0x21;
/// A date.
const DATE: u8 = 0x28;
/// A field: qualifier, then elements.
pub(crate) const FIELD: u8 = 0x4C;
/// A message: qualifier, then fields.
pub(crate) const MESSAGE: u8 = 0x4D;
/// Vendor-defined: qualifier, then elements.
pub(crate) const VENDOR: u8 = 0x7F;

/// Octets of a message element's head: identifier, length of three octets, qualifier.
pub(crate) const MESSAGE_HEAD: usize = 6;

fn length(out: &mut Vec<u8>, length: usize) {
    let octets = short(length).to_be_bytes();
    let skip = octets.iter().take_while(|b| **b == 0).count().min(3);
    let octets = octets.get(skip..).unwrap_or_default();
    if length >= 0x80 {
        out.push(0x80 + u8::try_from(octets.len()).unwrap_or(4));
    }
    out.extend_from_slice(octets);
}

fn element(out: &mut Vec<u8>, identifier: u8, contents: &[u8]) {
    out.push(identifier);
    length(out, contents.len());
    out.extend_from_slice(contents);
}

/// Appends a string.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    element(out, STRING, text);
}

/// Appends a number of two octets.
pub(crate) fn short_integer(out: &mut Vec<u8>, value: u16) {
    element(out, INTEGER, &value.to_le_bytes());
}

/// Appends a number of four octets.
pub(crate) fn integer(out: &mut Vec<u8>, value: u32) {
    element(out, INTEGER, &value.to_le_bytes());
}

/// Appends a date whose text is given.
pub(crate) fn raw_date(out: &mut Vec<u8>, text: &[u8]) {
    element(out, DATE, text);
}

/// Appends a date, in whole seconds.
pub(crate) fn date(out: &mut Vec<u8>, time: i64) {
    let at = parts(time);
    let mut text = Vec::with_capacity(14);
    pad(&mut text, at.year, 4);
    for part in [at.month, at.day, at.hour, at.minute, at.second] {
        pad(&mut text, part, 2);
    }
    raw_date(out, &text);
}

/// Appends padding of so many octets in all, at least two.
pub(crate) fn padding(out: &mut Vec<u8>, octets: usize) {
    // From 130 octets on the length itself needs one octet more, from 259 on two.
    let contents = octets.saturating_sub(match octets {
        0..130 => 2,
        130..259 => 3,
        _ => 4,
    });
    element(out, PADDING, &vec![0; contents]);
}

/// Appends a sequence.
pub(crate) fn sequence(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut contents = Vec::new();
    write(&mut contents);
    element(out, SEQUENCE, &contents);
}

/// Appends an element with a qualifier.
pub(crate) fn qualified(
    out: &mut Vec<u8>,
    identifier: u8,
    qualifier: u8,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let mut contents = vec![qualifier];
    write(&mut contents);
    element(out, identifier, &contents);
}

/// Makes a message element whose length has three octets.
pub(crate) fn message(qualifier: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![MESSAGE, 0x83, 0, 0, 0, qualifier];
    write(&mut out);
    let octets = short(out.len() - MESSAGE_HEAD + 1).to_be_bytes();
    put(&mut out, 2, octets.get(1..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short_or_big_endian() {
        let rows: [(usize, &[u8]); 7] = [
            (0, &[0]),
            (0x7F, &[0x7F]),
            (0x80, &[0x81, 0x80]),
            (0xFF, &[0x81, 0xFF]),
            (0x19C9, &[0x82, 0x19, 0xC9]),
            (0x01_0000, &[0x83, 1, 0, 0]),
            (0x0100_0000, &[0x84, 1, 0, 0, 0]),
        ];
        for (value, octets) in rows {
            let mut out = Vec::new();
            length(&mut out, value);
            assert_eq!(out, octets);
        }
    }

    #[test]
    fn elements_byte_by_byte() {
        let mut out = Vec::new();
        string(&mut out, b"ab");
        short_integer(&mut out, 300);
        integer(&mut out, 0x0102_0304);
        date(&mut out, 750_097_500_000_000);
        sequence(&mut out, |out| string(out, b""));
        qualified(&mut out, VENDOR, 0x32, |out| short_integer(out, 2));
        let mut expected = b"\x02\x02ab\x20\x02\x2c\x01\x20\x04\x04\x03\x02\x01".to_vec();
        expected.extend_from_slice(b"\x28\x0e19931008162500\x0a\x02\x02\x00");
        expected.extend_from_slice(b"\x7f\x05\x32\x20\x02\x02\x00");
        assert_eq!(out, expected);
    }

    #[test]
    fn padding_has_the_octets_that_were_asked_for() {
        for octets in [2, 3, 129, 131, 200, 258, 260, 1000] {
            let mut out = Vec::new();
            padding(&mut out, octets);
            assert_eq!(out.len(), octets);
            assert_eq!(out[0], 0x21);
        }
    }

    #[test]
    fn a_message_counts_its_qualifier() {
        assert_eq!(message(1, |out| string(out, b"x")), b"\x4d\x83\0\0\x04\x01\x02\x01x");
    }
}
