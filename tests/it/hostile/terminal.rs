//! What commands print of names, addresses and reasons does nothing to a terminal, and looks like
//! nothing else than it is.

use super::{ended, run, segment};
use crate::support::text;
use inqueue::queue::segment::{recipient_tag, tag};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// An end of line, a title of the window, a colour, C1, what turns text round, what has no width.
const EVIL: &[u8] =
    b"a\r\n\x1b]0;owned\x07\x1b[31m\xc2\x9b1mb\xe2\x80\xae\xe2\x81\xa6gpj\xe2\x80\x8b\x7f\x08\
    \xef\xbb\xbf\xff\x80\xe2\x80\xa8c";

/// Nothing but text and line ends.
fn assert_harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    for character in text.chars() {
        let is_bad = character.is_control() && character != '\n'
            || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
            || matches!(character, '\u{2060}'..='\u{206F}' | '\u{FEFF}');
        assert!(!is_bad, "{what}: {character:?} in {text:?}");
    }
}

fn harmless(what: &str, output: &Output) {
    assert_harmless(&format!("{what}, standard output"), &output.stdout);
    assert_harmless(&format!("{what}, standard error"), &output.stderr);
}

fn evil_name() -> OsString {
    OsString::from_vec(EVIL.to_vec())
}

/// A segment whose envelopes are full of it: one that is good, one to nobody, one that is damaged.
fn evil_segment() -> Vec<u8> {
    let envelope = |out: &mut inqueue::queue::segment::write::Fields<'_>| {
        for tag in [tag::QUEUE_ID, tag::HOP, tag::ENVID, tag::REASON, tag::REPORT_OF] {
            out.bytes(tag, EVIL);
        }
        out.bytes(tag::REVERSE_PATH, EVIL);
        out.origin(EVIL, 1, 2);
        for reported in [tag::RECIPIENT, tag::REPORTED] {
            out.nested(reported, |out| {
                for tag in [
                    recipient_tag::FORWARD_PATH,
                    recipient_tag::ORCPT,
                    recipient_tag::STATUS,
                    recipient_tag::ROUTE,
                    recipient_tag::DIAGNOSTIC,
                ] {
                    out.bytes(tag, EVIL);
                }
            });
        }
    };
    let bad = |out: &mut inqueue::queue::segment::write::Fields<'_>| out.bytes(tag::ARRIVAL, EVIL);
    segment(&[(&envelope, EVIL), (&bad, EVIL), (&envelope, b"x")])
}

#[test]
fn whatever_names_and_addresses_hold_a_terminal_is_sent_text() {
    let folder = tempfile::tempdir().unwrap();
    let evil = folder.path().join(evil_name());
    fs::create_dir(&evil).unwrap();
    let queue = evil.join("queue.seg");
    fs::write(&queue, evil_segment()).unwrap();
    let files = evil.join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join(evil_name()), b"To: \x1b[2J@x\n\nx").unwrap();
    std::os::unix::fs::symlink("nowhere", files.join("dangling")).unwrap();
    let spec = |format: &str, path: &Path| {
        OsString::from_vec([format.as_bytes(), b":", path.as_os_str().as_encoded_bytes()].concat())
    };
    // A queue that is named on the command line is UTF-8, or nothing is done.
    for (format, queue) in [("segment", &queue), ("eml", &files)] {
        let output = ended(None, &[OsString::from("inspect"), spec(format, queue)]);
        harmless("inspect of what isn't UTF-8", &output);
        assert_eq!(output.status.code(), Some(2));
    }
    let utf8 = folder.path().join(String::from_utf8_lossy(EVIL).as_ref());
    fs::rename(&evil, &utf8).unwrap();
    let path_of = |name: &str| utf8.join(name).to_str().unwrap().to_owned();
    let (queue, files) = (path_of("queue.seg"), format!("eml:{}", path_of("files")));
    for queue in [&queue, &files] {
        for command in ["inspect", "check"] {
            harmless(command, &ended(None, &[command, queue]));
            harmless(command, &ended(None, &[command, queue, "--json"]));
        }
        for to in ["mbox", "eml", "ffapi", "segment"] {
            for json in ["--json", "--recipients=to"] {
                let to = format!("{to}:{}", path_of(&format!("{to}{json}{}", queue.len())));
                harmless("convert", &ended(None, &["convert", queue, "--to", &to, json]));
                harmless("convert again", &ended(None, &["convert", queue, "--to", &to, json]));
            }
        }
    }
    let listed = ended(None, &["inspect", &queue, "--json"]);
    let first = text(&listed.stdout).lines().next().unwrap().to_owned();
    let id = serde_json::from_str::<serde_json::Value>(&first).unwrap()["queue_id"].clone();
    let shown = ended(None, &["show", &queue, "--envelope", id.as_str().unwrap()]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(text(&shown.stdout).contains("Reason: a\u{FFFD}\u{FFFD}\u{FFFD}]0;owned\u{FFFD}"));
    harmless("show", &shown);
    let nobody = String::from_utf8_lossy(EVIL).replace('\0', "");
    harmless("show of nothing", &ended(None, &["show", &queue, &nobody]));
    harmless("usage", &ended(None, &[&nobody]));
    harmless("usage", &ended(None, &["run", &queue, "--recipients", &nobody]));
    harmless("no queue", &ended(None, &["inspect", &path_of("none")]));
    harmless("no queue", &ended(None, &["run", &path_of("none"), "--out", &path_of("out")]));
    harmless("no run", &ended(None, &["audit", &path_of("none")]));
    runs(&utf8, &queue, &files);
}

fn runs(utf8: &Path, queue: &str, files: &str) {
    for (at, queue) in [queue, files].iter().enumerate() {
        let out = utf8.join(format!("run{at}"));
        let out_text = out.to_str().unwrap();
        for more in [&["--workers", "1"][..], &["--workers", "2"]] {
            harmless("run", &run(None, queue, &out, more));
        }
        harmless(
            "run",
            &ended(None, &["run", queue, "--out", out_text, "--now=2027-01-01T00:00:00Z"]),
        );
        for more in ["--json", "--quiet"] {
            harmless("audit", &ended(None, &["audit", out_text, more]));
        }
        // What an audit finds is told with names and addresses.
        let stream = out.join("events");
        for entry in fs::read_dir(&stream).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 20;
            bytes[last] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        harmless("audit", &ended(None, &["audit", out_text]));
        harmless("audit", &ended(None, &["audit", out_text, "--json"]));
        let events = format!("syslog:{out_text}/no/folder");
        harmless("events", &ended(None, &["events", out_text, "--to", &events]));
        for more in [&["--json"][..], &[]] {
            let new = format!("{out_text}-new{}", more.len());
            let all = [&["salvage", queue, "--out", &new][..], more].concat();
            harmless("salvage", &ended(None, &all));
            harmless("audit of a salvage", &ended(None, &["audit", &new]));
            harmless("salvage", &ended(None, &all));
        }
    }
}

/// `show` into a pipe is byte for byte; on a terminal (a pseudo-terminal of Python's) it isn't.
#[test]
fn a_content_is_shown_as_it_is_but_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue.eml");
    let content = [b"Subject: x\r\n\r\n", EVIL, "\u{e4}\u{20ac}\ttext\n".as_bytes()].concat();
    fs::write(&queue, &content).unwrap();
    let spec = format!("eml:{}", queue.display());
    let arguments = ["show", &spec, "--content", "queue.eml"];
    assert_eq!(ended(None, &arguments).stdout, content);
    let script = "import os, pty, sys\n\
        def read(fd):\n    \
            data = os.read(fd, 65536)\n    \
            os.write(1, data)\n    \
            return b''\n\
        class Quiet:\n    pass\n\
        pid, fd = pty.fork()\n\
        if pid == 0:\n    os.execv(sys.argv[1], sys.argv[1:])\n\
        try:\n    \
            while True:\n        \
                data = os.read(fd, 65536)\n        \
                if not data: break\n        \
                os.write(1, data)\n\
        except OSError:\n    pass\n\
        os.waitpid(pid, 0)\n";
    let mut python = Command::new("python3");
    python.args(["-c", script, env!("CARGO_BIN_EXE_inqueue")]).args(arguments);
    let shown = python.output().expect("python3 is needed to see what a terminal is sent");
    // The terminal itself makes CR LF of each LF.
    let lines = text(&shown.stdout).replace("\r\n", "\n");
    assert_harmless("a terminal", lines.replace('\t', " ").as_bytes());
    let expect = "Subject: x\n\na\n?]0;owned??[31m?1mb??gpj???????c\u{e4}\u{20ac}\ttext\n";
    let expect = expect.replace('?', "\u{FFFD}");
    assert_eq!(lines, expect);
}
