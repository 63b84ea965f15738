//! Files and directories that this crate makes and opens: readable by their owner only, and never a link.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use mls_keep_core::{Error, ErrorKind, Result};

use crate::error::{corrupt, io_error};

/// Opens a regular file that is never a symbolic link, readable by its owner only if it is new.
pub(crate) fn open_file(path: &Path, options: &mut OpenOptions) -> Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(corrupt(path, "it is not a regular file"));
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path).map_err(|source| io_error(source, path))
}

/// Makes a file that was not there, readable by its owner only. What a kill has left under its name is removed.
pub(crate) fn make_file(path: &Path) -> Result<File> {
    remove(path)?;
    // Opens no link and no device that somebody puts there meanwhile.
    open_file(path, OpenOptions::new().write(true).create_new(true))
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) => {
            Err(corrupt(path, "it is a directory"))
        }
        removed => removed.map_err(|source| io_error(source, path)),
    }
}

/// Refuses a file that is written in place and stands under another name as well: a copy of the directory that was made with
/// hard links would change with it.
pub(crate) fn refuse_second_name(opened: &File, path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let found = opened.metadata().map_err(|source| io_error(source, path))?;
        if std::os::unix::fs::MetadataExt::nlink(&found) > 1 {
            let text = format!("{} has a second name (a hard link): make it a file of its own", path.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    }
    #[cfg(not(unix))]
    let _ = (opened, path);
    Ok(())
}

/// Makes a directory that its owner only can read, unless it is there.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Looked at without following a link.
            match fs::symlink_metadata(path) {
                Ok(found) if found.is_dir() => Ok(()),
                _ => Err(corrupt(path, "it is not a directory")),
            }
        }
        Err(error) => Err(io_error(error, path)),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| io_error(source, path))?;
    }
    Ok(())
}
