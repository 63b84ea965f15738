//! A kill, an I/O error and a full disk at every system call with which an operation writes.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::adapter::Adapter;
use integration_tests::operation::{Operation, Scenario};
use integration_tests::store::{Contents, contents, load, open_keep_shared, open_shared};
use integration_tests::strace;
use integration_tests::wait::block_on;
use mls_keep::ErrorKind;

/// What writes, by name: strace counts the calls of each name by itself.
const CALLS: [&str; 11] = [
    "write",
    "pwrite64",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
];

/// What happens at a call.
const FAULTS: [&str; 3] = ["signal=SIGKILL", "error=EIO", "error=ENOSPC"];

/// A child that takes this long hangs, and is killed.
const HANG: Duration = Duration::from_secs(60);

/// In the short form. In the long form it is all that change something.
const OPERATIONS: [Operation; 4] = [Operation::Send, Operation::ReceiveCommit, Operation::Join, Operation::Forget];

fn is_long() -> bool {
    std::env::var_os("MLS_KEEP_CRASH").is_some_and(|form| form == "long")
}

/// A fault at the `at`th call of a name, counted from 1 in each thread.
#[derive(Clone, Copy)]
struct Injection {
    call: &'static str,
    at: usize,
    fault: &'static str,
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} {}", self.fault, self.call, self.at)
    }
}

/// What is run: an operation on a store, with the files of a scenario.
struct Child<'a> {
    adapter: Adapter,
    operation: &'a str,
    scenario: &'a Path,
}

/// How the child ended.
#[derive(Clone, Debug, Eq, PartialEq)]
enum End {
    Acknowledged,
    Killed,
    Failed(String),
}

/// A store before an operation, to be copied.
struct Before {
    adapter: Adapter,
    operation: Operation,
    directory: tempfile::TempDir,
    scenario: Scenario,
    contents: Contents,
}

#[derive(Default)]
struct Tally {
    points: BTreeMap<String, usize>,
    acknowledged: usize,
    killed: usize,
    failed: BTreeMap<String, usize>,
}

#[test]
fn an_operation_survives_a_fault_at_every_call_that_writes() {
    if !strace::is_there("an_operation_survives_a_fault_at_every_call_that_writes") {
        return;
    }
    for adapter in Adapter::chosen() {
        let (begun, mut tally) = (Instant::now(), Tally::default());
        let all = Operation::ALL.into_iter().filter(|operation| !operation.changes_nothing());
        let operations: Vec<_> = if is_long() { all.collect() } else { OPERATIONS.to_vec() };
        for operation in operations {
            let before = Before::new(adapter, operation);
            each_point(&mut tally, &mut |injection, tally| before.try_one(injection, tally));
        }
        tally.print(adapter, "operations", begun);
    }
}

#[test]
fn a_store_can_be_made_again_after_a_fault_at_every_call_that_writes() {
    if !strace::is_there("a_store_can_be_made_again_after_a_fault_at_every_call_that_writes") {
        return;
    }
    for adapter in Adapter::chosen() {
        let (begun, mut tally) = (Instant::now(), Tally::default());
        each_point(&mut tally, &mut |injection, tally| create_one(adapter, injection, tally));
        tally.print(adapter, "creating", begun);
    }
}

#[test]
fn opening_after_a_kill_survives_a_fault_at_every_call_that_writes() {
    if !strace::is_there("opening_after_a_kill_survives_a_fault_at_every_call_that_writes") {
        return;
    }
    for adapter in Adapter::chosen() {
        let (begun, mut tally) = (Instant::now(), Tally::default());
        let before = Before::new(adapter, Operation::Send);
        // Left by kills at each of the last calls of each name.
        let mut left = 0;
        for call in CALLS {
            let mut kills = Vec::new();
            for at in 1.. {
                let store = before.copy();
                let kill = Injection { call, at, fault: FAULTS[0] };
                if before.child("Send").run(&before.path(store.path()), kill) != End::Killed {
                    break;
                }
                kills.push(store);
            }
            let skipped = if is_long() { 0 } else { kills.len().saturating_sub(1) };
            for killed in kills.into_iter().skip(skipped) {
                left += 1;
                each_point(&mut tally, &mut |injection, tally| before.recover_one(killed.path(), injection, tally));
            }
        }
        assert!(left > 1, "{adapter}: no kill left anything");
        tally.print(adapter, "opening after a kill", begun);
    }
}

/// Tries every call of every name, with every fault, until none is injected any more.
fn each_point(tally: &mut Tally, try_one: &mut dyn FnMut(Injection, &mut Tally) -> bool) {
    for call in CALLS {
        for fault in FAULTS {
            for at in 1.. {
                if !try_one(Injection { call, at, fault }, tally) {
                    break;
                }
                *tally.points.entry(call.into()).or_default() += 1;
            }
        }
    }
}

impl Before {
    fn new(adapter: Adapter, operation: Operation) -> Self {
        let scenario = operation.prepare();
        let directory = tempfile::tempdir().unwrap();
        scenario.write_to(directory.path());
        let backend = adapter.open(&adapter.path(directory.path(), "keep")).unwrap();
        block_on(async {
            for (key, value) in &scenario.alice {
                backend.save(key, value.clone()).await.unwrap();
            }
            backend.close().await.unwrap();
        });
        let contents = read(adapter, directory.path());
        Self { adapter, operation, directory, scenario, contents }
    }

    fn path(&self, directory: &Path) -> PathBuf {
        self.adapter.path(directory, "keep")
    }

    fn copy(&self) -> tempfile::TempDir {
        copy(self.directory.path())
    }

    fn child<'a>(&'a self, operation: &'a str) -> Child<'a> {
        Child { adapter: self.adapter, operation, scenario: self.directory.path() }
    }

    /// Whether there was a fault.
    fn try_one(&self, injection: Injection, tally: &mut Tally) -> bool {
        let name = format!("{:?}", self.operation);
        let (child, store) = (self.child(&name), self.copy());
        let end = child.run(&self.path(store.path()), injection);
        let case = format!("{}: {name}, {injection}: {end:?}", self.adapter);
        self.check(&case, store.path(), &end);
        tally.add(&end) || child.is_injected(&self.path(self.copy().path()), injection)
    }

    /// Opens what a kill has left, with a fault of its own.
    fn recover_one(&self, killed: &Path, injection: Injection, tally: &mut Tally) -> bool {
        let (child, store) = (self.child("Export"), copy(killed));
        let end = child.run(&self.path(store.path()), injection);
        let case = format!("{}: opening after a kill, {injection}: {end:?}", self.adapter);
        self.check(&case, store.path(), if end == End::Acknowledged { &End::Killed } else { &end });
        tally.add(&end) || child.is_injected(&self.path(copy(killed).path()), injection)
    }

    /// What is there is the state before or the one after, whole, and the client goes on.
    fn check(&self, case: &str, directory: &Path, end: &End) {
        let now = read(self.adapter, directory);
        let manager = open_shared(self.adapter.open(&self.path(directory)).unwrap()).unwrap();
        let mut alice = load(&manager, "alice").unwrap_or_else(|error| panic!("{case}: {error:?}"));
        let output = if now == self.contents {
            assert_ne!(*end, End::Acknowledged, "{case}: it was acknowledged, and is gone");
            let again = block_on(self.operation.run(&mut alice, &self.scenario));
            Some(again.unwrap_or_else(|error| panic!("{case}: it cannot be done again: {error:?}")))
        } else {
            alice.set_outbox(true);
            None
        };
        self.operation.settle(&mut alice, &self.scenario, output);
        drop(alice);
        block_on(manager.close()).unwrap();
    }
}

fn create_one(adapter: Adapter, injection: Injection, tally: &mut Tally) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = adapter.path(directory.path(), "keep");
    let child = Child { adapter, operation: "create", scenario: directory.path() };
    let end = child.run(&path, injection);
    let case = format!("{adapter}: creating, {injection}: {end:?}");
    let backend = adapter.open(&path).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    let manager = open_shared(backend).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    match block_on(manager.client_builder("alice").create()) {
        Ok(client) => {
            assert_ne!(end, End::Acknowledged, "{case}: it was acknowledged, and is gone");
            drop(client);
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{case}: {error:?}"),
    }
    let mut alice = load(&manager, "alice").unwrap();
    block_on(alice.create_group("tea")).unwrap();
    drop(alice);
    block_on(manager.close()).unwrap();
    tally.add(&end) || {
        let directory = tempfile::tempdir().unwrap();
        child.is_injected(&adapter.path(directory.path(), "keep"), injection)
    }
}

/// Everything that is kept, decrypted.
fn read(adapter: Adapter, directory: &Path) -> Contents {
    let backend = adapter.open(&adapter.path(directory, "keep")).unwrap();
    let keep = open_keep_shared(backend.clone()).unwrap();
    let contents = contents(&keep, "alice").unwrap();
    block_on(backend.close()).unwrap();
    contents
}

impl Child<'_> {
    /// Runs it with a fault at a call.
    fn run(&self, store: &Path, injection: Injection) -> End {
        let output = self.trace(store, injection, Path::new("/dev/null"));
        let complaint = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => End::Acknowledged,
            Some(3) => End::Failed(complaint.lines().last().unwrap_or_default().to_owned()),
            // strace ends as its child does: by the signal.
            None => End::Killed,
            Some(code) => {
                panic!("{}: {}, {injection}: it ended with {code}: {complaint}", self.adapter, self.operation)
            }
        }
    }

    /// Whether a fault is injected although it acknowledges: closing may fail, and a file that could not be removed may be
    /// left. Then there may be a later call of the name as well.
    fn is_injected(&self, store: &Path, injection: Injection) -> bool {
        let log = tempfile::NamedTempFile::new().unwrap();
        self.trace(store, injection, log.path());
        fs::read_to_string(log.path()).unwrap().contains("(INJECTED)")
    }

    fn trace(&self, store: &Path, injection: Injection, log: &Path) -> std::process::Output {
        let Injection { call, at, fault } = injection;
        let begun = Instant::now();
        // Ends strace and the child together.
        let output = Command::new("timeout")
            .args(["--signal=KILL", &HANG.as_secs().to_string(), "strace"])
            .args(["-f", "-qq", "-e", "signal=none", "-e", &format!("trace={call}"), "-e"])
            .arg(format!("inject={call}:{fault}:when={at}"))
            .arg("-o")
            .arg(log)
            .arg(env!("CARGO_BIN_EXE_operation-child"))
            .args([self.adapter.name().as_ref(), store.as_os_str(), self.operation.as_ref(), self.scenario.as_os_str()])
            .output()
            .unwrap();
        if begun.elapsed() >= HANG {
            // sled's threads wait for each other after some failed writes: its README says so. The others do not.
            assert_eq!(self.adapter.name(), "sled", "{}, {injection}: it hangs", self.operation);
            println!("{}: {}, {injection}: it hung and was killed", self.adapter, self.operation);
        }
        output
    }
}

impl Tally {
    /// Whether it is certain that there was a fault.
    fn add(&mut self, end: &End) -> bool {
        match end {
            End::Acknowledged => self.acknowledged += 1,
            End::Killed => self.killed += 1,
            End::Failed(what) => {
                let kind = what.split(':').next().unwrap_or_default().to_owned();
                *self.failed.entry(kind).or_default() += 1;
            }
        }
        *end != End::Acknowledged
    }

    fn print(&self, adapter: Adapter, what: &str, begun: Instant) {
        let points: usize = self.points.values().sum();
        println!(
            "{adapter}, {what}: {points} faults at {:?}; {} killed, failed {:?}, {} acknowledged; {:?}",
            self.points,
            self.killed,
            self.failed,
            self.acknowledged,
            begun.elapsed()
        );
        assert!(points >= 20, "{adapter}, {what}: too little was tried");
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
