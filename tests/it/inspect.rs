//! `inqueue inspect` and `show`: against the manifest of queues with all hazards, and byte by byte.

use crate::binary::{FORMATS, Folder, Said, command, fails, generate, inqueue};
use crate::readers::skipped;
use crate::support::Queue;
use inqueue::mail::envelope::{Envelope, Notify, QueueId, Ret, ReversePath};
use inqueue::mail::{content::Content, date::Time};
use inqueue::queue::segment::{recipient_tag, tag, write};
use inqueue_gen::Format;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What both the manifest and `inspect` say of a message or a damaged range.
fn place(line: &Value) -> (String, u64, u64, Option<String>) {
    let damage = !line["damage"].is_null();
    (
        line["file"].as_str().unwrap().to_owned(),
        line["offset"].as_u64().unwrap(),
        line["length"].as_u64().unwrap(),
        (!damage).then(|| line["checksum"].as_str().unwrap().to_owned()),
    )
}

#[test]
fn places_and_checksums_are_those_of_the_manifest() {
    for format in FORMATS {
        let folder = Folder::new();
        let (queue, manifest) = generate(&folder.path(""), format, 1_500);
        let said = inqueue(&["inspect", &queue, "--json", "--checksums"]);
        let damaged = manifest.iter().any(|line| !line["damage"].is_null());
        assert_eq!(damaged, format == Format::Segment);
        assert_eq!(said.code, Some(if damaged { 3 } else { 0 }), "{format:?}");
        assert_eq!(said.errors, "");
        let objects = said.objects();
        let sorted = |lines: &[Value]| {
            let mut places: Vec<_> = lines.iter().map(place).collect();
            places.sort();
            places
        };
        let (got, expect) = (sorted(&objects), sorted(&manifest));
        for (got, expect) in got.iter().zip(&expect) {
            assert_eq!(got, expect, "{format:?}");
        }
        assert_eq!(got.len(), expect.len());
        let name = match format {
            Format::Segment => "queue.seg",
            Format::Mbox => "queue.mbox",
            Format::Maildir | Format::Eml | Format::PostOffice => "queue",
        };
        for message in objects.iter().filter(|object| object["damage"].is_null()) {
            check_message(message, name);
        }
        check_table(&queue, &objects);
    }
}

/// The members that `postqueue -j` has are there, with their types.
fn check_message(message: &Value, name: &str) {
    assert_eq!(message["queue_name"], name);
    assert!(message["queue_id"].as_str().unwrap().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(message["arrival_time"].is_i64());
    assert!(message["message_size"].is_u64());
    assert_eq!(message["forced_expire"], false);
    assert!(message["sender"].is_string() || message["sender"].is_null());
    for recipient in message["recipients"].as_array().unwrap() {
        assert!(recipient["address"].is_string() && recipient["orig_address"].is_string());
        assert!(matches!(recipient["state"].as_str(), Some("pending" | "done")));
    }
}

/// The table has a line for each object, in the same order, and the right totals.
fn check_table(queue: &str, objects: &[Value]) {
    let said = inqueue(&["inspect", queue, "--checksums"]);
    let lines: Vec<&str> = said.text().lines().collect();
    assert_eq!(lines.len(), objects.len() + 2);
    assert!(lines[0].starts_with("QUEUE ID "));
    for (line, object) in lines[1..].iter().zip(objects) {
        match object["queue_id"].as_str() {
            Some(id) => assert_eq!(line.split(' ').next(), Some(id)),
            None => assert!(line.starts_with("DAMAGE "), "{line}"),
        }
    }
    let messages = objects.iter().filter(|object| object["damage"].is_null()).count();
    let last = lines[lines.len() - 1];
    assert!(last.starts_with(&format!("{messages} messages, ")), "{last}");
    let damaged = objects.len() - messages;
    assert_eq!(last.contains(&format!(", {damaged} damaged ranges (")), damaged > 0, "{last}");
}

/// Writes an envelope.
type Fill<'f> = &'f dyn Fn(&mut write::Fields<'_>);

fn segment(path: &Path, records: &[(&[u8], Fill<'_>)]) {
    let mut out = write::file_header(7).to_vec();
    for (content, fill) in records {
        let payload = write::Payload::measure(Content::plain(content));
        let place = write::Place { offset: out.len() as u64, mark: 7 };
        let mut record = Vec::new();
        write::append_head(&mut record, place, &payload, fill);
        out.extend_from_slice(&record);
        out.extend_from_slice(content);
    }
    fs::write(path, out).unwrap();
}

/// Contents aren't read where nobody asks for them: a damaged one is listed by what its record
/// says, and told where it is wanted.
#[test]
fn a_damaged_content_is_told_where_contents_are_read() {
    let folder = Folder::new();
    let path = folder.path("q.seg");
    let named = |id: &'static [u8]| {
        move |fields: &mut write::Fields<'_>| {
            fields.carried(&Envelope::new(QueueId::Given(id)));
        }
    };
    segment(
        &path,
        &[(b"Subject: a\n\none\n", &named(b"A")), (b"Subject: b\n\ntwo\n", &named(b"B"))],
    );
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let queue = folder.text("q.seg");
    let ids = |said: &Said| -> Vec<_> {
        said.objects().iter().map(|object| object["queue_id"].as_str().map(str::to_owned)).collect()
    };
    let (a, b) = (Some("A".to_owned()), Some("B".to_owned()));
    let unread = inqueue(&["inspect", "--json", &queue]);
    assert_eq!((unread.code, ids(&unread)), (Some(0), vec![a.clone(), b]));
    let read = inqueue(&["inspect", "--json", "--checksums", &queue]);
    assert_eq!((read.code, ids(&read)), (Some(3), vec![a, None]));
    assert_eq!(read.objects()[1]["damage"], "the content is damaged");
    let table = inqueue(&["inspect", "--checksums", &queue]);
    assert_eq!(table.code, Some(3));
    assert_eq!(inqueue(&["check", &queue]).code, Some(3));
    let shown = inqueue(&["show", "--content", &queue, "A"]);
    assert_eq!((shown.code, shown.text()), (Some(0), "Subject: a\n\none\n"));
    let shown = inqueue(&["show", &queue, "B"]);
    assert_eq!((shown.code, shown.text()), (Some(3), ""));
    assert!(shown.errors.contains("the content of B is damaged"), "{}", shown.errors);
}

/// An envelope that says all that one can say, with bytes that nobody should see on a terminal.
fn whole(fields: &mut write::Fields<'_>) {
    let mut envelope = Envelope::new(QueueId::Given(b"4Z\"1"));
    envelope.arrival = Some(Time(1_767_319_445_999_999));
    envelope.attempts = 2;
    envelope.next_attempt = Some(Time::from_s(1_767_321_245));
    envelope.expiry = Some(Time::from_s(1_767_751_445));
    envelope.priority = 1;
    envelope.hops = [&b"one.example"[..], b"two\x1b[31m"].into_iter().collect();
    envelope.envid = Some(b"e\"id");
    envelope.ret = Some(Ret::Hdrs);
    fields.carried(&envelope);
    fields.reverse_path(ReversePath::Path(b"s\xff@\n\"b"));
    fields.schedule(&envelope);
    fields.origin(b"queue.mbox", 17, 99);
    fields.bytes(tag::REASON, b"why\r");
    fields.bytes(tag::REPORT_OF, b"OTHER");
    fields.nested(tag::REPORTED, |fields| {
        fields.bytes(recipient_tag::FORWARD_PATH, b"gone@x");
        fields.bytes(recipient_tag::OUTCOME, &[4]);
        fields.bytes(recipient_tag::STATUS, b"5.1.1");
    });
    fields.nested(tag::RECIPIENT, |fields| {
        fields.bytes(recipient_tag::FORWARD_PATH, b"a@x");
        fields.bytes(recipient_tag::NOTIFY, &[Notify::SUCCESS | Notify::DELAY]);
        fields.bytes(recipient_tag::ORCPT, b"RFC822;o@x");
        fields.bytes(recipient_tag::OUTCOME, &[3]);
        fields.bytes(recipient_tag::STATUS, b"4.2.2");
        fields.bytes(recipient_tag::ROUTE, b"hub");
        fields.bytes(recipient_tag::DIAGNOSTIC, b"is full");
    });
    fields.nested(tag::RECIPIENT, |fields| {
        fields.bytes(recipient_tag::FORWARD_PATH, &[b'l'; 1_100]);
        fields.bytes(recipient_tag::STATE, &[1]);
        fields.bytes(recipient_tag::STATUS, b"4.0.0");
    });
}

#[test]
fn all_that_a_record_says_is_told() {
    let folder = Folder::new();
    let path = folder.path("deferred.seg");
    let same = |fields: &mut write::Fields<'_>| fields.bytes(tag::QUEUE_ID, b"SAME");
    segment(&path, &[(b"X: y\n\n\0body", &whole), (b"first", &same), (b"second\n", &same)]);
    let said = inqueue(&["inspect", &folder.text("deferred.seg"), "--json"]);
    assert_eq!((said.code, &*said.errors), (Some(0), ""));
    assert!(said.out.is_ascii());
    let objects = said.objects();
    let long = "l".repeat(1_100);
    let expect = json!({
        "queue_name": "deferred.seg", "queue_id": "4Z\"1", "arrival_time": 1_767_319_445,
        "message_size": 11, "forced_expire": false, "sender": "s\u{FFFD}@\n\"b",
        "recipients": [
            {"address": "a@x", "orig_address": "o@x", "delay_reason": "is full",
             "status": "4.2.2", "outcome": "deferred", "route": "hub", "state": "pending",
             "notify": "SUCCESS,DELAY"},
            {"address": long, "orig_address": long, "delay_reason": "4.0.0", "status": "4.0.0",
             "state": "done"},
        ],
        "file": "deferred.seg", "offset": 32, "length": objects[1]["offset"].as_u64().unwrap() - 32,
        "checksum": format!("{:08x}", crc32c::crc32c(b"X: y\n\n\0body")),
        "attempts": 2, "next_attempt": 1_767_321_245, "expiry": 1_767_751_445, "priority": 1,
        "envid": "e\"id", "ret": "HDRS", "hops": ["one.example", "two\u{1b}[31m"],
        "reason": "why\r", "report_of": "OTHER",
        "origin": {"file": "queue.mbox", "offset": 17, "length": 99},
        "reported": [{"address": "gone@x", "delay_reason": "5.1.1", "status": "5.1.1",
                      "outcome": "failed"}],
    });
    assert_eq!(objects[0], expect);
    assert_eq!(objects[1]["sender"], Value::Null);
    assert_eq!(objects[1]["arrival_time"], 0);
    assert_eq!(objects.len(), 3);
}

#[test]
fn the_table_and_the_envelope_are_safe_to_show() {
    let folder = Folder::new();
    segment(&folder.path("q.seg"), &[(b"X: y\n\n\0body", &whole), (b"", &|_| {})]);
    let queue = folder.text("q.seg");
    let table = inqueue(&["inspect", &queue]);
    let length = fs::metadata(folder.path("q.seg")).unwrap().len() - 32 - 56;
    let lines: Vec<&str> = table.text().lines().collect();
    let expect = "4Z\"1                             11 2026-01-02T02:04:05Z \
                  s\u{FFFD}@\u{FFFD}\"b                           partly   a@x, +1 more";
    assert_eq!(lines[1], expect);
    assert!(
        lines[2]
            .ends_with("          0 -                    -                                nobody")
    );
    assert_eq!(lines[3], "2 messages, 11 B of content, 2 recipients (1 done)");
    let shown = inqueue(&["show", &queue, "4Z\"1"]);
    let expect = format!(
        "Queue id: 4Z\"1\nPlace: q.seg, offset 32, {length} bytes\nSize: 11\n\
         Arrival: 2026-01-02T02:04:05Z\nSender: s\u{FFFD}@\u{FFFD}\"b\nAttempts: 2\n\
         Next attempt: 2026-01-02T02:34:05Z\nExpiry: 2026-01-07T02:04:05Z\nPriority: 1\n\
         Hop: one.example\nHop: two\u{FFFD}[31m\nEnvid: e\"id\nRet: HDRS\n\
         Origin: queue.mbox, offset 17, 99 bytes\nReason: why\u{FFFD}\nReport of: OTHER\n\
         Reported: gone@x; failed; 5.1.1\n\
         Recipient: a@x; pending; NOTIFY=SUCCESS,DELAY; ORCPT=RFC822;o@x; deferred; 4.2.2; hub; \
         is full\nRecipient: {}; done; 4.0.0\n\nX: y\n\n\0body",
        "l".repeat(1_100)
    );
    assert_eq!(shown.text(), expect);
    assert_eq!((shown.code, &*shown.errors), (Some(0), ""));
    let (envelope, _) = expect.split_once("\n\nX: y").unwrap();
    assert_eq!(inqueue(&["show", &queue, "4Z\"1", "--envelope"]).text(), format!("{envelope}\n"));
}

#[test]
fn a_content_is_shown_byte_for_byte() {
    let folder = Folder::new();
    fs::write(folder.path("q"), b"From a\nX: y\n\n>From b\n\xff\0\r\nno end").unwrap();
    let queue = folder.spec("mboxrd", "q");
    let id = inqueue(&["inspect", &queue, "--json"]).objects()[0]["queue_id"].clone();
    let said = inqueue(&["show", "--content", &queue, id.as_str().unwrap()]);
    assert_eq!((said.code, &*said.errors), (Some(0), ""));
    assert_eq!(said.out, b"X: y\n\nFrom b\n\xff\0\r\nno end");
    let same = |fields: &mut write::Fields<'_>| fields.bytes(tag::QUEUE_ID, b"SAME");
    segment(&folder.path("s.seg"), &[(b"first", &same), (b"second\n", &same)]);
    let twice = inqueue(&["show", "--content", &folder.text("s.seg"), "SAME"]);
    assert_eq!((twice.code, twice.text()), (Some(0), "firstsecond\n"));
    assert!(twice.errors.ends_with(": 2 messages have the id SAME; all are shown\n"));
    fails(&["show", &queue, "SAME"], 1, "no message has the id SAME");
    fails(&["show", &queue, "x", "--content", "--envelope"], 2, "cannot be used with");
}

#[test]
fn recipients_come_from_the_fields_asked_for() {
    let folder = Folder::new();
    fs::write(folder.path("q"), "From a\nX-Original-To: x@x\nDelivered-To: d@x\nTo: t@x\n\n")
        .unwrap();
    let queue = folder.text("q");
    let first = |fields: &str| {
        let said = inqueue(&["inspect", &queue, "--json", "--recipients", fields]);
        said.objects()[0]["recipients"][0]["address"].clone()
    };
    assert_eq!(first("x-original-to,delivered-to,to"), "x@x");
    assert_eq!(first("to, x-original-to"), "t@x");
    assert_eq!(first("delivered-to"), "d@x");
    for bad in ["", "from", "to,to", "to,,to"] {
        fails(&["inspect", &queue, "--recipients", bad], 2, "--recipients");
    }
}

#[test]
fn queues_that_are_none_are_told() {
    let folder = Folder::new();
    fs::write(folder.path("garbage"), b"\x01\x02no mail at all").unwrap();
    fs::write(folder.path("later.seg"), later_version()).unwrap();
    fs::create_dir(folder.path("run")).unwrap();
    fs::write(folder.path("run/plan.json"), "{}").unwrap();
    fs::write(folder.path("run/commits"), "").unwrap();
    let at = |name: &str| folder.text(name);
    fails(&["inspect", &at("none")], 1, "cannot open the queue: No such file");
    fails(&["inspect", &at("garbage")], 1, "cannot tell the format");
    fails(&["inspect", &at("later.seg")], 1, "segment version 2 is newer than this program");
    fails(&["inspect", &at("run")], 1, "this is the folder of a run");
    fails(&["inspect", &folder.spec("mbox", "run")], 1, "cannot");
    fails(&["inspect", &folder.spec("maildir", "run")], 1, "no Maildir");
    fails(&["inspect", "nonsense:x"], 1, "nonsense:x: cannot open the queue");
    fails(&["show", &at("none"), "id"], 1, "cannot open the queue");
    fails(&["inspect"], 2, "Usage");
    fails(&["no-such-command"], 2, "Usage");
}

fn later_version() -> Vec<u8> {
    let mut header = write::file_header(7);
    header[8] = 2;
    let checksum = crc32c::crc32c(&header[..28]).to_le_bytes();
    header[28..].copy_from_slice(&checksum);
    header.to_vec()
}

#[test]
fn an_empty_queue_has_no_message() {
    let folder = Folder::new();
    for name in ["q", "q.seg"] {
        fs::write(folder.path(name), "").unwrap();
    }
    fs::create_dir_all(folder.path("maildir/new")).unwrap();
    fs::create_dir(folder.path("folder")).unwrap();
    for name in ["q", "q.seg", "maildir", "folder"] {
        let said = inqueue(&["inspect", "--json", &folder.text(name)]);
        assert_eq!((said.code, said.text(), &*said.errors), (Some(0), "", ""), "{name}");
        let table = inqueue(&["inspect", &folder.text(name)]);
        let last = table.text().lines().last();
        assert_eq!(last, Some("0 messages, 0 B of content, 0 recipients (0 done)"));
        fails(&["show", &folder.text(name), "id"], 1, "no message has the id");
    }
}

#[test]
fn the_output_does_not_depend_on_the_number_of_threads() {
    let folder = Folder::new();
    // Several parts, in more than one wave: a queue of five files.
    let (_, _) = generate(&folder.path(""), Format::Segment, 3_000);
    let bytes = fs::read(folder.path("queue.seg")).unwrap();
    fs::create_dir(folder.path("many")).unwrap();
    for index in 0..5 {
        fs::write(folder.path(&format!("many/{index}.seg")), &bytes).unwrap();
    }
    let queue = folder.text("many");
    let made = |threads: &str| {
        let mut command = command(&["inspect", "--json", &queue]);
        Said::of(command.env("RAYON_NUM_THREADS", threads).output().unwrap())
    };
    let one = made("1");
    assert_eq!(one.code, Some(3));
    assert!(one.objects().len() > 14_000);
    for threads in ["2", "7"] {
        assert!(one.out == made(threads).out, "{threads} threads differ");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let folder = Folder::new();
    let (queue, _) = generate(&folder.path(""), Format::Mbox, 1_500);
    for arguments in [&["inspect", &queue][..], &["inspect", "--json", &queue]] {
        let mut command = command(arguments);
        let (stdout, stderr) = (std::process::Stdio::piped(), std::process::Stdio::piped());
        let mut child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        drop(child.stdout.take());
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!((said.code, &*said.errors), (Some(0), ""));
    }
}

#[test]
fn a_queue_that_may_not_be_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let folder = Folder::new();
    let set = |name: &str, mode| {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::write(folder.path("q"), "From a\n\n").unwrap();
    fs::create_dir(folder.path("folder")).unwrap();
    set("q", 0o000);
    set("folder", 0o000);
    // The superuser may read everything: then the program is run as nobody.
    let is_superuser = fs::read(folder.path("q")).is_ok();
    set("", 0o755);
    let run = |arguments: &[&str]| {
        let mut command = command(arguments);
        if is_superuser {
            command.uid(65_534).gid(65_534);
        }
        command.output().map(Said::of)
    };
    if run(&["--version"]).is_err() {
        let why = "nobody may not run the program where it lies";
        return skipped("a_queue_that_may_not_be_read_is_told", why);
    }
    let fails = |arguments: &[&str], text: &str| {
        let said = run(arguments).unwrap();
        assert_eq!((said.code, said.text()), (Some(1), ""), "{said:?}");
        assert!(said.errors.contains(text), "{said:?}");
        assert_eq!(said.errors.matches('\n').count(), 1);
    };
    fails(&["inspect", &folder.text("q")], "cannot open the queue: Permission denied");
    fails(&["inspect", &folder.spec("eml", "folder")], "Permission denied");
    set("q", 0o644);
    set("folder", 0o555);
    let to = folder.spec("mbox", "folder/new");
    fails(&["convert", &folder.text("q"), "--to", &to], "cannot write: Permission denied");
    assert!(folder.names("folder").is_empty());
}

#[test]
fn the_streams_of_a_run_are_queues() {
    let queue = Queue::new(Format::Segment, 400, "full-mailbag=0.2,unknown-recipient=0.2");
    let summary = queue.run("out", &["--workers", "1"]);
    let out = queue.out("out").to_str().unwrap().to_owned();
    let listed = |stream: &str| {
        let said = inqueue(&["inspect", "--json", &format!("segment:{out}/{stream}")]);
        assert_eq!((said.code, &*said.errors), (Some(0), ""), "{summary:#}");
        said.objects()
    };
    let deferred = listed("deferred");
    assert!(!deferred.is_empty());
    for message in &deferred {
        assert_eq!(message["queue_name"], "deferred");
        assert!(message["origin"]["file"].is_string(), "{message:#}");
        for recipient in message["recipients"].as_array().unwrap() {
            assert_eq!(recipient["outcome"], "deferred");
            assert_eq!(recipient["status"], "4.2.2");
            assert!(!recipient["delay_reason"].as_str().unwrap().is_empty());
        }
    }
    let reports = listed("ndr");
    assert!(!reports.is_empty());
    for report in &reports {
        assert_eq!(report["sender"], "");
        assert!(report["report_of"].is_string(), "{report:#}");
        let reported = report["reported"].as_array().unwrap();
        assert!(reported.iter().all(|one| one["outcome"] == "failed"), "{report:#}");
    }
    fails(&["inspect", &out], 1, "this is the folder of a run");
    // What is converted says the same.
    let copy = format!("segment:{out}.seg");
    let from = format!("segment:{out}/deferred");
    assert_eq!(inqueue(&["convert", &from, "--to", &copy]).code, Some(0));
    let copied = inqueue(&["inspect", "--json", &copy]).objects();
    let recipients = |all: &[Value]| -> Vec<Value> {
        all.iter().map(|message| message["recipients"].clone()).collect()
    };
    assert_eq!(recipients(&deferred), recipients(&copied));
}
