//! [`SecretVec`]: plaintext that is being put together.

use std::fmt;
use std::ops::{Deref, DerefMut};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Plaintext that grows within its capacity, and is wiped when it is dropped. `Zeroizing<Vec<u8>>` would wipe one byte after the
/// other, which takes as long as decrypting them.
#[derive(Default, Eq, PartialEq)]
pub(crate) struct SecretVec(Vec<u8>);

impl SecretVec {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }
}

impl Drop for SecretVec {
    fn drop(&mut self) {
        // Within the capacity, so that nothing moves: what is behind the end is wiped, too.
        self.0.resize(self.0.capacity(), 0);
        self.0.as_mut_slice().zeroize();
    }
}

impl ZeroizeOnDrop for SecretVec {}

impl Deref for SecretVec {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for SecretVec {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl fmt::Debug for SecretVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretVec({} bytes)", self.0.len())
    }
}
