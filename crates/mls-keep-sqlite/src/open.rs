//! From a path to a connection that is known to be in force: the file, its identity, its settings, its table.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mls_keep_core::limits::MAX_KEY_LEN;
use mls_keep_core::{Durability, Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Connection, MAIN_DB, OpenFlags, Transaction, TransactionBehavior};

use crate::config::{Config, MAX_VALUE_LEN};
use crate::error::{Stage, engine, file};

/// "MLSk": what `file` and others recognise such a database by.
pub(crate) const APPLICATION_ID: i32 = 0x4d4c_536b;

/// The version of the table below.
pub(crate) const FORMAT_VERSION: i32 = 1;

/// Keys are blobs, so that they order as their bytes do whatever the encoding of the database is.
///
/// A table with rowids and pages of 4 KiB, measured against `WITHOUT ROWID` and pages of 8 and 16 KiB with values of 1
/// to 16 KiB: commits take about the same, single reads a third to a half of the time, listing a quarter, because the
/// keys then have a b-tree of their own that no value dilutes. The file is 1.1 to 2 times the data; without rowids 1.1 to
/// 4.7 times, as a page holds one or two rows and overflow pages are not shared.
const CREATE_TABLE: &str = "CREATE TABLE keep (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) STRICT";

/// Opens or makes the database at `path`.
pub(crate) fn open(path: &Path, config: &Config) -> Result<Connection> {
    config.check()?;
    // SQLite gives a meaning to names such as ":memory:" and "file:x?mode=memory", but not to absolute paths. It also
    // makes the path independent of later changes of the working directory.
    let path = std::path::absolute(path).map_err(|source| file(source, path))?;
    let created = find_or_create(&path, config.create)?;

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut conn = Connection::open_with_flags(&path, flags).map_err(opening)?;
    conn.busy_timeout(config.busy_timeout).map_err(opening)?;
    // Until the file is known to be ours, closing must not move anything from its log to it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(opening)?;
    // SQLite falls back to reading when it may not write.
    if conn.is_readonly(MAIN_DB).map_err(opening)? {
        return Err(Error::new(
            ErrorKind::ReadOnly,
            format!("{} may not be written: change its permissions or its mount", path.display()),
        ));
    }
    let known = identify(&conn.unchecked_transaction().map_err(opening)?, &path)?;
    if !known && !config.create {
        return Err(Error::new(ErrorKind::NotFound, format!("{} is empty: nothing is kept there", path.display())));
    }
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(opening)?;
    settle(&conn, config.durability)?;
    if !known {
        create_table(&mut conn, &path)?;
    }
    // After the table, so that the main file says what it is before there is a log.
    switch_to_log(&conn, config.busy_timeout)?;
    if created {
        sync_directory(&path)?;
    }
    Ok(conn)
}

/// Makes sure that a regular file is at `path`. Says whether it was made now.
///
/// An existing file is not opened here: closing it again would release the POSIX locks that another connection of this
/// process holds on it.
fn find_or_create(path: &Path, create: bool) -> Result<bool> {
    // The same holds for a new file, from the moment on that others can see it until it is closed.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

    let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("{} is {what}", path.display())));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return invalid("a directory: name a file in it"),
        Ok(found) if !found.is_file() => return invalid("not a regular file"),
        Ok(_) => return Ok(false),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(error, path)),
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
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) && fs::metadata(path).is_err() {
                return invalid("a symbolic link to a file that does not exist");
            }
            // Another process was faster. Whoever holds the write lock first makes the table.
            Ok(false)
        }
        Err(error) => Err(file(error, path)),
    }
}

/// Whether the file holds a keep; `false` if it is empty. Anything else is refused before it is changed.
///
/// In a transaction, because another process may be making the file now.
fn identify(conn: &Transaction<'_>, path: &Path) -> Result<bool> {
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).map_err(opening);
    let application = number("application_id")?;
    let version = number("user_version")?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(opening)?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(false),
        (APPLICATION_ID, FORMAT_VERSION) => Ok(true),
        (APPLICATION_ID, newer) if newer > FORMAT_VERSION => Err(Error::new(
            ErrorKind::UnsupportedVersion,
            format!(
                "{} has format version {newer} and this program knows {FORMAT_VERSION}: update the program",
                path.display()
            ),
        )),
        (APPLICATION_ID, other) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("{} has format version {other}, which never existed: restore a backup", path.display()),
        )),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("{} is the SQLite database of another program: name another file", path.display()),
        )),
    }
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
        // The file may come from somebody else: nothing in its schema is run.
        ("trusted_schema", "OFF", "0"),
        ("cell_size_check", "ON", "1"),
        // Other processes must be able to write in turn.
        ("locking_mode", "NORMAL", "normal"),
        // SQLite's default: about 4 MiB of log, then a passive checkpoint. See the crate's README.
        ("wal_autocheckpoint", "1000", "1000"),
    ] {
        set(conn, &Setting { name, value, reads })?;
    }
    // A forged row cannot make SQLite allocate more than a value of ours takes.
    let longest = i32::try_from(MAX_VALUE_LEN + MAX_KEY_LEN + 64).unwrap_or(i32::MAX);
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest).map_err(opening)?;
    conn.set_prepared_statement_cache_capacity(16);
    Ok(())
}

/// Sets one setting, reads it back, and refuses to go on without it.
fn set(conn: &Connection, setting: &Setting) -> Result<()> {
    let Setting { name, value, reads } = setting;
    conn.pragma_update(None, name, value).map_err(opening)?;
    let found: Value = conn.pragma_query_value(None, name, |row| row.get(0)).map_err(opening)?;
    let found = match found {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text,
        other => format!("{other:?}"),
    };
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
fn create_table(conn: &mut Connection, path: &Path) -> Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(opening)?;
    if identify(&tx, path)? {
        return Ok(());
    }
    tx.execute_batch(CREATE_TABLE).map_err(opening)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(opening)?;
    tx.pragma_update(None, "user_version", FORMAT_VERSION).map_err(opening)?;
    tx.commit().map_err(opening)
}

/// Makes the new file's name durable. SQLite does so for its log, but not for a database that it finds in place.
fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let parent = parent(path);
        fs::File::open(&parent).and_then(|directory| directory.sync_all()).map_err(|source| file(source, &parent))?;
    }
    Ok(())
}

/// The directory that holds `path`, which is absolute.
fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}

fn opening(source: rusqlite::Error) -> Error {
    engine(source, Stage::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conn: &Connection, pragma: &str) -> String {
        let value: Value = conn.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
        match value {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => text,
            other => panic!("{pragma} reads as {other:?}"),
        }
    }

    #[test]
    fn every_setting_is_in_force() {
        let dir = tempfile::tempdir().unwrap();
        for (durability, synchronous) in [(Durability::PowerLoss, "2"), (Durability::ProcessCrash, "1")] {
            let config = Config { durability, ..Config::default() };
            let conn = open(&dir.path().join("keep"), &config).unwrap();
            assert_eq!(read(&conn, "synchronous"), synchronous);
            assert_eq!(read(&conn, "journal_mode"), "wal");
            assert_eq!(read(&conn, "secure_delete"), "1");
            assert_eq!(read(&conn, "fullfsync"), "1");
            assert_eq!(read(&conn, "busy_timeout"), "5000");
            assert_eq!(read(&conn, "application_id"), APPLICATION_ID.to_string());
            assert_eq!(read(&conn, "user_version"), FORMAT_VERSION.to_string());
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
