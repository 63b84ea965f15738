//! Backups of a client, and moving it to another device.
//!
//! `contents` says which records a backup holds, and which a restored client has; `backup` and `moving` are the calls.

mod backup;
mod contents;
mod moving;

pub use backup::{BackupOptions, RestoreOptions};
pub use moving::ExportOptions;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mls_keep_core::{ClientStore, Error, ErrorKind, Result};

use crate::client::{Client, CryptoProvider};
use crate::policy::SavePolicy;

/// Called with the number of bytes of records that were read or written so far.
type Progress<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// Loads a client that was made a moment ago.
///
/// # Errors
/// `OutcomeUnknown` if it cannot be read now: it is there, and its keys are as they are.
async fn load<C: CryptoProvider>(store: ClientStore, crypto: Arc<C>) -> Result<Client<C>> {
    Client::load(store, crypto, SavePolicy::EveryOperation).await.map_err(|error| {
        let text = "the client is stored, and could not be read: load it";
        Error::new(ErrorKind::OutcomeUnknown, text).with_source(error)
    })
}

/// Milliseconds since 1970, 0 for what is before that.
fn in_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
