//! [`Pointer`]: 32 random bytes that name one node and open it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::entropy::Entropy;
use crate::envelope;
use crate::error::Result;
use crate::secret::Secret32;

/// Length of a stored pointer, bytes.
pub(crate) const POINTER_LEN: usize = 32;

/// What a node is called in the backend, before it is written as text.
pub(crate) type NodeName = [u8; 20];

/// 32 random bytes `k`: a node's storage name and its AES key are both expanded from `k`. It is used for one ciphertext
/// only, so a node that opens under `k` is the very node that its parent meant.
pub(crate) struct Pointer {
    secret: Secret32,
    // Expanded at first use: a directory node holds a hundred pointers of which one is followed.
    name: OnceLock<NodeName>,
}

impl Pointer {
    pub(crate) fn random(entropy: &dyn Entropy) -> Result<Arc<Self>> {
        Ok(Self::new(Secret32::random(entropy)?))
    }

    pub(crate) fn from_bytes(bytes: [u8; POINTER_LEN]) -> Arc<Self> {
        Self::new(Secret32::from_bytes(bytes))
    }

    fn new(secret: Secret32) -> Arc<Self> {
        Arc::new(Self { secret, name: OnceLock::new() })
    }

    pub(crate) fn expose(&self) -> &[u8; POINTER_LEN] {
        self.secret.expose()
    }

    pub(crate) fn name(&self) -> &NodeName {
        self.name.get_or_init(|| envelope::node_name(self.secret.expose()))
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.secret.ct_eq(&other.secret)
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pointer(..)")
    }
}
