//! Why a run, or a part of it, can't be done, in words for whoever runs it.
//!
//! Not here: what becomes of the run then (`mod`, `fence`).

use crate::limits;
use crate::queue::QueueError;
use crate::spool::SpoolError;
use std::path::PathBuf;

/// Why a run, or a part of it, can't be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum EngineError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("part {part} is not done: {error}")]
    Part { part: u32, error: Box<EngineError> },
    #[error(
        "part {part} is not done: {tries} workers died over it (see engine.jsonl; inqueue \
             reproduce RUN --part {part} runs it alone)"
    )]
    PartLost { part: u32, tries: u32 },
    #[error(
        "{signature}, on too many messages in a row: a broken program, disk or \
             directory, not bad mail (none of them is set aside; mend it and run again)"
    )]
    Breaker { signature: String },
    #[error(
        "part {part} is not done: the engine {end} at message {index} of it, outside of what a \
             message can be kept from (inqueue reproduce RUN --part {part} runs it alone; or run \
             again)"
    )]
    GivenUp { part: u32, index: u64, end: String },
    #[error("the engine {end}, again and again, with no message in hand")]
    Died { end: String },
    #[error("the engine can't have a process of its own: {0} (--no-supervisor does without)")]
    Process(std::io::Error),
    #[error(
        "the system has no room for a thread: {0} (raise the limit, or ask for fewer --workers)"
    )]
    Thread(std::io::Error),
    #[error(
        "what the engine had written couldn't be brought to the disk, and then it died: {0} (parts \
             that aren't committed are done anew: make sure of the disk, and run again)"
    )]
    Unsynced(std::io::Error),
    #[error("{0}")]
    Told(String),
    #[error("the group commit died; what it has logged is safe (run again to go on)")]
    CommitterDied,
    #[error("{}: this run was begun otherwise (run into a new folder, or as it was):\n  {}",
        path.display(), differences.join("\n  "))]
    Differs { path: PathBuf, differences: Vec<String> },
    #[error(
        "parts of {part_bytes} bytes would be more than {} parts (choose a larger --part-size)",
        limits::PARTS_MAX
    )]
    PartsTooSmall { part_bytes: u64 },
    #[error("no queue was named")]
    NoQueue,
    #[error("{}: is named twice (its mail would be delivered twice)", path.display())]
    NamedTwice { path: PathBuf },
    #[error("{}: lies within the queue {} (name another folder)", out.display(), queue.display())]
    Within { out: PathBuf, queue: PathBuf },
}

impl EngineError {
    /// The signature of the faults that tripped the breaker, where it was that.
    pub(super) fn breaker(&self) -> Option<&str> {
        match self {
            Self::Part { error, .. } => error.breaker(),
            Self::Breaker { signature } => Some(signature),
            _ => None,
        }
    }

    /// True where going on with other parts makes no sense: the disk is full or broken, or the
    /// queue isn't what was planned.
    pub(super) const fn stops_the_run(&self) -> bool {
        matches!(
            self,
            Self::Spool(_) | Self::Breaker { .. } | Self::Queue(QueueError::Changed { .. })
        )
    }
}
