//! The life of a group, with everything going through the encoding after each step.

use super::*;

const ID: &[u8] = b"a group";

/// Kinds that must not outlive a merged commit.
const PASSING: [Kind; 3] = [Kind::QueuedProposal, Kind::OwnLeafNode, Kind::EncryptionKeyPair];

fn trio() -> [Device; 3] {
    let [mut alice, mut bob, mut carol] = ["alice", "bob", "carol"].map(Device::new);
    alice.create_group(ID);
    let packages = [bob.key_package(), carol.key_package()];
    let (_, welcome) = alice.stage(ID, |commit| commit.propose_adds(packages));
    alice.merge(ID);
    bob.join(welcome.clone().unwrap());
    carol.join(welcome.unwrap());
    [alice, bob, carol]
}

fn assert_agree(devices: &mut [Device]) {
    let mut seen = devices.iter_mut().map(|device| {
        device.on_group(ID, |_, group, _| (group.epoch(), group.epoch_authenticator().as_slice().to_vec()))
    });
    let first = seen.next().unwrap();
    seen.for_each(|other| assert_eq!(other, first));
}

fn assert_nothing_dangles(device: &Device) {
    for kind in PASSING {
        assert_eq!(device.count(ID, kind), 0, "{kind:?} outlives a merged commit");
    }
    assert_eq!(device.count(ID, Kind::EpochKeyPairs), 1);
}

#[test]
fn a_group_lives_through_its_whole_life() {
    let mut devices = trio();
    assert_agree(&mut devices);
    let [alice, bob, carol] = &mut devices;
    assert!(bob.client.is_empty(), "the key package is used up");

    let (hello, again) = (alice.send(ID, b"hello"), alice.send(ID, b"again"));
    assert_eq!(bob.receive(ID, &again).unwrap(), b"again");
    assert_eq!(bob.receive(ID, &hello).unwrap(), b"hello");
    assert_eq!(carol.receive(ID, &hello).unwrap(), b"hello");
    let late = carol.send(ID, b"late");

    let updates = [bob.propose_self_update(ID), bob.propose_self_update(ID)];
    for kind in PASSING {
        assert_eq!(bob.count(ID, kind), 2, "{kind:?}");
    }
    for update in &updates {
        alice.receive(ID, update);
        carol.receive(ID, update);
    }
    let (commit, _) = alice.stage(ID, |commit| commit);
    alice.merge(ID);
    bob.receive(ID, &commit);
    carol.receive(ID, &commit);
    devices.iter().for_each(assert_nothing_dangles);
    assert_agree(&mut devices);

    let [alice, bob, carol] = &mut devices;
    assert_eq!(alice.receive(ID, &late).unwrap(), b"late", "past epochs are kept");
    let leaf = bob.on_group(ID, |_, group, _| group.own_leaf_index());
    let (commit, _) = alice.stage(ID, |commit| commit.propose_removals([leaf]));
    alice.merge(ID);
    bob.receive(ID, &commit);
    carol.receive(ID, &commit);
    assert!(!bob.on_group(ID, |_, group, _| group.is_active()));
    let [alice, _, carol] = &mut devices;
    let bye = carol.send(ID, b"bye");
    assert_eq!(alice.receive(ID, &bye).unwrap(), b"bye");

    for device in &mut devices {
        device.on_group(ID, |_, group, provider| group.delete(provider.storage()).unwrap());
        assert!(device.groups.is_empty() && device.client.is_empty());
        device.step(&[ID], |_, provider| assert!(load(provider, ID).is_none()));
    }
}

#[test]
fn a_group_is_deleted_with_everything_that_waits_in_it() {
    let [mut alice, mut bob, _] = trio();
    let update = bob.propose_self_update(ID);
    alice.receive(ID, &update);
    alice.propose_self_update(ID);
    for mut device in [alice, bob] {
        device.on_group(ID, |_, group, provider| group.delete(provider.storage()).unwrap());
        assert!(device.groups.is_empty() && device.client.is_empty());
    }
}

#[test]
fn a_pending_commit_survives_and_can_be_taken_back() {
    let mut devices = trio();
    let [alice, bob, carol] = &mut devices;
    alice.stage(ID, |commit| commit.force_self_update(true));
    alice.on_group(ID, |_, group, provider| {
        assert!(group.pending_commit().is_some());
        group.clear_pending_commit(provider.storage()).unwrap();
    });
    let (commit, _) = bob.stage(ID, |commit| commit.force_self_update(true));
    bob.merge(ID);
    alice.receive(ID, &commit);
    carol.receive(ID, &commit);
    devices.iter().for_each(assert_nothing_dangles);
    assert_agree(&mut devices);
}

/// OpenMLS keeps the own leaf nodes of proposals that were withdrawn, and cannot process a commit if the key pair of
/// one of them is gone.
#[test]
fn a_withdrawn_update_does_not_block_the_group() {
    let mut devices = trio();
    let [alice, bob, carol] = &mut devices;
    bob.propose_self_update(ID);
    bob.on_group(ID, |_, group, provider| group.clear_pending_proposals(provider.storage()).unwrap());
    assert_eq!(bob.count(ID, Kind::QueuedProposal), 0);
    assert_eq!(bob.count(ID, Kind::EncryptionKeyPair), 1);
    let (commit, _) = alice.stage(ID, |commit| commit.force_self_update(true));
    alice.merge(ID);
    bob.receive(ID, &commit);
    carol.receive(ID, &commit);
    devices.iter().for_each(assert_nothing_dangles);
    assert_agree(&mut devices);
}

#[test]
fn an_operation_that_changes_nothing_leaves_no_change() {
    let [mut alice, ..] = trio();
    let before = alice.groups.clone();
    let storage = TransactionStorage::new(
        Arc::new(alice.client.clone()),
        [(ID.into(), Arc::new(alice.groups[ID].clone()))].into(),
    );
    let provider = Provider::new(Arc::clone(&alice.crypto), storage);
    let mut group = load(&provider, ID).unwrap();
    let config = group.configuration().clone();
    group.set_configuration(provider.storage(), &config).unwrap();
    let changes = provider.storage().take_changes();
    assert!(changes.client.is_empty() && changes.groups.is_empty() && changes.taken_as_absent.is_empty());
    alice.step(&[ID], |_, provider| assert!(load(provider, ID).is_some()));
    assert_eq!(alice.groups, before);
}

#[test]
fn a_group_that_is_not_named_reads_as_absent_and_is_reported() {
    let [alice, ..] = trio();
    let provider = Provider::new(Arc::clone(&alice.crypto), empty_storage(&[]));
    assert!(load(&provider, ID).is_none());
    let changes = provider.storage().take_changes();
    assert!(changes.groups.is_empty());
    assert_eq!(changes.taken_as_absent.into_iter().collect::<Vec<_>>(), [ID.into()]);
}

#[test]
fn a_group_that_is_created_and_deleted_in_one_transaction_leaves_nothing() {
    let mut alice = Device::new("alice");
    alice.step(&[], |device, provider| {
        let (signer, credential) = (&device.signer, device.credential.clone());
        let config = MlsGroupCreateConfig::builder().ciphersuite(CIPHERSUITE).build();
        let mut group =
            MlsGroup::new_with_group_id(provider, signer, &config, GroupId::from_slice(ID), credential).unwrap();
        propose_self_update(device, &mut group, provider);
        group.delete(provider.storage()).unwrap();
    });
    assert!(alice.groups.is_empty() && alice.client.is_empty());
}

/// Who missed a commit enters the group again by an external commit. OpenMLS then never deletes the key pairs of the
/// epoch that the old membership had stopped in.
#[test]
fn entering_a_group_again_leaves_no_key_pairs_of_the_old_membership() {
    let mut devices = trio();
    let [alice, bob, carol] = &mut devices;
    let (missed, _) = alice.stage(ID, |commit| commit.force_self_update(true));
    alice.merge(ID);
    carol.receive(ID, &missed);
    let info = alice.on_group(ID, |device, group, provider| {
        group.export_group_info(provider.crypto(), &device.signer, true).unwrap().to_bytes().unwrap()
    });
    let commit = bob.step(&[ID], |device, provider| {
        let MlsMessageBodyIn::GroupInfo(info) = MlsMessageIn::tls_deserialize_exact(info).unwrap().extract() else {
            panic!("not a GroupInfo")
        };
        let (_, bundle) = ExternalCommitBuilder::new()
            .build_group(provider, info, device.credential.clone())
            .unwrap()
            .load_psks(provider.storage())
            .unwrap()
            .build(provider.rand(), provider.crypto(), &device.signer, |_| true)
            .unwrap()
            .finalize(provider)
            .unwrap();
        bundle.into_commit().to_bytes().unwrap()
    });
    alice.receive(ID, &commit);
    carol.receive(ID, &commit);
    devices.iter().for_each(assert_nothing_dangles);
    assert_agree(&mut devices);
}

#[test]
fn the_client_s_own_material_is_there_for_the_next_step() {
    use openmls::schedule::{ExternalPsk, PreSharedKeyId, Psk};
    use openmls_traits::storage::StorageProvider as _;

    let mut devices = trio();
    let psk = Psk::External(ExternalPsk::new(vec![7; 400]));
    for device in &mut devices {
        device.step(&[], |device, provider| {
            let id = PreSharedKeyId::new(CIPHERSUITE, provider.rand(), psk.clone()).unwrap();
            id.store(provider, b"shared beforehand").unwrap();
            device.signer.store(provider.storage()).unwrap();
        });
        device.step(&[], |device, provider| {
            let (public, scheme) = (device.signer.public(), device.signer.signature_scheme());
            let signer = SignatureKeyPair::read(provider.storage(), public, scheme).unwrap();
            let sign = |signer: &SignatureKeyPair| openmls_traits::signatures::Signer::sign(signer, b"text").unwrap();
            assert_eq!(sign(&signer), sign(&device.signer));
        });
    }
    let [alice, bob, carol] = &mut devices;
    let id = PreSharedKeyId::new(CIPHERSUITE, alice.crypto.as_ref(), psk.clone()).unwrap();
    let proposal = Proposal::PreSharedKey(Box::new(PreSharedKeyProposal::new(id)));
    let (commit, _) = alice.stage(ID, |commit| commit.add_proposal(proposal));
    alice.merge(ID);
    bob.receive(ID, &commit);
    carol.receive(ID, &commit);
    assert_agree(&mut devices);
    for device in &mut devices {
        device.step(&[], |device, provider| {
            provider.storage().delete_psk(&psk).unwrap();
            let (public, scheme) = (device.signer.public(), device.signer.signature_scheme());
            SignatureKeyPair::delete(provider.storage(), public, scheme).unwrap();
        });
        assert!(device.client.is_empty());
    }
}
