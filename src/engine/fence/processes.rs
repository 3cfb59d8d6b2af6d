//! The guard's processes: made ready, given an order, what they do, and left to the system.
//!
//! Not here: when one is wanted, and what its end means (`fence`); how one is bounded and heard of
//! (`child`). Invariants: what a process can't know of, as it was split off before, stands in its
//! order; one whose order never comes has done nothing.

use super::Guard;
use crate::engine::child::{Child, as_worker};
use crate::engine::message::Walk;
use crate::engine::walk::Trial;
use crate::engine::{Context, EngineError, Task, isolate, work};
use crate::queue::Buffers;
use crate::spool::charges::Charge;
use crate::{limits, sys};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};

/// A process that was split off before it is needed, and waits for its order.
pub(super) struct Ready {
    child: Child,
    order: PipeWriter,
    /// How many convictions it knows of.
    convictions: usize,
}

/// What a process is to do, and what it can't know of if it was split off before.
#[derive(Deserialize, Serialize)]
struct Order {
    work: Work,
    convicted: Vec<Charge>,
    given_up: HashSet<u32>,
}

/// What a process is split off for.
#[derive(Deserialize, Serialize)]
pub(super) enum Work {
    /// All that is left.
    Rest,
    /// A part, and nothing beside it.
    Part(u32),
    /// Messages that are tried, one after the other.
    Trial(Vec<Charge>),
}

/// What the engine says at its end.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Report {
    pub(super) errors: Vec<String>,
    pub(super) workers_lost: usize,
    /// The run as a whole has failed, with the one error.
    pub(super) has_failed: bool,
    /// Signature of the faults that tripped the breaker.
    pub(super) breaker: Option<String>,
}

impl Guard<'_> {
    /// Splits a process off that waits for its order. Most of what that takes falls in the time of
    /// another process so.
    fn prepare(&mut self) -> Result<Ready, EngineError> {
        let (hear, order) = io::pipe().map_err(EngineError::Process)?;
        let mut order = Some(order);
        let child = Child::split(self.bounds, self.board, 0..0, |tell| {
            // In this process: that of the guard stays, and when it is closed no order comes.
            // So do those of the others that are ready.
            order = None;
            self.ready.clear();
            self.obey(hear, tell)
        })?;
        let convictions = self.charges.convictions().len();
        let no_order = || EngineError::Process(io::Error::other("its pipe is gone"));
        Ok(Ready { child, order: order.ok_or_else(no_order)?, convictions })
    }

    /// Makes processes ready, up to so many, one right after the other: that takes less than twice
    /// what one takes. Where there is no room for one now, there may be when it is needed.
    pub(super) fn make_ready(&mut self, count: usize) {
        while self.ready.len() < count {
            match self.prepare() {
                Ok(ready) => self.ready.push(ready),
                Err(_) => break,
            }
        }
    }

    /// Has a process do this.
    pub(super) fn begin(&mut self, work: Work) -> Result<Child, EngineError> {
        let ready = match self.ready.pop() {
            Some(ready) => ready,
            None => self.prepare()?,
        };
        let Ready { mut child, mut order, convictions } = ready;
        child.assign(match work {
            Work::Rest | Work::Part(_) => 0..self.workers,
            Work::Trial(_) => self.workers..self.board.workers(),
        });
        let convicted = self.charges.convictions().iter().skip(convictions).cloned().collect();
        let words = Order { work, convicted, given_up: self.known.given_up.clone() };
        let words = serde_json::to_vec(&words).map_err(io::Error::other);
        // If it is gone, that is heard of as any end.
        let _ = order.write_all(&words.map_err(EngineError::Process)?);
        Ok(child)
    }

    /// Nothing comes next.
    pub(super) fn dismiss(&mut self) {
        for Ready { child, order, .. } in self.ready.drain(..) {
            drop(order);
            // It has done nothing that could be heard of.
            let _ = child.end();
        }
        for spent in self.spent.drain(..) {
            let _ = spent.end();
        }
    }

    /// In a process that was split off: waits for its order, and does what it says.
    fn obey(&mut self, mut hear: PipeReader, tell: PipeWriter) -> u8 {
        let mut words = Vec::new();
        if hear.read_to_end(&mut words).is_err() || words.is_empty() {
            return 0;
        }
        let Ok(Order { work, convicted, given_up }) = serde_json::from_slice(&words) else {
            return 1;
        };
        for charge in &convicted {
            self.known.convict(charge);
        }
        self.known.given_up = given_up;
        match work {
            Work::Rest => self.engine(tell),
            Work::Part(part) => {
                // In this process, all others are.
                self.known.given_up = (0..=u32::MAX).take(self.run.plan.parts.len()).collect();
                self.known.given_up.remove(&part);
                self.engine(tell)
            }
            Work::Trial(suspects) => self.try_each(&suspects, &tell),
        }
    }

    /// In the process of the engine: does what is left, and says how it went.
    fn engine(&mut self, mut tell: PipeWriter) -> u8 {
        #[cfg(feature = "fault-injection")]
        crate::engine::inject::begin_engine();
        sys::tell_faults(&tell);
        let (settings, board, known) = (self.settings, self.board, &self.known);
        // What was committed since this process was split off.
        let result = self.run.take_over(false);
        let result = result
            .and_then(|()| work(self.run, self.directory, settings, board, known, &mut |_| {}));
        let (errors, workers_lost, has_failed) = match result {
            Ok(summary) => (summary.errors, summary.workers_lost, false),
            Err(error) => (vec![error], 0, true),
        };
        let text = |error: &EngineError| {
            let mut text = error.to_string();
            text.truncate(text.floor_char_boundary(limits::TOLD_BYTES_MAX));
            text
        };
        let breaker = errors.iter().find_map(EngineError::breaker).map(ToOwned::to_owned);
        let errors = errors.iter().map(text).collect();
        let report = serde_json::to_vec(&Report { errors, workers_lost, has_failed, breaker });
        let said = report.map_err(io::Error::other).and_then(|report| tell.write_all(&report));
        u8::from(said.is_err())
    }

    /// In a process of its own: walks each message through, and writes nothing.
    fn try_each(&self, suspects: &[Charge], tell: &PipeWriter) -> u8 {
        #[cfg(feature = "fault-injection")]
        crate::engine::inject::begin_trial();
        sys::tell_faults(tell);
        isolate::install_hook();
        let (run, settings) = (&*self.run, &self.settings);
        let (plan, queues) = (&run.plan, &run.queues);
        let (folder, directory) = (&run.folder, self.directory);
        let (board, known, desk) = (self.board, &self.known, self.workers);
        let mut context = Context::new(folder, plan, queues, directory, settings, board, known);
        let tried = as_worker(|| {
            for suspect in suspects {
                context.trial = Some(Trial::of(suspect.index, suspect.offset));
                let part = suspect.part;
                let task = Task { part, tries: 0, is_dirty: false, saved: None };
                // An error isn't a death: it is met again when the part is done.
                let _ = Walk::new(&context, desk).part(&task, None, &mut Buffers::default());
            }
        });
        u8::from(tried.is_err())
    }

    /// Leaves a process that is spent to the system, which takes it down while others are at work.
    /// Its memory is there until then, so not many are left.
    pub(super) fn leave(&mut self, spent: Child) -> Result<(), EngineError> {
        self.spent.push_back(spent);
        while self.spent.len() > limits::SPENT_MAX {
            self.spent.pop_front().map(Child::end).transpose()?;
        }
        Ok(())
    }
}
