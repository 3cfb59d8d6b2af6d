//! The lock of INQUEUE3: one drainer a post office (docs/postoffice.md, *The lock*).
//!
//! The file says who has it, since when, and for which run; the process's own lock on the file says
//! whether that is still true. Not here: locks of other bags. Invariants: a lock that is held is
//! never taken; one that is stale is taken over, and its file replaced; a drain that was cut off
//! and isn't ended holds its lock against other runs.

use super::DrainError;
use crate::mail::date::Time;
use crate::queue::open;
use crate::queue::postoffice::lock::LockFile;
use crate::queue::postoffice::office::{Folder, Office};
use crate::spool::drain;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Name of the lock file.
const NAME: &str = "INQUEUE3.0LK";

/// Who takes a lock.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Name of this machine.
    pub host: String,
    /// The time.
    pub now: Time,
    /// The folder of the run.
    pub run: PathBuf,
}

/// Locks that are held: given back when they are dropped. The files of a run whose drain was begun
/// and isn't done stay: they keep other runs out.
#[derive(Debug)]
pub struct Locks {
    held: Vec<Lock>,
    run: PathBuf,
}

impl Locks {
    /// No lock, for this owner's run.
    pub(super) fn none(owner: &Owner) -> Self {
        Self { held: Vec::new(), run: owner.run.clone() }
    }

    /// Takes the lock of one more post office.
    pub(super) fn take(&mut self, office: &Office, owner: &Owner) -> Result<(), DrainError> {
        self.held.push(Lock::take(office, owner)?);
        Ok(())
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        let is_kept = drain::is_unfinished(&self.run);
        self.held.iter_mut().for_each(|lock| lock.is_kept = is_kept);
    }
}

/// A lock that is held.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
    is_kept: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_kept {
            // A lock file that stays is stale from now on.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Lock {
    /// Takes the lock of a post office.
    ///
    /// # Errors
    /// Someone has it, or it can't be made.
    fn take(office: &Office, owner: &Owner) -> Result<Self, DrainError> {
        let path = office.path(Folder::P1, NAME);
        let failed = |source| DrainError::Write { path: path.clone(), source };
        // Backups drop empty folders (Q135868).
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        let beside = path.with_extension("NEW");
        loop {
            let is_new = path.symlink_metadata().is_err();
            let place = if is_new { &beside } else { &path };
            let opened = if is_new { open::to_make(place) } else { open::to_change(place, false) };
            let file = match opened {
                // Its owner has given it back between the two looks at it; a link to nothing would
                // be looked at for ever.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                    continue;
                }
                opened => opened.map_err(failed)?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let lock = LockFile::read(&file, owner.now).map_err(failed)?;
                    return Err(held(&path, &lock));
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            if !is_same_file(&file, place) {
                // Its owner has just given it back, or has just made it the lock.
                continue;
            }
            if !is_new {
                let lock = LockFile::read(&file, owner.now).map_err(failed)?;
                check_stale(&path, &lock, owner)?;
            }
            write_owner(&file, owner).map_err(failed)?;
            if is_new && !rename_to_new(&beside, &path).map_err(failed)? {
                continue;
            }
            return Ok(Self { path, _file: file, is_kept: false });
        }
    }
}

/// Gives a file its name, if no file has it: a lock file is never there without its text, or a
/// crash would leave one that nobody knows the owner of. False where the name is taken.
fn rename_to_new(file: &Path, name: &Path) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, file, CWD, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => std::fs::remove_file(file).map(|()| false),
        // File systems without that: by a link, as of old.
        Err(Errno::INVAL | Errno::NOSYS) => match std::fs::hard_link(file, name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            linked => std::fs::remove_file(file).map(|()| linked.is_ok()),
        },
        Err(error) => Err(error.into()),
    }
}

/// True where a path still names an open file.
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(named)) = (file.metadata(), path.metadata()) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

fn write_owner(mut file: &File, owner: &Owner) -> io::Result<()> {
    use std::io::Seek as _;
    let mut line = format!("inqueue {} {} ", std::process::id(), owner.host).into_bytes();
    Time::from_s(owner.now.as_s()).write_rfc3339(&mut line);
    line.push(b' ');
    line.extend_from_slice(owner.run.as_os_str().as_encoded_bytes());
    line.push(b'\n');
    file.rewind()?;
    file.write_all(&line)?;
    // Last: a file without text has no owner.
    file.set_len(line.len() as u64)?;
    file.sync_data()
}

/// Somebody holds the process lock.
fn held(path: &Path, lock: &LockFile) -> DrainError {
    let owner = format!("{}, {} seconds old", lock.who(), lock.age_s);
    DrainError::Locked { path: path.to_owned(), owner }
}

/// Nobody holds the process lock: is the file of someone who is gone?
fn check_stale(path: &Path, lock: &LockFile, owner: &Owner) -> Result<(), DrainError> {
    if let Some(run) = lock.run_of(&owner.host) {
        // What that drain has logged and not done is known to its run alone.
        return if !is_same_folder(&run, &owner.run) && drain::is_unfinished(&run) {
            Err(DrainError::Unfinished { path: path.to_owned(), run })
        } else {
            Ok(())
        };
    }
    if lock.is_stale() {
        return Ok(());
    }
    let (who, age, stale) = (lock.who(), lock.age_s, lock.stale_after_s());
    let owner = format!("{who}, {age} seconds old (taken for stale after {stale})");
    Err(DrainError::Locked { path: path.to_owned(), owner })
}

/// True where two paths name one folder.
fn is_same_folder(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::time::{Duration, SystemTime};

    const NOW_S: i64 = 1_800_000_000;

    fn owner(run: &Path) -> Owner {
        Owner { host: "here".to_owned(), now: Time::from_s(NOW_S), run: run.to_owned() }
    }

    #[test]
    fn a_lock_is_held_once_and_a_stale_one_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("P1")).unwrap();
        let office = Office::at(folder.path());
        let path = folder.path().join("P1").join(NAME);
        let run = folder.path().join("run");
        let owner = owner(&run);
        let lock = Lock::take(&office, &owner).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("inqueue {} here 2027-", std::process::id())), "{text}");
        assert!(matches!(Lock::take(&office, &owner), Err(DrainError::Locked { .. })));
        drop(lock);
        assert!(!path.exists());
        let stale = |text: &str, age_s: i64| {
            std::fs::write(&path, text).unwrap();
            let at = Duration::from_secs(u64::try_from(NOW_S - age_s).unwrap());
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + at).unwrap();
            let taken = Lock::take(&office, &owner).is_ok();
            assert_eq!(path.exists(), !taken, "{text}");
            taken
        };
        assert!(stale("inqueue 1 here 2027-01-15T00:00:00Z /gone\n", 0), "killed, on this host");
        assert!(!stale("inqueue 1 there 2027-01-15T00:00:00Z /run\n", 3600), "another host");
        assert!(stale("inqueue 1 there 2027-01-15T00:00:00Z /run\n", 172_800));
        assert!(!stale("MTA 7", 3600) && !stale("", 60), "another program");
        assert!(stale("", 600));
    }

    #[test]
    fn a_drain_that_was_cut_off_keeps_its_lock_for_its_run() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["P1", "run"] {
            std::fs::create_dir(root.join(path)).unwrap();
        }
        let work = crate::spool::drain::Work {
            office: crate::spool::drain::OfficeId { queue: 0, path: String::new() },
            files: Vec::new(),
            counters: Vec::new(),
            puts: Vec::new(),
            out: crate::spool::drain::TakeOut::default(),
        };
        let run = root.join("run");
        let mut log = crate::spool::drain::DrainLog::open(&run, 0).unwrap();
        log.append([crate::spool::drain::Step::Begun(work)].into_iter(), true).unwrap();
        let text = format!("inqueue 1 here 2027-01-15T00:00:00Z {}\n", run.display());
        std::fs::write(root.join("P1").join(NAME), text).unwrap();
        let office = Office::at(root);
        let other = owner(&root.join("other"));
        assert!(matches!(Lock::take(&office, &other), Err(DrainError::Unfinished { .. })));
        assert!(Lock::take(&office, &owner(&run)).is_ok());
    }
}
