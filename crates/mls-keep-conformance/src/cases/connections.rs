//! A store behind a connection that breaks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mls_keep_core::{Error, ErrorKind, StorageBackend};

use crate::harness::Harness;
use crate::support::{key, names, noise, open, race, swap, value};

/// More calls than this do not fail in a row once a connection can be made again.
const MOST_FAILURES: usize = 20;

/// One writer, and what it knows of the store.
struct Writer<'a> {
    harness: &'a dyn Harness,
    backend: Arc<dyn StorageBackend>,
    root: Option<Bytes>,
}

impl<'a> Writer<'a> {
    async fn new(harness: &'a dyn Harness) -> Self {
        Self { harness, backend: open(harness).await, root: None }
    }

    /// A call failed: it may, a few times, until a connection is made again.
    async fn failed(&mut self, failures: &mut usize, error: &Error, what: &str) {
        *failures += 1;
        assert!(*failures <= MOST_FAILURES, "{what}: the backend does not recover from a cut connection: {error:?}");
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::OutcomeUnknown | ErrorKind::Conflict => {}
            // Allowed where nothing else keeps a late write from landing.
            ErrorKind::Poisoned => {
                drop(self.backend.close().await);
                self.backend = open(self.harness).await;
            }
            kind => panic!("{what}: a cut connection is reported as {kind}: {error:?}"),
        }
    }

    /// Commits `next` on top of the last root, until it is there. What was reported as not applied must not be.
    async fn commit(&mut self, next: &Bytes) {
        let node = (key(&format!("n/{}", String::from_utf8_lossy(next))), noise(next.len() as u64, 300));
        let (mut failures, mut unknown) = (0, false);
        loop {
            let mut commit = swap(&key("root"), self.root.as_ref(), Some(next));
            commit.puts = vec![node.clone()];
            match self.backend.commit(commit).await {
                Ok(()) => break,
                Err(error) => {
                    let allowed = error.kind() != ErrorKind::Conflict || unknown;
                    assert!(allowed, "nobody else writes, and no commit had an unknown outcome: {error:?}");
                    unknown |= error.kind() == ErrorKind::OutcomeUnknown;
                    self.failed(&mut failures, &error, "committing").await;
                    let found = self.load(&mut failures).await;
                    if found.as_ref() == Some(next) {
                        assert!(unknown, "the commit was reported as not applied, and it is there: {error:?}");
                        break;
                    }
                    assert_eq!(found, self.root, "the root is the old one or the new one");
                }
            }
        }
        self.root = Some(next.clone());
    }

    async fn load(&mut self, failures: &mut usize) -> Option<Bytes> {
        loop {
            match self.backend.load(&key("root")).await {
                Ok(found) => return found,
                Err(error) => self.failed(failures, &error, "loading").await,
            }
        }
    }

    /// All that was acknowledged is there.
    async fn check(&mut self, commits: usize) {
        let root = self.load(&mut 0).await;
        assert_eq!(root, self.root, "the last root that was acknowledged");
        let nodes = names(&*self.backend, "n/").await.len();
        assert_eq!(nodes, commits, "the nodes of all commits that were acknowledged");
    }
}

/// Connections are cut between calls: calls fail for a while at most, and what they say is true.
pub async fn cut_before_a_call(harness: &dyn Harness) {
    let mut writer = Writer::new(harness).await;
    writer.commit(&value("first")).await;
    for round in 0..12 {
        assert!(harness.cut_connections().await, "Harness::cut_connections cuts again");
        if round % 3 == 0 {
            let found = writer.load(&mut 0).await;
            assert_eq!(found, writer.root, "round {round}");
        }
        writer.commit(&value(&format!("{round}"))).await;
        writer.check(round + 2).await;
    }
}

/// Says that the other one is done, also when it panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Connections are cut while commits are under way.
pub async fn cut_during_calls(harness: &dyn Harness) {
    const COMMITS: usize = 30;
    let mut writer = Writer::new(harness).await;
    writer.commit(&value("first")).await;
    let (writer, done, commits) = (Mutex::new(Some(writer)), AtomicBool::new(false), AtomicUsize::new(0));
    let (writer, done, commits) = (&writer, &done, &commits);
    let writers = race(harness, 2, |index| async move {
        if index == 1 {
            let mut cuts = 0;
            while !done.load(Ordering::Acquire) {
                std::thread::yield_now();
                // No more than one for each commit: calls have to recover in between.
                if commits.load(Ordering::Acquire) >= cuts {
                    cuts += 1;
                    (0..cuts * 7).for_each(|_| std::thread::yield_now());
                    assert!(harness.cut_connections().await, "Harness::cut_connections cuts again");
                }
            }
            return None;
        }
        let _done = Done(done);
        let mut writer = writer.lock().ok()?.take()?;
        for round in 0..COMMITS {
            writer.commit(&value(&format!("{round}"))).await;
            commits.fetch_add(1, Ordering::AcqRel);
        }
        Some(writer)
    });
    let mut writer = writers.into_iter().flatten().next().expect("the writer is done");
    writer.check(COMMITS + 1).await;
}
