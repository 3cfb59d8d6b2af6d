//! The ledger of a salvage: a line of JSON for each file and each live record of the old queue, and
//! for each thing that was made (docs/salvage.md).
//!
//! Not here: what becomes of what. Invariants: names are relative to the old queue and to the new
//! folder, with `%` and what isn't UTF-8 or is a control character as `%XX`; the ledger has its
//! name when everything is on the disk, and not before.

use super::SalvageError;
use crate::queue::envelope::RecipientOrder;
use crate::spool::private;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Its name in the new folder.
pub const NAME: &str = "ledger.jsonl";
const PARTIAL: &str = "ledger.jsonl.partial";
/// Version of what is written here.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Format of the old queue.
    pub format: String,
    /// Its path, from the root.
    pub queue: String,
    /// Paths of its post offices; none in other formats.
    pub post_offices: Vec<String>,
    /// Where recipients were taken from, in formats without an envelope.
    pub recipients: RecipientOrder,
    /// When it was salvaged, RFC 3339.
    pub now: String,
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// The same bytes are in the new one: of a file, of a record, of a message.
    Copied,
    /// The same bytes but for the ranges named in `changed`.
    Corrected,
    /// A MBG: what became of its live records and its rest stands in lines of theirs.
    Records,
    /// The same bytes are in `quarantine/`; what is in its place in the new one is `instead`.
    Quarantined,
    /// It isn't in the new one: a lock.
    LeftOut,
    /// It couldn't be read.
    Unreadable,
    /// Nothing of the old one: it was made.
    Made,
}

/// One thing, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What.
    pub became: Became,
    /// File of the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// Where in it, where not all of it is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// How many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Their checksum: XXH3, 64 bits, 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// File of the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Where in it, where not all of it is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_offset: Option<u64>,
    /// Ranges that differ: offset and length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<(u64, u64)>,
    /// File of the new one that was made in the place of what is in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// Checksum of what was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
    /// Why; empty where nothing was the matter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Line {
    /// A line with nothing but this.
    pub const fn new(became: Became, why: String) -> Self {
        Self {
            became,
            old: None,
            offset: None,
            length: None,
            checksum: None,
            new: None,
            new_offset: None,
            changed: Vec::new(),
            instead: None,
            made: None,
            why,
        }
    }
}

/// A checksum as the ledger has it.
pub fn checksum(bytes: &[u8]) -> String {
    digits(xxhash_rust::xxh3::xxh3_64(bytes))
}

/// A checksum's number in its digits.
pub fn digits(sum: u64) -> String {
    format!("{sum:016X}")
}

/// A path as the ledger has it.
pub fn name_of(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '%' || character.is_control() {
                let mut octets = [0; 4];
                escape(character.encode_utf8(&mut octets).as_bytes(), &mut out);
            } else {
                out.push(character);
            }
        }
        escape(chunk.invalid(), &mut out);
    }
    out
}

fn escape(octets: &[u8], out: &mut String) {
    for octet in octets {
        // Writing to a string can't fail.
        let _ = write!(out, "%{octet:02X}");
    }
}

/// The path of a name in the ledger.
pub fn path_of(name: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let hex = behind.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let octet = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match octet {
            Some(octet) if first == b'%' => {
                bytes.push(octet);
                rest = behind.get(2..).unwrap_or_default();
            }
            _ => bytes.push(first),
        }
    }
    OsString::from_vec(bytes).into()
}

/// How many lines there are of each kind: of files, and of records and ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Of whole files.
    pub files: BTreeMap<Became, u64>,
    /// Of records, messages and damaged ranges.
    pub records: BTreeMap<Became, u64>,
}

/// Writes a ledger.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    out: BufWriter<File>,
    pub(super) tally: Tally,
}

impl Writer {
    pub(super) fn begin(folder: &Path, header: &Header) -> Result<Self, SalvageError> {
        let path = folder.join(PARTIAL);
        let file = private::create_new(&path).map_err(SalvageError::write(&path))?;
        let mut writer =
            Self { folder: folder.to_owned(), out: BufWriter::new(file), tally: Tally::default() };
        writer.json(header)?;
        Ok(writer)
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), SalvageError> {
        let written = serde_json::to_writer(&mut self.out, value)
            .map_err(std::io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"));
        written.map_err(SalvageError::write(&self.folder.join(PARTIAL)))
    }

    pub(super) fn line(&mut self, line: &Line) -> Result<(), SalvageError> {
        let is_file = line.offset.is_none() && line.new_offset.is_none();
        let tally = if is_file { &mut self.tally.files } else { &mut self.tally.records };
        *tally.entry(line.became).or_default() += 1;
        self.json(line)
    }

    /// Gives the ledger its name, when all is on the disk.
    pub(super) fn finish(mut self, sync: bool) -> Result<Tally, SalvageError> {
        let mut finish = || {
            self.out.flush()?;
            if sync {
                rustix::fs::syncfs(File::open(&self.folder)?)?;
            }
            fs::rename(self.folder.join(PARTIAL), self.folder.join(NAME))?;
            if sync {
                File::open(&self.folder)?.sync_all()?;
            }
            Ok(())
        };
        finish().map_err(SalvageError::write(&self.folder))?;
        Ok(self.tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for bytes in
            [&b"MAI/MA2/00000062.MAI"[..], b"LOG/50%\x01\xFF\xC3", b"%41", "\u{fc}".as_bytes()]
        {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            let name = name_of(&path);
            assert_eq!(path_of(&name), path, "{name}");
        }
        assert_eq!(name_of(Path::new("a%b\n")), "a%25b%0A");
    }
}
