//! Writes the files of a new post office and its quarantine, and notes each in the ledger.
//!
//! Not here: what is written. Invariants: every file is new (nothing is written over); what is said
//! to be copied was read once, and its checksum is of what was read.

use super::SalvageError;
use super::ledger::{self, Became, Line};
use crate::check::place::Place;
use crate::check::shape::{FOLDERS, FOLDERS_OF_USERS};
use crate::check::survey::Survey;
use crate::limits;
use crate::spool::private;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// The folder of what can't be rebuilt.
pub(super) const QUARANTINE: &str = "quarantine";

/// The files of one post office that is rebuilt.
pub(super) struct Files<'s> {
    pub(super) survey: &'s Survey,
    /// Its path in the queue.
    office: &'s str,
    /// The new folder.
    new: &'s Path,
    pub(super) lines: Vec<Line>,
    in_quarantine: u32,
}

impl<'s> Files<'s> {
    pub(super) fn new(survey: &'s Survey, office: &'s str, new: &'s Path) -> Self {
        Self { survey, office, new, lines: Vec::new(), in_quarantine: 0 }
    }

    /// A path of the post office as the ledger has it.
    pub(super) fn name(&self, path: &str) -> String {
        if self.office.is_empty() {
            path.to_owned()
        } else {
            format!("{}/{path}", ledger::name_of(Path::new(self.office)))
        }
    }

    /// The name of an old file.
    pub(super) fn old(&self, file: usize) -> Option<String> {
        let file = self.survey.files.get(file)?;
        Some(self.name(&ledger::name_of(&file.path)))
    }

    /// Where an old file is in the new one: what is known in upper case.
    pub(super) fn new_path(&self, file: usize) -> String {
        let Some(file) = self.survey.files.get(file) else { return String::new() };
        let parts: Vec<&str> = file.upper.split('/').collect();
        let folders = match parts.as_slice() {
            [folder, _, _, ..] if matches!(*folder, "MAI" | "ATT") => 2,
            [folder, ..] if FOLDERS.contains(folder) || FOLDERS_OF_USERS.contains(folder) => 1,
            _ => 0,
        };
        if file.place != Place::Other || (folders == 1 && parts.len() == 2 && is_known(&file.upper))
        {
            return file.upper.clone();
        }
        let mut path = String::new();
        for (index, part) in file.path.iter().enumerate() {
            if index > 0 {
                path.push('/');
            }
            match parts.get(index).filter(|_| index < folders) {
                Some(known) => path.push_str(known),
                None => path.push_str(&ledger::name_of(Path::new(part))),
            }
        }
        path
    }

    /// Makes a folder.
    pub(super) fn folder(&self, path: &str) -> Result<(), SalvageError> {
        let path = self.new.join(self.office).join(path);
        private::create_tree(&path).map_err(SalvageError::write(&path))
    }

    /// Writes a file of the new post office; gives its name.
    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> Result<String, SalvageError> {
        let name = self.name(path);
        write_new(&self.new.join(ledger::path_of(&name)), bytes)?;
        Ok(name)
    }

    /// Writes a file that was made; notes it.
    pub(super) fn made(&mut self, path: &str, bytes: &[u8], why: &str) -> Result<(), SalvageError> {
        let new = Some(self.write(path, bytes)?);
        let made = Some(ledger::checksum(bytes));
        self.lines.push(Line { new, made, ..Line::new(Became::Made, why.to_owned()) });
        Ok(())
    }

    /// Copies a file as it is.
    pub(super) fn copy(&mut self, file: usize, path: &str, why: &str) -> Result<(), SalvageError> {
        let name = self.name(path);
        self.transfer(file, name, Became::Copied, None, why)
    }

    /// Puts a file into quarantine as it is; `instead` is the file that was made in its place.
    pub(super) fn set_aside(
        &mut self,
        file: usize,
        why: &str,
        instead: Option<(&str, &[u8])>,
    ) -> Result<(), SalvageError> {
        let instead = match instead {
            Some((path, bytes)) => Some((self.write(path, bytes)?, ledger::checksum(bytes))),
            None => None,
        };
        let name = self.survey.files.get(file).and_then(|file| file.path.file_name());
        let name = ledger::name_of(Path::new(name.unwrap_or_default()));
        let place = self.quarantine_name(&name);
        self.transfer(file, place, Became::Quarantined, instead, why)
    }

    /// Puts a range of an old file into quarantine.
    pub(super) fn set_aside_range(
        &mut self,
        (path, offset): (String, u64),
        bytes: &[u8],
        why: &str,
    ) -> Result<(), SalvageError> {
        let file = path.rsplit('/').next().unwrap_or_default();
        let new = self.quarantine_name(&format!("{file}-{offset}"));
        write_new(&self.new.join(ledger::path_of(&new)), bytes)?;
        self.lines.push(Line {
            old: Some(path),
            offset: Some(offset),
            length: Some(bytes.len() as u64),
            checksum: Some(ledger::checksum(bytes)),
            new: Some(new),
            ..Line::new(Became::Quarantined, why.to_owned())
        });
        Ok(())
    }

    /// Numbers keep names apart; and no folder there may look like a post office.
    fn quarantine_name(&mut self, name: &str) -> String {
        self.in_quarantine += 1;
        let office = ledger::name_of(Path::new(self.office));
        let separator = if office.is_empty() { "" } else { "/" };
        format!("{QUARANTINE}/{office}{separator}{:06}-{name}", self.in_quarantine)
    }

    fn transfer(
        &mut self,
        file: usize,
        new: String,
        became: Became,
        instead: Option<(String, String)>,
        why: &str,
    ) -> Result<(), SalvageError> {
        let (instead, made) = instead.unzip();
        let old = self.old(file);
        let from = crate::queue::postoffice::office::open(&self.survey.path(file));
        let from = from.and_then(|from| from.ok_or_else(|| io::ErrorKind::NotFound.into()));
        let mut from = match from {
            Ok(from) => from,
            Err(error) => {
                let line = Line::new(Became::Unreadable, error.to_string());
                self.lines.push(Line { old, instead, made, ..line });
                return Ok(());
            }
        };
        let (length, sum) = copy_new(&mut from, &self.new.join(ledger::path_of(&new)))?;
        self.lines.push(Line {
            old,
            length: Some(length),
            checksum: Some(ledger::digits(sum)),
            new: Some(new),
            instead,
            made,
            ..Line::new(became, why.to_owned())
        });
        Ok(())
    }
}

/// Files with names of ours are known in any case.
fn is_known(upper: &str) -> bool {
    crate::check::shape::Shape::of(upper).is_some()
        || upper.ends_with(crate::check::shape::POPULATE)
}

/// Writes a new file, and the folders that it lies in.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SalvageError> {
    let mut file = create(path)?;
    file.write_all(bytes).map_err(SalvageError::write(path))
}

fn create(path: &Path) -> Result<File, SalvageError> {
    let created = private::create_new(path).or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        private::create_tree(path.parent().unwrap_or(path))?;
        private::create_new(path)
    });
    created.map_err(SalvageError::write(path))
}

/// Copies a file; gives its length and checksum. An error of reading ends it as one of writing
/// does: half a file is no salvage.
fn copy_new(from: &mut File, to: &Path) -> Result<(u64, u64), SalvageError> {
    let mut out = create(to)?;
    let mut hash = Xxh3::new();
    let mut buffer = Vec::new();
    let mut length = 0;
    loop {
        buffer.clear();
        let read = io::Read::take(&mut *from, limits::BUFFER_BYTES as u64)
            .read_to_end(&mut buffer)
            .and_then(|read| out.write_all(&buffer).map(|()| read));
        let read = read.map_err(SalvageError::write(to))?;
        hash.update(&buffer);
        length += read as u64;
        if read < limits::BUFFER_BYTES {
            return Ok((length, hash.digest()));
        }
    }
}
