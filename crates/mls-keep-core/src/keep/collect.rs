//! Nodes that no root names: what the root lists as garbage, and what commits that came to nothing have left.

use std::collections::BTreeSet;

use tracing::{debug, instrument};

use super::client::ClientStore;
use super::root::Standing;
use super::{Keep, Place};
use crate::error::{ErrorKind, Result};
use crate::map::{Batch, NodeName};
use crate::names;

/// A list of garbage longer than this, and than a share of all nodes, is looked through before the next commit.
const LONG_LIST: usize = 64;
/// One in so many nodes.
const SHARE: usize = 16;

/// A client of more nodes is not looked through when it is opened: listing them would take longer than opening.
const MAX_LISTED_AT_OPEN: u64 = 20_000;

/// How often a client is looked through again that others write to.
const ATTEMPTS: usize = 8;

/// Keys that are listed at once by a sweep.
const PAGE: usize = 10_000;

/// What [`Keep::sweep`] did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Swept {
    /// Clients that were looked through.
    pub clients: usize,
    /// Nodes that were deleted.
    pub nodes: usize,
    /// Clients that were left as they are, since their root does not open here or somebody writes to them all the time.
    pub skipped: usize,
}

impl Keep {
    /// Deletes all nodes that no root names, of every client and of clients that are gone: what interrupted commits and
    /// interrupted deletions have left. `progress` gets how many clients were looked through.
    ///
    /// Commits that are under way, here or in other processes, lose nothing: each finds its root replaced and starts again.
    ///
    /// # Errors
    /// Those of the backend. What was deleted stays deleted, and a repeated call goes on.
    pub async fn sweep(&self, progress: &mut (dyn FnMut(usize) + Send)) -> Result<Swept> {
        let mut swept = Swept::default();
        let mut owners = BTreeSet::new();
        for key in self.backend().list(names::ROOTS).await? {
            let name = key.as_str().strip_prefix(names::ROOTS).unwrap_or_default();
            match crate::text::decode(name) {
                Some(token) => drop(owners.insert(token)),
                None => swept.skipped += 1,
            }
        }
        owners.extend(self.owners_of_nodes().await?);
        for token in owners {
            match self.sweep_client(Place::new(token)?).await {
                Ok(nodes) => swept.nodes += nodes,
                Err(error) if is_of_one_client(error.kind()) => swept.skipped += 1,
                Err(error) => return Err(error),
            }
            swept.clients += 1;
            progress(swept.clients);
        }
        Ok(swept)
    }

    /// Deletes the nodes at `place` that no root names. Returns how many.
    async fn sweep_client(&self, place: Place) -> Result<usize> {
        let Some(stored) = self.backend().load(&place.key).await? else {
            return self.bury_nodes(&place, None, &[]).await;
        };
        let root = self.open_root(&place.token, &stored).await?;
        match root.standing {
            Standing::Deleted => return self.bury_nodes(&place, Some(stored), &root.archives).await,
            Standing::Active | Standing::Restored | Standing::MovedOut => {}
        }
        let mut client = ClientStore::at(self.clone(), place, root, Some(stored));
        for _ in 1..ATTEMPTS {
            match client.gc().await {
                Err(error) if error.kind() == ErrorKind::Conflict => drop(client.refresh().await?),
                collected => return collected,
            }
        }
        client.gc().await
    }

    /// The tokens of all clients that have nodes.
    async fn owners_of_nodes(&self) -> Result<BTreeSet<[u8; 16]>> {
        let mut owners = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.backend().list_page(names::NODES, after.as_ref(), PAGE).await?;
            let owner = |key: &crate::key::Key| {
                let (name, _) = key.as_str().strip_prefix(names::NODES)?.split_once('/')?;
                crate::text::decode(name)
            };
            owners.extend(page.iter().filter_map(owner));
            if page.len() < PAGE {
                return Ok(owners);
            }
            after = page.last().cloned();
        }
    }
}

impl ClientStore {
    /// Deletes nodes that the root does not name: what interrupted commits and readers left. Returns how many.
    ///
    /// The root is replaced in the same commit, so that a commit in flight, whose nodes no root names yet, does not lose
    /// them: it conflicts and starts again with new nodes.
    ///
    /// # Errors
    /// `Conflict` if somebody else committed meanwhile: call again. `Corrupt` if the client is not sound: then nothing is
    /// deleted. Else as for [`commit`](Self::commit).
    #[instrument(level = "debug", skip_all, fields(client = self.own_label()), err(level = "debug"))]
    pub async fn gc(&mut self) -> Result<usize> {
        self.settle().await?;
        let found = self.find_orphans().await;
        let orphans = self.checked(found).await?;
        if orphans.is_empty() {
            return Ok(0);
        }
        // Of what the root lists as garbage, the rest is not there any more.
        let listed = self.root.garbage.list(&self.nodes).await;
        let pages = self.checked(listed).await?.pages;
        let count = orphans.len();
        let batch = Batch::new(&self.nodes, self.keep.entropy());
        let directory = self.root.directory.clone();
        let (root, commit, written) = self.prepare(directory, batch, orphans, Some(&pages), &|_| ()).await?;
        match self.hand_over(root, commit, None).await {
            Ok(_) => {
                self.nodes.applied(written);
                debug!(nodes = count, "deleted nodes that no root names");
                Ok(count)
            }
            Err(error) => {
                if error.kind() == ErrorKind::Conflict {
                    self.refresh().await?;
                }
                Err(error)
            }
        }
    }

    /// Makes good what an unclean end has left, as far as it can be done now: deletes what the root lists as garbage, and
    /// collects nodes that no root names if there are more than the root counts. Only where nodes are stored one by one;
    /// elsewhere nothing is ever left.
    pub(super) async fn tidy(&mut self) {
        if self.keep.capabilities().atomic_commit || self.root.nodes > MAX_LISTED_AT_OPEN {
            return;
        }
        // Whatever fails is made good another time.
        if let Ok(others) = self.collect_listed().await
            && others as u64 > self.root.nodes
            && self.is_newest().await
        {
            drop(self.gc().await);
        }
    }

    /// Deletes what the root lists as garbage, if that has become much.
    pub(super) async fn collect_if_long(&mut self) {
        let long = self.root.garbage.is_longer_than(LONG_LIST + self.listed / SHARE);
        if long && self.collected.is_none() && !self.keep.capabilities().atomic_commit {
            // If it fails the list just grows.
            drop(self.collect_listed().await);
        }
    }

    /// Deletes those of the nodes that the root lists as garbage which are still there. Returns how many others there are.
    async fn collect_listed(&mut self) -> Result<usize> {
        let garbage = self.root.garbage.list(&self.nodes).await?;
        // What a root lists stays garbage for ever, so an old listing deletes nothing that is named.
        let stored = self.keep.backend().list_loosely(self.nodes.prefix()).await?;
        self.listed = stored.len();
        let names: BTreeSet<NodeName> = garbage.names.into_iter().collect();
        let is_garbage = |name: NodeName| names.contains(&name);
        let left: Vec<_> = stored.iter().filter(|key| self.nodes.name(key).is_some_and(is_garbage)).collect();
        for key in &left {
            self.keep.backend().delete(key).await?;
        }
        debug!(nodes = left.len(), "deleted what earlier commits have replaced");
        self.collected = Some(garbage.pages);
        Ok(stored.len() - left.len())
    }

    async fn is_newest(&self) -> bool {
        self.keep.backend().load(&self.key).await.is_ok_and(|stored| stored == self.stored)
    }
}

/// Whether an error says something of one client only, so that the others can be swept all the same.
fn is_of_one_client(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Corrupt
            | ErrorKind::UnsupportedVersion
            | ErrorKind::Conflict
            | ErrorKind::NotFound
            | ErrorKind::RolledBack
    )
}
