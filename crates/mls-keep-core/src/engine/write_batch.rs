//! [`WriteBatch`]: what one call writes.

use bytes::Bytes;

use crate::commit::{Commit, Swap};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// What one call of a backend writes: a commit, or a save or delete, which is a commit without a swap.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    /// Values to store, as in [`Commit::puts`].
    pub puts: Vec<(Key, Bytes)>,
    /// The compare-and-swap of a root, if there is one.
    pub swap: Option<Swap>,
    /// Keys to remove, as in [`Commit::deletes`].
    pub deletes: Vec<Key>,
}

impl From<Commit> for WriteBatch {
    fn from(commit: Commit) -> Self {
        Self { puts: commit.puts, swap: Some(commit.swap), deletes: commit.deletes }
    }
}

impl WriteBatch {
    /// A save of one value.
    #[must_use]
    pub fn put(key: Key, data: Bytes) -> Self {
        Self { puts: vec![(key, data)], ..Self::default() }
    }

    /// A delete of one key.
    #[must_use]
    pub fn delete(key: Key) -> Self {
        Self { deletes: vec![key], ..Self::default() }
    }

    /// All values that it stores, the root last.
    pub fn stored(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        let root = self.swap.iter().filter_map(|swap| Some((&swap.key, swap.replacement.as_ref()?)));
        self.puts.iter().map(|(key, data)| (key, data)).chain(root)
    }

    /// All keys that it removes.
    pub fn removed(&self) -> impl Iterator<Item = &Key> {
        let root = self.swap.iter().filter(|swap| swap.replacement.is_none()).map(|swap| &swap.key);
        self.deletes.iter().chain(root)
    }

    /// The bytes of all values that it stores.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.stored().map(|(_, data)| data.len()).sum()
    }

    /// Whether no value is longer than `max`, the longest that an engine promises to store.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`].
    pub fn check_lengths(&self, max: usize) -> Result<()> {
        if self.stored().any(|(_, data)| data.len() > max) {
            return Err(Error::new(ErrorKind::Invalid, format!("a value is longer than {max} bytes: split it")));
        }
        Ok(())
    }
}
