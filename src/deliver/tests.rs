//! Conversions there and back: contents compared byte by byte, envelopes as far as each format
//! holds them.

use super::*;
use crate::mail::date::Time;
use crate::mail::envelope::{Notify, QueueId, Ret, ReversePath};
use crate::queue::segment::write;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A message as it comes out of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    content: Vec<u8>,
    head: Vec<u8>,
    reverse_path: Option<Vec<u8>>,
    arrival: Option<Time>,
    recipients: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Collect(Vec<Result<Read, Damage>>);

impl Visit for Collect {
    type Error = QueueError;

    fn batch<'a>(&mut self, source: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
        let mut recipients = Vec::new();
        for framed in frames {
            let found = match framed {
                Framed::Message(found) => found,
                Framed::Damage(damage) => {
                    self.0.push(Err(damage));
                    continue;
                }
            };
            let facts = HeaderFacts::read(found.content.raw());
            let order = RecipientOrder::default();
            let read = envelope::read(&source, &found, &facts, order, &mut recipients);
            let envelope = read.judged().unwrap();
            self.0.push(Ok(Read {
                content: found.content.runs().collect::<Vec<_>>().concat(),
                head: found.head.to_vec(),
                reverse_path: match envelope.reverse_path {
                    ReversePath::Unknown => None,
                    path => Some(path.bytes().to_vec()),
                },
                arrival: envelope.arrival,
                recipients: recipients.iter().map(|one| one.forward_path.to_vec()).collect(),
            }));
        }
        Ok(())
    }
}

fn read(spec: &str) -> Vec<Result<Read, Damage>> {
    let queue = Queue::open(spec).unwrap();
    let (mut buffers, mut collect) = (Buffers::default(), Collect::default());
    for part in queue.cut(4096).unwrap() {
        queue.read(&part, &mut buffers, &mut collect).unwrap();
    }
    collect.0
}

fn contents(spec: &str) -> Vec<Vec<u8>> {
    read(spec).into_iter().map(|read| read.unwrap().content).collect()
}

fn run(from: &str, to: &str) -> Result<Converted, DeliverError> {
    let queue = Queue::open(from)?;
    let parts = queue.cut(4096)?;
    let target = Target::parse(to).unwrap();
    let mut last = 0;
    let converted = convert(&queue, &parts, RecipientOrder::default(), &target, &mut |done| {
        assert!(done >= last);
        last = done;
    })?;
    Ok(converted)
}

/// A segment with these contents, each with an envelope that `fill` writes.
fn write_segment(path: &Path, contents: &[Vec<u8>], fill: impl Fn(usize, &mut write::Fields<'_>)) {
    let mut out = write::file_header(7).to_vec();
    for (index, content) in contents.iter().enumerate() {
        let payload = write::Payload::measure(crate::mail::content::Content::plain(content));
        let place = write::Place { offset: out.len() as u64, mark: 7 };
        let mut record = Vec::new();
        write::append_head(&mut record, place, &payload, |fields| fill(index, fields));
        out.extend_from_slice(&record);
        out.extend_from_slice(content);
    }
    fs::write(path, out).unwrap();
}

fn sender(fields: &mut write::Fields<'_>, path: &[u8], arrival_s: i64) {
    let mut envelope = Envelope::new(QueueId::Given(b"id"));
    envelope.arrival = Some(Time::from_s(arrival_s));
    fields.carried(&envelope);
    fields.reverse_path(ReversePath::from_path(path));
}

/// What is awkward in an mbox, in a row.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        &b"From "[..],
        b">",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"\r",
        b"\0\xff",
        b"A: b\n",
        b"Content-Length: 3\n",
        b"\n\nFrom x\n",
        b"\xF5INQREC\n",
    ]);
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// What an mbox gives back: see `mbox`.
fn through_mbox(contents: &[Vec<u8>]) -> (Vec<Vec<u8>>, u64) {
    let mut expect = contents.to_vec();
    let mut added = 0;
    let last = expect.len().saturating_sub(1);
    for content in expect.iter_mut().take(last) {
        if !content.is_empty() && !content.ends_with(b"\n") {
            content.push(b'\n');
            added += 1;
        }
    }
    (expect, added)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Through an mbox and back, any contents are what the text of `mbox` says; from there on
    /// nothing changes any more, not even the mbox.
    #[test]
    fn contents_go_through_an_mbox(contents in proptest::collection::vec(content(), 0..6)) {
        let folder = tempfile::tempdir().unwrap();
        let at = |kind: &str, name: &str| format!("{kind}:{}", folder.path().join(name).display());
        let from = folder.path().join("a.seg");
        write_segment(&from, &contents, |_, fields| sender(fields, b"a@b", 1));
        let (expect, added) = through_mbox(&contents);
        let done = run(&at("segment", "a.seg"), &at("mbox", "b.mbox")).unwrap();
        prop_assert_eq!(done.messages, contents.len() as u64);
        prop_assert_eq!(done.bytes, contents.iter().map(|one| one.len() as u64).sum::<u64>());
        prop_assert_eq!(done.line_ends_added, added);
        prop_assert_eq!(done.senders_changed, 0);
        prop_assert_eq!(&super::tests::contents(&at("mboxrd", "b.mbox")), &expect);
        let done = run(&at("mboxrd", "b.mbox"), &at("segment", "c.seg")).unwrap();
        prop_assert_eq!(done.messages, contents.len() as u64);
        prop_assert_eq!(&super::tests::contents(&at("segment", "c.seg")), &expect);
        let again = run(&at("mboxrd", "b.mbox"), &at("mbox", "d.mbox")).unwrap();
        prop_assert_eq!(again.line_ends_added, 0);
        let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
        prop_assert_eq!(bytes("b.mbox"), bytes("d.mbox"));
    }

    /// Any reverse-path gives one From_ line that has the date; where the path isn't what it was,
    /// that is counted.
    #[test]
    fn any_sender_gives_a_from_line(
        path in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            "(<|>|\"|Mon |Fri Jan  2 |a|@|-|\\\\| |MAILER-DAEMON|\n|\r){0,6}"
                .prop_map(String::into_bytes),
        ],
        arrival_s in 1_i64..250_000_000_000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let at = |kind: &str, name: &str| format!("{kind}:{}", folder.path().join(name).display());
        let contents = [b"A: b\n".to_vec(), b"C: d\n".to_vec()];
        let from = folder.path().join("a.seg");
        write_segment(&from, &contents, |_, fields| sender(fields, &path, arrival_s));
        let before = read(&at("segment", "a.seg"));
        let done = run(&at("segment", "a.seg"), &at("mbox", "b.mbox")).unwrap();
        let after = read(&at("mboxrd", "b.mbox"));
        prop_assert_eq!(after.len(), 2);
        let mut changed = 0;
        for (before, after) in before.into_iter().zip(after) {
            let (before, after) = (before.unwrap(), after.unwrap());
            prop_assert_eq!(before.content, after.content);
            prop_assert_eq!(before.arrival, after.arrival);
            if before.reverse_path != after.reverse_path {
                // Never the address of somebody else.
                prop_assert_eq!(after.reverse_path, Some(Vec::new()));
                changed += 1;
            }
        }
        prop_assert_eq!(done.senders_changed, changed);
    }
}

#[test]
fn an_mbox_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let at = |kind: &str, name: &str| format!("{kind}:{}", folder.path().join(name).display());
    let contents: Vec<Vec<u8>> = [
        &b"A: b\r\n\r\nFrom c\r\n>From d\r\n"[..],
        b"no end",
        b"",
        b"From the start\n",
        b"last, no end\r",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let senders: [&[u8]; 5] = [b"a@b", b"\"x y\"@b", b"", b"j\xc3\xbcrgen@b", b"a\nFrom b@c"];
    write_segment(&folder.path().join("a.seg"), &contents, |index, fields| {
        sender(fields, senders[index], 1_767_319_445);
    });
    let done = run(&at("segment", "a.seg"), &at("mbox", "b")).unwrap();
    let expect = b"From a@b Fri Jan  2 02:04:05 2026\nA: b\r\n\r\n>From c\r\n>>From d\r\n\n\
        From \"x y\"@b Fri Jan  2 02:04:05 2026\nno end\n\n\
        From MAILER-DAEMON Fri Jan  2 02:04:05 2026\n\n\
        From j\xc3\xbcrgen@b Fri Jan  2 02:04:05 2026\n>From the start\n\n\
        From MAILER-DAEMON Fri Jan  2 02:04:05 2026\nlast, no end\r";
    let got = fs::read(folder.path().join("b")).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expect));
    let expect = Converted {
        messages: 5,
        bytes: 59,
        line_ends_added: 1,
        senders_changed: 1,
        ..Converted::default()
    };
    assert_eq!(done, expect);
    // A From_ line is copied as it is, whatever it says.
    fs::write(folder.path().join("d"), b"From x  y remote from z\r\n\na\n>From b\nFrom c\n")
        .unwrap();
    run(&at("mboxrd", "d"), &at("mbox", "e")).unwrap();
    let got = fs::read(folder.path().join("e")).unwrap();
    let expect = "From x  y remote from z\n\na\n>From b\n>From c\n\n";
    assert_eq!(String::from_utf8_lossy(&got), expect);
}

#[test]
fn a_segment_is_copied_with_all_that_its_records_say() {
    let folder = tempfile::tempdir().unwrap();
    let at = |kind: &str, name: &str| format!("{kind}:{}", folder.path().join(name).display());
    let contents = vec![b"A: b\n\nc".to_vec(), Vec::new(), vec![0xF5; 300_000]];
    write_segment(&folder.path().join("a.seg"), &contents, |index, fields| {
        fields.bytes(999, b"unknown");
        fields.u32(13, u32::try_from(index).unwrap());
        fields.nested(15, |fields| {
            fields.bytes(1, b"r@x");
            fields.bytes(777, b"unknown");
        });
    });
    run(&at("segment", "a.seg"), &at("segment", "b.seg")).unwrap();
    let (before, after) = (read(&at("segment", "a.seg")), read(&at("segment", "b.seg")));
    assert_eq!(before, after);
    assert_eq!(before.len(), 3);
    // The same names, the same bytes; the mark isn't that of the source.
    let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let first = bytes("b.seg");
    fs::remove_file(folder.path().join("b.seg")).unwrap();
    run(&at("segment", "a.seg"), &at("segment", "b.seg")).unwrap();
    assert_eq!(first, bytes("b.seg"));
    assert_ne!(first[12..20], bytes("a.seg")[12..20]);
}

#[test]
fn the_envelope_goes_into_a_segment_from_what_the_content_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = |kind: &str, name: &str| format!("{kind}:{}", folder.path().join(name).display());
    fs::write(
        folder.path().join("a"),
        "From f@x Fri Jan  2 02:04:05 2026\nReturn-Path: <r@x>\nX-Original-To: o@x\nTo: t@x\n\n\
         \nFrom - Thu Jan  1 00:00:00 1970\nDelivered-To: d@x\nDate: 2 Jan 2026 00:00:00 +0000\n\n",
    )
    .unwrap();
    run(&at("mbox", "a"), &at("segment", "b.seg")).unwrap();
    let got: Vec<Read> = read(&at("segment", "b.seg")).into_iter().map(Result::unwrap).collect();
    let (before, path) = (read(&at("mbox", "a")), |text: &str| text.as_bytes().to_vec());
    for (before, after) in before.into_iter().zip(&got) {
        let expect = Read { head: after.head.clone(), ..before.unwrap() };
        assert_eq!(&expect, after);
    }
    assert_eq!(got[0].reverse_path, Some(path("r@x")));
    assert_eq!(got[0].recipients, [path("o@x")]);
    assert_eq!(got[0].arrival, Some(Time::from_s(1_767_319_445)));
    assert_eq!(got[1].reverse_path, Some(Vec::new()));
    assert_eq!(got[1].recipients, [path("d@x")]);
    // A From_ line of the epoch knows no arrival: the Date field has it.
    assert_eq!(got[1].arrival, Some(Time::from_s(1_767_312_000)));
}

#[test]
fn recipients_and_schedule_are_written_as_they_were_read() {
    let mut envelope = Envelope::new(QueueId::Given(b"id"));
    envelope.attempts = 3;
    envelope.expiry = Some(Time(5));
    envelope.ret = Some(Ret::Hdrs);
    let whole = Recipient {
        forward_path: b"a@b",
        notify: Some(Notify(6)),
        orcpt: Some(b"rfc822;o@b"),
        done: true,
    };
    let recipients = [whole, Recipient::new(b"")];
    let content = crate::mail::content::Content::plain(b"");
    let found = Found::new(0, 0, b"", content);
    let item = Item {
        format: Format::Eml,
        found: &found,
        envelope: &envelope,
        recipients: &recipients,
        checksum: None,
    };
    let mut out = Vec::new();
    let place = write::Place { offset: 0, mark: 0 };
    let payload = write::Payload::measure(content);
    write::append_head(&mut out, place, &payload, |fields| segment::fill(fields, &item));
    let mut got = Vec::new();
    let head = &out[crate::queue::segment::HEAD_LEN..];
    let read = crate::queue::segment::read::envelope(head, QueueId::Given(b""), &mut got).unwrap();
    assert_eq!(got, recipients);
    assert_eq!(read.queue_id, QueueId::Written(b"id"));
    assert_eq!((read.attempts, read.expiry, read.ret), (3, Some(Time(5)), Some(Ret::Hdrs)));
    assert_eq!((read.arrival, read.reverse_path), (None, ReversePath::Unknown));
}

#[test]
fn files_have_names_in_order_and_the_arrival_as_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let at = |kind: &str, name: &str| format!("{kind}:{}", folder.path().join(name).display());
    let quoted = [b"From x\n".repeat(10_000), b"y".to_vec()].concat();
    let contents = vec![b"one".to_vec(), Vec::new(), quoted, b"four\r\n".to_vec()];
    let arrivals = [20, 10, 99_999_999_999, 30];
    write_segment(&folder.path().join("a.seg"), &contents, |index, fields| {
        sender(fields, b"a@b", arrivals[index]);
    });
    run(&at("segment", "a.seg"), &at("mbox", "b")).unwrap();
    let done = run(&at("mboxrd", "b"), &at("maildir", "c")).unwrap();
    assert_eq!((done.messages, done.line_ends_added), (4, 0));
    let names = |name: &str| {
        let entries = fs::read_dir(folder.path().join(name)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("c"), ["cur", "new", "tmp"]);
    assert_eq!(names("c/tmp"), [""; 0]);
    let expect = [
        "0000000020.Q00000001.inqueue",
        "0000000020.Q00000002.inqueue",
        "9999999999.Q00000003.inqueue",
        "9999999999.Q00000004.inqueue",
    ];
    assert_eq!(names("c/new"), expect);
    let time = |path: String| fs::metadata(folder.path().join(path)).unwrap().mtime();
    assert_eq!(time(format!("c/new/{}", expect[1])), 10);
    assert_eq!(time(format!("c/new/{}", expect[3])), 30);
    let (after, _) = through_mbox(&contents);
    assert_eq!(super::tests::contents(&at("maildir", "c")), after);
    run(&at("maildir", "c"), &at("eml", "d")).unwrap();
    assert_eq!(names("d"), ["00000001.eml", "00000002.eml", "00000003.eml", "00000004.eml"]);
    assert_eq!(super::tests::contents(&at("eml", "d")), after);
    run(&at("eml", "d"), &at("segment", "e.seg")).unwrap();
    assert_eq!(super::tests::contents(&at("segment", "e.seg")), after);
}

#[test]
fn damage_is_told_with_its_place_and_the_rest_is_converted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |kind: &str, name: &str| format!("{kind}:{}", folder.path().join(name).display());
    let contents = vec![b"one\n".to_vec(), b"two\n".to_vec(), b"three\n".to_vec()];
    write_segment(&folder.path().join("a.seg"), &contents, |index, fields| {
        // The second one's envelope is good by its checksum, and can't be read.
        if index == 1 {
            fields.bytes(2, b"short");
        }
    });
    let mut bytes = fs::read(folder.path().join("a.seg")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(folder.path().join("a.seg"), &bytes).unwrap();
    let done = run(&at("segment", "a.seg"), &at("eml", "b")).unwrap();
    assert_eq!(super::tests::contents(&at("eml", "b")), [b"one\n"]);
    let damaged = |offset, length, kind| DamagedRange {
        file: b"a.seg".to_vec(),
        damage: Damage { offset, length, kind },
        lost: None,
    };
    let expect = Converted {
        messages: 1,
        bytes: 4,
        damaged: 2,
        damaged_bytes: 133,
        damage: vec![damaged(92, 71, DamageKind::Envelope), damaged(163, 62, DamageKind::Content)],
        ..Converted::default()
    };
    assert_eq!(done, expect);
}

#[test]
fn what_exists_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let at = |kind: &str, name: &str| format!("{kind}:{}", folder.path().join(name).display());
    let path = |name: &str| folder.path().join(name);
    write_segment(&path("a.seg"), &[b"one\n".to_vec()], |_, _| {});
    let fails = |to: String, expect: &str| {
        let error = run(&at("segment", "a.seg"), &to).unwrap_err().to_string();
        assert!(error.contains(expect), "{to}: {error}");
    };
    fs::write(path("full"), "x").unwrap();
    fs::create_dir_all(path("folder/x")).unwrap();
    fs::write(path("none"), "").unwrap();
    fs::create_dir(path("nothing")).unwrap();
    fs::write(path("half.partial"), "half").unwrap();
    fails(at("mbox", "full"), "exists already and isn't empty");
    fails(at("segment", "folder"), "exists already and isn't empty");
    fails(at("eml", "full"), "exists already and isn't empty");
    fails(at("maildir", "folder"), "exists already and isn't empty");
    fails(at("maildir", "none"), "is no folder");
    fails(at("mbox", "nothing"), "is no file");
    fails(at("mbox", "half"), "half.partial: is left of a conversion that did not end");
    fails("mbox:..".to_owned(), "names no new file or folder");
    fails(at("mbox", "no/such"), "cannot write");
    fails(at("eml", "no/such"), "cannot write");
    fails(at("segment", "full/x"), "cannot write");
    assert_eq!(fs::read(path("full")).unwrap(), b"x");
    assert_eq!(fs::read(path("half.partial")).unwrap(), b"half");
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.seg", "folder", "full", "half.partial", "none", "nothing"]);
    // What is there and empty is used.
    run(&at("segment", "a.seg"), &at("mbox", "none")).unwrap();
    run(&at("segment", "a.seg"), &at("eml", "nothing")).unwrap();
    assert_eq!(contents(&at("mbox", "none")), contents(&at("eml", "nothing")));
    assert!(!path("none.partial").exists() && !path("nothing.partial").exists());
}

#[test]
fn targets_are_named_by_format_and_path() {
    let target = |format, path: &str| Some(Target { format, path: path.into() });
    assert_eq!(Target::parse("segment:a:b"), target(TargetFormat::Segment, "a:b"));
    assert_eq!(Target::parse("mbox:/x"), target(TargetFormat::Mbox, "/x"));
    assert_eq!(Target::parse("maildir:m/"), target(TargetFormat::Maildir, "m/"));
    assert_eq!(Target::parse("eml:e"), target(TargetFormat::Eml, "e"));
    for bad in ["", "mbox", "mbox:", "mboxo:x", "x", ":x", "MBOX:x"] {
        assert_eq!(Target::parse(bad), None, "{bad}");
    }
}
