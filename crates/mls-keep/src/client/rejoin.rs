//! Which groups must be entered anew after a restoration, and whom to ask.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mls_keep_core::Result;
use openmls::group::GroupId;
use openmls::prelude::LeafNodeIndex;
use openmls::treesync::TreeSync;
use openmls_traits::storage::StorageProvider as _;

use super::groups::GroupMember;
use super::{Client, CryptoProvider};
use crate::provider::TransactionStorage;

/// A group that was restored from an older state, and whom to ask to enter it anew.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupToRejoin {
    /// The group.
    pub id: GroupId,
    /// Its name, empty if it has none.
    pub name: String,
    /// The leaf of this client, as last known: what a member removes who invites it again.
    pub own_leaf: Option<u32>,
    /// The other members, as last known. Each of them can give a GroupInfo ([`group_info`](Client::group_info)) for an entry
    /// by external commit ([`stage_entry`](Client::stage_entry)), or remove the old leaf and invite this client with a new key
    /// package. If there are none, nobody can let it in: start another group, and [forget](Client::forget_group) this one when
    /// its history is not needed any more.
    pub members: Vec<GroupMember>,
}

impl<C: CryptoProvider> Client<C> {
    /// What to ask of whom after a restoration: the groups that must be entered anew, in the order of their ids, with those who
    /// were their members when the client last heard of them. Also known from a backup without the secrets of groups.
    ///
    /// ```
    /// # use mls_keep::{Archive, BackupOptions, Change, Client, Encryption, MasterKey, MemoryBackend, PersistenceManager, RestoreOptions};
    /// # use std::io::Cursor;
    /// # futures_executor::block_on(async {
    /// # let open = || PersistenceManager::builder(MemoryBackend::new()).encryption(Encryption::hkdf_sha256(MasterKey::new([1; 32]))).open();
    /// # let manager = open().await?;
    /// # let mut alice = manager.client_builder("alice").create().await?;
    /// # let mut bob = manager.client_builder("bob").create().await?;
    /// # let group = alice.create_group("tea").await?;
    /// # let package = bob.key_package().await?.to_bytes().unwrap();
    /// # alice.commit_at_once(&group, Change::new().invite([package])).await?;
    /// # let key = || Encryption::hkdf_sha256(MasterKey::new([2; 32]));
    /// # let mut file = Vec::new();
    /// # manager.create_backup(&alice, &mut file, BackupOptions::new(key())).await?;
    /// # let backup = Archive::open(Cursor::new(file), &key(), &mut |_| ()).await?;
    /// # let manager = open().await?;
    /// let mut alice = manager.restore_from_backup(&mut [backup], RestoreOptions::new()).await?;
    /// for group in alice.rejoin_plan().await? {
    ///     let ask: Vec<_> = group.members.iter().map(|member| String::from_utf8_lossy(&member.identity)).collect();
    ///     println!("{}: ask one of {ask:?}", group.name);
    /// #   assert_eq!(ask, ["bob"]);
    /// }
    /// # Ok::<(), mls_keep::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn rejoin_plan(&mut self) -> Result<Vec<GroupToRejoin>> {
        let mut plan = Vec::new();
        for (id, name) in self.groups_to_rejoin().await? {
            let records = Arc::clone(&self.load_scope_or_default(id.as_slice()).await?.scope.records);
            let records = BTreeMap::from([(id.as_slice().into(), records)]);
            let storage = TransactionStorage::new(Default::default(), records);
            let own_leaf: Option<LeafNodeIndex> = storage.own_leaf_index(&id)?;
            let tree: Option<TreeSync> = storage.tree(&id)?;
            let others = tree.iter().flat_map(TreeSync::full_leaves).filter(|(index, _)| Some(*index) != own_leaf);
            let members = others.map(|(index, leaf)| GroupMember::of_leaf(index, leaf)).collect();
            plan.push(GroupToRejoin { id, name, own_leaf: own_leaf.map(|index| index.u32()), members });
        }
        Ok(plan)
    }
}

impl fmt::Debug for GroupToRejoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupToRejoin").field("members", &self.members.len()).finish_non_exhaustive()
    }
}
