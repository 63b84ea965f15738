//! Many clients in one keep, each in a task of its own: commits that wait share a flush.
//!
//! ```sh
//! cargo run -p mls-keep --example server_with_many_clients
//! ```

use std::error::Error;

use mls_keep::{Encryption, MasterKey, PersistenceManager, Result, SystemEntropy};
use mls_keep_sqlite::{Config, SqliteBackend};
use tokio::task::JoinSet;

/// In an application: thousands.
const CLIENTS: usize = 16;
const MESSAGES: usize = 10;

/// One device of a user whom this server acts for.
async fn serve(manager: PersistenceManager, name: String) -> Result<usize> {
    let mut client = manager.client_builder(name.as_str()).create().await?;
    let group = client.create_group("notes").await?;
    for number in 0..MESSAGES {
        client.send(&group, format!("note {number}")).await?;
    }
    // Loaded when it is needed, dropped when it is not: nothing is lost by it.
    drop(client);
    let mut client = manager.load_client_state(&name).await?;
    Ok(client.history(&group, MESSAGES).await?.len())
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let backend = SqliteBackend::open(directory.path().join("keep.db"), Config::default())?;
    let manager = PersistenceManager::builder(backend)
        .encryption(Encryption::hkdf_sha256(MasterKey::generate(&SystemEntropy)?))
        .memory(4 << 20) // of each client, bytes
        .open()
        .await?;

    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(serve(manager.clone(), format!("device {number}")));
    }
    let mut messages = 0;
    while let Some(served) = clients.join_next().await {
        messages += served??;
    }
    println!("{} clients have {messages} messages in one database", manager.clients().await?.len());
    assert_eq!(messages, CLIENTS * MESSAGES);
    manager.close().await?; // waits for what is under way, and lets go of the file
    Ok(())
}
