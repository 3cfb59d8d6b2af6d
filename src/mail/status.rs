//! Enhanced status codes (RFC 3463), and the original system's numbers for the same thing.
//!
//! Only the codes that `decide` gives stand here; a status that was read from elsewhere stays the
//! text that it is.

use std::fmt;

/// An enhanced mail system status code: class, subject, detail (RFC 3463, 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What it is about: 1 address, 2 mailbox, 4 routing, 6 content, 7 policy.
    pub subject: u8,
    /// The detail within the subject.
    pub detail: u8,
}

impl EnhancedStatus {
    const fn new(class: u8, subject: u8, detail: u8) -> Self {
        Self { class, subject, detail }
    }
    /// 2.0.0: handed on.
    pub const SUCCESS: Self = Self::new(2, 0, 0);
    /// 2.1.5: destination address valid.
    pub const ADDRESS_VALID: Self = Self::new(2, 1, 5);
    /// 4.0.0: not tried yet.
    pub const NOT_DUE: Self = Self::new(4, 0, 0);
    /// 4.2.2: mailbox full, may have room later.
    pub const MAILBOX_FULL_FOR_NOW: Self = Self::new(4, 2, 2);
    /// 5.1.1: no such mailbox.
    pub const MAILBOX_UNKNOWN: Self = Self::new(5, 1, 1);
    /// 5.1.2: no such system.
    pub const SYSTEM_UNKNOWN: Self = Self::new(5, 1, 2);
    /// 5.1.3: bad syntax of the address.
    pub const BAD_ADDRESS: Self = Self::new(5, 1, 3);
    /// 5.1.6: mailbox has moved.
    pub const MAILBOX_MOVED: Self = Self::new(5, 1, 6);
    /// 5.2.1: mailbox disabled.
    pub const MAILBOX_DISABLED: Self = Self::new(5, 2, 1);
    /// 5.2.2: mailbox full, for longer than the queue waits.
    pub const MAILBOX_FULL: Self = Self::new(5, 2, 2);
    /// 5.2.4: the list can't be expanded.
    pub const LIST_EXPANSION: Self = Self::new(5, 2, 4);
    /// 5.3.0: the mail system has lost a part of the message.
    pub const SYSTEM_FAILURE: Self = Self::new(5, 3, 0);
    /// 5.4.6: routing loop.
    pub const LOOP: Self = Self::new(5, 4, 6);
    /// 5.6.0: the message itself can't be delivered.
    pub const BAD_MESSAGE: Self = Self::new(5, 6, 0);

    /// Reads it from its text, as `5.1.1`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut numbers = std::str::from_utf8(text).ok()?.split('.').map(|n| n.parse().ok());
        let mut next = || numbers.next().flatten();
        let status = Self { class: next()?, subject: next()?, detail: next()? };
        numbers.next().is_none().then_some(status)
    }

    /// Appends it as text.
    pub fn write(self, out: &mut Vec<u8>) {
        let Self { class, subject, detail } = self;
        if let (0..=9, 0..=9, 0..=9) = (class, subject, detail) {
            out.extend_from_slice(&[b'0' + class, b'.', b'0' + subject, b'.', b'0' + detail]);
            return;
        }
        for (index, number) in [class, subject, detail].into_iter().enumerate() {
            if index > 0 {
                out.push(b'.');
            }
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    /// What it means, in a sentence for people.
    pub const fn text(self) -> &'static str {
        match (self.class, self.subject, self.detail) {
            (2, 0, 0) => "handed on",
            (2, ..) => "delivered",
            (4, 0, 0) => "not due yet",
            (4, 2, 2) => "the mailbox is full; delivery will be tried again",
            (5, 1, 1) => "there is no such mailbox",
            (5, 1, 2) => "there is no such domain, or mail for it is not taken",
            (5, 1, 3) => "the address is not a valid mail address",
            (5, 1, 6) => "the mailbox has moved",
            (5, 2, 1) => "the mailbox takes no mail",
            (5, 2, 2) => "the mailbox is full, and was for too long",
            (5, 2, 4) => "the list of the group's members is gone",
            (5, 3, 0) => "a file that is attached to the message is missing",
            (5, 4, 6) => "the message goes round in a loop",
            (5, 6, 0) => "the message has no recipient",
            _ => "delivery failed",
        }
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Debug for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The original system's text for its number, as the KB prints it (Q264331, Q127919, Q147471,
/// Q162841, Q119884, Q173203, Q117895, Q163020, Q131852, Q99204, Q131523, Q126750, Q138054,
/// Q118675, Q103960, Q143413, Q194549, Q175958, Q165396), without what leads to the names behind it
/// ("Mail item was not delivered to:"). 010, 011, 014, 015, 019, 020, 022 and 025 to 028 were never
/// printed.
pub const fn original_text(number: u16) -> &'static str {
    match number {
        1 => "Unable to deliver. Missing mailbag",
        2 => "Mail was received that was addressed to unknown addresses.",
        3 => "Message hop count exceeded.",
        4 => "Message circular route detected.",
        5 => "Mail retry count exceeded sending to:",
        6 => "Useful life exceeded sending to:",
        7 => "Message addressed to group that no longer exists.",
        8 => "Failure delivering user mail due to mailbag contention.",
        9 => "Mail maximum size exceeded sending to:",
        12 => "This corrupt message cannot be delivered. Contact your administrator.",
        13 => "***** Read receipt from a registered message *****",
        16 => "Message was not sent due to missing message file.",
        17 => "Unable to deliver user mail due to a full mailbag.",
        18 => "Message was not sent due to missing attachment.",
        21 => "Message was not delivered due to missing routing file.",
        23 => "Message was not delivered: message file was corrupted.",
        24 => "Message was not delivered: routing file was corrupted.",
        29 => "This mail message could not be parsed correctly.",
        30 => "Message contains duplicated Email address.",
        _ => "",
    }
}
