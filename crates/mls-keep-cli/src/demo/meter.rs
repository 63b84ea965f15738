//! A backend that counts what another one is asked to write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep::{Result, StorageBackend};
use mls_keep_core::{Capabilities, Commit, Key};

/// What was written so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    commits: AtomicU64,
    bytes: AtomicU64,
}

/// What was written at some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Transactions of the backend.
    pub(super) commits: u64,
    /// Sealed bytes that they store.
    pub(super) bytes: u64,
}

/// Counts, and passes on.
pub(super) struct Metered {
    inner: Arc<dyn StorageBackend>,
    meter: Arc<Meter>,
}

impl Meter {
    pub(super) fn read(&self) -> Written {
        Written { commits: self.commits.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    fn add(&self, bytes: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Written {
    pub(super) fn since(self, earlier: Self) -> Self {
        Self { commits: self.commits - earlier.commits, bytes: self.bytes - earlier.bytes }
    }
}

impl Metered {
    pub(super) fn new(inner: Arc<dyn StorageBackend>, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }
}

#[async_trait]
impl StorageBackend for Metered {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.meter.add(data.len());
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.meter.add(0);
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.inner.list(prefix).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.inner.list_page(prefix, after, limit).await
    }

    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        self.inner.list_loosely(prefix).await
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.inner.load_many(keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.meter.add(commit.stored_bytes());
        self.inner.commit(commit).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        commits.iter().for_each(|commit| self.meter.add(commit.stored_bytes()));
        self.inner.commit_many(commits).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
