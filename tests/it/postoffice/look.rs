//! A post office is a queue like any other: listed, shown, converted, INQUEUE3 and any other bag.

use super::small::{ANN, BOB, EVE, Letter, Office, letter};
use crate::support::{inqueue, text};
use inqueue::queue::postoffice::p1::{P1, P1Recipient};
use std::path::Path;

fn say(args: &[&str]) -> String {
    let output = inqueue().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A queue of two, and a mailbag of one that was delivered.
fn office() -> (Office, u32, u32, u32) {
    let mut office = Office::new();
    let delivered = office.push(&letter("SMTP:carol@example.com", &["NET/PO/ANN", "NET/PO/BOB"]));
    office.drain("before", 0);
    let attachments = vec![(&b"A.TXT"[..], &b"one"[..])];
    let one = office.push(&Letter { attachments, ..letter("NET/PO/ANN", &["NET/PO/BOB"]) });
    let text = b"Subject: whole\r\n\r\nbody\r\n";
    let whole = Letter { is_message: true, text, ..letter("NET/PO/BOB", &["NET/PO2/ZOE"]) };
    let two = office.push(&whole);
    (office, delivered, one, two)
}

#[test]
fn queues_and_mailbags_are_inspected_and_shown() {
    let (office, delivered, one, two) = office();
    let before = office.tree();
    let queue = format!("postoffice:{}", office.queue().display());
    let bag = office.file(&format!("MBG/{ANN}.MBG")).display().to_string();
    let listed = say(&["inspect", &queue, "--json"]);
    let lines: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{listed}");
    let ids = [format!("INQUEUE3/1-{one:08X}"), format!("INQUEUE3/2-{two:08X}")];
    for (line, id) in lines.iter().zip(&ids) {
        assert_eq!(line["queue_id"], *id, "{line:#}");
    }
    assert_eq!(lines[0]["sender"], "ANN@PO.NET.msmail.internal", "{:#}", lines[0]);
    let shown = say(&["show", &queue, &ids[1]]);
    assert!(shown.ends_with("Subject: whole\r\n\r\nbody\r\n"), "{shown}");
    assert!(shown.contains("ZOE@PO2.NET.msmail.internal"), "{shown}");
    let shown = say(&["show", &queue, &ids[0]]);
    assert!(shown.contains("Content-Type: multipart/mixed"), "{shown}");
    // A user's bag: P1 is gone, and the bag is whose it is.
    for spec in [bag.clone(), bag.replace("/MBG/", "/KEY/").replace(".MBG", ".KEY")] {
        let listed = say(&["inspect", &spec, "--json"]);
        let line: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
        assert_eq!(line["queue_id"], format!("{ANN}/0-{delivered:08X}"), "{line:#}");
        assert_eq!(line["sender"], "carol@example.com", "{line:#}");
        let to = &line["recipients"];
        assert_eq!(to.as_array().unwrap().len(), 1, "{line:#}");
        assert_eq!(to[0]["address"], "ANN@PO.NET.msmail.internal", "{line:#}");
    }
    let shown = say(&["show", &bag, &format!("{ANN}/0-{delivered:08X}")]);
    assert!(shown.ends_with("Shall we meet?\r\n"), "{shown}");
    assert!(office.tree() == before);
}

/// By way of each format, and back through a segment, which keeps all: the contents are the same.
#[test]
fn queues_and_mailbags_are_converted() {
    let (office, ..) = office();
    let before = office.tree();
    let queue = format!("postoffice:{}", office.queue().display());
    let bag = office.file(&format!("MBG/{BOB}.MBG")).display().to_string();
    for (at, (spec, count)) in [(queue, 2), (bag, 1)].iter().enumerate() {
        let mut all = Vec::new();
        for format in ["segment", "mbox", "maildir", "eml"] {
            let target = office.out(&format!("{format}-{at}"));
            let target = format!("{format}:{}", target.display());
            say(&["convert", spec, "--to", &target]);
            all.push(sums(&target));
            assert_eq!(all[all.len() - 1].len(), *count, "{target}");
        }
        let own = sums(spec);
        for other in &all {
            assert_eq!(*other, own);
        }
    }
    assert!(office.tree() == before);
}

/// Checksums of all contents, sorted.
fn sums(spec: &str) -> Vec<String> {
    let listed = say(&["inspect", spec, "--json", "--checksums"]);
    let line = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
    let mut sums: Vec<String> =
        listed.lines().map(|text| line(text)["checksum"].to_string()).collect();
    sums.sort_unstable();
    sums
}

/// A run of an outbound bag sees those recipients that wait in it, and no others.
#[test]
fn an_outbound_bag_is_a_queue_of_those_who_wait_in_it() {
    let mut office = Office::new();
    let all = ["NET/PO/EVE", "NET/PO2/ZOE", "OTHER/HQ/MAX"];
    let name = office.push(&letter("NET/PO/ANN", &all));
    office.drain("run", 0);
    let p1 = office.p1(name);
    let is_waiting = |r: &P1Recipient<'_>| r.bag.is_some();
    assert!(P1::read(&p1).unwrap().recipients.iter().all(is_waiting));
    for (bag, address) in [
        (super::small::PO2, "ZOE@PO2.NET.msmail.internal"),
        (super::small::HQ, "MAX@HQ.OTHER.msmail.internal"),
        (EVE, "EVE@PO.NET.msmail.internal"),
    ] {
        let spec = office.file(&format!("MBG/{bag}.MBG")).display().to_string();
        let listed = say(&["inspect", &spec, "--json"]);
        let line: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
        let to: Vec<&serde_json::Value> =
            line["recipients"].as_array().unwrap().iter().map(|r| &r["address"]).collect();
        assert_eq!(to, [address], "{bag}");
    }
    assert!(!Path::new(&office.out("none")).exists());
}
