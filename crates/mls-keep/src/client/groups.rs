//! Creating, joining and changing groups.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::extensions::{Extension, UnknownExtension};
use openmls::framing::{MlsMessageBodyIn, MlsMessageIn, MlsMessageOut};
use openmls::group::{GroupId, MlsGroup, ProcessedWelcome};
use openmls::key_packages::{KeyPackage, KeyPackageIn};
use openmls::messages::Welcome;
use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::{Ciphersuite, Credential, LeafNodeParameters, OpenMlsProvider, ProtocolVersion};
use openmls_basic_credential::SignatureKeyPair;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::load::no_group;
use super::session::aborted;
use super::{BoxError, Client, CryptoProvider, outbox};
use crate::provider::{Provider, Scope};
use crate::{record, record_key};

/// The GroupInfo extension (RFC 9420 section 13.1) in which a group's name travels to those who join: UTF-8. From the
/// range for private use; other MLS libraries ignore it.
pub const NAME_EXTENSION: u16 = 0xf04b;

/// Longest name of a group, bytes of UTF-8.
pub const MAX_NAME_LEN: usize = 255;

/// Longest MLS message that is taken in, bytes.
pub const MAX_MESSAGE_LEN: usize = 64 << 20;

/// A group as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
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
    /// The ciphersuite.
    pub ciphersuite: Ciphersuite,
}

/// A member of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// The index of its leaf.
    pub index: u32,
    /// The identity in its credential.
    pub identity: Vec<u8>,
    /// Its signature public key.
    pub signature_key: Vec<u8>,
}

/// What inviting makes.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// For the members that were there before.
    pub commit: MlsMessageOut,
    /// For the new members.
    pub welcome: MlsMessageOut,
}

/// What joining gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Joined {
    /// The MLS group id.
    pub id: GroupId,
    /// The name that came with the Welcome; empty if none did.
    pub name: String,
    /// The epoch.
    pub epoch: u64,
}

/// A group in the client's list: record `38` of its scope.
#[derive(Default, Deserialize, Serialize)]
struct ListedGroup {
    name: String,
}

impl<C: CryptoProvider> Client<C> {
    /// Makes a key package (RFC 9420 section 10), with which others can invite this client once.
    ///
    /// # Errors
    /// `Aborted` if OpenMLS fails, `Conflict`; and the errors of the backend.
    pub async fn key_package(&mut self) -> Result<MlsMessageOut> {
        let (ciphersuite, credential) = (self.ciphersuite(), self.credential().clone());
        self.repeat(&[], |tx| {
            let bundle = KeyPackage::builder().build(ciphersuite, tx.provider, tx.signer, credential.clone())?;
            Ok(bundle.into_key_package().into())
        })
        .await
    }

    /// Creates a group with this client as its only member. A name may be empty and need not be the only one of its kind.
    ///
    /// # Errors
    /// `Invalid` if the name is longer than [`MAX_NAME_LEN`], `Aborted` if OpenMLS fails, `Conflict`; and the errors of
    /// the backend.
    pub async fn create_group(&mut self, name: &str) -> Result<GroupId> {
        if name.len() > MAX_NAME_LEN {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("the name of a group has at most {MAX_NAME_LEN} bytes"),
            ));
        }
        let config = self.profile.settings.create_config(self.ciphersuite());
        let credential = self.credential().clone();
        self.repeat(&[], |tx| {
            let group = MlsGroup::new(tx.provider, tx.signer, &config, credential.clone())?;
            list(tx.provider, group.group_id(), name)?;
            Ok(group.group_id().clone())
        })
        .await
    }

    /// Adds members by their key packages, each the TLS encoding of an `MLSMessage`, and merges the commit.
    ///
    /// Where a delivery service may refuse a commit, use [`transact`](Self::transact) and merge when it is accepted.
    ///
    /// # Errors
    /// `Invalid` if a key package is not a valid one, `NotFound` if the client has no such group, `Aborted` if OpenMLS
    /// refuses, `Conflict`; and the errors of the backend.
    pub async fn invite(&mut self, group: &GroupId, key_packages: &[impl AsRef<[u8]>]) -> Result<Invitation> {
        let parse = |bytes: &_| parse_key_package(AsRef::as_ref(bytes), self.crypto.as_ref());
        let key_packages = key_packages.iter().map(parse).collect::<Result<Vec<_>>>()?;
        let name = self.name_of(group).await?.into_bytes();
        let outbox = self.outbox;
        self.repeat(std::slice::from_ref(group), |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            let named = Extension::Unknown(NAME_EXTENSION, UnknownExtension(name.clone()));
            let bundle = group
                .commit_builder()
                .propose_adds(key_packages.iter().cloned())
                .load_psks(tx.provider.storage())?
                .create_group_info_with_extensions((!name.is_empty()).then_some(named))?
                .use_ratchet_tree_extension(true)
                .build(tx.provider.rand(), tx.provider.crypto(), tx.signer, |_| true)?
                .stage_commit(tx.provider)?;
            group.merge_pending_commit(tx.provider)?;
            let (commit, welcome, _) = bundle.into_messages();
            let welcome = welcome.ok_or("there is nobody to invite")?;
            if outbox {
                outbox::put(tx.provider.storage(), group.group_id(), &commit, Some(&welcome))?;
            }
            Ok(Invitation { commit, welcome })
        })
        .await
    }

    /// Joins a group by a Welcome, the TLS encoding of an `MLSMessage`. The key package is used up in the same commit, so
    /// a Welcome that fails leaves it usable. A group from which this client was removed is entered again; its history
    /// stays.
    ///
    /// # Errors
    /// `Invalid` if the bytes are no Welcome or the client is a member already, `Aborted` if OpenMLS refuses (for instance
    /// because no key package of this client is meant), `Conflict`; and the errors of the backend.
    pub async fn join(&mut self, welcome: impl AsRef<[u8]>) -> Result<Joined> {
        let welcome = parse_welcome(welcome.as_ref())?;
        let config = self.profile.settings.join_config();
        // Which group it is stands inside: looked up in a transaction that is thrown away.
        let looked_into = self.begin(&[]).await?;
        let processed = ProcessedWelcome::new_from_welcome(looked_into.provider(), &config, welcome.clone())
            .map_err(|error| aborted(error.into()))?;
        drop(looked_into);
        let id = processed.unverified_group_info().group_id().clone();
        let extensions = processed.unverified_group_info().extensions();
        let name = extensions.unknown(NAME_EXTENSION).map(|name| read_name(&name.0)).unwrap_or_default();
        drop(processed);

        let known = self.load_scope_or_default(id.as_slice()).await?.scope.has_group();
        if known && self.loaded_group(&id).await?.is_active() {
            return Err(Error::new(ErrorKind::Invalid, "the client is a member of this group already"));
        }
        let old = if known { std::slice::from_ref(&id) } else { &[] };
        let mut session = self.begin(old).await?;
        session.replace_groups(|provider, old| {
            for mut old in old {
                old.delete(provider.storage())?;
            }
            let processed = ProcessedWelcome::new_from_welcome(provider, &config, welcome)?;
            let group = processed.into_staged_welcome(provider, None)?.into_group(provider)?;
            list(provider, group.group_id(), &name)?;
            Ok(vec![group])
        })?;
        session.commit().await?;
        let epoch = self.loaded_group(&id).await?.epoch().as_u64();
        Ok(Joined { id, name, epoch })
    }

    /// Renews this client's own keys in the group and commits what was proposed by others, and merges the commit.
    ///
    /// # Errors
    /// As [`invite`](Self::invite).
    pub async fn self_update(&mut self, group: &GroupId) -> Result<MlsMessageOut> {
        let outbox = self.outbox;
        self.repeat(std::slice::from_ref(group), |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            let bundle = group
                .commit_builder()
                .leaf_node_parameters(LeafNodeParameters::default())
                .force_self_update(true)
                .load_psks(tx.provider.storage())?
                .build(tx.provider.rand(), tx.provider.crypto(), tx.signer, |_| true)?
                .stage_commit(tx.provider)?;
            group.merge_pending_commit(tx.provider)?;
            let commit = bundle.into_commit();
            if outbox {
                outbox::put(tx.provider.storage(), group.group_id(), &commit, None)?;
            }
            Ok(commit)
        })
        .await
    }

    /// Removes every member of this identity, and merges the commit.
    ///
    /// # Errors
    /// `NotFound` if nobody has this identity; and as [`invite`](Self::invite).
    pub async fn remove(&mut self, group: &GroupId, identity: impl AsRef<[u8]>) -> Result<MlsMessageOut> {
        let (identity, outbox) = (identity.as_ref(), self.outbox);
        self.repeat(std::slice::from_ref(group), |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            let named = group.members().filter(|member| identity_of(&member.credential) == identity);
            let leaves: Vec<_> = named.map(|member| member.index).collect();
            if leaves.is_empty() {
                return Err(Error::new(ErrorKind::NotFound, "the group has no member of this identity").into());
            }
            let bundle = group
                .commit_builder()
                .propose_removals(leaves)
                .load_psks(tx.provider.storage())?
                .build(tx.provider.rand(), tx.provider.crypto(), tx.signer, |_| true)?
                .stage_commit(tx.provider)?;
            group.merge_pending_commit(tx.provider)?;
            let commit = bundle.into_commit();
            if outbox {
                outbox::put(tx.provider.storage(), group.group_id(), &commit, None)?;
            }
            Ok(commit)
        })
        .await
    }

    /// Proposes that this client leaves. It has left when another member's commit covers the proposal; until then it
    /// receives and cannot send (RFC 9420 section 12.1.2).
    ///
    /// # Errors
    /// As [`invite`](Self::invite).
    pub async fn leave(&mut self, group: &GroupId) -> Result<MlsMessageOut> {
        let outbox = self.outbox;
        self.repeat(std::slice::from_ref(group), |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            let proposal = leave(group, tx.provider, tx.signer)?;
            if outbox {
                outbox::put(tx.provider.storage(), group.group_id(), &proposal, None)?;
            }
            Ok(proposal)
        })
        .await
    }

    /// Deletes a group with its history and the application's records, without telling anybody.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Conflict`; and the errors of the backend.
    pub async fn forget_group(&mut self, group: &GroupId) -> Result<()> {
        let everything = self.all_records(group).await?;
        self.repeat(std::slice::from_ref(group), |tx| {
            let [mls_group] = tx.groups else { return Err(no_group().into()) };
            mls_group.delete(tx.provider.storage())?;
            let scope = Scope::Group(group.as_slice().to_vec());
            for key in &everything {
                tx.provider.storage().put(&scope, key.clone(), None);
            }
            tx.provider.storage().put(&Scope::Client, record_key::listed_group(group.as_slice()), None);
            Ok(())
        })
        .await
    }

    /// All groups of this client, in the order of their ids, with their names.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn groups(&mut self) -> Result<Vec<(GroupId, String)>> {
        self.freshen().await?;
        let scope = mls_keep_core::ScopeId::client();
        let listed = self.read_records(&scope, &[record_key::GROUP_LIST], usize::MAX, false).await?;
        let parse = |(key, value): (Vec<u8>, _)| {
            let listed: ListedGroup = record::decode(&value)?;
            Ok((GroupId::from_slice(key.get(1..).unwrap_or_default()), listed.name))
        };
        listed.into_iter().map(parse).collect()
    }

    /// A group as it stands.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Corrupt`; and the errors of the backend.
    pub async fn group(&mut self, id: &GroupId) -> Result<GroupSummary> {
        let name = self.name_of(id).await?;
        let group = self.loaded_group(id).await?;
        Ok(GroupSummary {
            id: id.clone(),
            name,
            epoch: group.epoch().as_u64(),
            members: group.members().count(),
            is_active: group.is_active(),
            pending_proposals: group.pending_proposals().count(),
            ciphersuite: group.ciphersuite(),
        })
    }

    /// The members of a group, in the order of their leaves.
    ///
    /// # Errors
    /// As [`group`](Self::group).
    pub async fn members(&mut self, group: &GroupId) -> Result<Vec<Member>> {
        let members = self.loaded_group(group).await?.members();
        let member = |member: openmls::group::Member| Member {
            index: member.index.u32(),
            identity: identity_of(&member.credential).to_vec(),
            signature_key: member.signature_key,
        };
        Ok(members.map(member).collect())
    }

    /// A secret of `len` bytes that every member of the group can derive in this epoch (RFC 9420 section 8.5).
    ///
    /// # Errors
    /// `Aborted` if OpenMLS refuses, for instance because the client was removed; and as [`group`](Self::group).
    pub async fn export_secret(
        &mut self,
        group: &GroupId,
        label: &str,
        context: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let crypto = std::sync::Arc::clone(&self.crypto);
        let group = self.loaded_group(group).await?;
        let secret = group.export_secret(crypto.as_ref(), label, context, len);
        Ok(Zeroizing::new(secret.map_err(|error| aborted(error.into()))?))
    }

    pub(super) async fn name_of(&self, group: &GroupId) -> Result<String> {
        let key = record_key::listed_group(group.as_slice());
        match self.read_record(&mls_keep_core::ScopeId::client(), &key).await? {
            Some(value) => Ok(record::decode::<ListedGroup>(&value)?.name),
            None => Ok(String::new()),
        }
    }

    /// The keys of all records that are not of MLS in a group's scope.
    async fn all_records(&mut self, group: &GroupId) -> Result<Vec<Vec<u8>>> {
        self.loaded_group(group).await?;
        let scope = mls_keep_core::ScopeId::group(group.as_slice())?;
        let records = self.read_records(&scope, &[], usize::MAX, false).await?;
        Ok(records.into_iter().map(|(key, _)| key).collect())
    }
}

/// The identity in a credential; of other kinds than basic ones, the credential itself.
pub(super) fn identity_of(credential: &Credential) -> &[u8] {
    credential.serialized_content()
}

fn list<C: CryptoProvider>(provider: &Provider<C>, group: &GroupId, name: &str) -> Result<()> {
    let listed = record::encode(&ListedGroup { name: name.to_owned() })?;
    provider.storage().put(&Scope::Client, record_key::listed_group(group.as_slice()), Some(listed));
    Ok(())
}

/// A name is what somebody else wrote: shortened, and made text.
fn read_name(bytes: &[u8]) -> String {
    let mut name = String::from_utf8_lossy(bytes).into_owned();
    while name.len() > MAX_NAME_LEN {
        name.pop();
    }
    name
}

#[cfg(not(feature = "virtual-clients-draft"))]
fn leave<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &SignatureKeyPair,
) -> Result<MlsMessageOut, BoxError> {
    Ok(group.leave_group(provider, signer)?)
}

#[cfg(feature = "virtual-clients-draft")]
fn leave<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &SignatureKeyPair,
) -> Result<MlsMessageOut, BoxError> {
    use openmls::group::Propose;
    let own = group.own_leaf_index().u32();
    let proposal = group.propose_unconfirmed(
        provider,
        signer,
        Propose::Remove(own),
        openmls::group::ProposalOrRefType::Reference,
    )?;
    Ok(proposal.message)
}

pub(super) fn parse_message(bytes: &[u8]) -> Result<MlsMessageIn> {
    if bytes.len() > MAX_MESSAGE_LEN {
        return Err(Error::new(ErrorKind::Invalid, format!("an MLS message has at most {MAX_MESSAGE_LEN} bytes")));
    }
    MlsMessageIn::tls_deserialize_exact(bytes)
        .map_err(|error| Error::new(ErrorKind::Invalid, "these bytes are no MLS message").with_source(error))
}

fn parse_welcome(bytes: &[u8]) -> Result<Welcome> {
    match parse_message(bytes)?.extract() {
        MlsMessageBodyIn::Welcome(welcome) => Ok(welcome),
        _ => Err(Error::new(ErrorKind::Invalid, "this MLS message is no Welcome")),
    }
}

fn parse_key_package<C: CryptoProvider>(bytes: &[u8], crypto: &C) -> Result<KeyPackage> {
    let key_package: KeyPackageIn = match parse_message(bytes)?.extract() {
        MlsMessageBodyIn::KeyPackage(key_package) => key_package,
        _ => return Err(Error::new(ErrorKind::Invalid, "this MLS message is no key package")),
    };
    key_package
        .validate(crypto, ProtocolVersion::Mls10)
        .map_err(|error| Error::new(ErrorKind::Invalid, "the key package is not valid").with_source(error))
}
