//! [`SecretBytes`]: plaintext of any length that wipes itself.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::secret_vec::SecretVec;

/// Plaintext of any length: the key of a record, the name of a scope, the bytes of a value.
///
/// Cloning shares it; the bytes are wiped when the last clone is dropped. It is compared as bytes are, not in constant
/// time, and prints its length only.
///
/// ```
/// use mls_keep_core::SecretBytes;
/// let key = SecretBytes::concat(&[b"history/", b"42"]);
/// assert!(key.starts_with(b"history/"));
/// assert_eq!(format!("{key:?}"), "SecretBytes(10 bytes)");
/// ```
#[derive(Clone, Default)]
pub struct SecretBytes(Arc<SecretVec>);

impl SecretBytes {
    /// The parts one after the other, put together without a copy in between.
    #[must_use]
    pub fn concat(parts: &[&[u8]]) -> Self {
        let mut bytes = SecretVec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            bytes.extend_from_slice(part);
        }
        bytes.into()
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        SecretVec::new(bytes).into()
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        std::mem::take(&mut *bytes).into()
    }
}

impl From<SecretVec> for SecretBytes {
    fn from(bytes: SecretVec) -> Self {
        Self(Arc::new(bytes))
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for SecretBytes {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for SecretBytes {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Eq for SecretBytes {}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Ord for SecretBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl PartialOrd for SecretBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for SecretBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len())
    }
}
