//! The events of a run, in queue order, as one file or to a receiver: all at once ([`events`]), or
//! as they come to be ([`Follow`]).
//!
//! JSON lines are copied as they stand (docs/events.md), other encodings are made from them. Each
//! part's are held against the seal of its commit before any is written. A run that isn't done
//! gives what is committed, in the order of its parts: ids are stable, so a consumer that gets the
//! rest later drops what it has seen. Not here: the bytes of an encoding (`event`).

mod evt_files;
mod follow;
mod sink;
mod target;

pub use follow::{Follow, Logged};
pub use target::EventTarget;

use super::DeliverError;
use crate::queue::bytes::FileBytes;
use crate::spool::commits::Sealed;
use crate::spool::folder::{self, Planned};
use crate::spool::{SpoolError, Stream, commits};
use sink::{Options, Sink};
use std::path::{Path, PathBuf};

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Events written.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Parts of the run that aren't committed, and so have no events yet.
    pub parts_uncommitted: usize,
}

/// Writes the events of a run's committed parts into a new file, or to a receiver. `log_bytes` is
/// how large one file of an event log may be.
///
/// # Errors
/// The run can't be read or was altered; the file exists, or can't be written; the receiver doesn't
/// take them. What is written by then stays, as `PATH.partial`.
pub fn events(run: &Path, target: &EventTarget, log_bytes: u64) -> Result<Exported, DeliverError> {
    let Planned { plan, .. } = folder::read_plan(run)?;
    let (mut commits, _) = commits::read(run)?;
    commits.sort_by_key(|commit| commit.part);
    let options = Options { hostname: &plan.options.hostname, log_bytes };
    let mut sink = Sink::create(target, options)?;
    let parts_uncommitted = plan.parts.len().saturating_sub(commits.len());
    let mut exported = Exported { parts_uncommitted, ..Exported::default() };
    for commit in &commits {
        let Some(sealed) = commit.files.events else { continue };
        let part = Part::read(run, plan.digits(), commit.part, sealed)?;
        for line in part.lines() {
            if !sink.event(line)? {
                return Err(part.no_event().into());
            }
        }
        exported.events += sealed.records;
    }
    exported.bytes = sink.finish()?;
    Ok(exported)
}

/// The events of a committed part.
struct Part {
    path: PathBuf,
    bytes: FileBytes,
}

impl Part {
    /// Reads them; they are as they were sealed.
    fn read(run: &Path, digits: usize, part: u32, sealed: Sealed) -> Result<Self, SpoolError> {
        let path = folder::part_path(run, digits, Stream::Events, part);
        let (bytes, _) = FileBytes::open(&path, Vec::new()).map_err(SpoolError::read(&path))?;
        let is_so = bytes.bytes().len() as u64 == sealed.length
            && crc32c::crc32c(bytes.bytes()) == sealed.seal;
        if !is_so {
            return Err(SpoolError::altered(&path, "it is not as the commit log has it"));
        }
        Ok(Self { path, bytes })
    }

    /// With their line ends.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.bytes().split_inclusive(|byte| *byte == b'\n')
    }

    fn no_event(&self) -> SpoolError {
        SpoolError::altered(&self.path, "a line of it is no event")
    }
}
