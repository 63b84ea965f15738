//! Walking everything that a root names: `verify` and `gc`.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::client::{ClientStore, top_of};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::map::{Batch, LeafEntry, LeafValue, Node, NodeName, Part, Pointer, Tree, decode_chunk, decode_index};
use crate::secret_bytes::SecretBytes;

/// Nodes that are loaded together.
const BATCH: usize = 64;

/// What a client's root names, counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
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
    /// Nodes in the store that the root does not name: what a crash left, until the next `gc`.
    pub orphans: usize,
}

/// What [`ClientStore::verify`] found.
#[derive(Clone, Debug, Default)]
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
    /// Loads and opens everything that the root names, past all caches. `progress` is told the number of nodes so far.
    ///
    /// # Errors
    /// The errors of the backend, and `Conflict` if somebody else commits meanwhile. Damage is no error here: it is what
    /// the result lists.
    pub async fn verify(&self, progress: &mut (dyn FnMut(usize) + Send)) -> Result<Verification> {
        let walk = self.walk(progress).await?;
        let found = walk.found;
        if found.is_sound() {
            return Ok(found);
        }
        // Damage is damage only if nobody replaced the root meanwhile.
        self.checked(Err(Error::new(ErrorKind::Corrupt, ""))).await.or_else(|error: Error| match error.kind() {
            ErrorKind::Corrupt => Ok(found),
            _ => Err(error),
        })
    }

    /// Deletes nodes that the root does not name: what interrupted commits and readers left. Returns how many.
    ///
    /// The root is replaced in the same commit, so that a commit in flight, whose nodes no root names yet, does not lose
    /// them: it conflicts and starts again with new nodes.
    ///
    /// # Errors
    /// `Conflict` if somebody else committed meanwhile: call again. `Corrupt` if the client is not sound: then nothing is
    /// deleted. `OutcomeUnknown` as for [`commit`](Self::commit); and the errors of the backend.
    pub async fn gc(&mut self) -> Result<usize> {
        let walk = self.walk(&mut |_| ()).await?;
        if let Some(problem) = walk.found.problems.first() {
            return self.checked(Err(Error::new(ErrorKind::Corrupt, problem.clone()))).await;
        }
        if walk.orphans.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::new(&self.nodes, self.keep.entropy());
        let (root, mut commit) = self.prepare(self.root.directory.clone(), &mut batch)?;
        commit.deletes.extend(walk.orphans.iter().cloned());
        let replacement = commit.swap.replacement.clone().unwrap_or_default();
        if let Err(error) = self.land(commit).await {
            if error.kind() == ErrorKind::Conflict {
                self.refresh().await?;
            }
            return Err(error);
        }
        self.root = root;
        self.stored = Some(replacement);
        Ok(walk.orphans.len())
    }

    async fn walk(&self, progress: &mut (dyn FnMut(usize) + Send)) -> Result<Walk> {
        let listed = self.keep.backend().list(self.nodes.prefix()).await?;
        let mut walk = Walk::default();
        walk.found.statistics.stored_bytes = self.stored.as_ref().map_or(0, Bytes::len);
        match &self.root.directory {
            Tree::Empty => {}
            Tree::Inline(node) => walk.node(node, &Place::Directory),
            Tree::Stored(top) => walk.waiting.push((Arc::clone(top), Expected::top(Place::Directory))),
        }
        while !walk.waiting.is_empty() {
            let next = walk.waiting.split_off(walk.waiting.len().saturating_sub(BATCH));
            let pointers: Vec<_> = next.iter().map(|(pointer, _)| pointer).collect();
            let blocks = self.nodes.sealed_blocks(&pointers).await?;
            for ((pointer, expected), block) in next.iter().zip(blocks) {
                walk.block(pointer, expected, block);
            }
            progress(walk.found.statistics.nodes);
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
    fn block(&mut self, pointer: &Arc<Pointer>, expected: &Expected, block: Result<(usize, Zeroizing<Vec<u8>>)>) {
        // A chunk may be named twice, by one value that repeats itself.
        if !self.named.insert(*pointer.name()) {
            return;
        }
        let checked = block.and_then(|(stored_len, plaintext)| {
            self.found.statistics.nodes += 1;
            self.found.statistics.stored_bytes += stored_len;
            self.contents(&plaintext, expected)
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
                    self.waiting.push((top, Expected::top(Place::Scope)));
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
