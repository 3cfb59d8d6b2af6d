//! Tells a bad message from a broken program: the same fault on many messages in a row, or on half
//! of the last thousand, is not the mail's.
//!
//! Each worker counts what it walks over. Not here: what is done when it trips (`worker`, `fence`).
//! Invariant: without a fault it costs one addition a message.

use super::isolate::Fault;
use crate::limits;
use std::collections::VecDeque;

/// What a worker has met of late.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Faults in a row at which it trips; 0 where it never does.
    limit: u32,
    walked: u64,
    /// Number of the message that was struck last.
    last: Option<u64>,
    /// By signature: the numbers of the messages that were struck, of the last thousand.
    met: Vec<(String, VecDeque<u64>)>,
}

impl Breaker {
    pub(super) const fn new(limit: u32) -> Self {
        Self { limit, walked: 0, last: None, met: Vec::new() }
    }

    /// A message is through.
    pub(super) const fn passed(&mut self) {
        self.walked += 1;
    }

    /// The message in hand was struck. The signature, where that is once too often.
    pub(super) fn struck(&mut self, fault: &Fault) -> Option<String> {
        if self.limit == 0 {
            return None;
        }
        let (now, oldest) = (self.walked, self.walked.saturating_sub(limits::BREAKER_WINDOW));
        self.last = Some(now);
        for (_, struck) in &mut self.met {
            while struck.front().is_some_and(|first| *first < oldest) {
                struck.pop_front();
            }
        }
        self.met.retain(|(_, struck)| !struck.is_empty());
        let signature = fault.signature();
        let at = self.met.iter().position(|(other, _)| *other == signature);
        let at = at.unwrap_or_else(|| {
            self.met.push((signature, VecDeque::new()));
            self.met.len() - 1
        });
        let (signature, struck) = self.met.get_mut(at)?;
        struck.push_back(now);
        let limit = u64::from(self.limit);
        let back = usize::try_from(limit).ok().and_then(|limit| struck.len().checked_sub(limit));
        let first = back.and_then(|back| struck.get(back));
        let in_a_row = first.is_some_and(|first| now - first < limit);
        let share = struck.len() as u64 > limits::BREAKER_WINDOW / 2;
        (in_a_row || share).then(|| signature.clone())
    }

    /// True where the message that was walked over last was struck: a row may go on.
    pub(super) fn is_in_a_row(&self) -> bool {
        self.last.is_some_and(|last| last + 1 >= self.walked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::isolate::Stage;
    use super::*;

    fn fault(place: &str) -> Fault {
        Fault { stage: Stage::Parse, text: "x".to_owned(), place: place.to_owned() }
    }

    /// Walks over messages: `x` is struck by one fault, `y` by another, `.` by none.
    fn trips_at(breaker: &mut Breaker, messages: impl IntoIterator<Item = char>) -> Option<usize> {
        messages.into_iter().position(|message| {
            let tripped = match message {
                '.' => None,
                'x' => breaker.struck(&fault("a.rs:1")),
                _ => breaker.struck(&fault("b.rs:2")),
            };
            breaker.passed();
            tripped.is_some()
        })
    }

    #[test]
    fn a_row_of_one_fault_trips_it_and_a_gap_or_another_fault_do_not() {
        let trips = |messages: &str| trips_at(&mut Breaker::new(3), messages.chars());
        assert_eq!(trips("xxx"), Some(2));
        assert_eq!(trips("xx.xx.xx.x"), None);
        assert_eq!(trips("xxyxxyyy"), Some(7));
        assert_eq!(trips(".x.xxx"), Some(5));
    }

    #[test]
    fn half_of_the_last_thousand_trips_it() {
        let every = |n: usize| (0..9000).map(move |i| if i % n == 0 { 'x' } else { '.' });
        assert_eq!(trips_at(&mut Breaker::new(20), every(3)), None);
        let more = (0..9000).map(|i| if i % 3 == 0 { '.' } else { 'x' });
        assert!(trips_at(&mut Breaker::new(20), more).is_some_and(|at| at < 1000));
        let mut late = trips_at(
            &mut Breaker::new(20),
            std::iter::repeat_n('.', 5000)
                .chain((0..9000).map(|i| if i % 5 == 0 { '.' } else { 'x' })),
        );
        assert!(late.take().is_some_and(|at| (5500..6000).contains(&at)));
    }

    #[test]
    fn a_row_is_told_until_a_message_passes() {
        let mut breaker = Breaker::new(20);
        assert!(!breaker.is_in_a_row());
        trips_at(&mut breaker, "..x".chars());
        assert!(breaker.is_in_a_row());
        trips_at(&mut breaker, ".".chars());
        assert!(!breaker.is_in_a_row());
    }
}
