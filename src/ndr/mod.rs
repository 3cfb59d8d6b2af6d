//! Non-delivery reports: which report is due to whom (here), and its text (`render`).
//!
//! A report is a multipart/report (RFC 6522) of three parts: words for people, a delivery-status
//! (RFC 3464) for programs, and what comes back of the message. One report covers all failed
//! recipients of a message that are reported to the same address. Not here: whether a failure may
//! be reported at all (`decide`), the report's own envelope, and where it is written.
//!
//! Invariants: the same input gives the same bytes (time and name come from outside); every failed
//! recipient that is to be reported is in exactly one report; nothing that was read from a message
//! or a directory can begin a line of a report, but for the third part, which no boundary can be
//! forged in. Making a report can't fail. It takes any bytes anywhere: what isn't printable ASCII
//! is escaped, what is too long is cut.

mod encode;
mod mta;
mod render;
mod returned;
mod subject;
#[cfg(test)]
mod tests;

pub use mta::ReportingMta;
pub use render::render;

use crate::decide::{Disposition, Outcome};
use crate::mail::content::Content;
use crate::mail::envelope::{Envelope, Recipient};
use crate::mail::header::HeaderFacts;
use smallvec::SmallVec;

/// The message that a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Returned<'c, 'a> {
    /// Its envelope.
    pub envelope: &'c Envelope<'a>,
    /// The recipients of its envelope; the ordinals of dispositions point into them.
    pub recipients: &'c [Recipient<'a>],
    /// Its content.
    pub content: Content<'a>,
    /// The value of its Subject field.
    pub subject: Option<&'a [u8]>,
    /// Length of its header section, as [`HeaderFacts`] have it.
    pub header_len: usize,
    /// Its stable id: the report's Message-ID and boundary are made from it.
    pub key: u64,
    /// Attempts made, this one included.
    pub attempts: u32,
}

impl<'c, 'a> Returned<'c, 'a> {
    /// A message whose header section hasn't been read: it is read here. The last pair is its id,
    /// and the attempts made.
    pub fn read(
        envelope: &'c Envelope<'a>,
        recipients: &'c [Recipient<'a>],
        content: Content<'a>,
        (key, attempts): (u64, u32),
    ) -> Self {
        let HeaderFacts { subject, len: header_len, .. } = HeaderFacts::read(content.raw());
        Self { envelope, recipients, content, subject, header_len, key, attempts }
    }
}

/// Whom reports are due to: each `report_to` of the failed dispositions once, in order of first
/// appearance. Addresses are told apart by their bytes.
///
/// Takes time in proportion to dispositions x addressees; of those there is one, plus one for each
/// list with an owner.
pub fn addressees<'v, 'a>(dispositions: &'v [Disposition<'a>]) -> Addressees<'v, 'a> {
    Addressees { rest: dispositions.iter(), seen: SmallVec::new() }
}

/// Iterator of [`addressees`].
#[derive(Clone, Debug)]
pub struct Addressees<'v, 'a> {
    rest: std::slice::Iter<'v, Disposition<'a>>,
    seen: SmallVec<[&'a [u8]; 4]>,
}

impl<'a> Iterator for Addressees<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        for disposition in self.rest.by_ref() {
            let to = disposition.report_to;
            // The latest first: neighbours nearly always go to the same address.
            if disposition.outcome == Outcome::Failed && !self.seen.iter().rev().any(|s| *s == to) {
                self.seen.push(to);
                return Some(to);
            }
        }
        None
    }
}

/// The dispositions that the report for `to` covers, in their order.
pub fn reported<'v, 'a>(
    dispositions: &'v [Disposition<'a>],
    to: &'v [u8],
) -> impl Iterator<Item = &'v Disposition<'a>> + Clone {
    dispositions.iter().filter(move |d| d.outcome == Outcome::Failed && d.report_to == to)
}
