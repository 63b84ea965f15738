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
use mls_keep_fs::{Config, FsBackend};

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

fn open(path: &Path) -> FsBackend {
    FsBackend::open(path, Config::default()).unwrap()
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
        backend.checkpoint().await.unwrap();
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

/// The last call before the answer that flushes `path`, as its line.
fn flushed(lines: &[&str], path: &Path) -> usize {
    let file = format!("<{}>", path.display());
    let last = lines.iter().rposition(|line| line.contains("sync(") && line.contains(&file));
    last.map_or(0, |last| last + 1)
}

#[test]
fn what_a_kill_before_a_flush_has_left_is_written_again_and_flushed_before_it_is_shown() {
    if !can_trace("what_a_kill_before_a_flush_has_left_is_written_again_and_flushed_before_it_is_shown") {
        return;
    }
    let (mut kills, mut shown_from_the_log) = (0, 0);
    for (call, at) in ["fdatasync", "fsync"].into_iter().flat_map(|call| (1..40).map(move |at| (call, at))) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep");
        let kill = format!("inject={call}:signal=SIGKILL:when={at}");
        let (before, _) = traced("child_that_commits", &path, &["-e", &kill]);
        if !before.contains("(INJECTED)")
            && before.lines().filter(|line| line.contains(&format!("{call}("))).count() < at
        {
            continue;
        }
        kills += 1;
        let has_file = |key: &str| path.join(format!("values/={}=", key.replace('/', "+"))).exists();
        let files: Vec<_> = (0..4).map(|number| has_file(key(number).as_str())).collect();
        let (trace, says) = traced("child_that_opens", &path, &[]);
        let lines: Vec<_> = trace.lines().take_while(|line| !line.contains(ANSWER)).collect();
        assert!(trace.contains(ANSWER), "{call} {at}: it did not open: {trace}");
        let case = format!("{call} {at}:\n{}", lines.join("\n"));

        let (log, values) = (path.join("log"), path.join("values"));
        let written = format!("<{}>", log.display());
        let last_write = lines.iter().rposition(|line| line.contains("write") && line.contains(&written));
        assert!(flushed(&lines, &log) > last_write.unwrap(), "the log is written and then flushed, {case}");
        for directory in [dir.path(), &path] {
            assert!(flushed(&lines, directory) > 0, "{} is flushed, {case}", directory.display());
        }
        for shown in says.lines().filter_map(|line| line.strip_prefix("SHOWS ")) {
            let number: usize = shown.strip_prefix("k/").unwrap().parse().unwrap();
            if files[number] {
                continue;
            }
            shown_from_the_log += 1;
            let text = format!("\"the value number {number} ");
            let written = lines.iter().position(|line| line.contains("write(") && line.contains(&text));
            let written = written.unwrap_or_else(|| panic!("{shown} is written again, {case}"));
            let file = lines[written].split(['<', '>']).nth(1).unwrap();
            let behind = &lines[written..];
            let renamed = behind.iter().position(|line| line.contains("rename") && line.contains(file)).unwrap();
            assert!(flushed(&behind[..renamed], Path::new(file)) > 0, "{shown} is flushed and then renamed, {case}");
            assert!(flushed(behind, &values) > renamed, "then its directory is flushed, {case}");
            assert!(flushed(behind, &log) > flushed(behind, &values), "then the log begins anew, {case}");
        }
        assert!(!says.contains("k/0") || !fs::read(&log).unwrap().windows(4).any(|bytes| bytes == b"k/0\0"), "{case}");
    }
    assert!(kills > 8 && shown_from_the_log > 4, "{kills} kills, {shown_from_the_log} values");
}

#[test]
fn on_a_full_disk_the_log_is_written_over_itself_and_flushed_before_it_is_shown() {
    if !can_trace("on_a_full_disk_the_log_is_written_over_itself_and_flushed_before_it_is_shown") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    // The flush of the last value but one: the log then has one value and one that was deleted.
    let flushes = traced("child_that_commits", &dir.path().join("count"), &[]).0;
    let at = flushes.lines().filter(|line| line.contains("fdatasync(")).count() - 2;
    let kill = format!("inject=fdatasync:signal=SIGKILL:when={at}");
    traced("child_that_commits", &path, &["-e", &kill]);
    let log = path.join("log");
    let text = "the value number 3 ";
    assert!(fs::read(&log).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes()), "it is in the log");

    let (trace, says) = traced("child_that_opens", &path, &["-e", "inject=rename:error=ENOSPC"]);
    assert!(trace.contains("(INJECTED)") && says.contains("SHOWS k/3"), "{says}{trace}");
    let lines: Vec<_> = trace.lines().take_while(|line| !line.contains(ANSWER)).collect();
    let file = format!("<{}>, \"", log.display());
    let written = lines.iter().position(|line| line.contains("write(") && line.contains(&file) && line.contains("k/3"));
    let written = written.unwrap_or_else(|| panic!("the record is written again: {trace}"));
    assert!(flushed(&lines[written..], &log) > 1, "and flushed: {trace}");
    // With room again everything goes on.
    let backend = open(&path);
    assert_eq!(block_on(backend.load(&key(3))).unwrap(), Some(value(3)));
}
