//! The segment format: our own queue file. docs/segment.md specifies it byte by byte.
//!
//! `read` frames records and reads envelopes, `reference` follows those to other files, `write`
//! makes records. Not here: files. Reading is total: what isn't a good record is damage with its
//! range, and reading goes on behind it.

pub mod read;
pub mod reference;
pub mod write;

/// First bytes of a segment file.
pub const MAGIC: [u8; 8] = *b"\x89INQSEG\n";
/// Version of the format.
pub const VERSION: u16 = 1;
/// Length of the file's header.
pub const HEADER_LEN: usize = 32;
/// First bytes of a record.
pub const SYNC: [u8; 8] = *b"\xF5INQREC\n";
/// Length of a record's head.
pub const HEAD_LEN: usize = 56;
/// Kind of a record: a message with its content.
pub const KIND_MESSAGE: u16 = 1;
/// Kind of a record: a message with a reference to its content.
pub const KIND_REFERENCE: u16 = 2;

/// Tags of the envelope's fields.
#[expect(missing_docs, reason = "each is named and specified in docs/segment.md, \"Envelope\"")]
pub mod tag {
    pub const QUEUE_ID: u16 = 1;
    pub const ARRIVAL: u16 = 2;
    pub const REVERSE_PATH: u16 = 3;
    pub const ATTEMPTS: u16 = 4;
    pub const NEXT_ATTEMPT: u16 = 5;
    pub const EXPIRY: u16 = 6;
    pub const PRIORITY: u16 = 7;
    pub const HOP: u16 = 8;
    pub const ORIGIN: u16 = 9;
    pub const ENVID: u16 = 10;
    pub const RET: u16 = 11;
    pub const BODY: u16 = 12;
    pub const DISPOSITIONS: u16 = 13;
    pub const REASON: u16 = 14;
    pub const RECIPIENT: u16 = 15;
    pub const REPORT_OF: u16 = 16;
    pub const REPORTED: u16 = 17;
    pub const ORIGINAL: u16 = 18;
    pub const HOP_LIMIT: u16 = 19;
}

/// Tags of a recipient's fields.
#[expect(missing_docs, reason = "each is named and specified in docs/segment.md, \"Envelope\"")]
pub mod recipient_tag {
    pub const FORWARD_PATH: u16 = 1;
    pub const NOTIFY: u16 = 2;
    pub const ORCPT: u16 = 3;
    pub const STATE: u16 = 4;
    pub const OUTCOME: u16 = 5;
    pub const STATUS: u16 = 6;
    pub const NUMBER: u16 = 7;
    pub const ROUTE: u16 = 8;
    pub const DISPOSITION: u16 = 9;
    pub const ORDINAL: u16 = 10;
    pub const DIAGNOSTIC: u16 = 11;
}

/// What an original is (its first byte).
#[expect(missing_docs, reason = "each is specified in docs/segment.md, \"Envelope\"")]
pub mod original {
    pub const RECORD: u8 = 1;
    pub const P1: u8 = 2;
    pub const MAI: u8 = 3;
}

/// A recipient's outcome (tag 5 of its fields), in words; none for a number that isn't one.
pub const fn outcome_word(outcome: u8) -> &'static str {
    match outcome {
        1 => "delivered",
        2 => "relayed",
        3 => "deferred",
        4 => "failed",
        5 => "dead-letter",
        6 => "quarantined",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
