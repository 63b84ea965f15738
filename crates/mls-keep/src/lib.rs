//! MLS clients (RFC 9420, on OpenMLS) whose state survives restarts, crashes, power loss and stolen disks: one MLS
//! operation is one sealed, atomic, durable commit, on any storage.
//!
//! OpenMLS writes its state as many small independent writes; merging an MLS commit is thirteen of them. A crash between
//! two of them loses the group, and anyone who can read the file can read the keys. Here OpenMLS works in memory, and what
//! it changed becomes one commit of a [`StorageBackend`]: encrypted and authenticated as a whole, and applied as a whole or
//! not at all.
//!
//! ```
//! use mls_keep::{Change, Client, Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager, Received, SystemEntropy};
//! # futures_executor::block_on(async {
//! let key = MasterKey::generate(&SystemEntropy)?; // keep it in the platform's keychain
//! let backend = MemoryBackend::new(); // or SqliteBackend::open("alice.db", Config::default())?
//! let manager = PersistenceManager::builder(backend).encryption(Encryption::hkdf_sha256(key)).open().await?;
//!
//! let persistence = Persistence { manager: manager.clone(), save: Default::default() };
//! let mut alice = Client::builder("alice").persistence(persistence.clone()).create().await?;
//! let mut bob = Client::builder("bob").persistence(persistence).create().await?;
//!
//! let group = alice.create_group("tea").await?;
//! let invited = alice.stage(&group, Change::new().invite([bob.key_package().await?.to_bytes()?])).await?;
//! // The delivery service has taken `invited.commit`, and no other one before it.
//! alice.confirm(&group).await?;
//! bob.join(invited.welcome.unwrap()).await?;
//! let message = alice.send(&group, "at five?").await?.to_bytes()?;
//! drop((alice, bob)); // the process ends here, and starts again
//!
//! let mut bob = manager.load_client_state("bob").await?;
//! let Received::Message(message) = bob.receive(&message).await? else { panic!("no message") };
//! assert_eq!(message.content, b"at five?");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Which call for what
//!
//! | to | call |
//! |---|---|
//! | open a keep, load and save its clients | [`PersistenceManager`] |
//! | create, send, receive, join | [`Client::create_group`], [`send`](Client::send), [`receive`](Client::receive), [`join`](Client::join) |
//! | make an MLS commit that the delivery service may refuse | [`Client::stage`], then [`confirm`](Client::confirm) or [`reject`](Client::reject) |
//! | run any OpenMLS calls, with the application's own records in the same commit | [`Client::transact`], [`Client::begin`] |
//! | have what was made for others until it is delivered | [`Client::set_outbox`], [`Client::outbox_of_all_groups`] |
//! | make a backup, restore one | [`PersistenceManager::create_backup`], [`restore_from_backup`](PersistenceManager::restore_from_backup) |
//! | move to another device | [`Client::export_state`], [`Client::import_state`] |
//! | save less often | [`SavePolicy::Interval`] |
//!
//! Backends are crates of their own, such as `mls-keep-sqlite`. For your own storage implement the four methods of
//! [`StorageBackend`].
//!
//! # Limits
//!
//! A process that starts anew cannot distinguish an older copy of a store from the newest state, and then reuses keys: restore
//! backups, never copies of files. OpenMLS's own types keep plaintext and keys in memory; what this crate holds is wiped.
//!
//! # Features
//!
//! `import` adds [`import`](https://docs.rs/mls-keep/latest/mls_keep/import/): taking over what another storage provider of
//! OpenMLS holds.
//! `tokio` adds `Saver`, a task that saves when a save is due ([`SavePolicy::Interval`]) and no operation comes.
//!
//! `extensions-draft` and `virtual-clients-draft` turn on OpenMLS's features of the same names. Both are off by default.

mod archive;
mod client;
mod clock;
mod entropy;
#[cfg(test)]
mod fuzz;
#[cfg(feature = "import")]
pub mod import;
mod manager;
mod memory;
mod policy;
mod provider;
mod records;
#[cfg(feature = "tokio")]
mod saver;
mod scope;

pub use archive::{BackupOptions, ExportOptions, RestoreOptions};
pub use client::{
    BoxError, Change, Client, ClientBuilder, ClientSigner, CommitSummary, Committer, CryptoProvider, Decision,
    GroupMember, GroupSettings, GroupSummary, GroupToRejoin, GroupsTransaction, HandshakeFormat, JoinOptions, Joined,
    KeyPackageOptions, KeyPackageSummary, MAX_KEY_PACKAGES, MAX_MESSAGE_LEN, MAX_NAME_LEN, Message, NAME_EXTENSION,
    NewGroup, Newcomer, Outgoing, OwnCommit, ProposalSummary, Proposed, ReceivePolicy, Received, RecordWriter,
    Retention, SaveNumber, Session, Transaction, WelcomeSummary,
};
pub use clock::{Clock, SystemClock};
pub use entropy::SystemEntropy;
pub use manager::{PersistenceManager, PersistenceManagerBuilder};
pub use mls_keep_core::{
    Archive, ArchiveContents, ArchiveFile, ArchiveKind, ArchiveSummary, Argon2Params, ClientStore, Encryption, Entropy,
    Error, ErrorKind, Keep, MasterKey, MemoryBackend, Result, SecretBytes, Statistics, StorageBackend, Value,
    Verification, limits,
};
pub use openmls;
pub use openmls_basic_credential::SignatureKeyPair;
pub use openmls_traits::signatures::{Signer, SignerError};
pub use policy::{Persistence, SavePolicy};
pub use provider::{Provider, TransactionStorage};
#[cfg(feature = "tokio")]
pub use saver::Saver;
pub use scope::Scope;
