//! Sealing of nodes: a pointer, 32 random bytes, gives a node's storage name and its key.
//!
//! `HKDF-Expand-SHA256(pointer, "mls-keep node v1")` (RFC 5869) is name(20) || AES-256 key(32) || nonce(12), and a node is
//! stored as ciphertext || tag(16). A pointer is used for one ciphertext only, so neither salt nor nonce can repeat and
//! none is stored; without the pointer the name is as random as the bytes behind it.

use aes_gcm::Aes256Gcm;
use zeroize::Zeroizing;

use super::body::{KEY_LEN, NONCE_LEN, OpenError, TAG_LEN, cipher, expand_sha256, open_onto, seal_in_place};
use crate::error::Result;
use crate::secret_vec::SecretVec;

const NAME_LEN: usize = 20;
const INFO: &[u8] = b"mls-keep node v1";

/// What a stored node is longer than its plaintext, bytes.
pub(crate) const NODE_OVERHEAD: usize = TAG_LEN;

/// The name under which the node of `pointer` is stored.
pub(crate) fn node_name(pointer: &[u8; KEY_LEN]) -> [u8; NAME_LEN] {
    let mut name = [0; NAME_LEN];
    // The first bytes of an expansion do not depend on its length, and one block costs half of two.
    expand_sha256(pointer, &[INFO], &mut name);
    name
}

/// Seals a padded node in its own buffer; one with room for [`NODE_OVERHEAD`] more bytes is not copied. The pointer
/// must be fresh: two nodes under one pointer give away both.
///
/// # Errors
/// `Internal` if the node is over 64 GiB.
pub(crate) fn seal_node(pointer: &[u8; KEY_LEN], mut padded: SecretVec) -> Result<Vec<u8>> {
    let keys = NodeKeys::derive(pointer);
    let tag = seal_in_place(&keys.cipher, &keys.nonce, &mut padded)?;
    // From here on the buffer holds ciphertext only, so growing it leaves nothing behind.
    padded.extend_from_slice(&tag);
    Ok(std::mem::take(&mut *padded))
}

/// Opens a stored node.
pub(crate) fn open_node(pointer: &[u8; KEY_LEN], stored: &[u8]) -> Result<SecretVec, OpenError> {
    let len = stored.len().checked_sub(TAG_LEN).ok_or(OpenError::Length)?;
    let keys = NodeKeys::derive(pointer);
    let mut padded = SecretVec::with_capacity(len);
    open_onto(&keys.cipher, &keys.nonce, stored, &mut padded)?;
    Ok(padded)
}

/// What a pointer expands to behind the name.
struct NodeKeys {
    cipher: Aes256Gcm,
    nonce: Zeroizing<[u8; NONCE_LEN]>,
}

impl NodeKeys {
    fn derive(pointer: &[u8; KEY_LEN]) -> Self {
        let mut okm = Zeroizing::new([0; NAME_LEN + KEY_LEN + NONCE_LEN]);
        expand_sha256(pointer, &[INFO], okm.as_mut_slice());
        let (_name, rest) = okm.split_at(NAME_LEN);
        let (key, nonce) = rest.split_at(KEY_LEN);
        let mut keys = Self { cipher: cipher(key), nonce: Zeroizing::new([0; NONCE_LEN]) };
        keys.nonce.copy_from_slice(nonce);
        keys
    }
}
