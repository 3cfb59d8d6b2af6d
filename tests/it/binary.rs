//! The real binary, run on queues that `inqueue-gen` made: what the tests of commands share.

use inqueue_gen::{Format, Mix, Options};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) const FORMATS: [Format; 4] =
    [Format::Segment, Format::Mbox, Format::Maildir, Format::Eml];

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) errors: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let errors = String::from_utf8(output.stderr).unwrap();
        Self { code: output.status.code(), out: output.stdout, errors }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// Standard output as JSON Lines.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let lines = self.out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inqueue"));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn inqueue(arguments: &[&str]) -> Said {
    Said::of(command(arguments).output().unwrap())
}

/// Runs it, and expects an end with this code and one line of errors that holds a text.
pub(crate) fn fails(arguments: &[&str], code: i32, text: &str) {
    let said = inqueue(arguments);
    assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
    assert!(said.errors.contains(text), "{arguments:?}: {}", said.errors);
    if code == 1 {
        assert!(said.errors.starts_with("inqueue: "), "{}", said.errors);
        assert_eq!(said.errors.matches('\n').count(), 1, "{}", said.errors);
    }
    assert_eq!(said.text(), "", "{arguments:?}");
}

/// A folder for a test, and the names in it.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `kind:PATH` of a name.
    pub(crate) fn spec(&self, kind: &str, name: &str) -> String {
        format!("{kind}:{}", self.text(name))
    }

    /// Names in it, sorted.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// How a target of this format is read for certain: detection may be misled by contents.
pub(crate) const fn kind(format: Format) -> &'static str {
    match format {
        Format::Segment => "segment",
        Format::Mbox => "mboxrd",
        Format::Maildir => "maildir",
        Format::Eml => "eml",
        Format::PostOffice => "postoffice",
    }
}

/// Makes a queue with every hazard that its format carries, in even shares, and none that needs
/// much room; gives its place and its manifest's lines.
pub(crate) fn generate(folder: &Path, format: Format, messages: u64) -> (String, Vec<Value>) {
    let list = inqueue_gen::list_hazards();
    // Columns: name, share, per cent sign, which formats carry it (`any`, `envelope`, `not mbox`).
    let names: Vec<&str> = list
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| match columns[3] {
            "envelope" => matches!(format, Format::Segment | Format::PostOffice),
            "not" => format != Format::Mbox,
            carry => carry == "any",
        })
        .map(|columns| columns[0])
        .filter(|name| !name.starts_with("fault-") && *name != "huge-recipient-list")
        .collect();
    // Half of the messages have none.
    let share = 0.5 / f64::from(u32::try_from(names.len()).unwrap());
    let mix: Vec<String> = names.iter().map(|name| format!("{name}={share:.6}")).collect();
    let hazards = Mix::parse(&mix.join(",")).unwrap();
    let options = Options { format, messages, hazards, size_mean: 1_500, ..Options::default() };
    inqueue_gen::generate(&options, folder).unwrap();
    let name = match format {
        Format::Segment => "queue.seg",
        Format::Mbox => "queue.mbox",
        Format::Maildir | Format::Eml | Format::PostOffice => "queue",
    };
    let manifest = fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    let lines = manifest.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    (format!("{}:{}", kind(format), folder.join(name).display()), lines)
}
