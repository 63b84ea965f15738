//! [`Store`]: the open database and what is done with it.

use std::collections::HashMap;
use std::fs::File;

use bytes::Bytes;
use mls_keep_core::{Capabilities, Change, Durability, Engine, Error, ErrorKind, Key, Result, SwapScope};
use sled::{Batch, Db, Tree};

use crate::config::MAX_VALUE_LEN;
use crate::error::{poisoned, reading, writing};
use crate::files::Files;

/// An open database. Lives on one thread.
pub(crate) struct Store {
    tree: Tree,
    db: Db,
    /// Set when the outcome of a write is not known.
    poisoned: bool,
    files: Files,
    /// The lock of the directory. Declared last, so that it is released when sled has let go.
    _lock: File,
}

/// What the changes of a group have done so far: a value, or its absence.
type Pending<'a> = HashMap<&'a Key, Option<&'a Bytes>>;

impl Store {
    pub(crate) fn new(db: Db, tree: Tree, files: Files, lock: File) -> Self {
        Self { tree, db, poisoned: false, files, _lock: lock }
    }

    fn check(&self) -> Result<()> {
        if self.poisoned { Err(poisoned()) } else { Ok(()) }
    }

    fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        let found = self.tree.get(key.as_str()).map_err(reading)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Adds `change` to what is pending, unless it is refused. The outer error concerns all changes.
    fn add<'a>(&self, change: &'a Change, pending: &mut Pending<'a>) -> Result<Result<()>> {
        if change.largest_value() > MAX_VALUE_LEN {
            let text = format!("a value is longer than {MAX_VALUE_LEN} bytes: split it");
            return Ok(Err(Error::new(ErrorKind::Invalid, text)));
        }
        if let Some(swap) = &change.swap {
            let stored = match pending.get(&swap.key) {
                Some(value) => value.cloned(),
                None => self.load(&swap.key)?,
            };
            if stored != swap.expected {
                return Ok(Err(Error::new(
                    ErrorKind::Conflict,
                    "the root is not the one that the commit was made from: load it again and repeat the operation",
                )));
            }
        }
        pending.extend(change.stored().map(|(key, data)| (key, Some(data))));
        pending.extend(change.removed().map(|key| (key, None)));
        Ok(Ok(()))
    }

    /// All of `pending` in one batch, which sled recovers whole or not at all.
    fn write(&mut self, pending: &Pending<'_>) -> Result<()> {
        let mut batch = Batch::default();
        for (key, value) in pending {
            match value {
                Some(data) => batch.insert(key.as_str(), data.as_ref()),
                None => batch.remove(key.as_str()),
            }
        }
        let written = self.tree.apply_batch(batch).and_then(|()| self.db.flush());
        if let Err(source) = written {
            self.poisoned = true;
            return Err(writing().with_source(source));
        }
        self.files.sync().map_err(|source| {
            self.poisoned = true;
            writing().with_source(source)
        })
    }
}

impl Engine for Store {
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.check()?;
        keys.iter().map(|key| self.load(key)).collect()
    }

    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.check()?;
        let mut keys = Vec::new();
        // The smallest name behind `after` is `after` with a zero byte.
        let low = match after {
            Some(after) if after.as_str() >= prefix => [after.as_str().as_bytes(), &[0]].concat(),
            _ => prefix.as_bytes().to_vec(),
        };
        for name in self.tree.range(low..).keys() {
            let name = name.map_err(reading)?;
            if keys.len() >= limit || !name.starts_with(prefix.as_bytes()) {
                break;
            }
            let key = std::str::from_utf8(&name).ok().and_then(|name| Key::new(name).ok());
            keys.push(key.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "the sled tree holds a key that is none: restore a backup")
            })?);
        }
        Ok(keys)
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<()>> {
        if self.poisoned {
            return poisoned().for_each_of(changes.len());
        }
        let mut pending = Pending::new();
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            // What cannot be compared is not applied, and says nothing about the others.
            results.push(self.add(change, &mut pending).and_then(|result| result));
        }
        if results.iter().all(Result::is_err) {
            return results;
        }
        match self.write(&pending) {
            Ok(()) => results,
            // What was refused was not applied in any case.
            Err(error) => results.into_iter().map(|result| result.and(Err(error.clone()))).collect(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
            .with_swap(SwapScope::ExclusiveProcess)
            .with_durability(Durability::PowerLoss)
            .with_atomic_commit(true)
            .with_max_value_len(MAX_VALUE_LEN)
    }

    fn close(self) -> Result<()> {
        if self.poisoned {
            return Ok(());
        }
        let Self { tree, db, mut files, .. } = self;
        db.flush().map_err(|source| writing().with_source(source))?;
        // The last of them writes what sled leaves for its end.
        drop((tree, db));
        files.sync().map_err(|source| writing().with_source(source))
    }
}
