//! [`ClientStore`]: one client's root and the records of its scopes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::root::{Root, Standing};
use super::scope::{ScopeId, ScopeVersion};
use super::{Keep, NODE_PREFIX, ROOT_PREFIX};
use crate::commit::{Commit, Swap};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::map::{LeafEntry, LeafValue, NodeStore, Pointer, RecordRange, Tree, Value, load_long};
use crate::secret_bytes::SecretBytes;

/// A directory entry with any flag that this program does not know is refused.
pub(super) const NO_FLAGS: u8 = 0;

/// One client of a keep, as of one version of its root.
///
/// Reading is from that version. Several may be open on one client, here or in other processes: a commit that is based on
/// what somebody else changed is a `Conflict`, and so is reading what somebody else deleted; then
/// [`refresh`](Self::refresh).
pub struct ClientStore {
    pub(super) keep: Keep,
    pub(super) token: [u8; 16],
    pub(super) key: Key,
    /// The root as stored; `None` while the client is new.
    pub(super) stored: Option<Bytes>,
    pub(super) root: Root,
    pub(super) nodes: NodeStore,
}

/// A record of a scope.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its key, 1 to [`MAX_RECORD_KEY_LEN`](crate::limits::MAX_RECORD_KEY_LEN) bytes.
    pub key: SecretBytes,
    /// Its value.
    pub value: Value,
}

impl ClientStore {
    /// A client that is not stored before its first commit.
    pub(super) async fn new(keep: Keep, root: Root) -> Result<Self> {
        let token = keep.header().token(&root.identity)?;
        let (key, nodes) = names(&keep, &token)?;
        if keep.backend().load(&key).await?.is_some() {
            return Err(client_exists());
        }
        Ok(Self { keep, token, key, stored: None, root, nodes })
    }

    pub(super) async fn open(keep: Keep, identity: &[u8]) -> Result<Self> {
        let token = keep.header().token(identity)?;
        let (key, nodes) = names(&keep, &token)?;
        let stored = keep.backend().load(&key).await?.ok_or_else(no_client)?;
        let root = Root::open(keep.header(), &token, &stored)?;
        ensure_active(&root)?;
        let client = Self { keep, token, key, stored: Some(stored), root, nodes };
        client.delete_garbage().await;
        Ok(client)
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

    /// How many commits made the root that this reads from.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.root.number
    }

    /// All scopes, in byte order of their ids.
    ///
    /// # Errors
    /// `Conflict` if somebody else committed and the root's nodes are gone, `Corrupt`; and the errors of the backend.
    pub async fn scopes(&self) -> Result<Vec<ScopeId>> {
        let entries = self.root.directory.scan(&self.nodes, &RecordRange::all()).await;
        Ok(self.checked(entries).await?.iter().map(|entry| ScopeId::from_key(&entry.key)).collect())
    }

    /// The state that `scope` is in, `None` if it does not exist.
    ///
    /// # Errors
    /// As [`scopes`](Self::scopes).
    pub async fn scope_version(&self, scope: &ScopeId) -> Result<Option<ScopeVersion>> {
        let top = self.scope_top(scope).await;
        Ok(self.checked(top).await?.map(|top| ScopeVersion(*top.name())))
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
    /// # Errors
    /// `NotFound` if the client was deleted, `Conflict` if it is new and somebody else made one of its identity, `Corrupt`, `UnsupportedVersion`; and the errors of the backend.
    pub async fn refresh(&mut self) -> Result<bool> {
        let stored = self.keep.backend().load(&self.key).await?;
        if stored == self.stored {
            return Ok(false);
        }
        if self.stored.is_none() {
            return Err(client_exists());
        }
        let stored = stored.ok_or_else(no_client)?;
        let root = Root::open(self.keep.header(), &self.token, &stored)?;
        ensure_active(&root)?;
        self.root = root;
        self.stored = Some(stored);
        Ok(true)
    }

    /// Removes the client and everything that it has.
    ///
    /// # Errors
    /// `Conflict` if somebody else committed in between, `OutcomeUnknown` as for [`commit`](Self::commit); and the errors of
    /// the backend.
    pub async fn delete(self) -> Result<()> {
        let deletes = self.keep.backend().list(self.nodes.prefix()).await?;
        let swap = Swap { key: self.key.clone(), expected: self.stored.clone(), replacement: None };
        self.land(Commit { puts: Vec::new(), swap, deletes: deletes.clone() }).await?;
        if !self.keep.capabilities().atomic_commit {
            self.delete_rest(&deletes).await;
        }
        Ok(())
    }

    /// Deletes those of `nodes` that the commit which removed the root has left: no later open or `gc` would.
    async fn delete_rest(&self, nodes: &[Key]) {
        let left = self.keep.backend().list(self.nodes.prefix()).await.unwrap_or_default();
        // Others may be those of a new client of this identity.
        for key in left.iter().filter(|key| nodes.binary_search(key).is_ok()) {
            // The client is gone already, and its keys with it.
            drop(self.keep.backend().delete(key).await);
        }
    }

    pub(super) async fn scope_top(&self, scope: &ScopeId) -> Result<Option<Arc<Pointer>>> {
        match self.root.directory.get(&self.nodes, scope.as_key()).await? {
            Some(value) => top_of(value).map(Some),
            None => Ok(None),
        }
    }

    async fn read_records(&self, scope: &ScopeId, range: &RecordRange) -> Result<Vec<Record>> {
        let Some(top) = self.scope_top(scope).await? else { return Ok(Vec::new()) };
        let entries = Tree::Stored(top).scan(&self.nodes, range).await?;
        let mut records = Vec::with_capacity(entries.len());
        for LeafEntry { key, value } in entries {
            records.push(Record { key, value: self.value(value).await? });
        }
        Ok(records)
    }

    async fn read_record(&self, scope: &ScopeId, key: &[u8]) -> Result<Option<Value>> {
        let Some(top) = self.scope_top(scope).await? else { return Ok(None) };
        match Tree::Stored(top).get(&self.nodes, key).await? {
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
                Err(Error::new(ErrorKind::Conflict, "the client was changed by somebody else while it was read"))
            }
            other => other,
        }
    }

    /// Deletes what the last commit could not delete itself. A failure is made good by the next open, or by `gc`.
    async fn delete_garbage(&self) {
        for name in &self.root.garbage {
            let Ok(key) = self.nodes.key(name) else { continue };
            if self.keep.backend().delete(&key).await.is_err() {
                break;
            }
        }
    }
}

impl fmt::Debug for ClientStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStore").field("number", &self.root.number).finish_non_exhaustive()
    }
}

/// The top node that a directory entry names.
pub(super) fn top_of(value: LeafValue) -> Result<Arc<Pointer>> {
    match value {
        LeafValue::Map { flags: NO_FLAGS, top } => Ok(top),
        LeafValue::Map { .. } => {
            Err(Error::new(ErrorKind::UnsupportedVersion, "a scope is in a state that this program does not know"))
        }
        _ => Err(Error::new(ErrorKind::Corrupt, "the directory holds something else than scopes")),
    }
}

fn names(keep: &Keep, token: &[u8; 16]) -> Result<(Key, NodeStore)> {
    let token = crate::text::encode(token);
    let nodes = NodeStore::new(Arc::clone(keep.backend()), format!("{NODE_PREFIX}{token}/"));
    Ok((Key::new(&format!("{ROOT_PREFIX}{token}"))?, nodes))
}

fn ensure_active(root: &Root) -> Result<()> {
    if root.standing == Standing::Active && root.reservations.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::UnsupportedVersion, "the client is in a state that this program does not know"))
}

fn client_exists() -> Error {
    Error::new(ErrorKind::Conflict, "the keep has a client of this identity already")
}

fn no_client() -> Error {
    Error::new(ErrorKind::NotFound, "the keep has no client of this identity")
}
