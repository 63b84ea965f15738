//! What cannot be done now is refused, by its kind, and changes nothing.

use futures_executor::block_on;
use mls_keep::openmls::prelude::LeafNodeParameters;
use mls_keep::{Change, ErrorKind, SavePolicy};

use super::{bytes, client, gather, keep, talk};

#[test]
fn a_pending_commit_is_not_overwritten() {
    let manager = keep();
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let commit = block_on(alice.transact(&group, |tx| {
        Ok(tx.group.self_update(tx.provider, tx.signer, LeafNodeParameters::default())?.into_commit())
    }))
    .unwrap();
    let package = bytes(&block_on(carol.key_package()).unwrap());
    let refused = [
        block_on(alice.commit_at_once(&group, Change::new().invite([package]))).map(drop),
        block_on(alice.commit_at_once(&group, Change::new().update())).map(drop),
        block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).map(drop),
    ];
    assert_eq!(refused.map(|result| result.unwrap_err().kind()), [ErrorKind::CommitPending; 3]);
    block_on(bob.receive(bytes(&commit))).unwrap();
    block_on(alice.transact(&group, |tx| Ok(tx.group.merge_pending_commit(tx.provider)?))).unwrap();
    talk(&group, &mut [&mut alice, &mut bob]);
}

#[test]
fn a_client_that_was_removed_is_told_so() {
    let manager = keep();
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let commit = block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).unwrap().commit;
    block_on(bob.receive(commit)).unwrap();
    let package = bytes(&block_on(carol.key_package()).unwrap());
    let refused = [
        block_on(bob.commit_at_once(&group, Change::new().invite([package]))).map(drop),
        block_on(bob.commit_at_once(&group, Change::new().update())).map(drop),
        block_on(bob.commit_at_once(&group, Change::new().remove("alice"))).map(drop),
        block_on(bob.leave(&group)).map(drop),
        block_on(bob.send(&group, "still here")).map(drop),
    ];
    assert_eq!(refused.map(|result| result.unwrap_err().kind()), [ErrorKind::NotMember; 5]);
}
