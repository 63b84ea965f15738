//! Whether `strace` can be used. Tests that need it say loudly when they cannot run.

use std::process::{Command, Stdio};

/// Whether children can be traced. If not, says that `test` is not run; where `MLS_KEEP_CRASH_REQUIRED` is set it fails.
///
/// # Panics
/// See above.
#[must_use]
pub fn is_there(test: &str) -> bool {
    let traced = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    let there = traced.is_ok_and(|status| status.success());
    if !there {
        assert!(std::env::var_os("MLS_KEEP_CRASH_REQUIRED").is_none(), "{test} needs strace and the right to trace");
        let text = format!("NOT RUN: {test}: no strace, or no right to trace\n");
        std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
    }
    there
}
