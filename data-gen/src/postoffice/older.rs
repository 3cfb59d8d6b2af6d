//! What a post office holds beside INQUEUE3: older mail in the users' bags, full bags, mail that
//! waits in outbound bags, in SYSTEM and in INQUEUE.
//!
//! What it deliberately does not do: hazards, but for full bags; nothing here is in the queue.
//!
//! Invariants: the counter of each MAI is the number of live records that point to it; no two live
//! records of a bag point to the same one.

use std::collections::BTreeMap;

use super::bag::{Bag, RECORD, Record, SLOTS, record, record_date};
use super::disk::Disk;
use super::glb::hex_name;
use super::letter::{Address, Attachment, Letter, Posted, mai, p1};
use super::site::{Site, Way};
use crate::bytes::{put, short};
use crate::envelope::{Recipient, Reverse};
use crate::plan::{Plan, blank};
use crate::rng::Rng;
use crate::text::Charset;
use crate::time::{DAY, MINUTE};
use crate::{GenError, World};

/// The bags of a post office by name, and the names that are given to files.
#[derive(Debug)]
pub(super) struct Bags {
    pub(super) all: BTreeMap<String, Bag>,
    pub(super) next_letter: u32,
}

impl Bags {
    /// Empty bags, all that the post office has.
    pub(super) fn new(site: &Site, rng: &mut Rng) -> Self {
        let mut all = BTreeMap::new();
        for name in ["INQUEUE", "INQUEUE3", "SYSTEM"] {
            all.insert(name.to_owned(), Bag::default());
        }
        for bag in 0..site.next_bag {
            all.insert(number_name(bag), Bag::default());
        }
        Self { all, next_letter: 0x40 + short(rng.place(0x0010_0000)) }
    }

    /// A new name for a MAI, a P1 or an ATT.
    pub(super) fn letter(&mut self) -> u32 {
        self.next_letter += 1;
        self.next_letter - 1
    }

    /// A bag.
    pub(super) fn bag(&mut self, name: &str) -> &mut Bag {
        self.all.entry(name.to_owned()).or_default()
    }
}

/// The name of a numbered bag.
pub(super) fn number_name(number: u32) -> String {
    String::from_utf8_lossy(&hex_name(number)).into_owned()
}

/// Makes older mail.
#[derive(Debug)]
pub(super) struct Older<'a> {
    pub(super) world: &'a World,
    pub(super) site: &'a Site,
    pub(super) bags: &'a mut Bags,
    pub(super) disk: &'a mut Disk,
    pub(super) rng: Rng,
}

impl Older<'_> {
    /// All of it. Names of MAI that are still there are returned, to be pointed to by deleted
    /// records.
    pub(super) fn make(&mut self) -> Result<Vec<u32>, GenError> {
        let mut names = Vec::new();
        let users: Vec<u32> =
            self.site.mailboxes.iter().filter(|one| !one.full).map(|one| one.bag).collect();
        for _ in 0..users.len().min(40) {
            let mut bags: Vec<u32> = (0..self.rng.between(1, 4))
                .map(|_| users.get(self.rng.place(users.len())).copied().unwrap_or(0))
                .collect();
            bags.sort_unstable();
            bags.dedup();
            names.push(self.shared(&bags, true)?);
        }
        let full: Vec<u32> =
            self.site.mailboxes.iter().filter(|one| one.full).map(|one| one.bag).collect();
        for _ in 0..if full.is_empty() { 0 } else { SLOTS } {
            self.shared(&full, false)?;
        }
        self.system()?;
        for network in &self.site.networks {
            match &network.way {
                Way::Gateway(bag) | Way::Indirect(_, bag) => self.waiting(*bag)?,
                Way::Network(list) => {
                    if let Some(first) = list.first() {
                        self.waiting(first.bag)?;
                    }
                }
            }
        }
        Ok(names)
    }

    fn letter(&mut self) -> Letter {
        let mut letter = Letter::blank(self.bags.letter());
        let age = i64::try_from(self.rng.between(1, 90)).unwrap_or(1) * DAY;
        letter.posted = Posted::At(super::whole(self.world.options.now - age - MINUTE));
        letter.from = Some(Address::new(&self.site.path(b"ADMIN"), true));
        crate::text::words(&mut letter.subject, &mut self.rng, Charset::Ascii, 3);
        let size = self.rng.place(400);
        let texts = &self.world.texts;
        texts.copy(&mut letter.text, &mut self.rng, Charset::Ascii, true, size);
        letter
    }

    fn record(&mut self, letter: &Letter, size: usize) -> [u8; RECORD] {
        let time = if let Posted::At(time) = letter.posted { time } else { 0 };
        record(&Record {
            sender: b"ADMIN".to_vec(),
            subject: letter.subject.clone(),
            date: record_date(time),
            mai: hex_name(letter.file),
            size: short(size),
            unknown: self.site.spread(u64::from(letter.file)).to_le_bytes(),
        })
    }

    /// A message in several bags: one MAI.
    fn shared(&mut self, bags: &[u32], some_deleted: bool) -> Result<u32, GenError> {
        let mut letter = self.letter();
        letter.counter = u16::try_from(bags.len()).unwrap_or(u16::MAX);
        if some_deleted && self.rng.chance(150) {
            let file = self.bags.letter();
            let bytes = b"an older attachment".to_vec();
            self.disk.write_number("ATT", file, &bytes)?;
            let name = b"OLDER.TXT".to_vec();
            letter.attachments.push(Attachment { file, name, bytes, lost: false });
        }
        let bytes = mai(&letter);
        let record = self.record(&letter, bytes.len());
        for bag in bags {
            let (gone, unread) = (some_deleted && self.rng.chance(200), self.rng.chance(300));
            let name = if gone { self.bags.letter() } else { 0 };
            let bag = self.bags.bag(&number_name(*bag));
            if gone {
                // One that was read and deleted before: its MAI isn't there any more.
                let mut before = record;
                put(&mut before, 67, &hex_name(name));
                bag.push_deleted(&before);
            }
            bag.push(&record);
            bag.unread = bag.unread.saturating_add(u16::from(unread));
        }
        self.disk.write_number("MAI", letter.file, &bytes)?;
        Ok(letter.file)
    }

    /// What waits in an outbound bag: with a P1, whose recipient names the bag.
    fn waiting(&mut self, bag: u32) -> Result<(), GenError> {
        for _ in 0..self.rng.below(3) {
            let letter = self.letter();
            let to = self.site.path(b"ELSEWHERE");
            let mut plan = Plan::bare(blank(0));
            plan.envelope.arrival = super::whole(self.world.options.now - MINUTE);
            plan.envelope.reverse = Reverse::Path(self.site.path(b"ADMIN"));
            let envelope = p1(&plan, letter.file, Some((bag, &Recipient::good(to))));
            let bytes = mai(&letter);
            let record = self.record(&letter, bytes.len());
            self.bags.bag(&number_name(bag)).push(&record);
            self.disk.write_number("MAI", letter.file, &bytes)?;
            self.disk.write_number("P1", letter.file, &envelope)?;
        }
        Ok(())
    }

    /// Mail to `$SYSTEM`, and in some post offices mail of version 2.x in INQUEUE.
    fn system(&mut self) -> Result<(), GenError> {
        let names: &[&str] =
            if self.site.at % 4 == 1 { &["SYSTEM", "INQUEUE"] } else { &["SYSTEM"] };
        for name in names {
            let letter = self.letter();
            let bytes = mai(&letter);
            let record = self.record(&letter, bytes.len());
            self.bags.bag(name).push(&record);
            self.disk.write_number("MAI", letter.file, &bytes)?;
            if *name == "INQUEUE" {
                let mut plan = Plan::bare(blank(0));
                plan.envelope.arrival = super::whole(self.world.options.now - MINUTE);
                plan.envelope.reverse = Reverse::Path(self.site.path(b"ADMIN"));
                plan.envelope.recipients = vec![Recipient::good(self.site.path(b"$SYSTEM"))];
                self.disk.write_number("P1", letter.file, &p1(&plan, letter.file, None))?;
            }
        }
        Ok(())
    }
}
