//! `inqueue run` by its behaviour: the same bytes at any number of workers, the same mail at any
//! size of parts, going on, refusing, and clear errors that leave nothing behind that looks
//! finished.

use crate::support::{
    NOW, Queue, STREAMS, assert_done, assert_same_streams, audit, events, inqueue, messages,
    streams, text,
};
use inqueue_gen::Format;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

const FORMATS: [Format; 4] = [Format::Segment, Format::Mbox, Format::Maildir, Format::Eml];

#[test]
fn every_format_with_all_hazards_ends_as_its_manifest_says() {
    for format in FORMATS.into_iter().chain([Format::PostOffice]) {
        let queue = Queue::new(format, 3_000, "all");
        let said = queue.run("run", &["--part-size", "1M"]);
        let report = queue.assert_clean("run");
        assert_eq!(report["expected"], 3_000, "{}", format.name());
        assert_eq!(report["counts"], said["counts"]);
        assert_eq!(said["finished"], true);
    }
}

#[test]
fn streams_are_the_same_bytes_at_1_2_3_and_7_workers() {
    for format in [Format::Segment, Format::Mbox, Format::Maildir] {
        let queue = Queue::new(format, 2_000, "all");
        for size in ["64K", "256K", "8M"] {
            let name = |workers: &str| format!("run-{size}-{workers}");
            for workers in ["1", "2", "3", "7"] {
                queue.run(&name(workers), &["--workers", workers, "--part-size", size]);
                assert_same_streams(&queue.out(&name("1")), &queue.out(&name(workers)));
            }
            queue.assert_clean(&name("7"));
        }
    }
}

#[test]
fn the_size_of_parts_cuts_streams_otherwise_and_changes_nothing_in_them() {
    let queue = Queue::new(Format::Mbox, 2_000, "all");
    let sizes = ["1000", "64K", "300K", "1G"];
    for size in sizes {
        queue.run(size, &["--part-size", size]);
    }
    let last = queue.out("1G");
    assert!(streams(&queue.out("64K")).len() > streams(&last).len());
    for size in sizes {
        for stream in STREAMS.iter().filter(|stream| **stream != "events") {
            let (one, other) = (messages(&queue.out(size), stream), messages(&last, stream));
            assert!(one == other, "{stream} at {size}");
        }
        assert_eq!(events(&queue.out(size)), events(&last), "{size}");
    }
}

#[test]
fn several_queues_are_one_run_in_their_order() {
    let (one, other) =
        (Queue::new(Format::Mbox, 50, "none"), Queue::new(Format::Segment, 70, "none"));
    let output = one.command("run").arg(other.spec()).output().unwrap();
    assert_done(&output);
    assert_eq!(audit(&one.out("run"), None)["messages"], 120);
}

#[test]
fn a_run_reads_the_streams_of_another() {
    let queue = Queue::new(Format::Segment, 500, "full-mailbag=0.5,unknown-recipient=0.5");
    queue.run("first", &[]);
    let directory = queue.made().join("directory.txt");
    for (stream, out) in [("deferred", "second"), ("ndr", "third"), ("dead-letter", "fourth")] {
        let output = inqueue()
            .arg("run")
            .arg(queue.out("first").join(stream))
            .args(["--now", "2026-01-02T09:00:00Z", "--json", "--directory"])
            .arg(&directory)
            .arg("--out")
            .arg(queue.out(out))
            .output()
            .unwrap();
        assert_done(&output);
        let report = audit(&queue.out(out), None);
        assert_eq!([&report["lost"], &report["wrong"]], [0, 0], "{stream}: {report:#}");
        let records = messages(&queue.out("first"), stream).len();
        assert_eq!(report["messages"], records, "{stream}");
        // Nothing is ever reported about a report.
        assert!(stream != "ndr" || report["counts"]["reports"] == 0);
    }
}

#[test]
fn an_empty_queue_is_done_with_no_messages() {
    for format in FORMATS {
        let queue = Queue::new(format, 0, "none");
        let output = queue.command("run").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["counts"]["messages"], 0);
        assert_eq!(said["finished"], true);
        queue.assert_clean("run");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::write(folder.path().join("users"), "").unwrap();
    let output = plain_run(folder.path(), "empty", "users", "run");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("0 messages"));
}

fn plain_run(folder: &Path, queue: &str, directory: &str, out: &str) -> std::process::Output {
    let mut command = inqueue();
    command.current_dir(folder).args(["run", queue, "--directory", directory, "--out", out]);
    command.output().unwrap()
}

#[test]
fn a_finished_run_is_not_done_again() {
    let queue = Queue::new(Format::Mbox, 300, "all");
    let first = queue.run("run", &["--part-size", "64K"]);
    let before = streams(&queue.out("run"));
    let second = queue.run("run", &[]);
    assert_eq!(second["parts_resumed"], second["parts"]);
    assert_eq!(second["counts"], first["counts"]);
    assert_eq!(streams(&queue.out("run")), before);
}

#[test]
fn a_run_goes_on_with_what_is_not_committed() {
    let queue = Queue::new(Format::Segment, 1_000, "all");
    queue.run("whole", &["--part-size", "256K"]);
    // One worker commits the parts in their order: the third part's files are then nobody's.
    queue.run("run", &["--part-size", "256K", "--workers", "1"]);
    let run = queue.out("run");
    // As if it had been killed after two commits, in the middle of writing the third.
    let log = fs::read(run.join("commits")).unwrap();
    let ends: Vec<_> = (0..log.len()).filter(|at| log[*at] == b'\n').collect();
    fs::write(run.join("commits"), &log[..ends[1] + 1 + 30]).unwrap();
    fs::remove_file(run.join("summary.json")).unwrap();
    fs::write(run.join("accepted/00002.seg"), "half written").unwrap();
    fs::write(run.join("ndr/00099.seg"), "of no part").unwrap();
    let report = audit(&run, None);
    assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report:#}");
    assert!(report["parts_uncommitted"].as_u64().unwrap() > 0);
    // Clock, name and part size are taken from the plan where they aren't given.
    let output = inqueue()
        .args(["run", &queue.spec(), "--json", "--directory"])
        .arg(queue.made().join("directory.txt"))
        .arg("--out")
        .arg(&run)
        .output()
        .unwrap();
    assert_done(&output);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["parts_resumed"], 2);
    assert_same_streams(&queue.out("whole"), &run);
    queue.assert_clean("run");
}

/// A plan whose parts leave something out, or have it twice, is refused: mail would be lost.
#[test]
fn a_plan_whose_parts_do_not_follow_each_other_is_refused() {
    for format in [Format::Mbox, Format::Maildir] {
        let queue = Queue::new(format, 200, "none");
        queue.run("whole", &["--part-size", "64K"]);
        let plan = fs::read(queue.out("whole").join("plan.json")).unwrap();
        let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
        let kind = if format == Format::Mbox { "bytes" } else { "files" };
        let start = usize::from(format == Format::Mbox);
        let of = |part: usize, at: usize| plan["parts"][part]["span"][kind][at].as_u64().unwrap();
        let (second_start, second_end) = (of(1, start), of(1, start + 1));
        for (member, at, value) in [
            ("start", start, second_start + 1),
            ("start", start, second_start - 1),
            ("end", start + 1, second_start - 1),
            ("end", start + 1, second_end - 1),
        ] {
            let run = queue.out("altered");
            fs::create_dir(&run).unwrap();
            let mut altered = plan.clone();
            altered["parts"][1]["span"][kind][at] = value.into();
            fs::write(run.join("plan.json"), altered.to_string()).unwrap();
            fs::write(run.join("commits"), "").unwrap();
            let output = queue.command("altered").output().unwrap();
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{member} {value}: {told}");
            assert!(told.contains("doesn't begin where the one before it ends"), "{told}");
            assert!(
                !run.join("accepted").exists() && fs::read(run.join("commits")).unwrap() == b""
            );
            fs::remove_dir_all(&run).unwrap();
        }
    }
}

/// The plan says which program began the run. Any other may go on: it says so where its bytes may
/// be others; a plan of before that was written down says nothing.
#[test]
fn a_run_that_another_program_began_goes_on_and_says_so() {
    let queue = Queue::new(Format::Mbox, 200, "mixed-outcomes=0.2");
    queue.run("whole", &["--part-size", "64K"]);
    let plan = fs::read(queue.out("whole").join("plan.json")).unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
    let own = &plan["program"];
    assert_eq!(own["version"], env!("CARGO_PKG_VERSION"));
    let features: &[&str] =
        if cfg!(feature = "fault-injection") { &["fault-injection"] } else { &[] };
    assert_eq!(own["features"], serde_json::json!(features));
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let target = format!("{}-linux", std::env::consts::ARCH);
    assert_eq!((&own["build"], &own["target"]), (&build.into(), &target.as_str().into()));
    let text_of = |version: &str| format!("{version} (tuned, {target}");
    for (member, value, is_told) in [
        ("version", Some("0.0.1"), true),
        ("features", Some("turbo"), true),
        ("build", Some("tuned"), false),
        ("target", Some("pdp11-unix"), false),
        ("program", None, false),
    ] {
        let out = queue.out(member);
        let mut other = plan.clone();
        match value {
            Some(value) if member == "features" => {
                other["program"][member] = serde_json::json!([value]);
            }
            Some(value) => other["program"][member] = value.into(),
            None => drop(other.as_object_mut().unwrap().remove(member)),
        }
        if member == "version" {
            other["program"]["build"] = "tuned".into();
        }
        fs::create_dir(&out).unwrap();
        let other = serde_json::to_vec(&other).unwrap();
        fs::write(out.join("plan.json"), &other).unwrap();
        fs::write(out.join("commits"), "").unwrap();
        let output = queue.command(member).output().unwrap();
        assert_done(&output);
        let told = text(&output.stderr);
        assert_eq!(told.lines().count(), usize::from(is_told), "{member}: {told}");
        assert_eq!(told.contains(&format!("begun by {}", text_of("0.0.1"))), member == "version");
        assert!(fs::read(out.join("plan.json")).unwrap() == other, "{member}: the plan changed");
        assert_same_streams(&queue.out("whole"), &out);
        let again = queue.command(member).arg("--quiet").output().unwrap();
        assert_eq!(text(&again.stderr), "", "{member}");
    }
}

#[test]
fn other_options_and_another_queue_are_refused_by_name() {
    let queue = Queue::new(Format::Mbox, 100, "none");
    queue.run("run", &[]);
    let before = streams(&queue.out("run"));
    let refused = |command: &mut std::process::Command, expect: &str| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{expect}");
        assert!(text(&output.stderr).contains(expect), "{expect}: {}", text(&output.stderr));
    };
    refused(queue.command("run").args(["--remote", "fail"]), "--remote");
    refused(queue.command("run").args(["--part-size", "9M"]), "--part-size");
    refused(queue.command("run").args(["--hops", "5"]), "--hops");
    refused(queue.command("run").args(["--recipients", "to"]), "--recipients");
    refused(queue.command("run").args(["--lifetime", "1d"]), "--lifetime");
    refused(queue.command("run").arg(queue.spec()), "queues");
    let directory = queue.made().join("directory.txt");
    let text_before = fs::read_to_string(&directory).unwrap();
    fs::write(&directory, format!("{text_before}\n# more\n")).unwrap();
    refused(&mut queue.command("run"), "directory");
    fs::write(&directory, text_before).unwrap();
    let mbox = queue.made().join("queue.mbox");
    let mut content = fs::read(&mbox).unwrap();
    content.extend_from_slice(b"\nFrom a@b Thu Jan  1 00:00:00 1970\n\nmore\n");
    fs::write(&mbox, content).unwrap();
    refused(&mut queue.command("run"), "files of");
    assert_eq!(streams(&queue.out("run")), before);
}

#[test]
fn a_folder_of_files_that_changed_is_refused() {
    let queue = Queue::new(Format::Maildir, 50, "none");
    queue.run("run", &[]);
    fs::write(queue.made().join("queue/new/zzz.another"), "To: a@b\n\nlate\n").unwrap();
    let output = queue.command("run").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("list of files"), "{}", text(&output.stderr));
}

#[test]
fn a_second_process_is_kept_out() {
    let queue = Queue::new(Format::Mbox, 10, "none");
    queue.run("run", &[]);
    let lock = fs::File::open(queue.out("run").join("lock")).unwrap();
    lock.lock().unwrap();
    let output = queue.command("run").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another process works on this run"));
}

#[test]
fn bad_input_has_a_clear_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("queue"), "From a@b Thu Jan  1 00:00:00 1970\nTo: a@b\n\nhi\n").unwrap();
    fs::write(at.join("users"), "a@b\n").unwrap();
    fs::write(at.join("bad-users"), "a@b\n@c relay\nnot an address\n").unwrap();
    fs::write(at.join("binary"), b"\x7fELF\0\0\0").unwrap();
    fs::create_dir(at.join("occupied")).unwrap();
    fs::write(at.join("occupied/file"), "mine").unwrap();
    let check = |queue: &str, directory: &str, out: &str, expect: &[&str]| {
        let output = plain_run(at, queue, directory, out);
        assert_eq!(output.status.code(), Some(1), "{queue} {directory} {out}");
        let said = text(&output.stderr);
        for part in expect {
            assert!(said.contains(part), "{said} should have {part:?}");
        }
        assert!(output.stdout.is_empty());
        assert!(out == "occupied" || !at.join(out).exists(), "{out} was made");
    };
    check("missing", "users", "run", &["missing", "cannot open the queue"]);
    check("segment:queue/no", "users", "run", &["cannot open the queue"]);
    check("binary", "users", "run", &["binary", "cannot tell the format"]);
    check("queue", "missing", "run", &["missing"]);
    check("queue", "bad-users", "run", &["bad-users:3:1"]);
    check("queue", "users", "occupied", &["occupied", "not the folder of a run"]);
    assert_eq!(fs::read_to_string(at.join("occupied/file")).unwrap(), "mine");
    assert!(std::process::Command::new("mkfifo").arg(at.join("pipe")).status().unwrap().success());
    check("mbox:pipe", "users", "run", &["neither a file nor a folder"]);
    let on_a_file = plain_run(at, "queue", "users", "users");
    assert!(text(&on_a_file.stderr).contains("not the folder of a run"));
    check("mbox:occupied", "users", "run", &["occupied"]);
    check("eml:occupied", "users", "occupied/run", &["lies within the queue"]);
    let twice = inqueue()
        .current_dir(at)
        .args(["run", "queue", "./queue", "--directory", "users", "--out", "run"])
        .output()
        .unwrap();
    assert!(text(&twice.stderr).contains("named twice"), "{}", text(&twice.stderr));
    for options in
        [["--workers", "0"], ["--now", "yesterday"], ["--part-size", "-1"], ["--hostname", "a b"]]
    {
        let output = inqueue()
            .current_dir(at)
            .args(["run", "queue", "--directory", "users", "--out", "run"])
            .args(options)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(!at.join("run").exists());
    }
    let output = inqueue().args(["audit", "queue"]).current_dir(at).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not the folder of a run"), "{}", text(&output.stderr));
}

#[test]
fn a_queue_that_changes_under_the_run_stops_it() {
    let queue = Queue::new(Format::Maildir, 40, "none");
    queue.run("whole", &["--part-size", "4K"]);
    // The plan stands and nothing is committed yet; then one file changes.
    let run = queue.out("whole");
    fs::write(run.join("commits"), "").unwrap();
    fs::remove_file(run.join("summary.json")).unwrap();
    let folder = queue.made().join("queue/new");
    let victim = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let content = fs::read(&victim).unwrap();
    fs::write(&victim, [&content[..], b"more"].concat()).unwrap();
    let output = queue.command("whole").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("list of files"), "{}", text(&output.stderr));
    assert!(!run.join("summary.json").exists());
}

#[test]
fn quiet_says_nothing_and_the_exit_code_tells_of_quarantine() {
    let queue = Queue::new(Format::Segment, 200, "corrupt-message=0.2");
    let mut command = inqueue();
    command.args(["run", &queue.spec(), "--quiet", "--now", NOW, "--directory"]);
    command.arg(queue.made().join("directory.txt")).arg("--out").arg(queue.out("run"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), String::new()));
    queue.assert_clean("run");
    let clean = Queue::new(Format::Segment, 20, "none");
    assert_eq!(clean.command("run").output().unwrap().status.code(), Some(0));
}

#[test]
fn a_queue_behind_a_link_is_run_and_audited() {
    let queue = Queue::new(Format::Mbox, 50, "none");
    let link = queue.out("link");
    std::os::unix::fs::symlink(queue.made().join("queue.mbox"), &link).unwrap();
    for _ in 0..2 {
        let mut command = inqueue();
        command.arg("run").arg(&link).args(["--json", "--now", NOW, "--directory"]);
        command.arg(queue.made().join("directory.txt")).arg("--out").arg(queue.out("run"));
        assert_done(&command.output().unwrap());
        let report = audit(&queue.out("run"), None);
        assert_eq!([&report["messages"], &report["wrong"]], [50, 0], "{report:#}");
    }
}

/// The same record twice in a segment: both are served, and no event of one has the other's id.
#[test]
fn messages_that_are_the_same_keep_apart() {
    let queue = Queue::new(Format::Segment, 100, "unknown-recipient=0.5");
    queue.run("first", &["--part-size", "1G"]);
    let directory = queue.made().join("directory.txt");
    let folder = queue.out("doubled");
    fs::create_dir(&folder).unwrap();
    let stream = fs::read(queue.out("first/accepted/00000.seg")).unwrap();
    let copied = inqueue::queue::segment::read::frame(&stream, 0..stream.len() as u64).count();
    let mut twice = stream.clone();
    for mut record in crate::audit::records(&stream) {
        record[8..16].copy_from_slice(&(twice.len() as u64).to_le_bytes());
        let checksum = crc32c::crc32c(&record[..52]).to_le_bytes();
        record[52..56].copy_from_slice(&checksum);
        twice.extend_from_slice(&record);
    }
    fs::write(folder.join("1.seg"), &twice).unwrap();
    let output = inqueue()
        .arg("run")
        .arg(&folder)
        .args(["--part-size", "1G", "--now", NOW, "--json", "--directory"])
        .arg(&directory)
        .arg("--out")
        .arg(queue.out("second"))
        .output()
        .unwrap();
    assert_done(&output);
    let report = audit(&queue.out("second"), None);
    assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report:#}");
    assert_eq!(report["messages"], 2 * copied);
    let told = events(&queue.out("second"));
    let ids: std::collections::HashSet<_> = told.iter().map(|e| e["id"].to_string()).collect();
    assert_eq!(ids.len(), told.len());
}

#[test]
fn events_are_exported_in_queue_order() {
    let queue = Queue::new(Format::Segment, 500, "all");
    queue.run("run", &["--part-size", "64K", "--workers", "3"]);
    let run = queue.out("run");
    let export = |to: &str| {
        let to = format!("jsonl:{}", queue.out(to).display());
        inqueue().arg("events").arg(&run).args(["--to", &to]).output().unwrap()
    };
    let output = export("events.jsonl");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let parts = streams(&run);
    let expect: Vec<u8> = parts
        .iter()
        .filter(|(name, _)| name.starts_with("events/"))
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    assert_eq!(fs::read(queue.out("events.jsonl")).unwrap(), expect);
    let again = export("events.jsonl");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists already"), "{}", text(&again.stderr));
    let name = parts.keys().find(|name| name.starts_with("events/")).unwrap();
    fs::write(run.join(name), text(&parts[name]).replacen("2444", "2445", 1)).unwrap();
    let altered = export("altered.jsonl");
    assert_eq!(altered.status.code(), Some(1));
    assert!(text(&altered.stderr).contains("not as the commit log has it"));
    assert!(!queue.out("altered.jsonl").exists());
    let output = inqueue().arg("events").arg(&run).args(["--to", "xml:x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// A message of a GiB between two small ones: carried to the last byte, and never held in memory.
#[test]
fn a_message_of_a_gib_is_carried() {
    const GIB: u64 = 1 << 30;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("users"), "a@b.example\n").unwrap();
    let head = b"From x@y Fri Jan  2 03:04:05 2026\nTo: a@b.example\n\n";
    let mut mbox = fs::File::create(at.join("queue.mbox")).unwrap();
    mbox.write_all(&[&head[..], b"before\n\n", head].concat()).unwrap();
    // A hole: NUL bytes that take no room.
    mbox.seek(SeekFrom::Current(i64::try_from(GIB).unwrap())).unwrap();
    mbox.write_all(&[&b"\n\n"[..], head, b"behind\n"].concat()).unwrap();
    for size in ["1M", "256M"] {
        let mut command = inqueue();
        command.current_dir(at).args(["run", "queue.mbox", "--directory", "users", "--out", size]);
        command.args(["--part-size", size, "--now", NOW, "--sync", "never", "--quiet"]);
        assert_done(&command.output().unwrap());
        let mut sizes = Vec::new();
        let mut sum = 0;
        for entry in fs::read_dir(at.join(size).join("accepted")).unwrap() {
            sizes.push(entry.unwrap().metadata().unwrap().len());
            sum += sizes[sizes.len() - 1];
        }
        assert!(sum > GIB && sum < GIB + 4_000, "{sizes:?}");
        let report = audit(&at.join(size), None);
        assert_eq!(report["messages"], 3);
        assert_eq!(
            [&report["lost"], &report["doubled"], &report["wrong"]],
            [0, 0, 0],
            "{report:#}"
        );
        fs::remove_dir_all(at.join(size)).unwrap();
    }
}
