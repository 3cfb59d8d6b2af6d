//! Faults on purpose, where a message's marker asks for them (`X-Inqueue-Fault`): for tests of both
//! fences. Not in a program that users get: the feature `fault-injection` makes it.
//!
//! A marker is a stage (`parse`: it panics there), or a kind and a stage: `panic:parse`, or a kind
//! of death (`segv:parse`, `bus:`, `abort:`, `stack:`, `oom:`, `hang:`, `kill:`, and `deep:`, a
//! stack of 4 MiB); or more than one stage, with commas between them, and it strikes at each that
//! it gets to. `slow:` doesn't kill, and takes its time. Behind the kind may stand, in this order:
//! `*N`, it strikes N times, whatever the process; `@engine`, it doesn't strike where it is tried
//! alone; `+N`, in the engine it waits until N have come to where they strike. The environment says
//! more, in `INQUEUE_FAULTS`: `off`, no marker strikes, as if all were mended; a kind: each marker
//! is of this one; `KIND:engine`: the engine dies of it as it begins; `KIND*N:trial`: the first N
//! trials do.

use super::isolate::Stage;
use crate::mail::content::Content;
use crate::mail::header::HeaderFacts;
use crate::sys;
use rustix::process::{Signal, getpid, kill_process};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What all processes of a guard count: strikes of markers that are limited, and all strikes.
static COUNTS: OnceLock<&'static [AtomicU64]> = OnceLock::new();
/// Longer than another worker takes to die, and less than a message may take.
const SLOW: Duration = Duration::from_millis(50);
/// In this process a message is tried alone.
static IS_TRIAL: AtomicBool = AtomicBool::new(false);

/// In the guard, before it splits a process off: makes what they count together.
pub(super) fn begin() {
    if let Ok(words) = sys::shared_words(2) {
        let _ = COUNTS.set(words);
    }
}

/// In the process of a trial.
pub(super) fn begin_trial() {
    IS_TRIAL.store(true, Ordering::Relaxed);
    if let Some(kind) = asked().strip_suffix(":trial") {
        let (kind, times) = numbered(kind, '*');
        if times.is_none_or(|times| count(0) < times) {
            die(kind, "trial");
        }
    }
}

/// In the process of the engine.
pub(super) fn begin_engine() {
    if let Some(kind) = asked().strip_suffix(":engine") {
        die(kind, "engine");
    }
}

/// What the environment asks for.
fn asked() -> String {
    std::env::var("INQUEUE_FAULTS").unwrap_or_default()
}

/// Strikes, if the marker asks for it at this stage.
pub(super) fn strike(stage: Stage, marker: Option<&[u8]>) {
    let Some(marker) = marker.and_then(|marker| std::str::from_utf8(marker).ok()) else { return };
    let (kind, at) = marker.split_once(':').unwrap_or(("panic", marker));
    let Some(at) = at.split(',').find(|at| *at == stage.name()) else { return };
    match asked().as_str() {
        "" => {}
        asked if asked.contains(':') => {}
        other => return die(other, at),
    }
    let is_trial = IS_TRIAL.load(Ordering::Relaxed);
    let (kind, together) = numbered(kind, '+');
    let (kind, is_spared) = match kind.strip_suffix("@engine") {
        Some(kind) => (kind, is_trial),
        None => (kind, false),
    };
    let (kind, times) = numbered(kind, '*');
    if is_spared || times.is_some_and(|times| count(0) >= times) {
        return;
    }
    count(1);
    while !is_trial && together.is_some_and(|together| counted(1) < together) {
        std::hint::spin_loop();
    }
    die(kind, at);
}

/// The same, where nobody has looked for a marker yet, or has it at hand.
pub(super) fn strike_in(stage: Stage, content: Content<'_>) {
    strike(stage, HeaderFacts::read_into(Vec::new(), content.raw()).fault);
}

/// A kind, and the number behind it.
fn numbered(kind: &str, sign: char) -> (&str, Option<u64>) {
    let parts = kind.split_once(sign);
    parts.map_or((kind, None), |(kind, number)| (kind, number.parse().ok()))
}

/// Counts one more; how many there were before.
fn count(what: usize) -> u64 {
    let word = COUNTS.get().and_then(|words| words.get(what));
    word.map_or(0, |word| word.fetch_add(1, Ordering::SeqCst))
}

fn counted(what: usize) -> u64 {
    let word = COUNTS.get().and_then(|words| words.get(what));
    word.map_or(u64::MAX, |word| word.load(Ordering::SeqCst))
}

/// Dies, by a kind.
#[expect(clippy::panic, reason = "that is what is asked for")]
fn die(kind: &str, at: &str) {
    match kind {
        "segv" => drop(sys::access_violation()),
        "bus" => drop(sys::bus_error()),
        "abort" => std::process::abort(),
        "stack" => drop(fall(None)),
        "deep" => drop(fall(Some((0, 4 << 20)))),
        "oom" => eat(),
        "kill" => drop(kill_process(getpid(), Signal::KILL)),
        "hang" => loop {
            std::hint::spin_loop();
        },
        "slow" => std::thread::sleep(SLOW),
        "panic" => panic!("injected fault in {at}"),
        _ => {}
    }
}

/// Calls itself until the stack is full; or, given the place of its first call and a number, until
/// so many bytes of stack are taken.
fn fall(most: Option<(usize, usize)>) -> [u64; 64] {
    let mut frame = std::hint::black_box([0; 64]);
    let here = std::ptr::from_ref(&frame).addr();
    let most = most.map(|(first, bytes)| (if first == 0 { here } else { first }, bytes));
    if most.is_none_or(|(first, bytes)| first.saturating_sub(here) < bytes) {
        frame = fall(std::hint::black_box(most));
    }
    std::hint::black_box(frame)
}

/// Takes memory, and touches it, until there is none.
fn eat() {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 16 << 20]));
    }
}
