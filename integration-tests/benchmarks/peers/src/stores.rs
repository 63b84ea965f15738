//! The ways to keep OpenMLS's state that are measured.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use openmls_memory_storage::MemoryStorage;
use openmls_sqlite_storage::{Codec, SqliteStorageProvider};
use rusqlite::Connection;

use crate::peer::{Provider, Store};
use crate::scenario::Result;

/// `openmls_sqlite_storage`, unencrypted.
pub(crate) struct Sqlite<C: Codec> {
    path: PathBuf,
    practice: Practice,
    open: Option<OpenSqlite<C>>,
}

struct OpenSqlite<C: Codec> {
    connection: Rc<Connection>,
    provider: Provider<SqliteStorageProvider<C, Rc<Connection>>>,
}

/// How an application uses `openmls_sqlite_storage`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Practice {
    /// SQLite's defaults, and what the provider does by itself: each write is a transaction.
    AsShipped,
    /// A write-ahead log that is flushed at every commit, and one transaction for an operation.
    Best,
}

impl<C: Codec> Sqlite<C> {
    pub(crate) fn new(dir: &Path, practice: Practice) -> Self {
        Self { path: dir.join("peer.db"), practice, open: None }
    }

    fn run(&self, sql: &str) -> Result<()> {
        match &self.open {
            Some(open) if self.practice == Practice::Best => {
                open.connection.prepare_cached(sql)?.execute([])?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl<C: Codec> Store for Sqlite<C> {
    type Storage = SqliteStorageProvider<C, Rc<Connection>>;

    fn open(&mut self, new: bool) -> Result<()> {
        let mut connection = Connection::open(&self.path)?;
        if self.practice == Practice::Best {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
        }
        if new {
            SqliteStorageProvider::<C, _>::new(&mut connection).run_migrations()?;
        }
        let connection = Rc::new(connection);
        let provider = Provider::new(SqliteStorageProvider::new(Rc::clone(&connection)));
        self.open = Some(OpenSqlite { connection, provider });
        Ok(())
    }

    fn provider(&self) -> &Provider<Self::Storage> {
        &self.open.as_ref().expect("the scenario uses open stores only").provider
    }

    fn begin(&self) -> Result<()> {
        self.run("BEGIN IMMEDIATE")
    }

    fn commit(&self) -> Result<()> {
        self.run("COMMIT")
    }

    fn close(&mut self) -> Result<bool> {
        self.open = None;
        Ok(true)
    }

    fn is_made(&self) -> bool {
        self.path.exists()
    }

    fn remember(&self, public_key: &[u8]) -> Result<()> {
        let Some(open) = &self.open else { return Err("the store is closed".into()) };
        open.connection.execute_batch("CREATE TABLE application (public_key BLOB NOT NULL)")?;
        open.connection.execute("INSERT INTO application VALUES (?)", [public_key])?;
        Ok(())
    }

    fn remembered(&self) -> Result<Vec<u8>> {
        let Some(open) = &self.open else { return Err("the store is closed".into()) };
        Ok(open.connection.query_one("SELECT public_key FROM application", [], |row| row.get(0))?)
    }

    fn stored_len(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path)?.len())
    }
}

/// `openmls_memory_storage`, saved whole: written to a new file, flushed, and renamed over the old one.
pub(crate) struct WholeFile {
    path: PathBuf,
    provider: Provider<MemoryStorage>,
}

impl WholeFile {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: dir.join("peer.bin"), provider: Provider::default() }
    }
}

impl Store for WholeFile {
    type Storage = MemoryStorage;

    fn open(&mut self, new: bool) -> Result<()> {
        if !new {
            let bytes = fs::read(&self.path)?;
            let mut rest = bytes.as_slice();
            let mut part = || {
                let (len, after) = rest.split_first_chunk().ok_or("the file is cut short")?;
                let (part, after) = after.split_at(u64::from_be_bytes(*len) as usize);
                rest = after;
                Ok::<_, &str>(part.to_vec())
            };
            let mut values = self.provider.storage.values.write().map_err(|_| "poisoned")?;
            while let Ok(key) = part() {
                values.insert(key, part()?);
            }
        }
        Ok(())
    }

    fn provider(&self) -> &Provider<MemoryStorage> {
        &self.provider
    }

    fn begin(&self) -> Result<()> {
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        let values = self.provider.storage.values.read().map_err(|_| "poisoned")?;
        let mut bytes = Vec::new();
        for part in values.iter().flat_map(|(key, value)| [key, value]) {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        Ok(fs::rename(&new, &self.path)?)
    }

    fn close(&mut self) -> Result<bool> {
        self.provider = Provider::default();
        Ok(true)
    }

    fn stored_len(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path)?.len())
    }
}

/// Nothing is kept beyond the process: what OpenMLS costs by itself.
#[derive(Default)]
pub(crate) struct Nowhere<T> {
    provider: Provider<T>,
    /// Whether the storage knows a group again.
    knows: bool,
}

impl<T: Default> Nowhere<T> {
    pub(crate) fn new(knows: bool) -> Self {
        Self { provider: Provider::default(), knows }
    }
}

impl<T: openmls_traits::storage::StorageProvider<{ openmls_traits::storage::CURRENT_VERSION }>> Store for Nowhere<T> {
    type Storage = T;

    fn open(&mut self, _: bool) -> Result<()> {
        Ok(())
    }

    fn provider(&self) -> &Provider<T> {
        &self.provider
    }

    fn begin(&self) -> Result<()> {
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        Ok(())
    }

    fn close(&mut self) -> Result<bool> {
        Ok(self.knows)
    }

    fn stored_len(&self) -> Result<u64> {
        Ok(0)
    }
}
