//! Sending.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::framing::{MlsMessageIn, MlsMessageOut};
use openmls::group::GroupId;
use openmls::prelude::OpenMlsProvider;
use openmls::prelude::tls_codec::Deserialize as _;

use super::history::{HistoryRecord, remember};
use super::load::no_group;
use super::session::ensure_may_send;
use super::{Client, CryptoProvider, draft};

/// Longest MLS message that is taken in, bytes.
pub const MAX_MESSAGE_LEN: usize = 64 << 20;

impl<C: CryptoProvider> Client<C> {
    /// Encrypts an application message. When this returns, the ratchet is durable, and so is the message in the group's
    /// history.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `NotMember` if it was removed, `NeedsRejoin` if it was restored
    /// and not entered anew, `ProposalPending` if a proposal waits for a
    /// commit: see [`stage`](Self::stage), `Conflict`; and the errors of the backend.
    pub async fn send(&mut self, group: &GroupId, content: impl AsRef<[u8]>) -> Result<MlsMessageOut> {
        let content = content.as_ref();
        let (sender, keep, outbox) = (self.profile.identity.clone(), self.profile.settings.history, self.outbox);
        self.repeat_sending(group, |tx| {
            let [group] = tx.groups else { return Err(no_group().into()) };
            ensure_may_send(group)?;
            let message = draft::create_message(group, tx.provider, tx.signer, content)?;
            if keep {
                let epoch = group.epoch().as_u64();
                let entry = HistoryRecord {
                    sender: sender.to_vec().into(),
                    epoch,
                    own: true,
                    content: content.to_vec().into(),
                };
                remember(tx.provider.storage(), group.group_id(), &entry)?;
            }
            if outbox {
                super::outbox::put_message(tx.provider.storage(), group.group_id(), &message)?;
            }
            Ok(message)
        })
        .await
    }
}

pub(super) fn parse_message(bytes: &[u8]) -> Result<MlsMessageIn> {
    if bytes.len() > MAX_MESSAGE_LEN {
        return Err(Error::new(ErrorKind::Invalid, format!("an MLS message has at most {MAX_MESSAGE_LEN} bytes")));
    }
    MlsMessageIn::tls_deserialize_exact(bytes)
        .map_err(|error| Error::new(ErrorKind::Invalid, "these bytes are no MLS message").with_source(error))
}
