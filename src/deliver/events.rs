//! The events of a run as one file of JSON Lines, in queue order.
//!
//! Lines are copied as they stand (docs/events.md); each part's are held against the seal of its
//! commit. A run that isn't finished gives what is committed: ids are stable, so a consumer that
//! gets the rest later drops what it has seen. Not here: any other encoding.

use super::DeliverError;
use super::target::Place;
use crate::limits;
use crate::spool::folder::{self, Planned};
use crate::spool::{SpoolError, Stream, commits};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

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

/// Writes the events of a run's committed parts into a new file.
///
/// # Errors
/// The run can't be read or was altered; the file exists, or can't be written. What is written by
/// then stays, as `PATH.partial`.
pub fn events(run: &Path, target: &Path) -> Result<Exported, DeliverError> {
    let Planned { plan, .. } = folder::read_plan(run)?;
    let (mut commits, _) = commits::read(run)?;
    commits.sort_by_key(|commit| commit.part);
    let place = Place::check(target, false)?;
    let mut to = File::create_new(place.partial()).map_err(|source| place.failed(source))?;
    let parts_uncommitted = plan.parts.len().saturating_sub(commits.len());
    let mut exported = Exported { parts_uncommitted, ..Exported::default() };
    let mut buffer = vec![0; limits::BUFFER_BYTES];
    for commit in &commits {
        let Some(sealed) = commit.files.events else { continue };
        let path = folder::part_path(run, plan.digits(), Stream::Events, commit.part);
        let mut from = File::open(&path).map_err(SpoolError::read(&path))?;
        let mut checksum = 0;
        loop {
            let length = from.read(&mut buffer).map_err(SpoolError::read(&path))?;
            let piece = buffer.get(..length).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            checksum = crc32c::crc32c_append(checksum, piece);
            to.write_all(piece).map_err(|source| place.failed(source))?;
        }
        if checksum != sealed.seal {
            return Err(SpoolError::altered(&path, "it is not as the commit log has it").into());
        }
        exported.events += sealed.records;
        exported.bytes += sealed.length;
    }
    to.sync_all().map_err(|source| place.failed(source))?;
    place.finish()?;
    Ok(exported)
}
