//! The list of a folder of FFAPI files: messages, and the files that they name in XATTACH and
//! XTEXT.
//!
//! A file that a message names, and that doesn't begin as a message does, is no message: it is
//! listed with a NUL before its name, so that a plan holds its identity, too. All files are opened
//! once. Not here: files outside of the folder of the message that names them: they aren't looked
//! for.

use super::{Entry, FileList, FilesError, Folder};
use crate::queue::bytes::{FileBytes, Identity};
use crate::queue::ffapi::read::{Bytes, begins_message, messages};
use crate::queue::open;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The folder that the names of a list are in.
pub fn root(queue: &Path) -> PathBuf {
    if queue.is_dir() {
        return queue.to_owned();
    }
    match queue.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Lists a folder, or one file and what it names.
///
/// # Errors
/// As [`FileList::take`]; a file can't be read.
pub fn take(queue: &Path) -> Result<FileList, FilesError> {
    let root = root(queue);
    if !queue.is_dir() {
        return one(queue, &root);
    }
    let list = FileList::take(queue, Folder::Eml)?;
    let looked: Vec<Looked> = (0..list.len())
        .into_par_iter()
        .map(|at| look(&root, &list, at))
        .collect::<Result<_, _>>()?;
    let mut named = BTreeSet::new();
    for (at, file) in (0..).zip(&looked) {
        let Some(entry) = list.get(at) else { break };
        for name in &file.names {
            let found = candidates(entry.name, name).find(|name| list.find(name).is_some());
            named.extend(found.filter(|name| name != entry.name));
        }
    }
    let mut entries = BTreeMap::new();
    for (at, file) in (0..).zip(&looked) {
        let Some(entry) = list.get(at) else { break };
        let is_message = file.begins_message || !named.contains(entry.name);
        let name = if is_message { entry.name.to_vec() } else { physical_name(entry.name) };
        entries.insert(name, (entry.size, entry.mtime_ns));
    }
    Ok(FileList::of(&entries, list.passed_over()))
}

/// One file, and what it names.
fn one(queue: &Path, root: &Path) -> Result<FileList, FilesError> {
    let name = queue.file_name().unwrap_or_default().as_bytes();
    let failed = |source| FilesError::Look { path: queue.to_owned(), source };
    let mut entries = BTreeMap::new();
    let identity = Identity::at(queue).map_err(failed)?;
    entries.insert(name.to_vec(), (identity.size, identity.mtime_ns));
    for named in look_at(queue).map_err(failed)?.names {
        for candidate in candidates(name, &named) {
            let path = root.join(OsStr::from_bytes(&candidate));
            if let Ok(identity) = open::looked_at(&path).map(|(_, found)| Identity::of(&found)) {
                entries.insert(physical_name(&candidate), (identity.size, identity.mtime_ns));
                break;
            }
        }
    }
    Ok(FileList::of(&entries, 0))
}

fn physical_name(name: &[u8]) -> Vec<u8> {
    [b"\0", name].concat()
}

/// Whether a name of a list is that of a file that is no message.
pub fn is_physical(name: &[u8]) -> bool {
    name.starts_with(b"\0")
}

/// The file that a message (by its name in the list) calls by this name.
pub fn physical<'l>(list: &'l FileList, message: &[u8], name: &[u8]) -> Option<Entry<'l>> {
    candidates(message, name).find_map(|name| {
        let found = list.find(&physical_name(&name)).or_else(|| list.find(&name))?;
        Some(Entry { name: found.name.strip_prefix(b"\0").unwrap_or(found.name), ..found })
    })
}

/// The names that a file may have which stands beside a message: as it is written, in upper case,
/// in lower case. None where the name has a drive or folders.
fn candidates(message: &[u8], name: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let is_bare = !name.is_empty()
        && !name.starts_with(b".")
        && !name.iter().any(|byte| matches!(byte, b'/' | b'\\' | b':' | b'\0'));
    let folder_len = memchr::memrchr(b'/', message).map_or(0, |slash| slash + 1);
    let folder = message.get(..folder_len).unwrap_or_default().to_vec();
    let cases = [name.to_vec(), name.to_ascii_uppercase(), name.to_ascii_lowercase()];
    cases.into_iter().filter(move |_| is_bare).map(move |name| [&folder[..], &name].concat())
}

/// What a file is, and the files that it names.
struct Looked {
    begins_message: bool,
    names: Vec<Vec<u8>>,
}

fn look(root: &Path, list: &FileList, at: u64) -> Result<Looked, FilesError> {
    let name = list.get(at).map_or(&b""[..], |entry| entry.name);
    let path = root.join(OsStr::from_bytes(name));
    look_at(&path).map_err(|source| FilesError::Look { path, source })
}

fn look_at(path: &Path) -> io::Result<Looked> {
    let (bytes, _) = FileBytes::open(path, Vec::new())?;
    let mut names = Vec::new();
    for message in messages(bytes.bytes()).filter(|message| message.fault.is_none()) {
        let attached = message.attachments.iter().map(|attached| attached.bytes);
        for bytes in std::iter::once(message.text).chain(attached) {
            if let Bytes::Beside(name, _) = bytes {
                names.push(name.to_vec());
            }
        }
    }
    Ok(Looked { begins_message: begins_message(bytes.bytes()), names })
}
