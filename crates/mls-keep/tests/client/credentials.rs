//! Keys and credentials that change, and credentials of other types.

use futures_executor::block_on;
use mls_keep::openmls::credentials::{BasicCredential, Credential, CredentialType, CredentialWithKey, NewSignerBundle};
use mls_keep::openmls::prelude::{LeafNodeParameters, OpenMlsProvider as _};
use mls_keep::{Change, Client, ErrorKind, Received, SavePolicy};
use openmls_basic_credential::SignatureKeyPair;

use super::{bytes, client, gather, keep, load, talk};

#[test]
fn after_a_new_signer_messages_are_signed_with_it() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let signer = SignatureKeyPair::new(alice.ciphersuite().signature_algorithm()).unwrap();
    let commit = block_on(alice.transact(&group, |tx| {
        signer.store(tx.provider.storage())?;
        let credential_with_key = CredentialWithKey {
            credential: BasicCredential::new(b"alice".to_vec()).into(),
            signature_key: signer.to_public_vec().into(),
        };
        let new = NewSignerBundle { signer: &signer, credential_with_key };
        let parameters = LeafNodeParameters::default();
        let bundle = tx.group.self_update_with_new_signer(tx.provider, tx.signer, new, parameters)?;
        tx.group.merge_pending_commit(tx.provider)?;
        Ok(bundle.into_commit())
    }))
    .unwrap();
    block_on(bob.receive(bytes(&commit))).unwrap();
    talk(&group, &mut [&mut alice, &mut bob]);
    let mut alice = load(&manager, "alice");
    talk(&group, &mut [&mut alice, &mut bob]);
    let commit = block_on(alice.commit_at_once(&group, Change::new().update())).unwrap().commit;
    block_on(bob.receive(commit)).unwrap();
    talk(&group, &mut [&mut alice, &mut bob]);
}

#[test]
fn a_new_signer_that_is_not_stored_is_refused() {
    let manager = keep();
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    let signer = SignatureKeyPair::new(alice.ciphersuite().signature_algorithm()).unwrap();
    let refused = block_on(alice.transact(&group, |tx| {
        let credential_with_key = CredentialWithKey {
            credential: BasicCredential::new(b"alice".to_vec()).into(),
            signature_key: signer.to_public_vec().into(),
        };
        let new = NewSignerBundle { signer: &signer, credential_with_key };
        tx.group.self_update_with_new_signer(tx.provider, tx.signer, new, LeafNodeParameters::default())?;
        Ok(tx.group.merge_pending_commit(tx.provider)?)
    }));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    block_on(alice.send(&group, "with the old key")).unwrap();
}

#[test]
fn groups_of_clients_with_other_credentials_can_be_joined() {
    for credential_type in [CredentialType::X509, CredentialType::Other(0xf0ca)] {
        let manager = keep();
        let [mut alice, mut bob] = ["alice", "bob"].map(|name| {
            let credential = Credential::new(credential_type, name.as_bytes().to_vec());
            block_on(manager.client_builder(name).credential(credential).create()).unwrap()
        });
        let group = block_on(alice.create_group("tea")).unwrap();
        gather(&mut alice, &group, &mut [&mut bob]);
        talk(&group, &mut [&mut alice, &mut bob]);
    }
}

/// Rotated in one group after the other, as the delivery services take the commits.
#[test]
fn a_credential_and_its_signature_key_are_rotated() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let [tea, coffee] = ["tea", "coffee"].map(|name| {
        let group = block_on(alice.create_group(name)).unwrap();
        gather(&mut alice, &group, &mut [&mut bob]);
        group
    });
    let before = published_before(&mut alice);
    let old = alice.credential().clone();
    let signer = SignatureKeyPair::new(alice.ciphersuite().signature_algorithm()).unwrap();
    let new = signer.to_public_vec();
    block_on(alice.set_credential(BasicCredential::new(b"alice at work".into()).into(), signer)).unwrap();

    // In her groups nothing has changed so far.
    let mut alice = load(&manager, "alice");
    assert_eq!(alice.credential().signature_key.as_slice(), new);
    for group in [&tea, &coffee] {
        talk(group, &mut [&mut alice, &mut bob]);
        assert_eq!(block_on(bob.members(group)).unwrap()[0].signature_key, old.signature_key.as_slice());
    }
    let staged = block_on(alice.stage(&tea, Change::new().credential())).unwrap();
    block_on(alice.confirm(&tea)).unwrap();
    let Received::Commit(summary) = block_on(bob.receive(&staged.commit)).unwrap() else { panic!("no commit") };
    let [updated] = &summary.updated[..] else { panic!("one leaf changes") };
    assert_eq!((&updated.identity[..], &updated.signature_key[..]), (&b"alice at work"[..], &new[..]));
    let mut alice = load(&manager, "alice");
    for group in [&tea, &coffee] {
        talk(group, &mut [&mut alice, &mut bob]);
    }
    assert_eq!(block_on(bob.members(&coffee)).unwrap()[0].signature_key, old.signature_key.as_slice());

    // A key package of before is still good for an invitation.
    let third = block_on(bob.create_group("cake")).unwrap();
    let welcome = block_on(bob.commit_at_once(&third, Change::new().invite([before]))).unwrap().welcome;
    block_on(alice.join(welcome.unwrap())).unwrap();
    talk(&third, &mut [&mut alice, &mut bob]);
}

fn published_before(client: &mut Client) -> Vec<u8> {
    bytes(&block_on(client.key_package()).unwrap())
}

/// One process rotates; the other goes on with the new credential, not with the one that it has loaded.
#[test]
fn another_process_takes_over_a_new_credential() {
    let manager = keep();
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let mut elsewhere = load(&manager, "alice");
    let signer = SignatureKeyPair::new(alice.ciphersuite().signature_algorithm()).unwrap();
    let new = signer.to_public_vec();
    block_on(alice.set_credential(BasicCredential::new(b"alice".into()).into(), signer)).unwrap();
    let group = block_on(elsewhere.create_group("tea")).unwrap();
    let members = block_on(elsewhere.members(&group)).unwrap();
    assert_eq!(members[0].signature_key, new);
}
