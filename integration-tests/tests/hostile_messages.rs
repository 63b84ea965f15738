//! Messages that somebody on the way has changed, repeated, held back or mixed up.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use integration_tests::observe::observe;
use integration_tests::store::{image, load, open_shared, restore};
use integration_tests::wait::block_on;
use integration_tests::world::{World, client};
use mls_keep::{Change, ErrorKind, Received, SavePolicy};
use mls_keep_conformance::fault::{FaultBackend, Faults, Stall};

/// What one may make of a message without knowing its keys.
fn mutations(message: &[u8]) -> Vec<Vec<u8>> {
    let step = message.len().div_ceil(60).max(1);
    let mut mutations: Vec<Vec<u8>> = (0..message.len()).step_by(step).map(|len| message[..len].to_vec()).collect();
    for at in (0..message.len()).filter(|at| at % step == 0 || *at < 24) {
        for bits in [0x01, 0x80, 0xff] {
            let mut changed = message.to_vec();
            changed[at] ^= bits;
            mutations.push(changed);
        }
    }
    mutations.push([message, &[0]].concat());
    mutations.push([message, message].concat());
    mutations
}

#[test]
fn a_message_that_was_changed_changes_nothing() {
    block_on(async {
        let World { store, manager, mut alice, mut bob, group } = World::new().await;
        let message = bob.send(&group, "hello").await.unwrap().to_bytes().unwrap();
        let commit = bob.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
        let mut tried = 0;
        for (message, name) in [(message, "message"), (commit, "commit")] {
            let mut before = image(&store);
            for changed in mutations(&message) {
                tried += 1;
                match alice.receive(&changed).await {
                    Err(_) => {}
                    // It says that it is of an epoch to come, and is kept until that is seen; a bounded number is.
                    Ok(Received::Held { .. }) => before = image(&store),
                    Ok(other) => panic!("a changed {name} is taken: {other:?}, {changed:?}"),
                }
                assert_eq!(image(&store), before, "a changed {name} changed the store: {changed:?}");
            }
            alice.receive(&message).await.unwrap();
            assert!(matches!(alice.receive(&message).await.unwrap(), Received::AlreadyReceived(_)), "{name}");
        }
        assert!(tried > 100);
        assert_eq!(observe(&mut load(&manager, "alice").unwrap()).unwrap(), observe(&mut alice).unwrap());
    });
}

#[test]
fn a_welcome_that_was_changed_uses_no_key_package_up() {
    block_on(async {
        let World { store, manager, mut alice, group, .. } = World::new().await;
        let mut carol = client(&manager, "carol", SavePolicy::EveryOperation).await;
        let package = carol.key_package().await.unwrap().to_bytes().unwrap();
        let welcome = alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap();
        let before = image(&store);
        for changed in mutations(&welcome) {
            assert!(carol.join(&changed).await.is_err(), "{changed:?}");
            assert_eq!(image(&store), before, "{changed:?}");
        }
        carol.join(&welcome).await.unwrap();
    });
}

/// Eight messages in a changed order, each twice, with calls that are dropped in between.
#[test]
fn messages_in_any_order_between_dropped_calls_are_each_taken_once() {
    let world = block_on(World::new());
    let World { store, mut bob, group, .. } = world;
    let start = image(&store);
    let mut mail = Vec::new();
    for number in 0..8 {
        mail.push(block_on(bob.send(&group, format!("message {number}"))).unwrap().to_bytes().unwrap());
    }
    let mut dropped = 0;
    for stall in [Stall::BeforeApplying, Stall::AfterApplying] {
        for polls in 1..8 {
            for order in 1..6 {
                let (memory, faults) = (restore(&start), Faults::new());
                let backend = Arc::new(FaultBackend::new(memory, faults.clone()));
                let manager = open_shared(backend).unwrap();
                let mut alice = load(&manager, "alice").unwrap();
                let mut taken = 0;
                for at in 0..mail.len() * 2 {
                    // The step has no factor in common with 8 messages.
                    let message = &mail[(at * (2 * order + 1) + order) % mail.len()];
                    faults.stall(stall);
                    let ended = {
                        let mut receiving = pin!(alice.receive(message));
                        let mut context = Context::from_waker(Waker::noop());
                        (0..polls).any(|_| receiving.as_mut().poll(&mut context).is_ready())
                    };
                    faults.disarm();
                    dropped += usize::from(!ended);
                    match block_on(alice.receive(message)) {
                        Ok(Received::Message(_)) => taken += 1,
                        Ok(Received::AlreadyReceived(_)) => {}
                        Ok(_) => panic!("another kind of message"),
                        // Too far ahead or behind for the ratchet.
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}"),
                    }
                }
                assert!(taken <= mail.len());
                let history = block_on(alice.history(&group, 100)).unwrap();
                let mut contents: Vec<_> = history.iter().map(|message| message.content.clone()).collect();
                contents.sort();
                let count = contents.len();
                contents.dedup();
                assert_eq!(contents.len(), count, "{stall:?}, {polls} polls, order {order}: one was taken twice");
                assert_eq!(observe(&mut load(&manager, "alice").unwrap()).unwrap(), observe(&mut alice).unwrap());
            }
        }
    }
    assert!(dropped > 50, "too little was tried");
}
