//! The sled adapter of mls-keep: [`SledBackend`] keeps everything in a directory of sled 0.34.
//!
//! **When to choose it.** When your program has sled already and cannot have another engine. Otherwise take SQLite, redb or
//! plain files: sled 0.34 promises less than an MLS client needs, and its own README calls it beta.
//!
//! **What it guarantees**, each by a test in the crate:
//!
//! - A commit is applied whole or not at all, and survives power loss when it was acknowledged: this crate flushes sled's
//!   files, which sled does not.
//! - What an opening shows is durable before it is shown, whatever a killed process has left.
//! - One process at a time has the directory open; another one is `Busy` in bounded time.
//! - What a killed process leaves of a snapshot that it was writing is removed; sled by itself would refuse to open.
//! - A directory of somebody else or of a newer version is refused and stays as it is. Files that sled would read without end,
//!   wait for or follow elsewhere are refused; a panic of sled is an error of the call.
//!
//! **What it does not guarantee.** A damaged log is cut off without an error, which for an MLS client means that keys are used
//! twice. Deleted bytes stay in the files. After a failed write a call may hang. The README has the details.

mod backend;
mod config;
mod error;
mod files;
mod open;
mod settle;
mod store;

pub use backend::SledBackend;
pub use config::{Config, MAX_VALUE_LEN};
