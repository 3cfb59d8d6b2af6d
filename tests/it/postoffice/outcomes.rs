//! Where each kind of mail goes: bags of users and groups, outbound bags, reports into bags and to
//! the Internet, and what never is answered.

use super::small::{
    ADMIN, ANN, BOB, EVE, FIRST_NAME, HQ, Letter, Look, Office, PO2, SMTP, letter, to,
};
use crate::support::{NOW, assert_same_streams, audit, messages, text};
use inqueue::queue::postoffice::bag::Record;
use inqueue::queue::postoffice::mai::{self, Mai};
use inqueue::queue::postoffice::p1::{P1, P1Recipient};
use std::fs;

/// The recipients of a P1 with their bags.
fn recipients(p1: &[u8]) -> Vec<(String, String)> {
    let p1 = P1::read(p1).unwrap();
    let pair = |r: &P1Recipient<'_>| (text(r.address), text(r.bag.unwrap_or_default()));
    p1.recipients.iter().map(pair).collect()
}

fn pairs(expect: &[(&str, &str)]) -> Vec<(String, String)> {
    expect.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn a_group_is_expanded_into_one_record_a_mailbag() {
    let mut office = Office::new();
    let team = office.push(&letter("NET/PO/ANN", &["NET/PO/TEAM", "NET/PO/BOB", "net/po/bob"]));
    let queued = office.live("INQUEUE3");
    office.drain("run", 0);
    office.assert_empty();
    for bag in [BOB, EVE] {
        assert_eq!(office.live(bag), [(0, queued[0].1)], "the record as it was, once");
    }
    assert_eq!(mai::counter(&office.mai(team)), Some(2));
    assert_eq!(office.names(ANN), [0_u32; 0]);
}

/// Two mailboxes with one bag, and one of them named twice: one record.
#[test]
fn recipients_of_one_bag_share_a_record() {
    let mut office = Office::new();
    office.users(&[("ADMIN", ADMIN), ("ANN", ANN), ("BOB", BOB), ("ROBERT", BOB), ("EVE", EVE)]);
    let all = ["NET/PO/ROBERT", "NET/PO/BOB", "NET/PO/BOB", "NET/PO/TEAM"];
    let name = office.push(&letter("NET/PO/ANN", &all));
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!((office.names(BOB), office.names(EVE)), (vec![name], vec![name]));
    assert_eq!(mai::counter(&office.mai(name)), Some(2));
}

#[test]
fn outbound_mail_waits_in_its_bags_with_a_p1_of_just_those_recipients() {
    let mut office = Office::new();
    let all = ["NET/PO/BOB", "NET/PO2/ZOE", "OTHER/HQ/MAX", "SMTP:x@there.example", "NET/PO2/ROY"];
    let mut mail = letter("NET/PO/ANN", &all);
    mail.to[1].orcpt = Some(b"msmail;NET/PO2/ZOE");
    mail.to[2].is_cc = true;
    mail.to[3].notify = Some(4);
    mail.to.push(P1Recipient { done: true, ..to(b"NET/PO/EVE") });
    mail.hops = vec![b"FAR/AWAY"];
    let name = office.push(&mail);
    office.drain("run", 0);
    for bag in [BOB, PO2, HQ, SMTP] {
        assert_eq!(office.names(bag), [name], "{bag}");
    }
    assert_eq!(office.names(EVE), [0_u32; 0], "served before");
    assert_eq!(mai::counter(&office.mai(name)), Some(4));
    let bytes = office.p1(name);
    let p1 = P1::read(&bytes).unwrap();
    assert_eq!(p1.from, Some(&b"NET/PO/ANN"[..]));
    assert_eq!(p1.hops, [&b"FAR/AWAY"[..], b"NET/PO"], "it has been here");
    let at = |bag: &'static str, recipient: &P1Recipient<'static>| P1Recipient {
        bag: Some(bag.as_bytes()),
        ..*recipient
    };
    let expect = [
        at(PO2, &P1Recipient { orcpt: Some(b"msmail;NET/PO2/ZOE"), ..to(b"NET/PO2/ZOE") }),
        at(HQ, &P1Recipient { is_cc: true, ..to(b"OTHER/HQ/MAX") }),
        at(SMTP, &P1Recipient { notify: Some(4), ..to(b"SMTP:x@there.example") }),
        at(PO2, &to(b"NET/PO2/ROY")),
    ];
    assert_eq!(p1.recipients, expect);
    office.assert_empty();
}

#[test]
fn a_report_to_a_local_sender_has_the_original_s_text_and_number() {
    let mut office = Office::new();
    let failing = ["NET/PO/GONE", "NET/PO/BOB", "NOWHERE/AT/ALL", "NET/PO/BAD/FORM", "NET/PO/X"];
    let mail = Letter { subject: b"Pl\x84ne", ..letter("NET/PO/ANN", &failing) };
    let name = office.push(&mail);
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!((office.names(BOB), office.names(ANN)), (vec![name], vec![FIRST_NAME]));
    let record = office.live(ANN)[0].1;
    let bytes = office.mai(FIRST_NAME);
    let record = Record::new(&record);
    assert_eq!((record.sender(), record.subject()), (&b"POSTMASTER"[..], &b"Mail failure"[..]));
    assert_eq!(record.size() as usize, bytes.len());
    let mai = Mai::read(&bytes).unwrap();
    assert_eq!(mai.from, Some(&b"NET/PO/POSTMASTER"[..]));
    assert_eq!((&mai.to[..], mai.subject), (&[&b"NET/PO/ANN"[..]][..], record.subject().into()));
    assert_eq!((mai.counter, mai.hop_limit, mai.is_message), (1, Some(10), false));
    assert_eq!(mai.posted, Some(super::small::time(NOW)));
    let expect: &[u8] = b"FROM: NET/PO/ANN\r\nTO: NET/PO/GONE\r\nTO: NET/PO/BOB\r\n\
        TO: NOWHERE/AT/ALL\r\nTO: NET/PO/BAD/FORM\r\nTO: NET/PO/X\r\n\
        DATE: 2026-01-02\r\nTIME: 01:59\r\nSUBJECT: Pl\x84ne\r\n\
        ------------------------------------------------------------\r\n\
        [002] Mail was received that was addressed to unknown addresses.\r\n\
        Mail item was not delivered to:\r\nNET/PO/GONE\r\nNET/PO/X\r\n\
        [002] Mail was received that was addressed to unknown addresses.\r\n\
        Mail item was not delivered to:\r\nNOWHERE/AT/ALL\r\n\
        5.1.3 Mail item could not be delivered.\r\n\
        Mail item was not delivered to:\r\nNET/PO/BAD/FORM\r\n\
        ------------------------------------------------------------\r\nShall we meet?\r\n";
    assert_eq!(text(&mai.text.concat()), text(expect));
    assert_eq!(mai.text.concat(), expect);
    let control = office.read("GLB/CONTROL.GLB");
    assert_eq!(control[..4], 100_u32.to_le_bytes());
    assert_eq!(control[4..], (FIRST_NAME + 1).to_le_bytes(), "one name is taken");
}

/// A name that a file has is passed over, and never written over.
#[test]
fn names_that_are_taken_are_passed_over() {
    let mut office = Office::new();
    let taken = super::small::mai_name(FIRST_NAME);
    office.write(&taken, b"another program's");
    office.write(&format!("P1/{:08X}.P1", FIRST_NAME + 1), b"another program's");
    office.push(&letter("NET/PO/ANN", &["NET/PO/GONE"]));
    office.drain("run", 0);
    assert_eq!(office.names(ANN), [FIRST_NAME + 2]);
    assert_eq!(office.read(&taken), b"another program's");
    assert_eq!(office.read("GLB/CONTROL.GLB")[4..], (FIRST_NAME + 3).to_le_bytes());
}

#[test]
fn without_a_name_for_a_report_all_mail_is_delivered_and_the_report_stays_in_its_stream() {
    let mut office = Office::new();
    let control = [100_u32.to_le_bytes(), 0x8000_0000_u32.to_le_bytes()].concat();
    office.write("GLB/CONTROL.GLB", &control);
    office.write("MAI/MAF/7FFFFFFF.MAI", b"the last");
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/GONE", "NET/PO/BOB"]));
    let told = office.drain("run", 0);
    assert!(told.contains("1 reports have no mailbag to go to"), "{told}");
    assert_eq!((office.names(BOB), office.names(ANN)), (vec![name], vec![]));
    assert_eq!(messages(&office.out("run"), "ndr").len(), 1);
}

#[test]
fn a_report_to_the_internet_is_one_of_rfc_3464_from_the_null_reverse_path() {
    let mut office = Office::new();
    office.push(&letter("SMTP:carol@example.com", &["NET/PO/GONE"]));
    office.drain("run", 0);
    assert_eq!(office.names(SMTP), [FIRST_NAME]);
    let bytes = office.p1(FIRST_NAME);
    let p1 = P1::read(&bytes).unwrap();
    assert_eq!(p1.from, Some(&b""[..]), "the null reverse-path");
    assert_eq!(recipients(&bytes), pairs(&[("SMTP:carol@example.com", SMTP)]));
    let bytes = office.mai(FIRST_NAME);
    let mai = Mai::read(&bytes).unwrap();
    assert!(mai.is_message);
    let report = messages(&office.out("run"), "ndr");
    assert_eq!(mai.text.concat(), report[0].content, "the report that the run has made");
    let content = text(&report[0].content);
    assert!(content.contains("report-type=delivery-status"), "{content}");
    assert!(content.contains("Status: 5.1.1"), "{content}");
    office.assert_empty();
}

#[test]
fn a_report_to_another_post_office_leaves_by_its_bag() {
    let mut office = Office::new();
    office.push(&letter("NET/PO2/ZOE", &["NET/PO/GONE"]));
    office.drain("run", 0);
    assert_eq!(office.names(PO2), [FIRST_NAME]);
    let p1 = office.p1(FIRST_NAME);
    assert_eq!(P1::read(&p1).unwrap().from, Some(&b"NET/PO/POSTMASTER"[..]));
    assert_eq!(recipients(&p1), pairs(&[("NET/PO2/ZOE", PO2)]));
    assert!(!Mai::read(&office.mai(FIRST_NAME)).unwrap().is_message);
    office.assert_empty();
}

/// `$SYSTEM` has failed: the postmaster is told, once. Here that is the Admin, whose bag is
/// 00000000; the post office has no POSTMASTER.
#[test]
fn failures_of_system_mail_go_to_the_postmaster_once() {
    let mut office = Office::new();
    office.push(&letter("NET/PO/$SYSTEM", &["NET/PO/GONE", "NET/PO/AWAY"]));
    let mail = office.push(&letter("NET/PO/ANN", &["NET/PO/$SYSTEM", "NET/PO/POSTMASTER"]));
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!(office.names(ADMIN), [FIRST_NAME, mail], "the report first: its message was");
    assert_eq!(office.names("SYSTEM"), [mail], "mail to it is delivered");
    let text = text(&Mai::read(&office.mai(FIRST_NAME)).unwrap().text.concat());
    assert!(text.contains("NET/PO/GONE\r\nNET/PO/AWAY\r\n"), "{text}");
}

#[test]
fn the_postmaster_is_never_answered() {
    let mut office = Office::new();
    for sender in ["NET/PO/POSTMASTER", "NET/PO2/postmaster", "FAR/AWAY/POSTMASTER", ""] {
        office.push(&letter(sender, &["NET/PO/GONE"]));
    }
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!(messages(&office.out("run"), "dead-letter").len(), 4);
    for bag in [ADMIN, ANN, PO2, HQ, SMTP] {
        assert_eq!(office.names(bag), [0_u32; 0], "{bag}");
    }
}

/// All ten characters of a name count (Q128627): MEL227TRK isn't MEL227TRK0.
#[test]
fn a_circular_route_is_one_of_the_whole_name() {
    for (own, hop, circular) in [
        ("MEL227TRK", "NET/MEL227TRK", true),
        ("MEL227TRK", "net/mel227trk", true),
        ("MEL227TRK", "NET/MEL227TRK0", false),
        ("MEL227TRK0", "NET/MEL227TRK", false),
        ("MEL227TRK0", "NET/MEL227TRK0", true),
        ("MEL227TRK0", "NET/MEL227TRK1", false),
    ] {
        let mut office = Office::new();
        office.name("NET", own);
        let (ann, bob) = (format!("NET/{own}/ANN"), format!("NET/{own}/BOB"));
        let hops = vec![&b"FAR/AWAY"[..], hop.as_bytes()];
        let name = office.push(&Letter { hops, ..letter(&ann, &[&bob]) });
        office.drain("run", 0);
        office.assert_empty();
        let expect = if circular { (vec![], vec![FIRST_NAME]) } else { (vec![name], vec![]) };
        assert_eq!((office.names(BOB), office.names(ANN)), expect, "{own}, {hop}");
        if circular {
            let text = text(&Mai::read(&office.mai(FIRST_NAME)).unwrap().text.concat());
            let route = format!("following route:\r\nFAR/AWAY\r\n{hop}\r\n");
            assert!(text.contains("[004] Message circular route detected."), "{text}");
            assert!(text.contains(&route), "{text}");
        }
    }
}

#[test]
fn more_hops_than_the_limit_have_failed() {
    for (hops, fails) in [(10, false), (11, true)] {
        let mut office = Office::new();
        let route: Vec<String> = (0..hops).map(|hop| format!("FAR/HOP{hop}")).collect();
        let hops = route.iter().map(String::as_bytes).collect();
        let name = office.push(&Letter { hops, ..letter("NET/PO/ANN", &["NET/PO/BOB"]) });
        office.drain("run", 0);
        office.assert_empty();
        let expect = if fails { (vec![], vec![FIRST_NAME]) } else { (vec![name], vec![]) };
        assert_eq!((office.names(BOB), office.names(ANN)), expect);
        if fails {
            let text = text(&Mai::read(&office.mai(FIRST_NAME)).unwrap().text.concat());
            assert!(text.contains("[003] Message hop count exceeded."), "{text}");
        }
    }
}

/// All its recipients are done, or expand to nobody: nothing is left to do but to take it out.
#[test]
fn a_message_with_nothing_left_to_do_leaves_the_queue() {
    let mut office = Office::new();
    let mut done = letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/EVE"]);
    done.to.iter_mut().for_each(|recipient| recipient.done = true);
    done.attachments = vec![(b"A.TXT", b"x")];
    office.push(&done);
    office.write("MEM/00000001.MEM", b"");
    office.push(&letter("NET/PO/ANN", &["NET/PO/TEAM"]));
    office.drain("run", 0);
    office.assert_empty();
    let tree = office.tree();
    assert!(!tree.keys().any(|name| name.starts_with("MAI/") || name.starts_with("ATT/")));
    for bag in [ANN, BOB, EVE] {
        assert_eq!(office.names(bag), [0_u32; 0]);
    }
}

/// Counter 2: a record waits in an outbound bag already, with its recipient in the P1.
#[test]
fn a_recipient_that_waits_in_an_outbound_bag_goes_on_waiting() {
    let mut office = Office::new();
    let mut mail = letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO2/ZOE"]);
    mail.to[1].bag = Some(PO2.as_bytes());
    mail.counter = 2;
    let name = office.push(&mail);
    let record = office.live("INQUEUE3")[0].1;
    office.bag(PO2, &[record], &[]);
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!(office.names(PO2), [name]);
    assert_eq!(recipients(&office.p1(name)), pairs(&[("NET/PO2/ZOE", PO2)]));
    assert_eq!(mai::counter(&office.mai(name)), Some(2));
}

/// The first vacant slot, then the end; nothing else of the bag is touched, whatever its unknown
/// bytes are.
#[test]
fn vacant_slots_are_given_first_and_unknown_bytes_stay() {
    let mut office = Office::new();
    let old: Vec<[u8; 116]> = (0..4).map(|n| [0xA0 + n; 116]).collect();
    office.bag(BOB, &old, &[]);
    let file = "KEY/00000002.KEY";
    let mut key = office.read(file);
    key[4..48].fill(0x77);
    key[0..4].copy_from_slice(&[9, 0, 200, 1]);
    // Slots 1 and 3 are vacant; and slot 4, which isn't there yet, was so once.
    key[48] = 0b0001_1010;
    key.extend_from_slice(b"longer than a KEY is");
    office.write(file, &key);
    let names: Vec<u32> =
        (0..4).map(|_| office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]))).collect();
    let queued = office.live("INQUEUE3");
    office.drain("run", 0);
    let all = office.live_and_dead(BOB);
    let new: Vec<[u8; 116]> = queued.iter().map(|(_, record)| *record).collect();
    assert_eq!(all, [old[0], new[0], old[2], new[1], new[2], new[3]]);
    let mut expect = key.clone();
    expect[48] = 0;
    expect[0..4].copy_from_slice(&[13, 0, 204, 1]);
    assert_eq!(office.read(file), expect);
    assert_eq!(names.len(), 4);
}

/// A deleted record of another message with the same name: names come again once CONTROL.GLB was
/// set back.
#[test]
fn an_old_deleted_record_of_the_same_name_is_not_the_message() {
    let mut office = Office::new();
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    let old = super::small::record_of(b"EVE", b"long ago", name, 99);
    let other = super::small::record_of(b"EVE", b"kept", 0x0040_0000, 99);
    office.write(&super::small::mai_name(0x0040_0000), &office.mai(name));
    office.bag(BOB, &[old, other], &[0]);
    let queued = office.live("INQUEUE3")[0].1;
    office.drain("run", 0);
    assert_eq!(office.live(BOB), [(0, queued), (1, other)]);
}

/// Two live slots with one MAI: the original would have sent it again and again (Q120220).
#[test]
fn two_slots_with_one_mai_are_one_record() {
    let mut office = Office::new();
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    let record = office.live("INQUEUE3")[0].1;
    office.bag("INQUEUE3", &[record, record], &[]);
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!(office.names(BOB), [name]);
}

#[test]
fn names_in_lower_case_are_found_and_kept() {
    let mut office = Office::new();
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/GONE", "NET/PO2/ZOE"]));
    let upper = office.tree();
    let lower = upper.iter().map(|(n, bytes)| (n.to_ascii_lowercase(), bytes.clone())).collect();
    fs::remove_dir_all(office.queue()).unwrap();
    fs::create_dir(office.queue()).unwrap();
    super::small::restore(&office.queue(), &lower);
    for folder in ["att", "xtn", "mem", "p1"] {
        fs::create_dir_all(office.file(folder)).unwrap();
    }
    office.drain("run", 0);
    let look = Look::at(&office.queue());
    let bags = look.bags();
    let names = |bag: &str| -> Vec<u32> { bags[bag].iter().map(super::small::name_in).collect() };
    assert_eq!((names(BOB), names(PO2), names(ANN)), (vec![name], vec![name], vec![FIRST_NAME]));
    assert_eq!(names("INQUEUE3"), [0_u32; 0]);
    assert!(!office.file("P1").exists() && !office.file("MBG").exists(), "no second folder");
    super::small::assert_whole(&office.queue());
}

#[test]
fn a_run_without_drain_changes_nothing_and_a_drain_goes_on_from_it() {
    let mut office = Office::new();
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/GONE"]));
    let before = office.tree();
    assert_eq!(office.run("run", &[]).status.code(), Some(0));
    assert!(office.tree() == before);
    let streams = crate::support::streams(&office.out("run"));
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!((office.names(BOB), office.names(ANN)), (vec![name], vec![FIRST_NAME]));
    assert!(crate::support::streams(&office.out("run")) == streams);
    let done = office.tree();
    office.drain("run", 0);
    assert!(office.tree() == done, "a drain that is done is not done again");
    audit(&office.out("run"), None);
}

#[test]
fn a_directory_adds_to_a_post_office_and_other_formats_need_it() {
    let mut office = Office::new();
    // Without the gateway: what the post office doesn't know is the file's.
    let network = office.read("GLB/NETWORK.GLB");
    office.write("GLB/NETWORK.GLB", &network[..244]);
    let all = ["SMTP:a@known.example", "SMTP:b@known.example", "NET/PO/GONE", "NET/PO/BOB"];
    let name = office.push(&letter("NET/PO/ANN", &all));
    let users = office.out("users");
    fs::write(&users, "a@known.example\nGONE@PO.NET.msmail.internal\n").unwrap();
    let before = office.tree();
    let output = office.run("run", &["--drain", "--directory", users.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let failed = text(&Mai::read(&office.mai(FIRST_NAME)).unwrap().text.concat());
    let list = failed.split("not delivered to:\r\n").nth(1).unwrap();
    assert!(list.starts_with("SMTP:b@known.example\r\n"), "{failed}");
    assert_eq!(office.names(BOB), [name]);
    super::small::restore(&office.queue(), &before);
    office.drain("without", 0);
    let failed = messages(&office.out("without"), "ndr");
    assert_eq!(text(&failed[0].content).matches("Action: failed").count(), 3);
    let mbox = office.out("queue.mbox");
    fs::write(&mbox, "From a@b.example Thu Jan  1 00:00:00 2026\n\nx\n").unwrap();
    for (spec, code, word) in [
        (mbox.clone(), 2, "--directory is needed"),
        (office.file("MBG/00000002.MBG"), 1, "only the INQUEUE3 of post offices"),
    ] {
        let mut command = crate::support::inqueue();
        command.arg("run").arg(&spec).arg("--out").arg(office.out("none"));
        if code == 1 {
            command.arg("--drain");
        }
        let output = command.output().unwrap();
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(code) && told.contains(word), "{told}");
        assert!(!office.out("none").exists());
    }
}

/// A post office of the generator with all hazards, at 1 worker and at 4.
#[test]
fn the_same_streams_and_trees_at_1_and_4_workers() {
    let queue = crate::support::Queue::new(inqueue_gen::Format::PostOffice, 300, "all");
    let root = queue.made().join("queue");
    let before = super::small::tree(&root);
    let mut trees = Vec::new();
    for (out, workers) in [("one", "1"), ("four", "4")] {
        queue.run(out, &["--drain", "--workers", workers, "--part-size", "64K"]);
        trees.push(super::small::tree(&root));
        queue.assert_clean(out);
        super::small::restore(&root, &before);
    }
    assert!(trees[0] == trees[1], "the trees differ");
    assert_same_streams(&queue.out("one"), &queue.out("four"));
    assert!(trees[0] != before);
}
