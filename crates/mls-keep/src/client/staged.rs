//! Commits: staged first, merged when the delivery service took them.
//!
//! Of two members who commit in one epoch, one loses: the delivery service takes the first commit and refuses the other
//! (RFC 9420 section 14). A commit that is merged before it is known to be the first one leaves its sender alone in an
//! epoch that nobody else enters.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::framing::MlsMessageOut;
use openmls::group::{GroupId, MlsGroup};
use openmls::prelude::OpenMlsProvider;
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::arrivals::{self, Arrival};
use super::change::{Change, Committer};
use super::load::no_group;
use super::outbox::{self, OutgoingRecord};
use super::receive::Then;
use super::refusal::{ensure_may_commit, ensure_member};
use super::summary::CommitSummary;
use super::transaction::{GroupsTransaction, Transaction};
use super::{BoxError, Client, CryptoProvider, draft};
use crate::provider::TransactionStorage;
use crate::records::{self, Digest, Kind, codec};
use crate::scope::Scope;

/// A commit of the client's own.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct OwnCommit {
    /// The group.
    pub group: GroupId,
    /// The epoch that it is made in. The delivery service takes one commit for each.
    pub epoch: u64,
    /// For the members that were there before: the TLS encoding of an `MLSMessage`.
    pub commit: Vec<u8>,
    /// For new members, if there are any: the TLS encoding of an `MLSMessage` that is a Welcome. Worth nothing before the
    /// commit was taken.
    pub welcome: Option<Vec<u8>>,
    /// The GroupInfo of the new epoch, if [it was wanted](Change::with_group_info).
    pub group_info: Option<Vec<u8>>,
}

/// The staged commit: record `03` of its group's scope.
#[derive(Deserialize, Serialize)]
pub(crate) struct StagedRecord {
    pub(super) epoch: u64,
    /// Its number in the outbox.
    pub(super) outgoing: u64,
    /// By which it is recognised when it arrives.
    pub(super) digest: Digest,
    /// It is an external commit, by which this client enters the group.
    #[serde(default)]
    pub(crate) is_entry: bool,
}

impl<C: CryptoProvider> Client<C> {
    /// Makes a commit, and does not merge it: the group stays in its epoch until [`confirm`](Self::confirm). The commit is
    /// durable, and in the outbox, when this returns.
    ///
    /// Give it to the delivery service. If it takes the commit, `confirm`; if it took another one for this epoch before,
    /// [`reject`](Self::reject), or just [`receive`](Self::receive) that other one. If its answer is lost, give it the
    /// commit again: [`pending`](Self::pending) has it, also after a restart. When the commit itself comes back,
    /// `receive` confirms it. Messages can be sent and received meanwhile.
    ///
    /// # Errors
    /// `Invalid` if a key package is not a valid one, `NotFound` if the client has no such group or nobody has the identity
    /// or leaf that is to be removed, `NotMember` if it was removed, `NeedsRejoin` if the group was restored and not
    /// entered anew, `CommitPending` if a commit is staged already,
    /// `Aborted` if OpenMLS refuses, which may be for what others proposed (see [`Change::without_proposals`]), `Conflict`; and
    /// the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn stage(&mut self, group: &GroupId, change: Change) -> Result<OwnCommit> {
        self.make_commit(group, change, |tx, made, bytes| {
            let outgoing = outbox::put(tx.provider.storage(), &made.group, bytes)?;
            let digest = records::digest(&made.commit);
            let staged = StagedRecord { epoch: made.epoch, outgoing, digest, is_entry: false };
            let staged = codec::encode(Kind::Staged, &staged, 0)?;
            tx.provider.storage().put(&Scope::group(&made.group), Kind::Staged.only(), Some(staged));
            Ok(())
        })
        .await
    }

    /// Makes a commit and merges it at once, whatever others do at the same time. For groups of which only one member ever
    /// commits, and for those that have no delivery service: if two members commit in one epoch, the group falls apart.
    ///
    /// # Errors
    /// As [`stage`](Self::stage).
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn commit_at_once(&mut self, group: &GroupId, change: Change) -> Result<OwnCommit> {
        let outbox = self.outbox;
        self.make_commit(group, change, |tx, made, bytes| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            group.merge_pending_commit(tx.provider)?;
            if outbox {
                outbox::put(tx.provider.storage(), &made.group, bytes)?;
            }
            Ok(())
        })
        .await
    }

    /// Merges the staged commit, since the delivery service took it. It leaves the outbox in the same commit; its Welcome, if
    /// there is one, stays there until it is [`delivered`](Self::delivered), as it is only now worth something.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group or no commit is staged, `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn confirm(&mut self, group: &GroupId) -> Result<CommitSummary> {
        self.confirm_with(group, None).await
    }

    pub(super) async fn confirm_with(&mut self, group: &GroupId, mut then: Option<Then<'_>>) -> Result<CommitSummary> {
        let mut attempt = 1;
        loop {
            let then = then.as_mut().map(|then| &mut **then as Then<'_>);
            let confirmed = match self.staged(group).await? {
                Some(staged) if staged.is_entry => self.try_confirm_entry(group, &staged, then).await,
                Some(staged) => self.try_confirm(group, &staged, then).await,
                None => self.try_confirm_unlisted(group, then).await,
            };
            if !self.may_repeat(&confirmed, &mut attempt) {
                return confirmed;
            }
        }
    }

    /// A commit that was staged by OpenMLS's own calls, here or before the group was imported.
    async fn try_confirm_unlisted(&mut self, group: &GroupId, then: Option<Then<'_>>) -> Result<CommitSummary> {
        let mut session = self.begin(std::slice::from_ref(group)).await?;
        let merge = |tx: Transaction<'_, C>| {
            ensure_staged(tx.group)?;
            ensure_member(tx.group)?;
            let summary = CommitSummary::of_pending(tx.group)?;
            tx.group.merge_pending_commit(tx.provider)?;
            Ok(summary)
        };
        let summary = merge(session.transaction()?).map_err(|error: BoxError| session.aborted(error))?;
        session.commit_then(group, &summary, then).await?;
        Ok(summary)
    }

    async fn try_confirm(
        &mut self,
        group: &GroupId,
        staged: &StagedRecord,
        then: Option<Then<'_>>,
    ) -> Result<CommitSummary> {
        let key = Kind::Outgoing.numbered(staged.outgoing);
        let outgoing = self.read_record(&Scope::group(group), &key).await?;
        let mut session = self.begin(std::slice::from_ref(group)).await?;
        ensure_still_staged(session.provider().storage(), group, staged)?;
        let outgoing: OutgoingRecord = codec::decode(Kind::Outgoing, &outgoing.ok_or_else(not_in_outbox)?)?;
        let merge = |tx: Transaction<'_, C>| {
            ensure_member(tx.group)?;
            ensure_staged(tx.group)?;
            let summary = CommitSummary::of_pending(tx.group)?;
            tx.group.merge_pending_commit(tx.provider)?;
            let storage = tx.provider.storage();
            drop_staged(storage, group, staged);
            if outgoing.welcome.is_some() {
                let left = OutgoingRecord { message: None, welcome: outgoing.welcome, group_info: None };
                storage.put(&Scope::group(group), key, Some(codec::encode(Kind::Outgoing, &left, 0)?));
            }
            // When the service sends it to everybody, it is known.
            arrivals::note(storage, group, &staged.digest, Arrival { number: None })?;
            Ok(summary)
        };
        let summary = merge(session.transaction()?).map_err(|error: BoxError| session.aborted(error))?;
        session.commit_then(group, &summary, then).await?;
        Ok(summary)
    }

    /// Drops the staged commit, since the delivery service refused it. It leaves the outbox in the same commit.
    ///
    /// # Errors
    /// As [`confirm`](Self::confirm).
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn reject(&mut self, group: &GroupId) -> Result<()> {
        if self.staged(group).await?.is_some_and(|staged| staged.is_entry) {
            return self.reject_entry(group).await;
        }
        self.repeat(std::slice::from_ref(group), |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            ensure_member(group)?;
            ensure_staged(group)?;
            group.clear_pending_commit(tx.provider.storage())?;
            take_staged(tx.provider.storage(), group.group_id())?;
            Ok(())
        })
        .await
    }

    /// The staged commit, if there is one: what to give to the delivery service again after a restart.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Corrupt`; and the errors of the backend.
    pub async fn pending(&mut self, group: &GroupId) -> Result<Option<OwnCommit>> {
        let scope = Scope::group(group);
        let Some(StagedRecord { epoch, outgoing, .. }) = self.staged(group).await? else {
            self.loaded_group(group).await?;
            return Ok(None);
        };
        let outgoing = self.read_record(&scope, &Kind::Outgoing.numbered(outgoing)).await?;
        let OutgoingRecord { message, welcome, group_info } =
            codec::decode(Kind::Outgoing, &outgoing.ok_or_else(not_in_outbox)?)?;
        let commit = message.ok_or_else(not_in_outbox)?;
        Ok(Some(OwnCommit { group: group.clone(), epoch, commit, welcome, group_info }))
    }

    /// What is remembered of the staged commit, if there is one.
    pub(super) async fn staged(&mut self, group: &GroupId) -> Result<Option<StagedRecord>> {
        self.freshen().await?;
        let scope = &self.load_scope_or_default(group.as_slice()).await?.scope;
        let staged = scope.records.get(Kind::Staged.only().as_slice());
        let staged = staged.map(|staged| codec::decode(Kind::Staged, staged)).transpose();
        if !scope.is_unsaved() && scope.records.is_empty() {
            self.groups.remove(group.as_slice());
        }
        staged
    }

    async fn make_commit(
        &mut self,
        group: &GroupId,
        change: Change,
        mut then: impl FnMut(&mut GroupsTransaction<'_, C>, &OwnCommit, &OutgoingRecord) -> Result<(), BoxError>,
    ) -> Result<OwnCommit> {
        let key_packages = change.validate(self.crypto.as_ref())?;
        let group_name = self.name_of(group).await?;
        self.ensure_unmarked(group).await?;
        self.repeat(std::slice::from_ref(group), |tx| {
            let [mls_group] = &mut *tx.groups else { return Err(no_group().into()) };
            ensure_may_commit(mls_group)?;
            if tx.provider.storage().get(&Scope::group(group), &Kind::Staged.only()).is_some() {
                return Err(Error::new(ErrorKind::CommitPending, "an external commit is staged in this group").into());
            }
            let epoch = mls_group.epoch().as_u64();
            let committer = Committer {
                group_name: &group_name,
                signer: tx.signer,
                own_signer: tx.own_signer,
                credential: tx.credential,
            };
            let bundle = change.build(mls_group, tx.provider, key_packages.clone(), &committer)?;
            draft::confirm_commit(mls_group, tx.provider, &bundle)?;
            let (commit, welcome, group_info) = bundle.into_messages();
            let to_bytes = |message: Option<MlsMessageOut>| message.map(|message| message.to_bytes()).transpose();
            let group_info = to_bytes(group_info.filter(|_| change.wants_group_info()))?;
            let commit = commit.to_bytes()?;
            let bytes = OutgoingRecord { message: Some(commit.clone()), welcome: to_bytes(welcome)?, group_info };
            let made = OwnCommit {
                group: group.clone(),
                epoch,
                commit,
                welcome: bytes.welcome.clone(),
                group_info: bytes.group_info.clone(),
            };
            then(tx, &made, &bytes)?;
            Ok(made)
        })
        .await
    }
}

/// Whether these bytes are the staged commit of the group.
pub(super) fn is_staged(storage: &TransactionStorage, group: &GroupId, message: &[u8]) -> Result<bool> {
    has_staged(storage, group, &records::digest(message))
}

/// # Errors
/// `Conflict` if somebody else has confirmed or rejected `staged` since it was read: what belongs to it is of an older state.
pub(super) fn ensure_still_staged(storage: &TransactionStorage, group: &GroupId, staged: &StagedRecord) -> Result<()> {
    match has_staged(storage, group, &staged.digest)? {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Conflict, "somebody else has confirmed or rejected the staged commit")),
    }
}

fn has_staged(storage: &TransactionStorage, group: &GroupId, digest: &Digest) -> Result<bool> {
    let staged = storage.get(&Scope::group(group), &Kind::Staged.only());
    let staged: Option<StagedRecord> = staged.map(|value| codec::decode(Kind::Staged, &value)).transpose()?;
    Ok(staged.is_some_and(|staged| staged.digest == *digest))
}

/// Whether a commit of this epoch, once merged, takes the place of the staged one.
pub(super) fn is_overtaken(storage: &TransactionStorage, group: &GroupId, epoch: u64) -> Result<bool> {
    let staged = storage.get(&Scope::group(group), &Kind::Staged.only());
    let staged: Option<StagedRecord> = staged.map(|value| codec::decode(Kind::Staged, &value)).transpose()?;
    // An external commit may be of an epoch that this client has yet to reach.
    Ok(staged.is_some_and(|staged| !staged.is_entry || staged.epoch == epoch))
}

/// Removes what is remembered of the staged commit, and its message from the outbox.
pub(super) fn take_staged(storage: &TransactionStorage, group: &GroupId) -> Result<Option<StagedRecord>> {
    let scope = Scope::group(group);
    let Some(staged) = storage.get(&scope, &Kind::Staged.only()) else { return Ok(None) };
    let staged: StagedRecord = codec::decode(Kind::Staged, &staged)?;
    drop_staged(storage, group, &staged);
    Ok(Some(staged))
}

/// As [`take_staged`], of a commit that is known.
pub(super) fn drop_staged(storage: &TransactionStorage, group: &GroupId, staged: &StagedRecord) {
    let scope = Scope::group(group);
    storage.put(&scope, Kind::Staged.only(), None);
    storage.put(&scope, Kind::Outgoing.numbered(staged.outgoing), None);
    if staged.is_entry {
        storage.put(&scope, Kind::Entry.only(), None);
    }
}

fn not_in_outbox() -> Error {
    Error::new(ErrorKind::Corrupt, "the staged commit is not in the outbox")
}

pub(super) fn nothing_staged() -> Error {
    Error::new(ErrorKind::NotFound, "no commit is staged in this group")
}

fn ensure_staged(group: &MlsGroup) -> Result<()> {
    match group.pending_commit() {
        Some(_) => Ok(()),
        None => Err(nothing_staged()),
    }
}

impl std::fmt::Debug for OwnCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnCommit")
            .field("epoch", &self.epoch)
            .field("commit", &self.commit.len())
            .field("welcome", &self.welcome.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}
