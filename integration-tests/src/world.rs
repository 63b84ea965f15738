//! [`World`]: two clients in a group, for tests that begin there.

use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, Persistence, PersistenceManager, SavePolicy};
use mls_keep_core::MemoryBackend;

use crate::store::open;

/// Alice and bob in one group, in one store.
pub struct World {
    /// The store.
    pub store: MemoryBackend,
    /// Its keep.
    pub manager: PersistenceManager,
    /// Who made the group.
    pub alice: Client,
    /// Who was invited.
    pub bob: Client,
    /// The group "tea".
    pub group: GroupId,
}

impl World {
    /// Makes all of it.
    ///
    /// # Panics
    /// If that fails.
    pub async fn new() -> Self {
        let (store, manager) = keep();
        let mut alice = client(&manager, "alice", SavePolicy::EveryOperation).await;
        let mut bob = client(&manager, "bob", SavePolicy::EveryOperation).await;
        let group = alice.create_group("tea").await.unwrap();
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        let welcome = alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap();
        bob.join(welcome).await.unwrap();
        Self { store, manager, alice, bob, group }
    }

    /// Another copy of a client.
    ///
    /// # Panics
    /// If it cannot be loaded.
    pub async fn load(&self, identity: &str) -> Client {
        self.manager.load_client_state(identity).await.unwrap()
    }
}

/// An empty store and its keep.
///
/// # Panics
/// Never: memory takes everything.
#[must_use]
pub fn keep() -> (MemoryBackend, PersistenceManager) {
    let store = MemoryBackend::new();
    (store.clone(), open(store).unwrap())
}

/// A new client.
///
/// # Panics
/// If it cannot be made.
pub async fn client(manager: &PersistenceManager, name: &str, save: SavePolicy) -> Client {
    let persistence = Persistence { manager: manager.clone(), save };
    Client::builder(name).persistence(persistence).create().await.unwrap()
}
