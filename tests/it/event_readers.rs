//! Event logs and syslog, read by others: evtexport and evtinfo, libevt's and dissect's Python
//! readers, rsyslogd. Each sees every event, and all of it.
//!
//! Where one of them isn't installed, its test says so, with its name, and passes.

use crate::readers::{script, skipped};
use crate::support::{Queue, events, inqueue, text};
use inqueue::event::evt::{self, scan};
use inqueue::event::told::Told;
use inqueue_gen::Format;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Exports the events of a run; gives what is said.
pub(crate) fn export(run: &Path, to: &str, options: &[&str]) -> Output {
    inqueue().arg("events").arg(run).args(["--to", to]).args(options).output().unwrap()
}

/// The files of a log, oldest first.
pub(crate) fn log_files(first: &Path) -> Vec<PathBuf> {
    let stem = first.file_stem().unwrap().to_str().unwrap();
    let more = (1..).map(|number| first.with_file_name(format!("{stem}.{number}.evt")));
    std::iter::once(first.to_owned()).chain(more).take_while(|path| path.exists()).collect()
}

/// What readers have to see of a run's events.
fn expected(run: &Path) -> Vec<Value> {
    let records = events(run).into_iter().zip(1..);
    let record = |(event, number): (Value, u32)| {
        let told = Told::parse(event.to_string().as_bytes()).unwrap();
        let kind = match event["type"].as_str().unwrap() {
            "error" => (1, 0xC000_0000_u64),
            "warning" => (2, 0x8000_0000),
            _ => (4, 0x4000_0000),
        };
        // 2026-01-02T03:04:05Z
        let time = 1_767_323_045;
        json!({
            "number": number, "id": kind.1 + event["number"].as_u64().unwrap(), "type": kind.0,
            "category": told.category().number(), "generated": time, "written": time,
            "source": "MSExchangeMSMI", "computer": "mta.example",
            "strings": evt::strings(&told),
        })
    };
    records.map(record).collect()
}

/// The block that evtexport prints of a record.
fn block(record: &Value) -> String {
    let kind = match record["type"].as_u64().unwrap() {
        1 => "Error event (1)",
        2 => "Warning event (2)",
        _ => "Information event (4)",
    };
    let (id, strings) = (record["id"].as_u64().unwrap(), record["strings"].as_array().unwrap());
    let mut block = format!(
        "Event number\t\t\t: {}\nCreation time\t\t\t: Jan 02, 2026 03:04:05 UTC\nWritten \
         time\t\t\t: Jan 02, 2026 03:04:05 UTC\nEvent type\t\t\t: {kind}\nComputer \
         name\t\t\t: mta.example\nSource name\t\t\t: MSExchangeMSMI\nEvent category\t\t\t: \
         {}\nEvent identifier\t\t: 0x{id:08x} ({id})\nNumber of strings\t\t: {}\n",
        record["number"],
        record["category"],
        strings.len()
    );
    for (string, number) in strings.iter().zip(1..) {
        block.extend([format!("String: {number}\t\t\t: "), string.as_str().unwrap().to_owned()]);
        block.push('\n');
    }
    block
}

/// A program of libevt-utils, in a locale that shows all characters; none where it isn't installed.
fn libevt(test: &str, program: &str, file: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C.UTF-8").env("PATH", std::env::var_os("PATH").unwrap());
    let Ok(output) = command.arg(file).output() else {
        skipped(test, &format!("{program} isn't installed"));
        return None;
    };
    assert!(output.status.success(), "{program}: {}", text(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// What libevt's and dissect's readers see; none where they aren't installed.
fn by_python(test: &str, files: &[PathBuf]) -> Option<Value> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/readers/bin/python");
    let python = std::env::var_os("INQUEUE_READERS").map_or(ours, PathBuf::from);
    let run = Command::new(python).arg("-B").arg(script("evt.py")).args(files).output();
    match run {
        Ok(output) if output.status.code() != Some(77) => {
            assert!(output.status.success(), "evt.py failed: {}", text(&output.stderr));
            Some(serde_json::from_slice(&output.stdout).unwrap())
        }
        _ => {
            skipped(test, "libevt-python and dissect.eventlog aren't installed");
            None
        }
    }
}

fn assert_read_alike(test: &str, run: &Path, files: &[PathBuf]) {
    let expected = expected(run);
    if let Some(seen) = by_python(test, files) {
        for reader in ["libevt", "dissect"] {
            let seen = seen[reader].as_array().unwrap();
            assert_eq!(seen.len(), expected.len(), "{reader}");
            for (seen, expected) in seen.iter().zip(&expected) {
                assert_eq!(seen, expected, "{reader}");
            }
        }
        assert_eq!([&seen["corrupted"], &seen["recovered"]], [&json!(false), &json!(0)]);
    }
    let mut blocks = String::new();
    for file in files {
        let Some(info) = libevt(test, "evtinfo", file) else { return };
        assert!(!info.contains("Is corrupted"), "{info}");
        assert!(info.contains("Number of recovered records\t: 0\n"), "{info}");
        let Some(exported) = libevt(test, "evtexport", file) else { return };
        let (_, exported) = exported.split_once("\n\n").unwrap();
        blocks.push_str(exported.trim_end_matches("No records to export.\n"));
    }
    let shown: Vec<_> = blocks.split("Event number\t").skip(1).map(str::trim_end).collect();
    assert_eq!(shown.len(), expected.len());
    for (shown, expected) in shown.into_iter().zip(&expected) {
        assert_eq!(format!("Event number\t{shown}\n"), block(expected));
    }
}

/// Every hazard, in one file and in many: evtexport, libevt and dissect see all records, strings,
/// ids, types, times and computers.
#[test]
fn event_logs_are_read_by_all() {
    let queue = Queue::new(Format::Mbox, 300, "all");
    queue.run("run", &["--part-size", "64K"]);
    for (name, size, more) in [("one", "64M", false), ("many", "64K", true)] {
        let file = queue.out(&format!("{name}.evt"));
        let output =
            export(&queue.out("run"), &format!("evt:{}", file.display()), &["--log-size", size]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let files = log_files(&file);
        assert_eq!(files.len() > 1, more, "{files:?}");
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 64 << 20));
        if more {
            assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 64 << 10));
        }
        assert_read_alike("event_logs_are_read_by_all", &queue.out("run"), &files);
    }
}

/// A log without any record is read as that.
#[test]
fn an_empty_event_log_is_read() {
    let test = "an_empty_event_log_is_read";
    let queue = Queue::new(Format::Mbox, 0, "none");
    queue.run("run", &[]);
    let file = queue.out("x.evt");
    let output = export(&queue.out("run"), &format!("evt:{}", file.display()), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(file.metadata().unwrap().len(), 48 + 40);
    if let Some(seen) = by_python(test, std::slice::from_ref(&file)) {
        assert_eq!(seen["libevt"], json!([]));
        assert_eq!(seen["dissect"], json!([]));
        assert_eq!(seen["corrupted"], false);
    }
    if let Some(info) = libevt(test, "evtinfo", &file) {
        assert!(info.contains("Number of records\t\t: 0\n") && !info.contains("corrupted"));
    }
}

/// A log that is cut at any byte, as `kill -9` in the middle of a write leaves it: all whole
/// records are exported.
#[test]
fn a_log_cut_anywhere_exports_what_was_written() {
    let test = "a_log_cut_anywhere_exports_what_was_written";
    let queue = Queue::new(Format::Mbox, 12, "none");
    queue.run("run", &[]);
    let file = queue.out("x.evt");
    let output = export(&queue.out("run"), &format!("evt:{}", file.display()), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut log = fs::read(&file).unwrap();
    let expected = expected(&queue.out("run"));
    // Dirty, with a header of when nothing was in it.
    log[..48].copy_from_slice(&evt::Extent::new(1).header(true));
    for cut in (48..log.len()).step_by(97) {
        let torn = queue.out("torn.evt");
        fs::write(&torn, &log[..cut]).unwrap();
        let whole = scan(&log[..cut]).unwrap().extent.records() as usize;
        let Some(exported) = libevt(test, "evtexport", &torn) else { return };
        assert_eq!(exported.matches("Event number\t").count(), whole, "cut at {cut}");
        for record in &expected[..whole] {
            assert!(exported.contains(&block(record)), "cut at {cut}");
        }
    }
}

/// A run that is killed leaves a log that exports all its records; the run goes on, and so does the
/// log: no event twice, none missing.
#[test]
fn a_live_log_outlives_kill_9() {
    let test = "a_live_log_outlives_kill_9";
    let queue = Queue::new(Format::Segment, 3_000, "all");
    let file = queue.out("live.evt");
    let log = ["--log".to_owned(), format!("evt:{}", file.display())];
    let options = ["--part-size", "4K", "--sync", "never", "--workers", "2"];
    let mut kills = 0;
    for records in [1, 200, 700] {
        let mut command = queue.command("run");
        command.args(options).args(&log).args(["--log-size", "256K"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // A log of this many records is surely longer than this.
        let enough = records * 300;
        let is_long = || {
            let lengths = log_files(&file).into_iter().map(|file| file.metadata().unwrap().len());
            lengths.sum::<u64>() > enough
        };
        while !is_long() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        kills += usize::from(child.wait().unwrap().code().is_none());
        let files = log_files(&file);
        let mut exported = 0;
        for file in &files {
            let whole = scan(&fs::read(file).unwrap()).map_or(0, |log| log.extent.records());
            let Some(shown) = libevt(test, "evtexport", file) else { return };
            let shown = shown.matches("Event number\t").count();
            assert_eq!(shown, whole as usize, "{}", file.display());
            exported += shown;
        }
        assert!(exported > 0);
    }
    assert!(kills > 1, "no run was killed while it was at work");
    let said =
        queue.run("run", &[&options[..], &["--log", &log[1], "--log-size", "256K"]].concat());
    let events = events(&queue.out("run")).len();
    assert_eq!(said["log"], json!({"events": events, "missing": 0, "error": null}));
    assert!(log_files(&file).len() > 2);
    assert_read_alike(test, &queue.out("run"), &log_files(&file));
}

/// A receiver of syslog on this machine, with a configuration of its own.
struct Rsyslog {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Waits for a condition: it has to come about, but nobody knows when.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}");
        std::thread::yield_now();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Rsyslog {
    /// Starts it with TCP and UDP on a port, and a local socket; none where it isn't installed.
    fn start(test: &str) -> Option<(Self, u16, PathBuf)> {
        let program = ["rsyslogd", "/usr/sbin/rsyslogd"]
            .into_iter()
            .find(|name| Command::new(name).arg("-v").output().is_ok());
        let Some(program) = program else {
            skipped(test, "rsyslogd isn't installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (port, place) = (free_port(), folder.path().display());
        let socket = folder.path().join("log.sock");
        let configuration = format!(
            r#"global(workDirectory="{place}" maxMessageSize="8k")
module(load="imtcp")
module(load="imudp")
module(load="imuxsock" SysSock.Use="off")
template(name="seen" type="list") {{
  property(name="pri") constant(value="|") property(name="timereported" dateFormat="rfc3339")
  constant(value="|") property(name="hostname") constant(value="|") property(name="app-name")
  constant(value="|") property(name="msgid") constant(value="|")
  property(name="structured-data") constant(value="|") property(name="msg") constant(value="\n")
}}
ruleset(name="all") {{ action(type="omfile" file="{place}/seen" template="seen") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="all")
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="all")
input(type="imuxsock" Socket="{socket}" UseSpecialParser="off" ParseHostname="on"
      RateLimit.Interval="0" UseSysTimeStamp="off" IgnoreTimestamp="off" ruleset="all")
"#,
            socket = socket.display()
        );
        fs::write(folder.path().join("rsyslog.conf"), configuration).unwrap();
        let child = Command::new(program)
            .arg("-n")
            .args(["-f".into(), folder.path().join("rsyslog.conf")])
            .args(["-i".into(), folder.path().join("pid")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Self { child, folder };
        wait_until("rsyslogd takes connections", || {
            socket.exists() && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some((started, port, socket))
    }

    /// What it has taken, when it is this many lines.
    fn seen(&self, lines: usize) -> Vec<String> {
        let path = self.folder.path().join("seen");
        let read = || fs::read(&path).unwrap_or_default();
        wait_until("rsyslogd has written all", || text(&read()).lines().count() >= lines);
        String::from_utf8(read()).unwrap().lines().map(str::to_owned).collect()
    }
}

/// A message of ours as rsyslogd's template shows it.
fn as_rsyslog_shows(line: &str) -> String {
    let (pri, rest) = line.strip_prefix('<').unwrap().split_once(">1 ").unwrap();
    let mut words = rest.splitn(6, ' ');
    let mut word = || words.next().unwrap();
    let (time, host, app, _, number, rest) = (word(), word(), word(), word(), word(), word());
    // The end of structured data is the first `]` that isn't escaped.
    let escaped = |at: usize| rest[..at].chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
    let end = rest.match_indices("] ").map(|(at, _)| at).find(|at| !escaped(*at)).unwrap();
    let (data, text) = (&rest[..=end], &rest[end + 2..]);
    format!("{pri}|{time}|{host}|{app}|{number}|{data}|{text}")
}

/// TCP with octet counting, UDP and the local socket: rsyslogd sees each event once, with its
/// severity, time, host, number and structured data.
#[test]
fn rsyslog_takes_syslog() {
    let test = "rsyslog_takes_syslog";
    let queue = Queue::new(Format::Mbox, 150, "all");
    queue.run("run", &[]);
    let lines = queue.out("lines");
    let output = export(&queue.out("run"), &format!("syslog:{}", lines.display()), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = fs::read_to_string(lines).unwrap();
    let expected: Vec<String> = lines.lines().map(as_rsyslog_shows).collect();
    assert_eq!(expected.len(), events(&queue.out("run")).len());
    for way in ["tcp", "udp", "unix"] {
        let Some((rsyslog, port, socket)) = Rsyslog::start(test) else { return };
        let to = match way {
            "unix" => format!("syslog:unix:{}", socket.display()),
            _ => format!("syslog:{way}://127.0.0.1:{port}"),
        };
        let output = export(&queue.out("run"), &to, &[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        // Datagrams over the network may be lost by their nature; here all but a few come.
        let count = if way == "udp" { expected.len() / 2 } else { expected.len() };
        let seen = rsyslog.seen(count);
        if way == "udp" {
            assert!(seen.iter().all(|line| expected.contains(line)), "{way}");
        } else {
            assert_eq!(seen.len(), expected.len(), "{way}");
            for (seen, expected) in seen.iter().zip(&expected) {
                assert_eq!(seen, expected, "{way}");
            }
        }
    }
}

/// A run logs to rsyslogd while it works; what it has sent isn't sent again.
#[test]
fn a_run_logs_to_rsyslog() {
    let queue = Queue::new(Format::Mbox, 200, "all");
    let Some((rsyslog, port, _)) = Rsyslog::start("a_run_logs_to_rsyslog") else { return };
    let to = format!("syslog:tcp://127.0.0.1:{port}");
    let said = queue.run("run", &["--part-size", "16K", "--log", &to]);
    let events = events(&queue.out("run"));
    let whole = json!({"events": events.len(), "missing": 0, "error": null});
    assert_eq!(said["log"], whole);
    let again = queue.run("run", &["--log", &to]);
    assert_eq!(again["log"], whole);
    let seen = rsyslog.seen(events.len());
    assert_eq!(seen.len(), events.len());
    for (line, event) in seen.iter().zip(&events) {
        assert!(line.contains(&format!("id=\"{}\"", event["id"].as_str().unwrap())), "{line}");
    }
}
