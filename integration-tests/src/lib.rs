//! What the tests of mls-keep as a whole share: the adapters, what is compared before and after, and the pair of
//! clients that is killed.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

pub mod adapter;
pub mod generations;
pub mod guarantees;
pub mod interval;
pub mod killed;
pub mod late;
pub mod mail;
pub mod needles;
pub mod observe;
pub mod operation;
pub mod pair;
pub mod power_loss;
pub mod random;
pub mod rollback;
pub mod senders;
pub mod store;
pub mod strace;
pub mod wait;
pub mod world;

/// The examples of the README compile.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
pub struct Readme;
