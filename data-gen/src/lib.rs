//! Synthetic mail queues of any size and mix, seeded, with every hazard by name, and the manifest
//! of what must become of each message.
//!
//! What it deliberately does not do: use the library that it is made to check. The formats are
//! written from their documents, the rules of outcomes are written a second time: each checks the
//! other.
//!
//! Invariant: the same options give the same bytes, at any number of threads.

mod block;
mod bytes;
mod content;
mod directory;
mod envelope;
mod expect;
mod hazards;
mod manifest;
mod mbox;
mod options;
mod plan;
mod postoffice;
mod rng;
mod run;
mod scenario;
mod segment;
mod text;
mod time;

use std::io;
use std::path::{Path, PathBuf};

pub use hazards::{Hazard, Mix, list as list_hazards};
pub use options::{DEFAULT_SIZE_MEAN, Format, Options};
pub use run::generate;
pub use time::parse_rfc3339;

/// Why a queue can't be made.
#[derive(Debug, thiserror::Error)]
pub enum GenError {
    /// The mix of hazards isn't understood.
    #[error("hazards: {0}")]
    Mix(String),
    /// A hazard was named that the format can't carry.
    #[error("hazards: `{hazard}` can't be carried by the format {format}")]
    Unavailable {
        /// The hazard's name.
        hazard: &'static str,
        /// The format's name.
        format: &'static str,
    },
    /// The output folder holds a queue already.
    #[error("{} is there already: choose a folder without a queue", .0.display())]
    Occupied(PathBuf),
    /// The messages don't fit into so many post offices.
    #[error(
        "{messages} messages don't fit into {offices} post offices: INQUEUE3 has 4096 slots, and \
         there may be 1 to 99999 post offices; choose --post-offices {needed} or more"
    )]
    PostOffices {
        /// Messages asked for.
        messages: u64,
        /// Post offices asked for.
        offices: u64,
        /// Post offices that would do.
        needed: u64,
    },
    /// The file system refused something.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl GenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}

/// What was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages, damaged ones included.
    pub messages: u64,
    /// Of them, damaged.
    pub damaged: u64,
    /// Bytes of the queue.
    pub bytes: u64,
}

impl Report {
    pub(crate) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.damaged += other.damaged;
        self.bytes += other.bytes;
    }
}

/// What all messages of a queue share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) directory: directory::Directory,
    pub(crate) texts: text::Texts,
    pub(crate) shares: hazards::Shares,
    /// The segment's mark.
    pub(crate) mark: u64,
    /// The first message with a huge list, where that was asked for by name.
    pub(crate) first_huge: Option<u64>,
}

impl World {
    pub(crate) fn new(options: &Options) -> Result<Self, GenError> {
        let shares = options.hazards.resolve(options.format)?;
        postoffice::check(options)?;
        let named = matches!(&options.hazards, Mix::Named(list)
            if list.iter().any(|(hazard, _)| *hazard == Hazard::HugeList));
        let huge = |index: &u64| shares.draw(options.seed, *index) == Some(Hazard::HugeList);
        let first_huge = if named { (0..options.messages).find(huge) } else { None };
        Ok(Self {
            options: options.clone(),
            directory: if options.format == Format::PostOffice {
                // Each post office has one of its own.
                directory::Directory::default()
            } else {
                directory::Directory::new(options.seed, options.messages)
            },
            texts: text::Texts::new(options.seed),
            shares,
            mark: rng::mix(options.seed ^ 0x4D41_524B),
            first_huge,
        })
    }
}
