//! A log that is written while a run goes on: the events of each part when it is committed, in the
//! order of the parts. Parts that finish early wait.
//!
//! A file tells itself how far it is: by its count of events, of which the last is held against the
//! run's. What a receiver has taken stands in the run's folder, in `log-` and a checksum of the
//! target; where that is lost or was not yet written, a part's events may be sent again, under the
//! same ids. Not here: waiting for parts (the caller says when there may be more). Invariant: a run
//! is never stopped or failed by its log: the first error ends the log, is kept, and what isn't
//! logged is counted.

use super::Part;
use super::sink::{Last, Options, Sink};
use super::target::EventTarget;
use crate::deliver::DeliverError;
use crate::spool::commits::{self, Sealed};
use crate::spool::folder::{self, Planned};
use crate::spool::private;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What was logged of a run.
#[derive(Debug)]
pub struct Logged {
    /// Events in the log, those of processes before this one included.
    pub events: u64,
    /// Committed events that aren't in it.
    pub missing: u64,
    /// Why not; also where the log couldn't be closed well.
    pub error: Option<DeliverError>,
}

/// A log behind a run.
#[derive(Debug)]
pub struct Follow {
    run: PathBuf,
    digits: usize,
    target: EventTarget,
    sink: Option<Sink>,
    error: Option<DeliverError>,
    /// Bytes of the commit log that were read.
    read: u64,
    /// Committed parts whose turn hasn't come.
    waiting: BTreeMap<u32, Option<Sealed>>,
    next: u32,
    /// Events of the run that the log had when it was opened, and what it had of the last.
    had: (u64, Option<Last>),
    /// Events of the run that were passed by.
    at: u64,
    /// Events that are in the log.
    logged: u64,
    /// Events of committed parts.
    committed: u64,
}

impl Follow {
    /// Opens the log of a run that was begun. `log_bytes` is how large one file of an event log may
    /// be. What can't be opened is told at the end.
    pub fn begin(run: &Path, target: &EventTarget, log_bytes: u64) -> Self {
        let mut follow = Self {
            run: run.to_owned(),
            digits: 0,
            target: target.clone(),
            sink: None,
            error: None,
            read: 0,
            waiting: BTreeMap::new(),
            next: 0,
            had: (0, None),
            at: 0,
            logged: 0,
            committed: 0,
        };
        if let Err(error) = follow.open(log_bytes) {
            follow.error = Some(error);
        }
        follow
    }

    fn open(&mut self, log_bytes: u64) -> Result<(), DeliverError> {
        let Planned { plan, .. } = folder::read_plan(&self.run)?;
        self.digits = plan.digits();
        let options = Options { hostname: &plan.options.hostname, log_bytes };
        let (sink, done) = Sink::open(&self.target, options)?;
        let sent = fs::read_to_string(self.checkpoint()).unwrap_or_default();
        let events = if self.is_file() { done.events } else { sent.trim().parse().unwrap_or(0) };
        self.had = (events, done.last);
        self.logged = events;
        self.sink = Some(sink);
        Ok(())
    }

    const fn is_file(&self) -> bool {
        matches!(self.target, EventTarget::Evt(_) | EventTarget::SyslogFile(_))
    }

    /// Where it stands how much a receiver has taken.
    fn checkpoint(&self) -> PathBuf {
        let name = xxhash_rust::xxh3::xxh3_64(format!("{:?}", self.target).as_bytes());
        self.run.join(format!("log-{name:016X}"))
    }

    /// Writes what was committed since, as far as it is its turn.
    pub fn advance(&mut self) {
        if let Err(error) = self.try_advance() {
            // What a log holds by now stays as it is: another process may go on with it.
            self.sink = None;
            self.error.get_or_insert(error);
        }
    }

    fn try_advance(&mut self) -> Result<(), DeliverError> {
        let (commits, end) = commits::read_from(&self.run, self.read)?;
        self.read = end;
        for commit in commits {
            self.committed += commit.files.events.map_or(0, |sealed| sealed.records);
            self.waiting.insert(commit.part, commit.files.events);
        }
        let Some(mut sink) = self.sink.take() else { return Ok(()) };
        while let Some(sealed) = self.waiting.remove(&self.next) {
            if let Some(sealed) = sealed {
                self.part(&mut sink, sealed)?;
            }
            self.next += 1;
        }
        self.sink = Some(sink);
        Ok(())
    }

    fn part(&mut self, sink: &mut Sink, sealed: Sealed) -> Result<(), DeliverError> {
        if self.at + sealed.records < self.had.0 {
            self.at += sealed.records;
            return Ok(());
        }
        let part = Part::read(&self.run, self.digits, self.next, sealed)?;
        for line in part.lines() {
            self.at += 1;
            if self.at > self.had.0 {
                if !sink.event(line)? {
                    return Err(part.no_event().into());
                }
                continue;
            }
            let is_end = self.at == self.had.0;
            if is_end && self.had.1.as_ref().is_some_and(|last| !sink.is_last(line, last)) {
                return Err(DeliverError::OtherRun { to: self.target.to_string() });
            }
        }
        sink.flush()?;
        self.logged = self.logged.max(self.at);
        if !self.is_file() {
            let path = self.checkpoint();
            let beside = path.with_extension("tmp");
            let written = private::create(&beside)
                .and_then(|mut file| file.write_all(format!("{}\n", self.at).as_bytes()));
            let named = written.and_then(|()| fs::rename(&beside, &path));
            named.map_err(|source| DeliverError::Write { path, source })?;
        }
        Ok(())
    }

    /// Ends the log. `is_done`: the run is; a log that has more events than it is another's.
    pub fn finish(mut self, is_done: bool) -> Logged {
        self.advance();
        if let Some(sink) = self.sink.take() {
            let is_other = is_done && self.had.0 > self.at;
            if is_other {
                self.error = Some(DeliverError::OtherRun { to: self.target.to_string() });
            }
            if let Err(error) = sink.finish() {
                self.error.get_or_insert(error);
            }
        }
        let is_other = matches!(self.error, Some(DeliverError::OtherRun { .. }));
        let events = if is_other { 0 } else { self.logged };
        let missing = self.committed.saturating_sub(events);
        Logged { events, missing, error: self.error }
    }
}
