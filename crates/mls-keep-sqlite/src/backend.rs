//! [`SqliteBackend`]: the handle. A thread of its own owns the connection.

use std::path::Path;

use mls_keep_core::{EngineThread, Result, storage_backend};

use crate::config::Config;
use crate::open;
use crate::store::Store;

/// Keeps everything in one SQLite file.
///
/// A thread of its own owns the connection, so no call blocks an executor and no runtime is needed. Commits that arrive
/// while another one is being flushed are applied together, with one flush. Any number of backends and processes can
/// have the same file open: each write compares and swaps under SQLite's write lock.
///
/// Dropping the backend waits until what was asked for is done, then closes the file; [`close`](mls_keep_core::StorageBackend::close)
/// does the same and says how it went.
///
/// ```
/// use mls_keep_core::{Key, StorageBackend};
/// use mls_keep_sqlite::{Config, SqliteBackend};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("alice.keep");
/// # futures_executor::block_on(async {
/// let backend = SqliteBackend::open(&path, Config::default())?;
/// let key = Key::new("hello")?;
/// backend.save(&key, "world".into()).await?;
/// assert_eq!(backend.load(&key).await?.as_deref(), Some(b"world".as_slice()));
/// backend.close().await?;
/// # Ok::<(), mls_keep_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteBackend {
    thread: EngineThread<Store>,
}

storage_backend!(SqliteBackend, thread);

impl SqliteBackend {
    /// Opens the file at `path`, and makes it if it is not there and [`Config::create`] is on. Waits for the disk, so on
    /// an executor call it where blocking is allowed.
    ///
    /// What a killed process has left in SQLite's log is flushed before anything of it is shown. That takes the write lock, for
    /// which it waits up to [`Config::busy_timeout`].
    ///
    /// A new file is readable by its owner only. `path` is always a plain path: `:memory:` and `file:` mean nothing
    /// special.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`](mls_keep_core::ErrorKind::NotFound): the directory is not there, or the file is not and `create` is off.
    /// - [`ErrorKind::Invalid`](mls_keep_core::ErrorKind::Invalid): `path` is a directory or the database of another program, something that is no file has the name of one of SQLite's files beside it, or a setting is out of range.
    /// - [`ErrorKind::UnsupportedVersion`](mls_keep_core::ErrorKind::UnsupportedVersion): a newer version of this crate made the file. It was not changed.
    /// - [`ErrorKind::Corrupt`](mls_keep_core::ErrorKind::Corrupt): the file is no SQLite database, or a damaged one, or one whose schema or settings are not those that this crate makes, or its log is there and it is empty.
    /// - [`ErrorKind::ReadOnly`](mls_keep_core::ErrorKind::ReadOnly), [`ErrorKind::NoSpace`](mls_keep_core::ErrorKind::NoSpace), [`ErrorKind::Busy`](mls_keep_core::ErrorKind::Busy), [`ErrorKind::Unavailable`](mls_keep_core::ErrorKind::Unavailable): as they say.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let thread = EngineThread::start("SQLite", move || {
            let durability = config.durability;
            Ok(Store::new(open::open(&path, &config)?, durability))
        })?;
        Ok(Self { thread })
    }

    /// Moves SQLite's log into the database and empties it. After this the bytes of deleted and replaced values are in
    /// none of the files; until then the log may still hold them.
    ///
    /// [`close`](mls_keep_core::StorageBackend::close) does it too. It costs about two flushes, so call it after what should be
    /// forgotten at once, such as leaving a group.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](mls_keep_core::ErrorKind::Busy) while another process reads or writes; [`ErrorKind::NoSpace`](mls_keep_core::ErrorKind::NoSpace),
    /// [`ErrorKind::Unavailable`](mls_keep_core::ErrorKind::Unavailable). What was committed stays committed in any case.
    pub async fn checkpoint(&self) -> Result<()> {
        self.thread.call(Store::checkpoint).await?
    }
}
