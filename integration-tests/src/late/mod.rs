//! [`LateBackend`]: a write whose reply is lost, and that lands later.

mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Error, ErrorKind, Key, Result, StorageBackend};

pub use world::{Before, Checked, First, Next, Said, World};

/// Says which write is late, and when it lands. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Late(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    /// Writes until the one that is late, counted from 1.
    until: Option<u64>,
    /// The late write lands right before this call after it, counted from 1.
    after: u64,
    /// Calls since the late write.
    calls: u64,
    waiting: Option<Write>,
    delayed: bool,
}

#[derive(Clone, Debug)]
enum Write {
    /// With the value that is to be replaced. A service that takes writes in any order has to be told what it replaces:
    /// that is what its conditional writes are for.
    Save(Key, Bytes, Option<Bytes>),
    Delete(Key),
    Commit(Commit),
}

impl Late {
    /// Delays the `nth` write from now on, until right before the `mth` call after it.
    pub fn arm(&self, nth: u64, mth: u64) {
        *self.plan() = Plan { until: Some(nth), after: mth, ..Plan::default() };
    }

    /// Delays nothing more.
    pub fn disarm(&self) {
        self.plan().until = None;
    }

    /// Whether a write was delayed.
    #[must_use]
    pub fn has_delayed(&self) -> bool {
        self.plan().delayed
    }

    /// Whether a write was delayed and has not landed.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.plan().waiting.is_some()
    }

    /// A call begins: what lands before it.
    fn begin(&self) -> Option<Write> {
        let mut plan = self.plan();
        plan.waiting.as_ref()?;
        plan.calls += 1;
        if plan.calls >= plan.after { plan.waiting.take() } else { None }
    }

    /// Whether `write` is the one that is late.
    fn delays(&self, write: impl FnOnce() -> Write) -> bool {
        let mut plan = self.plan();
        let Some(until) = &mut plan.until else { return false };
        *until -= 1;
        if *until > 0 {
            return false;
        }
        plan.until = None;
        plan.delayed = true;
        plan.waiting = Some(write());
        true
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backend of which one write is late, as a [`Late`] says.
pub struct LateBackend<B> {
    inner: B,
    late: Late,
}

impl<B: StorageBackend> LateBackend<B> {
    /// `inner`, late as `late` says.
    pub fn new(inner: B, late: Late) -> Self {
        Self { inner, late }
    }

    /// The late write lands now, if it has not.
    pub async fn land(&self) {
        let waiting = self.late.plan().waiting.take();
        self.apply(waiting).await;
    }

    async fn begin(&self) {
        let landing = self.late.begin();
        self.apply(landing).await;
    }

    /// Whether it can be applied does not matter to anybody: nobody waits for it.
    async fn apply(&self, write: Option<Write>) {
        match write {
            Some(Write::Save(key, data, expected)) => {
                if self.inner.load(&key).await.is_ok_and(|stored| stored == expected) {
                    drop(self.inner.save(&key, data).await);
                }
            }
            Some(Write::Delete(key)) => drop(self.inner.delete(&key).await),
            Some(Write::Commit(commit)) => drop(self.inner.commit(commit).await),
            None => {}
        }
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "a reply was lost")
}

#[async_trait]
impl<B: StorageBackend> StorageBackend for LateBackend<B> {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.begin().await;
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.begin().await;
        let stored = self.inner.load(key).await?;
        if self.late.delays(|| Write::Save(key.clone(), data.clone(), stored)) {
            return Err(unknown());
        }
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.begin().await;
        if self.late.delays(|| Write::Delete(key.clone())) {
            return Err(unknown());
        }
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.begin().await;
        self.inner.list(prefix).await
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.begin().await;
        self.inner.load_many(keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.begin().await;
        if self.late.delays(|| Write::Commit(commit.clone())) {
            return Err(unknown());
        }
        self.inner.commit(commit).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
