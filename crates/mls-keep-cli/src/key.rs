//! What opens a keep: a key file, or a passphrase file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use mls_keep::{Encryption, ErrorKind, MasterKey, SystemEntropy};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::files;

/// Longest key file or passphrase file that is read, bytes.
const MAX_SECRET_LEN: usize = 64 << 10;

/// A key file made with `keygen`.
pub(crate) fn from_key_file(path: &Path) -> Result<Encryption> {
    let bytes = read_secret(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        let what = format!("{}: this is not a master key: it is not text", path.display());
        Failure::new(ErrorKind::Invalid, what, KEY_ADVICE)
    })?;
    let invalid = |error| Failure::from(error).about(path.display()).advise(ErrorKind::Invalid, KEY_ADVICE);
    Ok(Encryption::hkdf_sha256(MasterKey::from_text(text).map_err(invalid)?))
}

const KEY_ADVICE: &str =
    "Name a file that `mls-keep keygen` made; a passphrase goes with --passphrase-file or --passphrase.";

/// A passphrase: the bytes of a file up to the first line end.
pub(crate) fn from_passphrase_file(path: &Path) -> Result<Encryption> {
    let mut bytes = read_secret(path)?;
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
    bytes.truncate(end);
    if bytes.is_empty() {
        let what = format!("{}: the first line is empty, so there is no passphrase", path.display());
        return Err(Failure::new(ErrorKind::Invalid, what, "Write the passphrase into the first line of the file."));
    }
    // The library wipes what it is given.
    Ok(Encryption::passphrase(std::mem::take(&mut *bytes)))
}

/// Makes a key file that only its owner can read. An existing file stays as it is.
pub(crate) fn generate(path: &Path) -> Result<()> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(
            ErrorKind::Invalid,
            format!("{} exists already", path.display()),
            "A key is never overwritten: name another file.",
        ),
        _ => Failure::unwritable(path, &error),
    };
    let key = MasterKey::generate(&SystemEntropy)?;
    let mut text = key.to_text();
    text.push('\n');
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| files::sync_directory(path)).map_err(|error| {
        // Half a key would stand in the way of a whole one.
        drop(std::fs::remove_file(path));
        failed(error)
    })
}

fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error: io::Error| Failure::unreadable(path, &error);
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if found.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    ensure_private(path, &found)?;
    // Taken at once, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_LEN + 64));
    file.take(MAX_SECRET_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_SECRET_LEN {
        let what = format!("{} is longer than {MAX_SECRET_LEN} bytes, so it is not a key", path.display());
        return Err(Failure::new(ErrorKind::Invalid, what, KEY_ADVICE));
    }
    Ok(bytes)
}

/// Refuses a file that others can read or change. A pipe of the shell's is nobody else's.
#[cfg(unix)]
fn ensure_private(path: &Path, found: &std::fs::Metadata) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = found.permissions().mode() & 0o777;
    if !found.is_file() || mode & 0o077 == 0 {
        return Ok(());
    }
    let what = format!("{} is open to other users of this machine (mode {mode:03o})", path.display());
    let advice = format!("Close it with `chmod 600 {}`. If others may have read it, use a new key.", path.display());
    Err(Failure::new(ErrorKind::Invalid, what, advice))
}

#[cfg(not(unix))]
fn ensure_private(_path: &Path, _found: &std::fs::Metadata) -> Result<()> {
    Ok(())
}
