//! [`Value`]: the plaintext of one record.

use std::fmt;
use std::sync::Arc;

use super::parts::{ChunkList, Layout};
use crate::secret_bytes::SecretBytes;

/// The plaintext of one record. Cloning shares it; the bytes are wiped when the last clone goes.
///
/// A value that was loaded or committed remembers where its parts are stored, so that writing a changed value again
/// costs what changed.
#[derive(Clone)]
pub struct Value {
    bytes: SecretBytes,
    layout: Option<Arc<Layout>>,
}

impl Value {
    /// The plaintext.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn stored(bytes: SecretBytes, layout: Layout) -> Self {
        Self { bytes, layout: Some(Arc::new(layout)) }
    }

    pub(crate) fn with_layout(&self, layout: Arc<Layout>) -> Self {
        Self { bytes: self.bytes.clone(), layout: Some(layout) }
    }

    /// Whether this is the value that is stored in the parts of `list`.
    pub(crate) fn is_stored_as(&self, list: &ChunkList) -> bool {
        self.layout.as_ref().is_some_and(|layout| layout.describes(list))
    }

    pub(crate) fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref()
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        SecretBytes::from(bytes).into()
    }
}

impl From<SecretBytes> for Value {
    fn from(bytes: SecretBytes) -> Self {
        Self { bytes, layout: None }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Eq for Value {}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.bytes.len())
    }
}
