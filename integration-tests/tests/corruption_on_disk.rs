//! Damage of the files of a store, for every adapter on a disk: what is read then is refused with a kind that says so, or is
//! the newest state in full. Where a log ends is the one thing that damage can hide.
//!
//! The short form flips and cuts at some hundred places of each file; `MLS_KEEP_CRASH=long` at twenty times as many.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use integration_tests::adapter::Adapter;
use integration_tests::power_loss::again::is_long;
use integration_tests::random::Random;
use integration_tests::store::{load, open_shared};
use integration_tests::wait::block_on;
use integration_tests::world::client;
use mls_keep::SavePolicy;

/// A child that takes this long hangs, seconds.
const HANG: &str = "30";

/// Commits, each of which is a state.
const COMMITS: usize = 6;

/// The files of a store, by their names in its directory.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A store, and what it says after each of its commits.
struct Store {
    adapter: Adapter,
    /// As a kill leaves it, and as it is when it was closed.
    forms: [(&'static str, Files); 2],
    /// What the child says of the states, the oldest first.
    states: Vec<String>,
    /// The closed store after each commit.
    earlier: Vec<Files>,
}

/// What became of all damage.
#[derive(Default)]
struct Tally {
    cases: usize,
    newest: usize,
    refused: BTreeMap<String, usize>,
    /// By how many commits the state is older, and where the damage is.
    older: BTreeMap<(String, usize), Vec<String>>,
    /// What must never be.
    wrong: Vec<String>,
}

fn files(directory: &Path) -> Files {
    fn walk(directory: &Path, within: &Path, found: &mut Files) {
        let mut entries = fs::read_dir(directory).unwrap().peekable();
        if entries.peek().is_none() {
            // With a slash at its end: there is a directory, and nothing in it.
            found.insert(within.join(""), Vec::new());
        }
        for entry in entries {
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

fn write(files: &Files) -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = tempfile::tempdir_in(parent).unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        if name.as_os_str().as_encoded_bytes().ends_with(b"/") {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    directory
}

/// What a process says that reads all of it. An error if it panics or hangs.
fn read(adapter: Adapter, files: &Files) -> Result<String, String> {
    let directory = write(files);
    let output = Command::new("timeout")
        .args(["--signal=KILL", HANG, env!("CARGO_BIN_EXE_damage-child"), adapter.name()])
        .arg(adapter.path(directory.path(), "keep"))
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(format!("it ends with {:?}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

impl Store {
    fn new(adapter: Adapter) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = || open_shared(adapter.open(&adapter.path(directory.path(), "keep")).unwrap()).unwrap();
        let (mut states, mut earlier) = (Vec::new(), Vec::new());
        let mut manager = open();
        let mut alice = block_on(client(&manager, "alice", SavePolicy::EveryOperation));
        let group = block_on(alice.create_group("tea")).unwrap();
        for number in 0..COMMITS {
            // The first half is in the store's own place, the second in what is to be replayed.
            if number <= COMMITS / 2 {
                drop(alice);
                block_on(manager.close()).unwrap();
                drop(manager);
                earlier.push(files(directory.path()));
                manager = open();
                alice = load(&manager, "alice").unwrap();
            }
            let text = format!("message {number} {}", "which is long enough for a few pages ".repeat(20));
            block_on(alice.send(&group, text)).unwrap();
            states.push(read(adapter, &files(directory.path())).unwrap());
        }
        let killed = files(directory.path());
        drop(alice);
        block_on(manager.close()).unwrap();
        drop(manager);
        let closed = files(directory.path());
        let newest = states.last().unwrap();
        assert!(newest.starts_with("contents "), "{adapter}: {newest}");
        assert_eq!(read(adapter, &closed).unwrap(), *newest);
        Self { adapter, forms: [("killed", killed), ("closed", closed)], states, earlier }
    }

    /// Reads damaged files. What is read is judged, and counted.
    fn judge(&self, case: &str, place: &Path, files: &Files, tally: &mut Tally) {
        tally.cases += 1;
        let newest = self.states.len() - 1;
        let said = match read(self.adapter, files) {
            Ok(said) => said,
            Err(complaint) => return tally.wrong.push(format!("{case}: {complaint}")),
        };
        match (self.states.iter().position(|state| *state == said), refusal(&said)) {
            (Some(state), _) if state == newest => tally.newest += 1,
            (Some(state), _) => {
                let key = (place.display().to_string(), newest - state);
                tally.older.entry(key).or_default().push(case.to_owned());
            }
            (None, Some(kind)) => *tally.refused.entry(kind.to_owned()).or_default() += 1,
            // A state that there never was, or a kind that does not say that the store is damaged.
            (None, None) => tally.wrong.push(format!("{case}: {said}")),
        }
    }
}

/// The kind of a refusal, if it is one that says what is to be done about damage.
fn refusal(said: &str) -> Option<&str> {
    let (kind, _) = said.strip_prefix("refused ")?.split_once(' ')?;
    let clear = ["Corrupt", "NotFound", "Invalid", "WrongKey", "UnsupportedVersion", "RolledBack"];
    clear.contains(&kind).then_some(kind)
}

/// Places in a file: all of its beginning, and some of the rest, of what is not zero above all.
fn places(content: &[u8], random: &mut Random) -> Vec<usize> {
    let (len, times) = (content.len(), if is_long() { 20 } else { 1 });
    let dense = (0..len.min(64)).chain(4096..len.min(4096 + 16));
    let used: Vec<_> = (0..len).filter(|at| content[*at] != 0).collect();
    let (stride, stride_of_used) = ((len / (50 * times)).max(1), (used.len() / (100 * times)).max(1));
    let all = (random.below(stride)..len).step_by(stride);
    let used = used.iter().skip(random.below(stride_of_used)).step_by(stride_of_used).copied();
    let mut places: Vec<_> = dense.chain(all).chain(used).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// What a store without its shared memory is, which an engine makes anew.
fn damaged_files(files: &Files) -> impl Iterator<Item = (&PathBuf, &Vec<u8>)> {
    files.iter().filter(|(name, content)| !content.is_empty() && !name.to_string_lossy().ends_with("-shm"))
}

fn damage(store: &Store) -> Tally {
    let (begun, mut tally, adapter) = (Instant::now(), Tally::default(), store.adapter);
    let mut random = Random::from_environment();
    for (form, files) in &store.forms {
        // Files of values are alike: a few of them are enough for every day.
        let all: Vec<_> = damaged_files(files).collect();
        let step = if is_long() { 1 } else { all.len().div_ceil(6) };
        for (name, content) in all.iter().copied().step_by(step) {
            for at in places(content, &mut random) {
                let bit = random.below(8);
                let mut damaged = files.clone();
                damaged.get_mut(name).unwrap()[at] ^= 1 << bit;
                store.judge(
                    &format!("{form}: bit {bit} of byte {at} of {}", name.display()),
                    name,
                    &damaged,
                    &mut tally,
                );
            }
            for len in places(content, &mut random).into_iter().step_by(8) {
                let mut damaged = files.clone();
                damaged.get_mut(name).unwrap().truncate(len);
                store.judge(&format!("{form}: {} cut at {len}", name.display()), name, &damaged, &mut tally);
            }
            let mut longer = files.clone();
            longer.get_mut(name).unwrap().extend(random.bytes(5000));
            store.judge(&format!("{form}: {} is longer", name.display()), name, &longer, &mut tally);
        }
        for (name, content) in damaged_files(files) {
            let mut missing = files.clone();
            missing.remove(name);
            store.judge(&format!("{form}: {} is missing", name.display()), name, &missing, &mut tally);
            for (other, value) in damaged_files(files).filter(|(other, value)| *other != name && *value != content) {
                let mut swapped = files.clone();
                swapped.insert(name.clone(), value.clone());
                let case = format!("{form}: {} in the place of {}", other.display(), name.display());
                store.judge(&case, name, &swapped, &mut tally);
                if !is_long() {
                    break;
                }
            }
        }
    }
    older_files(store, &mut tally);
    let Tally { cases, newest, refused, older, wrong } = &tally;
    let older: BTreeMap<_, _> = older.iter().map(|(key, cases)| (key, cases.len())).collect();
    println!(
        "{adapter}: {cases} kinds of damage: {newest} without effect, refused {refused:?}, older {older:?}, {:?}",
        begun.elapsed()
    );
    for ((place, commits), cases) in &tally.older {
        println!(
            "{place}, {commits} commits older: {} cases, such as {:?}",
            cases.len(),
            &cases[..cases.len().min(20)]
        );
    }
    assert!(*cases >= 400, "{adapter}: too little was tried");
    assert!(refused.values().sum::<usize>() >= 50, "{adapter}: hardly anything was damaged");
    let some: Vec<_> = wrong.iter().step_by(wrong.len().div_ceil(10).max(1)).collect();
    assert!(wrong.is_empty(), "{adapter}: {} of {cases} are wrong, such as {some:#?}", wrong.len());
    tally
}

/// A file of an earlier state among the newest: of a store that was closed, which has everything in its own place.
fn older_files(store: &Store, tally: &mut Tally) {
    let (_, closed) = &store.forms[1];
    let mut tried = 0;
    for (number, earlier) in store.earlier.iter().enumerate() {
        let differing: Vec<_> =
            damaged_files(earlier).filter(|(name, content)| closed.get(*name) != Some(content)).collect();
        // All of them together are the earlier state, which nothing can tell without an anchor.
        let alone = differing.len() > 1;
        for (name, content) in differing.into_iter().filter(|_| alone) {
            let mut mixed = closed.clone();
            mixed.insert(name.clone(), content.clone());
            let case = format!("{} of step {number} among newer files", name.display());
            store.judge(&case, name, &mixed, tally);
            tried += 1;
        }
    }
    println!("{}: {tried} older files among newer ones", store.adapter);
}

/// The places at which damage was followed by an older state.
fn places_of_older(tally: &Tally) -> Vec<&str> {
    let mut places: Vec<_> = tally.older.keys().map(|(place, _)| place.as_str()).collect();
    places.dedup();
    places
}

#[test]
fn damage_of_a_file_of_sqlite_is_noticed() {
    let store = Store::new(Adapter::Sqlite);
    let tally = damage(&store);
    // A frame whose checksum is wrong ends the log: it looks like one that was not written to its end.
    assert!(places_of_older(&tally).iter().all(|place| place.ends_with("-wal")), "{:?}", tally.older);
}

/// The files of a store of SQLite after `sql`, of another program that opens the file.
fn after(files: &Files, sql: &str) -> Files {
    let directory = write(files);
    let path = Adapter::Sqlite.path(directory.path(), "keep");
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    self::files(directory.path())
}

fn rows(files: &Files) -> BTreeMap<String, String> {
    let directory = write(files);
    let connection = rusqlite::Connection::open(Adapter::Sqlite.path(directory.path(), "keep")).unwrap();
    let mut rows = connection.prepare("SELECT hex(key), hex(value) FROM keep").unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn rows_of_sqlite_that_another_program_has_changed_are_noticed() {
    let store = Store::new(Adapter::Sqlite);
    let (_, closed) = &store.forms[1];
    let mut tally = Tally::default();
    let newest = rows(closed);
    let mut values: Vec<_> = store.earlier.iter().flat_map(|earlier| rows(earlier).into_values()).collect();
    values.extend(newest.values().cloned());
    values.sort();
    values.dedup();
    for (key, value) in &newest {
        let delete = after(closed, &format!("DELETE FROM keep WHERE key = x'{key}'"));
        store.judge(&format!("row {key} is missing"), Path::new("rows"), &delete, &mut tally);
        for (number, other) in values.iter().enumerate().filter(|(_, other)| *other != value) {
            let update = after(closed, &format!("UPDATE keep SET value = x'{other}' WHERE key = x'{key}'"));
            store.judge(&format!("row {key} has value {number}"), Path::new("rows"), &update, &mut tally);
        }
    }
    println!("{} rows changed, refused {:?}", tally.cases, tally.refused);
    assert!(tally.cases >= 20, "too little was tried");
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert_eq!(tally.refused.values().sum::<usize>(), tally.cases, "older: {:?}", tally.older);
}

#[test]
fn damage_of_a_file_of_the_file_adapter_is_noticed() {
    let tally = damage(&Store::new(Adapter::File));
    // What is damaged in the last record makes it one that was never written.
    let last = |place: &str, commits: usize| place.ends_with("/log") && commits == 1;
    assert!(tally.older.keys().all(|(place, commits)| last(place, *commits)), "{:?}", tally.older);
}

#[test]
fn damage_of_a_file_of_redb_is_noticed() {
    let tally = damage(&Store::new(Adapter::Redb));
    // A page that is damaged after a kill looks like one that was not written: redb goes back to the commit before.
    let killed = |cases: &[String]| cases.iter().all(|case| case.starts_with("killed: "));
    assert!(tally.older.iter().all(|((_, commits), cases)| *commits == 1 && killed(cases)), "{:#?}", tally.older);
}

/// sled goes back without a word, as its README says. It reads no state that there never was, and does not panic or hang.
#[test]
fn damage_of_a_file_of_sled_gives_a_state_that_was() {
    let tally = damage(&Store::new(Adapter::Sled));
    let back: usize = tally.older.values().map(Vec::len).sum();
    println!("sled went back {back} times");
    assert!(places_of_older(&tally).iter().all(|place| place.ends_with("/db")), "{:?}", tally.older);
}
