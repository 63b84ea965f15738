//! Sending.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::framing::{MlsMessageIn, MlsMessageOut};
use openmls::group::GroupId;
use openmls::prelude::OpenMlsProvider as _;
use openmls::prelude::tls_codec::Deserialize as _;
use tracing::instrument;

use super::transaction::{RecordWriter, Transaction};
use super::{BoxError, Client, CryptoProvider};

/// Longest MLS message that is taken in, bytes.
pub const MAX_MESSAGE_LEN: usize = 64 << 20;

impl<C: CryptoProvider> Client<C> {
    /// Encrypts an application message. When this returns, the ratchet is durable, and so is the message in the group's
    /// history; under [`SavePolicy::Interval`](crate::SavePolicy::Interval) they may wait, and the key is durably given up.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `NotMember` if it was removed, `NeedsRejoin` if it was restored
    /// and not entered anew, `ProposalPending` if a proposal waits for a
    /// commit: see [`stage`](Self::stage), `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn send(&mut self, group: &GroupId, content: impl AsRef<[u8]>) -> Result<MlsMessageOut> {
        let content = content.as_ref();
        self.ensure_unmarked(group).await?;
        self.repeat_on(group, |tx| {
            let message = tx.send(content, &[])?;
            tx.provider.storage().let_wait(1);
            Ok(message)
        })
        .await
    }

    /// As [`send`](Self::send), with additional data that is authenticated and not encrypted (RFC 9420 section 6.3.2), and
    /// with records of the application in the same commit. `then` may be called more than once, with another message each
    /// time; what the last call wrote counts.
    ///
    /// # Errors
    /// `Aborted` with the error of `then` as source; and as [`send`](Self::send).
    ///
    /// # Examples
    /// ```
    /// # use mls_keep::Client;
    /// # futures_executor::block_on(async {
    /// # let mut alice = Client::builder("alice").create().await?;
    /// # let group = alice.create_group("tea").await?;
    /// let draft = "drafts/7";
    /// let message = alice.send_with(&group, "at five?", b"", |_, records| Ok(records.delete(draft)?)).await?;
    /// # drop(message);
    /// # Ok::<(), mls_keep::Error>(())
    /// # }).unwrap();
    /// ```
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn send_with(
        &mut self,
        group: &GroupId,
        content: impl AsRef<[u8]>,
        aad: impl AsRef<[u8]>,
        mut then: impl FnMut(&MlsMessageOut, &mut RecordWriter<'_>) -> Result<(), BoxError>,
    ) -> Result<MlsMessageOut> {
        let (content, aad) = (content.as_ref(), aad.as_ref());
        self.ensure_unmarked(group).await?;
        self.repeat_on(group, |tx: &mut Transaction<'_, C>| {
            let message = tx.send(content, aad)?;
            then(&message, &mut tx.records)?;
            tx.provider.storage().let_wait(1);
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
        .map_err(|error| Error::new(ErrorKind::Invalid, "these bytes are not an MLS message").with_source(error))
}
