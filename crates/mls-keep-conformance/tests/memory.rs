//! The suite on `MemoryBackend`, which is the contract in executable form.

use std::sync::Arc;

use mls_keep_conformance::{CASES, Harness, async_trait, conformance_suite, run_all};
use mls_keep_core::{MemoryBackend, Result, StorageBackend};

struct Memory(MemoryBackend);

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.0.clone()))
    }
}

conformance_suite!(Memory(MemoryBackend::new()));

#[test]
fn all_in_one_test() {
    let summary = run_all(|| Memory(MemoryBackend::new()));
    assert_eq!(summary.run.len() + summary.not_run.len(), CASES.len());
    assert!(summary.run.contains(&"concurrency::one_winner_among_backends"), "{summary}");
    assert!(summary.not_run.contains(&"reopen::again_and_again"), "memory survives nothing: {summary}");
}
