//! Our reading of header sections and mboxes against mail-parser's and Python's, on real mail that
//! was damaged: what differs is one of the rules here, each with its reason, or fails.
//!
//! Messages, damage and order come from one seed. Not here: what fates come of it. Where the corpus
//! or Python isn't there, the test says so.

use crate::readers::python;
use crate::real_mail::{corpus, split};
use inqueue::mail::address::{Mailbox, each_address};
use inqueue::mail::header::{Field, fields, section_len, strip_line_end};
use inqueue::queue::{Framed, mbox};
use std::collections::BTreeSet;
use std::fs;

/// Damaged messages: a few thousand take some seconds.
const MESSAGES: usize = 4_000;
/// Of a message so much is damaged and read: its header section, mostly.
const BYTES: usize = 6_000;
const SEED: u64 = 0x1997_1015;
/// Texts that are put in: what means something to a reader of header sections.
const PIECES: [&[u8]; 40] = [
    b"\n",
    b"\r\n",
    b"\n ",
    b"\r\n\t",
    b"\n\n",
    b":",
    b" :",
    b",",
    b";",
    b"<",
    b">",
    b"(",
    b")",
    b"\"",
    b"\\",
    b"@",
    b"To: a@b.example\n",
    b"Cc: x (y), \"q, r\" <q@r.example>\n",
    b"\nFrom a@b Thu\n",
    b"\n\nFrom a@b Thu Jan  1 00:00:00 2026\nTo: x@y\n\n",
    b"\n>From x\n",
    b"\0",
    b"\xff",
    b"\xc3\xa4",
    b"=?utf-8?q?=e4?=",
    b" \n",
    b"\t\n",
    b"group: a@b, c@d;",
    b"Bcc:\n",
    b"x y: z\n",
    b"\nno field\n",
    b"From x\n",
    b" : \n",
    b"\n:\n",
    b"\x7f",
    b"\x0b",
    b"<@x,@y:a@b>",
    b"(a (b) c)",
    b"\xa0",
    b"%",
];

/// xorshift64*: the same numbers everywhere.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % bound.max(1)
    }
}

fn damage(rng: &mut Rng, message: &mut Vec<u8>) {
    let header = section_len(message).max(1);
    for _ in 0..rng.below(4) {
        // Mostly in the header section.
        let bound = if rng.below(4) > 0 { header.min(message.len()) } else { message.len() };
        let at = rng.below(bound);
        let end = (at + rng.below(30)).min(message.len());
        match rng.below(6) {
            0 => drop(message.drain(at..end)),
            1 => {
                let copy = message[at..end].to_vec();
                let to = rng.below(message.len());
                message.splice(to..to, copy);
            }
            2 => message.truncate(end.max(1)),
            3 if !message.is_empty() => {
                let byte = rng.below(message.len());
                message[byte] ^= 1 << rng.below(8);
            }
            _ => drop(message.splice(at..at, PIECES[rng.below(PIECES.len())].to_vec())),
        }
    }
    if rng.below(8) == 0 {
        let lines: Vec<&[u8]> = message.split_inclusive(|byte| *byte == b'\n').collect();
        let line = |line: &&[u8]| [strip_line_end(line), b"\r\n"].concat();
        *message = lines.iter().map(line).collect::<Vec<_>>().concat();
    }
}

fn damaged(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut rng = Rng(SEED);
    let one = |_| {
        let content = split(&messages[rng.below(messages.len())]).1;
        let mut message = content[..content.len().min(BYTES)].to_vec();
        damage(&mut rng, &mut message);
        message
    };
    (0..MESSAGES).map(one).collect()
}

/// A field as it is compared: name and unfolded value (RFC 5322, 2.2.3: the line end goes, the
/// white space stays), each byte as a character.
type Seen = (String, String);

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn seen(field: &Field<'_>) -> Seen {
    let value: Vec<u8> =
        field.value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    (latin1(field.name), trimmed(&latin1(&value)))
}

/// White space round a value means nothing. That of Latin-1 and Unicode is part of it.
fn trimmed(value: &str) -> String {
    value.trim_matches([' ', '\t', '\x0b', '\x0c', '\r', '\n']).to_owned()
}

/// Why the header sections of a message aren't compared, or not to their ends: as far as here both
/// have to see the same.
///
/// 1. A line that is no field: Python ends the header section before it, and mail-parser makes a
///    field of some; we pass it over, as MTAs do: a line that was damaged on the way doesn't hide
///    To and Received behind it.
/// 2. White space between name and colon is of the obsolete syntax (RFC 5322, 4.5), which we take:
///    to Python it is no field.
/// 3. A name with bytes from 128 on is no field to Python, and a field to us: what decides is that
///    a colon stands behind something without white space.
/// 4. A CR that isn't part of CR LF is a line end to Python; to us, as in RFC 5322, 2.2, it isn't.
fn comparable(message: &[u8]) -> usize {
    let end = section_len(message);
    let section = &message[..end];
    let mut at = 0;
    let mut is_first = true;
    for line in section.split_inclusive(|byte| *byte == b'\n') {
        let has_bare_cr = strip_line_end(line).contains(&b'\r');
        let is_folding = line.starts_with(b" ") || line.starts_with(b"\t");
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        let name = &line[..colon];
        let is_field = colon > 0 && name.iter().all(|byte| matches!(byte, b'!'..=b'~'));
        if has_bare_cr || (!is_folding && !is_field) || (is_folding && is_first) {
            return at;
        }
        is_first = false;
        at += line.len();
    }
    end
}

#[test]
fn fields_recipients_and_boundaries_are_those_that_others_see() {
    const TEST: &str = "fields_recipients_and_boundaries_are_those_that_others_see";
    let Some(messages) = corpus(TEST) else { return };
    let messages = damaged(&messages);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("messages"), messages.concat()).unwrap();
    let lengths: Vec<String> = messages.iter().map(|one| one.len().to_string()).collect();
    fs::write(at("lengths"), lengths.join("\n")).unwrap();
    let from = &b"From a@b.example Thu Jan  1 00:00:00 2026\n"[..];
    let mbox: Vec<u8> =
        messages.iter().flat_map(|one| [from, one, b"\n"]).flatten().copied().collect();
    fs::write(at("mbox"), &mbox).unwrap();
    let (whole, count) = mail_parser_sees_the_same(&messages);
    println!("mail-parser: {whole} of {MESSAGES} header sections whole, {count} fields");
    assert!(whole > MESSAGES / 2);
    let paths = [at("messages"), at("lengths"), at("mbox")];
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let Some(said) = python(TEST, "header_email.py", &paths) else {
        return;
    };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), MESSAGES + 1);
    let (mut fields, mut lists) = (0, 0);
    for (message, line) in messages.iter().zip(&lines) {
        let (seen, compared) = python_sees_the_same(message, line);
        fields += seen;
        lists += compared;
    }
    println!("Python: {fields} fields and {lists} lists of addresses are the same");
    assert!(fields > 20 * MESSAGES / 4 && lists > MESSAGES / 4);
    boundaries(&mbox, lines[MESSAGES]);
}

/// Gives how many header sections were compared to their ends, and how many fields.
fn mail_parser_sees_the_same(messages: &[Vec<u8>]) -> (usize, usize) {
    let (mut whole, mut count) = (0, 0);
    for message in messages {
        let end = comparable(message);
        whole += usize::from(end == section_len(message));
        let section = [&message[..end], b"\n"].concat();
        let ours: Vec<Seen> = fields(&section).map(|field| seen(&field)).collect();
        let parser = mail_parser::MessageParser::new().header_raw("Date").default_header_raw();
        let parsed = parser.parse_headers(&section[..]);
        let theirs: Vec<Seen> = parsed
            .iter()
            .flat_map(mail_parser::Message::headers)
            .map(|header| {
                let range = |from: u32, to: u32| &section[from as usize..to as usize];
                let name = range(header.offset_field, header.offset_start);
                let name = name.split(|byte| *byte == b':').next().unwrap();
                let field = Field { name, value: range(header.offset_start, header.offset_end) };
                seen(&field)
            })
            .collect();
        count += ours.len();
        assert_eq!(ours, theirs, "{:?}", latin1(&section));
    }
    (whole, count)
}

/// Gives how many fields were compared, and lists of addresses.
fn python_sees_the_same(message: &[u8], line: &str) -> (usize, usize) {
    let theirs: Vec<(String, String, Option<Vec<String>>)> = serde_json::from_str(line).unwrap();
    let section = &message[..comparable(message)];
    let ours: Vec<Field<'_>> = fields(section).collect();
    assert!(theirs.len() >= ours.len(), "{}\n{theirs:?}", latin1(section));
    let mut lists = 0;
    for (field, (name, value, addresses)) in ours.iter().zip(&theirs) {
        let (own_name, own_value) = seen(field);
        assert_eq!((&own_name, &own_value), (name, &trimmed(value)), "{}", latin1(section));
        if let Some(addresses) = addresses {
            lists += usize::from(same_addresses(field, addresses));
        }
    }
    (ours.len(), lists)
}

/// True where the list was compared. It isn't where a word of it isn't a mailbox of RFC 5321 to us:
/// each reader makes another guess of such (we keep what stands there, and refuse it by 5.1.3).
fn same_addresses(field: &Field<'_>, theirs: &[String]) -> bool {
    let mut ours = Vec::new();
    each_address(field.value, |one| ours.push(one));
    let is_clear = |one: &&[u8]| {
        let mailbox = Mailbox::parse(one);
        mailbox.is_ok_and(|mailbox| !mailbox.domain.is_empty() && !one.starts_with(b"@"))
    };
    // An `@` in a name that isn't quoted: damage, of which Python makes an address of its own.
    let at_signs = |bytes: &[u8]| memchr::memchr_iter(b'@', bytes).count();
    let in_addresses: usize = ours.iter().map(|one| at_signs(one)).sum();
    let is_in_name = in_addresses != at_signs(field.value) && !field.value.contains(&b'"');
    if !ours.iter().all(is_clear) || !field.value.is_ascii() || is_in_name {
        return false;
    }
    let ours: Vec<String> = ours.iter().map(|one| latin1(one)).collect();
    // Words that stand behind `>`, or alone, are addresses to Python, too.
    let theirs: Vec<String> = theirs.iter().filter(|one| one.contains('@')).cloned().collect();
    assert_eq!(ours, theirs, "{:?}", latin1(field.value));
    true
}

/// Python begins a message at any line `From `; we do where an empty line stands before it, as
/// mbox(5) has it, or at the start of the file. Contents have such lines unquoted.
fn boundaries(mbox: &[u8], line: &str) {
    let theirs: BTreeSet<u64> =
        serde_json::from_str::<Vec<u64>>(line).unwrap().into_iter().collect();
    let framed = mbox::frame(mbox, mbox::Kind::O, 0..mbox.len() as u64);
    let ours: BTreeSet<u64> = framed
        .map(|one| match one {
            Framed::Message(found) => found.offset,
            Framed::Damage(damage) => panic!("{damage:?}"),
        })
        .collect();
    assert!(ours.len() >= MESSAGES / 2, "{}", ours.len());
    let missed: Vec<_> = ours.difference(&theirs).collect();
    assert_eq!(missed, Vec::<&u64>::new(), "ours that Python has not");
    for start in theirs.difference(&ours) {
        let before = &mbox[..usize::try_from(*start).unwrap()];
        let is_after_empty = before.ends_with(b"\n\n") || before.ends_with(b"\n\r\n");
        assert!(!is_after_empty, "{start}: {:?}", latin1(&before[before.len() - 40..]));
    }
}
