//! [`Engine`]: a store whose calls block, and the thread that makes a backend of it.
//!
//! `thread` is the handle, `queue` what runs on the thread: one flush for all batches that wait.

mod queue;
#[cfg(test)]
mod tests;
mod thread;
mod write_batch;

use bytes::Bytes;

pub use self::thread::EngineThread;
pub use self::write_batch::WriteBatch;
use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::key::Key;

/// A store whose calls block: a file, a database. It lives on one thread, so nothing in it needs a lock.
///
/// [`EngineThread`] makes a [`StorageBackend`](crate::StorageBackend) of it.
pub trait Engine: 'static {
    /// The values of `keys`, in their order. All of one moment where the engine promises
    /// [`atomic_commit`](Capabilities::atomic_commit).
    ///
    /// # Errors
    /// As [`StorageBackend::load`](crate::StorageBackend::load).
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>>;

    /// At most `limit` keys that begin with `prefix` and come after `after`, in byte order.
    ///
    /// # Errors
    /// As [`StorageBackend::list_page`](crate::StorageBackend::list_page).
    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>>;

    /// Applies `batches`, each whole or not at all and each with a result of its own, in their order, with one flush for
    /// all. A batch whose swap does not find what it expects is [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) and
    /// leaves the others alone. `Ok` means durable.
    ///
    /// When all of them fail together, [`Error::for_each_of`](crate::Error::for_each_of) makes the results. If some were refused before, they stay
    /// refused, whatever became of the others: `results.into_iter().map(|result| result.and(Err(error.clone())))`. A panic in
    /// here is [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) for all who wait, and the backend is [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned) afterwards.
    fn apply(&mut self, batches: &[WriteBatch]) -> Vec<Result<()>>;

    /// What the open store promises. Asked once, when the engine has been opened, so it may depend on what the engine found
    /// there: a setting of the server, the kind of file system.
    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
    }

    /// Called when batches were applied and answered and nobody waits: the time for work that can be put off.
    fn idle(&mut self) {}

    /// Ends the use of the store.
    ///
    /// # Errors
    /// As [`StorageBackend::close`](crate::StorageBackend::close). The store is closed whatever the result is.
    fn close(self) -> Result<()>;
}

/// Implements [`StorageBackend`](crate::StorageBackend) for `$backend` through its field `$thread`, an
/// [`EngineThread`]. What the backend promises is what the [`Engine`] says of itself.
///
/// ```
/// # use bytes::Bytes;
/// # use mls_keep_core::{Key, WriteBatch};
/// use mls_keep_core::{Capabilities, Engine, EngineThread, Result, StorageBackend};
///
/// struct MyEngine;
/// # impl Engine for MyEngine {
/// #     fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> { Ok(vec![None; keys.len()]) }
/// #     fn list(&mut self, _: &str, _: Option<&Key>, _: usize) -> Result<Vec<Key>> { Ok(Vec::new()) }
/// #     fn apply(&mut self, batches: &[WriteBatch]) -> Vec<Result<()>> { batches.iter().map(|_| Ok(())).collect() }
/// #     fn capabilities(&self) -> Capabilities { Capabilities::weakest().with_atomic_commit(true) }
/// #     fn close(self) -> Result<()> { Ok(()) }
/// # }
///
/// pub struct MyBackend {
///     thread: EngineThread<MyEngine>,
/// }
///
/// impl MyBackend {
///     pub fn open() -> Result<Self> {
///         Ok(Self { thread: EngineThread::start("MyEngine", || Ok(MyEngine))? })
///     }
/// }
///
/// mls_keep_core::storage_backend!(MyBackend, thread);
///
/// let backend: &dyn StorageBackend = &MyBackend::open()?;
/// assert!(backend.capabilities().atomic_commit);
/// # Ok::<(), mls_keep_core::Error>(())
/// ```
#[macro_export]
macro_rules! storage_backend {
    ($backend:ty, $thread:ident) => {
        #[$crate::__private::async_trait]
        impl $crate::StorageBackend for $backend {
            async fn load(&self, key: &$crate::Key) -> $crate::Result<Option<$crate::__private::Bytes>> {
                Ok(self.$thread.load_many(::std::slice::from_ref(key)).await?.pop().flatten())
            }

            async fn save(&self, key: &$crate::Key, data: $crate::__private::Bytes) -> $crate::Result<()> {
                self.$thread.apply_one($crate::WriteBatch::put(key.clone(), data)).await
            }

            async fn delete(&self, key: &$crate::Key) -> $crate::Result<()> {
                self.$thread.apply_one($crate::WriteBatch::delete(key.clone())).await
            }

            async fn list(&self, prefix: &str) -> $crate::Result<Vec<$crate::Key>> {
                self.$thread.list(prefix, None, usize::MAX).await
            }

            async fn list_page(
                &self,
                prefix: &str,
                after: Option<&$crate::Key>,
                limit: usize,
            ) -> $crate::Result<Vec<$crate::Key>> {
                self.$thread.list(prefix, after, limit).await
            }

            async fn load_many(&self, keys: &[$crate::Key]) -> $crate::Result<Vec<Option<$crate::__private::Bytes>>> {
                self.$thread.load_many(keys).await
            }

            async fn commit(&self, commit: $crate::Commit) -> $crate::Result<()> {
                self.$thread.apply_one(commit.into()).await
            }

            async fn commit_many(&self, commits: Vec<$crate::Commit>) -> Vec<$crate::Result<()>> {
                self.$thread.apply(commits.into_iter().map($crate::WriteBatch::from).collect()).await
            }

            fn capabilities(&self) -> $crate::Capabilities {
                self.$thread.capabilities()
            }

            async fn close(&self) -> $crate::Result<()> {
                self.$thread.close().await
            }
        }
    };
}
