//! What the file system says, as kinds of [`Error`].

use std::io;
use std::path::Path;

use mls_keep_core::{Error, ErrorKind};

/// A failure with the file at `path`, after which nothing has changed that counts.
pub(crate) fn io_error(source: io::Error, path: &Path) -> Error {
    let text = format!("{} cannot be read or written: {source}", path.display());
    Error::new(source.kind().into(), text).with_source(source)
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

/// The error of every call after another directory was put in the place of the open one.
pub(crate) fn replaced() -> Error {
    let text = "the directory was moved or replaced while it was open, so nothing is written: open the store again";
    Error::new(ErrorKind::Poisoned, text)
}

/// Stored bytes that this crate did not write so.
pub(crate) fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{}: {what}: restore a backup", path.display()))
}

/// Whether the disk had no room, so that a write came to nothing.
pub(crate) fn is_full(error: &io::Error) -> bool {
    ErrorKind::from(error.kind()) == ErrorKind::NoSpace
}
