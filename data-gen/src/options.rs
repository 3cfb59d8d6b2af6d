//! What a queue is made from: the options, and their defaults.
//!
//! What it deliberately does not do: reading a command line (see the binary).
//!
//! Invariant: the bytes of a queue depend on these options alone.

use crate::hazards::Mix;
use crate::time::SECOND;

/// The format of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One segment file, `queue.seg`.
    Segment,
    /// One mbox file (mboxrd), `queue.mbox`.
    Mbox,
    /// A Maildir, `queue/`.
    Maildir,
    /// A folder of `.eml` files, `queue/`.
    Eml,
    /// MS Mail post offices, `queue/`: docs/postoffice.md.
    PostOffice,
}

impl Format {
    /// Its name on the command line and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Mbox => "mbox",
            Self::Maildir => "maildir",
            Self::Eml => "eml",
            Self::PostOffice => "postoffice",
        }
    }

    /// The name of the queue in the output folder.
    pub fn queue(self) -> &'static str {
        match self {
            Self::Segment => "queue.seg",
            Self::Mbox => "queue.mbox",
            Self::Maildir | Self::Eml | Self::PostOffice => "queue",
        }
    }

    /// The queue is a folder, a file for each message.
    pub(crate) fn is_folder(self) -> bool {
        matches!(self, Self::Maildir | Self::Eml)
    }

    /// Messages have an envelope of their own, beside the content.
    pub(crate) fn has_envelope(self) -> bool {
        matches!(self, Self::Segment | Self::PostOffice)
    }
}

/// The size distribution's default mean, in bytes of content.
pub const DEFAULT_SIZE_MEAN: u32 = 5_200;

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many messages (damaged records included).
    pub messages: u64,
    /// The seed of everything.
    pub seed: u64,
    /// The format of the queue.
    pub format: Format,
    /// Which hazards, and how often.
    pub hazards: Mix,
    /// The clock of the run that the manifest is for: microseconds since 1970.
    pub now: i64,
    /// Mean size of a message's content, in bytes: scales the whole distribution.
    pub size_mean: u32,
    /// Among how many post offices the messages are divided (format `PostOffice` alone).
    pub post_offices: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            messages: 1000,
            seed: 1,
            format: Format::Segment,
            hazards: Mix::All,
            now: 1_767_323_045 * SECOND,
            size_mean: DEFAULT_SIZE_MEAN,
            post_offices: 1,
        }
    }
}
