//! What the tests share: short names, commits, and processes of their own.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{Commit, ErrorKind, Key, Result, StorageBackend, Swap};
use mls_keep_sqlite::{Config, SqliteBackend};

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

pub(crate) fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn swap(name: &str, expected: Option<&Bytes>, replacement: Option<&Bytes>) -> Commit {
    Commit {
        puts: Vec::new(),
        swap: Swap { key: key(name), expected: expected.cloned(), replacement: replacement.cloned() },
        deletes: Vec::new(),
    }
}

pub(crate) fn open(path: &Path) -> SqliteBackend {
    SqliteBackend::open(path, Config::default()).expect("the file opens")
}

#[track_caller]
pub(crate) fn refused(path: &Path, kind: ErrorKind, says: &str) {
    let error = SqliteBackend::open(path, Config::default()).expect_err("the file is refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

pub(crate) fn load(backend: &SqliteBackend, name: &str) -> Option<Bytes> {
    block_on(backend.load(&key(name))).expect("loading succeeds")
}

pub(crate) fn save(backend: &SqliteBackend, name: &str, data: Bytes) -> Result<()> {
    block_on(backend.save(&key(name), data))
}

/// Adds one to the counter that the root is, until it succeeds.
pub(crate) fn increment(backend: &SqliteBackend) {
    loop {
        let before = load(backend, "root");
        let next = value(&(number(before.as_ref()) + 1).to_string());
        match block_on(backend.commit(swap("root", before.as_ref(), Some(&next)))) {
            Ok(()) => return,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
        }
    }
}

pub(crate) fn number(root: Option<&Bytes>) -> u64 {
    root.map_or(0, |text| std::str::from_utf8(text).expect("a text").parse().expect("a number"))
}

/// The test `name` of this program, to be run in a process of its own with `argument` in the environment.
pub(crate) fn child(name: &str, argument: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its program"));
    command.args(["--ignored", "--exact", "--nocapture", name]).env("MLS_KEEP_TEST_PATH", argument);
    command.stdin(Stdio::null());
    command
}

/// The same, run by a shell after `prepare`.
#[cfg(target_os = "linux")]
pub(crate) fn child_after(wrapper: &[&str], prepare: &str, name: &str, argument: &Path) -> Command {
    let inner = child(name, argument);
    let mut command = Command::new(wrapper.first().copied().unwrap_or("sh"));
    command.args(wrapper.get(1..).unwrap_or_default());
    if !wrapper.is_empty() {
        command.arg("sh");
    }
    command.args(["-c", &format!("{prepare} && exec \"$0\" \"$@\"")]).arg(inner.get_program()).args(inner.get_args());
    command.env("MLS_KEEP_TEST_PATH", argument).stdin(Stdio::null());
    command
}

/// What [`child`] was given.
pub(crate) fn argument() -> std::path::PathBuf {
    std::env::var_os("MLS_KEEP_TEST_PATH").expect("another test runs this one").into()
}
