//! A table of mailboxes that is built once and then only looked up in.
//!
//! A look-up in a queue's middle finds nothing of it in the processor's caches: what counts is how
//! many places it touches. Here these are two, a slot and a record, and both can be asked for
//! beforehand; what most mailboxes have in common stands once. Not here: reading a directory, and
//! errors in it. Invariants: keys are in lower case; a look-up takes no memory, and changes none.

use crate::mail::address::Mailbox;
use crate::sys;

/// What is known of each mailbox.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// A power of two of them, at most half of them taken: 0, or a tag of the mailbox's hash, and
    /// in the lower bits one more than where its record begins.
    slots: Vec<u64>,
    /// For each mailbox the number of its rule (4 bytes), the lengths of its local-part and its
    /// domain (2 each), and both.
    records: Vec<u8>,
    /// The first is the one that most have.
    rules: Vec<T>,
    len: usize,
}

/// Bits of a slot that say where a record begins: a terabyte of them.
const PLACE_BITS: u32 = 40;
const PLACE: u64 = (1 << PLACE_BITS) - 1;

/// A record without its mailbox.
const HEAD_LEN: usize = 8;

impl<T: PartialEq> Table<T> {
    /// An empty one, with room for so many mailboxes, which have so many bytes together if that is
    /// known; `most` is what most of them have.
    pub(super) fn new(most: T, room: usize, bytes: usize) -> Self {
        let slots = vec![0; (room * 2).next_power_of_two()];
        // What isn't needed in the end was never touched, and is no memory.
        let records = Vec::with_capacity(bytes + room * HEAD_LEN);
        Self { slots, records, rules: vec![most], len: 0 }
    }

    /// Puts a mailbox in. False where it is there already: the first one counts. More than there is
    /// room for aren't put in.
    pub(super) fn insert(&mut self, mailbox: Mailbox<'_>, rule: T) -> bool {
        let length = |part: &[u8]| u16::try_from(part.len());
        let (Ok(local_len), Ok(domain_len)) = (length(mailbox.local_part), length(mailbox.domain))
        else {
            // No mailbox that is looked up is that long.
            return true;
        };
        let hash = hash(mailbox);
        let mut free = None;
        for at in self.probe(hash) {
            let slot = self.slots.get(at).copied().unwrap_or_default();
            if slot == 0 {
                free = Some(at);
                break;
            }
            if is_tagged(slot, hash) && self.number(slot & PLACE, mailbox).is_some() {
                return false;
            }
        }
        let has_room = (self.len + 1) * 2 <= self.slots.len();
        let Some(slot) = free.filter(|_| has_room).and_then(|at| self.slots.get_mut(at)) else {
            return true;
        };
        *slot = hash & !PLACE | (self.records.len() as u64 + 1) & PLACE;
        let number = if self.rules.first() == Some(&rule) { 0 } else { self.rules.len() };
        if number > 0 {
            self.rules.push(rule);
        }
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.records.extend_from_slice(&number.to_le_bytes());
        self.records.extend_from_slice(&local_len.to_le_bytes());
        self.records.extend_from_slice(&domain_len.to_le_bytes());
        let start = self.records.len();
        self.records.extend_from_slice(mailbox.local_part);
        self.records.extend_from_slice(mailbox.domain);
        if let Some(mailbox) = self.records.get_mut(start..) {
            mailbox.make_ascii_lowercase();
        }
        self.len += 1;
        true
    }
}

/// Whether a slot may be that of a mailbox with this hash.
const fn is_tagged(slot: u64, hash: u64) -> bool {
    slot & !PLACE == hash & !PLACE
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), records: Vec::new(), rules: Vec::new(), len: 0 }
    }
}

impl<T> Table<T> {
    /// How many mailboxes are in it.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// What is known of a mailbox; case of ASCII letters doesn't count.
    pub(super) fn get(&self, mailbox: Mailbox<'_>) -> Option<&T> {
        let hash = hash(mailbox);
        for at in self.probe(hash) {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            if is_tagged(slot, hash)
                && let Some(number) = self.number(slot & PLACE, mailbox)
            {
                return self.rules.get(number);
            }
        }
        None
    }

    /// Has the processor fetch the slot that a mailbox is looked for in first; gives its hash.
    pub(super) fn fetch_slot(&self, mailbox: Mailbox<'_>) -> u64 {
        let hash = hash(mailbox);
        if let Some(slot) = self.probe(hash).next().and_then(|at| self.slots.get(at)) {
            sys::fetch(slot);
        }
        hash
    }

    /// Has it fetch the record of that slot, which must be there by now to gain anything.
    pub(super) fn fetch_record(&self, hash: u64) {
        let first = self.probe(hash).next();
        let slot = first.and_then(|at| self.slots.get(at)).copied().unwrap_or_default();
        let place = usize::try_from(slot & PLACE).unwrap_or_default();
        if let Some(record) = self.records.get(place) {
            sys::fetch(record);
        }
    }

    /// Slots that a hash may be in, in their order: without end, but half of all are free.
    fn probe(&self, hash: u64) -> impl Iterator<Item = usize> + use<T> {
        let mask = self.slots.len().wrapping_sub(1);
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits are what is wanted")]
        let first = hash as usize;
        (0..=mask).map(move |step| first.wrapping_add(step) & mask)
    }

    /// The number of a record's rule, if it is that of the mailbox.
    fn number(&self, place: u64, mailbox: Mailbox<'_>) -> Option<usize> {
        let record = self.records.get(usize::try_from(place).ok()?.checked_sub(1)?..)?;
        let (head, rest) = record.split_first_chunk::<HEAD_LEN>()?;
        let [n0, n1, n2, n3, l0, l1, d0, d1] = *head;
        let lengths = [[l0, l1], [d0, d1]].map(|bytes| usize::from(u16::from_le_bytes(bytes)));
        let [local_len, domain_len] = lengths;
        let (local_part, rest) = rest.split_at_checked(local_len)?;
        let is_it = is_same(mailbox.local_part, local_part)
            && is_same(mailbox.domain, rest.get(..domain_len)?);
        is_it.then_some(u32::from_le_bytes([n0, n1, n2, n3]) as usize)
    }
}

/// A hash of a mailbox, without regard to the case of ASCII letters.
fn hash(mailbox: Mailbox<'_>) -> u64 {
    let lengths = mailbox.local_part.len() << 16 ^ mailbox.domain.len();
    let words = words(mailbox.local_part).chain(words(mailbox.domain));
    words.fold(lengths as u64, |hash, word| {
        // The two halves of a product: each bit of a word reaches all of the hash.
        let product = u128::from(hash ^ lower(word)) * 0x9E37_79B9_7F4A_7C15;
        let [low, high] = [product & u128::from(u64::MAX), product >> 64];
        u64::try_from(low ^ high).unwrap_or_default()
    })
}

/// Bytes as words; the last overlaps the one before, so that none is part empty, but for bytes that
/// are less than a word.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = bytes.as_chunks();
    let last = match bytes.last_chunk() {
        _ if rest.is_empty() => None,
        Some(last) => Some(*last),
        None => {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            Some(last)
        }
    };
    whole.iter().copied().chain(last).map(u64::from_le_bytes)
}

/// A word with its ASCII letters in lower case.
const fn lower(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let ascii = word & !HIGHEST;
    // A byte's highest bit is set where it is `A` or more, and where it is more than `Z`.
    let from_a = ascii + ONES * (0x80 - b'A' as u64);
    let behind_z = ascii + ONES * (0x7F - b'Z' as u64);
    let is_upper = (from_a ^ behind_z) & !word & HIGHEST;
    word | is_upper >> 2
}

/// Whether bytes are those of a key, which is in lower case.
fn is_same(bytes: &[u8], key: &[u8]) -> bool {
    bytes.len() == key.len() && words(bytes).zip(words(key)).all(|(word, key)| lower(word) == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_are_in_lower_case_byte_by_byte(bytes in any::<[u8; 8]>()) {
            let expect = bytes.map(|byte| byte.to_ascii_lowercase());
            prop_assert_eq!(lower(u64::from_le_bytes(bytes)).to_le_bytes(), expect);
        }

        /// It finds what a table of the standard library finds, in any case, and nothing else.
        #[test]
        fn it_finds_what_was_put_in(
            keys in proptest::collection::hash_map("[a-z]{0,9}", 0_u8..4, 0..40),
            others in proptest::collection::vec("[a-cA-C]{0,3}", 0..40),
        ) {
            let mailbox = |local_part| Mailbox { local_part, domain: b"x.example" };
            let entries = keys.iter().map(|(key, rule)| (mailbox(key.as_bytes()), *rule));
            let mut table = Table::new(1, keys.len(), 0);
            for (mailbox, rule) in entries {
                prop_assert!(table.insert(mailbox, rule));
                prop_assert!(!table.insert(mailbox, 9));
            }
            prop_assert_eq!(table.len(), keys.len());
            let upper: Vec<_> = keys.keys().map(|key| key.to_ascii_uppercase()).collect();
            for asked in keys.keys().chain(&others).chain(&upper) {
                let expect = keys.get(&asked.to_ascii_lowercase());
                prop_assert_eq!(table.get(mailbox(asked.as_bytes())), expect);
                let elsewhere = Mailbox { local_part: asked.as_bytes(), domain: b"x.exampl" };
                prop_assert_eq!(table.get(elsewhere), None);
            }
        }
    }

    #[test]
    fn a_table_without_room_has_nothing() {
        let mailbox = Mailbox { local_part: b"a", domain: b"b" };
        assert_eq!(Table::<u8>::default().get(mailbox), None);
        for mut table in [Table::new(1, 0, 0), Table::default()] {
            assert!(table.insert(mailbox, 1));
            assert_eq!((table.get(mailbox), table.len()), (None, 0));
        }
    }

    #[test]
    fn mailboxes_are_put_in_whatever_their_case() {
        let mailbox = |local_part| Mailbox { local_part, domain: b"X.Example" };
        let mut table = Table::new(1, 2, 0);
        assert!(table.insert(mailbox(b"Ann"), 2));
        assert!(!table.insert(mailbox(b"ANN"), 3));
        assert_eq!(table.get(mailbox(b"ann")), Some(&2));
    }
}
