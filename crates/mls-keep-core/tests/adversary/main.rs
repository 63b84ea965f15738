//! What somebody can do who delays replies, kills processes, runs several of them, or puts older states back.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod doubt;
mod node_count;
mod processes;
mod rough;
