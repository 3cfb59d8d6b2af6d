//! The plan: what a run means to do. Written once, before anything else, and never changed.
//!
//! It names the queues with the identity of their files, the directory with its checksum, the
//! options that decide about bytes, the program, and the parts. Lists of small files stand beside
//! it, in `files-N`. Not here: options that don't change what comes out (workers, sync). Invariant:
//! two plans that are equal give the same streams, byte for byte.

use super::SpoolError;
use crate::decide::Policy;
use crate::mail::date::Time;
use crate::queue::bytes::Identity;
use crate::queue::envelope::RecipientOrder;
use crate::queue::{Format, Queue, QueueFile, Span};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Version of the plan's form.
pub const VERSION: u32 = 1;

/// What a run means to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this form.
    pub version: u32,
    /// The queues, in order.
    pub queues: Vec<PlannedQueue>,
    /// Who exists.
    pub directory: PlannedDirectory,
    /// What the operator chose.
    pub options: Options,
    /// The program that began the run; older ones didn't say. Another may go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// The parts, in order.
    pub parts: Vec<PlannedPart>,
}

/// A queue of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedQueue {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Its big files.
    pub files: Vec<QueueFile>,
    /// XXH3 of its list of small files, which stands in `files-N`; none where it has no such list.
    /// (A CRC32C wouldn't do: the list ends in its own, and so all lists would have the same.)
    pub list: Option<u64>,
    /// Files in that list.
    pub list_len: u64,
    /// All its bytes.
    pub bytes: u64,
}

/// The directory of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDirectory {
    /// The file's path, as it was given; none where none was.
    pub path: Option<PathBuf>,
    /// CRC32C of its text; 0 where there is none.
    pub checksum: u32,
}

/// Options that decide about bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The run's clock, RFC 3339, whole seconds.
    pub now: String,
    /// Name of this system: Reporting-MTA, hop.
    pub hostname: String,
    /// Size of a part in bytes.
    pub part_bytes: u64,
    /// What decides about messages.
    pub policy: Policy,
    /// Where forward-paths come from.
    pub recipients: RecipientOrder,
    /// What the accepted stream has of contents.
    #[serde(default, skip_serializing_if = "Accepted::is_copy")]
    pub accepted: Accepted,
}

/// What the accepted stream has of contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accepted {
    /// All of them.
    #[default]
    Copy,
    /// References to those that lie in the queue in one piece.
    Refer,
}

impl Accepted {
    /// It has them all.
    pub const fn is_copy(&self) -> bool {
        matches!(self, Self::Copy)
    }
}

impl Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_copy() { "copy" } else { "refer" })
    }
}

impl Options {
    /// The run's clock.
    pub fn clock(&self) -> Time {
        Time::parse_rfc3339(self.now.as_bytes()).unwrap_or(Time(0))
    }
}

/// A build of this program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// `debug` or `release`.
    pub build: String,
    /// Its features.
    pub features: Vec<String>,
    /// Processor and system: `x86_64-linux`.
    pub target: String,
}

impl Program {
    /// This program.
    pub fn own() -> Self {
        let injects = cfg!(feature = "fault-injection").then(|| "fault-injection".to_owned());
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            features: injects.into_iter().collect(),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        }
    }

    /// Its streams may have other bytes than those of another build: build and target change none.
    pub fn may_differ(&self, other: &Self) -> bool {
        (&self.version, &self.features) != (&other.version, &other.features)
    }

    /// In words.
    pub fn text(&self) -> String {
        let Self { version, build, features, target } = self;
        let mut text = format!("{version} ({build}, {target}");
        for feature in features {
            text.push_str(", ");
            text.push_str(feature);
        }
        text.push(')');
        text
    }
}

/// A part: a stretch of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPart {
    /// Index of its queue.
    pub queue: usize,
    /// Where it lies.
    pub span: Span,
}

impl PlannedQueue {
    /// A queue as it goes into a plan, and the bytes of its list of files, if it has one.
    ///
    /// # Errors
    /// Its name can't be written down.
    pub fn of(queue: &Queue) -> Result<(Self, Option<Vec<u8>>), SpoolError> {
        let failed = SpoolError::read(queue.path());
        let path = queue.path().canonicalize().map_err(failed)?;
        if path.to_str().is_none() {
            return Err(SpoolError::Name { path });
        }
        let list = queue.list();
        let list_len = list.as_ref().map_or(0, |(_, len)| *len);
        let list = list.map(|(list, _)| list);
        let planned = Self {
            path,
            format: queue.format(),
            files: queue.big_files().to_vec(),
            list: list.as_deref().map(xxh3_64),
            list_len,
            bytes: queue.total_bytes(),
        };
        Ok((planned, list))
    }
}

impl Plan {
    /// What of a plan isn't as in this one, in words; nothing where a run of this one can go on as
    /// the other.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let mut differs = |what: &str, planned: &dyn Display, given: &dyn Display| {
            let (planned, given) = (planned.to_string(), given.to_string());
            if planned != given {
                all.push(format!("{what}: the run has {planned}, now it is {given}"));
            }
        };
        let paths = |plan: &Self| {
            let paths: Vec<_> = plan.queues.iter().map(|q| q.path.display().to_string()).collect();
            paths.join(", ")
        };
        differs("queues", &paths(self), &paths(now));
        for (planned, given) in self.queues.iter().zip(&now.queues) {
            let name = planned.path.display();
            differs(&format!("format of {name}"), &planned.format, &given.format);
            differs(&format!("files of {name}"), &files(planned), &files(given));
            // A post office goes on living while a run of it is away: each slot is held against the
            // plan when it is read.
            if planned.list != given.list && planned.format != Format::PostOffice {
                let (before, after) = (planned.list_len, given.list_len);
                let list = format!("list of files of {name}");
                differs(&list, &format!("{before} files"), &format!("{after}, or others"));
            }
        }
        let directory = |plan: &Self| format!("one with checksum {:08x}", plan.directory.checksum);
        differs("text of the directory", &directory(self), &directory(now));
        let (before, after) = (&self.options, &now.options);
        differs("--now", &before.now, &after.now);
        differs("--hostname", &before.hostname, &after.hostname);
        differs("--part-size", &before.part_bytes, &after.part_bytes);
        differs("--remote", &json(&before.policy.remote), &json(&after.policy.remote));
        differs("--hops", &before.policy.hops_max, &after.policy.hops_max);
        let lifetime = |options: &Options| format!("{} seconds", options.policy.lifetime_s);
        differs("--lifetime", &lifetime(before), &lifetime(after));
        differs("--recipients", &json(&before.recipients), &json(&after.recipients));
        differs("--accepted", &before.accepted, &after.accepted);
        all
    }

    /// Digits in the names of part files: enough for all of them, so that the order of names is
    /// that of parts.
    pub fn digits(&self) -> usize {
        self.parts.len().saturating_sub(1).to_string().len().max(5)
    }

    /// Bytes of the queue that a part covers; for a run of files its share of them.
    pub fn part_bytes(&self, part: u32) -> u64 {
        let Some(part) = self.parts.get(part as usize) else { return 0 };
        match part.span {
            Span::Bytes(_, start, end) => end.saturating_sub(start),
            Span::Files(first, end) => {
                let Some(queue) = self.queues.get(part.queue) else { return 0 };
                queue.bytes.saturating_mul(end.saturating_sub(first)) / queue.list_len.max(1)
            }
        }
    }

    /// The first part that isn't of a queue, or doesn't begin where the one before it in its file
    /// (or list of files) ends.
    pub fn wrong_part(&self) -> Option<usize> {
        let mut ends = HashMap::new();
        self.parts.iter().position(|part| {
            let (file, start, end) = match part.span {
                Span::Bytes(file, start, end) => (Some(file), start, end),
                Span::Files(first, end) => (None, first, end),
            };
            let before = ends.insert((part.queue, file), end).unwrap_or(0);
            part.queue >= self.queues.len() || start != before || end < start
        })
    }

    /// The queue of a part.
    pub fn queue_of<'q>(&self, queues: &'q [Queue], part: u32) -> Option<(&'q Queue, &Span)> {
        let part = self.parts.get(part as usize)?;
        Some((queues.get(part.queue)?, &part.span))
    }
}

/// The files of a queue, as far as they tell one state of it from another.
fn files(queue: &PlannedQueue) -> String {
    let each = queue.files.iter().map(|file| {
        let Identity { inode, size, mtime_ns, .. } = file.identity;
        format!("{} ({size} bytes, changed at {mtime_ns} ns, inode {inode})", file.name)
    });
    each.collect::<Vec<_>>().join(", ")
}

/// A value as the plan has it.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Name of the file that holds the list of files of a queue.
pub fn list_path(run: &Path, queue: usize) -> PathBuf {
    run.join(format!("files-{queue}"))
}
