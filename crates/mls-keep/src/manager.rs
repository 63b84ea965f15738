//! [`PersistenceManager`]: an opened keep, and saving clients to and loading them from it.

use std::fmt;
use std::sync::Arc;

use mls_keep_core::{Encryption, Entropy, Error, ErrorKind, Keep, Result, StorageBackend};
use openmls::group::GroupId;
use openmls_rust_crypto::RustCrypto;
use tracing::instrument;

use crate::client::{Client, ClientBuilder, CryptoProvider, DEFAULT_MEMORY, GroupSummary, Reader};
use crate::entropy::SystemEntropy;
use crate::policy::{Persistence, SavePolicy};

/// An opened keep. Cloning shares it.
///
/// ```
/// use mls_keep::{Client, Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager, SavePolicy, SystemEntropy};
/// # futures_executor::block_on(async {
/// let key = MasterKey::generate(&SystemEntropy)?;
/// let manager = PersistenceManager::builder(MemoryBackend::new())
///     .encryption(Encryption::hkdf_sha256(key))
///     .open()
///     .await?;
/// let mut alice = Client::builder("alice@example.com")
///     .persistence(Persistence { manager: manager.clone(), save: SavePolicy::EveryOperation })
///     .create()
///     .await?;
/// let group = alice.create_group("tea").await?;
/// drop(alice);
///
/// let mut alice = manager.load_client_state("alice@example.com").await?;
/// alice.send(&group, b"still here").await?;
/// # Ok::<(), mls_keep::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct PersistenceManager {
    keep: Keep,
    /// Of each client.
    memory: usize,
}

/// Opens a [`PersistenceManager`]: see [`PersistenceManager::builder`].
#[must_use = "a builder does nothing until `open` is called"]
pub struct PersistenceManagerBuilder {
    backend: Arc<dyn StorageBackend>,
    encryption: Option<Encryption>,
    entropy: Arc<dyn Entropy>,
    memory: usize,
}

impl PersistenceManager {
    /// Begins to open the keep of `backend`.
    pub fn builder(backend: impl StorageBackend) -> PersistenceManagerBuilder {
        Self::builder_shared(Arc::new(backend))
    }

    /// As [`builder`](Self::builder), for a backend that is shared already.
    pub fn builder_shared(backend: Arc<dyn StorageBackend>) -> PersistenceManagerBuilder {
        PersistenceManagerBuilder {
            backend,
            encryption: None,
            entropy: Arc::new(SystemEntropy),
            memory: DEFAULT_MEMORY,
        }
    }

    /// Begins to make a client that this keep has from the beginning, saved at [every operation](SavePolicy::EveryOperation).
    ///
    /// # Examples
    /// ```
    /// # use mls_keep::{Encryption, MasterKey, MemoryBackend, PersistenceManager};
    /// # futures_executor::block_on(async {
    /// # let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    /// # let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await?;
    /// let mut alice = manager.client_builder("alice").create().await?;
    /// # assert_eq!(manager.clients().await?, [b"alice"]);
    /// # alice.close().await
    /// # }).unwrap();
    /// ```
    pub fn client_builder(&self, identity: impl Into<Vec<u8>>) -> ClientBuilder {
        let save = SavePolicy::EveryOperation;
        Client::builder(identity).persistence(Persistence { manager: self.clone(), save })
    }

    /// Saves everything of `client` that is not durable yet. A client that was only in memory belongs to this keep from
    /// here on, and is saved at [every operation](SavePolicy::EveryOperation).
    ///
    /// A call whose future was dropped, or that ended with `OutcomeUnknown`, may be repeated: the client recognises what it has
    /// stored itself. Until it is known whether the first save was applied, no other call uses the client: each finds it out,
    /// or fails with `OutcomeUnknown`. If it was, the client belongs to this keep.
    ///
    /// # Errors
    /// `Invalid` if the client belongs to another keep, `Conflict` if this keep has a client of this identity already or
    /// somebody else changed it; and the errors of the backend.
    pub async fn save_client_state<C: CryptoProvider>(&self, client: &mut Client<C>) -> Result<()> {
        client.attach_and_save(&self.keep, self.memory).await
    }

    /// Loads a client with the default cryptography ([`RustCrypto`]).
    ///
    /// # Errors
    /// `NotFound` if the keep has no client of this identity, `Corrupt`, `UnsupportedVersion`; and the errors of the
    /// backend.
    pub async fn load_client_state(&self, identity: impl AsRef<[u8]>) -> Result<Client> {
        self.load_client_state_with(identity, Arc::new(RustCrypto::default())).await
    }

    /// As [`load_client_state`](Self::load_client_state), saved at other times than every operation from the beginning. When
    /// a client is saved is not stored with it.
    ///
    /// # Errors
    /// `Invalid` if more is to be [reserved](SavePolicy::Interval) than the client's groups tolerate; and as
    /// [`load_client_state`](Self::load_client_state).
    pub async fn load_client_state_saving(&self, identity: impl AsRef<[u8]>, save: SavePolicy) -> Result<Client> {
        let store = self.keep.open_client(identity.as_ref()).await?;
        Ok(self.bounded(Client::load(store, Arc::new(RustCrypto::default()), save).await?))
    }

    /// Loads the only client that the keep has.
    ///
    /// # Errors
    /// `NotFound` if it has none, `Invalid` if it has several; and as [`load_client_state`](Self::load_client_state).
    pub async fn load_only_client(&self) -> Result<Client> {
        let store = self.keep.open_only_client().await?;
        Ok(self.bounded(Client::load(store, Arc::new(RustCrypto::default()), SavePolicy::EveryOperation).await?))
    }

    /// Loads a client with the cryptography of the caller's choice.
    ///
    /// # Errors
    /// As [`load_client_state`](Self::load_client_state).
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn load_client_state_with<C: CryptoProvider>(
        &self,
        identity: impl AsRef<[u8]>,
        crypto: Arc<C>,
    ) -> Result<Client<C>> {
        let store = self.keep.open_client(identity.as_ref()).await?;
        Ok(self.bounded(Client::load(store, crypto, SavePolicy::EveryOperation).await?))
    }

    /// Saves what is not durable yet of one group, and with it of the whole client, in one commit: an operation changes a
    /// group together with others or with the client's own material (a Welcome uses up a key package), and half of one
    /// would be neither before nor after.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group; and as [`save_client_state`](Self::save_client_state).
    pub async fn save_group_state<C: CryptoProvider>(&self, client: &mut Client<C>, group: &GroupId) -> Result<()> {
        client.group(group).await?;
        client.attach_and_save(&self.keep, self.memory).await
    }

    /// Loads a group of `client` into memory, so that its next operation reads nothing.
    ///
    /// # Errors
    /// `NotFound` if there is no such group, `Invalid` if the client does not belong to this keep, `Corrupt`; and the
    /// errors of the backend.
    pub async fn load_group_state<C: CryptoProvider>(
        &self,
        client: &mut Client<C>,
        group: &GroupId,
    ) -> Result<GroupSummary> {
        if !client.belongs_to(&self.keep) {
            return Err(Error::new(ErrorKind::Invalid, "the client does not belong to this keep"));
        }
        client.group(group).await
    }

    /// What reads a client without loading it, and beside those who have: see [`Reader`].
    #[must_use]
    pub fn reader(&self, identity: impl AsRef<[u8]>) -> Reader {
        Reader::new(&self.keep, identity.as_ref())
    }

    /// The identities of all clients of the keep, in byte order.
    ///
    /// # Errors
    /// `Corrupt`, `UnsupportedVersion`; and the errors of the backend.
    pub async fn clients(&self) -> Result<Vec<Vec<u8>>> {
        self.keep.clients().await
    }

    /// Removes a client with all of its groups. A call that failed may be repeated, and goes on where it ended.
    ///
    /// # Errors
    /// `NotFound` if there is no such client, `Conflict` if it is in use; else as [`Keep::delete_client`].
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn delete_client(&self, identity: impl AsRef<[u8]>) -> Result<()> {
        self.keep.delete_client(identity.as_ref()).await
    }

    /// The keep itself, for what has nothing to do with MLS: `verify`, `gc`, raw records.
    #[must_use]
    pub fn keep(&self) -> &Keep {
        &self.keep
    }

    /// The client, which takes no more memory than this manager's clients are to take.
    pub(crate) fn bounded<C: CryptoProvider>(&self, mut client: Client<C>) -> Client<C> {
        client.set_memory_if_unset(self.memory);
        client
    }

    /// Closes the backend: no file is open and no lock held after this. It saves nothing: [`Client::suspend`] does, and
    /// [`Client::close`]. Calls of the keep's clients are `Poisoned` until it is [resumed](Self::resume). Closing twice is `Ok`.
    ///
    /// # Errors
    /// Those of the backend. The keep is closed whatever they are.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn close(&self) -> Result<()> {
        self.keep.close().await
    }

    /// Goes on, after a [`close`](Self::close), on the same store, opened anew. No key is needed. Each client takes over what
    /// others have changed meanwhile when it is used next: see [`Client::resume`], which does that at once for one.
    ///
    /// # Errors
    /// `Invalid` if the keep is not closed, or `backend` holds another keep or promises something else; `NotFound` if it
    /// holds none, `WrongKey` if the keep's key was changed, `RolledBack` if its header is an older one than was seen before;
    /// `Corrupt`, `UnsupportedVersion`; and the errors of the backend. The keep stays closed, and `backend` is closed, too.
    pub async fn resume(&self, backend: Arc<dyn StorageBackend>) -> Result<()> {
        self.keep.resume(backend).await
    }
}

impl fmt::Debug for PersistenceManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistenceManager").finish_non_exhaustive()
    }
}

impl PersistenceManagerBuilder {
    /// The key that opens the keep. There is no keep without one.
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = Some(encryption);
        self
    }

    /// Another source of random bytes than [`SystemEntropy`]. Everything rests on it.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Bounds what each client of this manager keeps in memory, bytes, unless [it is told otherwise](Client::set_memory).
    /// Default 68 MiB; where a process has little, as an extension that shows notifications has, a few MiB are enough. It says
    /// nothing about what the backend takes, nor what one operation on a large group takes while it runs.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Opens the keep, or makes one if the backend is empty.
    ///
    /// # Errors
    /// `Invalid` without an encryption, `WrongKey`, `UnsupportedVersion`, `Corrupt`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn open(self) -> Result<PersistenceManager> {
        let encryption = self.encryption.ok_or_else(no_encryption)?;
        let keep = Keep::open_or_create(self.backend, &encryption, self.entropy).await?;
        Ok(PersistenceManager { keep, memory: self.memory })
    }

    /// Opens a keep that is there, and makes none.
    ///
    /// # Errors
    /// `NotFound` if there is none; and as [`open`](Self::open).
    pub async fn open_existing(self) -> Result<PersistenceManager> {
        let encryption = self.encryption.ok_or_else(no_encryption)?;
        let keep = Keep::open(self.backend, &encryption, self.entropy).await?;
        Ok(PersistenceManager { keep, memory: self.memory })
    }
}

impl fmt::Debug for PersistenceManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistenceManagerBuilder").finish_non_exhaustive()
    }
}

fn no_encryption() -> Error {
    Error::new(ErrorKind::Invalid, "a keep needs an encryption: there is no unencrypted mode")
}
