//! The lock file of a post office, judged by what stands in it (docs/postoffice.md, *The lock*).
//!
//! Not here: taking one (`deliver/drain`), and whether the process's own lock on the file is held.
//! Invariant: nothing is changed.

use crate::limits;
use crate::mail::date::Time;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What a lock file says, and how old it is.
#[derive(Clone, Debug)]
pub struct LockFile {
    /// Its text: no more than [`limits::LOCK_BYTES_MAX`] bytes, in UTF-8 whatever they were.
    pub text: String,
    /// Seconds since it was changed.
    pub age_s: u64,
}

impl LockFile {
    /// Reads an open lock file from where it stands.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn read(file: &File, now: Time) -> io::Result<Self> {
        let mut text = Vec::new();
        file.take(limits::LOCK_BYTES_MAX).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Self { text, age_s: age_s(file, now)? })
    }

    /// The run whose drain has made it, where that was on this host.
    pub fn run_of(&self, host: &str) -> Option<PathBuf> {
        // Behind its line may stand what is left of the one before.
        let mut words = self.text.lines().next().unwrap_or_default().splitn(5, ' ');
        let is_ours = words.next() == Some("inqueue");
        let (_pid, of, _since, run) = (words.next(), words.next(), words.next(), words.next());
        (is_ours && of == Some(host)).then(|| Path::new(run.unwrap_or_default()).to_owned())
    }

    /// Seconds after which it is stale, as one of another host or program: one without text sooner.
    pub const fn stale_after_s(&self) -> u64 {
        if self.text.is_empty() { limits::LOCK_EMPTY_STALE_S } else { limits::LOCK_STALE_S }
    }

    /// True where it is older than that.
    pub const fn is_stale(&self) -> bool {
        self.age_s >= self.stale_after_s()
    }

    /// Who holds it, in words.
    pub fn who(&self) -> &str {
        let text = self.text.trim();
        if text.is_empty() { "another program" } else { text }
    }
}

fn age_s(file: &File, now: Time) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let changed = file.metadata()?.mtime();
    Ok(u64::try_from(now.as_s().saturating_sub(changed)).unwrap_or(0))
}
