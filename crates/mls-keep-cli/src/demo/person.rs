//! One of the three, with a keep of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use mls_keep::{Client, PersistenceManager};

use super::ground::Ground;
use super::ledger::Ledger;
use super::meter::{Meter, Metered};
use crate::failure::{Failure, Result};
use crate::key;
use crate::store::{Access, Store};

/// A person at a device: a keep on a file, with one client.
pub(super) struct Person {
    pub(super) name: &'static str,
    /// Whether the group has this person.
    pub(super) is_member: bool,
    /// What the history has to say: sender and text.
    pub(super) heard: Vec<(&'static str, String)>,
    pub(super) store: Store,
    key_file: PathBuf,
    meter: Arc<Meter>,
    /// Nothing while the keep is closed.
    opened: Option<(PersistenceManager, Client)>,
}

impl Person {
    /// Makes a key, a keep and a client.
    pub(super) async fn create(
        ground: &Ground,
        directory: &Path,
        name: &'static str,
        ledger: &mut Ledger,
    ) -> Result<Self> {
        let mut person = Self {
            name,
            is_member: false,
            heard: Vec::new(),
            store: ground.store(directory, name),
            key_file: directory.join(format!("{name}.key")),
            meter: Arc::default(),
            opened: None,
        };
        key::generate(&person.key_file)?;
        let (before, start) = (person.meter.read(), Instant::now());
        let manager = person.open_keep().await?;
        let client = manager.client_builder(name).create().await?;
        person.opened = Some((manager, client));
        ledger.add("create keep and client", start.elapsed(), person.meter.read().since(before));
        Ok(person)
    }

    /// Runs an operation of the client's, and writes down what it took.
    pub(super) async fn act<T>(
        &mut self,
        ledger: &mut Ledger,
        operation: &'static str,
        act: impl AsyncFnOnce(&mut Client) -> mls_keep::Result<T>,
    ) -> Result<T> {
        let name = self.name;
        let meter = Arc::clone(&self.meter);
        let (before, start) = (meter.read(), Instant::now());
        let done = act(self.client()?).await;
        let taken = start.elapsed();
        let done = done.map_err(|error| Failure::from(error).about(format!("{name}: {operation}")))?;
        ledger.add(operation, taken, meter.read().since(before));
        Ok(done)
    }

    /// The client, for looking at it.
    pub(super) fn client(&mut self) -> Result<&mut Client> {
        let name = self.name;
        let opened = self.opened.as_mut().map(|(_, client)| client);
        opened.ok_or_else(|| Failure::defect(&format!("the demo: {name} is away")))
    }

    /// Drops everything that is in memory, and opens it again from the file.
    pub(super) async fn restart(&mut self, ledger: &mut Ledger) -> Result<()> {
        self.close(ledger).await?;
        let (before, start) = (self.meter.read(), Instant::now());
        let manager = self.open_keep().await?;
        let mut client = manager.load_client_state(self.name).await?;
        for (group, _) in client.groups().await? {
            manager.load_group_state(&mut client, &group).await?;
        }
        self.opened = Some((manager, client));
        ledger.add("open from disk", start.elapsed(), self.meter.read().since(before));
        Ok(())
    }

    /// Drops everything that is in memory.
    pub(super) async fn close(&mut self, ledger: &mut Ledger) -> Result<()> {
        if let Some((manager, client)) = self.opened.take() {
            drop(client);
            let (before, start) = (self.meter.read(), Instant::now());
            manager.close().await?;
            ledger.add("close", start.elapsed(), self.meter.read().since(before));
        }
        Ok(())
    }

    async fn open_keep(&self) -> Result<PersistenceManager> {
        let backend = Metered::new(self.store.open(Access::Create).await?, Arc::clone(&self.meter));
        let encryption = key::from_key_file(&self.key_file)?;
        Ok(PersistenceManager::builder(backend).encryption(encryption).open().await?)
    }
}
