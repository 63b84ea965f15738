//! A storage of one's own: four methods, and the suite that says whether they are right.
//!
//! ```sh
//! cargo run -p mls-keep --example own_backend
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep::{Encryption, MasterKey, PersistenceManager, StorageBackend, SystemEntropy};
use mls_keep_conformance::{Harness, run_all};
use mls_keep_core::{Key, Result};

/// A table in memory. In its place: whatever an application stores bytes in.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<BTreeMap<Key, Bytes>>>);

impl Table {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<Key, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StorageBackend for Table {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.rows().get(key).cloned())
    }

    /// Durable when it returns `Ok`, and never half of it there.
    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.rows().insert(key.clone(), data);
        Ok(())
    }

    /// Deleting what is not there is `Ok`.
    async fn delete(&self, key: &Key) -> Result<()> {
        self.rows().remove(key);
        Ok(())
    }

    /// All of them, in key order.
    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        Ok(self.rows().keys().filter(|key| key.as_str().starts_with(prefix)).cloned().collect())
    }
}

/// What the suite opens, again and again: one table for each case.
struct Tables(Table);

#[async_trait]
impl Harness for Tables {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.0.clone()))
    }
}

async fn use_it() -> Result<()> {
    let encryption = Encryption::hkdf_sha256(MasterKey::generate(&SystemEntropy)?);
    let table = Table::default();
    let manager = PersistenceManager::builder(table.clone()).encryption(encryption).open().await?;
    let mut alice = manager.client_builder("alice").create().await?;
    alice.create_group("tea").await?;
    println!("{} rows, all of them sealed", table.rows().len());
    Ok(())
}

pub(crate) fn main() -> std::result::Result<(), Box<dyn Error>> {
    futures_executor::block_on(use_it())?;
    // In an application's tests `conformance_suite!(Tables(Table::default()))` makes a test of each case. Cases of what four
    // methods do not promise are named, and not run.
    run_all(|| Tables(Table::default()));
    Ok(())
}
