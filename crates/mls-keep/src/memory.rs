//! What a client has in memory: the records of its own scope, and of the groups that it used last.

use std::collections::BTreeMap;
use std::sync::Arc;

use mls_keep_core::{Changes, Committed, Result, ScopeId, ScopeVersion, SecretBytes, Value};
use openmls::group::MlsGroup;

use crate::provider::{RecordChanges, Records};
use crate::records::is_loaded;

/// One scope in memory.
#[derive(Default)]
pub(crate) struct ScopeMemory {
    /// The stored state that this was loaded from or saved as; `None` if it is not stored.
    pub(crate) version: Option<ScopeVersion>,
    /// All records of the kinds that are loaded, as they are now.
    pub(crate) records: Arc<Records>,
    /// About how much memory `records` takes, bytes.
    weight: usize,
    /// Everything that is stored goes with the next save, before what is unsaved.
    pub(crate) cleared: bool,
    /// What is not stored yet.
    pub(crate) unsaved: BTreeMap<SecretBytes, UnsavedRecord>,
    /// The mark of a restored group goes with the next save.
    pub(crate) unmarked: bool,
}

/// A record that is not stored yet.
pub(crate) struct UnsavedRecord {
    /// Its value, `None` if it is removed.
    pub(crate) value: Option<Value>,
    /// The stored value that it takes the place of, if that is known: parts of it need not be stored again.
    base: Option<Value>,
}

/// One group in memory.
#[derive(Default)]
pub(crate) struct GroupMemory {
    pub(crate) scope: ScopeMemory,
    /// The group as OpenMLS holds it, if it was loaded. Never ahead of the records.
    pub(crate) group: Option<MlsGroup>,
    /// When it was last used, counted in uses.
    pub(crate) used: u64,
    /// Only the version of the scope is known, and none of its records.
    pub(crate) unread: bool,
}

impl GroupMemory {
    /// About how much memory the group takes, bytes: its records, and what OpenMLS holds of it.
    pub(crate) fn weight(&self) -> usize {
        /// What stands around the bytes of a record, and what an `MlsGroup` takes besides.
        const RECORD: usize = 200;
        const GROUP: usize = 4096;
        // Whether or not there is an `MlsGroup`, there is a place for one, in a node of a map that is not full.
        let place = size_of::<Self>() + size_of::<Self>() / 2;
        let records = self.scope.weight() + self.scope.records.len() * RECORD;
        place + records + self.group.as_ref().map_or(0, |_| GROUP + 2 * self.scope.weight())
    }

    /// A group in this state, of which nothing was read.
    pub(crate) fn unread(version: Option<ScopeVersion>) -> Self {
        Self { scope: ScopeMemory::loaded(version, Records::new()), group: None, used: 0, unread: true }
    }
}

impl ScopeMemory {
    pub(crate) fn loaded(version: Option<ScopeVersion>, records: Records) -> Self {
        let weight = records.iter().map(|(key, value)| weight(key, value)).sum();
        Self { version, records: Arc::new(records), weight, ..Self::default() }
    }

    pub(crate) fn is_unsaved(&self) -> bool {
        self.cleared || self.unmarked || !self.unsaved.is_empty()
    }

    /// Adds to `commit` what is unsaved, and `changes` over it.
    pub(crate) fn add_to(&self, commit: &mut Changes, scope: ScopeId, changes: Option<&RecordChanges>) -> Result<()> {
        if !self.is_unsaved() && changes.is_none_or(BTreeMap::is_empty) {
            return Ok(());
        }
        let commit = commit.scope(scope, self.version);
        if self.cleared {
            commit.remove_all();
        }
        if self.unmarked {
            commit.set_needs_rejoin(false);
        }
        let unsaved = self.unsaved.iter().map(|(key, record)| (key, &record.value, record.base.as_ref()));
        let changed = changes.into_iter().flatten().map(|(key, value)| (key, value, self.base_of(key)));
        for (key, value, base) in unsaved.chain(changed) {
            match value {
                Some(value) => commit.put(key.clone(), value.clone(), base.cloned())?,
                None => commit.remove(key.clone()),
            }
        }
        Ok(())
    }

    /// Takes back what is not stored. The records are loaded anew when they are used next.
    pub(crate) fn discard_unsaved(&mut self) {
        *self = Self::default();
    }

    /// Everything goes, unsaved.
    pub(crate) fn clear(&mut self) {
        self.cleared = true;
        self.records = Arc::default();
        self.weight = 0;
        self.unsaved.clear();
    }

    /// Puts `changes` into memory, unsaved.
    pub(crate) fn apply(&mut self, changes: RecordChanges) {
        for (key, value) in changes {
            let base = self.base_of(&key).cloned();
            let records = Arc::make_mut(&mut self.records);
            let replaced = match value.as_ref().filter(|_| is_loaded(&key)) {
                Some(value) => {
                    self.weight += weight(&key, value);
                    records.insert(key.clone(), value.clone())
                }
                None => records.remove(&key),
            };
            self.weight -= replaced.map_or(0, |replaced| weight(&key, &replaced));
            self.unsaved.insert(key, UnsavedRecord { value, base });
        }
    }

    /// What is unsaved became durable as part of `committed`.
    pub(crate) fn saved(&mut self, scope: &ScopeId, committed: &Committed) {
        if !self.is_unsaved() {
            return;
        }
        self.version = committed.version(scope);
        self.cleared = false;
        self.unmarked = false;
        let records = Arc::make_mut(&mut self.records);
        for key in std::mem::take(&mut self.unsaved).into_keys() {
            if let Some(value) = committed.long_value(scope, &key).filter(|_| is_loaded(&key)) {
                records.insert(key, value.clone());
            }
        }
    }

    /// The stored value that a change of this record takes the place of.
    fn base_of(&self, key: &[u8]) -> Option<&Value> {
        match self.unsaved.get(key) {
            Some(unsaved) => unsaved.base.as_ref(),
            None => self.records.get(key),
        }
    }

    /// Whether the group was restored from an older state, and was not entered anew since.
    pub(crate) fn needs_rejoin(&self) -> bool {
        !self.unmarked && self.version.is_some_and(|version| version.needs_rejoin())
    }

    /// Whether nothing is left, once what is unsaved is saved.
    pub(crate) fn is_gone(&self) -> bool {
        (self.cleared || self.version.is_none()) && self.unsaved.values().all(|record| record.value.is_none())
    }

    /// About how much memory the records take, bytes.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }
}

fn weight(key: &[u8], value: &Value) -> usize {
    key.len() + value.as_slice().len()
}
