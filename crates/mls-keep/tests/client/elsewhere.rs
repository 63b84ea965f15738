//! One client in two processes: an application, and the extension that shows its notifications.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use mls_keep::{Client, Encryption, ErrorKind, MasterKey, PersistenceManager, Received, SavePolicy};

use super::keys_once::{NEVER_ENDS_AFTER, NEVER_ENDS_BEFORE, Rough, call};
use super::{bytes, client, gather, keep, load};

fn has_changed(client: &Client) -> bool {
    block_on(client.changed_elsewhere()).unwrap()
}

#[test]
fn an_application_hears_that_its_extension_has_received() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let message = bytes(&block_on(bob.send(&group, "at five?")).unwrap());
    assert!(!has_changed(&alice), "what another client does is no change of this one");

    let mut extension = load(&manager, "alice");
    assert!(!has_changed(&alice), "opening changes nothing");
    block_on(extension.receive(&message)).unwrap();
    drop(extension);
    assert!(has_changed(&alice));
    assert!(has_changed(&alice), "asking takes nothing over");
    assert!(block_on(alice.refresh()).unwrap());
    assert!(!has_changed(&alice));
    let heard = block_on(alice.receive(&message)).unwrap();
    assert!(matches!(heard, Received::AlreadyReceived(Some(_))), "{heard:?}");

    block_on(alice.send(&group, "yes")).unwrap();
    assert!(!has_changed(&alice), "its own commits are none of somebody else");
    drop(alice);
    let mut here = load(&manager, "alice");
    block_on(manager.delete_client("alice")).unwrap();
    assert!(has_changed(&here));
    assert_eq!(block_on(here.refresh()).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!has_changed(&block_on(Client::builder("carol").create()).unwrap()), "it is in memory only");
}

/// A commit whose outcome was not seen is still one of this client.
#[test]
fn a_commit_that_was_not_waited_for_is_not_somebody_elses() {
    for way in [NEVER_ENDS_BEFORE, NEVER_ENDS_AFTER] {
        let store = Rough::default();
        let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
        let opened = PersistenceManager::builder(store.clone()).encryption(encryption).open();
        let manager = block_on(opened).unwrap();
        let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
        let group = block_on(alice.create_group("tea")).unwrap();
        store.next.store(way, Ordering::Relaxed);
        assert!(call(alice.send(&group, "x")).is_none());
        assert!(!has_changed(&alice), "{way}");
        block_on(load(&manager, "alice").send(&group, "from elsewhere")).unwrap();
        assert!(has_changed(&alice), "{way}");
    }
}
