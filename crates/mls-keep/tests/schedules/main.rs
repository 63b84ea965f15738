//! Random schedules: members who commit at the same time, a delivery service that takes one commit for each epoch, answers
//! that are lost, letters that come late, twice and in any order, processes that are killed inside of a commit; and members
//! who lose letters, are removed, and enter the group again.
//!
//! `MLS_KEEP_SCHEDULES` is how many (200), `MLS_KEEP_SEED` the first one's seed.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod commits;
mod entries;
mod world;
