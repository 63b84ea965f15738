//! [`Pending`]: deletions that go on after the commit that asked for them was acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mls_keep_core::Key;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Pending {
    deletions: Mutex<Deletions>,
    changed: Notify,
}

#[derive(Default)]
struct Deletions {
    /// What each deletes, by its number.
    keys: BTreeMap<u64, Arc<[Key]>>,
    next: u64,
}

/// A deletion that is under way until this is dropped, by a panic too.
pub(crate) struct Deletion {
    pending: Arc<Pending>,
    number: u64,
    pub(crate) keys: Arc<[Key]>,
}

impl Pending {
    fn deletions(&self) -> MutexGuard<'_, Deletions> {
        // No method leaves it half changed.
        self.deletions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(self: &Arc<Self>, keys: Vec<Key>) -> Deletion {
        let keys: Arc<[Key]> = keys.into();
        let mut deletions = self.deletions();
        let number = deletions.next;
        deletions.next += 1;
        deletions.keys.insert(number, Arc::clone(&keys));
        Deletion { pending: Arc::clone(self), number, keys }
    }

    /// Waits for the deletions of `keys` that are under way now.
    pub(crate) async fn wait_for(&self, keys: &[Key]) {
        self.wait(|key| keys.contains(key)).await;
    }

    /// Waits for the deletions of keys that begin with `prefix` that are under way now.
    pub(crate) async fn wait_below(&self, prefix: &str) {
        self.wait(|key| key.as_str().starts_with(prefix)).await;
    }

    /// Later deletions are not waited for: a busy writer would let nobody through.
    async fn wait(&self, matters: impl Fn(&Key) -> bool) {
        let mut numbers: Vec<u64> = {
            let deletions = self.deletions();
            let matter = deletions.keys.iter().filter(|(_, keys)| keys.iter().any(&matters));
            matter.map(|(number, _)| *number).collect()
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            {
                let deletions = self.deletions();
                numbers.retain(|number| deletions.keys.contains_key(number));
            }
            if numbers.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        self.pending.deletions().keys.remove(&self.number);
        self.pending.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key::new(name).unwrap()).collect()
    }

    fn is_done(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn only_what_matters_is_waited_for() {
        let pending = Arc::new(Pending::default());
        let deletion = pending.begin(keys(&["n/x/1", "n/x/2"]));
        assert!(!is_done(pending.wait_below("")) && !is_done(pending.wait_below("n/x/2")));
        assert!(is_done(pending.wait_below("n/y")) && is_done(pending.wait_for(&keys(&["n/x/3"]))));
        drop(deletion);
        assert!(is_done(pending.wait_below("")));
    }

    #[test]
    fn what_begins_later_is_not_waited_for() {
        let pending = Arc::new(Pending::default());
        let first = pending.begin(keys(&["n/x/1"]));
        let mut waiting = pin!(pending.wait_below("n/x/"));
        let mut poll = || waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!poll());
        let _second = pending.begin(keys(&["n/x/1", "n/x/2"]));
        drop(first);
        assert!(poll(), "the second deletion is none of its business");
    }

    #[test]
    fn a_deletion_that_panics_is_over() {
        let pending = Arc::new(Pending::default());
        let deletion = pending.begin(keys(&["n/x/1"]));
        let panicking = AssertUnwindSafe(move || {
            let _deletion = deletion;
            std::panic::resume_unwind(Box::new("planned"));
        });
        assert!(catch_unwind(panicking).is_err());
        assert!(is_done(pending.wait_below("")));
    }
}
