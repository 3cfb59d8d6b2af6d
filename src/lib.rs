//! Inqueue: a mail queue processing engine.
//!
//! A queue of mail goes in; five streams of mail and one of events come out. Three promises: every
//! message ends in exactly one place whatever crashes (conservation), the same bytes come out at
//! any number of workers (determinism), and one message's fault is its own (isolation).
//!
//! A message walks through the rooms in a straight line:
//! `plan -> map -> frame -> parse -> decide -> render -> write -> commit -> deliver`.
//! ARCHITECTURE.md has the map. Rooms use only rooms to their left; `tests/it/tidy.rs` reads the
//! imports and says so:
//! `limits | sys, mail, queue | directory | decide | ndr | event, spool, audit, engine, deliver,
//! check, salvage`.

#[cfg(not(panic = "unwind"))]
compile_error!(
    "isolation of a message's fault needs unwinding: set panic = \"unwind\" in the profile"
);

pub mod audit;
pub mod check;
pub mod decide;
pub mod deliver;
pub mod directory;
pub mod engine;
pub mod event;
pub mod limits;
pub mod mail;
pub mod ndr;
pub mod queue;
pub mod salvage;
pub mod spool;
pub mod sys;
