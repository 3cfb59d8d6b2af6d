//! The third part of a report: what comes back of the message (RFC 6522, 3), and how it has to be
//! labelled.
//!
//! The bytes come back as they are, line ends included; only a header section with bytes that text
//! can't have is put in base64. Not here: anything that looks into the message.
//!
//! Invariant: the boundary doesn't occur in what comes back, so the part ends where we end it.

use super::Returned;
use super::encode::Base64;
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::Ret;
use crate::mail::header::{BLOCK, block};
use memchr::{memchr_iter, memrchr};
use smallvec::SmallVec;
use wide::u8x64;

/// Digits in a line of base64 (RFC 2045, 6.8).
const BASE64_LINE_DIGITS: usize = 76;

/// How the part is labelled (RFC 2045, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferEncoding {
    SevenBit,
    EightBit,
    Binary,
    Base64,
}

impl TransferEncoding {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::EightBit => "8bit",
            Self::Binary => "binary",
            Self::Base64 => "base64",
        }
    }

    /// What the multipart round the part needs: it may not be less than the part's own (RFC 2045,
    /// 6.4).
    pub(super) const fn of_multipart(self) -> Option<Self> {
        match self {
            Self::SevenBit | Self::Base64 => None,
            Self::EightBit | Self::Binary => Some(self),
        }
    }
}

/// What comes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Back<'a> {
    content: Content<'a>,
    whole: bool,
    pub(super) encoding: TransferEncoding,
}

impl<'a> Back<'a> {
    /// The whole message where the sender asks for it (RFC 3461, 4.3) and it isn't too large, else
    /// its header section.
    pub(super) fn of(returned: &Returned<'_, 'a>) -> Self {
        let content = returned.content;
        let whole = returned.envelope.ret == Some(Ret::Full)
            && content.len() <= limits::REPORT_CONTENT_BYTES_MAX as u64;
        let content = if whole { content } else { header_section(content, returned.header_len) };
        let encoding = encoding(content, whole);
        Self { content, whole, encoding }
    }

    pub(super) const fn content_type(&self) -> &'static str {
        if self.whole { "message/rfc822" } else { "text/rfc822-headers" }
    }

    /// A boundary that what comes back doesn't have. `=_` can't come from base64 or
    /// quoted-printable.
    pub(super) fn boundary(&self, key: u64) -> Boundary {
        let mut number = itoa::Buffer::new();
        let mut variant = 0_u64;
        loop {
            let mut boundary = Boundary::from_slice(b"=_");
            // Lower case, so that it isn't taken for the id of a message.
            let hex = key.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
            boundary
                .extend(hex.map(|digit| if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }));
            boundary.push(b'.');
            boundary.extend_from_slice(number.format(variant).as_bytes());
            // Runs end at line ends, and a boundary has none: it can't lie across two of them.
            if !self.content.runs().any(|run| has(run, &boundary)) {
                return boundary;
            }
            variant += 1;
        }
    }

    /// Appends the bytes of the part.
    pub(super) fn write(&self, out: &mut Vec<u8>, eol: &[u8]) {
        if self.encoding != TransferEncoding::Base64 {
            self.content.runs().for_each(|run| out.extend_from_slice(run));
            return;
        }
        let mut base64 = Base64::default();
        for &byte in self.content.runs().flatten() {
            // Three bytes fill four digits, so a line is only ever full between two bytes.
            if base64.push(out, byte).is_multiple_of(BASE64_LINE_DIGITS) {
                out.extend_from_slice(eol);
            }
        }
        base64.finish(out);
    }
}

/// A boundary (RFC 2046, 5.1.1): at most 2 + 16 + 1 + 20 characters.
pub(super) type Boundary = SmallVec<[u8; 64]>;

/// Whether a boundary occurs in a run.
fn has(run: &[u8], boundary: &[u8]) -> bool {
    memchr_iter(b'=', run).any(|at| run.get(at..).is_some_and(|rest| rest.starts_with(boundary)))
}

/// The header section, cut at a line's end where it is too long.
fn header_section(content: Content<'_>, len: usize) -> Content<'_> {
    let raw = content.raw();
    let mut section = raw.get(..len).unwrap_or(raw);
    if let Some(window) = section.get(..limits::REPORT_HEADER_BYTES_MAX)
        && window.len() < section.len()
    {
        let end = memrchr(b'\n', window).map_or(window.len(), |at| at + 1);
        section = window.get(..end).unwrap_or_default();
    }
    if content.is_quoted() { Content::quoted(section) } else { Content::plain(section) }
}

fn encoding(content: Content<'_>, whole: bool) -> TransferEncoding {
    let (mut is_text, mut is_ascii) = (true, true);
    for run in content.runs() {
        let (text, ascii) = text_and_ascii(run);
        (is_text, is_ascii) = (is_text && text, is_ascii && ascii);
    }
    match (is_text, whole) {
        (true, _) if is_ascii => TransferEncoding::SevenBit,
        (true, _) => TransferEncoding::EightBit,
        // A message may not be encoded as a whole (RFC 2046, 5.2.1), but a text may.
        (false, true) => TransferEncoding::Binary,
        (false, false) => TransferEncoding::Base64,
    }
}

/// Whether bytes are lines of text (RFC 2045, 2.8): no NUL, no CR alone, no line that is too long;
/// and whether they are ASCII. All of it by one look at each byte, 64 at a time.
fn text_and_ascii(run: &[u8]) -> (bool, bool) {
    let (mut is_text, mut is_ascii) = (true, true);
    // A bit where the block before ends in CR; where the line begins.
    let (mut cr_before, mut line) = (0, 0);
    for (start, chunk) in (0..).step_by(BLOCK).zip(run.chunks(BLOCK)) {
        let bytes = block(chunk, b' ');
        let places = |byte| bytes.simd_eq(u8x64::splat(byte)).to_bitmask();
        let (mut line_feeds, returns) = (places(b'\n'), places(b'\r'));
        let is_lone_cr = (returns << 1 | cr_before) & !line_feeds != 0;
        is_text &= !is_lone_cr && places(0) == 0;
        is_ascii &= bytes.to_bitmask() == 0;
        cr_before = returns >> (BLOCK - 1);
        while line_feeds != 0 {
            let end = start + line_feeds.trailing_zeros() as usize;
            line_feeds &= line_feeds - 1;
            is_text &= is_short(run.get(line..end).unwrap_or_default());
            line = end + 1;
        }
    }
    let is_whole = cr_before == 0 && is_short(run.get(line..).unwrap_or_default());
    (is_text && is_whole, is_ascii)
}

/// Whether a line, without its LF, isn't too long.
fn is_short(line: &[u8]) -> bool {
    line.len() <= limits::REPORT_LINE_BYTES_MAX
        || line.strip_suffix(b"\r").is_some_and(|it| it.len() <= limits::REPORT_LINE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by the bytes, one after the other.
    fn naively(run: &[u8]) -> (bool, bool) {
        let lone = |at: usize| run[at] == b'\r' && run.get(at + 1) != Some(&b'\n');
        let lines = run.split(|byte| *byte == b'\n');
        let mut lengths = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).len());
        let is_text = !run.contains(&0)
            && !(0..run.len()).any(lone)
            && lengths.all(|len| len <= limits::REPORT_LINE_BYTES_MAX);
        (is_text, run.is_ascii())
    }

    proptest! {
        #[test]
        fn text_is_known_by_blocks_as_byte_by_byte(
            pieces in proptest::collection::vec(
                prop_oneof![
                    4 => "[ -~]{0,80}",
                    4 => prop_oneof![Just("\n"), Just("\r\n")].prop_map(str::to_owned),
                    1 => prop_oneof![Just("\r"), Just("\0"), Just("\u{e4}")]
                        .prop_map(str::to_owned),
                    1 => (990_usize..1001).prop_map(|len| "x".repeat(len)),
                ],
                0..12,
            ),
        ) {
            let run = pieces.concat().into_bytes();
            prop_assert_eq!(text_and_ascii(&run), naively(&run));
        }
    }

    #[test]
    fn a_carriage_return_at_a_blocks_end_is_alone_or_not() {
        let run = |end: &str| ["x".repeat(63).as_bytes(), end.as_bytes()].concat();
        assert_eq!(text_and_ascii(&run("\r\nx")), (true, true));
        assert_eq!(text_and_ascii(&run("\rx")), (false, true));
        assert_eq!(text_and_ascii(&run("\r")), (false, true));
        assert_eq!(text_and_ascii(b""), (true, true));
    }
}
