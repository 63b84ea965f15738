//! [`Reader`]: what is stored of a client, read beside it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mls_keep_core::{Error, ErrorKind, Keep, Record, RecordRange, Result, ScopeId, SecretBytes, StateRead, Value};
use openmls::group::GroupId;

use super::groups::ListedGroup;
use super::history::{GroupRecord, Message, Pages};
use super::load::ClientRecord;
use super::transaction::application_key;
use super::{Client, CryptoProvider, not_kept};
use crate::clock::system_time;
use crate::records::{Kind, codec};
use crate::scope::Scope;

/// How often it is read again, when somebody else is faster.
const ATTEMPTS: usize = 8;

/// Reads what is stored of a client while the client is in use: a conversation can be shown while a message is being sent.
/// Each call reads the newest state; what the client has not [saved](crate::SavePolicy) is not in it. Cloning is cheap.
///
/// ```
/// # use mls_keep::{Client, Encryption, MasterKey, MemoryBackend, PersistenceManager};
/// # futures_executor::block_on(async {
/// # let encryption = Encryption::hkdf_sha256(MasterKey::new([1; 32]));
/// # let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await?;
/// # let mut alice = manager.client_builder("alice").create().await?;
/// # let group = alice.create_group("tea").await?;
/// let reader = alice.reader()?; // for the thread that draws
/// let sending = alice.send(&group, "at five?");
/// assert!(reader.history(&group, 20).await?.is_empty());
/// sending.await?;
/// assert_eq!(reader.history(&group, 20).await?.len(), 1);
/// # Ok::<(), mls_keep::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Reader {
    keep: Keep,
    identity: SecretBytes,
    wall_clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// The newest state that was read.
    seen: Arc<Mutex<Option<StateRead>>>,
}

impl<C: CryptoProvider> Client<C> {
    /// What reads beside this client.
    ///
    /// # Errors
    /// `Invalid` if the client belongs to no keep.
    pub fn reader(&self) -> Result<Reader> {
        let store = self.store.as_ref().ok_or_else(not_kept)?;
        Ok(Reader {
            keep: store.keep().clone(),
            identity: self.profile.identity.clone(),
            wall_clock: Arc::clone(&self.wall_clock),
            seen: Arc::new(Mutex::new(Some(store.state()))),
        })
    }
}

impl Reader {
    /// A reader of a client of this keep that need not be loaded.
    pub(crate) fn new(keep: &Keep, identity: &[u8]) -> Self {
        let (keep, identity, seen) = (keep.clone(), identity.into(), Arc::default());
        Self { keep, identity, wall_clock: Arc::new(system_time), seen }
    }

    /// As [`Client::groups`].
    ///
    /// # Errors
    /// `NotFound` if the client was deleted, also if another one of its identity was made since, `MovedOut` if it was moved away,
    /// `RolledBack` if the store holds an older state than was read before, or one that was made from an older one, `Conflict` if
    /// others write so often that nothing can be read; `Corrupt`; and the errors of the backend.
    pub async fn groups(&self) -> Result<Vec<(GroupId, String)>> {
        let prefix = Kind::ListedGroup.only();
        let listed = self.records_in(&Scope::Client, RecordRange::prefix(&prefix)).await?;
        let parse = |Record { key, value, .. }: Record| {
            let listed: ListedGroup = codec::decode(Kind::ListedGroup, &value)?;
            Ok((GroupId::from_slice(key.get(1..).unwrap_or_default()), listed.release_name()))
        };
        listed.into_iter().map(parse).collect()
    }

    /// As [`Client::history`].
    ///
    /// # Errors
    /// As [`groups`](Self::groups).
    pub async fn history(&self, group: &GroupId, limit: usize) -> Result<Vec<Message>> {
        self.history_before(group, u64::MAX, limit).await
    }

    /// As [`Client::history_before`].
    ///
    /// # Errors
    /// As [`groups`](Self::groups).
    pub async fn history_before(&self, group: &GroupId, number: u64, limit: usize) -> Result<Vec<Message>> {
        let between = (Kind::Message.only(), Kind::Message.numbered(number));
        let mut messages = self.messages(group, between, limit, true).await?;
        messages.reverse();
        Ok(messages)
    }

    /// As [`Client::history_after`].
    ///
    /// # Errors
    /// As [`groups`](Self::groups).
    pub async fn history_after(&self, group: &GroupId, number: u64, limit: usize) -> Result<Vec<Message>> {
        let between = (Kind::Message.numbered(number.saturating_add(1)), Kind::Message.numbered(u64::MAX));
        self.messages(group, between, limit, false).await
    }

    /// As [`Client::record`].
    ///
    /// # Errors
    /// `Invalid` if the key is over its limit; and as [`groups`](Self::groups).
    pub async fn record(&self, scope: &Scope, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = application_key(key.as_ref())?;
        let after = SecretBytes::concat(&[&key, &[0]]);
        let found = self.records_in(scope, RecordRange::between(&key, &after)).await?.pop();
        Ok(found.map(|record| record.value))
    }

    /// As [`Client::records`].
    ///
    /// # Errors
    /// As [`groups`](Self::groups).
    pub async fn records(
        &self,
        scope: &Scope,
        prefix: impl AsRef<[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Value)>> {
        let prefix = Kind::Application.with(prefix.as_ref());
        let found = self.records_in(scope, RecordRange::prefix(&prefix).limit(limit)).await?;
        let without_kind = |record: Record| (record.key.get(1..).unwrap_or_default().to_vec(), record.value);
        Ok(found.into_iter().map(without_kind).collect())
    }

    async fn messages(
        &self,
        group: &GroupId,
        between: (SecretBytes, SecretBytes),
        limit: usize,
        backwards: bool,
    ) -> Result<Vec<Message>> {
        let (own, scope) = (Scope::Client.id()?, Scope::group(group).id()?);
        let (client, counters) = (Kind::Client.only(), Kind::Group.only());
        let mut pages = Pages::new(between, limit, backwards, (self.wall_clock)());
        loop {
            let (start, end) = &pages.between;
            let range = RecordRange::between(start, end).limit(pages.page);
            let range = if backwards { range.backwards() } else { range };
            let (own, counted) = (own.clone(), scope.clone());
            let wanted = [
                (own, RecordRange::prefix(&client)),
                (counted, RecordRange::prefix(&counters)),
                (scope.clone(), range),
            ];
            let mut read = self.read(&wanted).await?.into_iter();
            let mut next = || read.next().unwrap_or_default();
            let (client, counters, found) = (next().pop(), next().pop(), next());
            let client = client.ok_or_else(|| Error::new(ErrorKind::Corrupt, "the client's own record is missing"))?;
            let client: ClientRecord = codec::decode(Kind::Client, &client.value)?;
            let counters = counters.map(|record| record.value);
            let kept = GroupRecord::retention_and_next(counters.as_ref(), client.settings.retention())?;
            if pages.take(group, kept, found.into_iter().map(|record| (record.key, record.value)))? {
                return Ok(pages.shown);
            }
        }
    }

    async fn records_in(&self, scope: &Scope, range: RecordRange) -> Result<Vec<Record>> {
        Ok(self.read(&[(scope.id()?, range)]).await?.pop().unwrap_or_default())
    }

    fn seen(&self) -> MutexGuard<'_, Option<StateRead>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a state, if it is the newest one.
    fn see(&self, state: StateRead) {
        let mut seen = self.seen();
        if seen.is_none_or(|seen| seen.number() < state.number()) {
            *seen = Some(state);
        }
    }

    /// Reads all of it from the newest root.
    async fn read(&self, wanted: &[(ScopeId, RecordRange)]) -> Result<Vec<Vec<Record>>> {
        let mut attempt = 1;
        loop {
            match self.try_read(wanted).await {
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS => attempt += 1,
                read => return read,
            }
        }
    }

    async fn try_read(&self, wanted: &[(ScopeId, RecordRange)]) -> Result<Vec<Vec<Record>>> {
        // What was shown before this began: others may be shown something newer meanwhile.
        let seen = *self.seen();
        // Not as one who uses it: nothing is tidied up.
        let store = self.keep.inspect_client(&self.identity).await?;
        store.ensure_here()?;
        if let Some(seen) = &seen {
            store.ensure_not_before(seen)?;
        }
        self.see(store.state());
        let mut read = Vec::with_capacity(wanted.len());
        for (scope, range) in wanted {
            read.push(store.records(scope, range).await?);
        }
        Ok(read)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
