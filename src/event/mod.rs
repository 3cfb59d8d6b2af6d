//! The catalogue of events, and their form as JSON Lines (docs/events.md).
//!
//! The original's numbers are kept where they mean the same; ours begin at 20001. An event is
//! appended to a buffer, and takes any bytes: emitting one can't fail a message. Not here: who
//! counts them, and other encodings.

pub mod json;

use crate::decide::{Disposition, Outcome};

/// A number of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u16);

impl Number {
    /// A mailbag takes no more.
    pub const MAILBAG_FULL: Self = Self(2010);
    /// A report was made.
    pub const REPORT_MADE: Self = Self(2117);
    /// A recipient is invalid.
    pub const INVALID_RECIPIENT: Self = Self(2371);
    /// No mailbag was found for a recipient.
    pub const NO_MAILBAG: Self = Self(2375);
    /// A fault of ours struck a message.
    pub const FAULT: Self = Self(2380);
    /// A message was processed.
    pub const PROCESSED: Self = Self(2444);
    /// A message was set aside; its sender is known.
    pub const SET_ASIDE: Self = Self(2450);
    /// A message was set aside; its sender isn't known.
    pub const SET_ASIDE_NO_SENDER: Self = Self(2451);
    /// A worker was lost.
    pub const WORKER_LOST: Self = Self(10003);
    /// A recipient is deferred.
    pub const DEFERRED: Self = Self(20001);
    /// A recipient was expanded.
    pub const EXPANDED: Self = Self(20002);
    /// A recipient was served already.
    pub const DUPLICATE: Self = Self(20003);

    /// Error, warning or information, as the original had it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::FAULT
            | Self::NO_MAILBAG
            | Self::SET_ASIDE
            | Self::SET_ASIDE_NO_SENDER
            | Self::WORKER_LOST => "error",
            Self::REPORT_MADE | Self::INVALID_RECIPIENT | Self::MAILBAG_FULL => "warning",
            _ => "information",
        }
    }

    /// What happened, in the original's words where it had them.
    pub const fn text(self) -> &'static str {
        match self {
            Self::MAILBAG_FULL => "The mailbox is full. Delivery will be tried again.",
            Self::REPORT_MADE => "Non delivery report generated.",
            Self::INVALID_RECIPIENT => "Invalid recipient(s) found.",
            Self::NO_MAILBAG => "No mailbox was found for the recipient.",
            Self::FAULT => "A fault has occurred in the processing of a message.",
            Self::PROCESSED => "Message processed.",
            Self::SET_ASIDE => {
                "Failed processing message. The message is set aside; its sender is known."
            }
            Self::SET_ASIDE_NO_SENDER => {
                "Failed processing message. The message is set aside; its sender is not known."
            }
            Self::WORKER_LOST => "A worker was lost, and has been replaced.",
            Self::DEFERRED => "Delivery is deferred.",
            Self::EXPANDED => "The recipient was expanded.",
            Self::DUPLICATE => "The recipient was served already.",
            _ => "",
        }
    }

    /// The number of the event that each disposition has.
    pub fn of(disposition: &Disposition<'_>) -> Self {
        match disposition.outcome {
            Outcome::Delivered | Outcome::Relayed => Self::PROCESSED,
            Outcome::Expanded => Self::EXPANDED,
            Outcome::Duplicate => Self::DUPLICATE,
            Outcome::Deferred if disposition.number == 17 => Self::MAILBAG_FULL,
            Outcome::Deferred => Self::DEFERRED,
            Outcome::Failed | Outcome::DeadLetter(_) if disposition.number == 2 => Self::NO_MAILBAG,
            Outcome::Failed | Outcome::DeadLetter(_) => Self::INVALID_RECIPIENT,
        }
    }
}

/// The word for an outcome, in events and summaries.
pub const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Relayed => "relayed",
        Outcome::Expanded => "expanded",
        Outcome::Duplicate => "duplicate",
        Outcome::Deferred => "deferred",
        Outcome::Failed => "failed",
        Outcome::DeadLetter(_) => "dead-letter",
    }
}
