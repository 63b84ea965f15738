//! What both kinds of schedules have: stores whose processes are killed, a delivery service, chance, and the beginning.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, Encryption, GroupSettings, MasterKey, MemoryBackend, OwnCommit, PersistenceManager, Result,
    StorageBackend,
};
use mls_keep_core::{Commit, Key};

pub(crate) const MEMBERS: usize = 3;
pub(crate) const STEPS: usize = 60;

pub(crate) type Image = Vec<(Key, bytes::Bytes)>;

/// Memory of which the next commit never ends: before or after it is applied.
#[derive(Clone, Default)]
pub(crate) struct Killing {
    pub(crate) inner: MemoryBackend,
    pub(crate) kill: Arc<AtomicU8>,
}

pub(crate) const BEFORE: u8 = 1;
pub(crate) const AFTER: u8 = 2;

#[async_trait::async_trait]
impl StorageBackend for Killing {
    async fn load(&self, key: &Key) -> Result<Option<bytes::Bytes>> {
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: bytes::Bytes) -> Result<()> {
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.inner.list(prefix).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        match self.kill.swap(0, Ordering::Relaxed) {
            BEFORE => std::future::pending().await,
            AFTER => {
                self.inner.commit(commit).await?;
                std::future::pending().await
            }
            _ => self.inner.commit(commit).await,
        }
    }

    fn capabilities(&self) -> mls_keep_core::Capabilities {
        self.inner.capabilities()
    }
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Takes the first commit for each epoch, and everything else, and gives all of it to everybody, the sender too.
#[derive(Default)]
pub(crate) struct Service {
    pub(crate) letters: Vec<Vec<u8>>,
    pub(crate) commits: BTreeMap<u64, Vec<u8>>,
}

impl Service {
    pub(crate) fn post(&mut self, letter: &[u8]) {
        if !self.letters.iter().any(|known| known == letter) {
            self.letters.push(letter.to_vec());
        }
    }

    /// Whether it is the commit of its epoch.
    pub(crate) fn take_commit(&mut self, made: &OwnCommit) -> bool {
        let taken = self.commits.entry(made.epoch).or_insert_with(|| made.commit.clone()) == &made.commit;
        if taken {
            self.post(&made.commit);
        }
        taken
    }
}

/// A member's process, which is killed inside of a commit now and then, and starts again.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) store: Killing,
    pub(crate) client: Client,
    manager: PersistenceManager,
    happened: &'static Happened,
}

impl Process {
    pub(crate) fn load(number: usize, image: &Image, happened: &'static Happened) -> Self {
        let (name, store) = (number.to_string(), Killing::default());
        for (key, value) in image {
            block_on(store.inner.save(key, value.clone())).unwrap();
        }
        let manager = open(store.clone());
        let mut client = block_on(manager.load_client_state(&name)).unwrap();
        client.set_outbox(true);
        Self { name, store, client, manager, happened }
    }

    pub(crate) fn restart(&mut self) {
        self.store.kill.store(0, Ordering::Relaxed);
        self.client = block_on(self.manager.load_client_state(&self.name)).unwrap();
        self.client.set_outbox(true);
    }

    /// Runs an operation. `None` if the process was killed inside of it; then it has started again.
    pub(crate) fn run<T>(&mut self, operation: impl AsyncFnOnce(&mut Client) -> Result<T>) -> Option<Result<T>> {
        let polled = pin!(operation(&mut self.client)).poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(result) => Some(result),
            Poll::Pending => {
                self.happened.note("killed");
                self.restart();
                None
            }
        }
    }
}

/// What has happened, so that a test can see that it was tried.
pub(crate) struct Happened(Mutex<BTreeMap<&'static str, usize>>);

impl Happened {
    pub(crate) const fn nothing() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    pub(crate) fn note(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }
}

/// Runs as many schedules as there are to be. Of `kinds` kinds of things each is to have happened.
pub(crate) fn many(happened: &Happened, kinds: usize, run: impl Fn(u64) -> std::result::Result<(), String> + Sync) {
    let (first, count) = (first_seed(), number("MLS_KEEP_SCHEDULES").unwrap_or(200));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let run = &run;
            scope.spawn(move || {
                for seed in (0..count).filter(|at| at % threads == thread).map(|at| first.wrapping_add(at)) {
                    run(seed).unwrap_or_else(|wrong| panic!("MLS_KEEP_SEED={seed} MLS_KEEP_SCHEDULES=1: {wrong}"));
                }
            });
        }
    });
    let happened = happened.0.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{happened:?}");
    assert!(count < 100 || happened.len() == kinds, "not all was tried: {happened:?}");
}

pub(crate) fn open(store: Killing) -> PersistenceManager {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    block_on(PersistenceManager::builder(store).encryption(encryption).open()).unwrap()
}

/// The members, in a group.
pub(crate) fn beginning() -> (Vec<Image>, GroupId) {
    let stores: Vec<_> = (0..MEMBERS).map(|_| Killing::default()).collect();
    let managers: Vec<_> = stores.iter().map(|store| open(store.clone())).collect();
    block_on(async {
        // As many as there can be, so that a message that comes late can be read.
        let settings = GroupSettings::new().max_past_epochs(STEPS).out_of_order_tolerance(STEPS as u32);
        let mut clients = Vec::new();
        for (name, manager) in managers.into_iter().enumerate() {
            let builder = manager.client_builder(name.to_string()).settings(settings.clone());
            clients.push(builder.create().await.unwrap());
        }
        let (host, guests) = clients.split_first_mut().unwrap();
        let group = host.create_group("tea").await.unwrap();
        let mut packages = Vec::new();
        for guest in &mut *guests {
            packages.push(guest.key_package().await.unwrap().to_bytes().unwrap());
        }
        let welcome = host.commit_at_once(&group, Change::new().invite(&packages)).await.unwrap().welcome.unwrap();
        for guest in guests {
            guest.join(&welcome).await.unwrap();
        }
        let mut images = Vec::new();
        for store in stores {
            let keys = store.list("").await.unwrap();
            let values = store.load_many(&keys).await.unwrap();
            images.push(keys.into_iter().zip(values.into_iter().flatten()).collect());
        }
        (images, group)
    })
}

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

pub(crate) fn first_seed() -> u64 {
    let seed = number("MLS_KEEP_SEED").unwrap_or_else(|| std::hash::RandomState::new().hash_one(0) >> 16);
    println!("seed: run again with MLS_KEEP_SEED={seed}");
    seed
}
