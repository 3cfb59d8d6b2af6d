//! All that is in a post office, as it is: its files by what they are, its mailbags with their live
//! slots, each MAI and P1 looked at, and who points to whom.
//!
//! Taken once by reading; `office` says what is wrong with it, salvage rebuilds from it. Not here:
//! judging, and writing. Invariants: names are found as [`crate::queue::postoffice::office`] finds
//! them (in any case, the first by bytes counts); what can't be read is said, and stops nothing; no
//! MAI is held in memory longer than it is looked at.

use super::place::{Place, classify};
use super::shape::FOLDERS;
use crate::limits;
use crate::queue::open;
use crate::queue::postoffice::bag::{self, HexName, Key, RECORD_BYTES, Record};
use crate::queue::postoffice::mai::{self, Mai};
use crate::queue::postoffice::p1::P1;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A file of a post office.
#[derive(Clone, Debug)]
pub struct OldFile {
    /// Its path in the post office, as it is on disk.
    pub path: PathBuf,
    /// The same in upper case.
    pub upper: String,
    /// Its length in bytes.
    pub len: u64,
    /// What it is.
    pub place: Place,
}

/// What is known of an attachment of a MAI.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Name of its ATT.
    pub name: HexName,
    /// Where that name stands in the MAI.
    pub name_at: usize,
    /// Its size as the MAI has it.
    pub size: u32,
    /// Where the four octets of the size stand in the MAI.
    pub size_at: usize,
}

/// What is known of a MAI.
#[derive(Clone, Debug)]
pub struct MaiFacts {
    /// Index of its file.
    pub file: usize,
    /// It isn't in the folder of its last digit.
    pub is_misplaced: bool,
    /// Counter and attachments, or why it isn't good.
    pub read: Result<GoodMai, &'static str>,
}

/// A MAI that can be read.
#[derive(Clone, Debug)]
pub struct GoodMai {
    /// Its reference counter.
    pub counter: u16,
    /// It names somebody in To or Cc.
    pub has_recipients: bool,
    /// Its attachments.
    pub attached: Vec<Attached>,
}

/// What is known of a P1.
#[derive(Clone, Debug)]
pub struct P1Facts {
    /// Index of its file.
    pub file: usize,
    /// The MAI that it names (none where that is no hex name), or why it isn't good.
    pub read: Result<Option<HexName>, &'static str>,
}

/// What is known of an ATT.
#[derive(Clone, Copy, Debug)]
pub struct AttFacts {
    /// Index of its file.
    pub file: usize,
    /// It isn't in the folder of its last digit.
    pub is_misplaced: bool,
}

/// A mailbag.
#[derive(Clone, Debug, Default)]
pub struct BagFacts {
    /// Index of its KEY.
    pub key_file: Option<usize>,
    /// Index of its MBG.
    pub mbg_file: Option<usize>,
    /// Its KEY, where that is long enough.
    pub key: Option<Key>,
    /// Its MBG.
    pub mbg: Vec<u8>,
    /// Slots that are live, of those that are whole.
    pub live: Vec<u32>,
}

impl BagFacts {
    /// The bytes of a slot.
    pub fn record(&self, slot: u32) -> Option<&[u8; RECORD_BYTES]> {
        bag::records(&self.mbg).0.get(slot as usize)
    }
}

/// A post office, looked through.
#[derive(Debug, Default)]
pub struct Survey {
    /// Where it is.
    pub root: PathBuf,
    /// Its folders, in upper case, without those that another name hides.
    pub folders: BTreeSet<String>,
    /// Its files, in the order of their paths.
    pub files: Vec<OldFile>,
    /// What is neither file nor folder, and links to folders.
    pub special: Vec<PathBuf>,
    /// What can't be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    by_upper: HashMap<String, usize>,
    /// Its mailbags by name.
    pub bags: BTreeMap<String, BagFacts>,
    /// By name.
    pub mais: BTreeMap<HexName, MaiFacts>,
    /// By name.
    pub p1s: BTreeMap<HexName, P1Facts>,
    /// By name.
    pub atts: BTreeMap<HexName, AttFacts>,
    /// Live good records by the MAI that they name: bag and slot.
    pub references: BTreeMap<HexName, Vec<(String, u32)>>,
}

impl Survey {
    /// Looks through the post office in a folder.
    pub fn take(root: &Path) -> Self {
        let mut survey = Self { root: root.to_owned(), ..Self::default() };
        survey.walk(Path::new(""), "", 0, true);
        survey.misplaced();
        survey.index();
        survey.bags();
        survey
    }

    /// A file's path on this system.
    pub fn path(&self, file: usize) -> PathBuf {
        self.files.get(file).map_or_else(PathBuf::new, |file| self.root.join(&file.path))
    }

    /// Reads a file; none where it is longer than this.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn read(&self, file: usize, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        read(&self.path(file), bytes_max)
    }

    /// A file by its path in upper case, without those that another name hides.
    pub fn file(&self, upper: &str) -> Option<usize> {
        self.by_upper.get(upper).copied()
    }

    /// True where there is such a file.
    pub fn has(&self, upper: &str) -> bool {
        self.by_upper.contains_key(upper)
    }

    fn walk(&mut self, path: &Path, upper: &str, level: usize, is_first: bool) {
        let listed = self.root.join(path).read_dir().and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let mut names = listed.unwrap_or_else(|error| {
            self.unreadable.push((path.to_owned(), error.to_string()));
            Vec::new()
        });
        names.sort_unstable();
        let mut seen = HashSet::new();
        for name in names {
            let own = name.to_string_lossy().to_ascii_uppercase();
            let is_first = seen.insert(own.clone()) && is_first;
            let upper = if upper.is_empty() { own } else { format!("{upper}/{own}") };
            self.entry(path.join(name), upper, level, is_first);
        }
    }

    fn entry(&mut self, path: PathBuf, upper: String, level: usize, is_first: bool) {
        let full = self.root.join(&path);
        let link = full.symlink_metadata().ok().filter(Metadata::is_symlink);
        let is_link = link.is_some();
        let is_refused =
            |found| link.as_ref().is_some_and(|link| !open::may_be_followed(link, found));
        match full.metadata() {
            Ok(found) if is_refused(&found) => self.special.push(path),
            Ok(found) if found.is_file() => {
                let place = if is_first { classify(&upper) } else { Place::Hidden };
                self.files.push(OldFile { path, upper, len: found.len(), place });
            }
            Ok(found) if found.is_dir() => {
                // A folder on another disk is read; a link to elsewhere may lead in a circle.
                let is_own = FOLDERS.iter().any(|name| upper.split('/').next() == Some(name));
                if is_link && !(is_own && level < 2) {
                    self.special.push(path);
                } else if level >= limits::OFFICE_LEVELS_MAX {
                    self.unreadable.push((path, "it lies too deep".to_owned()));
                } else {
                    self.walk(&path, &upper, level + 1, is_first);
                    if is_first {
                        self.folders.insert(upper);
                    }
                }
            }
            Ok(_) => self.special.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.special.push(path),
            Err(error) => self.unreadable.push((path, error.to_string())),
        }
    }

    /// A MAI or ATT in the folder of another digit counts where its own place is free.
    fn misplaced(&mut self) {
        let taken: HashSet<Place> = self.files.iter().map(|file| file.place.clone()).collect();
        let mut found = HashSet::new();
        for file in &mut self.files {
            let Place::Misplaced(own) = &file.place else { continue };
            if taken.contains(own.as_ref()) || !found.insert(own.as_ref().clone()) {
                file.place = Place::Hidden;
            }
        }
    }

    fn index(&mut self) {
        for (index, file) in self.files.iter().enumerate() {
            if file.place != Place::Hidden {
                self.by_upper.insert(file.upper.clone(), index);
            }
            let (place, is_misplaced) = match &file.place {
                Place::Misplaced(own) => (own.as_ref(), true),
                place => (place, false),
            };
            match place {
                Place::Key(name) => {
                    self.bags.entry(name.clone()).or_default().key_file = Some(index);
                }
                Place::Mbg(name) => {
                    self.bags.entry(name.clone()).or_default().mbg_file = Some(index);
                }
                Place::Mai(name) => {
                    let read = Err("");
                    self.mais.insert(*name, MaiFacts { file: index, is_misplaced, read });
                }
                Place::P1(name) => {
                    self.p1s.insert(*name, P1Facts { file: index, read: Err("") });
                }
                Place::Att(name) => {
                    self.atts.insert(*name, AttFacts { file: index, is_misplaced });
                }
                _ => {}
            }
        }
        let files = &self.files;
        let path = |file: usize| files.get(file).map(|file| self.root.join(&file.path));
        self.mais.par_iter_mut().for_each(|(_, mai)| {
            mai.read = with_file(path(mai.file), limits::MAI_BYTES_MAX, mai_facts);
        });
        self.p1s.par_iter_mut().for_each(|(_, p1)| {
            p1.read = with_file(path(p1.file), limits::P1_BYTES_MAX, |bytes| {
                let p1 = P1::read(bytes).map_err(|_| "its elements are damaged")?;
                Ok(bag::hex_name(p1.mai))
            });
        });
    }

    fn bags(&mut self) {
        let mut bags = std::mem::take(&mut self.bags);
        for (name, bag) in &mut bags {
            for (file, is_key) in [(bag.key_file, true), (bag.mbg_file, false)] {
                let Some(file) = file else { continue };
                let bytes_max = if is_key { limits::KEY_BYTES_MAX } else { u64::MAX - 1 };
                match self.read(file, bytes_max) {
                    Ok(Some(bytes)) if is_key => bag.key = Key::read(&bytes),
                    Ok(Some(bytes)) => bag.mbg = bytes,
                    Ok(None) => {}
                    Err(error) => {
                        let path = self.files.get(file).map(|file| file.path.clone());
                        self.unreadable.push((path.unwrap_or_default(), error.to_string()));
                    }
                }
            }
            bag.live = self.live(bag);
            for slot in &bag.live {
                let mai = bag.record(*slot).and_then(|record| Record::new(record).mai());
                if let Some(mai) = mai {
                    self.references.entry(mai).or_default().push((name.clone(), *slot));
                }
            }
        }
        self.bags = bags;
    }

    /// Slots that are live: by KEY, or where its bitmap is lost what has a P1 or a MAI.
    fn live(&self, bag: &BagFacts) -> Vec<u32> {
        let is_there = |mai| self.p1s.contains_key(&mai) || self.mais.contains_key(&mai);
        let is_live = |(slot, record): &(u32, &[u8; RECORD_BYTES])| {
            let record = Record::new(record);
            let is_left = || !record.is_blank() && record.mai().is_none_or(is_there);
            bag.key.as_ref().map_or_else(is_left, |key| !key.is_deleted(*slot))
        };
        let records = bag::records(&bag.mbg).0;
        (0..).zip(records).filter(is_live).map(|(slot, _)| slot).collect()
    }
}

/// Reads a file; none where it is longer than this.
///
/// # Errors
/// Whatever the system says.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let file = crate::queue::postoffice::office::open(path)?.ok_or(io::ErrorKind::NotFound)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= bytes_max).then_some(bytes))
}

fn with_file<T>(
    path: Option<PathBuf>,
    bytes_max: u64,
    look: impl FnOnce(&[u8]) -> Result<T, &'static str>,
) -> Result<T, &'static str> {
    match read(&path.unwrap_or_default(), bytes_max) {
        Ok(Some(bytes)) => look(&bytes),
        Ok(None) => Err("it is longer than any that is read"),
        Err(_) => Err("the system can't read it"),
    }
}

fn mai_facts(bytes: &[u8]) -> Result<GoodMai, &'static str> {
    let mai = Mai::read(bytes).map_err(|_| "its elements are damaged, or its counter is")?;
    let sizes = mai::attachment_sizes(bytes);
    let mut attached = Vec::new();
    for (index, attachment) in mai.attachments.iter().enumerate() {
        let name = bag::hex_name(attachment.att);
        let size_at = sizes.get(index).cloned().flatten().filter(|at| at.len() == 4);
        let (Some(name), Some(size_at)) = (name, size_at) else {
            return Err("an attachment has no hex name, or no size of four octets");
        };
        let name_at = crate::queue::postoffice::element::range_in(bytes, attachment.att).start;
        let (size, size_at) = (attachment.size, size_at.start);
        attached.push(Attached { name, name_at, size, size_at });
    }
    let has_recipients = !mai.to.is_empty() || !mai.cc.is_empty();
    Ok(GoodMai { counter: mai.counter, has_recipients, attached })
}
