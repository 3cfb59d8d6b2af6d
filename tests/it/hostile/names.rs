//! Names that lead out of the queue: in records of mailbags, in messages, in text files of FFAPI.
//! Files lie ready where each of them leads to; none of it is ever read, changed or made.

use super::{ended, run};
use crate::postoffice::small::{ANN, BOB, Office, letter, record_of};
use crate::support::{STREAMS, streams, text};
use inqueue::queue::postoffice::mai::{Attachment, Mai};
use inqueue::queue::postoffice::p1::{P1, P1Recipient};
use std::fs;
use std::path::Path;

/// What stands in all files that must not be found.
const SECRET: &[u8] = b"nobody's business";

const NAMES: [&[u8; 8]; 8] = [
    b"../../x1",
    b"/etc/xyz",
    b"..\\..\\x2",
    b"C:\\AUTO1",
    b"0000\x00062",
    b"MA0/0062",
    b"\x1b]0;pwn\x07",
    b"\xff\xfe\xfd\xfc\0\0\0\0",
];

fn assert_unread(run: &Path) {
    for (name, bytes) in streams(run) {
        assert!(!bytes.windows(SECRET.len()).any(|found| found == SECRET), "{name}");
    }
    assert_eq!(STREAMS.len(), 6);
}

/// Lays files where a name leads to from each folder of the post office.
fn lay_out(office: &Office, name: &[u8]) -> Vec<std::path::PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = name.split(|byte| *byte == 0).next().unwrap();
    let mut laid = Vec::new();
    for (folder, extension) in [("MAI", "MAI"), ("MAI/MA1", "MAI"), ("P1", "P1"), ("ATT", "ATT")] {
        let file = [name, b".", extension.as_bytes()].concat();
        let path = office.file(folder).join(std::ffi::OsStr::from_bytes(&file));
        // An absolute name stays where it is: nothing is made there.
        if path.starts_with(office.folder.path()) && path.parent().is_some_and(Path::is_dir) {
            fs::write(&path, SECRET).unwrap();
            laid.push(path);
        }
    }
    laid
}

#[test]
fn records_whose_names_lead_out_of_the_post_office_are_damage() {
    let mut office = Office::new();
    let good = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    let mut all = office.live_and_dead("INQUEUE3");
    let mut laid = Vec::new();
    for name in NAMES {
        let mut record = record_of(b"ANN", b"x", 1, 600);
        let at = record.windows(8).position(|bytes| bytes == b"00000001").unwrap();
        record[at..at + 8].copy_from_slice(name);
        all.push(record);
        laid.extend(lay_out(&office, name));
    }
    assert!(laid.len() > 4, "{laid:?}");
    office.bag("INQUEUE3", &all, &[]);
    let spec = format!("postoffice:{}", office.queue().display());
    assert_eq!(ended(None, &["check", &spec]).status.code(), Some(3));
    let new = office.out("new");
    ended(None, &["salvage", &spec, "--out", &new.display().to_string()]);
    office.drain("run", 3);
    assert_unread(&office.out("run"));
    assert_eq!(office.names(BOB), [good]);
    for path in laid {
        assert_eq!(fs::read(&path).unwrap(), SECRET, "{}", path.display());
    }
}

/// The same names for attachments, the P1's own name, and the bag that a recipient waits in.
#[test]
fn names_within_messages_that_lead_out_of_the_post_office_are_not_followed() {
    let mut office = Office::new();
    for name in NAMES {
        let number = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
        lay_out(&office, name);
        let mut mai = Vec::new();
        let from = Some(&b"NET/PO/ANN"[..]);
        Mai {
            counter: 1,
            hop_limit: None,
            priority: None,
            is_message: false,
            from,
            to: vec![b"NET/PO/BOB"],
            cc: Vec::new(),
            posted: None,
            subject: Some(b"s"),
            attachments: vec![Attachment { att: name, name, size: 17 }],
            text: vec![b"text"],
        }
        .write(&mut mai);
        office.write(&crate::postoffice::small::mai_name(number), &mai);
        let mut p1 = Vec::new();
        let bob = P1Recipient {
            address: b"NET/PO/BOB",
            bag: (number & 16 == 0).then_some(name),
            ..P1Recipient::default()
        };
        let hex = format!("{number:08X}");
        let recipients = vec![bob];
        P1 { mai: hex.as_bytes(), from, recipients, ..P1::default() }.write(&mut p1);
        office.write(&format!("P1/{hex}.P1"), &p1);
    }
    let before = office.tree();
    let output = office.run("run", &[]);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", text(&output.stderr));
    assert_unread(&office.out("run"));
    assert!(office.tree() == before);
    assert_eq!(office.names(ANN), [0_u32; 0]);
}

#[test]
fn files_that_ffapi_text_names_are_looked_for_beside_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue");
    fs::create_dir_all(queue.join("below")).unwrap();
    for name in ["secret", "queue/below/secret", "queue/.secret"] {
        fs::write(folder.path().join(name), SECRET).unwrap();
    }
    let absolute = folder.path().join("secret").display().to_string();
    let names = ["../secret", "..\\secret", &absolute, "below/secret", ".secret", "C:secret", "\0"];
    for (index, name) in names.iter().enumerate() {
        for line in [format!("XATTACH:{name}\rTEXT:1\rx"), format!("XTEXT:{name}\r")] {
            let text = format!("VERSION:3.00\rTO:NET/PO/BOB\rFROM:NET/PO/ANN\r{line}");
            fs::write(queue.join(format!("{index}-{}.mmf", line.len())), text).unwrap();
        }
    }
    // Its text is no message, and it isn't named by any: it is quarantined as it is.
    fs::remove_file(queue.join("below/secret")).unwrap();
    let spec = format!("ffapi:{}", queue.display());
    run(None, &spec, &folder.path().join("run"), &[]);
    assert_unread(&folder.path().join("run"));
}
