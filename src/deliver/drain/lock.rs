//! The lock of INQUEUE3: one drainer a post office (docs/postoffice.md, *The lock*).
//!
//! The file says who has it, since when, and for which run; the process's own lock on the file says
//! whether that is still true. Not here: locks of other bags. Invariants: a lock that is held is
//! never taken; one that is stale is taken over, and its file replaced; a drain that was cut off
//! and isn't ended holds its lock against other runs.

use super::DrainError;
use crate::mail::date::Time;
use crate::queue::postoffice::office::{Folder, Office};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Name of the lock file.
const NAME: &str = "INQUEUE3.0LK";
/// A foreign lock that wasn't changed for so long is stale (Q237695).
const STALE_S: u64 = 2 * 86_400;
/// One without text: its owner was cut off before it could say who it is.
const EMPTY_STALE_S: u64 = 600;
/// Bytes of a lock file that are looked at.
const TEXT_BYTES_MAX: u64 = 8192;

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

/// A lock that is held: given back when it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock file that stays is stale from now on.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Lock {
    /// Takes the lock of a post office.
    ///
    /// # Errors
    /// Someone has it, or it can't be made.
    pub fn take(office: &Office, owner: &Owner) -> Result<Self, DrainError> {
        let path = office.path(Folder::P1, NAME);
        let failed = |source| DrainError::Write { path: path.clone(), source };
        loop {
            let (mut file, is_new) = open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(&path, &mut file, owner)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            if !is_same_file(&file, &path) {
                // Its owner has just given it back.
                continue;
            }
            if !is_new {
                let text = text(&mut file).map_err(failed)?;
                check_stale(&path, &text, &file, owner)?;
            }
            write_owner(&file, owner).map_err(failed)?;
            return Ok(Self { path, _file: file });
        }
    }
}

/// Makes a lock file, or opens the one that is there; says which.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok((options.create_new(false).open(path)?, false))
        }
        Err(error) => Err(error),
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
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&line)?;
    file.sync_data()
}

fn text(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    file.take(TEXT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn held(path: &Path, file: &mut File, owner: &Owner) -> DrainError {
    let text = text(file).unwrap_or_default();
    let age = age_s(file, owner);
    let who = if text.trim().is_empty() { "another program" } else { text.trim() };
    DrainError::Locked { path: path.to_owned(), owner: format!("{who}, {age} seconds old") }
}

/// Nobody holds the process lock: is the file of someone who is gone?
fn check_stale(path: &Path, text: &str, file: &File, owner: &Owner) -> Result<(), DrainError> {
    let mut words = text.trim().splitn(5, ' ');
    let is_ours = words.next() == Some("inqueue");
    let (_pid, host, _since, run) = (words.next(), words.next(), words.next(), words.next());
    if is_ours && host == Some(owner.host.as_str()) {
        let run = Path::new(run.unwrap_or_default());
        // What that drain has logged and not done is known to its run alone.
        return if run != owner.run && super::is_unfinished(run) {
            Err(DrainError::Unfinished { path: path.to_owned(), run: run.to_owned() })
        } else {
            Ok(())
        };
    }
    let age = age_s(file, owner);
    let stale = if text.is_empty() { EMPTY_STALE_S } else { STALE_S };
    if age >= stale {
        return Ok(());
    }
    let who = if text.is_empty() { "another program" } else { text.trim() };
    let owner = format!("{who}, {age} seconds old (taken for stale after {stale})");
    Err(DrainError::Locked { path: path.to_owned(), owner })
}

/// Seconds since a lock file was changed.
fn age_s(file: &File, owner: &Owner) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let changed = file.metadata().map_or(0, |metadata| metadata.mtime());
    u64::try_from(owner.now.as_s().saturating_sub(changed)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
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
