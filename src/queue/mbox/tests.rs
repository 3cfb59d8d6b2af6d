//! Framing of mailboxes against explicit expectations, and against a reader that goes line by line.

use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;

const KINDS: [Kind; 4] = [Kind::Rd, Kind::O, Kind::Cl, Kind::Cl2];

/// What framing gave, in a form that compares: offset, length, head, raw content, content.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Message(u64, u64, Vec<u8>, Vec<u8>, Vec<u8>),
    Damage(u64, u64),
}

fn got(framed: Framed<'_>) -> Got {
    match framed {
        Framed::Damage(damage) => {
            assert_eq!(damage.kind, DamageKind::NoMessage);
            Got::Damage(damage.offset, damage.length)
        }
        Framed::Message(found) => {
            let content = found.content.runs().collect::<Vec<_>>().concat();
            assert_eq!(content.len() as u64, found.content.len());
            let raw = found.content.raw().to_vec();
            assert_eq!(found.content.is_quoted(), raw != content);
            Got::Message(found.offset, found.length, found.head.to_vec(), raw, content)
        }
    }
}

fn framed(file: &[u8], kind: Kind, range: Range<u64>) -> Vec<Got> {
    frame(file, kind, range).map(got).collect()
}

fn whole(file: &[u8], kind: Kind) -> Vec<Got> {
    framed(file, kind, 0..file.len() as u64)
}

fn by_parts(file: &[u8], kind: Kind, part_bytes: u64) -> Vec<Got> {
    let mut starts = part_starts(file, kind, part_bytes);
    assert_eq!(starts.first(), Some(&0));
    assert!(starts.is_sorted_by(|a, b| a < b));
    starts.push(file.len() as u64);
    starts.windows(2).flat_map(|pair| framed(file, kind, pair[0]..pair[1])).collect()
}

/// Heads and contents as text; `None` for damage.
fn texts(file: &str, kind: Kind) -> Vec<Option<(String, String)>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let each = |got| match got {
        Got::Message(_, _, head, _, content) => Some((text(&head), text(&content))),
        Got::Damage(..) => None,
    };
    whole(file.as_bytes(), kind).into_iter().map(each).collect()
}

fn check_kind(kind: Kind, file: &str, expect: &[(&str, &str)]) {
    let expect: Vec<_> =
        expect.iter().map(|(head, content)| Some(((*head).into(), (*content).into()))).collect();
    assert_eq!(texts(file, kind), expect, "{kind:?} {file:?}");
}

fn check(file: &str, expect: &[(&str, &str)]) {
    for kind in KINDS {
        check_kind(kind, file, expect);
    }
}

#[test]
fn a_from_line_after_an_empty_line_begins_a_message() {
    check(
        "From a\nX: y\n\nb\n\nFrom c\nZ: z\n\n",
        &[("From a", "X: y\n\nb\n"), ("From c", "Z: z\n")],
    );
    check("From a\r\nb\r\n\r\nFrom c\r\nd", &[("From a", "b\r\n"), ("From c", "d")]);
    check(
        "From a\nb\n\r\nFrom c\nd\r\n\nFrom e\r\n",
        &[("From a", "b\n"), ("From c", "d\r\n"), ("From e", "")],
    );
    check("From a\nb\nFrom c\n", &[("From a", "b\nFrom c\n")]);
    check(
        "From a\n From c\n\nFromage\n\nfrom d\n",
        &[("From a", " From c\n\nFromage\n\nfrom d\n")],
    );
    check("From a\nb\n \nFrom c\n", &[("From a", "b\n \nFrom c\n")]);
    check("From a\nb\n\rFrom c\n\r\rFrom d\n\n", &[("From a", "b\n\rFrom c\n\r\rFrom d\n")]);
    check("From a\nb\0\u{ff}\n\nFrom \0\n\0", &[("From a", "b\0\u{ff}\n"), ("From \0", "\0")]);
    check(
        "From From a\nFrom b\n\nFrom From c",
        &[("From From a", "From b\n"), ("From From c", "")],
    );
}

#[test]
fn one_empty_line_is_left_out_and_no_more() {
    check("From a\n\n", &[("From a", "")]);
    check("From a\n", &[("From a", "")]);
    check("From a\r\n\r\n", &[("From a", "")]);
    check("From a\n\n\n", &[("From a", "\n")]);
    check("From a\n\nFrom b\n\r\nFrom c\n", &[("From a", ""), ("From b", ""), ("From c", "")]);
    check("From a\nb\n\n\n\nFrom c\n", &[("From a", "b\n\n\n"), ("From c", "")]);
    check("From a\nb\r\n\n", &[("From a", "b\r\n")]);
    check("From a\nb\r\r\n", &[("From a", "b\r\r\n")]);
    check("From a\n\r", &[("From a", "\r")]);
}

#[test]
fn a_from_line_may_be_the_last_bytes_of_the_file() {
    check("From ", &[("From ", "")]);
    check("From a", &[("From a", "")]);
    check("From a\nb\n\nFrom ", &[("From a", "b\n"), ("From ", "")]);
    check("From a\nb\n\nFrom", &[("From a", "b\n\nFrom")]);
    check("From a\nb\r\n\r\nFrom c\r", &[("From a", "b\r\n"), ("From c\r", "")]);
}

#[test]
fn bytes_before_the_first_message_are_damage_unless_blank() {
    for kind in KINDS {
        let whole = |file: &[u8]| whole(file, kind);
        assert_eq!(whole(b""), []);
        assert_eq!(whole(b"\n"), []);
        assert_eq!(whole(b"\r\n\r\n\r\r\n"), []);
        assert_eq!(whole(b"From"), [Got::Damage(0, 4)]);
        assert_eq!(whole(b"no mail\n\nat all \xff\n"), [Got::Damage(0, 18)]);
        assert_eq!(whole(b"a\nFrom b\n"), [Got::Damage(0, 9)]);
        let message =
            |at, len| Got::Message(at, len, b"From b".to_vec(), b"c".to_vec(), b"c".to_vec());
        assert_eq!(whole(b"a\n\nFrom b\nc"), [Got::Damage(0, 3), message(3, 8)]);
        assert_eq!(whole(b"\nFrom b\nc"), [message(1, 8)]);
        assert_eq!(whole(b"\r\nFrom b\nc"), [message(2, 8)]);
        assert_eq!(whole(b"\n\r\n\nFrom b\nc"), [message(4, 8)]);
        assert_eq!(whole(b" \n\nFrom b\nc"), [Got::Damage(0, 3), message(3, 8)]);
        // Damage is told once, by the range that begins the file.
        let file = b"garbage\n\nFrom b\nc";
        assert_eq!(framed(file, kind, 0..1), [Got::Damage(0, 9)]);
        assert_eq!(framed(file, kind, 0..0), []);
        assert_eq!(framed(file, kind, 1..9), []);
        assert_eq!(framed(file, kind, 9..10), [message(9, 8)]);
        assert_eq!(framed(file, kind, 12..u64::MAX), []);
        assert_eq!(framed(file, kind, u64::MAX..u64::MAX), []);
    }
}

#[test]
fn only_mboxrd_takes_quotes_off() {
    let file = "From a\n>From b\n>>From c\n\n>From d\n>x\n >From e\n\nFrom f\n>From";
    check_kind(
        Kind::Rd,
        file,
        &[("From a", "From b\n>From c\n\nFrom d\n>x\n >From e\n"), ("From f", ">From")],
    );
    for kind in [Kind::O, Kind::Cl, Kind::Cl2] {
        check_kind(
            kind,
            file,
            &[("From a", ">From b\n>>From c\n\n>From d\n>x\n >From e\n"), ("From f", ">From")],
        );
    }
}

#[test]
fn a_length_that_ends_on_a_boundary_is_obeyed() {
    let with = |length: &str, body: &str, behind: &str| {
        format!("From a\nContent-Length: {length}\n\n{body}{behind}")
    };
    let content = |length: &str, body: &str| format!("Content-Length: {length}\n\n{body}");
    let body = "x\n\nFrom y\nz\n";
    for kind in [Kind::Cl, Kind::Cl2] {
        for behind in ["", "\n", "\r\n"] {
            check_kind(kind, &with("12", body, behind), &[("From a", &content("12", body))]);
        }
        for between in ["\n", "\r\n", ""] {
            let file = with("12", body, &format!("{between}From c\nd\n"));
            check_kind(kind, &file, &[("From a", &content("12", body)), ("From c", "d\n")]);
        }
        // A last line without a line end.
        let file = with("11", "x\n\nFrom y\nz", "\nFrom c\nd\n");
        check_kind(kind, &file, &[("From a", &content("11", &body[..11])), ("From c", "d\n")]);
        check_kind(
            kind,
            &with("0", "", "From c\n"),
            &[("From a", &content("0", "")), ("From c", "")],
        );
        // An inner length that is wrong, and one that is right, in any case, with folding.
        let file = "From a\ncontent-length: 99\nCONTENT-LENGTH:\n 2\n\nb\n\nFrom c\n";
        let expect = "content-length: 99\nCONTENT-LENGTH:\n 2\n\nb\n";
        check_kind(kind, file, &[("From a", expect), ("From c", "")]);
    }
    let lines = [("From a", "Content-Length: 12\n\nx\n"), ("From y", "z\n")];
    check_kind(Kind::Rd, &with("12", body, "\n"), &lines);
    check_kind(Kind::O, &with("12", body, "\n"), &lines);
}

#[test]
fn a_wrong_length_neither_loses_nor_joins() {
    let wrong = [
        "",
        "x",
        "-1",
        "+2",
        "0x2",
        "2 ",
        "2;",
        "1",
        "3",
        "4",
        "5",
        "9",
        "18446744073709551615",
        "99999999999999999999999",
        "999999999999999999",
        "9223372036854775807",
    ];
    for kind in [Kind::Cl, Kind::Cl2] {
        for length in wrong {
            let file = format!("From a\nContent-Length: {length}\n\nb\n\nFrom c\nd\n\nFrom e\n");
            let first = format!("Content-Length: {length}\n\nb\n");
            // The empty line counted with the content is kept: that length ends on a boundary.
            let first = if length == "3" { first + "\n" } else { first };
            check_kind(kind, &file, &[("From a", &first), ("From c", "d\n"), ("From e", "")]);
        }
        // In the header section there is no end, and behind an unfinished one there is no body.
        check_kind(
            kind,
            "From a\nContent-Length: 0\nFrom b\n",
            &[("From a", "Content-Length: 0\nFrom b\n")],
        );
        // No content ends between CR and LF, or in the middle of a line that goes on with `From `.
        let file = "From a\nContent-Length: 2\n\nb\r\nFrom c\n";
        check_kind(kind, file, &[("From a", "Content-Length: 2\n\nb\r\nFrom c\n")]);
        let file = "From a\nContent-Length: 2\n\nb From c\n";
        check_kind(kind, file, &[("From a", "Content-Length: 2\n\nb From c\n")]);
    }
}

#[test]
fn kinds_are_detected_by_their_writers_habits() {
    let check = |file: &str, expect| assert_eq!(detect(file.as_bytes()), expect, "{file:?}");
    check("", Kind::Rd);
    check("no mail", Kind::Rd);
    check("From a\nb\n", Kind::Rd);
    check("From a\nb\n>From c\n\n>From c\n", Kind::Rd);
    check("garbage\nFrom x\n\nFrom a\nb\n", Kind::Rd);
    check("From a\nb\nFrom c\n", Kind::O);
    check("From a\nFrom b\n\nFrom c\n", Kind::O);
    let good = "From a\nContent-Length: 2\n\nb\n\n";
    check(good, Kind::Cl);
    check(&good.repeat(30), Kind::Cl);
    check(&[good, "From c\nd\n"].concat(), Kind::Rd);
    check(&[&good.repeat(20), "From c\nd\n"].concat(), Kind::Cl);
    check(&[good, "From c\nContent-Length: 1\n\nd\n"].concat(), Kind::Cl);
    check(&[good, "From c\nContent-Length: 0\n\nd\n"].concat(), Kind::Rd);
    let embedded = "From a\nContent-Length: 12\n\nb\n\nFrom c\nd\n";
    check(embedded, Kind::Cl2);
    check(&[good, embedded, "\n", good].concat(), Kind::Cl2);
    check("From a\nContent-Length: 9\n\nb\nFrom c\n\n", Kind::Cl);
}

#[test]
fn detection_looks_at_a_bounded_head() {
    let mut file = b"From a\n\n".to_vec();
    file.resize(DETECT_BYTES, b'x');
    file.extend_from_slice(b"\nFrom c\n");
    assert_eq!(detect(&file), Kind::Rd);
    let large = [b"From a\nContent-Length: 5000000\n\n".to_vec(), vec![b'x'; 5_000_000]].concat();
    let file = [&large[..], b"\nFrom b\n"].concat();
    assert_eq!(detect(&file), Kind::Cl, "the length is followed over the head's end");
    let good = b"From a\nContent-Length: 2\n\nb\n\n";
    let cut = [good, &large[..]].concat();
    assert_eq!(detect(&cut[..DETECT_BYTES]), Kind::Cl, "what is cut off says nothing");
}

#[test]
fn a_huge_message_is_one_message_at_any_part_size() {
    let mut file = b"From a\n".to_vec();
    file.extend(b"0123456789 From x\n".repeat(200_000));
    file.extend_from_slice(b"\nFrom b\nc\n");
    for kind in KINDS {
        let expect = whole(&file, kind);
        assert_eq!(expect.len(), 2);
        assert_eq!(by_parts(&file, kind, 65_536), expect);
    }
}

/// The truth, read line by line.
fn reference(file: &[u8], kind: Kind) -> Vec<Got> {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in file.split_inclusive(|&b| b == b'\n') {
        lines.push((at, line));
        at += line.len();
    }
    let is_empty = |line: &[u8]| line == b"\n" || line == b"\r\n";
    let begins = |index: usize| {
        lines[index].1.starts_with(b"From ") && (index == 0 || is_empty(lines[index - 1].1))
    };
    let Some(mut index) = (0..lines.len()).find(|&index| begins(index)) else {
        let is_blank = file.iter().all(|b| b"\r\n".contains(b));
        return if is_blank { vec![] } else { vec![Got::Damage(0, file.len() as u64)] };
    };
    let mut all = Vec::new();
    let first = lines[index].0;
    if !file[..first].iter().all(|b| b"\r\n".contains(b)) {
        all.push(Got::Damage(0, first as u64));
    }
    while index < lines.len() {
        let (start, from_line) = lines[index];
        let behind = start + from_line.len();
        let by_length = if kind.has_lengths() { reference_length(file, behind) } else { None };
        let (content_end, end) = by_length.unwrap_or_else(|| {
            let next = (index + 1..lines.len()).find(|&next| begins(next)).unwrap_or(lines.len());
            let end = lines.get(next).map_or(file.len(), |line| line.0);
            let last = lines[next - 1].1;
            (if next - 1 > index && is_empty(last) { end - last.len() } else { end }, end)
        });
        let raw = &file[behind..content_end];
        let content = if kind == Kind::Rd { unquoted(raw) } else { raw.to_vec() };
        let head =
            from_line.strip_suffix(b"\n").map_or(from_line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        all.push(Got::Message(
            start as u64,
            (end - start) as u64,
            head.into(),
            raw.into(),
            content,
        ));
        index = lines.iter().position(|line| line.0 == end).unwrap_or(lines.len());
    }
    all
}

fn unquoted(raw: &[u8]) -> Vec<u8> {
    let line = |line: &[u8]| {
        let brackets = line.iter().take_while(|&&b| b == b'>').count();
        let is_quoted = brackets > 0 && line[brackets..].starts_with(b"From ");
        line[usize::from(is_quoted)..].to_vec()
    };
    raw.split_inclusive(|&b| b == b'\n').flat_map(line).collect()
}

/// End of the content and start of the next message by the first Content-Length that fits.
fn reference_length(file: &[u8], behind: usize) -> Option<(usize, usize)> {
    let mut header: Vec<Vec<u8>> = Vec::new();
    let mut body = None;
    let mut at = behind;
    for line in file[behind..].split_inclusive(|&b| b == b'\n') {
        at += line.len();
        if line == b"\n" || line == b"\r\n" {
            body = Some(at);
            break;
        }
        match header.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => last.extend(line),
            _ => header.push(line.to_vec()),
        }
    }
    let body = body?;
    let lengths = header.iter().filter_map(|field| {
        let colon = field.iter().position(|&b| b == b':')?;
        let name = field[..colon].trim_ascii_end().to_ascii_lowercase();
        (name == b"content-length").then(|| field[colon + 1..].trim_ascii())
    });
    lengths.take(4).find_map(|value| {
        let digits = std::str::from_utf8(value).ok().filter(|v| !v.starts_with('+'))?;
        let end = body + digits.parse::<usize>().ok().filter(|&n| n <= file.len())?;
        let rest = file.get(end..)?;
        let begins = |rest: &[u8]| rest.is_empty() || rest.starts_with(b"From ");
        if begins(rest) && (rest.is_empty() || file[..end].ends_with(b"\n")) {
            return Some((end, end));
        }
        if let Some(behind) = rest.strip_prefix(b"\r\n").filter(|behind| begins(behind)) {
            return Some((end, file.len() - behind.len()));
        }
        let behind = rest.strip_prefix(b"\n").filter(|behind| begins(behind))?;
        (!file[..end].ends_with(b"\r")).then(|| (end, file.len() - behind.len()))
    })
}

/// Every byte is in one message or damage, or is a blank before the first.
fn check_tiles(file: &[u8], all: &[Got]) {
    let mut at = 0;
    for (index, got) in all.iter().enumerate() {
        let (Got::Message(offset, length, ..) | Got::Damage(offset, length)) = got;
        if index == 0 {
            let blank = &file[..usize::try_from(*offset).unwrap()];
            assert!(blank.iter().all(|b| b"\r\n".contains(b)));
        } else {
            assert_eq!(*offset, at);
        }
        assert!(*length > 0);
        at = offset + length;
    }
    let rest = &file[usize::try_from(at).unwrap()..];
    assert!(rest.is_empty() || all.is_empty() && rest.iter().all(|b| b"\r\n".contains(b)));
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let fixed = [
        "From ",
        "\nFrom ",
        "\n\nFrom a\n",
        "\r\n\r\nFrom b\r\n",
        "\n\r\nFrom ",
        "\r\n",
        "\n",
        "\n\n",
        "\r",
        ">",
        ">From ",
        "\n>From ",
        "\n>>>From c\n",
        ">>",
        "X: y\n",
        " folded\n",
        "\nContent-Length: ",
        "\0",
        "Fro",
        "F",
        "From",
        " ",
        "a",
        "text\n",
        "From MAILER-DAEMON Fri Jan  2 03:04:05 2026\n",
    ];
    prop_oneof![
        8 => proptest::sample::select(fixed.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        2 => (0..60_u32).prop_map(|n| format!("Content-Length: {n}\n").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
        1 => "[ -~]{0,12}\n".prop_map(String::into_bytes),
    ]
}

/// A message with a Content-Length that is right, or off by a few.
fn message_with_length() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(fragment(), 0..5).prop_map(|pieces| pieces.concat());
    let off = prop_oneof![8 => Just(0), 1 => -2..3_i64];
    let end = proptest::sample::select(vec!["\n", "\r\n", "", "\n\n"]);
    (body, off, end).prop_map(|(body, off, end)| {
        let mut head = String::from("From a\n");
        let length = i64::try_from(body.len()).unwrap() + off;
        write!(head, "Content-Length: {length}\n\n").unwrap();
        [head.as_bytes(), &body, end.as_bytes()].concat()
    })
}

fn mailbox() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![6 => fragment(), 1 => message_with_length()];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn framing_is_what_a_reader_of_lines_sees(file in mailbox()) {
        for kind in KINDS {
            let all = whole(&file, kind);
            prop_assert_eq!(&all, &reference(&file, kind), "{:?}", kind);
            check_tiles(&file, &all);
        }
    }

    #[test]
    fn parts_give_what_the_whole_gives(file in mailbox(), other in 1..400_u64) {
        for kind in KINDS {
            let all = whole(&file, kind);
            for part_bytes in [0, 1, 2, 3, 5, 7, 16, 64, other, file.len() as u64, u64::MAX] {
                let parts = by_parts(&file, kind, part_bytes);
                prop_assert_eq!(&parts, &all, "{:?} {}", kind, part_bytes);
            }
        }
    }

    #[test]
    fn any_cut_does_without_lengths(file in mailbox(), cut in 0..200_u64) {
        for kind in [Kind::Rd, Kind::O] {
            let end = file.len() as u64;
            let cut = cut.min(end);
            let halves = [framed(&file, kind, 0..cut), framed(&file, kind, cut..end)].concat();
            prop_assert_eq!(halves, whole(&file, kind), "{:?} {}", kind, cut);
        }
    }

    #[test]
    fn nothing_panics(
        file in mailbox(),
        range in any::<(u64, u64)>(),
        near in (0..300_u64, 0..300_u64),
    ) {
        detect(&file);
        from_line(&file);
        for kind in KINDS {
            framed(&file, kind, range.0..range.1);
            framed(&file, kind, near.0..near.1);
        }
    }
}
