//! Each hazard makes what its name says.

use super::plan;
use crate::envelope::Reverse;
use crate::expect::{Outcome, decide};
use crate::hazards::{Hazard, Mix, TABLE};
use crate::options::{Format, Options};
use crate::plan::Damage;
use crate::{World, hazards};

const MESSAGES: u64 = 120;

fn world(hazard: Hazard, format: Format) -> World {
    let hazards = Mix::Named(vec![(hazard, 1.0)]);
    let messages = if hazard == Hazard::HugeList { 2 } else { MESSAGES };
    World::new(&Options { messages, format, hazards, ..Options::default() }).unwrap()
}

/// (outcome, status) of each disposition of each message.
fn outcomes(hazard: Hazard, format: Format) -> Vec<Vec<(Outcome, &'static str)>> {
    let world = world(hazard, format);
    let one = |index| {
        let (plan, _) = plan(&world, index);
        let facts = plan.facts(format);
        let all = decide(&world.directory, &plan.envelope, facts, world.options.now);
        all.iter().map(|one| (one.outcome, one.status)).collect()
    };
    (0..world.options.messages).map(one).collect()
}

/// What may come out of a hazard beside what is good: (outcome, status), and one that must occur.
fn expected(hazard: Hazard) -> &'static [(Outcome, &'static str)] {
    use Outcome::{DeadLetter, Deferred, Failed};
    match hazard {
        Hazard::InvalidBoth => &[(DeadLetter, "5.1.3")],
        Hazard::BadResubmitted => &[(Failed, "5.1.3"), (Failed, "5.2.1"), (Failed, "5.1.1")],
        Hazard::LongRecipient | Hazard::BadAddress => &[(Failed, "5.1.3")],
        Hazard::NdrOfNdr | Hazard::NdrLost => &[(DeadLetter, "5.1.1")],
        Hazard::FullMailbag => &[(Deferred, "4.2.2"), (Failed, "5.2.2"), (DeadLetter, "5.2.2")],
        Hazard::ReportMissing | Hazard::NdrLoop => &[(DeadLetter, "5.1.1"), (Failed, "5.1.1")],
        Hazard::MessageLoop => &[(Failed, "5.4.6"), (DeadLetter, "5.4.6")],
        Hazard::Disabled => &[(Failed, "5.2.1")],
        Hazard::Moved => &[(Failed, "5.1.6")],
        Hazard::NotDue => &[(Deferred, "4.0.0"), (Failed, "5.1.1")],
        Hazard::NoRecipients | Hazard::Empty => &[(DeadLetter, "5.6.0")],
        Hazard::Mixed => &[
            (Deferred, "4.2.2"),
            (Failed, "5.2.1"),
            (Failed, "5.1.6"),
            (Failed, "5.1.1"),
            (Failed, "5.1.3"),
        ],
        Hazard::SystemMail
        | Hazard::UnknownRecipient
        | Hazard::HugeList
        | Hazard::ListExpansion
        | Hazard::BadReplyTo
        | Hazard::Charset
        | Hazard::NamedProperties
        | Hazard::SubjectTruncated
        | Hazard::Nul => &[(Failed, "5.1.1")],
        fault if fault.is_fault() => &[(Failed, "5.1.1")],
        _ => &[],
    }
}

#[test]
fn each_hazard_has_its_outcomes_in_each_format_that_carries_it() {
    for row in TABLE {
        for format in [Format::Segment, Format::Mbox, Format::Eml] {
            if Mix::Named(vec![(row.hazard, 1.0)]).resolve(format).is_err() {
                continue;
            }
            let all: Vec<_> = outcomes(row.hazard, format).into_iter().flatten().collect();
            let expected = expected(row.hazard);
            for one in &all {
                let good = matches!(one.0, Outcome::Delivered | Outcome::Relayed);
                assert!(good || expected.contains(one), "{} {format:?}: {one:?}", row.name);
            }
            for one in expected.iter().filter(|_| row.hazard != Hazard::Empty) {
                assert!(all.contains(one), "{} {format:?}: never {one:?}", row.name);
            }
        }
    }
}

#[test]
fn every_message_has_a_recipient_that_something_becomes_of() {
    for row in TABLE {
        for all in outcomes(row.hazard, Format::Segment) {
            assert!(!all.is_empty(), "{}", row.name);
        }
    }
}

#[test]
fn neighbours_are_never_both_damaged() {
    let world = world(Hazard::Corrupt, Format::Segment);
    let damaged: Vec<bool> =
        (0..MESSAGES).map(|index| plan(&world, index).0.damage.is_some()).collect();
    assert!(damaged.windows(2).all(|pair| !(pair[0] && pair[1])));
    assert!(damaged.iter().filter(|one| **one).count() > 30);
}

#[test]
fn the_last_of_a_big_mix_is_torn_and_one_is_huge() {
    let options = Options { messages: 1_500, ..Options::default() };
    let world = World::new(&options).unwrap();
    assert_eq!(plan(&world, 1_499).0.damage, Some(Damage::Torn));
    let (huge, _) = plan(&world, 500);
    assert_eq!(huge.hazard.map(hazards::name), Some("huge-recipient-list"));
    assert_eq!(huge.envelope.recipients.len(), 1_000);
}

#[test]
fn huge_by_name_is_huge() {
    let world = world(Hazard::HugeList, Format::Mbox);
    assert_eq!(plan(&world, 0).0.envelope.recipients.len(), 100_000);
    assert_eq!(plan(&world, 1).0.envelope.recipients.len(), 5_000);
}

#[test]
fn formats_without_envelopes_say_nothing_that_they_cant() {
    let options = Options { messages: 500, format: Format::Mbox, ..Options::default() };
    let world = World::new(&options).unwrap();
    for index in 0..500 {
        let (plan, _) = plan(&world, index);
        let envelope = plan.envelope;
        assert!(envelope.next_attempt.is_none() && envelope.expiry.is_none());
        assert!(envelope.attempts == 0 && envelope.hops == 0);
        assert_ne!(envelope.reverse, Reverse::Unknown);
        assert_eq!(envelope.arrival % 1_000_000, 0);
        assert!(envelope.recipients.iter().all(|one| !one.path.contains(&b'\n')));
    }
}
