//! Benches of the engine: the fence, with and without faults, the board, the commit log, and whole
//! runs.
//!
//! Under `cargo test --benches` each runs once, on a small queue. With the feature
//! `fault-injection` there is also a run in which one message of a hundred panics. Not here: the
//! other rooms (benches/rooms.rs), and comparisons with other programs (perf/).

#![allow(clippy::unwrap_used, reason = "a bench ends at what isn't there")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use inqueue::directory::Directory;
use inqueue::engine::isolate::{Stage, install_hook, isolate};
use inqueue::engine::{self, Request, Run, Settings, Stop};
use inqueue::mail::date::Time;
use inqueue::queue::Queue;
use inqueue::spool::commits::{Commit, Log};
use inqueue::spool::{Counts, PerStream, Sync};
use inqueue_gen::{Format, Mix, Options, generate};
use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}
#[path = "../src/engine/board.rs"]
#[expect(dead_code, reason = "the bench uses a part of the board")]
mod board;

/// Messages of a generated queue: few, where the benches are only tried.
fn messages() -> u64 {
    if std::env::args().any(|argument| argument == "--bench") { 20_000 } else { 50 }
}

/// The fence round a computation of a few nanoseconds: nothing happens, or it panics.
fn fence(criterion: &mut Criterion) {
    install_hook();
    let mut group = criterion.benchmark_group("isolate");
    let stage = Cell::new(Stage::Parse);
    let sum = |bytes: &[u8]| bytes.iter().map(|b| u64::from(*b)).sum::<u64>();
    let bytes = [7_u8; 64];
    group.bench_function("none", |b| b.iter(|| sum(black_box(&bytes))));
    group.bench_function("no fault", |b| {
        b.iter(|| isolate(&stage, || sum(black_box(&bytes))).unwrap());
    });
    group.bench_function("fault", |b| {
        b.iter(|| {
            isolate(&stage, || assert!(black_box(&bytes).is_empty(), "a fault")).unwrap_err()
        });
    });
    group.finish();
}

/// What a message costs on the board: it is taken, and goes through five stages.
fn announcements(criterion: &mut Criterion) {
    let words: Vec<_> =
        (0..board::Board::size(2, 0, 0)).map(|_| atomic::AtomicU64::new(0)).collect();
    let board = board::Board::new(&words, 2, 0);
    let in_hand = |index, stage| board::InHand { part: 7, index, stage };
    let mut index = 0;
    criterion.bench_function("board: a message", |b| {
        b.iter(|| {
            index += 1;
            board.announce(1, Some(in_hand(index, 0)), (index << 12, 5000));
            for stage in 1..6 {
                black_box(&board).announce(1, Some(in_hand(index, stage)), (index << 12, 5000));
            }
        });
    });
}

/// Commits of 1 and 16 parts, on the file system of temporary files.
fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    let folder = tempfile::tempdir().unwrap();
    for parts in [1, 16] {
        let commits: Vec<Commit> = (0..parts)
            .map(|part| Commit { part, counts: Counts::default(), files: PerStream::default() })
            .collect();
        for (name, sync) in [("synced", true), ("not synced", false)] {
            let mut log = Log::open(folder.path(), 0, Sync::Never).unwrap();
            group.throughput(Throughput::Elements(u64::from(parts)));
            group.bench_function(format!("{parts} parts, {name}"), |b| {
                b.iter(|| log.append(&commits, sync).unwrap());
            });
        }
    }
    group.finish();
}

/// A whole run, from opening the queue to its summary.
fn run(made: &Path, format: Format, directory: &Directory, workers: usize) {
    let spec = format!("{}:{}", format.name(), made.join(format.queue()).display());
    let out = tempfile::tempdir_in(made).unwrap();
    let queues = vec![Queue::open(&spec).unwrap()];
    let clock = Time::from_s(1_767_323_045);
    let name = "mta.example".to_owned();
    let request = Request::new(queues, Some(made.join("directory.txt")), clock, name);
    let mut run = Run::begin(out.path(), request, directory, Sync::Never).unwrap();
    let stop = Stop::default();
    let settings = Settings {
        workers: Some(workers),
        sync: Sync::Never,
        breaker: inqueue::limits::BREAKER,
        stop: &stop,
    };
    let summary = engine::run(&mut run, directory, settings, &mut |_| {}).unwrap();
    assert!(summary.finished);
    assert_eq!(summary.counts.messages, messages());
}

fn runs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run");
    group.sample_size(10);
    let mut mixes = vec![
        ("segment", Format::Segment, Mix::None),
        ("mbox", Format::Mbox, Mix::None),
        ("half unknown", Format::Mbox, Mix::parse("unknown-recipient=0.5").unwrap()),
    ];
    if cfg!(feature = "fault-injection") {
        mixes.push(("1 % panic", Format::Segment, Mix::parse("fault-panic=0.01").unwrap()));
    }
    for (name, format, hazards) in mixes {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        let options = Options { messages: messages(), format, hazards, ..Options::default() };
        let report = generate(&options, &made).unwrap();
        let directory = Directory::load(&made.join("directory.txt")).unwrap();
        group.throughput(Throughput::Bytes(report.bytes));
        for workers in [1, 2] {
            group.bench_function(format!("{name}, {workers} workers"), |b| {
                b.iter_batched(
                    || (),
                    |()| run(&made, format, &directory, workers),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fence, announcements, commit, runs);
criterion_main!(benches);
