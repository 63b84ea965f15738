//! [`Keep`]: an opened backend with its keys; [`ClientStore`]: one client's root and what hangs on it.

mod back_up;
mod client;
mod collect;
mod commit;
mod delete;
mod garbage;
mod header;
mod moving;
mod outcome;
mod restore;
mod root;
mod scope;
mod slot;
#[cfg(test)]
mod tests;
mod verify;
#[cfg(test)]
pub(crate) use root::fuzz::nodes as fuzz_nodes;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::backend::StorageBackend;
use crate::capabilities::Capabilities;
use crate::commit::{Commit, Swap};
use crate::entropy::Entropy;
use crate::envelope::Encryption;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::limits::MAX_IDENTITY_LEN;
use crate::names;
pub use back_up::BackupPlan;
pub use client::{ClientStore, Record, StateRead};
pub use collect::Swept;
use header::{Header, HeaderKey};
pub use restore::RestorePlan;
use root::{Root, Standing, root_key_id};
pub use scope::{Changes, Committed, ScopeChanges, ScopeId, ScopeVersion};
use slot::Slot;
pub use verify::{Statistics, Verification};

/// An opened backend with its keys. Cloning shares it.
#[derive(Clone)]
pub struct Keep {
    shared: Arc<Shared>,
}

struct Shared {
    /// The same as `backend`.
    slot: Arc<Slot>,
    backend: Arc<dyn StorageBackend>,
    entropy: Arc<dyn Entropy>,
    /// As it was seen last: another process may change it.
    header: RwLock<Arc<Header>>,
    header_key: HeaderKey,
}

impl Keep {
    /// Makes a keep in an empty backend.
    ///
    /// # Errors
    /// `Conflict` if the backend has a keep already, `Invalid` if it holds anything else, or the encryption's parameters
    /// break a limit; and the errors of the backend.
    pub async fn create(
        backend: Arc<dyn StorageBackend>,
        encryption: &Encryption,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let key = Key::new(names::HEADER)?;
        if backend.load(&key).await?.is_some() {
            return Err(exists());
        }
        // A keep whose header was lost must not be written over: its roots could be opened again with a backup of it.
        if !backend.list_page("", None, 1).await?.is_empty() {
            // What is there may be the header of somebody who was faster.
            return Err(match backend.load(&key).await? {
                Some(_) => exists(),
                None => Error::new(ErrorKind::Invalid, "the store is not empty and has no keep's header"),
            });
        }
        let (header, stored, header_key) = Header::create(encryption, entropy.as_ref()).await?;
        let swap = Swap { key, expected: None, replacement: Some(stored) };
        outcome::decide(backend.as_ref(), Commit { puts: Vec::new(), swap, deletes: Vec::new() })
            .await
            .map_err(|error| if error.kind() == ErrorKind::Conflict { exists() } else { error })?;
        Ok(Self::opened(backend, entropy, header, header_key))
    }

    /// Opens the keep of a backend.
    ///
    /// # Errors
    /// `NotFound` if there is none, `WrongKey`, `UnsupportedVersion`, `Corrupt`; and the errors of the backend.
    pub async fn open(
        backend: Arc<dyn StorageBackend>,
        encryption: &Encryption,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let Some(stored) = backend.load(&Key::new(names::HEADER)?).await? else {
            return Err(no_keep());
        };
        let (header, header_key) = Header::open(encryption, &stored).await?;
        Ok(Self::opened(backend, entropy, header, header_key))
    }

    fn opened(
        backend: Arc<dyn StorageBackend>,
        entropy: Arc<dyn Entropy>,
        header: Header,
        header_key: HeaderKey,
    ) -> Self {
        let header = RwLock::new(Arc::new(header));
        let slot = Arc::new(Slot::new(backend));
        let backend = Arc::clone(&slot) as Arc<dyn StorageBackend>;
        Self { shared: Arc::new(Shared { slot, backend, entropy, header, header_key }) }
    }

    /// Opens the keep of a backend, or makes one if the backend is empty.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`create`](Self::create), without `NotFound`.
    pub async fn open_or_create(
        backend: Arc<dyn StorageBackend>,
        encryption: &Encryption,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        match Self::open(Arc::clone(&backend), encryption, Arc::clone(&entropy)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        match Self::create(Arc::clone(&backend), encryption, Arc::clone(&entropy)).await {
            // Somebody else made it in between.
            Err(error) if error.kind() == ErrorKind::Conflict => Self::open(backend, encryption, entropy).await,
            other => other,
        }
    }

    /// The identities of all clients, in byte order.
    ///
    /// # Errors
    /// `Corrupt` if a root does not open; and the errors of the backend.
    pub async fn clients(&self) -> Result<Vec<Vec<u8>>> {
        let mut identities: Vec<_> = self.roots().await?.into_iter().map(|(_, root, _)| root.identity).collect();
        identities.sort_unstable();
        Ok(identities.iter().map(|identity| identity.to_vec()).collect())
    }

    /// Opens the only client that there is.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Invalid` if there are several; and as [`open_client`](Self::open_client).
    pub async fn open_only_client(&self) -> Result<ClientStore> {
        let mut roots = self.roots().await?;
        match (roots.pop(), roots.as_slice()) {
            (Some((place, root, stored)), []) => ClientStore::opened(self.clone(), place, root, stored).await,
            (None, _) => Err(Error::new(ErrorKind::NotFound, "the keep has no client")),
            _ => Err(Error::new(ErrorKind::Invalid, "the keep has several clients: name one")),
        }
    }

    /// The roots of all clients that are not deleted, and as they are stored.
    async fn roots(&self) -> Result<Vec<(Place, Root, Bytes)>> {
        let keys = self.backend().list(names::ROOTS).await?;
        let stored = self.backend().load_many(&keys).await?;
        let mut roots = Vec::with_capacity(keys.len());
        // A root that went between the two calls is no client any more.
        for (key, stored) in keys.iter().zip(stored).filter_map(|(key, stored)| Some((key, stored?))) {
            let token = crate::text::decode(key.as_str().strip_prefix(names::ROOTS).unwrap_or_default())
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the store holds a root of an unknown name"))?;
            let root = self.open_root(&token, &stored).await?;
            if root.standing != Standing::Deleted {
                roots.push((Place::new(token)?, root, stored));
            }
        }
        Ok(roots)
    }

    /// Makes a client with nothing in it. An identity is 1 to [`MAX_IDENTITY_LEN`] bytes.
    ///
    /// # Errors
    /// `Conflict` if there is a client of this identity, `Invalid` if the identity is over its limit; and the errors of
    /// the backend.
    pub async fn create_client(&self, identity: &[u8]) -> Result<ClientStore> {
        let mut client = self.new_client(identity).await?;
        client.commit(&Changes::new()).await?;
        Ok(client)
    }

    /// Begins to make a client. It is stored by its first commit, together with what that changes.
    ///
    /// # Errors
    /// As [`create_client`](Self::create_client). The first commit is a `Conflict` if somebody else was faster.
    pub async fn new_client(&self, identity: &[u8]) -> Result<ClientStore> {
        if identity.is_empty() || identity.len() > MAX_IDENTITY_LEN {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("an identity has 1 to {MAX_IDENTITY_LEN} bytes, this one {}", identity.len()),
            ));
        }
        ClientStore::new(self.clone(), Root::new(identity, self.entropy())?).await
    }

    /// Opens a client.
    ///
    /// # Errors
    /// `NotFound` if there is no client of this identity, `MovedOut` if it was moved to another device, `Corrupt`,
    /// `UnsupportedVersion`; and the errors of the backend.
    pub async fn open_client(&self, identity: &[u8]) -> Result<ClientStore> {
        ClientStore::open(self.clone(), identity).await
    }

    /// Opens a client as it stands, also one that was moved to another device: to verify it, to reclaim it, or to write the
    /// archive of its move again. One that was moved is not changed by anything else.
    ///
    /// # Errors
    /// As [`open_client`](Self::open_client).
    pub async fn inspect_client(&self, identity: &[u8]) -> Result<ClientStore> {
        ClientStore::inspect(self.clone(), identity).await
    }

    /// 16 random bytes that distinguish this keep from every other.
    #[must_use]
    pub fn store_id(&self) -> [u8; 16] {
        self.header().store_id
    }

    /// What the backend promises.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.backend().capabilities()
    }

    /// Closes the backend, and with it whatever that holds: files, locks, connections. Calls of the keep and its clients are
    /// `Poisoned` after this, until the keep is [resumed](Self::resume). Closing twice is `Ok`.
    ///
    /// # Errors
    /// Those of the backend. The keep is closed whatever they are.
    pub async fn close(&self) -> Result<()> {
        self.backend().close().await
    }

    /// Goes on, after a [`close`](Self::close), on a backend that was opened anew. The keep's key is not needed again. Others
    /// may have used the store meanwhile: a client must [`refresh`](ClientStore::refresh) before it
    /// [goes on](ClientStore::ensure_here).
    ///
    /// # Errors
    /// `Invalid` if the keep is not closed, or `backend` holds another keep or promises something else than the one before;
    /// `NotFound` if it holds none, `WrongKey` if the keep's key was changed, `RolledBack` if its header is an older one than
    /// was seen before; `Corrupt`, `UnsupportedVersion`; and the errors of the backend. The keep stays closed, and `backend` is
    /// closed, too.
    pub async fn resume(&self, backend: Arc<dyn StorageBackend>) -> Result<()> {
        if !self.shared.slot.is_closed() {
            return Err(slot::not_closed());
        }
        let resumed = match self.renew_header(backend.as_ref()).await {
            Ok(()) => self.shared.slot.fill(Arc::clone(&backend)),
            refused => refused,
        };
        if resumed.is_err() {
            // What refused it is what the caller has to know.
            drop(backend.close().await);
        }
        resumed
    }

    /// Whether the keep was [closed](Self::close), and not resumed since.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.slot.is_closed()
    }

    fn closings(&self) -> u64 {
        self.shared.slot.closings()
    }

    fn backend(&self) -> &Arc<dyn StorageBackend> {
        &self.shared.backend
    }

    fn entropy(&self) -> &dyn Entropy {
        self.shared.entropy.as_ref()
    }

    fn header(&self) -> Arc<Header> {
        // Replaced as a whole, so a panic elsewhere does not harm it.
        Arc::clone(&self.shared.header.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn seal(&self, root: &Root, token: &[u8; 16]) -> Result<Bytes> {
        root.seal(&self.header(), token, self.entropy())
    }

    /// Opens a stored root. One that is sealed under a root key which is not known here makes the header be read again.
    async fn open_root(&self, token: &[u8; 16], stored: &[u8]) -> Result<Root> {
        let mut header = self.header();
        if header.root_key(root_key_id(stored)?).is_none() {
            header = self.reload_header().await?;
        }
        Root::open(&header, token, stored)
    }

    async fn reload_header(&self) -> Result<Arc<Header>> {
        let stored = self.backend().load(&Key::new(names::HEADER)?).await?;
        self.take_header(&stored.ok_or_else(|| Error::new(ErrorKind::Corrupt, "the keep's header is gone"))?)
    }

    /// Reads the header from a backend that is to be this keep's.
    async fn renew_header(&self, backend: &dyn StorageBackend) -> Result<()> {
        let stored = backend.load(&Key::new(names::HEADER)?).await?.ok_or_else(no_keep)?;
        if Header::store_id(&stored)? != self.store_id() {
            return Err(Error::new(ErrorKind::Invalid, "this backend holds another keep"));
        }
        self.take_header(&stored).map(drop)
    }

    /// Takes over a header that was read just now.
    fn take_header(&self, stored: &[u8]) -> Result<Arc<Header>> {
        let header = Arc::new(Header::open_with(&self.shared.header_key, stored)?);
        let mut known = self.shared.header.write().unwrap_or_else(PoisonError::into_inner);
        if !header.follows(&known) {
            return Err(Error::new(ErrorKind::RolledBack, "the keep's header is an older one than was seen before"));
        }
        *known = Arc::clone(&header);
        Ok(header)
    }
}

/// Where a client is in the backend.
struct Place {
    token: [u8; 16],
    /// Of its root.
    key: Key,
    /// What the keys of its nodes begin with.
    prefix: String,
}

impl Place {
    fn new(token: [u8; 16]) -> Result<Self> {
        let name = crate::text::encode(&token);
        let key = Key::new(&format!("{}{name}", names::ROOTS))?;
        Ok(Self { token, key, prefix: format!("{}{name}/", names::NODES) })
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").finish_non_exhaustive()
    }
}

fn no_keep() -> Error {
    Error::new(ErrorKind::NotFound, "there is no keep in this store")
}

fn exists() -> Error {
    Error::new(ErrorKind::Conflict, "the store has a keep already")
}
