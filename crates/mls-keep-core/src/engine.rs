//! [`EngineThread`]: a blocking engine behind a thread of its own, with one flush for all commits that wait.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use futures_channel::oneshot::{self, Sender};

use crate::capabilities::Capabilities;
use crate::commit::{Commit, Swap};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Most changes that are applied together, so that the first of them does not wait long for its answer.
const MAX_GROUP: usize = 256;

/// Most bytes that are stored together. A larger change goes alone.
const MAX_GROUP_LEN: usize = 8 << 20;

/// What one call changes: a commit, or a save or delete, which is a commit without a swap.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Values to store, as in [`Commit::puts`].
    pub puts: Vec<(Key, Bytes)>,
    /// The compare-and-swap of a root, if there is one.
    pub swap: Option<Swap>,
    /// Keys to remove, as in [`Commit::deletes`].
    pub deletes: Vec<Key>,
}

/// A store whose calls block: a file, a database. It lives on one thread, so nothing in it needs a lock.
///
/// [`EngineThread`] makes a [`StorageBackend`](crate::StorageBackend) of it.
pub trait Engine: 'static {
    /// The values of `keys`, in their order. All of one moment where the engine claims
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

    /// Applies `changes`, each whole or not at all and each with a result of its own, in their order, with one flush for
    /// all. A change whose swap does not find what it expects is [`ErrorKind::Conflict`] and leaves the others alone.
    /// `Ok` means durable.
    ///
    /// When all of them fail together, [`Error::for_each_of`] makes the results. If some were refused before, they stay
    /// refused, whatever became of the others: `results.into_iter().map(|result| result.and(Err(error.clone())))`. A panic in
    /// here is [`ErrorKind::OutcomeUnknown`] for all who wait, and the backend is [`ErrorKind::Poisoned`] afterwards.
    fn apply(&mut self, changes: &[Change]) -> Vec<Result<()>>;

    /// What the open store promises. Asked once, when the engine has been opened, so it may depend on what the engine found
    /// there: a setting of the server, the kind of file system.
    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
    }

    /// Called when changes were applied and answered and nobody waits: the time for work that can be put off.
    fn idle(&mut self) {}

    /// Ends the use of the store.
    ///
    /// # Errors
    /// As [`StorageBackend::close`](crate::StorageBackend::close). The store is closed whatever the result is.
    fn close(self) -> Result<()>;
}

/// An [`Engine`] on a thread of its own, so that no call blocks an executor and no runtime is needed.
///
/// Changes that arrive while others are being flushed are applied together. Whoever has sent a change and then reads gets
/// what holds after it. Dropping the handle waits until what was asked for is done, and closes the engine.
///
/// # Asynchronous drivers
///
/// A driver that is asynchronous can stand behind it too: the engine holds a runtime of its own, of one thread (in tokio
/// `Builder::new_current_thread().enable_all()`), opens its connection on it, and each method of [`Engine`] is one
/// `self.runtime.block_on(..)`. So the backend works under any executor, and changes that wait share a transaction. With
/// PostgreSQL: `apply` runs `BEGIN`, the changes and `COMMIT` on one connection. A failure before `COMMIT` was sent says that
/// nothing was applied; one after it is [`ErrorKind::OutcomeUnknown`] unless the server itself refused. A connection that
/// broke is replaced before the next call, since otherwise every later call fails, and not before the server has ended the
/// old session (or the new one holds a lock that the old one would have to hold): else a commit of unknown outcome could
/// land behind later ones.
///
/// [`storage_backend!`](crate::storage_backend) implements the methods of a backend through one.
pub struct EngineThread<E: Engine> {
    name: &'static str,
    claimed: Capabilities,
    queue: mpsc::Sender<Request<E>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    closed: Arc<AtomicBool>,
}

/// Work for the thread. Nobody may be waiting for the answer any more.
enum Request<E> {
    Load { keys: Vec<Key>, reply: Sender<Result<Vec<Option<Bytes>>>> },
    List { prefix: String, after: Option<Key>, limit: usize, reply: Sender<Result<Vec<Key>>> },
    Write { changes: Vec<Change>, reply: Sender<Vec<Result<()>>> },
    Call { work: Box<dyn FnOnce(&mut E) + Send> },
    Close { reply: Sender<Result<()>> },
}

impl From<Commit> for Change {
    fn from(commit: Commit) -> Self {
        Self { puts: commit.puts, swap: Some(commit.swap), deletes: commit.deletes }
    }
}

impl Change {
    /// A save of one value.
    #[must_use]
    pub fn put(key: Key, data: Bytes) -> Self {
        Self { puts: vec![(key, data)], ..Self::default() }
    }

    /// A delete of one key.
    #[must_use]
    pub fn delete(key: Key) -> Self {
        Self { deletes: vec![key], ..Self::default() }
    }

    /// All values that the change stores, the root last.
    pub fn stored(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        let root = self.swap.iter().filter_map(|swap| Some((&swap.key, swap.replacement.as_ref()?)));
        self.puts.iter().map(|(key, data)| (key, data)).chain(root)
    }

    /// All keys that the change removes.
    pub fn removed(&self) -> impl Iterator<Item = &Key> {
        let root = self.swap.iter().filter(|swap| swap.replacement.is_none()).map(|swap| &swap.key);
        self.deletes.iter().chain(root)
    }

    /// The bytes of all values that the change stores.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.stored().map(|(_, data)| data.len()).sum()
    }

    /// The length of the largest value that the change stores.
    #[must_use]
    pub fn largest_value(&self) -> usize {
        self.stored().map(|(_, data)| data.len()).max().unwrap_or(0)
    }
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
        let claimed = result.recv().unwrap_or_else(|_| {
            let text = format!("the thread for {name} ended while it opened the store: please report it");
            Err(Error::new(ErrorKind::Internal, text))
        })?;
        Ok(Self { name, claimed, queue, thread: Mutex::new(Some(thread)), closed })
    }

    /// What the engine promised when it had been opened.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.claimed
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

    /// As [`Engine::apply`], with one result for each of `changes`.
    pub async fn apply(&self, changes: Vec<Change>) -> Vec<Result<()>> {
        let count = changes.len();
        if count == 0 {
            return Vec::new();
        }
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Request::Write { changes, reply }).is_err() {
            return self.gone().for_each_of(count);
        }
        match answer.await {
            Ok(results) => results,
            // It was still in the queue when the store was closed.
            Err(_) if self.is_closed() => self.gone().for_each_of(count),
            Err(_) => self.died().for_each_of(count),
        }
    }

    /// As [`apply`](Self::apply), for one change.
    ///
    /// # Errors
    /// As [`StorageBackend::commit`](crate::StorageBackend::commit).
    pub async fn apply_one(&self, change: Change) -> Result<()> {
        self.apply(vec![change]).await.pop().unwrap_or_else(|| Err(self.died()))
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
            // A panic there was told to whoever waited for an answer.
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

/// Implements [`StorageBackend`](crate::StorageBackend) for `$backend` through its field `$thread`, an
/// [`EngineThread`]. What the backend promises is what the [`Engine`] says of itself.
///
/// ```
/// # use bytes::Bytes;
/// # use mls_keep_core::{Change, Key};
/// use mls_keep_core::{Capabilities, Engine, EngineThread, Result, StorageBackend};
///
/// struct MyEngine;
/// # impl Engine for MyEngine {
/// #     fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> { Ok(vec![None; keys.len()]) }
/// #     fn list(&mut self, _: &str, _: Option<&Key>, _: usize) -> Result<Vec<Key>> { Ok(Vec::new()) }
/// #     fn apply(&mut self, changes: &[Change]) -> Vec<Result<()>> { changes.iter().map(|_| Ok(())).collect() }
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
                self.$thread.apply_one($crate::Change::put(key.clone(), data)).await
            }

            async fn delete(&self, key: &$crate::Key) -> $crate::Result<()> {
                self.$thread.apply_one($crate::Change::delete(key.clone())).await
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
                self.$thread.apply(commits.into_iter().map($crate::Change::from).collect()).await
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

/// Serves `requests` until a close, or until nobody can send any more. Sets `closed` before it stops to take them.
fn run<E: Engine>(mut engine: E, requests: &Receiver<Request<E>>, closed: &AtomicBool) {
    let mut next = requests.recv().ok();
    while let Some(first) = next.take() {
        let Turn { group, rest } = gather(&mut engine, first, requests);
        let wrote = group.apply(&mut engine);
        for request in rest {
            if let Request::Close { reply } = request {
                let result = engine.close();
                closed.store(true, Ordering::Release);
                answer(reply, result);
                return;
            }
            serve(&mut engine, request);
        }
        next = requests.try_recv().ok();
        if next.is_none() {
            if wrote {
                engine.idle();
            }
            next = requests.recv().ok();
        }
    }
    // Best effort: nobody is left to be told.
    drop(engine.close());
}

/// What is taken from the queue at once: the writes that go together, and what has to come after them.
struct Turn<E> {
    group: Group,
    rest: Vec<Request<E>>,
}

/// Takes `first` and what waits behind it, as much as fits a group.
///
/// Whoever has sent a write and then asks for a value gets the answer that holds after that write, also when nobody waits
/// for the write any more. So a read that is behind a write is served after the group. All others are served at once.
fn gather<E: Engine>(engine: &mut E, first: Request<E>, requests: &Receiver<Request<E>>) -> Turn<E> {
    let mut turn = Turn { group: Group::default(), rest: Vec::new() };
    let mut next = Some(first);
    while let Some(request) = next {
        match request {
            Request::Write { changes, reply } => turn.group.add(changes, reply),
            Request::Load { .. } | Request::List { .. } if turn.group.changes.is_empty() => serve(engine, request),
            Request::Load { .. } | Request::List { .. } => turn.rest.push(request),
            Request::Call { .. } | Request::Close { .. } => {
                turn.rest.push(request);
                break;
            }
        }
        // Reads that are served at once cannot hold up a write: a write that waits is the next to be taken.
        let full = turn.group.is_full() || turn.rest.len() >= MAX_GROUP;
        next = if full { None } else { requests.try_recv().ok() };
    }
    turn
}

fn serve<E: Engine>(engine: &mut E, request: Request<E>) {
    match request {
        Request::Load { reply, .. } if reply.is_canceled() => {}
        Request::Load { keys, reply } => answer(reply, engine.load_many(&keys)),
        Request::List { prefix, after, limit, reply } => answer(reply, engine.list(&prefix, after.as_ref(), limit)),
        Request::Call { work } => work(engine),
        Request::Write { changes, reply } => answer(reply, engine.apply(&changes)),
        // `run` alone can end the thread.
        Request::Close { reply } => drop(reply),
    }
}

/// Writes that are applied together.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    len: usize,
    /// Who waits for how many of the results, in the order of the changes.
    replies: Vec<(usize, Sender<Vec<Result<()>>>)>,
}

impl Group {
    fn add(&mut self, changes: Vec<Change>, reply: Sender<Vec<Result<()>>>) {
        self.len += changes.iter().map(Change::stored_bytes).sum::<usize>();
        self.replies.push((changes.len(), reply));
        self.changes.extend(changes);
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= MAX_GROUP || self.len >= MAX_GROUP_LEN
    }

    /// Says whether there was anything to apply.
    fn apply<E: Engine>(self, engine: &mut E) -> bool {
        if self.changes.is_empty() {
            return false;
        }
        let mut results = engine.apply(&self.changes).into_iter();
        for (count, reply) in self.replies {
            answer(reply, results.by_ref().take(count).collect());
        }
        true
    }
}

fn answer<T>(reply: Sender<T>, result: T) {
    // Whoever dropped the future does not want to know.
    drop(reply.send(result));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_executor::block_on;

    use super::*;
    use crate::capabilities::Durability;

    #[derive(Default)]
    struct Map(BTreeMap<Key, Bytes>);

    /// A map that has a setting, as a server has.
    fn with_flushes(setting: &'static str) -> Map {
        Map(BTreeMap::from([(Key::new("setting/flush").unwrap(), setting.into())]))
    }

    impl Engine for Map {
        fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
            Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
        }

        fn list(&mut self, _: &str, _: Option<&Key>, _: usize) -> Result<Vec<Key>> {
            Ok(self.0.keys().cloned().collect())
        }

        fn apply(&mut self, changes: &[Change]) -> Vec<Result<()>> {
            for change in changes {
                self.0.extend(change.stored().map(|(key, data)| (key.clone(), data.clone())));
            }
            changes.iter().map(|_| Ok(())).collect()
        }

        fn capabilities(&self) -> Capabilities {
            let flushes = self.0.values().any(|value| value.as_ref() == b"on");
            let durability = if flushes { Durability::PowerLoss } else { Durability::None };
            Capabilities::weakest().with_durability(durability)
        }

        fn close(self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_claimed_is_what_the_engine_found_when_it_was_opened() {
        for (setting, durability) in [("on", Durability::PowerLoss), ("off", Durability::None)] {
            let thread = EngineThread::start("map", move || Ok(with_flushes(setting))).unwrap();
            let forget = Change::put(Key::new("setting/flush").unwrap(), Bytes::new());
            block_on(thread.apply_one(forget)).unwrap();
            assert_eq!(thread.capabilities().durability, durability, "and it stays so");
        }
    }

    #[test]
    fn a_read_behind_a_write_sees_it_and_a_read_before_it_does_not() {
        let key = Key::new("k").unwrap();
        let (queue, requests) = mpsc::channel();
        let load = || {
            let (reply, answer) = oneshot::channel();
            queue.send(Request::Load { keys: vec![key.clone()], reply }).unwrap();
            answer
        };
        let before = load();
        let (reply, write) = oneshot::channel();
        queue
            .send(Request::Write { changes: vec![Change::put(key.clone(), Bytes::from_static(b"v"))], reply })
            .unwrap();
        drop(write);
        let after = load();
        let (reply, close) = oneshot::channel();
        queue.send(Request::Close { reply }).unwrap();

        run(Map::default(), &requests, &AtomicBool::new(false));
        assert_eq!(block_on(before).unwrap().unwrap(), [None]);
        assert_eq!(block_on(after).unwrap().unwrap(), [Some(Bytes::from_static(b"v"))]);
        block_on(close).unwrap().unwrap();
    }

    /// Panics at each call, after it has done its work.
    struct Panics;

    impl Engine for Panics {
        fn load_many(&mut self, _: &[Key]) -> Result<Vec<Option<Bytes>>> {
            std::panic::resume_unwind(Box::new("planned"))
        }

        fn list(&mut self, _: &str, _: Option<&Key>, _: usize) -> Result<Vec<Key>> {
            std::panic::resume_unwind(Box::new("planned"))
        }

        fn apply(&mut self, _: &[Change]) -> Vec<Result<()>> {
            std::panic::resume_unwind(Box::new("planned"))
        }

        fn close(self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_in_a_write_is_an_unknown_outcome_for_each_change_and_in_a_read_it_is_poisoned() {
        let key = || Key::new("k").unwrap();
        let start = || EngineThread::start("panics", || Ok(Panics)).unwrap();
        let results = block_on(start().apply(vec![Change::delete(key()), Change::put(key(), Bytes::new())]));
        let kinds: Vec<_> = results.into_iter().map(|result| result.unwrap_err().kind()).collect();
        assert_eq!(kinds, [ErrorKind::OutcomeUnknown; 2]);
        assert_eq!(block_on(start().load_many(&[key()])).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(block_on(start().list("", None, 1)).unwrap_err().kind(), ErrorKind::Poisoned);
    }

    #[test]
    fn a_thread_that_panics_is_an_unknown_outcome_and_then_poisoned() {
        let thread = EngineThread::start("map", || Ok(Map::default())).unwrap();
        let killed = block_on(thread.call(|_| std::panic::resume_unwind(Box::new("planned"))));
        assert_eq!(killed.unwrap_err().kind(), ErrorKind::Poisoned);
        let delete = || Change::delete(Key::new("k").unwrap());
        // What reaches the thread while it ends is not known to have been lost.
        let meanwhile = block_on(thread.apply_one(delete())).unwrap_err().kind();
        assert!(matches!(meanwhile, ErrorKind::OutcomeUnknown | ErrorKind::Poisoned), "{meanwhile}");
        assert_eq!(block_on(thread.close()).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(block_on(thread.apply_one(delete())).unwrap_err().kind(), ErrorKind::Poisoned);
    }
}
