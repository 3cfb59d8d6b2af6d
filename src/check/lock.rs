//! Whether somebody holds a lock of a post office (docs/postoffice.md, *The lock*).
//!
//! Not here: taking one. Invariant: the file isn't changed; a lock that can't be judged is held.

use super::Clock;
use crate::queue::open;
use crate::queue::postoffice::lock::LockFile;
use crate::spool::drain;
use std::path::Path;

/// True where a lock file is held: its process lock is; its drain was cut off and isn't ended; or
/// it is of another system or program, and isn't stale.
pub fn is_held(path: &Path, clock: &Clock) -> bool {
    let Ok(file) = open::to_read(path) else { return true };
    if file.try_lock_shared().is_err() {
        return true;
    }
    let Ok(lock) = LockFile::read(&file, clock.now) else { return true };
    // What such a drain has logged and not done is known to its run alone.
    lock.run_of(&clock.host).map_or(!lock.is_stale(), |run| drain::is_unfinished(&run))
}
