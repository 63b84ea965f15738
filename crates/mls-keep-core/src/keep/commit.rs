//! [`ClientStore::commit`]: from changed records to one [`Commit`] of the backend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{debug, instrument};

use super::client::{ClientStore, ensure_active};
use super::garbage::Garbage;
use super::root::Root;
use super::scope::{
    Changes, Committed, CommittedScope, NEEDS_REJOIN, RecordChange, ScopeChanges, ScopeId, ScopeTop, top_of,
};
use crate::commit::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::map::{
    Batch, Edits, LeafValue, NodeName, RecordRange, Tree, Written, names_below, replace_long, write_value,
};

/// Up to this length the directory's top node stands in the root, bytes: it saves a node for clients of few groups.
pub(super) const INLINE_DIRECTORY_LEN: usize = 2 << 10;

/// Other writers of the same client can win this often before the caller gets `Conflict`.
const ATTEMPTS: usize = 16;

/// What a commit does.
pub(super) struct Step<'s> {
    pub(super) changes: &'s Changes,
    /// Every group that `changes` leaves alone must be entered anew.
    pub(super) mark_groups: bool,
    pub(super) change_root: &'s (dyn Fn(&mut Root) + Sync),
}

impl<'s> Step<'s> {
    pub(super) fn new(changes: &'s Changes) -> Self {
        Self { changes, mark_groups: false, change_root: &|_| () }
    }
}

impl ClientStore {
    /// Applies `changes`, all or none of them, durable when `Ok`.
    ///
    /// If somebody else committed in between, the changes are applied to their root, as long as the scopes that are
    /// changed here are in the states that the changes were made from.
    ///
    /// # Errors
    /// - `Conflict`: a scope is not in that state any more. Nothing was applied, and this reads from the newest root.
    /// - `Unavailable`, and what else the backend says: nothing was applied, and it cannot be any more.
    /// - `OutcomeUnknown`: the backend did not say, and it cannot be found out now. The next call finds it out first.
    /// - `RolledBack`, `NotFound`, `MovedOut`: as for [`refresh`](Self::refresh). Nothing was applied.
    pub async fn commit(&mut self, changes: &Changes) -> Result<Committed> {
        self.settle().await?;
        ensure_active(&self.root)?;
        self.commit_step(&Step::new(changes)).await
    }

    pub(super) async fn commit_step(&mut self, step: &Step<'_>) -> Result<Committed> {
        for _ in 0..ATTEMPTS {
            match self.try_commit(step).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    // Nothing new: the conflict is with the changes themselves.
                    if !self.refresh().await? {
                        return Err(error);
                    }
                    debug!("another writer was faster: the changes are applied to what it left");
                }
                other => return other,
            }
        }
        Err(Error::new(ErrorKind::Conflict, "other writers of this client were always faster"))
    }

    /// As [`commit`](Self::commit), but a `Conflict` also if somebody else changed anything at all since this read the root
    /// that it reads from. It goes on reading from that one.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_alone(&mut self, changes: &Changes) -> Result<Committed> {
        self.settle().await?;
        ensure_active(&self.root)?;
        self.try_commit(&Step::new(changes)).await
    }

    #[instrument(
        name = "commit",
        level = "debug",
        skip_all,
        fields(client = self.own_label(), scopes = step.changes.scopes.len()),
        err(level = "debug")
    )]
    pub(super) async fn try_commit(&mut self, step: &Step<'_>) -> Result<Committed> {
        self.collect_if_long().await;
        let mut batch = Batch::new(&self.nodes, self.keep.entropy());
        let built = self.build(step, &mut batch).await;
        let (directory, scopes) = self.checked(built).await?;
        let prepared = self.prepare(directory, batch, Vec::new(), self.collected.as_deref(), step.change_root).await;
        let (root, commit, written) = self.checked(prepared).await?;
        let committed =
            Committed { number: root.number, nodes: commit.puts.len(), stored_bytes: commit.stored_bytes(), scopes };
        let committed = self.hand_over(root, commit, Some(committed)).await?;
        self.nodes.applied(written);
        if let Some(Committed { number, nodes, stored_bytes, .. }) = &committed {
            debug!(number, nodes, bytes = stored_bytes, "committed");
        }
        committed.ok_or_else(|| Error::new(ErrorKind::Internal, "a commit was applied and is not known"))
    }

    /// Seals what changes and returns the new directory.
    async fn build(&self, step: &Step<'_>, batch: &mut Batch<'_>) -> Result<(Tree, BTreeMap<ScopeId, CommittedScope>)> {
        let mut directory = Edits::new();
        let mut committed = BTreeMap::new();
        for (scope, changes) in &step.changes.scopes {
            let top = self.root.directory.get(&self.nodes, scope.as_key()).await?.map(top_of).transpose()?;
            if top.as_ref().map(ScopeTop::version) != changes.base {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "what the change was made from was changed by somebody else",
                ));
            }
            let flags = changes.flags(top.as_ref().map_or(0, |top| top.flags));
            let tree = match top {
                Some(top) if changes.remove => {
                    batch.replaced.append(&mut names_below(&self.nodes, &top.pointer).await?);
                    Tree::Empty
                }
                Some(top) => Tree::Stored(top.pointer),
                None => Tree::Empty,
            };
            let (tree, mut scope_committed) = self.build_scope(&tree, changes, batch).await?;
            let entry = match tree {
                Tree::Stored(pointer) => {
                    let top = ScopeTop { pointer, flags };
                    scope_committed.version = Some(top.version());
                    Some(LeafValue::Map { flags, top: top.pointer })
                }
                Tree::Empty | Tree::Inline(_) => None,
            };
            directory.insert(scope.as_key().into(), entry);
            committed.insert(scope.clone(), scope_committed);
        }
        if step.mark_groups {
            self.mark_groups(&mut directory).await?;
        }
        let directory = self.root.directory.edit(batch, &directory, INLINE_DIRECTORY_LEN).await?;
        Ok((directory, committed))
    }

    /// Marks every group that `directory` does not change.
    async fn mark_groups(&self, directory: &mut Edits) -> Result<()> {
        for entry in self.root.directory.scan(&self.nodes, &RecordRange::all()).await? {
            let top = top_of(entry.value)?;
            let is_group = ScopeId::from_key(&entry.key).group_id().is_some();
            if is_group && !directory.contains_key(&entry.key) {
                let marked = LeafValue::Map { flags: top.flags | NEEDS_REJOIN, top: top.pointer };
                directory.insert(entry.key, Some(marked));
            }
        }
        Ok(())
    }

    async fn build_scope(
        &self,
        tree: &Tree,
        changes: &ScopeChanges,
        batch: &mut Batch<'_>,
    ) -> Result<(Tree, CommittedScope)> {
        let mut edits = Edits::new();
        let mut committed = CommittedScope::default();
        for (key, change) in &changes.records {
            let old = match tree.get(&self.nodes, key).await? {
                Some(LeafValue::Chunked(list)) => Some(list),
                _ => None,
            };
            let (new, base, layout) = match change {
                RecordChange::Remove => (None, None, None),
                RecordChange::Put { value, base } => {
                    // Chunks of a base that is not the stored value must not be kept: they may be gone.
                    let base = base.as_ref().filter(|base| old.as_ref().is_some_and(|list| base.is_stored_as(list)));
                    let written = write_value(batch, self.root.seed, value, base)?;
                    if let Some(layout) = &written.layout {
                        committed.long.insert(key.clone(), value.with_layout(Arc::clone(layout)));
                    }
                    (Some(written.leaf), base, written.layout)
                }
            };
            if let Some(list) = &old {
                replace_long(batch, list, base, layout.as_deref()).await?;
            }
            edits.insert(key.clone(), new);
        }
        let tree = if edits.is_empty() { tree.clone() } else { tree.edit(batch, &edits, 0).await? };
        Ok((tree, committed))
    }

    /// The next root, the commit that makes it, and what it writes. `deletes` go with what `batch` replaces. `collected` is as
    /// in [`ClientStore`].
    pub(super) async fn prepare(
        &self,
        directory: Tree,
        mut batch: Batch<'_>,
        deletes: Vec<Key>,
        collected: Option<&[NodeName]>,
        change_root: &(dyn Fn(&mut Root) + Sync),
    ) -> Result<(Root, Commit, Written)> {
        let atomic = self.keep.capabilities().atomic_commit;
        let mut root = self.root.next(self.stored.as_deref());
        let mut deletes: BTreeSet<Key> = deletes.into_iter().collect();
        for name in &self.abandoned {
            deletes.insert(self.nodes.key(name)?);
        }
        match collected {
            Some(pages) => {
                root.garbage = Garbage::default();
                batch.replaced.extend(pages);
            }
            // Of a backend that it was copied from.
            None if atomic => {
                let listed = root.garbage.list(&self.nodes).await?;
                for name in &listed.names {
                    deletes.insert(self.nodes.key(name)?);
                }
                root.garbage = Garbage::default();
                batch.replaced.extend(listed.pages);
            }
            None => {}
        }
        let replaced = batch.replaced.len() as u64;
        for name in &batch.replaced {
            deletes.insert(self.nodes.key(name)?);
        }
        if !atomic {
            let names: Vec<_> = deletes.iter().filter_map(|key| self.nodes.name(key)).collect();
            root.garbage.extend(&mut batch, names)?;
        }
        let puts = std::mem::take(&mut batch.puts);
        root.nodes = (root.nodes + puts.len() as u64).saturating_sub(replaced);
        root.directory = directory;
        change_root(&mut root);
        let stored = self.keep.seal(&root, &self.token)?;
        let commit = Commit { puts, deletes: deletes.into_iter().collect(), ..self.swap_to(stored) };
        Ok((root, commit, batch.finish()))
    }
}
