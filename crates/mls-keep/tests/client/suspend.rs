//! A client lets go of its store, and comes back: after nothing, after another process, after a rollback.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Client, ClientSigner, Encryption, Error, ErrorKind, GroupSettings, MasterKey, MemoryBackend, Persistence,
    PersistenceManager, Received, Result, SavePolicy, Signer, StorageBackend,
};
use mls_keep_core::{Capabilities, Commit, Key};
use openmls_basic_credential::SignatureKeyPair;

use super::{bytes, gather, hear, load};

const EVERY: SavePolicy = SavePolicy::EveryOperation;
const INTERVAL: SavePolicy = SavePolicy::Interval { every: std::time::Duration::from_secs(1000), reserve: 6 };

/// A store of which one handle at a time can be open, as of a file with a lock.
#[derive(Clone)]
struct Disk {
    contents: Arc<Mutex<MemoryBackend>>,
    is_locked: Arc<AtomicBool>,
    loads: Arc<AtomicUsize>,
    loses_replies: Arc<AtomicBool>,
}

impl Disk {
    fn new() -> Self {
        let (is_locked, loads, loses_replies) = Default::default();
        Self { contents: Arc::new(Mutex::new(MemoryBackend::new())), is_locked, loads, loses_replies }
    }

    fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        match self.is_locked.swap(true, Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Busy, "somebody else has it")),
            false => Ok(Arc::new(Handle { disk: self.clone(), is_open: AtomicBool::new(true) })),
        }
    }

    fn keep(&self) -> PersistenceManager {
        let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
        block_on(PersistenceManager::builder_shared(self.open().unwrap()).encryption(encryption).open()).unwrap()
    }

    /// All that it holds now, as another disk.
    fn copy(&self) -> MemoryBackend {
        let (from, to) = (self.contents.lock().unwrap().clone(), MemoryBackend::new());
        block_on(async {
            for key in from.list("").await.unwrap() {
                to.save(&key, from.load(&key).await.unwrap().unwrap()).await.unwrap();
            }
        });
        to
    }

    fn replace(&self, contents: MemoryBackend) {
        *self.contents.lock().unwrap() = contents;
    }
}

struct Handle {
    disk: Disk,
    is_open: AtomicBool,
}

impl Handle {
    fn contents(&self) -> Result<MemoryBackend> {
        match self.is_open.load(Ordering::Relaxed) {
            true => Ok(self.disk.contents.lock().unwrap().clone()),
            false => Err(Error::new(ErrorKind::Poisoned, "closed")),
        }
    }
}

#[async_trait::async_trait]
impl StorageBackend for Handle {
    async fn load(&self, key: &Key) -> Result<Option<bytes::Bytes>> {
        self.disk.loads.fetch_add(1, Ordering::Relaxed);
        self.contents()?.load(key).await
    }

    async fn save(&self, key: &Key, data: bytes::Bytes) -> Result<()> {
        self.contents()?.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.contents()?.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.contents()?.list(prefix).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let contents = self.contents()?;
        contents.commit(commit).await?;
        match self.disk.loses_replies.load(Ordering::Relaxed) {
            true => {
                self.is_open.store(false, Ordering::Relaxed);
                Err(Error::new(ErrorKind::OutcomeUnknown, "no reply"))
            }
            false => Ok(()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.disk.contents.lock().unwrap().capabilities()
    }

    async fn close(&self) -> Result<()> {
        self.is_open.store(false, Ordering::Relaxed);
        self.disk.is_locked.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Alice on a disk, in a group with bob, who is only in memory.
struct World {
    disk: Disk,
    alice: Client,
    bob: Client,
    group: GroupId,
}

impl World {
    fn new(save: SavePolicy) -> Self {
        let disk = Disk::new();
        let mut alice = super::client(&disk.keep(), "alice", save);
        let mut bob = block_on(Client::builder("bob").create()).unwrap();
        let group = block_on(alice.create_group("tea")).unwrap();
        gather(&mut alice, &group, &mut [&mut bob]);
        Self { disk, alice, bob, group }
    }

    fn say(&mut self, text: &str) {
        say(&mut self.alice, &mut self.bob, &self.group, text);
    }

    fn suspend(&mut self) {
        block_on(self.alice.suspend()).unwrap();
    }

    fn resume(&mut self) -> Result<bool> {
        block_on(self.alice.resume(self.disk.open().unwrap()))
    }

    /// What another process does with the client meanwhile.
    fn elsewhere<T>(&mut self, f: impl FnOnce(&mut Client, &mut Client, &GroupId) -> T) -> T {
        let manager = self.disk.keep();
        let done = f(&mut load(&manager, "alice"), &mut self.bob, &self.group);
        block_on(manager.close()).unwrap();
        done
    }
}

fn say(from: &mut Client, to: &mut Client, group: &GroupId, text: &str) {
    let message = block_on(from.send(group, text)).unwrap();
    assert_eq!(hear(to, &message), text);
}

#[test]
fn a_suspended_client_holds_nothing_does_nothing_and_goes_on_from_memory() {
    for save in [EVERY, INTERVAL, SavePolicy::Manual] {
        let mut world = World::new(save);
        world.say("before");
        world.suspend();
        world.suspend();
        let group = world.group.clone();
        let refused = [
            block_on(world.alice.send(&group, "x")).map(drop),
            block_on(world.alice.history(&group, 1)).map(drop),
            block_on(world.alice.group(&group)).map(drop),
            block_on(world.alice.groups()).map(drop),
            block_on(world.alice.key_package()).map(drop),
            block_on(world.alice.changed_elsewhere()).map(drop),
            block_on(world.alice.refresh()).map(drop),
        ];
        assert!(
            refused.iter().all(|refused| refused.as_ref().unwrap_err().kind() == ErrorKind::Poisoned),
            "{refused:?}"
        );
        world.disk.open().unwrap();
        world.disk.is_locked.store(false, Ordering::Relaxed);
        assert!(!world.resume().unwrap());
        assert!(world.disk.open().is_err(), "it is held again");
        let before = world.disk.loads.load(Ordering::Relaxed);
        block_on(world.alice.group(&group)).unwrap();
        assert_eq!(world.disk.loads.load(Ordering::Relaxed), before, "the group was in memory all the while");
        world.say("after");
        let again = block_on(world.alice.resume(Arc::new(MemoryBackend::new()))).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Invalid, "{again:?}");
        world.say("an error of before has changed nothing");
    }
}

/// An extension that shows notifications, while the application is suspended.
#[test]
fn what_another_process_did_meanwhile_is_taken_over() {
    for save in [EVERY, INTERVAL] {
        let mut world = World::new(save);
        world.say("before");
        let message = bytes(&block_on(world.bob.send(&world.group, "to the extension")).unwrap());
        world.suspend();
        world.elsewhere(|alice, bob, group| {
            block_on(alice.receive(&message)).unwrap();
            say(alice, bob, group, "from the extension");
        });
        assert!(world.resume().unwrap());
        let again = block_on(world.alice.receive(&message)).unwrap();
        assert!(matches!(again, Received::AlreadyReceived(Some(_))), "{again:?}");
        world.say("after");
        let texts = block_on(world.alice.history(&world.group, 10)).unwrap();
        let texts: Vec<_> = texts.into_iter().map(|message| String::from_utf8(message.content).unwrap()).collect();
        assert_eq!(texts, ["before", "to the extension", "from the extension", "after"]);
    }
}

/// Each of several clients of a keep reads the newest state before it uses a key, whichever of them has resumed the keep.
#[test]
fn every_client_of_the_keep_goes_on_from_what_is_there_then() {
    let mut world = World::new(INTERVAL);
    world.say("reserves");
    let keep = world.alice.store().unwrap().keep().clone();
    // Not saved: what the other process finds is a reservation.
    block_on(keep.close()).unwrap();
    world.elsewhere(|alice, bob, group| say(alice, bob, group, "from elsewhere"));
    block_on(keep.resume(world.disk.open().unwrap())).unwrap();
    world.say("after");
    world.say("and after");
}

#[test]
fn what_waited_is_saved_and_nothing_is_skipped_when_the_process_is_killed_while_it_is_suspended() {
    let mut world = World::new(INTERVAL);
    for text in ["one", "two", "three"] {
        world.say(text);
    }
    assert!(world.alice.has_unsaved());
    world.suspend();
    assert!(!world.alice.has_unsaved());
    world.elsewhere(|alice, bob, group| {
        let generation = alice.store().unwrap().number();
        assert_eq!(block_on(alice.history(group, 10)).unwrap().len(), 3);
        let message = block_on(alice.send(group, "four")).unwrap();
        assert_eq!(alice.store().unwrap().number(), generation + 1, "no reservation was burned");
        assert_eq!(hear(bob, &message), "four");
    });
}

#[test]
fn an_older_state_that_was_put_in_place_meanwhile_is_refused_until_the_newest_is_back() {
    for save in [EVERY, INTERVAL, SavePolicy::Manual] {
        let mut world = World::new(save);
        block_on(world.alice.save()).unwrap();
        let old = world.disk.copy();
        world.say("after the copy");
        block_on(world.alice.save()).unwrap();
        world.suspend();
        let newest = world.disk.copy();
        world.disk.replace(old);
        for _ in 0..2 {
            assert_eq!(world.resume().unwrap_err().kind(), ErrorKind::RolledBack, "{save:?}");
            assert!(!world.disk.is_locked.load(Ordering::Relaxed), "nothing is held");
        }
        // Also where the client is not asked: no call goes on from what is in memory, or in the store.
        let keep = world.alice.store().unwrap().keep().clone();
        block_on(keep.resume(world.disk.open().unwrap())).unwrap();
        assert_eq!(block_on(world.alice.send(&world.group, "x")).unwrap_err().kind(), ErrorKind::RolledBack);
        assert_eq!(block_on(world.alice.group(&world.group)).unwrap_err().kind(), ErrorKind::RolledBack);
        // Somebody goes on from the older state, and it is ahead by number.
        block_on(keep.close()).unwrap();
        let manager = world.disk.keep();
        let mut fork = load(&manager, "alice");
        for _ in 0..6 {
            block_on(fork.key_package()).unwrap();
        }
        block_on(manager.close()).unwrap();
        assert_eq!(world.resume().unwrap_err().kind(), ErrorKind::RolledBack, "{save:?}");
        world.disk.replace(newest);
        assert!(!world.resume().unwrap());
        world.say("the newest is back");
    }
}

#[test]
fn a_store_that_is_not_this_keeps_is_refused_and_given_up() {
    let mut world = World::new(EVERY);
    world.suspend();
    let other = Disk::new();
    super::client(&other.keep(), "alice", EVERY);
    other.is_locked.store(false, Ordering::Relaxed);
    let empty = Disk::new();
    for (disk, kind) in [(&other, ErrorKind::Invalid), (&empty, ErrorKind::NotFound)] {
        assert_eq!(block_on(world.alice.resume(disk.open().unwrap())).unwrap_err().kind(), kind);
        assert!(!disk.is_locked.load(Ordering::Relaxed), "what is refused is closed");
    }
    let weaker = Weaker(world.disk.open().unwrap());
    assert_eq!(block_on(world.alice.resume(Arc::new(weaker))).unwrap_err().kind(), ErrorKind::Invalid);
    world.resume().unwrap();
    world.say("after");

    world.suspend();
    let manager = world.disk.keep();
    block_on(manager.delete_client("alice")).unwrap();
    super::client(&manager, "alice", EVERY);
    block_on(manager.close()).unwrap();
    assert_eq!(world.resume().unwrap_err().kind(), ErrorKind::NotFound, "another client of the same name");
    assert_eq!(block_on(world.alice.send(&world.group, "x")).unwrap_err().kind(), ErrorKind::Poisoned);

    let mut in_memory = block_on(Client::builder("carol").create()).unwrap();
    assert_eq!(block_on(in_memory.suspend()).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(block_on(in_memory.resume(Arc::new(MemoryBackend::new()))).unwrap_err().kind(), ErrorKind::Invalid);
}

struct Weaker(Arc<dyn StorageBackend>);

#[async_trait::async_trait]
impl StorageBackend for Weaker {
    async fn load(&self, key: &Key) -> Result<Option<bytes::Bytes>> {
        self.0.load(key).await
    }

    async fn save(&self, key: &Key, data: bytes::Bytes) -> Result<()> {
        self.0.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.0.list(prefix).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

/// The connection broke under the last commit, and it is not known whether it was applied.
#[test]
fn a_commit_of_unknown_outcome_is_settled_after_the_client_has_come_back() {
    let mut world = World::new(EVERY);
    world.disk.loses_replies.store(true, Ordering::Relaxed);
    let group = world.group.clone();
    assert_eq!(block_on(world.alice.send(&group, "who knows")).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    world.disk.loses_replies.store(false, Ordering::Relaxed);
    // It cannot be found out now, so that nothing is suspended; without a save it is closed.
    assert_eq!(block_on(world.alice.suspend()).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    block_on(world.alice.store().unwrap().keep().close()).unwrap();
    world.resume().unwrap();
    assert_eq!(block_on(world.alice.history(&group, 10)).unwrap().len(), 1, "it was applied");
    // It never left, and its key is not used again.
    world.say("after");
}

struct Enclave(SignatureKeyPair);

impl Signer for Enclave {
    fn sign(&self, payload: &[u8]) -> std::result::Result<Vec<u8>, mls_keep::SignerError> {
        self.0.sign(payload)
    }

    fn signature_scheme(&self) -> mls_keep::openmls::prelude::SignatureScheme {
        mls_keep::openmls::prelude::SignatureScheme::ED25519
    }
}

#[test]
fn signers_policies_and_settings_are_as_they_were() {
    let disk = Disk::new();
    let pair = SignatureKeyPair::new(mls_keep::openmls::prelude::SignatureScheme::ED25519).unwrap();
    let signer = ClientSigner::external(pair.to_public_vec(), Arc::new(Enclave(pair)));
    let persistence = Persistence { manager: disk.keep(), save: INTERVAL };
    let settings = GroupSettings::new().maximum_forward_distance(100);
    let builder = Client::builder("alice").signer(signer).settings(settings).persistence(persistence);
    let mut alice = block_on(builder.create()).unwrap();
    alice.set_outbox(true);
    block_on(alice.suspend()).unwrap();
    block_on(alice.resume(disk.open().unwrap())).unwrap();
    assert_eq!(alice.save_policy(), INTERVAL);
    assert!(alice.missing_signers().unwrap().is_empty());
    let group = block_on(alice.create_group("tea")).unwrap();
    block_on(alice.send(&group, "x")).unwrap();
    assert_eq!(block_on(alice.outbox(&group)).unwrap().len(), 1);
    let too_much = SavePolicy::Interval { every: std::time::Duration::from_secs(1), reserve: 51 };
    assert_eq!(alice.set_save_policy(too_much).unwrap_err().kind(), ErrorKind::Invalid);
}
