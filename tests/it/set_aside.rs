//! `inqueue quarantine|dead-letter|deferred RUN ...` and `inqueue replay`: by the real binary. What
//! is listed, shown, exported, dropped; what goes through again, once, whatever was killed between.

use crate::binary::{Folder, Said, fails, inqueue};
use crate::support::{NOW, Queue, assert_same_streams, audit, events, messages, streams};
use inqueue::mail::content::Content;
use inqueue::mail::date::Time;
use inqueue::mail::envelope::{Envelope, QueueId, ReversePath};
use inqueue::queue::segment::{recipient_tag, tag, write};
use inqueue_gen::Format;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const USERS: &str = "good@here.example\nfull@here.example full\n";
const MENDED: &str = "good@here.example\nfull@here.example\ngone@here.example\n\
                      lost@here.example\n";

/// A message of an mbox: sender, recipients, number in its subject.
fn message(sender: &str, to: &[&str], number: usize) -> String {
    let to: String = to.iter().flat_map(|to| ["X-Original-To: ", to, "\n"]).collect();
    format!(
        "From MAILER-DAEMON Fri Jan  2 00:00:00 2026\nReturn-Path: <{sender}>\n{to}Subject: number \
         {number}\n\nbody of {number}\n\n"
    )
}

/// Six messages: one is delivered; two are dead letters for their sender and one for want of
/// recipients; two are deferred, of which one is reported for another recipient.
fn post(folder: &Folder) {
    let mail = [
        message("a@there.example", &["good@here.example"], 1),
        message("not an address", &["gone@here.example"], 2),
        message("", &["gone@here.example", "lost@here.example"], 3),
        message("a@there.example", &["full@here.example"], 4),
        message("b@there.example", &["gone@here.example", "full@here.example"], 5),
        message("a@there.example", &[], 6),
    ];
    fs::write(folder.path("queue.mbox"), mail.concat()).unwrap();
    fs::write(folder.path("users"), USERS).unwrap();
    fs::write(folder.path("mended"), MENDED).unwrap();
    let said = run(folder, &folder.spec("mboxrd", "queue.mbox"), "run");
    assert_eq!(said.code, Some(0), "{said:?}");
}

fn run(folder: &Folder, queue: &str, out: &str) -> Said {
    let (users, out) = (folder.text("users"), folder.text(out));
    inqueue(&[
        "run",
        queue,
        "--directory",
        &users,
        "--out",
        &out,
        "--now",
        NOW,
        "--hostname",
        "mta.example",
        "--json",
    ])
}

fn replay(folder: &Folder, from: &str, out: &str, options: &[&str]) -> Said {
    let (from, out, mended) = (folder.text(from), folder.text(out), folder.text("mended"));
    let mut all = vec!["replay", &from, "--out", &out, "--hostname", "mta.example", "--json"];
    if !options.contains(&"--directory") {
        all.extend(["--directory", &mended]);
    }
    if !options.contains(&"--now") {
        all.extend(["--now", NOW]);
    }
    all.extend(options);
    inqueue(&all)
}

/// What a replay says it has chosen.
fn chosen(said: &Said) -> (u64, Value) {
    assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
    let replay = said.objects()[0]["replay"].clone();
    (replay["chosen"].as_u64().unwrap(), replay["passed_over"].clone())
}

/// Counts of what was passed over: those that are given, and 0 else.
fn passed(counts: &[(&str, u64)]) -> Value {
    let names = [
        "dropped",
        "replayed",
        "damage",
        "set_aside",
        "in_queue",
        "no_recipients",
        "attempts",
        "limit",
        "unreadable",
    ];
    let count = |name: &str| counts.iter().find(|one| one.0 == name).map_or(0, |one| one.1);
    names.iter().map(|name| ((*name).to_owned(), Value::from(count(name)))).collect()
}

fn command(folder: &Folder, stream: &str, rest: &[&str]) -> Said {
    let run = folder.text("run");
    inqueue(&[&[stream, &run], rest].concat())
}

fn objects(folder: &Folder, stream: &str, options: &[&str]) -> Vec<Value> {
    let said = command(folder, stream, &[&["list", "--json"], options].concat());
    assert_eq!((said.code, said.errors.as_str()), (Some(0), ""));
    said.objects()
}

fn id(object: &Value) -> String {
    object["queue_id"].as_str().unwrap().to_owned()
}

/// The numbers in the subjects of a stream's messages.
fn numbers(run: &Path, stream: &str) -> Vec<usize> {
    let number = |content: &[u8]| {
        let text = String::from_utf8_lossy(content).into_owned();
        let start = text.find("Subject: number ").unwrap() + "Subject: number ".len();
        text[start..].lines().next().unwrap().parse().unwrap()
    };
    messages(run, stream).iter().map(|read| number(&read.content)).collect()
}

fn assert_clean(run: &Path) -> Value {
    let report = audit(run, None);
    for kind in ["lost", "doubled", "wrong", "parts_uncommitted"] {
        assert_eq!(report[kind], 0, "{report:#}");
    }
    report
}

/// The recipients that the reports of a run name, with their status.
fn reported(run: &Path) -> Vec<(String, String)> {
    let said = inqueue(&["inspect", run.join("ndr").to_str().unwrap(), "--json"]);
    let all = said.objects().into_iter().flat_map(|report| {
        let reported = report["reported"].as_array().unwrap().clone();
        reported.into_iter().map(|one| {
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            (text("address"), text("status"))
        })
    });
    all.collect()
}

#[test]
fn lists_are_those_of_inspect_with_what_was_done_since() {
    let folder = Folder::new();
    post(&folder);
    for (stream, records) in [("dead-letter", 3), ("deferred", 2), ("quarantine", 0)] {
        let listed = objects(&folder, stream, &[]);
        let queue = format!("segment:{}/{stream}", folder.text("run"));
        let mut inspected = inqueue(&["inspect", &queue, "--json"]).objects();
        assert_eq!(inspected.len(), records);
        for object in &mut inspected {
            let (file, offset) = (object["file"].clone(), object["offset"].clone());
            object["place"] = json!(format!("{}:{offset}", file.as_str().unwrap()));
            object["state"] = json!("waiting");
            object["tries"] = object["attempts"].clone();
        }
        assert_eq!(listed, inspected, "{stream}");
    }
    let dead = objects(&folder, "dead-letter", &[]);
    let tries: Vec<_> = dead.iter().map(|one| one["tries"].as_u64().unwrap()).collect();
    assert_eq!(tries, [1, 1, 0], "a message without recipients isn't tried");
    let table = command(&folder, "dead-letter", &["list"]);
    let expect = format!(
        "{:<24} {:>10} {:<20} {:>5} {:<8} {:<32} {:<32} REASON\n\
         {:<24} {:>10} {:<20} {:>5} {:<8} {:<32} {:<32} the reverse-path is not a mailbox; 5.1.1\n\
         {:<24} {:>10} {:<20} {:>5} {:<8} {:<32} {:<32} the reverse-path is null; 5.1.1\n\
         {:<24} {:>10} {:<20} {:>5} {:<8} {:<32} {:<32} no recipients; 5.6.0\n\
         3 records\n",
        "QUEUE ID",
        "SIZE",
        "ARRIVAL",
        "TRIES",
        "STATE",
        "SENDER",
        "RECIPIENTS",
        id(&dead[0]),
        dead[0]["message_size"].to_string(),
        "2026-01-02T00:00:00Z",
        1,
        "waiting",
        "not an address",
        "gone@here.example",
        id(&dead[1]),
        dead[1]["message_size"].to_string(),
        "2026-01-02T00:00:00Z",
        1,
        "waiting",
        "<>",
        "gone@here.example, +1 more",
        id(&dead[2]),
        dead[2]["message_size"].to_string(),
        "2026-01-02T00:00:00Z",
        0,
        "waiting",
        "a@there.example",
        "-",
    );
    assert_eq!(table.text(), expect);
    assert_eq!(table.code, Some(0));
}

#[test]
fn filters_choose_by_sender_recipient_and_reason_and_a_limit_bounds() {
    let folder = Folder::new();
    post(&folder);
    let chosen = |stream: &str, options: &[&str]| {
        let all = objects(&folder, stream, &[]);
        let listed = objects(&folder, stream, options);
        let index = |one: &Value| all.iter().position(|other| other == one).unwrap();
        listed.iter().map(index).collect::<Vec<_>>()
    };
    let none: [usize; 0] = [];
    assert_eq!(chosen("dead-letter", &["--sender", "<>"]), [1]);
    assert_eq!(chosen("dead-letter", &["--sender", "AN ADDRESS"]), [0]);
    assert_eq!(chosen("dead-letter", &["--recipient", "lost@"]), [1]);
    assert_eq!(chosen("dead-letter", &["--recipient", "gone@HERE"]), [0, 1]);
    assert_eq!(chosen("dead-letter", &["--reason", "reverse-path"]), [0, 1]);
    assert_eq!(chosen("dead-letter", &["--reason", "5.6"]), [2]);
    assert_eq!(chosen("dead-letter", &["--reason", "reverse-path", "--sender", "<>"]), [1]);
    assert_eq!(chosen("dead-letter", &["--sender", "nobody"]), none);
    assert_eq!(chosen("deferred", &["--reason", "4.2.2", "--sender", "b@"]), [1]);
    assert_eq!(chosen("dead-letter", &["--limit", "2"]), [0, 1]);
    let said = command(&folder, "dead-letter", &["list", "--limit", "1"]);
    assert!(said.text().ends_with("\n1 records, 2 more\n"), "{}", said.text());
}

#[test]
fn a_record_is_shown_with_its_events_and_exported_byte_for_byte() {
    let folder = Folder::new();
    post(&folder);
    let dead = objects(&folder, "dead-letter", &[]);
    let content = &messages(&folder.path("run"), "dead-letter")[1].content;
    for name in [id(&dead[1]), dead[1]["place"].as_str().unwrap().to_owned()] {
        let said = command(&folder, "dead-letter", &["show", &name]);
        assert_eq!((said.code, said.errors.as_str()), (Some(0), ""));
        let text = said.text();
        let origin = &dead[1]["origin"];
        let origin = format!("offset {}, {} bytes", origin["offset"], origin["length"]);
        for line in [
            format!("Queue id: {}", id(&dead[1])),
            format!("Origin: queue.mbox, {origin}"),
            "Sender: <>".to_owned(),
            "Reason: the reverse-path is null".to_owned(),
            "Recipient: lost@here.example; pending; dead-letter; 5.1.1".to_owned(),
            "Tries: 1".to_owned(),
            "Subject: number 3".to_owned(),
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        let told = text.lines().filter(|line| line.starts_with("Event: ")).count();
        let of_it = |event: &&Value| event["queue_id"] == dead[1]["queue_id"];
        let all = events(&folder.path("run"));
        let expect: Vec<&Value> = all.iter().filter(of_it).collect();
        assert_eq!((told, expect.len()), (3, 3), "one for each recipient, one set aside");
        let shown = command(&folder, "dead-letter", &["show", &name, "--json"]);
        let mut shown = shown.objects().remove(0);
        assert_eq!(shown["events"], json!(expect));
        shown.as_object_mut().unwrap().remove("events");
        assert_eq!(shown, dead[1]);
        let exported = command(&folder, "dead-letter", &["export", &name]);
        assert_eq!(&exported.out, content);
    }
    let (two, to) = ([id(&dead[2]), id(&dead[0])], folder.spec("eml", "exported"));
    let said = command(&folder, "dead-letter", &["export", &two[0], &two[1], "--to", &to]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.text(), format!("2 messages in {}\n", folder.text("exported")));
    for (name, index) in [("00000001.eml", 2), ("00000002.eml", 0)] {
        let bytes = fs::read(folder.path("exported").join(name)).unwrap();
        assert_eq!(bytes, messages(&folder.path("run"), "dead-letter")[index].content);
    }
    let run = folder.text("run");
    fails(&["dead-letter", &run, "export", &two[0], &two[1]], 2, "--to FORMAT:PATH");
    fails(&["dead-letter", &run, "show", "nothing"], 1, "no record of dead-letter has the id");
    fails(&["quarantine", &run, "export", &two[0]], 1, "no record of quarantine has the id");
    fails(&["quarantine", &folder.text("users"), "list"], 1, "not the folder of a run");
    fails(&["quarantine", &run, "mend"], 2, "unexpected argument");
}

#[test]
fn nothing_is_dropped_without_a_name_and_yes_and_what_is_dropped_is_logged() {
    let folder = Folder::new();
    post(&folder);
    let before = streams(&folder.path("run"));
    let log = folder.path("run").join("set-aside");
    let dead = objects(&folder, "dead-letter", &[]);
    let run = folder.text("run");
    let said = command(&folder, "dead-letter", &["drop", &id(&dead[0])]);
    assert_eq!(said.code, Some(2));
    let place = dead[0]["place"].as_str().unwrap();
    assert_eq!(said.text(), format!("would drop: {} ({place})\n", id(&dead[0])));
    assert!(said.errors.contains("--yes"));
    fails(&["dead-letter", &run, "drop", "--yes"], 2, "required");
    fails(&["dead-letter", &run, "drop", &id(&dead[0]), "nothing", "--yes"], 1, "no record");
    fails(&["deferred", &run, "drop", &id(&dead[0]), "--yes"], 1, "no record of deferred");
    assert!(!log.exists());
    let names = [id(&dead[0]), place.to_owned(), id(&dead[2])];
    let drop = ["drop", &names[0], &names[1], &names[2], "--yes", "--reason", "spam\x1b[0m"];
    let said = command(&folder, "dead-letter", &drop);
    let at =
        |index: usize| format!("{} ({})", id(&dead[index]), dead[index]["place"]).replace('"', "");
    assert_eq!(said.text(), format!("dropped: {}\ndropped: {}\n", at(0), at(2)));
    assert_eq!((said.code, said.errors.as_str()), (Some(0), ""));
    let logged = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> =
        logged.lines().map(|line| serde_json::from_str(&line[9..]).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    let dropped = &lines[0]["dropped"];
    let origin = &dead[0]["origin"];
    assert_eq!(dropped["id"], dead[0]["queue_id"]);
    assert_eq!(dropped["stream"], "dead-letter");
    assert_eq!(dropped["place"], json!([0, dead[0]["offset"]]));
    assert_eq!(dropped["origin"], json!(["queue.mbox", origin["offset"], origin["length"]]));
    assert_eq!(dropped["reason"], "spam\x1b[0m");
    assert!(Time::parse_rfc3339(dropped["at"].as_str().unwrap().as_bytes()).is_some());
    // Once is enough; a torn line of another drop is no obstacle.
    fs::write(&log, format!("{logged}0123")).unwrap();
    let said = command(&folder, "dead-letter", &["drop", &names[0], "--yes"]);
    assert_eq!(said.text(), format!("was dropped before: {}\n", at(0)));
    assert_eq!(objects(&folder, "dead-letter", &[]), dead[1..2]);
    let all = objects(&folder, "dead-letter", &["--all"]);
    let states: Vec<_> = all.iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["dropped", "waiting", "dropped"]);
    let said = command(&folder, "dead-letter", &["list"]);
    assert!(said.text().ends_with("\n1 records, 2 dropped (--all lists them too)\n"));
    let said = command(&folder, "dead-letter", &["show", &names[0]]);
    assert!(said.text().contains("\nState: dropped at 20"), "{}", said.text());
    assert!(!said.out.contains(&0x1b));
    // The streams hold all of it still, and the audit says so.
    assert_eq!(streams(&folder.path("run")), before);
    assert_eq!(assert_clean(&folder.path("run"))["dropped"], 2);
    assert_eq!(chosen(&replay(&folder, "run", "new", &["--dead-letter"])).1["dropped"], 2);
    // A log that names what isn't there, or twice, is found out.
    for (from, to) in [("\"place\":[0,", "\"place\":[7,"), ("", "")] {
        let json = logged.lines().next().unwrap()[9..].replace(from, to);
        let line = format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()));
        fs::write(&log, format!("{logged}{line}")).unwrap();
        let report = audit(&folder.path("run"), None);
        let found = report["wrong"].as_u64().unwrap() + report["doubled"].as_u64().unwrap();
        assert_eq!((found, &report["dropped"]), (1, &json!(3)), "{report:#}");
    }
}

#[test]
fn a_run_in_hand_keeps_its_records() {
    let folder = Folder::new();
    post(&folder);
    let lock = fs::File::open(folder.path("run").join("lock")).unwrap();
    lock.lock().unwrap();
    let (run, out) = (folder.text("run"), folder.text("new"));
    let name = id(&objects(&folder, "deferred", &[])[0]);
    fails(&["deferred", &run, "drop", &name, "--yes"], 1, "another process works on this run");
    let users = folder.text("users");
    let all = ["replay", &run, "--deferred", "--out", &out, "--directory", &users];
    fails(&all, 1, "another process works on this run");
    assert!(!folder.path("new").exists());
}

#[test]
fn after_the_directory_was_mended_a_replay_delivers_and_only_once() {
    let folder = Folder::new();
    post(&folder);
    let said = replay(&folder, "run", "new", &["--dead-letter"]);
    assert_eq!(chosen(&said), (2, passed(&[("no_recipients", 1)])), "{said:?}");
    let counts = &said.objects()[1]["counts"];
    assert_eq!((&counts["messages"], &counts["delivered"]), (&json!(2), &json!(3)));
    assert_eq!(numbers(&folder.path("new"), "accepted"), [2, 3]);
    assert_clean(&folder.path("new"));
    assert_eq!(assert_clean(&folder.path("run"))["replayed"], 2);
    // The queue of the replay says where it comes from, and how often it was tried.
    let queue = folder.path("new").join("replay.seg");
    let queued = inqueue(&["inspect", queue.to_str().unwrap(), "--json"]).objects();
    let dead = objects(&folder, "dead-letter", &["--all"]);
    for (again, dead) in queued.iter().zip(&dead) {
        assert_eq!(again["attempts"], 1);
        assert_eq!(again["origin"]["file"], "dead-letter/00000.seg");
        assert_eq!(again["origin"]["offset"], dead["offset"]);
        for same in ["queue_id", "arrival_time", "sender", "checksum"] {
            assert_eq!(again[same], dead[same]);
        }
    }
    let ids: Vec<_> = events(&folder.path("new"))
        .iter()
        .map(|event| event["id"].as_str().unwrap().split('-').nth(1).unwrap().to_owned())
        .collect();
    assert!(!ids.is_empty() && ids.iter().all(|attempt| attempt == "2"), "{ids:?}");
    // Again into another folder: there is nothing. Into the same: it is done.
    let before = streams(&folder.path("new"));
    let said = replay(&folder, "run", "other", &["--dead-letter"]);
    assert_eq!(chosen(&said), (0, passed(&[("replayed", 2), ("no_recipients", 1)])));
    assert!(!folder.path("other").exists());
    let said = replay(&folder, "run", "new", &["--dead-letter"]);
    assert_eq!((chosen(&said).0, &said.objects()[0]["replay"]["went_on"]), (2, &json!(true)));
    assert_eq!(streams(&folder.path("new")), before);
    assert_eq!(objects(&folder, "dead-letter", &[]), [dead[2].clone()]);
    let run = folder.text("run");
    let name = id(&dead[0]);
    fails(&["dead-letter", &run, "drop", &name, "--yes"], 1, "was replayed");
    let said = command(&folder, "dead-letter", &["show", &name]);
    let into = fs::canonicalize(folder.path("new")).unwrap();
    let line = format!("into {}", into.display());
    assert!(said.text().lines().any(|one| one.starts_with("State: ") && one.ends_with(&line)));
}

#[test]
fn what_has_no_cure_stays_a_dead_letter_and_its_attempts_bound_it() {
    let folder = Folder::new();
    post(&folder);
    let users = folder.text("users");
    let mut from = "run".to_owned();
    for attempts in 1..5 {
        let out = format!("again-{attempts}");
        let options = ["--dead-letter", "--max-attempts", "5", "--directory", &users];
        let said = replay(&folder, &from, &out, &options);
        assert_eq!(chosen(&said).0, 2, "{attempts}");
        assert_eq!(numbers(&folder.path(&out), "dead-letter"), [2, 3]);
        assert!(messages(&folder.path(&out), "ndr").is_empty());
        assert_clean(&folder.path(&out));
        let dead_letters = format!("segment:{}/dead-letter", folder.text(&out));
        for dead in inqueue(&["inspect", &dead_letters, "--json"]).objects() {
            assert_eq!(dead["attempts"], attempts + 1);
        }
        from = out;
    }
    let said = replay(&folder, &from, "last", &["--dead-letter", "--max-attempts", "5"]);
    assert_eq!(chosen(&said), (0, passed(&[("attempts", 2)])));
    let said = replay(&folder, &from, "last", &["--dead-letter", "--max-attempts", "6"]);
    assert_eq!(chosen(&said).0, 2);
    assert_eq!(numbers(&folder.path("last"), "accepted"), [2, 3]);
}

#[test]
fn a_limit_and_filters_bound_a_replay() {
    let folder = Folder::new();
    post(&folder);
    let said = replay(&folder, "run", "one", &["--dead-letter", "--limit", "1"]);
    assert_eq!(chosen(&said), (1, passed(&[("limit", 1), ("no_recipients", 1)])));
    assert_eq!(numbers(&folder.path("one"), "accepted"), [2]);
    let said = replay(&folder, "run", "none", &["--dead-letter", "--sender", "not an"]);
    assert_eq!(chosen(&said), (0, passed(&[("replayed", 1)])));
    let said = replay(&folder, "run", "two", &["--dead-letter", "--limit", "1"]);
    assert_eq!(chosen(&said).0, 1);
    assert_eq!(numbers(&folder.path("two"), "accepted"), [3]);
    // Going on has another limit, and the same records.
    let said = replay(&folder, "run", "two", &["--dead-letter", "--limit", "9"]);
    assert_eq!(chosen(&said).0, 1);
}

/// Message 5 was reported for one recipient, and waits for another: its replay reports the other
/// alone, once.
#[test]
fn a_deferred_recipient_is_reported_once_and_the_others_never_again() {
    let folder = Folder::new();
    post(&folder);
    let users = folder.text("users");
    assert_eq!(reported(&folder.path("run")), [("gone@here.example".into(), "5.1.1".into())]);
    // Not due: a replay tries it all the same.
    let options = ["--deferred", "--directory", &users, "--max-attempts", "2"];
    let said = replay(&folder, "run", "soon", &options);
    assert_eq!(chosen(&said), (2, passed(&[])));
    assert!(reported(&folder.path("soon")).is_empty());
    assert_eq!(numbers(&folder.path("soon"), "deferred"), [4, 5]);
    let soon = format!("segment:{}/deferred", folder.text("soon"));
    for waiting in inqueue(&["inspect", &soon, "--json"]).objects() {
        assert_eq!(
            (&waiting["attempts"], waiting["recipients"].as_array().unwrap().len()),
            (&json!(2), 1)
        );
    }
    let said = replay(&folder, "soon", "never", &options);
    assert_eq!(chosen(&said), (0, passed(&[("attempts", 2)])));
    let late = ["--deferred", "--directory", &users, "--now", "2026-02-01T00:00:00Z"];
    assert_eq!(chosen(&replay(&folder, "soon", "late", &late)).0, 2);
    let full = ("full@here.example".to_owned(), "5.2.2".to_owned());
    assert_eq!(reported(&folder.path("late")), [full.clone(), full]);
    for from in ["run", "soon"] {
        assert_eq!(chosen(&replay(&folder, from, "later", &late)).0, 0, "{from}");
    }
    assert!(!folder.path("later").exists());
    for run in ["run", "soon", "late"] {
        assert_clean(&folder.path(run));
    }
}

/// Its sender is in a local domain, and nobody was there: once there is, the report is made.
#[test]
fn a_report_that_had_nowhere_to_go_is_made_once() {
    let folder = Folder::new();
    let mail = message("lost@here.example", &["nobody@here.example"], 1);
    fs::write(folder.path("queue.mbox"), mail).unwrap();
    fs::write(folder.path("users"), USERS).unwrap();
    fs::write(folder.path("mended"), MENDED).unwrap();
    assert_eq!(run(&folder, &folder.spec("mboxrd", "queue.mbox"), "run").code, Some(0));
    assert!(reported(&folder.path("run")).is_empty());
    assert_eq!(chosen(&replay(&folder, "run", "new", &["--dead-letter"])).0, 1);
    let nobody = ("nobody@here.example".to_owned(), "5.1.1".to_owned());
    assert_eq!(reported(&folder.path("new")), [nobody]);
    for (from, out) in [("run", "other"), ("new", "other")] {
        assert_eq!(chosen(&replay(&folder, from, out, &["--dead-letter"])).0, 0);
    }
}

/// NOTIFY is carried: a recipient whose failure isn't to be reported isn't in a replay either.
#[test]
fn notify_holds_in_a_replay() {
    let folder = Folder::new();
    let queue = segment(&folder, &|fields| {
        fields.bytes(tag::QUEUE_ID, b"NOTIFIED");
        fields.bytes(tag::REVERSE_PATH, b"a@there.example");
        fields.nested(tag::RECIPIENT, |fields| {
            fields.bytes(recipient_tag::FORWARD_PATH, b"nobody@here.example");
            fields.bytes(recipient_tag::NOTIFY, &[1]);
            fields.bytes(recipient_tag::ORCPT, b"rfc822;first@here.example");
        });
    });
    assert_eq!(run(&folder, &queue, "run").code, Some(0));
    assert_eq!(chosen(&replay(&folder, "run", "new", &["--dead-letter"])).0, 2);
    assert!(messages(&folder.path("new"), "ndr").is_empty());
    let dead = format!("segment:{}/dead-letter", folder.text("new"));
    for dead in inqueue(&["inspect", &dead, "--json"]).objects() {
        assert_eq!(dead["reason"], "NOTIFY asks for no report of failure");
        let recipient = &dead["recipients"][0];
        assert_eq!(recipient["notify"], "NEVER");
        assert_eq!(recipient["orig_address"], "first@here.example");
    }
}

/// A queue of two records with this envelope.
fn segment(folder: &Folder, fill: &dyn Fn(&mut write::Fields<'_>)) -> String {
    fs::write(folder.path("users"), USERS).unwrap();
    fs::write(folder.path("mended"), MENDED).unwrap();
    let bytes = file_of(&[(&b"Subject: number 1\n\none\n"[..], fill), (b"\ntwo\n", fill)]);
    fs::write(folder.path("queue.seg"), bytes).unwrap();
    folder.spec("segment", "queue.seg")
}

type Fill<'f> = &'f dyn Fn(&mut write::Fields<'_>);

fn file_of(records: &[(&[u8], Fill<'_>)]) -> Vec<u8> {
    let mut out = write::file_header(7).to_vec();
    for (content, fill) in records {
        let payload = write::Payload::measure(Content::plain(content));
        let place = write::Place { offset: out.len() as u64, mark: 7 };
        let mut record = Vec::new();
        write::append_head(&mut record, place, &payload, fill);
        out.extend_from_slice(&record);
        out.extend_from_slice(content);
    }
    out
}

#[test]
fn an_id_that_several_records_have_names_none_of_them() {
    let folder = Folder::new();
    let queue = segment(&folder, &|fields| {
        fields.bytes(tag::QUEUE_ID, b"TWICE");
        fields.bytes(tag::REVERSE_PATH, b"");
        fields.nested(tag::RECIPIENT, |fields| {
            fields.bytes(recipient_tag::FORWARD_PATH, b"nobody@here.example");
        });
    });
    assert_eq!(run(&folder, &queue, "run").code, Some(0));
    let places: Vec<String> = objects(&folder, "dead-letter", &[])
        .iter()
        .map(|one| one["place"].as_str().unwrap().to_owned())
        .collect();
    let run = folder.text("run");
    let what = format!(
        "2 records of dead-letter have the id TWICE (name one of {}, {})",
        places[0], places[1]
    );
    fails(&["dead-letter", &run, "show", "TWICE"], 1, &what);
    fails(&["dead-letter", &run, "drop", "TWICE", "--yes"], 1, &what);
    let said = command(&folder, "dead-letter", &["export", &places[1]]);
    assert_eq!(said.out, b"\ntwo\n");
}

#[test]
fn hostile_text_does_not_reach_the_terminal() {
    let folder = Folder::new();
    let evil = "e\x1b[31mvil\x07@here.example";
    let mail = format!(
        "{}\x1b]0;title\x07 body\r\x1b[2Jgone\n",
        message(evil, &[evil, "\x1b[8m@here.example"], 1)
    );
    fs::write(folder.path("queue.mbox"), mail).unwrap();
    fs::write(folder.path("users"), USERS).unwrap();
    assert_eq!(run(&folder, &folder.spec("mboxrd", "queue.mbox"), "run").code, Some(0));
    let name = id(&objects(&folder, "dead-letter", &[])[0]);
    let wrong = "no\x1b[31mthing";
    for rest in [
        &["list"][..],
        &["list", "--json"],
        &["show", &name],
        &["show", &name, "--json"],
        &["drop", &name],
        &["show", wrong],
    ] {
        let said = command(&folder, "dead-letter", rest);
        let all = [said.out.as_slice(), said.errors.as_bytes()].concat();
        let is_safe = |byte: &u8| *byte == b'\n' || !byte.is_ascii_control();
        assert!(all.iter().all(is_safe), "{rest:?}: {}", String::from_utf8_lossy(&all));
        assert!(!all.is_empty());
    }
    let listed = command(&folder, "dead-letter", &["list"]);
    assert!(listed.text().contains("e\u{FFFD}[31mvil\u{FFFD}@here.example"));
}

#[test]
fn damage_is_listed_shown_exported_and_not_replayed() {
    let queue = Queue::new(Format::Segment, 200, "corrupt-message=0.2");
    queue.run("run", &[]);
    let out = queue.out("run");
    let run = out.to_str().unwrap();
    let listed = inqueue(&["quarantine", run, "list", "--json"]).objects();
    let damaged = listed.len() as u64;
    assert!(damaged > 10);
    let contents = messages(&out, "quarantine");
    let place = listed[3]["place"].as_str().unwrap();
    let exported = inqueue(&["quarantine", run, "export", place]);
    assert_eq!(exported.out, contents[3].content);
    let shown = inqueue(&["quarantine", run, "show", place]);
    let reason = format!("\nReason: {}\n", listed[3]["reason"].as_str().unwrap());
    assert!(shown.text().contains(&reason) && shown.text().contains("\nEvent: 2335 "));
    let directory = queue.made().join("directory.txt");
    let new = queue.out("new");
    let said = inqueue(&[
        "replay",
        run,
        "--quarantine",
        "--out",
        new.to_str().unwrap(),
        "--json",
        "--directory",
        directory.to_str().unwrap(),
    ]);
    assert_eq!(chosen(&said), (0, passed(&[("damage", damaged)])));
    assert!(!new.exists());
    let said = inqueue(&["quarantine", run, "drop", place, "--yes"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(queue.assert_clean("run")["dropped"], 1);
}

/// What a fault has struck, forged: this build has none. An envelope that was known, one that
/// wasn't, one that was tried too often.
#[test]
fn messages_that_a_fault_struck_go_through_again() {
    let folder = Folder::new();
    post(&folder);
    let reason = b"fault in decide: a \x1bbug (src/decide.rs:1)";
    let known = |attempts: u32| {
        move |fields: &mut write::Fields<'_>| {
            let mut envelope = Envelope::new(QueueId::Given(b"KNOWN"));
            envelope.attempts = attempts;
            fields.carried(&envelope);
            fields.reverse_path(ReversePath::Path(b"a@there.example"));
            fields.schedule(&envelope);
            fields.nested(tag::RECIPIENT, |fields| {
                fields.bytes(recipient_tag::FORWARD_PATH, b"good@here.example");
            });
            fields.origin(b"queue.mbox", 0, 10);
            fields.bytes(tag::REASON, reason);
        }
    };
    let unknown = |fields: &mut write::Fields<'_>| {
        fields.bytes(tag::QUEUE_ID, b"UNKNOWN");
        fields.origin(b"queue.mbox", 20, 10);
        fields.bytes(tag::REASON, b"fault in parse: a bug (src/mail/header.rs:1)");
    };
    let content = b"Return-Path: <b@there.example>\nX-Original-To: full@here.example\n\
                    Subject: number 8\n\n";
    let (once, often) = (known(0), known(24));
    let number_7 = &b"Subject: number 7\n\nbody\n"[..];
    forge(
        &folder.path("run"),
        &file_of(&[(number_7, &once), (content, &unknown), (number_7, &often)]),
        3,
    );
    let listed = objects(&folder, "quarantine", &["--reason", "A \x1bBUG"]);
    let tries: Vec<_> = listed.iter().map(|one| one["tries"].as_u64().unwrap()).collect();
    assert_eq!(tries, [1, 25]);
    let said = replay(&folder, "run", "new", &["--quarantine"]);
    assert_eq!(chosen(&said), (2, passed(&[("attempts", 1)])));
    assert_eq!(numbers(&folder.path("new"), "accepted"), [7, 8]);
    let accepted = format!("segment:{}/accepted", folder.text("new"));
    let accepted = inqueue(&["inspect", &accepted, "--json"]).objects();
    assert_eq!(accepted[1]["sender"], "b@there.example");
    assert_eq!(accepted[1]["queue_id"], "UNKNOWN");
    assert_eq!(accepted[1]["recipients"][0]["address"], "full@here.example");
    assert_clean(&folder.path("new"));
    assert_eq!(chosen(&replay(&folder, "run", "other", &["--quarantine"])).0, 0);
}

/// Puts a file into the quarantine of a run of one part.
fn forge(run: &Path, file: &[u8], records: u64) {
    fs::write(run.join("quarantine/00000.seg"), file).unwrap();
    let log = fs::read_to_string(run.join("commits")).unwrap();
    let mut commit: Value = serde_json::from_str(&log.trim_end()[9..]).unwrap();
    commit["files"]["quarantine"] = json!({"length": file.len(), "records": records, "seal": 0});
    let commit = commit.to_string();
    let line = format!("{:08x} {commit}\n", crc32c::crc32c(commit.as_bytes()));
    fs::write(run.join("commits"), line).unwrap();
}

/// Wherever a replay was killed, the same command ends as if nothing had happened.
#[test]
fn a_replay_that_was_killed_goes_on() {
    let folder = Folder::new();
    post(&folder);
    let log = folder.path("run").join("set-aside");
    let new = folder.path("new");
    let options = ["--dead-letter", "--part-size", "100"];
    assert_eq!(chosen(&replay(&folder, "run", "new", &options)).0, 2);
    let whole = fs::read(&log).unwrap();
    let queue = fs::read(new.join("replay.seg")).unwrap();
    fs::rename(&new, folder.path("expect")).unwrap();
    let chosen_at = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert_eq!(memchr::memchr_iter(b'\n', &whole).count(), 2);
    let ends = |what: &str| {
        let said = replay(&folder, "run", "new", &options);
        assert_eq!(chosen(&said).0, 2, "{what}");
        assert_same_streams(&new, &folder.path("expect"));
        assert_eq!(fs::read(new.join("replay.seg")).unwrap(), queue, "{what}");
        assert_clean(&new);
        assert_clean(&folder.path("run"));
        fs::remove_dir_all(&new).unwrap();
    };
    // The choice isn't logged, or torn: it is made again.
    for cut in [0, 1, 9, chosen_at / 2, chosen_at - 1] {
        fs::write(&log, &whole[..cut]).unwrap();
        ends(&format!("log cut at {cut}"));
    }
    // It is logged, and the queue isn't there, is half written, or is there: it is made again.
    for cut in [chosen_at, chosen_at + 1, whole.len() - 1] {
        fs::write(&log, &whole[..cut]).unwrap();
        if cut == chosen_at {
            let said = replay(&folder, "run", "other", &options);
            assert_eq!(chosen(&said), (0, passed(&[("replayed", 2), ("no_recipients", 1)])));
        } else {
            fs::create_dir(&new).unwrap();
            let name = if cut == whole.len() - 1 { "replay.seg" } else { "replay.seg.partial" };
            fs::write(new.join(name), &queue[..queue.len() / 2]).unwrap();
        }
        ends(&format!("log cut at {cut}"));
    }
    // The queue is made, and the run isn't begun.
    fs::write(&log, &whole).unwrap();
    fs::create_dir(&new).unwrap();
    fs::write(new.join("replay.seg"), &queue).unwrap();
    ends("no plan");
    // The run is begun: its queue isn't touched any more.
    fs::write(&log, &whole).unwrap();
    fs::create_dir(&new).unwrap();
    fs::write(new.join("replay.seg"), &queue).unwrap();
    replay(&folder, "run", "new", &options);
    let commits = fs::read_to_string(new.join("commits")).unwrap();
    assert!(commits.lines().count() > 1);
    fs::write(new.join("commits"), &commits[..commits.len() / 2]).unwrap();
    ends("half committed");
    // What was delivered from there isn't sent again when its folder is gone.
    let (run, out, mended) = (folder.text("run"), folder.text("new"), folder.text("mended"));
    let again = ["replay", &run, "--dead-letter", "--out", &out, "--directory", &mended];
    fails(&again, 1, "the queue of this replay was made, and is gone");
}

#[test]
fn a_replay_that_cannot_be_meant_binds_nothing() {
    let folder = Folder::new();
    post(&folder);
    let (run, new, mended) = (folder.text("run"), folder.text("new"), folder.text("mended"));
    let with = |options: &[&'static str]| {
        let mut all = vec!["replay".to_owned(), run.clone(), "--out".to_owned()];
        all.push(new.clone());
        all.extend(options.iter().map(|option| (*option).to_owned()));
        all
    };
    let fails_with = |options: &[&'static str], directory: bool, code, text: &str| {
        let mut all = with(options);
        if directory {
            all.extend(["--directory".to_owned(), mended.clone()]);
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        fails(&all, code, text);
    };
    fails_with(&[], true, 2, "--quarantine");
    fails_with(&["--quarantine", "--deferred"], true, 2, "cannot be used with");
    fails_with(&["--deferred"], false, 2, "--directory is needed");
    fails_with(&["--deferred", "--drain"], true, 2, "no post office to drain");
    fails_with(&["--deferred", "another"], true, 2, "unexpected argument");
    let users = folder.text("users");
    let within = format!("{run}/new");
    let base = ["--deferred", "--directory", &mended, "--out"];
    fails(&[&["replay", &run], &base[..], &[&within]].concat(), 1, "lies within the run");
    fails(&[&["replay", &users], &base[..], &[&new]].concat(), 1, "not the folder of a run");
    fails(&[&["replay", &run], &base[..], &[&users]].concat(), 1, "not empty");
    assert_eq!(objects(&folder, "deferred", &[]).len(), 2);
    assert!(!folder.path("run").join("set-aside").exists() && !folder.path("new").exists());
    assert_eq!(chosen(&replay(&folder, "run", "new", &["--deferred"])).0, 2);
    let dead = ["replay", &run, "--dead-letter", "--directory", &mended, "--out", &new];
    fails(&dead, 1, "a replay of deferred goes there");
}

/// What a post office still has is judged there again: a replay would double it.
#[test]
fn what_is_still_in_a_post_office_is_not_replayed() {
    let hazards = "full-mailbag=0.3,invalid-sender-and-recipients=0.3";
    let queue = Queue::new(Format::PostOffice, 60, hazards);
    let directory = queue.made().join("directory.txt");
    let replay = |from: &str, to: &str, stream: &str| {
        let (from, to) = (queue.out(from), queue.out(to));
        inqueue(&[
            "replay",
            from.to_str().unwrap(),
            stream,
            "--out",
            to.to_str().unwrap(),
            "--json",
            "--directory",
            directory.to_str().unwrap(),
            "--now",
            NOW,
        ])
    };
    queue.run("run", &[]);
    for stream in ["dead-letter", "deferred"] {
        let (count, over) = chosen(&replay("run", "new", &format!("--{stream}")));
        let records = messages(&queue.out("run"), stream).len();
        assert!(records > 0, "{stream}");
        assert_eq!((count, over), (0, passed(&[("in_queue", records as u64)])), "{stream}");
    }
    queue.run("drained", &["--drain"]);
    let records = messages(&queue.out("drained"), "dead-letter").len() as u64;
    let (count, over) = chosen(&replay("drained", "dead", "--dead-letter"));
    assert_eq!((count, over), (records, passed(&[])));
    assert_clean(&queue.out("dead"));
    let (count, over) = chosen(&replay("drained", "waiting", "--deferred"));
    assert_eq!((count, over["in_queue"].as_u64() > Some(0)), (0, true));
}

/// Real faults: each replay with the same fault counts, until the bound.
#[test]
#[cfg(feature = "fault-injection")]
fn a_fault_that_stays_is_replayed_until_its_attempts_are_spent() {
    for stage in ["parse", "decide", "render"] {
        let folder = Folder::new();
        let mark = format!("Subject: number 1\nX-Inqueue-Fault: {stage}");
        let mail = message("a@there.example", &["good@here.example"], 1)
            .replace("Subject: number 1", &mark)
            + &message("a@there.example", &["good@here.example"], 2);
        fs::write(folder.path("queue.mbox"), mail).unwrap();
        fs::write(folder.path("users"), USERS).unwrap();
        fs::write(folder.path("mended"), MENDED).unwrap();
        assert_eq!(run(&folder, &folder.spec("mboxrd", "queue.mbox"), "run").code, Some(3));
        let options = ["--quarantine", "--max-attempts", "5"];
        let mut from = "run".to_owned();
        for attempts in 1..5 {
            let out = format!("again-{attempts}");
            let said = replay(&folder, &from, &out, &options);
            assert_eq!((chosen(&said).0, said.code), (1, Some(3)), "{stage} {attempts}");
            assert_eq!(numbers(&folder.path(&out), "quarantine"), [1]);
            let shown = inqueue(&["quarantine", &folder.text(&out), "list", "--json"]).objects();
            assert_eq!(shown[0]["tries"], attempts + 1, "{stage}");
            let place = shown[0]["place"].as_str().unwrap();
            let shown = inqueue(&["quarantine", &folder.text(&out), "show", place]);
            assert!(shown.text().contains("\nEvent: 2380 "), "{}", shown.text());
            assert_clean(&folder.path(&out));
            from = out;
        }
        let said = replay(&folder, &from, "last", &options);
        assert_eq!(chosen(&said), (0, passed(&[("attempts", 1)])), "{stage}");
    }
}

/// A message without recipients has one disposition, which its record has to tell of; run again as
/// a queue, it is a message without recipients still, and nobody gets a report about nobody.
#[test]
fn a_dead_letter_without_recipients_has_none_when_it_is_run_again() {
    let folder = Folder::new();
    post(&folder);
    let reason = "no recipients";
    for (old, new) in [("run", "again"), ("again", "third")] {
        let queue = format!("segment:{}", folder.path(old).join("dead-letter").display());
        let listed = inqueue(&["inspect", &queue, "--json"]).objects();
        let nobody = &listed[2];
        assert_eq!((&nobody["recipients"], &nobody["reason"]), (&json!([]), &json!(reason)));
        let said = run(&folder, &queue, new);
        assert_eq!(said.code, Some(0), "{said:?}");
        let counts = &said.objects()[0]["counts"];
        let counted = ["messages", "dead_letter", "failed", "reports", "damaged"];
        assert_eq!(counted.map(|what| counts[what].as_u64().unwrap()), [3, 4, 0, 0, 0]);
        assert_clean(&folder.path(new));
        let told = events(&folder.path(new));
        let of_it = |event: &&Value| event["queue_id"] == nobody["queue_id"];
        let told: Vec<&Value> = told.iter().filter(of_it).collect();
        let said = |what: &str| told.iter().map(|event| event[what].clone()).collect::<Vec<_>>();
        assert_eq!(said("number"), [2371, 2450]);
        assert_eq!(said("reason"), [reason, reason]);
        assert_eq!(told[0]["status"], "5.6.0");
        assert_eq!((&told[0]["ordinal"], &told[0]["recipient"]), (&Value::Null, &json!("")));
    }
}
