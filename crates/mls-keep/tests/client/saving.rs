//! What is saved together.

use futures_executor::block_on;
use mls_keep::SavePolicy;

use super::{client, gather, keep, load, talk};

#[test]
fn what_was_unsaved_when_the_policy_changed_is_saved_whole() {
    let manager = keep();
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let mut bob = client(&manager, "bob", SavePolicy::Manual);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    bob.set_save_policy(SavePolicy::EveryOperation).unwrap();
    block_on(bob.key_package()).unwrap();
    assert!(!bob.has_unsaved());
    // A crash.
    let mut bob = load(&manager, "bob");
    talk(&group, &mut [&mut alice, &mut bob]);
}
