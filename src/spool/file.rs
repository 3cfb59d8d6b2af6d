//! Files of a run, and what is done to them: opened, written, cut, made durable, renamed, removed.
//!
//! Each is one call of the system, made here, and made known first to whoever watches: a simulation
//! (feature `fault-injection`) stops the process between any two of them, and knows what a disk
//! would have lost. Not here: modes and links (`private`), what the files hold. Invariant: nothing
//! that a run has to rely on is written or synced but through this file.

use super::private;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// What is about to be done. A file that is open is named by itself.
#[derive(Debug)]
pub enum Op<'o> {
    /// A file is opened, and made where it isn't there; its length may be set to 0.
    Open {
        /// Its path.
        path: &'o Path,
        /// What it holds goes.
        truncates: bool,
    },
    /// Bytes are put at the end of a file.
    Write(&'o File, &'o [u8]),
    /// A file is cut off, or made longer by zeros.
    SetLength(&'o File, u64),
    /// A file's bytes, or the names in a folder, are made durable.
    Sync(&'o File),
    /// All of the file system that the folder lies in is made durable.
    SyncAll(&'o Path),
    /// A folder is made.
    MakeFolder(&'o Path),
    /// Something gets another name.
    Rename(&'o Path, &'o Path),
    /// A file goes.
    Remove(&'o Path),
}

#[cfg(feature = "fault-injection")]
static WATCHER: std::sync::OnceLock<fn(&Op<'_>)> = std::sync::OnceLock::new();

/// From now on this is called before anything is done.
#[cfg(feature = "fault-injection")]
pub fn watch(watcher: fn(&Op<'_>)) {
    // The first one stays.
    let _ = WATCHER.set(watcher);
}

fn tell(op: &Op<'_>) {
    #[cfg(feature = "fault-injection")]
    if let Some(watcher) = WATCHER.get() {
        watcher(op);
    }
    #[cfg(not(feature = "fault-injection"))]
    let _ = op;
}

/// A file of a run, open to be written at its end.
#[derive(Debug)]
pub struct RunFile(File);

/// All of these fail with whatever the system says.
#[expect(missing_docs, reason = "as those of `File`")]
impl RunFile {
    /// Makes a file, or empties the one that is there.
    pub fn create(path: &Path) -> io::Result<Self> {
        tell(&Op::Open { path, truncates: true });
        private::create(path).map(Self)
    }

    /// Opens a file at its end; makes it where there is none.
    pub fn append(path: &Path) -> io::Result<Self> {
        tell(&Op::Open { path, truncates: false });
        private::append(path).map(Self)
    }

    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        tell(&Op::Write(&self.0, bytes));
        self.0.write_all(bytes)
    }

    pub fn set_len(&self, length: u64) -> io::Result<()> {
        tell(&Op::SetLength(&self.0, length));
        self.0.set_len(length)
    }

    pub fn sync_data(&self) -> io::Result<()> {
        tell(&Op::Sync(&self.0));
        self.0.sync_data()
    }

    pub fn sync_all(&self) -> io::Result<()> {
        tell(&Op::Sync(&self.0));
        self.0.sync_all()
    }

    /// Its length in bytes.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    pub fn try_lock(&self) -> Result<(), fs::TryLockError> {
        self.0.try_lock()
    }
}

/// Makes a folder, and all above it; one that is there stays as it is.
///
/// # Errors
/// Something else is there; whatever the system says.
pub fn create_folders(path: &Path) -> io::Result<()> {
    tell(&Op::MakeFolder(path));
    private::create_folders(path)
}

/// Waits until the names in a folder are on the disk.
///
/// # Errors
/// Whatever the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = File::open(path)?;
    tell(&Op::Sync(&folder));
    folder.sync_all()
}

/// Waits until all of the file system that a folder lies in is on the disk.
///
/// # Errors
/// Whatever the system says.
pub fn sync_all(path: &Path) -> io::Result<()> {
    let folder = File::open(path)?;
    tell(&Op::SyncAll(path));
    Ok(rustix::fs::syncfs(folder)?)
}

/// Gives something another name.
///
/// # Errors
/// Whatever the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    tell(&Op::Rename(from, to));
    fs::rename(from, to)
}

/// Removes a file.
///
/// # Errors
/// It isn't there; whatever the system says.
pub fn remove(path: &Path) -> io::Result<()> {
    tell(&Op::Remove(path));
    fs::remove_file(path)
}
