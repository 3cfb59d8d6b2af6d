//! The folders and files of one post office on the disk.
//!
//! What it deliberately does not do: keeping bytes; each file is written when it is made.
//!
//! Invariant: names are written big, or all of them small, as the post office wants it.

use std::fs;
use std::path::{Path, PathBuf};

use super::glb::hex_name;
use crate::GenError;
use crate::bytes::wide;

/// The main folders (Q132744).
const FOLDERS: [&str; 19] = [
    "ATT", "CAL", "FOLDERS", "GLB", "GRP", "HLP", "INF", "INI", "KEY", "LOG", "MAI", "MBG", "MEM",
    "MMF", "NME", "P1", "TPL", "USR", "XTN",
];
/// Those that have sixteen folders each: `ATT/AT0` to `ATT/ATF`.
const SPREAD: [(&str, &str); 2] = [("ATT", "AT"), ("MAI", "MA")];

/// Where a post office is written to.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    small: bool,
    /// Bytes of all files.
    pub(super) bytes: u64,
}

impl Disk {
    /// Makes the whole tree of folders, each with its placeholder.
    pub(super) fn new(root: &Path, small: bool) -> Result<Self, GenError> {
        let mut disk = Self { root: root.to_path_buf(), small, bytes: 0 };
        for folder in FOLDERS {
            disk.folder(folder)?;
        }
        for (folder, name) in SPREAD {
            for digit in "0123456789ABCDEF".chars() {
                disk.folder(&format!("{folder}/{name}{digit}"))?;
            }
        }
        Ok(disk)
    }

    fn folder(&mut self, name: &str) -> Result<(), GenError> {
        let path = self.root.join(self.cased(name));
        fs::create_dir_all(&path).map_err(|source| GenError::io(&path, source))?;
        self.write(&format!("{name}/POPULATE.MSM"), b" ")
    }

    /// A name as it is on this disk.
    pub(super) fn cased(&self, name: &str) -> String {
        if self.small { name.to_ascii_lowercase() } else { name.to_owned() }
    }

    /// Writes a file.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), GenError> {
        let path = self.root.join(self.cased(name));
        self.bytes += wide(bytes.len());
        fs::write(&path, bytes).map_err(|source| GenError::io(&path, source))
    }

    /// Writes a file named by a number.
    pub(super) fn write_number(
        &mut self,
        folder: &str,
        number: u32,
        bytes: &[u8],
    ) -> Result<(), GenError> {
        let name = String::from_utf8_lossy(&hex_name(number)).into_owned();
        let digit = name.chars().last().unwrap_or('0');
        let place = match SPREAD.iter().find(|(one, _)| *one == folder) {
            Some((_, part)) => format!("{folder}/{part}{digit}/{name}.{folder}"),
            None => format!("{folder}/{name}.{folder}"),
        };
        self.write(&place, bytes)
    }
}
