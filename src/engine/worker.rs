//! A worker: takes parts until there are none left, does each alone, hands its files in.
//!
//! Not here: dealing, committing. A worker that dies (a panic outside of the fence, a bug of ours)
//! says so on its way down, with the part that it had in hand; what it has written of it is removed
//! by whoever does the part again. A worker that is asked to stop ends its part first.

use super::message::Walk;
use super::schedule::{self, Point, point};
use super::{Context, Deal, EngineError, Finished, Task, Told};
use crate::queue::Buffers;
use crossbeam_channel::Sender;
use crossbeam_deque::{Injector, Steal};

/// Tells that the worker ended, in whatever way.
struct Farewell<'t> {
    tell: &'t Sender<Told>,
    worker: usize,
    in_hand: Option<Task>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        let told = match self.in_hand.take() {
            Some(task) if std::thread::panicking() => Told::Lost(self.worker, task),
            _ => Told::Ended,
        };
        // Nobody listens only where the run is over.
        let _ = self.tell.send(told);
    }
}

/// Does parts until none is left, or the run is asked to stop.
///
/// A part that ends in a row of faults is held back until a message passes: if the row turns out to
/// be the program's fault, the breaker trips, and nothing of it counts.
pub(super) fn work(
    context: &Context<'_>,
    worker: usize,
    deal: Deal<'_>,
    hand_in: &Sender<Finished>,
    tell: &Sender<Told>,
) {
    let thread = rustix::thread::gettid().as_raw_pid();
    context.board.seat(worker, thread.cast_unsigned());
    let mut farewell = Farewell { tell, worker, in_hand: None };
    let mut walk = Walk::new(context, worker);
    let mut buffers = Buffers::default();
    let mut held = Vec::new();
    while !context.is_stopped() {
        point(Point::Take);
        let Some(task) = take(deal.tasks) else { break };
        farewell.in_hand = Some(Task { saved: None, ..task });
        let result = part(context, &task, deal.places, &mut walk, &mut buffers);
        walk.rest();
        farewell.in_hand = None;
        let going = match result {
            Ok(finished) => {
                held.push(finished);
                walk.breaker.is_in_a_row()
                    || held.drain(..).all(|part| schedule::send(hand_in, part))
            }
            Err(error) => {
                let is_broken = error.breaker().is_some();
                tell.send(Told::Failed(task, error)).is_ok() && !is_broken
            }
        };
        // Without the group commit nothing that is done could count; and what is held back is part
        // of the row that has tripped the breaker.
        if !going {
            return;
        }
    }
    if !context.is_stopped() {
        for part in held {
            schedule::send(hand_in, part);
        }
    }
}

fn part(
    context: &Context<'_>,
    task: &Task,
    places: &Injector<usize>,
    walk: &mut Walk<'_>,
    buffers: &mut Buffers,
) -> Result<Finished, EngineError> {
    if task.is_dirty {
        context.folder.remove_part(task.part)?;
    }
    let place = task.saved.as_ref().map(|saved| saved.place).or_else(|| take(places));
    let result =
        walk.part(task, place, buffers).and_then(|()| Ok(walk.part.finish(context.folder)?));
    match result {
        Ok(written) => Ok(Finished { written, counts: walk.counts, place }),
        Err(error) => {
            // What is half written is waste, and on a full disk in the way. The next run removes it
            // if this can't.
            let _ = context.folder.remove_part(task.part);
            if let Some(place) = place {
                context.board.forget(place);
            }
            Err(error)
        }
    }
}

/// Takes one of what is left.
fn take<T>(from: &Injector<T>) -> Option<T> {
    loop {
        match from.steal() {
            Steal::Success(one) => return Some(one),
            Steal::Retry => {}
            Steal::Empty => return None,
        }
    }
}
