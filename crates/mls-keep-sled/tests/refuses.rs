//! Directories that are not a keep are refused; what a kill leaves is repaired.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_executor::block_on;
use mls_keep_core::{ErrorKind, Key, StorageBackend};
use mls_keep_sled::{Config, SledBackend};

fn config() -> Config {
    Config { busy_timeout: Duration::from_millis(200), ..Config::default() }
}

fn open(path: &Path) -> SledBackend {
    SledBackend::open(path, config()).unwrap()
}

#[track_caller]
fn refused(path: &Path, kind: ErrorKind, says: &str) {
    let error = SledBackend::open(path, config()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

#[test]
fn paths_that_are_no_keep() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    refused(&file, ErrorKind::Invalid, "not a directory");
    refused(dir.path(), ErrorKind::Invalid, "something else");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made");
    refused(&dir.path().join("missing/keep"), ErrorKind::NotFound, "keep");
    let missing = Config { create: false, ..config() };
    assert_eq!(SledBackend::open(dir.path().join("keep"), missing).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_directory_of_another_program_and_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    let db = sled::open(&theirs).unwrap();
    db.insert("a", "b").unwrap();
    db.flush().unwrap();
    drop(db);
    refused(&theirs, ErrorKind::Invalid, "something else");
    let path = dir.path().join("keep");
    drop(open(&path));
    fs::write(path.join("mls-keep.lock"), "mls-keep-sled 2\n").unwrap();
    refused(&path, ErrorKind::UnsupportedVersion, "version 2");
}

#[test]
fn a_second_holder_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    let first = open(&path);
    refused(&path, ErrorKind::Busy, "open elsewhere");
    block_on(first.close()).unwrap();
    drop(open(&path));
}

#[test]
fn a_snapshot_that_a_kill_left_half_written_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    let backend = open(&path);
    block_on(backend.save(&key("k"), "v".into())).unwrap();
    drop(backend);
    let leftover = path.join("store/snap.00000000000000FF.generating");
    fs::write(&leftover, "half").unwrap();
    let backend = open(&path);
    assert_eq!(block_on(backend.load(&key("k"))).unwrap().as_deref(), Some(&b"v"[..]));
    assert!(!leftover.exists());
}

#[test]
fn what_a_kill_left_half_made_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    drop(open(&path));
    fs::rename(path.join("store"), path.join("store.new")).unwrap();
    fs::write(path.join("store.new/db"), "half").unwrap();
    let backend = open(&path);
    assert_eq!(block_on(backend.list("")).unwrap(), []);
    assert!(!path.join("store.new").exists());
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_enter_the_directory() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    drop(open(&path));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o700);

    // Made by the user, for all to enter: sled's own files are readable.
    let path = dir.path().join("shared");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    drop(open(&path));
    assert_eq!(fs::metadata(path.join("store")).unwrap().permissions().mode() & 0o7777, 0o700);
}

/// A backup that is put back while a client runs: the client must not go on, neither in the old place nor in the new one.
#[cfg(unix)]
#[test]
fn a_directory_that_was_replaced_while_it_is_open_is_written_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backup) = (dir.path().join("keep"), dir.path().join("backup"));
    let backend = open(&path);
    block_on(backend.save(&key("k"), "old".into())).unwrap();
    block_on(backend.close()).unwrap();
    drop(backend);
    copy(&path, &backup);
    let backend = open(&path);
    block_on(backend.save(&key("k"), "new".into())).unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    fs::rename(&backup, &path).unwrap();
    assert_eq!(block_on(backend.save(&key("k"), "newer".into())).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(block_on(backend.load(&key("k"))).unwrap_err().kind(), ErrorKind::Poisoned);
    drop(backend);
    assert_eq!(block_on(open(&path).load(&key("k"))).unwrap().as_deref(), Some(b"old".as_slice()));
    // sled's hold on the moved one ends with this process.
    let copied = dir.path().join("copied");
    copy(&dir.path().join("moved"), &copied);
    let moved = open(&copied);
    assert_eq!(block_on(moved.load(&key("k"))).unwrap().as_deref(), Some(b"new".as_slice()));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
