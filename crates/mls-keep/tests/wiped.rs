//! Nothing of mls-keep that holds a message, a record or a name is freed before it is wiped: an allocator looks at every
//! freed block. What OpenMLS frees is OpenMLS's: it leaves the plaintext of every message that it encrypts or decrypts.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use freed_memory::{Finds, Turn, Watching, marked, marker};
use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, Encryption, Error, ErrorKind, MasterKey, MemoryBackend, PersistenceManager, Received, Result,
    Scope, StorageBackend,
};
use mls_keep_core::{Commit, Key};
use zeroize::{Zeroize, Zeroizing};

#[global_allocator]
static ALLOCATOR: Watching = Watching;

// What the markers stand for.
const MESSAGE: u8 = 1;
const RECORD_VALUE: u8 = 2;
const RECORD_KEY: u8 = 3;
const LONG_VALUE: u8 = 5;

/// A memory backend of which the n-th commit from now on fails or never ends.
#[derive(Clone)]
struct Bad {
    inner: MemoryBackend,
    fail_in: Arc<AtomicUsize>,
    kind: Option<ErrorKind>,
}

const NEVER: usize = usize::MAX;

#[async_trait::async_trait]
impl StorageBackend for Bad {
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
        match self.fail_in.load(Ordering::Relaxed) {
            NEVER => self.inner.commit(commit).await,
            0 => match self.kind {
                Some(kind) => Err(Error::new(kind, "refused")),
                None => std::future::pending().await,
            },
            left => {
                self.fail_in.store(left - 1, Ordering::Relaxed);
                self.inner.commit(commit).await
            }
        }
    }
}

/// Alice and Bob in a group, each in a keep of their own.
struct World {
    turn: Rc<Turn>,
    bobs: Bad,
    bobs_keep: PersistenceManager,
    alice: Client,
    bob: Client,
    group: GroupId,
}

async fn keep(backend: impl StorageBackend) -> PersistenceManager {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    PersistenceManager::builder(backend).encryption(encryption).open().await.unwrap()
}

async fn client(name: &str, manager: &PersistenceManager) -> Client {
    manager.client_builder(name).create().await.unwrap()
}

impl World {
    fn new(kind: Option<ErrorKind>) -> Self {
        let turn = Rc::new(Turn::take());
        block_on(async {
            let bobs = Bad { inner: MemoryBackend::new(), fail_in: Arc::new(AtomicUsize::new(NEVER)), kind };
            let bobs_keep = keep(bobs.clone()).await;
            let mut alice = client("alice", &keep(MemoryBackend::new()).await).await;
            let mut bob = client("bob", &bobs_keep).await;
            let group = alice.create_group("tea").await.unwrap();
            let key_package = bob.key_package().await.unwrap().to_bytes().unwrap();
            let invitation = alice.commit_at_once(&group, Change::new().invite([key_package])).await.unwrap();
            bob.join(invitation.welcome.unwrap()).await.unwrap();
            Self { turn, bobs, bobs_keep, alice, bob, group }
        })
    }

    fn message(&mut self) -> Vec<u8> {
        let text = Zeroizing::new(marked(MESSAGE, 300));
        block_on(self.alice.send(&self.group, &*text)).unwrap().to_bytes().unwrap()
    }
}

/// Whose source files and types these are. Nothing of ours is called as a crate of OpenMLS is.
const THEIRS: &[&str] = &["/openmls", "openmls::"];
const OURS: &[&str] = &["crates/mls-keep", "mls_keep::", "mls_keep_core::"];

fn watch<T>(turn: &Turn, f: impl FnOnce() -> T) -> (T, Finds) {
    turn.watch_all_but(THEIRS, OURS, f)
}

fn nothing(finds: &Finds) {
    assert!(finds.is_empty(), "freed with markers (number, blocks): {finds:?}; FREED_MEMORY_BACKTRACE=1 shows where");
}

/// What the application is given is the application's: this does with it what it should.
fn wiping(received: Received) {
    let (Received::Message(mut message) | Received::AlreadyReceived(Some(mut message))) = received else {
        panic!("no message: {received:?}")
    };
    message.content.zeroize();
}

#[test]
fn what_is_not_wiped_is_found() {
    let mut world = World::new(None);
    let message = world.message();
    let (_, finds) = watch(&Rc::clone(&world.turn), || block_on(world.bob.receive(&message)).unwrap());
    nothing(&finds);
    let history = block_on(world.bob.history(&world.group, 10)).unwrap();
    let ((), finds) = watch(&Rc::clone(&world.turn), || drop(history));
    assert_eq!(finds, [(MESSAGE, 1)], "history that the application drops as it is");
}

#[test]
fn messages_and_history_are_wiped() {
    let mut world = World::new(None);
    let (first, text) = (world.message(), Zeroizing::new(marked(MESSAGE, 3000)));
    let group = world.group.clone();
    let ((), finds) = watch(&Rc::clone(&world.turn), || {
        wiping(block_on(world.bob.receive(&first)).unwrap());
        wiping(block_on(world.bob.receive(&first)).unwrap());
        block_on(world.bob.send(&group, &*text)).unwrap();
        block_on(world.bob.commit_at_once(&group, Change::new().update())).unwrap();
        let mut bob = block_on(world.bobs_keep.load_client_state("bob")).unwrap();
        let history = block_on(bob.history(&group, 10)).unwrap();
        assert_eq!(history.len(), 2);
        history.into_iter().for_each(|mut message| message.content.zeroize());
        block_on(bob.forget_group(&group)).unwrap();
        drop(bob);
    });
    nothing(&finds);
}

#[test]
fn the_records_of_the_application_are_wiped() {
    let mut world = World::new(None);
    let scope = Scope::Group(world.group.clone());
    let (group, key) = (world.group.clone(), Zeroizing::new(marker(RECORD_KEY)));
    let (value, long) = (marked(RECORD_VALUE, 900), marked(LONG_VALUE, 200_000));
    let (doomed, over) = (marked(RECORD_VALUE, 900), marked(RECORD_VALUE, 100));
    let ((), finds) = watch(&Rc::clone(&world.turn), || {
        block_on(world.bob.transact(&group, |tx| {
            tx.records.put(&*key, value)?;
            tx.records.put([key.as_slice(), b"long"].concat().zeroizing(), long)?;
            assert!(tx.records.put([0; 600], over).is_err());
            Ok(())
        }))
        .unwrap();
        let aborted = block_on(world.bob.transact(&group, |tx| {
            tx.records.put(&*key, doomed)?;
            Err::<(), _>("no".into())
        }));
        assert_eq!(aborted.unwrap_err().kind(), ErrorKind::Aborted);
        assert!(block_on(world.bob.record(&scope, &*key)).unwrap().is_some());
        let mut records = block_on(world.bob.records(&scope, &*key, 10)).unwrap();
        assert_eq!(records.len(), 2);
        records.iter_mut().for_each(|(key, _)| key.zeroize());
        drop(records);
        let mut bob = block_on(world.bobs_keep.load_client_state("bob")).unwrap();
        block_on(bob.transact(&group, |tx| Ok(tx.records.delete(&*key)?))).unwrap();
        block_on(bob.forget_group(&group)).unwrap();
        drop(bob);
    });
    nothing(&finds);
}

/// Makes what a test puts together wipe itself.
trait IntoZeroizing {
    fn zeroizing(self) -> Zeroizing<Vec<u8>>;
}

impl IntoZeroizing for Vec<u8> {
    fn zeroizing(self) -> Zeroizing<Vec<u8>> {
        self.into()
    }
}

#[test]
fn a_message_that_could_not_be_made_durable_is_wiped() {
    for kind in [Some(ErrorKind::Unavailable), Some(ErrorKind::Conflict), None] {
        let mut world = World::new(kind);
        let (message, text) = (world.message(), Zeroizing::new(marked(MESSAGE, 500)));
        let group = world.group.clone();
        world.bobs.fail_in.store(0, Ordering::Relaxed);
        let ((), finds) = watch(&Rc::clone(&world.turn), || {
            poll_once(world.bob.receive(&message), kind);
            poll_once(world.bob.send(&group, &*text), kind);
        });
        nothing(&finds);
        world.bobs.fail_in.store(NEVER, Ordering::Relaxed);
        wiping(block_on(world.bob.receive(&message)).unwrap());
    }
}

/// Polls once, expecting an error of `kind` or none yet, and drops the future.
fn poll_once<T>(future: impl Future<Output = Result<T>>, kind: Option<ErrorKind>) {
    match Box::pin(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => assert_eq!(result.err().map(|error| error.kind()), kind),
        Poll::Pending => assert_eq!(kind, None),
    }
}
