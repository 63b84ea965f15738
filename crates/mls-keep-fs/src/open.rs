//! From a path to a store that is known to be ours: the directory, its lock, what a kill left, the log.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mls_keep_core::{Durability, Error, ErrorKind, Result};

use crate::config::Config;
use crate::directory::{Directory, LOCK};
use crate::error::{corrupt, io_error};
use crate::files::{make_directory, open_file, refuse_second_name};
use crate::log::{self, Log};
use crate::recover::recover;
use crate::store::Store;
use crate::values::Values;

/// What stands in the lock: a name, and the version of what stands beside it.
const SIGNATURE: &str = "mls-keep-fs ";
const FORMAT_VERSION: u32 = 1;

/// How long to wait before a held lock is tried again. No operating system tells when a lock of a file is free.
const AGAIN: Duration = Duration::from_millis(5);

/// Opens the directory at `path`, and makes it if it may.
pub(crate) fn open(path: &Path, config: &Config) -> Result<Store> {
    config.check()?;
    // Independent of later changes of the working directory.
    let path = std::path::absolute(path).map_err(|source| io_error(source, path))?;
    find_or_create(&path, config.create)?;
    let lock = lock(&path, config.busy_timeout)?;
    let directory = Directory::new(path, lock);
    let is_made = is_made(&directory)?;
    identify(&directory, is_made, config.create)?;
    // A name may be of a process that was killed before it was durable.
    directory.sync()?;
    let mut values = Values::open(&directory, is_made)?;
    let flush = config.durability == Durability::PowerLoss;
    if !is_made {
        if !values.is_empty()? {
            return Err(corrupt(&directory.entry(log::NAME), "the log is missing"));
        }
        // The log comes last: with it everything else must be there.
        directory.sync()?;
        log::create(&directory, config.checkpoint_len, flush)?;
    }
    let mut log = Log::open(&directory, config.checkpoint_len, flush)?;
    let recent = recover(&mut log, &mut values)?;
    Ok(Store::new(directory, log, values, recent, config))
}

/// Whether there is a log. It comes last when a keep is made.
fn is_made(directory: &Directory) -> Result<bool> {
    let path = directory.entry(log::NAME);
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(error, &path)),
    }
}

/// Makes sure that a directory which may be ours is at `path`.
fn find_or_create(path: &Path, create: bool) -> Result<()> {
    let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("{} is {what}", path.display())));
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => invalid("a symbolic link: name the directory itself"),
        Ok(found) if !found.is_dir() => invalid("not a directory"),
        Ok(_) if fs::symlink_metadata(path.join(LOCK)).is_ok_and(|found| found.is_file()) => Ok(()),
        Ok(_) => match fs::read_dir(path).map_err(|source| io_error(source, path))?.next() {
            Some(_) => Err(foreign(path)),
            None if create => Ok(()),
            None => Err(Error::new(ErrorKind::NotFound, format!("{} is empty: nothing is kept there", path.display()))),
        },
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(error, path)),
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
            Err(TryLockError::Error(source)) => return Err(io_error(source, &name)),
        }
    }
}

/// Refuses what is not ours, and signs what is new. A kill while that was being done leaves no log.
fn identify(directory: &Directory, is_made: bool, create: bool) -> Result<()> {
    let (path, mut lock) = (directory.entry(LOCK), directory.lock());
    let mut text = Vec::new();
    (&mut lock).take(64).read_to_end(&mut text).map_err(|source| io_error(source, &path))?;
    let whole = format!("{SIGNATURE}{FORMAT_VERSION}\n").into_bytes();
    // What a power cut leaves of it is cut, or zero where nothing has reached the medium.
    let begun = text.len() <= whole.len() && text.iter().zip(&whole).all(|(is, should)| is == should || *is == 0);
    if !is_made && begun {
        if !create {
            let text = format!("{} is empty: nothing is kept there", directory.path().display());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        if text != whole {
            // Other programs have a file of this name too, and theirs is empty as well.
            refuse_others(directory.path())?;
        }
        return sign(lock).map_err(|source| io_error(source, &path));
    }
    let text = String::from_utf8_lossy(&text);
    let version = text.strip_suffix('\n').and_then(|text| text.strip_prefix(SIGNATURE)?.parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(()),
        Some(newer) if newer > FORMAT_VERSION => {
            Err(Error::newer_version(directory.path().display(), newer, FORMAT_VERSION))
        }
        _ if is_made => Err(corrupt(&path, "the file does not say what this directory is")),
        _ => Err(foreign(directory.path())),
    }
}

/// Refuses a directory in which more stands than the lock. Nothing is made there before the lock is signed.
fn refuse_others(path: &Path) -> Result<()> {
    let failed = |source| io_error(source, path);
    for entry in fs::read_dir(path).map_err(failed)? {
        if entry.map_err(failed)?.file_name() != LOCK {
            return Err(foreign(path));
        }
    }
    Ok(())
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
