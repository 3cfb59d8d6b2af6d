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
use crate::mail::header::section_len;
use memchr::{memchr, memchr_iter, memmem, memrchr};
use smallvec::SmallVec;

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
        let content = if whole { content } else { header_section(content) };
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
            let finder = memmem::Finder::new(&boundary);
            if !self.content.runs().any(|run| finder.find(run).is_some()) {
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

/// The header section, cut at a line's end where it is too long.
fn header_section(content: Content<'_>) -> Content<'_> {
    let raw = content.raw();
    let window = raw.get(..limits::REPORT_HEADER_BYTES_MAX).unwrap_or(raw);
    let mut len = section_len(window);
    if len == window.len() && len < raw.len() {
        len = memrchr(b'\n', window).map_or(len, |at| at + 1);
    }
    let section = window.get(..len).unwrap_or_default();
    if content.is_quoted() { Content::quoted(section) } else { Content::plain(section) }
}

fn encoding(content: Content<'_>, whole: bool) -> TransferEncoding {
    let is_text = content.runs().all(is_text);
    match (is_text, whole) {
        (true, _) if content.runs().all(<[u8]>::is_ascii) => TransferEncoding::SevenBit,
        (true, _) => TransferEncoding::EightBit,
        // A message may not be encoded as a whole (RFC 2046, 5.2.1), but a text may.
        (false, true) => TransferEncoding::Binary,
        (false, false) => TransferEncoding::Base64,
    }
}

/// Whether bytes are lines of text (RFC 2045, 2.8): no NUL, no CR alone, no line that is too long.
fn is_text(run: &[u8]) -> bool {
    if memchr(0, run).is_some() || memchr_iter(b'\r', run).any(|at| run.get(at + 1) != Some(&b'\n'))
    {
        return false;
    }
    let mut start = 0;
    memchr_iter(b'\n', run).chain([run.len()]).all(|end| {
        let line = run.get(start..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        start = end + 1;
        line.len() <= limits::REPORT_LINE_BYTES_MAX
    })
}
