//! The Reporting-MTA (RFC 3464, 2.2.2): who reports, and when; and the words that are the same in
//! all its reports.
//!
//! Rendered once for a run, with either line end: what differs from report to report is written
//! between them (`render`). Not here: anything of a message. Invariant: every line has at most
//! `limits::REPORT_LINE_BYTES_MAX` bytes.

use crate::mail::address::Mailbox;
use crate::mail::date::Time;

/// Who reports, and when.
#[derive(Clone, Debug)]
pub struct ReportingMta {
    lf: Words,
    crlf: Words,
}

/// What is the same in all reports of a run that have one line end.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) eol: &'static str,
    /// The name as it can stand in every field.
    pub(super) host: String,
    /// The From field, which a report begins with.
    pub(super) from: String,
    /// From the Date to the Message-ID's angle bracket.
    pub(super) date: String,
    /// From the Message-ID's domain to the boundary's quote.
    pub(super) labels: String,
    /// Of the first part, behind its boundary.
    pub(super) explanation: String,
    /// Of the second part, behind its boundary.
    pub(super) status: String,
    /// The field of the Reporting-MTA.
    pub(super) mta: String,
    /// What stands between a recipient's address and its status.
    pub(super) action: String,
    /// What a recipient's fields end with.
    pub(super) last_attempt: String,
}

impl ReportingMta {
    /// `hostname` is the Reporting-MTA: what isn't an ASCII domain or address literal is written as
    /// `localhost`. `now` is the run's time: the report's Date and Last-Attempt-Date.
    pub fn new(hostname: &str, now: Time) -> Self {
        let host = host(hostname);
        Self { lf: Words::new(host, now, "\n"), crlf: Words::new(host, now, "\r\n") }
    }

    /// The words for reports with a line end.
    pub(super) const fn words(&self, is_crlf: bool) -> &Words {
        if is_crlf { &self.crlf } else { &self.lf }
    }
}

impl Words {
    fn new(host: &str, now: Time, eol: &'static str) -> Self {
        let mut date = Vec::new();
        now.write_rfc5322(&mut date);
        let date = String::from_utf8_lossy(&date);
        let lines = |lines: &[&str]| lines.join(eol);
        Self {
            eol,
            host: host.to_owned(),
            from: format!("From: Mail Delivery System <MAILER-DAEMON@{host}>{eol}"),
            date: format!("Date: {date}{eol}Message-ID: <"),
            labels: lines(&[
                &format!(".ndr@{host}>"),
                "Auto-Submitted: auto-replied",
                "MIME-Version: 1.0",
                "Content-Type: multipart/report; report-type=delivery-status;",
                " boundary=\"",
            ]),
            explanation: lines(&[
                "Content-Type: text/plain; charset=us-ascii",
                "",
                &format!("This is the mail system at {host}."),
                "",
                "The message that comes back with this report could not be delivered to",
                "the addresses below. No further attempt will be made for them.",
                "",
                &format!("For help, write to postmaster@{host}"),
                "and include this report.",
                "",
            ]),
            status: lines(&["Content-Type: message/delivery-status", "", ""]),
            mta: format!("Reporting-MTA: dns; {host}{eol}"),
            action: format!("Action: failed{eol}Status: "),
            last_attempt: format!("{eol}Last-Attempt-Date: {date}{eol}"),
        }
    }
}

/// The name as it can stand in every field.
fn host(hostname: &str) -> &str {
    let probe = format!("x@{hostname}");
    let is_domain = Mailbox::parse(probe.as_bytes()).is_ok_and(|m| m.domain == hostname.as_bytes());
    if is_domain && hostname.is_ascii() { hostname } else { "localhost" }
}
