//! Several processes on one client of a store that loses replies, lets writes land late and in another order, and processes
//! that are killed: nothing that was said changes afterwards, and no root names what is not there.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use common::{SeededEntropy, dump, encryption, keep_in};
use futures_executor::block_on;
use mls_keep_core::{
    Capabilities, Changes, ClientStore, Commit, Error, ErrorKind, Keep, Key, MemoryBackend, Result, ScopeId,
    StorageBackend, SwapScope,
};

/// The same numbers in every run.
#[derive(Clone)]
struct Dice(Arc<AtomicU64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    fn below(&self, sides: u64) -> u64 {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.store(state, Ordering::Relaxed);
        (state >> 11) % sides
    }

    fn one_in(&self, sides: u64) -> bool {
        sides > 0 && self.below(sides) == 0
    }
}

/// Is pending once.
async fn turn() {
    let mut polled = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

enum Late {
    Commit(Commit),
    Delete(Key),
    Save(Key, Bytes),
}

/// A commit is a row of writes, of which the swap is conditional for everyone. One in `odds` of the writes goes wrong.
#[derive(Clone)]
struct Rough {
    inner: MemoryBackend,
    atomic: bool,
    dice: Dice,
    odds: Arc<AtomicU64>,
    late: Arc<Mutex<Vec<Late>>>,
}

impl Rough {
    fn new(atomic: bool, dice: Dice, odds: u64) -> Self {
        let odds = Arc::new(AtomicU64::new(odds));
        Self { inner: MemoryBackend::new(), atomic, dice, odds, late: Arc::default() }
    }

    fn goes_wrong(&self) -> bool {
        self.dice.one_in(self.odds.load(Ordering::Relaxed))
    }

    fn later(&self, write: Late) -> Error {
        self.late.lock().unwrap().push(write);
        unknown()
    }

    /// Lets one of the late writes take effect.
    fn land_one(&self) -> bool {
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

fn unknown() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "planned")
}

fn unavailable() -> Error {
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

fn scope(number: u8) -> ScopeId {
    ScopeId::group(&[number]).unwrap()
}

/// `len` bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    (0_u32..).flat_map(|at| Sha256::digest([&seed.to_be_bytes()[..], &at.to_be_bytes()].concat())).take(len).collect()
}

/// What was said to anybody.
#[derive(Default)]
struct Said {
    /// Generations that were used.
    used: BTreeSet<u64>,
    applied: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    tokens: u64,
    deletions: usize,
    wrong: Vec<String>,
    kinds: std::collections::BTreeMap<String, usize>,
}

const RATCHET: &[u8] = b"ratchet";

fn token_key(token: u64) -> Vec<u8> {
    format!("token/{token:08}").into_bytes()
}

/// Uses the next generation, as a client that sends does.
async fn send(client: &mut ClientStore, said: &Mutex<Said>, dice: &Dice, may_delete: bool) -> Result<()> {
    let number = dice.below(2) as u8;
    let scope = scope(number);
    let base = client.scope_version(&scope).await?;
    let old = client.record(&scope, RATCHET).await?;
    let generation = old.as_ref().map_or(0, |value| u64::from_be_bytes(value.as_slice().try_into().unwrap())) + 1;
    let token = {
        let mut said = said.lock().unwrap();
        said.tokens += 1;
        said.tokens
    };
    let mut changes = Changes::new();
    let scope = changes.scope(scope, base);
    scope.put(RATCHET, generation.to_be_bytes().to_vec().into(), None)?;
    scope.put(token_key(token), noise(token, dice.below(600) as usize + 1).into(), None)?;
    if dice.one_in(4) {
        scope.put(b"long", noise(token, dice.below(30_000) as usize).into(), None)?;
    }
    let result = client.commit(&changes).await;
    let mut said = said.lock().unwrap();
    match result {
        Ok(_) => {
            said.applied.insert(token);
            if !may_delete && !said.used.insert(u64::from(number) << 32 | generation) {
                said.wrong.push(format!("generation {generation} of scope {number} was used twice"));
            }
            Ok(())
        }
        Err(error) => {
            *said.kinds.entry(error.kind().to_string()).or_default() += 1;
            if error.kind() != ErrorKind::OutcomeUnknown {
                said.refused.insert(token);
            }
            Err(error)
        }
    }
}

async fn process(backend: Rough, seed: u64, said: Arc<Mutex<Said>>, may_sweep: bool, may_delete: bool) {
    let dice = backend.dice.clone();
    let entropy = Arc::new(SeededEntropy::new(seed));
    let Ok(keep) = Keep::open(Arc::new(backend), &encryption(), entropy).await else { return };
    let Ok(mut client) = open_or_make(&keep, may_delete).await else { return };
    loop {
        let result = match dice.below(12) {
            _ if may_delete && dice.one_in(8) => match keep.delete_client(b"alice").await {
                Ok(()) => {
                    said.lock().unwrap().deletions += 1;
                    Ok(())
                }
                other => other,
            },
            0 => client.refresh().await.map(drop),
            1 => client.gc().await.map(drop),
            2 if may_sweep => keep.sweep(&mut |_| ()).await.map(drop),
            3 => client.verify(&mut |_| ()).await.map(|found| {
                if !found.is_sound() {
                    said.lock().unwrap().wrong.push(format!("verify: {:?}", found.problems));
                }
            }),
            _ => send(&mut client, &said, &dice, may_delete).await,
        };
        if let Err(error) = result {
            use ErrorKind::{Conflict, OutcomeUnknown, Unavailable};
            if error.kind() == ErrorKind::NotFound && may_delete {
                match open_or_make(&keep, true).await {
                    Ok(another) => client = another,
                    Err(_) => return,
                }
            } else if !matches!(error.kind(), Conflict | OutcomeUnknown | Unavailable) {
                said.lock().unwrap().wrong.push(format!("{error:?}"));
            }
        }
    }
}

async fn open_or_make(keep: &Keep, may_make: bool) -> Result<ClientStore> {
    match keep.open_client(b"alice").await {
        Err(error) if error.kind() == ErrorKind::NotFound && may_make => keep.new_client(b"alice").await,
        other => other,
    }
}

/// Whether everything that the newest root names is there, as somebody sees who has seen nothing before.
async fn look(inner: &MemoryBackend) -> std::result::Result<(), String> {
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

type Running = Pin<Box<dyn Future<Output = ()>>>;

fn run(seed: u64, atomic: bool, may_delete: bool, steps: usize) -> usize {
    let case = format!("seed {seed}, atomic {atomic}, deletions {may_delete}");
    let dice = Dice::new(seed);
    let backend = Rough::new(atomic, dice.clone(), 0);
    let said = Arc::new(Mutex::new(Said::default()));
    block_on(async {
        let keep = keep_in(backend.inner.clone(), seed * 1000).await;
        keep.create_client(b"alice").await.unwrap();
    });
    backend.odds.store(5 + seed % 30, Ordering::Relaxed);
    let mut processes: Vec<Option<Running>> = (0..3).map(|_| None).collect();
    let mut begun = 0;
    let mut context = Context::from_waker(Waker::noop());
    for step in 0..steps {
        let at = dice.below(3) as usize;
        if processes[at].is_none() {
            begun += 1;
            processes[at] = Some(Box::pin(process(
                backend.clone(),
                seed * 1000 + begun,
                Arc::clone(&said),
                seed.is_multiple_of(2),
                may_delete,
            )));
        }
        let running = processes[at].as_mut().unwrap();
        if running.as_mut().poll(&mut context).is_ready() || dice.one_in(400) {
            processes[at] = None;
        }
        if dice.one_in(40) {
            backend.land_one();
        }
        if step.is_multiple_of(50)
            && let Err(wrong) = block_on(look(&backend.inner))
        {
            panic!("{case}, step {step}: {wrong}");
        }
        let said = said.lock().unwrap();
        assert!(said.wrong.is_empty(), "{case}, step {step}: {:?}", said.wrong);
    }
    processes.clear();
    while backend.land_one() {}
    block_on(look(&backend.inner)).unwrap_or_else(|wrong| panic!("{case}, at the end: {wrong}"));
    block_on(async {
        let keep = keep_in(backend.inner.clone(), 1).await;
        let said = std::mem::take(&mut *said.lock().unwrap());
        let client = match keep.open_client(b"alice").await {
            Err(error) if error.kind() == ErrorKind::NotFound && may_delete => return said.deletions,
            client => client.unwrap(),
        };
        assert!(may_delete || said.applied.len() > 3, "{case}: nothing was done: {:?}", said.kinds);
        for token in 1..=said.tokens {
            let mut there = false;
            for number in 0..2 {
                there |= client.record(&scope(number), &token_key(token)).await.unwrap().is_some();
            }
            assert!(!said.applied.contains(&token) || there || may_delete, "{case}: {token} was applied and is gone");
            assert!(!said.refused.contains(&token) || !there, "{case}: {token} was refused and is there");
        }
        said.deletions
    })
}

#[test]
fn what_was_said_stays_true_among_several_processes() {
    let seeds = std::env::var("ADVERSARY_SEEDS").map_or(12, |count| count.parse().unwrap());
    let first = std::env::var("ADVERSARY_FIRST").map_or(1, |first| first.parse().unwrap());
    for seed in first..first + seeds {
        for atomic in [true, false] {
            run(seed, atomic, false, 4000);
        }
    }
}

#[test]
fn what_was_refused_is_never_there_among_deletions() {
    let seeds = std::env::var("ADVERSARY_SEEDS").map_or(15, |count| count.parse().unwrap());
    let deletions: usize = (1..=seeds).map(|seed| run(seed, false, true, 4000)).sum();
    println!("{deletions} deletions");
    assert!(deletions > 10, "too little was deleted");
}

/// Answers as it is told: each commit takes one of `answers`.
#[derive(Clone)]
struct Answers {
    inner: MemoryBackend,
    answers: Arc<Mutex<Vec<Answer>>>,
    late: Arc<Mutex<Vec<Commit>>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Late,
    Refused,
}

impl Answers {
    fn new() -> Self {
        Self { inner: MemoryBackend::new(), answers: Arc::default(), late: Arc::default() }
    }

    /// The first of them is for the next commit, the last one for all after it.
    fn set(&self, answers: &[Answer]) {
        *self.answers.lock().unwrap() = answers.iter().rev().copied().collect();
    }

    async fn land_all(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        for commit in late {
            drop(self.inner.commit(commit).await);
        }
    }
}

#[async_trait]
impl StorageBackend for Answers {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.inner.list(prefix).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop() } else { answers.last().copied() }
        };
        match answer {
            None => self.inner.commit(commit).await,
            Some(Answer::Refused) => Err(unavailable()),
            Some(Answer::Late) => {
                self.late.lock().unwrap().push(commit);
                Err(unknown())
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

async fn put(client: &mut ClientStore, key: &str) -> Result<()> {
    let base = client.scope_version(&scope(1)).await?;
    let mut changes = Changes::new();
    changes.scope(scope(1), base).put(key.as_bytes(), b"v".to_vec().into(), None)?;
    client.commit(&changes).await.map(drop)
}

#[test]
fn a_deletion_that_may_come_late_is_not_called_refused() {
    block_on(async {
        let backend = Answers::new();
        let keep = keep_in(backend.clone(), 1).await;
        keep.create_client(b"alice").await.unwrap();
        backend.set(&[Answer::Late, Answer::Refused]);
        let refused = keep.delete_client(b"alice").await.unwrap_err();
        backend.set(&[]);
        backend.land_all().await;
        let gone = keep.open_client(b"alice").await.is_err();
        assert_eq!(refused.kind(), ErrorKind::OutcomeUnknown, "deleted after all: {gone}");
    });
}

#[test]
fn a_first_commit_that_was_called_refused_does_not_come_after_a_deletion() {
    block_on(async {
        let backend = Answers::new();
        let keep = keep_in(backend.clone(), 1).await;
        let mut client = keep.new_client(b"alice").await.unwrap();
        backend.set(&[Answer::Late]);
        let mut commit = Box::pin(put(&mut client, "first"));
        assert!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        drop(commit);
        backend.set(&[]);
        // The one in doubt is fenced off, and then it is made again.
        put(&mut client, "second").await.unwrap();
        client.delete().await.unwrap();
        backend.land_all().await;
        assert_eq!(keep.open_client(b"alice").await.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

/// Replaces all that there is.
async fn put_back(backend: &MemoryBackend, image: &[(Key, Bytes)]) {
    for key in backend.list("").await.unwrap() {
        backend.delete(&key).await.unwrap();
    }
    for (key, value) in image {
        backend.save(key, value.clone()).await.unwrap();
    }
}

/// A root remembers 17 others. Somebody puts an older state back and goes on from it, while a commit is in doubt.
#[test]
fn an_older_state_is_recognised_while_a_commit_is_in_doubt() {
    for (older, others) in (1..6).flat_map(|older| (0..40).map(move |others| (older, others))) {
        for lands in [true, false] {
            block_on(async {
                let backend = Answers::new();
                let keep = keep_in(backend.clone(), 1).await;
                let mut client = keep.create_client(b"alice").await.unwrap();
                let mut images = vec![dump(&backend.inner).await];
                for number in 0..6 {
                    put(&mut client, &number.to_string()).await.unwrap();
                    images.push(dump(&backend.inner).await);
                }
                let seen = client.number();
                backend.set(&[Answer::Late]);
                let doubt = put(&mut client, "doubt").await.unwrap_err();
                assert_eq!(doubt.kind(), ErrorKind::OutcomeUnknown);
                backend.set(&[]);
                if lands {
                    backend.land_all().await;
                }
                put_back(&backend.inner, &images[images.len() - 1 - older]).await;
                let other = keep_in(backend.inner.clone(), 2).await;
                let mut other = other.open_client(b"alice").await.unwrap();
                for number in 0..others {
                    put(&mut other, &format!("other {number}")).await.unwrap();
                }
                let before = dump(&backend.inner).await;
                let distance = other.number().saturating_sub(seen);
                let case = format!("{older} older, {others} others, landed {lands}");
                let refused = put(&mut client, "again").await;
                if distance <= 17 {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::RolledBack, "{case}");
                    backend.land_all().await;
                    assert_eq!(dump(&backend.inner).await, before, "{case}: nothing is written");
                } else {
                    // The scope is another one than the change was made from, whatever a root remembers.
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict, "{case}");
                }
            });
        }
    }
}

#[test]
fn verify_looks_at_the_newest_root() {
    block_on(async {
        let backend = MemoryBackend::new();
        let keep = keep_in(backend.clone(), 1).await;
        let mut client = keep.create_client(b"alice").await.unwrap();
        put(&mut client, "k").await.unwrap();
        let [root]: [Key; 1] = backend.list("r/").await.unwrap().try_into().unwrap();
        let whole = backend.load(&root).await.unwrap().unwrap();
        let mut damaged = whole.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        backend.save(&root, damaged.into()).await.unwrap();
        assert_eq!(client.verify(&mut |_| ()).await.map(drop).unwrap_err().kind(), ErrorKind::Corrupt);
        backend.delete(&root).await.unwrap();
        assert_eq!(client.verify(&mut |_| ()).await.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
        backend.save(&root, whole).await.unwrap();
        assert!(client.verify(&mut |_| ()).await.unwrap().is_sound());
    });
}

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
