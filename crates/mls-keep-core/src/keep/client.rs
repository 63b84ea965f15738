//! [`ClientStore`]: one client's root and the records of its scopes.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tracing::{debug, error};

use super::outcome::InDoubt;
use super::root::{Descent, Digest, Root, Standing, digest};
use super::scope::{ScopeId, ScopeTop, ScopeVersion, top_of};
use super::{Keep, Place};
use crate::commit::{Commit, Swap};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::map::{LeafEntry, LeafValue, NodeName, NodeStore, RecordRange, Tree, Value, load_long};
use crate::secret_bytes::SecretBytes;

/// One client of a keep, as of one version of its root.
///
/// Reading is from that version. Several may be open on one client, here or in other processes: a commit that is based on
/// what somebody else changed is a `Conflict`, and so is reading what somebody else deleted; then
/// [`refresh`](Self::refresh).
pub struct ClientStore {
    pub(super) keep: Keep,
    pub(super) token: [u8; 16],
    pub(super) key: Key,
    /// What is stored in the root's place: `root`; or nothing or a tombstone while the client is new.
    pub(super) stored: Option<Bytes>,
    pub(super) root: Root,
    pub(super) nodes: NodeStore,
    /// The commit whose outcome was not seen.
    pub(super) in_doubt: Option<InDoubt>,
    /// Nodes of commits that were not applied, where nodes are stored one by one.
    pub(super) abandoned: Vec<NodeName>,
    /// Set when all that the root lists as garbage is deleted: the pages of that list.
    pub(super) collected: Option<Vec<NodeName>>,
    /// How many nodes there were when they were listed last.
    pub(super) listed: usize,
    /// How often the backend had been closed when the root was read last.
    closings: u64,
    /// Why what was met in the root's place since then was refused.
    refused: OnceLock<Error>,
}

/// Which state of a client was read: what [`ClientStore::ensure_not_before`] compares another one with.
#[derive(Clone, Copy)]
pub struct StateRead {
    seed: u64,
    number: u64,
    digest: Digest,
}

impl StateRead {
    /// As [`ClientStore::number`].
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A record of a scope.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// Its key, 1 to [`MAX_RECORD_KEY_LEN`](crate::limits::MAX_RECORD_KEY_LEN) bytes.
    pub key: SecretBytes,
    /// Its value.
    pub value: Value,
}

impl ClientStore {
    /// A client that is not stored before its first commit.
    pub(super) async fn new(keep: Keep, root: Root) -> Result<Self> {
        let place = Place::new(keep.header().token(&root.identity)?)?;
        let stored = keep.backend().load(&place.key).await?;
        let mut client = Self::at(keep, place, root, stored);
        if let Some(stored) = client.stored.clone() {
            let tombstone = client.keep.open_root(&client.token, &stored).await?;
            client.take_over(&tombstone)?;
        }
        Ok(client)
    }

    pub(super) async fn open(keep: Keep, identity: &[u8]) -> Result<Self> {
        let (place, root, stored) = Self::find(&keep, identity).await?;
        Self::opened(keep, place, root, stored).await
    }

    /// As [`open`](Self::open), whatever its standing is; and nothing is tidied up.
    pub(super) async fn inspect(keep: Keep, identity: &[u8]) -> Result<Self> {
        let (place, root, stored) = Self::find(&keep, identity).await?;
        match root.standing {
            Standing::Deleted => Err(no_client()),
            _ => Ok(Self::at(keep, place, root, Some(stored))),
        }
    }

    async fn find(keep: &Keep, identity: &[u8]) -> Result<(Place, Root, Bytes)> {
        let place = Place::new(keep.header().token(identity)?)?;
        let stored = keep.backend().load(&place.key).await?.ok_or_else(no_client)?;
        let root = keep.open_root(&place.token, &stored).await?;
        Ok((place, root, stored))
    }

    /// A client whose root was read just now.
    pub(super) async fn opened(keep: Keep, place: Place, root: Root, stored: Bytes) -> Result<Self> {
        ensure_active(&root)?;
        let mut client = Self::at(keep, place, root, Some(stored));
        debug!(client = client.own_label(), number = client.root.number, nodes = client.root.nodes, "opened a client");
        client.tidy().await;
        Ok(client)
    }

    pub(super) fn at(keep: Keep, place: Place, root: Root, stored: Option<Bytes>) -> Self {
        let nodes = NodeStore::new(Arc::clone(keep.backend()), place.prefix);
        let (token, key, closings) = (place.token, place.key, keep.closings());
        Self {
            keep,
            token,
            key,
            stored,
            root,
            nodes,
            in_doubt: None,
            abandoned: Vec::new(),
            collected: None,
            listed: 0,
            closings,
            refused: OnceLock::new(),
        }
    }

    /// The keep that the client is of.
    #[must_use]
    pub fn keep(&self) -> &Keep {
        &self.keep
    }

    /// The client's identity.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.root.identity
    }

    /// What `scope` is called in events: a short keyed hash. Without the keep's key it reveals nothing. It is the same in every
    /// process that opens the keep.
    #[must_use]
    pub fn label(&self, scope: &ScopeId) -> String {
        match self.keep.header().label(&self.token, scope.as_key()) {
            Ok(label) => crate::text::encode(&label),
            Err(_) => String::new(),
        }
    }

    /// What the client is called in events.
    pub(super) fn own_label(&self) -> String {
        self.label(&ScopeId::client())
    }

    /// Keeps decoded nodes of about this many bytes in memory from here on, and forgets those that it has. Default 4 MiB.
    pub fn set_cache_len(&self, bytes: usize) {
        self.nodes.set_cache_len(bytes);
    }

    /// How many commits made the root that this reads from.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.root.number
    }

    /// The state that this reads from.
    #[must_use]
    pub fn state(&self) -> StateRead {
        let digest = self.stored.as_deref().map(digest).unwrap_or_default();
        StateRead { seed: self.root.seed, number: self.root.number, digest }
    }

    /// Refuses a state that neither is `seen` nor comes after it, as far as roots remember.
    ///
    /// # Errors
    /// `RolledBack` if this reads from an older state of the client, or one that was made from an older state; `NotFound` if it
    /// is of another client.
    pub fn ensure_not_before(&self, seen: &StateRead) -> Result<()> {
        let state = self.state();
        if (state.seed, state.digest) == (seen.seed, seen.digest) {
            return Ok(());
        }
        self.ensure_after(&self.root, seen)
    }

    /// All scopes, in byte order of their ids.
    ///
    /// # Errors
    /// `Conflict` if somebody else committed and the root's nodes are gone, `Corrupt`; and the errors of the backend.
    pub async fn scopes(&self) -> Result<Vec<ScopeId>> {
        let entries = self.root.directory.scan(&self.nodes, &RecordRange::all()).await;
        Ok(self.checked(entries).await?.iter().map(|entry| ScopeId::from_key(&entry.key)).collect())
    }

    /// The groups that were restored from an older state and must be entered anew, in byte order of their ids.
    ///
    /// # Errors
    /// As [`scopes`](Self::scopes).
    pub async fn scopes_to_rejoin(&self) -> Result<Vec<ScopeId>> {
        let entries = self.root.directory.scan(&self.nodes, &RecordRange::all()).await;
        let mut marked = Vec::new();
        for entry in self.checked(entries).await? {
            if top_of(entry.value)?.version().needs_rejoin() {
                marked.push(ScopeId::from_key(&entry.key));
            }
        }
        Ok(marked)
    }

    /// The state that `scope` is in, `None` if it does not exist.
    ///
    /// # Errors
    /// As [`scopes`](Self::scopes).
    pub async fn scope_version(&self, scope: &ScopeId) -> Result<Option<ScopeVersion>> {
        let top = self.scope_top(scope).await;
        Ok(self.checked(top).await?.map(|top| top.version()))
    }

    /// The records of `scope` in `range`, in key order (or backwards), with their values. None if there is no such scope.
    ///
    /// # Errors
    /// As [`scopes`](Self::scopes).
    pub async fn records(&self, scope: &ScopeId, range: &RecordRange) -> Result<Vec<Record>> {
        let records = self.read_records(scope, range).await;
        self.checked(records).await
    }

    /// The value of one record.
    ///
    /// # Errors
    /// As [`scopes`](Self::scopes).
    pub async fn record(&self, scope: &ScopeId, key: &[u8]) -> Result<Option<Value>> {
        let value = self.read_record(scope, key).await;
        self.checked(value).await
    }

    /// Reads from the newest root. Returns whether it is another one than before.
    ///
    /// A root that does not come after the one that this read from is refused: what was seen is never undone.
    ///
    /// # Errors
    /// - `RolledBack`: the store holds an older state of the client, or one that was made from an older state.
    /// - `NotFound`: the client was deleted, also if another one of its identity was made since.
    /// - `Conflict`: this client is new, and somebody else made one of its identity.
    /// - `MovedOut`: the client was moved to another device.
    /// - `OutcomeUnknown`: an earlier commit did not say how it went, and the store cannot be asked now.
    /// - `Corrupt`, `UnsupportedVersion`; and the errors of the backend.
    pub async fn refresh(&mut self) -> Result<bool> {
        let closings = self.keep.closings();
        let changed = self.try_refresh().await?;
        self.closings = closings;
        self.refused = OnceLock::new();
        Ok(changed)
    }

    async fn try_refresh(&mut self) -> Result<bool> {
        let before = self.stored.clone();
        self.settle().await?;
        let stored = self.keep.backend().load(&self.key).await?;
        if stored == self.stored {
            return Ok(stored != before);
        }
        let Some(stored) = stored else {
            // To a new client it does not matter that a tombstone is gone.
            return if self.is_new() { Ok(self.stored.take().is_some()) } else { Err(client_gone()) };
        };
        let root = self.keep.open_root(&self.token, &stored).await?;
        if self.is_new() && root.seed != self.root.seed {
            self.take_over(&root)?;
            self.stored = Some(stored);
            return Ok(true);
        }
        if !self.is_new() {
            self.ensure_follows(&root)?;
        }
        ensure_active(&root)?;
        debug!(
            client = self.own_label(),
            from = self.root.number,
            to = root.number,
            "another writer's state is taken over"
        );
        self.adopt(root, stored);
        Ok(true)
    }

    /// Whether the store holds another root than the one that this reads from and has put there: one of somebody else, or none
    /// any more. Loads the root's bytes and nothing else, and changes nothing here: what follows is [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn is_behind(&self) -> Result<bool> {
        let stored = self.keep.backend().load(&self.key).await?;
        let is_own = self.in_doubt.as_ref().is_some_and(|doubt| doubt.has_made(stored.as_ref()));
        Ok(stored != self.stored && !is_own)
    }

    /// Whether the client goes on from what was read here, as far as that is known. Where it does not, nothing may be sent,
    /// also where sending commits nothing.
    ///
    /// # Errors
    /// `MovedOut` if the client is known to have been moved to another device; `NotFound` or `RolledBack` if reading has said so:
    /// [`refresh`](Self::refresh) looks again; `Poisoned` if the keep was closed since the root was read: refresh when it is
    /// resumed.
    pub fn ensure_here(&self) -> Result<()> {
        if self.closings != self.keep.closings() {
            let text = "the keep was closed since the client was read: resume it, and refresh";
            return Err(Error::new(ErrorKind::Poisoned, text));
        }
        if let Some(refused) = self.refused.get() {
            return Err(refused.clone());
        }
        if self.is_new() { Ok(()) } else { ensure_active(&self.root) }
    }

    /// Whether nothing of the client is stored yet.
    pub(super) fn is_new(&self) -> bool {
        self.root.number == 0
    }

    /// The place of a new client is taken by `root`, if that is a tombstone.
    fn take_over(&mut self, root: &Root) -> Result<()> {
        ensure_tombstone(root)?;
        self.root.remember(&root.archives);
        Ok(())
    }

    /// Reads from `root` from here on.
    pub(super) fn adopt(&mut self, root: Root, stored: Bytes) {
        self.root = root;
        self.stored = Some(stored);
        self.collected = None;
    }

    /// Refuses a root that does not come after the one that was seen, and remembers it.
    pub(super) fn ensure_follows(&self, root: &Root) -> Result<()> {
        let follows = self.ensure_after(root, &self.state());
        follows.inspect_err(|error| drop(self.refused.set(error.clone())))
    }

    fn ensure_after(&self, root: &Root, seen: &StateRead) -> Result<()> {
        match root.descent(seen.seed, seen.number, &seen.digest) {
            // Too many commits for a root to remember: its number is all there is to go by.
            Descent::After | Descent::Unknown => Ok(()),
            Descent::Elsewhere => {
                error!(client = self.own_label(), seen = seen.number, found = root.number, "the store has gone back");
                Err(rolled_back())
            }
            Descent::OtherClient => Err(client_gone()),
        }
    }

    /// A commit that only puts `replacement` in the root's place.
    pub(super) fn swap_to(&self, replacement: Bytes) -> Commit {
        let swap = Swap { key: self.key.clone(), expected: self.stored.clone(), replacement: Some(replacement) };
        Commit { puts: Vec::new(), swap, deletes: Vec::new() }
    }

    pub(super) async fn scope_top(&self, scope: &ScopeId) -> Result<Option<ScopeTop>> {
        match self.root.directory.get(&self.nodes, scope.as_key()).await? {
            Some(value) => top_of(value).map(Some),
            None => Ok(None),
        }
    }

    async fn read_records(&self, scope: &ScopeId, range: &RecordRange) -> Result<Vec<Record>> {
        let Some(top) = self.scope_top(scope).await? else { return Ok(Vec::new()) };
        let entries = Tree::Stored(top.pointer).scan(&self.nodes, range).await?;
        let mut records = Vec::with_capacity(entries.len());
        for LeafEntry { key, value } in entries {
            records.push(Record { key, value: self.value(value).await? });
        }
        Ok(records)
    }

    async fn read_record(&self, scope: &ScopeId, key: &[u8]) -> Result<Option<Value>> {
        let Some(top) = self.scope_top(scope).await? else { return Ok(None) };
        match Tree::Stored(top.pointer).get(&self.nodes, key).await? {
            Some(value) => self.value(value).await.map(Some),
            None => Ok(None),
        }
    }

    async fn value(&self, value: LeafValue) -> Result<Value> {
        match value {
            LeafValue::Inline(value) => Ok(value),
            LeafValue::Chunked(list) => load_long(&self.nodes, &list).await,
            LeafValue::Map { .. } => Err(Error::new(ErrorKind::Corrupt, "a record holds a map")),
        }
    }

    /// A node that is missing is damage, unless somebody else replaced the root that named it.
    pub(super) async fn checked<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let stored = self.keep.backend().load(&self.key).await?;
                if stored == self.stored {
                    return Err(error);
                }
                if let Some(stored) = stored
                    && !self.is_new()
                {
                    self.ensure_follows(&self.keep.open_root(&self.token, &stored).await?)?;
                }
                Err(Error::new(ErrorKind::Conflict, "the client was changed by somebody else while it was read"))
            }
            other => other,
        }
    }
}

impl fmt::Debug for StateRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateRead").field("number", &self.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStore").field("number", &self.root.number).finish_non_exhaustive()
    }
}

/// # Errors
/// `NotFound` for a tombstone, `MovedOut` for a client that is to go on elsewhere.
pub(super) fn ensure_active(root: &Root) -> Result<()> {
    match root.standing {
        Standing::Active | Standing::Restored => Ok(()),
        Standing::Deleted => Err(no_client()),
        Standing::MovedOut => Err(Error::new(
            ErrorKind::MovedOut,
            "the client was moved to another device: use it there; if it never arrived, reclaim it",
        )),
    }
}

fn ensure_tombstone(root: &Root) -> Result<()> {
    if root.standing == Standing::Deleted {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "the keep has a client of this identity already"))
}

pub(super) fn no_client() -> Error {
    Error::new(ErrorKind::NotFound, "the keep has no client of this identity")
}

/// The error of those who have a client open that was deleted.
pub(super) fn client_gone() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "the client was deleted; one of its identity that is there now is another one: load that one anew",
    )
}

pub(super) fn rolled_back() -> Error {
    Error::new(
        ErrorKind::RolledBack,
        "the store holds an older state of the client than was seen before: somebody put a copy in place",
    )
}
