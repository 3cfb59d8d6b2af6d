//! Deaths of messages, and what tells them from a broken program.

use crate::power;
use crate::support::{NOW, Queue, assert_same_streams, audit, events, inqueue, messages, text};
use inqueue_gen::Format;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Every kind of death, with what the event says of it. Memory ends in an abort, as the stack
/// does.
const KINDS: [(&str, &str); 6] = [
    ("segv", "died of SIGSEGV"),
    ("bus", "died of SIGBUS"),
    ("abort", "died of SIGABRT"),
    ("stack", "died of SIGABRT"),
    ("oom", "died of SIGABRT"),
    ("hang", "took longer than a message may"),
];
const OPTIONS: [&str; 4] = ["--part-size", "64K", "--memory-limit", "256M"];

/// Messages that kill, each kind in a queue of its own: exactly those are quarantined, byte for
/// byte, with their signatures; and the bytes are the same at any number of workers.
fn only_the_culprits(kind: &str, said: &str, messages_in_all: u64) {
    let hazards = format!("fault-{kind}=0.01,mixed-outcomes=0.2");
    let queue = Queue::new(Format::Segment, messages_in_all, &hazards);
    for workers in ["1", "2", "5"] {
        let mut command = queue.command(workers);
        command.args(OPTIONS).args(["--workers", workers]);
        // Others must have time enough on a busy machine: they would be tried, and acquitted.
        let timeout = if kind == "hang" { "400ms" } else { "60s" };
        command.args(["--message-timeout", timeout]);
        let output = command.env("RUST_BACKTRACE", "0").output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{kind}: {}", text(&output.stderr));
        queue.assert_clean(workers);
        assert_same_streams(&queue.out("1"), &queue.out(workers));
    }
    let manifest = fs::read_to_string(queue.made().join("manifest.jsonl")).unwrap();
    let lines = manifest.lines().skip(1).map(|line| serde_json::from_str(line).unwrap());
    let culprits: Vec<Value> = lines.filter(|line: &Value| !line["fault"].is_null()).collect();
    assert!(culprits.len() > 3, "{kind}: {}", culprits.len());
    assert_eq!(messages(&queue.out("1"), "quarantine").len(), culprits.len());
    let told = events(&queue.out("1"));
    let told: Vec<_> = told.iter().filter(|event| event["number"] == 2380).collect();
    assert_eq!(told.len(), culprits.len());
    for (event, culprit) in told.iter().zip(&culprits) {
        let marker = format!("{kind}:{}", event["stage"].as_str().unwrap());
        assert_eq!(culprit["fault"], marker.as_str());
        assert_eq!(event["fault"], said);
    }
}

#[test]
fn fault_segv() {
    only_the_culprits("segv", KINDS[0].1, 800);
}

#[test]
fn fault_bus() {
    only_the_culprits("bus", KINDS[1].1, 800);
}

#[test]
fn fault_abort() {
    only_the_culprits("abort", KINDS[2].1, 800);
}

#[test]
fn fault_stack() {
    only_the_culprits("stack", KINDS[3].1, 800);
}

#[test]
fn fault_oom() {
    only_the_culprits("oom", KINDS[4].1, 500);
}

#[test]
fn fault_hang() {
    only_the_culprits("hang", KINDS[5].1, 500);
}

/// An mbox in which some messages carry a marker; a run of it.
pub(super) struct Mail {
    folder: tempfile::TempDir,
}

impl Mail {
    pub(super) fn new(markers: &[Option<&str>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("users"), "good@here.example\n").unwrap();
        let message = |(number, marker): (usize, Option<&str>)| {
            let fault = marker.map_or_else(String::new, |m| format!("X-Inqueue-Fault: {m}\n"));
            format!(
                "From a@there.example Thu Jan  1 00:00:00 2026\nReturn-Path: <a@there.example>\n\
                 X-Original-To: good@here.example\n{fault}Subject: number {number}\n\nbody\n\n"
            )
        };
        let mbox: String = markers.iter().copied().enumerate().map(message).collect();
        fs::write(folder.path().join("queue.mbox"), mbox).unwrap();
        Self { folder }
    }

    pub(super) fn command(&self, out: &str, options: &[&str]) -> Command {
        let mut command = inqueue();
        command
            .current_dir(self.folder.path())
            .args(["run", "queue.mbox", "--directory", "users", "--out", out, "--json"])
            .args(["--now", NOW, "--hostname", "mta.example"])
            .args(options)
            .env("RUST_BACKTRACE", "0");
        command
    }

    pub(super) fn run(&self, out: &str, options: &[&str]) -> Output {
        self.command(out, options).output().unwrap()
    }

    pub(super) fn out(&self, out: &str) -> std::path::PathBuf {
        self.folder.path().join(out)
    }
}

fn quarantined(run: &Path) -> usize {
    messages(run, "quarantine").len()
}

/// The same fault on many messages in a row is a broken program: the run ends, none of the row is
/// set aside, and the next run goes on; when it isn't to be asked, all of them are.
#[test]
fn a_row_of_one_fault_ends_the_run_and_sets_nothing_aside() {
    for kind in ["decide", "segv:decide"] {
        let row = |at: usize| (10..34).contains(&at).then_some(kind);
        let mail = Mail::new(&(0..60).map(row).collect::<Vec<_>>());
        for (out, workers, size) in [("1", "1", "1M"), ("2", "2", "1M"), ("small", "1", "600")] {
            let options = ["--workers", workers, "--part-size", size];
            let output = mail.run(out, &options);
            assert_eq!(output.status.code(), Some(1), "{kind} {out}");
            let said = text(&output.stderr);
            assert!(said.contains("on too many messages in a row"), "{kind} {out}: {said}");
            let log = fs::read_to_string(mail.out(out).join("commits")).unwrap();
            assert!(log.lines().all(|line| line.contains("\"quarantined\":0")), "{kind}: {log}");
            let again = mail.run(out, &options);
            assert_eq!(again.status.code(), Some(1), "{kind} {out}: it is as broken as before");
            let output = mail.run(out, &[&options[..], &["--breaker", "0"]].concat());
            assert_eq!(output.status.code(), Some(3), "{kind} {out}: {}", text(&output.stderr));
            assert_eq!(quarantined(&mail.out(out)), 24, "{kind} {out}");
            assert_eq!(messages(&mail.out(out), "accepted").len(), 36);
            let report = audit(&mail.out(out), None);
            assert_eq!(["lost", "doubled", "wrong"].map(|k| report[k].as_u64()), [Some(0); 3]);
        }
    }
}

/// Fewer in a row than the breaker's number are the mail's: they are set aside.
#[test]
fn a_shorter_row_is_bad_mail() {
    let row = |at: usize| (10..29).contains(&at).then_some("abort:render");
    let mail = Mail::new(&(0..60).map(row).collect::<Vec<_>>());
    let output = mail.run("run", &["--workers", "2"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(quarantined(&mail.out("run")), 19);
}

/// What is made ready for the next death waits beside the engine, and may be killed: nobody is
/// condemned of that, and the bytes are the same.
#[test]
fn who_waits_for_an_order_may_be_killed() {
    let of = |number| (number % 20 == 7).then_some("segv:decide");
    let mail = Mail::new(&(0..400).map(of).collect::<Vec<_>>());
    let options = ["--part-size", "2K", "--workers", "2"];
    assert_eq!(mail.run("whole", &options).status.code(), Some(3));
    let mut guard = mail.command("killed", &options).stdout(Stdio::piped()).spawn().unwrap();
    // A third time would convict whom it strikes, if each strikes the same message's trial.
    let mut kills = 0;
    while kills < 2 && guard.try_wait().unwrap().is_none() {
        if let [_, .., last] = super::children(guard.id()).as_slice() {
            kills += u32::from(super::send("-KILL", *last));
        }
    }
    let output = guard.wait_with_output().unwrap();
    assert_eq!((output.status.code(), kills), (Some(3), 2), "{}", text(&output.stderr));
    assert_same_streams(&mail.out("whole"), &mail.out("killed"));
    let report = audit(&mail.out("killed"), None);
    assert_eq!(["lost", "doubled", "wrong"].map(|k| report[k].as_u64()), [Some(0); 3]);
    assert_eq!(quarantined(&mail.out("killed")), 20);
}

/// The first part's file can't be synced, and then the engine dies over the second part, before it
/// has said so: nobody syncs that file again, as the system would say that all is well.
#[test]
fn what_could_not_be_synced_before_a_death_is_not_gone_on_with() {
    if power::is_skipped("what_could_not_be_synced_before_a_death_is_not_gone_on_with") {
        return;
    }
    // Of the second part, of twelve messages: the slow ones give the group commit time.
    let of = |number| match number {
        14..20 => Some("slow:decide"),
        20 => Some("segv:decide"),
        _ => None,
    };
    let mail = Mail::new(&(0..60).map(of).collect::<Vec<_>>());
    let options = ["--part-size", "2K", "--workers", "1"];
    assert_eq!(mail.run("whole", &options).status.code(), Some(3));
    let file = mail.out("failed/accepted/00000.seg");
    let run = mail.command("failed", &options);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "signal=none", "-e", "trace=fdatasync", "-P"]).arg(&file);
    strace.args(["-e", "inject=fdatasync:error=EIO:when=1", "-o", "trace", "--"]);
    strace.current_dir(mail.folder.path()).envs(run.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = strace.arg(run.get_program()).args(run.get_args()).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("brought to the disk, and then it died: Input/output error"), "{said}");
    assert_eq!(fs::read(mail.out("failed/commits")).unwrap(), b"");
    let trace = fs::read_to_string(mail.out("trace")).unwrap();
    assert_eq!(trace.matches("fdatasync(").count(), 1, "{trace}");
    assert_eq!(mail.run("failed", &options).status.code(), Some(3));
    assert_same_streams(&mail.out("whole"), &mail.out("failed"));
    let report = audit(&mail.out("failed"), None);
    assert_eq!(["lost", "doubled", "wrong"].map(|k| report[k].as_u64()), [Some(0); 3]);
}

/// A death in a report makes a dead letter of it, one in an event leaves an event made from
/// numbers: as a panic there does, to the byte but for what happened.
#[test]
fn a_death_in_reporting_is_as_a_panic_there() {
    for stage in ["ndr", "event"] {
        let dies = format!("segv:{stage}");
        let at = |number: usize, marker: &'static str| (number % 5 == 2).then_some(marker);
        let dies: &'static str = dies.leak();
        let mails = [
            Mail::new(&(0..20).map(|n| at(n, stage)).collect::<Vec<_>>()),
            Mail::new(&(0..20).map(|n| at(n, dies)).collect::<Vec<_>>()),
        ];
        let numbers = mails.map(|mail| {
            let queue = fs::read_to_string(mail.out("queue.mbox")).unwrap();
            let bad = queue.replace("X-Original-To: good@", "X-Original-To: nobody@");
            fs::write(mail.out("queue.mbox"), bad).unwrap();
            let output = mail.run("run", &["--part-size", "700"]);
            assert_eq!(output.status.code(), Some(3), "{stage}: {}", text(&output.stderr));
            let count = |stream| messages(&mail.out("run"), stream).len();
            let told = events(&mail.out("run"));
            let told: Vec<_> = told.iter().map(|event| event["number"].as_u64()).collect();
            (["accepted", "ndr", "dead-letter", "quarantine"].map(count), told)
        });
        assert_eq!(numbers[0], numbers[1], "{stage}");
    }
}
