//! From the URL of a store to its backend. An adapter is a line of the list and an arm of each match.

use std::path::PathBuf;
use std::sync::Arc;

use mls_keep::StorageBackend;

use crate::failure::{Failure, Result};

/// Whether a store that is not there is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Existing,
    Create,
}

#[cfg(not(feature = "sqlite"))]
compile_error!("the program needs a store: turn on the feature `sqlite`");

/// The forms of a store's URL that this program was built with.
const FORMS: &[&str] = &[
    #[cfg(feature = "sqlite")]
    "sqlite:PATH",
];

/// A store that can be opened.
pub(crate) enum Store {
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
}

impl Store {
    /// The store that `url` names.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let forms = FORMS.join(", ");
        let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            let advice = match FORMS.first().and_then(|form| form.split_once(':')) {
                Some((scheme, _)) if !url.is_empty() => format!("Did you mean {scheme}:{url} ? Known: {forms}"),
                _ => format!("Known: {forms}"),
            };
            return Err(Failure::usage(format!("the store `{url}` is no URL"), advice));
        };
        match scheme {
            #[cfg(feature = "sqlite")]
            "sqlite" => path(url, rest).map(Self::Sqlite),
            _ => {
                let what = format!("stores of the kind `{scheme}:` are not known");
                Err(Failure::usage(what, format!("Name a store of a known kind: {forms}")))
            }
        }
    }

    /// Opens it.
    pub(crate) fn open(self, access: Access) -> mls_keep::Result<Arc<dyn StorageBackend>> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                use mls_keep_sqlite::{Config, SqliteBackend};
                let config = Config { create: access == Access::Create, ..Config::default() };
                Ok(Arc::new(SqliteBackend::open(path, config)?))
            }
        }
    }
}

fn is_scheme(text: &str) -> bool {
    // One letter is a drive of Windows.
    text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// A path behind a scheme, as it stands.
fn path(url: &str, path: &str) -> Result<PathBuf> {
    // With two slashes people mean a relative path as often as an absolute one.
    if path.is_empty() || (path.starts_with("//") && !path.starts_with("///")) {
        let advice = "Write sqlite:PATH, for instance sqlite:alice.db or sqlite:/home/alice/keep.db .";
        return Err(Failure::usage(format!("the store `{url}` names no file"), advice));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_known_store_is_a_usage_error_that_says_what_does() {
        for url in
            ["", "alice.db", "C:\\alice.db", "postgres:x", "sqlite:", "sqlite://alice.db", ":memory:", "SQLITE:x"]
        {
            let Err(failure) = Store::parse(url) else { panic!("{url} is taken") };
            assert_eq!(failure.exit_code(), std::process::ExitCode::from(2), "{url}");
            assert!(format!("{failure:?}").contains("sqlite:"), "{failure:?}");
        }
    }
}
