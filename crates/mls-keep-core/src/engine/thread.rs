//! [`EngineThread`]: a blocking engine behind a thread of its own.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use futures_channel::oneshot;

use super::queue::{Request, answer, run};
use super::{Engine, WriteBatch};
use crate::capabilities::Capabilities;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// An [`Engine`] on a thread of its own, so that no call blocks an executor and no runtime is needed.
///
/// Batches that arrive while others are being flushed are applied together. A caller that has sent a batch and then
/// reads gets what holds after it. Dropping the handle waits until what was asked for is done, and closes the engine.
///
/// # Asynchronous drivers
///
/// A driver that is asynchronous can stand behind it too: the engine holds a runtime of its own, of one thread (in tokio
/// `Builder::new_current_thread().enable_all()`), opens its connection on it, and each method of [`Engine`] is one
/// `self.runtime.block_on(..)`. So the backend works under any executor, and batches that wait share a transaction. With
/// PostgreSQL: `apply` runs `BEGIN`, the batches and `COMMIT` on one connection. A failure before `COMMIT` was sent says that
/// nothing was applied; one after it is [`ErrorKind::OutcomeUnknown`] unless the server itself refused. A connection that
/// broke is replaced before the next call, since otherwise every later call fails, and not before the server has ended the
/// old session (or the new one holds a lock that the old one would have to hold): else a commit of unknown outcome could
/// land behind later ones.
///
/// [`storage_backend!`](crate::storage_backend) implements the methods of a backend through one.
pub struct EngineThread<E: Engine> {
    name: &'static str,
    promised: Capabilities,
    queue: mpsc::Sender<Request<E>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    closed: Arc<AtomicBool>,
}

impl<E: Engine> EngineThread<E> {
    /// Starts a thread and opens the engine on it; waits until it is open. `name` is what errors call the engine, such as
    /// "SQLite", and the name of the thread.
    ///
    /// # Errors
    /// What `open` says; [`ErrorKind::Unavailable`] if no thread can be started.
    pub fn start(name: &'static str, open: impl FnOnce() -> Result<E> + Send + 'static) -> Result<Self> {
        let closed = Arc::new(AtomicBool::new(false));
        let (queue, requests) = mpsc::channel();
        let (opened, result) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(format!("mls-keep {name}")).spawn({
            let closed = Arc::clone(&closed);
            move || match open() {
                Ok(engine) => {
                    drop(opened.send(Ok(engine.capabilities())));
                    run(engine, &requests, &closed);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        let thread = thread.map_err(|source| {
            let text = format!("the thread for {name} cannot be started: try again later");
            Error::new(ErrorKind::Unavailable, text).with_source(source)
        })?;
        let promised = result.recv().unwrap_or_else(|_| {
            let text = format!("the thread for {name} ended while it opened the store: please report it");
            Err(Error::new(ErrorKind::Internal, text))
        })?;
        Ok(Self { name, promised, queue, thread: Mutex::new(Some(thread)), closed })
    }

    /// What the engine promised when it had been opened.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.promised
    }

    /// As [`Engine::load_many`].
    ///
    /// # Errors
    /// As there; [`ErrorKind::Poisoned`] after a close.
    pub async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Load { keys: keys.to_vec(), reply })?;
        answer.await.map_err(|_| self.gone())?
    }

    /// As [`Engine::list`].
    ///
    /// # Errors
    /// As there; [`ErrorKind::Poisoned`] after a close.
    pub async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::List { prefix: prefix.to_owned(), after: after.cloned(), limit, reply })?;
        answer.await.map_err(|_| self.gone())?
    }

    /// As [`Engine::apply`], with one result for each of `batches`.
    pub async fn apply(&self, batches: Vec<WriteBatch>) -> Vec<Result<()>> {
        let count = batches.len();
        if count == 0 {
            return Vec::new();
        }
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Request::Write { batches, reply }).is_err() {
            return self.gone().for_each_of(count);
        }
        match answer.await {
            Ok(results) => results,
            // It was still in the queue when the store was closed.
            Err(_) if self.is_closed() => self.gone().for_each_of(count),
            Err(_) => self.died().for_each_of(count),
        }
    }

    /// As [`apply`](Self::apply), for one batch.
    ///
    /// # Errors
    /// As [`StorageBackend::commit`](crate::StorageBackend::commit).
    pub async fn apply_one(&self, batch: WriteBatch) -> Result<()> {
        self.apply(vec![batch]).await.pop().unwrap_or_else(|| Err(self.died()))
    }

    /// Runs `work` on the engine, after all that was asked for before.
    ///
    /// # Errors
    /// [`ErrorKind::Poisoned`] after a close, and if the thread has ended otherwise.
    pub async fn call<T: Send + 'static>(&self, work: impl FnOnce(&mut E) -> T + Send + 'static) -> Result<T> {
        let (reply, result) = oneshot::channel();
        self.send(Request::Call { work: Box::new(move |engine| answer(reply, work(engine))) })?;
        result.await.map_err(|_| self.gone())
    }

    /// Closes the engine after all that was asked for before. Closing twice is `Ok`.
    ///
    /// # Errors
    /// As [`Engine::close`].
    pub async fn close(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let closed_before = || if self.is_closed() { Ok(()) } else { Err(self.died()) };
        let result = match self.queue.send(Request::Close { reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| closed_before()),
            Err(_) => closed_before(),
        };
        self.join();
        result
    }

    fn send(&self, request: Request<E>) -> Result<()> {
        self.queue.send(request).map_err(|_| self.gone())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The thread does not answer: it was closed in order, or it ended otherwise.
    fn gone(&self) -> Error {
        let what = if self.is_closed() { "is closed" } else { "ended unexpectedly" };
        Error::new(ErrorKind::Poisoned, format!("the {} backend {what}: open the store again", self.name))
    }

    /// The thread ended in the middle of a call.
    fn died(&self) -> Error {
        let text = format!("the thread for {} ended unexpectedly: open the store again", self.name);
        Error::new(ErrorKind::OutcomeUnknown, text)
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A waker that the thread calls may drop the last handle; a thread cannot wait for itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // Those who waited for an answer know of a panic there.
            drop(thread.join());
        }
    }
}

impl<E: Engine> Drop for EngineThread<E> {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        // An error says that it is closed already.
        drop(self.queue.send(Request::Close { reply }));
        self.join();
    }
}

impl<E: Engine> fmt::Debug for EngineThread<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineThread").field("name", &self.name).field("closed", &self.is_closed()).finish()
    }
}
