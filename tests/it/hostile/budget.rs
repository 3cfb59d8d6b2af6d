//! The budget of a message (docs/reliability.md): one that is over it goes to quarantine whole,
//! with its reason, in every format; its neighbours are served, and one that is just within it too.
//!
//! Not here: that time stays linear and memory bounded (`size`).

use super::{counts, ended, run, segment};
use crate::postoffice::small::{BOB, Office, letter};
use crate::support::{messages, text};
use inqueue::limits;
use inqueue::mail::envelope::QueueId;
use inqueue::queue::segment::write::Fields;
use inqueue::queue::segment::{original, read, recipient_tag, tag};
use std::fs;
use std::path::Path;

const FROM: &[u8] = b"From s@there.example Thu Jan  1 00:00:00 2026\n";
const OK: &[u8] = b"To: bob@example.com\n\nok\n";
const HEADER: &str = "the header section is longer than 16,777,216 bytes";
const RECIPIENTS: &str = "more than 1,000,000 recipients";
const HOPS: &str = "more than 65,536 hops or originals";
/// KiB of address space: the allocator's reserve of a GiB, a queue of 100 MB and its quarantine,
/// which are mapped, and not as much again.
const MEMORY_KIB: u64 = 1_500_000;

/// A message with a header section of so many bytes, to bob.
fn with_header(bytes: usize, line_end: &str) -> Vec<u8> {
    let start = format!("To: bob@example.com{line_end}X-A: ");
    let padding = bytes - start.len() - line_end.len();
    let end = format!("{line_end}{line_end}body{line_end}");
    [start.as_bytes(), &b"x".repeat(padding), end.as_bytes()].concat()
}

/// The audit, within the same memory, finds nothing.
fn assert_clean(run: &Path) {
    assert_clean_within(MEMORY_KIB, run);
}

fn assert_clean_within(memory_kib: u64, run: &Path) {
    let audited = ended(Some(memory_kib), &["audit", run.to_str().unwrap()]);
    assert_eq!(audited.status.code(), Some(0), "{}", text(&audited.stdout));
}

/// What is in quarantine: reason, sender where one is known, number of recipients, content.
fn quarantined(run: &Path) -> Vec<(String, String, usize, Vec<u8>)> {
    let held = messages(run, "quarantine").into_iter().map(|held| {
        let reason = read::notes(&held.envelope, |_| {}).unwrap().reason.unwrap_or_default();
        let mut recipients = Vec::new();
        let id = QueueId::Given(b"");
        let envelope = read::envelope(&held.envelope, id, &mut recipients).unwrap();
        let sender = text(envelope.reverse_path.bytes());
        (text(reason), sender, recipients.len(), held.content)
    });
    held.collect()
}

/// Of three messages the one in the middle is over the budget: what every command says of that.
fn the_middle_one_is_set_aside(
    folder: &Path,
    spec: &str,
    reason: &str,
    (sender, recipients, content): (&str, usize, &[u8]),
) {
    let out = folder.join("run");
    let _ = fs::remove_dir_all(&out);
    let output = run(Some(MEMORY_KIB), spec, &out, &["--workers", "1"]);
    let said = counts(&output);
    let counted = ["messages", "quarantined", "damaged", "delivered", "reports", "dead_letter"];
    assert_eq!(counted.map(|what| said[what].as_u64().unwrap()), [3, 1, 0, 2, 0, 0], "{spec}");
    assert_eq!(output.status.code(), Some(3));
    let held = quarantined(&out);
    let [(why, who, count, bytes)] = held.as_slice() else { panic!("{} held", held.len()) };
    assert_eq!((why.as_str(), who.as_str(), *count), (reason, sender, recipients), "{spec}");
    assert!(bytes == content, "{spec}: {} bytes", bytes.len());
    assert_eq!(messages(&out, "accepted").len(), 2);
    assert_clean(&out);
    let told = ended(Some(MEMORY_KIB), &["inspect", spec, "--json"]);
    assert_eq!(told.status.code(), Some(3));
    let told = text(&told.stdout);
    assert_eq!(told.matches(&format!("\"reason\":\"{reason}\"")).count(), 1, "{spec}");
    assert_eq!(told.lines().count(), 3);
    let checked = ended(Some(MEMORY_KIB), &["check", spec]);
    assert_eq!(checked.status.code(), Some(3));
    assert!(text(&checked.stdout).contains(reason), "{}", text(&checked.stdout));
    // It would end there again.
    let new = out.with_extension("new").display().to_string();
    let directory = out.with_extension("directory").display().to_string();
    let out = out.display().to_string();
    let again =
        ["replay", &out, "--quarantine", "--directory", &directory, "--out", &new, "--json"];
    let said = ended(None, &again);
    assert!(text(&said.stdout).contains("\"chosen\":0"), "{}", text(&said.stdout));
    let events = fs::read_dir(Path::new(&out).join("events")).unwrap();
    let events: String =
        events.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert_eq!(events.matches(&format!("\"reason\":\"{reason}\"")).count(), 1);
    assert_eq!(events.matches("\"stream\":\"quarantine\"").count(), 1);
}

/// An mbox of these messages.
fn mbox(contents: &[&[u8]]) -> Vec<u8> {
    contents.iter().flat_map(|content| [FROM, content, b"\n"].concat()).collect()
}

fn folder_of(folder: &Path, name: &str, contents: &[&[u8]]) -> String {
    let root = folder.join(name);
    fs::create_dir_all(&root).unwrap();
    for (number, content) in contents.iter().enumerate() {
        fs::write(root.join(format!("{number}.eml")), content).unwrap();
    }
    root.display().to_string()
}

#[test]
fn a_header_of_100_mb_costs_its_message_alone_in_mboxes() {
    let folder = tempfile::tempdir().unwrap();
    let big = with_header(100_000_000, "\n");
    let queue = folder.path().join("queue");
    fs::write(&queue, mbox(&[OK, &big, OK])).unwrap();
    for format in ["mboxrd", "mboxo", "mboxcl", "mboxcl2"] {
        let spec = format!("{format}:{}", queue.display());
        let whole = ("s@there.example", 0, &big[..]);
        the_middle_one_is_set_aside(folder.path(), &spec, HEADER, whole);
    }
}

#[test]
fn a_header_of_100_mb_costs_its_message_alone_in_folders_and_segments() {
    let folder = tempfile::tempdir().unwrap();
    let big = with_header(100_000_000, "\r\n");
    let eml = folder_of(folder.path(), "eml", &[OK, &big, OK]);
    the_middle_one_is_set_aside(folder.path(), &format!("eml:{eml}"), HEADER, ("", 0, &big));
    folder_of(folder.path(), "maildir/cur", &[OK, &big, OK]);
    let maildir = format!("maildir:{}", folder.path().join("maildir").display());
    the_middle_one_is_set_aside(folder.path(), &maildir, HEADER, ("", 0, &big));
    let envelope = |out: &mut Fields<'_>| {
        out.bytes(tag::REVERSE_PATH, b"s@there.example");
        out.nested(tag::RECIPIENT, |out| {
            out.bytes(recipient_tag::FORWARD_PATH, b"bob@example.com");
        });
    };
    let file = segment(&[(&envelope, OK), (&envelope, &big), (&envelope, OK)]);
    let path = folder.path().join("queue.seg");
    fs::write(&path, file).unwrap();
    let spec = format!("segment:{}", path.display());
    the_middle_one_is_set_aside(folder.path(), &spec, HEADER, ("s@there.example", 1, &big));
    // Its envelope stands beside it: a conversion and a salvage, which judge nothing, carry it.
    let new = folder.path().join("new");
    let salvage = ["salvage", &spec, "--out", &new.display().to_string()];
    assert_eq!(ended(None, &salvage).status.code(), Some(0));
    let to = format!("mbox:{}", folder.path().join("queue.mbox").display());
    assert_eq!(ended(None, &["convert", &spec, "--to", &to]).status.code(), Some(0));
    assert!(fs::metadata(folder.path().join("queue.mbox")).unwrap().len() > 100_000_000);
}

#[test]
fn a_conversion_and_a_salvage_say_which_message_has_no_envelope_for_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let big = with_header(limits::HEADER_BYTES_MAX + 1, "\n");
    let queue = folder.path().join("queue");
    fs::write(&queue, mbox(&[OK, &big, OK])).unwrap();
    let spec = format!("mboxrd:{}", queue.display());
    let new = folder.path().join("new").display().to_string();
    assert_eq!(ended(None, &["salvage", &spec, "--out", &new]).status.code(), Some(3));
    let ledger = fs::read_to_string(folder.path().join("new/ledger.jsonl")).unwrap();
    assert_eq!(ledger.matches(HEADER).count(), 1, "{ledger}");
    let kept: Vec<_> = fs::read_dir(folder.path().join("new/quarantine")).unwrap().collect();
    let [Ok(kept)] = kept.as_slice() else { panic!("{} kept", kept.len()) };
    assert!(fs::read(kept.path()).unwrap() == [FROM, &big, b"\n"].concat());
    assert_eq!(ended(None, &["audit", &new]).status.code(), Some(0));
    let to = format!("segment:{}", folder.path().join("to.seg").display());
    let converted = ended(None, &["convert", &spec, "--to", &to]);
    assert_eq!(converted.status.code(), Some(3));
    assert_eq!(text(&converted.stderr).matches(HEADER).count(), 1);
}

/// A header section of exactly as many bytes as one may have is read to its end; one byte more, and
/// the message is over its budget.
#[test]
fn a_header_at_the_limit_is_judged_and_one_byte_past_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let max = limits::HEADER_BYTES_MAX;
    for line_end in ["\n", "\r\n"] {
        let (at, past) = (with_header(max, line_end), with_header(max + 1, line_end));
        let queue = folder.path().join("queue");
        fs::write(&queue, mbox(&[&at, &past, OK])).unwrap();
        let spec = format!("mboxrd:{}", queue.display());
        // The empty line behind a content in CRLF is that of the mbox.
        let whole = ("s@there.example", 0, &past[..]);
        the_middle_one_is_set_aside(folder.path(), &spec, HEADER, whole);
        let eml = folder_of(folder.path(), "eml", &[&at, &past, OK]);
        the_middle_one_is_set_aside(folder.path(), &format!("eml:{eml}"), HEADER, ("", 0, &past));
        let envelope = |out: &mut Fields<'_>| {
            out.nested(tag::RECIPIENT, |out| {
                out.bytes(recipient_tag::FORWARD_PATH, b"bob@example.com");
            });
        };
        let file = segment(&[(&envelope, &at), (&envelope, &past), (&envelope, OK)]);
        let path = folder.path().join("queue.seg");
        fs::write(&path, file).unwrap();
        let spec = format!("segment:{}", path.display());
        the_middle_one_is_set_aside(folder.path(), &spec, HEADER, ("", 1, &past));
    }
}

/// The content of a message in FFAPI text is made by us, and its header section is as long as its
/// subject.
#[test]
fn a_subject_makes_a_header_too_long_in_ffapi_text() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ffapi");
    fs::create_dir(&root).unwrap();
    for (number, length) in [2, 20_000_000, 2].into_iter().enumerate() {
        let subject = "x".repeat(length);
        let message = format!(
            "VERSION:3.00\nTO:SMTP:bob@example.com\nFROM:SMTP:s@there.example\n\
             SUBJECT:{subject}\nTEXT:3\nok\n"
        );
        fs::write(root.join(format!("{number}.mmf")), message).unwrap();
    }
    let out = folder.path().join("run");
    let spec = format!("ffapi:{}", root.display());
    let said = counts(&run(Some(MEMORY_KIB), &spec, &out, &["--workers", "1"]));
    let counted = ["messages", "quarantined", "damaged", "delivered"];
    assert_eq!(counted.map(|what| said[what].as_u64().unwrap()), [3, 1, 0, 2]);
    let held = quarantined(&out);
    let [(why, sender, recipients, content)] = held.as_slice() else { panic!("{}", held.len()) };
    assert_eq!((why.as_str(), sender.as_str(), *recipients), (HEADER, "s@there.example", 1));
    assert!(content.len() > 20_000_000);
    assert_clean(&out);
}

/// The same in a post office: the record leaves INQUEUE3, and nothing of the message is lost.
#[test]
fn a_subject_makes_a_header_too_long_in_a_post_office() {
    let mut office = Office::new();
    // 14 MB of MAI, 19 of encoded words.
    let subject = vec![0xE9; 14_000_000];
    let mut letters = Vec::new();
    for subject in [&b"Plans"[..], &subject, b"Plans"] {
        let mut letter = letter("NET/PO/ANN", &["NET/PO/BOB"]);
        letter.subject = subject;
        letters.push(office.push(&letter));
    }
    let (mai, p1) = (office.mai(letters[1]), office.p1(letters[1]));
    office.drain("run", 3);
    let out = office.out("run");
    let held = quarantined(&out);
    let [(why, _, recipients, content)] = held.as_slice() else { panic!("{}", held.len()) };
    assert_eq!((why.as_str(), *recipients), (HEADER, 1));
    assert!(content.len() > limits::HEADER_BYTES_MAX);
    assert_eq!(office.names(BOB), [letters[0], letters[2]]);
    assert_eq!(office.names("INQUEUE3"), [0_u32; 0]);
    assert_kept(&out, &p1, &mai);
    assert_clean(&out);
}

/// The only record in quarantine has kept the files of its message.
fn assert_kept(run: &Path, p1: &[u8], mai: &[u8]) {
    let held = messages(run, "quarantine");
    let mut recipients = Vec::new();
    let id = QueueId::Given(b"");
    let envelope = read::envelope(&held[0].envelope, id, &mut recipients).unwrap();
    for kept in [[&[original::P1], p1].concat(), [&[original::MAI], mai].concat()] {
        assert!(envelope.originals.contains(&&kept[..]), "{} bytes", kept.len());
    }
}

/// A P1 with more hops than a message may have: its record in quarantine has the first of them,
/// and all of the message.
#[test]
fn a_message_of_too_many_hops_in_a_post_office_is_kept_whole() {
    let mut office = Office::new();
    let mut letter = letter("NET/PO/ANN", &["NET/PO/BOB"]);
    let next = office.push(&letter);
    letter.hops = vec![b"NET/PO9"; limits::ENVELOPE_HOPS_MAX + 1];
    let name = office.push(&letter);
    let (mai, p1) = (office.mai(name), office.p1(name));
    office.drain("run", 3);
    let out = office.out("run");
    let held = quarantined(&out);
    let [(why, _, recipients, content)] = held.as_slice() else { panic!("{}", held.len()) };
    assert_eq!((why.as_str(), *recipients), (HOPS, 1));
    assert!(text(content).contains("Shall we meet?"));
    assert_kept(&out, &p1, &mai);
    assert_eq!(office.names(BOB), [next]);
    assert_eq!(office.names("INQUEUE3"), [0_u32; 0]);
    assert_clean(&out);
}

/// Messages of FFAPI text that name the same file beside them again and again.
#[test]
fn a_file_named_many_times_in_ffapi_text_is_not_opened_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ffapi");
    fs::create_dir(&root).unwrap();
    // A hole: bytes that take no room on the disk. Three maps of it are open at once.
    let size = 200_u64 << 20;
    fs::File::create(root.join("BIG.TXT")).unwrap().set_len(size).unwrap();
    fs::write(root.join("SMALL.TXT"), "small").unwrap();
    let message = |file: &str, times: usize| {
        let files = format!("XATTACH:{file}\n").repeat(times);
        format!("VERSION:3.00\nTO:SMTP:bob@example.com\nFROM:SMTP:s@x.example\n{files}TEXT:3\nok\n")
    };
    let max = limits::FFAPI_FILES_MAX;
    for (name, file, times) in [
        ("1.mmf", "SMALL.TXT", max),
        ("2.mmf", "SMALL.TXT", max + 1),
        ("3.mmf", "BIG.TXT", 3),
        ("4.mmf", "SMALL.TXT", 1),
    ] {
        fs::write(root.join(name), message(file, times)).unwrap();
    }
    let out = folder.path().join("run");
    let spec = format!("ffapi:{}", root.display());
    let said = counts(&run(Some(2 * MEMORY_KIB), &spec, &out, &["--workers", "1"]));
    let counted = ["messages", "quarantined", "damaged", "delivered"];
    assert_eq!(counted.map(|what| said[what].as_u64().unwrap()), [4, 2, 0, 2]);
    let reasons: Vec<String> = quarantined(&out).into_iter().map(|held| held.0).collect();
    assert!(reasons[0].contains("145") && reasons[0].contains("too many files"), "{reasons:?}");
    assert!(reasons[1].contains("145") && reasons[1].contains("too many bytes"), "{reasons:?}");
    assert_clean_within(2 * MEMORY_KIB, &out);
}

/// A list that fits, and one with a recipient more.
#[test]
fn a_million_recipients_in_to_are_judged_and_one_more_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let list = |count: usize| [b"To: ", &b"x@y.z, ".repeat(count)[..], b"\n\nbody\n"].concat();
    let at = list(limits::RECIPIENTS_MAX);
    let past = list(limits::RECIPIENTS_MAX + 1);
    let queue = folder.path().join("queue");
    fs::write(&queue, mbox(&[OK, &past, OK])).unwrap();
    let whole = ("s@there.example", 0, &past[..]);
    let spec = format!("mboxrd:{}", queue.display());
    the_middle_one_is_set_aside(folder.path(), &spec, RECIPIENTS, whole);
    // The bytes of a file of its own are in quarantine, too.
    let eml = folder_of(folder.path(), "eml", &[OK, &past, OK]);
    the_middle_one_is_set_aside(folder.path(), &format!("eml:{eml}"), RECIPIENTS, ("", 0, &past));
    let out = folder.path().join("at");
    fs::write(&queue, mbox(&[&at])).unwrap();
    let said = counts(&run(Some(2 * MEMORY_KIB), &spec, &out, &["--workers", "1"]));
    let counted = ["messages", "quarantined", "relayed", "duplicate"];
    assert_eq!(counted.map(|what| said[what].as_u64().unwrap()), [1, 0, 1, 999_999]);
}

/// What an envelope of a segment has too much of is damage by docs/segment.md: its reason says of
/// what.
#[test]
fn an_envelope_with_too_much_is_damage_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let recipients = |count: usize| {
        move |out: &mut Fields<'_>| {
            for _ in 0..count {
                out.nested(tag::RECIPIENT, |out| out.bytes(recipient_tag::FORWARD_PATH, b"x@y.z"));
            }
        }
    };
    let hops = |count: usize| {
        move |out: &mut Fields<'_>| (0..count).for_each(|_| out.bytes(tag::HOP, b"mta.example"))
    };
    let (many, hop) = (recipients(limits::RECIPIENTS_MAX + 1), hops(limits::ENVELOPE_HOPS_MAX + 1));
    let one = recipients(1);
    let file = segment(&[(&one, b"1"), (&many, b"2"), (&hop, b"3"), (&one, b"4")]);
    let path = folder.path().join("queue.seg");
    fs::write(&path, &file).unwrap();
    let out = folder.path().join("run");
    let spec = format!("segment:{}", path.display());
    let said = counts(&run(Some(MEMORY_KIB), &spec, &out, &["--workers", "1"]));
    let counted = ["messages", "damaged", "relayed"];
    assert_eq!(counted.map(|what| said[what].as_u64().unwrap()), [2, 2, 2]);
    let held = quarantined(&out);
    let reasons: Vec<&str> = held.iter().map(|held| held.0.as_str()).collect();
    assert_eq!(reasons, [RECIPIENTS, HOPS]);
    // Whole records, as they stood.
    for (_, _, _, bytes) in &held {
        assert!(memchr::memmem::find(&file, bytes).is_some());
    }
    assert_clean(&out);
}
