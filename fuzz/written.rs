//! What must hold of what is written about messages: events in all their forms, and reports.
//!
//! Not here: what is read. Invariant: no function keeps anything from one call to the next.

use inqueue::decide::{Disposition, Outcome};
use inqueue::event::told::Told;
use inqueue::event::{evt, logs, syslog};
use inqueue::limits;
use inqueue::mail::address::Mailbox;
use inqueue::mail::content::Content;
use inqueue::mail::date::Time;
use inqueue::mail::envelope::{Envelope, QueueId, Recipient, Ret, ReversePath};
use inqueue::mail::header::{fields, section_len};
use inqueue::mail::status::EnhancedStatus;
use inqueue::ndr;

/// A line of events as all that is made of it: syslog in one line, logs without control characters.
pub fn event_line(data: &[u8]) {
    let Some(told) = Told::parse(data) else { return };
    let (words, strings) = told.described();
    assert_eq!(told.strings().len(), strings.len());
    let _ = (told.id(), told.queue_id(), told.time(), told.problem(), told.category(), words);
    let mut out = Vec::new();
    syslog::append(&mut out, &told, "mta.example");
    // Where it stands alone in a line, the writer of the file ends it.
    assert!(out.starts_with(b"<") && std::str::from_utf8(&out).is_ok());
    assert!(out.len() <= limits::SYSLOG_BYTES_MAX, "{} bytes", out.len());
    assert!(!out.iter().any(u8::is_ascii_control), "{}", String::from_utf8_lossy(&out));
    out.clear();
    let mut session = logs::Session::default();
    session.append(&mut out, &told, "NET/PO");
    session.finish(&mut out);
    let mut system = logs::System::default();
    system.append(&mut out, &told);
    system.finish(&mut out);
    let is_text = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\r' | b'\n' | b'\t');
    assert!(out.iter().all(is_text));
    let mut extent = evt::Extent::new(1);
    let mut log = vec![0; 48];
    if extent.append(&mut log, &told, "MTA") {
        let end = extent.end_record();
        let header = extent.header(false);
        log[..48].copy_from_slice(&header);
        log.extend_from_slice(&end);
        let scanned = evt::scan(&log).expect("the log that was written");
        assert_eq!(scanned.extent.records(), 1);
    }
}

/// The pieces of `data` between zero bytes are a message, its sender, recipient and parameters.
pub fn report(data: &[u8]) {
    let mut pieces = data.split(|byte| *byte == 0);
    let mut next = || pieces.next().unwrap_or_default();
    let (to, path, orcpt, envid, detail) = (next(), next(), next(), next(), next());
    let (host, content) = (String::from_utf8_lossy(next()), next());
    let mut envelope = Envelope::new(QueueId::Given(detail));
    envelope.reverse_path = ReversePath::Path(to);
    envelope.envid = Some(envid);
    envelope.ret = if content.len() % 2 == 0 { Some(Ret::Full) } else { None };
    envelope.arrival = Some(Time::from_s(i64::from(orcpt.first().copied().unwrap_or(0)) << 24));
    let recipients = [Recipient { orcpt: Some(orcpt), ..Recipient::new(path) }];
    let failed = Disposition {
        ordinal: Some(0),
        address: path,
        mailbox: None,
        outcome: Outcome::Failed,
        status: EnhancedStatus::LOOP,
        number: 3,
        route: b"",
        detail,
        owner: None,
        report_to: to,
    };
    let mta = ndr::ReportingMta::new(&host, Time::from_s(1_767_323_045));
    let returned = ndr::Returned::read(&envelope, &recipients, Content::plain(content), (7, 1));
    let mut out = Vec::new();
    ndr::render(&mut out, &mta, &returned, to, &[failed]);
    check_report(&out, content, Mailbox::parse(to).is_ok());
}

fn check_report(out: &[u8], content: &[u8], to_mailbox: bool) {
    let names: Vec<String> =
        fields(out).map(|field| String::from_utf8_lossy(field.name).into_owned()).collect();
    let expect = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"];
    assert!(names.len() <= 9 && names.iter().zip(expect).all(|(a, b)| a == b), "{names:?}");
    let header = &out[..section_len(out)];
    if to_mailbox && content.is_ascii() {
        assert!(header.iter().all(u8::is_ascii) || !to_is_ascii(header));
    }
    assert!(!header.contains(&0));
    let has_crlf = content.split(|b| *b == b'\n').next().unwrap().ends_with(b"\r");
    let is_crlf = has_crlf && content.contains(&b'\n');
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.len() <= limits::REPORT_LINE_BYTES_MAX + 2);
        assert_eq!(line.ends_with(b"\r\n"), is_crlf);
        let bare =
            line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        assert!(!bare.contains(&b'\r'), "a bare CR");
    }
}

/// The To field alone may be in UTF-8 (RFC 6532), where its mailbox is.
fn to_is_ascii(header: &[u8]) -> bool {
    fields(header).all(|field| field.value.is_ascii() || !field.is("To"))
}
