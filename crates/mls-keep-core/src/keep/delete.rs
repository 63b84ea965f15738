//! Deleting a client: a tombstone takes the place of its root, and its nodes are deleted.

use bytes::Bytes;

use super::client::{ClientStore, no_client};
use super::outcome::decide;
use super::root::{Root, Standing};
use super::{Keep, Place};
use crate::commit::{Commit, Swap};
use crate::error::Result;

impl Keep {
    /// Removes the client of this identity and everything that it has. A call that failed may be repeated, and goes on where
    /// it ended.
    ///
    /// # Errors
    /// `NotFound` if there is no such client, `Conflict` if somebody else committed in between, `Corrupt`,
    /// `UnsupportedVersion`; `OutcomeUnknown` if the backend did not say and cannot be asked; and the errors of the backend.
    pub async fn delete_client(&self, identity: &[u8]) -> Result<()> {
        let place = Place::new(self.header().token(identity)?)?;
        let stored = self.backend().load(&place.key).await?.ok_or_else(no_client)?;
        let root = self.open_root(&place.token, &stored).await?;
        if root.standing == Standing::Deleted {
            return match self.bury_nodes(&place, Some(stored), &root.archives).await? {
                0 => Err(no_client()),
                _ => Ok(()),
            };
        }
        self.remove(&place, stored, &root.archives).await
    }

    async fn remove(&self, place: &Place, stored: Bytes, archives: &[[u8; 16]]) -> Result<()> {
        if !self.capabilities().atomic_commit {
            return self.bury(place, Some(stored), archives).await.map(drop);
        }
        let deletes = self.backend().list(&place.prefix).await?;
        let tombstone = self.seal(&Root::tombstone(archives, self.entropy())?, &place.token)?;
        let swap = Swap { key: place.key.clone(), expected: Some(stored), replacement: Some(tombstone) };
        decide(self.backend().as_ref(), Commit { puts: Vec::new(), swap, deletes }).await
    }

    /// Puts a tombstone in the place of `expected` and deletes all nodes. Returns how many.
    ///
    /// A writer that is under way then does not find the root that it expects, so its nodes are named by no root; and one
    /// that begins now writes its nodes after they were listed. So no node goes that a root will name. For the same reason
    /// the tombstone stays: without it a first commit that is late would find that there is nothing, as it expects.
    async fn bury(&self, place: &Place, expected: Option<Bytes>, archives: &[[u8; 16]]) -> Result<usize> {
        let nodes = self.backend().list(&place.prefix).await?;
        let tombstone = self.seal(&Root::tombstone(archives, self.entropy())?, &place.token)?;
        let swap = Swap { key: place.key.clone(), expected, replacement: Some(tombstone.clone()) };
        decide(self.backend().as_ref(), Commit { puts: Vec::new(), swap, deletes: Vec::new() }).await?;
        for node in &nodes {
            self.backend().delete(node).await?;
        }
        // Of a writer that was under way.
        Ok(nodes.len() + Box::pin(self.bury_nodes(place, Some(tombstone), archives)).await?)
    }

    /// Deletes the nodes that are left under a tombstone, or without any root. Returns how many.
    pub(super) async fn bury_nodes(
        &self,
        place: &Place,
        stored: Option<Bytes>,
        archives: &[[u8; 16]],
    ) -> Result<usize> {
        if self.backend().list_page(&place.prefix, None, 1).await?.is_empty() {
            return Ok(0);
        }
        self.bury(place, stored, archives).await
    }
}

impl ClientStore {
    /// Removes the client and everything that it has. If it fails, [`Keep::delete_client`] goes on where it ended.
    ///
    /// # Errors
    /// `Conflict` if somebody else committed in between; and as [`Keep::delete_client`].
    pub async fn delete(mut self) -> Result<()> {
        self.settle().await?;
        let stored = self.stored.clone().filter(|_| !self.is_new()).ok_or_else(no_client)?;
        let place = Place::new(self.token)?;
        self.keep.remove(&place, stored, &self.root.archives).await
    }
}
