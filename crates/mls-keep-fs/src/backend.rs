//! [`FsBackend`]: the handle. A thread of its own owns the files.

use std::path::Path;

use mls_keep_core::{EngineThread, Result, storage_backend};

use crate::config::Config;
use crate::open;
use crate::store::Store;

/// Keeps everything in plain files of one directory.
///
/// A thread of its own owns the files, so no call blocks an executor and no runtime is needed. Commits that arrive while
/// another one is being flushed are applied together, with one flush. The directory is locked while it is open.
///
/// Dropping the backend waits until what was asked for is done, then closes the files;
/// [`close`](mls_keep_core::StorageBackend::close) does the same and says how it went.
///
/// ```
/// use mls_keep_core::{Key, StorageBackend};
/// use mls_keep_fs::{Config, FsBackend};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("alice.keep");
/// # futures_executor::block_on(async {
/// let backend = FsBackend::open(&path, Config::default())?;
/// let key = Key::new("hello")?;
/// backend.save(&key, "world".into()).await?;
/// assert_eq!(backend.load(&key).await?.as_deref(), Some(b"world".as_slice()));
/// backend.close().await?;
/// # Ok::<(), mls_keep_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FsBackend {
    thread: EngineThread<Store>,
}

storage_backend!(FsBackend, thread);

impl FsBackend {
    /// Opens the directory at `path`, and makes it if it is not there and [`Config::create`] is on. Waits for the disk, so
    /// on an executor call it where blocking is allowed. All that it will show is durable when it returns, which after a crash
    /// takes a flush for each value that was in the log.
    ///
    /// # Errors
    /// - `NotFound`: the parent is not there, or the directory is not and `create` is off.
    /// - `Invalid`: `path` is a file or a symbolic link, the directory holds something else, the log or the lock has a second
    ///   name (a hard link), or a setting is out of range.
    /// - `UnsupportedVersion`: a newer version of this crate made it. It was not changed.
    /// - `Corrupt`: the log or a file is damaged.
    /// - `Busy`: somebody else has it open, also after [`Config::busy_timeout`].
    /// - `ReadOnly`, `NoSpace`, `Unavailable`: as they say.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let thread = EngineThread::start("file", move || open::open(&path, &config))?;
        Ok(Self { thread })
    }

    /// Gives each value in the log a file of its own and overwrites the log. After this the bytes of deleted and replaced
    /// values are in none of the files; until then the log may still hold them.
    ///
    /// [`close`](mls_keep_core::StorageBackend::close) does it too. It costs a flush for each value that is new since the
    /// last time, so call it after what should be forgotten at once, such as leaving a group.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`. What was committed stays committed in any case.
    pub async fn checkpoint(&self) -> Result<()> {
        self.thread.call(Store::checkpoint_and_erase).await?
    }
}
