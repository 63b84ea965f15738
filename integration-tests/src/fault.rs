//! [`FaultBackend`]: a backend that fails, or stalls, at the call that a test names. [`FourMethods`]: a backend that has
//! nothing but the four methods.
//!
//! A test runs an operation over and over, with a fault at the first call, at the second, and so on, until it ends before
//! the fault is reached. So every place where the operation can be interrupted was one.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Error, ErrorKind, Key, Result, StorageBackend};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The call does nothing and is `Unavailable`.
    BeforeApplying,
    /// The call does its work and the reply is lost. A write is `OutcomeUnknown`, reading is `Unavailable`.
    AfterApplying,
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lasting {
    /// One call, then all is well.
    Once,
    /// All calls from then on.
    Sticky,
}

/// Where a call waits once before it goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stall {
    /// Nothing has been done yet.
    BeforeApplying,
    /// The work has been done, and the reply is under way.
    AfterApplying,
}

/// Says when a [`FaultBackend`] fails, and counts its calls. Clones share it, so a test holds one of them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    injected: u64,
    armed: Option<(u64, Fault, Lasting)>,
    stall: Option<Stall>,
}

impl Faults {
    /// Nothing fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the call fail that is the `at`th from now, counted from 1.
    pub fn arm(&self, at: u64, fault: Fault, lasting: Lasting) {
        *self.plan() = Plan { armed: Some((at, fault, lasting)), ..Plan::default() };
    }

    /// Lets every call from now on wait once.
    pub fn stall(&self, stall: Stall) {
        *self.plan() = Plan { stall: Some(stall), ..Plan::default() };
    }

    /// Ends all faults and stalls, and counts from 0 again. Returns how many calls failed.
    pub fn disarm(&self) -> u64 {
        std::mem::take(&mut *self.plan()).injected
    }

    /// Calls since the last [`arm`](Self::arm), [`stall`](Self::stall) or [`disarm`](Self::disarm).
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    fn next(&self) -> (Option<Fault>, Option<Stall>) {
        let mut plan = self.plan();
        plan.calls += 1;
        let fault = plan.armed.filter(|(at, _, lasting)| match lasting {
            Lasting::Once => plan.calls == *at,
            Lasting::Sticky => plan.calls >= *at,
        });
        plan.injected += u64::from(fault.is_some());
        (fault.map(|(_, fault, _)| fault), plan.stall)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Each change is one assignment, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backend that fails where its [`Faults`] say so. Every method is one call, whatever it does inside; put
/// [`FourMethods`] around it to have each save and each delete of a commit counted by itself.
#[derive(Debug)]
pub struct FaultBackend<B> {
    inner: B,
    faults: Faults,
}

impl<B: StorageBackend> FaultBackend<B> {
    /// `inner`, failing as `faults` say.
    pub fn new(inner: B, faults: Faults) -> Self {
        Self { inner, faults }
    }

    async fn call<T>(&self, writes: bool, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let (fault, stall) = self.faults.next();
        if stall == Some(Stall::BeforeApplying) {
            pending_once().await;
        }
        let result = match fault {
            Some(Fault::BeforeApplying) => Err(Error::new(ErrorKind::Unavailable, "a fault was injected")),
            Some(Fault::AfterApplying) => work.await.and_then(|_| Err(reply_lost(writes))),
            None => work.await,
        };
        if stall == Some(Stall::AfterApplying) {
            pending_once().await;
        }
        result
    }
}

#[async_trait]
impl<B: StorageBackend> StorageBackend for FaultBackend<B> {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.call(false, self.inner.load(key)).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.call(true, self.inner.save(key, data)).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.call(true, self.inner.delete(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.call(false, self.inner.list(prefix)).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.call(false, self.inner.list_page(prefix, after, limit)).await
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.call(false, self.inner.load_many(keys)).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.call(true, self.inner.commit(commit)).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        let count = commits.len();
        let all = self.call(true, async { Ok(self.inner.commit_many(commits).await) }).await;
        // One flush for all of them, so one fault as well.
        let each = |error: Error| (0..count).map(|_| Err(Error::new(error.kind(), error.to_string()))).collect();
        all.unwrap_or_else(each)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

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

fn reply_lost(writes: bool) -> Error {
    let kind = if writes { ErrorKind::OutcomeUnknown } else { ErrorKind::Unavailable };
    Error::new(kind, "a reply was lost")
}

/// Is pending at its first poll and asks to be polled again.
async fn pending_once() {
    let mut polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
