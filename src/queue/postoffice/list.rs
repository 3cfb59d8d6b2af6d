//! The list of a queue of post offices: their mailbags, the live slots of each with a checksum of
//! its record, and what each post office knows of the world. Taken once, written down with a run's
//! plan.
//!
//! Not here: reading the messages. Invariants: bags stand in the byte order of their names, slots
//! in theirs; `read_from` of what `write_to` wrote is the same list; a written list with any byte
//! changed is refused.
//!
//! # A list as bytes
//!
//! Numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `INQBAGS1` |
//! | 8 | 8 | n, bytes of the head |
//! | 16 | n | the head: JSON, the bags and the tables of the post offices |
//! | | 12 each | per slot: its number, CRC32C of its record, bytes of its MAI by the record |
//! | | 4 | CRC32C of everything before |
//!
//! A slot whose number is that of the first behind the last whole record stands for the rest of the
//! MBG, which is no record.

use super::bag::{self, Key, Record};
use super::office::{Folder, Office};
use super::tables::Tables;
use crate::limits;
use crate::queue::files::FilesError;
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"INQBAGS1";
const SLOT_BYTES: usize = 12;

/// A mailbag of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bag {
    /// Path of its post office in the queue; empty where the queue is the post office.
    pub office: String,
    /// Path of its MBG in the queue, as it is on disk.
    pub name: String,
    /// Its slots in the list.
    pub slots: u64,
}

impl Bag {
    /// The bag's own name in upper case: `INQUEUE3`.
    pub fn bag(&self) -> String {
        let file = self.name.rsplit('/').next().unwrap_or_default();
        file.split('.').next().unwrap_or_default().to_ascii_uppercase()
    }
}

/// A live slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number in its bag.
    pub slot: u32,
    /// CRC32C of its record.
    pub checksum: u32,
    /// Bytes of its MAI, as the record has it.
    pub size: u32,
}

/// The list: see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BagList {
    bags: Vec<Bag>,
    offices: Vec<Tables>,
    slots: Vec<Slot>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    bags: Vec<Bag>,
    offices: Vec<Tables>,
}

impl BagList {
    /// Lists the INQUEUE3 of each post office in and below a folder, or one bag, where `only` names
    /// it.
    ///
    /// # Errors
    /// A folder or file can't be read; there is no post office.
    pub fn take(root: &Path, only: Option<&str>) -> Result<Self, FilesError> {
        let mut offices = Vec::new();
        find_offices(root, "", 0, &mut offices)?;
        offices.sort_unstable();
        if offices.is_empty() {
            return Err(FilesError::NoPostOffice { path: root.to_owned() });
        }
        let mut list = Self::default();
        for path in offices {
            let office = Office::at(&root.join(&path));
            let failed = |source| FilesError::List { path: office.root().to_owned(), source };
            let bag = only.unwrap_or("INQUEUE3");
            list.push_bag(root, &office, &path, bag).map_err(failed)?;
            list.offices.push(Tables::read(&office, path).map_err(failed)?);
        }
        Ok(list)
    }

    fn push_bag(&mut self, root: &Path, office: &Office, path: &str, bag: &str) -> io::Result<()> {
        let mbg_path = office.path(Folder::Mbg, &format!("{bag}.MBG"));
        let name = mbg_path.strip_prefix(root).unwrap_or(&mbg_path).to_string_lossy().into_owned();
        let mut key = Vec::new();
        office.read(Folder::Key, &format!("{bag}.KEY"), limits::KEY_BYTES_MAX, &mut key)?;
        let key = Key::read(&key);
        let mut mbg = Vec::new();
        if let Some(mut file) = super::office::open(&mbg_path)? {
            io::Read::read_to_end(&mut file, &mut mbg)?;
        }
        let before = self.slots.len();
        let (records, rest) = bag::records(&mbg);
        for (slot, record) in (0..).zip(records) {
            let record = Record::new(record);
            let is_live = match &key {
                Some(key) => !key.is_deleted(slot),
                None => is_live_without_key(office, record),
            };
            if is_live {
                let checksum = crc32c::crc32c(record.bytes());
                self.slots.push(Slot { slot, checksum, size: record.size() });
            }
        }
        if !rest.is_empty() {
            let slot = u32::try_from(records.len()).unwrap_or(u32::MAX);
            self.slots.push(Slot { slot, checksum: crc32c::crc32c(rest), size: 0 });
        }
        let slots = (self.slots.len() - before) as u64;
        self.bags.push(Bag { office: path.to_owned(), name, slots });
        Ok(())
    }

    /// The bags, in order.
    pub fn bags(&self) -> &[Bag] {
        &self.bags
    }

    /// What its post offices know, in the order of their paths.
    pub fn offices(&self) -> &[Tables] {
        &self.offices
    }

    /// All slots.
    pub fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// True where no slot is live.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// About how many bytes its messages have.
    pub fn total_bytes(&self) -> u64 {
        self.slots.iter().map(weight).sum()
    }

    /// The slots of a run of them, bag by bag.
    pub fn bags_of(&self, run: Range<u64>) -> impl Iterator<Item = (&Bag, &[Slot])> {
        let mut first = 0;
        self.bags.iter().filter_map(move |bag| {
            let (start, end) = (first.max(run.start), (first + bag.slots).min(run.end));
            first += bag.slots;
            let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
            self.slots.get(range).filter(|slots| !slots.is_empty()).map(|slots| (bag, slots))
        })
    }

    /// Cuts the list into runs of slots, in order and without a gap, of about so many bytes.
    pub fn cut(&self, part_bytes: u64) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let (mut start, mut bytes) = (0, 0_u64);
        for (slot, index) in self.slots.iter().zip(1_u64..) {
            bytes = bytes.saturating_add(weight(slot));
            let is_full = index - start >= limits::PART_FILES_MAX as u64;
            if is_full || bytes >= part_bytes || index == self.len() {
                runs.push(start..index);
                (start, bytes) = (index, 0);
            }
        }
        runs
    }

    /// Appends the list as bytes: see the module.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let head = Head { bags: self.bags.clone(), offices: self.offices.clone() };
        // Strings and numbers: this can't fail.
        let head = serde_json::to_vec(&head).unwrap_or_default();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(head.len() as u64).to_le_bytes());
        out.extend_from_slice(&head);
        for slot in &self.slots {
            for number in [slot.slot, slot.checksum, slot.size] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let checksum = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a list from the bytes that [`BagList::write_to`] wrote, and nothing behind them.
    ///
    /// # Errors
    /// [`FilesError::BadList`] for anything else.
    pub fn read_from(bytes: &[u8]) -> Result<Self, FilesError> {
        read(bytes).map_err(|reason| FilesError::BadList { reason })
    }
}

fn read(bytes: &[u8]) -> Result<BagList, &'static str> {
    const SHORT: &str = "it is cut short";
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(SHORT)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err("its checksum doesn't fit");
    }
    let body = body.strip_prefix(MAGIC).ok_or("it isn't one, or is of another version")?;
    let (len, body) = body.split_first_chunk::<8>().ok_or(SHORT)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| SHORT)?;
    let (head, slots) = body.split_at_checked(len).ok_or(SHORT)?;
    let head: Head = serde_json::from_slice(head).map_err(|_| "its head can't be read")?;
    let (slots, rest) = slots.as_chunks::<SLOT_BYTES>();
    let count: u64 = head.bags.iter().map(|bag| bag.slots).sum();
    if !rest.is_empty() || count != slots.len() as u64 {
        return Err("it hasn't as many slots as it says");
    }
    let number = |octets: &[u8]| octets.iter().rev().fold(0, |sum, o| sum << 8 | u32::from(*o));
    let slots = slots.iter().map(|slot| {
        let (numbers, _) = slot.as_chunks::<4>();
        let at = |index: usize| numbers.get(index).map_or(0, |octets| number(octets));
        Slot { slot: at(0), checksum: at(1), size: at(2) }
    });
    Ok(BagList { bags: head.bags, offices: head.offices, slots: slots.collect() })
}

/// About how many bytes a slot's message has: what its record says, within reason.
fn weight(slot: &Slot) -> u64 {
    const LEAST: u64 = 4096;
    u64::from(slot.size).clamp(LEAST, limits::LOOK_BYTES)
}

/// Where the bitmap is lost, what has a P1 or a MAI is taken for live: nothing may get lost.
fn is_live_without_key(office: &Office, record: Record<'_>) -> bool {
    let is_there = |folder, name| office.named(folder, name).is_file();
    !record.is_blank()
        && record.mai().is_none_or(|mai| is_there(Folder::P1, mai) || is_there(Folder::Mai, mai))
}

/// Levels of folders that are looked through for post offices.
pub const LEVELS_MAX: u32 = 4;

fn find_offices(
    root: &Path,
    path: &str,
    level: u32,
    out: &mut Vec<String>,
) -> Result<(), FilesError> {
    let folder = if path.is_empty() { root.to_owned() } else { root.join(path) };
    if Office::is_one(&folder) {
        out.push(path.to_owned());
        return Ok(());
    }
    if level == LEVELS_MAX {
        return Ok(());
    }
    let failed = |source| FilesError::List { path: folder.clone(), source };
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Links aren't followed: they may lead round in a circle.
        if entry.file_type().map_err(failed)?.is_dir() {
            match entry.file_name().into_string() {
                Ok(name) => names.push(name),
                Err(name) => return Err(FilesError::Name { path: folder.join(name) }),
            }
        }
    }
    names.sort_unstable();
    for name in names {
        let below = if path.is_empty() { name } else { format!("{path}/{name}") };
        find_offices(root, &below, level + 1, out)?;
    }
    Ok(())
}

/// `DIR/MBG/00000005.MBG` taken apart: the post office and the bag's name.
pub fn bag_of_path(path: &Path) -> Option<(PathBuf, String)> {
    let extension = path.extension()?.to_str()?.to_ascii_uppercase();
    let folder = path.parent()?;
    let is_bag = matches!(extension.as_str(), "MBG" | "KEY");
    let root = folder.parent()?;
    let root = if root == Path::new("") { Path::new(".") } else { root };
    (is_bag && Office::is_one(root))
        .then(|| Some((root.to_owned(), path.file_stem()?.to_str()?.to_ascii_uppercase())))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_damage_is_refused() {
        let slots = [3, 7, 9].map(|slot| Slot { slot, checksum: slot * 5, size: 552 });
        let bag = |office: &str, slots| Bag {
            office: office.to_owned(),
            name: format!("{office}/MBG/inqueue3.MBG"),
            slots,
        };
        let list = BagList {
            bags: vec![bag("A", 2), bag("B", 0), bag("C", 1)],
            offices: vec![Tables::default()],
            slots: slots.to_vec(),
        };
        assert_eq!(list.bags()[0].bag(), "INQUEUE3");
        let of = |run| list.bags_of(run).map(|(b, s)| (b.office.as_str(), s.len()));
        assert_eq!(of(0..3).collect::<Vec<_>>(), [("A", 2), ("C", 1)]);
        assert_eq!(of(1..2).collect::<Vec<_>>(), [("A", 1)]);
        assert_eq!(list.cut(8192), [0..2, 2..3]);
        let mut bytes = Vec::new();
        list.write_to(&mut bytes);
        assert_eq!(BagList::read_from(&bytes).unwrap(), list);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(BagList::read_from(&damaged).is_err(), "byte {at}");
        }
    }
}
