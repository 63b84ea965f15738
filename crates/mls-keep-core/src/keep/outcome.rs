//! What became of a commit. "Not applied" is said only when it can no longer be applied (docs/architecture.md, "Forward
//! only").

use bytes::Bytes;
use tracing::{Instrument as _, debug_span, info, warn};

use super::client::{ClientStore, client_gone};
use super::root::{Descent, Root, digest};
use super::scope::Committed;
use crate::backend::StorageBackend;
use crate::commit::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Batch, NodeName};

/// How often an outcome is asked for before it stays unknown.
const ATTEMPTS: usize = 8;

/// A commit that was handed to the backend, until its outcome is seen. It stays when the caller's future is dropped.
pub(super) struct InDoubt {
    root: Root,
    replacement: Bytes,
    /// The nodes that it wrote, where they are stored one by one.
    nodes: Vec<NodeName>,
    /// What the caller of [`ClientStore::commit`] is given if it was applied.
    committed: Option<Committed>,
    /// What is put on top of the old root. It is made once: one whose own outcome is not known must be recognised later.
    fence: Option<(Root, Commit)>,
}

impl InDoubt {
    /// Whether what is stored in the root's place was put there for this commit.
    pub(super) fn has_made(&self, stored: Option<&Bytes>) -> bool {
        let fence = self.fence.as_ref().and_then(|(_, commit)| commit.swap.replacement.as_ref());
        stored.is_some_and(|stored| *stored == self.replacement || Some(stored) == fence)
    }
}

impl ClientStore {
    /// Hands `commit`, which makes `root`, to the backend. When `Ok` this reads from `root`, and `committed` is given back.
    ///
    /// # Errors
    /// `Unavailable` and what else the backend says: not applied, now or later. `Conflict`: not applied, since somebody
    /// else was faster. `OutcomeUnknown` if it cannot be found out now.
    pub(super) async fn hand_over(
        &mut self,
        root: Root,
        commit: Commit,
        committed: Option<Committed>,
    ) -> Result<Option<Committed>> {
        let replacement = commit.swap.replacement.clone().unwrap_or_default();
        let nodes = match self.keep.capabilities().atomic_commit {
            true => Vec::new(),
            false => commit.puts.iter().filter_map(|(key, _)| self.nodes.name(key)).collect(),
        };
        self.in_doubt = Some(InDoubt { root, replacement, nodes, committed, fence: None });
        let write = debug_span!("write", nodes = commit.puts.len(), deletes = commit.deletes.len());
        match self.keep.backend().commit(commit).instrument(write).await {
            Ok(()) => Ok(self.applied()),
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                warn!(%error, "the store does not say whether it took a commit: it is asked");
                self.find_out(error).await
            }
            Err(error) => {
                self.not_applied();
                Err(error)
            }
        }
    }

    /// Finds out what became of an earlier commit whose future was dropped, or that ended with `OutcomeUnknown`. Every call
    /// that reads or replaces the root does so first.
    ///
    /// Returns what an earlier [`commit`](Self::commit) made, if that is what was in doubt and it was applied.
    ///
    /// # Errors
    /// `OutcomeUnknown` if the store cannot be asked now; `RolledBack` and `NotFound` as for
    /// [`refresh`](ClientStore::refresh).
    pub async fn settle(&mut self) -> Result<Option<Committed>> {
        if self.in_doubt.is_none() {
            return Ok(None);
        }
        let unknown = Error::new(
            ErrorKind::OutcomeUnknown,
            "whether an earlier commit was applied is not known, and the store cannot be asked now: try again",
        );
        match self.find_out(unknown).await {
            // Nobody waits for the answer that it was not applied.
            Err(error)
                if self.in_doubt.is_none()
                    && matches!(
                        error.kind(),
                        ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::OutcomeUnknown
                    ) =>
            {
                Ok(None)
            }
            settled => settled,
        }
    }

    /// Reads the root, and says whether the commit in doubt made it. If the old root is still there, a fence is put on top
    /// of it: an empty commit, after which the one in doubt does not find what it expects, however late it comes.
    ///
    /// `error` is what is said if the store cannot be asked.
    async fn find_out(&mut self, error: Error) -> Result<Option<Committed>> {
        for _ in 0..ATTEMPTS {
            let Ok(stored) = self.keep.backend().load(&self.key).await else { break };
            let Some(doubt) = &self.in_doubt else { break };
            if stored.as_ref() == Some(&doubt.replacement) {
                info!("the commit in doubt was applied");
                return Ok(self.applied());
            }
            if stored != self.stored {
                let is_fence = |(_, commit): &&(Root, Commit)| commit.swap.replacement == stored;
                return match doubt.fence.as_ref().filter(is_fence).cloned() {
                    Some((root, commit)) => self.fenced(root, commit, error),
                    None => self.find_out_under(stored, error).await,
                };
            }
            let (root, commit) = match &doubt.fence {
                Some(fence) => fence.clone(),
                None => match self.fence().await {
                    Ok(fence) => fence,
                    Err(_) => break,
                },
            };
            if let Some(doubt) = &mut self.in_doubt {
                doubt.fence = Some((root.clone(), commit.clone()));
            }
            match self.keep.backend().commit(commit.clone()).await {
                Ok(()) => return self.fenced(root, commit, error),
                Err(refused) if matches!(refused.kind(), ErrorKind::Conflict | ErrorKind::OutcomeUnknown) => {}
                Err(_) => break,
            }
        }
        Err(error)
    }

    /// A root that says what the one before it says, or a tombstone if there is no client yet; and the commit that makes it.
    async fn fence(&self) -> Result<(Root, Commit)> {
        let batch = Batch::new(&self.nodes, self.keep.entropy());
        if self.is_new() {
            let root = Root::tombstone(&self.root.archives, self.keep.entropy())?;
            let replacement = self.keep.seal(&root, &self.token)?;
            return Ok((root, self.swap_to(replacement)));
        }
        let nodes = self.in_doubt.iter().flat_map(|doubt| &doubt.nodes);
        let deletes = nodes.map(|name| self.nodes.key(name)).collect::<Result<_>>()?;
        let (root, commit, _) =
            self.prepare(self.root.directory.clone(), batch, deletes, self.collected.as_deref(), &|_| ()).await?;
        Ok((root, commit))
    }

    fn fenced(&mut self, root: Root, fence: Commit, error: Error) -> Result<Option<Committed>> {
        info!("the commit in doubt was not applied, and cannot be any more");
        self.in_doubt = None;
        let replacement = fence.swap.replacement.unwrap_or_default();
        if self.is_new() {
            // The client is as new as before, on a tombstone.
            self.stored = Some(replacement);
        } else {
            self.adopt(root, replacement);
        }
        Err(Error::new(ErrorKind::Unavailable, "the commit was not applied, and cannot be any more").with_source(error))
    }

    /// Another root than the old one and the new one is there: somebody else made it, before or after the commit in doubt.
    async fn find_out_under(&mut self, stored: Option<Bytes>, error: Error) -> Result<Option<Committed>> {
        let Some(doubt) = &self.in_doubt else { return Err(error) };
        let Some(stored) = stored else {
            self.in_doubt = None;
            return Err(client_gone());
        };
        let root = match self.keep.open_root(&self.token, &stored).await {
            Ok(root) => root,
            Err(_) => return Err(error),
        };
        match root.descent(doubt.root.seed, doubt.root.number, &digest(&doubt.replacement)) {
            Descent::After => {
                info!("the commit in doubt was applied, and another writer has committed since");
                Ok(self.applied())
            }
            Descent::Unknown => {
                warn!("what became of the commit in doubt cannot be said any more");
                // Not in doubt any more: what it expects is gone for good. But what came of it is under too many others.
                self.in_doubt = None;
                Err(Error::new(
                    ErrorKind::OutcomeUnknown,
                    "whether the commit was applied cannot be said any more, since others committed often: read the records",
                )
                .with_source(error))
            }
            Descent::Elsewhere | Descent::OtherClient => {
                info!("the commit in doubt was not applied: another writer was faster");
                self.not_applied();
                if !self.is_new() {
                    self.ensure_follows(&root)?;
                }
                Err(Error::new(ErrorKind::Conflict, "somebody else was faster").with_source(error))
            }
        }
    }

    fn applied(&mut self) -> Option<Committed> {
        let doubt = self.in_doubt.take()?;
        self.abandoned.clear();
        self.adopt(doubt.root, doubt.replacement);
        doubt.committed
    }

    fn not_applied(&mut self) {
        if let Some(doubt) = self.in_doubt.take() {
            self.abandoned.extend(doubt.nodes);
        }
    }
}

const UNDECIDED: &str =
    "whether the commit was applied is not known, and the store cannot be asked now: repeat the call";

/// Hands `commit` to `backend` until it is known to be applied or refused. For commits that may be repeated as they are.
///
/// # Errors
/// Those of the backend; `OutcomeUnknown` if it cannot be found out.
pub(super) async fn decide(backend: &dyn StorageBackend, commit: Commit) -> Result<()> {
    let mut result = backend.commit(commit.clone()).await;
    let mut in_doubt = false;
    for _ in 0..ATTEMPTS {
        let Err(error) = &result else { break };
        in_doubt |= error.kind() == ErrorKind::OutcomeUnknown;
        if !in_doubt {
            break;
        }
        let Ok(stored) = backend.load(&commit.swap.key).await else {
            return Err(Error::new(ErrorKind::OutcomeUnknown, UNDECIDED).with_source(error.clone()));
        };
        if stored == commit.swap.replacement {
            return Ok(());
        }
        if stored != commit.swap.expected {
            return Err(Error::new(ErrorKind::Conflict, "somebody else was faster"));
        }
        result = backend.commit(commit.clone()).await;
    }
    // What the last attempt said says nothing of the ones before.
    result.map_err(
        |error| if in_doubt { Error::new(ErrorKind::OutcomeUnknown, UNDECIDED).with_source(error) } else { error },
    )
}
