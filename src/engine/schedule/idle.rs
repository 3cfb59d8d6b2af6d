//! No simulation: the system decides whose turn it is, and who waits, waits. Not here: anything.

use super::Point;
use crossbeam_channel::{Receiver, RecvError, Sender};

/// Nothing: every thread may run at any time.
#[derive(Debug)]
pub(crate) struct Turn;

/// The engine begins, in this thread.
pub(crate) const fn begin() -> Turn {
    Turn
}

impl Turn {
    /// For a thread that is about to be started.
    #[expect(clippy::unused_self, reason = "a simulation has to know who is there")]
    pub(crate) const fn seat(&self) -> Self {
        Self
    }

    /// In that thread.
    pub(crate) const fn sit(self) -> Self {
        self
    }

    /// Waits for another thread.
    #[expect(clippy::unused_self, reason = "a simulation has to know who waits")]
    pub(crate) fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        wait()
    }
}

/// A place where another thread may come first.
#[inline]
pub(crate) const fn point(_: Point) {}

/// A limit, which a simulation may make smaller.
#[inline]
pub(crate) const fn bound(limit: usize) -> usize {
    limit
}

/// Sends; false where nobody will ever receive it.
pub(crate) fn send<T>(to: &Sender<T>, what: T) -> bool {
    to.send(what).is_ok()
}

/// Receives, as soon as there is something.
pub(crate) fn recv<T>(from: &Receiver<T>) -> Result<T, RecvError> {
    from.recv()
}
