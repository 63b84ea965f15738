//! The keys of MLS records: which record stands where. This is the only place that knows.
//!
//! A record key is a kind byte, followed by what tells records of one kind apart. Integers are big-endian, so that
//! the order of the keys is the order of the list. *Encoded* is the MessagePack encoding of the key that OpenMLS
//! gives, bare; if it is longer than [`MAX_ENCODED`] bytes, `c1` (which no MessagePack value begins with) and its
//! SHA-256 stand in its place.
//!
//! | kind | record | in scope | after the kind byte |
//! |---|---|---|---|
//! | `10` | MessageSecrets | group | |
//! | `11` | GroupState | group | |
//! | `12` | GroupContext | group | |
//! | `13` | InterimTranscriptHash | group | |
//! | `14` | ConfirmationTag | group | |
//! | `15` | GroupEpochSecrets | group | |
//! | `16` | OwnLeafIndex | group | |
//! | `17` | ResumptionPskStore | group | |
//! | `18` | JoinConfig | group | |
//! | `19` | Tree | group | |
//! | `1a` | OwnLeafNode | group | position in the list (u32) |
//! | `1b` | QueuedProposal | group | position in the queue (u32) |
//! | `1c` | EpochKeyPairs | group | encoded epoch, leaf index (u32) |
//! | `1d` | EncryptionKeyPair | group, or client while it belongs to no group | encoded public key |
//! | `1e` | ApplicationExportTree | group | |
//! | `1f` | VcEmulationBindings | group | |
//! | `20` | RegisteredVcEmulationEpoch | group | |
//! | `28` | SignatureKeyPair | client | encoded public key |
//! | `29` | KeyPackage | client | encoded hash reference |
//! | `2a` | Psk | client | encoded PSK id |
//! | `2b` | VcEmulationEpochState | client | encoded epoch id |
//! | `2c` | VcOperationTree | client | encoded epoch id |
//! | `2d` | RetainedKeyPackageMaterial | client | encoded hash reference |
//!
//! A QueuedProposal holds the pair of its reference and the proposal, a RetainedKeyPackageMaterial the pair of its
//! epoch id and the material. All other kinds are not MLS records: `01` to `0f` and `30` to `ff` are free for what
//! stands beside them.

use std::ops::Bound;

use mls_keep_core::{Result, SecretBytes};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::codec;

/// Longest encoded key that stands in a record key as it is, bytes.
const MAX_ENCODED: usize = 200;

/// Begins the digest of a longer one: the one byte that MessagePack never uses.
const DIGEST_MARKER: u8 = 0xc1;

/// What a record is; its number is the first byte of the record's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Kind {
    MessageSecrets = 0x10,
    GroupState = 0x11,
    GroupContext = 0x12,
    InterimTranscriptHash = 0x13,
    ConfirmationTag = 0x14,
    GroupEpochSecrets = 0x15,
    OwnLeafIndex = 0x16,
    ResumptionPskStore = 0x17,
    JoinConfig = 0x18,
    Tree = 0x19,
    OwnLeafNode = 0x1a,
    QueuedProposal = 0x1b,
    EpochKeyPairs = 0x1c,
    EncryptionKeyPair = 0x1d,
    #[cfg(feature = "extensions-draft")]
    ApplicationExportTree = 0x1e,
    #[cfg(feature = "virtual-clients-draft")]
    VcEmulationBindings = 0x1f,
    #[cfg(feature = "virtual-clients-draft")]
    RegisteredVcEmulationEpoch = 0x20,
    SignatureKeyPair = 0x28,
    KeyPackage = 0x29,
    Psk = 0x2a,
    #[cfg(feature = "virtual-clients-draft")]
    VcEmulationEpochState = 0x2b,
    #[cfg(feature = "virtual-clients-draft")]
    VcOperationTree = 0x2c,
    RetainedKeyPackageMaterial = 0x2d,
}

/// First and last kind of the records that one group consists of, whatever features wrote them.
pub(crate) const GROUP_KINDS: (u8, u8) = (0x10, 0x20);

/// The key of the only record of its kind in a scope.
pub(crate) fn only(kind: Kind) -> SecretBytes {
    (&[kind as u8]).into()
}

/// The key of an item of a list.
pub(crate) fn item(kind: Kind, position: u32) -> SecretBytes {
    SecretBytes::concat(&[&[kind as u8], &position.to_be_bytes()])
}

/// Where in its list the item with this key stands.
pub(crate) fn position(key: &[u8]) -> Option<u32> {
    let (_kind, position) = key.split_first()?;
    Some(u32::from_be_bytes(position.try_into().ok()?))
}

/// The key of a record that OpenMLS addresses by a key of its own, which is `encoded`.
pub(crate) fn by_encoded(kind: Kind, encoded: &[u8]) -> SecretBytes {
    with_encoded(kind, encoded, &[])
}

/// The key of the key pairs of an epoch.
pub(crate) fn epoch_key_pairs(epoch: &impl Serialize, leaf_index: u32) -> Result<SecretBytes> {
    Ok(with_encoded(Kind::EpochKeyPairs, &codec::encode_key(epoch)?, &leaf_index.to_be_bytes()))
}

/// All keys that begin with a kind of `first..=last`.
pub(crate) fn range<'a>(first: &'a [u8; 1], after: &'a [u8; 1]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(first), Bound::Excluded(after))
}

fn with_encoded(kind: Kind, encoded: &[u8], rest: &[u8]) -> SecretBytes {
    if encoded.len() <= MAX_ENCODED {
        SecretBytes::concat(&[&[kind as u8], encoded, rest])
    } else {
        SecretBytes::concat(&[&[kind as u8, DIGEST_MARKER], &Sha256::digest(encoded), rest])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_the_order_of_the_list() {
        let mut keys: Vec<_> = [256, 2, u32::MAX, 0, 65_536].map(|at| item(Kind::QueuedProposal, at)).into();
        keys.sort();
        let positions: Vec<_> = keys.iter().map(|key| position(key).unwrap()).collect();
        assert_eq!(positions, [0, 2, 256, 65_536, u32::MAX]);
    }

    #[test]
    fn a_long_key_is_replaced_by_its_digest() {
        let long = by_encoded(Kind::Psk, &[0x81; MAX_ENCODED + 1]);
        assert_eq!(by_encoded(Kind::Psk, &[0x81; MAX_ENCODED]).len(), 1 + MAX_ENCODED);
        assert_eq!(long.len(), 1 + 1 + 32);
        assert_eq!(long[..2], [0x2a, DIGEST_MARKER]);
        assert_ne!(long, by_encoded(Kind::Psk, &[0x82; MAX_ENCODED + 1]));
    }
}
