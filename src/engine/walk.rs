//! The walk over a part: a worker is a visitor of its queue. It takes a few of what it is shown,
//! and all of them through a step of `message` before the next step.
//!
//! The board is told which message is looked at before anything is done with it. From time to time
//! the part's state is saved, so that after a death little has to be done again.
//! Invariant: what a saved state says is in the part's files.

use super::board::{self, Board};
use super::isolate::{Fault, Stage, enter};
use super::message::Walk;
use super::schedule::{self, Point, point};
use super::taken::{Lists, Memory, Taken};
use super::{EngineError, Saved, Task};
use crate::limits;
use crate::queue::{Buffers, Framed, Frames, Source, Visit};
use crate::spool::Counts;
use crate::spool::refer::Referrer;
use crate::sys;

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

/// Where a worker tells what it does with a message, and learns what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Desk<'r> {
    board: Board<'static>,
    worker: usize,
    now: board::InHand,
    /// The message's offset in its file, and its length.
    lies: (u64, u64),
    /// What struck the message when it was tried before, stage by stage.
    known: &'r [Fault],
}

impl Desk<'_> {
    /// True when it is known to be struck in this stage.
    pub(super) fn is_struck_in(&self, stage: Stage) -> bool {
        self.known.iter().any(|fault| fault.stage == stage)
    }

    /// Enters a stage: the board says so before anything is done in it.
    pub(super) fn enter(&self, stage: Stage, marker: Option<&[u8]>) {
        self.announce(stage);
        enter(stage, self.known, marker);
    }

    /// The message, or the search for one, is in a stage.
    pub(super) fn announce(&self, stage: Stage) {
        let now = board::InHand { stage: stage.number(), ..self.now };
        self.board.announce(self.worker, Some(now), self.lies);
        point(Point::Announce);
    }
}

impl<'r> Walk<'r> {
    /// The desk for a message that was taken.
    pub(super) fn desk(&self, taken: &Taken<'_>) -> Desk<'r> {
        self.desk_at(taken.index, (taken.origin.offset, taken.origin.length))
    }

    fn desk_at(&self, index: u64, lies: (u64, u64)) -> Desk<'r> {
        let known = self.known.and_then(|known| known.get(&index));
        let known = known.map_or(&[][..], Vec::as_slice);
        let now = board::InHand { part: self.number, index, stage: 0 };
        Desk { board: self.context.board, worker: self.worker, now, lies, known }
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
        (self.number, self.index) = (task.part, rest.passed_over);
        self.asked = self.next;
        self.desk_at(self.index, (self.next, 0)).announce(Stage::Frame);
        if self.from < u64::MAX {
            queue.read_rest(&rest, buffers, self)?;
        }
        if self.context.trial.is_none() {
            self.part.write_all(self.context.folder)?;
            if !self.breaker.is_in_a_row() {
                self.save(u64::MAX, self.next);
            }
        }
        Ok(())
    }

    /// The worker has nothing in hand.
    pub(super) fn rest(&self) {
        self.context.board.announce(self.worker, None, (0, 0));
    }

    /// A message is through: its part's files are written as far as they have grown, and from time
    /// to time the part's state is saved.
    pub(super) fn settle(&mut self, taken: &Taken<'_>) -> Result<(), EngineError> {
        if self.context.trial.is_some() {
            self.part.begin(self.number);
            return Ok(());
        }
        self.desk(taken).announce(Stage::Write);
        let content = taken.payload.content;
        #[cfg(feature = "fault-injection")]
        super::inject::strike_in(Stage::Write, content);
        self.part.settle(self.context.folder, content)?;
        if self.part.waiting() >= schedule::bound(limits::BUFFER_BYTES) {
            self.part.write_round(self.context.folder)?;
            if !self.breaker.is_in_a_row() {
                self.save(taken.index + 1, taken.origin.offset + taken.origin.length);
            }
        }
        Ok(())
    }

    /// Saves how far the part is: up to the message of this number, which lies at this offset.
    fn save(&mut self, next: u64, offset: u64) {
        let Some(place) = self.place else { return };
        let mut tails = std::mem::take(&mut self.tails);
        let state = self.part.state(&mut tails);
        let (part, counts) = (self.number, self.counts);
        let saved = Saved { place, part, next, offset, counts, state, tails };
        point(Point::Save);
        self.context.board.save(place, &saved.words(), &saved.tails);
        self.tails = saved.tails;
    }

    /// A message was struck; too many like it end the run.
    pub(super) fn struck(&mut self, faults: &[Fault]) -> Result<(), EngineError> {
        match faults.first().and_then(|fault| self.breaker.struck(fault)) {
            Some(signature) if self.context.trial.is_none() => {
                Err(EngineError::Breaker { signature })
            }
            _ => Ok(()),
        }
    }

    /// Takes the messages of a batch through.
    pub(super) fn walk<'a>(
        &mut self,
        source: Source<'a>,
        mut frames: Frames<'a>,
    ) -> Result<(), EngineError>
    where
        'r: 'a,
    {
        let mut memory = std::mem::take(&mut self.memory).recycle();
        while self.take(&source, &mut frames, &mut memory.batch) {
            let Memory { fields, batch, lists } = &mut memory;
            lists.resize_with(lists.len().max(batch.len()), Lists::default);
            for (taken, lists) in batch.iter_mut().zip(lists.iter_mut()) {
                self.parse(&source, taken, lists, fields);
            }
            for hash in lists.iter().take(batch.len()).flat_map(|lists| &lists.fetched) {
                self.context.judge.directory.fetch_record(*hash);
            }
            for (taken, lists) in batch.iter_mut().zip(lists.iter_mut()) {
                self.decide(taken, lists);
            }
            for (taken, lists) in batch.iter_mut().zip(lists.iter_mut()) {
                self.finish(&source, taken, lists)?;
                self.breaker.passed();
                lists.shrink();
            }
        }
        self.memory = memory.recycle();
        Ok(())
    }

    /// Takes the next messages, instead of those before; false where there are none.
    fn take<'a>(
        &mut self,
        source: &Source<'a>,
        frames: &mut Frames<'a>,
        batch: &mut Vec<Taken<'a>>,
    ) -> bool {
        batch.clear();
        self.read_ahead(source);
        let mut bytes = 0;
        while batch.len() < limits::TAKEN_MAX && bytes < limits::TAKEN_BYTES {
            self.desk_at(self.index, (self.next, 0)).announce(Stage::Frame);
            if self.context.trial.is_some_and(|trial| self.index > trial.last) {
                break;
            }
            let Some(piece) = frames.next() else { break };
            #[cfg(feature = "fault-injection")]
            if let Framed::Message(found) = &piece {
                super::inject::strike_in(Stage::Frame, found.content);
            }
            let (offset, length) = piece.lies();
            self.next = offset + length;
            if self.index >= self.from {
                batch.push(match piece {
                    Framed::Message(found) => Taken {
                        checksum: frames.content_checksum(),
                        ..Taken::message(source, self.index, found)
                    },
                    Framed::Damage(damage) => Taken::damage(source, self.index, damage),
                });
                bytes += length;
            }
            self.index += 1;
        }
        !batch.is_empty()
    }
}

impl Walk<'_> {
    /// Has the system fetch what comes next of a mapped file, so that the worker doesn't wait for
    /// it page by page.
    fn read_ahead(&mut self, source: &Source<'_>) {
        let place = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        self.asked = self.asked.max(self.next);
        while self.asked < self.next + limits::AHEAD_BYTES {
            let end = self.asked + limits::AHEAD_STEP_BYTES;
            let Some(step) = source.bytes.get(place(self.asked)..place(end)) else { break };
            sys::read_ahead(step);
            self.asked = end;
        }
    }
}

impl Visit for Walk<'_> {
    type Error = EngineError;

    fn batch<'a>(&mut self, source: Source<'a>, frames: Frames<'a>) -> Result<(), EngineError> {
        self.office = self.offices.and_then(|offices| offices.get(office_of(source.name)));
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
