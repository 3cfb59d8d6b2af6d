//! Benches of the rooms: framing, parsing, decide, and the rendering of reports and events.
//!
//! Inputs are generated queues (`inqueue-gen`) and fixed texts. Under `cargo test --benches`
//! each runs once, on small inputs: so they can't rot. Not here: isolation, commits and whole runs
//! (benches/engine.rs).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench ends at what isn't there")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use inqueue::decide::{Case, Judge, Policy, Verdict};
use inqueue::directory::Directory;
use inqueue::event::json::{self, Subject};
use inqueue::mail::address::{Mailbox, each_address};
use inqueue::mail::content::Content;
use inqueue::mail::date::Time;
use inqueue::mail::envelope::{Envelope, QueueId, Recipient, ReversePath};
use inqueue::mail::header::HeaderFacts;
use inqueue::ndr::{ReportingMta, Returned, render};
use inqueue::queue::bytes::FileBytes;
use inqueue::queue::postoffice::bag::{Key, NewRecord, Record, SLOTS_MAX, hex_name_of, records};
use inqueue::queue::{Buffers, Framed, Frames, Queue, QueueError, Source, Visit, mbox, segment};
use inqueue_gen::{Format, Mix, Options, generate};
use std::fs;
use std::hint::black_box;
use tempfile::TempDir;

const NOW: Time = Time::from_s(1_767_323_045);

/// Messages of a generated queue: few, where the benches are only tried.
fn messages() -> u64 {
    if std::env::args().any(|argument| argument == "--bench") { 4_000 } else { 50 }
}

/// A queue in a folder of its own.
fn queue(format: Format, hazards: Mix) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { messages: messages(), format, hazards, ..Options::default() };
    generate(&options, folder.path()).unwrap();
    folder
}

/// Goes over all messages of a part, and counts the bytes of their contents.
struct Count(u64);

impl Visit for Count {
    type Error = QueueError;

    fn batch<'a>(&mut self, _: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
        for framed in frames {
            if let Framed::Message(found) = framed {
                self.0 += found.content.raw().len() as u64;
            }
        }
        Ok(())
    }
}

/// Framing: of files in memory, and of folders as they are read from the file system.
fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    let folder = queue(Format::Segment, Mix::None);
    let file = fs::read(folder.path().join("queue.seg")).unwrap();
    group.throughput(Throughput::Bytes(file.len() as u64));
    group.bench_function("segment", |b| {
        b.iter(|| segment::read::frame(black_box(&file), 0..file.len() as u64).count());
    });
    let folder = queue(Format::Mbox, Mix::None);
    let file = fs::read(folder.path().join("queue.mbox")).unwrap();
    group.throughput(Throughput::Bytes(file.len() as u64));
    for (name, kind) in [
        ("mboxrd", mbox::Kind::Rd),
        ("mboxo", mbox::Kind::O),
        ("mboxcl", mbox::Kind::Cl),
        ("mboxcl2", mbox::Kind::Cl2),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| mbox::frame(black_box(&file), kind, 0..file.len() as u64).count());
        });
    }
    for (name, format) in [("maildir", Format::Maildir), ("eml", Format::Eml)] {
        let folder = queue(format, Mix::None);
        let path = folder.path().join("queue");
        let queue = Queue::open(path.to_str().unwrap()).unwrap();
        let parts = queue.cut(8 << 20).unwrap();
        let mut buffers = Buffers::default();
        group.throughput(Throughput::Bytes(queue.total_bytes()));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut count = Count(0);
                for part in &parts {
                    queue.read(part, &mut buffers, &mut count).unwrap();
                }
                count.0
            });
        });
    }
    group.finish();
}

/// Addresses: one path, and a To field of many.
fn addresses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("addresses");
    let plain = b"irina.garcia19@north.example.com";
    group.bench_function("plain", |b| b.iter(|| Mailbox::parse(black_box(plain))));
    let quoted = b"\"Irina \\\"I\\\" Garcia\"@[192.0.2.1]";
    group.bench_function("quoted", |b| b.iter(|| Mailbox::parse(black_box(quoted))));
    let invalid = b"irina.garcia19@north..example.com";
    group.bench_function("invalid", |b| b.iter(|| Mailbox::parse(black_box(invalid))));
    let list =
        "\"Garcia, Irina\" <irina@north.example>, team: a@b.example (A), c@d.example;, ".repeat(50);
    group.throughput(Throughput::Bytes(list.len() as u64));
    group.bench_function("list of 150", |b| {
        b.iter(|| {
            let mut found = 0;
            each_address(black_box(list.as_bytes()), |_| found += 1);
            found
        });
    });
    group.finish();
}

/// What is read of a message before it is judged: its record's envelope, and its header fields.
fn envelopes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelopes");
    let folder = queue(Format::Segment, Mix::None);
    let file = fs::read(folder.path().join("queue.seg")).unwrap();
    let found: Vec<_> = segment::read::frame(&file, 0..file.len() as u64)
        .filter_map(|framed| match framed {
            Framed::Message(found) => Some(found),
            Framed::Damage(_) => None,
        })
        .collect();
    group.throughput(Throughput::Elements(found.len() as u64));
    group.bench_function("segment", |b| {
        let mut recipients = Vec::new();
        b.iter(|| {
            let read = |head| {
                let envelope = segment::read::envelope(head, QueueId::Given(b"x"), &mut recipients);
                envelope.map_or(0, |_| recipients.len())
            };
            found.iter().map(|found| found.head).map(read).sum::<usize>()
        });
    });
    group.bench_function("header fields", |b| {
        b.iter(|| {
            let hops = found.iter().map(|found| HeaderFacts::read(found.content.raw()).hops);
            hops.sum::<u32>()
        });
    });
    group.finish();
}

const DIRECTORY: &[u8] = b"good@here.example\nfull@here.example full\n\
    team@here.example alias good@here.example full@here.example gone@here.example\n";

const SENDER: &[u8] = b"sender@there.example";

fn envelope<'a>() -> Envelope<'a> {
    let mut envelope = Envelope::new(QueueId::Given(b"1"));
    envelope.reverse_path = ReversePath::Path(SENDER);
    envelope
}

/// The decision: one recipient, an alias, and many recipients.
fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let directory = Directory::parse(DIRECTORY, "directory").unwrap();
    let many: Vec<String> = (0..1000).map(|n| format!("user{n}@there.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let judge = Judge { directory: &directory, policy: Policy::default(), now: NOW };
    for (name, paths) in [
        ("one good", &["good@here.example"][..]),
        ("one failing", &["gone@here.example"]),
        ("alias of three", &["team@here.example"]),
        ("1,000 recipients", &many),
    ] {
        let recipients: Vec<_> = paths.iter().map(|path| Recipient::new(path.as_bytes())).collect();
        let envelope = envelope();
        let case = Case { header_hops: 3, ..Case::new(&envelope, &recipients) };
        let mut verdict = Verdict::default();
        group.throughput(Throughput::Elements(recipients.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                judge.decide(black_box(case), &mut verdict);
                verdict.dispositions.len()
            });
        });
    }
    group.finish();
}

const CONTENT: &[u8] = b"Received: from a by b; Fri, 2 Jan 2026 03:00:00 +0000\n\
    From: Ann <ann@a.example>\nTo: nobody@x.example\nSubject: =?utf-8?Q?Caf=C3=A9?= on Friday\n\
    Message-ID: <1@a.example>\n\nSee you at noon.\n";

/// The rendering of a report about a message with failed recipients.
fn reports(criterion: &mut Criterion) {
    let directory = Directory::parse(DIRECTORY, "directory").unwrap();
    let mut group = criterion.benchmark_group("ndr");
    for (name, count) in [("one recipient", 1), ("100 recipients", 100)] {
        let paths: Vec<String> = (0..count).map(|n| format!("gone{n}@here.example")).collect();
        let recipients: Vec<_> = paths.iter().map(|path| Recipient::new(path.as_bytes())).collect();
        let envelope = envelope();
        let case = Case { header_hops: 1, ..Case::new(&envelope, &recipients) };
        let judge = Judge { directory: &directory, policy: Policy::default(), now: NOW };
        let mut verdict = Verdict::default();
        judge.decide(case, &mut verdict);
        let returned = Returned::read(&envelope, &recipients, Content::plain(CONTENT), (7, 1));
        let mta = ReportingMta::new("mail.example.org", NOW);
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || Vec::with_capacity(64 << 10),
                |out| render(out, &mta, &returned, SENDER, &verdict.dispositions),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// The rendering of an event.
fn events(criterion: &mut Criterion) {
    let directory = Directory::parse(DIRECTORY, "directory").unwrap();
    let mut group = criterion.benchmark_group("event");
    let paths: [(&str, &[u8]); 2] =
        [("plain", b"good@here.example"), ("escaped", "\u{fc}\" \0@here.example".as_bytes())];
    for (name, path) in paths {
        let recipients = [Recipient::new(path)];
        let envelope = envelope();
        let case = Case { header_hops: 1, ..Case::new(&envelope, &recipients) };
        let judge = Judge { directory: &directory, policy: Policy::default(), now: NOW };
        let mut verdict = Verdict::default();
        judge.decide(case, &mut verdict);
        let Some(disposition) = verdict.dispositions.first() else { panic!("no disposition") };
        let subject = Subject {
            key: 7,
            attempts: 1,
            time: b"2026-01-02T03:04:05Z",
            queue_id: &envelope.queue_id,
            sender: envelope.reverse_path,
            size: CONTENT.len() as u64,
        };
        let mut out = Vec::with_capacity(4 << 10);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                json::disposition(&mut out, black_box(&subject), 0, black_box(disposition));
                out.len()
            });
        });
    }
    group.finish();
}

/// Opening, looking at every byte once, and closing: by mapping, and by reading. Decides
/// `limits::MAP_BYTES_MIN`.
fn map_or_read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("map or read");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let largest: u32 = if messages() > 1_000 { 24 } else { 17 };
    for shift in (12..=largest).step_by(2) {
        let size = 1_u64 << shift;
        fs::write(&path, vec![b'x'; 1 << shift]).unwrap();
        group.throughput(Throughput::Bytes(size));
        group.bench_function(format!("map {} KiB", size >> 10), |b| {
            b.iter(|| {
                let bytes = FileBytes::map(&fs::File::open(&path).unwrap()).unwrap();
                memchr::memchr(b'y', bytes.bytes())
            });
        });
        let mut buffer = Vec::new();
        group.bench_function(format!("read {} KiB", size >> 10), |b| {
            b.iter(|| {
                let file = fs::File::open(&path).unwrap();
                let memory = std::mem::take(&mut buffer);
                let bytes = FileBytes::read(&file, size, memory).unwrap();
                let found = memchr::memchr(b'y', bytes.bytes());
                buffer = bytes.into_buffer();
                found
            });
        });
    }
    group.finish();
}

/// A mailbag of 4096 slots in memory: which are live, and which records are good; and the slots of
/// post offices as messages, as they are read from the file system.
fn post_offices(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("post office");
    let mut key = Key::empty();
    let mut mbg = Vec::new();
    for slot in 0..SLOTS_MAX {
        key.set_deleted(slot, slot % 3 == 0);
        let mai = hex_name_of(slot);
        let record = NewRecord { sender: b"ANN", subject: b"Plans", date: NOW, mai, size: 552 };
        mbg.extend_from_slice(&record.bytes());
    }
    group.throughput(Throughput::Elements(u64::from(SLOTS_MAX)));
    group.bench_function("scan", |b| {
        b.iter(|| {
            let (all, _) = records(black_box(&mbg));
            let live = (0..).zip(all).filter(|(slot, _)| !key.is_deleted(*slot));
            live.filter(|(_, record)| Record::new(record).mai().is_some()).count()
        });
    });
    let folder = queue(Format::PostOffice, Mix::None);
    let spec = format!("postoffice:{}", folder.path().join("queue").display());
    let queue = Queue::open(&spec).unwrap();
    let parts = queue.cut(8 << 20).unwrap();
    group.throughput(Throughput::Elements(queue.bag_list().unwrap().len()));
    group.bench_function("slots as messages", |b| {
        let mut buffers = Buffers::default();
        b.iter(|| {
            let mut count = Count(0);
            for part in &parts {
                queue.read(part, &mut buffers, &mut count).unwrap();
            }
            count.0
        });
    });
    group.bench_function("list", |b| b.iter(|| Queue::open(&spec).unwrap().total_bytes()));
    group.finish();
}

criterion_group!(
    rooms,
    framing,
    post_offices,
    addresses,
    envelopes,
    decide,
    reports,
    events,
    map_or_read
);
criterion_main!(rooms);
