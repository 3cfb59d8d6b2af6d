//! The second fence: whatever the engine dies of, or doesn't get through, costs the message that
//! it had in hand, and nothing else.
//!
//! Deaths of messages are injected (`--features fault-injection`); those from outside need no
//! feature. Not here: panics (`faults`).

#[cfg(feature = "fault-injection")]
mod injected;
#[cfg(feature = "fault-injection")]
mod limits;
#[cfg(feature = "fault-injection")]
mod parts;

use crate::power;
use crate::support::{Queue, assert_done, assert_same_streams, events, text};
use inqueue_gen::Format;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The processes that a process has split off.
fn children(process: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    list.unwrap_or_default().split_whitespace().map(|id| id.parse().unwrap()).collect()
}

/// The engine of a run, once it has one that does something: parts are committed.
fn engine(guard: &mut Child, run: &Path) -> Option<u32> {
    loop {
        let begun = fs::metadata(run.join("commits")).is_ok_and(|log| log.len() > 0);
        match children(guard.id()).first() {
            Some(engine) if begun => return Some(*engine),
            _ if guard.try_wait().unwrap().is_some() => return None,
            _ => std::thread::yield_now(),
        }
    }
}

fn send(signal: &str, process: u32) -> bool {
    Command::new("kill")
        .args([signal, &process.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim().chars().next();
    !matches!(state, None | Some('Z' | 'X'))
}

/// The engine is killed from outside, again and again: nobody in hand is condemned, and the bytes
/// are those of a run that nobody disturbed. Also where the signal is one that it may have sent
/// itself.
#[test]
fn the_engine_killed_from_outside_condemns_nobody() {
    let queue = Queue::new(Format::Segment, 4_000, "all");
    let options = ["--part-size", "16K", "--sync", "never", "--workers", "2"];
    queue.run("whole", &options);
    for signal in ["-KILL", "-ABRT"] {
        let mut command = queue.command(signal);
        let mut guard = command.args(options).stdout(Stdio::piped()).spawn().unwrap();
        let log = queue.out(signal).join("commits");
        let (mut kills, mut last) = (0, 0);
        while let Some(engine) = engine(&mut guard, &queue.out(signal)) {
            // Only one that has done something since the last kill: else nothing would ever be
            // done.
            let done = fs::metadata(&log).unwrap().len();
            if done > last {
                kills += u32::from(send(signal, engine));
                last = fs::metadata(&log).unwrap().len();
            }
            if kills == 10 {
                break;
            }
        }
        let output = guard.wait_with_output().unwrap();
        assert_done(&output);
        assert!(kills > 0);
        assert_same_streams(&queue.out("whole"), &queue.out(signal));
        queue.assert_clean(signal);
        let charges = fs::read_to_string(queue.out(signal).join("charges")).unwrap_or_default();
        assert!(!charges.contains("convicted"), "{charges}");
    }
}

/// A guard that is killed takes the engine with it, and the next run goes on.
#[test]
fn a_killed_guard_leaves_no_orphan() {
    let queue = Queue::new(Format::Segment, 4_000, "all");
    let options = ["--part-size", "16K", "--sync", "never", "--workers", "2"];
    queue.run("whole", &options);
    let mut orphans = 0;
    for _ in 0..5 {
        let mut command = queue.command("killed");
        let mut guard = command.args(options).stdout(Stdio::null()).spawn().unwrap();
        let Some(engine) = engine(&mut guard, &queue.out("killed")) else { break };
        guard.kill().unwrap();
        guard.wait().unwrap();
        // It goes at once; the test's own time limit stands for "never".
        while is_alive(engine) {
            std::thread::yield_now();
        }
        orphans += 1;
    }
    assert!(orphans > 0);
    queue.run("killed", &options);
    assert_same_streams(&queue.out("whole"), &queue.out("killed"));
    queue.assert_clean("killed");
}

/// The queue's file is shortened while it is read: that is no message's fault. The run ends and
/// says so, and what is committed stays.
#[test]
fn a_queue_that_is_shortened_under_the_engine_condemns_nobody() {
    let queue = Queue::new(Format::Segment, 4_000, "none");
    let options = ["--part-size", "64K", "--sync", "never", "--workers", "2"];
    let file = queue.made().join("queue.seg");
    let mut command = queue.command("run");
    let mut guard =
        command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    engine(&mut guard, &queue.out("run"));
    let length = fs::metadata(&file).unwrap().len();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length / 3).unwrap();
    let output = guard.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("run it again to go on"), "{}", text(&output.stderr));
    let charges = fs::read_to_string(queue.out("run").join("charges")).unwrap_or_default();
    assert!(!charges.contains("convicted"), "{charges}");
}

/// Without the fence all is as with it.
#[test]
fn without_a_supervisor_the_bytes_are_the_same() {
    let queue = Queue::new(Format::Mbox, 500, "all");
    queue.run("with", &["--part-size", "64K"]);
    queue.run("without", &["--part-size", "64K", "--no-supervisor"]);
    assert_same_streams(&queue.out("with"), &queue.out("without"));
}

/// Where the system has room for fewer threads than workers were asked for, those that there are do
/// the same; where it has none the run says so, and goes on when there is room.
#[test]
fn a_system_without_room_for_threads_costs_time_and_no_mail() {
    if power::is_skipped("a_system_without_room_for_threads_costs_time_and_no_mail") {
        return;
    }
    let queue = Queue::new(Format::Segment, 300, "unknown-recipient=0.1");
    let options = ["--part-size", "64K", "--workers", "3"];
    queue.run("whole", &options);
    for (out, more) in [("guarded", &[][..]), ("alone", &["--no-supervisor"])] {
        // Which of a process's threads are refused: of that which begins workers, the group commit
        // is the first. Without a supervisor one was begun to open the queue before, which is the
        // guard's first where there is one.
        let before = usize::from(out == "alone");
        let refused = |first: usize| {
            let run = queue.command(out);
            let refuse = format!("inject=clone3:error=EAGAIN:when={first}+");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-e", "signal=none", "-e", "trace=clone3", "-e"]).arg(refuse);
            strace.args(["-o", "/dev/null", "--"]).arg(run.get_program()).args(run.get_args());
            strace.args(options).args(more).env("RAYON_NUM_THREADS", "1").output().unwrap()
        };
        for first in 1..=before + 2 {
            let output = refused(first);
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.starts_with("inqueue: the system has no room for a thread: "), "{told}");
            let commits = fs::read(queue.out(out).join("commits"));
            assert_eq!(commits.ok().as_deref(), (first > 1).then_some(&b""[..]));
        }
        assert_done(&refused(before + 3));
        assert_same_streams(&queue.out("whole"), &queue.out(out));
        queue.assert_clean(out);
    }
}

/// What a killed guard has charged is tried by the next, before anything else; it is innocent.
#[test]
fn who_was_charged_and_not_tried_is_tried_by_the_next_guard() {
    let queue = Queue::new(Format::Segment, 500, "none");
    queue.run("whole", &["--part-size", "64K"]);
    let copy = queue.out("charged");
    // A run of which nothing is done: its plan, and an empty log.
    fs::create_dir(&copy).unwrap();
    fs::copy(queue.out("whole").join("plan.json"), copy.join("plan.json")).unwrap();
    fs::write(copy.join("commits"), "").unwrap();
    let line =
        r#"{"part":1,"index":3,"offset":0,"stage":"parse","end":"SIGSEGV","verdict":"charged"}"#;
    let line = format!("{:08x} {line}\n", crc32c::crc32c(line.as_bytes()));
    fs::write(copy.join("charges"), &line).unwrap();
    queue.run("charged", &["--part-size", "64K"]);
    assert_same_streams(&queue.out("whole"), &copy);
    let charges = fs::read_to_string(copy.join("charges")).unwrap();
    let verdicts: Vec<Value> =
        charges.lines().map(|line| serde_json::from_str(&line[9..]).unwrap()).collect();
    let verdicts: Vec<_> = verdicts.iter().map(|charge| charge["verdict"].as_str()).collect();
    assert_eq!(verdicts, [Some("charged"), Some("acquitted")]);
    assert!(events(&copy).iter().all(|event| event["number"] != 2380));
}
