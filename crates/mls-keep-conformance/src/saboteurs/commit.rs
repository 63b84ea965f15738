//! The broken ways of `commit`.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use mls_keep_core::{Commit, Error, ErrorKind, Key, Result, StorageBackend as _, Swap};

use super::broken::{Broken, Defect, pause};
use crate::fault::pending_once;

impl Broken {
    /// What the defect makes of a commit before it is applied. `None`: it is not applied, and is `Ok`.
    pub(super) async fn twist(&self, mut commit: Commit) -> Result<Option<Commit>> {
        let stored = self.inner.load(&commit.swap.key).await?;
        let swap = &mut commit.swap;
        match self.defect {
            Some(Defect::AppliesHalf) => commit.puts.truncate(commit.puts.len() / 2),
            Some(Defect::SkipsSwapsAlone) if commit.puts.is_empty() && commit.deletes.is_empty() => return Ok(None),
            Some(Defect::KeepsRoots) if swap.replacement.is_none() => swap.replacement = swap.expected.clone(),
            Some(Defect::CutsLongDeletes) => commit.deletes.truncate(1000),
            Some(Defect::CutsLargeCommits) => commit.puts.truncate(16),
            Some(Defect::ForgetsDeletes) => commit.deletes.clear(),
            Some(Defect::SkipsAnUnchangedRoot) if swap.expected == swap.replacement => return Ok(None),
            Some(Defect::IgnoresExpected) => swap.expected = stored,
            Some(Defect::ComparesLengths)
                if stored.as_ref().map(Bytes::len) == swap.expected.as_ref().map(Bytes::len) =>
            {
                swap.expected = stored;
            }
            Some(Defect::EmptyRootIsNone) if stored.as_deref() == Some(b"") && swap.expected.is_none() => {
                swap.expected = stored;
            }
            Some(Defect::TakesAReturnForARepeat) => {
                let seen = self.deleted().contains(&repeat_of(swap));
                self.deleted().push(repeat_of(swap));
                if seen {
                    return Ok(None);
                }
            }
            Some(Defect::ComparesWithItsLastCommit) => {
                let last = self.cached().get(&swap.key).cloned();
                if last.is_some_and(|last| last == swap.expected) {
                    swap.expected = stored;
                }
            }
            Some(Defect::HasOneRoot) if swap.key.as_str().starts_with("root/") => swap.key = Key::new("root/1")?,
            Some(Defect::ComparesTooEarly) if swap.expected == stored => {
                self.meet();
                swap.expected = self.inner.load(&swap.key).await?;
            }
            Some(Defect::DeletesUpToAnAbsentOne) => {
                let mut there = Vec::new();
                for key in commit.deletes {
                    if self.inner.load(&key).await?.is_none() {
                        break;
                    }
                    there.push(key);
                }
                commit.deletes = there;
            }
            _ => {}
        }
        Ok(Some(commit))
    }

    /// What the defect does beside applying a commit.
    pub(super) async fn before_commit(&self, commit: &Commit) -> Result<()> {
        let conflicts = self.inner.load(&commit.swap.key).await? != commit.swap.expected;
        match self.defect {
            Some(Defect::RefusesRepeatedPuts) => {
                for (key, _) in &commit.puts {
                    if self.inner.load(key).await?.is_some() {
                        return Err(Error::new(ErrorKind::Invalid, "the node is there already"));
                    }
                }
            }
            Some(Defect::ConflictKeepsPuts) => {
                for (key, data) in &commit.puts {
                    self.inner.save(key, data.clone()).await?;
                }
            }
            Some(Defect::DeletesBeforeSwap) => {
                for key in &commit.deletes {
                    self.inner.delete(key).await?;
                }
            }
            Some(Defect::NodesAfterRoot) => {
                let swap = commit.swap.clone();
                self.inner.commit(Commit { puts: Vec::new(), swap, deletes: Vec::new() }).await?;
                pause();
            }
            Some(Defect::ConflictIsBusy) if conflicts => {
                return Err(Error::new(ErrorKind::Busy, "somebody else was faster"));
            }
            Some(Defect::ErrorShowsRoot) if conflicts => {
                let stored = self.inner.load(&commit.swap.key).await?;
                return Err(Error::new(ErrorKind::Conflict, format!("the root is {stored:?}")));
            }
            Some(Defect::PoisonedByConflicts) if conflicts => {
                self.conflicts.fetch_add(1, Ordering::SeqCst);
            }
            Some(Defect::LeavesItsLock) => {
                if self.inside.swap(1, Ordering::SeqCst) == 1 {
                    return Err(Error::new(ErrorKind::Poisoned, "a commit has not ended"));
                }
                pending_once().await;
                self.inside.store(0, Ordering::SeqCst);
            }
            _ => {}
        }
        Ok(())
    }

    /// Remembers what the next open takes back of a commit.
    pub(super) async fn remember_commit(&self, commit: &Commit) -> Result<()> {
        let written = || commit.puts.iter().map(|(key, _)| key).chain(std::iter::once(&commit.swap.key));
        match self.defect {
            Some(Defect::LosesTheLastCommit) => {
                self.undo.entries().clear();
                self.remember(written().chain(&commit.deletes)).await?;
            }
            Some(Defect::WritesAtClose | Defect::WritesWhenItEnds) => {
                self.remember(written().chain(&commit.deletes)).await?
            }
            Some(Defect::TearsTheLastValue) => {
                let half = commit.swap.replacement.as_ref().map(|root| root.slice(..root.len() / 2));
                *self.undo.entries() = vec![(commit.swap.key.clone(), half)];
            }
            _ => {}
        }
        Ok(())
    }
}

/// A name for a swap that is the same for the same swap.
fn repeat_of(swap: &Swap) -> Key {
    let text = format!("{:?} {:?} {:?}", swap.key, swap.expected.as_deref(), swap.replacement.as_deref());
    let sum = text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Key::new(&sum.to_string()).expect("digits are a key")
}
