//! The broken ways of `commit_many`.

use std::collections::HashSet;

use mls_keep_core::{Commit, Error, ErrorKind, Result, StorageBackend as _};

use super::broken::{Broken, Defect};

/// More commits than this are lost by [`Defect::CutsLongBatches`].
const LONG: usize = 256;

fn conflict() -> Error {
    Error::new(ErrorKind::Conflict, "another commit of the batch conflicts")
}

impl Broken {
    pub(super) async fn batch(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        let mut results: Vec<Result<()>> = Vec::new();
        let mut touched = HashSet::new();
        for (index, mut commit) in commits.into_iter().enumerate() {
            if self.has(Defect::BatchComparesFirst) && touched.contains(&commit.swap.key) {
                // As if all of them were compared before any of them is applied.
                commit.swap.expected = self.inner.load(&commit.swap.key).await.ok().flatten();
            }
            let late = self.has(Defect::BatchSeesOnlyTheStart) && touched.contains(&commit.swap.key);
            let stopped = self.has(Defect::BatchStopsAtConflict) && results.iter().any(Result::is_err);
            touched.insert(commit.swap.key.clone());
            if late || stopped {
                results.push(Err(conflict()));
            } else if self.has(Defect::CutsLongBatches) && index >= LONG {
                results.push(Ok(()));
            } else {
                if self.has(Defect::BatchIsNotFlushed) {
                    // Memory does not fail.
                    drop(self.remember_batch(&commit).await);
                }
                results.push(self.commit(commit).await);
            }
        }
        if self.has(Defect::BatchAnswersOnce) {
            results = vec![results.into_iter().collect()];
        }
        results
    }
}
