//! Puts, swap and deletes together.

use crate::harness::Harness;
use crate::support::{assert_kind, key, keys, load, names, noise, open, save, swap, value};
use mls_keep_core::{ErrorKind, Key};

/// Puts, swap and deletes of one commit all take effect.
pub async fn everything_takes_effect(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (old, new, root) = (value("old"), value("new"), key("root"));
    save(&*backend, "root", &old).await;
    save(&*backend, "n/1", &value("one")).await;
    save(&*backend, "n/2", &value("two")).await;
    let mut commit = swap(&root, Some(&old), Some(&new));
    commit.puts = vec![(key("n/3"), value("three")), (key("n/4"), value("four"))];
    commit.deletes = keys(&["n/1"]);
    backend.commit(commit).await.expect("the commit succeeds");
    assert_eq!(load(&*backend, "root").await, Some(new), "the root is replaced");
    assert_eq!(load(&*backend, "n/2").await, Some(value("two")), "what the commit does not name stays");
    assert_eq!(load(&*backend, "n/3").await, Some(value("three")), "the first put");
    assert_eq!(load(&*backend, "n/4").await, Some(value("four")), "the second put");
    assert_eq!(names(&*backend, "").await, ["n/2", "n/3", "n/4", "root"], "the deleted node is gone");
}

/// The first commit makes the root.
pub async fn first_commit(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut commit = swap(&key("root"), None, Some(&value("r")));
    commit.puts = vec![(key("n/1"), value("one"))];
    backend.commit(commit).await.expect("the first commit succeeds");
    assert_eq!(load(&*backend, "root").await, Some(value("r")));
    assert_eq!(load(&*backend, "n/1").await, Some(value("one")));
}

/// A commit that only replaces the root.
pub async fn swap_alone(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, b, root) = (value("a"), value("b"), key("root"));
    backend.commit(swap(&root, None, Some(&a))).await.expect("making the root succeeds");
    backend.commit(swap(&root, Some(&a), Some(&b))).await.expect("replacing the root succeeds");
    assert_eq!(load(&*backend, "root").await, Some(b));
    assert_eq!(names(&*backend, "").await, ["root"]);
}

/// A replacement of `None` removes the root, and it can be made anew.
pub async fn removing_the_root(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, root) = (value("a"), key("root"));
    let mut commit = swap(&root, None, Some(&a));
    commit.puts = vec![(key("n/1"), value("one"))];
    backend.commit(commit).await.expect("making the root succeeds");
    let mut commit = swap(&root, Some(&a), None);
    commit.deletes = keys(&["n/1"]);
    backend.commit(commit).await.expect("removing the root succeeds");
    assert_eq!(names(&*backend, "").await, [""; 0], "nothing is left");
    backend.commit(swap(&root, None, Some(&value("b")))).await.expect("the root can be made again");
    assert_eq!(load(&*backend, "root").await, Some(value("b")));
}

/// Deleting what is absent is no error in a commit either.
pub async fn deletes_of_absent_nodes(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "n/2", &value("two")).await;
    let mut commit = swap(&key("root"), None, Some(&value("r")));
    commit.deletes = keys(&["n/1", "n/2", "n/3", "n/2"]);
    backend.commit(commit).await.expect("absent deletes are no error");
    assert_eq!(names(&*backend, "").await, ["root"], "the one that was there is gone");
}

/// A put that repeats one of an earlier commit, as a retry does, is harmless.
pub async fn repeated_put(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, b, root) = (value("a"), value("b"), key("root"));
    let put = (key("n/1"), noise(1, 3000));
    let mut commit = swap(&root, None, Some(&a));
    commit.puts = vec![put.clone()];
    backend.commit(commit).await.expect("the first commit succeeds");
    let mut commit = swap(&root, Some(&a), Some(&b));
    commit.puts = vec![put.clone()];
    backend.commit(commit).await.expect("a put of an earlier commit is harmless");
    assert_eq!(load(&*backend, "n/1").await, Some(put.1));
    assert_eq!(names(&*backend, "n/").await, ["n/1"]);
}

/// 500 nodes in one commit, replaced by 500 others in the next.
pub async fn large_commit(harness: &dyn Harness) {
    let backend = open(harness).await;
    let node = |generation: u64, index: u64| {
        (key(&format!("n/{generation}/{index:03}")), noise(generation * 1000 + index, 700 + index as usize % 900))
    };
    let (first, second, root) = (value("first"), value("second"), key("root"));
    let mut commit = swap(&root, None, Some(&first));
    commit.puts = (0..500).map(|index| node(1, index)).collect();
    backend.commit(commit).await.expect("500 puts succeed");
    let mut commit = swap(&root, Some(&first), Some(&second));
    commit.puts = (0..500).map(|index| node(2, index)).collect();
    commit.deletes = (0..500).map(|index| node(1, index).0).collect();
    backend.commit(commit).await.expect("500 puts and 500 deletes succeed");

    let (wanted, data): (Vec<Key>, Vec<_>) = (0..500).map(|index| node(2, index)).unzip();
    assert_eq!(backend.list("n/").await.expect("listing succeeds"), wanted, "the second generation and nothing else");
    let found = backend.load_many(&wanted).await.expect("loading succeeds");
    assert!(found.into_iter().eq(data.into_iter().map(Some)), "all values are those of the second generation");
    assert_eq!(load(&*backend, "root").await, Some(second));
}

/// A chain of commits, each made from the one before it.
pub async fn chain_of_commits(harness: &dyn Harness) {
    let backend = open(harness).await;
    let root = key("root");
    let mut expected = None;
    for generation in 0..20 {
        let replacement = noise(generation, 100);
        let mut commit = swap(&root, expected.as_ref(), Some(&replacement));
        commit.puts = vec![(key(&format!("n/{generation}")), noise(generation, 2000))];
        commit.deletes = generation.checked_sub(1).map(|earlier| key(&format!("n/{earlier}"))).into_iter().collect();
        backend.commit(commit).await.expect("each commit of the chain succeeds");
        expected = Some(replacement);
    }
    assert_eq!(load(&*backend, "root").await, expected);
    assert_eq!(names(&*backend, "").await, ["n/19", "root"], "each commit deleted the node of the one before it");
    assert_eq!(load(&*backend, "n/19").await, Some(noise(19, 2000)));
}

/// After a conflict the stored root and all of its nodes are as they were.
pub async fn conflict_keeps_what_the_root_names(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (current, root) = (value("current"), key("root"));
    let mut commit = swap(&root, None, Some(&current));
    commit.puts = vec![(key("n/1"), value("one"))];
    backend.commit(commit).await.expect("the first commit succeeds");
    let mut late = swap(&root, Some(&value("older")), Some(&value("newer")));
    late.puts = vec![(key("n/2"), value("two"))];
    late.deletes = keys(&["n/1"]);
    assert_kind(backend.commit(late).await, ErrorKind::Conflict, "a commit made from an older root");
    assert_eq!(load(&*backend, "root").await, Some(current), "the root");
    assert_eq!(load(&*backend, "n/1").await, Some(value("one")), "a node of the root that the commit would delete");
}

/// Where commits are atomic, a conflict leaves no trace at all.
pub async fn conflict_changes_nothing(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (current, root) = (value("current"), key("root"));
    backend.commit(swap(&root, None, Some(&current))).await.expect("the first commit succeeds");
    save(&*backend, "n/1", &value("one")).await;
    let mut late = swap(&root, None, Some(&value("newer")));
    late.puts = vec![(key("n/2"), value("two")), (key("n/1"), value("other"))];
    late.deletes = keys(&["n/3"]);
    assert_kind(backend.commit(late).await, ErrorKind::Conflict, "a commit that expects no root");
    assert_eq!(names(&*backend, "").await, ["n/1", "root"], "no put of a refused commit is kept");
    assert_eq!(load(&*backend, "n/1").await, Some(value("one")), "no put of a refused commit replaces anything");
    assert_eq!(load(&*backend, "root").await, Some(current));
}

/// The same commit succeeds once it is made from the root that is there.
pub async fn retry_after_conflict(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (current, next, root) = (value("current"), value("next"), key("root"));
    backend.commit(swap(&root, None, Some(&current))).await.expect("the first commit succeeds");
    let mut commit = swap(&root, None, Some(&next));
    commit.puts = vec![(key("n/1"), value("one"))];
    assert_kind(backend.commit(commit.clone()).await, ErrorKind::Conflict, "a commit that expects no root");
    commit.swap.expected = backend.load(&root).await.expect("loading succeeds");
    backend.commit(commit).await.expect("made from the stored root it succeeds");
    assert_eq!(load(&*backend, "root").await, Some(next));
    assert_eq!(load(&*backend, "n/1").await, Some(value("one")));
}

/// More deletes than a server takes in one request (S3: 1000), in one commit.
pub async fn thousands_of_deletes(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (first, second, root) = (value("first"), value("second"), key("root"));
    let mut commit = swap(&root, None, Some(&first));
    commit.puts = (0..1100).map(|index| (key(&format!("n/{index:04}")), value("x"))).collect();
    let nodes: Vec<Key> = commit.puts.iter().map(|(key, _)| key.clone()).collect();
    backend.commit(commit).await.expect("1100 puts succeed");
    let mut commit = swap(&root, Some(&first), Some(&second));
    commit.deletes = nodes.into_iter().skip(1).collect();
    backend.commit(commit).await.expect("1099 deletes succeed");
    assert_eq!(names(&*backend, "").await, ["n/0000", "root"], "all that were named are gone, and no other");
}

/// A root that is replaced by itself: the puts and deletes of the commit are applied.
pub async fn root_that_stays_the_same(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (same, root) = (value("same"), key("root"));
    save(&*backend, "root", &same).await;
    save(&*backend, "n/1", &value("one")).await;
    let mut commit = swap(&root, Some(&same), Some(&same));
    commit.puts = vec![(key("n/2"), value("two"))];
    commit.deletes = keys(&["n/1"]);
    backend.commit(commit).await.expect("the commit succeeds");
    assert_eq!(load(&*backend, "root").await, Some(same));
    assert_eq!(names(&*backend, "").await, ["n/2", "root"]);
}
