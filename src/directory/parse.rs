//! Reads a directory file (docs/directory.md) into tables: chunks in parallel, then one merge in
//! the order of the file.
//!
//! Not here: look-ups. A line is read by itself, so how the file is cut into chunks changes
//! nothing; what concerns two lines (twice the same address, an address in a relayed domain) is
//! found in the merge. Each kind of error is collected in the order of the file and capped, so the
//! first errors of the whole are among them, and a file of garbage costs no memory. Any bytes are
//! taken: what isn't an entry is an error with its line and column.

use super::{DomainRule, Entry, EntryError, List, Listed, Tables};
use crate::limits;
use crate::mail::address::{AddressError, Mailbox};
use memchr::memchr;
use rayon::prelude::*;
use std::collections::hash_map;

/// Bytes of the file that one task reads: small beside a file of millions of lines, large beside a
/// task's cost.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Windows editors put it before a text in UTF-8. Left in, it would be part of the first address.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a whole file.
pub(super) fn read(bytes: &[u8], chunk_bytes: usize) -> Result<Tables, Errors> {
    let mut chunks: Vec<Chunk> =
        split_at_lines(bytes, chunk_bytes).into_par_iter().map(Chunk::read).collect();
    let mut lines_before = 0;
    let mut errors = Errors::default();
    for chunk in &mut chunks {
        chunk.line_base = lines_before;
        lines_before += chunk.lines;
        errors.append(&chunk.errors, chunk.line_base);
    }
    let mut tables = Tables::default();
    errors.append(&add_domains(&mut tables, &mut chunks), 0);
    errors.append(&add_systems(&mut tables, &mut chunks), 0);
    errors.append(&add_postmaster(&mut tables, &mut chunks), 0);
    errors.append(&add_entries(&mut tables, chunks), 0);
    if errors.count == 0 { Ok(tables) } else { Err(errors) }
}

/// Cuts the file into chunks of at least `chunk_bytes`, at line ends.
fn split_at_lines(bytes: &[u8], chunk_bytes: usize) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let tail = rest.get(chunk_bytes..).unwrap_or_default();
        let len = memchr(b'\n', tail).map_or(rest.len(), |at| chunk_bytes + at + 1);
        let (chunk, behind) = rest.split_at(len);
        chunks.push(chunk);
        rest = behind;
    }
    // The mark is passed over here, and not in the lines, as only the first line has one. Its
    // columns count from behind it.
    if let Some(first) = chunks.first_mut() {
        *first = first.strip_prefix(BYTE_ORDER_MARK).unwrap_or(first);
    }
    chunks
}

fn add_domains(tables: &mut Tables, chunks: &mut [Chunk]) -> Errors {
    let mut errors = Errors::default();
    for chunk in chunks {
        for item in chunk.domains.drain(..) {
            let line = chunk.line_base + item.line;
            match tables.domains.entry(item.key) {
                hash_map::Entry::Vacant(place) => {
                    place.insert(Listed { line, rule: item.rule });
                }
                hash_map::Entry::Occupied(place) => errors.tell(line, item.column, || {
                    let first = place.get();
                    let relayed = |rule: &DomainRule| matches!(rule, DomainRule::Relay(_));
                    if relayed(&first.rule) == relayed(&item.rule) {
                        twice("a domain", first.line)
                    } else {
                        format!(
                            "a domain is both local and relayed (first in line {}): \
                             keep one of the lines",
                            first.line
                        )
                    }
                }),
            }
        }
    }
    errors
}

fn add_systems(tables: &mut Tables, chunks: &mut [Chunk]) -> Errors {
    let mut errors = Errors::default();
    for chunk in chunks {
        for item in chunk.systems.drain(..) {
            if !tables.systems.insert(item.key) {
                errors.tell(chunk.line_base + item.line, item.column, || {
                    "a system's address is listed twice: keep one of the lines".to_owned()
                });
            }
        }
    }
    errors
}

fn add_postmaster(tables: &mut Tables, chunks: &mut [Chunk]) -> Errors {
    let mut errors = Errors::default();
    let mut first_line = 0;
    for chunk in chunks {
        for item in chunk.postmasters.drain(..) {
            let line = chunk.line_base + item.line;
            if tables.postmaster.is_some() {
                errors.tell(line, item.column, || twice("the postmaster", first_line));
            } else {
                tables.postmaster = Some(item.key);
                first_line = line;
            }
        }
    }
    errors
}

/// Comes last: addresses make their domains local, unless a line about the domain says otherwise.
fn add_entries(tables: &mut Tables, chunks: Vec<Chunk>) -> Errors {
    let mut errors = Errors::default();
    tables.entries.reserve(chunks.iter().map(|chunk| chunk.entries.len()).sum());
    for chunk in chunks {
        for item in chunk.entries {
            let line = chunk.line_base + item.line;
            let domain = Mailbox::parse(&item.key).map_or(&b""[..], |mailbox| mailbox.domain);
            match tables.domains.get(domain) {
                Some(Listed { rule: DomainRule::Relay(_), line: relayed }) => {
                    errors.tell(line, item.column, || {
                        format!(
                            "an entry for an address in a domain that line {relayed} relays: \
                             take out this entry, or that line"
                        )
                    });
                    continue;
                }
                Some(_) => {}
                None => {
                    tables.domains.insert(domain.into(), Listed { line, rule: DomainRule::Local });
                }
            }
            match tables.entries.entry(item.key) {
                hash_map::Entry::Vacant(place) => {
                    place.insert(Listed { line, rule: item.rule });
                }
                hash_map::Entry::Occupied(place) => {
                    let first_line = place.get().line;
                    errors.tell(line, item.column, || twice("an address", first_line));
                }
            }
        }
    }
    errors
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

    /// Adds those of another kind or chunk, whose lines begin after `line_base`.
    fn append(&mut self, other: &Self, line_base: usize) {
        self.count += other.count;
        let moved = other
            .told
            .iter()
            .map(|error| EntryError { line: line_base + error.line, ..error.clone() });
        self.told.extend(moved);
        self.told.sort_by_key(|error| (error.line, error.column));
        self.told.truncate(limits::DIRECTORY_ERRORS_TOLD_MAX);
    }
}

/// What one task has read. Lines count within the chunk.
#[derive(Debug, Default)]
struct Chunk {
    line_base: usize,
    lines: usize,
    entries: Vec<Item<Entry>>,
    domains: Vec<Item<DomainRule>>,
    systems: Vec<Item<()>>,
    postmasters: Vec<Item<()>>,
    errors: Errors,
}

/// One line's meaning; where its address or domain stands, and its key.
#[derive(Debug)]
struct Item<T> {
    line: usize,
    column: usize,
    key: Box<[u8]>,
    rule: T,
}

impl Chunk {
    fn read(bytes: &[u8]) -> Self {
        let mut chunk = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..end).unwrap_or_default();
            rest = rest.get(end + 1..).unwrap_or_default();
            chunk.lines += 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Err(Problem { column, what }) = chunk.read_line(line) {
                chunk.errors.tell(chunk.lines, column, || what);
            }
        }
        chunk
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), Problem> {
        let mut words = Words { line, at: 0 };
        let Some(first) = words.next() else { return Ok(()) };
        let line = self.lines;
        match first.bytes {
            [b'#', ..] => {}
            b"system" => {
                let address = words.address("the system's address")?;
                words.end()?;
                let (column, key) = (address.column, fold(address.bytes));
                self.systems.push(Item { line, column, key, rule: () });
            }
            b"postmaster" => {
                let address = words.address("the postmaster's address")?;
                words.end()?;
                // Kept as it is written: reports are addressed to it.
                let (column, key) = (address.column, address.bytes.into());
                self.postmasters.push(Item { line, column, key, rule: () });
            }
            [b'@', ..] => {
                let key = fold(domain(first)?);
                let rule = read_domain_rule(&mut words)?;
                self.domains.push(Item { line, column: first.column, key, rule });
            }
            _ => {
                let key = fold(address(first)?);
                let rule = read_entry(&mut words)?;
                self.entries.push(Item { line, column: first.column, key, rule });
            }
        }
        Ok(())
    }
}

/// What stands behind an address.
fn read_entry(words: &mut Words<'_>) -> Result<Entry, Problem> {
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
            Some(address(Word { column: column + b"owner=".len(), bytes: owner })?.into())
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
            addresses.push(address(word)?.into());
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
        let rest = self.line.get(self.at..)?;
        let start = self.at + rest.iter().position(|b| !matches!(b, b' ' | b'\t'))?;
        let (mut quoted, mut escaped) = (false, false);
        let word = self.line.get(start..)?;
        let len = word.iter().position(|&byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b' ' | b'\t' => return !quoted,
                _ => {}
            }
            false
        });
        let end = len.map_or(self.line.len(), |len| start + len);
        self.at = end;
        Some(Word { column: start + 1, bytes: self.line.get(start..end)? })
    }
}

/// The bytes of a field that is an address: exactly `local-part@domain`, as nothing else would be
/// found again.
fn address(word: Word<'_>) -> Result<&[u8], Problem> {
    let error = match Mailbox::parse(word.bytes) {
        Ok(mailbox) if mailbox.domain.is_empty() => AddressError::NoDomain.text(),
        Ok(mailbox) if mailbox.local_part.len() + 1 + mailbox.domain.len() == word.bytes.len() => {
            return Ok(word.bytes);
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

fn fold(key: &[u8]) -> Box<[u8]> {
    key.to_ascii_lowercase().into_boxed_slice()
}
