//! Several keys, or several commits, in one call.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use mls_keep_core::{Commit, ErrorKind, Key};

use crate::harness::Harness;
use crate::support::{assert_kind, key, keys, load, names, noise, open, race, save, swap, value};

/// Values come in the order of the keys that were asked for.
pub async fn load_many_keeps_the_order(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all: Vec<Key> = (0..50).map(|index| key(&format!("n/{}", (index * 37) % 50))).collect();
    for key in &all {
        save(&*backend, key.as_str(), &value(key.as_str())).await;
    }
    let found = backend.load_many(&all).await.expect("loading succeeds");
    let wanted: Vec<_> = all.iter().map(|key| Some(value(key.as_str()))).collect();
    assert_eq!(found, wanted);
}

/// Missing keys and repeated ones each have a place of their own.
pub async fn load_many_with_gaps_and_repeats(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "a", &value("one")).await;
    save(&*backend, "c", &Bytes::new()).await;
    let found = backend.load_many(&keys(&["b", "a", "c", "a", "d", "b"])).await.expect("loading succeeds");
    let (one, empty) = (Some(value("one")), Some(Bytes::new()));
    assert_eq!(found, [None, one.clone(), empty, one, None, None]);
}

/// No keys, no values.
pub async fn load_many_of_none(harness: &dyn Harness) {
    let backend = open(harness).await;
    assert_eq!(backend.load_many(&[]).await.expect("loading succeeds"), []);
}

/// More keys than an engine takes as parameters of one statement; every second one is there.
pub async fn load_many_of_thousands(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all: Vec<Key> = (0..2400).map(|index| key(&format!("n/{index:04}"))).collect();
    let mut commit = swap(&key("root"), None, Some(&value("r")));
    commit.puts = all.iter().step_by(2).map(|key| (key.clone(), value(key.as_str()))).collect();
    backend.commit(commit).await.expect("the commit succeeds");
    let found = backend.load_many(&all).await.expect("loading succeeds");
    assert_eq!(found.len(), all.len(), "one place for each key");
    for ((index, key), found) in all.iter().enumerate().zip(found) {
        assert_eq!(found, (index % 2 == 0).then(|| value(key.as_str())), "{key}");
    }
}

/// Where commits are atomic, the values of one call are all of one moment: no commit lies between two of them.
pub async fn load_many_is_of_one_moment(harness: &dyn Harness) {
    const COMMITS: u64 = 80;
    let node = |generation: u64| key(&format!("n/{generation}"));
    let next = |generation: u64| {
        let earlier = generation.checked_sub(1);
        let root = value(&generation.to_string());
        let mut commit = swap(&key("root"), earlier.map(|earlier| value(&earlier.to_string())).as_ref(), Some(&root));
        commit.puts = vec![(node(generation), root)];
        commit.deletes = earlier.map(node).into_iter().collect();
        commit
    };
    let backend = open(harness).await;
    backend.commit(next(0)).await.expect("the first commit succeeds");
    let loads = AtomicUsize::new(0);
    let (backend, next, loads) = (&backend, &next, &loads);
    race(harness, 3, |index| async move {
        if index == 0 {
            for generation in 1..=COMMITS {
                let before = loads.load(Ordering::Relaxed);
                backend.commit(next(generation)).await.expect("the only writer succeeds");
                // When one reader is done the other one is in the middle.
                let waits = |tries: &usize| *tries < 20_000 && loads.load(Ordering::Relaxed) == before;
                (0..).take_while(waits).for_each(|_| std::thread::yield_now());
            }
            return;
        }
        let asked: Vec<Key> = [key("root")].into_iter().chain((0..=COMMITS).map(node)).chain([key("root")]).collect();
        loop {
            let found = backend.load_many(&asked).await.expect("loading succeeds");
            loads.fetch_add(1, Ordering::Relaxed);
            let root = found.first().cloned().flatten().expect("there is a root all the time");
            let there: Vec<&Bytes> = found.iter().flatten().collect();
            assert_eq!(there, [&root; 3], "the root, its only node and the root again, in one call");
            if root == value(&COMMITS.to_string()) {
                return;
            }
        }
    });
}

/// No commits, no results.
pub async fn commit_many_of_none(harness: &dyn Harness) {
    let backend = open(harness).await;
    assert!(backend.commit_many(Vec::new()).await.is_empty());
}

fn first_of(client: usize) -> Commit {
    let mut commit = swap(&key(&format!("root/{client}")), None, Some(&noise(client as u64, 200)));
    commit.puts = (0..3).map(|node| (key(&format!("n/{client}/{node}")), noise(node, 1000))).collect();
    commit
}

/// Commits of different clients all succeed.
pub async fn commit_many_of_different_clients(harness: &dyn Harness) {
    let backend = open(harness).await;
    let results = backend.commit_many((0..20).map(first_of).collect()).await;
    assert_eq!(results.len(), 20, "one result for each commit");
    for result in results {
        result.expect("each commit succeeds");
    }
    for client in 0..20 {
        assert_eq!(load(&*backend, &format!("root/{client}")).await, Some(noise(client as u64, 200)));
        assert_eq!(names(&*backend, &format!("n/{client}/")).await.len(), 3, "the nodes of client {client}");
    }
}

/// A conflict in the middle is the result of its commit alone; those around it succeed.
pub async fn commit_many_with_a_conflict(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (old, new) = (value("old"), value("new"));
    save(&*backend, "root/2", &old).await;
    let mut late = swap(&key("root/2"), Some(&value("older")), Some(&new));
    late.deletes = vec![key("root/1")];
    let results = backend.commit_many(vec![first_of(1), late, first_of(3)]).await;
    let [first, second, third] = <[_; 3]>::try_from(results).expect("one result for each commit");
    first.expect("the commit before the conflict succeeds");
    assert_kind(second, ErrorKind::Conflict, "the commit with an older root");
    third.expect("the commit behind the conflict succeeds");
    assert_eq!(load(&*backend, "root/1").await, Some(noise(1, 200)), "the conflicting commit deletes nothing");
    assert_eq!(load(&*backend, "root/2").await, Some(old));
    assert_eq!(load(&*backend, "root/3").await, Some(noise(3, 200)));
}

/// Of two commits that replace the same root the first wins and the second conflicts.
pub async fn commit_many_for_one_root(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (old, a, b, root) = (value("old"), value("a"), value("b"), key("root"));
    save(&*backend, "root", &old).await;
    let results = backend.commit_many(vec![swap(&root, Some(&old), Some(&a)), swap(&root, Some(&old), Some(&b))]).await;
    let [first, second] = <[_; 2]>::try_from(results).expect("one result for each commit");
    first.expect("the first commit wins");
    assert_kind(second, ErrorKind::Conflict, "the second commit");
    assert_eq!(load(&*backend, "root").await, Some(a));
}

/// A commit may be made from the root of the one before it in the same call.
pub async fn commit_many_in_a_chain(harness: &dyn Harness) {
    let backend = open(harness).await;
    let root = key("root");
    let roots: Vec<Bytes> = (0..10).map(|index| noise(index, 100)).collect();
    let expected = std::iter::once(None).chain(roots.iter().map(Some));
    let commits = expected.zip(&roots).map(|(expected, next)| swap(&root, expected, Some(next))).collect();
    for result in backend.commit_many(commits).await {
        result.expect("each commit finds the root of the one before it");
    }
    assert_eq!(load(&*backend, "root").await.as_ref(), roots.last());
}

/// More commits than an engine would put into one flush.
pub async fn commit_many_of_hundreds(harness: &dyn Harness) {
    let backend = open(harness).await;
    let commit = |client: usize| swap(&key(&format!("root/{client:03}")), None, Some(&noise(client as u64, 64)));
    let results = backend.commit_many((0..300).map(commit).collect()).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 300);
    assert_eq!(names(&*backend, "root/").await.len(), 300);
    let results = backend.commit_many((200..400).map(commit).collect()).await;
    for (client, result) in (200..400).zip(results) {
        assert_eq!(result.is_ok(), client >= 300, "client {client}: {result:?}");
    }
}
