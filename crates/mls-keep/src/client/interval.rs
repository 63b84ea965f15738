//! Saving at an interval: what may wait, when a save is due, and which one covers what.

use std::sync::Arc;
use std::time::Duration;

use mls_keep_core::{Committed, Result};
use tracing::instrument;

use super::reserve::Reservations;
use super::{Client, CryptoProvider};
use crate::clock::{Clock, SystemClock};
use crate::policy::SavePolicy;
use crate::provider::TransactionChanges;

/// Which of a client's saves it is, counted from when it was loaded or made. Compare one with
/// [`Client::saved_through`] of the same client only.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SaveNumber(u64);

/// What a client knows of its saves.
pub(super) struct Saves {
    clock: Arc<dyn Clock>,
    /// Since when something waits to be stored, or a reservation to be taken back.
    since: Option<Duration>,
    /// How many there were.
    number: u64,
    pub(super) reservations: Reservations,
}

impl Saves {
    pub(super) fn new() -> Result<Self> {
        let clock = Arc::new(SystemClock::default());
        Ok(Self { clock, since: None, number: 0, reservations: Reservations::new()? })
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Everything that waited was stored.
    pub(super) fn count(&mut self) {
        self.number += 1;
        self.since = (!self.reservations.is_empty()).then(|| self.now());
    }

    /// How long a save can still wait; zero if it is due.
    fn wait(&self, every: Duration) -> Duration {
        self.since.map_or(every, |since| every.saturating_sub(self.now().saturating_sub(since)))
    }
}

impl<C: CryptoProvider> Client<C> {
    /// Asks this clock when a save is due. Without one it is [`SystemClock`]. Not saved.
    pub fn set_clock(&mut self, clock: Arc<dyn Clock>) {
        self.saves.clock = clock;
        self.saves.since = self.saves.since.map(|_| self.saves.now());
    }

    /// The save that covers everything that calls have returned so far. When [`saved_through`](Self::saved_through) has
    /// reached it, that is durable: what was received may be acknowledged then.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mls_keep::{Client, Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager, SavePolicy, SystemEntropy};
    /// # futures_executor::block_on(async {
    /// # let encryption = Encryption::hkdf_sha256(MasterKey::generate(&SystemEntropy)?);
    /// # let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await?;
    /// # let arriving: Vec<Vec<u8>> = Vec::new();
    /// # let acknowledge = |_: Vec<u8>| ();
    /// let save = SavePolicy::Interval { every: Duration::from_secs(5), reserve: 100 };
    /// let mut alice = Client::builder("alice").persistence(Persistence { manager, save }).create().await?;
    /// let mut waiting = std::collections::VecDeque::new();
    /// for message in arriving {
    ///     alice.receive(&message).await?;
    ///     waiting.push_back((alice.covered_by(), message));
    ///     while waiting.front().is_some_and(|(save, _)| *save <= alice.saved_through()) {
    ///         acknowledge(waiting.pop_front().unwrap().1);
    ///     }
    /// }
    /// alice.close().await?; // saves, so that the rest can be acknowledged
    /// # Ok::<(), mls_keep::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// Where every operation is saved, it is the save that there was. What [`discard_unsaved`](Self::discard_unsaved) takes
    /// back is covered by no save, whatever number was given for it.
    #[must_use]
    pub fn covered_by(&self) -> SaveNumber {
        SaveNumber(self.saves.number + u64::from(self.has_unsaved()))
    }

    /// The last save: what it covers, and what those before it cover, is durable.
    #[must_use]
    pub fn saved_through(&self) -> SaveNumber {
        SaveNumber(self.saves.number)
    }

    /// Saves if that is due under [`SavePolicy::Interval`]. Returns after how long to call this again, so that a save comes
    /// when it is due although no operation does; `None` under another policy.
    ///
    /// With the feature `tokio`, `Saver` does that. With any other runtime it is a task of a few lines, on a client behind
    /// that runtime's mutex:
    ///
    /// ```ignore
    /// while let Some(wait) = client.lock().await.save_if_due().await? {
    ///     sleep(wait).await;
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`save`](Self::save). Call it again after a while, unless it is a `Conflict`.
    pub async fn save_if_due(&mut self) -> Result<Option<Duration>> {
        let SavePolicy::Interval { every, .. } = self.policy else { return Ok(None) };
        if self.store.is_some() && self.saves.wait(every).is_zero() {
            self.save().await?;
            // There was nothing to store.
            if self.saves.wait(every).is_zero() {
                self.saves.since = None;
            }
        }
        Ok(Some(self.saves.wait(every)))
    }

    /// Saves everything and takes back what was [reserved](SavePolicy::Interval), so that nothing has to be skipped when the
    /// client is loaded next. The client can be used further.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn close(&mut self) -> Result<()> {
        self.save_all(true).await
    }

    /// Commits what a transaction did, or lets it wait.
    pub(super) async fn store_when_due(
        &mut self,
        changes: &TransactionChanges,
        every: Duration,
    ) -> Result<Option<Committed>> {
        let now = self.saves.now();
        let waits = self.store.is_some() && changes.may_wait() && !self.saves.wait(every).is_zero();
        if waits && self.saves.reservations.take(changes, now) {
            self.saves.since.get_or_insert(now);
            return Ok(None);
        }
        self.store_with_unsaved(changes).await
    }
}
