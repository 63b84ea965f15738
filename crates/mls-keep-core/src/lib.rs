//! The narrow waist of mls-keep: what a store must do, how bytes are sealed, and how records become one commit.
//!
//! It names no MLS, no engine, no runtime, no clock and no global source of random bytes. Most programs use `mls-keep`,
//! which is built on it; authors of a backend need [`StorageBackend`] and little else.
//!
//! - [`StorageBackend`]: four methods are all that a store must have. [`MemoryBackend`] is the executable specification,
//!   [`Capabilities`] what a store really promises.
//! - [`EngineThread`]: makes a backend of an [`Engine`], a store whose calls block, such as a database in a file.
//! - [`Keep`]: an opened backend with its keys. [`Encryption`] says how it is opened.
//! - [`ClientStore`]: one client's root, and the records of its scopes. [`ClientStore::commit`] applies [`Changes`] as
//!   one sealed, atomic, durable commit.
//!
//! Every stored byte is described in `docs/format.md`.
//!
//! ```
//! use mls_keep_core::{Changes, Encryption, Entropy, Keep, MasterKey, MemoryBackend, Result, ScopeId};
//! use std::sync::Arc;
//!
//! # struct System;
//! # impl Entropy for System {
//! #     fn fill(&self, out: &mut [u8]) -> Result<()> {
//! #         use std::hash::{BuildHasher, RandomState};
//! #         out.iter_mut().for_each(|byte| *byte = RandomState::new().hash_one(0) as u8);
//! #         Ok(())
//! #     }
//! # }
//! # futures_executor::block_on(async {
//! let encryption = Encryption::hkdf_sha256(MasterKey::generate(&System)?);
//! let keep = Keep::open_or_create(Arc::new(MemoryBackend::new()), &encryption, Arc::new(System)).await?;
//! let mut client = keep.create_client(b"alice").await?;
//!
//! let mut changes = Changes::new();
//! changes.scope(ScopeId::client(), None).put(b"key".to_vec(), b"value".to_vec().into(), None)?;
//! client.commit(&changes).await?;
//! assert_eq!(client.record(&ScopeId::client(), b"key").await?.unwrap().as_slice(), b"value");
//! # Ok::<(), mls_keep_core::Error>(())
//! # }).unwrap();
//! ```

mod archive;
mod backend;
mod capabilities;
mod codec;
mod commit;
mod copy;
mod engine;
mod entropy;
mod envelope;
mod error;
#[cfg(test)]
mod fuzz;
mod helper;
mod keep;
mod key;
pub mod limits;
mod map;
mod memory;
pub mod names;
mod secret;
mod secret_bytes;
mod secret_vec;
mod text;

pub use archive::{Archive, ArchiveContents, ArchiveFile, ArchiveKind, ArchiveSummary};
pub use backend::StorageBackend;
pub use capabilities::{Capabilities, Durability, SwapScope};
pub use commit::{Commit, Swap};
pub use copy::{Copied, copy_store};
pub use engine::{Engine, EngineThread, WriteBatch};
pub use entropy::Entropy;
pub use envelope::{Argon2Params, Encryption};
pub use error::{Error, ErrorKind, Result};
pub use keep::{
    BackupPlan, Changes, ClientStore, Committed, Keep, Record, RestorePlan, ScopeChanges, ScopeId, ScopeVersion,
    StateRead, Statistics, Swept, Verification,
};
pub use key::Key;
pub use map::{RecordRange, Value};
pub use memory::MemoryBackend;
pub use secret::MasterKey;
pub use secret_bytes::SecretBytes;

/// What [`storage_backend!`] names.
#[doc(hidden)]
pub mod __private {
    pub use async_trait::async_trait;
    pub use bytes::Bytes;
}
