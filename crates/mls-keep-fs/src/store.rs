//! [`Store`]: the log, the files of values, and what the log says of them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use mls_keep_core::{Capabilities, Durability, Engine, ErrorKind, Key, Result, SwapScope, WriteBatch};

use crate::config::{Config, MAX_COMMIT_LEN, MAX_VALUE_LEN};
use crate::directory::Directory;
use crate::error::{poisoned, replaced};
use crate::log::{self, LONGEST, Log};
use crate::record;
use crate::values::Values;

/// An open store. Lives on one thread.
#[derive(Debug)]
pub(crate) struct Store {
    log: Log,
    values: Values,
    /// What the log says: a value, or that there is none. For all other keys the files are right.
    recent: BTreeMap<Key, Option<Bytes>>,
    checkpoint_len: u64,
    durability: Durability,
    /// Set when a flush has failed.
    poisoned: bool,
    /// Declared last, so that the lock is released when all else is closed.
    directory: Directory,
}

/// What the changes of a group have done so far: a value, or its absence.
type Pending<'a> = HashMap<&'a Key, Option<&'a Bytes>>;

impl Store {
    /// `recent` is what the log says.
    pub(crate) fn new(
        directory: Directory,
        log: Log,
        values: Values,
        recent: BTreeMap<Key, Option<Bytes>>,
        config: &Config,
    ) -> Self {
        let (checkpoint_len, durability) = (u64::from(config.checkpoint_len), config.durability);
        Self { log, values, recent, checkpoint_len, durability, poisoned: false, directory }
    }

    /// Gives each value of the log a file, and leaves nothing in the log, not even what was deleted.
    pub(crate) fn checkpoint_and_erase(&mut self) -> Result<()> {
        self.checkpoint()?;
        self.log.wipe()
    }

    /// Gives each value of the log a file, and empties the log. A kill in the middle leaves files that say what the log says.
    fn checkpoint(&mut self) -> Result<()> {
        self.check()?;
        if self.recent.is_empty() {
            return Ok(());
        }
        let entries: Vec<_> = self.recent.iter().map(|(key, value)| (key, value.as_ref())).collect();
        let mut restart = || self.log.restart().map_err(|source| poisoned().with_source(source));
        let done = self.values.store(&entries).and_then(|()| restart());
        if let Err(error) = done {
            // Without room it can be tried again. After any other failure it is not known which flush has done its work.
            self.poisoned = error.kind() != ErrorKind::NoSpace;
            return Err(error);
        }
        self.recent.clear();
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.poisoned {
            return Err(poisoned());
        }
        if self.directory.is_in_place() { Ok(()) } else { Err(replaced()) }
    }

    fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        match self.recent.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.values.load(key),
        }
    }

    /// Adds `change` to what is pending, unless it is refused.
    fn add<'a>(&self, change: &'a WriteBatch, pending: &mut Pending<'a>) -> Result<()> {
        change.check_lengths(MAX_VALUE_LEN)?;
        if record::len_of(change) > MAX_COMMIT_LEN {
            return Err(log::too_long());
        }
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

    /// Applies `changes`, which fit one record.
    fn apply_together(&mut self, changes: &[WriteBatch]) -> Vec<Result<()>> {
        if let Err(error) = self.check() {
            return error.for_each_of(changes.len());
        }
        let mut pending = Pending::new();
        let results: Vec<_> = changes.iter().map(|change| self.add(change, &mut pending)).collect();
        match self.write(&pending) {
            Ok(()) => results,
            // Without room for all there may be room for some.
            Err(error) if error.kind() == ErrorKind::NoSpace && changes.len() > 1 => {
                changes.chunks(1).flat_map(|change| self.apply_together(change)).collect()
            }
            Err(error) => {
                // What was refused was not applied in any case.
                results.into_iter().map(|result| result.and(Err(error.clone()))).collect()
            }
        }
    }

    /// All of `pending` in one record.
    fn write(&mut self, pending: &Pending<'_>) -> Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        if self.log.len() > LONGEST * self.checkpoint_len {
            // If it cannot be done the log just grows. What made this handle unusable is returned below.
            drop(self.checkpoint());
            self.check()?;
        }
        let appended = self.log.append(pending.iter().map(|(key, value)| (*key, *value)));
        if let Err(error) = appended {
            self.poisoned = error.kind() == ErrorKind::OutcomeUnknown;
            return Err(error);
        }
        self.recent.extend(pending.iter().map(|(key, value)| ((*key).clone(), value.cloned())));
        Ok(())
    }
}

impl Engine for Store {
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.check()?;
        keys.iter().map(|key| self.load(key)).collect()
    }

    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.check()?;
        let matches = |key: &&Key| key.as_str().starts_with(prefix) && after.is_none_or(|after| *key > after);
        let low = match (after, Key::new(prefix.trim_end_matches('/'))) {
            (Some(after), _) if after.as_str() >= prefix => Bound::Excluded(after.clone()),
            // No key that begins with the prefix comes before the prefix without its last slash.
            (_, Ok(prefix)) => Bound::Included(prefix),
            _ => Bound::Unbounded,
        };
        let ahead = |key: &&Key| key.as_str() < prefix || key.as_str().starts_with(prefix);
        let range = (low, Bound::Unbounded);
        let recent = &self.recent;
        let stored = self.values.keys()?.range(range.clone()).take_while(ahead).filter(matches);
        let mut stored = stored.filter(|key| !recent.contains_key(*key)).peekable();
        let new = recent.range(range).filter(|(_, value)| value.is_some()).map(|(key, _)| key);
        let mut new = new.take_while(ahead).filter(matches).peekable();
        let mut keys = Vec::new();
        while keys.len() < limit {
            let from_new = match (stored.peek(), new.peek()) {
                (Some(stored), Some(new)) => new < stored,
                (_, new) => new.is_some(),
            };
            let Some(key) = (if from_new { new.next() } else { stored.next() }) else { break };
            keys.push(key.clone());
        }
        Ok(keys)
    }

    fn apply(&mut self, changes: &[WriteBatch]) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(changes.len());
        let mut rest = changes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(how_many_fit(rest));
            results.extend(self.apply_together(now));
            rest = later;
        }
        results
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
            .with_swap(SwapScope::ExclusiveProcess)
            .with_durability(self.durability)
            .with_atomic_commit(true)
            .with_erases_deleted(true)
            .with_max_value_len(MAX_VALUE_LEN)
    }

    fn idle(&mut self) {
        if self.log.len() > self.checkpoint_len && !self.poisoned {
            // Nobody waits for it. If it cannot be done the log just grows, and is tried again.
            drop(self.checkpoint());
        }
    }

    fn close(mut self) -> Result<()> {
        // After a failed flush the next open sorts out what the log holds.
        if self.poisoned { Ok(()) } else { self.checkpoint_and_erase() }
    }
}

/// How many of `changes` fit one record; at least one.
fn how_many_fit(changes: &[WriteBatch]) -> usize {
    let mut len: usize = 0;
    let fit = changes.iter().take_while(|change| {
        len = len.saturating_add(record::len_of(change));
        len <= MAX_COMMIT_LEN
    });
    fit.count().clamp(1, changes.len().max(1))
}
