//! `inqueue reproduce`: one message again, from its run or from a capsule.
//!
//! A capsule is also made here by hand, from docs/reproduce.md: what is read is what is written
//! there. Faults are injected (`--features fault-injection`); what needs none is tested without.

use crate::support::{NOW, inqueue, text, told_by_writes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inqueue::mail::content::Content;
use inqueue::queue::segment::write;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// An mbox, and a directory that knows `good@here.example`, in a folder.
struct Mail {
    folder: tempfile::TempDir,
    mbox: String,
}

impl Mail {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("users"), "good@here.example\n").unwrap();
        Self { folder, mbox: String::new() }
    }

    /// Adds a message; `marker` names what strikes it, and where.
    fn add(&mut self, subject: &str, to: &str, marker: Option<&str>) {
        let fault = marker.map_or_else(String::new, |stage| format!("X-Inqueue-Fault: {stage}\n"));
        self.mbox.extend([
            "From a@there.example Thu Jan  1 00:00:00 2026\n".to_owned(),
            format!("Return-Path: <a@there.example>\nX-Original-To: {to}\n{fault}"),
            format!("Subject: {subject}\n\nbody of {subject}\n\n"),
        ]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the mbox into `run`.
    fn run(&self, options: &[&str]) -> Output {
        fs::write(self.path("queue.mbox"), &self.mbox).unwrap();
        let mut command = inqueue();
        command.current_dir(self.folder.path());
        command.args(["run", "queue.mbox", "--directory", "users", "--out", "run", "--json"]);
        command.args(["--now", NOW, "--hostname", "mta.example"]).args(options);
        command.output().unwrap()
    }

    fn reproduce(&self, args: &[&str]) -> Output {
        let mut command = inqueue();
        command.current_dir(self.folder.path()).arg("reproduce").args(args);
        command.output().unwrap()
    }
}

/// Ends with a code, and says this on standard error.
fn assert_refused(output: &Output, code: i32, said: &str) {
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(said), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_run_without_faults_has_none_to_reproduce() {
    let mut mail = Mail::new();
    mail.add("one", "good@here.example", None);
    mail.run(&[]);
    let listed = mail.reproduce(&["run", "--list"]);
    assert_eq!(listed.status.code(), Some(0));
    assert_eq!(text(&listed.stdout).lines().last(), Some("0 faults, 0 messages"));
    let listed = mail.reproduce(&["run", "--list", "--json"]);
    assert_eq!((listed.status.code(), text(&listed.stdout)), (Some(0), String::new()));
    let said = "run: no message that a fault struck has the id NOBODY (--list gives them)";
    assert_refused(&mail.reproduce(&["run", "NOBODY"]), 1, said);
    assert_refused(&mail.reproduce(&["run"]), 2, "an ID is needed");
    assert_refused(&mail.reproduce(&["users", "NOBODY"]), 2, "this is a file");
    assert_refused(&mail.reproduce(&["users", "--part", "0"]), 2, "this is a file");
    let said = "run: has 1 parts, from 0 on, and no part 1\n";
    assert_refused(&mail.reproduce(&["run", "--part", "1"]), 1, said);
    let again = mail.reproduce(&["run", "--part", "0"]);
    let expect = format!(
        "Part: 0\nPlace: queue.mbox, bytes 0 to {}\nQueue: {} (mboxrd)\nNow: nothing\n",
        mail.mbox.len(),
        mail.path("queue.mbox").canonicalize().unwrap().display()
    );
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(0), expect));
    assert_refused(&mail.reproduce(&["users"]), 1, "users: is no capsule");
    assert_refused(&mail.reproduce(&["gone"]), 1, "gone: cannot read");
    fs::create_dir(mail.path("empty")).unwrap();
    assert_refused(&mail.reproduce(&["empty", "--list"]), 1, "is not the folder of a run");
}

/// A segment of one record, as a capsule has it.
fn record(content: &[u8], fill: impl FnOnce(&mut write::Fields<'_>)) -> String {
    let mut record = write::file_header(7).to_vec();
    let place = write::Place { offset: record.len() as u64, mark: 7 };
    let payload = write::Payload::measure(Content::plain(content));
    write::append_head(&mut record, place, &payload, fill);
    record.extend_from_slice(content);
    STANDARD.encode(record)
}

/// A capsule of docs/reproduce.md, of an mbox's message that nothing is wrong with.
fn by_hand(content: &[u8]) -> Value {
    let empty = STANDARD.encode("");
    json!({
        "program": {"version": "0.0.1", "build": "release", "features": [], "target": "pdp-11"},
        "options": {
            "now": NOW, "hostname": "mta.example", "part_bytes": 8_388_608,
            "policy": {"remote": "relay", "hops_max": 100, "lifetime_s": 432_000},
            "recipients": ["x-original-to", "delivered-to", "to"],
        },
        "directory": {"path": "users", "checksum": 1},
        "office": null,
        "faults": [{"id": "0-f0", "stage": "parse", "fault": "died of SIGSEGV",
            "place": "the process of the engine"}],
        "message": {
            "queue_id": "00000001.0", "queue": "/queue.mbox", "part": 0, "file": "queue.mbox",
            "offset": 0, "length": 100, "taken_from": "queue", "format": "mboxrd", "tag": 1,
            "name": STANDARD.encode("queue.mbox"),
            "head": STANDARD.encode("From a@there.example Thu Jan  1 00:00:00 2026"),
            "is_quoted": false, "condition": null, "record": record(content, |_| {}),
            "is_of_the_future": empty,
        },
    })
}

/// Writes a capsule as docs/reproduce.md has it.
fn write_capsule(path: &Path, capsule: &Value) {
    let checksum = crc32c::crc32c(capsule.to_string().as_bytes());
    let all = json!({"inqueue_capsule": 1, "checksum": checksum, "capsule": capsule});
    fs::write(path, serde_json::to_vec_pretty(&all).unwrap()).unwrap();
}

/// Nothing happens to a message that nothing is wrong with; who made the capsule, and another
/// directory, are told.
#[test]
fn a_capsule_by_hand_of_a_good_message_goes_through() {
    let mail = Mail::new();
    let content = b"X-Original-To: good@here.example\nTo: x@y\n\n>From here\n";
    write_capsule(&mail.path("good"), &by_hand(content));
    let output = mail.reproduce(&["good", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(told.contains("was begun by 0.0.1 (release, pdp-11), this is"), "{told}");
    assert!(told.contains("the directory of the run has checksum 00000001, this one"), "{told}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["now"], json!([]));
    assert_eq!(said["before"][0]["fault"], "died of SIGSEGV");
    assert_eq!(said["same"], false);
    let counts = ["messages", "content_bytes", "delivered", "failed", "quarantined"];
    let counts = counts.map(|name| said["counts"][name].as_u64().unwrap());
    assert_eq!(counts, [1, content.len() as u64, 1, 0, 0]);
    let output = mail.reproduce(&["good", "--here"]);
    assert_eq!(output.status.code(), Some(0));
    let expect = "Message: 00000001.0\nPlace: queue.mbox, offset 0, 100 bytes\n\
                  Queue: /queue.mbox (mboxrd); taken from: queue\n\
                  Before: died of SIGSEGV in parse (the process of the engine)\nNow: nothing\n";
    assert_eq!(text(&output.stdout), expect);
    fs::remove_file(mail.path("users")).unwrap();
    let output = mail.reproduce(&["good"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("(--directory names it)"), "{}", text(&output.stderr));
    fs::write(mail.path("others"), "bad@here.example\n").unwrap();
    let output = mail.reproduce(&["good", "--directory", "others", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!([&said["counts"]["failed"], &said["counts"]["delivered"]], [1, 0]);
}

/// Each message on standard error is one write: lines of two processes don't mix.
#[test]
fn what_is_told_is_written_at_once() {
    let mail = Mail::new();
    write_capsule(&mail.path("good"), &by_hand(b"To: x@y\n\nbody\n"));
    let mut command = inqueue();
    command.current_dir(mail.folder.path()).args(["reproduce", "good"]);
    let told = told_by_writes(&mut command);
    let [program, directory] = told.as_slice() else { panic!("{told:?}") };
    for line in [program, directory] {
        assert!(line.starts_with("inqueue: ") && line.find('\n') == Some(line.len() - 1));
    }
    let told = told_by_writes(inqueue().arg("reproduce"));
    let [usage] = told.as_slice() else { panic!("{told:?}") };
    assert!(usage.contains("\n\nUsage: ") && usage.ends_with('\n'), "{usage}");
}

/// Cut at any byte, or with any one changed: refused, or, where white space is, the same.
#[test]
fn a_capsule_that_was_altered_or_torn_is_refused() {
    use inqueue::engine::reproduce::{Capsule, ReproduceError};
    let mail = Mail::new();
    let path = mail.path("capsule");
    write_capsule(&path, &by_hand(b"To: good@here.example\n\nbody\n"));
    let (whole, good) = (fs::read(&path).unwrap(), Capsule::load(&path).unwrap());
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = Capsule::load(&path).unwrap_err();
        assert!(matches!(error, ReproduceError::NotACapsule { .. }), "{cut}: {error}");
    }
    let (mut refused, mut same) = (0, 0);
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 2;
        fs::write(&path, &altered).unwrap();
        match Capsule::load(&path) {
            Ok(capsule) => {
                assert_eq!(capsule, good, "byte {at}");
                assert!(whole[at].is_ascii_whitespace());
                same += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10 * same, "{refused} refused, {same} the same");
    let refuse = |file: &Value, said: &str| {
        fs::write(&path, file.to_string()).unwrap();
        assert_refused(&mail.reproduce(&["capsule"]), 1, said);
    };
    refuse(&json!({}), "it has no member inqueue_capsule");
    refuse(&json!({"inqueue_capsule": 2}), "version 2 of a capsule isn't known to this program");
    refuse(&json!({"inqueue_capsule": 1, "checksum": 0}), "was altered since it was saved");
    // A checksum that fits, over a message that isn't one, or members that aren't there.
    let mut capsule = by_hand(b"To: good@here.example\n\nbody\n");
    capsule["message"]["record"] = json!(STANDARD.encode("no segment"));
    write_capsule(&path, &capsule);
    assert_refused(&mail.reproduce(&["capsule"]), 1, "was altered since it was saved");
    capsule["message"]["record"] = json!("***");
    write_capsule(&path, &capsule);
    assert_refused(&mail.reproduce(&["capsule"]), 1, "is no capsule");
    write_capsule(&path, &json!({"message": {}}));
    assert_refused(&mail.reproduce(&["capsule"]), 1, "is no capsule");
}

#[cfg(feature = "fault-injection")]
mod injected {
    use super::*;
    use crate::support::{Queue, assert_done, messages};
    use inqueue_gen::Format;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::ExitStatusExt as _;

    /// A run whose message in the middle is struck; and what `--list --json` says of it.
    fn struck(marker: &str, to: &str, options: &[&str]) -> (Mail, Value) {
        let mut mail = Mail::new();
        mail.add("before", "good@here.example", None);
        mail.add("struck", to, Some(marker));
        mail.add("behind", "good@here.example", None);
        let output = mail.run(options);
        assert_eq!(output.status.code(), Some(3), "{marker}: {}", text(&output.stderr));
        let listed = mail.reproduce(&["run", "--list", "--json"]);
        let lines: Vec<Value> =
            text(&listed.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [one] = lines.as_slice() else { panic!("{lines:?}") };
        (mail, one.clone())
    }

    fn said(output: &Output) -> Value {
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
    }

    /// It was struck again, as before.
    fn assert_same(output: &Output) -> Value {
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        let said = said(output);
        assert_eq!(said["same"], true, "{said:#}");
        said
    }

    /// All bytes of all files in a folder and below.
    fn all_files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.append(&mut all_files(&path));
            } else {
                all.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
        all
    }

    /// Each stage, panicking: the same stage, text and place, with a stack that leads there; and
    /// nothing is written.
    #[test]
    fn a_panic_is_struck_again_in_each_stage() {
        let unknown = "nobody@here.example";
        let stages = [
            ("parse", unknown, "quarantine/00000.seg:32"),
            ("decide", unknown, "quarantine/00000.seg:32"),
            ("render", unknown, "quarantine/00000.seg:32"),
            ("ndr", unknown, "dead-letter/00000.seg:32"),
            ("event", unknown, "ndr/00000.seg:32"),
        ];
        for (stage, to, place) in stages {
            let (mail, listed) = struck(stage, to, &[]);
            assert_eq!(listed["stage"], stage);
            assert_eq!(listed["fault"], format!("injected fault in {stage}"));
            assert_eq!(listed["records"], json!([place]));
            let before = all_files(mail.folder.path());
            let id = listed["queue_id"].as_str().unwrap();
            let again = assert_same(&mail.reproduce(&["run", id, "--json"]));
            for name in ["stage", "fault", "place"] {
                assert_eq!(again["now"][0][name], listed[name], "{stage}");
                assert_eq!(again["before"][0][name], listed[name], "{stage}");
            }
            assert_eq!(again["now"].as_array().unwrap().len(), 1);
            assert_eq!(again["taken_from"], "queue");
            let at = mail.mbox.find("Subject: struck").unwrap() as u64;
            let (offset, length) = (&again["offset"], &again["length"]);
            let range =
                offset.as_u64().unwrap()..(offset.as_u64().unwrap() + length.as_u64().unwrap());
            assert!(range.contains(&at));
            let stack = again["now"][0]["stack"].as_str().unwrap();
            assert!(stack.contains("inqueue::engine::inject::strike"), "{stack}");
            // Each name of it leads to the same.
            for id in [listed["id"].as_str().unwrap(), place] {
                assert_eq!(assert_same(&mail.reproduce(&["run", id, "--json"]))["offset"], *offset);
            }
            assert_eq!(all_files(mail.folder.path()), before);
        }
    }

    /// Each kind of death: the same stage and end.
    #[test]
    fn a_death_is_struck_again_by_its_signal_and_stage() {
        let kinds = [
            ("segv:parse", "died of SIGSEGV"),
            ("bus:decide", "died of SIGBUS"),
            ("abort:render", "died of SIGABRT"),
            ("stack:ndr", "died of SIGABRT"),
            ("oom:event", "died of SIGABRT"),
            ("hang:decide", "took longer than a message may"),
        ];
        for (marker, end) in kinds {
            let timeout = if marker.starts_with("hang") { "400ms" } else { "60s" };
            let bounds = ["--message-timeout", timeout, "--memory-limit", "256M"];
            let (mail, listed) = struck(marker, "nobody@here.example", &bounds);
            let (_, stage) = marker.split_once(':').unwrap();
            assert_eq!([&listed["stage"], &listed["fault"]], [stage, end]);
            let id = listed["queue_id"].as_str().unwrap();
            let args = [&["run", id, "--json"], &bounds[..]].concat();
            let again = assert_same(&mail.reproduce(&args));
            assert_eq!(again["now"][0]["stage"], stage);
            assert_eq!(again["now"][0]["fault"], end);
            assert_eq!(again["counts"], Value::Null);
        }
    }

    /// Without a fence round the process: a panic is told, a signal is the process's own.
    #[test]
    fn here_a_panic_is_told_and_a_signal_ends_the_process() {
        let (mail, listed) = struck("decide", "good@here.example", &[]);
        let id = listed["queue_id"].as_str().unwrap();
        assert_same(&mail.reproduce(&["run", id, "--here", "--json"]));
        let output = mail.reproduce(&["run", id]);
        assert_eq!(output.status.code(), Some(3));
        let told = text(&output.stdout);
        let place = listed["place"].as_str().unwrap();
        let line = format!("injected fault in decide in decide ({place})\n");
        assert!(told.contains(&format!("\nBefore: {line}Now: {line}")), "{told}");
        assert!(told.contains("\nUnder a debugger: gdb --args "), "{told}");
        assert!(told.ends_with(&format!("inqueue reproduce run {id} --here\n")), "{told}");
        let (mail, listed) = struck("segv:parse", "good@here.example", &[]);
        let output = mail.reproduce(&["run", listed["queue_id"].as_str().unwrap(), "--here"]);
        assert_eq!(output.status.signal(), Some(11));
    }

    /// Saved, and run where neither run nor queue is; then cured, by what struck it being gone.
    #[test]
    fn a_capsule_outlives_run_and_queue() {
        let (mail, listed) = struck("render", "good@here.example", &[]);
        let id = listed["queue_id"].as_str().unwrap();
        let output = mail.reproduce(&["run", id, "--save", "capsule.json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said = format!("{id} saved in capsule.json: inqueue reproduce capsule.json\n");
        assert_eq!(text(&output.stdout), said);
        let mode = fs::metadata(mail.path("capsule.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "mail is private");
        let again = mail.reproduce(&["run", id, "--save", "capsule.json"]);
        assert_refused(&again, 1, "capsule.json: cannot write the capsule");
        fs::remove_dir_all(mail.path("run")).unwrap();
        fs::remove_file(mail.path("queue.mbox")).unwrap();
        let again = assert_same(&mail.reproduce(&["capsule.json", "--json"]));
        assert_eq!(again["queue_id"], id);
        // The message in it is a queue for others.
        let file: Value =
            serde_json::from_slice(&fs::read(mail.path("capsule.json")).unwrap()).unwrap();
        let mut capsule = file["capsule"].clone();
        let segment = STANDARD.decode(capsule["message"]["record"].as_str().unwrap()).unwrap();
        fs::write(mail.path("one.seg"), segment).unwrap();
        let shown =
            inqueue().arg("show").arg(mail.path("one.seg")).arg(id).arg("--content").output();
        let content = text(&shown.unwrap().stdout);
        let message = mail.mbox.split("From a@").nth(2).unwrap();
        assert_eq!(content, message.split_once('\n').unwrap().1.strip_suffix('\n').unwrap());
        let cured = content.replace("X-Inqueue-Fault: render\n", "");
        capsule["message"]["record"] = json!(record(cured.as_bytes(), |_| {}));
        write_capsule(&mail.path("cured.json"), &capsule);
        let output = mail.reproduce(&["cured.json", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let now = super::injected::said(&output);
        assert_eq!((&now["now"], &now["counts"]["delivered"]), (&json!([]), &json!(1)));
        assert_eq!(output.stderr, b"", "the same program, and the same directory");
    }

    /// A capsule has the program of the run, whichever makes it; where the run doesn't say, its
    /// own.
    #[test]
    fn a_capsule_says_which_program_began_the_run() {
        let (mail, listed) = struck("parse", "good@here.example", &[]);
        let id = listed["queue_id"].as_str().unwrap();
        let plan: Value =
            serde_json::from_slice(&fs::read(mail.path("run/plan.json")).unwrap()).unwrap();
        let own = plan["program"].clone();
        let mut older = own.clone();
        older["version"] = json!("0.0.1");
        for (number, program, expect) in
            [(1, Some(&own), &own), (2, Some(&older), &older), (3, None, &own)]
        {
            let mut plan = plan.clone();
            match program {
                Some(program) => plan["program"] = program.clone(),
                None => drop(plan.as_object_mut().unwrap().remove("program")),
            }
            fs::write(mail.path("run/plan.json"), plan.to_string()).unwrap();
            let name = format!("{number}.json");
            let output = mail.reproduce(&["run", id, "--save", &name]);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let saved: Value =
                serde_json::from_slice(&fs::read(mail.path(&name)).unwrap()).unwrap();
            assert_eq!(saved["capsule"]["program"], *expect);
            for from in [&["run", id, "--json"][..], &[&name, "--json"]] {
                let output = mail.reproduce(from);
                assert_same(&output);
                let told = text(&output.stderr);
                let is_other = number == 2;
                assert_eq!(told.contains("the run was begun by 0.0.1 ("), is_other, "{told}");
                assert_eq!(told.lines().count(), usize::from(is_other), "{told}");
            }
        }
    }

    /// The queue is gone or has changed: the records of the run have the message, but where it went
    /// into reports alone.
    #[test]
    fn without_its_queue_the_message_comes_from_its_record() {
        let (good, bad) = ("good@here.example", "nobody@here.example");
        let kept = [
            ("parse", good, Some("quarantine")),
            ("segv:parse", good, Some("quarantine")),
            ("decide", bad, Some("quarantine")),
            ("ndr", bad, Some("dead-letter")),
            ("event", good, Some("accepted")),
            ("event", bad, None),
        ];
        for (marker, to, taken_from) in kept {
            let (mail, listed) = struck(marker, to, &[]);
            let id = listed["queue_id"].as_str().unwrap();
            fs::write(mail.path("queue.mbox"), format!("{}\n", mail.mbox)).unwrap();
            let output = mail.reproduce(&["run", id, "--json"]);
            match taken_from {
                Some(stream) => assert_eq!(assert_same(&output)["taken_from"], stream),
                None => assert_refused(&output, 1, "bring the queue back as it was"),
            }
            fs::remove_file(mail.path("queue.mbox")).unwrap();
            let output = mail.reproduce(&["run", id, "--json"]);
            assert_eq!(output.status.code(), Some(if taken_from.is_some() { 3 } else { 1 }));
        }
    }

    /// Generated queues of every format, with faults of every kind at every stage: each fault that
    /// is listed is struck again.
    #[test]
    fn every_fault_of_every_format_is_struck_again() {
        let formats = [Format::Segment, Format::Mbox, Format::Maildir, Format::Eml];
        for format in formats {
            let hazards = "fault-panic=0.1,fault-segv=0.05,mixed-outcomes=0.2";
            let queue = Queue::new(format, 100, hazards);
            queue.run("run", &["--part-size", "64K", "--breaker", "0"]);
            let run = queue.out("run");
            let listed = inqueue().arg("reproduce").arg(&run).args(["--list", "--json"]).output();
            let listed = text(&listed.unwrap().stdout);
            let mut count = 0;
            for line in listed.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let mut command = inqueue();
                command.arg("reproduce").arg(&run).arg(line["id"].as_str().unwrap());
                let again = assert_same(&command.arg("--json").output().unwrap());
                assert_eq!(again["taken_from"], "queue");
                count += 1;
            }
            let quarantined = messages(&run, "quarantine").len();
            assert!(count > 5 && count >= quarantined, "{}: {count}", format.name());
        }
    }

    /// A post office that was drained: its message is in quarantine, with what its office knows.
    #[test]
    fn a_message_of_a_drained_post_office_is_struck_again() {
        let folder = tempfile::tempdir().unwrap();
        let options = inqueue_gen::Options {
            messages: 60,
            format: Format::PostOffice,
            hazards: inqueue_gen::Mix::parse("fault-panic=0.2").unwrap(),
            ..inqueue_gen::Options::default()
        };
        inqueue_gen::generate(&options, folder.path()).unwrap();
        let run = folder.path().join("run");
        let queue = format!("postoffice:{}", folder.path().join("queue").display());
        let mut command = inqueue();
        command.args(["run", &queue, "--drain", "--now", NOW, "--hostname", "mta.example"]);
        command.arg("--directory").arg(folder.path().join("directory.txt")).arg("--out").arg(&run);
        assert_done(&command.output().unwrap());
        let mut command = inqueue();
        let listed =
            command.arg("reproduce").arg(&run).args(["--list", "--json"]).output().unwrap();
        let mut taken_from = BTreeMap::new();
        for line in text(&listed.stdout).lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let mut command = inqueue();
            command.arg("reproduce").arg(&run).arg(line["id"].as_str().unwrap());
            let output = command.arg("--json").output().unwrap();
            // What was reported to its sender is gone with the drain.
            if line["records"][0].as_str().unwrap().starts_with("ndr/") {
                assert_refused(&output, 1, "no stream has it whole");
                continue;
            }
            let from = assert_same(&output)["taken_from"].as_str().unwrap().to_owned();
            *taken_from.entry(from).or_insert(0) += 1;
        }
        assert_eq!(taken_from.keys().collect::<Vec<_>>(), ["dead-letter", "quarantine"]);
        assert!(taken_from["quarantine"] > 3, "{taken_from:?}");
    }
}
