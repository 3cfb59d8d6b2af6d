//! Ways to read a folder of many small files, measured in turn: what would a Maildir's reading
//! gain?
//!
//! `look` is what listing does (the length and time of each file), `read` what a part's reading
//! does (open, look again, read, close), each by the clock. Batches of 256 files are dealt to
//! threads. With `--cold` the page cache is dropped before `look` (root only), so that `look`
//! fetches inodes and `read` contents. perf/README.md, "Small files", has what came out.
//!
//! Not here: anything of Inqueue. Each way ends with the sum of the bytes that it read, which must
//! be the same.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::fs::{Advice, AtFlags, Mode, OFlags, StatxFlags};

const BATCH: usize = 256;
const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW);

#[derive(Parser)]
struct Options {
    /// A folder of files.
    folder: PathBuf,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Drop the page cache before each.
    #[arg(long)]
    cold: bool,
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Way::ALL)]
    ways: Vec<Way>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// As the standard library does it: open by path, two looks, read until nothing comes.
    Plain,
    /// Open by path, one look, one read.
    Fewer,
    /// The same, below an open folder.
    At,
    /// The same, and the files of the batch are opened and asked for before the first is read.
    Ahead,
    /// As `at`, but a read doesn't wait: what isn't in memory is opened again at the end of the
    /// batch.
    Later,
    /// Batches of openat, read and close by io_uring; the look is a call of its own.
    Ring,
}

impl Way {
    const ALL: [Self; 6] =
        [Self::Plain, Self::Fewer, Self::At, Self::Ahead, Self::Later, Self::Ring];
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        f.write_str(&name.unwrap_or_default())
    }
}

struct Folder {
    path: PathBuf,
    at: OwnedFd,
    /// In the order of names.
    names: Vec<CString>,
    paths: Vec<CString>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let folder = list(&options.folder)?;
    println!("{} files", folder.names.len());
    println!("| threads | way | look, s | read, s, least of rounds (median) | us a file |");
    println!("|---|---|---|---|---|");
    for &threads in &options.threads {
        let mut rounds = vec![Vec::new(); options.ways.len()];
        let mut sums = Vec::new();
        for _ in 0..=options.rounds {
            for (&way, times) in options.ways.iter().zip(&mut rounds) {
                if options.cold {
                    rustix::fs::sync();
                    fs::write("/proc/sys/vm/drop_caches", "3").context("only root may")?;
                }
                let start = Instant::now();
                deal(&folder, threads, |batch| look(&folder, batch))?;
                let looked = start.elapsed().as_secs_f64();
                let start = Instant::now();
                sums.push(deal(&folder, threads, reader(&folder, way))?);
                times.push((start.elapsed().as_secs_f64(), looked));
            }
        }
        ensure!(sums.windows(2).all(|two| two[0] == two[1]), "not the same bytes: {sums:?}");
        for (way, mut times) in options.ways.iter().zip(rounds) {
            times.remove(0);
            times.sort_by(|a, b| a.0.total_cmp(&b.0));
            let ((least, looked), (median, _)) = (times[0], times[times.len() / 2]);
            let each = least * 1e6 / folder.names.len() as f64;
            println!("| {threads} | {way} | {looked:.3} | {least:.3} ({median:.3}) | {each:.2} |");
        }
    }
    Ok(())
}

fn list(path: &PathBuf) -> Result<Folder> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(CString::new(entry?.file_name().into_vec())?);
    }
    names.sort();
    let below = |name: &CString| {
        CString::new(
            path.join(std::ffi::OsStr::from_bytes(name.to_bytes())).into_os_string().into_vec(),
        )
    };
    let paths = names.iter().map(below).collect::<Result<_, _>>()?;
    let at = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())?;
    Ok(Folder { path: path.clone(), at, names, paths })
}

/// Deals batches to threads; the sum of what they say.
fn deal<F>(folder: &Folder, threads: usize, work: F) -> Result<u64>
where
    F: Fn(std::ops::Range<usize>) -> Result<u64> + Sync,
{
    let (next, sum) = (AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let run = || -> Result<()> {
            loop {
                let start = next.fetch_add(BATCH, Relaxed);
                if start >= folder.names.len() {
                    return Ok(());
                }
                let end = folder.names.len().min(start + BATCH);
                sum.fetch_add(work(start..end)?, Relaxed);
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().try_for_each(|one| one.join().expect("no panic"))
    })?;
    Ok(sum.into_inner())
}

fn look(folder: &Folder, batch: std::ops::Range<usize>) -> Result<u64> {
    for name in &folder.names[batch] {
        rustix::fs::statx(&folder.at, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    }
    Ok(0)
}

fn size(file: &OwnedFd) -> Result<usize> {
    Ok(usize::try_from(rustix::fs::fstat(file)?.st_size)?)
}

/// Appends a file to the arena by one read.
fn read(file: &OwnedFd, arena: &mut Vec<u8>) -> Result<u64> {
    let size = size(file)?;
    arena.reserve(size + 1);
    let spare: &mut [MaybeUninit<u8>] = &mut arena.spare_capacity_mut()[..size + 1];
    let (read, _) = rustix::io::read(file, spare)?;
    ensure!(read.len() == size, "a short read");
    Ok(size as u64)
}

/// The same of a file that is in memory; else the system is asked to fetch it.
fn read_now(file: &OwnedFd, arena: &mut Vec<u8>) -> Result<Option<u64>> {
    let size = size(file)?;
    arena.resize(size + 1, 0);
    let place = &mut [std::io::IoSliceMut::new(arena)];
    match rustix::io::preadv2(file, place, 0, rustix::io::ReadWriteFlags::NOWAIT) {
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        read => {
            ensure!(read? == size, "a short read");
            Ok(Some(size as u64))
        }
    }
}

fn reader(folder: &Folder, way: Way) -> impl Fn(std::ops::Range<usize>) -> Result<u64> + Sync {
    move |batch| {
        let mut arena = Vec::with_capacity(4 << 20);
        let mut sum = 0;
        match way {
            Way::Plain => {
                for name in &folder.names[batch] {
                    let path = folder.path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
                    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
                    let file = File::options().read(true).custom_flags(flags).open(path)?;
                    ensure!(file.metadata()?.is_file());
                    let size = file.metadata()?.len();
                    arena.clear();
                    sum += (&file).take(size + 1).read_to_end(&mut arena)? as u64;
                }
            }
            Way::Fewer => {
                for path in &folder.paths[batch] {
                    arena.clear();
                    sum += read(&rustix::fs::open(path, FLAGS, Mode::empty())?, &mut arena)?;
                }
            }
            Way::At => {
                for name in &folder.names[batch] {
                    let file = rustix::fs::openat(&folder.at, name, FLAGS, Mode::empty())?;
                    arena.clear();
                    sum += read(&file, &mut arena)?;
                }
            }
            Way::Ahead => {
                let mut files = Vec::with_capacity(BATCH);
                for name in &folder.names[batch] {
                    let file = rustix::fs::openat(&folder.at, name, FLAGS, Mode::empty())?;
                    rustix::fs::fadvise(&file, 0, None, Advice::WillNeed)?;
                    files.push(file);
                }
                for file in files {
                    arena.clear();
                    sum += read(&file, &mut arena)?;
                }
            }
            Way::Later => {
                let open =
                    |name: &CString| rustix::fs::openat(&folder.at, name, FLAGS, Mode::empty());
                let mut later = Vec::with_capacity(BATCH);
                for name in &folder.names[batch] {
                    arena.clear();
                    match read_now(&open(name)?, &mut arena)? {
                        Some(size) => sum += size,
                        None => later.push(name),
                    }
                }
                for name in later {
                    arena.clear();
                    sum += read(&open(name)?, &mut arena)?;
                }
            }
            Way::Ring => sum += ring(folder, batch)?,
        }
        Ok(sum)
    }
}

thread_local! {
    static RING: std::cell::RefCell<Option<IoUring>> = const { std::cell::RefCell::new(None) };
}

fn ring(folder: &Folder, batch: std::ops::Range<usize>) -> Result<u64> {
    RING.with_borrow_mut(|ring| {
        if ring.is_none() {
            let mut made = IoUring::builder();
            made.setup_single_issuer().setup_coop_taskrun();
            *ring = Some(made.build(BATCH as u32)?);
        }
        by_ring(folder, &folder.names[batch], ring.as_mut().expect("made above"))
    })
}

fn by_ring(folder: &Folder, names: &[CString], ring: &mut IoUring) -> Result<u64> {
    let at = types::Fd(folder.at.as_raw_fd());
    let open =
        |name: &CString| opcode::OpenAt::new(at, name.as_ptr()).flags(FLAGS.bits() as i32).build();
    let opened = all(ring, names.iter().map(open))?;
    // SAFETY: each was just opened, and nothing else owns it.
    let files: Vec<OwnedFd> =
        opened.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
    let sizes = files.iter().map(size).collect::<Result<Vec<_>>>()?;
    let mut arena = vec![0_u8; sizes.iter().map(|size| size + 1).sum()];
    let mut rest = arena.as_mut_slice();
    let mut reads = Vec::with_capacity(BATCH);
    for (file, &size) in files.iter().zip(&sizes) {
        let (place, behind) = std::mem::take(&mut rest).split_at_mut(size + 1);
        rest = behind;
        let fd = types::Fd(file.as_raw_fd());
        reads.push(opcode::Read::new(fd, place.as_mut_ptr(), size as u32 + 1).build());
    }
    let read = all(ring, reads.into_iter())?;
    ensure!(read.iter().zip(&sizes).all(|(&read, &size)| read as usize == size), "a short read");
    let close = |file: OwnedFd| {
        opcode::Close::new(types::Fd(std::os::fd::IntoRawFd::into_raw_fd(file))).build()
    };
    all(ring, files.into_iter().map(close))?;
    Ok(sizes.iter().sum::<usize>() as u64)
}

/// Submits all, waits for all; what each came to, in their order.
fn all(ring: &mut IoUring, entries: impl Iterator<Item = squeue::Entry>) -> Result<Vec<i32>> {
    let mut count = 0;
    for (entry, index) in entries.zip(0..) {
        // SAFETY: what an entry points to lives until its completion, which is waited for below.
        unsafe { ring.submission().push(&entry.user_data(index)) }?;
        count += 1;
    }
    ring.submit_and_wait(count)?;
    let mut results = vec![0; count];
    for done in ring.completion() {
        ensure!(done.result() >= 0, "{}", std::io::Error::from_raw_os_error(-done.result()));
        results[done.user_data() as usize] = done.result();
    }
    Ok(results)
}
