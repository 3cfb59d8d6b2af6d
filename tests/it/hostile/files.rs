//! What isn't a file, in the place of one: never waited for, never followed where somebody else
//! could have sent us.

use super::{counts, ended, make_pipe, run};
use crate::postoffice::small::{ANN, BOB, Office, letter, mai_name, tree};
use crate::support::{messages, text};
use inqueue::queue::{Buffers, Queue, QueueError, Source, Visit};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// All that can stand where a file should, and isn't one.
fn make_special(folder: &Path) -> Vec<PathBuf> {
    let at = |name: &str| folder.join(name);
    make_pipe(&at("10.pipe"));
    UnixListener::bind(at("11.socket")).unwrap();
    symlink("/dev/zero", at("12.device")).unwrap();
    symlink("10.pipe", at("13.to-pipe")).unwrap();
    symlink(folder, at("14.to-folder")).unwrap();
    symlink("nowhere", at("15.dangling")).unwrap();
    symlink("16.round", at("16.round")).unwrap();
    ["10.pipe", "11.socket", "12.device", "13.to-pipe", "14.to-folder", "15.dangling", "16.round"]
        .map(at)
        .to_vec()
}

const LETTER: &[u8] = b"Delivered-To: bob@example.com\n\nhello\n";

#[test]
fn what_is_no_file_in_a_maildir_is_passed_over_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let maildir = folder.path().join("maildir");
    for name in ["new", "cur", "tmp"] {
        fs::create_dir_all(maildir.join(name)).unwrap();
    }
    fs::write(maildir.join("new/1.good"), LETTER).unwrap();
    // Folders of links to one's own mail are usual.
    fs::write(folder.path().join("elsewhere"), LETTER).unwrap();
    symlink(folder.path().join("elsewhere"), maildir.join("cur/2.link:2,S")).unwrap();
    let special = make_special(&maildir.join("new"));
    let spec = format!("maildir:{}", maildir.display());
    let output = run(None, &spec, &folder.path().join("run"), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(counts(&output)["messages"], 2);
    assert_eq!(counts(&output)["delivered"], 2);
    let told = format!("{} ", special.len());
    assert!(text(&output.stderr).contains(&told), "{}", text(&output.stderr));
    for command in ["inspect", "check"] {
        assert_eq!(ended(None, &[command, &spec]).status.code(), Some(0), "{command}");
    }
}

/// Ends the reading with what went wrong; counts messages.
struct Count(usize);

impl Visit for Count {
    type Error = QueueError;

    fn batch<'a>(
        &mut self,
        _: Source<'a>,
        frames: inqueue::queue::Frames<'a>,
    ) -> Result<(), QueueError> {
        self.0 += frames.count();
        Ok(())
    }
}

/// A message that was a file when the queue was listed, and is a pipe when it is read.
#[test]
fn a_pipe_that_takes_the_place_of_a_listed_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.eml");
    fs::write(&path, LETTER).unwrap();
    let queue = Queue::open(&format!("eml:{}", folder.path().display())).unwrap();
    fs::remove_file(&path).unwrap();
    make_pipe(&path);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let parts = queue.cut(1 << 20).unwrap();
        let read = queue.read(&parts[0], &mut Buffers::default(), &mut Count(0));
        send.send(read.unwrap_err().to_string()).unwrap();
    });
    let said = receive.recv_timeout(std::time::Duration::from_mins(5)).expect("it waits");
    assert!(said.contains("1.eml: cannot read: it is not a regular file"), "{said}");
}

#[test]
fn a_pipe_among_the_segments_of_a_stream_ends_a_run_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let stream = folder.path().join("stream");
    fs::create_dir(&stream).unwrap();
    fs::write(stream.join("00000.seg"), super::segment(&[])).unwrap();
    make_pipe(&stream.join("00001.seg"));
    let output = run(None, &stream.display().to_string(), &folder.path().join("run"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("it is not a regular file"), "{}", text(&output.stderr));
    assert!(!folder.path().join("run").exists());
}

/// A record of a stream may say that its content lies in another file; a pipe or device there is
/// nothing.
#[test]
fn a_reference_to_a_pipe_or_device_leads_nowhere() {
    use inqueue::queue::segment::{KIND_REFERENCE, SYNC, read};
    let folder = tempfile::tempdir().unwrap();
    make_pipe(&folder.path().join("pipe"));
    for name in [folder.path().join("pipe"), "/dev/zero".into(), "/dev/tty".into()] {
        let reference = [&[0; 24][..], name.as_os_str().as_encoded_bytes()].concat();
        let mut file = super::segment(&[(&|_| {}, &reference)]);
        let head = file.windows(8).position(|bytes| bytes == SYNC).unwrap();
        file[head + 24..head + 26].copy_from_slice(&KIND_REFERENCE.to_le_bytes());
        let sum = crc32c::crc32c(&file[head..head + 52]).to_le_bytes();
        file[head + 52..head + 56].copy_from_slice(&sum);
        assert_eq!(read::frame(&file, 0..file.len() as u64).count(), 1);
        let path = folder.path().join("queue.seg");
        fs::write(&path, &file).unwrap();
        let output = ended(None, &["check", &path.display().to_string()]);
        assert_eq!(output.status.code(), Some(3));
        let said = text(&output.stdout);
        assert!(said.contains("the content that it refers to is gone"), "{said}");
    }
}

/// A segment of another user that refers to what isn't theirs is how they would read what they may
/// not: a reference is a link. What one has made oneself, and what is the maker's own, is followed.
#[test]
fn references_of_other_users_are_followed_to_their_own_files_alone() {
    use inqueue::queue::segment::reference::{Reference, References};
    if rustix::process::geteuid().as_raw() != 0 {
        println!("references_of_other_users_...: skipped: only root can make files of other users");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let owned = |name: &str, owner: u32| {
        fs::write(at(name), LETTER).unwrap();
        std::os::unix::fs::chown(at(name), Some(owner), None).unwrap();
    };
    for (name, owner) in [("ours.seg", 0), ("theirs.seg", 54_321)] {
        owned(name, owner);
        let references = References::of(&at(name)).unwrap();
        for (file, of_file) in [("secret", 0), ("their-letter", 54_321), ("others", 54_322)] {
            owned(file, of_file);
            let (length, checksum) = (LETTER.len() as u64, crc32c::crc32c(LETTER));
            for path in [file.to_owned(), at(file).display().to_string(), format!("./{file}")] {
                let name = path.as_bytes();
                let reference = Reference { offset: 0, length, checksum, is_quoted: false, name };
                let lost = references.lost(Vec::new(), &reference);
                assert_eq!(lost.is_none(), owner == 0 || owner == of_file, "{file}: {lost:?}");
                let said = lost.map(|lost| lost.to_string()).unwrap_or_default();
                assert!(said.is_empty() || said.contains("it is another user's"), "{said}");
            }
        }
    }
}

/// A link that another user has put into a queue, to a file that isn't theirs, is how they would
/// read what they may not.
#[test]
fn links_of_other_users_are_followed_to_their_own_files_alone() {
    if rustix::process::geteuid().as_raw() != 0 {
        println!("links_of_other_users_...: skipped: only root can make links of other users");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["maildir/new", "maildir/cur", "foreign"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    let theirs = 54_321;
    for (name, owner) in [("secret", 0), ("their-letter", theirs)] {
        fs::write(at(name), LETTER).unwrap();
        std::os::unix::fs::chown(at(name), Some(owner), None).unwrap();
        let link = at("maildir/new").join(name);
        symlink(at(name), &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(theirs), None).unwrap();
    }
    // The same by a link in the place of a folder.
    fs::write(at("foreign/letter"), LETTER).unwrap();
    fs::remove_dir(at("maildir/cur")).unwrap();
    symlink(at("foreign"), at("maildir/cur")).unwrap();
    std::os::unix::fs::lchown(at("maildir/cur"), Some(theirs), None).unwrap();
    let spec = format!("maildir:{}", at("maildir").display());
    let output = ended(None, &["inspect", &spec, "--json"]);
    let lines = text(&output.stdout);
    let files: Vec<&str> = lines.lines().filter(|line| line.contains("\"file\":")).collect();
    assert_eq!(files.len(), 1, "{lines}");
    assert!(files[0].contains("\"file\":\"new/their-letter\""), "{lines}");
    // A queue of one file that is such a link.
    let link = at("maildir/new/secret");
    let output = ended(None, &["inspect", &format!("eml:{}", link.display())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("it is a link that is not followed"));
}

/// Each file of a post office in turn is a pipe: nothing waits for it, and the other message goes
/// where it has to.
#[test]
fn a_pipe_in_the_place_of_any_file_of_a_post_office_is_not_waited_for() {
    let files = |name: u32| {
        let fixed = ["KEY/INQUEUE3.KEY", "MBG/INQUEUE3.MBG", "P1/INQUEUE3.0LK", "P1/INQUEUE3.NEW"];
        let more = ["GLB/ACCESS2.GLB", "GLB/CONTROL.GLB", "GLB/GROUP.GLB", "MEM/00000001.MEM"];
        let of_bag = [format!("KEY/{BOB}.KEY"), format!("MBG/{BOB}.MBG")];
        let of_message = [mai_name(name), format!("P1/{name:08X}.P1"), mai_name(name + 1)];
        let att = format!("ATT/AT{:X}/{:08X}.ATT", (name + 1) & 15, name + 1);
        fixed
            .into_iter()
            .chain(more)
            .map(str::to_owned)
            .chain(of_bag)
            .chain(of_message)
            .chain([att])
    };
    for file in files(0x62) {
        let mut office = Office::new();
        let mut first = letter("NET/PO/ANN", &["NET/PO/BOB"]);
        first.attachments.push((b"A.TXT", b"attached"));
        assert_eq!(office.push(&first), 0x62);
        let second = office.push(&letter("NET/PO/BOB", &["NET/PO/ANN"]));
        let _ = fs::remove_file(office.file(&file));
        make_pipe(&office.file(&file));
        let spec = format!("postoffice:{}", office.queue().display());
        for command in ["inspect", "check"] {
            ended(None, &[command, &spec]);
        }
        let new = office.out("new").display().to_string();
        ended(None, &["salvage", &spec, "--out", &new]);
        let out = office.out("run").display().to_string();
        let output =
            ended(None, &["run", &spec, "--drain", "--hostname", "m.example", "--out", &out]);
        let told = text(&output.stderr);
        let is_bag = file.contains("INQUEUE3");
        let is_table = file.contains("ACCESS2") || file.contains("GROUP") || file.contains("MEM");
        let is_whole = !is_bag && !is_table;
        assert_eq!(is_whole, office.names(ANN).contains(&second), "{file}: {told}");
        if !is_whole {
            assert!(output.status.code() == Some(1) || counts_none(&output), "{file}: {told}");
        }
        assert!(!is_table || told.contains("it is not a regular file"), "{file}: {told}");
        // Nobody has taken it away, but for what goes with its message.
        let is_there = office.file(&file).symlink_metadata().is_ok();
        assert!(is_there || file.starts_with("ATT"), "{file}");
    }
}

/// A run of a queue in which nothing can be seen.
fn counts_none(output: &std::process::Output) -> bool {
    text(&output.stdout).starts_with("0 messages")
}

/// What a drain makes beside a file, before it renames it, isn't written through a link.
#[test]
fn a_drain_writes_through_no_link_that_leads_out_of_the_post_office() {
    let mut office = Office::new();
    // Reports get new files: their names are known beforehand.
    office.push(&letter("NET/PO/ANN", &["NET/PO/NOBODY"]));
    let outside = office.folder.path().join("outside");
    fs::write(&outside, b"kept").unwrap();
    let name = crate::postoffice::small::FIRST_NAME;
    let beside = PathBuf::from(mai_name(name)).with_extension("NEW");
    symlink(&outside, office.file(beside.to_str().unwrap())).unwrap();
    symlink(&outside, office.file("P1/INQUEUE3.NEW")).unwrap();
    let told = office.drain("run", 1);
    assert!(told.contains("INQUEUE3"), "{told}");
    fs::remove_file(office.file("P1/INQUEUE3.NEW")).unwrap();
    office.drain("run", 0);
    office.assert_empty();
    assert_eq!(office.names(ANN), [name]);
    assert_eq!(fs::read(&outside).unwrap(), b"kept");
    assert!(!tree(&office.queue()).keys().any(|name| name.ends_with("NEW")));
    // A message that was delivered before the link was put there.
    assert!(messages(&office.out("run"), "ndr").len() == 1);
}
