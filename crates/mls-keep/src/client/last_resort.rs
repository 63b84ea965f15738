//! What was joined with key packages of last resort.
//!
//! Such a key package is not used up, so its Welcome can be opened again: also a copy that a hostile service keeps, or makes with
//! other bytes. The group would begin once more in the epoch in which it was joined, with ratchets that were used then.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::group::MlsGroup;
use openmls::prelude::tls_codec::Serialize as _;
use serde::{Deserialize, Serialize};

use super::refusal::aborted;
use crate::provider::TransactionStorage;
use crate::records::{self, Kind, codec};
use crate::scope::Scope;

/// The groups that were joined with one key package of last resort: record `06` of the client's scope. It goes with the key
/// package.
#[derive(Default, Deserialize, Serialize)]
struct LastResortRecord {
    /// Of each the first 16 bytes of the SHA-256 of its confirmation tag when it was joined.
    #[serde(with = "serde_bytes")]
    joined: Vec<u8>,
}

/// Remembers that `group` was joined just now with the key package of this reference.
///
/// # Errors
/// `Invalid` if it was joined with that in this very epoch before.
pub(super) fn note_join(storage: &TransactionStorage, reference: &[u8], group: &MlsGroup) -> Result<()> {
    let key = Kind::LastResort.with(&records::digest(reference));
    let known = storage.get(&Scope::Client, &key);
    let mut known: LastResortRecord =
        known.map(|known| codec::decode(Kind::LastResort, &known)).transpose()?.unwrap_or_default();
    let tag = group.confirmation_tag().tls_serialize_detached().map_err(|error| aborted(error.into()))?;
    let tag = records::digest(&tag);
    if known.joined.as_chunks().0.contains(&tag) {
        let text = "the client has joined by this Welcome before, and would use keys again that it has used: it must be invited anew";
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    known.joined.extend_from_slice(&tag);
    storage.put(&Scope::Client, key, Some(codec::encode(Kind::LastResort, &known, 0)?));
    Ok(())
}

/// The key package of this reference goes.
pub(super) fn forget(storage: &TransactionStorage, reference: &[u8]) {
    let key = Kind::LastResort.with(&records::digest(reference));
    if storage.get(&Scope::Client, &key).is_some() {
        storage.put(&Scope::Client, key, None);
    }
}
