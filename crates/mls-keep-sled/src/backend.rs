//! [`SledBackend`]: the handle. A thread of its own owns the database.

use std::path::Path;

use mls_keep_core::{EngineThread, Result, storage_backend};

use crate::config::Config;
use crate::open;
use crate::store::Store;

/// Keeps everything in one directory of sled.
///
/// A thread of its own owns the database, so no call blocks an executor and no runtime is needed. Commits that arrive while
/// another one is being flushed are applied together, with one flush. The directory is locked while it is open.
///
/// ```
/// use mls_keep_core::{Key, StorageBackend};
/// use mls_keep_sled::{Config, SledBackend};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("alice.sled");
/// # futures_executor::block_on(async {
/// let backend = SledBackend::open(&path, Config::default())?;
/// let key = Key::new("hello")?;
/// backend.save(&key, "world".into()).await?;
/// assert_eq!(backend.load(&key).await?.as_deref(), Some(b"world".as_slice()));
/// backend.close().await?;
/// # Ok::<(), mls_keep_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SledBackend {
    thread: EngineThread<Store>,
}

storage_backend!(SledBackend, thread);

impl SledBackend {
    /// Opens the directory at `path`, and makes it if it is not there and [`Config::create`] is on. Waits for the disk, so
    /// on an executor call it where blocking is allowed.
    ///
    /// # Errors
    /// - `NotFound`: the parent is not there, or the directory is not and `create` is off.
    /// - `Invalid`: `path` is a file or a symbolic link, or the directory or the database holds something else.
    /// - `UnsupportedVersion`: a newer version of this crate made it. It was not changed.
    /// - `Corrupt`: sled cannot read it, or did not make it so.
    /// - `Busy`: somebody else has it open, also after [`Config::busy_timeout`].
    /// - `ReadOnly`, `NoSpace`, `Unavailable`: as they say.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let thread = EngineThread::start("sled", move || open::open(&path, &config))?;
        Ok(Self { thread })
    }
}
