//! A client in a SQLite file, a message in a group, and the same client after a restart.
//!
//! ```sh
//! cargo run -p mls-keep --example hello
//! ```

use std::error::Error;
use std::path::Path;

use mls_keep::{Change, Encryption, Entropy as _, MasterKey, PersistenceManager, Received, Result, SystemEntropy};
use mls_keep_sqlite::{Config, SqliteBackend};

/// The keep in the file `path`, made if it is not there.
async fn open(path: &Path, key: [u8; 32]) -> Result<PersistenceManager> {
    let backend = SqliteBackend::open(path, Config::default())?;
    PersistenceManager::builder(backend).encryption(Encryption::hkdf_sha256(MasterKey::new(key))).open().await
}

async fn hello(directory: &Path) -> std::result::Result<(), Box<dyn Error>> {
    // 32 random bytes. An application keeps them in the platform's keychain.
    let mut key = [0; 32];
    SystemEntropy.fill(&mut key)?;
    let manager = open(&directory.join("keep.db"), key).await?;

    // One keep holds any number of clients. Bob is in it, too, so that this is one program.
    let mut alice = manager.client_builder("alice@example.com").create().await?;
    let mut bob = manager.client_builder("bob@example.com").create().await?;

    let group = alice.create_group("tea").await?;
    let key_package = bob.key_package().await?.to_bytes()?;
    let staged = alice.stage(&group, Change::new().invite([key_package])).await?;
    // Here the delivery service takes `staged.commit`; the example `delivery_service` has one that may refuse it.
    alice.confirm(&group).await?;
    bob.join(staged.welcome.ok_or("an invitation has a Welcome")?).await?;
    let message = alice.send(&group, "at five?").await?.to_bytes()?; // durable: now it may leave the device

    // The process ends, and starts again.
    drop((alice, bob));
    manager.close().await?;
    let manager = open(&directory.join("keep.db"), key).await?;
    let mut bob = manager.load_client_state("bob@example.com").await?;

    let Received::Message(message) = bob.receive(&message).await? else { return Err("no message".into()) };
    println!("bob reads {:?}", String::from_utf8_lossy(&message.content)); // durable: now it may be acknowledged
    for (id, name) in bob.groups().await? {
        println!("bob is in {name:?}, and has {} message of it", bob.history(&id, 10).await?.len());
    }
    manager.close().await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    hello(directory.path()).await
}
