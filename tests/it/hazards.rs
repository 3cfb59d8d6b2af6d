//! Every row of the hazard catalogue by its name: a queue in which half of the messages are of that
//! hazard is run, and must end as the generator's manifest says, with everybody else served; post
//! offices are drained, too. docs/hazards.md lists them all, and is held against the tests here.
//!
//! The hazards that need a fault of ours are in `faults`. Not here: what kills or hangs the process
//! (the second fence, which does not stand yet).

use crate::postoffice::small::{self, Office, letter};
use crate::support::{Queue, assert_done, events, text};
use inqueue_gen::Format;
use std::fs::{self, OpenOptions};
use std::path::Path;

/// Runs a queue with this share of a hazard in each format that carries it, at two sizes of parts.
fn scenario(name: &str, messages: u64, formats: &[Format]) {
    for format in formats {
        let queue = Queue::new(*format, messages, &format!("{name}=0.5"));
        let manifest = std::fs::read_to_string(queue.made().join("manifest.jsonl")).unwrap();
        let hazard = format!("\"hazard\":\"{name}\"");
        let hit = manifest.lines().filter(|line| line.contains(&hazard)).count();
        assert!(hit as u64 >= messages / 4, "{name}: {hit} of {messages}");
        for size in ["64K", "16M"] {
            let said = queue.run(size, &["--part-size", size]);
            let report = queue.assert_clean(size);
            assert_eq!(report["expected"], messages, "{name} in {}", format.name());
            assert_eq!(said["counts"]["faults"], 0);
        }
        if *format == Format::PostOffice {
            drained(&queue, name, messages);
        }
        let faults = events(&queue.out("16M")).iter().filter(|e| e["number"] == 2380).count();
        assert_eq!(faults, 0, "2380 is for faults of ours alone");
    }
}

/// The same, drained: what was accepted is in its bags, and nothing but what waits in INQUEUE3.
fn drained(queue: &Queue, name: &str, messages: u64) {
    let said = queue.run("drained", &["--drain"]);
    assert_eq!(said["drained"]["offices"], 1, "{name}");
    assert_eq!(said["drained"]["waiting"], 0, "{name}");
    let report = queue.assert_clean("drained");
    assert_eq!((&report["expected"], &report["offices"]), (&messages.into(), &1.into()));
    for office in small::offices(&queue.made().join("queue")) {
        small::assert_sound(&office);
    }
    crate::support::assert_same_streams(&queue.out("16M"), &queue.out("drained"));
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
    // They need a library that is built to fail, and are in `faults` and `fence`.
    let mut expect: Vec<_> = generated.filter(|name| !name.starts_with("fault-")).collect();
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

/// KB Q212756: the mailbag was in use, and the sender was told that the mail had failed; it was
/// delivered all the same. Here another program holds BOB's KEY: the drain waits for it.
#[test]
fn mailbag_contention() {
    let mut office = Office::new();
    let name = office.push(&letter("NET/PO/EVE", &["NET/PO/ANN", "NET/PO/BOB"]));
    let key = office.file(&format!("KEY/{}.KEY", small::BOB));
    let held = OpenOptions::new().read(true).write(true).open(key).unwrap();
    held.lock().unwrap();
    let mut child = office.command("run", &["--drain"]).spawn().unwrap();
    // ANN's bag is the one before it.
    while child.try_wait().unwrap().is_none() && office.live_and_dead(small::ANN).is_empty() {
        std::thread::yield_now();
    }
    assert!(child.try_wait().unwrap().is_none(), "it did not wait");
    assert!(office.live_and_dead(small::BOB).is_empty());
    drop(held);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for bag in [small::ANN, small::BOB] {
        assert_eq!(office.names(bag), [name]);
    }
    assert_eq!(office.names(small::EVE), [0_u32; 0], "nobody is told a falsehood");
    office.assert_empty();
}

/// KB Q166609: configuration that changed while threads read it. A run has the picture of the post
/// office that it began with, even after a crash; a directory's file that changed is refused.
#[test]
fn unprotected_globals() {
    let mut office = Office::new();
    for _ in 0..20 {
        office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO2/ZOE", "NET/PO/TEAM"]));
    }
    let users = office.out("users");
    fs::write(&users, "a@here.example\n").unwrap();
    let directory = ["--directory", users.to_str().unwrap(), "--part-size", "4K"];
    assert_done(&office.run("run", &directory));
    let streams = crate::support::streams(&office.out("run"));
    for file in ["GLB/ACCESS2.GLB", "GLB/NETWORK.GLB", "GLB/GROUP.GLB", "XTN/00000001.XTN"] {
        office.write(file, b"");
    }
    // Nothing of it is done but the plan.
    fs::write(office.out("run").join("commits"), b"").unwrap();
    fs::remove_file(office.out("run").join("summary.json")).unwrap();
    fs::write(&users, "b@here.example\n").unwrap();
    let refused = office.run("run", &directory);
    let told = text(&refused.stderr);
    assert!(refused.status.code() == Some(1) && told.contains("directory"), "{told}");
    fs::write(&users, "a@here.example\n").unwrap();
    assert_done(&office.run("run", &directory));
    assert!(crate::support::streams(&office.out("run")) == streams);
}

/// The catalogue: every published way in which the original stopped, lost mail, looped, or told the
/// sender something false.
const CATALOGUE: &[&str] = &[
    "invalid-sender-and-recipients",
    "fault-in-one-message",
    "fault-that-kills-the-process",
    "thread-dies-silently",
    "lock-held-by-the-dead",
    "hang",
    "bad-address-resubmitted",
    "unprotected-globals",
    "too-many-files",
    "long-recipient",
    "bad-smtp-address",
    "bad-reply-to",
    "charset",
    "embedded-message",
    "ndr-of-ndr",
    "zero-byte-attachment",
    "named-properties",
    "corrupt-message",
    "huge-recipient-list",
    "missing-body",
    "full-mailbag",
    "mailbag-contention",
    "report-mistaken-for-failure",
    "requested-report-missing",
    "ndr-lost",
    "duplicate-recipient",
    "duplicate-delivery",
    "receipts-thrown-away",
    "subject-truncated",
    "timestamp-wrong",
    "priority-changed",
    "size-not-logged",
    "attachments-swapped",
    "ndr-loop",
    "message-loop",
    "system-mail-bounced",
];

/// Each row of docs/hazards.md names tests that exist, and a command that runs the first; all of
/// the catalogue has its row, in its order.
#[test]
fn the_document_has_each_hazard_with_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/hazards.md")).unwrap();
    let mut names = Vec::new();
    for row in document.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, _, tests, command] = cells[..] else { panic!("{row}") };
        let name = name.trim_matches('`');
        names.push(name);
        let tests: Vec<&str> = tests.split(", ").map(|test| test.trim_matches('`')).collect();
        for test in &tests {
            assert!(has_test(root, test), "{name}: there is no test {test}");
        }
        let faulty = ["faults::", "fence::injected::"].iter().any(|m| tests[0].starts_with(m));
        let features = if faulty { " --features fault-injection" } else { "" };
        let expect = format!("`cargo nextest run{features} -E 'test(={})'`", tests[0]);
        assert_eq!(command, expect, "{name}");
    }
    assert_eq!(names, CATALOGUE);
}

/// `full_path::of_a_test` is a function below `tests/it`, or a row of the macro here.
fn has_test(root: &Path, test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").unwrap();
    let file = root.join("tests/it").join(format!("{}.rs", module.replace("::", "/")));
    let source = fs::read_to_string(&file).unwrap_or_default();
    let is_test = |pair: &[&str]| {
        pair[0].trim().starts_with("#[test]") && pair[1].starts_with(&format!("fn {name}("))
    };
    let lines: Vec<&str> = source.lines().collect();
    let row = format!("    {name} \"");
    let is_row = |line: &&str| module == "hazards" && line.starts_with(&row);
    lines.windows(2).any(is_test) || lines.iter().any(is_row)
}
