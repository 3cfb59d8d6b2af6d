//! Takes FFAPI files apart: lines, addresses, sizes, and the original's errors.
//!
//! Everything borrows from the file, but for addresses. Not here: the files that XATTACH and XTEXT
//! name. Invariants: total over any bytes; a message that is given has all the bytes that its sizes
//! promise, and what lies behind it is the end of the file or another message.

use super::{LineEnd, PATH_TYPE};
use crate::limits;
use crate::mail::date::Time;
use crate::mail::msmail;
use memchr::memmem;

/// An error of a message, as the original numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The error's number.
    pub code: u16,
    /// Which message of the file, from 1.
    pub message: u32,
    /// Which line of the message, from 1.
    pub line: u32,
    /// Says it in words.
    pub text: Vec<u8>,
}

impl Fault {
    /// Appends `141-1-2 Cannot match token TO (has tail net/po/mailbox)`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { code, message, line, text } = self;
        out.extend_from_slice(format!("{code}-{message}-{line} ").as_bytes());
        let end = text.len().min(limits::FAULT_TEXT_BYTES_MAX);
        out.extend_from_slice(text.get(..end).unwrap_or_default());
    }
}

/// An address of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The MS Mail address; none where the file has a path as it stands.
    pub address: Option<Vec<u8>>,
    /// The path that it is judged by.
    pub path: Vec<u8>,
}

/// Bytes that stand in the file, or in one beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes<'a> {
    /// In the file.
    Here(&'a [u8]),
    /// In a file of this name, which a line (from 1) gives.
    Beside(&'a [u8], u32),
}

/// An attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its bytes.
    pub bytes: Bytes<'a>,
}

/// A message; where there is a fault, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Offset of its first byte.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
    /// Which message of the file, from 1.
    pub number: u32,
    /// In the order of the lines.
    pub to: Vec<Party>,
    /// In the order of the lines, behind those of `to`.
    pub cc: Vec<Party>,
    /// The sender, where there is a line.
    pub from: Option<Party>,
    /// Date and time, as UTC.
    pub date: Option<Time>,
    /// The subject, where there is a line.
    pub subject: Option<&'a [u8]>,
    /// 1 to 5.
    pub priority: u8,
    /// In the order of the lines.
    pub attachments: Vec<Attached<'a>>,
    /// The text.
    pub text: Bytes<'a>,
    /// Offset of a text that stands in the file.
    pub text_start: usize,
    /// Why it can't be read.
    pub fault: Option<Fault>,
}

/// The messages of a file, in order. Behind one with a fault there is none: where the next begins
/// isn't known.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    file: &'a [u8],
    line_end: LineEnd,
    at: usize,
    number: u32,
}

/// Takes a file apart.
pub fn messages(file: &[u8]) -> Messages<'_> {
    Messages { file, line_end: LineEnd::of(file), at: 0, number: 0 }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        // A file without a message is one that can't be read: it isn't passed over in silence.
        if self.at >= self.file.len() && self.number > 0 {
            return None;
        }
        self.number = self.number.saturating_add(1);
        let mut reader = Reader::new(self.file, self.at, self.line_end, self.number);
        reader.message.fault = reader.read().err();
        let mut message = reader.message;
        if message.fault.is_some() {
            message.end = self.file.len();
        }
        self.at = message.end;
        Some(message)
    }
}

/// Where in a message we are.
struct Reader<'a> {
    file: &'a [u8],
    line_end: LineEnd,
    at: usize,
    /// The number of the line read last, where it begins, and its length.
    line: u32,
    line_start: usize,
    line_len: usize,
    seen: Seen,
    time: Option<&'a [u8]>,
    date: Option<&'a [u8]>,
    /// Sizes of the attachments that stand in the file, by their index, and their lines.
    sizes: Vec<(usize, usize, u32)>,
    message: Message<'a>,
}

/// Lines that come at most once.
#[derive(Clone, Copy, Default)]
struct Seen {
    version: bool,
    priority: bool,
}

/// What a line does to the reading of a header.
enum Step {
    On,
    Text(usize),
    TextBeside,
}

impl<'a> Reader<'a> {
    fn new(file: &'a [u8], start: usize, line_end: LineEnd, number: u32) -> Self {
        let message = Message {
            start,
            end: file.len(),
            number,
            to: Vec::new(),
            cc: Vec::new(),
            from: None,
            date: None,
            subject: None,
            priority: 3,
            attachments: Vec::new(),
            text: Bytes::Here(b""),
            text_start: start,
            fault: None,
        };
        let (seen, sizes) = (Seen::default(), Vec::new());
        let (time, date) = (None, None);
        let (line, line_start, line_len) = (0, start, 0);
        let at = start;
        Self { file, line_end, at, line, line_start, line_len, seen, time, date, sizes, message }
    }

    fn fault(&self, code: u16, text: impl Into<Vec<u8>>) -> Fault {
        Fault { code, message: self.message.number, line: self.line, text: text.into() }
    }

    fn read(&mut self) -> Result<(), Fault> {
        // The first line may be empty.
        while self.file.get(self.at..).is_some_and(|rest| rest.starts_with(self.line_end.bytes())) {
            self.next_line();
        }
        let text_line = loop {
            let Some(line) = self.next_line() else {
                return Err(self.fault(140, "Unknown error: the file ends before TEXT"));
            };
            match self.header_line(line)? {
                Step::On => {}
                Step::Text(size) => {
                    self.message.text_start = self.at;
                    self.message.text = Bytes::Here(self.take(size, self.line)?);
                    break self.line;
                }
                Step::TextBeside => break self.line,
            }
        };
        self.date()?;
        for (index, size, line) in std::mem::take(&mut self.sizes) {
            let bytes = self.take(size, line)?;
            if let Some(attached) = self.message.attachments.get_mut(index) {
                attached.bytes = Bytes::Here(bytes);
            }
        }
        self.end(text_line)
    }

    /// The next line, without its end; none at the end of the file.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let rest = self.file.get(self.at..).filter(|rest| !rest.is_empty())?;
        self.line = self.line.saturating_add(1);
        let end = memmem::find(rest, self.line_end.bytes());
        let line = rest.get(..end.unwrap_or(rest.len()))?;
        (self.line_start, self.line_len) = (self.at, line.len());
        self.at += line.len() + end.map_or(0, |_| self.line_end.bytes().len());
        Some(line)
    }

    /// A value with the lines behind it that begin with a space: an address may go on in such
    /// (Q87651).
    fn continued(&mut self, value: &'a [u8]) -> &'a [u8] {
        let start = self.line_start + self.line_len - value.len();
        while self.file.get(self.at) == Some(&b' ') {
            self.next_line();
        }
        self.file.get(start..self.line_start + self.line_len).unwrap_or(value)
    }

    fn header_line(&mut self, line: &'a [u8]) -> Result<Step, Fault> {
        let colon = memchr::memchr(b':', line);
        let split = colon.and_then(|colon| Some((line.get(..colon)?, line.get(colon + 1..)?)));
        let Some((token, tail)) = split.filter(|_| memchr::memchr2(b'\r', b'\n', line).is_none())
        else {
            return Err(self.fault(144, [b"Unable to partition line ", line].concat()));
        };
        let unmatched = |reader: &Self| {
            let text = [b"Cannot match token ", token, b" (has tail ", tail, b")"].concat();
            reader.fault(141, text)
        };
        match token.to_ascii_uppercase().as_slice() {
            b"VERSION" if !self.seen.version && is_version(tail) => self.seen.version = true,
            b"TO" => {
                let party = self.party(tail)?;
                self.message.to.push(party);
            }
            b"CC" => {
                let party = self.party(tail)?;
                self.message.cc.push(party);
            }
            b"FROM" if self.message.from.is_none() => {
                self.message.from = Some(self.party(tail)?);
            }
            b"DATE" if self.date.is_none() => self.date = Some(tail),
            b"TIME" if self.time.is_none() => self.time = Some(tail),
            b"SUBJECT" if self.message.subject.is_none() => self.message.subject = Some(tail),
            b"PRIORITY" if !self.seen.priority => self.priority(tail)?,
            b"ATTACHMENT" | b"ATTACHMENTS" => self.attachment(tail)?,
            b"XATTACH" => {
                let (file, name) = split_at_space(tail);
                let name = if name.is_empty() { file } else { name };
                let bytes = Bytes::Beside(file, self.line);
                self.message.attachments.push(Attached { name, bytes });
            }
            b"TEXT" => {
                let size = number(tail).ok_or_else(|| self.fault(140, "Unknown error: no size"))?;
                return Ok(Step::Text(size));
            }
            b"XTEXT" => {
                self.message.text = Bytes::Beside(tail, self.line);
                return Ok(Step::TextBeside);
            }
            _ => return Err(unmatched(self)),
        }
        Ok(Step::On)
    }

    fn party(&mut self, tail: &'a [u8]) -> Result<Party, Fault> {
        let line = self.line;
        if self.message.to.len() + self.message.cc.len() >= limits::RECIPIENTS_MAX {
            return Err(self.fault(145, "Contents too big: too many recipients"));
        }
        let text = self.continued(tail);
        party(text).map_err(|(code, text)| Fault { line, ..self.fault(code, text) })
    }

    fn priority(&mut self, tail: &[u8]) -> Result<(), Fault> {
        self.seen.priority = true;
        match tail {
            [digit @ b'1'..=b'5'] => self.message.priority = digit - b'0',
            // Kinds of message that have no counterpart (Q118787).
            [b'R' | b'C' | b'F' | b'T' | b'r' | b'c' | b'f' | b't'] => {}
            _ => return Err(self.fault(140, "Unknown error: no priority")),
        }
        Ok(())
    }

    fn attachment(&mut self, tail: &'a [u8]) -> Result<(), Fault> {
        let space = memchr::memrchr(b' ', tail.trim_ascii_end());
        let parts = space.and_then(|at| Some((tail.get(..at)?, number(tail.get(at + 1..)?)?)));
        let Some((name, size)) = parts else {
            return Err(self.fault(140, "Unknown error: no name and size of an attachment"));
        };
        self.sizes.push((self.message.attachments.len(), size, self.line));
        self.message.attachments.push(Attached { name, bytes: Bytes::Here(b"") });
        Ok(())
    }

    fn date(&mut self) -> Result<(), Fault> {
        let Some(date) = self.date else { return Ok(()) };
        let time = self.time.unwrap_or(b"00:00");
        let is_form = date.len() == 10 && time.len() == 5;
        let text = [date, b"T", time, b":00Z"].concat();
        match Time::parse_rfc3339(&text).filter(|_| is_form) {
            Some(time) => self.message.date = Some(time),
            None => return Err(self.fault(140, "Unknown error: no date and time")),
        }
        Ok(())
    }

    /// The next bytes, of a size that a line promises.
    fn take(&mut self, size: usize, line: u32) -> Result<&'a [u8], Fault> {
        let rest = self.file.get(self.at..).unwrap_or_default();
        let Some(bytes) = rest.get(..size) else {
            let text = format!("Contents too big: {size} bytes, but {} are there", rest.len());
            return Err(Fault { line, ..self.fault(145, text) });
        };
        self.at += size;
        Ok(bytes)
    }

    /// Behind a message there is nothing but line ends and a Ctrl-Z, or another message.
    fn end(&mut self, text_line: u32) -> Result<(), Fault> {
        let rest = self.file.get(self.at..).unwrap_or_default();
        let is_blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let blank = rest.iter().take_while(|byte| is_blank(byte)).count();
        let next = rest.get(blank..).unwrap_or_default();
        if next.iter().all(|byte| is_blank(byte) || *byte == 0x1A) {
            self.at = self.file.len();
        } else if !begins_message(next) || !self.are_line_ends(rest.get(..blank)) {
            let text = format!("Contents too big: {} bytes behind the message", rest.len());
            return Err(Fault { line: text_line, ..self.fault(145, text) });
        }
        self.message.end = self.at;
        Ok(())
    }

    fn are_line_ends(&self, bytes: Option<&[u8]>) -> bool {
        let line_end = self.line_end.bytes();
        bytes.is_some_and(|bytes| bytes.chunks(line_end.len()).all(|chunk| chunk == line_end))
    }
}

/// Whether bytes begin as a message does: `VERSION:` and a digit, behind empty lines.
pub fn begins_message(bytes: &[u8]) -> bool {
    const VERSION: &[u8] = b"VERSION:";
    let start = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let (token, behind) = bytes
        .get(start..)
        .and_then(|rest| rest.split_at_checked(VERSION.len()))
        .unwrap_or_default();
    token.eq_ignore_ascii_case(VERSION) && behind.first().is_some_and(u8::is_ascii_digit)
}

/// `N.NN`.
fn is_version(value: &[u8]) -> bool {
    matches!(value, [a, b'.', b, c] if [a, b, c].into_iter().all(u8::is_ascii_digit))
}

/// A decimal number.
fn number(text: &[u8]) -> Option<usize> {
    let text = text.trim_ascii();
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// What stands before the first space, and what behind it.
fn split_at_space(text: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (first, rest) = text.split_at_checked(at).unwrap_or_default();
    (first, rest.trim_ascii())
}

/// Reads what stands behind `TO:`.
pub(super) fn party(text: &[u8]) -> Result<Party, (u16, Vec<u8>)> {
    let bad = || (142, b"Bad Address".to_vec());
    if let Some(path) = text.strip_prefix(PATH_TYPE) {
        let path = unescaped(path).ok_or_else(bad)?;
        return Ok(Party { address: None, path });
    }
    if text.len() > limits::FFAPI_ADDRESS_BYTES_MAX {
        return Err(bad());
    }
    let address = match msmail::typed(text) {
        Some((kind, rest)) if kind.eq_ignore_ascii_case(b"CSI") => native(rest).ok_or_else(bad)?,
        Some((kind, _)) if kind.eq_ignore_ascii_case(b"PCM") => {
            return Err((151, [b"Unknown service ", kind].concat()));
        }
        Some((kind, rest)) if kind.eq_ignore_ascii_case(b"SMTP") => [b"SMTP:", rest].concat(),
        Some(_) => text.to_vec(),
        None => native(text).ok_or_else(bad)?,
    };
    let mut path = Vec::new();
    msmail::to_path(&address, &mut path);
    Ok(Party { address: Some(address), path })
}

/// An address of MS Mail itself.
fn native(text: &[u8]) -> Option<Vec<u8>> {
    msmail::Address::parse(text).map(|_| text.to_vec())
}

/// Undoes `%XX`.
fn unescaped(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    while let [byte, rest @ ..] = text {
        text = rest;
        if *byte != b'%' {
            path.push(*byte);
            continue;
        }
        let (digits, rest) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
        path.push(u8::from_str_radix(digits, 16).ok()?);
        text = rest;
    }
    Some(path)
}
