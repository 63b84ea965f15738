//! From encoded values to what OpenMLS has of a group.
//!
//! OpenMLS's types of a group are its own, but for the bundle that one version hands to the next
//! ([`GroupMigrationBundle`]). So the values are put together to an encoded bundle, and OpenMLS decodes and stores it.

use std::collections::BTreeSet;

use mls_keep_core::{Result, SecretBytes};
use openmls::group::GroupId;
use openmls::key_packages::KeyPackageBundle;
use openmls::prelude::LeafNode;
use openmls::schedule::Psk;
use openmls::storage::GroupMigrationBundle;
use openmls_basic_credential::SignatureKeyPair;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::encoding::{Composer, Encoding, corrupt};
use super::{GroupValue, StoredGroup, StoredState};
use crate::provider::TransactionStorage;

/// A group that was decoded.
pub(crate) struct Assembled {
    pub(crate) id: GroupId,
    /// The key pairs of its epoch are there. Without them no member can go on.
    pub(crate) has_keys: bool,
    bundle: GroupMigrationBundle,
}

/// The part of a `GroupContext` that is looked at.
#[derive(Deserialize)]
struct Context {
    epoch: u64,
}

/// As OpenMLS has it.
#[derive(Deserialize)]
struct PskBundle {
    secret: PskSecret,
}

#[derive(Deserialize)]
struct PskSecret {
    value: PskBytes,
}

#[derive(Deserialize)]
struct PskBytes {
    vec: Zeroizing<Vec<u8>>,
}

impl Assembled {
    /// # Errors
    /// `Corrupt` if something is missing or does not decode.
    pub(crate) fn new(state: &StoredState, group: &StoredGroup) -> Result<Self> {
        let id = state.encoding.decode(&group.id)?;
        let (encoded, has_keys) = bundle(state, group)?;
        let bundle = state.encoding.decode(&encoded)?;
        Ok(Self { id, has_keys, bundle })
    }

    /// # Errors
    /// As the storage.
    pub(crate) fn store(&self, storage: &TransactionStorage) -> Result<()> {
        self.bundle.store(storage)
    }
}

/// The encoded bundle, and whether the key pairs of the group's epoch are in it.
fn bundle(state: &StoredState, group: &StoredGroup) -> Result<(Zeroizing<Vec<u8>>, bool)> {
    let encoding = state.encoding;
    let len: usize = group.values.values().map(|value| value.len()).sum();
    let mut bundle = Composer::new(encoding, len + len / 4 + 4096);
    let value = |value: GroupValue| group.values.get(&value).ok_or_else(corrupt);
    let export_tree = group.values.get(&GroupValue::ApplicationExportTree);

    bundle.map(3);
    bundle.key("group");
    bundle.map(9 + usize::from(export_tree.is_some()));
    for (name, stored) in [
        ("mls_group_config", GroupValue::JoinConfig),
        ("group_epoch_secrets", GroupValue::EpochSecrets),
        ("own_leaf_index", GroupValue::OwnLeafIndex),
        ("message_secrets_store", GroupValue::MessageSecrets),
        ("resumption_psk_store", GroupValue::ResumptionPskStore),
        ("group_state", GroupValue::State),
    ] {
        bundle.key(name);
        bundle.value(value(stored)?)?;
    }
    if let Some(tree) = export_tree {
        bundle.key("application_export_tree");
        bundle.value(tree)?;
    }
    bundle.key("aad");
    bundle.list(0);
    bundle.end();
    bundle.key("own_leaf_nodes");
    list(&mut bundle, &group.own_leaf_nodes)?;
    bundle.key("public_group");
    bundle.map(5);
    for (name, stored) in [
        ("treesync", GroupValue::Tree),
        ("group_context", GroupValue::Context),
        ("interim_transcript_hash", GroupValue::InterimTranscriptHash),
        ("confirmation_tag", GroupValue::ConfirmationTag),
    ] {
        bundle.key(name);
        bundle.value(value(stored)?)?;
    }
    bundle.key("proposal_store");
    bundle.map(1);
    bundle.key("queued_proposals");
    list(&mut bundle, &group.proposals)?;
    bundle.end();
    bundle.end();
    bundle.end();

    bundle.key("epoch_encryption_key_pairs");
    let context: Context = encoding.decode(value(GroupValue::Context)?)?;
    let own_leaf: u32 = encoding.decode(value(GroupValue::OwnLeafIndex)?)?;
    let is_current = |epoch: &[u8]| encoding.decode::<u64>(epoch).is_ok_and(|epoch| epoch == context.epoch);
    let mut pairs = group.epoch_key_pairs.iter();
    let current = pairs.find(|(epoch, leaf, _)| *leaf == own_leaf && is_current(epoch));
    match current {
        Some((_, _, pairs)) => bundle.value(pairs)?,
        None => list(&mut bundle, [])?,
    }

    bundle.key("update_encryption_key_pairs");
    let mut wanted = BTreeSet::new();
    for leaf in &group.own_leaf_nodes {
        let leaf: LeafNode = encoding.decode(leaf)?;
        wanted.insert(encoding.encode(leaf.encryption_key())?);
    }
    // Each once, however often a forged database has it.
    let updates = state.encryption_keys.iter().filter(|(public, _)| wanted.remove(public)).map(|(_, pair)| pair);
    let updates: Vec<_> = updates.collect();
    list(&mut bundle, updates)?;
    bundle.end();
    Ok((bundle.into_bytes(), current.is_some()))
}

fn list<'v>(
    bundle: &mut Composer,
    elements: impl IntoIterator<Item = &'v SecretBytes, IntoIter: ExactSizeIterator>,
) -> Result<()> {
    let elements = elements.into_iter();
    bundle.list(elements.len());
    for element in elements {
        bundle.element(element)?;
    }
    bundle.end();
    Ok(())
}

/// The key packages of a state that decode.
pub(crate) struct KeyPackages(pub(crate) Vec<KeyPackageBundle>);

impl KeyPackages {
    pub(crate) fn new(state: &StoredState) -> Self {
        Self(state.key_packages.iter().filter_map(|stored| state.encoding.decode(stored).ok()).collect())
    }
}

/// A pre-shared key and its secret.
pub(crate) fn preshared_key(
    encoding: Encoding,
    (id, bundle): &(SecretBytes, SecretBytes),
) -> Result<(Psk, Zeroizing<Vec<u8>>)> {
    let bundle: PskBundle = encoding.decode(bundle)?;
    Ok((encoding.decode(id)?, bundle.secret.value.vec))
}

pub(crate) fn signer(encoding: Encoding, pair: &SecretBytes) -> Result<SignatureKeyPair> {
    encoding.decode(pair)
}
