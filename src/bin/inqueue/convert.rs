//! `inqueue convert QUEUE --to FORMAT:PATH`: all messages of a queue, into a new file or folder of
//! another format.
//!
//! Progress goes to standard error where that is a terminal, the summary to standard output, damage
//! to standard error, a line each. Not here: the formats (`inqueue::deliver`).

use crate::json;
use crate::options::Recipients;
use crate::output::{bytes, ended, shown, tell, write_shown};
use indicatif::{ProgressBar, ProgressStyle};
use inqueue::deliver::{self, Converted, Target, TargetFormat};
use inqueue::limits;
use inqueue::queue::Queue;
use inqueue::queue::ffapi::LineEnd;
use std::io::{self, Write};
use std::process::ExitCode;

/// Convert a queue into another format: contents byte for byte, the envelope where the format can
/// hold it
///
/// The target is made as PATH.partial, and gets its name when it is whole and on the disk. A target
/// that exists and isn't empty is refused. Damaged ranges are told and left out; then the exit code
/// is 3.
#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    /// The queue: FORMAT:PATH, or PATH alone
    queue: String,
    #[command(flatten)]
    recipients: Recipients,
    /// What to make: segment:PATH, mbox:PATH (mboxrd), maildir:PATH, eml:PATH or ffapi:PATH
    #[arg(long, value_name = "FORMAT:PATH", value_parser = target)]
    to: Target,
    /// What ends the lines of ffapi: cr (as the original's -f0, the default), lf or crlf
    #[arg(long, value_name = "END", value_parser = line_end)]
    line_end: Option<LineEnd>,
    /// The summary as one JSON object
    #[arg(long)]
    json: bool,
    /// Nothing but errors and damage
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn target(spec: &str) -> Result<Target, String> {
    let why = "expected segment:PATH, mbox:PATH, maildir:PATH, eml:PATH or ffapi:PATH";
    Target::parse(spec).ok_or_else(|| why.to_owned())
}

fn line_end(name: &str) -> Result<LineEnd, String> {
    let all = [LineEnd::Cr, LineEnd::Lf, LineEnd::CrLf];
    let named = all.into_iter().find(|line_end| line_end.name() == name);
    named.ok_or_else(|| "expected cr, lf or crlf".to_owned())
}

/// The target, with its line ends.
fn whole_target(args: &ConvertArgs) -> anyhow::Result<Target> {
    let mut target = args.to.clone();
    match (target.format, args.line_end) {
        (_, None) => {}
        (TargetFormat::Ffapi(_), Some(line_end)) => target.format = TargetFormat::Ffapi(line_end),
        _ => anyhow::bail!("--line-end is for --to ffapi:PATH alone (leave it out)"),
    }
    Ok(target)
}

pub(crate) fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let target = whole_target(args)?;
    let queue = Queue::open(&args.queue)?;
    let parts = queue.cut(limits::PART_BYTES_MAX)?;
    let bar = if args.quiet { ProgressBar::hidden() } else { progress_bar(queue.total_bytes()) };
    let mut progress = |done| bar.set_position(done);
    let converted =
        deliver::convert(&queue, &parts, args.recipients.order(), &target, &mut progress);
    bar.finish_and_clear();
    let converted = converted?;
    tell_damage(&converted);
    if !args.quiet {
        let mut out = Vec::new();
        if args.json {
            write_json(&mut out, args, &converted);
        } else {
            write_summary(&mut out, args, &converted);
        }
        io::stdout().lock().write_all(&out)?;
    }
    Ok(ended(converted.damaged))
}

/// On standard error; it is hidden where that is no terminal.
fn progress_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let style = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

fn tell_damage(converted: &Converted) {
    for range in &converted.damage {
        let mut text = Vec::new();
        write_shown(&mut text, &range.file);
        let damage = &range.damage;
        let lost = range.lost.as_ref().map_or_else(String::new, |lost| {
            let id = String::from_utf8_lossy(&lost.queue_id);
            format!("; message {id}: {lost}: bring the file back as it was")
        });
        tell(&format!(
            "{}: damage at offset {}, {} bytes: {} (not converted{lost})",
            String::from_utf8_lossy(&text),
            damage.offset,
            damage.length,
            damage.kind.text()
        ));
    }
    let untold = converted.damaged - converted.damage.len() as u64;
    if untold > 0 {
        tell(&format!("{untold} damaged ranges more (inspect the queue to see all)"));
    }
}

fn write_summary(out: &mut Vec<u8>, args: &ConvertArgs, converted: &Converted) {
    let path = shown(args.to.path.display());
    let size = bytes(converted.bytes);
    let text = format!("{path}: {} messages, {size} of content", converted.messages);
    out.extend_from_slice(text.as_bytes());
    let notes = [
        (converted.damaged, "damaged ranges left out"),
        (converted.line_ends_added, "contents got the line end that an mbox needs"),
        (converted.senders_changed, "senders that a From_ line can't hold"),
        (
            converted.simplified,
            "contents simplified: no seconds, one kind of line end, Cc among To",
        ),
    ];
    for (count, note) in notes {
        if count > 0 {
            out.extend_from_slice(format!(", {count} {note}").as_bytes());
        }
    }
    out.push(b'\n');
}

fn write_json(out: &mut Vec<u8>, args: &ConvertArgs, converted: &Converted) {
    json::begin(out, "target", args.to.path.as_os_str().as_encoded_bytes());
    json::member_text(out, "format", args.to.format.name().as_bytes());
    json::member_number(out, "messages", converted.messages);
    json::member_number(out, "bytes", converted.bytes);
    json::member_number(out, "line_ends_added", converted.line_ends_added);
    json::member_number(out, "senders_changed", converted.senders_changed);
    json::member_number(out, "simplified", converted.simplified);
    json::member_number(out, "damaged", converted.damaged);
    json::member_number(out, "damaged_bytes", converted.damaged_bytes);
    out.extend_from_slice(b",\"damage\":[");
    for (index, range) in converted.damage.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::damage(out, &range.file, &range.damage, range.lost.as_ref());
    }
    out.extend_from_slice(b"]}\n");
}
