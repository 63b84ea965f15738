//! How a store is changed: by SQL, and byte by byte (<https://www.sqlite.org/fileformat2.html>).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub(crate) const PAGE: usize = 4096;

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn sql(path: &Path, sql: &str) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(sql).unwrap();
    conn.close().unwrap();
}

/// Changes the schema's rows themselves.
pub(crate) fn schema(path: &Path, update: &str) {
    sql(path, &format!("PRAGMA writable_schema=ON; {update}"));
}

/// The table with other columns, at the same place and with the same root.
pub(crate) fn table(path: &Path, columns: &str) {
    sql(path, &format!("DROP TABLE keep; CREATE TABLE keep ({columns})"));
}

pub(crate) fn bytes(path: &Path, at: usize, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
}

pub(crate) fn shorten(path: &Path, parts: u64) {
    let len = fs::metadata(path).unwrap().len();
    OpenOptions::new().write(true).open(path).unwrap().set_len(len / parts / PAGE as u64 * PAGE as u64).unwrap();
}

/// An inner page of 400 children that all are `child`, and the type of a table's or an index's page.
pub(crate) fn inner(child: u32, table: bool) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    let cell: Vec<u8> = if table {
        [&child.to_be_bytes()[..], &[1]].concat()
    } else {
        [&child.to_be_bytes()[..], &[4, 2, 12, 0, 1]].concat()
    };
    let at = PAGE - cell.len();
    page[at..].copy_from_slice(&cell);
    page[0] = if table { 5 } else { 2 };
    page[3..5].copy_from_slice(&400_u16.to_be_bytes());
    page[5..7].copy_from_slice(&u16::try_from(at).unwrap().to_be_bytes());
    page[8..12].copy_from_slice(&child.to_be_bytes());
    for pointer in page[12..812].chunks_exact_mut(2) {
        pointer.copy_from_slice(&u16::try_from(at).unwrap().to_be_bytes());
    }
    page
}

/// The first page of the table (2) or of the index (3), its own child.
pub(crate) fn circle(page: u32) -> Vec<u8> {
    inner(page, page == 2)
}

/// A schema whose first child is what it was, and whose others lead, level by level, to the row of the index again and
/// again: 401 to the power of 5 times.
pub(crate) fn endless_schema(path: &Path) {
    let mut file = fs::read(path).unwrap();
    let first = file[..PAGE].to_vec();
    let mut number = u32::try_from(file.len() / PAGE).unwrap();
    let mut push = |file: &mut Vec<u8>, page: &[u8]| {
        file.extend_from_slice(page);
        number += 1;
        number
    };
    let mut whole = first.clone();
    whole[..12].copy_from_slice(&first[100..112]);
    let whole = push(&mut file, &whole);
    let mut last = first.clone();
    last[..8].copy_from_slice(&first[100..108]);
    last[3..5].copy_from_slice(&1_u16.to_be_bytes());
    last[8..10].copy_from_slice(&first[110..112]);
    let mut child = push(&mut file, &last);
    for _ in 0..5 {
        child = push(&mut file, &inner(child, true));
    }
    let root = inner(child, true);
    file[100..PAGE].fill(0);
    file[100..112].copy_from_slice(&root[..12]);
    file[103..105].copy_from_slice(&1_u16.to_be_bytes());
    let at = PAGE - 5;
    file[105..107].copy_from_slice(&u16::try_from(at).unwrap().to_be_bytes());
    file[112..114].copy_from_slice(&u16::try_from(at).unwrap().to_be_bytes());
    file[at..PAGE].copy_from_slice(&[&whole.to_be_bytes()[..], &[9]].concat());
    file[28..32].copy_from_slice(&number.to_be_bytes());
    fs::write(path, file).unwrap();
}

/// Takes the index for one that is not unique, adds a second root, and puts the schema back.
pub(crate) fn two_roots(path: &Path) {
    let before = rows(path);
    schema(
        path,
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE keep (key BLOB, value BLOB)' WHERE type = 'table';
        UPDATE sqlite_schema SET name = 'i', sql = 'CREATE INDEX i ON keep (key)' WHERE type = 'index'",
    );
    // Most entries, so that a search finds one of the first and one of the last at different times.
    sql(
        path,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
        INSERT INTO keep SELECT CAST('root' AS BLOB), CAST('old' AS BLOB) FROM n",
    );
    put_back(path, &before);
}

/// The row of the root under another name, which the index does not know.
pub(crate) fn no_index_entry(path: &Path) {
    let before = rows(path);
    schema(
        path,
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE keep (key BLOB, value BLOB)' WHERE type = 'table';
        UPDATE sqlite_schema SET name = 'i', sql = 'CREATE INDEX i ON keep (key)' WHERE type = 'index'",
    );
    sql(path, "DELETE FROM keep WHERE key = CAST('root' AS BLOB)");
    schema(path, "DELETE FROM sqlite_schema WHERE type = 'index'");
    sql(path, "INSERT INTO keep VALUES (CAST('root' AS BLOB), CAST('old' AS BLOB))");
    put_back(path, &before);
}

type Row = (String, String, String, i64, Option<String>);

pub(crate) fn rows(path: &Path) -> Vec<Row> {
    let conn = Connection::open(path).unwrap();
    let mut select = conn.prepare("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema").unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    select.query_map([], row).unwrap().map(Result::unwrap).collect()
}

pub(crate) fn put_back(path: &Path, rows: &[Row]) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA writable_schema=ON; DELETE FROM sqlite_schema").unwrap();
    for (kind, name, table, page, text) in rows {
        let sql = "INSERT INTO sqlite_schema VALUES (?1, ?2, ?3, ?4, ?5)";
        conn.execute(sql, (kind, name, table, page, text)).unwrap();
    }
    conn.close().unwrap();
}

/// A free list whose one trunk, a new page at the end, names `page` as free.
pub(crate) fn free_list(path: &Path, page: u32) {
    let mut file = fs::read(path).unwrap();
    let trunk = u32::try_from(file.len() / PAGE + 1).unwrap();
    let mut new = vec![0; PAGE];
    new[4..8].copy_from_slice(&1_u32.to_be_bytes());
    new[8..12].copy_from_slice(&page.to_be_bytes());
    file.extend_from_slice(&new);
    file[28..32].copy_from_slice(&trunk.to_be_bytes());
    file[32..36].copy_from_slice(&trunk.to_be_bytes());
    file[36..40].copy_from_slice(&2_u32.to_be_bytes());
    fs::write(path, file).unwrap();
}

/// A free list whose one trunk has no free page and is followed by itself.
pub(crate) fn circle_of_free_pages(path: &Path) {
    free_list(path, 0);
    let file = fs::read(path).unwrap();
    let trunk = file.len() / PAGE;
    let next = u32::try_from(trunk).unwrap().to_be_bytes();
    bytes(path, (trunk - 1) * PAGE, &[next, [0; 4]].concat());
    bytes(path, 36, &[0, 0, 0, 20]);
}

pub(crate) fn utf16(path: &Path) {
    fs::remove_file(path).unwrap();
    sql(path, "PRAGMA encoding='UTF-16le'; CREATE TABLE keep (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) STRICT;
        PRAGMA application_id=0x4d4c536b; PRAGMA user_version=1; INSERT INTO keep VALUES (CAST('root' AS BLOB), CAST('old' AS BLOB))");
}

/// The log of another database, whole, of which nothing is in the database yet.
pub(crate) fn foreign_log(path: &Path) {
    let other = path.with_extension("other");
    let conn = Connection::open(&other).unwrap();
    conn.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    fs::copy(beside(&other, "-wal"), beside(path, "-wal")).unwrap();
    conn.close().unwrap();
}

/// A header with a right checksum.
pub(crate) fn header(version: u32, page: u32) -> Vec<u8> {
    let words = [0x377f_0683, version, page, 0, 1, 2];
    let (mut first, mut second) = (0_u32, 0_u32);
    for pair in words.chunks_exact(2) {
        first = first.wrapping_add(pair[0]).wrapping_add(second);
        second = second.wrapping_add(pair[1]).wrapping_add(first);
    }
    words.into_iter().chain([first, second]).flat_map(u32::to_be_bytes).collect()
}

pub(crate) fn log_header(path: &Path, version: u32, page: u32) {
    let log = [header(version, page), vec![0; 70_000]].concat();
    fs::write(beside(path, "-wal"), log).unwrap();
}

pub(crate) fn log_of(path: &Path, len: u64) {
    fs::write(beside(path, "-wal"), header(3_007_000, 4096)).unwrap();
    OpenOptions::new().write(true).open(beside(path, "-wal")).unwrap().set_len(len).unwrap();
}

/// The row of the root under the rowid of the node before it: the lengths of the row and of its parts, and its bytes.
pub(crate) fn same_rowid(path: &Path) {
    let file = fs::read(path).unwrap();
    let row = |rowid: u8| [&[10, rowid, 3, 20, 18][..], b"rootold"].concat();
    let at = file.windows(12).position(|bytes| bytes == row(61)).expect("the root is the row of number 61");
    bytes(path, at, &row(60));
}

/// A journal as a process leaves it that ends in the middle of a transaction, with pages as they were before.
pub(crate) fn hot_journal(path: &Path) {
    let before = fs::read(path).unwrap();
    let conn = Connection::open(path).unwrap();
    let begin = "PRAGMA journal_mode=DELETE; PRAGMA cache_size=2; BEGIN; UPDATE keep SET value = zeroblob(3000)";
    conn.execute_batch(begin).unwrap();
    let (database, journal) = (fs::read(path).unwrap(), fs::read(beside(path, "-journal")).unwrap());
    assert!(database[PAGE..] != before[PAGE..] && !journal.is_empty());
    conn.execute_batch("ROLLBACK").unwrap();
    conn.close().unwrap();
    fs::write(path, database).unwrap();
    fs::write(beside(path, "-journal"), journal).unwrap();
}

/// A journal that belongs to a transaction over several files, the list of which it names.
pub(crate) fn super_journal(path: &Path) {
    let name = b"/tmp/x-mj12345691";
    let sum = name.iter().fold(0_u32, |sum, byte| sum + u32::from(*byte));
    let magic = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let mut journal = vec![0; 512];
    journal[..8].copy_from_slice(&magic);
    journal.extend_from_slice(&0x4000_0000_u32.to_be_bytes());
    journal.extend_from_slice(name);
    journal.extend_from_slice(&u32::try_from(name.len()).unwrap().to_be_bytes());
    journal.extend_from_slice(&sum.to_be_bytes());
    journal.extend_from_slice(&magic);
    fs::write(beside(path, "-journal"), journal).unwrap();
}

pub(crate) fn link(path: &Path) {
    let target = path.with_extension("target");
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
}

pub(crate) fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}
