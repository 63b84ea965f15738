//! What the file says about itself: whose it is, and that its schema is exactly ours.
//!
//! SQLite obeys what a file holds: triggers and views run inside of our own transactions, a column can be computed, a
//! constraint can drop a write, an index can answer in place of the table. So the file is hostile input:
//!
//! - Triggers and views are off and the schema is not trusted ([`crate::open`]), and what SQLite takes from a file while
//!   it only parses the schema is bounded by [`LIMITS`] and [`MAX_STEPS`].
//! - The schema is compared with what [`create`] makes, word for word ([`examine`]), before any statement names the table.
//! - Each transaction, of reads too, first compares the schema's cookie with that of the schema that was examined. SQLite
//!   parses a schema again only when its cookie has changed, so no statement runs on one that was not examined.

use std::path::Path;

use mls_keep_core::limits::MAX_KEY_LEN;
use mls_keep_core::{Error, ErrorKind, Result};
use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

use crate::config::MAX_VALUE_LEN;
use crate::error::{Stage, corrupt, sqlite_error};

/// "MLSk": what `file` and others recognise such a database by.
pub(crate) const APPLICATION_ID: i64 = 0x4d4c_536b;

/// The version of the table below.
pub(crate) const FORMAT_VERSION: i64 = 1;

/// Keys are blobs, so that they order as their bytes do whatever the encoding of the database is.
///
/// A table with rowids and pages of 4 KiB, measured against `WITHOUT ROWID` and pages of 8 and 16 KiB with values of 1
/// to 16 KiB: commits take about the same, single reads a third to a half of the time, listing a quarter, because the
/// keys then have a b-tree of their own that no value dilutes. The file is 1.1 to 2 times the data; without rowids 1.1 to
/// 4.7 times, as a page holds one or two rows and overflow pages are not shared.
const CREATE_TABLE: &str = "CREATE TABLE keep (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) STRICT";

const SELECT: &str = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema";

/// The rows of `sqlite_schema` in a file of ours, all there are: type, name, table, first page, text.
const SCHEMA: [Entry; 2] =
    [("table", "keep", "keep", 2, Some(CREATE_TABLE)), ("index", "sqlite_autoindex_keep_1", "keep", 3, None)];

/// Settings that a file brings along, and what they are in a file of ours. Others would work, but nothing of ours makes them.
const BROUGHT_ALONG: [(&str, &str); 3] = [("encoding", "UTF-8"), ("page_size", "4096"), ("auto_vacuum", "0")];

/// Bounds for what a file can make SQLite do, before it is read for the first time.
#[expect(clippy::cast_possible_truncation, reason = "16 MiB and a little are far below i32::MAX")]
const LIMITS: [(Limit, i32); 6] = [
    // A forged row cannot make SQLite allocate more than a value of ours takes.
    (Limit::SQLITE_LIMIT_LENGTH, (MAX_VALUE_LEN + MAX_KEY_LEN + 64) as i32),
    // Nor a statement in a forged schema more than a little. Our own statements are far shorter.
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 4096),
    (Limit::SQLITE_LIMIT_COLUMN, 16),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 50),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
];

/// Most steps of SQLite's machine that parsing a schema and comparing it may take. Ours takes about 100. Pages that
/// refer to each other in a circle would make it endless.
const MAX_STEPS: i32 = 10_000;

/// The number by which SQLite notices that a schema has changed.
pub(crate) type Cookie = i64;

type Entry = (&'static str, &'static str, &'static str, i64, Option<&'static str>);

/// Puts [`LIMITS`] in force.
pub(crate) fn limit(conn: &Connection) -> rusqlite::Result<()> {
    LIMITS.iter().try_for_each(|(limit, value)| conn.set_limit(*limit, *value).map(drop))
}

/// The cookie of the keep that the file holds; `None` if the file is empty. Anything else is refused before it is changed.
///
/// In a transaction, because another process may be making the file now.
pub(crate) fn identify(conn: &mut Connection, path: &Path) -> Result<Option<Cookie>> {
    // Both stand in the first page, and nothing else is parsed for them.
    let application = number(conn, "application_id").map_err(opening)?;
    let version = number(conn, "user_version").map_err(opening)?;
    match (application, version) {
        (0, 0) if is_empty(conn)? => Ok(None),
        (APPLICATION_ID, FORMAT_VERSION) => examine(conn).map(Some),
        (APPLICATION_ID, newer) if newer > FORMAT_VERSION => {
            Err(Error::newer_version(path.display(), newer, FORMAT_VERSION))
        }
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

/// Whether the file is empty. A database of another program whose tables are gone is not: it may have other settings, and
/// free pages where our table is to begin.
fn is_empty(conn: &mut Connection) -> Result<bool> {
    let empty = bounded(conn, |conn| {
        // Inside of a transaction that writes, SQLite has made the first page already.
        let pages = number(conn, "page_count").map_err(examining)?;
        Ok(pages <= 1
            && !conn.prepare(SELECT).and_then(|mut select| select.exists([])).map_err(examining)?
            && is_usual(conn)?)
    });
    match empty {
        // SQLite cannot parse the schema. So there is one, and it is not ours.
        Err(failure) if failure.kind() == ErrorKind::Corrupt => Ok(false),
        empty => empty,
    }
}

/// Makes the table in an empty file, inside of a transaction.
pub(crate) fn create(conn: &Connection) -> rusqlite::Result<Cookie> {
    conn.execute_batch(CREATE_TABLE)?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", FORMAT_VERSION)?;
    cookie(conn)
}

/// The cookie of the schema as it is now. It stands in the first page, and nothing else is parsed for it.
pub(crate) fn cookie(conn: &Connection) -> rusqlite::Result<Cookie> {
    conn.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}

/// Compares everything that the schema holds with what [`create`] makes, and returns the cookie of what was compared.
///
/// In a transaction: SQLite parses the schema at its first use in one if the cookie is not that of the schema it knows.
pub(crate) fn examine(conn: &mut Connection) -> Result<Cookie> {
    bounded(conn, compare)
}

fn compare(conn: &Connection) -> Result<Cookie> {
    let cookie = cookie(conn).map_err(examining)?;
    let mut select = conn.prepare(SELECT).map_err(examining)?;
    let mut rows = select.query([]).map_err(examining)?;
    for wanted in &SCHEMA {
        let row = rows.next().map_err(examining)?.ok_or_else(foreign)?;
        if !is(row, wanted).map_err(examining)? {
            return Err(foreign());
        }
    }
    if rows.next().map_err(examining)?.is_some() {
        return Err(foreign());
    }
    if is_usual(conn)? { Ok(cookie) } else { Err(foreign()) }
}

/// Whether the file brings along what a file of ours does.
fn is_usual(conn: &Connection) -> Result<bool> {
    for (name, usual) in BROUGHT_ALONG {
        if read(conn, name).map_err(examining)? != usual {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a row of the schema is `wanted`.
fn is(row: &Row<'_>, wanted: &Entry) -> rusqlite::Result<bool> {
    let (kind, name, table, page, text) = *wanted;
    Ok(row.get_ref(0)?.as_str() == Ok(kind)
        && row.get_ref(1)?.as_str() == Ok(name)
        && row.get_ref(2)?.as_str() == Ok(table)
        && row.get_ref(3)?.as_i64() == Ok(page)
        && row.get_ref(4)?.as_str_or_null() == Ok(text))
}

/// Runs `work`, and ends it when it takes more than [`MAX_STEPS`].
fn bounded<T>(conn: &mut Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    conn.progress_handler(MAX_STEPS, Some(|| true)).map_err(examining)?;
    let result = work(conn);
    conn.progress_handler(0, None::<fn() -> bool>).map_err(examining)?;
    result
}

fn number(conn: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, pragma, |row| row.get(0))
}

/// What a setting reads as, whatever its type is.
pub(crate) fn read(conn: &Connection, pragma: &str) -> rusqlite::Result<String> {
    let value: Value = conn.pragma_query_value(None, pragma, |row| row.get(0))?;
    Ok(match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text,
        other => format!("{other:?}"),
    })
}

fn foreign() -> Error {
    corrupt("the SQLite file's schema is not as this crate makes it, so nothing in it is used: restore a backup")
}

fn examining(source: rusqlite::Error) -> Error {
    sqlite_error(source, Stage::Schema)
}

fn opening(source: rusqlite::Error) -> Error {
    sqlite_error(source, Stage::Open)
}
