//! Events as messages of syslog (RFC 5424), and their framing on a stream (RFC 6587, 3.4.1).
//!
//! Pure: bytes are appended to a buffer. The message is the event's sentence on one line; number,
//! id and queue id are structured data. Not here: sockets and files. Invariants: a message has no
//! line end or other control character, is UTF-8, is marked so by a BOM where it isn't ASCII (RFC
//! 5424, 6.4), and is at most [`limits::SYSLOG_BYTES_MAX`] long, so that every receiver takes it.

use super::catalogue::Kind;
use super::told::Told;
use crate::limits;

/// The mail system (RFC 5424, 6.2.1).
const FACILITY: u8 = 2;
/// The private enterprise number kept for examples (RFC 5612): the project has none of its own.
const DATA_ID: &str = "inqueue@32473";

/// Stands in every message, and tells it from others'.
pub const MARK: &[u8] = b" inqueue - ";

/// Appends the message of an event, without any end. `hostname` is cut and cleaned as a header
/// field needs it.
pub fn append(out: &mut Vec<u8>, told: &Told, hostname: &str) {
    let start = out.len();
    let severity = match told.kind() {
        Kind::Error => 3,
        Kind::Warning => 4,
        Kind::Information => 6,
    };
    out.extend_from_slice(format!("<{}>1 ", FACILITY * 8 + severity).as_bytes());
    match told.time() {
        Some(time) => time.write_rfc3339(out),
        None => out.push(b'-'),
    }
    out.push(b' ');
    append_name(out, hostname);
    let number = told.number();
    out.extend_from_slice(format!(" inqueue - {number} [{DATA_ID}").as_bytes());
    let kind = told.kind().name().to_owned();
    let parameters = [
        ("number", number.to_string()),
        ("type", kind),
        ("id", told.id()),
        ("queue_id", told.queue_id()),
    ];
    for (name, value) in parameters {
        out.extend_from_slice(format!(" {name}=\"").as_bytes());
        append_value(out, &value);
        out.push(b'"');
    }
    out.extend_from_slice(b"] ");
    append_text(out, start, &told.sentence());
}

/// Appends a message as it goes over a stream: its length, a space, and it.
pub fn append_counted(out: &mut Vec<u8>, told: &Told, hostname: &str) {
    let mut message = Vec::new();
    append(&mut message, told, hostname);
    out.extend_from_slice(message.len().to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&message);
}

/// A name of the header: 1 to 255 printable characters of ASCII.
fn append_name(out: &mut Vec<u8>, name: &str) {
    let start = out.len();
    out.extend(name.bytes().filter(u8::is_ascii_graphic).take(255));
    if out.len() == start {
        out.push(b'-');
    }
}

/// A value of structured data: `"`, `\` and `]` are escaped (RFC 5424, 6.3.3), a long one is cut.
fn append_value(out: &mut Vec<u8>, value: &str) {
    let end = value.floor_char_boundary(limits::SYSLOG_VALUE_BYTES_MAX);
    for c in value.get(..end).unwrap_or_default().chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push(b'\\');
        }
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// The sentence on one line, cut where the message would be too long.
fn append_text(out: &mut Vec<u8>, start: usize, sentence: &str) {
    const CUT: &str = "...";
    let line = sentence.replace("\r\n", " ");
    if !line.is_ascii() {
        out.extend_from_slice("\u{FEFF}".as_bytes());
    }
    let room = limits::SYSLOG_BYTES_MAX.saturating_sub(out.len() - start);
    if line.len() <= room {
        out.extend_from_slice(line.as_bytes());
    } else {
        let end = line.floor_char_boundary(room.saturating_sub(CUT.len()));
        out.extend_from_slice(line.get(..end).unwrap_or_default().as_bytes());
        out.extend_from_slice(CUT.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(line: &serde_json::Value) -> String {
        let told = Told::parse(line.to_string().as_bytes()).unwrap();
        let mut out = Vec::new();
        append(&mut out, &told, "mta.example");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_are_those_of_the_rfc() {
        let mut line = serde_json::json!({
            "id": "K-1-s0", "time": "2026-01-02T03:04:05Z", "number": 2450, "type": "error",
            "queue_id": "a\"]\\", "sender": "ann@a.example", "stream": "dead-letter", "reason": "x",
        });
        assert_eq!(
            message(&line),
            "<19>1 2026-01-02T03:04:05Z mta.example inqueue - 2450 [inqueue@32473 number=\"2450\" \
             type=\"error\" id=\"K-1-s0\" queue_id=\"a\\\"\\]\\\\\"] MS Mail Connector Interchange \
             has failed processing message from Exchange. The message is left in the delivery \
             queue. This message is from ann@a.example. This error message will be logged again \
             the next time MS Connector is restarted if the message is not removed from the \
             queue. (It is set aside: dead-letter, x.)"
        );
        line["sender"] = "\u{f6}\u{0}\n@a.example".into();
        let other = message(&line);
        let (_, text) = other.split_once("] ").unwrap();
        assert!(text.starts_with("\u{FEFF}MS Mail"));
        assert!(text.contains("from \u{f6}\u{FFFD}\u{FFFD}@a.example. "));
        let info = serde_json::json!({"number": 2444, "type": "information"});
        assert_eq!(
            message(&info),
            "<22>1 - mta.example inqueue - 2444 [inqueue@32473 number=\"2444\" \
             type=\"information\" id=\"(unknown)\" queue_id=\"(unknown)\"] Message ID <(unknown)> \
             processed from INQUEUE From: (unknown) To: (unknown)"
        );
    }

    #[test]
    fn a_stream_has_the_length_before_each_message() {
        let told = Told::parse(br#"{"number":2444,"queue_id":"\u00f6"}"#).unwrap();
        let (mut one, mut counted) = (Vec::new(), Vec::new());
        append(&mut one, &told, "");
        append_counted(&mut counted, &told, "");
        assert_eq!(counted, [format!("{} ", one.len()).as_bytes(), &one].concat());
    }

    proptest! {
        /// Any text anywhere: one line, bounded, UTF-8, and a BOM where it isn't ASCII.
        #[test]
        fn messages_take_any_text(
            id in ".{0,300}", queue in ".{0,300}", sender in ".{0,3000}", host in ".{0,300}",
            number in any::<u16>(),
        ) {
            let line = serde_json::json!({
                "number": number, "id": id, "queue_id": queue, "sender": sender, "text": sender,
                "reason": sender,
            });
            let told = Told::parse(line.to_string().as_bytes()).unwrap();
            let mut out = Vec::new();
            append(&mut out, &told, &host);
            prop_assert!(out.len() <= limits::SYSLOG_BYTES_MAX, "{}", out.len());
            let text = String::from_utf8(out).unwrap();
            prop_assert!(!text.chars().any(char::is_control));
            // What a sender wrote may look like the mark: one of the places is it. Templates have
            // line ends, which become spaces.
            let whole = told.sentence().replace("\r\n", " ");
            let is_marked = text.match_indices("] \u{FEFF}").any(|(at, mark)| {
                let sentence = text[at + mark.len()..].trim_end_matches("...");
                !sentence.is_empty() && whole.starts_with(sentence)
            });
            prop_assert!(whole.is_ascii() || is_marked);
        }
    }
}
