//! How commands end, and what they say on the terminal: exit codes, errors on one line, text that
//! is safe to show.
//!
//! Invariants: whatever names and addresses hold, nothing here sends a terminal an escape sequence;
//! a bare [`io::Error`] that a command returns is one of standard output; all others carry their
//! file.

use serde::Serialize;
use std::fmt::Display;
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
    say(&format!("inqueue: {}\n", shown(text)));
}

/// Writes a text to standard error in one piece, so that the lines of two processes don't mix.
pub(crate) fn say(text: &str) {
    // There is nobody to tell where that fails.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Text that may hold names of files, as it may be shown.
pub(crate) fn shown(text: impl Display) -> String {
    text.to_string().chars().map(shown_char).collect()
}

/// What may do something to a terminal, or make a text look like another, as U+FFFD: control
/// characters, what turns the direction of text, what ends lines or has no width.
const fn shown_char(character: char) -> char {
    match character {
        '\0'..='\x1F'
        | '\x7F'..='\u{9F}'
        | '\u{AD}'
        | '\u{61C}'
        | '\u{180E}'
        | '\u{200B}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E007F}' => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

/// Writes a value as one line of JSON, in ASCII: a terminal takes it as it stands.
pub(crate) fn write_json(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)?;
    let mut units = [0; 2];
    for character in text.chars() {
        if matches!(character, ' '..='~') {
            out.write_all(&[character as u8])?;
            continue;
        }
        // Outside of texts, where escapes can stand, JSON is ASCII.
        for unit in character.encode_utf16(&mut units) {
            write!(out, "\\u{unit:04x}")?;
        }
    }
    Ok(writeln!(out)?)
}

/// Contents on their way to standard output: where that is a terminal, as they may be shown there.
pub(crate) struct Contents<W> {
    out: W,
    is_terminal: bool,
    /// The start of a character whose rest is in the next piece.
    open: Vec<u8>,
}

impl<W: Write> Contents<W> {
    pub(crate) const fn new(out: W, is_terminal: bool) -> Self {
        Self { out, is_terminal, open: Vec::new() }
    }

    /// A piece of a content.
    pub(crate) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        if !self.is_terminal {
            return self.out.write_all(piece);
        }
        // A megabyte at a time: what is shown may be longer than what it is made from.
        piece.chunks(1 << 20).try_for_each(|piece| self.show(piece))
    }

    fn show(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut all = std::mem::take(&mut self.open);
        all.extend_from_slice(piece);
        let mut shown = Vec::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' | '\t' => shown.push(character as u8),
                    // Mail's line ends; a bare one would let a line be written over.
                    '\r' => {}
                    _ => shown.extend_from_slice(
                        shown_char(character).encode_utf8(&mut [0; 4]).as_bytes(),
                    ),
                }
            }
            let rest = chunk.invalid();
            if chunks.peek().is_none() && rest.len() < 4 && is_open(rest) {
                self.open = rest.to_vec();
            } else if !rest.is_empty() {
                shown.extend_from_slice("\u{FFFD}".as_bytes());
            }
        }
        self.out.write_all(&shown)
    }

    /// Ends a content.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let open = std::mem::take(&mut self.open);
        if !open.is_empty() {
            self.out.write_all("\u{FFFD}".as_bytes())?;
        }
        self.out.flush()
    }
}

/// True where more bytes could make a character of these.
fn is_open(rest: &[u8]) -> bool {
    std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none())
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

/// Appends text as it may be shown: what isn't UTF-8, and what [`shown`] replaces, as U+FFFD.
pub(crate) fn write_shown(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        out.extend_from_slice(text);
        return;
    }
    for character in String::from_utf8_lossy(text).chars() {
        out.extend_from_slice(shown_char(character).encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// A number of bytes for people: `5.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}
