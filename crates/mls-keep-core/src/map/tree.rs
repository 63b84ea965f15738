//! [`Tree`]: an ordered map of byte keys in sealed nodes.
//!
//! A B+tree that is changed in bulk: a commit's edits go down together, each node is rewritten once, too long nodes are
//! split evenly and too short ones are joined with a neighbour on the way up. Nothing is rebalanced in place, since
//! nothing is ever changed in place.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::node::{InnerEntry, LeafEntry, LeafValue, Node};
use super::pointer::Pointer;
use super::range::RecordRange;
use super::store::{Batch, NodeStore};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_DEPTH;
use crate::secret_bytes::SecretBytes;

/// A node longer than this is split, bytes (docs/decisions/0003-node-sizes.md). A piece can exceed it by one entry.
pub(super) const SPLIT_LEN: usize = 8 << 10;
/// The same of an inner node. All inner nodes above what has changed are written again, and they hardly compress.
pub(super) const SPLIT_INNER_LEN: usize = 2 << 10;
/// A node shorter than a quarter of that is joined with a neighbour.
const JOIN_PART: usize = 4;

/// Nodes that are loaded together when a range is read.
const READ_AHEAD: usize = 64;

/// A map as it stands in one version of a root. Immutable; cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Tree {
    #[default]
    Empty,
    /// The top node stands in the root itself.
    Inline(Arc<Node>),
    Stored(Arc<Pointer>),
}

/// What happens to one key. `None` removes it.
pub(crate) type Edits = BTreeMap<SecretBytes, Option<LeafValue>>;

impl Tree {
    async fn top(&self, store: &NodeStore) -> Result<Option<Arc<Node>>> {
        match self {
            Self::Empty => Ok(None),
            Self::Inline(node) => Ok(Some(Arc::clone(node))),
            Self::Stored(pointer) => store.node(pointer).await.map(Some),
        }
    }

    pub(crate) async fn get(&self, store: &NodeStore, key: &[u8]) -> Result<Option<LeafValue>> {
        let Some(mut node) = self.top(store).await? else { return Ok(None) };
        loop {
            let next = match &*node {
                Node::Leaf(entries) => {
                    let found = entries.binary_search_by(|entry| entry.key.as_slice().cmp(key)).ok();
                    return Ok(found.and_then(|at| entries.get(at)).map(|entry| entry.value.clone()));
                }
                Node::Inner { entries, level } => match entries.get(child_of(entries, key)) {
                    Some(entry) => child(store, *level, &entry.child).await?,
                    None => return Ok(None),
                },
            };
            node = next;
        }
    }

    /// The entries of `range`, in order (or in reverse order).
    pub(crate) async fn scan(&self, store: &NodeStore, range: &RecordRange) -> Result<Vec<LeafEntry>> {
        let mut found = Vec::new();
        let mut last: Option<SecretBytes> = None;
        let mut waiting: Vec<Waiting> = self.top(store).await?.into_iter().map(Waiting::Node).collect();
        while let Some(next) = waiting.pop() {
            let room = range.limit - found.len();
            if room == 0 {
                break;
            }
            match next {
                Waiting::Children { level, mut pointers } => {
                    let later = pointers.split_off(pointers.len().min(READ_AHEAD).min(room));
                    if !later.is_empty() {
                        waiting.push(Waiting::Children { level, pointers: later });
                    }
                    let children = store.nodes(&pointers).await?;
                    children.iter().try_for_each(|child| ensure_level(child, level))?;
                    waiting.extend(children.into_iter().rev().map(Waiting::Node));
                }
                Waiting::Node(node) => match &*node {
                    Node::Leaf(entries) => {
                        last = Some(ensure_beyond(&node, last.as_ref(), range.backwards)?);
                        let inside = entries.iter().filter(|entry| range.contains(&entry.key));
                        if range.backwards {
                            found.extend(inside.rev().take(room).cloned());
                        } else {
                            found.extend(inside.take(room).cloned());
                        }
                    }
                    Node::Inner { level, entries } => {
                        let inside = overlapping(entries, range).map(|entry| Arc::clone(&entry.child));
                        let mut pointers: Vec<_> = inside.collect();
                        if range.backwards {
                            pointers.reverse();
                        }
                        waiting.push(Waiting::Children { level: *level, pointers });
                    }
                },
            }
        }
        Ok(found)
    }

    /// The map with `edits` applied. Its nodes are in `batch`; up to `inline_len` bytes of top node stay in the root.
    pub(crate) async fn edit(&self, batch: &mut Batch<'_>, edits: &Edits, inline_len: usize) -> Result<Self> {
        let edits: Vec<_> = edits.iter().collect();
        let mut level: Vec<Child> = match self {
            Self::Empty => split_leaf(merge(&[], &edits)).into_iter().map(Child::New).collect(),
            Self::Inline(node) => edit_node(batch, Arc::clone(node), &edits).await?,
            Self::Stored(pointer) => {
                let node = batch.store.node(pointer).await?;
                batch.replace(pointer);
                edit_node(batch, node, &edits).await?
            }
        };
        while level.len() > 1 {
            level = inner_nodes(batch, level)?;
        }
        let Some(mut top) = level.pop() else { return Ok(Self::Empty) };
        // A top with one child is that child.
        loop {
            let only = match &top {
                Child::New(Node::Inner { entries, level }) if entries.len() == 1 => {
                    entries.first().map(|entry| (Arc::clone(&entry.child), *level))
                }
                _ => None,
            };
            let Some((pointer, level)) = only else { break };
            // It may have been written a moment ago, so it is the batch that is asked.
            let node = batch.node(&pointer).await?;
            ensure_level(&node, level)?;
            top = Child::Kept { key: SecretBytes::default(), level: node.level(), pointer };
        }
        match top {
            Child::New(node) if node.encoded_len() <= inline_len => Ok(Self::Inline(Arc::new(node))),
            Child::New(node) => Ok(Self::Stored(batch.write_node(node)?)),
            Child::Kept { pointer, .. } => Ok(Self::Stored(pointer)),
        }
    }
}

/// What a scan has still to visit: a node, or children of a node at `level`.
enum Waiting {
    Node(Arc<Node>),
    Children { level: u8, pointers: Vec<Arc<Pointer>> },
}

/// A subtree while its parent is made: rewritten, or as it was.
enum Child {
    New(Node),
    Kept { key: SecretBytes, level: u8, pointer: Arc<Pointer> },
}

impl Child {
    fn key(&self) -> SecretBytes {
        match self {
            Self::New(Node::Leaf(entries)) => entries.first().map(|entry| entry.key.clone()),
            Self::New(Node::Inner { entries, .. }) => entries.first().map(|entry| entry.key.clone()),
            Self::Kept { key, .. } => Some(key.clone()),
        }
        .unwrap_or_default()
    }

    fn level(&self) -> u8 {
        match self {
            Self::New(node) => node.level(),
            Self::Kept { level, .. } => *level,
        }
    }
}

type Edit<'e> = (&'e SecretBytes, &'e Option<LeafValue>);

/// The nodes that take the place of `node` after `edits`, none if it became empty. Its own pointer is already replaced.
fn edit_node<'f>(
    batch: &'f mut Batch<'_>,
    node: Arc<Node>,
    edits: &'f [Edit<'f>],
) -> Pin<Box<dyn Future<Output = Result<Vec<Child>>> + Send + 'f>> {
    Box::pin(async move {
        let (entries, level) = match &*node {
            Node::Leaf(entries) => return Ok(split_leaf(merge(entries, edits)).into_iter().map(Child::New).collect()),
            Node::Inner { entries, level } => (entries, *level),
        };
        let mut children = Vec::with_capacity(entries.len() + 1);
        let mut edits = edits;
        for (at, entry) in entries.iter().enumerate() {
            let here = match entries.get(at + 1) {
                Some(next) => edits.partition_point(|(key, _)| **key < next.key),
                None => edits.len(),
            };
            let (mine, rest) = edits.split_at(here);
            edits = rest;
            if mine.is_empty() {
                let (key, pointer) = (entry.key.clone(), Arc::clone(&entry.child));
                children.push(Child::Kept { key, level: level - 1, pointer });
                continue;
            }
            let below = child(batch.store, level, &entry.child).await?;
            batch.replace(&entry.child);
            children.extend(edit_node(batch, below, mine).await?);
        }
        join_short(batch, &mut children).await?;
        inner_nodes(batch, children)
    })
}

/// Joins each rewritten node that became short with a neighbour.
async fn join_short(batch: &mut Batch<'_>, children: &mut Vec<Child>) -> Result<()> {
    let mut at = 0;
    while at < children.len() && children.len() > 1 {
        let short = matches!(children.get(at), Some(Child::New(node)) if node.encoded_len() < split_len(node.level()) / JOIN_PART);
        if !short {
            at += 1;
            continue;
        }
        // With the one before it, so that joining goes on from there; the first with the one after it.
        let first = at.saturating_sub(1);
        let mut pair = children.drain(first..first + 2);
        let (left, right) = (pair.next(), pair.next());
        drop(pair);
        let (Some(left), Some(right)) = (left, right) else { break };
        let joined = join(take(batch, left).await?, take(batch, right).await?)?;
        let pieces = joined.len();
        children.splice(first..first, joined.into_iter().map(Child::New));
        // One that is still short goes on to its next neighbour.
        at = if pieces == 1 { first } else { first + pieces };
    }
    Ok(())
}

/// The entries of a subtree's top node, which is rewritten.
async fn take(batch: &mut Batch<'_>, child: Child) -> Result<Node> {
    match child {
        Child::New(node) => Ok(node),
        Child::Kept { pointer, level, .. } => {
            let node = self::child(batch.store, level + 1, &pointer).await?;
            batch.replace(&pointer);
            Ok(match &*node {
                Node::Leaf(entries) => Node::Leaf(entries.clone()),
                Node::Inner { level, entries } => Node::Inner {
                    level: *level,
                    entries: entries
                        .iter()
                        .map(|entry| InnerEntry { key: entry.key.clone(), child: Arc::clone(&entry.child) })
                        .collect(),
                },
            })
        }
    }
}

fn join(left: Node, right: Node) -> Result<Vec<Node>> {
    match (left, right) {
        (Node::Leaf(mut entries), Node::Leaf(more)) => {
            entries.extend(more);
            Ok(split_leaf(entries))
        }
        (Node::Inner { level, mut entries }, Node::Inner { level: other, entries: more }) if level == other => {
            entries.extend(more);
            Ok(split_inner(level, entries))
        }
        _ => Err(Error::new(ErrorKind::Corrupt, "neighbours in a map are of different levels")),
    }
}

/// Writes `children` and makes the nodes above them. No child, no node.
fn inner_nodes(batch: &mut Batch<'_>, children: Vec<Child>) -> Result<Vec<Child>> {
    let Some(level) = children.first().map(|child| child.level() + 1) else { return Ok(Vec::new()) };
    if usize::from(level) >= MAX_DEPTH {
        return Err(Error::new(ErrorKind::Invalid, "a map is too deep"));
    }
    let mut entries = Vec::with_capacity(children.len());
    for child in children {
        let key = child.key();
        let child = match child {
            Child::New(node) => batch.write_node(node)?,
            Child::Kept { pointer, .. } => pointer,
        };
        entries.push(InnerEntry { key, child });
    }
    Ok(split_inner(level, entries).into_iter().map(Child::New).collect())
}

fn merge(entries: &[LeafEntry], edits: &[Edit<'_>]) -> Vec<LeafEntry> {
    let mut merged = Vec::with_capacity(entries.len() + edits.len());
    let mut old = entries.iter().peekable();
    for (key, value) in edits {
        while let Some(entry) = old.next_if(|entry| entry.key < **key) {
            merged.push(entry.clone());
        }
        old.next_if(|entry| entry.key == **key);
        if let Some(value) = value {
            merged.push(LeafEntry { key: SecretBytes::clone(key), value: value.clone() });
        }
    }
    merged.extend(old.cloned());
    merged
}

fn split_leaf(entries: Vec<LeafEntry>) -> Vec<Node> {
    split(entries, SPLIT_LEN, LeafEntry::encoded_len).into_iter().map(Node::Leaf).collect()
}

fn split_inner(level: u8, entries: Vec<InnerEntry>) -> Vec<Node> {
    let pieces = split(entries, SPLIT_INNER_LEN, InnerEntry::encoded_len).into_iter();
    pieces.map(|entries| Node::Inner { level, entries }).collect()
}

/// A node of `level` longer than this is split.
fn split_len(level: u8) -> usize {
    if level == 0 { SPLIT_LEN } else { SPLIT_INNER_LEN }
}

/// Cuts entries into pieces of about equal length, none much longer than `longest`.
fn split<T>(entries: Vec<T>, longest: usize, len: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let total: usize = entries.iter().map(&len).sum();
    if entries.is_empty() {
        return Vec::new();
    }
    let target = total.div_ceil(total.div_ceil(longest).max(1));
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    let mut piece_len = 0;
    for entry in entries {
        piece_len += len(&entry);
        piece.push(entry);
        if piece_len >= target {
            pieces.push(std::mem::take(&mut piece));
            piece_len = 0;
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

async fn child(store: &NodeStore, level: u8, pointer: &Pointer) -> Result<Arc<Node>> {
    let node = store.node(pointer).await?;
    ensure_level(&node, level)?;
    Ok(node)
}

fn ensure_level(child: &Node, parent_level: u8) -> Result<()> {
    if child.level() + 1 == parent_level {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "a node of a map is at the wrong level"))
}

/// The key of `leaf` that comes last in the direction of a scan, if all of its keys are beyond those of the leaf before it. So
/// no leaf is visited twice, however many inner nodes name it.
fn ensure_beyond(leaf: &Node, last: Option<&SecretBytes>, backwards: bool) -> Result<SecretBytes> {
    let bounds = leaf.bounds().map(|(first, end)| if backwards { (end, first) } else { (first, end) });
    match bounds {
        Some((next, end))
            if last.is_none_or(|last| (next > last.as_slice()) != backwards && next != last.as_slice()) =>
        {
            Ok(end.into())
        }
        _ => Err(Error::new(ErrorKind::Corrupt, "the leaves of a map are not in order")),
    }
}

/// The index of the subtree that has `key`, if any has.
fn child_of(entries: &[InnerEntry], key: &[u8]) -> usize {
    entries.partition_point(|entry| entry.key.as_slice() <= key).saturating_sub(1)
}

fn overlapping<'a>(entries: &'a [InnerEntry], range: &RecordRange) -> impl Iterator<Item = &'a InnerEntry> {
    let first = range.first_key().map_or(0, |from| child_of(entries, from));
    // The first subtree also takes keys before its own key, so it is always asked.
    let inside = entries.iter().skip(first + 1).take_while(|entry| !range.ends_before(&entry.key)).count();
    entries.iter().skip(first).take(inside + 1)
}
