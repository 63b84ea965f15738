//! The narrow waist of mls-keep.

mod backend;
mod capabilities;
mod commit;
mod entropy;
mod error;
mod key;
pub mod limits;
mod map;
mod memory;

pub use backend::StorageBackend;
pub use capabilities::{Capabilities, Durability, SwapScope};
pub use commit::{Commit, Swap};
pub use entropy::Entropy;
pub use error::{Error, ErrorKind, Result};
pub use key::Key;
pub use map::Value;
pub use memory::MemoryBackend;
