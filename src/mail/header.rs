//! Header fields of RFC 5322, read as slices, in one pass over the header section.
//!
//! Only what routing and reports need is read ([`HeaderFacts`]); no other field can decide a
//! message's fate. A line that isn't a field is passed over. Nothing is decoded.

use crate::limits;
use memchr::memchr;
use wide::u8x64;

/// A header field: its name, and its value with its folding, without the last line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field's name, as it is written.
    pub name: &'a [u8],
    /// All behind the colon, continuation lines included.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Whether this is the field `name`; case doesn't count.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value without white space round it.
    pub fn trimmed(&self) -> &'a [u8] {
        self.value.trim_ascii()
    }
}

/// The fields of a header section, in order; ends at the empty line, or at the end of the content.
///
/// No more than [`limits::HEADER_BYTES_MAX`] bytes are looked at, and whether the empty line is
/// behind them.
pub fn fields(content: &[u8]) -> Fields<'_> {
    let end = limits::HEADER_BYTES_MAX + b"\r\n".len();
    let content = content.get(..end).unwrap_or(content);
    Fields { content, at: 0, block: 0, line_feeds: line_feeds(content) }
}

/// Iterator of [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    content: &'a [u8],
    at: usize,
    /// Where the block begins that `line_feeds` are of.
    block: usize,
    /// The block's line feeds that aren't passed yet, a bit each.
    line_feeds: u64,
}

/// Bytes that are looked at at once: lines are short, and a search for the end of each costs more
/// than what it looks at.
pub(crate) const BLOCK: usize = 64;

/// The first [`BLOCK`] bytes; where there are fewer, `padding` behind them.
pub(crate) fn block(bytes: &[u8], padding: u8) -> u8x64 {
    u8x64::new(bytes.first_chunk::<BLOCK>().copied().unwrap_or_else(|| {
        let mut block = [padding; BLOCK];
        block.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        block
    }))
}

/// The line feeds of the first [`BLOCK`] bytes, a bit each.
fn line_feeds(bytes: &[u8]) -> u64 {
    block(bytes, 0).simd_eq(u8x64::splat(b'\n')).to_bitmask()
}

impl Fields<'_> {
    /// Where the next field begins; after the last one: where the empty line or the end is.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Behind the line that begins where the last one ended.
    fn line_end(&mut self) -> usize {
        while self.line_feeds == 0 {
            self.block += BLOCK;
            match self.content.get(self.block..) {
                Some(rest) if !rest.is_empty() => self.line_feeds = line_feeds(rest),
                _ => return self.content.len(),
            }
        }
        let bit = self.line_feeds.trailing_zeros() as usize;
        self.line_feeds &= self.line_feeds - 1;
        self.block + bit + 1
    }
}

impl<'a> Fields<'a> {
    /// The next line with its continuation lines: a field, if it has a name.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if matches!(self.content.get(start..)?, [] | [b'\n', ..] | [b'\r', b'\n', ..]) {
            return None;
        }
        let mut end = self.line_end();
        while matches!(self.content.get(end), Some(b' ' | b'\t')) {
            end = self.line_end();
        }
        self.at = end;
        self.content.get(start..end).map(strip_line_end)
    }
}

impl<'a> Field<'a> {
    /// Reads a line; none where it has no name.
    fn read(line: &'a [u8]) -> Option<Self> {
        let colon = memchr(b':', line)?;
        let mut name = line.get(..colon)?;
        // RFC 5322, 4.5: spaces and tabs, and no line end.
        while let [before @ .., b' ' | b'\t'] = name {
            name = before;
        }
        let is_name = !name.is_empty() && name.iter().all(|&b| b > b' ' && b != 127);
        if is_name { Some(Self { name, value: line.get(colon + 1..)? }) } else { None }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            if let Some(field) = Field::read(self.next_line()?) {
                return Some(field);
            }
        }
    }
}

/// Takes one LF or CRLF off the end.
pub fn strip_line_end(line: &[u8]) -> &[u8] {
    match line {
        [inner @ .., b'\r', b'\n'] | [inner @ .., b'\n'] => inner,
        _ => line,
    }
}

/// Length of the header section of a content, without the empty line behind it; more than
/// [`limits::HEADER_BYTES_MAX`] where it is longer than that, by whatever.
pub fn section_len(content: &[u8]) -> usize {
    let mut fields = fields(content);
    while fields.next_line().is_some() {}
    fields.position()
}

/// Where a forward-path was found in a header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientField {
    /// X-Original-To: the address as it was before aliases (Postfix).
    XOriginalTo,
    /// Delivered-To: the address it was delivered to.
    DeliveredTo,
    /// To, Cc and Bcc.
    Destination,
}

/// What routing and a report need of a header section, from one pass over it.
#[derive(Clone, Debug, Default)]
pub struct HeaderFacts<'a> {
    /// The topmost Return-Path field.
    pub return_path: Option<&'a [u8]>,
    /// Received and Delivered-To fields: hops that the message has made.
    pub hops: u32,
    /// The topmost Received field, which has the time of arrival behind its last `;`.
    pub received: Option<&'a [u8]>,
    /// The Date field.
    pub date: Option<&'a [u8]>,
    /// The topmost Content-Type is `multipart/report`: the message is itself a report (RFC 6522).
    pub is_report: bool,
    /// The topmost Subject field.
    pub subject: Option<&'a [u8]>,
    /// Length of the section, without the empty line behind it.
    pub len: usize,
    /// The fields that may name recipients, in order; for Delivered-To the topmost alone.
    pub recipients: Vec<(RecipientField, &'a [u8])>,
    /// The section is longer than [`limits::HEADER_BYTES_MAX`]: these are the facts of its
    /// beginning.
    pub is_cut: bool,
    /// Marker of an injected fault, where the feature is on.
    pub fault: Option<&'a [u8]>,
}

impl<'a> HeaderFacts<'a> {
    /// Reads them.
    pub fn read(content: &'a [u8]) -> Self {
        Self::read_into(Vec::new(), content)
    }

    /// None but whether the section is too long, for those who have an envelope: nothing is read of
    /// a content that isn't longer itself.
    pub fn unread(content: &[u8]) -> Self {
        let is_cut = content.len() > limits::HEADER_BYTES_MAX
            && section_len(content) > limits::HEADER_BYTES_MAX;
        Self { is_cut, ..Self::default() }
    }

    /// Reads them, into the memory of a list that is used again.
    pub fn read_into(mut recipients: Vec<(RecipientField, &'a [u8])>, content: &'a [u8]) -> Self {
        recipients.clear();
        let mut facts = Self { recipients, ..Self::default() };
        let mut content_type_seen = false;
        let mut fields = fields(content);
        while let Some(line) = fields.next_line() {
            // Most fields are told apart by their first two bytes alone.
            let [first, second, ..] = *line else { continue };
            match [first | 0x20, second | 0x20] {
                [b'r', b'e'] => {
                    if let Some(value) = value_of(line, b"Received") {
                        facts.hops = facts.hops.saturating_add(1);
                        facts.received = facts.received.or(Some(value));
                    } else if let Some(value) = value_of(line, b"Return-Path") {
                        facts.return_path = facts.return_path.or(Some(value.trim_ascii()));
                    }
                }
                [b'd', b'e' | b'a'] => {
                    if let Some(value) = value_of(line, b"Delivered-To") {
                        facts.delivered_to(value.trim_ascii());
                    } else if let Some(value) = value_of(line, b"Date") {
                        facts.date = facts.date.or(Some(value));
                    }
                }
                [b't', b'o'] => facts.destination(value_of(line, b"To")),
                [b'b', b'c'] => facts.destination(value_of(line, b"Bcc")),
                [b'c', b'c'] => facts.destination(value_of(line, b"Cc")),
                [b'c', b'o'] => {
                    if let Some(value) =
                        value_of(line, b"Content-Type").filter(|_| !content_type_seen)
                    {
                        content_type_seen = true;
                        facts.is_report = is_report(value.trim_ascii());
                    }
                }
                [b's', b'u'] => {
                    facts.subject = facts.subject.or_else(|| value_of(line, b"Subject"));
                }
                [b'x', b'-'] => {
                    if let Some(value) = value_of(line, b"X-Original-To") {
                        facts.recipients.push((RecipientField::XOriginalTo, value.trim_ascii()));
                    } else if cfg!(feature = "fault-injection") {
                        facts.fault = value_of(line, b"X-Inqueue-Fault")
                            .map(<[u8]>::trim_ascii)
                            .or(facts.fault);
                    }
                }
                _ => {}
            }
        }
        facts.len = fields.position();
        facts.is_cut = facts.len > limits::HEADER_BYTES_MAX;
        facts
    }

    fn delivered_to(&mut self, value: &'a [u8]) {
        self.hops = self.hops.saturating_add(1);
        if !self.recipients.iter().any(|(kind, _)| *kind == RecipientField::DeliveredTo) {
            self.recipients.push((RecipientField::DeliveredTo, value));
        }
    }

    fn destination(&mut self, value: Option<&'a [u8]>) {
        self.recipients.extend(value.map(|value| (RecipientField::Destination, value)));
    }
}

/// The value of a line, if it is the field `name`: nothing but white space stands before the colon.
fn value_of<'a, const LEN: usize>(line: &'a [u8], name: &[u8; LEN]) -> Option<&'a [u8]> {
    let (start, mut rest) = line.split_first_chunk::<LEN>()?;
    // Of a letter one bit doesn't count. All bytes are looked at, without a branch for each.
    let differs = start.iter().zip(name).fold(0, |differs, (byte, wanted)| {
        let counts = if wanted.is_ascii_alphabetic() { !0x20 } else { 0xFF };
        differs | (byte ^ wanted) & counts
    });
    if differs != 0 {
        return None;
    }
    while let [b' ' | b'\t', behind @ ..] = rest {
        rest = behind;
    }
    rest.strip_prefix(b":")
}

fn is_report(content_type: &[u8]) -> bool {
    const REPORT: &[u8] = b"multipart/report";
    content_type.get(..REPORT.len()).is_some_and(|start| start.eq_ignore_ascii_case(REPORT))
        && !content_type.get(REPORT.len()).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_slices_with_their_folding() {
        let content = b"Subject: a\r\n b\r\nno field here\r\nTo : x@y\r\n\r\nBody: z\r\n";
        let got: Vec<_> = fields(content).map(|f| (f.name, f.value)).collect();
        assert_eq!(got, [(&b"Subject"[..], &b" a\r\n b"[..]), (b"To", b" x@y")]);
        assert_eq!(section_len(content), 41);
        assert_eq!(section_len(b"A: b"), 4);
        assert_eq!(section_len(b""), 0);
        assert_eq!(section_len(b"\nbody"), 0);
    }

    #[test]
    fn a_section_is_cut_from_one_byte_past_the_limit_on() {
        let max = limits::HEADER_BYTES_MAX;
        let facts = |len: usize, line_end: &[u8], behind: &[u8]| {
            let padding = len - b"Subject: To: a@b".len() - 2 * line_end.len();
            let padding = b"x".repeat(padding);
            let pieces = [b"Subject: ", &padding[..], line_end, b"To: a@b", line_end, behind];
            let content = pieces.concat();
            let facts = HeaderFacts::read(&content);
            assert_eq!(HeaderFacts::unread(&content).is_cut, facts.is_cut);
            (facts.recipients.len(), facts.is_cut)
        };
        for (line_end, behind) in [
            (&b"\n"[..], &b""[..]),
            (b"\n", b"\n"),
            (b"\n", b"\nbody\n"),
            (b"\r\n", b"\r\nbody\r\n"),
            (b"\r\n", b"\r\n"),
            (b"", b""),
        ] {
            assert_eq!(facts(max - 1, line_end, behind), (line_end.len().min(1), false));
            assert_eq!(facts(max, line_end, behind), (line_end.len().min(1), false));
            assert!(facts(max + 1, line_end, behind).1, "{behind:?}");
            assert!(facts(max + 100, line_end, behind).1, "{behind:?}");
        }
        assert!(facts(max, b"\n", b" folded\n\n").1);
        assert!(facts(max, b"\n", b"\rno line end\n\n").1);
        // What lies behind isn't looked at.
        assert_eq!(facts(max + 100, b"\n", b"\n"), (0, true));
    }

    #[test]
    fn facts_are_those_that_routing_and_reports_need() {
        let content = b"Subject : 1\nSUBJECT: 2\n\
            Return-Path: <a@b>\nReturn-Path: <x@y>\nReceived: 1; Fri\nRECEIVED: 2\n\
            Delivered-To: one@x\nDelivered-To: two@x\nX-Original-To: orig@x\nTo: to@x\ncc: cc@x\n\
            Content-Type: Multipart/Report; report-type=x\n\
             Content-Type: text/plain\n\nReceived: 3\n";
        let facts = HeaderFacts::read(content);
        assert_eq!(facts.return_path, Some(&b"<a@b>"[..]));
        assert_eq!(facts.hops, 4);
        assert_eq!(facts.subject, Some(&b" 1"[..]));
        assert_eq!(facts.len, section_len(content));
        assert_eq!(facts.received, Some(&b" 1; Fri"[..]));
        assert!(facts.is_report);
        let names: Vec<_> = facts.recipients.iter().map(|(_, value)| value.trim_ascii()).collect();
        assert_eq!(names, [&b"one@x"[..], b"orig@x", b"to@x", b"cc@x"]);
        assert!(!HeaderFacts::read(b"Content-Type: multipart/reporting\n\n").is_report);
        for odd in [&b"To \n : a@b\n\n"[..], b"To\x0c: a@b\n\n", b"To\r: a@b\n\n"] {
            assert_eq!(fields(odd).count(), 0);
            assert!(HeaderFacts::read(odd).recipients.is_empty());
        }
    }
}
