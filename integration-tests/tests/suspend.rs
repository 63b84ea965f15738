//! A suspended client holds no file, no map, no lock and no thread of its store, and another process has the store
//! meanwhile: what iOS asks of an application in the background (it ends one that holds a lock, with 0xdead10cc).

#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use integration_tests::adapter::Adapter;
use integration_tests::store::open_shared;
use integration_tests::wait::block_on;
use mls_keep::{Change, Client, ErrorKind, Persistence, Received, SavePolicy};

/// The threads that one test counts must not be the other's.
static ALONE: Mutex<()> = Mutex::new(());

/// What this process holds below `directory`, and its threads that serve a store.
fn held(directory: &Path) -> Vec<String> {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let files = links.map(|link| link.to_string_lossy().into_owned());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let names = fs::read_dir("/proc/self/task").unwrap();
    let threads = names.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let directory = directory.canonicalize().unwrap().to_string_lossy().into_owned();
    let below = files.chain(maps.lines().map(str::to_owned)).filter(|held| held.contains(&directory));
    below.chain(threads.filter(|name| name.starts_with("mls-keep"))).collect()
}

/// What another process answers to `message`, with the store for itself.
fn extension(adapter: Adapter, path: &Path, message: &[u8]) -> Vec<u8> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_extension-child"))
        .args([adapter.name().as_ref(), path.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", HEXLOWER.encode(message)).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{adapter}");
    HEXLOWER.decode(String::from_utf8(output.stdout).unwrap().trim().as_bytes()).unwrap()
}

#[test]
fn a_suspended_client_holds_nothing_of_its_store_and_goes_on_behind_another_process() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let every = SavePolicy::EveryOperation;
    let interval = SavePolicy::Interval { every: std::time::Duration::from_secs(1000), reserve: 8 };
    for (adapter, save) in Adapter::chosen().into_iter().flat_map(|adapter| [(adapter, every), (adapter, interval)]) {
        let directory = tempfile::tempdir().unwrap();
        let path = adapter.path(directory.path(), "alice");
        let manager = open_shared(adapter.open(&path).unwrap()).unwrap();
        let persistence = Persistence { manager: manager.clone(), save };
        let mut alice = block_on(Client::builder("alice").persistence(persistence).create()).unwrap();
        let mut bob = block_on(Client::builder("bob").create()).unwrap();
        let group = block_on(alice.create_group("tea")).unwrap();
        let package = block_on(bob.key_package()).unwrap().to_bytes().unwrap();
        let made = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap();
        block_on(bob.join(made.welcome.unwrap())).unwrap();
        for round in 0..3 {
            let before = block_on(alice.send(&group, "before")).unwrap().to_bytes().unwrap();
            block_on(bob.receive(before)).unwrap();
            assert!(!held(directory.path()).is_empty(), "{adapter}: else this test sees nothing");
            block_on(alice.suspend()).unwrap();
            assert_eq!(held(directory.path()), Vec::<String>::new(), "{adapter}, round {round}");
            assert_eq!(block_on(alice.send(&group, "x")).unwrap_err().kind(), ErrorKind::Poisoned);

            let message = block_on(bob.send(&group, "to the extension")).unwrap().to_bytes().unwrap();
            let answer = extension(adapter, &path, &message);
            block_on(bob.receive(answer)).unwrap();

            assert!(block_on(alice.resume(adapter.open(&path).unwrap())).unwrap(), "{adapter}: it was changed");
            let again = block_on(alice.receive(&message)).unwrap();
            assert!(matches!(again, Received::AlreadyReceived(Some(_))), "{adapter}: {again:?}");
            // A key that was used by the extension would be refused.
            let after = block_on(alice.send(&group, "after")).unwrap().to_bytes().unwrap();
            assert!(matches!(block_on(bob.receive(after)).unwrap(), Received::Message(_)), "{adapter}");
        }
        assert_eq!(block_on(alice.history(&group, 100)).unwrap().len(), 12, "{adapter}");
        let found = block_on(alice.store().unwrap().verify(&mut |_| ())).unwrap();
        assert!(found.is_sound(), "{adapter}: {found:?}");
        // A store that was put back by its copy meanwhile is not gone on from.
        let copy = directory.path().join("copy");
        block_on(alice.suspend()).unwrap();
        copy_all(&path, &copy);
        block_on(alice.resume(adapter.open(&path).unwrap())).unwrap();
        block_on(alice.send(&group, "after the copy")).unwrap();
        block_on(alice.suspend()).unwrap();
        remove_all(&path);
        copy_all(&copy, &path);
        let resumed = block_on(alice.resume(adapter.open(&path).unwrap()));
        assert_eq!(resumed.unwrap_err().kind(), ErrorKind::RolledBack, "{adapter}");
        assert_eq!(held(directory.path()), Vec::<String>::new(), "{adapter}: what is refused is given up");
        drop((alice, manager));
    }
}

/// Other handles of the keep may still exist: the files are closed all the same.
#[test]
fn a_backend_that_the_application_has_too_is_closed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for adapter in Adapter::chosen() {
        let directory = tempfile::tempdir().unwrap();
        let path = adapter.path(directory.path(), "alice");
        let backend = adapter.open(&path).unwrap();
        let manager = open_shared(Arc::clone(&backend)).unwrap();
        let persistence = Persistence { manager, save: SavePolicy::EveryOperation };
        let mut alice = block_on(Client::builder("alice").persistence(persistence).create()).unwrap();
        block_on(alice.suspend()).unwrap();
        assert_eq!(held(directory.path()), Vec::<String>::new(), "{adapter}");
        assert_eq!(block_on(backend.list("")).unwrap_err().kind(), ErrorKind::Poisoned, "{adapter}");
    }
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_all(&entry.path(), &to.join(entry.file_name()));
    }
}

fn remove_all(path: &Path) {
    match path.is_file() {
        true => fs::remove_file(path).unwrap(),
        false => fs::remove_dir_all(path).unwrap(),
    }
}
