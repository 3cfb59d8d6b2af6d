//! What several tests need to hold our reading against another's: a queue read to its end, and
//! Python.
//!
//! Where Python isn't installed, a test that needs it says so, with its name, and passes;
//! `scripts/test` prints at its end which these were.

use inqueue::decide::{Case, Judge, Policy, Verdict};
use inqueue::directory::Directory;
use inqueue::mail::date::Time;
use inqueue::mail::envelope::{Envelope, Recipient};
use inqueue::mail::header::HeaderFacts;
use inqueue::queue::envelope::{RecipientOrder, read};
use inqueue::queue::{Buffers, Damage, Found, Framed, Frames, Queue, QueueError, Source, Visit};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Part sizes that queues are read in: small, middling, whole.
pub(crate) const PART_SIZES: [u64; 3] = [64 << 10, 1 << 20, 1 << 40];

/// What is looked at in a queue, in its order.
pub(crate) enum Seen<'c, 'a> {
    /// A message; `None` where its envelope can't be read.
    Message(Found<'a>, Option<Case<'c, 'a>>),
    /// A damaged range.
    Damage(Damage),
}

struct Visitor<F> {
    look: F,
}

impl<F: FnMut(&Seen<'_, '_>)> Visit for Visitor<F> {
    type Error = QueueError;

    fn batch<'a>(&mut self, source: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
        for framed in frames {
            let found = match framed {
                Framed::Message(found) => found,
                Framed::Damage(damage) => {
                    (self.look)(&Seen::Damage(damage));
                    continue;
                }
            };
            let facts = HeaderFacts::read(found.content.raw());
            let mut recipients: Vec<Recipient<'_>> = Vec::new();
            let order = RecipientOrder::default();
            let envelope: Option<Envelope<'_>> =
                read(&source, &found, &facts, order, &mut recipients).judged().ok();
            let case = envelope.as_ref().map(|envelope| Case {
                header_hops: facts.hops,
                is_report: facts.is_report,
                ..Case::new(envelope, &recipients)
            });
            (self.look)(&Seen::Message(found, case));
        }
        Ok(())
    }
}

/// A message, read and judged.
pub(crate) struct Judged<'c, 'a> {
    pub(crate) found: Found<'a>,
    pub(crate) case: Case<'c, 'a>,
    pub(crate) verdict: &'c Verdict<'a>,
}

struct Judging<'d, F> {
    directory: &'d Directory,
    now: Time,
    look: F,
}

impl<F: FnMut(&Judged<'_, '_>)> Visit for Judging<'_, F> {
    type Error = QueueError;

    fn batch<'a>(&mut self, source: Source<'a>, frames: Frames<'a>) -> Result<(), QueueError> {
        for framed in frames {
            let Framed::Message(found) = framed else { continue };
            let facts = HeaderFacts::read(found.content.raw());
            let (mut recipients, mut verdict) = (Vec::new(), Verdict::default());
            let order = RecipientOrder::default();
            let envelope = read(&source, &found, &facts, order, &mut recipients);
            let Ok(envelope) = &envelope.judged() else { continue };
            let case = Case {
                header_hops: facts.hops,
                is_report: facts.is_report,
                ..Case::new(envelope, &recipients)
            };
            let judge =
                Judge { directory: self.directory, policy: Policy::default(), now: self.now };
            judge.decide(case, &mut verdict);
            (self.look)(&Judged { found, case, verdict: &verdict });
        }
        Ok(())
    }
}

/// Reads and judges a queue whole, under the default policy; damage is passed over.
pub(crate) fn judge_all(
    spec: &str,
    directory: &Directory,
    now: Time,
    look: impl FnMut(&Judged<'_, '_>),
) {
    let queue = Queue::open(spec).unwrap();
    let mut judging = Judging { directory, now, look };
    for span in queue.cut(1 << 40).unwrap() {
        queue.read(&span, &mut Buffers::default(), &mut judging).unwrap();
    }
}

/// Reads a queue from end to end in parts of a size; a list for each part.
pub(crate) fn read_parts<T>(
    spec: &str,
    part_bytes: u64,
    mut look: impl FnMut(&Seen<'_, '_>) -> T,
) -> Vec<Vec<T>> {
    let queue = Queue::open(spec).unwrap();
    let mut buffers = Buffers::default();
    let mut parts = Vec::new();
    for span in queue.cut(part_bytes).unwrap() {
        let mut part = Vec::new();
        let mut visitor = Visitor { look: |seen: &Seen<'_, '_>| part.push(look(seen)) };
        queue.read(&span, &mut buffers, &mut visitor).unwrap();
        parts.push(part);
    }
    parts
}

/// Says that a test didn't run: on standard error, and in the file that `scripts/test` prints at
/// its end, because nobody sees what a passing test says.
#[expect(clippy::print_stderr, reason = "a test that didn't run must not look as if it had")]
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    if let Some(path) = std::env::var_os("INQUEUE_TESTS_SKIPPED") {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("skipped: {test}: {why}\n").as_bytes()).unwrap();
    }
}

/// A script of `tests/readers`.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers").join(name)
}

/// What a script of `tests/readers` prints; none where there is no Python, after saying so.
///
/// It is the test's failure where the script itself fails.
pub(crate) fn python<A: AsRef<std::ffi::OsStr>>(
    test: &str,
    name: &str,
    arguments: &[A],
) -> Option<String> {
    let run = Command::new("python3").arg("-B").arg(script(name)).args(arguments).output();
    let Ok(output) = run else {
        skipped(test, "python3 isn't installed");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}
