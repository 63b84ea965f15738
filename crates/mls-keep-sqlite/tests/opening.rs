//! What an opening shows is on the medium before it is shown: a process may have been killed between the write and the flush
//! of a commit, and SQLite finds that commit in memory of the system.
//!
//! Needs `strace`; says so loudly where it is missing, and fails there with `MLS_KEEP_CRASH_REQUIRED`.
#![cfg(target_os = "linux")]
// Also in the functions that the tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_executor::block_on;
use mls_keep_core::{Durability, ErrorKind, StorageBackend};
use mls_keep_sqlite::{Config, SqliteBackend};
use support::{argument, child, child_after, key, load, open, value};

fn strace_is_there(test: &str) -> bool {
    let traced = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    let there = traced.is_ok_and(|status| status.success());
    if !there {
        assert!(std::env::var_os("MLS_KEEP_CRASH_REQUIRED").is_none(), "{test} needs strace and the right to trace");
        let text = format!("NOT RUN: {test}: no strace, or no right to trace\n");
        std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
    }
    there
}

/// A store whose last commits are in the log only, left by a process that was killed.
fn killed(dir: &Path) -> PathBuf {
    let path = dir.join("keep.db");
    let done = child("commits_and_is_aborted", &path).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(!done.success());
    assert!(fs::metadata(log(&path)).unwrap().len() > 0);
    path
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn commits_and_is_aborted() {
    let backend = open(&argument());
    // More than what is rewritten at once.
    for index in 0..100 {
        block_on(backend.save(&key("k"), vec![index; 5000].into())).unwrap();
    }
    block_on(backend.save(&key("k"), value("last"))).unwrap();
    std::process::abort();
}

fn log(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// The system calls of the test `name`, one a line, with the paths of what they are about.
fn trace(name: &str, path: &Path) -> Vec<String> {
    let to = path.with_extension("trace");
    let calls = ["strace", "-f", "-y", "-qq", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", to.to_str().unwrap()];
    let done = child_after(&calls, "true", name, path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read_to_string(to).unwrap().lines().map(str::to_owned).collect()
}

/// Where in `calls` one of `names` is about `path`.
fn find(calls: &[String], names: &[&str], path: &Path) -> Vec<usize> {
    let about = format!("<{}>", path.display());
    let is = |call: &String| names.iter().any(|name| call.contains(&format!(" {name}("))) && call.contains(&about);
    (0..calls.len()).filter(|at| is(&calls[*at])).collect()
}

fn answer(calls: &[String]) -> usize {
    calls.iter().position(|call| call.contains("answered")).unwrap()
}

#[test]
fn what_the_log_holds_is_rewritten_and_flushed_before_the_first_answer() {
    if !strace_is_there("what_the_log_holds_is_rewritten_and_flushed_before_the_first_answer") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path());
    let len = fs::metadata(log(&path)).unwrap().len();
    let calls = trace("opens_and_answers", &path);
    let answer = answer(&calls);
    let writes = find(&calls[..answer], &["write", "pwrite64"], &log(&path));
    let result = |at: &usize| calls[*at].rsplit_once("= ").unwrap().1.parse::<u64>().unwrap();
    assert_eq!(writes.iter().map(result).sum::<u64>(), len, "all of the log: {calls:#?}");
    let flushes = find(&calls[..answer], &["fsync", "fdatasync"], &log(&path));
    assert!(flushes.last().unwrap() > writes.last().unwrap(), "{calls:#?}");
    assert!(!find(&calls[..answer], &["fsync"], dir.path()).is_empty(), "the directory too: {calls:#?}");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn opens_and_answers() {
    let backend = open(&argument());
    assert_eq!(load(&backend, "k"), Some(value("last")));
    println!("answered");
}

#[test]
fn without_a_promise_about_power_only_the_directory_is_flushed() {
    if !strace_is_there("without_a_promise_about_power_only_the_directory_is_flushed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path());
    let calls = trace("opens_without_power_and_answers", &path);
    let answer = answer(&calls);
    assert!(find(&calls[..answer], &["write", "pwrite64", "fsync", "fdatasync"], &log(&path)).is_empty(), "{calls:#?}");
    assert!(!find(&calls[..answer], &["fsync"], dir.path()).is_empty(), "{calls:#?}");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn opens_without_power_and_answers() {
    let config = Config { durability: Durability::ProcessCrash, ..Config::default() };
    let backend = SqliteBackend::open(argument(), config).unwrap();
    assert_eq!(load(&backend, "k"), Some(value("last")));
    println!("answered");
}

#[test]
fn an_opening_whose_flush_fails_shows_nothing_and_leaves_the_log() {
    if !strace_is_there("an_opening_whose_flush_fails_shows_nothing_and_leaves_the_log") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path());
    let before = (fs::read(&path).unwrap(), fs::read(log(&path)).unwrap());
    // The flush of the log, and that of the directory.
    for fault in ["fsync:error=EIO:when=1", "fsync:error=EIO:when=2"] {
        let calls = ["strace", "-f", "-qq", "-e", "trace=fsync", "-e", &format!("inject={fault}"), "-o", "/dev/null"];
        let done = child_after(&calls, "true", "does_not_open", &path).output().unwrap();
        assert!(done.status.success(), "{fault}: {}", String::from_utf8_lossy(&done.stderr));
        let after = (fs::read(&path).unwrap(), fs::read(log(&path)).unwrap());
        assert!(after == before, "{fault}: nothing was moved on the strength of a flush that failed");
    }
    assert_eq!(load(&open(&path), "k"), Some(value("last")));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn does_not_open() {
    let error = SqliteBackend::open(argument(), Config::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[test]
fn a_log_that_others_are_writing_is_rewritten_without_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let writer = open(&path);
    std::thread::scope(|scope| {
        let openings = scope.spawn(|| {
            for _ in 0..100 {
                drop(open(&path));
            }
        });
        let mut number = 0_u32;
        while !openings.is_finished() || number < 100 {
            number += 1;
            block_on(writer.save(&key("k"), vec![1; 3000].into())).unwrap();
            block_on(writer.save(&key("k"), number.to_string().into())).unwrap();
            assert_eq!(load(&open(&path), "k"), Some(number.to_string().into()));
        }
    });
}
