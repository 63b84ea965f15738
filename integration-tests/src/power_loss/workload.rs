//! What is done while the power is cut: commits, numbered, each with a node of its own; and what must be found afterwards.

use std::fs;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use mls_keep_core::{Commit, Key, StorageBackend, Swap};

use crate::adapter::Adapter;
use crate::wait::block_on;

/// How many commits there are before the store is closed and opened again, and as many after it. In the long form enough
/// for an engine to begin new segments and to reuse old ones.
fn commits() -> u64 {
    if std::env::var_os("MLS_KEEP_CRASH").is_some_and(|form| form == "long") { 200 } else { 4 }
}

/// Names of stores that are not ours, to see that the model finds what is wrong with them: SQLite with a rollback journal
/// and `synchronous` FULL or EXTRA, and a file that is renamed into place without a flush of itself or of its directory.
pub const CONTROLS: [&str; 4] = ["sqlite-full", "sqlite-extra", "file-unflushed", "directory-unflushed"];

/// Does the work of `subject`, an [`Adapter`] or one of [`CONTROLS`], in `directory`; each acknowledged number is a line
/// `ack NUMBER` on standard output.
///
/// # Panics
/// If anything fails.
pub fn work(subject: &str, directory: &Path) {
    let mut number = 0;
    for _ in 0..2 {
        let mut store = Store::open(subject, directory);
        acknowledge(number);
        for _ in 0..commits() {
            number += 1;
            store.commit(number);
            acknowledge(number);
        }
        store.close();
        acknowledge(number);
    }
}

/// Opens what is in `directory`, goes on with it, and returns the number that was found.
///
/// # Panics
/// If it does not open, is not whole, or does not go on.
#[must_use]
pub fn judge(subject: &str, directory: &Path) -> u64 {
    let mut store = Store::open(subject, directory);
    let found = store.found();
    store.commit(found + 1);
    store.close();
    let store = Store::open(subject, directory);
    assert_eq!(store.found(), found + 1, "what was committed after the power came back is gone");
    store.close();
    found
}

/// One write for a line.
fn acknowledge(number: u64) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("ack {number}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

enum Store {
    Keep(std::sync::Arc<dyn StorageBackend>),
    Sqlite(rusqlite::Connection),
    File { path: std::path::PathBuf, flush: bool },
}

impl Store {
    fn open(subject: &str, directory: &Path) -> Self {
        match subject {
            "sqlite-full" | "sqlite-extra" => {
                let connection = rusqlite::Connection::open(directory.join("control.db")).unwrap();
                let synchronous = subject.strip_prefix("sqlite-").unwrap();
                connection.pragma_update(None, "journal_mode", "DELETE").unwrap();
                connection.pragma_update(None, "synchronous", synchronous).unwrap();
                connection.execute("CREATE TABLE IF NOT EXISTS t (number INTEGER, padding BLOB)", []).unwrap();
                Self::Sqlite(connection)
            }
            "file-unflushed" | "directory-unflushed" => {
                Self::File { path: directory.join("control"), flush: subject == "directory-unflushed" }
            }
            adapter => {
                let adapter: Adapter = adapter.parse().unwrap();
                Self::Keep(adapter.open(&adapter.path(directory, "keep")).unwrap())
            }
        }
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
        }
    }

    fn commit(&mut self, number: u64) {
        match self {
            Self::Keep(backend) => {
                let expected = (number > 1).then(|| value(number - 1, 700));
                let swap = Swap { key: key("r"), expected, replacement: Some(value(number, 700)) };
                let deletes = (number > 1).then(|| node(number - 1)).into_iter().collect();
                let puts = vec![(node(number), value(number, 3000))];
                block_on(backend.commit(Commit { puts, swap, deletes })).unwrap();
            }
            Self::Sqlite(connection) => {
                let padding = value(number, 3000).to_vec();
                connection.execute("INSERT INTO t VALUES (?1, ?2)", (number as i64, padding)).unwrap();
            }
            Self::File { path, flush } => {
                let new = path.with_extension("new");
                let mut file = fs::File::create(&new).unwrap();
                file.write_all(&value(number, 3000)).unwrap();
                if *flush {
                    file.sync_all().unwrap();
                }
                fs::rename(new, path).unwrap();
            }
        }
    }

    fn close(self) {
        match self {
            Self::Keep(backend) => block_on(backend.close()).unwrap(),
            Self::Sqlite(connection) => connection.close().unwrap(),
            Self::File { .. } => {}
        }
    }
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
