//! [`Discard`]: a storage provider that keeps only what OpenMLS reads back while a group is in memory.
//!
//! What is left of an operation's time is OpenMLS's own: its cryptography and its trees, without encoding or storing.

use openmls_memory_storage::{MemoryStorage, MemoryStorageError};
use openmls_traits::storage::traits::*;
use openmls_traits::storage::{CURRENT_VERSION as V, StorageProvider};

type Result<T> = std::result::Result<T, MemoryStorageError>;

/// Keeps keys, key packages and PSKs in memory, and forgets everything else.
#[derive(Default)]
pub(crate) struct Discard(MemoryStorage);

/// Methods that forget what they are given.
macro_rules! forget {
    ($($method:ident<$value:ident>)*) => {$(
        fn $method<G: GroupId<V>, T: $value<V>>(&self, _: &G, _: &T) -> Result<()> {
            Ok(())
        }
    )*};
}

/// Methods that find nothing.
macro_rules! find_nothing {
    ($($method:ident<$value:ident>)*) => {$(
        fn $method<G: GroupId<V>, T: $value<V>>(&self, _: &G) -> Result<Option<T>> {
            Ok(None)
        }
    )*};
}

/// Methods that delete what is not there.
macro_rules! delete_nothing {
    ($($method:ident)*) => {$(
        fn $method<G: GroupId<V>>(&self, _: &G) -> Result<()> {
            Ok(())
        }
    )*};
}

/// The methods that write and delete what is kept.
macro_rules! keep {
    ($($write:ident $delete:ident<$key:ident, $value:ident>)*) => {$(
        fn $write<K: $key<V>, T: $value<V>>(&self, key: &K, value: &T) -> Result<()> {
            self.0.$write(key, value)
        }

        fn $delete<K: $key<V>>(&self, key: &K) -> Result<()> {
            self.0.$delete(key)
        }
    )*};
}

impl StorageProvider<V> for Discard {
    type Error = MemoryStorageError;

    forget! {
        write_mls_join_config<MlsGroupJoinConfig>
        append_own_leaf_node<LeafNode>
        write_tree<TreeSync>
        write_interim_transcript_hash<InterimTranscriptHash>
        write_context<GroupContext>
        write_confirmation_tag<ConfirmationTag>
        write_message_secrets<MessageSecrets>
        write_resumption_psk_store<ResumptionPskStore>
        write_own_leaf_index<LeafNodeIndex>
        write_group_epoch_secrets<GroupEpochSecrets>
    }

    fn write_group_state<T: GroupState<V>, G: GroupId<V>>(&self, _: &G, _: &T) -> Result<()> {
        Ok(())
    }

    find_nothing! {
        mls_group_join_config<MlsGroupJoinConfig>
        tree<TreeSync>
        group_context<GroupContext>
        interim_transcript_hash<InterimTranscriptHash>
        confirmation_tag<ConfirmationTag>
        message_secrets<MessageSecrets>
        resumption_psk_store<ResumptionPskStore>
        own_leaf_index<LeafNodeIndex>
        group_epoch_secrets<GroupEpochSecrets>
    }

    fn group_state<T: GroupState<V>, G: GroupId<V>>(&self, _: &G) -> Result<Option<T>> {
        Ok(None)
    }

    delete_nothing! {
        delete_own_leaf_nodes
        delete_group_config
        delete_tree
        delete_confirmation_tag
        delete_group_state
        delete_context
        delete_interim_transcript_hash
        delete_message_secrets
        delete_all_resumption_psk_secrets
        delete_own_leaf_index
        delete_group_epoch_secrets
    }

    fn queue_proposal<G: GroupId<V>, R: ProposalRef<V>, P: QueuedProposal<V>>(
        &self,
        _: &G,
        _: &R,
        _: &P,
    ) -> Result<()> {
        Ok(())
    }

    fn own_leaf_nodes<G: GroupId<V>, T: LeafNode<V>>(&self, _: &G) -> Result<Vec<T>> {
        Ok(Vec::new())
    }

    fn queued_proposal_refs<G: GroupId<V>, R: ProposalRef<V>>(&self, _: &G) -> Result<Vec<R>> {
        Ok(Vec::new())
    }

    fn queued_proposals<G: GroupId<V>, R: ProposalRef<V>, P: QueuedProposal<V>>(&self, _: &G) -> Result<Vec<(R, P)>> {
        Ok(Vec::new())
    }

    fn remove_proposal<G: GroupId<V>, R: ProposalRef<V>>(&self, _: &G, _: &R) -> Result<()> {
        Ok(())
    }

    fn clear_proposal_queue<G: GroupId<V>, R: ProposalRef<V>>(&self, _: &G) -> Result<()> {
        Ok(())
    }

    keep! {
        write_signature_key_pair delete_signature_key_pair<SignaturePublicKey, SignatureKeyPair>
        write_encryption_key_pair delete_encryption_key_pair<EncryptionKey, HpkeKeyPair>
        write_key_package delete_key_package<HashReference, KeyPackage>
        write_psk delete_psk<PskId, PskBundle>
    }

    fn signature_key_pair<K: SignaturePublicKey<V>, T: SignatureKeyPair<V>>(&self, key: &K) -> Result<Option<T>> {
        self.0.signature_key_pair(key)
    }

    fn encryption_key_pair<T: HpkeKeyPair<V>, K: EncryptionKey<V>>(&self, key: &K) -> Result<Option<T>> {
        self.0.encryption_key_pair(key)
    }

    fn key_package<K: HashReference<V>, T: KeyPackage<V>>(&self, key: &K) -> Result<Option<T>> {
        self.0.key_package(key)
    }

    fn psk<T: PskBundle<V>, K: PskId<V>>(&self, key: &K) -> Result<Option<T>> {
        self.0.psk(key)
    }

    fn write_encryption_epoch_key_pairs<G: GroupId<V>, E: EpochKey<V>, T: HpkeKeyPair<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
        pairs: &[T],
    ) -> Result<()> {
        self.0.write_encryption_epoch_key_pairs(group, epoch, leaf, pairs)
    }

    fn encryption_epoch_key_pairs<G: GroupId<V>, E: EpochKey<V>, T: HpkeKeyPair<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<Vec<T>> {
        self.0.encryption_epoch_key_pairs(group, epoch, leaf)
    }

    fn delete_encryption_epoch_key_pairs<G: GroupId<V>, E: EpochKey<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<()> {
        self.0.delete_encryption_epoch_key_pairs(group, epoch, leaf)
    }
}
