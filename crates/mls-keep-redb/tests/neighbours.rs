//! What stands beside the file is somebody else's.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::fs;

use futures_executor::block_on;
use mls_keep_core::{Key, StorageBackend};
use mls_keep_redb::{Config, RedbBackend};

/// A user names stores as they like, also one like another with ".new" behind it.
#[test]
fn a_store_whose_name_only_ends_otherwise_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("alice"), dir.path().join("alice.new"));
    let key = Key::new("k").unwrap();
    let backend = RedbBackend::open(&new, Config::default()).unwrap();
    block_on(backend.save(&key, "new".into())).unwrap();
    block_on(backend.close()).unwrap();
    for round in ["made", "opened"] {
        drop(RedbBackend::open(&old, Config::default()).unwrap());
        let backend = RedbBackend::open(&new, Config::default()).unwrap();
        assert_eq!(
            block_on(backend.load(&key)).unwrap().as_deref(),
            Some(b"new".as_slice()),
            "after alice was {round}"
        );
        block_on(backend.close()).unwrap();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
}

/// What somebody has prepared under the name is never the file that is used, with their owner, their mode and their handle.
#[cfg(unix)]
#[test]
fn the_file_is_private_whatever_stood_under_the_name_it_is_made_with() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alice");
    for suffix in [".new", ".mls-keep-unfinished"] {
        let prepared = dir.path().join(format!("alice{suffix}"));
        fs::write(&prepared, "").unwrap();
        fs::set_permissions(&prepared, fs::Permissions::from_mode(0o666)).unwrap();
        drop(RedbBackend::open(&path, Config::default()).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600, "{suffix}");
        fs::remove_file(&path).unwrap();
    }
}

/// A backup that is put back while a client runs: a client that has the old file open must not go on, since its work would be lost.
#[cfg(unix)]
#[test]
fn a_file_that_was_replaced_while_it_is_open_is_written_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backup) = (dir.path().join("keep"), dir.path().join("backup"));
    let key = mls_keep_core::Key::new("k").unwrap();
    let open =
        |path: &std::path::Path| mls_keep_redb::RedbBackend::open(path, mls_keep_redb::Config::default()).unwrap();
    let backend = open(&path);
    block_on(backend.save(&key, "old".into())).unwrap();
    block_on(backend.close()).unwrap();
    fs::copy(&path, &backup).unwrap();
    let backend = open(&path);
    block_on(backend.save(&key, "new".into())).unwrap();
    fs::rename(&backup, &path).unwrap();
    let error = block_on(backend.save(&key, "newer".into())).unwrap_err();
    assert_eq!(error.kind(), mls_keep_core::ErrorKind::Poisoned);
    assert!(block_on(backend.load(&key)).is_err());
}
