//! [`Store`]: the open database and what is done with it.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use mls_keep_core::{Capabilities, Durability, Engine, Error, ErrorKind, Key, Result, SwapScope, WriteBatch};
use sled::{Batch, Db, Tree};

use crate::config::MAX_VALUE_LEN;
use crate::error::{gave_up, panicked, poisoned, reading, replaced, writing};
use crate::files::Files;
use crate::{open, settle};

/// An open database that can be dropped whatever has happened in it. A panic of its drop during another panic would end the
/// process.
pub(crate) struct Guarded(Option<(Db, Tree)>);

/// An open database. Lives on one thread.
pub(crate) struct Store {
    db: Guarded,
    /// Set when the outcome of a write is not known.
    poisoned: bool,
    files: Files,
    directory: PathBuf,
    /// Which directory sled's is.
    opened: Option<Identity>,
    timeout: Duration,
    /// The lock of the directory. Declared last, so that it is released when sled has let go.
    lock: File,
}

/// What the changes of a group have done so far: a value, or its absence.
type Pending<'a> = HashMap<&'a Key, Option<&'a Bytes>>;

/// Which file or directory it is, whatever its name.
type Identity = (u64, u64);

impl Guarded {
    pub(crate) fn new(db: Db, tree: Tree) -> Self {
        Self(Some((db, tree)))
    }

    pub(crate) fn get(&self) -> Result<&(Db, Tree)> {
        self.0.as_ref().ok_or_else(poisoned)
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
    /// `timeout` is how long closing waits for the threads of sled.
    pub(crate) fn new(db: Guarded, files: Files, directory: PathBuf, timeout: Duration, lock: File) -> Self {
        let opened = identity_at(&directory.join(open::STORE));
        Self { db, poisoned: false, files, directory, opened, timeout, lock }
    }

    /// Runs `work`, in which sled may panic: it asserts much of what it reads. The database is not used after that, so
    /// nothing sees what was left half done.
    fn guard<T>(&mut self, panicked: fn() -> Error, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        panic::catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|_| {
            self.poisoned = true;
            Err(panicked())
        })
    }

    fn check(&mut self) -> Result<()> {
        if self.poisoned {
            return Err(poisoned());
        }
        if self.is_in_place() {
            return Ok(());
        }
        self.poisoned = true;
        Err(replaced())
    }

    /// Whether the directory that is locked still stands at its path, with the same database in it. sled and [`Files`] open
    /// files by their paths.
    ///
    /// The database's own file is not looked at: one whose times are asked for costs more at its next write (Linux 6.13).
    fn is_in_place(&self) -> bool {
        let Self { directory, lock, opened, .. } = self;
        let locked = lock.metadata().ok().map(|found| identity(&found));
        locked.is_some()
            && identity_at(&directory.join(open::LOCK)) == locked
            && identity_at(&directory.join(open::STORE)) == *opened
    }

    fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        let (_, tree) = self.db.get()?;
        tree.get(key.as_str()).map_err(reading)?.map(|value| bounded(&value)).transpose()
    }

    /// Adds `change` to what is pending, unless it is refused.
    fn add<'a>(&self, change: &'a WriteBatch, pending: &mut Pending<'a>) -> Result<()> {
        change.check_lengths(MAX_VALUE_LEN)?;
        if let Some(swap) = &change.swap {
            let stored = match pending.get(&swap.key) {
                Some(value) => value.cloned(),
                None => self.load(&swap.key)?,
            };
            swap.check(stored.as_deref())?;
        }
        pending.extend(change.stored().map(|(key, data)| (key, Some(data))));
        pending.extend(change.removed().map(|key| (key, None)));
        Ok(())
    }

    fn apply_all(&mut self, changes: &[WriteBatch]) -> Vec<Result<()>> {
        let mut pending = Pending::new();
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            // What cannot be compared is not applied, and says nothing about the others.
            results.push(self.add(change, &mut pending));
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

    /// All of `pending` in one batch, which sled recovers whole or not at all.
    fn write(&mut self, pending: &Pending<'_>) -> Result<()> {
        let mut batch = Batch::default();
        for (key, value) in pending {
            match value {
                Some(data) => batch.insert(key.as_str(), data.as_ref()),
                None => batch.remove(key.as_str()),
            }
        }
        let (db, tree) = self.db.get()?;
        let written = tree.apply_batch(batch).and_then(|()| db.flush());
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

impl Drop for Store {
    fn drop(&mut self) {
        if !self.is_in_place() {
            // sled writes a snapshot by its path when it is dropped: into what somebody else has put there.
            std::mem::forget(self.db.0.take());
        }
    }
}

impl Engine for Store {
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.check()?;
        self.guard(gave_up, |store| keys.iter().map(|key| store.load(key)).collect())
    }

    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.check()?;
        self.guard(gave_up, |store| list(&store.db.get()?.1, prefix, after, limit))
    }

    fn apply(&mut self, changes: &[WriteBatch]) -> Vec<Result<()>> {
        if let Err(error) = self.check() {
            return error.for_each_of(changes.len());
        }
        let applied = self.guard(panicked, |store| Ok(store.apply_all(changes)));
        applied.unwrap_or_else(|error| error.for_each_of(changes.len()))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
            .with_swap(SwapScope::ExclusiveProcess)
            .with_durability(Durability::PowerLoss)
            .with_atomic_commit(true)
            .with_max_value_len(MAX_VALUE_LEN)
    }

    fn close(mut self) -> Result<()> {
        if self.poisoned {
            return Ok(());
        }
        self.check()?;
        self.guard(panicked, |store| {
            store.db.get()?.0.flush().map_err(|source| writing().with_source(source))?;
            // The last of them writes what sled leaves for its end.
            drop(store.db.0.take());
            store.files.sync().map_err(|source| writing().with_source(source))
        })?;
        settle::closed(&self.directory, self.files.log(), self.timeout);
        Ok(())
    }
}

fn identity_at(path: &Path) -> Option<Identity> {
    std::fs::symlink_metadata(path).ok().map(|found| identity(&found))
}

#[cfg(unix)]
fn identity(found: &std::fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

/// The standard library does not say it.
#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> Identity {
    (0, 0)
}

fn list(tree: &Tree, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    // The smallest name behind `after` is `after` with a zero byte.
    let low = match after {
        Some(after) if after.as_str() >= prefix => [after.as_str().as_bytes(), &[0]].concat(),
        _ => prefix.as_bytes().to_vec(),
    };
    for name in tree.range(low..).keys() {
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

fn bounded(value: &[u8]) -> Result<Bytes> {
    if value.len() > MAX_VALUE_LEN {
        let text = "the sled tree holds a value that is longer than any that this crate stores: restore a backup";
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(Bytes::copy_from_slice(value))
}
