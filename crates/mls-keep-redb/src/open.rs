//! From a path to a database that is known to be ours: the file, its lock, its identity, its table.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mls_keep_core::{Error, ErrorKind, Result};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, TableDefinition, TableError, TableHandle};

use crate::config::Config;
use crate::error::{io_error, opening, redb_error};
use crate::place::Place;
use crate::settle::{corrupt, settle};
use crate::store::{Guarded, KEEP, Store};

/// What says whose the file is: the version of the table beside it.
const IDENTITY: TableDefinition<'_, &str, u32> = TableDefinition::new("mls-keep");
const FORMAT: &str = "format";
const FORMAT_VERSION: u32 = 1;

/// How long to wait before a held lock is tried again. No operating system tells when a lock of a file is free.
const AGAIN: Duration = Duration::from_millis(5);

/// Opens or makes the database at `path`.
pub(crate) fn open(path: &Path, config: &Config, progress: impl Fn(f64) + Send + Sync + 'static) -> Result<Store> {
    let path = &std::path::absolute(path).map_err(|source| io_error(source, path))?;
    let give_up = Instant::now() + config.busy_timeout;
    let progress = Arc::new(progress);
    loop {
        let found = match find(path)? {
            true => open_existing(path, config, Arc::clone(&progress)).map(Some),
            false if config.create => create(path, config),
            false => {
                return Err(Error::new(ErrorKind::NotFound, format!("{} does not exist", path.display())));
            }
        };
        match found {
            Ok(Some(db)) => return Ok(Store::new(db, config.two_phase_commit, Place::of(path))),
            // Another process made it meanwhile.
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Busy && Instant::now() < give_up => thread::sleep(AGAIN),
            Err(error) => return Err(error),
        }
    }
}

/// Whether a regular file is at `path`.
fn find(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(_) => Err(Error::new(ErrorKind::Invalid, format!("{} is not a regular file", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                let text = format!("{} is a symbolic link to a file that does not exist", path.display());
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            Ok(false)
        }
        Err(error) => Err(io_error(error, path)),
    }
}

fn open_existing(path: &Path, config: &Config, progress: Arc<impl Fn(f64) + Send + Sync + 'static>) -> Result<Guarded> {
    let found = OpenOptions::new().read(true).write(true).open(path).map_err(|source| io_error(source, path))?;
    lock(&found, path)?;
    settle(&found, path)?;
    // The name may be of a process that was killed before it was durable.
    let target = fs::canonicalize(path).map_err(|source| io_error(source, path))?;
    sync_directory(target.parent().unwrap_or(path))?;
    let mut builder = builder(config);
    builder.set_check_integrity_on_open(config.check_pages);
    builder.set_repair_callback(move |repair| progress(repair.progress()));
    // redb checks much of what it reads and asserts the rest, so a file that was made to mislead it can end in a panic. All
    // that it could have left half done is in what is dropped with it.
    let opened = panic::catch_unwind(AssertUnwindSafe(|| {
        // Of the same open file as the lock.
        let backend = FileBackend::new(found).map_err(|error| opening(error, path))?;
        let db = builder.create_with_backend(backend).map_err(|error| opening(error, path))?;
        let db = Guarded::new(db);
        identify(db.get()?, path)?;
        Ok(db)
    }));
    let db = opened.unwrap_or_else(|_| Err(corrupt(path, "redb gave up on it")))?;
    // Of a process that was killed right after it made the file.
    remove_if_there(&unfinished(path))?;
    Ok(db)
}

fn lock(opened: &File, path: &Path) -> Result<()> {
    match opened.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(opening(DatabaseError::DatabaseAlreadyOpen, path)),
        Err(TryLockError::Error(source)) => Err(io_error(source, path)),
    }
}

/// Makes the database under another name, whole and flushed, and then gives it its own. A kill leaves the other name, which
/// the next one to come begins anew; redb never opens a file whose making was cut short.
///
/// The lock of the file under the other name says who makes it. `None` if somebody else has made it meanwhile.
fn create(path: &Path, config: &Config) -> Result<Option<Guarded>> {
    let parent = path.parent().unwrap_or(path);
    if matches!(fs::metadata(parent), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        let text = format!("the directory {} does not exist: create it first", parent.display());
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    let name = unfinished(path);
    let new = open_unfinished(&name)?;
    lock(&new, path)?;
    // Somebody may have put a file there that others can read.
    make_private(&new).map_err(|source| io_error(source, &name))?;
    // Who held the lock before may have given the file its name: then this is the database itself.
    if find(path)? {
        return Ok(None);
    }
    new.set_len(0).map_err(|source| io_error(source, &name))?;
    // Of the same open file as the lock, which stays held until the database is closed.
    let backend = FileBackend::new(new).map_err(|error| opening(error, path))?;
    let db = builder(config).create_with_backend(backend).map_err(|error| opening(error, path))?;
    let transaction = db.begin_write().map_err(redb_error)?;
    transaction.open_table(KEEP).map_err(redb_error)?;
    transaction.open_table(IDENTITY).map_err(redb_error)?.insert(FORMAT, FORMAT_VERSION).map_err(redb_error)?;
    transaction.commit().map_err(redb_error)?;
    fs::rename(&name, path).map_err(|source| io_error(source, path))?;
    sync_directory(parent)?;
    Ok(Some(Guarded::new(db)))
}

/// The name under which a database is made. What stands there is overwritten and removed, so it is a name that nobody gives
/// to a store or a file of their own.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".mls-keep-unfinished");
    name.into()
}

/// Leaves the file to its owner alone. It is an error if that is somebody else.
fn make_private(new: &File) -> io::Result<()> {
    #[cfg(unix)]
    new.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = new;
    Ok(())
}

fn open_unfinished(name: &Path) -> Result<File> {
    if fs::symlink_metadata(name).is_ok_and(|found| !found.is_file()) {
        return Err(Error::new(ErrorKind::Invalid, format!("{} is in the way: remove it", name.display())));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(name).map_err(|source| io_error(source, name))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(error, path)),
        _ => Ok(()),
    }
}

/// Refuses a database that is not ours, or in which somebody else keeps something too.
fn identify(db: &Database, path: &Path) -> Result<()> {
    let transaction = db.begin_read().map_err(redb_error)?;
    let version = match transaction.open_table(IDENTITY) {
        Ok(table) => table.get(FORMAT).map_err(redb_error)?.map(|version| version.value()),
        Err(TableError::Storage(error)) => return Err(redb_error(error)),
        Err(_) => None,
    };
    let another = |what: &str| {
        let text = format!("{} is the redb database of another program{what}: name another file", path.display());
        Err(Error::new(ErrorKind::Invalid, text))
    };
    match version {
        Some(FORMAT_VERSION) => {}
        Some(newer) if newer > FORMAT_VERSION => {
            return Err(Error::newer_version(path.display(), newer, FORMAT_VERSION));
        }
        Some(other) => return Err(corrupt(path, &format!("it has format version {other}, which never existed"))),
        None => return another(""),
    }
    transaction.open_table(KEEP).map_err(redb_error)?;
    let tables = transaction.list_tables().map_err(redb_error)?;
    let foreign = tables.filter(|table| ![KEEP.name(), IDENTITY.name()].contains(&table.name())).count();
    if foreign > 0 || transaction.list_multimap_tables().map_err(redb_error)?.next().is_some() {
        return another(" too, which has tables in it");
    }
    // One that nobody deletes keeps every page that was in use when it was made.
    let transaction = db.begin_write().map_err(redb_error)?;
    let saved = transaction.list_persistent_savepoints().map_err(redb_error)?.next().is_some();
    transaction.abort().map_err(redb_error)?;
    if saved { another(" too, which has savepoints in it") } else { Ok(()) }
}

fn builder(config: &Config) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(config.cache_len);
    builder
}

/// Makes the names of new files durable.
fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| io_error(source, path))?;
    }
    Ok(())
}
