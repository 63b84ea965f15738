//! [`FaultBackend`]: a backend that fails, tears or stalls at the call that a test names. [`FourMethods`]: a backend that
//! has nothing but the four methods.
//!
//! For whoever tests what stands on top of a backend: your own program, or a keep. Run an operation over and over, with a
//! fault at the first call, at the second, and so on, until it ends before the fault is reached. So every place where the
//! operation can be interrupted was one, and the test says by itself when it is complete.
//!
//! ```
//! use futures_executor::block_on;
//! use mls_keep_conformance::fault::{Fault, FaultBackend, Faults, FourMethods, Lasting};
//! use mls_keep_core::{Commit, ErrorKind, Key, MemoryBackend, Result, StorageBackend, Swap};
//!
//! /// The operation under test: a counter that grows by one.
//! async fn increment(backend: &dyn StorageBackend) -> Result<()> {
//!     let root = Key::new("counter")?;
//!     let expected = backend.load(&root).await?;
//!     let count = expected.as_ref().map_or(0, |bytes| bytes[0]);
//!     let swap = Swap { key: root, expected, replacement: Some(vec![count + 1].into()) };
//!     backend.commit(Commit { puts: Vec::new(), swap, deletes: Vec::new() }).await
//! }
//!
//! for fault in [Fault::BeforeApplying, Fault::AfterApplying, Fault::Torn { parts: 0 }] {
//!     for k in 1.. {
//!         let (store, faults) = (MemoryBackend::new(), Faults::new());
//!         // Four methods around it, so that each save of a commit is a call.
//!         let backend = FourMethods(FaultBackend::new(store.clone(), faults.clone()));
//!         faults.arm(k, fault, Lasting::Once);
//!         let result = block_on(increment(&backend));
//!         if faults.disarm() == 0 {
//!             assert!(result.is_ok());
//!             break;
//!         }
//!         // What must hold after any fault: it was applied, or it was not and can be done again.
//!         let count = block_on(store.load(&Key::new("counter")?))?;
//!         match result.map_err(|error| error.kind()) {
//!             Err(ErrorKind::OutcomeUnknown) => {}
//!             Err(_) => assert_eq!(count, None),
//!             Ok(()) => assert_eq!(count.as_deref(), Some(&[1][..])),
//!         }
//!         block_on(increment(&backend))?;
//!     }
//! }
//! # Ok::<(), mls_keep_core::Error>(())
//! ```

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Error, ErrorKind, Key, Result, StorageBackend};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The call does nothing and is `Unavailable`.
    BeforeApplying,
    /// The call does its work and the reply is lost. A write is `OutcomeUnknown`, reading is `Unavailable`.
    AfterApplying,
    /// The first `parts` parts of a write are applied, and it is `OutcomeUnknown`; reading is `Unavailable`.
    ///
    /// A commit's parts are its puts, its root and its deletes, in this order. A save or a delete is one part. A backend
    /// that claims [`atomic_commit`](Capabilities::atomic_commit) keeps its word: the commit is applied wholly if its root
    /// is among the parts, else not at all. Put [`FourMethods`] *inside* to tear it.
    Torn {
        /// How many parts are applied.
        parts: usize,
    },
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lasting {
    /// One call, then all is well.
    Once,
    /// All calls from then on.
    Sticky,
}

/// Where a call waits before it goes on.
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
    hold: Option<(u64, Stall, Lasting)>,
    /// Calls that are held now.
    held: usize,
    /// How often held calls were released. A call is held until this is another number than when it began to wait.
    releases: u64,
    wakers: Vec<Waker>,
}

/// What happens to one call.
#[derive(Default)]
struct Fate {
    fault: Option<Fault>,
    stall: Option<Stall>,
    hold: Option<Stall>,
}

impl Faults {
    /// Nothing fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the call fail that is the `at`th from now, counted from 1.
    pub fn arm(&self, at: u64, fault: Fault, lasting: Lasting) {
        self.replace(Plan { armed: Some((at, fault, lasting)), ..Plan::default() });
    }

    /// Lets every call from now on wait once: it is pending when it is first polled there, and goes on at the next poll.
    pub fn stall(&self, stall: Stall) {
        self.replace(Plan { stall: Some(stall), ..Plan::default() });
    }

    /// Lets the `at`th call from now, counted from 1, wait until [`release`](Self::release).
    pub fn hold(&self, at: u64, stall: Stall, lasting: Lasting) {
        self.replace(Plan { hold: Some((at, stall, lasting)), ..Plan::default() });
    }

    /// How many calls are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.plan().held
    }

    /// Lets all held calls go on, and holds no more.
    pub fn release(&self) {
        let wakers = {
            let mut plan = self.plan();
            plan.hold = None;
            plan.releases += 1;
            std::mem::take(&mut plan.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends all faults and stalls, lets held calls go on, and counts from 0 again. Returns how many calls failed or were
    /// held.
    pub fn disarm(&self) -> u64 {
        self.replace(Plan::default())
    }

    /// Calls since the last [`arm`](Self::arm), [`stall`](Self::stall), [`hold`](Self::hold) or [`disarm`](Self::disarm).
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    /// Follows `next` from now on. Returns how many calls failed or were held before.
    fn replace(&self, next: Plan) -> u64 {
        let before = {
            let mut plan = self.plan();
            let (held, releases) = (plan.held, plan.releases + 1);
            std::mem::replace(&mut *plan, Plan { held, releases, ..next })
        };
        before.wakers.into_iter().for_each(Waker::wake);
        before.injected
    }

    fn next(&self) -> Fate {
        let mut plan = self.plan();
        plan.calls += 1;
        let calls = plan.calls;
        let reached = |at: u64, lasting: Lasting| match lasting {
            Lasting::Once => calls == at,
            Lasting::Sticky => calls >= at,
        };
        let fault = plan.armed.filter(|(at, _, lasting)| reached(*at, *lasting)).map(|(_, fault, _)| fault);
        let hold = plan.hold.filter(|(at, _, lasting)| reached(*at, *lasting)).map(|(_, stall, _)| stall);
        plan.injected += u64::from(fault.is_some() || hold.is_some());
        Fate { fault, hold, stall: plan.stall }
    }

    /// Waits until the next release.
    async fn wait(&self) {
        let releases = {
            let mut plan = self.plan();
            plan.held += 1;
            plan.releases
        };
        let _held = Held(self);
        poll_fn(|context| {
            let mut plan = self.plan();
            if plan.releases != releases {
                return Poll::Ready(());
            }
            plan.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Nothing that can panic runs while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A held call. It may also end by being dropped.
struct Held<'a>(&'a Faults);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut plan = self.0.plan();
        plan.held = plan.held.saturating_sub(1);
    }
}

/// A backend that fails where its [`Faults`] say so. Every method is one call, whatever it does inside; put
/// [`FourMethods`] around it to have each save and each delete of a commit counted by itself.
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

    /// Applies as much of `commit` as `parts` allow, and takes what it applied from `parts`. Errors are not told: whoever
    /// is torn does not know them.
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

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.read(self.inner.load_many(keys)).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let part = commit.clone();
        let torn = |mut parts| async move { self.tear(part, &mut parts).await };
        self.call(true, self.inner.commit(commit), torn).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
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
pub(crate) async fn pending_once() {
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
