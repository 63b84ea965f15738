//! [`RedbBackend`]: the handle. A thread of its own owns the database.

use std::path::Path;

use mls_keep_core::{EngineThread, Result, storage_backend};

use crate::config::Config;
use crate::open;
use crate::store::Store;

/// Keeps everything in one redb file.
///
/// A thread of its own owns the database, so no call blocks an executor and no runtime is needed. Commits that arrive while
/// another one is being flushed are applied together, with one flush. The file is locked while it is open.
///
/// ```
/// use mls_keep_core::{Key, StorageBackend};
/// use mls_keep_redb::{Config, RedbBackend};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("alice.redb");
/// # futures_executor::block_on(async {
/// let backend = RedbBackend::open(&path, Config::default())?;
/// let key = Key::new("hello")?;
/// backend.save(&key, "world".into()).await?;
/// assert_eq!(backend.load(&key).await?.as_deref(), Some(b"world".as_slice()));
/// backend.close().await?;
/// # Ok::<(), mls_keep_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RedbBackend {
    thread: EngineThread<Store>,
}

storage_backend!(RedbBackend, thread);

impl RedbBackend {
    /// Opens the file at `path`, and makes it if it is not there and [`Config::create`] is on. Waits for the disk, so on an
    /// executor call it where blocking is allowed. All of the file is read ([`Config::check_pages`]), and after a crash it is
    /// written once more; see [`open_with_progress`](Self::open_with_progress).
    ///
    /// # Errors
    /// - `NotFound`: the directory is not there, or the file is not and `create` is off.
    /// - `Invalid`: `path` is no file, or a redb database of another program or another version of redb, or another
    ///   program keeps something in it too.
    /// - `UnsupportedVersion`: a newer version of this crate made the file.
    /// - `Corrupt`: the file is no redb database, or a damaged one.
    /// - `Busy`: somebody else has it open, also after [`Config::busy_timeout`].
    /// - `ReadOnly`, `NoSpace`, `Unavailable`: as they say.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        Self::open_with_progress(path, config, |_| ())
    }

    /// As [`open`](Self::open), and tells `progress` how far redb has come with the check of the pages or with a repair after
    /// a crash, from 0.0 to 1.0. It is called on another thread.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_progress(
        path: impl AsRef<Path>,
        config: Config,
        progress: impl Fn(f64) + Send + Sync + 'static,
    ) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let thread = EngineThread::start("redb", move || open::open(&path, &config, progress))?;
        Ok(Self { thread })
    }

    /// Moves what is used to the front of the file and cuts off the rest. Says whether anything was moved. It takes several
    /// flushes and about the time to read and write the file, and commits wait for it.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`: nothing is lost by it. `Poisoned` afterwards, if redb cannot go on without being opened
    /// again.
    pub async fn compact(&self) -> Result<bool> {
        self.thread.call(Store::compact).await?
    }
}
