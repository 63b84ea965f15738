//! Files that are not a keep are refused; a file whose making was cut short is made anew.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use mls_keep_core::{ErrorKind, Key, StorageBackend};
use mls_keep_redb::{Config, RedbBackend};
use redb::{Database, ReadableDatabase, TableDefinition};

fn config() -> Config {
    Config { busy_timeout: Duration::from_millis(50), ..Config::default() }
}

fn open(path: &Path) -> RedbBackend {
    RedbBackend::open(path, config()).unwrap()
}

#[track_caller]
fn refused(path: &Path, kind: ErrorKind, says: &str) {
    let error = RedbBackend::open(path, config()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

#[test]
fn paths_that_are_no_keep() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), ErrorKind::Invalid, "not a regular file");
    refused(&dir.path().join("missing/keep.redb"), ErrorKind::NotFound, "missing does not exist");
    let text = dir.path().join("notes.txt");
    fs::write(&text, "just a text, and not a short one: ".repeat(500)).unwrap();
    refused(&text, ErrorKind::Corrupt, "notes.txt");
    assert!(fs::read_to_string(&text).unwrap().starts_with("just a text"));
    let missing = Config { create: false, ..config() };
    let error = RedbBackend::open(dir.path().join("keep.redb"), missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made");
}

#[test]
fn the_database_of_another_program_and_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.redb");
    let theirs: TableDefinition<'_, &str, u32> = TableDefinition::new("theirs");
    let db = Database::create(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(theirs).unwrap().insert("a", 1).unwrap();
    write.commit().unwrap();
    db.close().unwrap();
    refused(&path, ErrorKind::Invalid, "another program");

    let identity: TableDefinition<'_, &str, u32> = TableDefinition::new("mls-keep");
    let db = Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(identity).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    db.close().unwrap();
    refused(&path, ErrorKind::UnsupportedVersion, "version 2");
    let db = Database::open(&path).unwrap();
    assert_eq!(db.begin_read().unwrap().open_table(theirs).unwrap().get("a").unwrap().unwrap().value(), 1);
}

#[test]
fn a_second_holder_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.redb");
    let first = open(&path);
    refused(&path, ErrorKind::Busy, "open elsewhere");
    block_on(first.close()).unwrap();
    drop(open(&path));
}

#[test]
fn what_a_kill_left_half_made_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.redb");
    drop(open(&whole));
    let whole = fs::read(whole).unwrap();
    let path = dir.path().join("keep.redb");
    for len in (0..whole.len()).step_by(511) {
        fs::write(dir.path().join("keep.redb.mls-keep-unfinished"), &whole[..len]).unwrap();
        let backend = open(&path);
        block_on(backend.save(&key("k"), "v".into())).unwrap();
        drop(backend);
        assert!(!dir.path().join("keep.redb.mls-keep-unfinished").exists());
        fs::remove_file(&path).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.redb");
    drop(open(&path));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_repair_is_told_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, killed) = (dir.path().join("keep.redb"), dir.path().join("killed.redb"));
    let backend = open(&path);
    for number in 0..50 {
        block_on(backend.save(&key(&format!("k/{number}")), vec![7; 3000].into())).unwrap();
    }
    // As a kill leaves it: not closed.
    fs::copy(&path, &killed).unwrap();
    drop(backend);
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let progress = move |part: f64| {
        assert!((0.0..=1.0).contains(&part));
        seen.fetch_add(1, Ordering::Relaxed);
    };
    let backend = RedbBackend::open_with_progress(&killed, config(), progress).unwrap();
    assert!(calls.load(Ordering::Relaxed) > 0, "a repair was reported");
    assert_eq!(block_on(backend.list("k/")).unwrap().len(), 50);
}

#[test]
fn compact_gives_space_back_and_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.redb");
    let backend = open(&path);
    for number in 0..64 {
        block_on(backend.save(&key(&format!("k/{number}")), vec![number; 64 << 10].into())).unwrap();
    }
    for number in 1..64 {
        block_on(backend.delete(&key(&format!("k/{number}")))).unwrap();
    }
    let before = fs::metadata(&path).unwrap().len();
    assert!(block_on(backend.compact()).unwrap());
    let after = fs::metadata(&path).unwrap().len();
    assert!(after < before / 2, "{before} bytes before, {after} after");
    assert_eq!(block_on(backend.load(&key("k/0"))).unwrap().unwrap().len(), 64 << 10);
}
