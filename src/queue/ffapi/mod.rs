//! FFAPI text, the interchange form that the original published (docs/ffapi.md): reading and
//! writing.
//!
//! A file holds messages, one behind the other; each is a header of lines, a text, and attachments.
//! [`read`] takes a file apart, [`frame`] gives its messages with an envelope as a segment has it
//! and a content of RFC 5322, [`mod@write`] makes such files. Not here: lists of folders
//! (`files`), the Extended and Encapsulated forms, which were never published. Invariant: what
//! can't be read is set aside whole, with the original's error; nothing is guessed.

pub mod frame;
pub mod read;
#[cfg(test)]
mod tests;
pub mod write;

use memchr::{memchr2, memmem};

/// What ends a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    /// CR: the original's `-f0`.
    #[default]
    Cr,
    /// LF: `-f1`.
    Lf,
    /// CR LF: `-f2`.
    CrLf,
}

impl LineEnd {
    /// That of a file: the first that is found. A file without any has one line.
    pub fn of(file: &[u8]) -> Self {
        let rest = memchr2(b'\r', b'\n', file).and_then(|at| file.get(at..)).unwrap_or_default();
        match rest {
            [b'\r', b'\n', ..] => Self::CrLf,
            [b'\n', ..] => Self::Lf,
            _ => Self::Cr,
        }
    }

    /// Its bytes.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Cr => b"\r",
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cr => "cr",
            Self::Lf => "lf",
            Self::CrLf => "crlf",
        }
    }
}

/// First line of a text that is a whole message of RFC 5322 behind the empty line that follows: our
/// own way to write what Basic messages can't hold.
pub const WHOLE: &[u8] = b"Content-Type: message/rfc822";

/// Begins an address that is a path as it stands, with escapes: our own way to write paths that are
/// no mailbox. No address type has a `-`.
pub const PATH_TYPE: &[u8] = b"X-PATH:";

/// Appends `text` with each `from` replaced.
fn replace(text: &[u8], from: &[u8], to: &[u8], out: &mut Vec<u8>) {
    let mut start = 0;
    for at in memmem::find_iter(text, from) {
        out.extend_from_slice(text.get(start..at).unwrap_or_default());
        out.extend_from_slice(to);
        start = at + from.len();
    }
    out.extend_from_slice(text.get(start..).unwrap_or_default());
}
