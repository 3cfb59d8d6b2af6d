//! What becomes of each message, record and envelope of a post office, before anything is written.
//!
//! Not here: files that aren't mail, and writing. Invariants: nothing is lost: what isn't kept goes
//! to quarantine; a record that is kept has a MAI in the new one, and one of incoming mail a P1.

use crate::check::survey::{GoodMai, Survey};
use crate::limits;
use crate::queue::postoffice::bag::{HexName, RECORD_BYTES, Record, SLOTS_MAX, is_inbound};
use crate::queue::postoffice::p1::P1;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Why, in the ledger.
pub(super) mod why {
    pub(in super::super) const NO_NAME: &str = "the record names no MAI";
    pub(in super::super) const TWICE: &str = "another live record of the bag has the same MAI";
    pub(in super::super) const NOTHING: &str =
        "neither its MAI nor its P1 can be read: nobody to deliver to, and nothing";
    pub(in super::super) const NOBODY: &str = "no P1, and its MAI names no recipients";
    pub(in super::super) const NO_ROOM: &str = "all slots that KEY has bits for are live";
    pub(in super::super) const LOST_P1: &str = "the P1 was missing or damaged: made from the MAI's \
         To and Cc; some of them may have it already, and what Bcc named is lost";
    pub(in super::super) const LOST_RECORD: &str = "no live record pointed to the MAI: queued \
         again for whom its P1 or its To and Cc name; some of them may have it already";
    pub(in super::super) const FOREIGN_P1: &str = "it names a MAI that has a P1 of its own";
    pub(in super::super) const BAD_P1: &str = "its elements are damaged";
    pub(in super::super) const ORPHAN_P1: &str = "no live record points to it";
    pub(in super::super) const DONE_P1: &str = "all of its recipients are done";
    pub(in super::super) const REWRITTEN_P1: &str = "its recipients wait in INQUEUE3 again";
    pub(in super::super) const UNREFERENCED: &str =
        "no live record points to it, and its counter says so";
}

/// What becomes of a MAI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MaiFate {
    Keep,
    Stub,
    Quarantine(&'static str),
    None,
}

/// What becomes of a P1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum P1Fate {
    /// It is kept; under another name or with another name in it where these differ.
    Keep,
    /// It is kept for a new record: what waited elsewhere waits in INQUEUE3.
    Again,
    /// One is made.
    Make(&'static str),
    Quarantine(&'static str),
    None,
}

/// What becomes of a message.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) mai: MaiFate,
    pub(super) p1: P1Fate,
    /// Index of the file that is its P1, and whether that has to be told its name.
    pub(super) p1_file: Option<(usize, bool)>,
    /// Live records that stay: bag and slot.
    pub(super) records: Vec<(String, u32)>,
    /// It gets a new record in INQUEUE3.
    pub(super) is_queued_again: bool,
}

impl Letter {
    /// How many records point to it in the new one.
    pub(super) fn references(&self) -> u16 {
        let all = self.records.len() + usize::from(self.is_queued_again);
        u16::try_from(all).unwrap_or(u16::MAX)
    }

    fn give_up(&mut self, why: &'static str) {
        if self.mai != MaiFate::None {
            self.mai = MaiFate::Quarantine(why);
        }
        self.p1 = if self.p1_file.is_some() { P1Fate::Quarantine(why) } else { P1Fate::None };
    }
}

/// The plan.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) letters: BTreeMap<HexName, Letter>,
    /// Live records that go to quarantine.
    pub(super) dropped: BTreeMap<(String, u32), &'static str>,
    /// Files of P1 that belong to no message.
    pub(super) stray_p1s: BTreeMap<usize, &'static str>,
    /// Where the records of slots without a bit go: by bag, old slot and new one.
    pub(super) moved: BTreeMap<String, Vec<(u32, u32)>>,
    /// Slots of INQUEUE3 that new records get.
    pub(super) queued: Vec<(HexName, u32)>,
}

impl Plan {
    /// Makes the plan.
    pub(super) fn of(survey: &Survey) -> Self {
        let mut plan = Self::default();
        plan.records(survey);
        plan.envelopes(survey);
        let names: Vec<HexName> = plan.letters.keys().copied().collect();
        for name in names {
            plan.letter(survey, name);
        }
        plan.places(survey);
        plan
    }

    fn entry(&mut self, name: HexName) -> &mut Letter {
        self.letters.entry(name).or_insert_with(|| Letter {
            mai: MaiFate::None,
            p1: P1Fate::None,
            p1_file: None,
            records: Vec::new(),
            is_queued_again: false,
        })
    }

    /// Live records, by the messages that they name.
    fn records(&mut self, survey: &Survey) {
        for name in survey.mais.keys() {
            self.entry(*name);
        }
        for (bag_name, bag) in &survey.bags {
            let mut seen = HashSet::new();
            for slot in &bag.live {
                let place = (bag_name.clone(), *slot);
                match bag.record(*slot).and_then(|record| Record::new(record).mai()) {
                    None => _ = self.dropped.insert(place, why::NO_NAME),
                    Some(mai) if !seen.insert(mai) => _ = self.dropped.insert(place, why::TWICE),
                    Some(mai) => self.entry(mai).records.push(place),
                }
            }
        }
    }

    /// Which P1 is whose: what stands in it counts, where what it names has none of its own.
    fn envelopes(&mut self, survey: &Survey) {
        let mut others = Vec::new();
        for (name, p1) in &survey.p1s {
            match p1.read {
                Ok(Some(mai)) if mai != *name => others.push((*name, mai, p1.file)),
                Ok(_) => self.give(*name, p1.file, false),
                Err(_) => _ = self.stray_p1s.insert(p1.file, why::BAD_P1),
            }
        }
        let is_free = |plan: &Self, name: &HexName| {
            plan.letters.get(name).is_some_and(|letter| letter.p1_file.is_none())
        };
        let mut left = Vec::new();
        for (own, named, file) in others {
            if is_free(self, &named) {
                self.give(named, file, false);
            } else {
                left.push((own, named, file));
            }
        }
        for (own, named, file) in left {
            // What it names isn't there: then its own name is right, and that within is damaged.
            if !self.letters.contains_key(&named) && is_free(self, &own) {
                self.give(own, file, true);
            } else {
                self.stray_p1s.insert(file, why::FOREIGN_P1);
            }
        }
    }

    fn give(&mut self, name: HexName, file: usize, is_renamed: bool) {
        match self.letters.get_mut(&name) {
            Some(letter) => letter.p1_file = Some((file, is_renamed)),
            None => _ = self.stray_p1s.insert(file, why::ORPHAN_P1),
        }
    }

    fn letter(&mut self, survey: &Survey, name: HexName) {
        let Some(mut letter) = self.letters.remove(&name) else { return };
        let good = survey.mais.get(&name).map(|mai| mai.read.as_ref());
        letter.p1 = if letter.p1_file.is_some() { P1Fate::Keep } else { P1Fate::None };
        match good {
            Some(Ok(good)) if letter.records.is_empty() => orphan(survey, &mut letter, good),
            Some(Ok(good)) => {
                letter.mai = MaiFate::Keep;
                let comes_in = letter.records.iter().any(|(bag, _)| is_inbound(bag));
                if letter.p1_file.is_none() && comes_in && good.has_recipients {
                    letter.p1 = P1Fate::Make(why::LOST_P1);
                } else if letter.p1_file.is_none() && comes_in {
                    self.drop_inbound(&mut letter, why::NOBODY);
                }
            }
            Some(Err(_)) if letter.records.is_empty() && waits(survey, &letter) => {
                (letter.mai, letter.p1) = (MaiFate::Stub, P1Fate::Again);
                letter.is_queued_again = true;
            }
            bad => {
                letter.mai = if bad.is_some() { MaiFate::Stub } else { MaiFate::None };
                if letter.p1_file.is_none() {
                    self.drop_inbound(&mut letter, why::NOTHING);
                }
                if letter.records.is_empty() {
                    letter.give_up(why::NOTHING);
                } else {
                    letter.mai = MaiFate::Stub;
                }
            }
        }
        if letter.records.is_empty() && !letter.is_queued_again && letter.mai == MaiFate::Keep {
            letter.give_up(why::NOBODY);
        }
        self.letters.insert(name, letter);
    }

    fn drop_inbound(&mut self, letter: &mut Letter, why: &'static str) {
        let (inbound, others) =
            std::mem::take(&mut letter.records).into_iter().partition(|(bag, _)| is_inbound(bag));
        letter.records = others;
        let inbound: Vec<(String, u32)> = inbound;
        self.dropped.extend(inbound.into_iter().map(|place| (place, why)));
    }

    /// Finds slots for records that have no bit, and for new ones.
    fn places(&mut self, survey: &Survey) {
        for (name, bag) in &survey.bags {
            let mut vacant = self.vacant(survey, name);
            for slot in bag.live.iter().filter(|slot| **slot >= SLOTS_MAX) {
                let place = (name.clone(), *slot);
                if self.dropped.contains_key(&place) {
                    continue;
                }
                if let Some(to) = vacant.pop_first() {
                    self.moved.entry(name.clone()).or_default().push((*slot, to));
                } else {
                    self.drop_homeless(survey, place);
                }
            }
        }
        let moved = self.moved.get("INQUEUE3").into_iter().flatten().map(|(_, to)| *to);
        let moved: BTreeSet<u32> = moved.collect();
        let mut vacant = self.vacant(survey, "INQUEUE3");
        vacant.retain(|slot| !moved.contains(slot));
        for (name, letter) in &mut self.letters {
            if !letter.is_queued_again {
                continue;
            }
            if let Some(slot) = vacant.pop_first() {
                self.queued.push((*name, slot));
            } else {
                letter.is_queued_again = false;
                letter.give_up(why::NO_ROOM);
            }
        }
    }

    fn drop_homeless(&mut self, survey: &Survey, place: (String, u32)) {
        let record = survey.bags.get(&place.0).and_then(|bag| bag.record(place.1));
        let mai = record.and_then(|record| Record::new(record).mai());
        if let Some(letter) = mai.and_then(|mai| self.letters.get_mut(&mai)) {
            letter.records.retain(|kept| *kept != place);
            if letter.records.is_empty() {
                letter.give_up(why::NO_ROOM);
            }
        }
        self.dropped.insert(place, why::NO_ROOM);
    }

    /// Slots that a record may be put into: those behind the last one first, so that the order
    /// stays, then those that are deleted.
    fn vacant(&self, survey: &Survey, bag_name: &str) -> Vacant {
        let Some(bag) = survey.bags.get(bag_name) else {
            return Vacant { behind: (0..SLOTS_MAX).collect(), within: BTreeSet::new() };
        };
        let len = u32::try_from(bag.mbg.len() / RECORD_BYTES);
        let len = len.unwrap_or(u32::MAX).min(SLOTS_MAX);
        let live: HashSet<u32> = bag.live.iter().copied().collect();
        let is_vacant = |slot: &u32| {
            !live.contains(slot) || self.dropped.contains_key(&(bag_name.to_owned(), *slot))
        };
        Vacant { behind: (len..SLOTS_MAX).collect(), within: (0..len).filter(is_vacant).collect() }
    }
}

struct Vacant {
    behind: BTreeSet<u32>,
    within: BTreeSet<u32>,
}

impl Vacant {
    fn pop_first(&mut self) -> Option<u32> {
        self.behind.pop_first().or_else(|| self.within.pop_first())
    }

    fn retain(&mut self, mut keep: impl FnMut(&u32) -> bool) {
        self.behind.retain(&mut keep);
        self.within.retain(&mut keep);
    }
}

/// True where its P1 has a recipient that isn't done.
fn waits(survey: &Survey, letter: &Letter) -> bool {
    letter.p1_file.is_some_and(|(file, _)| {
        let bytes = survey.read(file, limits::P1_BYTES_MAX).ok().flatten();
        let p1 = bytes.as_deref().map(P1::read);
        matches!(p1, Some(Ok(p1)) if p1.recipients.iter().any(|recipient| !recipient.done))
    })
}

/// A MAI that can be read and that no live record points to.
fn orphan(survey: &Survey, letter: &mut Letter, good: &GoodMai) {
    letter.mai = MaiFate::Keep;
    if good.counter == 0 {
        letter.give_up(why::UNREFERENCED);
        return;
    }
    if waits(survey, letter) {
        letter.p1 = P1Fate::Again;
    } else if good.has_recipients {
        letter.p1 = P1Fate::Make(why::LOST_RECORD);
    } else {
        letter.give_up(why::NOBODY);
        return;
    }
    letter.is_queued_again = true;
}
