//! The conformance suite on plain files, for each durability that can be configured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mls_keep_conformance::{
    Harness, ModelConfig, async_trait, conformance_suite, copy_directory, directory_contains, model_test,
};
use mls_keep_core::{Durability, Result, StorageBackend};
use mls_keep_fs::{Config, FsBackend};
use tempfile::TempDir;

struct Files {
    dir: TempDir,
    config: Config,
}

impl Files {
    fn new(durability: Durability) -> Self {
        let dir = tempfile::tempdir().expect("there is room for a temporary directory");
        Self {
            dir,
            config: Config {
                durability,
                // A second open is tried while the first is there, and need not wait long for its refusal.
                busy_timeout: Duration::from_millis(50),
                ..Config::default()
            },
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("keep")
    }
}

#[async_trait]
impl Harness for Files {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        self.open_at(&self.path().display().to_string()).await
    }

    async fn medium_contains(&self, marker: &[u8]) -> bool {
        directory_contains(self.dir.path(), marker)
    }

    async fn copy(&self) -> Option<Box<dyn Harness>> {
        let copy = Self::new(self.config.durability);
        copy_directory(self.dir.path(), copy.dir.path());
        Some(Box::new(copy))
    }

    fn location(&self) -> Option<String> {
        Some(self.path().display().to_string())
    }

    async fn open_at(&self, location: &str) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(FsBackend::open(location, self.config.clone())?))
    }
}

conformance_suite!(mod power_loss, Files::new(Durability::PowerLoss));
conformance_suite!(mod process_crash, Files::new(Durability::ProcessCrash));

#[test]
fn random_sequences_agree_with_the_model() {
    model_test(|| Files::new(Durability::PowerLoss), ModelConfig { cases: 64, ..ModelConfig::default() });
}
