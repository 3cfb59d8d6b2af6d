//! A disk that fills up: the run stops and says so, what is committed is kept, and with room again
//! it goes on to the same end.

use crate::readers::skipped;
use crate::support::{NOW, Queue, assert_same_streams, audit, text};
use inqueue_gen::Format;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a queue into a small file system in memory, in name spaces of its own; then gives it room
/// and runs it again. What has become of the run is copied to `result`.
const SCRIPT: &str = r#"
set -u
mount -t tmpfs -o size=6m none "$FOLDER" || exit 77
run() {
    "$INQUEUE" run "$QUEUE" --directory "$DIRECTORY" --out "$FOLDER/run" \
        --now "$NOW" --hostname mta.example --part-size 1M --quiet
}
run
echo "first $?"
ls "$FOLDER/run"
"$INQUEUE" audit "$FOLDER/run"
mount -o remount,size=64m "$FOLDER"
run
echo "second $?"
cp -r "$FOLDER/run" "$RESULT"
"#;

fn in_small_space(queue: &Queue, folder: &Path, result: &Path) -> Output {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT])
        .env("FOLDER", folder)
        .env("RESULT", result)
        .env("INQUEUE", env!("CARGO_BIN_EXE_inqueue"))
        .env("QUEUE", queue.spec())
        .env("DIRECTORY", queue.made().join("directory.txt"))
        .env("NOW", NOW)
        .output()
        .unwrap()
}

#[test]
fn a_full_disk_stops_the_run_and_with_room_it_goes_on() {
    let name = "a_full_disk_stops_the_run_and_with_room_it_goes_on";
    let probe =
        Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return skipped(name, "this system gives no name spaces");
    }
    let queue = Queue::new(Format::Segment, 3_000, "all");
    queue.run("whole", &["--part-size", "1M"]);
    let folder = queue.out("space");
    std::fs::create_dir(&folder).unwrap();
    let result = queue.out("result");
    let output = in_small_space(&queue, &folder, &result);
    if output.status.code() == Some(77) {
        return skipped(name, "this system gives no file system in memory");
    }
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("first 1\n"), "{said}{errors}");
    assert!(errors.contains("No space left on device"), "{errors}");
    assert!(errors.contains("run it again to go on"), "{errors}");
    assert!(!said.contains("summary.json"), "{said}");
    assert!(said.contains("parts are not committed"), "{said}");
    assert!(said.contains("lost 0, doubled 0, wrong 0"), "{said}");
    assert!(said.contains("second 3\n"), "{said}{errors}");
    assert_same_streams(&queue.out("whole"), &result);
    let report = audit(&result, None);
    assert_eq!([&report["lost"], &report["doubled"], &report["wrong"]], [0, 0, 0], "{report:#}");
}
