//! Whose turn it is: where a simulation is asked for, the engine's threads run one at a time, in an
//! order that a seed decides, and the process may be ended at any of the points that they pass.
//!
//! Only in programs with the feature `fault-injection`, and there only where [`simulate`] was
//! called (`simulation`); in all others what stands here compiles to nothing (`idle`). Not here:
//! what is done to files, each of which is a point too (`spool/file.rs`). Invariants: whoever waits
//! for another thread gives the turn away; no turn is given away while a lock is held.

#[cfg(not(feature = "fault-injection"))]
mod idle;
#[cfg(feature = "fault-injection")]
mod simulation;

#[cfg(not(feature = "fault-injection"))]
pub(super) use idle::{Turn, begin, bound, point, recv, send};
#[cfg(feature = "fault-injection")]
pub use simulation::{Crash, Simulation, simulate};
#[cfg(feature = "fault-injection")]
pub(super) use simulation::{Turn, begin, bound, point, recv, send};

/// Places in the engine between two steps whose order threads may change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    /// A worker is about to take a part.
    Take,
    /// It has told the board what it has in hand.
    Announce,
    /// All is written that a state counts; the board doesn't have it yet.
    Save,
    /// The group commit has parts to commit.
    Commit,
    /// Their lines are in the log, and nobody was told yet.
    Committed,
}
