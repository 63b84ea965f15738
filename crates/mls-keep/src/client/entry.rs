//! Entering a group by an external commit: a newcomer whom nobody invites, or a member that lost its state.
//!
//! The commit is staged like any other: what the group was for this client stays until the delivery service took it (RFC
//! 9420 sections 12.4.3.2 and 14). OpenMLS merges an external commit at once, so it is made in a storage of its own, and
//! the group that comes out of it waits as one record.

use std::collections::BTreeMap;
use std::sync::Arc;

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::extensions::{Extension, UnknownExtension};
use openmls::framing::MlsMessageBodyIn;
use openmls::group::{GroupId, MlsGroup};
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{LeafNodeParameters, OpenMlsProvider};
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::arrivals::{self, Arrival};
use super::groups::{NAME_EXTENSION, add_to_list};
use super::membership::{JoinOptions, read_name};
use super::messages::parse_message;
use super::outbox::{self, OutgoingRecord};
use super::receive::Then;
use super::refusal::{aborted, aborted_in, ensure_member};
use super::staged::{OwnCommit, StagedRecord, drop_staged, ensure_still_staged, nothing_staged};
use super::summary::{CommitSummary, Committer, Newcomer};
use super::{Client, CryptoProvider};
use crate::provider::{Records, TransactionStorage};
use crate::records::{self, Digest, Kind, Wiped, codec};
use crate::scope::Scope;

type KeyAndValue = (Wiped<Vec<u8>>, Wiped<Vec<u8>>);

/// The group as a staged external commit leaves it: record `34` of its scope.
#[derive(Deserialize, Serialize)]
struct EntryRecord {
    /// As in the staged commit's record: they belong together.
    digest: Digest,
    name: Wiped<String>,
    records: Vec<KeyAndValue>,
}

impl<C: CryptoProvider> Client<C> {
    /// The GroupInfo of a group's epoch (RFC 9420 section 12.4.3), with which others enter by an external commit: the TLS
    /// encoding of an `MLSMessage`. Without the ratchet tree it is short, and who enters needs the tree from elsewhere:
    /// [`ratchet_tree`](Self::ratchet_tree).
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `NotMember` if it was removed, `Aborted` if OpenMLS refuses, `Corrupt`; and
    /// the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn group_info(&mut self, group: &GroupId, with_ratchet_tree: bool) -> Result<Vec<u8>> {
        let name = self.name_of(group).await?;
        let named = Extension::Unknown(NAME_EXTENSION, UnknownExtension(name.as_bytes().to_vec()));
        let mut session = self.begin(std::slice::from_ref(group)).await?;
        let tx = session.transaction()?;
        ensure_member(tx.group)?;
        let named = (!name.is_empty()).then_some(named);
        let crypto = tx.provider.crypto();
        let info = tx.group.export_group_info_with_additional_extensions(crypto, tx.signer, with_ratchet_tree, named);
        let info = info.map_err(|error| session.aborted(error.into()))?;
        session.give_back();
        info.to_bytes().map_err(|error| aborted(error.into()))
    }

    /// The ratchet tree of a group's epoch: the TLS encoding of `ratchet_tree` (RFC 9420 section 12.4.3.3).
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Corrupt`; and the errors of the backend.
    pub async fn ratchet_tree(&mut self, group: &GroupId) -> Result<Vec<u8>> {
        let tree = self.loaded_group(group).await?.export_ratchet_tree();
        tree.tls_serialize_detached().map_err(|error| aborted(error.into()))
    }

    /// Makes an external commit, by which this client enters the group of a GroupInfo, the TLS encoding of an `MLSMessage`.
    /// It needs no invitation, and is the way back for a member that lost its state, or a commit: its old leaf goes in the
    /// same commit, and the history stays.
    ///
    /// As with [`stage`](Self::stage), the commit is durable and in the outbox when this returns, and nothing else has
    /// changed. If the delivery service takes it, [`confirm`](Self::confirm), or [`receive`](Self::receive) it; if it
    /// took another one for this epoch before, [`reject`](Self::reject), and enter with the GroupInfo of the new epoch.
    ///
    /// Anyone with a GroupInfo can enter, and the members see it only when the commit arrives: their
    /// [policy](Self::set_receive_policy) decides. Who signed the GroupInfo is checked against the tree that comes with
    /// it, so where that came from is what the application trusts.
    ///
    /// # Errors
    /// `Invalid` if the bytes are no GroupInfo, `CommitPending` if a commit is staged in the group already, `Aborted` if
    /// OpenMLS refuses (for instance because there is no ratchet tree), `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn stage_entry(&mut self, group_info: impl AsRef<[u8]>, options: JoinOptions) -> Result<OwnCommit> {
        let info = parse_group_info(group_info.as_ref())?;
        let mut attempt = 1;
        loop {
            let staged = self.try_stage_entry(info.clone(), &options).await;
            if !self.may_repeat(&staged, &mut attempt) {
                return staged;
            }
        }
    }

    async fn try_stage_entry(&mut self, info: VerifiableGroupInfo, options: &JoinOptions) -> Result<OwnCommit> {
        let group = info.group_id().clone();
        let scope = Scope::group(&group);
        let epoch = info.epoch().as_u64();
        let name = info.extensions().unknown(NAME_EXTENSION).map(|name| read_name(&name.0)).unwrap_or_default();
        let pending = || Error::new(ErrorKind::CommitPending, "a commit is staged in this group already");
        if self.staged(&group).await?.is_some() {
            return Err(pending());
        }
        let own = (self.ciphersuite(), self.credential().clone(), self.profile.capabilities(&self.profile.settings));
        let config = self.profile.settings.join_config();
        let session = self.begin_at(&group).await?;
        let (ciphersuite, mut credential, capabilities) = own;
        // By OpenMLS's own calls.
        if session.groups().iter().any(|group| group.pending_commit().is_some()) {
            session.give_back();
            return Err(pending());
        }
        if info.ciphersuite() != ciphersuite {
            return Err(Error::new(ErrorKind::Invalid, "the group has another ciphersuite than this client"));
        }
        // The leaf that goes is found by its signature key.
        if let Some(old) = session.groups().first().filter(|old| old.is_active())
            && let Some(leaf) = old.own_leaf_node()
        {
            credential.signature_key = leaf.signature_key().clone();
            credential.credential = leaf.credential().clone();
        }
        let apart = session.provider_apart();
        let leaf = LeafNodeParameters::builder().with_capabilities(capabilities).build();
        let mut builder = MlsGroup::external_commit_builder().with_config(config);
        if let Some(tree) = options.parsed_ratchet_tree()? {
            builder = builder.with_ratchet_tree(tree);
        }
        if !options.checks_lifetimes() {
            builder = builder.skip_lifetime_validation();
        }
        let build = || {
            let builder = builder.build_group(&apart, info, credential)?.leaf_node_parameters(leaf);
            let built = builder.load_psks(apart.storage())?;
            let built = built.build(apart.rand(), apart.crypto(), session.signer(), |_| true)?;
            let (_, bundle) = built.finalize(&apart)?;
            Ok(bundle.into_commit().to_bytes()?)
        };
        let commit = build().map_err(|error| session.explained(aborted_in(apart.storage(), error)))?;
        let mut made = apart.storage().take_changes();
        let records = made.groups.remove(group.as_slice()).map(|made| made.records).unwrap_or_default();
        let records = records
            .iter()
            .filter_map(|(key, value)| Some((key.to_vec().into(), value.as_ref()?.as_slice().to_vec().into())));
        let digest = records::digest(&commit);
        let entry = EntryRecord { digest, name, records: records.collect() };

        let storage = session.provider().storage();
        let outgoing = OutgoingRecord { message: Some(commit.clone()), welcome: None, group_info: None };
        let outgoing = outbox::put(storage, &group, &outgoing)?;
        let staged = StagedRecord { epoch, outgoing, digest, is_entry: true };
        storage.put(&scope, Kind::Staged.only(), Some(codec::encode(Kind::Staged, &staged, 0)?));
        storage.put(&scope, Kind::Entry.only(), Some(codec::encode(Kind::Entry, &entry, 0)?));
        session.commit().await?;
        Ok(OwnCommit { group, epoch, commit, welcome: None, group_info: None })
    }

    /// Enters: what the group was for this client goes, and its history stays.
    pub(super) async fn try_confirm_entry(
        &mut self,
        group: &GroupId,
        staged: &StagedRecord,
        then: Option<Then<'_>>,
    ) -> Result<CommitSummary> {
        let scope = Scope::group(group);
        let torn = || Error::new(ErrorKind::Corrupt, "the group that was entered is not what the staged commit says");
        let entry = self.read_record(&scope, &Kind::Entry.only()).await?;
        let entry = entry.map(|entry| codec::decode::<EntryRecord>(Kind::Entry, &entry)).transpose()?;
        let mut session = self.begin_at(group).await?;
        ensure_still_staged(session.provider().storage(), group, staged)?;
        let entry = entry.filter(|entry| entry.digest == staged.digest).ok_or_else(torn)?;
        let records: Records =
            entry.records.into_iter().map(|(key, value)| (key.as_slice().into(), value.release().into())).collect();
        let loaded = BTreeMap::from([(group.as_slice().into(), Arc::new(records.clone()))]);
        let entered = MlsGroup::load(&TransactionStorage::new(Default::default(), loaded), group)?;
        let entered = entered.ok_or_else(torn)?;
        let leaf = entered.own_leaf_node().ok_or_else(torn)?;
        let summary = CommitSummary::of_entry(&entered, Newcomer::of_leaf(leaf));

        session.replace_groups(|provider, _| {
            let storage = provider.storage();
            storage.clear_mls_group(group);
            storage.clear_mark(group);
            for (key, value) in records {
                storage.put(&scope, key, Some(value));
            }
            add_to_list(provider, group, &entry.name, None)?;
            drop_staged(storage, group, staged);
            arrivals::note(storage, group, &staged.digest, Arrival { number: None })?;
            Ok(vec![entered])
        })?;
        session.commit_then(group, &summary, then).await?;
        Ok(summary)
    }

    /// Drops a staged external commit.
    pub(super) async fn reject_entry(&mut self, group: &GroupId) -> Result<()> {
        let mut attempt = 1;
        loop {
            let rejected = self.try_reject_entry(group).await;
            if !self.may_repeat(&rejected, &mut attempt) {
                return rejected;
            }
        }
    }

    async fn try_reject_entry(&mut self, group: &GroupId) -> Result<()> {
        let staged = self.staged(group).await?.filter(|staged| staged.is_entry).ok_or_else(nothing_staged)?;
        let session = self.begin_at(group).await?;
        ensure_still_staged(session.provider().storage(), group, &staged)?;
        drop_staged(session.provider().storage(), group, &staged);
        session.commit().await
    }
}

impl CommitSummary {
    /// Of an external commit of this client's own.
    fn of_entry(entered: &MlsGroup, own: Newcomer) -> Self {
        Self {
            group: entered.group_id().clone(),
            epoch: entered.epoch().as_u64(),
            sender: Committer::Own,
            added: vec![own],
            removed: Vec::new(),
            updated: Vec::new(),
            changes_extensions: false,
            uses_psk: false,
            removes_self: false,
            drops_staged: false,
        }
    }
}

fn parse_group_info(bytes: &[u8]) -> Result<VerifiableGroupInfo> {
    match parse_message(bytes)?.extract() {
        MlsMessageBodyIn::GroupInfo(info) => Ok(info),
        _ => Err(Error::new(ErrorKind::Invalid, "this MLS message is not a GroupInfo")),
    }
}
