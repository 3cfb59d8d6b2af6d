//! A part of a run again, all of it: one that the engine has died over, and that isn't committed.
//!
//! Its capsule is the part itself: file, range, and which message was in hand. It walks as the next
//! run would have it do, with what is known of its messages from `charges`, but nothing is written:
//! what a death in writing needs isn't there. Not here: finding one message that was struck
//! (`find`). Invariant: neither run nor queue is touched.

use super::capsule::differences;
use super::{Died, ReproduceError, in_a_process};
use crate::directory::Directory;
use crate::engine::board::Board;
use crate::engine::child::as_worker;
use crate::engine::isolate::{self, Fault, Stage};
use crate::engine::message::Walk;
use crate::engine::walk::Trial;
use crate::engine::{Context, EngineError, Fence, Known, Settings, Stop, Task, new_board};
use crate::queue::{Buffers, Format, Span};
use crate::spool::charges::{Charge, Charges, Verdict};
use crate::spool::folder::{self, Planned, RunFolder};
use crate::spool::plan::Program;
use crate::spool::{Counts, Sync, commits};
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A death of the engine's process, with a message of a part in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Death {
    /// Which of the part's messages and damaged ranges it was, from 0.
    pub index: u64,
    /// Its offset in its file; where it is looked for, the end of the one before.
    pub offset: u64,
    /// Name of the stage that it was in.
    pub stage: String,
    /// How the process ended.
    pub fault: String,
}

impl Death {
    fn of(stage: Stage, end: &str, (index, offset): (u64, u64)) -> Self {
        let Fault { text, .. } = Fault::of_death(stage, end);
        Self { index, offset, stage: stage.name().to_owned(), fault: text }
    }

    fn charged(charge: &Charge) -> Self {
        let stage = Stage::of(&charge.stage).unwrap_or(Stage::Frame);
        Self::of(stage, &charge.end, (charge.index, charge.offset))
    }
}

/// What happens to a part when it walks again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartAgain {
    /// What the process died of.
    pub death: Option<Death>,
    /// What becomes of its messages, where the process survived them.
    pub counts: Option<Counts>,
}

/// A part of a run.
#[derive(Debug)]
pub struct PartOfRun {
    /// Its number.
    pub part: u32,
    /// Its queue.
    pub queue: PathBuf,
    /// The queue's format.
    pub format: Format,
    /// Where it lies in the queue: `queue.mbox, bytes 0 to 8000`, `files 0 to 100`; ends aren't
    /// within.
    pub place: String,
    /// Deaths over it that nobody was acquitted of.
    pub before: Vec<Death>,
    planned: Planned,
    charges: Charges,
}

/// The deaths that parts of a run were left undone with, in order, each with its part.
///
/// # Errors
/// The run can't be read, or was altered.
pub fn deaths(run: &Path) -> Result<Vec<(u32, Death)>, ReproduceError> {
    let (commits, _) = commits::read(run)?;
    let done: HashSet<u32> = commits.iter().map(|commit| commit.part).collect();
    let charges = Charges::read(run)?;
    let left = charges.all().filter(|charge| !done.contains(&charge.part));
    let left = left.filter(|charge| charge.verdict != Verdict::Acquitted);
    Ok(left.map(|charge| (charge.part, Death::charged(charge))).collect())
}

impl PartOfRun {
    /// Opens a part of a run.
    ///
    /// # Errors
    /// The run can't be read, was altered, or has no such part.
    pub fn open(run: &Path, part: u32) -> Result<Self, ReproduceError> {
        let planned = folder::read_plan(run)?;
        let plan = &planned.plan;
        let planned_part = plan.parts.get(part as usize);
        let queue = planned_part.and_then(|part| Some((plan.queues.get(part.queue)?, &part.span)));
        let Some((queue, span)) = queue else {
            let parts = plan.parts.len();
            return Err(ReproduceError::NoPart { run: run.to_owned(), part, parts });
        };
        let place = match *span {
            Span::Bytes(file, start, end) => {
                let file = queue.files.get(file as usize).map_or("", |file| file.name.as_str());
                format!("{file}, bytes {start} to {end}")
            }
            Span::Files(first, end) => format!("files {first} to {end}"),
        };
        let before = deaths(run)?.into_iter().filter(|(of, _)| *of == part);
        let before = before.map(|(_, death)| death).collect();
        let (queue, format, charges) = (queue.path.clone(), queue.format, Charges::read(run)?);
        Ok(Self { part, queue, format, place, before, planned, charges })
    }

    /// The directory's file, as the run has it.
    pub fn directory(&self) -> Option<&Path> {
        self.planned.plan.directory.path.as_deref()
    }

    /// What isn't as it was in the run, in words: this program, and the directory that it is run
    /// with.
    pub fn differences(&self, directory: &Directory) -> Vec<String> {
        let plan = &self.planned.plan;
        let program = plan.program.clone().unwrap_or_else(Program::own);
        differences(&program, &plan.directory, directory)
    }

    /// Runs it in a process of its own, which must be split from one with a single thread
    /// ([`crate::engine::alone`]).
    ///
    /// # Errors
    /// There can't be such a process, it ended with nothing in hand, or the queue can't be read.
    pub fn reproduce(
        &self,
        directory: &Directory,
        fence: &Fence,
    ) -> Result<PartAgain, EngineError> {
        let again = in_a_process(fence, |board| as_worker(|| self.walk(directory, board))?)?;
        Ok(match again {
            Ok(counts) => PartAgain { death: None, counts: Some(counts) },
            Err(Died { end, in_hand, offset }) => {
                let stage = Stage::of_number(in_hand.stage);
                let death = Death::of(stage, &end, (in_hand.index, offset));
                PartAgain { death: Some(death), counts: None }
            }
        })
    }

    /// Runs it in this process, under a debugger perhaps: what kills it kills this process.
    ///
    /// # Errors
    /// The system has no room for the board, or the queue can't be read.
    pub fn reproduce_here(&self, directory: &Directory) -> Result<PartAgain, EngineError> {
        let board = new_board(1, 0)?;
        let counts = as_worker(|| self.walk(directory, board))??;
        Ok(PartAgain { death: None, counts: Some(counts) })
    }

    fn walk(&self, directory: &Directory, board: Board<'static>) -> Result<Counts, EngineError> {
        let Planned { plan, queues } = &self.planned;
        let (folder, stop) = (RunFolder::nowhere(), Stop::default());
        let settings = Settings { workers: Some(1), sync: Sync::Never, breaker: 0, stop: &stop };
        let known = Known::of(&self.charges);
        let mut context = Context::new(&folder, plan, queues, directory, &settings, board, &known);
        context.trial = Some(Trial::ALL);
        isolate::install_hook();
        let mut walk = Walk::new(&context, 0);
        let task = Task { part: self.part, tries: 0, is_dirty: false, saved: None };
        walk.part(&task, None, &mut Buffers::default())?;
        walk.rest();
        Ok(walk.counts)
    }
}
