//! What an opening does before it shows anything: it makes durable what it is going to show.
//!
//! What a killed process has written may be in the memory of the system only, and after a flush that failed it may be there
//! for good: a second flush finds nothing to do and succeeds. So nothing that was found is trusted to be on the medium.
//! The log is written over itself and flushed, then its values are written to files, and then the log begins anew; so
//! nothing is ever appended behind a record that may not be there, and no file has a value of a record that may not be
//! there. A kill in the middle leaves the log as it was, and it still counts before the files.

use std::collections::BTreeMap;

use bytes::Bytes;
use mls_keep_core::{ErrorKind, Key, Result};

use crate::error::io_error;
use crate::log::Log;
use crate::values::{Entries, Values};

/// How much of the log is in memory at once, bytes, besides one value.
const BATCH_LEN: usize = 16 << 20;

/// What an entry takes besides its key and its value, bytes.
const ENTRY_LEN: usize = 128;

type Recent = BTreeMap<Key, Option<Bytes>>;

/// Makes the log durable, gives each of its values a file and empties it. On a disk without room for the files, what the log
/// says is returned.
///
/// Memory is taken for [`BATCH_LEN`] bytes and one value, however long the log is.
pub(crate) fn recover(log: &mut Log, values: &mut Values) -> Result<Recent> {
    if log.is_clean() {
        return Ok(Recent::new());
    }
    log.rewrite()?;
    let mut batch = Recent::new();
    let mut batch_len = 0;
    log.replay(&mut |(key, value)| {
        batch_len += ENTRY_LEN + key.as_str().len() + value.as_ref().map_or(0, Bytes::len);
        batch.insert(key, value);
        if batch_len > BATCH_LEN {
            store(values, &batch)?;
            batch.clear();
            batch_len = 0;
        }
        Ok(())
    })?;
    match store(values, &batch) {
        Ok(()) => {
            log.restart().map_err(|source| io_error(source, log.path()))?;
            Ok(Recent::new())
        }
        Err(error) if error.kind() == ErrorKind::NoSpace => Ok(batch),
        Err(error) => Err(error),
    }
}

fn store(values: &mut Values, batch: &Recent) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let entries: Vec<_> = batch.iter().map(|(key, value)| (key, value.as_ref())).collect();
    let entries: &Entries<'_> = &entries;
    values.store_again(entries)
}
