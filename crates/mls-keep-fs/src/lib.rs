//! The file system adapter of mls-keep: [`FsBackend`] keeps everything in plain files of one directory, with no engine.
//!
//! **When to choose it.** On a server or a desktop where one process owns the state, no engine is wanted, and the files
//! shall be plain: a log of commits, and one file for each value that lasts. Not where several processes
//! open the state; then take SQLite. Not on a network file system, whose locks and flushes are not to be trusted.
//!
//! **What it guarantees**, each by a test in the crate:
//!
//! - A commit is applied whole or not at all, and survives power loss when it was acknowledged
//!   ([`Config::durability`]): one write and one flush, also for many commits that wait together.
//! - What an opening shows is durable before it is shown, whatever a killed process has left.
//! - One process at a time has the directory open; another one is `Busy` in bounded time. The lock goes with its process.
//! - Deleted and replaced bytes are in none of its files after [`close`](mls_keep_core::StorageBackend::close) or
//!   [`checkpoint`](FsBackend::checkpoint).
//! - The files can be read by their owner only (Unix modes 0700 and 0600), and no symbolic link is followed to one.
//! - A directory of something else or of a newer version is refused and stays as it is. One that somebody else has touched is
//!   refused or opens as if it had not been, in bounded time and memory.
//!
//! The README says how the log works, how an opening goes, and what a full disk does.

mod backend;
mod config;
mod directory;
mod error;
mod files;
mod head;
mod log;
mod name;
mod open;
mod record;
mod recover;
mod store;
mod values;

pub use backend::FsBackend;
pub use config::{Config, MAX_COMMIT_LEN, MAX_VALUE_LEN};
