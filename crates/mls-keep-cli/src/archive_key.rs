//! What opens an archive: a key file, a passphrase file, or a passphrase that is typed.

use std::io::{self, IsTerminal, Write};

use mls_keep::{Encryption, ErrorKind};
use zeroize::Zeroizing;

use crate::cli::ArchiveKey;
use crate::failure::{Failure, Result};
use crate::{key, words};

/// Whether the archive is there, or is to be made.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Purpose {
    Open,
    Create,
}

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
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::usage(
                "no key for the archive is named",
                "Say --backup-key FILE (`mls-keep keygen FILE` makes one) or --backup-passphrase-file FILE.",
            ));
        }
        let typed = match purpose {
            Purpose::Open => ask("Passphrase of the archive: ")?,
            Purpose::Create => chosen()?,
        };
        if typed.is_empty() {
            return Err(Failure::new(ErrorKind::Invalid, "the passphrase is empty", "Type the passphrase."));
        }
        Ok(Self::Typed(typed))
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

/// A passphrase of the user's, typed twice, or a generated one, typed once it is written down.
fn chosen() -> Result<Zeroizing<String>> {
    let typed = ask("Passphrase for the archive (empty: a generated one): ")?;
    let words = if typed.is_empty() { words::passphrase()? } else { typed.clone() };
    if typed.is_empty() {
        // Only to a terminal, never to a file.
        let shown =
            writeln!(io::stderr(), "Write this down, without it the archive is worth nothing:\n\n    {}\n", *words);
        shown.map_err(|error| Failure::stdout(&error))?;
    }
    if ask("The passphrase again: ")? != words {
        let advice = "Nothing was written. Run the command again.";
        return Err(Failure::new(ErrorKind::Invalid, "the passphrases are not the same", advice));
    }
    Ok(words)
}

/// What is typed does not show.
fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    let typed = rpassword::prompt_password(prompt);
    typed.map(Zeroizing::new).map_err(|error| {
        let what = format!("the terminal cannot be read: {error}");
        Failure::new(ErrorKind::Unavailable, what, "Say --backup-key FILE or --backup-passphrase-file FILE.")
    })
}
