//! What is done while the power is cut: commits, numbered, each with a node of its own; and what must be found afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mls_keep_core::{Commit, Key, StorageBackend, Swap};

use crate::adapter::Adapter;
use crate::wait::block_on;

/// How many commits there are before the store is closed and opened again, and as many after it. In the long form enough
/// for an engine to begin new segments and to reuse old ones.
fn commits() -> u64 {
    if std::env::var_os("MLS_KEEP_CRASH").is_some_and(|form| form == "long") { 200 } else { 4 }
}

/// Names of stores that are not ours, to see that the model finds what is wrong with them, and nothing else.
pub const CONTROLS: [&str; 7] = [
    // SQLite with a rollback journal and `synchronous` FULL or EXTRA.
    "sqlite-full",
    "sqlite-extra",
    // A file that is renamed into place without a flush of itself or of its directory.
    "file-unflushed",
    "directory-unflushed",
    // A log whose records are flushed one by one, and that is read at opening: as it is, after a flush, or after it was
    // written again and flushed.
    "log-unflushed-open",
    "log-flushed-open",
    "log-rewritten-open",
];

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Does the work of `subject`, an [`Adapter`] or one of [`CONTROLS`], in `directory`; each acknowledged number is a line
/// `ack NUMBER` on standard output.
///
/// # Errors
/// If anything fails. Then the store was closed, whatever became of that.
pub fn work(subject: &str, directory: &Path) -> Outcome<()> {
    let mut number = 0;
    for _ in 0..2 {
        let mut store = Store::open(subject, directory)?;
        acknowledge(number);
        for _ in 0..commits() {
            number += 1;
            if let Err(error) = store.commit(number) {
                drop(store.close());
                return Err(error);
            }
            acknowledge(number);
        }
        store.close()?;
        acknowledge(number);
    }
    Ok(())
}

/// Opens what is in `directory`, shows the number that it finds, which counts as an acknowledgement, commits two more and
/// ends without closing.
///
/// # Panics
/// If it does not open, is not whole, or does not go on.
pub fn go_on(subject: &str, directory: &Path) -> ! {
    let mut store = Store::open(subject, directory).unwrap();
    let found = store.found();
    acknowledge(found);
    for number in found + 1..=found + 2 {
        store.commit(number).unwrap();
        acknowledge(number);
    }
    std::process::exit(0)
}

/// Opens what is in `directory`, goes on with it, and returns the number that was found.
///
/// # Panics
/// If it does not open, is not whole, or does not go on.
#[must_use]
pub fn judge(subject: &str, directory: &Path) -> u64 {
    let mut store = Store::open(subject, directory).unwrap();
    let found = store.found();
    store.commit(found + 1).unwrap();
    store.close().unwrap();
    let store = Store::open(subject, directory).unwrap();
    assert_eq!(store.found(), found + 1, "what was committed after the power came back is gone");
    store.close().unwrap();
    found
}

/// One write for a line.
fn acknowledge(number: u64) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("ack {number}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

enum Store {
    Keep(Arc<dyn StorageBackend>),
    Sqlite(rusqlite::Connection),
    File { path: PathBuf, flush: bool },
    Log { file: File, found: u64 },
}

impl Store {
    fn open(subject: &str, directory: &Path) -> Outcome<Self> {
        Ok(match subject {
            "sqlite-full" | "sqlite-extra" => {
                let connection = rusqlite::Connection::open(directory.join("control.db"))?;
                let synchronous = subject.strip_prefix("sqlite-").unwrap();
                connection.pragma_update(None, "journal_mode", "DELETE")?;
                connection.pragma_update(None, "synchronous", synchronous)?;
                connection.execute("CREATE TABLE IF NOT EXISTS t (number INTEGER, padding BLOB)", [])?;
                Self::Sqlite(connection)
            }
            "file-unflushed" | "directory-unflushed" => {
                Self::File { path: directory.join("control"), flush: subject == "directory-unflushed" }
            }
            "log-unflushed-open" | "log-flushed-open" | "log-rewritten-open" => open_log(subject, directory)?,
            adapter => {
                let adapter: Adapter = adapter.parse()?;
                Self::Keep(adapter.open(&adapter.path(directory, "keep"))?)
            }
        })
    }

    /// The number of the last commit that is there. Asserts that all of it is.
    fn found(&self) -> u64 {
        match self {
            Self::Keep(backend) => block_on(async {
                let root = backend.load(&key("r")).await.unwrap();
                let number = root.map_or(0, |root| number_of(&root));
                let nodes = backend.list("n/").await.unwrap();
                let wanted: Vec<_> = (number > 0).then(|| node(number)).into_iter().collect();
                assert_eq!(nodes, wanted, "the nodes are not those of the root {number}");
                for node in nodes {
                    assert_eq!(
                        backend.load(&node).await.unwrap(),
                        Some(value(number, 3000)),
                        "the node is another one"
                    );
                }
                number
            }),
            Self::Sqlite(connection) => {
                let newest = "SELECT ifnull(max(number), 0) FROM t";
                connection.query_row(newest, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
            }
            Self::File { path, .. } => match fs::read(path) {
                Ok(content) => number_of(&content),
                Err(_) => 0,
            },
            Self::Log { found, .. } => *found,
        }
    }

    fn commit(&mut self, number: u64) -> Outcome<()> {
        match self {
            Self::Keep(backend) => {
                let expected = (number > 1).then(|| value(number - 1, 700));
                let swap = Swap { key: key("r"), expected, replacement: Some(value(number, 700)) };
                let deletes = (number > 1).then(|| node(number - 1)).into_iter().collect();
                let puts = vec![(node(number), value(number, 3000))];
                block_on(backend.commit(Commit { puts, swap, deletes }))?;
            }
            Self::Sqlite(connection) => {
                let padding = value(number, 3000).to_vec();
                connection.execute("INSERT INTO t VALUES (?1, ?2)", (number as i64, padding))?;
            }
            Self::File { path, flush } => {
                let new = path.with_extension("new");
                let mut file = File::create(&new)?;
                file.write_all(&value(number, 3000))?;
                if *flush {
                    file.sync_all()?;
                }
                fs::rename(new, path)?;
            }
            Self::Log { file, found } => {
                file.write_at(&value(number, RECORD), *found * RECORD as u64)?;
                file.sync_data()?;
                *found = number;
            }
        }
        Ok(())
    }

    fn close(self) -> Outcome<()> {
        match self {
            Self::Keep(backend) => Ok(block_on(backend.close())?),
            Self::Sqlite(connection) => connection.close().map_err(|(_, error)| error.into()),
            Self::File { .. } | Self::Log { .. } => Ok(()),
        }
    }
}

/// The length of a record of the log.
const RECORD: usize = 3000;

/// Opens the control's log, whose records end at the first one that is not whole.
fn open_log(subject: &str, directory: &Path) -> Outcome<Store> {
    let path = directory.join("control.log");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    let mut content = Vec::new();
    (&file).read_to_end(&mut content)?;
    let records = content.chunks_exact(RECORD).zip(1..);
    let found = records.take_while(|(record, number)| **record == value(*number, RECORD)).count();
    if subject == "log-rewritten-open" {
        file.write_at(&content[..found * RECORD], 0)?;
    }
    if subject != "log-unflushed-open" {
        file.sync_all()?;
    }
    // All of them, so that it is the record alone that is not flushed.
    File::open(directory)?.sync_all()?;
    Ok(Store::Log { file, found: found as u64 })
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn node(number: u64) -> Key {
    key(&format!("n/{number}"))
}

/// `len` bytes that are of this number only.
fn value(number: u64, len: usize) -> Bytes {
    number.to_be_bytes().into_iter().cycle().take(len).collect()
}

fn number_of(value: &[u8]) -> u64 {
    let (number, _) = value.split_first_chunk().expect("the value is cut");
    let number = u64::from_be_bytes(*number);
    assert_eq!(value, &self::value(number, value.len())[..], "the value is torn");
    number
}
