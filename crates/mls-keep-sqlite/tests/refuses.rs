//! Paths and files that are not a keep are refused, with a text that says why, and stay as they are.

// Also in the functions that the tests share.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use futures_executor::block_on;
use mls_keep_core::{ErrorKind, StorageBackend};
use mls_keep_sqlite::{Config, MAX_VALUE_LEN, SqliteBackend};
use rusqlite::Connection;
use support::{key, load, open, refused, save, value};

fn with_sql(path: &Path, sql: &str) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(sql).unwrap();
    conn.close().unwrap();
}

fn unchanged(path: &Path, kind: ErrorKind, says: &str) {
    let before = fs::read(path).unwrap();
    refused(path, kind, says);
    assert!(fs::read(path).unwrap() == before, "a refused file stays as it is");
}

#[test]
fn the_database_of_another_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    with_sql(&path, "CREATE TABLE t (x)");
    unchanged(&path, ErrorKind::Invalid, "another program");
    with_sql(&path, "PRAGMA journal_mode=WAL; PRAGMA application_id=7");
    unchanged(&path, ErrorKind::Invalid, "another program");
    // Without a table, but marked.
    let path = dir.path().join("marked.db");
    with_sql(&path, "PRAGMA user_version=3");
    unchanged(&path, ErrorKind::Invalid, "another program");
}

#[test]
fn a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    save(&open(&path), "k", value("x")).unwrap();
    with_sql(&path, "PRAGMA user_version=2");
    unchanged(&path, ErrorKind::UnsupportedVersion, "version 2");
    with_sql(&path, "PRAGMA user_version=0");
    unchanged(&path, ErrorKind::Corrupt, "version 0");
    with_sql(&path, "PRAGMA user_version=1");
    assert_eq!(load(&open(&path), "k"), Some(value("x")));
}

#[test]
fn what_is_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, "just a text, and not a short one: ".repeat(100)).unwrap();
    unchanged(&path, ErrorKind::Corrupt, "not an SQLite database");
    fs::write(&path, "short").unwrap();
    unchanged(&path, ErrorKind::Corrupt, "not an SQLite database");
}

#[test]
fn paths_that_name_no_file() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), ErrorKind::Invalid, "a directory");
    refused(&dir.path().join("missing/keep.db"), ErrorKind::NotFound, "missing does not exist");
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    refused(&file.join("keep.db"), ErrorKind::Invalid, "keep.db");
    refused(Path::new("nul\0byte"), ErrorKind::Invalid, "cannot be opened");
    refused(Path::new(""), ErrorKind::Invalid, "cannot be opened");
    refused(&dir.path().join("x".repeat(300)), ErrorKind::Invalid, "cannot be opened");
    assert!(!dir.path().join("missing").exists(), "no directory is made");
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_followed_to_a_file_that_is_there_only() {
    let dir = tempfile::tempdir().unwrap();
    let (link, target) = (dir.path().join("link"), dir.path().join("target"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    refused(&link, ErrorKind::Invalid, "symbolic link");
    assert!(!target.exists(), "no file is made through a link");
    save(&open(&target), "k", value("x")).unwrap();
    assert_eq!(load(&open(&link), "k"), Some(value("x")));
}

#[test]
fn a_missing_or_empty_file_without_create() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let config = Config { create: false, ..Config::default() };
    let missing = SqliteBackend::open(&path, config.clone()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(!path.exists());
    fs::write(&path, "").unwrap();
    let empty = SqliteBackend::open(&path, config.clone()).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::NotFound);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    // Left by a process that ended while it made the file.
    save(&open(&path), "k", value("x")).unwrap();
    assert_eq!(load(&SqliteBackend::open(&path, config).unwrap(), "k"), Some(value("x")));
}

#[test]
fn forged_rows_are_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    save(&open(&path), "good", value("x")).unwrap();
    with_sql(&path, "INSERT INTO keep VALUES (CAST('NO KEY' AS BLOB), x'00')");
    with_sql(&path, &format!("INSERT INTO keep VALUES (CAST('long' AS BLOB), zeroblob({}))", MAX_VALUE_LEN + 4096));
    let backend = open(&path);
    assert_eq!(block_on(backend.list("")).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(block_on(backend.load(&key("long"))).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(load(&backend, "good"), Some(value("x")), "the rest can be read");
    drop(backend);
    with_sql(&path, "DROP TABLE keep");
    refused(&path, ErrorKind::Corrupt, "schema");
}

#[test]
fn damaged_pages_are_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let backend = open(&path);
    for index in 0..200 {
        save(&backend, &format!("n/{index}"), vec![index; 700].into()).unwrap();
    }
    drop(backend);
    let mut file = fs::read(&path).unwrap();
    file[4096..].fill(0xa5);
    fs::write(&path, file).unwrap();
    let backend = open(&path);
    assert_eq!(block_on(backend.load(&key("n/7"))).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(block_on(backend.list("")).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(save(&backend, "n/7", value("x")).unwrap_err().kind(), ErrorKind::Corrupt);
}
