//! The text of a report: header, words for people, delivery-status; the returned part is
//! `returned`'s.
//!
//! Not here: RFC 3464's fields for delivered or delayed mail, as this writes no such reports.
//! Invariants: appends to `out` and touches nothing else; every line of ours has at most
//! `limits::REPORT_LINE_BYTES_MAX` bytes; line ends are those of the returned message. All text
//! from outside passes through `encode`, or is a valid mailbox.

use super::encode::{Plain, escape, is_printable, xtext};
use super::returned::{Back, Boundary};
use super::{Context, Returned, addressees, reported, subject};
use crate::decide::Disposition;
use crate::limits;
use crate::mail::address::Mailbox;
use crate::mail::envelope::write_hex;
use crate::mail::status::{EnhancedStatus, original_text};
use memchr::memchr;
use smallvec::SmallVec;

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
    context: &Context<'_>,
    returned: &Returned<'_, '_>,
    to: &[u8],
    dispositions: &[Disposition<'_>],
) {
    let back = Back::of(returned);
    let mut report = Report {
        out,
        eol: line_end(returned.content.raw()),
        host: host(context.hostname),
        boundary: back.boundary(returned.key),
        context,
        returned,
    };
    report.header(to, addressees(dispositions).position(|seen| seen == to), &back);
    report.explanation(reported(dispositions, to));
    report.delivery_status(reported(dispositions, to));
    report.returned_part(&back);
}

/// The line end of the first line; LF where there is none.
fn line_end(content: &[u8]) -> &'static [u8] {
    let first = memchr(b'\n', content).and_then(|at| content.get(..at)).unwrap_or_default();
    if first.ends_with(b"\r") { b"\r\n" } else { b"\n" }
}

/// The name as it can stand in every field.
fn host(hostname: &str) -> &str {
    let mut probe: SmallVec<[u8; 512]> = SmallVec::from_slice(b"x@");
    probe.extend_from_slice(hostname.as_bytes());
    let is_domain = Mailbox::parse(&probe).is_ok_and(|m| m.domain == hostname.as_bytes());
    if is_domain && hostname.is_ascii() { hostname } else { "localhost" }
}

/// A report in the making.
struct Report<'r, 'c, 'a> {
    out: &'r mut Vec<u8>,
    eol: &'static [u8],
    host: &'r str,
    boundary: Boundary,
    context: &'r Context<'r>,
    returned: &'r Returned<'c, 'a>,
}

impl Report<'_, '_, '_> {
    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn end_line(&mut self) {
        self.out.extend_from_slice(self.eol);
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
        let host = self.host;
        self.line(&["From: Mail Delivery System <MAILER-DAEMON@", host, ">"]);
        self.to(to);
        subject::write(self.out, self.returned.content.raw(), self.eol);
        self.push("Date: ");
        self.context.now.write_rfc5322(self.out);
        self.end_line();
        self.push("Message-ID: <");
        write_hex(self.returned.key, 16, self.out);
        self.push(".");
        self.number(self.returned.attempts);
        // The first, usually only one has no number, so that ids stay when a list gains an owner.
        if let Some(index @ 1..) = index {
            self.push(".");
            self.push(itoa::Buffer::new().format(index.saturating_add(1)));
        }
        self.line(&[".ndr@", host, ">"]);
        self.line(&["Auto-Submitted: auto-replied"]);
        self.line(&["MIME-Version: 1.0"]);
        self.line(&["Content-Type: multipart/report; report-type=delivery-status;"]);
        self.push(" boundary=\"");
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
                self.out.extend_from_slice(if is_bare { self.host.as_bytes() } else { domain });
                self.end_line();
            }
            // A field that every reader takes, and that claims nothing (RFC 5322, appendix A.1.3).
            Err(_) => self.line(&["To: undisclosed-recipients:;"]),
        }
    }

    fn part(&mut self, content_type: &str) {
        self.end_line();
        self.push("--");
        self.out.extend_from_slice(&self.boundary);
        self.end_line();
        self.line(&["Content-Type: ", content_type]);
    }

    /// The first part: words for people.
    fn explanation<'v, 'd: 'v>(&mut self, failed: impl Iterator<Item = &'v Disposition<'d>>) {
        self.part("text/plain; charset=us-ascii");
        self.end_line();
        self.line(&["This is the mail system at ", self.host, "."]);
        self.end_line();
        self.line(&["The message that comes back with this report could not be delivered to"]);
        self.line(&["the addresses below. No further attempt will be made for them."]);
        self.end_line();
        self.line(&["For help, write to postmaster@", self.host]);
        self.line(&["and include this report."]);
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
        self.status(disposition.status);
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

    fn status(&mut self, status: EnhancedStatus) {
        self.number(u32::from(status.class));
        self.push(".");
        self.number(u32::from(status.subject));
        self.push(".");
        self.number(u32::from(status.detail));
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
        self.part("message/delivery-status");
        self.end_line();
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
        self.line(&["Reporting-MTA: dns; ", self.host]);
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
        self.line(&["Action: failed"]);
        self.push("Status: ");
        self.status(disposition.status);
        self.end_line();
        if disposition.number == 0 {
            self.push("Diagnostic-Code: x-inqueue; ");
            self.push(disposition.status.text());
        } else {
            self.push("Diagnostic-Code: x-msmail; ");
            self.original_number(disposition);
        }
        self.detail(disposition);
        self.end_line();
        self.push("Last-Attempt-Date: ");
        self.context.now.write_rfc5322(self.out);
        self.end_line();
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
        self.part(back.content_type());
        self.line(&["Content-Transfer-Encoding: ", back.encoding.name()]);
        self.end_line();
        back.write(self.out, self.eol);
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
