//! A group that stays in memory is the one that the store has.

use futures_executor::block_on;
use mls_keep::SavePolicy;
use mls_keep::openmls::framing::{MlsMessageIn, ProcessedMessageContent};
use mls_keep::openmls::group::MlsGroup;
use mls_keep::openmls::prelude::OpenMlsProvider as _;
use mls_keep::openmls::prelude::tls_codec::Deserialize as _;

use super::{bytes, client, gather, hear, keep};

#[test]
fn a_group_that_a_transaction_loads_by_itself_does_not_make_a_generation_come_twice() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let message = block_on(alice.transact(&group, |tx| {
        let mut own = MlsGroup::load(tx.provider.storage(), tx.group.group_id())?.unwrap();
        Ok(own.create_message(tx.provider, tx.signer, b"by its own")?)
    }))
    .unwrap();
    assert_eq!(hear(&mut bob, &message), "by its own");
    let next = block_on(alice.send(&group, "next")).unwrap();
    assert_eq!(hear(&mut bob, &next), "next");
}

#[test]
fn a_group_that_was_kept_and_put_back_is_not_used() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let other = block_on(alice.create_group("other")).unwrap();
    // Two transactions: the group's object is taken out of one and put into the next.
    let mut kept = block_on(alice.transact_groups(&[group.clone(), other], |tx| {
        let filler = MlsGroup::load(tx.provider.storage(), tx.groups[1].group_id())?.unwrap();
        Ok(std::mem::replace(&mut tx.groups[0], filler))
    }))
    .unwrap();
    let message = block_on(alice.send(&group, "one")).unwrap();
    assert_eq!(hear(&mut bob, &message), "one");
    block_on(alice.transact(&group, |tx| {
        std::mem::swap(tx.group, &mut kept);
        Ok(())
    }))
    .unwrap();
    let message = block_on(alice.send(&group, "two")).unwrap();
    assert_eq!(hear(&mut bob, &message), "two");
}

#[test]
fn authenticated_data_does_not_outlive_its_transaction() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    block_on(alice.transact(&group, |tx| {
        tx.group.set_aad(b"of the transaction".to_vec());
        Ok(())
    }))
    .unwrap();
    let message = block_on(alice.send(&group, "next")).unwrap();
    let aad = block_on(bob.transact(&group, |tx| {
        let message = MlsMessageIn::tls_deserialize_exact(bytes(&message))?.try_into_protocol_message()?;
        let processed = tx.group.process_message(tx.provider, message)?;
        let aad = processed.aad().to_vec();
        assert!(matches!(processed.into_content(), ProcessedMessageContent::ApplicationMessage(_)));
        Ok(aad)
    }))
    .unwrap();
    assert_eq!(aad, b"");
}
