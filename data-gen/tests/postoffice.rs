//! Whole post offices, read back by a small reader written from docs/postoffice.md.
//!
//! What it deliberately does not do: judge outcomes (see the unit tests of `scenario`).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at what isn't there"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use inqueue_gen::{Format, GenError, Mix, Options, Report, generate};
use serde_json::Value;

/// Without full mailbags: each costs 4096 files.
const MIX: &str = "corrupt-message=0.2,missing-body=0.1,charset=0.1,duplicate-delivery=0.05,\
                   message-loop=0.05,zero-byte-attachment=0.05,system-mail-bounced=0.05";

fn options(messages: u64, post_offices: u64) -> Options {
    let (format, hazards) = (Format::PostOffice, Mix::parse(MIX).unwrap());
    Options { messages, format, hazards, size_mean: 1_500, post_offices, ..Options::default() }
}

fn make(options: &Options) -> (tempfile::TempDir, Report) {
    let folder = tempfile::tempdir().unwrap();
    let report = generate(options, folder.path()).unwrap();
    (folder, report)
}

/// Lines of a manifest, without its head.
fn manifest(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let head: Value = lines.next().unwrap();
    assert_eq!(head["format"], "postoffice");
    assert_eq!(head["queue"], "queue");
    lines.collect()
}

/// All files below a folder by name, in upper case where the post office has them small.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                out.insert(name.to_ascii_uppercase(), fs::read(&path).unwrap());
            }
        }
    }
    out
}

/// One post office, as its files say.
struct Office {
    files: BTreeMap<String, Vec<u8>>,
}

impl Office {
    fn read(folder: &Path) -> Self {
        Self { files: files(folder) }
    }

    fn bag(&self, name: &str) -> (&[u8], &[u8]) {
        (&self.files[&format!("KEY/{name}.KEY")], &self.files[&format!("MBG/{name}.MBG")])
    }

    /// (slot, record) of the live slots; a last record that is cut off counts.
    fn live(&self, name: &str) -> Vec<(usize, &[u8])> {
        let (key, mbg) = self.bag(name);
        assert_eq!(key.len(), 560);
        let dead = |slot: usize| key[48 + slot / 8] >> (slot % 8) & 1 == 1;
        mbg.chunks(116).enumerate().filter(|(slot, _)| !dead(*slot)).collect()
    }

    fn bags(&self) -> Vec<String> {
        let name = |one: &String| Some(one.strip_prefix("KEY/")?.strip_suffix(".KEY")?.to_owned());
        self.files.keys().filter_map(name).collect()
    }

    fn mai(&self, name: &str) -> Option<&[u8]> {
        let digit = name.chars().last().unwrap();
        self.files.get(&format!("MAI/MA{digit}/{name}.MAI")).map(Vec::as_slice)
    }
}

/// The name of the MAI in a record, where the record is good.
fn name(record: &[u8]) -> Option<String> {
    let name = record.get(67..75)?;
    let good = name.iter().all(u8::is_ascii_hexdigit) && record.get(75) == Some(&0);
    good.then(|| String::from_utf8(name.to_ascii_uppercase()).unwrap())
}

/// An element: identifier, qualifier, contents.
type Element<'a> = (u8, Option<u8>, &'a [u8]);

/// The elements of these bytes, or none where they are damaged.
fn elements(mut bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut out = Vec::new();
    while let Some((&identifier, rest)) = bytes.split_first() {
        let (&code, rest) = rest.split_first()?;
        let (length, rest) = match code {
            0..=0x7F => (usize::from(code), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(code - 0x80))?;
                (octets.iter().fold(0, |n, octet| n << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        let (qualifier, contents) = if identifier & 0x40 != 0 {
            let (first, contents) = contents.split_first()?;
            (Some(*first), contents)
        } else {
            (None, contents)
        };
        if matches!(identifier, 0x0A | 0x4C | 0x4D | 0x7F) {
            elements(contents)?;
        }
        out.push((identifier, qualifier, contents));
        bytes = rest;
    }
    Some(out)
}

/// The fields of a MAI or P1 with this qualifier, where it is good.
fn message(bytes: &[u8], qualifier: u8) -> Option<Vec<Element<'_>>> {
    let all = elements(bytes)?;
    let (identifier, own, contents) = *all.first()?;
    (identifier == 0x4D && own == Some(qualifier)).then(|| elements(contents))?
}

fn mai_is_good(bytes: &[u8]) -> bool {
    message(bytes, 1).is_some() && bytes.get(6..11) == Some(&[0x7F, 5, 0x31, 0x20, 2])
}

fn p1_is_good(bytes: &[u8]) -> bool {
    let Some(fields) = message(bytes, 2) else { return false };
    let to = |one: &&Element<'_>| one.0 == 0x4C && matches!(one.1, Some(5 | 6));
    fields.iter().filter(to).all(|one| elements(one.2).unwrap().first().is_some_and(|e| e.0 == 2))
}

/// The bytes of a MAI's text, and whether it is a whole message.
fn text(bytes: &[u8]) -> (Vec<u8>, bool) {
    let fields = message(bytes, 1).unwrap();
    let whole = fields.iter().any(|one| one.0 == 0x7F && one.1 == Some(0x38));
    let strings = fields.iter().filter(|one| one.0 == 0x4C && one.1 == Some(4));
    let strings = strings.flat_map(|one| elements(one.2).unwrap());
    (strings.flat_map(|one| one.2.to_vec()).collect(), whole)
}

/// The folders of a queue's post offices, with their names in the manifest.
fn offices(queue: &Path, count: u64) -> Vec<(String, Office)> {
    if count == 1 {
        return vec![(String::new(), Office::read(queue))];
    }
    let folder = |at: u64| format!("PO{at:05}");
    (0..count)
        .map(|at| (format!("{}/", folder(at)), Office::read(&queue.join(folder(at)))))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_number_of_threads() {
    let made = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = Options { seed, ..options(120, 6) };
        pool.install(|| files(make(&options).0.path()))
    };
    let one = made(1, 1);
    assert!(one == made(5, 1), "1 and 5 threads differ");
    assert!(one != made(2, 2), "seeds don't differ");
}

/// Sizes by folder and name: a fixed one, or (prefix, record).
fn sizes_are_right(office: &Office) {
    let rows: [(&str, usize, usize); 18] = [
        ("GLB/ACCESS.GLB", 0, 586),
        ("GLB/ACCESS2.GLB", 0, 69),
        ("GLB/ACCESS3.GLB", 0, 512),
        ("GLB/CONTROL.GLB", 8, 0),
        ("GLB/FLAG.GLB", 2, 0),
        ("GLB/GLOBAL.GLB", 512, 0),
        ("GLB/GROUP.GLB", 4, 51),
        ("GLB/GRPMEM.GLB", 4, 128),
        ("GLB/MASTER.GLB", 176, 0),
        ("GLB/NETPO.GLB", 4, 43),
        ("GLB/NETWORK.GLB", 0, 122),
        ("GLB/PROCESS.GLB", 512, 197),
        ("GLB/REQCONF.GLB", 512, 0),
        ("GLB/TID.GLB", 4, 0),
        ("GRP/ADMIN.GRP", 8, 0),
        ("NME/ADMIN.NME", 0, 45),
        ("XTN/00000001.XTN", 0, 698),
        ("MEM/00000001.MEM", 0, 4),
    ];
    for (name, prefix, record) in rows {
        let size = office.files[name].len() - prefix;
        assert!(size.checked_rem(record).unwrap_or(size) == 0, "{name}: {size}");
    }
    let users = office.files["GLB/ACCESS2.GLB"].len() / 69;
    assert_eq!(office.files["GLB/ACCESS.GLB"].len() / 586, users);
    assert_eq!(office.files["GLB/ACCESS3.GLB"].len() / 512, users);
    let [low, high] = [0, 4].map(|at| office.files["GLB/CONTROL.GLB"][at..at + 4].to_vec());
    let next = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().unwrap());
    let (bags, letters) = (next(low), next(high));
    assert_eq!(office.bags().len(), usize::try_from(bags).unwrap() + 3);
    let letters_only = |name: &&String| name.starts_with("MAI/") || name.starts_with("ATT/");
    let named = office.files.keys().filter(letters_only);
    for file in named.filter(|name| !name.contains("POPULATE")) {
        let name = &file[file.len() - 12..file.len() - 4];
        assert!(u32::from_str_radix(name, 16).unwrap() < letters, "{file}");
    }
}

#[test]
fn a_post_office_has_the_whole_tree_in_the_published_sizes() {
    let (folder, report) = make(&options(200, 1));
    let office = Office::read(&folder.path().join("queue"));
    let marks = office.files.keys().filter(|name| name.ends_with("POPULATE.MSM")).count();
    assert_eq!(marks, 19 + 16 + 16);
    for name in ["KEY", "P1", "LOG", "ATT/ATF", "MAI/MA0"] {
        assert_eq!(office.files[&format!("{name}/POPULATE.MSM")].len(), 1);
    }
    sizes_are_right(&office);
    let bytes: usize = office.files.values().map(Vec::len).sum();
    assert_eq!(report.bytes, bytes as u64);
}

/// How many live records of all bags point to each MAI; none of a bag does so twice.
fn pointers(office: &Office) -> HashMap<String, u16> {
    let mut out = HashMap::new();
    for bag in office.bags() {
        let mut seen = HashSet::new();
        for (slot, record) in office.live(&bag) {
            if let Some(name) = name(record) {
                assert!(seen.insert(name.clone()), "{bag} has {name} twice, in slot {slot}");
                *out.entry(name).or_insert(0) += 1;
            }
        }
        assert!(office.bag(&bag).1.len() <= 4096 * 116);
    }
    out
}

#[test]
fn counters_are_the_numbers_of_records_that_point_there() {
    let hazards = Mix::parse("full-mailbag=0.1,duplicate-delivery=0.2").unwrap();
    let (folder, _) = make(&Options { hazards, ..options(200, 2) });
    let (mut shared, mut full) = (0, 0);
    for (_, office) in offices(&folder.path().join("queue"), 2) {
        let pointers = pointers(&office);
        for (name, count) in &pointers {
            let Some(mai) = office.mai(name).filter(|mai| mai_is_good(mai)) else { continue };
            assert_eq!(u16::from_le_bytes([mai[11], mai[12]]), *count, "{name}");
            shared += usize::from(*count > 1);
        }
        full += office.bags().iter().filter(|bag| office.live(bag).len() == 4096).count();
    }
    assert!(shared > 50, "{shared}");
    assert_eq!(full, 2);
}

/// Holds the slots of one INQUEUE3 against the manifest; counts what was found.
fn check_queue(
    prefix: &str,
    office: &Office,
    lines: &[&Value],
    counts: &mut HashMap<&'static str, u32>,
) {
    let live = office.live("INQUEUE3");
    assert_eq!(live.len(), lines.len(), "{prefix}");
    let (key, mbg) = office.bag("INQUEUE3");
    assert_eq!(usize::from(u16::from_le_bytes([key[0], key[1]])), mbg.len() / 116 - deleted(key));
    for ((slot, record), line) in live.into_iter().zip(lines) {
        assert_eq!(line["offset"], slot * 116);
        assert_eq!(line["length"], record.len());
        let file = line["file"].as_str().unwrap().to_ascii_uppercase();
        assert_eq!(file, format!("{prefix}MBG/INQUEUE3.MBG"));
        let Some(name) = name(record).filter(|_| record.len() == 116) else {
            assert_eq!(line["damage"], true, "{line}");
            *counts.entry("damage").or_default() += 1;
            continue;
        };
        let mai = office.mai(&name);
        let p1 = office.files.get(&format!("P1/{name}.P1"));
        let whole = p1.is_some_and(|p1| p1_is_good(p1)) && mai.is_some_and(mai_is_good);
        let quarantined = line["quarantined"] == true;
        assert_eq!(whole, !quarantined || !line["fault"].is_null(), "{line}");
        let kind = match (p1, mai) {
            (Some(_), Some(_)) if !whole => "bad",
            (None, _) => "no P1",
            (_, None) => "no MAI",
            (Some(p1), _) if p1.len() == 246 => "246",
            _ => "whole",
        };
        *counts.entry(kind).or_default() += 1;
        let checksum = u32::from_str_radix(line["checksum"].as_str().unwrap(), 16).unwrap();
        let Some(mai) = mai.filter(|mai| mai_is_good(mai)) else {
            assert_eq!(checksum, 0);
            continue;
        };
        let (text, encapsulated) = text(mai);
        if encapsulated {
            assert_eq!(checksum, crc32c::crc32c(&text), "{line}");
        }
        *counts.entry(if encapsulated { "encapsulated" } else { "native" }).or_default() += 1;
    }
}

fn deleted(key: &[u8]) -> usize {
    key[48..].iter().map(|byte| byte.count_ones() as usize).sum()
}

#[test]
fn slots_are_what_the_manifest_says() {
    let mut options = options(1_500, 4);
    options.hazards = Mix::parse("corrupt-message=0.3,missing-body=0.2,charset=0.1").unwrap();
    let (folder, report) = make(&options);
    let lines = manifest(folder.path());
    let indices: Vec<u64> = lines.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..1_500).collect::<Vec<_>>());
    let mut counts = HashMap::new();
    let mut gone = 0;
    for (prefix, office) in offices(&folder.path().join("queue"), 4) {
        let own: Vec<&Value> = lines
            .iter()
            .filter(|line| line["file"].as_str().unwrap().starts_with(&prefix))
            .collect();
        check_queue(&prefix, &office, &own, &mut counts);
        gone += deleted(office.bag("INQUEUE3").0);
    }
    assert_eq!(report.damaged, u64::from(counts["damage"]));
    assert!((150..300).contains(&gone), "{gone}");
    for kind in ["damage", "bad", "no P1", "no MAI", "246"] {
        assert!(counts[kind] > 10, "{kind}: {counts:?}");
    }
    let (native, encapsulated) = (counts["native"], counts["encapsulated"]);
    assert!(native.abs_diff(encapsulated) < native / 4, "{counts:?}");
}

#[test]
fn a_full_queue_has_4096_messages_and_one_more_is_refused() {
    let options = Options { hazards: Mix::None, size_mean: 200, ..options(4_096, 1) };
    let (folder, _) = make(&options);
    let office = Office::read(&folder.path().join("queue"));
    assert_eq!(office.live("INQUEUE3").len(), 4_096);
    assert_eq!(deleted(office.bag("INQUEUE3").0), 0);
    let fresh = tempfile::tempdir().unwrap();
    for (messages, post_offices, needed) in [(4_097, 1, 2), (1, 0, 1), (8_193, 2, 3)] {
        let refused =
            generate(&Options { messages, post_offices, ..options.clone() }, fresh.path());
        let Err(GenError::PostOffices { needed: told, .. }) = refused else {
            unreachable!("{messages} in {post_offices} were made")
        };
        assert_eq!(told, needed);
    }
    assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
}

#[test]
fn post_offices_without_messages_are_post_offices() {
    let (folder, report) = make(&options(0, 2));
    assert_eq!(report.messages, 0);
    for (_, office) in offices(&folder.path().join("queue"), 2) {
        let (key, mbg) = office.bag("INQUEUE3");
        assert!(mbg.is_empty() && key == [0; 560]);
        sizes_are_right(&office);
    }
    assert!(manifest(folder.path()).is_empty());
}

#[test]
fn every_fourth_post_office_is_without_smtp_and_one_writes_its_names_small() {
    let (folder, _) = make(&options(60, 6));
    let queue = folder.path().join("queue");
    let has = |at: u64| {
        let office = Office::read(&queue.join(format!("PO{at:05}")));
        let network = &office.files["GLB/NETWORK.GLB"];
        network.chunks(122).any(|one| one[0] == 1 && one[1] == 0x64 && &one[2..7] == b"SMTP\0")
    };
    assert_eq!([0, 1, 2, 3].map(has), [true, true, false, true]);
    assert!(queue.join("PO00005/mbg/inqueue3.mbg").is_file());
    let lines = manifest(folder.path());
    assert_eq!(lines[59]["file"], "PO00005/mbg/inqueue3.mbg");
    let directory = fs::read(folder.path().join("directory.txt")).unwrap();
    let directory = String::from_utf8(directory).unwrap();
    assert!(directory.contains("\nEXTRA0@MEL227TRK.NET0.msmail.internal\n"));
    assert!(directory.contains("\nfull@corp.example full\n"));
}
