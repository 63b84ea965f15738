//! Giving up files, locks and connections for a while.

use std::sync::Arc;

use mls_keep_core::{Result, StorageBackend};

use super::{Client, CryptoProvider, not_kept};

impl<C: CryptoProvider> Client<C> {
    /// Saves everything, as [`close`](Self::close) does, and [closes](crate::PersistenceManager::close) the keep: when this
    /// returns `Ok`, no file is open and no lock is held, so the process may be suspended or end, and others may use the
    /// store. What the client has in memory stays, with its signers, its policies and what was set otherwise.
    ///
    /// Until [`resume`](Self::resume), all that needs the client is `Poisoned`, and so are all clients of its keep: `close`
    /// the others before.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use mls_keep::{Client, Encryption, ErrorKind, MasterKey, MemoryBackend, PersistenceManager};
    /// # futures_executor::block_on(async {
    /// # let store = MemoryBackend::new();
    /// # let encryption = Encryption::hkdf_sha256(MasterKey::new([1; 32]));
    /// # let manager = PersistenceManager::builder(store.clone()).encryption(encryption).open().await?;
    /// # let mut alice = manager.client_builder("alice").create().await?;
    /// # let group = alice.create_group("tea").await?;
    /// alice.suspend().await?; // the application goes to the background
    /// assert_eq!(alice.send(&group, "x").await.unwrap_err().kind(), ErrorKind::Poisoned);
    ///
    /// let backend = store.clone(); // or SqliteBackend::open("alice.db", Config::default())?
    /// let changed = alice.resume(Arc::new(backend)).await?; // it comes back
    /// assert!(!changed, "no other process was here");
    /// alice.send(&group, "at five?").await?;
    /// # Ok::<(), mls_keep::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`save`](Self::save), and the keep is open then: where it must not stay so, close it without a save. Those of the
    /// backend's closing, and the keep is closed all the same.
    pub async fn suspend(&mut self) -> Result<()> {
        let keep = self.store_mut()?.keep().clone();
        if keep.is_closed() && !self.has_unsaved() {
            return Ok(());
        }
        self.close().await?;
        keep.close().await
    }

    /// Goes on after [`suspend`](Self::suspend), on the same store, opened anew. What another process has changed is taken
    /// over; groups that it left alone need not be read again. Returns whether there was a change.
    ///
    /// # Errors
    /// As [`PersistenceManager::resume`](crate::PersistenceManager::resume) and [`refresh`](Self::refresh): `RolledBack` if the
    /// store holds an older state than the one that this client left, `NotFound` or `MovedOut` if it has gone. The keep is
    /// closed then, as before.
    pub async fn resume(&mut self, backend: Arc<dyn StorageBackend>) -> Result<bool> {
        let keep = self.store.as_ref().ok_or_else(not_kept)?.keep().clone();
        keep.resume(backend).await?;
        let refreshed = self.refresh().await;
        if refreshed.is_err() {
            // Why it cannot go on is what the caller has to know.
            drop(keep.close().await);
        }
        refreshed
    }
}
