//! The rules of the house, held against every committed file.
//!
//! Each rule is a function from a file's path and text to findings, and is tried here on a small
//! text that breaks it: a rule that can't fail holds nothing. Not here: what rustfmt and clippy
//! say already. The sources are read by a small scanner ([`masked`]) that knows comments and
//! literals, not by a parser: a path that a macro puts together is not seen.
//!
//! Invariant: a finding names file and line, and says what to do.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from left to right, each with those that it may use. `src/lib.rs` says it in words.
const ROOMS: [(&str, &[&str]); 14] = [
    ("limits", &[]),
    ("sys", &[]),
    ("mail", &["limits"]),
    ("queue", &["limits", "sys", "mail"]),
    ("directory", &["limits", "sys", "mail", "queue"]),
    ("decide", &["limits", "mail", "directory"]),
    ("ndr", &["limits", "mail", "directory", "decide"]),
    ("event", &["limits", "mail", "directory", "decide"]),
    ("spool", &BEFORE_SPOOL),
    ("audit", &BEFORE_AUDIT),
    ("engine", &BEFORE_ENGINE),
    ("deliver", &BEFORE_DELIVER),
    ("check", &["limits", "mail", "queue", "spool"]),
    ("salvage", &["limits", "mail", "queue", "spool", "audit", "deliver", "check"]),
];
const BEFORE_SPOOL: [&str; 7] = ["limits", "mail", "queue", "directory", "decide", "ndr", "event"];
const BEFORE_AUDIT: [&str; 8] =
    ["limits", "mail", "queue", "directory", "decide", "ndr", "event", "spool"];
const BEFORE_ENGINE: [&str; 10] =
    ["limits", "sys", "mail", "queue", "directory", "decide", "ndr", "event", "spool", "audit"];
const BEFORE_DELIVER: [&str; 10] =
    ["limits", "mail", "queue", "directory", "decide", "ndr", "event", "spool", "audit", "engine"];

/// The same in the words of `src/lib.rs`.
const ROOMS_IN_WORDS: &str = "limits | sys, mail, queue | directory | decide | ndr | event, \
                              spool, audit, engine, deliver,\n//! check, salvage";

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 100;

/// A rule that is broken.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// From 1.
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// A Rust source, as the rules look at it.
struct Source<'s> {
    /// Path from the root of the repository, with `/`.
    file: &'s str,
    text: &'s str,
    /// The text with comments and literals blanked, of the same length, line by line.
    code: String,
    /// Index of the first line of its own tests; the number of its lines where it has none.
    tests_from: usize,
}

impl<'s> Source<'s> {
    fn new(file: &'s str, text: &'s str) -> Self {
        let code = masked(text);
        let lines: Vec<&str> = code.lines().collect();
        let is_tests = |pair: &[&str]| {
            pair[0].trim() == "#[cfg(test)]"
                && pair[1].trim_start().starts_with("mod ")
                && pair[1].contains('{')
        };
        let name = file.rsplit('/').next().unwrap_or(file);
        let tests_from = if name == "tests.rs" || name.ends_with("_tests.rs") {
            0
        } else {
            lines.windows(2).position(is_tests).unwrap_or(lines.len())
        };
        Self { file, text, code, tests_from }
    }

    fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { file: self.file.to_owned(), line: line + 1, what: what.into() }
    }

    /// Lines of code, tests included, with their indexes.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate()
    }

    fn is_library(&self) -> bool {
        self.file.starts_with("src/") && !self.file.starts_with("src/bin/")
    }

    /// The room that it belongs to: the first name behind `src/`.
    fn room(&self) -> Option<&str> {
        let inner = self.file.strip_prefix("src/")?;
        let first = inner.split('/').next()?;
        let first = first.strip_suffix(".rs").unwrap_or(first);
        (self.is_library() && first != "lib").then_some(first)
    }

    /// How many modules deep it lies: 1 for a room's own file.
    fn depth(&self) -> usize {
        let inner = self.file.strip_prefix("src/").unwrap_or(self.file);
        let parts = inner.split('/').count();
        if inner.ends_with("/mod.rs") { parts - 1 } else { parts }
    }
}

/// Blanks comments and the inside of literals; lines stay lines.
fn masked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment_end(bytes, at);
        if end == at {
            at += 1;
            // An identifier is passed over as a whole: the `r` of `for"` begins no literal.
            while bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_' {
                match bytes.get(at) {
                    Some(next) if next.is_ascii_alphanumeric() || *next == b'_' => at += 1,
                    _ => break,
                }
            }
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).unwrap()
}

/// Where the comment or literal ends that begins at `at`; `at` itself where none begins there.
fn literal_or_comment_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |from: usize, wanted: &[u8]| {
        let found = rest[from..].windows(wanted.len()).position(|window| window == wanted);
        found.map_or(bytes.len(), |found| at + from + found + wanted.len())
    };
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => find(2, b"*/"),
        [b'"', ..] => quoted_end(bytes, at + 1),
        [b'b' | b'c', b'"', ..] => quoted_end(bytes, at + 2),
        [b'r', b'"' | b'#', ..] | [b'b', b'r', b'"' | b'#', ..] => {
            let open = if rest[0] == b'b' { 2 } else { 1 };
            let hashes = rest[open..].iter().take_while(|b| **b == b'#').count();
            if rest.get(open + hashes) == Some(&b'"') {
                let close = [b"\"".to_vec(), b"#".repeat(hashes)].concat();
                find(open + hashes + 1, &close)
            } else {
                at
            }
        }
        [b'\'', b'\\', ..] => find(3, b"'"),
        // A character, not a lifetime: one character on, the quote closes.
        [b'\'', first, ..] => {
            let width = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            if rest.get(1 + width) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

fn quoted_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether `word` stands in the line as a whole: no letter, digit or `_` goes on on either side.
fn has_word(line: &str, word: &str) -> bool {
    words_at(line, word).next().is_some()
}

fn words_at<'l>(line: &'l str, word: &'l str) -> impl Iterator<Item = usize> + 'l {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open = word.starts_with(is_name) && before.is_some_and(is_name);
        let close = word.ends_with(is_name) && after.is_some_and(is_name);
        !open && !close
    })
}

/// Rooms use rooms to their left.
fn imports(source: &Source<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    let Some(room) = source.room() else { return out };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        let what = format!(
            "`{room}` is no room: put the file into one, or the room into ROOMS of \
             tests/it/tidy.rs and into src/lib.rs"
        );
        return vec![source.finding(0, what)];
    };
    for (line, used) in used_rooms(&source.code) {
        if used != room && !allowed.contains(&used.as_str()) {
            let what = format!(
                "`{room}` uses `{used}`, which isn't to its left: move what both need to the \
                 left, or hand it in from the right"
            );
            out.push(source.finding(line, what));
        }
    }
    for (line, text) in source.lines() {
        let depth = source.depth() + usize::from(line >= source.tests_from && source.depth() > 0);
        let climbs = text.matches("super::").count();
        let chain = (0..climbs).rev().map(|n| "super::".repeat(n + 1));
        let longest = chain.clone().find(|chain| text.contains(chain.as_str()));
        if longest.is_some_and(|chain| chain.len() / "super::".len() >= depth) {
            out.push(source.finding(line, "`super::` leaves the room: write `crate::ROOM`"));
        }
        if has_word(text, "inqueue") && text.contains("inqueue::") {
            out.push(source.finding(line, "the library names itself: write `crate::`"));
        }
    }
    out
}

/// The first names of all paths that begin with `crate::`, groups included, with their lines.
fn used_rooms(code: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for at in words_at(code, "crate") {
        let line = code[..at].matches('\n').count();
        let Some(rest) = code[at + "crate".len()..].strip_prefix("::") else { continue };
        match rest.strip_prefix('{') {
            Some(group) => {
                let (mut depth, mut start) = (1, true);
                for (index, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => start = true,
                        c if c.is_ascii_alphabetic() && start => {
                            let line = line + group[..index].matches('\n').count();
                            out.push((line, first_name(&group[index..])));
                            start = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            None => out.push((line, first_name(rest))),
        }
    }
    out.retain(|(_, name)| !name.is_empty());
    out
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// Words that may stand in some places only.
struct Place {
    words: &'static [&'static str],
    /// Paths (their beginnings) where they may.
    allowed: &'static [&'static str],
    /// Held in a file's own tests, too.
    in_tests: bool,
    /// What to do.
    what: &'static str,
}

const PLACES: [Place; 8] = [
    Place {
        words: &["unsafe"],
        allowed: &["src/sys.rs"],
        in_tests: true,
        what: "stands only in src/sys.rs: use what is there, or a crate",
    },
    Place {
        words: &["catch_unwind"],
        allowed: &["src/engine/isolate.rs"],
        in_tests: true,
        what: "stands only in src/engine/isolate.rs: go through `isolate`",
    },
    Place {
        words: &[
            "thread::spawn",
            "thread::scope",
            "thread::Builder",
            "crossbeam",
            "crossbeam_channel",
            "crossbeam_deque",
            "crossbeam_queue",
            "crossbeam_utils",
        ],
        allowed: &["src/engine/"],
        in_tests: false,
        what: "stands only in src/engine/: that room alone has threads",
    },
    Place {
        words: &["atomic"],
        allowed: &["src/engine/", "src/sys.rs"],
        in_tests: false,
        what: "stands only in src/engine/: that room alone has threads",
    },
    Place {
        words: &["rayon"],
        allowed: &[
            "src/directory/",
            "src/queue/files/",
            "src/audit",
            "src/check",
            "src/salvage",
            "src/deliver/drain/",
            "src/engine/fence.rs",
            "src/bin/inqueue/inspect.rs",
            "data-gen/",
        ],
        in_tests: false,
        what: "stands only in directory, queue/files, audit, check, salvage, the drain, \
               the fence and inspect: the mail path is the engine's",
    },
    Place {
        words: &["SystemTime::now"],
        allowed: &["src/bin/"],
        in_tests: true,
        what: "stands only in the binary: take the time as an argument",
    },
    Place {
        words: &["println!", "eprintln!", "print!", "eprint!"],
        allowed: &["src/bin/", "data-gen/src/main.rs"],
        in_tests: false,
        what: "stands only in a binary: return what is to be told",
    },
    Place {
        words: &["#[path", "include!"],
        allowed: &["data-gen/"],
        in_tests: true,
        what: "goes round the rooms: make it a module, and use it by its path",
    },
];

/// What may stand in one place only does.
fn places(source: &Source<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    if !source.file.starts_with("src/") && !source.file.starts_with("data-gen/src/") {
        return out;
    }
    for place in &PLACES {
        if place.allowed.iter().any(|allowed| source.file.starts_with(allowed)) {
            continue;
        }
        for (line, text) in source.lines() {
            if let Some(word) = place.words.iter().find(|word| has_word(text, word))
                && (place.in_tests || line < source.tests_from)
            {
                out.push(source.finding(line, format!("`{word}` {}", place.what)));
            }
        }
    }
    out
}

/// How a file looks.
fn looks(source: &Source<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    if !source.text.starts_with("//! ") {
        let what = "begins without `//!`: say what it does, what it doesn't, and its invariants";
        out.push(source.finding(0, what));
    }
    for (line, text) in source.text.lines().enumerate() {
        if text.chars().count() > COLUMNS_MAX {
            let what = format!("more than {COLUMNS_MAX} columns: break the line");
            out.push(source.finding(line, what));
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
            let what = format!("U+{:04X} isn't ASCII: write an escape", u32::from(c));
            out.push(source.finding(line, what));
        }
        if text.contains(concat!("FIX", "ME")) {
            out.push(source.finding(line, concat!("FIX", "ME: do it, or write an issue")));
        }
    }
    for (line, text) in source.lines() {
        let banned = ["dbg!", "todo!", "unimplemented!"];
        if let Some(word) = banned.iter().find(|word| has_word(text, word)) {
            let what = format!("`{word}` isn't finished work: finish it, or take it out");
            out.push(source.finding(line, what));
        }
    }
    let is_test = source.file.starts_with("tests/") || source.file.starts_with("data-gen/tests/");
    if source.tests_from > FILE_LINES_MAX && !is_test {
        let what = format!(
            "{} lines without tests, more than {FILE_LINES_MAX}: find the two files in it",
            source.tests_from
        );
        out.push(source.finding(FILE_LINES_MAX, what));
    }
    out
}

/// No function is longer than a screen.
fn functions(source: &Source<'_>) -> Vec<Finding> {
    let code = &source.code;
    let mut out = Vec::new();
    for at in words_at(code, "fn") {
        let Some(signature) = code[at + 2..].strip_prefix(' ') else { continue };
        let name = first_name(signature.trim_start());
        let Some(end) = body_end(signature) else { continue };
        let lines = signature[..end].matches('\n').count() + 1;
        if !name.is_empty() && lines > FUNCTION_LINES_MAX {
            let what = format!(
                "`{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}: find the step in it \
                 that has a name"
            );
            out.push(source.finding(code[..at].matches('\n').count(), what));
        }
    }
    out
}

/// Where the body ends that follows a function's name; none where it has no body.
fn body_end(signature: &str) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (index, c) in signature.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// The load generator shares nothing with the library.
fn generator(file: &str, text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    if !file.starts_with("data-gen/") {
        return out;
    }
    let (is_rust, is_manifest) = (is_rust(file), file.ends_with("Cargo.toml"));
    let code = if is_rust { masked(text) } else { text.to_owned() };
    for (line, text) in code.lines().enumerate() {
        let uses = is_rust && has_word(text, "inqueue")
            || is_manifest && (text.trim_start().starts_with("inqueue") || text.contains("\"..\""));
        if uses {
            let what = "data-gen uses the library that it checks: write it a second time";
            out.push(Finding { file: file.to_owned(), line: line + 1, what: what.to_owned() });
        }
    }
    out
}

/// Nothing of the machine that it was written on, no registry's host.
fn hosts(file: &str, text: &str) -> Vec<Finding> {
    let banned = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("crates", ".io"),
        concat!("registry.npm", "js.org"),
        concat!("pypi", ".org"),
        concat!("deb.debian", ".org"),
    ];
    let mut out = Vec::new();
    for (line, text) in text.lines().enumerate() {
        if let Some(word) = banned.iter().find(|word| text.contains(**word)) {
            let what = format!("`{word}` belongs to one machine or registry: leave it out");
            out.push(Finding { file: file.to_owned(), line: line + 1, what });
        }
    }
    out
}

/// All rules over one file.
fn examine(file: &str, text: &str) -> Vec<Finding> {
    let mut out = generator(file, text);
    // The lock file names its registry; data is as it is.
    let is_data = file.starts_with("tests/golden/") || file.starts_with("samples/");
    if !file.ends_with("Cargo.lock") && !is_data {
        out.extend(hosts(file, text));
    }
    if is_rust(file) && !is_data {
        let source = Source::new(file, text);
        for rule in [imports, places, looks, functions] {
            out.extend(rule(&source));
        }
    }
    out
}

fn is_rust(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "rs")
}

/// Each golden folder without a folder in it holds what is expected.
fn golden(root: &Path) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries: Vec<PathBuf> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let inner: Vec<PathBuf> = entries.iter().filter(|path| path.is_dir()).cloned().collect();
        let named =
            |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("expected");
        if inner.is_empty() && !entries.iter().any(named) {
            let what = "a golden folder without an `expected` file: write down what must come";
            let file = folder.to_str().unwrap().to_owned();
            out.push(Finding { file, line: 1, what: what.to_owned() });
        }
        folders.extend(inner);
    }
    out
}

/// All files of the repository, but for what isn't committed.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let skipped = name == ".git" || name == "perf/out" || name.ends_with("__pycache__");
            if skipped || name.split('/').any(|part| part == "target") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                out.push((name, bytes));
            }
        }
    }
    out.sort();
    out
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = files(root);
    assert!(files.iter().any(|(name, _)| name == "src/decide.rs"), "the sources are found");
    let mut findings = golden(&root.join("tests/golden"));
    for (name, bytes) in &files {
        if let Ok(text) = std::str::from_utf8(bytes) {
            findings.extend(examine(name, text));
        } else if is_rust(name) {
            let what = "isn't UTF-8: write escapes".to_owned();
            findings.push(Finding { file: name.clone(), line: 1, what });
        }
    }
    let facade = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    assert!(facade.contains(ROOMS_IN_WORDS), "src/lib.rs: names the rooms as tests/it/tidy.rs has");
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} findings:\n{}", list.len(), list.join("\n"));
}

/// Lines and beginnings of what a text breaks.
#[track_caller]
fn breaks(file: &str, text: &str, expect: &[(usize, &str)]) {
    let found: Vec<(usize, String)> =
        examine(file, text).into_iter().map(|finding| (finding.line, finding.what)).collect();
    let fits = found.len() == expect.len()
        && found.iter().zip(expect).all(|(one, other)| one.0 == other.0 && one.1.contains(other.1));
    assert!(fits, "{file}: {text}\nexpected {expect:?}\nfound {found:?}");
}

#[test]
fn imports_to_the_right_are_found() {
    breaks("src/queue/mod.rs", "//! Q.\nuse crate::limits;\nuse crate::mail::date::Time;\n", &[]);
    breaks("src/mail/a.rs", "//! M.\nuse crate::queue::Queue;\n", &[(2, "uses `queue`")]);
    breaks(
        "src/queue/a.rs",
        "//! Q.\nuse crate::{\n  limits,\n  decide::{self, X},\n};\n",
        &[(4, "uses `decide`")],
    );
    breaks("src/ndr/mod.rs", "//! N.\nfn f() { crate::event::x() }\n", &[(2, "uses `event`")]);
    breaks("src/spool/a.rs", "//! S.\nuse crate::{ndr, event, engine};\n", &[(2, "`engine`")]);
    breaks(
        "src/audit.rs",
        "//! A.\nuse crate::spool::X;\nuse crate::deliver::Y;\n",
        &[(3, "uses `deliver`")],
    );
    breaks("src/decide.rs", "//! D.\nuse super::queue::Queue;\n", &[(2, "leaves the room")]);
    breaks("src/queue/a.rs", "//! Q.\nuse super::b;\n", &[]);
    breaks("src/queue/a.rs", "//! Q.\nuse super::super::ndr;\n", &[(2, "leaves the room")]);
    breaks("src/util.rs", "//! U.\n", &[(1, "`util` is no room")]);
    breaks("src/queue/a.rs", "//! Q.\nuse inqueue::mail;\n", &[(2, "names itself")]);
    breaks("src/mail/a.rs", "//! M, as crate::queue has it.\n// crate::ndr\n", &[]);
    let tests = "//! D.\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    breaks("src/decide.rs", tests, &[]);
    breaks("src/bin/inqueue/main.rs", "//! B.\nuse inqueue::queue::Queue;\n", &[]);
}

#[test]
fn what_stands_in_the_wrong_place_is_found() {
    let at = |word: &str| format!("//! X.\nfn f() {{ {word} }}\n");
    breaks("src/queue/read.rs", &at("unsafe { x() }"), &[(2, "`unsafe`")]);
    breaks("src/sys.rs", &at("unsafe { x() }"), &[]);
    breaks("src/queue/read.rs", &at("\"unsafe\" // unsafe"), &[]);
    breaks("data-gen/src/run.rs", &at("unsafe { x() }"), &[(2, "`unsafe`")]);
    breaks("src/engine/a.rs", &at("catch_unwind(f)"), &[(2, "`catch_unwind`")]);
    breaks("src/engine/isolate.rs", &at("catch_unwind(f)"), &[]);
    breaks("src/spool/a.rs", &at("std::thread::spawn(f)"), &[(2, "`thread::spawn`")]);
    breaks("src/spool/a.rs", &at("crossbeam_channel::bounded(1)"), &[(2, "crossbeam")]);
    breaks("src/spool/a.rs", "//! X.\nuse std::sync::atomic::AtomicU8;\n", &[(2, "`atomic`")]);
    breaks("src/engine/a.rs", "//! X.\nuse std::sync::atomic::AtomicU8;\n", &[]);
    breaks("src/decide.rs", "//! X.\nuse rayon::prelude::*;\n", &[(2, "`rayon`")]);
    breaks("src/directory/parse.rs", "//! X.\nuse rayon::prelude::*;\n", &[]);
    breaks("src/event/mod.rs", &at("SystemTime::now()"), &[(2, "`SystemTime::now`")]);
    breaks("src/bin/inqueue/main.rs", &at("SystemTime::now()"), &[]);
    for word in ["println!", "eprintln!", "print!", "eprint!"] {
        breaks("src/ndr/a.rs", &at(&format!("{word}(x)")), &[(2, word)]);
        breaks("src/bin/inqueue/main.rs", &at(&format!("{word}(x)")), &[]);
    }
    breaks("src/bin/inqueue/main.rs", "//! X.\n#[path = \"../x.rs\"]\nmod x;\n", &[(2, "#[path")]);
}

#[test]
fn what_looks_wrong_is_found() {
    breaks("src/ndr/a.rs", "use std::fmt;\n", &[(1, "without `//!`")]);
    let wide = format!("//! X.\n// {}\n", "x".repeat(98));
    breaks("tests/it/a.rs", &wide, &[(2, "columns")]);
    breaks("tests/it/a.rs", &wide[..wide.len() - 2], &[]);
    breaks("tests/it/a.rs", "//! X.\n// \u{fc}\n", &[(2, "U+00FC")]);
    breaks("tests/golden/ndr/a.rs", "// \u{fc}\n", &[]);
    for word in ["dbg!", "todo!", "unimplemented!"] {
        breaks("data-gen/src/a.rs", &format!("//! X.\nfn f() {{ {word}() }}\n"), &[(2, word)]);
    }
    let fix = format!("//! X.\n// {}{}\n", "FIX", "ME");
    breaks("benches/a.rs", &fix, &[(2, "do it")]);
    let long = format!("//! X.\n{}", "const A: u8 = 1;\n".repeat(600));
    breaks("src/ndr/a.rs", &long, &[(601, "601 lines")]);
    let tested = format!("//! X.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "// a\n".repeat(600));
    breaks("src/ndr/a.rs", &tested, &[]);
}

#[test]
fn long_functions_are_found() {
    let of = |lines: usize| {
        format!("//! X.\n\nfn f(\n    x: [u8; 3],\n) {{\n{}}}\n", "    g();\n".repeat(lines - 4))
    };
    breaks("src/ndr/a.rs", &of(70), &[]);
    breaks("src/ndr/a.rs", &of(71), &[(3, "`f` has 71 lines")]);
    let braces = format!("//! X.\nfn f() {{\n    '{{'; \"{{\";\n}}\n{}", "// x\n".repeat(80));
    breaks("src/ndr/a.rs", &braces, &[]);
    breaks("src/ndr/a.rs", "//! X.\ntrait T { fn f(&self); }\n", &[]);
}

#[test]
fn ties_of_the_generator_to_the_library_are_found() {
    breaks("data-gen/src/a.rs", "//! X.\nuse inqueue::mail;\n", &[(2, "data-gen uses")]);
    breaks("data-gen/tests/a.rs", "//! X.\nuse inqueue_gen::Mix;\n", &[]);
    breaks(
        "data-gen/Cargo.toml",
        "[dependencies]\ninqueue = { path = \"..\" }\n",
        &[(2, "data-gen uses")],
    );
    breaks("data-gen/Cargo.toml", "name = \"inqueue-gen\"\n", &[]);
}

#[test]
fn machines_and_registries_are_found() {
    for word in [concat!("/wo", "rk/x"), concat!("https://pypi", ".org/x")] {
        breaks("README.md", &format!("fine\n{word}\n"), &[(2, "belongs to one machine")]);
        breaks("tests/it/a.rs", &format!("//! X.\n// {word}\n"), &[(2, "belongs to one machine")]);
    }
    breaks("Cargo.lock", concat!("registry = crates", ".io\n"), &[]);
}

#[test]
fn golden_folders_without_what_is_expected_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| folder.path().join(name);
    fs::create_dir_all(of("ndr/plain")).unwrap();
    fs::create_dir_all(of("ndr/several")).unwrap();
    fs::write(of("ndr/plain/expected.eml"), "x").unwrap();
    let found = golden(folder.path());
    assert_eq!(found.len(), 1);
    assert!(found[0].file.ends_with("ndr/several"), "{}", found[0]);
}

#[test]
fn the_scanner_tells_code_from_text() {
    let check = |text: &str, expect: &str| assert_eq!(masked(text), expect, "{text}");
    check("a \"b\\\"c\" d", "a        d");
    check("a // b\nc", "a     \nc");
    check("a /* b\nc */ d", "a     \n     d");
    check("r#\"a\"b\"# c", "         c");
    check("br\"a\" b\"c\" d", "           d");
    check("'a' '\\'' 'b x: &'c u8", "         'b x: &'c u8");
    check("for\"x\" y", "for    y");
    check("'\u{fc}' x", "     x");
}
