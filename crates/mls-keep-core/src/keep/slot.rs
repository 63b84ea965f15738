//! [`Slot`]: where a keep has its backend. It can be empty for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::StorageBackend;
use crate::capabilities::Capabilities;
use crate::commit::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// The backend of a keep, until it is closed, and the one that takes its place.
pub(super) struct Slot {
    backend: RwLock<Option<Arc<dyn StorageBackend>>>,
    /// What the backend promises, also while there is none: all that takes its place promises the same.
    capabilities: Capabilities,
    closings: AtomicU64,
}

impl Slot {
    pub(super) fn new(backend: Arc<dyn StorageBackend>) -> Self {
        let capabilities = backend.capabilities();
        Self { backend: RwLock::new(Some(backend)), capabilities, closings: AtomicU64::new(0) }
    }

    /// How often the backend was closed. What was read before the last time may be of long ago.
    pub(super) fn closings(&self) -> u64 {
        self.closings.load(Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.read().is_none()
    }

    /// Puts `backend` into the empty slot.
    ///
    /// # Errors
    /// `Invalid` if it is not empty, or the backend promises something else than the one before.
    pub(super) fn fill(&self, backend: Arc<dyn StorageBackend>) -> Result<()> {
        if backend.capabilities() != self.capabilities {
            let text = "this backend does not promise what the keep's backend promised: open the keep anew";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        // Replaced as a whole, so a panic elsewhere does not harm it.
        let mut slot = self.backend.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return Err(not_closed());
        }
        *slot = Some(backend);
        Ok(())
    }

    fn backend(&self) -> Result<Arc<dyn StorageBackend>> {
        self.read().ok_or_else(|| Error::new(ErrorKind::Poisoned, "the keep is closed: resume it, or open it anew"))
    }

    fn read(&self) -> Option<Arc<dyn StorageBackend>> {
        self.backend.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl StorageBackend for Slot {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.backend()?.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.backend()?.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.backend()?.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.backend()?.list(prefix).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.backend()?.list_page(prefix, after, limit).await
    }

    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        self.backend()?.list_loosely(prefix).await
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.backend()?.load_many(keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.backend()?.commit(commit).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        match self.backend() {
            Ok(backend) => backend.commit_many(commits).await,
            Err(closed) => closed.for_each_of(commits.len()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Empties the slot: nothing reaches the backend any more, whatever closing it says.
    async fn close(&self) -> Result<()> {
        let taken = {
            let mut slot = self.backend.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_some() {
                self.closings.fetch_add(1, Ordering::Release);
            }
            slot.take()
        };
        match taken {
            Some(backend) => backend.close().await,
            None => Ok(()),
        }
    }
}

pub(super) fn not_closed() -> Error {
    Error::new(ErrorKind::Invalid, "the keep is open: it is resumed after it was closed")
}
