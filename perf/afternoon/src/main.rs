//! What a competent person writes in an afternoon: judges an mbox in parallel, by good libraries.
//!
//! The mbox is mapped and cut at its `From ` lines; rayon deals the messages out; mail-parser reads
//! them (header sections, or with `--full` everything); each recipient is looked up in the
//! directory; mail-builder makes the reports. Accepted mail (an mbox), reports (an mbox) and events
//! (JSON lines) are written batch by batch, in the order of the queue.
//!
//! It keeps no promise of Inqueue's: it syncs nothing, goes on from nothing, fences nothing, checks
//! no address. It is a yardstick: honest, and nobody's product.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use mail_builder::MessageBuilder;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;
use mail_parser::{HeaderName, Message, MessageParser};
use memchr::memmem;
use rayon::prelude::*;
use serde::Serialize;

/// Messages that are in memory together.
const BATCH: usize = 32_768;
/// Messages that a task takes.
const TASK: usize = 256;

#[derive(Parser)]
struct Options {
    /// The queue: an mbox.
    queue: PathBuf,
    /// Who exists: an address a line; `@DOMAIN` makes a domain local.
    #[arg(long)]
    directory: PathBuf,
    /// A folder for accepted.mbox, ndr.mbox and events.jsonl.
    #[arg(long)]
    out: PathBuf,
    /// Parse whole messages, and not their header sections alone.
    #[arg(long)]
    full: bool,
    /// Threads; as many as there are processors where this is 0.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// The addresses and domains of a directory, in lower case.
#[derive(Default)]
struct Directory {
    addresses: HashSet<String>,
    domains: HashSet<String>,
}

impl Directory {
    fn read(text: &str) -> Self {
        let mut directory = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let line = line.to_ascii_lowercase();
            if let Some(domain) = line.strip_prefix('@') {
                directory.domains.insert(domain.to_owned());
            } else if let Some((_, domain)) = line.rsplit_once('@') {
                directory.domains.insert(domain.to_owned());
                directory.addresses.insert(line);
            }
        }
        directory
    }

    /// Whether a recipient (in lower case) is unknown in a domain that is local.
    fn is_unknown(&self, recipient: &str) -> bool {
        let domain = recipient.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.domains.contains(domain) && !self.addresses.contains(recipient)
    }
}

#[derive(Default, Serialize)]
struct Counts {
    messages: usize,
    /// Messages with a recipient that is accepted.
    accepted_messages: usize,
    accepted: usize,
    /// Recipients that a report tells of.
    reported: usize,
    reports: usize,
    /// Recipients that nobody can be told of, and messages without recipients.
    dead: usize,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.accepted_messages += other.accepted_messages;
        self.accepted += other.accepted;
        self.reported += other.reported;
        self.reports += other.reports;
        self.dead += other.dead;
    }
}

/// What a task has to write.
#[derive(Default)]
struct Output {
    accepted: Vec<u8>,
    reports: Vec<u8>,
    events: Vec<u8>,
    counts: Counts,
}

#[derive(Serialize)]
struct Event<'a> {
    number: usize,
    sender: &'a str,
    size: usize,
    recipient: &'a str,
    outcome: &'a str,
    status: &'a str,
}

/// Where each message begins: at a `From ` line behind an empty line.
fn frame(mbox: &[u8]) -> Vec<&[u8]> {
    let mut starts = vec![0];
    starts.extend(memmem::find_iter(mbox, b"\n\nFrom ").map(|at| at + 2));
    let ends = starts.iter().skip(1).copied().chain([mbox.len()]);
    starts.iter().zip(ends).map(|(start, end)| &mbox[*start..end]).collect()
}

fn raw<'a>(message: &'a Message<'_>, name: &'static str) -> impl Iterator<Item = &'a str> {
    message
        .headers_raw()
        .filter(move |(header, _)| header.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().trim_start_matches('<').trim_end_matches('>'))
}

/// The recipients: X-Original-To, else the topmost Delivered-To, else To, Cc and Bcc; each once.
fn recipients(message: &Message<'_>) -> Vec<String> {
    let mut found: Vec<String> =
        raw(message, "X-Original-To").map(str::to_ascii_lowercase).collect();
    if found.is_empty() {
        found.extend(raw(message, "Delivered-To").take(1).map(str::to_ascii_lowercase));
    }
    if found.is_empty() {
        for name in [HeaderName::To, HeaderName::Cc, HeaderName::Bcc] {
            for field in message.header_values(name).filter_map(|value| value.as_address()) {
                let addresses = field.iter().filter_map(|address| address.address());
                found.extend(
                    addresses.filter(|address| address.contains('@')).map(str::to_ascii_lowercase),
                );
            }
        }
    }
    let mut seen = HashSet::new();
    found.retain(|recipient| seen.insert(recipient.clone()));
    found
}

fn sender<'a>(from_line: &'a str, message: &'a Message<'_>) -> &'a str {
    let path = raw(message, "Return-Path").next();
    let path = path.or_else(|| from_line.split(' ').nth(1)).unwrap_or_default();
    if path == "MAILER-DAEMON" || path == "<>" { "" } else { path }
}

/// A report about the recipients that failed (RFC 3464).
fn report(sender: &str, failed: &[&String], message: &Message<'_>, header: &[u8]) -> Vec<u8> {
    let mut text = String::from("Your message couldn't be delivered to:\r\n\r\n");
    let mut status = String::from("Reporting-MTA: dns;mta.example\r\n");
    for recipient in failed {
        text.push_str(&format!("{recipient}: no such mailbox\r\n"));
        status.push_str(&format!(
            "\r\nFinal-Recipient: rfc822;{recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        ));
    }
    let parts = vec![
        MimePart::new("text/plain", text),
        MimePart::new("message/delivery-status", status),
        MimePart::new("text/rfc822-headers", header),
    ];
    let kind = "multipart/report; report-type=delivery-status";
    let mut builder = MessageBuilder::new()
        .from(("Mail Delivery System", "MAILER-DAEMON@mta.example"))
        .to(sender)
        .subject("Undelivered Mail Returned to Sender")
        .header("Auto-Submitted", Raw::new("auto-replied"))
        .body(MimePart::new(kind, parts));
    if let Some(id) = message.message_id() {
        builder = builder.references(id);
    }
    builder.write_to_vec().unwrap_or_default()
}

/// The header section of a message, as it stands.
fn header_section(content: &[u8]) -> &[u8] {
    let end = memmem::find(content, b"\n\n").map_or(content.len(), |at| at + 1);
    let crlf = memmem::find(content, b"\r\n\r\n").map_or(content.len(), |at| at + 2);
    &content[..end.min(crlf)]
}

fn judge(number: usize, record: &[u8], directory: &Directory, full: bool, out: &mut Output) {
    out.counts.messages += 1;
    let line_end = memchr::memchr(b'\n', record).map_or(record.len(), |at| at + 1);
    let (from_line, content) = record.split_at(line_end);
    let parser = MessageParser::default();
    let parsed = if full { parser.parse(content) } else { parser.parse_headers(content) };
    let from_line = String::from_utf8_lossy(from_line);
    let message = parsed.unwrap_or_default();
    let sender = sender(from_line.trim_end(), &message);
    let recipients = recipients(&message);
    let (failed, accepted): (Vec<&String>, Vec<&String>) =
        recipients.iter().partition(|recipient| directory.is_unknown(recipient));
    if !accepted.is_empty() {
        out.counts.accepted_messages += 1;
        out.counts.accepted += accepted.len();
        out.accepted.extend_from_slice(record);
    }
    if recipients.is_empty() {
        out.counts.dead += 1;
    } else if sender.is_empty() || directory.is_unknown(&sender.to_ascii_lowercase()) {
        out.counts.dead += failed.len();
    } else if !failed.is_empty() {
        out.counts.reported += failed.len();
        out.counts.reports += 1;
        out.reports.extend_from_slice(b"From MAILER-DAEMON Fri Jan  2 03:04:05 2026\n");
        out.reports.extend(report(sender, &failed, &message, header_section(content)));
        out.reports.push(b'\n');
    }
    let delivered = accepted.into_iter().map(|recipient| (recipient, "delivered", "2.0.0"));
    for (recipient, outcome, status) in
        delivered.chain(failed.into_iter().map(|recipient| (recipient, "failed", "5.1.1")))
    {
        let event = Event { number, sender, size: content.len(), recipient, outcome, status };
        // Writing into memory doesn't fail.
        let _ = serde_json::to_writer(&mut out.events, &event);
        out.events.push(b'\n');
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    rayon::ThreadPoolBuilder::new().num_threads(options.threads).build_global()?;
    let text = fs::read_to_string(&options.directory)
        .with_context(|| format!("{}", options.directory.display()))?;
    let directory = Directory::read(&text);
    let queue =
        File::open(&options.queue).with_context(|| format!("{}", options.queue.display()))?;
    // SAFETY: the queue isn't changed while it is read.
    let mbox = unsafe { memmap2::Mmap::map(&queue)? };
    let messages = frame(&mbox);
    fs::create_dir_all(&options.out)?;
    let create = |name: &str| File::create(options.out.join(name)).map(BufWriter::new);
    let mut files = [create("accepted.mbox")?, create("ndr.mbox")?, create("events.jsonl")?];
    let mut counts = Counts::default();
    for (batch, records) in messages.chunks(BATCH).enumerate() {
        let outputs: Vec<Output> = records
            .par_chunks(TASK)
            .enumerate()
            .map(|(task, records)| {
                let mut out = Output::default();
                for (at, record) in records.iter().enumerate() {
                    judge(
                        batch * BATCH + task * TASK + at,
                        record,
                        &directory,
                        options.full,
                        &mut out,
                    );
                }
                out
            })
            .collect();
        for output in &outputs {
            for (file, bytes) in
                files.iter_mut().zip([&output.accepted, &output.reports, &output.events])
            {
                file.write_all(bytes)?;
            }
            counts.add(&output.counts);
        }
    }
    for mut file in files {
        file.flush()?;
    }
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}
