//! Where a conversion goes: the target's name, and how it comes to be: `PATH.partial`, synced,
//! renamed.
//!
//! Not here: what is written into it. Invariant: under the target's own name nothing is made,
//! changed or removed before all of it is on the disk; an empty file or folder of that name is
//! replaced. An unfinished target of before is neither used nor removed.

use super::DeliverError;
use crate::queue::ffapi::LineEnd;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A format that messages can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFormat {
    /// One segment file (docs/segment.md).
    Segment,
    /// One file of the mboxrd kind.
    Mbox,
    /// A Maildir.
    Maildir,
    /// A folder of files, one message each.
    Eml,
    /// A folder of files of FFAPI text, one message each (docs/ffapi.md).
    Ffapi(LineEnd),
}

impl TargetFormat {
    const ALL: [Self; 5] =
        [Self::Segment, Self::Mbox, Self::Maildir, Self::Eml, Self::Ffapi(LineEnd::Cr)];

    /// Its name, as it is written before a path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Mbox => "mbox",
            Self::Maildir => "maildir",
            Self::Eml => "eml",
            Self::Ffapi(_) => "ffapi",
        }
    }

    pub(super) const fn is_folder(self) -> bool {
        matches!(self, Self::Maildir | Self::Eml | Self::Ffapi(_))
    }
}

/// A file or folder that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its format.
    pub format: TargetFormat,
    /// Where it will be.
    pub path: PathBuf,
}

impl Target {
    /// Reads `FORMAT:PATH`, with one of the formats `segment`, `mbox`, `maildir`, `eml`, `ffapi`.
    /// `None`: it isn't that.
    pub fn parse(spec: &str) -> Option<Self> {
        let (name, path) = spec.split_once(':')?;
        let format = TargetFormat::ALL.into_iter().find(|format| format.name() == name)?;
        (!path.is_empty()).then(|| Self { format, path: path.into() })
    }
}

/// Where a target is made.
pub(super) fn partial(path: &Path) -> PathBuf {
    partial_of(path, path.file_name().unwrap_or_default())
}

fn partial_of(path: &Path, name: &OsStr) -> PathBuf {
    let mut partial_name = OsString::from(name);
    partial_name.push(".partial");
    path.with_file_name(partial_name)
}

/// A target that may be made.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    partial: PathBuf,
}

impl Place {
    /// Looks whether the target may be made. Nothing is written.
    pub(super) fn check(path: &Path, is_folder: bool) -> Result<Self, DeliverError> {
        let path = path.to_owned();
        let Some(name) = path.file_name() else { return Err(DeliverError::NoName { path }) };
        let partial = partial_of(&path, name);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(DeliverError::Write { path, source }),
            Ok(found) if !is_empty(&path, &found) => return Err(DeliverError::Exists { path }),
            Ok(found) if found.is_dir() != is_folder => {
                let expected = if found.is_dir() { "file" } else { "folder" };
                return Err(DeliverError::Kind { path, expected });
            }
            Ok(_) => {}
        }
        if fs::symlink_metadata(&partial).is_ok() {
            return Err(DeliverError::Unfinished { path: partial });
        }
        Ok(Self { path, partial })
    }

    /// The target's name.
    pub(super) fn name(&self) -> &[u8] {
        self.path.file_name().unwrap_or_default().as_encoded_bytes()
    }

    /// Where it is made.
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// An error of writing it.
    pub(super) fn failed(&self, source: io::Error) -> DeliverError {
        DeliverError::Write { path: self.partial.clone(), source }
    }

    /// Gives the finished target, which is synced, its name.
    pub(super) fn finish(&self) -> Result<(), DeliverError> {
        let folder = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let named = fs::rename(&self.partial, &self.path);
        named.and_then(|()| File::open(folder)?.sync_all()).map_err(|source| self.failed(source))
    }
}

/// Whether there is nothing in what was found. What is neither file nor folder is never empty.
fn is_empty(path: &Path, found: &fs::Metadata) -> bool {
    if found.is_dir() {
        return fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    }
    found.is_file() && found.len() == 0
}
