//! Random sequences against the model, and what it finds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mls_keep_conformance::fault::FourMethods;
use mls_keep_conformance::saboteurs::{Defect, harness};
use mls_keep_conformance::{Harness, ModelConfig, async_trait, model_test};
use mls_keep_core::{MemoryBackend, Result, StorageBackend};

struct Memory(MemoryBackend);

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.0.clone()))
    }
}

struct Four(MemoryBackend);

#[async_trait]
impl Harness for Four {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(FourMethods(self.0.clone())))
    }
}

#[test]
fn memory_is_its_own_model() {
    model_test(|| Memory(MemoryBackend::new()), ModelConfig::default());
}

#[test]
fn four_methods_do_what_the_contract_allows() {
    model_test(|| Four(MemoryBackend::new()), ModelConfig::default());
}

#[test]
fn finds_broken_backends_and_says_how_to_repeat_it() {
    for defect in [
        Defect::LosesDeletes,
        Defect::ForgetsDeletes,
        Defect::ConflictKeepsPuts,
        Defect::IgnoresExpected,
        Defect::EmptyRootIsNone,
        Defect::PageIncludesAfter,
        Defect::ListsBySegment,
        Defect::LoadManySkipsMissing,
        Defect::BatchSeesOnlyTheStart,
        Defect::LosesTheLastCommit,
        Defect::WritesAtClose,
        Defect::TearsTheLastValue,
        Defect::AppendsOnSave,
    ] {
        let config = ModelConfig { seed: Some(1), ..ModelConfig::default() };
        let failed = catch_unwind(AssertUnwindSafe(|| model_test(|| harness(defect), config)));
        let text = *failed.expect_err("the model finds it").downcast::<String>().expect("a text");
        assert!(text.contains("MLS_KEEP_MODEL_SEED="), "{defect:?}: {text}");
        let steps = text.lines().filter(|line| line.contains("Step {")).count();
        assert!(steps < 20, "{defect:?} is shown by few steps, not {steps}: {text}");
        let longest = text.lines().map(str::len).max().unwrap_or_default();
        assert!(longest < 2000, "{defect:?} is shown without its values, and not by a line of {longest} bytes");
    }
}
