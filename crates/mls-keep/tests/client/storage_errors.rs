//! What the storage says inside of a call of OpenMLS.

use futures_executor::block_on;
use mls_keep::openmls::group::{GroupId, MlsGroup, MlsGroupCreateConfig};
use mls_keep::{ErrorKind, SavePolicy};

use super::{client, keep};

#[test]
fn an_error_of_the_storage_keeps_its_kind_inside_of_openmls() {
    let manager = keep();
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    // A group id that no keep takes: the storage says so inside of `MlsGroup::new_with_group_id`.
    let (suite, credential) = (alice.ciphersuite(), alice.credential().clone());
    let refused = block_on(alice.transact(&group, |tx| {
        let config = MlsGroupCreateConfig::builder().ciphersuite(suite).build();
        let id = GroupId::from_slice(&[7; 300]);
        MlsGroup::new_with_group_id(tx.provider, tx.signer, &config, id, credential)?;
        Ok(())
    }))
    .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}
