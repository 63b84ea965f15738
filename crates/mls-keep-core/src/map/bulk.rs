//! [`BulkTree`]: a map that is made from its beginning to its end, in the memory of one node a level.

use super::node::{InnerEntry, LeafEntry, Node};
use super::store::Batch;
use super::tree::{SPLIT_INNER_LEN, SPLIT_LEN, Tree};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_DEPTH;
use crate::secret_bytes::SecretBytes;

/// Takes entries in the order of their keys, and seals nodes as they fill.
#[derive(Default)]
pub(crate) struct BulkTree {
    leaf: Vec<LeafEntry>,
    leaf_len: usize,
    last: Option<SecretBytes>,
    /// The nodes that are being filled, from level 1 upwards.
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    entries: Vec<InnerEntry>,
    len: usize,
}

impl BulkTree {
    /// Adds an entry behind all others.
    ///
    /// # Errors
    /// `Corrupt` if its key does not come after the last one; those of sealing.
    pub(crate) fn push(&mut self, batch: &mut Batch<'_>, entry: LeafEntry) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| *last >= entry.key) {
            return Err(Error::new(ErrorKind::Corrupt, "records are out of order"));
        }
        let len = entry.encoded_len();
        if self.leaf_len + len > SPLIT_LEN {
            self.seal_leaf(batch)?;
        }
        self.leaf_len += len;
        self.last = Some(entry.key.clone());
        self.leaf.push(entry);
        Ok(())
    }

    /// The map. A top node of at most `inline_len` bytes is not sealed.
    ///
    /// # Errors
    /// Those of sealing.
    pub(crate) fn finish(mut self, batch: &mut Batch<'_>, inline_len: usize) -> Result<Tree> {
        if self.last.is_none() {
            return Ok(Tree::Empty);
        }
        if self.levels.is_empty() {
            let node = Node::Leaf(self.leaf);
            return Ok(match node.encoded_len() <= inline_len {
                true => Tree::Inline(node.into()),
                false => Tree::Stored(batch.write_block(node.encode())?),
            });
        }
        self.seal_leaf(batch)?;
        let mut at = 0;
        loop {
            let is_top = at + 1 == self.levels.len();
            let level = self.levels.get_mut(at).map(std::mem::take).unwrap_or_default();
            if let ([only], true) = (level.entries.as_slice(), is_top) {
                return Ok(Tree::Stored(only.child.clone()));
            }
            if !level.entries.is_empty() {
                self.seal_inner(batch, at, level.entries)?;
            }
            at += 1;
        }
    }

    fn seal_leaf(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        let entries = std::mem::take(&mut self.leaf);
        self.leaf_len = 0;
        let Some(first) = entries.first() else { return Ok(()) };
        let key = first.key.clone();
        let child = batch.write_block(Node::Leaf(entries).encode())?;
        self.add(batch, 0, InnerEntry { key, child })
    }

    /// Adds a node to `levels[at]`.
    fn add(&mut self, batch: &mut Batch<'_>, at: usize, entry: InnerEntry) -> Result<()> {
        if at + 2 > MAX_DEPTH {
            return Err(Error::new(ErrorKind::Invalid, "a map is too deep"));
        }
        if self.levels.len() == at {
            self.levels.push(Level::default());
        }
        let len = entry.encoded_len();
        let full = self.levels.get(at).is_some_and(|level| level.len + len > SPLIT_INNER_LEN);
        if full {
            let level = self.levels.get_mut(at).map(std::mem::take).unwrap_or_default();
            self.seal_inner(batch, at, level.entries)?;
        }
        if let Some(level) = self.levels.get_mut(at) {
            level.len += len;
            level.entries.push(entry);
        }
        Ok(())
    }

    /// Seals what filled `levels[at]`, and adds it to the level above.
    fn seal_inner(&mut self, batch: &mut Batch<'_>, at: usize, entries: Vec<InnerEntry>) -> Result<()> {
        let key = entries.first().map(|first| first.key.clone()).unwrap_or_default();
        let child = batch.write_block(Node::Inner { level: (at + 1) as u8, entries }.encode())?;
        self.add(batch, at + 1, InnerEntry { key, child })
    }
}
