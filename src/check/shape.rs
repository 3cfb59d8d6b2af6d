//! Sizes that files of a post office have: a head, then records (docs/postoffice.md, *The tree*;
//! Q77926, Q87402, Q87465).
//!
//! Not here: what is in them. Invariant: [`Shape::cut`] gives a length that [`Shape::fits`].

/// Folders that a post office has. Those of its users, which one without users lacks (Q181951), are
/// in [`FOLDERS_OF_USERS`].
pub const FOLDERS: [&str; 14] = [
    "GLB", "XTN", "USR", "KEY", "MBG", "MAI", "ATT", "P1", "LOG", "GRP", "NME", "TPL", "INF", "HLP",
];
/// Folders that a post office may have.
pub const FOLDERS_OF_USERS: [&str; 5] = ["MEM", "CAL", "FOLDERS", "INI", "MMF"];
/// Folders below MAI and ATT: their names end in these digits.
pub const DIGITS: &str = "0123456789ABCDEF";
/// The file that each folder holds.
pub const POPULATE: &str = "POPULATE.MSM";
/// Files of GLB without which mail isn't delivered (Q121735), and bytes of an empty one.
pub const NEEDED: [(&str, usize); 5] = [
    ("GLB/ACCESS2.GLB", 0),
    ("GLB/CONTROL.GLB", 8),
    ("GLB/GROUP.GLB", 4),
    ("GLB/MASTER.GLB", 176),
    ("GLB/NETWORK.GLB", 0),
];

/// How a file is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes before the records.
    pub head: u64,
    /// Bytes of a record; 0 where there are none.
    pub record: u64,
}

impl Shape {
    /// That of a file by its path in the post office, in upper case; none where it isn't known.
    pub fn of(path: &str) -> Option<Self> {
        let (folder, name) = path.split_once('/')?;
        let (stem, extension) = name.rsplit_once('.')?;
        if folder != extension {
            return None;
        }
        let (head, record) = match folder {
            "GLB" => glb(stem)?,
            "XTN" => (0, 698),
            "USR" => (0, 53),
            "MEM" => (0, 4),
            "GRP" => (0, 8),
            "NME" => (0, 45),
            _ => return None,
        };
        Some(Self { head, record })
    }

    /// True for a file of a head and whole records.
    pub const fn fits(self, len: u64) -> bool {
        self.cut(len) == len
    }

    /// The length of a file that is filled up to its head, or cut to whole records.
    pub const fn cut(self, len: u64) -> u64 {
        match (len.checked_sub(self.head), self.record) {
            (None, _) | (Some(_), 0) => self.head,
            (Some(rest), record) => len - rest % record,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.head, self.record) {
            (head, 0) => write!(f, "{head}"),
            (0, record) => write!(f, "a multiple of {record}"),
            (head, record) => write!(f, "{head} and a multiple of {record}"),
        }
    }
}

/// Head and record of a file in GLB.
fn glb(name: &str) -> Option<(u64, u64)> {
    Some(match name {
        "ACCESS" => (0, 586),
        "ACCESS2" => (0, 69),
        "ACCESS3" => (0, 512),
        "CONTROL" => (8, 0),
        "FLAG" => (2, 0),
        "GLOBAL" | "REQCONF" => (512, 0),
        "GROUP" => (4, 51),
        "GRPMEM" => (4, 128),
        "MASTER" => (176, 0),
        "MODEM" => (64, 0),
        "NETPO" => (4, 43),
        "NETWORK" => (0, 122),
        "PROCESS" => (512, 197),
        "SERVER" => (0, 181),
        "SRVCONF" => (1024, 1024),
        "TID" | "RNETSEM" => (4, 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes_fit_and_others_are_cut() {
        for (path, len, cut) in [
            ("GLB/ACCESS2.GLB", 69, 69),
            ("GLB/ACCESS2.GLB", 140, 138),
            ("GLB/CONTROL.GLB", 3, 8),
            ("GLB/CONTROL.GLB", 9, 8),
            ("GLB/GROUP.GLB", 4, 4),
            ("GLB/GROUP.GLB", 3, 4),
            ("GLB/GROUP.GLB", 56, 55),
            ("XTN/00000001.XTN", 700, 698),
            ("USR/00000001.USR", 53, 53),
        ] {
            let shape = Shape::of(path).unwrap();
            assert_eq!((shape.cut(len), shape.fits(len)), (cut, cut == len), "{path}");
        }
        assert_eq!(Shape::of("GLB/POPULATE.MSM"), None);
        assert_eq!(Shape::of("LOG/SESSION.LOG"), None);
    }
}
