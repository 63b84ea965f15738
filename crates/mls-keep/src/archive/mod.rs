//! Backups of a client, and moving it to another device.
//!
//! `contents` says which records a backup holds, and which a restored client has; `backup` and `moving` are the calls.

mod backup;
mod contents;
mod moving;

pub use backup::{BackupOptions, RestoreOptions};
pub use moving::ExportOptions;

use std::time::{SystemTime, UNIX_EPOCH};

/// What is told how many bytes of records were read or written so far.
type Progress<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// Milliseconds since 1970, 0 where the clock is behind that.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
