//! [`Store`]: the medium of a broken backend, and what an open does to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Key, MemoryBackend, Result, StorageBackend};

use super::broken::{Broken, Defect};
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
        for (key, data) in entries.into_iter().rev() {
            match data {
                Some(data) => store.save(&key, data).await?,
                None => store.delete(&key).await?,
            }
        }
        Ok(())
    }
}

/// A store that is opened with a defect, or with none.
pub(super) struct Store {
    medium: MemoryBackend,
    undo: Undo,
    defect: Option<Defect>,
}

impl Store {
    pub(super) fn new(defect: Option<Defect>) -> Self {
        Self { medium: MemoryBackend::new(), undo: Undo::default(), defect }
    }
}

#[async_trait]
impl Harness for Store {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        self.undo.run(&self.medium).await?;
        let forgets = matches!(self.defect, Some(Defect::TwoStores | Defect::ForgetsAtClose));
        let inner = if forgets { MemoryBackend::new() } else { self.medium.clone() };
        Ok(Arc::new(Broken::new(inner, self.undo.clone(), self.defect)))
    }

    async fn medium_contains(&self, _: &[u8]) -> bool {
        true
    }
}
