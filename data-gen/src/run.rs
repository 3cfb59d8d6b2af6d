//! Making a queue: blocks in parallel, written in order.
//!
//! What it deliberately does not do: starting threads. It uses the rayon pool that it is called in;
//! the number of threads changes nothing but the time.
//!
//! Invariant: at most two waves of blocks are in memory: one being made, one being written.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::block::Block;
use crate::bytes::{narrow, wide};
use crate::options::{Format, Options};
use crate::segment;
use crate::{GenError, Report, World, manifest, postoffice};

/// Messages in a block.
const BLOCK: u64 = 256;
/// Blocks in a wave, for each thread.
const BLOCKS_PER_THREAD: usize = 4;

/// Makes the queue, `directory.txt` and `manifest.jsonl` in `out_dir`, which is made if it isn't
/// there.
pub fn generate(options: &Options, out_dir: &Path) -> Result<Report, GenError> {
    let world = World::new(options)?;
    fs::create_dir_all(out_dir).map_err(|source| GenError::io(out_dir, source))?;
    refuse_occupied(out_dir)?;
    let queue = out_dir.join(options.format.queue());
    if options.format.is_folder() {
        let folders: &[&str] =
            if options.format == Format::Maildir { &["cur", "new", "tmp"] } else { &[""] };
        for folder in folders {
            let path = queue.join(folder);
            fs::create_dir_all(&path).map_err(|source| GenError::io(&path, source))?;
        }
    }
    if options.format == Format::PostOffice {
        return post_offices(&world, &queue, out_dir);
    }
    let directory = out_dir.join("directory.txt");
    fs::write(&directory, &world.directory.text)
        .map_err(|source| GenError::io(&directory, source))?;
    let mut sink = Sink::new(options, out_dir, &queue)?;
    sink.start(&world)?;
    waves(&world, &queue, sink)
}

/// Post offices are made in parallel, and their lines written in order.
fn post_offices(world: &World, queue: &Path, out_dir: &Path) -> Result<Report, GenError> {
    fs::create_dir_all(queue).map_err(|source| GenError::io(queue, source))?;
    let create = |name: &str| {
        let path = out_dir.join(name);
        let file = File::create_new(&path).map_err(|source| GenError::io(&path, source))?;
        Ok::<_, GenError>((file, path))
    };
    let (mut directory, mut lines) = (create("directory.txt")?, create("manifest.jsonl")?);
    append(&mut directory, &postoffice::directory_head(world))?;
    append(&mut lines, &manifest::head(&world.options))?;
    let width = wide(rayon::current_num_threads() * BLOCKS_PER_THREAD);
    let (mut report, mut next) = (Report::default(), 0);
    while next < world.options.post_offices {
        let end = world.options.post_offices.min(next + width);
        let made: Vec<_> = (next..end)
            .into_par_iter()
            .map(|at| postoffice::make(world, at, queue))
            .collect::<Result<_, _>>()?;
        for one in made {
            append(&mut directory, &one.directory)?;
            append(&mut lines, &one.lines)?;
            report.add(one.report);
        }
        next = end;
    }
    Ok(report)
}

/// A folder that holds a queue already isn't touched.
fn refuse_occupied(out_dir: &Path) -> Result<(), GenError> {
    let names = ["queue.seg", "queue.mbox", "queue", "directory.txt", "manifest.jsonl"];
    match names.iter().map(|name| out_dir.join(name)).find(|path| path.exists()) {
        Some(path) => Err(GenError::Occupied(path)),
        None => Ok(()),
    }
}

/// Makes one wave while the one before it is written.
fn waves(world: &World, queue: &Path, mut sink: Sink) -> Result<Report, GenError> {
    let width = rayon::current_num_threads() * BLOCKS_PER_THREAD;
    let messages = world.options.messages;
    let mut made: Vec<Block> = (0..width).map(|_| Block::new()).collect();
    let mut ready: Vec<Block> = (0..width).map(|_| Block::new()).collect();
    let (mut next, mut offset, mut filled) = (0, sink.written, 0);
    let mut report = Report { bytes: sink.written, ..Report::default() };
    loop {
        let from = next;
        let count = messages.saturating_sub(from).div_ceil(BLOCK).min(wide(width));
        next = messages.min(from + count * BLOCK);
        let (written, wave) = rayon::join(
            || sink.write(ready.get(..filled).unwrap_or_default()),
            || make_wave(world, queue, &mut made, from, next, offset),
        );
        written?;
        for part in wave? {
            report.add(part);
            if !world.options.format.is_folder() {
                offset += part.bytes;
            }
        }
        if count == 0 {
            return Ok(report);
        }
        filled = narrow(count);
        std::mem::swap(&mut made, &mut ready);
    }
}

/// Makes the messages `from..to`, the first of them at `offset` of the file.
fn make_wave(
    world: &World,
    queue: &Path,
    blocks: &mut [Block],
    from: u64,
    to: u64,
    offset: u64,
) -> Result<Vec<Report>, GenError> {
    let count = narrow((to - from).div_ceil(BLOCK));
    let blocks = blocks.get_mut(..count).unwrap_or_default();
    blocks.par_iter_mut().enumerate().try_for_each(|(at, block)| {
        let first = from + wide(at) * BLOCK;
        block.make(world, first, to.min(first + BLOCK), queue)
    })?;
    let mut at = offset;
    let mut placed: Vec<(&mut Block, u64)> = Vec::with_capacity(count);
    for block in blocks.iter_mut() {
        let start = at;
        at += wide(block.out.len());
        placed.push((block, start));
    }
    let file = world.options.format.queue().as_bytes();
    placed.par_iter_mut().for_each(|(block, start)| block.place(file, *start));
    Ok(blocks.iter().map(|block| block.report).collect())
}

/// Where blocks are written to.
struct Sink {
    queue: Option<(File, PathBuf)>,
    manifest: (File, PathBuf),
    written: u64,
}

impl Sink {
    fn new(options: &Options, out_dir: &Path, queue: &Path) -> Result<Self, GenError> {
        let create = |path: &Path| {
            let file = File::create_new(path).map_err(|source| GenError::io(path, source))?;
            Ok::<_, GenError>((file, path.to_path_buf()))
        };
        let queue = if options.format.is_folder() { None } else { Some(create(queue)?) };
        Ok(Self { queue, manifest: create(&out_dir.join("manifest.jsonl"))?, written: 0 })
    }

    fn start(&mut self, world: &World) -> Result<(), GenError> {
        append(&mut self.manifest, &manifest::head(&world.options))?;
        if let (Some(queue), Format::Segment) = (&mut self.queue, world.options.format) {
            let header = segment::file_header(world.mark);
            append(queue, &header)?;
            self.written += wide(header.len());
        }
        Ok(())
    }

    fn write(&mut self, blocks: &[Block]) -> Result<(), GenError> {
        for block in blocks {
            if let Some(queue) = &mut self.queue {
                append(queue, &block.out)?;
            }
            append(&mut self.manifest, &block.lines)?;
        }
        Ok(())
    }
}

fn append((file, path): &mut (File, PathBuf), bytes: &[u8]) -> Result<(), GenError> {
    file.write_all(bytes).map_err(|source| GenError::io(path, source))
}
