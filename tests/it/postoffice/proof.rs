//! `audit` after a drain: clean as it is, and a finding for each thing that someone has altered, in
//! the bags, in the queue, or in the streams.

use super::small::{ANN, BOB, EVE, Office, letter};
use crate::support::audit;
use inqueue::queue::postoffice::bag::Key;
use serde_json::Value;

/// A drained post office: two good messages, one that is reported, one dead letter.
fn drained() -> Office {
    let mut office = Office::new();
    office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/EVE"]));
    office.push(&letter("NET/PO/ANN", &["NET/PO/NOBODY"]));
    office.push(&letter("???", &["also bad"]));
    office.push(&letter("NET/PO/BOB", &["NET/PO/EVE", "SMTP:x@far.example"]));
    office.drain("run", 0);
    office
}

fn found(office: &Office) -> (Value, Value, Value, String) {
    let report = audit(&office.out("run"), None);
    let what = report["findings"].to_string();
    (report["lost"].clone(), report["doubled"].clone(), report["wrong"].clone(), what)
}

#[test]
fn a_drained_run_is_proved_from_plan_streams_and_bags() {
    let office = drained();
    let report = audit(&office.out("run"), None);
    assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report:#}");
    assert_eq!([&report["offices"], &report["messages"]], [1, 4]);
}

#[test]
fn a_record_that_is_gone_from_its_bag_is_lost() {
    let office = drained();
    office.write(&format!("MBG/{BOB}.MBG"), b"");
    let (lost, doubled, wrong, what) = found(&office);
    assert_eq!((lost, doubled, wrong), (1.into(), 0.into(), 0.into()), "{what}");
    assert!(what.contains("not in bag 00000002"), "{what}");
}

#[test]
fn a_record_that_is_in_its_bag_twice_is_doubled() {
    let office = drained();
    let file = format!("MBG/{EVE}.MBG");
    let mbg = office.read(&file);
    office.write(&file, &[&mbg[..], &mbg[..116]].concat());
    let (lost, doubled, wrong, what) = found(&office);
    assert_eq!((lost, doubled, wrong), (0.into(), 1.into(), 0.into()), "{what}");
}

#[test]
fn a_slot_that_is_live_again_is_doubled() {
    let office = drained();
    let mut key = Key::read(&office.read("KEY/INQUEUE3.KEY")).unwrap();
    key.set_deleted(0, false);
    office.write("KEY/INQUEUE3.KEY", key.bytes());
    let (lost, doubled, wrong, what) = found(&office);
    assert_eq!((lost, doubled, wrong), (0.into(), 1.into(), 0.into()), "{what}");
    assert!(what.contains("still in the queue"), "{what}");
}

#[test]
fn a_report_that_is_gone_is_lost_and_a_user_who_has_read_it_is_none() {
    let office = drained();
    let mut key = Key::read(&office.read(&format!("KEY/{ANN}.KEY"))).unwrap();
    key.set_deleted(0, true);
    office.write(&format!("KEY/{ANN}.KEY"), key.bytes());
    assert_eq!(found(&office).0, 0, "deleted, but not compressed away");
    office.write(&format!("MBG/{ANN}.MBG"), b"");
    assert_eq!(found(&office).0, 1);
}

#[test]
fn a_stream_that_was_altered_is_found_though_the_queue_is_gone() {
    let office = drained();
    let stream = office.out("run").join("accepted/00000.seg");
    let mut bytes = std::fs::read(&stream).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&stream, &bytes).unwrap();
    let (_, _, wrong, what) = found(&office);
    assert!(wrong.as_u64().unwrap() > 0, "{what}");
}
