//! Real mail: the 6,046 messages of the `SpamAssassin` corpus, as an mbox and as a Maildir, read to
//! the last byte as they were written, and as Python's `mailbox` reads them.
//!
//! `scripts/test` fetches the corpus (it isn't committed); `INQUEUE_REAL_MAIL` names another place
//! for it. Where it isn't, the tests say that they are skipped.

use crate::readers::{PART_SIZES, Seen, python, read_parts, skipped};
use crate::support::{assert_done, assert_same_streams, audit, inqueue, text};
use std::fs;
use std::path::{Path, PathBuf};

/// Messages of the corpus.
const MESSAGES: usize = 6_046;
/// The one line of a body that begins a message in an mbox: an empty line stands before it.
const FROM_IN_BODY: &[u8] = b"From home recordings";

/// The corpus's files, in the order of their names; none where it isn't there, after saying so.
pub(crate) fn corpus(test: &str) -> Option<Vec<Vec<u8>>> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real-mail/package/data");
    let root = std::env::var_os("INQUEUE_REAL_MAIL").map_or(default, PathBuf::from);
    if !root.is_dir() {
        skipped(test, "the corpus isn't there: scripts/test fetches it");
        return None;
    }
    let mut paths = Vec::new();
    for folder in fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap().path();
        if folder.is_dir() {
            let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
            paths.extend(files.filter(|path| path.extension().is_some_and(|end| end == "txt")));
        }
    }
    paths.sort();
    assert_eq!(paths.len(), MESSAGES, "{}: the corpus is whole", root.display());
    Some(paths.iter().map(|path| fs::read(path).unwrap()).collect())
}

/// A message of the corpus: its From_ line, where it has one, and its content.
pub(crate) fn split(message: &[u8]) -> (&[u8], &[u8]) {
    if !message.starts_with(b"From ") {
        return (b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n", message);
    }
    message.split_at(message.iter().position(|b| *b == b'\n').unwrap() + 1)
}

/// CRC-32 as zlib has it.
fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0_u32; 256];
    for (value, slot) in (0..).zip(&mut table) {
        *slot = (0..8).fold(value, |v, _| v >> 1 ^ if v & 1 == 1 { 0xEDB8_8320 } else { 0 });
    }
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ table[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

/// A line as the scripts print it: place, length, checksum.
fn line(place: &str, content: &[u8]) -> String {
    format!("{place}\t{}\t{:08x}", content.len(), crc32(content))
}

/// Compares lists by their first difference.
#[track_caller]
fn assert_same(got: &[String], expect: &[String], what: &str) {
    for (index, (one, other)) in got.iter().zip(expect).enumerate() {
        assert_eq!(one, other, "{what}: message {index}");
    }
    assert_eq!(got.len(), expect.len(), "{what}");
}

/// The corpus as one mbox, and what must be read of it: each message but the one that has a From_
/// line in its body, which is two.
fn mbox(corpus: &[Vec<u8>]) -> (Vec<u8>, Vec<String>) {
    let (mut mbox, mut expect) = (Vec::new(), Vec::new());
    for message in corpus {
        let (from, content) = split(message);
        let start = mbox.len();
        mbox.extend_from_slice(from);
        let inner = content.windows(FROM_IN_BODY.len()).position(|window| window == FROM_IN_BODY);
        match inner.filter(|at| content[..*at].ends_with(b"\n\n")) {
            Some(at) => {
                let second = at + content[at..].iter().position(|b| *b == b'\n').unwrap() + 1;
                expect.push(line(&start.to_string(), &content[..at - 1]));
                let start = start + from.len() + at;
                expect.push(line(&start.to_string(), &content[second..]));
            }
            None => expect.push(line(&start.to_string(), content)),
        }
        mbox.extend_from_slice(content);
        if !content.ends_with(b"\n") {
            // An mbox can't hold a last line without its end.
            mbox.push(b'\n');
            expect.pop();
            expect.push(line(&start.to_string(), &[content, b"\n"].concat()));
        }
        mbox.push(b'\n');
    }
    (mbox, expect)
}

#[test]
fn real_mail_as_an_mbox_is_read_to_the_last_byte() {
    let name = "real_mail_as_an_mbox_is_read_to_the_last_byte";
    let Some(corpus) = corpus(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("real.mbox");
    let (mbox, expect) = mbox(&corpus);
    assert_eq!(expect.len(), MESSAGES + 1);
    fs::write(&path, &mbox).unwrap();
    let path = path.to_str().unwrap();
    let other = python(name, "mbox_mailbox.py", &[path]);
    let other: Option<Vec<String>> = other.map(|text| text.lines().map(str::to_owned).collect());
    for part_bytes in PART_SIZES {
        let mut end = 0;
        let read = read_parts(path, part_bytes, |seen| match seen {
            Seen::Message(found, Some(_)) => {
                assert_eq!(found.offset, end, "messages lie one behind the other");
                end = found.offset + found.length;
                line(&found.offset.to_string(), found.content.raw())
            }
            Seen::Message(found, None) => panic!("no envelope at {}", found.offset),
            Seen::Damage(damage) => panic!("{damage:?}"),
        });
        assert_eq!(end, mbox.len() as u64);
        assert_eq!(read.len() as u64, (mbox.len() as u64).div_ceil(part_bytes));
        let what = format!("in parts of {part_bytes}");
        assert_same(&read.concat(), &expect, &what);
        if let Some(other) = &other {
            assert_same(&read.concat(), other, &format!("{what}, Python's mailbox"));
        }
    }
}

#[test]
fn real_mail_as_a_maildir_is_read_to_the_last_byte() {
    let name = "real_mail_as_a_maildir_is_read_to_the_last_byte";
    let Some(corpus) = corpus(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    for inner in ["cur", "new", "tmp"] {
        fs::create_dir(folder.path().join(inner)).unwrap();
    }
    let mut expect = Vec::new();
    for (index, message) in corpus.iter().enumerate() {
        let (_, content) = split(message);
        let place = match index % 3 {
            0 => format!("new/{index:05}.real"),
            _ => format!("cur/{index:05}.real:2,S"),
        };
        fs::write(folder.path().join(&place), content).unwrap();
        expect.push(line(&place, content));
    }
    expect.sort();
    let path = folder.path().to_str().unwrap();
    let other = python(name, "maildir_mailbox.py", &[path]);
    let other: Option<Vec<String>> = other.map(|text| text.lines().map(str::to_owned).collect());
    for part_bytes in PART_SIZES {
        let read = read_parts(path, part_bytes, |seen| match seen {
            Seen::Message(found, Some(_)) => {
                line(std::str::from_utf8(found.head).unwrap(), found.content.raw())
            }
            Seen::Message(found, None) => panic!("no envelope at {}", found.offset),
            Seen::Damage(damage) => panic!("{damage:?}"),
        });
        let what = format!("in parts of {part_bytes}");
        assert_same(&read.concat(), &expect, &what);
        if let Some(other) = &other {
            assert_same(&read.concat(), other, &format!("{what}, Python's mailbox"));
        }
    }
}

/// The engine over real mail: everything is accounted for, at any number of workers, and every
/// report is read back by another's parser.
#[test]
fn real_mail_is_run_and_audited() {
    let name = "real_mail_is_run_and_audited";
    let Some(corpus) = corpus(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mbox, expect) = mbox(&corpus);
    fs::write(folder.path().join("queue.mbox"), mbox).unwrap();
    fs::create_dir_all(folder.path().join("maildir/new")).unwrap();
    for (index, message) in corpus.iter().enumerate() {
        let file = folder.path().join(format!("maildir/new/{index:05}.real"));
        fs::write(file, split(message).1).unwrap();
    }
    // Most of the mail is for the domains of the corpus's maker, of whom nobody but one exists.
    let users = "yyyy@localhost.netnoteinc.com\n@localhost.spamassassin.taint.org\n";
    fs::write(folder.path().join("users"), users).unwrap();
    for (queue, messages) in [("queue.mbox", expect.len()), ("maildir:maildir", MESSAGES)] {
        let run = |out: &str, workers: &str| {
            let output = inqueue()
                .current_dir(folder.path())
                .args(["run", queue, "--directory", "users", "--out", out, "--json"])
                .args([
                    "--now",
                    "2002-10-09T12:00:00Z",
                    "--remote",
                    "fail",
                    "--hostname",
                    "mta.example",
                ])
                .args(["--workers", workers, "--part-size", "1M"])
                .output()
                .unwrap();
            assert_done(&output);
        };
        let (one, three) = (format!("{messages}-1"), format!("{messages}-3"));
        run(&one, "1");
        run(&three, "3");
        let (one, three) = (folder.path().join(one), folder.path().join(three));
        assert_same_streams(&one, &three);
        let report = audit(&three, None);
        assert_eq!(
            [&report["lost"], &report["doubled"], &report["wrong"]],
            [0, 0, 0],
            "{report:#}"
        );
        assert_eq!(report["messages"], messages);
        let counts = &report["counts"];
        for outcome in ["delivered", "failed", "dead_letter", "reports"] {
            assert!(counts[outcome].as_u64().unwrap() > 50, "{outcome}: {counts:#}");
        }
        assert_eq!([&counts["faults"], &counts["quarantined"]], [0, 0], "{counts:#}");
        for report in crate::support::messages(&three, "ndr") {
            let read = mail_parser::MessageParser::default().parse(&report.content).unwrap();
            assert_eq!(read.parts.len(), 4, "{}", text(&report.content));
        }
    }
}
