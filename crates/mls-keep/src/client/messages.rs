//! Sending and receiving.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::framing::{
    MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, ProcessedMessageContent, ProtocolMessage, Sender,
};
use openmls::group::{GroupId, MlsGroup};
use openmls::prelude::OpenMlsProvider;
use openmls::prelude::tls_codec::Deserialize as _;

use super::groups::identity_of;
use super::history::{Arrival, HistoryRecord, Message, arrived, remember};
use super::load::no_group;
use super::session::{ensure_may_send, ensure_member};
use super::staged::{confirm, is_staged, take_staged};
use super::summary::CommitSummary;
use super::{BoxError, Client, CryptoProvider, draft};
use crate::provider::Provider;
use crate::records::{self, Kind, Wiped, codec};
use crate::scope::Scope;

/// Longest MLS message that is taken in, bytes.
pub const MAX_MESSAGE_LEN: usize = 64 << 20;

/// What a received message was.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum Received {
    /// An application message.
    Message(Message),
    /// A message that was received before. What it said, if it was an application message and is in the history.
    AlreadyReceived(Option<Message>),
    /// A commit, merged: another member's, or the staged one of this client, which is confirmed by that.
    Commit(CommitSummary),
    /// A message that says that this client sent it, as the delivery service gives back what it was given. That is not
    /// authenticated, and changes nothing.
    Own {
        /// The group.
        group: GroupId,
    },
    /// A proposal, which waits for somebody's commit.
    Proposal {
        /// The group.
        group: GroupId,
        /// The identity of who proposed it; empty if it is no member.
        sender: Vec<u8>,
    },
}

impl<C: CryptoProvider> Client<C> {
    /// Encrypts an application message. When this returns, the ratchet is durable, and so is the message in the group's
    /// history.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `NotMember` if it was removed, `ProposalPending` if a proposal waits for a
    /// commit: see [`stage`](Self::stage), `Conflict`; and the errors of the backend.
    pub async fn send(&mut self, group: &GroupId, content: impl AsRef<[u8]>) -> Result<MlsMessageOut> {
        let content = content.as_ref();
        let (sender, keep, outbox) = (self.profile.identity.clone(), self.profile.settings.history, self.outbox);
        self.repeat(std::slice::from_ref(group), |tx| {
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

    /// Takes in a message for one of this client's groups, the TLS encoding of an `MLSMessage`: decrypts an application
    /// message, merges a commit, or keeps a proposal. When this returns, that is durable, so the message may be
    /// acknowledged. One that was interrupted can be received again; one that arrives twice is recognised.
    ///
    /// # Errors
    /// `Invalid` if the bytes are no message for a group, `NotFound` if the client has no
    /// such group, `NotMember` if it was removed, `Aborted` if OpenMLS refuses (for instance another epoch's message), `Conflict`; and the errors of the
    /// backend.
    pub async fn receive(&mut self, message: impl AsRef<[u8]>) -> Result<Received> {
        let bytes = message.as_ref();
        let message: ProtocolMessage = match parse_message(bytes)?.extract() {
            MlsMessageBodyIn::PrivateMessage(message) => message.into(),
            MlsMessageBodyIn::PublicMessage(message) => message.into(),
            MlsMessageBodyIn::Welcome(_) => {
                return Err(Error::new(ErrorKind::Invalid, "this MLS message is a Welcome: join with it"));
            }
            _ => {
                return Err(Error::new(ErrorKind::Invalid, "this MLS message is not meant for the members of a group"));
            }
        };
        let group = message.group_id().clone();
        let mut attempt = 1;
        loop {
            let received = self.try_receive(&group, &message, bytes).await;
            if !self.may_repeat(&received, &mut attempt) {
                return received;
            }
        }
    }

    async fn try_receive(&mut self, group: &GroupId, message: &ProtocolMessage, bytes: &[u8]) -> Result<Received> {
        self.freshen().await?;
        if let Some(earlier) = self.earlier(group, bytes).await? {
            return Ok(earlier);
        }
        let keep = self.profile.settings.history;
        let mut session = self.begin(std::slice::from_ref(group)).await?;
        let tx = session.groups_transaction();
        let [mls_group] = tx.groups else { return Err(no_group()) };
        let processed = match process(mls_group, tx.provider, message.clone(), bytes, keep) {
            Ok(processed) => processed,
            Err(error) => {
                let error = session.aborted(error);
                session.give_back();
                return Err(error);
            }
        };
        if let Processed::Own { .. } = processed {
            // Anybody can say so: nothing is remembered of it.
            session.give_back();
            return Ok(processed.release());
        }
        let number = match &processed {
            Processed::Message { number, .. } if keep => Some(*number),
            _ => None,
        };
        arrived(session.provider().storage(), group, bytes, &Arrival { number })?;
        session.commit().await?;
        Ok(processed.release())
    }

    /// What is known of a message that arrived before.
    async fn earlier(&mut self, group: &GroupId, bytes: &[u8]) -> Result<Option<Received>> {
        let scope = Scope::group(group);
        let Some(arrival) = self.read_record(&scope, &records::arrival(bytes)).await? else { return Ok(None) };
        let arrival: Arrival = codec::decode(Kind::Arrival, &arrival)?;
        let message = match arrival.number {
            Some(number) => self.message(group, number).await?,
            None => None,
        };
        Ok(Some(Received::AlreadyReceived(message)))
    }
}

/// What a transaction took in. It goes to the application when it is durable; until then it wipes itself.
enum Processed {
    Message { group: GroupId, number: u64, message: HistoryRecord },
    Proposal { group: GroupId, sender: Wiped<Vec<u8>> },
    Commit(CommitSummary),
    Own { group: GroupId },
}

impl Processed {
    fn release(self) -> Received {
        match self {
            Self::Message { group, number, message } => Received::Message(message.into_message(group, number)),
            Self::Proposal { group, sender } => Received::Proposal { group, sender: sender.release() },
            Self::Commit(summary) => Received::Commit(summary),
            Self::Own { group } => Received::Own { group },
        }
    }
}

fn process<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    message: ProtocolMessage,
    bytes: &[u8],
    keep: bool,
) -> Result<Processed, BoxError> {
    ensure_member(group)?;
    if is_staged(provider.storage(), group.group_id(), bytes)? {
        return Ok(Processed::Commit(confirm(group, provider)?));
    }
    let processed = group.process_message(provider, message)?;
    let id = group.group_id().clone();
    let epoch = processed.epoch().as_u64();
    let from = processed.sender().clone();
    let sender: Wiped<Vec<u8>> = match &from {
        Sender::Member(_) => identity_of(processed.credential()).to_vec().into(),
        _ => Wiped::default(),
    };
    match processed.into_content() {
        ProcessedMessageContent::ApplicationMessage(message) => {
            let message = HistoryRecord { sender, epoch, own: false, content: message.into_bytes().into() };
            let number = if keep { remember(provider.storage(), &id, &message)? } else { 0 };
            Ok(Processed::Message { group: id, number, message })
        }
        ProcessedMessageContent::ProposalMessage(proposal)
        | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => {
            group.store_pending_proposal(provider.storage(), *proposal)?;
            Ok(Processed::Proposal { group: id, sender })
        }
        ProcessedMessageContent::StagedCommitMessage(commit) => {
            let drops_staged = group.pending_commit().is_some();
            let summary = CommitSummary::new(group, &commit, &from, drops_staged)?;
            group.merge_staged_commit(provider, *commit)?;
            take_staged(provider.storage(), &id)?;
            Ok(Processed::Commit(summary))
        }
        ProcessedMessageContent::OwnPendingCommit => Ok(Processed::Commit(confirm(group, provider)?)),
        ProcessedMessageContent::OwnPrivateMessage => Ok(Processed::Own { group: id }),
        #[cfg(feature = "extensions-draft")]
        _ => Err(Error::new(ErrorKind::Invalid, "this message needs `transact`").into()),
    }
}

pub(super) fn parse_message(bytes: &[u8]) -> Result<MlsMessageIn> {
    if bytes.len() > MAX_MESSAGE_LEN {
        return Err(Error::new(ErrorKind::Invalid, format!("an MLS message has at most {MAX_MESSAGE_LEN} bytes")));
    }
    MlsMessageIn::tls_deserialize_exact(bytes)
        .map_err(|error| Error::new(ErrorKind::Invalid, "these bytes are no MLS message").with_source(error))
}
