//! Check and salvage: damage of every kind, and what an independent look at the bytes says must be
//! there afterwards.

use crate::office_reader::{
    Mai, Slot, files, has_all, live, mai_of, p1, without_counter, without_numbers,
};
use crate::support::{NOW, inqueue, text};
use inqueue::check::{self, Clock, Subject};
use inqueue::mail::date::Time;
use inqueue::queue::envelope::RecipientOrder;
use inqueue::salvage;
use inqueue_gen::{Format, Mix, Options};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

fn clock() -> Clock {
    let now = Time::parse_rfc3339(NOW.as_bytes()).unwrap();
    Clock { now, host: "test.example".to_owned(), order: RecipientOrder::default() }
}

fn post_office(folder: &Path, seed: u64, hazards: &str) -> PathBuf {
    let made = folder.join(format!("made-{seed}"));
    let options = Options {
        messages: 6,
        seed,
        format: Format::PostOffice,
        hazards: Mix::parse(hazards).unwrap(),
        size_mean: 500,
        ..Options::default()
    };
    inqueue_gen::generate(&options, &made).unwrap();
    made.join("queue")
}

/// A generator of numbers that are the same for a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// A copy of links: a file that is damaged is written anew.
fn link(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            link(&entry.path(), &to);
        } else {
            fs::hard_link(entry.path(), to).unwrap();
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

/// Files of the post office, those of mail more often.
fn some_file(root: &Path, numbers: &mut Numbers) -> PathBuf {
    let folders =
        ["MAI", "P1", "MBG/INQUEUE3.MBG", "KEY/INQUEUE3.KEY", "MBG", "KEY", "ATT", "GLB", ""];
    loop {
        let within = root.join(folders[numbers.below(folders.len())]);
        let mut all = Vec::new();
        list(&within, &mut all);
        all.retain(|path| !path.ends_with("POPULATE.MSM"));
        all.sort();
        if !all.is_empty() {
            return all.swap_remove(numbers.below(all.len()));
        }
    }
}

fn list(path: &Path, out: &mut Vec<PathBuf>) {
    if path.is_file() {
        out.push(path.to_owned());
    } else if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            list(&entry.unwrap().path(), out);
        }
    }
}

fn some_folder(root: &Path, numbers: &mut Numbers) -> PathBuf {
    let mut all: Vec<PathBuf> = Vec::new();
    for folder in [root.to_owned(), root.join("MAI"), root.join("ATT")] {
        let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        all.extend(entries.filter(|path| path.is_dir()));
    }
    all.sort();
    all.swap_remove(numbers.below(all.len()))
}

/// Appends a record of INQUEUE3 to it once more.
fn twice(root: &Path, numbers: &mut Numbers) -> String {
    let mbg = root.join("MBG/INQUEUE3.MBG");
    let Ok(mut records) = fs::read(&mbg) else { return String::new() };
    let from = numbers.below(records.len() / 116 + 1) * 116;
    let record = records.get(from..from + 116).unwrap_or_default().to_vec();
    records.extend(record);
    write(&mbg, &records);
    "a record twice".to_owned()
}

fn stale_lock(root: &Path) -> String {
    let path = root.join("P1/INQUEUE3.0LK");
    if !path.parent().unwrap().is_dir() {
        return String::new();
    }
    write(&path, b"another program's");
    let old = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    "a stale lock".to_owned()
}

/// Damages a post office; says how.
fn damage(root: &Path, numbers: &mut Numbers) -> String {
    let path = some_file(root, numbers);
    let mut bytes = fs::read(&path).unwrap();
    let at = numbers.below(bytes.len().max(1));
    let how = match numbers.below(12) {
        0..=2 => {
            for _ in 0..=numbers.below(8) {
                let bit = numbers.below(bytes.len().max(1) * 8);
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            "bits"
        }
        3 => {
            bytes.truncate(at);
            "cut"
        }
        4 => {
            let end = (at + 512).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
            "zeroed"
        }
        5 => {
            bytes.extend((0..=numbers.below(300)).map(|_| numbers.next().to_le_bytes()[0]));
            "longer"
        }
        6 => {
            let other = some_file(root, numbers);
            let others = fs::read(&other).unwrap();
            write(&other, &bytes);
            bytes = others;
            "swapped"
        }
        7 => {
            fs::remove_file(&path).unwrap();
            return format!("removed {}", path.display());
        }
        8 => {
            let folder = some_folder(root, numbers);
            fs::remove_dir_all(&folder).unwrap();
            return format!("removed {}", folder.display());
        }
        9 => {
            let lower = path.file_name().unwrap().to_str().unwrap().to_ascii_lowercase();
            let folder = if numbers.below(2) == 0 { path.parent().unwrap() } else { root };
            let to = folder.join(lower);
            fs::rename(&path, &to).unwrap();
            return format!("renamed {} to {}", path.display(), to.display());
        }
        10 => return twice(root, numbers),
        _ => return stale_lock(root),
    };
    write(&path, &bytes);
    format!("{how} {}", path.display())
}

/// All that the independent reader calls whole in the old one is in the new one; gives how many.
fn nothing_is_lost(
    old: &BTreeMap<String, Vec<u8>>,
    new: &BTreeMap<String, Vec<u8>>,
    what: &str,
) -> usize {
    let (new_live, mut whole) = (live(new), 0);
    let mut seen = HashSet::new();
    for slot in live(old) {
        let Some((bytes, mai)) = mai_of(old, &slot.mai) else { continue };
        let Slot { bag, mai: name } = &slot;
        let p1_path = format!("P1/{name}.P1");
        let envelope = old.get(&p1_path).and_then(|bytes| p1(bytes));
        let is_own = envelope.as_ref().is_some_and(|(names, _)| names == name);
        if bag.starts_with("INQUEUE") && !is_own {
            continue;
        }
        if mai.attachments.is_none() {
            continue;
        }
        assert!(new_live.contains(&slot), "{what}: {slot:?} is lost");
        let (now, _) = mai_of(new, name).unwrap_or_else(|| panic!("{what}: {name} isn't good"));
        if has_all(old, &mai) && seen.is_disjoint(&atts(&mai)) {
            assert_eq!(without_counter(now), without_counter(bytes), "{what}: {name}");
        } else {
            assert_eq!(without_numbers(now), without_numbers(bytes), "{what}: {name}");
        }
        seen.extend(atts(&mai));
        if is_own {
            assert_eq!(new.get(&p1_path), old.get(&p1_path), "{what}: {name}: recipients");
        }
        whole += 1;
    }
    whole
}

fn atts(mai: &Mai) -> HashSet<String> {
    mai.attachments.iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// Every MAI that is good stands in the new one: in its place, or in quarantine.
fn every_mai_is_somewhere(
    old: &BTreeMap<String, Vec<u8>>,
    new: &BTreeMap<String, Vec<u8>>,
    what: &str,
) {
    let bodies = |files: &BTreeMap<String, Vec<u8>>| -> HashSet<Vec<u8>> {
        let mai = |path: &&String| path.to_ascii_uppercase().ends_with(".MAI");
        let all = files.iter().filter(|(path, _)| mai(path)).map(|(_, bytes)| bytes);
        all.filter(|bytes| Mai::read(bytes).is_some()).map(|bytes| without_numbers(bytes)).collect()
    };
    let found = bodies(new);
    for body in bodies(old) {
        assert!(found.contains(&body), "{what}: a MAI is lost");
    }
    let queued: HashSet<String> = live(new).into_iter().map(|slot| slot.mai).collect();
    let pointed: HashSet<String> = live(old).into_iter().map(|slot| slot.mai).collect();
    for path in old.keys() {
        let name = path.strip_prefix("MAI/MA").and_then(|path| path.strip_suffix(".MAI"));
        let Some(name) = name.and_then(|name| name.get(2..)).filter(|name| name.len() == 8) else {
            continue;
        };
        if let Some((_, mai)) = mai_of(old, name)
            && mai.counter > 0
            && mai.recipients > 0
            && mai.attachments.is_some()
            && !pointed.contains(name)
        {
            assert!(queued.contains(name), "{what}: {name} isn't queued again");
        }
    }
}

fn seeds(range: std::ops::Range<u64>) {
    // In memory where that can be: a thousand post offices are 200,000 files.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = folder.path();
    // Without full mailbags: they have 4096 messages each.
    let hazards = "duplicate-delivery=0.2,zero-byte-attachment=0.2,attachments-swapped=0.2";
    let base = |seed| post_office(path, seed, if seed > 2 { hazards } else { "none" });
    let bases: Vec<PathBuf> = (1..=4).map(base).collect();
    let (mut whole, seeds) = (0, range.end - range.start);
    for seed in range {
        let mut numbers = Numbers(seed);
        let (old, new) = (path.join("old"), path.join("new"));
        link(&bases[numbers.below(bases.len())], &old);
        let mut what = format!("seed {seed}");
        for _ in 0..=numbers.below(3) {
            what = format!("{what}; {}", damage(&old, &mut numbers));
        }
        let before = files(&old);
        let spec = format!("postoffice:{}", old.display());
        let subject = Subject::open(&spec).unwrap_or_else(|error| panic!("{what}: {error}"));
        check::check(&subject, &clock()).unwrap();
        salvage::salvage(&subject, &new, &clock(), false).unwrap();
        assert_eq!(files(&old), before, "{what}: the old one was changed");
        let proof = salvage::prove(&new, &clock()).unwrap();
        assert!(proof.is_clean(), "{what}: {:#?}", proof.findings);
        let after = files(&new);
        whole += nothing_is_lost(&before, &after, &what);
        every_mai_is_somewhere(&before, &after, &what);
        fs::remove_dir_all(&old).unwrap();
        fs::remove_dir_all(&new).unwrap();
    }
    assert!(whole as u64 > seeds * 20, "{whole} messages were whole");
}

#[test]
fn damage_loses_nothing_that_is_whole_1() {
    seeds(0..250);
}

#[test]
fn damage_loses_nothing_that_is_whole_2() {
    seeds(250..500);
}

#[test]
fn damage_loses_nothing_that_is_whole_3() {
    seeds(500..750);
}

#[test]
fn damage_loses_nothing_that_is_whole_4() {
    seeds(750..1000);
}

/// What a check of a damaged post office finds: the kinds, and how many of each.
fn kinds_of(root: &Path) -> BTreeMap<&'static str, u64> {
    let subject = Subject::open(&format!("postoffice:{}", root.display())).unwrap();
    let report = check::check(&subject, &clock()).unwrap();
    report.counts.iter().map(|(kind, count)| (kind.name(), *count)).collect()
}

/// Each damage, done to a whole post office, is found as what it is.
#[test]
fn each_damage_is_found_by_its_kind() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let base = post_office(folder.path(), 1, "none");
    assert_eq!(kinds_of(&base), BTreeMap::new());
    let all = files(&base);
    let slots = live(&all);
    let slot = slots.iter().find(|slot| slot.bag == "INQUEUE3").unwrap();
    let mai = format!("MAI/MA{}/{}.MAI", &slot.mai[7..], slot.mai);
    let p1 = format!("P1/{}.P1", slot.mai);
    let (mbg, key) = ("MBG/INQUEUE3.MBG", "KEY/INQUEUE3.KEY");
    let records = &all[mbg];
    let with = |path: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = all.get(path).cloned().unwrap_or_default();
        change(&mut bytes);
        vec![(path.to_owned(), Some(bytes))]
    };
    let gone = |path: &str| vec![(path.to_owned(), None)];
    let moved = {
        let digit = if slot.mai.ends_with('0') { "1" } else { "0" };
        vec![
            (mai.clone(), None),
            (format!("MAI/MA{digit}/{}.MAI", slot.mai), Some(all[&mai].clone())),
        ]
    };
    let cases = [
        (gone(&mai), "mai-missing"),
        (gone(&p1), "p1-missing"),
        (gone(key), "key-missing"),
        (gone("GLB/CONTROL.GLB"), "file-missing"),
        (gone("LOG/POPULATE.MSM"), "placeholder-missing"),
        (with(key, &|bytes| bytes.truncate(559)), "key-size"),
        (with(key, &|bytes| bytes.push(0)), "key-size"),
        (with(mbg, &|bytes| bytes.extend_from_slice(b"torn")), "record-torn"),
        (with(mbg, &|bytes| bytes[75] = b'!'), "record-damaged"),
        (with(mbg, &|bytes| bytes.extend_from_slice(&records[..116])), "mai-twice"),
        (with(&mai, &|bytes| bytes[11] ^= 4), "counter"),
        (with(&mai, &|bytes| bytes.truncate(40)), "mai-damaged"),
        (with(&p1, &|bytes| bytes.truncate(9)), "p1-damaged"),
        (with("P1/00000001.P1", &|bytes| bytes.extend_from_slice(&all[&p1])), "p1-orphan"),
        (with("P1/00000001.P1", &|bytes| bytes.extend_from_slice(&all[&p1])), "p1-foreign"),
        (with("ATT/AT1/00000001.ATT", &|bytes| bytes.push(0)), "att-orphan"),
        (with("MAI/MA1/00000001.MAI", &|bytes| bytes.extend(&all[&mai])), "mai-orphan"),
        (with("MAI/MA1/LETTER.MAI", &|_| {}), "stray"),
        (moved, "misplaced"),
        (with("GLB/ACCESS2.GLB", &|bytes| bytes.push(0)), "file-size"),
        (with("GLB/CONTROL.GLB", &|bytes| bytes[4..].fill(0)), "number"),
        (with("P1/INQUEUE3.0LK", &|bytes| bytes.extend(b"inqueue 1 test.example x")), "stale-lock"),
        (with("P1/INQUEUE3.0LK", &|bytes| bytes.extend(b"inqueue 1 elsewhere x")), "held-lock"),
    ];
    for (changes, kind) in cases {
        let old = folder.path().join("old");
        link(&base, &old);
        for (path, bytes) in changes {
            match bytes {
                Some(bytes) => write(&old.join(path), &bytes),
                None => fs::remove_file(old.join(path)).unwrap(),
            }
        }
        let found = kinds_of(&old);
        assert!(found.contains_key(kind), "{kind}: {found:?}");
        fs::remove_dir_all(&old).unwrap();
    }
}

/// Other formats: messages in a segment, damage in quarantine, each byte for byte.
#[test]
fn a_damaged_segment_is_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let (made, new) = (folder.path().join("made"), folder.path().join("new"));
    let options =
        Options { messages: 50, hazards: Mix::parse("none").unwrap(), ..Options::default() };
    inqueue_gen::generate(&options, &made).unwrap();
    let path = made.join("queue.seg");
    let whole = Subject::open(path.to_str().unwrap()).unwrap();
    let before = check::check(&whole, &clock()).unwrap();
    assert_eq!((before.messages, before.is_clean()), (50, true));
    let mut bytes = fs::read(&path).unwrap();
    let (third, half) = (bytes.len() / 3, bytes.len() / 2);
    bytes[third] ^= 1;
    bytes[half..half + 100].fill(0);
    fs::write(&path, &bytes).unwrap();

    let run = |arguments: &[&str]| inqueue().args(arguments).output().unwrap();
    let (old, out) = (path.to_str().unwrap(), new.to_str().unwrap());
    let checked = run(&["check", old, "--json"]);
    assert_eq!(checked.status.code(), Some(3), "{}", text(&checked.stderr));
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let damaged = report["counts"]["damage"].as_u64().unwrap();
    let messages = report["messages"].as_u64().unwrap();
    assert!(damaged >= 2 && messages >= 46, "{report:#}");

    assert_eq!(run(&["salvage", old, "--out", out]).status.code(), Some(3));
    assert_eq!(fs::read(&path).unwrap(), bytes, "the old one stays");
    let again = run(&["salvage", old, "--out", out]);
    assert_eq!(again.status.code(), Some(1), "a folder that isn't empty is refused");
    let segment = new.join("queue.seg");
    let after = run(&["check", segment.to_str().unwrap(), "--json"]);
    assert_eq!(after.status.code(), Some(0));
    let after: serde_json::Value = serde_json::from_slice(&after.stdout).unwrap();
    assert_eq!(after["messages"].as_u64(), Some(messages));
    for finding in report["findings"].as_array().unwrap() {
        let start = usize::try_from(finding["offset"].as_u64().unwrap()).unwrap();
        let len = usize::try_from(finding["length"].as_u64().unwrap()).unwrap();
        let kept = files(&new.join("quarantine"));
        assert!(kept.values().any(|kept| *kept == bytes[start..start + len]), "{finding}");
    }
    assert_eq!(run(&["audit", out]).status.code(), Some(0));

    // A proof that can't fail proves nothing.
    let quarantined = fs::read_dir(new.join("quarantine")).unwrap().next().unwrap().unwrap().path();
    fs::write(&quarantined, b"x").unwrap();
    assert_eq!(run(&["audit", out]).status.code(), Some(1));
}

/// What is done to a salvaged post office behind its ledger's back is found by its audit.
#[test]
fn an_altered_salvage_is_found() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let old = post_office(folder.path(), 2, "none");
    fs::write(old.join("KEY/INQUEUE3.KEY"), b"short").unwrap();
    let slots = live(&files(&old));
    let slot = slots.iter().find(|slot| slot.bag == "INQUEUE3").unwrap();
    let mai = format!("MAI/MA{}/{}.MAI", &slot.mai[7..], slot.mai);
    let subject = Subject::open(old.to_str().unwrap()).unwrap();
    for (path, what) in [
        (mai.as_str(), "lost"),
        ("MBG/INQUEUE3.MBG", "lost"),
        ("KEY/INQUEUE3.KEY", "wrong"),
        ("LOG/NEW.LOG", "doubled"),
        ("ledger.jsonl", "lost"),
    ] {
        let new = folder.path().join("new");
        salvage::salvage(&subject, &new, &clock(), false).unwrap();
        assert!(salvage::prove(&new, &clock()).unwrap().is_clean());
        let mut bytes = fs::read(new.join(path)).unwrap_or_default();
        if path == "ledger.jsonl" {
            let cut = bytes.len() - 1;
            let last = bytes[..cut].iter().rposition(|byte| *byte == b'\n').unwrap();
            bytes.truncate(last + 1);
        } else if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        fs::write(new.join(path), &bytes).unwrap();
        let proof = salvage::prove(&new, &clock()).unwrap();
        let count = match what {
            "lost" => proof.lost,
            "doubled" => proof.doubled,
            _ => proof.wrong,
        };
        assert!(count > 0, "{path}: {proof:?}");
        fs::remove_dir_all(&new).unwrap();
    }
    let within = old.join("LOG/new");
    assert!(salvage::salvage(&subject, &within, &clock(), false).is_err(), "within the queue");
    fs::write(old.join("P1/INQUEUE3.0LK"), b"of another program").unwrap();
    let new = folder.path().join("held");
    let held = Clock { now: Time(0), ..clock() };
    assert!(salvage::salvage(&subject, &new, &held, false).is_err(), "somebody works there");
}
