//! What becomes of a message, cell by cell, through the public API: docs/outcomes.md is the
//! contract.
//!
//! Outcomes are written down as text, whole: a line says all that a disposition holds. Not here:
//! where envelopes come from, and what is made of an outcome.

use inqueue::decide::{Case, Disposition, Judge, NoReport, Outcome, Policy, Remote, Verdict};
use inqueue::directory::Directory;
use inqueue::mail::date::Time;
use inqueue::mail::envelope::{Envelope, Notify, QueueId, Recipient, ReversePath};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

const DIRECTORY: &str = "\
    good@here.example\n\
    other@here.example\n\
    sender@here.example\n\
    full@here.example full\n\
    disabled@here.example disabled\n\
    moved@here.example moved new@there.example\n\
    alias@here.example alias good@here.example full@here.example gone@here.example\n\
    twice@here.example alias alias@here.example other@here.example\n\
    circle@here.example alias round@here.example\n\
    round@here.example alias circle@here.example good@here.example\n\
    list@here.example list owner=owner@here.example good@here.example gone@here.example\n\
    bare-list@here.example list good@here.example\n\
    owner@here.example\n\
    post@here.example\n\
    sync@here.example\n\
    l1@here.example alias l2@here.example\n\
    l2@here.example alias l3@here.example\n\
    l3@here.example alias l4@here.example\n\
    l4@here.example alias l5@here.example\n\
    l5@here.example alias l6@here.example\n\
    l6@here.example alias l7@here.example\n\
    l7@here.example alias l8@here.example\n\
    l8@here.example alias l9@here.example\n\
    l9@here.example alias good@here.example\n\
    @any.example catch-all good@here.example\n\
    @relayed.example relay smtp:[mx.example]:25\n\
    @hub.example relay\n\
    system sync@here.example\n\
    postmaster post@here.example\n";

/// Sunday, 2026-03-01T00:00:00Z.
const NOW: Time = Time(1_772_323_200_000_000);
const HOUR: i64 = 3600;

/// A message, as short as a test can say it.
#[derive(Clone, Debug)]
struct Message {
    sender: ReversePath<'static>,
    recipients: Vec<Recipient<'static>>,
    header_hops: u32,
    envelope_hops: usize,
    is_report: bool,
    arrived: Time,
    expiry: Option<Time>,
    next_attempt: Option<Time>,
    attempts: u32,
}

impl Message {
    fn new(sender: &'static str, recipients: &[&'static str]) -> Self {
        Self {
            sender: ReversePath::from_path(sender.as_bytes()),
            recipients: recipients.iter().map(|path| Recipient::new(path.as_bytes())).collect(),
            header_hops: 3,
            envelope_hops: 0,
            is_report: false,
            arrived: NOW.plus_s(-HOUR),
            expiry: None,
            next_attempt: None,
            attempts: 0,
        }
    }

    /// Judges it, and hands on the verdict.
    fn judged<T>(
        &self,
        directory: &str,
        policy: Policy,
        now: Time,
        look: impl FnOnce(&Verdict<'_>) -> T,
    ) -> T {
        let directory = Directory::parse(directory.as_bytes(), "directory").unwrap();
        let mut envelope = Envelope::new(QueueId::Place { tag: 1, offset: 2 });
        envelope.arrival = Some(self.arrived);
        envelope.reverse_path = self.sender;
        envelope.attempts = self.attempts;
        envelope.next_attempt = self.next_attempt;
        envelope.expiry = self.expiry;
        envelope.hops.extend(std::iter::repeat_n(&b"mx.example"[..], self.envelope_hops));
        let case = Case {
            header_hops: self.header_hops,
            is_report: self.is_report,
            ..Case::new(&envelope, &self.recipients)
        };
        let mut verdict = Verdict::default();
        let judge = Judge { directory: &directory, policy, now };
        judge.decide(case, &mut verdict);
        look(&verdict)
    }

    /// The dispositions under the default policy, in words.
    fn outcome(&self) -> String {
        self.judged(DIRECTORY, Policy::default(), NOW, |verdict| say_all(&verdict.dispositions))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All that a disposition says but for whom it is about.
fn say_fate(d: &Disposition<'_>) -> String {
    let mut words = vec![inqueue::event::outcome_word(d.outcome).to_owned(), d.status.to_string()];
    if d.number > 0 {
        words.push(format!("[{:03}]", d.number));
    }
    if let Outcome::DeadLetter(reason) = d.outcome {
        words.push(format!("as {reason:?}"));
    }
    let named =
        [("to", d.report_to), ("by", d.route), ("of", d.owner.unwrap_or(b"")), ("for", d.detail)];
    let named = named.iter().filter(|(_, value)| !value.is_empty());
    words.extend(named.map(|(word, value)| format!("{word} {}", text(value))));
    words.join(" ")
}

pub(crate) fn say(d: &Disposition<'_>) -> String {
    let ordinal = d.ordinal.map_or_else(|| "-".to_owned(), |ordinal| ordinal.to_string());
    format!("{ordinal} {} {}", text(d.address), say_fate(d))
        .replace("@here.example", "")
        .replace(".example", "")
}

fn say_all(dispositions: &[Disposition<'_>]) -> String {
    dispositions.iter().map(say).collect::<Vec<_>>().join("; ")
}

/// The same for very many: how many have each fate, in order of the fates' words.
fn count_all(dispositions: &[Disposition<'_>]) -> String {
    let mut counts = BTreeMap::new();
    for disposition in dispositions {
        *counts.entry(say_fate(disposition)).or_insert(0_u32) += 1;
    }
    let said: Vec<String> =
        counts.iter().map(|(fate, count)| format!("{count} x {fate}")).collect();
    said.join("; ").replace("@here.example", "").replace(".example", "")
}

/// Senders x recipients. A cell has the dispositions, separated by `;`: ordinal, address (of
/// @here.example where no domain stands; `.example` is left out), outcome, status, the original's
/// number, `to` whom the report goes, `as` why there is none, `for` more about it.
const MATRIX: &str = "
valid     | good      | 0 good delivered 2.1.5
valid     | unknown   | 0 gone failed 5.1.1 [002] to sender@there
valid     | invalid   | 0 a b failed 5.1.3 to sender@there for bad local-part in address
valid     | full      | 0 full deferred 4.2.2 [017]
valid     | full, old | 0 full failed 5.2.2 [017] to sender@there
valid     | duplicate | 0 good delivered 2.1.5
          |           | 1 GOOD@Here.Example duplicate 2.1.5
valid     | none      | -  dead-letter 5.6.0 [024] as NoRecipients
valid     | 100,000   | 10000 x duplicate 2.1.5
          |           | 40000 x failed 5.1.1 [002] to sender@there
          |           | 50000 x relayed 2.0.0

null      | good      | 0 good delivered 2.1.5
null      | unknown   | 0 gone dead-letter 5.1.1 [002] as NullReversePath
null      | invalid   | 0 a b dead-letter 5.1.3 as NullReversePath for bad local-part in address
null      | full      | 0 full deferred 4.2.2 [017]
null      | full, old | 0 full dead-letter 5.2.2 [017] as NullReversePath
null      | duplicate | 0 good delivered 2.1.5
          |           | 1 GOOD@Here.Example duplicate 2.1.5
null      | none      | -  dead-letter 5.6.0 [024] as NoRecipients
null      | 100,000   | 40000 x dead-letter 5.1.1 [002] as NullReversePath
          |           | 10000 x duplicate 2.1.5
          |           | 50000 x relayed 2.0.0

invalid   | good      | 0 good delivered 2.1.5
invalid   | unknown   | 0 gone dead-letter 5.1.1 [002] as InvalidReversePath
invalid   | invalid   | 0 a b dead-letter 5.1.3 as InvalidReversePath for bad local-part in address
invalid   | full      | 0 full deferred 4.2.2 [017]
invalid   | full, old | 0 full dead-letter 5.2.2 [017] as InvalidReversePath
invalid   | duplicate | 0 good delivered 2.1.5
          |           | 1 GOOD@Here.Example duplicate 2.1.5
invalid   | none      | -  dead-letter 5.6.0 [024] as NoRecipients
invalid   | 100,000   | 40000 x dead-letter 5.1.1 [002] as InvalidReversePath
          |           | 10000 x duplicate 2.1.5
          |           | 50000 x relayed 2.0.0

unknown   | good      | 0 good delivered 2.1.5
unknown   | unknown   | 0 gone dead-letter 5.1.1 [002] as NoSuchSender
unknown   | invalid   | 0 a b dead-letter 5.1.3 as NoSuchSender for bad local-part in address
unknown   | full      | 0 full deferred 4.2.2 [017]
unknown   | full, old | 0 full dead-letter 5.2.2 [017] as NoSuchSender
unknown   | duplicate | 0 good delivered 2.1.5
          |           | 1 GOOD@Here.Example duplicate 2.1.5
unknown   | none      | -  dead-letter 5.6.0 [024] as NoRecipients
unknown   | 100,000   | 40000 x dead-letter 5.1.1 [002] as NoSuchSender
          |           | 10000 x duplicate 2.1.5
          |           | 50000 x relayed 2.0.0

looping   | good      | 0 good failed 5.4.6 [003] to sender@there
looping   | unknown   | 0 gone failed 5.4.6 [003] to sender@there
looping   | invalid   | 0 a b failed 5.4.6 [003] to sender@there
looping   | full      | 0 full failed 5.4.6 [003] to sender@there
looping   | full, old | 0 full failed 5.4.6 [003] to sender@there
looping   | duplicate | 0 good failed 5.4.6 [003] to sender@there
          |           | 1 GOOD@Here.Example failed 5.4.6 [003] to sender@there
looping   | none      | -  dead-letter 5.6.0 [024] as NoRecipients
looping   | 100,000   | 100000 x failed 5.4.6 [003] to sender@there

system    | good      | 0 good delivered 2.1.5
system    | unknown   | 0 gone failed 5.1.1 [002] to post
system    | invalid   | 0 a b failed 5.1.3 to post for bad local-part in address
system    | full      | 0 full deferred 4.2.2 [017]
system    | full, old | 0 full failed 5.2.2 [017] to post
system    | duplicate | 0 good delivered 2.1.5
          |           | 1 GOOD@Here.Example duplicate 2.1.5
system    | none      | -  dead-letter 5.6.0 [024] as NoRecipients
system    | 100,000   | 10000 x duplicate 2.1.5
          |           | 40000 x failed 5.1.1 [002] to post
          |           | 50000 x relayed 2.0.0

list      | good      | 0 good delivered 2.1.5
list      | unknown   | 0 gone failed 5.1.1 [002] to owner
list      | invalid   | 0 a b failed 5.1.3 to owner for bad local-part in address
list      | full      | 0 full deferred 4.2.2 [017]
list      | full, old | 0 full failed 5.2.2 [017] to owner
list      | duplicate | 0 good delivered 2.1.5
          |           | 1 GOOD@Here.Example duplicate 2.1.5
list      | none      | -  dead-letter 5.6.0 [024] as NoRecipients
list      | 100,000   | 10000 x duplicate 2.1.5
          |           | 40000 x failed 5.1.1 [002] to owner
          |           | 50000 x relayed 2.0.0

bare list | good      | 0 good delivered 2.1.5
bare list | unknown   | 0 gone dead-letter 5.1.1 [002] as ListSender
bare list | invalid   | 0 a b dead-letter 5.1.3 as ListSender for bad local-part in address
bare list | full      | 0 full deferred 4.2.2 [017]
bare list | full, old | 0 full dead-letter 5.2.2 [017] as ListSender
bare list | duplicate | 0 good delivered 2.1.5
          |           | 1 GOOD@Here.Example duplicate 2.1.5
bare list | none      | -  dead-letter 5.6.0 [024] as NoRecipients
bare list | 100,000   | 40000 x dead-letter 5.1.1 [002] as ListSender
          |           | 10000 x duplicate 2.1.5
          |           | 50000 x relayed 2.0.0
";

/// Each cell's message.
fn cell(sender: &str, recipients: &str) -> Message {
    let path = match sender {
        "valid" | "looping" => "sender@there.example",
        "null" => "",
        "invalid" => "sender@@there..example",
        "unknown" => "nobody@here.example",
        "system" => "sync@here.example",
        "list" => "list@here.example",
        "bare list" => "bare-list@here.example",
        other => panic!("no sender {other}"),
    };
    let to: &[&'static str] = match recipients {
        "good" => &["good@here.example"],
        "unknown" => &["gone@here.example"],
        "invalid" => &["a b@here.example"],
        "full" | "full, old" => &["full@here.example"],
        "duplicate" => &["good@here.example", "GOOD@Here.Example"],
        "none" | "100,000" => &[],
        other => panic!("no recipients {other}"),
    };
    let path: &'static str = match path {
        "sender@there.example" => "sender@there.example",
        other => other.to_owned().leak(),
    };
    let mut message = Message::new(path, to);
    if sender == "looping" {
        message.header_hops = 101;
    }
    if recipients == "full, old" {
        message.arrived = NOW.plus_s(-5 * 24 * HOUR);
    }
    if recipients == "100,000" {
        message.recipients = (0..100_000).map(|i| Recipient::new(many(i))).collect();
    }
    message
}

/// Recipients of which every other is good, and every tenth is the one before it again.
fn many(index: u32) -> &'static [u8] {
    let index = if index % 10 == 9 { index - 1 } else { index };
    let domain = if index % 2 == 0 { "hub.example" } else { "here.example" };
    format!("u{index}@{domain}").leak().as_bytes()
}

/// The cells of a table: its first columns, and the last with its further lines.
fn cells(table: &'static str) -> Vec<(&'static str, &'static str, String)> {
    let mut out: Vec<(&str, &str, String)> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty()) {
        let [first, second, third] =
            line.splitn(3, '|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
        match out.last_mut() {
            Some(last) if first.is_empty() && second.is_empty() => {
                last.2.push_str("; ");
                last.2.push_str(third);
            }
            _ => out.push((first, second, third.to_owned())),
        }
    }
    out
}

const SENDERS: [&str; 8] =
    ["valid", "null", "invalid", "unknown", "looping", "system", "list", "bare list"];
const RECIPIENTS: [&str; 8] =
    ["good", "unknown", "invalid", "full", "full, old", "duplicate", "none", "100,000"];

#[test]
fn each_sender_with_each_recipient() {
    let cells = cells(MATRIX);
    let named: Vec<_> =
        cells.iter().map(|(sender, recipients, _)| (*sender, *recipients)).collect();
    let all: Vec<_> = SENDERS.iter().flat_map(|s| RECIPIENTS.map(|r| (*s, r))).collect();
    assert_eq!(named, all, "the table has each cell");
    for (sender, recipients, expect) in cells {
        let message = cell(sender, recipients);
        message.judged(DIRECTORY, Policy::default(), NOW, |verdict| {
            let many = recipients == "100,000";
            let say = if many { count_all } else { say_all };
            assert_eq!(say(&verdict.dispositions), expect, "{sender} | {recipients}");
            let ordinals: Vec<_> = verdict.dispositions.iter().map(|d| d.ordinal).collect();
            if recipients == "none" {
                assert_eq!(ordinals, [None]);
                assert_eq!((verdict.attempts, verdict.next_attempt), (0, None));
                return;
            }
            let each: Vec<_> =
                (0..u32::try_from(message.recipients.len()).unwrap()).map(Some).collect();
            assert_eq!(ordinals, each, "{sender} | {recipients}");
            for (disposition, recipient) in verdict.dispositions.iter().zip(&message.recipients) {
                assert_eq!(disposition.address, recipient.forward_path);
            }
            let expiry = message.arrived.plus_s(5 * 24 * HOUR);
            let next = NOW.plus_s(HOUR / 2).min(expiry);
            assert_eq!((verdict.attempts, verdict.next_attempt), (1, Some(next)));
            assert_eq!(verdict.expiry, Some(expiry));
        });
    }
}

#[test]
fn good_recipients_are_served_whatever_the_others_are() {
    for sender in SENDERS.into_iter().filter(|sender| *sender != "looping") {
        for recipients in ["unknown", "invalid", "full", "full, old"] {
            let mut message = cell(sender, recipients);
            let alone = message.outcome();
            let good = |path: &'static str| Recipient::new(path.as_bytes());
            message.recipients.insert(0, good("good@here.example"));
            message.recipients.push(good("x@hub.example"));
            message.recipients.push(good("other@here.example"));
            let bad = alone.strip_prefix('0').unwrap();
            assert_eq!(
                message.outcome(),
                format!(
                    "0 good delivered 2.1.5; 1{bad}; 2 x@hub relayed 2.0.0; \
                     3 other delivered 2.1.5"
                ),
                "{sender} | {recipients}"
            );
        }
    }
}

/// One recipient each, from sender@there.example: the rules row by row.
const ROWS: &str = "
mailbox        | good@here.example | 0 good delivered 2.1.5
bracketed|<good@here.example>| 0 <good> failed 5.1.3 to sender@there for bad local-part in address
in other case  | GOOD@HERE.example | 0 GOOD@HERE delivered 2.1.5
with a route   | @a.example:good@here.example | 0 @a:good delivered 2.1.5
disabled       | disabled@here.example | 0 disabled failed 5.2.1 to sender@there
moved          | moved@here.example | 0 moved failed 5.1.6 to sender@there for new@there
alias          | alias@here.example | 0 alias expanded 2.1.5
               |                   | 0 good delivered 2.1.5
               |                   | 0 full deferred 4.2.2 [017]
               |                   | 0 gone failed 5.1.1 [002] to sender@there
alias of alias | twice@here.example | 0 twice expanded 2.1.5
               |                   | 0 alias expanded 2.1.5
               |                   | 0 good delivered 2.1.5
               |                   | 0 full deferred 4.2.2 [017]
               |                   | 0 gone failed 5.1.1 [002] to sender@there
               |                   | 0 other delivered 2.1.5
list           | list@here.example | 0 list expanded 2.1.5
               |                   | 0 good delivered 2.1.5 of owner
               |                   | 0 gone failed 5.1.1 [002] to owner of owner
ownerless list | bare-list@here.example | 0 bare-list expanded 2.1.5
               |                   | 0 good delivered 2.1.5
catch-all      | who@any.example   | 0 who@any expanded 2.1.5
               |                   | 0 good delivered 2.1.5
postmaster     | PostMaster        | 0 PostMaster expanded 2.1.5
               |                   | 0 post delivered 2.1.5
circle         | circle@here.example | 0 circle expanded 2.1.5
               |                   | 0 round expanded 2.1.5
               |                   | 0 circle duplicate 2.1.5
               |                   | 0 good delivered 2.1.5
relayed        | who@relayed.example | 0 who@relayed relayed 2.0.0 by smtp:[mx]:25
relayed itself | who@hub.example   | 0 who@hub relayed 2.0.0
remote         | who@there.example | 0 who@there relayed 2.0.0
empty          |                   | 0  failed 5.1.3 to sender@there for empty address
bare       | good          | 0 good failed 5.1.3 to sender@there for address without a domain
bad domain     | a@b..example      | 0 a@b. failed 5.1.3 to sender@there for bad domain in address
eight levels   | l2@here.example   | 0 l2 expanded 2.1.5
               |                   | 0 l3 expanded 2.1.5
               |                   | 0 l4 expanded 2.1.5
               |                   | 0 l5 expanded 2.1.5
               |                   | 0 l6 expanded 2.1.5
               |                   | 0 l7 expanded 2.1.5
               |                   | 0 l8 expanded 2.1.5
               |                   | 0 l9 expanded 2.1.5
               |                   | 0 good delivered 2.1.5
nine levels    | l1@here.example   | 0 l1 expanded 2.1.5
               |                   | 0 l2 expanded 2.1.5
               |                   | 0 l3 expanded 2.1.5
               |                   | 0 l4 expanded 2.1.5
               |                   | 0 l5 expanded 2.1.5
               |                   | 0 l6 expanded 2.1.5
               |                   | 0 l7 expanded 2.1.5
               |                   | 0 l8 expanded 2.1.5
               |                   | 0 l9 failed 5.4.6 [003] to sender@there
";

#[test]
fn each_rule_for_a_recipient() {
    for (name, path, expect) in cells(ROWS) {
        assert_eq!(Message::new("sender@there.example", &[path]).outcome(), expect, "{name}");
    }
}

#[test]
fn the_limits_of_rfc_5321_are_5_1_3() {
    let of = |local: usize, domain: usize| {
        let domain: String = "abcdefghi.".chars().cycle().take(domain - 1).chain(['z']).collect();
        let path: &'static str = format!("{}@{domain}", "x".repeat(local)).leak();
        let message = Message::new("sender@there.example", &[path]);
        message.judged(DIRECTORY, Policy::default(), NOW, |v| say_fate(&v.dispositions[0]))
    };
    let failed = "failed 5.1.3 to sender@there.example for address too long";
    assert_eq!(of(64, 100), "relayed 2.0.0");
    assert_eq!(of(65, 100), failed);
    assert_eq!(of(64, 189), "relayed 2.0.0");
    assert_eq!(of(64, 190), failed);
    assert_eq!(of(1, 252), "relayed 2.0.0");
    assert_eq!(of(1, 256), failed);
    assert_eq!(of(100_000, 100_000), failed);
}

#[test]
fn without_postmaster_systems_and_bare_postmaster_have_nobody() {
    let directory = "good@here.example\nsystem sync@there.example\n";
    let judged = |sender: &'static str, path: &'static str| {
        let message = Message::new(sender, &[path]);
        message.judged(directory, Policy::default(), NOW, |v| say_all(&v.dispositions))
    };
    assert_eq!(
        judged("sync@there.example", "gone@here.example"),
        "0 gone dead-letter 5.1.1 [002] as SystemSender"
    );
    assert_eq!(
        judged("good@here.example", "postmaster"),
        "0 postmaster failed 5.1.1 [002] to good"
    );
}

#[test]
fn remote_fail_refuses_what_the_directory_does_not_name() {
    let message = Message::new(
        "sender@there.example",
        &["a@there.example", "b@hub.example", "good@here.example"],
    );
    let policy = Policy { remote: Remote::Fail, ..Policy::default() };
    let got = message.judged(DIRECTORY, policy, NOW, |v| say_all(&v.dispositions));
    assert_eq!(
        got,
        "0 a@there failed 5.1.2 to sender@there; \
         1 b@hub relayed 2.0.0; 2 good delivered 2.1.5"
    );
}

#[test]
fn a_report_is_made_for_nobody_who_must_not_have_one() {
    let gone = ["gone@here.example"];
    let mut report = Message::new("sender@there.example", &gone);
    report.is_report = true;
    assert_eq!(report.outcome(), "0 gone dead-letter 5.1.1 [002] as IsReport");
    report.recipients = vec![Recipient::new(b"list@here.example")];
    assert_eq!(
        report.outcome(),
        "0 list expanded 2.1.5; 0 good delivered 2.1.5 of owner; \
         0 gone dead-letter 5.1.1 [002] as IsReport of owner"
    );
    let unreachable = [
        ("", "NullReversePath"),
        ("a b@there.example", "InvalidReversePath"),
        ("nobody@here.example", "NoSuchSender"),
        ("disabled@here.example", "NoSuchSender"),
        ("moved@here.example", "NoSuchSender"),
        ("bare-list@here.example", "ListSender"),
    ];
    for (sender, reason) in unreachable {
        let expect = format!("0 gone dead-letter 5.1.1 [002] as {reason}");
        assert_eq!(Message::new(sender, &gone).outcome(), expect, "{sender}");
    }
    let mut unknown = Message::new("", &gone);
    unknown.sender = ReversePath::Unknown;
    assert_eq!(unknown.outcome(), "0 gone dead-letter 5.1.1 [002] as UnknownReversePath");
    for sender in ["full@here.example", "alias@here.example", "any@any.example"] {
        let expect = format!(
            "0 gone failed 5.1.1 [002] to {}",
            sender.replace("@here.example", "").replace(".example", "")
        );
        assert_eq!(Message::new(sender, &gone).outcome(), expect, "{sender}");
    }
}

#[test]
fn notify_decides_whether_a_failure_is_reported() {
    for set in 0..=15_u8 {
        let mut message = Message::new("sender@there.example", &["gone@here.example"]);
        message.recipients[0].notify = Some(Notify(set));
        let wanted = set & Notify::FAILURE != 0 && set & Notify::NEVER == 0;
        let expect = if wanted {
            "0 gone failed 5.1.1 [002] to sender@there"
        } else {
            "0 gone dead-letter 5.1.1 [002] as NotRequested"
        };
        assert_eq!(message.outcome(), expect, "{set}");
    }
    let mut alias = Message::new("sender@there.example", &["alias@here.example"]);
    alias.recipients[0].notify = Some(Notify(Notify::NEVER));
    assert_eq!(
        alias.outcome(),
        "0 alias expanded 2.1.5; 0 good delivered 2.1.5; 0 full deferred 4.2.2 [017]; \
         0 gone dead-letter 5.1.1 [002] as NotRequested"
    );
}

#[test]
fn hops_are_those_of_header_and_envelope_together() {
    let judged = |header_hops, envelope_hops, hops_max| {
        let mut message = Message::new("sender@there.example", &["good@here.example"]);
        (message.header_hops, message.envelope_hops) = (header_hops, envelope_hops);
        let policy = Policy { hops_max, ..Policy::default() };
        message.judged(DIRECTORY, policy, NOW, |v| say_all(&v.dispositions))
    };
    let looping = "0 good failed 5.4.6 [003] to sender@there";
    assert_eq!(judged(100, 0, 100), "0 good delivered 2.1.5");
    assert_eq!(judged(60, 40, 100), "0 good delivered 2.1.5");
    assert_eq!(judged(101, 0, 100), looping);
    assert_eq!(judged(60, 41, 100), looping);
    assert_eq!(judged(0, 101, 100), looping);
    assert_eq!(judged(3, 0, 2), looping);
    assert_eq!(judged(u32::MAX, 5, 100), looping);
}

#[test]
fn a_full_mailbox_is_tried_at_longer_and_longer_waits_until_it_has_failed() {
    let mut message = Message::new("sender@there.example", &["full@here.example"]);
    message.arrived = NOW;
    let (mut now, mut waits, mut last) = (NOW, Vec::new(), String::new());
    for attempt in 1..100 {
        let (said, next, attempts) = message.judged(DIRECTORY, Policy::default(), now, |verdict| {
            let said = say_all(&verdict.dispositions);
            assert_eq!(verdict.expiry, Some(NOW.plus_s(120 * HOUR)));
            (said, verdict.next_attempt.unwrap(), verdict.attempts)
        });
        assert_eq!(attempts, attempt);
        last = said;
        if !last.contains("deferred") {
            break;
        }
        assert_eq!(last, "0 full deferred 4.2.2 [017]");
        waits.push((next.0 - now.0) / 60_000_000);
        (message.attempts, message.next_attempt, now) = (attempts, Some(next), next);
    }
    let mut expect = vec![30, 60, 120, 240];
    expect.extend([480; 14]);
    // 120 hours after its arrival it is over, whatever the wait would be.
    expect.push(120 * 60 - expect.iter().sum::<i64>());
    assert_eq!(waits, expect);
    assert_eq!(last, "0 full failed 5.2.2 [017] to sender@there");
}

#[test]
fn the_envelope_s_expiry_counts_before_the_lifetime() {
    let mut message = Message::new("sender@there.example", &["full@here.example"]);
    message.expiry = Some(NOW.plus_s(60));
    assert_eq!(message.outcome(), "0 full deferred 4.2.2 [017]");
    let next = message.judged(DIRECTORY, Policy::default(), NOW, |v| v.next_attempt);
    assert_eq!(next, Some(NOW.plus_s(60)));
    message.expiry = Some(NOW);
    assert_eq!(message.outcome(), "0 full failed 5.2.2 [017] to sender@there");
}

#[test]
fn what_is_not_due_stays_as_it_is() {
    let paths = ["good@here.example", "a b", "gone@here.example"];
    let mut message = Message::new("", &paths);
    message.recipients[2].done = true;
    message.header_hops = 1000;
    message.next_attempt = Some(NOW.plus_s(1));
    message.attempts = 7;
    message.judged(DIRECTORY, Policy::default(), NOW, |verdict| {
        let expect = "0 good deferred 4.0.0; 1 a b deferred 4.0.0";
        assert_eq!(say_all(&verdict.dispositions), expect);
        assert_eq!((verdict.attempts, verdict.next_attempt), (7, message.next_attempt));
    });
    message.next_attempt = Some(NOW);
    assert!(!message.outcome().contains("deferred"), "at its time it is due");
    message.recipients.clear();
    message.next_attempt = Some(NOW.plus_s(1));
    let nobody = "-  dead-letter 5.6.0 [024] as NoRecipients";
    assert_eq!(message.outcome(), nobody, "without recipients nothing is waited for");
}

#[test]
fn who_is_done_is_passed_over() {
    let paths = ["good@here.example", "good@here.example", "gone@here.example"];
    let mut message = Message::new("", &paths);
    message.recipients[0].done = true;
    message.recipients[2].done = true;
    assert_eq!(message.outcome(), "1 good delivered 2.1.5");
    message.recipients[1].done = true;
    assert_eq!(message.outcome(), "");
}

/// Mailboxes are looked up in another way once there are more than a few: whatever stands where the
/// way changes, each is served once.
#[test]
fn a_mailbox_is_served_once_wherever_it_comes_again() {
    for bad in ["a b", "good@here.example", "gone@here.example"] {
        for at in 12..22 {
            let mut paths: Vec<&'static str> =
                (0..40).map(|i| &*format!("u{i}@hub.example").leak()).collect();
            paths[0] = "good@here.example";
            paths.insert(at, bad);
            let again = paths.clone();
            paths.extend(again);
            let message = Message::new("sender@there.example", &paths);
            message.judged(DIRECTORY, Policy::default(), NOW, |verdict| {
                let outcomes: Vec<_> = verdict.dispositions.iter().map(|d| d.outcome).collect();
                let (first, second) = outcomes.split_at(41);
                let unparsable = usize::from(bad == "a b");
                let repeated = usize::from(bad == "good@here.example");
                let count = |list: &[Outcome]| {
                    list.iter().filter(|outcome| **outcome == Outcome::Duplicate).count()
                };
                assert_eq!(count(first), repeated, "{bad} at {at}");
                assert_eq!(count(second), 41 - unparsable, "{bad} at {at}");
            });
        }
    }
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    let known = DIRECTORY.split_whitespace().filter(|word| word.contains('@'));
    let known: Vec<Vec<u8>> = known.map(|word| word.as_bytes().to_vec()).collect();
    prop_oneof![
        4 => proptest::sample::select(known.clone()),
        1 => proptest::sample::select(known).prop_map(|path| path.to_ascii_uppercase()),
        2 => "[a-d]@(here|there|hub|any)\\.example".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any bytes, any numbers: each pending recipient has a disposition, nobody is served twice.
    #[test]
    fn no_message_is_without_an_outcome(
        sender in proptest::option::of(paths()),
        recipients in proptest::collection::vec((paths(), any::<bool>(), 0..32_u8), 0..60),
        (header_hops, is_report) in (0..120_u32, any::<bool>()),
        (attempts, now) in (any::<u32>(), any::<i64>()),
        arrival in proptest::option::of(any::<i64>()),
        expiry in proptest::option::of(any::<i64>()),
        next in proptest::option::weighted(0.2, any::<i64>()),
    ) {
        let directory = Directory::parse(DIRECTORY.as_bytes(), "directory").unwrap();
        let recipients: Vec<Recipient<'_>> = recipients
            .iter()
            .map(|(path, often, notify)| Recipient {
                notify: (*notify < 16).then_some(Notify(*notify)),
                done: *often && *notify % 4 == 0,
                ..Recipient::new(path)
            })
            .collect();
        let mut envelope = Envelope::new(QueueId::Given(b"x"));
        if let Some(sender) = &sender {
            envelope.reverse_path = ReversePath::from_path(sender);
        }
        envelope.attempts = attempts;
        (envelope.arrival, envelope.expiry) = (arrival.map(Time), expiry.map(Time));
        envelope.next_attempt = next.map(Time);
        let judge = Judge { directory: &directory, policy: Policy::default(), now: Time(now) };
        let mut verdict = Verdict::default();
        let case = Case { header_hops, is_report, ..Case::new(&envelope, &recipients) };
        judge.decide(case, &mut verdict);

        let ordinals: Vec<_> = verdict.dispositions.iter().map(|d| d.ordinal).collect();
        prop_assert!(ordinals.is_sorted());
        let judged: HashSet<_> = ordinals.into_iter().collect();
        let mut pending: HashSet<_> =
            (0..).zip(&recipients).filter(|(_, r)| !r.done).map(|(i, _)| Some(i)).collect();
        if recipients.is_empty() {
            pending.insert(None);
        }
        prop_assert_eq!(judged, pending);

        let mut served = HashSet::new();
        for d in &verdict.dispositions {
            if let Some(mailbox) = d.mailbox.filter(|_| d.outcome != Outcome::Duplicate) {
                let name = [mailbox.local_part, b"@", mailbox.domain].concat().to_ascii_lowercase();
                prop_assert!(served.insert(name), "served twice: {}", say(d));
            }
            let wanted = d.ordinal.and_then(|i| recipients[i as usize].notify);
            match d.outcome {
                Outcome::Failed => {
                    prop_assert!(!is_report && !d.report_to.is_empty());
                    prop_assert!(wanted.is_none_or(Notify::allows_failure));
                    prop_assert_eq!(d.status.class, 5);
                }
                Outcome::DeadLetter(reason) => {
                    prop_assert_eq!(d.status.class, 5);
                    prop_assert!(reason != NoReport::NotRequested || wanted.is_some());
                }
                Outcome::Deferred => {
                    prop_assert_eq!(d.status.class, 4);
                    prop_assert!(verdict.next_attempt.is_some_and(|next| next >= Time(now)));
                }
                _ => prop_assert_eq!(d.status.class, 2),
            }
        }

        // The same memory, used again, gives the same.
        let first = say_all(&verdict.dispositions);
        judge.decide(case, &mut verdict);
        prop_assert_eq!(say_all(&verdict.dispositions), first);
    }
}
