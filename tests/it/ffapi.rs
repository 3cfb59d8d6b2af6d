//! FFAPI text through the binary: a folder of it is run, looked at and converted; what can't be
//! read is set aside with the original's error; other queues become such folders and are run.

use crate::binary::{FORMATS, Folder, fails, generate, inqueue};
use crate::support::{audit, messages, text};
use inqueue::mail::content::Content;
use inqueue::queue::{Buffers, Framed, Frames, Queue, QueueError, Source, Visit};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const DIRECTORY: &str = "JDOE@PO.NET.msmail.internal\n@SMTP.msmail.internal relay\n";

/// Message files of each line end, one with two messages, one with files beside it, three that
/// can't be read; what they name lies beside them, in another case, or out of reach.
fn write_queue(folder: &Folder) -> String {
    let cr = |text: &str| text.replace('\n', "\r").into_bytes();
    let files: [(&str, Vec<u8>); 10] = [
        (
            "q/01.MMF",
            cr("VERSION:3.00\nTO:NET/PO/JDOE\nFROM:NET/PO/JDOE\nSUBJECT:one\nTEXT:4\nText"),
        ),
        (
            "q/02",
            b"\r\nVERSION:3.00\r\nTO:net/po/jdoe\r\nTO:NET/PO/NOBODY\r\nFROM:NET/PO/JDOE\r\n\
            TEXT:7\r\nTe\r\nxt\n"
                .to_vec(),
        ),
        (
            "q/03.TXT",
            b"VERSION:3.00\nTO:NET/PO/JDOE\nFROM:NET/PO/JDOE\nTEXT:1\n1\n\
            VERSION:3.00\nTO:NET/PO/JDOE\nTEXT:1\n2"
                .to_vec(),
        ),
        (
            "q/04",
            cr("TO:NET/PO/JDOE\nFROM:NET/PO/JDOE\nXATTACH:PIC.BMP A PICTURE\nXTEXT:body.txt\n"),
        ),
        ("q/05", cr("VERSION:3.00\nTOO:NET/PO/JDOE\n")),
        ("q/06", cr("VERSION:3.00\nTO:NET/PO/JDOE\nXTEXT:../secret\n")),
        ("q/sub/07", cr("VERSION:3.00\nTO:NET/PO/JDOE\nXTEXT:PIC.BMP\n")),
        ("q/pic.bmp", b"\0\xFFpicture".to_vec()),
        ("q/BODY.TXT", b"VERSION of this: none\r".to_vec()),
        ("secret", b"secret".to_vec()),
    ];
    fs::create_dir_all(folder.path("q/sub")).unwrap();
    for (name, bytes) in files {
        fs::write(folder.path(name), bytes).unwrap();
    }
    fs::write(folder.path("users"), DIRECTORY).unwrap();
    folder.spec("ffapi", "q")
}

fn run(folder: &Folder, queue: &str, out: &str) -> Value {
    let now = "2026-01-02T03:04:05Z";
    let (users, out) = (folder.text("users"), folder.text(out));
    let said = inqueue(&[
        "run",
        queue,
        "--directory",
        &users,
        "--now",
        now,
        "--out",
        &out,
        "--json",
        "--hostname",
        "mta.example",
    ]);
    assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
    let report = audit(Path::new(&out), None);
    for what in ["lost", "doubled", "wrong", "parts_uncommitted"] {
        assert_eq!(report[what], 0, "{report:#}");
    }
    said.objects().remove(0)["counts"].clone()
}

/// Of each message in quarantine its id, its reason and its content.
fn quarantine(folder: &Folder, out: &str) -> BTreeMap<String, (String, Vec<u8>)> {
    let spec = folder.text(&format!("{out}/quarantine"));
    let mut found = BTreeMap::new();
    for object in inqueue(&["inspect", "--json", &spec]).objects() {
        let id = object["queue_id"].as_str().unwrap().to_owned();
        let content = inqueue(&["show", "--content", &spec, &id]).out;
        found.insert(id, (object["reason"].as_str().unwrap().to_owned(), content));
    }
    found
}

#[test]
fn a_folder_is_run_and_what_cannot_be_read_is_set_aside_as_it_is() {
    let folder = Folder::new();
    let queue = write_queue(&folder);
    let summary = run(&folder, &queue, "out");
    assert_eq!(summary["messages"], 8, "{summary:#}");
    assert_eq!(summary["quarantined"], 3, "{summary:#}");
    let quarantined = quarantine(&folder, "out");
    let expect = [
        ("05", "141-1-2 Cannot match token TOO (has tail NET/PO/JDOE)"),
        ("06", "140-1-3 Unknown error: no file ../secret in the folder of the message"),
        ("sub/07", "140-1-3 Unknown error: no file PIC.BMP in the folder of the message"),
    ];
    assert_eq!(quarantined.len(), expect.len());
    for (id, reason) in expect {
        let bytes = fs::read(folder.path("q").join(id)).unwrap();
        assert_eq!(quarantined[id], (reason.to_owned(), bytes));
    }
    // In 02 one recipient is good, and the other reported.
    assert_eq!(messages(&folder.path("out"), "ndr").len(), 1);
    let accepted = inqueue(&["inspect", "--json", &folder.text("out/accepted")]).objects();
    let ids: Vec<&str> = accepted.iter().map(|one| one["queue_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["01.MMF", "02", "03.TXT", "03.TXT%:2", "04"]);
    let shown = |id: &str| text(&inqueue(&["show", "--content", &queue, id]).out);
    assert!(shown("02").ends_with("\r\n\r\nTe\r\nxt\n"), "{}", shown("02"));
    assert!(shown("03.TXT%:2").ends_with("\r\n\r\n2"));
    assert!(shown("04").contains("\r\n\r\nVERSION of this: none\r\n\r\n--"), "{}", shown("04"));
    assert!(shown("04").contains("filename=\"A PICTURE\"\r\n\r\nAP9waWN0dXJl\r\n"));
    let shown = text(&inqueue(&["show", "--envelope", &queue, "05"]).out);
    assert!(shown.contains("141-1-2 Cannot match token TOO"), "{shown}");
}

#[test]
fn one_file_is_a_queue_too_and_is_known_by_its_first_line() {
    let folder = Folder::new();
    write_queue(&folder);
    let said = inqueue(&["inspect", "--json", &folder.text("q/03.TXT")]);
    let ids: Vec<Value> = said.objects().iter().map(|one| one["queue_id"].clone()).collect();
    assert_eq!(ids, ["03.TXT", "03.TXT%:2"]);
    let content = inqueue(&["show", "--content", &folder.spec("ffapi", "q/04"), "04"]).out;
    assert!(text(&content).contains("AP9waWN0dXJl"));
    assert_eq!(run(&folder, &folder.spec("ffapi", "q/04"), "out")["messages"], 1);
}

#[test]
fn basic_messages_go_through_a_segment_and_come_back_to_the_byte() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("q")).unwrap();
    for (end, name) in [("\r", "cr"), ("\n", "lf"), ("\r\n", "crlf")] {
        let lines = "VERSION:3.00\nTO:NET/PO/JDOE\nTO:SMTP:a@b.example\nFROM:NET/PO/POSTMASTER\n\
            DATE:1993-10-08\nTIME:16:25\nSUBJECT:This is the subject\nPRIORITY:5\n\
            ATTACHMENTS:AUTOEXEC.BAT 3\nATTACHMENTS:NOTHING 0\nTEXT:SIZE\none\n\ntwo\n";
        let size = (6 + 3 * end.len()).to_string();
        let file = lines.replace("SIZE", &size).replace('\n', end) + "\0\r\n";
        let (from, seg, back) = (format!("{name}.MMF"), format!("{name}.seg"), format!("{name}.d"));
        fs::write(folder.path(&from), &file).unwrap();
        let (seg, back) = (folder.spec("segment", &seg), folder.spec("ffapi", &back));
        let said = inqueue(&["convert", &folder.spec("ffapi", &from), "--to", &seg]);
        assert_eq!((said.code, said.errors.as_str()), (Some(0), ""));
        let said = inqueue(&["convert", &seg, "--to", &back, "--line-end", name]);
        assert_eq!((said.code, said.errors.as_str()), (Some(0), ""));
        let files = folder.names(&format!("{name}.d"));
        assert_eq!(files, [format!("00000001-{name}.MMF.MMF")]);
        let again = fs::read(folder.path(&format!("{name}.d")).join(&files[0])).unwrap();
        assert_eq!(text(&again), file);
    }
}

#[test]
fn queues_of_other_formats_become_ffapi_text_and_nothing_is_lost() {
    for format in FORMATS {
        let folder = Folder::new();
        let (queue, _) = generate(&folder.path(""), format, 600);
        let sums = |queue: &str| {
            let said = inqueue(&["inspect", "--json", "--checksums", queue]);
            let objects = said.objects().into_iter().filter(|one| one["damage"].is_null());
            let sums = objects.map(|one| {
                let paths = one["recipients"].as_array().unwrap().iter();
                let paths = paths.filter(|one| one["state"] == "pending");
                let paths: Vec<Value> = paths.map(|one| one["address"].clone()).collect();
                (one["message_size"].clone(), one["checksum"].clone(), one["sender"].clone(), paths)
            });
            sums.collect::<Vec<_>>()
        };
        let before = sums(&queue);
        let line_end = if format == inqueue_gen::Format::Mbox { "crlf" } else { "cr" };
        let to = folder.spec("ffapi", "to");
        let said = inqueue(&["convert", &queue, "--to", &to, "--line-end", line_end, "--json"]);
        assert_eq!(said.objects()[0]["messages"], before.len());
        let after = sums(&to);
        assert_eq!(before.len(), after.len(), "{format:?}");
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before, after, "{format:?}");
        }
        fs::rename(folder.path("directory.txt"), folder.path("users")).unwrap();
        let summary = run(&folder, &to, "out");
        assert_eq!(summary["messages"], before.len(), "{summary:#}");
        assert_eq!(summary["quarantined"], 0, "{summary:#}");
    }
}

#[test]
fn mail_of_a_post_office_becomes_basic_messages() {
    let folder = Folder::new();
    let options = inqueue_gen::Options {
        format: inqueue_gen::Format::PostOffice,
        messages: 300,
        hazards: inqueue_gen::Mix::parse("none").unwrap(),
        ..Default::default()
    };
    inqueue_gen::generate(&options, &folder.path("made")).unwrap();
    let (queue, to) = (folder.spec("postoffice", "made/queue"), folder.spec("ffapi", "to"));
    let said = inqueue(&["convert", &queue, "--to", &to, "--line-end", "lf", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.objects()[0]["messages"], 300);
    let read = |queue: &str| {
        let objects = inqueue(&["inspect", "--json", queue]).objects();
        let sides = objects.into_iter().map(|one| {
            let paths = one["recipients"].as_array().unwrap().iter();
            let paths: Vec<Value> = paths.map(|one| one["address"].clone()).collect();
            (one["sender"].clone(), paths)
        });
        sides.collect::<Vec<_>>()
    };
    assert_eq!(read(&queue), read(&to));
    let mut attachments = 0;
    for name in folder.names("to") {
        let file = text(&fs::read(folder.path("to").join(&name)).unwrap());
        let (header, body) = file.split_once("\nTEXT:").unwrap();
        // Mail of the Internet has fields that Basic can't hold; To and Cc may be others than the
        // recipients, or in another order.
        let is_whole = body.contains("Content-Type: message/rfc822\n\n");
        let has = |field: &str| body.contains(field);
        let may_be = has("\nMessage-ID: ") || has("\nCc: ") || !has("\nTo: ");
        assert!(!is_whole || may_be, "{name}");
        attachments += header.matches("\nATTACHMENTS:").count();
    }
    assert!(attachments > 10, "{attachments}");
}

#[test]
fn what_cannot_be_read_is_told_and_not_converted() {
    let folder = Folder::new();
    let queue = write_queue(&folder);
    let said = inqueue(&["convert", &queue, "--to", &folder.spec("eml", "to"), "--json"]);
    assert_eq!(said.code, Some(3));
    assert_eq!(said.errors.lines().count(), 3, "{}", said.errors);
    assert!(said.errors.starts_with("inqueue: 05: damage at offset 0, "), "{}", said.errors);
    assert_eq!(said.objects()[0]["messages"], 5);
    assert_eq!(folder.names("to").len(), 5);
    let to = folder.spec("eml", "other");
    fails(&["convert", &queue, "--to", &to, "--line-end", "cr"], 1, "--line-end is for --to ffapi");
    fails(&["convert", &queue, "--to", &to, "--line-end", "x"], 2, "expected cr, lf or crlf");
}

/// Counts messages.
struct Count(usize);

impl Visit for Count {
    type Error = QueueError;

    fn batch<'a>(&mut self, _: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
        for framed in frames {
            let Framed::Message(found) = framed else { panic!("damage") };
            let _: Content<'_> = found.content;
            self.0 += 1;
        }
        Ok(())
    }
}

#[test]
fn an_attachment_that_changed_since_the_queue_was_opened_is_told() {
    let folder = Folder::new();
    let queue = Queue::open(&write_queue(&folder)).unwrap();
    let parts = queue.cut(1 << 20).unwrap();
    let mut buffers = Buffers::default();
    let mut count = Count(0);
    queue.read(&parts[0], &mut buffers, &mut count).unwrap();
    assert_eq!((count.0, parts.len()), (8, 1));
    fs::write(folder.path("q/pic.bmp"), b"another picture").unwrap();
    let error = queue.read(&parts[0], &mut buffers, &mut count).unwrap_err();
    assert!(error.to_string().contains("pic.bmp: the queue changed"), "{error}");
}
