//! The narrow waist of mls-keep.

mod backend;
mod capabilities;
mod codec;
mod commit;
mod entropy;
mod envelope;
mod error;
mod keep;
mod key;
pub mod limits;
mod map;
mod memory;
mod secret;
mod text;

pub use backend::StorageBackend;
pub use capabilities::{Capabilities, Durability, SwapScope};
pub use commit::{Commit, Swap};
pub use entropy::Entropy;
pub use envelope::{Argon2Params, Encryption};
pub use error::{Error, ErrorKind, Result};
pub use keep::{
    Changes, ClientStore, Committed, Keep, Record, ScopeChanges, ScopeId, ScopeVersion, Statistics, Verification,
};
pub use key::Key;
pub use map::{RecordRange, Value};
pub use memory::MemoryBackend;
pub use secret::MasterKey;
