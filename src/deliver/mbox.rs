//! Writes messages as one mbox of the mboxrd kind (RFC 4155, appendix A, and qmail's mbox(5)).
//!
//! A message is its From_ line, its content with one `>` more on each line `>*From `, and an empty
//! line. Line ends of our own are LF, whatever the content's are: a reader takes one empty line
//! off, and the content keeps its own CRLF. No header field is added: the content is what it was,
//! byte for byte, and what the From_ line can't hold of the envelope (forward-paths and all
//! parameters) isn't in the target. Read what is written with `mboxrd:`; detection may take
//! contents that all carry a right Content-Length for an mboxcl.
//!
//! Where reading doesn't give back the same content: one that ends without a line feed, has bytes,
//! and isn't the last message, gets one; that is counted. As the last message it stands as it is,
//! so that the file ends within a line.
//!
//! The From_ line: from an mbox it is copied as it is. Else it has the reverse-path, or
//! `MAILER-DAEMON` for the null and the unknown one, and the arrival in UTC, to the second. Without
//! an arrival it has the epoch, which reading takes for none. A reverse-path that the line can't
//! hold (control characters, spaces outside a quoted local-part, what would be read as another) is
//! `MAILER-DAEMON` too, and counted: mending it would make it the address of somebody else, who
//! would get the reports. Bytes from 128 on stay: they are addresses of RFC 6531 (Python's
//! `mailbox` gives such messages as bytes only).

use super::target::Place;
use super::{DeliverError, Item};
use crate::limits;
use crate::mail::date::Time;
use crate::mail::envelope::{Envelope, ReversePath};
use crate::queue::mbox::from_line;
use crate::spool::private;
use memchr::memmem;
use std::fs::File;
use std::io::{self, BufWriter, Write};

pub(super) struct Writer {
    place: Place,
    out: BufWriter<File>,
    search: memmem::Finder<'static>,
    line: Vec<u8>,
    /// The message written last ends without a line feed.
    is_open: bool,
    line_ends_added: u64,
    senders_changed: u64,
}

impl Writer {
    pub(super) fn begin(place: Place) -> Result<Self, DeliverError> {
        let file = private::create_new(place.partial()).map_err(|source| place.failed(source))?;
        Ok(Self {
            place,
            out: BufWriter::with_capacity(limits::BUFFER_BYTES, file),
            search: memmem::Finder::new(b"From "),
            line: Vec::new(),
            is_open: false,
            line_ends_added: 0,
            senders_changed: 0,
        })
    }

    /// Gives the length of the content, without our quotes.
    pub(super) fn message(&mut self, item: &Item<'_, '_>) -> Result<u64, DeliverError> {
        self.line.clear();
        if item.format.mbox_kind().is_some() {
            self.line.extend_from_slice(item.found.head);
        } else {
            self.senders_changed += u64::from(!write_from_line(&mut self.line, item.envelope));
        }
        self.line.push(b'\n');
        self.write(item).map_err(|source| self.place.failed(source))?;
        Ok(item.found.content.len())
    }

    fn write(&mut self, item: &Item<'_, '_>) -> io::Result<()> {
        if self.is_open {
            self.out.write_all(b"\n\n")?;
            self.line_ends_added += 1;
        }
        self.out.write_all(&self.line)?;
        let content = item.found.content;
        let raw = content.raw();
        write_quoted(&self.search, raw, content.is_quoted(), &mut self.out)?;
        self.is_open = !matches!(raw, [] | [.., b'\n']);
        if self.is_open { Ok(()) } else { self.out.write_all(b"\n") }
    }

    /// Gives how many line ends were added, and senders changed.
    pub(super) fn finish(mut self) -> Result<(u64, u64), DeliverError> {
        let synced = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        synced.map_err(|source| self.place.failed(source))?;
        self.place.finish()?;
        Ok((self.line_ends_added, self.senders_changed))
    }
}

/// Writes raw content with its `From ` lines quoted. Where the content stands quoted already
/// (`is_quoted`), its lines `>+From ` are as they have to be, and only a bare `From ` gets its `>`.
fn write_quoted(
    search: &memmem::Finder<'_>,
    raw: &[u8],
    is_quoted: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut copied = 0;
    for hit in search.find_iter(raw) {
        let before = raw.get(..hit).unwrap_or_default();
        // No `>` is walked over twice: they lie between two hits.
        let brackets = before.iter().rev().take_while(|&&byte| byte == b'>').count();
        let line = hit - brackets;
        let is_line_start = line == 0 || raw.get(line - 1) == Some(&b'\n');
        if is_line_start && !(is_quoted && brackets > 0) {
            out.write_all(raw.get(copied..line).unwrap_or_default())?;
            out.write_all(b">")?;
            copied = line;
        }
    }
    out.write_all(raw.get(copied..).unwrap_or_default())
}

/// Makes `out` a From_ line without its line end. False: it can't hold the reverse-path.
fn write_from_line(out: &mut Vec<u8>, envelope: &Envelope<'_>) -> bool {
    let ReversePath::Path(path) = envelope.reverse_path else {
        write_line(out, b"MAILER-DAEMON", envelope.arrival);
        return true;
    };
    let is_quoted = path.starts_with(b"\"");
    let is_bad = |byte: &u8| byte.is_ascii_control() || *byte == b' ' && !is_quoted;
    if !path.iter().any(is_bad) {
        write_line(out, path, envelope.arrival);
        if from_line(out).reverse_path == envelope.reverse_path {
            return true;
        }
        out.clear();
    }
    write_line(out, b"MAILER-DAEMON", envelope.arrival);
    false
}

fn write_line(out: &mut Vec<u8>, path: &[u8], arrival: Option<Time>) {
    out.extend_from_slice(b"From ");
    out.extend_from_slice(path);
    out.push(b' ');
    arrival.unwrap_or(Time(0)).write_asctime(out);
}
