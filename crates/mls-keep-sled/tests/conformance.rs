//! The conformance suite on sled.

use std::path::PathBuf;
use std::sync::Arc;

use mls_keep_conformance::{Harness, ModelConfig, async_trait, conformance_suite, copy_directory, model_test};
use mls_keep_core::{Result, StorageBackend};
use mls_keep_sled::{Config, SledBackend};
use tempfile::TempDir;

struct Sled(TempDir);

impl Sled {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room for a temporary directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("keep")
    }
}

#[async_trait]
impl Harness for Sled {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        self.open_at(&self.path().display().to_string()).await
    }

    async fn copy(&self) -> Option<Box<dyn Harness>> {
        let copy = Self::new();
        copy_directory(self.0.path(), copy.0.path());
        Some(Box::new(copy))
    }

    fn location(&self) -> Option<String> {
        Some(self.path().display().to_string())
    }

    async fn open_at(&self, location: &str) -> Result<Arc<dyn StorageBackend>> {
        // A second open is tried while the first is there, and need not wait long for its refusal.
        let config = Config { busy_timeout: std::time::Duration::from_millis(50), ..Config::default() };
        Ok(Arc::new(SledBackend::open(location, config)?))
    }
}

conformance_suite!(Sled::new());

#[test]
fn random_sequences_agree_with_the_model() {
    model_test(Sled::new, ModelConfig { cases: 64, ..ModelConfig::default() });
}
