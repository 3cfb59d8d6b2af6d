//! The text of a report: header, words for people, delivery-status. What is the same in all reports
//! is `mta`'s, the returned part `returned`'s.
//!
//! Not here: RFC 3464's fields for delivered or delayed mail, as this writes no such reports.
//! Invariants: appends to `out` and touches nothing else; every line of ours has at most
//! `limits::REPORT_LINE_BYTES_MAX` bytes; line ends are those of the returned message. All text
//! from outside passes through `encode`, or is a valid mailbox.

use super::encode::{Plain, escape, is_printable, xtext};
use super::mta::Words;
use super::returned::{Back, Boundary};
use super::{ReportingMta, Returned, addressees, reported, subject};
use crate::decide::Disposition;
use crate::limits;
use crate::mail::address::Mailbox;
use crate::mail::envelope::write_hex;
use crate::mail::status::original_text;
use memchr::memchr;

/// Of an address, a detail or an ENVID, so much is written in a line (and up to 16 bytes more).
const VALUE_BYTES_MAX: usize = 880;
/// Of an ORCPT's address type.
const TYPE_BYTES_MAX: usize = 40;

const _: () = assert!(VALUE_BYTES_MAX + 16 + TYPE_BYTES_MAX + 40 < limits::REPORT_LINE_BYTES_MAX);

/// Appends the content (header section and body) of the report for `to` about the dispositions that
/// are to be reported to it.
///
/// `to` is one of [`addressees`]; for another address the report names nobody.
pub fn render(
    out: &mut Vec<u8>,
    mta: &ReportingMta,
    returned: &Returned<'_, '_>,
    to: &[u8],
    dispositions: &[Disposition<'_>],
) {
    let back = Back::of(returned);
    let boundary = back.boundary(returned.key);
    let words = mta.words(ends_in_crlf(returned.content.raw()));
    let mut report = Report { out, words, boundary, returned };
    report.header(to, addressees(dispositions).position(|seen| seen == to), &back);
    report.explanation(reported(dispositions, to));
    report.delivery_status(reported(dispositions, to));
    report.returned_part(&back);
}

/// Whether the first line ends in CRLF.
fn ends_in_crlf(content: &[u8]) -> bool {
    memchr(b'\n', content)
        .and_then(|at| content.get(..at))
        .is_some_and(|first| first.ends_with(b"\r"))
}

/// A report in the making.
struct Report<'r, 'c, 'a> {
    out: &'r mut Vec<u8>,
    words: &'r Words,
    boundary: Boundary,
    returned: &'r Returned<'c, 'a>,
}

impl Report<'_, '_, '_> {
    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn end_line(&mut self) {
        self.push(self.words.eol);
    }

    fn line(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.push(piece);
        }
        self.end_line();
    }

    /// Text from outside, for people.
    fn shown(&mut self, bytes: &[u8]) {
        escape(self.out, bytes, Plain::Printable, VALUE_BYTES_MAX);
    }

    fn number(&mut self, number: u32) {
        self.push(itoa::Buffer::new().format(number));
    }

    /// The header section (RFC 5322, RFC 6522, RFC 3834) and the empty line.
    fn header(&mut self, to: &[u8], index: Option<usize>, back: &Back<'_>) {
        self.push(&self.words.from);
        self.to(to);
        subject::write(self.out, self.returned, self.words.eol);
        self.push(&self.words.date);
        write_hex(self.returned.key, 16, self.out);
        self.push(".");
        self.number(self.returned.attempts);
        // The first, usually only one has no number, so that ids stay when a list gains an owner.
        if let Some(index @ 1..) = index {
            self.push(".");
            self.push(itoa::Buffer::new().format(index.saturating_add(1)));
        }
        self.push(&self.words.labels);
        self.out.extend_from_slice(&self.boundary);
        self.line(&["\""]);
        if let Some(encoding) = back.encoding.of_multipart() {
            self.line(&["Content-Transfer-Encoding: ", encoding.name()]);
        }
        self.end_line();
        self.line(&["This is a report in parts, in the MIME format."]);
    }

    fn to(&mut self, to: &[u8]) {
        match Mailbox::parse(to) {
            Ok(Mailbox { local_part, domain }) => {
                self.push("To: ");
                self.out.extend_from_slice(local_part);
                self.push("@");
                let is_bare = domain.is_empty();
                self.out.extend_from_slice(if is_bare {
                    self.words.host.as_bytes()
                } else {
                    domain
                });
                self.end_line();
            }
            // A field that every reader takes, and that claims nothing (RFC 5322, appendix A.1.3).
            Err(_) => self.line(&["To: undisclosed-recipients:;"]),
        }
    }

    /// The line before a part.
    fn part(&mut self) {
        self.end_line();
        self.push("--");
        self.out.extend_from_slice(&self.boundary);
        self.end_line();
    }

    /// The first part: words for people.
    fn explanation<'v, 'd: 'v>(&mut self, failed: impl Iterator<Item = &'v Disposition<'d>>) {
        self.part();
        self.push(&self.words.explanation);
        for disposition in failed {
            self.end_line();
            self.push("<");
            self.shown(disposition.address);
            self.line(&[">"]);
            self.reasons(disposition);
        }
    }

    fn reasons(&mut self, disposition: &Disposition<'_>) {
        self.push("    ");
        self.push(disposition.status.text());
        self.detail(disposition);
        self.push(" (");
        disposition.status.write(self.out);
        self.line(&[")"]);
        if disposition.number != 0 {
            self.push("    ");
            self.original_number(disposition);
            self.end_line();
        }
        let original = disposition
            .ordinal
            .and_then(|ordinal| self.returned.recipients.get(ordinal as usize))
            .map(|recipient| recipient.forward_path)
            .filter(|path| *path != disposition.address);
        if let Some(path) = original {
            self.push("    expanded from <");
            self.shown(path);
            self.line(&[">"]);
        }
    }

    fn detail(&mut self, disposition: &Disposition<'_>) {
        if !disposition.detail.is_empty() {
            self.push(": ");
            // Beside it stand a status and its text.
            escape(self.out, disposition.detail, Plain::Printable, VALUE_BYTES_MAX / 2);
        }
    }

    /// `[002] Mail was received ...`, as the original system prints it.
    fn original_number(&mut self, disposition: &Disposition<'_>) {
        self.push("[");
        for bound in [100, 10] {
            if disposition.number < bound {
                self.push("0");
            }
        }
        self.number(u32::from(disposition.number));
        self.push("] ");
        match original_text(disposition.number) {
            "" => self.push(disposition.status.text()),
            text => self.push(text),
        }
    }

    /// The second part: a delivery-status (RFC 3464, 2.1).
    fn delivery_status<'v, 'd: 'v>(&mut self, failed: impl Iterator<Item = &'v Disposition<'d>>) {
        self.part();
        self.push(&self.words.status);
        if let Some(envid) = self.returned.envelope.envid {
            self.push("Original-Envelope-Id: ");
            // An id of printable ASCII is given as it is (RFC 3464, 2.2.1), anything else in the
            // form it was sent in.
            if envid.len() <= VALUE_BYTES_MAX && envid.iter().all(u8::is_ascii_graphic) {
                self.out.extend_from_slice(envid);
            } else {
                xtext(self.out, envid, VALUE_BYTES_MAX);
            }
            self.end_line();
        }
        self.push(&self.words.mta);
        if let Some(arrival) = self.returned.envelope.arrival {
            self.push("Arrival-Date: ");
            arrival.write_rfc5322(self.out);
            self.end_line();
        }
        for disposition in failed {
            self.end_line();
            self.recipient_fields(disposition);
        }
    }

    /// The fields of one recipient (RFC 3464, 2.3).
    fn recipient_fields(&mut self, disposition: &Disposition<'_>) {
        let recipient =
            disposition.ordinal.and_then(|at| self.returned.recipients.get(at as usize));
        if let Some(orcpt) = recipient.and_then(|recipient| recipient.orcpt) {
            let (address_type, address) = split_orcpt(orcpt);
            self.push("Original-Recipient: ");
            self.typed_address(address_type, address);
        }
        self.push("Final-Recipient: ");
        self.typed_address("rfc822", disposition.address);
        self.push(&self.words.action);
        disposition.status.write(self.out);
        self.end_line();
        if disposition.number == 0 {
            self.push("Diagnostic-Code: x-inqueue; ");
            self.push(disposition.status.text());
        } else {
            self.push("Diagnostic-Code: x-msmail; ");
            self.original_number(disposition);
        }
        self.detail(disposition);
        self.push(&self.words.last_attempt);
    }

    /// `type; address`: in ASCII as it is, a mail address with other characters as utf-8-addr-xtext
    /// (RFC 6533, 3).
    fn typed_address(&mut self, address_type: &str, address: &[u8]) {
        let is_mail = ["rfc822", "utf-8"].iter().any(|t| t.eq_ignore_ascii_case(address_type));
        let (address_type, plain) = if is_mail && !is_printable(address) {
            ("utf-8", Plain::Qchar)
        } else {
            (address_type, Plain::Printable)
        };
        self.push(address_type);
        self.push("; ");
        escape(self.out, address, plain, VALUE_BYTES_MAX);
        self.end_line();
    }

    /// The third part, and the end.
    fn returned_part(&mut self, back: &Back<'_>) {
        self.part();
        self.line(&["Content-Type: ", back.content_type()]);
        self.line(&["Content-Transfer-Encoding: ", back.encoding.name()]);
        self.end_line();
        back.write(self.out, self.words.eol.as_bytes());
        self.end_line();
        self.push("--");
        self.out.extend_from_slice(&self.boundary);
        self.line(&["--"]);
    }
}

/// `type;address` of an ORCPT (RFC 3461, 4.2). What has no type, or none that is an atom, is of
/// type `unknown`.
fn split_orcpt(orcpt: &[u8]) -> (&str, &[u8]) {
    let split = memchr(b';', orcpt).and_then(|at| Some((orcpt.get(..at)?, orcpt.get(at + 1..)?)));
    let is_atom = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let typed = split.and_then(|(address_type, address)| {
        let is_type =
            (1..=TYPE_BYTES_MAX).contains(&address_type.len()) && address_type.iter().all(is_atom);
        let address_type = std::str::from_utf8(address_type).ok().filter(|_| is_type)?;
        Some((address_type, address.trim_ascii()))
    });
    typed.unwrap_or(("unknown", orcpt))
}
