//! Files that somebody else has touched: each is refused with a clear kind or opens as if nothing had been, in seconds and in
//! little memory. No panic of redb takes the process with it.

#![cfg(target_os = "linux")]
// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{Key, StorageBackend};
use mls_keep_redb::{Config, RedbBackend};
use redb::{Database, MultimapTableDefinition, TableDefinition, WriteTransaction};

/// Address space of the child, KiB.
const MEMORY_KIB: &str = "300000";

/// How long all the openings of one child may take.
const TIME: Duration = Duration::from_secs(120);

/// What the child says of a keep that holds what was stored, and nothing else.
const WHOLE: &str = "whole";

const GIB: u64 = 1 << 30;
const KEEP: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keep");
const IDENTITY: TableDefinition<'_, &str, u32> = TableDefinition::new("mls-keep");

/// What is done to a closed file, and what the child then says.
type Case = (&'static str, fn(&Path), &'static str);

const CASES: &[Case] = &[
    ("nothing", |_| (), WHOLE),
    (
        "a table of another program",
        |path| with(path, |write| drop(write.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap())),
        "Invalid",
    ),
    (
        "a multimap of another program",
        |path| {
            with(path, |write| drop(write.open_multimap_table(MultimapTableDefinition::<u64, u64>::new("m")).unwrap()))
        },
        "Invalid",
    ),
    ("a savepoint", |path| with(path, |write| assert!(write.persistent_savepoint().unwrap() > 0)), "Invalid"),
    (
        "our table with other types",
        |path| {
            with(path, |write| {
                write.delete_table(KEEP).unwrap();
                drop(write.open_table(TableDefinition::<u64, u64>::new("keep")).unwrap());
            })
        },
        "Corrupt",
    ),
    (
        "our table as a multimap",
        |path| {
            with(path, |write| {
                write.delete_table(KEEP).unwrap();
                drop(write.open_multimap_table(MultimapTableDefinition::<&str, &[u8]>::new("keep")).unwrap());
            })
        },
        "Corrupt",
    ),
    (
        "our table missing",
        |path| {
            with(path, |write| {
                write.delete_table(KEEP).unwrap();
            })
        },
        "Corrupt",
    ),
    (
        "our table renamed",
        |path| with(path, |write| write.rename_table(KEEP, TableDefinition::<&str, &[u8]>::new("was")).unwrap()),
        "Corrupt",
    ),
    (
        "no identity",
        |path| {
            with(path, |write| {
                write.delete_table(IDENTITY).unwrap();
            })
        },
        "Invalid",
    ),
    (
        "an identity with other types",
        |path| {
            with(path, |write| {
                write.delete_table(IDENTITY).unwrap();
                drop(write.open_table(TableDefinition::<u64, u64>::new("mls-keep")).unwrap());
            })
        },
        "Invalid",
    ),
    (
        "an identity that is a multimap",
        |path| {
            with(path, |write| {
                write.delete_table(IDENTITY).unwrap();
                drop(write.open_multimap_table(MultimapTableDefinition::<&str, u32>::new("mls-keep")).unwrap());
            })
        },
        "Invalid",
    ),
    (
        "format 0",
        |path| {
            with(path, |write| {
                write.open_table(IDENTITY).unwrap().insert("format", 0).unwrap();
            })
        },
        "Corrupt",
    ),
    (
        "a newer format",
        |path| {
            with(path, |write| {
                write.open_table(IDENTITY).unwrap().insert("format", 9).unwrap();
            })
        },
        "UnsupportedVersion",
    ),
    (
        "a key that is none",
        |path| {
            with(path, |write| {
                write.open_table(KEEP).unwrap().insert("../x", &b"v"[..]).unwrap();
            })
        },
        "Corrupt, reading",
    ),
    (
        "a value that is too long",
        |path| {
            with(path, |write| {
                write.open_table(KEEP).unwrap().insert("k/2", &vec![1; (16 << 20) + 1][..]).unwrap();
            })
        },
        "Corrupt, reading",
    ),
    ("a file of redb 1", |path| put(path, 64, &[1]), "Invalid"),
    ("a file of 4 TiB", |path| set_len(path, 4096 * GIB), "Corrupt"),
    (
        "a file of 4 TiB that was not closed",
        |path| {
            set_len(path, 4096 * GIB);
            unclean(path);
        },
        "Corrupt",
    ),
    ("a file with 200 MiB of holes", |path| set_len(path, 200 << 20), WHOLE),
    ("an empty file", |path| set_len(path, 0), "Corrupt"),
    ("a magic and nothing else", |path| set_len(path, 9), "Corrupt"),
    ("a file of another program", |path| fs::write(path, "SQLite format 3\0".repeat(1000)).unwrap(), "Corrupt"),
    ("a page size of 1", |path| put(path, 12, &1_u32.to_le_bytes()), "Corrupt"),
    ("a page size of 2 GiB", |path| put(path, 12, &(1_u32 << 31).to_le_bytes()), "Corrupt"),
    ("huge region headers", |path| put(path, 16, &u32::MAX.to_le_bytes()), "Corrupt"),
    ("regions without pages", |path| put(path, 20, &0_u32.to_le_bytes()), "Corrupt"),
    ("huge regions", |path| put(path, 20, &u32::MAX.to_le_bytes()), "Corrupt"),
    ("too many regions", |path| put(path, 24, &u32::MAX.to_le_bytes()), "Corrupt"),
    ("a trailing region that is too long", |path| put(path, 28, &u32::MAX.to_le_bytes()), "Corrupt"),
    (
        "a pipe",
        |path| {
            fs::remove_file(path).unwrap();
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        },
        "Invalid",
    ),
    (
        "a device",
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        },
        "Invalid",
    ),
    (
        "a directory",
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        "Invalid",
    ),
    ("an end that was not clean", unclean, WHOLE),
];

fn key(number: usize) -> Key {
    Key::new(&format!("k/{number}")).unwrap()
}

fn value(number: usize) -> Bytes {
    vec![number as u8 + 1; 5000].into()
}

fn open(path: &Path) -> mls_keep_core::Result<RedbBackend> {
    RedbBackend::open(
        path,
        Config {
            busy_timeout: Duration::ZERO,
            create: false,
            check_pages: std::env::var_os("MLS_KEEP_UNCHECKED").is_none(),
            ..Config::default()
        },
    )
}

/// A closed keep with four values.
fn keep(path: &Path) {
    let backend = RedbBackend::open(path, Config::default()).unwrap();
    block_on(async {
        for number in 0..4 {
            backend.save(&key(number), value(9)).await.unwrap();
            backend.save(&key(number), value(number)).await.unwrap();
        }
        backend.close().await.unwrap();
    });
}

#[test]
fn what_somebody_else_has_touched_is_refused_or_has_no_effect() {
    let directory = tempfile::tempdir().unwrap();
    let closed = directory.path().join("closed");
    keep(&closed);
    let mut wrong = String::new();
    for (name, touch, expected) in CASES {
        let path = directory.path().join("keep");
        fs::copy(&closed, &path).unwrap();
        touch(&path);
        let begun = Instant::now();
        let says = open_in_little_memory(&path, &["as it is".into()]).remove("as it is").unwrap_or_default();
        println!("{name}: {says} ({:?})", begun.elapsed());
        if says.split(':').next() != Some(expected) {
            writeln!(wrong, "{name}: {says}, not {expected}").unwrap();
        }
        if begun.elapsed() > Duration::from_secs(30) {
            writeln!(wrong, "{name}: took {:?}", begun.elapsed()).unwrap();
        }
        fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A cut at every page, and every byte of the header and of both commit slots changed, of a file that was closed and of one
/// that was not.
#[test]
fn cuts_and_changed_bytes_of_the_header_are_refused_or_have_no_effect() {
    let directory = tempfile::tempdir().unwrap();
    let mut tally = BTreeMap::<String, usize>::new();
    let mut wrong = String::new();
    for (state, change) in [("closed", 0x01), ("closed", 0xff), ("not closed", 0x80)] {
        let path = directory.path().join(format!("{state} {change}"));
        keep(&path);
        if state == "not closed" {
            unclean(&path);
        }
        let cuts = (0..fs::metadata(&path).unwrap().len()).step_by(4096).map(|len| format!("cut {len}"));
        let changed = (0..320).map(|place| format!("xor {place} {change}"));
        for (how, says) in open_in_little_memory(&path, &cuts.chain(changed).collect::<Vec<_>>()) {
            let kind = says.split(':').next().unwrap_or_default();
            *tally.entry(kind.to_owned()).or_default() += 1;
            if ![WHOLE, "Corrupt", "Invalid", "UnsupportedVersion"].contains(&kind) {
                writeln!(wrong, "{state}, {how}: {says}").unwrap();
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.values().sum::<usize>() > 1000 && wrong.is_empty(), "{wrong}");
}

/// Bytes changed all over the pages of a file that was closed: redb by itself would trust it.
#[test]
fn changed_bytes_of_pages_are_refused_or_have_no_effect() {
    let says = change_pages(MEMORY_KIB, true);
    assert!(says.iter().all(|(_, says)| [WHOLE, "Corrupt"].contains(&kind(says))), "{says:?}");
}

/// Without the check redb panics where it likes. No panic takes the process with it, not even when the database is dropped.
#[test]
fn changed_bytes_of_pages_that_are_not_checked_end_no_process() {
    let says = change_pages("unlimited", false);
    let allowed =
        [WHOLE, "other", "UnsupportedVersion", "Corrupt", "Corrupt, reading", "Invalid", "OutcomeUnknown, reading"];
    assert!(says.iter().all(|(_, says)| allowed.contains(&kind(says))), "{says:?}");
}

fn change_pages(memory: &str, check: bool) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keep");
    keep(&path);
    let used: Vec<_> = fs::read(&path).unwrap().chunks(4096).map(|page| page.iter().any(|byte| *byte != 0)).collect();
    let used = used.iter().enumerate().skip(1).filter(|(_, used)| **used).map(|(page, _)| page * 4096);
    let places = used.flat_map(|page| [0, 1, 2, 3, 4, 5, 8, 12, 16, 20, 24, 36, 40, 60, 100].map(|at| page + at));
    let changes: Vec<_> = places.flat_map(|place| [1, 0xff].map(|change| format!("xor {place} {change}"))).collect();
    let says = open_in_memory(memory, check, &path, &changes);
    let mut tally = BTreeMap::<_, usize>::new();
    says.values().for_each(|says| *tally.entry(kind(says)).or_default() += 1);
    println!("{tally:?}");
    assert!(says.len() > 100 && tally.len() > 1);
    says
}

/// The first words of what a child says.
fn kind(says: &str) -> &str {
    says.split(':').next().unwrap_or_default()
}

/// Opens copies of the file that `MLS_KEEP_HOSTILE` names, each changed as a line of `MLS_KEEP_CHANGES` says, reads all of each,
/// and says what there was.
#[test]
#[ignore = "a child of the other tests, in a process of its own"]
fn child() {
    let path = std::env::var_os("MLS_KEEP_HOSTILE").unwrap();
    let path = Path::new(&path);
    for how in fs::read_to_string(std::env::var_os("MLS_KEEP_CHANGES").unwrap()).unwrap().lines() {
        let changed = path.with_extension("changed");
        let parts: Vec<_> = how.split(' ').collect();
        match parts[..] {
            ["cut", len] => {
                fs::copy(path, &changed).unwrap();
                set_len(&changed, len.parse().unwrap());
            }
            ["xor", place, change] => {
                let mut bytes = fs::read(path).unwrap();
                bytes[place.parse::<usize>().unwrap()] ^= change.parse::<u8>().unwrap();
                fs::write(&changed, bytes).unwrap();
            }
            _ => {}
        }
        let path = if how == "as it is" { path } else { &changed };
        let says = match open(path) {
            Err(error) => format!("{}: {error}", error.kind()),
            Ok(backend) => match block_on(read(&backend)) {
                Err(error) => format!("{}, reading: {error}", error.kind()),
                Ok(says) => says,
            },
        };
        println!("SAYS {how}\t{says}");
    }
}

async fn read(backend: &RedbBackend) -> mls_keep_core::Result<String> {
    let keys = backend.list("").await?;
    let mut whole = keys.len() == 4;
    for (number, key) in keys.iter().enumerate() {
        let data = backend.load(key).await?;
        whole &= *key == self::key(number) && data == Some(value(number));
    }
    // It goes on as well.
    backend.save(&Key::new("goes/on")?, Bytes::from_static(b"x")).await?;
    backend.close().await?;
    Ok(if whole { WHOLE.to_owned() } else { format!("other: {} keys", keys.len()) })
}

/// What [`child`] says of the file at `path` after each of `changes`; how it ended, where it said nothing.
fn open_in_little_memory(path: &Path, changes: &[String]) -> BTreeMap<String, String> {
    open_in_memory(MEMORY_KIB, true, path, changes)
}

/// As [`open_in_little_memory`], with so many KiB of addresses, and with or without a check of the pages.
fn open_in_memory(memory: &str, check: bool, path: &Path, changes: &[String]) -> BTreeMap<String, String> {
    let list = tempfile::NamedTempFile::new().unwrap();
    fs::write(list.path(), changes.join("\n")).unwrap();
    let script = format!("ulimit -v {memory}; exec \"$@\"");
    let mut command = Command::new("timeout");
    if !check {
        command.env("MLS_KEEP_UNCHECKED", "1");
    }
    let output = command
        .args(["--signal=KILL", &TIME.as_secs().to_string(), "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("MLS_KEEP_HOSTILE", path)
        .env("MLS_KEEP_CHANGES", list.path())
        // Each arena of the allocator takes 64 MiB of addresses.
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let says = text.lines().filter_map(|line| line.split_once("SAYS ")?.1.split_once('\t'));
    let mut says: BTreeMap<_, _> = says.map(|(name, says)| (name.to_owned(), says.to_owned())).collect();
    if let Some(how) = changes.iter().find(|how| !says.contains_key(*how)) {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = complaint.lines().rev().take(6).collect();
        says.insert(how.clone(), format!("{}: {last:?}", output.status));
    }
    says
}

/// Changes the database as another program would.
fn with(path: &Path, change: impl FnOnce(&WriteTransaction)) {
    let db = Database::open(path).unwrap();
    let write = db.begin_write().unwrap();
    change(&write);
    write.commit().unwrap();
    db.close().unwrap();
}

fn put(path: &Path, place: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, place).unwrap();
}

fn set_len(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Sets the flag that redb clears when it closes.
fn unclean(path: &Path) {
    let flags = fs::File::open(path).unwrap();
    let mut byte = [0];
    flags.read_exact_at(&mut byte, 9).unwrap();
    put(path, 9, &[byte[0] | 2]);
}
