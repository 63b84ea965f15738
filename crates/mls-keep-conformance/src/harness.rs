//! [`Harness`]: how the suite gets at the backend under test.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use mls_keep_core::{Result, StorageBackend};

/// A case that is being run.
pub type CaseFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One store, empty at first, and the way to open it. Each case is given a harness of its own, so that cases run in
/// parallel without meeting.
///
/// Implement [`open`](Self::open). What the store needs, such as a temporary directory, lives in the harness and goes with
/// it.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens this harness's store: empty the first time, with everything that is in it later on.
    ///
    /// The suite calls it again after it has closed and dropped the backend, and, where the backend claims more than
    /// [`SwapScope::Handle`](mls_keep_core::SwapScope::Handle), while an earlier one is still open.
    async fn open(&self) -> Result<Arc<dyn StorageBackend>>;

    /// Runs a case to its end. Override it if the backend needs a runtime.
    ///
    /// It is called from several threads at once, so with tokio let the harness hold a runtime that has threads of its own
    /// and call `self.runtime.block_on(case)`.
    fn block_on(&self, case: CaseFuture<'_>) {
        futures_executor::block_on(case);
    }

    /// Whether `marker` stands anywhere in the bytes that the store has on its medium. Asked after a close, of backends
    /// that claim [`erases_deleted`](mls_keep_core::Capabilities::erases_deleted) and durability;
    /// [`directory_contains`] answers it for files.
    ///
    /// # Panics
    /// The provided body panics: a claim that nothing checks is no claim.
    async fn medium_contains(&self, marker: &[u8]) -> bool {
        let _ = marker;
        panic!("the backend claims erases_deleted: implement Harness::medium_contains")
    }
}

/// Whether `marker` stands in a file of `directory` or of a directory in it.
///
/// # Panics
/// If a file cannot be read.
#[must_use]
pub fn directory_contains(directory: &Path, marker: &[u8]) -> bool {
    assert!(!marker.is_empty(), "an empty marker is everywhere");
    let entries = std::fs::read_dir(directory).expect("the store's directory can be read");
    entries.map(|entry| entry.expect("the store's directory can be read").path()).any(|path| {
        if path.is_dir() {
            return directory_contains(&path, marker);
        }
        let content = std::fs::read(&path).expect("the store's files can be read");
        content.windows(marker.len()).any(|window| window == marker)
    })
}
