//! [`Packer`] and [`Unpacker`]: zstd, which leaves no plaintext in its own memory.
//!
//! zstd collects the literals of a block, the bytes that it found nowhere before, in a buffer of its context, and keeps
//! them there until the next block. Making a context for each node would cost more than all else, so what is kept is
//! written over instead: the context is given another block that fills the same buffer. What remains are its tables, of
//! positions and of how often each byte occurs.

use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_NODE_LEN;
use crate::secret_vec::SecretVec;

/// On OpenMLS state a higher level stores no less (docs/decisions/0003-node-sizes.md).
const ZSTD_LEVEL: i32 = 1;

/// What zstd adds to a block that it cannot compress is far less.
const OVERHEAD: usize = 256;

/// Compresses nodes, and what is as long as they are.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    scratch: Vec<u8>,
    /// Literals of a block of this length are in the compressor's memory; 0 if there are none.
    unwiped: usize,
}

/// Decompresses nodes.
pub(crate) struct Unpacker {
    decompressor: Decompressor<'static>,
    scratch: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> Result<Self> {
        let compressor = Compressor::new(ZSTD_LEVEL).map_err(unusable)?;
        Ok(Self { compressor, scratch: vec![0; MAX_NODE_LEN + OVERHEAD], unwiped: 0 })
    }

    /// `None` if compression does not make it shorter. `node` has at most [`MAX_NODE_LEN`] bytes.
    pub(crate) fn pack(&mut self, node: &[u8]) -> Result<Option<SecretVec>> {
        let packed = self.pack_one_of_many(node)?;
        self.wipe()?;
        Ok(packed)
    }

    /// As [`pack`](Self::pack). What it leaves in memory is wiped with what follows: by the next one of another length, or when
    /// this is dropped. Of blocks that are all as long, none is wiped by itself.
    pub(crate) fn pack_one_of_many(&mut self, block: &[u8]) -> Result<Option<SecretVec>> {
        if self.unwiped != block.len() {
            self.wipe()?;
        }
        let mut packed = SecretVec::new(vec![0; block.len()]);
        self.unwiped = block.len();
        // A target as long as the block: what does not fit is not shorter.
        let result = self.compressor.compress_to_buffer(block, packed.as_mut_slice());
        match result {
            Ok(len) if len < block.len() => {
                packed.truncate(len);
                Ok(Some(packed))
            }
            _ => Ok(None),
        }
    }

    /// Where the literals are depends on the length of the block, so a block of the same length covers them. All of it is
    /// literals, since nothing repeats in it.
    fn wipe(&mut self) -> Result<()> {
        let len = std::mem::take(&mut self.unwiped);
        if len > 0 {
            let noise = NOISE.get(..len).unwrap_or(NOISE.as_slice());
            self.compressor.compress_to_buffer(noise, self.scratch.as_mut_slice()).map_err(unusable)?;
        }
        Ok(())
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        drop(self.wipe());
    }
}

impl Unpacker {
    pub(crate) fn new() -> Result<Self> {
        let decompressor = Decompressor::new().map_err(unusable)?;
        Ok(Self { decompressor, scratch: vec![0; ZEROS_LEN] })
    }

    /// `None` if `packed` is not the compressed form of `len` bytes. `len` is at most [`MAX_NODE_LEN`].
    pub(crate) fn unpack(&mut self, packed: &[u8], len: usize) -> Result<Option<SecretVec>> {
        let mut node = SecretVec::new(vec![0; len]);
        let result = self.decompressor.decompress_to_buffer(packed, node.as_mut_slice());
        // The literals of a node are at most as long as the node, and always at the beginning of the same buffer.
        self.decompressor.decompress_to_buffer(&ZEROS, self.scratch.as_mut_slice()).map_err(unusable)?;
        Ok(result.is_ok_and(|written| written == len).then_some(node))
    }
}

/// Bytes among which no four come twice (the test below looks). They are the same in every run and no secret.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        // xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    });
    words.take(MAX_NODE_LEN / 8).flat_map(u64::to_be_bytes).collect()
});

/// The length of what [`ZEROS`] decompresses to, bytes: the longest node, and what zstd may write beyond its literals.
const ZEROS_LEN: usize = MAX_NODE_LEN + 64;

/// A frame of zstd (RFC 8878 section 3.1.1) of one block without sequences, whose literals are one zero, repeated: zstd
/// writes them into the buffer before it copies them.
#[rustfmt::skip]
const ZEROS: [u8; 15] = [
    0x28, 0xb5, 0x2f, 0xfd,
    // Single segment; the length of the contents less 256 in two bytes.
    0x60, (ZEROS_LEN - 256) as u8, ((ZEROS_LEN - 256) >> 8) as u8,
    // The last block, compressed, of 5 bytes.
    1 | 2 << 1 | 5 << 3, 0, 0,
    // Literals of one byte, repeated, their number in 20 bits; the byte; no sequences.
    1 | 3 << 2 | (ZEROS_LEN << 4) as u8, (ZEROS_LEN >> 4) as u8, (ZEROS_LEN >> 12) as u8, 0, 0,
];

fn unusable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "the compressor cannot be used").with_source(error)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_wipes_the_literals_is_all_literals() {
        assert_eq!(NOISE.len(), MAX_NODE_LEN);
        let four: HashSet<&[u8]> = NOISE.windows(4).collect();
        assert_eq!(four.len(), MAX_NODE_LEN - 3);
        let mut packer = Packer::new().unwrap();
        assert!(packer.pack(&NOISE).unwrap().is_none(), "the noise was compressed");
    }

    #[test]
    fn what_wipes_the_unpacker_is_zeros() {
        let mut zeros = vec![1; ZEROS_LEN];
        let written = Decompressor::new().unwrap().decompress_to_buffer(&ZEROS, zeros.as_mut_slice()).unwrap();
        assert_eq!(written, ZEROS_LEN);
        assert!(zeros.iter().all(|byte| *byte == 0));
    }
}
