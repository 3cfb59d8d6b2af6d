//! Lists of real folders, and their form as bytes.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

fn put(root: &Path, name: &[u8], len: usize) {
    let path = root.join(OsStr::from_bytes(name));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![b'x'; len]).unwrap();
}

fn names(list: &FileList) -> Vec<Vec<u8>> {
    (0..list.len()).map(|index| list.get(index).unwrap().name.to_vec()).collect()
}

fn round_trip(list: &FileList) -> FileList {
    let mut bytes = b"before".to_vec();
    list.write_to(&mut bytes);
    FileList::read_from(&bytes[6..]).unwrap()
}

#[test]
fn a_maildir_is_cur_and_new_without_tmp_dots_and_folders() {
    let root = tempfile::tempdir().unwrap();
    for (name, len) in [
        (&b"new/2.host"[..], 2),
        (b"new/1.host", 1),
        (b"cur/9.host:2,S", 9),
        (b"cur/9.h\xff\xfest:2,", 10),
        (b"cur/.hidden", 1),
        (b"cur/folder/file", 1),
        (b"tmp/3.host", 1),
        (b".Sent/cur/4.host", 1),
        (b"dovecot.index", 1),
    ] {
        put(root.path(), name, len);
    }
    let list = FileList::take(root.path(), Folder::Maildir).unwrap();
    let expect = [&b"cur/9.host:2,S"[..], b"cur/9.h\xff\xfest:2,", b"new/1.host", b"new/2.host"];
    assert_eq!(names(&list), expect);
    assert_eq!(list.total_bytes(), 22);
    assert_eq!(list.passed_over(), 0);
    assert_eq!(list.get(0).unwrap().size, 9);
    assert!(list.get(0).unwrap().mtime_ns > 1_600_000_000_000_000_000);
    assert_eq!(list.get(4), None);
    assert_eq!(round_trip(&list), list);
}

#[test]
fn a_maildir_needs_cur_or_new() {
    let root = tempfile::tempdir().unwrap();
    let error = FileList::take(root.path(), Folder::Maildir).unwrap_err();
    assert!(matches!(error, FilesError::NoMaildir { .. }), "{error}");
    put(root.path(), b"new/1", 1);
    assert_eq!(FileList::take(root.path(), Folder::Maildir).unwrap().len(), 1);
    fs::write(root.path().join("cur"), "a file").unwrap();
    let error = FileList::take(root.path(), Folder::Maildir).unwrap_err();
    assert!(matches!(error, FilesError::List { .. }), "{error}");
    let error = FileList::take(&root.path().join("none"), Folder::Eml).unwrap_err();
    assert!(matches!(error, FilesError::List { .. }), "{error}");
}

#[test]
fn a_tree_is_its_files_at_any_depth_in_order_of_bytes() {
    let root = tempfile::tempdir().unwrap();
    for name in
        [&b"b.eml"[..], b"a/1.eml", b"a/b/c/2.eml", b"a.eml", b"a-b", b"\xff", b".x", b".y/z"]
    {
        put(root.path(), name, 1);
    }
    fs::create_dir(root.path().join("empty")).unwrap();
    let list = FileList::take(root.path(), Folder::Eml).unwrap();
    let expect = [&b"a-b"[..], b"a.eml", b"a/1.eml", b"a/b/c/2.eml", b"b.eml", b"\xff"];
    assert_eq!(names(&list), expect);
    assert_eq!(round_trip(&list), list);
}

#[test]
fn links_lead_to_files_and_all_else_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    put(other.path(), b"target", 7);
    let at = |name: &str| root.path().join(name);
    symlink(other.path().join("target"), at("file")).unwrap();
    symlink(other.path(), at("folder")).unwrap();
    symlink(root.path(), at("self")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    symlink(at("loop"), at("loop")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let list = FileList::take(root.path(), Folder::Eml).unwrap();
    assert_eq!(names(&list), [b"file"]);
    assert_eq!(list.get(0).unwrap().size, 7);
    assert_eq!(list.passed_over(), 5);
    assert_eq!(round_trip(&list), list);
}

#[test]
fn an_empty_folder_is_an_empty_list() {
    let root = tempfile::tempdir().unwrap();
    let list = FileList::take(root.path(), Folder::Eml).unwrap();
    assert!(list.is_empty());
    assert_eq!(list.cut(100), []);
    assert_eq!(list.get(0), None);
    assert_eq!(round_trip(&list), list);
}

fn list_of(sizes: &[u64]) -> FileList {
    let mut list = FileList::default();
    for (index, &size) in sizes.iter().enumerate() {
        let name = format!("{index:08}");
        list.push(Entry { name: name.as_bytes(), size, mtime_ns: -1 }).unwrap();
    }
    list
}

#[test]
fn runs_end_at_the_part_size_or_at_the_bound_of_files() {
    assert_eq!(list_of(&[5, 5, 5, 100, 1]).cut(10), [0..2, 2..4, 4..5]);
    assert_eq!(list_of(&[5, 5]).cut(0), [0..1, 1..2]);
    assert_eq!(list_of(&[u64::MAX, u64::MAX]).cut(u64::MAX), [0..1, 1..2]);
    assert_eq!(list_of(&[u64::MAX, u64::MAX]).total_bytes(), u64::MAX);
    let bound = limits::PART_FILES_MAX;
    let (at_bound, all) = (bound as u64, 2 * bound as u64 + 1);
    let runs = list_of(&vec![0; 2 * bound + 1]).cut(1);
    assert_eq!(runs, [0..at_bound, at_bound..all - 1, all - 1..all]);
    assert_eq!(list_of(&vec![0; bound]).cut(1), std::slice::from_ref(&(0..at_bound)));
}

#[test]
fn names_of_messages_are_without_folder_and_flags() {
    let check = |name: &[u8], maildir: &[u8]| {
        assert_eq!(unique_name(name, Folder::Maildir), maildir);
        assert_eq!(unique_name(name, Folder::Eml), name);
    };
    check(b"cur/1.M2.host:2,S", b"1.M2.host");
    check(b"new/1.M2.host", b"1.M2.host");
    check(b"new/\xff:2:3", b"\xff");
    check(b"new/:2,", b"");
    check(b"", b"");
}

#[test]
fn lists_out_of_order_are_refused() {
    let mut list = FileList::default();
    let entry = |name| Entry { name, size: 0, mtime_ns: 0 };
    assert!(list.push(entry(b"")).is_err());
    list.push(entry(b"b")).unwrap();
    assert!(list.push(entry(b"b")).is_err());
    assert!(list.push(entry(b"a")).is_err());
    // The same from bytes that carry a good checksum.
    list.push(entry(b"c")).unwrap();
    let mut bytes = Vec::new();
    list.write_to(&mut bytes);
    let names_at = bytes.len() - 6;
    bytes[names_at..names_at + 2].copy_from_slice(b"cb");
    let end = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    let error = FileList::read_from(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "cannot read a list of files: names out of order");
}

#[test]
fn a_list_lies_in_bytes_as_documented() {
    let mut list = FileList { passed_over: 3, ..FileList::default() };
    list.push(Entry { name: b"ab", size: 258, mtime_ns: -2 }).unwrap();
    let mut bytes = Vec::new();
    list.write_to(&mut bytes);
    let mut expect = b"INQFILE1".to_vec();
    expect.extend([1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    expect.extend([2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 254, 255, 255, 255, 255, 255, 255, 255]);
    expect.extend(b"ab");
    let checksum = crc32c::crc32c(&expect);
    expect.extend(checksum.to_le_bytes());
    assert_eq!(bytes, expect);
}

fn any_list() -> impl Strategy<Value = FileList> {
    let name = proptest::collection::vec(any::<u8>(), 1..9);
    let files = proptest::collection::btree_map(name, any::<(u64, i64)>(), 0..20);
    (files, any::<u64>()).prop_map(|(files, passed_over): (BTreeMap<_, _>, _)| {
        let mut list = FileList { passed_over, ..FileList::default() };
        for (name, (size, mtime_ns)) in &files {
            list.push(Entry { name, size: *size, mtime_ns: *mtime_ns }).unwrap();
        }
        list
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_list_goes_there_and_back(list in any_list()) {
        prop_assert_eq!(round_trip(&list), list);
    }

    #[test]
    fn any_changed_byte_is_refused(
        list in any_list(),
        flip in 1..=255_u8,
        other in any::<Vec<u8>>(),
    ) {
        let mut bytes = Vec::new();
        list.write_to(&mut bytes);
        for at in 0..bytes.len() {
            bytes[at] ^= flip;
            prop_assert!(FileList::read_from(&bytes).is_err());
            bytes[at] ^= flip;
            prop_assert!(FileList::read_from(&bytes[..at]).is_err());
        }
        bytes.push(0);
        prop_assert!(FileList::read_from(&bytes).is_err());
        prop_assert!(FileList::read_from(&other).is_err());
    }

    #[test]
    fn runs_cover_the_list_in_order(
        sizes in proptest::collection::vec(0..50_u64, 0..60),
        part in 0..200_u64,
    ) {
        let list = list_of(&sizes);
        let runs = list.cut(part);
        let files: Vec<u64> = runs.iter().flat_map(Clone::clone).collect();
        prop_assert_eq!(files, (0..list.len()).collect::<Vec<_>>());
        prop_assert!(runs.iter().all(|run| !run.is_empty()));
    }
}
