//! Faults on purpose, where a message's marker asks for them (`X-Inqueue-Fault`): for tests of both
//! fences. Not in a program that users get: the feature `fault-injection` makes it.
//!
//! A marker is a stage (`parse`: it panics there), or a kind of death and a stage (`segv:parse`,
//! `bus:`, `abort:`, `stack:`, `oom:`, `hang:`).

use super::isolate::Stage;
use crate::sys;

/// Strikes, if the marker asks for it at this stage.
#[expect(clippy::panic, reason = "that is what is asked for")]
pub(super) fn strike(stage: Stage, marker: Option<&[u8]>) {
    let Some(marker) = marker.and_then(|marker| std::str::from_utf8(marker).ok()) else { return };
    let (kind, at) = marker.split_once(':').unwrap_or(("panic", marker));
    if at != stage.name() {
        return;
    }
    match kind {
        "segv" => drop(sys::access_violation()),
        "bus" => drop(sys::bus_error()),
        "abort" => std::process::abort(),
        "stack" => drop(fall(0)),
        "oom" => eat(),
        "hang" => loop {
            std::hint::spin_loop();
        },
        "panic" => panic!("injected fault in {at}"),
        _ => {}
    }
}

/// Calls itself until the stack is full.
fn fall(depth: u64) -> [u64; 64] {
    let mut frame = std::hint::black_box([depth; 64]);
    if depth < u64::MAX {
        frame = fall(std::hint::black_box(depth + 1));
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
