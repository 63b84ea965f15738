//! [`Request`]: one call of a backend, and its [`Outcome`].

use std::fmt;

use bytes::Bytes;
use mls_keep_core::{Commit, Error, ErrorKind, Key, Result, StorageBackend};

use crate::support::shown;

/// One call, with all that it is given.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Save(Key, Bytes),
    Delete(Key),
    Commit(Commit),
    CommitMany(Vec<Commit>),
    Load(Key),
    LoadMany(Vec<Key>),
    List(String),
    ListPage(String, Option<Key>, usize),
}

/// What a call said.
#[derive(Eq, PartialEq)]
pub(super) enum Outcome {
    /// One result for each write.
    Written(Vec<Result<(), Failed>>),
    Values(Vec<Option<Bytes>>),
    Keys(Vec<Key>),
    /// A read that failed.
    Failed(Failed),
}

/// A failure. What counts is its kind; the rest is shown.
#[derive(Clone)]
pub(super) struct Failed(Error);

impl Failed {
    pub(super) fn is(&self, kind: ErrorKind) -> bool {
        self.0.kind() == kind
    }
}

impl PartialEq for Failed {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.0.kind())
    }
}

impl Eq for Failed {}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Values by their lengths and digests: a message is to be read.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(results) => f.debug_tuple("Written").field(results).finish(),
            Self::Values(values) => {
                let values: Vec<_> = values.iter().map(|data| shown(data.as_ref())).collect();
                f.debug_tuple("Values").field(&values).finish()
            }
            Self::Keys(keys) => f.debug_tuple("Keys").field(keys).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

pub(super) async fn call(backend: &dyn StorageBackend, request: &Request) -> Outcome {
    match request {
        Request::Save(key, data) => written(vec![backend.save(key, data.clone()).await]),
        Request::Delete(key) => written(vec![backend.delete(key).await]),
        Request::Commit(commit) => written(vec![backend.commit(commit.clone()).await]),
        Request::CommitMany(commits) => written(backend.commit_many(commits.clone()).await),
        Request::Load(key) => read(backend.load(key).await.map(|data| vec![data]), Outcome::Values),
        Request::LoadMany(keys) => read(backend.load_many(keys).await, Outcome::Values),
        Request::List(prefix) => read(backend.list(prefix).await, Outcome::Keys),
        Request::ListPage(prefix, after, limit) => {
            read(backend.list_page(prefix, after.as_ref(), *limit).await, Outcome::Keys)
        }
    }
}

fn written(results: Vec<Result<()>>) -> Outcome {
    Outcome::Written(results.into_iter().map(|result| result.map_err(Failed)).collect())
}

fn read<T>(result: Result<T>, outcome: impl FnOnce(T) -> Outcome) -> Outcome {
    result.map_or_else(|error| Outcome::Failed(Failed(error)), outcome)
}
