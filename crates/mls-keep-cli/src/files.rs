//! The files that travel between people: bounded reading, and writing that never leaves half a file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mls_keep::{ErrorKind, MAX_MESSAGE_LEN};
use tempfile::NamedTempFile;

use crate::failure::{Failure, Result};

/// Stands for standard input.
const STDIN: &str = "-";

/// Reads a message from a file, or from standard input if the path is `-`.
pub(crate) fn read_message(path: &Path) -> Result<Vec<u8>> {
    if path.as_os_str() == STDIN {
        return read_bounded(io::stdin().lock(), Path::new("standard input"), MAX_MESSAGE_LEN);
    }
    let failed = |error: io::Error| Failure::unreadable(path, &error);
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if found.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    if found.len() > MAX_MESSAGE_LEN as u64 {
        return Err(too_long(path, MAX_MESSAGE_LEN));
    }
    read_bounded(file, path, MAX_MESSAGE_LEN)
}

/// Reads the text of a message from standard input, as it is.
pub(crate) fn read_text() -> Result<Vec<u8>> {
    read_bounded(io::stdin().lock(), Path::new("standard input"), MAX_MESSAGE_LEN)
}

/// Reads all of `source`, at most `max` bytes.
pub(crate) fn read_bounded(source: impl Read, path: &Path, max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = source.take(max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::unreadable(path, &error))?;
    if bytes.len() > max {
        return Err(too_long(path, max));
    }
    Ok(bytes)
}

fn too_long(path: &Path, max: usize) -> Failure {
    let what = format!("{} is longer than {max} bytes, the most that is read", path.display());
    Failure::new(ErrorKind::Invalid, what, "Name a file that holds what it should.")
}

/// A file that will be there whole or not at all.
///
/// It is prepared before an operation, so that a file that exists or a directory that cannot be written costs no key.
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: NamedTempFile,
    replace: bool,
}

impl NewFile {
    /// Makes sure that `path` can be written. An existing file is refused, unless `replace` and it is an MLS message too: a
    /// mistyped name costs no key and no store.
    pub(crate) fn prepare(path: &Path, replace: bool) -> Result<Self> {
        let failed = |error: io::Error| Failure::unwritable(path, &error);
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => {
                let what = format!("{} exists and is not a regular file", path.display());
                return Err(Failure::new(ErrorKind::Invalid, what, "Nothing was changed. Name another file."));
            }
            Ok(_) if !replace => {
                let what = format!("{} exists already", path.display());
                let advice = "Nothing was changed. Name another file, or replace it with --force.";
                return Err(Failure::new(ErrorKind::Invalid, what, advice));
            }
            Ok(_) if !is_message(path).map_err(failed)? => {
                let what = format!("{} holds something else than an MLS message", path.display());
                let advice = "Nothing was changed. Name another file, or remove this one first.";
                return Err(Failure::new(ErrorKind::Invalid, what, advice));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // What goes to others is no secret of this user: the usual mode, under the umask.
        Self::beside(path, replace, 0o666)
    }

    /// Makes sure that `path` can be written, and read by its owner alone. An existing file is refused.
    pub(crate) fn prepare_private(path: &Path) -> Result<Self> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::beside(path, false, 0o600),
            Err(error) => Err(Failure::unwritable(path, &error)),
            Ok(_) => {
                let what = format!("{} exists already", path.display());
                Err(Failure::new(ErrorKind::Invalid, what, "Nothing was changed. Name another file."))
            }
        }
    }

    #[cfg_attr(not(unix), expect(unused_variables, reason = "modes are of Unix"))]
    fn beside(path: &Path, replace: bool, mode: u32) -> Result<Self> {
        let failed = |error: io::Error| Failure::unwritable(path, &error);
        if path.file_name().is_none() {
            return Err(failed(io::ErrorKind::InvalidFilename.into()));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".mls-keep-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        let temporary = builder.tempfile_in(directory(path)).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), temporary, replace })
    }

    /// What is written piece by piece, before [`finish`](Self::finish).
    pub(crate) fn file_mut(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are the same file under two names.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let whole = |file: &Self| Some(directory(&file.path).canonicalize().ok()?.join(file.path.file_name()?));
        whole(self).is_some_and(|path| whole(other).is_some_and(|other| other == path))
    }

    /// Writes the file. When this returns, it is durable under its name.
    pub(crate) fn write(mut self, bytes: &[u8]) -> Result<()> {
        self.temporary.write_all(bytes).map_err(|error| Failure::unwritable(&self.path, &error))?;
        self.finish().map(drop)
    }

    /// Puts what was written under its name, durable when this returns.
    pub(crate) fn finish(self) -> Result<PathBuf> {
        let path = self.path;
        let failed = |error: io::Error| Failure::unwritable(&path, &error);
        self.temporary.as_file().sync_all().map_err(failed)?;
        let persisted =
            if self.replace { self.temporary.persist(&path) } else { self.temporary.persist_noclobber(&path) };
        persisted.map_err(|error| failed(error.error))?;
        sync_directory(&path).map_err(failed)?;
        Ok(path)
    }
}

/// Whether the file begins as an `MLSMessage` of RFC 9420, section 6: version 1, and a wire format. An empty one will do.
fn is_message(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut head)?;
    Ok(matches!(head[..], [] | [0, 1, 0, 1..=5]))
}

/// Makes the name of a new file durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory(path))?.sync_all()?;
    }
    Ok(())
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
