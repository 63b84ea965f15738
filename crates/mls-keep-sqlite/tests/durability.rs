//! What the README promises about files, processes, power and space, on real files.

// Also in the functions that the tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_conformance::directory_contains;
use mls_keep_core::{ErrorKind, StorageBackend};
use mls_keep_sqlite::{Config, SqliteBackend};
use rusqlite::Connection;
use support::{argument, child, increment, key, load, number, open, save, swap, value};

/// The number of transactions that the log at `path` holds: frames with a size are the last of one.
/// <https://www.sqlite.org/fileformat2.html#walformat>
fn transactions(path: &Path) -> usize {
    let log = fs::read(path.with_extension("db-wal")).unwrap();
    let word = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let page = word(8) as usize;
    let salt = &log[16..24];
    let frames = (32..).step_by(24 + page).take_while(|at| at + 24 + page <= log.len());
    frames.take_while(|at| &log[at + 8..at + 16] == salt).filter(|at| word(at + 4) != 0).count()
}

#[test]
fn commits_that_wait_share_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let backend = open(&path);
    save(&backend, "warm", value("x")).unwrap();
    let before = transactions(&path);

    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waiting: Vec<_> =
        (0..32).map(|client| backend.commit(swap(&format!("root/{client}"), None, Some(&value("r"))))).collect();
    // The first poll asks the thread. It cannot answer while another connection holds the write lock.
    for future in &mut waiting {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    holder.execute_batch("ROLLBACK").unwrap();
    for future in waiting {
        block_on(future).unwrap();
    }
    let used = transactions(&path) - before;
    assert!((1..=2).contains(&used), "32 commits that waited took {used} transactions");
    for client in 0..32 {
        assert_eq!(load(&backend, &format!("root/{client}")), Some(value("r")));
    }
}

#[test]
fn commit_many_is_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let backend = open(&path);
    save(&backend, "root/1", value("other")).unwrap();
    let before = transactions(&path);
    let commits = (0..3).map(|client| swap(&format!("root/{client}"), None, Some(&value("r")))).collect();
    let results = block_on(backend.commit_many(commits));
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(transactions(&path) - before, 1, "two commits and a conflict");
    let results = block_on(backend.commit_many(vec![swap("root/1", None, None), swap("root/2", None, None)]));
    assert_eq!(results.iter().map(Result::is_err).collect::<Vec<_>>(), [true, true]);
    assert_eq!(transactions(&path) - before, 1, "conflicts alone write nothing");
}

#[test]
fn many_make_the_file_at_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep.db");
        let mut other = child("counts_once_in_a_child", &path).stdout(Stdio::null()).spawn().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| increment(&open(&path)));
            }
        });
        assert!(other.wait().unwrap().success());
        assert_eq!(number(load(&open(&path), "root").as_ref()), 5);
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn counts_once_in_a_child() {
    increment(&open(&argument()));
}

#[test]
fn two_processes_count_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let mut other = child("counts_in_a_child", &path).stdout(Stdio::null()).spawn().unwrap();
    let backend = open(&path);
    for _ in 0..200 {
        increment(&backend);
    }
    assert!(other.wait().unwrap().success());
    assert_eq!(number(load(&backend, "root").as_ref()), 400);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn counts_in_a_child() {
    let backend = open(&argument());
    for _ in 0..200 {
        increment(&backend);
    }
    block_on(backend.close()).unwrap();
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    for run in 0..3 {
        let mut other = child("commits_until_killed", &path).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let numbers = lines.by_ref().filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        let mut acknowledged = numbers.take(30 + run * 7).last().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
        // What it had written to the pipe before it was killed counts as well.
        for line in lines {
            acknowledged = line.strip_prefix("acknowledged ").and_then(|n| n.parse().ok()).unwrap_or(acknowledged);
        }
        let backend = open(&path);
        let root = number(load(&backend, "root").as_ref());
        assert!(root == acknowledged || root == acknowledged + 1, "acknowledged {acknowledged}, found {root}");
        assert_eq!(load(&backend, &format!("n/{root}")), Some(node(root)), "the root's node");
        assert_eq!(block_on(backend.list("n/")).unwrap(), [key(&format!("n/{root}"))], "and no other");
    }
}

fn node(number: u64) -> Bytes {
    Bytes::from(number.to_string().repeat(3000))
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn commits_until_killed() {
    let backend = open(&argument());
    loop {
        let before = load(&backend, "root");
        let next = number(before.as_ref()) + 1;
        let mut commit = swap("root", before.as_ref(), Some(&value(&next.to_string())));
        commit.puts = vec![(key(&format!("n/{next}")), node(next))];
        commit.deletes = vec![key(&format!("n/{}", next - 1))];
        block_on(backend.commit(commit)).unwrap();
        println!("acknowledged {next}");
    }
}

#[test]
fn a_lock_that_is_held_is_busy_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let config = Config { busy_timeout: Duration::from_millis(20), ..Config::default() };
    let backend = SqliteBackend::open(&path, config).unwrap();
    save(&backend, "k", value("before")).unwrap();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(save(&backend, "k", value("during")).unwrap_err().kind(), ErrorKind::Busy);
    let results = block_on(backend.commit_many(vec![swap("a", None, None), swap("b", None, None)]));
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().kind() == ErrorKind::Busy));
    assert_eq!(load(&backend, "k"), Some(value("before")), "readers go on");
    holder.execute_batch("ROLLBACK").unwrap();
    save(&backend, "k", value("after")).unwrap();
    assert_eq!(load(&backend, "k"), Some(value("after")));
}

#[test]
fn a_reader_that_stays_makes_a_checkpoint_busy_and_not_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let config = Config { busy_timeout: Duration::from_millis(20), ..Config::default() };
    let backend = SqliteBackend::open(&path, config).unwrap();
    save(&backend, "k", value("x")).unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM keep").unwrap();
    save(&backend, "k", value("y")).unwrap();
    assert_eq!(block_on(backend.checkpoint()).unwrap_err().kind(), ErrorKind::Busy);
    block_on(backend.close()).unwrap();
    drop(reader);
    assert_eq!(load(&open(&path), "k"), Some(value("y")));
}

#[test]
fn deleted_bytes_leave_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let marker = b"secret-marker-41d0";
    for checkpoint in [true, false] {
        let backend = open(&path);
        for index in 0..30 {
            save(&backend, &format!("n/{index}"), Bytes::from(marker.repeat(1 + index * 20))).unwrap();
        }
        assert!(directory_contains(dir.path(), marker), "the values are there while they are kept");
        for index in 0..15 {
            block_on(backend.delete(&key(&format!("n/{index}")))).unwrap();
        }
        // In a commit a new value takes the place of one that goes, shorter, as long, or longer.
        let mut root = None;
        for index in 15..30 {
            let next = value(&index.to_string());
            let mut commit = swap("root", root.as_ref(), Some(&next));
            commit.puts = vec![(key(&format!("m/{index}")), Bytes::from(vec![1; index * 400 - 5000]))];
            commit.deletes = vec![key(&format!("n/{index}"))];
            block_on(backend.commit(commit)).unwrap();
            root = Some(next);
        }
        block_on(backend.commit(swap("root", root.as_ref(), None))).unwrap();
        if checkpoint {
            block_on(backend.checkpoint()).unwrap();
            assert!(!directory_contains(dir.path(), marker), "after a checkpoint");
            assert_eq!(fs::metadata(path.with_extension("db-wal")).unwrap().len(), 0, "the log is empty");
            drop(backend);
        } else {
            block_on(backend.close()).unwrap();
        }
        assert!(!directory_contains(dir.path(), marker), "after it is closed");
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, ["keep.db"], "the log and its index go with the last user");
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keep.db");
    let backend = open(&path);
    save(&backend, "k", value("x")).unwrap();
    let mut seen = Vec::new();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        seen.push((entry.file_name().into_string().unwrap(), mode));
    }
    seen.sort();
    let wanted = ["keep.db", "keep.db-shm", "keep.db-wal"].map(|name| (name.to_owned(), 0o600));
    assert_eq!(seen, wanted);
}

#[test]
fn a_checkpoint_or_close_of_a_closed_backend() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(&dir.path().join("keep.db"));
    block_on(backend.close()).unwrap();
    assert_eq!(block_on(backend.checkpoint()).unwrap_err().kind(), ErrorKind::Poisoned);
    block_on(backend.close()).unwrap();
}

#[cfg(target_os = "linux")]
mod full {
    use super::*;
    use crate::support::child_after;

    /// Runs the test `name` on a file system of its own with `size`. Loud, and false, where that may not be made.
    fn on_a_small_file_system(name: &str, size: &str) {
        let dir = tempfile::tempdir().unwrap();
        let wrapper = ["unshare", "--map-root-user", "--mount"];
        let mount = format!("mount -t tmpfs -o size={size} keep \"$MLS_KEEP_TEST_PATH\"");
        let allowed = std::process::Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &mount])
            .env("MLS_KEEP_TEST_PATH", dir.path())
            .stderr(Stdio::null())
            .status();
        if !allowed.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("MLS_KEEP_CRASH_REQUIRED").is_none(), "{name} needs a user namespace");
            let text = format!("NOT RUN: {name}: no user namespace in which a tmpfs can be mounted\n");
            std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
            return;
        }
        let done = child_after(&wrapper, &mount, name, dir.path()).output().unwrap();
        let text = [done.stdout, done.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(done.status.success() && text.contains("1 passed"), "{text}");
    }

    #[test]
    fn no_space_is_told_and_passes() {
        on_a_small_file_system("full::fills_the_disk", "8m");
    }

    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn fills_the_disk() {
        let dir = argument();
        let ballast = dir.join("ballast");
        fs::write(&ballast, vec![1; 4 << 20]).unwrap();
        let backend = open(&dir.join("keep.db"));
        let data = |index: u64| Bytes::from(index.to_be_bytes().repeat(8 << 10));
        let mut root = None;
        let mut kept = 0;
        let error = loop {
            let next = value(&kept.to_string());
            let mut commit = swap("root", root.as_ref(), Some(&next));
            commit.puts = vec![(key(&format!("n/{kept}")), data(kept))];
            match block_on(backend.commit(commit)) {
                Ok(()) => (root, kept) = (Some(next), kept + 1),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::NoSpace, "after {kept} commits: {error:?}");
        assert!(kept > 5);

        // What was acknowledged is there, and what was not is not.
        assert_eq!(load(&backend, "root"), root);
        assert_eq!(load(&backend, &format!("n/{kept}")), None);
        for index in 0..kept {
            assert_eq!(load(&backend, &format!("n/{index}")), Some(data(index)));
        }
        // There is no room to move the log into the database either. A close says so, and nothing is lost by it.
        assert_eq!(block_on(backend.close()).unwrap_err().kind(), ErrorKind::NoSpace);
        let backend = open(&dir.join("keep.db"));
        assert_eq!(load(&backend, "root"), root);
        // One that is too large for what is left does not take its neighbours with it.
        let mut large = swap("root/2", None, Some(&value("r")));
        large.puts = vec![(key("large"), Bytes::from(vec![1; 1 << 20]))];
        fs::remove_file(&ballast).unwrap();
        fs::write(&ballast, vec![1; 3600 << 10]).unwrap();
        let small = |client: u64| swap(&format!("root/{client}"), None, Some(&value("r")));
        let results = block_on(backend.commit_many(vec![small(1), large, small(3)]));
        let kinds: Vec<_> = results.iter().map(|result| result.as_ref().map_err(|error| error.kind())).collect();
        assert_eq!(kinds, [Ok(&()), Err(ErrorKind::NoSpace), Ok(&())]);

        fs::remove_file(&ballast).unwrap();
        save(&backend, "after", data(1)).expect("freed space is used");
        block_on(backend.close()).unwrap();
        let backend = open(&dir.join("keep.db"));
        assert_eq!(load(&backend, "after"), Some(data(1)));
        assert_eq!(load(&backend, "root"), root);
    }

    #[test]
    fn a_medium_that_is_full_or_read_only_is_refused() {
        on_a_small_file_system("full::opens_what_cannot_be_written", "1m");
    }

    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn opens_what_cannot_be_written() {
        let dir = argument();
        let path = dir.join("keep.db");
        block_on(open(&path).close()).unwrap();
        let remount = |how: &str| {
            let mut mount = std::process::Command::new("mount");
            assert!(mount.args(["-o", how]).arg(&dir).status().unwrap().success());
        };
        remount("remount,ro");
        support::refused(&path, ErrorKind::ReadOnly, "may not be written");
        support::refused(&dir.join("new.db"), ErrorKind::ReadOnly, "new.db");
        remount("remount,rw");
        let ballast = dir.join("ballast");
        let full = fs::write(&ballast, vec![1; 2 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        support::refused(&dir.join("new.db"), ErrorKind::NoSpace, "no room");
        support::refused(&path, ErrorKind::NoSpace, "no room");
        fs::remove_file(ballast).unwrap();
        open(&dir.join("new.db"));
    }

    /// A write that fails for another reason than a full disk: the file may grow to 256 KiB only, and no signal comes.
    #[test]
    fn a_failed_flush_is_an_unknown_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep.db");
        let limit = "trap '' XFSZ && ulimit -f 512";
        let done = child_after(&[], limit, "full::fails_to_write", &path).output().unwrap();
        let text = [done.stdout, done.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(done.status.success() && text.contains("1 passed"), "{text}");
        let backend = open(&path);
        assert_eq!(load(&backend, "root"), Some(value("kept")));
        save(&backend, "k", value("y")).unwrap();
    }

    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn fails_to_write() {
        let backend = open(&argument());
        let kept = value("kept");
        block_on(backend.commit(swap("root", None, Some(&kept)))).unwrap();
        let mut commit = swap("root", Some(&kept), Some(&value("lost")));
        commit.puts = vec![(key("n/1"), Bytes::from(vec![1; 400 << 10]))];
        let refused = swap("root", None, None);
        let mut results = block_on(backend.commit_many(vec![refused, commit]));
        let error = results.pop().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
        assert_eq!(results.pop().unwrap().unwrap_err().kind(), ErrorKind::Conflict, "what was refused is known");
        // Neither repeated as if nothing had been, nor read from a state that the next open may replace.
        assert_eq!(save(&backend, "k", value("x")).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(block_on(backend.load(&key("root"))).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(block_on(backend.list("")).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(block_on(backend.checkpoint()).unwrap_err().kind(), ErrorKind::Poisoned);
        block_on(backend.close()).unwrap();
        assert_eq!(load(&open(&argument()), "root"), Some(kept), "another open goes on");
    }
}
