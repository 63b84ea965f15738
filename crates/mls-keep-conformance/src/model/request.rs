//! [`Request`]: one call of a backend, and its [`Outcome`].

use bytes::Bytes;
use mls_keep_core::{Commit, ErrorKind, Key, Result, StorageBackend};

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
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// One result for each write.
    Written(Vec<Result<(), ErrorKind>>),
    Values(Vec<Option<Bytes>>),
    Keys(Vec<Key>),
    /// A read that failed.
    Failed(ErrorKind),
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
    Outcome::Written(results.into_iter().map(|result| result.map_err(|error| error.kind())).collect())
}

fn read<T>(result: Result<T>, outcome: impl FnOnce(T) -> Outcome) -> Outcome {
    result.map_or_else(|error| Outcome::Failed(error.kind()), outcome)
}
