//! What redb and the file system say, as kinds of [`Error`].

use std::io;
use std::path::Path;

use mls_keep_core::{Error, ErrorKind};
use redb::{DatabaseError, StorageError};

/// A failure of redb before a commit begins: nothing was applied.
pub(crate) fn redb_error(source: impl Into<redb::Error>) -> Error {
    let source = source.into();
    let kind = kind_of(&source);
    Error::new(kind, text_of(kind)).with_source(source)
}

/// A failure of redb while it commits: the next open may find the commit.
pub(crate) fn committing(source: impl Into<redb::Error>) -> Error {
    let text = "writing or flushing the redb file failed, so whether the commit was applied is not known: open the store again";
    Error::new(ErrorKind::OutcomeUnknown, text).with_source(redb_error(source))
}

/// The error of every call after a failure that redb does not go on from.
pub(crate) fn poisoned() -> Error {
    Error::new(ErrorKind::Poisoned, "an earlier call failed so that redb cannot go on: open the store again")
}

/// The error of every call after another file was put in the place of the open one.
pub(crate) fn replaced() -> Error {
    let text = "the file was moved or replaced while it was open, so nothing is written: open the store again";
    Error::new(ErrorKind::Poisoned, text)
}

/// A panic of redb in a commit: it may have come after the commit.
pub(crate) fn panicked() -> Error {
    let text = "redb gave up in a commit, so whether it was applied is not known: open the store again";
    Error::new(ErrorKind::OutcomeUnknown, text)
}

/// A panic of redb while it reads what was damaged after it was opened.
pub(crate) fn gave_up() -> Error {
    Error::new(ErrorKind::Corrupt, "redb gave up on what it read, so the file is damaged: restore a backup")
}

/// A failure of redb on the way to opening `path`.
pub(crate) fn opening(source: DatabaseError, path: &Path) -> Error {
    let text = match &source {
        DatabaseError::DatabaseAlreadyOpen => {
            format!("{} is open elsewhere: close it there or try again later", path.display())
        }
        _ => format!("{} cannot be opened: {source}", path.display()),
    };
    let source = redb::Error::from(source);
    Error::new(kind_of(&source), text).with_source(source)
}

/// A failure of the file system on the way to opening `path`.
pub(crate) fn io_error(source: io::Error, path: &Path) -> Error {
    let kind = kind_of_io(&source);
    Error::new(kind, format!("{} cannot be opened: {source}", path.display())).with_source(source)
}

/// Whether redb refuses all further calls after `error`.
pub(crate) fn ends_it(error: &StorageError) -> bool {
    !matches!(error, StorageError::ValueTooLarge(_))
}

fn kind_of(error: &redb::Error) -> ErrorKind {
    use redb::Error as E;
    match error {
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch => ErrorKind::Busy,
        E::Io(error) => kind_of_io(error),
        E::Corrupted(_) | E::TableDoesNotExist(_) | E::TableTypeMismatch { .. } | E::TypeDefinitionChanged { .. } => {
            ErrorKind::Corrupt
        }
        E::TableIsMultimap(_) | E::TableIsNotMultimap(_) => ErrorKind::Corrupt,
        E::UpgradeRequired(_) | E::ValueTooLarge(_) => ErrorKind::Invalid,
        E::PreviousIo | E::DatabaseClosed | E::LockPoisoned(_) => ErrorKind::Poisoned,
        E::RepairAborted => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

fn kind_of_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        // What redb says of a file that is none of its own, and of one that was cut.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
        kind => kind.into(),
    }
}

fn text_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Busy => "the redb file is open elsewhere: close it there or try again later",
        ErrorKind::NoSpace => {
            "no room is left for the redb file: free some, open the store again and repeat the operation"
        }
        ErrorKind::ReadOnly => "the redb file may not be written: change its permissions or its mount",
        ErrorKind::Corrupt => "the file is not as this crate makes it, or it is damaged: restore a backup",
        ErrorKind::Invalid => "redb refuses the file or the size of a value: correct the call",
        ErrorKind::Poisoned => "an earlier call failed so that redb cannot go on: open the store again",
        ErrorKind::Internal => "redb refuses a call that this crate makes: please report it",
        _ => "the redb file cannot be read or written now: try again later",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redb_says_has_the_kind_that_fits() {
        let io = |kind: io::ErrorKind| redb::Error::Io(kind.into());
        for (error, kind) in [
            (redb::Error::DatabaseAlreadyOpen, ErrorKind::Busy),
            (io(io::ErrorKind::StorageFull), ErrorKind::NoSpace),
            (io(io::ErrorKind::PermissionDenied), ErrorKind::ReadOnly),
            (io(io::ErrorKind::InvalidData), ErrorKind::Corrupt),
            (io(io::ErrorKind::Other), ErrorKind::Unavailable),
            (redb::Error::Corrupted(String::new()), ErrorKind::Corrupt),
            (redb::Error::UpgradeRequired(1), ErrorKind::Invalid),
            (redb::Error::PreviousIo, ErrorKind::Poisoned),
        ] {
            assert_eq!(redb_error(error).kind(), kind);
        }
    }
}
