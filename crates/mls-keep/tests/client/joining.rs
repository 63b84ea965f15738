//! Joining groups.

use futures_executor::block_on;
use mls_keep::openmls::framing::{MlsMessageBodyIn, MlsMessageIn};
use mls_keep::openmls::group::{GroupId, MlsGroup, MlsGroupCreateConfig, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY};
use mls_keep::openmls::prelude::tls_codec::Deserialize as _;
use mls_keep::openmls::prelude::{Lifetime, OpenMlsProvider as _, ProtocolVersion};
use mls_keep::{Client, SavePolicy};

use super::{bytes, client, keep, talk};

/// The leaf of a member grows old; that is no reason not to join (RFC 9420 section 7.2 leaves it to the application).
#[test]
fn a_group_with_an_old_leaf_can_be_joined() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let (suite, credential) = (alice.ciphersuite(), alice.credential().clone());
    let group = block_on(alice.transact_groups(&[], |tx| {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(suite)
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .lifetime(Lifetime::init(1, 2))
            .build();
        Ok(MlsGroup::new(tx.provider, tx.signer, &config, credential)?.group_id().clone())
    }))
    .unwrap();
    // As a proposal, so that the commit has no path and the old leaf stays.
    gather_without_path(&mut alice, &group, &mut bob);
    talk(&group, &mut [&mut alice, &mut bob]);
}

fn gather_without_path(host: &mut Client, group: &GroupId, guest: &mut Client) {
    let package = bytes(&block_on(guest.key_package()).unwrap());
    let welcome = block_on(host.transact(group, |tx| {
        let MlsMessageBodyIn::KeyPackage(package) = MlsMessageIn::tls_deserialize_exact(package)?.extract() else {
            panic!("no key package")
        };
        let package = package.validate(tx.provider.crypto(), ProtocolVersion::Mls10)?;
        let (_, welcome, _) = tx.group.add_members_without_update(tx.provider, tx.signer, &[package])?;
        tx.group.merge_pending_commit(tx.provider)?;
        Ok(welcome)
    }))
    .unwrap();
    block_on(guest.join(bytes(&welcome))).unwrap();
}
