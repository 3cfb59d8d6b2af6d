//! Mailbags without room: mail for them waits in INQUEUE3 and is no failure before its life is over
//! (KB Q163020); one that fills up within the drain keeps its records waiting in the run.

use super::small::{ANN, BOB, Office, letter, time};
use crate::support::{messages, text};
use inqueue::queue::postoffice::bag::{Key, Record};
use inqueue::queue::postoffice::mai::{self, Mai};
use inqueue::queue::postoffice::p1::P1;

const NAMES_BEGIN: u32 = super::small::FIRST_NAME;

/// Deletes so many of a bag's records, from the first on.
fn make_room(office: &Office, bag: &str, count: u32) {
    let file = format!("KEY/{bag}.KEY");
    let mut key = Key::read(&office.read(&file)).unwrap();
    (0..count).for_each(|slot| key.set_deleted(slot, true));
    office.write(&file, key.bytes());
}

#[test]
fn a_full_mailbag_waits_in_the_queue_and_is_served_when_there_is_room() {
    let mut office = Office::new();
    office.fill(BOB, 4096);
    let bag = (office.read("MBG/00000002.MBG"), office.read("KEY/00000002.KEY"));
    let name = office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/ANN", "NET/PO/NOBODY"]));
    let after = office.push(&letter("NET/PO/ANN", &["NET/PO/EVE"]));
    let queued = office.live("INQUEUE3");
    office.drain("run", 0);
    assert_eq!(office.live("INQUEUE3"), queued[..1], "its slot stays, as it is");
    assert_eq!((office.read("MBG/00000002.MBG"), office.read("KEY/00000002.KEY")), bag);
    assert_eq!(office.names(super::small::EVE), [after], "nobody else waits");
    assert_eq!(office.names(ANN), [name, NAMES_BEGIN], "and one report, about NOBODY alone");
    let p1 = office.p1(name);
    let p1 = P1::read(&p1).unwrap();
    let left: Vec<&[u8]> = p1.recipients.iter().map(|recipient| recipient.address).collect();
    assert_eq!(left, [b"NET/PO/BOB"]);
    assert_eq!((p1.attempts, p1.next_attempt), (1, Some(time("2026-01-02T03:34:05Z"))));
    assert_eq!(p1.expiry, Some(time("2026-01-03T02:00:00Z")));
    assert_eq!(mai::counter(&office.mai(name)), Some(2), "ANN's record and the slot");
    let deferred = messages(&office.out("run"), "deferred");
    let told = text(&deferred[0].envelope);
    assert!(deferred.len() == 1 && told.contains("4.2.2"), "{told}");
    let report = office.mai(NAMES_BEGIN);
    let report = Mai::read(&report).unwrap().text.concat();
    assert!(!text(&report).contains("[017]"), "{}", text(&report));

    // Too early: not tried, and not counted.
    office.drain_at("early", "2026-01-02T03:30:00Z", 0);
    assert_eq!(P1::read(&office.p1(name)).unwrap().attempts, 1);
    // Due, and still full: later still.
    office.drain_at("due", "2026-01-02T03:34:05Z", 0);
    let p1 = office.p1(name);
    let p1 = P1::read(&p1).unwrap();
    assert_eq!((p1.attempts, p1.next_attempt), (2, Some(time("2026-01-02T04:34:05Z"))));
    make_room(&office, BOB, 1);
    office.drain_at("room", "2026-01-02T05:00:00Z", 0);
    let last = office.live(BOB);
    assert_eq!(last.len(), 4096);
    assert_eq!(last[0], (0, queued[0].1), "in the first vacant slot");
    office.assert_empty();
    assert_eq!(office.names(ANN), [name, NAMES_BEGIN], "no second report");
}

#[test]
fn a_mailbag_that_stays_full_is_reported_with_the_true_reason() {
    let mut office = Office::new();
    office.fill(BOB, 4096);
    office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]));
    office.drain_at("run", "2026-01-03T02:00:00Z", 0);
    office.assert_empty();
    assert_eq!(office.names(ANN), [NAMES_BEGIN]);
    let (_, record) = office.live(ANN)[0];
    let record = Record::new(&record);
    assert_eq!((record.sender(), record.subject()), (&b"POSTMASTER"[..], &b"Mail failure"[..]));
    let mai = office.mai(NAMES_BEGIN);
    let mai = Mai::read(&mai).unwrap();
    assert_eq!(mai.from, Some(&b"NET/PO/POSTMASTER"[..]));
    assert_eq!(mai.to, [b"NET/PO/ANN"]);
    let expect = "FROM: NET/PO/ANN\r\nTO: NET/PO/BOB\r\nDATE: 2026-01-02\r\nTIME: 01:59\r\n\
        SUBJECT: Plans\r\n------------------------------------------------------------\r\n\
        [017] Unable to deliver user mail due to a full mailbag.\r\n\
        Mail item was not delivered to:\r\nNET/PO/BOB\r\n\
        ------------------------------------------------------------\r\nShall we meet?\r\n";
    assert_eq!(text(&mai.text.concat()), expect);
    let reports = messages(&office.out("run"), "ndr");
    assert!(text(&reports[0].content).contains("Status: 5.2.2"));
}

/// Three messages, room for one: the others are out of INQUEUE3, and wait in the run until there is
/// room.
#[test]
fn a_mailbag_that_fills_up_within_the_drain_keeps_its_records_waiting() {
    let mut office = Office::new();
    office.fill(BOB, 4095);
    let names: Vec<u32> =
        (0..3).map(|_| office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/EVE"]))).collect();
    let told = office.drain("run", 1);
    assert!(told.contains("2 records wait for room in mailbags"), "{told}");
    assert_eq!(office.live("INQUEUE3"), []);
    assert_eq!(office.names(super::small::EVE), names);
    assert_eq!(office.names(BOB)[4095..], names[..1]);
    assert!(!office.file("P1/INQUEUE3.0LK").exists(), "others may drain meanwhile");
    let still = office.tree();
    office.drain("run", 1);
    assert!(office.tree() == still, "still no room: nothing changes");
}

#[test]
fn what_waited_is_placed_once_there_is_room() {
    let mut office = Office::new();
    office.fill(BOB, 4094);
    let names: Vec<u32> =
        (0..3).map(|_| office.push(&letter("NET/PO/ANN", &["NET/PO/BOB"]))).collect();
    office.drain("run", 1);
    make_room(&office, BOB, 3);
    office.drain("run", 0);
    let mut live = office.names(BOB);
    live.sort_unstable();
    assert_eq!(live[..3], names[..], "each once");
    assert_eq!(live.len(), 4094);
    office.assert_empty();
    let done = office.tree();
    office.drain("run", 0);
    assert!(office.tree() == done, "and nothing more");
    let report = crate::support::audit(&office.out("run"), None);
    assert_eq!([&report["waiting"], &report["offices"]], [0, 1]);
}
