//! What many tests need: a queue made by inqueue-gen, the real binary, and the streams that it
//! wrote.

use inqueue_gen::{Format, Mix, Options};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The clock of all runs here, which is that of the generator's manifests.
pub(crate) const NOW: &str = "2026-01-02T03:04:05Z";

/// A generated queue, in a folder that goes with it.
pub(crate) struct Queue {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) format: Format,
}

impl Queue {
    pub(crate) fn new(format: Format, messages: u64, hazards: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hazards = Mix::parse(hazards).unwrap();
        let options = Options { messages, format, hazards, ..Options::default() };
        inqueue_gen::generate(&options, &folder.path().join("made")).unwrap();
        Self { folder, format }
    }

    pub(crate) fn made(&self) -> PathBuf {
        self.folder.path().join("made")
    }

    /// The queue as it is named on the command line.
    pub(crate) fn spec(&self) -> String {
        format!("{}:{}", self.format.name(), self.made().join(self.format.queue()).display())
    }

    /// A run of this queue into the folder `out`, with all it needs but further options.
    pub(crate) fn command(&self, out: &str) -> Command {
        let mut command = inqueue();
        command.args(["run", &self.spec(), "--now", NOW, "--hostname", "mta.example", "--json"]);
        command.arg("--directory").arg(self.made().join("directory.txt"));
        command.arg("--out").arg(self.out(out));
        command
    }

    pub(crate) fn out(&self, out: &str) -> PathBuf {
        self.folder.path().join(out)
    }

    /// Runs it to its end; gives what it says.
    pub(crate) fn run(&self, out: &str, options: &[&str]) -> serde_json::Value {
        let output = self.command(out).args(options).output().unwrap();
        assert_done(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Audits a run, against the manifest too; it must be clean.
    pub(crate) fn assert_clean(&self, out: &str) -> serde_json::Value {
        let manifest = self.made().join("manifest.jsonl");
        let report = audit(&self.out(out), Some(&manifest));
        assert_eq!(report["lost"], 0, "{report:#}");
        assert_eq!(report["doubled"], 0, "{report:#}");
        assert_eq!(report["wrong"], 0, "{report:#}");
        assert_eq!(report["parts_uncommitted"], 0, "{report:#}");
        report
    }
}

/// The binary under test.
pub(crate) fn inqueue() -> Command {
    Command::new(env!("CARGO_BIN_EXE_inqueue"))
}

/// Exit code 0, or 3 where something was quarantined.
pub(crate) fn assert_done(output: &Output) {
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{:?}: {}", output.status, text(&output.stderr));
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command writes to standard error, each write by itself: it goes to a socket of datagrams.
pub(crate) fn told_by_writes(command: &mut Command) -> Vec<String> {
    let (hear, tell) = UnixDatagram::pair().unwrap();
    command.stderr(OwnedFd::from(tell)).stdout(Stdio::null()).status().unwrap();
    hear.set_nonblocking(true).unwrap();
    let mut datagram = vec![0; 1 << 16];
    std::iter::from_fn(|| hear.recv(&mut datagram).ok().map(|length| text(&datagram[..length])))
        .collect()
}

/// What an audit says.
pub(crate) fn audit(run: &Path, expect: Option<&Path>) -> serde_json::Value {
    let mut command = inqueue();
    command.arg("audit").arg(run).arg("--json");
    if let Some(expect) = expect {
        command.arg("--expect").arg(expect);
    }
    let output = command.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    let clean = ["lost", "doubled", "wrong"].iter().all(|kind| report[kind] == 0);
    assert_eq!(output.status.code(), Some(i32::from(!clean)));
    report
}

pub(crate) const STREAMS: [&str; 6] =
    ["accepted", "ndr", "deferred", "dead-letter", "quarantine", "events"];

/// All bytes of all streams of a run, by file.
pub(crate) fn streams(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for stream in STREAMS {
        for entry in std::fs::read_dir(run.join(stream)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{stream}/{}", path.file_name().unwrap().to_string_lossy());
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
    files
}

/// Two runs have written the same bytes.
pub(crate) fn assert_same_streams(one: &Path, other: &Path) {
    let (one, other) = (streams(one), streams(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (name, bytes) in &one {
        assert!(other[name] == *bytes, "{name} differs");
    }
}

/// All events of a run, in order.
pub(crate) fn events(run: &Path) -> Vec<serde_json::Value> {
    let files = streams(run);
    let lines = files.iter().filter(|(name, _)| name.starts_with("events/"));
    lines
        .flat_map(|(_, bytes)| bytes.split(|b| *b == b'\n'))
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// A message of a stream, read by the library: what it carries, without the places that depend on
/// how the stream is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) envelope: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

/// All messages of a stream, in order.
pub(crate) fn messages(run: &Path, stream: &str) -> Vec<Read> {
    use inqueue::queue::{Framed, segment};
    let mut all = Vec::new();
    for (name, bytes) in streams(run) {
        if !name.starts_with(&format!("{stream}/")) {
            continue;
        }
        for framed in segment::read::frame(&bytes, 0..bytes.len() as u64) {
            let Framed::Message(found) = framed else { panic!("damage in {name}: {framed:?}") };
            let (envelope, content) = (found.head.to_vec(), found.content.raw().to_vec());
            all.push(Read { envelope, content });
        }
    }
    all
}
