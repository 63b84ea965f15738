//! What SQLite and the file system say, as kinds of [`Error`].

use std::io;
use std::path::Path;

use mls_keep_core::{Error, ErrorKind};
use rusqlite::ffi;

/// What was being done when SQLite failed. The same code means different things at different stages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// Opening, checking and setting up the file.
    Open,
    /// Parsing the schema and comparing it with ours.
    Schema,
    /// Reading values or keys.
    Read,
    /// Inside of a transaction that can still be rolled back, or a checkpoint.
    Write,
    /// Ending a transaction: the log is being written and flushed.
    Commit,
}

/// Makes `source` an [`Error`] of the kind that fits the stage.
pub(crate) fn sqlite_error(source: rusqlite::Error, stage: Stage) -> Error {
    let kind = kind_of(&source, stage);
    Error::new(kind, text_of(kind)).with_source(source)
}

/// What SQLite has no complaint about, but is not as this crate makes it.
pub(crate) fn corrupt(text: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, text)
}

/// The error of every call after a commit of unknown outcome.
pub(crate) fn poisoned() -> Error {
    Error::new(ErrorKind::Poisoned, "an earlier write failed so that its outcome is not known: open the store again")
}

/// The error of every call after another file was put in the place of the open one.
pub(crate) fn replaced() -> Error {
    let text = "the file was moved or replaced while it was open, so nothing is written: open the store again";
    Error::new(ErrorKind::Poisoned, text)
}

/// Whether there is no room on the medium.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code & 0xff == ffi::SQLITE_FULL)
}

/// A failure of the file system, outside of SQLite, on the way to opening `path`.
pub(crate) fn io_error(source: io::Error, path: &Path) -> Error {
    let text = format!("{} cannot be opened: {source}", path.display());
    Error::new(source.kind().into(), text).with_source(source)
}

fn kind_of(error: &rusqlite::Error, stage: Stage) -> ErrorKind {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(error, _) | E::SqlInputError { error, .. } => kind_of_code(error.extended_code, stage),
        _ if stage == Stage::Commit => ErrorKind::OutcomeUnknown,
        // A row is not what the table's definition allows, so somebody else wrote it.
        E::InvalidColumnType(..)
        | E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::Utf8Error(..)
        | E::QueryReturnedNoRows => ErrorKind::Corrupt,
        E::NulError(_) | E::InvalidPath(_) => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

/// The kind for each of SQLite's result codes; the low byte is the primary code, the rest refines it.
fn kind_of_code(extended: i32, stage: Stage) -> ErrorKind {
    match extended & 0xff {
        // Returned before the first byte of the log is written.
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => ErrorKind::Busy,
        // The log may hold the whole commit: its flush failed, or the index of the log could not be extended behind it.
        // Flushing again could succeed without the bytes being there, so it is not tried. A full disk too: `Store` finds
        // out whether the log holds the commit.
        _ if stage == Stage::Commit => ErrorKind::OutcomeUnknown,
        // More of it, or larger, than anything of ours.
        ffi::SQLITE_INTERRUPT | ffi::SQLITE_TOOBIG if stage == Stage::Schema => ErrorKind::Corrupt,
        ffi::SQLITE_FULL => ErrorKind::NoSpace,
        // The index of the log cannot grow, which SQLite does not say otherwise.
        ffi::SQLITE_IOERR if extended == ffi::SQLITE_IOERR_SHMSIZE => ErrorKind::NoSpace,
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM => ErrorKind::ReadOnly,
        ffi::SQLITE_CANTOPEN if extended == ffi::SQLITE_CANTOPEN_ISDIR => ErrorKind::Invalid,
        ffi::SQLITE_CANTOPEN | ffi::SQLITE_NOMEM | ffi::SQLITE_INTERRUPT | ffi::SQLITE_ABORT => ErrorKind::Unavailable,
        ffi::SQLITE_IOERR => ErrorKind::Unavailable,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_FORMAT => ErrorKind::Corrupt,
        // On the way out: a stored value is longer than any that this crate stores.
        ffi::SQLITE_TOOBIG if stage == Stage::Read => ErrorKind::Corrupt,
        ffi::SQLITE_TOOBIG | ffi::SQLITE_NOLFS => ErrorKind::Invalid,
        // The table is gone or has other columns.
        ffi::SQLITE_ERROR | ffi::SQLITE_SCHEMA | ffi::SQLITE_CONSTRAINT | ffi::SQLITE_MISMATCH => ErrorKind::Corrupt,
        ffi::SQLITE_INTERNAL | ffi::SQLITE_NOTFOUND | ffi::SQLITE_MISUSE | ffi::SQLITE_AUTH | ffi::SQLITE_RANGE => {
            ErrorKind::Internal
        }
        _ => ErrorKind::Internal,
    }
}

/// What happened and what to do about it. What exactly SQLite said is in the error's source.
fn text_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Busy => "another process is writing to the SQLite file: try again later",
        ErrorKind::NoSpace => "no room is left for the SQLite file: free some and repeat the operation",
        ErrorKind::ReadOnly => "the SQLite file may not be written: change its permissions or its mount",
        ErrorKind::Unavailable => "the SQLite file cannot be read or written now: try again later",
        ErrorKind::Corrupt => {
            "the file is not an SQLite database as this crate makes it, or it is damaged: restore a backup"
        }
        ErrorKind::Invalid => "SQLite refuses the path or the size of a value: correct the call",
        ErrorKind::OutcomeUnknown => {
            "writing or flushing SQLite's log failed, so whether the commit was applied is not known: open the store again"
        }
        _ => "SQLite refuses a call that this crate makes: please report it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[track_caller]
    fn check(code: i32, stage: Stage, kind: ErrorKind) {
        assert_eq!(sqlite_error(failure(code), stage).kind(), kind, "code {code} while {stage:?}");
    }

    #[test]
    fn codes_that_mean_the_same_at_every_stage() {
        let cases = [
            (ffi::SQLITE_BUSY, ErrorKind::Busy),
            (ffi::SQLITE_BUSY_RECOVERY, ErrorKind::Busy),
            (ffi::SQLITE_BUSY_SNAPSHOT, ErrorKind::Busy),
            (ffi::SQLITE_LOCKED, ErrorKind::Busy),
            (ffi::SQLITE_PROTOCOL, ErrorKind::Busy),
        ];
        for (code, kind) in cases {
            for stage in [Stage::Open, Stage::Schema, Stage::Read, Stage::Write, Stage::Commit] {
                check(code, stage, kind);
            }
        }
    }

    #[test]
    fn a_commit_that_fails_otherwise_than_for_a_lock_is_unknown() {
        let cases = [
            (ffi::SQLITE_FULL, ErrorKind::NoSpace),
            (ffi::SQLITE_IOERR_SHMSIZE, ErrorKind::NoSpace),
            (ffi::SQLITE_IOERR, ErrorKind::Unavailable),
            (ffi::SQLITE_IOERR_FSYNC, ErrorKind::Unavailable),
            (ffi::SQLITE_IOERR_WRITE, ErrorKind::Unavailable),
            (ffi::SQLITE_READONLY, ErrorKind::ReadOnly),
            (ffi::SQLITE_READONLY_DIRECTORY, ErrorKind::ReadOnly),
            (ffi::SQLITE_PERM, ErrorKind::ReadOnly),
            (ffi::SQLITE_CANTOPEN, ErrorKind::Unavailable),
            (ffi::SQLITE_CANTOPEN_ISDIR, ErrorKind::Invalid),
            (ffi::SQLITE_NOMEM, ErrorKind::Unavailable),
            (ffi::SQLITE_ABORT, ErrorKind::Unavailable),
            (ffi::SQLITE_CORRUPT, ErrorKind::Corrupt),
            (ffi::SQLITE_NOTADB, ErrorKind::Corrupt),
            (ffi::SQLITE_FORMAT, ErrorKind::Corrupt),
            (ffi::SQLITE_ERROR, ErrorKind::Corrupt),
            (ffi::SQLITE_SCHEMA, ErrorKind::Corrupt),
            (ffi::SQLITE_CONSTRAINT, ErrorKind::Corrupt),
            (ffi::SQLITE_MISMATCH, ErrorKind::Corrupt),
            (ffi::SQLITE_NOLFS, ErrorKind::Invalid),
            (ffi::SQLITE_INTERNAL, ErrorKind::Internal),
            (ffi::SQLITE_NOTFOUND, ErrorKind::Internal),
            (ffi::SQLITE_MISUSE, ErrorKind::Internal),
            (ffi::SQLITE_AUTH, ErrorKind::Internal),
            (ffi::SQLITE_RANGE, ErrorKind::Internal),
            (200, ErrorKind::Internal),
        ];
        for (code, kind) in cases {
            for stage in [Stage::Open, Stage::Schema, Stage::Read, Stage::Write] {
                check(code, stage, kind);
            }
            check(code, Stage::Commit, ErrorKind::OutcomeUnknown);
        }
        let other = sqlite_error(rusqlite::Error::InvalidQuery, Stage::Commit);
        assert_eq!(other.kind(), ErrorKind::OutcomeUnknown);
    }

    #[test]
    fn too_big_is_the_callers_fault_on_the_way_in_and_damage_on_the_way_out() {
        check(ffi::SQLITE_TOOBIG, Stage::Write, ErrorKind::Invalid);
        check(ffi::SQLITE_TOOBIG, Stage::Read, ErrorKind::Corrupt);
    }

    #[test]
    fn a_schema_that_is_too_large_or_has_no_end_is_damage() {
        check(ffi::SQLITE_TOOBIG, Stage::Schema, ErrorKind::Corrupt);
        check(ffi::SQLITE_INTERRUPT, Stage::Schema, ErrorKind::Corrupt);
        check(ffi::SQLITE_INTERRUPT, Stage::Read, ErrorKind::Unavailable);
    }

    #[test]
    fn rows_of_another_type_are_damage() {
        let error = rusqlite::Error::InvalidColumnType(0, "value".into(), rusqlite::types::Type::Text);
        assert_eq!(sqlite_error(error, Stage::Read).kind(), ErrorKind::Corrupt);
        assert_eq!(sqlite_error(rusqlite::Error::QueryReturnedNoRows, Stage::Open).kind(), ErrorKind::Corrupt);
        assert_eq!(sqlite_error(rusqlite::Error::InvalidPath("x".into()), Stage::Open).kind(), ErrorKind::Invalid);
        assert_eq!(sqlite_error(rusqlite::Error::InvalidQuery, Stage::Read).kind(), ErrorKind::Internal);
    }

    #[test]
    fn the_source_is_what_sqlite_said() {
        let error = sqlite_error(failure(ffi::SQLITE_IOERR_FSYNC), Stage::Commit);
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("1034"), "{source}");
    }
}
