//! From a path to a connection that is known to be in force: the file, its identity, its settings, its table.
//!
//! **The file is hostile input.** SQLite runs what a file brings along, so what can be switched off is, before the first
//! read ([`disarm`]); files beside it that SQLite would follow are looked at ([`log::look_beside`]); and the schema has to
//! be ours, word for word ([`schema`]).
//!
//! **Nothing is shown that is not durable.** A process that was killed between the write and the flush of a commit leaves
//! it in the log, in memory of the system. SQLite finds it there at the next opening and shows it, and a power failure
//! takes it away again, after the application has acted on it. So an opening writes all of the log once more and flushes
//! it, under the write lock, before the first answer ([`settle_log`]). A flush alone could say `Ok` for bytes that an earlier,
//! failed flush has lost; SQLite's checkpoint would not do either, because it trusts such a flush and then overwrites the
//! database. Nothing is appended before that, so no commit ever stands behind one that may not reach the medium. The
//! directory is flushed at each opening as well: a process that made a file in it may have been killed before it did.
//!
//! With [`Durability::ProcessCrash`] the log is neither rewritten nor flushed: it promises nothing about power. All who have
//! a file open together should ask for the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mls_keep_core::{Durability, Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use crate::config::Config;
use crate::error::{Stage, io_error, sqlite_error};
use crate::log;
use crate::place::Place;
use crate::schema::{self, Cookie};

/// An open database, ready for use.
pub(crate) struct Opened {
    pub(crate) conn: Connection,
    /// That of the schema, which was examined.
    pub(crate) cookie: Cookie,
    /// SQLite's write-ahead log.
    pub(crate) log: PathBuf,
    pub(crate) place: Place,
}

/// Opens or makes the database at `path`.
pub(crate) fn open(path: &Path, config: &Config) -> Result<Opened> {
    config.check()?;
    // SQLite gives a meaning to names such as ":memory:" and "file:x?mode=memory", but not to absolute paths. It also
    // makes the path independent of later changes of the working directory.
    let path = std::path::absolute(path).map_err(|source| io_error(source, path))?;
    find_or_create(&path, config.create)?;
    // SQLite follows links to the database, and puts its other files beside what they lead to.
    let path = if cfg!(unix) { fs::canonicalize(&path).map_err(|source| io_error(source, &path))? } else { path };
    refuse_second_name(&path)?;
    let place = Place::of(&path);
    log::look_beside(&path)?;

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut conn = Connection::open_with_flags(&path, flags).map_err(opening)?;
    conn.busy_timeout(config.busy_timeout).map_err(opening)?;
    disarm(&conn)?;
    // SQLite falls back to reading when it may not write.
    if conn.is_readonly(MAIN_DB).map_err(opening)? {
        return Err(Error::new(
            ErrorKind::ReadOnly,
            format!("{} may not be written: change its permissions or its mount", path.display()),
        ));
    }
    conn.execute_batch("BEGIN").map_err(opening)?;
    let known = schema::identify(&mut conn, &path)?;
    conn.execute_batch("ROLLBACK").map_err(opening)?;
    if known.is_none() && !config.create {
        return Err(Error::new(ErrorKind::NotFound, format!("{} is empty: nothing is kept there", path.display())));
    }
    settle(&conn, config.durability)?;
    let cookie = match known {
        Some(cookie) => cookie,
        None => create_table(&mut conn, &path)?,
    };
    // After the table, so that the main file says what it is before there is a log.
    switch_to_log(&conn, config.busy_timeout)?;
    let log = log::path_of(&path);
    if config.durability == Durability::PowerLoss {
        settle_log(&conn, &log)?;
    }
    sync_directory(&path)?;
    configure(&conn, DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(Opened { conn, cookie, log, place })
}

/// Switches off what a file can bring along, and bounds what parsing it takes.
fn disarm(conn: &Connection) -> Result<()> {
    for (option, on) in [
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
        // No function with an effect in a default, a constraint, an index or a computed column.
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        // Until the file is known to be ours and its log to be durable, closing must not move anything between the two.
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
    ] {
        configure(conn, option, on)?;
    }
    schema::limit(conn).map_err(opening)
}

/// Sets one option, and refuses to go on without it.
fn configure(conn: &Connection, option: DbConfig, on: bool) -> Result<()> {
    conn.set_db_config(option, on).map_err(opening)?;
    if conn.db_config(option).map_err(opening)? == on {
        return Ok(());
    }
    let text = format!("SQLite does not put {option:?}={on} in force: without it nothing is kept safely");
    Err(Error::new(ErrorKind::Internal, text))
}

/// Makes durable what SQLite has found in the log; see the head of this file.
///
/// Under the write lock, which those take too who append to the log or empty it.
fn settle_log(conn: &Connection, log: &Path) -> Result<()> {
    if fs::metadata(log).is_ok_and(|found| found.len() == 0) {
        return Ok(());
    }
    conn.execute_batch("BEGIN IMMEDIATE").map_err(opening)?;
    log::rewrite(log)?;
    conn.execute_batch("ROLLBACK").map_err(opening)
}

/// Makes sure that a regular file is at `path`.
///
/// An existing file is not opened here: closing it again would release the POSIX locks that another connection of this
/// process holds on it.
fn find_or_create(path: &Path, create: bool) -> Result<()> {
    // The same holds for a new file, from the moment on that others can see it until it is closed.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

    let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("{} is {what}", path.display())));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return invalid("a directory: name a file in it"),
        Ok(found) if !found.is_file() => return invalid("not a regular file"),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error, path)),
        Err(_) => {}
    }
    if !create {
        return Err(Error::new(ErrorKind::NotFound, format!("{} does not exist", path.display())));
    }
    let parent = parent(path);
    if matches!(fs::metadata(&parent), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("the directory {} does not exist: create it first", parent.display()),
        ));
    }
    let mut options = fs::OpenOptions::new();
    // `create_new` follows no symbolic link, and SQLite gives the log and its index the mode of the database.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) && fs::metadata(path).is_err() {
                return invalid("a symbolic link to a file that does not exist");
            }
            // Another process was faster. The first to hold the write lock makes the table.
            Ok(())
        }
        Err(error) => Err(io_error(error, path)),
    }
}

/// Refuses a file that stands under another name as well. SQLite's log stands beside the name by which the file was opened,
/// so each name would have a log of its own: a commit under one name would not be there under the other.
fn refuse_second_name(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let found = fs::metadata(path).map_err(|source| io_error(source, path))?;
        if std::os::unix::fs::MetadataExt::nlink(&found) > 1 {
            let text = format!("{} has a second name (a hard link): make it a file of its own", path.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// A setting of the connection, the value it is given, and the text that it must then read as.
struct Setting {
    name: &'static str,
    value: &'static str,
    reads: &'static str,
}

/// Puts the connection's settings in force.
fn settle(conn: &Connection, durability: Durability) -> Result<()> {
    let synchronous = match durability {
        Durability::PowerLoss => Setting { name: "synchronous", value: "FULL", reads: "2" },
        Durability::ProcessCrash | Durability::None => Setting { name: "synchronous", value: "NORMAL", reads: "1" },
    };
    set(conn, &synchronous)?;
    for (name, value, reads) in [
        // Freed space is overwritten with zeros.
        ("secure_delete", "ON", "1"),
        // On macOS a plain fsync does not reach the medium. Elsewhere the two do nothing.
        ("fullfsync", "ON", "1"),
        ("checkpoint_fullfsync", "ON", "1"),
        // Cells of a page are checked before they are used.
        ("cell_size_check", "ON", "1"),
        // A file can ask for a cache of any size. This is SQLite's default, 2 MiB.
        ("cache_size", "-2000", "-2000"),
        // Other processes must be able to write in turn.
        ("locking_mode", "NORMAL", "normal"),
        // SQLite's default: about 4 MiB of log, then a passive checkpoint. See the crate's README.
        ("wal_autocheckpoint", "1000", "1000"),
    ] {
        set(conn, &Setting { name, value, reads })?;
    }
    conn.set_prepared_statement_cache_capacity(16);
    Ok(())
}

/// Sets one setting, reads it back, and refuses to go on without it.
fn set(conn: &Connection, setting: &Setting) -> Result<()> {
    let Setting { name, value, reads } = setting;
    // To its end: a journal mode is shown before the transaction that writes it into the file is committed.
    let mut pragma = conn.prepare(&format!("PRAGMA {name} = {value}")).map_err(opening)?;
    let mut rows = pragma.query([]).map_err(opening)?;
    while rows.next().map_err(opening)?.is_some() {}
    let found = schema::read(conn, name).map_err(opening)?;
    if found == *reads {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Internal,
        format!("SQLite does not put {name}={value} in force, it stays {found}: without it nothing is kept safely"),
    ))
}

/// Switches to the write-ahead log. SQLite does not wait by itself when others do the same at this moment.
fn switch_to_log(conn: &Connection, timeout: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        match set(conn, &Setting { name: "journal_mode", value: "WAL", reads: "wal" }) {
            Err(error) if error.kind() == ErrorKind::Busy && start.elapsed() < timeout => {
                // This does wait, until nobody reads or writes.
                conn.execute_batch("BEGIN EXCLUSIVE; ROLLBACK").map_err(opening)?;
            }
            result => return result,
        }
    }
}

/// Makes the table, unless another process does so first.
fn create_table(conn: &mut Connection, path: &Path) -> Result<Cookie> {
    conn.execute_batch("BEGIN IMMEDIATE").map_err(opening)?;
    let cookie = match schema::identify(conn, path)? {
        Some(cookie) => cookie,
        None => schema::create(conn).map_err(opening)?,
    };
    conn.execute_batch("COMMIT").map_err(opening)?;
    Ok(cookie)
}

/// Makes the names in the directory durable. SQLite does so for a log that it makes, at its first flush, but not for a
/// database or a log that it finds in place.
fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let parent = parent(path);
        fs::File::open(&parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| io_error(source, &parent))?;
    }
    Ok(())
}

/// The directory that holds `path`, which is absolute.
fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}

fn opening(source: rusqlite::Error) -> Error {
    sqlite_error(source, Stage::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conn: &Connection, pragma: &str) -> String {
        schema::read(conn, pragma).unwrap()
    }

    #[test]
    fn every_setting_is_in_force() {
        let dir = tempfile::tempdir().unwrap();
        for (durability, synchronous) in [(Durability::PowerLoss, "2"), (Durability::ProcessCrash, "1")] {
            let config = Config { durability, ..Config::default() };
            let Opened { conn, .. } = open(&dir.path().join("keep"), &config).unwrap();
            assert_eq!(read(&conn, "synchronous"), synchronous);
            assert_eq!(read(&conn, "journal_mode"), "wal");
            assert_eq!(read(&conn, "secure_delete"), "1");
            assert_eq!(read(&conn, "fullfsync"), "1");
            assert_eq!(read(&conn, "busy_timeout"), "5000");
            assert_eq!(read(&conn, "cache_size"), "-2000");
            assert_eq!(read(&conn, "trusted_schema"), "0");
            assert!(!conn.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER).unwrap());
            assert!(!conn.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW).unwrap());
            assert!(conn.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE).unwrap());
            assert_eq!(read(&conn, "application_id"), schema::APPLICATION_ID.to_string());
            assert_eq!(read(&conn, "user_version"), schema::FORMAT_VERSION.to_string());
        }
    }

    #[test]
    fn a_setting_that_does_not_take_is_refused_by_name() {
        let conn = Connection::open_in_memory().unwrap();
        // A database in memory has no log, so SQLite keeps another mode without an error.
        let error = set(&conn, &Setting { name: "journal_mode", value: "WAL", reads: "wal" }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains("journal_mode=WAL"), "{error}");
    }

    #[test]
    fn names_that_sqlite_gives_a_meaning_are_plain_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in [":memory:", "file:x?mode=memory", "a b%20c#?"] {
            let path = dir.path().join(name);
            drop(open(&path, &Config::default()).unwrap());
            assert!(path.is_file(), "{name}");
        }
        // Relative, as a user would write it: the name alone.
        assert!(std::path::absolute(":memory:").unwrap().ends_with(":memory:"));
    }
}
