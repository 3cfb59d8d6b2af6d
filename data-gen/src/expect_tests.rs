//! The expectation logic against the rows of docs/outcomes.md.

use super::*;
use crate::envelope::{DELAY, NEVER, SUCCESS};
use crate::plan::blank;
use crate::time::SECOND;

const NOW: i64 = 1_767_323_045 * SECOND;

type Pick = fn(&Directory) -> Vec<u8>;

struct Case {
    directory: Directory,
    envelope: Envelope,
    facts: Facts,
}

impl Case {
    fn new() -> Self {
        let mut envelope = blank(0);
        envelope.arrival = NOW - HOUR;
        envelope.reverse = Reverse::Path(b"sender@example.net".to_vec());
        Self { directory: Directory::new(1, 1000), envelope, facts: Facts::default() }
    }

    fn to(mut self, pick: Pick) -> Self {
        let path = pick(&self.directory);
        self.envelope.recipients.push(Recipient::good(path));
        self
    }

    fn from(mut self, pick: Pick) -> Self {
        self.envelope.reverse = Reverse::Path(pick(&self.directory));
        self
    }

    /// Outcome and status of each disposition.
    fn outcomes(&self) -> Vec<(Outcome, &'static str)> {
        let all = decide(&self.directory, &self.envelope, self.facts, NOW);
        all.iter().map(|one| (one.outcome, one.status)).collect()
    }

    fn until(&self) -> Option<i64> {
        decide(&self.directory, &self.envelope, self.facts, NOW)[0].until
    }
}

fn good(directory: &Directory) -> Vec<u8> {
    directory.good[5].clone()
}

fn full(directory: &Directory) -> Vec<u8> {
    directory.full[0].clone()
}

fn nobody(_: &Directory) -> Vec<u8> {
    b"gone@corp.example".to_vec()
}

#[test]
fn a_recipient_by_what_the_directory_says() {
    use Outcome::{Delivered, Failed, Relayed};
    let rows: [(Pick, Outcome, &str); 11] = [
        (good, Delivered, "2.1.5"),
        (|d| d.good[5].to_ascii_uppercase(), Delivered, "2.1.5"),
        (|d| d.disabled[0].clone(), Failed, "5.2.1"),
        (|d| d.moved[0].clone(), Failed, "5.1.6"),
        (nobody, Failed, "5.1.1"),
        (|d| d.stale[0].clone(), Failed, "5.1.1"),
        (|d| d.chains[0].clone(), Delivered, "2.1.5"),
        (|_| b"any@catch.example".to_vec(), Delivered, "2.1.5"),
        (|_| b"any@partner.example".to_vec(), Relayed, "2.0.0"),
        (|_| b"any@example.org".to_vec(), Relayed, "2.0.0"),
        (|_| b"postmaster".to_vec(), Delivered, "2.1.5"),
    ];
    for (at, (pick, outcome, status)) in rows.into_iter().enumerate() {
        assert_eq!(Case::new().to(pick).outcomes(), [(outcome, status)], "row {at}");
    }
}

#[test]
fn a_bad_path_fails_even_twice_and_a_mailbox_is_served_once() {
    let mut case = Case::new().to(good).to(|d| d.good[5].to_ascii_uppercase());
    case.envelope.recipients.push(Recipient::bad(b"a@@b".to_vec()));
    case.envelope.recipients.push(Recipient::bad(b"a@@b".to_vec()));
    let failed = (Outcome::Failed, "5.1.3");
    assert_eq!(case.outcomes(), [(Outcome::Delivered, "2.1.5"), failed, failed]);
}

#[test]
fn a_failure_that_nobody_may_be_told_is_a_dead_letter() {
    let dead = [(Outcome::DeadLetter, "5.1.1")];
    let failed = [(Outcome::Failed, "5.1.1")];
    for reverse in [Reverse::Null, Reverse::Unknown, Reverse::Invalid(b"x".to_vec())] {
        let mut case = Case::new().to(nobody);
        case.envelope.reverse = reverse;
        assert_eq!(case.outcomes(), dead);
    }
    let senders: [Pick; 3] = [nobody, |d| d.disabled[0].clone(), |d| d.moved[0].clone()];
    for pick in senders {
        assert_eq!(Case::new().to(nobody).from(pick).outcomes(), dead);
    }
    assert_eq!(Case::new().to(nobody).from(|d| d.bare_lists[0].clone()).outcomes(), dead);
    assert_eq!(Case::new().to(nobody).from(|d| d.owned_lists[0].clone()).outcomes(), failed);
    assert_eq!(Case::new().to(nobody).from(|d| d.systems[0].clone()).outcomes(), failed);
    assert_eq!(Case::new().to(nobody).from(|d| d.full[0].clone()).outcomes(), failed);
    assert_eq!(Case::new().to(nobody).from(|_| b"x@catch.example".to_vec()).outcomes(), failed);
    let mut report = Case::new().to(nobody);
    report.facts.report = true;
    assert_eq!(report.outcomes(), dead);
}

#[test]
fn notify_decides_whether_a_failure_is_told() {
    let cases = [
        (NEVER, Outcome::DeadLetter),
        (SUCCESS, Outcome::DeadLetter),
        (DELAY, Outcome::DeadLetter),
        (FAILURE, Outcome::Failed),
        (SUCCESS | FAILURE | DELAY, Outcome::Failed),
    ];
    for (notify, outcome) in cases {
        let mut case = Case::new().to(nobody);
        case.envelope.recipients[0].notify = Some(notify);
        assert_eq!(case.outcomes(), [(outcome, "5.1.1")], "{notify}");
    }
}

#[test]
fn a_full_mailbox_waits_longer_each_time_until_the_message_expires() {
    let mut case = Case::new().to(full);
    assert_eq!(case.outcomes(), [(Outcome::Deferred, "4.2.2")]);
    for (attempts, wait) in [(0, 30), (1, 60), (2, 120), (3, 240), (4, 480), (5, 480), (90, 480)] {
        case.envelope.attempts = attempts;
        assert_eq!(case.until(), Some(NOW + wait * MINUTE), "{attempts}");
    }
    case.envelope.expiry = Some(NOW + 10 * MINUTE);
    assert_eq!(case.until(), Some(NOW + 10 * MINUTE));
    case.envelope.expiry = Some(NOW);
    assert_eq!(case.outcomes(), [(Outcome::Failed, "5.2.2")]);
    case.envelope.expiry = None;
    case.envelope.arrival = NOW - LIFETIME - SECOND;
    assert_eq!(case.outcomes(), [(Outcome::Failed, "5.2.2")]);
}

#[test]
fn rules_for_the_whole_message_come_first_in_their_order() {
    let mut case = Case::new();
    assert_eq!(case.outcomes(), [(Outcome::DeadLetter, "5.6.0")]);
    case = case.to(good).to(nobody);
    case.facts.hops = 100;
    assert_eq!(case.outcomes()[0], (Outcome::Delivered, "2.1.5"));
    case.envelope.hops = 1;
    assert_eq!(case.outcomes(), [(Outcome::Failed, "5.4.6"); 2]);
    case.envelope.next_attempt = Some(NOW + SECOND);
    assert_eq!(case.outcomes(), [(Outcome::Deferred, "4.0.0"); 2]);
    assert_eq!(case.until(), Some(NOW + SECOND));
    case.envelope.next_attempt = Some(NOW);
    case.envelope.hops = 0;
    assert_eq!(case.outcomes()[1], (Outcome::Failed, "5.1.1"));
}

#[test]
fn a_done_recipient_has_no_disposition() {
    let mut case = Case::new().to(good).to(nobody);
    case.envelope.recipients[0].done = true;
    let all = decide(&case.directory, &case.envelope, case.facts, NOW);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].ordinal, Some(1));
}
