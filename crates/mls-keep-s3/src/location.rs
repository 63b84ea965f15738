//! [`Location`]: a store's URL.

use std::str::FromStr;
use std::time::Duration;

use mls_keep_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;

use crate::backend::S3Backend;
use crate::config::{Config, OldVersions, ServerSideEncryption};
use crate::open::checked;

/// A store by its URL, `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`, as programs take it from people.
///
/// More parameters: `path-style=yes|no`, `encryption=AES256|aws:kms|aws:kms:KEY`, `old-versions=purge|report`,
/// `deadline=SECONDS` (1 to 3600). Values may be
/// percent-encoded. Credentials never stand in a URL; they come from AWS's default chain.
///
/// ```
/// use mls_keep_s3::Location;
/// let location: Location = "s3://bucket/keeps/alice?endpoint=http://127.0.0.1:8333&region=us-east-1".parse()?;
/// assert_eq!((&*location.bucket, &*location.prefix), ("bucket", "keeps/alice"));
/// assert_eq!(location.config.region.as_deref(), Some("us-east-1"));
/// # Ok::<(), mls_keep_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// What the keys of all objects begin with; may be empty.
    pub prefix: String,
    /// The default with what the URL says.
    pub config: Config,
}

impl Location {
    /// Opens the store, see [`S3Backend::open`].
    ///
    /// # Errors
    /// As [`S3Backend::open`].
    pub async fn open(&self) -> Result<S3Backend> {
        S3Backend::open(&self.bucket, &self.prefix, self.config.clone()).await
    }
}

impl FromStr for Location {
    type Err = Error;

    /// # Errors
    /// `Invalid` if it is no such URL.
    fn from_str(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("s3://").ok_or_else(|| invalid("it does not begin with s3://".to_owned()))?;
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        checked(bucket, prefix)?;
        let mut config = Config::default();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8().map_err(|_| invalid(format!("{name} is not text")))?;
            match (name, &*value) {
                (_, "") => return Err(invalid(format!("{name} is empty"))),
                ("endpoint", url) if url.starts_with("http://") || url.starts_with("https://") => {
                    config.endpoint = Some(url.to_owned());
                }
                ("region", region) => config.region = Some(region.to_owned()),
                ("path-style", "yes") => config.path_style = Some(true),
                ("path-style", "no") => config.path_style = Some(false),
                ("encryption", "AES256") => config.encryption = Some(ServerSideEncryption::Aes256),
                ("encryption", "aws:kms") => config.encryption = Some(ServerSideEncryption::Kms(None)),
                ("encryption", other) if other.starts_with("aws:kms:") => {
                    config.encryption =
                        Some(ServerSideEncryption::Kms(other.strip_prefix("aws:kms:").map(str::to_owned)));
                }
                ("deadline", seconds) if seconds.parse().is_ok_and(|seconds: u64| (1..=3600).contains(&seconds)) => {
                    config.deadline = Duration::from_secs(seconds.parse().unwrap_or_default());
                    config.attempt_timeout = config.attempt_timeout.min(config.deadline);
                }
                ("old-versions", "purge") => config.old_versions = OldVersions::Purge,
                ("old-versions", "report") => config.old_versions = OldVersions::Report,
                ("endpoint" | "path-style" | "encryption" | "old-versions" | "deadline", _) => {
                    return Err(invalid(format!("{name} has a value that it does not take")));
                }
                _ => return Err(invalid("it has a parameter that is not known".to_owned())),
            }
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.trim_end_matches('/').to_owned(), config })
    }
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::Invalid, format!("not a URL of the form s3://BUCKET/PREFIX?endpoint=URL&region=NAME: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_says_is_configured() {
        let url = "s3://b?endpoint=https%3A%2F%2Fs3.example&path-style=no&encryption=aws:kms:k&old-versions=report&deadline=5";
        let Location { bucket, prefix, config } = url.parse().unwrap();
        assert_eq!((&*bucket, &*prefix, config.endpoint.as_deref()), ("b", "", Some("https://s3.example")));
        assert_eq!((config.path_style, config.old_versions), (Some(false), OldVersions::Report));
        assert_eq!((config.deadline, config.attempt_timeout), (Duration::from_secs(5), Duration::from_secs(5)));
        assert_eq!(config.encryption, Some(ServerSideEncryption::Kms(Some("k".to_owned()))));
    }

    #[test]
    fn what_is_no_url_is_invalid() {
        for url in [
            "",
            "s3:b",
            "s3://",
            "s3:///p",
            "s3://b/a//c",
            "s3://b?region=",
            "s3://b?endpoint=ftp://x",
            "s3://b?path-style=maybe",
            "s3://b?secret=x",
            "s3://b?deadline=0",
            "s3://b?deadline=soon",
        ] {
            assert_eq!(url.parse::<Location>().unwrap_err().kind(), ErrorKind::Invalid, "{url}");
        }
    }
}
