//! Reading a client and its groups from the keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use mls_keep_core::{ClientStore, Error, ErrorKind, Record, Result, ScopeId};
use openmls::credentials::{Credential, CredentialWithKey};
use openmls::group::{GroupId, MlsGroup};
use openmls::prelude::Ciphersuite;
use openmls_traits::signatures::Signer as _;
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::interval::Saves;
use super::receive_policy::AcceptValid;
use super::refusal::needs_rejoin;
use super::signer::GivenSigners;
use super::{Client, ClientSigner, CryptoProvider, GroupSettings, Profile};
use crate::clock::system_time;
use crate::memory::{GroupMemory, ScopeMemory};
use crate::policy::SavePolicy;
use crate::provider::TransactionStorage;
use crate::records::{self, Kind, Wiped, codec};
use crate::scope::Scope;

/// What a client is, besides its keys: record `01` of its scope.
#[derive(Deserialize, Serialize)]
pub(super) struct ClientRecord {
    pub(super) ciphersuite: u16,
    pub(super) credential_type: u16,
    pub(super) credential: Wiped<Vec<u8>>,
    pub(super) signature_key: Vec<u8>,
    pub(super) settings: GroupSettings,
}

impl ClientRecord {
    pub(super) fn read(storage: &TransactionStorage) -> Result<Self> {
        let stored = storage.get(&Scope::Client, &Kind::Client.only());
        let stored = stored.ok_or_else(|| Error::new(ErrorKind::Corrupt, "the client's own record is missing"))?;
        codec::decode(Kind::Client, &stored)
    }

    pub(super) fn write(&self, storage: &TransactionStorage) -> Result<()> {
        storage.put(&Scope::Client, Kind::Client.only(), Some(codec::encode(Kind::Client, self, 0)?));
        Ok(())
    }
}

impl<C: CryptoProvider> Client<C> {
    /// Loads the client that `store` is of.
    pub(crate) async fn load(store: ClientStore, crypto: Arc<C>, policy: SavePolicy) -> Result<Self> {
        let own = read_scope(&store, &ScopeId::client()).await?;
        let profile = Profile::load(store.identity(), &own, GivenSigners::default())?;
        profile.settings.check(policy)?;
        Ok(Self {
            crypto,
            profile,
            own,
            groups: Default::default(),
            escaped: Default::default(),
            uses: 1,
            memory: None,
            store: Some(store),
            first_save: None,
            policy,
            saves: Saves::new()?,
            uncertain: false,
            saving: false,
            receive_policy: Arc::new(AcceptValid),
            outbox: false,
            wall_clock: Arc::new(system_time),
        })
    }

    /// Reads from the newest state of the store from here on. Returns whether somebody else changed the client.
    ///
    /// Operations that change something notice by themselves. Call this before reading, where other processes use the same
    /// client.
    ///
    /// # Errors
    /// `NotFound` if the client was deleted, `Corrupt`, `UnsupportedVersion`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn refresh(&mut self) -> Result<bool> {
        self.settle().await?;
        let Some(store) = &mut self.store else { return Ok(false) };
        let refreshed = store.refresh().await;
        self.heed(refreshed)
    }

    /// Whether somebody else, an extension that shows notifications for instance, has changed the client in the store since it
    /// was read here. Asks for the client's root and loads nothing else, so it can be asked whenever the application comes
    /// to the front. [`refresh`](Self::refresh) takes over what there is, and says why it cannot.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn changed_elsewhere(&self) -> Result<bool> {
        match &self.store {
            Some(store) => store.is_behind().await,
            None => Ok(false),
        }
    }

    /// Drops what somebody else has changed in the store, as far as that is known here.
    pub(super) async fn freshen(&mut self) -> Result<()> {
        self.settle_first_save().await?;
        if self.store.as_ref().is_some_and(|store| store.ensure_here().is_err()) {
            // A fence may have been taken back without an answer.
            self.refresh().await?;
            self.store_mut()?.ensure_here()?;
        }
        if self.uncertain {
            self.refresh().await?;
            self.uncertain = false;
        }
        loop {
            let fresh = self.try_freshen().await;
            if !self.must_repeat(&fresh).await? {
                return fresh;
            }
        }
    }

    async fn try_freshen(&mut self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let own = ScopeId::client();
        if !self.own.is_unsaved() && store.scope_version(&own).await? != self.own.version {
            self.own = read_scope(store, &own).await?;
            self.reload_profile()?;
        }
        Ok(())
    }

    /// Whether a read has to be repeated, because somebody else replaced what it read.
    pub(super) async fn must_repeat<T>(&mut self, read: &Result<T>) -> Result<bool> {
        match read {
            Err(error) if error.kind() == ErrorKind::Conflict => self.refresh().await,
            _ => Ok(false),
        }
    }

    /// A group as OpenMLS holds it, loaded if it is not in memory or memory is older than the store.
    ///
    /// # Errors
    /// `NotFound` if there is no group, `NeedsRejoin` if it was restored from a backup without the secrets of groups.
    pub(super) async fn loaded_group(&mut self, id: &GroupId) -> Result<&mut MlsGroup> {
        self.freshen().await?;
        let memory = self.load_scope_or_default(id.as_slice()).await?;
        if memory.group.is_none() {
            let records = BTreeMap::from([(id.as_slice().into(), Arc::clone(&memory.scope.records))]);
            memory.group = MlsGroup::load(&TransactionStorage::new(Default::default(), records), id)?;
        }
        if !memory.scope.has_group() {
            if memory.scope.needs_rejoin() {
                return Err(needs_rejoin());
            }
            // A sender of messages for groups that do not exist must not fill the memory.
            if !memory.scope.is_unsaved() {
                self.groups.remove(id.as_slice());
            }
            return Err(no_group());
        }
        self.groups.get_mut(id.as_slice()).and_then(|memory| memory.group.as_mut()).ok_or_else(no_group)
    }

    /// A group's scope, read if it is not in memory or memory is older than the store; empty if there is none.
    pub(super) async fn load_scope_or_default(&mut self, id: &[u8]) -> Result<&mut GroupMemory> {
        loop {
            let loaded = self.try_load_scope(id).await;
            if !self.must_repeat(&loaded).await? {
                loaded?;
                return Ok(self.groups.entry(id.into()).or_default());
            }
        }
    }

    /// As [`load_scope_or_default`](Self::load_scope_or_default), from the root that is read from now.
    pub(super) async fn try_load_scope(&mut self, id: &[u8]) -> Result<()> {
        let scope = ScopeId::group(id)?;
        let known = self.groups.get(id);
        if let Some(store) = &self.store
            && known.is_none_or(|memory| !memory.scope.is_unsaved())
        {
            let version = store.scope_version(&scope).await?;
            if known.is_none_or(|memory| memory.unread || memory.scope.version != version) {
                let scope = read_scope(store, &scope).await?;
                // What was read before makes room. A transaction says by itself that it uses this one.
                self.trim();
                let used = self.uses.saturating_sub(1);
                self.groups.insert(id.into(), GroupMemory { scope, group: None, used, unread: false });
            }
        }
        Ok(())
    }
}

impl Profile {
    /// The signature key of the client's leaf in `group`, if it is another one than that of new leaves.
    pub(super) fn other_signer(&self, group: &MlsGroup, storage: &TransactionStorage) -> Option<ClientSigner> {
        let key = group.own_leaf_node()?.signature_key();
        if key == &self.credential.signature_key {
            return None;
        }
        self.given.find(storage, key.as_slice(), self.signer.signature_scheme())
    }

    /// Whether the signature key of the client's leaf in `group` is there.
    pub(super) fn can_sign(&self, group: &MlsGroup, storage: &TransactionStorage) -> bool {
        let own = group.own_leaf_node().is_none_or(|leaf| leaf.signature_key() == &self.credential.signature_key);
        // Once it is removed, another member may have its leaf.
        own || !group.is_active() || self.other_signer(group, storage).is_some()
    }

    pub(super) fn load(identity: &[u8], own: &ScopeMemory, given: GivenSigners) -> Result<Self> {
        let stored = own
            .records
            .get(Kind::Client.only().as_slice())
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the client's own record is missing"))?;
        let stored: ClientRecord = codec::decode(Kind::Client, stored)?;
        let ciphersuite = Ciphersuite::try_from(stored.ciphersuite).map_err(|_| {
            Error::new(ErrorKind::UnsupportedVersion, "the client uses a ciphersuite that this program does not know")
        })?;
        let storage = TransactionStorage::new(Arc::clone(&own.records), Default::default());
        let signer = given
            .find(&storage, &stored.signature_key, ciphersuite.signature_algorithm())
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the client's signature key is missing"))?;
        let credential = Credential::new(stored.credential_type.into(), stored.credential.release());
        Ok(Self {
            identity: identity.into(),
            ciphersuite,
            credential: CredentialWithKey { credential, signature_key: stored.signature_key.into() },
            signer,
            given,
            settings: stored.settings,
        })
    }
}

pub(super) fn no_group() -> Error {
    Error::new(ErrorKind::NotFound, "the client has no group of this id")
}

pub(super) async fn read_scope(store: &ClientStore, scope: &ScopeId) -> Result<ScopeMemory> {
    let version = store.scope_version(scope).await?;
    let records = store.records(scope, &records::loaded()).await?;
    let records = records.into_iter().map(|Record { key, value, .. }| (key, value)).collect();
    Ok(ScopeMemory::loaded(version, records))
}
