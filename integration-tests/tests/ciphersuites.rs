//! Every ciphersuite that the cryptographic library has works, with a library that the caller brings, and across a restart.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use futures_executor::block_on;
use mls_keep::{
    Change, Client, CryptoProvider, Encryption, ErrorKind, MasterKey, MemoryBackend, Persistence, PersistenceManager,
    Received,
};
use openmls::prelude::{Ciphersuite, OpenMlsCrypto as _};
use openmls_rust_crypto::RustCrypto;

async fn talk<C: CryptoProvider>(crypto: &Arc<C>, ciphersuite: Ciphersuite) {
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await.unwrap();
    let persistence = Persistence { manager: manager.clone(), save: Default::default() };
    let make = |name: &str| {
        let builder = Client::builder(name).ciphersuite(ciphersuite).crypto(Arc::clone(crypto));
        builder.persistence(persistence.clone()).create()
    };
    let (mut alice, mut bob) = (make("alice").await.unwrap(), make("bob").await.unwrap());
    let group = alice.create_group("tea").await.unwrap();
    let key_package = bob.key_package().await.unwrap().to_bytes().unwrap();
    let invitation = alice.commit_at_once(&group, Change::new().invite([key_package])).await.unwrap();
    bob.join(invitation.welcome.unwrap()).await.unwrap();
    let message = alice.send(&group, "at five?").await.unwrap().to_bytes().unwrap();
    drop((alice, bob));

    let mut bob = manager.load_client_state_with("bob", Arc::clone(crypto)).await.unwrap();
    assert_eq!(bob.ciphersuite(), ciphersuite);
    let Received::Message(message) = bob.receive(&message).await.unwrap() else { unreachable!("it is a message") };
    assert_eq!(message.content, b"at five?");
    let mut alice = manager.load_client_state_with("alice", Arc::clone(crypto)).await.unwrap();
    let update = bob.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
    alice.receive(&update).await.unwrap();
    let secret = alice.export_secret(&group, "test", b"", 32).await.unwrap();
    assert_eq!(secret, bob.export_secret(&group, "test", b"", 32).await.unwrap());
}

#[test]
fn every_ciphersuite_of_the_library_works() {
    let crypto = Arc::new(RustCrypto::default());
    let ciphersuites = crypto.supported_ciphersuites();
    assert!(ciphersuites.len() >= 3, "{ciphersuites:?}");
    for ciphersuite in ciphersuites {
        println!("{ciphersuite:?}");
        block_on(talk(&crypto, ciphersuite));
    }
}

#[test]
fn a_ciphersuite_that_the_library_does_not_have_is_invalid() {
    let ciphersuite = Ciphersuite::MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448;
    let error = block_on(Client::builder("alice").ciphersuite(ciphersuite).create()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
