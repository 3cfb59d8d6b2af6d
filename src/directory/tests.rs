//! Tests of the directory: a table of cases, errors with their places, and agreement with a naive
//! reading of the file.

use super::*;
use proptest::prelude::*;

fn directory(text: &str) -> Directory {
    Directory::parse(text.as_bytes(), "users.txt").unwrap()
}

fn standing<'d>(directory: &'d Directory, path: &str) -> Standing<'d> {
    directory.look_up(Mailbox::parse(path.as_bytes()).unwrap())
}

/// The standing as words, to be compared with what was meant.
fn words(standing: Standing<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = |paths: &[Box<[u8]>]| paths.iter().map(|p| text(p)).collect::<Vec<_>>().join(",");
    match standing {
        Standing::Mailbox(_) => "mailbox".into(),
        Standing::GroupGone => "group gone".into(),
        Standing::Full => "full".into(),
        Standing::Disabled => "disabled".into(),
        Standing::Moved(new) => format!("moved {}", text(new)),
        Standing::Alias(targets) => format!("alias {}", all(targets)),
        Standing::List { owner, members } => {
            format!("list {} {}", owner.map_or("-".into(), text), all(members))
        }
        Standing::Unknown => "unknown".into(),
        Standing::Relay(route) => format!("relay {}", text(route)),
        Standing::Remote => "remote".into(),
    }
}

const EXAMPLE: &str = "# a comment\n\n  \t\n\
    ann@a.example\n\
    \tBob@A.example \t full\r\n\
    cyd@a.example disabled\n\
    dan@a.example moved Dan@New.example\n\
    eve@a.example alias ann@a.example x@y.example\n\
    team@a.example list owner=eve@a.example ann@a.example \"bob b\"@a.example\n\
    crew@a.example list ann@a.example\n\
    \"bob b\"@a.example\n\
    \"q\\\" #\"@a.example disabled\n\
    j\u{f6}rg@m\u{fc}ller.example\n\
    @empty.example\n\
    @all.example catch-all Ann@a.example\n\
    some@all.example full\n\
    @relay.example relay smtp:[mx.example.net]:25 by night  \n\
    @plain.example relay\n\
    system DirSync@a.example\n\
    postmaster Post@a.example\n\
    x@[192.0.2.1]";

#[test]
fn every_kind_of_line_means_what_the_document_says() {
    let directory = directory(EXAMPLE);
    let check = |path: &str, expect: &str| {
        assert_eq!(words(standing(&directory, path)), expect, "{path}");
    };
    check("ann@a.example", "mailbox");
    check("ANN@A.Example", "mailbox");
    check("bob@a.example", "full");
    check("cyd@a.example", "disabled");
    check("dan@a.example", "moved Dan@New.example");
    check("eve@a.example", "alias ann@a.example,x@y.example");
    check("team@a.example", "list eve@a.example ann@a.example,\"bob b\"@a.example");
    check("crew@a.example", "list - ann@a.example");
    check("\"BOB B\"@a.example", "mailbox");
    check("\"q\\\" #\"@a.example", "disabled");
    check("J\u{f6}RG@m\u{fc}ller.example", "mailbox");
    check("j\u{d6}rg@m\u{fc}ller.example", "unknown");
    check("nobody@a.example", "unknown");
    check("nobody@empty.example", "unknown");
    check("nobody@ALL.example", "alias Ann@a.example");
    check("some@all.example", "full");
    check("any@relay.example", "relay smtp:[mx.example.net]:25 by night");
    check("any@plain.example", "relay ");
    check("any@elsewhere.example", "remote");
    check("x@new.example", "remote");
    check("dirsync@a.example", "unknown");
    check("PostMaster", "alias Post@a.example");
    check("a@[192.0.2.9]", "remote");
    check("x@[192.0.2.1]", "mailbox");
    assert_eq!(directory.postmaster(), Some(&b"Post@a.example"[..]));
    assert_eq!(directory.len(), 12);
    assert_eq!(directory.checksum(), crc32c::crc32c(EXAMPLE.as_bytes()));
}

#[test]
fn systems_are_known_whatever_the_case() {
    let directory = directory(EXAMPLE);
    assert!(directory.is_system(b"dirsync@a.example"));
    assert!(directory.is_system(b"DIRSYNC@A.EXAMPLE"));
    assert!(!directory.is_system(b"ann@a.example"));
    assert!(!directory.is_system(b""));
    assert!(!directory.is_system(b"<>"));
    assert!(!directory.is_system(&b"x".repeat(10_000)));
}

#[test]
fn an_empty_directory_knows_nobody() {
    for directory in [Directory::default(), directory(""), directory("# nothing\n\n")] {
        assert!(directory.is_empty());
        assert_eq!(standing(&directory, "a@b.example"), Standing::Remote);
        assert_eq!(standing(&directory, "postmaster"), Standing::Unknown);
        assert_eq!(directory.postmaster(), None);
        assert!(!directory.is_system(b"a@b.example"));
    }
    assert_eq!(Directory::default().checksum(), 0);
}

fn errors(text: &[u8]) -> Vec<String> {
    let error = Directory::parse(text, "users.txt").unwrap_err();
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn errors_name_line_column_and_what_to_do() {
    let check = |text: &str, expect: &str| assert_eq!(errors(text.as_bytes()), [expect], "{text}");
    check(
        "@b.example\n@b.example relay\n",
        "users.txt:2:1: a domain is both local and relayed (first in line 1): \
         keep one of the lines",
    );
    check(
        "# x\na@b.example\r\n@b.example relay x\r\n",
        "users.txt:2:1: an entry for an address in a domain that line 3 relays: \
         take out this entry, or that line",
    );
    check(
        "a@b.example  gone",
        "users.txt:1:14: unknown word 'gone': write full, disabled, moved, alias or list",
    );
    check("@b.example gone", "users.txt:1:12: unknown word 'gone': write catch-all or relay");
    check("a@b.example full # no", "users.txt:1:18: unexpected word '#': take it out");
    check("a@b.example alias", "users.txt:1:18: a target is missing: add it");
    check("a@b.example list owner=c@d.example", "users.txt:1:35: a member is missing: add it");
    check("a@b.example moved", "users.txt:1:18: the new address is missing: add it");
    check("@b.example catch-all", "users.txt:1:21: the target is missing: add it");
    check("system", "users.txt:1:7: the system's address is missing: add it");
    check("postmaster", "users.txt:1:11: the postmaster's address is missing: add it");
}

#[test]
fn errors_of_what_is_listed_twice_name_the_first_line() {
    let check = |text: &str, expect: &str| assert_eq!(errors(text.as_bytes()), [expect], "{text}");
    check(
        "a@b.example\n\nA@B.example full\n",
        "users.txt:3:1: an address is listed twice (first in line 1): keep one of the lines",
    );
    check(
        "@b.example\n @B.example catch-all a@c.example\n",
        "users.txt:2:2: a domain is listed twice (first in line 1): keep one of the lines",
    );
    check(
        "postmaster a@b.example\npostmaster a@b.example",
        "users.txt:2:12: the postmaster is listed twice (first in line 1): keep one of the lines",
    );
    check(
        "system a@b.example\nsystem A@b.example",
        "users.txt:2:8: a system's address is listed twice: keep one of the lines",
    );
}

#[test]
fn errors_in_addresses_name_line_column_and_what_to_do() {
    let check = |text: &str, expect: &str| assert_eq!(errors(text.as_bytes()), [expect], "{text}");
    check("a@b..c", "users.txt:1:1: bad domain in address: 'a@b..c' is to be local-part@domain");
    check(
        "x@y.example alias POSTMASTER",
        "users.txt:1:19: address without a domain: 'POSTMASTER' is to be local-part@domain",
    );
    check(
        "<a@b.example>",
        "users.txt:1:1: brackets round an address: \
         '<a@b.example>' is to be local-part@domain",
    );
    check(
        "\"a b@c.example full",
        "users.txt:1:1: bad local-part in address: \
         '\\\"a b@c.example full' is to be local-part@domain",
    );
    check(
        "x@y.example list owner=z a@b.example",
        "users.txt:1:24: address without a domain: 'z' is to be local-part@domain",
    );
    check(
        "x@y.example list a@b.example owner=z@z.example",
        "users.txt:1:30: owner= stands before the members: move it",
    );
    check(
        "\x0c@b.example",
        "users.txt:1:1: bad local-part in address: \
         '\\x0c@b.example' is to be local-part@domain",
    );
    check("@", "users.txt:1:1: not a domain: '@' is to be @domain");
    check("@a@b", "users.txt:1:1: not a domain: '@a@b' is to be @domain");
    check("@x:a@b", "users.txt:1:1: not a domain: '@x:a@b' is to be @domain");
}

#[test]
fn ten_errors_are_told_in_the_order_of_the_file_and_the_rest_counted() {
    let mut text = String::new();
    for index in 0..20 {
        // Every kind of error, mixed: domains twice, addresses twice, and what isn't an address.
        text += ["@d.example\n", "a@d.example\n", "nonsense\n"][index % 3];
    }
    let error = Directory::parse(text.as_bytes(), "u").unwrap_err();
    let DirectoryError::Invalid { errors, count, .. } = &error else { panic!("{error}") };
    assert_eq!(errors.len(), limits::DIRECTORY_ERRORS_TOLD_MAX);
    assert_eq!(*count, 18);
    let lines: Vec<_> = errors.iter().map(|e| e.line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert!(error.to_string().ends_with("\nu: and 8 more errors"), "{error}");
}

#[test]
fn limits_of_addresses_hold() {
    let local = "l".repeat(limits::LOCAL_PART_BYTES_MAX);
    assert_eq!(directory(&format!("{local}@b.example")).len(), 1);
    let expect = format!("users.txt:1:1: address too long: '{}...' is to be", "l".repeat(60));
    let got = errors(format!("l{local}@b.example").as_bytes());
    assert!(got[0].starts_with(&expect), "{got:?}");
    let huge = Mailbox { local_part: &[b'x'; 5000], domain: b"b.example" };
    assert_eq!(directory("@b.example").look_up(huge), Standing::Unknown);
    let huge = Mailbox { local_part: b"x", domain: &[b'x'; 5000] };
    assert_eq!(directory("@b.example").look_up(huge), Standing::Remote);
}

#[test]
fn the_byte_order_mark_is_no_part_of_the_first_address() {
    let directory = directory("\u{feff}a@b.example\n");
    assert_eq!(standing(&directory, "a@b.example"), Standing::Mailbox(b""));
}

#[test]
fn a_missing_file_is_told_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.txt");
    let error = Directory::load(&path).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}: cannot read", path.display())), "{error}");
    std::fs::write(&path, "a@b.example full\n").unwrap();
    assert_eq!(standing(&Directory::load(&path).unwrap(), "a@b.example"), Standing::Full);
}

#[test]
fn a_large_file_loads() {
    use std::fmt::Write;
    let mut text = String::new();
    for index in 0..200_000 {
        writeln!(text, "User{index}@d{}.example{}", index % 100, ["", " full"][index % 2]).unwrap();
    }
    let large = directory(&text);
    assert_eq!(large.len(), 200_000);
    for index in (0..200_000).step_by(997) {
        let path = format!("uSER{index}@D{}.example", index % 100);
        let expect = [Standing::Mailbox(b""), Standing::Full][index % 2];
        assert_eq!(standing(&large, &path), expect);
    }
    text += "user7@d7.example\n";
    assert_eq!(
        errors(text.as_bytes()),
        ["users.txt:200001:1: an address is listed twice (first in line 8): keep one of the lines"]
    );
}

/// What the file says about an address, by reading it from the top for every question.
fn read_naively(text: &str, path: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|line| line.first().is_some_and(|word| !word.starts_with('#')))
        .collect();
    let named = |line: &&Vec<&str>, name: &str| line[0].eq_ignore_ascii_case(name);
    if let Some(line) = lines.iter().find(|line| named(line, path)) {
        return match line[1..] {
            [] => "mailbox".into(),
            ["alias", ..] => format!("alias {}", line[2..].join(",")),
            ["list", owner, ..] if owner.starts_with("owner=") => {
                format!("list {} {}", &owner[6..], line[3..].join(","))
            }
            ["list", ..] => format!("list - {}", line[2..].join(",")),
            _ => line[1..].join(" "),
        };
    }
    let domain = path.split_once('@').unwrap().1;
    if let Some(line) = lines.iter().find(|line| named(line, &format!("@{domain}"))) {
        return match line[1..] {
            ["catch-all", target] => format!("alias {target}"),
            ["relay", ..] => format!("relay {}", line[2..].join(" ")),
            _ => "unknown".into(),
        };
    }
    let ends_so =
        |word: &str| word.split_once('@').is_some_and(|(_, d)| d.eq_ignore_ascii_case(domain));
    let local = lines.iter().any(|line| ends_so(line[0]));
    if local { "unknown" } else { "remote" }.into()
}

fn any_address() -> impl Strategy<Value = String> {
    ("[abA]", "[xyzX]").prop_map(|(local, domain)| format!("{local}@{domain}.example"))
}

fn any_line() -> impl Strategy<Value = String> {
    let target = any_address;
    prop_oneof![
        4 => any_address(),
        1 => any_address().prop_map(|a| format!("{a}\tfull\r")),
        1 => any_address().prop_map(|a| format!(" {a} disabled ")),
        1 => (any_address(), target()).prop_map(|(a, t)| format!("{a} moved {t}")),
        1 => (any_address(), target(), target()).prop_map(|(a, t, u)| format!("{a} alias {t} {u}")),
        1 => (any_address(), target(), target())
            .prop_map(|(a, t, u)| format!("{a} list owner={t} {u}")),
        1 => (any_address(), target()).prop_map(|(a, t)| format!("{a} list {t}")),
        1 => "@[xyzw].example( relay( r)?| catch-all q@q.example)?",
        1 => "(# c|)",
        1 => any_address().prop_map(|a| format!("system {a}")),
    ]
}

proptest! {
    #[test]
    fn look_ups_agree_with_a_naive_reading(
        lines in proptest::collection::vec(any_line(), 0..6),
    ) {
        let text = lines.join("\n");
        let Ok(directory) = Directory::parse(text.as_bytes(), "u") else { return Ok(()) };
        for local in ["a", "b", "c"] {
            for domain in ["x", "y", "Z", "w", "v"] {
                let path = format!("{local}@{domain}.example");
                let expect = read_naively(&text, &path);
                prop_assert_eq!(words(standing(&directory, &path)), &expect[..], "{}", &path);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(&b"a@b \t\n\"\\#=<>"[..])], 0..300),
    ) {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        match Directory::parse(&bytes, "u") {
            Ok(directory) => prop_assert!(directory.len() <= lines),
            Err(DirectoryError::Invalid { errors, count, .. }) => {
                prop_assert!(count <= lines && errors.len() <= count);
                prop_assert!(errors.is_sorted_by_key(|error| (error.line, error.column)));
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
