//! A [`body`](super::body) that is sealed and opened chunk by chunk, so that one of any length takes the memory of a chunk.
//!
//! Chunks are of [`CHUNK_LEN`] bytes of plaintext, and the last one is shorter, be it empty. Each opens under its number
//! alone, so a body can also be read from its middle.

use super::body::{BodyKeys, COMMITMENT_LEN, KEY_LEN, OpenError, SALT_LEN, expand_sha256, open_onto, seal_in_place};
use crate::entropy::Entropy;
use crate::error::Result;
use crate::secret_vec::SecretVec;

pub(crate) use super::body::{CHUNK_LEN, TAG_LEN};

/// Length of what stands before the first chunk: salt and commitment.
pub(crate) const HEAD_LEN: usize = SALT_LEN + COMMITMENT_LEN;

/// Seals the chunks of one body, in their order.
pub(crate) struct ChunkSealer {
    keys: BodyKeys,
    number: u64,
}

/// Opens the chunks of one body, in any order.
pub(crate) struct ChunkOpener {
    keys: BodyKeys,
}

impl ChunkSealer {
    /// A new body under a fresh salt, and what stands before its chunks.
    ///
    /// # Errors
    /// Any error of `entropy`, unchanged.
    pub(crate) fn new(
        input_key: &[u8; KEY_LEN],
        context: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<(Self, [u8; HEAD_LEN])> {
        let mut salt = [0; SALT_LEN];
        entropy.fill(&mut salt)?;
        let keys = BodyKeys::derive(expand_sha256, input_key, &salt, context);
        let mut head = [0; HEAD_LEN];
        for (to, from) in head.iter_mut().zip(salt.iter().chain(&keys.commitment)) {
            *to = *from;
        }
        Ok((Self { keys, number: 0 }, head))
    }

    /// Seals the next chunk in place and appends its tag. All but the last have [`CHUNK_LEN`] bytes.
    ///
    /// # Errors
    /// None for chunks of that length.
    pub(crate) fn seal(&mut self, chunk: &mut Vec<u8>) -> Result<()> {
        let tag = seal_in_place(&self.keys.cipher, &self.keys.nonce(self.number), chunk)?;
        self.number += 1;
        chunk.extend_from_slice(&tag);
        Ok(())
    }
}

impl ChunkOpener {
    /// The body with this head.
    ///
    /// # Errors
    /// `Commitment` if it was sealed under another key, or in another place.
    pub(crate) fn new(
        input_key: &[u8; KEY_LEN],
        context: &[u8],
        head: &[u8; HEAD_LEN],
    ) -> std::result::Result<Self, OpenError> {
        let (salt, commitment) = head.split_at(SALT_LEN);
        let salt = salt.try_into().map_err(|_| OpenError::Length)?;
        let keys = BodyKeys::derive(expand_sha256, input_key, salt, context);
        if !keys.commits_to(commitment) {
            return Err(OpenError::Commitment);
        }
        Ok(Self { keys })
    }

    /// Opens the chunk of this number onto the end of `plaintext`, which has the room.
    pub(crate) fn open(
        &self,
        number: u64,
        sealed: &[u8],
        plaintext: &mut SecretVec,
    ) -> std::result::Result<(), OpenError> {
        open_onto(&self.keys.cipher, &self.keys.nonce(number), sealed, plaintext)
    }
}
