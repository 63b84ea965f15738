//! The history: with times, in pages, with messages that go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Client, ErrorKind, GroupSettings, Message, PersistenceManager, Received, Retention, SavePolicy};
use mls_keep_core::{RecordRange, ScopeId};

use super::{bytes, client, gather, hear, keep, load};

fn pair(manager: &PersistenceManager) -> ([Client; 2], GroupId) {
    let mut all = ["alice", "bob"].map(|name| client(manager, name, SavePolicy::EveryOperation));
    let [alice, bob] = &mut all;
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(alice, &group, &mut [bob]);
    (all, group)
}

fn numbers(messages: Vec<Message>) -> Vec<u64> {
    messages.into_iter().map(|message| message.number.unwrap()).collect()
}

/// A clock that stands still until it is set, seconds.
fn clock(client: &mut Client) -> Arc<AtomicU64> {
    let seconds = Arc::new(AtomicU64::new(1_000));
    let shared = Arc::clone(&seconds);
    client.set_wall_clock(move || SystemTime::UNIX_EPOCH + Duration::from_secs(shared.load(Ordering::SeqCst)));
    seconds
}

#[test]
fn a_message_says_who_when_and_what_was_authenticated_with_it() {
    let manager = keep();
    let ([mut alice, mut bob], group) = pair(&manager);
    let (sent, received) = (clock(&mut alice), clock(&mut bob));
    sent.store(1_700_000_000, Ordering::SeqCst);
    received.store(1_700_000_060, Ordering::SeqCst);
    let message = block_on(alice.send_with(&group, "at five?", b"in reply to 7", |_, _| Ok(()))).unwrap();
    let Received::Message(heard) = block_on(bob.receive(bytes(&message))).unwrap() else { panic!("no message") };
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!((heard.leaf, heard.own, heard.number, heard.time), (0, false, Some(0), at(1_700_000_060)));
    assert_eq!(
        (&heard.sender[..], &heard.aad[..], &heard.content[..]),
        (&b"alice"[..], &b"in reply to 7"[..], &b"at five?"[..])
    );
    let mut bob = load(&manager, "bob");
    assert_eq!(block_on(bob.history(&group, 1)).unwrap(), [heard]);
    let [own] = &block_on(alice.history(&group, 1)).unwrap()[..] else { panic!("one message") };
    assert_eq!((own.own, own.time, &own.aad[..]), (true, at(1_700_000_000), &b"in reply to 7"[..]));
    // The next one has no additional data of this one.
    let next = block_on(alice.send(&group, "yes")).unwrap();
    let Received::Message(next) = block_on(bob.receive(bytes(&next))).unwrap() else { panic!("no message") };
    assert_eq!(next.aad, b"");
}

#[test]
fn pages_go_in_both_directions() {
    let manager = keep();
    let ([mut alice, _], group) = pair(&manager);
    for at in 0..7 {
        block_on(alice.send(&group, format!("{at}"))).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(numbers(block_on(alice.history(&group, 3)).unwrap()), [4, 5, 6]);
        assert_eq!(numbers(block_on(alice.history_before(&group, 4, 3)).unwrap()), [1, 2, 3]);
        assert_eq!(numbers(block_on(alice.history_before(&group, 1, 3)).unwrap()), [0]);
        assert_eq!(numbers(block_on(alice.history_after(&group, 2, 3)).unwrap()), [3, 4, 5]);
        assert!(numbers(block_on(alice.history_after(&group, 6, 3)).unwrap()).is_empty());
        // Over what is unsaved as well.
        alice.set_save_policy(SavePolicy::Manual).unwrap();
        block_on(alice.delete_message(&group, 4)).unwrap();
        assert_eq!(numbers(block_on(alice.history(&group, 3)).unwrap()), [3, 5, 6]);
        alice.discard_unsaved();
        alice.set_save_policy(SavePolicy::EveryOperation).unwrap();
    }
}

#[test]
fn a_deleted_message_is_gone_and_still_recognised() {
    let manager = keep();
    let ([mut alice, mut bob], group) = pair(&manager);
    let message = block_on(alice.send(&group, "a secret")).unwrap();
    hear(&mut bob, &message);
    block_on(bob.delete_message(&group, 0)).unwrap();
    assert_eq!(block_on(bob.delete_message(&group, 0)).unwrap_err().kind(), ErrorKind::NotFound);
    let mut bob = load(&manager, "bob");
    assert!(block_on(bob.history(&group, 10)).unwrap().is_empty());
    assert_eq!(block_on(bob.receive(bytes(&message))).unwrap(), Received::AlreadyReceived(None));
    // Its number is not given again.
    hear(&mut bob, &block_on(alice.send(&group, "another")).unwrap());
    assert_eq!(numbers(block_on(bob.history(&group, 10)).unwrap()), [1]);
}

#[test]
fn a_group_keeps_as_many_messages_as_it_is_told_to() {
    let manager = keep();
    let ([mut alice, _], group) = pair(&manager);
    for at in 0..30 {
        block_on(alice.send(&group, format!("{at}"))).unwrap();
    }
    block_on(alice.set_retention(&group, Retention::all().messages(5))).unwrap();
    assert_eq!(numbers(block_on(alice.history(&group, 100)).unwrap()), [25, 26, 27, 28, 29]);
    for at in 30..40 {
        block_on(alice.send(&group, format!("{at}"))).unwrap();
    }
    let mut alice = load(&manager, "alice");
    assert_eq!(block_on(alice.retention(&group)).unwrap(), Retention::all().messages(5));
    assert_eq!(numbers(block_on(alice.history(&group, 100)).unwrap()), [35, 36, 37, 38, 39]);
    block_on(alice.set_retention(&group, Retention::nothing())).unwrap();
    block_on(alice.send(&group, "not kept")).unwrap();
    assert!(block_on(alice.history(&group, 100)).unwrap().is_empty());
}

#[test]
fn what_is_too_old_is_not_shown_and_goes_when_it_is_pruned() {
    let manager = keep();
    let ([mut alice, _], group) = pair(&manager);
    let now = clock(&mut alice);
    block_on(alice.set_retention(&group, Retention::all().age(Duration::from_secs(100)))).unwrap();
    for seconds in [1_000, 1_050, 1_090] {
        now.store(seconds, Ordering::SeqCst);
        block_on(alice.send(&group, "hello")).unwrap();
    }
    now.store(1_120, Ordering::SeqCst);
    assert_eq!(numbers(block_on(alice.history(&group, 10)).unwrap()), [1, 2]);
    assert_eq!(block_on(alice.prune_history(&group)).unwrap(), 1);
    assert_eq!(block_on(alice.prune_history(&group)).unwrap(), 0);
    now.store(2_000, Ordering::SeqCst);
    assert!(block_on(alice.history(&group, 10)).unwrap().is_empty());
    assert_eq!(block_on(alice.prune_history(&group)).unwrap(), 2);
    // Nothing of them is left in the store.
    now.store(1_050, Ordering::SeqCst);
    assert!(block_on(alice.history(&group, 10)).unwrap().is_empty());
}

/// However long a group lives, what is kept to recognise messages does not grow. A message that arrives again after very
/// many others is known by its key, as long as OpenMLS knows of that.
#[test]
fn a_message_that_arrives_again_is_recognised_however_late() {
    let manager = keep();
    let settings = GroupSettings::new().history(false).out_of_order_tolerance(700);
    let [mut alice, mut bob] = ["alice", "bob"]
        .map(|name| block_on(manager.client_builder(name).settings(settings.clone()).create()).unwrap());
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let first = block_on(alice.send(&group, "first")).unwrap();
    hear(&mut bob, &first);
    for round in 0..3 {
        for at in 0..300 {
            hear(&mut bob, &block_on(alice.send(&group, format!("{round} {at}"))).unwrap());
        }
        let again = block_on(bob.receive(bytes(&first)));
        match round {
            0 | 1 => assert_eq!(again.unwrap(), Received::AlreadyReceived(None)),
            _ => assert_eq!(again.unwrap_err().kind(), ErrorKind::Invalid),
        }
        let store = block_on(manager.keep().open_client(b"bob")).unwrap();
        let scope = ScopeId::group(group.as_slice()).unwrap();
        let records = block_on(store.records(&scope, &RecordRange::all()));
        assert!(records.unwrap().len() < 40, "records grow with the messages");
    }
    hear(&mut bob, &block_on(alice.send(&group, "still here")).unwrap());
}

/// Those that are past their time stand in the store until they are pruned.
#[test]
fn pages_go_past_what_is_not_shown_any_more() {
    let manager = keep();
    let ([mut alice, _], group) = pair(&manager);
    let seconds = clock(&mut alice);
    block_on(alice.set_retention(&group, Retention::all().age(Duration::from_secs(1_500)))).unwrap();
    for _ in 0..10 {
        block_on(alice.send(&group, "old")).unwrap();
    }
    seconds.store(2_000, Ordering::SeqCst);
    for _ in 10..13 {
        block_on(alice.send(&group, "new")).unwrap();
    }
    seconds.store(3_000, Ordering::SeqCst);
    let reader = alice.reader().unwrap();
    for (limit, expected) in [(1, vec![10]), (2, vec![10, 11]), (4, vec![10, 11, 12]), (99, vec![10, 11, 12])] {
        assert_eq!(numbers(block_on(alice.history_after(&group, 2, limit)).unwrap()), expected);
        assert_eq!(numbers(block_on(reader.history_after(&group, 2, limit)).unwrap()), expected);
    }
    for limit in [3, 4, 99] {
        assert_eq!(numbers(block_on(alice.history(&group, limit)).unwrap()), [10, 11, 12]);
        assert_eq!(numbers(block_on(reader.history(&group, limit)).unwrap()), [10, 11, 12]);
    }
    for limit in [0, 1, usize::MAX] {
        assert!(block_on(alice.history_before(&group, 10, limit)).unwrap().is_empty());
        assert!(block_on(reader.history_before(&group, 10, limit)).unwrap().is_empty());
    }
}
