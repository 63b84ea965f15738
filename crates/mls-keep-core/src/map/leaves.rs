//! [`Leaves`]: the leaves of a stored map one after the other, past the cache.

use std::collections::VecDeque;
use std::sync::Arc;

use super::node::{InnerEntry, LeafEntries, Node};
use super::pointer::Pointer;
use super::store::NodeStore;
use crate::error::{Error, ErrorKind, Result};
use crate::secret_vec::SecretVec;

/// The plaintext of a node.
type Block = SecretVec;

/// A leaf, which is there if it was read to know that it is one.
pub(crate) struct Leaf {
    pub(crate) pointer: Arc<Pointer>,
    block: Option<Block>,
}

/// Walks a map from its first leaf to its last, and reads inner nodes only. Takes the memory of one of them a level.
pub(crate) struct Leaves {
    /// The top, if that is the only one.
    only: Option<Leaf>,
    waiting: Vec<Waiting>,
}

/// Nodes of one level.
struct Waiting {
    level: u8,
    pointers: VecDeque<Arc<Pointer>>,
}

impl Leaves {
    /// The leaves of the map with this top node.
    ///
    /// # Errors
    /// `Corrupt` if it is no node of a map.
    pub(crate) fn new(top: &Arc<Pointer>, block: Block) -> Result<Self> {
        let mut leaves = Self { only: None, waiting: Vec::new() };
        if LeafEntries::are_in(&block) {
            leaves.only = Some(Leaf { pointer: Arc::clone(top), block: Some(block) });
        } else if let Node::Inner { level, entries } = Node::decode(&block)? {
            leaves.go_below(level, entries);
        }
        Ok(leaves)
    }

    fn go_below(&mut self, level: u8, entries: Vec<InnerEntry>) {
        let pointers = entries.into_iter().map(|entry| entry.child).collect();
        self.waiting.push(Waiting { level: level - 1, pointers });
    }

    /// The next leaf, `None` behind the last one.
    ///
    /// # Errors
    /// `Corrupt` if an inner node is missing or is not what its parent meant; and the errors of the backend.
    pub(crate) async fn next(&mut self, store: &NodeStore) -> Result<Option<Leaf>> {
        if let Some(only) = self.only.take() {
            return Ok(Some(only));
        }
        loop {
            let Some(waiting) = self.waiting.last_mut() else { return Ok(None) };
            let level = waiting.level;
            let Some(pointer) = waiting.pointers.pop_front() else {
                self.waiting.pop();
                continue;
            };
            if level == 0 {
                return Ok(Some(Leaf { pointer, block: None }));
            }
            match store.blocks(&[&pointer]).await?.pop().as_deref().map(|block| Node::decode(block)).transpose()? {
                Some(Node::Inner { level: found, entries }) if found == level => self.go_below(found, entries),
                _ => return Err(wrong_level()),
            }
        }
    }
}

/// Leaves in their order, loaded together. Whether they are some shows when their [entries](LeafEntries) are looked at.
///
/// # Errors
/// `Corrupt` if one is missing; and the errors of the backend.
pub(crate) async fn read_leaves(store: &NodeStore, leaves: Vec<Leaf>) -> Result<Vec<Block>> {
    let unread: Vec<_> = leaves.iter().filter(|leaf| leaf.block.is_none()).map(|leaf| &leaf.pointer).collect();
    let mut blocks = store.blocks(&unread).await?.into_iter();
    let all = leaves.into_iter().map(|leaf| leaf.block.or_else(|| blocks.next()).ok_or_else(wrong_level));
    all.collect()
}

fn wrong_level() -> Error {
    Error::new(ErrorKind::Corrupt, "a node of a map is at the wrong level")
}
