//! [`SqliteBackend`]: the handle. It sends requests to the thread that owns the connection.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use bytes::Bytes;
use futures_channel::oneshot;
use mls_keep_core::{Capabilities, Commit, Durability, Error, ErrorKind, Key, Result, StorageBackend, SwapScope};

use crate::config::{Config, MAX_VALUE_LEN};
use crate::error::{closed, poisoned};
use crate::open;
use crate::store::{Change, Store};
use crate::worker::{self, Request};

/// Keeps everything in one SQLite file.
///
/// A thread of its own owns the connection, so no call blocks an executor and no runtime is needed. Commits that arrive
/// while another one is being flushed are applied together, with one flush. Any number of backends and processes can
/// have the same file open: each write compares and swaps under SQLite's write lock.
///
/// Dropping the backend waits until what was asked for is done, then closes the file; [`close`](StorageBackend::close)
/// does the same and says how it went.
///
/// ```
/// use mls_keep_core::{Key, StorageBackend};
/// use mls_keep_sqlite::{Config, SqliteBackend};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("alice.keep");
/// # futures_executor::block_on(async {
/// let backend = SqliteBackend::open(&path, Config::default())?;
/// let key = Key::new("hello")?;
/// backend.save(&key, "world".into()).await?;
/// assert_eq!(backend.load(&key).await?.as_deref(), Some(b"world".as_slice()));
/// backend.close().await?;
/// # Ok::<(), mls_keep_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteBackend {
    queue: mpsc::Sender<Request>,
    worker: Mutex<Option<JoinHandle<()>>>,
    closed: Arc<AtomicBool>,
    durability: Durability,
}

impl SqliteBackend {
    /// Opens the file at `path`, and makes it if it is not there and [`Config::create`] is on. Waits for the disk, so on
    /// an executor call it where blocking is allowed.
    ///
    /// A new file is readable by its owner only. `path` is always a plain path: `:memory:` and `file:` mean nothing
    /// special.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`]: the directory is not there, or the file is not and `create` is off.
    /// - [`ErrorKind::Invalid`]: `path` is a directory or the database of another program, or a setting is out of range.
    /// - [`ErrorKind::UnsupportedVersion`]: a newer version of this crate made the file. It was not changed.
    /// - [`ErrorKind::Corrupt`]: the file is no SQLite database, or a damaged one.
    /// - [`ErrorKind::ReadOnly`], [`ErrorKind::NoSpace`], [`ErrorKind::Busy`], [`ErrorKind::Unavailable`]: as they say.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let durability = config.durability;
        let closed = Arc::new(AtomicBool::new(false));
        let (queue, requests) = mpsc::channel();
        let (opened, result) = mpsc::sync_channel(1);
        let worker = thread::Builder::new().name("mls-keep-sqlite".into()).spawn({
            let closed = Arc::clone(&closed);
            move || match open::open(&path, &config) {
                Ok(conn) => {
                    drop(opened.send(Ok(())));
                    worker::run(Store::new(conn), &requests, &closed);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        let worker = worker.map_err(|source| {
            Error::new(ErrorKind::Unavailable, "the thread for SQLite cannot be started: try again later")
                .with_source(source)
        })?;
        result.recv().unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Internal,
                "the thread for SQLite ended while it opened the file: please report it",
            ))
        })?;
        Ok(Self { queue, worker: Mutex::new(Some(worker)), closed, durability })
    }

    /// Moves SQLite's log into the database and empties it. After this the bytes of deleted and replaced values are in
    /// none of the files; until then the log may still hold them.
    ///
    /// [`close`](StorageBackend::close) does it too. It costs about two flushes, so call it after what should be
    /// forgotten at once, such as leaving a group.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while another process reads or writes; [`ErrorKind::NoSpace`],
    /// [`ErrorKind::Unavailable`]. What was committed stays committed in any case.
    pub async fn checkpoint(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Checkpoint { reply })?;
        self.wait(answer).await?
    }

    fn send(&self, request: Request) -> Result<()> {
        self.queue.send(request).map_err(|_| self.gone())
    }

    async fn wait<T>(&self, answer: oneshot::Receiver<T>) -> Result<T> {
        answer.await.map_err(|_| self.gone())
    }

    /// The thread does not answer: it was closed in order, or it ended otherwise.
    fn gone(&self) -> Error {
        if self.closed.load(Ordering::Acquire) { closed() } else { poisoned() }
    }

    async fn write(&self, changes: Vec<Change>) -> Vec<Result<()>> {
        let count = changes.len();
        if count == 0 {
            return Vec::new();
        }
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Request::Write { changes, reply }).is_err() {
            return (0..count).map(|_| Err(self.gone())).collect();
        }
        match answer.await {
            Ok(results) => results,
            // It was still in the queue when the backend was closed.
            Err(_) if self.closed.load(Ordering::Acquire) => (0..count).map(|_| Err(closed())).collect(),
            Err(_) => (0..count).map(|_| Err(died())).collect(),
        }
    }

    async fn write_one(&self, change: Change) -> Result<()> {
        self.write(vec![change]).await.pop().unwrap_or_else(|| Err(died()))
    }

    fn join(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A waker that the thread calls may drop the last handle; a thread cannot wait for itself.
        if let Some(worker) = worker.filter(|worker| worker.thread().id() != thread::current().id()) {
            // A panic there was told to whoever waited for an answer.
            drop(worker.join());
        }
    }
}

/// The thread ended in the middle of a call.
fn died() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "the thread for SQLite ended unexpectedly: open the store again")
}

#[async_trait]
impl StorageBackend for SqliteBackend {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.load_many(std::slice::from_ref(key)).await?.pop().flatten())
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.write_one(Change { puts: vec![(key.clone(), data)], ..Change::default() }).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.write_one(Change { deletes: vec![key.clone()], ..Change::default() }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.list_page(prefix, None, usize::MAX).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::List { prefix: prefix.to_owned(), after: after.cloned(), limit, reply })?;
        self.wait(answer).await?
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Load { keys: keys.to_vec(), reply })?;
        self.wait(answer).await?
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.write_one(commit.into()).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        self.write(commits.into_iter().map(Change::from).collect()).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
            .with_swap(SwapScope::Everyone)
            .with_durability(self.durability)
            .with_atomic_commit(true)
            .with_erases_deleted(true)
            .with_max_value_len(MAX_VALUE_LEN)
    }

    async fn close(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let result = match self.queue.send(Request::Close { reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| self.closed_before()),
            Err(_) => self.closed_before(),
        };
        self.join();
        result
    }
}

impl SqliteBackend {
    fn closed_before(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Ok(()) } else { Err(died()) }
    }
}

impl Drop for SqliteBackend {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        // An error says that it is closed already.
        drop(self.queue.send(Request::Close { reply }));
        self.join();
    }
}
