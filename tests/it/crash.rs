//! Killed at any instant, as often as one likes, and run again: the same bytes, nothing lost,
//! nothing twice.

use crate::support::{NOW, Queue, assert_done, assert_same_streams, inqueue, text};
use inqueue_gen::Format;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Numbers from a seed (`SplitMix64`).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below a bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

fn run(queue: &Queue, out: &str, part_size: &str) -> Command {
    let mut command = inqueue();
    command.args(["run", &queue.spec(), "--now", NOW, "--hostname", "mta.example", "--quiet"]);
    command.args(["--workers", "2", "--part-size", part_size, "--sync", "never"]);
    command.arg("--directory").arg(queue.made().join("directory.txt"));
    command.arg("--out").arg(queue.out(out)).stdout(Stdio::null());
    command
}

/// Synced or not makes no difference to a process that is killed, so time isn't spent on it. Kills
/// land at random moments of a run's life, planning and ending included; whenever a run gets
/// to its end, it is compared and a new one begun, until so many kills have hit.
#[test]
fn kill_9_at_200_random_moments_changes_nothing() {
    let queue = Queue::new(Format::Segment, 2_000, "all");
    let begun = Instant::now();
    assert_done(&run(&queue, "whole", "64K").output().unwrap());
    let mut longest = begun.elapsed();
    let mut numbers = Numbers(7);
    let (mut kills, mut ends, mut number) = (0, 0, 0);
    let mut midway = 0;
    while kills < 200 {
        let out = format!("run-{number}");
        let is_new = !queue.out(&out).exists();
        let mut child = run(&queue, &out, "64K").spawn().unwrap();
        let micros = u64::try_from(longest.as_micros()).unwrap().max(1);
        // The moment is random, so it has to be waited for; nothing depends on where it falls.
        let moment = numbers.below(micros);
        std::thread::sleep(Duration::from_micros(moment));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.code().is_none() {
            kills += 1;
            let log = std::fs::read(queue.out(&out).join("commits")).unwrap_or_default();
            midway += usize::from(log.contains(&b'\n'));
            continue;
        }
        if is_new {
            // It had come to its end before the signal: later moments would only miss.
            longest = longest.min(Duration::from_micros(moment));
        }
        assert_same_streams(&queue.out("whole"), &queue.out(&out));
        std::fs::remove_dir_all(queue.out(&out)).unwrap();
        number += 1;
        ends += 1;
    }
    let out = format!("run-{number}");
    assert_done(&run(&queue, &out, "64K").output().unwrap());
    assert_same_streams(&queue.out("whole"), &queue.out(&out));
    queue.assert_clean(&out);
    assert!(midway >= 50, "only {midway} of {kills} kills hit a run that had committed something");
    eprintln!(
        "{kills} kills, {midway} of them midway, {} runs came to their end and were the same",
        ends + 1
    );
}

#[test]
fn ctrl_c_and_sigterm_end_at_a_commit_and_the_run_goes_on() {
    // Thousands of parts: the signal comes long before the last.
    let queue = Queue::new(Format::Segment, 4_000, "none");
    assert_done(&run(&queue, "whole", "4K").output().unwrap());
    for signal in ["INT", "TERM"] {
        let mut stopped = 0;
        let mut command = run(&queue, signal, "4K");
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        // Once something is committed, the engine is at work.
        let log = queue.out(signal).join("commits");
        while std::fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
            std::thread::yield_now();
        }
        let process = child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &process]).status();
        assert!(sent.unwrap().success());
        let output = child.wait_with_output().unwrap();
        if output.status.code() == Some(1) {
            assert!(text(&output.stderr).contains("run it again to go on"));
            stopped += 1;
        }
        assert!(output.status.code().is_some(), "{signal} killed it");
        assert_done(&run(&queue, signal, "4K").output().unwrap());
        assert_same_streams(&queue.out("whole"), &queue.out(signal));
        assert_eq!(stopped, 1, "{signal} came too late to stop it");
    }
}
