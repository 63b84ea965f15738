//! [`names_below`]: which nodes a map consists of.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::node::{LeafEntry, LeafValue, Node, decode_index};
use super::parts::Part;
use super::pointer::{NodeName, Pointer};
use super::store::NodeStore;
use crate::error::{Error, ErrorKind, Result};

/// Nodes that are loaded together.
const BATCH: usize = 64;

/// A node whose own name is known, and what is below it.
enum Waiting {
    /// A node of the map.
    Tree(Arc<Pointer>),
    /// An index node over parts that have index nodes of their own, `levels` deep.
    Index { pointer: Arc<Pointer>, levels: u8, len: usize },
}

/// The names of the node at `top` and of all nodes below it. Values are not loaded, so a map of any size is listed in the
/// memory that its names take.
pub(crate) async fn names_below(store: &NodeStore, top: &Arc<Pointer>) -> Result<BTreeSet<NodeName>> {
    let mut names = BTreeSet::from([*top.name()]);
    let mut waiting = vec![Waiting::Tree(Arc::clone(top))];
    while !waiting.is_empty() {
        let next = waiting.split_off(waiting.len().saturating_sub(BATCH));
        let pointers: Vec<_> = next.iter().map(Waiting::pointer).collect();
        for (node, block) in next.iter().zip(store.blocks(&pointers).await?) {
            match node {
                Waiting::Tree(_) => match Node::decode(&block)? {
                    Node::Leaf(entries) => {
                        entries.iter().try_for_each(|entry| add_entry(entry, &mut names, &mut waiting))?;
                    }
                    Node::Inner { entries, .. } => {
                        for entry in entries {
                            names.insert(*entry.child.name());
                            waiting.push(Waiting::Tree(entry.child));
                        }
                    }
                },
                Waiting::Index { levels, len, .. } => {
                    add_parts(&decode_index(&block, *len)?, *levels, &mut names, &mut waiting);
                }
            }
        }
    }
    Ok(names)
}

impl Waiting {
    fn pointer(&self) -> &Arc<Pointer> {
        match self {
            Self::Tree(pointer) | Self::Index { pointer, .. } => pointer,
        }
    }
}

fn add_entry(entry: &LeafEntry, names: &mut BTreeSet<NodeName>, waiting: &mut Vec<Waiting>) -> Result<()> {
    match &entry.value {
        LeafValue::Inline(_) => {}
        LeafValue::Chunked(list) => add_parts(&list.parts, list.levels, names, waiting),
        LeafValue::Map { .. } => return Err(Error::new(ErrorKind::Corrupt, "a record holds a map")),
    }
    Ok(())
}

/// Adds `parts`, which are chunks if there are no `levels` of index nodes between.
fn add_parts(parts: &[Part], levels: u8, names: &mut BTreeSet<NodeName>, waiting: &mut Vec<Waiting>) {
    for part in parts {
        let is_new = names.insert(*part.pointer.name());
        if let Some(levels) = levels.checked_sub(1).filter(|_| is_new) {
            waiting.push(Waiting::Index { pointer: Arc::clone(&part.pointer), levels, len: part.len });
        }
    }
}
