//! One part's files: a buffer for each stream, written in big pieces by the worker that does the
//! part.
//!
//! Messages are appended to the buffers; a message that fails on its way is taken back by its mark.
//! Small contents are copied; a large one is noted by its place, and goes from where it lies to the
//! file. Nothing is written before the message that it belongs to is settled, but for events that
//! aren't taken back any more. Not here: what a record says (`record`), and syncing. Invariants:
//! between a mark and its rollback nothing is written; a file begins with its header; a part with
//! nothing for a stream makes no file there.

use super::commits::Sealed;
use super::file::{self, RunFile};
use super::folder::RunFolder;
use super::{PerStream, SpoolError, Stream};
use crate::limits;
use crate::mail::content::Content;
use crate::queue::segment::write::{self as segment, Fields, Payload, Place};
use smallvec::SmallVec;
use std::io;

/// The buffers of a part, used again for the next.
#[derive(Debug, Default)]
pub struct Part {
    number: u32,
    streams: PerStream<Buffer>,
}

#[derive(Debug, Default)]
struct Buffer {
    data: Vec<u8>,
    /// Where in `data` the content of the message in hand is to be put in, when it is written.
    inserts: SmallVec<[usize; 4]>,
    inserted_bytes: u64,
    file: Option<RunFile>,
    written: u64,
    mark: u64,
    records: u64,
    seal: u32,
}

/// A state of the buffers, to which they can be taken back.
#[derive(Debug)]
pub struct Mark([BufferMark; Stream::ALL.len()]);

/// A state of one stream's buffer.
#[derive(Clone, Copy, Debug)]
pub struct BufferMark {
    data: usize,
    inserts: usize,
    inserted_bytes: u64,
    records: u64,
    seal: u32,
}

/// How far a part is: for each stream the length of its file, its records, its seal, and how many
/// bytes wait to be written behind that, its tail.
pub type State = [u64; 24];

/// Bytes of all tails of a state, at most.
pub const TAILS_BYTES_MAX: usize = Stream::ALL.len() * limits::ROUND_BYTES;

/// The files of a part that is written: open, to be synced, and what they are.
#[derive(Debug)]
pub struct Written {
    /// The part.
    pub number: u32,
    /// Its files.
    pub files: PerStream<Option<(RunFile, Sealed)>>,
}

impl Part {
    /// Begins a part. Whatever the buffers hold of another is forgotten.
    pub fn begin(&mut self, number: u32) {
        self.number = number;
        for stream in Stream::ALL {
            let buffer = self.streams.get_mut(stream);
            let mut data = std::mem::take(&mut buffer.data);
            data.clear();
            if data.capacity() > limits::BUFFER_KEPT_BYTES_MAX {
                data = Vec::new();
            }
            *buffer = Buffer { data, mark: file_mark(stream, number), ..Buffer::default() };
        }
    }

    /// The state now.
    pub fn mark(&self) -> Mark {
        Mark(self.streams.each().map(|(_, buffer)| buffer.mark()))
    }

    /// The state of one stream now.
    pub fn mark_of(&self, stream: Stream) -> BufferMark {
        self.streams.get(stream).mark()
    }

    /// Takes all streams back to a state since which nothing was settled.
    pub fn roll_back(&mut self, mark: &Mark) {
        for ((_, buffer), mark) in self.streams.each_mut().into_iter().zip(&mark.0) {
            buffer.roll_back(mark);
        }
    }

    /// Takes one stream back.
    pub fn roll_back_stream(&mut self, stream: Stream, mark: &BufferMark) {
        self.streams.get_mut(stream).roll_back(mark);
    }

    /// Appends a message's record to a stream.
    ///
    /// `whole`: the content of the message in hand itself, which [`Self::settle`] will be given; it
    /// may be left where it lies. Anything else is copied.
    pub fn record(
        &mut self,
        stream: Stream,
        payload: &Payload<'_>,
        whole: bool,
        envelope: impl FnOnce(&mut Fields<'_>),
    ) {
        let buffer = self.streams.get_mut(stream);
        buffer.have_room();
        if buffer.written == 0 && buffer.data.is_empty() {
            buffer.data.extend_from_slice(&segment::file_header(buffer.mark));
        }
        let offset = buffer.written + buffer.data.len() as u64 + buffer.inserted_bytes;
        let place = Place { offset, mark: buffer.mark };
        let checksum = segment::append_head(&mut buffer.data, place, payload, envelope);
        buffer.seal = crc32c::crc32c_append(buffer.seal, &checksum.to_le_bytes());
        buffer.records += 1;
        if whole && payload.len >= limits::CONTENT_IN_PLACE_BYTES_MIN as u64 {
            buffer.inserts.push(buffer.data.len());
            buffer.inserted_bytes += payload.len;
        } else {
            for run in payload.content.runs() {
                buffer.data.extend_from_slice(run);
            }
        }
    }

    /// Appends events, which `write` renders as whole lines; it gives how many.
    pub fn events(&mut self, write: impl FnOnce(&mut Vec<u8>) -> usize) {
        let buffer = &mut self.streams.events;
        buffer.have_room();
        let start = buffer.data.len();
        buffer.records += write(&mut buffer.data) as u64;
        let lines = buffer.data.get(start..).unwrap_or_default();
        buffer.seal = crc32c::crc32c_append(buffer.seal, lines);
    }

    /// The message in hand is through: contents that were left where they lie are written.
    /// `content` is that of the message.
    ///
    /// # Errors
    /// A file can't be made or written.
    pub fn settle(&mut self, folder: &RunFolder, content: Content<'_>) -> Result<(), SpoolError> {
        for (stream, buffer) in self.streams.each_mut() {
            if !buffer.inserts.is_empty() {
                buffer.write(folder, stream, self.number, buffer.data.len(), content)?;
            }
        }
        Ok(())
    }

    /// Events of the message in hand that aren't taken back any more: what has grown large is
    /// written, so that those of a million recipients don't wait in memory.
    ///
    /// # Errors
    /// A file can't be made or written.
    pub fn settle_events(&mut self, folder: &RunFolder) -> Result<(), SpoolError> {
        if self.streams.events.data.len() < limits::BUFFER_BYTES {
            return Ok(());
        }
        self.streams.events.write_round(folder, Stream::Events, self.number)
    }

    /// Bytes that wait in the buffers.
    pub fn waiting(&self) -> usize {
        self.streams.each().iter().map(|(_, buffer)| buffer.data.len()).sum()
    }

    /// Writes what waits, but for tails: files are longer by whole pages after it.
    ///
    /// # Errors
    /// A file can't be made or written.
    pub fn write_round(&mut self, folder: &RunFolder) -> Result<(), SpoolError> {
        for stream in Stream::ALL {
            self.streams.get_mut(stream).write_round(folder, stream, self.number)?;
        }
        Ok(())
    }

    /// Writes all that waits.
    ///
    /// # Errors
    /// A file can't be made or written.
    pub fn write_all(&mut self, folder: &RunFolder) -> Result<(), SpoolError> {
        for stream in Stream::ALL {
            let buffer = self.streams.get_mut(stream);
            if !buffer.data.is_empty() {
                let all = buffer.data.len();
                buffer.write(folder, stream, self.number, all, Content::default())?;
            }
        }
        Ok(())
    }

    /// How far the part is; its tails are put into `tails`, which is emptied first. To be asked
    /// behind [`Self::write_round`] or [`Self::write_all`]: tails are short then.
    pub fn state(&self, tails: &mut Vec<u8>) -> State {
        tails.clear();
        let mut state = State::default();
        for (stream, words) in Stream::ALL.into_iter().zip(state.chunks_exact_mut(4)) {
            let Buffer { written, records, seal, data, .. } = self.streams.get(stream);
            words.copy_from_slice(&[*written, *records, u64::from(*seal), data.len() as u64]);
            tails.extend_from_slice(data);
        }
        state
    }

    /// Goes on with a part that a process which died has left in a state: what its files have
    /// beyond it is cut off, its tails are waiting again.
    ///
    /// # Errors
    /// The files aren't there, or can't be written.
    pub fn go_on(
        &mut self,
        number: u32,
        state: &State,
        mut tails: &[u8],
        folder: &RunFolder,
    ) -> Result<(), SpoolError> {
        self.begin(number);
        for (stream, words) in Stream::ALL.into_iter().zip(state.chunks_exact(4)) {
            let path = folder.part_path(stream, number);
            let &[written, records, seal, tail] = words else { continue };
            let tail = usize::try_from(tail).ok().and_then(|len| tails.split_off(..len));
            let buffer = self.streams.get_mut(stream);
            if let Some(tail) = tail.filter(|tail| !tail.is_empty()) {
                buffer.have_room();
                buffer.data.extend_from_slice(tail);
            }
            buffer.written = written;
            buffer.records = records;
            buffer.seal = u32::try_from(seal).unwrap_or_default();
            if written == 0 {
                match file::remove(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(SpoolError::Write { path, source });
                    }
                    _ => continue,
                }
            }
            let open = || {
                let file = RunFile::append(&path)?;
                if file.length()? < written {
                    return Err(io::Error::other("it is shorter than it was"));
                }
                file.set_len(written)?;
                Ok(file)
            };
            buffer.file = Some(open().map_err(SpoolError::write(&path))?);
        }
        Ok(())
    }

    /// Writes all that is left, and gives the files to be synced.
    ///
    /// # Errors
    /// A file can't be made or written.
    pub fn finish(&mut self, folder: &RunFolder) -> Result<Written, SpoolError> {
        self.write_all(folder)?;
        let mut files = PerStream::default();
        for stream in Stream::ALL {
            let buffer = self.streams.get_mut(stream);
            let (length, records, seal) = (buffer.written, buffer.records, buffer.seal);
            let file = buffer.file.take();
            *files.get_mut(stream) = file.map(|file| (file, Sealed { length, records, seal }));
        }
        Ok(Written { number: self.number, files })
    }
}

impl Buffer {
    /// Takes memory at once for what a buffer comes to: growing to it step by step would touch, and
    /// have the system clear, twice as much.
    fn have_room(&mut self) {
        if self.data.capacity() == 0 {
            self.data.reserve(2 * limits::BUFFER_BYTES);
        }
    }

    fn mark(&self) -> BufferMark {
        BufferMark {
            data: self.data.len(),
            inserts: self.inserts.len(),
            inserted_bytes: self.inserted_bytes,
            records: self.records,
            seal: self.seal,
        }
    }

    fn roll_back(&mut self, mark: &BufferMark) {
        self.data.truncate(mark.data);
        self.inserts.truncate(mark.inserts);
        self.inserted_bytes = mark.inserted_bytes;
        self.records = mark.records;
        self.seal = mark.seal;
    }

    /// Writes up to a round offset of the file, where no content is to be put in.
    fn write_round(
        &mut self,
        folder: &RunFolder,
        stream: Stream,
        part: u32,
    ) -> Result<(), SpoolError> {
        let end = self.written + self.data.len() as u64;
        let over = usize::try_from(end % limits::ROUND_BYTES as u64).unwrap_or(0);
        match self.data.len().checked_sub(over) {
            None | Some(0) => Ok(()),
            Some(length) => self.write(folder, stream, part, length, Content::default()),
        }
    }

    /// Writes the first `length` bytes, with all contents that are to be put in.
    fn write(
        &mut self,
        folder: &RunFolder,
        stream: Stream,
        part: u32,
        length: usize,
        content: Content<'_>,
    ) -> Result<(), SpoolError> {
        let failed = |source| SpoolError::Write { path: folder.part_path(stream, part), source };
        let mut file = match self.file.take() {
            Some(file) => file,
            None => RunFile::create(&folder.part_path(stream, part)).map_err(failed)?,
        };
        let mut start = 0;
        for &at in &self.inserts {
            file.write_all(self.data.get(start..at).unwrap_or_default()).map_err(failed)?;
            for run in content.runs() {
                file.write_all(run).map_err(failed)?;
            }
            start = at;
        }
        file.write_all(self.data.get(start..length).unwrap_or_default()).map_err(failed)?;
        self.written += length as u64 + self.inserted_bytes;
        self.file = Some(file);
        self.data.drain(..length);
        self.inserts.clear();
        self.inserted_bytes = 0;
        if self.data.capacity() > limits::BUFFER_KEPT_BYTES_MAX {
            self.data.shrink_to(limits::BUFFER_BYTES);
        }
        Ok(())
    }
}

/// The mark of a part's file: the same whenever the part is done again.
fn file_mark(stream: Stream, part: u32) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(stream.name().as_bytes(), u64::from(part))
}
