//! The SQLite adapter of mls-keep: [`SqliteBackend`] keeps everything in one file.
//!
//! **When to choose it.** The first choice on a phone, a desktop or a server with a local disk: one file, no server, any
//! number of processes, and the engine that has been tried most. Not on a network file system, where SQLite's
//! write-ahead log does not work.
//!
//! **What it guarantees**, each by a test in the crate:
//!
//! - A commit is applied whole or not at all, and survives power loss when it was acknowledged
//!   ([`Config::durability`]).
//! - Of several writers that race for a root exactly one wins, across threads, backends and processes.
//! - The bytes of deleted and replaced values are overwritten, and gone from all of its files after
//!   [`close`](mls_keep_core::StorageBackend::close) or [`checkpoint`](SqliteBackend::checkpoint).
//! - The files can be read by their owner only (Unix mode 0600).
//! - A database of another program or of a newer version is refused and stays as it is.
//! - The file is hostile input: triggers, views and any schema but this crate's are refused, at opening and while it is
//!   open, and a commit reads back what it has written. An older copy of the file, or the file without its log, is not
//!   recognised here; see the README.
//! - What an opening shows is on the medium before it is shown ([`Durability::PowerLoss`](mls_keep_core::Durability::PowerLoss)).
//!
//! The README says what it costs, how the log grows, and what to do about backups.

mod backend;
mod config;
mod error;
mod log;
mod open;
mod place;
mod schema;
mod store;

pub use backend::SqliteBackend;
pub use config::{Config, MAX_VALUE_LEN};
