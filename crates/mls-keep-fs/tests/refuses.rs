//! Directories that are not a keep are refused and stay as they are; damage is reported.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_conformance::directory_contains;
use mls_keep_core::{Commit, ErrorKind, Key, StorageBackend, Swap};
use mls_keep_fs::{Config, FsBackend, MAX_COMMIT_LEN, MAX_VALUE_LEN};

fn config() -> Config {
    Config { busy_timeout: Duration::from_millis(50), ..Config::default() }
}

fn open(path: &Path) -> FsBackend {
    FsBackend::open(path, config()).unwrap()
}

#[track_caller]
fn refused(path: &Path, kind: ErrorKind, says: &str) {
    let error = FsBackend::open(path, config()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// The commit that makes `number` the root, with a node.
fn commit(number: u8) -> Commit {
    let root = |number: u8| Bytes::from(vec![number; 40]);
    let expected = (number > 1).then(|| root(number - 1));
    let swap = Swap { key: key("r"), expected, replacement: Some(root(number)) };
    let deletes = (number > 1).then(|| key(&format!("n/{}", number - 1))).into_iter().collect();
    Commit { puts: vec![(key(&format!("n/{number}")), vec![number; 60].into())], swap, deletes }
}

/// The number of the root, whose node must be there, and no other one.
fn found(path: &Path) -> u8 {
    let backend = open(path);
    let number = block_on(backend.load(&key("r"))).unwrap().map_or(0, |root| root[0]);
    let nodes = block_on(backend.list("n/")).unwrap();
    assert_eq!(nodes.len(), usize::from(number > 0));
    for node in nodes {
        assert_eq!(block_on(backend.load(&node)).unwrap(), Some(Bytes::from(vec![number; 60])));
    }
    number
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

/// Where the last record of a log begins.
fn last_record(log: &[u8]) -> usize {
    let next = |at: &usize| {
        let len = u32::from_be_bytes(log[*at..at + 4].try_into().unwrap()) as usize;
        (len > 0).then_some(at + 12 + len)
    };
    let starts = std::iter::successors(Some(8192), next);
    starts.filter(|at| next(at).is_some()).last().unwrap()
}

#[test]
fn paths_that_are_no_keep() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    refused(&file, ErrorKind::Invalid, "not a directory");
    refused(&file.join("keep"), ErrorKind::Invalid, "keep");
    refused(&dir.path().join("missing/keep"), ErrorKind::NotFound, "keep");
    let missing = Config { create: false, ..config() };
    assert_eq!(FsBackend::open(dir.path().join("keep"), missing.clone()).unwrap_err().kind(), ErrorKind::NotFound);
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert_eq!(FsBackend::open(dir.path().join("empty"), missing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing was made");
    open(&dir.path().join("empty"));
}

#[test]
fn a_directory_of_something_else_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    refused(dir.path(), ErrorKind::Invalid, "something else");
    fs::write(dir.path().join("lock"), "mine").unwrap();
    refused(dir.path(), ErrorKind::Invalid, "something else");
    assert_eq!(fs::read_to_string(dir.path().join("lock")).unwrap(), "mine");
    // Many programs keep an empty file of this name.
    fs::write(dir.path().join("lock"), "").unwrap();
    fs::create_dir(dir.path().join("values")).unwrap();
    fs::write(dir.path().join("values/new-1"), "mine").unwrap();
    refused(dir.path(), ErrorKind::Invalid, "something else");
    assert_eq!(fs::read_to_string(dir.path().join("lock")).unwrap(), "");
    assert_eq!(fs::read_to_string(dir.path().join("values/new-1")).unwrap(), "mine");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn a_newer_version_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    drop(open(&path));
    fs::write(path.join("lock"), "mls-keep-fs 2\n").unwrap();
    refused(&path, ErrorKind::UnsupportedVersion, "version 2");
    assert_eq!(fs::read_to_string(path.join("lock")).unwrap(), "mls-keep-fs 2\n");
}

#[test]
fn a_second_holder_is_busy_and_the_lock_goes_with_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    refused(dir.path(), ErrorKind::Busy, "open elsewhere");
    block_on(first.close()).unwrap();
    drop(open(dir.path()));
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files_and_links_are_not_followed() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    let backend = open(&path);
    block_on(backend.commit(commit(1))).unwrap();
    block_on(backend.close()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let values = path.join("values");
    assert_eq!([mode(&path), mode(&values)], [0o700; 2]);
    let files = fs::read_dir(&path).unwrap().chain(fs::read_dir(&values).unwrap());
    let files: Vec<_> = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600));

    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    refused(&link, ErrorKind::Invalid, "symbolic link");
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, "x").unwrap();
    fs::remove_file(values.join("=r=")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, values.join("=r=")).unwrap();
    assert_eq!(block_on(open(&path).load(&key("r"))).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_record_that_is_cut_anywhere_was_never_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    let backend = open(&path);
    for number in 1..=3 {
        block_on(backend.commit(commit(number))).unwrap();
    }
    // As a kill leaves it: nothing is tidied up.
    let killed = dir.path().join("killed");
    copy(&path, &killed);
    drop(backend);
    let log = fs::read(killed.join("log")).unwrap();
    let end = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let last = last_record(&log);
    let mut seen = Vec::new();
    for cut in last..end {
        fs::remove_dir_all(&path).unwrap();
        copy(&killed, &path);
        let mut torn = log.clone();
        torn[cut..].fill(0);
        fs::write(path.join("log"), &torn).unwrap();
        seen.push(found(&path));
    }
    seen.dedup();
    assert_eq!(seen, [2]);
    fs::write(path.join("log"), &log).unwrap();
}

#[test]
fn a_log_that_was_shortened_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    let backend = open(&path);
    block_on(backend.commit(commit(1))).unwrap();
    let killed = dir.path().join("killed");
    copy(&path, &killed);
    drop(backend);
    let len = fs::metadata(killed.join("log")).unwrap().len();
    for cut in [1, 4096, len / 2, len - 8192] {
        fs::OpenOptions::new().write(true).open(killed.join("log")).unwrap().set_len(len - cut).unwrap();
        let error = FsBackend::open(&killed, config()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut by {cut}: {error}");
    }
}

#[test]
fn damage_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    let backend = open(&path);
    for number in 1..=3 {
        block_on(backend.commit(commit(number))).unwrap();
    }
    let killed = dir.path().join("killed");
    copy(&path, &killed);
    drop(backend);
    let log = fs::read(killed.join("log")).unwrap();
    // A record that others follow cannot have been cut, whichever of its bytes are damaged.
    let last = last_record(&log);
    for at in 8192..last {
        let mut flipped = log.clone();
        flipped[at] ^= 1;
        fs::write(killed.join("log"), &flipped).unwrap();
        refused(&killed, ErrorKind::Corrupt, "a record is damaged");
    }
    let mut headless = log.clone();
    headless[..8192].fill(1);
    fs::write(killed.join("log"), &headless).unwrap();
    refused(&killed, ErrorKind::Corrupt, "head");
    fs::write(killed.join("log"), &log[..100]).unwrap();
    refused(&killed, ErrorKind::Corrupt, "cut");
    fs::write(killed.join("log"), &log).unwrap();
    assert_eq!(found(&killed), 3);
    // With values, but without the log that says which of them count.
    fs::remove_file(killed.join("log")).unwrap();
    refused(&killed, ErrorKind::Corrupt, "log is missing");

    let values = path.join("values");
    fs::write(values.join("=r="), vec![0; MAX_VALUE_LEN + 1]).unwrap();
    let backend = open(&path);
    assert_eq!(block_on(backend.load(&key("r"))).unwrap_err().kind(), ErrorKind::Corrupt);
    fs::write(values.join("notes.txt"), "x").unwrap();
    assert_eq!(block_on(backend.list("")).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn the_log_stays_short_and_what_is_deleted_leaves_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    let config = Config { checkpoint_len: 16 << 10, ..config() };
    let backend = FsBackend::open(&path, config).unwrap();
    let marker = b"secret-marker-7c11";
    for number in 1..=250 {
        let mut commit = commit(number);
        commit.puts.push((key(&format!("m/{number}")), Bytes::from(marker.repeat(8))));
        if number > 1 {
            commit.deletes.push(key(&format!("m/{}", number - 1)));
        }
        block_on(backend.commit(commit)).unwrap();
    }
    assert!(fs::metadata(path.join("log")).unwrap().len() <= 8192 + 5 * (16 << 10), "the log is emptied now and then");
    assert!(directory_contains(&path, marker));
    block_on(backend.delete(&key("m/250"))).unwrap();
    block_on(backend.checkpoint()).unwrap();
    assert!(!directory_contains(&path, marker), "after a checkpoint");
    drop(backend);
    assert_eq!(found(&path), 250);
}

#[test]
fn a_commit_that_no_opening_would_read_is_invalid_and_many_together_go_in_several_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep");
    // Long enough that the log is not emptied between the two.
    let config = Config { checkpoint_len: 64 << 20, ..config() };
    let backend = FsBackend::open(&path, config).unwrap();
    let data = Bytes::from(vec![7; MAX_VALUE_LEN]);
    let large = |name: &str, count: usize| Commit {
        puts: (0..count).map(|number| (key(&format!("n/{name}/{number}")), data.clone())).collect(),
        swap: Swap { key: key(name), expected: None, replacement: Some(Bytes::from_static(b"root")) },
        deletes: Vec::new(),
    };
    let error = block_on(backend.commit(large("a", MAX_COMMIT_LEN / MAX_VALUE_LEN))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("split it"), "{error}");
    // Without their directory, values get no files, and the log stays as a kill leaves it.
    fs::rename(path.join("values"), dir.path().join("values")).unwrap();
    for result in block_on(backend.commit_many(vec![large("b", 9), large("c", 9)])) {
        result.unwrap();
    }
    let killed = dir.path().join("killed");
    copy(&path, &killed);
    fs::rename(dir.path().join("values"), killed.join("values")).unwrap();
    let backend = open(&killed);
    assert_eq!(block_on(backend.list("")).unwrap().len(), 20);
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
    let moved = open(&dir.path().join("moved"));
    assert_eq!(block_on(moved.load(&key("k"))).unwrap().as_deref(), Some(b"new".as_slice()));
}
