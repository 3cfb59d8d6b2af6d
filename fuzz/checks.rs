//! What must hold for any bytes, one function a format: called by the fuzz targets, and by the
//! tests with the saved corpora.
//!
//! A function panics where a property is broken. Not here: generating bytes. Formats that begin
//! with a checksum are given what the fuzzer made with the checksum mended, too, or it would never
//! get past it. Invariant: no function keeps anything from one call to the next.

use inqueue::directory::Directory;
use inqueue::limits;
use inqueue::mail::address::{Mailbox, each_address};
use inqueue::mail::content::Content;
use inqueue::mail::date::Time;
use inqueue::mail::envelope::{Envelope, QueueId, Recipient};
use inqueue::mail::header::{HeaderFacts, fields, section_len};
use inqueue::mail::msmail;
use inqueue::queue::files::FileList;
use inqueue::queue::postoffice::bag::{self, Key, Record};
use inqueue::queue::postoffice::element::Elements;
use inqueue::queue::postoffice::list::BagList;
use inqueue::queue::postoffice::mai::{self, Mai};
use inqueue::queue::postoffice::office::Office;
use inqueue::queue::postoffice::p1::P1;
use inqueue::queue::postoffice::tables::Tables;
use inqueue::queue::segment::{read, write};
use inqueue::queue::{Format, Found, Framed, Source, envelope, ffapi, mbox, rendered};
use inqueue::spool::Sync;
use inqueue::spool::commits;
use std::ops::Range;

mod written;
pub use written::{event_line, report};

/// A target: its name, and what must hold.
pub type Check = (&'static str, fn(&[u8]));

/// All of them; the name is that of the target and of its corpus.
pub const ALL: [Check; 18] = [
    ("segment", segment),
    ("mbox", mbox),
    ("eml", eml),
    ("header", header),
    ("address", address),
    ("msmail", msmail_address),
    ("date", date),
    ("element", element),
    ("mai", mai_file),
    ("p1", p1_file),
    ("bag", bag_files),
    ("tables", tables),
    ("ffapi", ffapi_text),
    ("directory", directory),
    ("lists", lists),
    ("logs", run_logs),
    ("event", event_line),
    ("ndr", report),
];

/// The rest of `data` behind its first byte, and that byte.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// Ranges of messages and damage lie one behind the other from `start` on, without overlap; what
/// lies between two of them, and before and behind all, `is_nothing`. Gives where the last ends.
fn tile(framed: &[Framed<'_>], file: &[u8], start: usize, is_nothing: fn(&[u8]) -> bool) -> usize {
    let mut at = start;
    for one in framed {
        let (offset, length) = match one {
            Framed::Message(found) => (found.offset, found.length),
            Framed::Damage(damage) => (damage.offset, damage.length),
        };
        let offset = usize::try_from(offset).unwrap();
        assert!(offset >= at, "{offset} lies before {at}");
        // An empty file may be a message.
        let is_something = length > 0 || file.is_empty();
        assert!(is_something && is_nothing(&file[at..offset]), "a gap at {at}");
        at = offset + usize::try_from(length).unwrap();
        assert!(at <= file.len(), "{at} lies behind the end");
    }
    at
}

/// Where messages (true) and damage lie.
fn places_of(framed: &[Framed<'_>]) -> Vec<(u64, u64, bool)> {
    let all = framed.iter().map(|one| match one {
        Framed::Message(found) => (found.offset, found.length, true),
        Framed::Damage(damage) => (damage.offset, damage.length, false),
    });
    all.collect()
}

/// The bytes as a segment; and as the envelope of a record in a whole one, between two others.
pub fn segment(data: &[u8]) {
    segment_file(data);
    let mark = 0x1122_3344_5566_7788;
    let mut file = write::file_header(mark).to_vec();
    for envelope in [&b""[..], data, b""] {
        let place = write::Place { offset: file.len() as u64, mark };
        let content = Content::plain(b"content");
        let payload = write::Payload::measure(content);
        write::append_head(&mut file, place, &payload, |fields| fields.verbatim(envelope));
        file.extend_from_slice(content.raw());
    }
    let framed = segment_file(&file);
    assert_eq!(framed, 3, "three records, whatever is in one of them");
    let (mut again, mut none, mut recipients) = (Vec::new(), Vec::new(), Vec::new());
    let Ok(seen) = read::envelope(data, QueueId::Given(b"id"), &mut recipients) else { return };
    assert!(read::notes(data, |_| {}).is_some(), "what the one reads the other does");
    // Written again, it is the same envelope.
    let mut out = write::Fields::new(&mut again);
    out.carried(&seen);
    out.reverse_path(seen.reverse_path);
    out.schedule(&seen);
    let reread = read::envelope(&again, QueueId::Given(b"id"), &mut none).unwrap();
    let id = |id: QueueId<'_>| {
        let mut out = Vec::new();
        id.write(&mut out);
        out
    };
    assert_eq!(id(reread.queue_id), id(seen.queue_id));
    assert!(id(seen.queue_id).iter().all(u8::is_ascii_graphic));
    let facts = |e: &Envelope<'_>| {
        let path = e.reverse_path.bytes().to_vec();
        (e.arrival, path, e.attempts, e.next_attempt, e.expiry, e.priority, e.ret, e.hop_limit)
    };
    assert_eq!(facts(&reread), facts(&seen));
    assert_eq!((reread.hops, reread.envid), (seen.hops.clone(), seen.envid));
    assert_eq!(reread.originals, seen.originals);
}

fn segment_file(file: &[u8]) -> usize {
    let len = file.len() as u64;
    let framed: Vec<Framed<'_>> = read::frame(file, 0..len).collect();
    let start = if matches!(read::header(file), read::Header::Good(_)) { 32 } else { 0 };
    // Records of kinds that aren't known are passed over.
    tile(&framed, file, start.min(file.len()), |_| true);
    let cuts = [0, len / 3, len / 2, len];
    let mut parts = Vec::new();
    for pair in cuts.windows(2) {
        let part: Vec<_> = read::frame(file, pair[0]..pair[1]).collect();
        parts.extend(places_of(&part));
    }
    assert_eq!(parts, places_of(&framed), "in parts as in one");
    framed.len()
}

/// The first byte says how parts are cut; all kinds are tried.
pub fn mbox(data: &[u8]) {
    let (cut, file) = choice(data);
    let detected = mbox::detect(file);
    let kinds = [mbox::Kind::Rd, mbox::Kind::O, mbox::Kind::Cl, mbox::Kind::Cl2];
    assert!(kinds.contains(&detected));
    for kind in kinds {
        let len = file.len() as u64;
        let framed: Vec<Framed<'_>> = mbox::frame(file, kind, 0..len).collect();
        let is_blank = |gap: &[u8]| gap.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        let end = tile(&framed, file, 0, is_blank);
        assert!(end == file.len() || is_blank(&file[end..]), "{kind:?}: the end");
        for one in &framed {
            let Framed::Message(found) = one else { continue };
            assert!(found.head.starts_with(b"From "), "{kind:?}");
            let place = range_of(found);
            assert!(file[place.clone()].starts_with(found.head));
            assert!(found.content.raw().len() <= place.len());
            let mut out = Vec::new();
            found.content.runs().for_each(|run| out.extend_from_slice(run));
            assert_eq!(out.len() as u64, found.content.len());
            assert_eq!(crc32c::crc32c(&out), found.content.checksum());
            let from = mbox::from_line(found.head);
            assert!(!from.reverse_path.bytes().contains(&b'\n'));
            judged(Format::MboxRd, found);
        }
        let starts = mbox::part_starts(file, kind, u64::from(cut));
        let ends = starts.iter().skip(1).copied().chain([len]);
        let mut parts = Vec::new();
        for (start, end) in starts.iter().zip(ends) {
            let part: Vec<_> = mbox::frame(file, kind, *start..end).collect();
            parts.extend(places_of(&part));
        }
        assert_eq!(parts, places_of(&framed), "{kind:?}: in parts of {cut} as in one");
    }
}

fn range_of(found: &Found<'_>) -> Range<usize> {
    let start = usize::try_from(found.offset).unwrap();
    start..start + usize::try_from(found.length).unwrap()
}

/// The envelope that is made of a content.
fn judged(format: Format, found: &Found<'_>) {
    let source = Source { format, name: b"file", tag: 1, bytes: b"" };
    let facts = HeaderFacts::read(found.content.raw());
    let mut recipients = Vec::new();
    let order = envelope::RecipientOrder::default();
    let made = envelope::read(&source, found, &facts, order, &mut recipients);
    let is_whole = recipients.len() <= limits::RECIPIENTS_MAX && !facts.is_cut;
    assert!(made.judged().is_ok() && is_whole, "no case is so large");
    assert!(recipients.iter().all(|one| one.forward_path.len() <= found.content.raw().len()));
}

/// The bytes as a file that is a message.
pub fn eml(data: &[u8]) {
    let found = Found::new(0, data.len() as u64, b"new/1.x:2,S", Content::plain(data));
    judged(Format::Eml, &found);
    judged(Format::Maildir, &found);
    let Some(read) = rendered::read(data) else { return };
    assert!(
        read.attachments.iter().map(|(name, bytes)| name.len() + bytes.len()).sum::<usize>()
            <= data.len()
    );
}

/// Fields are slices, in order, of the header section; facts are those of the fields.
pub fn header(data: &[u8]) {
    let mut at = data.as_ptr() as usize;
    let end = at + section_len(data);
    let (mut hops, mut destinations) = (0_u32, 0);
    for field in fields(data) {
        let start = field.name.as_ptr() as usize;
        assert!(start >= at, "fields overlap");
        at = field.value.as_ptr() as usize + field.value.len();
        assert!(at <= end, "a field behind the section");
        assert!(!field.name.is_empty() && field.name.iter().all(|b| *b > b' ' && *b != 127));
        // A line end within a value is folding.
        for (index, _) in field.value.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            assert!(matches!(field.value.get(index + 1), Some(b' ' | b'\t')));
        }
        hops += u32::from(field.is("Received") || field.is("Delivered-To"));
        destinations += usize::from(["To", "Cc", "Bcc"].iter().any(|name| field.is(name)));
    }
    let facts = HeaderFacts::read(data);
    assert_eq!(facts.hops, hops);
    let named = facts.recipients.iter();
    let is_destination = |kind| kind == inqueue::mail::header::RecipientField::Destination;
    assert_eq!(named.filter(|(kind, _)| is_destination(*kind)).count(), destinations);
}

/// The bytes as a forward-path, and as a list of addresses.
pub fn address(data: &[u8]) {
    if let Ok(mailbox) = Mailbox::parse(data) {
        assert!(mailbox.local_part.len() <= limits::MSMAIL_LOCAL_PART_BYTES_MAX);
        assert!(!data.iter().any(u8::is_ascii_control), "a control character in a mailbox");
        assert!(std::str::from_utf8(data).is_ok());
        // A source route is taken off; the rest is the mailbox.
        let whole = if mailbox.domain.is_empty() {
            mailbox.local_part.to_vec()
        } else {
            [mailbox.local_part, b"@", mailbox.domain].concat()
        };
        assert!(data.ends_with(&whole));
        assert_eq!(Mailbox::parse(&whole).map(|m| m.domain), Ok(mailbox.domain));
    }
    let mut at = data.as_ptr() as usize;
    each_address(data, |one| {
        assert!(!one.is_empty());
        assert!(one.as_ptr() as usize >= at, "addresses overlap");
        at = one.as_ptr() as usize + one.len();
    });
}

/// Address, path, address gives the same bytes; path, address, path for valid mailboxes.
pub fn msmail_address(data: &[u8]) {
    let path_of = |address: &[u8]| {
        let mut out = Vec::new();
        msmail::to_path(address, &mut out);
        out
    };
    let address_of = |path: &[u8]| {
        let mut out = Vec::new();
        msmail::to_address(path, &mut out);
        out
    };
    assert_eq!(address_of(&path_of(data)), data);
    if Mailbox::parse(data).is_ok() {
        assert_eq!(path_of(&address_of(data)), data);
    }
}

/// A date that is read is written and read back the same.
pub fn date(data: &[u8]) {
    // Beyond these a calendar of four digits ends: there it stays at its bounds.
    let is_shown = |time: &Time| (-62_135_596_800..=253_402_300_799).contains(&time.as_s());
    let read = [Time::parse_mail(data), Time::parse_rfc3339(data)];
    for time in read.into_iter().flatten().filter(is_shown) {
        let mut text = Vec::new();
        time.write_rfc3339(&mut text);
        let again = Time::parse_rfc3339(&text).unwrap_or_else(|| panic!("{text:?}"));
        assert!(again == time || again == Time::from_s(time.as_s()));
        text.clear();
        time.write_rfc5322(&mut text);
        assert!(text.is_ascii() && !text.iter().any(u8::is_ascii_control));
        if (1970..=9999).contains(&time.civil().year) {
            assert_eq!(Time::parse_mail(&text), Some(Time::from_s(time.as_s())));
        }
        text.clear();
        time.write_asctime(&mut text);
        if let Some(text) = text.first_chunk::<24>().filter(|_| text.len() == 24) {
            assert_eq!(Time::parse_asctime(text), Some(Time::from_s(time.as_s())));
        }
    }
    let _ = data.first_chunk::<24>().map(Time::parse_asctime);
}

/// Elements lie within what holds them, at any depth.
pub fn element(data: &[u8]) {
    let mut open = vec![(Elements::of(data), 0)];
    let mut seen = 0_usize;
    while let Some((elements, depth)) = open.pop() {
        for element in elements {
            let Ok(element) = element else { break };
            seen += 1;
            assert!(seen <= data.len() * 64, "more elements than bytes");
            assert!(element.contents.len() < data.len());
            let _ = (element.string(), element.integer(), element.date(), element.first(1));
            if depth < 32 {
                open.push((element.inner(), depth + 1));
            }
        }
    }
}

/// A MAI that is read is written and read back the same.
pub fn mai_file(data: &[u8]) {
    let _ = (mai::counter(data), mai::attachment_sizes(data));
    let Ok(read) = Mai::read(data) else { return };
    let mut out = Vec::new();
    read.write(&mut out);
    assert_eq!(Mai::read(&out).as_ref(), Ok(&read));
    let attachments: Vec<_> = read
        .attachments
        .iter()
        .map(|one| rendered::Attachment { name: one.name, bytes: b"attached" })
        .collect();
    let text = read.text.concat();
    let message = rendered::Message {
        from: read.from,
        to: &read.to,
        cc: &read.cc,
        date: read.posted,
        subject: read.subject,
        priority: read.priority.unwrap_or(3),
        text: &text,
        attachments: &attachments,
        boundary_name: b"0000006A",
    };
    let mut content = Vec::new();
    rendered::append(&message, &mut content);
    let known = ["From", "To", "Cc", "Date", "Subject", "X-Priority", "Message-ID", "MIME-Version"];
    for field in fields(&content) {
        let is_content = field.name.starts_with(b"Content-");
        assert!(is_content || known.iter().any(|name| field.is(name)), "{field:?}");
        assert!(!field.value.contains(&0), "{field:?}");
    }
}

/// A P1 that is read is written and read back the same.
pub fn p1_file(data: &[u8]) {
    let Ok(read) = P1::read(data) else { return };
    let mut out = Vec::new();
    read.write(&mut out);
    assert_eq!(P1::read(&out).as_ref(), Ok(&read));
}

/// The first byte says where the KEY ends and the MBG begins.
pub fn bag_files(data: &[u8]) {
    let (at, rest) = choice(data);
    let (key, mbg) = rest.split_at((usize::from(at) * 8).min(rest.len()));
    let (all, behind) = bag::records(mbg);
    assert_eq!(all.len() * bag::RECORD_BYTES + behind.len(), mbg.len());
    for record in all {
        let record = Record::new(record);
        let hex = record.mai().map(|name| name.iter().all(u8::is_ascii_hexdigit));
        assert_ne!(hex, Some(false), "a name that could lead elsewhere");
        let _ =
            (record.date(), record.size(), record.is_blank(), record.sender(), record.subject());
    }
    let mut whole = key.to_vec();
    whole.resize(bag::KEY_BYTES, 0);
    let before = Key::read(&whole).unwrap();
    let mut after = before.clone();
    for slot in [0, 7, 4095, u32::from(at)] {
        let was = before.is_deleted(slot);
        after.set_deleted(slot, !was);
        if slot < bag::SLOTS_MAX {
            assert_eq!(after.is_deleted(slot), !was);
        }
        after.set_deleted(slot, was);
    }
    assert_eq!(after.bytes(), before.bytes());
    assert!(before.live(4096) <= 4096);
}

/// The bytes as each table of a post office: what it knows is text, and can be looked up.
pub fn tables(data: &[u8]) {
    let (which, bytes) = choice(data);
    let folder = tempfile::tempdir().unwrap();
    for name in ["KEY", "MBG", "GLB", "XTN", "MEM"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let files = ["MASTER", "NETWORK", "ACCESS2", "GROUP"];
    let share = bytes.len() / files.len() + 1;
    for (index, name) in files.iter().enumerate() {
        // One of them is all of the bytes, or each a share.
        let part = if usize::from(which) % 5 == index {
            bytes
        } else {
            bytes.chunks(share).nth(index).unwrap_or_default()
        };
        std::fs::write(folder.path().join(format!("GLB/{name}.GLB")), part).unwrap();
    }
    for name in ["XTN/00000001.XTN", "MEM/00000001.MEM"] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let office = Office::at(folder.path());
    let tables = Tables::read(&office, String::new()).unwrap();
    let directory = Directory::of_office(&tables);
    assert!(directory.len() <= bytes.len() * 8 + 16);
    let json = serde_json::to_string(&tables).unwrap();
    assert_eq!(serde_json::from_str::<Tables>(&json).unwrap(), tables);
}

/// Messages of a file lie one behind the other; as queue and as text they agree; what is written
/// of them is read as it was.
pub fn ffapi_text(data: &[u8]) {
    let mut at = 0;
    for (index, message) in ffapi::read::messages(data).enumerate() {
        assert!(message.start >= at && message.end >= message.start && message.end <= data.len());
        assert_eq!(message.number as usize, index + 1);
        at = message.end;
        if let Some(fault) = &message.fault {
            let mut text = Vec::new();
            fault.write(&mut text);
            assert!(!text.is_empty());
        }
    }
    let mut arena = Vec::new();
    let pieces = ffapi::frame::file(b"a.mmf", data, &mut arena, |_| Ok(None)).unwrap();
    let framed: Vec<Framed<'_>> =
        pieces.iter().map(|piece| Framed::Message(piece.found(data, &arena))).collect();
    tile(&framed, data, 0, |_| true);
    for one in &framed {
        let Framed::Message(found) = one else { continue };
        let mut recipients = Vec::new();
        let id = QueueId::Given(b"a.mmf");
        let envelope = read::envelope(found.head, id, &mut recipients).expect("its own envelope");
        let content: Vec<u8> = found.content.runs().flatten().copied().collect();
        for line_end in [ffapi::LineEnd::Cr, ffapi::LineEnd::Lf, ffapi::LineEnd::CrLf] {
            written(&envelope, &recipients, &content, line_end);
        }
    }
}

fn written(
    envelope: &Envelope<'_>,
    recipients: &[Recipient<'_>],
    content: &[u8],
    line_end: ffapi::LineEnd,
) {
    let mut text = Vec::new();
    ffapi::write::append(&mut text, envelope, recipients, content, line_end);
    let mut arena = Vec::new();
    let pieces = ffapi::frame::file(b"b.mmf", &text, &mut arena, |_| Ok(None)).unwrap();
    let [piece] = pieces.as_slice() else { panic!("{} messages of one", pieces.len()) };
    let found = piece.found(&text, &arena);
    assert_eq!(found.set_aside, None, "{:?}", String::from_utf8_lossy(&text));
    let mut again = Vec::new();
    read::envelope(found.head, QueueId::Given(b"b.mmf"), &mut again).unwrap();
    assert_eq!(again.len(), recipients.iter().filter(|one| !one.done).count());
}

/// A directory file is read, or each of its faults has a place in it.
pub fn directory(data: &[u8]) {
    match Directory::parse(data, "fuzz") {
        Ok(directory) => {
            each_address(data, |one| {
                if let Ok(mailbox) = Mailbox::parse(one) {
                    let _ = directory.look_up(mailbox);
                }
            });
            assert!(directory.postmaster().is_none_or(|path| Mailbox::parse(path).is_ok()));
        }
        Err(error) => assert!(error.to_string().contains("fuzz:"), "{error}"),
    }
}

/// Lists of files and of mailbags, with the checksum mended: what is read is written the same.
pub fn lists(data: &[u8]) {
    let mended = [data, &crc32c::crc32c(data).to_le_bytes()].concat();
    for bytes in [data, &mended] {
        let mut out = Vec::new();
        if let Ok(list) = FileList::read_from(bytes) {
            list.write_to(&mut out);
            assert_eq!(out, bytes);
            let runs = list.cut(100);
            assert_eq!(runs.last().map_or(0, |run| run.end), list.len());
        }
        out.clear();
        if let Ok(list) = BagList::read_from(bytes) {
            list.write_to(&mut out);
            assert_eq!(BagList::read_from(&out).unwrap(), list);
            assert_eq!(list.cut(100).last().map_or(0, |run| run.end), list.len());
        }
    }
}

/// The bytes as a commit log, as they are and each line with its checksum mended; and as a plan.
pub fn run_logs(data: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let mut mended = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        mended.extend_from_slice(format!("{:08x} ", crc32c::crc32c(line)).as_bytes());
        mended.extend_from_slice(line);
        mended.push(b'\n');
    }
    for bytes in [data, &mended] {
        std::fs::write(folder.path().join(commits::NAME), bytes).unwrap();
        let Ok((all, good)) = commits::read(folder.path()) else { continue };
        assert!(good <= bytes.len() as u64);
        // Cut off behind what is good, it is the same log.
        commits::Log::open(folder.path(), good, Sync::Never).unwrap().append(&all, false).unwrap();
        let (twice, _) = commits::read(folder.path()).unwrap();
        assert_eq!(twice, [&all[..], &all[..]].concat());
    }
    std::fs::write(folder.path().join(inqueue::spool::folder::PLAN), data).unwrap();
    if let Ok(planned) = inqueue::spool::folder::read_plan(folder.path()) {
        let text = serde_json::to_vec(&planned.plan).unwrap();
        assert_eq!(
            serde_json::from_slice::<inqueue::spool::plan::Plan>(&text).unwrap(),
            planned.plan
        );
        for part in 0..planned.plan.parts.len().min(64) {
            let _ = planned.plan.part_bytes(u32::try_from(part).unwrap());
        }
    }
}
