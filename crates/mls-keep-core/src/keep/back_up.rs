//! [`ClientStore::back_up`]: from one root to an archive, while the client works.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;

use super::client::{ClientStore, ensure_active};
use super::moving::ensure_fenced;
use super::root::Root;
use super::scope::{ScopeId, ScopeTop, top_of};
use crate::archive::{
    Archive, ArchiveContents, ArchiveKind, ArchiveSummary, ArchiveWriter, Catalogue, LABEL_LEN, Label, ScopeEntry,
};
use crate::envelope::Encryption;
use crate::error::{Error, ErrorKind, Result};
use crate::helper::Begun;
use crate::map::{
    Leaf, LeafEntries, LeafEntry, LeafSlice, LeafValue, Leaves, NodeStore, Pointer, RecordRange, load_long, read_leaves,
};
use crate::secret_vec::SecretVec;

/// How often it goes on from a newer root, where others commit meanwhile.
const ATTEMPTS: usize = 32;

/// Scopes, or leaves of one, that are read together. While some are written, the next ones are read.
const BATCH: usize = 64;

/// What is backed up.
#[derive(Clone, Copy)]
pub struct BackupPlan<'a> {
    /// When, by the clock of the caller: milliseconds since 1970.
    created: u64,
    contents: ArchiveContents,
    is_kept: &'a (dyn Fn(&ScopeId, &[u8]) -> bool + Sync),
    since: Option<&'a Archive>,
}

/// An archive to which all parts were written, and nothing that makes it one.
pub(super) struct Written<'o> {
    writer: ArchiveWriter<'o>,
    number: u64,
    scopes: BTreeMap<ScopeId, ScopeEntry>,
}

impl<'a> BackupPlan<'a> {
    /// Everything, in an archive that stands alone. `created` is the time, milliseconds since 1970.
    #[must_use]
    pub fn new(created: u64) -> Self {
        Self { created, contents: ArchiveContents::Everything, is_kept: &|_, _| true, since: None }
    }

    /// Only the records for which `is_kept` says so, given their scope and their key. `contents` says what these are: a delta
    /// goes on from an archive of the same contents only.
    #[must_use]
    pub fn only(mut self, contents: ArchiveContents, is_kept: &'a (dyn Fn(&ScopeId, &[u8]) -> bool + Sync)) -> Self {
        self.contents = contents;
        self.is_kept = is_kept;
        self
    }

    /// Only what has changed since another backup, which is needed to restore this one.
    #[must_use]
    pub fn since(mut self, parent: &'a Archive) -> Self {
        self.since = Some(parent);
        self
    }
}

impl ClientStore {
    /// Writes the state after the newest commit as an archive to `out`. Takes the memory of a few nodes, of the longest value,
    /// and of a list of all leaves. `progress` gets how many bytes of values were written so far.
    ///
    /// The client can be used meanwhile, here and elsewhere. A node that a newer commit has removed is not missed: what was not
    /// read yet is taken from the newer root, and the archive is of that one.
    ///
    /// # Errors
    /// - `Conflict`: others commit so often that no root could be read to its end.
    /// - `Invalid`: the parent is of another keep, client, or contents.
    /// - `MovedOut`, `NotFound`, `RolledBack`: as for [`refresh`](Self::refresh). `Corrupt`; and the errors of the backend and
    ///   of `out`. What was written by then is refused everywhere.
    pub async fn back_up(
        &self,
        out: &mut (dyn Write + Send),
        encryption: &Encryption,
        plan: &BackupPlan<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<ArchiveSummary> {
        ensure_active(&self.root)?;
        let mut id = [0; 16];
        self.keep.entropy().fill(&mut id)?;
        let kind = match plan.since {
            Some(parent) => ArchiveKind::Delta { parent: parent.summary().id },
            None => ArchiveKind::Full,
        };
        self.write_state(out, id, kind, encryption, plan, progress).await?.finish()
    }

    pub(super) async fn write_state<'o>(
        &self,
        out: &'o mut (dyn Write + Send),
        id: [u8; 16],
        kind: ArchiveKind,
        encryption: &Encryption,
        plan: &BackupPlan<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Written<'o>> {
        self.check_parent(plan)?;
        let (mut root, mut stored) = self.newest(kind, &id).await?;
        let catalogue = Catalogue {
            kind,
            contents: plan.contents,
            created: plan.created,
            store_id: self.keep.store_id(),
            archives: root.archives.clone(),
            identity: root.identity.clone(),
        };
        let writer = ArchiveWriter::begin(out, id, catalogue, encryption, self.keep.entropy()).await?;
        let nodes = NodeStore::new(Arc::clone(self.keep.backend()), self.nodes.prefix().to_owned());
        let mut walk = Walk::new(nodes, writer, plan);
        for _ in 0..ATTEMPTS {
            let error = match walk.root(&root, progress).await {
                Ok(scopes) => {
                    // What is left has no other cause to fail than the sink, and little to write.
                    walk.writer.flush()?;
                    return Ok(Written { writer: walk.writer, number: root.number, scopes });
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => error,
                Err(error) => return Err(error),
            };
            let newest = self.newest(kind, &id).await?;
            if newest.1 == stored {
                return Err(error);
            }
            (root, stored) = newest;
        }
        Err(Error::new(ErrorKind::Conflict, "others commit so often that no state could be read: try again"))
    }

    /// The newest root, of which the archive `id` is to be.
    async fn newest(&self, kind: ArchiveKind, id: &[u8; 16]) -> Result<(Root, Option<Bytes>)> {
        let stored = self.keep.backend().load(&self.key).await?;
        let (root, stored) = match self.newer_root(stored).await? {
            Some(newer) => newer,
            None => (self.root.clone(), self.stored.clone()),
        };
        match kind {
            ArchiveKind::Move => ensure_fenced(&root, id)?,
            _ => ensure_active(&root)?,
        }
        Ok((root, stored))
    }

    fn check_parent(&self, plan: &BackupPlan<'_>) -> Result<()> {
        let Some(parent) = plan.since.map(Archive::summary) else { return Ok(()) };
        let same_client = parent.store_id == self.keep.store_id() && parent.identity == self.root.identity;
        let text = match () {
            () if !same_client => "the archive to go on from is of another client, or of another keep",
            () if parent.contents != plan.contents => {
                "the archive to go on from holds more or less than this one is to"
            }
            () => return Ok(()),
        };
        Err(Error::new(ErrorKind::Invalid, text))
    }
}

impl Written<'_> {
    /// Completes the archive.
    pub(super) fn finish(self) -> Result<ArchiveSummary> {
        self.writer.finish(self.number, self.scopes.values())
    }
}

/// Nodes that are being read.
type Reading = Begun<'static, Result<Vec<SecretVec>>>;

/// What was written so far, whatever root it was read from.
struct Walk<'a, 'o> {
    nodes: Arc<NodeStore>,
    writer: ArchiveWriter<'o>,
    plan: BackupPlan<'a>,
    /// Parts that are here, or in the archives that this one goes on from.
    written: HashSet<Label>,
    /// Scopes whose parts are all written.
    known: HashMap<ScopeId, ScopeEntry>,
}

impl<'a, 'o> Walk<'a, 'o> {
    fn new(nodes: NodeStore, writer: ArchiveWriter<'o>, plan: &BackupPlan<'a>) -> Self {
        let before = plan.since.map(|parent| parent.scopes().as_slice()).unwrap_or_default();
        let written = before.iter().flat_map(|scope| &scope.labels).copied().collect();
        let known = before.iter().map(|scope| (scope.id.clone(), scope.clone())).collect();
        Self { nodes: Arc::new(nodes), writer, plan: *plan, written, known }
    }

    /// Writes what `root` names and is not written yet. Returns its scopes.
    async fn root(
        &mut self,
        root: &Root,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<BTreeMap<ScopeId, ScopeEntry>> {
        let mut scopes = BTreeMap::new();
        let mut unknown = Vec::new();
        for LeafEntry { key, value } in root.directory.scan(&self.nodes, &RecordRange::all()).await? {
            let (id, top) = (ScopeId::from_key(&key), top_of(value)?);
            if self.plan.contents == ArchiveContents::OwnMaterial && id != ScopeId::client() {
                continue;
            }
            let version = label(&top.pointer);
            match self.known.get(&id).filter(|known| known.version == version) {
                Some(known) => drop(scopes.insert(id, ScopeEntry { flags: top.flags, ..known.clone() })),
                None => unknown.push((id, top)),
            }
        }
        let mut batches: VecDeque<_> = unknown.chunks(BATCH).collect();
        let mut ahead = read_tops(&self.nodes, batches.front()).await;
        while let (Some(batch), Some(reading)) = (batches.pop_front(), ahead) {
            ahead = read_tops(&self.nodes, batches.front()).await;
            for ((id, top), block) in batch.iter().zip(reading.finish().await?) {
                let labels = self.scope(id, Leaves::new(&top.pointer, block)?, progress).await?;
                let entry = ScopeEntry { id: id.clone(), flags: top.flags, version: label(&top.pointer), labels };
                self.known.insert(id.clone(), entry.clone());
                scopes.insert(id.clone(), entry);
            }
        }
        Ok(scopes)
    }

    async fn scope(
        &mut self,
        id: &ScopeId,
        mut leaves: Leaves,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Vec<Label>> {
        let mut labels = Vec::new();
        let mut ahead: Option<(Vec<Label>, Reading)> = None;
        loop {
            let (mut names, mut unread) = (Vec::new(), Vec::new());
            while unread.len() < BATCH
                && let Some(leaf) = leaves.next(&self.nodes).await?
            {
                let label = label(&leaf.pointer);
                labels.push(label);
                if !self.written.contains(&label) {
                    names.push(label);
                    unread.push(leaf);
                }
            }
            let next = if unread.is_empty() { None } else { Some((names, begin_leaves(&self.nodes, unread).await)) };
            if let Some((names, reading)) = std::mem::replace(&mut ahead, next) {
                self.parts(id, names, reading.finish().await?).await?;
                progress(self.writer.value_bytes());
            }
            if ahead.is_none() {
                return Ok(labels);
            }
        }
    }

    async fn parts(&mut self, scope: &ScopeId, labels: Vec<Label>, blocks: Vec<SecretVec>) -> Result<()> {
        for (label, block) in labels.into_iter().zip(blocks) {
            self.writer.begin_part(&label)?;
            match self.part(scope, &block).await {
                Ok(()) => self.writer.end_part()?,
                Err(error) => {
                    // If it is the archive that cannot be written, this says the same.
                    drop(self.writer.void_part());
                    return Err(error);
                }
            }
            self.written.insert(label);
        }
        Ok(())
    }

    async fn part(&mut self, scope: &ScopeId, block: &[u8]) -> Result<()> {
        let mut entries = LeafEntries::new(block)?;
        while let Some((key, value)) = entries.next()? {
            if !(self.plan.is_kept)(scope, key) {
                continue;
            }
            match value {
                LeafSlice::Inline(value) => self.writer.record(key, value)?,
                LeafSlice::Other(LeafValue::Chunked(list)) => {
                    let value = load_long(&self.nodes, &list).await?;
                    self.writer.record(key, value.as_slice())?;
                }
                LeafSlice::Other(_) => return Err(Error::new(ErrorKind::Corrupt, "a record holds a map")),
            }
        }
        Ok(())
    }
}

async fn read_tops(nodes: &Arc<NodeStore>, batch: Option<&&[(ScopeId, ScopeTop)]>) -> Option<Reading> {
    let pointers: Vec<_> = batch?.iter().map(|(_, top)| Arc::clone(&top.pointer)).collect();
    let nodes = Arc::clone(nodes);
    Some(Begun::new(async move { nodes.blocks(&pointers.iter().collect::<Vec<_>>()).await }).await)
}

async fn begin_leaves(nodes: &Arc<NodeStore>, leaves: Vec<Leaf>) -> Reading {
    let nodes = Arc::clone(nodes);
    Begun::new(async move { read_leaves(&nodes, leaves).await }).await
}

/// What a part, or a scope, is called: the beginning of its node's name, which nothing else has.
fn label(pointer: &Pointer) -> Label {
    let (label, _) = pointer.name().split_first_chunk::<LABEL_LEN>().expect("a name is longer than a label");
    *label
}
