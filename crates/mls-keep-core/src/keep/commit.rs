//! [`ClientStore::commit`]: from changed records to one [`Commit`] of the backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::{ClientStore, NO_FLAGS, top_of};
use super::root::{Root, digest};
use super::scope::{Changes, Committed, CommittedScope, RecordChange, ScopeChanges, ScopeId, ScopeVersion};
use crate::commit::{Commit, Swap};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::map::{Batch, Edits, LeafValue, RecordRange, Tree, replace_long, write_value};

/// Up to this length the directory's top node stands in the root, bytes: it saves a node for clients of few groups.
const INLINE_DIRECTORY_LEN: usize = 2 << 10;

/// Other writers of the same client can win this often before the caller is told.
const ATTEMPTS: usize = 16;

impl ClientStore {
    /// Applies `changes`, all or none of them, durable when `Ok`.
    ///
    /// If somebody else committed in between, the changes are applied to their root, as long as the scopes that are
    /// changed here are in the states that the changes were made from.
    ///
    /// # Errors
    /// `Conflict` if a scope is not in that state any more; then nothing was applied, and this reads from the newest
    /// root. `OutcomeUnknown` if the backend did not say and reading back failed, too. The errors of the backend.
    pub async fn commit(&mut self, changes: &Changes) -> Result<Committed> {
        for _ in 0..ATTEMPTS {
            match self.try_commit(changes).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    // Nothing new: the conflict is with the changes themselves.
                    if !self.refresh().await? {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
        Err(Error::new(ErrorKind::Conflict, "other writers of this client were always faster"))
    }

    async fn try_commit(&mut self, changes: &Changes) -> Result<Committed> {
        let mut batch = Batch::new(&self.nodes, self.keep.entropy());
        let built = self.build(changes, &mut batch).await;
        let (directory, scopes) = self.checked(built).await?;
        let (root, commit) = self.prepare(directory, &mut batch)?;
        let replacement = commit.swap.replacement.clone().unwrap_or_default();
        let committed =
            Committed { number: root.number, nodes: commit.puts.len(), stored_bytes: commit.stored_bytes(), scopes };
        self.land(commit).await?;
        batch.landed();
        self.root = root;
        self.stored = Some(replacement);
        Ok(committed)
    }

    /// Hands `commit`, which replaces or removes the root, to the backend. If that does not say how it went, the root does.
    pub(super) async fn land(&self, commit: Commit) -> Result<()> {
        let replacement = commit.swap.replacement.clone();
        match self.keep.backend().commit(commit).await {
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                // Roots are unique by their salt, so the stored bytes tell whether it was this commit.
                match self.keep.backend().load(&self.key).await {
                    Ok(stored) if stored == replacement => Ok(()),
                    Ok(stored) if stored == self.stored => {
                        Err(Error::new(ErrorKind::Unavailable, "the commit was not applied").with_source(error))
                    }
                    _ => Err(error),
                }
            }
            result => result,
        }
    }

    /// Seals what changes and returns the new directory.
    async fn build(
        &self,
        changes: &Changes,
        batch: &mut Batch<'_>,
    ) -> Result<(Tree, BTreeMap<ScopeId, CommittedScope>)> {
        let mut directory = Edits::new();
        let mut committed = BTreeMap::new();
        for (scope, changes) in &changes.scopes {
            let top = self.root.directory.get(&self.nodes, scope.as_key()).await?.map(top_of).transpose()?;
            if top.as_ref().map(|top| ScopeVersion(*top.name())) != changes.base {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "what the change was made from was changed by somebody else",
                ));
            }
            let tree = top.map_or(Tree::Empty, Tree::Stored);
            let (tree, scope_committed) = self.build_scope(&tree, changes, batch).await?;
            let entry = match tree {
                Tree::Stored(top) => Some(LeafValue::Map { flags: NO_FLAGS, top }),
                Tree::Empty | Tree::Inline(_) => None,
            };
            directory.insert(scope.as_key().into(), entry);
            committed.insert(scope.clone(), scope_committed);
        }
        let directory = self.root.directory.edit(batch, &directory, INLINE_DIRECTORY_LEN).await?;
        Ok((directory, committed))
    }

    async fn build_scope(
        &self,
        tree: &Tree,
        changes: &ScopeChanges,
        batch: &mut Batch<'_>,
    ) -> Result<(Tree, CommittedScope)> {
        let mut edits = Edits::new();
        let mut committed = CommittedScope::default();
        if changes.remove {
            for entry in tree.scan(&self.nodes, &RecordRange::all()).await? {
                if let LeafValue::Chunked(list) = &entry.value {
                    replace_long(batch, list, None, None).await?;
                }
                edits.insert(entry.key, None);
            }
        }
        for (key, change) in &changes.records {
            let old = if changes.remove { None } else { tree.get(&self.nodes, key).await? };
            let (new, base, layout) = match change {
                RecordChange::Remove => (None, None, None),
                RecordChange::Put { value, base } => {
                    // Chunks of a base that is not the stored value must not be kept: they may be gone.
                    let base = base.as_ref().filter(|base| base.is_stored_as(old.as_ref()));
                    let written = write_value(batch, self.root.seed, value, base)?;
                    if let Some(layout) = &written.layout {
                        committed.long.insert(key.clone(), value.with_layout(Arc::clone(layout)));
                    }
                    (Some(written.leaf), base, written.layout)
                }
            };
            if let Some(LeafValue::Chunked(list)) = &old {
                replace_long(batch, list, base, layout.as_deref()).await?;
            }
            edits.insert(key.clone(), new);
        }
        let tree = tree.edit(batch, &edits, 0).await?;
        if let Tree::Stored(top) = &tree {
            committed.version = Some(ScopeVersion(*top.name()));
        }
        Ok((tree, committed))
    }

    /// The next root and the commit that makes it.
    pub(super) fn prepare(&self, directory: Tree, batch: &mut Batch<'_>) -> Result<(Root, Commit)> {
        let atomic = self.keep.capabilities().atomic_commit;
        let root = Root {
            number: self.root.number + 1,
            previous: self.stored.as_deref().map(digest).unwrap_or_default(),
            identity: self.root.identity.clone(),
            seed: self.root.seed,
            standing: self.root.standing,
            archive_id: self.root.archive_id,
            reservations: Vec::new(),
            garbage: if atomic { Vec::new() } else { batch.replaced.clone() },
            directory,
        };
        let stored = self.keep.seal(&root, &self.token)?;
        let deletes = batch.replaced.iter().map(|name| self.nodes.key(name)).collect::<Result<Vec<Key>>>()?;
        let swap = Swap { key: self.key.clone(), expected: self.stored.clone(), replacement: Some(stored) };
        Ok((root, Commit { puts: std::mem::take(&mut batch.puts), swap, deletes }))
    }
}
