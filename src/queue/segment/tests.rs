//! Tests of the segment format: what is written is read back; any range alone gives what the whole
//! gives, on damaged files too.

use super::read::{Header, Records, envelope, frame, frame_rest, header, notes, record_at};
use super::reference::{Reference, References};
use super::write::{Payload, Place, append_head, file_header};
use super::{HEAD_LEN, HEADER_LEN, KIND_MESSAGE, SYNC, recipient_tag, tag};
use crate::mail::content::Content;
use crate::mail::date::Time;
use crate::mail::envelope::{Envelope, Notify, QueueId, Ret, ReversePath};
use crate::queue::{DamageKind, Found, Framed, Lies};
use proptest::prelude::*;

const MARK: u64 = 0x1122_3344_5566_7788;

fn append(file: &mut Vec<u8>, content: &[u8]) {
    let payload = Payload::measure(Content::plain(content));
    let place = Place { offset: file.len() as u64, mark: MARK };
    append_head(file, place, &payload, |fields| {
        fields.reverse_path(ReversePath::Path(b"a@example.com"));
        fields.nested(tag::RECIPIENT, |fields| {
            fields.bytes(recipient_tag::FORWARD_PATH, b"b@example.com");
        });
    });
    file.extend_from_slice(content);
}

fn segment(contents: &[&[u8]]) -> Vec<u8> {
    let mut file = file_header(MARK).to_vec();
    for content in contents {
        append(&mut file, content);
    }
    file
}

/// A framed piece, comparable: offset, length, content or kind of damage.
fn pieces(
    file: &[u8],
    range: std::ops::Range<u64>,
) -> Vec<(u64, u64, Result<Vec<u8>, DamageKind>)> {
    comparable(frame(file, range))
}

fn comparable(records: Records<'_>) -> Vec<(u64, u64, Result<Vec<u8>, DamageKind>)> {
    records
        .map(|framed| match framed {
            Framed::Message(m) => (m.offset, m.length, Ok(m.content.raw().to_vec())),
            Framed::Damage(d) => (d.offset, d.length, Err(d.kind)),
        })
        .collect()
}

fn whole(file: &[u8]) -> Vec<(u64, u64, Result<Vec<u8>, DamageKind>)> {
    pieces(file, 0..file.len() as u64)
}

fn messages(records: Records<'_>) -> Vec<Found<'_>> {
    let message = |framed| match framed {
        Framed::Message(found) => found,
        Framed::Damage(damage) => panic!("{damage:?}"),
    };
    records.map(message).collect()
}

/// A record with a reference is framed as any other, and leads to the content, is given as it
/// stands, or is damage where nobody asks for either.
#[test]
fn a_reference_is_followed_or_given_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mbox"), b"From x\n>From y\nz\n").unwrap();
    let mut file = segment(&[b"one"]);
    let mut of = |offset, length, bytes: &[u8], is_quoted| {
        let (checksum, name) = (crc32c::crc32c(bytes), &b"mbox"[..]);
        let reference = Reference { offset, length, checksum, is_quoted, name };
        let mut bytes = Vec::new();
        reference.append(&mut bytes);
        let place = Place { offset: file.len() as u64, mark: MARK };
        append_head(&mut file, place, &Payload::reference(&bytes), |fields| {
            fields.bytes(tag::QUEUE_ID, b"id");
        });
        file.extend_from_slice(&bytes);
        reference
    };
    let plain = of(7, 10, b">From y\nz\n", false);
    let quoted = of(7, 10, b">From y\nz\n", true);
    append(&mut file, b"two");
    let all = 0..file.len() as u64;
    std::fs::write(folder.path().join("queue.seg"), &file).unwrap();
    let references = References::of(&folder.path().join("queue.seg")).unwrap();
    let mut records = frame(&file, all.clone()).following(&references);
    let mut contents = Vec::new();
    while let Some(Framed::Message(found)) = records.next() {
        let content = found.content.runs().collect::<Vec<_>>().concat();
        // Where a reference is to quoted bytes, its checksum isn't the content's.
        let is_known = records.content_checksum() == Some(crc32c::crc32c(&content));
        assert_eq!(is_known, !found.content.is_quoted());
        contents.push(content);
    }
    assert_eq!(contents, [&b"one"[..], b">From y\nz\n", b"From y\nz\n", b"two"]);
    let given = messages(frame(&file, all).unfollowed());
    let lies: Vec<_> = given.iter().map(|found| found.lies).collect();
    assert!(matches!(lies[0], Lies::Here(_)) && matches!(lies[3], Lies::Here(_)));
    assert_eq!(lies[1..3], [Lies::There(plain), Lies::There(quoted)]);
    assert!(given[1].content.is_empty());
    let (envelope, bytes) = record_at(&file, given[1].offset).unwrap();
    assert_eq!((envelope, Reference::read(bytes)), (given[1].head, Some(plain)));
    let kinds: Vec<_> = whole(&file).into_iter().map(|(_, _, content)| content.err()).collect();
    let lost = Some(DamageKind::Reference);
    assert_eq!(kinds, [None, lost, lost, None]);
}

/// Where a content lies is told, and it can be left unread: then only its record's head speaks for
/// it.
#[test]
fn a_content_that_is_left_unread_may_be_another() {
    let mut file = segment(&[b"one", b"two", b"three"]);
    let all = 0..file.len() as u64;
    for found in messages(frame(&file, all.clone())) {
        let Lies::Here(at) = found.lies else { panic!("{:?}", found.lies) };
        let at = usize::try_from(at).unwrap();
        assert_eq!(&file[at..at + found.content.raw().len()], found.content.raw());
    }
    let second = messages(frame(&file, all.clone()))[1];
    let last = usize::try_from(second.offset + second.length).unwrap() - 1;
    file[last] ^= 1;
    assert_eq!(whole(&file)[1].2, Err(DamageKind::Content));
    let mut records = frame(&file, all).unread();
    let mut same = Vec::new();
    while let Some(Framed::Message(found)) = records.next() {
        same.push(records.content_checksum() == Some(found.content.checksum()));
    }
    assert_eq!(same, [true, false, true]);
}

/// Whoever goes on in the middle of a range, where a record of it ends, gets all that comes then,
/// damage that begins right there too: it has no other owner, even behind the range's end.
#[test]
fn what_is_left_of_a_range_is_what_the_whole_range_gives_then() {
    let good = segment(&[b"one", b"two\n", b"", b"four"]);
    let starts: Vec<u64> = whole(&good).iter().map(|piece| piece.0).collect();
    let mut behind = 0;
    for at in 0..good.len() {
        let mut file = good.clone();
        file[at] ^= 0x10;
        for &end in starts.iter().skip(1).chain([&(good.len() as u64)]) {
            let all = pieces(&file, 0..end);
            for (number, (offset, length, _)) in all.iter().enumerate() {
                let from = offset + length;
                let rest = comparable(frame_rest(&file, from..end));
                assert_eq!(rest, all[number + 1..], "byte {at}, from {from} to {end}");
                behind += usize::from(from >= end && !rest.is_empty());
            }
        }
    }
    assert!(behind > 100, "damage behind the end: {behind}");
}

#[test]
fn the_header_says_version_and_mark() {
    let good = file_header(MARK);
    assert_eq!(header(&good), Header::Good(MARK));
    assert_eq!(header(&good[..31]), Header::Bad);
    let mut newer = good;
    newer[8] = 2;
    let checksum = crc32c::crc32c(&newer[..28]).to_le_bytes();
    newer[28..].copy_from_slice(&checksum);
    assert_eq!(header(&newer), Header::Version(2));
    let mut bad = good;
    bad[20] = 1;
    assert_eq!(header(&bad), Header::Bad);
}

#[test]
fn an_envelope_is_read_as_it_was_written() {
    let mut written = Envelope::new(QueueId::Written(b"4bXyZ"));
    written.arrival = Some(Time(-5));
    written.reverse_path = ReversePath::Null;
    written.attempts = 3;
    written.next_attempt = Some(Time(7));
    written.expiry = Some(Time(i64::MAX));
    written.priority = 1;
    written.hops.extend([&b"one.example"[..], b"two.example"]);
    written.envid = Some(b"id \xff");
    written.ret = Some(Ret::Hdrs);
    written.body = 130;
    let mut file = file_header(MARK).to_vec();
    let payload = Payload::measure(Content::plain(b"x"));
    append_head(&mut file, Place { offset: 32, mark: MARK }, &payload, |fields| {
        fields.carried(&written);
        fields.reverse_path(written.reverse_path);
        fields.schedule(&written);
        fields.origin(b"queue.mbox", 12, 34);
        fields.u32(tag::DISPOSITIONS, 9);
        fields.bytes(60_000, b"from the future");
        fields.nested(tag::RECIPIENT, |fields| {
            fields.bytes(recipient_tag::FORWARD_PATH, b"any \0 bytes");
            fields.bytes(recipient_tag::NOTIFY, &[Notify::FAILURE]);
            fields.bytes(recipient_tag::ORCPT, b"rfc822;x@y");
            fields.bytes(recipient_tag::STATE, &[1]);
            fields.bytes(recipient_tag::STATUS, b"5.1.1");
            fields.u32(recipient_tag::DISPOSITION, 4);
            fields.bytes(60_000, b"from the future");
        });
    });
    file.push(b'x');
    let Some(Framed::Message(found)) = frame(&file, 0..file.len() as u64).next() else {
        panic!("no message")
    };
    let mut recipients = Vec::new();
    let read = envelope(found.head, QueueId::Given(b"other"), &mut recipients).unwrap();
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let [recipient] = recipients.as_slice() else { panic!("one recipient") };
    assert_eq!(recipient.forward_path, b"any \0 bytes");
    assert_eq!(recipient.notify, Some(Notify(4)));
    assert_eq!(recipient.orcpt, Some(&b"rfc822;x@y"[..]));
    assert!(recipient.done);
    let mut seen = Vec::new();
    let notes = notes(found.head, |note| seen.push((note.disposition, note.status))).unwrap();
    assert_eq!(notes.origin, Some((&b"queue.mbox"[..], 12, 34)));
    assert_eq!(notes.dispositions, Some(9));
    assert_eq!(seen, [(Some(4), &b"5.1.1"[..])]);
}

#[test]
fn damage_costs_only_what_it_hits() {
    let clean = segment(&[b"one", b"two two", b"three"]);
    let starts: Vec<u64> = whole(&clean).iter().map(|p| p.0).collect();
    let second = usize::try_from(starts[1]).unwrap();
    for (at, kind) in [
        (second, DamageKind::Head),
        (second + HEAD_LEN - 1, DamageKind::Head),
        (second + HEAD_LEN, DamageKind::Envelope),
        (usize::try_from(starts[2]).unwrap() - 1, DamageKind::Content),
    ] {
        let mut file = clean.clone();
        file[at] ^= 0x55;
        let got = whole(&file);
        assert_eq!(got.len(), 3, "byte {at}");
        assert_eq!(got[0].2.as_deref(), Ok(&b"one"[..]));
        assert_eq!(got[1], (starts[1], starts[2] - starts[1], Err(kind)), "byte {at}");
        assert_eq!(got[2].2.as_deref(), Ok(&b"three"[..]));
    }
    let mut torn = clean.clone();
    torn.truncate(clean.len() - 1);
    let got = whole(&torn);
    assert_eq!(got[1].2.as_deref(), Ok(&b"two two"[..]));
    assert_eq!(got[2], (starts[2], torn.len() as u64 - starts[2], Err(DamageKind::TornTail)));
    let mut headless = clean.clone();
    headless[0] = 0;
    assert_eq!(whole(&headless).iter().filter(|p| p.2.is_ok()).count(), 3);
}

#[test]
fn unknown_kinds_are_skipped_by_their_length() {
    let mut file = segment(&[b"one", b"two"]);
    let second = usize::try_from(whole(&file)[1].0).unwrap();
    file[second + 24..second + 26].copy_from_slice(&(KIND_MESSAGE + 40).to_le_bytes());
    let checksum = crc32c::crc32c(&file[second..second + 52]).to_le_bytes();
    file[second + 52..second + 56].copy_from_slice(&checksum);
    append(&mut file, b"three");
    let got: Vec<_> = whole(&file).into_iter().map(|p| p.2).collect();
    assert_eq!(got, [Ok(b"one".to_vec()), Ok(b"three".to_vec())]);
}

#[test]
fn a_segment_within_a_message_is_not_taken_for_records() {
    let inner = segment(&[b"inner one", b"inner two"]);
    let outer = segment(&[b"first", &inner, b"last"]);
    for cut in 0..outer.len() as u64 {
        let mut both = pieces(&outer, 0..cut);
        both.extend(pieces(&outer, cut..outer.len() as u64));
        assert_eq!(both, whole(&outer), "cut at {cut}");
    }
    assert_eq!(whole(&outer).len(), 3);
}

/// Pieces that a hostile file is put together from.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        Just(SYNC.to_vec()),
        Just(b"text\n".to_vec()),
        Just(segment(&[b"within"])),
    ]
}

proptest! {
    /// Cut anywhere, damaged anywhere: the ranges together give what the whole gives, and every
    /// byte behind the header is in exactly one piece.
    #[test]
    fn ranges_together_are_the_whole(
        contents in proptest::collection::vec(piece(), 0..12),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        torn in 0_usize..120,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let mut file = segment(&contents);
        for (at, flip) in &damages {
            let at = at.index(file.len());
            file[at] ^= flip;
        }
        let kept = file.len().saturating_sub(torn.saturating_sub(60));
        file.truncate(kept);
        let expect = whole(&file);
        let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut.index(file.len() + 1) as u64).collect();
        cuts.extend([0, file.len() as u64]);
        cuts.sort_unstable();
        let mut got = Vec::new();
        for pair in cuts.windows(2) {
            got.extend(pieces(&file, pair[0]..pair[1]));
        }
        prop_assert_eq!(&got, &expect);
        let mut at = if matches!(header(&file), Header::Good(_)) { HEADER_LEN as u64 } else { 0 };
        for (offset, length, _) in &expect {
            prop_assert_eq!(*offset, at);
            at += length;
        }
        prop_assert_eq!(at, (file.len() as u64).max(at));
    }
}
