//! Proves the conservation of a run, finished or crashed, from its files alone.
//!
//! Double entry: the queue is framed again by the plan; every disposition stands in the events and
//! in a stream's record, and both must say the same, of the same message, with the same content and
//! envelope; every record and event must belong to a message. Seals and counts of the commit log
//! come on top; and what a message's records, reports and events say is written again (`again`).
//! `part` holds one part's books (`quarantine` what was set aside, `refer` what accepted mail
//! refers to), `expect` a manifest against them. Not here: why a message was judged as it was (that
//! would need the directory, and be the same code again). Nothing is written or changed.

mod again;
mod bags;
mod books;
mod drained;
mod expect;
mod part;
mod quarantine;
mod refer;
mod replay;

pub use expect::ManifestError;

use crate::limits;
use crate::queue::{Buffers, QueueError};
use crate::spool::commits::{self, Commit};
use crate::spool::folder::{self, Planned};
use crate::spool::set_aside::{self, Place as RecordPlace, Step};
use crate::spool::{Counts, SpoolError, Stream, drain};
use books::Place;
use expect::Manifest;
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What an audit has found.
#[derive(Debug, Default, serde::Serialize)]
pub struct Report {
    /// Parts of the plan.
    pub parts: usize,
    /// Parts that aren't committed: their messages are still in the queue, and nowhere else.
    pub parts_uncommitted: usize,
    /// Messages of the committed parts, damaged ranges not counted.
    pub messages: u64,
    /// Their dispositions.
    pub dispositions: u64,
    /// Messages and dispositions that are nowhere.
    pub lost: u64,
    /// Records and events that there is one too many of.
    pub doubled: u64,
    /// What isn't as it has to be.
    pub wrong: u64,
    /// What the streams hold, counted anew.
    pub counts: Counts,
    /// Messages that were held against a manifest.
    pub expected: u64,
    /// Post offices whose mailbags were looked into: the run was drained.
    pub offices: u64,
    /// Post offices that the drain hasn't done yet.
    pub offices_undrained: u64,
    /// Records that wait for room in a mailbag.
    pub waiting: u64,
    /// Reports that no mailbag leads to: they are in their stream.
    pub reports_left: u64,
    /// Records of the streams that were dropped since.
    pub dropped: u64,
    /// Records of the streams that were sent through again since, into other runs.
    pub replayed: u64,
    /// The first findings, in the order of the queue.
    pub findings: Vec<Finding>,
    /// Places that were held against the manifest.
    #[serde(skip)]
    seen: HashSet<Place>,
}

/// How something is not as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is nowhere.
    Lost,
    /// It is in two places.
    Doubled,
    /// It differs.
    Wrong,
}

/// One thing that isn't as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How.
    pub kind: Kind,
    /// Where: file and offset.
    pub place: String,
    /// What.
    pub what: String,
}

impl Report {
    /// True where nothing is lost, doubled or wrong.
    pub const fn is_clean(&self) -> bool {
        self.found() == 0
    }

    const fn found(&self) -> u64 {
        self.lost + self.doubled + self.wrong
    }

    fn find(&mut self, kind: Kind, place: impl Into<String>, what: impl Into<String>) {
        *match kind {
            Kind::Lost => &mut self.lost,
            Kind::Doubled => &mut self.doubled,
            Kind::Wrong => &mut self.wrong,
        } += 1;
        if self.findings.len() < limits::FINDINGS_TOLD_MAX {
            self.findings.push(Finding { kind, place: place.into(), what: what.into() });
        }
    }

    fn merge(&mut self, other: Self) {
        self.messages += other.messages;
        self.dispositions += other.dispositions;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.wrong += other.wrong;
        self.counts.add(&other.counts);
        self.expected += other.expected;
        self.offices += other.offices;
        self.offices_undrained += other.offices_undrained;
        self.waiting += other.waiting;
        self.reports_left += other.reports_left;
        self.seen.extend(other.seen);
        let room = limits::FINDINGS_TOLD_MAX.saturating_sub(self.findings.len());
        self.findings.extend(other.findings.into_iter().take(room));
    }
}

/// Audits a run; holds it against a manifest of `inqueue-gen`, where one is given.
///
/// # Errors
/// The run, its queue or the manifest can't be read. What is read and isn't right is a finding, not
/// an error.
pub fn audit(run: &Path, expect: Option<&Path>) -> Result<Report, AuditError> {
    let planned = folder::read_plan(run)?;
    let manifest = expect.map(Manifest::load).transpose()?;
    let (mut commits, _) = commits::read(run)?;
    commits.sort_by_key(|commit| commit.part);
    let mut report = Report { parts: planned.plan.parts.len(), ..Report::default() };
    check_log(&mut report, &commits);
    check_folder(&mut report, run, &planned, &commits)?;
    check_summary(&mut report, run, &commits)?;
    commits.dedup_by_key(|commit| commit.part);
    commits.retain(|commit| (commit.part as usize) < report.parts);
    report.parts_uncommitted = report.parts - commits.len();
    let parts: Vec<Report> = commits
        .par_iter()
        .map_init(Buffers::default, |buffers, commit| {
            part::audit(run, &planned, commit, manifest.as_ref(), buffers)
        })
        .collect::<Result<_, _>>()?;
    for part in parts {
        report.merge(part);
    }
    check_set_aside(&mut report, run, &commits)?;
    if drain::is_begun(run) {
        bags::audit(run, &planned, &commits, &mut report)?;
    }
    if let Some(manifest) = &manifest
        && report.parts_uncommitted == 0
    {
        for entry in manifest.unseen(&report.seen) {
            report.find(Kind::Lost, entry, "stands in the manifest, not in the queue");
        }
    }
    Ok(report)
}

fn check_log(report: &mut Report, commits: &[Commit]) {
    for pair in commits.windows(2) {
        if let [one, other] = pair
            && one.part == other.part
        {
            let what = format!("part {} is committed twice", one.part);
            report.find(Kind::Doubled, commits::NAME, what);
        }
    }
    let parts = report.parts;
    for commit in commits.iter().filter(|commit| commit.part as usize >= parts) {
        let what = format!("part {} is committed, but not planned", commit.part);
        report.find(Kind::Wrong, commits::NAME, what);
    }
}

/// A summary is written when all parts are committed: what it says they have done, they have.
fn check_summary(report: &mut Report, run: &Path, commits: &[Commit]) -> Result<(), AuditError> {
    let path = run.join(folder::SUMMARY);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SpoolError::Read { path, source }.into()),
    };
    let mut counts = Counts::default();
    for commit in commits {
        counts.add(&commit.counts);
    }
    let place = path.display().to_string();
    match serde_json::from_slice::<Finished>(&text) {
        Ok(finished) if commits.len() < report.parts => {
            let (parts, logged) = (finished.parts_committed, commits.len());
            let what = format!("the run was finished, {parts} parts; the log has {logged}");
            report.find(Kind::Lost, place, what);
        }
        Ok(finished) if finished.counts == counts => {}
        Ok(finished) => {
            let differing = finished.counts.differences(&counts);
            report.find(Kind::Wrong, place, format!("it and the log differ: {differing}"));
        }
        Err(error) => report.find(Kind::Wrong, place, error.to_string()),
    }
    Ok(())
}

/// What was dropped or replayed is in the streams, and was so once. The streams themselves hold all
/// of it still.
fn check_set_aside(report: &mut Report, run: &Path, commits: &[Commit]) -> Result<(), AuditError> {
    let (steps, _) = set_aside::read(run)?;
    let mut seen: HashSet<(&str, RecordPlace)> = HashSet::new();
    for step in &steps {
        let (stream, places) = match step {
            Step::Dropped(dropped) => (dropped.stream, std::slice::from_ref(&dropped.place)),
            Step::Replayed(replayed) => (replayed.stream, replayed.places.as_slice()),
            Step::Made(_) => continue,
        };
        let is_drop = matches!(step, Step::Dropped(_));
        let count = if is_drop { &mut report.dropped } else { &mut report.replayed };
        *count += places.len() as u64;
        for place in places {
            let RecordPlace(part, offset) = *place;
            let at = format!("{}, part {part}, offset {offset}", stream.name());
            let found = commits.binary_search_by_key(&part, |commit| commit.part).ok();
            let commit = found.and_then(|index| commits.get(index));
            let file = commit.and_then(|commit| commit.files.get(stream).as_ref());
            if file.is_none_or(|sealed| offset >= sealed.length) {
                let what = "the log of what was set aside names it, and it is not there";
                report.find(Kind::Wrong, at, what);
            } else if !seen.insert((stream.name(), *place)) {
                let what = "it was dropped or replayed twice";
                report.find(Kind::Doubled, at, what);
            }
        }
    }
    Ok(())
}

/// What a summary says.
#[derive(Debug, serde::Deserialize)]
struct Finished {
    parts_committed: usize,
    counts: Counts,
}

/// Files that no commit knows: waste of parts that were begun, as long as the run isn't finished;
/// otherwise mail from nowhere.
fn check_folder(
    report: &mut Report,
    run: &Path,
    planned: &Planned,
    commits: &[Commit],
) -> Result<(), AuditError> {
    let digits = planned.plan.digits();
    let finished = commits.len() >= planned.plan.parts.len();
    for stream in Stream::ALL {
        let known: HashSet<_> = commits
            .iter()
            .filter(|commit| commit.files.get(stream).is_some())
            .map(|commit| folder::part_path(run, digits, stream, commit.part))
            .collect();
        let path = run.join(stream.name());
        let failed = |source| SpoolError::Read { path: path.clone(), source };
        for entry in path.read_dir().map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if finished && !known.contains(&path) {
                let place = path.display().to_string();
                report.find(Kind::Doubled, place, "no part of the run has written this file");
            }
        }
    }
    Ok(())
}

/// Why an audit can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum AuditError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(
        "{}: the queue changed since the run was planned, and accepted mail of the run is still in \
         it (bring the file back as it was, with its time of last change; `check` of the accepted \
         stream says which messages are gone)",
        path.display()
    )]
    Referred { path: PathBuf },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}
