//! What is wrong with a range of a queue, in words.
//!
//! Not here: finding it (each format's framing, `envelope`). Invariant: each kind has words of its
//! own, by which it is found again in the reason of a record.

use crate::limits;

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
    /// The record has a reference to its content, which leads nowhere.
    Reference,
    /// The record is longer than its file.
    TornTail,
    /// The record of a mailbag names no message.
    Slot,
    /// A message that is set aside: only its reason says why.
    SetAside,
    /// A message with a header section of more than [`limits::HEADER_BYTES_MAX`].
    HeaderBytes,
    /// A message with more than [`limits::RECIPIENTS_MAX`] recipients.
    Recipients,
    /// An envelope with more than [`limits::ENVELOPE_HOPS_MAX`] hops or originals.
    Hops,
}

impl DamageKind {
    const ALL: [Self; 11] = [
        Self::NoMessage,
        Self::Head,
        Self::Envelope,
        Self::Content,
        Self::Reference,
        Self::TornTail,
        Self::Slot,
        Self::SetAside,
        Self::HeaderBytes,
        Self::Recipients,
        Self::Hops,
    ];

    /// That which is said in these words.
    pub fn of_text(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text().as_bytes() == text)
    }

    /// Says it in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoMessage => "bytes that belong to no message",
            Self::Head => "no good record head",
            Self::Envelope => "the envelope is damaged",
            Self::Content => "the content is damaged",
            Self::Reference => "the content that it refers to is gone, or has changed",
            Self::TornTail => "the record is torn off",
            Self::Slot => "the record names no message file",
            Self::SetAside => "the message can't be read (show it, or run the queue, to see why)",
            Self::HeaderBytes => "the header section is longer than 16,777,216 bytes",
            Self::Recipients => "more than 1,000,000 recipients",
            Self::Hops => "more than 65,536 hops or originals",
        }
    }
}

// They are said in words above.
const _: () = assert!(limits::HEADER_BYTES_MAX == 16_777_216);
const _: () = assert!(limits::RECIPIENTS_MAX == 1_000_000);
const _: () = assert!(limits::ENVELOPE_HOPS_MAX == 65_536);
