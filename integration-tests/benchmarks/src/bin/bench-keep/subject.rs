//! [`KeepSubject`]: a client of mls-keep on SQLite, as the scenario's subject.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, Encryption, GroupSettings, MasterKey, PersistenceManager, Received};
use mls_keep_core::{Durability, StorageBackend};
use mls_keep_sqlite::{Config, SqliteBackend};

use crate::counting::Counting;
use crate::day::Day;
use crate::scenario::{Result, Subject};

pub(crate) const IDENTITY: &str = "alice@example.com";

pub(crate) struct KeepSubject {
    path: PathBuf,
    sealed: Arc<AtomicU64>,
    open: Option<(PersistenceManager, Client)>,
}

impl KeepSubject {
    pub(crate) fn new(dir: &Path, past_epochs: usize) -> Result<Self> {
        let path = dir.join("alice.keep");
        let sealed = Arc::new(AtomicU64::new(0));
        let backend = Counting::new(sqlite(&path, Durability::PowerLoss)?, Arc::clone(&sealed));
        let manager = block_on(open(backend))?;
        let settings = GroupSettings::new().max_past_epochs(past_epochs).out_of_order_tolerance(5);
        let client = block_on(manager.client_builder(IDENTITY).settings(settings).create())?;
        Ok(Self { path, sealed, open: Some((manager, client)) })
    }

    fn client(&mut self) -> Result<&mut Client> {
        let (_, client) = self.open.as_mut().ok_or("the keep is closed")?;
        Ok(client)
    }
}

/// A client as applications have it, with the settings that mls-keep comes with.
pub(crate) struct DaySubject(Client);

impl DaySubject {
    /// It goes on from its store, if there is one.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let path = dir.join("alice.keep");
        let is_made = path.exists();
        let manager = block_on(open(sqlite(&path, Durability::PowerLoss)?))?;
        if is_made {
            return Ok(Self(block_on(manager.load_client_state(IDENTITY))?));
        }
        Ok(Self(block_on(manager.client_builder(IDENTITY).create())?))
    }
}

impl Day for DaySubject {
    fn key_package(&mut self) -> Result<Vec<u8>> {
        Ok(block_on(self.0.key_package())?.to_bytes()?)
    }

    fn join(&mut self, welcome: &[u8]) -> Result<GroupId> {
        Ok(block_on(self.0.join(welcome))?.id)
    }

    fn send(&mut self, group: &GroupId, content: &[u8]) -> Result<Vec<u8>> {
        Ok(block_on(self.0.send(group, content))?.to_bytes()?)
    }

    fn receive(&mut self, _: &GroupId, message: &[u8]) -> Result<()> {
        received(block_on(self.0.receive(message))?)
    }

    fn receive_many(&mut self, messages: &[(GroupId, Vec<u8>)]) -> Result<()> {
        let messages: Vec<_> = messages.iter().map(|(_, message)| message).collect();
        block_on(self.0.receive_many(&messages)).into_iter().try_for_each(|outcome| received(outcome?))
    }

    fn stage(&mut self, group: &GroupId) -> Result<Vec<u8>> {
        Ok(block_on(self.0.stage(group, Change::new().update()))?.commit)
    }

    fn confirm(&mut self, group: &GroupId) -> Result<()> {
        block_on(self.0.confirm(group))?;
        Ok(())
    }

    fn reject(&mut self, group: &GroupId) -> Result<()> {
        Ok(block_on(self.0.reject(group))?)
    }
}

fn received(received: Received) -> Result<()> {
    match received {
        Received::Message(_) | Received::Commit(_) => Ok(()),
        other => Err(format!("received {other:?}").into()),
    }
}

pub(crate) fn sqlite(path: &Path, durability: Durability) -> Result<SqliteBackend> {
    Ok(SqliteBackend::open(path, Config { durability, ..Config::default() })?)
}

/// Opens the keep of `backend`, or makes it. A benchmark has no secrets, so its key is a fixed one.
pub(crate) async fn open(backend: impl StorageBackend) -> Result<PersistenceManager> {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    Ok(PersistenceManager::builder(backend).encryption(encryption).open().await?)
}

impl Subject for KeepSubject {
    fn key_package(&mut self) -> Result<Vec<u8>> {
        Ok(block_on(self.client()?.key_package())?.to_bytes()?)
    }

    fn create_group(&mut self) -> Result<GroupId> {
        Ok(block_on(self.client()?.create_group(""))?)
    }

    fn invite(&mut self, group: &GroupId, key_package: &[u8]) -> Result<Vec<u8>> {
        Ok(block_on(self.client()?.commit_at_once(group, Change::new().invite([key_package])))?.commit)
    }

    fn join(&mut self, welcome: &[u8]) -> Result<GroupId> {
        Ok(block_on(self.client()?.join(welcome))?.id)
    }

    fn forget(&mut self, group: &GroupId) -> Result<()> {
        Ok(block_on(self.client()?.forget_group(group))?)
    }

    fn send(&mut self, group: &GroupId, content: &[u8]) -> Result<Vec<u8>> {
        Ok(block_on(self.client()?.send(group, content))?.to_bytes()?)
    }

    fn receive(&mut self, _: &GroupId, message: &[u8]) -> Result<()> {
        match block_on(self.client()?.receive(message))? {
            Received::Message(_) | Received::Commit(_) => Ok(()),
            other => Err(format!("received {other:?}").into()),
        }
    }

    fn self_update(&mut self, group: &GroupId) -> Result<Vec<u8>> {
        Ok(block_on(self.client()?.commit_at_once(group, Change::new().update()))?.commit)
    }

    fn close(&mut self) -> Result<()> {
        match self.open.take() {
            Some((manager, _)) => Ok(block_on(manager.close())?),
            None => Ok(()),
        }
    }

    fn load(&mut self, group: &GroupId) -> Result<()> {
        let backend = Counting::new(sqlite(&self.path, Durability::PowerLoss)?, Arc::clone(&self.sealed));
        let manager = block_on(open(backend))?;
        let mut client = block_on(manager.load_client_state(IDENTITY))?;
        block_on(manager.load_group_state(&mut client, group))?;
        self.open = Some((manager, client));
        Ok(())
    }

    fn stored_len(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }

    fn sealed_len(&mut self) -> Result<Option<u64>> {
        let store = self.client()?.store().ok_or("the client is not kept")?;
        let found = block_on(store.verify(&mut |_| {}))?;
        Ok(Some(found.statistics.stored_bytes as u64))
    }

    fn sealed(&mut self) -> Option<u64> {
        Some(self.sealed.swap(0, Ordering::Relaxed))
    }
}
