//! What an opening shows is durable before it is shown, also after a kill between a write and its flush.

#![cfg(target_os = "linux")]
// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{Key, StorageBackend};
use mls_keep_redb::{Config, RedbBackend};

/// The system calls that count.
const CALLS: &str = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,ftruncate";

/// What the child writes before it says what it has read.
const ANSWER: &str = "ANSWER";

fn key(number: usize) -> Key {
    Key::new(&format!("k/{number}")).unwrap()
}

fn value(number: usize) -> Bytes {
    format!("the value number {number} ").repeat(100).into()
}

fn open(path: &Path) -> RedbBackend {
    RedbBackend::open(path, Config::default()).unwrap()
}

/// Commits three values and deletes the first; does not close.
#[test]
#[ignore = "a child of the other test, in a process of its own"]
fn child_that_commits() {
    let backend = open(Path::new(&std::env::var_os("MLS_KEEP_PATH").unwrap()));
    block_on(async {
        for number in 0..3 {
            backend.save(&key(number), value(number)).await.unwrap();
        }
        backend.save(&key(3), value(3)).await.unwrap();
        backend.delete(&key(0)).await.unwrap();
    });
}

/// Opens, and says which values there are.
#[test]
#[ignore = "a child of the other test, in a process of its own"]
fn child_that_opens() {
    let backend = open(Path::new(&std::env::var_os("MLS_KEEP_PATH").unwrap()));
    println!("{ANSWER}");
    for key in block_on(backend.list("")).unwrap() {
        println!("SHOWS {key}");
    }
}

/// Runs a child under strace; what it did and what it said.
fn traced(child: &str, path: &Path, options: &[&str]) -> (String, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-y", "-qq", "-s", "64", "-e", "signal=none", "-e", CALLS])
        .args(options)
        .arg("-o")
        .arg(log.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture", "--test-threads=1"])
        .env("MLS_KEEP_PATH", path)
        .output()
        .unwrap();
    (fs::read_to_string(log.path()).unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn can_trace(test: &str) -> bool {
    let traced = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    let there = traced.is_ok_and(|status| status.success());
    if !there {
        assert!(std::env::var_os("MLS_KEEP_CRASH_REQUIRED").is_none(), "{test} needs strace and the right to trace");
        let text = format!("NOT RUN: {test}: no strace, or no right to trace\n");
        std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
    }
    there
}

/// Where in `lines` a call named `call` for `path` stands last, counted from 1; 0 if there is none.
fn last(lines: &[&str], call: &str, path: &Path) -> usize {
    let file = format!("<{}>", path.display());
    lines.iter().rposition(|line| line.contains(call) && line.contains(&file)).map_or(0, |last| last + 1)
}

/// The bytes that calls of `write` before `lines` end have written to `path`.
fn written(lines: &[&str], path: &Path) -> u64 {
    let file = format!("<{}>, \"", path.display());
    let calls = lines.iter().filter(|line| line.contains("write") && line.contains(&file));
    calls.filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok()).sum()
}

#[test]
fn what_a_kill_before_a_flush_has_left_is_written_again_and_flushed_before_it_is_shown() {
    if !can_trace("what_a_kill_before_a_flush_has_left_is_written_again_and_flushed_before_it_is_shown") {
        return;
    }
    let (mut kills, mut rewritten) = (0, 0);
    for (call, at) in ["fdatasync", "fsync"].into_iter().flat_map(|call| (1..40).map(move |at| (call, at))) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep");
        let kill = format!("inject={call}:signal=SIGKILL:when={at}");
        let (before, _) = traced("child_that_commits", &path, &["-e", &kill]);
        if before.lines().filter(|line| line.contains(&format!("{call}("))).count() < at {
            continue;
        }
        kills += 1;
        // What redb says of the file: whether it was closed.
        let found = fs::read(&path).ok();
        let (trace, _) = traced("child_that_opens", &path, &[]);
        let lines: Vec<_> = trace.lines().take_while(|line| !line.contains(ANSWER)).collect();
        assert!(trace.contains(ANSWER), "{call} {at}: it did not open: {trace}");
        let case = format!("{call} {at}:\n{}", lines.join("\n"));
        assert!(last(&lines, "fsync(", dir.path()) > 0, "the directory is flushed, {case}");
        let Some(found) = found else { continue };
        let flushed = last(&lines, "fsync(", &path);
        assert!(flushed > 0, "the file is flushed, {case}");
        if found[9] & 2 != 0 {
            rewritten += 1;
            let written = written(&lines[..flushed], &path);
            assert!(written >= found.len() as u64, "{written} of {} bytes are written again, {case}", found.len());
        }
    }
    assert!(kills > 8 && rewritten > 6, "{kills} kills, {rewritten} files written again");
}

#[test]
fn a_file_that_was_closed_is_not_written_again() {
    if !can_trace("a_file_that_was_closed_is_not_written_again") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    let backend = open(&path);
    block_on(backend.save(&key(0), value(0))).unwrap();
    block_on(backend.close()).unwrap();
    let len = fs::metadata(&path).unwrap().len();
    let (trace, says) = traced("child_that_opens", &path, &[]);
    let lines: Vec<_> = trace.lines().take_while(|line| !line.contains(ANSWER)).collect();
    assert!(says.contains("SHOWS k/0"));
    assert!(last(&lines, "fsync(", &path) > 0 && written(&lines, &path) < len / 4, "{trace}");
}
