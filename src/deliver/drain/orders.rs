//! What the streams of a run say is to be done with each slot of a mailbag.
//!
//! Records are taken by the place that their message had in the queue. Not here: doing it.
//! Invariant: a slot that no record tells of has nothing left to be done, but to be taken out: all
//! its recipients were expanded to nobody, or served already.

use super::DrainError;
use crate::decide::Outcome;
use crate::mail::date::Time;
use crate::mail::envelope::QueueId;
use crate::queue::Framed;
use crate::queue::bytes::FileBytes;
use crate::queue::postoffice::bag::RECORD_BYTES;
use crate::queue::segment::read::{self, RecipientNotes};
use crate::spool::commits::Commit;
use crate::spool::record::outcome_number;
use crate::spool::{SpoolError, Stream, folder};
use std::collections::HashMap;
use std::path::Path;

/// A recipient, as a record has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Its forward-path.
    pub(super) path: Vec<u8>,
    /// Where it is handed to.
    pub(super) route: String,
    /// It goes to another system.
    pub(super) is_relayed: bool,
    /// Which recipient of the queued message it comes from.
    pub(super) ordinal: Option<u32>,
    /// The original system's number of the error.
    pub(super) number: u16,
    /// Enhanced status.
    pub(super) status: String,
}

/// A report about the message.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Whom it goes to.
    pub(super) to: Vec<u8>,
    /// The recipients that it is about.
    pub(super) reported: Vec<Told>,
    /// The report, as RFC 3464 has it.
    pub(super) content: Vec<u8>,
}

/// What stays in the queue of a message.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) recipients: Vec<Told>,
    pub(super) attempts: u32,
    pub(super) next_attempt: Option<Time>,
    pub(super) expiry: Option<Time>,
}

/// What is to be done with one slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// Recipients that the message is delivered or relayed to.
    pub(super) accepted: Vec<Told>,
    /// Reports about it.
    pub(super) reports: Vec<Report>,
    /// Recipients that are tried again.
    pub(super) held: Option<Held>,
    /// It is a dead letter, or quarantined: the stream has all of it.
    pub(super) set_aside: bool,
}

/// Orders by name of the bag and number of the slot.
pub(super) type Orders = HashMap<(Box<[u8]>, u32), Order>;

/// Reads those of a committed part.
pub(super) fn of_part(run: &Path, digits: usize, commit: &Commit) -> Result<Orders, DrainError> {
    let mut orders = Orders::new();
    for stream in Stream::ALL {
        if stream == Stream::Events || commit.files.get(stream).is_none() {
            continue;
        }
        let path = folder::part_path(run, digits, stream, commit.part);
        let (bytes, _) = FileBytes::open(&path, Vec::new()).map_err(SpoolError::read(&path))?;
        let bytes = bytes.bytes();
        for framed in read::frame(bytes, 0..bytes.len() as u64) {
            let altered = || SpoolError::altered(&path, "a record of it is damaged");
            let Framed::Message(found) = framed else { return Err(altered().into()) };
            let mut told = Vec::new();
            let notes = read::notes(found.head, |note| told.push(note)).ok_or_else(altered)?;
            let (name, offset, _) = notes.origin.ok_or_else(altered)?;
            let slot = u32::try_from(offset / RECORD_BYTES as u64).map_err(|_| altered())?;
            let order = orders.entry((name.into(), slot)).or_default();
            take(order, stream, &told, found.head, found.content.raw());
        }
    }
    Ok(orders)
}

fn take(
    order: &mut Order,
    stream: Stream,
    told: &[RecipientNotes<'_>],
    head: &[u8],
    content: &[u8],
) {
    let all = |reported: bool| -> Vec<Told> {
        told.iter().filter(|note| note.reported == reported).map(owned).collect()
    };
    match stream {
        Stream::Accepted => order.accepted.extend(all(false)),
        Stream::Ndr => {
            let to = all(false).into_iter().next().unwrap_or_default().path;
            order.reports.push(Report { to, reported: all(true), content: content.to_vec() });
        }
        Stream::Deferred => {
            let mut recipients = Vec::new();
            let envelope = read::envelope(head, QueueId::Given(b""), &mut recipients).ok();
            order.held = Some(Held {
                recipients: all(false),
                attempts: envelope.as_ref().map_or(0, |envelope| envelope.attempts),
                next_attempt: envelope.as_ref().and_then(|envelope| envelope.next_attempt),
                expiry: envelope.as_ref().and_then(|envelope| envelope.expiry),
            });
        }
        Stream::DeadLetter | Stream::Quarantine => order.set_aside = true,
        Stream::Events => {}
    }
}

fn owned(note: &RecipientNotes<'_>) -> Told {
    Told {
        path: note.forward_path.to_vec(),
        route: String::from_utf8_lossy(note.route).into_owned(),
        is_relayed: note.outcome == outcome_number(Outcome::Relayed),
        ordinal: note.ordinal,
        number: note.number,
        status: String::from_utf8_lossy(note.status).into_owned(),
    }
}
