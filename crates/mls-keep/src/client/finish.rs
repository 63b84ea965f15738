//! How a transaction ends: what it changed is stored, with all that waited, or waits for a save; memory follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use mls_keep_core::{Changes, Committed, Error, ErrorKind, Result, ScopeId};
use openmls::group::MlsGroup;
use openmls_traits::storage::StorageProvider as _;

use super::groups::ListedGroup;
use super::{Client, CryptoProvider};
use crate::memory::ScopeMemory;
use crate::policy::SavePolicy;
use crate::provider::{TransactionChanges, TransactionStorage, Urgency};
use crate::records::Kind;
use crate::scope::Scope;

impl<C: CryptoProvider> Client<C> {
    /// Commits or keeps what a transaction did.
    pub(super) async fn finish(&mut self, mut changes: TransactionChanges, groups: Vec<MlsGroup>) -> Result<()> {
        if let Some(store) = &self.store {
            // What waits for a save leaves without the store being asked.
            store.ensure_here()?;
        }
        for id in &changes.taken_as_absent {
            // It may have records that are not of MLS: a history that outlived its group.
            let loaded = self.try_load_scope(id).await;
            // Read from another root, the groups that were named would not be what the transaction saw.
            self.uncertain |= loaded.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict);
            loaded?;
            if self.groups.get(id).is_some_and(|memory| memory.scope.has_group()) {
                return Err(Error::new(ErrorKind::Invalid, "a transaction used a group that it did not name"));
            }
        }
        self.follow_in_list(&mut changes).await?;
        let committed = match (self.policy, changes.urgency) {
            (SavePolicy::EveryOperation, _) | (_, Urgency::AtOnce) => self.store_with_unsaved(&changes).await?,
            (SavePolicy::Interval { every, .. }, _) => self.store_when_due(&changes, every).await?,
            (SavePolicy::Manual, _) => None,
        };
        self.own.apply(changes.client);
        for (id, group) in changes.groups {
            let memory = self.groups.entry(id).or_default();
            if group.cleared {
                memory.scope.clear();
                memory.group = None;
                memory.unread = false;
            }
            memory.scope.apply(group.records);
            memory.scope.unmarked |= group.unmarked;
            memory.used = self.uses;
        }
        if let Some(committed) = &committed {
            self.saved(committed)?;
        }
        self.keep_loaded(groups);
        self.trim();
        Ok(())
    }

    /// Keeps groups as OpenMLS holds them, if they are what the records say.
    pub(super) fn keep_loaded(&mut self, groups: Vec<MlsGroup>) {
        for mut group in groups {
            let id = group.group_id().as_slice();
            // A closure may have replaced the group in the storage; then the next use loads the new one.
            if let Some(memory) = self.groups.get_mut(id).filter(|memory| memory.scope.is_state_of(&group))
                && !self.escaped.contains(id)
            {
                // What is not stored does not outlive the transaction.
                group.set_aad(Vec::new());
                #[cfg(feature = "extensions-draft")]
                drop(group.set_safe_aad(Vec::new()));
                memory.group = Some(group);
            }
        }
    }

    /// Lists the groups that a transaction made, without a name if it gave them none, and no longer those that it deleted.
    async fn follow_in_list(&mut self, changes: &mut TransactionChanges) -> Result<()> {
        for (id, group) in &changes.groups {
            let key = Kind::ListedGroup.with(id);
            if group.deleted {
                changes.client.insert(key, None);
            } else if group.created && !changes.client.contains_key(&key) {
                let listed = self.try_read_record(&Scope::Client, &key).await;
                // Read from another root, the groups that were named would not be what the transaction saw.
                self.uncertain |= listed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict);
                if listed?.is_none() {
                    changes.client.insert(key, Some(ListedGroup::default().encode()?));
                }
            }
        }
        Ok(())
    }

    /// Commits what a transaction changed, and with it everything that waited for a save: half of an earlier operation would
    /// be neither before nor after it.
    pub(super) async fn store_with_unsaved(&mut self, changes: &TransactionChanges) -> Result<Option<Committed>> {
        for id in changes.groups.keys() {
            self.groups.entry(id.clone()).or_default();
        }
        if self.store.is_none() {
            return Ok(None);
        }
        let mut commit = Changes::new();
        self.own.add_to(&mut commit, ScopeId::client(), Some(&changes.client))?;
        for (id, memory) in &self.groups {
            let changed = changes.groups.get(id);
            if changed.is_some() || memory.scope.is_unsaved() {
                let scope = ScopeId::group(id)?;
                match changed.filter(|group| group.cleared) {
                    Some(_) => commit.scope(scope.clone(), memory.scope.version).remove_all(),
                    None => memory.scope.add_to(&mut commit, scope.clone(), changed.map(|group| &group.records))?,
                }
                if changed.is_some_and(|group| group.unmarked) {
                    commit.scope(scope, memory.scope.version).set_needs_rejoin(false);
                }
            }
        }
        self.add_reservations(&mut commit, Some(changes), false)?;
        let Some(store) = self.store.as_mut().filter(|_| !commit.is_empty()) else { return Ok(None) };
        self.uncertain = true;
        self.saving = false;
        let committed = store.commit(&commit).await;
        self.uncertain = committed.as_ref().is_err_and(|error| error.kind() == ErrorKind::OutcomeUnknown);
        self.heed(committed).map(Some)
    }
}

impl ScopeMemory {
    /// Whether there is an MLS group in this scope.
    pub(super) fn has_group(&self) -> bool {
        self.records.contains_key(Kind::GroupState.only().as_slice())
    }

    /// Whether `group` is the group of this scope, in its epoch.
    fn is_state_of(&self, group: &MlsGroup) -> bool {
        let records = BTreeMap::from([(group.group_id().as_slice().into(), Arc::clone(&self.records))]);
        let stored = TransactionStorage::new(Default::default(), records).confirmation_tag(group.group_id());
        stored.is_ok_and(|stored| stored.as_ref() == Some(group.confirmation_tag()))
    }
}
