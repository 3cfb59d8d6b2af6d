//! Hostile input, through the real binary: what is in the place of files, in names, in addresses,
//! and how much of it.
//!
//! Not here: bytes that no format explains (`fuzz_corpus`), and faults that a message causes
//! (`faults`).

mod budget;
mod files;
mod injection;
mod modes;
mod names;
mod size;
mod terminal;

use crate::support::{NOW, text};
use inqueue::mail::content::Content;
use inqueue::queue::segment::write::{Fields, Payload, Place, append_head, file_header};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// Seconds after which a program is killed: what takes so long hangs, or takes time that grows with
/// the square of its input. Nothing here needs a tenth of it.
const KILLED_AFTER_S: &str = "300";

/// Addresses that are there, and a domain that is nobody's here.
const DIRECTORY: &str = "bob@example.com\npostmaster@example.com\npostmaster bob@example.com\n";

/// Runs the binary under a deadline and, where one is given, a bound of its address space in KiB:
/// the system's own, so that neither needs a clock here. It must have ended by itself.
fn ended<A: AsRef<OsStr>>(memory_kib: Option<u64>, arguments: &[A]) -> Output {
    let bound = memory_kib.map_or_else(|| "unlimited".to_owned(), |kib| kib.to_string());
    let script = format!("ulimit -v {bound}; umask 000; exec \"$@\"");
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", KILLED_AFTER_S, "sh", "-c", &script, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_inqueue")).args(arguments);
    let output = command.output().unwrap();
    let code = output.status.code();
    assert!(matches!(code, Some(0..=3)), "{code:?} (137: killed): {}", text(&output.stderr));
    output
}

/// A run of a queue into `out`, with the directory of these tests.
fn run(memory_kib: Option<u64>, queue: &str, out: &Path, more: &[&str]) -> Output {
    let directory = out.with_extension("directory");
    std::fs::write(&directory, DIRECTORY).unwrap();
    let mut arguments: Vec<&OsStr> = ["run", queue, "--now", NOW, "--json", "--sync", "never"]
        .into_iter()
        .chain(["--hostname", "mta.example", "--directory"])
        .map(OsStr::new)
        .collect();
    arguments.extend([directory.as_os_str(), OsStr::new("--out"), out.as_os_str()]);
    arguments.extend(more.iter().map(OsStr::new));
    ended(memory_kib, &arguments)
}

/// Writes an envelope.
type Write<'w> = &'w dyn Fn(&mut Fields<'_>);

/// A segment of messages: what their envelopes say, and their contents.
fn segment(messages: &[(Write<'_>, &[u8])]) -> Vec<u8> {
    let mark = 7;
    let mut file = file_header(mark).to_vec();
    for (envelope, content) in messages {
        let place = Place { offset: file.len() as u64, mark };
        append_head(&mut file, place, &Payload::measure(Content::plain(content)), envelope);
        file.extend_from_slice(content);
    }
    file
}

/// What a run counted.
fn counts(output: &Output) -> serde_json::Value {
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    said["counts"].clone()
}

/// A named pipe.
fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}
