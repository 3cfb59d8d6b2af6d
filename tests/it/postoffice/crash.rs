//! Killed at any point and run again: every recipient has the message once, nothing false is
//! reported, nothing dangles, and the tree is that of a drain that nobody disturbed.
//!
//! Byte for byte but for what docs/drain.md names: the names that reports get (those that were
//! taken before the kill stay taken), and the counts of new and unread mail in a KEY (a kill
//! between its bits and its counts).

use super::small::{
    ANN, BOB, FIRST_NAME, Letter, Office, PO2, Tree, assert_sound, letter, name_in, offices,
    restore, tree,
};
use crate::crash::Numbers;
use crate::support::{Queue, assert_done, assert_same_streams};
use inqueue::queue::postoffice::bag::{Key, Record, records};
use inqueue::queue::postoffice::{mai, p1::P1};
use inqueue_gen::{Format, Mix, Options};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// All kinds of ends, but for full mailbags: they have thousands of files.
const MIX: &str = "invalid-sender-and-recipients=0.1,unknown-recipient=0.1,list-expansion=0.1,\
    corrupt-message=0.1,missing-body=0.1,duplicate-delivery=0.1,system-mail-bounced=0.05,\
    ndr-of-ndr=0.05,message-loop=0.05,attachments-swapped=0.05,not-due=0.1";

/// Post offices of the generator, and their tree before and after a drain that nobody disturbs.
struct Made {
    queue: Queue,
    root: PathBuf,
    before: Tree,
    after: Tree,
}

impl Made {
    fn new(messages: u64, post_offices: u64, hazards: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            messages,
            post_offices,
            format: Format::PostOffice,
            hazards: Mix::parse(hazards).unwrap(),
            size_mean: 800,
            ..Options::default()
        };
        inqueue_gen::generate(&options, &folder.path().join("made")).unwrap();
        let queue = Queue { folder, format: Format::PostOffice };
        let root = queue.made().join("queue");
        let before = tree(&root);
        assert_done(&command(&queue, "whole").output().unwrap());
        let after = tree(&root);
        assert!(!after.keys().any(|name| name.contains(".0LK") || name.contains(".NEW")));
        Self { queue, root, before, after }
    }

    /// The tree is that of the undisturbed drain, the run's streams too.
    fn assert_same(&self, out: &str) {
        assert_same_streams(&self.queue.out("whole"), &self.queue.out(out));
        let old: BTreeSet<u32> = self.before.keys().filter_map(|name| number(name)).collect();
        let (ours, theirs) = (alike(&tree(&self.root), &old), alike(&self.after, &old));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, bytes) in &theirs {
            assert!(ours[name] == *bytes, "{name} differs");
        }
        for office in offices(&self.root) {
            assert_sound(&office);
        }
    }
}

fn command(queue: &Queue, out: &str) -> Command {
    let mut command = queue.command(out);
    command.args(["--drain", "--workers", "2", "--part-size", "64K", "--sync", "never"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The number that a MAI, P1 or ATT file is named by.
pub(crate) fn number(path: &str) -> Option<u32> {
    let stem = path.rsplit('/').next()?.split('.').next()?;
    (stem.len() == 8).then(|| u32::from_str_radix(stem, 16).ok())?
}

/// A tree with the names that a drain gives made alike, in their order, and without the counts of
/// KEYs and the next name of CONTROL.
pub(crate) fn alike(tree: &Tree, old: &BTreeSet<u32>) -> Tree {
    // Names are given one by one within a post office: the first folder of the path.
    let mut given: HashMap<String, BTreeSet<u32>> = HashMap::new();
    let office = |path: &str| path.split('/').next().unwrap().to_owned();
    for path in tree.keys().filter(|path| path.to_ascii_uppercase().contains("/MAI/")) {
        if let Some(number) = number(path).filter(|number| !old.contains(number)) {
            given.entry(office(path)).or_default().insert(number);
        }
    }
    let mut out = Tree::new();
    for (path, bytes) in tree {
        let (mut path, mut bytes, upper) = (path.clone(), bytes.clone(), path.to_ascii_uppercase());
        for (at, number) in given.get(&office(&path)).into_iter().flatten().enumerate() {
            let (name, other) = (format!("{number:08X}"), format!("given{at:03}"));
            for name in [name.clone(), name.to_ascii_lowercase()] {
                if path.contains(&name) {
                    // The digit of its folder goes with the name.
                    let folder = path.rfind('/').unwrap();
                    path.replace_range(folder - 1..folder, "_");
                    path = path.replace(&name, &other);
                }
            }
            if upper.contains("/MBG/") || upper.contains("/P1/") {
                replace(&mut bytes, name.as_bytes(), other.as_bytes());
            }
        }
        if upper.contains("/KEY/") && bytes.len() >= 4 {
            bytes[..4].fill(0);
        }
        if upper.ends_with("CONTROL.GLB") {
            bytes.truncate(4);
        }
        out.insert(path, bytes);
    }
    out
}

fn replace(bytes: &mut [u8], name: &[u8], other: &[u8]) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(name.len()).position(|window| window == name) {
        bytes[at + found..at + found + name.len()].copy_from_slice(other);
        at += found + name.len();
    }
}

fn lines(run: &Path) -> usize {
    let log = fs::read(run.join("drain")).unwrap_or_default();
    log.split(|byte| *byte == b'\n').count() - 1
}

/// Synced or not makes no difference to a process that is killed. Kills land at random moments of a
/// run's life; whenever one gets to its end, it is compared, and a new one begun.
#[test]
fn a_drain_killed_at_60_random_moments_and_run_again_is_the_same() {
    let made = Made::new(120, 2, MIX);
    let begun = Instant::now();
    restore(&made.root, &made.before);
    assert_done(&command(&made.queue, "timed").output().unwrap());
    let mut longest = begun.elapsed();
    restore(&made.root, &made.before);
    let mut numbers = Numbers(11);
    let (mut kills, mut midway, mut ends) = (0, 0, 0);
    while kills < 60 {
        let out = format!("run-{ends}");
        let run = made.queue.out(&out);
        // Every second run is judged before: all its kills strike the drain.
        if ends % 2 == 1 && !run.exists() {
            let mut command = made.queue.command(&out);
            command.args(["--workers", "2", "--part-size", "64K", "--sync", "never"]);
            assert_done(&command.output().unwrap());
        }
        let mut child = command(&made.queue, &out).spawn().unwrap();
        let micros = u64::try_from(longest.as_micros()).unwrap().max(1);
        // The moment is random, so it has to be waited for; nothing depends on where it falls.
        let moment = Duration::from_micros(numbers.next() % micros);
        std::thread::sleep(moment);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.code().is_none() {
            kills += 1;
            midway += usize::from(lines(&run) > 0);
            continue;
        }
        assert_done(&output);
        longest = longest.min(moment).max(Duration::from_millis(20));
        made.assert_same(&out);
        restore(&made.root, &made.before);
        ends += 1;
    }
    let out = format!("run-{ends}");
    assert_done(&command(&made.queue, &out).output().unwrap());
    made.assert_same(&out);
    made.queue.assert_clean(&out);
    assert!(midway >= 10, "only {midway} of {kills} kills hit a drain that had begun");
    eprintln!("{kills} kills, {midway} of them within the drain, {ends} runs came to their end");
}

/// Killed as soon as the log has so many lines, then run again.
#[test]
fn a_drain_killed_at_each_line_of_its_log_and_run_again_is_the_same() {
    let made = Made::new(120, 2, MIX);
    for line in 1..=lines(&made.queue.out("whole")) {
        restore(&made.root, &made.before);
        let out = format!("line-{line}");
        let mut child = command(&made.queue, &out).spawn().unwrap();
        let run = made.queue.out(&out);
        while child.try_wait().unwrap().is_none() && lines(&run) < line {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_done(&command(&made.queue, &out).output().unwrap());
        made.assert_same(&out);
    }
}

/// The log is on the disk up to any byte of its first lines, and nothing of what it says is done:
/// the crash right behind the first write.
#[test]
fn a_log_cut_anywhere_before_anything_is_done_gives_the_same_tree() {
    let mut office = Office::new();
    office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/GONE", "NET/PO2/ZOE"]));
    office.push(&letter("SMTP:carol@example.com", &["NET/PO/TEAM", "NET/PO/GONE"]));
    let before = office.tree();
    office.drain("run", 0);
    let after = office.tree();
    let log = fs::read(office.out("run").join("drain")).unwrap();
    let first = log.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut cuts: Vec<usize> = (0..=first).step_by(97).collect();
    cuts.extend([1, 8, 9, 10, first - 2, first - 1, first]);
    for cut in cuts {
        restore(&office.queue(), &before);
        fs::write(office.out("run").join("drain"), &log[..cut]).unwrap();
        office.drain("run", 0);
        assert!(office.tree() == after, "cut at {cut}");
    }
    // All is done but the last line is not written, or not wholly.
    let last = log[..log.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in last..=log.len() {
        restore(&office.queue(), &after);
        fs::write(office.out("run").join("drain"), &log[..cut]).unwrap();
        office.drain("run", 0);
        assert!(office.tree() == after, "cut at {cut} of the last line");
    }
    crate::support::audit(&office.out("run"), None);
}

/// Each half of each step, as a crash may leave it: some files written, some not, in every order.
#[test]
fn any_part_of_what_is_put_in_may_be_there_already() {
    let mut office = Office::new();
    let old = super::small::record_of(b"OLD", b"read and deleted", 0x0050_0000, 1);
    office.bag(BOB, &[old, old], &[0, 1]);
    for _ in 0..3 {
        office.push(&letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO/GONE", "NET/PO2/ZOE"]));
    }
    let before = office.tree();
    office.drain("run", 0);
    let after = office.tree();
    let log = fs::read_to_string(office.out("run").join("drain")).unwrap();
    let [begun, end_of_put_in, ..] = &log.split_inclusive('\n').collect::<Vec<_>>()[..] else {
        panic!("{log}")
    };
    let put_in = [*begun, *end_of_put_in].concat();
    let is_queue = |name: &str| name.contains("INQUEUE3");
    let is_new = |name: &str| !before.contains_key(name) && name.starts_with("MAI/");
    let is_bag =
        |name: &str| (name.starts_with("MBG/") || name.starts_with("KEY/")) && !is_queue(name);
    let mut numbers = Numbers(5);
    for round in 0..60 {
        // Put in: files of reports, and bags, each wholly there or not; an MBG before its KEY.
        let mut tree = before.clone();
        for (name, bytes) in &after {
            let draw = numbers.next() % 3;
            let is_in = match () {
                () if is_new(name) => draw > 0,
                () if is_bag(name) && name.starts_with("MBG/") => draw > 0,
                () => false,
            };
            if is_in {
                tree.insert(name.clone(), bytes.clone());
            }
            if is_in && draw == 2 && is_bag(name) {
                let key = name.replace("MBG", "KEY");
                tree.insert(key.clone(), after[&key].clone());
            }
        }
        restore(&office.queue(), &tree);
        fs::write(office.out("run").join("drain"), begun).unwrap();
        office.drain("run", 0);
        assert_same_but_counts(&office.tree(), &after, &format!("round {round}"));
        // Taken out: all is put in; slots are deleted, or not; then P1 and MAI go one by one.
        let mut tree = after.clone();
        let slots_out = numbers.next().is_multiple_of(2);
        for (name, bytes) in before.iter().filter(|(name, _)| !is_bag(name)) {
            let is_gone = !after.contains_key(name);
            let is_left = !slots_out || numbers.next().is_multiple_of(2);
            if (is_gone || name.starts_with("P1/")) && is_left {
                tree.insert(name.clone(), bytes.clone());
            }
        }
        if !slots_out {
            for name in ["KEY/INQUEUE3.KEY", "MBG/INQUEUE3.MBG"] {
                tree.insert(name.to_owned(), before[name].clone());
            }
            for (name, bytes) in tree.iter_mut().filter(|(name, _)| name.starts_with("MAI/")) {
                if before.contains_key(name) && mai::counter(bytes) == mai::counter(&after[name]) {
                    // The slot still counts.
                    bytes[mai::COUNTER_AT] += 1;
                }
            }
        }
        restore(&office.queue(), &tree);
        fs::write(office.out("run").join("drain"), &put_in).unwrap();
        office.drain("run", 0);
        assert_same_but_counts(&office.tree(), &after, &format!("taking out, round {round}"));
    }
}

fn assert_same_but_counts(ours: &Tree, theirs: &Tree, what: &str) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in theirs {
        let skip = if name.starts_with("KEY/") { 4 } else { 0 };
        assert!(ours[name][skip..] == bytes[skip..], "{what}: {name} differs");
    }
}

/// Cut off behind the first line; then the program that serves the outbound bag takes its record
/// out, and counts down. The MAI must not go while BOB's record points to it.
#[test]
fn a_counter_that_others_have_lowered_meanwhile_never_takes_a_mai_away() {
    let mut office = Office::new();
    let mut mail = letter("NET/PO/ANN", &["NET/PO/BOB", "NET/PO2/ZOE"]);
    mail.to[1].bag = Some(PO2.as_bytes());
    let name = office.push(&Letter { counter: 2, ..mail });
    let record = office.live("INQUEUE3")[0].1;
    office.bag(PO2, &[record], &[]);
    let before = office.tree();
    office.drain("run", 0);
    let log = fs::read_to_string(office.out("run").join("drain")).unwrap();
    restore(&office.queue(), &before);
    fs::write(office.out("run").join("drain"), format!("{}\n", log.lines().next().unwrap()))
        .unwrap();
    office.bag(PO2, &[record], &[0]);
    let mut bytes = office.mai(name);
    bytes[mai::COUNTER_AT] = 1;
    office.write(&super::small::mai_name(name), &bytes);
    office.drain("run", 0);
    assert_eq!(office.names(BOB), [name]);
    assert!(mai::counter(&office.mai(name)) >= Some(1));
    assert_eq!(office.names("INQUEUE3"), [0_u32; 0]);
}

/// Someone reads all bags all the time: KEY first, then MBG. What is live is whole, and its MAI is
/// there, counted.
#[test]
fn a_reader_of_the_bags_sees_them_whole_at_any_time() {
    let mut office = Office::new();
    let old = super::small::record_of(b"OLD", b"read and deleted", 0x0050_0000, 1);
    // Vacant slots among those that are there.
    office.bag(BOB, &[old; 90], &(0..90).collect::<Vec<u32>>());
    for number in 0..220 {
        let gone = if number % 10 == 0 { "NET/PO/GONE" } else { "NET/PO/EVE" };
        let all = ["NET/PO/BOB", "NET/PO2/ZOE", "NET/PO/TEAM", gone];
        office.push(&letter("NET/PO/ANN", &all));
    }
    let done = AtomicBool::new(false);
    let root = office.queue();
    let looks = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0_u64;
            while !done.load(Ordering::Relaxed) {
                looks += look_at_bags(&root);
            }
            looks
        });
        office.drain("run", 0);
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    office.assert_empty();
    assert_eq!(office.live(BOB).len(), 220);
    let report = (FIRST_NAME..).take(22).collect::<Vec<u32>>();
    assert_eq!(office.names(ANN), report);
    assert!(looks > 20, "only {looks} records were looked at");
    let p1 = office.p1(office.names(PO2)[0]);
    assert_eq!(P1::read(&p1).unwrap().recipients.len(), 1);
}

/// Looks at each bag once; gives how many live records were seen. INQUEUE3 is the drain's own.
fn look_at_bags(root: &Path) -> u64 {
    let mut seen = 0;
    for bag in [ANN, BOB, super::small::EVE, PO2] {
        let key = Key::read(&fs::read(root.join(format!("KEY/{bag}.KEY"))).unwrap()).unwrap();
        let mbg = fs::read(root.join(format!("MBG/{bag}.MBG"))).unwrap();
        let (all, rest) = records(&mbg);
        assert!(rest.is_empty(), "{bag}: {} bytes", mbg.len());
        for (slot, record) in (0..).zip(all).filter(|(slot, _)| !key.is_deleted(*slot)) {
            assert!(Record::new(record).mai().is_some(), "{bag}, slot {slot} isn't whole");
            let path = root.join(super::small::mai_name(name_in(record)));
            let mai = fs::read(&path).unwrap_or_else(|e| panic!("{bag}, slot {slot}: {e}"));
            assert!(mai::counter(&mai) >= Some(1), "{bag}, slot {slot}");
            seen += 1;
        }
    }
    seen
}
