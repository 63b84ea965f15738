//! What a client with many groups keeps in memory.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

use allocation_counter::measure;
use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Client, Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager, SavePolicy, Scope};

const GROUPS: usize = 1000;
/// For the client's own scope, and the directory of its groups.
const OWN: usize = 256 << 10;

fn open(store: &MemoryBackend, memory: Option<usize>) -> PersistenceManager {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    let builder = PersistenceManager::builder(store.clone()).encryption(encryption);
    block_on(memory.into_iter().fold(builder, |builder, bytes| builder.memory(bytes)).open()).unwrap()
}

/// A client with many groups, in a store.
fn many_groups() -> (MemoryBackend, Vec<GroupId>) {
    let store = MemoryBackend::new();
    let persistence = Persistence { manager: open(&store, None), save: SavePolicy::Manual };
    let mut alice = block_on(Client::builder("alice").persistence(persistence).create()).unwrap();
    let groups = (0..GROUPS).map(|_| block_on(alice.create_group("tea")).unwrap()).collect();
    block_on(alice.save()).unwrap();
    (store, groups)
}

/// The most that is allocated at once, bytes, while `f` goes over all groups of a client that is loaded before.
fn most_allocated(alice: &mut Client, groups: &[GroupId], f: impl Fn(&mut Client, &GroupId)) -> usize {
    let most = measure(|| groups.iter().for_each(|group| f(alice, group))).bytes_max;
    usize::try_from(most).unwrap()
}

#[test]
fn a_client_of_a_thousand_groups_stays_within_its_bound() {
    let (store, groups) = many_groups();
    let looks: fn(&mut Client, &GroupId) = |alice, group| drop(block_on(alice.group(group)).unwrap());
    let reads: fn(&mut Client, &GroupId) = |alice, group| {
        drop(block_on(alice.with_group(group, |_| ())));
        drop(block_on(alice.record(&Scope::Group(group.clone()), "key")).unwrap());
    };
    let refuses: fn(&mut Client, &GroupId) = |alice, group| {
        block_on(alice.reject(group)).unwrap_err();
    };
    for (case, call) in [("looks", looks), ("reads", reads), ("refuses", refuses)] {
        let mut unbounded = block_on(open(&store, None).load_client_state("alice")).unwrap();
        let without = most_allocated(&mut unbounded, &groups, call);
        assert!(without > 5 << 20, "{case}: {without} bytes without a bound");
        for bound in [1 << 20, 3 << 20] {
            let mut alice = block_on(open(&store, Some(bound)).load_client_state("alice")).unwrap();
            let most = most_allocated(&mut alice, &groups, call);
            assert!(most <= bound, "{case}: {most} bytes with a bound of {bound}, {without} without");

            // Told later, it gives back what it has.
            alice.set_memory(64 << 20);
            most_allocated(&mut alice, &groups, call);
            let given_back = measure(|| alice.set_memory(bound)).bytes_current;
            assert!(given_back < -(2 << 20), "{case}: {given_back} bytes");
        }
    }
}

/// Sending writes to the store, which is in memory as well: what stays is counted without what it has.
#[test]
fn a_client_that_sends_in_a_thousand_groups_stays_within_its_bound() {
    let (store, groups) = many_groups();
    let bound = 1 << 20;
    let mut alice = block_on(open(&store, Some(bound)).load_client_state("alice")).unwrap();
    for group in &groups {
        block_on(alice.send(group, "hello")).unwrap();
    }
    let freed = measure(|| drop(alice)).bytes_current;
    assert!(freed > -i64::try_from(bound + OWN).unwrap(), "{freed} bytes");
}
