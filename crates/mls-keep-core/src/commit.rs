//! [`Commit`]: everything that one MLS operation changes in a backend.

use std::fmt;

use bytes::Bytes;

use crate::key::Key;

/// Everything that one operation changes: new nodes, the root's replacement, and nodes that go.
///
/// When [`StorageBackend::commit`](crate::StorageBackend::commit) returns `Ok`, all of it is durable. Until then whoever
/// loads the root sees the old root with all of its nodes.
#[derive(Clone)]
pub struct Commit {
    /// New immutable nodes. A key is used for one value only, so repeating a put is harmless.
    pub puts: Vec<(Key, Bytes)>,
    /// The commit point.
    pub swap: Swap,
    /// Nodes that the new root no longer names. Deleting what is absent is no error.
    pub deletes: Vec<Key>,
}

/// The compare-and-swap of a root.
#[derive(Clone)]
pub struct Swap {
    /// The root's key.
    pub key: Key,
    /// The root that the commit was made from; `None` if there must be none.
    pub expected: Option<Bytes>,
    /// The root that takes its place; `None` removes the root.
    pub replacement: Option<Bytes>,
}

impl Commit {
    /// The number of bytes that the commit stores.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        let puts: usize = self.puts.iter().map(|(_, data)| data.len()).sum();
        puts + self.swap.replacement.as_ref().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("puts", &self.puts.len())
            .field("swap", &self.swap)
            .field("deletes", &self.deletes.len())
            .finish()
    }
}

impl fmt::Debug for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swap")
            .field("key", &self.key)
            .field("expected", &self.expected.as_ref().map(Bytes::len))
            .field("replacement", &self.replacement.as_ref().map(Bytes::len))
            .finish()
    }
}
