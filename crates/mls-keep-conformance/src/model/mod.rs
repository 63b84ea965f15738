//! [`model_test`]: random sequences of calls, reopens and faults, compared step by step with the backend in memory.

mod request;
mod step;
mod worlds;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mls_keep_core::StorageBackend;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use proptest_state_machine::ReferenceStateMachine as _;

use crate::fault::{FaultBackend, FaultPoint, Faults, Lasting};
use crate::harness::Harness;
use crate::support::wait;
use request::call;
use step::{Action, Sequence, Step};
use worlds::Worlds;

/// Set it to the seed that a failure printed, and the same sequences are run again.
pub const SEED_VARIABLE: &str = "MLS_KEEP_MODEL_SEED";

/// How much [`model_test`] tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ModelConfig {
    /// Sequences, each on a harness of its own.
    pub cases: u32,
    /// Steps of a sequence.
    pub steps: usize,
    /// Where the random numbers begin; `None` takes another seed each time. [`SEED_VARIABLE`] goes before it.
    pub seed: Option<u64>,
}

impl Default for ModelConfig {
    /// 256 sequences of 50 steps.
    fn default() -> Self {
        Self { cases: 256, steps: 50, seed: None }
    }
}

/// Runs random sequences of saves, deletes, commits, reads, lists, closes and drops on the backend of a harness, with
/// faults injected by a [`FaultBackend`], and compares every answer with [`MemoryBackend`](mls_keep_core::MemoryBackend).
///
/// After `OutcomeUnknown` both are possible, that the write happened and that it did not, until what is read decides. A
/// backend that promises no [`atomic_commit`](mls_keep_core::Capabilities::atomic_commit) may also have applied a part, as
/// the contract allows it; one that promises no durability may come back empty.
///
/// ```
/// use std::sync::Arc;
///
/// use mls_keep_conformance::{Harness, ModelConfig, async_trait, model_test};
/// use mls_keep_core::{MemoryBackend, Result, StorageBackend};
///
/// struct Memory(MemoryBackend);
///
/// #[async_trait]
/// impl Harness for Memory {
///     async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
///         Ok(Arc::new(self.0.clone()))
///     }
/// }
///
/// model_test(|| Memory(MemoryBackend::new()), ModelConfig { cases: 8, ..ModelConfig::default() });
/// ```
///
/// # Panics
/// When an answer is one that the contract does not allow. The message has the shortest sequence that was found and the
/// seed; `MLS_KEEP_MODEL_SEED=<seed>` repeats the run.
pub fn model_test<H: Harness>(make_harness: impl Fn() -> H, config: ModelConfig) {
    let seed = seed(config.seed);
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(seed.to_be_bytes()).for_each(|(to, from)| *to = from);
    let limits = Config {
        cases: config.cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(limits, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let sequences = Sequence::sequential_strategy(config.steps.max(1));
    let result = runner.run(&sequences, |(_, steps, seen)| {
        let harness = make_harness();
        wait(&harness, run(&harness, &steps, seen.as_deref())).map_err(TestCaseError::fail)
    });
    let again = format!("{SEED_VARIABLE}={seed} repeats it");
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, (_, steps, _))) => {
            let steps: Vec<String> = steps.iter().map(|step| format!("\n  {step:?}")).collect();
            panic!("{reason}\n{again}\nthe sequence:{}", steps.concat())
        }
        Err(TestError::Abort(reason)) => panic!("no sequences were made: {reason}; {again}"),
    }
}

fn seed(configured: Option<u64>) -> u64 {
    if let Ok(text) = std::env::var(SEED_VARIABLE) {
        return text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE} must be a number, it is {text:?}"));
    }
    configured.unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// Runs a sequence. `seen` counts the steps that were begun, which lets a failure be made shorter faster.
async fn run(harness: &dyn Harness, steps: &[Step], seen: Option<&AtomicUsize>) -> Result<(), String> {
    let faults = Faults::new();
    let mut backend = open(harness, &faults).await?;
    let promised = backend.capabilities();
    let mut worlds = Worlds::new(promised);
    for (number, step) in (1..).zip(steps) {
        if let Some(seen) = seen {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        let failed = |text: String| format!("step {number}, {step:?}: {text}");
        match &step.action {
            Action::Close | Action::Drop => {
                // Where a commit is several steps, deletions may still be under way, and a drop leaves them undone.
                if step.action == Action::Close || !promised.atomic_commit {
                    backend.close().await.map_err(|error| failed(format!("closing: {error:?}")))?;
                }
                drop(backend);
                backend = open(harness, &faults).await.map_err(failed)?;
                worlds.reopened();
            }
            action => {
                let request = worlds.resolve(action);
                if let Some(fault) = step.fault {
                    faults.arm(FaultPoint { at: 1, fault, lasting: Lasting::Once });
                }
                let outcome = call(&*backend, &request).await;
                let injected = faults.disarm() > 0;
                worlds.follow(&request, &outcome, injected).await.map_err(failed)?;
            }
        }
        if worlds.can_be_compared() {
            worlds.compare(&*backend).await.map_err(failed)?;
        }
    }
    worlds.compare(&*backend).await.map_err(|text| format!("at the end: {text}"))?;
    backend.close().await.map_err(|error| format!("closing at the end: {error:?}"))
}

async fn open(harness: &dyn Harness, faults: &Faults) -> Result<Arc<dyn StorageBackend>, String> {
    let backend = harness.open().await.map_err(|error| format!("opening: {error:?}"))?;
    Ok(Arc::new(FaultBackend::shared(backend, faults.clone())))
}
