//! When a client is saved.

use crate::manager::PersistenceManager;

/// Where and when a client is saved.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// The keep that the client is saved in.
    pub manager: PersistenceManager,
    /// When it is saved.
    pub save: SavePolicy,
}

/// When a client is saved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum SavePolicy {
    /// Every operation is durable before its result is returned.
    #[default]
    EveryOperation,
    /// Only [`Client::save`](crate::Client::save) and the manager's calls save.
    ///
    /// What was not saved is lost with the process. A message that was sent before a save that never came leaves the
    /// saved ratchets behind those of the receivers: the next one is sent under a key that was used already, and is
    /// refused as a replay. So save before anything leaves the device.
    Manual,
}
