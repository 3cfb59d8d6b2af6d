//! A Windows event log in files: FILE, then FILE with a number before its extension, each as large
//! as it may be.
//!
//! `x.evt`, `x.1.evt`, `x.2.evt`, oldest first; none is renamed or written again. Records are
//! numbered through all of them. A batch is one write: its records and behind them the end record,
//! over the end record of before; then the header, as dirty. So whatever instant a crash leaves,
//! all records that were written stand one behind the other, and readers that follow them find
//! them. Closing clears the header's flag. Not here: a record's bytes (`event::evt`).

use super::sink::lock;
use crate::deliver::DeliverError;
use crate::deliver::target::Place;
use crate::event::evt::{self, END_BYTES, Extent};
use crate::event::told::Told;
use crate::limits;
use crate::queue::bytes::FileBytes;
use crate::spool::private;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A log that is being written.
#[derive(Debug)]
pub(super) struct EvtFiles {
    path: PathBuf,
    /// How many files come before this one.
    index: u32,
    bytes_max: u64,
    computer: String,
    /// Files of a log that is whole before it has its names; none of a live one.
    places: Option<Vec<Place>>,
    file: File,
    extent: Extent,
    /// Where the records in `buffer` begin.
    written: u32,
    buffer: Vec<u8>,
    bytes: u64,
}

/// Name of the file with this index.
fn name(path: &Path, index: u32) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!(".{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

impl EvtFiles {
    /// Begins a log that has its names when it is whole.
    pub(super) fn create(
        path: &Path,
        bytes_max: u64,
        computer: &str,
    ) -> Result<Self, DeliverError> {
        let place = Place::check(path, false)?;
        let file = private::create_new(place.partial()).map_err(|source| place.failed(source))?;
        let log = Self::new(path, bytes_max, computer, file, Extent::new(1));
        Self { places: Some(vec![place]), ..log }.begun()
    }

    /// Opens a live log: a new one, or one that a run has left. Gives how many events it has, and
    /// the id of the last.
    pub(super) fn open(
        path: &Path,
        bytes_max: u64,
        computer: &str,
    ) -> Result<(Self, u64, Option<String>), DeliverError> {
        let mut index = 0;
        while name(path, index + 1).exists() {
            index += 1;
        }
        let (mut extent, mut last_id, mut is_log) = (Extent::new(1), None, false);
        // The last file may have been left before its header stood; the one before it then tells.
        let from = index.saturating_sub(1);
        for at in from..=index {
            let path = name(path, at);
            match FileBytes::open(&path, Vec::new()) {
                Ok((bytes, _)) if bytes.bytes().is_empty() => is_log = false,
                Ok((bytes, _)) => {
                    let scanned = evt::scan(bytes.bytes());
                    let scanned = scanned.filter(|log| at == 0 && log.extent.first == 1 || at > 0);
                    let Some(scanned) = scanned else { return Err(DeliverError::NotALog { path }) };
                    (extent, is_log) = (scanned.extent, true);
                    last_id = scanned.last_id.or(last_id);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => is_log = false,
                Err(source) => return Err(DeliverError::Write { path, source }),
            }
        }
        if !is_log {
            extent = Extent::new(extent.next);
        }
        let path_now = name(path, index);
        let failed = |source| DeliverError::Write { path: path_now.clone(), source };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(private::FILE_MODE);
        let file = options.open(&path_now);
        let file = file.map_err(failed)?;
        lock(&file).map_err(failed)?;
        // What stands behind the last whole record was never whole.
        let whole = if is_log { u64::from(extent.end) } else { 0 };
        file.set_len(whole).map_err(failed)?;
        let done = u64::from(extent.next.saturating_sub(1));
        let log = Self::new(path, bytes_max, computer, file, extent);
        Ok((Self { index, ..log }.begun()?, done, last_id))
    }

    fn new(path: &Path, bytes_max: u64, computer: &str, file: File, extent: Extent) -> Self {
        Self {
            path: path.to_owned(),
            index: 0,
            bytes_max: bytes_max.min(limits::LOG_BYTES_MAX),
            computer: computer.to_owned(),
            places: None,
            file,
            extent,
            written: extent.end,
            buffer: Vec::new(),
            bytes: 0,
        }
    }

    /// With its header, and its end record.
    fn begun(mut self) -> Result<Self, DeliverError> {
        self.flush()?;
        Ok(self)
    }

    /// Appends an event.
    pub(super) fn event(&mut self, told: &Told) -> Result<(), DeliverError> {
        let (before, length) = (self.extent, self.buffer.len());
        if self.append(told)? && !self.is_over() {
            return self.flush_full();
        }
        if before.records() == 0 {
            // Larger than a whole file may be: it has one for itself.
            return self.flush_full();
        }
        self.buffer.truncate(length);
        self.extent = before;
        self.next_file()?;
        self.append(told)?;
        self.flush_full()
    }

    fn is_over(&self) -> bool {
        u64::from(self.extent.end) + u64::from(END_BYTES) > self.bytes_max
    }

    fn append(&mut self, told: &Told) -> Result<bool, DeliverError> {
        if self.extent.append(&mut self.buffer, told, &self.computer) {
            return Ok(true);
        }
        if self.extent.next == u32::MAX {
            return Err(DeliverError::LogFull { path: self.path.clone() });
        }
        Ok(false)
    }

    fn flush_full(&mut self) -> Result<(), DeliverError> {
        if self.buffer.len() < limits::BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    /// Writes what is in hand.
    pub(super) fn flush(&mut self) -> Result<(), DeliverError> {
        let records = self.buffer.len() as u64;
        self.buffer.extend_from_slice(&self.extent.end_record());
        let written = self.file.write_all_at(&self.buffer, u64::from(self.written));
        let headed = written.and_then(|()| self.file.write_all_at(&self.extent.header(true), 0));
        headed.map_err(|source| self.failed(source))?;
        self.written = self.extent.end;
        self.bytes += records;
        self.buffer.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), DeliverError> {
        self.flush()?;
        let closed = self.file.write_all_at(&self.extent.header(false), 0);
        closed.and_then(|()| self.file.sync_all()).map_err(|source| self.failed(source))
    }

    fn next_file(&mut self) -> Result<(), DeliverError> {
        self.close()?;
        self.index += 1;
        let path = name(&self.path, self.index);
        let file = if let Some(places) = &mut self.places {
            let place = Place::check(&path, false)?;
            let file =
                private::create_new(place.partial()).map_err(|source| place.failed(source))?;
            places.push(place);
            file
        } else {
            let made = private::create_new(&path).and_then(|file| lock(&file).map(|()| file));
            made.map_err(|source| DeliverError::Write { path, source })?
        };
        self.file = file;
        self.extent = Extent::new(self.extent.next);
        self.written = self.extent.end;
        self.flush()
    }

    /// Closes the log, and gives its files their names, the first one's last. Gives the bytes of
    /// records that were written.
    pub(super) fn finish(mut self) -> Result<u64, DeliverError> {
        self.close()?;
        for place in self.places.iter().flatten().rev() {
            place.finish()?;
        }
        Ok(self.bytes)
    }

    fn failed(&self, source: io::Error) -> DeliverError {
        DeliverError::Write { path: name(&self.path, self.index), source }
    }
}
