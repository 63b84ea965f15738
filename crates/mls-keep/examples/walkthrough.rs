//! Everything that a client's state goes through, once: saved and loaded, on a storage of one's own, encrypted, saved at an
//! interval, backed up and restored, moved to another device.
//!
//! ```sh
//! cargo run -p mls-keep --example walkthrough
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep::{
    Archive, BackupOptions, Change, Client, Encryption, ExportOptions, JoinOptions, MasterKey, Persistence,
    PersistenceManager, Received, RestoreOptions, SavePolicy, StorageBackend, SystemEntropy,
};
use mls_keep_core::{Key, Result};

/// A storage of one's own: four methods.
#[derive(Clone, Default)]
struct Mine(Arc<Mutex<BTreeMap<Key, Bytes>>>);

impl Mine {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<Key, Bytes>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[async_trait]
impl StorageBackend for Mine {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.with(|all| all.get(key).cloned()))
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.with(|all| all.insert(key.clone(), data));
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.with(|all| all.remove(key));
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        Ok(self.with(|all| all.keys().filter(|key| key.as_str().starts_with(prefix)).cloned().collect()))
    }
}

/// A keep on a storage, under a master key.
async fn open(storage: Mine, key: [u8; 32]) -> Result<PersistenceManager> {
    let encryption = Encryption::hkdf_sha256(MasterKey::new(key)).salt(b"of this application");
    PersistenceManager::builder(storage).encryption(encryption).open().await
}

async fn walk() -> std::result::Result<(), Box<dyn Error + Send + Sync>> {
    // A client in memory, saved and loaded.
    let phone = open(Mine::default(), [1; 32]).await?;
    let mut alice = Client::builder("alice@example.com").create().await?;
    phone.save_client_state(&mut alice).await?;
    drop(alice);
    let mut alice = phone.load_client_state("alice@example.com").await?;
    println!("loaded: {}", String::from_utf8_lossy(alice.identity()));

    // Bob saves at an interval: his messages wait, and no key is used twice whatever happens.
    let save = SavePolicy::Interval { every: Duration::from_secs(30), reserve: 100 };
    let persistence = Persistence { manager: open(Mine::default(), [2; 32]).await?, save };
    let mut bob = Client::builder("bob@example.com").persistence(persistence).create().await?;

    // A group, with its state.
    let group = alice.create_group("tea").await?;
    let staged = alice.stage(&group, Change::new().invite([bob.key_package().await?.to_bytes()?])).await?;
    alice.confirm(&group).await?; // the delivery service has taken `staged.commit`
    bob.join(staged.welcome.ok_or("a Welcome")?).await?;
    phone.save_group_state(&mut alice, &group).await?;
    drop(alice);
    let mut alice = phone.load_client_state("alice@example.com").await?;
    let loaded = phone.load_group_state(&mut alice, &group).await?;
    println!("the group has {} members in epoch {}", loaded.members, loaded.epoch);
    bob.receive(alice.send(&group, "at five?").await?.to_bytes()?).await?;
    bob.close().await?; // what waited is durable

    // A backup under a key of its own. A restored client reads, and enters its groups anew before it sends.
    let backup_key = || Encryption::hkdf_sha256(MasterKey::new([3; 32]));
    let mut backup = Vec::new();
    phone.create_backup(&alice, &mut backup, BackupOptions::new(backup_key())).await?;
    let backup = Archive::open(Cursor::new(backup), &backup_key(), &mut |_| ()).await?;
    let other = open(Mine::default(), [4; 32]).await?;
    let mut restored = other.restore_from_backup(&mut [backup], RestoreOptions::new()).await?;
    assert!(restored.send(&group, "too early").await.is_err());
    let entry = restored.stage_entry(bob.group_info(&group, true).await?, JoinOptions::new()).await?;
    bob.receive(&entry.commit).await?;
    restored.confirm(&group).await?;
    println!("restored, and back in {} group", restored.groups().await?.len());

    // To a new device, under a key that both know. From the export on, the old one sends nothing.
    let transfer_key = || Encryption::passphrase("six words that nobody will guess");
    let mut exported = Vec::new();
    restored.export_state(&mut exported, ExportOptions::new(transfer_key())).await?;
    assert!(restored.send(&group, "from the old one").await.is_err());
    let tablet = open(Mine::default(), [5; 32]).await?;
    let archive = Archive::open(Cursor::new(exported), &transfer_key(), &mut |_| ()).await?;
    let mut alice = Client::import_state(&tablet, archive).await?;
    let message = alice.send(&group, "from my new device").await?.to_bytes()?;
    let Received::Message(message) = bob.receive(&message).await? else { return Err("no message".into()) };
    println!("bob reads: {}", String::from_utf8_lossy(&message.content));
    let _fresh = MasterKey::generate(&SystemEntropy)?; // how an application makes its keys
    Ok(())
}

pub(crate) fn main() -> std::result::Result<(), Box<dyn Error + Send + Sync>> {
    futures_executor::block_on(walk())
}
