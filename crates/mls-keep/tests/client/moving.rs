//! Clients that go on on another device.

use std::io::Cursor;

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Archive, Change, Client, Encryption, ErrorKind, ExportOptions, JoinOptions, MasterKey, PersistenceManager,
    Received, RestoreOptions, Result, SavePolicy,
};

use crate::{client, gather, hear, keep, load};

fn key() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([9; 32]))
}

fn open(archive: &[u8]) -> Archive {
    block_on(Archive::open(Cursor::new(archive.to_vec()), &key(), &mut |_| ())).unwrap()
}

fn import(manager: &PersistenceManager, archive: &[u8]) -> Result<Client> {
    block_on(Client::import_state(manager, open(archive)))
}

#[track_caller]
fn moved<T>(result: Result<T>) {
    assert_eq!(result.map(drop).expect_err("it was not refused").kind(), ErrorKind::MovedOut);
}

fn friends(manager: &PersistenceManager) -> (Client, Client, GroupId) {
    let mut alice = client(manager, "alice", SavePolicy::EveryOperation);
    let mut bob = client(manager, "bob", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    (alice, bob, group)
}

#[test]
fn what_a_client_sends_first_on_a_new_device_is_read_and_the_old_one_sends_nothing() {
    let (old, new) = (keep(), keep());
    let (mut alice, mut bob, group) = friends(&old);
    let mut second = load(&old, "alice");
    block_on(second.group(&group)).unwrap();
    let message = block_on(alice.send(&group, "before")).unwrap();
    assert_eq!(hear(&mut bob, &message), "before");
    let mut archive = Vec::new();
    block_on(alice.export_state(&mut archive, ExportOptions::new(key()))).unwrap();

    // The client that was moved, another copy of it in this process, one that is loaded, one that saves by hand.
    moved(block_on(alice.send(&group, "twice")));
    alice.set_save_policy(SavePolicy::Manual).unwrap();
    moved(block_on(alice.send(&group, "twice")));
    moved(block_on(second.send(&group, "twice")));
    moved(block_on(old.load_client_state("alice")));
    moved(block_on(alice.export_state(&mut Vec::new(), ExportOptions::new(key()))));

    let mut alice = import(&new, &archive).unwrap();
    let message = block_on(alice.send(&group, "after")).unwrap();
    assert_eq!(hear(&mut bob, &message), "after");
    let message = block_on(bob.send(&group, "hello")).unwrap();
    assert_eq!(hear(&mut alice, &message), "hello");
    assert!(block_on(alice.groups_to_rejoin()).unwrap().is_empty());
    assert_eq!(import(&new, &archive).unwrap_err().kind(), ErrorKind::Conflict);
    // As a backup it may be restored, and then it is one.
    let third = keep();
    let mut restored = block_on(third.restore_from_backup(&mut [open(&archive)], RestoreOptions::new())).unwrap();
    assert_eq!(block_on(restored.send(&group, "twice")).unwrap_err().kind(), ErrorKind::NeedsRejoin);
}

#[test]
fn what_is_unsaved_moves_too() {
    let (old, new) = (keep(), keep());
    let (mut alice, mut bob, group) = friends(&old);
    alice.set_save_policy(SavePolicy::Manual).unwrap();
    let message = block_on(alice.send(&group, "unsaved")).unwrap();
    assert_eq!(hear(&mut bob, &message), "unsaved");
    let mut archive = Vec::new();
    block_on(alice.export_state(&mut archive, ExportOptions::new(key()))).unwrap();
    let mut alice = import(&new, &archive).unwrap();
    let message = block_on(alice.send(&group, "next")).unwrap();
    assert_eq!(hear(&mut bob, &message), "next");
}

#[test]
fn a_client_that_never_arrived_is_written_again_or_reclaimed() {
    let (old, new) = (keep(), keep());
    let (mut alice, mut bob, group) = friends(&old);
    block_on(alice.key_package()).unwrap();
    let info = block_on(bob.group_info(&group, true)).unwrap();
    block_on(alice.stage_entry(&info, JoinOptions::new())).unwrap();
    assert_eq!(block_on(old.reclaim("alice")).unwrap_err().kind(), ErrorKind::Invalid);
    block_on(alice.export_state(&mut Vec::new(), ExportOptions::new(key()))).unwrap();

    let mut archive = Vec::new();
    block_on(old.export_again("alice", &mut archive, ExportOptions::new(key()))).unwrap();
    let mut reclaimed = block_on(old.reclaim("alice")).unwrap();
    assert_eq!(block_on(reclaimed.send(&group, "twice")).unwrap_err().kind(), ErrorKind::NeedsRejoin);
    assert!(block_on(reclaimed.unused_key_packages()).unwrap().is_empty());
    // What was staged before is not the way back.
    assert_eq!(block_on(reclaimed.confirm(&group)).unwrap_err().kind(), ErrorKind::NotFound);
    let entry = block_on(reclaimed.stage_entry(&info, JoinOptions::new())).unwrap();
    assert!(matches!(block_on(bob.receive(&entry.commit)).unwrap(), Received::Commit(_)));
    block_on(reclaimed.confirm(&group)).unwrap();
    let message = block_on(reclaimed.send(&group, "here after all")).unwrap();
    assert_eq!(hear(&mut bob, &message), "here after all");
    // The archive turns up when its leaf is gone, and so is its epoch.
    for _ in 0..3 {
        let commit = block_on(bob.commit_at_once(&group, Change::new().update())).unwrap().commit;
        block_on(reclaimed.receive(&commit)).unwrap();
    }
    let mut late = import(&new, &archive).unwrap();
    let message = block_on(late.send(&group, "late")).unwrap();
    assert!(block_on(bob.receive(message.to_bytes().unwrap())).is_err());
    assert_eq!(
        block_on(old.export_again("alice", &mut Vec::new(), ExportOptions::new(key()))).unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[test]
fn without_its_groups_a_client_is_exported_and_stays() {
    let (old, new) = (keep(), keep());
    let (mut alice, mut bob, group) = friends(&old);
    block_on(alice.transact_groups(&[], |tx| Ok(tx.records(mls_keep::Scope::Client).put("theme", "dark")?))).unwrap();
    let mut archive = Vec::new();
    let options = ExportOptions::new(key()).without_groups();
    block_on(alice.export_state(&mut archive, options)).unwrap();
    let message = block_on(alice.send(&group, "still here")).unwrap();
    assert_eq!(hear(&mut bob, &message), "still here");
    let mut other = import(&new, &archive).unwrap();
    assert!(block_on(other.groups()).unwrap().is_empty());
    assert_eq!(other.credential(), alice.credential());
    let theme = block_on(other.record(&mls_keep::Scope::Client, "theme")).unwrap().unwrap();
    assert_eq!(theme.as_slice(), b"dark");
    let group = block_on(other.create_group("new")).unwrap();
    block_on(other.send(&group, "first")).unwrap();
}
