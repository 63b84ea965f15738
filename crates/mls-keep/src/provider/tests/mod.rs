//! Real OpenMLS over the overlay. Between two steps a device is nothing but plain maps of encoded records, so that
//! whatever a step does not hand over is lost to the next one.

mod codec;
mod differential;
#[cfg(feature = "virtual-clients-draft")]
mod draft;
mod flow;
mod key_pairs;
mod lists;

use std::collections::BTreeMap;
use std::sync::Arc;

use mls_keep_core::{SecretBytes, Value};
use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;

use crate::records::{Kind, is_loaded};
use crate::scope::Scope;

use super::{Provider, Records, TransactionChanges, TransactionStorage};

const CIPHERSUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// What a device has: its keys, and its records in encoded form.
struct Device {
    crypto: Arc<RustCrypto>,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
    client: Records,
    groups: BTreeMap<SecretBytes, Records>,
}

impl Device {
    fn new(name: &str) -> Self {
        let signer = SignatureKeyPair::new(CIPHERSUITE.signature_algorithm()).unwrap();
        let credential = CredentialWithKey {
            credential: BasicCredential::new(name.as_bytes().to_vec()).into(),
            signature_key: signer.public().into(),
        };
        let (client, groups) = Default::default();
        Self { crypto: Arc::default(), signer, credential, client, groups }
    }

    /// Runs one transaction over the named groups, and keeps what it changed.
    fn step<R>(&mut self, named: &[&[u8]], run: impl FnOnce(&Self, &Provider<RustCrypto>) -> R) -> R {
        let named = named.iter().map(|id| ((*id).into(), Arc::new(self.groups.get(*id).cloned().unwrap_or_default())));
        let storage = TransactionStorage::new(Arc::new(self.client.clone()), named.collect());
        let provider = Provider::new(Arc::clone(&self.crypto), storage);
        let result = run(self, &provider);
        self.apply(provider.storage().take_changes());
        result
    }

    /// Loads a group, runs one transaction on it, and forgets the loaded group.
    fn on_group<R>(&mut self, id: &[u8], run: impl FnOnce(&Self, &mut MlsGroup, &Provider<RustCrypto>) -> R) -> R {
        self.step(&[id], |device, provider| {
            let mut group = load(provider, id).expect("the group is there");
            run(device, &mut group, provider)
        })
    }

    fn apply(&mut self, changes: TransactionChanges) {
        for absent in &changes.taken_as_absent {
            assert!(!self.groups.contains_key(absent), "a group was taken to be absent and is not");
        }
        apply(&mut self.client, changes.client);
        for (id, group) in changes.groups {
            let records = self.groups.entry(id.clone()).or_default();
            apply(records, group.records);
            if group.deleted {
                assert!(records.is_empty(), "records of a deleted group are left: {:?}", kinds(records));
                self.groups.remove(&id);
            }
        }
    }

    fn key_package(&mut self) -> KeyPackage {
        self.step(&[], |device, provider| {
            let bundle = KeyPackage::builder()
                .leaf_node_capabilities(capabilities())
                .leaf_node_extensions(leaf_extensions())
                .build(CIPHERSUITE, provider, &device.signer, device.credential.clone())
                .unwrap();
            bundle.key_package().clone()
        })
    }

    fn create_group(&mut self, id: &[u8]) {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(CIPHERSUITE)
            .use_ratchet_tree_extension(true)
            .max_past_epochs(3)
            .capabilities(capabilities())
            .with_leaf_node_extensions(leaf_extensions())
            .unwrap()
            .build();
        self.step(&[], |device, provider| {
            let credential = device.credential.clone();
            MlsGroup::new_with_group_id(provider, &device.signer, &config, GroupId::from_slice(id), credential)
                .unwrap();
        });
    }

    fn join(&mut self, welcome: Vec<u8>) {
        self.step(&[], |_, provider| {
            let MlsMessageBodyIn::Welcome(welcome) = MlsMessageIn::tls_deserialize_exact(welcome).unwrap().extract()
            else {
                panic!("not a Welcome")
            };
            let config = MlsGroupJoinConfig::builder().max_past_epochs(3).build();
            let staged = StagedWelcome::new_from_welcome(provider, &config, welcome, None).unwrap();
            staged.into_group(provider).unwrap();
        });
    }

    /// Stages a commit of the queued proposals and of what `propose` adds. Gives the commit and the Welcome.
    fn stage(
        &mut self,
        id: &[u8],
        propose: impl FnOnce(CommitBuilder<'_, Initial>) -> CommitBuilder<'_, Initial>,
    ) -> (Vec<u8>, Option<Vec<u8>>) {
        self.on_group(id, |device, group, provider| {
            let bundle = propose(group.commit_builder())
                .load_psks(provider.storage())
                .unwrap()
                .build(provider.rand(), provider.crypto(), &device.signer, |_| true)
                .unwrap()
                .stage_commit(provider)
                .unwrap();
            let (commit, welcome, _) = bundle.into_messages();
            (commit.to_bytes().unwrap(), welcome.map(|welcome| welcome.to_bytes().unwrap()))
        })
    }

    fn merge(&mut self, id: &[u8]) {
        self.on_group(id, |_, group, provider| group.merge_pending_commit(provider).unwrap());
    }

    fn propose_self_update(&mut self, id: &[u8]) -> Vec<u8> {
        self.on_group(id, propose_self_update)
    }

    fn send(&mut self, id: &[u8], text: &[u8]) -> Vec<u8> {
        self.on_group(id, |device, group, provider| create_message(device, group, provider, text))
    }

    /// Takes in a message. A commit is merged and a proposal is queued; the text of an application message is given.
    fn receive(&mut self, id: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        self.on_group(id, |_, group, provider| {
            let message = MlsMessageIn::tls_deserialize_exact(message).unwrap().try_into_protocol_message().unwrap();
            match group.process_message(provider, message).unwrap().into_content() {
                ProcessedMessageContent::ApplicationMessage(text) => return Some(text.into_bytes()),
                ProcessedMessageContent::ProposalMessage(proposal) => {
                    group.store_pending_proposal(provider.storage(), *proposal).unwrap();
                }
                ProcessedMessageContent::StagedCommitMessage(commit) => {
                    group.merge_staged_commit(provider, *commit).unwrap();
                }
                other => panic!("unexpected {other:?}"),
            }
            None
        })
    }

    /// How many records of a kind a group has.
    fn count(&self, id: &[u8], kind: Kind) -> usize {
        self.groups.get(id).map_or(0, |records| records.keys().filter(|key| key[0] == kind as u8).count())
    }
}

fn load(provider: &Provider<RustCrypto>, id: &[u8]) -> Option<MlsGroup> {
    MlsGroup::load(provider.storage(), &GroupId::from_slice(id)).unwrap()
}

fn apply(records: &mut Records, changes: super::RecordChanges) {
    for (key, change) in changes {
        let is_change = !is_loaded(&key) || records.get(&key) != change.as_ref();
        assert!(is_change, "a change that changes nothing: {key:02x?}");
        match change {
            Some(value) => records.insert(key, value),
            None => records.remove(&key),
        };
    }
}

/// The kinds of the records, one entry each, to be compared and printed.
fn kinds(records: &Records) -> Vec<u8> {
    records.keys().map(|key| key[0]).collect()
}

/// A storage with nothing loaded, in which these groups are named.
fn empty_storage(named: &[&[u8]]) -> TransactionStorage {
    let named = named.iter().map(|id| (SecretBytes::from(*id), Arc::default())).collect();
    TransactionStorage::new(Arc::default(), named)
}

#[cfg(not(feature = "virtual-clients-draft"))]
fn propose_self_update(device: &Device, group: &mut MlsGroup, provider: &Provider<RustCrypto>) -> Vec<u8> {
    let parameters = LeafNodeParameters::default();
    group.propose_self_update(provider, &device.signer, parameters).unwrap().0.to_bytes().unwrap()
}

#[cfg(feature = "virtual-clients-draft")]
fn propose_self_update(device: &Device, group: &mut MlsGroup, provider: &Provider<RustCrypto>) -> Vec<u8> {
    let update = openmls::group::Propose::Update(LeafNodeParameters::default());
    let (message, _, confirmation) =
        group.propose_unconfirmed(provider, &device.signer, update, ProposalOrRefType::Reference).unwrap();
    let confirmation = confirmation.unwrap();
    group.confirm_handshake_message(provider.storage(), confirmation.epoch, confirmation.generation).unwrap();
    message.to_bytes().unwrap()
}

#[cfg(not(feature = "virtual-clients-draft"))]
fn create_message(device: &Device, group: &mut MlsGroup, provider: &Provider<RustCrypto>, text: &[u8]) -> Vec<u8> {
    group.create_message(provider, &device.signer, text).unwrap().to_bytes().unwrap()
}

#[cfg(feature = "virtual-clients-draft")]
fn create_message(device: &Device, group: &mut MlsGroup, provider: &Provider<RustCrypto>, text: &[u8]) -> Vec<u8> {
    let output = group.create_unconfirmed_message(provider, &device.signer, text).unwrap();
    let epoch = group.epoch();
    group.confirm_application_message(provider.storage(), epoch, output.generation).unwrap();
    output.message.to_bytes().unwrap()
}

#[cfg(not(feature = "virtual-clients-draft"))]
fn capabilities() -> Capabilities {
    Capabilities::default()
}

#[cfg(not(feature = "virtual-clients-draft"))]
fn leaf_extensions() -> Extensions<LeafNode> {
    Extensions::empty()
}

#[cfg(feature = "virtual-clients-draft")]
use draft::{capabilities, leaf_extensions};
