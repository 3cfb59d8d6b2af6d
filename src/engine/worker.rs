//! A worker: takes parts until there are none left, does each alone, hands its files in.
//!
//! Not here: dealing, committing. A worker that dies (a panic outside of the fence, a bug of ours)
//! says so on its way down, with the part that it had in hand; what it has written of it is removed
//! by whoever does the part again. A worker that is asked to stop ends its part first.

use super::message::Walk;
use super::{Context, EngineError, Finished, Task, Told};
use crate::queue::Buffers;
use crate::spool::Counts;
use crossbeam_channel::Sender;
use crossbeam_deque::{Injector, Steal};
use std::sync::atomic::Ordering;

/// Tells that the worker ended, in whatever way.
struct Farewell<'t> {
    tell: &'t Sender<Told>,
    in_hand: Option<Task>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        let told = match self.in_hand {
            Some(task) if std::thread::panicking() => Told::Lost(task),
            _ => Told::Ended,
        };
        // Nobody listens only where the run is over.
        let _ = self.tell.send(told);
    }
}

/// Does parts until none is left, or the run is asked to stop.
pub(super) fn work(
    context: &Context<'_>,
    tasks: &Injector<Task>,
    hand_in: &Sender<Finished>,
    tell: &Sender<Told>,
) {
    let mut farewell = Farewell { tell, in_hand: None };
    let mut walk = Walk::new(context);
    let mut buffers = Buffers::default();
    while !context.stop.load(Ordering::Relaxed) {
        let task = match tasks.steal() {
            Steal::Success(task) => task,
            Steal::Retry => continue,
            Steal::Empty => break,
        };
        farewell.in_hand = Some(task);
        let result = part(context, task, &mut walk, &mut buffers);
        farewell.in_hand = None;
        let going = match result {
            Ok(finished) => hand_in.send(finished).is_ok(),
            Err(error) => tell.send(Told::Failed(task, error)).is_ok(),
        };
        // Without the group commit nothing that is done could count.
        if !going {
            break;
        }
    }
}

fn part(
    context: &Context<'_>,
    task: Task,
    walk: &mut Walk<'_>,
    buffers: &mut Buffers,
) -> Result<Finished, EngineError> {
    if task.tries > 0 {
        context.folder.remove_part(task.part)?;
    }
    walk.part.begin(task.part);
    walk.counts = Counts::default();
    walk.tries = task.tries;
    walk.know_offices(task.part);
    let written = read(context, task, walk, buffers);
    match written {
        Ok(written) => Ok(Finished { written, counts: walk.counts }),
        Err(error) => {
            // What is half written is waste, and on a full disk in the way. The next run removes it
            // if this can't.
            let _ = context.folder.remove_part(task.part);
            Err(error)
        }
    }
}

fn read(
    context: &Context<'_>,
    task: Task,
    walk: &mut Walk<'_>,
    buffers: &mut Buffers,
) -> Result<crate::spool::part::Written, EngineError> {
    if let Some((queue, span)) = context.plan.queue_of(context.queues, task.part) {
        queue.read(span, buffers, walk)?;
    }
    Ok(walk.part.finish(context.folder)?)
}
