//! Queues of mail, as ordered lists of parts over files: segments, mboxes, folders of files.
//!
//! A [`Queue`] is opened once: its files are listed and identified. It is cut into parts by the
//! part size alone, and each part is read alone, by any worker: framing gives messages and damage
//! in queue order, as slices of the map or buffer. Not here: writing; what becomes of a message. A
//! new format is a file here, and a line in [`Format`] and in `Queue::detect`. Nothing in a queue
//! is ever changed.

pub mod bytes;
mod damage;
pub mod envelope;
pub mod ffapi;
pub mod files;
pub mod mbox;
pub mod open;
pub mod postoffice;
mod read;
pub mod rendered;
pub mod segment;

pub use damage::{Damage, DamageKind};
pub use read::{Buffers, Frames, Rest, Source, Visit};

use crate::mail::content::Content;
use crate::mail::envelope::Condition;
use bytes::{FileBytes, Identity};
use files::{FileList, FilesError, Folder};
use postoffice::list::{BagList, bag_of_path};
use segment::reference::Reference;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What framing finds in a queue, in order.
#[derive(Clone, Copy, Debug)]
pub enum Framed<'a> {
    /// A message.
    Message(Found<'a>),
    /// Bytes that are no message: they go to quarantine as they are.
    Damage(Damage),
}

impl Framed<'_> {
    /// Its offset in the file, and its length.
    pub const fn lies(&self) -> (u64, u64) {
        match self {
            Self::Message(found) => (found.offset, found.length),
            Self::Damage(damage) => (damage.offset, damage.length),
        }
    }
}

/// A message as framing finds it: where it lies, and its pieces as slices of the file.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Offset of its first byte in the file: of the record, of the `F` of its From_ line.
    pub offset: u64,
    /// Bytes from there up to the next message or damage.
    pub length: u64,
    /// What the format has beside the content: the envelope's bytes of a segment record, the From_
    /// line of an mbox (without its line end), the name of a file.
    pub head: &'a [u8],
    /// The content.
    pub content: Content<'a>,
    /// Why it can't be judged, though it is known whose message it is: it goes to quarantine.
    pub set_aside: Option<&'a [u8]>,
    /// What is wrong with it as a whole.
    pub condition: Option<Condition>,
    /// Where the content lies, in a file.
    pub lies: Lies<'a>,
}

/// Where a content lies as it is: in one piece of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lies<'a> {
    /// Nowhere: reading has put it together, or takes quoting off.
    #[default]
    Nowhere,
    /// In the message's own file, from this offset on.
    Here(u64),
    /// Where this reference leads to.
    There(Reference<'a>),
}

impl<'a> Found<'a> {
    /// A message that nothing is wrong with.
    pub const fn new(offset: u64, length: u64, head: &'a [u8], content: Content<'a>) -> Self {
        let lies = Lies::Nowhere;
        Self { offset, length, head, content, set_aside: None, condition: None, lies }
    }
}

/// The format of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Our own: docs/segment.md.
    Segment,
    /// mboxrd: each line `>*From ` of the content has one more `>`.
    MboxRd,
    /// mboxo: lines `From ` of the content have a `>`; read as it stands.
    MboxO,
    /// mboxcl: as mboxo, and Content-Length says where messages end.
    MboxCl,
    /// mboxcl2: Content-Length says where messages end, nothing is quoted.
    MboxCl2,
    /// A Maildir: `new/` and `cur/`.
    Maildir,
    /// A folder of files, one message each; or one such file.
    Eml,
    /// MS Mail post offices, or one mailbag of one: docs/postoffice.md.
    PostOffice,
    /// FFAPI text, a folder of files or one: docs/ffapi.md.
    Ffapi,
}

impl Format {
    /// The format's name, as it is written before a path: `segment:PATH`. `mbox` alone leaves the
    /// kind to detection.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::MboxRd => "mboxrd",
            Self::MboxO => "mboxo",
            Self::MboxCl => "mboxcl",
            Self::MboxCl2 => "mboxcl2",
            Self::Maildir => "maildir",
            Self::Eml => "eml",
            Self::PostOffice => "postoffice",
            Self::Ffapi => "ffapi",
        }
    }

    /// Its messages come with an envelope, which framing gives as a segment has it; else one is
    /// made from the content.
    pub const fn has_envelope(self) -> bool {
        matches!(self, Self::Segment | Self::PostOffice | Self::Ffapi)
    }

    /// The kind of mbox that it is, if it is one.
    pub const fn mbox_kind(self) -> Option<mbox::Kind> {
        match self {
            Self::MboxRd => Some(mbox::Kind::Rd),
            Self::MboxO => Some(mbox::Kind::O),
            Self::MboxCl => Some(mbox::Kind::Cl),
            Self::MboxCl2 => Some(mbox::Kind::Cl2),
            Self::Segment | Self::Maildir | Self::Eml | Self::PostOffice | Self::Ffapi => None,
        }
    }

    const fn of_mbox(kind: mbox::Kind) -> Self {
        match kind {
            mbox::Kind::Rd => Self::MboxRd,
            mbox::Kind::O => Self::MboxO,
            mbox::Kind::Cl => Self::MboxCl,
            mbox::Kind::Cl2 => Self::MboxCl2,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A file of a queue of few, big files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFile {
    /// Its name within the queue: the last component of its path.
    pub name: String,
    /// What it was when the queue was opened.
    pub identity: Identity,
}

/// The files of a queue.
#[derive(Debug)]
enum Files {
    /// Few, big ones, each with many messages.
    Big(Vec<QueueFile>),
    /// Many, with one message each.
    Folder(FileList),
    /// Mailbags of post offices.
    Bags(BagList),
}

/// A queue, opened: its files are known, none of them is held open.
#[derive(Debug)]
pub struct Queue {
    path: PathBuf,
    format: Format,
    files: Files,
}

/// Where a part lies in its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// A byte range of a big file: `[file, start, end]`.
    Bytes(u32, u64, u64),
    /// A run of small files, or of slots of mailbags: `[first, end]`.
    Files(u64, u64),
}

impl Queue {
    /// Opens what a path names: `FORMAT:PATH`, or a path alone, whose format is detected.
    ///
    /// # Errors
    /// The path doesn't exist or can't be read, or its format can't be told.
    pub fn open(spec: &str) -> Result<Self, QueueError> {
        let (named, path) = split_spec(spec);
        let path = Path::new(path);
        let failed = |source| QueueError::Open { path: path.to_owned(), source };
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_dir() && !metadata.is_file() {
            // Opening a pipe would wait for ever.
            return Err(QueueError::Special { path: path.to_owned() });
        }
        let format = match named {
            Some(Named::Format(format)) => format,
            Some(Named::Mbox) => {
                let sample = sample(path, mbox::DETECT_BYTES).map_err(failed)?;
                Format::of_mbox(mbox::detect(&sample))
            }
            None => Self::detect(path, metadata.is_dir())?,
        };
        Self::with_format(path, format, metadata.is_dir())
    }

    /// Tells the format of a file or a folder.
    fn detect(path: &Path, is_folder: bool) -> Result<Format, QueueError> {
        let failed = |source| QueueError::Open { path: path.to_owned(), source };
        if is_folder {
            if path.join("plan.json").exists() && path.join("commits").exists() {
                return Err(QueueError::IsRun { path: path.to_owned() });
            }
            if postoffice::is_office_or_tree(path) {
                return Ok(Format::PostOffice);
            }
            if path.join("new").is_dir() || path.join("cur").is_dir() {
                return Ok(Format::Maildir);
            }
            let segments = segment_names(path).map_err(failed)?;
            return Ok(if segments.is_empty() { Format::Eml } else { Format::Segment });
        }
        if bag_of_path(path).is_some() {
            return Ok(Format::PostOffice);
        }
        let is_segment = sample(path, segment::MAGIC.len()).map_err(failed)? == segment::MAGIC;
        if is_segment || path.extension().is_some_and(|e| e == "seg") {
            return Ok(Format::Segment);
        }
        let sample = sample(path, mbox::DETECT_BYTES).map_err(failed)?;
        let start = sample.trim_ascii_start();
        if start.is_empty() || start.starts_with(b"From ") {
            Ok(Format::of_mbox(mbox::detect(&sample)))
        } else if ffapi::read::begins_message(&sample) {
            Ok(Format::Ffapi)
        } else if crate::mail::header::fields(&sample).next().is_some() {
            Ok(Format::Eml)
        } else {
            Err(QueueError::UnknownFormat { path: path.to_owned() })
        }
    }

    /// Opens a queue whose format is known.
    fn with_format(path: &Path, format: Format, is_folder: bool) -> Result<Self, QueueError> {
        let failed = |source| QueueError::Open { path: path.to_owned(), source };
        let one = |path: &Path| -> Result<Vec<QueueFile>, QueueError> {
            let identity = Identity::at(path).map_err(failed)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(vec![QueueFile { name, identity }])
        };
        let files = match format {
            Format::Maildir => Files::Folder(FileList::take(path, Folder::Maildir)?),
            Format::Eml if is_folder => Files::Folder(FileList::take(path, Folder::Eml)?),
            Format::PostOffice if is_folder => Files::Bags(BagList::take(path, None)?),
            Format::PostOffice => {
                let no_bag = || FilesError::NoPostOffice { path: path.to_owned() };
                let (root, bag) = bag_of_path(path).ok_or_else(no_bag)?;
                Files::Bags(BagList::take(&root, Some(&bag))?)
            }
            Format::Ffapi => Files::Folder(files::ffapi::take(path)?),
            Format::Segment if is_folder => {
                let mut files = Vec::new();
                for name in segment_names(path).map_err(failed)? {
                    let identity = Identity::at(&path.join(&name)).map_err(failed)?;
                    files.push(QueueFile { name, identity });
                }
                Files::Big(files)
            }
            _ if is_folder => return Err(QueueError::IsFolder { path: path.to_owned(), format }),
            _ => Files::Big(one(path)?),
        };
        for file in 0..files.big().len() {
            open::to_read(&file_path(path, &files, file)).map_err(failed)?;
        }
        let queue = Self { path: path.to_owned(), format, files };
        queue.check_version()?;
        Ok(queue)
    }

    /// A segment of a later version is refused, not taken for damage.
    fn check_version(&self) -> Result<(), QueueError> {
        if self.format != Format::Segment {
            return Ok(());
        }
        for index in 0..self.files.big().len() {
            let path = file_path(&self.path, &self.files, index);
            let mut header = Vec::new();
            let read = open::to_read(&path)
                .and_then(|file| file.take(segment::HEADER_LEN as u64).read_to_end(&mut header));
            read.map_err(|source| QueueError::Read { path: path.clone(), source })?;
            if let segment::read::Header::Version(version) = segment::read::header(&header) {
                return Err(QueueError::Version { path, version });
            }
        }
        Ok(())
    }

    /// The same queue as a plan has it: big files by their identities, or a list of files.
    ///
    /// # Errors
    /// The list isn't one.
    pub fn planned(
        path: &Path,
        format: Format,
        files: Vec<QueueFile>,
        list: Option<&[u8]>,
    ) -> Result<Self, QueueError> {
        let files = match list {
            Some(list) if format == Format::PostOffice => Files::Bags(BagList::read_from(list)?),
            Some(list) => Files::Folder(FileList::read_from(list)?),
            None => Files::Big(files),
        };
        Ok(Self { path: path.to_owned(), format, files })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Its big files; none where it is a folder of small ones.
    pub fn big_files(&self) -> &[QueueFile] {
        self.files.big()
    }

    /// Its list of small files, if it is a folder of such.
    pub const fn file_list(&self) -> Option<&FileList> {
        match &self.files {
            Files::Folder(list) => Some(list),
            Files::Big(_) | Files::Bags(_) => None,
        }
    }

    /// Its mailbags, if it is made of such.
    pub const fn bag_list(&self) -> Option<&BagList> {
        match &self.files {
            Files::Bags(list) => Some(list),
            Files::Big(_) | Files::Folder(_) => None,
        }
    }

    /// Its list of small files or of slots, as it goes into a plan, and how many they are.
    pub fn list(&self) -> Option<(Vec<u8>, u64)> {
        let mut bytes = Vec::new();
        let len = match &self.files {
            Files::Big(_) => return None,
            Files::Folder(list) => {
                list.write_to(&mut bytes);
                list.len()
            }
            Files::Bags(list) => {
                list.write_to(&mut bytes);
                list.len()
            }
        };
        Some((bytes, len))
    }

    /// All its bytes.
    pub fn total_bytes(&self) -> u64 {
        match &self.files {
            Files::Big(files) => files.iter().map(|file| file.identity.size).sum(),
            Files::Folder(list) => list.total_bytes(),
            Files::Bags(list) => list.total_bytes(),
        }
    }

    /// Cuts it into parts of about this size, by its bytes alone.
    ///
    /// # Errors
    /// A file can't be read: an mbox whose messages are found by Content-Length has to be walked.
    pub fn cut(&self, part_bytes: u64) -> Result<Vec<Span>, QueueError> {
        let spans = |runs: Vec<std::ops::Range<u64>>| {
            Ok(runs.into_iter().map(|run| Span::Files(run.start, run.end)).collect())
        };
        let files = match &self.files {
            Files::Folder(list) => return spans(list.cut(part_bytes)),
            Files::Bags(list) => return spans(list.cut(part_bytes)),
            Files::Big(files) => files,
        };
        let mut spans = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let size = file.identity.size;
            let walked = matches!(self.format, Format::MboxCl | Format::MboxCl2);
            if self.format == Format::Eml {
                // One file is one message, whatever its length.
                spans.push(Span::Bytes(0, 0, size));
                continue;
            }
            let starts = match self.format.mbox_kind() {
                Some(kind) if walked && size > 0 => {
                    let bytes = self.open_file(index, Vec::new())?;
                    mbox::part_starts(bytes.bytes(), kind, part_bytes)
                }
                _ => (0..size.div_ceil(part_bytes)).map(|part| part * part_bytes).collect(),
            };
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let ends = starts.iter().skip(1).copied().chain([size]);
            spans.extend(
                starts.iter().zip(ends).map(|(&start, end)| Span::Bytes(number, start, end)),
            );
        }
        Ok(spans)
    }

    /// Opens a big file, and compares what it is with what it was.
    fn open_file(&self, index: usize, buffer: Vec<u8>) -> Result<FileBytes, QueueError> {
        let path = file_path(&self.path, &self.files, index);
        let (bytes, identity) = FileBytes::open(&path, buffer)
            .map_err(|source| QueueError::Read { path: path.clone(), source })?;
        match self.files.big().get(index) {
            Some(file) if file.identity == identity => Ok(bytes),
            _ => Err(QueueError::Changed { path }),
        }
    }
}

/// The first bytes of a file, up to so many: read and not mapped, as the second fence doesn't stand
/// round whoever opens a queue.
fn sample(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = open::to_read(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(most);
    // Memory that grows would be copied, and taken twice. One byte more tells that it has ended.
    let mut sample = Vec::with_capacity(length.min(most) + 1);
    file.take(most as u64).read_to_end(&mut sample)?;
    Ok(sample)
}

fn segment_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.as_bytes().ends_with(b".seg")) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The path of a big file: the queue's own, or one in its folder.
fn file_path(queue: &Path, files: &Files, index: usize) -> PathBuf {
    match files.big().get(index) {
        Some(file) if queue.is_dir() => queue.join(&file.name),
        _ => queue.to_owned(),
    }
}

impl Files {
    fn big(&self) -> &[QueueFile] {
        match self {
            Self::Big(files) => files,
            Self::Folder(_) | Self::Bags(_) => &[],
        }
    }
}

enum Named {
    Format(Format),
    Mbox,
}

/// `mbox:PATH` -> mbox, PATH.
fn split_spec(spec: &str) -> (Option<Named>, &str) {
    let Some((name, path)) = spec.split_once(':') else { return (None, spec) };
    let format = match name {
        "segment" => Format::Segment,
        "mbox" => return (Some(Named::Mbox), path),
        "mboxrd" => Format::MboxRd,
        "mboxo" => Format::MboxO,
        "mboxcl" => Format::MboxCl,
        "mboxcl2" => Format::MboxCl2,
        "maildir" => Format::Maildir,
        "eml" => Format::Eml,
        "postoffice" => Format::PostOffice,
        "ffapi" => Format::Ffapi,
        _ => return (None, spec),
    };
    (Some(Named::Format(format)), path)
}

/// Why a queue can't be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum QueueError {
    #[error(
        "{}: cannot open the queue: {source} (does it exist, and may this user read it?)",
        path.display()
    )]
    Open { path: PathBuf, source: io::Error },
    #[error("{}: is neither a file nor a folder", path.display())]
    Special { path: PathBuf },
    #[error("{}: cannot read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{}: the queue changed since the run was planned (run again into a new folder)",
        path.display()
    )]
    Changed { path: PathBuf },
    #[error(
        "{}: cannot tell the format from the first bytes \
         (name it before the path: segment:, mbox:, maildir:, eml:, postoffice:, ffapi:)",
        path.display()
    )]
    UnknownFormat { path: PathBuf },
    #[error(
        "{}: this is the folder of a run (name one of its streams, for example {}/deferred)",
        path.display(),
        path.display()
    )]
    IsRun { path: PathBuf },
    #[error(
        "{}: is a folder, and {format} is a file (name a file, or another format)",
        path.display()
    )]
    IsFolder { path: PathBuf, format: Format },
    #[error(
        "{}: segment version {version} is newer than this program (version {}); \
         use a newer program",
        path.display(),
        segment::VERSION
    )]
    Version { path: PathBuf, version: u16 },
    #[error(transparent)]
    Files(#[from] FilesError),
}
