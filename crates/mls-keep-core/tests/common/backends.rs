//! Backends that do what networks and crashes do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Error, ErrorKind, Key, MemoryBackend, Result, StorageBackend};

/// What a backend has to offer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A transaction for each commit.
    Atomic,
    /// Four methods and nothing else.
    FourMethods,
}

impl Form {
    pub const BOTH: [Self; 2] = [Self::Atomic, Self::FourMethods];
}

/// Memory that does as it is told.
#[derive(Clone)]
pub struct Scripted {
    pub inner: MemoryBackend,
    form: Form,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: AtomicUsize,
    writes: AtomicUsize,
    /// The call from which on all fail, counted from 1; 0 for none.
    fails_from: AtomicUsize,
    deletes_fail: AtomicBool,
    late: Mutex<Option<Late>>,
}

/// A write that answers `OutcomeUnknown` and comes later.
struct Late {
    /// Which write, counted from 1.
    write: usize,
    /// How many further calls it comes before.
    after: usize,
    due: Option<(usize, Write)>,
}

enum Write {
    Commit(Commit),
    Save(Key, Bytes),
}

impl Scripted {
    pub fn new(form: Form) -> Self {
        Self { inner: MemoryBackend::new(), form, shared: Arc::default() }
    }

    /// The `write`-th write from now on answers `OutcomeUnknown`, and takes effect right before the call that is `after` calls
    /// further on: a commit where commits are atomic, else the save of a root.
    pub fn hold_back(&self, write: usize, after: usize) {
        self.shared.writes.store(0, Ordering::Relaxed);
        *self.shared.late.lock().unwrap() = Some(Late { write, after, due: None });
    }

    /// Lets what was held back take effect now. Says whether anything was.
    pub async fn let_go(&self) -> bool {
        let due = self.shared.late.lock().unwrap().take().and_then(|late| late.due);
        let held = due.is_some();
        if let Some((_, write)) = due {
            self.land(write).await;
        }
        held
    }

    /// All calls fail, from the `call`-th one from now on.
    pub fn fail_from(&self, call: usize) {
        self.shared.calls.store(0, Ordering::Relaxed);
        self.shared.fails_from.store(call, Ordering::Relaxed);
    }

    /// No call fails any more. Returns whether one did.
    pub fn stop_failing(&self) -> bool {
        let from = self.shared.fails_from.swap(0, Ordering::Relaxed);
        from > 0 && self.shared.calls.load(Ordering::Relaxed) >= from
    }

    pub fn set_deletes_fail(&self, fail: bool) {
        self.shared.deletes_fail.store(fail, Ordering::Relaxed);
    }

    async fn land(&self, write: Write) {
        // A refusal is what a late write gets when it does not find what it expects.
        drop(match write {
            Write::Commit(commit) => self.inner.commit(commit).await,
            Write::Save(key, data) => self.inner.save(&key, data).await,
        });
    }

    async fn call(&self) -> Result<()> {
        let call = self.shared.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let due = {
            let mut late = self.shared.late.lock().unwrap();
            match late.as_mut().and_then(|late| late.due.take()) {
                Some((0, write)) => {
                    *late = None;
                    Some(write)
                }
                Some((left, write)) => {
                    late.as_mut().unwrap().due = Some((left - 1, write));
                    None
                }
                None => None,
            }
        };
        if let Some(write) = due {
            self.land(write).await;
        }
        let from = self.shared.fails_from.load(Ordering::Relaxed);
        if from > 0 && call >= from {
            return Err(Error::new(ErrorKind::Unavailable, "planned"));
        }
        Ok(())
    }

    /// Whether `write` was taken to come later.
    fn take_late(&self, write: impl FnOnce() -> Write) -> bool {
        let mut late = self.shared.late.lock().unwrap();
        let Some(late) = late.as_mut().filter(|late| late.due.is_none()) else { return false };
        if self.shared.writes.fetch_add(1, Ordering::Relaxed) + 1 != late.write {
            return false;
        }
        late.due = Some((late.after, write()));
        true
    }

    /// On four methods a write of a key that is acknowledged is not undone by an earlier one.
    fn overtake(&self, key: &Key) {
        let mut late = self.shared.late.lock().unwrap();
        if let Some(late) = late.as_mut()
            && matches!(&late.due, Some((_, Write::Save(held, _))) if held == key)
        {
            late.due = None;
        }
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "planned")
}

#[async_trait]
impl StorageBackend for Scripted {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.call().await?;
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.call().await?;
        let is_root = key.as_str().starts_with("r/");
        if self.form == Form::FourMethods && is_root && self.take_late(|| Write::Save(key.clone(), data.clone())) {
            return Err(unknown());
        }
        self.overtake(key);
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.call().await?;
        if self.shared.deletes_fail.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "planned"));
        }
        self.overtake(key);
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.call().await?;
        self.inner.list(prefix).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        if self.form == Form::FourMethods {
            // What the trait provides, on the methods above.
            return Provided(self.clone()).commit(commit).await;
        }
        self.call().await?;
        if self.take_late(|| Write::Commit(commit.clone())) {
            return Err(unknown());
        }
        self.inner.commit(commit).await
    }

    fn capabilities(&self) -> Capabilities {
        match self.form {
            Form::Atomic => self.inner.capabilities(),
            Form::FourMethods => Capabilities::weakest(),
        }
    }
}

/// The four methods of a backend, with what the trait provides for the rest.
struct Provided(Scripted);

#[async_trait]
impl StorageBackend for Provided {
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
