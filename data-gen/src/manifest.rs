//! Lines of the manifest, as docs/manifest.md describes them.
//!
//! What it deliberately does not do: general JSON. The lines are written by hand, because they are
//! made once for each message, in two parts: the second when the message is made, the first when
//! its offset is known.
//!
//! Invariant: each line is valid JSON in UTF-8, whatever bytes an address holds.

use crate::bytes::{hex, num, wide};
use crate::expect::Disposition;
use crate::options::Options;
use crate::time::rfc3339;

/// The head line.
pub(crate) fn head(options: &Options) -> Vec<u8> {
    let mut out = b"{\"manifest\":1,\"messages\":".to_vec();
    num(&mut out, options.messages);
    out.extend_from_slice(b",\"seed\":");
    num(&mut out, options.seed);
    out.extend_from_slice(b",\"format\":\"");
    out.extend_from_slice(options.format.name().as_bytes());
    out.extend_from_slice(b"\",\"now\":\"");
    rfc3339(&mut out, options.now);
    out.extend_from_slice(b"\",\"directory\":\"directory.txt\",\"queue\":\"");
    out.extend_from_slice(options.format.queue().as_bytes());
    out.extend_from_slice(b"\"}\n");
    out
}

/// The first part of a line: where the message stands.
pub(crate) fn place(out: &mut Vec<u8>, index: u64, file: &[u8], offset: u64) {
    out.extend_from_slice(b"{\"index\":");
    num(out, index);
    out.extend_from_slice(b",\"file\":\"");
    out.extend_from_slice(file);
    out.extend_from_slice(b"\",\"offset\":");
    num(out, offset);
}

/// The second part of a damaged range's line.
pub(crate) fn damage(out: &mut Vec<u8>, length: usize, hazard: &str) {
    out.extend_from_slice(b",\"length\":");
    num(out, wide(length));
    out.extend_from_slice(b",\"damage\":true,\"hazard\":\"");
    out.extend_from_slice(hazard.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// What the second part of a message's line says.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) length: usize,
    pub(crate) checksum: u32,
    pub(crate) hazard: &'a str,
    pub(crate) fault: Option<&'a str>,
    pub(crate) quarantined: bool,
    pub(crate) dispositions: &'a [Disposition<'a>],
}

/// The second part of a message's line.
pub(crate) fn message(out: &mut Vec<u8>, line: &Line<'_>) {
    out.extend_from_slice(b",\"length\":");
    num(out, wide(line.length));
    out.extend_from_slice(b",\"checksum\":\"");
    hex(out, u64::from(line.checksum), 8);
    out.extend_from_slice(b"\",\"hazard\":\"");
    out.extend_from_slice(line.hazard.as_bytes());
    out.extend_from_slice(b"\",\"fault\":");
    match line.fault {
        Some(stage) => string(out, stage.as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    if line.quarantined {
        out.extend_from_slice(b",\"quarantined\":true");
    }
    out.extend_from_slice(b",\"dispositions\":[");
    for (at, one) in line.dispositions.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        disposition(out, one);
    }
    out.extend_from_slice(b"]}\n");
}

fn disposition(out: &mut Vec<u8>, one: &Disposition<'_>) {
    out.extend_from_slice(b"{\"ordinal\":");
    match one.ordinal {
        Some(ordinal) => num(out, wide(ordinal)),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"address\":");
    string(out, &one.address);
    out.extend_from_slice(b",\"outcome\":\"");
    out.extend_from_slice(one.outcome.name().as_bytes());
    out.extend_from_slice(b"\",\"status\":\"");
    out.extend_from_slice(one.status.as_bytes());
    out.extend_from_slice(b"\",\"until\":");
    match one.until {
        Some(time) => {
            out.push(b'"');
            rfc3339(out, time);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

/// A JSON string; bytes that aren't UTF-8 as U+FFFD.
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let plain = bytes.iter().all(|b| (0x20..0x7F).contains(b) && *b != b'"' && *b != b'\\');
    if plain {
        out.extend_from_slice(bytes);
    } else {
        for letter in String::from_utf8_lossy(bytes).chars() {
            match letter {
                '"' | '\\' => {
                    out.push(b'\\');
                    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                '\0'..='\x1f' => {
                    out.extend_from_slice(b"\\u");
                    hex(out, u64::from(u32::from(letter)), 4);
                }
                _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::expect::Outcome;

    #[test]
    fn strings_are_escaped() {
        let mut out = Vec::new();
        string(&mut out, b"a\"\\\r\0\xff\xfe\xc3\xa4");
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "\"a\\\"\\\\\\u000d\\u0000\u{fffd}\u{fffd}\u{e4}\"");
    }

    #[test]
    fn a_line_as_documented() {
        let one = Disposition {
            ordinal: Some(0),
            address: Cow::Borrowed(b"a@b..c"),
            outcome: Outcome::DeadLetter,
            status: "5.1.3",
            until: None,
        };
        let mut out = Vec::new();
        place(&mut out, 7, b"queue.seg", 35_812);
        let line = Line {
            length: 5_230,
            checksum: 0xE306_9283,
            hazard: "invalid-sender-and-recipients",
            fault: None,
            quarantined: false,
            dispositions: &[one],
        };
        message(&mut out, &line);
        let expected = concat!(
            r#"{"index":7,"file":"queue.seg","offset":35812,"length":5230,"checksum":"e3069283","#,
            r#""hazard":"invalid-sender-and-recipients","fault":null,"dispositions":["#,
            r#"{"ordinal":0,"address":"a@b..c","outcome":"dead-letter","status":"5.1.3","#,
            r#""until":null}]}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
