//! `inqueue inspect QUEUE`: what is in a queue, a line a message: a table for people, or JSON Lines
//! (docs/inspect.md).
//!
//! Parts are looked at in parallel, and written in queue order: the output doesn't depend on the
//! number of processors. Memory is bounded by a wave of parts. Not here: contents (`show`), which
//! aren't read where nobody asks for their checksums.

use crate::json;
use crate::message::{self, Message, Piece, Wanted, write_notify};
use crate::options::Recipients;
use crate::output::{bytes, ended, write_shown};
use inqueue::limits;
use inqueue::mail::date::Time;
use inqueue::mail::envelope::{Recipient, Ret, ReversePath, write_hex};
use inqueue::queue::segment::outcome_word;
use inqueue::queue::segment::read::RecipientNotes;
use inqueue::queue::segment::reference::{Lost, Reference};
use inqueue::queue::{Buffers, Damage, Lies, Queue, Span};
use rayon::prelude::*;
use std::io::{self, Write};
use std::process::ExitCode;

/// Parts in a wave, for each thread: enough for an even load.
const PARTS_A_THREAD: usize = 4;

/// List the messages of a queue
///
/// With --json one object a line, with the members of `postqueue -j` and more. Damaged ranges are
/// listed among the messages; then the exit code is 3. Contents of a segment aren't read, but with
/// --checksums: `check` reads them, too.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The queue: FORMAT:PATH, or PATH alone
    queue: String,
    #[command(flatten)]
    recipients: Recipients,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Read every content: a segment's that isn't as its record says is damage then; with --json
    /// the CRC32C of each is told, in any format
    #[arg(long)]
    checksums: bool,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    messages: u64,
    bytes: u64,
    recipients: u64,
    done: u64,
    damaged: u64,
    damaged_bytes: u64,
    /// Messages that no run judges.
    too_much: u64,
}

impl Totals {
    const fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.too_much += other.too_much;
        self.bytes += other.bytes;
        self.recipients += other.recipients;
        self.done += other.done;
        self.damaged += other.damaged;
        self.damaged_bytes += other.damaged_bytes;
    }
}

/// A part, looked at: its lines and totals.
type Listed = (Vec<u8>, Totals);

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let queue = Queue::open(&args.queue)?;
    let parts = queue.cut(limits::LOOK_BYTES)?;
    let lister = Lister { args, queue: &queue, start: line_start(&queue) };
    let mut out = io::stdout();
    if !args.json {
        writeln!(
            out,
            "{:<24} {:>10} {:<20} {:<32} {:<8} RECIPIENTS",
            "QUEUE ID", "SIZE", "ARRIVAL", "SENDER", "STATE"
        )?;
    }
    let mut totals = Totals::default();
    let mut before: Vec<Listed> = Vec::new();
    for wave in parts.chunks(rayon::current_num_threads() * PARTS_A_THREAD) {
        // While a wave is looked at, the one before it is written.
        let (written, next) = rayon::join(|| write(&before, &mut out), || lister.wave(wave));
        written?;
        before = next?;
        for (_, part) in &before {
            totals.add(part);
        }
    }
    write(&before, &mut out)?;
    if !args.json {
        write_totals(&mut out, &totals)?;
    }
    out.flush()?;
    Ok(ended(totals.damaged + totals.too_much))
}

fn write(listed: &[Listed], out: &mut io::Stdout) -> io::Result<()> {
    listed.iter().try_for_each(|(lines, _)| out.write_all(lines))
}

fn write_totals(out: &mut impl Write, totals: &Totals) -> io::Result<()> {
    let Totals { messages, recipients, done, damaged, too_much, .. } = totals;
    let size = bytes(totals.bytes);
    write!(out, "{messages} messages, {size} of content, {recipients} recipients ({done} done)")?;
    if *damaged > 0 {
        write!(out, ", {damaged} damaged ranges ({})", bytes(totals.damaged_bytes))?;
    }
    if *too_much > 0 {
        write!(out, ", {too_much} over the budget of a message (`show` says of what)")?;
    }
    writeln!(out)
}

/// The members that all messages have in common, up to the queue id's value.
pub(crate) fn line_start(queue: &Queue) -> Vec<u8> {
    let path = queue.path();
    let full = if path.file_name().is_none() { path.canonicalize().ok() } else { None };
    let path = full.as_deref().unwrap_or(path);
    let name = path.file_name().unwrap_or(path.as_os_str());
    let mut start = Vec::new();
    json::begin(&mut start, "queue_name", name.as_encoded_bytes());
    start.push(b',');
    json::key(&mut start, "queue_id");
    start
}

struct Lister<'r> {
    args: &'r InspectArgs,
    queue: &'r Queue,
    start: Vec<u8>,
}

impl Lister<'_> {
    fn wave(&self, parts: &[Span]) -> anyhow::Result<Vec<Listed>> {
        let one = |buffers: &mut Buffers, part: &Span| self.part(buffers, part);
        parts.par_iter().map_init(Buffers::default, one).collect()
    }

    fn part(&self, buffers: &mut Buffers, part: &Span) -> anyhow::Result<Listed> {
        let (mut out, mut id, mut totals) = (Vec::new(), Vec::new(), Totals::default());
        let order = self.args.recipients.order();
        let wanted = Wanted { order, compared: self.args.checksums };
        message::each(self.queue, part, wanted, buffers, |piece| {
            match piece {
                Piece::Damage(file, damage, lost) => {
                    totals.damaged += 1;
                    totals.damaged_bytes += damage.length;
                    if self.args.json {
                        json::damage(&mut out, file, &damage, lost);
                        out.push(b'\n');
                    } else {
                        write_damage_row(&mut out, file, &damage, lost);
                    }
                }
                Piece::Message(message) => {
                    let size = message.found.content.len();
                    let done = message.recipients.iter().filter(|one| one.done).count();
                    totals.messages += 1;
                    totals.bytes += size;
                    totals.recipients += message.recipients.len() as u64;
                    totals.done += done as u64;
                    totals.too_much += u64::from(message.is_too_much);
                    id.clear();
                    message.envelope.queue_id.write(&mut id);
                    if self.args.json {
                        let checksums = self.args.checksums;
                        write_object(&mut out, (&self.start, &id), message, checksums);
                    } else {
                        write_row(&mut out, &id, message, size, done);
                    }
                }
            }
            Ok(())
        })?;
        Ok((out, totals))
    }
}

/// One message as an object on a line, with CRC32C of its content where one is known, or wanted.
/// `start` is what [`line_start`] gives.
pub(crate) fn write_object(
    out: &mut Vec<u8>,
    (start, id): (&[u8], &[u8]),
    message: &Message<'_, '_>,
    checksums: bool,
) {
    let envelope = &message.envelope;
    out.extend_from_slice(start);
    json::text(out, id);
    json::member_number(out, "arrival_time", envelope.arrival.map_or(0, Time::as_s));
    json::member_number(out, "message_size", message.found.content.len());
    out.extend_from_slice(b",\"forced_expire\":false");
    match envelope.reverse_path {
        ReversePath::Unknown => out.extend_from_slice(b",\"sender\":null"),
        path => json::member_text(out, "sender", path.bytes()),
    }
    out.extend_from_slice(b",\"recipients\":[");
    for (index, (recipient, notes)) in message.recipients().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_recipient(out, recipient, &notes);
    }
    out.push(b']');
    json::member_text(out, "file", message.file);
    json::member_number(out, "offset", message.found.offset);
    json::member_number(out, "length", message.found.length);
    let computed = || checksums.then(|| message.found.content.checksum());
    if let Some(checksum) = message.checksum.or_else(computed) {
        out.extend_from_slice(b",\"checksum\":\"");
        let digits_at = out.len();
        write_hex(u64::from(checksum), 8, out);
        out.get_mut(digits_at..).unwrap_or_default().make_ascii_lowercase();
        out.push(b'"');
    }
    if let Lies::There(Reference { name, offset, length, .. }) = message.found.lies {
        json::refers_to(out, name, offset, length);
    }
    write_schedule(out, message);
    write_notes(out, message);
    out.extend_from_slice(b"}\n");
}

/// What is beside sender and recipients in an envelope; what it doesn't say is left out.
fn write_schedule(out: &mut Vec<u8>, message: &Message<'_, '_>) {
    let envelope = &message.envelope;
    json::member_number(out, "attempts", envelope.attempts);
    if let Some(at) = envelope.next_attempt {
        json::member_number(out, "next_attempt", at.as_s());
    }
    if let Some(at) = envelope.expiry {
        json::member_number(out, "expiry", at.as_s());
    }
    json::member_number(out, "priority", envelope.priority);
    if let Some(envid) = envelope.envid {
        json::member_text(out, "envid", envid);
    }
    if let Some(ret) = envelope.ret {
        json::member_text(out, "ret", if ret == Ret::Full { b"FULL" } else { b"HDRS" });
    }
    if !envelope.hops.is_empty() {
        out.extend_from_slice(b",\"hops\":[");
        for (index, hop) in envelope.hops.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json::text(out, hop);
        }
        out.push(b']');
    }
}

/// What a run noted in a stream's record.
fn write_notes(out: &mut Vec<u8>, message: &Message<'_, '_>) {
    let notes = &message.notes;
    if let Some(reason) = notes.reason {
        json::member_text(out, "reason", reason);
    }
    if let Some(report_of) = notes.report_of {
        json::member_text(out, "report_of", report_of);
    }
    if let Some((name, offset, length)) = notes.origin {
        out.push(b',');
        json::key(out, "origin");
        json::begin(out, "file", name);
        json::member_number(out, "offset", offset);
        json::member_number(out, "length", length);
        out.push(b'}');
    }
    let mut mark = ",\"reported\":[";
    for reported in message.reported() {
        out.extend_from_slice(mark.as_bytes());
        json::begin(out, "address", reported.forward_path);
        write_outcome(out, reported);
        out.push(b'}');
        mark = ",";
    }
    if mark == "," {
        out.push(b']');
    }
}

fn write_recipient(out: &mut Vec<u8>, recipient: &Recipient<'_>, notes: &RecipientNotes<'_>) {
    json::begin(out, "address", recipient.forward_path);
    let orcpt = recipient.orcpt.map(|orcpt| match orcpt.split_at_checked(7) {
        Some((kind, address)) if kind.eq_ignore_ascii_case(b"rfc822;") => address,
        _ => orcpt,
    });
    json::member_text(out, "orig_address", orcpt.unwrap_or(recipient.forward_path));
    write_outcome(out, notes);
    json::member_text(out, "state", if recipient.done { b"done" } else { b"pending" });
    if let Some(notify) = recipient.notify {
        out.extend_from_slice(b",\"notify\":\"");
        write_notify(out, notify);
        out.push(b'"');
    }
    out.push(b'}');
}

/// What became of a recipient in the run that wrote the record, where it says so.
fn write_outcome(out: &mut Vec<u8>, notes: &RecipientNotes<'_>) {
    let reason = if notes.diagnostic.is_empty() { notes.status } else { notes.diagnostic };
    if !reason.is_empty() {
        json::member_text(out, "delay_reason", reason);
    }
    if !notes.status.is_empty() {
        json::member_text(out, "status", notes.status);
    }
    if notes.outcome != 0 {
        json::member_text(out, "outcome", outcome_word(notes.outcome).as_bytes());
    }
    if !notes.route.is_empty() {
        json::member_text(out, "route", notes.route);
    }
}

fn write_row(out: &mut Vec<u8>, id: &[u8], message: &Message<'_, '_>, size: u64, done: usize) {
    column(out, 24, |out| out.extend_from_slice(id));
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(size).as_bytes();
    out.resize(out.len() + 10_usize.saturating_sub(digits.len()), b' ');
    out.extend_from_slice(digits);
    out.push(b' ');
    column(out, 20, |out| match message.envelope.arrival {
        Some(arrival) => arrival.write_rfc3339(out),
        None => out.push(b'-'),
    });
    column(out, 32, |out| match message.envelope.reverse_path {
        ReversePath::Unknown => out.push(b'-'),
        ReversePath::Null => out.extend_from_slice(b"<>"),
        ReversePath::Path(path) => write_shown(out, path),
    });
    let count = message.recipients.len();
    let state = match (count, done) {
        (0, _) => "nobody",
        (_, 0) => "pending",
        _ if done == count => "done",
        _ => "partly",
    };
    column(out, 8, |out| out.extend_from_slice(state.as_bytes()));
    if let Some(first) = message.recipients.first() {
        write_shown(out, first.forward_path);
        if count > 1 {
            out.extend_from_slice(b", +");
            out.extend_from_slice(itoa::Buffer::new().format(count - 1).as_bytes());
            out.extend_from_slice(b" more");
        }
    }
    while out.last() == Some(&b' ') {
        out.pop();
    }
    out.push(b'\n');
}

pub(crate) fn write_damage_row(
    out: &mut Vec<u8>,
    file: &[u8],
    damage: &Damage,
    lost: Option<&Lost>,
) {
    column(out, 24, |out| out.extend_from_slice(b"DAMAGE"));
    write_shown(out, file);
    let Damage { offset, length, kind } = damage;
    let text = format!(", offset {offset}, {length} bytes: {}", kind.text());
    out.extend_from_slice(text.as_bytes());
    if let Some(lost) = lost {
        let text = format!(" (message {}: {lost})", String::from_utf8_lossy(&lost.queue_id));
        write_shown(out, text.as_bytes());
    }
    out.push(b'\n');
}

/// A column, filled up with spaces to its width; wider texts push the rest to the right, and are
/// whole.
pub(crate) fn column(out: &mut Vec<u8>, width: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    // Continuation bytes of UTF-8 have no width of their own.
    let is_start = |byte: &&u8| !matches!(byte, 0x80..=0xBF);
    let shown = out.get(start..).unwrap_or_default().iter().filter(is_start).count();
    out.resize(out.len() + width.saturating_sub(shown) + 1, b' ');
}
