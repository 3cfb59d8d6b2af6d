//! What a drain tells: events by the original's numbers, appended to `drain.jsonl` in the folder of
//! the run (docs/events.md).
//!
//! Not here: the events of messages, which are a stream of the run. What is done again after a
//! crash is told again, under the same ids. Invariant: telling never fails a drain; what can't be
//! told is left out.

use super::work::Site;
use crate::event::Number;
use crate::event::json::{self, Member, Sequence};
use crate::mail::date::Time;
use crate::queue::postoffice::bag::Record;
use crate::queue::postoffice::tables::Tables;
use crate::spool::drain::Put;
use crate::spool::private;
use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

/// Name of the file in the folder of a run.
pub(super) const NAME: &str = "drain.jsonl";

/// Events that are being collected.
#[derive(Debug)]
pub(super) struct Tell {
    lines: Vec<u8>,
    time: Vec<u8>,
}

impl Tell {
    pub(super) fn new(now: Time) -> Self {
        let mut time = Vec::new();
        now.write_rfc3339(&mut time);
        Self { lines: Vec::new(), time }
    }

    fn note(&mut self, number: Number, about: &[u8], index: u32, members: &[(&str, Member<'_>)]) {
        let key = xxhash_rust::xxh3::xxh3_64(about);
        let sequence = Sequence::Note(index);
        json::note(&mut self.lines, number, &self.time, (key, 0), sequence, members);
    }

    /// A record was put into a bag, or waits.
    pub(super) fn put(&mut self, site: &Site<'_>, index: u32, put: &Put, waits: bool) {
        let bytes = put.record();
        let record = Record::new(&bytes);
        let mai = record.mai().unwrap_or([b'?'; 8]);
        let bag = format!("{}.MBG", put.bag);
        let id = site.queue_id(put.slot);
        let id = Member::Text(id.as_bytes());
        let about = [site.id.path.as_bytes(), b"/", bag.as_bytes(), b"/", &mai].concat();
        let mailbag = Member::Text(bag.as_bytes());
        if waits {
            let members = [("queue_id", id), ("mailbag", mailbag)];
            self.note(Number::MAILBAG_FULL, &about, index, &members);
            let path = site.root.join("MBG").join(&bag);
            let path = Member::Text(path.as_os_str().as_encoded_bytes());
            let reason = Member::Text(b"the mailbag is full, or can't be used");
            let members = [("queue_id", id), ("path", path), ("reason", reason)];
            self.note(Number::WILL_RETRY, &about, index, &members);
        } else {
            let sender = Member::Text(record.sender());
            let members = [
                ("queue_id", id),
                ("mai", Member::Text(&mai)),
                ("sender", sender),
                ("mailbag", mailbag),
            ];
            self.note(Number::INTO_MAILBAG, &about, index, &members);
        }
    }

    /// What is wrong with the post offices of a queue: serial numbers that are there twice, groups
    /// with members from elsewhere.
    pub(super) fn offices(&mut self, offices: &[Tables]) {
        let mut serials: HashMap<&[u8], &Tables> = HashMap::new();
        for office in offices {
            if !office.serial.is_empty()
                && let Some(other) = serials.insert(&office.serial, office)
            {
                let members = [
                    ("post_office", Member::Text(&other.own_name)),
                    ("other", Member::Text(&office.own_name)),
                    ("serial", Member::Text(&office.serial)),
                ];
                self.note(Number::SAME_SERIAL, office.path.as_bytes(), 0, &members);
            }
            for (index, (group, member)) in (0..).zip(&office.strangers) {
                let members = [
                    ("recipient", Member::Text(member.as_bytes())),
                    ("group", Member::Text(group.as_bytes())),
                ];
                self.note(Number::EXTERNAL_MEMBER, office.path.as_bytes(), index, &members);
            }
        }
    }

    /// INQUEUE3 is locked by someone else: nothing is drained.
    pub(super) fn locked(&mut self, path: &Path) {
        let bytes = path.as_os_str().as_encoded_bytes();
        let members = [
            ("path", Member::Text(bytes)),
            // Error 32 of Windows: a sharing violation (Q168857).
            ("mailer_code", Member::Text(b"0x2")),
            ("system_code", Member::Text(b"0x20")),
        ];
        self.note(Number::QUEUE_LOCKED, bytes, 0, &members);
    }

    /// Appends what was collected to the run's file.
    pub(super) fn write(&mut self, run: &Path) {
        if self.lines.is_empty() {
            return;
        }
        let file = private::append(&run.join(NAME));
        // The log of the drain has it all: what is told is for people.
        let _ = file.and_then(|mut file| file.write_all(&self.lines));
        self.lines.clear();
    }
}
