//! The log of a drain: what is to be done to each post office, then what is left to do, then that
//! it is done. Lines are as those of the commit log.
//!
//! A post office goes through three steps. `Begun` says all that is put into it (files of reports,
//! envelopes of outbound mail, records of mailbags), and all that is then taken out of it (slots of
//! INQUEUE3, envelopes, references). `PutIn` says that the first half is done, `Done` that all is.
//! Each half can be done again after a crash, from the log alone. Not here: doing it (`deliver`).
//! Invariant: a line is on the disk before the first byte that it tells of is written, and the
//! bytes are on the disk before the next line.

use super::SpoolError;
use super::commits::{append_line, append_synced, read_lines};
use super::file::{RunFile, sync_folder};
use crate::queue::postoffice::bag::RECORD_BYTES;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// Name of the log in the folder of a run.
pub const NAME: &str = "drain";
/// What stands before the JSON of a line.
const LINE_CHECKSUM_BYTES: usize = 9;

/// A post office of the run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OfficeId {
    /// Index of its queue in the plan.
    pub queue: usize,
    /// Its path in the queue.
    pub path: String,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// What is put into a post office, and then taken out of it.
    Begun(Work),
    /// All is put in, but for what waits.
    PutIn(OfficeId, Vec<Put>),
    /// It is drained, but for what waits.
    Done(OfficeId),
    /// Something that waited was put in.
    Placed(OfficeId, Put),
}

/// What is put into a post office.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The post office.
    pub office: OfficeId,
    /// MAI and P1 files of reports, and P1 files of messages that leave by an outbound bag.
    pub files: Vec<NewFile>,
    /// References that are counted before there are any, so that no reader erases a MAI early.
    pub counters: Vec<Counter>,
    /// Records.
    pub puts: Vec<Put>,
    /// What is taken out, once all that is in.
    pub out: TakeOut,
}

/// What is taken out of a post office.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOut {
    /// Slots of its queue that are deleted.
    pub slots: Vec<Taken>,
    /// What is left behind the last whole record, which is cut off: quarantine has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Taken>,
    /// P1 files that are written anew, for what stays.
    pub files: Vec<NewFile>,
    /// P1 files that are deleted, by their hex names.
    pub p1: Vec<String>,
    /// MAI files that can't be read, and of which quarantine holds all bytes: they are deleted.
    pub mai: Vec<String>,
    /// The references of the queue's own slots go.
    pub counters: Vec<Counter>,
}

/// A file that is made or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFile {
    /// `MAI` or `P1`.
    pub folder: String,
    /// Its hex name.
    pub name: String,
    /// All its bytes.
    #[serde(with = "base64_text")]
    pub bytes: Vec<u8>,
}

/// A change of a MAI's reference counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The MAI's hex name.
    pub mai: String,
    /// What it is before.
    pub from: u16,
    /// What it is then. At 0 the MAI goes, and its attachments with it.
    pub to: u16,
    /// Hex names of its attachments.
    pub att: Vec<String>,
}

/// A record that goes into a mailbag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The bag's name.
    pub bag: String,
    /// The slot of the queue that it comes from.
    pub slot: u32,
    /// It is a report about that slot's message, not the message.
    pub is_report: bool,
    /// The record, 116 bytes.
    #[serde(with = "base64_text")]
    pub record: Vec<u8>,
}

/// A slot that is taken out of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its number.
    pub slot: u32,
    /// CRC32C of its record: another message in the slot isn't touched.
    pub checksum: u32,
}

impl Step {
    /// The post office that it is about.
    pub const fn office(&self) -> &OfficeId {
        match self {
            Self::Begun(work) => &work.office,
            Self::PutIn(office, _) | Self::Done(office) | Self::Placed(office, _) => office,
        }
    }
}

impl Put {
    /// Its record.
    pub fn record(&self) -> [u8; RECORD_BYTES] {
        self.record.as_slice().try_into().unwrap_or([0; RECORD_BYTES])
    }
}

/// Bytes as base64 text.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

/// The log, open at its end.
#[derive(Debug)]
pub struct DrainLog {
    path: PathBuf,
    file: RunFile,
    line: Vec<u8>,
    /// Bytes of it that are good.
    length: u64,
}

/// True where a run was drained, or a drain of it was begun.
pub fn is_begun(run: &Path) -> bool {
    run.join(NAME).exists()
}

/// True where a drain of this run was begun, and isn't done with all post offices. What can't be
/// read isn't done.
pub fn is_unfinished(run: &Path) -> bool {
    let Ok(file) = File::open(run.join(NAME)) else { return is_begun(run) };
    let mut log = BufReader::new(file);
    let (mut open, mut line) = (0_u64, Vec::new());
    loop {
        line.clear();
        match log.read_until(b'\n', &mut line) {
            Ok(0) => return open > 0,
            Ok(_) if line.ends_with(b"\n") => {}
            // A torn line: nothing of what it tells was done.
            Ok(_) => return open > 0,
            Err(_) => return true,
        }
        let step = line.get(LINE_CHECKSUM_BYTES..).unwrap_or_default();
        if step.starts_with(b"{\"begun\"") {
            open += 1;
        } else if step.starts_with(b"{\"done\"") {
            open = open.saturating_sub(1);
        }
    }
}

/// Reads the log of a run: its steps, and the length of what is good of it; none where there is no
/// log.
///
/// # Errors
/// It can't be read, or a line within is bad.
pub fn read(run: &Path) -> Result<(Vec<Step>, u64), SpoolError> {
    if is_begun(run) { read_lines(&run.join(NAME), 0) } else { Ok((Vec::new(), 0)) }
}

impl DrainLog {
    /// Opens the log to append, after the `good` bytes that [`read`] has found.
    ///
    /// # Errors
    /// The system says so.
    pub fn open(run: &Path, good: u64) -> Result<Self, SpoolError> {
        let path = run.join(NAME);
        let open = || {
            let file = RunFile::append(&path)?;
            file.set_len(good)?;
            file.sync_all()?;
            sync_folder(run)?;
            Ok(file)
        };
        let file = open().map_err(SpoolError::write(&path))?;
        Ok(Self { path, file, line: Vec::new(), length: good })
    }

    /// Appends steps; `sync` waits until they are on the disk.
    ///
    /// # Errors
    /// The system says so: then the log isn't to be used any more.
    pub fn append(
        &mut self,
        steps: impl Iterator<Item = Step>,
        sync: bool,
    ) -> Result<(), SpoolError> {
        self.line.clear();
        let write = || {
            for step in steps {
                append_line(&mut self.line, &step)?;
            }
            append_synced(&mut self.file, &self.line, &mut self.length, sync)
        };
        write().map_err(SpoolError::write(&self.path))
    }
}
