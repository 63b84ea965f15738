//! Why an operation is refused, or ended.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::group::MlsGroup;

use super::BoxError;
use crate::provider::TransactionStorage;

/// # Errors
/// `NotMember` if the client was removed from the group.
pub(super) fn ensure_member(group: &MlsGroup) -> Result<()> {
    if group.is_active() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotMember, "the client was removed from the group"))
}

/// # Errors
/// `NotMember`, and `CommitPending` if a commit is staged already: OpenMLS would overwrite it.
pub(super) fn ensure_may_commit(group: &MlsGroup) -> Result<()> {
    ensure_member(group)?;
    if group.pending_commit().is_none() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::CommitPending, "a commit is staged in this group already"))
}

/// # Errors
/// `NotMember`, and `ProposalPending` if proposals wait for a commit.
pub(super) fn ensure_may_send(group: &MlsGroup) -> Result<()> {
    ensure_member(group)?;
    if group.pending_proposals().next().is_none() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::ProposalPending, "proposals wait for a commit, and nothing is sent before it"))
}

pub(super) fn needs_rejoin() -> Error {
    let text = "the group was restored from an older state, in which keys may have been used: enter it anew first";
    Error::new(ErrorKind::NeedsRejoin, text)
}

/// An error of mls-keep stays what it is; any other aborts the transaction.
pub(super) fn aborted(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::new(ErrorKind::Aborted, error.to_string()).with_source(error),
    }
}

/// What a transaction over `storage` ends with: what the storage said to OpenMLS, if it said something.
pub(super) fn aborted_in(storage: &TransactionStorage, error: BoxError) -> Error {
    match (aborted(error), storage.failure()) {
        (error, Some(failure)) if error.kind() == ErrorKind::Aborted => {
            Error::new(failure.kind(), failure.to_string()).with_source(error)
        }
        (error, _) => error,
    }
}
