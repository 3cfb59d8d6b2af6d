//! Whole queues, read back by small readers written from the format's documents.
//!
//! What it deliberately does not do: judge outcomes (see the unit tests of `expect` and
//! `scenario`).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at what isn't there"
)]

use std::fs;
use std::path::Path;

use inqueue_gen::{Format, GenError, Mix, Options, Report, generate};
use serde_json::Value;

fn options(format: Format, messages: u64) -> Options {
    Options { format, messages, size_mean: 1_500, ..Options::default() }
}

fn make(options: &Options) -> (tempfile::TempDir, Report) {
    let folder = tempfile::tempdir().unwrap();
    let report = generate(options, folder.path()).unwrap();
    (folder, report)
}

/// Head and lines of a manifest.
fn manifest(folder: &Path) -> (Value, Vec<Value>) {
    let text = fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.next().unwrap(), lines.collect())
}

fn number(line: &Value, name: &str) -> usize {
    usize::try_from(line[name].as_u64().unwrap()).unwrap()
}

fn checksum(line: &Value) -> u32 {
    u32::from_str_radix(line["checksum"].as_str().unwrap(), 16).unwrap()
}

/// All files below a folder, with their names.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                out.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    out.sort();
    out
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_number_of_threads() {
    for format in [Format::Segment, Format::Mbox, Format::Maildir, Format::Eml] {
        let made = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let options = Options { seed, ..options(format, 3_000) };
            pool.install(|| files(make(&options).0.path()))
        };
        let one = made(1, 1);
        assert!(one == made(2, 1), "{format:?}: 1 and 2 threads differ");
        assert!(one == made(7, 1), "{format:?}: 1 and 7 threads differ");
        assert!(one != made(2, 2), "{format:?}: seeds don't differ");
    }
}

/// One piece of a segment: offset, length, and the content's checksum unless it is damage.
type Piece = (usize, usize, Option<u32>);

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The lengths of envelope and content, if a good head stands at `at`.
fn head(file: &[u8], at: usize) -> Option<(usize, usize)> {
    let head = file.get(at..at + 56)?;
    let good = head[..8] == *b"\xf5INQREC\n"
        && u64_at(head, 8) == at as u64
        && u64_at(head, 16) == u64_at(file, 12)
        && u32_at(head, 52) == crc32c::crc32c(&head[..52]);
    let lengths =
        (usize::try_from(u32_at(head, 28)).unwrap(), u64_at(head, 32).try_into().unwrap());
    good.then_some(lengths)
}

fn next_head(file: &[u8], from: usize) -> usize {
    (from..file.len()).find(|at| head(file, *at).is_some()).unwrap_or(file.len())
}

/// The fields of a sequence, or none where it is damaged.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(u32_at(bytes.get(..6)?, 2)).unwrap();
        out.push((u16_at(bytes, 0), bytes.get(6..6 + length)?));
        bytes = &bytes[6 + length..];
    }
    Some(out)
}

fn envelope_is_good(bytes: &[u8]) -> bool {
    let Some(all) = fields(bytes) else { return false };
    all.iter().all(|(tag, value)| match tag {
        2 | 5 | 6 => value.len() == 8,
        4 => value.len() == 4,
        7 | 11 | 12 => value.len() == 1,
        15 => fields(value).is_some(),
        _ => true,
    })
}

/// Reads a whole segment, as docs/segment.md says.
fn pieces(file: &[u8]) -> Vec<Piece> {
    assert_eq!(file[..8], *b"\x89INQSEG\n");
    assert_eq!(u32_at(file, 28), crc32c::crc32c(&file[..28]));
    let (mut at, mut out) = (32, Vec::new());
    while at < file.len() {
        let Some((envelope, content)) = head(file, at) else {
            let next = next_head(file, at + 1);
            out.push((at, next - at, None));
            at = next;
            continue;
        };
        let end = at + 56 + envelope + content;
        if end > file.len() {
            let next = next_head(file, at + 1);
            out.push((at, next - at, None));
            at = next;
            continue;
        }
        let (envelope, content) = file[at + 56..end].split_at(envelope);
        let crc = crc32c::crc32c(content);
        let good = crc32c::crc32c(envelope) == u32_at(file, at + 40)
            && crc == u32_at(file, at + 44)
            && envelope_is_good(envelope);
        out.push((at, end - at, good.then_some(crc)));
        at = end;
    }
    out
}

fn check_segment(options: &Options) -> usize {
    let (folder, report) = make(options);
    let file = fs::read(folder.path().join("queue.seg")).unwrap();
    assert_eq!(report.bytes, file.len() as u64);
    let (_, lines) = manifest(folder.path());
    let read = pieces(&file);
    let named: Vec<Piece> = lines
        .iter()
        .map(|line| {
            let damage = line["damage"] == true;
            let crc = (!damage).then(|| checksum(line));
            (number(line, "offset"), number(line, "length"), crc)
        })
        .collect();
    assert_eq!(read, named);
    let damaged = named.iter().filter(|piece| piece.2.is_none()).count();
    assert_eq!(report.damaged, damaged as u64);
    damaged
}

#[test]
fn a_segment_reads_back_as_its_manifest_says() {
    assert!(check_segment(&options(Format::Segment, 4_000)) > 5);
}

#[test]
fn damage_of_every_kind_is_where_the_manifest_says() {
    let mut options = options(Format::Segment, 1_001);
    options.hazards = Mix::parse("corrupt-message=0.6,record-in-content=0.4").unwrap();
    assert!(check_segment(&options) > 200);
}

/// Reads an mbox: offset, length, checksum of the unquoted content.
fn messages(file: &[u8]) -> Vec<(usize, usize, u32)> {
    let mut starts = vec![0];
    starts.extend(
        (1..file.len()).filter(|at| file[*at..].starts_with(b"From ") && file[at - 1] == b'\n'),
    );
    starts.push(file.len());
    let read = |pair: &[usize]| {
        let message = &file[pair[0]..pair[1]];
        let first = message.iter().position(|b| *b == b'\n').unwrap() + 1;
        let quoted = message[first..].strip_suffix(b"\n").unwrap();
        let mut content = Vec::new();
        for line in quoted.split_inclusive(|b| *b == b'\n') {
            let marks = line.iter().take_while(|b| **b == b'>').count();
            let skip = usize::from(marks > 0 && line[marks..].starts_with(b"From "));
            content.extend_from_slice(&line[skip..]);
        }
        (pair[0], pair[1] - pair[0], crc32c::crc32c(&content))
    };
    starts.windows(2).map(read).collect()
}

#[test]
fn an_mbox_reads_back_as_its_manifest_says() {
    let mut options = options(Format::Mbox, 3_000);
    for mix in ["all", "from-lines=0.5,bare-cr=0.2,empty-message=0.1"] {
        options.hazards = Mix::parse(mix).unwrap();
        let (folder, _) = make(&options);
        let file = fs::read(folder.path().join("queue.mbox")).unwrap();
        let (_, lines) = manifest(folder.path());
        let named: Vec<_> = lines
            .iter()
            .map(|line| (number(line, "offset"), number(line, "length"), checksum(line)))
            .collect();
        assert_eq!(messages(&file), named);
    }
}

#[test]
fn folders_hold_the_files_that_the_manifest_names() {
    for format in [Format::Maildir, Format::Eml] {
        let (folder, report) = make(&options(format, 1_000));
        let (_, lines) = manifest(folder.path());
        let queue = folder.path().join("queue");
        assert_eq!(files(&queue).len(), 1_000);
        let mut bytes = 0;
        for line in &lines {
            let content = fs::read(queue.join(line["file"].as_str().unwrap())).unwrap();
            assert_eq!(number(line, "length"), content.len());
            assert_eq!(checksum(line), crc32c::crc32c(&content));
            bytes += content.len() as u64;
        }
        assert_eq!(report.bytes, bytes);
    }
}

#[test]
fn the_manifest_counts_each_message_once_and_in_order() {
    let (folder, report) = make(&options(Format::Segment, 2_000));
    let (head, lines) = manifest(folder.path());
    assert_eq!(report.messages, 2_000);
    assert_eq!(head["manifest"], 1);
    assert_eq!(head["messages"], 2_000);
    assert_eq!(head["now"], "2026-01-02T03:04:05Z");
    let indices: Vec<usize> = lines.iter().map(|line| number(line, "index")).collect();
    assert_eq!(indices, (0..2_000).collect::<Vec<_>>());
    let clean = lines.iter().filter(|line| line["hazard"] == "none").count();
    assert!((1_650..1_850).contains(&clean), "{clean}");
}

#[test]
fn injected_faults_are_expected_by_their_stage() {
    let mut options = options(Format::Eml, 100);
    options.hazards = Mix::parse("fault-panic=1").unwrap();
    let (folder, _) = make(&options);
    for line in manifest(folder.path()).1 {
        let dispositions = line["dispositions"].as_array().unwrap();
        let has = |outcome: &str| dispositions.iter().any(|one| one["outcome"] == outcome);
        match line["fault"].as_str().unwrap() {
            "ndr" => assert!(has("dead-letter") && !has("failed")),
            "event" => assert!(has("failed") && line["quarantined"].is_null()),
            _ => assert!(dispositions.is_empty() && line["quarantined"] == true),
        }
    }
}

#[test]
fn an_occupied_folder_and_a_hazard_out_of_place_are_refused() {
    let (folder, _) = make(&options(Format::Mbox, 1));
    let again = generate(&options(Format::Segment, 1), folder.path());
    assert!(matches!(again, Err(GenError::Occupied(_))));
    let fresh = tempfile::tempdir().unwrap();
    let mut refused = options(Format::Mbox, 1);
    refused.hazards = Mix::parse("not-due=0.1").unwrap();
    let result = generate(&refused, fresh.path());
    assert!(matches!(result, Err(GenError::Unavailable { .. })));
    assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
}

#[test]
fn a_queue_of_no_messages_is_a_queue() {
    let (folder, report) = make(&options(Format::Segment, 0));
    assert_eq!(report.messages, 0);
    assert_eq!(fs::read(folder.path().join("queue.seg")).unwrap().len(), 32);
    assert!(manifest(folder.path()).1.is_empty());
}
