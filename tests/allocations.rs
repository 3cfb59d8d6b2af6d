//! In steady state an accepted message costs no allocation: a run of more than twice as many
//! messages allocates no more often, whether accepted mail is copied or stays in the queue. A
//! folder of files costs two for each batch of 256 files.
//!
//! A process of its own, because every allocation of it is counted. What grows with the queue by
//! doubling (lists of parts, buffers until they have their size) is allowed for by a small
//! constant, not by a share of the messages.

#![allow(clippy::unwrap_used, reason = "a test ends at what isn't there")]

use inqueue::directory::Directory;
use inqueue::engine::{self, Request, Run, Settings, Stop};
use inqueue::mail::date::Time;
use inqueue::queue::Queue;
use inqueue::spool::Sync;
use inqueue::spool::plan::Accepted;
use inqueue_gen::{Format, Mix, Options};
use std::path::Path;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Allocations of a run over so many messages, all of them accepted.
fn blocks(folder: &Path, format: Format, accepted: Accepted, messages: u64) -> u64 {
    let made = folder.join(format!("{}-{messages}-{accepted}", format.name()));
    let options =
        Options { messages, format, hazards: Mix::None, size_mean: 3_000, ..Options::default() };
    inqueue_gen::generate(&options, &made).unwrap();
    let spec = format!("{}:{}", format.name(), made.join(format.queue()).display());
    let directory = Directory::load(&made.join("directory.txt")).unwrap();
    let queues = vec![Queue::open(&spec).unwrap()];
    let clock = Time::from_s(1_767_323_045);
    let name = "mta.example".to_owned();
    let request = Request {
        part_bytes: Some(1 << 30),
        accepted,
        ..Request::new(queues, Some(made.join("directory.txt")), clock, name)
    };
    let mut run = Run::begin(&made.join("run"), request, &directory, Sync::Never).unwrap();
    let stop = Stop::default();
    let settings = Settings {
        workers: Some(1),
        sync: Sync::Never,
        breaker: inqueue::limits::BREAKER,
        stop: &stop,
    };
    let before = dhat::HeapStats::get().total_blocks;
    let summary = engine::run(&mut run, &directory, settings, &mut |_| {}).unwrap();
    let blocks = dhat::HeapStats::get().total_blocks - before;
    assert!(summary.finished);
    assert_eq!(summary.counts.messages, messages);
    assert_eq!(summary.counts.failed + summary.counts.dead_letter, 0);
    blocks
}

#[test]
fn an_accepted_message_costs_no_allocation() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let folder = tempfile::tempdir().unwrap();
    for accepted in [Accepted::Copy, Accepted::Refer] {
        for format in [Format::Segment, Format::Mbox, Format::Maildir] {
            blocks(folder.path(), format, accepted, 10);
            let few = blocks(folder.path(), format, accepted, 4_000);
            let many = blocks(folder.path(), format, accepted, 10_000);
            let (more, name) = (many.saturating_sub(few), format.name());
            eprintln!("{name}, {accepted}: {few} allocations, {more} for 6,000 messages more");
            let batches = if format == Format::Maildir { 6_000 / 256 + 1 } else { 0 };
            assert!(
                more <= 40 + 2 * batches,
                "{name}, {accepted}: {more} allocations for 6,000 messages"
            );
        }
    }
}
