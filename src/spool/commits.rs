//! The commit log: one line for each part that is done for good, in the order in which they were.
//!
//! A line is the CRC32C of its JSON as eight hexadecimal digits, a space, the JSON, a line feed. A
//! torn last line is cut off when the log is opened to go on; a bad line before it means that
//! someone altered the file. Not here: syncing the files that a line tells about, which must be
//! over before it is appended.

use super::file::RunFile;
use super::{Counts, PerStream, SpoolError, Sync};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// What a stream's file of a part is, when done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Length in bytes.
    pub length: u64,
    /// Records, or lines.
    pub records: u64,
    /// CRC32C over the CRC32Cs of the record heads (segments), or over all bytes (events).
    pub seal: u32,
}

/// A part that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its number in the plan.
    pub part: u32,
    /// What it has done.
    pub counts: Counts,
    /// Its files; none where it has nothing for a stream.
    pub files: PerStream<Option<Sealed>>,
}

/// The log, open at its end.
#[derive(Debug)]
pub struct Log {
    file: RunFile,
    line: Vec<u8>,
    /// Bytes of it that are good.
    length: u64,
}

/// Name of the log in the folder of a run.
pub const NAME: &str = "commits";

/// Reads a log: its commits, and the length of what is good of it.
///
/// # Errors
/// It can't be read, or a line within is bad.
pub fn read(run: &Path) -> Result<(Vec<Commit>, u64), SpoolError> {
    read_from(run, 0)
}

/// Reads what a log has from an offset on, which an earlier reading gave.
///
/// # Errors
/// As with [`read`].
pub fn read_from(run: &Path, start: u64) -> Result<(Vec<Commit>, u64), SpoolError> {
    read_lines(&run.join(NAME), start)
}

/// Reads a log whose lines are as those of this one.
pub(super) fn read_lines<T: DeserializeOwned>(
    path: &Path,
    start: u64,
) -> Result<(Vec<T>, u64), SpoolError> {
    let mut bytes = Vec::new();
    let mut read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut bytes)
    };
    read().map_err(SpoolError::read(path))?;
    let mut lines = Vec::new();
    let mut at = 0;
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        match parse(line) {
            Some(value) => lines.push(value),
            // Only the last line can be torn.
            None if at + line.len() == bytes.len() => break,
            None => {
                let offset = start + at as u64;
                return Err(SpoolError::altered(path, format!("bad line at offset {offset}")));
            }
        }
        at += line.len();
    }
    Ok((lines, start + at as u64))
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (checksum, rest) = line.strip_suffix(b"\n")?.split_at_checked(8)?;
    let json = rest.strip_prefix(b" ")?;
    let checksum = u32::from_str_radix(str::from_utf8(checksum).ok()?, 16).ok()?;
    if crc32c::crc32c(json) != checksum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

impl Log {
    /// Opens the log to append, after the `good` bytes that [`read`] has found.
    ///
    /// # Errors
    /// The system says so.
    pub fn open(run: &Path, good: u64, sync: Sync) -> Result<Self, SpoolError> {
        let path = run.join(NAME);
        let failed = SpoolError::write(&path);
        let open = || {
            let file = RunFile::append(&path)?;
            file.set_len(good)?;
            if sync != Sync::Never {
                file.sync_all()?;
            }
            Ok(file)
        };
        Ok(Self { file: open().map_err(failed)?, line: Vec::new(), length: good })
    }

    /// Takes the log over from another process, with the `good` bytes that [`read`] has found: cuts
    /// off what is behind them, a line that was torn. `sync` waits until the rest is on the disk.
    ///
    /// # Errors
    /// The system says so.
    pub fn cut(&mut self, run: &Path, good: u64, sync: bool) -> Result<(), SpoolError> {
        let cut = || {
            let is_torn = self.file.length()? > good;
            if is_torn {
                self.file.set_len(good)?;
            }
            if is_torn || sync { self.file.sync_all() } else { Ok(()) }
        };
        cut().map_err(SpoolError::write(&run.join(NAME)))?;
        self.length = good;
        Ok(())
    }

    /// Bytes that the log has now: less than were read of it, where lines were taken back since.
    ///
    /// # Errors
    /// The system says so.
    pub fn bytes(&self, run: &Path) -> Result<u64, SpoolError> {
        self.file.length().map_err(SpoolError::read(&run.join(NAME)))
    }

    /// Appends commits, in one write; `sync` waits until they are on the disk.
    ///
    /// # Errors
    /// The system says so: then none of them counts as done, and the log isn't to be used any more.
    pub fn append(&mut self, commits: &[Commit], sync: bool) -> std::io::Result<()> {
        self.line.clear();
        for commit in commits {
            append_line(&mut self.line, commit)?;
        }
        append_synced(&mut self.file, &self.line, &mut self.length, sync)
    }
}

/// Appends lines to a log that is `length` bytes long.
///
/// What couldn't be written or synced is taken back, where that can be done: the system forgets a
/// sync that failed, and who reads the line again would believe that it is on the disk.
///
/// # Errors
/// The system says so.
pub(super) fn append_synced(
    file: &mut RunFile,
    lines: &[u8],
    length: &mut u64,
    sync: bool,
) -> std::io::Result<()> {
    let written = file.write_all(lines);
    let synced = written.and_then(|()| if sync { file.sync_data() } else { Ok(()) });
    match synced {
        Ok(()) => *length += lines.len() as u64,
        Err(_) => _ = file.set_len(*length),
    }
    synced
}

/// Appends a line of a log.
pub(super) fn append_line(out: &mut Vec<u8>, value: &impl Serialize) -> std::io::Result<()> {
    let json = serde_json::to_vec(value)?;
    write!(out, "{:08x} ", crc32c::crc32c(&json))?;
    out.extend_from_slice(&json);
    out.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(part: u32) -> Commit {
        Commit { part, counts: Counts::default(), files: PerStream::default() }
    }

    #[test]
    fn a_torn_line_is_cut_off_at_any_byte_and_an_altered_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        Log::open(folder.path(), 0, Sync::Commit)
            .unwrap()
            .append(&[commit(2), commit(0)], true)
            .unwrap();
        let path = folder.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (commits, good) = read(folder.path()).unwrap();
            let expect = usize::from(cut >= first);
            assert_eq!(commits.len(), expect, "cut at {cut}");
            assert_eq!(good, if expect == 1 { first as u64 } else { 0 });
            Log::open(folder.path(), good, Sync::Commit)
                .unwrap()
                .append(&[commit(7)], false)
                .unwrap();
            assert_eq!(read(folder.path()).unwrap().0.last(), Some(&commit(7)));
        }
        let mut altered = whole.clone();
        altered[12] ^= 1;
        std::fs::write(&path, &altered).unwrap();
        assert!(matches!(read(folder.path()), Err(SpoolError::Altered { .. })));
    }

    /// What can't be written is taken back, and nothing that another process has committed.
    #[test]
    fn who_takes_a_log_over_takes_back_its_own_lines_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let mut log = Log::open(folder.path(), 0, Sync::Commit).unwrap();
        let mut other = Log::open(folder.path(), 0, Sync::Commit).unwrap();
        other.append(&[commit(2), commit(0)], true).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole, &b"0123 torn"[..]].concat()).unwrap();
        let good = whole.len() as u64;
        log.cut(folder.path(), good, true).unwrap();
        // What `append_synced` cuts the file back to.
        assert_eq!((log.length, std::fs::read(&path).unwrap()), (good, whole));
        log.append(&[commit(7)], true).unwrap();
        let (commits, good) = read(folder.path()).unwrap();
        assert_eq!((commits, good), (vec![commit(2), commit(0), commit(7)], log.length));
    }
}
