//! Events as records of a Windows NT event log (.EVT), and the log's header and end record.
//!
//! Pure: bytes are appended to buffers, and read back from a slice. A log here doesn't wrap:
//! records lie one behind the other from byte 48 on, and behind the last the end record. String 1
//! of a record is the whole sentence, because a reader has no message file of ours; then come the
//! insertion strings, all of them, and at last the event's id and the queue id. Not here: files,
//! and when a next one is begun. Invariants: a record is a multiple of four bytes and is never cut
//! in two; the numbers of records go up by one; its severity bits are those of its type.
//!
//! Layout: Microsoft's "Event Log File Format", and the notes of libevt. All numbers are little
//! endian.

use super::catalogue::Kind;
use super::told::Told;

/// Bytes of the header.
pub const HEADER_BYTES: u32 = 0x30;
/// Bytes of the end record.
pub const END_BYTES: u32 = 0x28;
/// Name of the source, as the original had it.
pub const SOURCE: &str = "MSExchangeMSMI";

const SIGNATURE: u32 = 0x654C_664C;
const FIXED_BYTES: u32 = 56;
/// The log is open: a reader is to look for the end record itself.
const FLAG_DIRTY: u32 = 1;
/// Files of the original grow by so much.
const GROWTH_BYTES: u32 = 0x1_0000;

/// Which records a log holds, and where they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of its first record.
    pub first: u32,
    /// Number that the next record will have.
    pub next: u32,
    /// Where the end record lies.
    pub end: u32,
}

impl Extent {
    /// A log without records, whose first will have this number.
    pub const fn new(first: u32) -> Self {
        Self { first, next: first, end: HEADER_BYTES }
    }

    /// Records in it.
    pub const fn records(&self) -> u32 {
        self.next.wrapping_sub(self.first)
    }

    const fn oldest(&self) -> u32 {
        if self.next == self.first { 0 } else { self.first }
    }

    /// The header of the log, open (then it is dirty) or closed.
    pub fn header(&self, is_open: bool) -> Vec<u8> {
        let size = self.end.saturating_add(END_BYTES).checked_next_multiple_of(GROWTH_BYTES);
        let size = size.unwrap_or(u32::MAX);
        let flags = if is_open { FLAG_DIRTY } else { 0 };
        let (end, next, oldest) = (self.end, self.next, self.oldest());
        let first = HEADER_BYTES;
        numbers(&[first, SIGNATURE, 1, 1, first, end, next, oldest, size, flags, 0, first])
    }

    /// The end record.
    pub fn end_record(&self) -> Vec<u8> {
        let marks = [0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444];
        let [a, b, c, d] = marks;
        let (end, next, oldest) = (self.end, self.next, self.oldest());
        numbers(&[END_BYTES, a, b, c, d, HEADER_BYTES, end, next, oldest, END_BYTES])
    }

    /// Appends a record, and counts it. False: the log can't hold one more by its format, and
    /// nothing is appended.
    pub fn append(&mut self, out: &mut Vec<u8>, told: &Told, computer: &str) -> bool {
        let start = out.len();
        append_record(out, self.next, told, computer);
        let length = u32::try_from(out.len() - start).ok();
        let end = length.and_then(|length| self.end.checked_add(length));
        let room = end.filter(|end| end.checked_add(END_BYTES).is_some());
        let (Some(end), Some(next)) = (room, self.next.checked_add(1)) else {
            out.truncate(start);
            return false;
        };
        (self.end, self.next) = (end, next);
        true
    }
}

fn numbers(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Type of a record, and the severity bits of its event id, which go with it.
const fn kind_and_severity(kind: Kind) -> (u16, u32) {
    match kind {
        Kind::Error => (1, 3),
        Kind::Warning => (2, 2),
        Kind::Information => (4, 1),
    }
}

/// The event id of a number: what the original's real facility was isn't known, so it is 0.
pub fn event_id(told: &Told) -> u32 {
    let (_, severity) = kind_and_severity(told.kind());
    severity << 30 | u32::from(told.number())
}

/// What stands in a record's strings: the sentence, the insertion strings, the id, the queue id.
pub fn strings(told: &Told) -> Vec<String> {
    let (sentence, insertions) = told.described();
    let mut strings = vec![sentence];
    strings.extend(insertions);
    strings.extend([told.id(), told.queue_id()]);
    strings
}

fn append_record(out: &mut Vec<u8>, number: u32, told: &Told, computer: &str) {
    let start = out.len();
    let strings = strings(told);
    let (kind, _) = kind_and_severity(told.kind());
    // A log knows times from 1970 to 2106; an event without one is of 1970.
    let time = told.time().map_or(0, |time| time.as_s().clamp(0, i64::from(u32::MAX)));
    let time = u32::try_from(time).unwrap_or(u32::MAX);
    let mut body = Vec::new();
    append_text(&mut body, SOURCE);
    append_text(&mut body, computer);
    pad(&mut body);
    let strings_at = body.len();
    for string in &strings {
        append_text(&mut body, string);
    }
    let data_at = body.len();
    pad(&mut body);
    let offset = |at: usize| FIXED_BYTES.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
    let length = offset(body.len()).saturating_add(4);
    let id = event_id(told);
    out.extend(numbers(&[length, SIGNATURE, number, time, time, id]));
    let count = u16::try_from(strings.len()).unwrap_or(u16::MAX);
    for half in [kind, count, told.category().number(), 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    // No user, no data; their offsets are right all the same.
    let (strings_at, data_at) = (offset(strings_at), offset(data_at));
    out.extend(numbers(&[0, strings_at, 0, strings_at, 0, data_at]));
    debug_assert_eq!(out.len() - start, FIXED_BYTES as usize, "the fixed part");
    out.extend_from_slice(&body);
    out.extend(numbers(&[length]));
}

/// UTF-16, ended by a NUL; one within would end it early.
fn append_text(out: &mut Vec<u8>, text: &str) {
    let units = text.encode_utf16().map(|unit| if unit == 0 { 0xFFFD } else { unit });
    out.extend(units.chain([0]).flat_map(u16::to_le_bytes));
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// What a log holds that was closed, or was left by a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Its whole records.
    pub extent: Extent,
    /// Id of the event in the last one.
    pub last_id: Option<String>,
}

/// Reads a log's records, up to the first that isn't whole. `None`: it is no log.
pub fn scan(bytes: &[u8]) -> Option<Scanned> {
    let word = |at: u32| word(bytes, at as usize);
    if word(0)? != HEADER_BYTES || word(4)? != SIGNATURE {
        return None;
    }
    let (next, oldest) = (word(24)?, word(28)?);
    // The header is of when the log was opened, or of its last batch.
    let named = if oldest == 0 { next } else { oldest };
    let stands = word(HEADER_BYTES + 4) == Some(SIGNATURE);
    let first = word(HEADER_BYTES + 8).filter(|_| stands).unwrap_or(named);
    let mut extent = Extent::new(first);
    let mut last = None;
    while let Some(record) = record(bytes, extent) {
        extent.end += u32::try_from(record.len()).ok()?;
        extent.next = extent.next.checked_add(1)?;
        last = Some(record);
    }
    Some(Scanned { extent, last_id: last.and_then(id_of) })
}

/// The record at a log's end, where a whole one stands there.
fn record(bytes: &[u8], extent: Extent) -> Option<&[u8]> {
    let start = extent.end as usize;
    let length = word(bytes, start)?;
    if length < FIXED_BYTES + 4 || length % 4 != 0 {
        return None;
    }
    let record = bytes.get(start..start.checked_add(length as usize)?)?;
    let closing = word(record, record.len() - 4)?;
    let is_whole = word(record, 4)? == SIGNATURE && word(record, 8)? == extent.next;
    (is_whole && closing == length).then_some(record)
}

/// The last string but one.
fn id_of(record: &[u8]) -> Option<String> {
    let count = record.get(26..28)?;
    let count = usize::from(u16::from_le_bytes([*count.first()?, *count.last()?]));
    let strings = record.get(word(record, 36)? as usize..)?;
    let (pairs, _) = strings.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let id = units.split(|unit| *unit == 0).nth(count.checked_sub(2)?)?;
    String::from_utf16(id).ok()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(line: &str) -> Told {
        Told::parse(line.as_bytes()).unwrap()
    }

    fn text(text: &str) -> Vec<u8> {
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn a_record_is_these_bytes() {
        let told = told(
            r#"{"id":"K-1-d0","time":"1970-01-01T00:01:00Z","number":2371,"type":"warning",
                "queue_id":"Q","recipient":"%1","status":"5.1.3"}"#,
        );
        let mut extent = Extent::new(7);
        let mut out = Vec::new();
        assert!(extent.append(&mut out, &told, "pc"));
        let mut tail = text("MSExchangeMSMI");
        tail.extend(text("pc"));
        assert_eq!(tail.len() % 4, 0);
        let strings_at = 56 + tail.len();
        let sentence = "Invalid recipient(s) found in Q. Generating non-delivery report.";
        let problem = "[5.1.3] the address is not a valid mail address";
        for string in [sentence, "Q", "%1", problem, "(unknown)", "(unknown)", "K-1-d0", "Q"] {
            tail.extend(text(string));
        }
        let data_at = 56 + tail.len();
        tail.resize(tail.len().next_multiple_of(4), 0);
        let length = u32::try_from(56 + tail.len() + 4).unwrap();
        let word = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        let mut expect = length.to_le_bytes().to_vec();
        expect.extend_from_slice(b"LfLe\x07\0\0\0\x3C\0\0\0\x3C\0\0\0\x43\x09\0\x80");
        expect.extend_from_slice(b"\x02\0\x08\0\x04\0\0\0\0\0\0\0");
        expect.extend(word(strings_at));
        expect.extend_from_slice(b"\0\0\0\0");
        expect.extend(word(strings_at));
        expect.extend_from_slice(b"\0\0\0\0");
        expect.extend(word(data_at));
        expect.extend(tail);
        expect.extend(length.to_le_bytes());
        assert_eq!(out, expect);
        assert_eq!(extent, Extent { first: 7, next: 8, end: 48 + length });
    }

    #[test]
    fn header_and_end_record_are_these_bytes() {
        let extent = Extent { first: 3, next: 5, end: 0x0102 * 4 };
        let header: Vec<u8> = [0x30, 0x654C_664C, 1, 1, 0x30, 0x408, 5, 3, 0x1_0000, 0, 0, 0x30]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        assert_eq!(extent.header(false), header);
        let open = extent.header(true);
        assert_eq!(open[36], 1);
        assert_eq!((&open[..36], &open[37..]), (&header[..36], &header[37..]));
        let end: Vec<u8> =
            [0x28, 0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444, 0x30, 0x408, 5, 3, 0x28_u32]
                .into_iter()
                .flat_map(u32::to_le_bytes)
                .collect();
        assert_eq!(extent.end_record(), end);
        assert_eq!(Extent::new(1).header(false)[28..32], [0; 4], "no oldest in an empty log");
    }

    #[test]
    fn severity_goes_with_the_type() {
        for (number, kind, id) in [
            (2371, "warning", 0x8000_0943),
            (2117, "warning", 0x8000_0845),
            (2444, "information", 0x4000_098C),
            (2380, "error", 0xC000_094C),
            (10003, "error", 0xC000_2713),
            (2335, "information", 0x4000_091F),
        ] {
            let told = told(&format!(r#"{{"number":{number},"type":"{kind}"}}"#));
            assert_eq!(event_id(&told), id, "{number}");
        }
    }

    /// A log of three records, and where each ends.
    fn log(first: u32) -> (Vec<u8>, Vec<u32>) {
        let mut extent = Extent::new(first);
        let mut log = extent.header(true);
        let mut ends = Vec::new();
        for number in 0..3 {
            let line = format!(r#"{{"id":"ID-1-d{number}","number":2444}}"#);
            assert!(extent.append(&mut log, &told(&line), "pc"));
            ends.push(extent.end);
        }
        log.extend(extent.end_record());
        (log, ends)
    }

    #[test]
    fn a_log_that_is_cut_anywhere_holds_what_was_whole() {
        let (log, ends) = log(9);
        for cut in 0..=log.len() {
            let Some(scanned) = scan(&log[..cut]) else {
                assert!(cut < 32, "{cut}");
                continue;
            };
            let whole = ends.iter().filter(|end| **end as usize <= cut).count();
            assert_eq!(scanned.extent.records() as usize, whole, "cut at {cut}");
            let id = whole.checked_sub(1).map(|last| format!("ID-1-d{last}"));
            assert_eq!(scanned.last_id, id);
            if whole > 0 {
                assert_eq!(scanned.extent.first, 9);
            }
        }
    }

    #[test]
    fn what_is_full_by_its_format_takes_no_more() {
        let event = told(r#"{"number":2444}"#);
        let mut out = Vec::new();
        for mut extent in [
            Extent { first: 1, next: u32::MAX, end: 48 },
            Extent { first: 1, next: 2, end: u32::MAX - 100 },
        ] {
            let before = extent;
            assert!(!extent.append(&mut out, &event, "pc"));
            assert!(out.is_empty() && extent == before);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_log_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            at in 0_usize..600,
        ) {
            let _ = scan(&bytes);
            let (mut log, _) = log(1);
            let at = at % log.len();
            for (place, byte) in log.iter_mut().skip(at).zip(&bytes) {
                *place = *byte;
            }
            if let Some(scanned) = scan(&log) {
                prop_assert!(scanned.extent.records() <= 3);
            }
        }
    }
}
