//! [`Ground`]: what the keeps of the demo stand on.

use std::path::Path;

use mls_keep::ErrorKind;
use mls_keep_core::Key;

use super::scan::{Found, scan};
use crate::failure::{Failure, Result};
use crate::store::{Access, Kind, Store};

/// What the keeps of the demo stand on.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    /// Files of this kind.
    Local(Kind),
    /// Objects below this store's prefix.
    #[cfg(feature = "s3")]
    S3(Box<mls_keep_s3::Location>),
}

impl Ground {
    pub(crate) fn parse(typed: &str) -> Option<Self> {
        #[cfg(feature = "s3")]
        if let Ok(location) = typed.parse() {
            return Some(Self::S3(Box::new(location)));
        }
        Kind::of_scheme(typed).map(Self::Local)
    }

    /// What its stores' URLs begin with.
    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Self::Local(kind) => kind.scheme(),
            #[cfg(feature = "s3")]
            Self::S3(_) => "s3",
        }
    }

    /// The same ground, at a place of which nobody else knows.
    pub(super) fn apart(self, mark: &str) -> Self {
        let _ = mark;
        match self {
            #[cfg(feature = "s3")]
            Self::S3(mut location) => {
                location.prefix = format!("{}/demo-{mark}", location.prefix).trim_start_matches('/').to_owned();
                Self::S3(location)
            }
            local => local,
        }
    }

    /// The store of somebody, in `directory` if it is a local one.
    pub(super) fn store(&self, directory: &Path, name: &str) -> Store {
        match self {
            Self::Local(kind) => Store::at(*kind, directory.join(format!("{name}.{}", kind.scheme()))),
            #[cfg(feature = "s3")]
            Self::S3(location) => {
                let mut location = location.clone();
                location.prefix = format!("{}/{name}", location.prefix);
                Store::S3(location)
            }
        }
    }

    /// Looks for `texts` in the files of `directory`, or in the values of `stores`.
    pub(super) async fn scan(&self, directory: &Path, stores: &[&Store], texts: &[String]) -> Result<Found> {
        if let Self::Local(kind) = self {
            return scan(directory, *kind, texts).map_err(|error| Failure::unreadable(directory, &error));
        }
        let mut found = Found::default();
        for store in stores {
            let backend = store.open(Access::Existing).await?;
            let keys = backend.list("").await?;
            let values = backend.load_many(&keys).await?;
            let named: Vec<(&Key, _)> =
                keys.iter().zip(&values).filter_map(|(key, value)| Some((key, value.as_ref()?))).collect();
            for (key, value) in &named {
                found.add(key.as_str(), value, texts);
            }
            found.stores += usize::from(named.iter().any(|(key, _)| key.as_str() == "header"));
            backend.close().await?;
        }
        Ok(found)
    }

    /// Removes what is not in `directory`, which goes by itself.
    pub(super) async fn clear(&self, stores: &[&Store]) -> Result<()> {
        if let Self::Local(_) = self {
            return Ok(());
        }
        for store in stores {
            let backend = store.open(Access::Existing).await?;
            // Nodes come before their roots, so that these go as a whole.
            for key in backend.list("").await? {
                backend.delete(&key).await?;
            }
            if !backend.list("").await?.is_empty() {
                return Err(Failure::new(
                    ErrorKind::Internal,
                    "the demo's stores do not go",
                    "Delete them by other means.",
                ));
            }
            backend.close().await?;
        }
        Ok(())
    }
}
