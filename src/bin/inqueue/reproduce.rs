//! `inqueue reproduce`: runs one message again that a fault has struck, from its run or from a
//! capsule (docs/reproduce.md).
//!
//! Not here: finding it and running it (`engine::reproduce`). What comes from a message or a
//! capsule is escaped on a terminal. Invariant: neither run nor queue is changed; the one thing
//! that is written is a capsule into a new file.

use crate::inspect::column;
use crate::options::size;
use crate::output::{self, tell, write_shown};
use crate::run::duration;
use crate::show::line;
use anyhow::Context as _;
use inqueue::directory::Directory;
use inqueue::engine::reproduce::{self, Again, Capsule, Strike, Struck};
use inqueue::engine::{self, Fence};
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Run a message again that a fault has struck: alone, in a process of its own, writing nothing
///
/// Exit codes: 0 nothing happens to it any more, 3 it is struck again.
#[derive(Debug, clap::Args)]
pub(crate) struct ReproduceArgs {
    /// Folder of the run; or a capsule, which `--save` has made
    #[arg(value_name = "RUN|CAPSULE")]
    from: PathBuf,
    /// In a run: the message's queue id, or a record's place, as quarantine/00003.seg:32
    id: Option<String>,
    /// The faults of a run, a line each
    #[arg(long, conflicts_with_all = ["id", "save", "here"])]
    list: bool,
    /// Doesn't run it: writes it, with all that it needs but the directory's text, into a new file.
    /// The whole message is in there
    #[arg(long, value_name = "FILE", requires = "id", conflicts_with_all = ["here", "json"])]
    save: Option<PathBuf>,
    /// File of known addresses; that of the run when not given
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,
    /// In this process, for a debugger: what kills it kills this process
    #[arg(long, conflicts_with_all = ["message_timeout", "memory_limit"])]
    here: bool,
    /// What it may take, as 10s, 500ms, 2m. Large ones have more time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    message_timeout: Duration,
    /// Memory that it may take, as 512M, 4G; half of the machine's when not given
    #[arg(long, value_name = "BYTES", value_parser = size)]
    memory_limit: Option<u64>,
    /// As one JSON object; with --list one a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    let is_run = args.from.is_dir();
    if is_run && args.id.is_none() && !args.list {
        return Ok(output::usage("an ID is needed beside a run (--list gives them)"));
    }
    if !is_run && (args.id.is_some() || args.list) {
        return Ok(output::usage("an ID, or --list, is for the folder of a run; this is a file"));
    }
    if args.list {
        return list(args);
    }
    // Whatever has threads comes to its end before a process is split off.
    let (capsule, directory) = engine::alone(|| open(args))??;
    if let Some(path) = &args.save {
        capsule.save(path)?;
        let (id, path) = (shown(&capsule.message.queue_id), path.display());
        writeln!(io::stdout().lock(), "{id} saved in {path}: inqueue reproduce {path}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(directory) = directory else { return Ok(ExitCode::from(1)) };
    for difference in capsule.differences(&directory) {
        tell(&format!("{difference}: what happens may be another thing"));
    }
    let again = if args.here {
        engine::reproduce::reproduce_here(&capsule, &directory)?
    } else {
        let half = || rustix::system::sysinfo().totalram / 2;
        let memory_limit = Some(args.memory_limit.unwrap_or_else(half));
        let fence = Fence { message_timeout: args.message_timeout, memory_limit };
        reproduce::reproduce(&capsule, &directory, &fence)?
    };
    let mut out = Vec::new();
    if args.json {
        write_json(&mut out, &capsule, &again);
    } else {
        write_text(&mut out, args, &capsule, &again);
    }
    io::stdout().lock().write_all(&out)?;
    Ok(ExitCode::from(if again.faults.is_empty() { 0 } else { 3 }))
}

/// The capsule, and the directory that it is run with, where it is run.
fn open(args: &ReproduceArgs) -> anyhow::Result<(Capsule, Option<Directory>)> {
    let capsule = match &args.id {
        Some(id) => Capsule::of(&args.from, id)?,
        None => Capsule::load(&args.from)?,
    };
    if args.save.is_some() {
        return Ok((capsule, None));
    }
    let of_run = capsule.directory.path.as_ref();
    let directory = match args.directory.as_ref().or(of_run) {
        Some(path) => Directory::load(path).with_context(|| {
            format!("{}: the directory can't be read (--directory names it)", path.display())
        })?,
        None => Directory::default(),
    };
    Ok((capsule, Some(directory)))
}

fn list(args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    let all = reproduce::struck(&args.from)?;
    let mut out = Vec::new();
    if !args.json {
        let header = format!("{:<24} {:<7} {:<40} {:<32} ", "QUEUE ID", "STAGE", "FAULT", "PLACE");
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(b"RECORD\n");
    }
    let mut faults = 0_u64;
    for struck in &all {
        for strike in &struck.faults {
            faults += 1;
            if args.json {
                write_object(&mut out, struck, strike);
            } else {
                write_row(&mut out, struck, strike);
            }
        }
    }
    if !args.json {
        out.extend_from_slice(format!("{faults} faults, {} messages\n", all.len()).as_bytes());
    }
    io::stdout().lock().write_all(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn write_object(out: &mut Vec<u8>, struck: &Struck, strike: &Strike) {
    let object = json!({
        "queue_id": struck.queue_id,
        "id": strike.id,
        "part": struck.part,
        "stage": strike.stage,
        "fault": strike.fault,
        "place": strike.place,
        "records": struck.places(),
    });
    out.extend_from_slice(object.to_string().as_bytes());
    out.push(b'\n');
}

fn write_row(out: &mut Vec<u8>, struck: &Struck, strike: &Strike) {
    let columns = [(24, &struck.queue_id), (7, &strike.stage), (40, &strike.fault)];
    for (width, text) in columns.into_iter().chain([(32, &strike.place)]) {
        column(out, width, |out| write_shown(out, text.as_bytes()));
    }
    let record = struck.places().into_iter().next().unwrap_or_else(|| "-".to_owned());
    write_shown(out, record.as_bytes());
    out.push(b'\n');
}

/// The faults of before are all struck again, and no others.
fn is_same(capsule: &Capsule, again: &Again) -> bool {
    let (before, now) = (&capsule.faults, &again.faults);
    before.len() == now.len() && before.iter().zip(now).all(|(one, other)| one.is_same(other))
}

fn write_json(out: &mut Vec<u8>, capsule: &Capsule, again: &Again) {
    let message = &capsule.message;
    let object = json!({
        "queue_id": message.queue_id,
        "queue": message.queue,
        "file": message.file,
        "offset": message.offset,
        "length": message.length,
        "taken_from": message.taken_from,
        "before": capsule.faults,
        "now": again.faults,
        "counts": again.counts,
        "same": is_same(capsule, again),
    });
    out.extend_from_slice(object.to_string().as_bytes());
    out.push(b'\n');
}

fn write_text(out: &mut Vec<u8>, args: &ReproduceArgs, capsule: &Capsule, again: &Again) {
    let message = &capsule.message;
    let (offset, length, format) = (message.offset, message.length, message.format);
    let text = [
        ("Message", message.queue_id.clone()),
        ("Place", format!("{}, offset {offset}, {length} bytes", message.file)),
        (
            "Queue",
            format!("{} ({format}); taken from: {}", message.queue.display(), message.taken_from),
        ),
    ];
    for (name, text) in text {
        line(out, name, |out| write_shown(out, text.as_bytes()));
    }
    for strike in &capsule.faults {
        line(out, "Before", |out| write_strike(out, strike));
    }
    for strike in &again.faults {
        line(out, "Now", |out| write_strike(out, strike));
    }
    if again.faults.is_empty() {
        line(out, "Now", |out| out.extend_from_slice(b"nothing"));
    } else if !is_same(capsule, again) {
        line(out, "Same", |out| out.extend_from_slice(b"no: another fault than before"));
    }
    for stack in again.faults.iter().filter_map(|strike| strike.stack.as_ref()) {
        out.extend_from_slice(b"\n");
        for text in stack.lines() {
            write_shown(out, text.as_bytes());
            out.push(b'\n');
        }
    }
    if !again.faults.is_empty() && !args.here {
        out.extend_from_slice(b"\n");
        line(out, "Under a debugger", |out| write_shown(out, debugger(args).as_bytes()));
    }
}

fn write_strike(out: &mut Vec<u8>, strike: &Strike) {
    let Strike { stage, fault, place, .. } = strike;
    write_shown(out, format!("{fault} in {stage} ({place})").as_bytes());
}

/// The line that runs the same under a debugger.
fn debugger(args: &ReproduceArgs) -> String {
    let mut words = vec![args.from.display().to_string()];
    words.extend(args.id.clone());
    if let Some(path) = &args.directory {
        words.extend(["--directory".to_owned(), path.display().to_string()]);
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let program = std::env::args_os().next().unwrap_or_else(|| "inqueue".into());
    let program = quoted(&Path::new(&program).display().to_string());
    format!("gdb --args {program} reproduce {} --here", words.join(" "))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+=@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn shown(text: &str) -> String {
    let mut out = Vec::new();
    write_shown(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}
