//! `inqueue convert`: each format into each other, with all hazards, compared by checksums and byte
//! by byte; as Python reads what was written; and what is refused.

use crate::binary::{FORMATS, Folder, Said, fails, generate, inqueue, kind};
use crate::readers::{script, skipped};
use crate::real_mail::corpus;
use inqueue_gen::Format;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A message of a queue: its size and the CRC32C of its content.
type Sum = (u64, u32);

/// The messages of a queue as `inspect` gives them, and how many damaged ranges there are.
fn sums(queue: &str) -> (Vec<Sum>, u64) {
    let said = inqueue(&["inspect", "--json", "--checksums", queue]);
    assert_eq!(said.errors, "");
    let (mut messages, mut damaged) = (Vec::new(), 0);
    for object in said.objects() {
        if object["damage"].is_null() {
            let checksum = object["checksum"].as_str().unwrap();
            let size = object["message_size"].as_u64().unwrap();
            messages.push((size, u32::from_str_radix(checksum, 16).unwrap()));
        } else {
            damaged += 1;
        }
    }
    (messages, damaged)
}

/// What an mbox makes of contents: one that ends without a line feed gets one, but for the last.
fn through_mbox(messages: &[Sum], contents: &[Vec<u8>]) -> (Vec<Sum>, u64) {
    let mut expect = messages.to_vec();
    let mut added = 0;
    let last = expect.len() - 1;
    for ((size, checksum), content) in expect.iter_mut().zip(contents).take(last) {
        if !content.is_empty() && content.last() != Some(&b'\n') {
            *size += 1;
            *checksum = crc32c::crc32c_append(*checksum, b"\n");
            added += 1;
        }
    }
    (expect, added)
}

/// The contents of a folder of files, in the order of their names.
fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn convert(from: &str, to: &str) -> Value {
    let said = inqueue(&["convert", from, "--to", to, "--json"]);
    let objects = said.objects();
    assert_eq!(objects.len(), 1, "{said:?}");
    let damaged = objects[0]["damaged"].as_u64().unwrap();
    assert_eq!(said.code, Some(if damaged > 0 { 3 } else { 0 }));
    assert_eq!(said.errors.lines().count() as u64, damaged, "{}", said.errors);
    objects[0].clone()
}

#[test]
fn each_format_into_each_other_with_all_hazards() {
    for from in FORMATS {
        let folder = Folder::new();
        let (queue, _) = generate(&folder.path(""), from, 400);
        let (messages, damaged) = sums(&queue);
        let as_files = convert(&queue, &folder.spec("eml", "to.eml"));
        let contents = contents(&folder.path("to.eml"));
        let crcs: Vec<u32> = contents.iter().map(|one| crc32c::crc32c(one)).collect();
        assert!(crcs.iter().eq(messages.iter().map(|(_, checksum)| checksum)));
        let bytes: u64 = messages.iter().map(|(size, _)| size).sum();
        for to in FORMATS {
            let name = format!("to.{}", to.name());
            let done = match to {
                Format::Eml => as_files.clone(),
                _ => convert(&queue, &folder.spec(to.name(), &name)),
            };
            let (expect, added) = match to {
                Format::Mbox => through_mbox(&messages, &contents),
                _ => (messages.clone(), 0),
            };
            assert_eq!(sums(&folder.spec(kind(to), &name)), (expect, 0), "{from:?} {to:?}");
            assert_eq!(done["messages"], messages.len());
            assert_eq!(done["bytes"], bytes);
            assert_eq!(done["damaged"], damaged);
            assert_eq!(done["line_ends_added"], added);
            assert_eq!(added > 0, to == Format::Mbox && from != Format::Mbox);
            assert_eq!(done["format"], to.name());
            assert_eq!(done["target"], folder.text(&name));
            let damage = done["damage"].as_array().unwrap();
            assert_eq!(damage.len() as u64, damaged);
        }
    }
}

#[test]
fn round_all_formats_and_back_to_the_last_byte() {
    let folder = Folder::new();
    let (queue, _) = generate(&folder.path(""), Format::Mbox, 700);
    convert(&queue, &folder.spec("eml", "first"));
    let steps = ["segment", "mbox", "maildir", "eml", "segment"];
    let mut from = queue.clone();
    for (index, step) in steps.into_iter().enumerate() {
        let name = format!("{index}.seg");
        convert(&from, &folder.spec(step, &name));
        from = folder.spec(if step == "mbox" { "mboxrd" } else { step }, &name);
    }
    convert(&from, &folder.spec("eml", "last"));
    let (first, last) = (contents(&folder.path("first")), contents(&folder.path("last")));
    assert_eq!(first.len(), 700);
    assert_eq!(folder.names("first"), folder.names("last"));
    assert!(first == last);
    // The generator quotes as we do, and so its mailbox is ours again.
    convert(&queue, &folder.spec("mbox", "again"));
    assert!(
        fs::read(folder.path("again")).unwrap() == fs::read(folder.path("queue.mbox")).unwrap()
    );
}

#[test]
fn a_segment_keeps_what_its_records_say() {
    let folder = Folder::new();
    let (queue, _) = generate(&folder.path(""), Format::Segment, 700);
    convert(&queue, &folder.spec("segment", "copy.seg"));
    let said = |queue: &str| {
        let mut objects = inqueue(&["inspect", "--json", queue]).objects();
        objects.retain(|object| object["damage"].is_null());
        for object in &mut objects {
            for moved in ["queue_name", "file", "offset"] {
                object.as_object_mut().unwrap().remove(moved);
            }
        }
        objects
    };
    let (before, after) = (said(&queue), said(&folder.text("copy.seg")));
    assert!(before.len() > 600);
    assert_eq!(before, after);
}

#[test]
fn senders_and_arrivals_come_back_from_an_mbox() {
    let folder = Folder::new();
    let (queue, _) = generate(&folder.path(""), Format::Segment, 700);
    let done = convert(&queue, &folder.spec("mbox", "m"));
    // Without a Return-Path and a Received field, the From_ line alone has them.
    let read = |spec: &str| -> Vec<(Value, Value)> {
        let mut objects = inqueue(&["inspect", "--json", spec]).objects();
        objects.retain(|object| object["damage"].is_null());
        objects.iter().map(|one| (one["sender"].clone(), one["arrival_time"].clone())).collect()
    };
    let (before, after) = (read(&queue), read(&folder.spec("mboxrd", "m")));
    assert_eq!(before.len(), after.len());
    let mut changed = 0;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.1, after.1);
        let null = before.0.is_null() && after.0 == "";
        changed += u64::from(before.0 != after.0 && !null);
    }
    assert_eq!(done["senders_changed"], changed);
}

/// Contents as Python's `mailbox` reads them.
fn python(test: &str, kind: &str, path: &str) -> Option<Vec<Vec<u8>>> {
    let script = script("contents.py");
    let run = Command::new("python3").arg("-B").arg(script).args([kind, path]).output();
    let Ok(output) = run else {
        skipped(test, "python3 isn't installed");
        return None;
    };
    let said = Said::of(output);
    assert_eq!((said.code, &*said.errors), (Some(0), ""));
    let mut rest = &said.out[..];
    let mut contents = Vec::new();
    while !rest.is_empty() {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let length: usize = std::str::from_utf8(&rest[..line]).unwrap().parse().unwrap();
        let (content, behind) = rest[line + 1..].split_at(length);
        contents.push(content.to_vec());
        rest = behind;
    }
    Some(contents)
}

#[test]
fn python_reads_the_same_contents() {
    const TEST: &str = "python_reads_the_same_contents";
    let folder = Folder::new();
    let (queue, _) = generate(&folder.path(""), Format::Segment, 700);
    convert(&queue, &folder.spec("eml", "contents"));
    let expect = contents(&folder.path("contents"));
    assert!(expect.len() > 600);
    convert(&queue, &folder.spec("maildir", "m"));
    let Some(got) = python(TEST, "maildir", &folder.text("m")) else { return };
    assert!(got == expect);
    convert(&queue, &folder.spec("mbox", "b"));
    let got = python(TEST, "mbox", &folder.text("b")).unwrap();
    assert_eq!(got.len(), expect.len());
    let last = expect.len() - 1;
    for (index, (got, expect)) in got.iter().zip(&expect).enumerate() {
        let open = !expect.is_empty() && !expect.ends_with(b"\n") && index != last;
        let end: &[u8] = if open { b"\n" } else { b"" };
        assert!(*got == [&expect[..], end].concat(), "{index}");
    }
}

#[test]
fn real_mail_goes_there_and_back() {
    const TEST: &str = "real_mail_goes_there_and_back";
    let Some(corpus) = corpus(TEST) else { return };
    let folder = Folder::new();
    fs::create_dir(folder.path("real")).unwrap();
    for (index, content) in corpus.iter().enumerate() {
        fs::write(folder.path(&format!("real/{index:05}")), content).unwrap();
    }
    let done = convert(&folder.spec("eml", "real"), &folder.spec("mbox", "a.mbox"));
    assert_eq!(done["messages"], corpus.len());
    convert(&folder.spec("mboxrd", "a.mbox"), &folder.spec("maildir", "b"));
    convert(&folder.spec("maildir", "b"), &folder.spec("segment", "c.seg"));
    convert(&folder.spec("segment", "c.seg"), &folder.spec("mbox", "d.mbox"));
    let read = |name: &str| fs::read(folder.path(name)).unwrap();
    assert!(read("a.mbox") == read("d.mbox"));
    convert(&folder.spec("mboxrd", "d.mbox"), &folder.spec("eml", "e"));
    let back = contents(&folder.path("e"));
    assert_eq!(back.len(), corpus.len());
    let last = corpus.len() - 1;
    let mut added = 0;
    for (index, (back, content)) in back.iter().zip(&corpus).enumerate() {
        let open = !content.is_empty() && !content.ends_with(b"\n") && index != last;
        added += u64::from(open);
        let end: &[u8] = if open { b"\n" } else { b"" };
        assert!(*back == [&content[..], end].concat(), "message {index}");
    }
    assert_eq!(done["line_ends_added"], added);
}

#[test]
fn an_empty_queue_makes_an_empty_target() {
    let folder = Folder::new();
    fs::write(folder.path("q"), "").unwrap();
    for to in FORMATS {
        let name = format!("to.{}", to.name());
        let target = folder.spec(to.name(), &name);
        let said = inqueue(&["convert", &folder.text("q"), "--to", &target]);
        let expect = format!("{}: 0 messages, 0 B of content\n", folder.text(&name));
        assert_eq!((said.code, said.text(), &*said.errors), (Some(0), &*expect, ""));
        assert_eq!(sums(&target), (Vec::new(), 0));
    }
    assert_eq!(fs::metadata(folder.path("to.segment")).unwrap().len(), 32);
    assert_eq!(fs::metadata(folder.path("to.mbox")).unwrap().len(), 0);
    assert_eq!(folder.names("to.maildir"), ["cur", "new", "tmp"]);
    assert!(folder.names("to.eml").is_empty());
}

#[test]
fn damage_is_told_on_standard_error() {
    let folder = Folder::new();
    fs::write(folder.path("q"), "rubbish\n\nFrom a\nb\n\n").unwrap();
    let queue = folder.spec("mboxrd", "q");
    let said = inqueue(&["convert", &queue, "--to", &folder.spec("mbox", "to")]);
    assert_eq!(said.code, Some(3));
    let expect = "inqueue: q: damage at offset 0, 9 bytes: bytes that belong to no message \
                  (not converted)\n";
    assert_eq!(said.errors, expect);
    let to = folder.text("to");
    let expect = format!("{to}: 1 messages, 2 B of content, 1 damaged ranges left out\n");
    assert_eq!(said.text(), expect);
    assert_eq!(fs::read(folder.path("to")).unwrap(), b"From a\nb\n\n");
    let quiet = inqueue(&["convert", &queue, "--to", &folder.spec("eml", "e"), "--quiet"]);
    assert_eq!((quiet.code, quiet.text()), (Some(3), ""));
    assert_eq!(quiet.errors, said.errors);
}

#[test]
fn what_cannot_be_converted_is_told_and_nothing_is_written() {
    let folder = Folder::new();
    fs::write(folder.path("q"), "From a\nb\n\n").unwrap();
    fs::write(folder.path("full"), "x").unwrap();
    fs::create_dir_all(folder.path("folder/x")).unwrap();
    fs::create_dir(folder.path("run")).unwrap();
    fs::write(folder.path("run/plan.json"), "{}").unwrap();
    fs::write(folder.path("run/commits"), "").unwrap();
    let before = tree(&folder.path(""));
    let (queue, new) = (folder.text("q"), folder.spec("mbox", "new"));
    let to = |from: &str, to: &str, code, text: &str| {
        fails(&["convert", from, "--to", to], code, text);
    };
    to(&folder.text("none"), &new, 1, "cannot open the queue: No such file");
    to(&folder.text("full"), &new, 1, "cannot tell the format");
    to(&folder.text("run"), &new, 1, "this is the folder of a run");
    to(&queue, &folder.spec("mbox", "full"), 1, "full: exists already and isn't empty");
    to(&queue, &folder.spec("mbox", "q"), 1, "q: exists already and isn't empty");
    to(&queue, &folder.spec("maildir", "folder"), 1, "folder: exists already and isn't empty");
    to(&queue, &folder.spec("mbox", "no/where"), 1, "no/where.partial: cannot write: No such file");
    to(&queue, &folder.spec("eml", "no/where"), 1, "no/where.partial: cannot write: No such file");
    for bad in ["new", "mboxo:new", "mbox:", "postfix:new"] {
        to(
            &queue,
            bad,
            2,
            "expected segment:PATH, mbox:PATH, maildir:PATH, eml:PATH or ffapi:PATH",
        );
    }
    fails(&["convert", &queue], 2, "--to");
    assert_eq!(tree(&folder.path("")), before);
}

/// All files of a folder, and its folders (which have no content).
fn tree(folder: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut out = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let content = if path.is_dir() { None } else { Some(fs::read(&path).unwrap()) };
            out.insert(path.to_str().unwrap().to_owned(), content);
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    out
}

/// A file may grow to so many bytes and no further, as on a disk that is full.
#[test]
fn a_write_error_leaves_nothing_that_looks_finished() {
    let folder = Folder::new();
    let content = [b"From a\n", &b"x".repeat(100_000)[..], b"\n\n"].concat();
    fs::write(folder.path("q"), content).unwrap();
    let queue = folder.text("q");
    for to in FORMATS {
        let target = folder.spec(to.name(), to.name());
        // The signal would end the process before it can say anything.
        let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_inqueue")]);
        let said = Said::of(command.args(["convert", &queue, "--to", &target]).output().unwrap());
        assert_eq!((said.code, said.text()), (Some(1), ""), "{said:?}");
        assert!(said.errors.contains(": cannot write: File too large"), "{}", said.errors);
        assert!(!folder.path(to.name()).exists());
        let partial = format!("{}.partial", to.name());
        assert!(folder.path(&partial).exists());
        let told = format!("{partial}: is left of a conversion that did not end");
        fails(&["convert", &queue, "--to", &target], 1, &told);
    }
}
