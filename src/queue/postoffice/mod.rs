//! The MS Mail post office: mailbags and the files of their messages, read (docs/postoffice.md).
//!
//! `list` says what a queue of post offices holds, `message` makes a message of a slot; `bag`,
//! `mai`, `p1` and `tables` read and write the formats, `element` what MAI and P1 are made of,
//! `office` finds the files, `lock` judges one of them. Not here: changing a post office
//! (`deliver`), and looking up addresses (`directory`).

pub mod bag;
pub mod element;
pub mod list;
pub mod lock;
pub mod mai;
pub mod message;
pub mod office;
pub mod p1;
pub mod tables;

use std::path::{Path, PathBuf};

/// Entries of a folder that are looked at for a post office, to tell what it is.
const LOOKED_AT_MAX: usize = 256;

/// True where a folder is a post office, or one of its folders is: deeper ones have to be named
/// with `postoffice:`.
pub fn is_office_or_tree(path: &Path) -> bool {
    let entries = path.read_dir().into_iter().flatten().flatten().take(LOOKED_AT_MAX);
    office::Office::is_one(path)
        || entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .any(|entry| office::Office::is_one(&entry.path()))
}

/// The folder that the names of a queue's bags are relative to: that of the post offices, or of the
/// one whose bag the path names.
pub fn root(path: &Path) -> PathBuf {
    list::bag_of_path(path).map_or_else(|| path.to_owned(), |(root, _)| root)
}
