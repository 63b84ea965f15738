//! What a client does, over memory.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod adversary;
mod api;
mod backups;
mod blocks;
mod cached_group;
mod conflicts;
mod credentials;
mod elsewhere;
mod entry;
mod forgetting;
mod group_list;
mod history;
mod interval;
mod joining;
mod key_packages;
mod keys_once;
mod moving;
mod reader;
mod receiving;
mod refusals;
mod saving;
mod settings;
mod signers;
mod staged;
mod storage_errors;
mod suspend;

use futures_executor::block_on;
use mls_keep::openmls::framing::MlsMessageOut;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager, Received, SavePolicy,
};

/// A keep in memory.
fn keep() -> PersistenceManager {
    keep_on(MemoryBackend::new())
}

fn keep_on(store: MemoryBackend) -> PersistenceManager {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    block_on(PersistenceManager::builder(store).encryption(encryption).open()).unwrap()
}

fn client(manager: &PersistenceManager, name: &str, save: SavePolicy) -> Client {
    let persistence = Persistence { manager: manager.clone(), save };
    block_on(Client::builder(name).persistence(persistence).create()).unwrap()
}

fn load(manager: &PersistenceManager, name: &str) -> Client {
    block_on(manager.load_client_state(name)).unwrap()
}

fn bytes(message: &MlsMessageOut) -> Vec<u8> {
    message.to_bytes().unwrap()
}

/// `guests` become members of the group that `host` is alone in.
fn gather(host: &mut Client, group: &GroupId, guests: &mut [&mut Client]) {
    let packages: Vec<_> = guests.iter_mut().map(|guest| bytes(&block_on(guest.key_package()).unwrap())).collect();
    let welcome = block_on(host.commit_at_once(group, Change::new().invite(&packages))).unwrap().welcome;
    for guest in guests {
        block_on(guest.join(welcome.as_ref().unwrap())).unwrap();
    }
}

/// What `message` says to `client`.
fn hear(client: &mut Client, message: &MlsMessageOut) -> String {
    match block_on(client.receive(bytes(message))).unwrap() {
        Received::Message(message) => String::from_utf8(message.content).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Everybody hears everybody.
fn talk(group: &GroupId, members: &mut [&mut Client]) {
    for sender in 0..members.len() {
        let message = block_on(members[sender].send(group, format!("from {sender}"))).unwrap();
        for receiver in (0..members.len()).filter(|receiver| *receiver != sender) {
            assert_eq!(hear(members[receiver], &message), format!("from {sender}"));
        }
    }
}
