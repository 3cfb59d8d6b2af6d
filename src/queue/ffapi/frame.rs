//! The messages of an FFAPI file, each with an envelope as a segment has it and a content of
//! RFC 5322.
//!
//! Envelopes and contents are appended to an arena; a content that stands whole in the file stays
//! there. Not here: opening files, and who may read which. Invariant: pieces come in order and
//! leave nothing of the file out: what can't be read is one piece, set aside.

use super::read::{Bytes, Fault, Message, Party, messages};
use super::{LineEnd, WHOLE, replace};
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::{QueueId, write_hex};
use crate::mail::msmail;
use crate::queue::bytes::FileBytes;
use crate::queue::rendered::{self, Attachment};
use crate::queue::segment::write::Fields;
use crate::queue::segment::{recipient_tag, tag};
use crate::queue::{Found, QueueError};
use std::ops::Range;

/// A message, by its places in file and arena.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its bytes in the file.
    extent: Range<usize>,
    head: Range<usize>,
    content: Place,
    reason: Option<Range<usize>>,
}

#[derive(Clone, Debug)]
enum Place {
    File(Range<usize>),
    Arena(Range<usize>),
}

impl Piece {
    /// The message itself.
    pub fn found<'a>(&self, file: &'a [u8], arena: &'a [u8]) -> Found<'a> {
        let content = match &self.content {
            Place::File(range) => file.get(range.clone()),
            Place::Arena(range) => arena.get(range.clone()),
        };
        let of_arena = |range: &Range<usize>| arena.get(range.clone()).unwrap_or_default();
        let (offset, length) = (self.extent.start as u64, self.extent.len() as u64);
        let content = Content::plain(content.unwrap_or_default());
        Found {
            set_aside: self.reason.as_ref().map(of_arena),
            ..Found::new(offset, length, of_arena(&self.head), content)
        }
    }
}

/// Gives the messages of a file of this name; their parts are appended to the arena. `beside` opens
/// a file that stands beside it, if there is such.
///
/// # Errors
/// What `beside` says.
pub fn file(
    name: &[u8],
    file: &[u8],
    arena: &mut Vec<u8>,
    mut beside: impl FnMut(&[u8]) -> Result<Option<FileBytes>, QueueError>,
) -> Result<Vec<Piece>, QueueError> {
    let line_end = LineEnd::of(file);
    let mut pieces = Vec::new();
    for mut message in messages(file) {
        let mut opened = Vec::new();
        if message.fault.is_none() {
            message.fault = open(&message, &mut opened, &mut beside)?;
        }
        let head = arena.len();
        append_envelope(name, &message, &mut Fields::new(arena));
        let mut reason = None;
        if let Some(fault) = &message.fault {
            let mut text = Vec::new();
            fault.write(&mut text);
            Fields::new(arena).bytes(tag::REASON, &text);
            reason = Some(arena.len() - text.len()..arena.len());
        }
        let head = head..arena.len();
        let content = match message.fault {
            None => content(file, &message, line_end, &opened, arena),
            Some(_) => Place::File(message.start..message.end),
        };
        pieces.push(Piece { extent: message.start..message.end, head, content, reason });
    }
    Ok(pieces)
}

/// Opens what stands beside a message: for its text, then for its attachments, in order.
fn open(
    message: &Message<'_>,
    opened: &mut Vec<FileBytes>,
    beside: &mut impl FnMut(&[u8]) -> Result<Option<FileBytes>, QueueError>,
) -> Result<Option<Fault>, QueueError> {
    let attached = message.attachments.iter().map(|attached| attached.bytes);
    let mut beside_bytes = 0_u64;
    for bytes in std::iter::once(message.text).chain(attached) {
        let Bytes::Beside(name, line) = bytes else { continue };
        let fault = |code, text| Fault { code, message: message.number, line, text };
        if opened.len() == limits::FFAPI_FILES_MAX {
            return Ok(Some(fault(145, b"Contents too big: too many files".to_vec())));
        }
        if let Some(bytes) = beside(name)? {
            beside_bytes = beside_bytes.saturating_add(bytes.bytes().len() as u64);
            opened.push(bytes);
            if beside_bytes <= limits::ATT_BYTES_MAX {
                continue;
            }
            return Ok(Some(fault(145, b"Contents too big: too many bytes in files".to_vec())));
        }
        let text = [b"Unknown error: no file ", name, b" in the folder of the message"].concat();
        return Ok(Some(fault(140, text)));
    }
    Ok(None)
}

fn append_envelope(name: &[u8], message: &Message<'_>, fields: &mut Fields<'_>) {
    fields.text(tag::QUEUE_ID, |out| {
        QueueId::Given(name).write(out);
        if message.number > 1 {
            // No escape is written so: it can't be the name of another file.
            out.extend_from_slice(b"%:");
            out.extend_from_slice(itoa::Buffer::new().format(message.number).as_bytes());
        }
    });
    if let Some(date) = message.date {
        fields.bytes(tag::ARRIVAL, &date.0.to_le_bytes());
    }
    if let Some(from) = &message.from {
        let is_null = from.address.as_deref().is_some_and(is_postmaster);
        fields.bytes(tag::REVERSE_PATH, if is_null { b"" } else { &from.path });
    }
    if message.priority != 3 {
        fields.bytes(tag::PRIORITY, &[message.priority]);
    }
    for party in message.to.iter().chain(&message.cc) {
        fields.nested(tag::RECIPIENT, |fields| {
            fields.bytes(recipient_tag::FORWARD_PATH, &party.path);
        });
    }
}

/// Reports come from the mailbox POSTMASTER of whatever post office: nobody answers them.
pub(super) fn is_postmaster(address: &[u8]) -> bool {
    msmail::Address::parse(address)
        .is_some_and(|address| address.mailbox.eq_ignore_ascii_case(b"POSTMASTER"))
}

/// Where the content of a message stands; it is rendered, unless its text is one.
fn content(
    file: &[u8],
    message: &Message<'_>,
    line_end: LineEnd,
    opened: &[FileBytes],
    arena: &mut Vec<u8>,
) -> Place {
    let mut opened = opened.iter().map(FileBytes::bytes);
    let mut bytes = |bytes| match bytes {
        Bytes::Here(bytes) => bytes,
        Bytes::Beside(..) => opened.next().unwrap_or_default(),
    };
    let text = bytes(message.text);
    let is_here = matches!(message.text, Bytes::Here(_)) && message.attachments.is_empty();
    if let Some(whole) = whole_content(text, line_end).filter(|_| is_here) {
        // Behind such a text there is nothing but what ends the message.
        let start = message.text_start + text.len() - whole.len();
        return Place::File(start..start + whole.len());
    }
    let attachments: Vec<Attachment<'_>> = message
        .attachments
        .iter()
        .map(|attached| Attachment { name: attached.name, bytes: bytes(attached.bytes) })
        .collect();
    let mut text_of_lines = Vec::new();
    replace(text, line_end.bytes(), b"\r\n", &mut text_of_lines);
    let addresses = |parties: &'_ [Party]| -> Vec<Vec<u8>> {
        parties.iter().filter_map(|party| party.address.clone()).collect()
    };
    let (to, cc) = (addresses(&message.to), addresses(&message.cc));
    let mut boundary_name = Vec::new();
    let own = file.get(message.start..message.end).unwrap_or_default();
    write_hex(u64::from(crc32c::crc32c(own)), 8, &mut boundary_name);
    let start = arena.len();
    let rendered = rendered::Message {
        from: message.from.as_ref().and_then(|from| from.address.as_deref()),
        to: &to.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        cc: &cc.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        date: message.date,
        subject: message.subject,
        priority: message.priority,
        text: &text_of_lines,
        attachments: &attachments,
        boundary_name: &boundary_name,
    };
    rendered::append(&rendered, arena);
    Place::Arena(start..arena.len())
}

/// The message of RFC 5322 that a text is, if it is one.
pub(super) fn whole_content(text: &[u8], line_end: LineEnd) -> Option<&[u8]> {
    let line_end = line_end.bytes();
    text.strip_prefix(WHOLE)?.strip_prefix(line_end)?.strip_prefix(line_end)
}
