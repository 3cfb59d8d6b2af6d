//! Each hazard makes in a post office what its name says.

use super::address;
use super::make::facts;
use super::site::Site;
use crate::expect::{Outcome, decide};
use crate::hazards::{Hazard, Mix, TABLE};
use crate::options::{Format, Options};
use crate::plan::Plan;
use crate::postoffice::Flaw;
use crate::{World, scenario};

const MESSAGES: u64 = 240;

fn world(hazard: Hazard) -> World {
    let hazards = Mix::Named(vec![(hazard, 1.0)]);
    let (messages, post_offices) = (if hazard == Hazard::HugeList { 2 } else { MESSAGES }, 3);
    let format = Format::PostOffice;
    World::new(&Options { messages, format, hazards, post_offices, ..Options::default() }).unwrap()
}

type Judged = (Plan, Vec<(Outcome, &'static str)>);

/// Plans and outcomes of a hazard, in post offices with and without an Admin, with and without a
/// gateway to the Internet.
fn judged(hazard: Hazard) -> Vec<Judged> {
    let world = world(hazard);
    let mut out = Vec::new();
    for at in 0..3 {
        let directory = Site::new(&world, at).directory(&world);
        for index in 0..world.options.messages {
            let (plan, _) = scenario::plan_in(&world, &directory, index);
            let all = decide(&directory, &plan.envelope, facts(&plan), world.options.now);
            let all = all.iter().map(|one| (one.outcome, one.status)).collect();
            out.push((plan, all));
        }
    }
    out
}

/// What may come out of a hazard beside what is good: (outcome, status), and each must occur.
fn expected(hazard: Hazard) -> &'static [(Outcome, &'static str)] {
    use Outcome::{DeadLetter, Deferred, Failed};
    match hazard {
        Hazard::InvalidBoth => &[(DeadLetter, "5.1.3")],
        Hazard::BadResubmitted => &[(Failed, "5.1.3"), (Failed, "5.2.1"), (Failed, "5.1.1")],
        Hazard::LongRecipient => &[(Failed, "5.1.3")],
        Hazard::BadAddress => &[(Failed, "5.1.3"), (Failed, "5.1.2")],
        Hazard::NdrOfNdr | Hazard::NdrLost | Hazard::NdrLoop => &[(DeadLetter, "5.1.1")],
        Hazard::FullMailbag => &[(Deferred, "4.2.2"), (Failed, "5.2.2"), (DeadLetter, "5.2.2")],
        Hazard::ReportMissing => &[(DeadLetter, "5.1.1"), (Failed, "5.1.1")],
        Hazard::MessageLoop => &[(Failed, "5.4.6")],
        Hazard::Disabled => &[(Failed, "5.2.1")],
        Hazard::Moved => &[(Failed, "5.1.6")],
        Hazard::NotDue => &[(Deferred, "4.0.0")],
        Hazard::NoRecipients => &[(DeadLetter, "5.6.0")],
        Hazard::MissingBody => &[(Failed, "5.3.0"), (DeadLetter, "5.3.0")],
        Hazard::Mixed => {
            &[(Deferred, "4.2.2"), (Failed, "5.2.1"), (Failed, "5.1.6"), (Failed, "5.2.2")]
        }
        Hazard::SystemMail => &[(Failed, "5.1.1"), (DeadLetter, "5.1.1")],
        Hazard::ListExpansion => &[(Failed, "5.2.4"), (Failed, "5.1.1")],
        Hazard::UnknownRecipient => &[(Failed, "5.1.1"), (Failed, "5.1.2")],
        Hazard::HugeList | Hazard::Postmaster => &[(Failed, "5.1.1")],
        fault if fault.is_fault() => &[(Failed, "5.1.1")],
        _ => &[],
    }
}

/// What any message may come to in a post office without a gateway to the Internet, or whose
/// content is what matters.
const BESIDE: [(Outcome, &str); 5] = [
    (Outcome::Failed, "5.1.1"),
    (Outcome::Failed, "5.1.2"),
    (Outcome::Failed, "5.1.3"),
    (Outcome::DeadLetter, "5.1.1"),
    (Outcome::DeadLetter, "5.1.2"),
];

#[test]
fn each_hazard_has_its_outcomes() {
    for row in TABLE {
        let all: Vec<_> = judged(row.hazard).into_iter().flat_map(|one| one.1).collect();
        let expected = expected(row.hazard);
        for one in &all {
            let good = matches!(one.0, Outcome::Delivered | Outcome::Relayed);
            let known = expected.contains(one) || BESIDE.contains(one);
            assert!(good || known, "{}: {one:?}", row.name);
        }
        for one in expected {
            assert!(all.contains(one), "{}: never {one:?}", row.name);
        }
    }
}

#[test]
fn a_like_name_is_no_circle_and_the_same_name_is_one() {
    let world = world(Hazard::MessageLoop);
    let (mut near, mut exact) = (0, 0);
    for at in 0..2 {
        let site = Site::new(&world, at);
        let directory = site.directory(&world);
        let hop = |name: &[u8]| [&site.network, b"/".as_slice(), name].concat();
        let other: &[u8] = if at == 0 { b"MEL227TRK0" } else { b"MEL227TRK" };
        for index in 0..MESSAGES {
            let (plan, _) = scenario::plan_in(&world, &directory, index);
            let trace = &plan.sheet.trace;
            let has = |name: &[u8]| trace.iter().any(|one| one.eq_ignore_ascii_case(&hop(name)));
            let all = decide(&directory, &plan.envelope, facts(&plan), world.options.now);
            assert_eq!(has(&site.name), plan.sheet.circular);
            if has(&site.name) {
                assert!(all.iter().all(|one| one.status == "5.4.6"));
                exact += 1;
            } else if has(other) {
                assert!(all.iter().all(|one| one.outcome == Outcome::Delivered));
                near += 1;
            }
        }
    }
    assert!(near > 30 && exact > 30, "{near} {exact}");
}

#[test]
fn files_are_missing_and_damaged_in_every_way() {
    let flaws = |hazard: Hazard| -> Vec<Flaw> {
        judged(hazard).into_iter().map(|one| one.0.sheet.flaw).collect()
    };
    let missing = flaws(Hazard::MissingBody);
    for flaw in [Flaw::None, Flaw::NoP1, Flaw::NoMai, Flaw::NoFiles, Flaw::NoAtt] {
        assert!(missing.contains(&flaw), "{flaw:?}");
    }
    let damaged = flaws(Hazard::Corrupt);
    for flaw in [Flaw::Name, Flaw::NameEnd, Flaw::Noise, Flaw::Torn] {
        assert!(damaged.contains(&flaw), "{flaw:?}");
    }
    let ways = |pick: fn(&Flaw) -> bool| damaged.iter().filter(|one| pick(one)).count();
    assert!(ways(|one| matches!(one, Flaw::Mai(_))) > 50);
    assert!(ways(|one| matches!(one, Flaw::P1(_))) > 30);
    assert!(ways(|one| matches!(one, Flaw::Dates(_))) > 30);
}

#[test]
fn names_have_ten_characters_at_most_and_bytes_beyond_ascii() {
    let world = world(Hazard::Mixed);
    for at in [0, 1, 2, 37, 12_345] {
        let site = Site::new(&world, at);
        let boxes = site.mailboxes.iter().map(|one| &one.name);
        let groups = site.groups.iter().map(|one| &one.name);
        let networks = site.networks.iter().map(|one| &one.name);
        let names = boxes.chain(groups).chain(networks).chain([&site.name, &site.network]);
        for name in names {
            assert!((1..=10).contains(&name.len()), "{name:?}");
            let path = address::mailbox(&site.network, &site.name, name);
            assert!(path.is_ascii());
            let written = address::original(&path);
            assert_eq!(written, [&site.network[..], b"/", &site.name, b"/", name].concat());
        }
        assert!(site.mailboxes.iter().any(|one| !one.name.is_ascii()));
    }
    let site = Site::new(&world, 37);
    assert_eq!((&site.network[..], &site.name[..]), (&b"M\x81N3"[..], &b"OFFIC00037"[..]));
}
