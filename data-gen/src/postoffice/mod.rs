//! MS Mail post offices: the whole tree of files, with INQUEUE3 as the queue (docs/postoffice.md).
//!
//! What it deliberately does not do: use the library's reader or writer of the same format. Each is
//! written from the document, and checks the other.
//!
//! Invariant: a post office depends on the options and its place alone; what it says of an address
//! by its files is what its `Directory` says.

pub(crate) mod address;
mod bag;
mod content;
mod disk;
mod element;
mod glb;
mod letter;
mod make;
mod older;
mod people;
mod site;
#[cfg(test)]
mod tests;

pub(crate) use make::{directory_head, make};

use crate::GenError;
use crate::bytes::num;
use crate::directory::{person, remote};
use crate::options::{Format, Options};
use crate::rng::Rng;
use crate::time::{HOUR, SECOND};

/// Messages that an INQUEUE3 can hold.
const MESSAGES_MAX: u64 = 4096;
/// Post offices that their folders' names can tell apart.
const OFFICES_MAX: u64 = 99_999;
/// Hops that a message allows as a rule.
pub(crate) const HOP_LIMIT: u16 = 10;

/// The messages fit into the post offices.
pub(crate) fn check(options: &Options) -> Result<(), GenError> {
    let (messages, offices) = (options.messages, options.post_offices);
    let fits = (1..=OFFICES_MAX).contains(&offices) && messages <= offices * MESSAGES_MAX;
    if options.format != Format::PostOffice || fits {
        return Ok(());
    }
    let needed = messages.div_ceil(MESSAGES_MAX).max(1);
    Err(GenError::PostOffices { messages, offices, needed })
}

/// What the plan of a message must know of its post office.
#[derive(Debug, Default)]
pub(crate) struct Office {
    pub(crate) network: Vec<u8>,
    pub(crate) name: Vec<u8>,
    /// It has a gateway to the Internet.
    pub(crate) smtp: bool,
    /// Domains of the other post offices of the own network.
    pub(crate) neighbours: Vec<Vec<u8>>,
    /// Domains of other networks' post offices, and of gateways.
    pub(crate) beyond: Vec<Vec<u8>>,
    /// Domains in `msmail.internal` to which nothing leads.
    pub(crate) nowhere: Vec<Vec<u8>>,
    /// Groups without members, without a MEM file, and deleted ones.
    pub(crate) hollow: Vec<Vec<u8>>,
}

impl Office {
    /// A mailbox of this post office.
    pub(crate) fn own(&self, name: &[u8]) -> Vec<u8> {
        address::mailbox(&self.network, &self.name, name)
    }

    fn someone(rng: &mut Rng, domain: &[u8]) -> Vec<u8> {
        let mut out = b"USER".to_vec();
        num(&mut out, rng.below(100_000));
        out.push(b'@');
        out.extend_from_slice(domain);
        out
    }

    /// An address to which a way leads out of the own network.
    pub(crate) fn remote(&self, rng: &mut Rng) -> Vec<u8> {
        match rng.below(10) {
            0..=5 if self.smtp => remote(rng),
            6 => {
                let mut text = b"g=".to_vec();
                let number = rng.below(1_000);
                person(&mut text, rng, number);
                text.extend_from_slice(b";o=Office 1;p=ACME;a= ;c=DE");
                address::gateway(b"X400", &text)
            }
            7 => {
                let mut text = b"+49 30 ".to_vec();
                num(&mut text, rng.between(100_000, 999_999));
                address::gateway(b"FAX", &text)
            }
            _ => {
                let domain = rng.pick(&self.beyond).to_vec();
                Self::someone(rng, &domain)
            }
        }
    }

    /// A mailbox in another post office of the own network.
    pub(crate) fn neighbour(&self, rng: &mut Rng) -> Vec<u8> {
        let domain = rng.pick(&self.neighbours).to_vec();
        Self::someone(rng, &domain)
    }

    /// A mailbox that this post office doesn't have, nor the directory file.
    pub(crate) fn nobody(&self, rng: &mut Rng) -> Vec<u8> {
        let mut name = b"GONE".to_vec();
        num(&mut name, rng.below(1_000_000));
        self.own(&name)
    }

    /// An address to which nothing leads.
    pub(crate) fn nowhere(&self, rng: &mut Rng) -> Vec<u8> {
        let domain = rng.pick(&self.nowhere).to_vec();
        if domain == b"msmail.internal" {
            return address::bare(b"anna@corp.example");
        }
        Self::someone(rng, &domain)
    }
}

/// What is wrong with the files of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Flaw {
    /// Nothing.
    #[default]
    None,
    /// The record's MAI name isn't hexadecimal.
    Name,
    /// No NUL behind the record's MAI name.
    NameEnd,
    /// The record is noise.
    Noise,
    /// The file ends within the record.
    Torn,
    /// No P1.
    NoP1,
    /// No MAI.
    NoMai,
    /// Neither.
    NoFiles,
    /// An attachment isn't there.
    NoAtt,
    /// The P1 is damaged, in one of the ways of `letter`.
    P1(u8),
    /// The MAI is damaged, in one of the ways of `letter`.
    Mai(u8),
    /// The dates of record and MAI aren't dates: harms nothing.
    Dates(u8),
}

/// How many attachments a native message has, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Attached {
    /// Some messages have some.
    #[default]
    Drawn,
    /// One of no bytes, among others.
    Empty,
    /// Three with like names.
    Alike,
    /// At least one.
    Some,
    /// One with a name beyond ASCII.
    Named,
}

/// What only a post office's message has.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a trait of its own of a message")]
pub(crate) struct Sheet {
    /// The content is MS Mail's own, not a message of RFC 5322.
    pub(crate) native: bool,
    pub(crate) flaw: Flaw,
    pub(crate) attached: Attached,
    /// Hops, `NETWORK/POSTOFFICE`.
    pub(crate) trace: Vec<Vec<u8>>,
    /// One of them is this post office.
    pub(crate) circular: bool,
    /// The hop limit, where it isn't the usual one.
    pub(crate) hop_limit: Option<u16>,
    /// A further recipient waits in an outbound bag.
    pub(crate) waiting: bool,
    /// The P1 has exactly 246 bytes.
    pub(crate) exact: bool,
    /// The text of a native message, where it isn't drawn.
    pub(crate) text: Option<Vec<u8>>,
    /// The time of a native message, where it isn't near its arrival.
    pub(crate) posted: Option<i64>,
}

/// How long a message lives where its P1 doesn't say.
pub(crate) fn lifetime(priority: Option<u8>) -> i64 {
    if priority == Some(1) { 2 * HOUR } else { 24 * HOUR }
}

/// The whole second at or before a time: a date has no more.
pub(crate) fn whole(time: i64) -> i64 {
    time - time.rem_euclid(SECOND)
}
