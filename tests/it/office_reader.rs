//! A small reader of post offices, written from docs/postoffice.md alone: it shares nothing with
//! the library, and says which messages are whole.
//!
//! Not here: addresses, and how a message looks. Invariant: what it calls whole is whole by the
//! document; what the document leaves open isn't.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// All files of a folder by their paths in upper case; of several the first by bytes.
pub(crate) fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    walk(root, "", &mut out);
    out
}

fn walk(folder: &Path, path: &str, out: &mut BTreeMap<String, Vec<u8>>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().unwrap().to_ascii_uppercase();
        let below = if path.is_empty() { name } else { format!("{path}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &below, out);
        } else {
            out.entry(below).or_insert_with(|| fs::read(entry.path()).unwrap());
        }
    }
}

/// An element: identifier, qualifier, where its contents lie.
#[derive(Clone, Copy, Debug)]
struct Element {
    kind: u8,
    qualifier: u8,
    start: usize,
    end: usize,
}

fn elements(bytes: &[u8], start: usize, end: usize) -> Option<Vec<Element>> {
    let (mut at, mut out) = (start, Vec::new());
    while at < end {
        let (element, next) = element(bytes, at, end)?;
        out.push(element);
        at = next;
    }
    Some(out)
}

fn element(bytes: &[u8], at: usize, end: usize) -> Option<(Element, usize)> {
    let bytes = &bytes[..end];
    let kind = *bytes.get(at)?;
    let code = usize::from(*bytes.get(at + 1)?);
    let (len, mut start) = match code {
        0..=0x7F => (code, at + 2),
        0x81..=0x84 => {
            let octets = bytes.get(at + 2..at + 2 + code - 0x80)?;
            (octets.iter().fold(0, |n, o| n * 256 + usize::from(*o)), at + 2 + code - 0x80)
        }
        _ => return None,
    };
    let next = start.checked_add(len).filter(|next| *next <= end)?;
    let mut qualifier = 0;
    if kind & 0x40 != 0 {
        if len == 0 {
            return None;
        }
        qualifier = bytes[start];
        start += 1;
    }
    Some((Element { kind, qualifier, start, end: next }, next))
}

/// A MAI that is good.
#[derive(Debug)]
pub(crate) struct Mai {
    pub(crate) counter: u16,
    /// Addresses of To and Cc.
    pub(crate) recipients: usize,
    /// Name and size of each attachment; none where one of them hasn't both.
    pub(crate) attachments: Option<Vec<(String, usize)>>,
    /// Where these stand.
    fields: Vec<(usize, usize)>,
}

impl Mai {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (message, _) = element(bytes, 0, bytes.len())?;
        if (message.kind, message.qualifier) != (0x4D, 1) {
            return None;
        }
        let head = bytes.get(6..13)?;
        if head[..2] != [0x7F, 5] || head[3..5] != [0x20, 2] {
            return None;
        }
        let counter = u16::from_le_bytes([head[5], head[6]]);
        let mut mai =
            Self { counter, recipients: 0, attachments: Some(Vec::new()), fields: Vec::new() };
        for field in elements(bytes, message.start, message.end)? {
            let inner = || elements(bytes, field.start, field.end);
            match (field.kind, field.qualifier) {
                (0x4C, 5 | 6) => {
                    mai.recipients += inner()?.iter().filter(|one| one.kind == 2).count();
                }
                (0x4C, 8) => {
                    for sequence in inner()?.iter().filter(|one| one.kind == 0x0A) {
                        mai.attachment(bytes, *sequence)?;
                    }
                }
                (0x4C, _) | (0x7F, 0x34 | 0x37 | 0x38) => _ = inner()?,
                _ => {}
            }
        }
        Some(mai)
    }

    fn attachment(&mut self, bytes: &[u8], sequence: Element) -> Option<()> {
        let inner = elements(bytes, sequence.start, sequence.end)?;
        let name = inner.iter().find(|one| one.kind == 2);
        let size = inner.iter().find(|one| one.kind == 0x20);
        let (Some(name), Some(size)) = (name, size) else {
            self.attachments = None;
            return Some(());
        };
        let text = hex(&bytes[name.start..name.end]);
        let octets: Option<[u8; 4]> = bytes[size.start..size.end].try_into().ok();
        self.fields.extend([(name.start, name.end), (size.start, size.end)]);
        match (text, octets, &mut self.attachments) {
            (Some(text), Some(octets), Some(all)) => {
                all.push((text, u32::from_le_bytes(octets) as usize));
            }
            _ => self.attachments = None,
        }
        Some(())
    }
}

/// The bytes of a MAI without its counter, and without the numbers of its attachments.
pub(crate) fn without_numbers(bytes: &[u8]) -> Vec<u8> {
    let mut out = without_counter(bytes);
    for (start, end) in Mai::read(bytes).into_iter().flat_map(|mai| mai.fields) {
        out[start..end].fill(0);
    }
    out
}

pub(crate) fn without_counter(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[11..13].fill(0);
    out
}

fn hex(bytes: &[u8]) -> Option<String> {
    let is_name = bytes.len() == 8 && bytes.iter().all(u8::is_ascii_hexdigit);
    is_name.then(|| String::from_utf8(bytes.to_ascii_uppercase()).unwrap())
}

/// The MAI that a P1 names, and its recipients; none where it isn't good.
pub(crate) fn p1(bytes: &[u8]) -> Option<(String, usize)> {
    let (message, _) = element(bytes, 0, bytes.len())?;
    if (message.kind, message.qualifier) != (0x4D, 2) {
        return None;
    }
    let (mut mai, mut recipients) = (String::new(), 0);
    for field in elements(bytes, message.start, message.end)? {
        let inner = elements(bytes, field.start, field.end);
        match (field.kind, field.qualifier) {
            (0x7F, 0x40) => {
                let string = *inner?.iter().find(|one| one.kind == 2)?;
                mai = hex(&bytes[string.start..string.end]).unwrap_or_default();
            }
            (0x4C, 5 | 6) => {
                let inner = inner?;
                if inner.first()?.kind != 2 {
                    return None;
                }
                for more in inner.iter().filter(|one| one.kind == 0x7F) {
                    elements(bytes, more.start, more.end)?;
                }
                recipients += 1;
            }
            (0x4C, 1) | (0x7F, 0x41..=0x43 | 0x49..=0x4C) => _ = inner?,
            _ => {}
        }
    }
    Some((mai, recipients))
}

/// A live record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) bag: String,
    pub(crate) mai: String,
}

/// Live good records of all bags, the first of those of a bag with one MAI.
pub(crate) fn live(files: &BTreeMap<String, Vec<u8>>) -> Vec<Slot> {
    let mut out = Vec::new();
    for (path, mbg) in files {
        let Some(bag) = path.strip_prefix("MBG/").and_then(|name| name.strip_suffix(".MBG")) else {
            continue;
        };
        let key = files.get(&format!("KEY/{bag}.KEY")).filter(|key| key.len() >= 560);
        for (slot, record) in mbg.chunks_exact(116).enumerate() {
            let Some(mai) = hex(&record[67..75]).filter(|_| record[75] == 0) else { continue };
            let is_live = match key {
                Some(key) => slot >= 4096 || key[48 + slot / 8] >> (slot % 8) & 1 == 0,
                None => {
                    let (_, is_there) = (mai_of(files, &mai), files.contains_key(&mai_path(&mai)));
                    is_there || files.contains_key(&format!("P1/{mai}.P1"))
                }
            };
            let slot = Slot { bag: bag.to_owned(), mai };
            if is_live && !out.contains(&slot) {
                out.push(slot);
            }
        }
    }
    out
}

fn mai_path(name: &str) -> String {
    format!("MAI/MA{}/{name}.MAI", &name[7..])
}

/// The MAI of a name, if it is good.
pub(crate) fn mai_of<'f>(
    files: &'f BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Option<(&'f [u8], Mai)> {
    let bytes = files.get(&mai_path(name))?;
    Some((bytes, Mai::read(bytes)?))
}

/// True where all attachments are there, each of its size and of no other message.
pub(crate) fn has_all(files: &BTreeMap<String, Vec<u8>>, mai: &Mai) -> bool {
    let Some(attachments) = &mai.attachments else { return false };
    attachments.iter().all(|(name, size)| {
        let att = files.get(&format!("ATT/AT{}/{name}.ATT", &name[7..]));
        att.is_some_and(|att| att.len() == *size)
    })
}
