//! Reports on the failures of generated queues, read back by the mail-parser crate and by Python's
//! `email` (`tests/readers/ndr_email.py`): recipient, action and status are as meant.
//!
//! Not here: the bytes of a report (golden files of src/ndr), and who gets one (decide.rs).

use crate::readers::{Judged, judge_all, python};
use inqueue::directory::Directory;
use inqueue::mail::date::Time;
use inqueue::ndr::{ReportingMta, Returned, addressees, render, reported};
use inqueue_gen::{Format, Mix, Options, generate};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a report is to say of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    /// In one line, single spaces, bytes that aren't UTF-8 taken for Latin-1.
    recipient: String,
    action: String,
    status: String,
}

/// A report, and what it is to say.
struct Report {
    content: Vec<u8>,
    recipients: Vec<Said>,
}

/// Addresses of which a report writes no more than a beginning.
const LONG: usize = 800;

fn latin1(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += chunk.valid();
        text.extend(chunk.invalid().iter().map(|&b| char::from(b)));
    }
    text
}

/// As readers give a field's value: one line, single spaces; long ones by their beginning.
fn one_line(text: &str) -> String {
    let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(LONG).collect()
}

/// The reports on one message.
fn reports(judged: &Judged<'_, '_>, key: u64, now: Time, out: &mut Vec<Report>) {
    let dispositions = &judged.verdict.dispositions;
    let mta = ReportingMta::new("mail.example.org", now);
    let case = &judged.case;
    let of_attempt = (key, judged.verdict.attempts);
    let content = judged.found.content;
    let returned = Returned::read(case.envelope, case.recipients, content, of_attempt);
    for to in addressees(dispositions) {
        let mut content = Vec::new();
        render(&mut content, &mta, &returned, to, dispositions);
        let recipients = reported(dispositions, to)
            .map(|disposition| Said {
                recipient: one_line(&latin1(disposition.address)),
                action: "failed".to_owned(),
                status: disposition.status.to_string(),
            })
            .collect();
        out.push(Report { content, recipients });
    }
}

/// The reports on a generated queue.
fn generated(folder: &Path, format: Format, messages: u64, mix: &str) -> Vec<Report> {
    let hazards = Mix::parse(mix).unwrap();
    let options = Options { messages, format, hazards, size_mean: 1_500, ..Options::default() };
    generate(&options, folder).unwrap();
    let directory = Directory::load(&folder.join("directory.txt")).unwrap();
    let now = Time(options.now);
    let (mut out, mut key) = (Vec::new(), 0);
    judge_all(folder.join(format.queue()).to_str().unwrap(), &directory, now, |judged| {
        key += 1;
        reports(judged, key, now, &mut out);
    });
    out
}

/// The address in a Final-Recipient field.
fn address(value: &str) -> String {
    let (kind, address) = value.split_once(';').unwrap();
    let mut text = String::new();
    let mut rest = address;
    // RFC 6533, 3: what can't stand there as it is, is written \x{HEX}.
    while let Some((before, escaped)) = rest.split_once("\\x{").filter(|_| kind == "utf-8") {
        let (hex, after) = escaped.split_once('}').unwrap();
        text += before;
        text.push(char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap());
        rest = after;
    }
    one_line(&(text + rest))
}

/// What the mail-parser crate reads in a report.
fn read_by_mail_parser(content: &[u8]) -> Vec<Said> {
    let message = MessageParser::default().parse(content).unwrap();
    let kind = message.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    let PartType::Multipart(parts) = &message.root_part().body else { panic!("no multipart") };
    let [_, status, _] = parts[..] else { panic!("{} parts", parts.len()) };
    let status = message.part(status).unwrap();
    assert_eq!(status.content_type().unwrap().subtype(), Some("delivery-status"));
    let text = std::str::from_utf8(status.contents()).unwrap().replace("\r\n", "\n");
    let groups = text.trim_end().split("\n\n").skip(1);
    let of = |group: &str, name: &str| {
        let mut values = group.lines().filter_map(|line| line.strip_prefix(name));
        let value = values.next().unwrap_or_else(|| panic!("{name} is missing: {group}"));
        assert_eq!(values.next(), None, "{name} twice: {group}");
        value.trim().to_owned()
    };
    groups
        .map(|group| Said {
            recipient: address(&of(group, "Final-Recipient:")),
            action: of(group, "Action:"),
            status: of(group, "Status:"),
        })
        .collect()
}

/// What Python's `email` reads in a report, as the script prints it.
fn read_by_email(report: &Value) -> Vec<Said> {
    let path = &report["path"];
    assert_eq!(report["type"], "multipart/report", "{path}");
    assert_eq!(report["report_type"], "delivery-status", "{path}");
    assert_eq!(report["parts"].as_array().unwrap().len(), 3, "{path}");
    assert_eq!(report["agree"], true, "{path}: both policies read the same");
    let of = |group: &Value, name: &str| group[name].as_str().unwrap().to_owned();
    let groups = report["recipients"].as_array().unwrap().iter();
    groups
        .map(|group| Said {
            recipient: address(&of(group, "Final-Recipient")),
            action: of(group, "Action"),
            status: of(group, "Status"),
        })
        .collect()
}

#[test]
fn reports_on_generated_failures_come_back_as_meant() {
    let queues = [
        (Format::Segment, 2_000, "all"),
        (Format::Mbox, 1_000, "all"),
        (
            Format::Segment,
            600,
            "long-recipient=0.2,bad-smtp-address=0.3,mixed-outcomes=0.2,charset=0.1,\
             requested-report-missing=0.2",
        ),
    ];
    let mut read = 0;
    for (format, messages, mix) in queues {
        let folder = tempfile::tempdir().unwrap();
        let reports = generated(folder.path(), format, messages, mix);
        for (index, report) in reports.iter().enumerate() {
            let got = read_by_mail_parser(&report.content);
            assert_eq!(got, report.recipients, "{mix}: report {index} by mail-parser");
        }
        read += reports.len();
        let paths: Vec<PathBuf> =
            (0..reports.len()).map(|n| folder.path().join(format!("{n:05}.eml"))).collect();
        for (path, report) in paths.iter().zip(&reports) {
            fs::write(path, &report.content).unwrap();
        }
        let name = "reports_on_generated_failures_come_back_as_meant";
        let Some(other) = python(name, "ndr_email.py", &paths) else { continue };
        let other: Vec<Value> = serde_json::from_str(&other).unwrap();
        assert_eq!(other.len(), reports.len());
        for (index, (got, report)) in other.iter().zip(&reports).enumerate() {
            assert_eq!(read_by_email(got), report.recipients, "{mix}: report {index} by email");
        }
    }
    assert!(read > 500, "{read} reports");
}
