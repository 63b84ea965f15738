//! Copies of whole stores, and opening them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::wait::block_on;
use bytes::Bytes;
use mls_keep::{Client, Encryption, MasterKey, PersistenceManager, SystemEntropy};
use mls_keep_core::{Keep, Key, MemoryBackend, Result, ScopeId, StorageBackend};

/// The master key of all stores of the tests.
pub const MASTER_KEY: [u8; 32] = *b"the master key of all our tests.";

/// Everything that a store holds.
pub type Image = BTreeMap<Key, Bytes>;

/// Decrypted: every record of every scope of a client.
pub type Contents = BTreeMap<ScopeId, BTreeMap<Vec<u8>, Vec<u8>>>;

/// The encryption of all stores of the tests.
#[must_use]
pub fn encryption() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new(MASTER_KEY))
}

/// Copies what `backend` holds.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn image(backend: &impl StorageBackend) -> Image {
    block_on(async {
        let mut image = Image::new();
        for key in backend.list("").await.unwrap() {
            let data = backend.load(&key).await.unwrap().unwrap();
            image.insert(key, data);
        }
        image
    })
}

/// A store of its own with the contents of `image`.
///
/// # Panics
/// Never: memory takes everything.
#[must_use]
pub fn restore(image: &Image) -> MemoryBackend {
    let backend = MemoryBackend::new();
    block_on(async {
        for (key, data) in image {
            backend.save(key, data.clone()).await.unwrap();
        }
    });
    backend
}

/// Opens the keep of `backend`, or makes one.
///
/// # Errors
/// As [`PersistenceManagerBuilder::open`](mls_keep::PersistenceManagerBuilder::open).
pub fn open(backend: impl StorageBackend) -> Result<PersistenceManager> {
    open_shared(Arc::new(backend))
}

/// As [`open`], for a backend that is shared.
///
/// # Errors
/// As [`open`].
pub fn open_shared(backend: Arc<dyn StorageBackend>) -> Result<PersistenceManager> {
    block_on(PersistenceManager::builder_shared(backend).encryption(encryption()).open())
}

/// Loads a client.
///
/// # Errors
/// As [`PersistenceManager::load_client_state`].
pub fn load(manager: &PersistenceManager, identity: &str) -> Result<Client> {
    block_on(manager.load_client_state(identity))
}

/// Reads every record of a client.
///
/// # Errors
/// As reading a client has.
pub fn contents(keep: &Keep, identity: &str) -> Result<Contents> {
    block_on(async {
        let client = keep.open_client(identity.as_bytes()).await?;
        let mut contents = Contents::new();
        for scope in client.scopes().await? {
            let records = client.records(&scope, &mls_keep_core::RecordRange::all()).await?;
            let records =
                records.into_iter().map(|record| (record.key.to_vec(), record.value.as_slice().to_vec())).collect();
            contents.insert(scope, records);
        }
        Ok(contents)
    })
}

/// Opens a keep without any of what stands above it.
///
/// # Errors
/// As [`Keep::open`].
pub fn open_keep(backend: impl StorageBackend) -> Result<Keep> {
    open_keep_shared(Arc::new(backend))
}

/// As [`open_keep`], for a backend that is shared.
///
/// # Errors
/// As [`Keep::open`].
pub fn open_keep_shared(backend: Arc<dyn StorageBackend>) -> Result<Keep> {
    block_on(Keep::open(backend, &encryption(), Arc::new(SystemEntropy)))
}
