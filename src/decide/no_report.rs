//! Why a failure is a dead letter, and not reported.
//!
//! The rules stand in docs/outcomes.md. Invariant: each reason has words of its own, by which it is
//! found again in records and events.

/// Why a failure isn't reported to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReport {
    /// The message is itself a report.
    IsReport,
    /// The reverse-path is `<>`.
    NullReversePath,
    /// The queue doesn't say who sent it.
    UnknownReversePath,
    /// The reverse-path isn't a mailbox.
    InvalidReversePath,
    /// The reverse-path is in a local domain, and nobody is there.
    NoSuchSender,
    /// A system sent it, and no postmaster is named.
    SystemSender,
    /// A list sent it, and it has no owner.
    ListSender,
    /// NOTIFY doesn't ask for it.
    NotRequested,
    /// The message has no recipient that a report could name.
    NoRecipients,
    /// The report was due, but our code failed on it.
    ReportFault,
}

impl NoReport {
    const ALL: [Self; 10] = [
        Self::IsReport,
        Self::NullReversePath,
        Self::UnknownReversePath,
        Self::InvalidReversePath,
        Self::NoSuchSender,
        Self::SystemSender,
        Self::ListSender,
        Self::NotRequested,
        Self::NoRecipients,
        Self::ReportFault,
    ];

    /// That which is said in these words.
    pub fn of_text(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.text().as_bytes() == text)
    }

    /// Says it in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::IsReport => "the message is itself a report",
            Self::NullReversePath => "the reverse-path is null",
            Self::UnknownReversePath => "the sender is not known",
            Self::InvalidReversePath => "the reverse-path is not a mailbox",
            Self::NoSuchSender => "the sender's mailbox does not exist",
            Self::SystemSender => "a system sent it, and the directory names no postmaster",
            Self::ListSender => "a list sent it, and the directory names no owner",
            Self::NotRequested => "NOTIFY asks for no report of failure",
            Self::NoRecipients => "no recipients",
            Self::ReportFault => "a fault struck the making of the report",
        }
    }
}
