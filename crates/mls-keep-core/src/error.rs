//! [`Error`] and [`ErrorKind`]: what happened, whether the commit was applied, what to do.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The result of an operation on a backend or a keep.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a backend or a keep.
///
/// Match on [`kind`](Error::kind); the text is for people and may change. No error carries key material or
/// plaintext. What a backend's engine said is in [`source`](StdError::source).
///
/// A clone is the same error, source and all, and costs next to nothing: one failure can be given to all waiting callers.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What kind of error it is. Each says what happened, whether the commit was applied, and what to do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another writer changed what this commit was based on. Not applied. Load again and repeat the operation.
    Conflict,
    /// Somebody else holds the store or its lock. Not applied. Try again later, or close the other holder.
    Busy,
    /// The store cannot be reached now. Not applied. Try again later.
    Unavailable,
    /// No room is left. Not applied. Free some and repeat the operation.
    NoSpace,
    /// The store may not be written. Not applied. Change its permissions or its mount.
    ReadOnly,
    /// Stored bytes are damaged, missing, or not what their parent meant. Not applied. Restore a backup.
    Corrupt,
    /// The master key, the salt or the passphrase is not the one that the keep was made with. Not applied.
    WrongKey,
    /// The store holds an older state than was seen before, or one that was made from an older state: somebody put a copy in
    /// place. Not applied, and nothing may be sent from it. Put the newest state back, or rejoin the groups.
    RolledBack,
    /// The group was restored from an older state, so sending would reuse keys. Not applied. Re-enter the group.
    NeedsRejoin,
    /// The client was moved to another device and does not go on here. Not applied. Use it there, or, if it never arrived,
    /// reclaim it.
    MovedOut,
    /// A newer version of mls-keep wrote this. Not applied, nothing was touched. Update the program.
    UnsupportedVersion,
    /// An argument breaks a documented rule or limit. Not applied. Correct the call.
    Invalid,
    /// What was asked for is not there. Not applied.
    NotFound,
    /// The client is not a member of the group any more. Not applied. Forget the group, or have the client invited again.
    NotMember,
    /// A commit of the client's own is staged in the group. Not applied. Confirm or reject that one first.
    CommitPending,
    /// The client's signature key is not in the store, and its signer was not given. Not applied. Give the signer.
    NoSigner,
    /// Proposals wait for a commit, and nothing may be sent before it (RFC 9420 section 12.4). Not applied. Commit them, or
    /// receive somebody's commit.
    ProposalPending,
    /// What arrived is of an epoch that is over, and cannot be read any more, or never could. Not applied. Drop it.
    PastEpoch,
    /// What arrived is of an epoch that the client has not entered, and too much is kept for later already, or the epoch is too
    /// far ahead. Not applied. Receive what is missing, then this again.
    FutureEpoch,
    /// The application's own policy refused what arrived. Not applied.
    Refused,
    /// The closure of the transaction, or OpenMLS inside of it, returned an error. Not applied; the
    /// [`source`](StdError::source) is that error.
    Aborted,
    /// Whether the commit was applied is not known: a flush failed or a reply was lost. It may also be applied later, while
    /// the root is still the one that it expects. A keep finds out by itself, so from a keep this means that it could not.
    OutcomeUnknown,
    /// An earlier failure made this handle unusable. Not applied. Open the store again.
    Poisoned,
    /// A defect in mls-keep or in a backend. Not applied. Please report it.
    Internal,
}

impl Error {
    /// An error of `kind` with a sentence for people: what happened, without a final stop.
    ///
    /// The message must not contain key material or plaintext.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), source: None }))
    }

    /// The same error with the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The error that caused this one, to be kept or looked into with `downcast_ref`. Clones of this error share it.
    #[must_use]
    pub fn into_source(self) -> Option<Arc<dyn StdError + Send + Sync>> {
        self.0.source.clone()
    }

    /// `what` has format version `found`, which is newer than `known`, the newest of this program.
    #[must_use]
    pub fn newer_version(what: impl fmt::Display, found: impl fmt::Display, known: impl fmt::Display) -> Self {
        let text = format!("{what} has format version {found} and this program knows {known}: update the program");
        Self::new(ErrorKind::UnsupportedVersion, text)
    }

    /// This error for each of `count` calls that failed together.
    #[must_use]
    pub fn for_each_of<T>(&self, count: usize) -> Vec<Result<T>> {
        (0..count).map(|_| Err(self.clone())).collect()
    }
}

impl ErrorKind {
    /// Whether the same call may succeed later although nothing was repaired.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Conflict | Self::Busy | Self::Unavailable)
    }
}

/// What a failure of the file system is, as long as it is known that nothing was applied: a failed flush is
/// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown).
impl From<io::ErrorKind> for ErrorKind {
    fn from(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::NoSpace,
            io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory => Self::Invalid,
            _ => Self::Unavailable,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Error");
        text.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(source) = &self.0.source {
            text.field("source", source);
            // Not every error shows in its own `Debug` what caused it.
            let mut causes = Vec::new();
            let mut next = source.source();
            while let Some(cause) = next {
                causes.push(cause.to_string());
                next = cause.source();
            }
            if !causes.is_empty() {
                text.field("causes", &causes);
            }
        }
        text.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_is_told_of_a_failure_is_told_its_cause() {
        let disk = io::Error::new(io::ErrorKind::StorageFull, "the disk is full");
        let failed = Error::new(ErrorKind::NoSpace, "the log cannot grow").with_source(disk);
        let told: Vec<Result<()>> = failed.for_each_of(2);
        assert_eq!(told.len(), 2);
        for error in told.into_iter().map(Result::unwrap_err) {
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NoSpace, "the log cannot grow"));
            let source = error.into_source().unwrap();
            assert_eq!(source.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::StorageFull);
        }
        // A source that is added later stays with that one.
        let other = failed.clone().with_source("another");
        assert_eq!(other.source().unwrap().to_string(), "another");
        assert_eq!(failed.source().unwrap().to_string(), "the disk is full");
    }

    #[test]
    fn a_failed_test_shows_the_whole_chain_of_causes() {
        struct Quiet(io::Error);

        impl fmt::Debug for Quiet {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Quiet")
            }
        }

        impl fmt::Display for Quiet {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the engine failed")
            }
        }

        impl StdError for Quiet {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }

        let error =
            Error::new(ErrorKind::Unavailable, "try again").with_source(Quiet(io::Error::other("no such device")));
        let shown = format!("{error:?}");
        assert!(
            shown.contains("Unavailable") && shown.contains("Quiet") && shown.contains("no such device"),
            "{shown}"
        );
    }

    #[test]
    fn what_the_file_system_says_has_the_kind_that_fits() {
        let cases = [
            (io::ErrorKind::NotFound, ErrorKind::NotFound),
            (io::ErrorKind::PermissionDenied, ErrorKind::ReadOnly),
            (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::ReadOnly),
            (io::ErrorKind::StorageFull, ErrorKind::NoSpace),
            (io::ErrorKind::QuotaExceeded, ErrorKind::NoSpace),
            (io::ErrorKind::FileTooLarge, ErrorKind::NoSpace),
            (io::ErrorKind::InvalidInput, ErrorKind::Invalid),
            (io::ErrorKind::InvalidFilename, ErrorKind::Invalid),
            (io::ErrorKind::IsADirectory, ErrorKind::Invalid),
            (io::ErrorKind::NotADirectory, ErrorKind::Invalid),
            (io::ErrorKind::Other, ErrorKind::Unavailable),
        ];
        for (io, kind) in cases {
            assert_eq!(ErrorKind::from(io), kind, "{io:?}");
        }
    }
}
