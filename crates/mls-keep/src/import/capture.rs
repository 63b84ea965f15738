//! Reading a group from any storage provider, without OpenMLS's own types.

use mls_keep_core::{Result, SecretBytes};
use openmls::group::{GroupEpoch, GroupId};
use openmls::prelude::LeafNode;
use openmls_traits::storage::{CURRENT_VERSION, Entity, Key, StorageProvider, traits};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encoding::Encoding;
use super::{GroupValue, StoredGroup};

const V: u16 = CURRENT_VERSION;

/// Any value, encoded anew.
struct Captured(SecretBytes);

impl<'de> Deserialize<'de> for Captured {
    fn deserialize<D: Deserializer<'de>>(input: D) -> std::result::Result<Self, D::Error> {
        let value = ciborium::Value::deserialize(input)?;
        Encoding::Cbor.encode(&value).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Nothing is written with it.
impl Serialize for Captured {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a captured value is only read"))
    }
}

macro_rules! captures {
    ($($Entity:ident)+) => {
        impl Entity<V> for Captured {}
        $(impl traits::$Entity<V> for Captured {})+
    };
}

captures! {
    QueuedProposal TreeSync GroupContext InterimTranscriptHash ConfirmationTag MlsGroupJoinConfig MessageSecrets
    ResumptionPskStore LeafNodeIndex GroupEpochSecrets GroupState LeafNode HpkeKeyPair ProposalRef
}

impl Key<V> for Captured {}

impl StoredGroup {
    /// Reads a group from a provider whose codec is self-describing, as OpenMLS wants it. Put it into a
    /// [`StoredState`](super::StoredState) of [`Encoding::Cbor`]. `None` if the provider has no group of this id.
    ///
    /// What an application has in a provider and OpenMLS does not list are its key packages, pre-shared keys and
    /// signature keys. New key packages are made by [`Client::key_package`](crate::Client::key_package); a signature key is
    /// given to [`ClientBuilder::signer`](crate::ClientBuilder::signer); a pre-shared key can be stored in a transaction.
    ///
    /// # Errors
    /// Those of the provider.
    pub fn read<P: StorageProvider<V>>(provider: &P, id: &GroupId) -> std::result::Result<Option<Self>, P::Error> {
        let mut group = Self { id: encoded(id), ..Self::default() };
        let mut put = |value: GroupValue, captured: Option<Captured>| {
            captured.map(|captured| group.values.insert(value, captured.0))
        };
        put(GroupValue::JoinConfig, provider.mls_group_join_config(id)?);
        put(GroupValue::Tree, provider.tree(id)?);
        put(GroupValue::InterimTranscriptHash, provider.interim_transcript_hash(id)?);
        put(GroupValue::Context, provider.group_context(id)?);
        put(GroupValue::ConfirmationTag, provider.confirmation_tag(id)?);
        put(GroupValue::State, provider.group_state(id)?);
        put(GroupValue::MessageSecrets, provider.message_secrets(id)?);
        put(GroupValue::ResumptionPskStore, provider.resumption_psk_store(id)?);
        put(GroupValue::OwnLeafIndex, provider.own_leaf_index(id)?);
        put(GroupValue::EpochSecrets, provider.group_epoch_secrets(id)?);
        if group.values.is_empty() {
            return Ok(None);
        }
        group.own_leaf_nodes = provider.own_leaf_nodes(id)?.into_iter().map(|leaf: Captured| leaf.0).collect();
        let proposals: Vec<(Captured, Captured)> = provider.queued_proposals(id)?;
        group.proposals = proposals.into_iter().map(|(_, proposal)| proposal.0).collect();
        if let Some((epoch, leaf)) = group.position() {
            let key = GroupEpoch::from(epoch);
            let pairs: Vec<Captured> = provider.encryption_epoch_key_pairs(id, &key, leaf)?;
            let pairs: Vec<SecretBytes> = pairs.into_iter().map(|pair| pair.0).collect();
            group.epoch_key_pairs.push((encoded(&epoch), leaf, joined(&pairs)));
        }
        Ok(Some(group))
    }

    /// The key pairs of the group's uncommitted updates, for
    /// [`StoredState::encryption_keys`](super::StoredState::encryption_keys).
    ///
    /// # Errors
    /// Those of the provider.
    pub fn read_encryption_keys<P: StorageProvider<V>>(
        &self,
        provider: &P,
    ) -> std::result::Result<Vec<(SecretBytes, SecretBytes)>, P::Error> {
        let mut found = Vec::new();
        for leaf in &self.own_leaf_nodes {
            let Ok(leaf) = Encoding::Cbor.decode::<LeafNode>(leaf) else { continue };
            let pair: Option<Captured> = provider.encryption_key_pair(leaf.encryption_key())?;
            found.extend(pair.map(|pair| (encoded(leaf.encryption_key()), pair.0)));
        }
        Ok(found)
    }

    /// The epoch and the own leaf.
    fn position(&self) -> Option<(u64, u32)> {
        #[derive(Deserialize)]
        struct Context {
            epoch: u64,
        }
        let context: Context = Encoding::Cbor.decode(self.values.get(&GroupValue::Context)?).ok()?;
        let leaf = Encoding::Cbor.decode(self.values.get(&GroupValue::OwnLeafIndex)?).ok()?;
        Some((context.epoch, leaf))
    }
}

fn encoded<T: Serialize>(value: &T) -> SecretBytes {
    Encoding::Cbor.encode(value).unwrap_or_default()
}

fn joined(elements: &[SecretBytes]) -> SecretBytes {
    let mut list = super::encoding::Composer::new(Encoding::Cbor, 0);
    list.list(elements.len());
    let filled: Result<()> = elements.iter().try_for_each(|element| list.element(element));
    filled.map(|()| SecretBytes::from(list.into_bytes())).unwrap_or_default()
}
