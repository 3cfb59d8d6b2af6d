//! Events: their numbers, and their encodings (docs/events.md).
//!
//! An event is appended to a buffer as a JSON line, and takes any bytes: emitting one can't fail a
//! message. The line is the event; other encodings are made from it (`told`, then `evt`, `syslog`,
//! `logs`). The original's numbers are kept where they mean the same; ours begin at 20001. Not
//! here: who counts events, and where they are written.

pub mod catalogue;
pub mod evt;
pub mod json;
pub mod logs;
pub mod syslog;
pub mod told;

use crate::decide::{Disposition, Outcome};
use catalogue::{Kind, Row, row_of};

/// A number of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u16);

impl Number {
    /// A mailbag takes no more.
    pub const MAILBAG_FULL: Self = Self(2010);
    /// A message was delivered, into Exchange as the original has it. For a courier; members:
    /// `queue_id`, `mailbag`.
    pub const DELIVERED: Self = Self(2113);
    /// A report was made.
    pub const REPORT_MADE: Self = Self(2117);
    /// The queue is locked by another, and wasn't drained. Members: `mailer_code`, `system_code`,
    /// `path`.
    pub const QUEUE_LOCKED: Self = Self(2302);
    /// A range of the queue can't be read as a message.
    pub const UNREADABLE: Self = Self(2335);
    /// A recipient is invalid.
    pub const INVALID_RECIPIENT: Self = Self(2371);
    /// No mailbag was found for a recipient.
    pub const NO_MAILBAG: Self = Self(2375);
    /// A report was due, and there is no mailbox that it could go to.
    pub const REPORT_HOMELESS: Self = Self(2376);
    /// A fault of ours struck a message.
    pub const FAULT: Self = Self(2380);
    /// A message was processed.
    pub const PROCESSED: Self = Self(2444);
    /// A message was put into a mailbag. Members: `queue_id`, `mai`, `sender`, `mailbag`.
    pub const INTO_MAILBAG: Self = Self(2448);
    /// A message was set aside; its sender is known.
    pub const SET_ASIDE: Self = Self(2450);
    /// A message was set aside; its sender isn't known.
    pub const SET_ASIDE_NO_SENDER: Self = Self(2451);
    /// Two post offices have one serial number. Members: `post_office`, `other`, `serial`.
    pub const SAME_SERIAL: Self = Self(4188);
    /// Mail couldn't be delivered, and will be tried again. Members: `path` or `recipient`,
    /// `queue_id`, `reason`.
    pub const WILL_RETRY: Self = Self(4254);
    /// A group has a member of another post office. Members: `recipient`, `group`, `queue_id`.
    pub const EXTERNAL_MEMBER: Self = Self(4536);
    /// A thread failed: over the message of the fault before it, or over a part.
    pub const THREAD_FAILED: Self = Self(10003);
    /// A recipient is deferred.
    pub const DEFERRED: Self = Self(20001);
    /// A recipient was expanded.
    pub const EXPANDED: Self = Self(20002);
    /// A recipient was served already.
    pub const DUPLICATE: Self = Self(20003);
    /// A problem with the original's number and text (001 to 030). Members: `post_office`,
    /// `mai` or `queue_id`, `sender`, `date`, `clock` (its time of day), `subject`, `code` (the
    /// number) and `recipient`.
    pub const MAIL_PROBLEM: Self = Self(20004);

    /// Its row in the catalogue, the first where there are two.
    pub fn row(self) -> Option<&'static Row> {
        row_of(self.0)
    }

    /// The word for error, warning or information.
    pub fn kind(self) -> &'static str {
        self.row().map_or(Kind::Information, |row| row.kind).name()
    }

    /// What happened, in a sentence that is the same for all events of a number.
    pub fn text(self) -> &'static str {
        self.row().map_or("", |row| row.brief)
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
