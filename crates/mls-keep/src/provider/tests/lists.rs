//! Lists and queues, called as OpenMLS calls them.

use openmls_traits::storage::{CURRENT_VERSION, Entity, Key, StorageProvider, traits};
use serde::{Deserialize, Serialize};

use super::*;
use mls_keep_core::SecretBytes;

/// A key or a value of OpenMLS, whatever it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Thing {
    pub(super) bytes: Vec<u8>,
}

pub(super) fn thing(bytes: impl AsRef<[u8]>) -> Thing {
    Thing { bytes: bytes.as_ref().to_vec() }
}

macro_rules! thing_is {
    ($($Trait:ident)*) => { $(impl traits::$Trait<CURRENT_VERSION> for Thing {})* };
}

impl Key<CURRENT_VERSION> for Thing {}
impl Entity<CURRENT_VERSION> for Thing {}
thing_is!(SignaturePublicKey HashReference PskId EncryptionKey EpochKey ProposalRef);
thing_is!(QueuedProposal TreeSync GroupContext InterimTranscriptHash ConfirmationTag SignatureKeyPair PskBundle);
thing_is!(HpkeKeyPair GroupState GroupEpochSecrets LeafNodeIndex MessageSecrets ResumptionPskStore KeyPackage);
thing_is!(MlsGroupJoinConfig LeafNode ApplicationExportTree);
#[cfg(feature = "virtual-clients-draft")]
thing_is!(VcEpochId VcEmulationEpochState VcEmulationBindings RegisteredVcEmulationEpoch VcOperationTree);
#[cfg(feature = "virtual-clients-draft")]
thing_is!(RetainedKeyPackageMaterial);

fn id(bytes: &[u8]) -> GroupId {
    GroupId::from_slice(bytes)
}

fn queue(storage: &TransactionStorage, group: &[u8]) -> Vec<(Thing, Thing)> {
    let queued = storage.queued_proposals(&id(group)).unwrap();
    let references: Vec<Thing> = storage.queued_proposal_refs(&id(group)).unwrap();
    assert_eq!(references, queued.iter().map(|(reference, _): &(Thing, Thing)| reference.clone()).collect::<Vec<_>>());
    queued
}

/// Commits what was changed and starts over from the records.
pub(super) fn reload(
    storage: TransactionStorage,
    client: &mut Records,
    groups: &mut BTreeMap<SecretBytes, Records>,
) -> TransactionStorage {
    let changes = storage.take_changes();
    apply(client, changes.client);
    for (id, group) in changes.groups {
        apply(groups.entry(id).or_default(), group.records);
    }
    let named = groups.iter().map(|(id, records)| (id.clone(), Arc::new(records.clone()))).collect();
    TransactionStorage::new(Arc::new(client.clone()), named)
}

#[test]
fn a_list_keeps_its_order_across_transactions() {
    let (mut client, mut groups) = Default::default();
    let mut storage = empty_storage(&[b"g"]);
    let leaves: Vec<Thing> = (0..600_u32).map(|at| thing((!at).to_be_bytes())).collect();
    for (at, leaf) in leaves.iter().enumerate() {
        storage.append_own_leaf_node(&id(b"g"), leaf).unwrap();
        if at % 250 == 0 {
            storage = reload(storage, &mut client, &mut groups);
        }
    }
    storage = reload(storage, &mut client, &mut groups);
    assert_eq!(storage.own_leaf_nodes::<_, Thing>(&id(b"g")).unwrap(), leaves);
    storage.delete_own_leaf_nodes(&id(b"g")).unwrap();
    assert!(storage.own_leaf_nodes::<_, Thing>(&id(b"g")).unwrap().is_empty());
    storage.append_own_leaf_node(&id(b"g"), &leaves[7]).unwrap();
    storage = reload(storage, &mut client, &mut groups);
    assert_eq!(storage.own_leaf_nodes::<_, Thing>(&id(b"g")).unwrap(), leaves[7..8]);
}

#[test]
fn a_proposal_is_removed_or_replaced_in_its_place() {
    let (mut client, mut groups) = Default::default();
    let mut storage = empty_storage(&[b"g"]);
    for name in ["a", "b", "c", "ab", ""] {
        storage.queue_proposal(&id(b"g"), &thing(name), &thing(format!("{name} 1"))).unwrap();
    }
    storage = reload(storage, &mut client, &mut groups);
    storage.queue_proposal(&id(b"g"), &thing("b"), &thing("b 2")).unwrap();
    storage.remove_proposal(&id(b"g"), &thing("a")).unwrap();
    storage.remove_proposal(&id(b"g"), &thing("absent")).unwrap();
    storage.queue_proposal(&id(b"g"), &thing("a"), &thing("a 2")).unwrap();
    storage = reload(storage, &mut client, &mut groups);
    let expected = [("b", "b 2"), ("c", "c 1"), ("ab", "ab 1"), ("", " 1"), ("a", "a 2")];
    assert_eq!(queue(&storage, b"g"), expected.map(|(name, proposal)| (thing(name), thing(proposal))));
}

/// The shipped memory provider leaves the proposals behind, under keys that nobody reads again.
#[test]
fn clearing_a_queue_clears_this_group_s_queue_and_no_other() {
    let (mut client, mut groups) = Default::default();
    let ids: [&[u8]; 5] = [b"g", b"gg", b"g\0", b"", b"h"];
    let mut storage = empty_storage(&ids);
    for id in ids {
        storage.write_tree(&GroupId::from_slice(id), &thing(id)).unwrap();
        for name in ["1", "2", "3"] {
            storage.queue_proposal(&GroupId::from_slice(id), &thing(name), &thing(id)).unwrap();
        }
    }
    storage = reload(storage, &mut client, &mut groups);
    storage.clear_proposal_queue::<_, Thing>(&id(b"g")).unwrap();
    storage.delete_tree(&id(b"gg")).unwrap();
    storage = reload(storage, &mut client, &mut groups);
    for id in ids {
        let (queued, tree): (_, Option<Thing>) = (queue(&storage, id), storage.tree(&GroupId::from_slice(id)).unwrap());
        assert_eq!(queued.len(), if id == b"g" { 0 } else { 3 });
        assert!(queued.iter().all(|(_, proposal)| *proposal == thing(id)));
        assert_eq!(tree, (id != b"gg").then(|| thing(id)));
    }
    assert_eq!(kinds(&groups[b"g".as_slice()]), [0x19]);
}

#[test]
fn what_is_absent_is_none_or_empty_and_can_be_deleted() {
    let storage = empty_storage(&[b"g"]);
    let group = id(b"g");
    let pairs: Vec<Thing> = storage.encryption_epoch_key_pairs(&group, &thing("1"), 0).unwrap();
    assert!(pairs.is_empty() && queue(&storage, b"g").is_empty());
    assert!(storage.tree::<_, Thing>(&group).unwrap().is_none());
    assert!(storage.psk::<Thing, _>(&thing("p")).unwrap().is_none());
    storage.delete_tree(&group).unwrap();
    storage.delete_group_state(&group).unwrap();
    storage.delete_own_leaf_nodes(&group).unwrap();
    storage.clear_proposal_queue::<_, Thing>(&group).unwrap();
    storage.delete_encryption_epoch_key_pairs(&group, &thing("1"), 0).unwrap();
    storage.delete_encryption_key_pair(&thing("k")).unwrap();
    storage.delete_key_package(&thing("k")).unwrap();
    storage.delete_psk(&thing("p")).unwrap();
    storage.delete_signature_key_pair(&thing("s")).unwrap();
    let changes = storage.take_changes();
    assert!(changes.client.is_empty() && changes.groups.is_empty());
}

#[test]
fn the_key_pairs_of_an_epoch_are_told_apart_by_epoch_and_leaf() {
    let storage = empty_storage(&[b"g"]);
    let group = id(b"g");
    for (epoch, leaf) in [("1", 1), ("1", 2), ("2", 1)] {
        storage
            .write_encryption_epoch_key_pairs(&group, &thing(epoch), leaf, &[thing(epoch), thing([leaf as u8])])
            .unwrap();
    }
    storage.delete_encryption_epoch_key_pairs(&group, &thing("1"), 1).unwrap();
    let read = |epoch, leaf| storage.encryption_epoch_key_pairs::<_, _, Thing>(&group, &thing(epoch), leaf).unwrap();
    assert!(read("1", 1).is_empty());
    assert_eq!(read("1", 2), [thing("1"), thing([2])]);
    assert_eq!(read("2", 1), [thing("2"), thing([1])]);
}

#[test]
fn the_application_s_records_ride_along() {
    let (mut client, mut groups) = Default::default();
    let mut storage = empty_storage(&[b"g"]);
    let scopes = [Scope::Client, Scope::Group(id(b"g")), Scope::Group(id(b"new"))];
    for (at, scope) in scopes.iter().enumerate() {
        storage.put(scope, (&[0x80, 1]).into(), Some(Value::from(vec![at as u8])));
        storage.put(scope, (&[0x80, 2]).into(), Some(Value::from(vec![9])));
        storage.put(scope, (&[0x80, 2]).into(), None);
    }
    storage = reload(storage, &mut client, &mut groups);
    for (at, scope) in scopes.iter().enumerate() {
        assert_eq!(storage.get(scope, &[0x80, 1]), Some(Value::from(vec![at as u8])));
        assert_eq!(storage.get(scope, &[0x80, 2]), None);
    }
}

#[test]
fn a_group_id_that_is_too_long_is_refused() {
    let storage = empty_storage(&[]);
    storage.write_tree(&id(&[7; 255]), &thing("t")).unwrap();
    let error = storage.write_tree(&id(&[7; 256]), &thing("t")).unwrap_err();
    assert_eq!(error.kind(), mls_keep_core::ErrorKind::Invalid);
    assert_eq!(storage.take_changes().groups.into_keys().collect::<Vec<_>>(), [vec![7; 255].into()]);
}
