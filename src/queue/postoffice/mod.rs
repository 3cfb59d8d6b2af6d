//! The MS Mail post office: mailbags and the files of their messages, read (docs/postoffice.md).
//!
//! `list` says what a queue of post offices holds, `message` makes a message of a slot; `bag`,
//! `mai`, `p1` and `tables` read and write the formats, `element` what MAI and P1 are made of,
//! `office` finds the files. Not here: changing a post office (`deliver`), and looking up addresses
//! (`directory`).

pub mod bag;
pub mod element;
pub mod list;
pub mod mai;
pub mod message;
pub mod office;
pub mod p1;
pub mod tables;

use std::path::{Path, PathBuf};

/// The folder that the names of a queue's bags are relative to: that of the post offices, or of the
/// one whose bag the path names.
pub fn root(path: &Path) -> PathBuf {
    list::bag_of_path(path).map_or_else(|| path.to_owned(), |(root, _)| root)
}
