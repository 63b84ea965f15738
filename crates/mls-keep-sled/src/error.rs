//! What sled and the file system say, as kinds of [`Error`].

use std::io;
use std::path::Path;

use mls_keep_core::{Error, ErrorKind};

/// A failure of sled while it opens or reads.
pub(crate) fn reading(source: sled::Error) -> Error {
    let kind = kind_of(&source);
    Error::new(kind, text_of(kind)).with_source(source)
}

/// A failure of sled while it writes or flushes: what it has written may be found by the next open.
pub(crate) fn writing() -> Error {
    let text =
        "writing or flushing sled's log failed, so whether the commit was applied is not known: open the store again";
    Error::new(ErrorKind::OutcomeUnknown, text)
}

/// The error of every call after a write of unknown outcome.
pub(crate) fn poisoned() -> Error {
    Error::new(ErrorKind::Poisoned, "an earlier write failed so that its outcome is not known: open the store again")
}

/// A failure of the file system on the way to opening `path`.
pub(crate) fn io_error(source: io::Error, path: &Path) -> Error {
    let kind = kind_of_io(&source);
    Error::new(kind, format!("{} cannot be opened: {source}", path.display())).with_source(source)
}

/// Stored bytes that sled did not write so.
pub(crate) fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{} cannot be opened: {what}: restore a backup", path.display()))
}

pub(crate) fn replaced() -> Error {
    let text = "the directory was moved or replaced while it was open, so nothing is written: open the store again";
    Error::new(ErrorKind::Poisoned, text)
}

/// A panic of sled in a commit: it may have come after the commit.
pub(crate) fn panicked() -> Error {
    let text = "sled gave up in a commit, so whether it was applied is not known: open the store again";
    Error::new(ErrorKind::OutcomeUnknown, text)
}

/// A panic of sled while it reads.
pub(crate) fn gave_up() -> Error {
    Error::new(ErrorKind::Corrupt, "sled gave up on what it read, so the directory is damaged: restore a backup")
}

fn kind_of(error: &sled::Error) -> ErrorKind {
    match error {
        sled::Error::Io(error) => kind_of_io(error),
        sled::Error::Corruption { .. } | sled::Error::CollectionNotFound(_) => ErrorKind::Corrupt,
        // Its own formats of other versions, too.
        sled::Error::Unsupported(_) => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

fn kind_of_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
        kind => kind.into(),
    }
}

fn text_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NoSpace => "no room is left for sled's files: free some and repeat the operation",
        ErrorKind::ReadOnly => "sled's files may not be written: change their permissions or their mount",
        ErrorKind::Corrupt => "the directory is not as sled makes it, or it is damaged: restore a backup",
        ErrorKind::Invalid => "sled refuses the directory: it may be of another version of sled",
        ErrorKind::Internal => "sled reports a defect of its own: please report it",
        _ => "sled's files cannot be read or written now: try again later",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sled_says_has_the_kind_that_fits() {
        let io = |kind: io::ErrorKind| sled::Error::Io(kind.into());
        for (error, kind) in [
            (io(io::ErrorKind::StorageFull), ErrorKind::NoSpace),
            (io(io::ErrorKind::PermissionDenied), ErrorKind::ReadOnly),
            (io(io::ErrorKind::Other), ErrorKind::Unavailable),
            (sled::Error::Corruption { at: None, bt: () }, ErrorKind::Corrupt),
            (sled::Error::Unsupported(String::new()), ErrorKind::Invalid),
            (sled::Error::ReportableBug(String::new()), ErrorKind::Internal),
        ] {
            assert_eq!(reading(error).kind(), kind);
        }
    }
}
