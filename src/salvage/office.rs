//! Rebuilds one post office, by its plan.
//!
//! Not here: what becomes of a message (`plan`), how files are written (`files`). Invariants: each
//! file of the old one has one line in the ledger, and so has each live record; what the new one
//! has under a name is written once.

use super::SalvageError;
use super::files::{Files, QUARANTINE};
use super::ledger::{self, Became, Line};
use super::plan::{Letter, MaiFate, P1Fate, Plan, why};
use super::stub;
use crate::check::office::{end_of, folders, next_bag, next_letter};
use crate::check::place::Place;
use crate::check::shape::{NEEDED, POPULATE, Shape};
use crate::check::survey::{GoodMai, Survey};
use crate::limits;
use crate::mail::date::Time;
use crate::queue::postoffice::bag::{
    self, HexName, Key, NAMES_END, RECORD_BYTES, Record, SLOTS_MAX, hex_name_of,
};
use crate::queue::postoffice::element::range_in;
use crate::queue::postoffice::mai::{COUNTER_AT, Mai};
use crate::queue::postoffice::office::{Folder, file_name};
use crate::queue::postoffice::p1::P1;
use std::collections::HashSet;
use std::path::Path;

/// Changes of a file's bytes: where, and into what.
type Changes = Vec<(usize, Vec<u8>)>;

/// Rebuilds a post office in the new folder; gives its lines of the ledger.
pub(super) fn rebuild(
    survey: &Survey,
    office: &str,
    new: &Path,
    now: Time,
) -> Result<Vec<Line>, SalvageError> {
    let plan = Plan::of(survey);
    let mut rebuilder = Rebuilder {
        files: Files::new(survey, office, new),
        survey,
        plan: &plan,
        now,
        next_letter: next_name(survey, &plan),
        kept_atts: HashSet::new(),
        queued: Vec::new(),
    };
    rebuilder.tree()?;
    for (name, letter) in &plan.letters {
        rebuilder.letter(*name, letter)?;
    }
    for (file, why) in &plan.stray_p1s {
        // What was made in its place stands in the ledger with the message.
        rebuilder.files.set_aside(*file, why, None)?;
    }
    for (name, att) in &survey.atts {
        if !rebuilder.kept_atts.contains(name) {
            rebuilder.files.set_aside(att.file, "no MAI that was kept names it", None)?;
        }
    }
    let mut bags: Vec<&str> = survey.bags.keys().map(String::as_str).collect();
    if !plan.queued.is_empty() && !survey.bags.contains_key("INQUEUE3") {
        bags.push("INQUEUE3");
    }
    for bag in bags {
        rebuilder.bag(bag)?;
    }
    rebuilder.others()?;
    Ok(rebuilder.files.lines)
}

struct Rebuilder<'s> {
    files: Files<'s>,
    survey: &'s Survey,
    plan: &'s Plan,
    now: Time,
    /// The next name for a file of a message.
    next_letter: u32,
    /// Attachments that are in the new one under their names.
    kept_atts: HashSet<HexName>,
    /// Records that are new in INQUEUE3, by their slots.
    queued: Vec<(u32, [u8; RECORD_BYTES])>,
}

impl Rebuilder<'_> {
    fn tree(&mut self) -> Result<(), SalvageError> {
        for folder in folders(self.survey) {
            self.files.folder(&folder)?;
            let placeholder = format!("{folder}/{POPULATE}");
            if !self.survey.has(&placeholder) {
                self.files.made(&placeholder, b" ", "it was missing")?;
            }
        }
        for (name, len) in NEEDED {
            if !self.survey.has(name) && name != "GLB/CONTROL.GLB" {
                self.files.made(name, &vec![0; len], "it was missing: an empty one")?;
            }
        }
        Ok(())
    }

    fn letter(&mut self, name: HexName, letter: &Letter) -> Result<(), SalvageError> {
        let facts = self.survey.mais.get(&name);
        let mai_path = path_of(Folder::Mai, name);
        let p1 = letter.p1_file.and_then(|(file, _)| self.read(file, limits::P1_BYTES_MAX));
        let mut bytes = facts.and_then(|facts| self.read(facts.file, limits::MAI_BYTES_MAX));
        match (letter.mai, facts) {
            (MaiFate::Keep, Some(facts)) => {
                let good = facts.read.as_ref().ok();
                let old = bytes.clone().unwrap_or_default();
                let mut changes = self.attachments(good)?;
                let counter = letter.references();
                changes.push((COUNTER_AT, counter.to_le_bytes().to_vec()));
                let (ranges, new) = apply(&old, &changes);
                self.corrected(facts.file, &mai_path, &old, &new, ranges)?;
                bytes = Some(new);
            }
            (MaiFate::Stub, _) => {
                let left = bytes.as_deref().and_then(|bytes| Mai::read(bytes).ok());
                let p1 = p1.as_deref().and_then(|bytes| P1::read(bytes).ok());
                let record = letter.records.first().and_then(|(bag, slot)| {
                    self.survey.bags.get(bag).and_then(|bag| bag.record(*slot)).map(Record::new)
                });
                let stub = stub::mai(name, letter.references(), left.as_ref(), p1.as_ref(), record);
                if let Some(facts) = facts {
                    let why = facts.read.as_ref().err().copied().unwrap_or_default();
                    self.files.set_aside(facts.file, why, Some((&mai_path, &stub)))?;
                } else {
                    self.files.made(&mai_path, &stub, "the MAI was missing: a stub")?;
                }
                bytes = Some(stub);
            }
            (MaiFate::Quarantine(why), Some(facts)) => {
                self.files.set_aside(facts.file, why, None)?;
            }
            _ => {}
        }
        let bytes = bytes.unwrap_or_default();
        self.envelope(name, letter, &bytes, p1)?;
        if letter.is_queued_again
            && let Some((_, slot)) = self.plan.queued.iter().find(|(queued, _)| *queued == name)
        {
            let mai = Mai::read(&bytes).unwrap_or_default();
            self.queued.push((*slot, stub::record(name, &mai, bytes.len())));
        }
        Ok(())
    }

    /// Reads a file; none where that can't be done.
    fn read(&self, file: usize, bytes_max: u64) -> Option<Vec<u8>> {
        self.survey.read(file, bytes_max).ok().flatten()
    }

    fn envelope(
        &mut self,
        name: HexName,
        letter: &Letter,
        mai: &[u8],
        p1: Option<Vec<u8>>,
    ) -> Result<(), SalvageError> {
        let path = path_of(Folder::P1, name);
        let file = letter.p1_file.map(|(file, _)| file);
        let old = p1.unwrap_or_default();
        match (letter.p1, letter.p1_file) {
            (P1Fate::Keep, Some((file, is_renamed))) => {
                let mut changes = Changes::new();
                if is_renamed && let Ok(p1) = P1::read(&old) {
                    changes.push((range_in(&old, p1.mai).start, name.to_vec()));
                }
                let (ranges, new) = apply(&old, &changes);
                self.corrected(file, &path, &old, &new, ranges)
            }
            (P1Fate::Again, Some((file, _))) => match stub::p1_again(name, &old, self.now) {
                Some(new) => self.files.set_aside(file, why::REWRITTEN_P1, Some((&path, &new))),
                None => self.files.set_aside(file, why::DONE_P1, None),
            },
            (P1Fate::Make(why), file) => {
                let mai = Mai::read(mai).unwrap_or_default();
                let record = letter.records.first().and_then(|(bag, slot)| {
                    self.survey.bags.get(bag).and_then(|bag| bag.record(*slot)).map(Record::new)
                });
                let arrival = record.and_then(Record::date);
                let new = stub::p1(name, &mai, arrival, self.now);
                match file {
                    Some((file, _)) => self.files.set_aside(file, why, Some((&path, &new))),
                    None => self.files.made(&path, &new, why),
                }
            }
            (P1Fate::Quarantine(why), _) => {
                file.map_or(Ok(()), |file| self.files.set_aside(file, why, None))
            }
            _ => Ok(()),
        }
    }

    /// Writes what a file is now, and notes where it differs.
    fn corrected(
        &mut self,
        file: usize,
        path: &str,
        old: &[u8],
        new: &[u8],
        changed: Vec<(u64, u64)>,
    ) -> Result<(), SalvageError> {
        let name = self.files.write(path, new)?;
        let became = if changed.is_empty() { Became::Copied } else { Became::Corrected };
        let why = if changed.is_empty() { "" } else { "numbers and names set right" };
        self.files.lines.push(Line {
            old: self.files.old(file),
            length: Some(old.len() as u64),
            checksum: Some(ledger::checksum(old)),
            new: Some(name),
            changed,
            ..Line::new(became, why.to_owned())
        });
        Ok(())
    }

    /// Writes the attachments of a MAI; gives what has to be changed in it.
    fn attachments(&mut self, good: Option<&GoodMai>) -> Result<Changes, SalvageError> {
        let mut changes = Changes::new();
        for attached in good.iter().flat_map(|good| &good.attached) {
            let att = self.survey.atts.get(&attached.name);
            let is_first = self.kept_atts.insert(attached.name);
            let name = if is_first { attached.name } else { self.name_for_att() };
            let path = path_of(Folder::Att, name);
            let len = match att.map(|att| att.file) {
                Some(file) if is_first => {
                    self.files.copy(file, &path, "")?;
                    self.survey.files.get(file).map_or(0, |file| file.len)
                }
                Some(file) => {
                    let bytes = self.read(file, limits::ATT_BYTES_MAX);
                    let bytes = bytes.as_deref().unwrap_or(stub::ATT);
                    self.files.made(&path, bytes, "two messages had one ATT: a copy")?;
                    bytes.len() as u64
                }
                None => {
                    self.files.made(&path, stub::ATT, "the attachment was missing: a stub")?;
                    stub::ATT.len() as u64
                }
            };
            if name != attached.name {
                changes.push((attached.name_at, name.to_vec()));
            }
            let size = u32::try_from(len).unwrap_or(u32::MAX);
            changes.push((attached.size_at, size.to_le_bytes().to_vec()));
        }
        Ok(changes)
    }

    fn name_for_att(&mut self) -> HexName {
        self.next_letter += 1;
        hex_name_of(self.next_letter - 1)
    }

    fn bag(&mut self, name: &str) -> Result<(), SalvageError> {
        let nothing = crate::check::survey::BagFacts::default();
        let bag = self.survey.bags.get(name).unwrap_or(&nothing);
        let mbg_path = format!("MBG/{name}.MBG");
        let old_mbg = bag.mbg_file.and_then(|file| self.files.old(file)).unwrap_or_default();
        let is_key_good = bag.key.is_some() && bag.mbg_file.is_some();
        let mut key = bag.key.clone().filter(|_| is_key_good).unwrap_or_else(Key::empty);
        let (records, rest) = bag::records(&bag.mbg);
        let kept = records.get(..records.len().min(SLOTS_MAX as usize)).unwrap_or_default();
        let mut mbg = kept.as_flattened().to_vec();
        if !is_key_good {
            (0..SLOTS_MAX).take(kept.len()).for_each(|slot| key.set_deleted(slot, true));
        }
        let moved = self.plan.moved.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut live = 0;
        for slot in &bag.live {
            let record = bag.record(*slot).map(|record| record.to_vec()).unwrap_or_default();
            let offset = u64::from(*slot) * RECORD_BYTES as u64;
            if let Some(why) = self.plan.dropped.get(&(name.to_owned(), *slot)) {
                key.set_deleted(*slot, true);
                self.files.set_aside_range((old_mbg.clone(), offset), &record, why)?;
                continue;
            }
            let to = moved.iter().find(|(from, _)| from == slot).map_or(*slot, |(_, to)| *to);
            put(&mut mbg, &mut key, to, &record);
            live += 1;
            self.files.lines.push(Line {
                old: Some(old_mbg.clone()),
                offset: Some(offset),
                length: Some(RECORD_BYTES as u64),
                checksum: Some(ledger::checksum(&record)),
                new: Some(self.files.name(&mbg_path)),
                new_offset: Some(u64::from(to) * RECORD_BYTES as u64),
                ..Line::new(Became::Copied, String::new())
            });
        }
        if !rest.is_empty() {
            let offset = (records.len() * RECORD_BYTES) as u64;
            let why = "behind the last whole record";
            self.files.set_aside_range((old_mbg, offset), rest, why)?;
        }
        let queued = if name == "INQUEUE3" { std::mem::take(&mut self.queued) } else { Vec::new() };
        for (slot, record) in &queued {
            put(&mut mbg, &mut key, *slot, record);
            self.files.lines.push(Line {
                new: Some(self.files.name(&mbg_path)),
                new_offset: Some(u64::from(*slot) * RECORD_BYTES as u64),
                made: Some(ledger::checksum(record)),
                ..Line::new(Became::Made, why::LOST_RECORD.to_owned())
            });
        }
        let counted = if is_key_good { queued.len() } else { live + queued.len() };
        key.count_new(u16::try_from(counted).unwrap_or(u16::MAX));
        self.bag_files(name, bag, &mbg, &key)
    }

    fn bag_files(
        &mut self,
        name: &str,
        bag: &crate::check::survey::BagFacts,
        mbg: &[u8],
        key: &Key,
    ) -> Result<(), SalvageError> {
        let (key_path, mbg_path) = (format!("KEY/{name}.KEY"), format!("MBG/{name}.MBG"));
        match bag.key_file {
            None => self.files.made(&key_path, key.bytes(), "it was missing: rebuilt")?,
            Some(file) => {
                let old = self.read(file, limits::KEY_BYTES_MAX);
                if old.as_deref() == Some(key.bytes().as_slice()) {
                    self.files.copy(file, &key_path, "")?;
                } else {
                    let why = "its size or its bits had to be set right";
                    self.files.set_aside(file, why, Some((&key_path, key.bytes())))?;
                }
            }
        }
        match bag.mbg_file {
            None => self.files.made(&mbg_path, mbg, "it was missing"),
            Some(file) if bag.mbg == mbg => self.files.copy(file, &mbg_path, ""),
            Some(file) => {
                let new = Some(self.files.write(&mbg_path, mbg)?);
                self.files.lines.push(Line {
                    old: self.files.old(file),
                    length: Some(bag.mbg.len() as u64),
                    checksum: Some(ledger::checksum(&bag.mbg)),
                    new,
                    ..Line::new(Became::Records, "its records have their own lines".to_owned())
                });
                Ok(())
            }
        }
    }

    /// Files that are no mail.
    fn others(&mut self) -> Result<(), SalvageError> {
        for (index, file) in self.survey.files.iter().enumerate() {
            let first = file.upper.split('/').next().unwrap_or_default();
            match &file.place {
                Place::Lock => {
                    let line = Line::new(Became::LeftOut, "a stale lock".to_owned());
                    self.files.lines.push(Line { old: self.files.old(index), ..line });
                }
                Place::Hidden => {
                    self.files.set_aside(index, "another file counts under its name", None)?;
                }
                Place::Stray => self.files.set_aside(index, "no name leads to it", None)?,
                Place::Other if first.eq_ignore_ascii_case(QUARANTINE) => {
                    self.files.set_aside(index, "of an earlier salvage", None)?;
                }
                Place::Other if first.eq_ignore_ascii_case(ledger::NAME) => {
                    self.files.set_aside(index, "of an earlier salvage", None)?;
                }
                Place::Other if file.upper == "GLB/CONTROL.GLB" => self.control(Some(index))?,
                Place::Other => {
                    let path = self.files.new_path(index);
                    match Shape::of(&file.upper) {
                        Some(shape) if !shape.fits(file.len) => {
                            self.reshape(index, shape, &path)?;
                        }
                        _ => self.files.copy(index, &path, "")?,
                    }
                }
                _ => {}
            }
        }
        if self.survey.has("GLB/CONTROL.GLB") { Ok(()) } else { self.control(None) }
    }

    /// Fills a file up to its head, or cuts it to whole records.
    fn reshape(&mut self, file: usize, shape: Shape, path: &str) -> Result<(), SalvageError> {
        let mut bytes = self.read(file, limits::CONFIGURATION_BYTES_MAX).unwrap_or_default();
        bytes.resize(usize::try_from(shape.cut(bytes.len() as u64)).unwrap_or(0), 0);
        let why = "no whole number of records: cut, or filled up with zeros";
        self.files.set_aside(file, why, Some((path, &bytes)))
    }

    /// Names that are given next are above all that are there.
    fn control(&mut self, file: Option<usize>) -> Result<(), SalvageError> {
        const PATH: &str = "GLB/CONTROL.GLB";
        let old = match file {
            Some(file) => self.read(file, limits::CONFIGURATION_BYTES_MAX),
            None => None,
        };
        let old = old.unwrap_or_default();
        let mut new = old.clone();
        new.resize(8, 0);
        let (numbers, _) = new.as_chunks_mut::<4>();
        for (octets, end) in numbers.iter_mut().zip([next_bag(self.survey), self.next_letter]) {
            let next = u32::from_le_bytes(*octets);
            let next = if next < NAMES_END { next.max(end) } else { end };
            *octets = next.to_le_bytes();
        }
        match file {
            Some(file) if old == new => self.files.copy(file, PATH, ""),
            Some(file) => {
                let why = "its size had to be set right, or its numbers raised";
                self.files.set_aside(file, why, Some((PATH, &new)))
            }
            None => self.files.made(PATH, &new, "it was missing: rebuilt from all names"),
        }
    }
}

/// The first number above all names, of files and of what is to be made.
fn next_name(survey: &Survey, plan: &Plan) -> u32 {
    let good = survey.mais.values().filter_map(|mai| mai.read.as_ref().ok());
    let attached = good.flat_map(|good| &good.attached).map(|attached| attached.name);
    next_letter(survey).max(end_of(plan.letters.keys().copied().chain(attached)))
}

fn path_of(folder: Folder, name: HexName) -> String {
    let file = file_name(folder, name);
    let digit = char::from(name.last().copied().unwrap_or(b'0'));
    match folder {
        Folder::Mai => format!("MAI/MA{digit}/{file}"),
        Folder::Att => format!("ATT/AT{digit}/{file}"),
        _ => format!("{}/{file}", folder.name()),
    }
}

/// Changes bytes; gives where they differ now.
fn apply(old: &[u8], changes: &Changes) -> (Vec<(u64, u64)>, Vec<u8>) {
    let mut new = old.to_vec();
    let mut ranges = Vec::new();
    for (at, bytes) in changes {
        if let Some(place) = new.get_mut(*at..at + bytes.len())
            && place != bytes.as_slice()
        {
            place.copy_from_slice(bytes);
            ranges.push((*at as u64, bytes.len() as u64));
        }
    }
    (ranges, new)
}

/// Puts a record into a slot, and makes it live.
fn put(mbg: &mut Vec<u8>, key: &mut Key, slot: u32, record: &[u8]) {
    let at = slot as usize * RECORD_BYTES;
    if mbg.len() < at + RECORD_BYTES {
        // A slot between that nobody has: none, as slots behind the last are given in order.
        mbg.resize(at + RECORD_BYTES, 0);
    }
    if let Some(place) = mbg.get_mut(at..at + RECORD_BYTES) {
        place.copy_from_slice(record);
    }
    key.set_deleted(slot, false);
}
