//! Reads a directory file (docs/directory.md) into tables, line by line.
//!
//! Twice: first what is about domains, systems and the postmaster, then the addresses, which make
//! their domains local unless a line about the domain says otherwise. Beside the tables nothing is
//! kept, as memory that is touched for the first time costs more than reading a line. Not here:
//! look-ups. Errors are collected in the order of the file and capped, so that a file of garbage
//! costs no memory. Any bytes are taken: what isn't an entry is an error with its line and column.

use super::table::Table;
use super::{DomainRule, Entry, EntryError, Folded, List, Listed, Tables};
use crate::limits;
use crate::mail::address::{AddressError, Mailbox};
use memchr::{memchr_iter, memchr3};
use std::collections::hash_map;

/// Windows editors put it before a text in UTF-8. Left in, it would be part of the first address.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a whole file.
pub(super) fn read(bytes: &[u8]) -> Result<Tables, Errors> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let lines = memchr_iter(b'\n', bytes).count() + 1;
    let entries = Table::new(Entry::Mailbox, lines, bytes.len());
    let tables = Tables { entries, ..Tables::default() };
    let mut reader = Reader { bytes, tables, postmaster_line: 0, waiting: Vec::new() };
    let mut errors = reader.each_line(false, Reader::read_other);
    let mut listed_twice = Errors::default();
    errors.append(reader.each_line(true, |reader, number, words| {
        reader.read_entry(number, words)?;
        if reader.waiting.len() >= WAITING_MAX {
            reader.add_waiting(&mut listed_twice);
        }
        Ok(())
    }));
    reader.add_waiting(&mut listed_twice);
    errors.append(listed_twice);
    if errors.count == 0 { Ok(reader.tables) } else { Err(errors) }
}

/// Addresses that are read before the first of them is put into the table: by then its place is in
/// the processor's caches.
const WAITING_MAX: usize = 32;

/// A file that is being read.
struct Reader<'f> {
    /// All of it, without its mark: columns of the first line count from behind that.
    bytes: &'f [u8],
    tables: Tables,
    /// Where the postmaster is named.
    postmaster_line: usize,
    /// Addresses that aren't in the table yet: where each stands, itself, and its rule.
    waiting: Vec<(usize, usize, Mailbox<'f>, Entry)>,
}

impl<'f> Reader<'f> {
    /// Reads the lines that begin with an address, or those that don't.
    fn each_line(
        &mut self,
        addresses: bool,
        mut read: impl FnMut(&mut Self, usize, Words<'f>) -> Result<(), Problem>,
    ) -> Errors {
        let mut errors = Errors::default();
        for (number, line) in (1..).zip(lines(self.bytes)) {
            let words = Words { line, at: 0 };
            if words.begins_with_address() == addresses
                && let Err(Problem { column, what }) = read(self, number, words)
            {
                errors.tell(number, column, || what);
            }
        }
        errors
    }

    /// A line about a domain, a system or the postmaster.
    fn read_other(&mut self, number: usize, mut words: Words<'f>) -> Result<(), Problem> {
        let Some(first) = words.next() else { return Ok(()) };
        match first.bytes {
            b"system" => {
                let address = words.address("the system's address")?;
                words.end()?;
                if !self.tables.systems.insert(folded(address.bytes)) {
                    let what = "a system's address is listed twice: keep one of the lines";
                    return Err(address.problem(what.to_owned()));
                }
            }
            b"postmaster" => {
                let address = words.address("the postmaster's address")?;
                words.end()?;
                if self.tables.postmaster.is_some() {
                    return Err(address.problem(twice("the postmaster", self.postmaster_line)));
                }
                // Kept as it is written: reports are addressed to it.
                self.tables.postmaster = Some(address.bytes.into());
                self.postmaster_line = number;
            }
            [b'@', ..] => {
                let key = folded(domain(first)?);
                let rule = read_domain_rule(&mut words)?;
                match self.tables.domains.entry(key) {
                    hash_map::Entry::Vacant(place) => {
                        place.insert(Listed { line: number, rule });
                    }
                    hash_map::Entry::Occupied(place) => {
                        return Err(first.problem(domain_twice(place.get(), &rule)));
                    }
                }
            }
            // A comment.
            _ => {}
        }
        Ok(())
    }

    /// A line that begins with an address.
    fn read_entry(&mut self, number: usize, mut words: Words<'f>) -> Result<(), Problem> {
        let Some(first) = words.next() else { return Ok(()) };
        let mailbox = address(first)?;
        let rule = read_rule(&mut words)?;
        if let Some(relayed) = self.add_domain_of(mailbox, number) {
            return Err(first.problem(format!(
                "an entry for an address in a domain that line {relayed} relays: \
                 take out this entry, or that line"
            )));
        }
        self.tables.entries.fetch_slot(mailbox);
        self.waiting.push((number, first.column, mailbox, rule));
        Ok(())
    }

    /// Puts the addresses that wait into the table.
    fn add_waiting(&mut self, listed_twice: &mut Errors) {
        let bytes = self.bytes;
        for (number, column, mailbox, rule) in self.waiting.drain(..) {
            if !self.tables.entries.insert(mailbox, rule) {
                // The first is looked for only where it is told.
                let what = || twice("an address", first_line(bytes, mailbox));
                listed_twice.tell(number, column, what);
            }
        }
    }

    /// Makes a mailbox's domain a local one, if no line is about it; the line that relays it, if
    /// one does.
    fn add_domain_of(&mut self, mailbox: Mailbox<'_>, line: usize) -> Option<usize> {
        let mut key = Folded::new();
        let domain = key.domain(mailbox.domain)?;
        match self.tables.domains.get(domain) {
            Some(Listed { rule: DomainRule::Relay(_), line: relayed }) => return Some(*relayed),
            Some(_) => {}
            None => {
                let local = Listed { line, rule: DomainRule::Local };
                self.tables.domains.insert(domain.into(), local);
            }
        }
        None
    }
}

/// The lines of a file, without their line ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', bytes).chain([bytes.len()]).map(move |end| {
        let line = bytes.get(start..end).unwrap_or_default();
        start = end + 1;
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

/// The first line that lists a mailbox; it looks at all of them.
fn first_line(bytes: &[u8], mailbox: Mailbox<'_>) -> usize {
    let is_it = |line| {
        let word = Words { line, at: 0 }.next();
        word.and_then(|word| address(word).ok()).is_some_and(|other| {
            other.local_part.eq_ignore_ascii_case(mailbox.local_part)
                && other.domain.eq_ignore_ascii_case(mailbox.domain)
        })
    };
    lines(bytes).position(is_it).map_or(0, |before| before + 1)
}

fn domain_twice(first: &Listed<DomainRule>, rule: &DomainRule) -> String {
    let relayed = |rule: &DomainRule| matches!(rule, DomainRule::Relay(_));
    if relayed(&first.rule) == relayed(rule) {
        return twice("a domain", first.line);
    }
    let line = first.line;
    format!("a domain is both local and relayed (first in line {line}): keep one of the lines")
}

fn twice(what: &str, first_line: usize) -> String {
    format!("{what} is listed twice (first in line {first_line}): keep one of the lines")
}

/// The first errors in the order of the file, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub(super) told: Vec<EntryError>,
    pub(super) count: usize,
}

impl Errors {
    /// Adds one; to be called in the order of the file.
    fn tell(&mut self, line: usize, column: usize, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < limits::DIRECTORY_ERRORS_TOLD_MAX {
            self.told.push(EntryError { line, column, what: what() });
        }
    }

    /// Adds those of another pass.
    fn append(&mut self, other: Self) {
        self.count += other.count;
        self.told.extend(other.told);
        self.told.sort_by_key(|error| (error.line, error.column));
        self.told.truncate(limits::DIRECTORY_ERRORS_TOLD_MAX);
    }
}

/// What stands behind an address.
fn read_rule(words: &mut Words<'_>) -> Result<Entry, Problem> {
    let Some(word) = words.next() else { return Ok(Entry::Mailbox) };
    let entry = match word.bytes {
        b"full" => Entry::Full,
        b"disabled" => Entry::Disabled,
        b"moved" => Entry::Moved(words.address("the new address")?.bytes.into()),
        b"alias" => Entry::Alias(words.addresses("a target")?),
        b"list" => Entry::List(Box::new(read_list(words)?)),
        _ => return Err(word.unknown("full, disabled, moved, alias or list")),
    };
    words.end()?;
    Ok(entry)
}

fn read_list(words: &mut Words<'_>) -> Result<List, Problem> {
    let mut behind_owner = words.clone();
    let owner = match behind_owner.next() {
        Some(Word { column, bytes: [b'o', b'w', b'n', b'e', b'r', b'=', owner @ ..] }) => {
            *words = behind_owner;
            address(Word { column: column + b"owner=".len(), bytes: owner })?;
            Some(owner.into())
        }
        _ => None,
    };
    Ok(List { owner, members: words.addresses("a member")? })
}

/// What stands behind a domain.
fn read_domain_rule(words: &mut Words<'_>) -> Result<DomainRule, Problem> {
    let Some(word) = words.next() else { return Ok(DomainRule::Local) };
    match word.bytes {
        b"catch-all" => {
            let target = words.address("the target")?.bytes.into();
            words.end()?;
            Ok(DomainRule::CatchAll(target))
        }
        b"relay" => Ok(DomainRule::Relay(words.rest().into())),
        _ => Err(word.unknown("catch-all or relay")),
    }
}

/// What is wrong with a line.
#[derive(Debug)]
struct Problem {
    column: usize,
    what: String,
}

/// A field of a line, and its column.
#[derive(Clone, Copy, Debug)]
struct Word<'l> {
    column: usize,
    bytes: &'l [u8],
}

impl Word<'_> {
    fn unknown(self, expected: &str) -> Problem {
        self.problem(format!("unknown word {}: write {expected}", self.shown()))
    }

    fn problem(self, what: String) -> Problem {
        Problem { column: self.column, what }
    }

    /// The field as text for an error, cut to what an eye takes in.
    fn shown(self) -> String {
        const SHOWN_BYTES_MAX: usize = 60;
        let start = self.bytes.get(..SHOWN_BYTES_MAX).unwrap_or(self.bytes);
        let dots = if start.len() < self.bytes.len() { "..." } else { "" };
        format!("'{}{dots}'", start.escape_ascii())
    }
}

/// The fields of a line: separated by spaces and tabs, except within quotes (RFC 5321, 4.1.2:
/// quoted local-parts).
#[derive(Clone, Debug)]
struct Words<'l> {
    line: &'l [u8],
    at: usize,
}

impl<'l> Words<'l> {
    /// Whether the line is about an address.
    fn begins_with_address(&self) -> bool {
        // Nearly all lines are known by their first byte.
        match self.line.get(self.start().unwrap_or_default()..) {
            Some([b's' | b'p', ..]) => {
                let first = self.clone().next().map(|word| word.bytes);
                !matches!(first, Some(b"system" | b"postmaster"))
            }
            Some(rest) => !matches!(rest, [] | [b'@' | b'#' | b' ' | b'\t', ..]),
            None => false,
        }
    }

    /// Where the next field begins.
    fn start(&self) -> Option<usize> {
        let rest = self.line.get(self.at..)?;
        Some(self.at + rest.iter().position(|b| !matches!(b, b' ' | b'\t'))?)
    }

    fn rest(&self) -> &'l [u8] {
        let rest = self.line.get(self.at..).unwrap_or_default();
        rest.trim_ascii()
    }

    /// The next field, which has to be an address.
    fn address(&mut self, meaning: &str) -> Result<Word<'l>, Problem> {
        let Some(word) = self.next() else {
            let column = self.line.len() + 1;
            return Err(Problem { column, what: format!("{meaning} is missing: add it") });
        };
        address(word)?;
        Ok(word)
    }

    /// All further fields, at least one, which have to be addresses.
    fn addresses(&mut self, meaning: &str) -> Result<Box<[Box<[u8]>]>, Problem> {
        let mut addresses = vec![self.address(meaning)?.bytes.into()];
        for word in self.by_ref() {
            if word.bytes.starts_with(b"owner=") {
                // It could be read as an address, but nobody means that.
                return Err(word.problem("owner= stands before the members: move it".to_owned()));
            }
            address(word)?;
            addresses.push(word.bytes.into());
        }
        Ok(addresses.into_boxed_slice())
    }

    /// Nothing may follow.
    fn end(&mut self) -> Result<(), Problem> {
        self.next().map_or(Ok(()), |word| {
            let what = format!("unexpected word {}: take it out", word.shown());
            Err(word.problem(what))
        })
    }
}

impl<'l> Iterator for Words<'l> {
    type Item = Word<'l>;

    fn next(&mut self) -> Option<Word<'l>> {
        let start = self.start()?;
        let word = self.line.get(start..)?;
        let len = match memchr3(b' ', b'\t', b'"', word) {
            Some(at) if word.get(at) == Some(&b'"') => len_with_quotes(word),
            at => at,
        };
        let end = len.map_or(self.line.len(), |len| start + len);
        self.at = end;
        Some(Word { column: start + 1, bytes: self.line.get(start..end)? })
    }
}

/// Length of the field that bytes begin with: up to the first space or tab that isn't quoted.
fn len_with_quotes(word: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    word.iter().position(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' => return !quoted,
            _ => {}
        }
        false
    })
}

/// The mailbox of a field that is an address: exactly `local-part@domain`, as nothing else would be
/// found again.
fn address(word: Word<'_>) -> Result<Mailbox<'_>, Problem> {
    let error = match Mailbox::parse(word.bytes) {
        Ok(mailbox) if mailbox.domain.is_empty() => AddressError::NoDomain.text(),
        Ok(mailbox) if mailbox.local_part.len() + 1 + mailbox.domain.len() == word.bytes.len() => {
            return Ok(mailbox);
        }
        Ok(_) => "source route before an address",
        Err(_) if word.bytes.first() == Some(&b'<') => "brackets round an address",
        Err(error) => error.text(),
    };
    Err(word.problem(format!("{error}: {} is to be local-part@domain", word.shown())))
}

/// The domain of a field `@DOMAIN`.
fn domain(word: Word<'_>) -> Result<&[u8], Problem> {
    let domain = word.bytes.strip_prefix(b"@").unwrap_or(word.bytes);
    // Only a whole mailbox can be asked whether it is valid.
    let mailbox = [b"x", word.bytes].concat();
    if Mailbox::parse(&mailbox).is_ok_and(|mailbox| mailbox.domain == domain) {
        return Ok(domain);
    }
    Err(word.problem(format!("not a domain: {} is to be @domain", word.shown())))
}

fn folded(key: &[u8]) -> Box<[u8]> {
    key.to_ascii_lowercase().into_boxed_slice()
}
