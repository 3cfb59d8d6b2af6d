//! A model of the board: every order in which its writers and its reader may meet is tried, by
//! loom.
//!
//! The board's own source is compiled here with loom's words instead of the processor's. What else
//! is lock-free in the engine (dealing, hand-over) is crossbeam's, which has models of its own. A
//! death is modelled by reading at any moment: what a reader sees then is what a dead writer would
//! have left.

#![expect(dead_code, reason = "the model uses a part of the board")]

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}
#[path = "../src/engine/board.rs"]
mod board;

use board::{Board, InHand, STATE};
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;

fn words(workers: usize, places: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..Board::size(workers, places, BESIDE)).map(|_| AtomicU64::new(0)).collect())
}

/// Bytes beside a state.
const BESIDE: usize = 11;

fn hand(index: u64, stage: u8) -> InHand {
    InHand { part: 3, index, stage }
}

fn is_one_of_two((state, beside): &([u64; STATE], Vec<u8>)) -> bool {
    *state == [1; STATE] && beside == b"one" || *state == [2; STATE] && beside == b"two and two"
}

/// A message that is entered upon is on the board before anything is done with it, and what is on
/// the board was in hand.
#[test]
fn what_is_in_hand_is_never_half_told() {
    loom::model(|| {
        let words = words(2, 0);
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let words = Arc::clone(&words);
                loom::thread::spawn(move || {
                    let board = Board::new(&words, 2, 0);
                    board.announce(worker, Some(hand(worker as u64, 1)), (7, 70));
                    board.announce(worker, Some(hand(worker as u64, 2)), (7, 70));
                })
            })
            .collect();
        let board = Board::new(&words, 2, 0);
        for worker in 0..2 {
            match board.in_hand(worker) {
                None => {}
                Some((seen, lies)) => {
                    assert!([hand(worker as u64, 1), hand(worker as u64, 2)].contains(&seen));
                    assert_eq!(lies, (7, 70));
                }
            }
        }
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(board.in_hand(1).map(|(seen, _)| seen), Some(hand(1, 2)));
    });
}

/// Whoever dies while saving a state leaves the one before, or this one, whole.
#[test]
fn a_state_is_saved_whole_or_not_at_all() {
    loom::model(|| {
        let words = words(0, 1);
        Board::new(&words, 0, BESIDE).save(0, &[1; STATE], b"one");
        let writer = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                Board::new(&words, 0, BESIDE).save(0, &[2; STATE], b"two and two");
            })
        };
        let seen = Board::new(&words, 0, BESIDE).saved(0).unwrap();
        assert!(is_one_of_two(&seen), "{seen:?}");
        writer.join().unwrap();
        assert_eq!(
            Board::new(&words, 0, BESIDE).saved(0),
            Some(([2; STATE], b"two and two".to_vec()))
        );
    });
}

/// A place that is forgotten and used again for another part has nothing of the first.
#[test]
fn a_place_that_is_used_again_has_nothing_of_the_part_before() {
    loom::model(|| {
        let words = words(0, 1);
        let board = Board::new(&words, 0, BESIDE);
        board.save(0, &[1; STATE], b"one");
        let writer = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                let board = Board::new(&words, 0, BESIDE);
                board.forget(0);
                board.save(0, &[2; STATE], b"two and two");
            })
        };
        match board.saved(0) {
            None => {}
            // The old one may still be seen while it is forgotten: its part is committed, and
            // whoever reads it passes it over. Mixed they are never.
            Some(seen) => assert!(is_one_of_two(&seen), "{seen:?}"),
        }
        writer.join().unwrap();
    });
}

/// Who asks to stop is heard.
#[test]
fn a_request_to_stop_arrives() {
    loom::model(|| {
        let words = words(1, 0);
        let asker = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || Board::new(&words, 1, 0).ask_to_stop())
        };
        let board = Board::new(&words, 1, 0);
        while !board.is_asked_to_stop() {
            loom::thread::yield_now();
        }
        asker.join().unwrap();
        assert!(!board.has_seen_death());
    });
}
