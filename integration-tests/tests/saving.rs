//! Saving later than at every operation, and saving what was only in memory.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use integration_tests::observe::observe;
use integration_tests::operation::exchange;
use integration_tests::store::{image, load, open};
use integration_tests::wait::block_on;
use integration_tests::world::{client, keep};
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, ErrorKind, PersistenceManager, Received, SavePolicy, Scope};
use mls_keep_conformance::fault::{Fault, FaultBackend, FaultPoint, Faults, Lasting, Stall};
use mls_keep_core::MemoryBackend;

#[test]
fn with_manual_saving_nothing_is_stored_until_save() {
    let (store, manager) = keep();
    let mut alice = block_on(client(&manager, "alice", SavePolicy::Manual));
    assert!(!alice.has_unsaved());
    let before = image(&store);
    let group = block_on(alice.create_group("tea")).unwrap();
    block_on(alice.send(&group, "not yet")).unwrap();
    block_on(alice.transact(&group, |tx| Ok(tx.records.put("draft", vec![5; 20_000])?))).unwrap();
    let mut expected = observe(&mut alice).unwrap();
    assert!(alice.has_unsaved());
    assert_eq!(image(&store), before);

    block_on(alice.save()).unwrap();
    assert!(!alice.has_unsaved());
    let mut loaded = load(&manager, "alice").unwrap();
    assert_eq!(observe(&mut loaded).unwrap(), expected);
    let draft = block_on(loaded.record(&Scope::Group(group.clone()), "draft")).unwrap().unwrap();
    assert_eq!(draft.as_slice(), [5; 20_000]);

    // What is unsaved stays so when the policy changes, and goes with the next operation's commit.
    block_on(alice.send(&group, "unsaved")).unwrap();
    alice.set_save_policy(SavePolicy::EveryOperation).unwrap();
    assert!(alice.has_unsaved());
    block_on(alice.send(&group, "saved")).unwrap();
    assert!(!alice.has_unsaved());
    expected = observe(&mut alice).unwrap();
    assert_eq!(observe(&mut load(&manager, "alice").unwrap()).unwrap(), expected);
}

#[test]
fn a_client_that_was_in_memory_only_is_saved_as_it_is() {
    let (store, manager) = keep();
    let mut alice = block_on(Client::builder("alice").create()).unwrap();
    assert!(alice.has_unsaved());
    assert_eq!(block_on(alice.save()).unwrap_err().kind(), ErrorKind::Invalid);
    let mut bob = block_on(Client::builder("bob").create()).unwrap();
    let group = block_on(async {
        let group = alice.create_group("tea").await.unwrap();
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        let welcome = alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap();
        bob.join(welcome).await.unwrap();
        exchange(&group, &mut [&mut alice, &mut bob]).await;
        group
    });
    assert!(image(&store).len() <= 1);
    block_on(manager.save_client_state(&mut alice)).unwrap();
    assert!(!alice.has_unsaved());
    let mut loaded = load(&manager, "alice").unwrap();
    assert_eq!(observe(&mut loaded).unwrap(), observe(&mut alice).unwrap());
    block_on(exchange(&group, &mut [&mut loaded, &mut bob]));

    let mut other = block_on(Client::builder("alice").create()).unwrap();
    assert_eq!(block_on(manager.save_client_state(&mut other)).unwrap_err().kind(), ErrorKind::Conflict);
    let (_, elsewhere) = keep();
    assert_eq!(block_on(elsewhere.save_client_state(&mut alice)).unwrap_err().kind(), ErrorKind::Invalid);
}

/// A client in memory, the saving of which is dropped after so many polls; whether it had ended before.
fn save_and_drop(stall: Stall, polls: usize) -> (MemoryBackend, PersistenceManager, Client, GroupId, bool) {
    let (store, faults) = (MemoryBackend::new(), Faults::new());
    let manager = open(FaultBackend::new(store.clone(), faults.clone())).unwrap();
    let mut alice = block_on(Client::builder("alice").create()).unwrap();
    let group = block_on(alice.create_group("tea")).unwrap();
    faults.stall(stall);
    let ended = {
        let mut saving = pin!(manager.save_client_state(&mut alice));
        let mut context = Context::from_waker(Waker::noop());
        (0..polls).any(|_| saving.as_mut().poll(&mut context).is_ready())
    };
    faults.disarm();
    (store, manager, alice, group, ended)
}

#[test]
fn a_save_that_was_dropped_can_be_made_again() {
    for stall in [Stall::BeforeApplying, Stall::AfterApplying] {
        for polls in 1.. {
            let (store, manager, mut alice, group, ended) = save_and_drop(stall, polls);
            // The client goes on in memory, so what was stored is not what it is now.
            block_on(alice.send(&group, "in between")).unwrap();
            block_on(alice.create_group("coffee")).unwrap();
            block_on(manager.save_client_state(&mut alice)).unwrap();
            assert_eq!(alice.save_policy(), SavePolicy::EveryOperation);
            block_on(alice.send(&group, "saved")).unwrap();
            assert!(!alice.has_unsaved());
            assert_eq!(observe(&mut load(&manager, "alice").unwrap()).unwrap(), observe(&mut alice).unwrap());
            let found = block_on(alice.store().unwrap().verify(&mut |_| ())).unwrap();
            assert!(found.is_sound() && found.statistics.orphans == 0, "{found:?}");
            drop(store);
            if ended {
                assert!(polls > 1, "{stall:?}: no save was dropped");
                break;
            }
        }
    }
}

#[test]
fn a_save_that_was_dropped_goes_on_from_what_somebody_else_did_since() {
    let mut stored = 0;
    for polls in 1.. {
        let (_store, manager, mut alice, group, ended) = save_and_drop(Stall::AfterApplying, polls);
        if !ended && let Ok(mut other) = load(&manager, "alice") {
            stored += 1;
            block_on(other.send(&group, "from elsewhere")).unwrap();
            block_on(manager.save_client_state(&mut alice)).unwrap();
            assert_eq!(observe(&mut alice).unwrap(), observe(&mut other).unwrap());
            block_on(alice.send(&group, "on top of it")).unwrap();
            block_on(other.refresh()).unwrap();
            assert_eq!(block_on(other.history(&group, 9)).unwrap().len(), 2, "what was done there is still there");
        }
        if ended {
            break;
        }
    }
    assert!(stored > 0, "nothing was stored by a save that was dropped");
}

/// A client in memory of which the first save has an unknown outcome, since nothing answers any more; and somebody who is
/// in a group with it.
fn in_doubt(at: u64, fault: Fault) -> (MemoryBackend, Faults, PersistenceManager, Client, Client, GroupId, ErrorKind) {
    let (store, faults) = (MemoryBackend::new(), Faults::new());
    let manager = open(FaultBackend::new(store.clone(), faults.clone())).unwrap();
    let mut alice = block_on(Client::builder("alice").create()).unwrap();
    let mut bob = block_on(Client::builder("bob").create()).unwrap();
    let group = block_on(async {
        let group = alice.create_group("tea").await.unwrap();
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        bob.join(alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap())
            .await
            .unwrap();
        group
    });
    faults.arm(FaultPoint { at, fault, lasting: Lasting::Sticky });
    let kind =
        block_on(manager.save_client_state(&mut alice)).map_or_else(|error| error.kind(), |()| ErrorKind::Internal);
    (store, faults, manager, alice, bob, group, kind)
}

#[test]
fn a_client_whose_first_save_is_in_doubt_uses_no_key() {
    let (mut doubts, mut landed) = (0, 0);
    let cases = [Fault::AfterApplying, Fault::Torn { parts: 0 }].map(|fault| [(fault, true), (fault, false)]);
    for (fault, again) in cases.into_iter().flatten() {
        for at in 1.. {
            let (store, faults, manager, mut alice, mut bob, group, kind) = in_doubt(at, fault);
            if kind == ErrorKind::Internal {
                break;
            }
            if kind != ErrorKind::OutcomeUnknown {
                continue;
            }
            doubts += 1;
            let case = format!("{fault:?} from call {at} on");
            let refused = [
                block_on(alice.send(&group, "too early")).map(drop),
                block_on(alice.key_package()).map(drop),
                block_on(alice.create_group("new")).map(drop),
                block_on(alice.forget_group(&group)),
            ];
            for refused in refused {
                assert_eq!(refused.unwrap_err().kind(), ErrorKind::OutcomeUnknown, "{case}");
            }
            // Nor in another keep.
            let (_, elsewhere) = keep();
            let refused = block_on(elsewhere.save_client_state(&mut alice));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::OutcomeUnknown, "{case}");

            // Another process may have found it.
            let mut mail = Vec::new();
            if let Ok(mut other) = load(&open(store.clone()).unwrap(), "alice") {
                landed += 1;
                mail.push(block_on(other.send(&group, "elsewhere")).unwrap());
            }
            // The old handle answers again, or another one is opened in its place.
            if again {
                faults.disarm();
            } else {
                block_on(open(store).unwrap().save_client_state(&mut alice)).unwrap();
            }
            drop(manager);
            mail.push(block_on(alice.send(&group, "at last")).unwrap());
            for message in mail {
                let received = block_on(bob.receive(message.to_bytes().unwrap())).unwrap();
                assert!(matches!(received, Received::Message(_)), "{case}: a generation came twice: {received:?}");
            }
        }
    }
    assert!(doubts > 3 && landed > 1, "{doubts} in doubt, {landed} landed");
}

#[test]
fn saving_one_group_leaves_a_client_that_loads() {
    let (_, manager) = keep();
    let mut alice = block_on(client(&manager, "alice", SavePolicy::Manual));
    let mut bob = block_on(client(&manager, "bob", SavePolicy::EveryOperation));
    let tea = block_on(alice.create_group("tea")).unwrap();
    // Another group, that uses up a key package of the client's own scope.
    let coffee = block_on(async {
        let coffee = bob.create_group("coffee").await.unwrap();
        let package = alice.key_package().await.unwrap().to_bytes().unwrap();
        let welcome = bob.commit_at_once(&coffee, Change::new().invite([package])).await.unwrap().welcome.unwrap();
        alice.join(&welcome).await.unwrap();
        coffee
    });
    block_on(manager.save_group_state(&mut alice, &tea)).unwrap();

    let mut loaded = load(&manager, "alice").unwrap();
    assert_eq!(block_on(manager.load_group_state(&mut loaded, &tea)).unwrap().name, "tea");
    // Every group that is listed is there, and no key package was used up for one that is not.
    observe(&mut loaded).unwrap();
    let listed = block_on(loaded.groups()).unwrap();
    assert!(listed.iter().any(|(id, _)| *id == coffee), "the key package is gone and the group is not there");
    block_on(exchange(&coffee, &mut [&mut loaded, &mut bob]));

    let unknown = GroupId::from_slice(b"unknown");
    for error in [
        block_on(manager.load_group_state(&mut loaded, &unknown)).unwrap_err(),
        block_on(manager.save_group_state(&mut loaded, &unknown)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let (_, elsewhere) = keep();
    assert_eq!(block_on(elsewhere.load_group_state(&mut loaded, &tea)).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Polls at most `polls` times, and drops what is not done then.
fn poll_and_drop<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// What a save that was dropped has stored may be loaded and used elsewhere. It is never written over after that.
#[test]
fn a_save_that_is_made_again_does_not_undo_what_was_done_elsewhere() {
    let mut loaded = 0;
    for stall in [Stall::BeforeApplying, Stall::AfterApplying] {
        // When the second save is dropped; the third one comes to its end.
        for again in 0..12 {
            for polls in 1.. {
                let (store, faults) = (MemoryBackend::new(), Faults::new());
                let manager = open(FaultBackend::new(store.clone(), faults.clone())).unwrap();
                let mut alice = block_on(Client::builder("alice").create()).unwrap();
                let group = block_on(alice.create_group("tea")).unwrap();
                faults.stall(stall);
                let ended = poll_and_drop(polls, manager.save_client_state(&mut alice)).is_some();
                faults.disarm();
                if ended {
                    break;
                }
                let elsewhere = open(store).unwrap();
                let Ok(mut other) = load(&elsewhere, "alice") else { continue };
                loaded += 1;
                block_on(other.send(&group, "elsewhere")).unwrap();
                let case = format!("{stall:?}, dropped after {polls} polls and then {again}");
                faults.stall(stall);
                drop(poll_and_drop(again, manager.save_client_state(&mut alice)));
                faults.disarm();
                for _ in 0..3 {
                    block_on(manager.save_client_state(&mut alice)).unwrap_or_else(|error| panic!("{case}: {error:?}"));
                }
                block_on(alice.send(&group, "on top of it")).unwrap();
                block_on(other.send(&group, "and again")).unwrap();
                let history = block_on(load(&elsewhere, "alice").unwrap().history(&group, 10)).unwrap();
                assert_eq!(history.len(), 3, "{case}");
            }
        }
    }
    assert!(loaded > 5, "too little was tried");
}

#[test]
fn a_save_of_what_was_unsaved_can_be_made_again() {
    for stall in [Stall::BeforeApplying, Stall::AfterApplying] {
        for polls in 1.. {
            let (store, faults) = (MemoryBackend::new(), Faults::new());
            let manager = open(FaultBackend::new(store, faults.clone())).unwrap();
            let mut alice = block_on(client(&manager, "alice", SavePolicy::Manual));
            let group = block_on(alice.create_group("tea")).unwrap();
            block_on(alice.send(&group, "one")).unwrap();
            faults.stall(stall);
            let ended = poll_and_drop(polls, alice.save()).is_some();
            faults.disarm();
            let case = format!("{stall:?}, dropped after {polls} polls");
            block_on(alice.send(&group, "two")).unwrap();
            block_on(alice.save()).unwrap_or_else(|error| panic!("{case}: {error:?}"));
            assert!(!alice.has_unsaved(), "{case}");
            assert_eq!(observe(&mut load(&manager, "alice").unwrap()).unwrap(), observe(&mut alice).unwrap(), "{case}");
            if ended {
                break;
            }
        }
    }
}
