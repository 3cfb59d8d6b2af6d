//! The plan of one message: its envelope, what its content is like, and what is done to it
//! afterwards.
//!
//! What it deliberately does not do: bytes (see `content`, `segment`, `mbox`), and hazards (see
//! `scenario`): what is planned here is ordinary mail.
//!
//! Invariant: a plan depends on the options and the index alone.

use crate::World;
use crate::directory::{Directory, RELAYED, person, remote, unknown};
use crate::envelope::{DELAY, Envelope, FAILURE, Recipient, Reverse, SUCCESS};
use crate::expect::Facts;
use crate::hazards::Hazard;
use crate::options::{DEFAULT_SIZE_MEAN, Format};
use crate::postoffice::{Sheet, address};
use crate::rng::Rng;
use crate::text::Charset;
use crate::time::{DAY, MINUTE, SECOND};

/// How a body is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// One text.
    Text,
    /// HTML alone.
    Html,
    /// Text and HTML.
    Alternative,
    /// Text and so many attachments.
    Mixed(u64),
    /// Multiparts in one another, so many levels.
    Nested(u64),
    /// Messages in one another, so many levels.
    Embedded(u64),
    /// A report (RFC 3464) about a report about ..., so many levels.
    Report(u64),
    /// A read receipt.
    Receipt,
    /// A text and an attachment without content.
    ZeroAttachment,
    /// Attachments that are alike.
    AlikeAttachments,
    /// NULs.
    Nul,
    /// Lines beginning with `From `.
    FromLines,
    /// One very long line.
    LongLine,
    /// Carriage returns alone.
    BareCr,
    /// Something that looks like records of a segment.
    Records,
}

/// How much of the content is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All.
    Whole,
    /// All but the last newline.
    Unterminated,
    /// The header section alone.
    HeaderOnly,
    /// Nothing.
    Nothing,
}

/// Which header fields name the recipients, in formats without an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// X-Original-To, one for each.
    OriginalTo,
    /// Delivered-To, for the only one.
    DeliveredTo,
    /// To.
    To,
}

/// What the content is like.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) crlf: bool,
    pub(crate) style: Style,
    pub(crate) return_path: bool,
    pub(crate) received: u64,
    pub(crate) delivered_to: u64,
    /// About how many bytes the body has.
    pub(crate) size: usize,
    /// How many bytes the content has, where it matters.
    pub(crate) exact: Option<usize>,
    pub(crate) charset: Charset,
    /// Header fields are written raw in the charset.
    pub(crate) raw: bool,
    pub(crate) body: Body,
    pub(crate) shape: Shape,
    /// More header fields, with their line ends.
    pub(crate) fields: Vec<u8>,
    pub(crate) subject: Option<Vec<u8>>,
    pub(crate) date: Option<Vec<u8>>,
}

/// What is done to a finished record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// A byte of the head is changed.
    HeadByte,
    /// A byte of the envelope is changed.
    EnvelopeByte,
    /// A byte of the content is changed.
    ContentByte,
    /// A good head gives a length past the end of the file.
    Length,
    /// A field reaches past the envelope.
    FieldTooLong,
    /// The arrival time has seven bytes.
    FieldWrongLength,
    /// A field within a recipient reaches past it.
    RecipientField,
    /// The file ends within the record.
    Torn,
}

/// The plan of a message.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) hazard: Option<Hazard>,
    pub(crate) envelope: Envelope,
    pub(crate) spec: Spec,
    pub(crate) damage: Option<Damage>,
    pub(crate) fault: Option<&'static str>,
    /// What only a post office's message has.
    pub(crate) sheet: Sheet,
}

impl Plan {
    /// A plan of nothing but an envelope.
    pub(crate) fn bare(envelope: Envelope) -> Self {
        let spec = Spec {
            crlf: true,
            style: Style::OriginalTo,
            return_path: true,
            received: 0,
            delivered_to: 0,
            size: 0,
            exact: None,
            charset: Charset::Ascii,
            raw: false,
            body: Body::Text,
            shape: Shape::Whole,
            fields: Vec::new(),
            subject: None,
            date: None,
        };
        let sheet = Sheet::default();
        Self { hazard: None, envelope, spec, damage: None, fault: None, sheet }
    }

    /// What the content has to do with the outcomes, in `format`.
    pub(crate) fn facts(&self, format: Format) -> Facts {
        if self.spec.shape == Shape::Nothing {
            return Facts::default();
        }
        let named = !format.has_envelope() && self.spec.style == Style::DeliveredTo;
        Facts {
            hops: self.spec.received + self.spec.delivered_to + u64::from(named),
            report: matches!(self.spec.body, Body::Report(_) | Body::Receipt),
            ..Facts::default()
        }
    }

    /// Takes away what a format without envelopes can't say.
    pub(crate) fn settle(&mut self, format: Format) {
        if format.has_envelope() {
            return;
        }
        let envelope = &mut self.envelope;
        envelope.arrival -= envelope.arrival.rem_euclid(SECOND);
        envelope.attempts = 0;
        envelope.next_attempt = None;
        envelope.expiry = None;
        envelope.hops = 0;
        if envelope.reverse == Reverse::Unknown {
            envelope.reverse = Reverse::Null;
        }
        for recipient in &mut envelope.recipients {
            recipient.notify = None;
            recipient.orcpt = false;
            recipient.done = false;
        }
        if self.spec.shape == Shape::Nothing {
            envelope.recipients.clear();
        }
    }
}

/// An envelope with nothing in it but its index.
pub(crate) fn blank(index: u64) -> Envelope {
    Envelope {
        index,
        arrival: 0,
        reverse: Reverse::Unknown,
        attempts: 0,
        next_attempt: None,
        expiry: None,
        priority: None,
        hops: 0,
        envid: None,
        ret: None,
        body: None,
        unknown_field: false,
        recipients: Vec::new(),
    }
}

/// Makes the plan of one message.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) world: &'a World,
    pub(crate) directory: &'a Directory,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
}

impl<'a> Maker<'a> {
    /// An ordinary message.
    pub(crate) fn new(world: &'a World, directory: &'a Directory, index: u64) -> Self {
        let mut rng = Rng::new(world.options.seed, index);
        let spec = spec(world, &mut rng);
        let plan = Plan { spec, ..Plan::bare(blank(index)) };
        let mut maker = Self { world, directory, rng, plan };
        maker.ordinary_envelope();
        maker
    }

    /// Everything of an envelope can be said.
    pub(crate) fn has_envelope(&self) -> bool {
        self.world.options.format.has_envelope()
    }

    /// A sender to whom a failure can be reported.
    pub(crate) fn sender(&mut self) -> Reverse {
        if self.rng.chance(700) { Reverse::Path(self.remote()) } else { Reverse::Path(self.good()) }
    }

    /// A good mailbox.
    pub(crate) fn good(&mut self) -> Vec<u8> {
        if self.rng.chance(10) {
            return self.rng.pick(&self.directory.odd).to_vec();
        }
        self.rng.pick(&self.directory.good).to_vec()
    }

    /// An address that isn't local, and that the directory doesn't list.
    pub(crate) fn remote(&mut self) -> Vec<u8> {
        match &self.directory.office {
            Some(office) => office.remote(&mut self.rng),
            None => remote(&mut self.rng),
        }
    }

    /// The same address with other letters big or small.
    pub(crate) fn other_case(&mut self, path: &[u8]) -> Vec<u8> {
        if self.directory.office.is_some() {
            return address::other_case(path);
        }
        path.to_ascii_uppercase()
    }

    /// An address in a domain that the directory relays.
    pub(crate) fn relayed(&mut self) -> Vec<u8> {
        if let Some(office) = &self.directory.office {
            return office.neighbour(&mut self.rng);
        }
        let mut out = Vec::with_capacity(40);
        let number = self.rng.below(10_000);
        person(&mut out, &mut self.rng, number);
        out.push(b'@');
        out.extend_from_slice(self.rng.pick(&RELAYED));
        out
    }

    /// A local address that nobody has.
    pub(crate) fn nobody(&mut self) -> Vec<u8> {
        match &self.directory.office {
            Some(office) => office.nobody(&mut self.rng),
            None => unknown(&mut self.rng),
        }
    }

    /// Adds a recipient, unless it is there already.
    pub(crate) fn add(&mut self, recipient: Recipient) {
        let list = &mut self.plan.envelope.recipients;
        if !list.iter().any(|other| other.path.eq_ignore_ascii_case(&recipient.path)) {
            list.push(recipient);
        }
    }

    /// Makes this the only recipient.
    pub(crate) fn only(&mut self, recipient: Recipient) {
        self.plan.envelope.recipients.clear();
        self.add(recipient);
    }

    fn ordinary_envelope(&mut self) {
        let mut age = i64::try_from(self.rng.between(60, 6 * 3600)).unwrap_or(60) * SECOND;
        if self.has_envelope() {
            age += i64::try_from(self.rng.below(1_000_000)).unwrap_or(0);
        }
        self.plan.envelope.arrival = self.world.options.now - age;
        self.plan.envelope.reverse = self.sender();
        let count = match self.rng.below(100) {
            0..=84 => 1,
            85..=94 => self.rng.between(2, 3),
            95..=98 => self.rng.between(4, 10),
            _ => self.rng.between(11, 50),
        };
        for _ in 0..count {
            let path = self.ordinary_path();
            self.plan.envelope.recipients.push(Recipient::good(path));
        }
        if self.has_envelope() {
            self.ordinary_extras();
        } else if self.rng.chance(200) {
            self.ordinary_style();
        }
    }

    fn ordinary_path(&mut self) -> Vec<u8> {
        let directory = self.directory;
        match self.rng.below(1000) {
            0..=849 => self.good(),
            850..=919 => self.remote(),
            920..=939 => self.relayed(),
            940..=984 => self.rng.pick(&directory.aliases).to_vec(),
            985..=989 => self.rng.pick(&directory.owned_lists).to_vec(),
            990..=993 => self.rng.pick(&directory.bare_lists).to_vec(),
            994..=996 => {
                let path = self.good();
                self.other_case(&path)
            }
            _ => {
                let mut out = Vec::new();
                let number = self.rng.below(1000);
                person(&mut out, &mut self.rng, number);
                out.extend_from_slice(b"@catch.example");
                out
            }
        }
    }

    /// What only an envelope of its own can say.
    fn ordinary_extras(&mut self) {
        let rng = &mut self.rng;
        let envelope = &mut self.plan.envelope;
        if rng.chance(50) {
            envelope.attempts = u32::try_from(rng.between(1, 5)).unwrap_or(1);
            envelope.next_attempt = Some(self.world.options.now - 5 * MINUTE);
        }
        if rng.chance(300) {
            let days = i64::try_from(rng.between(2, 5)).unwrap_or(2);
            envelope.expiry = Some(envelope.arrival + days * DAY);
        }
        if rng.chance(200) {
            envelope.priority = u8::try_from(rng.between(1, 5)).ok();
        }
        envelope.hops = if rng.chance(300) { rng.between(1, 3) } else { 0 };
        if rng.chance(100) {
            envelope.envid = Some(rng.below(1 << 40));
            envelope.ret = u8::try_from(rng.between(1, 2)).ok();
        }
        if rng.chance(500) {
            envelope.body = u8::try_from(rng.between(1, 2)).ok();
        }
        let notify = [FAILURE, FAILURE | DELAY, SUCCESS | FAILURE, SUCCESS];
        for recipient in &mut envelope.recipients {
            if !recipient.path.is_ascii() {
                envelope.body = Some(128 + 2);
            } else if rng.chance(100) {
                recipient.notify = notify.get(rng.place(notify.len())).copied();
                recipient.orcpt = rng.chance(500);
            }
        }
    }

    /// Other ways than X-Original-To and Return-Path to tell the envelope.
    fn ordinary_style(&mut self) {
        let list = &self.plan.envelope.recipients;
        let simple = |path: &[u8]| path.is_ascii() && !path.contains(&b'"');
        if list.len() > 10 || !list.iter().all(|recipient| simple(&recipient.path)) {
            return;
        }
        self.plan.spec.style = match list.len() {
            1 if self.rng.chance(500) => Style::DeliveredTo,
            _ => Style::To,
        };
        let plain = crate::mbox::plain_sender(&self.plan.envelope.reverse).is_some();
        if self.world.options.format == Format::Mbox && plain {
            self.plan.spec.return_path = self.rng.chance(500);
        }
    }
}

/// What the content of an ordinary message is like.
fn spec(world: &World, rng: &mut Rng) -> Spec {
    let size = body_size(rng, world.options.size_mean);
    let crlf = match world.options.format {
        Format::Segment | Format::PostOffice => rng.chance(400),
        Format::Mbox => rng.chance(20),
        Format::Maildir => false,
        Format::Eml => rng.chance(500),
    };
    let charset = match rng.below(100) {
        0..=49 => Charset::Ascii,
        50..=79 => Charset::Utf8,
        80..=87 => Charset::Latin1,
        88..=93 => Charset::Cp1252,
        94..=95 => Charset::Koi8r,
        96..=97 => Charset::Iso2022Jp,
        98 => Charset::Hebrew,
        _ => Charset::Thai,
    };
    let body = match rng.below(100) {
        _ if size > 48_000 => Body::Mixed(rng.between(1, 3)),
        0..=49 => Body::Text,
        50..=54 => Body::Html,
        55..=81 => Body::Alternative,
        82..=93 => Body::Mixed(rng.between(1, 3)),
        94..=97 => Body::Nested(rng.between(2, 4)),
        _ => Body::Embedded(1),
    };
    Spec {
        crlf,
        style: Style::OriginalTo,
        return_path: true,
        received: rng.between(1, 6),
        delivered_to: 0,
        size,
        exact: None,
        charset,
        raw: false,
        body,
        shape: Shape::Whole,
        fields: Vec::new(),
        subject: None,
        date: None,
    }
}

/// Bytes of header section that an ordinary message has, about.
const HEADER_SIZE: f64 = 1_150.0;

/// A size: log-normal (sigma 0.85), and one in 2,500 log-uniform from 64 KiB to 4 MiB. Made by sums
/// and products alone, so that each platform makes the same.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small positive numbers: exact enough, and the same everywhere"
)]
fn body_size(rng: &mut Rng, mean: u32) -> usize {
    let size = if rng.below(2_500) == 0 {
        let doublings = rng.below(6_000) as f64 / 1000.0;
        65_536.0 * exp2(doublings) * f64::from(mean) / f64::from(DEFAULT_SIZE_MEAN)
    } else {
        let sum: u64 = (0..12).map(|_| rng.below(1 << 20)).sum();
        let normal = sum as f64 / 1_048_576.0 - 6.0;
        0.64 * f64::from(mean) * exp2(normal * (0.85 / std::f64::consts::LN_2))
    };
    (size - HEADER_SIZE).max(40.0) as usize
}

/// About 2 to the power of `x`.
fn exp2(x: f64) -> f64 {
    let whole = x.floor();
    let part = x - whole;
    let mut out = 1.0 + part * (0.656_5 + 0.343_5 * part);
    let mut left = whole;
    while left >= 1.0 {
        out *= 2.0;
        left -= 1.0;
    }
    while left <= -1.0 {
        out *= 0.5;
        left += 1.0;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_mean_that_was_asked_for() {
        let mut rng = Rng::new(1, 1);
        let mut sizes: Vec<usize> = (0..100_000).map(|_| body_size(&mut rng, 5_200)).collect();
        sizes.sort_unstable();
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((3_700..4_700).contains(&mean), "{mean}");
        let median = sizes[sizes.len() / 2];
        assert!((2_000..2_600).contains(&median), "{median}");
        assert!(*sizes.last().unwrap() > 500_000);
    }

    #[test]
    fn powers_of_two_are_near_enough() {
        for x in [-3.0, -0.5, 0.0, 0.5, 1.0, 2.25, 9.9] {
            assert!((exp2(x) / f64::powf(2.0, x) - 1.0).abs() < 0.01, "{x}");
        }
    }
}
