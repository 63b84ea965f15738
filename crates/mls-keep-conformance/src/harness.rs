//! [`Harness`]: how the suite gets at the backend under test.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
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
///
/// The other methods are hooks. Each lets cases be run that cannot be run without it; they are reported as NOT RUN, with the
/// name of the hook. A store in files has [`copy`](Self::copy), [`location`](Self::location) and [`open_at`](Self::open_at),
/// a store behind a connection the latter two and [`cut_connections`](Self::cut_connections).
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens this harness's store: empty the first time, with everything that is in it later on.
    ///
    /// The suite calls it again after it has closed and dropped the backend, and, where the backend promises more than
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
    /// that promise [`erases_deleted`](mls_keep_core::Capabilities::erases_deleted) and durability;
    /// [`directory_contains`] answers it for files.
    ///
    /// # Panics
    /// The provided body panics: a promise that nothing checks is no promise.
    async fn medium_contains(&self, marker: &[u8]) -> bool {
        let _ = marker;
        panic!("the backend promises erases_deleted: implement Harness::medium_contains")
    }

    /// A harness on a copy of the store, made of what its medium has now, while the store is open: what a kill at this moment
    /// would leave. [`copy_directory`] does it for files.
    ///
    /// With it the suite finds a backend that writes when it is closed, and acknowledges before.
    async fn copy(&self) -> Option<Box<dyn Harness>> {
        None
    }

    /// Where the store is, such as its path, for [`open_at`](Self::open_at) of a harness in another process.
    ///
    /// With it and `open_at` the suite starts the test program again, in which a harness is made in the same way, and lets
    /// processes race for one store, keep each other out, and be killed.
    fn location(&self) -> Option<String> {
        None
    }

    /// Opens the store that the harness of another process has at `location`, not its own.
    ///
    /// # Panics
    /// The provided body panics: [`location`](Self::location) alone opens nothing.
    async fn open_at(&self, location: &str) -> Result<Arc<dyn StorageBackend>> {
        panic!("implement Harness::open_at as well as Harness::location: nothing opens {location}")
    }

    /// How this program is started again to call [`run_child`](crate::run_child), for processes of the suite. Only to be
    /// implemented where [`conformance_suite!`](crate::conformance_suite) is not used: it makes a test for that.
    fn child(&self) -> Option<Command> {
        None
    }

    /// Cuts what the open backends use to reach the store, so that what is under way breaks: a server is told to close all
    /// connections, a proxy drops them. Says whether it did; new connections can be made at once.
    ///
    /// With it the suite finds a backend that never connects again, and one that reports a commit as not applied whose answer
    /// was lost.
    async fn cut_connections(&self) -> bool {
        false
    }
}

/// Copies the files of `from` and of the directories in it into `to`, which is made if it is not there. For
/// [`Harness::copy`].
///
/// # Panics
/// If a file cannot be read or written.
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the copy's directory can be made");
    for entry in std::fs::read_dir(from).expect("the store's directory can be read") {
        let path = entry.expect("the store's directory can be read").path();
        let copy = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_directory(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).expect("the store's files can be copied");
        }
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

#[async_trait]
impl<H: Harness + ?Sized> Harness for Box<H> {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        (**self).open().await
    }

    fn block_on(&self, case: CaseFuture<'_>) {
        (**self).block_on(case);
    }

    async fn medium_contains(&self, marker: &[u8]) -> bool {
        (**self).medium_contains(marker).await
    }

    async fn copy(&self) -> Option<Box<dyn Harness>> {
        (**self).copy().await
    }

    fn location(&self) -> Option<String> {
        (**self).location()
    }

    async fn open_at(&self, location: &str) -> Result<Arc<dyn StorageBackend>> {
        (**self).open_at(location).await
    }

    fn child(&self) -> Option<Command> {
        (**self).child()
    }

    async fn cut_connections(&self) -> bool {
        (**self).cut_connections().await
    }
}
