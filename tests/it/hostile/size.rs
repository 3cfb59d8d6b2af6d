//! Much of everything: time grows with the input, not with its square, and memory is bounded.
//!
//! There are no instruction counts in a test, and clocks lie on a busy machine. So each case is big
//! enough that a quadratic step would take hours, and is killed after minutes; and it runs in a
//! bounded address space, which holds the mapped queue, the allocator's reserve, and a fixed amount
//! beside. The limits are in `limits.rs`.

use super::{counts, ended, run, segment};
use crate::support::text;
use inqueue::queue::segment::{recipient_tag, tag};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const FROM: &[u8] = b"From a@b.example Thu Jan  1 00:00:00 2026\n";
const MB: usize = 1_000_000;
/// KiB of address space for a run: 1.5 GiB, of which the allocator reserves one.
const MEMORY_KIB: u64 = 2_000_000;

/// Runs, inspects, checks and audits it; gives the run's counts.
fn all_commands(folder: &Path, format: &str, pieces: &[&[u8]]) -> serde_json::Value {
    let queue = folder.join("queue");
    fs::write(&queue, pieces.concat()).unwrap();
    let spec = format!("{format}:{}", queue.display());
    let out = folder.join("run");
    let _ = fs::remove_dir_all(&out);
    let output = run(Some(MEMORY_KIB), &spec, &out, &["--workers", "1"]);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", text(&output.stderr));
    for command in ["inspect", "check"] {
        let code = ended(Some(MEMORY_KIB), &[command, &spec]).status.code();
        assert_eq!(code, output.status.code(), "{command}");
    }
    let audited = ended(Some(MEMORY_KIB), &["audit", out.to_str().unwrap(), "--quiet"]);
    assert_eq!(audited.status.code(), Some(0), "{}", text(&audited.stdout));
    counts(&output)
}

fn one_message(what: &str, pieces: &[&[u8]]) {
    let folder = tempfile::tempdir().unwrap();
    let pieces = [&[FROM][..], pieces].concat();
    let counts = all_commands(folder.path(), "mboxrd", &pieces);
    let whole = (&counts["messages"], &counts["damaged"]);
    assert_eq!(whole, (&1.into(), &0.into()), "{what}");
}

#[test]
fn a_header_section_of_100_mb_is_read_once() {
    let to = b"To: bob@example.com\n";
    one_message("fields", &[to, &b"X-A: b\n".repeat(100 * MB / 7), b"\nbody\n"]);
    one_message("one field", &[to, b"X-A: ", &b"x".repeat(100 * MB), b"\n\nbody\n"]);
    one_message("folding", &[to, b"X-A: y\n", &b" \n".repeat(50 * MB), b"\nbody\n"]);
    one_message("no end", &[to, &b"Subject: =?utf-8?q?=41?= ".repeat(2 * MB)]);
}

#[test]
fn odd_lists_of_recipients_are_read_once() {
    for piece in [&b"("[..], b"\"a\\\" <", b"g:;,", b"<", b"(a)", b",", b"a@b (c) ", b"\\"] {
        let list = piece.repeat(16 * MB / piece.len());
        one_message(&text(piece), &[b"To: ", &list, b"\n\nbody\n"]);
    }
}

/// Ten million in To make a header section that is longer than one may be: the message is set
/// aside whole. So is one with fewer that fit into it, and are more than a message may have.
#[test]
fn ten_million_recipients_in_to_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    for (name, count) in [("u@x.example, ", 10 * MB), ("u@x, ", 2 * MB)] {
        let list = name.as_bytes().repeat(count);
        let counts = all_commands(folder.path(), "mboxrd", &[FROM, b"To: ", &list, b"\n\nbody\n"]);
        let whole = (&counts["messages"], &counts["quarantined"], &counts["damaged"]);
        assert_eq!(whole, (&1.into(), &1.into(), &0.into()));
    }
}

/// Ten million in an envelope are more than a message may have: it is damage, as it is.
#[test]
fn ten_million_recipients_in_an_envelope_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let envelope = |out: &mut inqueue::queue::segment::write::Fields<'_>| {
        for _ in 0..10 * MB {
            out.nested(tag::RECIPIENT, |out| out.bytes(recipient_tag::FORWARD_PATH, b"u@x.ex"));
        }
    };
    let file = segment(&[(&envelope, b"x"), (&|_| {}, b"y")]);
    let counts = all_commands(folder.path(), "segment", &[&file]);
    assert_eq!((&counts["messages"], &counts["damaged"]), (&1.into(), &1.into()));
}

#[test]
fn a_million_parts_and_a_million_hops_are_read_once() {
    let mut parts = Vec::new();
    for part in 0..MB {
        let field = "Content-Type: multipart/mixed; boundary=b";
        parts.extend_from_slice(format!("--b{part}\n{field}{}\n\n", part + 1).as_bytes());
    }
    let top = b"Content-Type: multipart/mixed; boundary=b0\nTo: gone@example.com\n\n";
    one_message("parts", &[top, &parts]);
    // A million of them are over the budget, what fits into a header section is a loop.
    for hop in [&b"Received: by x; Thu, 1 Jan 2026 00:00:00 +0000\n"[..], b"Delivered-To: x@y\n"] {
        for count in [MB, 16 * MB / hop.len()] {
            one_message("hops", &[&hop.repeat(count), b"To: bob@example.com\n\nx\n"]);
        }
    }
}

#[test]
fn mboxes_of_nothing_but_separators_are_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let is_one = |format: &str, content: &[u8]| {
        assert_eq!(all_commands(folder.path(), format, &[FROM, content])["messages"], 1);
    };
    let separators = b"From \n".repeat(50 * MB / 6);
    assert_eq!(all_commands(folder.path(), "mboxrd", &[&separators])["damaged"], 0);
    for piece in [&b"\n"[..], b"\r"] {
        let content = piece.repeat(50 * MB);
        assert_eq!(all_commands(folder.path(), "mboxrd", &[&content])["messages"], 0);
        is_one("mboxrd", &content);
    }
    for format in ["mboxo", "mboxcl", "mboxcl2"] {
        all_commands(folder.path(), format, &[&separators[..5 * MB]]);
        is_one(format, &b"\n".repeat(10 * MB));
        is_one(format, &[&b">".repeat(60), &b"From x\n"[..]].concat().repeat(10 * MB / 67));
        let far = [FROM, b"Content-Length: 999999999\n\nx\n\n"].concat().repeat(MB / 20);
        all_commands(folder.path(), format, &[&far]);
    }
}

/// Heads of records that claim more than there is, within each other: each byte is looked at by no
/// more than one of them.
#[test]
fn heads_of_records_that_claim_the_rest_of_the_file_are_passed_by_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = |_: &mut inqueue::queue::segment::write::Fields<'_>| {};
    let one: (super::Write<'_>, &[u8]) = (&nothing, b"");
    let file = segment(&vec![one; 100_000]);
    let torn = &file[..file.len() - 10];
    let counts = all_commands(folder.path(), "segment", &[torn]);
    assert_eq!(counts["damaged"], 1);
    let marks = inqueue::queue::segment::SYNC.repeat(50 * MB / 8);
    all_commands(folder.path(), "segment", &[&file[..32], &marks]);
    all_commands(folder.path(), "segment", &[&marks]);
}

/// Aliases of aliases, chains of them that end nowhere or in themselves.
#[test]
fn a_directory_of_chains_of_aliases_is_loaded_and_used_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let count = 200_000;
    let mut directory = String::from("postmaster@x.example\npostmaster postmaster@x.example\n");
    for at in 0..count {
        let next = (at + 1) % count;
        writeln!(directory, "a{at}@x.example alias a{next}@x.example").unwrap();
    }
    directory.push_str("@c.example catch-all a0@x.example\n");
    let path = folder.path().join("directory");
    fs::write(&path, directory).unwrap();
    let list: Vec<String> =
        (0..50_000).map(|at| format!("a{}@x.example, u{at}@c.example", at * 3)).collect();
    let queue = folder.path().join("queue");
    fs::write(&queue, [FROM, b"To: ", list.join(", ").as_bytes(), b"\n\nx\n"].concat()).unwrap();
    let spec = format!("mboxrd:{}", queue.display());
    let out = folder.path().join("run").display().to_string();
    let directory = path.display().to_string();
    let arguments =
        ["run", &spec, "--directory", &directory, "--out", &out, "--workers", "1", "--json"];
    let output = ended(Some(MEMORY_KIB), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(counts(&output)["messages"], 1);
}
