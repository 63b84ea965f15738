//! What the file system says, as kinds of [`Error`].

use std::io;
use std::path::Path;

use mls_keep_core::{Error, ErrorKind};

/// A failure with the file at `path`, after which nothing has changed that counts.
pub(crate) fn file(source: io::Error, path: &Path) -> Error {
    let kind = kind_of(&source);
    Error::new(kind, format!("{} cannot be read or written: {source}", path.display())).with_source(source)
}

/// A failed write or flush of the log: the next open may find the commit.
pub(crate) fn committing(source: io::Error) -> Error {
    let text =
        "writing or flushing the log failed, so whether the commit was applied is not known: open the store again";
    Error::new(ErrorKind::OutcomeUnknown, text).with_source(source)
}

/// The error of every call after a failed flush.
pub(crate) fn poisoned() -> Error {
    Error::new(ErrorKind::Poisoned, "an earlier write or flush failed: open the store again")
}

/// Stored bytes that this crate did not write so.
pub(crate) fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{}: {what}: restore a backup", path.display()))
}

/// Whether the disk had no room, so that a write came to nothing.
pub(crate) fn is_full(error: &io::Error) -> bool {
    kind_of(error) == ErrorKind::NoSpace
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_system_says_has_the_kind_that_fits() {
        for (io, kind) in [
            (io::ErrorKind::NotFound, ErrorKind::NotFound),
            (io::ErrorKind::PermissionDenied, ErrorKind::ReadOnly),
            (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::ReadOnly),
            (io::ErrorKind::StorageFull, ErrorKind::NoSpace),
            (io::ErrorKind::QuotaExceeded, ErrorKind::NoSpace),
            (io::ErrorKind::NotADirectory, ErrorKind::Invalid),
            (io::ErrorKind::Other, ErrorKind::Unavailable),
        ] {
            assert_eq!(file(io.into(), Path::new("x")).kind(), kind, "{io:?}");
        }
    }
}
