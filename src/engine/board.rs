//! The board: what each worker has in hand, which thread it is, and how far uncommitted parts are,
//! in memory that outlives the process that writes it.
//!
//! Words alone, without a lock: a place has one writer, and who reads it does so when the writer
//! has ended, or takes what it sees as a guess. Not here: who reads it and why (`fence`), and what
//! the words of a saved state mean (`spool/part.rs`). Invariants: what a worker has in hand is one
//! word, so it is never half told; a state is saved beside the one before, and counts from one
//! store on, so whoever dies while saving leaves the one before.

use super::atomic::{AtomicU64, Ordering};

/// Words of a saved state.
pub(super) const STATE: usize = 40;
/// Bytes of a word, for what a state has beside it.
const WORD: usize = size_of::<u64>();
/// Words that a worker has: a cache line of its own, so that no two write to the same.
const WORKER: usize = 8;
const HEAD: usize = 8;
/// Words of a place beside its copies.
const PLACE: usize = 8;

const STOP: usize = 0;
const DEATH: usize = 1;
const UNSYNCED: usize = 2;

/// Which copy of a place counts; of one that is forgotten, which one did: the next goes beside it.
const FIRST: u64 = 1;
const SECOND: u64 = 2;
const FIRST_FORGOTTEN: u64 = 3;
const SECOND_FORGOTTEN: u64 = 4;

/// Bits of the word that says what is in hand: part + 1, index, stage.
const STAGE_BITS: u32 = 4;
const INDEX_BITS: u32 = 36;

/// A board in shared words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Board<'w> {
    words: &'w [AtomicU64],
    workers: usize,
    /// Words that each copy of a state has room for beside it.
    beside: usize,
}

/// What a worker has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InHand {
    /// The part.
    pub(super) part: u32,
    /// Which of the part's messages and damages, from 0.
    pub(super) index: u64,
    /// Number of the stage that it is in.
    pub(super) stage: u8,
}

impl InHand {
    /// The part of a message, and its number there.
    pub(super) const fn place(self) -> (u32, u64) {
        (self.part, self.index)
    }

    const fn word(self) -> u64 {
        let index = self.index & ((1 << INDEX_BITS) - 1);
        let part = self.part as u64 + 1;
        part << (STAGE_BITS + INDEX_BITS) | index << STAGE_BITS | self.stage as u64
    }

    fn of(word: u64) -> Option<Self> {
        let part = (word >> (STAGE_BITS + INDEX_BITS)).checked_sub(1)?;
        Some(Self {
            part: u32::try_from(part).ok()?,
            index: word >> STAGE_BITS & ((1 << INDEX_BITS) - 1),
            stage: (word & ((1 << STAGE_BITS) - 1)) as u8,
        })
    }
}

impl<'w> Board<'w> {
    /// Words of a board for so many workers, with places for so many parts, each of which may have
    /// so many bytes beside its state.
    pub(super) const fn size(workers: usize, places: usize, beside: usize) -> usize {
        HEAD + workers * WORKER + places * (PLACE + 2 * (STATE + beside.div_ceil(WORD)))
    }

    /// A board in zeroed words.
    pub(super) const fn new(words: &'w [AtomicU64], workers: usize, beside: usize) -> Self {
        Self { words, workers, beside: beside.div_ceil(WORD) }
    }

    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.words.get(at).map_or(0, |word| word.load(order))
    }

    fn store(&self, at: usize, value: u64, order: Ordering) {
        if let Some(word) = self.words.get(at) {
            word.store(value, order);
        }
    }

    /// Says what a worker has in hand from now on, and where it lies: its offset, its length;
    /// nothing with `None`.
    pub(super) fn announce(&self, worker: usize, in_hand: Option<InHand>, lies: (u64, u64)) {
        let at = HEAD + worker * WORKER;
        self.store(at + 1, lies.0, Ordering::Relaxed);
        self.store(at + 2, lies.1, Ordering::Relaxed);
        self.store(at, in_hand.map_or(0, InHand::word), Ordering::Release);
    }

    /// What a worker has in hand, and where it lies.
    pub(super) fn in_hand(&self, worker: usize) -> Option<(InHand, (u64, u64))> {
        let at = HEAD + worker * WORKER;
        let in_hand = InHand::of(self.load(at, Ordering::Acquire))?;
        let lies = (self.load(at + 1, Ordering::Relaxed), self.load(at + 2, Ordering::Relaxed));
        Some((in_hand, lies))
    }

    /// Says which of the system's threads a worker is.
    pub(super) fn seat(&self, worker: usize, thread: u32) {
        self.store(HEAD + worker * WORKER + 3, u64::from(thread), Ordering::Relaxed);
    }

    /// The worker that a thread is.
    pub(super) fn worker_of(&self, thread: u32) -> Option<usize> {
        let of = |worker| self.load(HEAD + worker * WORKER + 3, Ordering::Relaxed);
        (0..self.workers).find(|worker| of(*worker) == u64::from(thread))
    }

    /// Workers that it has room for.
    pub(super) const fn workers(&self) -> usize {
        self.workers
    }

    /// Asks all workers to stop at the end of their parts.
    pub(super) fn ask_to_stop(&self) {
        self.store(STOP, 1, Ordering::Relaxed);
    }

    /// True when they were asked to.
    pub(super) fn is_asked_to_stop(&self) -> bool {
        self.load(STOP, Ordering::Relaxed) != 0
    }

    /// An engine has died in this run.
    pub(super) fn see_death(&self) {
        self.store(DEATH, 1, Ordering::Relaxed);
    }

    /// True when one has: files of parts may be there, and others may die as it did.
    pub(super) fn has_seen_death(&self) -> bool {
        self.load(DEATH, Ordering::Relaxed) != 0
    }

    /// Says that the group commit couldn't bring something to the disk, and the system's number for
    /// why.
    pub(super) fn tell_unsynced(&self, error: i32) {
        self.store(UNSYNCED, u64::from(error.unsigned_abs()), Ordering::Release);
    }

    /// Why something couldn't be brought to the disk, where that was told.
    pub(super) fn unsynced(&self) -> Option<i32> {
        let error = self.load(UNSYNCED, Ordering::Acquire);
        i32::try_from(error).ok().filter(|error| *error != 0)
    }

    /// Places for states.
    pub(super) fn places(&self) -> usize {
        let words = self.words.len().saturating_sub(self.place(0));
        words / (PLACE + 2 * self.words_of_copy())
    }

    const fn words_of_copy(&self) -> usize {
        STATE + self.beside
    }

    /// Where the words of a place are. Those of all places stand together, before the copies: a new
    /// engine looks at each, and copies are pages apart.
    const fn place(&self, place: usize) -> usize {
        HEAD + self.workers * WORKER + place * PLACE
    }

    /// Where a copy of a place's state begins, and the word that says how many bytes are beside it.
    fn copy(&self, place: usize, which: u64) -> (usize, usize) {
        let first = self.place(self.places()) + 2 * place * self.words_of_copy();
        let at = self.place(place);
        if which == FIRST { (first, at + 1) } else { (first + self.words_of_copy(), at + 2) }
    }

    /// Saves a state in a place, with bytes beside it; the one before is lost when this one is
    /// whole. More bytes than there is room for aren't saved, and nor is the state.
    pub(super) fn save(&self, place: usize, state: &[u64; STATE], beside: &[u8]) {
        if beside.len().div_ceil(WORD) > self.beside {
            return;
        }
        let at = self.place(place);
        let other = match self.load(at, Ordering::Relaxed) {
            FIRST | FIRST_FORGOTTEN => SECOND,
            _ => FIRST,
        };
        let (copy, length) = self.copy(place, other);
        for (index, word) in state.iter().enumerate() {
            self.store(copy + index, *word, Ordering::Relaxed);
        }
        self.store(length, beside.len() as u64, Ordering::Relaxed);
        for (index, bytes) in (copy + STATE..).zip(beside.chunks(WORD)) {
            let mut word = [0; WORD];
            word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            self.store(index, u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.store(at, other, Ordering::Release);
    }

    /// The state that was saved last in a place, and the bytes beside it.
    pub(super) fn saved(&self, place: usize) -> Option<([u64; STATE], Vec<u8>)> {
        let which @ (FIRST | SECOND) = self.load(self.place(place), Ordering::Acquire) else {
            return None;
        };
        let (copy, length) = self.copy(place, which);
        let state = std::array::from_fn(|index| self.load(copy + index, Ordering::Relaxed));
        let length = usize::try_from(self.load(length, Ordering::Relaxed)).unwrap_or(usize::MAX);
        let words = length.div_ceil(WORD).min(self.beside);
        let words = (0..words).map(|index| self.load(copy + STATE + index, Ordering::Relaxed));
        let mut beside: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        beside.truncate(length);
        Some((state, beside))
    }

    /// Empties a place.
    pub(super) fn forget(&self, place: usize) {
        let at = self.place(place);
        let forgotten = match self.load(at, Ordering::Relaxed) {
            FIRST => FIRST_FORGOTTEN,
            SECOND => SECOND_FORGOTTEN,
            other => other,
        };
        self.store(at, forgotten, Ordering::Release);
    }
}
