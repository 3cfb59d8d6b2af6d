//! `inqueue run --drain`: what is committed goes into the mailbags, and out of INQUEUE3.
//!
//! Here: whose lock it is, and what is told of it. Not here: any of the work.

use crate::output;
use inqueue::deliver::drain::{self, Drained, Locks, Owner};
use inqueue::mail::date::Time;
use inqueue::queue::Queue;
use inqueue::spool::Sync;
use std::path::Path;

/// Takes the locks of all post offices of the queues.
pub(crate) fn lock(queues: &[Queue], out: &Path, now: Time) -> anyhow::Result<Locks> {
    let host = rustix::system::uname().nodename().to_string_lossy().replace(' ', "-");
    // The run's folder may not be there yet.
    let run = std::path::absolute(out)?;
    Ok(drain::lock(queues, &Owner { host, now, run })?)
}

/// Drains a run; tells what went wrong with single post offices. The second is false where
/// something is left to do.
pub(crate) fn drain(
    out: &Path,
    sync: Sync,
    workers: Option<usize>,
) -> anyhow::Result<(Drained, bool)> {
    let (drained, errors) = drain::drain(out, sync, workers)?;
    for error in &errors {
        output::tell(&error.to_string());
    }
    if drained.waiting > 0 {
        let what = "wait for room in mailbags: run it again when there is some";
        output::tell(&format!("{} records {what}", drained.waiting));
    }
    if drained.reports_left > 0 {
        let what = "reports have no mailbag to go to: they are in the run's folder, in ndr/";
        output::tell(&format!("{} {what}", drained.reports_left));
    }
    Ok((drained, errors.is_empty() && drained.waiting == 0))
}

/// The same as lines of the summary.
pub(crate) fn table(drained: &Drained) -> String {
    let Drained { offices, slots, records, reports, .. } = drained;
    format!(
        "drained: {slots} slots of {offices} post offices taken out, {records} records put into \
         mailbags ({reports} of them reports)"
    )
}
