//! Reading beside a client that is being used.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use futures_executor::block_on;
use mls_keep::{
    Client, Encryption, ErrorKind, MasterKey, MemoryBackend, PersistenceManager, Result, Retention, SavePolicy, Scope,
    StorageBackend,
};
use mls_keep_core::{Capabilities, Commit, Key};

use super::{client, gather, hear, keep, keep_on, load};

type Contents = Vec<(Key, bytes::Bytes)>;

fn copy_of(store: &MemoryBackend) -> Contents {
    block_on(async {
        let keys = store.list("").await.unwrap();
        let values = store.load_many(&keys).await.unwrap();
        keys.into_iter().zip(values.into_iter().flatten()).collect()
    })
}

fn put_back(store: &MemoryBackend, contents: &Contents) {
    for (key, value) in contents {
        block_on(store.save(key, value.clone())).unwrap();
    }
}

#[test]
fn what_is_stored_is_read_while_the_client_is_being_used() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    for number in 0..10 {
        block_on(alice.send(&group, number.to_string())).unwrap();
    }
    let (reader, other) = (alice.reader().unwrap(), manager.reader("alice"));
    let mut session = block_on(alice.begin(std::slice::from_ref(&group))).unwrap();
    let mut tx = session.transaction().unwrap();
    tx.send(b"not committed", b"").unwrap();
    tx.records.put("draft", "x").unwrap();
    let scope = Scope::Group(group.clone());
    for reader in [&reader, &other] {
        assert_eq!(block_on(reader.groups()).unwrap(), [(group.clone(), "tea".to_owned())]);
        let texts = |messages: Vec<mls_keep::Message>| -> Vec<_> {
            messages.into_iter().map(|message| String::from_utf8(message.content).unwrap()).collect()
        };
        assert_eq!(texts(block_on(reader.history(&group, 3)).unwrap()), ["7", "8", "9"]);
        assert_eq!(texts(block_on(reader.history_before(&group, 3, 2)).unwrap()), ["1", "2"]);
        assert_eq!(texts(block_on(reader.history_after(&group, 3, 2)).unwrap()), ["4", "5"]);
        assert_eq!(block_on(reader.record(&scope, "draft")).unwrap().map(|_| ()), None);
    }
    block_on(session.commit()).unwrap();
    assert_eq!(block_on(reader.history(&group, 99)).unwrap().len(), 11);
    let draft = block_on(reader.records(&scope, "dr", 9)).unwrap();
    assert_eq!(
        draft.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect::<Vec<_>>(),
        [(b"draft".as_slice(), b"x".as_slice())]
    );
    assert_eq!(block_on(reader.history(&group, 99)).unwrap(), block_on(alice.history(&group, 99)).unwrap());

    // What waits for a save is not stored.
    let mut at_interval = load(&manager, "bob");
    at_interval.set_save_policy(SavePolicy::Interval { every: Duration::from_secs(999), reserve: 9 }).unwrap();
    let of_bob = at_interval.reader().unwrap();
    block_on(at_interval.send(&group, "reserves, and is stored")).unwrap();
    let message = block_on(at_interval.send(&group, "waits")).unwrap();
    assert_eq!(block_on(of_bob.history(&group, 9)).unwrap().len(), 1);
    block_on(at_interval.save()).unwrap();
    assert_eq!(block_on(of_bob.history(&group, 9)).unwrap().len(), 2);
    assert_eq!(hear(&mut alice, &message), "waits");

    // What is past its time is not shown.
    block_on(alice.set_retention(&group, Retention::all().age(Duration::from_secs(60)))).unwrap();
    alice.set_wall_clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000_000));
    assert!(block_on(alice.reader().unwrap().history(&group, 99)).unwrap().is_empty());
    assert!(!block_on(manager.reader("alice").history(&group, 99)).unwrap().is_empty());
}

#[test]
fn nothing_older_is_shown_than_was_shown_before() {
    let store = MemoryBackend::new();
    let manager = keep_on(store.clone());
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    let copy = copy_of(&store);
    let reader = alice.reader().unwrap();
    block_on(alice.send(&group, "x")).unwrap();
    assert_eq!(block_on(reader.history(&group, 9)).unwrap().len(), 1);
    put_back(&store, &copy);
    assert_eq!(block_on(reader.history(&group, 9)).unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(block_on(reader.clone().groups()).unwrap_err().kind(), ErrorKind::RolledBack);
    block_on(manager.close()).unwrap();
    assert_eq!(block_on(reader.groups()).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(block_on(keep().reader("nobody").groups()).unwrap_err().kind(), ErrorKind::NotFound);
    let in_memory = block_on(Client::builder("carol").create()).unwrap();
    assert_eq!(in_memory.reader().unwrap_err().kind(), ErrorKind::Invalid);
}

/// Numbers alone say less: a fork soon has a greater one, and so has another client of the same name.
#[test]
fn what_does_not_come_after_what_was_shown_is_not_shown() {
    let store = MemoryBackend::new();
    let manager = keep_on(store.clone());
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    let copy = copy_of(&store);
    let readers = [alice.reader().unwrap(), manager.reader("alice")];
    block_on(alice.send(&group, "x")).unwrap();
    let shown = |count| {
        for reader in &readers {
            assert_eq!(block_on(reader.history(&group, 9)).unwrap().len(), count);
        }
    };
    shown(1);
    let kept = copy_of(&store);
    put_back(&store, &copy);
    let mut forked = load(&keep_on(store.clone()), "alice");
    for _ in 0..3 {
        block_on(forked.send(&group, "y")).unwrap();
        for reader in &readers {
            assert_eq!(block_on(reader.history(&group, 9)).unwrap_err().kind(), ErrorKind::RolledBack);
        }
    }
    put_back(&store, &kept);
    block_on(alice.send(&group, "z")).unwrap();
    shown(2);

    drop(alice);
    block_on(manager.delete_client("alice")).unwrap();
    let mut another = client(&manager, "alice", SavePolicy::EveryOperation);
    for _ in 0..6 {
        for reader in &readers {
            assert_eq!(block_on(reader.groups()).unwrap_err().kind(), ErrorKind::NotFound);
        }
        block_on(another.create_group("tea")).unwrap();
    }
    assert_eq!(block_on(manager.reader("alice").groups()).unwrap().len(), 6);
}

/// A store that keeps its next answer back until it is asked a second time.
#[derive(Clone)]
struct Slow {
    store: MemoryBackend,
    waits: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl StorageBackend for Slow {
    async fn load(&self, key: &Key) -> Result<Option<bytes::Bytes>> {
        let loaded = self.store.load(key).await;
        let poll = |_: &mut Context<'_>| match self.waits.swap(false, Ordering::Relaxed) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        };
        poll_fn(poll).await;
        loaded
    }

    async fn save(&self, key: &Key, data: bytes::Bytes) -> Result<()> {
        self.store.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.store.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.store.list(prefix).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.store.commit(commit).await
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}

/// One of two that read at once is slower, and nothing is wrong with the store.
#[test]
fn what_another_one_reads_meanwhile_is_no_rollback() {
    let slow = Slow { store: MemoryBackend::new(), waits: Arc::default() };
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    let manager = block_on(PersistenceManager::builder(slow.clone()).encryption(encryption).open()).unwrap();
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let (one, other) = (manager.reader("alice"), manager.reader("alice"));
    for reader in [(&one, one.clone()), (&other, other.clone())] {
        let before = block_on(reader.0.groups()).unwrap().len();
        slow.waits.store(true, Ordering::Relaxed);
        let mut reading = pin!(reader.0.groups());
        assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        block_on(alice.create_group("tea")).unwrap();
        assert_eq!(block_on(reader.1.groups()).unwrap().len(), before + 1);
        let groups = block_on(reading).unwrap().len();
        assert!(groups == before || groups == before + 1);
    }
}
