//! Group commit: files of finished parts are synced, then their lines are appended to the commit
//! log, and it is synced.
//!
//! Runs beside the workers, and takes whatever is finished at once: the more waits, the cheaper
//! each. Not here: what a part is. Invariant: a part's line is written only after all its files,
//! and their names, are on the disk. The first error ends it: nothing that comes after could be
//! relied on. The board says so at once: should the engine die before its end, the next mustn't
//! sync the same files, as the system tells of a failure once and then forgets it.

use super::schedule::{self, Point, point};
use super::{Context, Deal, EngineError, Finished, Told};
use crate::limits;
use crate::spool::commits::{Commit, Log};
use crate::spool::folder::RunFolder;
use crate::spool::{SpoolError, Stream, Sync};
use crossbeam_channel::{Receiver, Sender};
use rustix::io::Errno;

/// Commits what comes, until nobody can hand in any more.
pub(super) fn commit(
    context: &Context<'_>,
    log: &mut Log,
    sync: Sync,
    deal: Deal<'_>,
    finished: &Receiver<Finished>,
    tell: &Sender<Told>,
) -> Result<(), EngineError> {
    let folder = context.folder;
    while let Ok(first) = schedule::recv(finished) {
        let mut group = vec![first];
        while group.len() < limits::PARTS_UNCOMMITTED_MAX {
            let Ok(next) = finished.try_recv() else { break };
            group.push(next);
        }
        point(Point::Commit);
        let commits: Vec<Commit> = group.iter().map(line).collect();
        secure(folder, log, &group, &commits, sync == Sync::Commit)
            .inspect_err(|error| context.board.tell_unsynced(number(error)))?;
        point(Point::Committed);
        for place in group.iter().filter_map(|finished| finished.place) {
            context.board.forget(place);
            deal.places.push(place);
        }
        for Commit { part, counts, .. } in commits {
            // Nobody listens only where the run is over.
            let _ = tell.send(Told::Committed(part, counts));
        }
    }
    Ok(())
}

/// Brings the files of a group to the disk, and then its lines into the log.
fn secure(
    folder: &RunFolder,
    log: &mut Log,
    group: &[Finished],
    commits: &[Commit],
    sync: bool,
) -> Result<(), SpoolError> {
    if sync {
        sync_files(folder, group)?;
    }
    let path = || folder.path().join(crate::spool::commits::NAME);
    log.append(commits, sync).map_err(|source| SpoolError::Write { path: path(), source })
}

/// The system's number for why; where there is none, that of a broken disk.
fn number(error: &SpoolError) -> i32 {
    let number = match error {
        SpoolError::Write { source, .. } => source.raw_os_error(),
        _ => None,
    };
    number.unwrap_or(Errno::IO.raw_os_error())
}

fn sync_files(folder: &RunFolder, group: &[Finished]) -> Result<(), SpoolError> {
    for finished in group {
        for stream in Stream::ALL {
            if let Some((file, _)) = finished.written.files.get(stream) {
                file.sync_data().map_err(|source| {
                    let path = folder.part_path(stream, finished.written.number);
                    SpoolError::Write { path, source }
                })?;
            }
        }
    }
    folder.sync_names()
}

fn line(finished: &Finished) -> Commit {
    Commit {
        part: finished.written.number,
        counts: finished.counts,
        files: finished.written.files.map(|_, file| file.as_ref().map(|(_, sealed)| *sealed)),
    }
}
