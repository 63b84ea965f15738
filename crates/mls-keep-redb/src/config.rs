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
    /// Whether opening reads the whole file and compares the checksum of every page. On by default.
    ///
    /// redb by itself trusts a file that was closed in order: one that was damaged or changed since can then end in a panic,
    /// take any amount of memory, or give other values than were stored. Where the file is large and nobody else can write
    /// it, opening without the check takes about the same time whatever the size is. After a crash it is done in any case.
    pub check_pages: bool,
    /// Whether each commit is flushed twice, redb's two-phase commit. Off by default.
    ///
    /// With one flush redb tells a torn commit by a checksum that is not a cryptographic one, so somebody who chooses the
    /// values and can also cut the power could forge a commit. Values here are ciphertext under keys that nobody outside
    /// has, so one flush is enough. See "Security of 1PC+C" in redb's `docs/design.md`.
    pub two_phase_commit: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            create: true,
            cache_len: 16 << 20,
            check_pages: true,
            two_phase_commit: false,
        }
    }
}
