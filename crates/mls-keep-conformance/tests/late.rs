//! What `LateBackend` does to a write: answers it at once and applies it later, if its condition still holds.

use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_conformance::fault::FourMethods;
use mls_keep_conformance::late::{Landing, Late, LateBackend};
use mls_keep_core::{Commit, ErrorKind, Key, MemoryBackend, Result, StorageBackend, Swap};

fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

fn step(from: Option<&'static str>, to: &'static str) -> Commit {
    Commit {
        puts: vec![(key(&format!("n/{to}")), to.into())],
        swap: Swap { key: key("root"), expected: from.map(Into::into), replacement: Some(to.into()) },
        deletes: Vec::new(),
    }
}

fn root(store: &MemoryBackend) -> Option<Bytes> {
    block_on(store.load(&key("root"))).expect("memory loads")
}

#[track_caller]
fn assert_unknown(result: Result<()>) {
    assert_eq!(result.expect_err("the late write").kind(), ErrorKind::OutcomeUnknown);
}

/// A store with the root `a`, and a backend on it whose next write is late by `calls`.
fn late_by(calls: Option<u64>) -> (MemoryBackend, LateBackend<MemoryBackend>, Late) {
    let (store, late) = (MemoryBackend::new(), Late::new());
    let backend = LateBackend::new(store.clone(), late.clone());
    block_on(backend.commit(step(None, "a"))).expect("no write is late yet");
    assert_eq!(late.landing(), Landing::None);
    late.arm(1, calls);
    (store, backend, late)
}

#[test]
fn a_commit_lands_just_before_the_call_that_was_named() {
    for calls in 1..5 {
        let (store, backend, late) = late_by(Some(calls));
        assert_unknown(block_on(backend.commit(step(Some("a"), "b"))));
        for call in 1..=calls {
            assert_eq!(late.landing(), Landing::UnderWay, "before call {call}");
            assert_eq!(root(&store).as_deref(), Some(&b"a"[..]));
            let seen = block_on(backend.load(&key("root"))).expect("memory loads");
            assert_eq!(seen.as_deref(), Some(if call == calls { &b"b"[..] } else { b"a" }), "call {call} of {calls}");
        }
        assert_eq!(late.landing(), Landing::Landed);
        block_on(backend.commit(step(Some("b"), "c"))).expect("one write was late, and no other");
    }
}

#[test]
fn a_commit_is_refused_when_another_one_came_first() {
    let (store, backend, late) = late_by(None);
    assert_unknown(block_on(backend.commit(step(Some("a"), "b"))));
    block_on(backend.commit(step(Some("a"), "fence"))).expect("the root is still the old one");
    assert_eq!(block_on(backend.land()), Landing::Refused);
    assert_eq!(root(&store).as_deref(), Some(&b"fence"[..]));
    assert_eq!(late.writes(), 2);
}

#[test]
fn a_commit_that_lands_first_is_a_conflict_for_the_fence() {
    let (store, backend, late) = late_by(Some(1));
    assert_unknown(block_on(backend.commit(step(Some("a"), "b"))));
    let fence = block_on(backend.commit(step(Some("a"), "fence"))).expect_err("the late commit landed before it");
    assert_eq!((fence.kind(), late.landing()), (ErrorKind::Conflict, Landing::Landed));
    assert_eq!(root(&store).as_deref(), Some(&b"b"[..]));
}

#[test]
fn commits_that_were_given_together_are_late_together() {
    let (store, backend, _) = late_by(None);
    let results = block_on(backend.commit_many(vec![step(Some("a"), "b"), step(Some("b"), "c")]));
    assert_eq!(results.len(), 2);
    results.into_iter().for_each(assert_unknown);
    assert_eq!(block_on(backend.land()), Landing::Landed);
    assert_eq!(root(&store).as_deref(), Some(&b"c"[..]));
}

#[test]
fn a_save_without_a_condition_lands_unless_its_key_is_written_again() {
    // The commit's writes on four methods: the node, the root.
    for (write, key_again, landing) in [
        (1, "n/b", Landing::Overtaken),
        (1, "other", Landing::Landed),
        (2, "root", Landing::Overtaken),
        (2, "n/b", Landing::Landed),
    ] {
        let (store, backend, late) = late_by(None);
        late.arm(write, None);
        let backend = FourMethods(backend);
        assert_unknown(block_on(backend.commit(step(Some("a"), "b"))));
        block_on(backend.save(&key(key_again), "again".into())).expect("one write was late, and no other");
        assert_eq!(block_on(backend.0.land()), landing, "write {write}, then {key_again}");
        let stored = block_on(store.load(&key(key_again))).expect("memory loads");
        assert_eq!(stored.as_deref(), Some(&b"again"[..]), "what was acknowledged stays");
        let late_key = if write == 1 { "n/b" } else { "root" };
        let stored = block_on(store.load(&key(late_key))).expect("memory loads");
        assert_eq!(stored.as_deref() == Some(b"b"), landing == Landing::Landed, "write {write}, then {key_again}");
    }
}

#[test]
fn a_delete_can_be_late() {
    let (store, backend, late) = late_by(Some(2));
    assert_unknown(block_on(backend.delete(&key("n/a"))));
    block_on(backend.list("")).expect("memory lists");
    assert!(block_on(store.load(&key("n/a"))).expect("memory loads").is_some());
    assert!(block_on(backend.load(&key("n/a"))).expect("memory loads").is_none());
    assert_eq!(late.landing(), Landing::Landed);
}
