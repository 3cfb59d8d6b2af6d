//! Logs that a run writes as it goes, and what becomes of them when something is in the way: a log
//! never stops a run, and what isn't logged is told.
//!
//! What readers of other makers see in them: `event_readers`.

use crate::event_readers::{export, log_files};
use crate::support::{NOW, Queue, events, inqueue, text};
use inqueue::event::evt::scan;
use inqueue_gen::Format;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Ids of a log's records, through all its files.
fn ids(first: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    for file in log_files(first) {
        let log = fs::read(&file).unwrap();
        let extent = scan(&log).unwrap().extent;
        assert_eq!(extent.first as usize, ids.len() + 1, "{}", file.display());
        // The id of each record is the last one's of a log that has it alone.
        let mut end = 48;
        for _ in 0..extent.records() {
            let length = u32::from_le_bytes(log[end..end + 4].try_into().unwrap()) as usize;
            let alone = [&log[..48], &log[end..end + length]].concat();
            end += length;
            ids.push(scan(&alone).unwrap().last_id.unwrap());
        }
        assert_eq!(end, extent.end as usize);
    }
    ids
}

fn ids_of_events(run: &Path) -> Vec<String> {
    events(run).iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// The log of a finished run, as it says.
fn whole(run: &Path) -> Value {
    json!({"events": events(run).len(), "missing": 0, "error": null})
}

/// With many parts that finish in any order, the log has the order of the parts; at any number of
/// workers it is the same bytes; it is what `events --to` writes.
#[test]
fn a_live_log_is_in_part_order_and_the_same_as_one_of_a_finished_run() {
    let queue = Queue::new(Format::Segment, 1_500, "all");
    for workers in ["1", "4"] {
        let to = format!("evt:{}", queue.out(&format!("live-{workers}.evt")).display());
        let options =
            ["--part-size", "8K", "--workers", workers, "--log", &to, "--log-size", "200K"];
        let said = queue.run(workers, &options);
        assert_eq!(said["log"], whole(&queue.out(workers)));
    }
    let live = queue.out("live-1.evt");
    assert_eq!(ids(&live), ids_of_events(&queue.out("1")));
    let after = queue.out("after.evt");
    let to = format!("evt:{}", after.display());
    assert!(export(&queue.out("1"), &to, &["--log-size", "200K"]).status.success());
    let files = |first: &Path| -> Vec<Vec<u8>> {
        log_files(first).iter().map(|file| fs::read(file).unwrap()).collect()
    };
    assert!(files(&live).len() > 2);
    assert!(files(&live) == files(&queue.out("live-4.evt")), "workers change the log");
    assert!(files(&live) == files(&after), "the log of a finished run is another");
    assert!(!queue.out("after.evt.partial").exists());
}

/// Cut anywhere, as a crash may leave it: the next run goes on behind the last whole record.
#[test]
fn a_torn_log_is_gone_on_with() {
    let queue = Queue::new(Format::Mbox, 40, "all");
    let live = queue.out("x.evt");
    let to = format!("evt:{}", live.display());
    let options = ["--part-size", "8K", "--log", &to, "--log-size", "8K"];
    queue.run("run", &options);
    let files = log_files(&live);
    let written: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(files.len() > 3);
    for kept in 0..3 {
        for cut in [0, 30, 48, 100, 2_000, written[kept].len() - 41, written[kept].len()] {
            for file in &files[kept + 1..] {
                let _ = fs::remove_file(file);
            }
            fs::write(&files[kept], &written[kept][..cut.min(written[kept].len())]).unwrap();
            if cut == 30 {
                // Not even a header: no crash leaves that of one write, and it is left alone.
                let said = queue.run("run", &options);
                assert!(said["log"]["error"].as_str().unwrap().contains("no event log"));
                continue;
            }
            let said = queue.run("run", &options);
            assert_eq!(said["log"], whole(&queue.out("run")), "cut at {cut} of file {kept}");
            for (file, bytes) in files.iter().zip(&written) {
                assert!(fs::read(file).unwrap() == *bytes, "cut at {cut} of file {kept}");
            }
        }
        fs::write(&files[kept], &written[kept]).unwrap();
    }
}

/// The same for lines of syslog.
#[test]
fn a_torn_file_of_syslog_is_gone_on_with() {
    let queue = Queue::new(Format::Mbox, 40, "all");
    let live = queue.out("syslog");
    let to = format!("syslog:{}", live.display());
    let options = ["--part-size", "8K", "--log", &to];
    let said = queue.run("run", &options);
    assert_eq!(said["log"], whole(&queue.out("run")));
    let written = fs::read(&live).unwrap();
    let after = queue.out("after");
    assert!(
        export(&queue.out("run"), &format!("syslog:{}", after.display()), &[]).status.success()
    );
    assert!(fs::read(&after).unwrap() == written);
    for cut in [0, 1, 100, 1_000, written.len() - 1, written.len()] {
        fs::write(&live, &written[..cut]).unwrap();
        let said = queue.run("run", &options);
        assert_eq!(said["log"], whole(&queue.out("run")));
        assert!(fs::read(&live).unwrap() == written, "cut at {cut}");
    }
}

/// What isn't this run's log is left as it is, and the run is done all the same.
#[test]
fn a_log_of_others_is_left_alone_and_the_run_goes_on() {
    let queue = Queue::new(Format::Mbox, 30, "none");
    let other = Queue::new(Format::Segment, 60, "none");
    let (evt, syslog) = (other.out("x.evt"), other.out("x.log"));
    other.run("a", &["--log", &format!("evt:{}", evt.display())]);
    other.run("a", &["--log", &format!("syslog:{}", syslog.display())]);
    let text_file = other.out("text");
    fs::write(&text_file, "a text of others\nwithout an end").unwrap();
    let folder = other.out("folder");
    fs::create_dir(&folder).unwrap();
    let nowhere = other.out("nowhere/x.evt");
    let (busy, busy_lines) = (other.out("busy.evt"), other.out("busy.log"));
    let held = [&busy, &busy_lines].map(|path| {
        let file = fs::File::create(path).unwrap();
        file.lock().unwrap();
        file
    });
    let cases: [(&str, &PathBuf, &str); 8] = [
        ("evt", &evt, "is the log of another run"),
        ("syslog", &syslog, "is the log of another run"),
        ("evt", &text_file, "is no event log"),
        ("syslog", &text_file, "is no event log"),
        ("evt", &folder, "cannot write"),
        ("evt", &nowhere, "cannot write"),
        ("evt", &busy, "cannot write: another process writes it"),
        ("syslog", &busy_lines, "cannot write: another process writes it"),
    ];
    for (number, (form, path, problem)) in (0..).zip(cases) {
        let before = fs::read(path).ok();
        let out = format!("run-{number}");
        let to = format!("{form}:{}", path.display());
        let output = queue.command(&out).args(["--log", &to]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let missing = events(&queue.out(&out)).len();
        assert!(missing > 0);
        assert_eq!([&said["log"]["events"], &said["log"]["missing"]], [&json!(0), &json!(missing)]);
        let told = text(&output.stderr);
        let expect =
            format!("inqueue: events not logged: {missing}: {}: {problem}", path.display());
        assert!(told.starts_with(&expect), "{told}");
        queue.assert_clean(&out);
        if form == "syslog" || problem != "is the log of another run" {
            assert_eq!(fs::read(path).ok(), before, "{to}");
        }
    }
    drop(held);
    assert_eq!(ids(&evt), ids_of_events(&other.out("a")), "its records are all there");
}

/// A receiver that isn't there: told, counted, and no reason not to do the run.
#[test]
fn a_receiver_that_is_gone_never_stops_a_run() {
    let queue = Queue::new(Format::Mbox, 30, "none");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let socket = queue.out("no.sock");
    let targets =
        [format!("syslog:tcp://127.0.0.1:{port}"), format!("syslog:unix:{}", socket.display())];
    for (number, to) in (0..).zip(&targets) {
        let out = format!("run-{number}");
        let said = queue.run(&out, &["--log", to]);
        let missing = events(&queue.out(&out)).len();
        assert_eq!(said["log"]["missing"], missing);
        assert!(said["log"]["error"].as_str().unwrap().contains("cannot send"), "{said}");
        let output = export(&queue.out(&out), to, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("cannot send"), "{}", text(&output.stderr));
    }
}

#[test]
fn targets_that_make_no_sense_are_refused_before_anything_is_done() {
    let queue = Queue::new(Format::Mbox, 3, "none");
    for (option, value, problem) in [
        ("--log", "jsonl:x", "is made when a run is done"),
        ("--log", "session-log:x", "is made when a run is done"),
        ("--log", "xml:x", "not one of"),
        ("--log", "syslog:tcp://host", "not one of"),
        ("--log-size", "0", "a size from 1 byte on"),
        ("--log-size", "2G", "not from 1 to"),
    ] {
        let output = queue.command("run").args([option, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(problem), "{}", text(&output.stderr));
    }
    assert!(!queue.out("run").exists());
}

/// The seed's case, in the original's own logs: good mail around a message whose sender and
/// recipient are both invalid, and one for a recipient who isn't there.
#[test]
fn session_log_and_system_log_are_those_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    fs::write(folder.path().join("users"), "good@here.example\n").unwrap();
    let message = |sender: &str, to: &str| {
        format!(
            "From {sender} Thu Jan  1 00:00:00 2026\nReturn-Path: <{sender}>\nX-Original-To: \
             {to}\nSubject: x\n\nbody\n\n"
        )
    };
    let mail = [
        message("ann@there.example", "good@here.example"),
        message("not an address", "also@@not..one"),
        message("ann@there.example", "nobody@here.example"),
    ];
    fs::write(folder.path().join("q.mbox"), mail.concat()).unwrap();
    let output = inqueue()
        .args(["run", &place("q.mbox"), "--directory", &place("users"), "--out", &place("run")])
        .args(["--now", NOW, "--hostname", "mta.example", "--quiet"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let run = folder.path().join("run");
    for form in ["session-log", "system-log"] {
        assert!(export(&run, &format!("{form}:{}", place(form)), &[]).status.success());
    }
    let told = events(&run);
    let numbers: Vec<_> = told.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2444, 2371, 2451, 2375, 2117], "the issue's events");
    let id = |index: usize| told[index]["queue_id"].as_str().unwrap();
    let (first, second, third) = (id(0), id(1), id(3));
    let at = "01-02-26 03:04";
    let notice = format!("{at} Notice in LOG\\SYSTEM.LOG on: mta.example");
    let session = [
        format!("{at} Processing received mail queue at: mta.example."),
        format!("{at} INQUEUE file: {first}"),
        format!("{at} INQUEUE file: {second}"),
        notice.clone(),
        format!("{at} INQUEUE file: {third}"),
        notice,
        format!("{at} Delivering of mail from INQUEUE3 is complete."),
        String::new(),
    ];
    assert_eq!(fs::read_to_string(place("session-log")).unwrap(), session.join("\r\n"));
    let system = format!(
        "System log entry on: {at}\nExternal program has detected a mail problem.\nFailure \
         queuing diagnostic data back to sender due to:\nthe reverse-path is not a \
         mailbox\nMessage data: {second}\nFrom: not an address\nDate: 01-02-26\nTime: \
         03:04\nSubject: (unknown)\n[5.1.3] the address is not a valid mail \
         address\nalso@@not..one\n\nSystem log entry on: {at}\nExternal program has detected a \
         mail problem.\nMessage data: {third}\nFrom: ann@there.example\nDate: 01-02-26\nTime: \
         03:04\nSubject: (unknown)\n[002] Mail was received that was addressed to unknown \
         addresses.\nnobody@here.example\n\n"
    );
    let written = fs::read_to_string(place("system-log")).unwrap();
    assert_eq!(written, system.replace('\n', "\r\n"));
}
