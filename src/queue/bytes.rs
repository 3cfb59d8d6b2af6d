//! The bytes of a queue file: mapped where the file is big, read where it is small.
//!
//! Not here: what the bytes mean. Invariant: a [`FileBytes`] is as long as the file was when its
//! identity was taken. A file that another process shortens while it is mapped kills the process by
//! SIGBUS: no program can rule that out; it is what the second fence is for. A file that was
//! changed between plan and now is told by its [`Identity`].

use super::open;
use crate::{limits, sys};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Time of last change of the content, in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

impl Identity {
    /// Of a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: metadata.mtime().saturating_mul(1_000_000_000) + metadata.mtime_nsec(),
        }
    }

    /// Of the file at a path.
    pub fn at(path: &Path) -> io::Result<Self> {
        path.metadata().map(|metadata| Self::of(&metadata))
    }
}

/// A file's bytes.
#[derive(Debug)]
pub enum FileBytes {
    /// Mapped, read only.
    Mapped(Mmap),
    /// Read into memory.
    Read(Vec<u8>),
}

impl FileBytes {
    /// Opens a file, and says what it is. Files from [`limits::MAP_BYTES_MIN`] on are mapped;
    /// smaller ones are read into `buffer`, whose memory is used again.
    ///
    /// # Errors
    /// Whatever the system says; also when the file grew or shrank while it was read, and a
    /// refusal of [`open`].
    pub fn open(path: &Path, buffer: Vec<u8>) -> io::Result<(Self, Identity)> {
        Self::of(open::to_read(path)?, buffer)
    }

    /// The bytes of a file that is open, and what it is; as with [`Self::open`].
    ///
    /// # Errors
    /// Whatever the system says; also when the file grew or shrank while it was read.
    pub fn of(mut file: File, buffer: Vec<u8>) -> io::Result<(Self, Identity)> {
        let identity = Identity::of(&file.metadata()?);
        let bytes = if identity.size >= limits::MAP_BYTES_MIN {
            Self::map(&file)?
        } else {
            Self::read(&mut file, identity.size, buffer)?
        };
        Ok((bytes, identity))
    }

    /// Maps a file.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn map(file: &File) -> io::Result<Self> {
        Ok(Self::Mapped(sys::map(file)?))
    }

    /// Reads a file of this size, into memory that is used again.
    ///
    /// # Errors
    /// Whatever the system says; also when the file is of another size.
    pub fn read(file: &mut File, size: u64, mut buffer: Vec<u8>) -> io::Result<Self> {
        buffer.clear();
        read_exactly(file, size, &mut buffer)?;
        Ok(Self::Read(buffer))
    }

    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(buffer) => buffer,
        }
    }

    /// The memory, to be used again, where there is some.
    pub fn into_buffer(self) -> Vec<u8> {
        match self {
            Self::Mapped(_) => Vec::new(),
            Self::Read(buffer) => buffer,
        }
    }
}

/// Appends exactly `size` bytes of a file to a buffer.
pub(crate) fn read_exactly(file: &mut File, size: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::try_from(size).map_err(io::Error::other)?;
    buffer.reserve(len + 1);
    let start = buffer.len();
    file.take(size + 1).read_to_end(buffer)?;
    if buffer.len() - start == len {
        return Ok(());
    }
    Err(io::Error::other("the file changed while it was read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn small_files_are_read_and_big_ones_mapped() {
        let folder = tempfile::tempdir().unwrap();
        for (size, mapped) in [(0, false), (100, false), (limits::MAP_BYTES_MIN, true)] {
            let path = folder.path().join(size.to_string());
            let content = vec![7_u8; usize::try_from(size).unwrap()];
            File::create(&path).unwrap().write_all(&content).unwrap();
            let (bytes, identity) = FileBytes::open(&path, Vec::new()).unwrap();
            assert_eq!(bytes.bytes(), content);
            assert_eq!(matches!(bytes, FileBytes::Mapped(_)), mapped);
            assert_eq!(identity, Identity::at(&path).unwrap());
        }
    }
}
