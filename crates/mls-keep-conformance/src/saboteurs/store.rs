//! [`Store`]: the medium of a broken backend, and what an open does to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Error, ErrorKind, Key, MemoryBackend, Result, StorageBackend};

use super::broken::{Broken, Defect, pause};
use crate::harness::Harness;

/// A key, and the value that it gets back.
type Before = (Key, Option<Bytes>);

/// What the next open undoes.
#[derive(Clone, Debug, Default)]
pub(super) struct Undo(Arc<Mutex<Vec<Before>>>);

impl Undo {
    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<Before>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, store: &MemoryBackend) -> Result<()> {
        let entries = std::mem::take(&mut *self.entries());
        undo(entries, store).await
    }
}

async fn undo(entries: Vec<Before>, store: &MemoryBackend) -> Result<()> {
    for (key, data) in entries.into_iter().rev() {
        match data {
            Some(data) => store.save(&key, data).await?,
            None => store.delete(&key).await?,
        }
    }
    Ok(())
}

/// Whether the connection to the medium was cut and not made again.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(super) fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Makes the connection again, and says whether it was cut.
    pub(super) fn mend(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// A store that is opened with a defect, or with none.
pub(super) struct Store {
    medium: MemoryBackend,
    undo: Undo,
    cut: Cut,
    /// How many are opening it.
    opening: AtomicUsize,
    defect: Option<Defect>,
}

impl Store {
    pub(super) fn new(defect: Option<Defect>) -> Self {
        let (medium, undo, cut, opening) = Default::default();
        Self { medium, undo, cut, opening, defect }
    }

    /// Makes an empty store, in steps that another one who opens it can see.
    async fn make(&self) -> Result<()> {
        let alone = self.opening.fetch_add(1, Ordering::SeqCst) == 0;
        (0..20).for_each(|_| pause());
        let met = !alone || self.opening.load(Ordering::SeqCst) > 1;
        self.opening.fetch_sub(1, Ordering::SeqCst);
        if met && self.medium.list("").await?.is_empty() {
            return Err(Error::new(ErrorKind::Corrupt, "the store is half made"));
        }
        Ok(())
    }
}

#[async_trait]
impl Harness for Store {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        self.undo.run(&self.medium).await?;
        if self.defect == Some(Defect::HalfMadeForOthers) {
            self.make().await?;
        }
        let forgets = matches!(self.defect, Some(Defect::TwoStores | Defect::ForgetsAtClose));
        let inner = if forgets { MemoryBackend::new() } else { self.medium.clone() };
        Ok(Arc::new(Broken::new(inner, self.undo.clone(), self.cut.clone(), self.defect)))
    }

    async fn medium_contains(&self, _: &[u8]) -> bool {
        true
    }

    async fn copy(&self) -> Option<Box<dyn Harness>> {
        let copy = Self::new(self.defect);
        let keys = self.medium.list("").await.ok()?;
        for (key, data) in keys.iter().zip(self.medium.load_many(&keys).await.ok()?) {
            copy.medium.save(key, data?).await.ok()?;
        }
        let entries = self.undo.entries().clone();
        undo(entries, &copy.medium).await.ok()?;
        Some(Box::new(copy))
    }

    async fn cut_connections(&self) -> bool {
        self.cut.0.store(true, Ordering::SeqCst);
        true
    }
}
