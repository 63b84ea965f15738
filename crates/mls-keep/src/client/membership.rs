//! Joining and leaving.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::framing::{MlsMessageBodyIn, MlsMessageOut};
use openmls::group::{GroupId, ProcessedWelcome, StagedWelcome};
use openmls::messages::Welcome;
use openmls::prelude::OpenMlsProvider;
use zeroize::Zeroizing;

use super::groups::{MAX_NAME_LEN, NAME_EXTENSION, add_to_list};
use super::load::no_group;
use super::messages::parse_message;
use super::receive_policy::{Decision, WelcomeSummary};
use super::session::ensure_member;
use super::{Client, CryptoProvider, draft, outbox};
use crate::records::{self, Wiped};

/// What joining gives.
#[derive(Clone, Eq, PartialEq)]
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

impl<C: CryptoProvider> Client<C> {
    /// Joins a group by a Welcome, the TLS encoding of an `MLSMessage`. The key package is used up in the same commit, so
    /// a Welcome that fails leaves it usable. A group from which this client was removed is entered again; its history
    /// stays. A Welcome that was joined by before is recognised, as long as the group is not forgotten.
    ///
    /// # Errors
    /// `Refused` if the [policy](Self::set_receive_policy) does not accept it, `Invalid` if the bytes are no Welcome or the client is a member already, `Aborted` if OpenMLS refuses (for instance
    /// because no key package of this client is meant), `Conflict`; and the errors of the backend.
    pub async fn join(&mut self, welcome: impl AsRef<[u8]>) -> Result<Joined> {
        let digest = records::digest(welcome.as_ref());
        let welcome = parse_welcome(welcome.as_ref())?;
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

        let known = self.load_scope_or_default(id.as_slice()).await?.scope.has_group();
        if known && self.loaded_group(&id).await?.is_active() {
            return Err(Error::new(ErrorKind::Invalid, "the client is a member of this group already"));
        }
        let old = if known { std::slice::from_ref(&id) } else { &[] };
        let policy = std::sync::Arc::clone(&self.receive_policy);
        let mut session = self.begin(old).await?;
        session.replace_groups(|provider, old| {
            for mut old in old {
                old.delete(provider.storage())?;
            }
            // The leaf of a member who was away for long is no reason to stay out (RFC 9420 section 7.2).
            let staged = StagedWelcome::build_from_welcome(provider, &config, welcome)?.skip_lifetime_validation();
            let staged = staged.build()?;
            if policy.welcome(&WelcomeSummary::new(&staged)?) != Decision::Accept {
                return Err(Error::new(ErrorKind::Refused, "the client's policy refuses this Welcome").into());
            }
            let group = staged.into_group(provider)?;
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
    /// `NotFound` if the client has no such group, `NotMember` if it was removed, `Aborted` if OpenMLS refuses, `Conflict`; and
    /// the errors of the backend.
    pub async fn leave(&mut self, group: &GroupId) -> Result<MlsMessageOut> {
        let outbox = self.outbox;
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
