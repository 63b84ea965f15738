//! Big-endian reading and writing of our own formats (docs/format.md). Reading checks every length before it takes
//! memory.

use crate::error::{Error, ErrorKind, Result};
use crate::secret_vec::SecretVec;

/// Writes into one buffer that is wiped when dropped. What is written should have been reserved: growing copies, and wipes
/// what it leaves behind.
pub(crate) struct Writer {
    bytes: SecretVec,
}

impl Writer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: SecretVec::with_capacity(capacity) }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.grow(bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let mut larger = SecretVec::with_capacity((self.bytes.len() + more).max(2 * self.bytes.capacity()));
        larger.extend_from_slice(&self.bytes);
        self.bytes = larger;
    }

    /// Appends zeros until there are `len` bytes.
    pub(crate) fn pad_to(&mut self, len: usize) {
        let len = len.max(self.bytes.len());
        if self.bytes.capacity() < len {
            self.grow(len - self.bytes.len());
        }
        self.bytes.resize(len, 0);
    }

    /// A length of 16 bits and the bytes. The caller has checked the length against a limit below 64 KiB.
    pub(crate) fn short_bytes(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= usize::from(u16::MAX));
        self.u16(bytes.len() as u16);
        self.raw(bytes);
    }

    /// A length of 32 bits and the bytes. The caller has checked the length against a limit below 4 GiB.
    pub(crate) fn long_bytes(&mut self, bytes: &[u8]) {
        debug_assert!(u32::try_from(bytes.len()).is_ok());
        self.u32(bytes.len() as u32);
        self.raw(bytes);
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn finish(self) -> SecretVec {
        self.bytes
    }
}

/// Reads a buffer from its front. Every error is [`ErrorKind::Corrupt`].
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn raw(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn short_bytes(&mut self, max: usize) -> Result<&'a [u8]> {
        let len = usize::from(self.u16()?);
        self.bounded(len, max)
    }

    pub(crate) fn long_bytes(&mut self, max: usize) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        self.bounded(len, max)
    }

    fn bounded(&mut self, len: usize, max: usize) -> Result<&'a [u8]> {
        if len > max {
            return Err(Error::new(ErrorKind::Corrupt, format!("a stored length of {len} is over its limit of {max}")));
        }
        self.raw(len)
    }

    /// A count of items that take at least `item_len` bytes each, so that no memory is taken for what cannot be there.
    pub(crate) fn count(&mut self, count: usize, item_len: usize) -> Result<usize> {
        if count.saturating_mul(item_len) > self.rest.len() {
            return Err(ends_early());
        }
        Ok(count)
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn finish(self) -> Result<()> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Error::new(ErrorKind::Corrupt, "a stored structure is followed by other bytes")),
        }
    }
}

fn ends_early() -> Error {
    Error::new(ErrorKind::Corrupt, "a stored structure ends early")
}
