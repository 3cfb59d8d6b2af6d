//! The directory: who exists, and what becomes of mail for them. An immutable snapshot, read
//! without locks.
//!
//! The file's format is docs/directory.md. Not here: expanding an alias or a list (`decide` does,
//! and counts levels), and any other source than a file. A quoted local-part is compared as it is
//! written: `"a"@b` and `a@b` are two.
//!
//! Invariants: look-ups take no lock and no memory; a snapshot is the whole file or it isn't made
//! at all; the same file gives the same answers and the same errors.
//! Bad data is told with line and column, up to [`limits::DIRECTORY_ERRORS_TOLD_MAX`] errors; it
//! never panics.

mod office;
mod parse;
mod table;
#[cfg(test)]
mod tests;

use crate::limits;
use crate::mail::address::Mailbox;
use crate::queue::postoffice::tables::Tables as OfficeTables;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use table::Table;

/// What the directory says about a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'d> {
    /// It takes mail, by this route; empty: by the mailbox itself.
    Mailbox(&'d [u8]),
    /// It is full (RFC 3463, X.2.2).
    Full,
    /// It exists, but takes no mail (RFC 3463, X.2.1).
    Disabled,
    /// Its owner has gone to another address (RFC 3463, X.1.6).
    Moved(&'d [u8]),
    /// Mail goes to the targets, under the same reverse-path (RFC 5321, 3.9.1); also what a
    /// catch-all takes, and `postmaster` without a domain.
    Alias(&'d [Box<[u8]>]),
    /// A mailing list: mail goes to the members, under the owner's reverse-path (RFC 5321, 3.9.2).
    List {
        /// Whom reports about the list's mail go to.
        owner: Option<&'d [u8]>,
        /// The addresses that mail goes to.
        members: &'d [Box<[u8]>],
    },
    /// The domain is local, and nobody is listed there by that name.
    Unknown,
    /// A group whose list of members is gone.
    GroupGone,
    /// The domain is relayed by this route; empty: by the domain itself.
    Relay(&'d [u8]),
    /// The directory doesn't know the domain.
    Remote,
}

/// Who exists: the content of one directory file. The default is empty: every domain is remote.
#[derive(Debug, Default)]
pub struct Directory {
    tables: Tables,
    checksum: u32,
}

/// Keys are in lower case (ASCII letters alone), and so are all look-ups.
#[derive(Debug, Default)]
struct Tables {
    entries: Table<Entry>,
    /// By domain; those of `entries` are in it, too.
    domains: HashMap<Box<[u8]>, Listed<DomainRule>, ahash::RandomState>,
    systems: HashSet<Box<[u8]>, ahash::RandomState>,
    postmaster: Option<Box<[u8]>>,
    /// What only a post office has.
    office: Option<Box<office::Extra>>,
}

/// What stands in a line of the file.
#[derive(Debug)]
struct Listed<T> {
    /// Number of the line, from 1.
    line: usize,
    rule: T,
}

/// What is done with mail for an address.
#[derive(Debug, PartialEq)]
enum Entry {
    Mailbox,
    /// A mailbox that mail reaches by a route.
    Bag(Box<[u8]>),
    GroupGone,
    Full,
    Disabled,
    Moved(Box<[u8]>),
    Alias(Box<[Box<[u8]>]>),
    List(Box<List>),
}

#[derive(Debug, PartialEq)]
struct List {
    owner: Option<Box<[u8]>>,
    members: Box<[Box<[u8]>]>,
}

/// What is done with mail for a domain, where the address isn't listed.
#[derive(Debug)]
enum DomainRule {
    Local,
    CatchAll(Box<[u8]>),
    Relay(Box<[u8]>),
}

impl Directory {
    /// Reads a directory file.
    ///
    /// # Errors
    /// Says why the file can't be read, or which of its lines are wrong.
    pub fn load(path: &Path) -> Result<Self, DirectoryError> {
        let bytes = std::fs::read(path)
            .map_err(|source| DirectoryError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&bytes, &path.to_string_lossy())
    }

    /// Reads the bytes of a directory file; `name` is the file's name in errors.
    ///
    /// # Errors
    /// Says which lines are wrong.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self, DirectoryError> {
        match parse::read(bytes) {
            Ok(tables) => Ok(Self { tables, checksum: crc32c::crc32c(bytes) }),
            Err(errors) => Err(DirectoryError::Invalid {
                name: name.to_owned(),
                errors: errors.told,
                count: errors.count,
            }),
        }
    }

    /// What a post office knows (docs/postoffice.md, *Who exists*).
    pub fn of_office(tables: &OfficeTables) -> Self {
        Self { tables: office::tables(tables), checksum: 0 }
    }

    /// What becomes of mail for a mailbox. Case of ASCII letters doesn't count, in the domain and
    /// in the local-part.
    pub fn look_up(&self, mailbox: Mailbox<'_>) -> Standing<'_> {
        if mailbox.domain.is_empty() {
            return self.look_up_bare(mailbox.local_part);
        }
        match self.tables.entries.get(mailbox) {
            Some(entry) => entry.standing(),
            None => self.look_up_domain(mailbox.domain),
        }
    }

    /// Has the processor fetch what a look-up of this path touches first, so that it needn't be
    /// waited for later; gives what [`Self::fetch_record`] wants. What isn't a plain mailbox is
    /// fetched in vain.
    pub fn fetch_slot(&self, path: &[u8]) -> u64 {
        plain(path).map_or(0, |mailbox| self.tables.entries.fetch_slot(mailbox))
    }

    /// Has it fetch what the look-up touches next; to be asked for a while after
    /// [`Self::fetch_slot`], with what that gave.
    pub fn fetch_record(&self, hash: u64) {
        self.tables.entries.fetch_record(hash);
    }

    /// `postmaster` without a domain (RFC 5321, 4.1.1.3).
    fn look_up_bare(&self, local_part: &[u8]) -> Standing<'_> {
        match &self.tables.postmaster {
            Some(postmaster) if local_part.eq_ignore_ascii_case(b"postmaster") => {
                Standing::Alias(std::slice::from_ref(postmaster))
            }
            _ => Standing::Unknown,
        }
    }

    fn look_up_domain(&self, domain: &[u8]) -> Standing<'_> {
        let mut key = Folded::new();
        let listed = key.domain(domain).and_then(|key| self.tables.domains.get(key));
        match listed.map(|listed| &listed.rule) {
            Some(DomainRule::Local) => Standing::Unknown,
            Some(DomainRule::CatchAll(target)) => Standing::Alias(std::slice::from_ref(target)),
            Some(DomainRule::Relay(route)) => Standing::Relay(route),
            None => match &self.tables.office {
                Some(office) => office.look_up_domain(domain),
                None => Standing::Remote,
            },
        }
    }

    /// Whether a path, without brackets, is that of a system. What isn't a mailbox is none.
    pub fn is_system(&self, path: &[u8]) -> bool {
        if self.tables.systems.is_empty() && self.tables.office.is_none() {
            return false;
        }
        let Ok(mailbox) = Mailbox::parse(path) else { return false };
        if self.tables.office.is_some() && office::is_system(mailbox) {
            return true;
        }
        Folded::new().mailbox(mailbox).is_some_and(|key| self.tables.systems.contains(key))
    }

    /// The postmaster's address, where the directory names one.
    pub fn postmaster(&self) -> Option<&[u8]> {
        self.tables.postmaster.as_deref()
    }

    /// CRC32C of the file's bytes: tells whether two runs had the same directory.
    pub const fn checksum(&self) -> u32 {
        self.checksum
    }

    /// How many addresses are listed; domains, systems and the postmaster don't count.
    pub fn len(&self) -> usize {
        self.tables.entries.len()
    }

    /// True where no address is listed. Domains may be.
    pub fn is_empty(&self) -> bool {
        self.tables.entries.len() == 0
    }
}

/// The mailbox of a path that is just that, unchecked.
fn plain(path: &[u8]) -> Option<Mailbox<'_>> {
    let at = memchr::memrchr(b'@', path)?;
    Some(Mailbox { local_part: path.get(..at)?, domain: path.get(at + 1..)? })
}

impl Entry {
    fn standing(&self) -> Standing<'_> {
        match self {
            Self::Mailbox => Standing::Mailbox(b""),
            Self::Bag(route) => Standing::Mailbox(route),
            Self::GroupGone => Standing::GroupGone,
            Self::Full => Standing::Full,
            Self::Disabled => Standing::Disabled,
            Self::Moved(new) => Standing::Moved(new),
            Self::Alias(targets) => Standing::Alias(targets),
            Self::List(list) => {
                Standing::List { owner: list.owner.as_deref(), members: &list.members }
            }
        }
    }
}

/// Longest key: every mailbox that `Mailbox::parse` takes is shorter.
const KEY_BYTES_MAX: usize = limits::PATH_BYTES_MAX + 64;

/// A look-up key in lower case, on the stack: look-ups take no memory.
struct Folded(SmallVec<[u8; 512]>);

const _: () = assert!(KEY_BYTES_MAX <= 512);

impl Folded {
    fn new() -> Self {
        Self(SmallVec::new())
    }

    /// The key of a mailbox; none where it is longer than anything that can be listed.
    fn mailbox(&mut self, mailbox: Mailbox<'_>) -> Option<&[u8]> {
        self.push(mailbox.local_part)?;
        self.push(b"@")?;
        self.domain(mailbox.domain)
    }

    fn domain(&mut self, domain: &[u8]) -> Option<&[u8]> {
        self.push(domain)?;
        self.0.make_ascii_lowercase();
        Some(&self.0)
    }

    fn push(&mut self, piece: &[u8]) -> Option<()> {
        if self.0.len() + piece.len() > KEY_BYTES_MAX {
            return None;
        }
        self.0.extend_from_slice(piece);
        Some(())
    }
}

/// Why there is no directory. Nothing is run then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The file can't be read.
    #[error("{}: cannot read it: {source} (is the path right, may this user?)", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Some lines are wrong.
    #[error("{}", Listing { name, errors, count: *count })]
    Invalid {
        /// The file's name.
        name: String,
        /// The first errors, in the order of the file.
        errors: Vec<EntryError>,
        /// How many errors there are in all.
        count: usize,
    },
}

/// An error in one line of a directory file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryError {
    /// Number of the line, from 1.
    pub line: usize,
    /// Place in the line in bytes, from 1.
    pub column: usize,
    /// What is wrong there, and what to do.
    pub what: String,
}

/// All errors of a file, one a line, as compilers print them.
struct Listing<'e> {
    name: &'e str,
    errors: &'e [EntryError],
    count: usize,
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let EntryError { line, column, what } = error;
            write!(f, "{separator}{}:{line}:{column}: {what}", self.name)?;
        }
        match self.count.saturating_sub(self.errors.len()) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more errors", self.name),
        }
    }
}
