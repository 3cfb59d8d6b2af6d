//! Every row of the hazard catalogue that makes sense outside of a post office, by its name: a
//! queue in which half of the messages are of that hazard is run, and must end as the generator's
//! manifest says, with everybody else served.
//!
//! The hazards that need a fault of ours are in `faults`. Not here: what only a post office can
//! meet (a mailbag's contention), and what kills or hangs the process (the second fence, which does
//! not stand yet).

use crate::support::{Queue, events};
use inqueue_gen::Format;

/// Runs a queue with this share of a hazard in each format that carries it, at two sizes of parts.
fn scenario(name: &str, messages: u64, formats: &[Format]) {
    for format in formats {
        let queue = Queue::new(*format, messages, &format!("{name}=0.5"));
        let manifest = std::fs::read_to_string(queue.made().join("manifest.jsonl")).unwrap();
        let hazard = format!("\"hazard\":\"{name}\"");
        let hit = manifest.lines().filter(|line| line.contains(&hazard)).count();
        assert!(hit as u64 >= messages / 4, "{name}: {hit} of {messages}");
        for size in ["64K", "8M"] {
            let said = queue.run(size, &["--part-size", size]);
            let report = queue.assert_clean(size);
            assert_eq!(report["expected"], messages, "{name} in {}", format.name());
            assert_eq!(said["counts"]["faults"], 0);
        }
        let faults = events(&queue.out("8M")).iter().filter(|e| e["number"] == 2380).count();
        assert_eq!(faults, 0, "2380 is for faults of ours alone");
    }
}

const ALL: &[Format] =
    &[Format::Segment, Format::Mbox, Format::Maildir, Format::Eml, Format::PostOffice];
const ENVELOPE: &[Format] = &[Format::Segment, Format::PostOffice];
const NOT_MBOX: &[Format] = &[Format::Segment, Format::Maildir, Format::Eml, Format::PostOffice];

/// A test for each hazard, named after it; and the list of them all.
macro_rules! hazards {
    ($($test:ident $name:literal $messages:literal $formats:ident)*) => {
        $(#[test] fn $test() { scenario($name, $messages, $formats); })*
        const NAMES: &[&str] = &[$($name),*];
    };
}

hazards! {
    invalid_sender_and_recipients "invalid-sender-and-recipients" 400 ALL
    bad_address_resubmitted "bad-address-resubmitted" 200 ALL
    long_recipient "long-recipient" 200 ALL
    bad_smtp_address "bad-smtp-address" 400 ALL
    bad_reply_to "bad-reply-to" 100 ALL
    charset "charset" 200 ALL
    embedded_message "embedded-message" 200 ALL
    ndr_of_ndr "ndr-of-ndr" 200 ALL
    zero_byte_attachment "zero-byte-attachment" 100 ALL
    named_properties "named-properties" 100 ALL
    corrupt_message "corrupt-message" 300 ALL
    huge_recipient_list "huge-recipient-list" 8 ALL
    full_mailbag "full-mailbag" 300 ALL
    report_mistaken_for_failure "report-mistaken-for-failure" 200 ENVELOPE
    requested_report_missing "requested-report-missing" 200 ENVELOPE
    ndr_lost "ndr-lost" 200 ALL
    duplicate_recipient "duplicate-recipient" 200 ALL
    duplicate_delivery "duplicate-delivery" 200 ENVELOPE
    receipts_thrown_away "receipts-thrown-away" 100 ALL
    subject_truncated "subject-truncated" 100 ALL
    timestamp_wrong "timestamp-wrong" 200 ALL
    priority_changed "priority-changed" 100 ALL
    size_not_logged "size-not-logged" 100 ALL
    attachments_swapped "attachments-swapped" 100 ALL
    ndr_loop "ndr-loop" 200 ALL
    message_loop "message-loop" 100 ALL
    system_mail_bounced "system-mail-bounced" 200 ALL
    too_many_files "too-many-files" 2000 ALL
    missing_body "missing-body" 200 ALL
    empty_message "empty-message" 100 ALL
    nul_bytes "nul-bytes" 100 ALL
    no_last_newline "no-last-newline" 100 NOT_MBOX
    from_lines "from-lines" 200 ALL
    deep_nesting "deep-nesting" 40 ALL
    long_line "long-line" 40 ALL
    bare_cr "bare-cr" 100 ALL
    record_in_content "record-in-content" 200 ALL
    unknown_recipient "unknown-recipient" 200 ALL
    disabled_mailbox "disabled-mailbox" 100 ALL
    moved_mailbox "moved-mailbox" 100 ALL
    mixed_outcomes "mixed-outcomes" 300 ALL
    not_due "not-due" 200 ENVELOPE
    no_recipients "no-recipients" 100 ALL
    list_expansion "list-expansion" 300 ALL
    postmaster_without_domain "postmaster-without-domain" 100 ALL
}

#[test]
fn every_hazard_of_the_generator_has_its_test() {
    let listed = inqueue_gen::list_hazards();
    let generated = listed.lines().filter_map(|line| line.split_whitespace().next());
    // It needs a library that is built to fail, and is in `faults`.
    let mut expect: Vec<_> = generated.filter(|name| *name != "fault-panic").collect();
    let mut names = NAMES.to_vec();
    expect.sort_unstable();
    names.sort_unstable();
    assert_eq!(names, expect);
}

/// Who gets no report, and never does: no message of a run, run as often as one likes, makes a
/// report about a report.
#[test]
fn reports_are_sent_from_the_null_reverse_path() {
    let queue = Queue::new(Format::Segment, 300, "unknown-recipient=1");
    queue.run("run", &[]);
    let reports = crate::support::messages(&queue.out("run"), "ndr");
    assert!(!reports.is_empty());
    for report in reports {
        use inqueue::mail::envelope::{QueueId, ReversePath};
        let mut recipients = Vec::new();
        let envelope = inqueue::queue::segment::read::envelope(
            &report.envelope,
            QueueId::Given(b""),
            &mut recipients,
        );
        assert_eq!(envelope.unwrap().reverse_path, ReversePath::Null);
        assert_eq!(recipients.len(), 1);
    }
}
