//! The walk over a part: a worker is a visitor of its queue, and gives what it is shown, in order,
//! to `message`.
//!
//! The board is told what is in hand before anything is done with it. From time to time the part's
//! state is saved, so that after a death little has to be done again.
//! Invariant: what a saved state says is in the part's files.

use super::board::{Board, InHand};
use super::isolate::{Fault, Stage, enter};
use super::message::Walk;
use super::schedule::{self, Point, point};
use super::{EngineError, Saved, Task};
use crate::limits;
use crate::mail::content::Content;
use crate::queue::{Buffers, Framed, Frames, Source, Visit};
use crate::spool::Counts;
use crate::spool::record::Origin;
use crate::spool::refer::Referrer;

/// Messages of a part that are tried, and nothing is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// The first of them, and its offset in its file.
    first: (u64, u64),
    last: u64,
}

impl Trial {
    /// All of them.
    pub(super) const ALL: Self = Self { first: (0, 0), last: u64::MAX };

    /// One, which lies at an offset of its file.
    pub(super) const fn of(index: u64, offset: u64) -> Self {
        Self { first: (index, offset), last: index }
    }
}

/// Where a worker tells what it has in hand, and learns what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Desk<'r> {
    board: Board<'static>,
    worker: usize,
    now: InHand,
    /// What struck the message when it was tried before, stage by stage.
    known: &'r [Fault],
}

impl Desk<'_> {
    /// A message, or the search for one, is in hand; it lies at an offset, and has a length.
    pub(super) fn take(&self, stage: Stage, lies: (u64, u64)) {
        let in_hand = InHand { stage: stage.number(), ..self.now };
        self.board.announce(self.worker, Some(in_hand), lies);
        point(Point::Announce);
    }

    /// True when it is known to be struck in this stage.
    pub(super) fn is_struck_in(&self, stage: Stage) -> bool {
        self.known.iter().any(|fault| fault.stage == stage)
    }

    /// Enters a stage: the board says so before anything is done in it.
    pub(super) fn enter(&self, stage: Stage, marker: Option<&[u8]>) {
        self.announce(stage);
        enter(stage, self.known, marker);
    }

    fn announce(&self, stage: Stage) {
        self.board.stage(self.worker, InHand { stage: stage.number(), ..self.now });
        point(Point::Announce);
    }
}

impl<'r> Walk<'r> {
    pub(super) fn desk(&self) -> Desk<'r> {
        let known = self.known.and_then(|known| known.get(&self.now.index));
        let known = known.map_or(&[][..], Vec::as_slice);
        Desk { board: self.context.board, worker: self.worker, now: self.now, known }
    }

    /// Does a task's part, from its beginning or from where a dead process has left it.
    pub(super) fn part(
        &mut self,
        task: &Task,
        place: Option<usize>,
        buffers: &mut Buffers,
    ) -> Result<(), EngineError> {
        let plan = self.context.plan;
        let Some((queue, span)) = plan.queue_of(self.context.queues, task.part) else {
            return Ok(());
        };
        let planned = plan.parts.get(task.part as usize);
        let offices = planned.and_then(|part| self.context.offices.get(part.queue));
        self.offices = offices.filter(|offices| !offices.is_empty());
        self.refers = Referrer::of(plan, task.part);
        self.known = self.context.known.get(&task.part);
        self.tries = task.tries;
        self.place = place;
        if let Some(saved) = &task.saved {
            self.part.go_on(task.part, &saved.state, &saved.tails, self.context.folder)?;
            (self.counts, self.from, self.next) = (saved.counts, saved.next, saved.offset);
        } else {
            self.part.begin(task.part);
            self.counts = Counts::default();
            let first = self.context.trial.map(|trial| trial.first);
            (self.from, self.next) = first.unwrap_or_default();
        }
        let rest = queue.without_first(span, self.from, self.next);
        self.now = InHand { part: task.part, index: rest.passed_over, stage: 0 };
        self.desk().take(Stage::Frame, (self.next, 0));
        if self.from < u64::MAX {
            queue.read_rest(&rest, buffers, self)?;
        }
        if self.context.trial.is_none() {
            self.part.write_all(self.context.folder)?;
            if !self.breaker.is_in_a_row() {
                self.save(u64::MAX);
            }
        }
        Ok(())
    }

    /// The worker has nothing in hand.
    pub(super) fn rest(&self) {
        self.context.board.announce(self.worker, None, (0, 0));
    }

    /// The message in hand is through: its part's files are written as far as they have grown, and
    /// from time to time the part's state is saved.
    pub(super) fn settle(&mut self, content: Content<'_>) -> Result<(), EngineError> {
        if self.context.trial.is_some() {
            self.part.begin(self.now.part);
            return Ok(());
        }
        self.desk().announce(Stage::Write);
        #[cfg(feature = "fault-injection")]
        super::inject::strike_in(Stage::Write, content);
        self.part.settle(self.context.folder, content)?;
        if self.part.waiting() >= schedule::bound(limits::BUFFER_BYTES) {
            self.part.write_round(self.context.folder)?;
            if !self.breaker.is_in_a_row() {
                self.save(self.now.index + 1);
            }
        }
        Ok(())
    }

    /// Saves how far the part is: up to the message of this number.
    fn save(&mut self, next: u64) {
        let Some(place) = self.place else { return };
        let mut tails = std::mem::take(&mut self.tails);
        let state = self.part.state(&mut tails);
        let part = self.now.part;
        let (counts, offset) = (self.counts, self.next);
        let saved = Saved { place, part, next, offset, counts, state, tails };
        point(Point::Save);
        self.context.board.save(place, &saved.words(), &saved.tails);
        self.tails = saved.tails;
    }

    /// The message in hand was struck; too many like it end the run.
    pub(super) fn struck(&mut self, faults: &[Fault]) -> Result<(), EngineError> {
        match faults.first().and_then(|fault| self.breaker.struck(fault)) {
            Some(signature) if self.context.trial.is_none() => {
                Err(EngineError::Breaker { signature })
            }
            _ => Ok(()),
        }
    }

    fn walk<'a>(&mut self, source: Source<'a>, mut frames: Frames<'a>) -> Result<(), EngineError>
    where
        'r: 'a,
    {
        let mut memory = std::mem::take(&mut self.memory).recycle();
        memory.office = self.offices.and_then(|offices| offices.get(office_of(source.name)));
        loop {
            self.desk().take(Stage::Frame, (self.next, 0));
            if self.context.trial.is_some_and(|trial| self.now.index > trial.last) {
                break;
            }
            let Some(found) = frames.next() else { break };
            #[cfg(feature = "fault-injection")]
            if let Framed::Message(found) = &found {
                super::inject::strike_in(Stage::Frame, found.content);
            }
            let lies = found.lies();
            self.next = lies.0 + lies.1;
            match found {
                _ if self.now.index < self.from => {}
                Framed::Message(found) => {
                    let checksum = frames.content_checksum();
                    self.message(&source, found, checksum, &mut memory)?;
                }
                Framed::Damage(damage) => {
                    let name = source.name;
                    let origin = Origin { name, offset: damage.offset, length: damage.length };
                    self.damage(&source, origin, damage)?;
                }
            }
            self.now.index += 1;
            self.breaker.passed();
        }
        self.memory = memory.recycle();
        Ok(())
    }
}

impl Visit for Walk<'_> {
    type Error = EngineError;

    fn batch<'a>(&mut self, source: Source<'a>, frames: Frames<'a>) -> Result<(), EngineError> {
        // The queue's bytes may outlive the directory: here they live for the shorter of both.
        self.walk(source, frames)
    }

    /// What is accepted stays where it is, unread.
    fn compares_contents(&self) -> bool {
        self.refers.is_none()
    }
}

/// The path of the post office that a mailbag is in: its name without folder and file.
pub(super) fn office_of(bag: &[u8]) -> &str {
    let mut parts = bag.rsplitn(3, |byte| *byte == b'/');
    let path = parts.nth(2).unwrap_or_default();
    std::str::from_utf8(path).unwrap_or_default()
}
