//! Fuzz targets of records and of messages.
//!
//! Records are sealed: who can write a record has the client's key, such as a version of this program with a defect. What
//! others send is not sealed by anything that this crate trusts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_executor::block_on;
use fuzzing::Target;
use mls_keep_core::{Changes, Key, RecordRange, ScopeId};
use openmls::group::{GroupId, MlsGroup};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;

use crate::provider::{Provider, Records, TransactionStorage};
use crate::{
    Client, Encryption, ErrorKind, MasterKey, MemoryBackend, Persistence, PersistenceManager, StorageBackend, Value,
};

type Stored = BTreeMap<Key, Bytes>;

/// A keep with Alice and Bob, who have talked in a group, at the point where each has something of every kind.
struct World {
    stored: Stored,
    group: GroupId,
    /// To Bob, who has not received it.
    message: Vec<u8>,
    /// To Bob, who has received it.
    received: Vec<u8>,
    /// One MLS message of each kind.
    messages: Vec<Vec<u8>>,
    /// A Welcome for Bob, to another group, that was not used.
    welcome: Vec<u8>,
}

async fn dump(backend: &MemoryBackend) -> Stored {
    let keys = backend.list("").await.unwrap();
    let values = backend.load_many(&keys).await.unwrap();
    keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect()
}

fn opened(stored: &Stored) -> PersistenceManager {
    let backend = MemoryBackend::new();
    for (key, value) in stored {
        block_on(backend.save(key, value.clone())).unwrap();
    }
    open(backend)
}

fn open(backend: MemoryBackend) -> PersistenceManager {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    block_on(PersistenceManager::builder(backend).encryption(encryption).open()).unwrap()
}

fn world() -> World {
    let backend = MemoryBackend::new();
    let manager = open(backend.clone());
    block_on(async {
        let persistence = Persistence { manager, save: Default::default() };
        let mut alice = Client::builder("alice").persistence(persistence.clone()).create().await?;
        let mut bob = Client::builder("bob").persistence(persistence).create().await?;
        alice.set_outbox(true);
        bob.set_outbox(true);
        let group = alice.create_group("tea").await?;
        let used = bob.key_package().await?.to_bytes().unwrap();
        let invitation = alice.invite(&group, &[used]).await?;
        bob.join(invitation.welcome.to_bytes().unwrap()).await?;
        bob.key_package().await?;
        let received = alice.send(&group, "at five?").await?.to_bytes().unwrap();
        bob.receive(&received).await?;
        bob.send(&group, "yes").await?;
        let other = alice.create_group("coffee").await?;
        let package = bob.key_package().await?.to_bytes().unwrap();
        let invitation = alice.invite(&other, &[package.clone()]).await?;
        let message = alice.send(&group, "so be it").await?.to_bytes().unwrap();
        let stored = dump(&backend).await;
        // After what is stored: nobody has received these.
        let proposal = bob.leave(&group).await?.to_bytes().unwrap();
        let commit = alice.self_update(&group).await?.to_bytes().unwrap();
        let welcome = invitation.welcome.to_bytes().unwrap();
        let messages = [message.clone(), received.clone(), proposal, commit, welcome.clone(), package].into();
        Ok::<_, crate::Error>(World { stored, group, message, received, messages, welcome })
    })
    .unwrap()
}

fn records(client: &Client, scope: &ScopeId) -> Vec<(Vec<u8>, Value)> {
    let records = block_on(client.store().unwrap().records(scope, &RecordRange::all())).unwrap();
    records.into_iter().map(|record| (record.key.to_vec(), record.value)).collect()
}

/// One seed for each kind of record: its place, and what it holds.
fn one_of_each_kind<'r>(records: impl Iterator<Item = &'r (Vec<u8>, Value)>) -> Vec<Vec<u8>> {
    let mut kinds = std::collections::BTreeSet::new();
    let numbered = records.enumerate().filter(|(_, (key, _))| kinds.insert(key.first().copied()));
    numbered.map(|(at, (_, value))| [&[at as u8], value.as_slice()].concat()).collect()
}

/// Everything that OpenMLS keeps of a group and of a client, through the codec of the provider.
#[test]
fn mls_record() {
    let world = world();
    let manager = opened(&world.stored);
    let bob = block_on(manager.load_client_state("bob")).unwrap();
    let scope = ScopeId::group(world.group.as_slice()).unwrap();
    let own = records(&bob, &ScopeId::client());
    let all: Vec<_> = records(&bob, &scope).into_iter().chain(own.clone()).collect();
    let in_group = all.len() - own.len();
    let (signature_key, scheme) = (bob.credential().signature_key.clone(), bob.ciphersuite().signature_algorithm());
    let seeds = one_of_each_kind(all.iter());
    assert!(seeds.len() > 14, "{} kinds", seeds.len());
    let crypto = Arc::new(RustCrypto::default());
    Target::new(env!("CARGO_PKG_NAME"), "mls_record").seeds(seeds).run(|input| {
        let Some((at, value)) = input.split_first() else { return };
        let mut changed = all.clone();
        let at = usize::from(*at) % changed.len();
        changed[at].1 = Value::from(value.to_vec());
        let own = changed.split_off(in_group);
        let collect = |records: Vec<_>| Arc::new(records.into_iter().collect::<Records>());
        let groups = BTreeMap::from([(world.group.as_slice().to_vec(), collect(changed))]);
        let storage = TransactionStorage::new(collect(own), groups);
        drop(SignatureKeyPair::read(&storage, signature_key.as_slice(), scheme));
        if let Ok(Some(group)) = MlsGroup::load(&storage, &world.group) {
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
    let world = world();
    let manager = opened(&world.stored);
    let bob = block_on(manager.load_client_state("bob")).unwrap();
    let group = ScopeId::group(world.group.as_slice()).unwrap();
    let mut places = Vec::new();
    for scope in [group, ScopeId::client()] {
        let ours = records(&bob, &scope).into_iter().filter(|(key, _)| !(0x10..0x30).contains(&key[0]));
        places.extend(ours.map(|(key, value)| (scope.clone(), key, value)));
    }
    let flat: Vec<_> = places.iter().map(|(_, key, value)| (key.clone(), value.clone())).collect();
    let seeds = one_of_each_kind(flat.iter());
    assert_eq!(seeds.len(), 6, "client, group, history, received, outgoing, list");
    Target::new(env!("CARGO_PKG_NAME"), "record").seeds(seeds).run(|input| {
        let Some((at, value)) = input.split_first() else { return };
        let (scope, key, _) = &places[usize::from(*at) % places.len()];
        let manager = opened(&world.stored);
        block_on(async {
            let mut store = manager.keep().open_client(b"bob").await.unwrap();
            let version = store.scope_version(scope).await.unwrap();
            let mut changes = Changes::new();
            changes.scope(scope.clone(), version).put(key.clone(), Value::from(value.to_vec()), None).unwrap();
            store.commit(&changes).await.unwrap();
            let Ok(mut bob) = manager.load_client_state("bob").await else { return };
            drop(bob.groups().await);
            drop(bob.group(&world.group).await);
            drop(bob.history(&world.group, 10).await);
            drop(bob.outbox(&world.group).await);
            drop(bob.receive(&world.received).await);
            bob.set_outbox(true);
            // The counters are what says where there is room.
            let counted = key == crate::record_key::GROUP;
            let before = bob.outbox(&world.group).await.map(|all| all.len());
            if bob.send(&world.group, "still here").await.is_ok() {
                assert!(bob.history(&world.group, 1).await.is_ok());
                if let (Ok(before), Ok(after)) = (before, bob.outbox(&world.group).await) {
                    assert!(counted || after.len() == before + 1, "the outbox had {before}, and has {}", after.len());
                }
            }
        });
    });
}

/// What anybody on the network can send.
#[test]
fn message() {
    let world = world();
    let load = || block_on(opened(&world.stored).load_client_state("bob")).unwrap();
    let bob = RefCell::new(load());
    Target::new(env!("CARGO_PKG_NAME"), "message").seeds(world.messages.clone()).run(|input| {
        let genuine = world.messages.iter().any(|message| message == input);
        let mut bob = bob.borrow_mut();
        let received = block_on(bob.receive(input));
        let refused = received
            .as_ref()
            .is_err_and(|error| matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Aborted));
        assert!(genuine || refused, "{received:?}");
        let joined = block_on(bob.join(input));
        assert!(joined.is_ok() == (input == world.welcome), "{:?}", joined.err());
        let package = input == world.messages.last().unwrap();
        let invited = block_on(bob.invite(&world.group, &[input.to_vec()]));
        assert!(package || invited.is_err(), "a forged key package is taken");
        // What was refused has changed nothing: Bob still takes what Alice has sent him.
        if genuine || input.len() % 64 == 1 {
            let taken = block_on(bob.receive(&world.message));
            assert!(genuine || taken.is_ok(), "{taken:?}");
            *bob = load();
        }
    });
}
