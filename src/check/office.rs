//! What is wrong with a post office that was looked through: MAILINT's list (Q132744), and more.
//!
//! Not here: reading it (`survey`). Invariant: findings come by subject, and within one in the
//! order of names.

use super::place::Place;
use super::shape::{DIGITS, FOLDERS, FOLDERS_OF_USERS, NEEDED, POPULATE, Shape};
use super::survey::{BagFacts, Survey};
use super::{Clock, Finding, Kind, Report, lock};
use crate::queue::postoffice::bag::{
    self, HexName, KEY_BYTES, NAMES_END, RECORD_BYTES, Record, SLOTS_MAX,
};
use crate::queue::postoffice::tables;
use std::collections::{BTreeMap, HashSet};

/// Checks a post office; gives its serial number, too.
pub(super) fn check(survey: &Survey, path: &str, clock: &Clock) -> (Report, Vec<u8>) {
    let mut checker = Checker { survey, path, report: Report::default() };
    checker.report.post_offices = 1;
    checker.report.bytes = survey.files.iter().map(|file| file.len).sum();
    checker.tree();
    checker.files(clock);
    for (name, bag) in &survey.bags {
        checker.bag(name, bag);
    }
    checker.messages();
    checker.attachments();
    checker.numbers();
    let master = survey.file("GLB/MASTER.GLB").map(|file| survey.read(file, 1 << 20));
    let serial = match master {
        Some(Ok(Some(bytes))) => tables::serial(&bytes),
        _ => Vec::new(),
    };
    (checker.report, serial)
}

/// Two post offices have one serial number.
pub(super) fn same_serial(path: &str, first: &str, serial: &[u8]) -> Finding {
    let what = format!("{} is that of {first}, too", String::from_utf8_lossy(serial));
    let file = format!("{path}/GLB/MASTER.GLB");
    Finding { kind: Kind::Serial, file, offset: Some(22), length: Some(11), what }
}

/// The folders that a post office has to have, in upper case.
pub fn folders(survey: &Survey) -> Vec<String> {
    let mut all: Vec<String> = FOLDERS.iter().map(|&folder| folder.to_owned()).collect();
    let has = |folder: &&&str| survey.folders.contains(**folder);
    all.extend(FOLDERS_OF_USERS.iter().filter(has).map(|&folder| folder.to_owned()));
    for digit in DIGITS.chars() {
        all.extend([format!("MAI/MA{digit}"), format!("ATT/AT{digit}")]);
    }
    all.sort_unstable();
    all
}

struct Checker<'s> {
    survey: &'s Survey,
    path: &'s str,
    report: Report,
}

impl Checker<'_> {
    fn find(&mut self, kind: Kind, file: &str, what: impl Into<String>) {
        self.find_at(kind, file, None, what.into());
    }

    fn find_at(&mut self, kind: Kind, file: &str, range: Option<(u64, u64)>, what: String) {
        let file =
            if self.path.is_empty() { file.to_owned() } else { format!("{}/{file}", self.path) };
        let (offset, length) = (range.map(|range| range.0), range.map(|range| range.1));
        self.report.find(Finding { kind, file, offset, length, what });
    }

    /// A finding about a file of the survey.
    fn find_in(&mut self, kind: Kind, file: usize, what: impl Into<String>) {
        let path = self.name(file);
        self.find_at(kind, &path, None, what.into());
    }

    fn name(&self, file: usize) -> String {
        let path = self.survey.files.get(file).map(|file| file.path.to_string_lossy());
        path.unwrap_or_default().into_owned()
    }

    fn tree(&mut self) {
        for folder in folders(self.survey) {
            if !self.survey.folders.contains(&folder) {
                self.find(Kind::FolderMissing, &folder, "");
            } else if !self.survey.has(&format!("{folder}/{POPULATE}")) {
                self.find(Kind::PlaceholderMissing, &format!("{folder}/{POPULATE}"), "");
            }
        }
        for (name, _) in NEEDED {
            if !self.survey.has(name) {
                self.find(Kind::FileMissing, name, "");
            }
        }
        for path in &self.survey.special {
            self.find(Kind::Special, &path.to_string_lossy(), "");
        }
        for (path, why) in &self.survey.unreadable {
            self.find(Kind::Unreadable, &path.to_string_lossy(), why);
        }
    }

    fn files(&mut self, clock: &Clock) {
        for (index, file) in self.survey.files.iter().enumerate() {
            match &file.place {
                Place::Hidden => {
                    let what = "another file has its name, in other case or in its own folder";
                    self.find_in(Kind::Stray, index, what);
                }
                Place::Stray => {
                    self.find_in(Kind::Stray, index, "its name has not 8 hexadecimal digits");
                }
                Place::Misplaced(_) => self.find_in(Kind::Misplaced, index, ""),
                Place::Lock => {
                    let is_held = lock::is_held(&self.survey.path(index), clock);
                    let kind = if is_held { Kind::HeldLock } else { Kind::StaleLock };
                    self.find_in(kind, index, "");
                }
                Place::Other => {
                    if let Some(shape) = Shape::of(&file.upper)
                        && !shape.fits(file.len)
                    {
                        let what = format!("{} bytes, expected {shape}", file.len);
                        self.find_in(Kind::FileSize, index, what);
                    }
                }
                _ => {}
            }
        }
    }

    fn bag(&mut self, name: &str, bag: &BagFacts) {
        let mbg = bag.mbg_file.map_or_else(|| format!("MBG/{name}.MBG"), |file| self.name(file));
        match bag.key_file {
            None => self.find(Kind::KeyMissing, &mbg, format!("KEY/{name}.KEY is missing")),
            Some(file) => {
                let len = self.survey.files.get(file).map_or(0, |file| file.len);
                if len != KEY_BYTES as u64 {
                    let bitmap = if bag.key.is_none() { ", the bitmap is lost" } else { "" };
                    let what = format!("{len} bytes, expected {KEY_BYTES}{bitmap}");
                    self.find_in(Kind::KeySize, file, what);
                }
                if bag.mbg_file.is_none() {
                    self.find_in(Kind::MbgMissing, file, format!("{mbg} is missing"));
                }
            }
        }
        let at = |slot: u32| Some((u64::from(slot) * RECORD_BYTES as u64, RECORD_BYTES as u64));
        let mut seen: HashSet<HexName> = HashSet::new();
        for slot in &bag.live {
            let Some(record) = bag.record(*slot) else { continue };
            let Some(mai) = Record::new(record).mai() else {
                self.find_at(Kind::RecordDamaged, &mbg, at(*slot), format!("slot {slot}"));
                continue;
            };
            let before = self.report.damaged();
            let text = String::from_utf8_lossy(&mai).into_owned();
            if *slot >= SLOTS_MAX {
                self.find_at(Kind::NoBit, &mbg, at(*slot), format!("slot {slot}"));
            }
            if !seen.insert(mai) {
                self.find_at(Kind::MaiTwice, &mbg, at(*slot), format!("slot {slot}: {text}"));
            }
            if !self.survey.mais.contains_key(&mai) {
                self.find_at(Kind::MaiMissing, &mbg, at(*slot), format!("slot {slot}: {text}.MAI"));
            }
            if bag::is_inbound(name) && !self.survey.p1s.contains_key(&mai) {
                self.find_at(Kind::P1Missing, &mbg, at(*slot), format!("slot {slot}: {text}.P1"));
            }
            self.report.messages += u64::from(self.report.damaged() == before);
        }
        let (records, rest) = bag::records(&bag.mbg);
        if !rest.is_empty() {
            let range = Some(((records.len() * RECORD_BYTES) as u64, rest.len() as u64));
            self.find_at(Kind::RecordTorn, &mbg, range, format!("{} bytes", rest.len()));
        }
    }

    fn messages(&mut self) {
        for (name, mai) in &self.survey.mais {
            let references = self.survey.references.get(name).map_or(0, Vec::len);
            match &mai.read {
                Err(why) => self.find_in(Kind::MaiDamaged, mai.file, *why),
                Ok(_) if references == 0 => self.find_in(Kind::MaiOrphan, mai.file, ""),
                Ok(good) if usize::from(good.counter) != references => {
                    let what =
                        format!("{} says the counter, {references} point here", good.counter);
                    let path = self.name(mai.file);
                    self.find_at(Kind::Counter, &path, Some((11, 2)), what);
                }
                Ok(_) => {}
            }
        }
        for (name, p1) in &self.survey.p1s {
            match &p1.read {
                Err(why) => self.find_in(Kind::P1Damaged, p1.file, *why),
                Ok(Some(mai)) if mai != name => {
                    let what = format!("it names {}", String::from_utf8_lossy(mai));
                    self.find_in(Kind::P1Foreign, p1.file, what);
                }
                Ok(_) => {}
            }
            if !self.survey.references.contains_key(name) {
                self.find_in(Kind::P1Orphan, p1.file, "");
            }
        }
    }

    fn attachments(&mut self) {
        let mut owners: BTreeMap<HexName, usize> = BTreeMap::new();
        for mai in self.survey.mais.values() {
            let Ok(good) = &mai.read else { continue };
            for attached in &good.attached {
                let text = format!("{}.ATT", String::from_utf8_lossy(&attached.name));
                let Some(att) = self.survey.atts.get(&attached.name) else {
                    self.find_in(Kind::AttMissing, mai.file, text);
                    continue;
                };
                let len = self.survey.files.get(att.file).map_or(0, |file| file.len);
                if u64::from(attached.size) != len.min(u64::from(u32::MAX)) {
                    let what = format!("{text} has {len} bytes, the MAI says {}", attached.size);
                    self.find_in(Kind::AttSize, mai.file, what);
                }
                if let Some(first) = owners.insert(attached.name, mai.file) {
                    let first = self.name(first);
                    self.find_in(Kind::AttShared, mai.file, format!("{text} is of {first}, too"));
                }
            }
        }
        for (name, att) in &self.survey.atts {
            if !owners.contains_key(name) {
                self.find_in(Kind::AttOrphan, att.file, "");
            }
        }
    }

    fn numbers(&mut self) {
        let Some(file) = self.survey.file("GLB/CONTROL.GLB") else { return };
        let Ok(Some(bytes)) = self.survey.read(file, 1 << 20) else { return };
        let ends = [next_bag(self.survey), next_letter(self.survey)];
        for ((octets, end), at) in bytes.as_chunks::<4>().0.iter().zip(ends).zip([0, 4]) {
            let next = u32::from_le_bytes(*octets);
            if next < end || next >= NAMES_END {
                let range = Some((at, 4));
                let path = self.name(file);
                let what = format!("{next:08X}, and names go up to {:08X}", end.wrapping_sub(1));
                self.find_at(Kind::Number, &path, range, what);
            }
        }
    }
}

/// The first number above the names of all mailbags.
pub fn next_bag(survey: &Survey) -> u32 {
    let names = survey.bags.keys().filter_map(|name| bag::hex_name(name.as_bytes()));
    end_of(names)
}

/// The first number above the names of all MAI, ATT and P1 files.
pub fn next_letter(survey: &Survey) -> u32 {
    let names = survey.mais.keys().chain(survey.atts.keys()).chain(survey.p1s.keys());
    end_of(names.copied())
}

/// The first number above hex names; what isn't below [`bag::NAMES_END`] doesn't count.
pub fn end_of(names: impl Iterator<Item = HexName>) -> u32 {
    let number = |name: HexName| {
        let text = std::str::from_utf8(&name).ok()?;
        u32::from_str_radix(text, 16).ok().filter(|number| *number < NAMES_END - 1)
    };
    names.filter_map(number).max().map_or(0, |last| last + 1)
}
