//! [`Leaves`]: the leaves of a stored map one after the other, past the cache.

use std::collections::VecDeque;
use std::sync::Arc;

use super::node::{InnerEntry, LeafEntry, Node};
use super::pointer::Pointer;
use super::store::NodeStore;
use crate::error::{Error, ErrorKind, Result};

/// A leaf, whose entries are there if it was read to know that it is one.
pub(crate) struct Leaf {
    pub(crate) pointer: Arc<Pointer>,
    entries: Option<Vec<LeafEntry>>,
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
    pub(crate) fn new(top: &Arc<Pointer>, node: Node) -> Self {
        let mut leaves = Self { only: None, waiting: Vec::new() };
        match node {
            Node::Leaf(entries) => leaves.only = Some(Leaf { pointer: Arc::clone(top), entries: Some(entries) }),
            Node::Inner { level, entries } => leaves.go_below(level, entries),
        }
        leaves
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
                return Ok(Some(Leaf { pointer, entries: None }));
            }
            match read_nodes(store, &[&pointer]).await?.pop() {
                Some(Node::Inner { level: found, entries }) if found == level => self.go_below(found, entries),
                _ => return Err(wrong_level()),
            }
        }
    }
}

/// What is in leaves, in their order, loaded together.
///
/// # Errors
/// `Corrupt` if one is missing or is no leaf; and the errors of the backend.
pub(crate) async fn read_leaves(store: &NodeStore, leaves: Vec<Leaf>) -> Result<Vec<Vec<LeafEntry>>> {
    let unread: Vec<_> = leaves.iter().filter(|leaf| leaf.entries.is_none()).map(|leaf| &leaf.pointer).collect();
    let mut nodes = read_nodes(store, &unread).await?.into_iter();
    let entries = leaves.into_iter().map(|leaf| match leaf.entries {
        Some(entries) => Ok(entries),
        None => match nodes.next() {
            Some(Node::Leaf(entries)) => Ok(entries),
            _ => Err(wrong_level()),
        },
    });
    entries.collect()
}

/// Nodes in the order of their pointers, loaded together and past the cache.
pub(crate) async fn read_nodes(store: &NodeStore, pointers: &[&Arc<Pointer>]) -> Result<Vec<Node>> {
    store.blocks(pointers).await?.iter().map(|block| Node::decode(block)).collect()
}

fn wrong_level() -> Error {
    Error::new(ErrorKind::Corrupt, "a node of a map is at the wrong level")
}
