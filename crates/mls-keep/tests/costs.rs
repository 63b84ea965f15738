//! What an operation costs does not depend on how much else a client has, in memory or in its store.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

use allocation_counter::measure;
use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager, Received, SavePolicy,
    StorageBackend,
};
use mls_keep_conformance::fault::{FaultBackend, Faults};

fn client(name: &str, save: SavePolicy, backend: impl StorageBackend) -> Client {
    block_on(async {
        let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
        let manager = PersistenceManager::builder(backend).encryption(encryption).open().await.unwrap();
        Client::builder(name).persistence(Persistence { manager, save }).create().await.unwrap()
    })
}

fn pair(save: SavePolicy) -> (Client, Client, GroupId) {
    let [alice, bob] = ["alice", "bob"].map(|name| client(name, save, MemoryBackend::new()));
    in_a_group(alice, bob)
}

fn in_a_group(mut alice: Client, mut bob: Client) -> (Client, Client, GroupId) {
    let group = block_on(alice.create_group("tea")).unwrap();
    let package = block_on(bob.key_package()).unwrap().to_bytes().unwrap();
    let welcome = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap().welcome.unwrap();
    block_on(bob.join(welcome)).unwrap();
    (alice, bob, group)
}

fn allocations_of_a_send(client: &mut Client, group: &GroupId) -> u64 {
    block_on(client.send(group, "warm")).unwrap();
    measure(|| drop(block_on(client.send(group, "measured")).unwrap())).count_total
}

#[test]
fn a_send_does_not_weigh_every_group_in_memory() {
    // Without the directory of the store, which grows with its groups.
    let (mut alice, _, group) = pair(SavePolicy::Manual);
    let alone = allocations_of_a_send(&mut alice, &group);
    for _ in 0..200 {
        block_on(alice.create_group("other")).unwrap();
    }
    block_on(alice.save()).unwrap();
    let among_many = allocations_of_a_send(&mut alice, &group);
    assert!(among_many < alone + 5, "{alone} allocations, {among_many} among 200 groups");
}

#[test]
fn a_send_does_not_copy_what_is_unsaved() {
    let (mut alice, _, group) = pair(SavePolicy::Manual);
    let nothing = allocations_of_a_send(&mut alice, &group);
    block_on(alice.transact(&group, |tx| {
        (0..2000_u32).try_for_each(|at| tx.records.put(at.to_be_bytes(), *b"unsaved"))?;
        Ok(())
    }))
    .unwrap();
    let much = allocations_of_a_send(&mut alice, &group);
    assert!(much < nothing + 50, "{nothing} allocations, {much} with 2,000 unsaved records");
}

#[test]
fn a_duplicate_or_junk_does_not_throw_the_group_away() {
    let (mut alice, mut bob, group) = pair(SavePolicy::EveryOperation);
    let usual = allocations_of_a_send(&mut bob, &group);
    let message = block_on(alice.send(&group, "once")).unwrap().to_bytes().unwrap();
    block_on(bob.receive(&message)).unwrap();
    assert!(matches!(block_on(bob.receive(&message)).unwrap(), Received::AlreadyReceived(Some(_))));
    let after_duplicate = measure(|| drop(block_on(bob.send(&group, "measured")).unwrap())).count_total;
    let mut junk = block_on(alice.send(&group, "never arrives")).unwrap().to_bytes().unwrap();
    *junk.last_mut().unwrap() ^= 1;
    block_on(bob.receive(&junk)).unwrap_err();
    let after_junk = measure(|| drop(block_on(bob.send(&group, "measured")).unwrap())).count_total;
    assert!(after_duplicate < usual + 30, "{usual} allocations, {after_duplicate} after a duplicate");
    assert!(after_junk < usual + 30, "{usual} allocations, {after_junk} after junk");
}

#[test]
fn what_a_message_seals_does_not_double_behind_a_long_history() {
    const MESSAGES: u64 = 200;
    let faults = Faults::new();
    let alice = client("alice", SavePolicy::Manual, MemoryBackend::new());
    let bob = client("bob", SavePolicy::EveryOperation, FaultBackend::new(MemoryBackend::new(), faults.clone()));
    let (mut alice, mut bob, group) = in_a_group(alice, bob);
    let sealed_per_message = |alice: &mut Client, bob: &mut Client| {
        let before = faults.commit_bytes();
        for _ in 0..MESSAGES {
            let message = block_on(alice.send(&group, "at five?")).unwrap().to_bytes().unwrap();
            assert!(matches!(block_on(bob.receive(message)).unwrap(), Received::Message(_)));
        }
        (faults.commit_bytes() - before) / MESSAGES
    };
    let fresh = sealed_per_message(&mut alice, &mut bob);
    block_on(bob.transact(&group, |tx| {
        (0..60_000).try_for_each(|_| tx.remember_received(b"alice", 0, b"at five, as always", b"").map(drop))?;
        Ok(())
    }))
    .unwrap();
    let with_history = sealed_per_message(&mut alice, &mut bob);
    println!("{fresh} bytes sealed per message, {with_history} behind 60,000 messages");
    // Two levels of inner nodes of 2 KiB are between the root and the last messages.
    assert!(with_history < 2 * fresh, "{fresh} bytes sealed per message, {with_history} behind 60,000 messages");
}
