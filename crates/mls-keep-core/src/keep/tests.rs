//! A header that another process changes, and clients that are opened without a name.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use futures_executor::block_on;

use super::*;
use crate::MasterKey;
use crate::memory::MemoryBackend;

struct Random;

impl Entropy for Random {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.iter_mut().for_each(|byte| *byte = RandomState::new().hash_one(0) as u8);
        Ok(())
    }
}

fn encryption() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([7; 32]))
}

async fn open(backend: &MemoryBackend) -> Result<Keep> {
    Keep::open_or_create(Arc::new(backend.clone()), &encryption(), Arc::new(Random)).await
}

#[test]
fn both_go_on_when_one_process_gives_the_keep_a_new_root_key() {
    block_on(async {
        let backend = MemoryBackend::new();
        let old = open(&backend).await?;
        let mut alice = old.create_client(b"alice").await?;
        let key = Key::new(names::HEADER)?;
        let before = backend.load(&key).await?.unwrap();
        backend.save(&key, old.header().with_new_root_key(&old.shared.header_key, &Random)?).await?;

        let new = open(&backend).await?;
        let mut other = new.open_client(b"alice").await?;
        for _ in 0..3 {
            // Sealed under a root key that the other one has not seen, and under one that is not the newest any more.
            other.commit(&Changes::new()).await?;
            alice.commit(&Changes::new()).await?;
        }
        other.commit(&Changes::new()).await?;
        assert_eq!(old.clients().await?, [b"alice"]);
        assert_eq!(old.open_client(b"alice").await?.number(), 8);

        // An older header is no way back: what is sealed under the new key does not open without it.
        let third = old.header().with_new_root_key(&old.shared.header_key, &Random)?;
        backend.save(&key, third).await?;
        open(&backend).await?.open_client(b"alice").await?.commit(&Changes::new()).await?;
        backend.save(&key, before).await?;
        assert_eq!(old.clients().await.unwrap_err().kind(), ErrorKind::RolledBack);
        assert_eq!(alice.refresh().await.unwrap_err().kind(), ErrorKind::RolledBack);
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[test]
fn the_only_client_opens_without_a_name() {
    block_on(async {
        let keep = open(&MemoryBackend::new()).await?;
        assert_eq!(keep.open_only_client().await.unwrap_err().kind(), ErrorKind::NotFound);
        keep.create_client(b"alice").await?;
        assert_eq!(keep.open_only_client().await?.identity(), b"alice");
        keep.create_client(b"bob").await?;
        assert_eq!(keep.open_only_client().await.unwrap_err().kind(), ErrorKind::Invalid);
        // A deleted one leaves a tombstone, and is none.
        keep.delete_client(b"alice").await?;
        assert_eq!(keep.open_only_client().await?.identity(), b"bob");
        Ok::<_, Error>(())
    })
    .unwrap();
}
