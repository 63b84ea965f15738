//! [`Saver`]: a tokio task that saves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mls_keep_core::Error;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::client::{Client, CryptoProvider};

/// After an error a save is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// A task that saves a client when that is due under [`SavePolicy::Interval`](crate::SavePolicy::Interval), also while the
/// client does nothing. Dropped, it saves no more.
///
/// It ends with the client, and when the client gets another policy. It waits by tokio's clock, so it is of use with a clock
/// of the client that is as fast.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use mls_keep::{Client, Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager, SavePolicy, Saver, SystemEntropy};
/// # use tokio::sync::Mutex;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mls_keep::Error> {
/// # let encryption = Encryption::hkdf_sha256(MasterKey::generate(&SystemEntropy)?);
/// # let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await?;
/// let save = SavePolicy::Interval { every: Duration::from_secs(5), reserve: 100 };
/// let alice = Client::builder("alice").persistence(Persistence { manager, save }).create().await?;
/// let alice = Arc::new(Mutex::new(alice));
/// let saver = Saver::spawn(&alice, |error| eprintln!("not saved, and tried again: {error}"));
/// let group = alice.lock().await.create_group("tea").await?;
/// // ...
/// drop(saver);
/// alice.lock().await.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a saver that is dropped saves no more"]
pub struct Saver {
    task: JoinHandle<()>,
}

impl Saver {
    /// Begins to save `client`. `failed` is called with the error of each save that failed; the save is tried again.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn<C: CryptoProvider>(
        client: &Arc<Mutex<Client<C>>>,
        failed: impl FnMut(&Error) + Send + 'static,
    ) -> Self {
        Self { task: tokio::spawn(save(Arc::downgrade(client), failed)) }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn save<C: CryptoProvider>(client: Weak<Mutex<Client<C>>>, mut failed: impl FnMut(&Error)) {
    while let Some(client) = client.upgrade() {
        let saved = client.lock().await.save_if_due().await;
        drop(client);
        let wait = match saved {
            Ok(Some(wait)) => wait,
            Ok(None) => return,
            Err(error) => {
                failed(&error);
                AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}
