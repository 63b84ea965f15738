//! What is measured: clients that send, and bare commits.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use integration_tests::adapter::Adapter;
use integration_tests::store::encryption;
use integration_tests::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Client, PersistenceManager};
use mls_keep_core::{Commit, Key, StorageBackend, Swap};

const MESSAGE: &[u8] = b"At five, at the usual place. Bring the papers!";

/// How long something is watched.
pub(crate) const WATCHED: Duration = Duration::from_secs(2);

/// About what a message in a small group stores: a node and a root.
pub(crate) const NODE_LEN: usize = 2048;
pub(crate) const ROOT_LEN: usize = 1024;

/// A client alone in a group.
pub(crate) struct Single {
    client: Client,
    group: GroupId,
}

impl Single {
    pub(crate) fn new(adapter: Adapter, dir: &Path) -> Self {
        let manager = manager(adapter, dir);
        Self::of(&manager, "alice")
    }

    fn of(manager: &PersistenceManager, name: &str) -> Self {
        let mut client = block_on(manager.client_builder(name).create()).unwrap();
        let group = block_on(client.create_group("tea")).unwrap();
        Self { client, group }
    }

    pub(crate) fn send(&mut self, count: usize) {
        for _ in 0..count {
            block_on(self.client.send(&self.group, MESSAGE)).unwrap();
        }
    }

    /// Sends until `end`; how many.
    fn send_until(&mut self, end: Instant) -> usize {
        let mut sent = 0;
        while Instant::now() < end {
            self.send(1);
            sent += 1;
        }
        sent
    }

    pub(crate) fn sends_per_second(&mut self) -> f64 {
        self.send(20);
        let begun = Instant::now();
        let sent = self.send_until(begun + WATCHED);
        sent as f64 / begun.elapsed().as_secs_f64()
    }
}

fn manager(adapter: Adapter, dir: &Path) -> PersistenceManager {
    let backend = adapter.open(&adapter.path(dir, "keep")).unwrap();
    block_on(PersistenceManager::builder_shared(backend).encryption(encryption()).open()).unwrap()
}

/// Messages per second of `count` clients on one backend, each sending as fast as it can on a thread of its own.
pub(crate) fn clients_per_second(adapter: Adapter, dir: &Path, count: usize) -> f64 {
    let manager = manager(adapter, dir);
    let clients: Vec<_> = (0..count).map(|number| Single::of(&manager, &format!("client {number}"))).collect();
    let begun = Instant::now();
    let end = begun + WATCHED;
    let threads: Vec<_> = clients.into_iter().map(|mut client| thread::spawn(move || client.send_until(end))).collect();
    let sent: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let rate = sent as f64 / begun.elapsed().as_secs_f64();
    block_on(manager.close()).unwrap();
    rate
}

/// Commits per second through `commit_many`, `at_once` of them in each call: each replaces a root and a node.
pub(crate) fn commits_per_second(backend: &dyn StorageBackend, at_once: usize) -> f64 {
    let mut roots: Vec<Option<Bytes>> = vec![None; at_once];
    let (mut round, mut done) = (0_u64, 0);
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        let commits = roots.iter_mut().enumerate().map(|(client, root)| commit(client, round, root)).collect();
        for result in block_on(backend.commit_many(commits)) {
            result.unwrap();
            done += 1;
        }
        round += 1;
    }
    let rate = f64::from(done) / begun.elapsed().as_secs_f64();
    block_on(backend.close()).unwrap();
    rate
}

fn commit(client: usize, round: u64, root: &mut Option<Bytes>) -> Commit {
    let node = |round: u64| Key::new(&format!("n/{client}/{round}")).unwrap();
    let next = noise(round ^ (client as u64) << 32, ROOT_LEN);
    let expected = root.replace(next.clone());
    let swap = Swap { key: Key::new(&format!("r/{client}")).unwrap(), expected, replacement: Some(next) };
    let deletes = round.checked_sub(1).map(node).into_iter().collect();
    Commit { puts: vec![(node(round), noise(round, NODE_LEN))], swap, deletes }
}

/// Bytes that do not compress: a linear congruential generator is enough for that.
fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}
