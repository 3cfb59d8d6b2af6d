//! A slot of a mailbag as a message: its record, P1, MAI and ATT files become an envelope as a
//! segment has it, and a content of RFC 5322 (docs/postoffice.md, *A slot as a message*).
//!
//! Not here: which slots are live (`list`), and what becomes of the message. Invariants: the same
//! files give the same bytes; what isn't whole is said, never made up; no file is read past its
//! bound.

use super::bag::{self, HexName, RECORD_BYTES, Record};
use super::list::{Bag, Slot};
use super::mai::{self, Mai};
use super::office::{self, Folder, Office};
use super::p1::{self, P1, P1Recipient};
use super::tables;
use crate::limits;
use crate::mail::content::Content;
use crate::mail::date::Time;
use crate::mail::envelope::Condition;
use crate::mail::msmail::{self, Address};
use crate::mail::status::original_text;
use crate::queue::rendered::{self, Attachment};
use crate::queue::segment::write::Fields;
use crate::queue::segment::{original, recipient_tag, tag};
use crate::queue::{Damage, DamageKind, Found, Framed};
use std::io;
use std::ops::Range;
use std::path::Path;

/// The priority of a message that has none.
const PRIORITY: u8 = 3;

/// Reads the messages of one mailbag.
#[derive(Debug)]
pub struct BagReader {
    office: Office,
    /// The bag's path in the queue, without folder and extension: what queue ids begin with.
    prefix: String,
    bag: String,
    own_name: Vec<u8>,
    /// Mail comes in by it: each message has a P1.
    is_inbound: bool,
    /// Whose bag it is.
    owner: Option<Vec<u8>>,
    p1: Vec<u8>,
    mai: Vec<u8>,
    /// Attachments of one message, one behind the other.
    att: Vec<u8>,
    path: Vec<u8>,
}

/// A slot, read: ranges of the arena.
#[derive(Clone, Debug)]
pub struct Piece {
    offset: u64,
    length: u64,
    kind: PieceKind,
}

#[derive(Clone, Debug)]
enum PieceKind {
    Damage(DamageKind),
    Message {
        head: Range<usize>,
        content: Range<usize>,
        set_aside: Option<Range<usize>>,
        condition: Option<Condition>,
    },
}

impl Piece {
    /// A range of an MBG that names no message: a record, or the rest behind the last.
    pub fn damage(offset: u64, len: usize) -> Self {
        let is_record = len == RECORD_BYTES;
        let kind = if is_record { DamageKind::Slot } else { DamageKind::TornTail };
        Self { offset, length: len as u64, kind: PieceKind::Damage(kind) }
    }

    /// The slot's message, or damage.
    pub fn framed<'a>(&self, arena: &'a [u8]) -> Framed<'a> {
        let (offset, length) = (self.offset, self.length);
        let at = |range: &Range<usize>| arena.get(range.clone()).unwrap_or_default();
        match &self.kind {
            PieceKind::Damage(kind) => Framed::Damage(Damage { offset, length, kind: *kind }),
            PieceKind::Message { head, content, set_aside, condition } => {
                let found = Found::new(offset, length, at(head), Content::plain(at(content)));
                let set_aside = set_aside.as_ref().map(at);
                Framed::Message(Found { set_aside, condition: *condition, ..found })
            }
        }
    }
}

/// The files of a slot's message.
#[derive(Clone, Copy, Debug)]
pub struct Files<'f> {
    /// P1, if it is there.
    pub p1: Option<&'f [u8]>,
    /// MAI, if it is there.
    pub mai: Option<&'f [u8]>,
    /// The content.
    pub content: ContentFrom<'f>,
}

/// Where a content comes from.
#[derive(Clone, Copy, Debug)]
pub enum ContentFrom<'f> {
    /// MAI, and the files of its attachments.
    Disk,
    /// It is known.
    Known(&'f [u8]),
}

impl BagReader {
    /// A reader of a bag whose files are gone: for [`BagReader::again`] alone.
    pub fn without_files(bag: &Bag, own_name: &[u8]) -> Self {
        Self::new(Office::at(Path::new("")), bag, own_name.to_vec(), None)
    }

    fn new(office: Office, bag: &Bag, own_name: Vec<u8>, owner: Option<Vec<u8>>) -> Self {
        let name = bag.bag();
        let separator = if bag.office.is_empty() { "" } else { "/" };
        Self {
            office,
            prefix: format!("{}{separator}{name}", bag.office),
            own_name,
            is_inbound: bag::is_inbound(&name),
            bag: name,
            owner,
            p1: Vec::new(),
            mai: Vec::new(),
            att: Vec::new(),
            path: Vec::new(),
        }
    }

    /// A reader of a bag of the post offices under `root`.
    ///
    /// # Errors
    /// A file of the post office can't be read.
    pub fn open(root: &Path, bag: &Bag) -> io::Result<Self> {
        let office = Office::at(&root.join(&bag.office));
        let name = bag.bag();
        let owner = if bag::is_inbound(&name) { None } else { tables::owner(&office, &name)? };
        let own_name = tables::own_name(&office)?;
        Ok(Self::new(office, bag, own_name, owner))
    }

    /// Reads slots into the arena, at least one, and no further once it has grown large; none where
    /// a record isn't what it was when the list was taken.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn read(
        &mut self,
        mbg: &[u8],
        slots: &[Slot],
        arena: &mut Vec<u8>,
    ) -> io::Result<Option<Vec<Piece>>> {
        let (records, rest) = bag::records(mbg);
        let slots = slots.get(..limits::BATCH_MESSAGES).unwrap_or(slots);
        self.fetch(
            slots.iter().filter_map(|slot| Record::new(records.get(slot.slot as usize)?).mai()),
        );
        let mut pieces = Vec::with_capacity(slots.len());
        for slot in slots {
            let index = slot.slot as usize;
            let offset = index as u64 * RECORD_BYTES as u64;
            let (bytes, record): (&[u8], _) = match records.get(index) {
                Some(record) => (record, Some(Record::new(record))),
                None if index == records.len() => (rest, None),
                None => return Ok(None),
            };
            if crc32c::crc32c(bytes) != slot.checksum {
                return Ok(None);
            }
            let kind = match record.map(|record| (record, record.mai())) {
                Some((record, Some(mai))) => self.message(slot.slot, record, mai, arena)?,
                Some((_, None)) => PieceKind::Damage(DamageKind::Slot),
                None => PieceKind::Damage(DamageKind::TornTail),
            };
            pieces.push(Piece { offset, length: bytes.len() as u64, kind });
            if arena.len() > limits::BATCH_BYTES {
                break;
            }
        }
        Ok(Some(pieces))
    }

    /// Has the system fetch the files of messages, where those of the last aren't in memory: so
    /// that the disk has many to fetch at a time.
    fn fetch(&self, names: impl DoubleEndedIterator<Item = HexName> + Clone) {
        let files = |name| [Folder::P1, Folder::Mai].map(|folder| self.office.fetch(folder, name));
        if names.clone().next_back().is_some_and(|last| files(last) != [true; 2]) {
            for name in names {
                files(name);
            }
        }
    }

    fn message(
        &mut self,
        slot: u32,
        record: Record<'_>,
        name: HexName,
        arena: &mut Vec<u8>,
    ) -> io::Result<PieceKind> {
        let (mut p1, mut mai) = (std::mem::take(&mut self.p1), std::mem::take(&mut self.mai));
        let p1_found = self.file(Folder::P1, name, limits::P1_BYTES_MAX, &mut p1)?;
        let mai_found = self.file(Folder::Mai, name, limits::MAI_BYTES_MAX, &mut mai)?;
        let is_there = |found: office::Found| found != office::Found::Missing;
        let files = Files {
            p1: is_there(p1_found).then_some(&p1[..]),
            mai: is_there(mai_found).then_some(&mai[..]),
            content: ContentFrom::Disk,
        };
        let kind = self.make((slot, record, name), files, arena);
        (self.p1, self.mai) = (p1, mai);
        kind
    }

    /// The message of a slot that is gone, from what a record of a stream has kept of it.
    pub fn again(
        &mut self,
        slot: u32,
        record: &[u8; RECORD_BYTES],
        files: Files<'_>,
        arena: &mut Vec<u8>,
    ) -> Piece {
        let record = Record::new(record);
        let kind = record.mai().and_then(|name| {
            // Nothing is read from the disk: this can't fail.
            self.make((slot, record, name), files, arena).ok()
        });
        let kind = kind.unwrap_or(PieceKind::Damage(DamageKind::Slot));
        let length = RECORD_BYTES as u64;
        Piece { offset: u64::from(slot) * length, length, kind }
    }

    fn make(
        &mut self,
        (slot, record, name): (u32, Record<'_>, HexName),
        files: Files<'_>,
        arena: &mut Vec<u8>,
    ) -> io::Result<PieceKind> {
        let p1 = files.p1.map(P1::read);
        let mai = files.mai.map(Mai::read);
        let number = match () {
            () if self.is_inbound && p1.is_none() => Some(21),
            () if matches!(p1, Some(Err(_))) => Some(24),
            // Another message's envelope would take this one to the wrong people.
            () if matches!(&p1, Some(Ok(p1)) if p1.is_of_another(name)) => Some(24),
            () if mai.is_none() => Some(16),
            () if matches!(mai, Some(Err(_))) => Some(23),
            () => None,
        };
        let slot = InSlot {
            slot,
            record,
            name,
            p1: p1.and_then(Result::ok),
            mai: mai.and_then(Result::ok),
        };
        let reason_at = arena.len();
        if let Some(number) = number {
            arena.extend_from_slice(format!("[{number:03}] {}", original_text(number)).as_bytes());
        } else if let Some(kind) = slot.too_much() {
            arena.extend_from_slice(kind.text().as_bytes());
        }
        let set_aside = (arena.len() > reason_at).then_some(reason_at..arena.len());
        let head_at = arena.len();
        self.head(&slot, &files, arena);
        let head = head_at..arena.len();
        let has_all = match (&slot.mai, files.content) {
            (_, ContentFrom::Known(content)) => {
                arena.extend_from_slice(content);
                true
            }
            (Some(mai), ContentFrom::Disk) => self.content(mai, name, arena)?,
            (None, ContentFrom::Disk) => true,
        };
        let content = head.end..arena.len();
        // What waits in an outbound bag is on its way out.
        let condition = if self.is_inbound && slot.is_circular(&self.own_name) {
            Some(Condition::CircularRoute)
        } else {
            (!has_all).then_some(Condition::MissingAttachment)
        };
        Ok(PieceKind::Message { head, content, set_aside, condition })
    }

    fn file(
        &self,
        folder: Folder,
        name: HexName,
        bytes_max: u64,
        out: &mut Vec<u8>,
    ) -> io::Result<office::Found> {
        out.clear();
        self.office.read(folder, &office::file_name(folder, name), bytes_max, out)
    }

    /// Appends the envelope.
    fn head(&mut self, slot: &InSlot<'_>, files: &Files<'_>, arena: &mut Vec<u8>) {
        let mut path = std::mem::take(&mut self.path);
        let mut out = Fields::new(arena);
        let time = |time: Time| time.0.to_le_bytes();
        let name = String::from_utf8_lossy(&slot.name);
        let id = format!("{}/{}-{name}", self.prefix, slot.slot);
        let id = crate::mail::envelope::QueueId::Given(id.as_bytes());
        out.text(tag::QUEUE_ID, |out| id.write(out));
        let arrival = slot.p1().and_then(|p1| p1.arrival).or_else(|| slot.record.date());
        if let Some(arrival) = arrival {
            out.bytes(tag::ARRIVAL, &time(arrival));
        }
        if let Some(sender) = slot.sender() {
            path.clear();
            reverse_path(sender, &mut path);
            out.bytes(tag::REVERSE_PATH, &path);
        }
        let priority = slot.mai.as_ref().and_then(|mai| mai.priority).unwrap_or(PRIORITY);
        if priority != PRIORITY {
            out.bytes(tag::PRIORITY, &[priority]);
        }
        let life = if priority == 1 { p1::LIFE_URGENT_S } else { p1::LIFE_S };
        let own_expiry = arrival.map(|arrival| arrival.plus_s(life));
        if let Some(expiry) = slot.p1().and_then(|p1| p1.expiry).or(own_expiry) {
            out.bytes(tag::EXPIRY, &time(expiry));
        }
        if let Some(p1) = slot.p1() {
            p1_fields(p1, &mut out);
        }
        let limit = slot.mai.as_ref().and_then(|mai| mai.hop_limit).unwrap_or(mai::HOPS_USUAL);
        out.u32(tag::HOP_LIMIT, u32::from(limit));
        let record = Some(&slot.record.bytes()[..]);
        for (kind, bytes) in
            [(original::RECORD, record), (original::P1, files.p1), (original::MAI, files.mai)]
        {
            if let Some(bytes) = bytes {
                out.text(tag::ORIGINAL, |out| {
                    out.push(kind);
                    out.extend_from_slice(bytes);
                });
            }
        }
        self.recipients(slot, &mut path, &mut out);
        self.path = path;
    }

    /// Appends the recipients: those of P1 that count in this bag; without P1 the bag's owner, or
    /// whom the MAI names.
    fn recipients(&self, slot: &InSlot<'_>, path: &mut Vec<u8>, out: &mut Fields<'_>) {
        let mut push = |recipient: &P1Recipient<'_>| {
            path.clear();
            msmail::to_path(recipient.address, path);
            out.nested(tag::RECIPIENT, |out| {
                out.bytes(recipient_tag::FORWARD_PATH, path);
                if let Some(notify) = recipient.notify {
                    out.bytes(recipient_tag::NOTIFY, &[notify]);
                }
                if let Some(orcpt) = recipient.orcpt {
                    out.bytes(recipient_tag::ORCPT, orcpt);
                }
                if recipient.done {
                    out.bytes(recipient_tag::STATE, &[1]);
                }
            });
        };
        let is_here = |recipient: &&P1Recipient<'_>| match recipient.bag {
            None => self.is_inbound,
            Some(bag) => bag.eq_ignore_ascii_case(self.bag.as_bytes()),
        };
        let all = slot.p1().map(|p1| p1.recipients.as_slice()).unwrap_or_default();
        let mut count = 0;
        for recipient in all.iter().filter(is_here).take(limits::RECIPIENTS_MAX) {
            push(recipient);
            count += 1;
        }
        if count > 0 || self.is_inbound {
            return;
        }
        let named = slot.mai.iter().flat_map(|mai| mai.to.iter().chain(&mai.cc)).copied();
        let owner = self.owner.as_deref();
        let named = named.filter(|_| owner.is_none()).take(limits::RECIPIENTS_MAX);
        for address in owner.into_iter().chain(named) {
            push(&P1Recipient { address, ..P1Recipient::default() });
        }
    }

    /// Appends the content. False where the file of an attachment is missing.
    fn content(&mut self, mai: &Mai<'_>, name: HexName, arena: &mut Vec<u8>) -> io::Result<bool> {
        let mut att = std::mem::take(&mut self.att);
        att.clear();
        let mut ranges = Vec::with_capacity(mai.attachments.len());
        let mut has_all = true;
        for attachment in &mai.attachments {
            let start = att.len();
            let found = match bag::hex_name(attachment.att) {
                Some(file) => {
                    let file = office::file_name(Folder::Att, file);
                    let left = limits::ATT_BYTES_MAX.saturating_sub(att.len() as u64);
                    self.office.read(Folder::Att, &file, left, &mut att)?
                }
                None => office::Found::Missing,
            };
            has_all &= found == office::Found::Whole;
            ranges.push(start..att.len());
        }
        if mai.is_message {
            mai.text.iter().for_each(|text| arena.extend_from_slice(text));
        } else {
            let attachments: Vec<Attachment<'_>> = mai
                .attachments
                .iter()
                .zip(&ranges)
                .map(|(attachment, range)| Attachment {
                    name: attachment.name,
                    bytes: att.get(range.clone()).unwrap_or_default(),
                })
                .collect();
            render(mai, name, &attachments, arena);
        }
        self.att = att;
        Ok(has_all)
    }
}

/// A slot with what could be read of its files.
struct InSlot<'f> {
    slot: u32,
    record: Record<'f>,
    name: HexName,
    p1: Option<P1<'f>>,
    mai: Option<Mai<'f>>,
}

impl<'f> InSlot<'f> {
    const fn p1(&self) -> Option<&P1<'f>> {
        self.p1.as_ref()
    }

    /// What it has more of than a message may have: its envelope has the first of them, and the
    /// files that are kept with it have all.
    fn too_much(&self) -> Option<DamageKind> {
        let hops = self.p1().map_or(0, |p1| p1.hops.len());
        let recipients = self.p1().map_or(0, |p1| p1.recipients.len());
        let named = self.mai.as_ref().map_or(0, |mai| mai.to.len() + mai.cc.len());
        if recipients.max(named) > limits::RECIPIENTS_MAX {
            Some(DamageKind::Recipients)
        } else {
            (hops > limits::ENVELOPE_HOPS_MAX).then_some(DamageKind::Hops)
        }
    }

    /// The sender's address, where it is known; no bytes: the null reverse-path.
    fn sender(&self) -> Option<&'f [u8]> {
        match &self.p1 {
            Some(p1) => p1.from,
            None => self.mai.as_ref().and_then(|mai| mai.from),
        }
    }

    /// It has been here before: all of a name counts, not nine of its ten bytes (Q128627).
    fn is_circular(&self, own_name: &[u8]) -> bool {
        let hops = self.p1.iter().flat_map(|p1| &p1.hops);
        hops.into_iter().any(|hop| hop.eq_ignore_ascii_case(own_name))
    }
}

/// Appends the reverse-path of a sender's address: reports come from POSTMASTER, and aren't
/// answered.
fn reverse_path(sender: &[u8], out: &mut Vec<u8>) {
    let is_report = Address::parse(sender)
        .is_some_and(|address| address.mailbox.eq_ignore_ascii_case(b"POSTMASTER"));
    if !is_report {
        msmail::to_path(sender, out);
    }
}

/// Appends what stands in P1 beside arrival, expiry, sender and recipients.
fn p1_fields(p1: &P1<'_>, out: &mut Fields<'_>) {
    if p1.attempts != 0 {
        out.u32(tag::ATTEMPTS, p1.attempts);
    }
    if let Some(at) = p1.next_attempt {
        out.bytes(tag::NEXT_ATTEMPT, &at.0.to_le_bytes());
    }
    for hop in p1.hops.iter().take(limits::ENVELOPE_HOPS_MAX) {
        out.bytes(tag::HOP, hop);
    }
    if let Some(envid) = p1.envid {
        out.bytes(tag::ENVID, envid);
    }
    if let Some(ret) = p1.ret {
        out.bytes(tag::RET, &[if ret == 1 { 1 } else { 2 }]);
    }
}

/// Appends a native message as one of RFC 5322.
fn render(mai: &Mai<'_>, name: HexName, attachments: &[Attachment<'_>], out: &mut Vec<u8>) {
    let joined;
    let text: &[u8] = match mai.text.as_slice() {
        [] => b"",
        [one] => one,
        many => {
            joined = many.concat();
            &joined
        }
    };
    let message = rendered::Message {
        from: mai.from,
        to: &mai.to,
        cc: &mai.cc,
        date: mai.posted,
        subject: mai.subject,
        priority: mai.priority.unwrap_or(PRIORITY),
        text,
        attachments,
        boundary_name: &name,
    };
    rendered::append(&message, out);
}
