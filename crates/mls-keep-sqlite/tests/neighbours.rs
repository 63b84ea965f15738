//! Two names of one file, and files of somebody else beside it.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use futures_executor::block_on;
use mls_keep_core::{ErrorKind, StorageBackend};
use support::{open, refused, save, value};

/// SQLite's log stands beside the name, so under two names the file would have two logs, of which none knows the other.
#[cfg(unix)]
#[test]
fn a_file_with_a_second_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let backend = open(&one);
    save(&backend, "k", value("x")).unwrap();
    fs::hard_link(&one, &two).unwrap();
    refused(&two, ErrorKind::Invalid, "second name");
    drop(backend);
    refused(&one, ErrorKind::Invalid, "second name");
    fs::remove_file(&two).unwrap();
    save(&open(&one), "k", value("y")).unwrap();
}

/// SQLite deletes or overwrites what has the name of a journal or a log of its own, without a look at what it is.
#[test]
fn what_stands_beside_the_file_and_is_not_of_sqlite_stays() {
    for suffix in ["-journal", "-wal", "-shm"] {
        for text in ["a diary, not a journal of SQLite: ".repeat(20), "short".to_owned()] {
            for made in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let (path, theirs) = (dir.path().join("alice"), dir.path().join(format!("alice{suffix}")));
                if made {
                    save(&open(&path), "k", value("x")).unwrap();
                }
                fs::write(&theirs, &text).unwrap();
                refused(&path, ErrorKind::Invalid, "not of SQLite");
                assert_eq!(fs::read_to_string(&theirs).unwrap(), text, "{suffix}");
                fs::remove_file(&theirs).unwrap();
                save(&open(&path), "k2", value("y")).unwrap();
            }
        }
    }
}

/// A backup that is put back while a client runs: a client that has the old file open must not go on, since its work would be lost.
#[cfg(unix)]
#[test]
fn a_file_that_was_replaced_while_it_is_open_is_written_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backup) = (dir.path().join("keep"), dir.path().join("backup"));
    let key = mls_keep_core::Key::new("k").unwrap();
    let open = |path: &std::path::Path| {
        mls_keep_sqlite::SqliteBackend::open(path, mls_keep_sqlite::Config::default()).unwrap()
    };
    let backend = open(&path);
    block_on(backend.save(&key, "old".into())).unwrap();
    block_on(backend.close()).unwrap();
    fs::copy(&path, &backup).unwrap();
    let backend = open(&path);
    block_on(backend.save(&key, "new".into())).unwrap();
    fs::rename(&backup, &path).unwrap();
    let error = block_on(backend.save(&key, "newer".into())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert!(block_on(backend.load(&key)).is_err());
}
