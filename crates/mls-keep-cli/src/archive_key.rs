//! What opens an archive: a key file, a passphrase file, or a passphrase that is typed.

use mls_keep::Encryption;
use zeroize::Zeroizing;

use crate::cli::ArchiveKey;
use crate::failure::{Failure, Result};
use crate::key;
use crate::typed;
pub(crate) use crate::typed::Purpose;

/// The options with which nobody is asked.
const INSTEAD: &str = "--backup-key FILE or --backup-passphrase-file FILE";

/// The secret of an archive, which may be needed more than once.
pub(crate) enum Secret<'a> {
    File(&'a ArchiveKey),
    Typed(Zeroizing<String>),
}

impl<'a> Secret<'a> {
    /// What was named, or what is typed now.
    pub(crate) fn get(named: &'a ArchiveKey, purpose: Purpose) -> Result<Self> {
        if named.backup_key.is_some() || named.backup_passphrase_file.is_some() {
            return Ok(Self::File(named));
        }
        if !typed::can_ask() {
            return Err(Failure::usage(
                "no key for the archive is named",
                "Say --backup-key FILE (`mls-keep keygen FILE` makes one) or --backup-passphrase-file FILE.",
            ));
        }
        typed::passphrase("archive", purpose, INSTEAD).map(Self::Typed)
    }

    pub(crate) fn encryption(&self) -> Result<Encryption> {
        match self {
            Self::File(ArchiveKey { backup_key: Some(path), .. }) => key::from_key_file(path),
            Self::File(ArchiveKey { backup_passphrase_file: Some(path), .. }) => key::from_passphrase_file(path),
            Self::File(_) => Err(Failure::usage("no key for the archive is named", "Say --backup-key FILE.")),
            Self::Typed(words) => Ok(Encryption::passphrase(words.as_bytes())),
        }
    }
}
