//! Contents for messages that have none of their own: those of formats that hold fields, a text and
//! attachments (a post office's MAI, FFAPI text) are rendered as RFC 5322 messages.
//!
//! docs/postoffice.md, *The content*, says it byte by byte. [`append`] is a pure function: the same
//! message gives the same bytes. Not here: envelopes, and what comes as an RFC 5322 message
//! already. Invariant: any bytes may stand in any field; none of them can begin another line of the
//! header section.

use crate::mail::address::Mailbox;
use crate::mail::date::Time;
use crate::mail::envelope::write_hex;
use crate::mail::header;
use crate::mail::msmail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

/// What is rendered.
#[derive(Clone, Debug, Default)]
pub struct Message<'a> {
    /// MS Mail address of the author.
    pub from: Option<&'a [u8]>,
    /// MS Mail addresses. Those that no mailbox can be made of are left out, as in `from` and `cc`.
    pub to: &'a [&'a [u8]],
    /// MS Mail addresses of those who get a copy.
    pub cc: &'a [&'a [u8]],
    /// The Date field.
    pub date: Option<Time>,
    /// The subject: any bytes.
    pub subject: Option<&'a [u8]>,
    /// 1 highest to 5 lowest; 3 is not written.
    pub priority: u8,
    /// The text: any bytes.
    pub text: &'a [u8],
    /// In their order.
    pub attachments: &'a [Attachment<'a>],
    /// Makes the boundary, where there are attachments: the name of the MAI, ASCII.
    pub boundary_name: &'a [u8],
}

/// A file that comes with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// The file's name: any bytes.
    pub name: &'a [u8],
    /// The file.
    pub bytes: &'a [u8],
}

/// Longest subject that stands as it is.
const SUBJECT_BYTES_MAX: usize = 900;
/// Bytes of text in an encoded word: with its frame it has at most 75 characters (RFC 2047, 2).
const WORD_BYTES_MAX: usize = 45;
/// The same where the charset's name is `unknown-8bit`.
const WORD_BYTES_MAX_UNKNOWN: usize = 42;
/// Bytes of a line of 76 characters of base64.
const BASE64_LINE_BYTES: usize = 57;

/// Appends the message.
pub fn append(message: &Message<'_>, out: &mut Vec<u8>) {
    let attached: usize = message.attachments.iter().map(|file| file.bytes.len()).sum();
    out.reserve(message.text.len() + attached + attached / 2 + 1024);
    addresses(b"From", message.from.as_slice(), out);
    addresses(b"To", message.to, out);
    addresses(b"Cc", message.cc, out);
    if let Some(date) = message.date {
        out.extend_from_slice(b"Date: ");
        date_of_two_digits(date, out);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(subject) = message.subject.filter(|subject| !subject.is_empty()) {
        out.extend_from_slice(b"Subject: ");
        write_subject(subject, out);
        out.extend_from_slice(b"\r\n");
    }
    if message.priority != 3 {
        out.extend_from_slice(b"X-Priority: ");
        out.extend_from_slice(itoa::Buffer::new().format(message.priority).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    if message.attachments.is_empty() {
        text_part(message.text, out);
    } else {
        multipart(message, out);
    }
}

/// A field of addresses, one a line; none where none of them is a mailbox.
fn addresses(name: &[u8], addresses: &[&[u8]], out: &mut Vec<u8>) {
    let start = out.len();
    let mut path = Vec::new();
    for address in addresses {
        path.clear();
        msmail::to_path(address, &mut path);
        let Ok(mailbox) = Mailbox::parse(&path) else { continue };
        if out.len() == start {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
        } else {
            out.extend_from_slice(b",\r\n ");
        }
        out.extend_from_slice(mailbox.local_part);
        if !mailbox.domain.is_empty() {
            out.push(b'@');
            out.extend_from_slice(mailbox.domain);
        }
    }
    if out.len() > start {
        out.extend_from_slice(b"\r\n");
    }
}

/// As `Time::write_rfc5322`, but the day has two digits.
fn date_of_two_digits(date: Time, out: &mut Vec<u8>) {
    let day_at = out.len() + b"Fri, ".len();
    date.write_rfc5322(out);
    if date.civil().day < 10 {
        out.insert(day_at, b'0');
    }
}

fn charset(text: &[u8]) -> &'static [u8] {
    if text.is_ascii() {
        b"us-ascii"
    } else if std::str::from_utf8(text).is_ok() {
        b"utf-8"
    } else {
        b"unknown-8bit"
    }
}

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// A subject that isn't empty: as it is, or as encoded words (RFC 2047, B).
fn write_subject(subject: &[u8], out: &mut Vec<u8>) {
    let is_plain = is_printable(subject)
        && subject.len() <= SUBJECT_BYTES_MAX
        && memmem::find(subject, b"=?").is_none()
        && subject.first() != Some(&b' ')
        && subject.last() != Some(&b' ');
    if is_plain {
        out.extend_from_slice(subject);
        return;
    }
    let charset = charset(subject);
    let word_max = if charset == b"unknown-8bit" { WORD_BYTES_MAX_UNKNOWN } else { WORD_BYTES_MAX };
    let mut rest = subject;
    while !rest.is_empty() {
        if rest.len() < subject.len() {
            out.extend_from_slice(b"\r\n ");
        }
        let mut len = rest.len().min(word_max);
        // A character of UTF-8 goes into one word.
        while charset == b"utf-8" && rest.get(len).is_some_and(|byte| byte & 0xC0 == 0x80) {
            len -= 1;
        }
        let Some((word, behind)) = rest.split_at_checked(len) else { break };
        out.extend_from_slice(b"=?");
        out.extend_from_slice(charset);
        out.extend_from_slice(b"?B?");
        base64(word, out);
        out.extend_from_slice(b"?=");
        rest = behind;
    }
}

/// Appends at most [`BASE64_LINE_BYTES`] bytes as base64.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    let mut line = [0; BASE64_LINE_BYTES / 3 * 4];
    let len = STANDARD.encode_slice(bytes, &mut line).unwrap_or(0);
    out.extend_from_slice(line.get(..len).unwrap_or_default());
}

/// The last two fields, the empty line and the text; also as a part of a multipart.
fn text_part(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Type: text/plain; charset=");
    out.extend_from_slice(charset(text));
    out.extend_from_slice(b"\r\nContent-Transfer-Encoding: ");
    out.extend_from_slice(if text.is_ascii() { b"7bit" } else { b"8bit" });
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(text);
}

fn multipart(message: &Message<'_>, out: &mut Vec<u8>) {
    let mut delimiter = b"--=_".to_vec();
    delimiter.extend(message.boundary_name.iter().map(u8::to_ascii_uppercase));
    let underscores = underscores_needed(message.text, &delimiter);
    delimiter.extend(std::iter::repeat_n(b'_', underscores));
    out.extend_from_slice(b"Content-Type: multipart/mixed; boundary=\"");
    out.extend_from_slice(delimiter.get(2..).unwrap_or_default());
    out.extend_from_slice(b"\"\r\n\r\n");
    out.extend_from_slice(&delimiter);
    out.extend_from_slice(b"\r\n");
    text_part(message.text, out);
    out.extend_from_slice(b"\r\n");
    for attachment in message.attachments {
        out.extend_from_slice(&delimiter);
        out.extend_from_slice(b"\r\n");
        attached(attachment, out);
    }
    out.extend_from_slice(&delimiter);
    out.extend_from_slice(b"--\r\n");
}

/// The least number of underscores behind the delimiter with which the text doesn't hold it.
fn underscores_needed(text: &[u8], delimiter: &[u8]) -> usize {
    let longest_run = memmem::find_iter(text, delimiter)
        .map(|at| {
            let behind = text.get(at + delimiter.len()..).unwrap_or_default();
            behind.iter().take_while(|&&byte| byte == b'_').count()
        })
        .max();
    longest_run.map_or(0, |run| run + 1)
}

fn attached(attachment: &Attachment<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"Content-Type: application/octet-stream\r\n\
          Content-Transfer-Encoding: base64\r\n\
          Content-Disposition: attachment; filename",
    );
    let name = attachment.name;
    if is_printable(name) && memchr::memchr2(b'"', b'\\', name).is_none() {
        out.extend_from_slice(b"=\"");
        out.extend_from_slice(name);
        out.push(b'"');
    } else {
        out.extend_from_slice(b"*=unknown-8bit''");
        for &byte in name {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
                out.push(byte);
            } else {
                out.push(b'%');
                write_hex(u64::from(byte), 2, out);
            }
        }
    }
    out.extend_from_slice(b"\r\n\r\n");
    for line in attachment.bytes.chunks(BASE64_LINE_BYTES) {
        base64(line, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// What [`read`] makes of a content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read<'a> {
    /// The Date field.
    pub date: Option<Time>,
    /// The subject, decoded.
    pub subject: Option<Vec<u8>>,
    /// As X-Priority has it, else 3.
    pub priority: u8,
    /// The text.
    pub text: &'a [u8],
    /// Names and bytes of the attachments.
    pub attachments: Vec<(Vec<u8>, Vec<u8>)>,
    /// What makes the boundary.
    pub boundary_name: &'a [u8],
}

/// Takes a content apart that [`append`] may have made, but for its addresses; none where it can't
/// be one. Only rendering it again tells whether it is.
pub fn read(content: &[u8]) -> Option<Read<'_>> {
    let mut read = Read { priority: 3, ..Read::default() };
    let mut boundary = None;
    for field in header::fields(content) {
        let value = field.trimmed();
        match field.name {
            b"From" | b"To" | b"Cc" | b"MIME-Version" | b"Content-Transfer-Encoding" => {}
            b"Date" => read.date = Some(Time::parse_mail(value)?),
            b"Subject" => read.subject = Some(read_subject(value)?),
            b"X-Priority" => read.priority = std::str::from_utf8(value).ok()?.parse().ok()?,
            b"Content-Type" => {
                let quoted = value.strip_prefix(b"multipart/mixed; boundary=\"");
                boundary = quoted.and_then(|quoted| quoted.strip_suffix(b"\""));
            }
            _ => return None,
        }
    }
    let body = content.get(header::section_len(content)..)?.strip_prefix(b"\r\n")?;
    let Some(boundary) = boundary else {
        read.text = body;
        return Some(read);
    };
    let name_end = boundary.iter().rposition(|byte| *byte != b'_')? + 1;
    read.boundary_name = boundary.get(..name_end)?.strip_prefix(b"=_")?;
    let delimiter = [b"\r\n--", boundary].concat();
    // The empty line before the first delimiter ends the header section.
    let parts = content.get(content.len() - body.len() - 2..)?;
    let mut starts = memmem::find_iter(parts, &delimiter).map(|at| at + delimiter.len()).peekable();
    let mut is_first = true;
    while let Some(start) = starts.next() {
        let Some(next) = starts.peek() else { break };
        let part = parts.get(start..next - delimiter.len())?.strip_prefix(b"\r\n")?;
        // Of an empty attachment's empty line, the line end is the next delimiter's.
        let head_len = memmem::find(part, b"\r\n\r\n").or_else(|| part.len().checked_sub(2))?;
        let (head, body) = (part.get(..head_len)?, part.get(head_len + 4..).unwrap_or_default());
        if is_first {
            read.text = body;
        } else {
            read.attachments.push((read_name(head)?, read_base64(body)?));
        }
        is_first = false;
    }
    Some(read)
}

/// Undoes [`write_subject`].
fn read_subject(value: &[u8]) -> Option<Vec<u8>> {
    if !value.starts_with(b"=?") {
        return Some(value.to_vec());
    }
    let mut subject = Vec::new();
    for word in value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        let at = memmem::find(word, b"?B?")? + 3;
        let text = word.get(at..)?.strip_suffix(b"?=")?;
        subject.extend(STANDARD.decode(text).ok()?);
    }
    Some(subject)
}

/// The name of an attachment, from the fields of its part.
fn read_name(head: &[u8]) -> Option<Vec<u8>> {
    let at = memmem::find(head, b"; filename")? + b"; filename".len();
    let value = head.get(at..)?;
    if let Some(quoted) = value.strip_prefix(b"=\"") {
        return Some(quoted.strip_suffix(b"\"")?.to_vec());
    }
    let mut escaped = value.strip_prefix(b"*=unknown-8bit''")?;
    let mut name = Vec::new();
    while let [byte, rest @ ..] = escaped {
        escaped = rest;
        if *byte == b'%' {
            let (digits, rest) = rest.split_at_checked(2)?;
            name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            escaped = rest;
        } else {
            name.push(*byte);
        }
    }
    Some(name)
}

fn read_base64(lines: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = lines.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::{MessageParser, MimeHeaders};
    use proptest::prelude::*;

    fn rendered(message: &Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        append(message, &mut out);
        out
    }

    fn check(message: &Message<'_>, expect: &str) {
        let got = rendered(message);
        assert_eq!(String::from_utf8_lossy(&got).replace("\r\n", "\n"), expect);
        assert!(!String::from_utf8_lossy(&got).replace("\r\n", "").contains('\n'));
    }

    #[test]
    fn a_message_has_the_lines_of_the_document() {
        let message = Message {
            from: Some(b"NET/PO/JDOE"),
            to: &[b"NET/PO/A B", b"not an address", b"SMTP:b@c.example"],
            cc: &[b"SMTP:@x.example:postmaster"],
            date: Time::parse_rfc3339(b"1993-10-08T16:25:00Z"),
            subject: Some(b"This is the subject"),
            priority: 1,
            text: b"Text",
            attachments: &[],
            boundary_name: b"",
        };
        check(
            &message,
            "From: JDOE@PO.NET.msmail.internal\nTo: A=20B@PO.NET.msmail.internal,\n b@c.example\n\
             Cc: postmaster\nDate: Fri, 08 Oct 1993 16:25:00 +0000\nSubject: This is the subject\n\
             X-Priority: 1\nMIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\n\
             Content-Transfer-Encoding: 7bit\n\nText",
        );
    }

    #[test]
    fn what_has_nothing_to_say_is_left_out() {
        let nothing = Message {
            from: Some(b"nobody"),
            to: &[b"nobody\r\nBcc: x@y"],
            subject: Some(b""),
            priority: 3,
            text: b"\xff",
            ..Message::default()
        };
        let expect = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
            Content-Transfer-Encoding: 8bit\r\n\r\n\xff";
        assert_eq!(rendered(&nothing), expect);
    }

    #[test]
    fn attachments_make_a_multipart() {
        let attachments = [
            Attachment { name: b"A FILE.TXT", bytes: &[b'x'; 58] },
            Attachment { name: b"\"\xe9.1", bytes: b"" },
        ];
        let message = Message {
            priority: 3,
            text: "\u{e9} --=_0000006A__ --=_0000006A".as_bytes(),
            attachments: &attachments,
            boundary_name: b"0000006a",
            ..Message::default()
        };
        check(
            &message,
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_0000006A___\"\n\n\
             --=_0000006A___\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: 8bit\n\n\u{e9} --=_0000006A__ --=_0000006A\n\
             --=_0000006A___\nContent-Type: application/octet-stream\n\
             Content-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"A FILE.TXT\"\n\n\
             eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4\neA==\n\
             --=_0000006A___\nContent-Type: application/octet-stream\n\
             Content-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename*=unknown-8bit''%22%E9.1\n\n\
             --=_0000006A___--\n",
        );
    }

    #[test]
    fn subjects_that_cannot_stand_as_they_are_are_encoded() {
        let subject = |subject: &[u8]| {
            let mut out = Vec::new();
            write_subject(subject, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(subject(&[b'x'; 900]), "x".repeat(900));
        assert_eq!(subject(b" x"), "=?us-ascii?B?IHg=?=");
        assert_eq!(subject(b"a\r\nBcc: b"), "=?us-ascii?B?YQ0KQmNjOiBi?=");
        assert_eq!(subject(b"=?utf-8?Q?x?="), "=?us-ascii?B?PT91dGYtOD9RP3g/PQ==?=");
        assert_eq!(subject(b"\xff"), "=?unknown-8bit?B?/w==?=");
        // Of the 45 bytes of the first word the last would be half a character.
        let words = subject("\u{e9}".repeat(30).as_bytes());
        let (first, second) = (
            "=?utf-8?B?w6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOpw6k=?=",
            "=?utf-8?B?w6nDqcOpw6nDqcOpw6nDqQ==?=",
        );
        assert_eq!(words, format!("{first}\r\n {second}"));
        let unknown = subject(&[0xFF; 43]);
        assert_eq!(
            unknown,
            format!("=?unknown-8bit?B?{}?=\r\n =?unknown-8bit?B?/w==?=", "/".repeat(56))
        );
        assert!(unknown.split("\r\n ").all(|word| word.len() <= 75));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn another_reader_reads_the_same(
            subject in "\\PC{0,100}",
            text in proptest::collection::vec(any::<u8>(), 0..200),
            names in proptest::collection::vec("[ -~&&[^\"\\\\]]{1,20}", 0..3),
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let attachments: Vec<Attachment<'_>> = names
                .iter()
                .map(|name| Attachment { name: name.as_bytes(), bytes: &bytes })
                .collect();
            let message = Message {
                from: Some(b"NET/PO/JDOE"),
                to: &[b"NET/PO/A", b"NET/PO/B"],
                subject: Some(subject.as_bytes()),
                priority: 3,
                text: &text,
                attachments: &attachments,
                boundary_name: b"00000001",
                ..Message::default()
            };
            let content = rendered(&message);
            let back = read(&content).unwrap();
            prop_assert_eq!(back.subject.unwrap_or_default(), subject.as_bytes());
            prop_assert_eq!(back.text, &text);
            let boundary_name = if names.is_empty() { &b""[..] } else { b"00000001" };
            prop_assert_eq!(back.boundary_name, boundary_name);
            let files: Vec<_> =
                names.iter().map(|name| (name.clone().into_bytes(), bytes.clone())).collect();
            prop_assert_eq!(back.attachments, files);
            prop_assert!(content.split(|&b| b == b'\n').all(|line| line.len() < 998 + 2));
            let parsed = MessageParser::default().parse(&content).unwrap();
            if !subject.starts_with(' ') && !subject.ends_with(' ') {
                prop_assert_eq!(parsed.subject().unwrap_or_default(), &subject);
            }
            prop_assert_eq!(parsed.to().unwrap().iter().count(), 2);
            prop_assert_eq!(parsed.attachment_count(), attachments.len());
            for (part, attachment) in parsed.attachments().zip(&attachments) {
                prop_assert_eq!(part.contents(), attachment.bytes);
                prop_assert_eq!(part.attachment_name().unwrap().trim(),
                    std::str::from_utf8(attachment.name).unwrap().trim());
            }
        }
    }
}
