//! The content of a message (RFC 5321, 2.3.1): header section and body, as the bytes lie in the
//! queue.
//!
//! In an mbox of the mboxrd kind, lines that begin with `From ` after any number of `>` carry one
//! `>` more than the message has. Such content isn't copied to be unquoted: it is given as runs of
//! bytes with those `>` left out.

use memchr::memmem;

/// The content of a message, borrowed from the queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content<'a> {
    raw: &'a [u8],
    quoted: bool,
}

impl<'a> Content<'a> {
    /// Content that stands as it is.
    pub const fn plain(raw: &'a [u8]) -> Self {
        Self { raw, quoted: false }
    }

    /// Content that stands quoted as in mboxrd. Without any quoted line it is plain.
    pub fn quoted(raw: &'a [u8]) -> Self {
        Self { raw, quoted: next_quote(raw, 0).is_some() }
    }

    /// As [`Content::quoted`], where it is known already whether any line is quoted: framing sees
    /// that on its way.
    pub const fn quoted_known(raw: &'a [u8], quoted: bool) -> Self {
        Self { raw, quoted }
    }

    /// The bytes as they lie in the queue, quoted lines included. Header fields are read from
    /// these.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// True where a `>` has to be left out somewhere: then `raw` isn't the content.
    pub const fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// The content as runs of bytes, in order. One run, unless it is quoted.
    pub const fn runs(&self) -> Runs<'a> {
        Runs { content: *self, start: 0, scan: 0 }
    }

    /// Length of the content in bytes, quoting `>` not counted.
    pub fn len(&self) -> u64 {
        if self.quoted {
            self.runs().map(|run| run.len() as u64).sum()
        } else {
            self.raw.len() as u64
        }
    }

    /// True where there is no byte.
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// CRC32C of the content.
    pub fn checksum(&self) -> u32 {
        self.runs().fold(0, crc32c::crc32c_append)
    }
}

/// The runs of a content: see [`Content::runs`].
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    content: Content<'a>,
    start: usize,
    scan: usize,
}

impl<'a> Iterator for Runs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let raw = self.content.raw;
        while self.start < raw.len() {
            let quote = if self.content.quoted { next_quote(raw, self.scan) } else { None };
            let start = self.start;
            let end = quote.map_or(raw.len(), |quote| quote.line_start);
            if let Some(quote) = quote {
                self.start = quote.line_start + 1;
                self.scan = quote.scanned;
            } else {
                self.start = raw.len();
            }
            // Nothing stands before a quoted first line.
            if end > start {
                return raw.get(start..end);
            }
        }
        None
    }
}

/// A quoted line.
#[derive(Clone, Copy)]
struct Quote {
    /// Index of its first `>`, the one to be left out.
    line_start: usize,
    /// Index behind its `From `: the next search begins here, so that no `>` is looked at over and
    /// over.
    scanned: usize,
}

/// The next line `>+From ` whose brackets begin at or after `from`, which is 0 or a `scanned` of
/// before.
///
/// Linear over all calls on one content, whatever is in it: the brackets that are walked back over
/// lie between two hits.
fn next_quote(raw: &[u8], from: usize) -> Option<Quote> {
    let mut at = from;
    loop {
        let hit = at + memmem::find(raw.get(at..)?, b">From ")?;
        let scanned = hit + b">From ".len();
        let before = raw.get(from..hit)?;
        let line_start = hit - before.iter().rev().take_while(|&&b| b == b'>').count();
        if line_start == 0 || raw.get(line_start - 1) == Some(&b'\n') {
            return Some(Quote { line_start, scanned });
        }
        at = scanned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_lines_lose_one_bracket_and_nothing_else() {
        let check = |raw: &[u8], expect: &[u8]| {
            let content = Content::quoted(raw);
            assert_eq!(content.runs().collect::<Vec<_>>().concat(), expect);
            assert_eq!(content.len(), expect.len() as u64);
            assert_eq!(content.checksum(), crc32c::crc32c(expect));
        };
        check(b"", b"");
        check(b"abc\n", b"abc\n");
        check(b">From x\n>>From y\n >From z\n>Fromage\n", b"From x\n>From y\n >From z\n>Fromage\n");
        check(b"a\n>From x>From y\n>>>From ", b"a\nFrom x>From y\n>>From ");
        check(b">>From >From \r\n>From a", b">From >From \r\nFrom a");
    }
    #[test]
    fn a_megabyte_of_brackets_takes_no_time() {
        let run = b">".repeat(1 << 20);
        for tail in [&b""[..], b"From ", b"From x\n>From ", b"x>From "] {
            let raw = [&run[..], tail].concat();
            let content = Content::quoted(&raw);
            let quotes = match tail {
                b"From " => 1,
                b"From x\n>From " => 2,
                _ => 0,
            };
            assert_eq!(content.is_quoted(), quotes > 0);
            assert_eq!(content.len(), (raw.len() - quotes) as u64);
        }
        let many = b">>>>From ".repeat(1 << 16);
        assert_eq!(Content::quoted(&many).len(), many.len() as u64 - 1);
    }
}
