//! [`Adapter`]: the adapters that keep on a local disk, by name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use mls_keep_core::{Result, StorageBackend};

/// An adapter that keeps on a local disk.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Adapter {
    /// `mls-keep-sqlite`.
    Sqlite,
    /// `mls-keep-fs`.
    File,
    /// `mls-keep-redb`.
    Redb,
    /// `mls-keep-sled`.
    Sled,
}

impl Adapter {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Sqlite, Self::File, Self::Redb, Self::Sled];

    /// Those that a test is to try: the one that `MLS_KEEP_ADAPTER` names, or all.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn chosen() -> Vec<Self> {
        match std::env::var("MLS_KEEP_ADAPTER") {
            Ok(name) => vec![name.parse().unwrap()],
            Err(_) => Self::ALL.to_vec(),
        }
    }

    /// As it stands in the URL of a store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::File => "file",
            Self::Redb => "redb",
            Self::Sled => "sled",
        }
    }

    /// What people call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::File => "plain files",
            Self::Redb => "redb",
            Self::Sled => "sled",
        }
    }

    /// Where the store `name` of this adapter lies in `directory`: a file or a directory.
    #[must_use]
    pub fn path(self, directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.{}", self.name()))
    }

    /// Opens the store at `path`, or makes it.
    ///
    /// # Errors
    /// As the adapter has.
    pub fn open(self, path: &Path) -> Result<Arc<dyn StorageBackend>> {
        Ok(match self {
            Self::Sqlite => Arc::new(mls_keep_sqlite::SqliteBackend::open(path, mls_keep_sqlite::Config::default())?),
            Self::File => Arc::new(mls_keep_fs::FsBackend::open(path, mls_keep_fs::Config::default())?),
            Self::Redb => Arc::new(mls_keep_redb::RedbBackend::open(path, mls_keep_redb::Config::default())?),
            Self::Sled => Arc::new(mls_keep_sled::SledBackend::open(path, mls_keep_sled::Config::default())?),
        })
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Adapter {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|adapter| adapter.name() == name);
        found.copied().ok_or_else(|| format!("there is no adapter {name:?}"))
    }
}
