//! FFAPI text: the published forms, the published errors, and messages there and back to the byte.

use super::*;
use crate::mail::date::Time;
use crate::mail::envelope::{Envelope, QueueId, Recipient, ReversePath};
use crate::queue::bytes::FileBytes;
use crate::queue::segment::read::{envelope, notes};
use proptest::prelude::*;
use read::{Bytes, messages};
use std::fmt::Write as _;

/// A message as it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    id: String,
    place: (u64, u64),
    arrival: Option<Time>,
    /// None where it isn't known, no bytes for the null path.
    from: Option<Vec<u8>>,
    to: Vec<Vec<u8>>,
    priority: u8,
    content: Vec<u8>,
    set_aside: Option<String>,
}

/// Reads a file `M.MMF`; beside it is `BODY.TXT`.
fn read_file(file: &[u8]) -> Vec<Read> {
    let mut arena = b"what was there before".to_vec();
    let pieces = frame::file(b"M.MMF", file, &mut arena, |name| {
        Ok((name == b"BODY.TXT").then(|| FileBytes::Read(b"beside\r".to_vec())))
    });
    let read = |piece: &frame::Piece| {
        let found = piece.found(file, &arena);
        let mut recipients = Vec::new();
        let place = QueueId::Place { tag: 0, offset: 0 };
        let envelope = envelope(found.head, place, &mut recipients).unwrap();
        let mut id = Vec::new();
        envelope.queue_id.write(&mut id);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let noted = notes(found.head, |_| {}).unwrap().reason.map(<[u8]>::to_vec);
        assert_eq!(noted.as_deref(), found.set_aside);
        Read {
            id: text(&id),
            place: (found.offset, found.length),
            arrival: envelope.arrival,
            from: envelope.reverse_path.is_known().then(|| envelope.reverse_path.bytes().to_vec()),
            to: recipients.iter().map(|one| one.forward_path.to_vec()).collect(),
            priority: envelope.priority,
            content: found.content.raw().to_vec(),
            set_aside: found.set_aside.map(text),
        }
    };
    pieces.unwrap().iter().map(read).collect()
}

fn one(file: &[u8]) -> Read {
    let mut all = read_file(file);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Lines of this line end.
fn lines(lines: &str, line_end: LineEnd) -> Vec<u8> {
    let mut out = Vec::new();
    replace(lines.as_bytes(), b"\n", line_end.bytes(), &mut out);
    out
}

/// The message written again.
fn written(read: &Read, line_end: LineEnd) -> Vec<u8> {
    let (file, simplified) = written_or_simplified(read, line_end);
    assert!(!simplified);
    file
}

fn written_or_simplified(read: &Read, line_end: LineEnd) -> (Vec<u8>, bool) {
    let mut envelope = Envelope::new(QueueId::Written(read.id.as_bytes()));
    envelope.arrival = read.arrival;
    envelope.priority = read.priority;
    envelope.reverse_path = match &read.from {
        None => ReversePath::Unknown,
        Some(path) if path.is_empty() => ReversePath::Null,
        Some(path) => ReversePath::Path(path),
    };
    let mut recipients: Vec<Recipient<'_>> =
        read.to.iter().map(|path| Recipient::new(path)).collect();
    recipients.insert(0, Recipient { done: true, ..Recipient::new(b"done@x.example") });
    let mut out = Vec::new();
    let simplified = write::append(&mut out, &envelope, &recipients, &read.content, line_end);
    (out, simplified)
}

/// All that Basic has (Q118785).
const BASIC: &str = "VERSION:3.00\nTO:NET/PO/JDOE\nTO:SMTP:a.b@c.example\nTO:FAX:5551234\n\
    FROM:NET/PO/O'NEIL\nDATE:1993-10-08\nTIME:16:25\nSUBJECT:  This is the subject \n\
    PRIORITY:1\nATTACHMENTS:A FILE.TXT 4\nATTACHMENTS:EMPTY 0\nTEXT:SIZE\nline one\n\n: two";

/// BASIC with its sizes, in a line end.
fn basic(line_end: LineEnd) -> Vec<u8> {
    let text_len = 8 + 5 + 2 * line_end.bytes().len();
    [lines(&BASIC.replace("SIZE", &text_len.to_string()), line_end), b"\0\r\n\xff".to_vec()]
        .concat()
}

#[test]
fn a_basic_message_is_read_and_written_in_each_line_end() {
    for line_end in [LineEnd::Cr, LineEnd::Lf, LineEnd::CrLf] {
        let file = basic(line_end);
        assert_eq!(LineEnd::of(&file), line_end);
        let read = one(&file);
        let content = String::from_utf8(read.content.clone()).unwrap();
        let boundary = content.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
        let expect = format!(
            "From: O'NEIL@PO.NET.msmail.internal\nTo: JDOE@PO.NET.msmail.internal,\n \
             a.b@c.example,\n 5551234@FAX.msmail.internal\n\
             Date: Fri, 08 Oct 1993 16:25:00 +0000\n\
             Subject: =?us-ascii?B?ICBUaGlzIGlzIHRoZSBzdWJqZWN0IA==?=\nX-Priority: 1\n\
             MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n\n\
             --{boundary}\nContent-Type: text/plain; charset=us-ascii\n\
             Content-Transfer-Encoding: 7bit\n\nline one\n\n: two\n--{boundary}\n\
             Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"A FILE.TXT\"\n\nAA0K/w==\n\
             --{boundary}\nContent-Type: application/octet-stream\n\
             Content-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"EMPTY\"\n\n--{boundary}--\n"
        );
        assert_eq!(content.replace("\r\n", "\n"), expect);
        let paths = ["JDOE@PO.NET.msmail.internal", "a.b@c.example", "5551234@FAX.msmail.internal"];
        assert_eq!(read.to, paths.map(|path| path.as_bytes().to_vec()));
        assert_eq!(read.from, Some(b"O'NEIL@PO.NET.msmail.internal".to_vec()));
        assert_eq!(read.arrival, Time::parse_rfc3339(b"1993-10-08T16:25:00Z"));
        assert_eq!((read.priority, read.id.as_str()), (1, "M.MMF"));
        assert_eq!((read.place, &read.set_aside), ((0, file.len() as u64), &None));
        assert_eq!(written(&read, line_end), file);
        // In another line end it says the same.
        for other in [LineEnd::Cr, LineEnd::Lf, LineEnd::CrLf] {
            assert_eq!(written(&read, other), basic(other));
        }
    }
}

#[test]
fn the_forms_that_were_published_are_read() {
    let check = |text: &str, to: &str| {
        let read = one(&lines(text, LineEnd::Cr));
        assert_eq!((read.set_aside, read.to), (None, vec![to.as_bytes().to_vec()]), "{text}");
        read.content
    };
    // Q106623: mail to the Dir-Sync server.
    check("TO:CSI:net/po/$system\nFROM:net/po/x\nTEXT:0\n", "$system@po.net.msmail.internal");
    check("TO:net/po/$system\nFROM:net/po/x\nTEXT:0\n", "$system@po.net.msmail.internal");
    // Q98209: an empty first line. Q118785 writes `Date`.
    check(
        "\nVERSION:2.10\nTO:n/p/m\nFROM:n/p/x\nDate:1993-10-08\nTEXT:0\n",
        "m@p.n.msmail.internal",
    );
    // Q103801 has ATTACHMENT, without its S.
    let text = "VERSION:3.00\nTO:n/p/m\nFROM:n/p/x\nATTACHMENT:A.TXT 3\nTEXT:2\nhiabc";
    let content = check(text, "m@p.n.msmail.internal");
    assert!(String::from_utf8(content).unwrap().contains("filename=\"A.TXT\"\r\n\r\nYWJj\r\n"));
    // Q87651: an address over several lines.
    let text = "TO:MCI:J Doe\n EMS:X\n MBX:n/p/m\nFROM:n/p/x\nTEXT:0\n";
    check(text, "J=20Doe=0D=20EMS=3AX=0D=20MBX=3An=2Fp=2Fm@MCI.msmail.internal");
    let again = lines(&format!("VERSION:3.00\n{text}"), LineEnd::Cr);
    assert_eq!(written(&one(&again), LineEnd::Cr), again);
    // Text and attachment in files of their own.
    let text = "TO:n/p/m\nFROM:n/p/x\nXATTACH:BODY.TXT A NAME\nXTEXT:BODY.TXT\n";
    let content = String::from_utf8(check(text, "m@p.n.msmail.internal")).unwrap();
    assert!(content.contains("\r\n\r\nbeside\r\n\r\n--"), "{content}");
    assert!(content.contains("filename=\"A NAME\"\r\n\r\nYmVzaWRlDQ==\r\n"), "{content}");
    // CC of the Extended mailbag headers.
    let read = one(b"TO:n/p/a\rCC:n/p/b\rFROM:n/p/x\rTEXT:0\r");
    assert_eq!(read.to.len(), 2);
    assert!(read.content.starts_with(
        b"From: x@p.n.msmail.internal\r\nTo: a@p.n.msmail.internal\r\nCc: b@p.n.msmail.internal\r\n"
    ));
}

#[test]
fn each_published_error_sets_its_message_aside_as_it_is() {
    let check = |text: &str, reason: &str| {
        let file = lines(text, LineEnd::Cr);
        let read = one(&file);
        assert_eq!(read.set_aside.as_deref(), Some(reason), "{text}");
        assert_eq!(read.content, file);
        assert_eq!(read.place, (0, file.len() as u64));
    };
    check(
        "VERSION:3.00\nTOO:net/po/mailbox\n",
        "141-1-2 Cannot match token TOO (has tail net/po/mailbox)",
    );
    check("FROM:n/p/x\nFROM:n/p/y\n", "141-1-2 Cannot match token FROM (has tail n/p/y)");
    check("EXT:I:3:120\n", "141-1-1 Cannot match token EXT (has tail I:3:120)");
    check("VERSION:3\n", "141-1-1 Cannot match token VERSION (has tail 3)");
    check("VERSION:3.00\nTO:\n", "142-1-2 Bad Address");
    check("\nTO:JDOE\n", "142-1-2 Bad Address");
    check("TO:CSI:net/po\n", "142-1-1 Bad Address");
    check("TO:X-PATH:%4\n", "142-1-1 Bad Address");
    check(&format!("TO:X400:{}\n", "x".repeat(4092)), "142-1-1 Bad Address");
    let long = one(&lines(&format!("TO:X400:{}\nTEXT:0\n", "x".repeat(4091)), LineEnd::Cr));
    assert_eq!((long.set_aside, long.to.len()), (None, 1));
    check("TO:PCM:net/po/x\n", "151-1-1 Unknown service PCM");
    check("VERSION:3.00\nhello\n", "144-1-2 Unable to partition line hello");
    check("TO:n/p/m\n\nFROM:n/p/x\n", "144-1-2 Unable to partition line ");
    check("TO:n/p/m\nTEXT:5\n1234", "145-1-2 Contents too big: 5 bytes, but 4 are there");
    check("TO:n/p/m\nTEXT:3\n12345", "145-1-2 Contents too big: 2 bytes behind the message");
    check("ATTACHMENT:A 9\nTEXT:1\n1", "145-1-1 Contents too big: 9 bytes, but 0 are there");
    check("TEXT:99999999999999999999\n", "140-1-1 Unknown error: no size");
    check("TO:n/p/m\n", "140-1-1 Unknown error: the file ends before TEXT");
    check("", "140-1-0 Unknown error: the file ends before TEXT");
    check("PRIORITY:9\n", "140-1-1 Unknown error: no priority");
    check("DATE:1993-13-08\nTEXT:0\n", "140-1-2 Unknown error: no date and time");
    check("ATTACHMENTS:A\n", "140-1-1 Unknown error: no name and size of an attachment");
    let none = "140-1-1 Unknown error: no file GONE in the folder of the message";
    check("XTEXT:GONE\n", none);
    // The wrong line end, behind a right first line.
    let read = one(b"VERSION:3.00\r\nTO:n/p/m\nTEXT:0\n");
    let reason = "144-1-2 Unable to partition line TO:n/p/m\nTEXT:0\n";
    assert_eq!(read.set_aside.as_deref(), Some(reason));
    // What could be read of the envelope is kept.
    let read = one(b"TO:n/p/m\rFROM:n/p/x\rBAD:\r");
    assert_eq!(read.to, [b"m@p.n.msmail.internal"]);
    assert_eq!(read.from, Some(b"x@p.n.msmail.internal".to_vec()));
}

#[test]
fn a_file_may_hold_messages_one_behind_the_other() {
    let file = b"VERSION:3.00\rTO:n/p/a\rTEXT:3\rone\r\rVERSION:3.00\rTO:n/p/b\rTEXT:3\rtwo\
        VERSION:3.00\rTO:PCM:n/p/c\rTEXT:9\rVERSION:3.00\rTO:n/p/d\rTEXT:0\r\r\x1A";
    let all = read_file(file);
    let ids: Vec<&str> = all.iter().map(|read| read.id.as_str()).collect();
    assert_eq!(ids, ["M.MMF", "M.MMF%:2", "M.MMF%:3"]);
    assert_eq!(all[2].set_aside.as_deref(), Some("151-3-2 Unknown service PCM"));
    // Where the fourth begins can't be known: its bytes are those of the third.
    assert_eq!(all[2].content, file[usize::try_from(all[2].place.0).unwrap()..]);
    let lengths: u64 = all.iter().map(|read| read.place.1).sum();
    assert_eq!(lengths, file.len() as u64);
    assert!(all[0].content.ends_with(b"\r\n\r\none"));
    assert!(all[1].content.ends_with(b"\r\n\r\ntwo"));
}

#[test]
fn a_postmaster_is_nobody_to_answer_and_comes_back() {
    let file = b"VERSION:3.00\rTO:n/p/a\rFROM:n/p/Postmaster\rTEXT:0\r";
    let read = one(file);
    assert_eq!(read.from, Some(Vec::new()));
    assert_eq!(written(&read, LineEnd::Cr), file);
    // A path that looks so, but isn't the null one.
    let path = b"POSTMASTER@p.n.msmail.internal".to_vec();
    let file = written(&Read { from: Some(path.clone()), ..read }, LineEnd::Cr);
    assert_eq!(one(&file).from, Some(path));
}

#[test]
fn what_basic_cannot_hold_is_text_whole() {
    let read = Read {
        id: "x".to_owned(),
        place: (0, 0),
        arrival: Time::parse_rfc3339(b"2026-01-02T03:04:05Z"),
        from: Some(Vec::new()),
        to: vec![b"a@b.example".to_vec(), b"not a path\r\n%".to_vec(), Vec::new()],
        priority: 2,
        content: b"Message-ID: <x>\nSubject: Hi\n\nbody\r\n".to_vec(),
        set_aside: None,
    };
    let file = written(&read, LineEnd::Lf);
    let expect = "VERSION:3.00\nTO:SMTP:a@b.example\nTO:X-PATH:not a path%0D%0A%25\nTO:X-PATH:\n\
        FROM:X-PATH:\nDATE:2026-01-02\nTIME:03:04\nSUBJECT:Hi\nPRIORITY:2\nTEXT:65\n\
        Content-Type: message/rfc822\n\nMessage-ID: <x>\nSubject: Hi\n\nbody\r\n";
    assert_eq!(String::from_utf8_lossy(&file), expect);
    let back = one(&file);
    assert_eq!((&back.content, &back.to, &back.from), (&read.content, &read.to, &read.from));
    assert_eq!(back.arrival, Time::parse_rfc3339(b"2026-01-02T03:04:00Z"));
    assert_eq!(back.priority, 2);
}

#[test]
fn seconds_and_cc_are_what_basic_leaves_out() {
    let file =
        b"VERSION:3.00\rTO:n/p/a\rTO:n/p/b\rFROM:n/p/x\rDATE:2026-01-02\rTIME:03:04\rTEXT:0\r";
    let read = one(file);
    let content = String::from_utf8(read.content.clone()).unwrap();
    let other = |from: &str, to: &str| {
        assert!(content.contains(from));
        Read { content: content.replace(from, to).into_bytes(), ..read.clone() }
    };
    let seconds = other("03:04:00", "03:04:05");
    assert_eq!(written_or_simplified(&seconds, LineEnd::Cr), (file.to_vec(), true));
    let cc = other(",\r\n b@", "\r\nCc: b@");
    assert_eq!(written_or_simplified(&cc, LineEnd::Cr), (file.to_vec(), true));
    // Cc of others than the envelope's is something else.
    let whole = written(&other(",\r\n b@", "\r\nCc: c@"), LineEnd::Cr);
    assert!(String::from_utf8(whole).unwrap().contains("\rContent-Type: message/rfc822\r\r"));
}

/// Contents and texts that are awkward here.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        &b"VERSION:3.00"[..],
        b"TO:n/p/m",
        b"TO:MCI:x",
        b" EMS:y",
        b"FROM:n/p/POSTMASTER",
        b"ATTACHMENTS:A 2",
        b"TEXT:4",
        b"XTEXT:BODY.TXT",
        b"SUBJECT:\xff",
        b"DATE:1993-10-08",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r",
        b"\x1A",
        b"Subject: x\r\n",
        b"From: a@b\r\n",
        b"Content-Type: message/rfc822",
        b"\0",
    ]);
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn any_line_end() -> impl Strategy<Value = LineEnd> {
    proptest::sample::select(vec![LineEnd::Cr, LineEnd::Lf, LineEnd::CrLf])
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2048,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_byte_of_a_file_is_left_out(file in text()) {
        let all = read_file(&file);
        prop_assert!(!all.is_empty());
        let mut at = 0;
        for read in &all {
            prop_assert_eq!(read.place.0, at);
            at += read.place.1;
        }
        prop_assert_eq!(at, file.len() as u64);
        let sizes = messages(&file).filter(|message| message.fault.is_none()).all(|message| {
            !matches!(message.text, Bytes::Here(text) if text.len() > file.len())
        });
        prop_assert!(sizes);
    }

    #[test]
    fn contents_and_paths_come_back_to_the_byte(
        content in text(),
        paths in proptest::collection::vec(
            prop_oneof![text(), "[a-z.]{1,6}@[a-z.]{1,6}".prop_map(String::into_bytes)], 0..4),
        from in proptest::option::of(text()),
        line_end in any_line_end(),
        priority in 1_u8..6,
    ) {
        let read = Read {
            id: "M.MMF".to_owned(),
            place: (0, 0),
            arrival: None,
            from,
            to: paths,
            priority,
            content,
            set_aside: None,
        };
        let file = written(&read, line_end);
        let back = one(&file);
        let place = (0, file.len() as u64);
        prop_assert_eq!(back, Read { place, ..read });
    }

    #[test]
    fn basic_messages_come_back_to_the_byte(
        subject in "[ -~\u{e9}]{1,60}",
        body in text(),
        file in proptest::option::of(text()),
        line_end in any_line_end(),
        priority in proptest::sample::select(vec!["1", "2", "4", "5", ""]),
        minute in proptest::option::of(0_i64..4_000_000_000 / 60),
    ) {
        // Such a text is the content itself.
        prop_assume!(frame::whole_content(&body, line_end).is_none());
        let end = std::str::from_utf8(line_end.bytes()).unwrap();
        let mut text =
            "VERSION:3.00\nTO:N/P/A B\nTO:SMTP:a@b.example\nFROM:X400:c=us\n".to_owned();
        if let Some(minute) = minute {
            let mut time = Vec::new();
            Time::from_s(minute * 60).write_rfc3339(&mut time);
            let time = String::from_utf8(time).unwrap();
            let _ = writeln!(text, "DATE:{}\nTIME:{}", &time[..10], &time[11..16]);
        }
        let _ = writeln!(text, "SUBJECT:{subject}");
        if !priority.is_empty() {
            let _ = writeln!(text, "PRIORITY:{priority}");
        }
        if let Some(file) = &file {
            let _ = writeln!(text, "ATTACHMENTS:A {}", file.len());
        }
        let _ = writeln!(text, "TEXT:{}", body.len());
        let file = [text.replace('\n', end).into_bytes(), body, file.unwrap_or_default()].concat();
        let read = one(&file);
        prop_assert_eq!(&read.set_aside, &None);
        prop_assert_eq!(written(&read, line_end), file);
    }
}
