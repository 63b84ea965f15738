//! What errors say, and that the backend goes on after them.

use std::error::Error as _;

use bytes::Bytes;
use mls_keep_core::{Error, ErrorKind};

use crate::harness::Harness;
use crate::support::{assert_kind, key, load, open, save, swap, value};

/// Everything that an error shows to a person or a log.
fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(inner) = source {
        text += &format!(" {inner} {inner:?}");
        source = inner.source();
    }
    text
}

/// A conflict's error shows no bytes of any value: neither the stored root nor the expected one nor the nodes.
pub async fn no_values_in_errors(harness: &dyn Harness) {
    let backend = open(harness).await;
    let secret = |word: &str| value(&format!("{word}-SECRET-{word}"));
    save(&*backend, "root", &secret("stored")).await;
    let mut commit = swap(&key("root"), Some(&secret("expected")), Some(&secret("replacement")));
    commit.puts = vec![(key("n/1"), secret("node"))];
    let error = backend.commit(commit).await.expect_err("the commit conflicts");
    let text = shown(&error);
    let numbers = format!("{:?}", b"SECRET").trim_matches(['[', ']']).to_owned();
    assert!(!text.contains("SECRET") && !text.contains(&numbers), "an error shows a value: {text}");
    assert!(!error.to_string().is_empty(), "an error says something");
}

/// A conflict is temporary: repeating the operation may succeed.
pub async fn conflict_is_temporary(harness: &dyn Harness) {
    let backend = open(harness).await;
    let result = backend.commit(swap(&key("root"), Some(&value("x")), None)).await;
    let error = result.expect_err("a root expected in an empty store");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.kind().is_temporary());
}

/// Any number of conflicts leaves the backend as usable as before.
pub async fn goes_on_after_conflicts(harness: &dyn Harness) {
    let backend = open(harness).await;
    let (stored, root) = (value("stored"), key("root"));
    save(&*backend, "root", &stored).await;
    for round in 0..50 {
        let mut commit = swap(&root, None, Some(&value("other")));
        commit.puts = vec![(key(&format!("n/{round}")), Bytes::from(vec![0; 2000]))];
        assert_kind(backend.commit(commit).await, ErrorKind::Conflict, "a commit that expects no root");
    }
    backend.commit(swap(&root, Some(&stored), Some(&value("next")))).await.expect("a good commit succeeds");
    save(&*backend, "k", &value("x")).await;
    assert_eq!(load(&*backend, "root").await, Some(value("next")));
    assert_eq!(load(&*backend, "k").await, Some(value("x")));
    assert_eq!(backend.list("root").await.expect("listing succeeds"), [root]);
}
