//! What is to be done to one post office, from its files as they are and the orders for its slots.
//!
//! Nothing is changed here, but for the next name in CONTROL.GLB: names of reports are taken before
//! anything says that they are used. Invariants: a reference is counted before its record is there,
//! and uncounted after it is gone; a P1 names everyone who is still to be served.

use super::DrainError;
use super::orders::{Order, Orders, Report, Told};
use super::report::{self, Failed};
use crate::directory::{Directory, Standing};
use crate::limits;
use crate::mail::address::Mailbox;
use crate::mail::date::Time;
use crate::mail::msmail::{self, Kind};
use crate::queue::open;
use crate::queue::postoffice::bag::{
    HexName, Key, NAMES_END, NewRecord, Record, SLOTS_MAX, hex_name, hex_name_of, records,
};
use crate::queue::postoffice::list::Slot;
use crate::queue::postoffice::mai::{self, Mai};
use crate::queue::postoffice::office::{self, Folder, Office, file_name};
use crate::queue::postoffice::p1::{P1, P1Recipient};
use crate::queue::postoffice::tables::Tables;
use crate::spool::drain::{Counter, NewFile, OfficeId, Put, TakeOut, Taken, Work};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Where CONTROL.GLB has the next of them.
const NEXT_NAME_AT: usize = 4;
/// The longest report that a MAI takes as its text: a MAI has less than 16 MiB.
const REPORT_BYTES_MAX: usize = 15 << 20;

/// A post office that is drained.
#[derive(Debug)]
pub(super) struct Site<'p> {
    pub(super) id: OfficeId,
    pub(super) root: PathBuf,
    /// Name of the bag that is drained, as the plan has it, and in short.
    pub(super) bag_name: &'p str,
    pub(super) bag: String,
    pub(super) slots: &'p [Slot],
    pub(super) tables: &'p Tables,
    pub(super) now: Time,
}

impl Site<'_> {
    pub(super) fn failed(&self) -> impl Fn(io::Error) -> DrainError + Copy {
        |source| DrainError::Office { path: self.root.clone(), source }
    }

    /// What the names of a slot's message begin with, as its events have them.
    pub(super) fn queue_id(&self, slot: u32) -> String {
        let separator = if self.id.path.is_empty() { "" } else { "/" };
        format!("{}{separator}{}/{slot}", self.id.path, self.bag)
    }

    /// Its files.
    pub(super) fn office(&self) -> Office {
        Office::at(&self.root)
    }

    /// Says what is to be done, and how many reports no bag leads to: they stay in their stream.
    ///
    /// # Errors
    /// A file of the post office can't be read, or its KEY is none.
    pub(super) fn plan(&self, orders: &mut Orders) -> Result<(Work, u64), DrainError> {
        let failed = self.failed();
        let office = self.office();
        let mut mbg = Vec::new();
        let name = format!("{}.MBG", self.bag);
        office.read(Folder::Mbg, &name, u64::MAX - 1, &mut mbg).map_err(failed)?;
        let (all, rest) = records(&mbg);
        let key = self.key(&office, all.len()).map_err(failed)?;
        let directory = Directory::of_office(self.tables);
        let names = Names::open(&office);
        let mut plan = Planning {
            site: self,
            office: &office,
            directory: &directory,
            names,
            work: Work {
                office: self.id.clone(),
                files: Vec::new(),
                counters: Vec::new(),
                puts: Vec::new(),
                out: TakeOut::default(),
            },
            reports_left: 0,
        };
        for slot in self.slots {
            let Some(record) = all.get(slot.slot as usize) else {
                let is_planned = crc32c::crc32c(rest) == slot.checksum;
                let taken = Taken { slot: slot.slot, checksum: slot.checksum };
                let is_rest = all.len() == slot.slot as usize && !rest.is_empty() && is_planned;
                plan.work.out.rest = is_rest.then_some(taken).or(plan.work.out.rest);
                continue;
            };
            // What isn't as it was planned, or is deleted by now, is another program's doing: not
            // ours to touch, and not to be delivered a second time.
            if crc32c::crc32c(record) == slot.checksum && !key.is_deleted(slot.slot) {
                let key = (self.bag_name.as_bytes().into(), slot.slot);
                let order = orders.remove(&key).unwrap_or_default();
                plan.slot(*slot, Record::new(record), &order).map_err(failed)?;
            }
        }
        plan.names.close().map_err(failed)?;
        Ok((plan.work, plan.reports_left))
    }
}

impl Site<'_> {
    /// The KEY of the bag that is drained, without which no slot can be taken out.
    fn key(&self, office: &Office, records: usize) -> io::Result<Key> {
        if self.slots.is_empty() {
            return Ok(Key::empty());
        }
        let is_record = |slot: &Slot| (slot.slot as usize) < records;
        if self.slots.iter().any(|slot| slot.slot >= SLOTS_MAX && is_record(slot)) {
            let what = "slots from 4096 on have no bit to delete them by: salvage the queue";
            return Err(io::Error::other(what));
        }
        let mut key = Vec::new();
        let name = format!("{}.KEY", self.bag);
        office.read(Folder::Key, &name, limits::KEY_BYTES_MAX, &mut key)?;
        let what = "its KEY is missing or shorter than 560 bytes: salvage the queue";
        Key::read(&key).ok_or_else(|| io::Error::other(format!("{}: {what}", self.bag)))
    }
}

struct Planning<'s> {
    site: &'s Site<'s>,
    office: &'s Office,
    directory: &'s Directory,
    names: Names<'s>,
    work: Work,
    reports_left: u64,
}

impl Planning<'_> {
    fn slot(&mut self, slot: Slot, record: Record<'_>, order: &Order) -> io::Result<()> {
        if order.held.is_none() {
            let taken = Taken { slot: slot.slot, checksum: slot.checksum };
            self.work.out.slots.push(taken);
        }
        let Some(name) = record.mai() else { return Ok(()) };
        let (mut p1_bytes, mut mai_bytes) = (Vec::new(), Vec::new());
        let p1_found = self.read(Folder::P1, name, limits::P1_BYTES_MAX, &mut p1_bytes)?;
        let mai_found = self.read(Folder::Mai, name, limits::MAI_BYTES_MAX, &mut mai_bytes)?;
        let p1 = P1::read(&p1_bytes).unwrap_or_default();
        let mai = Mai::read(&mai_bytes).ok();
        let bags = self.put(slot.slot, record, order);
        if let Some(mai) = &mai {
            self.count(name, mai, bags, order.held.is_some());
        } else if mai_found == office::Found::Whole && order.set_aside {
            // One that others point to is theirs, too.
            if mai::counter(&mai_bytes).is_none_or(|counter| counter < 2) {
                self.work.out.mai.push(text(name));
            }
        }
        self.envelope(name, (&p1, p1_found), order);
        let failed = Failed {
            from: p1.from.or(mai.as_ref().and_then(|mai| mai.from)).unwrap_or_default(),
            mai: mai.as_ref(),
            subject: record.subject(),
            date: record.date(),
            hops: &p1.hops,
        };
        for report in &order.reports {
            self.report(slot.slot, &failed, report);
        }
        Ok(())
    }

    fn read(
        &self,
        folder: Folder,
        name: HexName,
        bytes_max: u64,
        out: &mut Vec<u8>,
    ) -> io::Result<office::Found> {
        self.office.read(folder, &file_name(folder, name), bytes_max, out)
    }

    /// One record a bag, however many recipients it is for: the record of the slot, as it is. Gives
    /// the count of bags.
    fn put(&mut self, slot: u32, record: Record<'_>, order: &Order) -> u16 {
        let mut bags: Vec<&str> = order.accepted.iter().filter_map(bag_of).collect();
        bags.sort_unstable();
        bags.dedup();
        for bag in &bags {
            let record = record.bytes().to_vec();
            let bag = (*bag).to_owned();
            self.work.puts.push(Put { bag, slot, is_report: false, record });
        }
        u16::try_from(bags.len()).unwrap_or(u16::MAX)
    }

    fn count(&mut self, name: HexName, mai: &Mai<'_>, bags: u16, is_held: bool) {
        // What is beside a text that is a whole message is in no content: it stays.
        let files = mai.attachments.iter().filter(|_| !mai.is_message);
        let att: Vec<String> = files.filter_map(|file| hex_name(file.att).map(text)).collect();
        // One that nothing counted, though a slot points to it, is one at least.
        let before = mai.counter.max(1);
        let between = before.saturating_add(bags);
        let after = if is_held { between } else { between - 1 };
        let counter = |from, to| Counter { mai: text(name), from, to, att: att.clone() };
        if between != mai.counter {
            self.work.counters.push(counter(mai.counter, between));
        }
        if after != between {
            self.work.out.counters.push(counter(between, after));
        }
    }

    /// P1 while records are put in: with those who leave by outbound bags. Then: with them and
    /// those who stay; or gone.
    fn envelope(&mut self, name: HexName, (p1, found): (&P1<'_>, office::Found), order: &Order) {
        // One that is too long was not kept either.
        if found != office::Found::Whole {
            return;
        }
        let addresses = |told: &[&Told]| -> Vec<Vec<u8>> {
            told.iter().map(|told| address_of(&told.path)).collect()
        };
        let leaving: Vec<&Told> = order
            .accepted
            .iter()
            .filter(|told| told.is_relayed && bag_of(told).is_some())
            .collect();
        let staying: Vec<&Told> = order.held.iter().flat_map(|held| &held.recipients).collect();
        let (leaving_at, staying_at) = (addresses(&leaving), addresses(&staying));
        let queued: Vec<&P1Recipient<'_>> =
            p1.recipients.iter().filter(|recipient| recipient.bag.is_none()).collect();
        let like = |told: &Told| {
            told.ordinal
                .and_then(|at| queued.get(at as usize))
                .copied()
                .copied()
                .unwrap_or_default()
        };
        let mut outbound: Vec<P1Recipient<'_>> =
            p1.recipients.iter().filter(|recipient| recipient.bag.is_some()).copied().collect();
        outbound.extend(leaving.iter().zip(&leaving_at).map(|(told, address)| {
            let bag = bag_of(told).map(str::as_bytes);
            P1Recipient { address, bag, done: false, ..like(told) }
        }));
        let file = |p1: &P1<'_>| {
            let mut bytes = Vec::new();
            p1.write(&mut bytes);
            NewFile { folder: Folder::P1.name().to_owned(), name: text(name), bytes }
        };
        if !leaving.is_empty() {
            let pending = queued.iter().copied().copied();
            let recipients = pending.chain(outbound.iter().copied()).collect();
            self.work.files.push(file(&P1 { recipients, ..p1.clone() }));
        }
        let held = staying.iter().zip(&staying_at).map(|(told, address)| P1Recipient {
            address,
            done: false,
            ..like(told)
        });
        let mut rest = P1 { recipients: held.chain(outbound).collect(), ..p1.clone() };
        let own: &[u8] = &self.site.tables.own_name;
        if let Some(held) = &order.held {
            rest.attempts = held.attempts;
            (rest.next_attempt, rest.expiry) = (held.next_attempt, held.expiry);
        } else if !rest.hops.iter().any(|hop| hop.eq_ignore_ascii_case(own)) {
            // It leaves: should it come back, it has been here. While some of it stays this can't
            // be said, as they share the file.
            rest.hops.push(own);
        }
        if rest.recipients.is_empty() {
            self.work.out.p1.push(text(name));
        } else {
            self.work.out.files.push(file(&rest));
        }
    }

    /// Puts a report on its way: as the original wrote it into a mailbag, as RFC 3464 has it
    /// towards the Internet.
    fn report(&mut self, slot: u32, failed: &Failed<'_>, report: &Report) {
        let Some((bag, is_outbound)) = self.way_to(&report.to) else {
            self.reports_left += 1;
            return;
        };
        let Some(name) = self.names.next() else {
            // No name is left: reports wait in their stream, and all mail goes on.
            self.reports_left += 1;
            return;
        };
        let to = address_of(&report.to);
        let from = [&self.site.tables.own_name[..], b"/POSTMASTER"].concat();
        let is_internet = Mailbox::parse(&report.to).is_ok_and(|to| Kind::of(to).is_none());
        let is_message = is_internet && report.content.len() <= REPORT_BYTES_MAX;
        let text_of_it;
        let content: &[u8] = if is_message {
            &report.content
        } else {
            text_of_it = report::text(failed, &report.reported);
            &text_of_it
        };
        let subject: &[u8] = b"Mail failure";
        let mai = Mai {
            counter: 1,
            hop_limit: Some(mai::HOPS_USUAL),
            is_message,
            from: Some(&from),
            to: vec![&to],
            posted: Some(self.site.now),
            subject: Some(subject),
            text: vec![content],
            ..Mai::default()
        };
        let mut bytes = Vec::new();
        mai.write(&mut bytes);
        let date = self.site.now;
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let record = NewRecord { sender: b"POSTMASTER", subject, date, mai: name, size }.bytes();
        if is_outbound {
            let recipient =
                P1Recipient { address: &to, bag: Some(bag.as_bytes()), ..P1Recipient::default() };
            let arrival = Some(self.site.now);
            let from = if is_message { b"" } else { &from[..] };
            let recipients = vec![recipient];
            let p1 = P1 { mai: &name, arrival, from: Some(from), recipients, ..P1::default() };
            let mut bytes = Vec::new();
            p1.write(&mut bytes);
            self.file(Folder::P1, name, bytes);
        }
        self.file(Folder::Mai, name, bytes);
        let record = record.to_vec();
        self.work.puts.push(Put { bag, slot, is_report: true, record });
    }

    fn file(&mut self, folder: Folder, name: HexName, bytes: Vec<u8>) {
        let folder = folder.name().to_owned();
        self.work.files.push(NewFile { folder, name: text(name), bytes });
    }

    /// The bag that leads to a path, and whether it is an outbound one.
    fn way_to(&self, path: &[u8]) -> Option<(String, bool)> {
        let mailboxes = &self.site.tables.mailboxes;
        let own = mailboxes.iter().find(|(own, _)| own.as_bytes().eq_ignore_ascii_case(path));
        if let Some((_, route)) = own {
            return Some((route.strip_prefix("mailbag:")?.to_owned(), false));
        }
        match self.directory.look_up(Mailbox::parse(path).ok()?) {
            Standing::Relay(route) => {
                let bag = str::from_utf8(route).ok()?.strip_prefix("mailbag:")?;
                Some((bag.to_owned(), true))
            }
            Standing::Alias([target]) if target.as_ref() != path => self.way_to(target),
            _ => None,
        }
    }
}

/// Names of new files, from CONTROL.GLB.
struct Names<'o> {
    office: &'o Office,
    control: Option<std::fs::File>,
    first: u32,
    next: u32,
}

impl<'o> Names<'o> {
    fn open(office: &'o Office) -> Self {
        let path = office.path(Folder::Glb, "CONTROL.GLB");
        let control = open::to_change(&path, false).ok();
        let mut octets = [0; 4];
        let is_read =
            |file: &std::fs::File| file.read_exact_at(&mut octets, NEXT_NAME_AT as u64).is_ok();
        let control = control.filter(is_read);
        let next = u32::from_le_bytes(octets).min(NAMES_END);
        Self { office, control, first: next, next }
    }

    /// The next name that no file has; none where all are used up.
    fn next(&mut self) -> Option<HexName> {
        while self.next < NAMES_END {
            let name = hex_name_of(self.next);
            self.next += 1;
            let is_taken = |folder| self.office.named(folder, name).symlink_metadata().is_ok();
            if ![Folder::Mai, Folder::P1, Folder::Att].into_iter().any(is_taken) {
                return Some(name);
            }
        }
        None
    }

    /// Takes the names: CONTROL.GLB has the next behind them.
    fn close(&self) -> io::Result<()> {
        if self.next == self.first { Ok(()) } else { self.write() }
    }

    fn write(&self) -> io::Result<()> {
        let next = self.next.to_le_bytes();
        let write = |file: &std::fs::File| file.write_all_at(&next, NEXT_NAME_AT as u64);
        self.control.as_ref().map_or(Ok(()), write)
    }
}

/// Takes names of files that the log has: after a crash CONTROL.GLB may not know of them, or the
/// disk may not have taken it.
pub(super) fn take_names(office: &Office, files: &[NewFile]) -> io::Result<()> {
    let made = files.iter().filter(|file| file.folder == Folder::Mai.name());
    let last = made.filter_map(|file| u32::from_str_radix(&file.name, 16).ok()).max();
    let Some(last) = last else { return Ok(()) };
    let mut names = Names::open(office);
    names.next = names.next.max(last + 1);
    names.write()
}

fn bag_of(told: &Told) -> Option<&str> {
    told.route.strip_prefix("mailbag:")
}

fn address_of(path: &[u8]) -> Vec<u8> {
    let mut address = Vec::new();
    msmail::to_address(path, &mut address);
    address
}

fn text(name: HexName) -> String {
    String::from_utf8_lossy(&name).into_owned()
}
