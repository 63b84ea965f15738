//! Two processes of one client, all policies, commits that fail, that end nowhere, or whose outcome is not seen: no message that
//! left is under a key that another one was under, in any order of calls.
//!
//! `MLS_KEEP_SCHEDULES` is how many orders are tried (100), `MLS_KEEP_SEED` the first one's seed.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_executor::block_on;
use mls_keep::openmls::credentials::BasicCredential;
use mls_keep::openmls::framing::MlsMessageOut;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, Clock, Encryption, Error, ErrorKind, GroupSettings, JoinOptions, MasterKey, MemoryBackend,
    OwnCommit, Persistence, PersistenceManager, Received, Result, SavePolicy, StorageBackend,
};
use mls_keep_core::{Commit, Key};
use openmls_basic_credential::SignatureKeyPair;

use super::bytes;

const STEPS: usize = 80;

/// Memory of which the next commit fails, in one of these ways.
#[derive(Clone, Default)]
pub(super) struct Rough {
    inner: MemoryBackend,
    pub(super) next: Arc<AtomicU64>,
}

const FAILS: u64 = 1;
const UNSEEN_BEFORE: u64 = 2;
const UNSEEN_AFTER: u64 = 3;
pub(super) const NEVER_ENDS_BEFORE: u64 = 4;
pub(super) const NEVER_ENDS_AFTER: u64 = 5;

#[async_trait::async_trait]
impl StorageBackend for Rough {
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
        let way = self.next.swap(0, Ordering::Relaxed);
        if way == FAILS {
            return Err(Error::new(ErrorKind::Unavailable, "no"));
        }
        if matches!(way, 0 | UNSEEN_AFTER | NEVER_ENDS_AFTER) {
            self.inner.commit(commit).await?;
        }
        match way {
            UNSEEN_BEFORE | UNSEEN_AFTER => Err(Error::new(ErrorKind::OutcomeUnknown, "who knows")),
            NEVER_ENDS_BEFORE | NEVER_ENDS_AFTER => std::future::pending().await,
            _ => Ok(()),
        }
    }

    fn capabilities(&self) -> mls_keep_core::Capabilities {
        self.inner.capabilities()
    }
}

/// What a call returned; `None` if it never ends, and was given up.
pub(super) fn call<T>(future: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn ok<T>(future: impl Future<Output = Result<T>>) -> Option<T> {
    call(future)?.ok()
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }
}

#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

struct World {
    random: Random,
    clock: Hand,
    backend: Rough,
    manager: PersistenceManager,
    processes: Vec<Client>,
    /// Reads everything that leaves, in the epochs in which it was sent.
    bob: Client,
    group: GroupId,
    /// What came from bob.
    letters: Vec<Vec<u8>>,
    /// What was made and not posted so far.
    commits: Vec<OwnCommit>,
    log: Vec<String>,
    heard: usize,
    lost: usize,
    refused: BTreeMap<String, usize>,
    /// There is one process, which also saves by hand.
    alone: bool,
    /// It has sent something and has not saved it.
    by_hand: bool,
}

fn settings() -> GroupSettings {
    GroupSettings::new().max_past_epochs(200).out_of_order_tolerance(5000).maximum_forward_distance(5000)
}

impl World {
    fn new(seed: u64) -> Self {
        let backend = Rough::default();
        let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
        let manager = block_on(PersistenceManager::builder(backend.clone()).encryption(encryption).open()).unwrap();
        let persistence = Persistence { manager: manager.clone(), save: SavePolicy::EveryOperation };
        let alice = Client::builder("alice").settings(settings());
        let mut alice = block_on(alice.persistence(persistence).create()).unwrap();
        let mut bob = block_on(Client::builder("bob").settings(settings()).create()).unwrap();
        let group = block_on(alice.create_group("tea")).unwrap();
        super::gather(&mut alice, &group, &mut [&mut bob]);
        let other = block_on(manager.load_client_state("alice")).unwrap();
        Self {
            random: Random(seed),
            clock: Hand::default(),
            backend,
            manager,
            processes: vec![alice, other],
            bob,
            group,
            letters: Vec::new(),
            commits: Vec::new(),
            log: Vec::new(),
            heard: 0,
            lost: 0,
            refused: BTreeMap::new(),
            alone: seed.is_multiple_of(2),
            by_hand: false,
        }
    }

    fn policy(&mut self) -> SavePolicy {
        match self.random.below(5) {
            0 => SavePolicy::EveryOperation,
            // Of two processes neither sends before it saves.
            1 if self.alone => SavePolicy::Manual,
            _ => SavePolicy::Interval { every: Duration::from_secs(20), reserve: self.random.below(6) as u32 },
        }
    }

    /// A message leaves.
    fn leaves(&mut self, message: &MlsMessageOut) {
        let received = block_on(self.bob.receive(bytes(message)));
        match received {
            Ok(Received::Message(_)) => self.heard += 1,
            // Of a state that the service never took.
            Err(error)
                if matches!(error.kind(), ErrorKind::PastEpoch | ErrorKind::Invalid | ErrorKind::FutureEpoch) =>
            {
                self.lost += 1
            }
            Ok(Received::Held { .. }) => self.lost += 1,
            other => panic!("{other:?} after {:#?}", self.log),
        }
    }

    fn take_commit(&mut self, made: &OwnCommit) -> bool {
        let epoch = block_on(self.bob.group(&self.group)).unwrap().epoch;
        made.epoch == epoch && matches!(block_on(self.bob.receive(&made.commit)), Ok(Received::Commit(_)))
    }

    fn step(&mut self) {
        self.by_hand &= self.processes[0].has_unsaved();
        let at = if self.alone { 0 } else { self.random.below(2) as usize };
        let what = self.random.below(30);
        // What has left before it was saved is not to be lost.
        if self.by_hand && matches!(what, 16 | 19) {
            return;
        }
        if self.random.below(6) == 0 {
            let way = 1 + self.random.below(5);
            self.backend.next.store(way, Ordering::Relaxed);
        }
        let epochs: Vec<_> = self.processes.iter_mut().map(|one| ok(one.group(&self.group)).map(|g| g.epoch)).collect();
        self.log.push(format!(
            "{at}: {what}, fault {}, {:?}, {epochs:?}",
            self.backend.next.load(Ordering::Relaxed),
            self.processes[at].save_policy()
        ));
        let group = self.group.clone();
        let client = &mut self.processes[at];
        match what {
            0..=8 => {
                let sent = match what {
                    0 => call(
                        client
                            .transact(&group, |tx| Ok(tx.group.create_message(tx.provider, tx.signer, b"own call")?)),
                    ),
                    1 => call(client.send_with(&group, "hello", b"aad", |_, records| Ok(records.put("k", "v")?))),
                    _ => call(client.send(&group, "hello")),
                };
                if let Some(Err(error)) = &sent {
                    *self.refused.entry(format!("{:?} {error}", error.kind())).or_default() += 1;
                }
                let sent = sent.and_then(Result::ok);
                if sent.is_some() {
                    self.by_hand = client.save_policy() == SavePolicy::Manual;
                }
                if let Some(sent) = sent {
                    self.leaves(&sent);
                }
            }
            9 => {
                let message = block_on(self.bob.send(&group, "from bob"));
                self.letters.extend(message.map(|message| bytes(&message)));
            }
            10..=12 if !self.letters.is_empty() => {
                let which = self.random.below(self.letters.len() as u64) as usize;
                drop(call(client.receive(&self.letters[which])));
            }
            13 => drop(call(client.save())),
            14 => drop(call(client.close())),
            15 => {
                self.clock.0.fetch_add(7, Ordering::Relaxed);
                drop(call(client.save_if_due()));
            }
            16 => client.discard_unsaved(),
            17 => drop(call(client.refresh())),
            18 => {
                let policy = self.policy();
                self.processes[at].set_save_policy(policy).unwrap();
            }
            19 => {
                self.backend.next.store(0, Ordering::Relaxed);
                let policy = self.policy();
                let mut loaded = block_on(self.manager.load_client_state_saving("alice", policy)).unwrap();
                loaded.set_clock(Arc::new(self.clock.clone()));
                self.processes[at] = loaded;
            }
            20 => self.commits.extend(ok(client.stage(&group, Change::new().update()))),
            21 => {
                let info = block_on(self.bob.group_info(&group, true)).unwrap();
                let staged = ok(client.stage_entry(info, JoinOptions::new()));
                self.commits.extend(staged);
            }
            22..=24 => {
                // What is staged goes to the service, and is confirmed, or rejected. Of what is unsaved nothing leaves.
                let Some(Some(made)) = ok(client.pending(&group)) else { return };
                if client.has_unsaved() && ok(client.save()).is_none() {
                    return;
                }
                let taken = self.take_commit(&made);
                if taken {
                    self.letters.push(made.commit.clone());
                }
                let client = &mut self.processes[at];
                match (taken, what) {
                    (true, 22) => drop(call(client.receive(&made.commit))),
                    (true, _) => drop(call(client.confirm(&group))),
                    (false, _) => drop(call(client.reject(&group))),
                }
            }
            25 => {
                // An answer that was given to a commit of before.
                match self.random.below(3) {
                    0 => drop(call(client.confirm(&group))),
                    1 => drop(call(client.reject(&group))),
                    _ if self.commits.is_empty() => {}
                    _ => {
                        let which = self.random.below(self.commits.len() as u64) as usize;
                        drop(call(client.receive(&self.commits[which].commit)));
                    }
                }
            }
            26 => {
                if let Ok(made) = block_on(self.bob.commit_at_once(&group, Change::new().update())) {
                    self.letters.push(made.commit);
                }
            }
            27 => {
                // Removed, and invited again.
                let Some(package) = ok(client.key_package()) else { return };
                if client.has_unsaved() && ok(client.save()).is_none() {
                    return;
                }
                let members = block_on(self.bob.members(&group)).unwrap();
                if members.iter().any(|member| member.identity == b"alice")
                    && let Ok(made) = block_on(self.bob.commit_at_once(&group, Change::new().remove("alice")))
                {
                    self.letters.push(made.commit);
                }
                let change = Change::new().invite([bytes(&package)]);
                let Ok(made) = block_on(self.bob.commit_at_once(&group, change)) else { return };
                let client = &mut self.processes[at];
                let joined = call(client.join_with(made.welcome.unwrap(), JoinOptions::new().replace()));
                self.log.push(format!("joined {:?}", joined.map(|joined| joined.is_ok())));
            }
            28 => drop(call(client.transact(&group, |tx| Ok(tx.records.put("read", "yes")?)))),
            29 => match self.random.below(8) {
                0 => drop(call(client.forget_group(&group))),
                1 | 2 => drop(call(client.set_group_settings(&group, &settings().padding_size(16)))),
                3 | 4 => {
                    let signer = SignatureKeyPair::new(client.ciphersuite().signature_algorithm()).unwrap();
                    drop(call(client.set_credential(BasicCredential::new(b"alice".to_vec()).into(), signer)));
                }
                _ => self.commits.extend(ok(client.stage(&group, Change::new().credential()))),
            },
            _ => {}
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

#[test]
fn no_key_is_used_twice_in_any_order_of_calls() {
    let first = number("MLS_KEEP_SEED", 1);
    let (mut heard, mut lost, mut refused) = (0, 0, BTreeMap::<_, usize>::new());
    for seed in first..first + number("MLS_KEEP_SCHEDULES", 100) {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        heard += world.heard;
        lost += world.lost;
        for (kind, count) in world.refused {
            *refused.entry(kind).or_default() += count;
        }
    }
    println!("{heard} messages were heard, {lost} were not, refused: {refused:?}");
}
