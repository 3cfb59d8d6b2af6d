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
        fs::read_dir(path).unwrap().for_each(|entry| list(&entry.unwrap().path(), out));
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
        10 => {
            let mbg = root.join("MBG/INQUEUE3.MBG");
            let Ok(mut records) = fs::read(&mbg) else { return String::new() };
            let from = numbers.below(records.len() / 116 + 1) * 116;
            let record = records.get(from..from + 116).unwrap_or_default().to_vec();
            records.extend(record);
            write(&mbg, &records);
            return "a record twice".to_owned();
        }
        _ => {
            let path = root.join("P1/INQUEUE3.0LK");
            if !path.parent().unwrap().is_dir() {
                return String::new();
            }
            write(&path, b"another program's");
            let old = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
            return "a stale lock".to_owned();
        }
    };
    write(&path, &bytes);
    format!("{how} {}", path.display())
}

/// All that the independent reader calls whole in the old one is in the new one.
fn nothing_is_lost(old: &BTreeMap<String, Vec<u8>>, new: &BTreeMap<String, Vec<u8>>, what: &str) {
    let new_live = live(new);
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
    }
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let bases: Vec<PathBuf> = (1..=4)
        .map(|seed| post_office(path, seed, if seed > 2 { "all" } else { "none" }))
        .collect();
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
        nothing_is_lost(&before, &after, &what);
        every_mai_is_somewhere(&before, &after, &what);
        fs::remove_dir_all(&old).unwrap();
        fs::remove_dir_all(&new).unwrap();
    }
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
