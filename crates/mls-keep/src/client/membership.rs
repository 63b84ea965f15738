//! Joining and leaving.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::framing::{MlsMessageBodyIn, MlsMessageOut};
use openmls::group::{GroupId, MlsGroup, ProcessedWelcome, StagedWelcome};
use openmls::messages::Welcome;
use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::{OpenMlsProvider, RatchetTreeIn};
use tracing::instrument;
use zeroize::Zeroizing;

use super::groups::{MAX_NAME_LEN, NAME_EXTENSION, add_to_list};
use super::load::no_group;
use super::messages::parse_message;
use super::receive_policy::{Decision, WelcomeSummary};
use super::refusal::ensure_member;
use super::staged::take_staged;
use super::{Client, CryptoProvider, draft, last_resort, outbox};
use crate::records::{self, Wiped};

/// What joining gives.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Joined {
    /// The MLS group id.
    pub id: GroupId,
    /// The name that came with the Welcome; empty if none did.
    pub name: String,
    /// The epoch.
    pub epoch: u64,
    /// The client had joined by this Welcome before. Nothing has changed.
    pub already: bool,
}

/// How a group is entered: see [`Client::join_with`] and [`Client::stage_entry`].
#[derive(Clone, Default)]
#[must_use = "options do nothing by themselves"]
pub struct JoinOptions {
    ratchet_tree: Option<Vec<u8>>,
    replace: bool,
    check_lifetimes: bool,
}

impl JoinOptions {
    /// The ratchet tree comes with the Welcome or the GroupInfo, the client is no member, and a leaf that is past its
    /// lifetime is no reason to stay out.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ratchet tree, where it does not come with the Welcome or the GroupInfo: the TLS encoding of `ratchet_tree` (RFC
    /// 9420 section 12.4.3.3). It is checked against the tree hash.
    pub fn ratchet_tree(mut self, tree: impl Into<Vec<u8>>) -> Self {
        self.ratchet_tree = Some(tree.into());
        self
    }

    /// Lets a Welcome replace the state of a group that this client is a member of: the way back for a member that a commit
    /// has left behind and that the others have removed and invited again. The history stays.
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Stays out if the lifetime of any member's leaf is over (RFC 9420 section 7.2).
    pub fn check_lifetimes(mut self) -> Self {
        self.check_lifetimes = true;
        self
    }

    pub(super) fn checks_lifetimes(&self) -> bool {
        self.check_lifetimes
    }

    /// # Errors
    /// `Invalid` if it is none.
    pub(super) fn parsed_ratchet_tree(&self) -> Result<Option<RatchetTreeIn>> {
        let parse = |bytes: &Vec<u8>| {
            RatchetTreeIn::tls_deserialize_exact(bytes).map_err(|error| {
                Error::new(ErrorKind::Invalid, "these bytes are not a ratchet tree").with_source(error)
            })
        };
        self.ratchet_tree.as_ref().map(parse).transpose()
    }
}

impl std::fmt::Debug for JoinOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinOptions")
            .field("replace", &self.replace)
            .field("check_lifetimes", &self.check_lifetimes)
            .finish_non_exhaustive()
    }
}

impl<C: CryptoProvider> Client<C> {
    /// Joins a group by a Welcome, the TLS encoding of an `MLSMessage`. The key package is used up in the same commit, so
    /// a Welcome that fails leaves it usable. A group from which this client was removed is entered again; its history
    /// stays. A Welcome that was joined by before is recognised, as long as the group is not forgotten; after that, and after a
    /// removal, it is refused.
    ///
    /// # Errors
    /// `Refused` if the [policy](Self::set_receive_policy) does not accept it, `Invalid` if the bytes are no Welcome or the
    /// client is a member already, or was one by this Welcome, `Aborted` if OpenMLS refuses (for instance because no key
    /// package of this client is meant), `Conflict`; and the errors of the backend.
    pub async fn join(&mut self, welcome: impl AsRef<[u8]>) -> Result<Joined> {
        self.join_with(welcome, JoinOptions::new()).await
    }

    /// As [`join`](Self::join), with options.
    ///
    /// # Errors
    /// As [`join`](Self::join); `Invalid` if the ratchet tree is none.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn join_with(&mut self, welcome: impl AsRef<[u8]>, options: JoinOptions) -> Result<Joined> {
        let digest = records::digest(welcome.as_ref());
        let welcome = parse_welcome(welcome.as_ref())?;
        let tree = options.parsed_ratchet_tree()?;
        let config = self.profile.settings.join_config();
        self.freshen().await?;
        if let Some((id, name)) = self.joined_by(&digest).await? {
            let epoch = self.loaded_group(&id).await?.epoch().as_u64();
            return Ok(Joined { id, name, epoch, already: true });
        }
        // Which group it is stands inside: looked up in a transaction that is thrown away.
        let looked_into = self.begin(&[]).await?;
        let processed = ProcessedWelcome::new_from_welcome(looked_into.provider(), &config, welcome.clone())
            .map_err(|error| looked_into.aborted(error.into()))?;
        drop(looked_into);
        let id = processed.unverified_group_info().group_id().clone();
        let extensions = processed.unverified_group_info().extensions();
        let name = extensions.unknown(NAME_EXTENSION).map(|name| read_name(&name.0)).unwrap_or_default();
        drop(processed);

        let policy = std::sync::Arc::clone(&self.receive_policy);
        let mut session = self.begin_at(&id).await?;
        let replaces = session.groups().iter().any(MlsGroup::is_active);
        if replaces && !options.replace {
            return Err(Error::new(ErrorKind::Invalid, "the client is a member of this group already"));
        }
        session.replace_groups(|provider, _| {
            let storage = provider.storage();
            storage.clear_mls_group(&id);
            storage.clear_mark(&id);
            take_staged(storage, &id)?;
            // The leaf of a member who was away for long is no reason to stay out (RFC 9420 section 7.2).
            let mut builder = StagedWelcome::build_from_welcome(provider, &config, welcome)?;
            if !options.check_lifetimes {
                builder = builder.skip_lifetime_validation();
            }
            if let Some(tree) = tree {
                builder = builder.with_ratchet_tree(tree);
            }
            let package = builder.processed_welcome().own_key_package();
            let last_resort = package.filter(|package| package.last_resort());
            let last_resort = last_resort.map(|package| package.hash_ref(provider.crypto())).transpose()?;
            let staged = builder.build()?;
            if policy.welcome(&WelcomeSummary::new(&staged, replaces)?) != Decision::Accept {
                return Err(Error::new(ErrorKind::Refused, "the client's policy refuses this Welcome").into());
            }
            let group = staged.into_group(provider)?;
            if let Some(reference) = last_resort {
                last_resort::note_join(storage, reference.as_slice(), &group)?;
            }
            add_to_list(provider, group.group_id(), &name, Some(digest))?;
            Ok(vec![group])
        })?;
        session.commit().await?;
        let epoch = self.loaded_group(&id).await?.epoch().as_u64();
        Ok(Joined { id, name: name.release(), epoch, already: false })
    }

    /// Proposes that this client leaves. It has left when another member's commit covers the proposal; until then it
    /// receives and cannot send (RFC 9420 section 12.1.2).
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `NotMember` if it was removed, `NeedsRejoin` if it was restored and not
    /// entered anew, `Aborted` if OpenMLS refuses, `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn leave(&mut self, group: &GroupId) -> Result<MlsMessageOut> {
        let outbox = self.outbox;
        self.ensure_unmarked(group).await?;
        self.repeat(std::slice::from_ref(group), |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            ensure_member(group)?;
            let proposal = draft::leave(group, tx.provider, tx.signer)?;
            if outbox {
                outbox::put_message(tx.provider.storage(), group.group_id(), &proposal)?;
            }
            Ok(proposal)
        })
        .await
    }
}

/// A name is what somebody else wrote: shortened, and made text.
pub(super) fn read_name(bytes: &[u8]) -> Wiped<String> {
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
        _ => Err(Error::new(ErrorKind::Invalid, "this MLS message is not a Welcome")),
    }
}
