//! The content of a message (RFC 5321, 2.3.1): header section and body, as the bytes lie in the queue.
//!
//! In an mbox of the mboxrd kind, lines that begin with `From ` after any number of `>` carry one `>` more than the message
//! has. Such content isn't copied to be unquoted: it is given as runs of bytes with those `>` left out.

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

    /// The bytes as they lie in the queue, quoted lines included. Header fields are read from these.
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
        if self.quoted { self.runs().map(|run| run.len() as u64).sum() } else { self.raw.len() as u64 }
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
        if self.start >= raw.len() {
            return None;
        }
        let quote = if self.content.quoted { next_quote(raw, self.scan) } else { None };
        let end = quote.unwrap_or(raw.len());
        let run = raw.get(self.start..end);
        self.start = end + usize::from(quote.is_some());
        self.scan = self.start;
        match run {
            Some([]) if quote.is_some() => self.next(),
            other => other,
        }
    }
}

/// The next `>` to be left out: the first of a line `>+From `, at or after `from`.
fn next_quote(raw: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let hit = at + memmem::find(raw.get(at..)?, b">From ")?;
        let before = raw.get(..hit)?;
        let depth = before.iter().rev().take_while(|&&b| b == b'>').count();
        let line_start = hit - depth;
        let begins_line = line_start == 0 || raw.get(line_start - 1) == Some(&b'\n');
        if begins_line && line_start >= from {
            return Some(line_start);
        }
        at = hit + 6;
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
}
