//! Whether somebody holds a lock of a post office (docs/postoffice.md, *The lock*).
//!
//! Not here: taking one. Invariant: the file isn't changed; a lock that can't be judged is held.

use super::Clock;
use crate::limits;
use crate::mail::date::Time;
use crate::queue::open;
use crate::spool::drain;
use std::io::Read as _;
use std::path::Path;

/// True where a lock file is held: its process lock is; its drain was cut off and isn't ended; or
/// it is of another system or program, and was changed in the last two days.
pub fn is_held(path: &Path, clock: &Clock) -> bool {
    let Ok(file) = open::to_read(path) else { return true };
    if file.try_lock_shared().is_err() {
        return true;
    }
    let mut text = String::new();
    // What isn't text is of another program.
    let _ = (&file).take(limits::LOCK_BYTES_MAX).read_to_string(&mut text);
    let mut words = text.lines().next().unwrap_or_default().splitn(5, ' ');
    let is_ours = words.next() == Some("inqueue");
    let (_, host, _, run) = (words.next(), words.next(), words.next(), words.next());
    if is_ours && host == Some(clock.host.as_str()) {
        // What such a drain has logged and not done is known to its run alone.
        return run.is_some_and(|run| drain::is_unfinished(Path::new(run)));
    }
    let changed = file.metadata().and_then(|found| found.modified());
    let since_epoch = changed.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let changed_s = since_epoch.and_then(|since| i64::try_from(since.as_secs()).ok());
    changed_s.is_none_or(|s| Time::from_s(s).plus_s(limits::LOCK_STALE_S) > clock.now)
}
