//! A manifest of `inqueue-gen` (docs/manifest.md), held against what a run has done.
//!
//! Not here: whether the run's own books are right. A message is found by its place in the queue;
//! the dispositions that are in streams must be those of the manifest, in any order.

use super::books::{Place, Record, place};
use crate::mail::envelope::QueueId;
use crate::queue::segment;
use crate::queue::segment::read::{self, RecipientNotes};
use ahash::AHashMap;
use serde::Deserialize;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// A manifest, by places.
#[derive(Debug)]
pub(super) struct Manifest {
    lines: AHashMap<Place, Line>,
}

/// A line of a manifest but its first.
#[derive(Debug, Deserialize)]
struct Line {
    file: String,
    offset: u64,
    length: u64,
    #[serde(default)]
    checksum: String,
    #[serde(default)]
    damage: bool,
    #[serde(default)]
    quarantined: bool,
    #[serde(default)]
    hazard: String,
    #[serde(default)]
    dispositions: Vec<SeenDisposition>,
}

/// What was seen of a message in the streams.
#[derive(Debug)]
pub(super) struct Seen {
    /// CRC32C of its content, where it is known.
    pub(super) checksum: Option<u32>,
    pub(super) quarantined: bool,
    pub(super) dispositions: Vec<SeenDisposition>,
}

impl Seen {
    pub(super) const fn quarantined(checksum: u32) -> Self {
        Self { checksum: Some(checksum), quarantined: true, dispositions: Vec::new() }
    }
}

/// A disposition, in a manifest's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct SeenDisposition {
    ordinal: Option<u32>,
    address: String,
    outcome: String,
    status: String,
    until: Option<String>,
}

impl fmt::Display for SeenDisposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ordinal) = self.ordinal {
            write!(f, "recipient {ordinal}, ")?;
        }
        write!(f, "{:?} {} {}", self.address, self.outcome, self.status)?;
        self.until.iter().try_for_each(|until| write!(f, " until {until}"))
    }
}

impl SeenDisposition {
    /// That of a recipient in a stream's record.
    pub(super) fn of(record: &Record<'_>, recipient: &RecipientNotes<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let until = if recipient.outcome == 3 {
            let mut recipients = Vec::new();
            let envelope = read::envelope(record.found.head, QueueId::Given(b""), &mut recipients);
            envelope.ok().and_then(|envelope| envelope.next_attempt).map(|at| {
                let mut out = Vec::new();
                at.write_rfc3339(&mut out);
                text(&out)
            })
        } else {
            None
        };
        Self {
            ordinal: recipient.ordinal,
            address: text(recipient.forward_path),
            outcome: segment::outcome_word(recipient.outcome).to_owned(),
            status: text(recipient.status),
            until,
        }
    }
}

impl Manifest {
    /// Reads a manifest.
    pub(super) fn load(path: &Path) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::Read { path: path.to_owned(), source };
        let file = BufReader::new(File::open(path).map_err(failed)?);
        let mut lines = AHashMap::new();
        for (number, line) in (1_usize..).zip(file.lines()) {
            let line = line.map_err(failed)?;
            let bad = |source| ManifestError::Line { path: path.to_owned(), number, source };
            if number == 1 {
                serde_json::from_str::<Head>(&line).map_err(bad)?;
                continue;
            }
            let mut line: Line = serde_json::from_str(&line).map_err(bad)?;
            line.dispositions.sort_unstable();
            let key = place(line.file.as_bytes(), line.offset);
            lines.insert(key, line);
        }
        Ok(Self { lines })
    }

    fn line(&self, name: &[u8], offset: u64) -> Result<&Line, String> {
        let line = self.lines.get(&place(name, offset));
        line.ok_or_else(|| "it does not stand in the manifest".to_owned())
    }

    /// Holds a message against its line.
    pub(super) fn check(&self, name: &[u8], offset: u64, seen: &Seen) -> Result<(), String> {
        let line = self.line(name, offset)?;
        let known = seen.checksum.map(|checksum| format!("{checksum:08x}"));
        let checksum = known.unwrap_or_else(|| line.checksum.clone());
        let mut dispositions = seen.dispositions.clone();
        dispositions.sort_unstable();
        let hazard = &line.hazard;
        if line.damage {
            Err(format!("the manifest ({hazard}) expects damage here, not a message"))
        } else if line.checksum != checksum {
            Err(format!("the manifest ({hazard}) has checksum {}, not {checksum}", line.checksum))
        } else if line.quarantined != seen.quarantined {
            let expected = if line.quarantined { "in" } else { "not in" };
            Err(format!("the manifest ({hazard}) expects it {expected} quarantine"))
        } else if line.dispositions != dispositions {
            let differing = |ours: &[SeenDisposition], other: &[SeenDisposition]| {
                let first = ours.iter().find(|d| !other.contains(d));
                first.map_or_else(|| "nothing else".to_owned(), ToString::to_string)
            };
            let expected = differing(&line.dispositions, &dispositions);
            let got = differing(&dispositions, &line.dispositions);
            Err(format!("the manifest ({hazard}) expects {expected}; the run has {got}"))
        } else {
            Ok(())
        }
    }

    /// Holds a damaged range against its line.
    pub(super) fn check_damage(&self, name: &[u8], offset: u64, length: u64) -> Result<(), String> {
        let line = self.line(name, offset)?;
        if line.damage && line.length == length {
            return Ok(());
        }
        Err(format!("the manifest expects {} bytes here, damaged: {}", line.length, line.damage))
    }

    /// Places of the lines that nothing was held against.
    pub(super) fn unseen(&self, seen: &HashSet<Place>) -> Vec<String> {
        let mut lines: Vec<_> =
            self.lines.iter().filter(|(place, _)| !seen.contains(place)).map(|(_, l)| l).collect();
        lines.sort_unstable_by_key(|line| (&line.file, line.offset));
        lines.iter().map(|line| format!("{}, offset {}", line.file, line.offset)).collect()
    }
}

/// The first line of a manifest.
#[derive(Debug, Deserialize)]
struct Head {
    #[serde(rename = "manifest")]
    _version: u32,
}

/// Why a manifest can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum ManifestError {
    #[error("{}: cannot read the manifest: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}:{number}: not a line of a manifest: {source}", path.display())]
    Line { path: PathBuf, number: usize, source: serde_json::Error },
}
