//! A root counts its nodes, whatever is done.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{Capabilities, Changes, Commit, Keep, Key, Result, StorageBackend};

use crate::common::{SeededEntropy, encryption, keep_in};
use crate::rough::{Dice, Rough, look, noise, scope};

/// A value of one of the kinds that are stored differently.
fn value(dice: &Dice) -> Vec<u8> {
    let seed = dice.below(50);
    match dice.below(8) {
        0..=2 => noise(seed, dice.below(100) as usize),
        3 => noise(seed, 3000 + dice.below(2000) as usize),
        4 => noise(seed, dice.below(60_000) as usize),
        // Repeats itself.
        5 => noise(1, 20_000).repeat(1 + dice.below(6) as usize),
        6 => vec![seed as u8; dice.below(300_000) as usize],
        // Enough chunks for index nodes.
        _ if dice.one_in(6) => [noise(2, 300_000), noise(seed, 20_000), noise(2, 300_000)].concat(),
        _ => noise(2, 40_000),
    }
}

#[test]
fn a_root_counts_its_nodes_whatever_is_done() {
    for seed in 1..=12 {
        block_on(async {
            let dice = Dice::new(seed);
            let backend = Rough::new(seed % 2 == 0, dice.clone(), 0);
            drop(keep_in(backend.inner.clone(), seed).await);
            let keep = keep_in_turns(backend.clone(), seed).await;
            let mut client = keep.create_client(b"alice").await.unwrap();
            for step in 0..60 {
                if dice.one_in(10) {
                    backend.odds.store(dice.below(2) * 6, Ordering::Relaxed);
                }
                let mut changes = Changes::new();
                for _ in 0..=dice.below(3) {
                    let scope = scope(dice.below(if seed % 3 == 0 { 60 } else { 3 }) as u8);
                    let Ok(base) = client.scope_version(&scope).await else { continue };
                    let keys = if dice.one_in(5) { 300 } else { dice.below(12) };
                    let remove = dice.one_in(5);
                    let thin = dice.one_in(4);
                    for _ in 0..keys {
                        let name = dice.below(if keys == 300 { 2000 } else { 12 });
                        let key = [format!("{name:05}").into_bytes(), vec![b'x'; (name % 7 * 60) as usize]].concat();
                        let old = client.record(&scope, &key).await.ok().flatten();
                        let scope = changes.scope(scope.clone(), base);
                        match dice.below(if thin { 2 } else { 4 }) {
                            0 | 3 if keys == 300 => scope.put(key, noise(name, 200).into(), None).unwrap(),
                            0 | 3 => scope.put(key, value(&dice).into(), old).unwrap(),
                            1 => scope.remove(key),
                            _ => {
                                let mut new = old.as_ref().map_or(Vec::new(), |old| old.as_slice().to_vec());
                                new.truncate(200_000);
                                let at = dice.below(new.len() as u64 + 1) as usize;
                                new.splice(at..at, noise(step, 10));
                                scope.put(key, new.into(), old).unwrap();
                            }
                        }
                    }
                    if remove {
                        changes.scope(scope, base).remove_all();
                    }
                }
                drop(client.commit(&changes).await);
                if dice.one_in(20) {
                    drop(client.gc().await);
                }
                if dice.one_in(15) {
                    while client.settle().await.is_err() {}
                    let reopened = keep.open_client(b"alice").await;
                    client = reopened.unwrap_or(client);
                }
                if let Err(wrong) = look(&backend.inner).await {
                    panic!("seed {seed}, step {step}: {wrong}");
                }
            }
        });
    }
}

/// Polls by hand are for the other test: here each turn is taken at once.
async fn keep_in_turns(backend: Rough, seed: u64) -> Keep {
    Keep::open(Arc::new(Impatient(backend)), &encryption(), Arc::new(SeededEntropy::new(seed))).await.unwrap()
}

/// Waits for each call on the spot.
struct Impatient(Rough);

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

#[async_trait]
impl StorageBackend for Impatient {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        now(self.0.load(key))
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        now(self.0.save(key, data))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        now(self.0.delete(key))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        now(self.0.list(prefix))
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        now(self.0.commit(commit))
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}
