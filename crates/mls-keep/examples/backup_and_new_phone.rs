//! A lost phone, and a new one: a client comes back from a backup and enters its group anew; then it moves to another
//! device and goes on there, and no longer here.
//!
//! ```sh
//! cargo run -p mls-keep --example backup_and_new_phone
//! ```

use std::error::Error;
use std::fs::File;
use std::path::Path;

use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Archive, BackupOptions, Change, Client, Encryption, Entropy as _, ErrorKind, ExportOptions, MasterKey,
    PersistenceManager, Received, RestoreOptions, Result, SystemEntropy,
};
use mls_keep_sqlite::{Config, SqliteBackend};

type Done<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// A keep of its own, under a key of its own, as on each device.
async fn device(path: &Path) -> Result<PersistenceManager> {
    let encryption = Encryption::hkdf_sha256(MasterKey::generate(&SystemEntropy)?);
    PersistenceManager::builder(SqliteBackend::open(path, Config::default())?).encryption(encryption).open().await
}

/// Alice sends, Bob reads.
async fn talk(alice: &mut Client, bob: &mut Client, group: &GroupId, text: &str) -> Done {
    let message = alice.send(group, text).await?.to_bytes()?;
    let Received::Message(message) = bob.receive(&message).await? else { return Err("no message".into()) };
    println!("bob reads {:?}", String::from_utf8_lossy(&message.content));
    Ok(())
}

async fn run(directory: &Path) -> Done {
    let mut bob = device(&directory.join("bob.db")).await?.client_builder("bob").create().await?;
    let phone = device(&directory.join("phone.db")).await?;
    let mut alice = phone.client_builder("alice").create().await?;
    let group = alice.create_group("tea").await?;
    let invited = alice.commit_at_once(&group, Change::new().invite([bob.key_package().await?.to_bytes()?])).await?;
    bob.join(invited.welcome.ok_or("a Welcome")?).await?;
    talk(&mut alice, &mut bob, &group, "on my phone").await?;

    // A backup, under a passphrase or a key of its own, while the client works.
    let mut recovery_key = [0; 32];
    SystemEntropy.fill(&mut recovery_key)?;
    let recovery = || Encryption::hkdf_sha256(MasterKey::new(recovery_key));
    let mut file = File::create(directory.join("alice.backup"))?;
    phone.create_backup(&alice, &mut file, BackupOptions::new(recovery()).without_group_secrets()).await?;

    // The phone is lost. What comes back can read; its keys may have been used since, so it sends nothing in this group.
    drop((alice, phone));
    let second = device(&directory.join("second.db")).await?;
    let backup = Archive::open(File::open(directory.join("alice.backup"))?, &recovery(), &mut |_| ()).await?;
    let mut alice = second.restore_from_backup(&mut [backup], RestoreOptions::new()).await?;
    let refused = alice.send(&group, "too early").await;
    assert!(matches!(refused, Err(error) if error.kind() == ErrorKind::NeedsRejoin));
    println!("{} group is to be entered anew", alice.groups_to_rejoin().await?.len());

    // Bob removes the lost phone and invites what came back.
    let key_package = alice.key_package().await?.to_bytes()?;
    bob.commit_at_once(&group, Change::new().remove("alice")).await?;
    let again = bob.commit_at_once(&group, Change::new().invite([key_package])).await?;
    alice.join(again.welcome.ok_or("a Welcome")?).await?;
    talk(&mut alice, &mut bob, &group, "back again").await?;

    // A new phone: the client moves, with its groups as they are. From here on the old one sends nothing.
    let mut file = File::create(directory.join("alice.move"))?;
    alice.export_state(&mut file, ExportOptions::new(recovery())).await?;
    let refused = alice.send(&group, "from the old one").await;
    assert!(matches!(refused, Err(error) if error.kind() == ErrorKind::MovedOut));
    let third = device(&directory.join("third.db")).await?;
    let archive = Archive::open(File::open(directory.join("alice.move"))?, &recovery(), &mut |_| ()).await?;
    let mut alice = Client::import_state(&third, archive).await?;
    talk(&mut alice, &mut bob, &group, "from my new phone").await?;
    println!("alice has {} messages", alice.history(&group, 10).await?.len());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Done {
    let directory = tempfile::tempdir()?;
    run(directory.path()).await
}
