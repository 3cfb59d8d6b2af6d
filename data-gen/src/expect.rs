//! What must become of a message: the rules of docs/outcomes.md, written a second time.
//!
//! What it deliberately does not do: use anything of the library. Whether a path is a mailbox it
//! takes from the plan.
//!
//! Invariant: each recipient that isn't done, each target of it, has one disposition, but for
//! duplicates and what was expanded.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::directory::{Directory, Domain, Entry, domain, key};
use crate::envelope::{Envelope, FAILURE, Recipient, Reverse};
use crate::time::{DAY, HOUR, MINUTE};

/// More hops than these are a loop.
const HOP_LIMIT: u64 = 100;
/// Levels of aliases and lists.
const LEVELS: u32 = 8;
/// The time that a message may stay in the queue, where its envelope doesn't say.
pub(crate) const LIFETIME: i64 = 5 * DAY;

/// What becomes of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Relayed,
    Deferred,
    Failed,
    DeadLetter,
}

impl Outcome {
    /// Its name in the manifest.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::DeadLetter => "dead-letter",
        }
    }
}

/// One expected disposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disposition<'a> {
    /// Which recipient of the envelope; none: the message has no recipient.
    pub(crate) ordinal: Option<usize>,
    /// The final address.
    pub(crate) address: Cow<'a, [u8]>,
    pub(crate) outcome: Outcome,
    pub(crate) status: &'static str,
    /// When it is tried next.
    pub(crate) until: Option<i64>,
}

/// What the content has to do with it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    /// Received and Delivered-To fields.
    pub(crate) hops: u64,
    /// The message is a report.
    pub(crate) report: bool,
    /// How many hops of the envelope the message itself allows.
    pub(crate) hop_limit: Option<u64>,
    /// With this status each recipient fails, whoever it is.
    pub(crate) trouble: Option<&'static str>,
    /// How long the message lives where its envelope doesn't say.
    pub(crate) lifetime: Option<i64>,
}

/// The dispositions of a message at `now`.
pub(crate) fn decide<'a>(
    directory: &'a Directory,
    envelope: &'a Envelope,
    facts: Facts,
    now: i64,
) -> Vec<Disposition<'a>> {
    let mut judge = Judge {
        directory,
        envelope,
        now,
        expiry: {
            let lifetime = facts.lifetime.unwrap_or(LIFETIME);
            envelope.expiry.unwrap_or(envelope.arrival + lifetime)
        },
        answerable: !facts.report && may_be_answered(directory, &envelope.reverse),
        report: facts.report,
        served: HashSet::new(),
        out: Vec::with_capacity(envelope.recipients.len()),
    };
    let later = envelope.next_attempt.filter(|next| *next > now);
    let looped = facts.hops + envelope.hops > HOP_LIMIT
        || facts.hop_limit.is_some_and(|limit| envelope.hops > limit);
    let trouble = if looped { Some("5.4.6") } else { facts.trouble };
    if envelope.recipients.is_empty() {
        judge.push(None, Cow::Borrowed(b""), Outcome::DeadLetter, "5.6.0", None);
    }
    for (ordinal, recipient) in envelope.recipients.iter().enumerate().filter(|(_, r)| !r.done) {
        let path = Cow::Borrowed(recipient.path.as_slice());
        if later.is_some() {
            judge.push(Some(ordinal), path, Outcome::Deferred, "4.0.0", later);
        } else if let Some(status) = trouble {
            judge.fail(ordinal, recipient, path, status, None);
        } else if recipient.valid {
            judge.look_up(ordinal, recipient, path, 0, None);
        } else {
            judge.fail(ordinal, recipient, path, "5.1.3", None);
        }
    }
    judge.out
}

/// A failure can be told to somebody: the sender, its list's owner, or the postmaster.
fn may_be_answered(directory: &Directory, reverse: &Reverse) -> bool {
    let Reverse::Path(path) = reverse else { return false };
    let key = key(path);
    if directory.is_null(&key) {
        return false;
    }
    if directory.is_system(&key) {
        return !directory.postmaster.is_empty();
    }
    match (directory.entry(&key), directory.domain(&domain(path))) {
        (Some(Entry::List { owner, .. }), _) => owner.is_some(),
        (Some(Entry::Disabled | Entry::Moved), _) | (None, Some(Domain::Local(None))) => false,
        _ => true,
    }
}

struct Judge<'a> {
    directory: &'a Directory,
    envelope: &'a Envelope,
    now: i64,
    expiry: i64,
    /// Failures may be reported to the reverse-path.
    answerable: bool,
    report: bool,
    served: HashSet<Vec<u8>>,
    out: Vec<Disposition<'a>>,
}

impl<'a> Judge<'a> {
    fn push(
        &mut self,
        ordinal: Option<usize>,
        address: Cow<'a, [u8]>,
        outcome: Outcome,
        status: &'static str,
        until: Option<i64>,
    ) {
        self.out.push(Disposition { ordinal, address, outcome, status, until });
    }

    /// Failed or dead letter. `owner`: of the list through which the message came here.
    fn fail(
        &mut self,
        ordinal: usize,
        recipient: &Recipient,
        address: Cow<'a, [u8]>,
        status: &'static str,
        owner: Option<&'a [u8]>,
    ) {
        let wanted = recipient.notify.is_none_or(|notify| notify & FAILURE != 0);
        let answerable = if owner.is_some() { !self.report } else { self.answerable };
        let outcome = if wanted && answerable { Outcome::Failed } else { Outcome::DeadLetter };
        self.push(Some(ordinal), address, outcome, status, None);
    }

    fn look_up(
        &mut self,
        ordinal: usize,
        recipient: &Recipient,
        address: Cow<'a, [u8]>,
        level: u32,
        owner: Option<&'a [u8]>,
    ) {
        let key = key(&address);
        let directory = self.directory;
        let (entry, place) = (directory.entry(&key), directory.domain(&domain(&address)));
        let bare_postmaster = key == b"postmaster";
        // A message to one mailbox can't have duplicates: the usual case costs no table.
        let lone = self.envelope.recipients.len() == 1 && level == 0;
        let counted = !lone || !matches!(entry, Some(Entry::Good));
        if counted && !self.served.insert(key) {
            return;
        }
        let some = Some(ordinal);
        match (entry, place) {
            _ if bare_postmaster => {
                let target = Cow::Borrowed(directory.postmaster.as_slice());
                self.look_up(ordinal, recipient, target, level + 1, owner);
            }
            (Some(Entry::Good), _) => self.push(some, address, Outcome::Delivered, "2.1.5", None),
            (Some(Entry::Full), _) if self.now < self.expiry => {
                let until = Some(self.next_attempt());
                self.push(some, address, Outcome::Deferred, "4.2.2", until);
            }
            (Some(Entry::Full), _) => self.fail(ordinal, recipient, address, "5.2.2", owner),
            (Some(Entry::Disabled), _) => self.fail(ordinal, recipient, address, "5.2.1", owner),
            (Some(Entry::Moved), _) => self.fail(ordinal, recipient, address, "5.1.6", owner),
            (Some(Entry::Vanished), _) => self.fail(ordinal, recipient, address, "5.2.4", owner),
            (Some(Entry::Alias(_) | Entry::List { .. }), _) if level >= LEVELS => {
                self.fail(ordinal, recipient, address, "5.4.6", owner);
            }
            (Some(Entry::Alias(targets)), _) => {
                for target in targets {
                    self.look_up(ordinal, recipient, Cow::Borrowed(target), level + 1, owner);
                }
            }
            (Some(Entry::List { owner: own, members }), _) => {
                let owner = own.as_deref().or(owner);
                for member in members {
                    self.look_up(ordinal, recipient, Cow::Borrowed(member), level + 1, owner);
                }
            }
            (None, Some(Domain::Local(Some(target)))) => {
                self.look_up(ordinal, recipient, Cow::Borrowed(target), level + 1, owner);
            }
            (None, Some(Domain::Local(None))) => {
                self.fail(ordinal, recipient, address, "5.1.1", owner);
            }
            (None, None) if directory.refuses(&address) => {
                self.fail(ordinal, recipient, address, "5.1.2", owner);
            }
            (None, Some(Domain::Relayed) | None) => {
                self.push(some, address, Outcome::Relayed, "2.0.0", None);
            }
        }
    }

    /// 30 minutes, doubled with each attempt made before this one, up to 8 hours, at the latest at
    /// the expiry.
    fn next_attempt(&self) -> i64 {
        let wait = (0..self.envelope.attempts.min(8)).fold(30 * MINUTE, |wait, _| wait * 2);
        (self.now + wait.min(8 * HOUR)).min(self.expiry)
    }
}

#[cfg(test)]
#[path = "expect_tests.rs"]
mod tests;
