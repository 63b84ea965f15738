//! Directories that somebody else has touched: each is refused with a clear kind or opens as if nothing had been, in seconds
//! and in little memory. No panic of sled takes the process with it.

#![cfg(target_os = "linux")]
// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{Key, StorageBackend};
use mls_keep_sled::{Config, SledBackend};

/// Address space of the child, KiB. The program itself and its threads take a good part of it.
const MEMORY_KIB: &str = "300000";

/// How long an opening may take.
const TIME: Duration = Duration::from_secs(60);

/// What the child says of a keep that holds what was stored, and nothing else.
const WHOLE: &str = "whole";

const GIB: u64 = 1 << 30;

/// What is done to a keep that was closed, and what the child then says.
type Case = (&'static str, fn(&Path), &'static str);

const CASES: &[Case] = &[
    ("nothing", |_| (), WHOLE),
    ("a tree of another program", |keep| with(keep, |db| drop(db.open_tree("theirs").unwrap())), "Invalid"),
    ("values in sled's own tree", |keep| with(keep, |db| drop(db.insert("a", "b").unwrap())), "Invalid"),
    (
        "a key that is none",
        |keep| with(keep, |db| drop(db.open_tree("keep").unwrap().insert("../x", "v").unwrap())),
        "Corrupt, reading",
    ),
    (
        "a key that is no text",
        |keep| with(keep, |db| drop(db.open_tree("keep").unwrap().insert(b"\xff", "v").unwrap())),
        "Corrupt, reading",
    ),
    (
        "a value that is too long",
        |keep| with(keep, |db| drop(db.open_tree("keep").unwrap().insert("k/2", vec![1; (16 << 20) + 1]).unwrap())),
        "Corrupt, reading",
    ),
    (
        "settings of another size of segments",
        |keep| settings(keep, "segment_size: 524288", "segment_size: 262144"),
        "Invalid",
    ),
    ("settings with compression", |keep| settings(keep, "use_compression: false", "use_compression: true"), "Invalid"),
    ("settings of another version", |keep| settings(keep, "version: 0.34", "version: 0.99"), "Invalid"),
    (
        "settings that make no sense",
        |keep| fs::write(keep.join("store/conf"), "merge_operator: append\nxxxx").unwrap(),
        "Corrupt",
    ),
    ("settings of 1 TiB", |keep| set_len(&keep.join("store/conf"), 1024 * GIB), "Corrupt"),
    ("settings that are a pipe", |keep| pipe(&keep.join("store/conf")), "Corrupt"),
    (
        "a snapshot of another program",
        |keep| fs::write(keep.join("store/snap.00000000000000FF"), "just a text that is not short").unwrap(),
        "Corrupt",
    ),
    ("an empty snapshot", |keep| fs::write(keep.join("store/snap.FFFFFFFFFFFFFFFF"), "").unwrap(), "Corrupt"),
    (
        "a snapshot of 1 TiB",
        |keep| {
            let path = keep.join("store/snap.00000000000000FF");
            fs::write(&path, "x").unwrap();
            set_len(&path, 1024 * GIB);
        },
        "Corrupt",
    ),
    ("a snapshot that is a pipe", |keep| pipe(&keep.join("store/snap.00000000000000FF")), "Corrupt"),
    ("a log of 4 TiB", |keep| set_len(&keep.join("store/db"), 4096 * GIB), "Corrupt"),
    (
        "a log of 4 TiB of nothing",
        |keep| {
            set_len(&keep.join("store/db"), 0);
            set_len(&keep.join("store/db"), 4096 * GIB);
        },
        "Corrupt",
    ),
    ("a log with 50 MiB of holes", |keep| set_len(&keep.join("store/db"), 50 << 20), WHOLE),
    (
        "a log that is a link",
        |keep| {
            fs::rename(keep.join("store/db"), keep.join("db")).unwrap();
            symlink(keep.join("db"), keep.join("store/db")).unwrap();
        },
        "Corrupt",
    ),
    ("a log that is a pipe", |keep| pipe(&keep.join("store/db")), "Corrupt"),
    ("a log that is a directory", |keep| directory(&keep.join("store/db")), "Corrupt"),
    ("no log", |keep| fs::remove_file(keep.join("store/db")).unwrap(), "Corrupt"),
    ("a blob of nobody", |keep| fs::write(keep.join("store/blobs/5"), "x").unwrap(), WHOLE),
    (
        "a blob of 1 TiB",
        |keep| {
            fs::write(keep.join("store/blobs/5"), "x").unwrap();
            set_len(&keep.join("store/blobs/5"), 1024 * GIB);
        },
        "Corrupt",
    ),
    ("a blob that is a pipe", |keep| pipe(&keep.join("store/blobs/5")), "Corrupt"),
    ("a blob with a name that is no number", |keep| fs::write(keep.join("store/blobs/theirs"), "x").unwrap(), WHOLE),
    (
        "blobs that are a file",
        |keep| {
            fs::remove_dir_all(keep.join("store/blobs")).unwrap();
            fs::write(keep.join("store/blobs"), "x").unwrap();
        },
        "Corrupt",
    ),
    ("a file that sled does not make", |keep| fs::write(keep.join("store/notes.txt"), "x").unwrap(), "Corrupt"),
    (
        "a store that is a link",
        |keep| {
            fs::rename(keep.join("store"), keep.join("s")).unwrap();
            symlink(keep.join("s"), keep.join("store")).unwrap();
        },
        "Corrupt",
    ),
    ("a lock that is a pipe", |keep| pipe(&keep.join("mls-keep.lock")), "Invalid"),
    ("a lock of another program", |keep| fs::write(keep.join("mls-keep.lock"), "mls-keep-fs 1\n").unwrap(), "Invalid"),
    ("an end that was not clean", |keep| fs::write(keep.join("mls-keep.open"), "").unwrap(), WHOLE),
];

fn value(number: usize) -> Bytes {
    vec![number as u8 + 1; 3000].into()
}

fn key(number: usize) -> Key {
    Key::new(&format!("k/{number}")).unwrap()
}

fn open(path: &Path) -> mls_keep_core::Result<SledBackend> {
    SledBackend::open(path, Config { busy_timeout: Duration::ZERO, ..Config::default() })
}

/// A closed keep with four values.
fn keep(path: &Path) {
    let backend = open(path).unwrap();
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
        copy(&closed, &path);
        touch(&path);
        let begun = Instant::now();
        let says = open_in_little_memory(&path);
        let took = begun.elapsed();
        println!("{name}: {says} ({took:?})");
        if says.split(':').next() != Some(expected) {
            writeln!(wrong, "{name}: {says}, not {expected}").unwrap();
        }
        if took > TIME / 2 {
            writeln!(wrong, "{name}: took {took:?}").unwrap();
        }
        fs::remove_dir_all(&path).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Bytes changed all over the log. sled cuts a damaged log off without a word, and what is left is an older state; its README
/// says so. What must not be is the end of the process or a call without an end.
#[test]
fn changed_bytes_of_the_log_end_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let closed = directory.path().join("closed");
    keep(&closed);
    let log = fs::read(closed.join("store/db")).unwrap();
    let used = log.iter().rposition(|byte| *byte != 0).unwrap();
    let mut tally = std::collections::BTreeMap::<String, usize>::new();
    for place in (0..48).chain((48..used).step_by(used / 60)) {
        let path = directory.path().join("keep");
        copy(&closed, &path);
        let mut changed = log.clone();
        changed[place] ^= 0xff;
        fs::write(path.join("store/db"), changed).unwrap();
        let says = open_in_little_memory(&path);
        let kind = says.split(':').next().unwrap_or_default().to_owned();
        let allowed = [WHOLE, "other", "Corrupt", "Corrupt, reading", "OutcomeUnknown, reading"];
        assert!(allowed.contains(&kind.as_str()), "{place}: {says}");
        *tally.entry(kind).or_default() += 1;
        fs::remove_dir_all(&path).unwrap();
    }
    println!("{tally:?}");
}

/// Opens the keep that `MLS_KEEP_HOSTILE` names, reads all of it, and says what there was.
#[test]
#[ignore = "a child of the other test, in a process of its own"]
fn child() {
    let path = std::env::var_os("MLS_KEEP_HOSTILE").unwrap();
    let says = match open(Path::new(&path)) {
        Err(error) => format!("{}: {error}", error.kind()),
        Ok(backend) => match block_on(read(&backend)) {
            Err(error) => format!("{}, reading: {error}", error.kind()),
            Ok(says) => says,
        },
    };
    println!("SAYS {says}");
}

async fn read(backend: &SledBackend) -> mls_keep_core::Result<String> {
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

/// What [`child`] says of the keep at `path`, or how it ended.
fn open_in_little_memory(path: &Path) -> String {
    let script = format!("ulimit -v {MEMORY_KIB}; exec \"$@\"");
    let output = Command::new("timeout")
        .args(["--signal=KILL", &TIME.as_secs().to_string(), "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("MLS_KEEP_HOSTILE", path)
        // Each arena of the allocator takes 64 MiB of addresses, and each thread one of them.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let says = text.lines().find_map(|line| line.split_once("SAYS ").map(|(_, says)| says.to_owned()));
    says.unwrap_or_else(|| format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn set_len(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Changes the database as another program would.
fn with(keep: &Path, change: impl FnOnce(&sled::Db)) {
    let db = sled::Config::new().path(keep.join("store")).flush_every_ms(None).open().unwrap();
    change(&db);
    db.flush().unwrap();
    drop(db);
    let log = File::open(keep.join("store/db")).unwrap();
    log.lock().unwrap();
}

/// Changes a line of the settings, with their right checksum.
fn settings(keep: &Path, from: &str, to: &str) {
    let path = keep.join("store/conf");
    let mut stored = fs::read(&path).unwrap();
    stored.truncate(stored.len() - 4);
    let changed = String::from_utf8(stored).unwrap().replace(from, to);
    assert!(changed.contains(to), "{changed}");
    fs::write(&path, [changed.as_bytes(), &crc32fast::hash(changed.as_bytes()).to_le_bytes()].concat()).unwrap();
}

fn pipe(path: &Path) {
    drop(fs::remove_file(path));
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn directory(path: &Path) {
    drop(fs::remove_file(path));
    fs::create_dir(path).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
