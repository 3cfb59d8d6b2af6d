//! Making one post office: its configuration, older mail, and INQUEUE3 with the manifest's lines.
//!
//! What it deliberately does not do: outcomes (see `expect`) and hazards (see `scenario`); here are
//! the files that carry them.
//!
//! Invariants: slots are in the order of the messages, with deleted ones between them; INQUEUE3 has
//! at most 4096.

use std::path::Path;

use super::bag::{RECORD, Record, SLOTS, record, record_date};
use super::content::content;
use super::disk::Disk;
use super::glb::{self, file_number, hex_name};
use super::letter::{Address, Attachment, Letter, Posted, damage_mai, damage_p1, mai, p1};
use super::older::{Bags, Older, number_name};
use super::site::{Site, Way};
use super::{Attached, Flaw, HOP_LIMIT, lifetime, people};
use crate::block::injected;
use crate::bytes::{narrow, num, put, short, wide};
use crate::directory::Directory;
use crate::envelope::{Recipient, Reverse};
use crate::expect::{Facts, decide};
use crate::options::Format;
use crate::plan::{Plan, Shape};
use crate::rng::Rng;
use crate::text::{Charset, words};
use crate::time::SECOND;
use crate::{GenError, Report, World, hazards, manifest, scenario};

/// A post office that was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// Its lines of the manifest.
    pub(crate) lines: Vec<u8>,
    /// Its lines of the directory file.
    pub(crate) directory: Vec<u8>,
    pub(crate) report: Report,
}

/// The directory file's first lines: what belongs to no post office.
pub(crate) fn directory_head(world: &World) -> Vec<u8> {
    let mut out = Directory::default();
    let note: [&[u8]; 2] = [b"# What the post offices don't know:", b"see docs/directory.md"];
    out.line(&note);
    let mut rng = Rng::new(world.options.seed, u64::MAX - 300);
    people::outside(&mut out, &mut rng);
    out.text
}

/// Makes post office `at` below the folder `queue`.
pub(crate) fn make(world: &World, at: u64, queue: &Path) -> Result<Made, GenError> {
    let options = &world.options;
    let site = Site::new(world, at);
    let directory = site.directory(world);
    let mut rng = Rng::new(options.seed ^ 0x504F_5354, at);
    let mut disk = Disk::new(&queue.join(&site.folder), site.small)?;
    let mut bags = Bags::new(&site, &mut rng);
    let mut older =
        Older { world, site: &site, bags: &mut bags, disk: &mut disk, rng: rng.clone() };
    let names = older.make()?;
    let bound = |at: u64| {
        let share = u128::from(at) * u128::from(options.messages);
        u64::try_from(share / u128::from(options.post_offices.max(1))).unwrap_or(u64::MAX)
    };
    let (from, to) = (bound(at), bound(at + 1));
    let mut file = disk.cased("MBG/INQUEUE3.MBG");
    if !site.folder.is_empty() {
        file = format!("{}/{file}", site.folder);
    }
    let mut queue = Queue {
        world,
        site: &site,
        directory: &directory,
        bags: &mut bags,
        disk: &mut disk,
        names,
        rng,
        file: file.into_bytes(),
        spare: SLOTS.saturating_sub(narrow(to - from)),
        lines: Vec::new(),
        report: Report::default(),
    };
    for index in from..to {
        queue.deleted();
        queue.message(index)?;
    }
    let (lines, mut report) = (queue.lines, queue.report);
    bags.bag("INQUEUE3").all_new();
    for (name, bag) in &bags.all {
        disk.write(&format!("MBG/{name}.MBG"), &bag.mbg)?;
        disk.write(&format!("KEY/{name}.KEY"), &bag.key())?;
    }
    configure(&mut disk, &site, &bags)?;
    report.bytes = disk.bytes;
    Ok(Made { lines, directory: directory.text, report })
}

/// Writes GLB, XTN, USR, MEM, GRP and NME.
fn configure(disk: &mut Disk, site: &Site, bags: &Bags) -> Result<(), GenError> {
    let people = &site.mailboxes;
    disk.write("GLB/CONTROL.GLB", &glb::control(site.next_bag, bags.next_letter))?;
    disk.write("GLB/MASTER.GLB", &glb::master(site))?;
    for (name, length) in [("ACCESS", 586), ("ACCESS2", 69), ("ACCESS3", 512)] {
        disk.write(&format!("GLB/{name}.GLB"), &glb::access(people, length))?;
    }
    disk.write("GLB/GROUP.GLB", &glb::group(&site.groups))?;
    disk.write("GLB/NETWORK.GLB", &glb::network(&site.networks))?;
    let blank = [
        ("GRPMEM", glb::blank(4, 128, 0)),
        ("NETPO", glb::blank(4, 43, 2)),
        ("TID", glb::blank(4, 0, 0)),
        ("GLOBAL", glb::blank(512, 0, 0)),
        ("REQCONF", glb::blank(512, 0, 0)),
        ("PROCESS", glb::blank(512, 197, 1)),
        ("FLAG", glb::blank(2, 0, 0)),
    ];
    for (name, bytes) in &blank {
        disk.write(&format!("GLB/{name}.GLB"), bytes)?;
    }
    disk.write("GRP/ADMIN.GRP", &glb::blank(0, 8, 1))?;
    disk.write("NME/ADMIN.NME", &glb::blank(0, 45, people.len()))?;
    for (at, group) in site.groups.iter().enumerate() {
        if let Some(members) = &group.members {
            disk.write_number("MEM", file_number(at), &glb::members(members))?;
        }
    }
    for (at, network) in site.networks.iter().enumerate() {
        if let Way::Network(list) = &network.way {
            disk.write_number("XTN", file_number(at), &glb::external(list))?;
            for one in list {
                disk.write_number("USR", one.bag, &glb::blank(0, 53, 2))?;
            }
        }
    }
    Ok(())
}

/// INQUEUE3 as it is filled.
struct Queue<'a> {
    world: &'a World,
    site: &'a Site,
    directory: &'a Directory,
    bags: &'a mut Bags,
    disk: &'a mut Disk,
    /// Names of MAI of older mail.
    names: Vec<u32>,
    rng: Rng,
    /// The path of the MBG within the queue.
    file: Vec<u8>,
    /// Slots that may be deleted ones.
    spare: usize,
    lines: Vec<u8>,
    report: Report,
}

impl Queue<'_> {
    /// Deleted slots, in some cases: of mail that was delivered, or that never was any.
    fn deleted(&mut self) {
        while self.spare > 0 && self.rng.chance(120) {
            self.spare -= 1;
            let mut old = Record {
                sender: b"FORMER".to_vec(),
                subject: b"delivered and deleted".to_vec(),
                date: record_date(self.world.options.now - SECOND),
                ..Record::default()
            };
            old.mai = match self.rng.below(4) {
                0 if !self.names.is_empty() => {
                    let place = self.rng.place(self.names.len());
                    hex_name(self.names.get(place).copied().unwrap_or(0))
                }
                1 => b"..\\..\\..".to_vec(),
                _ => hex_name(self.bags.letter()),
            };
            let bytes = if self.rng.chance(100) { [0; RECORD] } else { record(&old) };
            self.bags.bag("INQUEUE3").push_deleted(&bytes);
        }
    }

    fn message(&mut self, index: u64) -> Result<(), GenError> {
        let (plan, rng) = scenario::plan_in(self.world, self.directory, index);
        let letter = self.letter(&plan, rng);
        let flaw = plan.sheet.flaw;
        let mut body = mai(&letter);
        let record = self.record(&plan, &letter, body.len());
        let slot = self.bags.bag("INQUEUE3").slots();
        self.bags.bag("INQUEUE3").push(&record);
        let mut waits = None;
        if plan.sheet.waiting
            && let Some(bag) = self.site.outbound().first().copied()
        {
            self.bags.bag(&number_name(bag)).push(&record);
            let path = self.directory.office.as_ref().and_then(|one| one.neighbours.first());
            let path = [b"WAITS@".as_slice(), path.map(Vec::as_slice).unwrap_or_default()].concat();
            waits = Some((bag, Recipient::good(path)));
        }
        let waits = waits.as_ref().map(|(bag, one)| (*bag, one));
        let mut envelope = p1(&plan, letter.file, waits);
        match flaw {
            Flaw::Mai(way) => damage_mai(&mut body, way),
            Flaw::P1(way) => damage_p1(&mut envelope, way),
            _ => {}
        }
        if !matches!(flaw, Flaw::NoMai | Flaw::NoFiles) {
            self.disk.write_number("MAI", letter.file, &body)?;
        }
        if !matches!(flaw, Flaw::NoP1 | Flaw::NoFiles) {
            self.disk.write_number("P1", letter.file, &envelope)?;
        }
        for one in letter.attachments.iter().filter(|one| !one.lost) {
            self.disk.write_number("ATT", one.file, &one.bytes)?;
        }
        self.line(&plan, &letter, slot);
        Ok(())
    }

    /// The manifest's line.
    fn line(&mut self, plan: &Plan, letter: &Letter, slot: usize) {
        self.report.messages += 1;
        let hazard = plan.hazard.map_or("none", hazards::name);
        let mut length = RECORD;
        if plan.sheet.flaw == Flaw::Torn {
            // At least a byte is left, and a byte is lost.
            let kept = narrow(self.rng.between(1, wide(RECORD) - 1));
            self.bags.bag("INQUEUE3").mbg.truncate(RECORD * slot + kept);
            length = kept;
        }
        manifest::place(&mut self.lines, plan.envelope.index, &self.file, wide(RECORD * slot));
        let flaw = plan.sheet.flaw;
        if matches!(flaw, Flaw::Name | Flaw::NameEnd | Flaw::Noise | Flaw::Torn) {
            self.report.damaged += 1;
            return manifest::damage(&mut self.lines, length, hazard);
        }
        let mut dispositions =
            decide(self.directory, &plan.envelope, facts(plan), self.world.options.now);
        let mut quarantined = injected(&mut dispositions, plan.fault);
        let unreadable = matches!(flaw, Flaw::NoMai | Flaw::NoFiles | Flaw::Mai(_));
        if unreadable || matches!(flaw, Flaw::NoP1 | Flaw::P1(_)) {
            dispositions.clear();
            quarantined = true;
        }
        let content = if unreadable { Vec::new() } else { content(letter) };
        let checksum = crc32c::crc32c(&content);
        let (fault, dispositions) = (plan.fault, &dispositions);
        let line = manifest::Line { length, checksum, hazard, fault, quarantined, dispositions };
        manifest::message(&mut self.lines, &line);
    }

    fn letter(&mut self, plan: &Plan, rng: Rng) -> Letter {
        let mut letter = Letter::blank(self.bags.letter());
        letter.counter = if plan.sheet.waiting { 2 } else { 1 };
        letter.hop_limit = plan.sheet.hop_limit.unwrap_or(HOP_LIMIT);
        letter.priority = plan.envelope.priority;
        letter.unknown = plan.envelope.unknown_field;
        let mut own = Rng::new(self.world.options.seed ^ 0x4D41_4931, plan.envelope.index);
        letter.whole = !plan.sheet.native;
        if letter.whole {
            crate::content::write(&mut letter.text, self.world, plan, rng);
        } else {
            self.text(&mut letter, plan, &mut own);
            self.attachments(&mut letter, plan, &mut own);
        }
        if letter.whole && own.chance(500) {
            // The fields beside a whole message don't count: there is but its text.
            return letter;
        }
        letter.address(plan);
        if plan.envelope.reverse == Reverse::Null && own.chance(500) {
            letter.from = Some(Address::new(&self.site.path(b"POSTMASTER"), true));
        }
        let posted = plan.sheet.posted.unwrap_or(plan.envelope.arrival - 20 * SECOND);
        letter.posted = match plan.sheet.flaw {
            Flaw::Dates(kind) => Posted::Raw(bad_date(kind)),
            _ if own.chance(20) => Posted::Never,
            _ => Posted::At(posted),
        };
        if let Some(subject) = &plan.spec.subject {
            letter.subject.clone_from(subject);
        } else {
            let charset = if own.chance(150) { plan.spec.charset } else { Charset::Ascii };
            let count = own.below(8);
            words(&mut letter.subject, &mut own, charset, count);
        }
        letter
    }

    fn text(&self, letter: &mut Letter, plan: &Plan, rng: &mut Rng) {
        if let Some(text) = &plan.sheet.text {
            letter.text.clone_from(text);
        } else if !matches!(plan.spec.shape, Shape::HeaderOnly | Shape::Nothing) {
            let (spec, texts) = (&plan.spec, &self.world.texts);
            texts.copy(&mut letter.text, rng, spec.charset, spec.crlf, spec.size);
        }
    }

    fn attachments(&mut self, letter: &mut Letter, plan: &Plan, rng: &mut Rng) {
        let number = |at: u64| {
            let mut name = b"FILE".to_vec();
            num(&mut name, at);
            name.extend_from_slice(b".DOC");
            name
        };
        let size = |rng: &mut Rng| narrow(rng.between(1, 4_000));
        let count = rng.between(1, 3);
        let files: Vec<(Vec<u8>, usize)> = match plan.sheet.attached {
            Attached::Drawn if rng.chance(850) => Vec::new(),
            Attached::Drawn | Attached::Some => {
                (0..count).map(|at| (number(at), size(rng))).collect()
            }
            Attached::Empty => vec![(b"EMPTY.DAT".to_vec(), 0), (number(1), 57)],
            Attached::Alike => [b"REPORT.DOC", b"Report.doc", b"REPORT.DOC"]
                .into_iter()
                .map(|name| (name.to_vec(), size(rng)))
                .collect(),
            Attached::Named => vec![(b"M\x81N \"1\".TXT".to_vec(), size(rng))],
        };
        for (at, (name, size)) in files.into_iter().enumerate() {
            let file = self.bags.letter();
            let lost = at == 0 && plan.sheet.flaw == Flaw::NoAtt;
            let mut bytes = Vec::with_capacity(size + 8);
            while bytes.len() < size {
                bytes.extend_from_slice(&rng.next().to_le_bytes());
            }
            bytes.truncate(size);
            letter.attachments.push(Attachment { file, name, bytes, lost });
        }
    }

    fn record(&mut self, plan: &Plan, letter: &Letter, size: usize) -> [u8; RECORD] {
        let from = letter.from.as_ref().map(|one| one.written.as_slice()).unwrap_or_default();
        let sender = from.split(|b| matches!(b, b'/' | b':')).next_back().unwrap_or_default();
        let mut name = hex_name(letter.file);
        if self.rng.chance(20) {
            name.make_ascii_lowercase();
        }
        let date = match plan.sheet.flaw {
            Flaw::Dates(kind) => match kind % 4 {
                0 => [0x3535; 5],
                1 => [55; 5],
                2 => [0, 0, 0, 0, 1900],
                _ => [u16::MAX; 5],
            },
            _ => record_date(plan.envelope.arrival),
        };
        let mut out = record(&Record {
            sender: sender.to_vec(),
            subject: letter.subject.clone(),
            date,
            mai: name,
            size: short(size),
            unknown: self.site.spread(plan.envelope.index).to_le_bytes(),
        });
        match plan.sheet.flaw {
            Flaw::Name => put(&mut out, 67 + self.rng.place(8), b"."),
            Flaw::NameEnd => put(&mut out, 75, b"1"),
            Flaw::Noise => out.iter_mut().for_each(|byte| {
                *byte = 0x80 | u8::try_from(self.rng.below(128)).unwrap_or(0);
            }),
            _ => {}
        }
        out
    }
}

fn bad_date(kind: u8) -> &'static [u8] {
    match kind % 4 {
        0 => b"55555555555555",
        1 => b"19000000000000",
        2 => b"yesterday",
        _ => b"",
    }
}

/// What decides beside the envelope.
pub(super) fn facts(plan: &Plan) -> Facts {
    let sheet = &plan.sheet;
    let found = if sheet.native { Facts::default() } else { plan.facts(Format::PostOffice) };
    let trouble = match sheet.flaw {
        _ if sheet.circular => Some("5.4.6"),
        Flaw::NoAtt => Some("5.3.0"),
        _ => None,
    };
    Facts {
        hop_limit: Some(u64::from(sheet.hop_limit.unwrap_or(HOP_LIMIT))),
        trouble,
        lifetime: Some(lifetime(plan.envelope.priority)),
        ..found
    }
}
