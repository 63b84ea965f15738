//! OpenMLS's `StorageProvider` over the overlay.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mls_keep_core::{Error, Result, SecretBytes, Value};
use openmls::group::GroupId;
use openmls_traits::storage::{StorageProvider, traits};

use super::overlay::Overlay;
use super::{Records, TransactionChanges, Urgency};
use crate::records::{self, Kind, OF_MLS_GROUP, codec};
use crate::scope::Scope;

/// The storage version that OpenMLS works with.
const V: u16 = openmls_traits::storage::CURRENT_VERSION;

/// The storage of one transaction: what was loaded, and what OpenMLS made of it so far.
///
/// Calls of OpenMLS change nothing but this. What they changed is committed as a whole when the transaction ends, or
/// dropped with it. A group that the transaction does not name reads as absent; writing to it creates it.
///
/// Errors are `Invalid` for a group id that is none or is longer than 255 bytes, `Corrupt` for a record that does not
/// decode and `UnsupportedVersion` for one that a newer version wrote.
pub struct TransactionStorage {
    overlay: Mutex<Overlay>,
    /// The first error that OpenMLS was given: what OpenMLS makes of it need not show it.
    failure: OnceLock<Error>,
    /// OpenMLS finds no signature key.
    hides_signers: AtomicBool,
}

impl TransactionStorage {
    /// Over the records of the client's own scope and those of the named groups, by group id.
    pub(crate) fn new(client: Arc<Records>, groups: BTreeMap<SecretBytes, Arc<Records>>) -> Self {
        Self {
            overlay: Mutex::new(Overlay::new(client, groups)),
            failure: OnceLock::new(),
            hides_signers: AtomicBool::new(false),
        }
    }

    /// Reads a record as it is.
    pub(crate) fn get(&self, scope: &Scope, key: &[u8]) -> Option<Value> {
        self.overlay().scope(scope).get(key).cloned()
    }

    /// What this transaction made of a record; `None` if it has not written it.
    pub(crate) fn written(&self, scope: &Scope, key: &[u8]) -> Option<Option<Value>> {
        self.overlay().scope(scope).written(key).cloned()
    }

    /// The records of a kind that is loaded with its scope, as they are, in key order.
    pub(crate) fn all(&self, scope: &Scope, kind: Kind) -> Vec<Value> {
        self.overlay().scope(scope).all(kind).into_values().cloned().collect()
    }

    /// Writes a record as it is; `None` removes it.
    pub(crate) fn put(&self, scope: &Scope, key: SecretBytes, value: Option<Value>) {
        let mut overlay = self.overlay();
        match value {
            Some(value) => overlay.scope(scope).put(key, value),
            None => overlay.scope(scope).remove(key),
        }
    }

    /// The group is entered anew in this transaction, by an external commit that is made here or by a Welcome: nothing of what is
    /// sent from now on was sent before.
    pub(crate) fn clear_mark(&self, group: &GroupId) {
        self.overlay().unmark(group);
    }

    /// Says that the transaction is nothing but messages that came, and so many that went: it may wait for a save.
    pub(crate) fn let_wait(&self, sent: u32) {
        self.overlay().urgency = Urgency::MayWait { sent };
    }

    /// Says whether OpenMLS finds the client's signature keys. In a group that was restored and not entered anew it must not.
    pub(crate) fn hide_signers(&self, hides: bool) {
        self.hides_signers.store(hides, Ordering::Relaxed);
    }

    /// Removes everything that OpenMLS has of a group. What else is in its scope stays.
    pub(crate) fn clear_mls_group(&self, group: &GroupId) {
        self.overlay().scope(&Scope::group(group)).delete_between(*OF_MLS_GROUP.start(), *OF_MLS_GROUP.end(), None);
    }

    /// Ends the transaction: collects what OpenMLS leaves dangling, and says what changed. What was written with the
    /// bytes that were loaded is no change.
    pub(crate) fn take_changes(&self) -> TransactionChanges {
        let empty = Overlay::new(Default::default(), Default::default());
        std::mem::replace(&mut *self.overlay(), empty).into_changes()
    }

    /// Whether OpenMLS was not given an error, and has changed nothing.
    pub(crate) fn is_untouched(&self) -> bool {
        self.failure().is_none() && self.overlay().is_unchanged()
    }

    /// The groups that were loaded from here.
    pub(crate) fn loaded_groups(&self) -> Vec<SecretBytes> {
        self.overlay().loaded_groups().cloned().collect()
    }

    /// The first error that OpenMLS was given.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// For OpenMLS. An error is remembered.
    fn with<T>(&self, f: impl FnOnce(&mut Overlay) -> Result<T>) -> Result<T> {
        f(&mut self.overlay()).inspect_err(|error| {
            let _ = self.failure.set(error.clone());
        })
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Write, read and delete a value that a group has one of.
macro_rules! one_per_group {
    ($kind:ident, $Entity:ident, $write:ident, $read:ident, $delete:ident) => {
        fn $write<GroupId: traits::GroupId<V>, $Entity: traits::$Entity<V>>(
            &self,
            group_id: &GroupId,
            value: &$Entity,
        ) -> Result<()> {
            self.with(|overlay| overlay.write_group(group_id, Kind::$kind, value))
        }

        fn $read<GroupId: traits::GroupId<V>, $Entity: traits::$Entity<V>>(
            &self,
            group_id: &GroupId,
        ) -> Result<Option<$Entity>> {
            self.with(|overlay| overlay.read_group(group_id, Kind::$kind))
        }

        fn $delete<GroupId: traits::GroupId<V>>(&self, group_id: &GroupId) -> Result<()> {
            self.with(|overlay| overlay.delete_group(group_id, Kind::$kind))
        }
    };
}

/// Write and read a value that the client has under a key of OpenMLS.
macro_rules! by_key {
    ($kind:ident, $Key:ident, $Entity:ident, $write:ident, $read:ident) => {
        fn $write<$Key: traits::$Key<V>, $Entity: traits::$Entity<V>>(
            &self,
            key: &$Key,
            value: &$Entity,
        ) -> Result<()> {
            self.with(|overlay| overlay.write_client(key, Kind::$kind, value))
        }

        fn $read<$Key: traits::$Key<V>, $Entity: traits::$Entity<V>>(&self, key: &$Key) -> Result<Option<$Entity>> {
            self.with(|overlay| overlay.read_client(key, Kind::$kind))
        }
    };
}

impl StorageProvider<V> for TransactionStorage {
    type Error = Error;

    one_per_group!(Tree, TreeSync, write_tree, tree, delete_tree);
    one_per_group!(GroupContext, GroupContext, write_context, group_context, delete_context);
    one_per_group!(
        InterimTranscriptHash,
        InterimTranscriptHash,
        write_interim_transcript_hash,
        interim_transcript_hash,
        delete_interim_transcript_hash
    );
    one_per_group!(ConfirmationTag, ConfirmationTag, write_confirmation_tag, confirmation_tag, delete_confirmation_tag);
    one_per_group!(JoinConfig, MlsGroupJoinConfig, write_mls_join_config, mls_group_join_config, delete_group_config);
    one_per_group!(MessageSecrets, MessageSecrets, write_message_secrets, message_secrets, delete_message_secrets);
    one_per_group!(
        ResumptionPskStore,
        ResumptionPskStore,
        write_resumption_psk_store,
        resumption_psk_store,
        delete_all_resumption_psk_secrets
    );
    one_per_group!(OwnLeafIndex, LeafNodeIndex, write_own_leaf_index, own_leaf_index, delete_own_leaf_index);
    one_per_group!(
        GroupEpochSecrets,
        GroupEpochSecrets,
        write_group_epoch_secrets,
        group_epoch_secrets,
        delete_group_epoch_secrets
    );

    fn write_group_state<GroupState: traits::GroupState<V>, GroupId: traits::GroupId<V>>(
        &self,
        group_id: &GroupId,
        group_state: &GroupState,
    ) -> Result<()> {
        self.with(|overlay| overlay.write_group(group_id, Kind::GroupState, group_state))
    }

    fn group_state<GroupState: traits::GroupState<V>, GroupId: traits::GroupId<V>>(
        &self,
        group_id: &GroupId,
    ) -> Result<Option<GroupState>> {
        self.with(|overlay| overlay.load_group(group_id))
    }

    fn delete_group_state<GroupId: traits::GroupId<V>>(&self, group_id: &GroupId) -> Result<()> {
        self.with(|overlay| overlay.delete_group(group_id, Kind::GroupState))
    }

    fn append_own_leaf_node<GroupId: traits::GroupId<V>, LeafNode: traits::LeafNode<V>>(
        &self,
        group_id: &GroupId,
        leaf_node: &LeafNode,
    ) -> Result<()> {
        self.with(|overlay| overlay.append_own_leaf_node(group_id, codec::encode(Kind::OwnLeafNode, leaf_node, 0)?))
    }

    fn own_leaf_nodes<GroupId: traits::GroupId<V>, LeafNode: traits::LeafNode<V>>(
        &self,
        group_id: &GroupId,
    ) -> Result<Vec<LeafNode>> {
        self.with(|overlay| overlay.read_list(group_id, Kind::OwnLeafNode, |kind, value| codec::decode(kind, value)))
    }

    fn delete_own_leaf_nodes<GroupId: traits::GroupId<V>>(&self, group_id: &GroupId) -> Result<()> {
        self.with(|overlay| {
            overlay.group(group_id)?.delete_own_leaf_nodes();
            Ok(())
        })
    }

    /// A proposal that is queued already is replaced, and keeps its place.
    fn queue_proposal<
        GroupId: traits::GroupId<V>,
        ProposalRef: traits::ProposalRef<V>,
        QueuedProposal: traits::QueuedProposal<V>,
    >(
        &self,
        group_id: &GroupId,
        proposal_ref: &ProposalRef,
        proposal: &QueuedProposal,
    ) -> Result<()> {
        self.with(|overlay| overlay.queue_proposal(group_id, proposal_ref, proposal))
    }

    fn queued_proposal_refs<GroupId: traits::GroupId<V>, ProposalRef: traits::ProposalRef<V>>(
        &self,
        group_id: &GroupId,
    ) -> Result<Vec<ProposalRef>> {
        self.with(|overlay| overlay.read_list(group_id, Kind::QueuedProposal, codec::decode_first))
    }

    fn queued_proposals<
        GroupId: traits::GroupId<V>,
        ProposalRef: traits::ProposalRef<V>,
        QueuedProposal: traits::QueuedProposal<V>,
    >(
        &self,
        group_id: &GroupId,
    ) -> Result<Vec<(ProposalRef, QueuedProposal)>> {
        self.with(|overlay| overlay.read_list(group_id, Kind::QueuedProposal, |kind, value| codec::decode(kind, value)))
    }

    fn remove_proposal<GroupId: traits::GroupId<V>, ProposalRef: traits::ProposalRef<V>>(
        &self,
        group_id: &GroupId,
        proposal_ref: &ProposalRef,
    ) -> Result<()> {
        self.with(|overlay| overlay.remove_proposal(group_id, proposal_ref))
    }

    fn clear_proposal_queue<GroupId: traits::GroupId<V>, ProposalRef: traits::ProposalRef<V>>(
        &self,
        group_id: &GroupId,
    ) -> Result<()> {
        self.with(|overlay| {
            overlay.group(group_id)?.records.delete_all(Kind::QueuedProposal);
            Ok(())
        })
    }

    fn write_encryption_epoch_key_pairs<
        GroupId: traits::GroupId<V>,
        EpochKey: traits::EpochKey<V>,
        HpkeKeyPair: traits::HpkeKeyPair<V>,
    >(
        &self,
        group_id: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
        key_pairs: &[HpkeKeyPair],
    ) -> Result<()> {
        self.with(|overlay| {
            let key = records::epoch_key_pairs(epoch, leaf_index)?;
            let value = codec::encode(Kind::EpochKeyPairs, key_pairs, 0)?;
            overlay.group(group_id)?.put_epoch_key_pairs(key, value);
            Ok(())
        })
    }

    fn encryption_epoch_key_pairs<
        GroupId: traits::GroupId<V>,
        EpochKey: traits::EpochKey<V>,
        HpkeKeyPair: traits::HpkeKeyPair<V>,
    >(
        &self,
        group_id: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
    ) -> Result<Vec<HpkeKeyPair>> {
        self.with(|overlay| {
            let key = records::epoch_key_pairs(epoch, leaf_index)?;
            let value = overlay.group(group_id)?.records.get(&key);
            value.map_or(Ok(Vec::new()), |value| codec::decode(Kind::EpochKeyPairs, value))
        })
    }

    fn delete_encryption_epoch_key_pairs<GroupId: traits::GroupId<V>, EpochKey: traits::EpochKey<V>>(
        &self,
        group_id: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
    ) -> Result<()> {
        self.with(|overlay| {
            let key = records::epoch_key_pairs(epoch, leaf_index)?;
            overlay.group(group_id)?.records.delete(&key);
            Ok(())
        })
    }

    fn write_encryption_key_pair<EncryptionKey: traits::EncryptionKey<V>, HpkeKeyPair: traits::HpkeKeyPair<V>>(
        &self,
        public_key: &EncryptionKey,
        key_pair: &HpkeKeyPair,
    ) -> Result<()> {
        self.with(|overlay| {
            let value = codec::encode(Kind::EncryptionKeyPair, key_pair, 0)?;
            overlay.put_key_pair(codec::encode_key(public_key)?, value);
            Ok(())
        })
    }

    fn encryption_key_pair<HpkeKeyPair: traits::HpkeKeyPair<V>, EncryptionKey: traits::EncryptionKey<V>>(
        &self,
        public_key: &EncryptionKey,
    ) -> Result<Option<HpkeKeyPair>> {
        self.with(|overlay| {
            let key = Kind::EncryptionKeyPair.by_encoded(&codec::encode_key(public_key)?);
            overlay.key_pair(&key).map(|value| codec::decode(Kind::EncryptionKeyPair, value)).transpose()
        })
    }

    fn delete_encryption_key_pair<EncryptionKey: traits::EncryptionKey<V>>(
        &self,
        public_key: &EncryptionKey,
    ) -> Result<()> {
        self.with(|overlay| {
            overlay.delete_key_pair(&Kind::EncryptionKeyPair.by_encoded(&codec::encode_key(public_key)?));
            Ok(())
        })
    }

    fn write_signature_key_pair<
        SignaturePublicKey: traits::SignaturePublicKey<V>,
        SignatureKeyPair: traits::SignatureKeyPair<V>,
    >(
        &self,
        public_key: &SignaturePublicKey,
        signature_key_pair: &SignatureKeyPair,
    ) -> Result<()> {
        self.with(|overlay| overlay.write_client(public_key, Kind::SignatureKeyPair, signature_key_pair))
    }

    fn signature_key_pair<
        SignaturePublicKey: traits::SignaturePublicKey<V>,
        SignatureKeyPair: traits::SignatureKeyPair<V>,
    >(
        &self,
        public_key: &SignaturePublicKey,
    ) -> Result<Option<SignatureKeyPair>> {
        if self.hides_signers.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.with(|overlay| overlay.read_client(public_key, Kind::SignatureKeyPair))
    }

    by_key!(KeyPackage, HashReference, KeyPackage, write_key_package, key_package);

    fn delete_signature_key_pair<SignaturePublicKey: traits::SignaturePublicKey<V>>(
        &self,
        public_key: &SignaturePublicKey,
    ) -> Result<()> {
        self.with(|overlay| overlay.delete_client(public_key, Kind::SignatureKeyPair))
    }

    /// The material that a virtual client retained for the key package goes with it.
    fn delete_key_package<KeyPackageRef: traits::HashReference<V>>(&self, hash_ref: &KeyPackageRef) -> Result<()> {
        self.with(|overlay| overlay.delete_client(hash_ref, Kind::RetainedKeyPackageMaterial))?;
        self.with(|overlay| overlay.delete_client(hash_ref, Kind::KeyPackage))
    }

    fn write_psk<PskId: traits::PskId<V>, PskBundle: traits::PskBundle<V>>(
        &self,
        psk_id: &PskId,
        psk: &PskBundle,
    ) -> Result<()> {
        self.with(|overlay| overlay.write_client(psk_id, Kind::Psk, psk))
    }

    fn psk<PskBundle: traits::PskBundle<V>, PskId: traits::PskId<V>>(
        &self,
        psk_id: &PskId,
    ) -> Result<Option<PskBundle>> {
        self.with(|overlay| overlay.read_client(psk_id, Kind::Psk))
    }

    fn delete_psk<PskKey: traits::PskId<V>>(&self, psk_id: &PskKey) -> Result<()> {
        self.with(|overlay| overlay.delete_client(psk_id, Kind::Psk))
    }

    #[cfg(feature = "extensions-draft")]
    fn write_application_export_tree<
        GroupId: traits::GroupId<V>,
        ApplicationExportTree: traits::ApplicationExportTree<V>,
    >(
        &self,
        group_id: &GroupId,
        tree: &ApplicationExportTree,
    ) -> Result<()> {
        self.with(|overlay| overlay.write_group(group_id, Kind::ApplicationExportTree, tree))
    }

    #[cfg(feature = "extensions-draft")]
    fn application_export_tree<GroupId: traits::GroupId<V>, ApplicationExportTree: traits::ApplicationExportTree<V>>(
        &self,
        group_id: &GroupId,
    ) -> Result<Option<ApplicationExportTree>> {
        self.with(|overlay| overlay.read_group(group_id, Kind::ApplicationExportTree))
    }

    #[cfg(feature = "extensions-draft")]
    fn delete_application_export_tree<
        GroupId: traits::GroupId<V>,
        ApplicationExportTree: traits::ApplicationExportTree<V>,
    >(
        &self,
        group_id: &GroupId,
    ) -> Result<()> {
        self.with(|overlay| overlay.delete_group(group_id, Kind::ApplicationExportTree))
    }

    #[cfg(feature = "virtual-clients-draft")]
    one_per_group!(
        VcEmulationBindings,
        VcEmulationBindings,
        write_vc_emulation_bindings,
        vc_emulation_bindings,
        delete_vc_emulation_bindings
    );
    #[cfg(feature = "virtual-clients-draft")]
    one_per_group!(
        RegisteredVcEmulationEpoch,
        RegisteredVcEmulationEpoch,
        write_registered_vc_emulation_epoch,
        registered_vc_emulation_epoch,
        delete_registered_vc_emulation_epoch
    );
    #[cfg(feature = "virtual-clients-draft")]
    by_key!(
        VcEmulationEpochState,
        VcEpochId,
        VcEmulationEpochState,
        write_vc_emulation_epoch_state,
        vc_emulation_epoch_state
    );
    #[cfg(feature = "virtual-clients-draft")]
    by_key!(VcOperationTree, VcEpochId, VcOperationTree, write_vc_operation_tree, vc_operation_tree);

    #[cfg(feature = "virtual-clients-draft")]
    fn write_retained_key_package_material_batch<
        EpochId: traits::VcEpochId<V>,
        VcOperationTree: traits::VcOperationTree<V>,
        KeyPackageRef: traits::HashReference<V>,
        RetainedKeyPackageMaterial: traits::RetainedKeyPackageMaterial<V>,
    >(
        &self,
        epoch_id: &EpochId,
        operation_tree: &VcOperationTree,
        materials: &[(KeyPackageRef, RetainedKeyPackageMaterial)],
    ) -> Result<()> {
        self.with(|overlay| overlay.retain_key_package_material(epoch_id, operation_tree, materials))
    }

    #[cfg(feature = "virtual-clients-draft")]
    fn retained_key_package_material<
        KeyPackageRef: traits::HashReference<V>,
        RetainedKeyPackageMaterial: traits::RetainedKeyPackageMaterial<V>,
    >(
        &self,
        hash_ref: &KeyPackageRef,
    ) -> Result<Option<RetainedKeyPackageMaterial>> {
        self.with(|overlay| overlay.retained_key_package_material(hash_ref))
    }

    #[cfg(feature = "virtual-clients-draft")]
    fn has_retained_key_package_material_for_epoch<EpochId: traits::VcEpochId<V>>(
        &self,
        epoch_id: &EpochId,
    ) -> Result<bool> {
        self.with(|overlay| overlay.is_epoch_retained(epoch_id))
    }

    #[cfg(feature = "virtual-clients-draft")]
    fn delete_vc_emulation_state_if_unreferenced<EpochId: traits::VcEpochId<V>>(
        &self,
        epoch_id: &EpochId,
    ) -> Result<bool> {
        self.with(|overlay| overlay.delete_epoch_unless_retained(epoch_id))
    }

    #[cfg(feature = "virtual-clients-draft")]
    fn delete_retained_key_package_material<KeyPackageRef: traits::HashReference<V>>(
        &self,
        hash_ref: &KeyPackageRef,
    ) -> Result<()> {
        self.with(|overlay| overlay.delete_client(hash_ref, Kind::RetainedKeyPackageMaterial))
    }
}

impl fmt::Debug for TransactionStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionStorage").finish_non_exhaustive()
    }
}
