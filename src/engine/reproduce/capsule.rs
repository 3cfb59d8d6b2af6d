//! A capsule: one message that was struck, and all that its walk depends on but the directory's
//! text; a file that can be taken elsewhere.
//!
//! docs/reproduce.md has its members. Not here: where it comes from (`find`), and running it.
//! Invariants: a file that was altered or torn is refused, however it is laid out; a capsule that
//! was read is the one that was written.

use super::{ReproduceError, Struck};
use crate::directory::Directory;
use crate::mail::content::Content;
use crate::mail::envelope::Condition;
use crate::queue::postoffice::tables::Tables;
use crate::queue::segment::{read, write};
use crate::queue::{Format, Found, Framed, Source, open};
use crate::spool::plan::{Options, Plan, PlannedDirectory, Program};
use crate::spool::private;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Version of the file's form.
pub const VERSION: u64 = 1;
/// The member that says what the file is, and its version.
const NAME: &str = "inqueue_capsule";

/// A message that was struck, and what its walk depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capsule {
    /// The program that began the run; where the run doesn't say, that which made the capsule.
    pub program: Program,
    /// The options of the run.
    pub options: Options,
    /// The directory of the run.
    pub directory: PlannedDirectory,
    /// What the message's post office knows, where it is of one.
    pub office: Option<Tables>,
    /// What struck it.
    pub faults: Vec<Strike>,
    /// The message.
    pub message: Message,
}

/// A fault, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// Id of its event; none where it wasn't told yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name of the stage that the message was in.
    pub stage: String,
    /// Text of the panic, or how the process ended.
    pub fault: String,
    /// File and line of the panic.
    pub place: String,
    /// Stack of the panic, where it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

impl Strike {
    /// The same cause, wherever the stack was taken.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.stage, &self.fault, &self.place) == (&other.stage, &other.fault, &other.place)
    }
}

/// The message of a capsule, as it stood in its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its name.
    pub queue_id: String,
    /// The queue that it was in.
    pub queue: PathBuf,
    /// Its part in the plan of the run.
    pub part: u32,
    /// Its file, for people.
    pub file: String,
    /// Offset in that file.
    pub offset: u64,
    /// Length from there.
    pub length: u64,
    /// What it was taken from: `queue`, or the stream that had it.
    pub taken_from: String,
    /// The format that it is read as.
    pub format: Format,
    /// Tag of its file.
    pub(super) tag: u32,
    /// Name of its file; empty where the head has it.
    #[serde(with = "in_base64")]
    pub(super) name: Vec<u8>,
    /// What the format has beside the content, where that isn't the envelope of the record.
    #[serde(with = "in_base64")]
    pub(super) head: Vec<u8>,
    /// The content has lines quoted as in mboxrd.
    pub(super) is_quoted: bool,
    pub(super) condition: Option<Condition>,
    /// A segment of one record: envelope, as far as the format has one, and content.
    #[serde(with = "in_base64")]
    pub(super) record: Vec<u8>,
}

impl Message {
    /// The message as framing has found it. `None`: the record isn't one good record.
    pub(super) fn found(&self) -> Option<(Source<'_>, Found<'_>)> {
        let mut frames = read::frame(&self.record, 0..self.record.len() as u64);
        let (Some(Framed::Message(found)), None) = (frames.next(), frames.next()) else {
            return None;
        };
        let head = if self.format.has_envelope() { found.head } else { &self.head };
        let content = Content::quoted_known(found.content.raw(), self.is_quoted);
        let found = Found {
            condition: self.condition,
            ..Found::new(self.offset, self.length, head, content)
        };
        let source = Source { format: self.format, name: &self.name, tag: self.tag, bytes: b"" };
        Some((source, found))
    }

    /// A segment of one record: this envelope, this content.
    pub(super) fn record(content: &[u8], envelope: impl FnOnce(&mut write::Fields<'_>)) -> Vec<u8> {
        let mark = u64::from(crc32c::crc32c(content));
        let mut out = write::file_header(mark).to_vec();
        let place = write::Place { offset: out.len() as u64, mark };
        let payload = write::Payload::measure(Content::plain(content));
        write::append_head(&mut out, place, &payload, envelope);
        out.extend_from_slice(content);
        out
    }
}

impl Capsule {
    /// Makes the capsule of a message that a run has had struck, named by its queue id, the id of
    /// a fault's event, or the place of one of its records: `quarantine/00003.seg:32`. Nothing of
    /// the run is changed.
    ///
    /// # Errors
    /// No message that was struck has this id, or several have; or what is left of run and queue
    /// doesn't hold it any more.
    pub fn of(run: &Path, id: &str) -> Result<Self, ReproduceError> {
        super::find::capsule(run, id)
    }

    /// Of a run by this plan.
    pub(super) fn new(
        plan: Plan,
        office: Option<Tables>,
        struck: &Struck,
        message: Message,
    ) -> Self {
        let Plan { options, directory, program, .. } = plan;
        let program = program.unwrap_or_else(Program::own);
        Self { program, options, directory, office, faults: struck.faults.clone(), message }
    }

    /// Reads a capsule.
    ///
    /// # Errors
    /// The file can't be read, is no capsule, is one of another version, or was altered.
    pub fn load(path: &Path) -> Result<Self, ReproduceError> {
        let failed = |source| ReproduceError::Read { path: path.to_owned(), source };
        let not_one = |what: String| ReproduceError::NotACapsule { path: path.to_owned(), what };
        let mut text = Vec::new();
        let file = open::to_read(path).map_err(failed)?;
        // What else is named here may be a queue, of any size.
        (&file).take(1).read_to_end(&mut text).map_err(failed)?;
        if text != b"{" {
            return Err(not_one("it doesn't begin as one".to_owned()));
        }
        (&file).read_to_end(&mut text).map_err(failed)?;
        let mut all: Value =
            serde_json::from_slice(&text).map_err(|error| not_one(error.to_string()))?;
        match all.get(NAME).and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(version) => {
                return Err(ReproduceError::Version { path: path.to_owned(), version });
            }
            None => return Err(not_one(format!("it has no member {NAME}"))),
        }
        let checksum = all.get("checksum").and_then(Value::as_u64);
        let capsule = all.get_mut("capsule").map(Value::take).unwrap_or_default();
        let altered = || ReproduceError::Altered { path: path.to_owned() };
        if checksum != Some(u64::from(checksum_of(&capsule))) {
            return Err(altered());
        }
        let capsule: Self =
            serde_json::from_value(capsule).map_err(|error| not_one(error.to_string()))?;
        if capsule.message.found().is_none() {
            return Err(altered());
        }
        Ok(capsule)
    }

    /// Writes it into a new file.
    ///
    /// # Errors
    /// The file is there already, or can't be written.
    pub fn save(&self, path: &Path) -> Result<(), ReproduceError> {
        let save = || {
            let capsule = serde_json::to_value(self)?;
            let checksum = checksum_of(&capsule);
            let all =
                serde_json::json!({ NAME: VERSION, "checksum": checksum, "capsule": capsule });
            let mut text = serde_json::to_vec_pretty(&all)?;
            text.push(b'\n');
            let mut file = private::create_new(path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        let failed = |source: io::Error| ReproduceError::Write { path: path.to_owned(), source };
        save().map_err(failed)
    }

    /// What isn't as it was in the run, in words: this program, and the directory that it is run
    /// with.
    pub fn differences(&self, directory: &Directory) -> Vec<String> {
        differences(&self.program, &self.directory, directory)
    }
}

/// What isn't as it was in a run: this program, and the directory.
pub(super) fn differences(
    program: &Program,
    planned: &PlannedDirectory,
    directory: &Directory,
) -> Vec<String> {
    let mut all = Vec::new();
    let own = Program::own();
    if *program != own {
        all.push(format!("the run was begun by {}, this is {}", program.text(), own.text()));
    }
    let (was, is) = (planned.checksum, directory.checksum());
    if was != is {
        all.push(format!("the directory of the run has checksum {was:08x}, this one {is:08x}"));
    }
    all
}

/// CRC32C of the capsule's shortest text: white space doesn't count.
fn checksum_of(capsule: &Value) -> u32 {
    crc32c::crc32c(capsule.to_string().as_bytes())
}

mod in_base64 {
    //! Bytes as a text of RFC 4648, 4.
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}
