//! [`Pending`]: deletions that go on after the commit that asked for them was acknowledged.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mls_keep_core::Key;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Pending {
    /// How many deletions of each key are under way.
    keys: Mutex<HashMap<Key, usize>>,
    changed: Notify,
}

impl Pending {
    fn keys(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        // No method leaves the map half changed.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, keys: &[Key]) {
        let mut pending = self.keys();
        for key in keys {
            *pending.entry(key.clone()).or_default() += 1;
        }
    }

    pub(crate) fn end(&self, keys: &[Key]) {
        let mut pending = self.keys();
        for key in keys {
            if let Some(count) = pending.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    pending.remove(key);
                }
            }
        }
        drop(pending);
        self.changed.notify_waiters();
    }

    /// Waits until none of `keys` is being deleted.
    pub(crate) async fn wait_for(&self, keys: &[Key]) {
        self.wait(|pending| keys.iter().any(|key| pending.contains_key(key))).await;
    }

    /// Waits until nothing is being deleted.
    pub(crate) async fn wait_for_all(&self) {
        self.wait(|pending| !pending.is_empty()).await;
    }

    async fn wait(&self, busy: impl Fn(&HashMap<Key, usize>) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if !busy(&self.keys()) {
                return;
            }
            changed.await;
        }
    }
}
