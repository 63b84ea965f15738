//! A full and a read-only disk, with MLS operations, for every local adapter and at several sizes.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::io::Write as _;
use std::process::Command;

use integration_tests::adapter::Adapter;

/// Sizes of disks, KiB: from those on which no store can be made to those that take hundreds of messages, in steps that
/// are no multiples of anything, so that the end comes at different places.
const SIZES: [usize; 6] = [128, 600, 1100, 1700, 2400, 3370];

fn in_a_namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-ec", script]);
    command
}

#[test]
fn a_full_or_read_only_disk_is_told_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mount = |kib: usize| format!("mount -t tmpfs -o size={kib}k keep '{}'", directory.path().display());
    if !in_a_namespace(&mount(64)).status().is_ok_and(|status| status.success()) {
        let required = std::env::var_os("MLS_KEEP_CRASH_REQUIRED").is_some();
        assert!(!required, "the test needs `unshare` and the right to mount a disk in a namespace");
        // Past the capture of output: it must not look as if it had been tried.
        let text = "NOT RUN: a_full_or_read_only_disk_is_told_and_loses_nothing: no namespace in which a disk can be mounted\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    }
    let child = env!("CARGO_BIN_EXE_disk-child");
    for adapter in Adapter::chosen() {
        let mut messages = 0;
        for kib in SIZES {
            let script = format!(
                "{}; exec '{child}' {} '{}' {}",
                mount(kib),
                adapter.name(),
                directory.path().display(),
                kib << 10
            );
            let done = in_a_namespace(&script).output().unwrap();
            let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
            print!("{out}");
            assert!(done.status.success(), "{adapter} on {kib} KiB: {out}{err}");
            let count = out.trim_end().strip_suffix(" messages").and_then(|line| line.rsplit(' ').next());
            messages += count.unwrap().parse::<usize>().unwrap();
        }
        assert!(messages >= 100, "{adapter}: {messages} messages are too few to fill anything");
    }
}
