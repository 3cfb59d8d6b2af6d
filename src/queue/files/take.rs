//! Takes the list of a folder from the file system: lists names, sorts them, then looks at each
//! file, in parallel.
//!
//! Not here: what the list is for (`super`). Invariant: memory is the names and 16 bytes a file
//! more than the list. Failure: the error told is that of the first name in order, so that it is
//! the same one on any machine.

use super::{Entry, FileList, FilesError, Folder};
use crate::limits;
use crate::queue::open;
use rayon::prelude::*;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files looked at by one task: enough to make the dealing cheap.
const LOOK_FILES: usize = 512;

/// Names as they come: their bytes, and where each lies in them.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    places: Vec<(usize, usize)>,
    passed_over: u64,
}

impl Names {
    fn get(&self, place: (usize, usize)) -> &[u8] {
        self.bytes.get(place.0..place.1).unwrap_or_default()
    }
}

/// Length and time of last change; `None` for what is no file.
type Looked = Option<(u64, i64)>;

pub(super) fn take(root: &Path, folder: Folder) -> Result<FileList, FilesError> {
    let mut names = Names::default();
    match folder {
        Folder::Maildir => list_maildir(root, &mut names)?,
        Folder::Eml => list_tree(root, &mut names)?,
    }
    let mut places = std::mem::take(&mut names.places);
    places.par_sort_unstable_by(|a, b| names.get(*a).cmp(names.get(*b)));
    let looked: Vec<Result<Vec<Looked>, FilesError>> =
        places.par_chunks(LOOK_FILES).map(|chunk| look(root, &names, chunk)).collect();
    let mut list = FileList {
        names: Vec::with_capacity(names.bytes.len()),
        slots: Vec::with_capacity(places.len()),
        passed_over: names.passed_over,
    };
    for (chunk, looked) in places.chunks(LOOK_FILES).zip(looked) {
        for (place, file) in chunk.iter().zip(looked?) {
            let Some((size, mtime_ns)) = file else {
                list.passed_over += 1;
                continue;
            };
            // A name that the system lists twice was renamed away and back: it is one file.
            let _ = list.push(Entry { name: names.get(*place), size, mtime_ns });
        }
    }
    Ok(list)
}

/// `new` comes first: a message that a reader moves to `cur` meanwhile is then listed twice and
/// found vanished from `new`, but never missed.
fn list_maildir(root: &Path, names: &mut Names) -> Result<(), FilesError> {
    let mut found = 0;
    for part in ["new", "cur"] {
        if followed(&root.join(part)).is_ok_and(|folder| folder.is_none()) {
            names.passed_over += 1;
            continue;
        }
        match list_folder(root, part.as_bytes(), names, |_| {}) {
            Ok(()) => found += 1,
            Err(FilesError::List { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if found == 0 {
        return Err(FilesError::NoMaildir { path: root.to_path_buf() });
    }
    Ok(())
}

/// All depths, with a list of folders to do instead of recursion.
fn list_tree(root: &Path, names: &mut Names) -> Result<(), FilesError> {
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        list_folder(root, &folder, names, |sub_folder| folders.push(sub_folder))?;
    }
    Ok(())
}

/// Adds the names in one folder, given by its path below the root, and calls `each` with the paths
/// of folders in it.
fn list_folder(
    root: &Path,
    folder: &[u8],
    names: &mut Names,
    mut each: impl FnMut(Vec<u8>),
) -> Result<(), FilesError> {
    let path = root.join(OsStr::from_bytes(folder));
    let failed = |source| FilesError::List { path: path.clone(), source };
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let base = entry.file_name().into_vec();
        if base.starts_with(b".") {
            continue;
        }
        // Some file systems look at the file for this.
        let kind = entry.file_type().map_err(|error| look_error(entry.path(), error))?;
        let start = names.bytes.len();
        if !folder.is_empty() {
            names.bytes.extend_from_slice(folder);
            names.bytes.push(b'/');
        }
        names.bytes.extend_from_slice(&base);
        if kind.is_file() || kind.is_symlink() {
            names.places.push((start, names.bytes.len()));
            if names.places.len() > limits::FILES_MAX {
                return Err(FilesError::TooMany { path: root.to_path_buf() });
            }
            continue;
        }
        if kind.is_dir() {
            each(names.bytes.get(start..).unwrap_or_default().to_vec());
        } else {
            names.passed_over += 1;
        }
        names.bytes.truncate(start);
    }
    Ok(())
}

/// Looks at the files at `places`.
fn look(root: &Path, names: &Names, places: &[(usize, usize)]) -> Result<Vec<Looked>, FilesError> {
    let mut path = root.as_os_str().as_bytes().to_vec();
    path.push(b'/');
    let root_len = path.len();
    let mut looked = Vec::with_capacity(places.len());
    for place in places {
        path.truncate(root_len);
        path.extend_from_slice(names.get(*place));
        let file = Path::new(OsStr::from_bytes(&path));
        looked.push(match followed(file) {
            Ok(None) => None,
            Ok(Some(found)) => found.is_file().then(|| (found.len(), mtime_ns(&found))),
            Err(error) if is_dangling_link(file, &error) => None,
            Err(error) => return Err(look_error(file.to_path_buf(), error)),
        });
    }
    Ok(looked)
}

/// What a file is; none where it is behind a link that isn't followed.
fn followed(path: &Path) -> io::Result<Option<Metadata>> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_symlink() {
        return Ok(Some(found));
    }
    let target = fs::metadata(path)?;
    Ok(open::may_be_followed(&found, &target).then_some(target))
}

fn look_error(path: PathBuf, source: io::Error) -> FilesError {
    match source.kind() {
        io::ErrorKind::NotFound => FilesError::Vanished { path },
        _ => FilesError::Look { path, source },
    }
}

/// A link that leads to nothing, or round in a loop.
fn is_dangling_link(path: &Path, error: &io::Error) -> bool {
    let leads_nowhere = error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    leads_nowhere && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_vanished_after_listing_is_told() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let mut names = Names::default();
        list_tree(root.path(), &mut names).unwrap();
        let places = std::mem::take(&mut names.places);
        assert_eq!(look(root.path(), &names, &places).unwrap().len(), 3);
        fs::remove_file(root.path().join("b")).unwrap();
        let error = look(root.path(), &names, &places).unwrap_err();
        assert!(matches!(&error, FilesError::Vanished { path } if path.ends_with("b")), "{error}");
        assert!(error.to_string().contains("vanished"));
    }
}
