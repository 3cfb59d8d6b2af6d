//! Salvage: a queue is rebuilt into a new folder, and the old one stays as it is. Nothing is lost:
//! what can't be rebuilt is kept byte for byte in `quarantine/`, and `ledger.jsonl` says of each
//! thing of the old one where it is now (docs/salvage.md).
//!
//! `plan` decides about the messages of a post office, `office` rebuilds it with `files` and
//! `stub`; `flat` takes queues of other formats; `proof` reads both again and holds them against
//! the ledger. Not here: finding what is wrong (`check`). Invariants: the old queue is only read;
//! every file of the new one is created, none written over; the ledger has its name when all is
//! on the disk.

mod files;
mod flat;
pub mod ledger;
mod office;
mod plan;
mod proof;
mod stub;

pub use proof::{Proof, prove};

use crate::check::place::Place;
use crate::check::survey::Survey;
use crate::check::{Clock, Subject, is_held};
use crate::limits;
use crate::queue::QueueError;
use crate::spool::private;
use ledger::{Became, Header, Line, Tally, Writer};
use rayon::prelude::*;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// What was salvaged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// The old queue's format.
    pub format: String,
    /// Post offices; 0 in other formats.
    pub post_offices: u64,
    /// Lines of the ledger.
    pub tally: Tally,
}

impl Salvaged {
    /// Things in quarantine, or that couldn't be read.
    pub fn set_aside(&self) -> u64 {
        let all = [Became::Quarantined, Became::Unreadable];
        let count = |became| {
            let tally = &self.tally;
            tally.files.get(became).unwrap_or(&0) + tally.records.get(became).unwrap_or(&0)
        };
        all.iter().map(count).sum()
    }
}

/// True for a folder that a salvage has made, and finished.
pub fn is_salvaged(path: &Path) -> bool {
    path.join(ledger::NAME).is_file()
}

/// Salvages a queue into a new folder. Nobody may work on the queue meanwhile.
///
/// With `sync` everything is on the disk when this returns. What an error or a crash leaves has
/// `ledger.jsonl.partial` in it: delete it, and salvage again.
///
/// # Errors
/// The folder isn't new or empty, or lies in the queue; a post office is in use; the queue can't be
/// opened; the folder can't be written.
pub fn salvage(
    subject: &Subject,
    new: &Path,
    clock: &Clock,
    sync: bool,
) -> Result<Salvaged, SalvageError> {
    let (old, format, post_offices) = match subject {
        Subject::Offices(root, paths) => (root.as_path(), "postoffice", paths.clone()),
        Subject::Flat(queue) => (queue.path(), queue.format().name(), Vec::new()),
    };
    let old = old.canonicalize();
    let old = old.map_err(|source| SalvageError::Write { path: new.to_owned(), source })?;
    make_folder(&old, new)?;
    let mut now = Vec::new();
    clock.now.write_rfc3339(&mut now);
    let header = Header {
        version: ledger::VERSION,
        format: format.to_owned(),
        queue: ledger::name_of(&old),
        post_offices,
        recipients: clock.order,
        now: String::from_utf8_lossy(&now).into_owned(),
    };
    let mut writer = Writer::begin(new, &header)?;
    match subject {
        Subject::Flat(queue) => flat::salvage(queue, clock.order, new, &mut writer)?,
        Subject::Offices(root, paths) => {
            for batch in paths.chunks(limits::SALVAGE_BATCH_OFFICES) {
                let all: Vec<Vec<Line>> = batch
                    .par_iter()
                    .map(|path| {
                        let survey = Survey::take(&root.join(path));
                        nobody_works(&survey, clock)?;
                        office::rebuild(&survey, path, new, clock.now)
                    })
                    .collect::<Result<_, _>>()?;
                for line in all.iter().flatten() {
                    writer.line(line)?;
                }
            }
        }
    }
    let tally = writer.finish(sync)?;
    let post_offices = header.post_offices.len() as u64;
    Ok(Salvaged { format: header.format, post_offices, tally })
}

/// The new folder, which doesn't exist yet, or is empty; neither lies in the other.
fn make_folder(old: &Path, new: &Path) -> Result<(), SalvageError> {
    let occupied = || SalvageError::Occupied { path: new.to_owned() };
    match new.read_dir().map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Err(occupied()),
    }
    let existing = new.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
    let existing = if existing == Path::new("") { Path::new(".") } else { existing };
    let at = existing.canonicalize().map_err(SalvageError::write(new))?;
    let is_within = at.starts_with(old) || (new.exists() && old.starts_with(&at));
    if is_within {
        return Err(SalvageError::Within { path: new.to_owned() });
    }
    private::create_folders(new).map_err(SalvageError::write(new))
}

fn nobody_works(survey: &Survey, clock: &Clock) -> Result<(), SalvageError> {
    for (index, file) in survey.files.iter().enumerate() {
        let path = survey.path(index);
        if file.place == Place::Lock && is_held(&path, clock) {
            return Err(SalvageError::InUse { path });
        }
    }
    Ok(())
}

/// Why a queue can't be salvaged, or a salvage not be proved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum SalvageError {
    #[error(
        "{}: is not empty (name a new folder; delete what a salvage left that did not end)",
        path.display()
    )]
    Occupied { path: PathBuf },
    #[error("{}: lies in the queue, or the queue in it (name another folder)", path.display())]
    Within { path: PathBuf },
    #[error(
        "{}: somebody works on this post office, or a drain was cut off (wait, or run that drain \
         again to its end; a foreign lock is stale after two days)",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("{}: cannot write: {source} (delete the new folder, then salvage again)",
        path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: cannot read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: line {line} can't be read (the file was altered)", path.display())]
    Ledger { path: PathBuf, line: usize },
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl SalvageError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }

    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}
