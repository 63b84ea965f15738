//! Large values, and the limits that a backend promises.

use bytes::Bytes;
use mls_keep_core::ErrorKind;
use mls_keep_core::limits::{MAX_STORED_NODE_LEN, MIN_BACKEND_VALUE_LEN};

use crate::harness::Harness;
use crate::support::{assert_kind, key, load, names, noise, open, reopen, save, swap, value};

/// The value that every backend must be able to store, saved and as a root.
pub async fn least_value_len(harness: &dyn Harness) {
    let backend = open(harness).await;
    let data = noise(1, MIN_BACKEND_VALUE_LEN);
    save(&*backend, "k", &data).await;
    assert!(load(&*backend, "k").await.as_ref() == Some(&data), "the value comes back as it was saved");
    let root = key("root");
    backend.commit(swap(&root, None, Some(&data))).await.expect("a root of that size can be made");
    let next = noise(2, MIN_BACKEND_VALUE_LEN);
    backend.commit(swap(&root, Some(&data), Some(&next))).await.expect("and compared and replaced");
    assert!(load(&*backend, "root").await == Some(next), "the new root comes back as it was committed");
}

/// The largest nodes, many of them in one commit.
pub async fn largest_nodes(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut commit = swap(&key("root"), None, Some(&value("r")));
    commit.puts = (0..64).map(|index| (key(&format!("n/{index:02}")), noise(index, MAX_STORED_NODE_LEN))).collect();
    let (keys, data): (Vec<_>, Vec<_>) = commit.puts.iter().cloned().unzip();
    backend.commit(commit).await.expect("the commit succeeds");
    let found = backend.load_many(&keys).await.expect("loading succeeds");
    assert!(found.into_iter().eq(data.into_iter().map(Some)), "all nodes come back as they were committed");
}

/// What a backend promises does not change while it is open, and its longest value is long enough.
pub async fn promises_are_fixed(harness: &dyn Harness) {
    let backend = open(harness).await;
    let promised = backend.capabilities();
    assert!(
        promised.max_value_len.is_none_or(|len| len >= MIN_BACKEND_VALUE_LEN),
        "max_value_len is at least {MIN_BACKEND_VALUE_LEN}: {promised:?}"
    );
    save(&*backend, "k", &value("x")).await;
    backend.commit(swap(&key("root"), None, Some(&value("r")))).await.expect("the commit succeeds");
    assert_eq!(backend.capabilities(), promised, "the promises after writing");
    let again = reopen(harness, backend).await;
    assert_eq!(again.capabilities(), promised, "the promises after opening again");
}

/// The longest value that the backend promises is stored.
pub async fn longest_promised_value(harness: &dyn Harness) {
    let backend = open(harness).await;
    let Some(longest) = backend.capabilities().max_value_len else { return };
    let data = noise(1, longest);
    save(&*backend, "k", &data).await;
    assert!(load(&*backend, "k").await == Some(data), "the longest value comes back as it was saved");
}

/// A value that is longer than the backend promises is refused before anything changes, alone and in a commit.
pub async fn longer_than_promised(harness: &dyn Harness) {
    let backend = open(harness).await;
    let Some(longest) = backend.capabilities().max_value_len else { return };
    let data = Bytes::from(vec![1; longest + 1]);
    save(&*backend, "k", &value("before")).await;
    let result = backend.save(&key("k"), data.clone()).await;
    assert_kind(result, ErrorKind::Invalid, "a value that is too long");
    assert_eq!(load(&*backend, "k").await, Some(value("before")));

    let mut commit = swap(&key("root"), None, Some(&value("r")));
    commit.puts = vec![(key("n/1"), value("one")), (key("n/2"), data.clone())];
    assert_kind(backend.commit(commit).await, ErrorKind::Invalid, "a put that is too long");
    assert_eq!(load(&*backend, "root").await, None, "the root of a refused commit");
    let commit = swap(&key("root"), None, Some(&data));
    assert_kind(backend.commit(commit).await, ErrorKind::Invalid, "a root that is too long");
    assert_eq!(names(&*backend, "root").await, [""; 0]);
    save(&*backend, "k", &value("after")).await;
    assert_eq!(load(&*backend, "k").await, Some(value("after")), "the backend goes on");
}
