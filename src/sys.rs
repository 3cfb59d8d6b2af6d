//! What the operating system, the allocator and the processor give only through `unsafe`: maps of
//! files and reading them ahead, memory that two processes share, a second process, a handler of
//! the signals that it may die of, what is fetched into caches. The one file with `unsafe`.
//!
//! Not here: what maps hold and what processes do (`queue/bytes.rs`, `engine/board.rs`,
//! `engine/fence.rs`). Invariants: a map of a file is never written to; a process is split in two
//! only while it has one thread.
#![allow(unsafe_code, reason = "each block says why it holds")]

use memmap2::{Advice, Mmap, MmapMut};
use rustix::fs::MemfdFlags;
use rustix::mm;
use rustix::process::Pid;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::AsRawFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

/// What systems read ahead of themselves where nobody has changed it: they fetch no more at a time.
const READ_AHEAD_BYTES: usize = 128 << 10;

/// Looks at whether other threads are gone, before a process isn't split: two tenths of a second.
const THREAD_WAITS_MAX: u32 = 2000;

/// Maps a file, read only.
///
/// # Errors
/// Whatever the system says.
pub fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read only and private to this process. What can go wrong is that another
    // process writes to the file or shortens it: changed bytes are still bytes (every reader here
    // takes any), and the identity is compared again before a part is committed; a shortened file
    // is a SIGBUS, which kills this process and is what the second fence (`engine/fence.rs`) is
    // for.
    let map = unsafe { Mmap::map(file)? };
    // Advice that isn't taken costs nothing.
    let _ = map.advise(Advice::Sequential);
    Ok(map)
}

/// Has the system fetch what lies there of a file that is mapped, and doesn't wait for it. Not
/// where the last page is in memory already, which is cheaper to ask (systems say so, too, of a
/// file that this user may neither write nor owns). Of other memory nothing is done, but for what
/// was swapped out. Advice that isn't taken costs nothing.
pub fn read_ahead(bytes: &[u8]) {
    let Some(last) = bytes.last() else { return };
    // SAFETY: it takes a number and gives one.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1);
    let page_of = |at: *const u8| at.map_addr(|at| at - at % page).cast_mut();
    let mut in_memory = 0;
    // SAFETY: it asks of the one page that this byte is in, and gives a byte.
    let answer = unsafe { libc::mincore(page_of(last).cast(), 1, &raw mut in_memory) };
    if answer == 0 && in_memory & 1 == 1 {
        return;
    }
    for piece in bytes.chunks(READ_AHEAD_BYTES) {
        let start = page_of(piece.as_ptr());
        let len = piece.as_ptr_range().end.addr() - start.addr();
        // SAFETY: this advice changes nothing that a program could see, whatever the address; these
        // are the pages of a slice.
        let _ = unsafe { mm::madvise(start.cast(), len, mm::Advice::WillNeed) };
    }
}

/// Zeroed words that this process and those split from it share; given back when all have ended.
///
/// # Errors
/// Whatever the system says.
pub fn shared_words(count: usize) -> io::Result<&'static [AtomicU64]> {
    let file = File::from(rustix::fs::memfd_create("board", MemfdFlags::CLOEXEC)?);
    file.set_len((count * size_of::<AtomicU64>()) as u64)?;
    // SAFETY: the file has no name: nobody but this process and its children can write to it or
    // shorten it, and those do neither but through the words.
    let map = unsafe { MmapMut::map_mut(&file)? };
    let bytes: &'static mut MmapMut = Box::leak(Box::new(map));
    // SAFETY: the bytes live for ever and are lent out to nobody else; a map begins at a page, so
    // they are aligned; they are `count` words long; an AtomicU64 is as a u64 is, and takes any
    // bits.
    #[expect(clippy::cast_ptr_alignment, reason = "a page is aligned")]
    Ok(unsafe { std::slice::from_raw_parts(bytes.as_mut_ptr().cast::<AtomicU64>(), count) })
}

/// Has the processor fetch what lies at a place into its caches, while it does other things. On
/// processors other than x86-64 nothing is done.
pub fn fetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it is a hint, which reads and changes nothing that a program could see, and can't
    // fail, whatever the address; this one is a reference's.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Gives memory that was used, and is free, back to the system. Processes that are split off then
/// take new memory instead of copying this one's page by page, of which each copy stops all their
/// threads.
pub fn give_memory_back() {
    #[cfg(feature = "mimalloc")]
    // SAFETY: it takes and gives no pointers, and may be called at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Splits this process: `child` runs in the new one, which ends with what it gives as exit code,
/// without another word; this one gets its id.
///
/// # Errors
/// This process has more than one thread, or the system has no room for another process.
pub fn split(child: impl FnOnce() -> u8) -> io::Result<Pid> {
    // A thread that has ended, and was waited for, may take a moment to be gone.
    let mut waits = 0;
    while std::fs::read_dir("/proc/self/task")?.count() != 1 {
        if waits == THREAD_WAITS_MAX {
            return Err(io::Error::other("a process with several threads can't be split"));
        }
        waits += 1;
        std::thread::sleep(Duration::from_micros(100));
    }
    // SAFETY: this process has one thread, this one: whatever locks and state it has belong to the
    // thread that goes on in the child, so that the child may do all that this process may.
    match unsafe { libc::fork() } {
        0 => {
            let bomb = Bomb;
            let code = child();
            std::mem::forget(bomb);
            // SAFETY: ends the process. What the parent would do at its end (flush its standard
            // output, remove its folders) is not the child's to do.
            unsafe { libc::_exit(i32::from(code)) }
        }
        id => Pid::from_raw(id).filter(|_| id > 0).ok_or_else(io::Error::last_os_error),
    }
}

/// Signals that a thread sends itself by what it does, and that end its process.
const FAULTS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGABRT];

/// What [`tell_faults`] writes: 0, which no other words in that pipe begin with; the signal; the
/// thread.
pub const FAULT_BYTES: usize = 6;

/// The pipe that faults are told in, and what the system did with each signal before.
static TELL: AtomicI32 = AtomicI32::new(-1);
static BEFORE: OnceLock<[libc::sigaction; FAULTS.len()]> = OnceLock::new();

/// Has each thread of this process that commits a fault (SIGSEGV, SIGBUS, SIGILL, SIGABRT) say so
/// in a pipe, before the process ends of it as it would have without that: its end is heard of only
/// when the system has taken it down, which takes longer. Once in a process; where a system
/// refuses, nothing is told.
pub fn tell_faults(pipe: &PipeWriter) {
    let old = FAULTS.map(|signal| {
        // SAFETY: zeroes are an action: the default one, without flags.
        let mut old = unsafe { std::mem::zeroed::<libc::sigaction>() };
        // SAFETY: null for a new action asks for the one there is, which the pointer has room for.
        unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
        old
    });
    if BEFORE.set(old).is_err() {
        return;
    }
    TELL.store(pipe.as_raw_fd(), Ordering::Relaxed);
    for signal in FAULTS {
        // SAFETY: as above.
        let mut new = unsafe { std::mem::zeroed::<libc::sigaction>() };
        new.sa_sigaction = (tell_fault as extern "C" fn(_, _, _)) as usize;
        // On the stack that the standard library gives each thread for this.
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `tell_fault` has the type that SA_SIGINFO asks for, lives for ever, and does only
        // what a signal's handler may (signal-safety(7)).
        unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
    }
}

/// Tells a fault, and leaves the rest to what was there before.
extern "C" fn tell_fault(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the system gives each handler with SA_SIGINFO a valid `info`.
    let info = unsafe { &*info };
    // The processor's own, or sent by this process to itself: abort does that.
    let is_trap = info.si_code > 0;
    // SAFETY: whoever sends a signal has an id, which stands there then; the other takes nothing.
    let is_own = is_trap || unsafe { info.si_pid() == libc::getpid() };
    if is_own {
        // SAFETY: it takes nothing, and gives a number.
        let thread = unsafe { libc::gettid() }.to_le_bytes();
        let [a, b, c, d] = thread;
        let told: [u8; FAULT_BYTES] = [0, signal.to_le_bytes()[0], a, b, c, d];
        // SAFETY: the bytes are there. What can't be told is heard of at the end.
        unsafe { libc::write(TELL.load(Ordering::Relaxed), told.as_ptr().cast(), told.len()) };
    }
    let mut before = FAULTS.iter().zip(BEFORE.get().into_iter().flatten());
    if let Some((_, old)) = before.find(|(one, _)| **one == signal) {
        // SAFETY: the action was given by the system.
        unsafe { libc::sigaction(signal, &raw const *old, std::ptr::null_mut()) };
    }
    if !is_trap {
        // A trap is met again where this returns to. This one is let in when it has returned.
        // SAFETY: it takes a number; a signal may be sent at any time.
        unsafe { libc::raise(signal) };
    }
}

/// The thread that told of a fault, and its signal.
#[must_use]
pub const fn fault_of(told: [u8; FAULT_BYTES]) -> Option<(u32, i32)> {
    match told {
        [0, signal, a, b, c, d] => Some((u32::from_le_bytes([a, b, c, d]), signal as i32)),
        _ => None,
    }
}

/// A panic of the child ends it here: what lies further up the stack is the parent's.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // SAFETY: as above. 101 is what a process that panics ends with.
        unsafe { libc::_exit(101) }
    }
}

/// Commits a memory access violation, as the original did.
#[cfg(feature = "fault-injection")]
pub fn access_violation() -> u8 {
    let nowhere = std::hint::black_box(std::ptr::without_provenance::<u8>(8));
    // SAFETY: none: the system ends the process here, and that is what is asked for.
    unsafe { nowhere.read_volatile() }
}

/// Reads a map whose file has been shortened: SIGBUS.
///
/// # Errors
/// The system has no room for the map.
#[cfg(feature = "fault-injection")]
pub fn bus_error() -> io::Result<u8> {
    let file = File::from(rustix::fs::memfd_create("short", MemfdFlags::CLOEXEC)?);
    file.set_len(4096)?;
    let map = map(&file)?;
    file.set_len(0)?;
    Ok(std::hint::black_box(&map).first().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn words_are_zero_and_keep_what_they_are_given() {
        let words = shared_words(1000).unwrap();
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        words[999].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(words[999].load(Ordering::Relaxed), u64::MAX);
        assert_eq!(words.len(), 1000);
    }

    #[test]
    fn any_bytes_may_be_read_ahead_and_stay_what_they_are() {
        let content: Vec<u8> = (0..=250).cycle().take(100_000).collect();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &content).unwrap();
        let map = map(&file).unwrap();
        for range in [0..content.len(), 5000..9000, 4096..4096, 99_999..100_000] {
            read_ahead(&map[range.clone()]);
            read_ahead(&content[range]);
        }
        read_ahead(b"");
        assert_eq!(map[..], content);
    }

    #[test]
    fn a_told_fault_is_a_thread_and_a_signal_and_other_words_are_none() {
        assert_eq!(fault_of([0, 11, 1, 2, 0, 0]), Some((513, 11)));
        assert_eq!(fault_of(*b"{\"erro"), None);
    }

    /// Tests have threads: here a process can't be split, and says so.
    #[test]
    fn a_process_with_threads_is_not_split() {
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || told.recv());
            let error = split(|| 0).unwrap_err();
            assert!(error.to_string().contains("several threads"), "{error}");
            drop(tell);
        });
    }
}
