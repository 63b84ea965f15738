//! [`FourMethods`]: a backend that has nothing but what it must have.

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Key, Result, StorageBackend};

/// A backend that has only what every backend must have: all else is provided, so a commit is a row of saves and
/// deletes, and promises nothing but the contract.
#[derive(Debug)]
pub struct FourMethods<B>(pub B);

#[async_trait]
impl<B: StorageBackend> StorageBackend for FourMethods<B> {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.0.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.0.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.0.list(prefix).await
    }
}
