//! Line ends and NUL in addresses, parameters and names: no header field, line of a log, event or
//! record is made of them.

use super::{ended, run, segment};
use crate::support::{events, messages, streams, text};
use inqueue::queue::segment::{recipient_tag, tag};
use mail_parser::MimeHeaders as _;
use std::collections::BTreeSet;
use std::fs;

const ADDRESSES: [&[u8]; 9] = [
    b"bob@example.com\r\nBcc: victim@example.net",
    b"bob\nX-Evil: 1@example.com",
    b"\"a\r\n\r\nbody\"@example.com",
    b"x@example.com\rX-Evil: 1",
    b"x\0X-Evil: 1@example.com",
    b"\"x\\\nX-Evil: 1\"@example.com",
    b"x@example.com\n.\nMAIL FROM:<>",
    b"x@[\r\nX-Evil: 1]",
    "x\u{2028}X-Evil: 1\u{85}X-Evil: 1@example.com".as_bytes(),
];
const EVIL: &[u8] = b"rfc822;x\r\nX-Evil: 1\r\n\r\n<event id=1>\n\0--=_";

/// Names of all fields that a report has in its header section, and of its parts.
const FIELDS: [&str; 25] = [
    "arrival-date",
    "auto-submitted",
    "content-description",
    "content-disposition",
    "content-transfer-encoding",
    "content-type",
    "date",
    "diagnostic-code",
    "final-recipient",
    "from",
    "in-reply-to",
    "last-attempt-date",
    "message-id",
    "mime-version",
    "original-envelope-id",
    "original-recipient",
    "references",
    "remote-mta",
    "reporting-mta",
    "status",
    "subject",
    "to",
    "action",
    "x-inqueue-event",
    "x-inqueue-number",
];

fn queue(sender: &[u8], recipient: &[u8]) -> Vec<u8> {
    let envelope = |out: &mut inqueue::queue::segment::write::Fields<'_>| {
        out.bytes(tag::REVERSE_PATH, sender);
        out.bytes(tag::ENVID, EVIL);
        out.bytes(tag::QUEUE_ID, EVIL);
        out.bytes(tag::HOP, EVIL);
        out.nested(tag::RECIPIENT, |out| {
            out.bytes(recipient_tag::FORWARD_PATH, recipient);
            out.bytes(recipient_tag::ORCPT, EVIL);
        });
    };
    let content = b"Subject: a\rX-Evil: 1\0\x0bX-Evil: 1\r\nFrom: x\r\n\r\nbody\r\n";
    segment(&[(&envelope, content)])
}

/// Every sender with every recipient: each is in one report or dead letter, whose lines are all
/// ours.
#[test]
fn no_line_end_of_an_address_or_parameter_reaches_a_report_an_event_or_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut reports = 0;
    for (index, sender) in ADDRESSES.iter().copied().chain([&b"bob@example.com"[..]]).enumerate() {
        let stream = folder.path().join(format!("queue{index}"));
        fs::create_dir(&stream).unwrap();
        for (number, recipient) in ADDRESSES.iter().enumerate() {
            fs::write(stream.join(format!("{number}.seg")), queue(sender, recipient)).unwrap();
        }
        let out = folder.path().join(format!("run{index}"));
        let output = run(None, stream.to_str().unwrap(), &out, &["--remote", "fail"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(super::counts(&output)["messages"], ADDRESSES.len());
        for report in messages(&out, "ndr") {
            reports += 1;
            check_report(&report.content);
        }
        check_events(&out);
        check_logs(&out);
    }
    assert_eq!(reports, ADDRESSES.len(), "those of the sender that is one");
}

fn check_report(report: &[u8]) {
    assert!(report.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b'\t' | b' '..=b'~')));
    let text = text(report);
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert_eq!(text.matches('\r').count(), text.matches("\r\n").count());
    let (own, returned) =
        text.split_once("Content-Type: text/rfc822-headers").unwrap_or_else(|| {
            text.split_once("Content-Type: message/rfc822").expect("the returned part")
        });
    assert!(returned.contains("Content-Transfer-Encoding: base64"), "{returned}");
    // The words for people have no line that could be taken for a field behind an empty one.
    let known: BTreeSet<&str> = FIELDS.into_iter().collect();
    let mut in_words = false;
    for line in own.split("\r\n") {
        in_words = match line {
            "Content-Type: text/plain; charset=us-ascii" | "Content-Type: text/plain" => true,
            _ if line.starts_with("--") => false,
            _ => in_words,
        };
        let Some((name, _)) = line.split_once(':').filter(|_| !in_words) else { continue };
        let is_folded = line.starts_with([' ', '\t']);
        assert!(is_folded || known.contains(name.to_ascii_lowercase().as_str()), "{line}\n{own}");
    }
    let parsed = mail_parser::MessageParser::default().parse(report).unwrap();
    assert!(parsed.header("X-Evil").is_none() && parsed.header("Bcc").is_none(), "{own}");
    assert_eq!(parsed.attachment_count() + parsed.text_body_count(), 3, "{text}");
}

/// Each line is one event, in ASCII; there are as many as the counts say.
fn check_events(out: &std::path::Path) {
    for (name, bytes) in streams(out) {
        if name.starts_with("events/") {
            assert!(bytes.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{name}");
        }
    }
    for event in events(out) {
        assert!(event["id"].is_string(), "{event}");
    }
}

fn check_logs(out: &std::path::Path) {
    let count = events(out).len();
    for form in ["syslog", "session-log", "system-log"] {
        let path = out.with_extension(form);
        let to = format!("{form}:{}", path.display());
        let output = ended(None, &["events", out.to_str().unwrap(), "--to", &to]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let log = fs::read(&path).unwrap();
        // Syslog is UTF-8 with a mark of byte order before the words.
        let is_text = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\n' | b'\r' | b'\t');
        assert!(log.iter().all(is_text), "{form}");
        let lines = log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        if form == "syslog" {
            assert_eq!(lines.clone().count(), count, "{form}");
            assert!(lines.clone().all(|line| line.starts_with(b"<")), "{form}");
        }
        assert!(lines.clone().all(|line| !line.starts_with(b"X-Evil")), "{form}");
        let bare = log.windows(2).any(|two| two[0] == b'\r' && two[1] != b'\n');
        assert!(!bare, "{form}");
    }
}

/// Names of files are queue ids: they stand in events, records and reports.
#[test]
fn a_file_name_with_line_ends_is_one_name_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue");
    fs::create_dir(&queue).unwrap();
    let name = "a\r\nX-Evil: 1\r\n\r\n\u{1b}[0m.eml";
    let content = "Return-Path: <bob@example.com>\r\nTo: gone@example.com\r\n\r\nx\r\n";
    fs::write(queue.join(name), content).unwrap();
    let out = folder.path().join("run");
    let output = run(None, &format!("eml:{}", queue.display()), &out, &[]);
    assert_eq!(super::counts(&output)["reports"], 1);
    check_events(&out);
    check_logs(&out);
    let report = messages(&out, "ndr").remove(0);
    assert!(!text(&report.content).contains("\nX-Evil"), "{}", text(&report.content));
}

#[test]
fn a_host_name_with_line_ends_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("q.seg");
    fs::write(&queue, segment(&[])).unwrap();
    for name in ["a\r\nX-Evil: 1", "a b", "a\nb", "\u{1b}", ""] {
        let arguments =
            ["run", queue.to_str().unwrap(), "--out", "nowhere", &format!("--hostname={name}")];
        assert_eq!(ended(None, &arguments).status.code(), Some(2), "{name:?}");
    }
    assert!(!std::path::Path::new("nowhere").exists());
}

/// Messages of post offices are rendered: their subjects and names become header fields.
#[test]
fn no_line_end_of_a_post_offices_subject_or_file_name_becomes_a_field() {
    use crate::postoffice::small::{Office, letter};
    let mut office = Office::new();
    let mut evil = letter("NET/PO/ANN", &["NET/PO/BOB"]);
    evil.subject = b"s\r\nX-Evil: 1\r\n\r\nbody\0";
    evil.attachments = vec![(b"../../a\"\r\nX-Evil: 1\r\n\r\n\0.txt", b"attached")];
    office.push(&evil);
    let output = office.run("run", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let content = messages(&office.out("run"), "accepted").remove(0).content;
    let parsed = mail_parser::MessageParser::default().parse(&content[..]).unwrap();
    assert!(parsed.header("X-Evil").is_none(), "{}", text(&content));
    assert_eq!(parsed.attachment_count(), 1, "{}", text(&content));
    assert!(!text(&content).contains("\nX-Evil"), "{}", text(&content));
    // The name is what it was (docs/postoffice.md): in one field.
    let name = parsed.attachment(0).unwrap().attachment_name().unwrap_or_default();
    assert_eq!(name.as_bytes(), evil.attachments[0].0);
}
