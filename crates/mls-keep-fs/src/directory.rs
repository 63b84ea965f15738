//! [`Directory`]: the directory of a keep while this process holds its lock.

#[cfg(unix)]
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};

use mls_keep_core::Result;

use crate::files::sync_directory;

/// The file that says whose the directory is, and that is locked while it is open.
pub(crate) const LOCK: &str = "lock";

/// A directory that is locked by this value. The system frees the lock when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// The directory at `path`, whose lock is held by `lock`.
    pub(crate) fn new(path: PathBuf, lock: File) -> Self {
        Self { path, lock }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// The path of an entry.
    pub(crate) fn entry(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the names of the entries durable, and the directory's own.
    pub(crate) fn sync(&self) -> Result<()> {
        sync_directory(&self.path)?;
        self.path.parent().map_or(Ok(()), sync_directory)
    }

    /// Whether the directory that is locked still stands at the path. Values are written by their paths, so in another one
    /// that was put there they would be mixed with what somebody else may be writing.
    pub(crate) fn is_in_place(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let identity = |found: fs::Metadata| (found.dev(), found.ino());
            let here = fs::symlink_metadata(self.entry(LOCK)).map(identity);
            matches!((here, self.lock.metadata().map(identity)), (Ok(here), Ok(locked)) if here == locked)
        }
        #[cfg(not(unix))]
        true
    }
}
