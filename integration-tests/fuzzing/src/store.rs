//! [`use_store`]: what a keep does with a backend.

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{Commit, Error, ErrorKind, Key, Result, StorageBackend, Swap};

/// Opens a store that may hold anything, and uses it: lists, loads, commits, closes. Every call may fail; none may do so
/// because something in it panicked.
///
/// # Panics
/// If anything did.
pub fn use_store<B: StorageBackend>(open: impl FnOnce() -> Result<B>) {
    let Some(backend) = seen(open()) else { return };
    block_on(async {
        let keys = seen(backend.list_page("", None, 16).await).unwrap_or_default();
        seen(backend.load_many(&keys).await);
        seen(backend.list("n/").await);
        if let Ok(key) = Key::new("r/alice") {
            let expected = seen(backend.load(&key).await).flatten();
            let puts = Key::new("n/alice/new").map(|key| (key, Bytes::from_static(b"node"))).into_iter().collect();
            let swap = Swap { key, expected, replacement: Some(Bytes::from_static(b"root")) };
            seen(backend.commit(Commit { puts, swap, deletes: keys.into_iter().take(2).collect() }).await);
        }
        seen(backend.close().await);
    });
}

/// What a call gave. What [`EngineThread`](mls_keep_core::EngineThread) says when its thread has panicked is no answer.
fn seen<T>(result: Result<T>) -> Option<T> {
    let panicked = |error: &Error| error.kind() == ErrorKind::Internal || error.to_string().contains("ended");
    if let Err(error) = &result {
        assert!(!panicked(error), "{error}");
    }
    result.ok()
}
