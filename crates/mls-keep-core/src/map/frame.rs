//! What stands between a node's bytes and its ciphertext: compression and padding (docs/format.md, "Frame").

use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;
use zstd::bulk::{Compressor, Decompressor};

use crate::codec::{Reader, Writer};
use crate::envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_NODE_LEN;

const FRAME_VERSION: u8 = 1;
const FRAME_LEN: usize = 10;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// On OpenMLS state a higher level stores no less (docs/decisions/0003-node-sizes.md).
const ZSTD_LEVEL: i32 = 1;

/// Below this there is nothing to win.
const MIN_COMPRESSED_LEN: usize = 128;

/// Frames and unframes nodes. Keeps its compressor, since making one costs more than compressing a node.
pub(crate) struct Framer {
    compressor: Mutex<Option<Compressor<'static>>>,
    decompressor: Mutex<Option<Decompressor<'static>>>,
}

impl Framer {
    pub(crate) fn new() -> Self {
        Self { compressor: Mutex::new(None), decompressor: Mutex::new(None) }
    }

    /// Compresses and pads `node`. At most [`MAX_NODE_LEN`] bytes.
    pub(crate) fn frame(&self, node: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
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
        let mut bytes = out.finish();
        bytes.resize(padded, 0);
        Ok(bytes)
    }

    /// Undoes [`frame`](Self::frame).
    pub(crate) fn unframe(&self, frame: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let mut input = Reader::new(frame);
        let version = input.u8()?;
        if version != FRAME_VERSION {
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("a node has format version {version}")));
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
            PLAIN if packed_len == len => Ok(Zeroizing::new(packed.to_vec())),
            ZSTD => self.decompress(packed, len),
            _ => Err(Error::new(ErrorKind::Corrupt, "a node is packed in an unknown way")),
        }
    }

    /// `None` if compression does not make it shorter.
    fn compress(&self, node: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let mut slot = self.compressor.lock().unwrap_or_else(PoisonError::into_inner);
        let compressor = match &mut *slot {
            Some(compressor) => compressor,
            empty => empty.insert(Compressor::new(ZSTD_LEVEL).map_err(unusable)?),
        };
        let mut packed = Zeroizing::new(vec![0; node.len()]);
        // A target as long as the node: what does not fit is not shorter.
        match compressor.compress_to_buffer(node, packed.as_mut_slice()) {
            Ok(len) if len < node.len() => {
                packed.truncate(len);
                Ok(Some(packed))
            }
            _ => Ok(None),
        }
    }

    fn decompress(&self, packed: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
        let mut slot = self.decompressor.lock().unwrap_or_else(PoisonError::into_inner);
        let decompressor = match &mut *slot {
            Some(decompressor) => decompressor,
            empty => empty.insert(Decompressor::new().map_err(unusable)?),
        };
        let mut node = Zeroizing::new(vec![0; len]);
        match decompressor.decompress_to_buffer(packed, node.as_mut_slice()) {
            Ok(written) if written == len => Ok(node),
            _ => Err(Error::new(ErrorKind::Corrupt, "a node does not unpack to its length")),
        }
    }
}

fn unusable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "the compressor cannot be made").with_source(error)
}
