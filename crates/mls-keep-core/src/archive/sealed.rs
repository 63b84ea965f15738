//! The chunks of an archive: what is written to the file and read from it.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::header;
use crate::envelope::{CHUNK_LEN, ChunkOpener, ChunkSealer, TAG_LEN};
use crate::error::{Error, ErrorKind, Result};
use crate::secret_vec::SecretVec;

/// Where an archive is read from: a file, or its bytes in memory.
pub trait ArchiveFile: Read + Seek + Send + Sync {}

impl<F: Read + Seek + Send + Sync> ArchiveFile for F {}

/// Where the bytes of an archive go.
pub(super) struct Sink<'o> {
    out: &'o mut (dyn Write + Send),
    /// Bytes written to it.
    len: u64,
    /// A write has failed.
    broken: bool,
}

/// Seals plaintext, a chunk at a time.
pub(super) struct Sealing {
    sealer: ChunkSealer,
    chunk: SecretVec,
}

/// Opens the chunk that is read from.
pub(super) struct SealedReader {
    file: Box<dyn ArchiveFile>,
    opener: ChunkOpener,
    /// Of the file.
    len: u64,
    /// Of the plaintext.
    plain_len: u64,
    /// Where the next read begins, in the plaintext.
    at: u64,
    /// The number of `chunk`.
    number: Option<u64>,
    chunk: SecretVec,
    sealed: Vec<u8>,
    /// Where the file stands, if that is known.
    file_at: Option<u64>,
}

impl<'o> Sink<'o> {
    pub(super) fn new(out: &'o mut (dyn Write + Send), header: &[u8; header::LEN]) -> Result<Self> {
        let mut sink = Self { out, len: 0, broken: false };
        sink.write(header)?;
        Ok(sink)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.broken {
            return Err(Error::new(ErrorKind::Poisoned, "a part of the archive could not be written"));
        }
        let written = self.out.write_all(bytes).map_err(unwritable);
        self.len += bytes.len() as u64;
        // What would follow a gap is not written.
        self.broken = written.is_err();
        written
    }

    /// Returns the length of the archive.
    pub(super) fn finish(self) -> Result<u64> {
        self.out.flush().map_err(unwritable)?;
        Ok(self.len)
    }
}

impl Sealing {
    pub(super) fn new(sealer: ChunkSealer) -> Self {
        Self { sealer, chunk: SecretVec::with_capacity(CHUNK_LEN + TAG_LEN) }
    }

    /// Seals what fills a chunk onto the end of `sealed`, and keeps the rest.
    pub(super) fn push(&mut self, mut bytes: &[u8], sealed: &mut Vec<u8>) -> Result<()> {
        while !bytes.is_empty() {
            let room = (CHUNK_LEN - self.chunk.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            self.chunk.extend_from_slice(now);
            bytes = rest;
            if self.chunk.len() == CHUNK_LEN {
                self.finish(sealed)?;
            }
        }
        Ok(())
    }

    /// Seals the last chunk, which is shorter than the others.
    pub(super) fn finish(&mut self, sealed: &mut Vec<u8>) -> Result<()> {
        self.sealer.seal(&mut self.chunk)?;
        sealed.extend_from_slice(&self.chunk);
        self.chunk.clear();
        Ok(())
    }
}

impl SealedReader {
    /// Reads the chunks behind the header of `file`, which is `len` bytes long.
    pub(super) fn new(file: Box<dyn ArchiveFile>, opener: ChunkOpener, len: u64) -> Result<Self> {
        let sealed = len.checked_sub(header::LEN as u64).ok_or_else(cut)?;
        let (whole, last) = (sealed / SEALED_LEN, sealed % SEALED_LEN);
        let last = last.checked_sub(TAG_LEN as u64).ok_or_else(cut)?;
        let plain_len = whole * CHUNK_LEN as u64 + last;
        Ok(Self {
            file,
            opener,
            len,
            plain_len,
            at: 0,
            number: None,
            chunk: SecretVec::with_capacity(CHUNK_LEN),
            sealed: vec![0; SEALED_LEN as usize],
            file_at: None,
        })
    }

    /// Length of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where the next read begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.plain_len
    }

    pub(super) fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// Reads just as many bytes as `out` has.
    pub(super) fn read(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let chunk = self.load(self.at / CHUNK_LEN as u64)?;
            let from = (self.at % CHUNK_LEN as u64) as usize;
            let there = self.chunk.get(from..chunk).filter(|there| !there.is_empty()).ok_or_else(ends_early)?;
            let count = there.len().min(out.len());
            let (now, rest) = out.split_at_mut(count);
            now.copy_from_slice(there.get(..count).unwrap_or_default());
            out = rest;
            self.at += count as u64;
        }
        Ok(())
    }

    /// Opens the last chunk if it was not: an archive that ends at the end of a chunk has an empty one behind it.
    pub(super) fn check_end(&mut self) -> Result<()> {
        self.load(self.plain_len / CHUNK_LEN as u64).map(drop)
    }

    /// Opens the chunk of this number, and returns its length.
    fn load(&mut self, number: u64) -> Result<usize> {
        if self.number == Some(number) {
            return Ok(self.chunk.len());
        }
        let start = header::LEN as u64 + number * SEALED_LEN;
        let len = self.len.saturating_sub(start).min(SEALED_LEN) as usize;
        let sealed = self.sealed.get_mut(..len).unwrap_or_default();
        if self.file_at != Some(start) {
            self.file_at = None;
            self.file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        }
        self.file_at = None;
        self.file.read_exact(sealed).map_err(unreadable)?;
        self.file_at = Some(start + len as u64);
        self.number = None;
        self.chunk.clear();
        let opened = self.opener.open(number, sealed, &mut self.chunk);
        opened
            .map_err(|_| Error::new(ErrorKind::Corrupt, "the archive is damaged, cut short, or longer than it was"))?;
        self.number = Some(number);
        Ok(self.chunk.len())
    }
}

/// Length of a chunk in the file, but for the last.
const SEALED_LEN: u64 = (CHUNK_LEN + TAG_LEN) as u64;

pub(super) fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => cut(),
        kind => Error::new(kind.into(), "the archive cannot be read").with_source(error),
    }
}

fn unwritable(error: io::Error) -> Error {
    Error::new(error.kind().into(), "the archive cannot be written").with_source(error)
}

fn cut() -> Error {
    Error::new(ErrorKind::Corrupt, "the archive is cut short")
}

fn ends_early() -> Error {
    Error::new(ErrorKind::Corrupt, "the archive ends before its last frame")
}
