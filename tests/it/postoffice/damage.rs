//! Files that are missing, damaged or not what they should be: nothing is lost, nobody is told a
//! falsehood, and nobody else waits.

use super::small::{ANN, BOB, EVE, Letter, Office, PO2, letter, mai_name, to};
use crate::support::{messages, text};
use inqueue::limits;
use inqueue::mail::envelope::QueueId;
use inqueue::queue::postoffice::bag::Key;
use inqueue::queue::postoffice::mai;
use inqueue::queue::segment::{original, read};
use std::fs;
use std::rc::Rc;

/// The reason of the only record in quarantine, and what it has kept: (kind, bytes).
fn quarantined(office: &Office, out: &str) -> (String, Vec<(u8, Vec<u8>)>) {
    let held = messages(&office.out(out), "quarantine");
    let [held] = held.as_slice() else { panic!("{} in quarantine", held.len()) };
    let mut recipients = Vec::new();
    let envelope = read::envelope(&held.envelope, QueueId::Given(b""), &mut recipients).unwrap();
    let originals = envelope.originals.iter().map(|all| (all[0], all[1..].to_vec())).collect();
    let notes = read::notes(&held.envelope, |_| {}).unwrap();
    (text(notes.reason.unwrap_or_default()), originals)
}

#[test]
fn a_post_office_without_key_is_left_as_it_is_and_the_others_are_drained() {
    let folder = Rc::new(tempfile::tempdir().unwrap());
    let mut names = Vec::new();
    let mut offices = Vec::new();
    for path in ["A", "B", "C"] {
        let mut office = Office::at(folder.clone(), path);
        names.push(office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/GONE"])));
        offices.push(office);
    }
    for short in [None, Some(559)] {
        let key = offices[1].file("KEY/INQUEUE3.KEY");
        match short {
            None => fs::remove_file(key).unwrap(),
            Some(bytes) => fs::write(key, vec![0; bytes]).unwrap(),
        }
        let before = super::small::tree(&offices[1].root());
        let out = format!("run{short:?}");
        let told = offices[0].drain(&out, 1);
        assert!(told.contains("INQUEUE3: its KEY is missing or shorter than 560 bytes"), "{told}");
        assert!(told.contains("/queue/B: cannot be drained"), "{told}");
        assert!(super::small::tree(&offices[1].root()) == before);
        for at in [0, 2] {
            offices[at].assert_empty();
            assert_eq!(offices[at].names(BOB), [names[at]]);
        }
        // Made again, it goes on: by the same run, or by any other.
        offices[1].write("KEY/INQUEUE3.KEY", Key::empty().bytes());
        if short.is_some() {
            offices[0].drain(&out, 0);
            offices[1].assert_empty();
            assert_eq!(offices[1].names(BOB), [names[1]]);
        }
    }
}

/// The KEY of a reader's bag is gone, or is a folder; its MBG is torn: its mail waits, and nobody
/// else's.
#[test]
fn a_mailbag_that_cannot_be_used_keeps_its_own_mail_waiting_alone() {
    type Spoil = fn(&Office);
    let spoils: [Spoil; 4] = [
        |office| fs::remove_file(office.file("KEY/00000002.KEY")).unwrap(),
        |office| office.write("KEY/00000002.KEY", &[0; 100]),
        |office| {
            fs::remove_file(office.file("KEY/00000002.KEY")).unwrap();
            fs::create_dir(office.file("KEY/00000002.KEY")).unwrap();
        },
        |office| {
            let mbg = office.read("MBG/00000002.MBG");
            office.write("MBG/00000002.MBG", &[&mbg[..], b"torn"].concat());
        },
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        let mut office = Office::new();
        office.fill(BOB, 2);
        let (key, mbg) = (office.read("KEY/00000002.KEY"), office.read("MBG/00000002.MBG"));
        let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/EVE"]));
        let after = office.push(&letter("NET/PO/EVE", &["NET/PO/ANN"]));
        spoil(&office);
        let key_of = |office: &Office| fs::read(office.file("KEY/00000002.KEY")).ok();
        let before = (key_of(&office), office.read("MBG/00000002.MBG"));
        office.drain("run", 1);
        assert_eq!((office.names(EVE), office.names(ANN)), (vec![name], vec![after]), "{at}");
        assert_eq!(office.names("INQUEUE3"), [0_u32; 0]);
        assert_eq!((key_of(&office), office.read("MBG/00000002.MBG")), before, "{at}");
        assert_eq!(mai::counter(&office.mai(name)), Some(2), "BOB's record counts already");
        let _ = fs::remove_dir(office.file("KEY/00000002.KEY"));
        office.write("KEY/00000002.KEY", &key);
        office.write("MBG/00000002.MBG", &mbg);
        office.drain("run", 0);
        assert_eq!(office.names(BOB)[2..], [name]);
        office.assert_empty();
    }
}

/// What is torn at the end of INQUEUE3.MBG goes into quarantine, and out of the queue: behind it no
/// record could be put.
#[test]
fn a_torn_record_at_the_end_of_the_queue_is_quarantined_once() {
    let mut office = Office::new();
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    let mbg = office.read("MBG/INQUEUE3.MBG");
    office.write("MBG/INQUEUE3.MBG", &[&mbg[..], &mbg[..77]].concat());
    office.drain("run", 3);
    assert_eq!(office.names(BOB), [name]);
    assert_eq!(messages(&office.out("run"), "quarantine")[0].content, mbg[..77]);
    assert_eq!(office.read("MBG/INQUEUE3.MBG"), mbg);
    office.assert_empty();
    office.drain("again", 0);
    assert!(messages(&office.out("again"), "quarantine").is_empty());
}

#[test]
fn a_record_that_names_nothing_is_quarantined_and_taken_out() {
    let mut office = Office::new();
    let mut bad = super::small::record_of(b"ANN", b"garbage", 0x62, 1);
    bad[67..76].copy_from_slice(b"ma.\\001.n");
    office.bag("INQUEUE3", &[bad], &[]);
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    office.drain("run", 3);
    office.assert_empty();
    assert_eq!(office.names(BOB), [name]);
    assert_eq!(messages(&office.out("run"), "quarantine")[0].content, bad);
}

/// P1 or MAI missing or damaged: exactly that is said, to the operator; nobody is told that mail
/// failed which may have been delivered (Q103960, Q136004).
#[test]
fn missing_body_in_a_post_office_is_reported_as_what_it_is() {
    type Spoil = fn(&Office, u32);
    let spoils: [(&str, Spoil, usize); 4] = [
        ("[021]", |o, n| fs::remove_file(o.file(&format!("P1/{n:08X}.P1"))).unwrap(), 2),
        ("[024]", |o, n| o.write(&format!("P1/{n:08X}.P1"), b"garbage"), 3),
        ("[016]", |o, n| fs::remove_file(o.file(&mai_name(n))).unwrap(), 2),
        ("[023]", |o, n| o.write(&mai_name(n), b"garbage"), 3),
    ];
    for (number, spoil, kept) in spoils {
        let mut office = Office::new();
        let name = office.push(&letter("NET/PO/ANN", &["NET/PO/EVE"]));
        let good = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
        spoil(&office, name);
        let read = |file: &str| fs::read(office.file(file)).ok();
        let record = office.live("INQUEUE3")[0].1.to_vec();
        let (p1, mai) = (read(&format!("P1/{name:08X}.P1")), read(&mai_name(name)));
        office.drain("run", 3);
        office.assert_empty();
        assert_eq!(office.names(BOB), [good]);
        assert_eq!((office.names(EVE), office.names(ANN)), (vec![], vec![]), "nobody is told");
        let (reason, originals) = quarantined(&office, "run");
        assert!(reason.starts_with(number), "{reason}");
        let mut expect = vec![(original::RECORD, record)];
        expect.extend(p1.map(|bytes| (original::P1, bytes)));
        expect.extend(mai.map(|bytes| (original::MAI, bytes)));
        assert_eq!(originals, expect);
        assert_eq!(originals.len(), kept);
        assert!(read(&mai_name(name)).is_none() && read(&format!("P1/{name:08X}.P1")).is_none());
    }
}

/// P1 or MAI longer than any may be: set aside as damaged ones are. What is too long to be read is
/// in no record: its file stays.
#[test]
fn a_p1_or_mai_past_its_bound_is_set_aside_and_stays_where_it_is() {
    for (number, folder, bound) in
        [("[024]", "P1", limits::P1_BYTES_MAX), ("[023]", "MAI", limits::MAI_BYTES_MAX)]
    {
        let mut office = Office::new();
        let name = office.push(&letter("NET/PO/ANN", &["NET/PO/EVE"]));
        let good = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
        let file = if folder == "P1" { format!("P1/{name:08X}.P1") } else { mai_name(name) };
        let long = fs::OpenOptions::new().write(true).open(office.file(&file)).unwrap();
        long.set_len(bound + 1).unwrap();
        office.drain("run", 3);
        assert_eq!(office.names(BOB), [good]);
        assert_eq!((office.names(EVE), office.names(ANN)), (vec![], vec![]), "nobody is told");
        let (reason, originals) = quarantined(&office, "run");
        assert!(reason.starts_with(number), "{reason}");
        let kinds: Vec<u8> = originals.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [original::RECORD, original::P1, original::MAI]);
        let empty = originals.iter().filter(|(_, bytes)| bytes.is_empty()).count();
        assert_eq!(empty, 1, "that of the long one");
        assert_eq!(fs::metadata(office.file(&file)).unwrap().len(), bound + 1);
    }
}

/// A MAI that is damaged, and that another bag's record points to.
#[test]
fn a_damaged_mai_that_others_point_to_stays() {
    let mut office = Office::new();
    let mut mail = letter("NET/PO/ANN", &["NET/PO/BOB"]);
    mail.counter = 2;
    let name = office.push(&mail);
    let record = office.live("INQUEUE3")[0].1;
    office.bag(PO2, &[record], &[]);
    let mut bytes = office.mai(name);
    bytes.truncate(40);
    office.write(&mai_name(name), &bytes);
    office.drain("run", 3);
    assert_eq!(office.mai(name), bytes);
    assert_eq!((office.names(PO2), office.names("INQUEUE3")), (vec![name], vec![]));
}

/// Nobody gets the message; its sender is told why, and no file of it is left.
fn assert_told_of_an_attachment(office: &mut Office) {
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!(office.names(BOB), [0_u32; 0]);
    let report = office.mai(super::small::FIRST_NAME);
    let report = text(&mai::Mai::read(&report).unwrap().text.concat());
    assert!(report.contains("[018] Message was not sent due to missing attachment."), "{report}");
    assert!(!office.tree().keys().any(|name| name.starts_with("ATT/")));
}

#[test]
fn an_attachment_that_is_missing_is_a_failure_and_those_of_a_dead_letter_are_in_its_content() {
    let mut office = Office::new();
    let attachments = vec![(&b"A.TXT"[..], &b"one"[..]), (b"B.TXT", b"two")];
    let mail = Letter { attachments, ..letter("NET/PO/ANN", &["NET/PO/BOB"]) };
    let name = office.push(&mail);
    fs::remove_file(office.file(&format!("ATT/AT{:X}/{:08X}.ATT", (name + 1) & 15, name + 1)))
        .unwrap();
    assert_told_of_an_attachment(&mut office);
}

/// Attachments that are too long together are as one that isn't there: the sender is told, and the
/// files go, as those of any message that failed and was reported.
#[test]
fn attachments_past_their_bound_are_a_failure() {
    let mut office = Office::new();
    let attachments = vec![(&b"A.TXT"[..], &b"one"[..]), (b"B.TXT", b"two")];
    let mail = Letter { attachments, ..letter("NET/PO/ANN", &["NET/PO/BOB"]) };
    let name = office.push(&mail);
    let long = format!("ATT/AT{:X}/{:08X}.ATT", (name + 2) & 15, name + 2);
    let open = fs::OpenOptions::new().write(true).open(office.file(&long)).unwrap();
    open.set_len(limits::ATT_BYTES_MAX).unwrap();
    assert_told_of_an_attachment(&mut office);
}

/// Attachments beside a text that is a whole message are in no content: their files stay.
#[test]
fn attachments_that_no_content_has_stay() {
    let mut office = Office::new();
    let mail = letter("not an address", &[]);
    office.push(&Letter {
        to: vec![to(b"also@@not..one")],
        is_message: true,
        text: b"Subject: x\r\n\r\nbody\r\n",
        attachments: vec![(b"A.TXT", b"one")],
        ..mail
    });
    office.drain("run", 0);
    assert_eq!(office.names("INQUEUE3"), [0_u32; 0]);
    let tree = office.tree();
    let left: Vec<&Vec<u8>> =
        tree.iter().filter(|(name, _)| name.starts_with("ATT/")).map(|(_, bytes)| bytes).collect();
    assert_eq!(left, [b"one"]);
}

/// INQUEUE3 has more slots than a KEY has bits: none could be taken out, so none is delivered.
#[test]
fn a_queue_of_more_than_4096_slots_is_left_as_it_is() {
    let mut office = Office::new();
    office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    let record = office.live("INQUEUE3")[0].1;
    let deleted: Vec<u32> = (0..4096).collect();
    office.bag("INQUEUE3", &vec![record; 4097], &deleted);
    let before = office.tree();
    let told = office.drain("run", 1);
    assert!(told.contains("slots from 4096 on have no bit"), "{told}");
    assert!(office.tree() == before);
}

/// A stream that someone has cut: what it said is not known, so nothing is drained by it.
#[test]
fn a_stream_that_is_not_what_was_committed_drains_nothing() {
    let mut office = Office::new();
    office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    office.push(&letter("NET/PO/ANN", &["NET/PO/EVE"]));
    let before = office.tree();
    assert_eq!(office.run("run", &[]).status.code(), Some(0));
    let part = fs::read_dir(office.out("run").join("accepted")).unwrap().next().unwrap().unwrap();
    let whole = fs::read(part.path()).unwrap();
    let second = whole.windows(8).rposition(|w| w == b"\xF5INQREC\n").unwrap();
    fs::write(part.path(), &whole[..second]).unwrap();
    let told = office.drain("run", 1);
    assert!(told.contains("the file was altered"), "{told}");
    assert!(office.tree() == before);
    fs::write(part.path(), whole).unwrap();
    office.drain("run", 0);
    office.assert_empty();
}
