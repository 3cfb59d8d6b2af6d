//! Opens the files of a queue: regular files alone, and links only where they may be followed.
//!
//! A queue may lie where others write: a spool of many users, a share. A pipe with the name of a
//! message would be waited for; a link that somebody has put there could make this program, which
//! may read more than they, give away or change what they couldn't. So a link is followed where
//! root or this user made it, or the owner of the file that it leads to: folders that are made of
//! links to one's own mail work. Not here: links to folders, but for those that are asked about
//! ([`may_be_followed`]). Unix only.
//!
//! Invariants: nothing here waits; what is opened is a regular file; a link is judged by its first
//! step and by the file that was opened.

use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Opens a regular file to read.
///
/// # Errors
/// Whatever the system says; a refusal ([`is_refusal`]).
pub fn to_read(path: &Path) -> io::Result<File> {
    looked_at(path).map(|(file, _)| file)
}

/// Opens a regular file to read, and says what it is.
///
/// # Errors
/// Whatever the system says; a refusal ([`is_refusal`]).
pub fn looked_at(path: &Path) -> io::Result<(File, Metadata)> {
    opened(path, OpenOptions::new().read(true))
}

/// Opens a regular file to read and write; `create` makes it where there is none.
///
/// # Errors
/// Whatever the system says; a refusal ([`is_refusal`]).
pub fn to_change(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    opened(path, &mut options).map(|(file, _)| file)
}

/// Opens a regular file to read and write, and makes it where there is none; follows no link at
/// all.
///
/// # Errors
/// Whatever the system says; a refusal ([`is_refusal`]).
pub fn to_make(path: &Path) -> io::Result<File> {
    if path.is_symlink() {
        return Err(io::Error::other(Refusal::Link));
    }
    to_change(path, true)
}

/// True where a file wasn't opened because it isn't a regular one, or is behind a link that isn't
/// followed.
pub fn is_refusal(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.and_then(|inner| inner.downcast_ref::<Refusal>()).is_some()
}

/// Whether the link `link` to `target` may be followed: see the module. A file that names another
/// is a link, too.
pub fn may_be_followed(link: &Metadata, target: &Metadata) -> bool {
    let (own, made_by) = (rustix::process::geteuid().as_raw(), link.uid());
    made_by == 0 || made_by == own || made_by == target.uid()
}

/// Opens a regular file to read whose name stands in the file `named_in`, and says what it is.
///
/// # Errors
/// Whatever the system says; a refusal ([`is_refusal`]).
pub fn named(path: &Path, named_in: &Metadata) -> io::Result<(File, Metadata)> {
    let opened = looked_at(path)?;
    let may = may_be_followed(named_in, &opened.1);
    if may { Ok(opened) } else { Err(io::Error::other(Refusal::Named)) }
}

/// Why a file isn't opened, though the system would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("it is not a regular file")]
    Special,
    #[error("it is a link that is not followed (another user made it, or it is in the way)")]
    Link,
    #[error("it is another user's than the segment that refers to it")]
    Named,
}

fn opened(path: &Path, options: &mut OpenOptions) -> io::Result<(File, Metadata)> {
    let flags = |flags: OFlags| i32::try_from(flags.bits()).unwrap_or(0);
    // A pipe that nobody writes to would be waited for.
    let without_links = flags(OFlags::NONBLOCK | OFlags::NOFOLLOW);
    let file = match options.custom_flags(without_links).open(path) {
        Err(error) if is_no_reader(&error) => return Err(io::Error::other(Refusal::Special)),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            let link = path.symlink_metadata()?;
            let check = |target: &Metadata| {
                let may = !link.is_symlink() || may_be_followed(&link, target);
                if may { Ok(()) } else { Err(io::Error::other(Refusal::Link)) }
            };
            // A device may do things when it is opened.
            let target = path.metadata()?;
            if !target.is_file() {
                return Err(io::Error::other(Refusal::Special));
            }
            check(&target)?;
            let file = options.custom_flags(flags(OFlags::NONBLOCK)).open(path)?;
            check(&file.metadata()?)?;
            file
        }
        opened => opened?,
    };
    let found = file.metadata()?;
    if found.is_file() { Ok((file, found)) } else { Err(io::Error::other(Refusal::Special)) }
}

/// Sockets, devices without a driver.
fn is_no_reader(error: &io::Error) -> bool {
    [Errno::NXIO, Errno::NODEV].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_to_files_and_what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), b"x").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("/dev/zero", at("to-device")).unwrap();
        symlink("round", at("round")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), kind, mode, 0).unwrap();
        symlink("pipe", at("to-pipe")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(to_read(&at("file")).is_ok() && to_read(&at("link")).is_ok());
        assert!(to_change(&at("link"), true).is_ok());
        for name in ["to-device", "pipe", "to-pipe", "socket", ""] {
            for error in [to_read(&at(name)), to_change(&at(name), true)].map(Result::unwrap_err) {
                let is_folder = error.kind() == io::ErrorKind::IsADirectory;
                assert!(is_refusal(&error) || is_folder, "{name}: {error}");
            }
        }
        let round = to_read(&at("round")).unwrap_err();
        assert!(!is_refusal(&round), "{round}");
        assert_eq!(to_read(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!at("none").exists() && to_change(&at("none"), true).is_ok());
    }
}
