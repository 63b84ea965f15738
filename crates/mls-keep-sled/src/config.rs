//! [`Config`]: how the directory is opened.

use std::time::Duration;

/// Longest value, bytes: 16 times what the contract asks for.
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// How a [`SledBackend`](crate::SledBackend) opens its directory. The default is the safest choice for each field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How long opening waits for another holder of the directory before it is
    /// [`ErrorKind::Busy`](mls_keep_core::ErrorKind::Busy). 5 seconds by default.
    pub busy_timeout: Duration,
    /// Whether a directory that is not there is made. On by default; when off, a missing one is
    /// [`ErrorKind::NotFound`](mls_keep_core::ErrorKind::NotFound).
    pub create: bool,
    /// How much sled keeps in memory, bytes. 16 MiB by default.
    pub cache_len: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), create: true, cache_len: 16 << 20 }
    }
}
