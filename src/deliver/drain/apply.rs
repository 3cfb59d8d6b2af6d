//! Does to a post office what the log says: puts in, and takes out.
//!
//! Everything here can be done again after a crash. What is there already stays as it is, and is
//! written again: a disk that has failed to take it may have lost it, and the system shows it all
//! the same, as it would once it is written. Other programs may read and change the mailbags
//! meanwhile: a record is whole before its bit says that it is there, and of a KEY only the bytes
//! of slots and counts that change are written, or are written again. Not here: what is to be done
//! (`work`), and in what order all post offices are (`mod`). Invariants: a MAI is in a bag at most
//! once; no live slot gets other bytes.

use super::work;
use crate::queue::open;
use crate::queue::postoffice::bag::{
    self, KEY_BYTES, Key, RECORD_BYTES, Record, SLOTS_MAX, hex_name, records,
};
use crate::queue::postoffice::mai::{self, COUNTER_AT};
use crate::queue::postoffice::office::{self, Folder, Office, file_name, is_none};
use crate::spool::drain::{Counter, NewFile, Put, TakeOut, Work};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Records that aren't in their bags.
#[derive(Debug, Default)]
pub(super) struct NotIn {
    /// Their bags are full, or can't be used.
    pub(super) waiting: Vec<Put>,
    /// Reports whose name another program has taken meanwhile.
    pub(super) nameless: usize,
}

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Again, after a crash.
    pub(super) is_redo: bool,
    /// So that it outlives a power failure.
    pub(super) sync: bool,
}

/// Puts files, references and records in.
pub(super) fn put_in(office: &Office, work: &Work, how: How) -> io::Result<NotIn> {
    let is_redo = how.is_redo;
    let mut not_ours = HashSet::new();
    for file in &work.files {
        if !write_file(office, file, is_redo)? {
            not_ours.insert(file.name.as_bytes());
        }
    }
    if is_redo {
        work::take_names(office, &work.files)?;
    }
    for counter in &work.counters {
        set_counter(office, counter, is_redo)?;
    }
    let mut not_in = NotIn::default();
    let mut by_bag: BTreeMap<&str, Vec<&Put>> = BTreeMap::new();
    for put in &work.puts {
        let name = Record::new(&put.record()).mai();
        if put.is_report && name.is_some_and(|name| not_ours.contains(&name[..])) {
            not_in.nameless += 1;
        } else {
            by_bag.entry(&put.bag).or_default().push(put);
        }
    }
    for (bag, puts) in by_bag {
        let left = match into_bag(office, bag, &puts, how) {
            Err(error) if is_of_one_bag(&error) => puts,
            left => left?,
        };
        not_in.waiting.extend(left.into_iter().cloned());
    }
    Ok(not_in)
}

/// A bag whose files aren't ours to open keeps its own mail waiting, and nobody else's.
fn is_of_one_bag(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory)
        || open::is_refusal(error)
}

/// Puts records into one bag; gives those that found no place.
pub(super) fn into_bag<'p>(
    office: &Office,
    bag: &str,
    puts: &[&'p Put],
    how: How,
) -> io::Result<Vec<&'p Put>> {
    let key_path = office.path(Folder::Key, &format!("{bag}.KEY"));
    let mbg_path = office.path(Folder::Mbg, &format!("{bag}.MBG"));
    let mut mbg_file = open::to_change(&mbg_path, true)?;
    // A KEY is made for a bag without records alone: elsewhere it would say that all are live.
    let mut key_file = match open::to_change(&key_path, mbg_file.metadata()?.len() == 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(puts.to_vec()),
        file => file?,
    };
    // Keeps other drains out of a bag that several post offices of theirs lead to.
    key_file.lock()?;
    let mut mbg = Vec::new();
    mbg_file.read_to_end(&mut mbg)?;
    let Some(mut key) = read_key(&mut key_file, mbg.is_empty())? else {
        return Ok(puts.to_vec());
    };
    if !cut_torn(&mbg_file, &mut mbg, puts)? {
        return Ok(puts.to_vec());
    }
    let before = key.clone();
    let fill = Fill::of(&mbg, &mut key, puts, how.is_redo);
    let end = mbg.len() as u64;
    let (all, _) = records(&mbg);
    let again = fill.again.iter().filter_map(|slot| Some((*slot, &all.get(*slot as usize)?[..])));
    for (slot, record) in fill.reused.iter().copied().chain(again) {
        mbg_file.write_all_at(record, u64::from(slot) * RECORD_BYTES as u64)?;
    }
    mbg_file.write_all_at(&fill.appended, end)?;
    if how.sync && !(fill.reused.is_empty() && fill.again.is_empty()) {
        // A vacant slot that has its bit before its record would bring deleted mail back. Behind
        // the last record the bits say nothing.
        mbg_file.sync_data()?;
    }
    write_key(&key_file, &before, &key, &fill.again)?;
    Ok(fill.waiting)
}

/// A bag's KEY; an empty one for a bag that is just made; none where it is none.
fn read_key(file: &mut File, is_new_bag: bool) -> io::Result<Option<Key>> {
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64).read_to_end(&mut bytes)?;
    if bytes.is_empty() && is_new_bag {
        file.write_all_at(Key::empty().bytes(), 0)?;
        return Ok(Some(Key::empty()));
    }
    Ok(Key::read(&bytes))
}

/// Cuts off what a crash has left of a record of ours. False where the rest isn't of ours: the bag
/// is damaged.
fn cut_torn(file: &File, mbg: &mut Vec<u8>, puts: &[&Put]) -> io::Result<bool> {
    let whole = mbg.len() / RECORD_BYTES * RECORD_BYTES;
    let rest = mbg.get(whole..).unwrap_or_default();
    if !rest.is_empty() {
        if !puts.iter().any(|put| put.record.starts_with(rest)) {
            return Ok(false);
        }
        file.set_len(whole as u64)?;
        mbg.truncate(whole);
    }
    Ok(true)
}

/// How records go into a bag.
struct Fill<'p> {
    reused: Vec<(u32, &'p [u8])>,
    /// Slots that have their record already: it is ours.
    again: Vec<u32>,
    appended: Vec<u8>,
    waiting: Vec<&'p Put>,
}

impl<'p> Fill<'p> {
    /// The first vacant slot for each; `key` is changed as the bag's KEY is to be.
    fn of(mbg: &[u8], key: &mut Key, puts: &[&'p Put], is_redo: bool) -> Self {
        let (all, _) = records(mbg);
        let (reused, again) = (Vec::new(), Vec::new());
        let mut fill = Self { reused, again, appended: Vec::new(), waiting: Vec::new() };
        let name_of = |record: &[u8; RECORD_BYTES]| Record::new(record).mai();
        let (mut live, mut deleted) = (HashMap::new(), HashMap::new());
        for (slot, record) in (0..).zip(all) {
            if !key.is_deleted(slot) {
                live.extend(name_of(record).map(|name| (name, Some(slot))));
            } else if is_redo {
                deleted.entry(record).or_insert(slot);
            }
        }
        let mut vacant = 0;
        let mut end = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let len = end;
        let mut new = 0;
        for put in puts {
            let record = put.record();
            if let Some(name) = name_of(&record) {
                if let Some(slot) = live.get(&name) {
                    fill.again.extend(slot.filter(|_| is_redo));
                    continue;
                }
                live.insert(name, None);
            }
            // Written before the crash, but its bit may not have been. A deleted record of that
            // name which is another's is none: names come again.
            if let Some(slot) = deleted.get(&record) {
                fill.again.push(*slot);
                key.set_deleted(*slot, false);
                new += 1;
                continue;
            }
            while vacant < len && !key.is_deleted(vacant) {
                vacant += 1;
            }
            if vacant < len.min(SLOTS_MAX) {
                fill.reused.push((vacant, &put.record));
                key.set_deleted(vacant, false);
            } else if end < SLOTS_MAX {
                fill.appended.extend_from_slice(&put.record);
                key.set_deleted(end, false);
                end += 1;
            } else {
                fill.waiting.push(put);
                continue;
            }
            new += 1;
        }
        key.count_new(new);
        fill
    }
}

/// Writes the bytes of a KEY that differ, and those of slots that are written again; the counters
/// last.
fn write_key(file: &File, before: &Key, after: &Key, again: &[u32]) -> io::Result<()> {
    let changed = |at: &usize| before.bytes().get(*at) != after.bytes().get(*at);
    let mut all: BTreeSet<usize> = (0..KEY_BYTES).filter(changed).collect();
    all.extend(again.iter().filter_map(|slot| Some(bag::place(*slot)?.0)));
    for at in all.into_iter().rev() {
        if let Some(byte) = after.bytes().get(at..=at) {
            file.write_all_at(byte, at as u64)?;
        }
    }
    Ok(())
}

/// Marks slots as deleted that still hold what was planned, and cuts off the rest behind the last.
pub(super) fn take_slots(
    office: &Office,
    bag: &str,
    out: &TakeOut,
    is_redo: bool,
) -> io::Result<()> {
    if out.slots.is_empty() && out.rest.is_none() {
        return Ok(());
    }
    let open = |path: &Path| open::to_change(path, false);
    let mut mbg_file = open(&office.path(Folder::Mbg, &format!("{bag}.MBG")))?;
    let mut mbg = Vec::new();
    mbg_file.read_to_end(&mut mbg)?;
    let (all, rest) = records(&mbg);
    if let Some(taken) = &out.rest
        && all.len() == taken.slot as usize
        && crc32c::crc32c(rest) == taken.checksum
    {
        mbg_file.set_len((mbg.len() - rest.len()) as u64)?;
    }
    if out.slots.is_empty() {
        return Ok(());
    }
    let mut file = open(&office.path(Folder::Key, &format!("{bag}.KEY")))?;
    let Some(mut key) = read_key(&mut file, false)? else {
        return Err(io::Error::other("KEY isn't one any more"));
    };
    let before = key.clone();
    let mut again = Vec::new();
    for taken in &out.slots {
        let record = all.get(taken.slot as usize);
        if record.is_some_and(|record| crc32c::crc32c(record) == taken.checksum) {
            key.set_deleted(taken.slot, true);
            again.extend(is_redo.then_some(taken.slot));
        }
    }
    // What is gone isn't new any more.
    key.count_at_most(key.live(u32::try_from(all.len()).unwrap_or(u32::MAX).min(SLOTS_MAX)));
    write_key(&file, &before, &key, &again)
}

/// Takes out what slots have left: their P1, and their reference to a MAI.
pub(super) fn take_files(office: &Office, out: &TakeOut, is_redo: bool) -> io::Result<()> {
    for file in &out.files {
        write_file(office, file, is_redo)?;
    }
    let remove = |folder: Folder, name: &str| {
        let path = office.path(folder, &format!("{name}.{}", folder.name()));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    out.p1.iter().try_for_each(|name| remove(Folder::P1, name))?;
    out.mai.iter().try_for_each(|name| remove(Folder::Mai, name))?;
    for counter in &out.counters {
        let left = set_counter(office, counter, is_redo)?;
        if left == Some(0) {
            // The MAI first: one that is there has all its attachments.
            remove(Folder::Mai, &counter.mai)?;
            counter.att.iter().try_for_each(|name| remove(Folder::Att, name))?;
        } else if left.is_none() && counter.to == 0 {
            counter.att.iter().try_for_each(|name| remove(Folder::Att, name))?;
        }
    }
    Ok(())
}

/// Changes a MAI's counter; gives what it is then, none where there is no MAI.
///
/// Readers count down meanwhile: the difference is what is applied. After a crash it may have been
/// already: where the counter is neither what it was nor what it shall be, it is counted up all the
/// same, and not down. One too high harms nobody; with one too low a MAI goes that is still read.
fn set_counter(office: &Office, counter: &Counter, is_redo: bool) -> io::Result<Option<u16>> {
    let path = office.path(Folder::Mai, &format!("{}.MAI", counter.mai));
    let file = match open::to_change(&path, false) {
        Ok(file) => file,
        Err(error) if is_none(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut start = [0; COUNTER_AT + 2];
    file.read_exact_at(&mut start, 0)?;
    let Some(now) = mai::counter(&start) else { return Ok(None) };
    let is_down = counter.to < counter.from;
    let is_done = is_redo && (now == counter.to || is_down && now != counter.from);
    let change = if is_done { 0 } else { i32::from(counter.to) - i32::from(counter.from) };
    let then = u16::try_from((i32::from(now) + change).max(0)).unwrap_or(u16::MAX);
    file.write_all_at(&then.to_le_bytes(), COUNTER_AT as u64)?;
    Ok(Some(then))
}

/// Makes a file, wholly or not at all. False where another program has a MAI of that name.
///
/// Files aren't synced one by one: where the power failed, one of ours may have its name, and not
/// all of its bytes. Then it is made again.
fn write_file(office: &Office, file: &NewFile, is_redo: bool) -> io::Result<bool> {
    let folder = if file.folder == Folder::Mai.name() { Folder::Mai } else { Folder::P1 };
    let Some(name) = hex_name(file.name.as_bytes()) else { return Ok(false) };
    let path = office.path(folder, &file_name(folder, name));
    if folder == Folder::Mai && path.symlink_metadata().is_ok() {
        let Some(found) = read_beginning(&path, file.bytes.len())? else { return Ok(false) };
        if !(is_redo && is_torn(&found, &file.bytes)) {
            let is_ours = found == file.bytes;
            if is_ours && is_redo {
                open::to_change(&path, false)?.write_all_at(&file.bytes, 0)?;
            }
            return Ok(is_ours);
        }
    }
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    let beside = path.with_extension("NEW");
    // What a crash has left is in the way; a link of that name must not be written through.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut to = File::create_new(&beside)?;
    to.write_all(&file.bytes)?;
    drop(to);
    fs::rename(&beside, &path)?;
    Ok(true)
}

/// True where a file has the beginning of these bytes, and behind that nothing, or zeros.
fn is_torn(found: &[u8], bytes: &[u8]) -> bool {
    let good = found.iter().zip(bytes).take_while(|(found, byte)| found == byte).count();
    let (_, rest) = found.split_at_checked(good).unwrap_or_default();
    found.len() <= bytes.len() && good < bytes.len() && rest.iter().all(|byte| *byte == 0)
}

/// So many bytes of what has that name, and one more where there is; none where it is no file.
fn read_beginning(path: &Path, length: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = office::open(path)? else { return Ok(None) };
    let mut found = Vec::new();
    file.take(length as u64 + 1).read_to_end(&mut found)?;
    Ok(Some(found))
}
