//! The power fails for real, as far as a file system can tell: it is shut down in the middle of a
//! run, without writing what it holds, and mounted again. Root alone can do that.

use crate::crash::Numbers;
use crate::readers::skipped;
use crate::support::{NOW, Queue, assert_done, assert_same_streams, audit, inqueue, text};
use inqueue_gen::Format;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system in a file, mounted; unmounted when it is dropped.
struct Device {
    image: PathBuf,
    place: PathBuf,
}

impl Device {
    /// `None` where this isn't allowed, or a program is missing.
    fn make(folder: &Path, kind: &str) -> Option<Self> {
        let device = Self { image: folder.join("image"), place: folder.join("mounted") };
        let file = std::fs::File::create(&device.image).unwrap();
        file.set_len(if kind == "xfs" { 320 << 20 } else { 96 << 20 }).unwrap();
        std::fs::create_dir(&device.place).unwrap();
        let quiet = |command: &mut Command| {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let made = quiet(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&device.image));
        let can = made && quiet(Command::new("xfs_io").arg("-V")) && device.mount();
        can.then_some(device)
    }

    fn mount(&self) -> bool {
        let mut command = Command::new("mount");
        command.args(["-o", "loop"]).arg(&self.image).arg(&self.place);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// What isn't on the disk now is lost.
    fn fail(&self) {
        let mut command = Command::new("xfs_io");
        let status = command.args(["-x", "-c", "shutdown"]).arg(&self.place).status();
        assert!(status.unwrap().success());
    }

    fn unmount(&self) -> bool {
        let mut command = Command::new("umount");
        command.arg(&self.place).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// The machine comes up again.
    fn come_back(&self) {
        while !self.unmount() {
            std::thread::yield_now();
        }
        assert!(self.mount());
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn run(queue: &str, directory: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = inqueue();
    command.args(["run", queue, "--now", NOW, "--hostname", "mta.example", "--quiet"]);
    command.arg("--directory").arg(directory).arg("--out").arg(out).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Runs until the power fails at a random moment, brings the machine up again, and so on, until a
/// run comes to its end; gives how often the power failed.
fn fail_often(device: &Device, command: &dyn Fn() -> Command, numbers: &mut Numbers) -> u32 {
    let mut failures = 0;
    loop {
        let mut child = command().spawn().unwrap();
        // The moment is random, so it has to be waited for; nothing depends on where it falls.
        std::thread::sleep(std::time::Duration::from_micros(numbers.next() % 300_000));
        if failures == 12 || child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            assert_done(&output);
            return failures;
        }
        device.fail();
        failures += 1;
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert!(said.lines().all(|line| line.starts_with("inqueue: ")), "{said}");
        device.come_back();
    }
}

fn is_clean(run: &Path) {
    let report = audit(run, None);
    assert_eq!(["lost", "doubled", "wrong"].map(|kind| report[kind].as_u64()), [Some(0); 3]);
}

fn survives(name: &str, kind: &str) {
    let queue = Queue::new(Format::Segment, 3_000, "all");
    let Some(device) = Device::make(queue.folder.path(), kind) else {
        return skipped(name, "only root can have file systems fail, with xfs_io and mkfs");
    };
    let directory = queue.made().join("directory.txt");
    assert_done(
        &run(&queue.spec(), &directory, &queue.out("whole"), &["--part-size", "64K"])
            .output()
            .unwrap(),
    );
    let out = device.place.join("run");
    let command = || run(&queue.spec(), &directory, &out, &["--part-size", "64K"]);
    let mut numbers = Numbers(11);
    let mut failures = 0;
    for _ in 0..3 {
        failures += fail_often(&device, &command, &mut numbers);
        assert_same_streams(&queue.out("whole"), &out);
        is_clean(&out);
        std::fs::remove_dir_all(&out).unwrap();
    }
    assert!(failures > 0);
}

#[test]
fn a_run_on_ext4_survives_real_power_failures() {
    survives("a_run_on_ext4_survives_real_power_failures", "ext4");
}

#[test]
fn a_run_on_xfs_survives_real_power_failures() {
    survives("a_run_on_xfs_survives_real_power_failures", "xfs");
}
