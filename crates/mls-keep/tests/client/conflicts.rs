//! What becomes of what cannot be saved.

use futures_executor::block_on;
use mls_keep::{ErrorKind, SavePolicy};

use super::{client, gather, hear, keep, load};

#[test]
fn after_a_conflict_what_is_unsaved_can_be_given_up() {
    let manager = keep();
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let mut other = load(&manager, "alice");
    alice.set_save_policy(SavePolicy::Manual).unwrap();
    block_on(alice.send(&group, "never sent")).unwrap();
    let heard = block_on(other.send(&group, "from elsewhere")).unwrap();
    assert_eq!(hear(&mut bob, &heard), "from elsewhere");
    for _ in 0..2 {
        assert_eq!(block_on(alice.save()).unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert!(alice.has_unsaved());
    alice.discard_unsaved();
    assert!(!alice.has_unsaved());
    let message = block_on(alice.send(&group, "on top of that")).unwrap();
    block_on(alice.save()).unwrap();
    assert_eq!(hear(&mut bob, &message), "on top of that");
    assert_eq!(block_on(load(&manager, "alice").history(&group, 9)).unwrap().len(), 2);
}
