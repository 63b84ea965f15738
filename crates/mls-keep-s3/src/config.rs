//! [`Config`]: how a bucket is reached, and what becomes of old versions.

use std::fmt;
use std::time::Duration;

use mls_keep_core::{Error, ErrorKind, Result};

/// Longest value, bytes: 16 times what the contract asks for. It bounds what a damaged object can make a reader allocate.
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Most that [`Config::inline_len`] may be, bytes.
pub const MAX_INLINE_LEN: u32 = 4 << 20;

/// How an [`S3Backend`](crate::S3Backend) reaches its bucket. The default is AWS, with what its default chains find.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the service is, for instance `http://127.0.0.1:8333`. `None` is AWS, or what `AWS_ENDPOINT_URL` says.
    pub endpoint: Option<String>,
    /// The region. `None` asks AWS's default chain, and takes `us-east-1` if that knows none and there is an endpoint.
    pub region: Option<String>,
    /// Who asks. `None` asks AWS's default chain: environment, profile, container, instance.
    pub credentials: Option<Credentials>,
    /// Whether the bucket stands in the path, `ENDPOINT/BUCKET/KEY`, and not in the host name. `None` is yes where there is
    /// an endpoint, and no on AWS.
    pub path_style: Option<bool>,
    /// What the service is asked to encrypt with. What it stores is ciphertext in any case. `None` leaves it to the bucket.
    pub encryption: Option<ServerSideEncryption>,
    /// What becomes of the old versions of objects where the bucket keeps them.
    pub old_versions: OldVersions,
    /// How many bytes of nodes ride in the object of their root, so that a commit is one request. Beyond it they get
    /// objects of their own. 64 KiB by default; at most [`MAX_INLINE_LEN`].
    pub inline_len: u32,
    /// Most requests at a time, 1 to 1024. 32 by default.
    pub connections: usize,
    /// How long one request may take. 10 seconds by default.
    pub attempt_timeout: Duration,
    /// How long a request is repeated. 30 seconds by default, at most an hour. A call makes no more than three requests, or
    /// groups of them, one after the other: for nodes, for the root, and for what became of it.
    pub deadline: Duration,
}

/// An access key with its secret.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// The encryption that a service is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerSideEncryption {
    /// With a key of the service (SSE-S3, `AES256`).
    Aes256,
    /// With a key of the key management service (SSE-KMS): the one that is named, or its default.
    Kms(Option<String>),
}

/// What becomes of old versions in a bucket that keeps them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OldVersions {
    /// They are deleted, right after they are replaced. An old root can then not be put back by who may only read versions,
    /// and what was deleted is gone. Needs the permission `s3:DeleteObjectVersion`. Do not suspend versioning while clients
    /// write: a version without an id (`null`) that is deleted since one with an id replaced it could be a newer one by then.
    #[default]
    Purge,
    /// They stay. [`S3Backend::old_versions`](crate::S3Backend::old_versions) counts them.
    Report,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            credentials: None,
            path_style: None,
            encryption: None,
            old_versions: OldVersions::default(),
            inline_len: 64 << 10,
            connections: 32,
            attempt_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |what: &'static str| Err(Error::new(ErrorKind::Invalid, what));
        if self.inline_len > MAX_INLINE_LEN {
            return invalid("inline_len is more than 4 MiB");
        }
        if !(1..=1024).contains(&self.connections) {
            return invalid("connections is not 1 to 1024");
        }
        if self.attempt_timeout.is_zero() || self.deadline < self.attempt_timeout {
            return invalid("attempt_timeout is 0, or longer than deadline");
        }
        if self.deadline > Duration::from_secs(3600) {
            return invalid("deadline is more than an hour");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials {
            access_key_id: "IDSECRET".into(),
            secret_access_key: "KEYSECRET".into(),
            session_token: Some("TOKENSECRET".into()),
        };
        let config = Config { credentials: Some(credentials), ..Config::default() };
        assert!(!format!("{config:?} {config:#?}").contains("SECRET"));
    }

    #[test]
    fn what_makes_no_sense_is_invalid() {
        let second = Duration::from_secs(1);
        for config in [
            Config { inline_len: u32::MAX, ..Config::default() },
            Config { connections: 0, ..Config::default() },
            Config { attempt_timeout: Duration::ZERO, ..Config::default() },
            Config { deadline: second, ..Config::default() },
            Config { deadline: Duration::MAX, ..Config::default() },
            Config { connections: usize::MAX, ..Config::default() },
        ] {
            assert_eq!(config.check().unwrap_err().kind(), ErrorKind::Invalid);
        }
        Config::default().check().unwrap();
    }
}
