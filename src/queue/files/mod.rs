//! The list of a folder of files that hold one message each: taken once, held compactly, written
//! down with a run's plan.
//!
//! A folder is a Maildir or a tree of files ([`Folder`]). The list has, for each file, its path
//! below the root, its length and the time of its last change, in the order of the paths' bytes:
//! the order doesn't depend on how the system lists a folder. Paths are any bytes.
//!
//! Not here: reading the files, following a folder that changes, and Maildir++ folders within a
//! Maildir (`.Sent/cur`): each is a queue of its own. Symbolic links are followed to files, not to
//! folders (but for `new` and `cur` themselves), and only as `queue::open` says. Unix only.
//!
//! Invariants: paths are ascending without a double; `read_from` of what `write_to` wrote is the
//! same list.
//!
//! Failure: a file that vanishes between listing and looking at it ends the listing with an error:
//! the folder is in use, and a list of it would be true of no moment. What is neither file nor
//! folder (sockets, pipes, devices, links to a folder or to nothing, or of somebody who may not
//! make them) is passed over and counted. A
//! written list with any byte changed is refused.
//!
//! # A list as bytes
//!
//! Numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `INQFILE1` |
//! | 8 | 8 | count of files |
//! | 16 | 8 | what was passed over and counted |
//! | 24 | 8 | n, bytes of all paths |
//! | 32 | 20 each | per file: its path's bytes (4), its length (8), last change in ns (8, signed) |
//! | | n | the paths, one behind the other |
//! | | 4 | CRC32C of everything before |

pub mod ffapi;
mod take;
#[cfg(test)]
mod tests;

use crate::limits;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How a folder holds messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// A Maildir: the files in `cur` and `new`, but those with a leading dot. Not `tmp`, and no
    /// folders within these.
    Maildir,
    /// The files in a folder and, at any depth, in its folders; without files and folders that have
    /// a leading dot.
    Eml,
}

/// One file of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Path below the folder's root, with `/` between its parts: `cur/1767323045.M1P2.host:2,S`.
    pub name: &'a [u8],
    /// Length in bytes.
    pub size: u64,
    /// Last change of the content, in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// The files of a folder: see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileList {
    /// All names, one behind the other.
    names: Vec<u8>,
    slots: Vec<Slot>,
    passed_over: u64,
}

/// A file; its name begins where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    name_end: u64,
    size: u64,
    mtime_ns: i64,
}

const MAGIC: &[u8; 8] = b"INQFILE1";
const HEAD_BYTES: usize = 32;
const SLOT_BYTES: usize = 20;

impl FileList {
    /// Lists the folder `root`.
    ///
    /// # Errors
    /// A folder that can't be read, a file that can't be looked at or has vanished, more than
    /// `limits::FILES_MAX` files.
    pub fn take(root: &Path, folder: Folder) -> Result<Self, FilesError> {
        take::take(root, folder)
    }

    /// A list of these files: by name, length and time of last change.
    fn of(files: &BTreeMap<Vec<u8>, (u64, i64)>, passed_over: u64) -> Self {
        let mut list = Self { passed_over, ..Self::default() };
        for (name, &(size, mtime_ns)) in files {
            // They are in order, and no name is empty.
            let _ = list.push(Entry { name, size, mtime_ns });
        }
        list
    }

    /// The file of this name.
    pub fn find(&self, name: &[u8]) -> Option<Entry<'_>> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.get(middle)?;
            match entry.name.cmp(name) {
                Ordering::Equal => return Some(entry),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Count of files.
    pub fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// True where there is no file.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Things in the folder that are neither file nor folder.
    pub const fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The file at `index`, in the order of names.
    pub fn get(&self, index: u64) -> Option<Entry<'_>> {
        let index = usize::try_from(index).ok()?;
        let slot = self.slots.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.slots.get(before));
        let start = usize::try_from(start.map_or(0, |before| before.name_end)).ok()?;
        let name = self.names.get(start..usize::try_from(slot.name_end).ok()?)?;
        Some(Entry { name, size: slot.size, mtime_ns: slot.mtime_ns })
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.slots.iter().fold(0, |sum, slot| sum.saturating_add(slot.size))
    }

    /// Cuts the list into runs of files, in order and without a gap. A run ends with the file that
    /// brings it to `part_bytes`, or with its `limits::PART_FILES_MAX`th.
    pub fn cut(&self, part_bytes: u64) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let (mut start, mut bytes) = (0, 0_u64);
        for (slot, index) in self.slots.iter().zip(1_u64..) {
            bytes = bytes.saturating_add(slot.size);
            let is_full = index - start >= limits::PART_FILES_MAX as u64;
            if is_full || bytes >= part_bytes || index == self.len() {
                runs.push(start..index);
                (start, bytes) = (index, 0);
            }
        }
        runs
    }

    /// Appends a file; refuses one out of order.
    fn push(&mut self, entry: Entry<'_>) -> Result<(), &'static str> {
        let last = self.len().checked_sub(1).and_then(|last| self.get(last));
        if entry.name.is_empty() || last.is_some_and(|last| last.name >= entry.name) {
            return Err("names out of order");
        }
        self.names.extend_from_slice(entry.name);
        let name_end = self.names.len() as u64;
        self.slots.push(Slot { name_end, size: entry.size, mtime_ns: entry.mtime_ns });
        Ok(())
    }

    /// Appends the list as bytes: see the module.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(HEAD_BYTES + self.slots.len() * SLOT_BYTES + self.names.len() + 4);
        out.extend_from_slice(MAGIC);
        for number in [self.len(), self.passed_over, self.names.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let mut name_start = 0;
        for slot in &self.slots {
            // No system has paths of 4 GiB.
            let len = u32::try_from(slot.name_end - name_start).unwrap_or(u32::MAX);
            name_start = slot.name_end;
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&slot.size.to_le_bytes());
            out.extend_from_slice(&slot.mtime_ns.to_le_bytes());
        }
        out.extend_from_slice(&self.names);
        let checksum = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a list from the bytes that [`FileList::write_to`] wrote, and nothing behind them.
    ///
    /// # Errors
    /// [`FilesError::BadList`] for anything else.
    pub fn read_from(bytes: &[u8]) -> Result<Self, FilesError> {
        read(bytes).map_err(|reason| FilesError::BadList { reason })
    }
}

fn read(bytes: &[u8]) -> Result<FileList, &'static str> {
    const SHORT: &str = "it is cut short";
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(SHORT)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err("its checksum doesn't fit");
    }
    let body = body.strip_prefix(MAGIC).ok_or("it isn't one, or is of another version")?;
    let (count, body) = number(body).ok_or(SHORT)?;
    let (passed_over, body) = number(body).ok_or(SHORT)?;
    let (total_len, body) = number(body).ok_or(SHORT)?;
    let count = usize::try_from(count).map_err(|_| SHORT)?;
    if count > limits::FILES_MAX {
        return Err("it has more files than a queue may have");
    }
    let (slots, mut names) = body.split_at_checked(count * SLOT_BYTES).ok_or(SHORT)?;
    if names.len() as u64 != total_len {
        return Err("its names aren't as long as it says");
    }
    let mut list = FileList {
        names: Vec::with_capacity(names.len()),
        slots: Vec::with_capacity(count),
        passed_over,
    };
    for slot in slots.chunks_exact(SLOT_BYTES) {
        let (len, slot) = slot.split_first_chunk::<4>().ok_or(SHORT)?;
        let (size, slot) = number(slot).ok_or(SHORT)?;
        let (mtime, _) = slot.split_first_chunk::<8>().ok_or(SHORT)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| SHORT)?;
        let (name, behind) = names.split_at_checked(len).ok_or(SHORT)?;
        names = behind;
        list.push(Entry { name, size, mtime_ns: i64::from_le_bytes(*mtime) })?;
    }
    if names.is_empty() { Ok(list) } else { Err("it has names without a file") }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// The name of a message within its queue, from its path in the list. In a Maildir: the file's name
/// without its flags (`:2,S`), which stays the same when a reader moves it from `new` to `cur`.
/// Else the path.
pub fn unique_name(name: &[u8], folder: Folder) -> &[u8] {
    match folder {
        Folder::Eml => name,
        Folder::Maildir => {
            let base = name.rsplit(|&b| b == b'/').next().unwrap_or(name);
            base.split(|&b| b == b':').next().unwrap_or(base)
        }
    }
}

/// Why there is no list. All but the last are operating failures; to run again may help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A folder can't be read.
    #[error("{}: cannot list the folder: {source}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A Maildir without `cur` and without `new`.
    #[error("{}: no Maildir: it has neither cur nor new", path.display())]
    NoMaildir {
        /// The folder.
        path: PathBuf,
    },
    /// A file can't be looked at.
    #[error("{}: cannot look at the file: {source}", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file was listed, and then it was gone.
    #[error("{}: vanished while the folder was listed (is the queue in use?)", path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// No folder holds `KEY` and `MBG`.
    #[error(
        "{}: no post office: neither it nor a folder in it has the folders KEY and MBG",
        path.display()
    )]
    NoPostOffice {
        /// The folder.
        path: PathBuf,
    },
    /// A name that can't be written down.
    #[error("{}: the name isn't UTF-8: rename it", path.display())]
    Name {
        /// The folder.
        path: PathBuf,
    },
    /// More files than `limits::FILES_MAX`.
    #[error("{}: more than {} files: split the queue", path.display(), limits::FILES_MAX)]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// Bytes that are no list, or damaged.
    #[error("cannot read a list of files: {reason}")]
    BadList {
        /// In what way.
        reason: &'static str,
    },
}
