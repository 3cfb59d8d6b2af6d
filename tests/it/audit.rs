//! What an audit must find: records that a tester deletes, doubles or alters in any stream, even
//! with all offsets, checksums, seals and the commit log made to fit again.

use crate::support::{Queue, STREAMS, audit, inqueue, streams, text};
use inqueue_gen::Format;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A finished run with something in each stream, one part a stream file.
fn finished() -> Queue {
    let queue = Queue::new(Format::Segment, 400, "all");
    queue.run("run", &[]);
    queue
}

/// Records of a segment file: head, envelope and content of each.
pub(crate) fn records(file: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut at = 32;
    while at < file.len() {
        let envelope = u32::from_le_bytes(file[at + 28..at + 32].try_into().unwrap()) as usize;
        let content = u64::from_le_bytes(file[at + 32..at + 40].try_into().unwrap());
        let end = at + 56 + envelope + usize::try_from(content).unwrap();
        all.push(file[at..end].to_vec());
        at = end;
    }
    all
}

/// The file again, from records that were changed: all offsets and checksums fit. Gives the file
/// and its seal.
fn rebuilt(file: &[u8], records: &[Vec<u8>]) -> (Vec<u8>, u32) {
    let mut out = file[..32].to_vec();
    let mut seal = 0;
    for record in records {
        let mut record = record.clone();
        let envelope = u32::from_le_bytes(record[28..32].try_into().unwrap()) as usize;
        let (of_envelope, of_content) =
            (crc32c::crc32c(&record[56..56 + envelope]), crc32c::crc32c(&record[56 + envelope..]));
        record[8..16].copy_from_slice(&(out.len() as u64).to_le_bytes());
        record[40..44].copy_from_slice(&of_envelope.to_le_bytes());
        record[44..48].copy_from_slice(&of_content.to_le_bytes());
        let of_head = crc32c::crc32c(&record[..52]).to_le_bytes();
        record[52..56].copy_from_slice(&of_head);
        seal = crc32c::crc32c_append(seal, &of_head);
        out.extend_from_slice(&record);
    }
    (out, seal)
}

/// Writes a stream's file anew, and makes the commit log say that it has to be so.
fn forge(run: &Path, stream: &str, file: &Path, bytes: &[u8], seal: u32, count: usize) {
    fs::write(file, bytes).unwrap();
    let log = fs::read_to_string(run.join("commits")).unwrap();
    let mut out = Vec::new();
    let part: u64 = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    for line in log.lines() {
        let mut commit: serde_json::Value = serde_json::from_str(&line[9..]).unwrap();
        if commit["part"] == part {
            commit["files"][stream] =
                serde_json::json!({"length": bytes.len(), "records": count, "seal": seal});
        }
        let json = commit.to_string();
        writeln!(out, "{:08x} {json}", crc32c::crc32c(json.as_bytes())).unwrap();
    }
    fs::write(run.join("commits"), out).unwrap();
}

fn first_file(run: &Path, stream: &str) -> PathBuf {
    let name = streams(run).into_keys().find(|name| name.starts_with(&format!("{stream}/")));
    run.join(name.unwrap_or_else(|| panic!("nothing in {stream}")))
}

/// Ways to change a list of records or lines.
type Change = fn(&mut Vec<Vec<u8>>);

const CHANGES: [(&str, Change); 5] = [
    ("swaps two", |records| {
        let last = records.len() - 1;
        records.swap(last - 1, last);
    }),
    ("deletes one", |records| {
        let middle = records.len() / 2;
        records.remove(middle);
    }),
    ("doubles one", |records| {
        let middle = records.len() / 2;
        records.insert(middle, records[middle].clone());
    }),
    ("deletes the last", |records| {
        records.pop();
    }),
    ("doubles the first at the end", |records| records.push(records[0].clone())),
];

/// Changes the bytes of one record: a byte of its content, or of a forward-path.
const ALTERATIONS: [(&str, Change); 4] = [
    ("alters the end of an envelope", |records| {
        let record = records.iter_mut().max_by_key(|record| record.len()).unwrap();
        let envelope = u32::from_le_bytes(record[28..32].try_into().unwrap()) as usize;
        record[56 + envelope - 1] ^= 1;
    }),
    ("adds a field", |records| {
        let record = records.iter_mut().max_by_key(|record| record.len()).unwrap();
        let envelope = u32::from_le_bytes(record[28..32].try_into().unwrap());
        record[28..32].copy_from_slice(&(envelope + 7).to_le_bytes());
        let at = 56 + envelope as usize;
        // Priority 1.
        record.splice(at..at, [7, 0, 1, 0, 0, 0, 1]);
    }),
    ("alters content", |records| {
        let record = records.iter_mut().max_by_key(|record| record.len()).unwrap();
        *record.last_mut().unwrap() ^= 1;
    }),
    ("alters an address", |records| {
        // A letter of the first address with an @ of the envelope of the longest record.
        let record = records.iter_mut().max_by_key(|record| record.len()).unwrap();
        let envelope = u32::from_le_bytes(record[28..32].try_into().unwrap()) as usize;
        let at = record[56..56 + envelope].iter().rposition(|b| *b == b'@').unwrap() + 56;
        record[at + 1] ^= 1;
    }),
];

#[test]
fn whatever_a_tester_does_to_a_stream_is_found() {
    let queue = finished();
    let run = queue.out("run");
    let log = fs::read(run.join("commits")).unwrap();
    for stream in STREAMS.iter().filter(|stream| **stream != "events") {
        let path = first_file(&run, stream);
        let original = fs::read(&path).unwrap();
        for (what, change) in CHANGES.iter().chain(&ALTERATIONS) {
            // Damage has no addresses.
            if *stream == "quarantine" && *what == "alters an address" {
                continue;
            }
            let mut all = records(&original);
            change(&mut all);
            let (bytes, seal) = rebuilt(&original, &all);
            assert!(bytes != original, "{stream}: {what} changes nothing");
            fs::write(&path, &bytes).unwrap();
            assert_found(&run, &format!("{stream}: a tester {what}"));
            forge(&run, stream, &path, &bytes, seal, all.len());
            assert_found(&run, &format!("{stream}: a forger {what}"));
            fs::write(run.join("commits"), &log).unwrap();
            fs::write(&path, &original).unwrap();
        }
    }
    queue.assert_clean("run");
}

#[test]
fn whatever_a_tester_does_to_the_events_is_found() {
    let queue = finished();
    let run = queue.out("run");
    let log = fs::read(run.join("commits")).unwrap();
    let path = first_file(&run, "events");
    let original = fs::read(&path).unwrap();
    let alter: Change = |lines| {
        let line = lines.iter_mut().find(|line| text(line).contains("\"delivered\"")).unwrap();
        *line = text(line).replace("\"delivered\"", "\"relayed\"").into_bytes();
    };
    let rename: Change = |lines| {
        let line = lines.iter_mut().find(|line| text(line).contains("\"recipient\":\"")).unwrap();
        *line = text(line).replace("\"recipient\":\"", "\"recipient\":\"x").into_bytes();
    };
    let retime: Change = |lines| {
        let line = lines.last_mut().unwrap();
        *line = text(line).replacen("\"time\":\"2026", "\"time\":\"2027", 1).into_bytes();
    };
    let more =
        [("alters an outcome", alter), ("alters a recipient", rename), ("alters a time", retime)];
    for (what, change) in CHANGES.iter().chain(&more) {
        let mut lines: Vec<Vec<u8>> =
            original.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        change(&mut lines);
        let bytes = lines.concat();
        fs::write(&path, &bytes).unwrap();
        assert_found(&run, &format!("events: a tester {what}"));
        forge(&run, "events", &path, &bytes, crc32c::crc32c(&bytes), lines.len());
        assert_found(&run, &format!("events: a forger {what}"));
        fs::write(run.join("commits"), &log).unwrap();
        fs::write(&path, &original).unwrap();
    }
    queue.assert_clean("run");
}

#[test]
fn files_that_are_gone_torn_or_from_nowhere_are_found() {
    let queue = finished();
    let run = queue.out("run");
    for stream in STREAMS {
        let path = first_file(&run, stream);
        let original = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_found(&run, &format!("{stream} is gone"));
        fs::write(&path, &original[..original.len() - 1]).unwrap();
        assert_found(&run, &format!("{stream} is torn"));
        fs::write(&path, &original).unwrap();
        let stray = path.with_file_name(format!("99999.{}", path.extension().unwrap().display()));
        fs::write(&stray, &original).unwrap();
        assert_found(&run, &format!("{stream} has a file from nowhere"));
        fs::remove_file(&stray).unwrap();
    }
    queue.assert_clean("run");
}

#[test]
fn a_finished_run_whose_log_is_cut_is_found() {
    let queue = finished();
    let run = queue.out("run");
    let log = fs::read(run.join("commits")).unwrap();
    fs::write(run.join("commits"), "").unwrap();
    assert_found(&run, "the log is empty");
    fs::write(run.join("commits"), &log).unwrap();
    let summary = fs::read_to_string(run.join("summary.json")).unwrap();
    let changed = summary.replacen("\"messages\": ", "\"messages\": 1", 1);
    assert_ne!(summary, changed);
    fs::write(run.join("summary.json"), changed).unwrap();
    assert_found(&run, "the summary counts other messages");
    fs::write(run.join("summary.json"), summary).unwrap();
    queue.assert_clean("run");
}

fn assert_found(run: &Path, what: &str) {
    let report = audit(run, None);
    let found: u64 = ["lost", "doubled", "wrong"].iter().map(|k| report[k].as_u64().unwrap()).sum();
    assert!(found > 0, "{what}, and the audit finds nothing");
    assert!(!report["findings"].as_array().unwrap().is_empty(), "{what}");
}

#[test]
fn a_manifest_is_held_against_the_run() {
    let queue = finished();
    let run = queue.out("run");
    let manifest = fs::read_to_string(queue.made().join("manifest.jsonl")).unwrap();
    let changed = queue.out("changed.jsonl");
    let wrong = |from: &str, to: &str| {
        assert!(manifest.contains(from), "{from}");
        fs::write(&changed, manifest.replacen(from, to, 1)).unwrap();
        let report = audit(&run, Some(&changed));
        let found = report["wrong"].as_u64().unwrap() + report["lost"].as_u64().unwrap();
        assert!(found > 0, "{from} -> {to}");
    };
    wrong("\"outcome\":\"delivered\"", "\"outcome\":\"relayed\"");
    wrong("\"status\":\"5.1.1\"", "\"status\":\"5.1.2\"");
    wrong("\"checksum\":\"", "\"checksum\":\"0");
    wrong("\"ordinal\":0", "\"ordinal\":1");
    let (first, rest) = manifest.split_once('\n').unwrap();
    let (_, fewer) = rest.split_once('\n').unwrap();
    fs::write(&changed, format!("{first}\n{fewer}")).unwrap();
    assert_eq!(audit(&run, Some(&changed))["wrong"], 1, "a message that the manifest lacks");
    let more = rest.lines().next().unwrap().replacen("\"offset\":", "\"offset\":9", 1);
    fs::write(&changed, format!("{manifest}{more}\n")).unwrap();
    assert_eq!(audit(&run, Some(&changed))["lost"], 1, "a message that the queue lacks");
    fs::write(&changed, "not a manifest\n").unwrap();
    let output = inqueue().arg("audit").arg(&run).arg("--expect").arg(&changed).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("changed.jsonl:1: not a line of a manifest"));
}

#[test]
fn people_are_told_lost_doubled_and_wrong() {
    let queue = finished();
    let run = queue.out("run");
    let say = || inqueue().arg("audit").arg(&run).output().unwrap();
    let clean = say();
    assert_eq!(clean.status.code(), Some(0));
    assert!(
        text(&clean.stdout).ends_with("lost 0, doubled 0, wrong 0\n"),
        "{}",
        text(&clean.stdout)
    );
    fs::remove_file(first_file(&run, "accepted")).unwrap();
    let found = say();
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found.stdout).contains("lost: "));
    assert!(text(&found.stdout).contains("accepted"));
}
