//! An older state is put back under a running client: it refuses, or does not notice because it knows better. It never shows
//! an older state, and never uses a generation twice.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::adapter::Adapter;
use integration_tests::rollback::{Call, Pair, STEPS};
use integration_tests::store::{Image, image, load, open, open_shared, restore};
use integration_tests::wait::block_on;
use integration_tests::world::client;
use mls_keep::{ErrorKind, SavePolicy};
use mls_keep_core::{Key, MemoryBackend, StorageBackend};

/// What is put back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// The whole store.
    Whole,
    /// One client of two: its root and its nodes.
    Client,
    /// The root alone.
    Root,
    /// The root, beside the nodes of both states.
    RootAndAllNodes,
    /// The nodes alone.
    Nodes,
}

impl Part {
    const ALL: [Self; 5] = [Self::Whole, Self::Client, Self::Root, Self::RootAndAllNodes, Self::Nodes];

    /// The store with this part of `older`, where `root` is the client's.
    fn of(self, older: &Image, newest: &Image, root: &Key) -> Image {
        let nodes = root.as_str().replacen("r/", "n/", 1) + "/";
        let is_node = |key: &Key| key.as_str().starts_with(&nodes);
        let takes_root = self != Self::Nodes;
        let drops_nodes = matches!(self, Self::Client | Self::Nodes);
        if self == Self::Whole {
            return older.clone();
        }
        let mut image = newest.clone();
        image.retain(|key, _| !(drops_nodes && is_node(key)));
        let taken =
            older.iter().filter(|(key, _)| (takes_root && *key == root) || (self != Self::Root && is_node(key)));
        image.extend(taken.map(|(key, value)| (key.clone(), value.clone())));
        image
    }
}

/// Somebody writes `image` over what `store` holds.
fn put_back(store: &MemoryBackend, image: &Image) {
    block_on(async {
        for key in store.list("").await.unwrap() {
            store.delete(&key).await.unwrap();
        }
        for (key, value) in image {
            store.save(key, value.clone()).await.unwrap();
        }
    });
}

/// A life, as it was stored after each of its commits.
struct Life {
    pair: Pair,
    root: Key,
    alices: Vec<Image>,
    bobs: Image,
}

impl Life {
    fn new() -> Self {
        let (alices, bobs) = (MemoryBackend::new(), MemoryBackend::new());
        let manager = open(alices.clone()).unwrap();
        let mut pair = block_on(Pair::new(&manager, &open(bobs.clone()).unwrap()));
        let root = image(&alices).into_keys().find(|key| key.as_str().starts_with("r/")).unwrap();
        block_on(client(&manager, "carol", SavePolicy::EveryOperation));
        let mut images = vec![image(&alices)];
        for number in 0..STEPS {
            block_on(pair.step(number));
            images.push(image(&alices));
        }
        Self { pair, root, alices: images, bobs: image(&bobs) }
    }

    fn newest(&self) -> &Image {
        self.alices.last().unwrap()
    }

    /// Both in the newest state. Whether the group is in alice's memory is chosen.
    fn load(&self, store: &MemoryBackend, in_memory: bool) -> Pair {
        let alice = load(&open(store.clone()).unwrap(), "alice").unwrap();
        let bob = load(&open(restore(&self.bobs)).unwrap(), "bob").unwrap();
        let mut pair = self.pair.with(alice, bob);
        if in_memory {
            for call in [Call::History, Call::Record, Call::Export] {
                block_on(pair.call(call)).unwrap().unwrap();
            }
        }
        pair
    }
}

#[derive(Default)]
struct Tally {
    cases: usize,
    unnoticed: usize,
    kinds: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Tally {
    /// `refusals` are those that may be.
    fn add(
        &mut self,
        case: &str,
        result: Result<mls_keep::Result<()>, String>,
        must_refuse: bool,
        refusals: &[ErrorKind],
    ) {
        match result {
            Err(wrong) => self.wrong.push(format!("{case}: {wrong}")),
            Ok(Ok(())) if must_refuse => self.wrong.push(format!("{case}: it is not refused")),
            Ok(Ok(())) => self.unnoticed += 1,
            Ok(Err(error)) => {
                *self.kinds.entry(error.kind().to_string()).or_default() += 1;
                if !refusals.is_empty() && !refusals.contains(&error.kind()) {
                    self.wrong.push(format!("{case}: {error:?}"));
                }
            }
        }
    }

    fn finish(self, what: &str, least: usize) {
        let Self { cases, unnoticed, kinds, wrong } = self;
        println!(
            "{what}: {cases} cases, calls refused {kinds:?}, {unnoticed} calls without effect, {} wrong",
            wrong.len()
        );
        assert!(cases >= least, "{what}: too little was tried");
        let some: Vec<_> = wrong.iter().step_by(wrong.len().div_ceil(10).max(1)).collect();
        assert!(wrong.is_empty(), "{what}: {} are wrong, such as {some:#?}", wrong.len());
    }
}

/// A root that is older is called that. If its nodes are gone, or only nodes are older, that is damage.
const REFUSALS: [ErrorKind; 2] = [ErrorKind::RolledBack, ErrorKind::Corrupt];

#[test]
fn a_running_client_never_follows_its_store_back() {
    let life = Life::new();
    let mut tally = Tally::default();
    for (number, older) in life.alices.iter().enumerate().rev().skip(1) {
        for part in Part::ALL {
            let older = part.of(older, life.newest(), &life.root);
            if older == *life.newest() {
                continue;
            }
            for call in Call::ALL {
                for in_memory in [true, false] {
                    let case = format!("{part:?} of step {number}, {call:?}, in memory {in_memory}");
                    one_call(&life, &older, call, in_memory, part, &case, &mut tally);
                }
            }
        }
    }
    tally.finish("memory", 900);
}

fn one_call(life: &Life, older: &Image, call: Call, in_memory: bool, part: Part, case: &str, tally: &mut Tally) {
    let store = restore(life.newest());
    let mut pair = life.load(&store, in_memory);
    let mut other = load(&open(store.clone()).unwrap(), "alice").unwrap();
    put_back(&store, older);
    tally.cases += 1;
    let root_is_older = part != Part::Nodes;
    // What reads need not look whether somebody else has written; to refresh is to look.
    let must_refuse = root_is_older && (call.changes() || call == Call::Refresh);
    tally.add(case, block_on(pair.call(call)), must_refuse, &REFUSALS);
    for time in ["then sends", "then sends again"] {
        tally.add(&format!("{case}, {time}"), block_on(pair.call(Call::Send)), root_is_older, &REFUSALS);
    }
    tally.add(&format!("{case}, then the history"), block_on(pair.call(Call::History)), false, &REFUSALS);
    // Another one that ran on the same store.
    std::mem::swap(&mut pair.alice, &mut other);
    if root_is_older {
        tally.add(&format!("{case}, then another sends"), block_on(pair.call(Call::Send)), true, &REFUSALS);
    }
    // Somebody repairs it.
    put_back(&store, life.newest());
    std::mem::swap(&mut pair.alice, &mut other);
    tally.add(&format!("{case}, then repaired"), block_on(pair.call(Call::Send)), false, &REFUSALS);
}

/// A client that is loaded now cannot know better, without an anchor; one that runs does, also if the other has gone on.
#[test]
fn a_running_client_does_not_follow_another_one_that_went_on_from_an_older_state() {
    let life = Life::new();
    let mut tally = Tally::default();
    for (number, older) in life.alices.iter().enumerate().rev().skip(1) {
        for part in [Part::Whole, Part::Client, Part::RootAndAllNodes] {
            let older = part.of(older, life.newest(), &life.root);
            for call in Call::ALL {
                let case = format!("{part:?} of step {number}, another goes on, {call:?}");
                let store = restore(life.newest());
                let mut pair = life.load(&store, true);
                put_back(&store, &older);
                let mut other = load(&open(store.clone()).unwrap(), "alice").unwrap();
                // No message, which would use a generation twice.
                block_on(other.create_group("elsewhere")).unwrap();
                tally.cases += 1;
                let must_refuse = call.changes() || call == Call::Refresh;
                tally.add(&case, block_on(pair.call(call)), must_refuse, &REFUSALS);
                tally.add(&format!("{case}, then sends"), block_on(pair.call(Call::Send)), true, &REFUSALS);
            }
        }
    }
    tally.finish("another goes on", 300);
}

#[test]
fn a_client_that_was_deleted_and_made_again_is_another_one() {
    let life = Life::new();
    let mut tally = Tally::default();
    for call in Call::ALL {
        for commits in [0, STEPS + 20] {
            let store = restore(life.newest());
            let mut pair = life.load(&store, true);
            let manager = open(store.clone()).unwrap();
            block_on(manager.delete_client("alice")).unwrap();
            let mut other = block_on(client(&manager, "alice", SavePolicy::EveryOperation));
            for _ in 0..commits {
                block_on(other.create_group("another life")).unwrap();
            }
            let case = format!("{call:?} after {commits} commits of the new one");
            tally.cases += 1;
            let must_refuse = call.changes() || call == Call::Refresh;
            tally.add(&case, block_on(pair.call(call)), must_refuse, &[ErrorKind::NotFound]);
            tally.add(&format!("{case}, then sends"), block_on(pair.call(Call::Send)), true, &[ErrorKind::NotFound]);
        }
    }
    tally.finish("made again", 30);
}

/// The files of a store, by their names in it.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(directory: &Path) -> Files {
    fn walk(directory: &Path, within: &Path, found: &mut Files) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = within.join(entry.file_name());
            if entry.path().is_dir() {
                walk(&entry.path(), &name, found);
            } else {
                found.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut found = Files::new();
    walk(directory, Path::new(""), &mut found);
    found
}

/// A pair whose alice is in a store of `adapter`, and the files of that after each step. In the middle it is closed and
/// opened again, so that what was new is not in the same file all the time.
struct Disk {
    pair: Pair,
    directory: tempfile::TempDir,
    states: Vec<Files>,
}

impl Disk {
    fn new(adapter: Adapter) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = adapter.path(directory.path(), "keep");
        let open_it = || open_shared(adapter.open(&path).unwrap()).unwrap();
        let mut manager = open_it();
        let mut pair = block_on(Pair::new(&manager, &open(MemoryBackend::new()).unwrap()));
        let mut states = vec![files(directory.path())];
        for number in 0..STEPS {
            if number == STEPS / 2 {
                block_on(manager.close()).unwrap();
                manager = open_it();
                pair.alice = load(&manager, "alice").unwrap();
            }
            block_on(pair.step(number));
            states.push(files(directory.path()));
        }
        Self { pair, directory, states }
    }

    /// Writes those files over the ones that are open.
    fn put_back(&self, older: &Files) {
        for (name, content) in older {
            fs::write(self.directory.path().join(name), content).unwrap();
        }
    }
}

/// The files that one can put back by themselves.
fn choices(adapter: Adapter, older: &Files, newest: &Files) -> Vec<(String, Files)> {
    let differs = |name: &PathBuf| newest.get(name) != older.get(name);
    let mut choices: Vec<(String, Files)> = older
        .iter()
        // The index of the log is shared memory, which is not a file to anybody but SQLite.
        .filter(|(name, _)| differs(name) && !name.to_string_lossy().ends_with("-shm"))
        .map(|(name, content)| (name.display().to_string(), Files::from([(name.clone(), content.clone())])))
        .collect();
    // Files of values are many and alike.
    choices.truncate(3);
    let all: Files = older.iter().filter(|(name, _)| differs(name)).map(|(a, b)| (a.clone(), b.clone())).collect();
    if !all.is_empty() {
        choices.push((format!("all files of {adapter}"), all));
    }
    choices
}

fn under_an_adapter(adapter: Adapter) {
    let mut tally = Tally::default();
    let calls = [Call::Send, Call::Receive, Call::SelfUpdate, Call::Refresh, Call::Verify, Call::History];
    for number in [1, STEPS / 2, STEPS - 1] {
        let count = {
            let disk = Disk::new(adapter);
            choices(adapter, &disk.states[number], disk.states.last().unwrap()).len()
        };
        for choice in 0..count {
            for call in calls {
                let mut disk = Disk::new(adapter);
                let choices = choices(adapter, &disk.states[number], disk.states.last().unwrap());
                let Some((name, older)) = choices.get(choice) else { continue };
                let case = format!("{name} of step {number}, {call:?}");
                disk.put_back(older);
                tally.cases += 1;
                // An engine reads what it wants to read again: it may go on with what it knows, or say what it finds.
                tally.add(&case, block_on(disk.pair.call(call)), false, &[]);
                for _ in 0..2 {
                    tally.add(&format!("{case}, then sends"), block_on(disk.pair.call(Call::Send)), false, &[]);
                }
                tally.add(&format!("{case}, then the history"), block_on(disk.pair.call(Call::History)), false, &[]);
            }
        }
    }
    tally.finish(adapter.name(), 30);
}

#[test]
fn a_running_client_never_follows_a_file_of_sqlite_back() {
    under_an_adapter(Adapter::Sqlite);
}

#[test]
fn a_running_client_never_follows_a_file_of_the_file_adapter_back() {
    under_an_adapter(Adapter::File);
}
