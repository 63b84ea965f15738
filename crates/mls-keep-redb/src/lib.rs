//! The redb adapter of mls-keep: [`RedbBackend`] keeps everything in one redb file.
//!
//! **When to choose it.** Where one process owns the state and the engine shall be Rust: redb is one file, with transactions, checksums and a written-down format. Not where an app and its extension both open the state: redb
//! lets one process in at a time. Then take SQLite.
//!
//! **What it guarantees**, each by a test in the crate:
//!
//! - A commit is applied whole or not at all, and survives power loss when it was acknowledged: one transaction, one flush.
//! - What an opening shows is durable before it is shown, whatever a killed process has left.
//! - One process at a time has the file open; another one is `Busy` in bounded time.
//! - Making the file survives a kill at any point; by itself redb leaves a file that never opens again.
//! - A file of another program or of a newer version is refused. One that somebody else has touched is refused or opens as if
//!   it had not been, in bounded time and memory; a panic of redb is an error of the call.
//! - The file can be read by its owner only (Unix mode 0600).
//!
//! **What it does not guarantee.** Deleted bytes stay in freed pages until these are used again. The README has the details.

mod backend;
mod config;
mod error;
mod open;
mod place;
mod settle;
mod store;

pub use backend::RedbBackend;
pub use config::{Config, MAX_VALUE_LEN};
