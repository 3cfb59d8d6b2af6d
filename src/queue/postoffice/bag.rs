//! A mailbag: the records of its MBG, and the counters and the bitmap of its KEY
//! (docs/postoffice.md, *A mailbag*).
//!
//! Not here: files, and what a record's MAI holds. Bytes whose meaning isn't known are never looked
//! at; a record that is written has zeros there. Invariant: reading is total.

use crate::mail::date::Time;
use crate::mail::envelope::write_hex;

/// Bytes of a record.
pub const RECORD_BYTES: usize = 116;
/// Bytes of a KEY.
pub const KEY_BYTES: usize = 560;
/// Slots that a KEY has a bit for.
pub const SLOTS_MAX: u32 = 4096;
/// Where the bitmap begins.
pub const BITMAP_AT: usize = 48;

const SENDER: std::ops::Range<usize> = 2..13;
const SUBJECT: std::ops::Range<usize> = 13..54;
const DATE: std::ops::Range<usize> = 56..66;
const MAI: std::ops::Range<usize> = 67..75;
const MAI_END: usize = 75;
const SIZE: std::ops::Range<usize> = 78..82;
/// What stands at 88 in all records that are known.
const ALWAYS_24: usize = 88;

/// Where the numbers that hex names stand for end (docs/postoffice.md, *GLB and XTN*).
pub const NAMES_END: u32 = 0x8000_0000;

/// True for the bags that mail comes in by: each message there has a P1.
pub fn is_inbound(bag: &str) -> bool {
    matches!(bag, "INQUEUE" | "INQUEUE3")
}

/// Digits of a hex name.
pub type HexName = [u8; 8];

/// A record, as it lies in an MBG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    bytes: &'a [u8; RECORD_BYTES],
}

impl<'a> Record<'a> {
    /// The record in a slot's bytes.
    pub const fn new(bytes: &'a [u8; RECORD_BYTES]) -> Self {
        Self { bytes }
    }

    /// Its bytes.
    pub const fn bytes(self) -> &'a [u8; RECORD_BYTES] {
        self.bytes
    }

    fn get(self, range: std::ops::Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The sender's mailbox or name, up to 10 bytes.
    pub fn sender(self) -> &'a [u8] {
        until_nul(self.get(SENDER))
    }

    /// The subject, up to 40 bytes.
    pub fn subject(self) -> &'a [u8] {
        until_nul(self.get(SUBJECT))
    }

    /// The date, where it is one.
    pub fn date(self) -> Option<Time> {
        let mut numbers = [0_u16; 5];
        for (number, pair) in numbers.iter_mut().zip(self.get(DATE).chunks_exact(2)) {
            *number = pair.iter().rev().fold(0, |sum, octet| sum << 8 | u16::from(*octet));
        }
        let [minute, hour, day, month, year] = numbers;
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z");
        Time::parse_rfc3339(text.as_bytes())
    }

    /// The hex name of its MAI in upper case; none where the record isn't good.
    pub fn mai(self) -> Option<HexName> {
        let name = hex_name(self.get(MAI))?;
        (self.bytes.get(MAI_END) == Some(&0)).then_some(name)
    }

    /// Bytes of the MAI, as the record has it.
    pub fn size(self) -> u32 {
        super::element::number(self.get(SIZE)).unwrap_or(0)
    }

    /// True where all bytes are zero.
    pub fn is_blank(self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }
}

/// What goes into a new record.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Cut to 10 bytes.
    pub sender: &'a [u8],
    /// Cut to 40 bytes.
    pub subject: &'a [u8],
    /// Whole minutes.
    pub date: Time,
    /// Name of the MAI.
    pub mai: HexName,
    /// Bytes of the MAI.
    pub size: u32,
}

impl NewRecord<'_> {
    /// The record.
    pub fn bytes(&self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        let mut put = |range: std::ops::Range<usize>, bytes: &[u8]| {
            if let Some(place) = record.get_mut(range) {
                place.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            }
        };
        // The last byte of both stays a NUL.
        put(SENDER.start..SENDER.end - 1, self.sender);
        put(SUBJECT.start..SUBJECT.end - 1, self.subject);
        let mut digits = Vec::new();
        self.date.write_rfc3339(&mut digits);
        let part = |range: std::ops::Range<usize>| {
            let text = digits.get(range).unwrap_or_default();
            text.iter()
                .fold(0_u16, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0') % 10))
        };
        let numbers = [part(14..16), part(11..13), part(8..10), part(5..7), part(0..4)];
        let date: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        put(DATE, &date);
        put(MAI, &self.mai);
        put(SIZE, &self.size.to_le_bytes());
        put(ALWAYS_24..ALWAYS_24 + 1, &[24]);
        record
    }
}

/// The bytes of a name field up to its first NUL.
pub fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Eight hexadecimal digits, in upper case.
pub fn hex_name(digits: &[u8]) -> Option<HexName> {
    let name: HexName = digits.try_into().ok()?;
    name.iter().all(u8::is_ascii_hexdigit).then(|| name.map(|digit| digit.to_ascii_uppercase()))
}

/// The hex name of a number.
pub fn hex_name_of(number: u32) -> HexName {
    let mut digits = Vec::with_capacity(8);
    write_hex(u64::from(number), 8, &mut digits);
    digits.try_into().unwrap_or([b'0'; 8])
}

/// The records of an MBG: those of slots 0 to n - 1, and the bytes of the rest behind the last.
pub fn records(mbg: &[u8]) -> (&[[u8; RECORD_BYTES]], &[u8]) {
    mbg.as_chunks()
}

/// A KEY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; KEY_BYTES],
}

impl Key {
    /// An empty mailbag's.
    pub const fn empty() -> Self {
        Self { bytes: [0; KEY_BYTES] }
    }

    /// From a file's bytes: of a longer file the first 560; none where it is shorter.
    pub fn read(file: &[u8]) -> Option<Self> {
        Some(Self { bytes: *file.first_chunk()? })
    }

    /// The file.
    pub const fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// New messages, and unread ones.
    pub fn counts(&self) -> (u16, u16) {
        let [a, b, c, d, ..] = self.bytes;
        (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
    }

    /// True where a slot is deleted. A slot without a bit never is.
    pub fn is_deleted(&self, slot: u32) -> bool {
        place(slot).is_some_and(|(at, bit)| self.bytes.get(at).is_some_and(|byte| byte & bit != 0))
    }

    /// Says whether a slot is deleted; one without a bit stays as it is.
    pub fn set_deleted(&mut self, slot: u32, deleted: bool) {
        let Some((at, bit)) = place(slot) else { return };
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte = if deleted { *byte | bit } else { *byte & !bit };
        }
    }

    /// Counts messages that were put in, as new and unread.
    pub fn count_new(&mut self, messages: u16) {
        let (new, unread) = self.counts();
        let counts = [new.saturating_add(messages), unread.saturating_add(messages)];
        let octets = counts.map(u16::to_le_bytes);
        for (to, from) in self.bytes.iter_mut().zip(octets.as_flattened()) {
            *to = *from;
        }
    }

    /// Lowers both counts to this where they are higher.
    pub fn count_at_most(&mut self, messages: u32) {
        let most = u16::try_from(messages).unwrap_or(u16::MAX);
        let (new, unread) = self.counts();
        let octets = [new.min(most), unread.min(most)].map(u16::to_le_bytes);
        for (to, from) in self.bytes.iter_mut().zip(octets.as_flattened()) {
            *to = *from;
        }
    }

    /// How many of the first `slots` slots are live.
    pub fn live(&self, slots: u32) -> u32 {
        let deleted: u32 = (0..slots.div_ceil(8).min(512))
            .map(|byte| {
                let bits = self.bytes.get(BITMAP_AT + byte as usize).copied().unwrap_or(0);
                let left = slots - byte * 8;
                let mask = if left >= 8 { 0xFF } else { (1_u8 << left) - 1 };
                (bits & mask).count_ones()
            })
            .sum();
        slots - deleted
    }
}

/// Byte and bit of a slot; none from 4096 on.
pub fn place(slot: u32) -> Option<(usize, u8)> {
    (slot < SLOTS_MAX).then(|| (BITMAP_AT + slot as usize / 8, 1 << (slot % 8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The two records of the one published dump (Q108027), but for bytes 108 to 111.
    fn published(subject: &[u8], minute: u8, mai: &[u8], size: u8, tail: [u8; 4]) -> Vec<u8> {
        let mut record = vec![0; 2];
        record.extend_from_slice(b"Martian\0\0\0\0");
        record.extend_from_slice(subject);
        record.resize(56, 0);
        record.extend_from_slice(&[minute, 0, 16, 0, 8, 0, 10, 0, 0xC9, 0x07, 0]);
        record.extend_from_slice(mai);
        record.extend_from_slice(&[0, 0, 0, size, 2, 0, 0]);
        record.resize(88, 0);
        record.push(24);
        record.resize(108, 0);
        record.extend_from_slice(&tail);
        record.resize(116, 0);
        record
    }

    #[test]
    fn the_published_records_are_read_and_written() {
        let one = published(b"This is the subject", 25, b"00000062", 0x28, [0x98, 0xC9, 0x5B, 0]);
        let two =
            published(b"This is the next subject", 26, b"00000063", 0x2A, [0x82, 0x54, 0x6B, 0]);
        let mbg = [&one[..], &two].concat();
        let (all, rest) = records(&mbg);
        assert!(rest.is_empty());
        let record = Record::new(&all[1]);
        assert_eq!(record.sender(), b"Martian");
        assert_eq!(record.subject(), b"This is the next subject");
        assert_eq!(record.date(), Time::parse_rfc3339(b"1993-10-08T16:26:00Z"));
        assert_eq!(record.mai(), Some(*b"00000063"));
        assert_eq!(record.size(), 554);
        let new = NewRecord {
            sender: b"Martian",
            subject: b"This is the subject",
            date: Time::parse_rfc3339(b"1993-10-08T16:25:00Z").unwrap(),
            mai: *b"00000062",
            size: 552,
        };
        let mut expect = one;
        expect[108..112].fill(0);
        assert_eq!(new.bytes(), expect[..]);
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_is_no_name_is_not_good() {
        let new = NewRecord {
            sender: &[b'S'; 20],
            subject: &[b'T'; 80],
            date: Time(0),
            mai: *b"0000ABCD",
            size: u32::MAX,
        };
        let mut bytes = new.bytes();
        let record = Record::new(&bytes);
        assert_eq!((record.sender().len(), record.subject().len()), (10, 40));
        bytes[67..75].copy_from_slice(b"0000abcd");
        assert_eq!(Record::new(&bytes).mai(), Some(*b"0000ABCD"));
        bytes[75] = b'!';
        assert_eq!(Record::new(&bytes).mai(), None);
        bytes[67..76].copy_from_slice(b".\\..\\x\0\0\0");
        assert_eq!(Record::new(&bytes).mai(), None);
        bytes[56..66].fill(0x55);
        assert_eq!(Record::new(&bytes).date(), None, "all fives in the date (Q123319)");
        assert!(Record::new(&[0; RECORD_BYTES]).is_blank());
    }

    #[test]
    fn a_key_of_zeros_is_empty() {
        let key = Key::read(&[0; 560]).unwrap();
        assert_eq!(key, Key::empty());
        assert_eq!((key.counts(), key.live(0)), ((0, 0), 0));
        assert!(!key.is_deleted(0) && !key.is_deleted(u32::MAX));
        assert!(Key::read(&[0; 559]).is_none());
        assert_eq!(Key::read(&[0; 0x1230]), Some(key), "Q127002: cut to 0x230");
        let mut key = Key::empty();
        key.count_new(3);
        key.count_new(u16::MAX);
        assert_eq!(key.counts(), (u16::MAX, u16::MAX));
        assert!(key.bytes()[4..].iter().all(|byte| *byte == 0));
        key.count_at_most(7);
        assert_eq!(key.counts(), (7, 7));
        key.count_at_most(70_000);
        assert_eq!(key.counts(), (7, 7));
    }

    proptest! {
        #[test]
        fn bits_are_those_that_were_set(
            slots in proptest::collection::btree_set(0_u32..4100, 0..100), n in 0_u32..4096,
        ) {
            let mut key = Key::empty();
            for slot in &slots {
                key.set_deleted(*slot, true);
            }
            for slot in 0..4100 {
                prop_assert_eq!(key.is_deleted(slot), slot < 4096 && slots.contains(&slot));
            }
            let deleted = slots.iter().filter(|slot| **slot < n).count();
            prop_assert_eq!(key.live(n) as usize, n as usize - deleted);
            for slot in &slots {
                key.set_deleted(*slot, false);
            }
            prop_assert_eq!(key, Key::empty());
        }
    }
}
