//! A small post office, made by hand with the library's writers: who exists, what waits, and what
//! its files hold afterwards.
//!
//! It is `NET/PO`, with the mailboxes ADMIN, ANN, BOB and EVE, the group TEAM (BOB, EVE), a
//! neighbour PO2, a network OTHER with HQ, and a gateway to the Internet. INQUEUE3 begins empty.

use crate::support::{NOW, inqueue};
use inqueue::mail::date::Time;
use inqueue::queue::postoffice::bag::{Key, NewRecord, Record, records};
use inqueue::queue::postoffice::mai::{self, Attachment, Mai};
use inqueue::queue::postoffice::p1::{P1, P1Recipient};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;

pub(crate) const ANN: &str = "00000001";
pub(crate) const BOB: &str = "00000002";
pub(crate) const EVE: &str = "00000003";
pub(crate) const ADMIN: &str = "00000000";
pub(crate) const PO2: &str = "0000000A";
pub(crate) const HQ: &str = "0000000B";
pub(crate) const SMTP: &str = "0000000C";
/// The first name that CONTROL.GLB has to give.
pub(crate) const FIRST_NAME: u32 = 0x0100_0000;

/// Names of the records that a bag is filled with.
const FILLED: std::ops::RangeFrom<u32> = 0x0050_0000..;
/// A tree of files, by their paths.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

pub(crate) struct Office {
    pub(crate) folder: Rc<tempfile::TempDir>,
    /// Its path in the queue; none where it is the queue.
    pub(crate) path: String,
    next: u32,
}

/// A message that waits in INQUEUE3.
#[derive(Clone, Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) from: Option<&'a [u8]>,
    pub(crate) to: Vec<P1Recipient<'a>>,
    pub(crate) subject: &'a [u8],
    pub(crate) text: &'a [u8],
    pub(crate) attachments: Vec<(&'a [u8], &'a [u8])>,
    pub(crate) is_message: bool,
    pub(crate) hops: Vec<&'a [u8]>,
    pub(crate) arrival: &'a str,
    pub(crate) counter: u16,
}

pub(crate) fn to(address: &[u8]) -> P1Recipient<'_> {
    P1Recipient { address, ..P1Recipient::default() }
}

pub(crate) fn letter<'a>(from: &'a str, recipients: &[&'a str]) -> Letter<'a> {
    Letter {
        from: Some(from.as_bytes()),
        to: recipients.iter().map(|address| to(address.as_bytes())).collect(),
        subject: b"Plans",
        text: b"Shall we meet?\r\n",
        attachments: Vec::new(),
        is_message: false,
        hops: Vec::new(),
        arrival: "2026-01-02T02:00:00Z",
        counter: 1,
    }
}

pub(crate) fn time(text: &str) -> Time {
    Time::parse_rfc3339(text.as_bytes()).unwrap()
}

fn field(record: &mut [u8], at: usize, text: &[u8]) {
    record[at..at + text.len()].copy_from_slice(text);
}

impl Office {
    pub(crate) fn new() -> Self {
        Self::at(Rc::new(tempfile::tempdir().unwrap()), "")
    }

    /// The post office at a path in the queue.
    pub(crate) fn at(folder: Rc<tempfile::TempDir>, path: &str) -> Self {
        let office = Self { folder, path: path.to_owned(), next: 0x62 };
        for name in ["KEY", "MBG", "P1", "GLB", "XTN", "MEM"] {
            fs::create_dir_all(office.root().join(name)).unwrap();
        }
        for digit in "0123456789ABCDEF".chars() {
            fs::create_dir_all(office.root().join(format!("MAI/MA{digit}"))).unwrap();
            fs::create_dir_all(office.root().join(format!("ATT/AT{digit}"))).unwrap();
        }
        office.configure();
        for bag in ["INQUEUE3", "SYSTEM", ADMIN, ANN, BOB, EVE, PO2, HQ, SMTP] {
            office.bag(bag, &[], &[]);
        }
        office
    }

    fn configure(&self) {
        let mut master = vec![0; 176];
        field(&mut master, 0, b"NET");
        field(&mut master, 11, b"PO");
        self.write("GLB/MASTER.GLB", &master);
        let control = [100_u32.to_le_bytes(), FIRST_NAME.to_le_bytes()].concat();
        self.write("GLB/CONTROL.GLB", &control);
        self.users(&[("ADMIN", ADMIN), ("ANN", ANN), ("BOB", BOB), ("EVE", EVE)]);
        let mut group = vec![0; 55];
        (group[0], group[4]) = (1, 1);
        field(&mut group, 5, b"TEAM");
        field(&mut group, 16, b"00000001");
        self.write("GLB/GROUP.GLB", &group);
        let members = [2_u32.to_le_bytes(), 3_u32.to_le_bytes()].concat();
        self.write("MEM/00000001.MEM", &members);
        let network = |kind: u8, name: &[u8], xtn: &[u8], bag: &[u8]| {
            let mut record = vec![0; 122];
            (record[0], record[1]) = (1, kind);
            field(&mut record, 2, name);
            field(&mut record, 13, xtn);
            field(&mut record, 33, bag);
            record
        };
        let networks = [
            network(0, b"NET", b"00000001", b""),
            network(0x10, b"OTHER", b"00000002", b""),
            network(0x64, b"SMTP", b"", SMTP.as_bytes()),
        ];
        self.write("GLB/NETWORK.GLB", &networks.concat());
        for (xtn, name, bag) in [("00000001", "PO2", PO2), ("00000002", "HQ", HQ)] {
            let mut record = vec![0; 698];
            record[0] = 1;
            field(&mut record, 1, name.as_bytes());
            field(&mut record, 12, bag.as_bytes());
            self.write(&format!("XTN/{xtn}.XTN"), &record);
        }
    }

    /// Who has a mailbox.
    pub(crate) fn users(&self, users: &[(&str, &str)]) {
        let mut access = Vec::new();
        for (name, bag) in users {
            let mut record = vec![0; 69];
            record[0] = 1;
            field(&mut record, 1, name.as_bytes());
            field(&mut record, 12, bag.as_bytes());
            access.extend(record);
        }
        self.write("GLB/ACCESS2.GLB", &access);
    }

    /// Its name, as MASTER has it.
    pub(crate) fn name(&self, network: &str, post_office: &str) {
        let mut master = vec![0; 176];
        field(&mut master, 0, network.as_bytes());
        field(&mut master, 11, post_office.as_bytes());
        self.write("GLB/MASTER.GLB", &master);
    }

    pub(crate) fn queue(&self) -> PathBuf {
        self.folder.path().join("queue")
    }

    pub(crate) fn root(&self) -> PathBuf {
        if self.path.is_empty() { self.queue() } else { self.queue().join(&self.path) }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.file(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes a bag: its records, and which of them are deleted.
    pub(crate) fn bag(&self, bag: &str, records: &[[u8; 116]], deleted: &[u32]) {
        let mut key = Key::empty();
        for slot in deleted {
            key.set_deleted(*slot, true);
        }
        key.count_new(u16::try_from(records.len() - deleted.len()).unwrap());
        self.write(&format!("KEY/{bag}.KEY"), key.bytes());
        self.write(&format!("MBG/{bag}.MBG"), &records.concat());
    }

    /// A bag with so many live records. Thousands of files take time: there is no MAI.
    pub(crate) fn fill(&mut self, bag: &str, count: u32) {
        let record = |name| record_of(b"OLD", b"old mail", name, 552);
        let all: Vec<[u8; 116]> = FILLED.take(count as usize).map(record).collect();
        self.bag(bag, &all, &[]);
    }

    /// Puts a message into INQUEUE3; gives its name.
    pub(crate) fn push(&mut self, letter: &Letter<'_>) -> u32 {
        let name = self.next;
        self.next += 0x10;
        self.push_as(letter, name);
        name
    }

    fn push_as(&self, letter: &Letter<'_>, name: u32) {
        let hex = format!("{name:08X}");
        let names: Vec<String> =
            (1..).take(letter.attachments.len()).map(|n| format!("{:08X}", name + n)).collect();
        let mut attachments = Vec::new();
        for ((file, bytes), name) in letter.attachments.iter().zip(&names) {
            let size = u32::try_from(bytes.len()).unwrap();
            attachments.push(Attachment { att: name.as_bytes(), name: file, size });
            self.write(&format!("ATT/AT{}/{name}.ATT", &name[7..]), bytes);
        }
        let mut mai = Vec::new();
        Mai {
            counter: letter.counter,
            hop_limit: Some(10),
            priority: None,
            is_message: letter.is_message,
            from: letter.from,
            to: letter.to.iter().map(|recipient| recipient.address).collect(),
            cc: Vec::new(),
            posted: Some(time("2026-01-02T01:59:00Z")),
            subject: Some(letter.subject),
            attachments,
            text: vec![letter.text],
        }
        .write(&mut mai);
        self.write(&mai_name(name), &mai);
        let mut p1 = Vec::new();
        P1 {
            mai: hex.as_bytes(),
            arrival: Some(time(letter.arrival)),
            hops: letter.hops.clone(),
            from: letter.from,
            recipients: letter.to.clone(),
            ..P1::default()
        }
        .write(&mut p1);
        self.write(&format!("P1/{hex}.P1"), &p1);
        let sender = letter.from.unwrap_or_default().rsplit(|b| *b == b'/').next().unwrap();
        let size = u32::try_from(mai.len()).unwrap();
        let record = record_of(&sender[..sender.len().min(10)], letter.subject, name, size);
        let mut all = self.live_and_dead("INQUEUE3");
        all.push(record);
        self.write("MBG/INQUEUE3.MBG", &all.concat());
        let mut key = Key::read(&self.read("KEY/INQUEUE3.KEY")).unwrap();
        key.count_new(1);
        self.write("KEY/INQUEUE3.KEY", key.bytes());
    }

    /// All records of a bag.
    pub(crate) fn live_and_dead(&self, bag: &str) -> Vec<[u8; 116]> {
        records(&self.read(&format!("MBG/{bag}.MBG"))).0.to_vec()
    }

    /// The live records of a bag with their slots.
    pub(crate) fn live(&self, bag: &str) -> Vec<(u32, [u8; 116])> {
        let key = Key::read(&self.read(&format!("KEY/{bag}.KEY"))).unwrap();
        let all = self.live_and_dead(bag);
        (0..).zip(all).filter(|(slot, _)| !key.is_deleted(*slot)).collect()
    }

    /// Names of the MAI of a bag's live records.
    pub(crate) fn names(&self, bag: &str) -> Vec<u32> {
        self.live(bag).iter().map(|(_, record)| name_in(record)).collect()
    }

    pub(crate) fn mai(&self, name: u32) -> Vec<u8> {
        self.read(&mai_name(name))
    }

    pub(crate) fn p1(&self, name: u32) -> Vec<u8> {
        self.read(&format!("P1/{name:08X}.P1"))
    }

    pub(crate) fn tree(&self) -> Tree {
        tree(&self.queue())
    }

    pub(crate) fn out(&self, out: &str) -> PathBuf {
        self.folder.path().join(out)
    }

    /// A run of the whole queue, with further options.
    pub(crate) fn command(&self, out: &str, options: &[&str]) -> Command {
        let mut command = inqueue();
        command.arg("run").arg(format!("postoffice:{}", self.queue().display()));
        command.args(["--hostname", "mta.example", "--json", "--out"]).arg(self.out(out));
        if !options.contains(&"--now") {
            command.args(["--now", NOW]);
        }
        command.args(options);
        command
    }

    pub(crate) fn run(&self, out: &str, options: &[&str]) -> Output {
        self.command(out, options).output().unwrap()
    }

    /// Drains; it must end with this exit code. Gives what it says on standard error.
    pub(crate) fn drain(&self, out: &str, code: i32) -> String {
        let output = self.run(out, &["--drain"]);
        let told = crate::support::text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        told
    }

    /// The same at another time.
    pub(crate) fn drain_at(&self, out: &str, now: &str, code: i32) {
        let output = self.run(out, &["--drain", "--now", now]);
        let told = crate::support::text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
    }

    /// INQUEUE3 is empty, and nothing is left of what was in it.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.names("INQUEUE3"), [0_u32; 0]);
        let key = Key::read(&self.read("KEY/INQUEUE3.KEY")).unwrap();
        assert_eq!(key.counts(), (0, 0));
        assert_whole(&self.root());
    }
}

/// A record, with something in its bytes whose meaning isn't known.
pub(crate) fn record_of(sender: &[u8], subject: &[u8], name: u32, n: u32) -> [u8; 116] {
    let mai = format!("{name:08X}").into_bytes().try_into().unwrap();
    let date = time("2026-01-02T02:00:00Z");
    let mut record = NewRecord { sender, subject, date, mai, size: n }.bytes();
    record[108..112].copy_from_slice(&name.wrapping_mul(2_654_435_761).to_le_bytes());
    record
}

pub(crate) fn mai_name(name: u32) -> String {
    format!("MAI/MA{:X}/{name:08X}.MAI", name & 15)
}

pub(crate) fn name_in(record: &[u8; 116]) -> u32 {
    let name = Record::new(record).mai().unwrap();
    u32::from_str_radix(std::str::from_utf8(&name).unwrap(), 16).unwrap()
}

/// All files below a folder.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut all = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                all.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// Makes a folder again as a tree says; what is as it was isn't written.
pub(crate) fn restore(root: &Path, tree: &Tree) {
    let mut now = self::tree(root);
    for (name, bytes) in tree {
        let path = root.join(name);
        if now.remove(name).is_none_or(|now| now != *bytes) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    for name in now.keys() {
        fs::remove_file(root.join(name)).unwrap();
    }
}

/// The folders of post offices in and below a folder.
pub(crate) fn offices(root: &Path) -> Vec<PathBuf> {
    let has = |name: &str| root.join(name).is_dir();
    if has("KEY") || has("key") {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).flat_map(|path| offices(&path)).collect()
}

/// The files of one post office by their names in upper case, and its bags.
pub(crate) struct Look {
    pub(crate) files: Tree,
}

impl Look {
    pub(crate) fn at(root: &Path) -> Self {
        let upper = |(name, bytes): (String, Vec<u8>)| (name.to_ascii_uppercase(), bytes);
        Self { files: tree(root).into_iter().map(upper).collect() }
    }

    /// Live records by bag.
    pub(crate) fn bags(&self) -> BTreeMap<String, Vec<[u8; 116]>> {
        let mut bags = BTreeMap::new();
        for (name, mbg) in &self.files {
            let Some(bag) = name.strip_prefix("MBG/").and_then(|n| n.strip_suffix(".MBG")) else {
                continue;
            };
            let key = Key::read(&self.files[&format!("KEY/{bag}.KEY")]).unwrap();
            let (all, rest) = records(mbg);
            assert!(rest.is_empty(), "{name}: {} bytes behind the last record", rest.len());
            let live = (0..).zip(all).filter(|(slot, _)| !key.is_deleted(*slot));
            bags.insert(bag.to_owned(), live.map(|(_, record)| *record).collect());
        }
        bags
    }
}

/// No P1 without a record that points to it, no lock, nothing half made; no record of a bag without
/// its MAI; no two of one bag with the same.
pub(crate) fn assert_whole(root: &Path) {
    let look = Look::at(root);
    let bags = look.bags();
    let mut pointed = BTreeMap::<u32, u16>::new();
    for (bag, records) in &bags {
        let good = records.iter().filter(|r| Record::new(r).mai().is_some()).map(name_in);
        let is_filled = |name: &u32| (FILLED.start..FILLED.start + 4096).contains(name);
        let mut names: Vec<u32> = good.filter(|name| !is_filled(name)).collect();
        names.sort_unstable();
        for name in &names {
            *pointed.entry(*name).or_default() += 1;
            let file = look.files.get(&mai_name(*name));
            let file = file.unwrap_or_else(|| panic!("{bag}: no MAI {name:08X}"));
            assert!(mai::counter(file) >= Some(1), "{name:08X}");
        }
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{bag}: two records with one MAI");
    }
    for (name, bytes) in &look.files {
        if let Some(p1) = name.strip_prefix("P1/").filter(|name| *name != "POPULATE.MSM") {
            let name = p1.strip_suffix(".P1").unwrap_or_else(|| panic!("left over: {name}"));
            let name = u32::from_str_radix(name, 16).unwrap();
            assert!(pointed.contains_key(&name), "nothing points to P1 {name:08X}");
        }
        if name.starts_with("MAI/") && !name.ends_with("POPULATE.MSM") {
            let file = name.rsplit('/').next().unwrap();
            let stem = file.strip_suffix(".MAI").unwrap_or_else(|| panic!("left over: {name}"));
            let number = u32::from_str_radix(stem, 16).unwrap();
            let count = pointed.get(&number).copied();
            let counter = mai::counter(bytes);
            assert_eq!(counter, count, "the counter of {name} and the records that point to it");
        }
    }
}

/// Live good records have their MAI, each once in its bag; no lock, and nothing half made.
pub(crate) fn assert_sound(root: &Path) {
    let look = Look::at(root);
    for (bag, records) in look.bags() {
        let good: Vec<u32> =
            records.iter().filter(|r| Record::new(r).mai().is_some()).map(name_in).collect();
        let names: BTreeSet<u32> = good.iter().copied().collect();
        assert_eq!(names.len(), good.len(), "{bag}: two records with one MAI");
        for name in names {
            let file = look.files.get(&mai_name(name));
            let file = file.unwrap_or_else(|| panic!("{bag}: no MAI {name:08X}"));
            assert!(mai::counter(file) >= Some(1), "{bag}: {name:08X}");
        }
    }
    for name in look.files.keys() {
        assert!(!name.contains(".0LK") && !name.contains(".NEW"), "{name} is left over");
    }
}
