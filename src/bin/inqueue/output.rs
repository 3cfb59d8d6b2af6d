//! How commands end, and what they say on the terminal: exit codes, errors on one line, text that
//! is safe to show.
//!
//! Invariant: a bare [`io::Error`] that a command returns is one of standard output; all others
//! carry their file.

use std::io::{self, Write};
use std::process::ExitCode;

/// How a command ends that did its work: by a count of what was damaged.
pub(crate) fn ended(damaged: u64) -> ExitCode {
    if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// The process's exit code; tells the error.
pub(crate) fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        tell(&chain(&error));
        ExitCode::from(1)
    })
}

/// Ends a command that was called in a way that can't be meant.
pub(crate) fn usage(text: &str) -> ExitCode {
    tell(text);
    ExitCode::from(2)
}

/// Says something on standard error.
pub(crate) fn tell(text: &str) {
    // There is nobody to tell where that fails.
    let _ = writeln!(io::stderr(), "inqueue: {text}");
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error and its causes on one line; a cause that the text before names already isn't said
/// twice.
fn chain(error: &anyhow::Error) -> String {
    let mut text = if error.downcast_ref::<io::Error>().is_some() {
        format!("standard output: {error}")
    } else {
        error.to_string()
    };
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text.replace(['\n', '\r'], " ")
}

/// Appends text as it may be shown: what isn't UTF-8, and control characters, as U+FFFD.
pub(crate) fn write_shown(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        out.extend_from_slice(text);
        return;
    }
    for character in String::from_utf8_lossy(text).chars() {
        let shown = if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// A number of bytes for people: `5.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}
