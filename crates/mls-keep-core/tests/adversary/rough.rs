//! A store that loses replies, lets writes land late and in another order.
#![allow(unreachable_pub)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{
    Capabilities, Commit, Error, ErrorKind, Keep, Key, MemoryBackend, Result, ScopeId, StorageBackend, SwapScope,
};

use crate::common::{SeededEntropy, encryption};

/// The same numbers in every run.
#[derive(Clone)]
pub struct Dice(Arc<AtomicU64>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    pub fn below(&self, sides: u64) -> u64 {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.store(state, Ordering::Relaxed);
        (state >> 11) % sides
    }

    pub fn one_in(&self, sides: u64) -> bool {
        sides > 0 && self.below(sides) == 0
    }
}

/// Is pending once.
pub async fn turn() {
    let mut polled = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

pub enum Late {
    Commit(Commit),
    Delete(Key),
    Save(Key, Bytes),
}

/// A commit is a row of writes, of which the swap is conditional for everyone. One in `odds` of the writes goes wrong.
#[derive(Clone)]
pub struct Rough {
    pub inner: MemoryBackend,
    pub atomic: bool,
    pub dice: Dice,
    pub odds: Arc<AtomicU64>,
    pub late: Arc<Mutex<Vec<Late>>>,
    /// What a loose listing showed last.
    pub listed: Arc<Mutex<Vec<Key>>>,
}

impl Rough {
    pub fn new(atomic: bool, dice: Dice, odds: u64) -> Self {
        let odds = Arc::new(AtomicU64::new(odds));
        Self { inner: MemoryBackend::new(), atomic, dice, odds, late: Arc::default(), listed: Arc::default() }
    }

    pub fn goes_wrong(&self) -> bool {
        self.dice.one_in(self.odds.load(Ordering::Relaxed))
    }

    pub fn later(&self, write: Late) -> Error {
        self.late.lock().unwrap().push(write);
        unknown()
    }

    /// Lets one of the late writes take effect.
    pub fn land_one(&self) -> bool {
        let write = {
            let mut late = self.late.lock().unwrap();
            if late.is_empty() {
                return false;
            }
            let at = self.dice.below(late.len() as u64) as usize;
            late.swap_remove(at)
        };
        drop(match write {
            Late::Commit(commit) => block_on(self.inner.commit(commit)),
            Late::Delete(key) => block_on(self.inner.delete(&key)),
            Late::Save(key, data) => block_on(self.inner.save(&key, data)),
        });
        true
    }
}

pub fn unknown() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "planned")
}

pub fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "planned")
}

#[async_trait]
impl StorageBackend for Rough {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        turn().await;
        if self.goes_wrong() && self.dice.one_in(2) {
            return Err(unavailable());
        }
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        turn().await;
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        turn().await;
        if self.goes_wrong() {
            return Err(if self.dice.one_in(2) { unavailable() } else { self.later(Late::Delete(key.clone())) });
        }
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        turn().await;
        self.inner.list(prefix).await
    }

    /// As it is now, or as it was at any earlier time.
    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        let now = self.list(prefix).await?;
        let mut listed = self.listed.lock().unwrap();
        if self.dice.one_in(2) {
            *listed = now;
        }
        Ok(listed.iter().filter(|key| key.as_str().starts_with(prefix)).cloned().collect())
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        commit.check()?;
        turn().await;
        let Commit { puts, swap, deletes } = commit;
        if self.atomic {
            let commit = Commit { puts, swap, deletes };
            if self.goes_wrong() {
                return Err(match self.dice.below(3) {
                    0 => unavailable(),
                    1 => self.later(Late::Commit(commit)),
                    _ => self.inner.commit(commit).await.err().filter(|_| self.dice.one_in(2)).unwrap_or_else(unknown),
                });
            }
            let result = self.inner.commit(commit).await;
            turn().await;
            return result;
        }
        for (key, data) in puts {
            turn().await;
            if self.goes_wrong() && self.dice.one_in(8) {
                drop(self.later(Late::Save(key, data)));
                return Err(unavailable());
            }
            self.inner.save(&key, data).await?;
        }
        turn().await;
        let swap = Commit { puts: Vec::new(), swap, deletes: Vec::new() };
        if self.goes_wrong() {
            return Err(match self.dice.below(3) {
                0 => unavailable(),
                1 => self.later(Late::Commit(swap)),
                _ => self.inner.commit(swap).await.err().filter(|_| self.dice.one_in(2)).unwrap_or_else(unknown),
            });
        }
        self.inner.commit(swap).await?;
        for key in deletes {
            turn().await;
            drop(self.delete(&key).await);
        }
        turn().await;
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest().with_swap(SwapScope::Everyone).with_atomic_commit(self.atomic)
    }
}

pub fn scope(number: u8) -> ScopeId {
    ScopeId::group(&[number]).unwrap()
}

/// `len` bytes that do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    (0_u32..).flat_map(|at| Sha256::digest([&seed.to_be_bytes()[..], &at.to_be_bytes()].concat())).take(len).collect()
}

/// Whether everything that the newest root names is there, as somebody sees who has seen nothing before.
pub async fn look(inner: &MemoryBackend) -> std::result::Result<(), String> {
    let keep = Keep::open(Arc::new(inner.clone()), &encryption(), Arc::new(SeededEntropy::new(1))).await.unwrap();
    let client = match keep.open_client(b"alice").await {
        Ok(client) => client,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{error:?}")),
    };
    match client.verify(&mut |_| ()).await {
        Ok(found) if found.is_sound() => Ok(()),
        Ok(found) => Err(format!("{:?}", found.problems)),
        Err(error) => Err(format!("{error:?}")),
    }
}
