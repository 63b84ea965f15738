//! Who is in a group: inviting, joining, updating, removing, leaving.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::extensions::{Extension, UnknownExtension};
use openmls::framing::{MlsMessageBodyIn, MlsMessageOut};
use openmls::group::{CommitBuilder, GroupId, Initial, MlsGroup, ProcessedWelcome, QueuedProposal, StagedWelcome};
use openmls::key_packages::{KeyPackage, KeyPackageIn};
use openmls::messages::Welcome;
use openmls::prelude::{LeafNodeParameters, OpenMlsProvider, Proposal, ProtocolVersion};
use openmls_basic_credential::SignatureKeyPair;
use zeroize::Zeroizing;

use super::groups::{MAX_NAME_LEN, NAME_EXTENSION, add_to_list, identity_of};
use super::load::no_group;
use super::messages::parse_message;
use super::session::{ensure_may_commit, ensure_member};
use super::{BoxError, Client, CryptoProvider, draft, outbox};
use crate::provider::Provider;
use crate::records::Wiped;

/// What inviting makes.
#[derive(Clone)]
pub struct Invitation {
    /// For the members that were there before.
    pub commit: MlsMessageOut,
    /// For the new members.
    pub welcome: MlsMessageOut,
}

/// What joining gives.
#[derive(Clone, Eq, PartialEq)]
pub struct Joined {
    /// The MLS group id.
    pub id: GroupId,
    /// The name that came with the Welcome; empty if none did.
    pub name: String,
    /// The epoch.
    pub epoch: u64,
}

impl<C: CryptoProvider> Client<C> {
    /// Adds members by their key packages, each the TLS encoding of an `MLSMessage`, and merges the commit.
    ///
    /// Where a delivery service may refuse a commit, use [`transact`](Self::transact) and merge when it is accepted.
    ///
    /// # Errors
    /// `Invalid` if a key package is not a valid one, `NotFound` if the client has no such group, `NotMember` if it was
    /// removed, `CommitPending` if a commit is staged, `Aborted` if OpenMLS refuses, `Conflict`; and the errors of the
    /// backend.
    pub async fn invite(&mut self, group: &GroupId, key_packages: &[impl AsRef<[u8]>]) -> Result<Invitation> {
        let parse = |bytes: &_| parse_key_package(AsRef::as_ref(bytes), self.crypto.as_ref());
        let key_packages = key_packages.iter().map(parse).collect::<Result<Vec<_>>>()?;
        let name = self.name_of(group).await?;
        let outbox = self.outbox;
        self.repeat(std::slice::from_ref(group), |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            ensure_may_commit(group)?;
            let named = Extension::Unknown(NAME_EXTENSION, UnknownExtension(name.as_bytes().to_vec()));
            let bundle = group
                .commit_builder()
                .propose_adds(key_packages.iter().cloned())
                .load_psks(tx.provider.storage())?
                .create_group_info_with_extensions((!name.is_empty()).then_some(named))?
                .use_ratchet_tree_extension(true)
                .build(tx.provider.rand(), tx.provider.crypto(), tx.signer, |_| true)?
                .stage_commit(tx.provider)?;
            draft::merge(group, tx.provider, &bundle)?;
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
            .map_err(|error| looked_into.aborted(error.into()))?;
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
            // The leaf of a member who was away for long is no reason to stay out (RFC 9420 section 7.2).
            let staged = StagedWelcome::build_from_welcome(provider, &config, welcome)?.skip_lifetime_validation();
            let group = staged.build()?.into_group(provider)?;
            add_to_list(provider, group.group_id(), &name)?;
            Ok(vec![group])
        })?;
        session.commit().await?;
        let epoch = self.loaded_group(&id).await?.epoch().as_u64();
        Ok(Joined { id, name: name.release(), epoch })
    }

    /// Renews this client's own keys in the group, commits what others proposed, and merges the commit. An addition that
    /// somebody else proposed is left out, and lapses with the epoch: [`invite`](Self::invite) adds members.
    ///
    /// # Errors
    /// As [`invite`](Self::invite).
    pub async fn self_update(&mut self, group: &GroupId) -> Result<MlsMessageOut> {
        let outbox = self.outbox;
        self.repeat(std::slice::from_ref(group), |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            commit(group, tx.provider, tx.signer, outbox, |builder| {
                builder.leaf_node_parameters(LeafNodeParameters::default()).force_self_update(true)
            })
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
            ensure_may_commit(group)?;
            let named = group.members().filter(|member| identity_of(&member.credential) == identity);
            let leaves: Vec<_> = named.map(|member| member.index).collect();
            if leaves.is_empty() {
                return Err(Error::new(ErrorKind::NotFound, "the group has no member of this identity").into());
            }
            commit(group, tx.provider, tx.signer, outbox, |builder| builder.propose_removals(leaves))
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
            ensure_member(group)?;
            let proposal = draft::leave(group, tx.provider, tx.signer)?;
            if outbox {
                outbox::put(tx.provider.storage(), group.group_id(), &proposal, None)?;
            }
            Ok(proposal)
        })
        .await
    }
}

/// Makes a commit of what `build` asks for and of what others proposed, and merges it.
fn commit<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &SignatureKeyPair,
    outbox: bool,
    build: impl FnOnce(CommitBuilder<'_, Initial>) -> CommitBuilder<'_, Initial>,
) -> Result<MlsMessageOut, BoxError> {
    ensure_may_commit(group)?;
    // Whoever is added needs a Welcome, and that is what `invite` makes.
    let adds_nobody = |proposal: &QueuedProposal| !matches!(proposal.proposal(), Proposal::Add(_));
    let bundle = build(group.commit_builder())
        .load_psks(provider.storage())?
        .build(provider.rand(), provider.crypto(), signer, adds_nobody)?
        .stage_commit(provider)?;
    draft::merge(group, provider, &bundle)?;
    let commit = bundle.into_commit();
    if outbox {
        outbox::put(provider.storage(), group.group_id(), &commit, None)?;
    }
    Ok(commit)
}

/// A name is what somebody else wrote: shortened, and made text.
fn read_name(bytes: &[u8]) -> Wiped<String> {
    let mut name = Zeroizing::new(String::with_capacity(MAX_NAME_LEN));
    for chunk in bytes.utf8_chunks() {
        let replacement = if chunk.invalid().is_empty() { None } else { Some(char::REPLACEMENT_CHARACTER) };
        for char in chunk.valid().chars().chain(replacement) {
            if name.len() + char.len_utf8() > MAX_NAME_LEN {
                return name.into();
            }
            name.push(char);
        }
    }
    name.into()
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
