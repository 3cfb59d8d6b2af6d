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
use inqueue::engine::reproduce::{
    self, Again, Capsule, Death, PartAgain, PartOfRun, Strike, Struck,
};
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
    #[arg(long, conflicts_with_all = ["id", "part", "save", "here"])]
    list: bool,
    /// All of a part that was left undone, by its number
    #[arg(long, value_name = "N", conflicts_with_all = ["id", "save"])]
    part: Option<u32>,
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
    let names_one = args.id.is_some() || args.part.is_some();
    if is_run && !names_one && !args.list {
        return Ok(output::usage("an ID is needed beside a run (--list gives them)"));
    }
    if !is_run && (names_one || args.list) {
        let what = "an ID, --part or --list is for the folder of a run; this is a file";
        return Ok(output::usage(what));
    }
    if args.list {
        return list(args);
    }
    if let Some(part) = args.part {
        return run_part(args, part);
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
    tell_differences(&capsule.differences(&directory));
    let again = if args.here {
        reproduce::reproduce_here(&capsule, &directory)?
    } else {
        reproduce::reproduce(&capsule, &directory, &fence(args))?
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

fn run_part(args: &ReproduceArgs, part: u32) -> anyhow::Result<ExitCode> {
    let (part, directory) = engine::alone(|| {
        let part = PartOfRun::open(&args.from, part)?;
        let directory = load_directory(args, part.directory())?;
        anyhow::Ok((part, directory))
    })??;
    tell_differences(&part.differences(&directory));
    let again = if args.here {
        part.reproduce_here(&directory)?
    } else {
        part.reproduce(&directory, &fence(args))?
    };
    let mut out = Vec::new();
    if args.json {
        write_json_of_part(&mut out, &part, &again);
    } else {
        write_text_of_part(&mut out, args, &part, &again);
    }
    io::stdout().lock().write_all(&out)?;
    Ok(ExitCode::from(if again.death.is_none() { 0 } else { 3 }))
}

fn fence(args: &ReproduceArgs) -> Fence {
    let half = || rustix::system::sysinfo().totalram / 2;
    let memory_limit = Some(args.memory_limit.unwrap_or_else(half));
    Fence { message_timeout: args.message_timeout, memory_limit }
}

fn tell_differences(differences: &[String]) {
    for difference in differences {
        tell(&format!("{difference}: what happens may be another thing"));
    }
}

/// The directory that is named, or that of the run.
fn load_directory(args: &ReproduceArgs, of_run: Option<&Path>) -> anyhow::Result<Directory> {
    let Some(path) = args.directory.as_deref().or(of_run) else {
        return Ok(Directory::default());
    };
    Directory::load(path).with_context(|| {
        format!("{}: the directory can't be read (--directory names it)", path.display())
    })
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
    let directory = load_directory(args, capsule.directory.path.as_deref())?;
    Ok((capsule, Some(directory)))
}

fn list(args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    let all = reproduce::struck(&args.from)?;
    let deaths = reproduce::deaths(&args.from)?;
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
    for (part, death) in &deaths {
        if args.json {
            write_object_of_death(&mut out, *part, death);
        } else {
            let Death { index, offset, stage, fault } = death;
            let place = format!("message {index}, offset {offset}");
            let columns = [&format!("--part {part}"), stage, fault, &place];
            write_columns(&mut out, columns.map(String::as_str));
            out.extend_from_slice(b"-\n");
        }
    }
    if !args.json {
        let left = match deaths.len() {
            0 => String::new(),
            count => format!("; {count} deaths in parts that aren't done"),
        };
        let line = format!("{faults} faults, {} messages{left}\n", all.len());
        out.extend_from_slice(line.as_bytes());
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

fn write_object_of_death(out: &mut Vec<u8>, part: u32, death: &Death) {
    let Death { index, offset, stage, fault } = death;
    let object = json!({
        "queue_id": null,
        "id": null,
        "part": part,
        "index": index,
        "offset": offset,
        "stage": stage,
        "fault": fault,
        "place": null,
        "records": [],
    });
    out.extend_from_slice(object.to_string().as_bytes());
    out.push(b'\n');
}

fn write_columns(out: &mut Vec<u8>, texts: [&str; 4]) {
    for (width, text) in [24, 7, 40, 32].into_iter().zip(texts) {
        column(out, width, |out| write_shown(out, text.as_bytes()));
    }
}

fn write_row(out: &mut Vec<u8>, struck: &Struck, strike: &Strike) {
    let columns = [&struck.queue_id, &strike.stage, &strike.fault, &strike.place];
    write_columns(out, columns.map(String::as_str));
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

/// The part dies as it did before: over the same message, in the same way.
fn is_same_death(part: &PartOfRun, again: &PartAgain) -> bool {
    let cause = |death: &Death| (death.index, death.stage.clone(), death.fault.clone());
    let now = again.death.as_ref().map(cause);
    part.before.iter().any(|before| Some(cause(before)) == now)
}

fn write_json_of_part(out: &mut Vec<u8>, part: &PartOfRun, again: &PartAgain) {
    let object = json!({
        "part": part.part,
        "queue": part.queue,
        "format": part.format,
        "place": part.place,
        "before": part.before,
        "now": again.death.iter().collect::<Vec<_>>(),
        "counts": again.counts,
        "same": is_same_death(part, again),
    });
    out.extend_from_slice(object.to_string().as_bytes());
    out.push(b'\n');
}

fn write_text_of_part(
    out: &mut Vec<u8>,
    args: &ReproduceArgs,
    part: &PartOfRun,
    again: &PartAgain,
) {
    line(out, "Part", |out| out.extend_from_slice(part.part.to_string().as_bytes()));
    line(out, "Place", |out| write_shown(out, part.place.as_bytes()));
    let queue = format!("{} ({})", part.queue.display(), part.format);
    line(out, "Queue", |out| write_shown(out, queue.as_bytes()));
    let text = |death: &Death| {
        let Death { index, offset, stage, fault } = death;
        format!("{fault} in {stage}, at message {index}, offset {offset}")
    };
    for death in &part.before {
        line(out, "Before", |out| write_shown(out, text(death).as_bytes()));
    }
    let now = again.death.as_ref().map_or_else(|| "nothing".to_owned(), text);
    line(out, "Now", |out| write_shown(out, now.as_bytes()));
    if again.death.is_some() {
        if !is_same_death(part, again) {
            line(out, "Same", |out| out.extend_from_slice(b"no: another death than before"));
        }
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
    if let Some(part) = args.part {
        words.extend(["--part".to_owned(), part.to_string()]);
    }
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
