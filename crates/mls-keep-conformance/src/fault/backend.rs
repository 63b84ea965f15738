//! [`FaultBackend`]: a backend that fails, tears or stalls where its [`Faults`] say so.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Error, ErrorKind, Key, Result, StorageBackend};

use super::faults::{Fate, Faults};
use super::{Fault, Stall, pending_once};

/// A backend that fails where its [`Faults`] say so. Every method is one call, whatever it does inside; put
/// [`FourMethods`](super::FourMethods) around it to have each save and each delete of a commit counted by itself.
pub struct FaultBackend<B: ?Sized> {
    inner: Arc<B>,
    faults: Faults,
}

impl<B: StorageBackend> FaultBackend<B> {
    /// `inner`, failing as `faults` say.
    pub fn new(inner: B, faults: Faults) -> Self {
        Self::shared(Arc::new(inner), faults)
    }
}

impl<B: StorageBackend + ?Sized> FaultBackend<B> {
    /// As [`new`](FaultBackend::new), for a backend that is shared, such as an `Arc<dyn StorageBackend>`.
    pub fn shared(inner: Arc<B>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// One call: `work` is all of it, `torn` its first parts.
    async fn call<T, W, P>(&self, writes: bool, work: W, torn: impl FnOnce(usize) -> P + Send) -> Result<T>
    where
        W: Future<Output = Result<T>> + Send,
        P: Future<Output = ()> + Send,
    {
        let Fate { fault, stall, hold } = self.faults.next();
        if stall == Some(Stall::BeforeApplying) {
            pending_once().await;
        }
        if hold == Some(Stall::BeforeApplying) {
            self.faults.wait().await;
        }
        let result = match fault {
            Some(Fault::BeforeApplying) => Err(Error::new(ErrorKind::Unavailable, "a fault was injected")),
            Some(Fault::AfterApplying) => work.await.and_then(|_| Err(reply_lost(writes))),
            Some(Fault::Torn { parts }) => {
                torn(parts).await;
                Err(reply_lost(writes))
            }
            None => work.await,
        };
        if stall == Some(Stall::AfterApplying) {
            pending_once().await;
        }
        if hold == Some(Stall::AfterApplying) {
            self.faults.wait().await;
        }
        result
    }

    async fn read<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.call(false, work, |_| async {}).await
    }

    /// Applies as much of `commit` as `parts` allow, and takes what it applied from `parts`. Errors are not reported: a caller
    /// whose commit is torn does not learn them.
    async fn tear(&self, commit: Commit, parts: &mut usize) {
        let root_at = commit.puts.len();
        let all = root_at + 1 + commit.deletes.len();
        let allowed = (*parts).min(all);
        *parts -= allowed;
        if allowed == all || self.inner.capabilities().atomic_commit {
            if allowed > root_at {
                drop(self.inner.commit(commit).await);
            }
            return;
        }
        for (key, data) in commit.puts.into_iter().take(allowed) {
            drop(self.inner.save(&key, data).await);
        }
        if allowed > root_at {
            let deletes = commit.deletes.into_iter().take(allowed - root_at - 1).collect();
            drop(self.inner.commit(Commit { puts: Vec::new(), swap: commit.swap, deletes }).await);
        }
    }
}

#[async_trait]
impl<B: StorageBackend + ?Sized> StorageBackend for FaultBackend<B> {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.read(self.inner.load(key)).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        let part = data.clone();
        let torn = |parts| async move {
            if parts > 0 {
                drop(self.inner.save(key, part).await);
            }
        };
        self.call(true, self.inner.save(key, data), torn).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let torn = |parts| async move {
            if parts > 0 {
                drop(self.inner.delete(key).await);
            }
        };
        self.call(true, self.inner.delete(key), torn).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.read(self.inner.list(prefix)).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.read(self.inner.list_page(prefix, after, limit)).await
    }

    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        self.read(self.inner.list_loosely(prefix)).await
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.read(self.inner.load_many(keys)).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.faults.count(&commit);
        let part = commit.clone();
        let torn = |mut parts| async move { self.tear(part, &mut parts).await };
        self.call(true, self.inner.commit(commit), torn).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        commits.iter().for_each(|commit| self.faults.count(commit));
        let count = commits.len();
        let part = commits.clone();
        let torn = |mut parts| async move {
            for commit in part {
                self.tear(commit, &mut parts).await;
            }
        };
        let work = async { Ok(self.inner.commit_many(commits).await) };
        // One flush for all of them, so one fault as well.
        self.call(true, work, torn).await.unwrap_or_else(|error| error.for_each_of(count))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl<B: ?Sized> fmt::Debug for FaultBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultBackend").field("faults", &self.faults).finish_non_exhaustive()
    }
}

fn reply_lost(writes: bool) -> Error {
    let kind = if writes { ErrorKind::OutcomeUnknown } else { ErrorKind::Unavailable };
    Error::new(kind, "a reply was lost")
}
