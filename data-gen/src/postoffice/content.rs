//! The content that a native message becomes (docs/postoffice.md, *The content*).
//!
//! What it deliberately does not do: read a MAI. It is made of what the MAI was made of.
//!
//! Invariant: the bytes are those of the document, for any bytes in the letter.

use super::glb::hex_name;
use super::letter::{Address, Attachment, Letter, Posted};
use crate::bytes::{hex_upper, num};
use crate::time::rfc5322_even;

/// Most bytes of text in an encoded word.
const WORD: usize = 45;
/// The same where the charset has a long name.
const WORD_UNKNOWN: usize = 42;
/// Most bytes of a subject that stands as it is.
const SUBJECT: usize = 900;

/// The content of a letter: its text where that is a message, else what it becomes.
pub(super) fn content(letter: &Letter) -> Vec<u8> {
    if letter.whole {
        return letter.text.clone();
    }
    let mut out = Vec::with_capacity(letter.text.len() + 600);
    addresses(&mut out, b"From", letter.from.as_slice());
    addresses(&mut out, b"To", &letter.to);
    addresses(&mut out, b"Cc", &letter.cc);
    if let Posted::At(time) = letter.posted {
        out.extend_from_slice(b"Date: ");
        rfc5322_even(&mut out, time);
        out.extend_from_slice(b"\r\n");
    }
    subject(&mut out, &letter.subject);
    if let Some(priority) = letter.priority.filter(|one| *one != 3) {
        out.extend_from_slice(b"X-Priority: ");
        num(&mut out, u64::from(priority));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    if letter.attachments.is_empty() {
        text_fields(&mut out, &letter.text);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&letter.text);
        return out;
    }
    let boundary = boundary(letter);
    out.extend_from_slice(b"Content-Type: multipart/mixed; boundary=\"");
    out.extend_from_slice(&boundary);
    out.extend_from_slice(b"\"\r\n\r\n");
    parts(&mut out, letter, &boundary);
    out
}

fn addresses(out: &mut Vec<u8>, name: &[u8], list: &[Address]) {
    let mut before: &[u8] = b": ";
    for mailbox in list.iter().filter_map(|one| one.mailbox.as_ref()) {
        if before == b": " {
            out.extend_from_slice(name);
        }
        out.extend_from_slice(before);
        out.extend_from_slice(mailbox);
        before = b",\r\n ";
    }
    if before != b": " {
        out.extend_from_slice(b"\r\n");
    }
}

fn charset(text: &[u8]) -> &'static str {
    if text.is_ascii() {
        "us-ascii"
    } else if std::str::from_utf8(text).is_ok() {
        "utf-8"
    } else {
        "unknown-8bit"
    }
}

fn subject(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    out.extend_from_slice(b"Subject: ");
    let plain = text.len() <= SUBJECT
        && text.iter().all(|b| (0x20..0x7F).contains(b))
        && !text.windows(2).any(|pair| pair == b"=?")
        && !text.starts_with(b" ")
        && !text.ends_with(b" ");
    if plain {
        out.extend_from_slice(text);
    } else {
        let charset = charset(text);
        let most = if charset == "unknown-8bit" { WORD_UNKNOWN } else { WORD };
        let mut rest = text;
        while !rest.is_empty() {
            let mut cut = rest.len().min(most);
            // A byte 10xxxxxx goes on with the character before it.
            while charset == "utf-8" && rest.get(cut).is_some_and(|b| b & 0xC0 == 0x80) {
                cut -= 1;
            }
            let (word, after) = rest.split_at_checked(cut).unwrap_or((rest, b""));
            if rest.len() < text.len() {
                out.extend_from_slice(b"\r\n ");
            }
            out.extend_from_slice(b"=?");
            out.extend_from_slice(charset.as_bytes());
            out.extend_from_slice(b"?B?");
            base64(out, word);
            out.extend_from_slice(b"?=");
            rest = after;
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn text_fields(out: &mut Vec<u8>, text: &[u8]) {
    let charset = charset(text);
    out.extend_from_slice(b"Content-Type: text/plain; charset=");
    out.extend_from_slice(charset.as_bytes());
    out.extend_from_slice(b"\r\nContent-Transfer-Encoding: ");
    out.extend_from_slice(if charset == "us-ascii" { b"7bit\r\n" } else { b"8bit\r\n" });
}

fn boundary(letter: &Letter) -> Vec<u8> {
    let mut out = [b"=_", hex_name(letter.file).as_slice()].concat();
    loop {
        let line = [b"--", out.as_slice()].concat();
        if memchr::memmem::find(&letter.text, &line).is_none() {
            return out;
        }
        out.push(b'_');
    }
}

fn parts(out: &mut Vec<u8>, letter: &Letter, boundary: &[u8]) {
    out.extend_from_slice(b"--");
    out.extend_from_slice(boundary);
    out.extend_from_slice(b"\r\n");
    text_fields(out, &letter.text);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&letter.text);
    for one in &letter.attachments {
        out.extend_from_slice(b"\r\n--");
        out.extend_from_slice(boundary);
        attachment(out, one);
    }
    out.extend_from_slice(b"\r\n--");
    out.extend_from_slice(boundary);
    out.extend_from_slice(b"--\r\n");
}

/// A part but for the line ends at its beginning and its end.
fn attachment(out: &mut Vec<u8>, one: &Attachment) {
    out.extend_from_slice(b"\r\nContent-Type: application/octet-stream\r\n");
    out.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n");
    out.extend_from_slice(b"Content-Disposition: attachment; filename");
    let plain = |b: &u8| (0x20..0x7F).contains(b) && !matches!(b, b'"' | b'\\');
    if one.name.iter().all(plain) {
        out.extend_from_slice(b"=\"");
        out.extend_from_slice(&one.name);
        out.push(b'"');
    } else {
        out.extend_from_slice(b"*=unknown-8bit''");
        for byte in &one.name {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
                out.push(*byte);
            } else {
                out.push(b'%');
                hex_upper(out, u64::from(*byte), 2);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    let bytes: &[u8] = if one.lost { b"" } else { &one.bytes };
    for line in bytes.chunks(57) {
        out.extend_from_slice(b"\r\n");
        base64(out, line);
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 of RFC 4648, without line ends.
fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let six = usize::try_from(bits >> (18 - 6 * digit) & 0x3F).unwrap_or(0);
            let missing = digit > u32::try_from(three.len()).unwrap_or(3);
            let shown = DIGITS.get(six).copied().unwrap_or(b'=');
            out.push(if missing { b'=' } else { shown });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    fn shown(letter: &Letter) -> String {
        String::from_utf8_lossy(&content(letter)).into_owned()
    }

    #[test]
    fn base64_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = Vec::new();
            base64(&mut out, bytes.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn a_text_as_documented() {
        let mut letter = Letter::blank(0x62);
        assert_eq!(
            shown(&letter),
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n"
        );
        letter.from = Some(Address::new(b"a@b.example", true));
        let bad = Address::new(b"nobody", false);
        letter.to =
            vec![bad.clone(), letter.from.clone().unwrap(), Address::new(b"c@d.example", true)];
        letter.cc = vec![bad];
        letter.posted = Posted::At(750_097_500 * SECOND);
        letter.subject = b"Subject = ?".to_vec();
        letter.priority = Some(1);
        letter.text = b"Gr\x81\xe1e\r\nno end".to_vec();
        let mut expected = b"From: a@b.example\r\nTo: a@b.example,\r\n c@d.example\r\n".to_vec();
        expected.extend_from_slice(b"Date: Fri, 08 Oct 1993 16:25:00 +0000\r\n");
        expected
            .extend_from_slice(b"Subject: Subject = ?\r\nX-Priority: 1\r\nMIME-Version: 1.0\r\n");
        expected.extend_from_slice(b"Content-Type: text/plain; charset=unknown-8bit\r\n");
        expected.extend_from_slice(b"Content-Transfer-Encoding: 8bit\r\n\r\n");
        expected.extend_from_slice(b"Gr\x81\xe1e\r\nno end");
        assert_eq!(content(&letter), expected);
    }

    #[test]
    fn subjects_become_encoded_words() {
        let made = |text: &[u8]| {
            let mut out = Vec::new();
            subject(&mut out, text);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(made(b"a "), "Subject: =?us-ascii?B?YSA=?=\r\n");
        assert_eq!(made(b"=?"), "Subject: =?us-ascii?B?PT8=?=\r\n");
        assert_eq!(made(b"\x81"), "Subject: =?unknown-8bit?B?gQ==?=\r\n");
        assert_eq!(made(&[0x81; 43]).split("\r\n ").count(), 2);
        assert_eq!(made(&[b'x'; 900]).len(), 9 + 900 + 2);
        let long = made(&[b'x'; 901]);
        assert_eq!(long.split("\r\n ").count(), 21);
        // 44 letters and one of two bytes: it isn't split.
        let made = made(format!("{}\u{e4}b", "x".repeat(44)).as_bytes());
        let words: Vec<&str> = made.trim_end().split("\r\n ").collect();
        assert_eq!(words[1], "=?utf-8?B?w6Ri?=");
        assert_eq!(words.len(), 2);
    }

    #[test]
    fn attachments_as_documented() {
        let mut letter = Letter::blank(0xAB);
        letter.text = b"x--=_000000AB-".to_vec();
        let one = |name: &[u8], bytes: &[u8], lost| Attachment {
            file: 1,
            name: name.to_vec(),
            bytes: bytes.to_vec(),
            lost,
        };
        letter.attachments =
            vec![one(b"a b.doc", &[0; 58], false), one(b"\x81\"-_.", b"lost", true)];
        let part = "Content-Type: application/octet-stream\r\n\
                    Content-Transfer-Encoding: base64\r\n\
                    Content-Disposition: attachment; filename";
        let expected = [
            "MIME-Version: 1.0\r\n",
            "Content-Type: multipart/mixed; boundary=\"=_000000AB_\"\r\n\r\n",
            "--=_000000AB_\r\nContent-Type: text/plain; charset=us-ascii\r\n",
            "Content-Transfer-Encoding: 7bit\r\n\r\n",
            "x--=_000000AB-\r\n--=_000000AB_\r\n",
            part,
            "=\"a b.doc\"\r\n\r\n",
            &"A".repeat(76),
            "\r\nAA==\r\n--=_000000AB_\r\n",
            part,
            "*=unknown-8bit''%81%22-_.\r\n\r\n--=_000000AB_--\r\n",
        ];
        assert_eq!(shown(&letter), expected.concat());
    }
}
