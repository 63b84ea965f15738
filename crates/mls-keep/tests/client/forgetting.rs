//! Forgetting a group.

use futures_executor::block_on;
use mls_keep::openmls::prelude::OpenMlsProvider as _;
use mls_keep::{ErrorKind, SavePolicy, Scope};
use mls_keep_core::{Changes, ScopeId, Value};

use super::{bytes, client, gather, keep, load};

#[test]
fn a_message_that_comes_while_a_group_is_forgotten_is_forgotten_with_it() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let mut elsewhere = load(&manager, "bob");
    block_on(elsewhere.group(&group)).unwrap();
    // Another process receives between the look at the group and the commit: this copy does not know of it yet.
    let message = bytes(&block_on(alice.send(&group, "meanwhile")).unwrap());
    block_on(bob.receive(message)).unwrap();
    block_on(elsewhere.forget_group(&group)).unwrap();
    let mut bob = load(&manager, "bob");
    assert_eq!(block_on(bob.history(&group, 9)).unwrap(), []);
    let scopes = block_on(bob.store().unwrap().scopes()).unwrap();
    assert_eq!(scopes, [ScopeId::client()], "nothing of the group is left");
}

#[test]
fn a_group_that_does_not_decode_can_be_forgotten() {
    for save in [SavePolicy::EveryOperation, SavePolicy::Manual] {
        let manager = keep();
        let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
        let group = block_on(alice.create_group("tea")).unwrap();
        block_on(alice.send(&group, "gone")).unwrap();
        drop(alice);
        let mut store = block_on(manager.keep().open_client(b"alice")).unwrap();
        let scope = ScopeId::group(group.as_slice()).unwrap();
        let version = block_on(store.scope_version(&scope)).unwrap();
        let mut changes = Changes::new();
        // Record 11 is GroupState.
        changes.scope(scope, version).put(vec![0x11], Value::from(vec![1, 0, 1, 0xc1]), None).unwrap();
        block_on(store.commit(&changes)).unwrap();

        let mut alice = load(&manager, "alice");
        alice.set_save_policy(save).unwrap();
        assert_eq!(block_on(alice.group(&group)).unwrap_err().kind(), ErrorKind::Corrupt);
        block_on(alice.forget_group(&group)).unwrap();
        assert_eq!(block_on(alice.groups()).unwrap(), []);
        assert_eq!(block_on(alice.history(&group, 9)).unwrap(), []);
        assert_eq!(block_on(alice.forget_group(&group)).unwrap_err().kind(), ErrorKind::NotFound);
        block_on(alice.save()).unwrap();
        let scopes = block_on(load(&manager, "alice").store().unwrap().scopes()).unwrap();
        assert_eq!(scopes, [ScopeId::client()]);
    }
}

#[test]
fn what_is_left_of_a_group_that_a_transaction_deleted_can_be_forgotten() {
    let manager = keep();
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    block_on(alice.transact(&group, |tx| Ok(tx.records.put("note", *b"kept")?))).unwrap();
    block_on(alice.transact(&group, |tx| Ok(tx.group.delete(tx.provider.storage())?))).unwrap();
    let scope = Scope::Group(group.clone());
    assert!(block_on(alice.record(&scope, "note")).unwrap().is_some());
    block_on(alice.forget_group(&group)).unwrap();
    assert!(block_on(alice.record(&scope, "note")).unwrap().is_none());
    assert_eq!(block_on(alice.forget_group(&group)).unwrap_err().kind(), ErrorKind::NotFound);
}
