//! Reading the application's records.

use mls_keep_core::{Error, ErrorKind, RecordRange, Result, SecretBytes, Value};
use std::collections::BTreeMap;

use super::transaction::application_key;
use super::{Client, CryptoProvider};
use crate::memory::ScopeMemory;
use crate::records::Kind;
use crate::scope::Scope;

/// Which records are read.
#[derive(Clone, Copy)]
pub(super) enum Keys<'k> {
    /// Those that begin so.
    Prefix(&'k [u8]),
    /// Those from the first key to before the second.
    Between(&'k [u8], &'k [u8]),
}

impl Keys<'_> {
    fn range(self) -> RecordRange {
        match self {
            Self::Prefix(prefix) => RecordRange::prefix(prefix),
            Self::Between(start, end) => RecordRange::between(start, end),
        }
    }

    fn contains(self, key: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Between(start, end) => (start..end).contains(&key),
        }
    }
}

impl<C: CryptoProvider> Client<C> {
    /// The value of a record that the application wrote with [`RecordWriter::put`](super::RecordWriter::put).
    ///
    /// # Errors
    /// `Invalid` if the key is over its limit, `Corrupt`; and the errors of the backend.
    pub async fn record(&mut self, scope: &Scope, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.freshen().await?;
        let key = application_key(key.as_ref())?;
        self.read_record(scope, &key).await
    }

    /// The keys and values of the application's records that begin with `prefix`, in key order, at most `limit` of them.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub async fn records(
        &mut self,
        scope: &Scope,
        prefix: impl AsRef<[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Value)>> {
        self.freshen().await?;
        let prefix = Kind::Application.with(prefix.as_ref());
        let found = self.read_records(scope, Keys::Prefix(&prefix), limit, false).await?;
        Ok(found.into_iter().map(|(key, value)| (key.get(1..).unwrap_or_default().to_vec(), value)).collect())
    }

    /// One record of any kind: unsaved, or stored.
    pub(super) async fn read_record(&mut self, scope: &Scope, key: &[u8]) -> Result<Option<Value>> {
        loop {
            let value = self.try_read_record(scope, key).await;
            if !self.must_repeat(&value).await? {
                return value;
            }
        }
    }

    /// Records of any kind: unsaved ones over stored ones.
    pub(super) async fn read_records(
        &mut self,
        scope: &Scope,
        keys: Keys<'_>,
        limit: usize,
        backwards: bool,
    ) -> Result<Vec<(SecretBytes, Value)>> {
        loop {
            let records = self.try_read_records(scope, keys, limit, backwards).await;
            if !self.must_repeat(&records).await? {
                return records;
            }
        }
    }

    pub(super) async fn try_read_record(&self, scope: &Scope, key: &[u8]) -> Result<Option<Value>> {
        let memory = self.scope_memory(scope);
        if let Some(unsaved) = memory.and_then(|memory| memory.unsaved.get(key)) {
            return Ok(unsaved.value.clone());
        }
        self.ensure_unsaved_fits(scope).await?;
        match &self.store {
            Some(store) if !memory.is_some_and(|memory| memory.cleared) => store.record(&scope.id()?, key).await,
            _ => Ok(None),
        }
    }

    async fn try_read_records(
        &self,
        scope: &Scope,
        keys: Keys<'_>,
        limit: usize,
        backwards: bool,
    ) -> Result<Vec<(SecretBytes, Value)>> {
        self.ensure_unsaved_fits(scope).await?;
        let mut found = BTreeMap::new();
        let memory = self.scope_memory(scope);
        let unsaved = memory.map(|memory| &memory.unsaved);
        if let Some(store) = self.store.as_ref().filter(|_| !memory.is_some_and(|memory| memory.cleared)) {
            // As many more as unsaved changes may take away.
            let more = unsaved.map_or(0, |unsaved| unsaved.values().filter(|record| record.value.is_none()).count());
            let mut range = keys.range().limit(limit.saturating_add(more));
            if backwards {
                range = range.backwards();
            }
            for record in store.records(&scope.id()?, &range).await? {
                found.insert(record.key, record.value);
            }
        }
        for (key, record) in unsaved.into_iter().flatten().filter(|(key, _)| keys.contains(key)) {
            match &record.value {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        Ok(if backwards {
            found.into_iter().rev().take(limit).collect()
        } else {
            found.into_iter().take(limit).collect()
        })
    }

    /// Refuses to read what is stored together with what is unsaved, if that was not made from it: they do not belong together.
    async fn ensure_unsaved_fits(&self, scope: &Scope) -> Result<()> {
        let (Some(store), Some(memory)) = (&self.store, self.scope_memory(scope)) else { return Ok(()) };
        if !memory.is_unsaved() || memory.cleared || store.scope_version(&scope.id()?).await? == memory.version {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "what is unsaved here was changed by somebody else in the store"))
    }

    fn scope_memory(&self, scope: &Scope) -> Option<&ScopeMemory> {
        match scope {
            Scope::Client => Some(&self.own),
            Scope::Group(id) => self.groups.get(id.as_slice()).map(|group| &group.scope),
        }
    }
}
