//! Tests of reports: golden files, read back by an independent reader; and what has to hold for any
//! bytes at all.

use super::*;
use crate::mail::date::Time;
use crate::mail::envelope::{QueueId, Ret};
use crate::mail::status::EnhancedStatus;
use crate::{limits, mail};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;
use std::path::PathBuf;

const NOW: Time = Time::from_s(1_767_323_045);
const KEY: u64 = 0x00AB_CDEF_0123_4567;

/// A message and its fate, as a test writes them down.
#[derive(Clone, Debug)]
struct Case {
    hostname: String,
    content: Vec<u8>,
    quoted: bool,
    ret: Option<Ret>,
    envid: Option<Vec<u8>>,
    arrival: Option<Time>,
    /// Forward-path and ORCPT.
    recipients: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    failures: Vec<Failure>,
    to: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Failure {
    ordinal: u32,
    address: Vec<u8>,
    status: EnhancedStatus,
    number: u16,
    detail: Vec<u8>,
    report_to: Vec<u8>,
}

impl Case {
    fn new(content: &[u8]) -> Self {
        Self {
            hostname: "mail.example.org".into(),
            content: content.to_vec(),
            quoted: false,
            ret: None,
            envid: None,
            arrival: None,
            recipients: Vec::new(),
            failures: Vec::new(),
            to: b"ann@a.example".to_vec(),
        }
    }

    fn full(mut self) -> Self {
        self.ret = Some(Ret::Full);
        self
    }

    fn recipient(mut self, path: &[u8], orcpt: Option<&[u8]>) -> Self {
        self.recipients.push((path.to_vec(), orcpt.map(<[u8]>::to_vec)));
        self
    }

    /// A failure of the latest recipient.
    fn fails(mut self, address: &[u8], status: EnhancedStatus, number: u16) -> Self {
        self.failures.push(Failure {
            ordinal: u32::try_from(self.recipients.len() - 1).unwrap(),
            address: address.to_vec(),
            status,
            number,
            detail: Vec::new(),
            report_to: self.to.clone(),
        });
        self
    }

    fn detail(mut self, detail: &[u8]) -> Self {
        self.failures.last_mut().unwrap().detail = detail.to_vec();
        self
    }

    fn report_to(mut self, to: &[u8]) -> Self {
        self.failures.last_mut().unwrap().report_to = to.to_vec();
        self
    }

    fn dispositions(&self) -> Vec<Disposition<'_>> {
        let failed = self.failures.iter().map(|failure| Disposition {
            ordinal: Some(failure.ordinal),
            address: &failure.address,
            mailbox: None,
            outcome: Outcome::Failed,
            status: failure.status,
            number: failure.number,
            route: b"",
            detail: &failure.detail,
            owner: None,
            report_to: &failure.report_to,
        });
        let delivered = Disposition {
            ordinal: Some(0),
            address: b"delivered@x.example",
            mailbox: None,
            outcome: Outcome::Delivered,
            status: EnhancedStatus::ADDRESS_VALID,
            number: 0,
            route: b"",
            detail: b"",
            owner: None,
            report_to: b"",
        };
        std::iter::once(delivered).chain(failed).collect()
    }

    fn content(&self) -> Content<'_> {
        if self.quoted { Content::quoted(&self.content) } else { Content::plain(&self.content) }
    }

    fn render(&self) -> Vec<u8> {
        let mut envelope = Envelope::new(QueueId::Given(b"1"));
        envelope.ret = self.ret;
        envelope.envid = self.envid.as_deref();
        envelope.arrival = self.arrival;
        let recipients: Vec<_> = self
            .recipients
            .iter()
            .map(|(path, orcpt)| Recipient { orcpt: orcpt.as_deref(), ..Recipient::new(path) })
            .collect();
        let returned = Returned::read(&envelope, &recipients, self.content(), (KEY, 2));
        let mta = ReportingMta::new(&self.hostname, NOW);
        let mut out = b"before".to_vec();
        render(&mut out, &mta, &returned, &self.to, &self.dispositions());
        assert!(out.starts_with(b"before"));
        out.split_off(b"before".len())
    }
}

const PLAIN: &[u8] = b"Received: from a by b; Fri, 2 Jan 2026 03:00:00 +0000\n\
    From: Ann <ann@a.example>\nTo: nobody@x.example\nSubject: Lunch, on Friday\n\nSee you.\n";

/// The golden reports, by name, and the subject as a reader is to see it.
fn golden_cases() -> Vec<(&'static str, &'static str, Case)> {
    use EnhancedStatus as S;
    let crlf = |text: &[u8]| text.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
    let plain = Case::new(PLAIN).recipient(b"nobody@x.example", None).fails(
        b"nobody@x.example",
        S::MAILBOX_UNKNOWN,
        2,
    );
    let mut whole = Case::new(&crlf(PLAIN))
        .full()
        .recipient(b"full@x.example", Some(b"rfc822;Full+Box@old.example"))
        .fails(b"full@x.example", S::MAILBOX_FULL, 17);
    whole.envid = Some(b"QQ314159".to_vec());
    whole.arrival = Some(NOW.plus_s(-5 * 86_400));
    let mut beyond_ascii = Case::new(
        b"Subject: Gr\xfc\xdfe aus K\xf6ln\nContent-Type: text/plain; charset=iso-8859-1\n\n\xfc\n",
    )
    .full();
    beyond_ascii.to = "\"j\u{f6}rg m\"@m\u{fc}ller.example".into();
    let beyond_ascii = beyond_ascii
        .recipient("zo\u{eb}+x@x.example".as_bytes(), Some("utf-8;zo\u{eb}@x.example".as_bytes()))
        .fails("zo\u{eb}+x@x.example".as_bytes(), S::MAILBOX_UNKNOWN, 2);
    let several = Case::new(PLAIN)
        .recipient(b"team@x.example", None)
        .fails(b"dan@x.example", S::MAILBOX_MOVED, 0)
        .detail(b"dan@new.example")
        .fails(b"cyd@x.example", S::MAILBOX_DISABLED, 0)
        .recipient(b"round@x.example", None)
        .fails(b"round@x.example", S::LOOP, 3)
        .fails(b"member@x.example", S::MAILBOX_UNKNOWN, 2)
        .report_to(b"owner@x.example");
    let mut owner = several.clone();
    owner.to = b"owner@x.example".to_vec();
    let binary = Case::new(b"Subject: Nul\n\nA NUL: \0, and a CR: \r.\n")
        .full()
        .recipient(b"a b@x.example", None)
        .fails(b"a b@x.example", S::BAD_ADDRESS, 0)
        .detail(b"bad local-part in address");
    let mut bad_bytes = Case::new(b"Subject: a\0\x1b[2Jb\nX: \xff\0\n\nbody\n")
        .recipient(b"\xff\n\n--=_x\0@x", Some(b"no type\r\nX: y"))
        .fails(b"\xff\n\n--=_x\0@x", S::BAD_ADDRESS, 0)
        .detail(b"\r\nBcc: x@y\r\n\r\n");
    bad_bytes.envid = Some(b"a b=\xff".to_vec());
    bad_bytes.hostname = "bad\r\nhost".into();
    bad_bytes.to = b"not an address\nBcc: x@y".to_vec();
    bad_bytes.failures[0].report_to.clone_from(&bad_bytes.to);
    let mut quoted =
        Case::new(b"Subject: =?utf-8?Q?=E2=82=AC_5?=\n\n>From here\n>>From there\n").full();
    quoted.quoted = true;
    let quoted = quoted.recipient(b"u@r.example", None).fails(b"u@r.example", S::SYSTEM_UNKNOWN, 0);
    let empty = Case::new(b"").recipient(b"", None).fails(b"", S::BAD_ADDRESS, 0);
    vec![
        ("plain", "Undelivered mail: Lunch, on Friday", plain),
        ("whole-crlf", "Undelivered mail: Lunch, on Friday", whole),
        ("beyond-ascii", "Undelivered mail: Gr\u{fc}\u{df}e aus K\u{f6}ln", beyond_ascii),
        ("several", "Undelivered mail: Lunch, on Friday", several),
        ("owner", "Undelivered mail: Lunch, on Friday", owner),
        ("binary", "Undelivered mail: Nul", binary),
        ("bad-bytes", "Undelivered mail: a  [2Jb", bad_bytes),
        ("quoted-mbox", "Undelivered mail: \u{20ac} 5", quoted),
        ("empty", "Undelivered mail", empty),
    ]
}

fn golden_folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "ndr"].iter().collect()
}

#[test]
fn golden_reports_are_as_they_were() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names: Vec<String> = Vec::new();
    for (name, _, case) in golden_cases() {
        let folder = golden_folder().join(name);
        let path = folder.join("expected.eml");
        let got = case.render();
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &got).unwrap();
        }
        let expect = std::fs::read(&path)
            .unwrap_or_else(|e| panic!("{}: {e}: run with UPDATE_GOLDEN=1", path.display()));
        assert!(got == expect, "{}:\n{}", path.display(), String::from_utf8_lossy(&got));
        names.push(name.into());
    }
    assert!(!names.is_empty());
    let mut found: Vec<String> = std::fs::read_dir(golden_folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    found.sort();
    assert_eq!(names, found, "a folder without a case, or a case without a folder");
}

#[test]
fn an_independent_reader_finds_what_was_meant() {
    for (name, subject, case) in golden_cases() {
        let bytes = case.render();
        let message = MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(message.subject(), Some(subject), "{name}");
        assert_eq!(message.date().map(mail_parser::DateTime::to_timestamp), Some(NOW.as_s()));
        let PartType::Multipart(parts) = &message.root_part().body else { panic!("{name}") };
        assert_eq!(parts.len(), 3, "{name}");
        let part = |index: usize| message.part(parts[index]).unwrap();
        let of_type = |index: usize| part(index).content_type().unwrap().subtype().unwrap();
        assert_eq!((of_type(0), of_type(1)), ("plain", "delivery-status"), "{name}");
        let groups = groups_of(part(1).contents());
        let reported: Vec<_> = case.failures.iter().filter(|f| f.report_to == case.to).collect();
        assert_eq!(groups.len(), 1 + reported.len(), "{name}");
        for (group, failure) in groups.iter().skip(1).zip(reported) {
            assert_eq!(field(group, "Action"), Some("failed"));
            assert_eq!(field(group, "Status"), Some(&failure.status.to_string()[..]));
            assert_eq!(
                read_address(field(group, "Final-Recipient").unwrap()),
                Some(latin1(&failure.address))
            );
        }
        let whole = case.ret == Some(Ret::Full);
        assert_eq!(of_type(2), if whole { "rfc822" } else { "rfc822-headers" }, "{name}");
        if let PartType::Message(inner) = &part(2).body {
            let inner_subject = inner.subject().map(|s| format!("Undelivered mail: {s}"));
            assert!(name == "beyond-ascii" || inner_subject.as_deref() == Some(subject), "{name}");
        }
    }
}

/// The groups of fields of a delivery-status.
fn groups_of(status: &[u8]) -> Vec<Vec<(String, String)>> {
    let text = std::str::from_utf8(status).unwrap().replace("\r\n", "\n");
    let text = text.strip_suffix('\n').unwrap_or(&text);
    text.split("\n\n")
        .map(|group| {
            group
                .lines()
                .map(|line| line.split_once(':').unwrap())
                .map(|(name, value)| (name.into(), value.strip_prefix(' ').unwrap().into()))
                .collect()
        })
        .collect()
}

fn field<'g>(group: &'g [(String, String)], name: &str) -> Option<&'g str> {
    let mut values = group.iter().filter(|(n, _)| n == name).map(|(_, value)| &value[..]);
    let value = values.next();
    assert_eq!(values.next(), None, "{name} twice");
    value
}

/// Bytes as text, those that aren't UTF-8 taken for Latin-1.
fn latin1(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += chunk.valid();
        text.extend(chunk.invalid().iter().map(|&b| char::from(b)));
    }
    text
}

/// The address of a Final-Recipient as it was; none where it was cut.
fn read_address(value: &str) -> Option<String> {
    let (address_type, address) = value.split_once("; ").unwrap();
    if address.len() > 880 {
        return None;
    }
    if address_type == "rfc822" {
        return Some(address.into());
    }
    assert_eq!(address_type, "utf-8");
    let mut pieces = address.split("\\x{");
    let mut text = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (hex, rest) = piece.split_once('}').unwrap();
        text.push(char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap());
        text += rest;
    }
    Some(text)
}

/// A report taken apart by its lines alone.
struct Taken<'r> {
    /// Names of the header's fields.
    names: Vec<&'r str>,
    /// Header and body of each part.
    parts: Vec<(&'r [u8], &'r [u8])>,
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

fn take_apart<'r>(report: &'r [u8], eol: &str) -> Taken<'r> {
    let empty_line = [eol, eol].concat();
    let end = position(report, empty_line.as_bytes()).unwrap();
    let header = std::str::from_utf8(&report[..end]).unwrap();
    let one_line = header.replace(eol, "");
    assert!(!one_line.contains(|c: char| c.is_ascii_control()), "{one_line:?}");
    let names = header
        .split(eol)
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?}")).0)
        .collect();
    let boundary = header.split_once("boundary=\"").unwrap().1.split_once('"').unwrap().0;
    let delimiter = format!("{eol}--{boundary}");
    let mut parts = Vec::new();
    let mut rest = &report[end..];
    rest = &rest[position(rest, delimiter.as_bytes()).unwrap() + delimiter.len()..];
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(eol.as_bytes()).unwrap();
        let part = &rest[..position(rest, delimiter.as_bytes()).unwrap()];
        rest = &rest[part.len() + delimiter.len()..];
        let split = position(part, empty_line.as_bytes()).unwrap();
        parts.push((&part[..split], &part[split + empty_line.len()..]));
    }
    assert_eq!(rest, [b"--", eol.as_bytes()].concat());
    Taken { names, parts }
}

/// What has to hold for every report.
fn check_invariants(case: &Case) {
    let report = case.render();
    assert_eq!(report, case.render(), "the same input gives the same bytes");
    let first_line = case.content.split(|b| *b == b'\n').next().unwrap();
    let has_crlf = case.content.contains(&b'\n') && first_line.ends_with(b"\r");
    let eol = if has_crlf { "\r\n" } else { "\n" };
    let taken = take_apart(&report, eol);
    let (names, last) = taken.names.split_at(8);
    let expect = "From To Subject Date Message-ID Auto-Submitted MIME-Version Content-Type";
    assert_eq!(names.join(" "), expect);
    assert!(matches!(last, [] | ["Content-Transfer-Encoding"]), "{last:?}");
    assert_eq!(taken.parts.len(), 3);
    let returned = taken.parts[2].1;
    let ours = report.len() - returned.len() - eol.len() - 48;
    for line in report[..ours.min(report.len())].split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= limits::REPORT_LINE_BYTES_MAX);
    }
    for (header, body) in &taken.parts[..2] {
        let text = [*header, *body].concat();
        let text = String::from_utf8(text).unwrap().replace(eol, "");
        assert!(text.bytes().all(|b| matches!(b, b' '..=b'~')), "{text}");
    }
    check_recipients(case, taken.parts[1].1);
    check_returned(case, taken.parts[2]);
}

fn check_recipients(case: &Case, status: &[u8]) {
    let groups = groups_of(status);
    let reported: Vec<_> = case.failures.iter().filter(|f| f.report_to == case.to).collect();
    assert_eq!(groups.len(), 1 + reported.len());
    let names = |group: &[(String, String)]| -> String {
        group.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>().join(" ")
    };
    let id = if case.envid.is_some() { "Original-Envelope-Id " } else { "" };
    let date = if case.arrival.is_some() { " Arrival-Date" } else { "" };
    assert_eq!(names(&groups[0]), format!("{id}Reporting-MTA{date}"));
    for (group, failure) in groups[1..].iter().zip(reported) {
        let has_orcpt =
            case.recipients.get(failure.ordinal as usize).is_some_and(|(_, o)| o.is_some());
        let original = if has_orcpt { "Original-Recipient " } else { "" };
        let rest = "Final-Recipient Action Status Diagnostic-Code Last-Attempt-Date";
        assert_eq!(names(group), format!("{original}{rest}"));
        assert_eq!(field(group, "Status"), Some(&failure.status.to_string()[..]));
        let address = read_address(field(group, "Final-Recipient").unwrap());
        assert!(address.is_none_or(|address| address == latin1(&failure.address)));
    }
}

fn check_returned(case: &Case, (header, body): (&[u8], &[u8])) {
    let content: Vec<u8> = case.content().runs().flatten().copied().collect();
    let header = std::str::from_utf8(header).unwrap();
    if header.contains("message/rfc822") {
        assert_eq!(body, content);
        assert!(!header.contains("base64"));
    } else if header.ends_with("base64") {
        assert!(body.iter().all(|b| b.is_ascii_graphic() || matches!(b, b'\r' | b'\n')));
    } else {
        assert!(content.starts_with(body));
        assert_eq!(body.len(), mail::header::section_len(&content));
        assert!(!body.contains(&0));
    }
    assert!(!header.ends_with("7bit") || body.is_ascii());
}

fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(
            proptest::sample::select(&b"\r\n\r\n --=_:;a@x.\"\\<>\0\xff"[..]),
            0..60
        ),
        Just(b"a@x.example".to_vec()),
        Just(b"x\r\nBcc: y@z\r\n\r\n--=_00abcdef01234567.0\r\n".to_vec()),
        (any::<u8>(), 870_usize..1100).prop_map(|(byte, len)| vec![byte; len]),
        ".{0,40}".prop_map(String::into_bytes),
    ]
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    (hostile_bytes(), hostile_bytes(), prop_oneof![Just("\n"), Just("\r\n")]).prop_map(
        |(subject, body, eol)| {
            let e = eol.as_bytes();
            [b"From: a@x", e, b"Subject: ", &subject, e, e, &body].concat()
        },
    )
}

prop_compose! {
    fn any_failure()(
        ordinal in 0_u32..4,
        address in hostile_bytes(),
        status in proptest::sample::select(&[
            EnhancedStatus::MAILBOX_UNKNOWN, EnhancedStatus::LOOP, EnhancedStatus::BAD_ADDRESS,
        ][..]),
        number in prop_oneof![Just(0_u16), Just(2), Just(17), any::<u16>()],
        detail in hostile_bytes(),
    ) -> Failure {
        Failure { ordinal, address, status, number, detail, report_to: Vec::new() }
    }
}

prop_compose! {
    fn any_case()(
        hostname in prop_oneof![".{0,300}", Just("mail.example.org".to_owned())],
        content in prop_oneof![any_content(), hostile_bytes()],
        quoted in any::<bool>(),
        ret in prop_oneof![Just(None), Just(Some(Ret::Full)), Just(Some(Ret::Hdrs))],
        envid in proptest::option::of(hostile_bytes()),
        arrival in proptest::option::of(any::<i64>().prop_map(Time)),
        recipients in proptest::collection::vec(
            (hostile_bytes(), proptest::option::of(hostile_bytes())), 0..4),
        failures in proptest::collection::vec((any_failure(), 0_usize..5), 0..5),
        to in hostile_bytes(),
    ) -> Case {
        // One in five goes to someone else.
        let failures = failures.into_iter().map(|(failure, other)| Failure {
            report_to: if other == 0 { b"other@x.example".to_vec() } else { to.clone() },
            ..failure
        });
        let failures = failures.collect();
        Case { hostname, content, quoted, ret, envid, arrival, recipients, failures, to }
    }
}

proptest! {
    #[test]
    fn any_bytes_make_a_well_formed_report(case in any_case()) {
        check_invariants(&case);
    }
}

#[test]
fn golden_reports_hold_the_invariants() {
    for (_, _, case) in golden_cases() {
        check_invariants(&case);
    }
}

#[test]
fn each_addressee_gets_one_report_in_order_of_appearance() {
    let mut case = Case::new(PLAIN).recipient(b"a@x", None);
    for to in ["b@x", "a@x", "b@x", "c@x", "a@x"] {
        case = case.fails(b"z@x", EnhancedStatus::LOOP, 3).report_to(to.as_bytes());
    }
    let dispositions = case.dispositions();
    let got: Vec<_> = addressees(&dispositions).collect();
    assert_eq!(got, [b"b@x", b"a@x", b"c@x"]);
    assert_eq!(reported(&dispositions, b"b@x").count(), 2);
    assert_eq!(reported(&dispositions, b"").count(), 0);
    for (to, id) in [("b@x", "2.ndr"), ("a@x", "2.2.ndr"), ("c@x", "2.3.ndr")] {
        case.to = to.into();
        let expect = format!("Message-ID: <00ABCDEF01234567.{id}@mail.example.org>\n");
        assert!(position(&case.render(), expect.as_bytes()).is_some(), "{expect}");
    }
}

#[test]
fn a_hundred_thousand_failed_recipients_are_all_reported() {
    let mut case = Case::new(PLAIN);
    for index in 0..100_000 {
        let address = format!("u{index}@x.example");
        case = case.recipient(address.as_bytes(), None).fails(
            address.as_bytes(),
            EnhancedStatus::MAILBOX_UNKNOWN,
            2,
        );
    }
    let dispositions = case.dispositions();
    assert_eq!(addressees(&dispositions).collect::<Vec<_>>(), [b"ann@a.example"]);
    check_invariants(&case);
}

#[test]
fn a_forged_boundary_is_evaded() {
    let forged = b"Subject: x\n\n--=_00abcdef01234567.0--\n--=_00abcdef01234567.1\n";
    let case =
        Case::new(forged).full().recipient(b"a@x", None).fails(b"a@x", EnhancedStatus::LOOP, 3);
    assert!(position(&case.render(), b"boundary=\"=_00abcdef01234567.2\"").is_some());
    check_invariants(&case);
}

/// The type and the encoding of the third part.
fn label(case: &Case) -> String {
    let report = case.render();
    let (header, body) = take_apart(&report, "\n").parts[2];
    check_invariants_of_cut(case, body);
    let value = |line: &str| line.split_once(": ").unwrap().1.to_owned();
    std::str::from_utf8(header).unwrap().lines().map(value).collect::<Vec<_>>().join(" ")
}

fn check_invariants_of_cut(case: &Case, body: &[u8]) {
    assert!(body.len() <= limits::REPORT_CONTENT_BYTES_MAX || case.content == body);
}

#[test]
fn what_comes_back_is_labelled_by_its_bytes() {
    let check = |content: &[u8], whole: &str, header: &str| {
        let case = Case::new(content);
        assert_eq!(label(&case), format!("text/rfc822-headers {header}"));
        assert_eq!(label(&case.full()), format!("message/rfc822 {whole}"));
    };
    check(b"A: b\n\nc\n", "7bit", "7bit");
    check(b"A: b\n\nc\xff", "8bit", "7bit");
    check(b"A: \xff\n\nc", "8bit", "8bit");
    check(b"A: \0\n\nc", "binary", "base64");
    check(b"A: b\rc\n\n", "binary", "base64");
    check(b"A: b\n\nc\r", "binary", "7bit");
    for (len, encoding, of_header) in [(998, "7bit", "7bit"), (999, "binary", "base64")] {
        check(&b"a".repeat(len), encoding, of_header);
        check(&[b"A: b\n\n".to_vec(), b"a".repeat(len)].concat(), encoding, "7bit");
    }
}

#[test]
fn large_messages_come_back_by_their_header_section() {
    let head = b"A: b\n\n";
    let at_limit = [&head[..], &b"x\n".repeat((limits::REPORT_CONTENT_BYTES_MAX - 6) / 2)].concat();
    assert_eq!(at_limit.len(), limits::REPORT_CONTENT_BYTES_MAX);
    assert_eq!(label(&Case::new(&at_limit).full()), "message/rfc822 7bit");
    let above = [&at_limit[..], b"\n"].concat();
    assert_eq!(label(&Case::new(&above).full()), "text/rfc822-headers 7bit");
}

#[test]
fn long_header_sections_are_cut_at_a_line_end() {
    let fields = b"X-Line: 0123456789\n".repeat(5000);
    let report = Case::new(&fields).render();
    let body = take_apart(&report, "\n").parts[2].1;
    assert!(body.len() > limits::REPORT_HEADER_BYTES_MAX - 19);
    assert!(body.len() <= limits::REPORT_HEADER_BYTES_MAX);
    assert!(body.ends_with(b"9\n"));
    // One line alone that is too long, and text that base64 needs more than one line for.
    let report = Case::new(&b"x".repeat(100_000)).render();
    let body = take_apart(&report, "\n").parts[2].1;
    assert_eq!(body.len(), limits::REPORT_HEADER_BYTES_MAX.div_ceil(3) * 4 + 1149);
    assert!(body.split(|b| *b == b'\n').all(|line| line.len() <= 76));
}

#[test]
fn a_host_that_is_no_domain_is_written_as_localhost() {
    for (hostname, expect) in [
        ("mx.example", "mx.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("", "localhost"),
        ("a b", "localhost"),
        ("m\u{fc}.example", "localhost"),
        ("x>\r\nBcc: y", "localhost"),
    ] {
        let mut case = Case::new(PLAIN);
        case.hostname = hostname.into();
        let report = String::from_utf8(case.render()).unwrap();
        assert!(
            report.starts_with(&format!("From: Mail Delivery System <MAILER-DAEMON@{expect}>\n"))
        );
        assert!(report.contains(&format!("\nReporting-MTA: dns; {expect}\n")), "{report}");
    }
}
