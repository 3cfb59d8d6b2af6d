//! The folder of a run: its plan, the part files of its streams, its commit log. With `deliver` the
//! only room that writes.
//!
//! `plan` says what the run means to do; `part` writes one part's files, one a stream; `record`
//! says what stands in them, `refer` which contents stay in the queue; `commits` is the log of what
//! is done for good, `charges` that of messages that the process died over, `drain` that of what
//! was then taken out of a queue and delivered, `set_aside` that of what of the streams was then
//! dropped or replayed; `private` makes files, `file` does to them what must be durable. Not here:
//! who does a part when, and what becomes of a message. Invariant: a part is done when its line is
//! whole in the commit log, and not before; the files of all other parts are waste.

pub mod charges;
pub mod commits;
pub mod drain;
pub mod file;
pub mod folder;
pub mod part;
pub mod plan;
pub mod private;
pub mod record;
pub mod refer;
pub mod set_aside;

use crate::decide::Outcome;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Where a message, or an event, goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Delivered and relayed mail.
    Accepted,
    /// Non-delivery reports.
    Ndr,
    /// Mail that is tried again.
    Deferred,
    /// Failures that may not or can't be reported.
    DeadLetter,
    /// Damage, and messages that a fault of ours struck.
    Quarantine,
    /// Events, as JSON Lines.
    Events,
}

impl Stream {
    /// All of them, in the order in which they are listed everywhere.
    pub const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Ndr,
        Self::Deferred,
        Self::DeadLetter,
        Self::Quarantine,
        Self::Events,
    ];

    /// Its name, which is that of its folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ndr => "ndr",
            Self::Deferred => "deferred",
            Self::DeadLetter => "dead-letter",
            Self::Quarantine => "quarantine",
            Self::Events => "events",
        }
    }

    /// Ending of its files' names.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Events => "jsonl",
            _ => "seg",
        }
    }

    /// The stream that holds the message for a recipient with this outcome; none where an event
    /// says it all.
    pub const fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Delivered | Outcome::Relayed => Some(Self::Accepted),
            Outcome::Deferred => Some(Self::Deferred),
            Outcome::Failed => Some(Self::Ndr),
            Outcome::DeadLetter(_) => Some(Self::DeadLetter),
            Outcome::Expanded | Outcome::Duplicate => None,
        }
    }
}

/// One thing for each stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are the streams")]
pub struct PerStream<T> {
    pub accepted: T,
    pub ndr: T,
    pub deferred: T,
    pub dead_letter: T,
    pub quarantine: T,
    pub events: T,
}

impl<T> PerStream<T> {
    /// That of a stream.
    pub const fn get(&self, stream: Stream) -> &T {
        match stream {
            Stream::Accepted => &self.accepted,
            Stream::Ndr => &self.ndr,
            Stream::Deferred => &self.deferred,
            Stream::DeadLetter => &self.dead_letter,
            Stream::Quarantine => &self.quarantine,
            Stream::Events => &self.events,
        }
    }

    /// That of a stream, to be changed.
    pub const fn get_mut(&mut self, stream: Stream) -> &mut T {
        match stream {
            Stream::Accepted => &mut self.accepted,
            Stream::Ndr => &mut self.ndr,
            Stream::Deferred => &mut self.deferred,
            Stream::DeadLetter => &mut self.dead_letter,
            Stream::Quarantine => &mut self.quarantine,
            Stream::Events => &mut self.events,
        }
    }

    /// Each with its stream, in the order of [`Stream::ALL`].
    pub const fn each(&self) -> [(Stream, &T); Stream::ALL.len()] {
        [
            (Stream::Accepted, &self.accepted),
            (Stream::Ndr, &self.ndr),
            (Stream::Deferred, &self.deferred),
            (Stream::DeadLetter, &self.dead_letter),
            (Stream::Quarantine, &self.quarantine),
            (Stream::Events, &self.events),
        ]
    }

    /// The same, to be changed.
    pub const fn each_mut(&mut self) -> [(Stream, &mut T); Stream::ALL.len()] {
        [
            (Stream::Accepted, &mut self.accepted),
            (Stream::Ndr, &mut self.ndr),
            (Stream::Deferred, &mut self.deferred),
            (Stream::DeadLetter, &mut self.dead_letter),
            (Stream::Quarantine, &mut self.quarantine),
            (Stream::Events, &mut self.events),
        ]
    }

    /// Makes one from each.
    pub fn map<U>(&self, mut make: impl FnMut(Stream, &T) -> U) -> PerStream<U> {
        PerStream {
            accepted: make(Stream::Accepted, &self.accepted),
            ndr: make(Stream::Ndr, &self.ndr),
            deferred: make(Stream::Deferred, &self.deferred),
            dead_letter: make(Stream::DeadLetter, &self.dead_letter),
            quarantine: make(Stream::Quarantine, &self.quarantine),
            events: make(Stream::Events, &self.events),
        }
    }
}

/// What a part, or a run, has done: messages, and recipients by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields say what they count")]
pub struct Counts {
    pub messages: u64,
    pub content_bytes: u64,
    pub damaged: u64,
    pub quarantined: u64,
    pub faults: u64,
    pub reports: u64,
    pub delivered: u64,
    pub relayed: u64,
    pub expanded: u64,
    pub duplicate: u64,
    pub deferred: u64,
    pub failed: u64,
    pub dead_letter: u64,
}

impl Counts {
    /// As words, in the order of the fields.
    pub const fn words(&self) -> [u64; 13] {
        [
            self.messages,
            self.content_bytes,
            self.damaged,
            self.quarantined,
            self.faults,
            self.reports,
            self.delivered,
            self.relayed,
            self.expanded,
            self.duplicate,
            self.deferred,
            self.failed,
            self.dead_letter,
        ]
    }

    /// Of such words.
    pub const fn of_words(words: [u64; 13]) -> Self {
        let [messages, content_bytes, damaged, quarantined, faults, reports, ..] = words;
        let [.., delivered, relayed, expanded, duplicate, deferred, failed, dead_letter] = words;
        Self {
            messages,
            content_bytes,
            damaged,
            quarantined,
            faults,
            reports,
            delivered,
            relayed,
            expanded,
            duplicate,
            deferred,
            failed,
            dead_letter,
        }
    }

    /// Adds others to these.
    pub const fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.content_bytes += other.content_bytes;
        self.damaged += other.damaged;
        self.quarantined += other.quarantined;
        self.faults += other.faults;
        self.reports += other.reports;
        self.delivered += other.delivered;
        self.relayed += other.relayed;
        self.expanded += other.expanded;
        self.duplicate += other.duplicate;
        self.deferred += other.deferred;
        self.failed += other.failed;
        self.dead_letter += other.dead_letter;
    }

    /// Those that differ, by their names: what these have, and what others have.
    pub fn differences(&self, others: &Self) -> String {
        let fields = |counts: &Self| match serde_json::to_value(counts) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (ours, theirs) = (fields(self), fields(others));
        let differing = ours.iter().filter(|(name, count)| theirs.get(*name) != Some(*count));
        let said = differing.map(|(name, count)| {
            let other = theirs.get(name).map_or_else(String::new, ToString::to_string);
            format!("{name} {count} and {other}")
        });
        said.collect::<Vec<_>>().join(", ")
    }

    /// Counts one recipient.
    pub const fn count(&mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Delivered => &mut self.delivered,
            Outcome::Relayed => &mut self.relayed,
            Outcome::Expanded => &mut self.expanded,
            Outcome::Duplicate => &mut self.duplicate,
            Outcome::Deferred => &mut self.deferred,
            Outcome::Failed => &mut self.failed,
            Outcome::DeadLetter(_) => &mut self.dead_letter,
        };
        *counter += 1;
    }
}

/// When what is written must be on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before a part is committed: done is done, even when the power fails.
    #[default]
    Commit,
    /// At the end of the run: safe from a crash of the program, not from one of the machine.
    End,
    /// When the system likes.
    Never,
}

/// Why the folder of a run can't be used, or not be written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum SpoolError {
    #[error("{}: cannot write: {source} (what is committed is safe: run again when it is mended)",
        path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: cannot make the folder of the run: {source} (mend it, or name another; run again)",
        path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("{}: cannot read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: is not the folder of a run (it has no plan.json)", path.display())]
    NotARun { path: PathBuf },
    #[error("{}: is not the folder of a run, and not empty (name a folder that does not exist yet)",
        path.display())]
    Occupied { path: PathBuf },
    #[error("{}: another process works on this run (wait for it, or stop it)", path.display())]
    Locked { path: PathBuf },
    #[error("{}: {what} (the file was altered; make a new run into another folder)",
        path.display())]
    Altered { path: PathBuf, what: String },
    #[error("{}: its name is not UTF-8, and could not be written into the plan (rename it)",
        path.display())]
    Name { path: PathBuf },
}

impl SpoolError {
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }

    pub(crate) fn make(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Make { path, source }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn altered(path: &Path, what: impl Into<String>) -> Self {
        Self::Altered { path: path.to_owned(), what: what.into() }
    }
}
