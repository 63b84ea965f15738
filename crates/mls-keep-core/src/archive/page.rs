//! Pages: the plaintext of an archive, compressed piece by piece.
//!
//! Each is compressed alone, so that reading can begin at any of them, and with what leaves no plaintext in its own memory.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::sealed::{SealedReader, SealedWriter};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_NODE_LEN;
use crate::map::{Packer, Unpacker};

/// Longest page before compression, bytes.
const MAX_LEN: usize = MAX_NODE_LEN;
/// How it is packed, its length, and the length of what follows.
const HEAD_LEN: usize = 9;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// SHA-256 of all that was written or read so far.
pub(super) type Digest = [u8; 32];

/// Compresses what is written to it.
pub(super) struct PageWriter<'o> {
    out: SealedWriter<'o>,
    packer: Packer,
    page: Zeroizing<Vec<u8>>,
    sha256: Sha256,
}

/// Decompresses the page that is read from.
pub(super) struct PageReader {
    input: SealedReader,
    unpacker: Unpacker,
    page: Zeroizing<Vec<u8>>,
    packed: Zeroizing<Vec<u8>>,
    /// Where `page` begins in `input`, and where the next one does.
    start: u64,
    next: u64,
    /// Where in `page` the next read begins.
    at: usize,
    /// Of what was read one after the other, while that is asked for.
    sha256: Option<Sha256>,
}

/// A place in the plaintext of an archive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Position {
    page: u64,
    within: u32,
}

impl<'o> PageWriter<'o> {
    pub(super) fn new(out: SealedWriter<'o>) -> Result<Self> {
        let page = Zeroizing::new(Vec::with_capacity(MAX_LEN));
        Ok(Self { out, packer: Packer::new()?, page, sha256: Sha256::new() })
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.sha256.update(bytes);
        while !bytes.is_empty() {
            let room = (MAX_LEN - self.page.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            self.page.extend_from_slice(now);
            bytes = rest;
            if self.page.len() == MAX_LEN {
                self.pack()?;
            }
        }
        Ok(())
    }

    pub(super) fn digest(&self) -> Digest {
        self.sha256.clone().finalize().into()
    }

    /// Writes what is left. Returns the length of the archive.
    pub(super) fn finish(mut self) -> Result<u64> {
        if !self.page.is_empty() {
            self.pack()?;
        }
        self.out.finish()
    }

    fn pack(&mut self) -> Result<()> {
        let packed = self.packer.pack(&self.page)?;
        let (method, bytes) = match &packed {
            Some(packed) => (ZSTD, packed.as_slice()),
            None => (PLAIN, self.page.as_slice()),
        };
        self.out.write(&[method])?;
        self.out.write(&(self.page.len() as u32).to_be_bytes())?;
        self.out.write(&(bytes.len() as u32).to_be_bytes())?;
        self.out.write(bytes)?;
        self.page.clear();
        Ok(())
    }
}

impl PageReader {
    pub(super) fn new(input: SealedReader) -> Result<Self> {
        Ok(Self {
            input,
            unpacker: Unpacker::new()?,
            page: Zeroizing::default(),
            packed: Zeroizing::new(Vec::with_capacity(MAX_LEN)),
            start: 0,
            next: 0,
            at: 0,
            sha256: Some(Sha256::new()),
        })
    }

    /// Length of the file.
    pub(super) fn len(&self) -> u64 {
        self.input.len()
    }

    /// About how much of the file was read one after the other, bytes.
    pub(super) fn read_len(&self) -> u64 {
        self.input.at()
    }

    /// Where the next read begins.
    pub(super) fn position(&self) -> Position {
        match self.at == self.page.len() {
            true => Position { page: self.next, within: 0 },
            false => Position { page: self.start, within: self.at as u32 },
        }
    }

    /// Goes on at a place where a read has begun before.
    pub(super) fn seek(&mut self, position: Position) -> Result<()> {
        if position.page != self.start || self.page.is_empty() {
            self.input.seek(position.page);
            self.next = position.page;
            self.unpack()?;
        }
        self.at = position.within as usize;
        Ok(())
    }

    /// Reads just as many bytes as `out` has.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<()> {
        let mut out = out;
        while !out.is_empty() {
            let count = self.there()?.len().min(out.len());
            let (now, rest) = out.split_at_mut(count);
            now.copy_from_slice(self.page.get(self.at..self.at + count).unwrap_or_default());
            self.pass(count);
            out = rest;
        }
        Ok(())
    }

    /// Reads `len` bytes and keeps nothing of them.
    pub(super) fn skip(&mut self, mut len: usize) -> Result<()> {
        while len > 0 {
            let count = self.there()?.len().min(len);
            self.pass(count);
            len -= count;
        }
        Ok(())
    }

    /// SHA-256 of all that was read so far, if all of it was read one after the other.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.sha256.as_ref().map(|sha256| sha256.clone().finalize().into())
    }

    /// From here on, reads may be anywhere.
    pub(super) fn end_digest(&mut self) {
        self.sha256 = None;
    }

    /// Whether everything was read. The last chunk was opened then, whatever is in it.
    pub(super) fn is_at_end(&mut self) -> Result<bool> {
        self.input.check_end()?;
        Ok(self.at == self.page.len() && self.input.is_at_end())
    }

    /// What is left of the page, or the next one.
    fn there(&mut self) -> Result<&[u8]> {
        if self.at == self.page.len() {
            self.unpack()?;
        }
        Ok(self.page.get(self.at..).unwrap_or_default())
    }

    fn pass(&mut self, count: usize) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(self.page.get(self.at..self.at + count).unwrap_or_default());
        }
        self.at += count;
    }

    fn unpack(&mut self) -> Result<()> {
        self.start = self.next;
        self.input.seek(self.start);
        let mut head = [0; HEAD_LEN];
        self.input.read(&mut head)?;
        let [method, a, b, c, d, e, f, g, h] = head;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let packed_len = u32::from_be_bytes([e, f, g, h]) as usize;
        if len == 0 || len > MAX_LEN || packed_len > len {
            return Err(Error::new(ErrorKind::Corrupt, "a page of the archive is over its limit"));
        }
        self.packed.resize(packed_len, 0);
        self.input.read(&mut self.packed)?;
        self.page = match method {
            PLAIN if packed_len == len => Zeroizing::new(self.packed.to_vec()),
            ZSTD => self
                .unpacker
                .unpack(&self.packed, len)?
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a page of the archive does not unpack to its length"))?,
            _ => return Err(Error::new(ErrorKind::Corrupt, "a page of the archive is packed in an unknown way")),
        };
        self.next = self.input.at();
        self.at = 0;
        Ok(())
    }
}
