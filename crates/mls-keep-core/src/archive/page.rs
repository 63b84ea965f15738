//! Pages: the plaintext of an archive, compressed piece by piece.
//!
//! Each is compressed alone, so that reading can begin at any of them, and with what leaves no plaintext in its own memory.

use sha2::{Digest as _, Sha256};

use super::sealed::{SealedReader, Sealing, Sink};
use crate::envelope::CHUNK_LEN;
use crate::error::{Error, ErrorKind, Result};
use crate::helper::Helper;
use crate::limits::MAX_NODE_LEN;
use crate::map::{Packer, Unpacker};
use crate::secret_vec::SecretVec;

/// Longest page before compression, bytes.
const MAX_LEN: usize = MAX_NODE_LEN;
/// How much is compressed and sealed at once, bytes: whole pages.
const PIECE_LEN: usize = 8 * MAX_LEN;
/// How it is packed, its length, and the length of what follows.
const HEAD_LEN: usize = 9;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// SHA-256 of all that was written or read so far.
pub(super) type Digest = [u8; 32];

/// Compresses and seals what is written to it.
pub(super) struct PageWriter<'o> {
    sink: Sink<'o>,
    helper: Helper<Piece, Vec<u8>>,
    /// Plaintext that the helper does not have yet, at most [`PIECE_LEN`] bytes.
    plaintext: SecretVec,
    sha256: Hasher,
}

/// What the helper gets at once: whole pages, or the last ones.
struct Piece {
    plaintext: SecretVec,
    is_last: bool,
}

/// Makes sealed bytes of plaintext, page by page.
struct PageSealing {
    packer: Packer,
    sealing: Sealing,
}

/// Decompresses the page that is read from.
pub(super) struct PageReader {
    input: SealedReader,
    unpacker: Unpacker,
    page: SecretVec,
    packed: SecretVec,
    /// Where `page` begins in `input`, and where the next one does.
    start: u64,
    next: u64,
    /// Where in `page` the next read begins.
    at: usize,
    /// Of what was read one after the other, while that is asked for.
    sha256: Option<Hasher>,
}

/// SHA-256 that leaves no plaintext in memory: what does not fill a block waits here, and not in a state that is copied about.
struct Hasher {
    blocks: Sha256,
    rest: SecretVec,
}

/// A place in the plaintext of an archive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Position {
    page: u64,
    within: u32,
}

/// Length of a block of SHA-256, bytes.
const BLOCK_LEN: usize = 64;

impl Hasher {
    fn new() -> Self {
        Self { blocks: Sha256::new(), rest: SecretVec::with_capacity(BLOCK_LEN) }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        if !self.rest.is_empty() {
            let (now, later) = bytes.split_at((BLOCK_LEN - self.rest.len()).min(bytes.len()));
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() < BLOCK_LEN {
                return;
            }
            self.blocks.update(self.rest.as_slice());
            self.rest.clear();
        }
        let (blocks, rest) = bytes.split_at(bytes.len() / BLOCK_LEN * BLOCK_LEN);
        self.blocks.update(blocks);
        self.rest.extend_from_slice(rest);
    }

    fn digest(&self) -> Digest {
        let mut all = Box::new(self.blocks.clone());
        all.update(self.rest.as_slice());
        let digest = all.finalize_reset().into();
        // What did not fill a block is still in its memory.
        all.update([0; BLOCK_LEN - 1]);
        digest
    }
}

impl<'o> PageWriter<'o> {
    pub(super) fn new(sink: Sink<'o>, sealing: Sealing) -> Result<Self> {
        let mut sealing = PageSealing { packer: Packer::new()?, sealing };
        let helper = Helper::new(move |piece: Piece| sealing.seal(&piece));
        Ok(Self { sink, helper, plaintext: Self::buffer(), sha256: Hasher::new() })
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.sha256.update(bytes);
        while !bytes.is_empty() {
            let room = (PIECE_LEN - self.plaintext.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            self.plaintext.extend_from_slice(now);
            bytes = rest;
            if self.plaintext.len() == PIECE_LEN {
                let plaintext = std::mem::replace(&mut self.plaintext, Self::buffer());
                self.give(Piece { plaintext, is_last: false })?;
            }
        }
        Ok(())
    }

    pub(super) fn digest(&self) -> Digest {
        self.sha256.digest()
    }

    /// Writes all pages that are full.
    pub(super) fn flush(&mut self) -> Result<()> {
        let full = self.plaintext.len() / MAX_LEN * MAX_LEN;
        if full > 0 {
            let mut rest = Self::buffer();
            rest.extend_from_slice(self.plaintext.get(full..).unwrap_or_default());
            let mut plaintext = std::mem::replace(&mut self.plaintext, rest);
            plaintext.truncate(full);
            self.give(Piece { plaintext, is_last: false })?;
        }
        while let Some(sealed) = self.helper.wait() {
            self.sink.write(&sealed?)?;
        }
        Ok(())
    }

    /// Writes what is left. Returns the length of the archive.
    pub(super) fn finish(mut self) -> Result<u64> {
        let plaintext = std::mem::take(&mut self.plaintext);
        self.give(Piece { plaintext, is_last: true })?;
        self.flush()?;
        self.sink.finish()
    }

    fn give(&mut self, piece: Piece) -> Result<()> {
        self.helper.give(piece);
        while let Some(sealed) = self.helper.take() {
            self.sink.write(&sealed?)?;
        }
        Ok(())
    }

    fn buffer() -> SecretVec {
        SecretVec::with_capacity(PIECE_LEN)
    }
}

impl PageSealing {
    fn seal(&mut self, piece: &Piece) -> Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(piece.plaintext.len() + CHUNK_LEN);
        for page in piece.plaintext.chunks(MAX_LEN) {
            let packed = self.packer.pack_one_of_many(page)?;
            let (method, bytes) = match &packed {
                Some(packed) => (ZSTD, packed.as_slice()),
                None => (PLAIN, page),
            };
            self.sealing.push(&[method], &mut sealed)?;
            self.sealing.push(&(page.len() as u32).to_be_bytes(), &mut sealed)?;
            self.sealing.push(&(bytes.len() as u32).to_be_bytes(), &mut sealed)?;
            self.sealing.push(bytes, &mut sealed)?;
        }
        if piece.is_last {
            self.sealing.finish(&mut sealed)?;
        }
        Ok(sealed)
    }
}

impl PageReader {
    pub(super) fn new(input: SealedReader) -> Result<Self> {
        Ok(Self {
            input,
            unpacker: Unpacker::new()?,
            page: SecretVec::default(),
            packed: SecretVec::with_capacity(MAX_LEN),
            start: 0,
            next: 0,
            at: 0,
            sha256: Some(Hasher::new()),
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
        self.sha256.as_ref().map(Hasher::digest)
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
            PLAIN if packed_len == len => SecretVec::new(self.packed.to_vec()),
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
