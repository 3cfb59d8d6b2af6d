//! The mailbags of a drained post office: every record that the streams ask for is in its bag,
//! once, and every slot has gone where the streams say.
//!
//! What is to be there comes from the streams alone; the drain's log says only how far it was, and
//! which files it made for reports. Not here: the streams (`part`). A user who has deleted and
//! compressed a mailbag since has taken records out of it: that is a finding, too; audit before.

use super::{AuditError, Kind, Report};
use crate::queue::Framed;
use crate::queue::bytes::FileBytes;
use crate::queue::postoffice;
use crate::queue::postoffice::bag::{HexName, Key, RECORD_BYTES, Record, hex_name, records};
use crate::queue::postoffice::list::{Bag, Slot};
use crate::queue::postoffice::office::{Folder, Office};
use crate::queue::segment::read;
use crate::spool::commits::Commit;
use crate::spool::drain::{self, OfficeId, Put, Step};
use crate::spool::folder::{self, Planned};
use crate::spool::{SpoolError, Stream};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

/// What the streams say of a slot.
#[derive(Debug, Default)]
struct Asked {
    /// Bags that its message goes to.
    bags: BTreeSet<String>,
    /// Reports about it.
    reports: u64,
    /// Something of it stays.
    is_held: bool,
}

type AskedSlots = HashMap<(Vec<u8>, u32), Asked>;

/// How far the drain is with a post office.
#[derive(Debug, Default)]
struct Log {
    puts: Vec<Put>,
    waiting: Vec<Put>,
    is_done: bool,
}

/// Audits the mailbags of all post offices of a run that was drained.
pub(super) fn audit(
    run: &Path,
    planned: &Planned,
    commits: &[Commit],
    report: &mut Report,
) -> Result<(), AuditError> {
    let mut logs: HashMap<OfficeId, Log> = HashMap::new();
    for step in drain::read(run)?.0 {
        let log = logs.entry(step.office().clone()).or_default();
        match step {
            Step::Begun(work) => log.puts = work.puts,
            Step::PutIn(_, waiting) => log.waiting = waiting,
            Step::Done(_) => log.is_done = true,
            Step::Placed(_, put) => log.waiting.retain(|other| *other != put),
        }
    }
    let digits = planned.plan.digits();
    for (index, queue) in planned.queues.iter().enumerate() {
        let Some(list) = queue.bag_list() else { continue };
        let is_of_queue = |commit: &&Commit| {
            let part = planned.plan.parts.get(commit.part as usize);
            part.is_some_and(|part| part.queue == index)
        };
        let of_queue: Vec<&Commit> = commits.iter().filter(is_of_queue).collect();
        let asked: Result<Vec<AskedSlots>, AuditError> =
            of_queue.par_iter().map(|commit| asked(run, digits, commit)).collect();
        let asked: AskedSlots = asked?.into_iter().flatten().collect();
        let slots: HashMap<&str, &[Slot]> =
            list.bags_of(0..u64::MAX).map(|(bag, slots)| (bag.name.as_str(), slots)).collect();
        let root = postoffice::root(queue.path());
        let offices: Vec<Report> = list
            .bags()
            .par_iter()
            .map(|bag| {
                let id = OfficeId { queue: index, path: bag.office.clone() };
                let slots = slots.get(bag.name.as_str()).copied().unwrap_or_default();
                office(&root, bag, slots, &asked, logs.get(&id))
            })
            .collect();
        for of_office in offices {
            report.merge(of_office);
        }
    }
    Ok(())
}

/// What the records of a part ask for.
fn asked(run: &Path, digits: usize, commit: &Commit) -> Result<AskedSlots, AuditError> {
    let mut all = AskedSlots::new();
    for stream in [Stream::Accepted, Stream::Ndr, Stream::Deferred] {
        if commit.files.get(stream).is_none() {
            continue;
        }
        let path = folder::part_path(run, digits, stream, commit.part);
        let (bytes, _) = FileBytes::open(&path, Vec::new()).map_err(SpoolError::read(&path))?;
        let bytes = bytes.bytes();
        for framed in read::frame(bytes, 0..bytes.len() as u64) {
            // Damage, and records without an origin, are findings of the part.
            let Framed::Message(found) = framed else { continue };
            let mut bags = BTreeSet::new();
            let notes = read::notes(found.head, |note| {
                let route = String::from_utf8_lossy(note.route);
                bags.extend(route.strip_prefix("mailbag:").map(str::to_owned));
            });
            let Some((name, offset, _)) = notes.and_then(|notes| notes.origin) else { continue };
            let slot = u32::try_from(offset / RECORD_BYTES as u64).unwrap_or(u32::MAX);
            let asked = all.entry((name.to_vec(), slot)).or_default();
            match stream {
                Stream::Accepted => asked.bags.extend(bags),
                Stream::Ndr => asked.reports += 1,
                _ => asked.is_held = true,
            }
        }
    }
    Ok(all)
}

/// A bag's records by their MAI.
type InBag = HashMap<HexName, Vec<[u8; RECORD_BYTES]>>;

/// Audits one post office.
fn office(root: &Path, bag: &Bag, slots: &[Slot], asked: &AskedSlots, log: Option<&Log>) -> Report {
    let mut report = Report::default();
    let Some(log) = log.filter(|log| log.is_done) else {
        report.offices_undrained = u64::from(!slots.is_empty());
        return report;
    };
    let office = Office::at(&root.join(&bag.office));
    let mut bags: BTreeMap<String, InBag> = BTreeMap::new();
    let mut puts: HashMap<u32, Vec<&Put>> = HashMap::new();
    for put in &log.puts {
        puts.entry(put.slot).or_default().push(put);
        bags.entry(put.bag.clone()).or_insert_with(|| in_bag(&office, &put.bag));
    }
    report.offices = 1;
    report.waiting = log.waiting.len() as u64;
    let waiting: HashSet<(&str, &[u8])> =
        log.waiting.iter().map(|put| (put.bag.as_str(), put.record.as_slice())).collect();
    let mut mbg = Vec::new();
    // What can't be read has none of its slots, which is then told.
    let _ = office.read(Folder::Mbg, &format!("{}.MBG", bag.bag()), u64::MAX - 1, &mut mbg);
    let mut key = Vec::new();
    let _ = office.read(Folder::Key, &format!("{}.KEY", bag.bag()), u64::MAX - 1, &mut key);
    let key = Key::read(&key).unwrap_or_else(Key::empty);
    let nothing = Asked::default();
    for slot in slots {
        let name = bag.name.as_bytes().to_vec();
        let asked = asked.get(&(name, slot.slot)).unwrap_or(&nothing);
        let place = format!("{}, slot {}", bag.name, slot.slot);
        let puts = puts.get(&slot.slot).map(Vec::as_slice).unwrap_or_default();
        check_puts(&mut report, &place, asked, puts);
        for put in puts {
            let count = bags.get(&put.bag).map_or(0, |bag| count_in(bag, put));
            let waits = waiting.contains(&(put.bag.as_str(), put.record.as_slice()));
            let bag = &put.bag;
            match count + usize::from(waits) {
                1 => {}
                0 => report.find(Kind::Lost, &place, format!("its record is not in bag {bag}")),
                _ => report.find(Kind::Doubled, &place, format!("it is in bag {bag} twice")),
            }
        }
        check_slot(&mut report, &place, *slot, asked, (&mbg, &key));
    }
    report
}

/// What was put in is what the streams ask for.
fn check_puts(report: &mut Report, place: &str, asked: &Asked, puts: &[&Put]) {
    let mut bags = BTreeSet::new();
    for put in puts.iter().filter(|put| !put.is_report) {
        if !bags.insert(put.bag.clone()) {
            let what = format!("it was put into bag {} twice", put.bag);
            report.find(Kind::Doubled, place, what);
        }
    }
    for bag in asked.bags.difference(&bags) {
        report.find(Kind::Lost, place, format!("it was never put into bag {bag}"));
    }
    for bag in bags.difference(&asked.bags) {
        report.find(Kind::Doubled, place, format!("no recipient of it has bag {bag}"));
    }
    let reports = puts.iter().filter(|put| put.is_report).count() as u64;
    if reports > asked.reports {
        report.find(Kind::Doubled, place, "there are more reports in bags than were made");
    }
    // Those that no bag leads to stay in their stream.
    report.reports_left += asked.reports.saturating_sub(reports);
}

/// A slot is out of the queue, or still in it where something of its message stays.
fn check_slot(
    report: &mut Report,
    place: &str,
    slot: Slot,
    asked: &Asked,
    (mbg, key): (&[u8], &Key),
) {
    let (all, _) = records(mbg);
    let Some(record) = all.get(slot.slot as usize) else { return };
    let is_same = crc32c::crc32c(record) == slot.checksum;
    let is_in = is_same && !key.is_deleted(slot.slot);
    if is_in && !asked.is_held {
        report.find(Kind::Doubled, place, "it is delivered, and still in the queue");
    }
    if asked.is_held && !is_in {
        let what = "recipients of it are deferred, but it is not in the queue any more";
        report.find(Kind::Lost, place, what);
    }
}

/// How often a record is in its bag. One of another message that once had the same name doesn't
/// count, where this one is there as it was put in.
fn count_in(bag: &InBag, put: &Put) -> usize {
    let record = put.record();
    let named = Record::new(&record).mai().and_then(|mai| bag.get(&mai));
    let named = named.map(Vec::as_slice).unwrap_or_default();
    let same = named.iter().filter(|other| **other == record).count();
    if same > 0 { same } else { named.len() }
}

/// The records of a bag, deleted ones included: their users have read them.
fn in_bag(office: &Office, bag: &str) -> InBag {
    let mut mbg = Vec::new();
    let mut all = InBag::new();
    // What can't be read has no records, which is then told of each.
    let _ = office.read(Folder::Mbg, &format!("{bag}.MBG"), u64::MAX - 1, &mut mbg);
    for record in records(&mbg).0 {
        if let Some(mai) = Record::new(record).mai().and_then(|mai| hex_name(&mai)) {
            all.entry(mai).or_default().push(*record);
        }
    }
    all
}
