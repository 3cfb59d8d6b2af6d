//! The log of a simulated process (`src/engine/schedule/simulation.rs`): a line for each point,
//! with the seat of the thread; bytes that are written stand behind their line. Not here: what a
//! disk makes of it (`power/disk.rs`).

use crate::power::disk::Disk;
use crate::power::trace::Op;

/// A point: its line, and what it writes.
type Point<'l> = (&'l str, &'l [u8]);

/// All points, in order.
fn points(log: &[u8]) -> Vec<Point<'_>> {
    let mut points = Vec::new();
    let mut rest = log;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end + 1..];
        let mut bytes: &[u8] = &[];
        let mut words = line.split(' ').skip(1);
        if words.next() == Some("write") {
            let length: usize = words.next().unwrap().parse().unwrap();
            bytes = &rest[..length];
            assert_eq!(rest[length], b'\n');
            rest = &rest[length + 1..];
        }
        points.push((line, bytes));
    }
    assert!(rest.is_empty(), "the log is whole");
    points
}

/// Who has passed what, in order.
pub(super) fn order(log: &[u8]) -> Vec<&str> {
    points(log).into_iter().map(|(line, _)| line).collect()
}

/// Does to a disk what a process has done.
pub(super) fn apply(log: &[u8], disk: &mut Disk) {
    let mut done = 0;
    let mut apply = |op: Op| {
        disk.apply(&op);
        done += 1;
        done
    };
    for (handle, (line, bytes)) in points(log).into_iter().enumerate() {
        let mut words = line.splitn(3, ' ').skip(1);
        let (what, rest) = (words.next().unwrap(), words.next().unwrap_or_default());
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut open = |path: &str, create, truncate| {
            apply(Op::Open { handle, path: path.to_owned(), create, truncate })
        };
        match what {
            "create" => _ = open(rest, true, true),
            "append" => _ = open(rest, true, false),
            "write" => {
                open(second, false, false);
                apply(Op::Write { handle, at: None, bytes: bytes.to_vec() });
            }
            "length" => {
                open(second, false, false);
                apply(Op::SetLength { handle, length: first.parse().unwrap() });
            }
            "sync" => {
                // All before it has ended: no two do anything at once.
                let since = open(rest, false, false);
                apply(Op::Sync { handle, since });
            }
            "sync-all" => {
                let since = open(first, false, false);
                apply(Op::SyncAll { since });
            }
            "folder" => _ = apply(Op::MakeFolder { path: rest.to_owned() }),
            "rename" => _ = apply(Op::Rename { from: first.to_owned(), to: second.to_owned() }),
            "remove" => _ = apply(Op::Remove { path: rest.to_owned() }),
            _ => {}
        }
    }
}
