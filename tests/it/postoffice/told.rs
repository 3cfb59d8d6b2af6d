//! What a drain tells: `drain.jsonl`, by the original's numbers.

use super::small::{ADMIN, BOB, Office, letter};
use crate::support::text;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;

fn told(run: &Path) -> BTreeMap<u64, Vec<Value>> {
    let lines = fs::read_to_string(run.join("drain.jsonl")).unwrap();
    let mut all: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        all.entry(event["number"].as_u64().unwrap()).or_default().push(event);
    }
    all
}

#[test]
fn a_drain_tells_by_the_original_numbers() {
    let mut one = Office::at(Office::new().folder, "A");
    let two = Office::at(one.folder.clone(), "B");
    for left in ["KEY", "MBG"] {
        fs::remove_dir_all(one.queue().join(left)).unwrap();
    }
    two.name("NET", "PO3");
    for office in [&one, &two] {
        let mut master = office.read("GLB/MASTER.GLB");
        master[22..30].copy_from_slice(b"22-28798");
        office.write("GLB/MASTER.GLB", &master);
    }
    // A group with a member that has no mailbox here.
    let members = [2_u32.to_le_bytes(), 0x99_u32.to_le_bytes()].concat();
    one.write("MEM/00000001.MEM", &members);
    one.fill(BOB, 4095);
    for _ in 0..2 {
        one.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/ADMIN"]));
    }
    one.drain("run", 1);
    let told_of = told(&one.out("run"));
    let numbers: Vec<(u64, usize)> = told_of.iter().map(|(n, all)| (*n, all.len())).collect();
    // Tried twice: in the drain, and at its end, where nothing is told again.
    assert_eq!(numbers, [(2010, 1), (2448, 3), (4188, 1), (4254, 1), (4536, 1)]);
    let put = &told_of[&2448];
    assert_eq!(put[0]["mailbag"], format!("{ADMIN}.MBG"));
    assert_eq!(put[0]["queue_id"], "A/INQUEUE3/0");
    assert_eq!(put[0]["mai"], "00000062");
    assert_eq!(put[0]["sender"], "ANN");
    let waits = &told_of[&4254][0];
    assert!(waits["path"].as_str().unwrap().ends_with(&format!("A/MBG/{BOB}.MBG")), "{waits}");
    let same = &told_of[&4188][0];
    assert_eq!([&same["post_office"], &same["other"]], ["NET/PO", "NET/PO3"]);
    assert_eq!(same["serial"], "22-28798");
    let stranger = &told_of[&4536][0];
    assert_eq!(
        [&stranger["recipient"], &stranger["group"]],
        ["00000099", "TEAM@PO.NET.msmail.internal"]
    );

    // It can't go on while someone else has INQUEUE3.
    let lock = one.file("P1/INQUEUE3.0LK");
    fs::write(&lock, b"EXTERNAL 7").unwrap();
    let held = OpenOptions::new().read(true).write(true).open(&lock).unwrap();
    held.lock().unwrap();
    one.drain("run", 1);
    let told = told(&one.out("run"));
    let locked = &told[&2302][0];
    assert_eq!([&locked["mailer_code"], &locked["system_code"]], ["0x2", "0x20"]);
    assert!(text(locked["path"].as_str().unwrap().as_bytes()).ends_with("INQUEUE3.0LK"));
}
