//! What stands between a node's bytes and its ciphertext: compression and padding (docs/format.md, "Frame").

use std::sync::{Mutex, PoisonError};

use super::packer::{Packer, Unpacker};
use crate::codec::{Reader, Writer};
use crate::envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_NODE_LEN;
use crate::secret_vec::SecretVec;

const FRAME_VERSION: u8 = 1;
const FRAME_LEN: usize = 10;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Below this there is nothing to win.
const MIN_COMPRESSED_LEN: usize = 128;

/// Frames and unframes nodes. Keeps its compressor, since making one costs more than compressing a node.
pub(crate) struct Framer {
    packer: Mutex<Option<Packer>>,
    unpacker: Mutex<Option<Unpacker>>,
}

impl Framer {
    pub(crate) fn new() -> Self {
        Self { packer: Mutex::new(None), unpacker: Mutex::new(None) }
    }

    /// Compresses and pads `node`. At most [`MAX_NODE_LEN`] bytes.
    pub(crate) fn frame(&self, node: &[u8]) -> Result<SecretVec> {
        if node.len() > MAX_NODE_LEN {
            return Err(Error::new(ErrorKind::Internal, "a node is over its limit"));
        }
        let compressed = if node.len() < MIN_COMPRESSED_LEN { None } else { self.compress(node)? };
        let (method, packed) = match &compressed {
            Some(packed) => (ZSTD, packed.as_slice()),
            None => (PLAIN, node),
        };
        let padded = envelope::padded_len(FRAME_LEN + packed.len());
        let mut out = Writer::with_capacity(padded + envelope::NODE_OVERHEAD);
        out.u8(FRAME_VERSION);
        out.u8(method);
        out.u32(node.len() as u32);
        out.u32(packed.len() as u32);
        out.raw(packed);
        out.pad_to(padded);
        Ok(out.finish())
    }

    /// Undoes [`frame`](Self::frame).
    pub(crate) fn unframe(&self, frame: &[u8]) -> Result<SecretVec> {
        let mut input = Reader::new(frame);
        let version = input.u8()?;
        if version != FRAME_VERSION {
            return Err(Error::newer_version("a node", version, FRAME_VERSION));
        }
        let method = input.u8()?;
        let (len, packed_len) = (input.u32()? as usize, input.u32()? as usize);
        if len > MAX_NODE_LEN || packed_len > len {
            return Err(Error::new(ErrorKind::Corrupt, "a node is over its limit"));
        }
        let packed = input.raw(packed_len)?;
        if input.rest().iter().any(|byte| *byte != 0) {
            return Err(Error::new(ErrorKind::Corrupt, "a node's padding is not zero"));
        }
        match method {
            PLAIN if packed_len == len => Ok(SecretVec::new(packed.to_vec())),
            ZSTD => self.decompress(packed, len),
            _ => Err(Error::new(ErrorKind::Corrupt, "a node is packed in an unknown way")),
        }
    }

    /// `None` if compression does not make it shorter.
    fn compress(&self, node: &[u8]) -> Result<Option<SecretVec>> {
        let mut slot = self.packer.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Some(packer) => packer.pack(node),
            empty => empty.insert(Packer::new()?).pack(node),
        }
    }

    fn decompress(&self, packed: &[u8], len: usize) -> Result<SecretVec> {
        let mut slot = self.unpacker.lock().unwrap_or_else(PoisonError::into_inner);
        let node = match &mut *slot {
            Some(unpacker) => unpacker.unpack(packed, len),
            empty => empty.insert(Unpacker::new()?).unpack(packed, len),
        }?;
        node.ok_or_else(|| Error::new(ErrorKind::Corrupt, "a node does not unpack to its length"))
    }
}
