//! The conformance suite of mls-keep: what every [`StorageBackend`](mls_keep_core::StorageBackend) has to pass, ours and
//! yours.
//!
//! **When to use it.** As a dev-dependency of a crate that implements a backend: implement [`Harness`], call
//! [`conformance_suite!`], and `cargo test` shows each case by its name.
//!
//! **What it asserts.** The contract of `StorageBackend` as far as it can be seen from outside: each key, commits and
//! conflicts, order and paging, limits, opening again, races, futures that are dropped, and every claim that the backend
//! makes in its [`Capabilities`](mls_keep_core::Capabilities). A case whose claim a backend does not make is not run, and
//! standard error says so; the test `every_case_is_a_test` counts them.
//!
//! **What it cannot assert.** That an acknowledged commit survives power loss, a full disk or a kill at any point: that
//! takes the backend's own tests.
//!
//! New cases come with new minor versions, and reach you without a change of your code.

// A case fails by panicking: that is how a test fails.
#![allow(clippy::panic)]

pub mod cases;
mod harness;
mod registry;
mod runner;
mod suite;
mod support;

pub use async_trait::async_trait;
pub use harness::{CaseFuture, Harness, directory_contains};
pub use registry::{CASES, Case};
#[doc(hidden)]
pub use runner::check_suite;
pub use runner::{Summary, run_all, run_case};
