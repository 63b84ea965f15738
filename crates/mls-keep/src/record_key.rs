//! The keys of the records that stand beside those of OpenMLS (`provider::record_key`).
//!
//! | kind | record | in scope | after the kind byte |
//! |---|---|---|---|
//! | `01` | client: credential, ciphersuite, settings | client | |
//! | `02` | group: numbers of its next message and next outgoing message | group | |
//! | `30` | message of the history | group | number (u64) |
//! | `31` | received message | group | first 16 bytes of the message's SHA-256 |
//! | `32` | message of the outbox | group | number (u64) |
//! | `38` | group of the client: name | client | group id |
//! | `80` | record of the application | both | key |
//!
//! Kinds up to `2f` are loaded with their scope, the others are read when they are asked for.

use mls_keep_core::SecretBytes;
use sha2::{Digest, Sha256};

/// The last kind that is loaded with its scope.
pub(crate) const LAST_LOADED_KIND: u8 = 0x2f;

/// Whether the record with this key is loaded with its scope.
pub(crate) fn is_loaded(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| *kind <= LAST_LOADED_KIND)
}

pub(crate) const CLIENT: &[u8] = &[0x01];
pub(crate) const GROUP: &[u8] = &[0x02];
pub(crate) const HISTORY: u8 = 0x30;
const RECEIVED: u8 = 0x31;
pub(crate) const OUTGOING: u8 = 0x32;
pub(crate) const GROUP_LIST: u8 = 0x38;
pub(crate) const APPLICATION: u8 = 0x80;

/// A message of the history.
pub(crate) fn message(number: u64) -> SecretBytes {
    numbered(HISTORY, number)
}

/// A message of the outbox.
pub(crate) fn outgoing(number: u64) -> SecretBytes {
    numbered(OUTGOING, number)
}

fn numbered(kind: u8, number: u64) -> SecretBytes {
    SecretBytes::concat(&[&[kind], &number.to_be_bytes()])
}

/// The number of a message of the history or the outbox.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    let (_kind, number) = key.split_first()?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// What is remembered of a received message, the TLS encoding of an `MLSMessage`.
pub(crate) fn received(message: &[u8]) -> SecretBytes {
    let digest = Sha256::digest(message);
    SecretBytes::concat(&[&[RECEIVED], digest.get(..16).unwrap_or_default()])
}

/// A group in the client's list.
pub(crate) fn listed_group(group_id: &[u8]) -> SecretBytes {
    SecretBytes::concat(&[&[GROUP_LIST], group_id])
}

/// A record of the application.
pub(crate) fn application(key: &[u8]) -> SecretBytes {
    SecretBytes::concat(&[&[APPLICATION], key])
}
