//! What the tests of the core share.
#![allow(dead_code, unreachable_pub)]

pub mod backends;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mls_keep_core::{Encryption, Entropy, Keep, MasterKey, MemoryBackend, Result, StorageBackend};
use sha2::{Digest, Sha256};

/// SHA-256 of a seed and a counter: random enough for a test, the same in every run.
pub struct SeededEntropy {
    seed: u64,
    counter: AtomicU64,
}

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: AtomicU64::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        for part in out.chunks_mut(32) {
            let count = self.counter.fetch_add(1, Ordering::Relaxed);
            let block = Sha256::digest([self.seed.to_be_bytes(), count.to_be_bytes()].concat());
            part.copy_from_slice(&block[..part.len()]);
        }
        Ok(())
    }
}

pub fn encryption() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([7; 32])).salt(b"salt")
}

pub async fn keep_in(backend: impl StorageBackend, seed: u64) -> Keep {
    Keep::open_or_create(Arc::new(backend), &encryption(), Arc::new(SeededEntropy::new(seed))).await.unwrap()
}

/// All stored keys with their values, in key order.
pub async fn dump(backend: &MemoryBackend) -> Vec<(mls_keep_core::Key, bytes::Bytes)> {
    let keys = backend.list("").await.unwrap();
    let values = backend.load_many(&keys).await.unwrap();
    keys.into_iter().zip(values.into_iter().map(Option::unwrap)).collect()
}
