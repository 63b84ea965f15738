//! What a client has in memory: the records of its own scope, and of the groups that it used last.

use std::collections::BTreeMap;
use std::sync::Arc;

use mls_keep_core::{Changes, Committed, Result, ScopeId, ScopeVersion, SecretBytes, Value};
use openmls::group::MlsGroup;

use crate::provider::{self, Records};
use crate::records::is_loaded;

/// One scope in memory.
#[derive(Default)]
pub(crate) struct ScopeMemory {
    /// The stored state that this was loaded from or saved as; `None` if it is not stored.
    pub(crate) version: Option<ScopeVersion>,
    /// All records of the kinds that are loaded, as they are now.
    pub(crate) records: Arc<Records>,
    /// What is not stored yet.
    pub(crate) unsaved: BTreeMap<SecretBytes, Unsaved>,
}

/// A record that is not stored yet.
#[derive(Clone)]
pub(crate) struct Unsaved {
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
}

impl ScopeMemory {
    pub(crate) fn loaded(version: Option<ScopeVersion>, records: Records) -> Self {
        Self { version, records: Arc::new(records), unsaved: BTreeMap::new() }
    }

    /// The unsaved records as they would be after `changes`.
    pub(crate) fn staged(&self, changes: &provider::Changes) -> BTreeMap<SecretBytes, Unsaved> {
        let mut staged = self.unsaved.clone();
        for (key, value) in changes {
            let base = match staged.get(key) {
                Some(earlier) => earlier.base.clone(),
                None => self.records.get(key).cloned(),
            };
            staged.insert(key.clone(), Unsaved { value: value.clone(), base });
        }
        staged
    }

    /// Puts `changes` into memory. `staged` is what remains to be saved.
    pub(crate) fn apply(&mut self, changes: provider::Changes, staged: BTreeMap<SecretBytes, Unsaved>) {
        let records = Arc::make_mut(&mut self.records);
        for (key, value) in changes {
            match value {
                Some(value) if is_loaded(&key) => records.insert(key, value),
                _ => records.remove(&key),
            };
        }
        self.unsaved = staged;
    }

    /// What is unsaved became durable as part of `committed`.
    pub(crate) fn saved(&mut self, scope: &ScopeId, committed: &Committed) {
        self.version = committed.version(scope);
        let records = Arc::make_mut(&mut self.records);
        for key in std::mem::take(&mut self.unsaved).into_keys() {
            if let Some(value) = committed.long_value(scope, &key).filter(|_| is_loaded(&key)) {
                records.insert(key, value.clone());
            }
        }
    }

    /// About how much memory the records take, bytes.
    pub(crate) fn weight(&self) -> usize {
        self.records.iter().map(|(key, value)| key.len() + value.as_slice().len()).sum()
    }
}

/// Adds `staged` to what a commit changes in `scope`.
pub(crate) fn add_changes(
    changes: &mut Changes,
    scope: &ScopeId,
    base: Option<ScopeVersion>,
    staged: &BTreeMap<SecretBytes, Unsaved>,
) -> Result<()> {
    if staged.is_empty() {
        return Ok(());
    }
    let scope = changes.scope(scope.clone(), base);
    for (key, unsaved) in staged {
        match &unsaved.value {
            Some(value) => scope.put(key.clone(), value.clone(), unsaved.base.clone())?,
            None => scope.remove(key.clone()),
        }
    }
    Ok(())
}
