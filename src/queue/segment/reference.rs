//! Follows references: records whose content lies in another file.
//!
//! The files that a stretch of a segment refers to are opened once, and held while its messages are
//! looked at; after so many of them the stretch ends, and the next begins with none. Not here:
//! making references. A reference to what is gone, shorter or changed leads nowhere: its record is
//! damage.

use crate::limits;
use crate::mail::content::Content;
use crate::queue::bytes::FileBytes;
use elsa::FrozenMap;
use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Files that are referred to.
pub struct References {
    /// Folder of the segment: names are relative to it.
    folder: PathBuf,
    files: FrozenMap<Vec<u8>, Box<FileBytes>>,
    opened: Cell<usize>,
    read_bytes: Cell<usize>,
    stopped_at: Cell<Option<usize>>,
}

impl References {
    /// Those of a segment in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            files: FrozenMap::new(),
            opened: Cell::new(0),
            read_bytes: Cell::new(0),
            stopped_at: Cell::new(None),
        }
    }

    /// Where framing has stopped, because enough files are held.
    pub const fn stopped_at(&self) -> Option<usize> {
        self.stopped_at.get()
    }

    /// Notes that framing stops before the record at `at`, where enough files are held.
    pub(super) fn stops_before(&self, at: usize) -> bool {
        let full = self.opened.get() >= limits::REFERENCED_FILES_MAX
            || self.read_bytes.get() >= limits::REFERENCED_BYTES_MAX;
        if full {
            self.stopped_at.set(Some(at));
        }
        full
    }

    /// The content that a reference leads to, and its checksum where it is that of the reference.
    pub(super) fn follow(&self, reference: &[u8]) -> Option<(Content<'_>, Option<u32>)> {
        let (offset, rest) = reference.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let (quoted, name) = rest.split_first_chunk()?;
        let start = usize::try_from(u64::from_le_bytes(*offset)).ok()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let checksum = u32::from_le_bytes(*checksum);
        let raw = self.file(name)?.bytes().get(start..start.checked_add(length)?)?;
        if crc32c::crc32c(raw) != checksum {
            return None;
        }
        if u32::from_le_bytes(*quoted) == 1 {
            Some((Content::quoted(raw), None))
        } else {
            Some((Content::plain(raw), Some(checksum)))
        }
    }

    fn file(&self, name: &[u8]) -> Option<&FileBytes> {
        if let Some(file) = self.files.get(name) {
            return Some(file);
        }
        // An absolute name stands for itself.
        let path = self.folder.join(OsStr::from_bytes(name));
        let (file, _) = FileBytes::open(&path, Vec::new()).ok()?;
        self.opened.set(self.opened.get() + 1);
        if let FileBytes::Read(bytes) = &file {
            self.read_bytes.set(self.read_bytes.get() + bytes.len());
        }
        Some(self.files.insert(name.to_vec(), Box::new(file)))
    }
}

impl fmt::Debug for References {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("References").field("folder", &self.folder).finish_non_exhaustive()
    }
}
