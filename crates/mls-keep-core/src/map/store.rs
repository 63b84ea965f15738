//! [`NodeStore`] reads and opens nodes; [`Batch`] seals new ones and remembers what they replace.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tracing::trace;

use super::frame::Framer;
use super::node::Node;
use super::pointer::{NodeName, Pointer};
use crate::backend::StorageBackend;
use crate::entropy::Entropy;
use crate::envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::helper::Helper;
use crate::key::Key;
use crate::limits::MAX_STORED_NODE_LEN;
use crate::secret_vec::SecretVec;

/// Decoded nodes of this many encoded bytes stay in memory, unless it is said otherwise.
const CACHE_LEN: usize = 4 << 20;

/// The nodes of one client.
pub(crate) struct NodeStore {
    backend: Arc<dyn StorageBackend>,
    /// What the names of all nodes of this client begin with, up to and with the last `/`.
    prefix: String,
    framer: Framer,
    cache: Mutex<Cache>,
}

impl NodeStore {
    pub(crate) fn new(backend: Arc<dyn StorageBackend>, prefix: String) -> Self {
        Self { backend, prefix, framer: Framer::new(), cache: Mutex::new(Cache::default()) }
    }

    /// Keeps decoded nodes of so many encoded bytes in memory from here on.
    pub(crate) fn set_cache_len(&self, len: usize) {
        self.lock().set_limit(len);
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn name(&self, key: &Key) -> Option<NodeName> {
        crate::text::decode(key.as_str().strip_prefix(&self.prefix)?)
    }

    pub(crate) fn key(&self, name: &NodeName) -> Result<Key> {
        Key::new(&format!("{}{}", self.prefix, crate::text::encode(name)))
    }

    pub(crate) async fn node(&self, pointer: &Pointer) -> Result<Arc<Node>> {
        if let Some(node) = self.cached(pointer) {
            return Ok(node);
        }
        let stored = self.backend.load(&self.key(pointer.name())?).await?;
        trace!(nodes = 1, "loaded");
        self.decode(pointer, stored)
    }

    /// The nodes of `pointers`, in their order, loaded together.
    pub(crate) async fn nodes(&self, pointers: &[Arc<Pointer>]) -> Result<Vec<Arc<Node>>> {
        let cached: Vec<_> = pointers.iter().map(|pointer| self.cached(pointer)).collect();
        let mut keys = Vec::new();
        for (pointer, _) in pointers.iter().zip(&cached).filter(|(_, node)| node.is_none()) {
            keys.push(self.key(pointer.name())?);
        }
        let mut loaded = self.load_many(&keys).await?.into_iter();
        pointers
            .iter()
            .zip(cached)
            .map(|(pointer, cached)| match cached {
                Some(node) => Ok(node),
                None => self.decode(pointer, loaded.next().flatten()),
            })
            .collect()
    }

    /// The plaintext of nodes, in the order of `pointers`, loaded together and past the cache.
    pub(crate) async fn blocks(&self, pointers: &[&Arc<Pointer>]) -> Result<Vec<SecretVec>> {
        self.sealed_blocks(pointers).await?.into_iter().map(|block| block.map(|(_, plaintext)| plaintext)).collect()
    }

    /// For each of `pointers` the length as stored and the plaintext, or why it does not open.
    pub(crate) async fn sealed_blocks(&self, pointers: &[&Arc<Pointer>]) -> Result<Vec<Result<(usize, SecretVec)>>> {
        let keys = pointers.iter().map(|pointer| self.key(pointer.name())).collect::<Result<Vec<_>>>()?;
        let loaded = self.load_many(&keys).await?;
        let open = |(pointer, stored): (&&Arc<Pointer>, Option<Bytes>)| {
            let len = stored.as_ref().map_or(0, Bytes::len);
            self.open(pointer, stored).map(|plaintext| (len, plaintext))
        };
        Ok(pointers.iter().zip(loaded).map(open).collect())
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let loaded = self.backend.load_many(keys).await?;
        trace!(nodes = keys.len(), "loaded");
        if loaded.len() != keys.len() {
            return Err(Error::new(ErrorKind::Internal, "the backend's load_many gave another number of values"));
        }
        Ok(loaded)
    }

    /// A commit was applied: what it wrote can be read without the backend.
    pub(crate) fn applied(&self, written: Written) {
        let mut cache = self.lock();
        for name in &written.replaced {
            cache.remove(name);
        }
        for (name, node) in written.written {
            cache.insert(name, node);
        }
    }

    fn cached(&self, pointer: &Pointer) -> Option<Arc<Node>> {
        self.lock().get(pointer.name())
    }

    fn decode(&self, pointer: &Pointer, stored: Option<Bytes>) -> Result<Arc<Node>> {
        let node = Arc::new(Node::decode(&self.open(pointer, stored)?)?);
        self.lock().insert(*pointer.name(), Arc::clone(&node));
        Ok(node)
    }

    fn open(&self, pointer: &Pointer, stored: Option<Bytes>) -> Result<SecretVec> {
        let Some(stored) = stored else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the node {} is missing", crate::text::encode(pointer.name())),
            ));
        };
        if stored.len() > MAX_STORED_NODE_LEN {
            return Err(Error::new(ErrorKind::Corrupt, "a stored node is over its limit"));
        }
        let frame = envelope::open_node(pointer.expose(), &stored).map_err(|_| {
            Error::new(
                ErrorKind::Corrupt,
                format!("the node {} is damaged or not the one that was written", crate::text::encode(pointer.name())),
            )
        })?;
        self.framer.unframe(&frame)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        // The cache holds whole entries only, so a panic elsewhere does not harm it.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node to be sealed.
struct Unsealed {
    key: Key,
    pointer: Arc<Pointer>,
    plaintext: SecretVec,
}

/// New nodes and replaced ones: what becomes a commit. Nothing of it is visible before that.
pub(crate) struct Batch<'a> {
    pub(crate) store: &'a NodeStore,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) puts: Vec<(Key, Bytes)>,
    /// Each once: a value that repeats itself may name a chunk several times.
    pub(crate) replaced: BTreeSet<NodeName>,
    written: Vec<(NodeName, Arc<Node>)>,
    /// What seals, if it is not done at once.
    helper: Option<Helper<Unsealed, (Key, Bytes)>>,
}

/// What a batch has written and replaced, without what it read from.
#[derive(Default)]
pub(crate) struct Written {
    replaced: BTreeSet<NodeName>,
    written: Vec<(NodeName, Arc<Node>)>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(store: &'a NodeStore, entropy: &'a dyn Entropy) -> Self {
        Self { store, entropy, puts: Vec::new(), replaced: BTreeSet::new(), written: Vec::new(), helper: None }
    }

    /// One for many nodes, which are sealed on a thread. [`collect`](Self::collect) makes them puts.
    pub(crate) fn beside(store: &'a NodeStore, entropy: &'a dyn Entropy) -> Self {
        let framer = Framer::new();
        let helper = Helper::new(move |node: Unsealed| {
            let sealed = envelope::seal_node(node.pointer.expose(), framer.frame(&node.plaintext)?)?;
            Ok((node.key, sealed.into()))
        });
        Self { helper: Some(helper), ..Self::new(store, entropy) }
    }

    /// Takes what the thread has sealed; when `all` is asked for, waits for the rest.
    pub(crate) fn collect(&mut self, all: bool) -> Result<()> {
        let Some(helper) = &mut self.helper else { return Ok(()) };
        while let Some(sealed) = if all { helper.wait() } else { helper.take() } {
            self.puts.push(sealed?);
        }
        Ok(())
    }

    /// Seals a node of the tree under a fresh pointer.
    pub(crate) fn write_node(&mut self, node: Node) -> Result<Arc<Pointer>> {
        let pointer = self.write_block(node.encode())?;
        self.written.push((*pointer.name(), Arc::new(node)));
        Ok(pointer)
    }

    /// A node of the tree as this batch would leave it.
    pub(crate) async fn node(&mut self, pointer: &Pointer) -> Result<Arc<Node>> {
        match self.written.iter().find(|(name, _)| name == pointer.name()) {
            Some((_, node)) => Ok(Arc::clone(node)),
            None => self.store.node(pointer).await,
        }
    }

    /// Seals the plaintext of a chunk or an index node under a fresh pointer.
    pub(crate) fn write_block(&mut self, plaintext: SecretVec) -> Result<Arc<Pointer>> {
        let pointer = Pointer::random(self.entropy)?;
        let key = self.store.key(pointer.name())?;
        match &mut self.helper {
            Some(helper) => helper.give(Unsealed { key, pointer: Arc::clone(&pointer), plaintext }),
            None => {
                let frame = self.store.framer.frame(&plaintext)?;
                self.puts.push((key, envelope::seal_node(pointer.expose(), frame)?.into()));
            }
        }
        Ok(pointer)
    }

    /// Says that the new root does not name this node any more.
    pub(crate) fn replace(&mut self, pointer: &Pointer) {
        self.replaced.insert(*pointer.name());
    }

    pub(crate) fn finish(self) -> Written {
        Written { replaced: self.replaced, written: self.written }
    }
}

/// Two generations: what is not asked for while one fills up is forgotten.
struct Cache {
    limit: usize,
    young: HashMap<NodeName, Arc<Node>>,
    old: HashMap<NodeName, Arc<Node>>,
    young_len: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self { limit: CACHE_LEN, young: HashMap::new(), old: HashMap::new(), young_len: 0 }
    }
}

impl Cache {
    fn set_limit(&mut self, limit: usize) {
        *self = Self { limit, ..Self::default() };
    }

    fn get(&mut self, name: &NodeName) -> Option<Arc<Node>> {
        if let Some(node) = self.young.get(name) {
            return Some(Arc::clone(node));
        }
        let node = self.old.remove(name)?;
        self.insert(*name, Arc::clone(&node));
        Some(node)
    }

    fn insert(&mut self, name: NodeName, node: Arc<Node>) {
        let len = node.encoded_len();
        if self.young_len + len > self.limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_len = 0;
        }
        self.young_len += len;
        self.young.insert(name, node);
    }

    fn remove(&mut self, name: &NodeName) {
        // `young_len` keeps counting what is gone: the generation ends a little earlier, which is harmless.
        self.young.remove(name);
        self.old.remove(name);
    }
}
