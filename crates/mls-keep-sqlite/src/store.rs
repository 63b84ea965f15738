//! [`Store`]: the connection and every statement that is run on it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use bytes::Bytes;
use mls_keep_core::{Capabilities, Durability, Engine, Error, ErrorKind, Key, Result, SwapScope, WriteBatch};
use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::config::MAX_VALUE_LEN;
use crate::error::{Stage, corrupt, is_full, poisoned, replaced, sqlite_error};
use crate::log;
use crate::open::Opened;
use crate::place::Place;
use crate::schema::{self, Cookie};

const SELECT: &str = "SELECT value FROM keep WHERE key = ?1";
const RANGE: &str = "SELECT key FROM keep WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
const UPSERT: &str =
    "INSERT INTO keep (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
/// A new value in the row of one that goes, if that row is there and the new key is not. No page is freed and none is
/// taken, and the old bytes are overwritten: a commit of one node writes half as much.
const REUSE: &str = "UPDATE OR IGNORE keep SET key = ?1, value = ?2 WHERE key = ?3";
const DELETE: &str = "DELETE FROM keep WHERE key = ?1";

/// An open database. Lives on one thread.
pub(crate) struct Store {
    conn: Connection,
    durability: Durability,
    /// That of the schema that was examined last. `None` when that was not ours.
    examined: Option<Cookie>,
    log: PathBuf,
    place: Place,
    /// Set when a commit's outcome is not known. Reading on would be wrong as well: until the next open replays the log,
    /// this connection sees the state before that commit, and after it perhaps the one behind it.
    poisoned: bool,
}

impl Store {
    pub(crate) fn new(opened: Opened, durability: Durability) -> Self {
        let Opened { conn, cookie, log, place } = opened;
        Self { conn, durability, examined: Some(cookie), log, place, poisoned: false }
    }

    /// Moves the log into the database and empties it, so that no deleted bytes are left in it.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        self.check()?;
        let busy: bool = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|error| sqlite_error(error, Stage::Write))?;
        if busy {
            return Err(Error::new(
                ErrorKind::Busy,
                "another process is using the SQLite file, so its log cannot be emptied: try again later",
            ));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.poisoned {
            return Err(poisoned());
        }
        if self.place.is_kept() { Ok(()) } else { Err(replaced()) }
    }

    /// Whether the schema is still the one that was examined, or one like it. First in every transaction: SQLite parses a
    /// changed schema at its first use, and it may have been changed by anybody.
    fn examine(&mut self) -> Result<()> {
        let cookie = schema::cookie(&self.conn).map_err(|error| sqlite_error(error, Stage::Schema))?;
        if self.examined != Some(cookie) {
            // SQLite may now know a schema that is not ours, so no cookie is trusted until one is.
            self.examined = None;
            self.examined = Some(schema::examine(&mut self.conn)?);
        }
        Ok(())
    }

    /// What `work` reads, all from one snapshot.
    fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.check()?;
        self.run("BEGIN").map_err(reading)?;
        let result = match self.examine() {
            Ok(()) => work(&self.conn),
            Err(failure) => Err(failure),
        };
        self.roll_back();
        result
    }

    /// All of `changes` in one transaction. `Err` means that none of them was applied.
    fn transact(&mut self, changes: &[WriteBatch]) -> Result<Vec<Result<()>>> {
        if let Err(error) = self.check() {
            return Ok(error.for_each_of(changes.len()));
        }
        // A deferred transaction would compare first and then fail to write without waiting.
        self.run("BEGIN IMMEDIATE").map_err(writing)?;
        let results = match self.write(changes) {
            Ok(results) => results,
            Err(failure) => {
                self.roll_back();
                return Err(failure);
            }
        };
        if results.iter().all(Result::is_err) {
            self.roll_back();
            return Ok(results);
        }
        if let Err(error) = self.run("COMMIT") {
            let failure = self.not_committed(error);
            if failure.kind() != ErrorKind::OutcomeUnknown {
                return Err(failure);
            }
            self.poisoned = true;
            // What was refused was not applied in any case.
            return Ok(results.into_iter().map(|result| result.and(Err(failure.clone()))).collect());
        }
        Ok(results)
    }

    /// Writes `changes` in the open transaction, each with a result of its own, and reads all of them back.
    fn write(&mut self, changes: &[WriteBatch]) -> Result<Vec<Result<()>>> {
        self.examine()?;
        let mut results = Vec::with_capacity(changes.len());
        let mut written = HashMap::new();
        for change in changes {
            let result = apply_one(&self.conn, change)?;
            if result.is_ok() {
                written.extend(change.stored().map(|(key, data)| (key, Some(data))));
                written.extend(change.removed().map(|key| (key, None)));
            }
            results.push(result);
        }
        // Pages that refer to each other as SQLite's never do can take a write and go on showing what was there before.
        let mut select = self.conn.prepare_cached(SELECT).map_err(writing)?;
        for (key, data) in written {
            let is_stored = |stored: Option<&[u8]>| stored == data.map(Bytes::as_ref);
            let stored = look_at(&mut select, key, is_stored).map_err(writing)?;
            if !stored {
                return Err(corrupt(
                    "the SQLite file does not give back what is written to it, so nothing was changed: restore a backup",
                ));
            }
        }
        Ok(results)
    }

    /// What the failure of a COMMIT means. Leaves no transaction open.
    fn not_committed(&mut self, error: rusqlite::Error) -> Error {
        let full = is_full(&error);
        self.roll_back();
        // SQLite writes the end of the transaction last. If the log does not end with it, no opening will find it.
        if full && self.log_is_known().unwrap_or(false) {
            return sqlite_error(error, Stage::Write);
        }
        sqlite_error(error, Stage::Commit)
    }

    /// Whether the log, replayed from its beginning, ends where SQLite says that it ends. Others may write meanwhile; then
    /// it is not known.
    fn log_is_known(&self) -> Result<bool> {
        let frames = || -> Result<i64> {
            self.conn
                .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))
                .map_err(|error| sqlite_error(error, Stage::Read))
        };
        let before = frames()?;
        Ok(i64::try_from(log::replayed(&self.log)?) == Ok(before) && frames()? == before)
    }

    /// Leaves no transaction open. SQLite has ended it already after some errors.
    fn roll_back(&mut self) {
        if !self.conn.is_autocommit() && self.run("ROLLBACK").is_err() {
            self.poisoned = true;
        }
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(|_| ())
    }
}

impl Engine for Store {
    /// The values of `keys`, all from one snapshot.
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.read(|conn| {
            let mut select = conn.prepare_cached(SELECT).map_err(reading)?;
            keys.iter().map(|key| load(&mut select, key)).collect()
        })
    }

    /// At most `limit` keys that begin with `prefix` and come after `after`.
    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.read(|conn| list(conn, prefix, after, limit))
    }

    /// Applies `changes` in one transaction with one flush, each with a result of its own.
    ///
    /// A refused change leaves the others alone. When the transaction fails they are tried one by one, so that each
    /// has a result of its own.
    fn apply(&mut self, changes: &[WriteBatch]) -> Vec<Result<()>> {
        let failure = match self.transact(changes) {
            Ok(results) => return results,
            Err(failure) => failure,
        };
        // Each of them would only wait and fail in the same way.
        let shared = matches!(failure.kind(), ErrorKind::Busy | ErrorKind::ReadOnly);
        if changes.len() > 1 && !shared && !self.poisoned {
            return changes.chunks(1).flat_map(|change| self.apply(change)).collect();
        }
        failure.for_each_of(changes.len())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
            .with_swap(SwapScope::Everyone)
            .with_durability(self.durability)
            .with_atomic_commit(true)
            .with_erases_deleted(true)
            .with_max_value_len(MAX_VALUE_LEN)
    }

    /// Empties the log and closes. The store is closed whatever the result is.
    fn close(mut self) -> Result<()> {
        let emptied = match self.checkpoint() {
            // The log still belongs to others, and the last of them empties it. After a commit of unknown outcome the
            // next open sorts it out.
            Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Poisoned) => Ok(()),
            result => result,
        };
        if !self.place.is_kept() {
            // SQLite removes its log by the name, which is that of another file's log now.
            drop(self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true));
        }
        let closed = self.conn.close().map_err(|(_, error)| sqlite_error(error, Stage::Write));
        emptied.and(closed)
    }
}

/// Applies one change inside of the open transaction. The inner error is a refusal, before anything was written.
fn apply_one(conn: &Connection, change: &WriteBatch) -> Result<Result<()>> {
    let mut checked = change.check_lengths(MAX_VALUE_LEN);
    if let Some(swap) = &change.swap {
        let mut select = conn.prepare_cached(SELECT).map_err(writing)?;
        checked = checked.and(look_at(&mut select, &swap.key, |stored| swap.check(stored)).map_err(writing)?);
    }
    if checked.is_err() {
        return Ok(checked);
    }
    let mut upsert = conn.prepare_cached(UPSERT).map_err(writing)?;
    let mut reuse = conn.prepare_cached(REUSE).map_err(writing)?;
    let mut delete = conn.prepare_cached(DELETE).map_err(writing)?;
    let stored: HashSet<&Key> = change.stored().map(|(key, _)| key).collect();
    // A key that is stored and removed by the same change goes at the end, so its row is not given away.
    let (mut last, mut rows): (Vec<&Key>, Vec<&Key>) = change.removed().partition(|key| stored.contains(key));
    for (key, data) in &change.puts {
        if let Some(old) = rows.pop() {
            let row = params![key.as_str().as_bytes(), data.as_ref(), old.as_str().as_bytes()];
            if reuse.execute(row).map_err(writing)? == 1 {
                continue;
            }
            last.push(old);
        }
        put(&mut upsert, key, data)?;
    }
    if let Some((key, data)) = change.swap.as_ref().and_then(|swap| Some((&swap.key, swap.replacement.as_ref()?))) {
        put(&mut upsert, key, data)?;
    }
    for key in rows.into_iter().chain(last) {
        delete.execute([key.as_str().as_bytes()]).map_err(writing)?;
    }
    Ok(Ok(()))
}

fn put(upsert: &mut CachedStatement<'_>, key: &Key, data: &Bytes) -> Result<()> {
    match upsert.execute(params![key.as_str().as_bytes(), data.as_ref()]).map_err(writing)? {
        1 => Ok(()),
        _ => Err(corrupt("the SQLite file does not take what is written to it: restore a backup")),
    }
}

/// What `look` says of the value of `key`, which is not copied for it.
fn look_at<T>(select: &mut CachedStatement<'_>, key: &Key, look: impl Fn(Option<&[u8]>) -> T) -> rusqlite::Result<T> {
    let stored = |row: &Row<'_>| Ok(look(Some(row.get_ref(0)?.as_blob()?)));
    let found = select.query_row([key.as_str().as_bytes()], stored).optional()?;
    Ok(found.unwrap_or_else(|| look(None)))
}

fn list(conn: &Connection, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
    let low = match after {
        // The smallest name behind `after` is `after` with a zero byte.
        Some(after) if after.as_str() >= prefix => [after.as_str().as_bytes(), &[0]].concat(),
        _ => prefix.as_bytes().to_vec(),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut range = conn.prepare_cached(RANGE).map_err(reading)?;
    let mut rows = range.query(params![low, successor(prefix), limit]).map_err(reading)?;
    let mut keys: Vec<Key> = Vec::new();
    while let Some(row) = rows.next().map_err(reading)? {
        let name = row.get_ref(0).map_err(reading)?.as_blob().map_err(|error| reading(error.into()))?;
        let key = std::str::from_utf8(name).ok().and_then(|name| Key::new(name).ok());
        // In order, because pages that refer to each other in a circle would give keys without end.
        let key = key.filter(|key| name >= low.as_slice() && keys.last().is_none_or(|last| last < key));
        keys.push(key.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the SQLite file holds a key that is none: restore a backup")
        })?);
    }
    Ok(keys)
}

fn load(select: &mut CachedStatement<'_>, key: &Key) -> Result<Option<Bytes>> {
    select
        .query_row([key.as_str().as_bytes()], |row| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)))
        .optional()
        .map_err(reading)
}

/// The smallest name that is greater than every name that begins with `prefix`.
fn successor(prefix: &str) -> Vec<u8> {
    let mut name = prefix.as_bytes().to_vec();
    match name.last_mut() {
        // UTF-8 has no 0xff, so there is always a next byte.
        Some(last) => *last = last.saturating_add(1),
        // No key begins with 0xff.
        None => name.push(0xff),
    }
    name
}

fn reading(source: rusqlite::Error) -> Error {
    sqlite_error(source, Stage::Read)
}

fn writing(source: rusqlite::Error) -> Error {
    sqlite_error(source, Stage::Write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::open::open;

    /// A full disk at the end of a commit is known to have changed nothing only while this is so.
    #[test]
    fn the_log_ends_where_sqlite_says_or_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(open(&dir.path().join("keep"), &Config::default()).unwrap(), Durability::PowerLoss);
        assert!(store.log_is_known().unwrap(), "nothing is in it");
        for index in 0..30 {
            let change = WriteBatch::put(Key::new(&format!("n/{index}")).unwrap(), vec![index; 3000].into());
            assert!(store.apply(&[change]).iter().all(Result::is_ok));
            assert!(store.log_is_known().unwrap(), "after {index} commits");
        }
        store.checkpoint().unwrap();
        assert!(store.log_is_known().unwrap(), "it is empty");
        let change = WriteBatch::put(Key::new("k").unwrap(), vec![1; 3000].into());
        assert!(store.apply(&[change]).iter().all(Result::is_ok));
        let log = std::fs::OpenOptions::new().write(true).open(&store.log).unwrap();
        log.set_len(log.metadata().unwrap().len() - 1).unwrap();
        assert!(!store.log_is_known().unwrap(), "its last frame is not whole");
    }

    #[test]
    fn a_prefix_ends_where_its_successor_begins() {
        assert_eq!(successor("n/"), b"n0");
        assert_eq!(successor("z"), b"{");
        assert_eq!(successor(""), [0xff]);
        assert!(successor("\u{10ffff}").as_slice() > "\u{10ffff}".as_bytes());
    }
}
