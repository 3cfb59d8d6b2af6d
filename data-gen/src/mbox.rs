//! The mbox format (mboxrd): `From_` lines and quoting.
//!
//! What it deliberately does not do: the other mbox dialects.
//!
//! Invariant: what `message` appends is, after the `From_` line, unquoted and with its one empty
//! line at the end taken away, the content.

use memchr::memmem::Finder;

use crate::envelope::{Envelope, Reverse};
use crate::time::asctime;

/// Writes messages into an mbox.
#[derive(Debug)]
pub(crate) struct Writer {
    from: Finder<'static>,
}

impl Writer {
    /// A writer: one for each block, as making the searcher costs something.
    pub(crate) fn new() -> Self {
        Self { from: Finder::new(b"From ") }
    }

    /// Appends a message: `From_` line, quoted content, an empty line.
    pub(crate) fn message(&self, out: &mut Vec<u8>, envelope: &Envelope, content: &[u8]) {
        from_line(out, envelope);
        self.quote(out, content);
        if !content.is_empty() && !content.ends_with(b"\n") {
            out.push(b'\n');
        }
        out.push(b'\n');
    }

    fn quote(&self, out: &mut Vec<u8>, content: &[u8]) {
        let mut copied = 0;
        for at in self.from.find_iter(content) {
            let before = content.get(..at).unwrap_or_default();
            let marks = before.iter().rev().take_while(|b| **b == b'>').count();
            let line = at - marks;
            if line == 0 || content.get(line - 1) == Some(&b'\n') {
                out.extend_from_slice(content.get(copied..line).unwrap_or_default());
                out.push(b'>');
                copied = line;
            }
        }
        out.extend_from_slice(content.get(copied..).unwrap_or_default());
    }
}

/// The address that the `From_` line can hold: plain ASCII without spaces.
pub(crate) fn plain_sender(reverse: &Reverse) -> Option<&[u8]> {
    match reverse {
        Reverse::Path(path) if path.iter().all(|b| b.is_ascii_graphic() && *b != b'"') => {
            Some(path)
        }
        _ => None,
    }
}

fn from_line(out: &mut Vec<u8>, envelope: &Envelope) {
    out.extend_from_slice(b"From ");
    out.extend_from_slice(plain_sender(&envelope.reverse).unwrap_or(b"MAILER-DAEMON"));
    out.push(b' ');
    asctime(out, envelope.arrival);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_begin_with_from_are_quoted_once_more() {
        let mut out = Vec::new();
        let content = b"From a\n>From b\n>>From c\nxFrom d\n > From e\nFromage\n\nFrom f\n";
        Writer::new().quote(&mut out, content);
        let expected = b">From a\n>>From b\n>>>From c\nxFrom d\n > From e\nFromage\n\n>From f\n";
        assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected.to_vec()).unwrap());
    }

    #[test]
    fn a_message_byte_by_byte() {
        let mut envelope = crate::plan::blank(0);
        envelope.arrival = 1_767_319_445_000_000;
        envelope.reverse = Reverse::Path(b"a@b".to_vec());
        let mut out = Vec::new();
        Writer::new().message(&mut out, &envelope, b"A: b\n\nText\n");
        assert_eq!(out, b"From a@b Fri Jan  2 02:04:05 2026\nA: b\n\nText\n\n");
        out.clear();
        envelope.reverse = Reverse::Null;
        Writer::new().message(&mut out, &envelope, b"");
        assert_eq!(out, b"From MAILER-DAEMON Fri Jan  2 02:04:05 2026\n\n");
    }
}
