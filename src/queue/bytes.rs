//! The bytes of a queue file: mapped where the file is big, read where it is small.
//!
//! Not here: what the bytes mean. Invariant: a [`FileBytes`] is as long as the file was when its
//! identity was taken. A file that another process shortens while it is mapped kills the process by
//! SIGBUS: no program can rule that out; it is what the second fence is for. A file that was
//! changed between plan and now is told by its [`Identity`].

use super::open;
use crate::{limits, sys};
use memmap2::Mmap;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io::{self, IoSliceMut, Read};
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
        let (file, found) = open::looked_at(path)?;
        Ok((Self::of(&file, found.len(), buffer)?, Identity::of(&found)))
    }

    /// The bytes of a file that is open and has this size; as with [`Self::open`].
    ///
    /// # Errors
    /// Whatever the system says; also when the file grew or shrank while it was read.
    pub fn of(file: &File, size: u64, buffer: Vec<u8>) -> io::Result<Self> {
        if size >= limits::MAP_BYTES_MIN { Self::map(file) } else { Self::read(file, size, buffer) }
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
    pub fn read(file: &File, size: u64, mut buffer: Vec<u8>) -> io::Result<Self> {
        let len = usize::try_from(size).map_err(io::Error::other)?;
        buffer.resize(len + 1, 0);
        read_exactly(file, &mut buffer)?;
        buffer.truncate(len);
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

/// Reads a whole file into a place that is longer than it by one byte, which shows that nothing
/// more comes.
///
/// # Errors
/// Whatever the system says; also when the file is of another size.
pub(crate) fn read_exactly(mut file: &File, place: &mut [u8]) -> io::Result<()> {
    let size = place.len().saturating_sub(1);
    let mut read = 0;
    while let Some(rest) = place.get_mut(read..) {
        read += match file.read(rest) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        // It gave less than was asked for: the next would give nothing.
        if read == size {
            break;
        }
    }
    if read == size { Ok(()) } else { Err(changed()) }
}

/// [`read_exactly`] of what is in memory: false where it isn't, or not all of it. The system then
/// fetches it, and this process doesn't wait. Where a file system can't tell, it is read.
///
/// # Errors
/// As with [`read_exactly`].
pub(crate) fn read_at_once(file: &File, place: &mut [u8]) -> io::Result<bool> {
    let size = place.len().saturating_sub(1);
    match preadv2(file, &mut [IoSliceMut::new(place)], 0, ReadWriteFlags::NOWAIT) {
        Ok(read) if read == size => Ok(true),
        Ok(read) if read > size => Err(changed()),
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(_) => read_exactly(file, place).map(|()| true),
    }
}

/// Has the system fetch the beginning of a file, without waiting for it; false where it wasn't in
/// memory.
pub(crate) fn fetch(file: &File) -> bool {
    let read = preadv2(file, &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT);
    read != Err(Errno::AGAIN)
}

fn changed() -> io::Error {
    io::Error::other("the file changed while it was read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Whether it was read at once is the system's matter: what is read isn't.
    #[test]
    fn a_file_of_another_size_is_told_however_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for size in [0_usize, 1, 5000, 70_000] {
            let content: Vec<u8> = (0..=250).cycle().take(size).collect();
            std::fs::write(&path, &content).unwrap();
            for said in [size.saturating_sub(1), size, size + 1] {
                let mut place = vec![7; said + 1];
                let read = read_exactly(&File::open(&path).unwrap(), &mut place);
                assert_eq!(read.is_ok(), said == size, "{said} of {size}");
                assert!(said != size || (place.starts_with(&content) && place[size] == 7));

                place.fill(7);
                match read_at_once(&File::open(&path).unwrap(), &mut place) {
                    Ok(true) => assert!(said == size && place.starts_with(&content)),
                    Ok(false) => {}
                    Err(_) => assert_ne!(said, size),
                }
            }
        }
        let unreadable = File::options().append(true).open(&path).unwrap();
        assert!(read_exactly(&unreadable, &mut [0; 9]).is_err());
        assert!(read_at_once(&unreadable, &mut [0; 9]).is_err());
    }

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
