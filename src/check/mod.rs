//! Whether a queue is whole: everything in it is read, and what isn't as it has to be is told with
//! its place and with what to do. docs/check.md has the list.
//!
//! `flat` frames queues of messages, `survey` looks through a post office and `office` says what is
//! wrong there; `place` and `shape` know its files. Not here: mending (`salvage`), and what becomes
//! of a message. Invariants: nothing is written; what can't be read stops nothing else; findings
//! come in the order of the queue, and all are counted.

mod flat;
mod kind;
mod lock;
pub mod office;
pub mod place;
pub mod shape;
pub mod survey;

pub use kind::Kind;
pub use lock::is_held;

use crate::limits;
use crate::mail::date::Time;
use crate::queue::envelope::RecipientOrder;
use crate::queue::postoffice::list::{LEVELS_MAX, bag_of_path};
use crate::queue::postoffice::office::Office;
use crate::queue::{Queue, QueueError};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use survey::Survey;

/// What has to be known to judge.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Now: locks are stale after a while.
    pub now: Time,
    /// Name of this system, as locks have it.
    pub host: String,
    /// Where recipients stand in formats without an envelope.
    pub order: RecipientOrder,
}

/// Something that isn't as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of what kind.
    pub kind: Kind,
    /// Path of the file in the queue.
    pub file: String,
    /// Where in the file, in bytes; none where all of it is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// How many bytes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The queue's format.
    pub format: String,
    /// Post offices looked through; 0 in other formats.
    pub post_offices: u64,
    /// Messages that can be read; in a post office live slots that aren't damaged.
    pub messages: u64,
    /// Bytes of their contents; in a post office, of its files.
    pub bytes: u64,
    /// How many findings there are of each kind.
    pub counts: BTreeMap<Kind, u64>,
    /// The findings, at most [`limits::CHECK_FINDINGS_KEPT_MAX`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// Findings that aren't mere notes.
    pub fn damaged(&self) -> u64 {
        let damaged = self.counts.iter().filter(|(kind, _)| !kind.is_note());
        damaged.map(|(_, count)| count).sum()
    }

    /// True where there are none.
    pub fn is_clean(&self) -> bool {
        self.damaged() == 0
    }

    fn find(&mut self, finding: Finding) {
        *self.counts.entry(finding.kind).or_default() += 1;
        if self.findings.len() < limits::CHECK_FINDINGS_KEPT_MAX {
            self.findings.push(finding);
        }
    }

    fn merge(&mut self, other: Self) {
        self.post_offices += other.post_offices;
        self.messages += other.messages;
        self.bytes += other.bytes;
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        let room = limits::CHECK_FINDINGS_KEPT_MAX.saturating_sub(self.findings.len());
        self.findings.extend(other.findings.into_iter().take(room));
    }
}

/// What a queue is, as check and salvage take it.
#[derive(Debug)]
pub enum Subject {
    /// Post offices: the folder that their paths are relative to, and those paths.
    Offices(PathBuf, Vec<String>),
    /// Anything else.
    Flat(Box<Queue>),
}

impl Subject {
    /// Opens a queue: `FORMAT:PATH`, or a path alone. A post office may lack some of its folders.
    ///
    /// # Errors
    /// It can't be opened, or its format can't be told.
    pub fn open(spec: &str) -> Result<Self, QueueError> {
        let named = spec.strip_prefix("postoffice:");
        let path = Path::new(named.unwrap_or(spec));
        if let Some((root, _)) = bag_of_path(path) {
            return Ok(Self::Offices(root, vec![String::new()]));
        }
        if path.is_dir() && (named.is_some() || is_office(path)) {
            let mut found = Vec::new();
            let failed = |source| QueueError::Read { path: path.to_owned(), source };
            find(path, "", 0, &mut found).map_err(failed)?;
            found.sort_unstable();
            if !found.is_empty() {
                return Ok(Self::Offices(path.to_owned(), found));
            }
        }
        Queue::open(spec).map(|queue| Self::Flat(Box::new(queue)))
    }
}

/// Folders that tell a post office even where KEY or MBG is gone, and how many of them are enough.
const TELLING: [&str; 7] = ["GLB", "KEY", "MBG", "MAI", "ATT", "P1", "XTN"];
const TELLING_MIN: usize = 4;

/// True for a post office that is whole enough to be one.
fn is_office(path: &Path) -> bool {
    let has = |name: &str| {
        let wanted = name.to_ascii_lowercase();
        path.join(name).is_dir() || path.join(wanted).is_dir()
    };
    Office::is_one(path) || TELLING.iter().filter(|name| has(name)).count() >= TELLING_MIN
}

fn find(root: &Path, path: &str, level: u32, out: &mut Vec<String>) -> io::Result<()> {
    let folder = if path.is_empty() { root.to_owned() } else { root.join(path) };
    if is_office(&folder) {
        out.push(path.to_owned());
        return Ok(());
    }
    if level == LEVELS_MAX {
        return Ok(());
    }
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let name = entry.file_name().into_string().map_err(|name| {
                io::Error::other(format!("the name {} isn't UTF-8: rename it", name.display()))
            })?;
            let below = if path.is_empty() { name } else { format!("{path}/{name}") };
            find(root, &below, level + 1, out)?;
        }
    }
    Ok(())
}

/// Checks a queue.
///
/// # Errors
/// It can't be opened.
pub fn check(subject: &Subject, clock: &Clock) -> Result<Report, QueueError> {
    match subject {
        Subject::Flat(queue) => flat::check(queue, clock),
        Subject::Offices(root, paths) => {
            let mut report = Report { format: "postoffice".to_owned(), ..Report::default() };
            let all: Vec<(Report, Vec<u8>)> = paths
                .par_iter()
                .map(|path| {
                    let survey = Survey::take(&root.join(path));
                    office::check(&survey, path, clock)
                })
                .collect();
            let mut serials: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
            for ((one, serial), path) in all.into_iter().zip(paths) {
                report.merge(one);
                if let Some(first) = serials.get(serial.as_slice()) {
                    report.find(office::same_serial(path, first, &serial));
                } else if !serial.is_empty() {
                    serials.insert(serial, path);
                }
            }
            Ok(report)
        }
    }
}
