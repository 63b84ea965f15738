//! Reads what OpenMLS's own storage providers have stored, so that [`Client::import`](mls_keep::Client::import) can take it
//! over: groups, key packages, pre-shared keys and signature keys.
//!
//! - `openmls_sqlite_storage` and `openmls_sqlx_storage`: a database, whose codec is JSON or CBOR. It is opened for reading
//!   and not changed.
//! - `openmls_memory_storage`: the JSON file that its feature `persistence` writes.
//!
//! ```no_run
//! use mls_keep::{Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager};
//! # async fn import(key: MasterKey) -> Result<(), mls_keep::Error> {
//! let stored = mls_keep_import::read("openmls.db".as_ref(), None)?;
//! let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(Encryption::hkdf_sha256(key)).open().await?;
//! let persistence = Persistence { manager, save: Default::default() };
//! let mut alice = stored.client_builder(b"alice")?.persistence(persistence).create().await?;
//! let report = alice.import(&stored).await?;
//! println!("{} groups, {} left", report.groups.len(), report.left.len());
//! # Ok(())
//! # }
//! ```
//!
//! The application that the state is from must not go on with it: it would use the same keys again. Your own provider is
//! read with [`StoredGroup::read`](mls_keep::import::StoredGroup::read).

mod memory;
mod sqlite;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use mls_keep::import::{Encoding, StoredState};
use mls_keep::{Error, ErrorKind, Result};

/// How a SQLite database begins.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";

/// Longest JSON file that is read, and most that is read of a database, bytes.
pub const MAX_LEN: u64 = 1 << 30;

/// Reads what is stored at `path`. What kind of storage it is shows in the file; so does the codec of a database, if
/// `encoding` does not say it.
///
/// # Errors
/// `NotFound` if no file is there, `Invalid` if it is none of these storages or over [`MAX_LEN`], `Corrupt` if it is damaged,
/// `Busy` if somebody else has it locked, and `Unavailable`.
pub fn read(path: &Path, encoding: Option<Encoding>) -> Result<StoredState> {
    let mut file = File::open(path).map_err(|source| io_error(path, source))?;
    let mut head = Vec::new();
    (&mut file).take(SQLITE.len() as u64).read_to_end(&mut head).map_err(|source| io_error(path, source))?;
    drop(file);
    match head.as_slice() {
        [] => Err(Error::new(ErrorKind::Invalid, format!("{} is empty", path.display()))),
        head if head == SQLITE => sqlite::read(path, encoding),
        head if head.trim_ascii_start().first() == Some(&b'{') => memory::read(path),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("{} is neither an SQLite database nor the JSON file of openmls_memory_storage", path.display()),
        )),
    }
}

fn io_error(path: &Path, source: io::Error) -> Error {
    let text = format!("{} cannot be read: {source}", path.display());
    Error::new(source.kind().into(), text).with_source(source)
}

fn too_large(path: &Path) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("{} holds more than is read: {MAX_LEN} bytes, or a million rows", path.display()),
    )
}
