//! How often an operation flushes, counted at the system calls.

use std::path::Path;
use std::process::{Command, Stdio};

use integration_tests::adapter::Adapter;

/// Flushes per message. `None` where there is no `strace`.
pub(crate) fn per_send(adapter: Adapter, dir: &Path) -> Option<f64> {
    // What opening, creating and closing cost is the same in both.
    let (few, many) = (200, 600);
    Some((count(adapter, dir, many)? - count(adapter, dir, few)?) / f64::from(many - few))
}

fn count(adapter: Adapter, dir: &Path, sends: u32) -> Option<f64> {
    let fresh = tempfile::tempdir_in(dir).unwrap();
    let log = fresh.path().join("log");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,msync", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--sends", adapter.name()])
        .arg(fresh.path())
        .arg(sends.to_string())
        .stderr(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return None;
    }
    let log = std::fs::read_to_string(log).unwrap();
    // A call that another thread interrupts stands in two lines, one of which is "resumed".
    Some(log.lines().filter(|line| !line.contains("resumed>")).count() as f64)
}
