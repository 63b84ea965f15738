//! [`S3Backend`]: the store with a runtime of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use mls_keep_core::{Capabilities, Commit, Durability, Error, ErrorKind, Key, Result, StorageBackend, SwapScope};
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, MAX_VALUE_LEN};
use crate::open::checked;
use crate::store::{Riding, Store};

/// A store below one prefix of a bucket. Its futures may be awaited from any executor.
pub struct S3Backend {
    store: Arc<Store>,
    closed: AtomicBool,
    runtime: OwnRuntime,
}

/// A runtime that may be dropped inside of another one, which must not wait.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn start() -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let built = builder.worker_threads(2).thread_name("mls-keep-s3").enable_all().build();
        let unavailable = |source| Error::new(ErrorKind::Unavailable, "no thread can be started").with_source(source);
        Ok(Self(Some(built.map_err(unavailable)?)))
    }

    /// Runs `call` to its end, also if the future that waits for it is dropped. If it ends without an answer, by a panic, the
    /// error is `gave_up`.
    async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
        gave_up: ErrorKind,
    ) -> Result<T> {
        let gave_up = || Error::new(gave_up, "a task of the adapter ended without an answer: please report it");
        let runtime = self.0.as_ref().ok_or_else(gave_up)?;
        runtime.spawn(call).await.map_err(|error| gave_up().with_source(error))?
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Versions that a bucket keeps beside the current ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OldVersionsFound {
    /// How many, markers of deletion among them.
    pub count: usize,
    /// How long they are together, bytes.
    pub bytes: u64,
}

impl S3Backend {
    /// Opens the store below `prefix` in `bucket`. An empty prefix is the whole bucket.
    ///
    /// This asks the service for nothing. Before anything is written, one small object of its own is written and deleted, to
    /// see whether the service's conditional writes can decide between two writers; unless what was read says that this was
    /// done within a day. A service that fails it can be read from all the same.
    ///
    /// # Errors
    /// `Invalid` if the configuration, the name or the prefix breaks a rule, or no credentials are found. The first call that
    /// asks the service is `NotFound` if there is no such bucket, `Invalid` if the credentials are wrong, `Unavailable` if it
    /// cannot be reached before the deadline; the first one that writes is `ReadOnly` if the credentials do not permit it,
    /// and `Invalid` if conditional writes do not compare.
    pub async fn open(bucket: &str, prefix: &str, config: Config) -> Result<Self> {
        config.check()?;
        let prefix = checked(bucket, prefix)?;
        let runtime = OwnRuntime::start()?;
        let bucket = bucket.to_owned();
        let opened = runtime.run(async move { Store::open(bucket, prefix, &config).await }, ErrorKind::Internal);
        let store = opened.await?;
        Ok(Self { store: Arc::new(store), closed: AtomicBool::new(false), runtime })
    }

    /// The versions of the store's objects that are not current. None in a bucket that keeps none.
    ///
    /// # Errors
    /// `Unavailable` if the service cannot be reached.
    pub async fn old_versions(&self) -> Result<OldVersionsFound> {
        let store = Arc::clone(&self.store);
        let (count, bytes) = self.run(async move { store.old_versions().await }).await?;
        Ok(OldVersionsFound { count, bytes })
    }

    /// Deletes them all, and says how many there were: those of before [`OldVersions::Purge`](crate::OldVersions::Purge) was
    /// configured, and those that a crash left.
    ///
    /// # Errors
    /// `ReadOnly` if the credentials may not, `Unavailable` if the service cannot be reached.
    pub async fn purge_old_versions(&self) -> Result<usize> {
        let store = Arc::clone(&self.store);
        self.run(async move { store.purge().await }).await
    }

    async fn run<T: Send + 'static>(&self, call: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.ensure_open()?;
        self.runtime.run(call, ErrorKind::Internal).await
    }

    /// As [`run`](Self::run), for what changes the store: a task that ends without an answer may have changed it.
    async fn write<T: Send + 'static>(&self, call: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.ensure_open()?;
        let store = Arc::clone(&self.store);
        let write = async move {
            store.look().await?;
            let _writing = store.writing();
            call.await
        };
        self.runtime.run(write, ErrorKind::OutcomeUnknown).await
    }

    fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Poisoned, "the store is closed"));
        }
        Ok(())
    }
}

/// Applies a commit, and leaves its deletions to a task of their own.
async fn commit(store: &Arc<Store>, commit: &Commit) -> Result<()> {
    let deletes = store.commit(commit).await?;
    if !deletes.is_empty() {
        let deletion = store.pending.begin(deletes);
        let (store, root) = (Arc::clone(store), commit.swap.key.clone());
        tokio::spawn(async move { store.delete_all(&root, deletion).await });
    }
    Ok(())
}

/// How many of the first `commits` have no key in common. At least one, if there is one.
fn independent(commits: &[Commit]) -> usize {
    let mut taken = HashSet::new();
    let keys = |commit: &Commit| {
        let nodes = commit.puts.iter().map(|(key, _)| key).chain(&commit.deletes);
        nodes.chain([&commit.swap.key]).cloned().collect::<HashSet<Key>>()
    };
    let fits = |commit: &&Commit| {
        let keys = keys(commit);
        let fits = taken.is_disjoint(&keys);
        taken.extend(keys);
        fits
    };
    commits.iter().take_while(fits).count()
}

#[async_trait]
impl StorageBackend for S3Backend {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.load_many(std::slice::from_ref(key)).await?.pop().flatten())
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let (store, keys) = (Arc::clone(&self.store), keys.to_vec());
        self.run(async move { store.load_many(&keys).await }).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        let (store, key) = (Arc::clone(&self.store), key.clone());
        self.write(async move { store.save(&key, data).await }).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let (store, key) = (Arc::clone(&self.store), key.clone());
        self.write(async move { store.delete(&key).await }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        let (store, prefix) = (Arc::clone(&self.store), prefix.to_owned());
        self.run(async move { store.list(&prefix, None, usize::MAX).await }).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let (store, prefix, after) = (Arc::clone(&self.store), prefix.to_owned(), after.cloned());
        self.run(async move { store.list(&prefix, after.as_ref(), limit).await }).await
    }

    /// A root that was read or written here is not asked for again: the nodes that rode with it then are listed.
    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        let (store, prefix) = (Arc::clone(&self.store), prefix.to_owned());
        self.run(async move { store.list_whole(&prefix, Riding::SeenLast).await }).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let store = Arc::clone(&self.store);
        self.write(async move { self::commit(&store, &commit).await }).await
    }

    /// Commits that have no key in common go side by side, the others in their order.
    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        let (store, count) = (Arc::clone(&self.store), commits.len());
        let done = self
            .write(async move {
                let mut done = Vec::with_capacity(commits.len());
                let mut rest = commits.as_slice();
                while !rest.is_empty() {
                    let (together, later) = rest.split_at(independent(rest));
                    done.extend(join_all(together.iter().map(|commit| self::commit(&store, commit))).await);
                    rest = later;
                }
                Ok(done)
            })
            .await;
        done.unwrap_or_else(|error| error.for_each_of(count))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
            .with_swap(SwapScope::Everyone)
            .with_durability(Durability::PowerLoss)
            .with_max_value_len(MAX_VALUE_LEN)
    }

    /// Waits for the deletions that are under way.
    async fn close(&self) -> Result<()> {
        let store = Arc::clone(&self.store);
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let done = self.run(async move {
            store.pending.wait_below("").await;
            Ok(())
        });
        done.await?;
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
