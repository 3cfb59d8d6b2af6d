//! The files of a post office, found by name without regard to case, and read whole.
//!
//! Not here: what is in them, and writing. Names that are looked for are ours or hex names, so that
//! none leads out of the post office. Invariants: what isn't a regular file isn't there, nor
//! what `queue::open` refuses; no file is read past its bound.

use super::bag::HexName;
use crate::queue::bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Folders of a post office that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named and described in docs/postoffice.md")]
pub enum Folder {
    Glb,
    Xtn,
    Mem,
    Key,
    Mbg,
    Mai,
    Att,
    P1,
}

impl Folder {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Glb, Self::Xtn, Self::Mem, Self::Key, Self::Mbg, Self::Mai, Self::Att, Self::P1];

    /// Its name, which is also the extension of its files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Glb => "GLB",
            Self::Xtn => "XTN",
            Self::Mem => "MEM",
            Self::Key => "KEY",
            Self::Mbg => "MBG",
            Self::Mai => "MAI",
            Self::Att => "ATT",
            Self::P1 => "P1",
        }
    }
}

/// A post office, by its folder. Remembers how names are written on disk, where they aren't in
/// upper case.
#[derive(Debug)]
pub struct Office {
    root: PathBuf,
    /// By folder: its names that aren't in upper case, by what they are in upper case.
    odd_names: RefCell<HashMap<PathBuf, HashMap<String, OsString>>>,
    /// Folders that were found, as they stand on disk, by what they are and the last letter of
    /// those that files are divided among.
    folders: RefCell<HashMap<(Folder, u8), PathBuf>>,
}

impl Office {
    /// The post office in a folder.
    pub fn at(root: &Path) -> Self {
        let (odd_names, folders) = (RefCell::default(), RefCell::default());
        Self { root: root.to_owned(), odd_names, folders }
    }

    /// True where a folder is a post office.
    pub fn is_one(root: &Path) -> bool {
        let office = Self::at(root);
        let has = |name: &str| office.entry(root, name).is_some_and(|path| path.is_dir());
        has("KEY") && has("MBG")
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a folder: as it stands on disk, else as it would be made.
    pub fn folder(&self, folder: Folder) -> PathBuf {
        let name = folder.name();
        self.entry(&self.root, name).unwrap_or_else(|| self.root.join(name))
    }

    /// The path of a file by its name in upper case, with its extension: as it stands on disk, else
    /// as it would be made.
    pub fn path(&self, folder: Folder, name: &str) -> PathBuf {
        let within = self.folder_of(folder, name);
        self.entry(&within, name).unwrap_or_else(|| within.join(name))
    }

    /// The folder that a file of this name is in: files are divided among folders by the last digit
    /// of their names, in MAI and ATT.
    fn folder_of(&self, folder: Folder, name: &str) -> PathBuf {
        let prefix = match folder {
            Folder::Mai => "MA",
            Folder::Att => "AT",
            _ => "",
        };
        let stem = name.split('.').next().unwrap_or(name);
        let digit = stem.bytes().last().filter(|_| !prefix.is_empty());
        let key = (folder, digit.unwrap_or(0));
        if let Some(found) = self.folders.borrow().get(&key) {
            return found.clone();
        }
        let within = self.folder(folder);
        let name = digit.map(|digit| format!("{prefix}{}", char::from(digit)));
        let found = match &name {
            Some(name) => self.entry(&within, name),
            None => within.is_dir().then(|| within.clone()),
        };
        if let Some(found) = &found {
            self.folders.borrow_mut().insert(key, found.clone());
        }
        found.unwrap_or_else(|| name.map_or_else(|| within.clone(), |name| within.join(name)))
    }

    /// The path of a file of a hex name.
    pub fn named(&self, folder: Folder, name: HexName) -> PathBuf {
        self.path(folder, &file_name(folder, name))
    }

    /// An entry of a folder, if it is there.
    fn entry(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            return Some(path);
        }
        let mut all = self.odd_names.borrow_mut();
        let odd = all.entry(folder.to_owned()).or_insert_with(|| odd_names(folder));
        odd.get(name).map(|name| folder.join(name))
    }

    /// Opens a file to read; none where it isn't there, or isn't a file.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(&self, folder: Folder, name: &str) -> io::Result<Option<File>> {
        let path = self.path(folder, name);
        open(&path)
    }

    /// Appends a file to a buffer, if it is there and has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn read(
        &self,
        folder: Folder,
        name: &str,
        bytes_max: u64,
        out: &mut Vec<u8>,
    ) -> io::Result<Found> {
        let file = match crate::queue::open::to_read(&self.path(folder, name)) {
            Err(error) if is_none(&error) && !is_needed(folder, &error) => {
                return Ok(Found::Missing);
            }
            opened => opened?,
        };
        let start = out.len();
        file.take(bytes_max + 1).read_to_end(out)?;
        if (out.len() - start) as u64 > bytes_max {
            out.truncate(start);
            return Ok(Found::TooLong);
        }
        Ok(Found::Whole)
    }

    /// Has the system fetch the beginning of a file, without waiting for it; false where there is
    /// one that wasn't in memory.
    pub fn fetch(&self, folder: Folder, name: HexName) -> bool {
        open(&self.named(folder, name))
            .is_ok_and(|file| file.is_none_or(|file| bytes::fetch(&file)))
    }

    /// The names in a folder, sorted by what they are in upper case; none where it isn't there.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        match folder.read_dir() {
            Ok(entries) => {
                for entry in entries {
                    names.push(entry?.file_name());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        names.sort_by_cached_key(|name| (name.to_ascii_uppercase(), name.clone()));
        Ok(names)
    }
}

/// What became of reading a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was read.
    Whole,
    /// It isn't there.
    Missing,
    /// It is longer than its bound; nothing was read.
    TooLong,
}

/// Opens a regular file; none where there is none.
///
/// # Errors
/// Whatever the system says.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    match crate::queue::open::to_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_none(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A table that is there and can't be read isn't one that is missing: without its users a post
/// office would refuse all of its mail.
fn is_needed(folder: Folder, error: &io::Error) -> bool {
    let is_table = matches!(folder, Folder::Glb | Folder::Xtn | Folder::Mem);
    is_table && crate::queue::open::is_refusal(error)
}

/// True where an error of opening a file says that there is none: also no link may be followed to
/// it.
pub fn is_none(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || crate::queue::open::is_refusal(error)
}

/// `00000062.MAI`.
pub fn file_name(folder: Folder, name: HexName) -> String {
    format!("{}.{}", String::from_utf8_lossy(&name), folder.name())
}

fn odd_names(folder: &Path) -> HashMap<String, OsString> {
    let mut names = HashMap::new();
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name();
        let upper = name.to_string_lossy().to_ascii_uppercase();
        if name.to_str() != Some(upper.as_str()) {
            // Of several that differ in case alone the first by bytes counts.
            let kept = names.entry(upper).or_insert_with(|| name.clone());
            if name < *kept {
                *kept = name;
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_pipes_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["key", "Mbg", "mai/ma2", "P1"] {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        std::fs::write(root.join("mai/ma2/00000062.mai"), b"x").unwrap();
        assert!(Office::is_one(root) && !Office::is_one(&root.join("key")));
        let office = Office::at(root);
        let path = office.named(Folder::Mai, *b"00000062");
        assert_eq!(path, root.join("mai/ma2/00000062.mai"));
        let mut out = Vec::new();
        let read = office.read(Folder::Mai, "00000062.MAI", 1, &mut out).unwrap();
        assert_eq!((read, &out[..]), (Found::Whole, &b"x"[..]));
        assert_eq!(office.read(Folder::Mai, "00000062.MAI", 0, &mut out).unwrap(), Found::TooLong);
        assert_eq!(office.named(Folder::P1, *b"0000000A"), root.join("P1/0000000A.P1"));
        let pipe = root.join("P1/0000000A.P1");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(open(&pipe).unwrap().is_none());
        assert!(office.open(Folder::P1, "0000000B.P1").unwrap().is_none());
    }
}
