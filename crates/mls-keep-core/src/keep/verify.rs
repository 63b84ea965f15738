//! Walking everything that a root names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::client::{ClientStore, client_gone};
use super::root::Root;
use super::scope::top_of;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::map::{GarbagePage, LeafEntry, LeafValue, Node, NodeName, Part, Pointer, Tree, decode_chunk, decode_index};
use crate::secret_bytes::SecretBytes;
use crate::secret_vec::SecretVec;

/// Nodes that are loaded together.
const BATCH: usize = 64;

/// How often a client is looked through again that others write to.
const ATTEMPTS: usize = 32;

/// What a client's root names, counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Scopes in the directory.
    pub scopes: usize,
    /// Records in all scopes.
    pub records: usize,
    /// Nodes of every kind, the root not counted.
    pub nodes: usize,
    /// Of these, chunks of long values.
    pub chunks: usize,
    /// Bytes of all nodes and the root as stored.
    pub stored_bytes: usize,
    /// Bytes of all records before compression, padding and sealing.
    pub value_bytes: usize,
    /// Nodes in the store that the root does not name: what interrupted commits left, until the next opening or `gc`.
    pub orphans: usize,
}

/// What [`ClientStore::verify`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Verification {
    /// What is there.
    pub statistics: Statistics,
    /// What is wrong, one sentence each. Nothing, if the client is sound.
    pub problems: Vec<String>,
}

impl Verification {
    /// Whether everything opened and fits together.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl ClientStore {
    /// Loads and opens everything that the newest root names, past all caches. `progress` gets the number of nodes so far.
    ///
    /// Where others commit meanwhile, it goes on from their root.
    ///
    /// # Errors
    /// The errors of the backend; `RolledBack` and `NotFound` as for [`refresh`](Self::refresh); `Conflict` if others commit
    /// so often that no root could be looked through. Damage is no error here: it is what the result lists.
    pub async fn verify(&self, progress: &mut (dyn FnMut(usize) + Send)) -> Result<Verification> {
        let mut chunks = HashMap::new();
        // Also if all that this reads from is still there: what is asked for is the newest.
        let now = self.keep.backend().load(&self.key).await?;
        let mut newer = self.newer_root(now).await?;
        for _ in 0..ATTEMPTS {
            let (root, stored) = newer.as_ref().map_or((&self.root, &self.stored), |(root, stored)| (root, stored));
            let walk = self.walk(root, stored.as_ref(), std::mem::take(&mut chunks), progress).await?;
            if walk.found.is_sound() {
                return Ok(walk.found);
            }
            // Damage is damage only if nobody replaced the root meanwhile.
            let now = self.keep.backend().load(&self.key).await?;
            if now == *stored {
                return Ok(walk.found);
            }
            newer = self.newer_root(now).await?;
            chunks = walk.chunks;
        }
        Err(Error::new(ErrorKind::Conflict, "others commit so often that no state could be looked through: try again"))
    }

    /// The root that is stored as `now`, if it is another one than this reads from.
    pub(super) async fn newer_root(&self, now: Option<Bytes>) -> Result<Option<(Root, Option<Bytes>)>> {
        if now == self.stored {
            return Ok(None);
        }
        let now = now.ok_or_else(client_gone)?;
        let root = self.keep.open_root(&self.token, &now).await?;
        self.ensure_follows(&root)?;
        Ok(Some((root, Some(now))))
    }

    /// The nodes that the root does not name.
    ///
    /// # Errors
    /// `Corrupt` if the client is not sound.
    pub(super) async fn find_orphans(&self) -> Result<Vec<Key>> {
        let walk = self.walk(&self.root, self.stored.as_ref(), HashMap::new(), &mut |_| ()).await?;
        match walk.found.problems.into_iter().next() {
            Some(problem) => Err(Error::new(ErrorKind::Corrupt, problem)),
            None => Ok(walk.orphans),
        }
    }

    /// `chunks` were looked at before: they are immutable.
    async fn walk(
        &self,
        root: &Root,
        stored: Option<&Bytes>,
        chunks: HashMap<NodeName, usize>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Walk> {
        let listed = self.keep.backend().list(self.nodes.prefix()).await?;
        let mut walk = Walk { chunks, ..Walk::default() };
        walk.found.statistics.stored_bytes = stored.map_or(0, Bytes::len);
        match &root.directory {
            Tree::Empty => {}
            Tree::Inline(node) => walk.node(node, &Place::Directory),
            Tree::Stored(top) => walk.waiting.push((Arc::clone(top), Expected::top(Place::Directory))),
        }
        if let Some(page) = root.garbage.pages() {
            walk.waiting.push((Arc::clone(page), Expected::Garbage));
        }
        while !walk.waiting.is_empty() {
            let mut next = walk.waiting.split_off(walk.waiting.len().saturating_sub(BATCH));
            next.retain(|(pointer, expected)| !walk.is_known(pointer, expected));
            let pointers: Vec<_> = next.iter().map(|(pointer, _)| pointer).collect();
            let blocks = self.nodes.sealed_blocks(&pointers).await?;
            for ((pointer, expected), block) in next.iter().zip(blocks) {
                walk.block(pointer, expected, block);
            }
            progress(walk.found.statistics.nodes);
        }
        if walk.found.is_sound() && walk.named.len() as u64 != root.nodes {
            let (named, counted) = (walk.named.len(), root.nodes);
            walk.found.problems.push(format!("the root names {named} nodes and counts {counted}"));
        }
        let unnamed = |key: &Key| self.nodes.name(key).is_none_or(|name| !walk.named.contains(&name));
        let orphans: Vec<_> = listed.into_iter().filter(unnamed).collect();
        walk.found.statistics.orphans = orphans.len();
        walk.orphans = orphans;
        Ok(walk)
    }
}

#[derive(Default)]
struct Walk {
    found: Verification,
    named: HashSet<NodeName>,
    /// Chunks that are whole, with their lengths as stored.
    chunks: HashMap<NodeName, usize>,
    waiting: Vec<(Arc<Pointer>, Expected)>,
    orphans: Vec<Key>,
}

/// Whose map a node belongs to.
#[derive(Clone)]
enum Place {
    Directory,
    Scope,
}

/// What a parent says of a node.
enum Expected {
    Tree { place: Place, level: Option<u8>, from: Option<SecretBytes>, before: Option<SecretBytes> },
    Index { levels: u8, len: usize },
    Chunk { len: usize },
    Garbage,
}

impl Expected {
    fn top(place: Place) -> Self {
        Self::Tree { place, level: None, from: None, before: None }
    }

    fn part(levels: u8, part: &Part) -> Self {
        match levels.checked_sub(1) {
            Some(levels) => Self::Index { levels, len: part.len },
            None => Self::Chunk { len: part.len },
        }
    }
}

impl Walk {
    /// Whether the node was looked at before, for an older root. Chunks only: what is below other nodes is not known.
    fn is_known(&mut self, pointer: &Arc<Pointer>, expected: &Expected) -> bool {
        let Some(stored_len) = self.chunks.get(pointer.name()).filter(|_| matches!(expected, Expected::Chunk { .. }))
        else {
            return false;
        };
        if self.named.insert(*pointer.name()) {
            self.found.statistics.nodes += 1;
            self.found.statistics.chunks += 1;
            self.found.statistics.stored_bytes += stored_len;
        }
        true
    }

    fn block(&mut self, pointer: &Arc<Pointer>, expected: &Expected, block: Result<(usize, SecretVec)>) {
        // A chunk may be named twice, by one value that repeats itself.
        if !self.named.insert(*pointer.name()) {
            return;
        }
        let checked = block.and_then(|(stored_len, plaintext)| {
            self.found.statistics.nodes += 1;
            self.found.statistics.stored_bytes += stored_len;
            self.contents(&plaintext, expected)?;
            if matches!(expected, Expected::Chunk { .. }) {
                self.chunks.insert(*pointer.name(), stored_len);
            }
            Ok(())
        });
        if let Err(error) = checked {
            self.found.problems.push(error.to_string());
        }
    }

    fn contents(&mut self, plaintext: &[u8], expected: &Expected) -> Result<()> {
        match expected {
            Expected::Chunk { len } => {
                decode_chunk(plaintext, *len)?;
                self.found.statistics.chunks += 1;
            }
            Expected::Index { levels, len } => {
                let parts = decode_index(plaintext, *len)?;
                self.parts(&parts, *levels);
            }
            Expected::Garbage => {
                if let Some(before) = GarbagePage::decode(plaintext)?.before {
                    self.waiting.push((before, Expected::Garbage));
                }
            }
            Expected::Tree { place, level, from, before } => {
                let node = Node::decode(plaintext)?;
                if level.is_some_and(|level| level != node.level()) {
                    return Err(Error::new(ErrorKind::Corrupt, "a node of a map is at the wrong level"));
                }
                let (first, last) = node.bounds().unzip();
                let early = first.zip(from.as_deref()).is_some_and(|(first, from)| first < from);
                let late = last.zip(before.as_deref()).is_some_and(|(last, before)| last >= before);
                if early || late {
                    return Err(Error::new(ErrorKind::Corrupt, "a node of a map has keys that belong elsewhere"));
                }
                self.node(&node, place);
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, place: &Place) {
        match node {
            Node::Leaf(entries) => entries.iter().for_each(|entry| self.entry(entry, place)),
            Node::Inner { level, entries } => {
                for (at, entry) in entries.iter().enumerate() {
                    let expected = Expected::Tree {
                        place: place.clone(),
                        level: Some(level - 1),
                        // The first subtree also takes keys before its own.
                        from: (at > 0).then(|| entry.key.clone()),
                        before: entries.get(at + 1).map(|next| next.key.clone()),
                    };
                    self.waiting.push((Arc::clone(&entry.child), expected));
                }
            }
        }
    }

    fn entry(&mut self, entry: &LeafEntry, place: &Place) {
        match (place, &entry.value) {
            (Place::Directory, value) => match top_of(value.clone()) {
                Ok(top) => {
                    self.found.statistics.scopes += 1;
                    self.waiting.push((top.pointer, Expected::top(Place::Scope)));
                }
                Err(error) => self.found.problems.push(error.to_string()),
            },
            (Place::Scope, LeafValue::Inline(value)) => {
                self.found.statistics.records += 1;
                self.found.statistics.value_bytes += value.as_slice().len();
            }
            (Place::Scope, LeafValue::Chunked(list)) => {
                self.found.statistics.records += 1;
                self.found.statistics.value_bytes += list.len;
                self.parts(&list.parts, list.levels);
            }
            (Place::Scope, LeafValue::Map { .. }) => self.found.problems.push("a record holds a map".to_owned()),
        }
    }

    fn parts(&mut self, parts: &[Part], levels: u8) {
        for part in parts {
            self.waiting.push((Arc::clone(&part.pointer), Expected::part(levels, part)));
        }
    }
}
