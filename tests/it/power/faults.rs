//! Disks that fail: each call that writes, syncs or changes names fails once, at its n-th time, for
//! every n; the command says so, and goes on once the disk is mended.
//!
//! Calls that fail are made so by `strace -e inject`, which counts them in each thread for itself:
//! a fault strikes the n-th call of every thread, so that each call is struck by some n. What
//! strace can't do is a short write: it can change what a call gives, but then it says that bytes
//! were written that weren't, and that is a disk that lies. So all faults of writing, and disks
//! that are full from some byte on, come from a library that is put before libc's: it writes less,
//! and says so. It strikes files alone, not what is said to people, and of opens those that make a
//! file. Not here: power failures; a file system that is too small (`crate::disk`).

use super::{disk, drain, is_skipped, new, run};
use crate::readers::skipped;
use crate::support::text;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls that strace lets fail, and how.
const FAULTS: [(&str, &[&str]); 8] = [
    ("fsync", &["EIO", "ENOSPC"]),
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("syncfs", &["EIO", "ENOSPC"]),
    ("rename", &["EIO", "ENOSPC"]),
    ("renameat2", &["EIO", "ENOSPC"]),
    ("ftruncate", &["EIO"]),
    ("mkdir", &["ENOSPC", "EACCES"]),
    ("unlink", &["EIO", "EACCES"]),
];

/// What the library does to calls that write to files: at the n-th time, one is `short`, or fails
/// with an error, or the disk is `full` from then on. And `open` fails where it makes a file. It
/// counts the calls of all threads and processes.
const SHIM_FAULTS: [(&str, &[&str]); 4] = [
    ("short", &["0"]),
    ("full", &[ENOSPC]),
    ("write", &[ENOSPC, EIO, EDQUOT, EINTR]),
    ("open", &[ENOSPC, EMFILE, EACCES]),
];
const EINTR: &str = "4";
const EIO: &str = "5";
const EACCES: &str = "13";
const EMFILE: &str = "24";
const ENOSPC: &str = "28";
const EDQUOT: &str = "122";

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Of all processes: the guard's, and those that are split from it. */
static long *count;

__attribute__((constructor)) static void begin(void) {
    count = mmap(0, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (count == MAP_FAILED) abort();
}

/* True for the call that is to fail; 2 for those behind it. */
static int strikes(const char *mode) {
    const char *ours = getenv("FAULT_MODE"), *at = getenv("FAULT_AT");
    if (!ours || !at || strcmp(ours, mode)) return 0;
    long now = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST), n = atol(at);
    return now == n ? 1 : now > n ? 2 : 0;
}

static int error(void) {
    const char *number = getenv("FAULT_ERROR");
    return number ? atoi(number) : 0;
}

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

/* How much of a write goes through; -1 for none. */
static ssize_t part(int fd, size_t length) {
    if (!is_file(fd) || length == 0) return length;
    int strike = strikes("short");
    if (strike == 1) return (length + 1) / 2;
    if (strikes("write") == 1) { errno = error(); return -1; }
    strike = strikes("full");
    if (strike == 1 && length > 1) return length / 2;
    if (strike) { errno = ENOSPC; return -1; }
    return length;
}

ssize_t write(int fd, const void *from, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    ssize_t now = part(fd, length);
    return now < 0 ? now : real(fd, from, now);
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t now = part(fd, length);
    return now < 0 ? now : real(fd, from, now, at);
}

ssize_t writev(int fd, const struct iovec *all, int many) {
    return many < 1 ? 0 : write(fd, all[0].iov_base, all[0].iov_len);
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if ((flags & O_CREAT) && strikes("open") == 1) { errno = error(); return -1; }
    return real(path, flags, mode);
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_COUNT");
    if (!path) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char digits[24];
    int length = 0;
    for (long rest = *count; rest > 0 || length == 0; rest /= 10) {
        digits[length++] = '0' + rest % 10;
    }
    while (length > 0) {
        static ssize_t (*real)(int, const void *, size_t);
        if (!real) real = dlsym(RTLD_NEXT, "write");
        real(fd, &digits[--length], 1);
    }
    close(fd);
}
"#;

/// How many faults there were of each kind.
pub(super) type Struck = BTreeMap<String, usize>;

/// One fault.
#[derive(Clone, Debug)]
enum Fault {
    /// By strace: a call, its error, and at which time.
    Call(&'static str, &'static str, usize),
    /// By the library: what it does, the error's number, and at which time.
    Shim(&'static str, &'static str, usize),
}

/// A command into a folder, and what must be there at its end.
pub(super) struct Bench<'b> {
    pub(super) folder: &'b Path,
    pub(super) begin: disk::Image,
    pub(super) command: &'b (dyn Fn(&Path, &str) -> Command + Sync),
    pub(super) check: &'b (dyn Fn(&Path, &Path) + Sync),
    /// Looks at what a fault has left; the second is that of a process without a fault, the third
    /// says that all was done in spite of it.
    pub(super) between: &'b (dyn Fn(&Path, &Path, bool) + Sync),
    /// The log that says what is done for good.
    pub(super) log: &'b str,
    /// Of a call that is made often, one time in so many is struck, with each error others.
    pub(super) step: usize,
}

/// Calls that are made less often are struck each time.
const OFTEN: usize = 10;

impl Bench<'_> {
    fn place(&self, number: usize) -> PathBuf {
        let base = self.folder.join(format!("v{number:06}"));
        disk::write(&self.begin, &base, &[]);
        base
    }

    /// How often each call is made, in the thread that makes it most often.
    fn counts(&self) -> (Option<i32>, HashMap<&'static str, usize>) {
        let base = self.place(0);
        let (output, trace) = self.under_strace(&base, &[]);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 3)), "{}", text(&output.stderr));
        (self.check)(&base, &base);
        let mut counts: HashMap<(&str, &'static str), usize> = HashMap::new();
        for line in trace.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            for (call, _) in FAULTS {
                if rest.strip_prefix(call).is_some_and(|rest| rest.starts_with('(')) {
                    *counts.entry((thread, call)).or_default() += 1;
                }
            }
        }
        let mut most = HashMap::new();
        for ((_, call), count) in counts {
            let all: &mut usize = most.entry(call).or_default();
            *all = count.max(*all);
        }
        (code, most)
    }

    fn under_strace(&self, base: &Path, inject: &[String]) -> (Output, String) {
        let log = base.with_extension("trace");
        let command = (self.command)(base, "commit");
        let mut calls: Vec<&str> = FAULTS.iter().map(|(call, _)| *call).collect();
        calls.push("write");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-y", "-s", "40", "-e", "signal=none"]);
        strace.arg("-e").arg(format!("trace={}", calls.join(",")));
        strace.args(inject).arg("-o").arg(&log).arg("--");
        let output = strace.arg(command.get_program()).args(command.get_args()).output().unwrap();
        let trace = fs::read_to_string(&log).unwrap();
        fs::remove_file(log).unwrap();
        (output, trace)
    }

    fn under_shim(
        &self,
        base: &Path,
        shim: &Path,
        (mode, error, at): (&str, &str, usize),
    ) -> Output {
        let mut command = (self.command)(base, "commit");
        command.env("LD_PRELOAD", shim).env("FAULT_MODE", mode).env("FAULT_AT", at.to_string());
        command.env("FAULT_ERROR", error);
        command.env("FAULT_COUNT", base.with_extension("count")).output().unwrap()
    }

    /// How many calls the library could strike.
    fn shim_count(&self, shim: &Path, mode: &str, number: usize) -> usize {
        let base = self.place(number);
        let output = self.under_shim(&base, shim, (mode, "28", usize::MAX >> 1));
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", text(&output.stderr));
        fs::remove_dir_all(&base).unwrap();
        fs::read_to_string(base.with_extension("count")).unwrap().parse().unwrap()
    }

    /// The errors of a call that is made so often, each with the times at which it strikes.
    fn times<'e>(&self, errors: &[&'e str], count: usize) -> Vec<(&'e str, usize)> {
        let step = if count < OFTEN || is_all_asked_for() { 1 } else { self.step };
        let of = |(at, error): (usize, &&'e str)| {
            let times = (1..=count).filter(move |n| (n + at) % step == 0);
            times.map(|n| (*error, n)).collect::<Vec<_>>()
        };
        errors.iter().enumerate().flat_map(of).collect()
    }

    /// All faults, one after the other; gives how many there were of each kind.
    pub(super) fn strike_all(&self) -> Struck {
        let (code, counts) = self.counts();
        let mut faults = Vec::new();
        for (call, errors) in FAULTS {
            let times = self.times(errors, counts.get(call).copied().unwrap_or(0));
            faults.extend(times.into_iter().map(|(error, n)| Fault::Call(call, error, n)));
        }
        let shim = shim(self.folder);
        for (mode, errors) in SHIM_FAULTS {
            let Some(shim) = &shim else { continue };
            let times = self.times(errors, self.shim_count(shim, mode, faults.len() + 1));
            faults.extend(times.into_iter().map(|(error, n)| Fault::Shim(mode, error, n)));
        }
        let next = AtomicUsize::new(0);
        let (failed, messages) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
        let struck = Mutex::new(BTreeSet::new());
        let work = || {
            while let Some((at, fault)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                faults.get(at).map(|fault| (at, fault))
            } {
                let ended = std::thread::scope(|scope| {
                    let one = scope.spawn(|| self.strike(fault, at + 1, code, shim.as_deref()));
                    one.join()
                });
                match ended {
                    Ok((is_struck, said)) => {
                        messages.lock().unwrap().extend(said);
                        struck.lock().unwrap().extend(is_struck.then_some(at));
                    }
                    Err(_) => failed.lock().unwrap().push(format!("{fault:?}")),
                }
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(2, usize::from);
            (0..threads).for_each(|_| _ = scope.spawn(work));
        });
        let failed = failed.into_inner().unwrap();
        assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), faults.len());
        assert!(!messages.into_inner().unwrap().is_empty());
        let mut kinds = BTreeMap::new();
        let struck = struck.into_inner().unwrap();
        for (_, fault) in faults.iter().enumerate().filter(|(at, _)| struck.contains(at)) {
            let kind = match fault {
                Fault::Call(call, error, _) => format!("{call} {error}"),
                Fault::Shim(mode, error, _) => format!("{mode} {error}"),
            };
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
    }

    /// One fault: it is told, or made good; then the command goes on as if nothing had been. Gives
    /// whether it struck, and what was said.
    fn strike(
        &self,
        fault: &Fault,
        number: usize,
        code: Option<i32>,
        shim: Option<&Path>,
    ) -> (bool, Option<String>) {
        let base = self.place(number);
        let (output, trace) = match fault {
            Fault::Call(call, error, n) => {
                let inject = format!("inject={call}:error={error}:when={n}");
                self.under_strace(&base, &["-e".to_owned(), inject])
            }
            Fault::Shim(mode, error, n) => {
                (self.under_shim(&base, shim.unwrap(), (mode, error, *n)), String::new())
            }
        };
        let said = text(&output.stderr);
        let is_done = output.status.code() == code;
        if is_done {
            assert_eq!(said, "");
        } else {
            assert_eq!(output.status.code(), Some(1), "{said}");
            let (why, what_to_do) = (said.contains("(os error"), said.contains("again"));
            assert!(why && what_to_do, "{said}");
            assert!(said.lines().all(|line| line.starts_with("inqueue: ")), "{said}");
        }
        let heals = matches!(fault, Fault::Shim(_, EINTR, _) | Fault::Shim("short", ..));
        assert!(is_done || !heals, "it should have gone on: {said}");
        // Which thread syncs how often isn't the same at every time.
        let is_struck = matches!(fault, Fault::Shim(..)) || trace.contains("(INJECTED)");
        if let Fault::Call(call @ ("fsync" | "fdatasync" | "syncfs"), ..) = fault
            && is_struck
        {
            assert!(!is_done, "{call} has failed, and nobody was told");
            self.assert_not_synced_again(&trace);
        }
        (self.between)(&base, &self.folder.join("v000000"), is_done);
        let again = (self.command)(&base, "commit").output().unwrap();
        assert_eq!(again.status.code(), code, "{}", text(&again.stderr));
        (self.check)(&base, &self.folder.join("v000000"));
        fs::remove_dir_all(&base).unwrap();
        let base = base.to_str().unwrap();
        (is_struck, (!is_done).then(|| said.trim_end().replace(base, "BASE")))
    }

    /// Once a sync has failed, the same file isn't synced again, and nothing is logged as done: the
    /// system forgets the failure, and says that all is well.
    fn assert_not_synced_again(&self, trace: &str) {
        let mut lines = trace.lines().skip_while(|line| !line.contains("(INJECTED)"));
        let first = lines.next().expect("no sync has failed");
        let path = first.split(['<', '>']).nth(1).unwrap();
        for line in lines {
            let call = line.split_once(' ').unwrap().1.trim_start();
            let is_of = |path: &str| call.contains(&format!("<{path}>"));
            let is_sync = ["fsync(", "fdatasync("].iter().any(|sync| call.starts_with(sync));
            assert!(!(is_sync && is_of(path)), "synced again: {line}");
            let is_log = call.starts_with("write(") && call.contains(&format!("{}>", self.log));
            assert!(!is_log, "logged, though a sync had failed: {line}");
        }
    }
}

/// Builds the library; none where there is no compiler.
fn shim(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output();
    let Ok(output) = output else {
        skipped("short writes and failing opens in power::faults", "there is no cc");
        return None;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(library)
}

/// Runs, drains: what a fault has left is gone on with.
pub(super) fn goes_on(_: &Path, _: &Path, _: bool) {}

#[test]
fn a_run_says_each_fault_of_the_disk_and_goes_on() {
    if is_skipped("a_run_says_each_fault_of_the_disk_and_goes_on") {
        return;
    }
    let kinds = run::faults();
    eprintln!("{} faults: {kinds:?}", kinds.values().sum::<usize>());
    let least = [("fsync EIO", 10), ("fdatasync EIO", 8), ("mkdir ENOSPC", 6), ("write 28", 12)];
    assert_struck(&kinds, &least);
}

#[test]
fn a_drain_says_each_fault_of_the_disk_and_goes_on() {
    if is_skipped("a_drain_says_each_fault_of_the_disk_and_goes_on") {
        return;
    }
    let least = [("syncfs EIO", 3), ("rename EIO", 3), ("unlink EIO", 4), ("renameat2 EIO", 2)];
    let kinds = drain::faults();
    eprintln!("{} faults: {kinds:?}", kinds.values().sum::<usize>());
    assert_struck(&kinds, &least);
}

#[test]
fn conversions_and_salvages_say_each_fault_of_the_disk() {
    if is_skipped("conversions_and_salvages_say_each_fault_of_the_disk") {
        return;
    }
    for (kinds, least) in new::faults() {
        eprintln!("{} faults: {kinds:?}", kinds.values().sum::<usize>());
        assert_struck(&kinds, &[least]);
    }
}

/// With `INQUEUE_ALL_FAULTS` each call of it is struck with each error, which takes minutes.
#[test]
fn a_salvage_of_a_post_office_says_faults_of_the_disk() {
    if is_skipped("a_salvage_of_a_post_office_says_faults_of_the_disk") {
        return;
    }
    let kinds = new::faults_of_an_office();
    eprintln!("{} faults: {kinds:?}", kinds.values().sum::<usize>());
    assert_struck(&kinds, &[("write 28", 10), ("open 28", 5), ("mkdir ENOSPC", 1)]);
}

fn is_all_asked_for() -> bool {
    std::env::var_os("INQUEUE_ALL_FAULTS").is_some()
}

fn assert_struck(kinds: &Struck, least: &[(&str, usize)]) {
    for (kind, least) in least {
        assert!(kinds[*kind] >= *least, "{kind}: {kinds:?}");
    }
    if kinds.contains_key("short 0") {
        for (mode, errors) in SHIM_FAULTS {
            for error in errors {
                assert!(kinds[&format!("{mode} {error}")] >= 1, "{kinds:?}");
            }
        }
    }
}
