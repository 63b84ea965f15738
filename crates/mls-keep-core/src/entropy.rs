//! [`Entropy`]: where random bytes come from. The core asks no global source, so that a test can give its own.

use crate::error::Result;

/// A source of random bytes fit for cryptographic keys.
///
/// Everything rests on it: two nodes under one key would break the envelope. Outside of tests it is the operating
/// system's generator.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` with fresh random bytes.
    ///
    /// # Errors
    /// Any error of the source, unchanged; nothing is sealed then.
    fn fill(&self, out: &mut [u8]) -> Result<()>;
}
