//! The Subject of a report: our words, and the subject of the message that it is about.
//!
//! Not here: decoding. Encoded words that the original has (RFC 2047) stay as they are; a subject
//! of raw bytes, which many old systems write, becomes encoded words. Control characters become
//! spaces. Every line written is at most 76 bytes long, unless a single word of the original is
//! longer.

use super::Returned;
use super::encode::{Base64, is_printable};
use crate::mail::header::{Field, fields};
use memchr::memrchr;
use smallvec::SmallVec;

/// What every report's subject begins with.
const PREFIX: &[u8] = b"Subject: Undelivered mail";
/// Bytes of the original subject that are taken over; there is no use in more, and each line stays
/// short enough.
const SUBJECT_BYTES_MAX: usize = 400;
/// Longest line with an encoded word (RFC 2047, 2).
const LINE_BYTES_MAX: usize = 76;
/// Longest encoded word.
const ENCODED_WORD_BYTES_MAX: usize = 75;
/// Longest name of a charset that is believed.
const CHARSET_BYTES_MAX: usize = 40;

type Text = SmallVec<[u8; 512]>;

/// Appends the Subject field for a report about a message.
pub(super) fn write(out: &mut Vec<u8>, returned: &Returned<'_, '_>, eol: &str) {
    out.extend_from_slice(PREFIX);
    let original = returned.subject.unwrap_or_default().trim_ascii();
    if !original.is_empty() {
        out.push(b':');
        write_original(out, original, returned.content.raw(), eol.as_bytes());
    }
    out.extend_from_slice(eol.as_bytes());
}

/// Appends the original's subject, a space or fold before it. `content` may say in which charset it
/// is written.
fn write_original(out: &mut Vec<u8>, original: &[u8], content: &[u8], eol: &[u8]) {
    if PREFIX.len() + b": ".len() + original.len() <= LINE_BYTES_MAX && is_printable(original) {
        out.push(b' ');
        out.extend_from_slice(original);
        return;
    }
    let text = unfolded(original);
    if text.is_ascii() {
        write_words(out, &text, PREFIX.len() + 1, eol);
    } else if std::str::from_utf8(&text).is_ok() {
        write_encoded(out, &text, b"utf-8", eol);
    } else {
        write_encoded(out, &text, charset(content), eol);
    }
}

/// The value in one line without control characters, cut where it is too long.
fn unfolded(original: &[u8]) -> Text {
    let mut text = Text::new();
    let mut rest = original;
    while let [byte, behind @ ..] = rest {
        match (byte, behind) {
            // The white space of a fold stays, its line end goes.
            (b'\n', _) | (b'\r', [b'\n', ..]) => {}
            (0..=31 | 127, _) => text.push(b' '),
            _ => text.push(*byte),
        }
        if text.len() > SUBJECT_BYTES_MAX {
            text.truncate(cut(&text));
            text.extend_from_slice(b"...");
            break;
        }
        rest = behind;
    }
    text
}

/// Where a text that is too long is cut: not within a character of UTF-8, nor within an encoded
/// word.
fn cut(text: &[u8]) -> usize {
    let mut end = SUBJECT_BYTES_MAX;
    for _ in 0..3 {
        if text.get(end).is_some_and(|byte| matches!(byte, 0x80..=0xBF)) {
            end -= 1;
        }
    }
    let kept = text.get(..end).unwrap_or_default();
    match memrchr(b' ', kept) {
        Some(space) if text.get(space + 1..).is_some_and(|word| word.starts_with(b"=?")) => {
            space + 1
        }
        _ => end,
    }
}

/// Writes text of printable ASCII, folded at its spaces. `column` is how far the line is already.
fn write_words(out: &mut Vec<u8>, text: &[u8], mut column: usize, eol: &[u8]) {
    let mut spaces = 1;
    for word in text.split(|&b| b == b' ') {
        if word.is_empty() {
            spaces += 1;
            continue;
        }
        if column + spaces + word.len() > LINE_BYTES_MAX {
            out.extend_from_slice(eol);
            column = 0;
        }
        out.resize(out.len() + spaces, b' ');
        out.extend_from_slice(word);
        column += spaces + word.len();
        spaces = 1;
    }
}

/// Writes text as encoded words (RFC 2047), each in a line of its own.
fn write_encoded(out: &mut Vec<u8>, text: &[u8], charset: &[u8], eol: &[u8]) {
    let digits_max = ENCODED_WORD_BYTES_MAX - b"=??B??=".len() - charset.len();
    let bytes_max = digits_max / 4 * 3;
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(piece_len(rest, bytes_max));
        rest = behind;
        out.extend_from_slice(eol);
        out.extend_from_slice(b" =?");
        out.extend_from_slice(charset);
        out.extend_from_slice(b"?B?");
        let mut base64 = Base64::default();
        for &byte in piece {
            base64.push(out, byte);
        }
        base64.finish(out);
        out.extend_from_slice(b"?=");
    }
}

/// How much goes into one encoded word. Each has to be whole characters (RFC 2047, 5): in UTF-8
/// that is seen by the bytes; of other charsets a space is sure to be one, so the cut is before the
/// last one.
fn piece_len(text: &[u8], bytes_max: usize) -> usize {
    if text.len() <= bytes_max {
        return text.len();
    }
    let Some(window) = text.get(..bytes_max) else { return text.len() };
    if let Ok(text) = std::str::from_utf8(text) {
        return text.floor_char_boundary(bytes_max).max(1);
    }
    match memrchr(b' ', window) {
        Some(space @ 1..) => space,
        _ => bytes_max,
    }
}

/// The charset that the message claims for its text, as the best guess for its subject; ISO 8859-1
/// where it claims none, or one that the bytes contradict.
fn charset(content: &[u8]) -> &[u8] {
    const GUESS: &[u8] = b"iso-8859-1";
    let claimed = fields(content).find(|field| field.is("Content-Type")).and_then(parameter);
    match claimed {
        Some(token) if token.eq_ignore_ascii_case(b"utf-8") => GUESS,
        Some(token) if token.eq_ignore_ascii_case(b"us-ascii") => GUESS,
        Some(token) => token,
        None => GUESS,
    }
}

/// The value of `charset=`, where it is a plain token that can stand in an encoded word.
fn parameter(field: Field<'_>) -> Option<&[u8]> {
    const NAME: &[u8] = b"charset=";
    let value = field.value.get(..1000).unwrap_or(field.value);
    let at = value.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME))?;
    let rest = value.get(at + NAME.len()..)?;
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let len = rest.iter().position(|b| !is_token(b)).unwrap_or(rest.len());
    let ends = matches!(rest.get(len), None | Some(b'"' | b';' | b' ' | b'\t' | b'\r' | b'\n'));
    rest.get(..len).filter(|_| ends && (1..=CHARSET_BYTES_MAX).contains(&len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::content::Content;
    use crate::mail::envelope::{Envelope, QueueId};

    fn written(content: &[u8], eol: &str) -> String {
        let envelope = Envelope::new(QueueId::Given(b"1"));
        let returned = Returned::read(&envelope, &[], Content::plain(content), (1, 1));
        let mut out = Vec::new();
        write(&mut out, &returned, eol);
        String::from_utf8(out).unwrap()
    }

    fn check(content: &[u8], expect: &str) {
        assert_eq!(written(content, "\n"), expect);
    }

    #[test]
    fn subjects_are_ours_and_the_original() {
        check(b"", "Subject: Undelivered mail\n");
        check(b"Subject: \n\n", "Subject: Undelivered mail\n");
        check(b"subject: a\r\n  b\t\x1bc\r\n\r\n", "Subject: Undelivered mail: a  b  c\n");
        check(b"Subject: =?utf-8?Q?=C3=A4?=\n", "Subject: Undelivered mail: =?utf-8?Q?=C3=A4?=\n");
        for (len, fold) in [(49, ""), (50, "\n")] {
            let word = "x".repeat(len);
            let expect = format!("Subject: Undelivered mail:{fold} {word}\n");
            check(format!("Subject: {word}\n").as_bytes(), &expect);
        }
        check(b"Subject: \xc3\xa4\n", "Subject: Undelivered mail:\n =?utf-8?B?w6Q=?=\n");
        check(b"Subject: \xe4\n", "Subject: Undelivered mail:\n =?iso-8859-1?B?5A==?=\n");
        check(
            b"Subject: \xe4\nContent-type: text/plain;\n charset=\"KOI8-R\"; x=y\n",
            "Subject: Undelivered mail:\n =?KOI8-R?B?5A==?=\n",
        );
        for bad in ["us-ascii", "UTF-8", "a?b", "a*b", "\"\""] {
            let content =
                [b"Content-Type: text/x; charset=", bad.as_bytes(), b"\nSubject: \xe4"].concat();
            check(&content, "Subject: Undelivered mail:\n =?iso-8859-1?B?5A==?=\n");
        }
    }

    #[test]
    fn long_subjects_are_cut_between_words_and_folded() {
        let content = format!("Subject: {}\n", "=?utf-8?Q?=C3=A4=C3=A4=C3=A4?= ".repeat(40));
        let text = written(content.as_bytes(), "\r\n");
        assert!(text.ends_with("?= ...\r\n"), "{text}");
        assert!(text.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX), "{text}");
        check(
            format!("Subject: {}\n", "x".repeat(500)).as_bytes(),
            &format!("Subject: Undelivered mail:\n {}...\n", "x".repeat(400)),
        );
    }

    #[test]
    fn encoded_words_are_whole_characters() {
        let content = format!("Subject: {}\n", "\u{20ac}".repeat(100));
        let text = written(content.as_bytes(), "\n");
        assert!(text.lines().all(|line| line.len() <= LINE_BYTES_MAX), "{text}");
        let message = mail_parser::MessageParser::default().parse(text.as_bytes()).unwrap();
        let expect = format!("Undelivered mail: {}", "\u{20ac}".repeat(100));
        assert_eq!(message.subject(), Some(&expect[..]));
    }
}
