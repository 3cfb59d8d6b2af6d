//! A mailbag: KEY and MBG (docs/postoffice.md, *A mailbag*).
//!
//! What it deliberately does not do: the messages that the records point to.
//!
//! Invariants: a record has 116 bytes, a KEY 560; a bag has at most 4096 records.

use crate::bytes::{narrow, put, wide};
use crate::time::parts;

/// Bytes of a record.
pub(crate) const RECORD: usize = 116;
/// Bytes of a KEY.
pub(crate) const KEY: usize = 560;
/// Records that a bag can have.
pub(crate) const SLOTS: usize = 4096;
/// Where the bitmap begins.
const BITMAP: usize = 48;

/// What a record says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// Mailbox or name of the sender: cut to 10 bytes.
    pub(crate) sender: Vec<u8>,
    /// The subject: cut to 40 bytes.
    pub(crate) subject: Vec<u8>,
    /// Minute, hour, day, month, year.
    pub(crate) date: [u16; 5],
    /// The name of the MAI, 8 hexadecimal digits.
    pub(crate) mai: Vec<u8>,
    /// Bytes of the MAI.
    pub(crate) size: u32,
    /// What stands at 108; nobody knows its meaning.
    pub(crate) unknown: [u8; 4],
}

/// The date of a record, from a time.
pub(crate) fn record_date(time: i64) -> [u16; 5] {
    let at = parts(time);
    [at.minute, at.hour, at.day, at.month, at.year].map(|n| u16::try_from(n).unwrap_or(0))
}

/// The 116 bytes of a record.
pub(crate) fn record(record: &Record) -> [u8; RECORD] {
    let cut = |text: &[u8], most: usize| text.get(..most).unwrap_or(text).to_vec();
    let mut out = [0; RECORD];
    put(&mut out, 2, &cut(&record.sender, 10));
    put(&mut out, 13, &cut(&record.subject, 40));
    for (at, part) in record.date.iter().enumerate() {
        put(&mut out, 56 + 2 * at, &part.to_le_bytes());
    }
    put(&mut out, 67, &cut(&record.mai, 8));
    put(&mut out, 78, &record.size.to_le_bytes());
    put(&mut out, 88, &24_u16.to_le_bytes());
    put(&mut out, 108, &record.unknown);
    out
}

/// A bag that grows.
#[derive(Debug, Default)]
pub(crate) struct Bag {
    /// The bytes of the MBG.
    pub(crate) mbg: Vec<u8>,
    deleted: Vec<u16>,
    /// New messages since the last login.
    pub(crate) new: u16,
    /// Unread messages.
    pub(crate) unread: u16,
}

impl Bag {
    /// How many slots it has.
    pub(crate) fn slots(&self) -> usize {
        self.mbg.len() / RECORD
    }

    /// Appends a record that is live.
    pub(crate) fn push(&mut self, record: &[u8; RECORD]) {
        self.mbg.extend_from_slice(record);
    }

    /// Appends a record that is deleted: its bytes stay.
    pub(crate) fn push_deleted(&mut self, record: &[u8; RECORD]) {
        self.deleted.push(u16::try_from(self.slots()).unwrap_or(u16::MAX));
        self.push(record);
    }

    /// All live records are new and unread.
    pub(crate) fn all_new(&mut self) {
        let live = self.slots() - self.deleted.len();
        self.new = u16::try_from(live).unwrap_or(u16::MAX);
        self.unread = self.new;
    }

    /// The 560 bytes of the KEY.
    pub(crate) fn key(&self) -> [u8; KEY] {
        let mut out = [0; KEY];
        put(&mut out, 0, &self.new.to_le_bytes());
        put(&mut out, 2, &self.unread.to_le_bytes());
        for slot in &self.deleted {
            let place = BITMAP + narrow(wide(usize::from(*slot)) / 8);
            if let Some(byte) = out.get_mut(place) {
                *byte |= 1 << (slot % 8);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both records of the one dump that was ever published (Q108027).
    #[test]
    fn the_published_records() {
        let rows = [
            ("This is the subject", 25, b"00000062", 552_u32, [0x98, 0xC9, 0x5B, 0]),
            ("This is the next subject", 26, b"00000063", 554, [0x82, 0x54, 0x6B, 0]),
        ];
        for (subject, minute, mai, size, unknown) in rows {
            let made = record(&Record {
                sender: b"Martian".to_vec(),
                subject: subject.as_bytes().to_vec(),
                date: [minute, 16, 8, 10, 1993],
                mai: mai.to_vec(),
                size,
                unknown,
            });
            let mut expected = vec![0, 0];
            expected.extend_from_slice(b"Martian\0\0\0\0");
            expected.extend_from_slice(subject.as_bytes());
            expected.resize(13 + 41 + 2, 0);
            for part in [minute, 16, 8, 10, 1993_u16] {
                expected.extend_from_slice(&part.to_le_bytes());
            }
            expected.push(0);
            expected.extend_from_slice(mai);
            expected.extend_from_slice(&[0; 3]);
            expected.extend_from_slice(&size.to_le_bytes());
            expected.extend_from_slice(&[0; 6]);
            expected.extend_from_slice(&[0x18, 0]);
            expected.extend_from_slice(&[0; 18]);
            expected.extend_from_slice(&unknown);
            expected.extend_from_slice(&[0; 4]);
            assert_eq!(made.to_vec(), expected);
        }
        assert_eq!(record_date(750_097_500_000_000), [25, 16, 8, 10, 1993]);
    }

    #[test]
    fn long_names_and_subjects_are_cut() {
        let made = record(&Record {
            sender: b"ABCDEFGHIJKL".to_vec(),
            subject: vec![b's'; 60],
            mai: b"0000000A".to_vec(),
            ..Record::default()
        });
        assert_eq!(&made[2..13], b"ABCDEFGHIJ\0");
        assert_eq!(&made[13..54], [vec![b's'; 40], vec![0]].concat());
    }

    #[test]
    fn a_key_byte_by_byte() {
        assert_eq!(Bag::default().key(), [0; KEY]);
        let mut bag = Bag::default();
        for slot in 0..20 {
            let blank = [0; RECORD];
            if [0, 9, 15, 17].contains(&slot) { bag.push_deleted(&blank) } else { bag.push(&blank) }
        }
        bag.all_new();
        let mut expected = vec![16, 0, 16, 0];
        expected.resize(48, 0);
        expected.extend_from_slice(&[0b0000_0001, 0b1000_0010, 0b0000_0010]);
        expected.resize(560, 0);
        assert_eq!(bag.key().to_vec(), expected);
    }
}
