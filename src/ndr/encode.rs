//! Encodings of text that has to stand in a line of printable ASCII: escapes, xtext, base64.
//!
//! Not here: which field wants which. All append; all take any bytes; none writes a control byte,
//! so nothing they write can end a line.

use crate::mail::envelope::write_hex;

/// Which characters stand for themselves; all others are written as `\x{HEX}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// Printable ASCII with space: text for people.
    Printable,
    /// QCHAR of RFC 6533, 3: what a utf-8-addr-xtext leaves as it is.
    Qchar,
}

impl Plain {
    fn has(self, c: char) -> bool {
        match self {
            Self::Printable => matches!(c, ' '..='~'),
            Self::Qchar => matches!(c, '!'..='~') && !matches!(c, '\\' | '+' | '='),
        }
    }
}

/// Whether bytes are printable ASCII, spaces included.
pub(super) fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| matches!(b, b' '..=b'~'))
}

/// Appends `bytes` with `\x{HEX}` of the code point for what isn't plain; bytes that aren't UTF-8
/// are taken for Latin-1. About `max` bytes are written (up to 16 more), and `...` for the rest.
pub(super) fn escape(out: &mut Vec<u8>, bytes: &[u8], plain: Plain, max: usize) {
    if bytes.len() <= max && plain == Plain::Printable && is_printable(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    let start = out.len();
    // A byte read is at least a byte written, so what lies behind `max` (and a character cut there)
    // is never reached.
    let bytes = bytes.get(..max.saturating_add(4)).unwrap_or(bytes);
    for chunk in bytes.utf8_chunks() {
        let latin1 = chunk.invalid().iter().map(|&byte| char::from(byte));
        for c in chunk.valid().chars().chain(latin1) {
            if out.len() - start >= max {
                out.extend_from_slice(b"...");
                return;
            }
            match u8::try_from(c) {
                Ok(byte) if plain.has(c) => out.push(byte),
                _ => {
                    out.extend_from_slice(b"\\x{");
                    write_hex(u64::from(c), 2, out);
                    out.push(b'}');
                }
            }
        }
    }
}

/// Appends xtext (RFC 3461, 4): `+HH` for all but printable ASCII without `+` and `=`. Cut as in
/// [`escape`].
pub(super) fn xtext(out: &mut Vec<u8>, bytes: &[u8], max: usize) {
    let start = out.len();
    for &byte in bytes {
        if out.len() - start >= max {
            out.extend_from_slice(b"...");
            return;
        }
        if byte.is_ascii_graphic() && !matches!(byte, b'+' | b'=') {
            out.push(byte);
        } else {
            out.push(b'+');
            write_hex(u64::from(byte), 2, out);
        }
    }
}

/// Writes bytes as base64 (RFC 2045, 6.8), without line ends.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    /// Bits that don't fill a digit yet, and how many they are.
    bits: u32,
    bit_count: u32,
    digits: usize,
}

impl Base64 {
    /// Appends the digits that `byte` completes, and says how many there are so far.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, byte: u8) -> usize {
        self.bits = (self.bits << 8) | u32::from(byte);
        self.bit_count += 8;
        while self.bit_count >= 6 {
            self.bit_count -= 6;
            self.digit(out, self.bits >> self.bit_count);
        }
        self.digits
    }

    /// Appends the last digit and the padding.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        if self.bit_count > 0 {
            self.digit(out, self.bits << (6 - self.bit_count));
        }
        while !self.digits.is_multiple_of(4) {
            out.push(b'=');
            self.digits += 1;
        }
    }

    fn digit(&mut self, out: &mut Vec<u8>, bits: u32) {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        out.push(DIGITS.get((bits & 63) as usize).copied().unwrap_or(b'A'));
        self.digits += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_are_code_points_or_bytes() {
        let check = |bytes: &[u8], plain, expect: &str| {
            assert_eq!(written(|out| escape(out, bytes, plain, 60)), expect);
        };
        check(b"a b\\+=", Plain::Printable, "a b\\+=");
        check(b"a b\\+=", Plain::Qchar, "a\\x{20}b\\x{5C}\\x{2B}\\x{3D}");
        check("\u{fc}\u{1f600}".as_bytes(), Plain::Qchar, "\\x{FC}\\x{1F600}");
        check(b"\xfc\0\n\x7f", Plain::Printable, "\\x{FC}\\x{00}\\x{0A}\\x{7F}");
    }

    #[test]
    fn long_text_is_cut_at_its_bound_and_not_before() {
        for plain in [Plain::Printable, Plain::Qchar] {
            let text = |len: usize| written(|out| escape(out, &b"x".repeat(len), plain, 10));
            assert_eq!(text(10), "xxxxxxxxxx");
            assert_eq!(text(11), "xxxxxxxxxx...");
            assert_eq!(text(1000), "xxxxxxxxxx...");
        }
        let cut = written(|out| escape(out, "\u{10fffd}".repeat(9).as_bytes(), Plain::Qchar, 11));
        assert_eq!(cut, "\\x{10FFFD}\\x{10FFFD}...");
    }

    #[test]
    fn base64_and_xtext_are_as_the_rfcs_have_them() {
        for (bytes, expect) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            let got = written(|out| {
                let mut base64 = Base64::default();
                for byte in bytes.bytes() {
                    base64.push(out, byte);
                }
                base64.finish(out);
            });
            assert_eq!(got, expect);
        }
        assert_eq!(written(|out| xtext(out, b"a+b=c \xff", 99)), "a+2Bb+3Dc+20+FF");
    }
}
