//! `inqueue show QUEUE ID`: one message: its envelope for people, an empty line, its content as it
//! is; on a terminal without what could do something to it.
//!
//! The whole queue is looked through, but only the contents of what is shown are read: a queue that
//! was put together may have an id twice, and then all messages of that id are shown, in queue
//! order, one after the other, and standard error says how many. Not here: decoding of contents.

use crate::message::{self, Message, Piece, Wanted, write_notify};
use crate::options::Recipients;
use crate::output::{Contents, ended, tell, write_shown};
use inqueue::limits;
use inqueue::mail::envelope::{Ret, ReversePath};
use inqueue::queue::segment::outcome_word;
use inqueue::queue::segment::read::RecipientNotes;
use inqueue::queue::segment::reference::{Lost, Reference};
use inqueue::queue::{Buffers, Lies, Queue};
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

/// Show a message: its envelope, an empty line, its content byte for byte
///
/// Where several messages of a queue have the same id, all are shown. On a terminal control
/// characters of the content are replaced; into a file or a pipe it goes byte for byte.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The queue: FORMAT:PATH, or PATH alone
    queue: String,
    #[command(flatten)]
    recipients: Recipients,
    /// Its queue id, as `inspect` gives it
    id: String,
    /// The envelope alone
    #[arg(long, conflicts_with = "content")]
    envelope: bool,
    /// The content alone, byte for byte
    #[arg(long)]
    content: bool,
}

pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let queue = Queue::open(&args.queue)?;
    let mut out = io::stdout().lock();
    let is_terminal = out.is_terminal();
    let (mut id, mut text, mut shown, mut gone) = (Vec::new(), Vec::new(), 0_u64, 0);
    let mut buffers = Buffers::default();
    for part in queue.cut(limits::PART_BYTES_MAX)? {
        let wanted = Wanted { order: args.recipients.order(), compared: false };
        message::each(&queue, &part, wanted, &mut buffers, |piece| {
            let message = match piece {
                Piece::Message(message) => message,
                Piece::Damage(file, damage, Some(lost)) => {
                    if lost.queue_id == args.id.as_bytes() {
                        gone += 1;
                        tell_lost(file, damage.offset, lost);
                    }
                    return Ok(());
                }
                Piece::Damage(..) => return Ok(()),
            };
            id.clear();
            message.envelope.queue_id.write(&mut id);
            if id != args.id.as_bytes() {
                return Ok(());
            }
            if message.is_altered() {
                gone += 1;
                tell_altered(message, &id);
                return Ok(());
            }
            shown += 1;
            if !args.content {
                text.clear();
                write_envelope(&mut text, &id, message);
                if !args.envelope {
                    text.push(b'\n');
                }
                out.write_all(&text)?;
            }
            if !args.envelope {
                let mut contents = Contents::new(&mut out, is_terminal);
                message.found.content.runs().try_for_each(|run| contents.write(run))?;
                contents.end()?;
            }
            Ok(())
        })?;
    }
    out.flush()?;
    let path = queue.path().display();
    match shown {
        0 if gone > 0 => {}
        0 => anyhow::bail!("{path}: no message has the id {} (`inspect` lists them)", args.id),
        1 => {}
        _ => tell(&format!("{path}: {shown} messages have the id {}; all are shown", args.id)),
    }
    Ok(ended(gone))
}

/// Says that a message's content isn't what its record says.
fn tell_altered(message: &Message<'_, '_>, id: &[u8]) {
    let (file, id) = (String::from_utf8_lossy(message.file), String::from_utf8_lossy(id));
    let offset = message.found.offset;
    tell(&format!("{file}, offset {offset}: the content of {id} is damaged (`salvage` keeps it)"));
}

/// Says that a message's content isn't where its record says any more.
fn tell_lost(file: &[u8], offset: u64, lost: &Lost) {
    let (file, id) = (String::from_utf8_lossy(file), String::from_utf8_lossy(&lost.queue_id));
    let what = "is gone, or has changed (bring the file back as it was)";
    tell(&format!("{file}, offset {offset}: the content of {id} {what}: {lost}"));
}

pub(crate) fn write_envelope(out: &mut Vec<u8>, id: &[u8], message: &Message<'_, '_>) {
    let envelope = &message.envelope;
    line(out, "Queue id", |out| out.extend_from_slice(id));
    let found = &message.found;
    place(out, "Place", (message.file, found.offset, found.length));
    line(out, "Size", |out| number(out, found.content.len()));
    if let Lies::There(Reference { name, offset, length, .. }) = found.lies {
        place(out, "Refers to", (name, offset, length));
    }
    if let Some(arrival) = envelope.arrival {
        line(out, "Arrival", |out| arrival.write_rfc3339(out));
    }
    line(out, "Sender", |out| match envelope.reverse_path {
        ReversePath::Unknown => out.extend_from_slice(b"not known"),
        ReversePath::Null => out.extend_from_slice(b"<>"),
        ReversePath::Path(path) => write_shown(out, path),
    });
    if envelope.attempts > 0 {
        line(out, "Attempts", |out| number(out, u64::from(envelope.attempts)));
    }
    if let Some(at) = envelope.next_attempt {
        line(out, "Next attempt", |out| at.write_rfc3339(out));
    }
    if let Some(at) = envelope.expiry {
        line(out, "Expiry", |out| at.write_rfc3339(out));
    }
    if envelope.priority != 3 {
        line(out, "Priority", |out| number(out, u64::from(envelope.priority)));
    }
    for hop in &envelope.hops {
        line(out, "Hop", |out| write_shown(out, hop));
    }
    if let Some(envid) = envelope.envid {
        line(out, "Envid", |out| write_shown(out, envid));
    }
    if let Some(ret) = envelope.ret {
        let word = if ret == Ret::Full { "FULL" } else { "HDRS" };
        line(out, "Ret", |out| out.extend_from_slice(word.as_bytes()));
    }
    write_notes(out, message);
    write_recipients(out, message);
}

fn write_notes(out: &mut Vec<u8>, message: &Message<'_, '_>) {
    if let Some(origin) = message.notes.origin {
        place(out, "Origin", origin);
    }
    if let Some(reason) = message.notes.reason {
        line(out, "Reason", |out| write_shown(out, reason));
    }
    if let Some(report_of) = message.notes.report_of {
        line(out, "Report of", |out| write_shown(out, report_of));
    }
    for reported in message.reported() {
        line(out, "Reported", |out| {
            write_shown(out, reported.forward_path);
            write_outcome(out, reported);
        });
    }
}

fn write_recipients(out: &mut Vec<u8>, message: &Message<'_, '_>) {
    for (recipient, notes) in message.recipients() {
        line(out, "Recipient", |out| {
            write_shown(out, recipient.forward_path);
            out.extend_from_slice(if recipient.done { b"; done" } else { b"; pending" });
            if let Some(notify) = recipient.notify {
                out.extend_from_slice(b"; NOTIFY=");
                write_notify(out, notify);
            }
            if let Some(orcpt) = recipient.orcpt {
                out.extend_from_slice(b"; ORCPT=");
                write_shown(out, orcpt);
            }
            write_outcome(out, &notes);
        });
    }
}

fn write_outcome(out: &mut Vec<u8>, notes: &RecipientNotes<'_>) {
    let word = outcome_word(notes.outcome).as_bytes();
    for text in [word, notes.status, notes.route, notes.diagnostic] {
        if !text.is_empty() {
            out.extend_from_slice(b"; ");
            write_shown(out, text);
        }
    }
}

fn place(out: &mut Vec<u8>, name: &str, (file, offset, length): (&[u8], u64, u64)) {
    line(out, name, |out| {
        write_shown(out, file);
        out.extend_from_slice(format!(", offset {offset}, {length} bytes").as_bytes());
    });
}

pub(crate) fn line(out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    write(out);
    out.push(b'\n');
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
