//! Closing, and what is there afterwards.

use mls_keep_core::ErrorKind;

use crate::harness::Harness;
use crate::support::{close, key, keys, load, names, noise, open, reopen, save, swap, value};

/// Everything that was acknowledged is there after a close and an open: saves, commits, deletes, replaced values.
pub async fn everything_acknowledged_is_there(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, b, root) = (noise(1, 500), noise(2, 500), key("root"));
    save(&*backend, "kept", &noise(3, 10_000)).await;
    save(&*backend, "replaced", &value("before")).await;
    save(&*backend, "replaced", &value("after")).await;
    save(&*backend, "deleted", &value("x")).await;
    backend.delete(&key("deleted")).await.expect("deleting succeeds");
    let mut commit = swap(&root, None, Some(&a));
    commit.puts = (0..20).map(|index| (key(&format!("n/{index:02}")), noise(index, 3000))).collect();
    backend.commit(commit).await.expect("the commit succeeds");
    let mut commit = swap(&root, Some(&a), Some(&b));
    commit.deletes = (0..10).map(|index| key(&format!("n/{index:02}"))).collect();
    backend.commit(commit).await.expect("the commit succeeds");
    let before = names(&*backend, "").await;

    let backend = reopen(harness, backend).await;
    assert_eq!(names(&*backend, "").await, before, "the keys");
    assert_eq!(before.len(), 10 + 3, "the deleted ones are gone: {before:?}");
    assert_eq!(load(&*backend, "kept").await, Some(noise(3, 10_000)));
    assert_eq!(load(&*backend, "replaced").await, Some(value("after")));
    assert_eq!(load(&*backend, "deleted").await, None);
    assert_eq!(load(&*backend, "root").await, Some(b));
    for index in 10..20 {
        assert_eq!(load(&*backend, &format!("n/{index}")).await, Some(noise(index, 3000)));
    }
}

/// A backend that is dropped without a close loses nothing that was acknowledged.
pub async fn dropped_without_a_close(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "k", &value("x")).await;
    let mut commit = swap(&key("root"), None, Some(&value("r")));
    commit.puts = vec![(key("n/1"), noise(1, 5000))];
    backend.commit(commit).await.expect("the commit succeeds");
    drop(backend);
    let backend = open(harness).await;
    assert_eq!(load(&*backend, "k").await, Some(value("x")));
    assert_eq!(load(&*backend, "root").await, Some(value("r")));
    assert_eq!(load(&*backend, "n/1").await, Some(noise(1, 5000)));
}

/// A store can be opened again and again, and each time is changed further.
pub async fn again_and_again(harness: &dyn Harness) {
    let mut backend = open(harness).await;
    let mut expected = None;
    for round in 0..5_u64 {
        let root = noise(round, 300);
        let mut commit = swap(&key("root"), expected.as_ref(), Some(&root));
        commit.puts = vec![(key(&format!("n/{round}")), noise(round, 2000))];
        backend.commit(commit).await.expect("each round finds the root of the one before it");
        expected = Some(root);
        backend = reopen(harness, backend).await;
        assert_eq!(load(&*backend, "root").await, expected, "round {round}");
        assert_eq!(names(&*backend, "n/").await.len() as u64, round + 1, "round {round}");
    }
    let backend = reopen(harness, backend).await;
    let backend = reopen(harness, backend).await;
    assert_eq!(load(&*backend, "root").await, expected, "opened twice without a change between");
}

/// An open store that nothing was written to, and one that everything was deleted from, open again as empty ones.
pub async fn empty_stays_empty(harness: &dyn Harness) {
    let backend = open(harness).await;
    let backend = reopen(harness, backend).await;
    assert_eq!(names(&*backend, "").await, [""; 0]);
    save(&*backend, "k", &value("x")).await;
    backend.delete(&key("k")).await.expect("deleting succeeds");
    let backend = reopen(harness, backend).await;
    assert_eq!(names(&*backend, "").await, [""; 0]);
    assert_eq!(load(&*backend, "k").await, None);
}

/// Of commits that were given together, those that were acknowledged are there afterwards, and the refused one is not.
pub async fn commit_many_survives(harness: &dyn Harness) {
    let backend = open(harness).await;
    let commit = |client: u64| {
        let mut commit = swap(&key(&format!("root/{client}")), None, Some(&noise(client, 100)));
        commit.puts = vec![(key(&format!("n/{client}")), noise(client, 900))];
        commit
    };
    backend.commit(commit(3)).await.expect("the commit succeeds");
    let results = backend.commit_many((0..6).map(commit).collect()).await;
    let acknowledged: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(acknowledged, [true, true, true, false, true, true], "client 3 has a root already: {results:?}");
    drop(backend);
    let backend = open(harness).await;
    for client in 0..6 {
        assert_eq!(load(&*backend, &format!("root/{client}")).await, Some(noise(client, 100)));
        assert_eq!(load(&*backend, &format!("n/{client}")).await, Some(noise(client, 900)));
    }
}

/// What was acknowledged is on the medium while the store is open: a copy of it has everything.
pub async fn copied_while_open(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, b, root) = (noise(1, 200), noise(2, 200), key("root"));
    save(&*backend, "kept", &noise(3, 9000)).await;
    save(&*backend, "deleted", &value("x")).await;
    backend.delete(&key("deleted")).await.expect("deleting succeeds");
    let mut commit = swap(&root, None, Some(&a));
    commit.puts = vec![(key("n/1"), noise(4, 3000))];
    backend.commit(commit).await.expect("the commit succeeds");
    for result in backend.commit_many(vec![swap(&root, Some(&a), Some(&b)), swap(&key("root/2"), None, Some(&a))]).await
    {
        result.expect("each commit succeeds");
    }
    let copy = harness.copy().await.expect("the case is run only with Harness::copy");
    let copied = copy.open().await.expect("a copy of an open store opens, as after a kill");
    assert_eq!(names(&*copied, "").await, ["kept", "n/1", "root", "root/2"], "the keys of the copy");
    for (name, data) in [("kept", noise(3, 9000)), ("n/1", noise(4, 3000)), ("root", b.clone()), ("root/2", a)] {
        assert_eq!(load(&*copied, name).await, Some(data), "{name} of the copy");
    }
    save(&*copied, "kept", &value("changed")).await;
    close(copied).await;
    backend.commit(swap(&root, Some(&b), None)).await.expect("the store itself goes on");
    assert_eq!(load(&*backend, "kept").await, Some(noise(3, 9000)), "a copy is a store of its own");
}

/// Closing twice is `Ok`.
pub async fn close_twice(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "k", &value("x")).await;
    backend.close().await.expect("closing succeeds");
    backend.close().await.expect("closing twice succeeds");
    close(backend).await;
}

/// After a close every call is `Poisoned`. A backend that has nothing to free may go on, but then in every respect.
pub async fn use_after_close(harness: &dyn Harness) {
    let backend = open(harness).await;
    let k = key("k");
    save(&*backend, "k", &value("x")).await;
    backend.close().await.expect("closing succeeds");
    let mut commits = backend.commit_many(vec![swap(&key("root/1"), None, Some(&value("r")))]).await;
    let results = [
        ("load", backend.load(&k).await.map(drop)),
        ("load_many", backend.load_many(&keys(&["k", "l"])).await.map(drop)),
        ("list", backend.list("").await.map(drop)),
        ("list_page", backend.list_page("", None, 1).await.map(drop)),
        ("save", backend.save(&k, value("y")).await),
        ("commit", backend.commit(swap(&key("root/2"), None, Some(&value("r")))).await),
        ("commit_many", commits.pop().expect("one result for each commit")),
        ("delete", backend.delete(&k).await),
    ];
    let poisoned = results.iter().any(|(_, result)| result.is_err());
    for (call, result) in results {
        match result {
            Ok(()) => assert!(!poisoned, "{call} after close: must be Poisoned as the other calls are"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned, "{call} after close: {error:?}"),
        }
    }
}

/// The bytes of deleted and of replaced values are gone from the medium after a close.
pub async fn deleted_bytes_are_gone(harness: &dyn Harness) {
    let marker = b"marker-of-a-deleted-value-7f3a";
    let marked = |len: usize| [&marker[..], &noise(len as u64, len), &marker[..]].concat().into();
    let backend = open(harness).await;
    save(&*backend, "neighbour", &noise(99, 300)).await;
    for (index, len) in (0..).zip([0, 100, 1000, 3000, 9000, 60_000]) {
        save(&*backend, &format!("deleted/{index}"), &marked(len)).await;
        save(&*backend, &format!("replaced/{index}"), &marked(len)).await;
    }
    let backend = reopen(harness, backend).await;
    assert!(harness.medium_contains(marker).await, "Harness::medium_contains finds a value that is there");
    for index in 0..6 {
        backend.delete(&key(&format!("deleted/{index}"))).await.expect("deleting succeeds");
        save(&*backend, &format!("replaced/{index}"), &value("short")).await;
    }
    let (short_lived, root) = (marked(2000), key("root"));
    let mut commit = swap(&root, None, Some(&short_lived));
    commit.puts = vec![(key("n/1"), marked(5000))];
    backend.commit(commit).await.expect("the commit succeeds");
    let mut commit = swap(&root, Some(&short_lived), Some(&value("r")));
    commit.deletes = keys(&["n/1"]);
    backend.commit(commit).await.expect("the commit succeeds");
    close(backend).await;
    assert!(!harness.medium_contains(marker).await, "the bytes of a deleted or replaced value are on the medium");
}
