//! [`Commit`]: everything that one MLS operation changes in a backend.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Everything that one operation changes: new nodes, the root's replacement, and removed nodes.
///
/// When [`StorageBackend::commit`](crate::StorageBackend::commit) returns `Ok`, the new nodes and the new root are durable.
/// Until then a reader of the root sees the old root with all of its nodes.
///
/// A key stands in it at most once, which the caller guarantees: not twice in `puts`, not in `puts` and `deletes`, and the
/// root's key in neither. What a backend does with another commit is not defined, except that it may be
/// [`Invalid`](ErrorKind::Invalid) with nothing applied; [`check`](Self::check) is that answer. Repeated `deletes` are
/// harmless.
#[derive(Clone)]
pub struct Commit {
    /// New immutable nodes. A key is used for one value only, so a put that an earlier commit has made is harmless.
    pub puts: Vec<(Key, Bytes)>,
    /// The commit point.
    pub swap: Swap,
    /// Nodes that the new root no longer names. Deleting what is absent is no error. Best effort, unless the backend promises
    /// [`atomic_commit`](crate::Capabilities::atomic_commit).
    pub deletes: Vec<Key>,
}

/// The compare-and-swap of a root.
///
/// A swap of unknown outcome ([`OutcomeUnknown`](ErrorKind::OutcomeUnknown)) may still take effect later, but only while the
/// stored root is `expected`. Replacements are unique bytes, so another swap on top of the same root ends that for good.
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
    /// Whether each key stands in the commit once only. Takes time and memory for a set of the keys.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a key is put twice, put and deleted, or is the root's.
    pub fn check(&self) -> Result<()> {
        let mut taken = HashSet::with_capacity(1 + self.puts.len());
        taken.insert(&self.swap.key);
        let twice = !self.puts.iter().all(|(key, _)| taken.insert(key));
        if twice || self.deletes.iter().any(|key| taken.contains(key)) {
            return Err(Error::new(ErrorKind::Invalid, "a key stands twice in a commit: correct the call"));
        }
        Ok(())
    }

    /// The number of bytes that the commit stores.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        let puts: usize = self.puts.iter().map(|(_, data)| data.len()).sum();
        puts + self.swap.replacement.as_ref().map_or(0, Bytes::len)
    }
}

impl Swap {
    /// Whether `stored`, the root as it is now, is the one that the commit was made from.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`].
    pub fn check(&self, stored: Option<&[u8]>) -> Result<()> {
        if stored == self.expected.as_deref() {
            return Ok(());
        }
        let text = "the root is not the one that the commit was made from: load it again and repeat the operation";
        Err(Error::new(ErrorKind::Conflict, text))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_in_a_commit_once() {
        let commit = |puts: &[&str], deletes: &[&str]| Commit {
            puts: puts.iter().map(|name| (Key::new(name).unwrap(), Bytes::new())).collect(),
            swap: Swap { key: Key::new("root").unwrap(), expected: None, replacement: None },
            deletes: deletes.iter().map(|name| Key::new(name).unwrap()).collect(),
        };
        commit(&["a", "b"], &["c", "d", "c"]).check().unwrap();
        commit(&[], &[]).check().unwrap();
        for (puts, deletes) in
            [(&["a", "b", "a"][..], &[][..]), (&["a"], &["b", "a"]), (&["root"], &[]), (&["a"], &["root"])]
        {
            let refused = commit(puts, deletes).check().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{puts:?} {deletes:?}");
        }
    }
}
