//! References: records whose content lies in another file.
//!
//! The files that a stretch of a segment refers to are opened once, and held while its messages are
//! looked at; after so many of them the stretch ends, and the next begins with none. A reference is
//! followed by the rule of links (`queue::open`): a segment is as good as who has made it, and
//! nobody gets a file read by naming it. Not here: which contents are referred to (`spool::refer`).
//! A reference to what is gone, shorter or changed leads nowhere: its record is damage, and
//! [`Lost`] says why.

use crate::limits;
use crate::mail::content::Content;
use crate::queue::bytes::FileBytes;
use crate::queue::open;
use elsa::FrozenMap;
use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What stands in a record in the content's place (docs/segment.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Where the content begins in its file.
    pub offset: u64,
    /// Its length as it lies there.
    pub length: u64,
    /// CRC32C of these bytes.
    pub checksum: u32,
    /// They are quoted as in mboxrd.
    pub is_quoted: bool,
    /// The file: absolute, or relative to the folder of the segment.
    pub name: &'a [u8],
}

impl<'a> Reference<'a> {
    /// Reads one. `None`: it is too short.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let (quoted, name) = rest.split_first_chunk()?;
        Some(Self {
            offset: u64::from_le_bytes(*offset),
            length: u64::from_le_bytes(*length),
            checksum: u32::from_le_bytes(*checksum),
            is_quoted: u32::from_le_bytes(*quoted) == 1,
            name,
        })
    }

    /// Appends it; what is appended behind it goes on with the file's name.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
        out.extend_from_slice(&u32::from(self.is_quoted).to_le_bytes());
        out.extend_from_slice(self.name);
    }

    /// Its bytes within the file that it names.
    fn find<'f>(&self, file: &'f [u8]) -> Result<&'f [u8], String> {
        let start = usize::try_from(self.offset).ok();
        let end = usize::try_from(self.length).ok().and_then(|length| start?.checked_add(length));
        let Some(bytes) = start.zip(end).and_then(|(start, end)| file.get(start..end)) else {
            return Err(format!("the file ends before that, it has {} bytes", file.len()));
        };
        if crc32c::crc32c(bytes) == self.checksum {
            Ok(bytes)
        } else {
            Err("other bytes stand there by now".to_owned())
        }
    }
}

/// Files that a segment refers to.
pub struct References {
    /// Folder of the segment: names are relative to it.
    folder: PathBuf,
    segment: Metadata,
    files: FrozenMap<Vec<u8>, Box<FileBytes>>,
    opened: Cell<usize>,
    read_bytes: Cell<usize>,
    stopped_at: Cell<Option<usize>>,
}

impl References {
    /// Those of a segment.
    ///
    /// # Errors
    /// The segment can't be found.
    pub fn of(segment: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: segment.parent().unwrap_or(Path::new("")).to_owned(),
            segment: segment.metadata()?,
            files: FrozenMap::new(),
            opened: Cell::new(0),
            read_bytes: Cell::new(0),
            stopped_at: Cell::new(None),
        })
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

    /// The content that a reference leads to, if its bytes have the reference's checksum.
    pub(super) fn follow(&self, reference: &Reference<'_>) -> Option<Content<'_>> {
        let raw = reference.find(self.file(reference.name)?.bytes()).ok()?;
        Some(if reference.is_quoted { Content::quoted(raw) } else { Content::plain(raw) })
    }

    /// Why a reference leads nowhere; `None` where it does lead somewhere, by now.
    pub fn lost(&self, queue_id: Vec<u8>, reference: &Reference<'_>) -> Option<Lost> {
        let path = self.path(reference.name);
        let why = match self.open(&path) {
            Err(error) => error.to_string(),
            Ok(file) => reference.find(file.bytes()).err()?,
        };
        let (offset, length) = (reference.offset, reference.length);
        Some(Lost { queue_id, path, offset, length, why })
    }

    /// An absolute name stands for itself.
    fn path(&self, name: &[u8]) -> PathBuf {
        self.folder.join(OsStr::from_bytes(name))
    }

    fn open(&self, path: &Path) -> io::Result<FileBytes> {
        let (file, found) = open::named(path, &self.segment)?;
        FileBytes::of(&file, found.len(), Vec::new())
    }

    fn file(&self, name: &[u8]) -> Option<&FileBytes> {
        if let Some(file) = self.files.get(name) {
            return Some(file);
        }
        let file = self.open(&self.path(name)).ok()?;
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

/// A content that a reference leads to no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The message's name, as it is written.
    pub queue_id: Vec<u8>,
    /// The file that it lay in.
    pub path: PathBuf,
    /// Where it lay there.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// What is wrong with the file.
    pub why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, length, why, .. } = self;
        write!(f, "{}, offset {offset}, {length} bytes: {why}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_reference_is_read_as_it_was_written_and_none_is_too_short() {
        let reference = Reference {
            offset: 0x0102_0304_0506_0708,
            length: u64::MAX,
            checksum: 0xE306_9283,
            is_quoted: true,
            name: b"../queue \xff.mbox",
        };
        let mut bytes = Vec::new();
        reference.append(&mut bytes);
        assert_eq!(bytes[..8], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[16..24], [0x83, 0x92, 0x06, 0xE3, 1, 0, 0, 0]);
        assert_eq!(Reference::read(&bytes), Some(reference));
        assert_eq!(Reference::read(&bytes[..24]).unwrap().name, b"");
        assert_eq!(Reference::read(&bytes[..23]), None);
    }

    #[test]
    fn what_a_reference_lacks_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("queue.seg"), b"").unwrap();
        fs::write(at("mbox"), b"From x\nabc").unwrap();
        let references = References::of(&at("queue.seg")).unwrap();
        let check = |name: &str, offset, length, expect: &str| {
            let (checksum, is_quoted) = (crc32c::crc32c(b"abc"), false);
            let name = name.as_bytes();
            let reference = Reference { offset, length, checksum, is_quoted, name };
            let lost = references.lost(b"id".to_vec(), &reference).map(|lost| lost.to_string());
            let is_there = references.follow(&reference).map(|content| content.raw().to_vec());
            assert_eq!(is_there.is_some(), lost.is_none());
            let said = lost.unwrap_or_default();
            assert!(said.ends_with(expect) && (expect.is_empty() || said.contains('/')), "{said}");
        };
        check("mbox", 7, 3, "");
        check("./mbox", 7, 3, "");
        check(at("mbox").to_str().unwrap(), 7, 3, "");
        check("mbox", 6, 3, "mbox, offset 6, 3 bytes: other bytes stand there by now");
        check("mbox", 8, 3, "offset 8, 3 bytes: the file ends before that, it has 10 bytes");
        check("mbox", u64::MAX, 3, "the file ends before that, it has 10 bytes");
        check("mbox", 3, u64::MAX, "the file ends before that, it has 10 bytes");
        check("none", 7, 3, "none, offset 7, 3 bytes: No such file or directory (os error 2)");
        check(".", 7, 3, "it is not a regular file");
    }
}
