//! Mailboxes in one file (mbox): where the messages of a range begin and end, for the four kinds
//! that are about.
//!
//! A line that begins with `From ` at the start of the file or after an empty line (LF or CRLF)
//! begins a message; its date isn't looked at. The content is what lies behind that line, without
//! the one empty line that parts it from the next message; at the end of the file one trailing
//! empty line is left out in the same way. In the kinds with a Content-Length ([`Kind::Cl`],
//! [`Kind::Cl2`]) one that ends exactly on a boundary is obeyed, and the content is as long as it
//! says; any other is ignored, so that a wrong one neither loses nor joins messages.
//!
//! Not here: reading files, the envelope beyond the From_ line ([`from_line()`]), locks, and
//! writing. The kind is the caller's to choose; [`detect()`] makes a guess.
//!
//! Invariants: the ranges of the messages and of the damage don't overlap, and cover the file but
//! for empty lines before the first message. Framing the parts of a file gives the messages that
//! framing it whole gives. The work is linear in the bytes of the range and of its last message.
//!
//! Bad data: bytes before the first message are one [`Damage`], as is a file with no message at
//! all, unless there are line ends alone. Everything else is a message, whatever is in it.

mod from_line;
#[cfg(test)]
mod tests;

pub use from_line::{FromLine, from_line};

use crate::mail::{content::Content, header};
use crate::queue::{Damage, DamageKind, Found, Framed, Lies};
use memchr::{memchr, memmem};
use smallvec::SmallVec;
use std::ops::Range;

/// How a mailbox tells its messages apart from lines in them that begin with `From `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// mboxrd: every line of a content that begins with `From ` after any number of `>` has one `>`
    /// more. It is taken off.
    Rd,
    /// mboxo: only `From ` itself was quoted, so that nobody can tell a quoted line from one that
    /// was so before. The bytes are carried as they stand.
    O,
    /// mboxcl: lengths in Content-Length fields, and quoting as in mboxo, carried as it stands.
    Cl,
    /// mboxcl2: lengths in Content-Length fields, and no quoting.
    Cl2,
}

impl Kind {
    /// Whether Content-Length fields are obeyed: then a part can begin only at a start that
    /// [`part_starts`] gives.
    pub const fn has_lengths(self) -> bool {
        matches!(self, Self::Cl | Self::Cl2)
    }
}

/// Bytes at the head of a mailbox that [`detect`] looks through.
pub const DETECT_BYTES: usize = 4 << 20;
/// Messages at the head of a mailbox whose Content-Length [`detect`] looks at.
pub const DETECT_MESSAGES_MAX: usize = 20;
/// Content-Length fields of one message that are tried. A writer adds one, the original may have
/// brought another.
const LENGTHS_TRIED_MAX: usize = 4;

/// What begins a message, and what may stand in any content.
const FROM: &[u8] = b"From ";

/// Guesses the kind of a mailbox from its first [`DETECT_BYTES`].
///
/// `bytes` are the whole file, or its first [`DETECT_BYTES`] alone. More of the file is looked at
/// only for the header section of a message that begins there, and where its Content-Length ends.
///
/// Where each of the first [`DETECT_MESSAGES_MAX`] messages has a Content-Length that ends on a
/// boundary, it is [`Kind::Cl2`] if a content holds a line `From ` after an empty line, and else
/// [`Kind::Cl`]. Otherwise a line `From ` that does not follow an empty line tells [`Kind::O`],
/// because writers of mboxrd quote it. All else is [`Kind::Rd`]: a line `>From ` was nearly always
/// written as `From `.
pub fn detect(bytes: &[u8]) -> Kind {
    let head = bytes.get(..DETECT_BYTES).unwrap_or(bytes);
    let by_length = Walk::new(bytes, Kind::Cl2);
    let Some(first) = by_length.first_start(0, head.len()) else { return Kind::Rd };
    if let Some(kind) = detect_lengths(&by_length, first, head.len()) {
        return kind;
    }
    // The first hit is the message's own From_ line.
    let has_unquoted = by_length
        .search
        .find_iter(head.get(first..).unwrap_or_default())
        .any(|at| is_line_start(head, first + at) && !is_after_empty_line(head, first + at));
    if has_unquoted { Kind::O } else { Kind::Rd }
}

/// The kind, if it is one with lengths.
fn detect_lengths(walk: &Walk<'_>, first: usize, until: usize) -> Option<Kind> {
    let mut kind = None;
    let mut at = first;
    for _ in 0..DETECT_MESSAGES_MAX {
        if at >= until {
            break;
        }
        let head_end = walk.line_end(at);
        let Some((content_end, next)) = walk.end_by_length(head_end) else {
            // The last message of a head that was cut off says nothing.
            if walk.file.len() == DETECT_BYTES && walk.end_by_lines(head_end).0 == DETECT_BYTES {
                break;
            }
            return None;
        };
        let has_unquoted = walk.first_start(head_end, content_end.min(until)).is_some();
        kind = if has_unquoted { Some(Kind::Cl2) } else { kind.or(Some(Kind::Cl)) };
        at = next;
    }
    kind
}

/// Where the parts of a mailbox start, about `part_bytes` apart, the first at 0; a part ends where
/// the next one starts.
///
/// Without lengths these are multiples of `part_bytes`, and any other cut does as well. With
/// lengths each is the start of a message, found by walking over the whole file from length to
/// length.
pub fn part_starts(file: &[u8], kind: Kind, part_bytes: u64) -> Vec<u64> {
    let part_bytes = part_bytes.max(1);
    if !kind.has_lengths() {
        let count = (file.len() as u64).div_ceil(part_bytes).max(1);
        return (0..count).map(|index| index * part_bytes).collect();
    }
    let walk = Walk::new(file, kind);
    let mut starts = vec![0];
    let mut last = 0;
    let mut at = walk.first_start(0, file.len()).unwrap_or(file.len());
    while at < file.len() {
        let start = at as u64;
        if start - last >= part_bytes {
            starts.push(start);
            last = start;
        }
        at = walk.message(at).end;
    }
    starts
}

/// The messages that start within `range` (bytes of the file), the last one up to its end, wherever
/// that is. Damage before the first message of the file belongs to the range that begins at 0.
///
/// Where the kind has lengths, `range` must begin at 0 or at a start given by [`part_starts`]; else
/// the first message is the next one that lines alone tell.
pub fn frame(file: &[u8], kind: Kind, range: Range<u64>) -> Mbox<'_> {
    let walk = Walk::new(file, kind);
    let clamp = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
    let (start, end) = (clamp(range.start), clamp(range.end));
    let begins_file = start == 0 && end > 0;
    let starts_message = kind.has_lengths()
        && is_line_start(file, start)
        && file.get(start..).is_some_and(|rest| rest.starts_with(FROM));
    let until = if begins_file { file.len() } else { end };
    let at = if starts_message { start } else { walk.first_start(start, until).unwrap_or(until) };
    let before = if begins_file { file.get(..at).unwrap_or_default() } else { b"" };
    let is_blank = before.iter().all(|b| matches!(b, b'\r' | b'\n'));
    let damage = Damage { offset: 0, length: before.len() as u64, kind: DamageKind::NoMessage };
    Mbox { walk, damage: (!is_blank).then_some(damage), at, end }
}

/// The messages of a range: see [`frame`].
#[derive(Clone, Debug)]
pub struct Mbox<'a> {
    walk: Walk<'a>,
    damage: Option<Damage>,
    /// Where the next message starts; at or behind `end` there is none for us.
    at: usize,
    end: usize,
}

impl<'a> Iterator for Mbox<'a> {
    type Item = Framed<'a>;

    fn next(&mut self) -> Option<Framed<'a>> {
        if let Some(damage) = self.damage.take() {
            return Some(Framed::Damage(damage));
        }
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        let extent = self.walk.message(start);
        self.at = extent.end;
        let file = self.walk.file;
        let content = file.get(extent.head_end..extent.content_end)?;
        let found = Found::new(
            start as u64,
            (extent.end - start) as u64,
            header::strip_line_end(file.get(start..extent.head_end)?),
            Content::quoted_known(content, extent.is_quoted),
        );
        let here = Lies::Here(extent.head_end as u64);
        let lies = if extent.is_quoted { Lies::Nowhere } else { here };
        Some(Framed::Message(Found { lies, ..found }))
    }
}

impl std::iter::FusedIterator for Mbox<'_> {}

/// The pieces of one message, as offsets: `start <= head_end <= content_end <= end`.
struct Extent {
    /// Behind the line end of the From_ line.
    head_end: usize,
    content_end: usize,
    /// The start of the next message, or the end of the file.
    end: usize,
    /// A line of the content is quoted, and the kind takes quotes off.
    is_quoted: bool,
}

/// A file with what is needed to walk over it.
#[derive(Clone, Debug)]
struct Walk<'a> {
    file: &'a [u8],
    kind: Kind,
    /// Finds [`FROM`]: message starts, quoted lines and words alike, so that all is known from one
    /// pass.
    search: memmem::Finder<'static>,
}

impl<'a> Walk<'a> {
    fn new(file: &'a [u8], kind: Kind) -> Self {
        Self { file, kind, search: memmem::Finder::new(FROM) }
    }

    /// Behind the line that holds `from`.
    fn line_end(&self, from: usize) -> usize {
        let rest = self.file.get(from..).unwrap_or_default();
        memchr(b'\n', rest).map_or(self.file.len(), |at| from + at + 1)
    }

    /// The first message that lines tell and that starts within `from..until`.
    fn first_start(&self, from: usize, until: usize) -> Option<usize> {
        // A start within the range may have its last bytes behind it.
        let limit = until.saturating_add(FROM.len() - 1).min(self.file.len());
        let mut at = from;
        loop {
            let hit = at + self.search.find(self.file.get(at..limit)?)?;
            if is_after_empty_line(self.file, hit) {
                return Some(hit);
            }
            at = hit + FROM.len();
        }
    }

    /// The message that starts at `start`.
    fn message(&self, start: usize) -> Extent {
        let head_end = self.line_end(start);
        if self.kind.has_lengths()
            && let Some((content_end, end)) = self.end_by_length(head_end)
        {
            return Extent { head_end, content_end, end, is_quoted: false };
        }
        let (end, is_quoted) = self.end_by_lines(head_end);
        let raw = self.file.get(head_end..end).unwrap_or_default();
        let content_end = end - last_empty_line(raw);
        Extent { head_end, content_end, end, is_quoted }
    }

    /// Where lines tell that a content ends which begins at `head_end`, and whether a line of it is
    /// quoted as in mboxrd.
    fn end_by_lines(&self, head_end: usize) -> (usize, bool) {
        let mut is_quoted = false;
        let mut at = head_end;
        while let Some(hit) = self.file.get(at..).and_then(|rest| self.search.find(rest)) {
            let hit = at + hit;
            let before = self.file.get(head_end..hit).unwrap_or_default();
            match before.last() {
                Some(b'\n') if is_after_empty_line(self.file, hit) => return (hit, is_quoted),
                // No `>` is walked over twice: they lie between two hits.
                Some(b'>') if !is_quoted && self.kind == Kind::Rd => {
                    let line_start = before.iter().rev().find(|&&byte| byte != b'>');
                    is_quoted = matches!(line_start, None | Some(b'\n'));
                }
                _ => {}
            }
            at = hit + FROM.len();
        }
        (self.file.len(), is_quoted)
    }

    /// Where a Content-Length tells that a content ends which begins at `head_end`, and where the
    /// next message starts then.
    fn end_by_length(&self, head_end: usize) -> Option<(usize, usize)> {
        let content = self.file.get(head_end..)?;
        let mut fields = header::fields(content);
        let lengths: SmallVec<[u64; LENGTHS_TRIED_MAX]> = fields
            .by_ref()
            .filter(|field| field.is("Content-Length"))
            .take(LENGTHS_TRIED_MAX)
            .filter_map(|field| number(field.trimmed()))
            .collect();
        if lengths.is_empty() {
            return None;
        }
        while fields.next().is_some() {}
        let section_end = head_end + fields.position();
        let empty_line = line_end_at(self.file, section_end);
        if empty_line == 0 {
            return None;
        }
        let body = section_end + empty_line;
        lengths.iter().find_map(|&length| {
            let end = body.checked_add(usize::try_from(length).ok()?)?;
            Some((end, self.boundary_at(end)?))
        })
    }

    /// Where the next message starts if a content may end at `end`: the end of the file or a From_
    /// line is there, or behind one line end. That line end closes the last line of a content that
    /// has none of its own.
    fn boundary_at(&self, end: usize) -> Option<usize> {
        let line_end = line_end_at(self.file, end);
        let next = end.checked_add(line_end)?;
        let rest = self.file.get(next..)?;
        let is_torn = line_end == 1 && self.file.get(..end)?.ends_with(b"\r");
        let is_boundary =
            rest.is_empty() || rest.starts_with(FROM) && is_line_start(self.file, next);
        (is_boundary && !is_torn).then_some(next)
    }
}

/// Length of the line end that stands at `at`; 0 if none does.
fn line_end_at(file: &[u8], at: usize) -> usize {
    match file.get(at..) {
        Some([b'\n', ..]) => 1,
        Some([b'\r', b'\n', ..]) => 2,
        _ => 0,
    }
}

fn is_line_start(file: &[u8], at: usize) -> bool {
    at == 0 || file.get(at - 1) == Some(&b'\n')
}

/// Whether a line begins at `at` that is the first of the file, or follows an empty one.
fn is_after_empty_line(file: &[u8], at: usize) -> bool {
    matches!(
        file.get(..at),
        Some([] | b"\n" | b"\r\n" | [.., b'\n', b'\n'] | [.., b'\n', b'\r', b'\n'])
    )
}

/// Length of the last line of `raw`, which begins at a line's start, if that line is empty; else 0.
fn last_empty_line(raw: &[u8]) -> usize {
    match raw {
        b"\n" | [.., b'\n', b'\n'] => 1,
        b"\r\n" | [.., b'\n', b'\r', b'\n'] => 2,
        _ => 0,
    }
}

/// A number of one to eighteen digits.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
