//! The envelope of a message, as the generator plans it.
//!
//! What it deliberately does not do: deciding whether a path is an address. That is known where the
//! path is made, so that no rule of the library is repeated here.
//!
//! Invariant: `Recipient::valid` is false for exactly the paths that RFC 5321 doesn't take as a
//! mailbox.

use crate::bytes::{hex_upper, num};

/// NOTIFY=NEVER.
pub(crate) const NEVER: u8 = 1;
/// NOTIFY=SUCCESS.
pub(crate) const SUCCESS: u8 = 2;
/// NOTIFY=FAILURE.
pub(crate) const FAILURE: u8 = 4;
/// NOTIFY=DELAY.
pub(crate) const DELAY: u8 = 8;

/// The reverse-path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reverse {
    /// Not given.
    Unknown,
    /// Null.
    Null,
    /// Not a mailbox.
    Invalid(Vec<u8>),
    /// A mailbox.
    Path(Vec<u8>),
}

/// A recipient.
#[derive(Debug, Clone)]
pub(crate) struct Recipient {
    /// The forward-path.
    pub(crate) path: Vec<u8>,
    /// It is a mailbox, within the limits.
    pub(crate) valid: bool,
    /// NOTIFY, if given.
    pub(crate) notify: Option<u8>,
    /// ORCPT is given.
    pub(crate) orcpt: bool,
    /// Nothing is left to do for it.
    pub(crate) done: bool,
}

impl Recipient {
    /// A recipient whose path is a mailbox.
    pub(crate) fn good(path: Vec<u8>) -> Self {
        Self { path, valid: true, notify: None, orcpt: false, done: false }
    }

    /// A recipient whose path isn't a mailbox.
    pub(crate) fn bad(path: Vec<u8>) -> Self {
        Self { valid: false, ..Self::good(path) }
    }

    /// The same with NOTIFY.
    pub(crate) fn notify(self, notify: u8) -> Self {
        Self { notify: Some(notify), ..self }
    }
}

/// An envelope.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// Its place in the queue: makes the queue id.
    pub(crate) index: u64,
    /// When it came.
    pub(crate) arrival: i64,
    /// The reverse-path.
    pub(crate) reverse: Reverse,
    /// Attempts made before.
    pub(crate) attempts: u32,
    /// Not to be tried before.
    pub(crate) next_attempt: Option<i64>,
    /// When it expires, if given.
    pub(crate) expiry: Option<i64>,
    /// Priority, if given.
    pub(crate) priority: Option<u8>,
    /// How many hops the envelope names.
    pub(crate) hops: u64,
    /// A number that makes the ENVID, if given.
    pub(crate) envid: Option<u64>,
    /// RET, if given.
    pub(crate) ret: Option<u8>,
    /// The body type, if given.
    pub(crate) body: Option<u8>,
    /// A field with a tag that nobody knows is put in.
    pub(crate) unknown_field: bool,
    /// The recipients.
    pub(crate) recipients: Vec<Recipient>,
}

impl Envelope {
    /// Appends the queue id: `G` and twelve hexadecimal digits, scattered, but unique.
    pub(crate) fn queue_id(&self, out: &mut Vec<u8>) {
        out.push(b'G');
        let scattered = self.index.wrapping_mul(0x9E37_79B9_7F4B) & 0xFFFF_FFFF_FFFF;
        hex_upper(out, scattered, 12);
    }

    /// Appends the name of hop `n`.
    pub(crate) fn hop(out: &mut Vec<u8>, n: u64) {
        out.extend_from_slice(b"hop");
        num(out, n);
        out.extend_from_slice(b".relay.test");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn queue_ids_are_unique() {
        let mut envelope = crate::plan::blank(0);
        let mut seen = HashSet::new();
        for index in 0..20_000 {
            envelope.index = index;
            let mut id = Vec::new();
            envelope.queue_id(&mut id);
            assert_eq!(id.len(), 13);
            assert!(seen.insert(id));
        }
    }
}
