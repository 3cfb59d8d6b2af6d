//! The case that all this began with (KB Q175965): a message with an invalid sender and invalid
//! recipients in front of good mail in INQUEUE3.

use super::small::{ANN, BOB, EVE, Letter, Office, letter, to};
use crate::support::{audit, events, messages};
use inqueue::mail::envelope::QueueId;
use inqueue::queue::segment::{original, read};

fn poison<'a>() -> Letter<'a> {
    Letter {
        from: Some(b"not an address"),
        to: vec![to(b"also@@not..one"), to(b"NET/PO/NOTANYBODY")],
        attachments: vec![(b"PLAN.TXT", b"an attachment\r\n")],
        ..letter("", &[])
    }
}

/// A queue with poison in front, between and behind good mail. Gives what the bags must hold then:
/// bag, record, name.
fn office() -> (Office, Vec<(&'static str, u32)>, Vec<u32>) {
    let mut office = Office::new();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        bad.push(office.push(&poison()));
        let text = letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/EVE"]);
        let name = office.push(&Letter { attachments: vec![(b"A.BIN", b"\0\x01\x02")], ..text });
        good.extend([(BOB, name), (EVE, name)]);
        good.push((ANN, office.push(&letter("SMTP:carol@example.com", &["NET/PO/ANN"]))));
    }
    bad.push(office.push(&poison()));
    (office, good, bad)
}

fn numbers(office: &Office, out: &str) -> Vec<u64> {
    let told = events(&office.out(out));
    told.iter().map(|event| event["number"].as_u64().unwrap()).collect()
}

#[test]
fn invalid_sender_and_recipients_do_not_stop_the_others() {
    let (office, good, bad) = office();
    let before = office.tree();
    office.drain("run", 0);
    office.assert_empty();
    for bag in [ANN, BOB, EVE] {
        let expect: Vec<u32> =
            good.iter().filter(|(place, _)| *place == bag).map(|(_, name)| *name).collect();
        assert_eq!(office.names(bag), expect);
        for (_, record) in office.live(bag) {
            let queued = before["MBG/INQUEUE3.MBG"].as_chunks::<116>().0;
            assert!(queued.contains(&record), "a record is not the one that was queued");
        }
    }
    for (name, mai) in before.iter().filter(|(name, _)| name.starts_with("MAI/")) {
        let number = u32::from_str_radix(&name[8..16], 16).unwrap();
        let after = office.file(name);
        if bad.contains(&number) {
            assert!(!after.exists());
        } else {
            let mut expect = mai.clone();
            let count = good.iter().filter(|(_, name)| *name == number).count();
            expect[0x0B] = u8::try_from(count).unwrap();
            assert_eq!(std::fs::read(after).unwrap(), expect, "{name}, but for its counter");
        }
    }
    let held = messages(&office.out("run"), "dead-letter");
    assert_eq!(held.len(), 4);
    for ((name, held), slot) in bad.iter().zip(&held).zip([0_usize, 3, 6, 9]) {
        let mut recipients = Vec::new();
        let id = QueueId::Given(b"");
        let envelope = read::envelope(&held.envelope, id, &mut recipients).unwrap();
        let record = &before["MBG/INQUEUE3.MBG"][slot * 116..][..116];
        let p1 = &before[&format!("P1/{name:08X}.P1")];
        let mai = &before[&super::small::mai_name(*name)];
        let originals = [(original::RECORD, record), (original::P1, p1), (original::MAI, mai)];
        let expect: Vec<Vec<u8>> =
            originals.iter().map(|(kind, bytes)| [&[*kind], *bytes].concat()).collect();
        assert_eq!(envelope.originals.to_vec(), expect, "record, P1 and MAI, byte for byte");
        let content = crate::support::text(&held.content);
        assert!(content.contains("filename=\"PLAN.TXT\""), "{content}");
        // "an attachment\r\n" in base64.
        assert!(content.contains("YW4gYXR0YWNobWVudA0K"), "{content}");
    }
    let numbers = numbers(&office, "run");
    let count = |number: u64| numbers.iter().filter(|one| **one == number).count();
    assert_eq!([count(2371), count(2451)], [4, 4]);
    assert_eq!([count(2380), count(10003)], [0, 0]);
    assert_eq!(count(2444), 9);
    for stream in ["ndr", "deferred", "quarantine"] {
        assert!(messages(&office.out("run"), stream).is_empty(), "{stream}");
    }
    let report = audit(&office.out("run"), None);
    assert_eq!(report["messages"], 10);
    assert_eq!(report["offices"], 1);
}

/// The same with the fault where the original had it: in logging the event about it.
#[cfg(feature = "fault-injection")]
#[test]
fn a_fault_in_logging_the_event_stops_nobody_in_a_post_office() {
    let mut office = Office::new();
    let text = b"X-Inqueue-Fault: event\r\nSubject: poison\r\n\r\n\r\n";
    let poison = Letter { is_message: true, text, ..poison() };
    let poison = Letter { attachments: Vec::new(), ..poison };
    let bad = office.push(&poison);
    let good = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    let last = office.push(&poison);
    office.drain("run", 3);
    office.assert_empty();
    assert_eq!(office.names(BOB), [good]);
    assert_eq!(messages(&office.out("run"), "dead-letter").len(), 2);
    let told = events(&office.out("run"));
    for number in [2380, 10003] {
        let ids: Vec<&str> = told
            .iter()
            .filter(|event| event["number"] == number)
            .map(|event| event["queue_id"].as_str().unwrap())
            .collect();
        let expect = [format!("INQUEUE3/0-{bad:08X}"), format!("INQUEUE3/2-{last:08X}")];
        assert_eq!(ids, expect, "{number}");
    }
    let numbers = numbers(&office, "run");
    assert!(numbers.contains(&2371) && numbers.contains(&2451) && numbers.contains(&2444));
    audit(&office.out("run"), None);
}
