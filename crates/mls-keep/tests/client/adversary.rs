//! What a hostile service, a second process, or an end at the wrong moment makes of a client.

use std::io::Cursor;
use std::time::Duration;

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::openmls::prelude::OpenMlsProvider as _;
use mls_keep::{
    Archive, BackupOptions, Change, Client, Encryption, ErrorKind, ExportOptions, JoinOptions, KeyPackageOptions,
    MasterKey, PersistenceManager, Received, RestoreOptions, SavePolicy, Signer as _,
};
use openmls_basic_credential::SignatureKeyPair;

use super::{bytes, client, gather, hear, keep, load, talk};

const EVERY: SavePolicy = SavePolicy::EveryOperation;
const INTERVAL: SavePolicy = SavePolicy::Interval { every: Duration::from_secs(1000), reserve: 4 };

fn pair(manager: &PersistenceManager, save: SavePolicy) -> (Client, Client, GroupId) {
    let mut alice = client(manager, "alice", save);
    let mut bob = client(manager, "bob", EVERY);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    (alice, bob, group)
}

fn say(from: &mut Client, to: &mut Client, group: &GroupId, text: &str) {
    let message = block_on(from.send(group, text)).unwrap();
    assert_eq!(hear(to, &message), text);
}

/// What was sent under `Manual` is not reserved, and what is sent under `Interval` after it must be.
#[test]
fn what_was_sent_by_hand_is_not_taken_for_reserved() {
    let manager = keep();
    let (mut alice, mut bob, group) = pair(&manager, INTERVAL);
    say(&mut alice, &mut bob, &group, "reserves");
    alice.set_save_policy(SavePolicy::Manual).unwrap();
    for _ in 0..4 {
        say(&mut alice, &mut bob, &group, "by hand");
    }
    alice.set_save_policy(INTERVAL).unwrap();
    say(&mut alice, &mut bob, &group, "at an interval");
    drop(alice);
    let mut alice = load(&manager, "alice");
    say(&mut alice, &mut bob, &group, "after the end");
}

fn last_resort(client: &mut Client) -> Vec<u8> {
    block_on(client.key_packages(1, KeyPackageOptions::new().last_resort())).unwrap().remove(0)
}

/// A Welcome to a key package of last resort can be opened again: its group must not begin anew with the same keys.
#[test]
fn a_welcome_to_a_last_resort_is_not_joined_again_after_the_group_was_forgotten() {
    let manager = keep();
    let mut alice = client(&manager, "alice", EVERY);
    let mut bob = client(&manager, "bob", EVERY);
    let group = block_on(alice.create_group("tea")).unwrap();
    let package = last_resort(&mut bob);
    let welcome = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap().welcome.unwrap();
    block_on(bob.join(&welcome)).unwrap();
    say(&mut bob, &mut alice, &group, "first");
    block_on(bob.forget_group(&group)).unwrap();
    assert_eq!(block_on(bob.join(&welcome)).unwrap_err().kind(), ErrorKind::Invalid);
    let mut bob = load(&manager, "bob");
    assert_eq!(block_on(bob.join(&welcome)).unwrap_err().kind(), ErrorKind::Invalid);
    // It works for another invitation.
    block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).unwrap();
    let package = block_on(bob.unused_key_packages()).unwrap().remove(0).key_package;
    let welcome = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap().welcome.unwrap();
    block_on(bob.join(&welcome)).unwrap();
    talk(&group, &mut [&mut alice, &mut bob]);
}

#[test]
fn a_welcome_to_a_last_resort_is_not_joined_again_after_a_removal() {
    let manager = keep();
    let mut alice = client(&manager, "alice", EVERY);
    let mut bob = client(&manager, "bob", EVERY);
    let group = block_on(alice.create_group("tea")).unwrap();
    let package = last_resort(&mut bob);
    let welcome = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap().welcome.unwrap();
    block_on(bob.join(&welcome)).unwrap();
    say(&mut bob, &mut alice, &group, "first");
    let removed = block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).unwrap().commit;
    block_on(bob.receive(&removed)).unwrap();
    assert!(!block_on(bob.group(&group)).unwrap().is_active);
    let again = block_on(bob.join(&welcome));
    assert!(again.is_err(), "{again:?}: bob is back in epoch {}", block_on(bob.group(&group)).unwrap().epoch);
}

#[test]
fn an_older_welcome_to_a_last_resort_replaces_no_newer_state() {
    let manager = keep();
    let mut alice = client(&manager, "alice", EVERY);
    let mut bob = client(&manager, "bob", EVERY);
    let group = block_on(alice.create_group("tea")).unwrap();
    let package = last_resort(&mut bob);
    let invite = |alice: &mut Client, package: &[u8]| {
        block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap().welcome.unwrap()
    };
    let first = invite(&mut alice, &package);
    block_on(bob.join(&first)).unwrap();
    say(&mut bob, &mut alice, &group, "first");
    block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).unwrap();
    let second = invite(&mut alice, &package);
    block_on(bob.join_with(&second, JoinOptions::new().replace())).unwrap();
    say(&mut bob, &mut alice, &group, "second");
    let again = block_on(bob.join_with(&first, JoinOptions::new().replace()));
    assert!(again.is_err(), "{again:?}");
}

fn key() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([9; 32]))
}

fn open(archive: &[u8]) -> Archive {
    block_on(Archive::open(Cursor::new(archive.to_vec()), &key(), &mut |_| ())).unwrap()
}

fn restored(manager: &PersistenceManager, client: &Client) -> Client {
    let mut archive = Vec::new();
    block_on(manager.create_backup(client, &mut archive, BackupOptions::new(key()))).unwrap();
    block_on(keep().restore_from_backup(&mut [open(&archive)], RestoreOptions::new())).unwrap()
}

/// OpenMLS's own way to a signer is to read it from the storage.
#[test]
fn a_restored_client_signs_nothing_with_a_key_that_it_reads_itself() {
    let manager = keep();
    let (alice, _bob, group) = pair(&manager, EVERY);
    let mut restored = restored(&manager, &alice);
    let sent = block_on(restored.transact(&group, |tx| {
        let leaf = tx.group.own_leaf_node().ok_or("no leaf")?.signature_key().as_slice().to_vec();
        let scheme = tx.signer.signature_scheme();
        let signer = SignatureKeyPair::read(tx.provider.storage(), &leaf, scheme).ok_or("no key")?;
        Ok(tx.group.create_message(tx.provider, &signer, b"twice")?.to_bytes()?)
    }));
    assert_eq!(sent.map(drop).unwrap_err().kind(), ErrorKind::NeedsRejoin);
}

/// Two processes have one entry staged.
#[test]
fn an_entry_that_another_process_has_confirmed_is_not_damage() {
    let manager = keep();
    let (mut alice, _bob, group) = pair(&manager, EVERY);
    let mut dave = client(&manager, "dave", EVERY);
    let info = block_on(alice.group_info(&group, true)).unwrap();
    let entry = block_on(dave.stage_entry(info, JoinOptions::new())).unwrap();
    let mut confirms = load(&manager, "dave");
    let mut receives = load(&manager, "dave");
    let mut rejects = load(&manager, "dave");
    for other in [&mut confirms, &mut receives, &mut rejects] {
        assert!(block_on(other.pending(&group)).unwrap().is_some());
    }
    block_on(dave.confirm(&group)).unwrap();
    block_on(alice.receive(&entry.commit)).unwrap();
    for _ in 0..3 {
        say(&mut dave, &mut alice, &group, "hello");
    }
    let confirmed = block_on(confirms.confirm(&group)).map(drop).unwrap_err();
    let received = block_on(receives.receive(&entry.commit));
    let rejected = block_on(rejects.reject(&group)).unwrap_err();
    assert_eq!(confirmed.kind(), ErrorKind::NotFound, "{confirmed:?}");
    assert_eq!(received.unwrap(), Received::AlreadyReceived(None));
    assert_eq!(rejected.kind(), ErrorKind::NotFound, "{rejected:?}");
    for other in [&mut confirms, &mut receives, &mut rejects] {
        say(other, &mut alice, &group, "from elsewhere");
    }
}

/// The same of a commit that is not an entry.
#[test]
fn a_commit_that_another_process_has_confirmed_is_not_damage() {
    let manager = keep();
    let (mut alice, mut bob, group) = pair(&manager, EVERY);
    let staged = block_on(alice.stage(&group, Change::new().update())).unwrap();
    let mut confirms = load(&manager, "alice");
    let mut receives = load(&manager, "alice");
    for other in [&mut confirms, &mut receives] {
        assert!(block_on(other.pending(&group)).unwrap().is_some());
    }
    block_on(alice.confirm(&group)).unwrap();
    block_on(bob.receive(&staged.commit)).unwrap();
    for _ in 0..3 {
        say(&mut alice, &mut bob, &group, "hello");
    }
    let confirmed = block_on(confirms.confirm(&group)).map(drop).unwrap_err();
    let received = block_on(receives.receive(&staged.commit));
    assert_eq!(confirmed.kind(), ErrorKind::NotFound, "{confirmed:?}");
    assert_eq!(received.unwrap(), Received::AlreadyReceived(None));
}

/// The service spoils a message on the way, and gives the true one afterwards.
#[test]
fn a_spoilt_copy_does_not_use_up_the_key_of_the_message() {
    for many in [false, true] {
        let manager = keep();
        let (mut alice, mut bob, group) = pair(&manager, EVERY);
        let message = bytes(&block_on(alice.send(&group, "a longer text, so that the sample is not touched")).unwrap());
        let next = bytes(&block_on(alice.send(&group, "next")).unwrap());
        let mut spoilt = message.clone();
        *spoilt.last_mut().unwrap() ^= 1;
        let outcomes = if many {
            block_on(bob.receive_many(&[spoilt, next, message]))
        } else {
            [spoilt, next, message].iter().map(|message| block_on(bob.receive(message))).collect()
        };
        assert_eq!(outcomes[0].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
        assert!(matches!(outcomes[1], Ok(Received::Message(_))), "{many}: {:?}", outcomes[1]);
        assert!(matches!(outcomes[2], Ok(Received::Message(_))), "{many}: {:?}", outcomes[2]);
    }
}

/// What a process has reserved is its own until it saves. The imported client skips it.
#[test]
fn a_process_with_reserved_messages_shares_no_key_with_the_client_that_has_moved() {
    let manager = keep();
    let (mut alice, mut bob, group) = pair(&manager, EVERY);
    let mut second = block_on(manager.load_client_state_saving("alice", INTERVAL)).unwrap();
    say(&mut second, &mut bob, &group, "reserves");
    let mut archive = Vec::new();
    block_on(alice.export_state(&mut archive, ExportOptions::new(key()))).unwrap();
    let mut moved = block_on(Client::import_state(&keep(), open(&archive))).unwrap();
    let late = block_on(second.send(&group, "from the old place")).unwrap();
    say(&mut moved, &mut bob, &group, "from the new place");
    assert_eq!(hear(&mut bob, &late), "from the old place");
    assert_eq!(block_on(second.save()).unwrap_err().kind(), ErrorKind::MovedOut);
    assert_eq!(block_on(second.send(&group, "once more")).map(drop).unwrap_err().kind(), ErrorKind::MovedOut);
    say(&mut moved, &mut bob, &group, "still here");
}

#[test]
fn a_process_that_has_heard_that_the_client_was_deleted_sends_nothing_that_it_has_reserved() {
    let manager = keep();
    let (alice, mut bob, group) = pair(&manager, EVERY);
    let mut second = block_on(manager.load_client_state_saving("alice", INTERVAL)).unwrap();
    say(&mut second, &mut bob, &group, "reserves");
    drop(alice);
    block_on(manager.delete_client("alice")).unwrap();
    assert_eq!(block_on(second.refresh()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(block_on(second.send(&group, "once more")).map(drop).unwrap_err().kind(), ErrorKind::NotFound);
}

/// It need not be a refresh that says so: reading does, too.
#[test]
fn a_process_that_has_read_that_the_client_is_another_one_sends_nothing_that_it_has_reserved() {
    for replaced in [false, true] {
        let manager = keep();
        let (mut alice, mut bob, group) = pair(&manager, EVERY);
        let unread = block_on(alice.create_group("coffee")).unwrap();
        let mut second = block_on(manager.load_client_state_saving("alice", INTERVAL)).unwrap();
        say(&mut second, &mut bob, &group, "reserves");
        let mut archive = Vec::new();
        block_on(manager.create_backup(&alice, &mut archive, BackupOptions::new(key()))).unwrap();
        drop(alice);
        if replaced {
            let options = RestoreOptions::new().replace();
            block_on(manager.restore_from_backup(&mut [open(&archive)], options)).unwrap();
        } else {
            block_on(manager.delete_client("alice")).unwrap();
        }
        let read = block_on(second.group(&unread));
        assert_eq!(read.map(drop).unwrap_err().kind(), ErrorKind::NotFound, "{replaced}");
        let sent = block_on(second.send(&group, "once more"));
        assert_eq!(sent.map(drop).unwrap_err().kind(), ErrorKind::NotFound, "{replaced}");
    }
}

/// Groups come and go in memory, and each begins where it was.
#[test]
fn a_client_without_memory_uses_no_key_twice() {
    for save in [EVERY, INTERVAL, SavePolicy::Manual] {
        let manager = keep();
        let mut alice = client(&manager, "alice", save);
        let mut bob = client(&manager, "bob", EVERY);
        alice.set_memory(0);
        let groups: Vec<_> = (0..4).map(|_| block_on(alice.create_group("tea")).unwrap()).collect();
        groups.iter().for_each(|group| gather(&mut alice, group, &mut [&mut bob]));
        for round in 0..12 {
            for group in &groups {
                say(&mut alice, &mut bob, group, "hello");
                say(&mut bob, &mut alice, group, "yes");
            }
            match round % 4 {
                1 => block_on(alice.save()).unwrap(),
                3 => {
                    // By hand nothing leaves that is not saved before the end.
                    if save == SavePolicy::Manual {
                        block_on(alice.save()).unwrap();
                    }
                    alice = block_on(manager.load_client_state_saving("alice", save)).unwrap();
                    alice.set_memory(0);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_group_info_with_an_id_that_cannot_be_kept_is_refused() {
    let manager = keep();
    for len in [0, 1, 254, 255, 256, 70_000] {
        use mls_keep::openmls::prelude::*;
        let mut alice = client(&keep(), "alice", EVERY);
        let provider = openmls_rust_crypto::OpenMlsRustCrypto::default();
        let signer = SignatureKeyPair::new(alice.ciphersuite().signature_algorithm()).unwrap();
        let credential = CredentialWithKey {
            credential: BasicCredential::new(b"mallory".to_vec()).into(),
            signature_key: signer.public().into(),
        };
        let config = MlsGroupCreateConfig::builder().ciphersuite(alice.ciphersuite()).build();
        let id = GroupId::from_slice(&vec![7; len]);
        let theirs = MlsGroup::new_with_group_id(&provider, &signer, &config, id.clone(), credential).unwrap();
        let info = theirs.export_group_info(provider.crypto(), &signer, true).unwrap().to_bytes().unwrap();
        let staged = block_on(alice.stage_entry(&info, JoinOptions::new()));
        if staged.is_ok() {
            assert!(len < 256);
            block_on(alice.confirm(&id)).unwrap();
            block_on(alice.send(&id, "hello")).unwrap();
            assert_eq!(block_on(alice.groups()).unwrap().len(), 1);
        } else {
            assert_eq!(staged.map(drop).unwrap_err().kind(), ErrorKind::Invalid);
            assert!(block_on(alice.groups()).unwrap().is_empty());
        }
    }
    drop(manager);
}

#[test]
fn a_removed_member_enters_under_its_new_signature_key() {
    use mls_keep::openmls::prelude::BasicCredential;
    let manager = keep();
    let (mut alice, mut bob, group) = pair(&manager, EVERY);
    let removed = block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).unwrap().commit;
    block_on(bob.receive(&removed)).unwrap();
    let signer = SignatureKeyPair::new(bob.ciphersuite().signature_algorithm()).unwrap();
    block_on(bob.set_credential(BasicCredential::new(b"bob".to_vec()).into(), signer)).unwrap();
    let info = block_on(alice.group_info(&group, true)).unwrap();
    let entry = block_on(bob.stage_entry(&info, JoinOptions::new())).unwrap();
    block_on(alice.receive(&entry.commit)).unwrap();
    block_on(bob.receive(&entry.commit)).unwrap();
    talk(&group, &mut [&mut alice, &mut bob]);
    let mut bob = load(&manager, "bob");
    talk(&group, &mut [&mut alice, &mut bob]);
}
