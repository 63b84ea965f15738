//! Fuzz targets of records and of messages.
//!
//! Records are sealed: who can write a record has the client's key, such as a version of this program with a defect. What
//! others send is not sealed by anything that this crate trusts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures_executor::block_on;
use fuzzing::Target;
use mls_keep_core::{Changes, Key, RecordRange, ScopeId};
use openmls::group::{GroupId, MlsGroup};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;
use serde::{Deserialize, Serialize};

use crate::client::of_nobody;
use crate::provider::{Provider, Records, TransactionStorage};
use crate::records::Kind;
use crate::{
    Change, Client, Encryption, ErrorKind, MasterKey, MemoryBackend, Persistence, PersistenceManager, Received,
    StorageBackend, Value,
};

type Stored = BTreeMap<Key, Bytes>;
type Kept = Vec<(Vec<u8>, Vec<u8>)>;

/// Bob after he and Alice have talked in a group, when he has something of every kind. In a file, with the keys that were
/// drawn then: an input that fails does so in the next run, too.
#[derive(Deserialize, Serialize)]
struct World {
    group: Vec<u8>,
    /// His records, as plaintext: what they are sealed in has versions of its own.
    own: Kept,
    in_group: Kept,
    /// To Bob, who has not received it.
    message: Vec<u8>,
    /// To Bob, who has received it.
    received: Vec<u8>,
    /// One MLS message of each kind, a Welcome and a key package of his own at the end.
    messages: Vec<Vec<u8>>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../integration-tests/fuzzing/corpus/mls-keep/world");
    if std::env::var_os("MLS_KEEP_WRITE_CORPUS").is_some() {
        std::fs::write(path, rmp_serde::to_vec(&block_on(World::new()).unwrap()).unwrap()).unwrap();
    }
    rmp_serde::from_slice(&std::fs::read(path).unwrap()).unwrap()
});

impl World {
    async fn new() -> crate::Result<Self> {
        let manager = open(MemoryBackend::new()).await;
        let persistence = Persistence { manager, save: Default::default() };
        let mut alice = Client::builder("alice").persistence(persistence.clone()).create().await?;
        let mut bob = Client::builder("bob").persistence(persistence).create().await?;
        bob.set_outbox(true);
        let group = alice.create_group("tea").await?;
        let used = bob.key_package().await?.to_bytes().unwrap();
        let invitation = alice.commit_at_once(&group, Change::new().invite([used])).await?;
        bob.join(invitation.welcome.unwrap()).await?;
        bob.key_package().await?;
        let received = alice.send(&group, "at five?").await?.to_bytes().unwrap();
        bob.receive(&received).await?;
        bob.send(&group, "yes").await?;
        let other = alice.create_group("coffee").await?;
        let package = bob.key_package().await?.to_bytes().unwrap();
        let welcome =
            alice.commit_at_once(&other, Change::new().invite(std::slice::from_ref(&package))).await?.welcome.unwrap();
        let message = alice.send(&group, "so be it").await?.to_bytes().unwrap();
        let own = records(&bob, &ScopeId::client()).await?;
        let in_group = records(&bob, &ScopeId::group(group.as_slice())?).await?;
        // After what is kept: nobody has received these.
        let proposal = bob.leave(&group).await?.to_bytes().unwrap();
        let commit = alice.commit_at_once(&group, Change::new().update()).await?.commit;
        let messages = [message.clone(), received.clone(), proposal, commit, welcome, package].into();
        Ok(Self { group: group.as_slice().to_vec(), own, in_group, message, received, messages })
    }

    fn group(&self) -> GroupId {
        GroupId::from_slice(&self.group)
    }

    fn scopes(&self) -> [(ScopeId, &Kept); 2] {
        [(ScopeId::group(&self.group).unwrap(), &self.in_group), (ScopeId::client(), &self.own)]
    }

    /// A keep with Bob in it.
    fn stored(&self) -> Stored {
        let backend = MemoryBackend::new();
        block_on(async {
            let mut bob = open(backend.clone()).await.keep().create_client(b"bob").await?;
            let mut changes = Changes::new();
            for (scope, records) in self.scopes() {
                let changed = changes.scope(scope, None);
                for (key, value) in records {
                    changed.put(key.to_vec(), Value::from(value.clone()), None)?;
                }
            }
            bob.commit(&changes).await?;
            let keys = backend.list("").await?;
            let values = backend.load_many(&keys).await?;
            Ok::<_, crate::Error>(keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect())
        })
        .unwrap()
    }
}

async fn opened(stored: &Stored) -> PersistenceManager {
    let backend = MemoryBackend::new();
    for (key, value) in stored {
        backend.save(key, value.clone()).await.unwrap();
    }
    open(backend).await
}

async fn open(backend: MemoryBackend) -> PersistenceManager {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    PersistenceManager::builder(backend).encryption(encryption).open().await.unwrap()
}

async fn records(client: &Client, scope: &ScopeId) -> crate::Result<Kept> {
    let records = client.store().unwrap().records(scope, &RecordRange::all()).await?;
    Ok(records.into_iter().map(|record| (record.key.to_vec(), record.value.as_slice().to_vec())).collect())
}

/// One seed for each kind of record: its place, and what it holds.
fn one_of_each_kind<'r>(records: impl Iterator<Item = (&'r Vec<u8>, &'r Vec<u8>)>) -> Vec<Vec<u8>> {
    let mut kinds = std::collections::BTreeSet::new();
    let numbered = records.enumerate().filter(|(_, (key, _))| kinds.insert(key.first().copied()));
    numbered.map(|(at, (_, value))| [&[at as u8][..], value].concat()).collect()
}

/// Everything that OpenMLS keeps of a group and of a client, through the codec of the provider.
#[test]
fn mls_record() {
    let stored = WORLD.stored();
    let bob = block_on(async { opened(&stored).await.load_client_state("bob").await }).unwrap();
    let all: Vec<_> = WORLD.in_group.iter().chain(&WORLD.own).collect();
    let (signature_key, scheme) = (bob.credential().signature_key.clone(), bob.ciphersuite().signature_algorithm());
    let seeds = one_of_each_kind(all.iter().map(|(key, value)| (key, value)));
    assert!(seeds.len() > 14, "{} kinds", seeds.len());
    let crypto = Arc::new(RustCrypto::default());
    // As deep as the codec reads, 1 MiB for each level.
    Target::new(env!("CARGO_PKG_NAME"), "mls_record").seeds(seeds).memory(128 << 20).run(|input| {
        let Some((at, value)) = input.split_first() else { return };
        let at = usize::from(*at) % all.len();
        let records = all.iter().enumerate().map(|(place, (key, kept))| {
            (key.as_slice().into(), Value::from(if place == at { value.to_vec() } else { kept.clone() }))
        });
        let (in_group, own): (Vec<_>, Vec<_>) =
            records.enumerate().partition(|(place, _)| *place < WORLD.in_group.len());
        let collect =
            |records: Vec<(usize, _)>| Arc::new(records.into_iter().map(|(_, record)| record).collect::<Records>());
        let groups = BTreeMap::from([(WORLD.group.as_slice().into(), collect(in_group))]);
        let storage = TransactionStorage::new(collect(own), groups);
        drop(SignatureKeyPair::read(&storage, signature_key.as_slice(), scheme));
        if let Ok(Some(group)) = MlsGroup::load(&storage, &WORLD.group()) {
            let provider = Provider::new(Arc::clone(&crypto), storage);
            look_at(&group, &provider);
        }
    });
}

/// What a program does with a group that it has loaded.
fn look_at(group: &MlsGroup, provider: &Provider<RustCrypto>) {
    use openmls::prelude::OpenMlsProvider as _;
    let _ = (group.epoch(), group.is_active(), group.ciphersuite());
    let _ = group.members().count();
    let _ = group.pending_proposals().count();
    drop(group.export_secret(provider.crypto(), "label", b"context", 32));
}

/// The records of this crate, in a store that is then used.
#[test]
fn record() {
    let (stored, group) = (WORLD.stored(), WORLD.group());
    let mut places = Vec::new();
    for (scope, records) in WORLD.scopes() {
        let ours = records.iter().filter(|(key, _)| !(0x10..0x30).contains(&key[0]));
        places.extend(ours.map(|(key, value)| (scope.clone(), key, value)));
    }
    // Bob has none: every operation of his is saved.
    let reservation = (Kind::Reservation.only().to_vec(), of_nobody(3).unwrap().as_slice().to_vec());
    places.push((ScopeId::group(&WORLD.group).unwrap(), &reservation.0, &reservation.1));
    let seeds = one_of_each_kind(places.iter().map(|(_, key, value)| (*key, *value)));
    assert_eq!(seeds.len(), 7, "client, group, history, received, outgoing, list, reservation");
    Target::new(env!("CARGO_PKG_NAME"), "record").seeds(seeds).run(|input| {
        let Some((at, value)) = input.split_first() else { return };
        let (scope, key, _) = &places[usize::from(*at) % places.len()];
        block_on(async {
            let manager = opened(&stored).await;
            let mut store = manager.keep().open_client(b"bob").await.unwrap();
            let version = store.scope_version(scope).await.unwrap();
            let mut changes = Changes::new();
            changes.scope(scope.clone(), version).put(key.to_vec(), Value::from(value.to_vec()), None).unwrap();
            store.commit(&changes).await.unwrap();
            let Ok(mut bob) = manager.load_client_state("bob").await else { return };
            drop(bob.groups().await);
            drop(bob.group(&group).await);
            drop(bob.history(&group, 10).await);
            drop(bob.outbox(&group).await);
            drop(bob.receive(&WORLD.received).await);
            bob.set_outbox(true);
            // The counters are what says where there is room.
            let counted = *key == Kind::Group.only().as_slice();
            let before = bob.outbox(&group).await.map(|all| all.len());
            if bob.send(&group, "still here").await.is_ok() {
                assert!(bob.history(&group, 1).await.is_ok());
                if let (Ok(before), Ok(after)) = (before, bob.outbox(&group).await) {
                    assert!(counted || after.len() == before + 1, "the outbox had {before}, and has {}", after.len());
                }
            }
        });
    });
}

/// What anybody on the network can send.
#[test]
fn message() {
    let (stored, group) = (WORLD.stored(), WORLD.group());
    let load = || block_on(async { opened(&stored).await.load_client_state("bob").await }).unwrap();
    let [.., welcome, package] = WORLD.messages.as_slice() else { panic!("a Welcome and a key package") };
    let bob = RefCell::new(load());
    Target::new(env!("CARGO_PKG_NAME"), "message").seeds(WORLD.messages.clone()).run(|input| {
        let genuine = WORLD.messages.iter().any(|message| message == input);
        let mut bob = bob.borrow_mut();
        let received = block_on(bob.receive(input));
        let refused = received.as_ref().is_err_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::PastEpoch | ErrorKind::FutureEpoch
            )
        });
        // Of an epoch to come, whatever it holds; and the same once more.
        let unread =
            matches!(received, Ok(Received::Own { .. } | Received::Held { .. } | Received::AlreadyReceived(None)));
        assert!(genuine || refused || unread, "{received:?}");
        let joined = block_on(bob.join(input));
        assert!(joined.is_err() || input == welcome, "{:?}", joined.err());
        let invited = block_on(bob.commit_at_once(&group, Change::new().invite([input.to_vec()])));
        assert!(input == package || invited.is_err(), "a forged key package is taken");
        // What was refused has changed nothing: Bob still takes what Alice has sent him.
        if genuine || input.len() % 64 == 1 {
            let taken = block_on(bob.receive(&WORLD.message));
            assert!(genuine || taken.is_ok(), "{taken:?}");
            *bob = load();
        }
    });
}
