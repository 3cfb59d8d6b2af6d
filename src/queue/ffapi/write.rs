//! Writes messages as FFAPI text, in the Basic form.
//!
//! A content that reading would give back to the byte (but for the seconds of its date, the kind of
//! its line ends, and that its Cc becomes To, as with the original) is taken apart into lines, text
//! and attachments; any other is the text whole, behind [`WHOLE`]. So contents survive; of the
//! envelope the recipients that aren't done, the reverse-path, the priority, and the arrival to the
//! minute. Not here: files and their names.

use super::frame::{is_postmaster, whole_content};
use super::read::{Party, messages, party};
use super::{LineEnd, PATH_TYPE, WHOLE, replace};
use crate::mail::address;
use crate::mail::date::Time;
use crate::mail::envelope::{Envelope, Recipient, ReversePath, write_hex};
use crate::mail::header;
use crate::mail::msmail;
use crate::queue::rendered::{self, Attachment};

/// Appends a message. Says whether its content has lost the seconds of its date, the kind of its
/// line ends, or its Cc.
pub fn append(
    out: &mut Vec<u8>,
    envelope: &Envelope<'_>,
    recipients: &[Recipient<'_>],
    content: &[u8],
    line_end: LineEnd,
) -> bool {
    let mut to = Vec::new();
    for recipient in recipients.iter().filter(|recipient| !recipient.done) {
        to.push(addressed(recipient.forward_path, line_end));
    }
    let from = match envelope.reverse_path {
        ReversePath::Unknown => None,
        ReversePath::Null => Some(null_path(content)),
        ReversePath::Path(path) => Some(sender(path, line_end)),
    };
    let mut lines = Lines { out, line_end };
    lines.line(b"VERSION:", b"3.00");
    for one in &to {
        lines.line(b"TO:", &one.text);
    }
    if let Some(from) = &from {
        lines.line(b"FROM:", &from.text);
    }
    let basic = basic(content, envelope, from.as_ref(), &to, line_end);
    let Some(basic) = basic else {
        lines.whole(content, envelope);
        return false;
    };
    lines.basic(&basic);
    basic.is_simplified
}

/// An address as it stands in a line.
struct Addressed {
    text: Vec<u8>,
    /// The MS Mail address that reading makes of it, if it does.
    address: Option<Vec<u8>>,
}

/// A path as an address; as it stands, where reading wouldn't give it back.
fn addressed(path: &[u8], line_end: LineEnd) -> Addressed {
    let mut address = Vec::new();
    msmail::to_address(path, &mut address);
    let same = |party: &Party| party.path == path && party.address.as_ref() == Some(&address);
    let comes_back = if memchr::memchr2(b'\r', b'\n', &address).is_none() {
        party(&address).is_ok_and(|party| same(&party))
    } else {
        // It may be one of several lines.
        let end = line_end.bytes();
        let file = [b"VERSION:3.00", end, b"TO:", &address, end, b"TEXT:0", end].concat();
        LineEnd::of(&file) == line_end
            && messages(&file).next().is_some_and(|message| {
                message.fault.is_none() && message.to.len() == 1 && message.to.iter().all(same)
            })
    };
    if comes_back {
        return Addressed { text: address.clone(), address: Some(address) };
    }
    as_it_stands(path)
}

fn as_it_stands(path: &[u8]) -> Addressed {
    let mut text = PATH_TYPE.to_vec();
    for &byte in path {
        if byte.is_ascii_control() || byte == b'%' {
            text.push(b'%');
            write_hex(u64::from(byte), 2, &mut text);
        } else {
            text.push(byte);
        }
    }
    Addressed { text, address: None }
}

/// A reverse-path; that of a postmaster stands as it is, as it isn't the null one.
fn sender(path: &[u8], line_end: LineEnd) -> Addressed {
    let from = addressed(path, line_end);
    if from.address.as_deref().is_some_and(is_postmaster) { as_it_stands(path) } else { from }
}

/// The null reverse-path: the postmaster that the content is from, else an empty path.
fn null_path(content: &[u8]) -> Addressed {
    let mut address = Vec::new();
    if let Some(from) = header::fields(content).find(|field| field.is("From")) {
        address::each_address(from.value, |path| {
            address.clear();
            msmail::to_address(path, &mut address);
        });
    }
    let is_line = memchr::memchr2(b'\r', b'\n', &address).is_none();
    if is_line && is_postmaster(&address) {
        return Addressed { text: address.clone(), address: Some(address) };
    }
    as_it_stands(b"")
}

/// A message that the Basic form holds.
struct Basic {
    date: Option<Time>,
    subject: Option<Vec<u8>>,
    priority: u8,
    text: Vec<u8>,
    /// Names and bytes.
    attachments: Vec<(Vec<u8>, Vec<u8>)>,
    is_simplified: bool,
}

/// Takes a content apart, if reading puts it together again.
fn basic(
    content: &[u8],
    envelope: &Envelope<'_>,
    from: Option<&Addressed>,
    to: &[Addressed],
    line_end: LineEnd,
) -> Option<Basic> {
    let read = rendered::read(content)?;
    let is_line = |text: &[u8]| memchr::memchr2(b'\r', b'\n', text).is_none();
    let names_are_lines = read.attachments.iter().all(|(name, _)| is_line(name));
    let fits = is_line(read.subject.as_deref().unwrap_or_default())
        && names_are_lines
        && (1..=5).contains(&read.priority)
        && read.priority == envelope.priority;
    if !fits {
        return None;
    }
    let addresses: Vec<&[u8]> = to.iter().filter_map(|one| one.address.as_deref()).collect();
    let mut cc_len = 0;
    if let Some(cc) = header::fields(content).find(|field| field.is("Cc")) {
        address::each_address(cc.value, |_| cc_len += 1);
    }
    let (to, cc) = addresses.split_at_checked(addresses.len().checked_sub(cc_len)?)?;
    let attachments: Vec<Attachment<'_>> =
        read.attachments.iter().map(|(name, bytes)| Attachment { name, bytes }).collect();
    let again = rendered::Message {
        from: from.and_then(|from| from.address.as_deref()),
        to,
        cc,
        date: read.date,
        subject: read.subject.as_deref(),
        priority: read.priority,
        text: read.text,
        attachments: &attachments,
        boundary_name: read.boundary_name,
    };
    let mut rendered = Vec::with_capacity(content.len());
    rendered::append(&again, &mut rendered);
    let (mut text, mut text_again) = (Vec::new(), Vec::new());
    replace(read.text, b"\r\n", line_end.bytes(), &mut text);
    replace(&text, line_end.bytes(), b"\r\n", &mut text_again);
    let comes_back = rendered == content
        && with_crlf(&text_again) == with_crlf(read.text)
        && whole_content(&text, line_end).is_none();
    let is_simplified =
        cc_len > 0 || text_again != read.text || read.date.is_some_and(|date| !is_minute(date));
    let rendered::Read { date, subject, priority, attachments, .. } = read;
    comes_back.then_some(Basic { date, subject, priority, text, attachments, is_simplified })
}

/// A text with all its line ends, of whatever kind, as CR LF.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let (mut of_cr, mut of_lf, mut of_crlf) = (Vec::new(), Vec::new(), Vec::new());
    replace(text, b"\r\n", b"\n", &mut of_cr);
    replace(&of_cr, b"\r", b"\n", &mut of_lf);
    replace(&of_lf, b"\n", b"\r\n", &mut of_crlf);
    of_crlf
}

/// A time that the form holds: one without seconds.
fn is_minute(time: Time) -> bool {
    time.0.rem_euclid(60_000_000) == 0
}

/// Where lines go.
struct Lines<'o> {
    out: &'o mut Vec<u8>,
    line_end: LineEnd,
}

impl Lines<'_> {
    fn line(&mut self, token: &[u8], value: &[u8]) {
        self.out.extend_from_slice(token);
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(self.line_end.bytes());
    }

    fn size(&mut self, token: &[u8], size: usize) {
        self.line(token, itoa::Buffer::new().format(size).as_bytes());
    }

    fn date(&mut self, time: Time) {
        let mut text = Vec::new();
        time.write_rfc3339(&mut text);
        self.line(b"DATE:", text.get(..10).unwrap_or_default());
        self.line(b"TIME:", text.get(11..16).unwrap_or_default());
    }

    fn priority(&mut self, priority: u8) {
        if matches!(priority, 1 | 2 | 4 | 5) {
            self.line(b"PRIORITY:", &[b'0' + priority]);
        }
    }

    fn basic(&mut self, basic: &Basic) {
        if let Some(date) = basic.date {
            self.date(date);
        }
        if let Some(subject) = &basic.subject {
            self.line(b"SUBJECT:", subject);
        }
        self.priority(basic.priority);
        for (name, bytes) in &basic.attachments {
            let mut name = name.clone();
            name.push(b' ');
            name.extend_from_slice(itoa::Buffer::new().format(bytes.len()).as_bytes());
            self.line(b"ATTACHMENTS:", &name);
        }
        self.size(b"TEXT:", basic.text.len());
        self.out.extend_from_slice(&basic.text);
        for (_, bytes) in &basic.attachments {
            self.out.extend_from_slice(bytes);
        }
    }

    fn whole(&mut self, content: &[u8], envelope: &Envelope<'_>) {
        if let Some(arrival) = envelope.arrival {
            self.date(arrival);
        }
        let subject = header::fields(content).find(|field| field.is("Subject"));
        let subject = subject.map(|field| field.trimmed()).unwrap_or_default();
        if !subject.is_empty() && memchr::memchr2(b'\r', b'\n', subject).is_none() {
            self.line(b"SUBJECT:", subject);
        }
        self.priority(envelope.priority);
        let frame_len = WHOLE.len() + 2 * self.line_end.bytes().len();
        self.size(b"TEXT:", frame_len + content.len());
        self.line(WHOLE, b"");
        self.line(b"", b"");
        self.out.extend_from_slice(content);
    }
}
