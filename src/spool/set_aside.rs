//! The log of what was done with the records that a run has set aside (quarantine, dead letters,
//! deferred mail) since: dropped, or sent through again into another run. Lines are as those of the
//! commit log.
//!
//! The streams themselves are sealed by the commit log and never change: a record that is dropped
//! or replayed stays where it is, and this log says so. Not here: which records are chosen, and the
//! queue that a replay makes of them (`deliver`). Invariants: a line is on the disk before anything
//! that it tells of is done; a record is in at most one line of [`Step::Dropped`] or
//! [`Step::Replayed`]; who appends holds the lock of the run.

use super::commits::{append_line, read_lines};
use super::file::RunFile;
use super::folder::{self, lock, sync_folder};
use super::{SpoolError, Stream};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Name of the log in the folder of a run.
pub const NAME: &str = "set-aside";

/// A record of a stream: its part, and its offset in that part's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place(pub u32, pub u64);

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// A record isn't wanted any more.
    Dropped(Dropped),
    /// Records go through again, into another run: into no other from here on.
    Replayed(Replayed),
    /// The queue of a replay is whole and on the disk: it isn't made again.
    Made(Made),
}

/// A record that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Its stream.
    pub stream: Stream,
    /// Where it stands there.
    pub place: Place,
    /// Its queue id.
    pub id: String,
    /// Where its message stood in the run's queue: file (U+FFFD for what isn't UTF-8), offset,
    /// length.
    pub origin: Option<(String, u64, u64)>,
    /// When, RFC 3339.
    pub at: String,
    /// Name of the system on which it was dropped.
    pub by: String,
    /// Why, as the operator has said.
    pub reason: Option<String>,
}

/// Records that go through again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Their stream.
    pub stream: Stream,
    /// The folder of the run that they go into, absolute.
    pub into: PathBuf,
    /// When, RFC 3339.
    pub at: String,
    /// The records, in queue order.
    pub places: Vec<Place>,
}

/// The queue of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The folder of the run that it stands in.
    pub into: PathBuf,
    /// Its length in bytes.
    pub length: u64,
}

/// What was done with a record since its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    #[default]
    Waiting,
    /// It was dropped.
    Dropped,
    /// It went through again, into another run.
    Replayed,
}

impl State {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dropped => "dropped",
            Self::Replayed => "replayed",
        }
    }
}

/// What was done with the records of a stream; those that aren't in it are waiting.
pub fn states(steps: &[Step], stream: Stream) -> HashMap<Place, State> {
    let mut states = HashMap::new();
    for step in steps {
        match step {
            Step::Dropped(dropped) if dropped.stream == stream => {
                states.insert(dropped.place, State::Dropped);
            }
            Step::Replayed(replayed) if replayed.stream == stream => {
                states.extend(replayed.places.iter().map(|place| (*place, State::Replayed)));
            }
            _ => {}
        }
    }
    states
}

/// Reads the log of a run: its steps, and the length of what is good of it; none where there is no
/// log.
///
/// # Errors
/// It can't be read, or a line within is bad.
pub fn read(run: &Path) -> Result<(Vec<Step>, u64), SpoolError> {
    let path = run.join(NAME);
    if path.exists() { read_lines(&path, 0) } else { Ok((Vec::new(), 0)) }
}

/// The log, read, with the lock of its run: nobody else works on the run meanwhile.
#[derive(Debug)]
pub struct SetAside {
    run: PathBuf,
    steps: Vec<Step>,
    good: u64,
    file: Option<RunFile>,
    _lock: RunFile,
}

impl SetAside {
    /// Takes the lock of a run, and reads its log. Nothing is written.
    ///
    /// # Errors
    /// It isn't a run, another process works on it, or its log was altered.
    pub fn open(run: &Path) -> Result<Self, SpoolError> {
        if !folder::is_run(run) {
            return Err(SpoolError::NotARun { path: run.to_owned() });
        }
        let lock = lock(run)?;
        let (steps, good) = read(run)?;
        Ok(Self { run: run.to_owned(), steps, good, file: None, _lock: lock })
    }

    /// What the log tells, in its order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Appends steps, and waits until they are on the disk. A torn line of before is cut off.
    ///
    /// # Errors
    /// The system says so: then the log isn't to be used any more.
    pub fn append(&mut self, steps: Vec<Step>) -> Result<(), SpoolError> {
        let path = self.run.join(NAME);
        let mut write = || {
            let mut lines = Vec::new();
            for step in &steps {
                append_line(&mut lines, step)?;
            }
            let mut file = if let Some(file) = self.file.take() {
                file
            } else {
                let file = RunFile::append(&path)?;
                file.set_len(self.good)?;
                file.sync_all()?;
                file
            };
            file.write_all(&lines)?;
            file.sync_data()?;
            self.file = Some(file);
            Ok(())
        };
        write().map_err(SpoolError::write(&path))?;
        // The log may be new: its name must be there after a power failure, too.
        sync_folder(&self.run)?;
        self.steps.extend(steps);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(into: &str, places: &[(u32, u64)]) -> Step {
        let places = places.iter().map(|(part, offset)| Place(*part, *offset)).collect();
        let (stream, at) = (Stream::DeadLetter, "2026-01-02T03:04:05Z".to_owned());
        Step::Replayed(Replayed { stream, into: into.into(), at, places })
    }

    #[test]
    fn a_torn_line_was_never_written_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        std::fs::write(run.join(folder::PLAN), "{}").unwrap();
        let first = replayed("/new", &[(0, 32), (7, 1 << 40)]);
        SetAside::open(run).unwrap().append(vec![first.clone()]).unwrap();
        let whole = std::fs::read(run.join(NAME)).unwrap();
        let json = br#"{"replayed":{"stream":"dead-letter","into":"/new","#;
        assert_eq!(&whole[9..9 + json.len()], json);
        let made = Step::Made(Made { into: "/new".into(), length: 5 });
        SetAside::open(run).unwrap().append(vec![made.clone()]).unwrap();
        let both = std::fs::read(run.join(NAME)).unwrap();
        for cut in 0..=both.len() {
            std::fs::write(run.join(NAME), &both[..cut]).unwrap();
            let mut log = SetAside::open(run).unwrap();
            let mut expect = vec![first.clone(), made.clone()];
            expect.truncate(usize::from(cut >= whole.len()) + usize::from(cut == both.len()));
            assert_eq!(log.steps(), expect, "cut at {cut}");
            let other = replayed("/other", &[(1, 1)]);
            log.append(vec![other.clone()]).unwrap();
            expect.push(other);
            assert_eq!(read(run).unwrap().0, expect);
        }
        let states = states(&[first], Stream::DeadLetter);
        assert_eq!(states.get(&Place(7, 1 << 40)), Some(&State::Replayed));
        assert_eq!(states.get(&Place(7, 32)), None);
    }
}
