//! The folder of a run: made, locked, opened again, cleaned.
//!
//! Layout: `plan.json`, `files-N`, `commits`, `lock`, `engine.jsonl`, a folder for each stream, at
//! the end `summary.json`. What must be whole is written beside its name, synced and renamed.
//! Invariants: a folder without `plan.json` never began; one process at a time holds the lock;
//! opening it again removes the files of parts that aren't committed, and nothing else.

use super::commits::{self, Commit, Log};
use super::file::{self, RunFile};
use super::plan::{self, Plan};
use super::{SpoolError, Stream, Sync};
use crate::limits;
use crate::queue::Queue;
use serde::Serialize;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the plan.
pub const PLAN: &str = "plan.json";
/// Name of the summary.
pub const SUMMARY: &str = "summary.json";
/// Name of the log of what happened to the engine itself.
pub const ENGINE_LOG: &str = "engine.jsonl";
/// Name of the queue that a replay makes in the folder of its run, before the run begins.
pub const REPLAY: &str = "replay.seg";
const LOCK: &str = "lock";

/// The folder of a run, locked by this process.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    digits: usize,
    sync: Sync,
    _lock: Option<RunFile>,
}

/// What is committed, and how many bytes of the log say so.
pub type Committed = (Vec<Commit>, u64);

/// What a folder's plan is read into.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Its queues, as they were planned.
    pub queues: Vec<Queue>,
}

/// Reads a run's plan.
///
/// # Errors
/// It isn't there, or was altered.
pub fn read_plan(run: &Path) -> Result<Planned, SpoolError> {
    let path = run.join(PLAN);
    let text = fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            SpoolError::NotARun { path: run.to_owned() }
        }
        _ => SpoolError::Read { path: path.clone(), source },
    })?;
    let plan: Plan = serde_json::from_slice(&text)
        .map_err(|error| SpoolError::altered(&path, error.to_string()))?;
    if plan.version != plan::VERSION {
        let what = format!("version {} of the plan is not known to this program", plan.version);
        return Err(SpoolError::altered(&path, what));
    }
    if let Some(part) = plan.wrong_part() {
        let what = format!("part {part} doesn't begin where the one before it ends");
        return Err(SpoolError::altered(&path, what));
    }
    let mut queues = Vec::new();
    for (index, queue) in plan.queues.iter().enumerate() {
        let list_path = plan::list_path(run, index);
        let list = match queue.list {
            Some(checksum) => {
                let list = fs::read(&list_path).map_err(SpoolError::read(&list_path))?;
                if xxhash_rust::xxh3::xxh3_64(&list) != checksum {
                    return Err(SpoolError::altered(&list_path, "its checksum is not the plan's"));
                }
                Some(list)
            }
            None => None,
        };
        let files = queue.files.clone();
        let queue = Queue::planned(&queue.path, queue.format, files, list.as_deref())
            .map_err(|error| SpoolError::altered(&list_path, error.to_string()))?;
        queues.push(queue);
    }
    Ok(Planned { plan, queues })
}

/// True where a folder holds a plan, so that a run goes on in it.
pub fn is_run(path: &Path) -> bool {
    path.join(PLAN).exists()
}

impl RunFolder {
    /// No folder: for a message that is tried alone. Whatever is written there fails.
    pub fn nowhere() -> Self {
        Self { path: PathBuf::from("/dev/null"), digits: 0, sync: Sync::Never, _lock: None }
    }

    /// Makes the folder of a new run, and writes its plan: for good, unless nothing is to be waited
    /// for.
    ///
    /// # Errors
    /// The folder isn't empty, another process has it, or it can't be written.
    pub fn create(
        path: &Path,
        plan: &Plan,
        lists: &[Option<Vec<u8>>],
        sync: Sync,
    ) -> Result<Self, SpoolError> {
        if path.exists() && !path.is_dir() {
            return Err(SpoolError::Occupied { path: path.to_owned() });
        }
        file::create_folders(path).map_err(SpoolError::make(path))?;
        let lock = lock(path)?;
        let foreign = fs::read_dir(path)
            .map_err(SpoolError::read(path))?
            .filter_map(Result::ok)
            .any(|entry| !is_ours(&entry.file_name().to_string_lossy()));
        if foreign || is_run(path) {
            return Err(SpoolError::Occupied { path: path.to_owned() });
        }
        let folder = Self::locked(path, plan, lock, sync);
        folder.sync_above()?;
        for stream in Stream::ALL {
            stream_folder(path, stream)?;
        }
        Log::open(path, 0, sync)?;
        for (index, list) in lists.iter().enumerate() {
            if let Some(list) = list {
                folder.write_whole(&plan::list_path(path, index), list)?;
            }
        }
        // The plan comes last: with it the run begins. Its name must not outlive a power failure
        // that the others' don't.
        folder.sync_itself()?;
        folder.write_json(PLAN, plan)?;
        Ok(folder)
    }

    /// Opens the folder of a run to go on, and removes what parts have left that aren't committed.
    /// Gives what is committed, and how many bytes of the log say so.
    ///
    /// # Errors
    /// Another process has it, or it was altered.
    pub fn open(
        path: &Path,
        plan: &Plan,
        sync: Sync,
    ) -> Result<(Self, Log, Committed), SpoolError> {
        let lock = lock(path)?;
        let folder = Self::locked(path, plan, lock, sync);
        // Who made them may have been killed before they were on the disk, or hasn't waited for it.
        folder.sync_plan(plan)?;
        folder.sync_above()?;
        folder.sync_itself()?;
        let (commits, good) = commits::read(path)?;
        let mut done = HashSet::new();
        for commit in &commits {
            let log = path.join(commits::NAME);
            if commit.part as usize >= plan.parts.len() || !done.insert(commit.part) {
                let what = format!("part {} is not planned, or is there twice", commit.part);
                return Err(SpoolError::altered(&log, what));
            }
        }
        for stream in Stream::ALL {
            let keep: HashSet<PathBuf> =
                done.iter().map(|part| folder.part_path(stream, *part)).collect();
            folder.clean(stream, &keep)?;
        }
        folder.check_lengths(&commits)?;
        // Who has done these parts may not have waited for the disk: who goes on durably answers
        // for them, too.
        if sync == Sync::Commit && !commits.is_empty() {
            folder.sync_all()?;
        }
        let log = Log::open(path, good, sync)?;
        Ok((folder, log, (commits, good)))
    }

    fn clean(&self, stream: Stream, keep: &HashSet<PathBuf>) -> Result<(), SpoolError> {
        let folder = stream_folder(&self.path, stream)?;
        let mut waste = Vec::new();
        for entry in fs::read_dir(&folder).map_err(SpoolError::read(&folder))? {
            let path = entry.map_err(SpoolError::read(&folder))?.path();
            if !keep.contains(&path) {
                waste.push(path);
            }
        }
        // In an order that depends on the names alone: a crash in between can be repeated.
        waste.sort_unstable();
        waste.iter().try_for_each(|path| file::remove(path).map_err(SpoolError::write(path)))
    }

    /// A file of a committed part that is gone or has another length was altered by someone, or
    /// lost with the machine.
    fn check_lengths(&self, commits: &[Commit]) -> Result<(), SpoolError> {
        for commit in commits {
            for stream in Stream::ALL {
                let Some(sealed) = commit.files.get(stream) else { continue };
                let path = self.part_path(stream, commit.part);
                let length = match path.metadata() {
                    Ok(metadata) => metadata.len(),
                    Err(error) => return Err(SpoolError::altered(&path, error.to_string())),
                };
                if length != sealed.length {
                    let what = format!("it has {length} bytes, the log says {}", sealed.length);
                    return Err(SpoolError::altered(&path, what));
                }
            }
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a part for a stream.
    pub fn part_path(&self, stream: Stream, part: u32) -> PathBuf {
        part_path(&self.path, self.digits, stream, part)
    }

    /// Removes whatever a part has written: it is done again from its beginning.
    ///
    /// # Errors
    /// The system says so.
    pub fn remove_part(&self, part: u32) -> Result<(), SpoolError> {
        for stream in Stream::ALL {
            let path = self.part_path(stream, part);
            match file::remove(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(SpoolError::Write { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits until the names of all streams' files are on the disk.
    ///
    /// # Errors
    /// The system says so.
    pub fn sync_names(&self) -> Result<(), SpoolError> {
        for stream in Stream::ALL {
            let path = self.path.join(stream.name());
            sync_folder(&path)?;
        }
        Ok(())
    }

    /// Waits until all that was written to the file system of the run is on the disk.
    ///
    /// # Errors
    /// The system says so.
    pub fn sync_all(&self) -> Result<(), SpoolError> {
        file::sync_all(&self.path).map_err(SpoolError::write(&self.path))
    }

    /// Writes a value as a JSON file of the folder: wholly, or not at all.
    ///
    /// # Errors
    /// The system says so.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), SpoolError> {
        let path = self.path.join(name);
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|error| SpoolError::write(&path)(error.into()))?;
        text.push(b'\n');
        self.write_whole(&path, &text)
    }

    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
        let beside = path.with_extension("tmp");
        let write = || {
            let mut file = RunFile::create(&beside)?;
            file.write_all(bytes)?;
            if self.sync != Sync::Never {
                file.sync_all()?;
            }
            file::rename(&beside, path)
        };
        write().map_err(SpoolError::write(path))?;
        self.sync_itself()
    }

    /// Waits until the plan is on the disk.
    fn sync_plan(&self, plan: &Plan) -> Result<(), SpoolError> {
        if self.sync == Sync::Never {
            return Ok(());
        }
        let lists = plan.queues.iter().enumerate().filter(|(_, queue)| queue.list.is_some());
        let lists = lists.map(|(index, _)| plan::list_path(&self.path, index));
        for path in lists.chain([self.path.join(PLAN)]) {
            let synced = RunFile::append(&path).and_then(|file| file.sync_all());
            synced.map_err(SpoolError::write(&path))?;
        }
        Ok(())
    }

    /// Waits until the names in the folder are on the disk.
    fn sync_itself(&self) -> Result<(), SpoolError> {
        if self.sync == Sync::Never { Ok(()) } else { sync_folder(&self.path) }
    }

    fn sync_above(&self) -> Result<(), SpoolError> {
        if self.sync == Sync::Never { Ok(()) } else { sync_above(&self.path) }
    }

    fn locked(path: &Path, plan: &Plan, lock: RunFile, sync: Sync) -> Self {
        Self { path: path.to_owned(), digits: plan.digits(), sync, _lock: Some(lock) }
    }

    /// Appends a line to the log of the engine.
    ///
    /// # Errors
    /// The system says so.
    pub fn log_engine(&self, line: &[u8]) -> Result<(), SpoolError> {
        let path = self.path.join(ENGINE_LOG);
        let append = || {
            let mut file = RunFile::append(&path)?;
            file.write_all(line)?;
            file.sync_data()
        };
        append().map_err(SpoolError::write(&path))
    }
}

/// Makes a folder, and those that it lies in, for good: their names outlive a power failure as what
/// is then written in it does.
///
/// # Errors
/// The system says so.
pub fn make(path: &Path) -> Result<(), SpoolError> {
    file::create_folders(path).map_err(SpoolError::make(path))?;
    sync_above(path)
}

/// The file of a part for a stream, in a run whose part files have names of so many digits.
pub fn part_path(run: &Path, digits: usize, stream: Stream, part: u32) -> PathBuf {
    run.join(stream.name()).join(format!("{part:0digits$}.{}", stream.extension()))
}

/// What a run that was killed before its plan stood may have left, and the queue of a replay.
fn is_ours(name: &str) -> bool {
    let streams = Stream::ALL.iter().any(|stream| stream.name() == name);
    streams
        || [LOCK, REPLAY, commits::NAME].contains(&name)
        || name.starts_with("files-")
        || name.as_bytes().ends_with(b".tmp")
}

/// Makes the folder of a stream. A link in its place is refused: what lies where it leads to isn't
/// ours to clean.
fn stream_folder(run: &Path, stream: Stream) -> Result<PathBuf, SpoolError> {
    let folder = run.join(stream.name());
    if folder.is_symlink() {
        return Err(SpoolError::altered(&folder, "it is a link, not a folder of the run"));
    }
    file::create_folders(&folder).map_err(SpoolError::write(&folder))?;
    Ok(folder)
}

/// Takes the lock of a run, for as long as the file is held.
pub(super) fn lock(path: &Path) -> Result<RunFile, SpoolError> {
    let name = path.join(LOCK);
    let file = RunFile::append(&name).map_err(SpoolError::write(&name))?;
    let mut waits = 0;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A process that was killed, and those that go with it, may take a moment to be gone.
            Err(fs::TryLockError::WouldBlock) if waits < limits::LOCK_WAITS_MAX => waits += 1,
            Err(fs::TryLockError::WouldBlock) => {
                return Err(SpoolError::Locked { path: path.to_owned() });
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(SpoolError::Write { path: name, source });
            }
        }
        std::thread::sleep(Duration::from_millis(limits::LOCK_WAIT_MS));
    }
}

/// Waits until the folder's own name is on the disk, and those of the folders that it lies in: what
/// is committed in it must not be lost with it. Who made them, and when, isn't known: a process
/// before this one may have been killed in between.
fn sync_above(path: &Path) -> Result<(), SpoolError> {
    let failed = SpoolError::read(path);
    let whole = std::path::absolute(path).map_err(failed)?;
    let device = |folder: &Path| folder.metadata().map(|metadata| metadata.dev()).ok();
    let own = device(&whole);
    // What lies on another device was there before.
    let above = whole.ancestors().skip(1).take_while(|above| device(above) == own);
    for folder in above {
        match file::sync_folder(folder) {
            // A folder that may not be read isn't one that was made for this run.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(SpoolError::write(folder))?,
        }
    }
    Ok(())
}

pub(super) fn sync_folder(path: &Path) -> Result<(), SpoolError> {
    file::sync_folder(path).map_err(SpoolError::write(path))
}
