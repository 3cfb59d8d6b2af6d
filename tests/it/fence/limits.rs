//! How far the guard goes: deaths that no message is guilty of, or that none can be kept from.
//!
//! What is injected, and cured from outside, is in `src/engine/inject.rs`.

use super::injected::Mail;
use crate::support::{assert_same_streams, audit, events, messages, streams, text, told_by_writes};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

/// A run, in a program that is asked for faults by its environment.
fn run(mail: &Mail, faults: &str, out: &str, options: &[&str]) -> Output {
    mail.command(out, options).env("INQUEUE_FAULTS", faults).output().unwrap()
}

/// The code that a run ends with, and what it says of itself.
fn said(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What is held of each message that was in hand at a death, step by step.
fn verdicts(mail: &Mail, out: &str) -> BTreeMap<(u64, u64), Vec<String>> {
    let mut all: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in fs::read_to_string(mail.out(out).join("charges")).unwrap_or_default().lines() {
        let charge: Value = serde_json::from_str(&line[9..]).unwrap();
        let message = (charge["part"].as_u64().unwrap(), charge["index"].as_u64().unwrap());
        let verdict = charge["verdict"].as_str().unwrap().to_owned();
        all.entry(message).or_default().push(verdict);
    }
    all
}

/// Nothing is lost or doubled, and this is what is left.
fn assert_proven(mail: &Mail, out: &str, uncommitted: u64) {
    let report = audit(&mail.out(out), None);
    let found = ["lost", "doubled", "wrong", "parts_uncommitted"].map(|k| report[k].as_u64());
    assert_eq!(found, [0, 0, 0, uncommitted].map(Some), "{report:#}");
}

/// 40 messages, of which one has a marker; parts of four, more or less.
const SIZE: [&str; 2] = ["--part-size", "800"];

fn one_of_40(marker: &str) -> Mail {
    let marker: &'static str = marker.to_owned().leak();
    Mail::new(&(0..40).map(|number| (number == 17).then_some(marker)).collect::<Vec<_>>())
}

/// The run ends with exit code 1 and one part undone, that of the message with the marker; all
/// others are as in a run without faults. The same a second time; after the cure, the same bytes.
fn costs_its_part(marker: &str, deaths: u64, verdicts_of_one: &[&str]) {
    costs_its_part_of(|| one_of_40(marker), deaths, verdicts_of_one);
}

fn costs_its_part_of(mail: impl Fn() -> Mail, deaths: u64, verdicts_of_one: &[&str]) {
    for workers in ["1", "3"] {
        let mail = mail();
        let options = [&SIZE[..], &["--workers", workers]].concat();
        assert_eq!(said(&run(&mail, "off", "whole", &options), 0)["counts"]["delivered"], 40);
        for time in 1..=2 {
            let output = mail.run("run", &options);
            let said = said(&output, 1);
            let parts = said["parts"].as_u64().unwrap();
            assert_eq!((&said["finished"], &said["deaths"]), (&json!(false), &json!(deaths)));
            assert_eq!(said["parts_committed"], parts - 1, "{}", text(&output.stderr));
            let verdicts = verdicts(&mail, "run");
            let is_one = |verdicts: &Vec<String>| verdicts.iter().any(|v| v == "given-up");
            let (given_up, others): (Vec<_>, Vec<_>) =
                verdicts.into_iter().partition(|(_, verdicts)| is_one(verdicts));
            let [((part, index), held)] = given_up.as_slice() else { panic!("{given_up:?}") };
            assert_eq!(*held, verdicts_of_one.repeat(time));
            let innocent = |verdicts: &Vec<String>| !verdicts.iter().any(|v| v == "convicted");
            assert!(others.iter().all(|(_, verdicts)| innocent(verdicts)), "{others:?}");
            let told = text(&output.stderr);
            let end = format!(
                "inqueue: part {part} is not done: the engine died of SIGSEGV at message {index} of"
            );
            assert!(told.starts_with(&end) && told.contains("run it again to go on"), "{told}");
            // What of the part is half written is waste, until it is done.
            let name = format!("/{part:05}.");
            let of_others = |out: &str| {
                let mut files = streams(&mail.out(out));
                files.retain(|file, _| !file.contains(&name));
                files
            };
            assert_eq!(of_others("run"), of_others("whole"));
            assert_proven(&mail, "run", 1);
        }
        said(&run(&mail, "off", "run", &options), 0);
        assert_same_streams(&mail.out("whole"), &mail.out("run"));
        assert_proven(&mail, "run", 0);
    }
}

/// A message is in hand at every death, and harms nobody where it is tried alone: after five deaths
/// its part is done with nothing beside it, and given up at the sixth.
#[test]
fn a_suspect_that_harms_nobody_alone_costs_its_part() {
    let acquitted = ["charged", "acquitted"].repeat(5);
    costs_its_part("segv@engine:decide", 6, &[&acquitted[..], &["given-up"]].concat());
}

/// A message that takes long, while others beside it kill one process after the other, keeps its
/// part: deaths that somebody is convicted of aren't counted against it. Where they are killed by
/// what they do themselves, which their thread tells, it isn't even charged.
#[test]
fn a_slow_message_beside_many_culprits_is_not_suspected() {
    // Culprits strike in the engine and alone, those that are killed three times; the slow one
    // waits until all have.
    for (slow, culprit) in [("none+60:decide", "segv:decide"), ("none+120:decide", "kill:decide")] {
        let of = |number| match number {
            0 => Some(slow),
            _ => (number % 4 == 2).then_some(culprit),
        };
        let mail = Mail::new(&(0..120).map(of).collect::<Vec<_>>());
        let said = said(&mail.run("run", &[&SIZE[..], &["--workers", "2"]].concat()), 3);
        assert_eq!((&said["finished"], &said["counts"]["quarantined"]), (&json!(true), &json!(30)));
        assert_eq!(said["counts"]["delivered"], 90);
        let held: Vec<_> = verdicts(&mail, "run").into_values().collect();
        let (convicted, others): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|held| held.iter().any(|verdict| verdict == "convicted"));
        assert_eq!(convicted.len(), 30);
        assert!(!others.iter().flatten().any(|verdict| verdict == "given-up"), "{others:?}");
        if culprit.starts_with("segv") {
            assert!(
                convicted.iter().all(|held| *held == ["charged", "convicted"]),
                "{convicted:?}"
            );
            assert!(others.is_empty(), "{others:?}");
        }
        assert_proven(&mail, "run", 0);
    }
}

/// A run that fails says why in lines that are each written at once.
#[test]
fn each_error_of_a_failed_run_is_one_write() {
    let mail = one_of_40("segv:frame");
    let told = told_by_writes(&mut mail.command("run", &SIZE));
    let [given_up, stopped] = told.as_slice() else { panic!("{told:?}") };
    for line in [given_up, stopped] {
        assert!(line.starts_with("inqueue: ") && line.find('\n') == Some(line.len() - 1));
    }
    assert!(given_up.contains("--part ") && stopped.contains("run it again to go on"), "{told:?}");
}

/// Framing can't be kept from a message: the first death that it is found guilty of is enough.
#[test]
fn a_death_in_framing_costs_the_part() {
    costs_its_part("segv:frame", 1, &["charged", "given-up"]);
}

/// Whoever is tried alone writes nothing: a death in writing is met again and again, as one that
/// harms nobody alone.
#[test]
fn a_death_in_writing_costs_the_part() {
    let acquitted = ["charged", "acquitted"].repeat(5);
    costs_its_part("segv:write", 6, &[&acquitted[..], &["given-up"]].concat());
}

/// A message takes so long that it is in hand at each death by another, which is never convicted:
/// done with nothing beside it, its part is well.
#[test]
fn a_neighbour_in_hand_at_each_death_that_nobody_is_convicted_of_keeps_its_part() {
    let markers = |number| match number {
        0 | 1 => Some("slow:decide"),
        17 => Some("segv:write"),
        _ => None,
    };
    let mail = || Mail::new(&(0..40).map(markers).collect::<Vec<_>>());
    let acquitted = ["charged", "acquitted"].repeat(5);
    costs_its_part_of(mail, 6, &[&acquitted[..], &["given-up"]].concat());
}

/// An engine that dies at once, whatever it is given: the run says so and ends, without a charge.
#[test]
fn an_engine_that_dies_with_nothing_in_hand_ends_the_run() {
    let mail = Mail::new(&[None; 40]);
    said(&mail.run("whole", &SIZE), 0);
    for (kind, end) in [("segv", "died of SIGSEGV"), ("kill", "died of SIGKILL")] {
        let output = run(&mail, &format!("{kind}:engine"), kind, &SIZE);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
        let told = format!("inqueue: the engine {end}, again and again, with no message in hand\n");
        assert_eq!(text(&output.stderr), told);
        assert_eq!(fs::read(mail.out(kind).join("commits")).unwrap(), b"");
        assert!(verdicts(&mail, kind).is_empty());
        said(&mail.run(kind, &SIZE), 0);
        assert_same_streams(&mail.out("whole"), &mail.out(kind));
        assert_proven(&mail, kind, 0);
    }
}

/// A trial that dies with nothing in hand says nothing of its message, but at the third time: then
/// the message's part is given up.
#[test]
fn trials_that_die_with_nothing_in_hand_convict_nobody() {
    for (trials, code) in [("abort*2:trial", 3), ("abort*3:trial", 1)] {
        let mail = one_of_40("segv:decide");
        said(&mail.run("whole", &SIZE), 3);
        let said_first = said(&run(&mail, trials, "run", &SIZE), code);
        assert_eq!(said_first["deaths"], 1);
        let held: Vec<_> = verdicts(&mail, "run").into_values().collect();
        let last = if code == 3 { "convicted" } else { "given-up" };
        assert_eq!(held, [["charged", last]]);
        assert_proven(&mail, "run", u64::from(code == 1));
        said(&mail.run("run", &SIZE), 3);
        assert_same_streams(&mail.out("whole"), &mail.out("run"));
        assert_proven(&mail, "run", 0);
    }
}

/// The two runs are the same, but for what the struck message's fault is called.
fn assert_as_if_it_panicked(mail: &Mail, panicked: &str, died: &str) {
    let (panicked, died) = (mail.out(panicked), mail.out(died));
    let (mut one, mut other) = (streams(&panicked), streams(&died));
    // There the fault is told; all other streams are the same to the byte.
    let tells = |name: &String| name.starts_with("quarantine/") || name.starts_with("events/");
    one.retain(|name, _| !tells(name));
    other.retain(|name, _| !tells(name));
    assert_eq!(one, other);
    let contents = |run| messages(run, "quarantine").into_iter().map(|read| read.content);
    assert_eq!(contents(&panicked).collect::<Vec<_>>(), contents(&died).collect::<Vec<_>>());
    let told = |run| {
        let mut events = events(run);
        for event in &mut events {
            let event = event.as_object_mut().unwrap();
            event.retain(|member, _| !["fault", "place", "reason"].contains(&member.as_str()));
            // 10003 tells the panic's file and line.
            if event["number"] == 10003 {
                event.retain(|member, _| !["file", "line"].contains(&member.as_str()));
            }
        }
        events
    };
    assert_eq!(told(&panicked), told(&died));
}

/// A message whose process is killed, as the system does where memory is short, is convicted when
/// that has happened three times with it alone; fewer times say nothing of it.
#[test]
fn three_kills_of_one_tried_alone_convict_it_and_fewer_do_not() {
    // The first is the engine's.
    let alone = [&SIZE[..], &["--workers", "1"]].concat();
    for kills in ["kill*1", "kill*2", "kill*3"] {
        let mail = one_of_40(&format!("{kills}:parse"));
        said(&run(&mail, "off", "whole", &SIZE), 0);
        let said = said(&mail.run("run", &alone), 0);
        assert_eq!((&said["deaths"], &said["counts"]["delivered"]), (&json!(1), &json!(40)));
        assert!(verdicts(&mail, "run").values().all(|held| *held == ["charged", "acquitted"]));
        assert_same_streams(&mail.out("whole"), &mail.out("run"));
        assert_proven(&mail, "run", 0);
    }
    for (kills, options) in [("kill*4", &alone[..]), ("kill", &SIZE)] {
        let mail = one_of_40(&format!("{kills}:parse"));
        said(&run(&mail, "panic", "panicked", &SIZE), 3);
        let said = said(&mail.run("run", options), 3);
        assert_eq!((&said["deaths"], &said["counts"]["quarantined"]), (&json!(1), &json!(1)));
        let held: Vec<_> = verdicts(&mail, "run").into_values().collect();
        let convicted = held.iter().filter(|held| **held == ["charged", "convicted"]).count();
        let acquitted = held.iter().filter(|held| **held == ["charged", "acquitted"]).count();
        assert_eq!((convicted, acquitted), (1, held.len() - 1), "{held:?}");
        assert_as_if_it_panicked(&mail, "panicked", "run");
        let told = events(&mail.out("run"));
        let told = told.iter().find(|event| event["number"] == 2380).unwrap();
        assert_eq!(told["fault"], "died of SIGKILL");
        assert_proven(&mail, "run", 0);
    }
}

/// Each stage that has a fence, with recipients that are there and such that aren't.
#[test]
fn a_death_is_as_a_panic_to_the_byte() {
    for stage in ["parse", "decide", "render", "ndr", "event"] {
        for to in ["good@", "nobody@"] {
            let mail = one_of_40(&format!("abort:{stage}"));
            let queue = fs::read_to_string(mail.out("queue.mbox")).unwrap();
            fs::write(mail.out("queue.mbox"), queue.replace("good@here", &format!("{to}here")))
                .unwrap();
            let is_struck = stage != "ndr" || to == "nobody@";
            let code = if is_struck { 3 } else { 0 };
            said(&run(&mail, "panic", "panicked", &SIZE), code);
            let said = said(&mail.run("run", &SIZE), code);
            assert_eq!(said["deaths"], u64::from(is_struck), "{stage} {to}");
            assert_eq!(said["counts"]["faults"], u64::from(is_struck), "{stage} {to}");
            assert_as_if_it_panicked(&mail, "panicked", "run");
        }
    }
}

/// What is too deep for the stack of a worker, and wouldn't be for that of a process's first
/// thread, is met where it is tried alone too.
#[test]
fn a_stack_that_only_a_worker_overflows_convicts() {
    let mail = one_of_40("deep:decide");
    said(&run(&mail, "panic", "panicked", &SIZE), 3);
    let said = said(&mail.run("run", &SIZE), 3);
    assert_eq!((&said["deaths"], &said["counts"]["quarantined"]), (&json!(1), &json!(1)));
    assert_as_if_it_panicked(&mail, "panicked", "run");
    assert_proven(&mail, "run", 0);
}

/// A report that can't be made, and then an event that can't be told: the message is convicted of
/// both, and has what a message has that panics at both.
#[test]
fn a_message_that_kills_at_two_stages_is_kept_from_both() {
    for marker in ["segv:ndr,event", "hang:event,ndr"] {
        let mail = one_of_40(marker);
        let queue = fs::read_to_string(mail.out("queue.mbox")).unwrap();
        fs::write(mail.out("queue.mbox"), queue.replace("good@here", "nobody@here")).unwrap();
        said(&run(&mail, "panic", "panicked", &SIZE), 3);
        let options = [&SIZE[..], &["--message-timeout", "1s"]].concat();
        let said = said(&mail.run("run", &options), 3);
        assert_eq!(
            (&said["deaths"], &said["counts"]["faults"]),
            (&json!(2), &json!(2)),
            "{marker}"
        );
        let held: Vec<_> = verdicts(&mail, "run").into_values().flatten().collect();
        assert_eq!(held.iter().filter(|verdict| *verdict == "convicted").count(), 2, "{held:?}");
        assert_as_if_it_panicked(&mail, "panicked", "run");
        assert_proven(&mail, "run", 0);
    }
}

/// Two that kill, in hand at the same death, and beside them one that is slow: the first of the two
/// is convicted of this death, the other of its next, and the third is served.
#[test]
fn two_culprits_in_hand_at_once_are_convicted_and_their_neighbour_is_not() {
    let markers = ["segv+3:decide", "hang*1@engine+3:parse", "abort+3:render"];
    for order in [[0, 1, 2], [1, 0, 2], [2, 0, 1]] {
        let at = |number: usize| match number {
            7 => Some(markers[order[0]]),
            17 => Some(markers[order[1]]),
            27 => Some(markers[order[2]]),
            _ => None,
        };
        let mail = Mail::new(&(0..40).map(at).collect::<Vec<_>>());
        let options = [&SIZE[..], &["--workers", "3", "--message-timeout", "10m"]].concat();
        let said = said(&mail.run("run", &options), 3);
        let counts = ["delivered", "quarantined", "faults"].map(|k| said["counts"][k].as_u64());
        assert_eq!((counts, &said["deaths"]), ([38, 2, 2].map(Some), &json!(2)));
        // Who is convicted may be in hand at the next death, and is innocent of that.
        let held: Vec<_> = verdicts(&mail, "run").into_values().collect();
        let (convicted, others): (Vec<_>, Vec<_>) =
            held.iter().partition(|held| held.iter().any(|verdict| verdict == "convicted"));
        let last: Vec<&str> = others.iter().map(|held| held.last().unwrap().as_str()).collect();
        assert_eq!((convicted.len(), last), (2, vec!["acquitted"; held.len() - 2]), "{held:?}");
        let struck: Vec<String> =
            messages(&mail.out("run"), "quarantine").iter().map(|m| text(&m.content)).collect();
        let culprits: Vec<&str> =
            order.iter().filter(|marker| **marker != 1).map(|marker| markers[*marker]).collect();
        assert_eq!(struck.len(), 2);
        for (content, marker) in struck.iter().zip(culprits) {
            assert!(content.contains(&format!("X-Inqueue-Fault: {marker}\n")), "{content}");
        }
        assert_proven(&mail, "run", 0);
    }
}
