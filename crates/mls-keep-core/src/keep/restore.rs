//! [`Keep::restore_client`]: from archives to a client, all of it or nothing.
//!
//! Nodes are written as they fill, while the root that is there, or a tombstone, is replaced again and again by one that says the
//! same: a write to the client, or a sweep of nodes without a root, ends the restoration, and is not overlooked.
//! The restored client's own root comes last.

use std::error::Error as _;

use bytes::Bytes;

use super::client::ClientStore;
use super::commit::INLINE_DIRECTORY_LEN;
use super::outcome::decide;
use super::root::{Root, Standing};
use super::scope::{KNOWN_FLAGS, NEEDS_REJOIN, ScopeId};
use super::{Keep, Place};
use crate::archive::{Archive, ArchiveKind, Chain, ScopeEntry};
use crate::commit::{Commit, Swap};
use crate::error::{Error, ErrorKind, Result};
use crate::helper::Begun;
use crate::key::Key;
use crate::map::{Batch, BulkTree, LeafEntry, LeafValue, NodeStore, Tree, Value, write_value};

/// How much is written together, bytes as stored. While it is written, the next nodes are made.
const BATCH_LEN: usize = 4 << 20;

/// Whether a record is restored, given its scope, its key and its value.
type IsKept = dyn Fn(&ScopeId, &[u8], &Value) -> bool + Sync;

/// How a client is restored.
#[derive(Clone, Copy)]
pub struct RestorePlan<'a> {
    import: bool,
    replace: bool,
    is_kept: &'a IsKept,
}

impl<'a> RestorePlan<'a> {
    /// From a backup: every group is marked as one that must be entered anew. Only records for which `is_kept` says so are
    /// restored, given their scope, their key and their value.
    #[must_use]
    pub const fn new(is_kept: &'a IsKept) -> Self {
        Self { import: false, replace: false, is_kept }
    }

    /// From the archive of a move: the client goes on as it stood.
    #[must_use]
    pub fn import() -> Self {
        Self { import: true, replace: false, is_kept: &|_, _, _| true }
    }

    /// Also where the keep has a client of this identity, which is deleted in the same commit.
    #[must_use]
    pub const fn replace(mut self) -> Self {
        self.replace = true;
        self
    }
}

impl Keep {
    /// Makes the client whose state `archives` hold: a full archive, and its deltas in their order. It is there, all of it, when
    /// this returns; whatever ends it before leaves what was there before, and nodes that the next opening, [`Keep::sweep`] or
    /// another restoration deletes. `progress` gets how many bytes of values were read so far.
    ///
    /// # Errors
    /// - `Conflict`: there is a client of this identity, and it is not to be replaced; or somebody changed it, or swept the keep,
    ///   meanwhile; or the archive was imported into this keep before.
    /// - `Invalid`: the archives do not go on from each other, or it is no archive of a move that is to be imported.
    /// - `Corrupt`, `UnsupportedVersion`; and the errors of the backend and of reading the archives.
    pub async fn restore_client(
        &self,
        archives: &mut [Archive],
        plan: &RestorePlan<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<ClientStore> {
        let mut chain = Chain::new(archives)?;
        let last = chain.last()?;
        let is_move = last.summary().kind == ArchiveKind::Move;
        if plan.import && !is_move {
            return Err(Error::new(ErrorKind::Invalid, "this is a backup, not the archive of a move: restore it"));
        }
        let identity = last.summary().identity.clone();
        // A backup is never imported, and takes no room from what may be.
        let own = is_move.then_some(last.summary().id);
        let moved_with: Vec<_> = own.into_iter().chain(last.catalogue().archives.iter().copied()).collect();
        let place = Place::new(self.header().token(&identity)?)?;
        let ground = Ground::survey(self, &place, plan, &moved_with).await?;
        let nodes = NodeStore::new(self.backend().clone(), place.prefix.clone());
        let mut root = Root::new(&identity, self.entropy())?;
        root.remember(&ground.archives);
        root.remember(&moved_with);
        root.standing = if plan.import { Standing::Active } else { Standing::Restored };
        let mut builder = Builder::new(Batch::beside(&nodes, self.entropy()), root.seed, ground);
        let built = builder.state(&mut chain, plan, progress).await;
        let (mut ground, written) = builder.ground().await?;
        let landed = match (built, written) {
            (Ok(directory), Ok(())) => {
                root.directory = directory;
                ground.hand_over(root, builder).await
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        match landed {
            Ok((root, stored)) => {
                let mut client = ClientStore::at(self.clone(), place, root, Some(stored));
                client.tidy().await;
                Ok(client)
            }
            Err(error) => {
                if error.kind() != ErrorKind::OutcomeUnknown {
                    ground.clear(place).await;
                }
                Err(error)
            }
        }
    }
}

/// What is in the client's place while it is restored.
struct Ground<'k> {
    keep: &'k Keep,
    token: [u8; 16],
    key: Key,
    stored: Option<Bytes>,
    occupant: Occupant,
    /// Archives that the client in this place had to do with.
    archives: Vec<[u8; 16]>,
    /// Nodes that are there already: of a client that is replaced, or left by a restoration that was cut.
    old: Vec<Key>,
    /// Something was written.
    touched: bool,
}

enum Occupant {
    /// Nobody, or a tombstone.
    Nobody,
    /// A client that is replaced.
    Client(Box<Root>),
    /// A root that does not open, which is replaced.
    Unreadable,
}

impl<'k> Ground<'k> {
    async fn survey(keep: &'k Keep, place: &Place, plan: &RestorePlan<'_>, moved_with: &[[u8; 16]]) -> Result<Self> {
        let stored = keep.backend().load(&place.key).await?;
        let mut archives = Vec::new();
        let occupant = match &stored {
            None => Occupant::Nobody,
            Some(stored) => match keep.open_root(&place.token, stored).await {
                Ok(root) => {
                    archives.clone_from(&root.archives);
                    match root.standing {
                        Standing::Deleted => Occupant::Nobody,
                        _ => Occupant::Client(Box::new(root)),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => Occupant::Unreadable,
                Err(error) => return Err(error),
            },
        };
        let conflict = |text: &'static str| Err(Error::new(ErrorKind::Conflict, text));
        if plan.import && moved_with.first().is_some_and(|id| archives.contains(id)) {
            return conflict("the client came to this keep with this archive before, or left it with this archive");
        }
        let goes_on = match &occupant {
            Occupant::Nobody => true,
            // It has been elsewhere and comes back.
            Occupant::Client(root) if plan.import && root.standing == Standing::MovedOut => {
                root.archives.first().is_some_and(|id| moved_with.contains(id))
            }
            Occupant::Client(_) | Occupant::Unreadable => false,
        };
        if !goes_on && !plan.replace {
            return conflict("the keep has a client of this identity already");
        }
        let old = keep.backend().list(&place.prefix).await?;
        let (token, key) = (place.token, place.key.clone());
        Ok(Self { keep, token, key, stored, occupant, archives, old, touched: false })
    }

    /// Writes nodes that no root names yet.
    async fn write(&mut self, puts: Vec<(Key, Bytes)>) -> Result<()> {
        let mut same = match &self.occupant {
            Occupant::Nobody => Root::tombstone(&self.archives, self.keep.entropy())?,
            Occupant::Client(root) => root.next(self.stored.as_deref()),
            Occupant::Unreadable => {
                // There is no root that could be replaced by one like it.
                for (key, node) in puts {
                    self.keep.backend().save(&key, node).await?;
                }
                return Ok(());
            }
        };
        let replacement = self.keep.seal(&same, &self.token)?;
        self.commit(puts, replacement, Vec::new()).await.map_err(cut_short)?;
        if let Occupant::Client(root) = &mut self.occupant {
            std::mem::swap(root.as_mut(), &mut same);
        }
        Ok(())
    }

    /// Makes the restored client the one that is there.
    async fn hand_over(&mut self, mut root: Root, mut builder: Builder<'_>) -> Result<(Root, Bytes)> {
        let old = std::mem::take(&mut self.old);
        if !self.keep.capabilities().atomic_commit {
            let names: Vec<_> = old.iter().filter_map(|key| builder.batch.store.name(key)).collect();
            root.garbage.extend(&mut builder.batch, names)?;
        }
        // Also the pages of that list.
        builder.batch.collect(true)?;
        root.nodes = builder.written + builder.batch.puts.len() as u64;
        let root = root.next(self.stored.as_deref());
        let stored = self.keep.seal(&root, &self.token)?;
        let puts = std::mem::take(&mut builder.batch.puts);
        self.commit(puts, stored.clone(), old).await?;
        Ok((root, stored))
    }

    async fn commit(&mut self, puts: Vec<(Key, Bytes)>, replacement: Bytes, deletes: Vec<Key>) -> Result<()> {
        self.touched = true;
        let swap =
            Swap { key: self.key.clone(), expected: self.stored.clone(), replacement: Some(replacement.clone()) };
        decide(self.keep.backend().as_ref(), Commit { puts, swap, deletes }).await?;
        self.stored = Some(replacement);
        Ok(())
    }

    /// Deletes what was written in vain, as far as it can be done now.
    async fn clear(self, place: Place) {
        if !self.touched {
            return;
        }
        match self.occupant {
            Occupant::Nobody => drop(self.keep.bury_nodes(&place, self.stored, &self.archives).await),
            Occupant::Client(root) => drop(ClientStore::at(self.keep.clone(), place, *root, self.stored).gc().await),
            Occupant::Unreadable => {}
        }
    }
}

/// The maps of the client while they are made.
struct Builder<'b> {
    batch: Batch<'b>,
    /// Length of the puts that were counted, and their number.
    ready: (usize, usize),
    /// Nodes that were written.
    written: u64,
    seed: u64,
    ground: Option<Ground<'b>>,
    /// The write that is under way. It has the ground.
    writing: Option<Begun<'b, (Ground<'b>, Result<()>)>>,
}

impl<'b> Builder<'b> {
    fn new(batch: Batch<'b>, seed: u64, ground: Ground<'b>) -> Self {
        Self { batch, ready: (0, 0), written: 0, seed, ground: Some(ground), writing: None }
    }

    /// What was built on, and how the last write went.
    async fn ground(&mut self) -> Result<(Ground<'b>, Result<()>)> {
        let written = self.settle().await;
        let ground =
            self.ground.take().ok_or_else(|| Error::new(ErrorKind::Internal, "a restoration has no ground"))?;
        Ok((ground, written))
    }

    /// Waits for the write that is under way.
    async fn settle(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let (ground, written) = writing.finish().await;
        self.ground = Some(ground);
        written
    }

    /// Returns the directory.
    async fn state(
        &mut self,
        chain: &mut Chain<'_>,
        plan: &RestorePlan<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Tree> {
        let scopes = chain.last()?.scopes().clone();
        let mut directory = BulkTree::default();
        let mut read = 0;
        for scope in scopes.iter() {
            let flags = flags(scope, plan)?;
            let mut tree = BulkTree::default();
            for label in &scope.labels {
                let mut part = chain.part(label)?;
                while let Some((key, value)) = part.next()? {
                    read += value.as_slice().len() as u64;
                    if (plan.is_kept)(&scope.id, &key, &value) {
                        let value = write_value(&mut self.batch, self.seed, &value, None)?.leaf;
                        tree.push(&mut self.batch, LeafEntry { key, value })?;
                        self.write_if_many().await?;
                    }
                }
                progress(read);
            }
            if let Tree::Stored(top) = tree.finish(&mut self.batch, 0)? {
                let (key, value) = (scope.id.as_key().into(), LeafValue::Map { flags, top });
                directory.push(&mut self.batch, LeafEntry { key, value })?;
            }
            self.write_if_many().await?;
        }
        let directory = directory.finish(&mut self.batch, INLINE_DIRECTORY_LEN)?;
        self.batch.collect(true)?;
        Ok(directory)
    }

    async fn write_if_many(&mut self) -> Result<()> {
        self.batch.collect(false)?;
        let (len, counted) = &mut self.ready;
        *len += self.batch.puts.iter().skip(*counted).map(|(_, node)| node.len()).sum::<usize>();
        *counted = self.batch.puts.len();
        if *len < BATCH_LEN {
            return Ok(());
        }
        self.ready = (0, 0);
        self.settle().await?;
        let puts = std::mem::take(&mut self.batch.puts);
        self.written += puts.len() as u64;
        if let Some(mut ground) = self.ground.take() {
            let write = async move {
                let written = ground.write(puts).await;
                (ground, written)
            };
            self.writing = Some(Begun::new(write).await);
        }
        Ok(())
    }
}

/// Whatever became of a write before the last one: the restored client's root was not among it.
fn cut_short(error: Error) -> Error {
    if error.kind() != ErrorKind::OutcomeUnknown {
        return error;
    }
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let has_room =
        causes.filter_map(|cause| cause.downcast_ref::<Error>()).all(|cause| cause.kind() != ErrorKind::NoSpace);
    let kind = if has_room { ErrorKind::Unavailable } else { ErrorKind::NoSpace };
    let text = "the storage failed in the middle of it, so nothing was restored: open the store again and repeat it";
    Error::new(kind, text).with_source(error)
}

fn flags(scope: &ScopeEntry, plan: &RestorePlan<'_>) -> Result<u8> {
    if scope.flags & !KNOWN_FLAGS != 0 {
        return Err(Error::new(ErrorKind::UnsupportedVersion, "a scope is in a state that this program does not know"));
    }
    let is_group = scope.id.group_id().is_some();
    Ok(if is_group && !plan.import { scope.flags | NEEDS_REJOIN } else { scope.flags })
}
