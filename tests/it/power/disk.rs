//! A disk whose power fails: which of what was done to a folder is there afterwards.
//!
//! The model, which is a bit more hostile than ext4 and xfs are:
//! - Bytes of a file, and its length, are safe by a sync of that file (or of all) that began after
//!   they were written. Until then each file keeps its own choice of them: nothing, all, the writes
//!   up to any byte of them, or the last write without those before it.
//! - Names (make, rename, link, remove) are safe by a sync of a folder that they stand in (or of
//!   all). Until then each may have happened or not, in any combination: a later one without an
//!   earlier one, too. Syncing a file doesn't save its name.
//! - What is in a folder whose own name is lost is lost.
//! - A rename is one thing: it never leaves both names, or none, or a half of it in each folder.
//! - What is synced stays as it is; a sync doesn't lie.
//!
//! Not here: times, modes, owners, and maps. Invariant: the same operations and the same choice
//! give the same files.

use super::trace::Op;
use crate::crash::Numbers;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// What is there after the power has failed: files with their bytes, folders without.
pub(crate) type Image = BTreeMap<String, Option<Vec<u8>>>;

/// The number of the folder that all is in.
const ROOT: usize = 0;

/// What of the things that aren't safe is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    /// Nothing of them.
    Nothing,
    /// All: the process was killed, and the power is on.
    All,
    /// All names; of each file's bytes so many of a hundred, and one less where that is all.
    Torn(u64),
    /// All names; of each file the last write alone.
    LastWrite,
    /// All bytes; all names but the first that isn't safe.
    NotFirstName,
    /// All bytes; all names but the last.
    NotLastName,
    /// All bytes; no names that aren't safe.
    NoName,
    /// All names, all bytes but those of the file that was written to last.
    NotLastFile,
    /// No names but the last, all bytes.
    LastName,
    /// Each for itself, by a seed.
    Chance(u64),
}

impl Survives {
    /// The choices that are tried at each point, beside those by chance.
    pub(crate) const ALL: [Self; 11] = [
        Self::Nothing,
        Self::All,
        Self::Torn(0),
        Self::Torn(50),
        Self::Torn(100),
        Self::LastWrite,
        Self::NotFirstName,
        Self::NotLastName,
        Self::NoName,
        Self::NotLastFile,
        Self::LastName,
    ];
}

/// Something done to a file's bytes.
#[derive(Clone, Debug)]
enum Data {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// Something done, and whether it is safe.
#[derive(Clone, Debug)]
struct Done<T> {
    sequence: usize,
    safe: bool,
    what: T,
}

#[derive(Clone, Debug)]
enum Node {
    Folder,
    /// What it was at first, and what was done to it.
    File(Vec<u8>, Vec<Done<Data>>),
}

/// A name that is given to something, or to nothing, in a folder.
type Name = (usize, String, Option<usize>);

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    nodes: Vec<Node>,
    /// Names of the beginning: all safe.
    first: BTreeMap<(usize, String), usize>,
    changes: Vec<Done<Vec<Name>>>,
    now: BTreeMap<(usize, String), usize>,
    handles: HashMap<usize, usize>,
    sequence: usize,
}

impl Disk {
    /// A folder as it stands on the disk: all of it is safe.
    pub(crate) fn load(base: &Path) -> Self {
        Self::of(&image_of(base))
    }

    pub(crate) fn of(image: &Image) -> Self {
        let mut disk = Self {
            nodes: vec![Node::Folder],
            first: BTreeMap::new(),
            changes: Vec::new(),
            now: BTreeMap::new(),
            handles: HashMap::new(),
            sequence: 0,
        };
        for (path, bytes) in image {
            let (folder, name) = disk.place(path).unwrap();
            disk.nodes.push(match bytes {
                None => Node::Folder,
                Some(bytes) => Node::File(bytes.clone(), Vec::new()),
            });
            disk.now.insert((folder, name), disk.nodes.len() - 1);
        }
        disk.first = disk.now.clone();
        disk
    }

    /// Another process begins: its descriptors are its own, and its operations are counted anew.
    pub(crate) fn restart(&mut self) {
        self.handles.clear();
        // What the one before has done is before all that this one does.
        for node in &mut self.nodes {
            if let Node::File(_, done) = node {
                for done in done {
                    done.sequence = 0;
                }
            }
        }
        self.changes.iter_mut().for_each(|change| change.sequence = 0);
        self.sequence = 0;
    }

    fn find(&self, path: &str) -> Option<usize> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.into_iter().try_fold(ROOT, |at, part| self.now.get(&(at, part.to_owned())).copied())
    }

    /// The folder of a path, and its name in there.
    fn place(&self, path: &str) -> Option<(usize, String)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Some((self.find(folder)?, name.to_owned()))
    }

    fn change(&mut self, names: Vec<Name>) {
        for (folder, name, node) in &names {
            match node {
                Some(node) => self.now.insert((*folder, name.clone()), *node),
                None => self.now.remove(&(*folder, name.clone())),
            };
        }
        self.changes.push(Done { sequence: self.sequence, safe: false, what: names });
    }

    fn data(&mut self, handle: usize, data: Data) {
        let (sequence, node) = (self.sequence, self.handles[&handle]);
        let Node::File(_, done) = &mut self.nodes[node] else { panic!("a folder is written to") };
        done.push(Done { sequence, safe: false, what: data });
    }

    /// Does an operation. True where it changed something or made it safe: what comes before and
    /// behind is a point at which the power may fail.
    pub(crate) fn apply(&mut self, op: &Op) -> bool {
        // Sequences begin at 1: 0 is what was before.
        self.sequence += 1;
        match op {
            Op::Open { handle, path, create, truncate } => {
                return self.open(*handle, path, *create, *truncate);
            }
            Op::Write { handle, at, bytes } => {
                let at = at.unwrap_or_else(|| self.bytes(self.handles[handle]).len() as u64);
                self.data(*handle, Data::Write(at, bytes.clone()));
            }
            Op::SetLength { handle, length } => {
                if self.bytes(self.handles[handle]).len() as u64 == *length {
                    return false;
                }
                self.data(*handle, Data::Length(*length));
            }
            Op::MakeFolder { path } => {
                let (folder, name) = self.place(path).unwrap();
                self.nodes.push(Node::Folder);
                self.change(vec![(folder, name, Some(self.nodes.len() - 1))]);
            }
            Op::Rename { from, to } => {
                let node = self.find(from).unwrap();
                let ((folder, name), (into, new)) =
                    (self.place(from).unwrap(), self.place(to).unwrap());
                self.change(vec![(folder, name, None), (into, new, Some(node))]);
            }
            Op::Link { from, to } => {
                let (folder, name) = self.place(to).unwrap();
                self.change(vec![(folder, name, self.find(from))]);
            }
            Op::Remove { path } => {
                let (folder, name) = self.place(path).unwrap();
                self.change(vec![(folder, name, None)]);
            }
            Op::Sync { handle, since } => self.sync(self.handles.get(handle).copied(), *since),
            Op::SyncAll { since } => self.sync(None, *since),
        }
        true
    }

    fn open(&mut self, handle: usize, path: &str, create: bool, truncate: bool) -> bool {
        let found = self.find(path);
        let node = found.unwrap_or_else(|| {
            assert!(create, "{path}: opened, but not known to be there");
            self.nodes.push(Node::File(Vec::new(), Vec::new()));
            let node = self.nodes.len() - 1;
            let (folder, name) = self.place(path).unwrap();
            self.change(vec![(folder, name, Some(node))]);
            node
        });
        self.handles.insert(handle, node);
        let cuts = found.is_some() && truncate && !self.bytes(node).is_empty();
        if cuts {
            self.data(handle, Data::Length(0));
        }
        found.is_none() || cuts
    }

    /// Makes safe what was done to a thing, or to all, by operations before `since` had ended.
    fn sync(&mut self, node: Option<usize>, since: usize) {
        for (index, other) in self.nodes.iter_mut().enumerate() {
            if let Node::File(_, done) = other
                && node.is_none_or(|node| node == index)
            {
                for done in done {
                    done.safe |= done.sequence <= since;
                }
            }
        }
        for change in &mut self.changes {
            let is_in = |(folder, ..): &Name| node.is_none_or(|node| node == *folder);
            change.safe |= change.sequence <= since && change.what.iter().any(is_in);
        }
    }

    /// A file's bytes now.
    fn bytes(&self, node: usize) -> Vec<u8> {
        self.bytes_kept(node, &Keep::All)
    }

    fn bytes_kept(&self, node: usize, keep: &Keep) -> Vec<u8> {
        let Node::File(first, done) = &self.nodes[node] else { return Vec::new() };
        let mut bytes = first.clone();
        let last = done.iter().rposition(|done| !done.safe);
        let mut left = match keep {
            Keep::Bytes(left) => *left,
            _ => u64::MAX,
        };
        for (at, one) in done.iter().enumerate() {
            let is_kept = match keep {
                _ if one.safe => true,
                Keep::All => true,
                Keep::Nothing => false,
                Keep::LastWrite => Some(at) == last || matches!(one.what, Data::Length(_)),
                Keep::Bytes(_) => left > 0,
            };
            match &one.what {
                _ if !is_kept => {}
                Data::Length(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
                Data::Write(offset, written) => {
                    let mut count = written.len();
                    if !one.safe {
                        count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
                        left -= count as u64;
                    }
                    let start = usize::try_from(*offset).unwrap();
                    if bytes.len() < start + count {
                        bytes.resize(start + count, 0);
                    }
                    bytes[start..start + count].copy_from_slice(&written[..count]);
                }
            }
        }
        bytes
    }

    /// Bytes of a file that aren't safe.
    fn unsafe_bytes(&self, node: usize) -> u64 {
        let Node::File(_, done) = &self.nodes[node] else { return 0 };
        let length = |done: &Done<Data>| match &done.what {
            Data::Write(_, bytes) if !done.safe => bytes.len() as u64,
            _ => 0,
        };
        done.iter().map(length).sum()
    }

    /// The file that was written to last, if that isn't safe.
    fn last_file(&self) -> Option<usize> {
        let last = |node: &Node| match node {
            Node::File(_, done) => done.iter().filter(|d| !d.safe).map(|d| d.sequence).max(),
            Node::Folder => None,
        };
        let all = self.nodes.iter().enumerate().filter_map(|(n, node)| Some((last(node)?, n)));
        all.max().map(|(_, node)| node)
    }

    /// What is there when the power fails now.
    pub(crate) fn image(&self, survives: Survives) -> Image {
        let mut numbers = Numbers(match survives {
            Survives::Chance(seed) => seed,
            _ => 0,
        });
        let open: Vec<usize> = (0..self.changes.len()).filter(|i| !self.changes[*i].safe).collect();
        let mut names = self.first.clone();
        for (index, change) in self.changes.iter().enumerate() {
            let is_kept = match survives {
                _ if change.safe => true,
                Survives::Nothing | Survives::NoName => false,
                Survives::NotFirstName => open.first() != Some(&index),
                Survives::NotLastName => open.last() != Some(&index),
                Survives::LastName => open.last() == Some(&index),
                Survives::Chance(_) => numbers.next().is_multiple_of(2),
                _ => true,
            };
            for (folder, name, node) in change.what.iter().filter(|_| is_kept) {
                match node {
                    Some(node) => names.insert((*folder, name.clone()), *node),
                    None => names.remove(&(*folder, name.clone())),
                };
            }
        }
        let last = self.last_file();
        let mut bytes = HashMap::new();
        for node in 0..self.nodes.len() {
            let count = self.unsafe_bytes(node);
            let keep = match survives {
                Survives::Nothing => Keep::Nothing,
                Survives::NotLastFile if last == Some(node) => Keep::Nothing,
                Survives::LastWrite => Keep::LastWrite,
                Survives::Torn(100) => Keep::Bytes(count.saturating_sub(1)),
                Survives::Torn(share) => Keep::Bytes(count * share / 100),
                Survives::Chance(_) => match numbers.next() % 4 {
                    0 => Keep::Nothing,
                    1 => Keep::Bytes(numbers.next() % (count + 1)),
                    2 => Keep::LastWrite,
                    _ => Keep::All,
                },
                _ => Keep::All,
            };
            bytes.insert(node, self.bytes_kept(node, &keep));
        }
        let mut image = Image::new();
        self.walk(ROOT, "", &names, &bytes, &mut image);
        image
    }

    fn walk(
        &self,
        folder: usize,
        path: &str,
        names: &BTreeMap<(usize, String), usize>,
        bytes: &HashMap<usize, Vec<u8>>,
        image: &mut Image,
    ) {
        let within = names.range((folder, String::new())..(folder + 1, String::new()));
        for ((_, name), node) in within {
            let path = format!("{path}{name}");
            if matches!(self.nodes[*node], Node::Folder) {
                image.insert(path.clone(), None);
                self.walk(*node, &format!("{path}/"), names, bytes, image);
            } else {
                image.insert(path, Some(bytes[node].clone()));
            }
        }
    }
}

/// What of a file's bytes that aren't safe is there.
enum Keep {
    All,
    Nothing,
    LastWrite,
    /// So many.
    Bytes(u64),
}

/// A folder, as it stands.
pub(crate) fn image_of(base: &Path) -> Image {
    let mut image = Image::new();
    let mut folders = vec![base.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                image.insert(name, None);
                folders.push(path);
            } else {
                image.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    image
}

/// Makes a folder of it. Paths of folders that it was in are made those of the new one: all have
/// names of one length, so that nothing moves.
pub(crate) fn write(image: &Image, to: &Path, was: &[&Path]) {
    fs::create_dir(to).unwrap();
    let new = to.as_os_str().as_encoded_bytes();
    for (name, bytes) in image {
        let path = to.join(name);
        let Some(bytes) = bytes else {
            fs::create_dir(path).unwrap();
            continue;
        };
        let mut bytes = bytes.clone();
        for old in was.iter().map(|was| was.as_os_str().as_encoded_bytes()) {
            assert_eq!(old.len(), new.len());
            let found: Vec<usize> = memchr::memmem::find_iter(&bytes, old).collect();
            for at in found {
                bytes[at..at + new.len()].copy_from_slice(new);
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &Disk, survives: Survives, name: &str) -> Option<Vec<u8>> {
        disk.image(survives).get(name).cloned().flatten()
    }

    /// The model itself: what isn't synced can be lost, what is can't.
    #[test]
    fn only_what_was_synced_survives_for_sure() {
        let mut disk = Disk::of(&Image::from([("d".to_owned(), None)]));
        let open = |handle, path: &str, create| Op::Open {
            handle,
            path: path.to_owned(),
            create,
            truncate: create,
        };
        let rename = |from: &str, to: &str| Op::Rename { from: from.into(), to: to.into() };
        let write = |handle, text: &[u8]| Op::Write { handle, at: None, bytes: text.to_vec() };
        assert!(disk.apply(&open(0, "d/f", true)));
        assert!(disk.apply(&write(0, b"one")));
        assert_eq!(file(&disk, Survives::All, "d/f").unwrap(), b"one");
        assert_eq!(file(&disk, Survives::Nothing, "d/f"), None);
        assert_eq!(file(&disk, Survives::Torn(50), "d/f").unwrap(), b"o");
        assert_eq!(file(&disk, Survives::Torn(100), "d/f").unwrap(), b"on");
        assert!(!disk.apply(&open(1, "d", false)));
        disk.apply(&Op::Sync { handle: 1, since: 3 });
        assert_eq!(file(&disk, Survives::Nothing, "d/f").unwrap(), b"", "its name alone");
        disk.apply(&Op::Sync { handle: 0, since: 4 });
        disk.apply(&write(0, b"two"));
        assert_eq!(file(&disk, Survives::Nothing, "d/f").unwrap(), b"one");
        disk.apply(&write(0, b"!"));
        assert_eq!(file(&disk, Survives::LastWrite, "d/f").unwrap(), b"one\0\0\0!");
        disk.apply(&rename("d/f", "d/g"));
        for survives in Survives::ALL.into_iter().chain((0..50).map(Survives::Chance)) {
            let image = disk.image(survives);
            assert!(image.contains_key("d/f") != image.contains_key("d/g"), "{survives:?}");
        }
        // It began before the rename had ended.
        disk.apply(&Op::Sync { handle: 1, since: 7 });
        assert!(file(&disk, Survives::Nothing, "d/f").is_some());
        disk.apply(&Op::SyncAll { since: 9 });
        assert_eq!(file(&disk, Survives::Nothing, "d/g").unwrap(), b"onetwo!");
        disk.apply(&rename("d/g", "h"));
        disk.apply(&open(2, "d/g", true));
        assert_eq!(disk.image(Survives::NotFirstName)["d/g"], Some(Vec::new()));
        assert!(!disk.image(Survives::NotFirstName).contains_key("h"));
        assert!(disk.image(Survives::NotLastName).contains_key("h"));
    }
}
