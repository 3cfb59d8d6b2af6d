//! Every bound of the system, named, with its reason.
//!
//! Not here: what an operator chooses per run (`decide::Policy`, the options of `run`), and field
//! widths of file formats (they stand with their format). Nothing in the library grows without a
//! bound that stands here.

use std::time::Duration;

/// Longest local-part in octets (RFC 5321, 4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Longest domain in octets (RFC 5321, 4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Longest path in octets, with its brackets (RFC 5321, 4.5.3.1.3).
pub const PATH_BYTES_MAX: usize = 256;
/// Longest local-part in `msmail.internal`: an address of 80 bytes, all of them escaped.
pub const MSMAIL_LOCAL_PART_BYTES_MAX: usize = 240;
/// Longest path there, with its brackets: such a local-part, and any address type.
pub const MSMAIL_PATH_BYTES_MAX: usize = 320;

/// Longest MS Mail address that FFAPI text may have: a path that is too long for a mailbox may
/// stand in one, escaped, and again; longer ones are refused, as their escapes take time.
pub const FFAPI_ADDRESS_BYTES_MAX: usize = 4096;

/// Files that one message of FFAPI text may name beside it: all are open at once.
pub const FFAPI_FILES_MAX: usize = 256;

/// Hops after which a message is taken to go round in a loop (RFC 5321, 6.3: at least 100).
pub const HOPS_MAX: u32 = 100;
/// Levels of aliases and lists that are expanded. Deeper ones are a loop or a mistake.
pub const EXPANSION_LEVELS_MAX: u32 = 8;

/// Recipients of one message that are judged. One with more goes to quarantine: real systems stop
/// at 100,000 and less.
pub const RECIPIENTS_MAX: usize = 1_000_000;
/// Hops, and originals, that an envelope may have: far more than any message makes, and a bound on
/// what an envelope of nothing else takes in memory.
pub const ENVELOPE_HOPS_MAX: usize = 65_536;
/// Dispositions of one message, expansions included: bounds what a list of lists can unfold to.
pub const DISPOSITIONS_MAX: usize = 4_000_000;
/// Longest header section of a message that is judged. One with a longer one goes to quarantine:
/// what lies behind these bytes isn't looked at, and could name other recipients, or more hops.
pub const HEADER_BYTES_MAX: usize = 16 << 20;
/// Longest envelope of a segment record: a million recipients with their parameters fit.
pub const ENVELOPE_BYTES_MAX: usize = 256 << 20;

/// Files from this size on are mapped, smaller ones are read: a map's faults and its unmapping cost
/// more than the copy of a small file (perf/README.md, "map or read").
pub const MAP_BYTES_MIN: u64 = 1 << 20;

/// How far ahead of a worker the system is asked to read its file ...
pub const AHEAD_BYTES: u64 = 2 << 20;
/// ... and in which steps: each costs a look whether it is in memory.
pub const AHEAD_STEP_BYTES: u64 = 1 << 20;

/// Smallest part when the size isn't given: making files is dear.
pub const PART_BYTES_MIN: u64 = 16 << 20;
/// Largest part when the size isn't given: a part is what a crash does again.
pub const PART_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a queue that are looked at at once by what only looks: their lines wait in memory.
pub const LOOK_BYTES: u64 = 8 << 20;
/// Parts that a queue is cut into when the size isn't given and lies between the two bounds.
pub const PARTS_AIM: u64 = 256;
/// Files in one part of a folder of files, so that a million empty files are still many parts.
pub const PART_FILES_MAX: usize = 16_384;
/// Files of one queue: names and sizes are held in memory, about 100 bytes each.
pub const FILES_MAX: usize = 50_000_000;

/// Longest MAI that is read: text is its own part, attachments are files of their own.
pub const MAI_BYTES_MAX: u64 = 64 << 20;
/// Longest P1: a million recipients with their parameters fit.
pub const P1_BYTES_MAX: u64 = 128 << 20;
/// Bytes of the ATT files of one message, together, or of the files beside one of FFAPI text: they
/// are held in memory, by a third longer as base64. A message may name the same file again and
/// again.
pub const ATT_BYTES_MAX: u64 = 512 << 20;
/// A KEY has 560 bytes; longer ones count with these (docs/postoffice.md).
pub const KEY_BYTES_MAX: u64 = 1 << 20;
/// Longest file of a group's members that is read: published is 2000.
pub const MEM_BYTES_MAX: u64 = 1 << 20;

/// Slots of post offices that are drained together: what is held of them in memory, and how many
/// share a sync.
pub const DRAIN_SLOTS: usize = 16_384;

/// Small files that are read at once, before they are judged.
pub const BATCH_MESSAGES: usize = 256;
/// Their bytes, after which no further one is read.
pub const BATCH_BYTES: usize = 1 << 20;
/// A part's buffers are written when so much waits in them: big enough for full write speed, small
/// enough to stay in a processor's own cache (a megabyte writes at half the speed:
/// perf/README.md). Its state is saved then: more is lost by no death.
pub const BUFFER_BYTES: usize = 256 << 10;
/// They are written up to a multiple of this in their files: a piece that begins within a page is
/// copied at a third of the speed.
pub const ROUND_BYTES: usize = 16 << 10;
/// Contents from this size on aren't copied into the buffer, but written from where they lie.
pub const CONTENT_IN_PLACE_BYTES_MIN: usize = 256 << 10;
/// A recycled buffer that one large message has blown up beyond this is given back to the system.
pub const BUFFER_KEPT_BYTES_MAX: usize = 8 << 20;

/// Messages that a worker takes at once: all go through a step before the next step begins.
pub const TAKEN_MAX: usize = 16;
/// Their bytes, after which no further one is taken: they are to stay in the processor's own cache.
pub const TAKEN_BYTES: u64 = 128 << 10;

/// Dispositions whose events are made at once: what is large then is written before the next.
pub const BATCH_EVENTS: usize = 4096;
/// Lists of more recipients that one large message has made are given back to the system.
pub const RECIPIENTS_KEPT_MAX: usize = 4_096;

/// Files held at once that records of a segment refer to: as many as a process may well have open.
pub const REFERENCED_FILES_MAX: usize = 256;
/// Their bytes, of those that are read and not mapped, after which no further one is opened.
pub const REFERENCED_BYTES_MAX: usize = 32 << 20;

/// Bytes of a directory's file from which on its tables are in large pages: 100,000 mailboxes.
pub const DIRECTORY_LARGE_BYTES: u64 = 4 << 20;

/// Parts of one run: each is a line of the plan, and up to six files.
pub const PARTS_MAX: u64 = 1_000_000;
/// Workers that can be asked for: each holds up to six files open, and systems give 1,024 by
/// default.
pub const WORKERS_MAX: usize = 128;
/// Bytes of a worker's stack, a quarter of what threads have by default. What is done with a
/// message is bounded in depth: two thirds of the tests were run with a quarter of this, and none
/// filled it. One that does so all the same touches each page, and its trial does so again.
pub const STACK_BYTES: usize = 512 << 10;
/// Times that a part is given to a worker again after one died over it; then it stays uncommitted.
pub const PART_TRIES_MAX: u32 = 2;
/// Parts that fail after which the run stops: the disk or the queue is broken, not one file.
pub const FAILED_PARTS_MAX: usize = 8;
/// Finished parts waiting for the group commit: past it workers wait, so that unsynced data and
/// open files stay bounded.
pub const PARTS_UNCOMMITTED_MAX: usize = 16;

/// Times that the lock of a run is tried before it counts as somebody's.
pub const LOCK_WAITS_MAX: u32 = 100;
/// Milliseconds between two of them.
pub const LOCK_WAIT_MS: u64 = 10;
/// Places for saved states of parts that a worker has on the board: parts that it holds back.
pub const PLACES_PER_WORKER: usize = 8;
/// Faults of one signature on messages in a row that end the run, when nothing else is asked for;
/// with 0 none do.
pub const BREAKER: u32 = 20;
/// Of so many messages, half may not be struck by one fault.
pub const BREAKER_WINDOW: u64 = 1000;
/// Seconds that a message may take when nothing else is asked for, but for framing and writing.
pub const MESSAGE_TIMEOUT_S: u64 = 10;
/// Bytes of a message for which it may take a second more.
pub const MESSAGE_BYTES_PER_S: u64 = 16 << 20;
/// Times the budget of a message that framing and writing may take: they wait for disks.
pub const DISK_PATIENCE: u32 = 60;
/// Between two looks at the board.
pub const WATCH: Duration = Duration::from_millis(50);
/// After this an engine has begun: other processes are made ready then, not before.
pub const START: Duration = Duration::from_millis(2);
/// Between two looks whether a process that has told a fault is spent.
pub const SPENT: Duration = Duration::from_micros(100);
/// Such processes that are left to the system, while others are at work: a trial and its engine.
pub const SPENT_MAX: usize = 2;
/// Processes that are made ready: who tries the message of the next death, and who goes on then.
pub const READY_MAX: usize = 2;
/// Times that a message is tried alone whose process somebody else may have killed.
pub const TRIALS_MAX: u32 = 3;
/// Deaths that a message may have been in hand at and that nobody was convicted of; after that its
/// part is done with nothing beside it.
pub const SUSPICIONS_MAX: u32 = 5;
/// Deaths of the engine in a row with nothing in hand and nothing done.
pub const IDLE_DEATHS_MAX: u32 = 5;
/// Bytes of one error that the engine's process tells of.
pub const TOLD_BYTES_MAX: usize = 4096;

/// Original content returned in a report with RET=FULL; a larger message is returned by its header
/// section.
pub const REPORT_CONTENT_BYTES_MAX: usize = 1 << 20;
/// Header section returned in a report. A longer one is cut at a line's end.
pub const REPORT_HEADER_BYTES_MAX: usize = 64 << 10;
/// Longest line that a report writes of its own (RFC 5322, 2.1.1: 998 without the line end).
pub const REPORT_LINE_BYTES_MAX: usize = 998;
/// Panic text and reasons kept of a fault.
pub const FAULT_TEXT_BYTES_MAX: usize = 1024;
/// Text of an address or a subject in an event; longer ones are cut, with their length beside.
pub const EVENT_TEXT_BYTES_MAX: usize = 1024;

/// Characters of one insertion string in another encoding than JSON Lines: a cut text of an event
/// fits, with its length, however its characters were escaped.
pub const EVENT_STRING_CHARS_MAX: usize = 2048;

/// Longest message of syslog: what every receiver should take (RFC 5424, 6.1).
pub const SYSLOG_BYTES_MAX: usize = 2048;
/// Longest value of its structured data, before it is escaped: ids and queue ids fit.
pub const SYSLOG_VALUE_BYTES_MAX: usize = 256;
/// Bytes of one file of a Windows event log when no size is given: viewers read a file whole.
pub const LOG_BYTES: u64 = 64 << 20;
/// Largest that can be asked for: offsets within have 32 bits.
pub const LOG_BYTES_MAX: u64 = 1 << 30;

/// Seconds that a receiver of syslog is waited for before the log ends: a run isn't to hang on it.
pub const SOCKET_WAIT_S: u64 = 5;

/// Attempts after which a quarantined message or a dead letter isn't replayed any more, where no
/// other bound is given: what fails that often needs a person. Mail that was deferred for its whole
/// lifetime of five days has 18.
pub const REPLAY_ATTEMPTS_MAX: u32 = 25;
/// Bytes of a content that are shown of what was set aside; all of it can be exported.
pub const SHOWN_CONTENT_BYTES_MAX: usize = 4096;

/// Damaged ranges that a conversion keeps to tell of; all of them are counted.
pub const DAMAGE_TOLD_MAX: usize = 10_000;

/// Errors of a directory file that are told before giving up.
pub const DIRECTORY_ERRORS_TOLD_MAX: usize = 10;
/// Findings of a check that are kept to tell of; all of them are counted.
pub const CHECK_FINDINGS_KEPT_MAX: usize = 100_000;
/// Levels of folders within a post office that are looked through: more is a circle of links.
pub const OFFICE_LEVELS_MAX: usize = 16;
/// Seconds after which a lock file of another system is stale (Q237695: P1 files of two days).
pub const LOCK_STALE_S: u64 = 2 * 86_400;
/// One without text: its owner was cut off before it could say who it is.
pub const LOCK_EMPTY_STALE_S: u64 = 600;
/// Bytes of a lock file that are read.
pub const LOCK_BYTES_MAX: u64 = 4096;
/// Post offices that are salvaged at once: bounds what is held of them before it is written down.
pub const SALVAGE_BATCH_OFFICES: usize = 16;
/// Longest configuration file of a post office that is mended in memory.
pub const CONFIGURATION_BYTES_MAX: u64 = 64 << 20;

/// Findings of an audit that are told one by one; all are counted.
pub const FINDINGS_TOLD_MAX: usize = 20;

const _: () = assert!(PATH_BYTES_MAX > LOCAL_PART_BYTES_MAX);
const _: () = assert!(MSMAIL_PATH_BYTES_MAX > MSMAIL_LOCAL_PART_BYTES_MAX);
const _: () = assert!(PART_BYTES_MIN <= PART_BYTES_MAX);
const _: () = assert!(CONTENT_IN_PLACE_BYTES_MIN <= BUFFER_BYTES);
const _: () = assert!(BUFFER_BYTES <= BUFFER_KEPT_BYTES_MAX);
const _: () = assert!(RECIPIENTS_MAX <= DISPOSITIONS_MAX);
