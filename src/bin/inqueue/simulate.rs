//! `INQUEUE_SIMULATE`: a run whose threads take turns by a seed, and that crashes where it is told
//! to: for tests (`tests/it/simulation`), in a program with the feature `fault-injection` alone.
//!
//! The variable holds a seed, then crashes: `7,120one,300both` (point 120 of the run kills the
//! process that comes to it, point 300 both it and its guard). `INQUEUE_SIMULATE_LOG` is the file
//! that gets the log of all points. Not here: simulating (`inqueue::engine`).

use anyhow::Context as _;
use inqueue::engine::{self, Crash, Simulation};
use std::path::Path;

/// Simulates, where that is asked for; `out` is the folder of the run.
pub(crate) fn begin(out: &Path) -> anyhow::Result<()> {
    let Some(asked) = std::env::var_os("INQUEUE_SIMULATE") else { return Ok(()) };
    let log = std::env::var_os("INQUEUE_SIMULATE_LOG").context("INQUEUE_SIMULATE_LOG is needed")?;
    let asked = asked.to_str().context("INQUEUE_SIMULATE isn't a seed")?;
    let mut words = asked.split(',');
    let seed = words.next().unwrap_or_default().parse().context("INQUEUE_SIMULATE: the seed")?;
    let crashes = words.map(crash).collect::<Option<_>>().context("INQUEUE_SIMULATE: a crash")?;
    let root = std::path::absolute(out)?.parent().map(Path::to_owned).unwrap_or_default();
    Ok(engine::simulate(Simulation { seed, crashes, log: log.into(), root })?)
}

fn crash(word: &str) -> Option<(u64, Crash)> {
    let (point, crash) = match word.strip_suffix("both") {
        Some(point) => (point, Crash::Both),
        None => (word.strip_suffix("one")?, Crash::One),
    };
    Some((point.parse().ok()?, crash))
}
