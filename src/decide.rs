//! The one place where a message's fate is decided: a pure, total function.
//!
//! (envelope and header facts, directory, policy, clock) -> one or more dispositions per recipient.
//! The rules stand, in their order, in docs/outcomes.md; this file is that table. No I/O, no clock,
//! no state; nothing here can fail. Memory is taken from a [`Verdict`] that is used again for the
//! next message.
//!
//! A *disposition* is our decision about a recipient, not the Disposition field of RFC 8098; in a
//! report it becomes an Action.

mod no_report;
mod schedule;

pub use no_report::NoReport;
pub use schedule::{Schedule, schedule};

use crate::directory::{Directory, Standing};
use crate::limits;
use crate::mail::address::Mailbox;
use crate::mail::date::Time;
use crate::mail::envelope::{Condition, Envelope, Recipient, ReversePath};
use crate::mail::status::EnhancedStatus;
use hashbrown::HashTable;

/// What is done with mail for domains that the directory doesn't name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Remote {
    /// It is relayed.
    #[default]
    Relay,
    /// It has failed: 5.1.2.
    Fail,
}

/// What the operator chooses. All else is in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Policy {
    /// Mail for unknown domains.
    pub remote: Remote,
    /// More hops than these are a loop.
    pub hops_max: u32,
    /// Seconds that transient failures are tried again for, from the arrival.
    pub lifetime_s: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { remote: Remote::Relay, hops_max: limits::HOPS_MAX, lifetime_s: 5 * 86_400 }
    }
}

/// What becomes of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handed to a local mailbox.
    Delivered,
    /// Handed to another system.
    Relayed,
    /// An alias or list: its targets have dispositions of their own.
    Expanded,
    /// Served already, under an earlier recipient of this message.
    Duplicate,
    /// Kept, and tried again.
    Deferred,
    /// Failed for good, and reported.
    Failed,
    /// Failed for good, and not to be reported.
    DeadLetter(NoReport),
}

/// One decision about one recipient, or about one target that it expanded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition<'a> {
    /// Index of the recipient in the envelope; none where the message has no recipients.
    pub ordinal: Option<u32>,
    /// The final forward-path.
    pub address: &'a [u8],
    /// The same as a mailbox, where it is one.
    pub mailbox: Option<Mailbox<'a>>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why, as an enhanced status.
    pub status: EnhancedStatus,
    /// The original system's number of the error; 0 where it had none.
    pub number: u16,
    /// Where it is handed to; empty: by its domain.
    pub route: &'a [u8],
    /// More about a failure: what is wrong with the address, where the mailbox has moved.
    pub detail: &'a [u8],
    /// The owner of the list that it expanded from: its reverse-path (RFC 5321, 3.9.2).
    pub owner: Option<&'a [u8]>,
    /// For a failed one: whom the report goes to.
    pub report_to: &'a [u8],
}

/// A message as `decide` sees it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'c, 'a> {
    /// Its envelope.
    pub envelope: &'c Envelope<'a>,
    /// The recipients of the envelope.
    pub recipients: &'c [Recipient<'a>],
    /// Hops by header fields; those of the envelope come on top.
    pub header_hops: u32,
    /// The content is a multipart/report.
    pub is_report: bool,
    /// What is wrong with the message as a whole.
    pub condition: Option<Condition>,
    /// The directory of the post office that it is in, which is asked before the run's.
    pub office: Option<&'a Directory>,
}

impl<'c, 'a> Case<'c, 'a> {
    /// A message that nothing else is known of.
    pub const fn new(envelope: &'c Envelope<'a>, recipients: &'c [Recipient<'a>]) -> Self {
        let (header_hops, is_report) = (0, false);
        Self { envelope, recipients, header_hops, is_report, condition: None, office: None }
    }
}

/// The decision about one message, in memory that is used again.
#[derive(Debug, Default)]
pub struct Verdict<'a> {
    /// All dispositions, in the order of the recipients, targets behind what they expanded from.
    pub dispositions: Vec<Disposition<'a>>,
    /// When it is tried again, where something is deferred.
    pub next_attempt: Option<Time>,
    /// When trying ends.
    pub expiry: Option<Time>,
    /// Attempts made, this one included; unchanged where the message wasn't due.
    pub attempts: u32,
    /// Indexes of `dispositions` by mailbox, once there are many.
    served: HashTable<u32>,
    /// How many of `dispositions` `served` knows.
    indexed: usize,
    expansions: Vec<Expansion<'a>>,
    /// Targets in `expansions`.
    targets_left: usize,
}

/// Targets that are still to be judged.
#[derive(Clone, Copy, Debug)]
struct Expansion<'a> {
    targets: &'a [Box<[u8]>],
    level: u32,
    owner: Option<&'a [u8]>,
}

/// What is the same for all recipients of a message.
#[derive(Clone, Copy, Debug)]
struct Hand<'a> {
    office: Option<&'a Directory>,
    expiry: Time,
}

/// What is the same for all messages of a run.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// Who exists.
    pub directory: &'a Directory,
    /// What the operator chose.
    pub policy: Policy,
    /// The run's time.
    pub now: Time,
}

impl<'a> Judge<'a> {
    /// Decides about one message; what the verdict held before is forgotten.
    pub fn decide(&self, case: Case<'_, 'a>, verdict: &mut Verdict<'a>) {
        let schedule = schedule(case.envelope, self.policy, self.now);
        let expiry = schedule.expiry;
        verdict.reset();
        verdict.set_schedule(schedule, !case.recipients.is_empty());
        // Growing by doubling would take twice of what is needed, and half again on the way.
        verdict.dispositions.reserve_exact(case.recipients.len());
        if case.recipients.is_empty() {
            verdict.dispositions.push(no_recipients());
            return;
        }
        if !schedule.is_due {
            each_pending(case, |recipient, ordinal| {
                let disposition = Disposition::new(ordinal, recipient.forward_path);
                verdict.dispositions.push(disposition.with(
                    Outcome::Deferred,
                    EnhancedStatus::NOT_DUE,
                    0,
                ));
            });
            return;
        }
        let envelope_hops = u32::try_from(case.envelope.hops.len()).unwrap_or(u32::MAX);
        let looping = case.header_hops.saturating_add(envelope_hops) > self.policy.hops_max
            || case.envelope.hop_limit.is_some_and(|limit| envelope_hops > limit);
        let wrong = match case.condition {
            Some(Condition::CircularRoute) => Some((EnhancedStatus::LOOP, 4)),
            Some(Condition::MissingAttachment) => Some((EnhancedStatus::SYSTEM_FAILURE, 18)),
            None if looping => Some((EnhancedStatus::LOOP, 3)),
            None => None,
        };
        let mut report_route = None;
        each_pending(case, |recipient, ordinal| {
            let first = verdict.dispositions.len();
            if let Some((status, number)) = wrong {
                let disposition = Disposition::new(ordinal, recipient.forward_path);
                verdict.dispositions.push(disposition.with(Outcome::Failed, status, number));
            } else {
                let hand = Hand { office: case.office, expiry };
                self.judge_recipient(recipient.forward_path, ordinal, hand, verdict);
            }
            for disposition in verdict.dispositions.iter_mut().skip(first) {
                if disposition.outcome == Outcome::Failed {
                    let sender = *report_route.get_or_insert_with(|| self.report_route(case));
                    self.settle_failure(disposition, *recipient, case, sender);
                }
            }
        });
    }

    /// Judges a forward-path, and all that it expands to.
    fn judge_recipient(
        &self,
        path: &'a [u8],
        ordinal: u32,
        hand: Hand<'a>,
        verdict: &mut Verdict<'a>,
    ) {
        self.judge_path(Disposition::new(ordinal, path), 0, hand, verdict);
        while let Some(expansion) = verdict.expansions.pop() {
            let Some((target, rest)) = expansion.targets.split_first() else { continue };
            verdict.expansions.push(Expansion { targets: rest, ..expansion });
            let mut disposition = Disposition::new(ordinal, target);
            disposition.owner = expansion.owner;
            verdict.targets_left -= 1;
            self.judge_path(disposition, expansion.level, hand, verdict);
        }
    }

    fn judge_path(
        &self,
        mut disposition: Disposition<'a>,
        level: u32,
        hand: Hand<'a>,
        verdict: &mut Verdict<'a>,
    ) {
        let mailbox = match Mailbox::parse(disposition.address) {
            Ok(mailbox) => mailbox,
            Err(error) => {
                disposition.detail = error.text().as_bytes();
                let failed = disposition.with(Outcome::Failed, EnhancedStatus::BAD_ADDRESS, 0);
                verdict.dispositions.push(failed);
                return;
            }
        };
        disposition.mailbox = Some(mailbox);
        if verdict.is_served(mailbox) {
            let duplicate = disposition.with(Outcome::Duplicate, EnhancedStatus::ADDRESS_VALID, 0);
            verdict.dispositions.push(duplicate);
            return;
        }
        let (judged, expansion) = self.judge_mailbox(disposition, mailbox, hand);
        let too_deep = level >= limits::EXPANSION_LEVELS_MAX;
        match expansion {
            Some((targets, _)) if too_deep || !verdict.has_room_for(targets.len()) => {
                verdict.dispositions.push(judged.with(Outcome::Failed, EnhancedStatus::LOOP, 3));
            }
            Some((targets, list_owner)) => {
                verdict.dispositions.push(judged);
                let owner = list_owner.or(judged.owner);
                verdict.targets_left += targets.len();
                verdict.expansions.push(Expansion { targets, level: level + 1, owner });
            }
            None => verdict.dispositions.push(judged),
        }
    }

    /// The rules for one mailbox; for an alias, a list or a catch-all also its targets, and the
    /// list's owner.
    #[expect(clippy::type_complexity, reason = "targets and owner of an expansion, used once")]
    fn judge_mailbox(
        &self,
        disposition: Disposition<'a>,
        mailbox: Mailbox<'a>,
        hand: Hand<'a>,
    ) -> (Disposition<'a>, Option<(&'a [Box<[u8]>], Option<&'a [u8]>)>) {
        use EnhancedStatus as S;
        use Outcome::{Deferred, Delivered, Expanded, Failed, Relayed};
        let expanded = disposition.with(Expanded, S::ADDRESS_VALID, 0);
        let judged = match self.look_up(hand.office, mailbox) {
            Standing::Mailbox(route) => {
                Disposition { route, ..disposition.with(Delivered, S::ADDRESS_VALID, 0) }
            }
            Standing::Full if self.now < hand.expiry => {
                disposition.with(Deferred, S::MAILBOX_FULL_FOR_NOW, 17)
            }
            Standing::Full => disposition.with(Failed, S::MAILBOX_FULL, 17),
            Standing::Disabled => disposition.with(Failed, S::MAILBOX_DISABLED, 0),
            Standing::Moved(new) => {
                let moved = disposition.with(Failed, S::MAILBOX_MOVED, 0);
                Disposition { detail: new, ..moved }
            }
            Standing::Alias(targets) => return (expanded, Some((targets, None))),
            Standing::List { owner, members } => return (expanded, Some((members, owner))),
            Standing::Unknown => disposition.with(Failed, S::MAILBOX_UNKNOWN, 2),
            Standing::GroupGone => disposition.with(Failed, S::LIST_EXPANSION, 7),
            Standing::Relay(route) => {
                Disposition { route, ..disposition.with(Relayed, S::SUCCESS, 0) }
            }
            // A post office has no way out but its bags.
            Standing::Remote if hand.office.is_some() => {
                disposition.with(Failed, S::SYSTEM_UNKNOWN, 2)
            }
            Standing::Remote => match self.policy.remote {
                Remote::Relay => disposition.with(Relayed, S::SUCCESS, 0),
                Remote::Fail => disposition.with(Failed, S::SYSTEM_UNKNOWN, 0),
            },
        };
        (judged, None)
    }

    /// The post office is asked first, the run's directory about what it doesn't know.
    fn look_up(&self, office: Option<&'a Directory>, mailbox: Mailbox<'_>) -> Standing<'a> {
        let Some(office) = office else { return self.directory.look_up(mailbox) };
        match office.look_up(mailbox) {
            unknown @ (Standing::Unknown | Standing::Remote) => {
                match self.directory.look_up(mailbox) {
                    Standing::Remote => unknown,
                    known => known,
                }
            }
            known => known,
        }
    }

    /// Turns a failure into a report to someone, or a dead letter.
    fn settle_failure(
        &self,
        disposition: &mut Disposition<'a>,
        recipient: Recipient<'a>,
        case: Case<'_, 'a>,
        sender: Result<&'a [u8], NoReport>,
    ) {
        let route = match disposition.owner {
            Some(owner) if !case.is_report => {
                self.route_to(case.office, ReversePath::from_path(owner))
            }
            _ => sender,
        };
        let wanted = recipient.notify.is_none_or(crate::mail::envelope::Notify::allows_failure);
        match route {
            Ok(_) if !wanted => {
                disposition.outcome = Outcome::DeadLetter(NoReport::NotRequested);
            }
            Ok(report_to) => disposition.report_to = report_to,
            Err(reason) => disposition.outcome = Outcome::DeadLetter(reason),
        }
    }

    /// Whom a report about the message would go to.
    fn report_route(&self, case: Case<'_, 'a>) -> Result<&'a [u8], NoReport> {
        if case.is_report {
            return Err(NoReport::IsReport);
        }
        self.route_to(case.office, case.envelope.reverse_path)
    }

    fn route_to(
        &self,
        office: Option<&'a Directory>,
        reverse_path: ReversePath<'a>,
    ) -> Result<&'a [u8], NoReport> {
        let path = match reverse_path {
            ReversePath::Unknown => return Err(NoReport::UnknownReversePath),
            ReversePath::Null => return Err(NoReport::NullReversePath),
            ReversePath::Path(path) => path,
        };
        let of_office = office.and_then(Directory::postmaster);
        let postmaster = of_office.or_else(|| self.directory.postmaster());
        if self.directory.is_system(path) || office.is_some_and(|office| office.is_system(path)) {
            return postmaster.ok_or(NoReport::SystemSender);
        }
        let Ok(mailbox) = Mailbox::parse(path) else {
            return Err(NoReport::InvalidReversePath);
        };
        match self.look_up(office, mailbox) {
            // No bag leads to it.
            Standing::Remote if office.is_some() => Err(NoReport::NoSuchSender),
            Standing::Unknown | Standing::Disabled | Standing::Moved(_) => {
                Err(NoReport::NoSuchSender)
            }
            Standing::List { owner, .. } => owner.ok_or(NoReport::ListSender),
            _ => Ok(path),
        }
    }
}

fn each_pending<'a>(case: Case<'_, 'a>, mut each: impl FnMut(&Recipient<'a>, u32)) {
    for (ordinal, recipient) in (0..).zip(case.recipients) {
        if !recipient.done {
            each(recipient, ordinal);
        }
    }
}

impl<'a> Disposition<'a> {
    /// A recipient, not judged yet.
    pub(crate) fn new(ordinal: u32, address: &'a [u8]) -> Self {
        Self {
            ordinal: Some(ordinal),
            address,
            mailbox: None,
            outcome: Outcome::Failed,
            status: EnhancedStatus::MAILBOX_UNKNOWN,
            number: 0,
            route: b"",
            detail: b"",
            owner: None,
            report_to: b"",
        }
    }

    fn with(self, outcome: Outcome, status: EnhancedStatus, number: u16) -> Self {
        Self { outcome, status, number, ..self }
    }
}

fn no_recipients<'a>() -> Disposition<'a> {
    let nobody = Disposition { ordinal: None, ..Disposition::new(0, b"") };
    nobody.with(Outcome::DeadLetter(NoReport::NoRecipients), EnhancedStatus::BAD_MESSAGE, 24)
}

impl<'a> Verdict<'a> {
    /// From here on a message's mailboxes are found by hash: comparing each with each would be
    /// quadratic.
    const TABLE_FROM: usize = 16;

    /// A decision that was made before, as far as records and events tell it.
    pub fn of(
        dispositions: Vec<Disposition<'a>>,
        schedule: Schedule,
        has_recipients: bool,
    ) -> Self {
        let mut verdict = Self { dispositions, ..Self::default() };
        verdict.set_schedule(schedule, has_recipients);
        verdict
    }

    /// Why the message is a dead letter, where a recipient is: the first one's reason.
    pub fn dead_letter(&self) -> Option<NoReport> {
        self.dead_letters().next()
    }

    /// Why a report that was due has nowhere to go: the first such reason.
    pub fn homeless_report(&self) -> Option<NoReport> {
        let is_homeless =
            |reason: &NoReport| matches!(reason, NoReport::NoSuchSender | NoReport::SystemSender);
        self.dead_letters().find(is_homeless)
    }

    fn dead_letters(&self) -> impl Iterator<Item = NoReport> {
        self.dispositions.iter().filter_map(|disposition| match disposition.outcome {
            Outcome::DeadLetter(reason) => Some(reason),
            _ => None,
        })
    }

    /// A message without recipients isn't tried.
    fn set_schedule(&mut self, schedule: Schedule, has_recipients: bool) {
        let tried = u32::from(schedule.is_due && has_recipients);
        self.attempts = schedule.attempts.saturating_add(tried);
        self.next_attempt = has_recipients.then_some(schedule.next_attempt);
        self.expiry = Some(schedule.expiry);
    }

    fn reset(&mut self) {
        self.dispositions.clear();
        self.served.clear();
        self.indexed = 0;
        self.expansions.clear();
        self.targets_left = 0;
    }

    /// True where so many targets more stay within the bound, with all that are still to be judged.
    const fn has_room_for(&self, targets: usize) -> bool {
        self.dispositions.len() + self.targets_left + targets <= limits::DISPOSITIONS_MAX
    }

    /// The same memory, empty, for messages of another lifetime.
    pub fn recycle<'b>(mut self) -> Verdict<'b> {
        if self.dispositions.capacity() > limits::RECIPIENTS_KEPT_MAX {
            (self.dispositions, self.served) = (Vec::new(), HashTable::new());
        }
        Verdict {
            dispositions: emptied(self.dispositions),
            expansions: emptied(self.expansions),
            targets_left: 0,
            served: self.served,
            indexed: 0,
            next_attempt: None,
            expiry: None,
            attempts: 0,
        }
    }

    fn is_served(&mut self, mailbox: Mailbox<'_>) -> bool {
        if self.dispositions.len() <= Self::TABLE_FROM {
            return self.dispositions.iter().any(|d| d.serves(mailbox));
        }
        self.index_served();
        let at = |index: &u32| self.dispositions.get(*index as usize);
        self.served
            .find(hash(mailbox), |index| at(index).is_some_and(|d| d.serves(mailbox)))
            .is_some()
    }

    /// Puts the dispositions into the table that aren't in it yet, however they were made.
    fn index_served(&mut self) {
        let dispositions = &self.dispositions;
        let hash_of = |d: &Disposition<'_>| d.mailbox.map_or(0, hash);
        for (index, served) in dispositions.iter().enumerate().skip(self.indexed) {
            let Ok(entry) = u32::try_from(index) else { break };
            if served.is_served_by_this() {
                self.served.insert_unique(hash_of(served), entry, |other| {
                    dispositions.get(*other as usize).map_or(0, hash_of)
                });
            }
        }
        self.indexed = dispositions.len();
    }
}

/// The memory of a list, for things of another lifetime.
pub(crate) fn emptied<A, B>(mut list: Vec<A>) -> Vec<B> {
    list.clear();
    // Collecting an emptied vector into one of the same layout keeps its memory.
    list.into_iter().map_while(|_| None).collect()
}

impl Disposition<'_> {
    fn is_served_by_this(&self) -> bool {
        self.mailbox.is_some() && self.outcome != Outcome::Duplicate
    }

    fn serves(&self, mailbox: Mailbox<'_>) -> bool {
        self.is_served_by_this()
            && self.mailbox.is_some_and(|served| {
                served.local_part.eq_ignore_ascii_case(mailbox.local_part)
                    && served.domain.eq_ignore_ascii_case(mailbox.domain)
            })
    }
}

/// Hash of a mailbox without regard to ASCII case. Only order-free questions are asked of it.
fn hash(mailbox: Mailbox<'_>) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    let mut chunk = [0_u8; 64];
    for bytes in [mailbox.local_part, b"@", mailbox.domain] {
        for piece in bytes.chunks(chunk.len()) {
            let (folded, _) = chunk.split_at_mut(piece.len());
            folded.copy_from_slice(piece);
            folded.make_ascii_lowercase();
            hasher.update(folded);
        }
    }
    hasher.digest()
}
