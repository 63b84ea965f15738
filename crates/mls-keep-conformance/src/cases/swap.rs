//! The comparison of the root: what counts as the expected one.

use bytes::Bytes;
use mls_keep_core::{ErrorKind, StorageBackend};

use crate::harness::Harness;
use crate::support::{assert_kind, key, load, names, noise, open, save, swap, value};

/// Tries to replace the root, expecting `expected`, and checks that this conflicts and that the root stays.
async fn refused(backend: &dyn StorageBackend, expected: Option<&Bytes>, what: &str) {
    let before = load(backend, "root").await;
    for replacement in [Some(value("taken")), None] {
        let commit = swap(&key("root"), expected, replacement.as_ref());
        assert_kind(backend.commit(commit).await, ErrorKind::Conflict, what);
        assert_eq!(load(backend, "root").await, before, "{what}: the root stays");
    }
}

/// Expecting no root conflicts with one that is there.
pub async fn none_expected_but_there(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "root", &value("there")).await;
    refused(&*backend, None, "no root expected, one is there").await;
}

/// Expecting a root conflicts with none.
pub async fn some_expected_but_absent(harness: &dyn Harness) {
    let backend = open(harness).await;
    refused(&*backend, Some(&value("was")), "a root expected in an empty store").await;
    assert_eq!(names(&*backend, "").await, [""; 0], "no root is made");
    save(&*backend, "roo", &value("was")).await;
    save(&*backend, "root/1", &value("was")).await;
    refused(&*backend, Some(&value("was")), "only keys like the root's have the expected value").await;
}

/// Roots that are nearly the expected one conflict: a byte changed anywhere, a byte more, a byte less.
pub async fn nearly_the_expected_root(harness: &dyn Harness) {
    let backend = open(harness).await;
    let stored = noise(1, 1024);
    save(&*backend, "root", &stored).await;
    for position in [0, 511, 1023] {
        let mut other = stored.to_vec();
        other.iter_mut().skip(position).take(1).for_each(|byte| *byte ^= 1);
        refused(&*backend, Some(&other.into()), "one bit differs").await;
    }
    refused(&*backend, Some(&stored.slice(..1023)), "the expected root is the start of the stored one").await;
    refused(&*backend, Some(&stored.slice(1..)), "the expected root is the end of the stored one").await;
    let longer: Bytes = stored.iter().copied().chain([0]).collect();
    refused(&*backend, Some(&longer), "the stored root is the start of the expected one").await;
    backend
        .commit(swap(&key("root"), Some(&stored), Some(&value("next"))))
        .await
        .expect("the stored root itself is accepted");
}

/// An empty root is not a missing one.
pub async fn empty_root(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (empty, root) = (Bytes::new(), key("root"));
    refused(&*backend, Some(&empty), "an empty root expected, none is there").await;
    backend.commit(swap(&root, None, Some(&empty))).await.expect("an empty root can be made");
    refused(&*backend, None, "no root expected, an empty one is there").await;
    backend.commit(swap(&root, Some(&empty), Some(&value("r")))).await.expect("an empty root can be replaced");
    assert_eq!(load(&*backend, "root").await, Some(value("r")));
}

/// A root from before the last commit conflicts, and so does one from before the root was removed.
pub async fn root_of_an_earlier_commit(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, b, root) = (value("a"), value("b"), key("root"));
    backend.commit(swap(&root, None, Some(&a))).await.expect("the first commit succeeds");
    backend.commit(swap(&root, Some(&a), Some(&b))).await.expect("the second commit succeeds");
    refused(&*backend, Some(&a), "the root of the first commit").await;
    backend.commit(swap(&root, Some(&b), None)).await.expect("removing the root succeeds");
    refused(&*backend, Some(&b), "the root that was removed").await;
}

/// A root can return to earlier bytes; then those are expected again.
pub async fn root_returns(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, b, root) = (value("a"), value("b"), key("root"));
    for (expected, replacement) in [(None, &a), (Some(&a), &b), (Some(&b), &a), (Some(&a), &b)] {
        backend.commit(swap(&root, expected, Some(replacement))).await.expect("each swap succeeds");
    }
    assert_eq!(load(&*backend, "root").await, Some(b));
}

/// A swap compares with what `save` and `delete` left.
pub async fn sees_saves_and_deletes(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, b, root) = (value("a"), value("b"), key("root"));
    backend.commit(swap(&root, None, Some(&a))).await.expect("the first commit succeeds");
    save(&*backend, "root", &b).await;
    refused(&*backend, Some(&a), "the root was saved over").await;
    backend.commit(swap(&root, Some(&b), Some(&a))).await.expect("the saved root is accepted");
    backend.delete(&root).await.expect("deleting succeeds");
    refused(&*backend, Some(&a), "the root was deleted").await;
    backend.commit(swap(&root, None, Some(&b))).await.expect("no root is accepted");
}

/// Roots of different clients do not meet.
pub async fn roots_are_independent(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (a, b) = (value("a"), value("b"));
    for name in ["root/1", "root/2", "root/10"] {
        backend.commit(swap(&key(name), None, Some(&a))).await.expect("each client makes its root");
    }
    backend.commit(swap(&key("root/1"), Some(&a), Some(&b))).await.expect("one client commits");
    backend.commit(swap(&key("root/2"), Some(&a), None)).await.expect("another one goes");
    assert_eq!(load(&*backend, "root/1").await, Some(b));
    assert_eq!(load(&*backend, "root/2").await, None);
    assert_eq!(load(&*backend, "root/10").await, Some(a));
}

/// Removing a root that is absent, when that is expected, succeeds; the puts are kept.
pub async fn absent_stays_absent(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut commit = swap(&key("root"), None, None);
    commit.puts = vec![(key("n/1"), value("one"))];
    backend.commit(commit).await.expect("none expected, none wanted");
    assert_eq!(names(&*backend, "").await, ["n/1"]);
}
