//! What a process does to files, as `strace` has seen it: a list of operations on one folder.
//!
//! The real binary runs, unchanged, under `strace -f`. Descriptors are followed through open, dup,
//! clone and exec, with their positions, so that each write has its offset. Not here: what of it
//! a disk keeps (`disk`). Invariants: operations are in the order in which they ended; a sync says
//! how many had ended when it began, as only those are surely in it; a call that changes files and
//! isn't understood here is a failure of the test, never passed over. What is written through a
//! shared map would not be seen: such a map fails the test too.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Calls that change files, make them durable, or say which file a descriptor is.
const CALLS: &str = "open,openat,openat2,creat,read,readv,write,pwrite64,writev,pwritev,pwritev2,\
    copy_file_range,sendfile,splice,ftruncate,truncate,fallocate,rename,renameat,renameat2,link,\
    linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,sync,syncfs,\
    sync_file_range,close,dup,dup2,dup3,fcntl,lseek,mmap,clone,clone3,fork,vfork,execve,\
    close_range,io_uring_setup";
/// Longer than anything that is written in one call here.
const STRING_BYTES_MAX: &str = "100000000";

/// One operation. Paths are relative to the folder that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A file or folder is opened: made where it isn't there and `create` says so.
    Open {
        handle: usize,
        path: String,
        create: bool,
        truncate: bool,
    },
    /// Bytes are written at an offset, or at the end.
    Write {
        handle: usize,
        at: Option<u64>,
        bytes: Vec<u8>,
    },
    /// A file gets this length.
    SetLength {
        handle: usize,
        length: u64,
    },
    MakeFolder {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    /// A file or a folder goes.
    Remove {
        path: String,
    },
    /// What was done to a file, or to the names in a folder, before `since` operations had ended.
    Sync {
        handle: usize,
        since: usize,
    },
    /// What was done to anything.
    SyncAll {
        since: usize,
    },
}

/// What a traced process has done, and its end.
pub(super) struct Traced {
    pub(super) ops: Vec<Op>,
    pub(super) output: Output,
    /// Paths beyond the folder that it has made or written to.
    pub(super) outside: Vec<String>,
}

/// True where processes can be traced.
pub(super) fn is_there() -> bool {
    let probe = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// Runs a command under `strace`; `log` is a file to write the trace to.
pub(super) fn run(command: &Command, base: &Path, log: &Path) -> Traced {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-xx", "-s", STRING_BYTES_MAX, "-e", "signal=none"]);
    strace.arg("-e").arg(format!("trace={CALLS}")).arg("-o").arg(log).arg("--");
    strace.arg(command.get_program()).args(command.get_args()).current_dir(base);
    let output = strace.output().unwrap();
    let text = std::fs::read(log).unwrap();
    let text = String::from_utf8(text).unwrap();
    let calls = calls(&text);
    let mut reader = Reader::new(base, &calls);
    for call in &calls {
        reader.event(call);
    }
    Traced { ops: reader.ops, output, outside: reader.outside }
}

/// A call, or one half of it.
struct Call<'t> {
    thread: u32,
    name: &'t str,
    args: Vec<&'t str>,
    /// What it gave; none where this is its begin, and others' calls come before its end.
    result: Option<i64>,
    /// Where its begin stands, in the list of calls.
    begun: usize,
}

/// All calls, each where it ends; one that was interrupted by others' also where it begins.
fn calls(text: &str) -> Vec<Call<'_>> {
    let mut all: Vec<Call<'_>> = Vec::new();
    let mut open: HashMap<u32, (usize, &str, &str)> = HashMap::new();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let thread: u32 = thread.parse().unwrap();
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        let begun = all.len();
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            let (name, args) = begin.split_once('(').unwrap();
            open.insert(thread, (begun, name, args));
            all.push(Call { thread, name, args: split(args), result: None, begun });
        } else if let Some(end) = rest.strip_prefix("<... ") {
            let (_, end) = end.split_once(" resumed>").unwrap();
            let (begun, name, first) = open.remove(&thread).unwrap();
            let (second, result) = end.rsplit_once(") ").unwrap_or(("", end));
            let result = Some(number(result.trim_start().trim_start_matches("= ")));
            let mut args = split(first);
            args.extend(split(second.trim_start_matches([',', ' '])));
            all.push(Call { thread, name, args, result, begun });
        } else {
            let (name, rest) = rest.split_once('(').unwrap();
            let (args, result) = rest.rsplit_once(" = ").unwrap_or((rest, "0"));
            let args = args.trim_end().strip_suffix(')').unwrap_or(args);
            all.push(Call { thread, name, args: split(args), result: Some(number(result)), begun });
        }
    }
    all
}

/// A result: negative where it says an error, or nothing at all.
fn number(text: &str) -> i64 {
    let text = text.split_whitespace().next().unwrap_or("?");
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).unwrap_or(i64::MAX),
        None => text.parse().unwrap_or(-1),
    }
}

/// Arguments: at commas that stand in no brackets. Strings are hexadecimal: no comma is in them.
fn split(args: &str) -> Vec<&str> {
    let (mut all, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, byte) in args.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                all.push(args[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(args[start..].trim());
    all.retain(|arg| !arg.is_empty());
    all
}

/// The bytes of a string.
fn bytes(arg: &str) -> Vec<u8> {
    let hex = arg.strip_prefix('"').and_then(|arg| arg.strip_suffix('"'));
    let hex = hex.unwrap_or_else(|| panic!("not a whole string: {}", &arg[..arg.len().min(80)]));
    let octets = hex.as_bytes().as_chunks::<4>().0.iter();
    octets.map(|o| u8::from_str_radix(str::from_utf8(&o[2..]).unwrap(), 16).unwrap()).collect()
}

/// The bytes of all pieces of `[{iov_base="..", iov_len=N}, ...]`.
fn pieces(arg: &str) -> Vec<u8> {
    let pieces = arg.split("iov_base=").skip(1);
    pieces.flat_map(|piece| bytes(piece.split(',').next().unwrap())).collect()
}

/// An open file, which several descriptors may share.
#[derive(Clone, Debug)]
struct Opened {
    handle: usize,
    path: String,
    append: bool,
}

type Table = HashMap<i64, (Opened, bool)>;

struct Reader<'b> {
    base: &'b Path,
    /// Of each thread: who made it, and whether they share their descriptors.
    made_by: HashMap<u32, (u32, bool)>,
    /// Of each thread: which table is its.
    table_of: HashMap<u32, usize>,
    tables: Vec<Table>,
    positions: Vec<u64>,
    ops: Vec<Op>,
    /// How many operations had ended at each call.
    ended: Vec<usize>,
    outside: Vec<String>,
}

impl<'b> Reader<'b> {
    fn new(base: &'b Path, calls: &[Call<'_>]) -> Self {
        let mut made_by = HashMap::new();
        for call in calls.iter().filter(|call| call.result.is_some_and(|made| made > 0)) {
            if matches!(call.name, "clone" | "clone3" | "fork" | "vfork") {
                let child = u32::try_from(call.result.unwrap()).unwrap();
                let shares = call.args.iter().any(|arg| arg.contains("CLONE_FILES"));
                made_by.insert(child, (call.thread, shares));
            }
        }
        Self {
            base,
            made_by,
            table_of: HashMap::new(),
            tables: Vec::new(),
            positions: Vec::new(),
            ops: Vec::new(),
            ended: Vec::new(),
            outside: Vec::new(),
        }
    }

    fn table(&mut self, thread: u32) -> &mut Table {
        let index = self.table_index(thread);
        &mut self.tables[index]
    }

    fn table_index(&mut self, thread: u32) -> usize {
        if let Some(index) = self.table_of.get(&thread) {
            return *index;
        }
        let index = match self.made_by.get(&thread).copied() {
            Some((parent, true)) => self.table_index(parent),
            Some((parent, false)) => {
                let table = self.table(parent).clone();
                self.tables.push(table);
                self.tables.len() - 1
            }
            None => {
                self.tables.push(Table::new());
                self.tables.len() - 1
            }
        };
        self.table_of.insert(thread, index);
        index
    }

    fn event(&mut self, call: &Call<'_>) {
        self.ended.push(self.ops.len());
        // A descriptor is free as soon as its close has begun.
        if call.name == "close" {
            if call.result.is_none() || self.ended.len() - 1 == call.begun {
                let descriptor = number(call.args[0]);
                self.table(call.thread).remove(&descriptor);
            }
            return;
        }
        let Some(result) = call.result.filter(|result| *result >= 0) else { return };
        match call.name {
            "open" | "openat" | "openat2" | "creat" => self.open(call, result),
            "dup" | "dup2" | "dup3" | "fcntl" => self.dup(call, result),
            "execve" => self.table(call.thread).retain(|_, (_, closes)| !*closes),
            "lseek" | "read" | "readv" => self.moved(call, result),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.write(call, result),
            "ftruncate" => {
                if let Some(opened) = self.opened(call, 0) {
                    let length = u64::try_from(number(call.args[1])).unwrap();
                    self.ops.push(Op::SetLength { handle: opened.handle, length });
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(opened) = self.opened(call, 0) {
                    let since = self.ended[call.begun];
                    self.ops.push(Op::Sync { handle: opened.handle, since });
                }
            }
            "syncfs" | "sync" => self.ops.push(Op::SyncAll { since: self.ended[call.begun] }),
            // They promise nothing.
            "sync_file_range" | "clone" | "clone3" | "fork" | "vfork" | "close_range" => {}
            "mmap" => {
                let writes = call.args[2].contains("PROT_WRITE")
                    && call.args[3].contains("MAP_SHARED")
                    && self.opened(call, 4).is_some();
                assert!(!writes, "a file is written through a map: {:?}", call.args);
            }
            _ => self.names(call),
        }
    }

    /// Calls that change names.
    fn names(&mut self, call: &Call<'_>) {
        let at = |first: usize| if call.name.contains("at") { first } else { usize::MAX };
        let (one, two) = match call.name {
            "mkdirat" | "unlinkat" => (self.path(call, at(0), 1), None),
            "mkdir" | "unlink" | "rmdir" => (self.path(call, usize::MAX, 0), None),
            "renameat" | "renameat2" | "linkat" => {
                (self.path(call, at(0), 1), self.path(call, at(2), 3))
            }
            "rename" | "link" => (self.path(call, usize::MAX, 0), self.path(call, usize::MAX, 1)),
            other => panic!("{other} isn't understood by this test: teach it"),
        };
        let op = match (call.name, one, two) {
            ("mkdir" | "mkdirat", Some(path), _) => Op::MakeFolder { path },
            ("unlink" | "unlinkat" | "rmdir", Some(path), _) => Op::Remove { path },
            ("rename" | "renameat" | "renameat2", Some(from), Some(to)) => Op::Rename { from, to },
            ("link" | "linkat", Some(from), Some(to)) => Op::Link { from, to },
            _ => return,
        };
        self.ops.push(op);
    }

    /// The path of an argument, relative to the folder; none where it lies outside, which is noted.
    fn path(&mut self, call: &Call<'_>, at: usize, arg: usize) -> Option<String> {
        let path = self.place(call, at, arg);
        let Ok(inside) = path.strip_prefix(self.base) else {
            self.outside.push(format!("{} {}", call.name, path.display()));
            return None;
        };
        Some(inside.to_str().unwrap().to_owned())
    }

    fn place(&mut self, call: &Call<'_>, at: usize, arg: usize) -> PathBuf {
        let path = PathBuf::from(String::from_utf8(bytes(call.args[arg])).unwrap());
        let folder = call.args.get(at).map(|folder| number(folder)).filter(|folder| *folder >= 0);
        let folder =
            folder.and_then(|folder| Some(self.table(call.thread).get(&folder)?.0.clone()));
        folder.map_or(self.base.to_owned(), |folder| self.base.join(folder.path)).join(path)
    }

    fn open(&mut self, call: &Call<'_>, result: i64) {
        let (at, arg) = if call.name.starts_with("openat") { (0, 1) } else { (usize::MAX, 0) };
        let flags = call.args.get(arg + 1).copied().unwrap_or_default();
        let has = |flag: &str| flags.split('|').any(|one| one == flag);
        let creates = call.name == "creat" || has("O_CREAT");
        assert!(!has("O_TMPFILE"), "files without a name aren't understood by this test");
        let path = self.place(call, at, arg);
        let Ok(inside) = path.strip_prefix(self.base) else {
            let is_device = path.starts_with("/dev") || path.starts_with("/proc");
            if !is_device && (creates || has("O_WRONLY") || has("O_RDWR")) {
                self.outside.push(format!("open {}", path.display()));
            }
            return;
        };
        let path = inside.to_str().unwrap().to_owned();
        let handle = self.positions.len();
        self.positions.push(0);
        let (append, closes) = (has("O_APPEND"), has("O_CLOEXEC"));
        let opened = Opened { handle, path: path.clone(), append };
        self.table(call.thread).insert(result, (opened, closes));
        let truncate = call.name == "creat" || has("O_TRUNC");
        self.ops.push(Op::Open { handle, path, create: creates, truncate });
    }

    fn dup(&mut self, call: &Call<'_>, result: i64) {
        if call.name == "fcntl" && !call.args[1].starts_with("F_DUPFD") {
            return;
        }
        let closes = call.args.iter().any(|arg| arg.contains("CLOEXEC"));
        if let Some(opened) = self.opened(call, 0) {
            self.table(call.thread).insert(result, (opened, closes));
        } else {
            self.table(call.thread).remove(&result);
        }
    }

    fn opened(&mut self, call: &Call<'_>, arg: usize) -> Option<Opened> {
        let descriptor = number(call.args[arg]);
        self.table(call.thread).get(&descriptor).map(|(opened, _)| opened.clone())
    }

    fn moved(&mut self, call: &Call<'_>, result: i64) {
        let Some(opened) = self.opened(call, 0) else { return };
        let result = u64::try_from(result).unwrap();
        let position = &mut self.positions[opened.handle];
        *position = if call.name == "lseek" { result } else { *position + result };
    }

    fn write(&mut self, call: &Call<'_>, result: i64) {
        let Some(opened) = self.opened(call, 0) else { return };
        let is_vector = call.name.contains("writev");
        let mut bytes = if is_vector { pieces(call.args[1]) } else { bytes(call.args[1]) };
        bytes.truncate(usize::try_from(result).unwrap());
        let length = bytes.len() as u64;
        let position = &mut self.positions[opened.handle];
        let at = match call.name {
            _ if opened.append => None,
            "write" | "writev" => {
                *position += length;
                Some(*position - length)
            }
            _ => Some(u64::try_from(number(call.args[3])).unwrap()),
        };
        if !bytes.is_empty() {
            self.ops.push(Op::Write { handle: opened.handle, at, bytes });
        }
    }
}
