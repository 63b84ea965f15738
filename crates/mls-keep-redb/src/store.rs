//! [`Store`]: the open database and what is done with it.

use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;
use mls_keep_core::{Capabilities, Engine, Error, ErrorKind, Key, Result, SwapScope, WriteBatch};
use redb::{
    CompactionError, Database, Durability, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    TableError, WriteTransaction,
};

use crate::config::MAX_VALUE_LEN;
use crate::error::{committing, ends_it, gave_up, panicked, poisoned, redb_error, replaced};
use crate::place::Place;

/// Every value. Text orders as its bytes do.
pub(crate) const KEEP: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keep");

type KeepTable<'a> = Table<'a, &'static str, &'static [u8]>;

/// An open database that can be dropped whatever has happened in it. After a panic redb's own drop panics as well, which
/// during the first panic would end the process.
pub(crate) struct Guarded(Option<Database>);

/// An open database. Lives on one thread.
pub(crate) struct Store {
    db: Guarded,
    two_phase_commit: bool,
    place: Place,
    /// Set when redb does not go on, or when the outcome of a commit is not known.
    poisoned: bool,
}

impl Guarded {
    pub(crate) fn new(db: Database) -> Self {
        Self(Some(db))
    }

    pub(crate) fn get(&self) -> Result<&Database> {
        self.0.as_ref().ok_or_else(poisoned)
    }

    fn get_mut(&mut self) -> Result<&mut Database> {
        self.0.as_mut().ok_or_else(poisoned)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let db = self.0.take();
        // It is said in `apply` and `close` whether anything was lost. The system frees the lock.
        drop(panic::catch_unwind(AssertUnwindSafe(|| drop(db))));
    }
}

impl Store {
    pub(crate) fn new(db: Guarded, two_phase_commit: bool, place: Place) -> Self {
        Self { db, two_phase_commit, place, poisoned: false }
    }

    /// Gives unused space back to the file system.
    pub(crate) fn compact(&mut self) -> Result<bool> {
        self.check()?;
        self.guard(gave_up, |store| {
            store.db.get_mut()?.compact().map_err(|error| {
                store.poisoned = matches!(error, CompactionError::Storage(_));
                redb_error(error)
            })
        })
    }

    fn check(&self) -> Result<()> {
        if self.poisoned {
            return Err(poisoned());
        }
        if self.place.is_kept() { Ok(()) } else { Err(replaced()) }
    }

    /// All of `changes` in one transaction. The outer error says that none of them was applied, or that it is not known.
    fn transact(&mut self, changes: &[WriteBatch]) -> Result<Vec<Result<()>>> {
        let begun = self.db.get()?.begin_write();
        let mut transaction = begun.map_err(|error| self.failed(error))?;
        transaction.set_durability(Durability::Immediate).map_err(redb_error)?;
        transaction.set_two_phase_commit(self.two_phase_commit);
        let results = match apply_all(&transaction, changes) {
            Ok(results) => results,
            Err(error) => {
                // A storage error has ended the transaction for redb already.
                let aborted = transaction.abort();
                self.poisoned |= aborted.is_err() || !matches!(&error, TableError::Storage(error) if !ends_it(error));
                return Err(redb_error(error));
            }
        };
        if results.iter().all(Result::is_err) {
            transaction.abort().map_err(|error| self.failed(error))?;
            return Ok(results);
        }
        transaction.commit().map_err(|error| {
            self.poisoned = true;
            committing(error)
        })?;
        Ok(results)
    }

    /// Runs `work`, in which redb may panic: it does not check again what it has opened, and asserts what it reads, so a
    /// damaged page can end so. The database is not used after that, so nothing sees what was left half done.
    fn guard<T>(&mut self, panicked: fn() -> Error, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        panic::catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|_| {
            self.poisoned = true;
            Err(panicked())
        })
    }

    fn failed(&mut self, error: impl Into<redb::Error>) -> Error {
        self.poisoned = true;
        redb_error(error)
    }
}

impl Engine for Store {
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.check()?;
        self.guard(gave_up, |store| load_many(store.db.get()?, keys))
    }

    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.check()?;
        self.guard(gave_up, |store| list(store.db.get()?, prefix, after, limit))
    }

    fn apply(&mut self, changes: &[WriteBatch]) -> Vec<Result<()>> {
        if let Err(error) = self.check() {
            return error.for_each_of(changes.len());
        }
        match self.guard(panicked, |store| store.transact(changes)) {
            Ok(results) => results,
            Err(error) => error.for_each_of(changes.len()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
            .with_swap(SwapScope::ExclusiveProcess)
            .with_durability(mls_keep_core::Durability::PowerLoss)
            .with_atomic_commit(true)
            .with_max_value_len(MAX_VALUE_LEN)
    }

    fn close(mut self) -> Result<()> {
        if self.poisoned {
            return Ok(());
        }
        self.guard(gave_up, |store| store.db.0.take().map_or(Ok(()), |db| db.close().map_err(redb_error)))
    }
}

fn load_many(db: &Database, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
    let table = db.begin_read().map_err(redb_error)?.open_table(KEEP).map_err(redb_error)?;
    let load = |key: &Key| {
        let found = table.get(key.as_str()).map_err(redb_error)?;
        found.map(|value| bounded(value.value())).transpose()
    };
    keys.iter().map(load).collect()
}

fn list(db: &Database, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
    let table = db.begin_read().map_err(redb_error)?.open_table(KEEP).map_err(redb_error)?;
    // The smallest name behind `after` is `after` with a zero byte.
    let low = match after {
        Some(after) if after.as_str() >= prefix => format!("{after}\0"),
        _ => prefix.to_owned(),
    };
    let mut keys = Vec::new();
    for entry in table.range(low.as_str()..).map_err(redb_error)? {
        let (name, _) = entry.map_err(redb_error)?;
        if keys.len() >= limit || !name.value().starts_with(prefix) {
            break;
        }
        keys.push(
            Key::new(name.value()).map_err(|_| {
                Error::new(ErrorKind::Corrupt, "the redb file holds a key that is none: restore a backup")
            })?,
        );
    }
    Ok(keys)
}

fn apply_all(transaction: &WriteTransaction, changes: &[WriteBatch]) -> Result<Vec<Result<()>>, TableError> {
    let mut table = transaction.open_table(KEEP)?;
    changes.iter().map(|change| Ok(apply_one(&mut table, change)?)).collect()
}

/// Applies one change inside of the open transaction. The inner error is a refusal, before anything was written.
fn apply_one(table: &mut KeepTable<'_>, change: &WriteBatch) -> Result<Result<()>, StorageError> {
    let mut checked = change.check_lengths(MAX_VALUE_LEN);
    if let Some(swap) = &change.swap {
        let stored = table.get(swap.key.as_str())?;
        checked = checked.and(swap.check(stored.as_ref().map(|value| value.value())));
    }
    if checked.is_err() {
        return Ok(checked);
    }
    for (key, data) in change.stored() {
        table.insert(key.as_str(), data.as_ref())?;
    }
    for key in change.removed() {
        table.remove(key.as_str())?;
    }
    Ok(Ok(()))
}

fn bounded(value: &[u8]) -> Result<Bytes> {
    if value.len() > MAX_VALUE_LEN {
        let text = "the redb file holds a value that is longer than any that this crate stores: restore a backup";
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(Bytes::copy_from_slice(value))
}
