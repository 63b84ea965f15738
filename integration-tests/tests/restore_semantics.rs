//! What a user may rely on when something is interrupted or comes twice.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use integration_tests::operation::exchange;
use integration_tests::store::{contents, image, load};
use integration_tests::wait::block_on;
use integration_tests::world::{World, client, keep};
use mls_keep::openmls::framing::MlsMessageIn;
use mls_keep::openmls::group::{GroupId, MlsGroup, MlsGroupCreateConfig};
use mls_keep::openmls::prelude::LeafNodeParameters;
use mls_keep::openmls::prelude::tls_codec::Deserialize as _;
use mls_keep::{Change, Client, CommitSummary, ErrorKind, GroupSettings, Received, SavePolicy, Scope, limits};
use mls_keep_core::{RecordRange, ScopeId};

/// Record kinds of mls-keep's provider (docs/format.md).
const OWN_LEAF_NODE: u8 = 0x1a;
const QUEUED_PROPOSAL: u8 = 0x1b;
const ENCRYPTION_KEY_PAIR: u8 = 0x1d;

/// The kinds of a group's records.
async fn kinds(client: &Client, group: &GroupId) -> Vec<u8> {
    let scope = ScopeId::group(group.as_slice()).unwrap();
    let records = client.store().unwrap().records(&scope, &RecordRange::all()).await.unwrap();
    records.iter().map(|record| record.key[0]).collect()
}

#[test]
fn a_welcome_that_fails_leaves_the_key_package_usable() {
    block_on(async {
        let (_, manager) = keep();
        let mut alice = client(&manager, "alice", SavePolicy::EveryOperation).await;
        let mut bob = client(&manager, "bob", SavePolicy::EveryOperation).await;
        let group = alice.create_group("tea").await.unwrap();
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        let welcome = alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap();
        let mut damaged = welcome.clone();
        // The encrypted GroupInfo is last: it is found to be damaged after the key package was looked up.
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(bob.join(&damaged).await.unwrap_err().kind(), ErrorKind::Aborted);
        let mut bob = manager.load_client_state("bob").await.unwrap();
        assert_eq!(bob.join(&damaged).await.unwrap_err().kind(), ErrorKind::Aborted);
        bob.join(&welcome).await.unwrap();
        exchange(&group, &mut [&mut alice, &mut bob]).await;
    });
}

#[test]
fn a_received_commit_that_was_not_merged_can_be_received_again() {
    block_on(async {
        let World { mut alice, mut bob, group, manager, .. } = World::new().await;
        let commit = alice.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
        let parsed = MlsMessageIn::tls_deserialize_exact(&commit).unwrap().try_into_protocol_message().unwrap();
        for _ in 0..2 {
            let failed = bob.transact(&group, |tx| {
                tx.group.process_message(tx.provider, parsed.clone())?;
                Err::<(), _>("the program ends here".into())
            });
            assert_eq!(failed.await.unwrap_err().kind(), ErrorKind::Aborted);
        }
        let session = bob.begin(std::slice::from_ref(&group)).await.unwrap();
        drop(session);
        let mut bob = manager.load_client_state("bob").await.unwrap();
        assert!(matches!(
            bob.receive(&commit).await.unwrap(),
            Received::Commit(CommitSummary { removes_self: false, .. })
        ));
        assert_eq!(bob.receive(&commit).await.unwrap(), Received::AlreadyReceived(None));
        exchange(&group, &mut [&mut alice, &mut bob]).await;
    });
}

#[test]
fn a_message_that_comes_twice_is_known_with_its_text() {
    block_on(async {
        let World { mut alice, mut bob, group, manager, .. } = World::new().await;
        let message = alice.send(&group, "once").await.unwrap().to_bytes().unwrap();
        let Received::Message(first) = bob.receive(&message).await.unwrap() else { panic!("no message") };
        assert_eq!(bob.receive(&message).await.unwrap(), Received::AlreadyReceived(Some(first.clone())));
        // Also later on, by another program.
        alice.send(&group, "more").await.unwrap();
        let commit = alice.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
        let mut bob = manager.load_client_state("bob").await.unwrap();
        bob.receive(&commit).await.unwrap();
        assert_eq!(bob.receive(&message).await.unwrap(), Received::AlreadyReceived(Some(first)));
        assert_eq!(bob.history(&group, 10).await.unwrap().len(), 1);
        // One's own is not received at all.
        assert!(matches!(alice.receive(&message).await.unwrap(), Received::Own { .. }));
    });
}

#[test]
fn without_a_history_a_message_that_comes_twice_is_known_all_the_same() {
    block_on(async {
        let (_, manager) = keep();
        let settings = GroupSettings::new().history(false);
        let mut bob = manager.client_builder("bob").settings(settings).create().await.unwrap();
        let mut alice = client(&manager, "alice", SavePolicy::EveryOperation).await;
        let group = alice.create_group("tea").await.unwrap();
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        bob.join(alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap())
            .await
            .unwrap();
        let message = alice.send(&group, "once").await.unwrap().to_bytes().unwrap();
        assert!(matches!(bob.receive(&message).await.unwrap(), Received::Message(_)));
        assert_eq!(bob.receive(&message).await.unwrap(), Received::AlreadyReceived(None));
        assert!(bob.history(&group, 10).await.unwrap().is_empty());
    });
}

#[test]
fn updates_that_were_proposed_and_overtaken_leave_no_key_pair() {
    block_on(async {
        let World { mut alice, mut bob, group, .. } = World::new().await;
        for _ in 0..2 {
            let proposal = bob.transact(&group, |tx| {
                let parameters = LeafNodeParameters::default();
                Ok(tx.group.propose_self_update(tx.provider, tx.signer, parameters)?.0.to_bytes()?)
            });
            let proposal = proposal.await.unwrap();
            assert!(matches!(alice.receive(&proposal).await.unwrap(), Received::Proposal(_)));
        }
        let waiting = kinds(&bob, &group).await;
        assert_eq!(waiting.iter().filter(|kind| **kind == ENCRYPTION_KEY_PAIR).count(), 2);
        let commit = alice.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
        bob.receive(&commit).await.unwrap();
        for client in [&alice, &bob] {
            let left = kinds(client, &group).await;
            for kind in [ENCRYPTION_KEY_PAIR, OWN_LEAF_NODE, QUEUED_PROPOSAL] {
                assert!(!left.contains(&kind), "records of kind {kind:02x} are left");
            }
        }
        let scope = bob.store().unwrap().records(&ScopeId::client(), &RecordRange::all()).await.unwrap();
        assert!(scope.iter().all(|record| record.key[0] != ENCRYPTION_KEY_PAIR));
        exchange(&group, &mut [&mut alice, &mut bob]).await;
    });
}

#[test]
fn a_group_that_is_entered_again_has_its_history() {
    block_on(async {
        let World { mut alice, mut bob, group, .. } = World::new().await;
        exchange(&group, &mut [&mut alice, &mut bob]).await;
        let before = bob.history(&group, 10).await.unwrap();
        let commit = alice.commit_at_once(&group, Change::new().remove("bob")).await.unwrap().commit;
        assert!(matches!(
            bob.receive(&commit).await.unwrap(),
            Received::Commit(CommitSummary { removes_self: true, .. })
        ));
        assert_eq!(bob.send(&group, "still here").await.unwrap_err().kind(), ErrorKind::NotMember);
        assert_eq!(bob.history(&group, 10).await.unwrap(), before);
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        let welcome = alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap();
        assert_eq!(bob.join(&welcome).await.unwrap().id, group);
        assert_eq!(bob.history(&group, 10).await.unwrap(), before);
        exchange(&group, &mut [&mut alice, &mut bob]).await;
        assert_eq!(bob.history(&group, 10).await.unwrap().len(), before.len() + 2);
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        assert_eq!(
            alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap_err().kind(),
            ErrorKind::Aborted,
            "bob twice"
        );
    });
}

#[test]
fn what_is_over_a_limit_is_invalid_and_changes_nothing() {
    block_on(async {
        let World { store, mut alice, group, manager, .. } = World::new().await;
        let before = image(&store);
        let invalid = |result: mls_keep::Result<()>, what: &str| {
            assert_eq!(result.expect_err(what).kind(), ErrorKind::Invalid, "{what}");
        };
        for (identity, what) in [(Vec::new(), "no identity"), (vec![b'a'; limits::MAX_IDENTITY_LEN + 1], "identity")] {
            invalid(manager.client_builder(identity).create().await.map(drop), what);
        }
        let long_name = "x".repeat(mls_keep::MAX_NAME_LEN + 1);
        invalid(alice.create_group(&long_name).await.map(drop), "group name");
        for key in [Vec::new(), vec![b'k'; limits::MAX_RECORD_KEY_LEN]] {
            let put = alice.transact(&group, |tx| Ok(tx.records.put(&key, "value")?)).await;
            invalid(put, "record key");
            invalid(alice.record(&Scope::Client, &key).await.map(drop), "record key to read");
        }
        let huge = vec![0; limits::MAX_VALUE_LEN + 1];
        invalid(alice.transact(&group, |tx| Ok(tx.records.put("key", huge)?)).await, "record value");
        invalid(alice.receive(vec![0; mls_keep::MAX_MESSAGE_LEN + 1]).await.map(drop), "message");
        invalid(alice.receive(b"nonsense").await.map(drop), "nonsense");
        invalid(alice.join(b"nonsense").await.map(drop), "no Welcome");

        let long_id = GroupId::from_slice(&[7; limits::MAX_SCOPE_LEN]);
        invalid(alice.group(&long_id).await.map(drop), "group id to read");
        let credential = alice.credential().clone();
        let created = alice
            .transact_groups(&[], |tx| {
                let config = MlsGroupCreateConfig::default();
                MlsGroup::new_with_group_id(tx.provider, tx.signer, &config, long_id, credential)?;
                Ok(())
            })
            .await;
        // OpenMLS stands in between and wraps it.
        assert!(matches!(created.unwrap_err().kind(), ErrorKind::Invalid | ErrorKind::Aborted));
        assert_eq!(image(&store), before);

        let longest = GroupId::from_slice(&[7; limits::MAX_SCOPE_LEN - 1]);
        let credential = alice.credential().clone();
        let (id, longest_key) = (longest.clone(), vec![b'k'; limits::MAX_RECORD_KEY_LEN - 1]);
        let put = alice.transact_groups(&[], |tx| {
            let config = MlsGroupCreateConfig::default();
            MlsGroup::new_with_group_id(tx.provider, tx.signer, &config, id.clone(), credential)?;
            tx.records(Scope::Group(id)).put(&longest_key, "value")?;
            Ok(())
        });
        put.await.unwrap();
        let mut alice = manager.load_client_state("alice").await.unwrap();
        assert_eq!(alice.group(&longest).await.unwrap().members, 1);
        let value = alice.record(&Scope::Group(longest), &longest_key).await.unwrap().unwrap();
        assert_eq!(value.as_slice(), b"value");
    });
}

#[test]
fn a_deleted_client_is_gone_with_all_that_it_had() {
    let world = block_on(World::new());
    let other = contents(world.manager.keep(), "bob").unwrap();
    block_on(world.manager.delete_client("alice")).unwrap();
    assert_eq!(load(&world.manager, "alice").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(block_on(world.manager.clients()).unwrap(), [b"bob"]);
    assert_eq!(contents(world.manager.keep(), "bob").unwrap(), other);
    // A tombstone is left, and no node.
    let left: Vec<_> = image(&world.store).into_keys().collect();
    assert_eq!(left.iter().filter(|key| key.as_str().starts_with("r/")).count(), 2);
    let owners = left.iter().filter_map(|key| key.as_str().strip_prefix("n/")?.split('/').next());
    assert_eq!(owners.collect::<std::collections::BTreeSet<_>>().len(), 1);
    block_on(client(&world.manager, "alice", SavePolicy::EveryOperation));
}
