//! Queues of mail as ordered lists of parts over files: segments, mboxes, folders of files.

pub mod files;
pub mod mbox;

use crate::mail::content::Content;

/// What framing finds in a queue, in order.
#[derive(Clone, Copy, Debug)]
pub enum Framed<'a> {
    /// A message.
    Message(Found<'a>),
    /// Bytes that are no message: they go to quarantine as they are.
    Damage(Damage),
}

/// A message as framing finds it: where it lies, and its pieces as slices of the file.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Offset of its first byte in the file: of the record, of the `F` of its From_ line.
    pub offset: u64,
    /// Bytes from there up to the next message or damage.
    pub length: u64,
    /// What the format has beside the content: the envelope's bytes of a segment record, the From_ line of an
    /// mbox (without its line end), the name of a file.
    pub head: &'a [u8],
    /// The content.
    pub content: Content<'a>,
}

/// A range of a queue file that isn't a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What is wrong with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Bytes before the first message of an mbox, or a file that is none.
    NoMessage,
    /// No good record head.
    Head,
    /// The envelope of a record doesn't fit its checksum, or can't be read.
    Envelope,
    /// The content of a record doesn't fit its checksum.
    Content,
    /// The record is longer than its file.
    TornTail,
}
