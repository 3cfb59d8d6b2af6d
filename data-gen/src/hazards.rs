//! The hazards by name: which exist, which format can carry them, how often they come by default;
//! and the mix that a user asks for.
//!
//! What it deliberately does not do: making the messages (see `scenario`).
//!
//! Invariant: the hazard of a message depends on the seed, its index and the mix alone.

use crate::GenError;
use crate::options::Format;
use crate::rng::mix;

/// Which formats can carry a hazard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carry {
    /// Every format.
    Any,
    /// Needs an envelope of its own.
    Envelope,
    /// Content without a last newline: not in mbox, which adds one.
    NotMbox,
}

/// Declares the enum and the table of all hazards from one list, so that neither can lack a row.
macro_rules! hazards {
    ($($variant:ident $name:literal $share:literal $carry:ident $about:literal)*) => {
        /// A scenario.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is described by its row in the table")]
        pub enum Hazard { $($variant,)* }

        /// The rows: hazard, name, default share in millionths, formats, description.
        pub(crate) const TABLE: &[Row] = &[$(Row {
            hazard: Hazard::$variant,
            name: $name,
            share: $share,
            carry: Carry::$carry,
            about: $about,
        },)*];
    };
}

/// What is known of a hazard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) hazard: Hazard,
    pub(crate) name: &'static str,
    pub(crate) share: u32,
    pub(crate) carry: Carry,
    pub(crate) about: &'static str,
}

hazards! {
    InvalidBoth "invalid-sender-and-recipients" 4000 Any
        "neither the sender nor a recipient is an address: dead letter"
    BadResubmitted "bad-address-resubmitted" 4000 Any
        "tried before (segment), permanently refused: fails at once"
    LongRecipient "long-recipient" 3000 Any
        "local part, domain or path over the limits, or just at them"
    BadAddress "bad-smtp-address" 6000 Any "a recipient with wrong syntax beside good ones"
    BadReplyTo "bad-reply-to" 3000 Any "Reply-To that can't be understood"
    Charset "charset" 9000 Any "raw 8-bit and ISO-2022-JP header fields and bodies"
    Embedded "embedded-message" 6000 Any "messages within messages"
    NdrOfNdr "ndr-of-ndr" 4000 Any "a report about a report, to an unknown recipient: dead letter"
    ZeroAttachment "zero-byte-attachment" 3000 Any "an attachment without a byte"
    NamedProperties "named-properties" 1500 Any
        "unknown and strange header fields, a thousand of them"
    Corrupt "corrupt-message" 4000 Any "damaged records (segment), unparsable dates (all)"
    HugeList "huge-recipient-list" 20 Any "1,000 to 100,000 recipients"
    FullMailbag "full-mailbag" 8000 Any "a full mailbox: deferred, after the lifetime failed"
    ReportMistaken "report-mistaken-for-failure" 4000 Envelope "NOTIFY=SUCCESS to good recipients"
    ReportMissing "requested-report-missing" 4000 Envelope
        "NOTIFY decides whether a failure is reported"
    NdrLost "ndr-lost" 4000 Any "no way back to the sender: dead letter"
    DuplicateRecipient "duplicate-recipient" 5000 Any "the same mailbox twice or more: served once"
    DuplicateDelivery "duplicate-delivery" 2000 Envelope "recipients that are done already"
    Receipts "receipts-thrown-away" 4000 Any "read receipts are delivered"
    SubjectTruncated "subject-truncated" 3000 Any "subjects of 255 to 10,000 bytes"
    TimestampWrong "timestamp-wrong" 3000 Any "dates in strange zones, far past and future"
    PriorityChanged "priority-changed" 4000 Any "priorities in header fields and envelope"
    SizeNotLogged "size-not-logged" 2000 Any "sizes at the powers of two"
    AttachmentsSwapped "attachments-swapped" 3000 Any "attachments with like names"
    NdrLoop "ndr-loop" 4000 Any "reports and lists that answer one another"
    MessageLoop "message-loop" 3000 Any "100 hops (delivered) and more (failed 5.4.6)"
    SystemMail "system-mail-bounced" 3000 Any "mail of system senders that fails"
    TooManyFiles "too-many-files" 2000 Any "tiny messages; by share 1: a folder of many files"
    FaultPanic "fault-panic" 0 Any
        "X-Inqueue-Fault: a stage panics (library built with fault-injection)"
    FaultSegv "fault-segv" 0 Any "the same: a memory access violation"
    FaultBus "fault-bus" 0 Any "the same: a map that is shortened under its reader"
    FaultAbort "fault-abort" 0 Any "the same: an abort"
    FaultStack "fault-stack" 0 Any "the same: a stack that overflows"
    FaultOom "fault-oom" 0 Any "the same: memory until there is none"
    FaultHang "fault-hang" 0 Any "the same: a loop without end"
    MissingBody "missing-body" 3000 Any "header section only, or no content at all (segment)"
    Empty "empty-message" 1000 Any "no content at all"
    Nul "nul-bytes" 1500 Any "NUL in body and header"
    NoLastNewline "no-last-newline" 2000 NotMbox "content that doesn't end in a newline"
    FromLines "from-lines" 3000 Any "body lines that begin with From, quoted or not"
    DeepNesting "deep-nesting" 150 Any "1,000 levels of multipart"
    LongLine "long-line" 300 Any "a line of 100 KB"
    BareCr "bare-cr" 2000 Any "carriage returns without line feed"
    RecordInContent "record-in-content" 500 Any "bytes that look like a segment's records"
    UnknownRecipient "unknown-recipient" 8000 Any "an unknown local recipient: failed 5.1.1"
    Disabled "disabled-mailbox" 2000 Any "a mailbox that takes no mail: failed 5.2.1"
    Moved "moved-mailbox" 2000 Any "a mailbox whose owner has gone: failed 5.1.6"
    Mixed "mixed-outcomes" 5000 Any "good, full, unknown and remote recipients of one message"
    NotDue "not-due" 3000 Envelope "next attempt after the clock: stays deferred"
    NoRecipients "no-recipients" 500 Any "nobody to send it to: dead letter 5.6.0"
    ListExpansion "list-expansion" 3000 Any "lists, aliases of aliases, catch-all"
    Postmaster "postmaster-without-domain" 500 Any "mail to postmaster, no domain given"
}

impl Hazard {
    /// A fault of the library, which its message asks for.
    pub(crate) const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::FaultPanic
                | Self::FaultSegv
                | Self::FaultBus
                | Self::FaultAbort
                | Self::FaultStack
                | Self::FaultOom
                | Self::FaultHang
        )
    }
}

/// What a user asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Mix {
    /// Each hazard that the format can carry, at its default share.
    All,
    /// No hazard.
    None,
    /// These alone, with their shares of the messages (0 to 1).
    Named(Vec<(Hazard, f64)>),
}

impl Mix {
    /// Reads `all`, `none` or `NAME=SHARE,...`.
    pub fn parse(text: &str) -> Result<Self, GenError> {
        match text {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let mut list = Vec::new();
        let mut sum = 0.0;
        for item in text.split(',') {
            let (name, share) = item
                .split_once('=')
                .ok_or_else(|| GenError::Mix(format!("`{item}` is not NAME=SHARE")))?;
            let row = TABLE
                .iter()
                .find(|row| row.name == name)
                .ok_or_else(|| GenError::Mix(format!("no hazard is named `{name}`")))?;
            let share = share.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            let share =
                share.ok_or_else(|| GenError::Mix(format!("share of `{name}`: not 0 to 1")))?;
            sum += share;
            list.push((row.hazard, share));
        }
        if sum > 1.000_001 {
            return Err(GenError::Mix(format!("the shares add up to {sum}, over 1")));
        }
        Ok(Self::Named(list))
    }

    /// The mix for a format: an error where a named hazard can't be carried by it.
    pub(crate) fn resolve(&self, format: Format) -> Result<Shares, GenError> {
        let mut shares = Shares { bounds: Vec::new(), all: *self == Self::All };
        match self {
            Self::None => {}
            Self::All => {
                for row in TABLE.iter().filter(|row| row.share > 0 && can_carry(row.carry, format))
                {
                    shares.add(row.hazard, u64::from(row.share) * ((1 << 32) / 1_000_000));
                }
            }
            Self::Named(list) => {
                for (hazard, share) in list {
                    if !TABLE.iter().any(|r| r.hazard == *hazard && can_carry(r.carry, format)) {
                        let hazard = name(*hazard);
                        return Err(GenError::Unavailable { hazard, format: format.name() });
                    }
                    shares.add(*hazard, portion(*share));
                }
            }
        }
        Ok(shares)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share was checked to lie between 0 and 1"
)]
fn portion(share: f64) -> u64 {
    (share * 4_294_967_296.0) as u64
}

fn can_carry(carry: Carry, format: Format) -> bool {
    match carry {
        Carry::Any => true,
        Carry::Envelope => format.has_envelope(),
        Carry::NotMbox => format != Format::Mbox,
    }
}

/// The name of a hazard.
pub(crate) fn name(hazard: Hazard) -> &'static str {
    TABLE.iter().find(|row| row.hazard == hazard).map_or("none", |row| row.name)
}

/// Names, formats, default shares and descriptions of all hazards, a line each.
pub fn list() -> String {
    let line = |row: &Row| {
        let share = f64::from(row.share) / 10_000.0;
        let carry = match row.carry {
            Carry::Any => "any format",
            Carry::Envelope => "envelope",
            Carry::NotMbox => "not mbox",
        };
        format!("{:<30} {share:>6.3} %  {carry:<11} {}\n", row.name, row.about)
    };
    TABLE.iter().map(line).collect()
}

/// A mix, as bounds for a draw of 32 bits.
#[derive(Debug)]
pub(crate) struct Shares {
    bounds: Vec<(u64, Hazard)>,
    /// The user asked for `all`: rare hazards are put in at fixed places.
    pub(crate) all: bool,
}

impl Shares {
    fn add(&mut self, hazard: Hazard, portion: u64) {
        let before = self.bounds.last().map_or(0, |(bound, _)| *bound);
        self.bounds.push((before + portion, hazard));
    }

    /// The hazard may come.
    pub(crate) fn has(&self, hazard: Hazard) -> bool {
        self.bounds.iter().any(|(_, one)| *one == hazard)
    }

    /// The hazard of message `index`, before rules about its neighbours.
    pub(crate) fn draw(&self, seed: u64, index: u64) -> Option<Hazard> {
        let draw = mix(mix(seed ^ 0x4A5A_4152_4453_0001) ^ index) >> 32;
        let at = self.bounds.partition_point(|(bound, _)| *bound <= draw);
        self.bounds.get(at).map(|(_, hazard)| *hazard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_default_shares_are_a_small_part() {
        let mut names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
        let sum: u32 = TABLE.iter().map(|row| row.share).sum();
        assert!((100_000..150_000).contains(&sum), "{sum}");
    }

    #[test]
    fn mixes_are_read_and_refused() {
        assert_eq!(Mix::parse("all").unwrap(), Mix::All);
        assert_eq!(
            Mix::parse("charset=0.5,not-due=0.25").unwrap(),
            Mix::Named(vec![(Hazard::Charset, 0.5), (Hazard::NotDue, 0.25)])
        );
        for bad in ["", "charset", "nothing=0.1", "charset=2", "charset=0.6,not-due=0.6"] {
            assert!(Mix::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_format_refuses_what_it_cant_carry() {
        let mix = Mix::parse("not-due=0.25").unwrap();
        assert!(mix.resolve(Format::Segment).is_ok());
        assert!(mix.resolve(Format::Mbox).is_err());
        let all = Mix::All.resolve(Format::Mbox).unwrap();
        assert!((0..100_000).all(|i| all.draw(1, i) != Some(Hazard::NotDue)));
    }

    #[test]
    fn draws_follow_the_shares() {
        let shares = Mix::parse("charset=0.5").unwrap().resolve(Format::Eml).unwrap();
        let hits = (0..10_000).filter(|i| shares.draw(1, *i).is_some()).count();
        assert!((4_800..5_200).contains(&hits), "{hits}");
        let whole = Mix::parse("charset=1").unwrap().resolve(Format::Eml).unwrap();
        assert!((0..10_000).all(|i| whole.draw(1, i).is_some()));
    }
}
