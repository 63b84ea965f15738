//! [`Cache`]: roots' objects as they were seen last. A root is never believed without asking the service; what rides with it
//! never changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mls_keep_core::Key;

use crate::bucket::Tag;
use crate::object::Object;

/// Most bytes of values and nodes that are kept, about.
const MOST: usize = 64 << 20;

/// An object, and what the service said of it.
pub(crate) struct Seen {
    pub(crate) object: Object,
    pub(crate) tag: Tag,
}

#[derive(Default)]
pub(crate) struct Cache(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    seen: HashMap<Key, Arc<Seen>>,
    len: usize,
}

impl Cache {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What a panic leaves is a cache still: each entry is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Seen>> {
        self.inner().seen.get(key).cloned()
    }

    pub(crate) fn insert(&self, key: &Key, seen: Arc<Seen>) {
        let mut inner = self.inner();
        let len = room(&seen);
        if inner.len + len > MOST {
            *inner = Inner::default();
        }
        inner.len += len;
        if let Some(old) = inner.seen.insert(key.clone(), seen) {
            inner.len = inner.len.saturating_sub(room(&old));
        }
    }

    pub(crate) fn remove(&self, key: &Key) {
        let mut inner = self.inner();
        if let Some(old) = inner.seen.remove(key) {
            inner.len = inner.len.saturating_sub(room(&old));
        }
    }
}

fn room(seen: &Seen) -> usize {
    let object = &seen.object;
    1024 + object.value.as_ref().map_or(0, |value| value.len()) + crate::object::nodes_len(&object.nodes)
}
