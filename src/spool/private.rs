//! Files and folders that nobody but their owner may look into: mail is private.
//!
//! Whatever the umask allows, files are made with mode 0600 and folders with 0700; a stricter umask
//! counts. What is there already keeps its mode, which is its owner's decision. Not here: files of
//! a post office that is drained into, which its other programs have to read. Unix only.
//!
//! Invariant: nothing is written through a symbolic link in the place of the file.

use rustix::fs::OFlags;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Mode of files.
pub const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// How files are opened, before it is said for what.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let no_links = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    options.mode(FILE_MODE).custom_flags(no_links);
    options
}

/// Makes a file that isn't there.
///
/// # Errors
/// It is there; whatever the system says.
pub fn create_new(path: &Path) -> io::Result<File> {
    options().read(true).write(true).create_new(true).open(path)
}

/// Makes a file, or empties the one that is there.
///
/// # Errors
/// Whatever the system says.
pub fn create(path: &Path) -> io::Result<File> {
    options().write(true).create(true).truncate(true).open(path)
}

/// Opens a file to append to it; makes it where there is none.
///
/// # Errors
/// Whatever the system says.
pub fn append(path: &Path) -> io::Result<File> {
    options().append(true).create(true).open(path)
}

/// Makes a folder that isn't there.
///
/// # Errors
/// It is there; whatever the system says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(path)
}

/// Makes a folder, and with the usual modes all above it; one that is there stays as it is.
///
/// # Errors
/// Something else is there; whatever the system says.
pub fn create_folders(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent().filter(|above| *above != Path::new("")) {
        fs::create_dir_all(above)?;
    }
    match create_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes a folder, and all above it that aren't there, for their owner alone.
///
/// # Errors
/// Something else is there; whatever the system says.
pub fn create_tree(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn what_is_made_is_for_its_owner_alone_and_links_are_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        create_folders(&at("above/folder")).unwrap();
        create_folders(&at("above/folder")).unwrap();
        create_new(&at("new")).unwrap();
        create(&at("file")).unwrap();
        append(&at("log")).unwrap();
        let mode = |name: &str| at(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(["above/folder", "new", "file", "log"].map(mode), [0o700, 0o600, 0o600, 0o600]);
        fs::write(at("outside"), b"kept").unwrap();
        symlink("outside", at("link")).unwrap();
        assert!(create(&at("link")).is_err() && append(&at("link")).is_err());
        assert!(create_new(&at("link")).is_err() && create_new(&at("new")).is_err());
        assert_eq!(fs::read(at("outside")).unwrap(), b"kept");
    }
}
