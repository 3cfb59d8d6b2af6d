//! Runs one message again that a fault has struck: alone, with its budget, writing nothing.
//!
//! `find` finds it in a run, `capsule` is all that its walk depends on, as a file that can be taken
//! elsewhere; `part` does the same with a whole part that the engine has died over. Here it walks:
//! in a process split off, whose end is told whatever it is, or in this one, for a debugger. Not
//! here: what a fault is (`isolate`), and the walk (`message`). Invariant: neither run nor queue is
//! touched.

mod capsule;
mod find;
mod part;

pub use crate::spool::plan::Program;
pub use capsule::{Capsule, Message, Strike, VERSION};
pub use find::struck;
pub use part::{Death, PartAgain, PartOfRun, deaths};

use super::board::{Board, InHand};
use super::child::{Bounds, Child, End, Sign, as_worker};
use super::isolate::{self, Fault, Stage};
use super::message::Walk;
use super::walk::Trial;
use super::{Context, EngineError, Fence, Known, Settings, Stop, new_board};
use crate::directory::Directory;
use crate::limits;
use crate::queue::{Frames, QueueError};
use crate::spool::folder::RunFolder;
use crate::spool::plan::{self, Plan};
use crate::spool::{Counts, SpoolError, Sync};
use find::Held;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// A message of a run that faults have struck.
#[derive(Clone, Debug)]
pub struct Struck {
    /// Its part.
    pub part: u32,
    /// Its name in the queue, as far as it was known.
    pub queue_id: String,
    /// What struck it, in order.
    pub faults: Vec<Strike>,
    /// The first part of its events' ids.
    key: String,
    /// The records that tell of it.
    held: Vec<Held>,
}

impl Struck {
    /// The places of the records that tell of it, as `quarantine/00003.seg:32`.
    pub fn places(&self) -> Vec<String> {
        self.held.iter().map(Held::place_in_run).collect()
    }
}

/// What happens to a message when it walks again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// What strikes it: nothing, where this is empty. A stack comes with each panic.
    pub faults: Vec<Strike>,
    /// What becomes of its recipients; none where the process doesn't survive it.
    pub counts: Option<Counts>,
}

/// Runs the message of a capsule in a process of its own, which must be split from one with a
/// single thread ([`super::alone`]).
///
/// # Errors
/// There can't be such a process, or it ended with nothing in hand.
pub fn reproduce(
    capsule: &Capsule,
    directory: &Directory,
    fence: &Fence,
) -> Result<Again, EngineError> {
    let again = in_a_process(fence, |board| as_worker(|| walk(capsule, directory, board))?)?;
    Ok(again.unwrap_or_else(|Died { end, in_hand, .. }| {
        let fault = Fault::of_death(Stage::of_number(in_hand.stage), &end);
        Again { faults: vec![strike(fault, None)], counts: None }
    }))
}

/// How a process ended that didn't come to its end, and what it had in hand.
struct Died {
    end: String,
    in_hand: InHand,
    offset: u64,
}

/// Runs something in a process of its own, and gives what comes of it.
fn in_a_process<R: Serialize + DeserializeOwned>(
    fence: &Fence,
    run: impl FnOnce(Board<'static>) -> Result<R, EngineError>,
) -> Result<Result<R, Died>, EngineError> {
    let board = new_board(1, 0)?;
    let mut child = Child::split(Bounds::of(fence), board, 0..1, |mut tell| {
        let result = run(board).map_err(|error| error.to_string());
        let words = serde_json::to_vec(&result).map_err(io::Error::other);
        u8::from(words.and_then(|words| tell.write_all(&words)).is_err())
    })?;
    let broken = |error: &dyn Display| EngineError::Process(io::Error::other(error.to_string()));
    while !matches!(child.listen(limits::WATCH)?, Sign::Over) {}
    match child.end()? {
        End::Said(words) => serde_json::from_slice::<Result<R, String>>(&words)
            .map_err(|error| broken(&error))?
            .map(Ok)
            .map_err(EngineError::Told),
        End::Died(end, in_hand) => match in_hand.first() {
            Some(&(in_hand, offset)) => Ok(Err(Died { end, in_hand, offset })),
            None => Err(broken(&format!("it ended before it had a message in hand ({end})"))),
        },
    }
}

/// Runs the message of a capsule in this process, under a debugger perhaps: what kills it kills
/// this process.
///
/// # Errors
/// The system has no room for the board.
pub fn reproduce_here(capsule: &Capsule, directory: &Directory) -> Result<Again, EngineError> {
    let board = new_board(1, 0)?;
    as_worker(|| walk(capsule, directory, board))?
}

/// Walks the message through, as its run did.
fn walk(
    capsule: &Capsule,
    directory: &Directory,
    board: Board<'static>,
) -> Result<Again, EngineError> {
    let options = capsule.options.clone();
    let (version, parts) = (plan::VERSION, Vec::new());
    let directory_of_run = capsule.directory.clone();
    let queues = Vec::new();
    let program = Some(capsule.program.clone());
    let plan = Plan { version, queues, directory: directory_of_run, options, program, parts };
    let (folder, stop, known) = (RunFolder::nowhere(), Stop::default(), Known::default());
    let settings = Settings { workers: Some(1), sync: Sync::Never, breaker: 0, stop: &stop };
    let mut context = Context::new(&folder, &plan, &[], directory, &settings, board, &known);
    context.trial = Some(Trial::of(0, 0));
    let office = capsule.office.as_ref().map(Directory::of_office);
    isolate::install_hook();
    isolate::keep();
    let mut walk = Walk::new(&context, 0);
    walk.part.begin(0);
    if let Some((source, found)) = capsule.message.found() {
        walk.office = office.as_ref();
        walk.walk(source, Frames::Files([found].iter()))?;
    }
    // Looking up the names of a stack isn't the message's time.
    walk.rest();
    let mut faults: Vec<Strike> = Vec::new();
    for (fault, stack) in isolate::kept() {
        let strike = strike(fault, stack.map(|stack| stack.to_string()));
        // Events that can't be told together are told one by one: the same fault again.
        if faults.last().is_none_or(|last| !last.is_same(&strike)) {
            faults.push(strike);
        }
    }
    Ok(Again { faults, counts: Some(walk.counts) })
}

fn strike(fault: Fault, stack: Option<String>) -> Strike {
    let Fault { stage, text, place } = fault;
    Strike { id: None, stage: stage.name().to_owned(), fault: text, place, stack }
}

/// Why a message can't be run again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum ReproduceError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(
        "{}: no message that a fault struck has the id {} (--list gives them)",
        run.display(), shown(id)
    )]
    Unknown { run: PathBuf, id: String },
    #[error("{}: has {parts} parts, from 0 on, and no part {part}", run.display())]
    NoPart { run: PathBuf, part: u32, parts: usize },
    #[error(
        "{}: several messages have the id {} (name one of {})",
        run.display(), shown(id), places.join(", ")
    )]
    Several { run: PathBuf, id: String, places: Vec<String> },
    #[error(
        "{}: no record of a stream tells where {} stood (audit the run)",
        run.display(), shown(id)
    )]
    NoRecord { run: PathBuf, id: String },
    #[error(
        "{}: {} isn't in its queue any more, or the queue has changed, and no stream has it whole \
         (bring the queue back as it was)",
        run.display(), shown(id)
    )]
    Gone { run: PathBuf, id: String },
    #[error("{}: cannot read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: cannot write the capsule: {source} (name a new file)", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{}: is no capsule, or is torn off: {what} (save it again from its run)",
        path.display()
    )]
    NotACapsule { path: PathBuf, what: String },
    #[error(
        "{}: version {version} of a capsule isn't known to this program, which knows {VERSION}",
        path.display()
    )]
    Version { path: PathBuf, version: u64 },
    #[error("{}: was altered since it was saved (save it again from its run)", path.display())]
    Altered { path: PathBuf },
}

/// An id as it may be shown, whatever was typed.
fn shown(id: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    id.chars().take(limits::EVENT_STRING_CHARS_MAX).map(shown).collect()
}
