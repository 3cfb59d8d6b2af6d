//! The kinds of findings, in words: what they are, and what to do.
//!
//! Not here: finding them. docs/check.md lists them; a test holds it against this.

use serde::Serialize;

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is described by its text")]
pub enum Kind {
    Damage,
    ReferenceLost,
    Unreadable,
    FolderMissing,
    FileMissing,
    PlaceholderMissing,
    FileSize,
    KeyMissing,
    MbgMissing,
    KeySize,
    RecordDamaged,
    RecordTorn,
    NoBit,
    MaiMissing,
    P1Missing,
    MaiTwice,
    Counter,
    MaiDamaged,
    P1Damaged,
    P1Foreign,
    MaiOrphan,
    P1Orphan,
    AttMissing,
    AttSize,
    AttShared,
    AttOrphan,
    Misplaced,
    Stray,
    Number,
    StaleLock,
    HeldLock,
    Serial,
    Special,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::Damage,
        Self::ReferenceLost,
        Self::Unreadable,
        Self::FolderMissing,
        Self::FileMissing,
        Self::PlaceholderMissing,
        Self::FileSize,
        Self::KeyMissing,
        Self::MbgMissing,
        Self::KeySize,
        Self::RecordDamaged,
        Self::RecordTorn,
        Self::NoBit,
        Self::MaiMissing,
        Self::P1Missing,
        Self::MaiTwice,
        Self::Counter,
        Self::MaiDamaged,
        Self::P1Damaged,
        Self::P1Foreign,
        Self::MaiOrphan,
        Self::P1Orphan,
        Self::AttMissing,
        Self::AttSize,
        Self::AttShared,
        Self::AttOrphan,
        Self::Misplaced,
        Self::Stray,
        Self::Number,
        Self::StaleLock,
        Self::HeldLock,
        Self::Serial,
        Self::Special,
    ];

    /// It is told, and nothing is damaged: the queue is clean all the same.
    pub const fn is_note(self) -> bool {
        matches!(self, Self::HeldLock | Self::Serial | Self::Special)
    }

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        self.words().0
    }

    /// What it is.
    pub const fn text(self) -> &'static str {
        self.words().1
    }

    /// What to do.
    pub const fn what_to_do(self) -> &'static str {
        self.words().2
    }

    const fn words(self) -> (&'static str, &'static str, &'static str) {
        const SALVAGE: &str = "inqueue salvage rebuilds it";
        const KEEP: &str = "inqueue salvage keeps it in quarantine";
        const QUEUE: &str = "inqueue salvage puts it into INQUEUE3 again";
        match self {
            Self::Damage => ("damage", "bytes that are no message", KEEP),
            Self::ReferenceLost => (
                "reference-lost",
                "a record whose content isn't where it says",
                "bring the file back as it was",
            ),
            Self::Unreadable => ("unreadable", "can't be read", "give this user the right to"),
            Self::FolderMissing => ("folder-missing", "a folder is missing", "make it"),
            Self::FileMissing => ("file-missing", "a file is missing that mail needs", SALVAGE),
            Self::PlaceholderMissing => {
                ("placeholder-missing", "POPULATE.MSM is missing", "make it: one byte")
            }
            Self::FileSize => ("file-size", "no whole number of records", SALVAGE),
            Self::KeyMissing => ("key-missing", "an MBG without its KEY", SALVAGE),
            Self::MbgMissing => ("mbg-missing", "a KEY without its MBG", SALVAGE),
            Self::KeySize => ("key-size", "a KEY that hasn't 560 bytes", SALVAGE),
            Self::RecordDamaged => ("record-damaged", "a live record that names no MAI", KEEP),
            Self::RecordTorn => ("record-torn", "bytes behind the last whole record", KEEP),
            Self::NoBit => ("no-bit", "a record that KEY has no bit for", SALVAGE),
            Self::MaiMissing => {
                ("mai-missing", "a live record whose MAI is missing", "salvage writes a stub")
            }
            Self::P1Missing => {
                ("p1-missing", "a record of incoming mail without P1", "salvage makes it from MAI")
            }
            Self::MaiTwice => ("mai-twice", "two live records of a bag have one MAI", KEEP),
            Self::Counter => ("counter", "a wrong reference counter", "salvage sets it right"),
            Self::MaiDamaged => ("mai-damaged", "a MAI that isn't good", "salvage writes a stub"),
            Self::P1Damaged => ("p1-damaged", "a P1 that isn't good", "salvage makes it from MAI"),
            Self::P1Foreign => {
                ("p1-foreign", "a P1 that names another MAI", "salvage finds which it belongs to")
            }
            Self::MaiOrphan => ("mai-orphan", "a MAI that no live record points to", QUEUE),
            Self::P1Orphan => ("p1-orphan", "a P1 that no live record points to", KEEP),
            Self::AttMissing => {
                ("att-missing", "an attachment is missing", "salvage writes a stub")
            }
            Self::AttSize => ("att-size", "an attachment of another size", "salvage sets it right"),
            Self::AttShared => ("att-shared", "an ATT that two messages have", "salvage copies it"),
            Self::AttOrphan => ("att-orphan", "an ATT that no MAI names", KEEP),
            Self::Misplaced => ("misplaced", "in the folder of another digit", "move it"),
            Self::Stray => ("stray", "a file that no name leads to", KEEP),
            Self::Number => ("number", "CONTROL.GLB would give a name again", SALVAGE),
            Self::StaleLock => ("stale-lock", "a lock that nobody holds", "delete it"),
            Self::HeldLock => ("held-lock", "a lock: somebody works here", "check when it's gone"),
            Self::Serial => ("serial", "two post offices have one serial number", "ask for one"),
            Self::Special => ("special", "neither file nor folder; not looked at", "look at it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json_and_the_document_has_all_of_them() {
        let document = include_str!("../../docs/check.md");
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert!(document.contains(&format!("| `{}` |", kind.name())), "{}", kind.name());
        }
    }
}
