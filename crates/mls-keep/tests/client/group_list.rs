//! The list of groups follows what a transaction did.

use futures_executor::block_on;
use mls_keep::SavePolicy;
use mls_keep::openmls::group::{MlsGroup, MlsGroupCreateConfig};
use mls_keep::openmls::prelude::{LeafNodeParameters, OpenMlsProvider as _};

use super::{client, keep};

#[test]
fn groups_made_and_deleted_in_a_transaction_are_in_the_list_and_are_not() {
    let manager = keep();
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let (suite, credential) = (alice.ciphersuite(), alice.credential().clone());
    let made = block_on(alice.transact_groups(&[], |tx| {
        let config = MlsGroupCreateConfig::builder().ciphersuite(suite).build();
        Ok(MlsGroup::new(tx.provider, tx.signer, &config, credential)?.group_id().clone())
    }))
    .unwrap();
    assert_eq!(block_on(alice.groups()).unwrap(), [(made.clone(), String::new())]);
    block_on(alice.transact(&made, |tx| Ok(tx.group.delete(tx.provider.storage())?))).unwrap();
    assert_eq!(block_on(alice.groups()).unwrap(), []);

    // A name that is there stays.
    let tea = block_on(alice.create_group("tea")).unwrap();
    block_on(alice.transact(&tea, |tx| {
        let bundle = tx.group.self_update(tx.provider, tx.signer, LeafNodeParameters::default())?;
        tx.group.merge_pending_commit(tx.provider)?;
        Ok(bundle.into_commit())
    }))
    .unwrap();
    assert_eq!(block_on(alice.groups()).unwrap(), [(tea, "tea".to_owned())]);
}
