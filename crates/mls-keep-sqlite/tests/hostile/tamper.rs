//! Every way in which a store is changed, and what must come of it.

use std::fs::{self, OpenOptions};
use std::path::Path;

use mls_keep_core::ErrorKind::{self, Corrupt, Invalid};

use crate::change::{
    PAGE, beside, bytes, circle, circle_of_free_pages, endless_schema, foreign_log, free_list, hot_journal, link,
    log_header, log_of, no_index_entry, pipe, same_rowid, schema, shorten, sql, super_journal, table, two_roots, utf16,
};

/// What comes of using a store that was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It does not open.
    Refused(ErrorKind),
    /// It opens, and a commit is refused and changes nothing.
    CommitFails(ErrorKind),
    /// A commit succeeds, and is there when the store is opened again.
    NoEffect,
}

use Outcome::{CommitFails, NoEffect, Refused};

type Kind = (&'static str, fn(&Path), Outcome);

pub(crate) const ALL: &[Kind] = &[
    // What runs inside of our transactions.
    (
        "a trigger that drops updates",
        |p| sql(p, "CREATE TRIGGER t BEFORE UPDATE ON keep BEGIN SELECT RAISE(IGNORE); END"),
        Refused(Corrupt),
    ),
    (
        "a trigger that drops inserts",
        |p| sql(p, "CREATE TRIGGER t BEFORE INSERT ON keep BEGIN SELECT RAISE(IGNORE); END"),
        Refused(Corrupt),
    ),
    (
        "a trigger that puts the old root back",
        |p| {
            sql(
                p,
                "CREATE TRIGGER t AFTER UPDATE ON keep BEGIN UPDATE keep SET value=old.value WHERE rowid=new.rowid; END",
            )
        },
        Refused(Corrupt),
    ),
    (
        "a trigger that deletes more",
        |p| sql(p, "CREATE TRIGGER t AFTER DELETE ON keep BEGIN DELETE FROM keep; END"),
        Refused(Corrupt),
    ),
    ("a view", |p| sql(p, "CREATE VIEW v AS SELECT * FROM keep"), Refused(Corrupt)),
    (
        "a view in place of the table",
        |p| {
            sql(p, "ALTER TABLE keep RENAME TO kept; CREATE VIEW keep AS SELECT * FROM kept;
        CREATE TRIGGER t INSTEAD OF UPDATE ON keep BEGIN SELECT 1; END; CREATE TRIGGER i INSTEAD OF INSERT ON keep BEGIN SELECT 1; END")
        },
        Refused(Corrupt),
    ),
    (
        "a view without an end",
        |p| {
            sql(
                p,
                "DROP TABLE keep; CREATE VIEW keep AS WITH RECURSIVE r(key) AS (SELECT x'00' UNION ALL SELECT key FROM r) SELECT key, key AS value FROM r",
            )
        },
        Refused(Corrupt),
    ),
    // Other objects.
    ("a further table", |p| sql(p, "CREATE TABLE t (x)"), Refused(Corrupt)),
    (
        "an index that can answer in place of the table",
        |p| sql(p, "CREATE UNIQUE INDEX i ON keep (key, value)"),
        Refused(Corrupt),
    ),
    ("a partial index", |p| sql(p, "CREATE INDEX i ON keep (value) WHERE key = 'root'"), Refused(Corrupt)),
    ("an index over an expression", |p| sql(p, "CREATE UNIQUE INDEX i ON keep (hex(hex(value)))"), Refused(Corrupt)),
    ("a virtual table", |p| sql(p, "CREATE VIRTUAL TABLE t USING fts5(x)"), Refused(Corrupt)),
    (
        "a virtual table in place of the table",
        |p| sql(p, "DROP TABLE keep; CREATE VIRTUAL TABLE keep USING fts5(key, value)"),
        Refused(Corrupt),
    ),
    ("statistics that steer the planner", |p| sql(p, "ANALYZE"), Refused(Corrupt)),
    (
        "a table with a sequence",
        |p| sql(p, "CREATE TABLE t (x INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE t"),
        Refused(Corrupt),
    ),
    (
        "a thousand tables",
        |p| sql(p, &(0..1000).map(|n| format!("CREATE TABLE t{n} (x);")).collect::<String>()),
        Refused(Corrupt),
    ),
    ("no table", |p| sql(p, "DROP TABLE keep"), Refused(Corrupt)),
    // Another table of the same name.
    (
        "a computed value",
        |p| table(p, "key BLOB PRIMARY KEY NOT NULL, v BLOB, value BLOB AS (x'00')"),
        Refused(Corrupt),
    ),
    (
        "a constraint that drops writes",
        |p| table(p, "key BLOB PRIMARY KEY ON CONFLICT IGNORE NOT NULL, value BLOB NOT NULL"),
        Refused(Corrupt),
    ),
    (
        "a check",
        |p| table(p, "key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL CHECK (value <> 'new')"),
        Refused(Corrupt),
    ),
    (
        "a default",
        |p| table(p, "key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL DEFAULT (randomblob(9))"),
        Refused(Corrupt),
    ),
    (
        "a collation",
        |p| table(p, "key BLOB PRIMARY KEY NOT NULL COLLATE NOCASE, value BLOB NOT NULL"),
        Refused(Corrupt),
    ),
    (
        "a foreign key",
        |p| table(p, "key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL REFERENCES keep (key)"),
        Refused(Corrupt),
    ),
    ("a further column", |p| sql(p, "ALTER TABLE keep ADD COLUMN more BLOB"), Refused(Corrupt)),
    (
        "a table without rowids",
        |p| {
            sql(
                p,
                "DROP TABLE keep; CREATE TABLE keep (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
            )
        },
        Refused(Corrupt),
    ),
    (
        "the same table in other words",
        |p| schema(p, "UPDATE sqlite_schema SET sql = replace(sql, 'TABLE', 'table')"),
        Refused(Corrupt),
    ),
    (
        "a table whose text is long",
        |p| schema(p, "UPDATE sqlite_schema SET sql = sql || printf('%.*c', 100000, ' ') WHERE type = 'table'"),
        Refused(Corrupt),
    ),
    (
        "a text that is no SQL",
        |p| schema(p, "UPDATE sqlite_schema SET sql = 'CREATE TABLE (' WHERE type = 'table'"),
        Refused(Corrupt),
    ),
    // Pages.
    ("table and index share their pages", |p| schema(p, "UPDATE sqlite_schema SET rootpage = 2"), Refused(Corrupt)),
    (
        "table and index in each other's place",
        |p| schema(p, "UPDATE sqlite_schema SET rootpage = 5 - rootpage"),
        Refused(Corrupt),
    ),
    (
        "a table that begins behind the end",
        |p| schema(p, "UPDATE sqlite_schema SET rootpage = 100000 WHERE type = 'table'"),
        Refused(Corrupt),
    ),
    ("a schema without an end", endless_schema, Refused(Corrupt)),
    ("two entries of the index for the root", two_roots, CommitFails(Corrupt)),
    ("no entry of the index for the root", no_index_entry, CommitFails(ErrorKind::Conflict)),
    (
        "the last rowid is taken",
        |p| sql(p, "INSERT INTO keep (rowid, key, value) VALUES (9223372036854775807, x'7a', x'00')"),
        NoEffect,
    ),
    ("two rows of one rowid", same_rowid, CommitFails(Corrupt)),
    ("a list of free pages that names the table", |p| free_list(p, 2), CommitFails(Corrupt)),
    ("a list of free pages in a circle", circle_of_free_pages, CommitFails(Corrupt)),
    ("an index whose pages are a circle", |p| bytes(p, 2 * PAGE, &circle(3)), CommitFails(Corrupt)),
    ("a table whose pages are a circle", |p| bytes(p, PAGE, &circle(2)), CommitFails(Corrupt)),
    // The header.
    ("another page size", |p| sql(p, "PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM"), Refused(Corrupt)),
    ("another page size in the header only", |p| bytes(p, 16, &[0x02, 0x00]), Refused(Corrupt)),
    ("text as UTF-16", utf16, Refused(Corrupt)),
    ("vacuum by itself", |p| sql(p, "PRAGMA journal_mode=DELETE; PRAGMA auto_vacuum=FULL; VACUUM"), Refused(Corrupt)),
    (
        "vacuum in steps",
        |p| sql(p, "PRAGMA journal_mode=DELETE; PRAGMA auto_vacuum=INCREMENTAL; VACUUM"),
        Refused(Corrupt),
    ),
    ("vacuum in the header only", |p| bytes(p, 52, &[0, 0, 0, 3]), Refused(Corrupt)),
    ("reserved bytes on each page", |p| bytes(p, 20, &[16]), CommitFails(Corrupt)),
    ("a cache without bounds", |p| bytes(p, 48, &[0x7f, 0xff, 0xff, 0xff]), NoEffect),
    ("an older schema format", |p| bytes(p, 44, &[0, 0, 0, 1]), NoEffect),
    ("a schema format that does not exist", |p| bytes(p, 44, &[0, 0, 0, 9]), Refused(Corrupt)),
    ("a file that may be read only", |p| bytes(p, 18, &[3, 2]), CommitFails(ErrorKind::ReadOnly)),
    ("a file that may not be read", |p| bytes(p, 18, &[3, 3]), Refused(Corrupt)),
    ("a rollback journal as mode", |p| sql(p, "PRAGMA journal_mode=DELETE"), NoEffect),
    ("more pages than there are", |p| bytes(p, 28, &[0, 0xff, 0, 0]), Refused(Corrupt)),
    ("fewer pages than there are", |p| bytes(p, 28, &[0, 0, 0, 3]), CommitFails(Corrupt)),
    (
        "a file of 4 TiB with holes",
        |p| OpenOptions::new().write(true).open(p).unwrap().set_len(4 << 40).unwrap(),
        NoEffect,
    ),
    ("half of the file", |p| shorten(p, 2), Refused(Corrupt)),
    (
        "the first page only",
        |p| OpenOptions::new().write(true).open(p).unwrap().set_len(PAGE as u64).unwrap(),
        Refused(Corrupt),
    ),
    // The files beside it.
    ("a log that is noise", |p| fs::write(beside(p, "-wal"), [0xa5; 9000]).unwrap(), Refused(Invalid)),
    ("the log of another program", foreign_log, Refused(Invalid)),
    ("a log with other pages", |p| log_header(p, 3_007_000, 65536), Refused(Corrupt)),
    ("a log of another version", |p| log_header(p, 3_007_001, 4096), Refused(Corrupt)),
    ("a log of 4 TiB with holes", |p| log_of(p, 4 << 40), NoEffect),
    ("a second name", |p| fs::hard_link(p, beside(p, "-also")).unwrap(), Refused(Invalid)),
    ("a log that is a directory", |p| fs::create_dir(beside(p, "-wal")).unwrap(), Refused(Invalid)),
    ("a log that is a pipe", |p| pipe(&beside(p, "-wal")), Refused(Invalid)),
    ("a log that is a link", |p| link(&beside(p, "-wal")), Refused(Invalid)),
    ("an index of the log that is noise", |p| fs::write(beside(p, "-shm"), [0xa5; 65536]).unwrap(), NoEffect),
    ("an index of the log that is a directory", |p| fs::create_dir(beside(p, "-shm")).unwrap(), Refused(Invalid)),
    ("an index of the log that is a link", |p| link(&beside(p, "-shm")), Refused(Invalid)),
    ("a journal that is noise", |p| fs::write(beside(p, "-journal"), [0xa5; 9000]).unwrap(), Refused(Invalid)),
    ("a journal that is hot", hot_journal, NoEffect),
    ("a journal that names another file", super_journal, Refused(Corrupt)),
    ("a journal that is a directory", |p| fs::create_dir(beside(p, "-journal")).unwrap(), Refused(Invalid)),
    ("a journal that is a link", |p| link(&beside(p, "-journal")), Refused(Invalid)),
];
