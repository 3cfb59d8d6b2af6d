//! Messages of a queue as commands look at them: envelope, recipients, and what a run noted in a
//! stream's record.
//!
//! Not here: how they are shown. Nothing is allocated per message; a message whose envelope can't
//! be read is damage.

use inqueue::limits;
use inqueue::mail::envelope::{Envelope, Notify, Recipient};
use inqueue::mail::header::HeaderFacts;
use inqueue::queue::envelope::{self, Read, RecipientOrder};
use inqueue::queue::segment::read::{Notes, RecipientNotes, notes};
use inqueue::queue::segment::reference::Lost;
use inqueue::queue::{Buffers, Damage, DamageKind, Found, Framed, Frames};
use inqueue::queue::{Queue, Source, Span, Visit};

/// A message, with all that is known of it.
#[derive(Debug)]
pub(crate) struct Message<'c, 'a> {
    pub(crate) file: &'a [u8],
    pub(crate) found: Found<'a>,
    pub(crate) envelope: Envelope<'a>,
    pub(crate) recipients: &'c [Recipient<'a>],
    /// Of a segment's record; empty for other formats.
    pub(crate) notes: Notes<'a>,
    /// As many as recipients in a segment, none else; those a report is about come mixed in.
    pub(crate) recipient_notes: &'c [RecipientNotes<'a>],
    /// It is over the budget of a message: `notes` say of what. No run judges it.
    pub(crate) is_too_much: bool,
    /// CRC32C of the content, as its record says, or as reading has computed it.
    pub(crate) checksum: Option<u32>,
}

impl<'c, 'a> Message<'c, 'a> {
    /// Whether the content is another than its record says.
    pub(crate) fn is_altered(&self) -> bool {
        self.checksum.is_some_and(|checksum| checksum != self.found.content.checksum())
    }

    /// Each recipient with what a run noted of it.
    pub(crate) fn recipients(
        &self,
    ) -> impl Iterator<Item = (&'c Recipient<'a>, RecipientNotes<'a>)> + use<'c, 'a> {
        let noted = self.recipient_notes.iter().filter(|notes| !notes.reported).copied();
        let none = std::iter::repeat(RecipientNotes::default());
        self.recipients.iter().zip(noted.chain(none))
    }

    /// The recipients whom this message, a report, is about.
    pub(crate) fn reported(&self) -> impl Iterator<Item = &'c RecipientNotes<'a>> + use<'c, 'a> {
        self.recipient_notes.iter().filter(|notes| notes.reported)
    }
}

/// What stands in a queue.
#[derive(Debug)]
pub(crate) enum Piece<'p, 'c, 'a> {
    Message(&'p Message<'c, 'a>),
    /// Its file; and why it is damage, where a reference leads nowhere.
    Damage(&'p [u8], Damage, Option<&'p Lost>),
}

/// What is wanted of each message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) order: RecipientOrder,
    /// A segment's contents are held against their checksums; what isn't the same is damage.
    pub(crate) compared: bool,
}

/// Gives each message and damaged range of a part, in order.
pub(crate) fn each(
    queue: &Queue,
    part: &Span,
    wanted: Wanted,
    buffers: &mut Buffers,
    take: impl FnMut(Piece<'_, '_, '_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    queue.read(part, buffers, &mut Reader { queue, wanted, take })
}

struct Reader<'q, F> {
    queue: &'q Queue,
    wanted: Wanted,
    take: F,
}

impl<F: FnMut(Piece<'_, '_, '_>) -> anyhow::Result<()>> Visit for Reader<'_, F> {
    type Error = anyhow::Error;

    fn compares_contents(&self) -> bool {
        self.wanted.compared
    }

    fn batch<'a>(&mut self, source: Source<'a>, mut frames: Frames<'a>) -> anyhow::Result<()> {
        let mut recipients = Vec::new();
        let mut recipient_notes = Vec::new();
        while let Some(framed) = frames.next() {
            let found = match framed {
                Framed::Message(found) => found,
                Framed::Damage(damage) => {
                    let lost = self.queue.lost(&source, &damage);
                    (self.take)(Piece::Damage(source.name, damage, lost.as_ref()))?;
                    continue;
                }
            };
            let file = envelope::file_name(&source, &found);
            recipient_notes.clear();
            let (facts, notes) = if source.format.has_envelope() {
                // With more the envelope is damage.
                let notes = notes(found.head, |notes| {
                    if recipient_notes.len() <= 2 * limits::RECIPIENTS_MAX {
                        recipient_notes.push(notes);
                    }
                });
                (HeaderFacts::unread(found.content.raw()), notes)
            } else {
                (HeaderFacts::read(found.content.raw()), Some(Notes::default()))
            };
            let read = envelope::read(&source, &found, &facts, self.wanted.order, &mut recipients);
            let (envelope, too_much) = match read {
                Read::Message(envelope) => (Ok(envelope), None),
                Read::TooMuch(envelope, kind) => (Ok(envelope), Some(kind)),
                Read::Damaged(kind) => (Err(kind), None),
            };
            let read = envelope.and_then(|it| Ok((it, notes.ok_or(DamageKind::Envelope)?)));
            let (envelope, mut notes) = match read {
                Ok(read) => read,
                Err(kind) => {
                    let damage = Damage { offset: found.offset, length: found.length, kind };
                    (self.take)(Piece::Damage(file, damage, None))?;
                    continue;
                }
            };
            notes.reason = notes.reason.or(too_much.map(|kind| kind.text().as_bytes()));
            let (recipients, recipient_notes) = (&recipients, &recipient_notes);
            let checksum = frames.content_checksum();
            (self.take)(Piece::Message(&Message {
                file,
                found,
                envelope,
                recipients,
                notes,
                recipient_notes,
                is_too_much: too_much.is_some(),
                checksum,
            }))?;
        }
        Ok(())
    }
}

/// Appends NOTIFY as RFC 3461, 4.1 writes it.
pub(crate) fn write_notify(out: &mut Vec<u8>, notify: Notify) {
    let words = [
        (Notify::NEVER, "NEVER"),
        (Notify::SUCCESS, "SUCCESS"),
        (Notify::FAILURE, "FAILURE"),
        (Notify::DELAY, "DELAY"),
    ];
    let mut comma = "";
    for (bit, word) in words {
        if notify.0 & bit != 0 {
            out.extend_from_slice(comma.as_bytes());
            out.extend_from_slice(word.as_bytes());
            comma = ",";
        }
    }
}
