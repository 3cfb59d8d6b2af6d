//! `inqueue quarantine RUN`, `dead-letter RUN`, `deferred RUN`: what a run has set aside, as a
//! queue to work with (docs/set-aside.md).
//!
//! An ID is a queue id, as `list` gives it, or a record's place, `00003.seg:32`. It must name one
//! record of the stream. All that is shown on a terminal is escaped. Not here: sending records
//! through again (`replay`). Invariant: nothing is dropped without a name and `--yes`, and what is
//! dropped stands in the log of the run first; the streams are never changed.

use crate::convert::target;
use crate::inspect::{column, line_start, write_damage_row, write_object};
use crate::json;
use crate::message::{self, Message, Piece, Wanted};
use crate::options;
use crate::output::{self, ended, write_shown};
use crate::show::{line, write_envelope};
use anyhow::bail;
use clap::{Args, Subcommand};
use inqueue::deliver::{self, Filter, Shelf, Target};
use inqueue::event::told::Told;
use inqueue::limits;
use inqueue::mail::envelope::ReversePath;
use inqueue::queue::envelope::RecipientOrder;
use inqueue::queue::{Buffers, Damage, Span};
use inqueue::spool::Stream;
use inqueue::spool::set_aside::{self, Dropped, Place, SetAside, State, Step};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct SetAsideArgs {
    /// Folder of the run
    run: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A line a record: those that wait
    List(ListArgs),
    /// One record: its envelope, why it is here, the events of its message, the start of its
    /// content
    Show(ShowArgs),
    /// Records as mail: contents byte for byte
    Export(ExportArgs),
    /// Takes records out of the list, for good; the log of the run keeps what was dropped, when and
    /// why
    Drop(DropArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Also those that were dropped or replayed
    #[arg(long)]
    all: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Which records are meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct FilterArgs {
    /// Only those with this text in the sender; <> is the null reverse-path
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// Only those with this text in a recipient
    #[arg(long, value_name = "TEXT")]
    recipient: Option<String>,
    /// Only those with this text in the reason, or in a recipient's status or diagnostic
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl FilterArgs {
    pub(crate) fn filter(&self) -> Filter {
        let Self { sender, recipient, reason } = self.clone();
        Filter { sender, recipient, reason }
    }
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// Its queue id, or its place, as 00003.seg:32
    id: String,
    /// As one JSON object, without the content
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ExportArgs {
    /// Queue ids, or places
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// What to make: segment:PATH, mbox:PATH (mboxrd), maildir:PATH, eml:PATH or ffapi:PATH; the
    /// content of one record goes to standard output where it isn't given
    #[arg(long, value_name = "FORMAT:PATH", value_parser = target)]
    to: Option<Target>,
}

#[derive(Args, Debug)]
struct DropArgs {
    /// Queue ids, or places
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Yes, drop them
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(stream: Stream, args: &SetAsideArgs) -> anyhow::Result<ExitCode> {
    let run = args.run.as_path();
    if let What::Drop(args) = &args.what
        && args.yes
    {
        return drop_records(run, stream, args);
    }
    let (steps, _) = set_aside::read(run)?;
    let shelf = Shelf::open(run, stream, &steps)?;
    match &args.what {
        What::List(args) => list(&shelf, args),
        What::Show(args) => show(&shelf, args, &steps),
        What::Export(args) => export(&shelf, args),
        What::Drop(args) => {
            let mut out = Vec::new();
            for named in find(&shelf, &args.ids)? {
                write_named(&mut out, "would drop", &named);
            }
            io::stdout().lock().write_all(&out)?;
            Ok(output::usage("nothing was dropped: say --yes to drop"))
        }
    }
}

/// Gives each record of a stream, and each range that is none.
fn each(
    shelf: &Shelf,
    parts: &[Span],
    mut take: impl FnMut(Result<(Place, &Message<'_, '_>), (&[u8], Damage)>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut buffers = Buffers::default();
    for part in parts {
        let wanted = Wanted { order: RecipientOrder::default(), compared: true };
        message::each(shelf.queue(), part, wanted, &mut buffers, |piece| match piece {
            Piece::Damage(file, damage, _) => take(Err((file, damage))),
            Piece::Message(message) => match shelf.place(message.file, message.found.offset) {
                Some(place) => take(Ok((place, message))),
                None => Ok(()),
            },
        })?;
    }
    Ok(())
}

/// What a list counts.
#[derive(Debug, Default)]
struct Totals {
    listed: u64,
    over_limit: u64,
    dropped: u64,
    replayed: u64,
    damaged: u64,
}

fn list(shelf: &Shelf, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut to = BufWriter::new(io::stdout().lock());
    if !args.json {
        writeln!(
            to,
            "{:<24} {:>10} {:<20} {:>5} {:<8} {:<32} {:<32} REASON",
            "QUEUE ID", "SIZE", "ARRIVAL", "TRIES", "STATE", "SENDER", "RECIPIENTS"
        )?;
    }
    let (filter, limit) = (args.filter.filter(), args.limit.unwrap_or(u64::MAX));
    let start = line_start(shelf.queue());
    let (mut out, mut totals) = (Vec::new(), Totals::default());
    each(shelf, &shelf.queue().cut(limits::PART_BYTES_MAX)?, |piece| {
        out.clear();
        match piece {
            Err((file, damage)) => {
                totals.damaged += 1;
                if args.json {
                    json::damage(&mut out, file, &damage, None);
                    out.push(b'\n');
                } else {
                    write_damage_row(&mut out, file, &damage, None);
                }
            }
            Ok((place, message)) => {
                let Message { envelope, recipients, notes, recipient_notes, .. } = message;
                let state = shelf.state(place);
                let is_meant = filter.takes(envelope, recipients, notes.reason, recipient_notes);
                match state {
                    _ if !is_meant => return Ok(()),
                    State::Dropped if !args.all => totals.dropped += 1,
                    State::Replayed if !args.all => totals.replayed += 1,
                    _ if totals.listed >= limit => totals.over_limit += 1,
                    _ => {
                        totals.listed += 1;
                        if args.json {
                            write_json(&mut out, &start, shelf, place, message);
                            out.extend_from_slice(b"}\n");
                        } else {
                            write_row(&mut out, shelf, place, message);
                        }
                    }
                }
            }
        }
        Ok(to.write_all(&out)?)
    })?;
    if !args.json {
        writeln!(to, "{}", told(&totals))?;
    }
    to.flush()?;
    Ok(ended(totals.damaged))
}

fn told(totals: &Totals) -> String {
    let mut parts = vec![format!("{} records", totals.listed)];
    let rest = [
        (totals.over_limit, "more"),
        (totals.dropped, "dropped"),
        (totals.replayed, "replayed"),
        (totals.damaged, "damaged"),
    ];
    for (count, what) in rest {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let mut text = parts.join(", ");
    if totals.dropped + totals.replayed > 0 {
        text.push_str(" (--all lists them too)");
    }
    text
}

/// The object of `inspect`, still open, with what is known of the record since.
fn write_json(
    out: &mut Vec<u8>,
    start: &[u8],
    shelf: &Shelf,
    place: Place,
    message: &Message<'_, '_>,
) {
    write_object(out, (start, &id_of(message)), message, false);
    out.truncate(out.len() - b"}\n".len());
    json::member_text(out, "place", shelf.name(place).as_bytes());
    json::member_text(out, "state", shelf.state(place).name().as_bytes());
    json::member_number(out, "tries", shelf.tries(&message.envelope));
}

fn id_of(message: &Message<'_, '_>) -> Vec<u8> {
    let mut id = Vec::new();
    message.envelope.queue_id.write(&mut id);
    id
}

fn write_row(out: &mut Vec<u8>, shelf: &Shelf, place: Place, message: &Message<'_, '_>) {
    let envelope = &message.envelope;
    column(out, 24, |out| write_shown(out, &id_of(message)));
    let size = format!("{:>10} ", message.found.content.len());
    out.extend_from_slice(size.as_bytes());
    column(out, 20, |out| match envelope.arrival {
        Some(arrival) => arrival.write_rfc3339(out),
        None => out.push(b'-'),
    });
    let state = format!("{:>5} {:<8} ", shelf.tries(envelope), shelf.state(place).name());
    out.extend_from_slice(state.as_bytes());
    column(out, 32, |out| match envelope.reverse_path {
        ReversePath::Unknown => out.push(b'-'),
        ReversePath::Null => out.extend_from_slice(b"<>"),
        ReversePath::Path(path) => write_shown(out, path),
    });
    column(out, 32, |out| match message.recipients {
        [] => out.push(b'-'),
        [first] => write_shown(out, first.forward_path),
        [first, rest @ ..] => {
            write_shown(out, first.forward_path);
            out.extend_from_slice(format!(", +{} more", rest.len()).as_bytes());
        }
    });
    write_reason(out, message);
    out.truncate(out.trim_ascii_end().len());
    out.push(b'\n');
}

/// Why it is here, and what its first recipient was told.
fn write_reason(out: &mut Vec<u8>, message: &Message<'_, '_>) {
    let reason = message.notes.reason.unwrap_or_default();
    write_shown(out, reason);
    let Some(notes) = message.recipient_notes.first() else { return };
    let mut separator = if reason.is_empty() { "" } else { "; " };
    for text in [notes.status, notes.diagnostic] {
        if !text.is_empty() {
            out.extend_from_slice(separator.as_bytes());
            write_shown(out, text);
            separator = " ";
        }
    }
}

/// A record that was named.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    place: Place,
    /// Its place in words.
    at: String,
    id: String,
    origin: Option<(String, u64, u64)>,
    state: State,
}

/// The records that IDs name, each once, in the order of the IDs.
fn find(shelf: &Shelf, ids: &[String]) -> anyhow::Result<Vec<Named>> {
    let mut matches: Vec<Vec<Named>> = vec![Vec::new(); ids.len()];
    each(shelf, &shelf.queue().cut(limits::PART_BYTES_MAX)?, |piece| {
        let Ok((place, message)) = piece else { return Ok(()) };
        let id = String::from_utf8_lossy(&id_of(message)).into_owned();
        let at = shelf.name(place);
        for (wanted, found) in ids.iter().zip(&mut matches) {
            if *wanted == id || *wanted == at {
                let origin = message.notes.origin.map(|(name, offset, length)| {
                    (String::from_utf8_lossy(name).into_owned(), offset, length)
                });
                let (id, at, state) = (id.clone(), at.clone(), shelf.state(place));
                found.push(Named { place, at, id, origin, state });
            }
        }
        Ok(())
    })?;
    let stream = shelf.stream().name();
    let mut all: Vec<Named> = Vec::new();
    for (id, found) in ids.iter().zip(matches) {
        match found.as_slice() {
            [] => bail!("no record of {stream} has the id {} (`list --all` gives them)", shown(id)),
            [one] if all.contains(one) => {}
            [one] => all.push(one.clone()),
            several => {
                let places: Vec<&str> = several.iter().map(|named| named.at.as_str()).collect();
                let (count, places) = (several.len(), places.join(", "));
                let id = shown(id);
                bail!("{count} records of {stream} have the id {id} (name one of {places})");
            }
        }
    }
    Ok(all)
}

fn shown(text: &str) -> String {
    let mut out = Vec::new();
    write_shown(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

/// The parts that hold the named records alone.
fn spans(shelf: &Shelf, named: &[Named]) -> Vec<Span> {
    named.iter().filter_map(|named| shelf.span(named.place)).collect()
}

fn show(shelf: &Shelf, args: &ShowArgs, steps: &[Step]) -> anyhow::Result<ExitCode> {
    let named = find(shelf, std::slice::from_ref(&args.id))?;
    let start = line_start(shelf.queue());
    let mut out = Vec::new();
    each(shelf, &spans(shelf, &named), |piece| {
        let Ok((place, message)) = piece else { return Ok(()) };
        let id = id_of(message);
        // Only what a fault struck may have events that don't know its id.
        let is_struck = shelf.stream() == Stream::Quarantine;
        let origin = message.notes.origin.map(|(_, offset, _)| offset).filter(|_| is_struck);
        let events = shelf.events(place, &id, origin)?;
        if args.json {
            write_json(&mut out, &start, shelf, place, message);
            out.extend_from_slice(b",\"events\":[");
            out.extend_from_slice(&events.join(&b','));
            out.extend_from_slice(b"]}\n");
            return Ok(());
        }
        write_envelope(&mut out, &id, message);
        line(&mut out, "Tries", |out| {
            out.extend_from_slice(shelf.tries(&message.envelope).to_string().as_bytes());
        });
        write_state(&mut out, shelf, place, steps);
        for event in &events {
            write_event(&mut out, event);
        }
        out.push(b'\n');
        write_head(&mut out, message);
        Ok(())
    })?;
    io::stdout().lock().write_all(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn write_state(out: &mut Vec<u8>, shelf: &Shelf, place: Place, steps: &[Step]) {
    let stream = shelf.stream();
    for step in steps {
        let text = match step {
            Step::Dropped(dropped) if (dropped.stream, dropped.place) == (stream, place) => {
                let reason = dropped.reason.as_deref().unwrap_or("no reason was given");
                format!("dropped at {} on {}: {reason}", dropped.at, dropped.by)
            }
            Step::Replayed(replayed)
                if replayed.stream == stream && replayed.places.contains(&place) =>
            {
                format!("replayed at {} into {}", replayed.at, replayed.into.display())
            }
            _ => continue,
        };
        line(out, "State", |out| write_shown(out, text.as_bytes()));
    }
}

fn write_event(out: &mut Vec<u8>, event: &[u8]) {
    let Some(told) = Told::parse(event) else { return };
    let sentence = told.sentence().replace("\r\n", " ");
    line(out, "Event", |out| write_shown(out, format!("{} {sentence}", told.number()).as_bytes()));
}

/// The start of the content, line by line, so that nothing in it reaches the terminal as it is.
fn write_head(out: &mut Vec<u8>, message: &Message<'_, '_>) {
    let content = message.found.content;
    let mut head = Vec::new();
    for run in content.runs() {
        let room = limits::SHOWN_CONTENT_BYTES_MAX - head.len();
        head.extend_from_slice(run.get(..run.len().min(room)).unwrap_or_default());
    }
    for text in head.split_inclusive(|byte| *byte == b'\n') {
        let bare = text.strip_suffix(b"\n").unwrap_or(text);
        write_shown(out, bare.strip_suffix(b"\r").unwrap_or(bare));
        out.push(b'\n');
    }
    let rest = content.len() - head.len() as u64;
    if rest > 0 {
        out.extend_from_slice(format!("({rest} bytes more: `export` gives all)\n").as_bytes());
    }
}

fn export(shelf: &Shelf, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    if args.to.is_none() && args.ids.len() > 1 {
        return Ok(output::usage("several records need --to FORMAT:PATH"));
    }
    let named = find(shelf, &args.ids)?;
    let parts = spans(shelf, &named);
    let Some(target) = &args.to else {
        let mut out = io::stdout().lock();
        each(shelf, &parts, |piece| {
            let Ok((_, message)) = piece else { return Ok(()) };
            Ok(message.found.content.runs().try_for_each(|run| out.write_all(run))?)
        })?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    };
    let order = RecipientOrder::default();
    let exported = deliver::convert(shelf.queue(), &parts, order, target, &mut |_| {})?;
    let (messages, path) = (exported.messages, target.path.display());
    writeln!(io::stdout().lock(), "{messages} messages in {path}")?;
    Ok(ended(exported.damaged))
}

fn drop_records(run: &Path, stream: Stream, args: &DropArgs) -> anyhow::Result<ExitCode> {
    let mut log = SetAside::open(run)?;
    let shelf = Shelf::open(run, stream, log.steps())?;
    let named = find(&shelf, &args.ids)?;
    if let Some(gone) = named.iter().find(|named| named.state == State::Replayed) {
        bail!("{} was replayed: its message is in another run (`show` says which)", gone.id);
    }
    let mut at = Vec::new();
    options::now(None)?.write_rfc3339(&mut at);
    let at = String::from_utf8_lossy(&at).into_owned();
    let waiting = named.iter().filter(|named| named.state == State::Waiting);
    let steps = waiting.map(|named| {
        Step::Dropped(Dropped {
            stream,
            place: named.place,
            id: named.id.clone(),
            origin: named.origin.clone(),
            at: at.clone(),
            by: options::host(),
            reason: args.reason.clone(),
        })
    });
    let steps: Vec<Step> = steps.collect();
    if !steps.is_empty() {
        log.append(steps)?;
    }
    let mut out = Vec::new();
    for named in &named {
        let was = if named.state == State::Dropped { "was dropped before" } else { "dropped" };
        write_named(&mut out, was, named);
    }
    io::stdout().lock().write_all(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn write_named(out: &mut Vec<u8>, what: &str, named: &Named) {
    write_shown(out, format!("{what}: {} ({})", named.id, named.at).as_bytes());
    out.push(b'\n');
}
