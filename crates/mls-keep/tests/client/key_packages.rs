//! Key packages: many at once, listed, pruned, used up.

use std::time::{Duration, SystemTime};

use futures_executor::block_on;
use mls_keep::{Change, Client, ErrorKind, KeyPackageOptions, SavePolicy};

use super::{client, keep, load, talk};

fn published(client: &mut Client) -> Vec<Vec<u8>> {
    block_on(client.unused_key_packages()).unwrap().into_iter().map(|package| package.key_package).collect()
}

#[test]
fn many_are_made_in_one_commit_and_each_is_used_once() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let number = bob.store().unwrap().number();
    let made = block_on(bob.key_packages(20, KeyPackageOptions::new())).unwrap();
    assert_eq!(bob.store().unwrap().number(), number + 1, "one commit");
    let mut bob = load(&manager, "bob");
    let mut listed = published(&mut bob);
    let mut sorted = made.clone();
    listed.sort();
    sorted.sort();
    assert_eq!(listed, sorted);

    let group = block_on(alice.create_group("tea")).unwrap();
    let welcome = block_on(alice.commit_at_once(&group, Change::new().invite([&made[3]]))).unwrap().welcome;
    block_on(bob.join(welcome.unwrap())).unwrap();
    talk(&group, &mut [&mut alice, &mut bob]);
    let left = published(&mut bob);
    assert!(left.len() == 19 && !left.contains(&made[3]));
    let refused = block_on(bob.key_packages(1001, KeyPackageOptions::new())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

#[test]
fn a_last_resort_is_not_used_up() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let made = block_on(bob.key_packages(1, KeyPackageOptions::new().last_resort())).unwrap();
    for _ in 0..2 {
        let group = block_on(alice.create_group("")).unwrap();
        let welcome = block_on(alice.commit_at_once(&group, Change::new().invite(&made))).unwrap().welcome;
        block_on(bob.join(welcome.unwrap())).unwrap();
        talk(&group, &mut [&mut alice, &mut bob]);
    }
    let [package] = &block_on(bob.unused_key_packages()).unwrap()[..] else { panic!("one key package") };
    assert!(package.last_resort && package.key_package == made[0]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "OpenMLS takes the time as well")]
fn what_is_over_is_pruned_and_what_is_withdrawn_is_deleted() {
    let manager = keep();
    let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
    let hour = KeyPackageOptions::new().lifetime(Duration::from_secs(3600));
    block_on(bob.key_packages(3, hour)).unwrap();
    let long = block_on(bob.key_packages(2, KeyPackageOptions::new())).unwrap();
    let now = SystemTime::now();
    assert_eq!(block_on(bob.prune_key_packages(now)).unwrap(), 0);
    assert_eq!(block_on(bob.prune_key_packages(now + Duration::from_secs(2 * 3600))).unwrap(), 3);
    let mut bob = load(&manager, "bob");
    let mut left = block_on(bob.unused_key_packages()).unwrap();
    assert_eq!(left.len(), 2);
    let gone = left.pop().unwrap();
    assert!(gone.not_before < now && gone.not_after > now + Duration::from_secs(80 * 24 * 3600));
    block_on(bob.delete_key_package(&gone.reference)).unwrap();
    let twice = block_on(bob.delete_key_package(&gone.reference)).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::NotFound);
    let left = published(&mut bob);
    assert!(left.len() == 1 && long.contains(&left[0]) && left[0] != gone.key_package);
}

#[test]
fn a_lifetime_that_is_longer_than_the_clock_goes_is_refused() {
    let mut alice = client(&keep(), "alice", SavePolicy::EveryOperation);
    for lifetime in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let made = block_on(alice.key_packages(1, KeyPackageOptions::new().lifetime(lifetime)));
        assert_eq!(made.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(block_on(alice.unused_key_packages()).unwrap().len(), 0);
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    block_on(alice.key_packages(1, KeyPackageOptions::new().lifetime(century))).unwrap();
    assert_eq!(block_on(alice.unused_key_packages()).unwrap().len(), 1);
}
