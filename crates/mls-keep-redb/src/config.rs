//! [`Config`]: how the file is opened.

use std::time::Duration;

/// Longest value, bytes: 16 times what the contract asks for.
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// How a [`RedbBackend`](crate::RedbBackend) opens its file. The default is the safest choice for each field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How long opening waits for another holder of the file before it is
    /// [`ErrorKind::Busy`](mls_keep_core::ErrorKind::Busy). 5 seconds by default.
    pub busy_timeout: Duration,
    /// Whether a file that is not there is made. On by default; when off, a missing file is
    /// [`ErrorKind::NotFound`](mls_keep_core::ErrorKind::NotFound).
    pub create: bool,
    /// How much redb keeps in memory, bytes. 16 MiB by default; redb's own default is 1 GiB.
    pub cache_len: usize,
    /// Whether each commit is flushed twice, redb's two-phase commit. Off by default.
    ///
    /// With one flush redb tells a torn commit by a checksum that is not a cryptographic one, so somebody who chooses the
    /// values and can also cut the power could forge a commit. Values here are ciphertext under keys that nobody outside
    /// has, so one flush is enough. See "Security of 1PC+C" in redb's `docs/design.md`.
    pub two_phase_commit: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), create: true, cache_len: 16 << 20, two_phase_commit: false }
    }
}
