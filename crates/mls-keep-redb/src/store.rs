//! [`Store`]: the open database and what is done with it.

use bytes::Bytes;
use mls_keep_core::{Capabilities, Change, Engine, Error, ErrorKind, Key, Result, SwapScope};
use redb::{
    CompactionError, Database, Durability, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    TableError, WriteTransaction,
};

use crate::config::MAX_VALUE_LEN;
use crate::error::{committing, ends_it, engine, poisoned};

/// Every value. Text orders as its bytes do.
pub(crate) const KEEP: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keep");

type Keep<'a> = Table<'a, &'static str, &'static [u8]>;

/// An open database. Lives on one thread.
pub(crate) struct Store {
    db: Database,
    two_phase_commit: bool,
    /// Set when redb does not go on, or when the outcome of a commit is not known.
    poisoned: bool,
}

impl Store {
    pub(crate) fn new(db: Database, two_phase_commit: bool) -> Self {
        Self { db, two_phase_commit, poisoned: false }
    }

    /// Gives unused space back to the file system.
    pub(crate) fn compact(&mut self) -> Result<bool> {
        self.check()?;
        self.db.compact().map_err(|error| {
            self.poisoned = matches!(error, CompactionError::Storage(_));
            engine(error)
        })
    }

    fn check(&self) -> Result<()> {
        if self.poisoned { Err(poisoned()) } else { Ok(()) }
    }

    /// All of `changes` in one transaction. The outer error says that none of them was applied, or that it is not known.
    fn transact(&mut self, changes: &[Change]) -> Result<Vec<Result<()>>> {
        let mut transaction = self.db.begin_write().map_err(|error| self.failed(error))?;
        transaction.set_durability(Durability::Immediate).map_err(engine)?;
        transaction.set_two_phase_commit(self.two_phase_commit);
        let results = match apply_all(&transaction, changes) {
            Ok(results) => results,
            Err(error) => {
                // A storage error has ended the transaction for redb already.
                let aborted = transaction.abort();
                self.poisoned |= aborted.is_err() || !matches!(&error, TableError::Storage(error) if !ends_it(error));
                return Err(engine(error));
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

    fn failed(&mut self, error: impl Into<redb::Error>) -> Error {
        self.poisoned = true;
        engine(error)
    }
}

impl Engine for Store {
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.check()?;
        let table = self.db.begin_read().map_err(engine)?.open_table(KEEP).map_err(engine)?;
        let load = |key: &Key| {
            let found = table.get(key.as_str()).map_err(engine)?;
            found.map(|value| bounded(value.value())).transpose()
        };
        keys.iter().map(load).collect()
    }

    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.check()?;
        let table = self.db.begin_read().map_err(engine)?.open_table(KEEP).map_err(engine)?;
        // The smallest name behind `after` is `after` with a zero byte.
        let low = match after {
            Some(after) if after.as_str() >= prefix => format!("{after}\0"),
            _ => prefix.to_owned(),
        };
        let mut keys = Vec::new();
        for entry in table.range(low.as_str()..).map_err(engine)? {
            let (name, _) = entry.map_err(engine)?;
            if keys.len() >= limit || !name.value().starts_with(prefix) {
                break;
            }
            keys.push(Key::new(name.value()).map_err(|_| {
                Error::new(ErrorKind::Corrupt, "the redb file holds a key that is none: restore a backup")
            })?);
        }
        Ok(keys)
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<()>> {
        if self.poisoned {
            return poisoned().for_each_of(changes.len());
        }
        match self.transact(changes) {
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

    fn close(self) -> Result<()> {
        if self.poisoned {
            return Ok(());
        }
        self.db.close().map_err(engine)
    }
}

fn apply_all(transaction: &WriteTransaction, changes: &[Change]) -> Result<Vec<Result<()>>, TableError> {
    let mut table = transaction.open_table(KEEP)?;
    changes.iter().map(|change| Ok(apply_one(&mut table, change)?)).collect()
}

/// Applies one change inside of the open transaction. The inner error is a refusal, before anything was written.
fn apply_one(table: &mut Keep<'_>, change: &Change) -> Result<Result<()>, StorageError> {
    if change.largest_value() > MAX_VALUE_LEN {
        let text = format!("a value is longer than {MAX_VALUE_LEN} bytes: split it");
        return Ok(Err(Error::new(ErrorKind::Invalid, text)));
    }
    if let Some(swap) = &change.swap {
        let stored = table.get(swap.key.as_str())?;
        if stored.as_ref().map(|value| value.value()) != swap.expected.as_deref() {
            return Ok(Err(Error::new(
                ErrorKind::Conflict,
                "the root is not the one that the commit was made from: load it again and repeat the operation",
            )));
        }
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
