//! From a path to a directory that is known to be ours, and that nobody else has open.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mls_keep_core::{Error, ErrorKind, Result};

use crate::config::Config;
use crate::error::{corrupt, file};

/// The file that says whose the directory is, and that is locked while it is open.
const LOCK: &str = "lock";

/// What stands in it: a name, and the version of what stands beside it.
const SIGNATURE: &str = "mls-keep-fs ";
const FORMAT_VERSION: u32 = 1;

/// How long to wait before a held lock is tried again. No operating system tells when a lock of a file is free.
const AGAIN: Duration = Duration::from_millis(5);

/// A directory that is locked by this value. The system frees the lock when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Opens or makes the directory at `path`, and waits for its lock. Whatever name is in it is durable then, also one that
    /// was given by a process which was killed before its flush.
    pub(crate) fn open(path: &Path, config: &Config) -> Result<Self> {
        // Independent of later changes of the working directory.
        let path = std::path::absolute(path).map_err(|source| file(source, path))?;
        find_or_create(&path, config.create)?;
        let lock = lock(&path, config.busy_timeout)?;
        let directory = Self { path, _lock: lock };
        directory.identify(config.create)?;
        directory.sync()?;
        Ok(directory)
    }

    /// The path of an entry.
    pub(crate) fn entry(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is a log. It comes last when a keep is made.
    pub(crate) fn is_made(&self) -> Result<bool> {
        let path = self.entry(crate::log::NAME);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(file(error, &path)),
        }
    }

    /// Makes the names of the entries durable, and the directory's own.
    pub(crate) fn sync(&self) -> Result<()> {
        sync_directory(&self.path)?;
        self.path.parent().map_or(Ok(()), sync_directory)
    }

    /// Whether the directory that is locked still stands at the path. Values are written by their paths, so in another one
    /// that was put there they would be mixed with what somebody else may be writing.
    pub(crate) fn is_in_place(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let identity = |found: fs::Metadata| (found.dev(), found.ino());
            let here = fs::symlink_metadata(self.entry(LOCK)).map(identity);
            matches!((here, self._lock.metadata().map(identity)), (Ok(here), Ok(locked)) if here == locked)
        }
        #[cfg(not(unix))]
        true
    }

    /// Refuses a directory in which more stands than the lock. Nothing is made there before the lock is signed.
    fn refuse_others(&self) -> Result<()> {
        let failed = |source| file(source, &self.path);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            if entry.map_err(failed)?.file_name() != LOCK {
                return Err(foreign(&self.path));
            }
        }
        Ok(())
    }

    /// Refuses what is not ours, and signs what is new. A kill while that was being done leaves no log.
    fn identify(&self, create: bool) -> Result<()> {
        let path = self.entry(LOCK);
        let mut text = Vec::new();
        (&self._lock).take(64).read_to_end(&mut text).map_err(|source| file(source, &path))?;
        let made = self.is_made()?;
        let whole = format!("{SIGNATURE}{FORMAT_VERSION}\n").into_bytes();
        // What a power cut leaves of it is cut, or zero where nothing has reached the medium.
        let begun = text.len() <= whole.len() && text.iter().zip(&whole).all(|(is, should)| is == should || *is == 0);
        if !made && begun {
            if !create {
                let text = format!("{} is empty: nothing is kept there", self.path.display());
                return Err(Error::new(ErrorKind::NotFound, text));
            }
            if text != whole {
                // Other programs have a file of this name too, and theirs is empty as well.
                self.refuse_others()?;
            }
            return sign(&self._lock).map_err(|source| file(source, &path));
        }
        let text = String::from_utf8_lossy(&text);
        let version = text.strip_suffix('\n').and_then(|text| text.strip_prefix(SIGNATURE)?.parse::<u32>().ok());
        match version {
            Some(FORMAT_VERSION) => Ok(()),
            Some(newer) if newer > FORMAT_VERSION => {
                Err(Error::newer_version(self.path.display(), newer, FORMAT_VERSION))
            }
            _ if made => Err(corrupt(&path, "the file does not say what this directory is")),
            _ => Err(foreign(&self.path)),
        }
    }
}

/// Opens a regular file that is never a symbolic link, readable by its owner only if it is new.
pub(crate) fn open_file(path: &Path, options: &mut OpenOptions) -> Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(corrupt(path, "it is not a regular file"));
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path).map_err(|source| file(source, path))
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
        removed => removed.map_err(|source| file(source, path)),
    }
}

/// Refuses a file that is written in place and stands under another name as well: a copy of the directory that was made with
/// hard links would change with it.
pub(crate) fn refuse_second_name(opened: &File, path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let found = opened.metadata().map_err(|source| file(source, path))?;
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
        Err(error) => Err(file(error, path)),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| file(source, path))?;
    }
    Ok(())
}

/// Makes sure that a directory which may be ours is at `path`.
fn find_or_create(path: &Path, create: bool) -> Result<()> {
    let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("{} is {what}", path.display())));
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => invalid("a symbolic link: name the directory itself"),
        Ok(found) if !found.is_dir() => invalid("not a directory"),
        Ok(_) if fs::symlink_metadata(path.join(LOCK)).is_ok_and(|found| found.is_file()) => Ok(()),
        Ok(_) => match fs::read_dir(path).map_err(|source| file(source, path))?.next() {
            Some(_) => Err(foreign(path)),
            None if create => Ok(()),
            None => Err(Error::new(ErrorKind::NotFound, format!("{} is empty: nothing is kept there", path.display()))),
        },
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(error, path)),
        Err(_) if create => make_directory(path),
        Err(_) => Err(Error::new(ErrorKind::NotFound, format!("{} does not exist", path.display()))),
    }
}

fn lock(path: &Path, timeout: Duration) -> Result<File> {
    let name = path.join(LOCK);
    let lock = open_file(&name, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
    refuse_second_name(&lock, &name)?;
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if start.elapsed() < timeout => thread::sleep(AGAIN),
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is open elsewhere: close it there or try again later", path.display());
                return Err(Error::new(ErrorKind::Busy, text));
            }
            Err(TryLockError::Error(source)) => return Err(file(source, &name)),
        }
    }
}

/// Writes over what is there, which is no longer. It is not cut first: a power cut would leave an empty file, beside names
/// that a killed process had made.
fn sign(mut lock: &File) -> io::Result<()> {
    lock.rewind()?;
    lock.write_all(format!("{SIGNATURE}{FORMAT_VERSION}\n").as_bytes())?;
    lock.sync_all()
}

fn foreign(path: &Path) -> Error {
    Error::new(ErrorKind::Invalid, format!("{} holds something else: name another directory", path.display()))
}
