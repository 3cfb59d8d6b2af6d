//! Proves a salvage: the old queue and the new one are read again, and held against the ledger.
//!
//! Each file and each live record of the old one has one line, and its bytes are where the line
//! says, the same but for the ranges that it names; each file and live record of the new one is
//! named by one line; and a check of the new one finds nothing. Not here: why something was done.
//! Nothing is written.

use super::flat::{self, SEGMENT, See, Thing};
use super::ledger::{self, Became, Header, Line};
use super::{SalvageError, files};
use crate::audit::{Finding, Kind};
use crate::check::place::Place;
use crate::check::survey::{self, Survey};
use crate::check::{self, Clock, Subject};
use crate::limits;
use crate::queue::Queue;
use crate::queue::postoffice::bag::{self, RECORD_BYTES};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// What a proof has found.
#[derive(Debug, Default, Serialize)]
pub struct Proof {
    /// Files of the old queue that were held against the ledger.
    pub files: u64,
    /// Its live records, messages and damaged ranges.
    pub records: u64,
    /// What is nowhere.
    pub lost: u64,
    /// What is in two places, or comes from nowhere.
    pub doubled: u64,
    /// What isn't as it has to be.
    pub wrong: u64,
    /// The first findings.
    pub findings: Vec<Finding>,
}

impl Proof {
    /// True where nothing is lost, doubled or wrong.
    pub const fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.wrong == 0
    }

    fn find(&mut self, kind: Kind, place: impl Into<String>, what: impl Into<String>) {
        *match kind {
            Kind::Lost => &mut self.lost,
            Kind::Doubled => &mut self.doubled,
            Kind::Wrong => &mut self.wrong,
        } += 1;
        if self.findings.len() < limits::FINDINGS_TOLD_MAX {
            self.findings.push(Finding { kind, place: place.into(), what: what.into() });
        }
    }
}

/// Proves the salvage in a folder.
///
/// # Errors
/// The ledger or the old queue can't be read. What is read and isn't right is a finding.
pub fn prove(new: &Path, clock: &Clock) -> Result<Proof, SalvageError> {
    let (header, lines) = read(new)?;
    let mut prover = Prover { new, proof: Proof::default(), named: HashSet::new() };
    let old = ledger::path_of(&header.queue);
    if header.format == "postoffice" {
        prover.offices(&old, &header, &lines);
    } else {
        prover.flat(&old, &header, &lines)?;
    }
    prover.nothing_else(&lines);
    let spec = if header.format == "postoffice" {
        format!("postoffice:{}", new.display())
    } else {
        format!("segment:{}", new.join(SEGMENT).display())
    };
    let report = check::check(&Subject::open(&spec)?, clock)?;
    for finding in report.findings.iter().filter(|finding| !finding.kind.is_note()) {
        prover.proof.find(Kind::Wrong, &finding.file, finding.kind.text());
    }
    Ok(prover.proof)
}

fn read(new: &Path) -> Result<(Header, Vec<Line>), SalvageError> {
    let path = new.join(ledger::NAME);
    let file = File::open(&path).map_err(SalvageError::read(&path))?;
    let mut texts = BufReader::new(file).lines();
    let altered = |line| SalvageError::Ledger { path: path.clone(), line };
    let first = texts.next().ok_or_else(|| altered(1))?.map_err(SalvageError::read(&path))?;
    let header: Header = serde_json::from_str(&first).map_err(|_| altered(1))?;
    if header.version != ledger::VERSION {
        return Err(altered(1));
    }
    let mut lines = Vec::new();
    for (text, number) in texts.zip(2..) {
        let text = text.map_err(SalvageError::read(&path))?;
        lines.push(serde_json::from_str(&text).map_err(|_| altered(number))?);
    }
    Ok((header, lines))
}

struct Prover<'n> {
    new: &'n Path,
    proof: Proof,
    /// Files of the new one that lines name.
    named: HashSet<String>,
}

/// Places of records in the new one: file and offset.
type BySlot = HashSet<(String, u64)>;
/// A line by what it is of: a file of the old one, and where in it.
type ByOld<'l> = HashMap<(String, Option<u64>), &'l Line>;

impl Prover<'_> {
    fn offices(&mut self, old: &Path, header: &Header, lines: &[Line]) {
        let mut by_old: ByOld<'_> = HashMap::new();
        let mut by_slot: BySlot = HashSet::new();
        for line in lines {
            if let Some(name) = &line.old
                && by_old.insert((name.clone(), line.offset), line).is_some()
            {
                self.proof.find(Kind::Doubled, name, "two lines of the ledger are of it");
            }
            if let (Some(name), Some(offset)) = (&line.new, line.new_offset)
                && !by_slot.insert((name.clone(), offset))
            {
                self.proof.find(Kind::Doubled, name, format!("two records at offset {offset}"));
            }
        }
        for office in &header.post_offices {
            self.old_office(&Survey::take(&old.join(office)), office, &mut by_old);
            self.new_office(&Survey::take(&self.new.join(office)), office, &mut by_slot);
        }
        for (name, offset) in by_old.keys() {
            let what = format!("the ledger has it, the old queue hasn't ({offset:?})");
            self.proof.find(Kind::Wrong, name, what);
        }
        for (name, offset) in &by_slot {
            self.proof.find(Kind::Lost, name, format!("no live record at offset {offset}"));
        }
        for line in lines.iter().filter(|line| line.old.is_none()) {
            self.made(line);
        }
    }

    /// Each file and live record of the old one is where the ledger says; takes their lines out.
    fn old_office(&mut self, survey: &Survey, office: &str, by_old: &mut ByOld<'_>) {
        let files = files::Files::new(survey, office, self.new);
        let unreadable: HashSet<&PathBuf> =
            survey.unreadable.iter().map(|(path, _)| path).collect();
        for (index, file) in survey.files.iter().enumerate() {
            self.proof.files += 1;
            let Some(name) = files.old(index) else { continue };
            let Some(line) = by_old.remove(&(name.clone(), None)) else {
                self.proof.find(Kind::Lost, name, "no line of the ledger is of it");
                continue;
            };
            if line.became == Became::LeftOut {
                if file.place != Place::Lock {
                    self.proof.find(Kind::Lost, name, "it was left out, and is no lock");
                }
            } else if line.became == Became::Unreadable {
                if !unreadable.contains(&file.path) && survey::read(&survey.path(index), 0).is_ok()
                {
                    self.proof.find(Kind::Lost, name, "it wasn't read, and could be");
                }
            } else {
                self.compare(&name, &survey.path(index), line);
            }
            if let Some(instead) = &line.instead {
                self.made_file(instead, line.made.as_deref());
            }
        }
        for (bag_name, bag) in &survey.bags {
            let Some(mbg) = bag.mbg_file.and_then(|file| files.old(file)) else { continue };
            let (records, rest) = bag::records(&bag.mbg);
            for slot in &bag.live {
                let offset = u64::from(*slot) * RECORD_BYTES as u64;
                let bytes = bag.record(*slot).map(|record| &record[..]).unwrap_or_default();
                self.range(&mbg, offset, bytes, by_old, bag_name);
            }
            if !rest.is_empty() {
                let offset = (records.len() * RECORD_BYTES) as u64;
                self.range(&mbg, offset, rest, by_old, bag_name);
            }
        }
    }

    /// A record, or what is behind the last one, is where the ledger says.
    fn range(&mut self, file: &str, offset: u64, old: &[u8], by_old: &mut ByOld<'_>, bag: &str) {
        self.proof.records += 1;
        let place = format!("{file}, offset {offset}");
        let Some(line) = by_old.remove(&(file.to_owned(), Some(offset))) else {
            self.proof.find(Kind::Lost, place, "no line of the ledger is of it");
            return;
        };
        let (Some(new), Ok(bytes)) = (&line.new, self.read(line.new.as_deref())) else {
            self.proof.find(Kind::Lost, place, "where the ledger says it is, it isn't");
            return;
        };
        let found = if let Some(at) = line.new_offset {
            if new.rsplit('/').next() != Some(&format!("{bag}.MBG")) {
                self.proof.find(Kind::Wrong, &place, "it came into another bag");
            }
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            bytes.get(at..at.saturating_add(old.len())).unwrap_or_default()
        } else {
            self.name(new);
            &bytes[..]
        };
        if found != old {
            self.proof.find(Kind::Lost, place, "where the ledger says it is, other bytes are");
        }
    }

    /// Live records of the new one have a line each; takes them out.
    fn new_office(&mut self, survey: &Survey, office: &str, by_slot: &mut BySlot) {
        let files = files::Files::new(survey, office, self.new);
        for bag in survey.bags.values() {
            let Some(mbg) = bag.mbg_file.and_then(|file| files.old(file)) else { continue };
            for slot in &bag.live {
                let offset = u64::from(*slot) * RECORD_BYTES as u64;
                if !by_slot.remove(&(mbg.clone(), offset)) {
                    let place = format!("{mbg}, offset {offset}");
                    self.proof.find(Kind::Doubled, place, "a live record that comes from nowhere");
                }
            }
        }
    }

    /// A file of the old one has its bytes in the new one.
    fn compare(&mut self, name: &str, path: &Path, line: &Line) {
        let Some(new) = &line.new else {
            self.proof.find(Kind::Lost, name, "its line doesn't say where it is");
            return;
        };
        self.name(new);
        if line.became == Became::Records {
            return;
        }
        let old = survey::read(path, u64::MAX - 1).ok().flatten();
        let (Some(old), Ok(mut bytes)) = (old, self.read(Some(new))) else {
            self.proof.find(Kind::Lost, name, "it, or what became of it, can't be read");
            return;
        };
        if line.checksum.as_deref() != Some(ledger::checksum(&old).as_str()) {
            self.proof.find(Kind::Wrong, name, "it isn't what it was when it was salvaged");
        }
        if line.became == Became::Corrected {
            for (at, len) in &line.changed {
                // The counter, a hex name, a size: more isn't corrected.
                let start = usize::try_from(*at).unwrap_or(usize::MAX);
                let range =
                    start..start.saturating_add(usize::try_from(*len).unwrap_or(usize::MAX));
                match (bytes.get_mut(range.clone()), old.get(range)) {
                    (Some(now), Some(before)) if *len <= 8 => now.copy_from_slice(before),
                    _ => self.proof.find(Kind::Wrong, name, "more was changed than may be"),
                }
            }
        }
        if old != bytes {
            self.proof.find(Kind::Lost, name, format!("{new} has other bytes"));
        }
    }

    fn made(&mut self, line: &Line) {
        let Some(new) = &line.new else { return };
        let Some(offset) = line.new_offset else {
            self.made_file(new, line.made.as_deref());
            return;
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.read(Some(new)).unwrap_or_default();
        let record = bytes.get(start..start.saturating_add(RECORD_BYTES)).unwrap_or_default();
        if line.made.as_deref() != Some(ledger::checksum(record).as_str()) {
            self.proof.find(Kind::Wrong, new, format!("offset {offset}: not the record made"));
        }
    }

    fn made_file(&mut self, new: &str, checksum: Option<&str>) {
        self.name(new);
        // A mailbag that was made gets its records with their own lines.
        match self.read(Some(new)) {
            Ok(bytes) if Some(ledger::checksum(&bytes).as_str()) == checksum => {}
            _ => self.proof.find(Kind::Wrong, new, "it isn't what was made"),
        }
    }

    fn read(&self, name: Option<&str>) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.new.join(ledger::path_of(name.unwrap_or_default())))
    }

    fn name(&mut self, new: &str) {
        if !self.named.insert(new.to_owned()) {
            self.proof.find(Kind::Doubled, new, "two lines of the ledger lead to it");
        }
    }

    /// No file of the new one is without a line.
    fn nothing_else(&mut self, lines: &[Line]) {
        if lines.iter().any(|line| line.new.as_deref() == Some(SEGMENT)) {
            self.named.insert(SEGMENT.to_owned());
        }
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in self.new.join(&folder).read_dir().into_iter().flatten().flatten() {
                let path = folder.join(entry.file_name());
                let name = ledger::name_of(&path);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if !self.named.contains(&name) && ![ledger::NAME, SEGMENT].contains(&&*name)
                {
                    self.proof.find(Kind::Doubled, name, "no line of the ledger leads to it");
                }
            }
        }
    }

    fn flat(&mut self, old: &Path, header: &Header, lines: &[Line]) -> Result<(), SalvageError> {
        let queue = Queue::open(&format!("{}:{}", header.format, old.display()))?;
        let mut side = Side { things: 0, mismatch: Vec::new(), lines };
        flat::walk(&queue, header.recipients, &mut side)?;
        self.proof.records = side.things as u64;
        for (place, what) in std::mem::take(&mut side.mismatch) {
            self.proof.find(Kind::Lost, place, what);
        }
        for line in lines.get(side.things..).unwrap_or_default() {
            let place = line.old.clone().unwrap_or_default();
            self.proof.find(Kind::Wrong, place, "the ledger has it, the old queue hasn't");
        }
        let new = Queue::open(&format!("segment:{}", self.new.join(SEGMENT).display()))?;
        let mut made = Messages::default();
        flat::walk(&new, header.recipients, &mut made)?;
        let kept = lines.iter().filter(|line| line.became == Became::Copied);
        let kept: Vec<(u64, &str)> = kept
            .map(|line| (line.new_offset.unwrap_or(0), line.checksum.as_deref().unwrap_or("")))
            .collect();
        let found: Vec<(u64, &str)> =
            made.0.iter().map(|(offset, sum)| (*offset, sum.as_str())).collect();
        if kept != found {
            let what = format!("{} messages, {} by the ledger, or others", found.len(), kept.len());
            self.proof.find(Kind::Lost, SEGMENT, what);
        }
        for line in lines.iter().filter(|line| line.became == Became::Quarantined) {
            let Some(new) = &line.new else { continue };
            self.made_file(new, line.checksum.as_deref());
        }
        Ok(())
    }
}

/// The old queue, held against the ledger line by line.
struct Side<'l> {
    things: usize,
    mismatch: Vec<(String, &'static str)>,
    lines: &'l [Line],
}

impl See for Side<'_> {
    fn see(
        &mut self,
        (file, offset, length): flat::Place,
        thing: Thing<'_, '_>,
    ) -> Result<(), SalvageError> {
        let (became, checksum) = match thing {
            Thing::Message(item) => (Became::Copied, Some(flat::checksum_of(&item))),
            Thing::Damage(bytes, _) => (Became::Quarantined, Some(ledger::checksum(bytes))),
            Thing::Unreadable(_) => (Became::Unreadable, None),
        };
        let is_told = self.lines.get(self.things).is_some_and(|line| {
            line.old.as_deref() == Some(&file)
                && (line.offset, line.length) == (Some(offset), Some(length))
                && (line.became, &line.checksum) == (became, &checksum)
        });
        if !is_told {
            let what = "the ledger hasn't it here, or with another checksum";
            self.mismatch.push((format!("{file}, offset {offset}"), what));
        }
        self.things += 1;
        Ok(())
    }
}

/// Messages of the new segment: where, and their checksums.
#[derive(Default)]
struct Messages(Vec<(u64, String)>);

impl See for Messages {
    fn see(
        &mut self,
        (_, offset, _): flat::Place,
        thing: Thing<'_, '_>,
    ) -> Result<(), SalvageError> {
        if let Thing::Message(item) = thing {
            self.0.push((offset, flat::checksum_of(&item)));
        }
        Ok(())
    }
}
