//! From the URL of a store to its backend. An adapter is a [`Kind`] and its arms.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mls_keep::StorageBackend;

use crate::failure::{Failure, Result};

/// Whether a store that is not there is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Existing,
    Create,
}

#[cfg(not(any(feature = "sqlite", feature = "fs", feature = "redb", feature = "sled")))]
compile_error!("the program needs a local store: turn on one of the features `sqlite`, `fs`, `redb` and `sled`");

/// A kind of local store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "fs")]
    File,
    #[cfg(feature = "redb")]
    Redb,
    #[cfg(feature = "sled")]
    Sled,
}

/// A store that can be opened.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    Local {
        kind: Kind,
        path: PathBuf,
    },
    #[cfg(feature = "s3")]
    S3(Box<mls_keep_s3::Location>),
}

/// Versions that a bucket keeps.
pub(crate) struct OldVersions {
    pub(crate) count: usize,
    pub(crate) bytes: u64,
}

impl Kind {
    /// The kinds that this program was built with, the one to recommend first.
    pub(crate) const ALL: &[Self] = &[
        #[cfg(feature = "sqlite")]
        Self::Sqlite,
        #[cfg(feature = "fs")]
        Self::File,
        #[cfg(feature = "redb")]
        Self::Redb,
        #[cfg(feature = "sled")]
        Self::Sled,
    ];

    /// What its URLs begin with.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "sqlite",
            #[cfg(feature = "fs")]
            Self::File => "file",
            #[cfg(feature = "redb")]
            Self::Redb => "redb",
            #[cfg(feature = "sled")]
            Self::Sled => "sled",
        }
    }

    pub(crate) fn of_scheme(scheme: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.scheme() == scheme)
    }

    /// What stands behind the colon.
    fn place(self) -> &'static str {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "PATH",
            #[cfg(feature = "redb")]
            Self::Redb => "PATH",
            #[cfg(feature = "fs")]
            Self::File => "DIR",
            #[cfg(feature = "sled")]
            Self::Sled => "DIR",
        }
    }

    /// Bytes that stand in the files of each store of the kind, so that a search that finds them has read the files.
    pub(crate) fn signature(self) -> &'static [u8] {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => b"SQLite format 3\0",
            #[cfg(feature = "fs")]
            Self::File => b"mls-keep-fs ",
            #[cfg(feature = "redb")]
            Self::Redb => b"redb\x1a\x0a\xa9\x0d\x0a",
            #[cfg(feature = "sled")]
            Self::Sled => b"mls-keep-sled ",
        }
    }
}

impl Store {
    /// The store of `kind` at `path`.
    pub(crate) fn at(kind: Kind, path: impl Into<PathBuf>) -> Self {
        Self::Local { kind, path: path.into() }
    }

    /// The store that `url` names.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            let advice = match Kind::ALL.first() {
                Some(kind) if !url.is_empty() => format!("Did you mean {}:{url} ? Known: {}", kind.scheme(), forms()),
                _ => format!("Known: {}", forms()),
            };
            return Err(Failure::usage(format!("the store `{url}` is not a URL"), advice));
        };
        #[cfg(feature = "s3")]
        if scheme == "s3" {
            let advice = |error: mls_keep::Error| Failure::usage(error.to_string(), format!("Known: {}", forms()));
            return Ok(Self::S3(Box::new(url.parse().map_err(advice)?)));
        }
        let Some(kind) = Kind::of_scheme(scheme) else {
            let what = format!("stores of the kind `{scheme}:` are not known");
            return Err(Failure::usage(what, format!("Name a store of a known kind: {}", forms())));
        };
        // With two slashes people mean a relative path as often as an absolute one.
        if rest.is_empty() || (rest.starts_with("//") && !rest.starts_with("///")) {
            let place = kind.place();
            let advice =
                format!("Write {scheme}:{place}, for instance {scheme}:alice.{scheme} or {scheme}:/home/alice/keep .");
            return Err(Failure::usage(format!("the store `{url}` names no {}", place.to_lowercase()), advice));
        }
        Ok(Self::at(kind, rest))
    }

    /// Opens it.
    pub(crate) async fn open(&self, access: Access) -> mls_keep::Result<Arc<dyn StorageBackend>> {
        let create = access == Access::Create;
        let (kind, path) = match self {
            Self::Local { kind, path } => (*kind, path),
            #[cfg(feature = "s3")]
            Self::S3(location) => return Ok(Arc::new(location.open().await?)),
        };
        Ok(match kind {
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => {
                use mls_keep_sqlite::{Config, SqliteBackend};
                Arc::new(SqliteBackend::open(path, Config { create, ..Config::default() })?)
            }
            #[cfg(feature = "fs")]
            Kind::File => {
                use mls_keep_fs::{Config, FsBackend};
                Arc::new(FsBackend::open(path, Config { create, ..Config::default() })?)
            }
            #[cfg(feature = "redb")]
            Kind::Redb => {
                use mls_keep_redb::{Config, RedbBackend};
                let bar = crate::progress::bar(100, "repairing after a crash");
                let progress = move |part: f64| bar.set_position((part * 100.0) as u64);
                Arc::new(RedbBackend::open_with_progress(path, Config { create, ..Config::default() }, progress)?)
            }
            #[cfg(feature = "sled")]
            Kind::Sled => {
                use mls_keep_sled::{Config, SledBackend};
                Arc::new(SledBackend::open(path, Config { create, ..Config::default() })?)
            }
        })
    }

    /// The versions that are kept of its objects beside the current ones, where it is a bucket.
    pub(crate) async fn old_versions(&self) -> mls_keep::Result<Option<OldVersions>> {
        #[cfg(feature = "s3")]
        if let Self::S3(location) = self {
            let found = location.open().await?.old_versions().await?;
            return Ok(Some(OldVersions { count: found.count, bytes: found.bytes }));
        }
        Ok(None)
    }

    /// Deletes these versions and says how many there were.
    pub(crate) async fn purge_old_versions(&self) -> mls_keep::Result<Option<usize>> {
        #[cfg(feature = "s3")]
        if let Self::S3(location) = self {
            return location.open().await?.purge_old_versions().await.map(Some);
        }
        Ok(None)
    }

    /// Whether both are the same place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
        match (self, other) {
            (Self::Local { path, .. }, Self::Local { path: other, .. }) => {
                place(path).is_some_and(|path| place(other) == Some(path))
            }
            #[cfg(feature = "s3")]
            (Self::S3(one), Self::S3(other)) => {
                let place = |location: &mls_keep_s3::Location| {
                    (location.config.endpoint.clone(), location.bucket.clone(), location.prefix.clone())
                };
                place(one) == place(other)
            }
            #[cfg(feature = "s3")]
            _ => false,
        }
    }
}

/// The forms of a store's URL that this program was built with.
pub(crate) fn forms() -> String {
    let mut forms: Vec<String> = Kind::ALL.iter().map(|kind| format!("{}:{}", kind.scheme(), kind.place())).collect();
    if cfg!(feature = "s3") {
        forms.push("s3://BUCKET/PREFIX?endpoint=URL&region=NAME".to_owned());
    }
    forms.join(", ")
}

fn is_scheme(text: &str) -> bool {
    // One letter is a drive of Windows.
    text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_known_store_is_a_usage_error_that_says_what_does() {
        for url in [
            "",
            "alice.db",
            "C:\\alice.db",
            "postgres:x",
            "sqlite:",
            "sqlite://alice.db",
            ":memory:",
            "SQLITE:x",
            "file:",
            "s3:bucket",
            "s3://",
            "s3://bucket?secret=x",
        ] {
            let Err(failure) = Store::parse(url) else { panic!("{url} is taken") };
            assert_eq!(failure.exit_code(), std::process::ExitCode::from(2), "{url}");
            assert!(format!("{failure:?}").contains(':'), "{failure:?}");
        }
    }

    #[test]
    fn each_kind_has_a_url() {
        for kind in Kind::ALL {
            let url = format!("{}:dir/alice", kind.scheme());
            assert!(Store::parse(&url).unwrap().is(&Store::at(*kind, "dir/alice")), "{url}");
        }
    }
}
