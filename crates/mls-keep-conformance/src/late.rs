//! [`LateBackend`]: a backend of which one write lands late.
//!
//! A write of unknown outcome may still be under way, and land when nobody waits for it any more: a request that timed out, a
//! server that has not noticed that its client is gone. The contract allows that as long as the write's condition holds
//! ([`StorageBackend`], "A write that lands late"). Run an operation with the n-th write late by m calls, for all n and m, and
//! nothing that was reported as not applied may ever be there.
//!
//! ```
//! use futures_executor::block_on;
//! use mls_keep_conformance::late::{Landing, Late, LateBackend};
//! use mls_keep_core::{Commit, ErrorKind, Key, MemoryBackend, StorageBackend, Swap};
//!
//! let root = Key::new("root")?;
//! let step = |from: Option<&'static str>, to: &'static str| Commit {
//!     puts: Vec::new(),
//!     swap: Swap { key: root.clone(), expected: from.map(Into::into), replacement: Some(to.into()) },
//!     deletes: Vec::new(),
//! };
//! # block_on(async {
//! let late = Late::new();
//! let backend = LateBackend::new(MemoryBackend::new(), late.clone());
//! backend.commit(step(None, "a")).await?;
//!
//! // The next write lands after everything else.
//! late.arm(1, None);
//! let unknown = backend.commit(step(Some("a"), "b")).await.unwrap_err();
//! assert_eq!(unknown.kind(), ErrorKind::OutcomeUnknown);
//! // It is not there, and that proves nothing: without a fence on top of the old root it lands.
//! assert_eq!(backend.load(&root).await?.as_deref(), Some(&b"a"[..]));
//! assert_eq!(backend.land().await, Landing::Landed);
//! assert_eq!(backend.load(&root).await?.as_deref(), Some(&b"b"[..]));
//! # Ok::<(), mls_keep_core::Error>(()) })?;
//! # Ok::<(), mls_keep_core::Error>(())
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Error, ErrorKind, Key, Result, StorageBackend};

/// Says which write of a [`LateBackend`] lands late, and when. Clones share it, so a test holds one of them.
#[derive(Clone, Debug, Default)]
pub struct Late(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    /// Calls and writes since the last `arm`.
    calls: u64,
    writes: u64,
    /// Which write is late, and by how many calls.
    armed: Option<(u64, Option<u64>)>,
    under_way: Option<UnderWay>,
    landing: Landing,
}

/// A write that was answered and not applied.
#[derive(Debug)]
struct UnderWay {
    write: Write,
    /// Before which call it lands.
    due: Option<u64>,
}

#[derive(Clone, Debug)]
enum Write {
    Save(Key, Bytes),
    Delete(Key),
    Commits(Vec<Commit>),
}

/// What became of the late write.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Landing {
    /// No write was late so far.
    #[default]
    None,
    /// It is under way.
    UnderWay,
    /// It was applied. Of several commits that were given together: one of them at least.
    Landed,
    /// The root was not the expected one any more, so nothing that a root names has changed.
    Refused,
    /// It had no condition, and a later write of its key came first, so it never lands: what a backend has to see to.
    Overtaken,
}

impl Late {
    /// No write is late.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the `write`th write from now, counted from 1, be `OutcomeUnknown` at once, and land just before the `calls`th call
    /// after it, counted from 1. Every call counts there, reads too. `None`: it lands when [`LateBackend::land`] says so.
    ///
    /// What is still under way from before never lands.
    pub fn arm(&self, write: u64, calls: Option<u64>) {
        *self.plan() = Plan { armed: Some((write, calls)), ..Plan::default() };
    }

    /// Writes since the last [`arm`](Self::arm). Several commits that were given together are one write. An operation with
    /// fewer writes than were armed for ends without a late one.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.plan().writes
    }

    /// What has become of the late write.
    #[must_use]
    pub fn landing(&self) -> Landing {
        let plan = self.plan();
        if plan.under_way.is_some() { Landing::UnderWay } else { plan.landing }
    }

    /// Counts a call. Returns the write that lands before it.
    fn next_call(&self) -> Option<Write> {
        let mut plan = self.plan();
        plan.calls += 1;
        let calls = plan.calls;
        let due = plan.under_way.take_if(|under_way| under_way.due.is_some_and(|due| due <= calls));
        due.map(|under_way| under_way.write)
    }

    /// Counts a write, which is a call as well. Says whether it is the late one; then it is under way.
    fn next_write(&self, write: &Write) -> bool {
        let mut plan = self.plan();
        plan.writes += 1;
        let (calls, writes) = (plan.calls, plan.writes);
        if let Some((_, after)) = plan.armed.take_if(|(at, _)| *at == writes) {
            let due = after.map(|after| calls + after.max(1));
            plan.under_way = Some(UnderWay { write: write.clone(), due });
            return true;
        }
        if plan.under_way.take_if(|under_way| under_way.write.is_overtaken_by(write)).is_some() {
            plan.landing = Landing::Overtaken;
        }
        false
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Nothing that can panic runs while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write {
    /// Whether this write has no condition, and `later` writes its key.
    fn is_overtaken_by(&self, later: &Self) -> bool {
        match self {
            Self::Save(key, _) | Self::Delete(key) => later.keys().contains(key),
            Self::Commits(_) => false,
        }
    }

    fn keys(&self) -> BTreeSet<&Key> {
        match self {
            Self::Save(key, _) | Self::Delete(key) => BTreeSet::from([key]),
            Self::Commits(commits) => commits.iter().flat_map(keys_of).collect(),
        }
    }
}

fn keys_of(commit: &Commit) -> impl Iterator<Item = &Key> {
    commit.puts.iter().map(|(key, _)| key).chain([&commit.swap.key]).chain(&commit.deletes)
}

/// A backend of which one write lands late, as its [`Late`] says. A swap lands only while the stored root is the expected
/// one, as on a server that compares. With [`FourMethods`](crate::fault::FourMethods) around it, each save and each delete of
/// a commit is a write of its own; they have no condition, and land unless a later write of the same key was answered.
pub struct LateBackend<B: ?Sized> {
    inner: Arc<B>,
    late: Late,
}

impl<B: StorageBackend> LateBackend<B> {
    /// `inner`, late as `late` says.
    pub fn new(inner: B, late: Late) -> Self {
        Self::shared(Arc::new(inner), late)
    }
}

impl<B: StorageBackend + ?Sized> LateBackend<B> {
    /// As [`new`](LateBackend::new), for a backend that is shared, such as an `Arc<dyn StorageBackend>`.
    pub fn shared(inner: Arc<B>, late: Late) -> Self {
        Self { inner, late }
    }

    /// Lets the write that is under way land now, if there is one, and says what has become of the late write.
    pub async fn land(&self) -> Landing {
        let under_way = self.late.plan().under_way.take();
        if let Some(under_way) = under_way {
            self.apply(under_way.write).await;
        }
        self.late.landing()
    }

    async fn apply(&self, write: Write) {
        let landed = match write {
            Write::Save(key, data) => self.inner.save(&key, data).await.is_ok(),
            Write::Delete(key) => self.inner.delete(&key).await.is_ok(),
            Write::Commits(commits) => self.inner.commit_many(commits).await.iter().any(Result::is_ok),
        };
        self.late.plan().landing = if landed { Landing::Landed } else { Landing::Refused };
    }

    /// Begins a call: what is due before it lands.
    async fn begin(&self) {
        if let Some(write) = self.late.next_call() {
            self.apply(write).await;
        }
    }

    /// Begins a write. The error is that of the late one.
    async fn begin_write(&self, write: Write) -> Result<()> {
        self.begin().await;
        if self.late.next_write(&write) {
            return Err(Error::new(ErrorKind::OutcomeUnknown, "no answer came in time"));
        }
        Ok(())
    }
}

#[async_trait]
impl<B: StorageBackend + ?Sized> StorageBackend for LateBackend<B> {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.begin().await;
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.begin_write(Write::Save(key.clone(), data.clone())).await?;
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.begin_write(Write::Delete(key.clone())).await?;
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.begin().await;
        self.inner.list(prefix).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.begin().await;
        self.inner.list_page(prefix, after, limit).await
    }

    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        self.begin().await;
        self.inner.list_loosely(prefix).await
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.begin().await;
        self.inner.load_many(keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.begin_write(Write::Commits(vec![commit.clone()])).await?;
        self.inner.commit(commit).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        match self.begin_write(Write::Commits(commits.clone())).await {
            Ok(()) => self.inner.commit_many(commits).await,
            Err(unknown) => unknown.for_each_of(commits.len()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl<B: ?Sized> fmt::Debug for LateBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateBackend").field("late", &self.late).finish_non_exhaustive()
    }
}
