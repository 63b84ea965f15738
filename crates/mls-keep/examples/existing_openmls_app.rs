//! Code that calls OpenMLS itself, as it was before, in a transaction: what it does to the group, and what the application
//! stores beside it, is one commit.
//!
//! ```sh
//! cargo run -p mls-keep --example existing_openmls_app
//! ```

use std::error::Error;

use mls_keep::openmls::prelude::tls_codec::Deserialize as _;
use mls_keep::openmls::prelude::{
    KeyPackage, LeafNodeParameters, MlsGroup, MlsMessageBodyIn, MlsMessageIn, OpenMlsProvider, ProcessedMessageContent,
    ProtocolVersion,
};
use mls_keep::{
    BoxError, ClientSigner, Encryption, MasterKey, MemoryBackend, PersistenceManager, Scope, SystemEntropy,
};

/// The application's own code, with any provider: it adds a member, merges, and returns the Welcome.
fn add(
    provider: &impl OpenMlsProvider,
    signer: &ClientSigner,
    group: &mut MlsGroup,
    key_package: KeyPackage,
) -> Result<Vec<u8>, BoxError> {
    let (_commit, welcome, _) =
        group.add_members(provider, signer, &[key_package]).map_err(|error| error.to_string())?;
    group.merge_pending_commit(provider).map_err(|error| error.to_string())?;
    Ok(welcome.to_bytes()?)
}

async fn run() -> Result<(), BoxError> {
    let encryption = Encryption::hkdf_sha256(MasterKey::generate(&SystemEntropy)?);
    let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await?;
    let mut alice = manager.client_builder("alice").create().await?;
    let mut bob = manager.client_builder("bob").create().await?;
    let group = alice.create_group("tea").await?;

    // OpenMLS calls on one group, and a record of the application's in the same commit. After an error, a panic or a
    // crash neither is there.
    let key_package = bob.key_package().await?.to_bytes()?;
    let welcome = alice
        .transact(&group, |tx| {
            let MlsMessageBodyIn::KeyPackage(key_package) =
                MlsMessageIn::tls_deserialize_exact(&key_package)?.extract()
            else {
                return Err("no key package".into());
            };
            let key_package = key_package.validate(tx.provider.crypto(), ProtocolVersion::Mls10)?;
            let welcome = add(tx.provider, tx.signer, tx.group, key_package)?;
            tx.records.put("invited/bob", b"yes")?;
            Ok(welcome)
        })
        .await?;
    bob.join(welcome).await?;

    // The same with a provider that is passed around: a session, which ends with `commit`, or is dropped and was nothing.
    let mut session = alice.begin(std::slice::from_ref(&group)).await?;
    let tx = session.transaction()?;
    let update = tx.group.self_update(tx.provider, tx.signer, LeafNodeParameters::default())?;
    tx.group.merge_pending_commit(tx.provider)?;
    let update = update.into_commit().to_bytes()?;
    session.commit().await?;

    // What arrives, processed by OpenMLS directly.
    let merged = bob
        .transact(&group, |tx| {
            let message = MlsMessageIn::tls_deserialize_exact(&update)?.try_into_protocol_message()?;
            match tx.group.process_message(tx.provider, message)?.into_content() {
                ProcessedMessageContent::StagedCommitMessage(commit) => {
                    tx.group.merge_staged_commit(tx.provider, *commit)?;
                    Ok(tx.group.epoch().as_u64())
                }
                _ => Err("no commit".into()),
            }
        })
        .await?;
    println!("bob is in epoch {merged}");

    // After a restart the group and the record are both there.
    drop(alice);
    let mut alice = manager.load_client_state("alice").await?;
    let record = alice.record(&Scope::Group(group.clone()), "invited/bob").await?.ok_or("the record")?;
    let epoch = alice.with_group(&group, |group| group.epoch().as_u64()).await?;
    println!("alice is in epoch {epoch}, and has invited bob: {}", String::from_utf8_lossy(record.as_slice()));
    assert_eq!(epoch, merged);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    run().await
}
