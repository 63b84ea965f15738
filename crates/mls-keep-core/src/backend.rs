//! [`StorageBackend`]: four methods are all that a store must have.

use async_trait::async_trait;
use bytes::Bytes;

use crate::capabilities::Capabilities;
use crate::commit::Commit;
use crate::error::Result;
use crate::key::Key;

/// Where bytes are kept. Sees only opaque keys and ciphertext.
///
/// Implement [`load`](Self::load), [`save`](Self::save), [`delete`](Self::delete) and [`list`](Self::list); the rest is
/// provided and works on those four. A store with transactions overrides [`commit`](Self::commit) with one transaction
/// and one flush. Say in [`capabilities`](Self::capabilities) what is true, and run the `mls-keep-conformance` suite.
///
/// # Why this shape
///
/// Nodes are immutable and each is written once under a key of its own; only a client's root is ever replaced. So a
/// commit can be made safe out of four plain operations: save the new nodes, swap the root, delete the old nodes
/// (copy-on-write, as LMDB and ZFS do it). There is no journal and nothing to recover.
///
/// # Errors
///
/// Absence is `Ok(None)`, never an error. A backend that cannot tell whether a write landed says
/// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown); it never repeats a failed flush and calls that a success. A task or thread that ends in the
/// middle of a write, by a panic too, is such a case. All kinds but this one promise that nothing was applied.
///
/// # A write that lands late
///
/// A write of unknown outcome may still be under way: a request that timed out, a server that has not noticed that the
/// connection is gone. It may take effect at any later time as long as its condition holds: a swap only while the stored
/// root is its [`expected`](crate::Swap::expected). So reading back that it is not there proves nothing. A
/// [`Keep`](crate::Keep) therefore puts an empty commit on top of the old root before it reports that a commit was not
/// applied: after that the late swap finds another root.
///
/// A write without a condition has nothing that holds it back: a save, a delete, the provided [`commit`](Self::commit), or
/// whatever else promises no more than [`SwapScope::OneWriter`](crate::SwapScope::OneWriter). There the backend itself must
/// not acknowledge a later write of the same key while the earlier one may still land: it waits for it, ends the connection
/// on which it travels and learns that the other side has ended it too, or is [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned) from then on.
///
/// # Opening
///
/// What a backend shows after it was opened is durable before it shows it. Opening reads what a process that was killed has
/// left in the system's cache, and power loss could still take that away after somebody has acted on it. So a log that was
/// not empty is flushed, and the directory of a new name is synced, before the first answer.
///
/// Methods may be called from several threads at once, and a returned future may be dropped before it is done: then the
/// write happens or it does not, and nothing else is harmed.
#[async_trait]
pub trait StorageBackend: Send + Sync + 'static {
    /// The value of `key`, or `None` if there is none.
    async fn load(&self, key: &Key) -> Result<Option<Bytes>>;

    /// Makes `data` the value of `key`. Atomic for this one key, and durable when `Ok`.
    async fn save(&self, key: &Key, data: Bytes) -> Result<()>;

    /// Removes `key` and its value. Removing what is absent is `Ok`.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// All keys that begin with `prefix`, complete and in byte order. The empty prefix lists everything.
    async fn list(&self, prefix: &str) -> Result<Vec<Key>>;

    /// At most `limit` keys that begin with `prefix` and come after `after`, in byte order. Fewer than `limit` means that
    /// these are the last.
    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let mut keys = self.list(prefix).await?;
        if let Some(after) = after {
            keys.retain(|key| key > after);
        }
        keys.truncate(limit);
        Ok(keys)
    }

    /// As [`list`](Self::list), for a caller that looks for what was left behind and can do so another time: keys that others
    /// wrote since this backend last loaded the root that they belong to may be left out, and those that others deleted since
    /// may still be listed. So nothing may be deleted for being listed here and not named by a root.
    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        self.list(prefix).await
    }

    /// The values of `keys`, in their order. All of one moment where [`atomic_commit`](Capabilities::atomic_commit) is
    /// promised: no commit lies between two of them. Otherwise each is of a moment of its own during the call, and a reader
    /// that misses a node loads the root again.
    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(self.load(key).await?);
        }
        Ok(values)
    }

    /// Applies `commit`. When `Ok`, its puts and its swap are durable; the puts are so before the swap, or with it. A reader
    /// of the root sees the old root with all of its nodes or the new root with all of its nodes, also after a crash at any
    /// point.
    ///
    /// Its deletes come with or after the swap. Where [`atomic_commit`](Capabilities::atomic_commit) is promised they are part
    /// of the commit. Otherwise they are best effort, and `Ok` says nothing about them: the caller deletes again what it
    /// still finds.
    ///
    /// The caller guarantees that no key stands in it twice, as [`Commit::check`] has it. A backend need not look.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the stored root is not `commit.swap.expected`; then nothing that a root names has
    /// changed. [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) as described above, for the swap: it landed, or it did not, or it may yet.
    ///
    /// The provided body compares and then saves. That is safe only while nobody else writes this root: an adapter that
    /// serves several users overrides this method, or holds a lock.
    async fn commit(&self, commit: Commit) -> Result<()> {
        for (key, data) in commit.puts {
            self.save(&key, data).await?;
        }
        let swap = commit.swap;
        swap.check(self.load(&swap.key).await?.as_deref())?;
        match swap.replacement {
            Some(replacement) => self.save(&swap.key, replacement).await?,
            None => self.delete(&swap.key).await?,
        }
        for key in commit.deletes {
            // The commit stands already, and deletes are best effort.
            if self.delete(&key).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Applies several commits, each on its own: one result for each, in their order. With one flush for all of them
    /// where the engine can.
    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(commits.len());
        for commit in commits {
            results.push(self.commit(commit).await);
        }
        results
    }

    /// What this backend promises. Never changes while it is open.
    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
    }

    /// Ends the use of the store and frees what it holds. Closing twice is `Ok`. If anything was freed, all other calls
    /// after this are [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned).
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
