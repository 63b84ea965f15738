//! [`Session`]: OpenMLS calls and the application's records as one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use mls_keep_core::{Error, ErrorKind, Result, ScopeVersion, Value};
use openmls::group::{GroupId, MlsGroup};
use openmls_traits::OpenMlsProvider;
use tracing::instrument;

use super::blocks::Habits;
use super::history::Retention;
use super::load::no_group;
use super::receive::{Received, Then};
use super::refusal::{aborted_in, needs_rejoin};
use super::signer::no_signer;
use super::summary::CommitSummary;
use super::transaction::{BoxError, GroupsTransaction, RecordWriter, Transaction, application_key};
use super::{Client, ClientSigner, CryptoProvider, Profile};
use crate::provider::{Provider, TransactionStorage};
use crate::scope::Scope;

/// A transaction that goes on until [`commit`](Session::commit). Dropped before that, it leaves no trace.
///
/// For code that cannot be a closure; [`Client::transact`] is the same.
#[must_use = "a session that is not committed changes nothing"]
pub struct Session<'c, C: CryptoProvider> {
    client: &'c mut Client<C>,
    provider: Provider<C>,
    groups: Vec<MlsGroup>,
    named: Vec<GroupId>,
    /// That of the first group's leaf, if it is another one than the client's own.
    signer: Option<ClientSigner>,
    now: SystemTime,
}

impl<C: CryptoProvider> Client<C> {
    /// Runs `f` on a group and commits what it did: OpenMLS's changes and the application's records, all of it or
    /// nothing.
    ///
    /// When this returns an error, or `f` panics, or the returned future is dropped, memory and storage are as they were
    /// before, or, if the commit was under way, as they are after it. Nothing that `f` made should leave the device
    /// before this returns `Ok`.
    ///
    /// # Errors
    /// `Aborted` with the error of `f` as source; `NeedsRejoin` instead if the group was restored and not entered anew, in
    /// which everything can be read and received, and nothing signed; `NotFound` if the client has no such group; `Conflict` if
    /// somebody else changed the group meanwhile: repeat the call; and the errors of the backend.
    ///
    /// # Examples
    /// ```
    /// # use mls_keep::{Client, openmls::prelude::*};
    /// # futures_executor::block_on(async {
    /// # let mut alice = Client::builder("alice").create().await?;
    /// # let group_id = alice.create_group("tea").await?;
    /// let ciphertext = alice
    ///     .transact(&group_id, |tx| {
    ///         let message = tx.group.create_message(tx.provider, tx.signer, b"hello")?.to_bytes()?;
    ///         tx.records.put("outbox/42", message.clone())?;
    ///         Ok(message)
    ///     })
    ///     .await?;
    /// # assert!(!ciphertext.is_empty());
    /// # Ok::<(), mls_keep::Error>(())
    /// # }).unwrap();
    /// ```
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn transact<T>(
        &mut self,
        group: &GroupId,
        f: impl FnOnce(&mut Transaction<'_, C>) -> Result<T, BoxError>,
    ) -> Result<T> {
        self.try_transact(group, f).await
    }

    async fn try_transact<T>(
        &mut self,
        group: &GroupId,
        f: impl FnOnce(&mut Transaction<'_, C>) -> Result<T, BoxError>,
    ) -> Result<T> {
        let mut session = self.begin(std::slice::from_ref(group)).await?;
        let result = f(&mut session.transaction()?).map_err(|error| session.aborted(error))?;
        session.commit().await?;
        Ok(result)
    }

    /// As [`transact`](Self::transact), over any number of groups: none to make key packages or to join, several to
    /// branch or to reinitialise (RFC 9420 section 11). It is one commit all the same.
    ///
    /// # Errors
    /// As [`transact`](Self::transact).
    #[instrument(level = "debug", skip_all, fields(groups = groups.len()), err(level = "debug"))]
    pub async fn transact_groups<T>(
        &mut self,
        groups: &[GroupId],
        f: impl FnOnce(&mut GroupsTransaction<'_, C>) -> Result<T, BoxError>,
    ) -> Result<T> {
        self.try_transact_groups(groups, f).await
    }

    async fn try_transact_groups<T>(
        &mut self,
        groups: &[GroupId],
        f: impl FnOnce(&mut GroupsTransaction<'_, C>) -> Result<T, BoxError>,
    ) -> Result<T> {
        let mut session = self.begin(groups).await?;
        let result = f(&mut session.groups_transaction()).map_err(|error| session.aborted(error))?;
        session.commit().await?;
        Ok(result)
    }

    /// Begins a transaction over `groups`. If one of them was restored and not entered anew, nothing can be signed in it.
    ///
    /// # Errors
    /// `NotFound` if the client does not have one of them, `Invalid` if one is named twice, `Corrupt`; and the errors of
    /// the backend.
    pub async fn begin(&mut self, groups: &[GroupId]) -> Result<Session<'_, C>> {
        let mut session = self.begin_any(groups).await?;
        if session.needs_rejoin() {
            // Nothing is sent, committed or proposed without a signature.
            session.signer = Some(session.signer().withheld());
            session.provider.storage().hide_signers(true);
        }
        Ok(session)
    }

    /// As [`begin`](Self::begin), also to enter a restored group anew.
    async fn begin_any(&mut self, groups: &[GroupId]) -> Result<Session<'_, C>> {
        self.freshen().await?;
        self.uses += 1;
        for group in groups {
            self.loaded_group(group).await?;
            self.burn_reservation(group).await?;
            // Loading the next one must not take it away.
            self.groups.get_mut(group.as_slice()).ok_or_else(no_group)?.used = self.uses;
        }
        let mut named = BTreeMap::new();
        let mut loaded = Vec::with_capacity(groups.len());
        for id in groups {
            let memory = self.groups.get_mut(id.as_slice()).ok_or_else(no_group)?;
            named.insert(id.as_slice().into(), Arc::clone(&memory.scope.records));
            // Taken, so that whatever happens to the session, memory is not ahead of the records. It is there, unless the
            // group is named twice.
            let twice = || Error::new(ErrorKind::Invalid, "a transaction names a group twice");
            loaded.push(memory.group.take().ok_or_else(twice)?);
        }
        let storage = TransactionStorage::new(Arc::clone(&self.own.records), named);
        let provider = Provider::new(Arc::clone(&self.crypto), storage);
        let signer = loaded.first().and_then(|group| self.profile.other_signer(group, provider.storage()));
        self.profile.signer.was_missed();
        let now = (self.wall_clock)();
        Ok(Session { client: self, provider, groups: loaded, named: groups.to_vec(), signer, now })
    }

    /// A transaction over one group's scope, whether or not there is a group in it.
    pub(super) async fn begin_at(&mut self, group: &GroupId) -> Result<Session<'_, C>> {
        self.freshen().await?;
        if self.load_scope_or_default(group.as_slice()).await?.scope.has_group() {
            return self.begin_any(std::slice::from_ref(group)).await;
        }
        self.uses += 1;
        let memory = self.groups.entry(group.as_slice().into()).or_default();
        memory.used = self.uses;
        let named = BTreeMap::from([(group.as_slice().into(), Arc::clone(&memory.scope.records))]);
        let storage = TransactionStorage::new(Arc::clone(&self.own.records), named);
        let provider = Provider::new(Arc::clone(&self.crypto), storage);
        self.profile.signer.was_missed();
        let now = (self.wall_clock)();
        Ok(Session { client: self, provider, groups: Vec::new(), named: Vec::new(), signer: None, now })
    }

    /// Runs `f` until it does not conflict with another writer. For operations that may be repeated.
    pub(super) async fn repeat<T>(
        &mut self,
        groups: &[GroupId],
        mut f: impl FnMut(&mut GroupsTransaction<'_, C>) -> Result<T, BoxError>,
    ) -> Result<T> {
        let mut attempt = 1;
        loop {
            let result = self.try_transact_groups(groups, &mut f).await;
            if !self.may_repeat(&result, &mut attempt) {
                return result;
            }
        }
    }

    /// As [`repeat`](Self::repeat), on one group.
    pub(super) async fn repeat_on<T>(
        &mut self,
        group: &GroupId,
        mut f: impl FnMut(&mut Transaction<'_, C>) -> Result<T, BoxError>,
    ) -> Result<T> {
        let mut attempt = 1;
        loop {
            let result = self.try_transact(group, &mut f).await;
            if !self.may_repeat(&result, &mut attempt) {
                return result;
            }
        }
    }

    /// # Errors
    /// `NeedsRejoin` if the group was restored and not entered anew.
    pub(super) async fn ensure_unmarked(&mut self, group: &GroupId) -> Result<()> {
        self.loaded_group(group).await?;
        match self.groups.get(group.as_slice()).is_some_and(|memory| memory.scope.needs_rejoin()) {
            true => Err(needs_rejoin()),
            false => Ok(()),
        }
    }

    /// Whether what conflicted may be done again, on what somebody else has stored meanwhile.
    pub(super) fn may_repeat<T>(&self, result: &Result<T>, attempt: &mut usize) -> bool {
        const ATTEMPTS: usize = 8;
        *attempt += 1;
        let conflicts = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict);
        conflicts && !self.has_unsaved() && *attempt <= ATTEMPTS
    }
}

impl<C: CryptoProvider> Session<'_, C> {
    /// What OpenMLS calls take.
    pub fn provider(&self) -> &Provider<C> {
        &self.provider
    }

    /// The signature key of the client's leaf in the first group; of its new key packages and groups if none is named.
    pub fn signer(&self) -> &ClientSigner {
        self.signer.as_ref().unwrap_or(&self.client.profile.signer)
    }

    /// Writes the application's records of a scope.
    pub fn records(&self, scope: Scope) -> RecordWriter<'_> {
        RecordWriter::new(self.provider.storage(), scope)
    }

    /// The value of a record of the application, as this transaction has it: what it wrote, or what was stored when it began.
    /// If somebody else changes the scope until it is committed, that is a `Conflict`.
    ///
    /// # Errors
    /// `Invalid` if the session does not name the group, `Conflict` if somebody else has changed the scope already; and as
    /// [`Client::record`].
    pub async fn record(&mut self, scope: &Scope, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = application_key(key.as_ref())?;
        if matches!(scope, Scope::Group(id) if !self.named.contains(id)) {
            return Err(Error::new(ErrorKind::Invalid, "the session does not name this group"));
        }
        let storage = self.provider.storage();
        match storage.written(scope, &key) {
            Some(written) => Ok(written),
            None => self.client.try_read_record(scope, &key).await,
        }
    }

    /// The first named group with everything that a call needs.
    ///
    /// # Errors
    /// `Invalid` if the session names no group.
    pub fn transaction(&mut self) -> Result<Transaction<'_, C>> {
        let group =
            self.groups.first_mut().ok_or_else(|| Error::new(ErrorKind::Invalid, "the session names no group"))?;
        let records = RecordWriter::new(self.provider.storage(), Scope::Group(group.group_id().clone()));
        let client = &*self.client;
        let signer = self.signer.as_ref().unwrap_or(&client.profile.signer);
        let habits = Habits {
            identity: &client.profile.identity,
            retention: client.profile.settings.retention(),
            outbox: client.outbox,
            now: self.now,
        };
        Ok(Transaction { group, provider: &self.provider, signer, records, habits })
    }

    /// All named groups with everything that a call needs.
    pub fn groups_transaction(&mut self) -> GroupsTransaction<'_, C> {
        let signer = self.signer.as_ref().unwrap_or(&self.client.profile.signer);
        let Profile { credential, signer: own_signer, .. } = &self.client.profile;
        GroupsTransaction { groups: &mut self.groups, provider: &self.provider, signer, credential, own_signer }
    }

    /// Of groups that have none of their own, and when this began.
    pub(super) fn retention_and_now(&self) -> (Retention, SystemTime) {
        (self.client.profile.settings.retention(), self.now)
    }

    /// The state of the client's own scope that this works on.
    pub(super) fn own_version(&self) -> Option<ScopeVersion> {
        self.client.own.version
    }

    /// The named groups.
    pub(super) fn groups(&self) -> &[MlsGroup] {
        &self.groups
    }

    /// A provider in which the client has no groups, and from which nothing is committed.
    pub(super) fn provider_apart(&self) -> Provider<C> {
        let storage = TransactionStorage::new(Arc::clone(&self.client.own.records), BTreeMap::new());
        Provider::new(Arc::clone(&self.client.crypto), storage)
    }

    /// Replaces the groups of this session, whose storage is left to `f`.
    pub(super) fn replace_groups(
        &mut self,
        f: impl FnOnce(&Provider<C>, Vec<MlsGroup>) -> Result<Vec<MlsGroup>, BoxError>,
    ) -> Result<()> {
        let groups = f(&self.provider, std::mem::take(&mut self.groups));
        self.groups = groups.map_err(|error| self.aborted(error))?;
        Ok(())
    }

    /// What the transaction ends with: what the storage said to OpenMLS, if it said something; or what it was [in
    /// truth](Self::explained).
    pub(super) fn aborted(&self, error: BoxError) -> Error {
        self.explained(aborted_in(self.provider.storage(), error))
    }

    /// What an error of OpenMLS is in truth: that the signer was not given, or a group must be entered anew.
    pub(super) fn explained(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Aborted if self.misses_signer() => no_signer().with_source(error),
            ErrorKind::Aborted if self.needs_rejoin() => needs_rejoin().with_source(error),
            _ => error,
        }
    }

    /// Whether something was to be signed, and the signer was not given.
    fn misses_signer(&self) -> bool {
        let mut signers = self.signer.iter().chain([&self.client.profile.signer]);
        signers.any(ClientSigner::was_missed)
    }

    /// Whether one of the named groups was restored and not entered anew.
    fn needs_rejoin(&self) -> bool {
        let marked =
            |id: &GroupId| self.client.groups.get(id.as_slice()).is_some_and(|memory| memory.scope.needs_rejoin());
        self.named.iter().any(marked)
    }

    /// Commits all that was done, in one commit.
    ///
    /// # Errors
    /// As [`Client::transact`]; `Invalid` if the client's leaf in a group got a signature key that is not stored.
    pub async fn commit(mut self) -> Result<()> {
        self.note_escaped();
        self.provider.storage().hide_signers(false);
        if !self.can_sign() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the client's leaf has a new signature key that is not stored: store it in the same transaction",
            ));
        }
        let changes = self.provider.storage().take_changes();
        let groups = std::mem::take(&mut self.groups);
        self.client.finish(changes, groups).await
    }

    /// Whether the signature key of the client's leaf is there, in each group.
    pub(super) fn can_sign(&self) -> bool {
        self.groups.iter().all(|group| self.client.profile.can_sign(group, self.provider.storage()))
    }

    /// The client's identity.
    #[cfg(feature = "import")]
    pub(super) fn identity(&self) -> &[u8] {
        self.client.identity()
    }

    /// Commits a commit of this client's own that was taken, and with it what the application does then.
    pub(super) async fn commit_then(
        self,
        group: &GroupId,
        summary: &CommitSummary,
        then: Option<Then<'_>>,
    ) -> Result<()> {
        if let Some(then) = then {
            let written = then(&Received::Commit(summary.clone()), &mut self.records(Scope::group(group)));
            written.map_err(|error| self.aborted(error))?;
        }
        self.commit().await
    }

    /// Gives the groups back to the client, if what was done to them has changed nothing.
    pub(super) fn give_back(mut self) {
        self.note_escaped();
        if self.provider.storage().is_untouched() {
            self.client.keep_loaded(std::mem::take(&mut self.groups));
        }
    }

    /// Remembers of which groups there may be another `MlsGroup` than the client's: one that was loaded, or the client's, if
    /// something else stands in its place.
    fn note_escaped(&mut self) {
        self.client.escaped.extend(self.provider.storage().loaded_groups());
        for id in std::mem::take(&mut self.named) {
            if !self.groups.iter().any(|group| *group.group_id() == id) {
                self.client.escaped.insert(id.as_slice().into());
            }
        }
    }
}

impl<C: CryptoProvider> Drop for Session<'_, C> {
    fn drop(&mut self) {
        self.note_escaped();
    }
}
