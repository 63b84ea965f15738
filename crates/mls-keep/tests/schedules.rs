//! Random schedules: members who commit at the same time, a delivery service that takes one commit for each epoch, answers
//! that are lost, letters that come late, twice and in any order, and processes that are killed inside of a commit. In the
//! end all are in the same epoch, and everybody has read what everybody sent, once.
//!
//! `MLS_KEEP_SCHEDULES` is how many (200), `MLS_KEEP_SEED` the first one's seed.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, CommitSummary, Committer, Encryption, ErrorKind, GroupSettings, MasterKey, MemoryBackend,
    OwnCommit, PersistenceManager, Received, Result, StorageBackend,
};
use mls_keep_core::{Commit, Key};

const MEMBERS: usize = 3;
const STEPS: usize = 60;

type Image = Vec<(Key, bytes::Bytes)>;

/// What has happened, so that a test can see that it was tried.
static HAPPENED: [(&str, AtomicUsize); 6] = [
    ("confirmed", AtomicUsize::new(0)),
    ("rejected", AtomicUsize::new(0)),
    ("dropped for another commit", AtomicUsize::new(0)),
    ("confirmed by its own coming back", AtomicUsize::new(0)),
    ("held", AtomicUsize::new(0)),
    ("killed", AtomicUsize::new(0)),
];

fn happened(what: &str) {
    let (_, count) = HAPPENED.iter().find(|(name, _)| *name == what).unwrap();
    count.fetch_add(1, Ordering::Relaxed);
}

/// How a client commits.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    Staged,
    /// The saboteur: merges at once, whatever the service says.
    Early,
}

/// Memory of which the next commit never ends: before or after it is applied.
#[derive(Clone, Default)]
struct Killing {
    inner: MemoryBackend,
    kill: Arc<AtomicU8>,
}

const BEFORE: u8 = 1;
const AFTER: u8 = 2;

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

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Takes the first commit for each epoch, and everything else, and gives all of it to everybody, the sender too.
#[derive(Default)]
struct Service {
    letters: Vec<Vec<u8>>,
    commits: BTreeMap<u64, Vec<u8>>,
}

impl Service {
    fn post(&mut self, letter: &[u8]) {
        if !self.letters.iter().any(|known| known == letter) {
            self.letters.push(letter.to_vec());
        }
    }

    /// Whether it is the commit of its epoch.
    fn take_commit(&mut self, made: &OwnCommit) -> bool {
        let taken = self.commits.entry(made.epoch).or_insert_with(|| made.commit.clone()) == &made.commit;
        if taken {
            self.post(&made.commit);
        }
        taken
    }
}

struct Member {
    name: String,
    store: Killing,
    manager: PersistenceManager,
    client: Client,
    /// Of the service's letters, those that it is done with.
    done: Vec<bool>,
    sent: Vec<String>,
    /// What must not happen.
    wrong: Option<String>,
    /// The saboteur's commits, which it has merged.
    early: Vec<OwnCommit>,
}

impl Member {
    fn load(name: String, image: &Image) -> Self {
        let store = Killing::default();
        for (key, value) in image {
            block_on(store.inner.save(key, value.clone())).unwrap();
        }
        let manager = open(store.clone());
        let client = block_on(manager.load_client_state(&name)).unwrap();
        let (done, sent, wrong, early) = Default::default();
        let mut member = Self { name, store, manager, client, done, sent, wrong, early };
        member.client.set_outbox(true);
        member
    }

    fn restart(&mut self) {
        self.store.kill.store(0, Ordering::Relaxed);
        self.client = block_on(self.manager.load_client_state(&self.name)).unwrap();
        self.client.set_outbox(true);
    }

    /// Runs an operation. `None` if the process was killed inside of it; then it has started again.
    fn run<T>(&mut self, operation: impl AsyncFnOnce(&mut Client) -> Result<T>) -> Option<Result<T>> {
        let polled = pin!(operation(&mut self.client)).poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(result) => Some(result),
            Poll::Pending => {
                happened("killed");
                self.restart();
                None
            }
        }
    }

    fn commit(&mut self, group: &GroupId, way: Way) {
        let change = Change::new().update();
        match way {
            Way::Staged => match self.run(async |client| client.stage(group, change).await) {
                Some(Err(error)) if error.kind() == ErrorKind::CommitPending => {}
                other => drop(other.map(Result::unwrap)),
            },
            Way::Early => {
                let made = self.run(async |client| client.commit_at_once(group, change).await);
                self.early.extend(made.map(Result::unwrap));
            }
        }
    }

    /// Gives the service what is to be sent. Its answer may be lost.
    fn deliver(&mut self, group: &GroupId, service: &mut Service, random: &mut Random) {
        for made in &self.early {
            service.take_commit(made);
        }
        for outgoing in block_on(self.client.outbox(group)).unwrap() {
            let Some(message) = outgoing.message.filter(|_| !outgoing.is_staged) else { continue };
            if !self.early.iter().any(|made| made.commit == message) {
                service.post(&message);
                if random.one_in(4) {
                    return;
                }
                self.run(async |client| client.delivered(group, outgoing.number).await).map(Result::unwrap);
            }
        }
        let Some(made) = block_on(self.client.pending(group)).unwrap() else { return };
        let taken = service.take_commit(&made);
        match random.below(4) {
            0 => {}
            _ if taken => {
                happened("confirmed");
                self.run(async |client| client.confirm(group).await).map(Result::unwrap);
            }
            _ => {
                happened("rejected");
                self.run(async |client| client.reject(group).await).map(Result::unwrap);
            }
        }
    }

    /// Receives one letter, and what was held for it. What is not received for a kill is received later.
    fn receive(&mut self, group: &GroupId, service: &Service, number: usize) {
        self.done.resize(service.letters.len(), false);
        match self.run(async |client| client.receive(&service.letters[number]).await) {
            Some(Ok(received)) => {
                self.done[number] = true;
                note(&received);
            }
            Some(Err(error)) => self.wrong = Some(format!("{} cannot read letter {number}: {error:?}", self.name)),
            None => {}
        }
        for held in self.run(async |client| client.receive_held(group).await).map(Result::unwrap).unwrap_or_default() {
            match held {
                Ok(received) => note(&received),
                Err(error) => self.wrong = Some(format!("{} cannot read what it held: {error:?}", self.name)),
            }
        }
    }
}

fn note(received: &Received) {
    match received {
        Received::Commit(CommitSummary { sender, drops_staged, .. }) => {
            if *drops_staged {
                happened("dropped for another commit");
            }
            if *sender == Committer::Own {
                happened("confirmed by its own coming back");
            }
        }
        Received::Held { .. } => happened("held"),
        _ => {}
    }
}

fn open(store: Killing) -> PersistenceManager {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    block_on(PersistenceManager::builder(store).encryption(encryption).open()).unwrap()
}

/// The members, in a group.
fn beginning() -> (Vec<Image>, GroupId) {
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

/// What is wrong in the end.
fn run(seed: u64, beginning: &(Vec<Image>, GroupId), way: Way) -> std::result::Result<(), String> {
    let (images, group) = beginning;
    let (mut random, mut service) = (Random(seed), Service::default());
    let mut members: Vec<_> =
        images.iter().enumerate().map(|(name, image)| Member::load(name.to_string(), image)).collect();
    for step in 0..STEPS {
        let member = &mut members[random.below(MEMBERS)];
        if random.one_in(8) {
            member.store.kill.store(if random.one_in(2) { BEFORE } else { AFTER }, Ordering::Relaxed);
        }
        match random.below(10) {
            0 | 1 => member.commit(group, if member.name == "0" { way } else { Way::Staged }),
            2 | 3 => member.deliver(group, &mut service, &mut random),
            4 => {
                let text = format!("{step} of {}", member.name);
                // A kill after the commit leaves it in the outbox.
                let sent = member.run(async |client| client.send(group, &text).await);
                let before = sent.as_ref().is_some_and(Result::is_ok);
                let kept = block_on(member.client.history(group, 1)).unwrap();
                if before || kept.last().is_some_and(|message| message.content == text.as_bytes()) {
                    member.sent.push(text);
                }
            }
            5 => member.restart(),
            _ if service.letters.is_empty() => {}
            _ => {
                let number = random.below(service.letters.len());
                member.receive(group, &service, number);
            }
        }
    }
    if let Some(wrong) = members.iter().find_map(|member| member.wrong.clone()) {
        return Err(wrong);
    }
    // The day ends: all answers come, and all letters.
    for member in &mut members {
        member.store.kill.store(0, Ordering::Relaxed);
    }
    for _ in 0..2 * STEPS {
        for member in &mut members {
            member.deliver(group, &mut service, &mut random);
            for number in 0..service.letters.len() {
                if member.done.get(number) != Some(&true) {
                    member.receive(group, &service, number);
                }
            }
        }
        let quiet = |member: &mut Member| {
            block_on(member.client.pending(group)).unwrap().is_none()
                && block_on(member.client.outbox(group)).unwrap().is_empty()
                && member.done.len() == service.letters.len()
                && member.done.iter().all(|done| *done)
        };
        if members.iter_mut().all(quiet) {
            break;
        }
    }
    if let Some(wrong) = members.iter().find_map(|member| member.wrong.clone()) {
        return Err(wrong);
    }
    let states: Vec<_> = members
        .iter_mut()
        .map(|member| {
            let epoch = block_on(member.client.group(group)).unwrap().epoch;
            (epoch, block_on(member.client.export_secret(group, "model", b"", 32)).unwrap())
        })
        .collect();
    if let Some(pair) = states.windows(2).find(|pair| pair[0] != pair[1]) {
        return Err(format!("two members are in different epochs: {} and {}", pair[0].0, pair[1].0));
    }
    if states[0].0 != service.commits.len() as u64 + 1 {
        return Err(format!("in epoch {} after {} commits", states[0].0, service.commits.len()));
    }
    let sent: Vec<(String, Vec<String>)> =
        members.iter().map(|member| (member.name.clone(), member.sent.clone())).collect();
    for reader in &mut members {
        let others = sent.iter().filter(|(name, _)| *name != reader.name);
        let mut expected: Vec<_> = others.flat_map(|(_, sent)| sent.clone()).collect();
        let history = block_on(reader.client.history(group, usize::MAX)).unwrap();
        let read = history.into_iter().filter(|message| !message.own);
        let mut read: Vec<_> = read.map(|message| String::from_utf8(message.content).unwrap()).collect();
        expected.sort();
        read.sort();
        if expected != read {
            return Err(format!("{} has read {read:?} of {expected:?}", reader.name));
        }
    }
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn first_seed() -> u64 {
    let seed = number("MLS_KEEP_SEED").unwrap_or_else(|| std::hash::RandomState::new().hash_one(0) >> 16);
    println!("seed: run again with MLS_KEEP_SEED={seed}");
    seed
}

#[test]
fn members_who_commit_at_once_end_in_the_same_epoch() {
    let (beginning, first, count) = (beginning(), first_seed(), number("MLS_KEEP_SCHEDULES").unwrap_or(200));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let beginning = &beginning;
            scope.spawn(move || {
                for seed in (0..count).filter(|at| at % threads == thread).map(|at| first.wrapping_add(at)) {
                    run(seed, beginning, Way::Staged)
                        .unwrap_or_else(|wrong| panic!("MLS_KEEP_SEED={seed} MLS_KEEP_SCHEDULES=1: {wrong}"));
                }
            });
        }
    });
    let counts = HAPPENED.each_ref().map(|(what, count)| (*what, count.load(Ordering::Relaxed)));
    println!("{counts:?}");
    assert!(count < 100 || counts.iter().all(|(_, count)| *count > 0), "not tried: {counts:?}");
}

#[test]
fn a_member_who_merges_early_is_found() {
    let (beginning, first) = (beginning(), first_seed());
    let found = (0..50).filter_map(|at| run(first.wrapping_add(at), &beginning, Way::Early).err()).count();
    assert!(found > 5, "in {found} of 50 schedules");
}
