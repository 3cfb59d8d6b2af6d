//! The catalogue: each number with its type, category and level, the description that was
//! published, and which members of an event fill the description's insertion strings.
//!
//! Descriptions are kept to the letter as the Knowledge Base prints them; where it prints none, or
//! leaves a gap, the words are ours and [`Words`] says so (docs/events.md has the same table for
//! people). Not here: which of them are written, and by what cause; encodings. Invariants: rows
//! stand in the order of their numbers; a number has two rows only where the original used it for
//! two things, told apart by their type; each `%n` of a description has a fill.

use Category as C;
use Kind::{Error, Information, Warning};
use Level::{Always, Max};
use Words::{Ours, Published};

/// Error, warning or information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something couldn't be done.
    Error,
    /// Something has to be looked at.
    Warning,
    /// Something was done.
    Information,
}

impl Kind {
    /// Its word in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Information => "information",
        }
    }

    /// The kind of this word.
    pub fn of_name(name: &str) -> Option<Self> {
        [Error, Warning, Information].into_iter().find(|kind| kind.name() == name)
    }
}

/// Category of the original's log. Their numbers were never published: these are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// None.
    None = 0,
    /// "Session Error".
    SessionError = 1,
    /// "Session Data".
    SessionData = 2,
    /// "Session Warning".
    SessionWarning = 3,
    /// "NDR".
    Ndr = 4,
    /// "Routing".
    Routing = 5,
    /// "Sent".
    Sent = 6,
    /// "Debug Data".
    DebugData = 7,
    /// "Session", of the PC MTA.
    Session = 8,
}

impl Category {
    /// Its name, as the original showed it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::SessionError => "Session Error",
            Self::SessionData => "Session Data",
            Self::SessionWarning => "Session Warning",
            Self::Ndr => "NDR",
            Self::Routing => "Routing",
            Self::Sent => "Sent",
            Self::DebugData => "Debug Data",
            Self::Session => "Session",
        }
    }

    /// Its number in a Windows event log.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// From which level of diagnostics logging on the original wrote it. Nothing is left out here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Always; also where no level was published.
    Always,
    /// At the highest level only.
    Max,
}

impl Level {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Max => "max",
        }
    }
}

/// Whose words a description has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// As published.
    Published,
    /// As published, with words of ours where the publication has a gap, or behind it.
    Mended,
    /// Ours: the text wasn't published, or the number is ours.
    Ours,
}

impl Words {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Mended => "mended",
            Self::Ours => "ours",
        }
    }
}

/// A row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its number.
    pub number: u16,
    /// Its type.
    pub kind: Kind,
    /// Its category.
    pub category: Category,
    /// Its level.
    pub level: Level,
    /// Whose words the description has.
    pub words: Words,
    /// The description, with `%1`.. for its insertion strings, and CR LF between lines.
    pub template: &'static str,
    /// Which members fill `%1`..: of several with `|` between them the first that the event has.
    /// There may be more than the description uses. `problem` is made of `code` and `status`.
    pub fills: &'static [&'static str],
    /// The sentence that JSON Lines carry; empty where this program never writes the number.
    pub brief: &'static str,
}

/// What stands for what isn't known.
pub const UNKNOWN: &str = "(unknown)";

const fn row(
    number: u16,
    (kind, category, level, words): (Kind, Category, Level, Words),
    template: &'static str,
    fills: &'static [&'static str],
    brief: &'static str,
) -> Row {
    Row { number, kind, category, level, words, template, fills, brief }
}

/// The first row of a number.
pub fn row_of(number: u16) -> Option<&'static Row> {
    let first = ROWS.partition_point(|row| row.number < number);
    ROWS.get(first).filter(|row| row.number == number)
}

/// The row of a number and a type; where the type is another, the first of the number.
pub fn row_of_kind(number: u16, kind: Kind) -> Option<&'static Row> {
    let same = ROWS.iter().find(|row| row.number == number && row.kind == kind);
    same.or_else(|| row_of(number))
}

/// Puts strings into a description, in one pass: what stands in a string isn't looked at again. A
/// string that is missing is [`UNKNOWN`].
pub fn expand(template: &str, strings: &[String]) -> String {
    let mut out = String::with_capacity(template.len() + 64);
    let mut pieces = template.split('%');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = piece.split_at(digits);
        if let Some(index) = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1)) {
            out.push_str(strings.get(index).map_or(UNKNOWN, String::as_str));
        } else {
            out.push('%');
            out.push_str(number);
        }
        out.push_str(rest);
    }
    out
}

/// What 2446 to 2451 begin with. The publication has a gap behind it.
macro_rules! not_processed {
    ($about:literal, $aside:literal) => {
        concat!(
            "MS Mail Connector Interchange has failed processing message from Exchange. The ",
            "message is left in the delivery queue. ",
            $about,
            "This error message will be logged again the next time MS Connector is restarted if ",
            "the message is not removed from the queue.",
            $aside
        )
    };
}

/// All numbers.
pub static ROWS: &[Row] = &[
    row(
        290,
        (Warning, C::None, Always, Ours),
        "A non-delivery report was generated by the MTA: reason %1, diagnostic %2, message %3, \
         recipient %4.",
        &["reason", "status", "queue_id", "recipient"],
        "",
    ),
    row(
        1026,
        (Error, C::None, Always, Ours),
        "The information store has refused message %1.",
        &["queue_id"],
        "",
    ),
    row(
        2010,
        (Warning, C::DebugData, Always, Published),
        "Disk error encountered while inserting data into %1 from %2.",
        &["mailbag|recipient", "queue_id"],
        "The mailbox is full. Delivery will be tried again.",
    ),
    row(
        2025,
        (Error, C::None, Always, Ours),
        "The information store could not deliver message %1.",
        &["queue_id"],
        "",
    ),
    row(
        2113,
        (Information, C::Sent, Max, Ours),
        "Message %1 was delivered to %2.",
        &["queue_id", "mailbag|recipient"],
        "The message was delivered.",
    ),
    row(
        2117,
        (Warning, C::Ndr, Always, Published),
        "Non delivery report generated.\r\nFrom: %1\r\nSubject: %2\r\n%3\r\n%4",
        &["sender", "subject", "problem", "recipient", "report_to", "failed"],
        "Non delivery report generated.",
    ),
    row(
        2302,
        (Error, C::None, Always, Published),
        "MS Mail Connector Interchange has failed to start the mailer component. Return code from \
         mailer is %1 and the return code Win32 is %2.",
        &["mailer_code", "system_code", "path"],
        "The queue is locked, and was not drained.",
    ),
    row(
        2335,
        (Error, C::SessionError, Always, Published),
        "MS Mail Connector Interchange has failed in om_read(). Return code is %1.",
        &["reason", "size"],
        "A range of the queue could not be read as a message.",
    ),
    row(
        2335,
        (Information, C::SessionData, Always, Published),
        "MS Mail Connector Interchange has established an MTA session for downloading messages \
         from the Exchange server.",
        &[],
        "",
    ),
    row(
        2342,
        (Information, C::DebugData, Max, Published),
        "MS Mail Connector Interchange failed to put into XOM stream. Return code is %1.",
        &["reason"],
        "",
    ),
    row(
        2369,
        (Error, C::SessionError, Always, Words::Mended),
        "MS Mail Connector Interchange has failed to bind the Exchange Message Transport. Check \
         to see if %1 is running.",
        &["reason"],
        "",
    ),
    row(
        2371,
        (Warning, C::Ndr, Always, Published),
        "Invalid recipient(s) found in %1. Generating non-delivery report.",
        &["queue_id", "recipient", "problem", "detail", "reason"],
        "Invalid recipient(s) found.",
    ),
    row(
        2375,
        (Error, C::SessionError, Always, Published),
        "MS Mail Connector Interchange has detected a configuration problem. No mailbag on the MS \
         Mail Connector Post Office was found for recipient: %1 in the message with message id %2.",
        &["recipient", "queue_id", "problem", "reason"],
        "No mailbox was found for the recipient.",
    ),
    row(
        2376,
        (Error, C::SessionError, Always, Ours),
        "MS Mail Connector Interchange has detected a configuration problem. A non-delivery \
         report about the message with message id %2 from %1 has nowhere to go: %3.",
        &["sender", "queue_id", "reason"],
        "A report was due, but there is no mailbox that it could go to.",
    ),
    row(
        2380,
        (Error, C::SessionError, Always, Published),
        "A memory access violation has occurred that prevents further processing of a message. \
         The access violation that occurred is an attempt to read from %1. Please refer to the \
         immediately following event(s) logged by MS Mail Connector Interchange for more \
         information on the message that could not be processed. (Exception address: %2.)",
        &["fault", "place", "stage"],
        "A fault has occurred in the processing of a message.",
    ),
    row(
        2384,
        (Information, C::SessionData, Max, Published),
        "MS Mail Connector Interchange has established an MTA session for uploading messages to \
         the Exchange server.",
        &[],
        "",
    ),
    row(
        2403,
        (Warning, C::SessionWarning, Always, Published),
        "Failure converting OLE v2 object to OLE v1, OLE Object Class not registered in message \
         %1.",
        &["queue_id"],
        "",
    ),
    row(
        2410,
        (Error, C::SessionError, Always, Published),
        "MS Mail Connector Interchange has failed to establish a session with the Directory \
         services. The return code is %1.",
        &["reason"],
        "",
    ),
    row(
        2444,
        (Information, C::Routing, Max, Published),
        "Message ID <%1> processed from INQUEUE\r\nFrom: %2\r\nTo: %3",
        &["queue_id", "sender", "recipient", "outcome", "route"],
        "Message processed.",
    ),
    row(
        2446,
        (Error, C::SessionError, Always, Words::Mended),
        not_processed!("This message entitled \"%1\" is from %2. ", " (It is set aside: %3, %4.)"),
        &["subject", "sender", "stream", "reason"],
        "",
    ),
    row(
        2447,
        (Error, C::SessionError, Always, Words::Mended),
        not_processed!("This message entitled \"%1\" is from %2. ", ""),
        &["subject", "sender"],
        "",
    ),
    row(
        2448,
        (Information, C::Sent, Max, Published),
        "Message ID <%1> received from Exchange\r\nMessage ID <%2> created in MS Mail\r\n\
         From: %3\r\nTo: %4",
        &["message_id|queue_id", "mai|queue_id", "sender", "mailbag|recipient"],
        "The message was put into a mailbag.",
    ),
    row(
        2449,
        (Error, C::SessionError, Always, Ours),
        "MS Mail Connector Interchange has failed processing message %1.",
        &["queue_id"],
        "",
    ),
    row(
        2450,
        (Error, C::SessionError, Always, Words::Mended),
        not_processed!("This message is from %1. ", " (It is set aside: %2, %3.)"),
        &["sender", "stream", "reason"],
        "Failed processing message. The message is set aside; its sender is known.",
    ),
    row(
        2451,
        (Error, C::SessionError, Always, Words::Mended),
        not_processed!("", " (It is set aside: %1, %2.)"),
        &["stream", "reason"],
        "Failed processing message. The message is set aside; its sender is not known.",
    ),
    row(
        2539,
        (Information, C::SessionData, Always, Ours),
        "A read receipt for message %1 was thrown away.",
        &["queue_id"],
        "",
    ),
    row(
        2550,
        (Error, C::SessionError, Always, Words::Mended),
        "The thread of MS Mail Connector Interchange that delivers to Exchange has failed \
         creating MSExchange MTA object.",
        &[],
        "",
    ),
    row(
        2553,
        (Error, C::SessionError, Always, Words::Mended),
        "The thread of MS Mail Connector Interchange that delivers to Exchange has failed \
         writing out data to the MTA.",
        &[],
        "",
    ),
    row(
        2556,
        (Error, C::SessionError, Always, Words::Mended),
        "The thread of MS Mail Connector Interchange that delivers to MS Mail has detected an \
         error in the MS Exchange MTA.",
        &[],
        "",
    ),
    row(
        2558,
        (Error, C::SessionError, Always, Published),
        "MS Mail Connector Interchange has failed waiting on the MSExchange queue.",
        &[],
        "",
    ),
    row(
        2560,
        (Error, C::SessionError, Always, Words::Mended),
        "The thread of MS Mail Connector Interchange that delivers to MS Mail has failed reading \
         the MTA object.",
        &[],
        "",
    ),
    row(
        2563,
        (Error, C::SessionError, Always, Published),
        "An out of memory condition is detected.",
        &[],
        "",
    ),
    row(
        2568,
        (Error, C::SessionError, Always, Ours),
        "A non-delivery report of unknown content from an X.400(84) MTA cannot be processed.",
        &[],
        "",
    ),
    row(
        2590,
        (Error, C::SessionError, Always, Published),
        "MS Mail Connector Interchange wait on Exchange queue failed %1",
        &["reason"],
        "",
    ),
    row(
        2597,
        (Warning, C::SessionWarning, Always, Words::Mended),
        "A message arrived with some information in Codepage %1. This message will be passed \
         along with some loss of information.",
        &["reason"],
        "",
    ),
    row(
        2604,
        (Warning, C::Ndr, Always, Ours),
        "The header of message %2 from %1 is larger than the Message Header Size Limit. It is \
         returned to its sender.",
        &["sender", "queue_id"],
        "",
    ),
    row(
        4117,
        (Error, C::None, Always, Ours),
        "Message %1 could not be converted. It was kept in the archive.",
        &["queue_id"],
        "",
    ),
    row(
        4120,
        (Error, C::None, Always, Words::Mended),
        "While notifying the sender of message %1 an error occurred causing the notification to \
         be aborted. The sender will not be informed: %2.",
        &["queue_id", "reason"],
        "",
    ),
    row(
        4164,
        (Error, C::None, Always, Words::Mended),
        "The message %1 contains no recipients, or is not a valid 822 message.",
        &["queue_id"],
        "",
    ),
    row(
        4188,
        (Error, C::Session, Always, Ours),
        "The post offices %1 and %2 have the same serial number %3.",
        &["post_office", "other", "serial"],
        "Two post offices have the same serial number.",
    ),
    row(
        4254,
        (Warning, C::SessionWarning, Always, Words::Mended),
        "Unable to deliver mail to %1. Will retry in the next cycle.",
        &["path|recipient", "queue_id", "reason"],
        "Mail could not be delivered. It will be tried again.",
    ),
    row(4304, (Error, C::Session, Always, Ours), "The PC MTA reports: %1.", &["reason"], ""),
    row(4355, (Error, C::Session, Always, Ours), "The PC MTA reports: %1.", &["reason"], ""),
    row(4395, (Error, C::Session, Always, Ours), "The PC MTA reports: %1.", &["reason"], ""),
    row(
        4536,
        (Error, C::Session, Always, Words::Mended),
        "Incomplete or missing routing information for %1: external member in a group definition, \
         group %2, message %3.",
        &["recipient", "group", "queue_id"],
        "A member of a group is not of this post office.",
    ),
    row(
        7000,
        (Error, C::None, Always, Ours),
        "The service %1 failed to start: %2.",
        &["path", "reason"],
        "",
    ),
    row(
        7009,
        (Error, C::None, Always, Ours),
        "The service %1 did not answer in time.",
        &["path"],
        "",
    ),
    row(10000, (Information, C::DebugData, Always, Ours), "%1", &["reason"], ""),
    row(
        10003,
        (Error, C::SessionError, Always, Published),
        "Fatal Assert: File %1 line %2.  Mailer thread failed.",
        &["file", "line", "part"],
        "A thread failed over what it had in hand. The work goes on.",
    ),
    row(
        20001,
        (Information, C::Routing, Always, Ours),
        "Delivery of message %1 to %2 is deferred: %3.",
        &["queue_id", "recipient", "problem"],
        "Delivery is deferred.",
    ),
    row(
        20002,
        (Information, C::Routing, Always, Ours),
        "The recipient %2 of message %1 was expanded.",
        &["queue_id", "recipient"],
        "The recipient was expanded.",
    ),
    row(
        20003,
        (Information, C::Routing, Always, Ours),
        "The recipient %2 of message %1 was served already.",
        &["queue_id", "recipient"],
        "The recipient was served already.",
    ),
    row(
        20004,
        (Warning, C::Ndr, Always, Words::Mended),
        "A mail delivery problem has been detected on %1.\r\nMESSAGE DATA:\r\nSOURCE MESSAGE ID: \
         %2\r\nFROM: %3\r\nDATE: %4\r\nTIME: %5\r\nSUBJECT: %6\r\n%7",
        &[
            "post_office",
            "mai|queue_id",
            "sender",
            "date",
            "clock",
            "subject",
            "problem",
            "recipient",
        ],
        "A mail delivery problem has been detected.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_in_order_and_a_number_is_there_twice_only_under_two_types() {
        for pair in ROWS.windows(2) {
            let two_types = pair[0].number == pair[1].number && pair[0].kind != pair[1].kind;
            assert!(pair[0].number < pair[1].number || two_types, "{}", pair[1].number);
        }
        let twice = ROWS.windows(2).filter(|pair| pair[0].number == pair[1].number);
        assert_eq!(twice.map(|pair| pair[0].number).collect::<Vec<_>>(), [2335]);
        assert_eq!(row_of_kind(2335, Information).unwrap().category, Category::SessionData);
        assert_eq!(row_of_kind(2335, Error).unwrap().category, Category::SessionError);
        assert_eq!(row_of_kind(2444, Error).unwrap().kind, Information);
        assert!(row_of(1).is_none() && row_of(u16::MAX).is_none());
    }

    #[test]
    fn each_insertion_string_of_a_description_has_its_fill() {
        for row in ROWS {
            let strings: Vec<String> = (1..=row.fills.len()).map(|n| format!("<{n}>")).collect();
            let sentence = expand(row.template, &strings);
            assert!(!sentence.contains('%') && !sentence.contains(UNKNOWN), "{}", row.number);
            assert!(row.template.is_ascii(), "{}", row.number);
        }
    }

    #[test]
    fn what_stands_in_data_is_not_expanded_again() {
        let strings = ["%2".to_owned(), "two %1 %%".to_owned()];
        assert_eq!(expand("%1, %2, %3, %0 %x %", &strings), "%2, two %1 %%, (unknown), %0 %x %");
        assert_eq!(expand("%99999999999999999999999", &strings), "%99999999999999999999999");
    }

    proptest! {
        /// Any template and any data: total; each string stands in the sentence as it is.
        #[test]
        fn expanding_is_total(template in ".*", strings in proptest::collection::vec(".*", 0..5)) {
            let _ = expand(&template, &strings);
            let whole = expand("a%1b%2c", &strings);
            let known = |at: usize| strings.get(at).map_or(UNKNOWN, String::as_str);
            prop_assert_eq!(whole, format!("a{}b{}c", known(0), known(1)));
        }
    }
}
