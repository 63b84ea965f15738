//! A closed store that somebody without a key has changed in the ways that SQLite offers: it is refused with a clear kind,
//! or the change has no effect. A commit never says `Ok` while the root stays what it was.
//!
//! Each kind of tampering has a line in [`tamper::ALL`]. The store is then opened, read and written in a child process with a
//! limit of memory and time.
#![cfg(target_os = "linux")]
// Also in the functions that the tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod change;
#[path = "../support/mod.rs"]
mod support;
mod tamper;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{Commit, ErrorKind, StorageBackend};
use mls_keep_sqlite::SqliteBackend;
use rusqlite::Connection;
use support::{argument, child, child_after, key, load, open, refused, save, swap, value};
use tamper::Outcome;

/// KiB of addresses that a child may use. Most of it is what glibc reserves for each thread.
const MEMORY: u64 = 600 << 10;

/// Makes a store with some nodes and a root, and closes it.
fn store(path: &Path) {
    let backend = open(path);
    for index in 0..60 {
        save(&backend, &format!("n/{index}"), vec![index; 700].into()).unwrap();
    }
    block_on(backend.commit(swap("root", None, Some(&value("old"))))).unwrap();
    block_on(backend.close()).unwrap();
}

/// What a client does with it.
fn update() -> Commit {
    let mut commit = swap("root", Some(&value("old")), Some(&value("new")));
    commit.puts = vec![(key("n/new"), Bytes::from(vec![9; 9000]))];
    commit.deletes = vec![key("n/7")];
    commit
}

#[test]
fn whatever_was_changed_is_refused_or_has_no_effect() {
    let mut wrong = Vec::new();
    for (name, change, expected) in tamper::ALL {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep.db");
        store(&path);
        change(&path);
        let limits = format!("ulimit -v {MEMORY}");
        let done = child_after(&["timeout", "60"], &limits, "uses_it_in_a_child", &path).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let found = text.lines().find_map(|line| line.split_once("outcome: ")).map_or("none", |(_, found)| found);
        if found != format!("{expected:?}") {
            let text = String::from_utf8_lossy(&done.stderr);
            wrong.push(format!("{name}: expected {expected:?}, found {found}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{} kinds:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tamper::ALL.len() >= 40, "{} kinds", tamper::ALL.len());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn uses_it_in_a_child() {
    println!("outcome: {:?}", outcome(&argument()));
}

fn outcome(path: &Path) -> Outcome {
    let backend = match SqliteBackend::open(path, mls_keep_sqlite::Config::default()) {
        Ok(backend) => backend,
        Err(error) => {
            eprintln!("{error:?}");
            return Outcome::Refused(error.kind());
        }
    };
    // Each of these ends, whatever it says.
    let listed = block_on(backend.list(""));
    eprintln!("{:?}", listed.as_ref().map(Vec::len));
    let committed = block_on(backend.commit(update()));
    eprintln!("{committed:?}");
    drop(block_on(backend.close()));
    let backend = open(path);
    let root = block_on(backend.load(&key("root")));
    match committed {
        Ok(()) => {
            assert_eq!(root.unwrap(), Some(value("new")), "a commit that succeeds is there");
            assert_eq!(load(&backend, "n/new"), Some(Bytes::from(vec![9; 9000])));
            assert_eq!(load(&backend, "n/7"), None);
            Outcome::NoEffect
        }
        Err(error) => {
            assert_ne!(root.ok().flatten(), Some(value("new")), "a commit that fails is not there");
            Outcome::CommitFails(error.kind())
        }
    }
}

#[test]
fn a_schema_that_changes_under_a_running_backend_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    store(&path);
    let backend = open(&path);
    assert_eq!(load(&backend, "root"), Some(value("old")));
    let other = Connection::open(&path).unwrap();
    let refused = || {
        assert_eq!(block_on(backend.commit(update())).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(block_on(backend.load(&key("root"))).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(block_on(backend.list("")).unwrap_err().kind(), ErrorKind::Corrupt);
    };
    other.execute_batch("CREATE TRIGGER t BEFORE UPDATE ON keep BEGIN SELECT RAISE(IGNORE); END").unwrap();
    refused();
    // The cookie is what it was at the opening, and the schema is not.
    other.execute_batch("PRAGMA schema_version=1").unwrap();
    refused();
    other.execute_batch("DROP TRIGGER t").unwrap();
    assert_eq!(load(&backend, "root"), Some(value("old")), "nothing was changed, and it goes on");
    block_on(backend.commit(update())).unwrap();
    // What no file of ours has, but what changes no schema.
    other.execute_batch("VACUUM").unwrap();
    assert_eq!(load(&backend, "root"), Some(value("new")));
    save(&backend, "after", value("x")).unwrap();
}

/// What this crate alone cannot see: without its log the store is as it was before, and whole.
#[test]
fn a_deleted_log_takes_the_store_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    store(&path);
    let mut other = child("commits_and_is_aborted", &path).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert!(!other.wait().unwrap().success());
    let log = path.with_extension("db-wal");
    let copy = fs::read(&log).unwrap();
    fs::remove_file(&log).unwrap();
    assert_eq!(load(&open(&path), "root"), Some(value("old")));
    assert!(!copy.is_empty());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn commits_and_is_aborted() {
    let backend = open(&argument());
    block_on(backend.commit(update())).unwrap();
    std::process::abort();
}

#[test]
fn a_database_that_was_emptied_or_removed_beside_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    store(&path);
    let mut other = child("commits_and_is_aborted", &path).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert!(!other.wait().unwrap().success());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, "").unwrap();
    refused(&path, ErrorKind::Corrupt, "its log is not");
    fs::remove_file(&path).unwrap();
    refused(&path, ErrorKind::Corrupt, "its log is not");
    fs::write(&path, whole).unwrap();
    assert_eq!(load(&open(&path), "root"), Some(value("new")), "and the log is still there");
}

#[test]
fn what_links_beside_the_database_lead_to_stays_as_it_is() {
    for suffix in ["-wal", "-shm", "-journal"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep.db");
        store(&path);
        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, change::beside(&path, suffix)).unwrap();
        refused(&path, ErrorKind::Invalid, "not a regular file");
        // Also when the database itself is found through a link.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        refused(&link, ErrorKind::Invalid, "not a regular file");
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
    }
}
