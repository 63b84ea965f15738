//! A backend on a server of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mls_keep_conformance::{Harness, async_trait};
use mls_keep_core::{Result, StorageBackend};
use mls_keep_s3::{Config, Credentials, S3Backend};
use s3_test_server::{BUCKET, Fault, Quirks, Server};

/// A configuration for the server at `endpoint`, with little patience.
pub(crate) fn config(endpoint: String) -> Config {
    Config {
        endpoint: Some(endpoint),
        region: Some("us-east-1".to_owned()),
        credentials: Some(Credentials {
            access_key_id: "TESTKEYID".to_owned(),
            secret_access_key: "TESTSECRET".to_owned(),
            session_token: None,
        }),
        ..Config::default()
    }
}

/// A harness with a server of its own.
pub(crate) struct Bucket {
    pub(crate) server: Server,
    pub(crate) inline_len: u32,
    cuts: AtomicUsize,
}

impl Bucket {
    #[allow(dead_code)] // Not every test binary makes one.
    pub(crate) fn new(inline_len: u32) -> Self {
        Self { server: Server::start(), inline_len, cuts: AtomicUsize::new(0) }
    }

    /// On a server that answers listings in small pages, each in the opposite order.
    #[allow(dead_code)] // Not every test binary makes one.
    pub(crate) fn with_small_pages() -> Self {
        Self::with(Quirks { page_len: 7, reversed_pages: true, ..Quirks::default() })
    }

    /// On a server that answers 500 to the loser of a race, and wants no quotes.
    #[allow(dead_code)] // Not every test binary makes one.
    pub(crate) fn like_ceph() -> Self {
        Self::with(Quirks { lost_is_500: true, bare_if_match: true, ..Quirks::default() })
    }

    #[allow(dead_code)] // Not every test binary makes one.
    fn with(quirks: Quirks) -> Self {
        Self { server: Server::with(quirks), inline_len: 64 << 10, cuts: AtomicUsize::new(0) }
    }

    #[allow(dead_code)] // Not every test binary opens one itself.
    pub(crate) async fn backend(&self) -> Result<S3Backend> {
        self.backend_at(self.server.endpoint()).await
    }

    async fn backend_at(&self, endpoint: String) -> Result<S3Backend> {
        let config = Config { inline_len: self.inline_len, ..config(endpoint) };
        S3Backend::open(BUCKET, "keeps/alice", config).await
    }
}

#[async_trait]
impl Harness for Bucket {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.backend().await?))
    }

    fn location(&self) -> Option<String> {
        Some(self.server.endpoint())
    }

    async fn open_at(&self, location: &str) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.backend_at(location.to_owned()).await?))
    }

    async fn cut_connections(&self) -> bool {
        // By turns before the next request is applied, after it, and in the middle of its answer.
        let faults = [Fault::Reset, Fault::AppliedThenReset, Fault::Truncated];
        let cuts = self.cuts.fetch_add(1, Ordering::Relaxed);
        faults.into_iter().nth(cuts % 3).is_some_and(|fault| {
            self.server.fail(1, fault, false);
            true
        })
    }
}

/// A configuration that gives up soon.
#[allow(dead_code)] // Not every test binary uses it.
pub(crate) fn impatient(endpoint: String) -> Config {
    Config { attempt_timeout: Duration::from_millis(300), deadline: Duration::from_millis(1200), ..config(endpoint) }
}
