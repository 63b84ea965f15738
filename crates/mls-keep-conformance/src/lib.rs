//! The conformance suite of mls-keep: what every [`StorageBackend`](mls_keep_core::StorageBackend) has to pass, ours and
//! yours.
//!
//! **When to use it.** As a dev-dependency of a crate that implements a backend: implement [`Harness`], call
//! [`conformance_suite!`], and `cargo test` shows each case by its name.
//!
//! **What it asserts.** The contract of `StorageBackend` as far as it can be seen from outside: each key, commits and
//! conflicts, order and paging, limits, opening again, races, futures that are dropped, and every promise that the backend
//! makes in its [`Capabilities`](mls_keep_core::Capabilities); and that a [`Keep`](mls_keep_core::Keep) on top of it works. A case whose promise a backend does not make is not run, and
//! standard error says so; the test `every_case_is_a_test` counts them.
//!
//! **What it cannot assert.** That an acknowledged commit survives power loss, a full disk or a kill at any point: that
//! takes the backend's own tests.
//!
//! **What else is here.** With the feature `model`, `model_test`: random sequences of calls, reopens and faults against the
//! backend in memory. [`fault`]: a backend that fails, tears or stalls where a test says so, and [`late`]: one
//! whose write lands when nobody waits for it any more, both for tests of what stands on top.
//!
//! New cases come with new minor versions, and reach you without a change of your code.

// A case fails by panicking: that is how a test fails.
#![allow(clippy::panic)]

pub mod cases;
mod child;
pub mod fault;
mod harness;
pub mod late;
#[cfg(feature = "model")]
mod model;
mod registry;
mod runner;
#[doc(hidden)]
pub mod saboteurs;
mod suite;
mod support;

pub use async_trait::async_trait;
pub use child::run_child;
pub use harness::{CaseFuture, Harness, copy_directory, directory_contains};
#[cfg(feature = "model")]
pub use model::{ModelConfig, SEED_VARIABLE, model_test};
pub use registry::{CASES, Case, Hook};
pub use runner::{Summary, run_all, run_case};
#[doc(hidden)]
pub use runner::{check_suite, run_case_of};
