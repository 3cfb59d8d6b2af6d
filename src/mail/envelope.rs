//! The envelope of a message (RFC 5321, 2.3.1), with the parameters of RFC 3461 and the queue's own
//! book-keeping.
//!
//! An envelope borrows from the queue. Its recipients stand in a list of their own, so that the
//! list's memory is used again for the next message. Not here: how a format writes an envelope down
//! (`queue`).

use crate::mail::date::Time;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Where reports about a message go (RFC 5321, 4.4 and 4.5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReversePath<'a> {
    /// The queue doesn't say.
    #[default]
    Unknown,
    /// `<>`: nobody is to be answered.
    Null,
    /// A path, valid or not, without its brackets.
    Path(&'a [u8]),
}

impl<'a> ReversePath<'a> {
    /// From the bytes of a Return-Path field or an envelope: no bytes between the brackets are the
    /// null path.
    pub fn from_path(path: &'a [u8]) -> Self {
        match crate::mail::address::strip_brackets(path) {
            b"" => Self::Null,
            bare => Self::Path(bare),
        }
    }

    /// The path's bytes: none for the null and the unknown path.
    pub const fn bytes(self) -> &'a [u8] {
        match self {
            Self::Path(path) => path,
            Self::Null | Self::Unknown => b"",
        }
    }

    /// True where the queue says something, if only `<>`.
    pub const fn is_known(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

/// Name of a message within its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueId<'a> {
    /// The queue's own name for it. Bytes that aren't printable ASCII, and `%`, are written as
    /// `%XX`.
    Given(&'a [u8]),
    /// As a segment has it: written already, so that it stays the same from queue to queue. `%`
    /// stays as it is.
    Written(&'a [u8]),
    /// Made from its place, where the format has no names: the file's tag and the offset,
    /// `5F3A9C01.1A2B3C`.
    Place {
        /// Tag of the file: from its first bytes and its length (`queue`).
        tag: u32,
        /// Offset of the message in it.
        offset: u64,
    },
}

impl QueueId<'_> {
    /// Appends the name, printable ASCII without space, at most 255 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Written(name) if is_name(name) => out.extend_from_slice(name),
            Self::Given(name) | Self::Written(name) => write_name(name, out),
            Self::Place { tag, offset } => {
                write_hex(u64::from(tag), 8, out);
                out.push(b'.');
                write_hex(offset, 1, out);
            }
        }
    }
}

/// Printable ASCII without space, 1 to 255 bytes.
fn is_name(name: &[u8]) -> bool {
    (1..=255).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic)
}

fn write_name(name: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if name.is_empty() {
        // A queue id has at least one byte; no other name is written like this.
        out.push(b'%');
    }
    for &byte in name {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(byte);
        } else {
            out.push(b'%');
            write_hex(u64::from(byte), 2, out);
        }
        if out.len() - start > 230 {
            // A longer name is told apart by its checksum.
            out.push(b'~');
            write_hex(u64::from(crc32c::crc32c(name)), 8, out);
            return;
        }
    }
}

/// Appends upper case hexadecimal digits, at least `width`, which is at most 16.
pub fn write_hex(value: u64, width: usize, out: &mut Vec<u8>) {
    let digits = hex(value);
    if width == digits.len() {
        out.extend_from_slice(&digits);
        return;
    }
    let needed = (64 - value.leading_zeros() as usize).div_ceil(4).max(width).max(1);
    out.extend_from_slice(digits.get(16_usize.saturating_sub(needed)..).unwrap_or_default());
}

/// All sixteen digits of a number, in upper case.
pub fn hex(value: u64) -> [u8; 16] {
    let [high, low] = [value >> 32, value & 0xFFFF_FFFF].map(hex_digits);
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// The eight digits of a number of 32 bits, all at once: each nibble gets a byte, and what is over
/// nine the distance from behind `9` to `A`.
fn hex_digits(half: u64) -> u64 {
    let quarters = (half | half << 16) & 0x0000_FFFF_0000_FFFF;
    let bytes = (quarters | quarters << 8) & 0x00FF_00FF_00FF_00FF;
    let nibbles = (bytes | bytes << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    let over_nine = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    nibbles + 0x3030_3030_3030_3030 + over_nine * 7
}

/// What the sender wants back with a report (RFC 3461, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// The header section.
    Hdrs,
}

/// When the sender wants to hear about a recipient (RFC 3461, 4.1): a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify(pub u8);

impl Notify {
    /// Never.
    pub const NEVER: u8 = 1;
    /// On delivery.
    pub const SUCCESS: u8 = 2;
    /// On failure.
    pub const FAILURE: u8 = 4;
    /// On delay.
    pub const DELAY: u8 = 8;

    /// Whether a failure may be reported.
    pub const fn allows_failure(self) -> bool {
        self.0 & Self::FAILURE != 0 && self.0 & Self::NEVER == 0
    }
}

/// One recipient of a message as it stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// The forward-path without its brackets; any bytes.
    pub forward_path: &'a [u8],
    /// NOTIFY, where given.
    pub notify: Option<Notify>,
    /// ORCPT, xtext decoded, where given.
    pub orcpt: Option<&'a [u8]>,
    /// Nothing is left to do for it.
    pub done: bool,
}

impl<'a> Recipient<'a> {
    /// A recipient without parameters.
    pub const fn new(forward_path: &'a [u8]) -> Self {
        Self { forward_path, notify: None, orcpt: None, done: false }
    }
}

/// The envelope of one message, but for its recipients.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// Name in the queue.
    pub queue_id: QueueId<'a>,
    /// When the message came into the queue.
    pub arrival: Option<Time>,
    /// Where reports go.
    pub reverse_path: ReversePath<'a>,
    /// How often delivery was tried.
    pub attempts: u32,
    /// Not before.
    pub next_attempt: Option<Time>,
    /// After it, what can't be delivered has failed.
    pub expiry: Option<Time>,
    /// 1 highest to 5 lowest.
    pub priority: u8,
    /// Systems that have handled it, oldest first.
    pub hops: SmallVec<[&'a [u8]; 4]>,
    /// ENVID, xtext decoded.
    pub envid: Option<&'a [u8]>,
    /// RET.
    pub ret: Option<Ret>,
    /// BODY and SMTPUTF8, as in docs/segment.md.
    pub body: u8,
    /// More hops of the envelope than these are a loop, where the message brings a limit of its
    /// own.
    pub hop_limit: Option<u32>,
    /// Files that the message was read from, as docs/segment.md has them (tag 18).
    pub originals: SmallVec<[&'a [u8]; 3]>,
}

/// What is wrong with a message as a whole, though it can be read: known before it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It has been in this post office before.
    CircularRoute,
    /// A file that is attached to it is missing.
    MissingAttachment,
}

impl<'a> Envelope<'a> {
    /// An envelope that says nothing yet.
    pub fn new(queue_id: QueueId<'a>) -> Self {
        Self {
            queue_id,
            arrival: None,
            reverse_path: ReversePath::Unknown,
            attempts: 0,
            next_attempt: None,
            expiry: None,
            priority: 3,
            hops: SmallVec::new(),
            envid: None,
            ret: None,
            body: 0,
            hop_limit: None,
            originals: SmallVec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_what_the_standard_library_writes() {
        for value in [0, 9, 10, 15, 16, 0x9A_BCDE_F012, u64::MAX, 0x8000_0000_0000_0001] {
            for width in [1, 4, 8, 16] {
                let mut out = Vec::new();
                write_hex(value, width, &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), format!("{value:0width$X}"));
            }
        }
    }

    #[test]
    fn queue_ids_are_printable_and_bounded() {
        let written = |id: QueueId<'_>| {
            let mut out = Vec::new();
            id.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(QueueId::Place { tag: 0xAB, offset: 0 }), "000000AB.0");
        assert_eq!(
            written(QueueId::Place { tag: u32::MAX, offset: 0x001A_2B3C }),
            "FFFFFFFF.1A2B3C"
        );
        assert_eq!(written(QueueId::Given(b"a b%\xff")), "a%20b%25%FF");
        assert_eq!(written(QueueId::Given(b"")), "%");
        for raw in [&b"a b%"[..], b"", &b"\xff".repeat(300), &b"x".repeat(300)] {
            let first = written(QueueId::Given(raw));
            assert_eq!(written(QueueId::Written(first.as_bytes())), first, "stays as it is");
        }
        assert_eq!(written(QueueId::Written(b"a b")), "a%20b");
        assert!(written(QueueId::Given(&b"\0".repeat(10_000))).len() <= 255);
    }
}
