//! [`MemoryBackend`]: the executable specification of the contract, for tests and for clients that are not kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::StorageBackend;
use crate::capabilities::{Capabilities, SwapScope};
use crate::commit::Commit;
use crate::error::Result;
use crate::key::Key;

/// Keeps everything in memory. Clones share one store, as several backends on one file would.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    values: Arc<Mutex<BTreeMap<Key, Bytes>>>,
}

impl MemoryBackend {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<Key, Bytes>> {
        // No method leaves the map half changed, so a panic elsewhere does not harm it.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StorageBackend for MemoryBackend {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.values().get(key).cloned())
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.values().insert(key.clone(), data);
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.values().remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        Ok(self.values().keys().filter(|key| key.as_str().starts_with(prefix)).cloned().collect())
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let values = self.values();
        Ok(keys.iter().map(|key| values.get(key).cloned()).collect())
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        commit.check()?;
        let mut values = self.values();
        commit.swap.check(values.get(&commit.swap.key).map(Bytes::as_ref))?;
        values.extend(commit.puts);
        match commit.swap.replacement {
            Some(root) => values.insert(commit.swap.key, root),
            None => values.remove(&commit.swap.key),
        };
        for key in &commit.deletes {
            values.remove(key);
        }
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest().with_swap(SwapScope::Everyone).with_atomic_commit(true).with_erases_deleted(true)
    }
}
