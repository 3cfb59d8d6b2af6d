//! What is made where a part of a message is lost: a MAI that says so, a P1 from a MAI, a record
//! for a MAI that none points to, an attachment that says so.
//!
//! Not here: when. Invariant: nothing is made up: what isn't known is left out.

use crate::mail::date::Time;
use crate::queue::postoffice::bag::{HexName, NewRecord, RECORD_BYTES, Record};
use crate::queue::postoffice::mai::{self, Mai};
use crate::queue::postoffice::p1::{self, P1, P1Recipient};

/// The text of an attachment that is missing.
pub(super) const ATT: &[u8] =
    b"This attachment was missing when its post office was salvaged. Ask the sender for it.\r\n";
/// Where a record has its date.
const RECORD_DATE: std::ops::Range<usize> = 56..66;

/// A MAI in the place of one that is missing or can't be read. `left` is what can be read of it.
pub(super) fn mai(
    name: HexName,
    counter: u16,
    left: Option<&Mai<'_>>,
    p1: Option<&P1<'_>>,
    record: Option<Record<'_>>,
) -> Vec<u8> {
    let state = if left.is_some() { "damaged" } else { "missing or damaged" };
    let note = format!(
        "The file of this message, {}.MAI, was {state} when its post office was salvaged.\r\n\
         What could be read of it follows; what was left of the file is in quarantine.\r\n\r\n",
        String::from_utf8_lossy(&name)
    );
    let mut stub = left.cloned().unwrap_or_default();
    stub.counter = counter;
    stub.hop_limit = stub.hop_limit.or(Some(mai::HOPS_USUAL));
    stub.attachments.clear();
    stub.is_message = false;
    stub.text.insert(0, note.as_bytes());
    if left.is_none() {
        let of_record = record.map(Record::sender).filter(|sender| !sender.is_empty());
        stub.from = p1.and_then(|p1| p1.from).filter(|from| !from.is_empty()).or(of_record);
        stub.subject = record.map(Record::subject).filter(|subject| !subject.is_empty());
        stub.posted = record.and_then(Record::date);
        for recipient in p1.iter().flat_map(|p1| &p1.recipients) {
            let list = if recipient.is_cc { &mut stub.cc } else { &mut stub.to };
            list.push(recipient.address);
        }
    }
    let mut out = Vec::new();
    stub.write(&mut out);
    out
}

/// A P1 for a MAI: its To and Cc are the recipients.
pub(super) fn p1(name: HexName, mai: &Mai<'_>, arrival: Option<Time>, now: Time) -> Vec<u8> {
    let recipient = |address, is_cc| P1Recipient { address, is_cc, ..P1Recipient::default() };
    let to = mai.to.iter().map(|address| recipient(*address, false));
    let cc = mai.cc.iter().map(|address| recipient(*address, true));
    let made = P1 {
        mai: &name,
        arrival,
        // Else mail that waited for its salvage would be too old at once.
        expiry: Some(now.plus_s(p1::LIFE_S)),
        from: mai.from,
        recipients: to.chain(cc).collect(),
        ..P1::default()
    };
    let mut out = Vec::new();
    made.write(&mut out);
    out
}

/// The same P1 with all that isn't done yet waiting in INQUEUE3; none where nothing waits.
pub(super) fn p1_again(name: HexName, bytes: &[u8], now: Time) -> Option<Vec<u8>> {
    let mut p1 = P1::read(bytes).ok()?;
    if p1.recipients.iter().all(|recipient| recipient.done) {
        return None;
    }
    for recipient in p1.recipients.iter_mut().filter(|recipient| !recipient.done) {
        recipient.bag = None;
    }
    p1.mai = &name;
    p1.expiry = p1.expiry.max(Some(now.plus_s(p1::LIFE_S)));
    let mut out = Vec::new();
    p1.write(&mut out);
    Some(out)
}

/// A record for a MAI.
pub(super) fn record(name: HexName, mai: &Mai<'_>, len: usize) -> [u8; RECORD_BYTES] {
    let from = mai.from.unwrap_or_default();
    let mut record = NewRecord {
        sender: from.rsplit(|byte| *byte == b'/').next().unwrap_or_default(),
        subject: mai.subject.unwrap_or_default(),
        date: mai.posted.unwrap_or(Time(0)),
        mai: name,
        size: u32::try_from(len).unwrap_or(u32::MAX),
    }
    .bytes();
    if mai.posted.is_none()
        && let Some(date) = record.get_mut(RECORD_DATE)
    {
        date.fill(0);
    }
    record
}
