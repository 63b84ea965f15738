//! [`Counting`]: a backend that counts what commits store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Key, Result, StorageBackend};

/// Passes everything on, and counts the sealed bytes.
pub(crate) struct Counting<B> {
    backend: B,
    sealed: Arc<AtomicU64>,
}

impl<B> Counting<B> {
    pub(crate) fn new(backend: B, sealed: Arc<AtomicU64>) -> Self {
        Self { backend, sealed }
    }

    fn count(&self, commit: &Commit) {
        self.sealed.fetch_add(commit.stored_bytes() as u64, Ordering::Relaxed);
    }
}

#[async_trait]
impl<B: StorageBackend> StorageBackend for Counting<B> {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.backend.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.backend.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.backend.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.backend.list(prefix).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.backend.list_page(prefix, after, limit).await
    }

    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        self.backend.list_loosely(prefix).await
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.backend.load_many(keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.count(&commit);
        self.backend.commit(commit).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        commits.iter().for_each(|commit| self.count(commit));
        self.backend.commit_many(commits).await
    }

    fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    async fn close(&self) -> Result<()> {
        self.backend.close().await
    }
}
