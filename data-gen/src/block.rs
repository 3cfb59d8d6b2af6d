//! A block: a run of messages, made by one thread into buffers, before its offset in the file is
//! known.
//!
//! What it deliberately does not do: writing the queue's file (see `run`); only folders of files
//! are written from here, as each message is a file of its own.
//!
//! Invariants: a block's bytes depend on the options and its indices alone; buffers are used again.

use std::path::Path;

use crate::bytes::{narrow, pad, put, wide};
use crate::content;
use crate::expect::{Disposition, Outcome, decide};
use crate::mbox;
use crate::options::Format;
use crate::plan::{Damage, Plan};
use crate::rng::Rng;
use crate::segment::{self, HEAD};
use crate::{GenError, Report, World, hazards, manifest, scenario};

/// Where a message stands in its block.
#[derive(Debug)]
struct Entry {
    index: u64,
    end: usize,
    tail_end: usize,
    /// A byte of the head to be changed after sealing.
    flip: Option<(usize, u8)>,
}

/// The buffers of a block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Bytes of the queue's file.
    pub(crate) out: Vec<u8>,
    /// Lines of the manifest.
    pub(crate) lines: Vec<u8>,
    /// What was made.
    pub(crate) report: Report,
    entries: Vec<Entry>,
    tails: Vec<u8>,
    scratch: Vec<u8>,
    mbox: mbox::Writer,
}

impl Block {
    /// An empty block.
    pub(crate) fn new() -> Self {
        Self {
            out: Vec::new(),
            lines: Vec::new(),
            report: Report::default(),
            entries: Vec::new(),
            tails: Vec::new(),
            scratch: Vec::new(),
            mbox: mbox::Writer::new(),
        }
    }

    /// Makes the messages `from..to`. `folder`: where files are to be written.
    pub(crate) fn make(
        &mut self,
        world: &World,
        from: u64,
        to: u64,
        folder: &Path,
    ) -> Result<(), GenError> {
        self.out.clear();
        self.lines.clear();
        self.entries.clear();
        self.tails.clear();
        self.report = Report::default();
        for index in from..to {
            let (plan, rng) = scenario::plan(world, index);
            self.report.messages += 1;
            match world.options.format {
                Format::Segment => self.record(world, &plan, rng),
                Format::Mbox => self.mbox(world, &plan, rng),
                Format::Maildir | Format::Eml => self.file(world, &plan, rng, folder)?,
                // Post offices are made whole: see `postoffice`.
                Format::PostOffice => {}
            }
        }
        self.report.bytes += wide(self.out.len());
        Ok(())
    }

    /// Finishes the block, now that its offset in the file is known.
    pub(crate) fn place(&mut self, file: &[u8], offset: u64) {
        let (mut start, mut tail) = (0, 0);
        for entry in &self.entries {
            let at = offset + wide(start);
            if let Some(record) = self.out.get_mut(start..entry.end)
                && record.starts_with(&segment::SYNC)
            {
                segment::seal(record, at);
                if let Some((place, change)) = entry.flip {
                    flip(record, place, change);
                }
            }
            manifest::place(&mut self.lines, entry.index, file, at);
            self.lines.extend_from_slice(self.tails.get(tail..entry.tail_end).unwrap_or_default());
            (start, tail) = (entry.end, entry.tail_end);
        }
    }

    fn entry(&mut self, index: u64, flip: Option<(usize, u8)>) {
        let (end, tail_end) = (self.out.len(), self.tails.len());
        self.entries.push(Entry { index, end, tail_end, flip });
    }

    fn record(&mut self, world: &World, plan: &Plan, mut rng: Rng) {
        let start = self.out.len();
        segment::reserve_head(&mut self.out);
        segment::envelope(&mut self.out, &plan.envelope);
        malform(&mut self.out, plan.damage);
        let envelope = self.out.len() - start - HEAD;
        content::write(&mut self.out, world, plan, rng.clone());
        let Some(record) = self.out.get_mut(start..) else { return };
        let checksum = segment::fill_head(record, envelope, world.mark);
        let Some(damage) = plan.damage else {
            let length = record.len();
            line(&mut self.tails, world, plan, length, checksum);
            return self.entry(plan.envelope.index, None);
        };
        let mut change = None;
        let content = record.len() - HEAD - envelope;
        match damage {
            Damage::HeadByte => change = Some((rng.place(HEAD), rng.nonzero_byte())),
            Damage::ContentByte if content > 0 => {
                flip(record, HEAD + envelope + rng.place(content), rng.nonzero_byte());
            }
            Damage::EnvelopeByte | Damage::ContentByte => {
                flip(record, HEAD + rng.place(envelope), rng.nonzero_byte());
            }
            Damage::Length => {
                let length = (1_u64 << 40) + rng.below(1 << 30);
                put(record, segment::CONTENT_LENGTH_AT, &length.to_le_bytes());
            }
            _ => {}
        }
        if damage == Damage::Torn {
            // At least a byte is left, and a byte is lost.
            let length = record.len();
            let kept = rng.between(1, wide(length) - 1);
            self.out.truncate(start + narrow(kept));
        }
        self.report.damaged += 1;
        let hazard = plan.hazard.map_or("none", hazards::name);
        manifest::damage(&mut self.tails, self.out.len() - start, hazard);
        self.entry(plan.envelope.index, change);
    }

    fn mbox(&mut self, world: &World, plan: &Plan, rng: Rng) {
        let start = self.out.len();
        self.scratch.clear();
        content::write(&mut self.scratch, world, plan, rng);
        let checksum = crc32c::crc32c(&self.scratch);
        self.mbox.message(&mut self.out, &plan.envelope, &self.scratch);
        let length = self.out.len() - start;
        line(&mut self.tails, world, plan, length, checksum);
        self.entry(plan.envelope.index, None);
    }

    fn file(
        &mut self,
        world: &World,
        plan: &Plan,
        rng: Rng,
        folder: &Path,
    ) -> Result<(), GenError> {
        let index = plan.envelope.index;
        self.scratch.clear();
        content::write(&mut self.scratch, world, plan, rng);
        let name = file_name(world, index);
        let path = folder.join(&name);
        std::fs::write(&path, &self.scratch).map_err(|source| GenError::io(&path, source))?;
        self.report.bytes += wide(self.scratch.len());
        manifest::place(&mut self.lines, index, name.as_bytes(), 0);
        let checksum = crc32c::crc32c(&self.scratch);
        line(&mut self.lines, world, plan, self.scratch.len(), checksum);
        Ok(())
    }
}

/// The name of a message's file in the queue's folder: in a Maildir a third has been seen.
fn file_name(world: &World, index: u64) -> String {
    let mut digits = Vec::with_capacity(20);
    pad(&mut digits, index, 9);
    let digits = String::from_utf8_lossy(&digits);
    if world.options.format == Format::Eml {
        return format!("{digits}.eml");
    }
    let (folder, flags) = match index % 6 {
        0 => ("cur", ":2,S"),
        3 => ("cur", ":2,RS"),
        _ => ("new", ""),
    };
    let seconds = world.options.now / crate::time::SECOND;
    format!("{folder}/{seconds}.M{digits}P1.localhost{flags}")
}

fn flip(record: &mut [u8], at: usize, change: u8) {
    if let Some(byte) = record.get_mut(at) {
        *byte ^= change;
    }
}

/// Puts a field at the envelope's end that damages it, though its CRC is right.
fn malform(out: &mut Vec<u8>, damage: Option<Damage>) {
    match damage {
        Some(Damage::FieldTooLong) => {
            out.extend_from_slice(&14_u16.to_le_bytes());
            out.extend_from_slice(&1_000_u32.to_le_bytes());
            out.extend_from_slice(b"shorter");
        }
        Some(Damage::FieldWrongLength) => segment::field(out, 2, &[0; 7]),
        Some(Damage::RecipientField) => segment::field(out, 15, b"\x01\0\xff\xff\0\0a@b"),
        _ => {}
    }
}

/// The second part of the manifest's line of a message.
fn line(out: &mut Vec<u8>, world: &World, plan: &Plan, length: usize, checksum: u32) {
    let facts = plan.facts(world.options.format);
    let mut dispositions = decide(&world.directory, &plan.envelope, facts, world.options.now);
    let quarantined = injected(&mut dispositions, plan.fault);
    let hazard = plan.hazard.map_or("none", hazards::name);
    let fault = plan.fault;
    let dispositions = &dispositions;
    let line = manifest::Line { length, checksum, hazard, fault, quarantined, dispositions };
    manifest::message(out, &line);
}

/// What an injected fault changes: true when the whole message is quarantined.
pub(crate) fn injected(dispositions: &mut Vec<Disposition<'_>>, fault: Option<&str>) -> bool {
    match fault {
        // What kills the process strikes in these stages alone.
        Some(marker) if marker.contains(':') => {
            dispositions.clear();
            true
        }
        Some("parse" | "decide" | "render") => {
            dispositions.clear();
            true
        }
        Some("ndr") => {
            for one in dispositions.iter_mut().filter(|one| one.outcome == Outcome::Failed) {
                one.outcome = Outcome::DeadLetter;
            }
            false
        }
        _ => false,
    }
}
