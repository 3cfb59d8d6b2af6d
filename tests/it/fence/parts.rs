//! `inqueue reproduce RUN --part N`: a part that was given up, again.

use super::injected::Mail;
use crate::support::{inqueue, messages, streams, text};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

fn reproduce(mail: &Mail, args: &[&str]) -> Command {
    let mut command = inqueue();
    command.current_dir(mail.out(".")).args(["reproduce", "run"]).args(args);
    command.env("RUST_BACKTRACE", "0");
    command
}

fn said(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// 40 messages in parts of about four, of which two neighbours have markers; run, and what is
/// listed of it.
fn given_up(markers: [&'static str; 2]) -> (Mail, Vec<Value>) {
    let at = |number: usize| match number {
        14 => Some(markers[0]),
        15 => Some(markers[1]),
        _ => None,
    };
    let mail = Mail::new(&(0..40).map(at).collect::<Vec<_>>());
    let output = mail.run("run", &["--part-size", "800"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let listed = reproduce(&mail, &["--list", "--json"]).output().unwrap();
    let lines = text(&listed.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    (mail, lines)
}

/// The part dies as it did, at the same message; what has struck another is known, and thrown as in
/// a run. Nothing is written. After the cure nothing happens.
#[test]
fn a_part_that_was_given_up_dies_as_it_did() {
    for (markers, stage) in [
        (["abort:parse", "segv@engine:render"], "render"),
        (["abort:parse", "segv@engine:decide"], "decide"),
    ] {
        let (mail, listed) = given_up(markers);
        // One is convicted, in a part that isn't done; the other ended it.
        let [convicted, death] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!([&convicted["stage"], &convicted["fault"]], ["parse", "died of SIGABRT"]);
        assert_eq!([&death["stage"], &death["fault"]], [stage, "died of SIGSEGV"]);
        assert_eq!(death["part"], convicted["part"]);
        assert_eq!(death["index"].as_u64(), convicted["index"].as_u64().map(|index| index + 1));
        let part = death["part"].to_string();
        let before =
            (streams(&mail.out("run")), fs::read(mail.out("run").join("charges")).unwrap());
        let again = said(&reproduce(&mail, &["--part", &part, "--json"]).output().unwrap(), 3);
        let now = json!([{"index": death["index"], "offset": death["offset"], "stage": stage,
            "fault": "died of SIGSEGV"}]);
        assert_eq!((&again["now"], &again["same"]), (&now, &json!(true)));
        assert_eq!(again["before"][1], now[0]);
        assert_eq!((&again["counts"], &again["format"]), (&Value::Null, &json!("mboxrd")));
        let mbox = fs::read_to_string(mail.out("queue.mbox")).unwrap();
        let place = again["place"].as_str().unwrap();
        let range: Vec<usize> = place.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert_eq!(place, format!("queue.mbox, bytes {} to {}", range[0], range[1]));
        let in_part = |number: usize| {
            let subject = mbox.find(&format!("Subject: number {number}\n")).unwrap();
            (range[0]..range[1]).contains(&mbox[..subject].rfind("From a@").unwrap())
        };
        let in_part: Vec<usize> = (0..40).filter(|number| in_part(*number)).collect();
        assert!(in_part.contains(&15) && in_part.len() < 10, "{in_part:?}");
        assert_eq!(death["index"], 15 - in_part[0]);

        let output = reproduce(&mail, &["--part", &part]).output().unwrap();
        let told = text(&output.stdout);
        let line = format!(
            "died of SIGSEGV in {stage}, at message {}, offset {}\n",
            death["index"], death["offset"]
        );
        assert_eq!(output.status.code(), Some(3));
        assert!(told.starts_with(&format!("Part: {part}\nPlace: {place}\n")), "{told}");
        assert!(told.contains(&format!("Before: {line}Now: {line}\n")), "{told}");
        assert!(told.ends_with(&format!("reproduce run --part {part} --here\n")), "{told}");
        let here = reproduce(&mail, &["--part", &part, "--here"]).output().unwrap();
        assert_eq!(here.status.signal(), Some(11));
        let listed = text(&reproduce(&mail, &["--list"]).output().unwrap().stdout);
        assert!(listed.contains(&format!("\n--part {part} ")), "{listed}");
        let last = "0 faults, 0 messages; 2 deaths in parts that aren't done";
        assert_eq!(listed.lines().last(), Some(last));

        let mut cured = reproduce(&mail, &["--part", &part, "--json"]);
        let cured = said(&cured.env("INQUEUE_FAULTS", "off").output().unwrap(), 0);
        assert_eq!((&cured["now"], &cured["same"]), (&json!([]), &json!(false)));
        let counts = ["messages", "quarantined"].map(|kind| cured["counts"][kind].as_u64());
        assert_eq!(counts, [Some(in_part.len() as u64), Some(1)], "convicted is convicted");
        let after = (streams(&mail.out("run")), fs::read(mail.out("run").join("charges")).unwrap());
        assert!(before == after, "something was written");

        // Done, it is in the list as what struck one message.
        let output = mail.command("run", &[]).env("INQUEUE_FAULTS", "off").output().unwrap();
        said(&output, 3);
        let listed = text(&reproduce(&mail, &["--list"]).output().unwrap().stdout);
        assert_eq!(listed.lines().last(), Some("1 faults, 1 messages"));
        assert_eq!(messages(&mail.out("run"), "quarantine").len(), 1);
    }
}

/// A message is framed before those that are taken with it are parsed: who kills there ends the
/// part before its neighbour is met.
#[test]
fn a_part_whose_framing_kills_dies_as_it_did() {
    let (mail, listed) = given_up(["abort:parse", "segv:frame"]);
    let [death] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!([&death["stage"], &death["fault"]], ["frame", "died of SIGSEGV"]);
    let part = death["part"].to_string();
    let again = said(&reproduce(&mail, &["--part", &part, "--json"]).output().unwrap(), 3);
    let now = json!([{"index": death["index"], "offset": death["offset"], "stage": "frame",
        "fault": "died of SIGSEGV"}]);
    assert_eq!((&again["now"], &again["before"], &again["same"]), (&now, &now, &json!(true)));
}

/// Nothing is written, so a death in writing isn't met; and a queue that has changed is told.
#[test]
fn a_death_in_writing_is_not_met_and_a_changed_queue_is_told() {
    let (mail, listed) = given_up(["segv:write", "parse"]);
    let [death] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(death["stage"], "write");
    let part = death["part"].to_string();
    let again = said(&reproduce(&mail, &["--part", &part, "--json"]).output().unwrap(), 0);
    assert_eq!((&again["now"], &again["counts"]["faults"]), (&json!([]), &json!(1)));
    let mbox = fs::read_to_string(mail.out("queue.mbox")).unwrap();
    fs::write(mail.out("queue.mbox"), mbox + "\n").unwrap();
    for args in [&["--part", &part][..], &["--part", &part, "--here"]] {
        let output = reproduce(&mail, args).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        let told = text(&output.stderr);
        assert!(told.contains("queue.mbox") && told.lines().count() == 1, "{told}");
    }
}

/// A worker that panics at each try is no death of a process; its part is run by its number.
#[test]
fn a_part_that_no_worker_survives_is_run_by_its_number() {
    let (mail, listed) = given_up(["worker-always", "parse"]);
    assert!(listed.is_empty(), "{listed:?}");
    let log = fs::read_to_string(mail.out("run").join("engine.jsonl")).unwrap();
    let lost: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let mut again = reproduce(&mail, &["--part", &lost["part"].to_string(), "--json"]);
    let again = said(&again.output().unwrap(), 3);
    assert_eq!(again["now"][0]["fault"], "died of exit code 101");
    assert_eq!((&again["now"][0]["stage"], &again["same"]), (&json!("decide"), &json!(false)));
}
