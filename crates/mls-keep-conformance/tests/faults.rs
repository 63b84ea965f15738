//! What `FaultBackend` does to a call: fails it, tears it, holds it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_conformance::fault::{Fault, FaultBackend, FaultPoint, Faults, FourMethods, Lasting, Stall};
use mls_keep_core::{Commit, ErrorKind, Key, MemoryBackend, StorageBackend, Swap};

fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

/// Two puts, the root, and one delete: four parts.
fn commit() -> Commit {
    Commit {
        puts: vec![(key("n/1"), Bytes::from("one")), (key("n/2"), Bytes::from("two"))],
        swap: Swap { key: key("root"), expected: None, replacement: Some(Bytes::from("r")) },
        deletes: vec![key("n/0")],
    }
}

fn names(store: &MemoryBackend) -> Vec<String> {
    block_on(store.list("")).expect("memory lists").iter().map(Key::to_string).collect()
}

fn store() -> MemoryBackend {
    let store = MemoryBackend::new();
    block_on(store.save(&key("n/0"), Bytes::from("zero"))).expect("memory saves");
    store
}

#[test]
fn a_torn_commit_is_applied_as_far_as_its_parts_go() {
    for (parts, left) in [
        (0, &["n/0"][..]),
        (1, &["n/0", "n/1"]),
        (2, &["n/0", "n/1", "n/2"]),
        (3, &["n/0", "n/1", "n/2", "root"]),
        (4, &["n/1", "n/2", "root"]),
        (9, &["n/1", "n/2", "root"]),
    ] {
        let (store, faults) = (store(), Faults::new());
        let backend = FaultBackend::new(FourMethods(store.clone()), faults.clone());
        faults.arm(FaultPoint { at: 1, fault: Fault::Torn { parts }, lasting: Lasting::Once });
        let error = block_on(backend.commit(commit())).expect_err("a torn commit is an error");
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(names(&store), left, "{parts} parts");
    }
}

#[test]
fn a_backend_that_promises_atomic_commits_is_not_torn() {
    for (parts, left) in [(0, &["n/0"][..]), (2, &["n/0"]), (3, &["n/1", "n/2", "root"]), (4, &["n/1", "n/2", "root"])]
    {
        let (store, faults) = (store(), Faults::new());
        let backend = FaultBackend::new(store.clone(), faults.clone());
        faults.arm(FaultPoint { at: 1, fault: Fault::Torn { parts }, lasting: Lasting::Once });
        block_on(backend.commit(commit())).expect_err("a torn commit is an error");
        assert_eq!(names(&store), left, "{parts} parts");
    }
}

#[test]
fn a_torn_save_is_whole_or_not_there_and_a_torn_read_is_unavailable() {
    let (store, faults) = (MemoryBackend::new(), Faults::new());
    let backend = FaultBackend::new(store.clone(), faults.clone());
    for (parts, left) in [(0, &[][..]), (1, &["a"])] {
        faults.arm(FaultPoint { at: 1, fault: Fault::Torn { parts }, lasting: Lasting::Sticky });
        let error = block_on(backend.save(&key("a"), Bytes::from("x"))).expect_err("a torn save is an error");
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        let error = block_on(backend.load(&key("a"))).expect_err("a torn read is an error");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(faults.disarm(), 2, "it lasts");
        assert_eq!(names(&store), left);
    }
}

#[test]
fn a_held_call_waits_until_it_is_released() {
    for (stall, done_before) in [(Stall::BeforeApplying, false), (Stall::AfterApplying, true)] {
        let (store, faults) = (MemoryBackend::new(), Faults::new());
        let backend = FaultBackend::new(store.clone(), faults.clone());
        faults.hold(2, stall, Lasting::Once);
        block_on(backend.save(&key("a"), Bytes::from("x"))).expect("the first call is not held");
        let name = key("b");
        let mut held = pin!(backend.save(&name, Bytes::from("y")));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(held.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(faults.held(), 1);
        assert_eq!(names(&store).contains(&"b".to_owned()), done_before);
        block_on(backend.save(&key("c"), Bytes::from("z"))).expect("the third call is not held");
        faults.release();
        assert!(matches!(held.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
        assert_eq!(faults.held(), 0);
        assert_eq!(names(&store), ["a", "b", "c"]);
    }
}

#[test]
fn a_held_call_that_is_dropped_is_not_applied_and_a_disarm_lets_the_others_go() {
    let (store, faults) = (MemoryBackend::new(), Faults::new());
    let backend = FaultBackend::new(store.clone(), faults.clone());
    faults.hold(1, Stall::BeforeApplying, Lasting::Sticky);
    let (first, second) = (key("a"), key("b"));
    let mut context = Context::from_waker(Waker::noop());
    let mut kept = pin!(backend.save(&second, Bytes::from("y")));
    {
        let mut dropped = pin!(backend.save(&first, Bytes::from("x")));
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        assert!(kept.as_mut().poll(&mut context).is_pending());
        assert_eq!(faults.held(), 2);
    }
    assert_eq!(faults.held(), 1);
    assert_eq!(faults.disarm(), 2);
    assert!(kept.as_mut().poll(&mut context).is_ready());
    assert_eq!(names(&store), ["b"]);
}
