//! From a path to a database that is known to be ours: the directory, its lock, what a kill left, the tree.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::thread;
use std::time::Instant;

use mls_keep_core::{Error, ErrorKind, Result};

use crate::config::Config;
use crate::error::{corrupt, io_error, reading};
use crate::files::Files;
use crate::settle::{AGAIN, settle, sync_directory};
use crate::store::{Guarded, Store};

/// The file that says whose the directory is, and that is locked while it is open.
pub(crate) const LOCK: &str = "mls-keep.lock";

/// What stands in it: a name, and the version of what stands beside it.
const SIGNATURE: &str = "mls-keep-sled ";
const FORMAT_VERSION: u32 = 1;

/// sled's own directory, and the name under which it is made.
pub(crate) const STORE: &str = "store";
const NEW: &str = "store.new";

/// Where everything stands in it.
const TREE: &str = "keep";

/// Opens or makes the directory at `path`.
pub(crate) fn open(path: &Path, config: &Config) -> Result<Store> {
    let path = &std::path::absolute(path).map_err(|source| io_error(source, path))?;
    find_or_create(path, config.create)?;
    let lock = lock(path, config)?;
    // A name may be of a process that was killed before it was durable.
    for directory in path.parent().into_iter().chain([path.as_path()]) {
        sync_directory(directory)?;
    }
    let store = path.join(STORE);
    match fs::symlink_metadata(&store) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(corrupt(&store, "it is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, &store, config)?,
        Err(error) => return Err(io_error(error, &store)),
    }
    heal(&store)?;
    settle(path, &store, config.busy_timeout)?;
    let (db, files) = open_settled(path, &store, config)?;
    Ok(Store::new(db, files, path.clone(), config.busy_timeout, lock))
}

/// Opens sled, which asserts much of what it reads: a directory that was made to mislead it can end in a panic. All that it
/// could have left half done is in what is dropped with it.
fn open_settled(path: &Path, store: &Path, config: &Config) -> Result<(Guarded, Files)> {
    let opened = panic::catch_unwind(AssertUnwindSafe(|| {
        let (db, tree) = open_sled(store, config)?;
        let db = Guarded::new(db, tree);
        let (sled, _) = db.get()?;
        refuse_others(sled, path)?;
        let files = flush(sled, store)?;
        Ok((db, files))
    }));
    opened.unwrap_or_else(|_| Err(corrupt(store, "sled gave up on it")))
}

/// Refuses a database in which somebody else keeps something too.
fn refuse_others(db: &sled::Db, path: &Path) -> Result<()> {
    let ours = |name: &sled::IVec| name == TREE.as_bytes() || *name == db.name();
    if db.tree_names().iter().all(ours) && db.is_empty() {
        return Ok(());
    }
    let text = format!("{} has trees of another program in it: name another directory", path.display());
    Err(Error::new(ErrorKind::Invalid, text))
}

/// Makes the database under another name, whole and flushed, and then gives it its own: sled does not open a database whose
/// making was cut short. A kill leaves the other name, which the next one to come begins anew.
fn create(path: &Path, store: &Path, config: &Config) -> Result<()> {
    if !config.create {
        return Err(Error::new(ErrorKind::NotFound, format!("{} is empty: nothing is kept there", path.display())));
    }
    let new = path.join(NEW);
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error, &new)),
        _ => {}
    }
    // sled's own files have the usual mode, and the directory above may have been there before.
    private_directory(&new).map_err(|source| io_error(source, &new))?;
    let (db, tree) = open_sled(&new, config)?;
    let mut files = flush(&db, &new)?;
    drop((tree, db));
    let named = files.sync().and_then(|()| fs::rename(&new, store));
    named.map_err(|source| io_error(source, store))?;
    sync_directory(path)
}

fn open_sled(path: &Path, config: &Config) -> Result<(sled::Db, sled::Tree)> {
    // Each write is flushed by itself, so nothing is left for a timer.
    let sled = sled::Config::new().path(path).cache_capacity(config.cache_len).flush_every_ms(None);
    let start = Instant::now();
    let db = loop {
        match sled.open() {
            // A thread of sled's may hold the file for a moment after a database in it was dropped.
            Err(sled::Error::Io(error)) if is_locked(&error) && start.elapsed() < config.busy_timeout => {
                thread::sleep(AGAIN);
            }
            opened => break opened.map_err(reading)?,
        }
    };
    let tree = db.open_tree(TREE).map_err(reading)?;
    Ok((db, tree))
}

/// sled has no kind of error for it.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

/// Makes durable what opening has written.
fn flush(db: &sled::Db, path: &Path) -> Result<Files> {
    db.flush().map_err(reading)?;
    let open = || {
        let mut files = Files::open(path)?;
        files.sync()?;
        Ok(files)
    };
    open().map_err(|source| io_error(source, path))
}

/// Makes sure that a directory which may be ours is at `path`.
fn find_or_create(path: &Path, create: bool) -> Result<()> {
    let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("{} is {what}", path.display())));
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => return invalid("a symbolic link: name the directory itself"),
        Ok(found) if !found.is_dir() => return invalid("not a directory"),
        Ok(_) => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error, path)),
        Err(_) if !create => {
            return Err(Error::new(ErrorKind::NotFound, format!("{} does not exist", path.display())));
        }
        Err(_) => {
            return match private_directory(path) {
                Ok(()) => Ok(()),
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(io_error(error, path)),
            };
        }
    }
    let mut entries = fs::read_dir(path).map_err(|source| io_error(source, path))?;
    let signed = fs::symlink_metadata(path.join(LOCK)).is_ok_and(|found| found.is_file());
    match (signed, entries.next().is_none()) {
        (true, _) => Ok(()),
        (false, true) if create => Ok(()),
        (false, true) => {
            Err(Error::new(ErrorKind::NotFound, format!("{} is empty: nothing is kept there", path.display())))
        }
        (false, false) => invalid("a directory of something else: name another one"),
    }
}

/// Makes a directory that its owner only can enter.
fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Takes the directory for this process, and makes sure that it is ours. The system frees the lock when the process ends.
fn lock(path: &Path, config: &Config) -> Result<File> {
    let name = path.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(config.create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut lock = options.open(&name).map_err(|source| io_error(source, &name))?;
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if start.elapsed() < config.busy_timeout => {
                thread::sleep(AGAIN);
            }
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is open elsewhere: close it there or try again later", path.display());
                return Err(Error::new(ErrorKind::Busy, text));
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source, &name)),
        }
    }
    let mut text = String::new();
    let read = (&mut lock).take(64).read_to_string(&mut text);
    read.map_err(|source| io_error(source, &name))?;
    if !text.ends_with('\n') && !path.join(STORE).exists() {
        // New, or a kill came while it was being written, before there was a database.
        if !config.create {
            return Err(Error::new(ErrorKind::NotFound, format!("{} is empty: nothing is kept there", path.display())));
        }
        sign(&mut lock).map_err(|source| io_error(source, &name))?;
        sync_directory(path)?;
        return Ok(lock);
    }
    let version = text.trim_end().strip_prefix(SIGNATURE).and_then(|version| version.parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) => {
            // It may be in memory only, left by a process that was killed before its flush; a database beside it that is
            // durable would then be one of something else.
            write_signature(&mut lock).map_err(|source| io_error(source, &name))?;
            Ok(lock)
        }
        Some(newer) if newer > FORMAT_VERSION => Err(Error::newer_version(path.display(), newer, FORMAT_VERSION)),
        _ => Err(Error::new(ErrorKind::Invalid, format!("{} is a directory of something else", path.display()))),
    }
}

fn sign(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    write_signature(lock)
}

fn write_signature(lock: &mut File) -> io::Result<()> {
    lock.rewind()?;
    lock.write_all(format!("{SIGNATURE}{FORMAT_VERSION}\n").as_bytes())?;
    lock.sync_all()
}

/// Removes the snapshots that a killed process did not finish. sled takes such a file for a snapshot and refuses to open.
/// Nothing is lost by it: a snapshot only saves reading the log.
fn heal(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(|source| io_error(source, path))? {
        let name = entry.map_err(|source| io_error(source, path))?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("snap.") && text.ends_with(".generating") {
            let leftover = path.join(&name);
            fs::remove_file(&leftover).map_err(|source| io_error(source, &leftover))?;
        }
    }
    Ok(())
}
