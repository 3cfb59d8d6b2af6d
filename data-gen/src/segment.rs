//! The segment format, written from docs/segment.md alone.
//!
//! What it deliberately does not do: reading; references to content (kind 2); checking that a
//! record is sensible. Damage is done to finished records elsewhere.
//!
//! Invariants: a record is built in place, at the end of a buffer, before its offset in the file is
//! known; `seal` makes it whole and is called once for each record, in any order.

use crate::bytes::{num, put, short, wide};
use crate::envelope::{Envelope, Recipient, Reverse};

/// Length of a record's head.
pub(crate) const HEAD: usize = 56;
/// Length of the file's header.
pub(crate) const FILE_HEADER: usize = 32;
/// Sync bytes at the start of each record.
pub(crate) const SYNC: [u8; 8] = [0xF5, 0x49, 0x4E, 0x51, 0x52, 0x45, 0x43, 0x0A];
const MAGIC: [u8; 8] = [0x89, 0x49, 0x4E, 0x51, 0x53, 0x45, 0x47, 0x0A];
/// Where the length of the content stands in a head.
pub(crate) const CONTENT_LENGTH_AT: usize = 32;

/// The file's header.
pub(crate) fn file_header(mark: u64) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    put(&mut header, 0, &MAGIC);
    put(&mut header, 8, &1_u16.to_le_bytes());
    put(&mut header, 10, &32_u16.to_le_bytes());
    put(&mut header, 12, &mark.to_le_bytes());
    let crc = crc32c::crc32c(header.get(..28).unwrap_or_default());
    put(&mut header, 28, &crc.to_le_bytes());
    header
}

/// Makes room for a record's head at the end of `out`.
pub(crate) fn reserve_head(out: &mut Vec<u8>) {
    out.resize(out.len() + HEAD, 0);
}

/// Fills the head of `record` (head, envelope of length `envelope`, content) but for its offset and
/// the head's own CRC. Returns the CRC32C of the content.
pub(crate) fn fill_head(record: &mut [u8], envelope: usize, mark: u64) -> u32 {
    let Some((head, rest)) = record.split_at_mut_checked(HEAD) else { return 0 };
    let (envelope, content) = rest.split_at_checked(envelope).unwrap_or_default();
    let crc = crc32c::crc32c(content);
    put(head, 0, &SYNC);
    put(head, 16, &mark.to_le_bytes());
    put(head, 24, &1_u16.to_le_bytes());
    put(head, 28, &short(envelope.len()).to_le_bytes());
    put(head, CONTENT_LENGTH_AT, &wide(content.len()).to_le_bytes());
    put(head, 40, &crc32c::crc32c(envelope).to_le_bytes());
    put(head, 44, &crc.to_le_bytes());
    crc
}

/// Writes the record's offset in the file and the head's CRC.
pub(crate) fn seal(record: &mut [u8], offset: u64) {
    put(record, 8, &offset.to_le_bytes());
    let crc = crc32c::crc32c(record.get(..52).unwrap_or_default());
    put(record, 52, &crc.to_le_bytes());
}

/// Appends a field: tag, length, value.
pub(crate) fn field(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    nested(out, tag, |out| out.extend_from_slice(value));
}

/// Appends a field whose value is written by `write`.
fn nested(out: &mut Vec<u8>, tag: u16, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&tag.to_le_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = short(out.len() - at - 4);
    put(out, at, &length.to_le_bytes());
}

/// Appends the fields of an envelope.
pub(crate) fn envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    nested(out, 1, |out| envelope.queue_id(out));
    field(out, 2, &envelope.arrival.to_le_bytes());
    match &envelope.reverse {
        Reverse::Unknown => {}
        Reverse::Null => field(out, 3, b""),
        Reverse::Invalid(path) | Reverse::Path(path) => field(out, 3, path),
    }
    if envelope.attempts > 0 {
        field(out, 4, &envelope.attempts.to_le_bytes());
    }
    if let Some(time) = envelope.next_attempt {
        field(out, 5, &time.to_le_bytes());
    }
    if let Some(time) = envelope.expiry {
        field(out, 6, &time.to_le_bytes());
    }
    if let Some(priority) = envelope.priority {
        field(out, 7, &[priority]);
    }
    for hop in 0..envelope.hops {
        nested(out, 8, |out| Envelope::hop(out, hop));
    }
    if envelope.unknown_field {
        field(out, 60_000, b"a field of a later version");
    }
    if let Some(number) = envelope.envid {
        nested(out, 10, |out| {
            out.extend_from_slice(b"env+id=");
            num(out, number);
        });
    }
    if let Some(ret) = envelope.ret {
        field(out, 11, &[ret]);
    }
    if let Some(body) = envelope.body {
        field(out, 12, &[body]);
    }
    for recipient in &envelope.recipients {
        nested(out, 15, |out| self::recipient(out, recipient));
    }
}

fn recipient(out: &mut Vec<u8>, recipient: &Recipient) {
    field(out, 1, &recipient.path);
    if let Some(notify) = recipient.notify {
        field(out, 2, &[notify]);
    }
    if recipient.orcpt {
        nested(out, 3, |out| {
            out.extend_from_slice(b"rfc822;");
            out.extend_from_slice(&recipient.path);
        });
    }
    if recipient.done {
        field(out, 4, &[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32c() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn the_file_header_byte_by_byte() {
        let header = file_header(0x0807_0605_0403_0201);
        assert_eq!(&header[..8], b"\x89INQSEG\n");
        assert_eq!(&header[8..12], [1, 0, 32, 0]);
        assert_eq!(&header[12..20], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(&header[20..28], [0; 8]);
        assert_eq!(&header[28..], crc32c::crc32c(&header[..28]).to_le_bytes());
    }

    #[test]
    fn a_record_byte_by_byte() {
        let mut plan = crate::plan::blank(0);
        plan.arrival = 0x0102;
        plan.reverse = Reverse::Path(b"a@b".to_vec());
        plan.priority = Some(2);
        plan.recipients = vec![Recipient::good(b"c@d".to_vec()).notify(4)];
        let mut out = Vec::new();
        reserve_head(&mut out);
        envelope(&mut out, &plan);
        let length = out.len() - HEAD;
        out.extend_from_slice(b"hello\n");
        let crc = fill_head(&mut out, length, 0x11);
        seal(&mut out, 32);

        let mut expected = Vec::new();
        expected.extend_from_slice(b"\x01\0\x0d\0\0\0G000000000000");
        expected.extend_from_slice(b"\x02\0\x08\0\0\0\x02\x01\0\0\0\0\0\0");
        expected.extend_from_slice(b"\x03\0\x03\0\0\0a@b");
        expected.extend_from_slice(b"\x07\0\x01\0\0\0\x02");
        expected.extend_from_slice(b"\x0f\0\x10\0\0\0");
        expected.extend_from_slice(b"\x01\0\x03\0\0\0c@d\x02\0\x01\0\0\0\x04");
        assert_eq!(&out[HEAD..HEAD + length], expected);
        assert_eq!(&out[HEAD + length..], b"hello\n");
        assert_eq!(crc, crc32c::crc32c(b"hello\n"));

        let mut head = Vec::new();
        head.extend_from_slice(b"\xf5INQREC\n");
        head.extend_from_slice(&32_u64.to_le_bytes());
        head.extend_from_slice(&0x11_u64.to_le_bytes());
        head.extend_from_slice(&[1, 0, 0, 0]);
        head.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        head.extend_from_slice(&6_u64.to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&expected).to_le_bytes());
        head.extend_from_slice(&crc.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        assert_eq!(&out[..HEAD], head);
    }
}
