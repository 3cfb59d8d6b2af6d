//! Reading a part: its file is mapped or read, framed, and given to a visitor.
//!
//! Small files are read into one arena, a batch at a time; a big file is opened anew for each part,
//! and compared with what it was when the queue was opened, before and after. Not here: how each
//! format is framed. Nothing is kept between two parts but memory.

use super::bytes::{self, FileBytes, Identity};
use super::files::{self, FileList};
use super::postoffice::list::BagList;
use super::postoffice::message::BagReader;
use super::segment::reference::{Lost, Reference, References};
use super::{
    Damage, DamageKind, Files, Format, Found, Framed, Lies, Queue, QueueError, Span, ffapi,
    file_path, mbox, open, postoffice, segment,
};
use crate::limits;
use crate::mail::content::Content;
use crate::mail::envelope::QueueId;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes that hold messages, of one origin, for as long as a visitor looks at them.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The queue's format.
    pub format: Format,
    /// Name of the file within the queue; empty where each message is a file, whose name is in its
    /// `head`.
    pub name: &'a [u8],
    /// Tag of the file, for queue ids that are made from the place.
    pub tag: u32,
    /// The file's bytes; empty where each message is a file.
    pub bytes: &'a [u8],
}

/// Who looks at the messages of a part.
pub trait Visit {
    /// Why it wants to stop.
    type Error: From<QueueError>;

    /// Is given the next messages, in order. A part's messages come in one call or in several:
    /// their bytes live during the call.
    ///
    /// # Errors
    /// Ends the reading.
    fn batch<'a>(&mut self, source: Source<'a>, frames: Frames<'a>) -> Result<(), Self::Error>;

    /// Whether the contents of a segment are held against their checksums before they are given.
    /// Where not, the visitor holds a content against [`Frames::content_checksum`] before it relies
    /// on more than its header section.
    fn compares_contents(&self) -> bool {
        true
    }
}

/// The messages and damages of a stretch of a queue, in order.
#[derive(Debug)]
#[expect(missing_docs, reason = "one framer a format")]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, on the stack")]
pub enum Frames<'a> {
    Segment(segment::read::Records<'a>),
    Mbox(mbox::Mbox<'a>),
    Files(std::slice::Iter<'a, Found<'a>>),
    Slots(std::slice::Iter<'a, Framed<'a>>),
}

impl<'a> Iterator for Frames<'a> {
    type Item = Framed<'a>;

    fn next(&mut self) -> Option<Framed<'a>> {
        match self {
            Self::Segment(records) => records.next(),
            Self::Mbox(mbox) => mbox.next(),
            Self::Files(founds) => founds.next().map(|found| Framed::Message(*found)),
            Self::Slots(framed) => framed.next().copied(),
        }
    }
}

impl Frames<'_> {
    /// CRC32C of the content of the message given last, where framing knows it.
    pub const fn content_checksum(&self) -> Option<u32> {
        match self {
            Self::Segment(records) => records.content_checksum(),
            Self::Mbox(_) | Self::Files(_) | Self::Slots(_) => None,
        }
    }
}

/// Memory for reading, used again from part to part.
#[derive(Debug, Default)]
pub struct Buffers {
    file: Vec<u8>,
    arena: Vec<u8>,
    path: PathBuf,
}

/// A part without its first messages and damages, as far as they can be left out unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    span: Span,
    /// How many are left out.
    pub passed_over: u64,
}

impl Queue {
    /// Gives the messages of a part to a visitor, in order.
    ///
    /// # Errors
    /// A file can't be read or has changed since the queue was opened; or what the visitor says.
    pub fn read<V: Visit>(
        &self,
        span: &Span,
        buffers: &mut Buffers,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        self.read_rest(&Rest { span: span.clone(), passed_over: 0 }, buffers, visitor)
    }

    /// Gives the messages of what is left of a part.
    ///
    /// # Errors
    /// As with [`Self::read`].
    pub fn read_rest<V: Visit>(
        &self,
        rest: &Rest,
        buffers: &mut Buffers,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        match rest.span {
            Span::Bytes(file, start, end) => {
                let is_rest = rest.passed_over > 0;
                self.read_range(file as usize, start..end, is_rest, buffers, visitor)
            }
            Span::Files(first, end) => match &self.files {
                Files::Bags(list) => self.read_slots(list, first..end, buffers, visitor),
                _ if self.format == Format::Ffapi => self.read_ffapi(first..end, buffers, visitor),
                _ => self.read_files(first..end, buffers, visitor),
            },
        }
    }

    /// A part without so many of its first messages and damages. `offset` is where the last of
    /// them ends, which may be behind the part's end, as damage may that comes then.
    pub fn without_first(&self, span: &Span, messages: u64, offset: u64) -> Rest {
        let (span, passed_over) = match (span, &self.files) {
            (Span::Files(first, end), Files::Folder(_)) if self.format != Format::Ffapi => {
                let left_out = messages.min(end - first);
                (Span::Files(first + left_out, *end), left_out)
            }
            (Span::Bytes(file, start, end), _) if messages > 0 && offset > *start => {
                (Span::Bytes(*file, offset, *end), messages)
            }
            _ => (span.clone(), 0),
        };
        Rest { span, passed_over }
    }

    fn read_range<V: Visit>(
        &self,
        file: usize,
        range: Range<u64>,
        is_rest: bool,
        buffers: &mut Buffers,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        let bytes = self.open_file(file, std::mem::take(&mut buffers.file))?;
        if let Some(queue_file) = self.files.big().get(file) {
            let source = Source {
                format: self.format,
                name: queue_file.name.as_bytes(),
                tag: tag(bytes.bytes()),
                bytes: bytes.bytes(),
            };
            match self.format.mbox_kind() {
                Some(kind) => {
                    let frames = Frames::Mbox(mbox::frame(bytes.bytes(), kind, range));
                    visitor.batch(source, frames)?;
                }
                None if self.format == Format::Segment => {
                    self.read_records(source, range, is_rest, visitor)?;
                }
                // It holds one message, which was passed over.
                None if is_rest => {}
                None => {
                    let found = whole(queue_file.name.as_bytes(), bytes.bytes());
                    visitor.batch(source, Frames::Files([found].iter()))?;
                }
            }
        }
        // What was read must be what was planned, up to now.
        let path = file_path(&self.path, &self.files, file);
        let now = Identity::at(&path).ok();
        if self.files.big().get(file).map(|file| file.identity) != now {
            return Err(QueueError::Changed { path }.into());
        }
        buffers.file = bytes.into_buffer();
        Ok(())
    }

    /// Gives the records of a segment, in as many stretches as the files that they refer to need.
    fn read_records<V: Visit>(
        &self,
        source: Source<'_>,
        mut range: Range<u64>,
        mut is_rest: bool,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        let path = self.path_of(source.name);
        loop {
            let references = References::of(&path)
                .map_err(|source| QueueError::Read { path: path.clone(), source })?;
            let records = if is_rest {
                segment::read::frame_rest(source.bytes, range.clone())
            } else {
                segment::read::frame(source.bytes, range.clone())
            };
            let records = records.following(&references);
            let records = if visitor.compares_contents() { records } else { records.unread() };
            visitor.batch(source, Frames::Segment(records))?;
            match references.stopped_at() {
                Some(at) => (range.start, is_rest) = (at as u64, false),
                None => return Ok(()),
            }
        }
    }

    /// Where the file of this name is, of those that a queue has few of.
    fn path_of(&self, name: &[u8]) -> PathBuf {
        if self.path.is_dir() {
            return self.path.join(OsStr::from_bytes(name));
        }
        // What a run has planned is the path without links: names in it mean the same from there.
        self.path.canonicalize().unwrap_or_else(|_| self.path.clone())
    }

    /// Why the content of a record leads nowhere, which is damage for that; `None` for any other
    /// damage.
    pub fn lost(&self, source: &Source<'_>, damage: &Damage) -> Option<Lost> {
        if damage.kind != DamageKind::Reference {
            return None;
        }
        let (envelope, content) = segment::read::record_at(source.bytes, damage.offset)?;
        let place = QueueId::Place { tag: source.tag, offset: damage.offset };
        let mut queue_id = Vec::new();
        segment::read::envelope(envelope, place, &mut Vec::new())
            .map_or(place, |envelope| envelope.queue_id)
            .write(&mut queue_id);
        let references = References::of(&self.path_of(source.name)).ok()?;
        references.lost(queue_id, &Reference::read(content)?)
    }

    fn read_files<V: Visit>(
        &self,
        files: Range<u64>,
        buffers: &mut Buffers,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        let Files::Folder(list) = &self.files else { return Ok(()) };
        let mut next = files.start;
        while next < files.end {
            let load = Load::take(
                &self.path,
                list,
                next..files.end,
                &mut buffers.arena,
                &mut buffers.path,
            )?;
            next += load.pieces.len() as u64;
            let founds: Vec<Found<'_>> =
                load.pieces.iter().map(|piece| piece.found(&buffers.arena)).collect();
            let source = Source { format: self.format, name: b"", tag: 0, bytes: b"" };
            visitor.batch(source, Frames::Files(founds.iter()))?;
        }
        Ok(())
    }
}
impl Queue {
    /// Gives the messages in a run of slots, bag by bag.
    fn read_slots<V: Visit>(
        &self,
        list: &BagList,
        slots: Range<u64>,
        buffers: &mut Buffers,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        let root = postoffice::root(&self.path);
        for (bag, slots) in list.bags_of(slots) {
            let path = root.join(&bag.name);
            let failed = |source| QueueError::Read { path: path.clone(), source };
            let (mbg, _) =
                FileBytes::open(&path, std::mem::take(&mut buffers.file)).map_err(failed)?;
            let source = Source {
                format: self.format,
                name: bag.name.as_bytes(),
                tag: 0,
                bytes: mbg.bytes(),
            };
            let mut reader = BagReader::open(&root, bag).map_err(failed)?;
            let mut left = slots;
            while !left.is_empty() {
                let arena = &mut buffers.arena;
                if arena.capacity() > limits::BUFFER_KEPT_BYTES_MAX {
                    *arena = Vec::new();
                }
                arena.clear();
                let pieces = reader.read(mbg.bytes(), left, arena).map_err(failed)?;
                let pieces = pieces.ok_or_else(|| QueueError::Changed { path: path.clone() })?;
                let framed: Vec<Framed<'_>> =
                    pieces.iter().map(|piece| piece.framed(arena)).collect();
                visitor.batch(source, Frames::Slots(framed.iter()))?;
                left = left.get(framed.len()..).unwrap_or_default();
            }
            buffers.file = mbg.into_buffer();
        }
        Ok(())
    }
}

impl Queue {
    /// Gives the messages of FFAPI files, file by file.
    fn read_ffapi<V: Visit>(
        &self,
        files: Range<u64>,
        buffers: &mut Buffers,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        let Files::Folder(list) = &self.files else { return Ok(()) };
        let root = files::ffapi::root(&self.path);
        let open = |entry: &files::Entry<'_>, buffer| {
            let path = root.join(OsStr::from_bytes(entry.name));
            let (bytes, identity) = FileBytes::open(&path, buffer)
                .map_err(|source| QueueError::Read { path: path.clone(), source })?;
            unchanged(&path, entry, identity)?;
            Ok(bytes)
        };
        for index in files {
            let Some(entry) = list.get(index) else { break };
            if files::ffapi::is_physical(entry.name) {
                continue;
            }
            let bytes = open(&entry, std::mem::take(&mut buffers.file))?;
            let arena = &mut buffers.arena;
            arena.clear();
            if arena.capacity() > limits::BUFFER_KEPT_BYTES_MAX {
                *arena = Vec::new();
            }
            let pieces = ffapi::frame::file(entry.name, bytes.bytes(), arena, |name| {
                let beside = files::ffapi::physical(list, entry.name, name);
                beside.map(|entry| open(&entry, Vec::new())).transpose()
            })?;
            let founds: Vec<Found<'_>> =
                pieces.iter().map(|piece| piece.found(bytes.bytes(), arena)).collect();
            let (format, name) = (self.format, entry.name);
            let source = Source { format, name, tag: 0, bytes: bytes.bytes() };
            visitor.batch(source, Frames::Files(founds.iter()))?;
            buffers.file = bytes.into_buffer();
        }
        Ok(())
    }
}

/// A message that is a file.
fn whole<'a>(name: &'a [u8], bytes: &'a [u8]) -> Found<'a> {
    let found = Found::new(0, bytes.len() as u64, name, Content::plain(bytes));
    Found { lies: Lies::Here(0), ..found }
}

/// Some files of a folder, in memory: small ones one after the other in an arena, a big one mapped.
struct Load<'l> {
    pieces: Vec<Piece<'l>>,
}

struct Piece<'l> {
    name: &'l [u8],
    bytes: PieceBytes,
}

enum PieceBytes {
    Arena(Range<usize>),
    Own(FileBytes),
}

impl<'l> Load<'l> {
    /// Reads the next files, up to a batch of them, or what fills a buffer. Files that aren't in
    /// memory are asked for first, all of them, and read when the others were: so that the disk has
    /// many to fetch at a time (perf/README.md, "Small files").
    fn take(
        root: &Path,
        list: &'l FileList,
        files: Range<u64>,
        arena: &mut Vec<u8>,
        path: &mut PathBuf,
    ) -> Result<Self, QueueError> {
        if arena.capacity() > limits::BUFFER_KEPT_BYTES_MAX {
            *arena = Vec::new();
        }
        let mut pieces = Vec::with_capacity(limits::BATCH_MESSAGES);
        let (mut later, mut filled) = (Vec::new(), 0);
        for index in files.take(limits::BATCH_MESSAGES) {
            let Some(entry) = list.get(index) else { break };
            below(root, entry.name, path);
            if entry.size >= limits::MAP_BYTES_MIN {
                let (bytes, identity) =
                    FileBytes::open(path, Vec::new()).map_err(|error| failed(path, error))?;
                unchanged(path, &entry, identity)?;
                pieces.push(Piece { name: entry.name, bytes: PieceBytes::Own(bytes) });
                break;
            }
            let end = filled + usize::try_from(entry.size).unwrap_or(0);
            // A byte more than the file has: see `bytes::read_exactly`.
            let place = filled..end + 1;
            arena.resize(arena.len().max(place.end), 0);
            if !read_small(path, &entry, place_in(arena, &place), bytes::read_at_once)? {
                later.push((entry, place.clone()));
            }
            pieces.push(Piece { name: entry.name, bytes: PieceBytes::Arena(filled..end) });
            filled = place.end;
            if filled > limits::BATCH_BYTES {
                break;
            }
        }
        for (entry, place) in later {
            below(root, entry.name, path);
            read_small(path, &entry, place_in(arena, &place), bytes::read_exactly)?;
        }
        Ok(Self { pieces })
    }
}

/// The path of a file of a folder.
fn below(root: &Path, name: &[u8], path: &mut PathBuf) {
    path.as_mut_os_string().clear();
    path.push(root);
    path.push(OsStr::from_bytes(name));
}

fn place_in<'a>(arena: &'a mut [u8], place: &Range<usize>) -> &'a mut [u8] {
    arena.get_mut(place.clone()).unwrap_or_default()
}

/// Reads a small file that a list has, unless it has changed, in one of the ways of `bytes`.
fn read_small<T>(
    path: &Path,
    entry: &files::Entry<'_>,
    place: &mut [u8],
    read: impl FnOnce(&File, &mut [u8]) -> io::Result<T>,
) -> Result<T, QueueError> {
    let (file, found) = open::looked_at(path).map_err(|error| failed(path, error))?;
    unchanged(path, entry, Identity::of(&found))?;
    read(&file, place).map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: io::Error) -> QueueError {
    QueueError::Read { path: path.to_owned(), source }
}

fn unchanged(path: &Path, entry: &files::Entry<'_>, now: Identity) -> Result<(), QueueError> {
    if entry.size == now.size && entry.mtime_ns == now.mtime_ns {
        return Ok(());
    }
    Err(QueueError::Changed { path: path.to_owned() })
}

impl Piece<'_> {
    fn found<'a>(&'a self, arena: &'a [u8]) -> Found<'a> {
        let bytes = match &self.bytes {
            PieceBytes::Arena(range) => arena.get(range.clone()).unwrap_or_default(),
            PieceBytes::Own(bytes) => bytes.bytes(),
        };
        whole(self.name, bytes)
    }
}

/// Tag of a file, from its first bytes and its length: tells queue ids of one file from those of
/// another.
fn tag(bytes: &[u8]) -> u32 {
    let start = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c(start), &(bytes.len() as u64).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it was shown: names and contents.
    #[derive(Default)]
    struct Seen(Vec<(Vec<u8>, Vec<u8>)>);

    impl Visit for Seen {
        type Error = QueueError;

        fn batch<'a>(&mut self, _: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
            for framed in frames {
                let Framed::Message(found) = framed else { panic!("damage in a folder of files") };
                self.0.push((found.head.to_vec(), found.content.raw().to_vec()));
            }
            Ok(())
        }
    }

    /// Some of the files are made to be fetched from the disk, where the file system does that.
    #[test]
    fn files_are_read_in_their_order_wherever_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for number in 0..600_usize {
            let len = if number == 300 { 2 << 20 } else { number * 97 % 20_000 };
            let content: Vec<u8> = (0..=250).cycle().skip(number % 251).take(len).collect();
            let name = format!("{number:03}.eml");
            let path = folder.path().join(&name);
            std::fs::write(&path, &content).unwrap();
            if number % 3 > 0 {
                let file = File::open(&path).unwrap();
                file.sync_all().unwrap();
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            }
            expected.push((name.into_bytes(), content));
        }
        let queue = Queue::open(&format!("eml:{}", folder.path().display())).unwrap();
        let (mut buffers, mut seen) = (Buffers::default(), Seen::default());
        for span in queue.cut(1 << 20).unwrap() {
            queue.read(&span, &mut buffers, &mut seen).unwrap();
        }
        assert!(seen.0 == expected);
    }

    struct Count(usize);

    impl Visit for Count {
        type Error = QueueError;

        fn batch<'a>(&mut self, _: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
            self.0 += frames.count();
            Ok(())
        }
    }

    #[test]
    fn a_file_of_one_message_has_nothing_left_behind_it() {
        let file = tempfile::NamedTempFile::with_suffix(".eml").unwrap();
        std::fs::write(file.path(), b"Subject: one\r\n\r\ntext\r\n").unwrap();
        let queue = Queue::open(&format!("eml:{}", file.path().display())).unwrap();
        let span = queue.cut(1 << 20).unwrap().pop().unwrap();
        let size = queue.total_bytes();
        for (messages, offset, left) in [(0, 0, 1), (1, size, 0)] {
            let rest = queue.without_first(&span, messages, offset);
            let mut count = Count(0);
            queue.read_rest(&rest, &mut Buffers::default(), &mut count).unwrap();
            assert_eq!((rest.passed_over, count.0), (messages, left));
        }
    }
}
