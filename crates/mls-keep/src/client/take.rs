//! Taking in one message, as part of a transaction over its group.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::framing::errors::{MessageDecryptionError, SecretTreeError};
use openmls::framing::{MlsMessageBodyIn, ProcessedMessageContent, ProtocolMessage, Sender};
use openmls::group::{GroupId, MlsGroup, ProcessMessageError, StageCommitError, ValidationError};
use openmls::prelude::OpenMlsProvider;

use super::arrivals::{self, Arrival};
use super::groups::identity_of;
use super::held;
use super::history::{HistoryRecord, in_millis, remember};
use super::load::no_group;
use super::messages::parse_message;
use super::receive::Received;
use super::receive_policy::{Decision, ProposalSummary, ReceivePolicy};
use super::refusal::{aborted_in, ensure_member};
use super::session::Session;
use super::staged::{is_overtaken, is_staged, take_staged};
use super::summary::CommitSummary;
use super::{BoxError, CryptoProvider};
use crate::provider::Provider;
use crate::records::{self, Wiped};

/// A message on its way in.
pub(super) struct Incoming<'m> {
    pub(super) bytes: &'m [u8],
    pub(super) message: ProtocolMessage,
    /// Its number among those that were held.
    pub(super) held: Option<u64>,
}

/// What a transaction took in. It goes to the application when it is durable; until then it wipes itself.
pub(super) enum Processed {
    Message { group: GroupId, number: Option<u64>, message: HistoryRecord },
    Proposal(ProposalSummary),
    Commit(CommitSummary),
    Own { group: GroupId },
    Again,
}

/// Why a message was not taken in.
pub(super) enum Refusal {
    /// OpenMLS refuses it, and nothing has changed.
    Untouched(Error),
    /// Something has changed: the transaction is worth nothing.
    Touched(Error),
    /// It is to be kept for later.
    Hold,
    /// It is the staged commit of this client.
    Staged,
}

impl<'m> Incoming<'m> {
    pub(super) fn parse(bytes: &'m [u8]) -> Result<Self> {
        let message = match parse_message(bytes)?.extract() {
            MlsMessageBodyIn::PrivateMessage(message) => message.into(),
            MlsMessageBodyIn::PublicMessage(message) => message.into(),
            MlsMessageBodyIn::Welcome(_) => {
                return Err(Error::new(ErrorKind::Invalid, "this MLS message is a Welcome: join with it"));
            }
            _ => {
                return Err(Error::new(ErrorKind::Invalid, "this MLS message is not meant for the members of a group"));
            }
        };
        Ok(Self { bytes, message, held: None })
    }
}

impl Processed {
    pub(super) fn release(self) -> Received {
        match self {
            Self::Message { group, number, message } => Received::Message(message.into_message(group, number)),
            Self::Proposal(summary) => Received::Proposal(summary),
            Self::Commit(summary) => Received::Commit(summary),
            Self::Own { group } => Received::Own { group },
            Self::Again => Received::AlreadyReceived(None),
        }
    }

    /// Whether it changes nothing but the ratchets and what is remembered of messages.
    pub(super) fn may_wait(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::Own { .. })
    }
}

/// Takes in one message, as part of a transaction over its group.
pub(super) fn take<C: CryptoProvider>(
    session: &mut Session<'_, C>,
    incoming: &Incoming<'_>,
    policy: &dyn ReceivePolicy,
) -> std::result::Result<Processed, Refusal> {
    let (retention, now) = session.retention_and_now();
    let tx = session.groups_transaction();
    let [group] = tx.groups else { return Err(Refusal::Untouched(no_group())) };
    let storage = tx.provider.storage();
    ensure_member(group).map_err(Refusal::Untouched)?;
    if incoming.message.epoch() > group.epoch() {
        return Err(Refusal::Hold);
    }
    let processed = process(group, tx.provider, incoming, policy)?;
    let id = incoming.message.group_id();
    let (processed, number) = match processed {
        Processed::Own { .. } | Processed::Again => return Ok(processed),
        Processed::Message { group, mut message, .. } => {
            message.time = in_millis(now);
            let number = remember(storage, id, &message, retention).map_err(Refusal::Touched)?;
            (Processed::Message { group, number, message }, number)
        }
        processed => (processed, None),
    };
    let remembered = arrivals::note(storage, id, &records::digest(incoming.bytes), Arrival { number })
        .and_then(|()| incoming.held.map_or(Ok(()), |number| held::remove(storage, id, number, incoming.bytes.len())));
    remembered.map_err(Refusal::Touched)?;
    Ok(processed)
}

fn process<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    incoming: &Incoming<'_>,
    policy: &dyn ReceivePolicy,
) -> std::result::Result<Processed, Refusal> {
    let id = group.group_id().clone();
    let storage = provider.storage();
    let touched = |error: BoxError| Refusal::Touched(aborted_in(storage, error));
    if is_staged(storage, &id, incoming.bytes).map_err(Refusal::Touched)? {
        return Err(Refusal::Staged);
    }
    let is_past = incoming.message.epoch() < group.epoch();
    let processed = match group.process_message(provider, incoming.message.clone()) {
        Err(error) if is_key_used_up(&error) => return Ok(Processed::Again),
        processed => processed,
    };
    let processed = processed.map_err(|error| {
        let misses_proposal = misses_proposal(&error);
        let refused = |kind, text: &'static str| Refusal::Untouched(Error::new(kind, text).with_source(error));
        match storage.failure() {
            Some(failure) => Refusal::Touched(failure.clone()),
            None if misses_proposal => Refusal::Hold,
            None if is_past => refused(ErrorKind::PastEpoch, "the message is of an epoch that is over"),
            None => refused(ErrorKind::Invalid, "the message is not valid in the group"),
        }
    })?;
    let epoch = processed.epoch().as_u64();
    let from = processed.sender().clone();
    let decide = |decision| match decision {
        Decision::Accept => Ok(()),
        Decision::Refuse => Err(Refusal::Touched(Error::new(ErrorKind::Refused, "the client's policy refuses this"))),
        Decision::Hold => Err(Refusal::Hold),
    };
    let (sender, leaf): (Wiped<Vec<u8>>, _) = match &from {
        Sender::Member(index) => (identity_of(processed.credential()).to_vec().into(), index.u32()),
        _ => Default::default(),
    };
    let aad = Wiped::from(processed.aad().to_vec());
    match processed.into_content() {
        ProcessedMessageContent::ApplicationMessage(message) => {
            let content = message.into_bytes().into();
            let message = HistoryRecord { sender, leaf, epoch, own: false, time: 0, aad, content };
            Ok(Processed::Message { group: id, number: None, message })
        }
        ProcessedMessageContent::ProposalMessage(proposal)
        | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => {
            let summary = ProposalSummary::new(group, &proposal).map_err(Refusal::Touched)?;
            decide(policy.proposal(&summary))?;
            group.store_pending_proposal(storage, *proposal).map_err(Refusal::Touched)?;
            Ok(Processed::Proposal(summary))
        }
        ProcessedMessageContent::StagedCommitMessage(commit) => {
            let drops_staged = is_overtaken(storage, &id, epoch).map_err(Refusal::Touched)?;
            let summary = CommitSummary::new(group, &commit, &from, drops_staged).map_err(Refusal::Touched)?;
            decide(policy.commit(&summary))?;
            group.merge_staged_commit(provider, *commit).map_err(|error| touched(error.into()))?;
            if drops_staged {
                take_staged(storage, &id).map_err(Refusal::Touched)?;
            }
            Ok(Processed::Commit(summary))
        }
        ProcessedMessageContent::OwnPendingCommit => Err(Refusal::Staged),
        ProcessedMessageContent::OwnPrivateMessage => Ok(Processed::Own { group: id }),
        #[cfg(feature = "extensions-draft")]
        _ => Err(Refusal::Touched(Error::new(ErrorKind::Invalid, "this message needs `transact`"))),
    }
}

/// Whether it is a commit of proposals of which one has not come so far.
fn misses_proposal<E>(error: &ProcessMessageError<E>) -> bool {
    matches!(error, ProcessMessageError::InvalidCommit(StageCommitError::MissingProposal))
}

/// Whether the message, or another one under its key, was received before.
fn is_key_used_up<E>(error: &ProcessMessageError<E>) -> bool {
    let ProcessMessageError::ValidationError(ValidationError::UnableToDecrypt(error)) = error else { return false };
    matches!(error, MessageDecryptionError::SecretTreeError(SecretTreeError::SecretReuseError))
}
