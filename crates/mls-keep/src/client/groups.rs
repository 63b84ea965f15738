//! Making, listing and looking at groups.

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes, Value};
use openmls::extensions::Extensions;
use openmls::group::{GroupContext, GroupId, MlsGroup};
use openmls::prelude::{Ciphersuite, Credential, OpenMlsProvider};
use serde::{Deserialize, Serialize};
use tracing::instrument;
use zeroize::Zeroizing;

use super::history::set_retention;
use super::load::{ClientRecord, no_group};
use super::records::Keys;
use super::refusal::{aborted, ensure_member};
use super::settings::GroupSettings;
use super::{Client, CryptoProvider};
use crate::memory::GroupMemory;
use crate::provider::{GroupChanges, Provider, TransactionChanges};
use crate::records::{Kind, Wiped, codec};
use crate::scope::Scope;

/// The GroupInfo extension (RFC 9420 section 13.1) in which a group's name travels to those who join: UTF-8. From the
/// range for private use; other MLS libraries ignore it.
pub const NAME_EXTENSION: u16 = 0xf04b;

/// Longest name of a group, bytes of UTF-8.
pub const MAX_NAME_LEN: usize = 255;

/// A group as it stands.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupSummary {
    /// The MLS group id.
    pub id: GroupId,
    /// The name that it was created or joined with; empty if it had none.
    pub name: String,
    /// The epoch.
    pub epoch: u64,
    /// The number of members.
    pub members: usize,
    /// Whether this client is a member: false once it was removed.
    pub is_active: bool,
    /// Proposals that wait for a commit.
    pub pending_proposals: usize,
    /// Whether a commit of this client is staged.
    pub has_staged: bool,
    /// Whether it was restored from an older state: it can be read and receives, and nothing is sent in it before it is
    /// entered anew.
    pub needs_rejoin: bool,
    /// The ciphersuite.
    pub ciphersuite: Ciphersuite,
}

/// A member of a group.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The index of its leaf.
    pub index: u32,
    /// The identity in its credential.
    pub identity: Vec<u8>,
    /// Its credential.
    pub credential: Credential,
    /// Its signature public key.
    pub signature_key: Vec<u8>,
}

/// A group in the client's list: record `38` of its scope.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct ListedGroup {
    name: Wiped<String>,
    /// The digest of the Welcome by which it was joined.
    welcome: Option<[u8; 16]>,
}

impl ListedGroup {
    pub(super) fn release_name(self) -> String {
        self.name.release()
    }

    pub(super) fn encode(&self) -> Result<Value> {
        codec::encode(Kind::ListedGroup, self, 0)
    }
}

/// What a new group is to be like.
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing by themselves"]
pub struct NewGroup {
    id: Option<GroupId>,
    settings: Option<GroupSettings>,
    extensions: Extensions<GroupContext>,
}

impl NewGroup {
    /// With a random id, the client's settings, and no extensions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The MLS group id, which no other group of the members may have. Random if it is not set.
    pub fn id(mut self, id: GroupId) -> Self {
        self.id = Some(id);
        self
    }

    /// How the group works for this client, in place of the client's settings.
    pub fn settings(mut self, settings: GroupSettings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Extensions of the group's context (RFC 9420 section 13): required capabilities, external senders, the application's.
    pub fn extensions(mut self, extensions: Extensions<GroupContext>) -> Self {
        self.extensions = extensions;
        self
    }
}

impl<C: CryptoProvider> Client<C> {
    /// Creates a group with this client as its only member. A name may be empty and need not be the only one of its kind.
    ///
    /// # Errors
    /// `Invalid` if the name is longer than [`MAX_NAME_LEN`], `Aborted` if OpenMLS fails, `Conflict`; and the errors of
    /// the backend.
    pub async fn create_group(&mut self, name: &str) -> Result<GroupId> {
        self.create_group_with(name, NewGroup::new()).await
    }

    /// As [`create_group`](Self::create_group), with what the group is to be like.
    ///
    /// # Errors
    /// `Invalid` if the client has a group of this id; and as [`create_group`](Self::create_group).
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn create_group_with(&mut self, name: &str, options: NewGroup) -> Result<GroupId> {
        if name.len() > MAX_NAME_LEN {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("the name of a group has at most {MAX_NAME_LEN} bytes"),
            ));
        }
        let settings = options.settings.as_ref().unwrap_or(&self.profile.settings);
        let config = settings.create_config(self.ciphersuite(), self.profile.capabilities(settings));
        let config = config.with_group_context_extensions(options.extensions).build();
        self.repeat(&[], |tx| {
            let credential = tx.credential.clone();
            let group = match &options.id {
                Some(id) => MlsGroup::new_with_group_id(tx.provider, tx.signer, &config, id.clone(), credential)?,
                None => MlsGroup::new(tx.provider, tx.signer, &config, credential)?,
            };
            add_to_list(tx.provider, group.group_id(), name, None)?;
            Ok(group.group_id().clone())
        })
        .await
    }

    /// Changes how a group works for this client, from here on.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn set_group_settings(&mut self, group: &GroupId, settings: &GroupSettings) -> Result<()> {
        let (config, retention) = (settings.join_config(), settings.retention());
        self.repeat_on(group, |tx| {
            tx.group.set_configuration(tx.provider.storage(), &config)?;
            Ok(set_retention(tx.provider.storage(), group, retention)?)
        })
        .await
    }

    /// Changes how groups work that this client makes or enters from here on. Those that it has stay as they are.
    ///
    /// # Errors
    /// `Conflict`; and the errors of the backend.
    pub async fn set_settings(&mut self, settings: GroupSettings) -> Result<()> {
        self.repeat(&[], |tx| {
            let storage = tx.provider.storage();
            let client = ClientRecord { settings: settings.clone(), ..ClientRecord::read(storage)? };
            Ok(client.write(storage)?)
        })
        .await?;
        self.profile.settings = settings;
        Ok(())
    }

    /// Deletes a group with its history and the application's records, without telling anybody.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn forget_group(&mut self, group: &GroupId) -> Result<()> {
        let mut attempt = 1;
        loop {
            let forgotten = self.try_forget(group).await;
            if !self.may_repeat(&forgotten, &mut attempt) {
                return forgotten;
            }
        }
    }

    /// Nothing of the group is read, so that one that does not decode can be forgotten, too.
    async fn try_forget(&mut self, group: &GroupId) -> Result<()> {
        self.freshen().await?;
        let (id, scope) = (group.as_slice(), Scope::group(group));
        let key = Kind::ListedGroup.with(id);
        let listed = self.read_record(&Scope::Client, &key).await?.is_some();
        let mut exists = listed;
        match (self.groups.get(id).filter(|memory| memory.scope.is_unsaved()), &self.store) {
            (Some(memory), _) => exists |= !memory.scope.is_gone(),
            (None, Some(store)) => {
                let version = store.scope_version(&scope.id()?).await?;
                exists |= version.is_some();
                self.groups.insert(id.into(), GroupMemory::unread(version));
            }
            (None, None) => {}
        }
        let mut changes = TransactionChanges::default();
        changes.client.insert(key, None);
        changes.groups.insert(id.into(), GroupChanges { cleared: true, ..GroupChanges::default() });
        let forgotten = if exists { self.finish(changes, Vec::new()).await } else { Err(no_group()) };
        // Of what is not read, no later call may take the place for an empty one.
        if self.groups.get(id).is_some_and(|memory| !memory.scope.is_unsaved()) {
            self.groups.remove(id);
        }
        forgotten
    }

    /// All groups of this client, in the order of their ids, with their names.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn groups(&mut self) -> Result<Vec<(GroupId, String)>> {
        self.freshen().await?;
        let listed = self.listed_groups().await?;
        Ok(listed.into_iter().map(|(id, listed)| (id, listed.release_name())).collect())
    }

    /// The groups that were restored from an older state and must be entered anew, by an external commit
    /// ([`stage_entry`](Self::stage_entry)) or by a Welcome of a member who has removed the old leaf
    /// ([`join_with`](Self::join_with)). In the order of their ids, with their names.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn groups_to_rejoin(&mut self) -> Result<Vec<(GroupId, String)>> {
        self.freshen().await?;
        let marked = loop {
            let Some(store) = &self.store else { return Ok(Vec::new()) };
            let marked = store.scopes_to_rejoin().await;
            if !self.must_repeat(&marked).await? {
                break marked?;
            }
        };
        let mut groups = Vec::new();
        for scope in marked {
            let Some(id) = scope.group_id() else { continue };
            if self.groups.get(id).is_none_or(|memory| !memory.scope.unmarked && !memory.scope.cleared) {
                let id = GroupId::from_slice(id);
                groups.push((id.clone(), self.name_of(&id).await?.release()));
            }
        }
        Ok(groups)
    }

    /// The group that was joined by the Welcome with this digest, if the client is a member of it.
    pub(super) async fn joined_by(&mut self, welcome: &[u8; 16]) -> Result<Option<(GroupId, String)>> {
        for (id, listed) in self.listed_groups().await? {
            if listed.welcome.as_ref() == Some(welcome) && self.loaded_group(&id).await?.is_active() {
                return Ok(Some((id, listed.name.release())));
            }
        }
        Ok(None)
    }

    async fn listed_groups(&mut self) -> Result<Vec<(GroupId, ListedGroup)>> {
        let listed =
            self.read_records(&Scope::Client, Keys::Prefix(&Kind::ListedGroup.only()), usize::MAX, false).await?;
        let id = |key: &[u8]| GroupId::from_slice(key.get(1..).unwrap_or_default());
        let parse = |(key, value): (SecretBytes, Value)| Ok((id(&key), codec::decode(Kind::ListedGroup, &value)?));
        listed.into_iter().map(parse).collect()
    }

    /// A group as it stands.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Corrupt`; and the errors of the backend.
    pub async fn group(&mut self, id: &GroupId) -> Result<GroupSummary> {
        let name = self.name_of(id).await?;
        self.loaded_group(id).await?;
        let memory = self.groups.get(id.as_slice()).ok_or_else(no_group)?;
        let group = memory.group.as_ref().ok_or_else(no_group)?;
        // An external commit is staged beside the group.
        let has_entry = memory.scope.records.contains_key(Kind::Staged.only().as_slice());
        Ok(GroupSummary {
            needs_rejoin: memory.scope.needs_rejoin(),
            id: id.clone(),
            name: name.release(),
            epoch: group.epoch().as_u64(),
            members: group.members().count(),
            is_active: group.is_active(),
            pending_proposals: group.pending_proposals().count(),
            has_staged: group.pending_commit().is_some() || has_entry,
            ciphersuite: group.ciphersuite(),
        })
    }

    /// Looks at a group as OpenMLS has it, without a transaction.
    ///
    /// # Errors
    /// As [`group`](Self::group).
    pub async fn with_group<T>(&mut self, group: &GroupId, f: impl FnOnce(&MlsGroup) -> T) -> Result<T> {
        Ok(f(self.loaded_group(group).await?))
    }

    /// The members of a group, in the order of their leaves.
    ///
    /// # Errors
    /// As [`group`](Self::group).
    pub async fn members(&mut self, group: &GroupId) -> Result<Vec<GroupMember>> {
        let members = self.loaded_group(group).await?.members();
        Ok(members.map(GroupMember::from).collect())
    }

    /// A secret of `len` bytes that every member of the group can derive in this epoch (RFC 9420 section 8.5).
    ///
    /// # Errors
    /// `NotMember` if the client was removed, `Aborted` if OpenMLS refuses; and as [`group`](Self::group).
    pub async fn export_secret(
        &mut self,
        group: &GroupId,
        label: &str,
        context: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let crypto = std::sync::Arc::clone(&self.crypto);
        let group = self.loaded_group(group).await?;
        ensure_member(group)?;
        let secret = group.export_secret(crypto.as_ref(), label, context, len);
        Ok(Zeroizing::new(secret.map_err(|error| aborted(error.into()))?))
    }

    pub(super) async fn name_of(&mut self, group: &GroupId) -> Result<Wiped<String>> {
        let key = Kind::ListedGroup.with(group.as_slice());
        match self.read_record(&Scope::Client, &key).await? {
            Some(value) => Ok(codec::decode::<ListedGroup>(Kind::ListedGroup, &value)?.name),
            None => Ok(Wiped::default()),
        }
    }
}

impl From<openmls::group::Member> for GroupMember {
    fn from(member: openmls::group::Member) -> Self {
        Self {
            index: member.index.u32(),
            identity: identity_of(&member.credential).to_vec(),
            credential: member.credential,
            signature_key: member.signature_key,
        }
    }
}

/// The identity in a credential; of other kinds than basic ones, the credential itself.
pub(super) fn identity_of(credential: &Credential) -> &[u8] {
    credential.serialized_content()
}

pub(super) fn add_to_list<C: CryptoProvider>(
    provider: &Provider<C>,
    group: &GroupId,
    name: &str,
    welcome: Option<[u8; 16]>,
) -> Result<()> {
    let listed = ListedGroup { name: name.to_owned().into(), welcome }.encode()?;
    provider.storage().put(&Scope::Client, Kind::ListedGroup.with(group.as_slice()), Some(listed));
    Ok(())
}
