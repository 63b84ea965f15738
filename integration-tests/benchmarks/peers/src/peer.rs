//! [`Peer`]: an application that uses OpenMLS with a storage provider of others, as the scenario's subject.

use std::collections::BTreeMap;

use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::storage::{CURRENT_VERSION, StorageProvider};

use crate::counterpart::{CIPHERSUITE, identity, parse_key_package, protocol_message};
use crate::day::Day;
use crate::scenario::{Result, Subject};

/// A way to keep the state of OpenMLS.
pub(crate) trait Store {
    type Storage: StorageProvider<CURRENT_VERSION>;

    /// Opens the store. With `new`, it is made.
    fn open(&mut self, new: bool) -> Result<()>;
    /// What OpenMLS calls take.
    fn provider(&self) -> &Provider<Self::Storage>;
    /// Called before an operation.
    fn begin(&self) -> Result<()>;
    /// Called after an operation. When it returns, the operation is durable, as far as this store can.
    fn commit(&self) -> Result<()>;
    /// Whether there is one that another process has made.
    fn is_made(&self) -> bool {
        false
    }
    /// Keeps the public key by which the application finds its signature key again.
    fn remember(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    /// That public key.
    fn remembered(&self) -> Result<Vec<u8>> {
        Err("nothing is remembered".into())
    }
    /// Closes the store. `false` if it would not know the group again.
    fn close(&mut self) -> Result<bool>;
    fn stored_len(&self) -> Result<u64>;
}

/// Cryptography and a storage provider.
#[derive(Default)]
pub(crate) struct Provider<T> {
    crypto: RustCrypto,
    pub(crate) storage: T,
}

impl<T> Provider<T> {
    pub(crate) fn new(storage: T) -> Self {
        Self { crypto: RustCrypto::default(), storage }
    }
}

impl<T: StorageProvider<CURRENT_VERSION>> OpenMlsProvider for Provider<T> {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = T;

    fn storage(&self) -> &T {
        &self.storage
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &RustCrypto {
        &self.crypto
    }
}

/// An application: it holds its groups in memory, and has a store.
pub(crate) struct Peer<S> {
    store: S,
    past_epochs: usize,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
    /// By their ids.
    groups: BTreeMap<Vec<u8>, MlsGroup>,
}

impl<S: Store> Peer<S> {
    pub(crate) fn new(mut store: S, past_epochs: usize) -> Result<Self> {
        let (signer, credential) = identity("alice@example.com")?;
        store.open(true)?;
        store.begin()?;
        let stored = signer.store(store.provider().storage());
        stored.map_err(|error| error.to_string())?;
        store.commit()?;
        Ok(Self { store, past_epochs, signer, credential, groups: BTreeMap::new() })
    }

    /// As it lives a day: it goes on from its store, if there is one.
    pub(crate) fn of_a_day(mut store: S) -> Result<Self> {
        let past_epochs = 3;
        if !store.is_made() {
            let new = Self::new(store, past_epochs)?;
            let public_key = new.signer.to_public_vec();
            new.store.remember(&public_key)?;
            return Ok(new);
        }
        store.open(false)?;
        let public_key = store.remembered()?;
        let storage = store.provider().storage();
        let signer = SignatureKeyPair::read(storage, &public_key, CIPHERSUITE.signature_algorithm());
        let signer = signer.ok_or("the signature key is not in the store")?;
        let credential = BasicCredential::new(b"alice@example.com".to_vec()).into();
        let credential = CredentialWithKey { credential, signature_key: public_key.into() };
        Ok(Self { store, past_epochs, signer, credential, groups: BTreeMap::new() })
    }

    /// One operation with the group in memory, made durable.
    fn operation<T>(
        &mut self,
        group: &GroupId,
        f: impl FnOnce(&mut MlsGroup, &Provider<S::Storage>, &SignatureKeyPair) -> Result<T>,
    ) -> Result<T> {
        self.load_if_needed(group)?;
        self.store.begin()?;
        let group = self.groups.get_mut(group.as_slice()).ok_or("the group is not loaded")?;
        let result = f(group, self.store.provider(), &self.signer)?;
        self.store.commit()?;
        Ok(result)
    }

    fn load_if_needed(&mut self, group: &GroupId) -> Result<()> {
        if !self.groups.contains_key(group.as_slice()) {
            let loaded = MlsGroup::load(self.store.provider().storage(), group);
            let loaded = loaded.map_err(|error| error.to_string())?.ok_or("the group is not in the store")?;
            self.groups.insert(group.to_vec(), loaded);
        }
        Ok(())
    }
}

/// Errors of storage providers are not `Send`, so that they become text.
macro_rules! checked {
    ($result:expr) => {
        $result.map_err(|error| error.to_string())?
    };
}

impl<S: Store> Subject for Peer<S> {
    fn key_package(&mut self) -> Result<Vec<u8>> {
        self.store.begin()?;
        let built =
            KeyPackage::builder().build(CIPHERSUITE, self.store.provider(), &self.signer, self.credential.clone());
        self.store.commit()?;
        Ok(MlsMessageOut::from(checked!(built).key_package().clone()).to_bytes()?)
    }

    fn create_group(&mut self) -> Result<GroupId> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(CIPHERSUITE)
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .max_past_epochs(self.past_epochs)
            .build();
        self.store.begin()?;
        let created = MlsGroup::new(self.store.provider(), &self.signer, &config, self.credential.clone());
        let group = checked!(created);
        self.store.commit()?;
        let id = group.group_id().clone();
        self.groups.insert(id.to_vec(), group);
        Ok(id)
    }

    fn invite(&mut self, group: &GroupId, key_package: &[u8]) -> Result<Vec<u8>> {
        self.operation(group, |group, provider, signer| {
            let key_package = parse_key_package(provider, key_package)?;
            // Without a new path, as mls-keep's own call does it.
            let added = group.add_members_without_update(provider, signer, &[key_package]);
            let (commit, _, _) = checked!(added);
            checked!(group.merge_pending_commit(provider));
            Ok(commit.to_bytes()?)
        })
    }

    fn join(&mut self, welcome: &[u8]) -> Result<GroupId> {
        let config = MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .max_past_epochs(self.past_epochs)
            .build();
        let MlsMessageBodyIn::Welcome(welcome) = MlsMessageIn::tls_deserialize_exact(welcome)?.extract() else {
            return Err("this is no Welcome".into());
        };
        self.store.begin()?;
        let provider = self.store.provider();
        let staged = checked!(StagedWelcome::new_from_welcome(provider, &config, welcome, None));
        let group = checked!(staged.into_group(provider));
        self.store.commit()?;
        let id = group.group_id().clone();
        self.groups.insert(id.to_vec(), group);
        Ok(id)
    }

    fn forget(&mut self, group: &GroupId) -> Result<()> {
        self.operation(group, |group, provider, _| {
            checked!(group.delete(provider.storage()));
            Ok(())
        })?;
        self.groups.remove(group.as_slice());
        Ok(())
    }

    fn send(&mut self, group: &GroupId, content: &[u8]) -> Result<Vec<u8>> {
        self.operation(group, |group, provider, signer| {
            Ok(checked!(group.create_message(provider, signer, content)).to_bytes()?)
        })
    }

    fn receive(&mut self, group: &GroupId, message: &[u8]) -> Result<()> {
        self.operation(group, |group, provider, _| {
            let processed = checked!(group.process_message(provider, protocol_message(message)?));
            if let ProcessedMessageContent::StagedCommitMessage(commit) = processed.into_content() {
                checked!(group.merge_staged_commit(provider, *commit));
            }
            Ok(())
        })
    }

    fn self_update(&mut self, group: &GroupId) -> Result<Vec<u8>> {
        self.operation(group, |group, provider, signer| {
            let bundle = checked!(group.self_update(provider, signer, LeafNodeParameters::default()));
            checked!(group.merge_pending_commit(provider));
            Ok(bundle.into_commit().to_bytes()?)
        })
    }

    fn close(&mut self) -> Result<()> {
        if self.store.close()? {
            self.groups.clear();
        }
        Ok(())
    }

    fn load(&mut self, group: &GroupId) -> Result<()> {
        self.store.open(false)?;
        self.load_if_needed(group)
    }

    fn stored_len(&self) -> Result<u64> {
        self.store.stored_len()
    }
}

/// Messages that are taken in by one transaction.
const BATCH: usize = 64;

impl<S: Store> Day for Peer<S> {
    fn key_package(&mut self) -> Result<Vec<u8>> {
        Subject::key_package(self)
    }

    fn join(&mut self, welcome: &[u8]) -> Result<GroupId> {
        Subject::join(self, welcome)
    }

    fn send(&mut self, group: &GroupId, content: &[u8]) -> Result<Vec<u8>> {
        Subject::send(self, group, content)
    }

    fn receive(&mut self, group: &GroupId, message: &[u8]) -> Result<()> {
        self.operation(group, take_in(message))
    }

    fn receive_many(&mut self, messages: &[(GroupId, Vec<u8>)]) -> Result<()> {
        for batch in messages.chunks(BATCH) {
            for (group, _) in batch {
                self.load_if_needed(group)?;
            }
            self.store.begin()?;
            for (group, message) in batch {
                let group = self.groups.get_mut(group.as_slice()).ok_or("the group is not loaded")?;
                take_in(message)(group, self.store.provider(), &self.signer)?;
            }
            self.store.commit()?;
        }
        Ok(())
    }

    fn stage(&mut self, group: &GroupId) -> Result<Vec<u8>> {
        self.operation(group, |group, provider, signer| {
            let bundle = checked!(group.self_update(provider, signer, LeafNodeParameters::default()));
            Ok(bundle.into_commit().to_bytes()?)
        })
    }

    fn confirm(&mut self, group: &GroupId) -> Result<()> {
        self.operation(group, |group, provider, _| Ok(checked!(group.merge_pending_commit(provider))))
    }

    fn reject(&mut self, group: &GroupId) -> Result<()> {
        self.operation(group, |group, provider, _| Ok(checked!(group.clear_pending_commit(provider.storage()))))
    }
}

/// Takes in a message or a commit of somebody else's.
fn take_in<T: StorageProvider<CURRENT_VERSION>>(
    message: &[u8],
) -> impl FnOnce(&mut MlsGroup, &Provider<T>, &SignatureKeyPair) -> Result<()> {
    move |group, provider, _| {
        let processed = checked!(group.process_message(provider, protocol_message(message)?));
        if let ProcessedMessageContent::StagedCommitMessage(commit) = processed.into_content() {
            checked!(group.clear_pending_commit(provider.storage()));
            checked!(group.merge_staged_commit(provider, *commit));
        }
        Ok(())
    }
}
